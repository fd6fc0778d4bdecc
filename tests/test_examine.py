"""From what a candidate answers to a verdict: what is tried, what is refused, what is remarked, and what is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import nn

import scratch
from compare.diagnosis import examine as module
from compare.diagnosis.coverage import Refusal
from compare.diagnosis.examine import Answer, examine, own_answer
from compare.diagnosis.explaining.replay import RAISED
from compare.diagnosis.likeness import Likeness, likeness
from compare.diagnosis.trial import NORMWISE, Trial, kind_of
from compare.driving.answering import Outcome
from compare.driving.tensors import Driven, Tensors
from compare.pairs.cases import Case
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
    """Without those kinds of tensors, in whatever call."""
    return lambda right, _: {name: array for name, array in right.items() if kind_of(name) not in names}


def doubled(name: str, *, from_images: int = 1) -> Callable[[Tensors, Probe], Tensors]:
    """That tensor is twice what it should be where there are so many images."""

    def change(right: Tensors, probe: Probe) -> Tensors:
        many = len(probe.calls[0].inputs[0]) >= from_images
        return right | {name: 2 * right[name]} if many and name in right else right

    return change


def lacks(what: str, error: str = "UnsupportedError") -> Outcome:
    return Outcome(problem=f"raised {error}: {what}", error=error)


def refuses(what: str, error: str = "ValueError") -> Outcome:
    """A refusal of the code's own."""
    return Outcome(problem=f"raised {error}: {what}", error=error, refused=True)


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
        assert (result.problem, result.outcome) == ("", "right")
        assert set(result.coverage.shares) == {"output", "grad_input", "grad_weight", "grad_bias"}
        assert set(result.coverage.shares.values()) == {1.0}
        assert (result.coverage.inputs, result.coverage.missed, result.coverage.gaps) == (len(probes), (), ())


GRADIENTS = ("grad_input", "grad_weight", "grad_bias")


def test_what_is_not_provided_is_wrong_in_our_own_code_and_said_of_other_code(
    linear: Likeness, probes: list[Probe]
) -> None:
    answer = gives(linear, without(*GRADIENTS, "bias after use"))
    theirs = examine(linear, "theirs", answer, probes, lenient=True)
    assert theirs.outcome == "right"
    assert theirs.missing == GRADIENTS
    assert theirs.remarks == ()
    assert theirs.coverage.shares == {"output": 1.0}
    assert theirs.coverage.gaps == ("backward (not provided)",)
    ours = examine(linear, "ours", answer, probes, with_example=False)
    assert ours.outcome == "wrong"
    assert {kind for finding in ours.findings for kind in finding.kinds} == {*GRADIENTS, "bias after use"}
    assert (ours.missing, ours.remarks) == ((), ())


def test_a_layer_without_the_gradient_of_its_input_is_right_and_that_is_said(
    linear: Likeness, probes: list[Probe]
) -> None:
    theirs = examine(linear, "theirs", gives(linear, without("grad_input")), probes, lenient=True)
    assert (theirs.outcome, theirs.missing) == ("right", ("grad_input",))
    assert theirs.coverage.gaps == ("grad_input (not provided)",)


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (["grad_weight"], "its grad_weight could not be found; say where it is (--grad OWN=weight)"),
        (["grad_bias"], "its grad_bias could not be found; say where it is (--grad OWN=bias)"),
        (["grad_input", "grad_bias"], "its grad_bias could not be found; say where it is (--grad OWN=bias)"),
        (
            ["grad_weight", "grad_bias"],
            "its grad_weight, grad_bias could not be found; say where it is (--grad OWN=weight)",
        ),
    ],
)
def test_a_lost_gradient_of_a_weight_is_not_judged_with_the_option_to_add(
    linear: Likeness, probes: list[Probe], lost: list[str], said: str
) -> None:
    result = examine(linear, "theirs", gives(linear, without(*lost)), probes, lenient=True)
    assert (result.outcome, result.problem) == ("not_judged", said)
    assert result.coverage.gaps == (f"{', '.join(lost)} (not provided)",)
    assert result.findings == ()
    # What is wrong besides is wrong.
    wrong = gives(linear, lambda right, probe: doubled("output")(without(*lost)(right, probe), probe))
    assert examine(linear, "theirs", wrong, probes, lenient=True, with_example=False).outcome == "wrong"


# ---- what is refused


def test_a_gradient_that_is_there_on_some_inputs_only_is_not_judged(linear: Likeness, probes: list[Probe]) -> None:
    def answer(probe: Probe) -> Outcome:
        return gives(linear, without("grad_weight") if probe is probes[1] else lambda right, _: right)(probe)

    result = examine(linear, "theirs", answer, probes, lenient=True)
    assert (result.outcome, result.missing) == ("not_judged", ())
    of = f"{len(probes) - 1} of {len(probes)} inputs"
    assert result.problem == (
        f"there is a grad_weight on {of} only; there is none on [{probes[1].case}, {probes[1].dtype}]"
    )


def test_options_that_foreign_code_has_not_are_left_out(linear: Likeness) -> None:
    assert isinstance(linear.pair, LayerPair)
    with_bias, free = (Case((4, 3), OPTIONS | {"bias": bias}) for bias in (True, False))
    cases = (with_bias, free, replace(free, values="zeros"), replace(with_bias, shape=(6, 3)))
    compared = replace(linear, pair=replace(linear.pair, cases=cases))
    probes = list(compared.pair.examined())
    lacking = [probe for probe in probes if not probe.options["bias"]]
    asked: list[Probe] = []

    def answer(probe: Probe) -> Outcome:
        asked.append(probe)
        return lacks("bias=False (always)") if probe in lacking else gives(compared)(probe)

    result = examine(compared, "theirs", answer, probes, lenient=True)
    assert result.outcome == "right"
    assert [trial.probe for trial in result.trials] == [probe for probe in probes if probe not in lacking]
    assert result.remarks == ()
    assert [probe for probe in asked if probe in lacking] == lacking[:1]  # the options say the same of the others
    ours = examine(compared, "ours", answer, probes)
    assert [trial.probe for trial in ours.trials] == probes
    assert (ours.outcome, ours.remarks) == ("wrong", ())


def test_code_of_our_own_is_right_on_however_few_kinds_of_input_it_was_tried(linear: Likeness) -> None:
    assert isinstance(linear.pair, LayerPair)
    compared = replace(linear, pair=replace(linear.pair, cases=(Case((4, 3), OPTIONS),)))
    probe = next(compared.pair.examined())
    gap = Refusal(replace(probe, options={"stride": (1, 2)}), "two sizes", (), ("output",))
    ours = examine(compared, "ours", gives(compared), [probe], refusals=[gap])
    assert (ours.outcome, ours.coverage.enough) == ("right", False)


def test_an_option_that_it_has_not_gets_its_default_and_is_said(linear: Likeness) -> None:
    assert isinstance(linear.pair, LayerPair)
    plain = Case((4, 3), OPTIONS)
    free = Case((5, 3), OPTIONS | {"bias": False})
    compared = replace(linear, pair=replace(linear.pair, cases=(plain, free)))
    probes = list(compared.pair.examined())[:2]

    def answer(probe: Probe) -> Outcome:
        return gives(compared)(probe) if probe.options.get("bias", True) else lacks("bias=False (always)")

    result = examine(compared, "theirs", answer, probes, lenient=True)
    assert result.outcome == "right"
    assert [(trial.probe.options.get("bias"), len(trial.probe.calls[0].inputs[0])) for trial in result.trials] == [
        (None, 4),
        (True, 5),
    ]
    assert result.coverage.gaps == ("bias=False (it has no such argument)",)
    assert result.remarks == ()


def test_of_an_option_that_it_has_not_ordinary_numbers_are_enough(linear: Likeness) -> None:
    assert isinstance(linear.pair, LayerPair)
    kinds = ("zeros", "normal", "large")
    free = [Case((5, 3), OPTIONS | {"bias": False}, values) for values in kinds]
    compared = replace(linear, pair=replace(linear.pair, cases=(Case((4, 3), OPTIONS), *free)))
    probes = list(compared.pair.examined())[:4]
    asked: list[Probe] = []

    def answer(probe: Probe) -> Outcome:
        asked.append(probe)
        return gives(compared)(probe) if probe.options.get("bias", True) else lacks("bias=False (always)")

    result = examine(compared, "theirs", answer, probes, lenient=True)
    assert [probe for probe in asked if probe in probes] == probes[:2]
    assert [trial.probe.case for trial in result.trials] == [
        probes[0].case,
        "in_features=3, out_features=2, bias=True | 5x3 normal",
    ]
    assert result.outcome == "right"


def at_most(images: int, compared: Likeness, asked: list[Probe]) -> Answer:
    """Right code that refuses more images."""

    def answer(probe: Probe) -> Outcome:
        asked.append(probe)
        if len(probe.calls[0].inputs[0]) > images:
            return refuses(f"{images} images")
        return gives(compared)(probe)

    return answer


def test_what_is_refused_is_drawn_again_to_fit_and_what_fitted_is_tried_first(
    linear: Likeness, probes: list[Probe]
) -> None:
    asked: list[Probe] = []
    result = examine(linear, "theirs", at_most(5, linear, asked), probes, lenient=True)
    assert [(*trial.probe.calls[0].inputs[0].shape, trial.probe.layout) for trial in result.trials] == [
        (4, 3, "contiguous"),
        (5, 3, "contiguous"),
        (1, 3, "contiguous"),
        (1, 3, "contiguous"),
        (1, 3, "fortran"),
        (1, 3, "contiguous"),
    ]
    assert [len(probe.calls[0].inputs[0]) for probe in asked] == [4, 5, 6, 1, 7, 1, 8, 1, 9, 1]
    assert {probe.calls[0].inputs[0].shape[1:] for probe in asked} == {(3,)}  # rows have no channels to leave out
    assert result.outcome == "right"
    assert result.remarks == (f"it refuses 4 inputs: it raised ValueError: 5 images, first on [{probes[2].case}]",)
    assert result.coverage.inputs == 6


def test_what_is_refused_in_our_own_code_is_wrong(linear: Likeness, probes: list[Probe]) -> None:
    asked: list[Probe] = []
    result = examine(linear, "ours", at_most(5, linear, asked), probes)
    assert asked == probes
    assert (result.outcome, result.remarks) == ("wrong", ())


def test_an_input_that_fits_several_refused_ones_is_tried_once(linear: Likeness) -> None:
    assert isinstance(linear.pair, LayerPair)
    cases = (Case((1, 3), OPTIONS), *(Case((n, 3), OPTIONS) for n in (4, 5, 6)))
    compared = replace(linear, pair=replace(linear.pair, cases=cases))
    probes = list(compared.pair.examined())[: len(cases)]
    asked: list[Probe] = []
    result = examine(compared, "theirs", at_most(1, compared, asked), probes, lenient=True)
    # One row, which all the others are drawn again as, is among the inputs already.
    assert [trial.probe.calls[0].inputs[0].shape for trial in result.trials] == [(1, 3)]
    assert [probe.calls[0].inputs[0].shape for probe in asked] == [(1, 3), (4, 3), (5, 3), (6, 3)]
    assert "first on" in result.remarks[0]
    assert "refuses 3 inputs" in result.remarks[0]


def test_a_refusal_that_nothing_fits_is_given_up_at_once_the_next_time(linear: Likeness, probes: list[Probe]) -> None:
    asked: list[Probe] = []

    def answer(probe: Probe) -> Outcome:
        asked.append(probe)
        return gives(linear)(probe) if probe is probes[0] else refuses("never")

    result = examine(linear, "theirs", answer, probes, lenient=True)
    assert len(asked) == len(probes) + 1  # one row, of the first that it refuses
    assert [trial.probe for trial in result.trials] == probes[:1]


def test_what_breaks_is_wrong_and_not_drawn_again(linear: Likeness, probes: list[Probe]) -> None:
    asked: list[Probe] = []

    def answer(probe: Probe) -> Outcome:
        asked.append(probe)
        return lacks("6 is out of bounds", "IndexError") if probe is probes[2] else gives(linear)(probe)

    result = examine(linear, "theirs", answer, probes, lenient=True)
    assert asked == probes
    assert [finding.kinds for finding in result.findings] == [(RAISED,)]
    assert (result.outcome, result.remarks) == ("wrong", ())


@pytest.mark.parametrize(
    ("refused", "more"),
    [(1, ""), (3, ""), (4, " and 1 more"), (5, " and 2 more")],
)
def test_three_reasons_are_given_at_most_each_with_its_first_input(
    refused: int, more: str, linear: Likeness, probes: list[Probe]
) -> None:
    def answer(probe: Probe) -> Outcome:
        number = probes.index(probe) if probe in probes else refused - 1
        return refuses(f"no {number}") if number < refused else gives(linear)(probe)

    few = "; ".join(f"raised ValueError: no {n}, first on [{probes[n].case}]" for n in range(min(refused, 3)))
    inputs = "1 input" if refused == 1 else f"{refused} inputs"
    assert examine(linear, "theirs", answer, probes, lenient=True).remarks == (f"it refuses {inputs}: it {few}{more}",)


# ---- too little to judge


@pytest.mark.parametrize("wrong", [False, True])
def test_where_too_little_was_compared_right_code_is_not_judged_and_wrong_code_is_wrong(
    wrong: bool, linear: Likeness, probes: list[Probe]
) -> None:
    def answer(probe: Probe) -> Outcome:
        if len(probe.calls[0].inputs[0]) > 1:
            return refuses("one at a time")
        return gives(linear, doubled("output") if wrong else lambda right, _: right)(probe)

    result = examine(linear, "theirs", answer, probes, lenient=True, with_example=False)
    assert result.coverage.share == 0.0
    assert result.coverage.missed == ("batches",)
    if wrong:
        assert (result.outcome, result.problem) == ("wrong", "")
        return
    assert result.outcome == "not_judged"
    assert (
        result.problem
        == "too little could be compared: 0% of the kinds of input that it could be given; missing: batches"
    )
    assert result.findings == ()
    assert result.trials != ()


def test_what_is_known_not_to_be_taken_and_not_compared_counts_too(linear: Likeness, probes: list[Probe]) -> None:
    wide = Refusal(replace(probes[0], options={"stride": (1, 2)}), "two sizes", (), ("output",))
    result = examine(
        linear, "theirs", gives(linear), probes, lenient=True, refusals=[wide], gaps=["a bias"], layout="a row"
    )
    assert result.coverage.shares["output"] == 0.5
    assert result.outcome == "not_judged"
    assert "50%" in result.problem
    assert "stride of two numbers" in result.problem
    assert (result.coverage.layout, result.coverage.gaps) == ("a row", ("a bias",))
    assert result.remarks == ("it refuses 1 input: it two sizes, first on [" + probes[0].case + "]",)


def test_options_that_are_never_set_are_named(linear: Likeness) -> None:
    class Wider(nn.Linear):
        def __init__(self, in_features: int, out_features: int, bias: bool = True, groups: int = 1) -> None:
            super().__init__(in_features, out_features, bias)
            self.groups = groups

    assert isinstance(linear.pair, LayerPair)
    compared = replace(linear, pair=replace(linear.pair, torch=Wider))
    result = examine(compared, "theirs", gives(compared), list(compared.pair.examined())[:2], lenient=True)
    assert result.outcome == "right"
    assert result.coverage.gaps == ("groups (not tried)",)


def test_where_there_is_no_output_at_all_it_is_not_judged(linear: Likeness, probes: list[Probe]) -> None:
    broken = lacks("shapes (4,3) and (4,) not aligned")
    broken = replace(broken, error="ValueError", problem="raised ValueError: shapes (4,3) and (4,) not aligned")
    result = examine(linear, "theirs", lambda _: broken, probes, lenient=True)
    assert (result.outcome, result.findings, result.example) == ("not_judged", (), None)
    assert result.problem == (
        "there is no output on any input: raised ValueError: shapes (4,3) and (4,) not aligned, first on "
        f"[{probes[0].case}]; is it meant to be like something else (--like), or called in another way "
        "(--forward, --layout)?"
    )
    assert len(result.trials) == len(probes)
    assert (result.coverage.inputs, result.coverage.enough) == (0, False)
    ours = examine(linear, "ours", lambda _: broken, probes)
    assert ours.outcome == "wrong"


def test_one_output_is_enough_to_call_the_rest_wrong(linear: Likeness, probes: list[Probe]) -> None:
    def answer(probe: Probe) -> Outcome:
        return gives(linear)(probe) if probe is probes[-1] else lacks("3 is out of bounds", "IndexError")

    result = examine(linear, "theirs", answer, probes, lenient=True)
    assert (result.outcome, result.problem) == ("wrong", "")
    assert [finding.kinds for finding in result.findings] == [(RAISED,)]


@pytest.mark.parametrize("lenient", [False, True])
def test_an_error_in_backward_is_wrong_even_if_it_comes_every_time(
    lenient: bool, linear: Likeness, probes: list[Probe]
) -> None:
    broken = Outcome(problem="raised TypeError: no x", error="TypeError", in_backward=True)
    result = examine(linear, "theirs", lambda _: broken, probes, lenient=lenient)
    assert (result.outcome, result.problem) == ("wrong", "")
    assert [finding.kinds for finding in result.findings] == [(RAISED,)]


# ---- what could not be judged


def test_tensors_that_cannot_be_judged_are_listed_and_the_rest_decides(linear: Likeness, probes: list[Probe]) -> None:
    huge = np.full((4, 3), 1e308)
    odd = replace(probes[0], calls=(replace(probes[0].calls[0], inputs=(huge,)),), case="odd")
    state = {**odd.state, "weight": np.full((2, 3), 1e3)}
    odd = replace(odd, state=state)  # its output is infinite, and so is the gradient of a weight
    result = examine(linear, "theirs", gives(linear), [odd, *probes[1:]], lenient=True)
    assert result.outcome == "right"
    (remark,) = result.remarks
    assert remark == (
        "2 tensors could not be judged: output [odd, float64]: the reference is inf at [0, 0]; "
        "grad_weight [odd, float64]: the reference is inf at [1, 0]"
    )
    assert {row.tensor for row in result.trials[0].unjudged} == {"output", "grad_weight"}
    assert not {"output", "grad_weight"} & {row.tensor for row in result.trials[0].rows}
    assert {"grad_input", "grad_bias"} < {row.tensor for row in result.trials[0].rows}
    ours = examine(linear, "ours", gives(linear), [odd, *probes[1:]], with_example=False)
    assert ours.outcome == "wrong"
    wrong = examine(
        linear, "theirs", gives(linear, doubled("grad_bias")), [odd, *probes[1:]], lenient=True, with_example=False
    )
    assert wrong.outcome == "wrong"
    assert [finding.kinds for finding in wrong.findings] == [("grad_bias",)]


def test_three_tensors_that_cannot_be_judged_are_named_at_most(
    linear: Likeness, probes: list[Probe], monkeypatch: pytest.MonkeyPatch
) -> None:
    def tried(_pair: object, probe: Probe, _answer: Answer, *, lenient: bool) -> Trial:
        assert lenient
        rows = [
            Row("linear", probe.case, name, "float64", (1,), 0.0, 0.0, 1.0, 0.0, (0,), "too wide" * (name != "output"))
            for name in ("output", "grad_input", "grad_bias")
        ]
        return Trial(probe, {}, {row.tensor: np.ones(1) for row in rows}, {}, (rows[0],), unjudged=tuple(rows[1:]))

    monkeypatch.setattr(module, "try_probe", tried)
    (remark,) = examine(linear, "theirs", gives(linear), probes[:2], lenient=True).remarks
    first, second = (f"[{probe.case}, float64]: too wide" for probe in probes[:2])
    assert remark == (
        f"4 tensors could not be judged: grad_input {first}; grad_bias {first}; grad_input {second}; and 1 more"
    )
    result = examine(linear, "theirs", gives(linear), probes[:2], lenient=True)
    assert result.coverage.shares == {"output": 1.0, "grad_input": 0.0, "grad_bias": 0.0}
    assert result.outcome == "not_judged"  # nothing is known of its gradients


# ---- a backward without an upstream gradient


@pytest.fixture(scope="module")
def relu() -> Likeness:
    found = likeness("relu")
    assert isinstance(found.pair, LayerPair)
    cases = (Case((4, 3)), Case((5, 3), values="integers"), Case((2, 3, 4, 5)), Case((3, 3), calls=2))
    return replace(found, pair=replace(found.pair, cases=cases), build=None)


def derivative(compared: Likeness, *, ignores: bool = True, factor: float = 1.0) -> Answer:
    """A ReLU whose backward returns its derivative alone."""

    def answer(probe: Probe) -> Outcome:
        right = {name: array.copy() for name, array in compared.pair.expected(probe).items()}
        for number, call in enumerate(probe.calls, 1):
            name = "grad_input" if len(probe.calls) == 1 else f"grad_input of call {number}"
            right[name] = factor * (call.inputs[0] > 0).astype(probe.dtype)
        return Outcome(Driven(right, ignores_gradient=ignores))

    return answer


def test_a_backward_that_takes_no_upstream_gradient_is_named_so(relu: Likeness) -> None:
    probes = list(relu.pair.examined())
    result = examine(relu, "theirs", derivative(relu), probes, lenient=True)
    assert result.outcome == "wrong"
    (finding,) = result.findings
    assert (finding.name, finding.kinds, finding.also) == ("upstream-gradient-not-taken", ("grad_input",), ())
    assert finding.made.startswith("backward takes no upstream gradient")
    assert finding.evidence == "multiplied by the upstream gradient, it is right on every input"
    assert not finding.catalogued
    assert result.name == "upstream-gradient-not-taken"


@pytest.mark.parametrize("answer", ["it takes one", "another mistake", "another shape"])
def test_a_backward_that_is_wrong_in_another_way_is_not_named_so(relu: Likeness, answer: str) -> None:
    def of_another_shape(probe: Probe) -> Outcome:
        given: Driven = derivative(relu)(probe).value
        return Outcome(
            replace(given, tensors={n: a.T if kind_of(n) == "grad_input" else a for n, a in given.tensors.items()})
        )

    answers = {
        "it takes one": derivative(relu, ignores=False),
        "another mistake": derivative(relu, factor=1.001),
        "another shape": of_another_shape,
    }
    probes = list(relu.pair.examined())
    result = examine(relu, "theirs", answers[answer], probes, lenient=True, with_example=False)
    assert result.outcome == "wrong"
    assert [finding.kinds for finding in result.findings] == [("grad_input",)]
    assert "upstream-gradient-not-taken" not in {finding.name for finding in result.findings}


def test_one_input_on_which_it_is_wrong_in_another_way_too_is_enough_not_to_be_named_so(relu: Likeness) -> None:
    probes = list(relu.pair.examined())

    def answer(probe: Probe) -> Outcome:
        return derivative(relu, factor=1.5 if probe is probes[2] else 1.0)(probe)

    result = examine(relu, "theirs", answer, probes, lenient=True, with_example=False)
    assert [finding.kinds for finding in result.findings] == [("grad_input",)]
    assert result.name != "upstream-gradient-not-taken"


def test_other_mistakes_beside_it_keep_their_own_words(relu: Likeness) -> None:
    def answer(probe: Probe) -> Outcome:
        given: Driven = derivative(relu)(probe).value
        return Outcome(
            replace(given, tensors={n: 3 * a if kind_of(n) == "output" else a for n, a in given.tensors.items()})
        )

    probes = [probe for probe in relu.pair.examined() if len(probe.calls) == 1]
    result = examine(relu, "theirs", answer, probes, lenient=True, with_example=False)
    assert [(finding.kinds, finding.name) for finding in result.findings] == [
        (("output",), "factor"),
        (("grad_input",), "upstream-gradient-not-taken"),
    ]


# ---- and the rest


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
    assert nothing.outcome == "not_judged"
    assert (nothing.candidate, nothing.like, nothing.findings, nothing.example) == ("theirs", "linear", (), None)
    refused = examine(linear, "theirs", lambda _: refuses("only images"), probes, lenient=True)
    assert (refused.outcome, refused.trials) == ("not_judged", ())
    assert refused.problem == "it refuses every input: it raised ValueError: only images"
    said = f"it refuses 6 inputs: it raised ValueError: only images, first on [{probes[0].case}]"
    assert refused.remarks == (said,)


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
    assert (result.candidate, result.like, result.outcome) == ("theirs", "linear", "wrong")


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
    result = examine(linear, "theirs", lambda _: lacks("no", "RuntimeError"), probes[:2])
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
    ("problem", "error", "words", "options"),
    [
        ("raised UnsupportedError: padding=2 (only 0 (zero))", "UnsupportedError", "padding=2", ("padding",)),
        ("raised UnsupportedError: padding=2", "UnsupportedError", "padding=2", ("padding",)),
        (
            "raised UnsupportedError: padding=2, stride=(1, 2)",
            "UnsupportedError",
            "padding=2, stride=(1, 2)",
            ("padding", "stride"),
        ),
        ("raised UnsupportedError: zeros= bias=", "UnsupportedError", "zeros= bias=", ("bias",)),  # zeros is none
        ("not supported", "UnsupportedError", "not supported", ()),
        ("raised UndrivableError: Mine: no a=3 (name it)", "UndrivableError", "Mine: no a=3", ()),
        ("raised LayoutError: three axes", "LayoutError", "three axes", ()),
        ("raised ConversionError: text", "ConversionError", "text", ()),
        ("raised ValueError: no (really)", "ValueError", "raised ValueError: no (really)", ()),
        ("raised MyError: UnsupportedError: x=1", "MyError", "raised MyError: UnsupportedError: x=1", ()),
    ],
)
def test_what_is_not_taken_is_said_in_a_few_words(
    problem: str, error: str, words: str, options: tuple[str, ...]
) -> None:
    asked = trial_of(problem, error, options={"padding": 2, "stride": (1, 2), "bias": True})
    trial = replace(asked, expected={"output": np.zeros(1), "grad_input": np.zeros(1)})
    assert module._refusal(trial) == Refusal(trial.probe, words, options, ("output", "grad_input"))


PAIR, EQUAL = {"kernel_size": (2, 1), "stride": 1}, {"kernel_size": (2, 2), "stride": 1, "padding": (0,)}


@pytest.mark.parametrize(
    ("trial", "refused"),
    [
        (trial_of(error="UnsupportedError"), True),
        (trial_of(error="UndrivableError"), True),
        (trial_of(error="LayoutError"), True),
        (trial_of(error="ConversionError"), True),
        (trial_of(error="ValueError", refused=True), True),
        (trial_of(error="ValueError"), False),
        (trial_of(error="UnsupportedError", fatal=True), False),
        (trial_of(error="ValueError", refused=True, fatal=True), False),
        (replace(trial_of(error="UnsupportedError", refused=True), got={}), False),
        # Whether it takes pairs of sizes is found out before: what breaks on one breaks.
        (trial_of(error="TypeError", options=PAIR), False),
        (trial_of(error="TypeError", options=EQUAL), False),
        (trial_of(error="TypeError"), False),
        (trial_of(error="ValueError", options=PAIR), False),
        (trial_of(error="UnsupportedError", options=EQUAL), True),
    ],
    ids=lambda value: f"{value.error} {value.probe.options}" if isinstance(value, Trial) else str(value),
)
def test_a_case_is_refused_by_the_code_itself_or_where_it_cannot_be_driven(trial: Trial, refused: bool) -> None:
    assert module._is_refused(trial) is refused
