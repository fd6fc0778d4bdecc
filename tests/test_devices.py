"""Devices: what is refused, what is shared, and how CUDA is set up, shown on a CuPy that is not there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from compare.machine.devices import open_device
from compare.machine.errors import UserError


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """A machine that seems to have CUDA; what CuPy was asked to upload."""
    uploads: list[object] = []
    cupy: Any = ModuleType("cupy")

    def asarray(array: object) -> object:
        uploads.append(array)
        return array

    cupy.asarray = asarray
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setenv("CUPY_TF32", "1")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":0:0")
    convolution: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    product: Any = torch.backends.cuda.matmul
    before = convolution.fp32_precision, product.fp32_precision, torch.are_deterministic_algorithms_enabled()
    monkeypatch.setattr("torch.utils.deterministic.fill_uninitialized_memory", True)
    yield uploads
    convolution.fp32_precision, product.fp32_precision = before[:2]
    torch.use_deterministic_algorithms(before[2])


def test_tf32_is_refused_on_the_cpu() -> None:
    with pytest.raises(UserError, match=r"^--tf32 needs --device cuda: the CPU has no TF32; leave --tf32 out"):
        open_device("cpu", tf32=True)


def test_the_cpu_shares_one_memory() -> None:
    array = np.zeros(3)
    own, tensor = open_device("cpu").share(array)
    tensor[1] = 4
    assert own is array
    assert array.tolist() == [0, 4, 0]


@pytest.mark.parametrize(("tf32", "precision"), [(False, "ieee"), (True, "tf32")])
def test_cuda_is_made_ready(cuda: list[object], tf32: bool, precision: str) -> None:
    open_device("cuda", tf32)
    convolution: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    assert (convolution.fp32_precision, torch.backends.cuda.matmul.fp32_precision) == (precision, precision)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    assert (os.environ["CUPY_TF32"], os.environ["CUBLAS_WORKSPACE_CONFIG"]) == (str(int(tf32)), ":4096:8")
    assert not cuda


def test_a_repeatable_setting_of_cublas_is_left_alone(cuda: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    open_device("cuda")
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    assert not cuda


def test_cuda_uploads_once(cuda: list[object]) -> None:
    array = np.zeros(3)
    own, tensor = open_device("cuda").share(array)
    assert cuda == [array]
    tensor[1] = 4
    assert own.tolist() == [0, 4, 0]


@pytest.mark.parametrize("reason", ["No module named 'cupy'", "\n=====\nNo module named 'cupy'\nmore\n=====\n"])
def test_cuda_without_cupy_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    def missing() -> None:
        raise ImportError(reason)

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("compare.machine.devices.open_cupy", missing)
    for name in ("CUPY_TF32", "CUBLAS_WORKSPACE_CONFIG"):
        monkeypatch.setenv(name, "")
    with pytest.raises(UserError) as refused:
        open_device("cuda")
    assert str(refused.value) == (
        "device cuda: CuPy cannot be imported (No module named 'cupy'); pip install 'gradtwin[cuda]'"
    )
