"""A process of its own for somebody's code, with a time and a memory limit.

What runs there may crash, loop for ever, call `sys.exit`, print, or ask for all memory there is: here it becomes an
`Outcome`. The process is forked, so that classes defined in a test or a notebook need not be importable; where there is
no fork (Windows), the code runs in this process, without limits, and `Session.isolated` is False.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import itertools
import multiprocessing
import os
import random
import re
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from typing import IO, Any, Self

import numpy as np
import torch
from threadpoolctl import threadpool_limits

import compare
import scratch

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

MiB = 2**20
_counter = itertools.count(10_000)
LARGEST_FILE = 256 * MiB  # what one file may hold that the code writes or prints into


@dataclass(frozen=True)
class Limits:
    """How long one call may take, in seconds, and how much memory it may take beside what is there, in MiB."""

    seconds: float = 20.0
    memory: int = 2048


@dataclass(frozen=True)
class Outcome:
    """What became of one request: a value, or the problem in one line.

    Attributes:
        value: what the request returned; None where there is a problem.
        problem: why there is no value, in one line; empty if there is one.
        error: the name of the exception's class, empty if it was none.
        refused: whether their own `raise` or `assert` ended it: a refusal of these arguments rather than a breakdown.
        in_backward: whether it ended in their backward, after there was an output.
        notes: what else happened: something printed, random state changed, warnings.
        fatal: further requests would end in the same way: the process is gone, or has no memory left.
    """

    value: Any = None
    problem: str = ""
    error: str = ""
    refused: bool = False
    in_backward: bool = False
    notes: tuple[str, ...] = ()
    fatal: bool = False


@dataclass
class Session:
    """Answers requests, `session(function, *arguments) -> Outcome`, in a process of its own. A context manager.

    A request that breaks the process (a crash, a limit) ends in an Outcome too; the next one starts a new process.

    Attributes:
        limits: those of each request.
        meanwhile: what is to be done here while an answer is awaited, a short step each time it is advanced.
    """

    limits: Limits = field(default_factory=Limits)
    meanwhile: Iterator[object] = field(default_factory=lambda: iter(()))

    def __post_init__(self) -> None:
        self.isolated = "fork" in multiprocessing.get_all_start_methods()
        self._process: Any = None
        self._connection: Connection | None = None
        self._functions: dict[str, Callable[..., Any]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def serve(self, name: str, function: Callable[..., Any]) -> None:
        """Make `function` callable by name; it need not be importable. A running process is ended, to know it too."""
        self._stop()
        self._functions[name] = function

    def __call__(self, name: str, *arguments: Any) -> Outcome:
        """Run a served function in the process; the arguments and the result are copied (pickled)."""
        if not self.isolated:
            with random_state_kept():
                return _answer(self._functions[name], arguments)
        if self._process is None:
            self._start()
        assert self._connection is not None
        deadline = time.monotonic() + self.limits.seconds
        try:
            self._connection.send((name, arguments))
        except OSError:
            return self._died()
        for _ in self.meanwhile:
            if self._connection.poll():
                break
        try:
            if not self._connection.poll(max(0.0, deadline - time.monotonic())):
                self._stop()
                return Outcome(
                    problem=f"no answer within {self.limits.seconds:g} s: an endless loop, or too slow for the limit",
                    error="Timeout",
                    fatal=True,
                )
            outcome: Outcome = self._connection.recv()
            return outcome
        except (EOFError, OSError):
            return self._died()
        except Exception as error:  # what came through the pipe is not what we sent
            self._stop()
            return Outcome(problem=f"its answer could not be read ({type(error).__name__})", error="Answer", fatal=True)

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        self._connection, theirs = context.Pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # Python warns that a thread might hold a lock during the fork; the threads here are idle ones of BLAS.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process = context.Process(
                target=_serve, args=(theirs, self._connection, self._functions, self.limits), daemon=True
            )
            self._process.start()
        theirs.close()

    def _died(self) -> Outcome:
        process = self._process
        process.join(5)
        code = process.exitcode
        self._stop()
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                name = signal.Signals(-code).name
                return Outcome(problem=f"its process was ended by {name}: a crash", error=name, fatal=True)
        return Outcome(problem=f"its process ended with status {code} before it answered", error="Exit", fatal=True)

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _serve(
    connection: Connection, parents: Connection, functions: dict[str, Callable[..., Any]], limits: Limits
) -> None:
    """The life of the process: answer until the parent is gone."""
    parents.close()
    faulthandler.disable()  # a crash is reported by the parent, in one line
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: it kills this process
    torch.set_num_threads(1)  # a pool of threads does not survive a fork
    _limit_memory(limits.memory)
    with threadpool_limits(1):
        while True:
            try:
                name, arguments = connection.recv()
            except (EOFError, OSError):
                os._exit(0)
            signal.alarm(int(limits.seconds) + 5)  # should the parent be killed meanwhile, this process ends too
            outcome = _answer(functions[name], arguments)
            signal.alarm(0)
            connection.send(outcome)


def _limit_memory(mebibytes: int) -> None:
    """Allow so much address space beside what the process has already (torch alone maps gigabytes)."""
    if resource is None or not os.path.exists("/proc/self/statm"):
        return  # macOS does not enforce it
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    limit = pages * resource.getpagesize() + mebibytes * MiB
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))


def _answer(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Outcome:
    # A state that nobody has set before: seeding it to what it was would not show.
    random.seed(next(_counter))
    np.random.seed(next(_counter))  # noqa: NPY002
    before = _random_state()
    outcome = Outcome()
    with warnings.catch_warnings(record=True) as heard, _captured() as printed:
        warnings.simplefilter("always")
        try:
            outcome = Outcome(function(*arguments))
        except MemoryError:
            # Asking for all memory again and again would take its time.
            outcome = Outcome(problem="asked for more memory than the limit allows", error="MemoryError", fatal=True)
        except BaseException as raised:
            in_backward = getattr(raised, "in_backward", False)
            outcome = Outcome(
                problem=_in_one_line(raised),
                error=type(raised).__name__,
                refused=_own_raise(raised),
                in_backward=in_backward,
            )
    notes = []
    text = printed()
    if text:
        lines = text.strip().splitlines() or [""]
        notes.append(f"it prints ({len(lines)} line{'s' if len(lines) > 1 else ''}): {_cut(lines[0], 60)!r}")
    if _random_state() != before:
        notes.append("it changes the global random state")
    notes += sorted({f"it warns: {w.category.__name__}: {_cut(str(w.message), 80)}" for w in heard})
    return replace(outcome, notes=tuple(notes))


@contextlib.contextmanager
def _captured() -> Iterator[Callable[[], str]]:
    """Keep what is printed, also by compiled code, from the terminal; the function given returns it afterwards."""
    text = ""
    with tempfile.TemporaryFile() as file, contextlib.ExitStack() as stack:
        for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
            stack.enter_context(_redirected(stream, number, file))
        buffer = io.StringIO()
        with contextlib.redirect_stdout(buffer), contextlib.redirect_stderr(buffer):
            yield lambda: text
        file.seek(0)
        text = (buffer.getvalue() + file.read(MiB).decode(errors="replace"))[:MiB]


@contextlib.contextmanager
def _redirected(stream: IO[str], number: int, file: IO[bytes]) -> Iterator[None]:
    stream.flush()
    kept = os.dup(number)
    try:
        os.dup2(file.fileno(), number)
        yield
    finally:
        stream.flush()
        os.dup2(kept, number)
        os.close(kept)


@contextlib.contextmanager
def random_state_kept() -> Iterator[None]:
    """Put the global random state back afterwards."""
    numpys, pythons = np.random.get_state(), random.getstate()  # noqa: NPY002 (people's code uses it)
    try:
        yield
    finally:
        np.random.set_state(numpys)  # noqa: NPY002
        random.setstate(pythons)


def _random_state() -> object:
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    return random.getstate(), kind, np.asarray(keys).tobytes(), position, has_gauss, gauss


def _in_one_line(raised: BaseException) -> str:
    """The exception and where in their file it was raised."""
    if isinstance(raised, SystemExit):
        text = "called sys.exit"
    else:
        try:
            said = str(raised)
        except Exception:  # their own exceptions may break too
            said = "(its message cannot be shown)"
        text = f"raised {type(raised).__name__}: {_cut(said, 300)}"
    frames = [frame for frame in traceback.extract_tb(raised.__traceback__) if _is_theirs(frame.filename)]
    return f"{text} ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else text


def _own_raise(raised: BaseException) -> bool:
    """Whether it is a refusal: their own `raise` or `assert`, before there is an output.

    What NumPy or Python raises underneath is a breakdown, and so is whatever is raised in backward.
    """
    frames = traceback.extract_tb(raised.__traceback__)
    refusal = isinstance(raised, AssertionError | ValueError | TypeError | NotImplementedError)
    if not refusal or getattr(raised, "in_backward", False) or not frames or not _is_theirs(frames[-1].filename):
        return False
    return re.search(r"(^|[:;])\s*(raise|assert)\b", frames[-1].line or "") is not None


_NOT_THEIRS = tuple(
    os.path.dirname(os.path.abspath(file)) + os.sep
    for file in (np.__file__, os.__file__, scratch.__file__, compare.__file__)
)


def _is_theirs(filename: str) -> bool:
    if {"site-packages", "dist-packages"} & set(os.path.abspath(filename).split(os.sep)):
        return False
    return not os.path.abspath(filename).startswith(_NOT_THEIRS) and not filename.startswith("<frozen")


def _cut(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 3] + "..."
