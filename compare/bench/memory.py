"""How much memory a training step takes at its peak, each side in a fresh process of its own.

    python -m compare.bench.memory SIDE MODEL BATCH

prints by how many bytes training raises the peak of the process. Before it, the process has loaded all libraries, made
the model and the batch, and trained on a few images; so what the rise consists of are the arrays of the steps: what
forward keeps for backward, and what both need in between. It is that of several steps, as each meets what the one
before has left.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compare.bench.models import PAIRS, draw_batch, draw_state
from compare.bench.sides import ScratchSide, TorchSide
from compare.machine.conditions import equal_threads, keep_freed_memory
from compare.machine.devices import open_device
from compare.machine.errors import UserError

BATCH, FEW, STEPS = 256, 8, 3
SIDES: dict[str, type[ScratchSide | TorchSide]] = {"scratch": ScratchSide, "torch": TorchSide}


@dataclass(frozen=True)
class Peak:
    """The bytes that a training step takes at its peak, on each side."""

    scratch: int
    torch: int

    @property
    def ratio(self) -> float:
        """Scratch's bytes for each of torch's: below 1, scratch takes less."""
        return self.scratch / self.torch


def measure_peak(model: str, batch: int = BATCH) -> Peak | None:
    """The peaks of both sides; None where the system does not tell them.

    Raises:
        UserError: if one of the processes fails.
    """
    if peak_bytes() is None:
        return None
    return Peak(*(_in_a_process(side, model, batch) for side in SIDES))


def _in_a_process(side: str, model: str, batch: int) -> int:
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    command = [sys.executable, "-m", "compare.bench.memory", side, model, str(batch)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout.strip().isdigit():
        said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise UserError(
            f"peak memory of {side}, {model}: its process ended with status {done.returncode} ({said[0]}); "
            "leave it out with --no-memory"
        )
    return int(done.stdout)


def rise(side: str, model: str, batch: int) -> int:
    """By how many bytes some training steps raise the peak of this process, which should have done nothing else."""
    keep_freed_memory()  # as in training
    pair = PAIRS[model]
    working = SIDES[side](pair, draw_state(pair), open_device("cpu"))
    with equal_threads(1):
        working.take(*draw_batch(pair, FEW))
        working.train_step()
        working.take(*draw_batch(pair, batch))
        _forget_peak()
        before = peak_bytes() or 0
        for _ in range(STEPS):
            working.train_step()
        return (peak_bytes() or 0) - before


def peak_bytes() -> int | None:
    """The most memory that this process has had; None where the system does not tell."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    try:
        resource: Any = importlib.import_module("resource")
    except ImportError:  # Windows
        return None
    most = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return most if sys.platform == "darwin" else 1024 * most  # bytes there, KiB elsewhere


def _forget_peak() -> None:
    """Give back what is free, and let the peak be what is in use now, as far as the system offers that.

    Loading a library takes more than it leaves; a step that fitted into the difference would seem to take nothing.
    """
    gc.collect()
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    print(rise(sys.argv[1], sys.argv[2], int(sys.argv[3])))
