"""Starting and ending the process of a candidate, contained as far as the system allows."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import IO

import compare
from compare.contained import bubblewrap
from compare.driving.worker import HIDDEN

ROOT = Path(compare.__file__).resolve().parent.parent
# What of this project is needed beside the candidate; nothing in it knows what is right.
NEEDED = ("compare/__init__.py", "compare/machine/__init__.py", "compare/machine/errors.py", "compare/driving")
# How `main` is reached without `site`, which would look at files that need not be in sight.
BOOT = """import sys
sys.path += sys.argv[3:]
from compare.driving.worker import main
main(int(sys.argv[1]), sys.argv[2].split())"""
_PASSED_ON = ("LD_LIBRARY_PATH", "SYSTEMROOT", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
MOST_PROCESSES = 64
TOKEN = "GRADTWIN_CANDIDATE"


@dataclass
class Process:
    """A running process, and this side of the connection with it.

    Attributes:
        connection: to be written to and read from.
        printed: the file that its standard output and errors go to.
        wrapped: whether bubblewrap contains it.
        shown: which of the `HIDDEN` modules are in sight.
        folder: a temporary folder that it may write into, removed in the end; None where it sees none of this disk.
    """

    popen: subprocess.Popen[bytes]
    connection: socket.socket
    printed: IO[bytes]
    wrapped: bool
    shown: tuple[str, ...] = ()
    folder: Path | None = None
    token: str = field(repr=False, default="")

    def stop(self) -> None:
        """End it with all that it has started."""
        self.connection.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.kill()
        self.popen.wait()
        self.printed.close()
        if not self.wrapped and self.token:
            for _ in range(10):  # each may have started another one meanwhile
                left = list(_with_token(self.token))
                for pid in left:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
                if not left:
                    break
        if self.folder is not None:
            _remove(self.folder)

    def last_words(self) -> str:
        """The last line that it wrote beside its answers."""
        size = os.fstat(self.printed.fileno()).st_size
        os.lseek(self.printed.fileno(), max(0, size - 4096), os.SEEK_SET)
        text = os.read(self.printed.fileno(), 4096).decode(errors="replace")
        return next((line for line in reversed(text.splitlines()) if line.strip()), "")

    def overgrown(self, memory: int) -> str:
        """What it has too much of, processes or memory (MiB), together with all that it has started; empty if of none.

        Each process has limits of its own; these are for all of them together. Looked at on Linux only.
        """
        family = list(_family(self.popen.pid))
        if len(family) > MOST_PROCESSES:
            return f"it starts more than {MOST_PROCESSES} processes"
        used = sum(map(_memory_of, family))
        return "it takes more memory than the limit allows" if used > 2 * memory * 2**20 + 2**30 else ""


def start(shown: Sequence[str] = (), extra: Sequence[str] = (), *, wrapped: bool) -> Process:
    """Start a process; it is not waited for.

    Args:
        shown: which of the `HIDDEN` modules are in sight.
        extra: other files and folders that are in sight.
        wrapped: whether bubblewrap is to contain it.

    Raises:
        OSError: if it cannot be started.
    """
    ours, theirs = socket.socketpair()
    token = secrets.token_hex(8)
    windows = os.name == "nt"  # where a socket is not inherited, but shared by what is said of it
    number = "-1" if windows else str(theirs.fileno())
    command = [_python(), "-S", "-P", "-c", BOOT, number, " ".join(shown), *_site_folders(), str(ROOT)]
    folder = None if wrapped else _new_folder()
    temporary = "/tmp" if folder is None else str(folder / "tmp")
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= {"PATH": "/usr/bin:/bin", "HOME": temporary, "TMPDIR": temporary, "LANG": "C.UTF-8"}
    environment |= {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "MPLBACKEND": "Agg"}
    environment |= dict.fromkeys(_ONE_THREAD, "1") | ({} if wrapped else {TOKEN: token})
    if wrapped:
        command = bubblewrap.wrapped(command, in_sight(shown, extra), _covered(shown))
    printed = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with the process
    try:
        popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if windows else subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            pass_fds=() if windows else (theirs.fileno(),),
            cwd="/" if folder is None else folder / "work",
            env=environment,
            start_new_session=True,
        )
        if popen.stdin is not None:
            with popen.stdin as told:
                told.write(theirs.share(popen.pid))  # type: ignore[attr-defined]
    except OSError:
        ours.close()
        printed.close()
        if folder is not None:
            _remove(folder)
        raise
    finally:
        theirs.close()
    return Process(popen, ours, printed, wrapped, tuple(shown), folder, token)


def _new_folder() -> Path:
    """A temporary folder with two others: its working directory, and one for its own temporary files."""
    folder = Path(tempfile.mkdtemp(prefix="gradtwin-")).resolve()
    (folder / "work").mkdir()
    (folder / "tmp").mkdir()
    return folder


def _remove(folder: Path) -> None:
    """Remove a folder with all that was written into it."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():  # something in it was made unremovable
        os.chmod(folder, stat.S_IRWXU)
        for place, names, _ in os.walk(folder):
            for path in (os.path.join(place, name) for name in names):
                if not os.path.islink(path):
                    os.chmod(path, stat.S_IRWXU)
        shutil.rmtree(folder, ignore_errors=True)


def in_sight(shown: Sequence[str], extra: Sequence[str]) -> list[str]:
    """The files and folders that Python, its packages and the driving of a candidate are made of."""
    needed = list(NEEDED)
    for name in set(shown) & HIDDEN:
        needed += [name] if (ROOT / name).is_dir() else []
    return [sys.base_prefix, *_site_folders(), *(str(ROOT / path) for path in needed), *extra]


def pieces_in_sight(shown: Sequence[str], extra: Sequence[str]) -> list[str]:
    """The same in pieces, for what can show folders and cannot cover parts of them."""
    pieces: list[str] = []
    for path in in_sight(shown, extra):
        covered = set(covered_in(path, shown)) if path in _site_folders() else set()
        inside = [entry.path for entry in os.scandir(path) if entry.path not in covered] if covered else [path]
        pieces += inside
    return pieces


def covered_in(folder: str, shown: Sequence[str]) -> Iterator[str]:
    """The packages in a folder that are not to be in sight."""
    yield from (path for name in sorted(HIDDEN - set(shown)) if os.path.isdir(path := os.path.join(folder, name)))


def _covered(shown: Sequence[str]) -> list[str]:
    return [path for folder in _site_folders() for path in covered_in(folder, shown)]


def _site_folders() -> list[str]:
    """Where packages are installed."""
    return [path for path in sys.path if os.path.basename(path) in ("site-packages", "dist-packages")]


def _python() -> str:
    """The interpreter itself, not that of a virtual environment."""
    return getattr(sys, "_base_executable", None) or sys.executable


def where(module: str, folders: Sequence[str] | None = None) -> str:
    """The file or folder of a module that can be imported here; empty if there is none. It is not imported.

    A name with dots is refused: to find it, Python would import what is before the dot. So is a folder that is no
    package: any folder beside the tool would do.

    Args:
        module: its name.
        folders: where it may lie; None for wherever this process finds modules.
    """
    if not module.isidentifier():
        return ""
    try:
        if folders is None:
            found = importlib.util.find_spec(module)
        else:
            found = PathFinder.find_spec(module, [*folders]) or _installed_editable(module)
    except (ImportError, ValueError):
        return ""
    if found is None or found.origin is None:
        return ""
    inside = list(found.submodule_search_locations or ())
    return inside[0] if inside else found.origin if found.has_location and found.origin else ""


def _installed_editable(module: str) -> ModuleSpec | None:
    """As `pip install --editable` makes setuptools do it: with a finder in place of a folder."""
    for finder in sys.meta_path:
        if str(getattr(finder, "__module__", "")).startswith("__editable__"):
            found = finder.find_spec(module, None)
            if found is not None:
                return found
    return None


def installed() -> list[str]:
    """Where installed packages lie: in the folders for them, and where the files *.pth in these lead to."""
    folders = _site_folders()
    for file in (path for folder in folders for path in sorted(Path(folder).glob("*.pth"))):
        with contextlib.suppress(OSError, ValueError):
            folders += [line for line in file.read_text().splitlines() if os.path.isabs(line) and os.path.isdir(line)]
    return folders


def _family(pid: int) -> Iterator[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    with contextlib.suppress(OSError):
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                with contextlib.suppress(OSError, ValueError, IndexError):
                    parent = int(Path(entry.path, "stat").read_text().rpartition(")")[2].split()[1])
                    children.setdefault(parent, []).append(int(entry.name))
    waiting = [pid]
    while waiting and children:
        waiting += children.get(waiting[0], [])
        yield waiting.pop(0)


def _memory_of(pid: int) -> int:
    """The bytes of memory that a process holds, in its address space or in files without a place on a disk."""
    used = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        used = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(entry.path).startswith("/memfd:"):
                    used += os.stat(entry.path).st_blocks * 512
    return used


def _with_token(token: str) -> Iterator[int]:
    """The processes that were started with this token in their environment."""
    with contextlib.suppress(OSError):
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if f"{TOKEN}={token}".encode() in Path(entry.path, "environ").read_bytes():
                        yield int(entry.name)
