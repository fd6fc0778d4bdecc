"""`python -m tests.kills`: trainings that are killed, at any moment or inside a write, and end as if they had not been.

Each is a process that ends by SIGKILL: sent from outside at a random moment, or by itself halfway through the writing
of a checkpoint, of a log or of the trained weights. It goes on from its last checkpoint and must give, bit for bit, the
weights, checkpoints, curves and pictures of a run that nobody disturbed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
from rich.console import Console
from rich.table import Table
from tensorboard.summary.writer.record_writer import RecordWriter

from compare.machine import data
from compare.machine.data import Dataset
from compare.training.checkpoint import FOLDER, LAST, load_checkpoint
from compare.training.settings import Settings
from compare.verify import trained
from tests.test_checkpoint import assert_same_run, begin, go_on

SETTINGS = Settings(epochs=2, log_every=2, checkpoint_every=3)
STAGES = ("half written", "written", "before the rename", "after the rename")
AIMS = ("any moment", "checkpoint", "log", "weights")


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody disturbs: where it is, how long it took, and how often it wrote a file of each kind."""

    folder: Path
    seconds: float
    writes: Counter[str]


def undisturbed(dataset: Dataset, folder: Path) -> Undisturbed:
    """Run to the end, once to count and once to take the time: the first run in a process imports what it needs."""
    writes = Counter[str]()
    with _watched(lambda kind: writes.update([kind])):
        begin(dataset, folder, settings=SETTINGS)
    start = time.monotonic()
    begin(dataset, folder.with_name("timed"), settings=SETTINGS)
    return Undisturbed(folder, time.monotonic() - start, writes)


def kills(dataset: Dataset, folder: Path, count: int, seed: int) -> Iterator[tuple[str, bool]]:
    """So many kills of runs in `folder`: what each was aimed at, and whether the run ended as the undisturbed one."""
    rng, model = random.Random(seed), undisturbed(dataset, folder / "undisturbed")
    done, missed = 0, 0
    while done < count:
        aim, run = AIMS[done % len(AIMS)], folder / f"{done}-{missed}"
        if not _killed(dataset, run, aim, rng, model) or not (run / LAST).exists():
            missed += 1  # it had ended, or had saved nothing to go on from: another one takes its place
            if missed > 20 + 2 * count:
                raise RuntimeError(f"only {done} of {done + missed} runs could be killed after their first checkpoint")
            continue
        done += 1
        yield aim, _ends_alike(dataset, run, model.folder)


def _ends_alike(dataset: Dataset, run: Path, model: Path) -> bool:
    """Whether a killed run, gone on with, ends as the undisturbed one."""
    load_checkpoint(run / LAST)
    go_on(dataset, run)
    try:
        assert_same_run(run, model)
    except AssertionError:
        return False
    shutil.rmtree(run)
    return True


def _killed(dataset: Dataset, run: Path, aim: str, rng: random.Random, model: Undisturbed) -> bool:
    """Start a run, and have it killed; whether it was, before its end."""
    stage, moment = rng.choice(STAGES), rng.uniform(0, model.seconds)
    at = rng.randint(1, max(model.writes[aim], 1))
    child = os.fork()
    if child == 0:
        try:
            with _watched(_dying(aim, at, stage)):
                begin(dataset, run, settings=SETTINGS)
        finally:
            os._exit(0)
    if aim == "any moment":
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _dying(aim: str, at: int, stage: str) -> Callable[[str], str | None]:
    """What `_watched` is told: at which stage of a write to die, or nothing; at the so-manieth of its kind."""
    numbers = itertools.count(1)
    return lambda kind: stage if kind == aim and next(numbers) == at else None


@contextmanager
def _watched(announce: Callable[[str], str | None]) -> Iterator[None]:
    """Tell `announce` of every write of a run, "checkpoint", "log" or "weights"; die at the stage that it answers."""
    stage: str | None = None
    temporary, fsync, replace, record = tempfile.NamedTemporaryFile, os.fsync, os.replace, RecordWriter.write

    def open_beside(**options: Any) -> Any:
        nonlocal stage
        stage, file = announce("checkpoint" if Path(options["dir"]).name == FOLDER else "weights"), temporary(**options)
        if stage == "half written":
            setattr(file, "write", lambda content: _die(file.file, content[: len(content) // 2]))  # noqa: B010
        return file

    def flush_to_disk(descriptor: int) -> None:
        fsync(descriptor)
        if stage == "written":
            _die()

    def rename(source: str, target: Path) -> None:
        if stage == "before the rename":
            _die()
        replace(source, target)
        if stage == "after the rename":
            _die()

    def log(writer: Any, content: bytes) -> None:
        if announce("log"):
            _die(writer._writer, content[: len(content) // 2])
        record(writer, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "NamedTemporaryFile", open_beside)
        patch.setattr(os, "fsync", flush_to_disk)
        patch.setattr(os, "replace", rename)
        patch.setattr(RecordWriter, "write", log)
        yield


def _die(file: Any = None, content: bytes = b"") -> NoReturn:
    """Write this much, then end by SIGKILL."""
    if file is not None:
        file.write(content)
        file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it is still there")


def main() -> None:
    """Kill, print the totals, and leave with status 1 if a run did not end as the undisturbed one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], prog="python -m tests.kills")
    parser.add_argument("--count", type=int, default=200, help="so many kills (200)")
    parser.add_argument("--seed", type=int, default=0, help="draws moments, writes and stages (0)")
    chosen = parser.parse_args()
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    digits = data.load("digits", None, lambda _: None).limited(200, 100)
    done, same, start = Counter[str](), Counter[str](), time.monotonic()
    trained.IMAGES = 4  # the proofs are tested elsewhere, and take most of the time of a short run
    with tempfile.TemporaryDirectory() as folder:
        for aim, equal in kills(digits, Path(folder), chosen.count, chosen.seed):
            done[aim] += 1
            same[aim] += equal
    table = Table("killed in", "kills", "bit for bit the same", title=f"seed {chosen.seed}")
    for aim in done:
        table.add_row(aim, str(done[aim]), str(same[aim]))
    table.add_row("all", str(done.total()), str(same.total()))
    Console().print(table)
    print(
        f"{same.total()} of {done.total()} killed runs ended as the undisturbed one; {time.monotonic() - start:.0f} s"
    )
    sys.exit(same != done)


if __name__ == "__main__":
    main()
