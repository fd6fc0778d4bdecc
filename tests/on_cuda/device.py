"""The device that the tests marked `cuda` compute on: a GPU, or, to rehearse them without one, the stand-in's arrays.

In a rehearsal scratch has the arrays of `tests.stand_in` and torch the CPU. It shows that the tests themselves are
right, and nothing about a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

import compare.bench.run
import compare.bench.sides
import compare.training.twins
from compare.machine.devices import Device, open_device
from scratch import Array, backend
from tests import stand_in

REHEARSAL = "GRADTWIN_REHEARSAL"  # set in a rehearsal
OPENED_BY = (compare.bench.run, compare.bench.sides, compare.training.twins)


def rehearsing() -> bool:
    """Whether the stand-in takes the GPU's place."""
    return bool(os.environ.get(REHEARSAL))


@contextmanager
def chosen_device() -> Iterator[Device]:
    """CUDA; in a rehearsal a device called "cpu", which everything that opens that one gets, too.

    Raises:
        UserError: where there is no GPU, or no CuPy.
    """
    if not rehearsing():
        yield open_device("cuda")
        return
    device = Device("cpu", _place, torch.from_numpy, _share)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(backend, "open_cupy", lambda: stand_in.CUPY)
        for module in OPENED_BY:
            patched.setattr(module, "open_device", lambda *_, **__: device)
        yield device


def wait(device: Device) -> None:
    """Until the device has computed all that it was given."""
    if device.name == "cuda":
        torch.cuda.synchronize()


def _place(array: Array) -> Array:
    placed: Any = stand_in.asarray(array)
    return placed


def _share(array: Array) -> tuple[Array, torch.Tensor]:
    placed = stand_in.asarray(array)
    own: Any = placed
    return own, torch.from_numpy(placed._host)
