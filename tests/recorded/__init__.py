"""What the comparison and the diagnosis say today, in full, so that a change of any of it is seen.

Other tests say what must hold. These say what is: every verdict on every catalogued mistake, with its evidence, its
description without the catalogue and its smallest example; the inputs, expected values and bounds of every case; and
the random configurations. Whoever changes one of them on purpose runs `python -m tests.recorded` and looks at the
difference that git shows.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from compare.diagnosis.examine import examine, own_answer
from compare.diagnosis.explaining.forms import Evidence, recognise
from compare.diagnosis.explaining.replay import planted
from compare.diagnosis.likeness import Likeness, likeness
from compare.diagnosis.trial import kind_of
from compare.diagnosis.verdict import Diagnosis
from compare.driving.tensors import Call, Tensors
from compare.faults.catalogue import CATALOGUE
from compare.machine.conditions import direct_convolutions, equal_threads
from compare.pairs import measured, weights
from compare.pairs.models import ModelPair
from compare.pairs.probe import Probe, draw_state
from compare.pairs.registry import REGISTRY
from compare.verify.configurations import random_configurations
from scratch import Array

FOLDER = Path(__file__).parent
CONFIGURATIONS = 120
# Numbers agree if they do so to this share: they are computed in another order on another processor. Sums of bounds
# and of float32 values are coarser than single numbers in float64, and still far finer than any change of a rule.
NEAR = 1e-4
# Whole numbers below this are counted or drawn, and must be equal; above, six digits are kept of them.
COUNTED = 1e6
# Numbers in sentences that were computed and rounded.
ROUNDED = re.compile(r"\d+\.\d+(?:e[+-]?\d+)?|\d+e[+-]?\d+|\d+%")


def verdict(name: str) -> dict[str, Any]:
    """Everything that is said of a catalogued mistake."""
    fault = CATALOGUE[name]
    compared, probes = _prepared(fault.pair)
    with equal_threads(1), direct_convolutions():
        result = examine(compared, "the candidate", own_answer(compared, planted(fault)), probes)
    return said(result)


def said(result: Diagnosis) -> dict[str, Any]:
    """A verdict in full, but for how close the closest call was: that depends on the processor."""
    return {
        "headline": result.headline().partition(" (at most")[0],
        "findings": [
            {
                "tensors": list(finding.kinds),
                "layer": finding.layer,
                "name": finding.name,
                "evidence": finding.evidence,
                "also": list(finding.also),
            }
            for finding in result.findings
        ],
        "wrong": {kind: f"{wrong} of {count}" for kind, count, wrong in result.kinds() if wrong},
        "right": [kind for kind, _, wrong in result.kinds() if not wrong],
        "missing": list(result.missing),
        "remarks": list(result.remarks),
        "without the catalogue": _forms(result),
        "example": None if result.example is None or _is_random(result) else result.example.as_json(),
    }


def _is_random(result: Diagnosis) -> bool:
    """Whether what it was compared with draws numbers: then its example differs from run to run."""
    pair = REGISTRY.get(result.like)
    return pair is not None and pair.is_random


def _forms(result: Diagnosis) -> dict[str, str]:
    """What would be said of each wrong tensor if no mistake were known."""
    double = [trial for trial in result.trials if trial.probe.dtype == "float64"]
    judged = list(result.trials) if all(trial.ok for trial in double) else double
    found: dict[str, str] = {}
    for kind in (kind for kind, _, count in result.kinds() if count):
        tensors = [(name, trial) for trial in judged for name in trial.got or {} if name in trial.expected]
        form = recognise([Evidence(kind, name, trial) for name, trial in tensors if kind_of(name) == kind])
        found[kind] = f"{form.name or 'no form'}: {form.made} ({form.evidence})"
    return found


@cache
def _prepared(pair: str) -> tuple[Likeness, list[Probe]]:
    compared = likeness(pair)
    return compared, list(compared.pair.examined())


def cases(name: str) -> dict[str, Any]:
    """Every case of a pair: what its tensors add up to, and what may be off, in absolute values."""
    pair = REGISTRY[name]
    found: dict[str, Any] = {}
    with equal_threads(1), direct_convolutions():
        for dtype in ("float64", "float32"):
            for number, probe in enumerate(pair.probes(dtype, 0)):
                # What a whole model may be off is measured on this machine; what a random layer gives is drawn.
                found[f"{number}: {probe.case}, {probe.dtype}, {probe.layout}"] = {
                    "inputs": _sums({f"{n}": array for n, array in enumerate(_given(probe))}),
                    "expected": _sums({} if pair.is_random else pair.expected(probe)),
                    "bounds": _sums({} if pair.is_random or isinstance(pair, ModelPair) else pair.bounds(probe)),
                }
    return found


def _given(probe: Probe) -> Iterator[Array]:
    """What a probe holds: weights, gradients for an optimizer, inputs and upstream gradients."""
    yield from probe.state.values()
    for step in probe.gradients:
        yield from step.values()
    for call in probe.calls:
        yield from (*call.inputs, call.grad_output)


def _sums(tensors: Tensors) -> dict[str, float | str]:
    """Of each tensor, the sum of its absolute values: one number that any other element changes."""
    sums = {name: float(np.abs(np.asarray(array, np.float64)).sum()) for name, array in tensors.items()}
    return {name: value if math.isfinite(value) else str(value) for name, value in sums.items()}


MODULES: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "convolution and ReLU": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.ReLU()), (2, 2, 5, 4)),
    "two linear layers": (lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), (3, 4)),
    "linear and softmax": (lambda: nn.Sequential(nn.Linear(4, 3), nn.Softmax(1)), (3, 4)),
}


def measured_bounds(name: str) -> dict[str, Any]:
    """What a module may be off for which no bound is derived."""
    make, shape = MODULES[name]
    rng, module = np.random.default_rng(0), make()
    weights.load_torch_state(module, draw_state(module, "float32", rng))
    x = rng.standard_normal(shape).astype(np.float32)
    output = module(torch.tensor(x)).shape
    call = Call((x,), rng.standard_normal(tuple(output)).astype(np.float32))
    return _sums(measured.measured(module, [call], "float32"))


def configurations(seed: str) -> list[str]:
    """The first random configurations that must be called right."""
    drawn = random_configurations(CONFIGURATIONS, int(seed))
    return [
        f"{pair.name} [{probe.case}] {probe.dtype}, {probe.layout}, {len(probe.calls)} calls" for pair, probe in drawn
    ]


def foreign(name: str) -> dict[str, Any]:
    """Everything that is said of code in another style; `test_diagnosis.py` compares it."""
    from tests.test_diagnosis import diagnosed, small_cases

    with small_cases():
        return said(diagnosed(name))


def _foreign_names() -> tuple[str, ...]:
    from tests.test_diagnosis import CANDIDATES

    return tuple(CANDIDATES)


Record = Callable[[str], Any]
RECORDS: Mapping[str, tuple[Record, Callable[[], tuple[str, ...]]]] = {
    "verdicts": (verdict, lambda: tuple(name for name, fault in CATALOGUE.items() if fault.pair != "verifier")),
    "cases": (cases, lambda: tuple(REGISTRY)),
    "measured": (measured_bounds, lambda: tuple(MODULES)),
    "configurations": (configurations, lambda: ("0",)),
    "foreign": (foreign, _foreign_names),
}


@cache
def recorded(kind: str) -> dict[str, Any]:
    """What was written down for all names of a kind."""
    return json.loads((FOLDER / f"{kind}.json").read_text(encoding="utf-8"))


def differences(was: Any, now: Any, at: str = "") -> Iterator[str]:
    """Where two records differ: text, whole numbers and shapes at all, other numbers by more than rounding."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in dict.fromkeys((*was, *now)):
            if key in was and key in now:
                yield from differences(was[key], now[key], f"{at}[{key!r}]")
            else:
                yield f"{at}[{key!r}]: {'only' if key in was else 'not'} in the record"
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for number, (one, other) in enumerate(zip(was, now, strict=True)):
            yield from differences(one, other, f"{at}[{number}]")
    elif not _alike(was, now):
        yield f"{at}: {was!r} in the record, {now!r} today"


def _alike(was: Any, now: Any) -> bool:
    if isinstance(was, float) and isinstance(now, float):
        counted = was.is_integer() and now.is_integer() and abs(was) < COUNTED
        return was == now if counted else math.isclose(was, now, rel_tol=NEAR)
    if isinstance(was, str) and isinstance(now, str):
        return _alike_in_words(was, now)
    return type(was) is type(now) and bool(was == now)


def _alike_in_words(was: str, now: str) -> bool:
    """The same words, and numbers that were rounded to them: a decimal or a share may be one unit off at its end."""
    if ROUNDED.split(was) != ROUNDED.split(now):
        return False
    pairs = zip(ROUNDED.findall(was), ROUNDED.findall(now), strict=True)
    return all(abs(Decimal(one.rstrip("%")) - Decimal(other.rstrip("%"))) <= _unit(one, other) for one, other in pairs)


def _unit(one: str, other: str) -> Decimal:
    """One in the last digit of the coarser of two numbers."""
    exponents = [int(Decimal(text.rstrip("%")).as_tuple().exponent) for text in (one, other)]
    return Decimal(1).scaleb(max(exponents))


def assert_recorded(kind: str, name: str, now: Any) -> None:
    """Raises AssertionError if `now` is not what was written down."""
    found = list(differences(recorded(kind).get(name), json.loads(json.dumps(now))))
    shown = "\n".join(found[:10])
    assert not found, f"changed on purpose? python -m tests.recorded, and look at the difference\n{shown}"
