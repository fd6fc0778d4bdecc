"""The process for somebody's code: what becomes of each way to end, and that the next request is answered."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from compare.diagnosis.isolation import LARGEST_FILE, Limits, MiB, Outcome, Session, random_state_kept

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
    assert outcome.problem.partition(" (test_isolation.py")[0] == problem
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
