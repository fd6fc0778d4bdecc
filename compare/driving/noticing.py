"""What somebody's code does beside computing: it prints, writes files, opens sockets, starts processes or threads.

Python's audit events tell of it. Who wants to hide can; these are remarks, and no verdict rests on them.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from typing import Any, Self

_STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.exec", "os.system"}
_DELETES = {"os.remove", "os.rmdir", "shutil.rmtree", "os.rename", "os.truncate"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PRINTED = 2**20  # bytes of what is printed that are read
MOST = 20  # names of one kind that are told

# All that can be told.
WRITES, DELETES, STARTS, CONNECTS = (
    "it writes",
    "it deletes or renames",
    "it starts other processes",
    "it opens a socket",
)
LOOKED_FOR = "it looked for files that are not in sight:"
MOVED, CHANGED, THREADS = "it changes the working directory", "it changes the environment", "it leaves threads running"
VERBS = {WRITES, DELETES, STARTS, CONNECTS, LOOKED_FOR, MOVED, CHANGED, THREADS}


class Noticed:
    """Notes what happens while it is entered. A context manager, for one request after the other.

    Args:
        printed: the descriptor of the file that standard output and errors go to; None if they are not looked at.
    """

    def __init__(self, printed: int | None = None) -> None:
        self._printed = printed
        self._active = False
        self._temporary = tempfile.gettempdir()  # to find it out, Python opens a file
        self._did: dict[str, set[str]] = {}
        self._asked: set[str] = set()
        self._folder, self._environment, self._threads = "", dict[str, str](), 0
        sys.addaudithook(self._hear)

    def __enter__(self) -> Self:
        self._did, self._asked = {}, set()
        self._folder, self._environment, self._threads = _folder(), dict(os.environ), threading.active_count()
        self._active = True
        return self

    def __exit__(self, *_: object) -> None:
        self._active = False

    def told(self) -> list[str]:
        """What it printed, in words."""
        return [words for words in (self._what_was_printed(),) if words]

    def did(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What else it did: each thing in words, with the names that go with it."""
        missing = sorted(path for path in self._asked if not os.path.exists(path))
        if missing:
            self._did[LOOKED_FOR] = set(missing)
        if _folder() != self._folder:
            self._note(MOVED)
            with contextlib.suppress(OSError):
                os.chdir(self._folder)
        if dict(os.environ) != self._environment:
            self._note(CHANGED)
        if threading.active_count() > self._threads:
            self._note(THREADS)
        return tuple((verb, tuple(sorted(names)[:MOST])) for verb, names in self._did.items())

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Python calls this for every event, in whatever state the process is: it must never raise."""
        if not self._active:
            return
        with contextlib.suppress(Exception):
            if event == "open":
                self._opened(*arguments)
            elif event in _DELETES:
                self._note(DELETES, os.path.basename(str(arguments[0])))
            elif event in _STARTS:
                self._note(STARTS)
            elif event == "socket.__new__":
                self._note(CONNECTS)

    def _opened(self, path: Any, mode: str | None, flags: int) -> None:
        if isinstance(path, int):
            return
        name = os.fsdecode(path)
        writes = bool(set(mode) & set("wax+")) if mode else bool(flags & _WRITING)
        if writes and name != os.devnull:
            temporary = self._temporary in (name, os.path.dirname(name))  # the folder: a file without a name
            self._note(WRITES, "a temporary file" if temporary else os.path.basename(name))
        elif not writes and not name.endswith(".pyc"):  # importing tries whether there is one
            self._asked.add(name)

    def _note(self, verb: str, name: str = "") -> None:
        self._did.setdefault(verb, set()).update([name] if name else ())

    def _what_was_printed(self) -> str:
        if self._printed is None:
            return ""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        size = os.fstat(self._printed).st_size
        if not size:
            return ""
        os.lseek(self._printed, 0, os.SEEK_SET)
        text = os.read(self._printed, min(size, PRINTED)).decode(errors="replace")
        os.ftruncate(self._printed, 0)
        os.lseek(self._printed, 0, os.SEEK_SET)
        lines = text.strip().splitlines() or [""]
        first = " ".join(lines[0].split())
        shown = first if len(first) <= 60 else first[:57] + "..."
        return f"it prints ({len(lines)} line{'s' if len(lines) > 1 else ''}): {shown!r}"


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it is gone
        return ""
