"""Writing files so that a reader never meets half of one, and reading no more than there should be."""

from __future__ import annotations

import errno
import importlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compare.machine.errors import UserError
from scratch.data import open_regular

LOCK = ".lock"


def make_folder(folder: Path) -> None:
    """Create `folder` and its parents, and make sure that a file can be written into it.

    Raises:
        UserError: if it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from None


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file beside its place, flush it to the disk, then rename it: `path` is the old file or the new one whole.

    A link is followed; what is no file (a pipe, /dev/stdout) is written to as it is, never replaced.

    Raises:
        UserError: if the folder cannot be written or the disk is full; the old file is untouched then.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)
            return
        path = path.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.chmod(file.name, 0o666 & ~_umask())
                os.replace(file.name, path)
                _flush_folder(path.parent)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another place") from None


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes; no larger one is read.

    Raises:
        OSError: if it is missing, may not be read, is no regular file, is larger, or changes while it is read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(errno.EFBIG, f"{size:,} bytes, at most {most:,} are read", str(path))
        content = file.read(size + 1)
        if len(content) != size:
            raise OSError(errno.EIO, "its size changes while it is read", str(path))
        return content


def remove_leftovers(path: Path) -> None:
    """Remove what a process that was killed inside `write_bytes` left beside `path`, and any neighbour of it."""
    for leftover in path.parent.glob(f".*{path.suffix}-*"):
        leftover.unlink(missing_ok=True)


def require_writable(path: Path | None) -> None:
    """Make sure, before the work is done, that its result can be written to `path`.

    Raises:
        UserError: if it cannot.
    """
    if path is None:
        return
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give the name of a file")
    make_folder(path.parent)


def write_json(path: Path, result: dict[str, Any]) -> None:
    """Write `result` as strict JSON (no NaN, no Infinity), as `write_bytes` does."""
    write_bytes(path, (json.dumps(result, indent=2, allow_nan=False) + "\n").encode())


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of `folder`, whoever asks likewise; the lock ends with the process, however it ends.

    Raises:
        UserError: if another process has it.
    """
    try:
        fcntl: Any = importlib.import_module("fcntl")
    except ImportError:  # Windows: who starts two runs in one folder there is not stopped
        yield
        return
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"{folder}: another process is training in it; wait until it has ended") from None
        yield


def _flush_folder(folder: Path) -> None:
    """Flush the entry of a renamed file too, where a folder can be opened for that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _umask() -> int:
    """The process's file mask, which `tempfile` ignores and can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
