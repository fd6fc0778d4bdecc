"""One probe tried on a candidate: what comes of no answer, of another float type, and of errors that lie everywhere."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import nn

import scratch
from compare.diagnosis import trial as module
from compare.diagnosis.likeness import likeness
from compare.diagnosis.trial import LESS_ACCURATE, NORMWISE, Trial, in_order, kind_of, remarks_on_rows, try_probe
from compare.driving.answering import Outcome
from compare.driving.calling import RATE
from compare.driving.tensors import Call, Driven, Tensors
from compare.pairs.cases import Case
from compare.pairs.pair import LayerPair
from compare.pairs.probe import Probe
from compare.pairs.registry import REGISTRY
from compare.pairs.report import Row
from scratch import Array


def row_of(tensor: str, *, ok: bool = False, bound: float = 0.0, worst: tuple[int, ...] | None = (0,)) -> Row:
    return Row("pair", "case", tensor, "float64", (), 1.0, 1.0, bound, 2.0, worst, "" if ok else "too far")


def probe_of(name: str, case: Case, dtype: str = "float64") -> tuple[LayerPair, Probe]:
    """A registered pair, and one probe of it."""
    pair = REGISTRY[name]
    assert isinstance(pair, LayerPair)
    return pair, pair.probe(case, dtype, np.random.default_rng(0))


LINEAR = Case((4, 3), {"in_features": 3, "out_features": 2})


def gives(tensors: Tensors, **more: Any) -> Callable[[Probe], Outcome]:
    return lambda _: Outcome(Driven(tensors, **more))


def copies(pair: LayerPair, probe: Probe) -> Tensors:
    return {name: array.copy() for name, array in pair.expected(probe).items()}


PLAIN = Probe("case", "float64", {}, {})


def test_a_trial_is_ok_where_no_row_is_wrong() -> None:
    rows = row_of("output", ok=True), row_of("grad_input of call 1"), row_of("grad_input of call 2"), row_of("bias")
    trial = Trial(PLAIN, {}, {}, {}, rows)
    assert not trial.ok
    assert trial.wrong() == {"grad_input", "bias"}
    assert Trial(PLAIN, {}, {}, {}, rows[:1]).ok
    assert Trial(PLAIN, {}, {}, {}, rows[:1]).wrong() == set()
    assert (trial.refused, trial.in_backward, trial.fatal, trial.ignores_gradient) == (False,) * 4
    assert trial.unjudged == ()


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        ("grad_input of call 2", "grad_input"),
        ("output of call 13", "output"),
        ("output", "output"),
        ("grad of call 1 after use", "grad of call 1 after use"),
        ("output of call x", "output of call x"),
    ],
)
def test_the_kind_of_a_tensor_is_its_name_without_the_call(tensor: str, kind: str) -> None:
    assert kind_of(tensor) == kind


def test_a_reader_looks_at_the_output_first_then_at_the_gradients_then_at_the_rest_by_name() -> None:
    kinds = ["output", "grad_input", "conv2.grad_weight", "grad_weight", "grad_bias", "a", "conv1.bias", "grad_other"]
    assert in_order(set(kinds)) == kinds


def test_no_answer_is_one_row_that_says_why() -> None:
    pair, probe = probe_of("linear", LINEAR, "float32")
    outcome = Outcome(None, "raised ValueError: no", "ValueError", refused=True, notes=("printed",), fatal=True)
    trial = try_probe(pair, probe, lambda _: outcome, lenient=True)
    (row,) = trial.rows
    assert (row.pair, row.case, row.dtype, row.tensor, row.problem) == (
        "linear",
        probe.case,
        "float32",
        "all tensors",
        "raised ValueError: no",
    )
    assert trial.probe is probe
    assert trial.got is None
    assert list(trial.expected) == list(pair.expected(probe))
    assert trial.bounds == {}
    assert (trial.problem, trial.error, trial.notes) == ("raised ValueError: no", "ValueError", ("printed",))
    assert (trial.refused, trial.in_backward, trial.fatal) == (True, False, True)
    late = try_probe(pair, probe, lambda _: Outcome(problem="raised", in_backward=True), lenient=True)
    assert (late.got, late.refused, late.in_backward, late.fatal) == (None, False, True, False)


@pytest.mark.parametrize("lenient", [False, True])
def test_a_right_answer_has_a_row_for_every_tensor(lenient: bool) -> None:
    pair, probe = probe_of("linear", LINEAR)
    asked: list[Probe] = []

    def answer(probe: Probe) -> Outcome:
        asked.append(probe)
        return Outcome(Driven(copies(pair, probe), updated=("weight",)), notes=("printed",))

    trial = try_probe(pair, probe, answer, lenient=lenient)
    assert asked == [probe]
    assert trial.probe is probe
    assert trial.ok
    assert [row.tensor for row in trial.rows] == list(trial.expected) == list(pair.expected(probe))
    assert trial.got is not None
    assert list(trial.got) == list(trial.expected)
    np.testing.assert_array_equal(trial.expected["output"], pair.expected(probe)["output"])
    np.testing.assert_array_equal(trial.bounds["output"], pair.bounds(probe)["output"])
    assert (trial.problem, trial.missing, trial.notes, trial.updated) == ("", (), ("printed",), ("weight",))
    assert (trial.error, trial.refused, trial.in_backward, trial.fatal) == ("", False, False, False)
    assert (trial.ignores_gradient, trial.unjudged) == (False, ())


def test_whether_a_backward_takes_no_upstream_gradient_is_known_of_its_trial() -> None:
    pair, probe = probe_of("linear", LINEAR)
    for lenient in (False, True):
        trial = try_probe(pair, probe, gives(copies(pair, probe), ignores_gradient=True), lenient=lenient)
        assert trial.ignores_gradient
        assert trial.ok


class NoNumbers(LayerPair):
    """Its bound of one gradient is no number; its reference of another is none."""

    def bounds(self, probe: Probe, got: Tensors | None = None) -> Tensors:
        found = dict(super().bounds(probe, got))
        return found | {"grad_weight": np.full_like(found["grad_weight"], np.nan)}

    def expected(self, probe: Probe, got: Tensors | None = None) -> Tensors:
        found = dict(super().expected(probe, got))
        return found | {"grad_bias": np.full_like(found["grad_bias"], np.inf)}


def test_what_our_side_cannot_judge_is_no_row_of_foreign_code() -> None:
    own, probe = probe_of("linear", LINEAR)
    fields = {field.name: getattr(own, field.name) for field in dataclasses.fields(own)}
    pair = NoNumbers(**fields)
    given = {name: array + 1e-9 for name, array in own.expected(probe).items()}
    trial = try_probe(pair, probe, gives(given), lenient=True)
    assert {row.tensor for row in trial.unjudged} == {"grad_weight", "grad_bias"}
    assert all(row.unjudged and not row.ok for row in trial.unjudged)
    assert {row.tensor for row in trial.rows} == given.keys() - {"grad_weight", "grad_bias"}
    assert trial.wrong() >= {"output", "grad_input"}
    right = try_probe(pair, probe, gives(copies(own, probe) | {"grad_weight": given["grad_weight"]}), lenient=True)
    assert right.ok
    assert {row.tensor for row in right.unjudged} == {"grad_weight", "grad_bias"}
    # Our own code has no excuse.
    strict = try_probe(pair, probe, gives(given), lenient=False)
    assert strict.unjudged == ()
    assert {row.tensor for row in strict.rows if row.unjudged} == {"grad_weight", "grad_bias"}
    assert strict.wrong() >= {"grad_weight", "grad_bias"}


def test_how_much_a_random_layer_keeps_is_compared_too() -> None:
    pair, probe = probe_of("dropout", Case((20, 30), {"p": 0.25}))
    trial = try_probe(pair, probe, gives(pair.drive(scratch.Dropout, probe)), lenient=False)
    assert trial.ok
    assert trial.got is not None
    assert trial.got["share kept"] == pytest.approx(np.mean(trial.got["output"] != 0))
    assert trial.expected["share kept"] == pytest.approx(0.75)
    assert trial.bounds["share kept"] == pytest.approx(6 * math.sqrt(0.75 * 0.25 / 600))
    assert "share kept" in [row.tensor for row in trial.rows]
    np.testing.assert_allclose(trial.expected["output"], trial.got["output"])  # of the same mask


def test_a_gradient_taken_from_an_update_is_known_to_fewer_digits() -> None:
    pair, probe = probe_of("linear", LINEAR)
    trial = try_probe(pair, probe, gives(copies(pair, probe), recovered=("weight", "bias")), lenient=False)
    plain, right = pair.bounds(probe), pair.expected(probe)
    for name in plain:
        more: float | Array = 0.0
        if name in ("grad_weight", "grad_bias"):
            weight = np.abs(probe.state[name.removeprefix("grad_")])
            more = 4 * 2.0**-53 * (weight + RATE * np.abs(right[name])) / RATE
        np.testing.assert_allclose(trial.bounds[name], plain[name] + more, rtol=1e-14)


@pytest.mark.parametrize("calls", [0, 1, 3])
@pytest.mark.parametrize(("parameter", "gradient"), [("bias", "grad_bias"), ("fc.1.bias", "fc.1.grad_bias")])
def test_each_call_rounds_what_an_update_changes(
    parameter: str, gradient: str, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RATE", 0.25)
    probe = Probe(
        "case",
        "float32",
        {},
        {parameter: np.array([3.0, -1.0])},
        tuple(Call((np.ones(1),), np.ones(1)) for _ in range(calls)),
    )
    allowed = {gradient: np.array([2.0**-20, 2.0**-18]), "output": np.ones(1)}
    reference = {gradient: np.array([-2.0, 8.0])}
    found = module._of_updates(parameter, probe, allowed, reference)
    # (w - w') / lr rounds |w| + lr·|g|, 3 + 0.5 and 1 + 2, in units of 2⁻²⁴; without a call it counts as one.
    more = max(calls, 1) * 4 * 2.0**-24 * np.array([3.5, 3.0]) / 0.25
    assert list(found) == [gradient]
    np.testing.assert_array_equal(found[gradient], allowed[gradient] + more)


def test_code_that_is_right_and_less_accurate_is_right_with_a_remark() -> None:
    pair, probe = probe_of("log_softmax", Case((4, 3), {"dim": 1}, "large"))
    right, wider = pair.expected(probe), pair.wider_bounds(probe)
    assert wider is not None
    assert (wider["output"] > pair.bounds(probe)["output"]).any()
    off = {name: array.copy() for name, array in right.items()}
    off["output"] += 0.9 * wider["output"]
    less = try_probe(pair, probe, gives(off), lenient=True)
    assert (less.ok, less.notes) == (True, (LESS_ACCURATE,))
    np.testing.assert_array_equal(less.bounds["output"], wider["output"])
    strict = try_probe(pair, probe, gives(off), lenient=False)
    assert (strict.ok, strict.notes) == (False, ())
    off["output"] += 1.2 * wider["output"]
    wrong = try_probe(pair, probe, gives(off), lenient=True)
    assert (wrong.ok, wrong.notes) == (False, ())
    np.testing.assert_array_equal(wrong.bounds["output"], pair.bounds(probe)["output"])
    linear, probe = probe_of("linear", LINEAR)
    assert linear.wider_bounds(probe) is None


def test_another_float_type_is_converted_and_noted_for_foreign_code_only() -> None:
    pair, probe = probe_of("linear", LINEAR)
    narrow = {name: array.astype(np.float32) for name, array in copies(pair, probe).items()}
    trial = try_probe(pair, probe, gives(narrow), lenient=True)
    assert trial.got is not None
    assert {str(array.dtype) for array in trial.got.values()} == {"float64"}
    assert trial.notes == ("float32 for float64",)
    strict = try_probe(pair, probe, gives(narrow), lenient=False)
    assert strict.notes == ()
    assert {row.problem for row in strict.rows} == {"dtype float32 instead of float64"}


def test_only_floats_become_other_floats() -> None:
    got: Tensors = {
        "half": np.ones(2, np.float16),
        "single": np.ones(2, np.float32),
        "single too": np.ones(2, np.float32),
        "double": np.ones(2),
        "whole": np.ones(2, np.int64),
        "counted": np.ones(2),
        "extra": np.ones(2, np.float32),
    }
    reference: Tensors = {name: np.zeros(2) for name in got if name != "extra"} | {"counted": np.zeros(2, np.int64)}
    converted, notes = module._same_floats(got, reference)
    assert list(converted) == list(got)
    assert notes == ["float16 for float64", "float32 for float64"]
    changed = {name for name, array in converted.items() if array is not got[name]}
    assert changed == {"half", "single", "single too"}
    for name in changed:
        assert converted[name].dtype == np.float64
        assert converted[name].tolist() == [1.0, 1.0]


def test_what_foreign_code_does_not_provide_is_missing_unless_it_is_an_output() -> None:
    pair, probe = probe_of("linear", LINEAR)
    got = copies(pair, probe)
    for name in ("output", "grad_bias", "grad_input"):
        del got[name]
    trial = try_probe(pair, probe, gives(got), lenient=True)
    assert trial.missing == ("grad_input", "grad_bias")
    present = [name for name in pair.expected(probe) if name not in trial.missing]
    assert list(trial.expected) == [row.tensor for row in trial.rows] == present
    assert [(row.tensor, row.problem) for row in trial.rows if not row.ok] == [("output", "not provided")]
    strict = try_probe(pair, probe, gives(got), lenient=False)
    assert strict.missing == ()
    assert [row.tensor for row in strict.rows if not row.ok] == ["output", "grad_input", "grad_bias"]


def off_by(pair: LayerPair, probe: Probe, share: float) -> Tensors:
    """The right tensors with an output off by that share of its greatest bound, everywhere."""
    right = copies(pair, probe)
    return right | {"output": right["output"] + share * pair.bounds(probe)["output"].max()}


def test_errors_that_lie_everywhere_pass_where_a_transform_may_have_made_them() -> None:
    pair, probe = probe_of("linear", LINEAR)
    near = off_by(pair, probe, 1.5)  # log2 of twice its 12 inputs is 4.6
    assert try_probe(pair, probe, gives(near), lenient=True).ok
    assert try_probe(pair, probe, gives(near), lenient=False).wrong() == {"output"}
    assert try_probe(pair, probe, gives(off_by(pair, probe, 5.0)), lenient=True).wrong() == {"output"}


def test_a_layer_whose_bound_is_measured_may_be_a_transform_too() -> None:
    pair = likeness(nn.Sequential(nn.Linear(3, 2), nn.Tanh())).pair
    assert isinstance(pair, LayerPair)
    probe = pair.probe(Case((4, 3)), "float64", np.random.default_rng(0))
    near = copies(pair, probe)
    far = near["output"].copy()
    far[::2] += 1.5 * pair.bounds(probe)["output"].max()
    far[1::2] += 0.5 * pair.bounds(probe)["output"].max()
    assert try_probe(pair, probe, gives(near | {"output": far}), lenient=True).ok
    assert not try_probe(pair, probe, gives(near | {"output": far}), lenient=False).ok


def test_a_layer_that_only_chooses_has_no_errors_of_a_transform() -> None:
    pair, probe = probe_of("maxpool2d", Case((2, 3, 4, 4), {"kernel_size": 2}))
    right = copies(pair, probe)
    near = right | {"output": np.nextafter(right["output"], np.inf)}
    assert try_probe(pair, probe, gives(near), lenient=True).wrong() == {"output"}


def judged(
    error: Sequence[float],
    allowed: Sequence[float],
    *,
    reference: Sequence[float] | None = None,
    inputs: Sequence[int] = (16,),
    dtype: str = "float64",
) -> Row:
    """A wrong row after a look at how its errors lie."""
    right = np.zeros(len(error)) if reference is None else np.array(reference)
    probe = Probe("case", dtype, {}, {}, tuple(Call((np.zeros(size),), np.zeros(1)) for size in inputs))
    row = Row("pair", "case", "output", dtype, right.shape, 1.0, 1.0, 0.5, 2.0, (0,), "too far")
    return module._normwise(row, {"output": right + error}, {"output": right}, {"output": np.array(allowed)}, probe)


@pytest.mark.parametrize(
    ("elements", "inputs", "logarithm"),
    [
        (4, (16,), 5),  # log2 of twice the 16
        (4, (2, 16, 8), 5),  # of the largest call
        (16, (4,), 5),  # of the tensor itself
        (1, (1,), 2),  # 2 numbers at least
        (4, (), 3),
    ],
)
def test_in_place_of_the_bound_of_an_element_stands_the_greatest_for_each_doubling(
    elements: int, inputs: tuple[int, ...], logarithm: int
) -> None:
    allowed = [0.5] * (elements - 1) + [1.0]
    passed = judged([logarithm] * elements, allowed, inputs=inputs)
    assert (passed.problem, passed.bound, passed.budget) == ("", logarithm, 1.0)
    assert not judged([logarithm + 1e-9] * elements, allowed, inputs=inputs).ok


def test_a_passed_row_says_how_much_of_its_bound_is_used() -> None:
    passed = judged([2.5, -2.5, 2.5, 1.0], [0.25, 0.5, 1.0, 0.5])
    assert (passed.problem, passed.bound, passed.budget) == ("", 5.0, 0.5)


def test_a_few_roundings_of_the_greatest_element_may_be_off_in_one_place_only() -> None:
    reference = [1.0, -16.0, 2.0, 4.0]
    floor = 4.0 * 5 * 2.0**-24 * 16  # λ·log2(2·16) roundings of 16, in float32
    passed = judged([floor, 0, 0, 0], [0.0] * 4, reference=reference, dtype="float32")
    assert (passed.problem, passed.bound, passed.budget) == ("", floor, 1.0)
    assert not judged([1.001 * floor, 0, 0, 0], [0.0] * 4, reference=reference, dtype="float32").ok
    assert not judged([1.001 * floor] * 4, [0.0] * 4, reference=reference, dtype="float32").ok
    small = [number / 64 for number in reference]
    assert not judged([floor / 63, 0, 0, 0], [0.0] * 4, reference=small, dtype="float32").ok
    assert judged([floor / 65, 0, 0, 0], [0.0] * 4, reference=small, dtype="float32").ok


@pytest.mark.parametrize(
    ("error", "everywhere"),
    [
        ([1.0, 1.0, 0.0, 0.0], True),  # half of the elements
        ([1.0, 0.0, 0.0, 0.0], False),
        ([1.0, 1.0, 0.0, 0.0, 0.0], False),
        ([64.0, 1.0, 1.0, 0.5], True),
        ([64.5, 1.0, 1.0, 0.5], False),
        ([-64.0, -1.0, -1.0, -0.5], True),
        ([0.5, -64.5, 1.0, 1.0], False),
    ],
)
def test_the_errors_of_a_transform_lie_everywhere_and_are_of_one_size(error: list[float], everywhere: bool) -> None:
    assert judged(error, [100.0] * len(error)).ok is everywhere


def test_errors_above_what_is_allowed_anywhere_are_no_transform() -> None:
    assert not judged([5.5, 1.0, 1.0, 1.0], [1.0] * 4).ok


def test_only_a_wrong_row_of_finite_numbers_that_were_computed_is_looked_at_again() -> None:
    right = np.zeros(4)
    near, probe = right + 1.0, Probe("case", "float64", {}, {})
    wrong = Row("pair", "case", "output", "float64", (4,), 1.0, 1.0, 0.5, 2.0, (0,), "too far")

    def again(row: Row) -> Row:
        return module._normwise(row, {row.tensor: near}, {row.tensor: right}, {row.tensor: right + 1.0}, probe)

    assert again(wrong).ok
    for row in (
        replace(wrong, problem=""),
        replace(wrong, max_abs=math.inf),
        replace(wrong, max_abs=math.nan),
        replace(wrong, tensor="weight after use"),
    ):
        assert again(row) is row


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], False),
        ([row_of("output", ok=True, bound=3.0)], False),
        ([row_of("output", ok=True, bound=3.5)], True),
        ([row_of("output", ok=False, bound=3.5)], False),
        ([row_of("output", ok=True, bound=3.5, worst=None)], False),
        ([row_of("share kept", ok=True, bound=3.5)], False),  # without a bound of its own
        ([row_of("output", ok=True, bound=2.0), row_of("output", ok=True, bound=3.5)], True),
    ],
    ids=["no row", "at its bound", "above", "wrong", "not compared", "not bounded", "one of two"],
)
def test_a_row_that_passes_above_its_own_bound_is_remarked(rows: list[Row], said: bool) -> None:
    trial = Trial(PLAIN, {}, {}, {"output": np.array([1.0, 3.0])}, tuple(rows))
    assert remarks_on_rows([trial]) == ([NORMWISE] if said else [])


def test_no_trials_leave_nothing_to_remark() -> None:
    assert remarks_on_rows([]) == []
