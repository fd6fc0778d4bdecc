"""What the figures were measured on, as one line of JSON; what cannot be imported is said, and nothing raises."""

from __future__ import annotations

import json
import platform
from importlib import import_module
from typing import Any

from compare.machine.processor import cores, processor


def machine() -> dict[str, Any]:
    """Versions, processor and device."""
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu": processor(),
        "cores": cores(),
    }
    for name, look in (("numpy", _version), ("torchvision", _version), ("torch", _torch), ("cupy", _cupy)):
        try:
            found |= look(import_module(name))
        except Exception as error:
            found[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return found


def _version(module: Any) -> dict[str, Any]:
    return {module.__name__: module.__version__}


def _torch(torch: Any) -> dict[str, Any]:
    found = {"torch": torch.__version__, "torch is for CUDA": torch.version.cuda, "gpu": None}
    if torch.cuda.is_available():
        device = torch.cuda.get_device_properties(0)
        found |= {"gpu": device.name, "gpu memory, GiB": round(device.total_memory / 2**30, 1)}
        found |= {"multiprocessors": device.multi_processor_count, "cudnn": torch.backends.cudnn.version()}
    return found


def _cupy(cupy: Any) -> dict[str, Any]:
    runtime = cupy.cuda.runtime
    looks = {"cupy is for CUDA": runtime.runtimeGetVersion, "the driver is for CUDA": runtime.driverGetVersion}
    numbers = {name: look() for name, look in looks.items()}  # 13020 is 13.2
    return {"cupy": cupy.__version__} | {name: f"{n // 1000}.{n % 1000 // 10}" for name, n in numbers.items()}


if __name__ == "__main__":
    print(json.dumps(machine()))
