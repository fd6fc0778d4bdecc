"""What is wrong with this machine: everything that a run depends on is looked at by itself, and nothing may raise."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from rich.table import Table
from rich.text import Text

from compare.machine.package import requirements

REINSTALL = "install both from the same place: pip install --force-reinstall torch torchvision"

# MD5 of the official files, unpacked: packing them again changes nothing.
OFFICIAL = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


@dataclass(frozen=True)
class Check:
    """One thing looked at, what was found, and what is to be done about it; nothing if all is well."""

    name: str
    value: str
    problem: str = ""


def examine(data_dir: Path | None = None) -> list[Check]:
    """Look at packages, torch, CUDA, CuPy, threads and data."""
    findings = [Check("Python", platform.python_version())]
    looks: dict[str, Callable[[], Iterator[Check]]] = {
        "packages": _packages,
        "torchvision": _torchvision,
        "CUDA": _cuda,
        "CuPy": _cupy,
        "threads": _threads,
        "MNIST": lambda: _data(data_dir),
    }
    for name, look in looks.items():
        findings += _guarded(name, look)
    return findings


def findings_table(findings: list[Check]) -> Table:
    """The findings, one line each."""
    table = Table("", "found", "")
    for finding in findings:
        table.add_row(finding.name, Text(finding.value), "WRONG" if finding.problem else "ok")
    return table


def _guarded(name: str, look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """The findings of one look; a broken installation may raise anything at import, and that is a finding too."""
    try:
        yield from look()
    except Exception as error:
        yield Check(name, "cannot be examined", f"{type(error).__name__}: {error}")


def _packages() -> Iterator[Check]:
    """Each package that gradtwin needs: its version, and whether that is new enough."""
    for line in requirements():
        needed = Requirement(line)
        if needed.marker is not None:  # an extra
            continue
        try:
            found = metadata.version(needed.name)
        except metadata.PackageNotFoundError:
            yield Check(needed.name, "missing", f"pip install '{needed}'")
            continue
        fits = needed.specifier.contains(found, prereleases=True)
        yield Check(needed.name, f"{found} (needs {needed.specifier})", "" if fits else f"pip install '{needed}'")


def _torchvision() -> Iterator[Check]:
    """Whether torch and torchvision were built for each other."""
    try:
        import torch
        import torchvision  # noqa: F401
    except Exception as error:
        mixed = "torchvision::nms" in str(error)
        value = "built for another torch" if mixed else f"{type(error).__name__}: {error}"
        yield Check("torchvision with torch", value, REINSTALL)
    else:
        yield Check("torchvision with torch", f"import together, torch {torch.__version__}")


def _cuda() -> Iterator[Check]:
    """The CUDA device, and whether TF32 would blur a comparison there."""
    import torch

    if not torch.cuda.is_available():
        yield Check("CUDA", "no device: everything runs on the CPU")
        return
    yield Check("CUDA", f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}")
    convolution = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    product = torch.backends.cuda.matmul.fp32_precision
    modes = f"convolution {convolution}, matrix product {product}; gradtwin switches both to ieee for its own work"
    yield Check("float32 precision", modes)


def _cupy() -> Iterator[Check]:
    """CuPy, which --device cuda needs: one package, a driver, and a CUDA that gets on with torch's."""
    import torch

    packages = _cupy_packages()
    if len(packages) > 1:
        remedy = f"pip uninstall {' '.join(packages)}, then pip install 'gradtwin[cuda]'"
        yield Check("CuPy", ", ".join(packages), f"these packages overwrite each other's files: {remedy}")
        return
    try:
        import cupy
    except ImportError as error:
        if packages:
            yield Check("CuPy", packages[0], f"is installed but cannot be imported ({_said(error)}): install it anew")
        else:
            yield Check("CuPy", "not installed: only --device cuda needs it")
        return
    runtime = cupy.cuda.runtime
    own, theirs = _cuda_version(runtime.runtimeGetVersion()), torch.version.cuda or "none"
    value = f"{cupy.__version__} for CUDA {own}; torch is for CUDA {theirs}"
    try:
        devices = runtime.getDeviceCount()
    except Exception as error:
        devices, reason = 0, _said(error)
    else:
        reason = "it counts none"
    if not devices:
        # Without any device there is nothing to mend: CuPy waits for one.
        remedy = f"CuPy finds no device that torch finds ({reason}): update the NVIDIA driver for CUDA {own}"
        blind = torch.cuda.is_available()
        yield Check("CuPy", value if blind else f"{value}; finds no driver or device", remedy if blind else "")
        return
    try:
        # A kernel compiled, and a matrix product: these two show what does not fit together.
        cupy.arange(3).sum().get()
        square = cupy.ones((2, 2))
        (square @ square).get()
    except Exception as error:
        driver = _cuda_version(runtime.driverGetVersion())
        yield Check("CuPy", value, _kernel_problem(_said(error), packages, own, theirs, driver))
        return
    yield Check("CuPy", value)


def _kernel_problem(said: str, packages: list[str], own: str, theirs: str, driver: str) -> str:
    """Why the first kernel may fail, and what to do.

    torch and CuPy load CUDA's libraries into one process, and CuPy takes those that torch brought where it finds them
    first: a compiler for another CUDA, or one newer than the driver, makes kernels that the driver refuses
    (https://github.com/cupy/cupy/issues/9827).
    """
    failed = f"its first kernel fails ({said})"
    major = theirs.partition(".")[0]
    if theirs == "none":
        return f"{failed}, and torch is built without CUDA: install a torch for CUDA {own}"
    if major != own.partition(".")[0]:
        remove = f"pip uninstall {' '.join(packages) or 'cupy'}"
        return f"{failed}: CuPy is for CUDA {own}, torch for {theirs}; {remove}, then pip install cupy-cuda{major}x"
    newest = max(own, theirs, key=_as_numbers)
    if _as_numbers(driver) < _as_numbers(newest):
        advice = f"update the driver, or install a torch for CUDA {driver}"
        return f"{failed}: CuPy is for CUDA {own}, torch for {theirs}, the driver for {driver} only; {advice}"
    advice = "unset CUDA_PATH and LD_LIBRARY_PATH if they name another CUDA, else reinstall both"
    return f"{failed}: CuPy is for CUDA {own}, torch for {theirs}; {advice}"


def _cupy_packages() -> list[str]:
    """The installed packages that bring a CuPy: "cupy", "cupy-cuda13x", ..."""
    names = {(found.metadata["Name"] or "").lower().replace("_", "-") for found in metadata.distributions()}
    return sorted(name for name in names if name == "cupy" or name.startswith(("cupy-cuda", "cupy-rocm")))


def _cuda_version(number: int) -> str:
    """CUDA's way to write a version as one number, in the usual way: 13020 is "13.2"."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _as_numbers(version: str) -> tuple[int, ...]:
    """A version in a form that compares: "13.2" as (13, 2)."""
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _said(error: Exception) -> str:
    """An error in one line; CuPy's begin with a row of dashes."""
    lines = (line.strip() for line in str(error).splitlines())
    return f"{type(error).__name__}: {next((line for line in lines if line.strip(' =-')), 'no reason given')}"


def _threads() -> Iterator[Check]:
    """How many threads each library would take; gradtwin trains with one each."""
    import numpy as np  # noqa: F401
    import torch
    from threadpoolctl import threadpool_info

    pools = {
        f"{pool['internal_api']} {pool.get('version') or ''}".strip(): pool["num_threads"]
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    }
    blas = ", ".join(f"{name}: {count}" for name, count in pools.items()) or "none found"
    yield Check("threads", f"{os.cpu_count()} cores; torch {torch.get_num_threads()}; {blas}")


def _data(data_dir: Path | None) -> Iterator[Check]:
    """Whether MNIST is there, whole, and the official one."""
    import scratch
    from compare.machine.data import IMAGE_SIZE, data_folder, find_mnist
    from scratch.data import NAMES, find_idx

    root = data_folder(data_dir)
    raw = find_mnist(root)
    if raw is None:
        yield Check("MNIST", f"not in {root}: downloaded when asked for, or --dataset digits")
        return
    try:
        scratch.load_mnist(raw, size=(IMAGE_SIZE, IMAGE_SIZE))
    except scratch.IDXError as error:
        yield Check("MNIST", f"in {raw}", str(error))
        return
    found = {name: find_idx(raw, name) for name in NAMES.values()}
    foreign = [name for name, path in found.items() if path is None or _md5(path) != OFFICIAL[name]]
    problem = f"not official: {', '.join(foreign)}; delete all four to have them downloaded" if foreign else ""
    yield Check("MNIST", f"in {raw}, " + ("checksums differ" if foreign else "checksums match"), problem)


def _md5(path: Path) -> str:
    """The checksum of a file's content, unpacked."""
    from scratch.data import open_idx

    with open_idx(path) as file:
        return hashlib.file_digest(file, "md5").hexdigest()
