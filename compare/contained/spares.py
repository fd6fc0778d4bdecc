"""A process started before it is needed: starting Python and NumPy takes longer than a small verdict.

The first session of a process starts its own. From then on another one is started while a session is under way, for the
next. It holds no candidate and no answers; which candidate it gets, it is told like any other.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Sequence

from compare.contained.process import Process, start

enabled = os.name != "nt"  # where it has not been tried

_lock = threading.Lock()
_spare: tuple[int, Process] | None = None  # with the process that started it: a fork of that one must not use it, too
_sessions = 0


def take(shown: Sequence[str], *, wrapped: bool) -> Process | None:
    """The spare process, if there is one with these modules in sight that is contained in this way."""
    global _spare
    with _lock:
        taken, _spare = _spare, None
    if taken is None or taken[0] != os.getpid():
        return None
    process = taken[1]
    if process.popen.poll() is None and (process.shown, process.wrapped) == (tuple(shown), wrapped):
        return process
    process.stop()
    return None


def prepare(shown: Sequence[str], *, wrapped: bool) -> None:
    """Start a process for the next session, which is likely to be as this one, if this is not the first."""
    global _spare, _sessions
    with _lock:
        _sessions += 1
        if enabled and _sessions > 1 and _spare is None:
            try:
                _spare = os.getpid(), start(shown, wrapped=wrapped)
            except OSError:
                return


@atexit.register
def end() -> None:
    """End the spare process, if there is one."""
    global _spare
    with _lock:
        taken, _spare = _spare, None
    if taken is not None and taken[0] == os.getpid():
        taken[1].stop()
