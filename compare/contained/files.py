"""What the candidate's process gets of its own files: copies of those beside it."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compare.driving.tensors import Array

LARGEST = 2**20  # bytes of a file that is copied
TOGETHER = 2**27  # bytes of all of them
MOST = 1000  # files
MOST_LARGE = 100  # of those that are not copied: each is named to bubblewrap
MOST_SEEN = 20_000  # files among which the first are chosen
DEEPEST = 6  # folders inside each other
# Bytes as they are; no link is followed, and no pipe waited for. Not every system has all of these.
_READING = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_BINARY", "O_NOFOLLOW", "O_NONBLOCK"))
_SKIPPED = {"__pycache__", "node_modules", "site-packages", "dist-packages"}


@dataclass(frozen=True)
class Files:
    """The files of a candidate, as paths relative to its working directory.

    Attributes:
        copied: their bytes.
        large: those that are not copied and to which links lead, and where they are.
    """

    copied: tuple[tuple[str, Array], ...] = ()
    large: tuple[tuple[str, str], ...] = ()


def files_below(top: Path, root: Path, own: Path) -> Files:
    """The regular files below `top`, at the same place as seen from `root`: its `own` first, then all other Python.

    Links are not followed: they may lead anywhere.
    """
    copied, large, together = list[tuple[str, Array]](), list[tuple[str, str]](), 0
    every = itertools.islice(_regular_files(str(top)), MOST_SEEN)
    chosen = sorted(dict.fromkeys((str(own), *every)), key=lambda path: not path.endswith(".py"))
    for path in chosen[:MOST]:
        there = os.path.relpath(path, root)
        try:
            data = _read(path, min(LARGEST, TOGETHER - together))
        except OSError:  # not readable, or gone meanwhile: who asks for it is told that it is not there
            continue
        if data is None:
            large += [(there, path)] if len(large) < MOST_LARGE else []
        else:
            copied.append((there, np.frombuffer(data, np.uint8)))
            together += len(data)
    return Files(tuple(copied), tuple(large))


def _read(path: str, most: int) -> bytes | None:
    """The bytes of a regular file; None if there are more."""
    descriptor = os.open(path, _READING)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # it has become something else meanwhile
            raise OSError(f"{path} is no regular file")
        data = file.read(most + 1)
    return data if len(data) <= most else None


def _regular_files(top: str) -> Iterator[str]:
    """The regular files below a folder, those of the folder itself first."""
    folders = [(top, 0)]
    while folders:
        folder, depth = folders.pop(0)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _SKIPPED:
                continue
            if entry.is_file(follow_symlinks=False):
                yield entry.path
            elif entry.is_dir(follow_symlinks=False) and depth < DEEPEST and not _is_environment(entry.path):
                folders.append((entry.path, depth + 1))


def _is_environment(folder: str) -> bool:
    """Whether a folder is a virtual environment, with all of its packages."""
    return os.path.exists(os.path.join(folder, "pyvenv.cfg"))
