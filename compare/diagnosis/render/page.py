"""The verdict as one HTML page of its own: no script, nothing loaded from elsewhere."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import jinja2
import numpy as np

from compare.diagnosis.explaining.replay import RAISED
from compare.diagnosis.render.numbers import number, tables
from compare.diagnosis.trial import Trial, kind_of
from compare.diagnosis.verdict import Diagnosis
from scratch import Array

MAPS = 24  # so many maps of a tensor are drawn
CELLS = 32  # so many rows and columns of a map


def as_html(diagnosis: Diagnosis, *, hint_only: bool = False) -> str:
    """The page: headline, findings with hints, the smallest example, heatmaps of the differences, the table."""
    template = files("compare.diagnosis.render").joinpath("page.html.j2").read_bytes().decode()
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    example = diagnosis.example
    return environment.from_string(template).render(
        diagnosis=diagnosis,
        headline=diagnosis.headline(hint_only=hint_only),
        hint_only=hint_only,
        raised=RAISED,
        given=[] if example is None else [(name, maps(array)) for name, array in example.given.items()],
        expected=None if example is None or example.expected is None else maps(example.expected),
        got=None if example is None or example.got is None else maps(example.got, example.expected),
        heatmaps=heatmaps(diagnosis),
        rows=diagnosis.report.rows,
    )


def maps(array: Array, right: Array | None = None) -> list[dict[str, Any]]:
    """The tables of an array: one for each of its leading indices, a cell being its text and whether it is wrong."""
    rights = None
    if right is not None and right.shape == array.shape:
        rights = tables(right)
        scale = float(np.abs(right).max(initial=0)) or 1.0
    found = []
    for index, table in enumerate(tables(array)[:MAPS]):
        cells = [
            [
                (number(v), rights is not None and not abs(v - rights[index, i, j]) <= 1e-9 * scale)
                for j, v in enumerate(row)
            ]
            for i, row in enumerate(table[:CELLS, :CELLS])
        ]
        found.append({"index": _leading(array, index), "rows": cells})
    return found


def heatmaps(diagnosis: Diagnosis) -> list[dict[str, Any]]:
    """For every wrong kind of tensor, the first trial that shows it: how far each element is off, from 0 to 1."""
    found = []
    for finding in diagnosis.findings:
        for kind in finding.kinds:
            shown = next((s for trial in diagnosis.trials if (s := _difference(trial, kind)) is not None), None)
            if shown is not None:
                found.append(shown)
    return found


def _difference(trial: Trial, kind: str) -> dict[str, Any] | None:
    for row in trial.rows:
        if row.ok or kind_of(row.tensor) != kind or trial.got is None or row.tensor not in trial.got:
            continue
        got, right = trial.got[row.tensor], trial.expected[row.tensor]
        if got.shape != right.shape or got.size == 0 or got.dtype.kind != "f":
            continue
        with np.errstate(all="ignore"):
            difference = np.abs(got.astype(np.float64) - right)
        largest = float(difference[np.isfinite(difference)].max(initial=0)) or 1.0
        share = tables(np.where(np.isfinite(difference), difference / largest, 1.0))
        cells = [
            {"index": _leading(got, n), "rows": [[round(float(v), 3) for v in line] for line in table[:CELLS, :CELLS]]}
            for n, table in enumerate(share[:MAPS])
        ]
        return {
            "tensor": row.tensor,
            "case": f"{row.case}, {row.dtype}",
            "largest": number(largest),
            "wrong": f"{float(np.mean(~(difference <= trial.bounds[row.tensor]))):.0%}",
            "maps": cells,
            "left_out": len(share[MAPS:]),
        }
    return None


def _leading(array: Array, index: int) -> str:
    """Which leading indices a table of an array has: "[0, 2]"; empty if it has none."""
    if array.ndim <= 2:
        return ""
    return str([int(i) for i in np.unravel_index(index, array.shape[:-2])])
