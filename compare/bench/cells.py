"""One combination of model, mode, batch size and threads: found equal first, then timed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from compare.bench.equality import require_equal
from compare.bench.models import PAIRS, draw_batch, draw_state
from compare.bench.plan import Plan
from compare.bench.sides import make_sides, timed
from compare.bench.timing import SETTLE, interleaved, speed_ratio, spread


@dataclass(frozen=True)
class Cell:
    """What is timed."""

    model: str
    mode: str
    batch: int
    threads: int

    def __str__(self) -> str:
        """In words: "cnn, train, batch 64, 1 thread"."""
        return f"{self.model}, {self.mode}, batch {self.batch}, {plural(self.threads, 'thread')}"


@dataclass(frozen=True)
class ModelRow:
    """What came of it: images per second by side, how many times as fast scratch is as torch, and the spread of that
    (`timing.spread`).
    """

    cell: Cell
    rates: dict[str, float]
    ratio: float
    spread: float

    def as_json(self) -> dict[str, Any]:
        """{"model", "batch", "mode", "threads", "scratch", "torch", "compile" if measured, "ratio", "spread"}."""
        cell = self.cell
        named = {"model": cell.model, "batch": cell.batch, "mode": cell.mode, "threads": cell.threads}
        return named | self.rates | {"ratio": self.ratio, "spread": self.spread}


def cells(plan: Plan, threads: int) -> Iterator[Cell]:
    """All that is timed with so many threads."""
    for model in plan.models:
        for mode in plan.modes:
            for batch in plan.batch_sizes:
                yield Cell(model, mode, batch, threads)


def measure_cell(cell: Cell, plan: Plan) -> ModelRow:
    """Time one cell, with the number of threads that is set.

    Raises:
        NotEqualError: if its results are not equal; nothing was timed then.
    """
    pair = PAIRS[cell.model]
    batch = draw_batch(pair, cell.batch)
    sides = make_sides(pair, draw_state(pair), batch, cell.mode, plan.device, plan.compiled, cell.threads)
    require_equal(sides, cell.mode, str(cell))
    settle = SETTLE if cell.threads > 1 else 0.0
    samples = interleaved({side.name: timed(side, cell.mode) for side in sides}, plan.seconds, settle)
    rates = {name: cell.batch / median(seconds) for name, seconds in samples.items()}
    return ModelRow(cell, rates, speed_ratio(samples), spread(samples))


def geometric_mean(rows: Sequence[ModelRow]) -> float | None:
    """The geometric mean of the training steps' ratios; None where there are none."""
    ratios = [row.ratio for row in rows if row.cell.mode == "train"]
    return math.exp(math.fsum(map(math.log, ratios)) / len(ratios)) if ratios else None


def plural(count: int, noun: str) -> str:
    """The count with its noun: "1 thread", "2 threads"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
