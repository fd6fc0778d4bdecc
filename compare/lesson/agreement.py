"""The agreement that the lesson shows, measured while it is built; where it does not hold, nothing is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compare.diagnosis.diagnose import diagnose
from compare.lesson.layers import Layer
from compare.lesson.not_as_shown import NotAsShown
from compare.machine.conditions import direct_convolutions
from compare.pairs.registry import REGISTRY
from compare.pairs.report import Report, Row
from compare.verify.agreement import check


@dataclass(frozen=True)
class Agreement:
    """How closely one tensor of a layer agrees with torch's, over all cases of the registry.

    Attributes:
        compared: how many comparisons, each of a whole tensor.
        share: the largest share of a bound that was used, in float64 and in float32.
        largest: the greatest difference, in float64 and in float32.
    """

    compared: int
    share: dict[str, float]
    largest: dict[str, float]


def measure(rows: Sequence[Row]) -> Agreement:
    """What these rows say together."""
    by_dtype = {dtype: [row for row in rows if row.dtype == dtype] for dtype in ("float64", "float32")}
    return Agreement(
        len(rows),
        {dtype: max((row.budget for row in chosen), default=0.0) for dtype, chosen in by_dtype.items()},
        {dtype: max((row.max_abs for row in chosen), default=0.0) for dtype, chosen in by_dtype.items()},
    )


def agreements_of(report: Report, layer: Layer) -> list[tuple[int, str, Agreement]]:
    """Equation, tensor and agreement, for each equation of a layer whose tensor the registry compares."""
    found = []
    for number, tensor in layer.tensors.items():
        rows = [row for row in report.rows if row.pair == layer.pair and layer.computes(number, row.tensor, row.case)]
        if rows:
            found.append((number, tensor, measure(rows)))
    return found


def checked(layers: Sequence[Layer]) -> Report:
    """Compare all that is registered, as `gradtwin check` does.

    Raises:
        NotAsShown: with the first wrong tensor, its equation and line of code, and what the mistake looks like.
    """
    report = check()
    if not report.ok:
        raise NotAsShown(_spot((report.wrong or report.unjudged)[0], layers))
    return report


def require(rows: Sequence[Row], where: str) -> None:
    """Make sure that something was compared, and that all of it agrees.

    Raises:
        NotAsShown: with the first tensor that does not.
    """
    report = Report(rows)
    if not report.ok:
        raise NotAsShown(f"{where}: {report.headline().removeprefix('wrong: ')}")


def _spot(row: Row, layers: Sequence[Layer]) -> str:
    """Where a wrong tensor comes from, in words."""
    words = f"{row.tensor} of {row.pair} [{row.case}, {row.dtype}]: {row.problem}"
    layer = next((layer for layer in layers if layer.pair == row.pair), None)
    if layer is None:
        return words
    number = next((number for number in layer.tensors if layer.computes(number, row.tensor, row.case)), None)
    spot = layer.spot(number)
    named = _named(layer.pair)
    return f"{words}{f'; equation ({number}), {spot}' if spot else ''}{f'; {named}' if named else ''}"


def _named(pair: str) -> str:
    """What `gradtwin diagnose` makes of our own class: a form, such as a factor; wrong source has no other names."""
    with direct_convolutions():
        verdict = diagnose(REGISTRY[pair].scratch, like=pair)
    return f"{verdict.name}: {verdict.findings[0].made}" if verdict.findings and verdict.name else ""
