"""MNIST by torchvision: it knows the mirrors and the checksums."""

from __future__ import annotations

import contextlib
import io
import socket
import tempfile
from pathlib import Path

from torch import Tensor
from torchvision.datasets import MNIST

PATIENCE = 10.0  # seconds without a byte before a mirror counts as out of reach


def fetch_mnist(root: Path) -> None:
    """Download the four MNIST files to `root`/MNIST/raw, each checked against its MD5.

    They are fetched beside that folder and moved into it when all are there, so that it never holds half a download.

    Raises:
        OSError, RuntimeError: if `root` cannot be written, or no mirror can be reached.
    """
    root.mkdir(parents=True, exist_ok=True)
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as folder:
            with contextlib.redirect_stderr(io.StringIO()):  # tqdm's bars, one per file and mirror
                MNIST(folder, download=True)
            raw = root / "MNIST" / "raw"
            raw.mkdir(parents=True, exist_ok=True)
            for path in (Path(folder) / "MNIST" / "raw").iterdir():
                path.replace(raw / path.name)
    finally:
        socket.setdefaulttimeout(patience)


def load_mnist(root: Path) -> dict[str, Tensor]:
    """What torchvision reads from `root`/MNIST/raw: images uint8 (N, H, W) and labels int64 (N) of both parts."""
    train, test = MNIST(str(root), train=True), MNIST(str(root), train=False)
    return {
        "train_images": train.data,
        "train_labels": train.targets,
        "test_images": test.data,
        "test_labels": test.targets,
    }
