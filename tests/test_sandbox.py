"""The process for somebody's code: what becomes of each way to end, and that the next request is answered."""

from __future__ import annotations

import faulthandler
import os
import random
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

import compare
import scratch
from compare.contained import session as sandbox
from compare.contained.session import (
    LARGEST_FILE,
    Limits,
    MiB,
    Outcome,
    Session,
    _answer,
    _captured,
    _cut,
    _in_one_line,
    _is_theirs,
    _limit_memory,
    _own_raise,
    _redirected,
    _serve,
    random_state_kept,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork")


def ended(signal_number: int) -> None:
    os.kill(os.getpid(), signal_number)


def too_much(mebibytes: int) -> int:
    return len(np.ones(mebibytes * MiB, np.uint8))


def large_file(folder: str, size: int) -> int:
    path = os.path.join(folder, "large")
    with open(path, "wb") as file:
        file.truncate(size)
    return os.path.getsize(path)


def divided(by: int) -> float:
    return 1 / by


def printed(text: str) -> None:
    print(text, end="")
    sys.stderr.write("\nmore")


class Unreadable:
    """Can be sent, and breaks where it is received."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


def state_of_the_process() -> dict[str, Any]:
    return {
        "faulthandler": faulthandler.is_enabled(),
        "Ctrl-C": signal.getsignal(signal.SIGINT),
        "threads of torch": torch.get_num_threads(),
        "threads of NumPy": {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"},
        "alarm": signal.getitimer(signal.ITIMER_REAL)[0],
    }


FUNCTIONS: dict[str, Any] = {
    "ended": ended,
    "left": os._exit,
    "exit": sys.exit,
    "sleep": time.sleep,
    "too_much": too_much,
    "large_file": large_file,
    "divided": divided,
    "printed": printed,
    "process": os.getpid,
    "seeded": np.random.seed,
    "drawn": random.random,
    "function": lambda: lambda: 0,
    "unreadable": Unreadable,
    "state": state_of_the_process,
}


def asked(name: str, *arguments: Any, limits: Limits | None = None) -> tuple[Outcome, Outcome]:
    """What a request ends in, and what the one after it does."""
    with Session(limits or Limits(seconds=60, memory=256)) as session:
        for served, function in FUNCTIONS.items():
            session.serve(served, function)
        return session(name, *arguments), session("divided", 4)


@pytest.mark.parametrize(
    ("name", "argument", "error", "problem", "fatal"),
    [
        ("ended", signal.SIGSEGV, "SIGSEGV", "its process was ended by SIGSEGV: a crash", True),
        ("ended", signal.SIGKILL, "SIGKILL", "its process was ended by SIGKILL: a crash", True),
        ("left", 7, "Exit", "its process ended with status 7 before it answered", True),
        ("exit", 3, "SystemExit", "called sys.exit", False),
        ("too_much", 600, "MemoryError", "asked for more memory than the limit allows", True),
        ("divided", 0, "ZeroDivisionError", "raised ZeroDivisionError: division by zero", False),
    ],
)
def test_each_end_has_its_name(name: str, argument: Any, error: str, problem: str, fatal: bool) -> None:
    outcome, after = asked(name, argument)
    assert (outcome.value, outcome.error, outcome.fatal, outcome.refused) == (None, error, fatal, False)
    assert outcome.problem.partition(" (test_sandbox.py")[0] == problem
    assert after == Outcome(0.25)


def test_a_call_that_does_not_end_is_ended() -> None:
    outcome, after = asked("sleep", 3600, limits=Limits(seconds=1.5))
    assert outcome.problem == "no answer within 1.5 s: an endless loop, or too slow for the limit"
    assert (outcome.error, outcome.fatal) == ("Timeout", True)
    assert after.error in ("", "Timeout")  # a busy machine may need longer than that to start a process


def test_memory_within_the_limit_is_given_and_files_are_kept_small(tmp_path: Any) -> None:
    assert asked("too_much", 64)[0] == Outcome(64 * MiB)
    assert asked("large_file", str(tmp_path), LARGEST_FILE)[0].value == LARGEST_FILE
    outcome, _ = asked("large_file", str(tmp_path), LARGEST_FILE + 1)
    assert outcome.error in ("OSError", "SIGXFSZ")


def test_an_answer_that_cannot_be_sent_is_an_outcome_and_not_a_traceback() -> None:
    outcome, after = asked("function")
    assert outcome.problem
    assert after == Outcome(0.25)


def test_what_else_happens_is_noted() -> None:
    assert asked("printed", "a\nb")[0].notes == ("it prints (3 lines): 'a'",)
    assert asked("printed", "x" * 70)[0].notes == (f"it prints (2 lines): '{'x' * 57}...'",)
    assert asked("seeded", 0)[0].notes == asked("drawn")[0].notes == ("it changes the global random state",)


def test_requests_share_one_process_as_long_as_it_lives() -> None:
    with Session() as session:
        session.serve("process", os.getpid)
        session.serve("left", os._exit)
        first, second = session("process").value, session("process").value
        assert first == second != os.getpid()
        session("left", 1)
        assert session("process").value not in (first, os.getpid())
        last = session("process").value
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)


def test_without_a_fork_the_code_runs_here_and_the_random_state_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])
    before = random.getstate(), str(np.random.get_state())  # noqa: NPY002
    with Session() as session:
        assert not session.isolated
        session.serve("process", os.getpid)
        session.serve("drawn", random.random)
        assert session("process").value == os.getpid()
        assert session("drawn").notes == ("it changes the global random state",)
    assert (random.getstate(), str(np.random.get_state())) == before  # noqa: NPY002


def test_the_random_state_is_put_back_after_an_error_too() -> None:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = random.random(), np.random.random()  # noqa: NPY002
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    with suppress(KeyError), random_state_kept():
        random.seed(2)
        np.random.seed(2)  # noqa: NPY002
        raise KeyError
    assert (random.random(), np.random.random()) == expected  # noqa: NPY002


def test_the_limits_unless_others_are_given() -> None:
    assert Session().limits == Limits(seconds=20.0, memory=2048)
    assert MiB == 1024 * 1024
    assert LARGEST_FILE == 268_435_456
    assert (Outcome().value, Outcome().refused, Outcome().fatal) == (None, False, False)


def test_an_answer_that_cannot_be_read_ends_the_process() -> None:
    with Session(Limits(seconds=60)) as session:
        session.serve("unreadable", Unreadable)
        outcome = session("unreadable")
        assert outcome == Outcome(problem="its answer could not be read (ValueError)", error="Answer", fatal=True)
        assert session._process is None


def test_what_is_to_be_done_meanwhile_is_done_step_by_step_until_the_answer_is_there() -> None:
    done: list[int] = []

    def steps() -> Iterator[None]:
        for number in range(3):
            done.append(number)
            if number == 1:  # wait for the answer, as long as it takes
                assert session._connection is not None
                assert session._connection.poll(60)
            yield

    with Session(Limits(seconds=60)) as session:
        session.meanwhile = steps()
        session.serve("sleep", time.sleep)
        assert session("sleep", 0.1).problem == ""
        assert done == [0, 1]
        assert session("sleep", 0.1).problem == ""
        assert session("sleep", 0).problem == ""
        assert done == [0, 1, 2]


@pytest.mark.timeout(60)
def test_what_is_done_meanwhile_does_not_prolong_the_time_that_a_call_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(sandbox, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def hour() -> Iterator[None]:
        now[0] += 3600
        yield

    with Session(Limits(seconds=3600)) as session:
        session.serve("sleep", time.sleep)
        session.meanwhile = hour()
        assert session("sleep", 4000).error == "Timeout"  # at once
        # What is there when the time is over is taken.
        session.serve("divided", divided)
        session.meanwhile = (session._connection.poll(60) for _ in hour())  # type: ignore[union-attr]
        assert session("divided", 2) == Outcome(0.5)


def test_a_process_that_is_gone_before_it_is_asked_is_said_to_be() -> None:
    with Session(Limits(seconds=60)) as session:
        session.serve("divided", divided)
        session("divided", 2)
        session._process.kill()
        session._process.join()
        assert session("divided", 2).problem == "its process was ended by SIGKILL: a crash"
        assert session("divided", 2) == Outcome(0.5)


def test_a_process_that_is_too_slow_is_ended_at_once() -> None:
    with Session(Limits(seconds=0.25)) as session:
        session.serve("sleep", time.sleep)
        assert session("sleep", 3600).error == "Timeout"
        assert session._process is None
        assert session._connection is None


def test_the_process_is_quiet_single_threaded_and_leaves_ctrl_c_to_its_parent() -> None:
    assert faulthandler.is_enabled()  # pytest does it
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        outcome, _ = asked("state")
    finally:
        torch.set_num_threads(before)
    state = outcome.value
    assert 60 < state.pop("alarm") < 70
    assert state == {
        "faulthandler": False,
        "Ctrl-C": signal.SIG_IGN,
        "threads of torch": 1,
        "threads of NumPy": {1},
    }


def test_a_session_that_is_over_keeps_nothing_open() -> None:
    with Session() as session:
        session.serve("process", os.getpid)
        session("process")
        process, connection = session._process, session._connection
        assert process.daemon  # should this process end without a word, it ends too
        assert connection is not None
    assert connection.closed
    assert process.exitcode == -signal.SIGKILL
    assert (session._process, session._connection) == (None, None)
    with Session() as unused:
        pass
    assert unused._process is None


def test_what_was_printed_before_is_printed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "out", "w") as out, open(tmp_path / "err", "w") as err:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        out.write("once")
        err.write("once")
        assert asked("divided", 2)[0] == Outcome(0.5)
        monkeypatch.undo()
    assert (tmp_path / "out").read_text() == (tmp_path / "err").read_text() == "once"


def test_a_fork_beside_threads_is_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    fork = os.fork

    def forked() -> int:
        warnings.warn("this process is multi-threaded", DeprecationWarning, stacklevel=2)
        return fork()

    monkeypatch.setattr(os, "fork", forked)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert asked("divided", 2)[0] == Outcome(0.5)


@pytest.mark.parametrize(
    ("code", "problem", "error"),
    [
        (0, "its process ended with status 0 before it answered", "Exit"),
        (1, "its process ended with status 1 before it answered", "Exit"),
        (None, "its process ended with status None before it answered", "Exit"),
        (-1, "its process was ended by SIGHUP: a crash", "SIGHUP"),
        (-300, "its process ended with status -300 before it answered", "Exit"),
    ],
)
def test_how_a_process_ended_is_said(code: int | None, problem: str, error: str) -> None:
    class Process:
        exitcode: int | None = 77

        def join(self, _: float | None = None) -> None:
            self.exitcode = code  # it is known only then

        def kill(self) -> None:
            pass

    session = Session()
    session._process = Process()
    assert session._died() == Outcome(problem=problem, error=error, fatal=True)
    assert session._process is None


class LeftError(Exception):
    """Stands in for the end of a process."""


class Pipe:
    """Both ends of a connection: gives what it holds, then nothing more."""

    def __init__(self, *requests: Any) -> None:
        self.requests, self.sent, self.closed = list(requests), list[Any](), False

    def recv(self) -> Any:
        if not self.requests:
            raise EOFError
        return self.requests.pop(0)

    def send(self, answer: Any) -> None:
        self.sent.append(answer)

    def close(self) -> None:
        self.closed = True


def test_the_process_answers_until_its_parent_is_gone_and_never_outlives_a_call_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alarms: list[int] = []
    memory: list[int] = []

    def left(status: int) -> None:
        raise LeftError(status)

    monkeypatch.setattr(os, "_exit", left)
    monkeypatch.setattr(signal, "alarm", alarms.append)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(faulthandler, "disable", lambda: None)
    monkeypatch.setattr(sandbox, "_limit_memory", memory.append)
    pipe, parents = Pipe(("divided", (4,)), ("divided", (5,))), Pipe()
    connection: Any = pipe
    parents_end: Any = parents
    with random_state_kept(), pytest.raises(LeftError, match=r"^0$"):
        _serve(connection, parents_end, FUNCTIONS, Limits(seconds=7.5, memory=3))
    assert pipe.sent == [Outcome(0.25), Outcome(0.2)]
    assert parents.closed  # while this process held the parent's end, it would not see it gone
    assert alarms[1::2] == [0, 0]
    assert all(alarm > 7.5 for alarm in alarms[::2])
    assert len(alarms) == 4
    assert memory == [3]


def test_memory_is_limited_beside_what_is_there_and_no_core_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("needs Linux")
    limits: dict[int, tuple[int, int]] = {}
    names = {name: getattr(resource, name) for name in ("RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_FSIZE", "getpagesize")}
    monkeypatch.setattr(sandbox, "resource", SimpleNamespace(setrlimit=limits.__setitem__, **names))
    _limit_memory(1024)
    with open("/proc/self/statm") as file:
        there = int(file.read().split()[0]) * resource.getpagesize()
    (soft, hard) = limits.pop(resource.RLIMIT_AS)
    assert soft == hard
    assert abs(soft - there - 1024 * MiB) < 16 * MiB
    assert limits == {resource.RLIMIT_CORE: (0, 0), resource.RLIMIT_FSIZE: (LARGEST_FILE, LARGEST_FILE)}


def test_where_memory_cannot_be_limited_nothing_is(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[Any] = []
    monkeypatch.setattr(sandbox, "resource", SimpleNamespace(setrlimit=lambda *limit: limits.append(limit)))
    with monkeypatch.context() as patch:
        patch.setattr(os.path, "exists", lambda _: False)
        _limit_memory(64)
    monkeypatch.setattr(sandbox, "resource", None)
    _limit_memory(64)
    assert limits == []


def answer(function: Callable[..., Any], *arguments: Any) -> Outcome:
    with random_state_kept():
        return _answer(function, arguments)


def test_a_state_that_is_seeded_in_every_call_is_changed_in_every_call() -> None:
    for seed in (np.random.seed, random.seed):
        for _ in range(2):
            with random_state_kept():
                first, second = _answer(seed, (0,)), _answer(seed, (0,))
            assert first.notes == second.notes == ("it changes the global random state",)
    assert answer(divided, 2).notes == ()


def test_each_part_of_the_random_state_counts() -> None:
    def turned() -> None:
        state: Any = np.random.get_state()  # noqa: NPY002
        np.random.set_state((state[0], np.roll(state[1], 1), *state[2:]))  # noqa: NPY002

    assert answer(turned).notes == ("it changes the global random state",)
    assert answer(np.random.standard_normal).notes == ("it changes the global random state",)


def test_every_warning_is_noted_once_and_in_order() -> None:
    def warning() -> None:
        warnings.warn("z" * 81, UserWarning, stacklevel=1)
        for _ in range(2):
            warnings.warn("old\nstyle", DeprecationWarning, stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert answer(warning).notes == (
            "it warns: DeprecationWarning: old style",
            f"it warns: UserWarning: {'z' * 77}...",
        )


def test_all_that_happened_is_noted_together() -> None:
    def everything() -> None:
        print("said")
        random.random()
        warnings.warn("careful", UserWarning, stacklevel=1)
        raise KeyError("no")

    outcome = answer(everything)
    assert outcome.notes == (
        "it prints (1 line): 'said'",
        "it changes the global random state",
        "it warns: UserWarning: careful",
    )
    assert (outcome.error, outcome.refused, outcome.fatal) == ("KeyError", False, False)
    assert answer(lambda: print()).notes == ("it prints (1 line): ''",)


def test_what_compiled_code_prints_is_captured_too(capfd: pytest.CaptureFixture[str]) -> None:
    with _captured() as printed:
        print("of Python", end="|")
        os.write(1, b"to 1|")
        os.write(2, b"\xffto 2|")
        sys.stderr.write("an error|")
    assert printed() == "of Python|an error|to 1|\ufffdto 2|"
    print("later")
    os.write(2, b"too")
    assert capfd.readouterr() == ("later\n", "too")


def test_of_much_that_is_printed_a_part_is_kept() -> None:
    with _captured() as printed:
        print("x" * (2 * MiB))
    assert printed() == "x" * MiB


def test_a_stream_is_redirected_for_a_while_and_nothing_stays_open(tmp_path: Path) -> None:
    there = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else None
    with open(tmp_path / "stream", "w") as stream, open(tmp_path / "file", "w+b") as file:
        stream.write("before ")
        with suppress(KeyError), _redirected(stream, stream.fileno(), file):
            stream.write("within")
            raise KeyError
        stream.write("after")
    assert (tmp_path / "stream").read_text() == "before after"
    assert (tmp_path / "file").read_text() == "within"
    assert there in (None, len(os.listdir("/proc/self/fd")))


def raised_by(function: Callable[[], Any]) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("it raises nothing")


def refuses() -> None:
    raise ValueError("not this")


def refuses_deep_inside() -> None:
    refuses()


def asserts() -> None:
    assert not FUNCTIONS, "empty"


def asserts_in_one_line() -> None:
    if FUNCTIONS: assert not FUNCTIONS  # noqa: E701  # fmt: skip


def is_not_written() -> None:
    raise NotImplementedError


def has_a_type_of_its_own() -> None:
    raise TypeError("no lists")


def looks_up() -> None:
    raise KeyError("nothing")


def computes() -> None:
    int("raise")


def lets_numpy_raise() -> None:
    np.split(np.arange(3), 2)


def in_backward() -> None:
    error: Any = ValueError("too late")
    error.in_backward = True
    raise error


def without_source() -> None:
    exec(compile("raise ValueError", "<typed>", "exec"))


@pytest.mark.parametrize(
    ("function", "refused"),
    [
        (refuses, True),
        (refuses_deep_inside, True),
        (asserts, True),
        (asserts_in_one_line, True),
        (is_not_written, True),
        (has_a_type_of_its_own, True),
        (looks_up, False),
        (computes, False),
        (lets_numpy_raise, False),
        (in_backward, False),
        (without_source, False),
    ],
)
def test_a_refusal_is_a_raise_of_its_own(function: Callable[[], None], refused: bool) -> None:
    assert _own_raise(raised_by(function)) is refused
    assert answer(function).refused is refused


@pytest.mark.parametrize(("function", "late"), [(in_backward, True), (refuses, False), (looks_up, False)])
def test_an_error_says_whether_it_was_in_backward(function: Callable[[], None], late: bool) -> None:
    outcome = answer(function)
    assert (outcome.value, outcome.in_backward, outcome.fatal) == (None, late, False)
    with Session() as session:
        session.serve("asked", function)
        assert session("asked").in_backward is late


def test_what_is_served_later_is_known_too() -> None:
    with Session() as session:
        session.serve("first", os.getpid)
        before = session("first").value
        session.serve("second", lambda: 2)
        assert session("second") == Outcome(2)
        assert session("first").value not in (before, os.getpid())


def test_what_is_answered_was_not_ended_in_backward() -> None:
    assert answer(lambda: 3) == Outcome(3)
    assert Outcome(3).in_backward is False


def test_what_was_never_raised_is_no_refusal() -> None:
    assert _own_raise(ValueError("made, not raised")) is False


def test_an_error_is_one_line_with_the_last_place_in_their_code() -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def breaks() -> None:
        raise BrokenError

    def line(function: Callable[[], None]) -> int:
        return function.__code__.co_firstlineno + 1

    deep = _in_one_line(raised_by(refuses_deep_inside))
    assert deep == f"raised ValueError: not this (test_sandbox.py, line {line(refuses)})"
    numpys = _in_one_line(raised_by(lets_numpy_raise))
    assert numpys.endswith(f" (test_sandbox.py, line {line(lets_numpy_raise)})")
    broken = _in_one_line(raised_by(breaks))
    assert broken == f"raised BrokenError: (its message cannot be shown) (test_sandbox.py, line {line(breaks)})"
    assert _in_one_line(ValueError("a\n  b")) == "raised ValueError: a b"
    assert _in_one_line(ValueError("x" * 301)) == f"raised ValueError: {'x' * 297}..."
    assert _in_one_line(SystemExit(3)) == "called sys.exit"


@pytest.mark.parametrize(
    ("path", "theirs"),
    [
        ("/mine/layer.py", True),
        ("layer.py", True),
        ("<stdin>", True),
        (__file__, True),
        (scratch.__file__, False),
        (compare.__file__, False),
        (os.path.dirname(scratch.__file__) + "_of_mine/layer.py", True),
        (os.__file__, False),
        (np.__file__, False),
        ("/mine/site-packages/other/code.py", False),
        ("/mine/dist-packages/other/code.py", False),
        ("/mine/site-packages-of-mine/code.py", True),
        ("<frozen importlib._bootstrap>", False),
    ],
)
def test_which_files_are_theirs(path: str, theirs: bool) -> None:
    assert _is_theirs(path) is theirs


def test_a_long_text_is_cut_to_its_length() -> None:
    assert _cut("a b\n\tc", 5) == "a b c"
    assert _cut("abcdefghij", 10) == "abcdefghij"
    assert _cut("abcdefghijk", 10) == "abcdefg..."
