"""Checkpoints: one file that holds a whole training, written so that there is always one that is whole.

A checkpoint is a safetensors file (plain numbers, no code: nothing is ever unpickled) with the weights and optimizer
state of every twin; its metadata holds, as JSON, everything else that the training goes on from. One file, so that the
two can never be of different steps; written beside its place, flushed to the disk and renamed.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy

from compare.machine.errors import UserError, brief
from compare.machine.files import write_bytes
from compare.machine.package import own_version
from compare.machine.tensor_files import read_tensors
from compare.training.record import require_record, require_steps
from compare.training.settings import DataOptions, Settings
from scratch import Array

if TYPE_CHECKING:
    from compare.machine.data import Dataset

FOLDER = "checkpoints"
LAST, BEST = f"{FOLDER}/last.safetensors", f"{FOLDER}/best.safetensors"
FORMAT = 1
LIBRARIES = ("numpy", "torch")


@dataclass(frozen=True)
class Checkpoint:
    """A training at one step.

    Attributes:
        tensors: as `Twins.tensors` gives them.
        record: plain values: settings, data set, progress, findings, what is in TensorBoard.
    """

    tensors: Mapping[str, Array]
    record: Mapping[str, Any]


def versions() -> dict[str, str]:
    """What the numbers of a training depend on besides its settings."""
    own = {"python": platform.python_version(), "machine": platform.machine(), "gradtwin": own_version()}
    return own | {name: version(name) for name in LIBRARIES}


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        UserError: if it cannot be written; an older one at `path` is untouched then.
    """
    tensors = {name: np.asarray(array, order="C") for name, array in checkpoint.tensors.items()}
    record = json.dumps(dict(checkpoint.record) | {"format": FORMAT, "versions": versions()})
    metadata = {"gradtwin": record, "digest": _digest(tensors, record)}
    write_bytes(path, safetensors.numpy.save(tensors, metadata=metadata))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        UserError: if it is missing, unreadable, damaged or altered anywhere, or no checkpoint of this version's.
    """
    found = read_tensors(path, _instead(path))
    record = found.metadata.get("gradtwin")
    if record is None:
        raise UserError(f"{path}: a safetensors file, but not a checkpoint of gradtwin; give the folder of a run")
    if found.metadata.get("digest") != _digest(found.tensors, record):
        raise UserError(f"{path}: damaged, it does not hold what was saved; {_instead(path)}")
    return Checkpoint(found.tensors, _parsed(path, record, found.tensors))


def _parsed(path: Path, text: str, tensors: Mapping[str, Array]) -> dict[str, Any]:
    """The record of a checkpoint; the digest holds, but anybody can compute one. Raises UserError."""
    try:
        record = json.loads(text)
        if isinstance(record, dict) and record.get("format") != FORMAT:
            raise ValueError(f"its format is {brief(repr(record.get('format')))}, this version's is {FORMAT}")
        require_record(record, tensors)
    except (ValueError, RecursionError) as error:
        why = f"it is altered, of another version, or diverged ({brief(error, 400)})"
        raise UserError(f"{path}: no run can go on from it, {why}; {_instead(path)}") from None
    return record


def find_checkpoint(run: Path) -> tuple[Path, Path]:
    """The folder of a run and its checkpoint to go on from: the last one of a folder, or the one that is named itself.

    Raises:
        UserError: if there is none.
    """
    if run.is_file():
        if run.parent.name != FOLDER:
            raise UserError(f"{run}: not in the folder {FOLDER} of a run; give the folder of the run")
        return run.parent.parent, run
    if run.name == FOLDER and (run.parent / LAST).exists():
        run = run.parent
    if not run.is_dir():
        raise UserError(f"{run}: no such run; give the folder that gradtwin train named")
    if not (run / LAST).exists():
        raise UserError(f"{run}: holds no checkpoint ({LAST}); nothing was saved that could go on, start a new run")
    return run, run / LAST


@dataclass(frozen=True)
class SavedRun:
    """A run that can go on, or be shown.

    Attributes:
        folder: of the run.
        checkpoint: where it stands.
        data: how its data set was asked for, or where it is now.
    """

    folder: Path
    checkpoint: Checkpoint
    data: DataOptions

    @property
    def settings(self) -> Settings:
        """Those of the run. Raises UserError for more threads than this machine has cores."""
        return Settings(**self.checkpoint.record["settings"])

    def steps(self, data: Dataset) -> tuple[int, int]:
        """How many steps are done, and how many there are, on its data set."""
        total = self.settings.total_steps(data.name, len(data.train_images))
        return self.checkpoint.record["progress"]["step"], total


def open_run(run: Path, data_dir: Path | None = None) -> SavedRun:
    """The run of a folder, or of one of its checkpoints; `data_dir` says where its data set lies now.

    Raises:
        UserError: if there is none, or it is damaged.
    """
    folder, path = find_checkpoint(run)
    checkpoint = load_checkpoint(path)
    chosen = DataOptions(**checkpoint.record["data"])
    return SavedRun(folder, checkpoint, chosen if data_dir is None else chosen.moved(data_dir))


def require_data(folder: Path, record: Mapping[str, Any], data: Dataset, instead: str) -> None:
    """Make sure that a data set is the one that a run began with; `instead` says what else can be done.

    Raises:
        UserError: if it is another one, or the run cannot have come as far as it says on it.
    """
    if record["checksum"] != data.checksum:
        raise UserError(
            f"{folder}: the data set is not the one that the run began with, {brief(record['origin'])}; "
            f"put that back, or {instead}"
        )
    try:
        require_steps(record, data.name, len(data.train_images))
    except ValueError as error:
        raise UserError(f"{folder}: its checkpoint is altered: {error}; start a new run") from None


def what_changed(checkpoint: Checkpoint) -> list[str]:
    """One line for each version that is not what it was: the training goes on, but perhaps not bit for bit."""
    now = versions()
    before = checkpoint.record["versions"]
    return [
        f"note: {name} is {now[name]}, the run began with {brief(before.get(name, 'none'))}: "
        "it may no longer be the same bit for bit"
        for name in now
        if before.get(name) != now[name]
    ]


def _instead(path: Path) -> str:
    """What to do without this checkpoint."""
    best = path.with_name(Path(BEST).name)
    return f"go on from {best}" if best != path and best.exists() else "start a new run"


def _digest(tensors: Mapping[str, Array], record: str) -> str:
    """A checksum over the record, and names, types, shapes and numbers of the tensors."""
    sha = hashlib.sha256(record.encode())
    for name in sorted(tensors):
        array = tensors[name]
        sha.update(f"{name} {array.dtype} {array.shape} ".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()
