"""The whole measurement, in its order: equal threads and memory for both, the cells, the loops, the peaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from compare.bench.cells import ModelRow, cells, geometric_mean, measure_cell, plural
from compare.bench.equality import NotEqualError
from compare.bench.layers import LayerRow, layers_table, measure_layers
from compare.bench.loops import MODEL as LOOPED
from compare.bench.loops import Loops, measure_loops
from compare.bench.memory import BATCH, Peak, measure_peak
from compare.bench.models import PAIRS
from compare.bench.plan import BATCH_SIZES, LAYERS_BATCH, Plan
from compare.bench.sides import require_compiler
from compare.machine.conditions import equal_threads, keep_freed_memory
from compare.machine.description import machine
from compare.machine.devices import open_device
from compare.machine.errors import UserError
from compare.verify.agreement import check

MIB = 1 << 20


@dataclass
class BenchResult:
    """What was measured so far, and what was found not to be equal: nothing was measured after that."""

    plan: Plan
    rows: list[ModelRow] = field(default_factory=list)
    layers: list[LayerRow] = field(default_factory=list)
    loops: Loops | None = None
    peaks: dict[str, Peak] = field(default_factory=dict)
    wrong: str = ""

    @property
    def ok(self) -> bool:
        """Whether all results were equal, and with that whether the numbers mean something."""
        return not self.wrong

    def as_json(self) -> dict[str, Any]:
        """The result as plain values: "ok", "wrong", "device", "threads", "machine", and what was measured.

            with the models   "rows" (`ModelRow.as_json`) and "geomean" of the training steps' ratios, null without any
            with the loops    "loops": {"images_per_second", "speedup"}
            with the memory   "peak_memory": {model: {"scratch", "torch", "ratio"}}, in bytes
            with the layers   "layers" (`LayerRow.as_json`) instead of all these

        For one number of threads, "threads" is that number and "geomean" its mean; for several they are a list, and a
        mean for each.
        """
        plan, one = self.plan, len(self.plan.threads) == 1
        result: dict[str, Any] = {
            "ok": self.ok,
            "wrong": [self.wrong] if self.wrong else [],
            "device": plan.device,
            "threads": plan.threads[0] if one else list(plan.threads),
            "machine": machine(plan.device),
        }
        if plan.layers:
            return result | {"layers": [row.as_json() for row in self.layers]}
        means = {str(number): geometric_mean(self.of(number)) for number in plan.threads}
        result |= {
            "rows": [row.as_json() for row in self.rows],
            "geomean": means[str(plan.threads[0])] if one else means,
        }
        if self.loops is not None:
            result["loops"] = {"images_per_second": self.loops.images_per_second, "speedup": self.loops.speedup}
        if self.peaks:
            result["peak_memory"] = {
                model: {"scratch": peak.scratch, "torch": peak.torch, "ratio": peak.ratio}
                for model, peak in self.peaks.items()
            }
        return result

    def of(self, threads: int) -> list[ModelRow]:
        """The rows with so many threads."""
        return [row for row in self.rows if row.cell.threads == threads]


def bench(plan: Plan, show: Callable[[Table | str], None], progress: Callable[[str], None]) -> BenchResult:
    """Measure what `plan` says: `show` gets tables and lines for good, `progress` what is being measured.

    Raises:
        UserError: for a device or a compiler that is not there, or too little memory.
    """
    open_device(plan.device)
    if plan.compiled:
        require_compiler()
    result = BenchResult(plan)
    keep_freed_memory()
    try:
        for model in plan.models:
            progress(f"checking {model}")
            report = check([PAIRS[model]])
            if not report.ok:
                raise NotEqualError(f"{model}: not timed: {report.headline()}")
        if plan.layers:
            _measure_layers(result, show, progress)
        else:
            _measure_models(result, show, progress)
    except NotEqualError as error:
        result.wrong = str(error)
        show(f"wrong: {error}")
    except MemoryError:
        raise UserError("not enough memory for this; take smaller batches with --batch-size") from None
    return result


def _measure_models(result: BenchResult, show: Callable[[Table | str], None], progress: Callable[[str], None]) -> None:
    plan, done = result.plan, 0
    for threads in plan.threads:
        with equal_threads(threads):
            for cell in cells(plan, threads):
                done += 1
                progress(f"{done} of {plan.cells}: {cell}")
                result.rows.append(measure_cell(cell, plan))
        rows = result.of(threads)
        show(models_table(rows))
        if (mean := geometric_mean(rows)) is not None:
            show(f"training steps, {plural(threads, 'thread')}: geometric mean of the ratios {mean:.3f}")
    show("ratio: how many times as fast scratch is as torch; spread: the middle half of the rounds' ratios, as a share")
    if max(plan.threads) > 1 and plan.device == "cpu":
        cut = ", ".join(f"{model} from {PAIRS[model].images_per_thread} images" for model in plan.models)
        show(f"with several threads scratch cuts a batch, where each thread has enough of it to pay: {cut} each")
    if plan.device != "cpu":
        return
    own = [row.rates["scratch"] for row in result.rows if row.cell.mode == "train" and row.cell.model == LOOPED]
    if plan.loops and own:
        progress("plain loops")
        with equal_threads(1):
            result.loops = measure_loops(max(own))
        show(str(result.loops))
    if plan.memory:
        _measure_memory(result, show, progress)


def _measure_memory(result: BenchResult, show: Callable[[Table | str], None], progress: Callable[[str], None]) -> None:
    for model in result.plan.models:
        progress(f"peak memory of {model}")
        peak = measure_peak(model)
        if peak is None:
            show("peak memory: not measured, as this system does not tell it")
            return
        result.peaks[model] = peak
    show(memory_table(result.peaks))


def _measure_layers(result: BenchResult, show: Callable[[Table | str], None], progress: Callable[[str], None]) -> None:
    plan = result.plan
    batch = LAYERS_BATCH if plan.batch_sizes == BATCH_SIZES else plan.batch_sizes[0]
    for threads in plan.threads:
        for model in plan.models:
            rows: list[LayerRow] = []
            with equal_threads(threads):
                for row in measure_layers(model, batch, threads, plan.seconds):
                    progress(f"{model}, {plural(threads, 'thread')}: after {row.layer}, {row.direction}")
                    rows.append(row)
            result.layers += rows
            show(layers_table(rows, f"{model}: µs per image, batch {batch}, {plural(threads, 'thread')}"))
    show(
        "limit: its arithmetic at the speed of a large matrix product, or its memory traffic at that of a copy (by one"
    )
    show("thread), whichever takes longer; share: limit / scratch")


def models_table(rows: Sequence[ModelRow]) -> Table:
    """One line for each model, mode and batch size."""
    threads, sides = plural(rows[0].cell.threads, "thread"), list(rows[0].rates)
    table = Table(title=f"images per second, {threads}", title_justify="left")
    for heading in ("model", "mode", "batch", *sides, "ratio", "spread"):
        table.add_column(heading, justify="left" if heading in ("model", "mode") else "right")
    before = rows[0].cell
    for row in rows:
        cell = row.cell
        if (cell.model, cell.mode) != (before.model, before.mode):
            table.add_section()
        rates = (f"{row.rates[side]:,.0f}" for side in sides)
        table.add_row(cell.model, cell.mode, str(cell.batch), *rates, f"{row.ratio:.2f}", f"{row.spread:.0%}")
        before = cell
    return table


def memory_table(peaks: dict[str, Peak]) -> Table:
    """One line for each model."""
    table = Table(title=f"peak memory of a training step, batch {BATCH}, in MiB", title_justify="left")
    for heading in ("model", "scratch", "torch", "ratio"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for model, peak in peaks.items():
        table.add_row(model, f"{peak.scratch / MIB:.1f}", f"{peak.torch / MIB:.1f}", f"{peak.ratio:.2f}")
    return table
