"""Numbers so large or so small that no bound holds: what differs between them is neither right nor wrong."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

import scratch
from compare import cli
from compare.driving.tensors import Call
from compare.pairs.pair import Pair
from compare.pairs.probe import Probe, given_in
from compare.pairs.registry import REGISTRY
from compare.pairs.report import Report, compare, extremes
from compare.verify.configurations import random_configurations
from scratch import Array

LAYERS = [name for name, pair in REGISTRY.items() if not pair.fixed]
SCALES = {
    "float32": (1e20, 1e30, 1e37, 3e38, 1e-20, 1e-30, 1e-42, 1e-45),
    "float64": (1e155, 1e300, 1e308, 1e-155, 1e-310, 5e-324),
}


def scaled(probe: Probe, inputs: float, gradients: float, weights: float) -> Probe:
    """The probe with numbers of these sizes."""

    def of_size(array: Array, size: float) -> Array:
        return (np.clip(array, -1, 1) * size).astype(array.dtype) if array.dtype.kind == "f" and size != 1 else array

    with np.errstate(under="ignore"):
        calls = [
            Call((of_size(call.inputs[0], inputs), *call.inputs[1:]), of_size(call.grad_output, gradients))
            for call in probe.calls
        ]
        state = {name: of_size(array, weights) for name, array in probe.state.items() if not name.endswith("var")}
        steps = [{name: of_size(array, gradients) for name, array in step.items()} for step in probe.gradients]
    return replace(probe, calls=tuple(calls), state=probe.state | state, gradients=tuple(steps))


def each_scaled(pair: Pair, dtype: str) -> list[Probe]:
    first, *others = list(pair.probes(dtype))
    return [
        scaled(probe, *sizes)
        for probe in (first, others[len(others) // 2])
        for s in SCALES[dtype]
        for sizes in ((s, 1, 1), (1, s, 1), (s, s, 1), (s, s, s))
    ]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of the overflow that is meant
@pytest.mark.parametrize("dtype", SCALES)
@pytest.mark.parametrize("name", LAYERS)
def test_no_right_layer_is_called_wrong_by_extreme_numbers(name: str, dtype: str) -> None:
    pair = REGISTRY[name]
    rows = [row for probe in each_scaled(pair, dtype) for row in pair.check(probe)]
    assert Report(rows).wrong == ()
    assert sum(row.ok for row in rows) > len(rows) / 2  # what can be judged is judged


def test_the_numbers_that_a_comparison_draws_are_never_extreme() -> None:
    drawn = [(pair, probe) for pair in REGISTRY.values() for d in SCALES for probe in islice(pair.probes(d), 40)]
    for _, probe in [*drawn, *random_configurations(200, seed=5)]:
        assert extremes(given_in(probe), probe.dtype) == ""


@pytest.mark.parametrize(
    ("given", "dtype", "why"),
    [
        ([1.0, 3.0], "float32", ""),
        ([0.0, 0.0], "float32", ""),
        ([], "float32", ""),
        ([1e15, 1e-45], "float32", ""),  # one small number among others
        ([1e19, 0.0], "float32", ""),  # 2e38 at most
        ([1.4e19, 0.0], "float32", "products of numbers as large as 1.4e+19 overflow in float32"),
        ([1e30], "float32", "products of numbers as large as 1.0e+30 overflow in float32"),
        ([1e30], "float64", ""),
        ([-1e200], "float64", "products of numbers as large as 1.0e+200 overflow in float64"),
        ([np.inf], "float64", "products of numbers as large as inf overflow in float64"),
        ([1e-31, 0.0], "float32", ""),
        ([9e-32, 0.0], "float32", "numbers as small as 9.0e-32 lose digits in float32"),
        ([5e-324], "float64", "numbers as small as 4.9e-324 lose digits in float64"),
    ],
)
def test_what_is_extreme(given: list[float], dtype: str, why: str) -> None:
    assert extremes([np.ones(2, dtype), np.arange(3), np.array(given, dtype)], dtype) == why


def judged(got: Array, expected: Array, bound: float, extreme: str = "") -> tuple[bool, bool, str]:
    (row,) = compare(
        "pair", "case", {"t": got}, {"t": expected}, {"t": np.full(expected.shape, bound)}, extreme=extreme
    )
    return row.ok, row.unjudged, row.problem


def test_a_difference_below_the_smallest_normal_numbers_is_not_judged() -> None:
    tiny = float(np.finfo("float32").tiny)
    expected = np.array([1.0, 1e-40, 0.0], "float32")
    off = expected + np.array([0, 1e-42, 2 * tiny], "float32")
    ok, unjudged, problem = judged(off, expected, 0.0)
    assert (ok, unjudged) == (False, True)
    assert problem.endswith(
        "66.7% of the elements are wrong: no difference is above twice the smallest normal number, 1.2e-38"
    )
    assert judged(expected.copy(), expected, 0.0) == (True, False, "")
    off[2] *= 1.001  # one that counts is enough
    assert judged(off, expected, 0.0)[:2] == (False, False)
    assert judged(np.array([1 + 1e-6], "float32"), np.ones(1, "float32"), 1e-7)[:2] == (False, False)


def test_of_extreme_numbers_only_what_they_may_cause_is_not_judged() -> None:
    expected, why = np.array([1.0, 2.0]), "products overflow"
    assert judged(expected + 1, expected, 0.0, why) == (
        False,
        True,
        "2 instead of 1 at [0]; 100.0% of the elements are wrong: products overflow",
    )
    assert judged(np.array([1.0, np.nan]), expected, 0.0, why) == (False, True, "it is nan at [1]: products overflow")
    assert judged(np.array([1.0, np.nan]), expected, 0.0) == (False, False, "it is nan at [1]")
    assert judged(expected.copy(), expected, 0.0, why) == (True, False, "")
    for other in (np.ones(3), np.ones(2, "float32")):  # a shape or a dtype is wrong whatever the numbers are
        assert judged(other, expected, 0.0, why)[:2] == (False, False)


def test_what_is_not_judged_is_neither_equal_nor_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Twice(scratch.ReLU):
        def forward(self, x: Array) -> Array:
            return 2 * super().forward(x)

    pair = REGISTRY["relu"]
    ordinary = next(pair.probes("float32"))
    with np.errstate(over="ignore"):
        right = Report(pair.check(ordinary))
        wrong = Report(pair.compare(ordinary, pair.drive(Twice, ordinary)))
        probe = scaled(ordinary, 1e30, 1, 1)
        neither = Report(pair.compare(probe, pair.drive(Twice, probe)))
    assert [report.outcome for report in (right, wrong, neither)] == ["right", "wrong", "not_judged"]
    assert [report.ok for report in (right, wrong, neither)] == [True, False, False]
    assert neither.wrong == ()
    assert [row.tensor for row in neither.unjudged] == ["output"]
    assert neither.headline().startswith("not judged: output of relu [")
    assert neither.headline().endswith("products of numbers as large as 1.0e+30 overflow in float32")
    assert "\nnot judged relu" in str(neither)
    monkeypatch.setattr("compare.verify.agreement.check", lambda _: neither)
    monkeypatch.setattr("sys.argv", ["gradtwin", "check"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    said = capsys.readouterr().out
    assert said.startswith("not judged: output of relu")
    assert "WRONG" not in said
