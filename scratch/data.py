"""Reads the IDX files that MNIST comes in, plain or gzipped.

An IDX file is a header of big-endian numbers and then the bytes: two zero bytes, one byte for the type of the elements
(0x08: unsigned byte), one byte for the number of axes, and four bytes for the length of each axis.

Source: LeCun, Cortes & Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from scratch.module import Array

UNSIGNED_BYTE = 0x08
CHUNK = 1 << 20
NAMES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


class IDXError(ValueError):
    """An IDX file that is missing, damaged or not what it should be; the message names the file and the mend."""


def find_idx(folder: Path, name: str) -> Path | None:
    """The file `name` or `name`.gz in `folder`; the plain one where both are there, None where neither is."""
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if os.path.exists(path)), None)  # False, too, where it may not look


def read_idx(path: Path, ndim: int) -> Array:
    """Read an IDX file of unsigned bytes with `ndim` axes into a uint8 array; a name ending in .gz is unpacked.

    Raises:
        IDXError: if the file is missing, unreadable, empty, truncated, longer than its header announces, damaged, of
            another type or number of axes.
    """
    try:
        with cast("BinaryIO", gzip.open(path) if path.suffix == ".gz" else path.open("rb")) as file:
            return _read(path, file, ndim)
    except FileNotFoundError:
        raise IDXError(f"{path}: no such file; put the IDX file there, plain or as .gz") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise IDXError(f"{path}: damaged or truncated gzip file ({error}); delete it and fetch it again") from None
    except OSError as error:
        raise IDXError(f"{path}: cannot be read ({error.strerror or error}); check the file and its rights") from None


def _read(path: Path, file: BinaryIO, ndim: int) -> Array:
    header = file.read(4)
    if len(header) < 4:
        raise IDXError(f"{path}: empty or truncated, {len(header)} bytes where an IDX header has 4; fetch it again")
    expected = bytes([0, 0, UNSIGNED_BYTE, ndim])
    if header != expected:
        raise IDXError(
            f"{path}: wrong magic number 0x{header.hex()}, expected 0x{expected.hex()} "
            f"(unsigned bytes, {ndim} axes); is it the right file?"
        )
    lengths = file.read(4 * ndim)
    if len(lengths) < 4 * ndim:
        raise IDXError(f"{path}: truncated inside its header; fetch it again")
    shape = tuple(int.from_bytes(lengths[4 * axis : 4 * axis + 4], "big") for axis in range(ndim))
    announced = math.prod(shape)
    # In chunks, and one byte more than announced: a header that lies costs no memory, and an excess shows.
    content = bytearray()
    while len(content) <= announced and (chunk := file.read(min(CHUNK, announced + 1 - len(content)))):
        content += chunk
    if len(content) != announced:
        held = f"only {len(content)}" if len(content) < announced else "more"
        raise IDXError(f"{path}: header announces {announced} bytes {shape}, the file holds {held}; fetch it again")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def load_mnist(folder: Path, num_classes: int = 10) -> dict[str, Array]:
    """Read the four MNIST files in `folder` and check that they belong together.

    Returns:
        "train_images", "test_images": uint8 (N, 1, H, W), 0 to 255; "train_labels", "test_labels": int64 (N).

    Raises:
        IDXError: for a file that `read_idx` refuses, different counts of images and labels, no images at all, labels
            outside 0 to `num_classes` - 1.
    """
    data: dict[str, Array] = {}
    for part in ("train", "test"):
        image_path, label_path = (_require(folder, NAMES[f"{part}_{kind}"]) for kind in ("images", "labels"))
        images, labels = read_idx(image_path, ndim=3), read_idx(label_path, ndim=1)
        if len(images) != len(labels):
            raise IDXError(
                f"{image_path} holds {len(images)} images but {label_path} {len(labels)} labels; "
                "take both from the same source"
            )
        if images.size == 0:
            raise IDXError(f"{image_path}: holds no images; fetch it again")
        if labels.max() >= num_classes:
            at = int(labels.argmax())
            raise IDXError(f"{label_path}: label {labels[at]} at position {at} is outside 0 to {num_classes - 1}")
        data[f"{part}_images"] = images[:, None]
        data[f"{part}_labels"] = labels.astype(np.int64)
    return data


def _require(folder: Path, name: str) -> Path:
    path = find_idx(folder, name)
    if path is None:
        mend = "put it there, or delete the others to have all four downloaded"
        raise IDXError(f"{folder}: neither {name} nor {name}.gz is there; {mend}")
    return path
