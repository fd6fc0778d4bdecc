"""What a comparison found: one row per tensor, and a verdict that says first what is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from compare.driving.tensors import Tensors
from compare.machine.outcome import Outcome
from scratch import Array

CANDIDATE_ERRORS = (Exception, SystemExit)  # anybody's code: whatever it raises is a finding about it, not about us
LOOSEST = 1e-9  # in float64, no bound may exceed this share of the greatest element it guards


@dataclass(frozen=True)
class Row:
    """One tensor of the candidate held against the reference's.

    Attributes:
        pair, case, tensor, dtype, shape: what was compared; dtype and shape are the reference's.
        max_abs: the largest |difference|, infinite where it could not be computed.
        difference, bound: how much it was, and how much was allowed, where most of the allowance was used.
        budget: the share of the bound that was used there: 0 for equality, above 1 for a difference too large.
        worst: the index of that element; None where nothing could be compared.
        problem: what is wrong, empty if nothing is.
        unjudged: whether the problem is that of the bound or the reference: nothing is known of the candidate's tensor.
    """

    pair: str
    case: str
    tensor: str
    dtype: str
    shape: tuple[int, ...]
    max_abs: float
    difference: float
    bound: float
    budget: float
    worst: tuple[int, ...] | None
    problem: str = ""
    unjudged: bool = False

    @property
    def ok(self) -> bool:
        return not self.problem

    def __str__(self) -> str:
        """One line: name, shape, greatest difference, bound, share of it, where; and the problem if there is one."""
        shape = "x".join(map(str, self.shape)) or "scalar"
        verdict = "ok   " if self.ok else "not judged" if self.unjudged else "WRONG"
        name = f"{verdict} {self.pair} [{self.case}] {self.dtype} {self.tensor} ({shape})"
        if self.worst is None:
            return f"{name}: {self.problem}"
        return (
            f"{name}: max |difference| {self.max_abs:.2g}; closest to its bound at {list(self.worst)}: "
            f"{self.difference:.2g} of {self.bound:.2g}, {self.budget:.1%}"
            + (f": {self.problem}" if self.problem else "")
        )

    def as_json(self) -> dict[str, Any]:
        """The row as plain values; a number that is not finite becomes null, as JSON has none."""
        return {
            "pair": self.pair,
            "case": self.case,
            "tensor": self.tensor,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "max_abs": _finite(self.max_abs),
            "difference": _finite(self.difference),
            "bound": _finite(self.bound),
            "budget": _finite(self.budget),
            "worst": None if self.worst is None else list(self.worst),
            "ok": self.ok,
            "problem": self.problem,
        }


class Report:
    """All rows of a comparison, in the order in which they were compared."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = tuple(rows)

    @property
    def compared(self) -> int:
        """How many tensors were compared."""
        return len(self.rows)

    @property
    def wrong(self) -> tuple[Row, ...]:
        """The rows that show a mistake."""
        return tuple(row for row in self.rows if not row.ok and not row.unjudged)

    @property
    def unjudged(self) -> tuple[Row, ...]:
        """The rows that show nothing: of them neither agreement nor a mistake is known."""
        return tuple(row for row in self.rows if not row.ok and row.unjudged)

    @property
    def ok(self) -> bool:
        """Whether something was compared and all of it agreed."""
        return bool(self.rows) and not self.wrong and not self.unjudged

    @property
    def outcome(self) -> Outcome:
        """Whether a mistake shows: "wrong"; something could not be judged: "not_judged"; neither: "right"."""
        if self.wrong or not self.rows:
            return "wrong"
        return "not_judged" if self.unjudged else "right"

    def headline(self) -> str:
        """The verdict in one sentence: the first wrong tensor, or how close the closest call was."""
        if not self.rows:
            return "wrong: nothing was compared"
        if self.wrong:
            first = self.wrong[0]
            more = f"; {len(self.wrong)} of {self.compared} tensors are wrong" if len(self.wrong) > 1 else ""
            return f"wrong: {first.tensor} of {first.pair} [{first.case}, {first.dtype}]: {first.problem}{more}"
        if self.unjudged:
            first = self.unjudged[0]
            more = (
                f"; {len(self.unjudged)} of {self.compared} tensors could not be judged"
                if len(self.unjudged) > 1
                else ""
            )
            return f"not judged: {first.tensor} of {first.pair} [{first.case}, {first.dtype}]: {first.problem}{more}"
        tightest = max(self.rows, key=lambda row: row.budget)
        return (
            f"equal: {self.compared:,} tensors compared, none outside its bound; "
            f"the closest call, {tightest.tensor} of {tightest.pair} [{tightest.case}], "
            f"used {tightest.budget:.0%} of its bound"
        )

    def __str__(self) -> str:
        """The verdict, then what is wrong or could not be judged, then one line for every other tensor."""
        fine = [row for row in self.rows if row.ok]
        return "\n".join([self.headline(), *map(str, self.wrong), *map(str, self.unjudged), *map(str, fine)])

    def as_json(self) -> dict[str, Any]:
        """{"ok", "compared", "rows"}: the result in full."""
        return {"ok": self.ok, "compared": self.compared, "rows": [row.as_json() for row in self.rows]}


def compare(
    pair: str,
    case: str,
    got: Tensors,
    expected: Tensors,
    bounds: Tensors,
    *,
    start: Tensors | None = None,
    extreme: str = "",
) -> list[Row]:
    """Hold every tensor of the reference (`expected`) against the candidate's (`got`), and extra ones against nothing.

    Args:
        pair, case: what the rows are called.
        got, expected: tensors by name.
        bounds: for every expected tensor, the allowed |difference| of each of its elements (broadcast).
        start: what updated tensors were before; a bound must be able to tell an update from none.
        extreme: why no bound holds for the numbers that both sides were given, see `extremes`: what is then outside its
            bound, or not finite, is not judged.
    """
    start = start or {}
    rows = [
        _compare_tensor(pair, case, name, got.get(name), expected[name], bounds[name], start.get(name), extreme)
        for name in expected
    ]
    for name in sorted(got.keys() - expected.keys()):
        problem = "the reference has no such tensor"
        tensor = got[name]
        rows.append(
            Row(pair, case, name, str(tensor.dtype), tensor.shape, math.inf, math.inf, 0.0, math.inf, None, problem)
        )
    return rows


def overview(report: Report) -> Table:
    """One line for each pair: how many tensors, how many wrong, and the largest share of a bound in each dtype."""
    table = Table()
    for heading in ("pair", "tensors", "wrong", "float64: bound used", "float32: bound used"):
        table.add_column(heading, justify="right" if heading != "pair" else "left")
    for pair in dict.fromkeys(row.pair for row in report.rows):
        rows = [row for row in report.rows if row.pair == pair]
        shares = [max((row.budget for row in rows if row.dtype == d), default=0.0) for d in ("float64", "float32")]
        wrong = sum(not row.ok for row in rows)
        table.add_row(pair, f"{len(rows):,}", str(wrong or "-"), *(f"{share:.0%}" for share in shares))
    return table


def failure(pair: str, case: str, dtype: str, error: BaseException) -> Row:
    """The row of a candidate that raised an exception instead of an answer."""
    return nothing_compared(pair, case, dtype, f"raised {type(error).__name__}: {error}")


def nothing_compared(pair: str, case: str, dtype: str, problem: str, *, unjudged: bool = False) -> Row:
    """The row of a comparison that could not be made, and why; `unjudged` if that is not the candidate's doing."""
    return Row(pair, case, "all tensors", dtype, (), math.inf, math.inf, 0.0, math.inf, None, problem, unjudged)


def _compare_tensor(
    pair: str,
    case: str,
    name: str,
    got: Array | None,
    expected: Array,
    bound: Array,
    start: Array | None,
    extreme: str,
) -> Row:
    dtype, shape = str(expected.dtype), expected.shape
    problem = _incomparable(got, expected)
    if problem or got is None:
        return Row(pair, case, name, dtype, shape, math.inf, math.inf, 0.0, math.inf, None, problem)
    if not np.isfinite(expected).all():
        problem = _not_finite("the reference", expected)
        return Row(pair, case, name, dtype, shape, math.inf, math.inf, 0.0, math.inf, None, problem, unjudged=True)
    if (got == expected).all():  # which needs no bound: a dead network's zeros are equal, and all that is left alone
        first = (0,) * expected.ndim
        return Row(
            pair, case, name, dtype, shape, 0.0, 0.0, float(np.broadcast_to(bound, shape)[first]), 0.0, first, ""
        )
    if not np.isfinite(got).all():
        problem = _because(_not_finite("it", got), extreme)
        return Row(pair, case, name, dtype, shape, math.inf, math.inf, 0.0, math.inf, None, problem, bool(extreme))
    reference, bound = expected.astype(np.float64), np.broadcast_to(bound, shape)
    with np.errstate(over="ignore"):  # an infinite share of a bound is a share above 1
        difference = np.abs(got.astype(np.float64) - reference)
        budget = np.divide(difference, bound, out=np.where(difference > 0, np.inf, 0.0), where=bound > 0)
    at = tuple(int(i) for i in np.unravel_index(budget.argmax(), shape))
    # Only a difference needs a bound that can judge.
    guarded = reference if start is None else reference - start
    # Outside a bound that is too wide to accept anything is outside all the same.
    outside = bool(np.isfinite(bound).all() and (bound >= 0).all() and budget[at] > 1)
    problem = _untrustworthy(guarded, bound, dtype) if difference.any() and not outside else ""
    unjudged = bool(problem)
    if not problem and budget[at] > 1:
        share = np.mean(budget > 1)
        problem = f"{got[at]:.9g} instead of {expected[at]:.9g} at {list(at)}; {share:.1%} of the elements are wrong"
        why = extreme or _below_normal(difference[budget > 1], expected)
        problem, unjudged = _because(problem, why), bool(why)
    return Row(
        pair,
        case,
        name,
        dtype,
        shape,
        float(difference.max()),
        float(difference[at]),
        float(bound[at]),
        float(budget[at]),
        at,
        problem,
        unjudged,
    )


def _incomparable(got: Array | None, expected: Array) -> str:
    """Why two tensors cannot be compared at all; empty if they can."""
    if got is None:
        return "not provided"
    if got.shape != expected.shape:
        return f"shape {list(got.shape)} instead of {list(expected.shape)}"
    if got.dtype != expected.dtype:
        return f"dtype {got.dtype} instead of {expected.dtype}"
    if np.may_share_memory(got, expected):
        return "it is the reference's own array: nothing was compared"
    if expected.size == 0:
        return "it has no elements: nothing was compared"
    return ""


def extremes(given: Iterable[Array], dtype: str) -> str:
    """Why no bound holds for what is computed from these arrays, in words; empty if one does.

    A bound takes for granted that nothing on the way overflows or vanishes. What was given is extreme if sums of
    products of its largest numbers are above the largest number of `dtype`, or if an array has no number that is above
    the smallest normal one by more than a rounding.
    """
    limits = np.finfo(dtype)
    for array in given:
        largest = float(np.abs(array).max(initial=0)) if array.dtype.kind == "f" else 0.0
        if largest > math.sqrt(float(limits.max) / max(array.size, 1)):
            return f"products of numbers as large as {largest:.1e} overflow in {dtype}"
        if 0 < largest < float(limits.tiny / limits.eps):
            return f"numbers as small as {largest:.1e} lose digits in {dtype}"
    return ""


def _below_normal(differences: Array, expected: Array) -> str:
    """Why no difference outside its bound counts, in words: below the smallest normal number digits are lost."""
    tiny = float(np.finfo(expected.dtype).tiny) if expected.dtype.kind == "f" else 0.0
    below = f"no difference is above twice the smallest normal number, {tiny:.1e}"
    return below if differences.max() <= 2 * tiny else ""


def _because(problem: str, why: str) -> str:
    return f"{problem}: {why}" if why else problem


def _not_finite(whose: str, tensor: Array) -> str:
    """Where `tensor` is NaN or infinite first."""
    at = [int(i) for i in np.argwhere(~np.isfinite(tensor))[0]]
    return f"{whose} is {tensor[tuple(at)]} at {at}"


def _untrustworthy(guarded: Array, bound: Array, dtype: str) -> str:
    """Why this bound could not tell right from wrong; empty if it can. `guarded` is the tensor, or its update."""
    if not np.isfinite(bound).all() or (bound < 0).any():
        return "its bound is not a number that allows a verdict"
    scale = np.abs(guarded).max()
    if scale > 0 and (np.abs(guarded) <= bound).all():
        return "its bound is so wide that zeros, or no update, would pass"
    if dtype == "float64" and bound.max() > LOOSEST * scale:
        return f"its bound {bound.max():.2g} is wider than {LOOSEST:g} of the largest element {scale:.2g}"
    return ""


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
