"""The smallest input that shows a mistake: which small cases are tried, on which numbers, and what is left of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import nn

import scratch
from compare.diagnosis.examine import own_answer
from compare.diagnosis.explaining import shrink
from compare.diagnosis.explaining.replay import RAISED
from compare.diagnosis.explaining.shrink import Example, smallest
from compare.diagnosis.likeness import likeness
from compare.diagnosis.trial import Trial, try_probe
from compare.driving.answering import Outcome
from compare.driving.tensors import Call, Tensors
from compare.pairs.bounds import exact
from compare.pairs.cases import Case
from compare.pairs.pair import LayerPair, Pair, _with_tie
from compare.pairs.probe import Probe
from compare.pairs.registry import MODELS, REGISTRY
from compare.pairs.report import Row
from scratch import Array

SIZES = ("in_channels", "out_channels", "in_features", "out_features", "num_features")  # shapes tell them


def row(tensor: str, *, ok: bool = False, worst: tuple[int, ...] | None = (0,)) -> Row:
    return Row("pair", "case", tensor, "float64", (), 1.0, 1.0, 0.0, math.inf, worst, "" if ok else "too far")


def trial_of(probe: Probe, *rows: Row, got: Tensors | None = None, expected: Tensors | None = None) -> Trial:
    return Trial(probe, got, {} if expected is None else expected, {}, rows)


def probe_of(*calls: Call, state: Tensors | None = None, options: dict[str, Any] | None = None) -> Probe:
    return Probe("case", "float64", options or {}, state or {}, calls)


def call_of(given: Sequence[Any], grad_output: Sequence[Any]) -> Call:
    return Call((np.array(given),), np.array(grad_output))


def never(probe: Probe) -> Trial:
    raise AssertionError(f"nothing is to be tried, but {probe.case} was")


def all_tried(pair: Pair, *, one_image: bool = False) -> list[Probe]:
    """Every probe that is tried on a candidate that is right on all of them."""
    tried: list[Probe] = []

    def attempt(probe: Probe) -> Trial:
        tried.append(probe)
        return trial_of(probe, row("output", ok=True), got={})

    assert smallest(pair, "output", attempt, [], one_image=one_image) is None
    return tried


def configured(module: nn.Module, input_shape: tuple[int, ...] | None = None) -> LayerPair:
    """The pair of one torch module."""
    pair = likeness(module, input_shape).pair
    assert isinstance(pair, LayerPair)
    return pair


def with_small(module: Callable[..., nn.Module], *small: Case) -> LayerPair:
    """A pair of which nothing matters but its small cases."""
    return LayerPair("mine", scratch.ReLU, module, exact, (), small=small)


def by_sizes(*shape: int) -> str:
    return "x".join(map(str, shape)) or "scalar"


def in_words(probe: Probe) -> str:
    """What goes in and what comes out, call by call, and the options that these shapes leave open."""
    calls = [f"{by_sizes(*call.inputs[0].shape)} -> {by_sizes(*call.grad_output.shape)}" for call in probe.calls]
    options = [f"{name}={value}" for name, value in probe.options.items() if name not in SIZES]
    return ", ".join(["; ".join(calls), *options])


SMALL_CASES = {
    "conv2d": [
        "1x1x3x3 -> 1x1x1x1, kernel_size=3",
        "1x1x3x3 -> 1x1x2x2, kernel_size=2",
        "1x1x2x2 -> 1x1x2x2, kernel_size=3, padding=1",
        "1x1x3x3 -> 1x1x3x3, kernel_size=3, padding=1",
        "1x1x4x4 -> 1x1x2x2, kernel_size=2, stride=2",
        "2x1x2x2 -> 2x1x1x1, kernel_size=2",
        "1x2x2x2 -> 1x1x1x1, kernel_size=2",
        "1x1x2x2 -> 1x2x1x1, kernel_size=2",
        "1x2x2x2 -> 1x2x1x1, kernel_size=2",
        "1x1x3x3 -> 1x1x2x3, kernel_size=(2, 1)",
        "1x1x4x4 -> 1x1x2x3, kernel_size=2, stride=(2, 1)",
        "1x1x3x3 -> 1x1x3x1, kernel_size=3, padding=(1, 0)",
        "1x1x2x2 -> 1x1x1x1; 1x1x2x2 -> 1x1x1x1, kernel_size=2",
        "2x1x2x2 -> 2x1x1x1; 1x1x2x2 -> 1x1x1x1, kernel_size=2",
    ],
    "maxpool2d": [
        "1x1x2x2 -> 1x1x1x1, kernel_size=2",
        "1x1x3x3 -> 1x1x1x1, kernel_size=2",
        "1x1x3x3 -> 1x1x2x2, kernel_size=2, stride=1",
        "1x1x4x4 -> 1x1x2x2, kernel_size=2",
        "1x1x3x3 -> 1x1x2x2, kernel_size=3, stride=2, padding=1",
        "1x1x2x4 -> 1x1x2x2, kernel_size=(1, 2)",
        "2x1x2x2 -> 2x1x1x1; 1x1x2x2 -> 1x1x1x1, kernel_size=2",
    ],
    "linear": [
        "1x2 -> 1x1",
        "1x2 -> 1x2",
        "1x3 -> 1x2",
        "2x2 -> 2x2",
        "2x2 -> 2x2; 1x2 -> 1x2",
    ],
    "relu": ["1x3 -> 1x3", "1x1x2x2 -> 1x1x2x2", "1x3 -> 1x3; 1x3 -> 1x3"],
    "flatten": ["1x1x1x2 -> 1x2", "1x2x1x2 -> 1x4", "1x1x2x2 -> 1x4", "2x2x2x2 -> 2x8"],
    "softmax": ["1x2 -> 1x2, dim=1", "2x2 -> 2x2, dim=1", "2x2 -> 2x2, dim=0"],
    "log_softmax": ["1x2 -> 1x2, dim=1", "2x2 -> 2x2, dim=1", "2x2 -> 2x2, dim=0"],
    "cross_entropy": [
        "1x2 -> scalar, reduction=mean",
        "2x2 -> scalar, reduction=mean",
        "2x3 -> scalar, reduction=mean",
        "2x2 -> scalar, reduction=sum",
        "2x2 -> scalar; 1x2 -> scalar, reduction=mean",
    ],
    "batchnorm2d": [
        "2x1x1x1 -> 2x1x1x1",
        "3x1x1x1 -> 3x1x1x1",
        "1x1x2x2 -> 1x1x2x2",
        "2x2x1x2 -> 2x2x1x2",
        "3x1x1x1 -> 3x1x1x1; 2x1x1x1 -> 2x1x1x1",
    ],
    "dropout": [],  # no numbers that one could follow: what it leaves out is drawn
}


@pytest.mark.parametrize("one_image", [False, True], ids=["any number of images", "one image at a time"])
@pytest.mark.parametrize("kind", SMALL_CASES)
def test_small_cases_are_tried_from_the_smallest_up_each_with_three_draws(kind: str, one_image: bool) -> None:
    wanted = [words for words in SMALL_CASES[kind] if words.startswith("1x") or not one_image]
    tried = all_tried(REGISTRY[kind], one_image=one_image)
    assert [in_words(probe) for probe in tried] == [words for words in wanted for _ in range(3)]
    assert {probe.dtype for probe in tried} <= {"float64"}


def test_every_draw_has_other_numbers_and_the_same_ones_the_next_time() -> None:
    first, again = all_tried(REGISTRY["linear"]), all_tried(REGISTRY["linear"])
    of_one_case = {str([probe.state, probe.calls]) for probe in first[:3]}
    assert len(of_one_case) == 3
    assert [str([p.state, p.calls]) for p in first] == [str([p.state, p.calls]) for p in again]


def test_a_configured_module_is_tried_on_one_image_of_each_shape_then_on_two_calls() -> None:
    # Of 16, 120, 288 and 432 numbers: as sorted by themselves, the second one would be the last.
    shapes = [(1, 1, 4, 4), (3, 2, 5, 4), (2, 3, 8, 6), (2, 3, 9, 8)]
    pair = configured(nn.ReLU())
    assert {case.shape for case in pair.cases} == set(shapes)
    assert len(pair.cases) > len(shapes)  # other values, layouts and calls make no small case
    alone = [by_sizes(1, *shape[1:]) for shape in shapes]
    wanted = [*(f"{words} -> {words}" for words in alone), "3x2x5x4 -> 3x2x5x4; 2x2x5x4 -> 2x2x5x4"]
    assert [in_words(probe) for probe in all_tried(pair)] == [words for words in wanted for _ in range(3)]


def test_a_configured_module_that_takes_one_image_is_tried_on_one() -> None:
    pair = configured(nn.ReLU()).for_one_image()
    assert pair is not None
    tried = all_tried(pair, one_image=True)
    shapes = {probe.calls[0].inputs[0].shape for probe in tried}
    assert shapes == {(1, 1, 4, 4), (1, 2, 5, 4), (1, 3, 8, 6), (1, 3, 9, 8)}
    assert {call.inputs[0].shape[0] for probe in tried for call in probe.calls} == {1}


def test_a_small_case_keeps_its_options() -> None:
    options = {"dim": 1}
    tried = all_tried(with_small(nn.Softmax, Case((1, 3), options), Case((2, 3), options, calls=2)))
    assert [in_words(probe) for probe in tried[::3]] == ["1x3 -> 1x3, dim=1", "2x3 -> 2x3; 1x3 -> 1x3, dim=1"]


def test_a_configured_module_keeps_its_options_in_every_case() -> None:
    pair = configured(nn.Softmax(0), (3,))
    tried = all_tried(pair)
    assert list(dict.fromkeys(map(in_words, tried))) == ["1x3 -> 1x3", "3x3 -> 3x3; 2x3 -> 2x3"]
    for probe in tried:
        assert probe.options == {}  # they are in the module itself
        sums = [right.sum(axis=0) for name, right in pair.expected(probe).items() if name.startswith("output")]
        assert len(sums) == len(probe.calls)
        np.testing.assert_allclose(sums, 1)


def test_a_case_that_the_reference_itself_refuses_is_passed_over() -> None:
    one_value = configured(nn.BatchNorm2d(2), (2, 1, 1))  # of one image it knows no variance
    assert [case.shape for case in one_value.small] == [(1, 2, 1, 1), (3, 2, 1, 1)]
    assert [in_words(probe) for probe in all_tried(one_value)] == 3 * ["3x2x1x1 -> 3x2x1x1; 2x2x1x1 -> 2x2x1x1"]
    no_such_shape = with_small(lambda: nn.Linear(4, 1), Case((1, 3)), Case((2, 3), calls=2))
    assert all_tried(no_such_shape) == []


@pytest.mark.parametrize("name", ["sgd", "adam", *MODELS])
def test_an_optimizer_and_a_model_have_no_small_case(name: str) -> None:
    for one_image in (False, True):
        assert list(REGISTRY[name].small_probes(one_image)) == []


def test_the_first_small_case_that_is_wrong_is_the_example() -> None:
    def attempt(probe: Probe) -> Trial:
        wrong = probe.calls[0].inputs[0].shape == (2, 2) and len(probe.calls) == 1
        return trial_of(probe, row("output", ok=not wrong), got={"output": np.ones(1)}, expected={"output": np.ones(1)})

    example = smallest(REGISTRY["linear"], "output", attempt, [], one_image=False)
    assert example is not None
    assert example.given["input"].shape == (2, 2)


def test_another_wrong_tensor_or_no_answer_makes_no_example() -> None:
    tried: list[Probe] = []

    def attempt(probe: Probe) -> Trial:
        tried.append(probe)
        if len(tried) % 2:
            return trial_of(probe, row("output"), row("grad_input", ok=True), got={})
        return replace(trial_of(probe, row("grad_input")), problem="ran out of time")

    assert smallest(REGISTRY["relu"], "grad_input", attempt, [], one_image=False) is None
    assert len(tried) == 3 * len(SMALL_CASES["relu"])


def test_where_no_small_case_is_wrong_the_smallest_of_the_wrong_trials_serves() -> None:
    targets = np.zeros(1, int)

    def tried(name: str, *sizes: int, ok: bool = False) -> Trial:
        calls = [Call((np.ones(size), targets), np.ones(())) for size in sizes]
        return trial_of(probe_of(*calls, options={"name": name}), row("output", ok=ok), got={})

    # 7 numbers in two calls are more than 6 in one.
    trials = [tried("in two calls", 4, 3), tried("in one call", 6), tried("large", 8), tried("right", 2, ok=True)]
    for order in (trials, trials[::-1]):
        example = smallest(REGISTRY["dropout"], "output", never, order, one_image=False)
        assert example is not None
        assert example.options == {"name": "in one call"}
    assert smallest(REGISTRY["dropout"], "output", never, [trials[-1]], one_image=False) is None
    assert smallest(REGISTRY["dropout"], "grad_input", never, trials, one_image=False) is None


def example_of(trial: Trial, kind: str) -> Example:
    """The example that is made of the only trial."""
    example = smallest(REGISTRY["dropout"], kind, never, [trial], one_image=False)
    assert example is not None
    return example


def test_an_example_holds_all_that_is_given_under_the_names_that_a_reader_expects() -> None:
    weight, x, targets, g = np.ones((2, 3)), np.ones((4, 3)), np.zeros(4, int), np.ones(4)
    right, wrong = np.zeros(4), np.ones(4)
    probe = probe_of(Call((x, targets), g), state={"weight": weight}, options={"reduction": "none"})
    trial = trial_of(
        probe,
        row("grad_weight"),
        row("output", ok=True),
        row("output"),
        got={"output": wrong},
        expected={"output": right},
    )
    example = example_of(trial, "output")
    assert list(example.given) == ["weight", "input", "targets", "grad_output"]
    assert all(a is b for a, b in zip(example.given.values(), (weight, x, targets, g), strict=True))
    assert (example.options, example.tensor, example.problem) == ({"reduction": "none"}, "output", "")
    assert example.expected is right
    assert example.got is wrong
    assert list(probe.state) == ["weight"]  # nothing was added to what is tried next


def test_the_example_of_several_calls_says_which_call_is_wrong() -> None:
    calls = [call_of([1.0, 2.0], [3.0]), call_of([4.0, 5.0, 6.0], [7.0])]
    tensors = {"output of call 1": np.zeros(1), "output of call 2": np.ones(2)}
    rows = row("output of call 1", ok=True), row("output of call 2")
    example = example_of(trial_of(probe_of(*calls), *rows, got=tensors, expected=tensors), "output")
    assert {name: array.tolist() for name, array in example.given.items()} == {
        "input of call 1": [1, 2],
        "grad_output of call 1": [3],
        "input of call 2": [4, 5, 6],
        "grad_output of call 2": [7],
    }
    assert example.tensor == "output of call 2"
    assert example.got is example.expected is tensors["output of call 2"]


def test_an_example_without_an_answer_says_why() -> None:
    trial = replace(
        trial_of(probe_of(call_of([1.0], [1.0])), row("all tensors", worst=None)), problem="raised an error"
    )
    example = example_of(trial, "all tensors")
    assert (example.tensor, example.expected, example.got, example.problem) == (
        "all tensors",
        None,
        None,
        "raised an error",
    )


def test_an_example_becomes_plain_values_for_json() -> None:
    example = Example(
        {"kernel_size": (2, 1), "sizes": [3, (4,)], "eps": math.inf, "p": 0.5, "bias": True, "mode": None, "n": 3},
        {"input": np.array([[1.5, np.nan], [-np.inf, 2]]), "targets": np.array([1, 0])},
        "output",
        None,
        np.asarray(np.nan),
        "why",
    )
    assert example.as_json() == {
        "options": {
            "kernel_size": [2, 1],
            "sizes": [3, [4]],
            "eps": "inf",
            "p": 0.5,
            "bias": True,
            "mode": None,
            "n": 3,
        },
        "given": {"input": [[1.5, "nan"], ["-inf", 2.0]], "targets": [1, 0]},
        "tensor": "output",
        "expected": None,
        "got": "nan",
        "problem": "why",
    }


def test_the_example_of_an_optimizer_is_one_number_step_by_step() -> None:
    weight, first, third = (np.arange(6.0).reshape(2, 3) + start for start in (1, 10, 20))
    probe = Probe(
        "case",
        "float64",
        {"lr": 0.1},
        {"bias": np.ones(2), "weight": weight},
        gradients=({"weight": first, "bias": np.ones(2)}, {"bias": np.ones(2)}, {"weight": third}),
    )
    right, wrong = weight * 100, weight * 1000
    rows = row("bias", worst=(1,)), row("weight", worst=(1, 2))
    trial = trial_of(probe, *rows, got={"weight": wrong}, expected={"weight": right})
    example = smallest(REGISTRY["sgd"], "weight", never, [trial], one_image=False)
    assert example is not None
    # Its last number is 6 at the start; the second step has no gradient for it.
    assert {name: array.tolist() for name, array in example.given.items()} == {
        "weight": 6,
        "gradient of step 1": 15,
        "gradient of step 3": 25,
    }
    assert all(array.shape == () for array in example.given.values())
    assert (example.options, example.tensor, example.problem) == ({"lr": 0.1}, "weight", "")
    assert (example.expected, example.got) == (np.asarray(600), np.asarray(6000))


def optimizer_trial(options: dict[str, Any], *rows: Row) -> Trial:
    arrays = {"weight": np.ones(2), "grad of weight after use": np.ones(2)}
    probe = Probe("case", "float64", options, {"weight": np.ones(2)}, gradients=({"weight": np.ones(2)},))
    return trial_of(probe, *rows, got=arrays, expected=arrays)


def unanswered(name: str) -> Trial:
    """The first probe of a pair, to which there is no answer."""
    pair = REGISTRY[name]
    trial = try_probe(pair, next(pair.probes("float64")), lambda _: Outcome(problem="raised an error"), lenient=False)
    assert trial.wrong() == {RAISED}
    return trial


def test_the_example_of_an_optimizer_is_the_wrong_trial_with_the_fewest_options() -> None:
    trials = [
        optimizer_trial({"lr": 1, "momentum": 2}, row("weight")),
        optimizer_trial({"lr": 3}, row("weight")),
        optimizer_trial({"lr": 4, "momentum": 5, "nesterov": 6}, row("weight")),
        optimizer_trial({}, row("weight", ok=True)),
    ]
    for order in (trials, trials[::-1]):
        example = smallest(REGISTRY["sgd"], "weight", never, order, one_image=False)
        assert example is not None
        assert example.options == {"lr": 3}


@pytest.mark.parametrize(
    ("kind", "trials"),
    [
        ("weight", []),
        ("weight", [optimizer_trial({}, row("weight", ok=True))]),
        ("weight", [optimizer_trial({}, row("weight", worst=None))]),
        ("weight", [unanswered("sgd")]),
        (RAISED, [unanswered("sgd")]),
        ("grad of weight after use", [optimizer_trial({}, row("grad of weight after use"))]),
    ],
    ids=["no trial", "none wrong", "nothing compared", "no answer", "the answer itself", "no parameter"],
)
def test_an_optimizer_without_a_wrong_number_has_no_example(kind: str, trials: list[Trial]) -> None:
    assert smallest(REGISTRY["sgd"], kind, never, trials, one_image=False) is None


def test_one_number_of_a_tensor_that_is_right_is_no_example() -> None:
    assert shrink._example(REGISTRY["sgd"], optimizer_trial({}, row("bias"), row("weight", ok=True)), "weight") is None
    assert shrink._example(REGISTRY["sgd"], optimizer_trial({}, row("weight"), row("bias", ok=True)), "bias") is None


def test_nobody_can_follow_a_whole_model() -> None:
    probe = probe_of(call_of([[1.0, 2.0]], [1.0]), state={"fc.bias": np.ones(2)})
    wrong: Tensors = {"logits": np.ones(2), "fc.bias": np.ones(2)}
    for kind in wrong:
        trial = trial_of(probe, row(kind), got=wrong, expected=wrong)
        assert smallest(REGISTRY["cnn"], kind, never, [trial], one_image=False) is None


def layer_pair(name: str) -> LayerPair:
    pair = REGISTRY[name]
    assert isinstance(pair, LayerPair)
    return pair


def numbers_in(array: Array) -> set[float]:
    return set(array.ravel().tolist())


def test_small_numbers_are_whole_of_both_signs_and_never_0() -> None:
    case = Case((40, 30), {"in_features": 30, "out_features": 50})
    probe = layer_pair("linear")._whole_numbers(case, 0)
    (call,) = probe.calls
    (x,) = call.inputs
    assert (probe.state["weight"].shape, x.shape, call.grad_output.shape) == ((50, 30), (40, 30), (40, 50))
    assert {str(array.dtype) for array in (*probe.state.values(), x, call.grad_output)} == {"float64"}
    assert numbers_in(probe.state["weight"]) == {-4, -3, -2, -1, 1, 2, 3, 4, 5}
    assert numbers_in(x.ravel()[1:]) == {*range(-5, 10)} - {0}
    assert x[0, 0] == 0
    assert x[-1, -1] == x[-1, -2]
    assert numbers_in(call.grad_output) == {-3, -2, -1, 1, 2, 3}
    # What is drawn as 0 counts as 1, which comes twice as often as any other number.
    counts = [np.sum(probe.state["weight"] == number) / 1500 for number in (1, 2, 3)]
    assert counts == pytest.approx([2 / 10, 1 / 10, 1 / 10], abs=0.04)


def test_a_small_variance_is_positive_and_what_is_counted_stays_as_it_is() -> None:
    case = Case((3, 200, 1, 1), {"num_features": 200}, calls=2)
    probe = layer_pair("batchnorm2d")._whole_numbers(case, 1)
    assert numbers_in(probe.state["running_var"]) == {1, 2, 3, 4, 5}
    assert numbers_in(probe.state["running_mean"]) == {-4, -3, -2, -1, 1, 2, 3, 4, 5}
    assert probe.state["num_batches_tracked"].dtype == np.int64
    for call, images in zip(probe.calls, (3, 2), strict=True):
        assert call.inputs[0].shape == call.grad_output.shape == (images, 200, 1, 1)
        assert call.inputs[0].ravel()[0] == 0
        assert numbers_in(call.grad_output) == {-3, -2, -1, 1, 2, 3}


def test_small_targets_are_classes() -> None:
    probe = layer_pair("cross_entropy")._whole_numbers(Case((50, 3), {"reduction": "mean"}), 0)
    scores, targets = probe.calls[0].inputs
    assert scores.shape == (50, 3)
    assert targets.dtype == np.int64
    assert numbers_in(targets) == {0, 1, 2}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([], []),
        ([7], [7]),
        ([3, 4], [4, 4]),
        ([1, 2, 3], [0, 3, 3]),
        ([1, 2, 3, 4], [0, 2, 4, 4]),
        ([[1, 2], [3, 4], [5, 6]], [[0, 2], [3, 4], [6, 6]]),
    ],
    ids=["empty", "one", "two", "three", "four", "rows"],
)
def test_an_input_has_a_tie_at_its_end_and_a_0_at_its_start(given: list[Any], wanted: list[Any]) -> None:
    before = np.array(given, float)
    assert _with_tie(before).tolist() == wanted
    assert before.tolist() == given


def wrong_where(condition: Callable[[Probe], bool], tried: list[Probe] | None = None) -> Callable[[Probe], Trial]:
    """An attempt on a candidate whose output is wrong where the condition holds."""

    def attempt(probe: Probe) -> Trial:
        if tried is not None:
            tried.append(probe)
        ones = {"output": np.ones(2)}
        return trial_of(probe, row("output", ok=not condition(probe)), got=ones, expected=ones)

    return attempt


PLAIN = probe_of(
    call_of([[1.0, 2.0, 3.0]], [[4.0, 5.0]]), state={"weight": np.array([[6.0, 7.0]]), "bias": np.array([8.0])}
)


def numbers_of(probe: Probe) -> list[Any]:
    """Weights, then upstream gradients, then inputs, as plain lists."""
    return [array.tolist() for array in (*probe.state.values(), *(call.grad_output for call in probe.calls))] + [
        call.inputs[0].tolist() for call in probe.calls
    ]


def test_every_number_becomes_0_that_the_mistake_does_not_need() -> None:
    tried: list[Probe] = []
    attempt = wrong_where(lambda _: True, tried)
    simple = shrink._simpler(attempt(PLAIN), "output", attempt)
    # One number alone stays, and of an upstream gradient the last one: of zeros nothing can be seen.
    assert numbers_of(simple.probe) == [[[0, 0]], [8], [[0, 5]], [[0, 0, 0]]]
    assert [numbers_of(probe) for probe in tried[1:]] == [
        [[[0, 7]], [8], [[4, 5]], [[1, 2, 3]]],
        [[[0, 0]], [8], [[4, 5]], [[1, 2, 3]]],
        [[[0, 0]], [8], [[0, 5]], [[1, 2, 3]]],
        [[[0, 0]], [8], [[0, 5]], [[0, 2, 3]]],
        [[[0, 0]], [8], [[0, 5]], [[0, 0, 3]]],
        [[[0, 0]], [8], [[0, 5]], [[0, 0, 0]]],
    ]


def test_the_numbers_that_the_mistake_needs_stay() -> None:
    attempt = wrong_where(lambda probe: bool(probe.state["weight"][0, 1] == 7 and probe.calls[0].inputs[0][0, 0] == 1))
    simple = shrink._simpler(attempt(PLAIN), "output", attempt)
    assert numbers_of(simple.probe) == [[[0, 7]], [8], [[0, 5]], [[1, 0, 0]]]


def test_numbers_of_several_calls_become_0_call_by_call() -> None:
    calls = call_of([1.0, 2.0], [3.0, 4.0]), call_of([5.0, 6.0], [7.0, 8.0])
    attempt = wrong_where(lambda probe: bool(probe.calls[1].inputs[0][0]))
    simple = shrink._simpler(attempt(probe_of(*calls)), "output", attempt)
    assert numbers_of(simple.probe) == [[0, 4], [0, 8], [0, 0], [5, 0]]


@pytest.mark.parametrize(
    "change",
    [
        {"got": None},
        {"expected": {"output": np.zeros(2), "grad_input": np.ones(2)}},
        {"rows": (row("grad_input"), row("output", ok=True))},
    ],
    ids=["no answer", "all zeros", "another tensor"],
)
def test_a_simpler_input_that_says_less_is_not_taken(change: dict[str, Any]) -> None:
    attempt = wrong_where(lambda _: True)
    trial = attempt(PLAIN)
    simple = shrink._simpler(trial, "output", lambda probe: replace(attempt(probe), **change))
    assert simple is trial


def test_sixty_numbers_are_tried_at_most() -> None:
    x = np.ones(100)
    x[:10] = 0  # these are not tried
    tried: list[Probe] = []
    attempt = wrong_where(lambda _: True, tried)
    probe = probe_of(Call((x,), np.ones(1)))
    simple = shrink._simpler(trial_of(probe, row("output")), "output", attempt)
    assert len(tried) == 60
    assert simple.probe.calls[0].inputs[0].tolist() == [0.0] * 70 + [1.0] * 30


def test_a_tensor_of_zeros_in_every_call_says_little() -> None:
    expected = {
        "output of call 1": np.zeros(2),
        "output of call 2": np.array([0.0, 1.0]),
        "grad_input of call 1": np.zeros(3),
        "grad_input of call 2": np.zeros(3),
    }
    trial = trial_of(PLAIN, expected=expected)
    assert not shrink._nothing_right(trial, "output")
    assert shrink._nothing_right(trial, "grad_input")


STATE = {
    "weight": np.array([[1.0, 2.0], [0.0, 4.0]]),
    "bias": np.array([5.0]),
    "bn.running_mean": np.array([6.0, 7.0]),
    "bn.running_var": np.array([8.0, 9.0]),
    "bn.num_batches_tracked": np.array([3, 4]),
    "counts": np.array([3, 4]),
}


@pytest.mark.parametrize(
    ("name", "index", "wanted"),
    [
        ("weight", (1, 1), [[1, 2], [0, 0]]),
        ("weight", (1, 0), None),  # 0 already
        ("bias", (0,), None),  # the only number
        ("bn.running_mean", (1,), [6, 0]),
        ("bn.running_var", (1,), None),  # a variance stays positive
        ("bn.num_batches_tracked", (1,), None),
        ("counts", (1,), None),  # whole numbers count something
    ],
)
def test_a_number_of_the_state_becomes_0(name: str, index: tuple[int, ...], wanted: list[Any] | None) -> None:
    probe = probe_of(call_of([1.0, 2.0], [3.0]), state=STATE)
    before = STATE[name].tolist()
    simpler = shrink._with_zero(probe, "state", name, index)
    assert (None if simpler is None else simpler.state[name].tolist()) == wanted
    if simpler is not None:
        assert list(simpler.state) == list(STATE)
        assert all(simpler.state[other] is array for other, array in STATE.items() if other != name)
        assert simpler.calls == probe.calls
    assert STATE[name].tolist() == before


@pytest.mark.parametrize(
    ("what", "which", "index", "wanted"),
    [
        ("grad", 0, (0,), [[0, 2, 0], [3, 0], [4, 0], [5, 6]]),
        ("grad", 0, (2,), None),  # 0 already
        ("grad", 1, (0,), None),  # then all would be
        ("input", 0, (0,), [[1, 2, 0], [3, 0], [0, 0], [5, 6]]),
        ("input", 0, (1,), None),
        ("input", 1, (1,), [[1, 2, 0], [3, 0], [4, 0], [5, 0]]),
    ],
)
def test_a_number_of_a_call_becomes_0(what: str, which: int, index: tuple[int, ...], wanted: list[Any] | None) -> None:
    targets = np.array([1, 0])
    calls = (
        Call((np.array([4.0, 0.0]), targets), np.array([1.0, 2.0, 0.0])),
        Call((np.array([5.0, 6.0]), targets), np.array([3.0, 0.0])),
    )
    probe = probe_of(*calls)
    simpler = shrink._with_zero(probe, what, which, index)
    assert (None if simpler is None else numbers_of(simpler)) == wanted
    if simpler is not None:
        assert simpler.calls[1 - which] is calls[1 - which]
        assert all(len(call.inputs) == 2 and call.inputs[1] is targets for call in simpler.calls)
    assert numbers_of(probe) == [[1, 2, 0], [3, 0], [4, 0], [5, 6]]


class LetsThroughAtZero(scratch.ReLU):
    """Its slope at 0 is 1; it must be 0."""

    def forward(self, x: Array) -> Array:
        self.x = x
        return super().forward(x)

    def backward(self, grad_output: Array) -> Array:
        return grad_output * (self.x >= 0)


def test_a_mistake_at_0_is_shown_at_0() -> None:
    relu = likeness("relu")
    answer = own_answer(relu, LetsThroughAtZero)

    def attempt(probe: Probe) -> Trial:
        return try_probe(relu.pair, probe, answer, lenient=False)

    example = smallest(relu.pair, "grad_input", attempt, [], one_image=False)
    assert example is not None
    assert example.got is not None
    assert example.expected is not None
    x, g = example.given["input"], example.given["grad_output"]
    assert x.shape == (1, 3)
    assert x[0, 0] == 0 != g[0, 0]
    assert example.tensor == "grad_input"
    np.testing.assert_array_equal(example.expected, g * (x > 0))
    np.testing.assert_array_equal(example.got, g * (x >= 0))
    assert not np.array_equal(example.got, example.expected)
