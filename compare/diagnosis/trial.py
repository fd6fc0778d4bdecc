"""One probe, tried on a candidate: what it gave, what it should have given, and a row for every tensor."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from compare.driving.answering import Outcome
from compare.driving.calling import RATE
from compare.driving.tensors import Driven, Tensors, gradient_name
from compare.pairs.bounds import LAMBDA, unit_roundoff
from compare.pairs.pair import Pair
from compare.pairs.probe import Probe
from compare.pairs.report import Row, nothing_compared

ORDER = ("output", "grad_input", "grad_weight", "grad_bias")  # how a reader goes through a layer
LESS_ACCURATE = "less accurate than it could be where the largest score is far from 0"
NORMWISE = "as accurate as its largest element, not element by element: another algorithm than the definition"


@dataclass(frozen=True)
class Trial:
    """One probe on one candidate.

    Attributes:
        got: None where the candidate raised, crashed or ran out of time; `problem` says so then.
        rows: one for every tensor that was compared.
        missing: the tensors that the candidate does not provide.
        notes: what else was noticed.
        error, refused, in_backward, fatal: of the outcome that has no tensors, see `Outcome`.
        updated, ignores_gradient: see `Driven`.
        misshapen: the gradients that are wrong by their shape alone.
        unjudged: what could not be judged, because the bound or the reference is no number that allows it.
    """

    probe: Probe
    got: Tensors | None
    expected: Tensors
    bounds: Tensors
    rows: tuple[Row, ...]
    problem: str = ""
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: str = ""
    refused: bool = False
    in_backward: bool = False
    fatal: bool = False
    updated: tuple[str, ...] = ()
    ignores_gradient: bool = False
    misshapen: frozenset[str] = frozenset()
    unjudged: tuple[Row, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing that was compared is wrong."""
        return all(row.ok for row in self.rows)

    def wrong(self) -> set[str]:
        """The kinds of tensors that are wrong."""
        return {kind_of(row.tensor) for row in self.rows if not row.ok}


@lru_cache(maxsize=1024)
def kind_of(tensor: str) -> str:
    """The name of a tensor without the number of the call that it belongs to.

    >>> kind_of("grad_input of call 2")
    'grad_input'
    """
    return re.sub(r" of call \d+$", "", tensor)


def in_order(kinds: set[str]) -> list[str]:
    """Kinds of tensors in the order in which a reader would look: the output first, then the gradients."""

    def place(kind: str) -> tuple[int, str]:
        leaf = kind.rpartition(".")[2]
        return (ORDER.index(leaf) if leaf in ORDER else len(ORDER)), kind

    return sorted(kinds, key=place)


def try_probe(pair: Pair, probe: Probe, answer: Callable[[Probe], Outcome], *, lenient: bool) -> Trial:
    """Try one probe.

    Args:
        answer: runs the candidate; the outcome's value is `Driven`.
        lenient: for code that was not written for this: what it does not provide is not compared, and another float
            type is converted, and noted.
    """
    outcome = answer(probe)
    if outcome.value is None:
        reference = pair.expected(probe)
        row = nothing_compared(pair.name, probe.case, probe.dtype, outcome.problem)
        return Trial(
            probe,
            None,
            reference,
            {},
            (row,),
            outcome.problem,
            notes=outcome.notes,
            error=outcome.error,
            refused=outcome.refused,
            in_backward=outcome.in_backward,
            fatal=outcome.fatal,
        )
    driven: Driven = outcome.value
    got = driven.tensors
    random = pair.shares(probe, got)
    reference, allowed = pair.expected(probe, got) | random[1], pair.bounds(probe, got) | random[2]
    got = got | random[0]
    for name in probe.state.keys() & set(driven.recovered):  # what a candidate says need not be so
        if gradient_name(name) in reference:
            allowed = allowed | _of_updates(name, probe, allowed, reference)
    notes = [*outcome.notes, *driven.notes]
    missing: tuple[str, ...] = ()
    if lenient:
        got, converted = _same_floats(got, reference)
        notes += converted
        missing = tuple(name for name in reference if name not in got and "output" not in name)
        reference = {name: array for name, array in reference.items() if name not in missing}
    rows = pair.compare(probe, got, reference, allowed)
    if lenient and pair.normwise:
        rows = [_normwise(row, got, reference, allowed, probe) for row in rows]
    if lenient and not all(row.ok for row in rows) and (wider := pair.wider_bounds(probe)) is not None:
        wider = allowed | {name: bound for name, bound in wider.items() if name in allowed}
        widely = pair.compare(probe, got, reference, wider)
        if all(row.ok for row in widely):
            rows, allowed, notes = widely, wider, [*notes, LESS_ACCURATE]
    misshapen = dict(driven.misshapen)
    shapes_only = frozenset(row.tensor for row in rows if row.ok and row.tensor in misshapen)
    rows = [replace(row, problem=misshapen[row.tensor]) if row.tensor in shapes_only else row for row in rows]
    return Trial(
        probe,
        got,
        reference,
        allowed,
        tuple(row for row in rows if not (lenient and row.unjudged)),
        "",
        missing,
        tuple(notes),
        updated=driven.updated,
        ignores_gradient=driven.ignores_gradient,
        misshapen=shapes_only,
        unjudged=tuple(row for row in rows if lenient and row.unjudged),
    )


def _of_updates(parameter: str, probe: Probe, allowed: Tensors, reference: Tensors) -> Tensors:
    """The bound of a gradient that was taken from an update, (w - w') / lr: the update rounded it twice more."""
    holder, dot, leaf = parameter.rpartition(".")
    name = f"{holder}{dot}grad_{leaf}"
    calls = max(len(probe.calls), 1)
    scale = np.abs(probe.state[parameter]) + RATE * np.abs(reference[name])
    return {name: allowed[name] + calls * 4 * unit_roundoff(probe.dtype) * scale / RATE}


def _same_floats(got: Tensors, reference: Tensors) -> tuple[Tensors, list[str]]:
    converted: Tensors = {}
    notes = []
    for name, array in got.items():
        wanted = reference.get(name)
        if wanted is None or array.dtype == wanted.dtype or array.dtype.kind != "f" or wanted.dtype.kind != "f":
            converted[name] = array
            continue
        converted[name] = array.astype(wanted.dtype)
        notes.append(f"{array.dtype} for {wanted.dtype}")
    return converted, sorted(set(notes))


def _normwise(row: Row, got: Tensors, reference: Tensors, allowed: Tensors, probe: Probe) -> Row:
    """The row, passed where its error is small beside the greatest element, and of one size all over the tensor.

    Transforms (FFT, Winograd) mix all elements, so that each carries the error of the greatest. In place of the bound
    of the element stands that of the greatest, times log2 M for the M elements that a transform goes through. A mistake
    in single elements does not look like that: the differences of a transform lie everywhere, or are no more than
    λ·log2 M roundings of the greatest element.
    """
    if row.ok or row.unjudged or not math.isfinite(row.max_abs) or "after use" in row.tensor:
        return row
    error = np.abs(got[row.tensor].astype(np.float64) - reference[row.tensor])
    size = max(error.size, *(call.inputs[0].size for call in probe.calls), 2)
    widest = float(np.max(allowed[row.tensor])) * math.log2(2 * size)
    rounding = LAMBDA * math.log2(2 * size) * unit_roundoff(probe.dtype)
    floor = rounding * float(np.abs(reference[row.tensor]).max())
    everywhere = error.max() <= 64 * np.median(error)  # a median above 0: half of them differ, or more
    if error.max() > max(widest, floor) or not (everywhere or error.max() <= floor):
        return row
    return replace(row, problem="", budget=float(error.max() / max(widest, floor)), bound=max(widest, floor))


def remarks_on_rows(trials: Sequence[Trial]) -> list[str]:
    """What is to be said about rows that pass only normwise."""
    outside = any(
        row.ok and row.worst is not None and row.bound > float(np.max(trial.bounds[row.tensor]))
        for trial in trials
        for row in trial.rows
        if row.tensor in trial.bounds
    )
    return [NORMWISE] if outside else []
