"""MNIST and its kin by torchvision: it knows the mirrors, the checksums and the names of the classes."""

from __future__ import annotations

import contextlib
import io
import socket
import tempfile
from http.client import HTTPException
from pathlib import Path
from typing import Any

from torch import Tensor

PATIENCE = 10.0  # seconds without a byte before a mirror counts as out of reach


def fetch_mnist(root: Path, kind: str = "MNIST") -> None:
    """Download the four files of `kind` to `root`/`kind`/raw, each checked against its MD5.

    They are fetched beside that folder and moved into it when all are there, so that it never holds half a download.

    Raises:
        OSError, RuntimeError, HTTPException: if `root` cannot be written, no mirror can be reached, or torchvision
            cannot read what it downloaded.
    """
    root.mkdir(parents=True, exist_ok=True)
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as folder:
            _download(folder, kind)
            raw = root / kind / "raw"
            raw.mkdir(parents=True, exist_ok=True)
            for path in (Path(folder) / kind / "raw").iterdir():
                path.replace(raw / path.name)
    finally:
        socket.setdefaulttimeout(patience)


def _download(folder: str, kind: str) -> None:
    read = _kind(kind)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # tqdm's bars, one per file and mirror
            for train in (True, False):  # QMNIST downloads only the part asked for, the others both at once
                read(folder, train=train, download=True)
    except (OSError, RuntimeError, HTTPException):
        raise
    except Exception as error:  # torchvision reads what it has downloaded; on a damaged file it may raise anything
        raise RuntimeError(f"torchvision cannot read its download: {type(error).__name__} {error}") from error


def load_mnist(root: Path, kind: str = "MNIST") -> dict[str, Tensor]:
    """What torchvision reads from `root`/`kind`/raw: images uint8 (N, H, W) and classes int64 (N) of both parts."""
    data: dict[str, Tensor] = {}
    for part in ("train", "test"):
        read = _kind(kind)(str(root), train=part == "train")
        data[f"{part}_images"] = read.data
        data[f"{part}_labels"] = read.targets if read.targets.ndim == 1 else read.targets[:, 0]  # QMNIST's are (N, 8)
    return data


def class_names(kind: str) -> tuple[str, ...]:
    """What the classes of `kind` are called, in the order of their numbers."""
    return tuple(_kind(kind).classes)


def _kind(kind: str) -> Any:
    """The class of torchvision that reads `kind`. Importing torchvision takes a second, and few commands need it."""
    from torchvision import datasets

    return getattr(datasets, kind)
