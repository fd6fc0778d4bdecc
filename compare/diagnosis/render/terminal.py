"""The verdict on the terminal: the headline, the hint, the smallest input that shows it, then the table."""

from __future__ import annotations

import numpy as np
from rich.columns import Columns
from rich.console import Console
from rich.table import Table
from rich.text import Text

from compare.diagnosis.explaining.replay import RAISED
from compare.diagnosis.explaining.shrink import Example
from compare.diagnosis.render.numbers import brief, listed, options_text
from compare.diagnosis.trial import kind_of
from compare.diagnosis.verdict import Diagnosis
from scratch import Array

STYLES = {"right": "bold green", "wrong": "bold red", "not_judged": "bold yellow"}


def show(diagnosis: Diagnosis, console: Console, *, hint_only: bool = False) -> None:
    """Print a verdict; `hint_only` leaves out what the mistake is, and all expected values."""
    _line(console, diagnosis.headline(hint_only=hint_only), STYLES[diagnosis.outcome])
    for other in diagnosis.alternatives[1:]:
        _line(console, f"  also {other}")
    for number, finding in enumerate(diagnosis.findings, 1):
        several = len(diagnosis.findings) > 1 or bool(diagnosis.alternatives)
        lead = f"  {number}. " if several else "  "
        what = listed(["no answer" if kind == RAISED else kind for kind in finding.kinds])
        where = f" (layer {finding.layer})" if finding.layer else ""
        if several:
            _line(console, f"{lead}{what}{where}{'' if hint_only else ': ' + finding.made}")
        if finding.name and not hint_only:
            also = f" (or {listed(list(finding.also))}: the same on these inputs)" if finding.also else ""
            kind = "mistake" if finding.catalogued else "form"
            _line(console, f"  {kind}: {finding.name}{also}; {finding.evidence}", "dim")
        _line(console, f"  hint: {finding.hint}", "cyan")
    if diagnosis.example is not None and not hint_only:
        _example(diagnosis.example, console)
    _line(console, f"  coverage: {diagnosis.coverage}")
    if diagnosis.conditions:
        _line(console, f"  {diagnosis.conditions}")
    for remark in diagnosis.remarks:
        _line(console, f"  remark: {remark}", "yellow")
    if diagnosis.trials:
        console.print(_table(diagnosis))


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)


def _example(example: Example, console: Console) -> None:
    options = f" ({options_text(example.options)})" if example.options else ""
    _line(console, f"\nThe smallest input that shows it{options}:", "bold")
    columns = [Text(f"{name} {brief(array)}") for name, array in example.given.items()]
    console.print(Columns(columns, padding=(0, 3)))
    if example.expected is not None:
        expected = Text(f"expected {example.tensor} {brief(example.expected)}")
        got = _highlighted(example) if example.got is not None else Text(example.problem)
        console.print(Columns([expected, got], padding=(0, 3)))
    console.print()


def _highlighted(example: Example) -> Text:
    """What it gave, with a mark at the first number that is wrong."""
    assert example.got is not None
    assert example.expected is not None
    text = Text(f"got {brief(example.got)}")
    at = first_difference(example.got, example.expected)
    if at is not None and example.got.size > 1:
        text.append(f"\nwrong first at {list(at)}", "bold red")
    return text


def first_difference(got: Array, expected: Array) -> tuple[int, ...] | None:
    """The index of the first element that differs by more than rounding; None if shapes or all elements do."""
    if got.shape != expected.shape or got.size == 0:
        return None
    scale = float(np.abs(expected).max(initial=0)) or 1.0
    wrong = ~(np.abs(got - expected) <= 1e-9 * scale)
    return tuple(int(i) for i in np.argwhere(wrong)[0]) if wrong.any() else None


def _table(diagnosis: Diagnosis) -> Table:
    table = Table()
    for heading in ("tensor", "compared", "wrong", "first wrong on"):
        table.add_column(heading, justify="right" if heading in ("compared", "wrong") else "left")
    rows = diagnosis.report.rows
    for kind, compared, wrong in diagnosis.kinds():
        if kind.endswith("after use") and not wrong:
            continue
        first = next((row for row in rows if kind_of(row.tensor) == kind and not row.ok), None)
        where = f"[{first.case}, {first.dtype}]" if first is not None else ""
        table.add_row(kind, f"{compared:,}", str(wrong or "-"), Text(where))
    for kind in diagnosis.missing:
        table.add_row(kind, "-", "-", "not provided")
    return table
