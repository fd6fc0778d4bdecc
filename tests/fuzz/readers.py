"""The readers of the project, each with valid inputs and with changes that know its format."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
import safetensors.numpy
import torch
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from compare.lesson import history
from compare.machine import data
from compare.machine.data import Dataset
from compare.pairs import weights
from compare.training import run as training
from compare.training.board.server import damage_of
from compare.training.checkpoint import LAST, _digest, load_checkpoint, open_run, what_changed
from compare.training.drift import Drift
from compare.training.lockstep import Diverged, lockstep
from compare.training.settings import Settings
from compare.training.twins import Twins
from compare.verify import trained
from scratch import Array, Linear, Sequential, read_idx
from scratch.data import NAMES
from tests.fuzz.mutations import mutate_bytes, mutate_json, parsed
from tests.fuzz.trial import Reader

DTYPES = ("float16", "float64", "int64", "int32", "uint8", "bool", "complex64", "float32")
FILLS = (np.nan, np.inf, -np.inf, 0.0, -1.0, 1e30, 3.0, 0.5)


@contextmanager
def readers(folder: Path) -> Iterator[list[Reader]]:
    """All readers; they write their inputs into `folder`, which is best kept in memory, and train twins there once."""
    dataset = _dataset()
    torch.set_num_threads(1)
    seeds = _seed_checkpoints(dataset, folder / "seeds")
    with patch.object(history, "load", lambda *_: dataset):  # no input makes it look for data, or download them
        yield [
            _idx(folder / "file", 3, "uint8"),
            _idx(folder / "table", 2, "int32"),
            _idx(folder / "file.gz", 3, "uint8"),
            _four_files(folder / "four", dataset),
            _weights(folder / "weights"),
            _checkpoint(folder / "checkpoint"),
            _record(folder / "run", dataset, seeds),
            _log(folder / "events", folder / "seeds" / "0"),
        ]


@contextmanager
def in_memory() -> Iterator[Path]:
    """A temporary folder, in memory where the system has one there."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None, prefix="gradtwin-fuzz-") as folder:
        yield Path(folder)


def _dataset() -> Dataset:
    """Ten images to learn and four to test, random: more is not needed to take a step."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (14, 1, 28, 28), np.uint8), np.arange(14) % 10
    return Dataset("digits", "random", images[:10], labels[:10], images[10:], labels[10:])


# IDX files


def idx(array: Array) -> bytes:
    """`array`, uint8 or int32, as the content of an IDX file."""
    kind = {"uint8": 0x08, "int32": 0x0C}[str(array.dtype)]
    header = bytes([0, 0, kind, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def _idx(path: Path, ndim: int, dtype: Any) -> Reader:
    plain = tuple(idx(np.arange(np.prod(shape), dtype=dtype).reshape(shape)) for shape in ((2, 3, 4), (1, 0, 5)))
    if ndim == 2:
        plain = (idx(np.arange(16, dtype=dtype).reshape(2, 8)),)
    packed = path.suffix == ".gz"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        read_idx(path, ndim, dtype)

    def mutate(content: bytes, rng: Random) -> bytes:
        if packed and rng.random() < 0.3:
            return gzip.compress(mutate_bytes(rng.choice(plain), rng), rng.randrange(10))
        return mutate_bytes(content, rng)

    seeds = tuple(gzip.compress(content, mtime=0) for content in plain) if packed else plain
    return Reader(f"idx {path.name}", seeds, read, mutate)


def _four_files(folder: Path, dataset: Dataset) -> Reader:
    """The first byte of an input says which of four files that belong together is replaced by the rest."""
    files = {
        name: idx(np.asarray(getattr(dataset, kind)[:2].reshape(2, *([28, 28] if "images" in kind else [])), np.uint8))
        for kind, name in NAMES.items()
    }
    folder.mkdir()

    def read(content: bytes) -> None:
        changed = list(files)[content[0] % len(files)] if content else ""
        for name, whole in files.items():
            (folder / name).write_bytes(content[1:] if name == changed else whole)
        data.load(f"idx:{folder}")

    seeds = tuple(bytes([index]) + content for index, content in enumerate(files.values()))
    return Reader("idx dataset", seeds, read, mutate_bytes)


# safetensors files


def _mutate_header(content: bytes, rng: Random) -> bytes:
    """A safetensors file with another header of the right length, or other bytes."""
    length = int.from_bytes(content[:8], "little")
    header = parsed(content[8 : 8 + length])
    if header is None or rng.random() < 0.5:
        return mutate_bytes(content, rng)
    text = json.dumps(mutate_json(header, rng)).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def _weights(path: Path) -> Reader:
    own = Sequential(Linear(3, 2))

    def read(content: bytes) -> None:
        path.write_bytes(content)
        weights.load_scratch_state(own, weights.load_weights(path), str(path))

    seed = safetensors.numpy.save(own.state_dict(), {"a": "b"})
    return Reader("weights", (seed,), read, _mutate_header)


def _checkpoint(path: Path) -> Reader:
    """Small files with the metadata of a checkpoint, as they are: few have the right digest, so few are accepted."""

    def read(content: bytes) -> None:
        path.write_bytes(content)
        load_checkpoint(path)

    tensors = {"torch/model/fc1.bias": np.zeros(10, np.float32)}
    seed = safetensors.numpy.save(tensors, {"gradtwin": "{}", "digest": _digest(tensors, "{}")})
    return Reader("checkpoint", (seed,), read, _mutate_header)


# Checkpoints that are signed anew: the first part of an input is the record, the second says what to do to the tensors.


def _seed_checkpoints(dataset: Dataset, folder: Path) -> list[Path]:
    """The last checkpoints of short runs: within an epoch, at the end, of one twin."""
    kinds = (
        (Settings(epochs=2, batch_size=4, checkpoint_every=1), 4),
        (Settings(epochs=1, batch_size=4, optimizer="adam", resync=True), None),
        (Settings(epochs=1, batch_size=4, only="torch", momentum=0.0), None),
        (Settings(epochs=1, batch_size=4, checkpoint_every=1, yardstick=False), 0),
    )
    paths: list[Path] = []
    with patch.object(trained, "IMAGES", 2):
        for number, (settings, last) in enumerate(kinds):
            paths.append(folder / str(number) / LAST)
            with suppress(_Stopped):
                training.run_twins(Twins(settings), dataset, folder / str(number), lambda _: None, _stop_after(last))
    return paths


class _Stopped(Exception):  # noqa: N818 - not an error
    pass


def _stop_after(step: int | None) -> Any:
    def watch(event: Any) -> None:
        if step is not None and getattr(event, "step", getattr(event, "number", None)) == step:
            raise _Stopped

    return watch


def _record(folder: Path, dataset: Dataset, seeds: list[Path]) -> Reader:
    saved = [load_checkpoint(path) for path in seeds]
    (folder / LAST).parent.mkdir(parents=True)

    def read(content: bytes) -> None:
        text, _, edits = content.partition(b"\0")
        base = saved[edits[0] % len(saved)] if edits else saved[0]
        tensors = _edited(base.tensors, edits[1:])
        record = text.decode(errors="replace")
        metadata = {"gradtwin": record, "digest": _digest(tensors, record)}
        (folder / LAST).write_bytes(safetensors.numpy.save(tensors, metadata))
        _go_on(folder, dataset)

    def mutate(content: bytes, rng: Random) -> bytes:
        text, _, edits = content.partition(b"\0")
        record = parsed(text)
        if record is None or rng.random() < 0.2:
            return mutate_bytes(content, rng)
        if rng.random() < 0.3:
            edits += bytes(rng.randrange(256) for _ in range(3))
        else:
            text = json.dumps(mutate_json(record, rng)).encode()
        return text + b"\0" + edits

    texts = tuple(json.dumps(dict(each.record)).encode() + bytes([0, n]) for n, each in enumerate(saved))
    return Reader("signed checkpoint", texts, read, mutate)


def _edited(tensors: Any, edits: bytes) -> dict[str, Array]:
    """The tensors after some edits of three bytes each: what to do, to which tensor, and with what."""
    found = {name: np.asarray(array) for name, array in tensors.items()}
    for kind, which, what in zip(edits[::3], edits[1::3], edits[2::3], strict=False):
        if not found:
            break
        name = sorted(found)[which % len(found)]
        array = found.pop(name)
        match kind % 6:
            case 0:
                found[f"{name}{chr(what)}"] = array
            case 1:
                found[name] = array.reshape(-1) if what % 2 else array[None]
            case 2:
                with np.errstate(all="ignore"):
                    found[name] = array.real.astype(DTYPES[what % len(DTYPES)])
            case 3:
                changed = array.copy()
                with np.errstate(all="ignore"):
                    changed.flat[:1] = np.array(FILLS[what % len(FILLS)]).astype(array.dtype)
                found[name] = changed
            case 4:
                found[name] = np.array(what, array.dtype)
            case _:
                pass  # dropped
    return found


def _go_on(folder: Path, dataset: Dataset) -> None:
    """Everything that a command does with a checkpoint: go on for one step, and show it in the lesson."""
    saved = open_run(folder)
    given = saved.data
    limited = dataset.limited(given.train_images, given.test_images)
    saved.steps(limited)
    what_changed(saved.checkpoint)
    twins = Twins(replace(saved.settings, device="cpu", tf32=False))
    run = training._Run(twins, limited, folder, given, saved.checkpoint)
    run.drift.findings.lines(twins.settings)
    try:
        next(lockstep(twins, limited, run.progress, Drift(twins, run.drift.findings)), None)
    except Diverged:
        return
    if twins.settings.compares:
        history.read_run(folder)


# Logs


def _log(path: Path, run: Path) -> Reader:
    whole = [path.read_bytes() for path in sorted(run.rglob("*tfevents*"))]
    seeds = tuple(_records([record for record in _records_of(content) if len(record) < 500][:12]) for content in whole)

    def read(content: bytes) -> None:
        path.write_bytes(content)
        damage_of(path)
        list(history._scalars(path))

    def mutate(content: bytes, rng: Random) -> bytes:
        records = _records_of(content)
        if not records or rng.random() < 0.4:
            return mutate_bytes(content, rng)
        at = rng.randrange(len(records))
        records[at] = mutate_bytes(records[at], rng)
        signed = _records(records)
        if rng.random() < 0.2:  # a last record of another length, correctly signed
            length = rng.choice((0, 1, 2**20, 2**28, 2**31, 2**40, 2**63, 2**64 - 1)).to_bytes(8, "little")
            signed += length + masked_crc32c(length).to_bytes(4, "little") + b"1234"
        return signed

    return Reader("log", seeds, read, mutate)


def _records_of(content: bytes) -> list[bytes]:
    """The data of the records of a log, up to where it is damaged."""
    found, at = [], 0
    while at + 16 <= len(content):
        length = int.from_bytes(content[at : at + 8], "little")
        if at + 16 + length > len(content):
            break
        found.append(content[at + 12 : at + 12 + length])
        at += 16 + length
    return found


@lru_cache(1000)
def _signed(record: bytes) -> bytes:
    length = len(record).to_bytes(8, "little")
    return b"".join(part + masked_crc32c(part).to_bytes(4, "little") for part in (length, record))


def _records(records: list[bytes]) -> bytes:
    return b"".join(map(_signed, records))
