"""Reads the IDX files that MNIST and its kin come in, plain or gzipped.

An IDX file is a header and then the elements, all big-endian: two zero bytes, one byte for the type of the elements
(0x08: unsigned byte, 0x0C: 32-bit integer), one for the number of axes, and four bytes for the length of each axis.

Sources: LeCun, Cortes & Burges, "The MNIST database of handwritten digits"; Yadav & Bottou 2019, "Cold Case: The Lost
MNIST Digits" (QMNIST).
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias, cast

import numpy as np

from scratch.module import Array

DType: TypeAlias = Literal["uint8", "int32"]
TYPES: dict[DType, int] = {"uint8": 0x08, "int32": 0x0C}
CHUNK = 1 << 20
NAMES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
QMNIST_NAMES = {
    "train_images": "qmnist-train-images-idx3-ubyte",
    "train_labels": "qmnist-train-labels-idx2-int",
    "test_images": "qmnist-test-images-idx3-ubyte",
    "test_labels": "qmnist-test-labels-idx2-int",
}


class IDXError(ValueError):
    """An IDX file that is missing, damaged or not what it should be; the message names the file and the mend."""


def find_idx(folder: Path, name: str) -> Path | None:
    """The file `name` or `name`.gz in `folder`; the plain one where both are there, None where neither is."""
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if os.path.exists(path)), None)  # False, too, where it may not look


def read_idx(path: Path, ndim: int, dtype: DType = "uint8") -> Array:
    """Read an IDX file of `dtype` ("uint8" or "int32") with `ndim` axes; a name ending in .gz is unpacked.

    Returns:
        An array of that many axes and that type, in this machine's byte order.

    Raises:
        IDXError: if the file is missing, unreadable, empty, truncated, longer than its header announces, damaged, of
            another type or number of axes.
    """
    try:
        with cast("BinaryIO", gzip.open(path) if path.suffix == ".gz" else path.open("rb")) as file:
            return _read(path, file, ndim, dtype)
    except FileNotFoundError:
        raise IDXError(f"{path}: no such file; put the IDX file there, plain or as .gz") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise IDXError(f"{path}: damaged or truncated gzip file ({error}); delete it and fetch it again") from None
    except OSError as error:
        raise IDXError(f"{path}: cannot be read ({error.strerror or error}); check the file and its rights") from None


def _read(path: Path, file: BinaryIO, ndim: int, dtype: DType) -> Array:
    header = file.read(4)
    if len(header) < 4:
        raise IDXError(f"{path}: empty or truncated, {len(header)} bytes where an IDX header has 4; fetch it again")
    expected = bytes([0, 0, TYPES[dtype], ndim])
    if header != expected:
        raise IDXError(
            f"{path}: wrong magic number 0x{header.hex()}, expected 0x{expected.hex()} "
            f"({dtype}, {ndim} {'axis' if ndim == 1 else 'axes'}); is it the right file?"
        )
    lengths = file.read(4 * ndim)
    if len(lengths) < 4 * ndim:
        raise IDXError(f"{path}: truncated inside its header; fetch it again")
    shape = tuple(int.from_bytes(lengths[4 * axis : 4 * axis + 4], "big") for axis in range(ndim))
    big_endian = np.dtype(dtype).newbyteorder(">")
    announced = math.prod(shape) * big_endian.itemsize
    # In chunks, and one byte more than announced: a header that lies costs no memory, and an excess shows.
    content = bytearray()
    while len(content) <= announced and (chunk := file.read(min(CHUNK, announced + 1 - len(content)))):
        content += chunk
    if len(content) != announced:
        held = f"only {len(content)}" if len(content) < announced else "more"
        raise IDXError(f"{path}: header announces {announced} bytes {shape}, the file holds {held}; fetch it again")
    try:
        return np.frombuffer(content, dtype=big_endian).reshape(shape).astype(dtype, copy=False)
    except ValueError:  # one axis of length 0, the others so long that no array has them
        raise IDXError(f"{path}: header announces an impossible shape {shape}; fetch it again") from None


def load_mnist(folder: Path, names: Mapping[str, str] = NAMES, num_classes: int = 10) -> dict[str, Array]:
    """Read the four files in `folder` and check that they belong together.

    Args:
        names: the file of each array; `QMNIST_NAMES` has labels of two axes, of which the first column is the class.

    Returns:
        "train_images", "test_images": uint8 (N, 1, H, W), 0 to 255; "train_labels", "test_labels": int64 (N).

    Raises:
        IDXError: for a file that `read_idx` refuses, different counts of images and labels, no images at all, labels
            without a column, labels outside 0 to `num_classes` - 1.
    """
    data: dict[str, Array] = {}
    for part in ("train", "test"):
        image_path, label_path = (_require(folder, names[f"{part}_{kind}"]) for kind in ("images", "labels"))
        images, labels = read_idx(image_path, ndim=3), _read_labels(label_path)
        if len(images) != len(labels):
            raise IDXError(
                f"{image_path} holds {len(images)} images but {label_path} {len(labels)} labels; "
                "take both from the same source"
            )
        if images.size == 0:
            raise IDXError(f"{image_path}: holds no images; fetch it again")
        outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
        if outside.size:
            at = int(outside[0])
            raise IDXError(
                f"{label_path}: label {labels[at]} at position {at} is outside 0 to {num_classes - 1}; "
                f"take labels of these {num_classes} classes only"
            )
        data[f"{part}_images"] = images[:, None]
        data[f"{part}_labels"] = labels.astype(np.int64)
    return data


def _read_labels(path: Path) -> Array:
    """The classes, (N): the whole file, or the first column of QMNIST's (N, 8), whose name says so."""
    if "-idx2-int" not in path.name:
        return read_idx(path, ndim=1)
    table = read_idx(path, ndim=2, dtype="int32")
    if table.shape[1] == 0:
        raise IDXError(f"{path}: holds no column of classes, its shape is {table.shape}; fetch it again")
    return table[:, 0]


def _require(folder: Path, name: str) -> Path:
    path = find_idx(folder, name)
    if path is None:
        mend = "put it there, or delete the others to have all four downloaded"
        raise IDXError(f"{folder}: neither {name} nor {name}.gz is there; {mend}")
    return path
