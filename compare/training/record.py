"""What the record of a checkpoint holds besides the tensors, and what must be true of it.

A digest finds accidental damage only: whoever changes a checkpoint can compute it anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from compare.machine.errors import brief
from compare.machine.plain import require_kind
from compare.training.board.server import FOLDERS
from compare.training.findings import Findings
from compare.training.lockstep import Progress
from compare.training.settings import DataOptions, Settings
from compare.training.twins import PERTURBED
from scratch import Array

LOG_NAME = re.compile(rf"({'|'.join(FOLDERS)})/events\.out\.tfevents\.[^/\\]+")


@dataclass(frozen=True)
class Sums:
    """Sums over the steps since the last point of a curve."""

    images: float
    loss: float
    right: float
    seconds: float


@dataclass(frozen=True)
class Logged:
    """What is in TensorBoard at `step`: the steps since the last point of the curves, by twin; the step of the last
    pictures; and the logs with their sizes in bytes.
    """

    step: int
    recent: dict[str, Sums]
    pictured: int | None
    files: dict[str, int]


@dataclass(frozen=True)
class Record:
    """The record, as plain values of these kinds.

    Attributes:
        settings, data: what the run was asked to do, and on which data set.
        origin, checksum: where that came from in words, and its checksum.
        progress, best: how far the run has come, and its best test accuracy so far; -1 before the first.
        findings: of the comparison in training.
        board: what is in TensorBoard.
        format, versions: of this file, and of what the numbers depend on.
    """

    settings: Settings
    data: DataOptions
    origin: str
    checksum: str
    progress: Progress
    best: float
    findings: Findings
    board: Logged
    format: int
    versions: dict[str, str]


def require_record(record: Any, tensors: Mapping[str, Array]) -> None:
    """Make sure that a record has all its fields, each of its type, and none that contradicts another or the tensors.

    Raises:
        ValueError: naming the first field that is wrong; UserError for settings that make no sense.
    """
    require_kind(record, Record, "record")
    settings = _settings_of(record)
    members = {*settings.twins, *([PERTURBED] if settings.measures_drift else [])}
    rules = [
        *_of_progress(record["progress"], settings.twins, members),
        *_of_board(record["board"], record["progress"]["step"], members),
        *_of_findings(record["findings"]),
        *_of_tensors(tensors, record["progress"]["step"], members),
        ("record.best must be from -1 to 1", -1 <= record["best"] <= 1),
    ]
    _require_all(rules)


def require_steps(record: Mapping[str, Any], dataset: str, images: int) -> None:
    """Make sure that the numbers of epochs, steps and images fit together on a data set of so many training images.

    Raises:
        ValueError: naming what does not.
    """
    settings, progress = _settings_of(record), record["progress"]
    epochs, total = settings.epochs_on(dataset), settings.total_steps(dataset, images)
    epoch, done, step = (progress[name] for name in ("epoch", "done", "step"))
    steps = total // epochs
    _require_all(
        [
            ("record.progress.epoch is beyond the last one", epoch <= epochs + (done == 0)),
            ("record.progress.done is more than an epoch has", done <= steps),
            ("record.progress.step is not that of its epoch", step == (epoch - 1) * steps + done),
            (  # The last step of an epoch sees what is left.
                "record.progress.images are not those of its steps",
                progress["images"] == min(done * settings.batch_size, images),
            ),
        ]
    )


def _settings_of(record: Mapping[str, Any]) -> Settings:
    """The settings with one thread: this machine may have fewer cores than the one that trained."""
    return Settings(**(record["settings"] | {"threads": min(record["settings"]["threads"], 1)}))


Rule = tuple[str, bool]


def _require_all(rules: Iterable[Rule]) -> None:
    for problem, holds in rules:
        if not holds:
            raise ValueError(problem)


def _of_progress(progress: Mapping[str, Any], twins: Iterable[str], members: set[str]) -> Iterator[Rule]:
    where, last, done = "record.progress", progress["last"], progress["done"]
    yield f"{where}.epoch must be at least 1", progress["epoch"] >= 1
    yield f"{where}.done must be at least 0", done >= 0
    yield f"{where}.order is no state of a generator", _is_generator_state(progress["order"])
    for name in ("loss", "right", "seconds"):
        keys = members if done else set()
        yield f"{where}.{name} must have {sorted(members)} during an epoch", progress[name].keys() == keys
        yield f"{where}.{name} must be at least 0", all(value >= 0 for value in progress[name].values())
    if last is None:
        yield f"{where}.last is missing", progress["step"] == 0
        return
    yield f"{where}.last must be of the epoch before", last["number"] == progress["epoch"] - 1
    yield f"{where}.last must end where this epoch began", last["step"] == progress["step"] - done
    for name in ("test_loss", "test_accuracy", "train_loss", "train_accuracy", "images_per_second"):
        keys = set(twins) if last["number"] or name.startswith("test") else set()
        yield f"{where}.last.{name} must have {sorted(twins)}", last[name].keys() == keys
        most = 1.0 if name.endswith("accuracy") else np.inf
        yield f"{where}.last.{name} is out of range", all(0 <= value <= most for value in last[name].values())


def _is_generator_state(state: dict[str, Any]) -> bool:
    """Whether NumPy's default generator takes this state, and gives it back."""
    generator: Any = np.random.PCG64()
    try:
        generator.state = state
        return bool(generator.state == state)
    except (KeyError, OverflowError, TypeError, ValueError):
        return False


def _of_board(board: Mapping[str, Any], step: int, members: set[str]) -> Iterator[Rule]:
    where = "record.board"
    yield f"{where}.step is not that of record.progress", board["step"] == step
    yield f"{where}.recent must be of {sorted(members)}", board["recent"].keys() in (set(), members)
    for sums in board["recent"].values():
        yield f"{where}.recent must be above 0", sums["images"] > 0 and sums["seconds"] > 0
    yield f"{where}.pictured is out of range", board["pictured"] is None or 0 <= board["pictured"] <= step
    for name, size in board["files"].items():
        yield f"{where}.files: {brief(name)} is no log of a run", LOG_NAME.fullmatch(name) is not None
        yield f"{where}.files: the size of {brief(name)} is below 0", size >= 0


def _of_findings(findings: Mapping[str, Any]) -> Iterator[Rule]:
    for name in ("apart", "yardstick", "steps", "tensors", "turned", "share"):
        yield f"record.findings.{name} must be at least 0", findings[name] >= 0


def _of_tensors(tensors: Mapping[str, Array], step: int, members: set[str]) -> Iterator[Rule]:
    for name, array in tensors.items():
        member, part, rest = (*name.split("/", 2), "", "")[:3]
        belongs = member in members and part in ("model", "optimizer") and bool(rest)
        yield f"{brief(name)} belongs to none of {sorted(members)}", belongs
        yield f"{brief(name)} holds NaN or infinity", bool(np.isfinite(array).all())
        if part == "optimizer" and array.ndim == 0:  # the one number that an optimizer remembers of a parameter
            yield f"{brief(name)} is not the number of steps, {step}", array == step
