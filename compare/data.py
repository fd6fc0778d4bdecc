"""Which digits both twins see: MNIST, or those that ship with scikit-learn. Never one for the other in silence."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np
import platformdirs

import scratch
import torch_ref
from compare.errors import UserError
from scratch.data import NAMES, find_idx

DATASETS = ("auto", "mnist", "digits")
IMAGE_SIZE = 28


@dataclass(frozen=True)
class Dataset:
    """Images uint8 (N, 1, 28, 28), 0 to 255, labels int64 (N), 0 to 9, and in one sentence where they come from."""

    name: str
    origin: str
    train_images: scratch.Array
    train_labels: scratch.Array
    test_images: scratch.Array
    test_labels: scratch.Array


def data_folder(given: Path | None = None) -> Path:
    """Where data sets live: `given`, else $GRADTWIN_DATA, else the platform's cache folder."""
    if given is not None:
        return given
    from_environment = os.environ.get("GRADTWIN_DATA")
    return Path(from_environment) if from_environment else platformdirs.user_cache_path("gradtwin")


def load(name: str = "auto", folder: Path | None = None, tell: Callable[[str], None] = lambda _: None) -> Dataset:
    """Load "mnist" or "digits"; "auto" is MNIST where it is or can be had, else digits.

    MNIST is read from `folder`/MNIST/raw, where torchvision puts it, or from `folder` itself, plain or gzipped. Where
    none of its files is there it is downloaded. Files that are there but damaged are an error, for "auto" too: somebody
    put them there.

    Raises:
        UserError: for an unknown name, damaged files, or (for "mnist") files that are not there and cannot be had.
    """
    if name == "digits":
        return load_digits("asked for")
    if name not in DATASETS:
        raise UserError(f"dataset {name!r} is unknown; choose one of {', '.join(DATASETS)}")
    root = data_folder(folder)
    raw = find_mnist(root)
    if raw is not None:
        return _mnist(raw, f"found in {raw}")
    tell(f"data: MNIST is not in {root}: downloading it there")
    try:
        torch_ref.fetch_mnist(root)
    except (OSError, RuntimeError, HTTPException) as error:
        reason = _first_line(error)
        if name == "auto":
            return load_digits(f"MNIST is not in {root} and cannot be downloaded: {reason}")
        raise UserError(
            f"MNIST is not in {root} and cannot be downloaded ({reason}); "
            "put its four IDX files there, or take --dataset digits"
        ) from None
    return _mnist(root / "MNIST" / "raw", f"downloaded to {root}")


def find_mnist(root: Path) -> Path | None:
    """The folder that holds at least one MNIST file: `root`/MNIST/raw or `root`; None where there is none."""
    folders = (root / "MNIST" / "raw", root)
    return next((f for f in folders if any(find_idx(f, name) for name in NAMES.values())), None)


def _mnist(raw: Path, origin: str) -> Dataset:
    try:
        data = scratch.load_mnist(raw)
    except scratch.IDXError as error:
        raise UserError(str(error)) from None
    for part in ("train", "test"):
        size = data[f"{part}_images"].shape[2:]
        if size != (IMAGE_SIZE, IMAGE_SIZE):
            raise UserError(f"{raw}: {part} images are {size[0]}x{size[1]}, the models need {IMAGE_SIZE}x{IMAGE_SIZE}")
    return Dataset("mnist", f"MNIST, {origin}", **data)


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


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reasons = [line for line in lines if "urlopen error" in line]
    return (reasons or lines or [type(error).__name__])[0]
