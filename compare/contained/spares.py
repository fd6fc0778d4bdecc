"""A process started before it is needed: starting Python and NumPy takes longer than a small verdict.

The first session of a process starts its own. From then on another one is started while a session is under way, for the
next. It holds no candidate and no answers; which candidate it gets, it is told like any other.
"""

from __future__ import annotations

import atexit
import os
import tempfile
import threading
from pathlib import Path

from compare.contained.process import Process, start
from compare.contained.view import View, empty_view

Spare = tuple[View, Process]

enabled = os.name != "nt"  # where it has not been tried

_lock = threading.Lock()
_spare: tuple[int, Spare] | None = None  # with the process that started it: a fork of that one must not use it, too
_sessions = 0


def take() -> Spare | None:
    """The spare process, if there is one that can still be used."""
    global _spare
    with _lock:
        taken, _spare = _spare, None
    if taken is None or taken[0] != os.getpid():
        return None
    view, process = taken[1]
    if process.popen.poll() is None and view.folder.parent == Path(tempfile.gettempdir()).resolve():
        return view, process
    _end(taken[1])
    return None


def prepare(*, wrapped: bool) -> None:
    """Start a process for the next session, if this is not the first one."""
    global _spare, _sessions
    with _lock:
        _sessions += 1
        if not enabled or _sessions == 1 or _spare is not None:
            return
        view = empty_view()
        try:
            _spare = os.getpid(), (view, start(view, (), (), wrapped=wrapped))
        except OSError:
            view.remove()


@atexit.register
def end() -> None:
    """End the spare process, if there is one."""
    global _spare
    with _lock:
        taken, _spare = _spare, None
    if taken is not None and taken[0] == os.getpid():
        _end(taken[1])


def _end(spare: Spare) -> None:
    view, process = spare
    process.stop()
    view.remove()
