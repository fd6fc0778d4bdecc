"""Asks somebody's code, which runs in a process of its own, contained as far as the system allows.

What runs there may crash, loop for ever, call `sys.exit`, print, ask for all memory there is, or try to reach the
process that judges: here each becomes an `Outcome`. From it come plain bytes only (`driving/wire.py`).
"""

from __future__ import annotations

import contextlib
import operator
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from compare.contained import spares
from compare.contained.bubblewrap import SYSTEM
from compare.contained.files import Files, files_below
from compare.contained.forked import fork
from compare.contained.link import LateError, Link
from compare.contained.process import Process, installed, pieces_in_sight, start, where
from compare.contained.sending import by_value
from compare.driving.answering import Outcome
from compare.driving.candidate import read_target
from compare.driving.noticing import MOST, VERBS
from compare.driving.task import Task
from compare.driving.tensors import Given
from compare.driving.wire import WireError, checked, cleaned, listed, pack, unpack
from compare.driving.worker import HIDDEN, RESULTS, Ready, Reply, Start
from compare.machine.errors import UserError

STARTING = 120.0  # seconds in which a process must be ready; torch may have to be read from a slow disk
ALL = 30  # all requests together may take so many times what one may
TOGETHER = {"torch": ("torchgen", "functorch")}  # what is of no use without the rest

WRITABLE = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")

# Why there is no bubblewrap or no Landlock, once it was tried.
_no_bubblewrap = ""
_no_landlock = "" if sys.platform == "linux" else "Landlock is of Linux"


@dataclass(frozen=True)
class Limits:
    """How long one call may take, in seconds, and how much memory it may take beside what is there, in MiB."""

    seconds: float = 20.0
    memory: int = 2048


@dataclass
class Session:
    """Answers requests about a candidate, `session(name, *arguments) -> Outcome`. A context manager.

    Its process is started when the session is entered. A request that breaks it (a crash, a limit) ends in an Outcome
    too; the next one starts a new process.

    Attributes:
        candidate: a class, function or object of this process, or the text of a target.
        limits: those of each request.
        task: what the candidate is compared with.
        meanwhile: what is to be done here while an answer is awaited, a short step each time it is advanced.
        upcoming: the probes that are likely to be asked for one after the other: while one answer is looked at here,
            the next is worked out there.
        containment: how it is contained, in words: "contained: bubblewrap", or "not contained: ..." and why. Known once
            a request was answered.

    Raises:
        UserError: for a text that is no target, or a file that is not there.
    """

    candidate: Any
    limits: Limits = field(default_factory=Limits)
    task: Task = field(default_factory=Task)
    meanwhile: Iterator[object] = field(default_factory=lambda: iter(()))
    upcoming: Sequence[Given] = ()
    containment: str = ""

    def __post_init__(self) -> None:
        self._target = read_target(self.candidate) if isinstance(self.candidate, str) else None
        self._files = Files()
        self._start: Start | None = None  # None: it cannot be sent
        self._not_sent = ""
        self._shown: set[str] = set()
        self._extra: dict[str, str] = {}
        self._looked_for: set[str] = set()
        self._process: Process | None = None
        self._link: Link | None = None
        self._is_ready = False
        self._was_spare = False
        self._has_answered = False  # ever, since it was entered
        self._told: Task | None = None
        self._ahead: tuple[Any, ...] | None = None  # a request that was sent before it was asked for
        self._not_its_own: set[str] = set()
        self._did: dict[str, set[str]] = {}
        self._left = ALL * self.limits.seconds

    def __enter__(self) -> Self:
        target = self._target
        if target is None:
            self._prepare_sending()
        else:
            self._start = Start(file=str(target.file.relative_to(target.root)), expression=target.expression)
            self._files = files_below(target.top, target.root, target.file)
        shown = sorted(self._shown)
        try:
            if self._start is not None and not self._files.large:  # which would have to be in sight
                self._process = spares.take(shown, wrapped=_has_bubblewrap())
            if self._process is None:
                self._launch()
            else:
                self._link, self._was_spare = Link(self._process.connection), True
            if self._start is not None:
                spares.prepare(shown, wrapped=_has_bubblewrap())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def contained(self) -> bool:
        """Whether it is contained."""
        return self.containment.startswith("contained")

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is to be known of how it was run, in words."""
        uses = sorted(self._shown - self._not_its_own - {part for parts in TOGETHER.values() for part in parts})
        asked = sorted(self._looked_for & HIDDEN - self._shown)
        remarks = [f"it uses {' and '.join(uses)}"] if uses else []
        remarks += [f"it asks for {' and '.join(asked)}, and does without"] if asked else []
        kept = [name for name in self._looked_for - HIDDEN if where(name) and not self._place_of(name)]
        remarks += [f"it may not import {listed(kept)}: neither installed nor beside it"] if kept else []
        remarks += [f"{verb} {listed(names)}".rstrip() for verb, names in self._did.items()]
        if self._not_sent:
            remarks.append(f"it runs in a copy of this process, as it cannot be sent to another one: {self._not_sent}")
        return tuple(remarks)

    def __call__(self, name: str, *arguments: Any) -> Outcome:
        """Have a request answered, one of `worker.RESULTS`; the arguments are an `Interface` and what it is given."""
        while True:
            reply = self._ask(name, arguments)
            for verb, names in reply.did:
                if verb in VERBS and len(self._did.setdefault(verb, set())) < MOST:
                    self._did[verb].update(names[:MOST])
            new = set(reply.missing[:MOST]) - self._looked_for
            self._looked_for |= new
            if name == "drive" and self.task.role == "model":  # it is trained with our loss and optimizer
                self._not_its_own |= new & {"scratch"}
            if not reply.outcome.problem or not self._bring_in_sight(new):
                break
            self._stop()
        pickled = self._start is not None and self._start.pickled is not None
        # What was made there once can be sent, whatever the code itself says.
        unsent = reply.outcome.error == "SendingError" and pickled and not self._has_answered
        self._has_answered = self._has_answered or not reply.outcome.problem
        if unsent and self._cannot_be_sent(reply.outcome.problem.partition("Error: ")[2]):
            return self._ask(name, arguments).outcome
        return reply.outcome

    def _prepare_sending(self) -> None:
        try:
            self._start, self._shown = by_value(self.candidate)
        except Exception as error:
            self._cannot_be_sent(f"{type(error).__name__}: {error}")

    def _cannot_be_sent(self, why: str) -> bool:
        """From now on a fork does; returns whether there is one."""
        self._stop()
        self._start, self._not_sent = None, cleaned(why)[:120]
        return hasattr(os, "fork")

    def _bring_in_sight(self, names: set[str]) -> bool:
        """Let the next process see these modules, as far as they are there; returns whether that changes anything."""
        if self._start is None:
            return False
        changed = False
        for name in sorted(names):
            if name in HIDDEN and where(name):
                self._shown |= {name, *TOGETHER.get(name, ())}
                changed = True
            elif name not in HIDDEN and (path := self._place_of(name)) and name not in self._extra:
                self._extra[name] = path
                changed = True
        return changed

    def _place_of(self, module: str) -> str:
        """Where a module lies that it may import; empty if it may not.

        A file may import what is installed or lies beside it, and not what else this process could import: the solution
        that lies in the working directory, for instance.
        """
        return where(module, None if self._target is None else [*installed(), str(self._target.root)])

    def _ask(self, name: str, arguments: tuple[Any, ...]) -> Reply:
        """One request, with whatever it needs to be answered."""
        if self._left <= 0:
            return _lost(f"its answers took more than {ALL * self.limits.seconds:g} s together: too slow for the limit")
        began = time.monotonic()
        try:
            if self._ahead is not None and not (self._told is self.task and _same(self._ahead, (name, *arguments))):
                self._let_go()
            self._make_ready()
            if not self._has_answered:  # the first start is ours, another one is theirs
                began = time.monotonic()
            return self._answered(name, arguments, time.monotonic() + min(self.limits.seconds, self._left))
        except LateError as late:
            self._stop()
            took = f"no answer within {self.limits.seconds:g} s: an endless loop, or too slow for the limit"
            return _lost(str(late) or took, "Memory" if str(late) else "Timeout")
        except (EOFError, OSError):
            return self._died()
        except WireError as error:  # what came is not what we asked for
            self._stop()
            return _lost(f"its answer could not be read: {cleaned(str(error))}", "Answer")
        finally:
            self._left -= time.monotonic() - began

    def _answered(self, name: str, arguments: tuple[Any, ...], deadline: float) -> Reply:
        if self._told is not self.task:
            self._send(("task", self.task), deadline)
            self._receive(deadline)
            self._told = self.task
        if self._ahead is None:
            self._send(_bare((name, *arguments)), deadline)
        self._ahead = None
        reply: Reply = checked(Reply, self._receive(deadline))
        if reply.outcome.problem:
            return replace(reply, outcome=replace(reply.outcome, value=None))
        value = checked(RESULTS[name], reply.outcome.value)
        self._ask_ahead(name, arguments)
        return replace(reply, outcome=replace(reply.outcome, value=value))

    def _ask_ahead(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Send the next request, if it can be told which that is."""
        *others, last = arguments or (None,)
        at = next((number for number, probe in enumerate(self.upcoming) if probe is last), len(self.upcoming))
        if at + 1 < len(self.upcoming):
            request = (name, *others, self.upcoming[at + 1])
            with contextlib.suppress(OSError):  # it is gone, as the next request will find out
                try:
                    self._send(_bare(request), time.monotonic() + self.limits.seconds)
                    self._ahead = request
                except LateError:  # half of it was taken
                    self._stop()

    def _let_go(self) -> None:
        """Take the answer to what was sent ahead and is not asked for."""
        began = time.monotonic()
        try:
            self._receive(began + self.limits.seconds)
            self._ahead = None
        except (LateError, EOFError, OSError, WireError):  # it is no answer to what is asked for
            self._stop()
        self._left -= time.monotonic() - began

    def _send(self, request: Any, deadline: float) -> None:
        assert self._link is not None
        self._link.send(pack(request), deadline)

    def _receive(self, deadline: float) -> Any:
        link, process = self._link, self._process
        assert link is not None
        assert process is not None
        return unpack(*link.receive(deadline, self.meanwhile, lambda: process.overgrown(self.limits.memory)))

    def _make_ready(self) -> None:
        """Start a process if there is none, and tell it what it is to run."""
        while not self._is_ready:
            if self._process is None:
                self._launch()
            assert self._process is not None
            wrapped = self._process.wrapped
            try:
                self._shake_hands()
            except (EOFError, OSError, LateError, WireError) as error:
                why = self._process.last_words() or type(error).__name__
                was_spare = self._was_spare
                self._stop()
                if was_spare:  # it may have ended with the thread that started it
                    continue
                if not wrapped or _bubblewrap_works():
                    raise EOFError from error
                _set_no_bubblewrap(why)

    def _shake_hands(self) -> None:
        process, start = self._process, self._start
        assert process is not None
        if start is None:
            self._is_ready, self.containment = True, "not contained: a fork of this process"
            return
        begin = replace(
            start,
            modules=tuple(self._extra.items()),
            files=self._files.copied,
            links=self._files.large,
            seconds=self.limits.seconds,
            memory=self.limits.memory,
        )
        if process.folder is not None and not _no_landlock:
            readable = (*pieces_in_sight(process.shown, self._in_sight()), *SYSTEM)
            begin = replace(begin, readable=readable, writable=(str(process.folder), *WRITABLE))
        deadline = time.monotonic() + STARTING
        self._send(begin, deadline)
        ready: Ready = checked(Ready, self._receive(deadline))
        self._is_ready = True
        if process.wrapped:
            self.containment = "contained: bubblewrap"
        elif ready.landlock:
            self.containment = f"contained: Landlock ({_no_bubblewrap})"
        else:
            self.containment = f"not contained: {_no_bubblewrap}; {_no_landlock or ready.why_not}"

    def _in_sight(self) -> list[str]:
        """The files and folders that its process is to see, beside those of every candidate."""
        return [*self._extra.values(), *(place for _, place in self._files.large)]

    def _launch(self) -> None:
        """Start a process; it is not waited for."""
        if self._start is None:
            if not hasattr(os, "fork"):
                raise UserError(f"it cannot be sent to another process, and there is no fork here: {self._not_sent}")
            self._process = fork(self.candidate, self.limits.seconds, self.limits.memory)
        else:
            try:
                self._process = start(sorted(self._shown), self._in_sight(), wrapped=_has_bubblewrap())
            except OSError as error:
                if _no_bubblewrap or _bubblewrap_works():
                    raise
                _set_no_bubblewrap(str(error))
                self._process = start(sorted(self._shown), self._in_sight(), wrapped=False)
        self._link = Link(self._process.connection)

    def _died(self) -> Reply:
        process = self._process
        if process is None:
            return _lost("its process could not be started", "Exit")
        with contextlib.suppress(Exception):
            process.popen.wait(5)
        code, said = process.popen.returncode, process.last_words()
        self._stop()
        notes = (f"its last words: {cleaned(said)[:200]!r}",) if said else ()
        number = (
            -code if code is not None and code < 0 else code - 128 if process.wrapped and code and code > 128 else 0
        )
        with contextlib.suppress(ValueError):
            name = signal.Signals(number).name
            return _lost(f"its process was ended by {name}: a crash", name, notes)
        return _lost(f"its process ended with status {code} before it answered", "Exit", notes)

    def _stop(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._process is not None:
            self._process.stop()
            self._process = None
        self._is_ready, self._told, self._ahead, self._was_spare = False, None, None, False


def _bare(request: tuple[Any, ...]) -> tuple[Any, ...]:
    """A request without what its probe knows of the answer."""
    return tuple(part.bare if isinstance(part, Given) else part for part in request)


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether two requests are about the same things."""
    return one[0] == other[0] and len(one) == len(other) and all(map(operator.is_, one[1:], other[1:]))


def _lost(problem: str, error: str = "Timeout", notes: tuple[str, ...] = ()) -> Reply:
    return Reply(Outcome(problem=problem, error=error, notes=notes, fatal=True))


def _has_bubblewrap() -> bool:
    """Whether bubblewrap is to be used: it is there, and has not failed."""
    if not _no_bubblewrap and (sys.platform != "linux" or shutil.which("bwrap") is None):
        _set_no_bubblewrap("bubblewrap is not installed" if sys.platform == "linux" else "no bubblewrap here")
    return not _no_bubblewrap


def _bubblewrap_works() -> bool:
    """Whether it contains a process that knows of no candidate: what fails with one only is not its fault."""
    try:
        process = start(wrapped=True)
    except OSError:
        return False
    link, deadline = Link(process.connection), time.monotonic() + STARTING
    try:
        link.send(pack(Start()), deadline)
        checked(Ready, unpack(*link.receive(deadline)))
    except (EOFError, OSError, LateError, WireError):
        return False
    else:
        return True
    finally:
        link.close()
        process.stop()


def _set_no_bubblewrap(why: str) -> None:
    global _no_bubblewrap
    _no_bubblewrap = cleaned(why)[:200]
