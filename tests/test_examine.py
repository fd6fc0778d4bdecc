"""From what a candidate answers to a verdict: what is tried, what is left out, what is remarked, and what is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import scratch
from compare.diagnosis import examine as module
from compare.diagnosis.driving.sandbox import Outcome
from compare.diagnosis.examine import Answer, examine, own_answer
from compare.diagnosis.explaining.replay import RAISED
from compare.diagnosis.likeness import Likeness, likeness
from compare.diagnosis.trial import NORMWISE, Driven, Trial
from compare.pairs.cases import Case
from compare.pairs.observe import Tensors
from compare.pairs.optimizers import draw_steps
from compare.pairs.pair import LayerPair
from compare.pairs.probe import Probe
from compare.pairs.registry import MODELS
from compare.pairs.report import Row

OPTIONS = {"in_features": 3, "out_features": 2}
CASES = (
    Case((4, 3), OPTIONS),
    Case((5, 3), OPTIONS, "zeros"),
    Case((6, 3), OPTIONS, "large"),
    Case((7, 3), OPTIONS, calls=2),
    Case((8, 3), OPTIONS, layout="fortran"),
    Case((9, 3), OPTIONS, "integers"),
)


@pytest.fixture(scope="module")
def linear() -> Likeness:
    """A linear layer on few cases, without mistakes to replay: what is wrong is described by its form."""
    found = likeness("linear")
    assert isinstance(found.pair, LayerPair)
    return replace(found, pair=replace(found.pair, cases=CASES), build=None)


@pytest.fixture(scope="module")
def probes(linear: Likeness) -> list[Probe]:
    """The cases in float64."""
    return list(linear.pair.examined())[: len(CASES)]


def gives(compared: Likeness, change: Callable[[Tensors, Probe], Tensors] = lambda right, _: right) -> Answer:
    """Answers with the right tensors after `change(tensors, probe)`."""

    def answer(probe: Probe) -> Outcome:
        right = {name: array.copy() for name, array in compared.pair.expected(probe).items()}
        return Outcome(Driven(change(right, probe)))

    return answer


def without(*names: str) -> Callable[[Tensors, Probe], Tensors]:
    return lambda right, _: {name: array for name, array in right.items() if name not in names}


def doubled(name: str, *, from_images: int = 1) -> Callable[[Tensors, Probe], Tensors]:
    """That tensor is twice what it should be where there are so many images."""

    def change(right: Tensors, probe: Probe) -> Tensors:
        many = len(probe.calls[0].inputs[0]) >= from_images
        return right | {name: 2 * right[name]} if many and name in right else right

    return change


def refuses(what: str, error: str = "UnsupportedError") -> Outcome:
    return Outcome(problem=f"raised {error}: {what}", error=error)


def same(a: Probe, b: Probe) -> bool:
    return str([a.case, a.dtype, a.state, a.calls, a.gradients]) == str(
        [b.case, b.dtype, b.state, b.calls, b.gradients]
    )


def test_a_layer_is_tried_on_every_case_in_float64_and_on_the_usual_numbers_in_float32(linear: Likeness) -> None:
    found = list(linear.pair.examined())
    narrow = [CASES[0], CASES[2], CASES[3], CASES[4]]
    assert [(probe.case, probe.dtype) for probe in found] == [
        *((case.name, "float64") for case in CASES),
        *((case.name, "float32") for case in narrow),
    ]
    assert isinstance(linear.pair, LayerPair)
    assert same(found[1], linear.pair.probe(CASES[1], "float64", np.random.default_rng([0, 1])))
    assert same(found[7], linear.pair.probe(CASES[2], "float32", np.random.default_rng([0, 2])))
    assert same(list(linear.pair.examined(5))[1], linear.pair.probe(CASES[1], "float64", np.random.default_rng([5, 1])))
    assert not same(found[1], list(linear.pair.examined(5))[1])


def test_an_optimizer_and_a_model_are_tried_on_everything_in_both_types() -> None:
    adam, cnn = likeness("adam"), likeness("cnn")
    assert not isinstance(adam.pair, LayerPair)
    steps = list(adam.pair.examined())
    assert [probe.dtype for probe in steps] == ["float64"] * 6 + ["float32"] * 6
    assert same(steps[7], draw_steps({"lr": 0.05, "betas": (0.5, 0.75)}, "float32", np.random.default_rng([0, 1])))
    images = list(cnn.pair.examined(3))
    assert [probe.dtype for probe in images] == ["float64", "float32"]
    assert cnn.pair is MODELS["cnn"]
    assert same(images[1], MODELS["cnn"].probe("float32", np.random.default_rng(3)))


def test_code_of_our_own_is_driven_in_this_process(linear: Likeness, probes: list[Probe]) -> None:
    outcome = own_answer(linear, scratch.Linear)(probes[0])
    right = linear.pair.expected(probes[0])
    assert (outcome.problem, outcome.error) == ("", "")
    assert set(outcome.value.tensors) == set(right)
    for name, array in right.items():
        np.testing.assert_allclose(outcome.value.tensors[name], array, rtol=1e-12)


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit("no")])
def test_whatever_code_of_our_own_raises_is_its_answer(
    error: BaseException, linear: Likeness, probes: list[Probe]
) -> None:
    def broken(**_: Any) -> scratch.Module:
        raise error

    outcome = own_answer(linear, broken)(probes[0])
    name = type(error).__name__
    assert outcome == Outcome(None, f"raised {name}: no", name)


def test_a_right_candidate_leaves_nothing_to_say(linear: Likeness, probes: list[Probe]) -> None:
    for lenient in (False, True):
        result = examine(linear, "theirs", gives(linear), probes, lenient=lenient)
        assert result.ok
        assert (result.candidate, result.like) == ("theirs", "linear")
        assert [trial.probe for trial in result.trials] == probes
        assert (result.findings, result.example, result.missing, result.remarks) == ((), None, (), ())
        assert (result.problem, result.left_out) == ("", 0)


def test_what_is_not_provided_is_wrong_in_our_own_code_and_remarked_in_other_code(
    linear: Likeness, probes: list[Probe]
) -> None:
    answer = gives(linear, without("grad_bias", "grad_weight", "bias after use"))
    theirs = examine(linear, "theirs", answer, probes, lenient=True)
    assert theirs.ok
    assert theirs.missing == ("grad_weight", "grad_bias")
    assert theirs.remarks == ("not provided, and so not compared: grad_weight, grad_bias",)
    ours = examine(linear, "ours", answer, probes, with_example=False)
    assert not ours.ok
    assert {kind for finding in ours.findings for kind in finding.kinds} == {
        "grad_weight",
        "grad_bias",
        "bias after use",
    }
    assert (ours.missing, ours.remarks) == ((), ())


def test_inputs_that_foreign_code_does_not_take_are_left_out(linear: Likeness, probes: list[Probe]) -> None:
    def answer(probe: Probe) -> Outcome:
        return refuses("p=1 (only 0)") if probe in probes[1:4] else gives(linear)(probe)

    result = examine(linear, "theirs", answer, probes, lenient=True)
    assert result.ok
    assert [trial.probe for trial in result.trials] == [probes[0], *probes[4:]]
    assert result.left_out == 3
    assert result.remarks == ("left out 3 of 6 inputs that it does not take: p=1",)
    ours = examine(linear, "ours", answer, probes)
    assert [trial.probe for trial in ours.trials] == probes
    assert (ours.ok, ours.left_out, ours.remarks) == (False, 0, ())


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        (4, "left out 4 of 6 inputs that it does not take: p=0; p=1; p=2; p=3"),
        (5, "left out 5 of 6 inputs that it does not take: p=0; p=1; p=2; p=3 and 1 more"),
    ],
)
def test_four_reasons_are_given_at_most(refused: int, said: str, linear: Likeness, probes: list[Probe]) -> None:
    def answer(probe: Probe) -> Outcome:
        number = probes.index(probe)
        return refuses(f"p={number}") if number < refused else gives(linear)(probe)

    assert examine(linear, "theirs", answer, probes, lenient=True).remarks == (said,)


def test_after_a_fatal_answer_nothing_more_is_asked(linear: Likeness, probes: list[Probe]) -> None:
    asked: list[Probe] = []

    def answer(probe: Probe) -> Outcome:
        asked.append(probe)
        return Outcome(problem="it crashed", fatal=True) if len(asked) == 2 else gives(linear)(probe)

    result = examine(linear, "theirs", answer, probes)
    assert asked == probes[:2] == [trial.probe for trial in result.trials]
    assert not result.ok


def in_type(dtype: str) -> Callable[[Tensors, Probe], Tensors]:
    return lambda right, _: {name: array.astype(dtype) for name, array in right.items()}


def test_foreign_code_that_computes_in_float32_is_judged_in_float32(linear: Likeness) -> None:
    probes = list(linear.pair.examined())
    silent = probes[1]
    narrow = gives(linear, in_type("float32"))

    def answer(probe: Probe) -> Outcome:
        return Outcome(problem="it crashed", error="MemoryError") if probe is silent else narrow(probe)

    result = examine(linear, "theirs", answer, probes, lenient=True)
    # What gave no answer in float64 stays: it says nothing about the type.
    assert [trial.probe for trial in result.trials] == [silent, *probes[len(CASES) :]]
    assert result.remarks == ("it computes in float32, and is judged in float32",)
    assert [finding.kinds for finding in result.findings] == [(RAISED,)]
    ours = examine(linear, "ours", narrow, probes, with_example=False)
    assert len(ours.trials) == len(probes)
    assert (ours.ok, ours.remarks) == (False, ())


def test_foreign_code_that_computes_in_float64_is_judged_as_it_is_asked(linear: Likeness) -> None:
    probes = list(linear.pair.examined())
    result = examine(linear, "theirs", gives(linear, in_type("float64")), probes, lenient=True)
    assert len(result.trials) == len(probes)
    assert result.remarks == ()


def test_what_else_was_noticed_is_remarked_once_and_in_order(linear: Likeness, probes: list[Probe]) -> None:
    def answer(probe: Probe) -> Outcome:
        notes = ("it prints", "it changes a seed") if probe is not probes[0] else ("it prints",)
        return replace(gives(linear)(probe), notes=notes)

    for lenient in (False, True):
        result = examine(linear, "theirs", answer, probes, lenient=lenient)
        assert result.remarks == ("it changes a seed", "it prints")


def test_errors_of_another_algorithm_are_remarked(linear: Likeness, probes: list[Probe]) -> None:
    def change(right: Tensors, probe: Probe) -> Tensors:
        if "output" not in right:
            return right
        return right | {"output": right["output"] + 1.5 * linear.pair.bounds(probe)["output"].max()}

    result = examine(linear, "theirs", gives(linear, change), probes[:1], lenient=True)
    assert result.ok
    assert result.remarks == (NORMWISE,)


def test_where_nothing_was_compared_the_verdict_says_so(linear: Likeness, probes: list[Probe]) -> None:
    nothing = examine(linear, "theirs", gives(linear), [])
    assert (nothing.ok, nothing.problem, nothing.trials) == (False, "nothing was compared", ())
    assert (nothing.candidate, nothing.like, nothing.findings, nothing.example) == ("theirs", "linear", (), None)
    refused = examine(linear, "theirs", lambda _: refuses("p=1 (only 0)"), probes, lenient=True)
    assert (refused.ok, refused.problem) == (False, "nothing was compared: p=1 is not taken")
    assert refused.remarks == ("left out 6 of 6 inputs that it does not take: p=1",)


def test_one_answer_with_something_to_compare_is_enough(
    linear: Likeness, probes: list[Probe], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Row("linear", "case", "output", "float64", (1,), 0.0, 0.0, 1.0, 0.0, (0,))

    def tried(_pair: object, probe: Probe, _answer: Answer, *, lenient: bool) -> Trial:
        assert lenient
        if probe is probes[0]:  # foreign code may provide nothing of what is looked at
            return Trial(probe, {}, {}, {}, (), missing=("weight",), notes=("it prints",))
        return Trial(probe, {"weight": np.ones(1)}, {}, {}, (row,))

    monkeypatch.setattr(module, "try_probe", tried)
    empty = examine(linear, "theirs", gives(linear), probes[:1], lenient=True)
    assert (empty.ok, empty.problem, empty.missing) == (False, "nothing was compared", ("weight",))
    assert (empty.remarks, len(empty.trials)) == (("it prints",), 1)
    result = examine(linear, "theirs", gives(linear), probes[:2], lenient=True)
    assert (result.ok, result.problem, result.missing) == (True, "", ())
    assert len(result.trials) == 2


def test_what_is_wrong_on_one_input_only_is_a_finding_with_an_example(linear: Likeness, probes: list[Probe]) -> None:
    answer = gives(linear, doubled("grad_weight", from_images=9))
    result = examine(linear, "theirs", answer, probes)
    assert [trial.ok for trial in result.trials] == [True] * 5 + [False]
    assert [(finding.kinds, finding.made) for finding in result.findings] == [
        (("grad_weight",), "It is 2 times what it should be.")
    ]
    assert result.example is not None
    assert result.example.tensor == "grad_weight"
    assert result.example.given["input"].shape == (9, 3)  # no small one is wrong
    assert (result.candidate, result.like, result.left_out) == ("theirs", "linear", 0)


def test_the_example_is_looked_for_among_small_inputs_of_as_many_images_as_it_takes(
    linear: Likeness, probes: list[Probe]
) -> None:
    def shape(**options: Any) -> tuple[int, ...] | None:
        answer = gives(linear, doubled("output", from_images=2))
        example = examine(linear, "theirs", answer, probes, **options).example
        return None if example is None else example.given["input"].shape

    assert shape() == (2, 2)
    assert shape(lenient=True) == (2, 2)
    assert shape(one_image=True) == (4, 3)  # of one image no small one is wrong
    assert shape(with_example=False) is None


def test_the_example_is_one_of_the_first_finding(linear: Likeness, probes: list[Probe]) -> None:
    def change(right: Tensors, probe: Probe) -> Tensors:
        return doubled("grad_bias")(doubled("grad_input")(right, probe), probe)

    result = examine(linear, "theirs", gives(linear, change), probes[:1])
    assert [kind for finding in result.findings for kind in finding.kinds] == ["grad_input", "grad_bias"]
    assert result.example is not None
    assert result.example.tensor == "grad_input"


def test_small_inputs_are_tried_as_leniently_as_the_others(linear: Likeness, probes: list[Probe]) -> None:
    def change(right: Tensors, probe: Probe) -> Tensors:
        narrow = in_type("float32")(right, probe)
        # In float32 a small input is right; only a wrong type could be found there.
        return doubled("output")(narrow, probe) if probe.case == probes[0].case else narrow

    narrow = [probe for probe in linear.pair.examined() if probe.dtype == "float32"]
    result = examine(linear, "theirs", gives(linear, change), [probes[0], *narrow], lenient=True)
    assert result.example is not None
    assert result.example.given["input"].shape == (4, 3)


def test_no_answer_has_no_example(linear: Likeness, probes: list[Probe]) -> None:
    result = examine(linear, "theirs", lambda _: refuses("no", "RuntimeError"), probes[:2])
    assert [finding.kinds for finding in result.findings] == [(RAISED,)]
    assert result.example is None


def test_a_model_has_no_example(monkeypatch: pytest.MonkeyPatch) -> None:
    model = replace(likeness("cnn"), build=None)
    right: Tensors = {"logits": np.array([[1.0, 2.0]])}
    wrong: Tensors = {"logits": np.array([[2.0, 4.0]])}
    row = Row("cnn", "case", "logits", "float64", (1, 2), 2.0, 2.0, 0.0, np.inf, (0, 1), "too far")

    asked: list[Probe] = []

    def tried(_pair: object, probe: Probe, _answer: Answer, *, lenient: bool) -> Trial:
        assert not lenient
        asked.append(probe)
        return Trial(probe, wrong, right, {"logits": np.zeros((1, 2))}, (row,))

    monkeypatch.setattr(module, "try_probe", tried)
    probes = list(model.pair.examined())[:1]
    result = examine(model, "theirs", gives(model), probes)
    assert [finding.kinds for finding in result.findings] == [("logits",)]
    assert result.example is None
    assert asked == probes  # nobody can follow a whole model by hand: no smaller one is looked for


def trial_of(problem: str = "", error: str = "", *, options: dict[str, Any] | None = None, **more: Any) -> Trial:
    return Trial(Probe("2x3 normal", "float64", options or {}, {}), None, {}, {}, (), problem, error=error, **more)


@pytest.mark.parametrize(
    ("problem", "error", "said"),
    [
        ("raised UnsupportedError: padding=2 (only 0 (zero))", "UnsupportedError", "padding=2"),
        ("raised UnsupportedError: padding=2", "UnsupportedError", "padding=2"),
        ("not supported", "UnsupportedError", "not supported"),
        ("raised ValueError: no (really)", "ValueError", "[2x3 normal], which raised ValueError: no (really)"),
        ("raised MyError: UnsupportedError: x", "MyError", "[2x3 normal], which raised MyError: UnsupportedError: x"),
    ],
)
def test_what_is_not_taken_is_said_in_a_few_words(problem: str, error: str, said: str) -> None:
    assert module._not_taken(trial_of(problem, error)) == said


PAIR, EQUAL = {"kernel_size": (2, 1), "stride": 1}, {"kernel_size": (2, 2), "stride": 1, "padding": (0,)}


@pytest.mark.parametrize(
    ("trial", "unsupported"),
    [
        (trial_of(error="UnsupportedError"), True),
        (trial_of(error="ValueError", refused=True), True),
        (trial_of(error="ValueError"), False),
        (trial_of(error="UnsupportedError", fatal=True), False),
        (trial_of(error="ValueError", refused=True, fatal=True), False),
        (replace(trial_of(error="UnsupportedError", refused=True), got={}), False),
        (trial_of(error="TypeError", options=PAIR), True),
        (trial_of(error="TypeError", options=EQUAL), False),
        (trial_of(error="TypeError"), False),
        (trial_of(error="ValueError", options=PAIR), False),
        (trial_of(error="UnsupportedError", options=EQUAL), True),
    ],
    ids=lambda value: f"{value.error} {value.probe.options}" if isinstance(value, Trial) else str(value),
)
def test_a_case_is_not_supported_where_it_is_refused_or_a_pair_of_sizes(trial: Trial, unsupported: bool) -> None:
    assert module._is_unsupported(trial, trial.probe) is unsupported
