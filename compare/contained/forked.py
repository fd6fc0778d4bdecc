"""Where an object cannot be sent: a copy of this process, as a fork makes it. It is not contained."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import tempfile
import warnings
from typing import Any

from threadpoolctl import threadpool_limits

from compare.contained.process import Process
from compare.driving.noticing import Noticed
from compare.driving.worker import Answers, die_with_parent, limit, serve


class _Child:
    """A forked process, as `subprocess.Popen` presents one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self.returncode is None:
                os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        del timeout  # it is waited for only where it ends
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


def fork(candidate: Any, seconds: float, memory: int) -> Process:
    """Fork a process that answers requests about `candidate`.

    Raises:
        OSError: if there is no fork here.
    """
    if not hasattr(os, "fork"):
        raise OSError("there is no fork here")
    ours, theirs = socket.socketpair()
    printed = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with the process
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # Python warns that a thread might hold a lock during the fork; the threads here are idle ones of BLAS.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        theirs.close()
        return Process(_Child(pid), ours, printed, wrapped=False)  # type: ignore[arg-type]
    try:
        _live(candidate, theirs, printed.fileno(), seconds, memory)
    finally:
        os._exit(1)


def _live(candidate: Any, connection: socket.socket, printed: int, seconds: float, memory: int) -> None:
    """The life of the forked process; never returns."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number in (1, 2):
        os.dup2(printed, number)
    kept = os.dup2(connection.fileno(), 3)
    os.closerange(4, 65536)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    die_with_parent()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # a pool of threads does not survive a fork
    limit(memory)
    with threadpool_limits(1):
        serve(socket.socket(fileno=kept), Answers(lambda: candidate, noticed=Noticed(1)), tuple, seconds)
