"""The candidate's process: it answers one request after the other, until the process that judges is gone."""

from __future__ import annotations

import ctypes
import faulthandler
import importlib.util
import linecache
import os
import pickle
import signal
import site
import socket
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib.machinery import ModuleSpec
from typing import Any

from compare.driving import landlock, signatures, vocabulary
from compare.driving.answering import Outcome, answer
from compare.driving.candidate import Source, load_target
from compare.driving.driver import Driver, Methods
from compare.driving.evidence import Claim, input_shape_of
from compare.driving.interface import Interface
from compare.driving.noticing import Noticed
from compare.driving.observe import is_ours
from compare.driving.task import Task
from compare.driving.tensors import Array, Driven, Given
from compare.driving.wire import LARGEST, LARGEST_HEADER, LENGTHS, WireError, checked, pack, unpack

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

MiB = 2**20
LARGEST_FILE = 256 * MiB  # what one file may hold that the code writes or prints into
FILES = 256  # that may be open
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38  # as Linux's prctl.h calls them

# What is not in sight unless it is asked for: the answers.
HIDDEN = frozenset({"torch", "torchvision", "torchgen", "functorch", "scratch", "torch_ref", "compare"})


@dataclass(frozen=True)
class Start:
    """What the process is told first.

    Attributes:
        file, expression: a target: a path relative to the working directory, and what of it.
        pickled: in place of a target: something that was pickled by value, bytes.
        sources: the source files that it comes from: the module, the file name, the text.
        modules: modules that lie where Python does not look, and the file or folder of each.
        files: what is to be written into the working directory: paths in it, and bytes.
        links: links to be made in it, and where they lead.
        readable, writable: what Landlock is to leave in sight; if both are empty, it is not asked for.
        seconds, memory: the limits of one request, in seconds and MiB.
    """

    file: str = ""
    expression: str = ""
    pickled: Array | None = None
    sources: tuple[tuple[str, str, str], ...] = ()
    modules: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, Array], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    seconds: float = 20.0
    memory: int = 2048


@dataclass(frozen=True)
class Ready:
    """The first answer: whether Landlock holds, or why it does not."""

    landlock: bool = False
    why_not: str = ""


@dataclass(frozen=True)
class Reply:
    """The answer to a request.

    Attributes:
        outcome: what became of it.
        missing: the modules that were asked for and are not there.
        did: what the code did beside computing, in words, each with the names that go with it.
    """

    outcome: Outcome
    missing: tuple[str, ...] = ()
    did: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Look:
    """What a candidate is.

    Attributes:
        ours: whether it follows the interface of `scratch`, and is held to all of its conventions.
        shape: the shape of one input, if an object keeps it.
        arguments: those of its constructor or function.
    """

    ours: bool = False
    shape: tuple[int, ...] = ()
    arguments: tuple[str, ...] = ()


class SendingError(ValueError):
    """What was pickled by value cannot be made again in this process."""


# What can be asked for, and the kind of the value that is the answer.
RESULTS: Mapping[str, Any] = {
    "look": Look,
    "construct": None,
    "claims": tuple[Claim, ...],
    "methods": Methods,
    "drive": Driven,
    "step": Driven,
}


@dataclass
class Answers:
    """Answers requests about one candidate."""

    source: Source
    task: Task = field(default_factory=Task)
    noticed: Noticed | None = None

    def __call__(self, name: str, arguments: Sequence[Any] = ()) -> Outcome:
        """The answer to a request of `RESULTS`, or to "task", which tells what the candidate is compared with."""
        if name == "task":
            self.task = checked(Task, arguments[0])
            vocabulary.learn(self.task.about)
            self.__dict__.pop("_driver", None)
            return Outcome()
        if name == "look":
            return answer(self._look, (), self.noticed)
        interface, given = checked(Interface, arguments[0]), checked(Given, arguments[1])
        return answer(getattr(self._driver, name), (interface, given), self.noticed)

    def did(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What the code did beside computing, for the last request."""
        return self.noticed.did() if self.noticed is not None else ()

    @cached_property
    def _driver(self) -> Driver:
        return Driver(self.source, self.task)

    def _look(self) -> Look:
        subject = self.source()
        made = subject() if isinstance(subject, partial) else subject
        called = made[0] if isinstance(made, tuple) else made
        arguments = signatures.argument_names(called) if callable(called) else []
        kind = made if isinstance(made, type) else type(made)
        ours = is_ours(kind, "Module", "Optimizer")
        return Look(ours, () if isinstance(made, type) else tuple(input_shape_of(made)), tuple(arguments))


class _Missing:
    """Notes the modules that nobody finds, and finds none of those that are hidden.

    Args:
        shown: those of `HIDDEN` that may be found.
        modules: others, and the file or folder of each, which need not lie where Python looks.
    """

    def __init__(self, shown: Sequence[str], modules: Mapping[str, str]) -> None:
        self.hidden = HIDDEN - set(shown)
        self.modules = modules
        self.names: set[str] = set()
        sys.meta_path.insert(0, self)
        sys.meta_path.append(_Last(self.names))

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        del path, target
        top = name.partition(".")[0]
        if top in self.hidden:
            self.names.add(top)
            raise ModuleNotFoundError(f"No module named {top!r}", name=top)
        place = self.modules.get(name, "")
        if not place:
            return None
        if not os.path.isdir(place):
            return importlib.util.spec_from_file_location(name, place)
        first = os.path.join(place, "__init__.py")
        if os.path.exists(first):
            return importlib.util.spec_from_file_location(name, first, submodule_search_locations=[place])
        spaced = ModuleSpec(name, None, is_package=True)
        spaced.submodule_search_locations = [place]
        return spaced

    def told(self) -> tuple[str, ...]:
        """The names of those that were asked for since they were told last."""
        names = tuple(sorted(self.names))
        self.names.clear()
        return names


class _Last:
    """Asked where all others have found nothing."""

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        del target
        if path is None and "." not in name:
            self.names.add(name)


def main(descriptor: int, shown: Sequence[str]) -> None:
    """Answer what comes over the socket `descriptor`, or over that which standard input describes; never returns.

    Args:
        descriptor: negative for what standard input describes.
        shown: which of the `HIDDEN` modules may be imported.
    """
    shared = sys.stdin.buffer.read() if descriptor < 0 else b""  # on Windows
    connection = socket.fromshare(shared) if shared else socket.socket(fileno=descriptor)  # type: ignore[attr-defined]
    site.setquit()  # `exit` and `quit`, which some code calls
    die_with_parent()
    if "torch" in shown:  # it takes seconds, which are not the candidate's
        import torch

        torch.set_num_threads(1)
    start = checked(Start, receive(connection, trusted=True))
    write(start)
    missing = _Missing(shown, dict(start.modules))
    limit(start.memory)
    ready = Ready()
    if start.readable or start.writable:
        why_not = landlock.restrict(start.readable, start.writable)
        ready = Ready(not why_not, why_not)
    sys.path.insert(0, os.getcwd())  # nothing of the candidate's can be imported before the process is contained
    source = partial(load_target, start.file, start.expression) if start.file else _unpickled(start)
    send(connection, ready)
    missing.told()
    serve(connection, Answers(source, noticed=Noticed(1)), missing.told, start.seconds)


def write(start: Start) -> None:
    """Put the candidate's files into the working directory."""
    for path, data in start.files:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "wb") as file:
            file.write(data.data)
    for path, place in start.links:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        os.symlink(place, path)


def serve(connection: socket.socket, answers: Answers, missing: Callable[[], tuple[str, ...]], seconds: float) -> None:
    """Answer until the other side is gone; never returns."""
    faulthandler.disable()  # a crash is reported by the other side, in one line
    while True:
        try:
            name, *arguments = receive(connection, trusted=True)
        except (EOFError, OSError):
            os._exit(0)
        if hasattr(signal, "alarm"):  # should the other side be killed meanwhile, this process ends too
            signal.alarm(int(seconds) + 5)
        outcome = answers(name, arguments)
        if hasattr(signal, "alarm"):
            signal.alarm(0)
        reply = Reply(outcome, missing(), answers.did())
        try:
            send(connection, reply)
        except WireError as error:
            unsent = Outcome(problem=str(error), error="ConversionError", notes=outcome.notes)
            send(connection, replace(reply, outcome=unsent))


def _unpickled(start: Start) -> Source:
    """How to get at what was pickled by value: it is made once, when it is asked for."""
    for name, file, text in start.sources:
        linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
        module = sys.modules.setdefault(name, types.ModuleType(name))
        if not getattr(module, "__file__", None) or name == "__main__":
            module.__file__ = file
    made: list[Any] = []

    def source() -> Any:
        if not made:
            assert start.pickled is not None
            try:
                made.append(pickle.loads(start.pickled.tobytes()))
            except ImportError:
                raise
            except Exception as error:
                raise SendingError(f"{type(error).__name__}: {error}") from None
        return made[0]

    return source


def receive(connection: socket.socket, *, trusted: bool) -> Any:
    """The next message, waiting for it as long as it takes.

    Raises:
        EOFError: if the other side is gone.
        WireError: if it is no message.
    """
    length, header = LENGTHS.unpack(_exactly(connection, LENGTHS.size))
    if length > LARGEST or header > min(length, LARGEST_HEADER):
        raise WireError(f"a message of {length} bytes")
    return unpack(memoryview(_exactly(connection, length)), header, trusted=trusted)


def _exactly(connection: socket.socket, count: int) -> bytearray:
    data = bytearray(count)
    view, at = memoryview(data), 0
    while at < count:
        received = connection.recv_into(view[at:])
        if not received:
            raise EOFError
        at += received
    return data


def send(connection: socket.socket, value: Any) -> None:
    """Send a message. Raises WireError, with nothing sent, for what cannot be sent."""
    connection.sendall(pack(value))


def die_with_parent() -> None:
    """End when the process that started this one ends, and gain no rights by starting others; on Linux only."""
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def limit(mebibytes: int) -> None:
    """Allow so much address space beside what the process has already, files of a certain size, and few open ones."""
    if resource is None:
        return
    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: LARGEST_FILE, resource.RLIMIT_NOFILE: FILES}
    if os.path.exists("/proc/self/statm"):  # macOS does not enforce it
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[0])
        limits[resource.RLIMIT_AS] = pages * resource.getpagesize() + mebibytes * MiB
    for kind, most in limits.items():
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
