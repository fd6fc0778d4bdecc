"""The log files of a run, as a checkpoint knows them: each by its size at that step."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from compare.machine.errors import UserError
from compare.training.board.server import FOLDERS


def log_sizes(folder: Path) -> dict[str, int]:
    """The logs of the run in `folder` with their sizes in bytes, by their names from there."""
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in _logs(folder)}


def require_logs(folder: Path, sizes: Mapping[str, int]) -> list[str]:
    """Look, before anything is changed, for the logs that were saved with these sizes: a line for each gap.

    Raises:
        UserError: if there are logs in `folder`, but none of these: they are another run's.
    """
    found = log_sizes(folder)
    if found and sizes and not found.keys() & sizes.keys():
        raise UserError(f"{folder}: the logs there are not those of this checkpoint's run; put it back where it was")
    return [
        f"note: {folder / name} is {'shorter than it was' if name in found else 'gone'}: its curves have a gap"
        for name, size in sizes.items()
        if found.get(name, -1) < size
    ]


def cut_back(folder: Path, sizes: Mapping[str, int]) -> None:
    """Cut the logs of a run back to these sizes, and remove those that came later."""
    for path in _logs(folder):
        size = sizes.get(path.relative_to(folder).as_posix())
        if size is None:
            path.unlink()
        elif path.stat().st_size > size:
            with path.open("r+b") as file:
                file.truncate(size)


def wait_for_later_names(folder: Path) -> None:
    """Wait until a new log comes after those in `folder`: TensorBoard reads them by name, and never goes back.

    A name begins with the second in which it was made; what follows has no order. Of a log from the future, made with
    another clock, nothing comes after it however long one waits.
    """
    made = {path.name.split(".")[3] for path in _logs(folder)}
    while str(int(time.time())) in made:
        time.sleep(0.01)


def _logs(folder: Path) -> Iterator[Path]:
    """The logs that a run in `folder` writes itself, and no others."""
    for name in FOLDERS:
        yield from (path for path in (folder / name).glob("events.out.tfevents.*") if path.is_file())


@contextmanager
def quiet_writers() -> Iterator[None]:
    """Keep the thread that writes the logs from printing why it failed: whoever logs next is told by an exception."""
    before = threading.excepthook

    def say_nothing_of_the_disk(args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.exc_value, OSError):
            before(args)

    threading.excepthook = say_nothing_of_the_disk
    try:
        yield
    finally:
        threading.excepthook = before
