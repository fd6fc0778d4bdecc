"""What was measured on: without it a number of images per second says nothing."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_info

from compare.bench.plan import cores


def machine(device: str = "cpu") -> dict[str, Any]:
    """Versions, processor, and the libraries that multiply matrices, as plain values."""
    blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "system": platform.platform(),
        "cpu": processor(),
        "cores": cores(),
        "blas": sorted(f"{pool['internal_api']} {pool.get('version') or ''}".strip() for pool in blas),
    }
    if device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
    return found


def processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
