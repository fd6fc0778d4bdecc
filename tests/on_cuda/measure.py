"""How fast both twins are, on the CPU and on the GPU, as `gradtwin bench` measures it; written down cell by cell.

On a GPU the time is that between two events on the device's stream. A training step ends with two numbers on the host,
in both twins, so each step begins when the last one is through; and from Python the launch of a kernel takes some
microseconds, which is why that is measured, too: small batches measure launches.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from compare.bench.cells import Cell, measure_cell
from compare.bench.plan import MODELS, Plan
from compare.machine.conditions import equal_threads, keep_freed_memory
from compare.machine.devices import Device, open_device
from compare.machine.processor import cores
from scratch import backend
from tests.on_cuda.device import chosen_device, rehearsing, wait

BATCHES = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
MOST_ON_CPU = {"wide": 512}  # images in a batch: larger ones take too long there
LAUNCHES = 1000
DEVICE = "gpu"  # or what takes its place in a rehearsal
Keep = Callable[[str, Any], None]  # gets a result and its kind


@dataclass(frozen=True)
class Part:
    """Some cells on one device, in the order in which they are measured."""

    device: str
    mode: str
    models: tuple[str, ...]
    threads: int


def parts(threads: int, models: Sequence[str] = MODELS) -> Iterator[Part]:
    """What is measured, what matters most first: the time may not be enough for all."""
    small = tuple(model for model in models if model not in MOST_ON_CPU)
    yield Part(DEVICE, "train", tuple(models), 1)
    yield Part("cpu", "train", small, 1)
    if threads > 1:
        yield Part("cpu", "train", tuple(models), threads)
    yield Part(DEVICE, "inference", tuple(models), 1)
    yield Part("cpu", "inference", small, 1)


def cells(part: Part, batches: Sequence[int]) -> Iterator[Cell]:
    """The combinations of a part, small batches first."""
    for batch in batches:
        for model in part.models:
            if part.device == DEVICE or batch <= MOST_ON_CPU.get(model, batch):
                yield Cell(model, part.mode, batch, part.threads)


def measure(part: Part, batches: Sequence[int], seconds: float, until: float, keep: Keep) -> None:
    """Measure a part until the clock (`time.monotonic`) says `until`; `keep` gets every result as it is there."""
    on_cpu = nullcontext(open_device("cpu"))
    with chosen_device() if part.device == DEVICE else on_cpu as device, equal_threads(part.threads):
        label = "stand-in" if rehearsing() and part.device == DEVICE else part.device
        plan = Plan(seconds=seconds, device=device.name)
        took: dict[str, float] = {}  # seconds, the last cell of each model
        for cell in cells(part, batches):
            named, start = {"device": label, "cell": str(cell)}, time.monotonic()
            if start + 2 * took.get(cell.model, 0.0) >= until:  # the next batch is about twice as large
                keep("left_out", named | {"why": "the time was up"})
                continue
            try:
                row = measure_cell(cell, plan)
            except Exception as error:  # the next cell may do
                short = isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__
                why = f"{type(error).__name__}: {error}"[:300]
                keep(
                    "left_out",
                    named | {"why": "too little memory" if short else why} | ({} if short else {"wrong": True}),
                )
            else:
                keep("rates", {"device": label} | row.as_json())
            free(device)
            took[cell.model] = time.monotonic() - start


def launch_cost(device: Device) -> dict[str, float]:
    """Microseconds for an operation on one number, called from Python: it computes next to nothing."""
    own, tensor = device.share(np.zeros(1, np.float32))

    def own_launch() -> None:
        np.add(own, 1, out=own)

    costs = {}
    for name, launch in (("scratch", own_launch), ("torch", lambda: tensor.add_(1))):
        taken = []
        for _ in range(7):
            wait(device)
            start = time.perf_counter()
            for _ in range(LAUNCHES):
                launch()
            wait(device)
            taken.append((time.perf_counter() - start) / LAUNCHES * 1e6)
        costs[name] = median(taken)
    return costs


def free(device: Device) -> None:
    """Give the memory that both libraries keep back to the GPU: a cell may need what the last one left."""
    if device.name == "cuda":
        backend.open_cupy().get_default_memory_pool().free_all_blocks()
        torch.cuda.empty_cache()


def main() -> int:
    """Measure, and write all that is known after every cell; returns 1 if twins differ, or if nothing was measured."""
    parser = argparse.ArgumentParser(prog="tests.on_cuda.measure", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=float, required=True, help="seconds, all in all")
    parser.add_argument("--seconds", type=float, default=0.3, help="for each twin in each cell")
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)))
    parser.add_argument("--models", default=",".join(MODELS))
    given = parser.parse_args()
    until = time.monotonic() + given.limit
    found: dict[str, Any] = {"launch": None, "rates": [], "left_out": []}

    def keep(kind: str, value: Any) -> None:
        if isinstance(found[kind], list):
            found[kind].append(value)
        else:
            found[kind] = value
        given.out.write_text(json.dumps(found))
        print(kind, json.dumps(value), flush=True)

    with chosen_device() as device:
        keep("launch", launch_cost(device))
    keep_freed_memory()
    for part in parts(cores(), given.models.split(",")):
        measure(part, [int(batch) for batch in given.batches.split(",")], given.seconds, until, keep)
    return 1 if not found["rates"] or any(cell.get("wrong") for cell in found["left_out"]) else 0


if __name__ == "__main__":
    sys.exit(main())
