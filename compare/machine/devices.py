"""Where the twins compute: NumPy and torch on the CPU, or CuPy and torch on a CUDA device.

The scratch layers call NumPy functions only; handed a CuPy array, those dispatch to CuPy by NumPy's own protocols.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.dlpack import from_dlpack

import scratch
from compare.machine.errors import UserError
from scratch.backend import open_cupy

# What cuBLAS needs to be set to, one of them, for torch to trust that it repeats itself.
REPEATABLE_CUBLAS = (":4096:8", ":16:8")


@dataclass(frozen=True)
class Device:
    """A device's name, and how a NumPy array gets to the twins there.

    Attributes:
        name: "cpu" or "cuda".
        to_scratch, to_torch: bring an array to one twin.
        share: bring an array to both: (for scratch, for torch), one memory seen by two libraries. It goes to a CUDA
            device once; on the CPU nothing is copied.
    """

    name: str
    to_scratch: Callable[[scratch.Array], scratch.Array]
    to_torch: Callable[[scratch.Array], torch.Tensor]
    share: Callable[[scratch.Array], tuple[scratch.Array, torch.Tensor]]


def open_device(name: str, tf32: bool = False) -> Device:
    """The device "cpu" or "cuda", made ready for a comparison: on CUDA, torch repeats itself bit for bit.

    TF32, which keeps 10 bits of each factor in float32, is off in both twins, or on in both with `tf32`. CuPy reads
    the setting at its first matrix product: call this before, and not with both values in one process.

    Raises:
        UserError: for `tf32` with "cpu", and for "cuda" where torch sees no CUDA device or CuPy is missing.
    """
    if name == "cpu":
        if tf32:
            raise UserError("--tf32 needs --device cuda: the CPU has no TF32; leave --tf32 out, or take --device cuda")
        return Device(name, lambda array: array, torch.from_numpy, lambda array: (array, torch.from_numpy(array)))
    if not torch.cuda.is_available():
        raise UserError("device cuda: torch sees no CUDA device on this machine; take --device cpu")
    # Both libraries read these when they first need them, and never again.
    os.environ["CUPY_TF32"] = str(int(tf32))
    if os.environ.get("CUBLAS_WORKSPACE_CONFIG") not in REPEATABLE_CUBLAS:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = REPEATABLE_CUBLAS[0]
    try:
        cupy = open_cupy()
    except ImportError as error:
        # CuPy explains itself at length; the first line that says something is enough for one.
        reason = next((line.strip() for line in str(error).splitlines() if line.strip(" =")), "no reason given")
        raise UserError(f"device cuda: CuPy cannot be imported ({reason}); pip install 'gradtwin[cuda]'") from None
    precision = "tf32" if tf32 else "ieee"
    torch.backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.use_deterministic_algorithms(True)
    # Else torch fills all new memory with NaN, to show who reads it unwritten: that costs time, and changes no result.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

    def share(array: scratch.Array) -> tuple[scratch.Array, torch.Tensor]:
        uploaded = cupy.asarray(array)
        return uploaded, from_dlpack(uploaded)

    return Device(name, cupy.asarray, lambda array: torch.from_numpy(array).cuda(), share)
