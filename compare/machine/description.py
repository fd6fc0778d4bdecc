"""What was measured on: without it a number of images per second says nothing."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_info

from compare.machine.processor import cores, processor


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
