"""What gradtwin doctor knows about CuPy beside torch, shown on CuPys that are not there."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from compare import doctor
from compare.doctor import Finding


class CUDADriverError(RuntimeError):
    """As cupy_backends.cuda.api.driver's."""


class CUDARuntimeError(RuntimeError):
    """As cupy_backends.cuda.api.runtime's."""


class OnDevice:
    """An array whose kernels may fail."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def sum(self) -> OnDevice:
        if self.error is not None:
            raise self.error
        return self

    def __matmul__(self, _: OnDevice) -> OnDevice:
        return self

    def get(self) -> Any:
        return np.array(3)


def install(
    monkeypatch: pytest.MonkeyPatch,
    *,
    packages: tuple[str, ...] = ("cupy-cuda13x",),
    runtime: int = 13000,
    driver: int = 13020,
    torch_cuda: str | None = "13.2",
    devices: int | Exception = 1,
    kernel: Exception | None = None,
) -> Finding:
    """Look at a CuPy with these properties."""

    def count() -> int:
        if isinstance(devices, Exception):
            raise devices
        return devices

    cupy: Any = ModuleType("cupy")
    cupy.__version__ = "14.2.0"
    cupy.cuda = SimpleNamespace(
        runtime=SimpleNamespace(
            runtimeGetVersion=lambda: runtime, driverGetVersion=lambda: driver, getDeviceCount=count
        )
    )
    cupy.arange = lambda _: OnDevice(kernel)
    cupy.ones = lambda _: OnDevice(kernel)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    pretend_installed(monkeypatch, *packages)
    monkeypatch.setattr("torch.version.cuda", torch_cuda)
    return look()


def pretend_installed(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    found = [SimpleNamespace(metadata={"Name": name}) for name in ("numpy", "cupyx-something", *packages)]
    monkeypatch.setattr("importlib.metadata.distributions", lambda: found)


def look() -> Finding:
    (finding,) = [finding for finding in doctor.examine() if finding.name == "CuPy"]
    assert "\n" not in finding.value + finding.problem
    return finding


def test_a_cupy_that_fits_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    assert install(monkeypatch) == Finding("CuPy", "14.2.0 for CUDA 13.0; torch is for CUDA 13.2")


def test_no_cupy_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    pretend_installed(monkeypatch)
    assert look() == Finding("CuPy", "not installed: only --device cuda needs it")


def test_a_cupy_that_cannot_be_imported_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    pretend_installed(monkeypatch, "cupy-cuda13x")
    assert look().problem.startswith("is installed but cannot be imported (ModuleNotFoundError: ")


def test_two_cupys_overwrite_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = install(monkeypatch, packages=("cupy_cuda13x", "cupy-cuda12x"))
    assert finding.value == "cupy-cuda12x, cupy-cuda13x"
    assert finding.problem == (
        "these packages overwrite each other's files: pip uninstall cupy-cuda12x cupy-cuda13x, "
        "then pip install 'gradtwin[cuda]'"
    )


REFUSED = CUDADriverError("CUDA_ERROR_UNSUPPORTED_PTX_VERSION: the provided PTX was compiled with another toolchain.")


def test_cupy_for_another_cuda_than_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = install(monkeypatch, packages=("cupy-cuda12x",), runtime=12090, driver=12070, kernel=REFUSED)
    assert finding.problem == (
        f"its first kernel fails (CUDADriverError: {REFUSED}): CuPy is for CUDA 12.9, torch for 13.2; "
        "pip uninstall cupy-cuda12x, then pip install cupy-cuda13x"
    )


def test_a_driver_older_than_the_libraries_that_torch_brings(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = install(monkeypatch, driver=13000, kernel=REFUSED)
    assert finding.problem.endswith(
        "CuPy is for CUDA 13.0, torch for 13.2, the driver for 13.0 only; "
        "update the driver, or install a torch for CUDA 13.0"
    )


def test_other_failures_of_the_first_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ImportError('\n====\nFailure finding "libcublasLt.so.13"\n====')
    assert install(monkeypatch, kernel=missing).problem == (
        'its first kernel fails (ImportError: Failure finding "libcublasLt.so.13"): '
        "CuPy is for CUDA 13.0, torch for 13.2; "
        "unset CUDA_PATH and LD_LIBRARY_PATH if they name another CUDA, else reinstall both"
    )
    assert "torch is built without CUDA: install a torch for CUDA 13.0" in (
        install(monkeypatch, torch_cuda=None, kernel=missing).problem
    )


@pytest.mark.parametrize(
    "devices", [0, CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")]
)
def test_a_cupy_without_a_driver(monkeypatch: pytest.MonkeyPatch, devices: int | Exception) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    finding = install(monkeypatch, devices=devices)
    assert (finding.value.partition("; ")[2], finding.problem) == (
        "torch is for CUDA 13.2; finds no driver or device",
        "",
    )
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    problem = install(monkeypatch, devices=devices).problem
    assert problem.startswith("CuPy finds no device that torch finds (")
    assert problem.endswith("): update the NVIDIA driver for CUDA 13.0")
