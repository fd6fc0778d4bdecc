"""A device has a name, and its own way to bring an array to each twin."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from compare.machine.devices import REPEATABLE_CUBLAS, open_device
from compare.machine.errors import UserError
from scratch import Array


@pytest.fixture
def _cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that seems to have CUDA, with a CuPy that doubles what it uploads."""
    convolution: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    product: Any = torch.backends.cuda.matmul
    before = convolution.fp32_precision, product.fp32_precision, torch.are_deterministic_algorithms_enabled()
    monkeypatch.setattr("torch.utils.deterministic.fill_uninitialized_memory", True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    for name in ("CUPY_TF32", "CUBLAS_WORKSPACE_CONFIG"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr("compare.machine.devices.open_cupy", lambda: SimpleNamespace(asarray=lambda array: 2 * array))
    yield
    convolution.fp32_precision, product.fp32_precision = before[:2]
    torch.use_deterministic_algorithms(before[2])


def test_the_cpu_copies_nothing() -> None:
    device, array = open_device("cpu"), np.arange(3.0)
    assert device.name == "cpu"
    assert device.to_scratch(array) is array
    tensor = device.to_torch(array)
    own, shared = device.share(array)
    array[1] = 7
    assert (own is array, tensor.tolist(), shared.tolist()) == (True, [0, 7, 2], [0, 7, 2])


@pytest.mark.usefixtures("_cuda")
def test_cuda_uploads_with_cupy_and_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor: tensor + 1)
    device, array = open_device("cuda"), np.arange(3.0)
    assert device.name == "cuda"
    assert device.to_scratch(array).tolist() == [0, 2, 4]
    assert device.to_torch(array).tolist() == [1, 2, 3]
    own, tensor = device.share(array)
    assert (own.tolist(), tensor.tolist()) == ([0, 2, 4], [0, 2, 4])


@pytest.mark.usefixtures("_cuda")
@pytest.mark.parametrize("said", ["", "\n", " ==== \n=="])
def test_a_cupy_that_gives_no_reason_is_refused_all_the_same(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    def missing() -> Array:
        raise ImportError(said)

    monkeypatch.setattr("compare.machine.devices.open_cupy", missing)
    with pytest.raises(UserError, match=r"^device cuda: CuPy cannot be imported \(no reason given\); pip install"):
        open_device("cuda")


def test_cuda_without_a_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match=r"^device cuda: torch sees no CUDA device on this machine; take --device cpu$"):
        open_device("cuda")


def test_cublas_has_two_settings_that_repeat_themselves() -> None:
    assert REPEATABLE_CUBLAS == (":4096:8", ":16:8")
