"""Where the twins compute: NumPy and torch on the CPU, or CuPy and torch on a CUDA device.

The scratch layers call NumPy functions only; handed a CuPy array, those dispatch to CuPy by NumPy's own protocols.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

import scratch
from compare.errors import UserError


@dataclass(frozen=True)
class Device:
    """A device's name, and how a NumPy array gets to each twin there."""

    name: str
    to_scratch: Callable[[scratch.Array], scratch.Array]
    to_torch: Callable[[scratch.Array], torch.Tensor]


def open_device(name: str) -> Device:
    """The device "cpu" or "cuda", made ready for a comparison: TF32, which keeps 10 bits of a product, is switched off.

    Raises:
        UserError: for "cuda" where torch sees no CUDA device or CuPy is missing.
    """
    if name == "cpu":
        return Device(name, lambda array: array, torch.from_numpy)
    if not torch.cuda.is_available():
        raise UserError("device cuda: torch sees no CUDA device on this machine; take --device cpu")
    try:
        import cupy
    except ImportError as error:
        raise UserError(f"device cuda: CuPy cannot be imported ({error}); pip install 'gradtwin[cuda]'") from None
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    return Device(name, cupy.asarray, lambda array: torch.from_numpy(array).cuda())
