"""The process of somebody's code: what becomes of each way to end, what it sees, and that nothing of it is left."""

from __future__ import annotations

import faulthandler
import functools
import gc
import importlib
import json
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import scratch
from compare.contained import files as its_files
from compare.contained import process
from compare.contained import session as module
from compare.contained.files import Files, files_below
from compare.contained.link import LateError
from compare.contained.process import ROOT, Process
from compare.contained.session import Limits, Session
from compare.driving import worker
from compare.driving.answering import Outcome, random_state_kept
from compare.driving.interface import Interface
from compare.driving.observe import learning_rates
from compare.driving.task import Task
from compare.driving.tensors import Array, Call, Given
from compare.driving.wire import checked
from compare.driving.worker import Answers, Look, Reply, limit, send, serve
from compare.machine.errors import UserError

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs the processes of Unix"),
    pytest.mark.timeout(120),
]

MiB = 2**20
LONG = Limits(seconds=60, memory=256)
COUNT: list[int] = []


def sleeps(seconds: float) -> int:
    time.sleep(seconds)
    return 0


def counts() -> int:
    """How often this process was asked."""
    COUNT.append(1)
    return len(COUNT)


def prints(text: str) -> int:
    print(text)
    sys.stderr.write("more")
    return 0


def large_file(size: int) -> int:
    with open("large", "wb") as file:
        file.truncate(size)
    os.remove("large")
    return size


def ended(number: int) -> None:
    os.kill(os.getpid(), number)


def refuses() -> None:
    raise ValueError("not this")


def state() -> tuple[float, ...]:
    return (
        faulthandler.is_enabled(),
        signal.getitimer(signal.ITIMER_REAL)[0],
        len(sys.stdin.read()),
        sum(name.startswith("GRADTWIN_SECRET") for name in os.environ),
        int(os.environ["OMP_NUM_THREADS"]),
        resource.getrlimit(resource.RLIMIT_CORE)[0],
        sum(name in sys.modules for name in ("torch", "scratch", "compare.pairs", "compare.contained")),
        learning_rates(1.0, 1)[0],
    )


ACTS: dict[str, Callable[..., Any]] = {
    "ended": ended,
    "left": os._exit,
    "exit": sys.exit,
    "sleep": sleeps,
    "too much": lambda mebibytes: len(np.ones(mebibytes * MiB, np.uint8)),
    "large file": large_file,
    "divided": lambda by: 1 / by,
    "prints": prints,
    "counts": counts,
    "refuses": refuses,
    "object": object,
    "seeds": lambda: np.random.seed(0) or 0,  # noqa: NPY002
    "state": state,
}


class Acts:
    """A layer that does what it is asked to."""

    def __init__(self, act: str = '["counts"]') -> None:
        self.act, *self.arguments = json.loads(act)

    def forward(self, _: Array) -> Any:
        return np.asarray(ACTS[self.act](*self.arguments))

    def backward(self, g: Array) -> Array:
        return g


def asked(session: Session, act: str, *arguments: Any) -> Outcome:
    """What a request ends in; the value of an answer is the output of the candidate."""
    return driven(session, {"act": json.dumps([act, *arguments])})


def given(act: str, *arguments: Any) -> Given:
    call = Call((np.zeros((1, 2)),), np.zeros((1, 2)))
    return Given("case", "float64", {"act": json.dumps([act, *arguments])}, {}, (call,))


def driven(session: Session, options: dict[str, Any]) -> Outcome:
    return drives(session, replace(given("counts"), options=options))


def drives(session: Session, probe: Given, interface: Interface = Interface()) -> Outcome:  # noqa: B008 - one for all
    outcome = session("drive", interface, probe)
    if outcome.value is None:
        return outcome
    output = outcome.value.tensors["output"]
    return Outcome(output.item() if output.ndim == 0 else output.tolist(), notes=outcome.notes)


def killed(process: Process) -> None:
    """Kill a process, and wait until all that is inside is gone."""
    process.popen.kill()
    gone, _, _ = select.select([process.connection], [], [], 30)
    assert gone


HALF = Outcome(0.5)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def switch_off_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_no_bubblewrap", "switched off")


# How a request ends


def test_each_end_has_its_name_and_the_next_request_is_answered() -> None:
    ends: list[tuple[str, Any, str, str, bool]] = [
        ("ended", signal.SIGSEGV, "SIGSEGV", "its process was ended by SIGSEGV: a crash", True),
        ("ended", signal.SIGKILL, "SIGKILL", "its process was ended by SIGKILL: a crash", True),
        ("left", 7, "Exit", "its process ended with status 7 before it answered", True),
        ("exit", 3, "SystemExit", "called sys.exit", False),
        ("too much", 600, "MemoryError", "asked for more memory than the limit allows", True),
        ("divided", 0, "ZeroDivisionError", "raised ZeroDivisionError: division by zero", False),
    ]
    with Session(Acts, LONG) as session:
        for act, argument, error, problem, fatal in ends:
            outcome = asked(session, act, argument)
            assert (outcome.value, outcome.error, outcome.fatal, outcome.refused) == (None, error, fatal, False)
            assert outcome.problem.partition(" (test_session.py")[0] == problem
            assert asked(session, "divided", 2) == HALF


def test_a_call_that_does_not_end_is_ended() -> None:
    with Session(Acts, Limits(seconds=1)) as session:
        outcome = asked(session, "sleep", 3600)
        assert outcome.problem == "no answer within 1 s: an endless loop, or too slow for the limit"
        assert (outcome.error, outcome.fatal) == ("Timeout", True)
        assert session._process is None
        assert asked(session, "divided", 2) == HALF


def test_all_requests_together_have_a_limit_too() -> None:
    with Session(Acts, Limits(seconds=0.5)) as session:
        asked(session, "divided", 2)
        assert 14 < session._left < 15
        session._left = 0
        outcome = asked(session, "divided", 2)
    assert outcome.problem == "its answers took more than 15 s together: too slow for the limit"
    assert (outcome.error, outcome.fatal) == ("Timeout", True)


def test_memory_within_the_limit_is_given_and_files_are_kept_small(monkeypatch: pytest.MonkeyPatch) -> None:
    switch_off_bubblewrap(monkeypatch)  # in which all files together have such a limit
    with Session(Acts, Limits(seconds=20, memory=256)) as session:
        assert asked(session, "too much", 64).value == 64 * MiB
        assert asked(session, "large file", 256 * MiB).value == 256 * MiB
        assert asked(session, "large file", 256 * MiB + 1).error in ("OSError", "SIGXFSZ")


def test_what_else_happens_is_noted() -> None:
    with Session(Acts, LONG) as session:
        assert asked(session, "prints", "a\nb") == Outcome(0, notes=("it prints (3 lines): 'a'",))
        assert asked(session, "seeds").notes == ("it changes the global random state",)
        assert asked(session, "divided", 2) == HALF


def test_an_answer_that_is_no_array_of_numbers_is_an_outcome_and_not_a_traceback() -> None:
    with Session(Acts, LONG) as session:
        outcome = asked(session, "object")
        assert outcome.problem.startswith("raised ConversionError: forward returned ndarray of object")
        assert asked(session, "divided", 2) == HALF


def test_an_error_is_placed_in_its_file_and_a_refusal_is_known_as_one() -> None:
    with Session(Acts, LONG) as session:
        outcome = asked(session, "refuses")
    line = refuses.__code__.co_firstlineno + 1
    assert outcome.problem == f"raised ValueError: not this (test_session.py, line {line})"
    assert outcome.refused


def test_requests_share_one_process_as_long_as_it_lives() -> None:
    with Session(Acts, LONG) as session:
        assert [asked(session, "counts").value for _ in range(3)] == [1, 2, 3]
        asked(session, "left", 1)
        assert asked(session, "counts").value == 1
    assert COUNT == []


def test_a_process_that_is_gone_before_it_is_asked_is_said_to_be() -> None:
    with Session(Acts, LONG) as session:
        asked(session, "divided", 2)
        assert session._process is not None
        session._process.popen.kill()
        session._process.popen.wait()
        assert asked(session, "divided", 2).problem == "its process was ended by SIGKILL: a crash"
        assert asked(session, "divided", 2) == HALF


@pytest.mark.parametrize(
    ("code", "wrapped", "problem", "error"),
    [
        (0, False, "its process ended with status 0 before it answered", "Exit"),
        (1, True, "its process ended with status 1 before it answered", "Exit"),
        (None, False, "its process ended with status None before it answered", "Exit"),
        (-1, False, "its process was ended by SIGHUP: a crash", "SIGHUP"),
        (129, True, "its process was ended by SIGHUP: a crash", "SIGHUP"),
        (129, False, "its process ended with status 129 before it answered", "Exit"),
        (128, True, "its process ended with status 128 before it answered", "Exit"),
        (-300, False, "its process ended with status -300 before it answered", "Exit"),
    ],
)
@pytest.mark.parametrize(
    ("said", "notes"), [("", ()), ("a\x1b" + 300 * "b", (f"its last words: {'a?' + 198 * 'b'!r}",))]
)
def test_how_a_process_ended_is_said(
    code: int | None, wrapped: bool, problem: str, error: str, said: str, notes: tuple[str, ...]
) -> None:
    class Popen:
        returncode: int | None = 77

        def wait(self, _: float | None = None) -> None:
            self.returncode = code  # it is known only then

    session = Session(Acts)
    stopped: list[int] = []
    ends: Any = SimpleNamespace(popen=Popen(), wrapped=wrapped, last_words=lambda: said, stop=lambda: stopped.append(1))
    session._process = ends
    assert session._died().outcome == Outcome(problem=problem, error=error, notes=notes, fatal=True)
    assert (stopped, session._process) == ([1], None)


def test_what_is_to_be_done_meanwhile_is_done_while_an_answer_is_awaited() -> None:
    done: list[int] = []
    with Session(Acts, LONG) as session:
        session.meanwhile = map(done.append, range(3))
        assert session("look").problem == ""
        assert asked(session, "sleep", 0.2).problem == ""
        assert done == [0, 1, 2]


# The process


def test_the_process_knows_little_and_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    assert faulthandler.is_enabled()  # pytest does it
    monkeypatch.setenv("GRADTWIN_SECRET", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with Session(Acts, LONG) as session:
        enabled, alarm, *rest = asked(session, "state").value
    assert not enabled
    assert 60 < alarm < 70  # should this process end without a word, it ends too
    assert rest == [0, 0, 1, 0, 0, 0.5]


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_session_that_is_over_leaves_nothing(wrapped: bool, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not wrapped:
        switch_off_bubblewrap(monkeypatch)
    gc.collect()
    there = set(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else set()
    with Session(Acts, LONG) as session:
        asked(session, "divided", 2)
        first = session._process
        asked(session, "left", 1)
        asked(session, "divided", 2)
        last = session._process
        assert first is not None
        assert last is not None
        assert bool(list(temporary.iterdir())) is not last.wrapped  # inside there is a disk of its own
    for gone in (first, last):
        assert gone.popen.returncode is not None
        assert gone.connection.fileno() == -1
        assert gone.printed.closed
        with pytest.raises(ProcessLookupError):
            os.killpg(gone.popen.pid, 0)
    assert (session._process, session._link) == (None, None)
    assert list(temporary.iterdir()) == []
    assert not there or set(os.listdir("/proc/self/fd")) == there


def test_a_session_that_is_not_used_leaves_nothing_either(temporary: Path) -> None:
    with Session(Acts) as unused:
        pass
    assert unused._process is None
    assert list(temporary.iterdir()) == []
    with pytest.raises(UserError, match="is not understood"):
        Session("nothing")
    with pytest.raises(KeyError), Session(Acts):
        raise KeyError
    assert list(temporary.iterdir()) == []


def test_the_limits_unless_others_are_given() -> None:
    assert Session(Acts).limits == Limits(seconds=20.0, memory=2048)
    assert worker.MiB == 1024 * 1024
    assert worker.LARGEST_FILE == 268_435_456


class LeftError(Exception):
    """Stands in for the end of a process."""


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Reply]]:
    """Serve requests in this process, up to the end of the other side."""

    def left(status: int) -> None:
        raise LeftError(status)

    monkeypatch.setattr(os, "_exit", left)
    monkeypatch.setattr(faulthandler, "disable", lambda: None)

    def serve_all(answers: Any, missing: Callable[[], tuple[str, ...]], requests: int) -> list[Reply]:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for _ in range(requests):
                send(ours, ("look",))
            ours.shutdown(socket.SHUT_WR)
            with random_state_kept(), pytest.raises(LeftError, match=r"^0$"):
                serve(theirs, answers, missing, 7.5)
            return [checked(Reply, worker.receive(ours, trusted=False)) for _ in range(requests)]

    return serve_all


def test_the_process_answers_until_its_parent_is_gone_and_never_outlives_a_call_for_long(
    monkeypatch: pytest.MonkeyPatch, served: Callable[..., list[Reply]]
) -> None:
    alarms: list[int] = []
    monkeypatch.setattr(signal, "alarm", alarms.append)
    missing = iter([(), ("seaborn",)])
    replies = served(Answers(lambda: Acts), lambda: next(missing), 2)
    assert [checked(Look, reply.outcome.value) for reply in replies] == [Look(arguments=("act",))] * 2
    assert [reply.missing for reply in replies] == [(), ("seaborn",)]
    assert alarms[1::2] == [0, 0]
    assert all(7.5 < alarm < 20 for alarm in alarms[::2])
    assert len(alarms) == 4


def test_an_answer_that_cannot_be_sent_is_told_and_not_left_out(
    monkeypatch: pytest.MonkeyPatch, served: Callable[..., list[Reply]]
) -> None:
    monkeypatch.delattr(signal, "alarm")  # as where there is none

    class Odd(Answers):
        def __call__(self, *_: Any) -> Outcome:
            return Outcome(np.array([object()]), notes=("it prints",))

    (reply,) = served(Odd(object), tuple, 1)
    assert reply.outcome.problem == "an array of object is no array of real numbers"
    assert (reply.outcome.error, reply.outcome.notes) == ("ConversionError", ("it prints",))


def limited(monkeypatch: pytest.MonkeyPatch, hard: int = resource.RLIM_INFINITY) -> dict[int, tuple[int, int]]:
    """The limits that are set from now on."""
    limits: dict[int, tuple[int, int]] = {}
    names = ("RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIM_INFINITY", "getpagesize")
    kept = {name: getattr(resource, name) for name in names}
    replaced = SimpleNamespace(setrlimit=limits.__setitem__, getrlimit=lambda _: (hard, hard), **kept)
    monkeypatch.setattr(worker, "resource", replaced)
    return limits


def test_memory_is_limited_beside_what_is_there_and_no_core_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("needs Linux")
    limits = limited(monkeypatch)
    limit(1024)
    with open("/proc/self/statm") as file:
        there = int(file.read().split()[0]) * resource.getpagesize()
    (soft, hard) = limits.pop(resource.RLIMIT_AS)
    assert soft == hard
    assert abs(soft - there - 1024 * MiB) < 16 * MiB
    assert limits == {
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_FSIZE: (256 * MiB, 256 * MiB),
        resource.RLIMIT_NOFILE: (256, 256),
    }


def test_where_memory_cannot_be_limited_the_rest_is(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = limited(monkeypatch, hard=100)  # a limit that is there already is not raised
    with monkeypatch.context() as patch:
        patch.setattr(os.path, "exists", lambda _: False)
        limit(64)
    others = resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE
    assert limits == {resource.RLIMIT_CORE: (0, 0)} | dict.fromkeys(others, (100, 100))
    monkeypatch.setattr(worker, "resource", None)
    limits.clear()
    limit(64)
    assert limits == {}


def test_too_many_processes_and_too_much_memory_together_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("needs Linux")
    ours, theirs = socket.socketpair()
    with ours, theirs, open(os.devnull, "rb") as printed:
        this: Any = SimpleNamespace(pid=os.getpid())
        watched = process.Process(this, ours, printed, wrapped=False)
        assert watched.overgrown(2**20) == ""
        with subprocess.Popen(["sleep", "60"]) as child:
            assert {os.getpid(), child.pid} <= set(process._family(os.getpid()))
            monkeypatch.setattr(process, "MOST_PROCESSES", 1)
            assert watched.overgrown(2**20) == "it starts more than 1 processes"
            child.kill()
        monkeypatch.setattr(process, "MOST_PROCESSES", 64)
        monkeypatch.setattr(process, "_family", lambda pid: [pid] * 64)  # at least 4 GB, were they that many
        assert watched.overgrown(16) == "it takes more memory than the limit allows"


# Levels of containment


@pytest.fixture
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `containment` says; where the system has no such level the test skips."""
    wanted: str = request.param
    if wanted == "contained: bubblewrap" and not module._has_bubblewrap():
        pytest.skip("needs bubblewrap")
    if wanted != "contained: bubblewrap":
        switch_off_bubblewrap(monkeypatch)
    if wanted.startswith("not"):
        monkeypatch.setattr(module, "_no_landlock", "nor is Landlock")
    return wanted


LEVELS = ["contained: bubblewrap", "contained: Landlock (switched off)", "not contained: switched off; nor is Landlock"]
READING = """
import numpy as np, os
from beside import SCALE
data = np.load("sub/data.npy")

def forward(x):
    try:
        outside = os.listdir(OUTSIDE)
    except OSError:
        outside = []
    return np.array([SCALE, data.sum(), os.path.lexists("link"), os.path.exists("link"), len(outside)])

def backward(g):
    return g
"""


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file that reads what lies beside it, a large file too, and tries to read what does not."""
    secret, folder = tmp_path / "secret", tmp_path / "theirs"
    secret.mkdir()
    (secret / "answers").write_text("all of them")
    (folder / "sub").mkdir(parents=True)
    (folder / "link").symlink_to(secret / "answers")
    (folder / "beside.py").write_text("SCALE = 3")
    (folder / "layer.py").write_text(f"OUTSIDE = {str(secret)!r}\n{READING}")
    np.save(folder / "sub/data.npy", np.ones(2000))
    monkeypatch.setattr(its_files, "LARGEST", 10_000)
    return f"{folder / 'layer.py'}:forward,backward"


@pytest.mark.parametrize("level", LEVELS, indirect=True)
def test_on_every_level_it_sees_its_own_files_and_it_is_said_how_it_is_contained(level: str, target: str) -> None:
    with Session(target, LONG) as session:
        found = driven(session, {}).value
        if level != session.containment and "Landlock (" in level:
            pytest.skip(session.containment)
        assert session.containment == level
        assert session.contained == level.startswith("contained")
    scale, total, is_there, leads_anywhere, outside = found
    assert (scale, total, is_there, leads_anywhere) == (3, 2000, 0, 0)
    assert bool(outside) is not session.contained


SHARING = """
from multiprocessing.shared_memory import SharedMemory
import numpy as np

def forward(x):
    held = SharedMemory(create=True, size=1000)
    held.close()
    held.unlink()
    return np.ones(())
"""


def test_memory_can_be_shared_inside(tmp_path: Path) -> None:
    (tmp_path / "layer.py").write_text(SHARING)
    with Session(f"{tmp_path / 'layer.py'}:forward", LONG) as session:
        if not session("look").problem and session.containment != "contained: bubblewrap":
            pytest.skip("needs bubblewrap")
        assert driven(session, {}) == Outcome(1)


def test_bubblewrap_that_does_not_work_is_tried_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> None:
    if sys.platform != "linux":
        pytest.skip("needs Linux")
    tried = tmp_path / "tried"
    (tmp_path / "bwrap").write_text(f"#!/bin/sh\necho tried >> {tried}\necho 'bwrap: not \033here' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setattr(module, "_no_bubblewrap", "")
    monkeypatch.setattr(module, "_no_landlock", "no Landlock")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for _ in range(2):
        with Session(Acts, LONG) as session:
            assert asked(session, "divided", 2) == HALF
        assert session.containment == "not contained: bwrap: not ?here; no Landlock"
        assert not session.contained
    assert tried.read_text() == "tried\ntried\n"  # for this candidate, then for none
    assert list(temporary.iterdir()) == []


def test_bubblewrap_that_is_not_installed_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_no_bubblewrap", "")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with Session(Acts, LONG) as session:
        assert session("look").problem == ""
    why = "bubblewrap is not installed" if sys.platform == "linux" else "no bubblewrap here"
    assert why in session.containment


# Candidates of this process


class Locked(Acts):
    """Cannot be sent to another process."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class Unreadable(Acts):
    """Can be sent, and breaks where it arrives."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


def forward(x: Array) -> Array:
    return np.full(x.shape, 3.0)


def backward(g: Array) -> Array:
    return g


def factory() -> Acts:
    return Acts()


@pytest.mark.parametrize(
    "candidate",
    [
        (forward, backward),
        factory,
        lambda: Acts(),
        functools.partial(Acts, '["counts"]'),
        Acts(),
        type("Made", (Acts,), {}),
    ],
)
def test_whatever_there_is_in_this_process_can_be_a_candidate(candidate: Any) -> None:
    with Session(candidate, LONG) as session:
        assert driven(session, {}).value in (1, [[3.0, 3.0]])
        assert session.remarks == ()
        assert not session.containment.startswith("not contained: a fork")


def test_our_own_layer_is_shown_what_it_is_made_of() -> None:
    with Session(scratch.ReLU, LONG) as session:
        assert session("look").value == Look(ours=True)
        assert session.remarks == ("it uses scratch",)


@pytest.mark.parametrize(
    ("candidate", "why"),
    [(Locked(), "TypeError: cannot pickle '_thread.lock' object"), (Unreadable(), "ValueError")],
)
def test_what_cannot_be_sent_is_run_in_a_copy_of_this_process(candidate: Any, why: str, temporary: Path) -> None:
    with Session(candidate, LONG) as session:
        if isinstance(candidate, Locked):
            assert [driven(session, {}).value for _ in range(2)] == [1, 2]
        assert session("look").value == Look()
        assert (session.containment, session.contained) == ("not contained: a fork of this process", False)
        (remark,) = session.remarks
        assert remark.startswith(f"it runs in a copy of this process, as it cannot be sent to another one: {why}")
        assert session._process is not None
        last = session._process.popen
    assert COUNT == []
    assert last.returncode is not None
    assert list(temporary.iterdir()) == []


class SendingError(ValueError):
    """Called as ours is."""


def test_what_was_sent_once_is_not_forked_whatever_it_says() -> None:
    def says(act: str) -> Any:
        raise SendingError(act)

    class Saying(Acts):
        def forward(self, _: Array) -> Any:
            return says(self.act) if self.arguments else np.zeros(())

    with Session(Saying, LONG) as session:
        assert drives(session, given("first")).value == 0
        assert drives(session, given("second", 1)).error == "SendingError"
        assert drives(session, given("third")).value == 0
        assert not session.containment.startswith("not contained: a fork")


def test_a_fork_is_limited_and_replaced_too() -> None:
    class LockedActs(Acts):
        lock = threading.Lock()

    with Session(LockedActs, LONG) as session:
        assert asked(session, "ended", signal.SIGSEGV).error == "SIGSEGV"
        assert asked(session, "too much", 600).error == "MemoryError"
        assert asked(session, "prints", "a\nb") == Outcome(0, notes=("it prints (3 lines): 'a'",))
        session.limits = Limits(seconds=1)
        assert asked(session, "sleep", 3600).error == "Timeout"
        assert session.containment.startswith("not contained: a fork")


def test_without_a_fork_what_cannot_be_sent_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    candidate = Locked()
    with pytest.raises((OSError, UserError), match="no fork"), Session(candidate, LONG):
        pass
    assert COUNT == []


def test_what_was_printed_before_a_fork_is_printed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "out", "w") as out, open(tmp_path / "err", "w") as err:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        out.write("once")
        err.write("once")
        with Session(Locked(), LONG) as session:
            assert driven(session, {}).value == 1
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
        with Session(Locked(), LONG) as session:
            assert driven(session, {}).value == 1


# Tasks


def test_a_start_after_the_first_answer_takes_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A candidate that ends its process again and again does not get the time of every start for nothing."""
    starts: list[float] = []
    make_ready = Session._make_ready

    def slowly(session: Session) -> None:
        if not session._is_ready:
            starts.append(session._left)
            time.sleep(0.5)
        make_ready(session)

    monkeypatch.setattr(Session, "_make_ready", slowly)
    with Session(Acts, Limits(seconds=1)) as session:
        assert asked(session, "divided", 2) == HALF
        assert session._left > 30 - 0.5  # the first start is ours
        before = session._left
        assert asked(session, "left", 1).error == "Exit"
        assert asked(session, "divided", 2) == HALF
        assert session._left < before - 0.5
    assert len(starts) == 2


def test_what_it_is_compared_with_may_change() -> None:
    class Plain:
        def forward(self, x: Array) -> Array:
            return x

    given = Given("case", "float64", {"scale": 2.0}, {})
    with Session(Plain, LONG) as session:
        assert session("construct", Interface(), given).error == "UnsupportedError"
        session.task = Task(defaults={"scale": 2.0})
        assert session("construct", Interface(), given) == Outcome()
        assert session._process is not None
        killed(session._process)
        assert session("construct", Interface(), given).error == "SIGKILL"
        assert session("construct", Interface(), given) == Outcome()  # the next process is told too


# What is sent ahead


def test_the_next_of_the_upcoming_probes_is_worked_out_ahead() -> None:
    first, second, third, other = (given("counts") for _ in range(4))
    with Session(Acts, LONG) as session:
        session.upcoming = [first, second, third]
        assert [drives(session, probe).value for probe in (first, second, third)] == [1, 2, 3]
        assert drives(session, other).value == 4  # after the last there is none
        assert drives(session, first).value == 5
        assert drives(session, other).value == 7  # the second was the sixth, and nobody asked for it
        assert drives(session, second).value == 8
        assert drives(session, third, Interface(forward="forward")).value == 10  # which is another request
        session.upcoming = []
        assert [drives(session, probe).value for probe in (first, other)] == [11, 12]


def test_what_is_sent_ahead_and_never_asked_for_has_no_effect() -> None:
    first, other = given("divided", 2), given("divided", 4)
    for ahead in (given("ended", signal.SIGKILL), given("sleep", 60), given("left", 3), given("prints", "text")):
        with Session(Acts, Limits(seconds=2)) as session:
            session.upcoming = [first, ahead]
            assert drives(session, first) == HALF
            assert drives(session, other) == Outcome(0.25)
            assert session.remarks == ()


def test_what_ends_what_is_sent_ahead_ends_that_request() -> None:
    first = given("divided", 2)
    ends = {
        "SIGSEGV": given("ended", signal.SIGSEGV),
        "Exit": given("left", 3),
        "ZeroDivisionError": given("divided", 0),
    }
    for error, ahead in (ends | {"Timeout": given("sleep", 60)}).items():
        with Session(Acts, Limits(seconds=2)) as session:
            session.upcoming = [first, ahead, first]
            assert [drives(session, probe).error for probe in (first, ahead, first)] == ["", error, ""]


@pytest.mark.parametrize(("raised", "then"), [(BrokenPipeError, "SIGKILL"), (LateError, "")])
def test_what_cannot_be_sent_ahead_is_no_fault_of_the_answer_before(
    raised: type[Exception], then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = given("divided", 2), given("divided", 4)
    with Session(Acts, LONG) as session:
        session.upcoming = [first, second]
        assert drives(session, second) == Outcome(0.25)
        process = session._process
        assert process is not None
        send = session._send

        def fails_ahead(request: Any, deadline: float) -> None:
            if request[0] == "drive" and request[2].options == second.options:
                monkeypatch.setattr(session, "_send", send)
                if raised is BrokenPipeError:
                    killed(process)
                raise raised
            send(request, deadline)

        monkeypatch.setattr(session, "_send", fails_ahead)
        assert drives(session, first) == HALF
        assert drives(session, second).error == then
        assert drives(session, second) == Outcome(0.25)


def test_what_is_sent_ahead_is_of_the_task_that_it_was_sent_for() -> None:
    first, second = given("counts"), given("counts")
    with Session(Acts, LONG) as session:
        session.upcoming = [first, second]
        assert drives(session, first).value == 1
        session.task = Task()
        assert drives(session, second).value == 3


# Modules


def layer_file(folder: Path, head: str) -> str:
    """A target whose file begins with these lines."""
    folder.mkdir(exist_ok=True)
    (folder / "layer.py").write_text(f"{head}\nimport numpy as np\n\ndef forward(x):\n    return np.array(FOUND)\n")
    return f"{folder / 'layer.py'}:forward"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with a module and a package, and one that is no package."""
    folder = tmp_path / "elsewhere"
    write(folder, "package_of_somebody/__init__.py", text="from . import part")
    write(folder, "package_of_somebody/part.py", text="FOUND = 5")
    write(folder, "module_of_somebody.py", text="FOUND = 2")
    write(folder, "folder_of_somebody/part.py", text="FOUND = 1")
    return folder


IMPORTING = """import module_of_somebody, package_of_somebody
FOUND = module_of_somebody.FOUND + package_of_somebody.part.FOUND"""


@pytest.mark.parametrize("how", ["installed", "named by a .pth file", "beside its package"])
def test_what_is_installed_or_lies_beside_it_is_brought_into_sight(
    how: str, tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs"
    if how == "installed":
        elsewhere = elsewhere.rename(tmp_path / "site-packages")
        monkeypatch.syspath_prepend(elsewhere)
    elif how == "named by a .pth file":
        write(tmp_path, "site-packages/somebody.pth", text=f"import os\n/gone\n{elsewhere}\n")
        monkeypatch.syspath_prepend(tmp_path / "site-packages")
    else:
        elsewhere.rename(theirs)
        theirs = theirs / "own"
    target = layer_file(theirs, IMPORTING)
    write(theirs, *["__init__.py"] * (how == "beside its package"), text="")
    with Session(target, LONG) as session:
        assert session("look").problem == ""
        assert driven(session, {}).value == 7
        assert session.remarks == ()


def test_what_only_this_process_could_import_is_not_shown_to_a_file(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The solution in the working directory, for instance."""
    monkeypatch.syspath_prepend(elsewhere)
    with Session(layer_file(tmp_path / "theirs", IMPORTING), LONG) as session:
        assert session("look").error == "ModuleNotFoundError"
        assert session.remarks == ("it may not import module_of_somebody: neither installed nor beside it",)
    without = "try:\n    import pytest\n    FOUND = 1\nexcept ImportError:\n    FOUND = 0"
    with Session(layer_file(tmp_path / "tries", without), LONG) as session:  # which is installed
        assert driven(session, {}).value in (0, 1)
        assert session.remarks == ()

    def forward(x: Array) -> Array:
        module_of_somebody = importlib.import_module("module_of_somebody")

        return np.full(x.shape, module_of_somebody.FOUND)

    with Session((forward, backward), LONG) as session:  # which is of this process itself
        assert driven(session, {}).value == [[2.0, 2.0]]
        assert session.remarks == ()


def test_what_is_installed_to_be_edited_is_brought_into_sight(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Finder:
        @staticmethod
        def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
            del path, target
            return importlib.machinery.PathFinder.find_spec(name, [str(elsewhere)])

    Finder.__module__ = "__editable___somebody_1_0_finder"
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    with Session(layer_file(tmp_path / "theirs", IMPORTING), LONG) as session:
        assert driven(session, {}).value == 7


@pytest.mark.parametrize("name", ["folder_of_somebody", "package_of_somebody.part", "gone", "sys"])
def test_what_is_no_module_with_a_place_is_nowhere(name: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(elsewhere)
    assert process.where(name) == process.where(name, [str(elsewhere)]) == ""
    assert process.where("module_of_somebody") == str(elsewhere / "module_of_somebody.py")
    assert process.where("package_of_somebody") == str(elsewhere / "package_of_somebody")
    assert "package_of_somebody.part" not in sys.modules


def test_a_module_that_is_nowhere_is_an_error_in_one_line(tmp_path: Path) -> None:
    with Session(layer_file(tmp_path / "theirs", "print('loading')\nimport module_of_nobody"), LONG) as session:
        outcome = session("look")
    text = "raised ModuleNotFoundError: No module named 'module_of_nobody' (layer.py, line 2)"
    assert (outcome.problem, outcome.error) == (text, "ModuleNotFoundError")
    assert outcome.notes == ("it prints (1 line): 'loading'",)


def test_what_is_asked_for_in_vain_and_what_is_used_is_remarked(tmp_path: Path) -> None:
    without = "try:\n    import torch\n    FOUND = 1\nexcept ImportError:\n    FOUND = 0"
    with Session(layer_file(tmp_path / "without", without), LONG) as session:
        assert driven(session, {}).value == 0
        assert session.remarks == ("it asks for torch, and does without",)
    with Session(layer_file(tmp_path / "uses", "import scratch\nFOUND = scratch.ReLU is not None"), LONG) as session:
        assert driven(session, {}).value
        assert session.remarks == ("it uses scratch",)


# What it gets of its own files


def seen(top: Path, root: Path, own: str = "layer.py") -> dict[str, str]:
    files = files_below(top, root, top / own)
    copied = {name: data.tobytes().decode() for name, data in files.copied}
    return copied | {name: f"-> {place}" for name, place in files.large}


def write(folder: Path, *names: str, text: str = "text") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_regular_files_are_copied_and_large_ones_are_linked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    write(elsewhere, "secret")
    write(root, "layer.py", "sub/data.txt")
    write(root, "large", text="x" * 11)
    write(root, "just", text="x" * 10)
    write(root, ".hidden", ".git/config", "__pycache__/layer.pyc", "env/pyvenv.cfg", "env/lib.py")
    (root / "link").symlink_to(elsewhere / "secret")
    (root / "linked").symlink_to(elsewhere)
    os.mkfifo(root / "pipe")
    monkeypatch.setattr(its_files, "LARGEST", 10)
    large = {"large": f"-> {root / 'large'}"}
    assert seen(root, root) == {"layer.py": "text", "just": "x" * 10, "sub/data.txt": "text"} | large
    monkeypatch.setattr(its_files, "TOGETHER", 14)
    assert (
        seen(root, root)
        == {"layer.py": "text", "just": "x" * 10, "sub/data.txt": f"-> {root / 'sub/data.txt'}"} | large
    )


def test_a_file_that_becomes_another_thing_meanwhile_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "layer.py", "secret")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    there = [str(tmp_path / name) for name in ("layer.py", "pipe", "link", "gone")]
    monkeypatch.setattr(its_files, "_regular_files", lambda _: iter(there))
    assert seen(tmp_path, tmp_path) == {"layer.py": "text"}


def test_a_package_lies_where_it_is_imported_from(tmp_path: Path) -> None:
    write(tmp_path, "package/__init__.py", "package/sub/layer.py", "beside.py")
    assert list(seen(tmp_path / "package", tmp_path, "sub/layer.py")) == ["package/sub/layer.py", "package/__init__.py"]


def test_of_very_many_or_very_deep_files_the_first_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (its_files.LARGEST, its_files.MOST, its_files.DEEPEST) == (2**20, 1000, 6)
    root = tmp_path / "root"
    write(root, "a/b/c/deep.py", "a/b/near.txt", "a/z.py", "a/y.txt", "layer.py")
    monkeypatch.setattr(its_files, "DEEPEST", 2)
    assert list(seen(root, root)) == ["layer.py", "a/z.py", "a/y.txt", "a/b/near.txt"]
    monkeypatch.setattr(its_files, "MOST", 2)
    assert list(seen(root, root)) == ["layer.py", "a/z.py"]
    monkeypatch.setattr(its_files, "LARGEST", 1)
    assert seen(root, root).keys() == {"layer.py", "a/z.py"}
    monkeypatch.setattr(its_files, "MOST_LARGE", 1)
    assert seen(root, root).keys() == {"layer.py"}


def test_the_file_itself_is_there_however_many_others_come_before(tmp_path: Path) -> None:
    write(tmp_path, "package/__init__.py", "package/layers/act.py", *(f"package/data/{n}.png" for n in range(1100)))
    found = list(seen(tmp_path / "package", tmp_path, "layers/act.py"))
    assert found[:2] == ["package/layers/act.py", "package/__init__.py"]
    assert len(found) == 1000


def test_what_is_nowhere_is_nothing(tmp_path: Path) -> None:
    assert files_below(tmp_path / "gone", tmp_path, tmp_path / "gone/layer.py") == Files()


LOCKING = """
import os
os.makedirs("locked/inner/deeper")
open("locked/inner/file", "w").close()
os.symlink({elsewhere!r}, "locked/link")
os.chmod("locked/inner", 0)
os.chmod("locked", 0o500)

def forward(x):
    return x
"""


def test_what_it_has_made_unremovable_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> None:
    switch_off_bubblewrap(monkeypatch)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(0o750)
    write(tmp_path, "layer.py", text=LOCKING.format(elsewhere=str(elsewhere)))
    with Session(f"{tmp_path / 'layer.py'}:forward", LONG) as session:
        assert session("look").problem == ""
        assert list(temporary.iterdir()) != []
    assert list(temporary.iterdir()) == []
    assert elsewhere.stat().st_mode & 0o777 == 0o750  # a link to a folder is not followed


def test_what_it_has_made_unremovable_is_removed_by_an_ordinary_user_too(tmp_path: Path) -> None:
    """By one whom the modes of folders hold back, as they do not hold back root."""
    as_user = ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []
    if as_user and (shutil.which("unshare") is None or subprocess.run([*as_user, "true"], check=False).returncode):
        pytest.skip("needs unshare and user namespaces")
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    elsewhere.mkdir(0o750)
    folder.mkdir()
    code = (
        f"import os\nfrom pathlib import Path\nfrom compare.contained.process import _remove\nos.chdir({str(folder)!r})"
    )
    code += f"{LOCKING.format(elsewhere=str(elsewhere))}\n_remove(Path.cwd())"
    subprocess.run([*as_user, sys.executable, "-c", code], check=True, cwd=ROOT)
    assert not folder.exists()
    assert elsewhere.stat().st_mode & 0o777 == 0o750
