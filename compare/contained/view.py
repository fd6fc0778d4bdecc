"""What the candidate's process sees of its own files: copies in a temporary folder."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LARGEST = 2**20  # bytes of a file that is copied
MOST = 1000  # files
DEEPEST = 6  # folders inside each other
_SKIPPED = {"__pycache__", "node_modules", "site-packages", "dist-packages"}


@dataclass(frozen=True)
class View:
    """A temporary folder with the files of a candidate.

    Attributes:
        folder: to be removed afterwards. `given` in it is the candidate's working directory, `tmp` is for its
            temporary files.
        large: the files that are not copied and to which links lead, to be seen where they are.
    """

    folder: Path
    large: tuple[Path, ...] = ()

    @property
    def given(self) -> Path:
        return self.folder / "given"

    @property
    def tmp(self) -> Path:
        return self.folder / "tmp"

    def remove(self) -> None:
        """Remove the folder with all that was written into it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for folder, _, _ in os.walk(self.folder):  # what the candidate has made unremovable
            os.chmod(folder, stat.S_IRWXU)
        shutil.rmtree(self.folder, ignore_errors=True)


def empty_view() -> View:
    """A view of no files yet."""
    view = View(Path(tempfile.mkdtemp(prefix="gradtwin-")).resolve())
    view.given.mkdir()
    view.tmp.mkdir()
    return view


def filled(view: View, top: Path, root: Path) -> View:
    """The view with the regular files below `top`, at the same place as seen from `root`.

    Links are not followed: they may lead anywhere.
    """
    large = []
    for path, size in _files(top):
        there = view.given / path.relative_to(root)
        there.parent.mkdir(parents=True, exist_ok=True)
        try:
            if size <= LARGEST:
                shutil.copyfile(path, there, follow_symlinks=False)
            else:
                there.symlink_to(path)
                large.append(path)
        except OSError:  # not readable, or gone meanwhile: who asks for it is told that it is not there
            continue
    return View(view.folder, tuple(large))


def _files(top: Path) -> Iterator[tuple[Path, int]]:
    """The first regular files below a folder, those of the folder itself first, and their sizes."""
    folders, count = [(top, 0)], 0
    while folders:
        folder, depth = folders.pop(0)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: (not entry.name.endswith(".py"), entry.name))
        except OSError:
            continue
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            hidden = entry.name.startswith(".") or entry.name in _SKIPPED
            if stat.S_ISREG(status.st_mode) and not hidden:
                count += 1
                if count > MOST:
                    return
                yield Path(entry.path), status.st_size
            environment = os.path.exists(os.path.join(entry.path, "pyvenv.cfg"))
            if stat.S_ISDIR(status.st_mode) and not hidden and not environment and depth < DEEPEST:
                folders.append((Path(entry.path), depth + 1))
