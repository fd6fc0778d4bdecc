"""What gradtwin doctor finds: packages, devices and data, and CuPy beside torch, shown on CuPys that are not there."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from rich.table import Table

from compare.machine import doctor
from compare.machine.doctor import Check
from tests.test_data import write_mnist


class CUDADriverError(RuntimeError):
    """As cupy_backends.cuda.api.driver's."""


class CUDARuntimeError(RuntimeError):
    """As cupy_backends.cuda.api.runtime's."""


class OnDevice:
    """An array whose sums or products may fail."""

    def __init__(self, array: Any, kernel: Exception | None, product: Exception | None) -> None:
        self.array, self.kernel, self.product = array, kernel, product

    def sum(self) -> OnDevice:
        if self.kernel is not None:
            raise self.kernel
        return OnDevice(self.array.sum(), None, None)

    def __matmul__(self, other: OnDevice) -> OnDevice:
        if self.product is not None:
            raise self.product
        return OnDevice(self.array @ other.array, None, None)

    def get(self) -> Any:
        return self.array


def install(
    monkeypatch: pytest.MonkeyPatch,
    *,
    packages: tuple[str, ...] = ("cupy-cuda13x",),
    runtime: int = 13000,
    driver: int = 13020,
    torch_cuda: str | None = "13.2",
    devices: int | Exception = 1,
    kernel: Exception | None = None,
    product: Exception | None = None,
) -> Check:
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
    cupy.arange = lambda count: OnDevice(np.arange(count), kernel, product)
    cupy.ones = lambda shape: OnDevice(np.ones(shape), kernel, product)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    pretend_installed(monkeypatch, *packages)
    monkeypatch.setattr("torch.version.cuda", torch_cuda)
    return look()


def pretend_installed(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    found = [SimpleNamespace(metadata={"Name": name}) for name in ("numpy", "cupyx-something", *packages)]
    monkeypatch.setattr("importlib.metadata.distributions", lambda: found)


def look() -> Check:
    (finding,) = doctor._cupy()
    assert "\n" not in finding.value + finding.problem
    return finding


def test_a_cupy_that_fits_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    assert install(monkeypatch) == Check("CuPy", "14.2.0 for CUDA 13.0; torch is for CUDA 13.2")


def test_no_cupy_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    pretend_installed(monkeypatch)
    assert look() == Check("CuPy", "not installed: only --device cuda needs it")


def test_a_cupy_that_cannot_be_imported_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    pretend_installed(monkeypatch, "cupy-cuda13x")
    finding = look()
    assert finding.value == "cupy-cuda13x"
    assert finding.problem.startswith("is installed but cannot be imported (ModuleNotFoundError: ")
    assert finding.problem.endswith("): install it anew")


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
    finding = install(monkeypatch, devices=devices)
    reason = f"CUDARuntimeError: {devices}" if devices else "it counts none"
    assert (finding.value, finding.problem) == (
        "14.2.0 for CUDA 13.0; torch is for CUDA 13.2",
        f"CuPy finds no device that torch finds ({reason}): update the NVIDIA driver for CUDA 13.0",
    )


def test_a_product_may_fail_where_a_sum_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = install(monkeypatch, product=CUDADriverError("no product"))
    assert finding.value == "14.2.0 for CUDA 13.0; torch is for CUDA 13.2"
    assert finding.problem.startswith("its first kernel fails (CUDADriverError: no product): CuPy is for CUDA 13.0")


def test_a_torch_without_cuda_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert install(monkeypatch, torch_cuda=None).value == "14.2.0 for CUDA 13.0; torch is for CUDA none"


@pytest.mark.parametrize(
    ("own", "theirs", "driver", "advice"),
    [
        ("13.0", "none", "13.0", "fails (x), and torch is built without CUDA: install a torch for CUDA 13.0"),
        ("13.0", "12.9", "13.0", "torch for 12.9; pip uninstall a b, then pip install cupy-cuda12x"),
        ("12.9", "13.0", "12.4", "torch for 13.0; pip uninstall a b, then pip install cupy-cuda13x"),
        ("13.2", "13.0", "13.1", "the driver for 13.1 only; update the driver, or install a torch for CUDA 13.1"),
        ("13.0", "13.2", "13.1", "the driver for 13.1 only; update the driver, or install a torch for CUDA 13.1"),
        ("12.10", "12.9", "12.9", "the driver for 12.9 only; update the driver, or install a torch for CUDA 12.9"),
        ("13.0", "13.2", "13.2", "torch for 13.2; unset CUDA_PATH and LD_LIBRARY_PATH if they name another CUDA, "),
        ("13.2", "13.2", "13.10", "torch for 13.2; unset CUDA_PATH and LD_LIBRARY_PATH if they name another CUDA, "),
    ],
)
def test_why_a_kernel_fails(own: str, theirs: str, driver: str, advice: str) -> None:
    said = doctor._kernel_problem("x", ["a", "b"], own, theirs, driver)
    assert said.startswith("its first kernel fails (x)")
    assert advice in said


def test_a_cupy_that_no_package_brought_is_removed_as_cupy() -> None:
    assert "; pip uninstall cupy, then " in doctor._kernel_problem("x", [], "13.0", "12.9", "13.0")


def test_the_packages_that_bring_a_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_installed(monkeypatch, "cupy_rocm_5_0", "CuPy", "cupy-cuda11x", "cupy", "cuda-cupy", "cupyx")
    assert doctor._cupy_packages() == ["cupy", "cupy-cuda11x", "cupy-rocm-5-0"]
    monkeypatch.setattr(metadata, "distributions", lambda: [SimpleNamespace(metadata={"Name": None})])
    assert doctor._cupy_packages() == []


def test_cudas_numbers_are_versions_that_compare() -> None:
    assert [doctor._cuda_version(number) for number in (13020, 12090, 11080, 13000, 12100)] == [
        "13.2",
        "12.9",
        "11.8",
        "13.0",
        "12.10",
    ]
    assert doctor._as_numbers("12.10") == (12, 10)
    assert doctor._as_numbers("13.x.2") == (13, 2)
    assert doctor._as_numbers("none") == ()


def test_an_error_is_its_first_line_that_says_something() -> None:
    assert doctor._said(ValueError("\n  ==== \n - - \n a = b - c \nmore")) == "ValueError: a = b - c"
    assert doctor._said(ValueError("-----")) == "ValueError: no reason given"
    assert doctor._said(ValueError()) == "ValueError: no reason given"


# The rest of the machine


def test_the_looks_come_in_their_order_and_begin_with_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def says(name: str) -> Iterator[Check]:
        yield Check(name, "seen")
        yield Check(name, "seen again", "odd")

    for name in ("packages", "torchvision", "cuda", "cupy", "threads"):
        monkeypatch.setattr(doctor, f"_{name}", lambda name=name: says(name))
    monkeypatch.setattr(doctor, "_data", lambda folder: says(str(folder)))
    findings = doctor.examine(tmp_path)
    assert findings[0] == Check("Python", platform.python_version())
    names = ["packages", "torchvision", "cuda", "cupy", "threads", str(tmp_path)]
    assert [finding.name for finding in findings[1::2]] == names
    assert findings[2::2] == [Check(name, "seen again", "odd") for name in names]
    assert doctor.examine()[-1].name == "None"


def test_a_look_that_breaks_off_is_a_finding_after_what_it_found() -> None:
    def breaks() -> Iterator[Check]:
        yield Check("first", "fine")
        raise RuntimeError("no more")

    assert list(doctor._guarded("things", breaks)) == [
        Check("first", "fine"),
        Check("things", "cannot be examined", "RuntimeError: no more"),
    ]


def test_the_table_says_what_is_wrong() -> None:
    table = doctor.findings_table([Check("numpy", "2.4"), Check("torch", "in /a/[/b] [c]", "pip install it")])
    assert isinstance(table, Table)
    assert [[str(cell) for cell in column.cells] for column in table.columns] == [
        ["numpy", "torch"],
        ["2.4", "in /a/[/b] [c]"],
        ["ok", "WRONG"],
    ]
    assert [column.header for column in table.columns] == ["", "found", ""]
    text = io.StringIO()
    Console(file=text, width=60).print(table)
    assert "│ torch │ in /a/[/b] [c] │ WRONG │" in text.getvalue()


def test_a_package_is_new_enough_too_old_or_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = ["extra>=1; extra == 'dev'", "gone", "old>=2.1", "fits>=2.1,<3", "early>=2"]
    versions = {"extra": "0", "old": "2.0.9", "fits": "2.1", "early": "3.0rc1"}

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(doctor, "requirements", lambda: needed)
    monkeypatch.setattr(metadata, "version", version)
    assert list(doctor._packages()) == [
        Check("gone", "missing", "pip install 'gone'"),
        Check("old", "2.0.9 (needs >=2.1)", "pip install 'old>=2.1'"),
        Check("fits", "2.1 (needs <3,>=2.1)"),
        Check("early", "3.0rc1 (needs >=2)"),
    ]


def test_torchvision_goes_with_its_torch_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "torchvision with torch"
    assert list(doctor._torchvision()) == [Check(name, f"import together, torch {torch.__version__}")]

    class Broken:
        said = "operator torchvision::nms does not exist"

        def find_spec(self, module: str, *_: object) -> None:
            if module == "torchvision":
                raise RuntimeError(self.said)

    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    remedy = "install both from the same place: pip install --force-reinstall torch torchvision"
    assert list(doctor._torchvision()) == [Check(name, "built for another torch", remedy)]
    Broken.said = "libjpeg is missing"
    assert list(doctor._torchvision()) == [Check(name, "RuntimeError: libjpeg is missing", remedy)]


def test_a_cuda_device_is_told_with_its_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert list(doctor._cuda()) == [Check("CUDA", "no device: everything runs on the CPU")]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "A Card")
    monkeypatch.setattr("torch.version.cuda", "13.2")
    device, precision = doctor._cuda()
    assert device == Check("CUDA", "A Card, CUDA 13.2")
    assert precision.name == "float32 precision"
    product = torch.backends.cuda.matmul.fp32_precision
    assert f"matrix product {product}; gradtwin switches both to ieee for its own work" in precision.value
    assert precision.problem == ""


def test_the_threads_of_every_blas_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pools = [
        {"user_api": "openmp", "internal_api": "openmp", "version": None, "num_threads": 7},
        {"user_api": "blas", "internal_api": "openblas", "version": "0.3.30", "num_threads": 2},
        {"user_api": "blas", "internal_api": "mkl", "version": None, "num_threads": 4},
    ]
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: pools)
    begin = f"{os.cpu_count()} cores; torch {torch.get_num_threads()}; "
    assert list(doctor._threads()) == [Check("threads", f"{begin}openblas 0.3.30: 2, mkl: 4")]
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: pools[:1])
    assert list(doctor._threads()) == [Check("threads", f"{begin}none found")]


@pytest.mark.parametrize("packed", [False, True])
def test_data_are_official_foreign_damaged_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    root = tmp_path / "data"
    assert list(doctor._data(root)) == [
        Check("MNIST", f"not in {root}: downloaded when asked for, or --dataset digits")
    ]
    raw = write_mnist(root / "MNIST" / "raw", packed=packed)
    read = gzip.open if packed else open
    sums = {}
    for path in raw.iterdir():
        with read(path, "rb") as file:
            sums[path.name.removesuffix(".gz")] = hashlib.md5(file.read()).hexdigest()
    monkeypatch.setattr(doctor, "OFFICIAL", sums)
    assert list(doctor._data(root)) == [Check("MNIST", f"in {raw}, checksums match")]
    other = {"train-labels-idx1-ubyte": "0" * 32, "t10k-images-idx3-ubyte": "0" * 32}
    monkeypatch.setattr(doctor, "OFFICIAL", sums | other)
    problem = "not official: train-labels-idx1-ubyte, t10k-images-idx3-ubyte; delete all four to have them downloaded"
    assert list(doctor._data(root)) == [Check("MNIST", f"in {raw}, checksums differ", problem)]
    path = raw / f"t10k-labels-idx1-ubyte{'.gz' if packed else ''}"
    path.write_bytes(b"")
    (damaged,) = doctor._data(root)
    assert (damaged.name, damaged.value) == ("MNIST", f"in {raw}")
    assert damaged.problem.startswith(f"{path}: empty or truncated")


def test_the_checksum_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert doctor._md5(tmp_path / "a") == "900150983cd24fb0d6963f7d28e17f72"
