"""Reads the IDX files that MNIST and its kin come in, plain or gzipped.

An IDX file is a header and then the elements, all big-endian: two zero bytes, one byte for the type of the elements
(0x08: unsigned byte, 0x0C: 32-bit integer), one for the number of axes, and four bytes for the length of each axis.

Sources: LeCun, Cortes & Burges, "The MNIST database of handwritten digits"; Yadav & Bottou 2019, "Cold Case: The Lost
MNIST Digits" (QMNIST).
"""

from __future__ import annotations

import errno
import gzip
import math
import os
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np

from scratch.module import Array

DType: TypeAlias = Literal["uint8", "int32"]
TYPES: dict[DType, int] = {"uint8": 0x08, "int32": 0x0C}
CHUNK = 1 << 20  # Bytes read at a time.
LARGEST = 1 << 30  # Bytes of the largest array that is read: 1.3 million images of 28x28, 20 times MNIST.
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


class Readable(Protocol):
    """What gives the next bytes of a file."""

    def read(self, size: int, /) -> bytes: ...


class IDXError(ValueError):
    """An IDX file that is missing, damaged or not what it should be; the message names the file and the mend."""


def find_idx(folder: Path, name: str) -> Path | None:
    """The file `name` or `name`.gz in `folder`; the plain one where both are there, None where neither is."""
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if os.path.exists(path)), None)  # False, too, where it may not look


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading. A pipe or a device is refused at once: reading it may wait, or never end.

    Raises:
        OSError: if it is missing, may not be read, or is no regular file.
    """
    file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a pipe, too, without waiting for its writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@contextmanager
def open_idx(path: Path) -> Iterator[BufferedReader | gzip.GzipFile]:
    """Open an IDX file for reading; one whose name ends in .gz is unpacked while it is read.

    Raises:
        IDXError: if the file is missing, unreadable, no regular file, or turns out to be damaged while it is read.
    """
    try:
        with open_regular(path) as file:
            yield gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
    except FileNotFoundError:
        raise IDXError(f"{path}: no such file; put the IDX file there, plain or as .gz") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise IDXError(f"{path}: damaged or truncated gzip file ({error}); delete it and fetch it again") from None
    except OSError as error:
        raise IDXError(f"{path}: cannot be read ({error.strerror or error}); check the file and its rights") from None


def read_idx(path: Path, ndim: int, dtype: DType = "uint8") -> Array:
    """Read an IDX file of `dtype` ("uint8" or "int32") with `ndim` axes; a name ending in .gz is unpacked.

    Returns:
        An array of that many axes and that type, in this machine's byte order.

    Raises:
        IDXError: if the file is missing, unreadable, no regular file, empty, truncated, longer than its header
            announces, damaged, of another type or number of axes, or larger than `LARGEST`.
    """
    with open_idx(path) as file:
        return _read(path, file, ndim, dtype)


def read_shape(path: Path, ndim: int, dtype: DType = "uint8") -> tuple[int, ...]:
    """The shape that the header of an IDX file announces; nothing else is read. Raises IDXError as `read_idx`."""
    with open_idx(path) as file:
        return _read_shape(path, file, ndim, dtype)


def _read_shape(path: Path, file: Readable, ndim: int, dtype: DType) -> tuple[int, ...]:
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
    # An axis of length 0 leaves no elements, but NumPy takes no others that are too long either.
    if math.prod(filter(None, shape)) * np.dtype(dtype).itemsize > LARGEST:
        raise IDXError(
            f"{path}: header announces {shape} of {dtype}, more than the {LARGEST:,} bytes that are read; "
            "take fewer images"
        )
    return shape


def _read(path: Path, file: Readable, ndim: int, dtype: DType) -> Array:
    shape = _read_shape(path, file, ndim, dtype)
    big_endian = np.dtype(dtype).newbyteorder(">")
    announced = math.prod(shape) * big_endian.itemsize
    # In chunks, and one byte more than announced: a header that lies costs no memory, and an excess shows.
    content = bytearray()
    while len(content) <= announced and (chunk := file.read(min(CHUNK, announced + 1 - len(content)))):
        content += chunk
    if len(content) != announced:
        held = f"only {len(content)}" if len(content) < announced else "more"
        raise IDXError(f"{path}: header announces {announced} bytes {shape}, the file holds {held}; fetch it again")
    return np.frombuffer(content, dtype=big_endian).reshape(shape).astype(dtype, copy=False)


def load_mnist(
    folder: Path, names: Mapping[str, str] = NAMES, num_classes: int = 10, size: tuple[int, int] | None = None
) -> dict[str, Array]:
    """Read the four files in `folder` and check that they belong together: first their headers, then their content.

    Args:
        names: the file of each array; `QMNIST_NAMES` has labels of two axes, of which the first column is the class.
        size: (H, W) of all images; None takes any.

    Returns:
        "train_images", "test_images": uint8 (N, 1, H, W), 0 to 255; "train_labels", "test_labels": int64 (N).

    Raises:
        IDXError: for a file that `read_idx` refuses, different counts of images and labels, no images at all, images of
            another size, labels without a column, labels outside 0 to `num_classes` - 1.
    """
    parts = {
        part: (_require(folder, names[f"{part}_images"]), _require(folder, names[f"{part}_labels"]))
        for part in ("train", "test")
    }
    for image_path, label_path in parts.values():
        _require_matching(image_path, label_path, size)
    data: dict[str, Array] = {}
    for part, (image_path, label_path) in parts.items():
        images, labels = read_idx(image_path, ndim=3), _read_labels(label_path)
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


def _require_matching(image_path: Path, label_path: Path, size: tuple[int, int] | None) -> None:
    """Refuse, by their headers alone, images and labels that do not belong together, or images of another size."""
    (count, *found), labels = read_shape(image_path, ndim=3), read_shape(label_path, *_label_format(label_path))
    if count != labels[0]:
        raise IDXError(
            f"{image_path} holds {count} images but {label_path} {labels[0]} labels; take both from the same source"
        )
    if math.prod((count, *found)) == 0:
        raise IDXError(f"{image_path}: holds no images; fetch it again")
    if size is not None and tuple(found) != size:
        raise IDXError(
            f"{image_path}: images are {found[0]}x{found[1]}, the models need {size[0]}x{size[1]}; "
            "scale or pad them to that"
        )
    if math.prod(labels) == 0:
        raise IDXError(f"{label_path}: holds no column of classes, its shape is {labels}; fetch it again")


def _label_format(path: Path) -> tuple[int, DType]:
    """Number of axes and type of a file of labels: QMNIST's are (N, 8), of int32, and its name says so."""
    return (2, "int32") if "-idx2-int" in path.name else (1, "uint8")


def _read_labels(path: Path) -> Array:
    """The classes, (N): the whole file, or the first column of a table."""
    ndim, dtype = _label_format(path)
    labels = read_idx(path, ndim, dtype)
    return labels if ndim == 1 else labels[:, 0]


def _require(folder: Path, name: str) -> Path:
    path = find_idx(folder, name)
    if path is None:
        mend = "put it there, or delete the others to have all four downloaded"
        raise IDXError(f"{folder}: neither {name} nor {name}.gz is there; {mend}")
    return path
