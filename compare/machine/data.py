"""Which images both twins see: MNIST, its kin, anybody's own, or the digits that ship with scikit-learn.

Never one for the other in silence.

Sources: Xiao, Rasul & Vollgraf 2017, "Fashion-MNIST"; Clanuwat et al. 2018, "Deep Learning for Classical Japanese
Literature" (Kuzushiji-MNIST); Yadav & Bottou 2019, "Cold Case: The Lost MNIST Digits" (QMNIST).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from http.client import HTTPException
from pathlib import Path

import numpy as np

import scratch
import torch_ref
from compare.machine.errors import UserError, brief
from scratch.data import NAMES, QMNIST_NAMES, find_idx

DATASETS = ("auto", "mnist", "fashion-mnist", "kmnist", "qmnist", "digits", "idx:FOLDER")
IMAGE_SIZE = 28
DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class Dataset:
    """Images uint8 (N, 1, 28, 28), 0 to 255, labels int64 (N), 0 to 9, and in one sentence where they come from.

    `classes` has the names of the ten classes, in the order of their labels.
    """

    name: str
    origin: str
    train_images: scratch.Array
    train_labels: scratch.Array
    test_images: scratch.Array
    test_labels: scratch.Array
    classes: tuple[str, ...] = DIGITS

    def limited(self, train: int | None, test: int | None) -> Dataset:
        """The first `train` training and the first `test` test images; None stands for all of a part.

        The origin of what is cut names the numbers that it was cut from.

        Raises:
            UserError: for less than 1 image, or more than there are.
        """
        counts = {"train": len(self.train_images), "test": len(self.test_images)}
        kept = counts | {part: count for part, count in (("train", train), ("test", test)) if count is not None}
        if kept == counts:
            return self
        for part, count in counts.items():
            if not 1 <= kept[part] <= count:
                raise UserError(
                    f"--{part}-images must be at least 1 and at most the {count:,} of {self.name}, got {kept[part]}"
                )
        return replace(
            self,
            origin=f"{self.origin}, cut from {counts['train']:,} and {counts['test']:,}",
            train_images=self.train_images[: kept["train"]],
            train_labels=self.train_labels[: kept["train"]],
            test_images=self.test_images[: kept["test"]],
            test_labels=self.test_labels[: kept["test"]],
        )

    @cached_property
    def checksum(self) -> str:
        """SHA-256 over type, shape and bytes of the four arrays, in hex: equal exactly where the data are."""
        digest = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(f"{array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Source:
    """A data set that torchvision downloads.

    Its name here and in a sentence, its class in torchvision (whose name is the folder's), its files, and whether its
    classes have names; the others' are numbers.
    """

    name: str
    title: str
    kind: str
    files: Mapping[str, str]
    named: bool

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of its classes."""
        return torch_ref.class_names(self.kind) if self.named else DIGITS


MNIST = Source("mnist", "MNIST", "MNIST", NAMES, named=False)
KIN = {
    source.name: source
    for source in (
        Source("fashion-mnist", "Fashion-MNIST", "FashionMNIST", NAMES, named=True),
        Source("kmnist", "Kuzushiji-MNIST", "KMNIST", NAMES, named=True),
        Source("qmnist", "QMNIST", "QMNIST", QMNIST_NAMES, named=False),
    )
}


def data_folder(given: Path | None = None) -> Path:
    """Where data sets live: `given`, else $GRADTWIN_DATA, else the platform's cache folder."""
    if given is not None:
        return given
    if from_environment := os.environ.get("GRADTWIN_DATA"):
        return Path(from_environment)
    import platformdirs

    return platformdirs.user_cache_path("gradtwin")


def load(name: str = "auto", folder: Path | None = None, tell: Callable[[str], None] = lambda _: None) -> Dataset:
    """Load one of DATASETS; "auto" is MNIST where it is or can be had, else digits.

    MNIST is read from `folder`/MNIST/raw, where torchvision puts it, or from `folder` itself; Fashion-MNIST from
    `folder`/FashionMNIST/raw, and so on; plain or gzipped. Where none of its files is there it is downloaded. Files
    that are there but damaged are an error, for "auto" too: somebody put them there.

    "idx:FOLDER" reads the four files of FOLDER (from where the command is run, `folder` has no part in it), which have
    MNIST's names, hold images of 28x28 bytes and labels from 0 to 9, and are plain or gzipped.

    Raises:
        UserError: for an unknown name, damaged files, or (for all but "auto") files that are not there and cannot be
            had.
    """
    if name == "digits":
        return load_digits("asked for")
    if name.startswith("idx:"):
        return _own(name.removeprefix("idx:"))
    source = MNIST if name in ("auto", "mnist") else KIN.get(name)
    if source is None:
        raise UserError(f"dataset {brief(repr(name))} is unknown; choose one of {', '.join(DATASETS)}")
    root = data_folder(folder)
    raw = _find(source, root)
    if raw is not None:
        return _read(source, raw, f"found in {raw}")
    raw = root / source.kind / "raw"
    tell(f"data: {source.title} is not in {root}: downloading it there")
    try:
        torch_ref.fetch_mnist(root, source.kind)
    except (OSError, RuntimeError, HTTPException) as error:
        reason = _reason(error)
        if name == "auto":
            return load_digits(f"MNIST is not in {root} and cannot be downloaded: {reason}")
        raise UserError(
            f"{source.title} is not in {root} and cannot be downloaded ({reason}); "
            f"put its four IDX files into {raw}, or take --dataset digits"
        ) from None
    return _read(source, raw, f"downloaded to {root}")


def find_mnist(root: Path) -> Path | None:
    """The folder that holds at least one MNIST file: `root`/MNIST/raw or `root`; None where there is none."""
    return _find(MNIST, root)


def _find(source: Source, root: Path) -> Path | None:
    """The folder that holds at least one file of `source`; only MNIST's may lie in `root`: others share their names."""
    folders = [root / source.kind / "raw", *([root] if source is MNIST else [])]
    return next((f for f in folders if any(find_idx(f, name) for name in source.files.values())), None)


def _read(source: Source, raw: Path, origin: str) -> Dataset:
    return _dataset(source.name, f"{source.title}, {origin}", raw, source.files, source.classes)


def _own(given: str) -> Dataset:
    """The four IDX files in the folder `given`, which may begin with ~ (a shell leaves it where it is not first)."""
    if not given:
        raise UserError("--dataset idx: names no folder; write idx:FOLDER")
    folder = Path(os.path.expanduser(given))
    if not os.path.isdir(folder):  # False, too, where it may not look
        state = "not a folder" if os.path.exists(folder) else "no such folder, or it may not be looked into"
        raise UserError(f"{folder}: {state}; idx:FOLDER takes the folder of the four IDX files")
    missing = [name for name in NAMES.values() if find_idx(folder, name) is None]
    if missing:
        raise UserError(f"{folder}: {', '.join(missing)} missing, plain and as .gz; put all four IDX files there")
    return _dataset("idx", f"IDX files in {folder}", folder, NAMES, DIGITS)


def _dataset(name: str, origin: str, folder: Path, files: Mapping[str, str], classes: tuple[str, ...]) -> Dataset:
    try:
        data = scratch.load_mnist(folder, files, size=(IMAGE_SIZE, IMAGE_SIZE))
    except scratch.IDXError as error:
        raise UserError(str(error)) from None
    return Dataset(
        name,
        origin,
        data["train_images"],
        data["train_labels"],
        data["test_images"],
        data["test_labels"],
        classes,
    )


def load_digits(reason: str) -> Dataset:
    """scikit-learn's 1,797 handwritten digits, 8x8 with 17 grey levels, enlarged to 28x28.

    Each pixel becomes 3x3, with a border of 2 around: the digit fills the frame about as MNIST's do. A fifth is set
    aside for testing, the same one whatever the seed, with every class in its share.
    """
    from sklearn.datasets import load_digits as sklearn_digits
    from sklearn.model_selection import train_test_split

    digits = sklearn_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    images = np.pad(np.kron(grey, np.ones((1, 3, 3), np.uint8)), ((0, 0), (2, 2), (2, 2)))[:, None]
    labels = digits.target.astype(np.int64)
    parts = train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)
    train_images, test_images, train_labels, test_labels = parts
    origin = f"scikit-learn's 1,797 embedded digits, enlarged to 28x28 ({reason})"
    return Dataset("digits", origin, train_images, train_labels, test_images, test_labels)


def batches(
    images: scratch.Array,
    labels: scratch.Array,
    batch_size: int,
    dtype: str,
    order: scratch.Array | None = None,
) -> Iterator[tuple[scratch.Array, scratch.Array]]:
    """Batches of (images, labels), in `order` or as they lie, the last one as large as is left.

    Images come as `dtype` from 0 to 1: every grey value divided by 255, one batch at a time.
    """
    order = np.arange(len(images)) if order is None else order
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        yield images[chosen].astype(dtype) / np.dtype(dtype).type(255), labels[chosen]


def _reason(error: Exception) -> str:
    """Why a download failed, in one line: torchvision announces each mirror's answer by a line with a colon."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reasons = [line for line in lines if not line.endswith(":")]
    return (reasons or lines or [type(error).__name__])[0]
