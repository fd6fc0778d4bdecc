"""What is wrong with this machine: everything that a run depends on is looked at by itself, and nothing may raise."""

from __future__ import annotations

import gzip
import hashlib
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from rich.table import Table

REINSTALL = "install both from the same place: pip install --force-reinstall torch torchvision"

# MD5 of the official files, unpacked: packing them again changes nothing.
OFFICIAL = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


@dataclass(frozen=True)
class Finding:
    """One thing looked at, what was found, and what is to be done about it; nothing if all is well."""

    name: str
    value: str
    problem: str = ""


def examine(data_dir: Path | None = None) -> list[Finding]:
    """Look at packages, torch, CUDA, CuPy, threads and data."""
    findings = [Finding("Python", platform.python_version())]
    looks: dict[str, Callable[[], Iterator[Finding]]] = {
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


def findings_table(findings: list[Finding]) -> Table:
    """The findings, one line each."""
    table = Table("", "found", "")
    for finding in findings:
        table.add_row(finding.name, finding.value, "WRONG" if finding.problem else "ok")
    return table


def _guarded(name: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of one look; a broken installation may raise anything at import, and that is a finding too."""
    try:
        yield from look()
    except Exception as error:
        yield Finding(name, "cannot be examined", f"{type(error).__name__}: {error}")


def _packages() -> Iterator[Finding]:
    """Each package that gradtwin needs: its version, and whether that is new enough."""
    for line in metadata.requires("gradtwin") or []:
        needed = Requirement(line)
        if needed.marker is not None:  # an extra
            continue
        try:
            found = metadata.version(needed.name)
        except metadata.PackageNotFoundError:
            yield Finding(needed.name, "missing", f"pip install '{needed}'")
            continue
        fits = needed.specifier.contains(found, prereleases=True)
        yield Finding(needed.name, f"{found} (needs {needed.specifier})", "" if fits else f"pip install '{needed}'")


def _torchvision() -> Iterator[Finding]:
    """Whether torch and torchvision were built for each other."""
    try:
        import torch
        import torchvision  # noqa: F401
    except Exception as error:
        mixed = "torchvision::nms" in str(error)
        value = "built for another torch" if mixed else f"{type(error).__name__}: {error}"
        yield Finding("torchvision with torch", value, REINSTALL)
    else:
        yield Finding("torchvision with torch", f"import together, torch {torch.__version__}")


def _cuda() -> Iterator[Finding]:
    """The CUDA device, and whether TF32 would blur a comparison there."""
    import torch

    if not torch.cuda.is_available():
        yield Finding("CUDA", "no device: everything runs on the CPU")
        return
    yield Finding("CUDA", f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}")
    convolution = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    product = torch.backends.cuda.matmul.fp32_precision
    modes = f"convolution {convolution}, matrix product {product}; gradtwin switches both to ieee for its own work"
    yield Finding("float32 precision", modes)


def _cupy() -> Iterator[Finding]:
    """CuPy, which --device cuda needs."""
    try:
        import cupy
    except ImportError:
        yield Finding("CuPy", "not installed: only --device cuda needs it")
        return
    cupy.arange(3).sum().get()  # the first kernel shows what does not fit together
    yield Finding("CuPy", cupy.__version__)


def _threads() -> Iterator[Finding]:
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
    yield Finding("threads", f"{os.cpu_count()} cores; torch {torch.get_num_threads()}; {blas}")


def _data(data_dir: Path | None) -> Iterator[Finding]:
    """Whether MNIST is there, whole, and the official one."""
    import scratch
    from compare.data import data_folder, find_mnist
    from scratch.data import NAMES, find_idx

    root = data_folder(data_dir)
    raw = find_mnist(root)
    if raw is None:
        yield Finding("MNIST", f"not in {root}: downloaded when asked for, or --dataset digits")
        return
    try:
        scratch.load_mnist(raw)
    except scratch.IDXError as error:
        yield Finding("MNIST", f"in {raw}", str(error))
        return
    foreign = [name for name in NAMES.values() if _md5(find_idx(raw, name)) != OFFICIAL[name]]
    problem = f"not official: {', '.join(foreign)}; delete all four to have them downloaded" if foreign else ""
    yield Finding("MNIST", f"in {raw}, " + ("checksums differ" if foreign else "checksums match"), problem)


def _md5(path: Path | None) -> str:
    """The checksum of a file's content, unpacked."""
    content = b"" if path is None else path.read_bytes()
    return hashlib.md5(gzip.decompress(content) if path and path.suffix == ".gz" else content).hexdigest()
