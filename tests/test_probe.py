"""Probes: what is drawn for a pair, what both sides are given of it, and what is remembered."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import scratch
from compare.diagnosis.likeness import likeness
from compare.driving.tensors import LAYOUTS, Call, Tensors
from compare.pairs import models, values, weights
from compare.pairs.cases import Case
from compare.pairs.models import ModelPair, TrainingStep
from compare.pairs.observe import observe_torch
from compare.pairs.optimizers import OptimizerPair, draw_steps
from compare.pairs.pair import LayerPair, Pair
from compare.pairs.probe import Probe, draw_state
from compare.pairs.registry import REGISTRY
from compare.pairs.report import Row
from compare.verify import agreement
from scratch import Array


def layer(name: str) -> LayerPair:
    pair = REGISTRY[name]
    assert isinstance(pair, LayerPair)
    return pair


def own_model(dtype: str = "float64") -> scratch.Module:
    return scratch.Sequential(
        scratch.Conv2d(1, 2, 2, dtype=dtype), scratch.Flatten(), scratch.Linear(12, 3, dtype=dtype)
    )


SMALL = ModelPair(
    "small", own_model, lambda: nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(12, 3)), (1, 3, 4), 3
)
SGD, ADAM = REGISTRY["sgd"], REGISTRY["adam"]


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(list(seed))


def assert_same(one: Probe, two: Probe) -> None:
    said, again = ((probe.case, probe.dtype, probe.options, probe.layout, probe.plain) for probe in (one, two))
    assert said == again
    tensors = [
        [
            *probe.state.values(),
            *(array for call in probe.calls for array in (*call.inputs, call.grad_output)),
            *(array for step in probe.gradients for array in step.values()),
        ]
        for probe in (one, two)
    ]
    for array, other in zip(*tensors, strict=True):
        np.testing.assert_array_equal(array, other)


@pytest.mark.parametrize("name", ["linear", "sgd"])
def test_the_probes_of_a_pair_are_those_of_its_cases_each_with_a_lot_of_its_own(name: str) -> None:
    pair = REGISTRY[name]
    given: Any = pair.cases if isinstance(pair, LayerPair) else getattr(pair, "options", ())
    draw: Callable[..., Probe] = pair.probe if isinstance(pair, LayerPair) else draw_steps
    drawn = list(pair.probes("float32", 3))
    assert len(drawn) == len(given)
    for number, one in enumerate(drawn):
        assert_same(one, draw(given[number], "float32", rng(3, number)))
    assert_same(next(pair.probes("float64")), draw(given[0], "float64", rng(0, 0)))


def test_the_probe_of_a_model_is_one_batch() -> None:
    (drawn,) = SMALL.probes("float64", 5)
    assert_same(drawn, SMALL.probe("float64", np.random.default_rng(5)))
    assert_same(next(SMALL.probes("float64")), SMALL.probe("float64", np.random.default_rng(0)))


@pytest.mark.parametrize(("images", "calls", "sizes"), [(3, 1, [3]), (3, 2, [3, 2]), (3, 3, [3, 3, 2]), (1, 2, [1, 1])])
def test_the_last_of_several_calls_has_an_image_less_but_one_at_least(
    images: int, calls: int, sizes: list[int]
) -> None:
    case = Case((images, 4), {"in_features": 4, "out_features": 2}, "normal", "strided", calls)
    drawn = layer("linear").probe(case, "float32", rng(0))
    assert (drawn.case, drawn.dtype, drawn.options, drawn.layout) == (case.name, "float32", case.options, "strided")
    assert [call.inputs[0].shape for call in drawn.calls] == [(size, 4) for size in sizes]
    assert [call.grad_output.shape for call in drawn.calls] == [(size, 2) for size in sizes]
    assert {array.dtype for call in drawn.calls for array in (*call.inputs, call.grad_output)} == {np.dtype("float32")}
    assert len({float(call.inputs[0][0, 0]) for call in drawn.calls}) == calls, "each call has its own numbers"
    assert drawn.state["weight"].shape == (2, 4)
    assert drawn.gradients == ()
    assert drawn.drawn is case


def test_of_a_step_and_of_a_model_no_case_is_known() -> None:
    assert draw_steps({}, "float64", rng(0)).drawn is None
    assert SMALL.probe("float64", rng(0), images=1).drawn is None
    assert Probe("", "float64", {}, {}).drawn is None


def test_a_probe_equals_itself_only() -> None:
    one, two = (layer("relu").probe(Case((2, 3)), "float64", rng(0)) for _ in range(2))
    assert one == one
    assert one != two
    assert Probe("", "float64", {}, {}).layout == "contiguous"
    assert Probe("", "float64", {}, {}).plain is True


@pytest.mark.parametrize("kind", list(values.VALUES))
def test_a_probe_is_plain_where_its_numbers_are_ordinary_or_as_large_as_they_get(kind: str) -> None:
    drawn = layer("relu").probe(Case((2, 3), values=kind), "float64", rng(0))
    assert drawn.plain is (kind in ("normal", "large"))
    assert draw_steps({}, "float64", rng(0)).plain is True
    assert SMALL.probe("float64", rng(0), images=1).plain is True


class Even:
    """A generator of numbers that are known beforehand: evenly from end to end, and ones for normal numbers."""

    def uniform(self, low: float, high: float, shape: tuple[int, ...]) -> Array:
        return np.linspace(low, high, int(np.prod(shape))).reshape(shape)

    def standard_normal(self, shape: Any) -> Array:
        return -np.ones(shape)

    def integers(self, low: int, high: int, shape: Any) -> Array:
        return np.resize(np.array([low, high - 1]), shape)


EVEN: Any = Even()


def test_steps_begin_at_parameters_as_small_as_their_gradients() -> None:
    drawn = draw_steps({"lr": 0.5, "nesterov": True}, "float32", EVEN)
    assert (drawn.case, drawn.dtype, drawn.calls) == ("lr=0.5, nesterov=True", "float32", ())
    assert drawn.options == {"lr": 0.5, "nesterov": True}
    shapes = {"weight": (4, 3), "bias": (4,), "kernel": (2, 3, 2, 2), "late": (3,)}
    for tensors in (drawn.state, *drawn.gradients):
        for name, array in tensors.items():
            assert array.dtype == np.float32
            if name != "idle":
                sizes = 10.0 ** np.linspace(-9, 0, array.size).reshape(shapes[name])
                np.testing.assert_allclose(array, -sizes, rtol=1e-6)
    assert drawn.state.keys() == {*shapes, "idle"}
    np.testing.assert_array_equal(drawn.state["idle"], [-1, -1, -1])
    assert [set(step) for step in drawn.gradients] == [
        {"weight", "bias", "kernel"} | ({"late"} if number in (2, 4, 5) else set()) for number in range(1, 6)
    ]
    assert len(draw_steps({}, "float32", EVEN, 3).gradients) == 3


def test_every_step_has_gradients_of_its_own() -> None:
    drawn = draw_steps({}, "float64", rng(0))
    assert len({float(step["bias"][0]) for step in drawn.gradients} | {float(drawn.state["bias"][0])}) == 6


def test_images_are_normal_numbers_with_labels_of_every_class() -> None:
    drawn = SMALL.probe("float32", rng(0))
    (call,) = drawn.calls
    images, labels = call.inputs
    assert (drawn.case, drawn.dtype, drawn.options) == ("64 images", "float32", {})
    assert (images.shape, images.dtype) == ((64, 1, 3, 4), np.dtype("float32"))
    assert abs(images.mean()) < 0.2
    assert images.std() == pytest.approx(1, abs=0.2)
    assert labels.shape == (64,)
    assert set(labels) == {0, 1, 2}
    assert call.grad_output.dtype == np.float32
    assert call.grad_output == 1
    assert {name: array.shape for name, array in drawn.state.items()} == {
        "0.weight": (2, 1, 2, 2),
        "0.bias": (2,),
        "2.weight": (3, 12),
        "2.bias": (3,),
    }
    assert SMALL.probe("float64", rng(0), images=5).calls[0].inputs[0].shape == (5, 1, 3, 4)


def test_weights_are_as_large_as_torch_draws_them_and_nothing_is_zero_or_one() -> None:
    reference = nn.Sequential(nn.Conv2d(4, 5, (2, 3)), nn.Linear(25, 2), nn.BatchNorm2d(2))
    state = draw_state(reference, "float32", EVEN)
    assert {name: array.shape for name, array in state.items()} == {
        name: tuple(tensor.shape) for name, tensor in reference.state_dict().items()
    }
    assert all(isinstance(array, np.ndarray) for array in state.values())
    count = state.pop("2.num_batches_tracked")
    assert count.dtype == np.int64
    assert count == 1
    assert {array.dtype for array in state.values()} == {np.dtype("float32")}
    for name, products in (("0.weight", 4 * 2 * 3), ("1.weight", 25)):
        bound = products**-0.5
        np.testing.assert_allclose(state[name].reshape(-1), np.linspace(-bound, bound, state[name].size), rtol=1e-6)
    for name in ("0.bias", "1.bias", "2.weight", "2.bias", "2.running_mean"):
        np.testing.assert_array_equal(state[name], -1)
    np.testing.assert_allclose(state["2.running_var"], 1.1, rtol=1e-6)


def test_a_count_is_a_whole_number_from_1_to_99() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("counts", torch.zeros(4, dtype=torch.int32))

    (counts,) = draw_state(Counts(), "float64", EVEN).values()
    assert counts.tolist() == [1, 99, 1, 99]
    assert counts.dtype == np.int32


def test_the_reference_has_the_options_the_dtype_and_the_weights_of_the_probe() -> None:
    case = Case((2, 4), {"in_features": 4, "out_features": 3, "bias": False})
    for dtype in ("float64", "float32"):
        drawn = layer("linear").probe(case, dtype, rng(1))
        reference = layer("linear").reference(drawn)
        assert list(reference.state_dict()) == ["weight"]
        assert reference.weight.dtype == getattr(torch, dtype)
        np.testing.assert_array_equal(weights.torch_state(reference)["weight"], drawn.state["weight"])
    model = dataclasses.replace(SMALL.probe("float64", rng(0)), options={"never": "given to a model"})
    np.testing.assert_array_equal(weights.torch_state(SMALL.reference(model))["2.bias"], model.state["2.bias"])


# What is right


def test_what_is_right_is_what_torch_gives_to_rounding() -> None:
    drawn = layer("linear").probe(Case((2, 4), {"in_features": 4, "out_features": 3}), "float64", rng(1))
    x, g = drawn.calls[0].inputs[0], drawn.calls[0].grad_output
    found = layer("linear").expected(drawn)
    np.testing.assert_allclose(found["output"], x @ drawn.state["weight"].T + drawn.state["bias"], rtol=1e-13)
    np.testing.assert_allclose(found["grad_input"], g @ drawn.state["weight"], rtol=1e-13)
    allowed = layer("linear").bounds(drawn)
    assert allowed.keys() == found.keys()
    assert (allowed["output"] > 0).all()
    assert (allowed["output"] < 1e-13).all()
    other = dataclasses.replace(drawn, dtype="float64")
    assert layer("linear").expected(other)["output"] is not found["output"]


def test_what_is_right_for_an_optimizer_is_its_steps() -> None:
    drawn = draw_steps({"lr": 0.25}, "float64", rng(0))
    found = SGD.expected(drawn)
    # Plain gradient descent; before its last step the learning rate is halved.
    rates = [0.25] * 4 + [0.125]
    for name, start in drawn.state.items():
        moved = sum(rate * step[name] for rate, step in zip(rates, drawn.gradients, strict=True) if name in step)
        np.testing.assert_allclose(found[name], start - moved, rtol=0, atol=1e-14)  # with or without fused products
    allowed = SGD.bounds(drawn)
    assert not allowed["idle"].any()
    assert allowed["weight"].any()
    narrow = draw_steps({"lr": 0.25}, "float32", rng(0))
    ratio = SGD.bounds(narrow)["weight"] / allowed["weight"]
    np.testing.assert_allclose(ratio, 2.0**29, rtol=1e-5)


def test_what_is_right_for_a_model_goes_from_its_images_to_the_updates() -> None:
    drawn = SMALL.probe("float64", rng(0), images=4)
    images, labels = drawn.calls[0].inputs
    found, allowed = SMALL.expected(drawn), SMALL.bounds(drawn)
    patches = np.lib.stride_tricks.sliding_window_view(images[:, 0], (2, 2), axis=(1, 2))
    maps = np.einsum("nyxij,cij->ncyx", patches, drawn.state["0.weight"][:, 0]) + drawn.state["0.bias"][:, None, None]
    logits = maps.reshape(4, 12) @ drawn.state["2.weight"].T + drawn.state["2.bias"]
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-13)
    loss = np.mean([np.log(np.exp(row).sum()) - row[label] for row, label in zip(logits, labels, strict=True)])
    np.testing.assert_allclose(found["loss"], loss, rtol=1e-13)
    assert allowed.keys() == found.keys() >= {"grad_input", "2.weight after 3 steps"}
    from compare.pairs.end_to_end import bounds_end_to_end

    again = bounds_end_to_end(SMALL.reference(drawn), images, labels, seed=0)
    for name, bound in again.items():
        np.testing.assert_array_equal(allowed[name], bound)


def test_what_is_known_of_a_probe_is_computed_once_for_each_pair_and_is_read_only() -> None:
    computed = []

    def rule(*arguments: Any) -> Tensors:
        computed.append(arguments)
        return {"output": np.ones(())}

    pair = dataclasses.replace(layer("relu"), rule=rule)
    drawn, other = (pair.probe(Case((2, 3)), "float64", rng(0)) for _ in range(2))
    for _ in range(3):
        found = pair.bounds(drawn)
        assert not found["output"].flags.writeable
        found.clear()
    assert len(computed) == 1
    dataclasses.replace(pair).bounds(drawn)
    pair.bounds(other)
    assert len(computed) == 3
    pair.expected(drawn)
    assert len(computed) == 3


DROPOUT = Case((20, 30), {"p": 0.25})


def test_what_is_right_for_a_random_layer_is_not_remembered() -> None:
    pair = layer("dropout")
    drawn = pair.probe(DROPOUT, "float64", rng(0))
    x, g = drawn.calls[0].inputs[0], drawn.calls[0].grad_output
    for kept in (np.ones(x.shape), np.zeros(x.shape), rng(1).random(x.shape) > 0.25):
        got = {"output": x * kept / 0.75}
        found, allowed = pair.expected(drawn, got), pair.bounds(drawn, got)
        np.testing.assert_allclose(found["output"], got["output"], rtol=1e-14)
        np.testing.assert_allclose(found["grad_input"], g * kept / 0.75, rtol=1e-14)
        np.testing.assert_array_equal(allowed["output"] > 0, kept.astype(bool))
    # Without a candidate it is torch's own layer, whose masks are its own.
    torch.manual_seed(0)
    one, two = (pair.expected(drawn)["output"] for _ in range(2))
    assert not np.array_equal(one, two)


def test_the_shares_of_a_random_layer_are_rows_of_their_own_in_float32() -> None:
    pair = layer("dropout")
    drawn = pair.probe(DROPOUT, "float64", rng(0))
    kept = np.ones((20, 30))
    kept[:, :9] = 0  # 9 of 30 are left out, always the same
    is_, should, may = pair.shares(drawn, {"output": kept})
    assert is_.keys() == should.keys() == may.keys() == {"share kept", "share kept alike by two images"}
    assert is_["share kept"] == pytest.approx(21 / 30)
    assert is_["share kept alike by two images"] == 1
    assert should["share kept"] == 0.75
    assert should["share kept alike by two images"] == 0.25**2 + 0.75**2
    assert may["share kept"] == pytest.approx(6 * (0.75 * 0.25 / 600) ** 0.5)
    assert {array.dtype for tensors in (is_, should, may) for array in tensors.values()} == {np.dtype("float32")}
    assert all(isinstance(array, np.ndarray) for tensors in (is_, should, may) for array in tensors.values())
    plain = layer("relu").probe(Case((2, 3)), "float64", rng(0))
    assert layer("relu").shares(plain, {"output": kept}) == ({}, {}, {})
    assert SGD.shares(draw_steps({}, "float64", rng(0)), {}) == ({}, {}, {})


def rows_by_tensor(rows: list[Row]) -> dict[str, Row]:
    return {row.tensor: row for row in rows}


def test_a_random_layer_is_compared_under_its_own_choices_and_their_shares_beside() -> None:
    pair = layer("dropout")
    drawn = pair.probe(DROPOUT, "float64", rng(0))
    got = pair.drive(pair.scratch, drawn)
    rows = rows_by_tensor(pair.compare(drawn, got))
    assert all(row.ok for row in rows.values())
    assert rows.keys() == got.keys() | {"share kept", "share kept alike by two images"}
    assert "share kept" not in got, "what is given stays as it is"
    x, g = drawn.calls[0].inputs[0], drawn.calls[0].grad_output
    everything = got | {"output": x / 0.75, "grad_input": g / 0.75}
    wrong = [row.tensor for row in pair.compare(drawn, everything) if not row.ok]
    assert wrong == ["share kept", "share kept alike by two images"]


def test_a_reference_that_is_given_is_the_one_that_is_compared_with() -> None:
    pair = layer("relu")
    drawn = pair.probe(Case((2, 3)), "float64", rng(0))
    got = pair.drive(pair.scratch, drawn)
    reference = {"output": got["output"] + 1.0}
    (row, *more) = pair.compare(drawn, got, reference, {"output": np.full((2, 3), 1e-15)})
    assert (row.pair, row.case, row.tensor, row.ok) == ("relu", "2x3 normal", "output", False)
    assert all("no such tensor" in other.problem for other in more)
    # Half a reference is none.
    assert all(row.ok for row in pair.compare(drawn, got, reference, None))
    assert all(row.ok for row in pair.compare(drawn, got, None, {}))


def test_an_optimizer_that_does_nothing_is_not_hidden_by_large_parameters() -> None:
    drawn = draw_steps({"lr": 0.5}, "float64", rng(0))
    large = {name: np.full(array.shape, 2.0**50) for name, array in drawn.state.items()}
    gradients = tuple({name: np.ones(array.shape) for name, array in step.items()} for step in drawn.gradients)
    drawn = dataclasses.replace(drawn, state=large, gradients=gradients)
    right = SGD.expected(drawn)
    idle = {name: large.get(name, array) + 0.0 for name, array in right.items()}
    rows = rows_by_tensor(SGD.compare(drawn, idle))
    assert {name for name, row in rows.items() if "no update, would pass" in row.problem} == large.keys() - {"idle"}


def test_a_model_that_is_not_updated_is_not_hidden_by_large_parameters() -> None:
    drawn = SMALL.probe("float64", rng(0), images=4)
    right = SMALL.expected(drawn)
    allowed = {name: np.full(array.shape, 1e-10) for name, array in right.items()}
    idle = {name: array.copy() for name, array in right.items()}
    idle["2.weight after 3 steps"] = drawn.state["2.weight"].copy()
    assert [row.tensor for row in SMALL.compare(drawn, idle, right, allowed) if not row.ok] == [
        "2.weight after 3 steps"
    ]
    update = np.abs(right["2.weight after 3 steps"] - drawn.state["2.weight"]).max()
    allowed["2.weight after 3 steps"] = np.full((3, 12), update)  # far smaller than the weights
    rows = rows_by_tensor(SMALL.compare(drawn, idle, right, allowed))
    assert "no update, would pass" in rows["2.weight after 3 steps"].problem


# What a candidate is given


class Curious(scratch.Module):
    """Writes into all that it is given, after a look at it."""

    seen: list[Array]

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options
        self.weight = scratch.Parameter(np.zeros((2, 4), np.float32))
        self.count = scratch.Buffer(np.zeros((), np.int64))
        self.seen = []

    def forward(self, x: Array, *targets: Array) -> Array:
        self.seen = [x, *targets]
        return np.log(x * 0 - 1)

    def backward(self, grad_output: Array) -> Array:
        self.seen.append(grad_output)
        return self.seen[0] * 0


def curious_probe(layout: str, *targets: Array, grad_output: Array | None = None) -> tuple[Probe, Call]:
    x = np.arange(24.0).reshape(2, 3, 4)
    call = Call((x, *targets), np.ones((2, 3, 4)) if grad_output is None else grad_output)
    state = {"weight": np.ones((2, 4)), "count": np.array(7)}
    return Probe("", "float64", {"a": 1}, state, (call,), layout=layout), call


PAIR = LayerPair("curious", Curious, nn.Identity, lambda *_: {}, ())


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_a_candidate_is_given_copies_that_lie_in_memory_as_the_probe_says(layout: str) -> None:
    made: list[Curious] = []

    def make(**options: Any) -> Curious:
        made.append(Curious(**options))
        return made[-1]

    drawn, call = curious_probe(layout)
    with warnings.catch_warnings(action="error"):
        seen = PAIR.drive(make, drawn)
    assert np.isnan(seen["output"]).all(), "what is no number is found in what it gives, not raised"
    (own,) = made
    assert own.options == {"a": 1}
    assert (own.weight.data.dtype, own.weight.data[0, 0]) == (np.dtype("float64"), 1)
    assert own.count.data.dtype == np.int64
    assert own.count.data == 7
    for given, array in zip(own.seen, (call.inputs[0], call.grad_output), strict=True):
        expected = LAYOUTS[layout](array)
        np.testing.assert_array_equal(given, array)
        assert given.strides == expected.strides
        assert given.flags.writeable == expected.flags.writeable
        assert not np.may_share_memory(given, array)


def test_targets_and_single_numbers_are_given_as_they_are() -> None:
    targets = np.array([1, 0])
    drawn, _ = curious_probe("strided", targets, grad_output=np.array(3.0))
    made = Curious()
    seen = PAIR.drive(lambda **_: made, drawn)
    np.testing.assert_array_equal(made.seen[1], targets)
    assert made.seen[1].flags.c_contiguous
    assert not np.may_share_memory(made.seen[1], targets)
    assert seen["grad_output after use"] == 3


def test_a_candidate_of_a_random_layer_repeats_the_choices_of_another() -> None:
    pair = layer("dropout")
    drawn = pair.probe(DROPOUT, "float32", rng(0))
    x = drawn.calls[0].inputs[0]
    kept = rng(3).random(x.shape) < 0.5
    np.testing.assert_array_equal(pair.drive(pair.scratch, drawn, {"output": x * kept})["output"] != 0, kept)
    one, two = (pair.drive(pair.scratch, drawn)["output"] for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_an_optimizer_is_driven_with_its_options() -> None:
    drawn = draw_steps({"lr": 0.25, "weight_decay": 0.5}, "float64", rng(0))
    assert isinstance(SGD, OptimizerPair)
    before = {name: array.copy() for name, array in drawn.state.items()}
    got = SGD.drive(SGD.scratch, drawn)
    assert all(row.ok for row in SGD.compare(drawn, got))
    plain = SGD.drive(SGD.scratch, dataclasses.replace(drawn, options={"lr": 0.25}))
    assert not all(row.ok for row in SGD.compare(drawn, plain))
    for name, array in before.items():
        np.testing.assert_array_equal(drawn.state[name], array)


def test_a_model_is_driven_with_a_step_of_its_own_or_with_another() -> None:
    drawn = SMALL.probe("float64", rng(0), images=4)
    got = SMALL.drive(own_model, drawn)
    assert all(row.ok for row in SMALL.compare(drawn, got))
    given: list[Array] = []

    def lazy(model: scratch.Module, _criterion: Any, _optimizer: Any, images: Array, labels: Array) -> Any:
        assert model.state_dict()["2.weight"].dtype == np.float64
        given.extend([images, labels])
        return 7.0, 0

    idle = SMALL.drive(TrainingStep(lazy), drawn)
    assert idle["loss"] == 7
    np.testing.assert_array_equal(idle["2.weight after 3 steps"], drawn.state["2.weight"])
    for array, own in zip(given[:2], drawn.calls[0].inputs, strict=True):
        np.testing.assert_array_equal(array, own)
        assert not np.may_share_memory(array, own)
    narrow = SMALL.probe("float32", rng(0), images=4)
    assert SMALL.drive(own_model, narrow)["logits"].dtype == np.float32


# Inputs


def test_a_loss_is_given_classes_or_numbers_between_0_and_1() -> None:
    (call,) = layer("cross_entropy").probe(Case((200, 3), {"reduction": "none"}), "float32", rng(0)).calls
    scores, classes = call.inputs
    assert (scores.shape, scores.dtype, classes.shape) == ((200, 3), np.dtype("float32"), (200,))
    assert classes.dtype.kind == "i"
    assert set(classes) == {0, 1, 2}
    assert call.grad_output.shape == (200,)
    for loss in (nn.NLLLoss(), nn.MSELoss()):  # not registered: what their targets are is tried
        pair = likeness(loss).pair
        assert isinstance(pair, LayerPair)
        (call,) = pair.probe(Case((200, 3)), "float32", rng(0)).calls
        assert call.grad_output.shape == ()
        targets = call.inputs[1]
        if isinstance(loss, nn.NLLLoss):
            assert (targets.shape, targets.dtype.kind) == ((200,), "i")
            assert set(targets) == {0, 1, 2}
        else:
            assert (targets.shape, targets.dtype) == ((200, 3), np.dtype("float32"))
            assert 0.1 <= targets.min() < 0.15
            assert 0.85 < targets.max() <= 0.9
    assert len(layer("relu").probe(Case((2, 3)), "float32", rng(0)).calls[0].inputs) == 1


@pytest.mark.parametrize("values", ["zeros", "integers"])
def test_the_upstream_gradient_is_of_normal_numbers(values: str) -> None:
    (call,) = layer("relu").probe(Case((50, 40), values=values), "float64", rng(0)).calls
    assert set(np.unique(call.inputs[0])) == ({0.0} if values == "zeros" else {-2.0, -1.0, 0.0, 1.0, 2.0})
    assert 0.9 < call.grad_output.std() < 1.1
    assert np.abs(call.grad_output).min() > 1e-6


def test_where_the_input_is_of_all_magnitudes_the_upstream_gradient_is_too() -> None:
    (call,) = layer("relu").probe(Case((50, 40), values="magnitudes"), "float64", rng(0)).calls
    for array in (call.inputs[0], call.grad_output):
        assert np.abs(array).min() < 1e-8
        assert np.abs(array).max() > 100


def test_drawing_a_probe_leaves_no_trace_in_the_reference() -> None:
    pair, made = layer("batchnorm2d"), []

    def make(**options: Any) -> nn.Module:
        made.append(nn.BatchNorm2d(**options))
        return made[-1]

    drawn = dataclasses.replace(pair, torch=make).probe(Case((3, 2, 2, 2), {"num_features": 2}), "float64", rng(0))
    np.testing.assert_array_equal(weights.torch_state(made[-1])["running_mean"], drawn.state["running_mean"])
    assert observe_torch(made[-1], drawn.calls)["num_batches_tracked"] == drawn.state["num_batches_tracked"] + 1


# The agreement check, of small pairs


def small_pairs() -> list[Pair]:
    relu, sgd = layer("relu"), SGD
    assert isinstance(sgd, OptimizerPair)
    return [
        dataclasses.replace(relu, cases=(Case((2, 3)), Case((1, 2), calls=2))),
        dataclasses.replace(sgd, options=({"lr": 0.1},)),
    ]


def test_every_case_is_checked_in_both_dtypes_with_the_seed() -> None:
    seeds: list[tuple[str, int]] = []

    def noted(draw: Callable[..., Iterator[Probe]]) -> Callable[..., Iterator[Probe]]:
        def probes(pair: Pair, dtype: str, seed: int = 0) -> Iterator[Probe]:
            seeds.append((dtype, seed))
            return draw(pair, dtype, seed)

        return probes

    with pytest.MonkeyPatch.context() as patch:
        for kind in (LayerPair, OptimizerPair):
            patch.setattr(kind, "probes", noted(kind.probes))
        report = agreement.check(small_pairs(), 3)
        assert report.ok, report.headline()
        assert seeds == [("float64", 3), ("float32", 3)] * 2
        seeds.clear()
        agreement.check(small_pairs()[:1])
        list(agreement.check_pair(small_pairs()[0]))
        assert {seed for _, seed in seeds} == {0}
    found = dict.fromkeys(
        (row.pair, row.case, row.dtype) for row in report.rows if row.tensor != "gradients left by zero_grad"
    )
    assert list(found) == [
        (name, case, dtype)
        for name, cases in (("relu", ("2x3 normal", "1x2 normal, 2 calls")), ("sgd", ("lr=0.1",)))
        for dtype in ("float64", "float32")
        for case in cases
    ]


def test_the_check_of_a_pair_that_raises_is_one_row() -> None:
    def refuse(**_: Any) -> scratch.Module:
        raise SystemExit("no")

    pair = dataclasses.replace(layer("relu"), scratch=refuse)
    drawn = pair.probe(Case((2, 3)), "float32", rng(0))
    (row,) = pair.check(drawn)
    assert (row.pair, row.case, row.dtype, row.problem) == ("relu", "2x3 normal", "float32", "raised SystemExit: no")


def test_a_model_is_checked_with_its_images_as_they_are_without_equal_patches() -> None:
    checked: list[Any] = []

    def check(*given: Any, **more: Any) -> list[Row]:
        checked.append((given, more))
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "check_model", check)
        assert list(agreement.check_pair(SMALL, 4)) == []
    assert len(checked) == 2
    for dtype, ((pair, state, images, labels, seed), more) in zip(("float64", "float32"), checked, strict=True):
        drawn = SMALL.probe(dtype, np.random.default_rng(4))
        assert (pair, seed, more) == (SMALL, 4, {"blank_free": True})
        np.testing.assert_array_equal(state["2.weight"], drawn.state["2.weight"])
        np.testing.assert_array_equal(images, drawn.calls[0].inputs[0])
        np.testing.assert_array_equal(labels, drawn.calls[0].inputs[1])
        assert images.dtype == dtype


def test_the_check_takes_one_thread_and_convolutions_as_defined() -> None:
    seen: list[tuple[int, bool]] = []

    def look(*_: Any) -> list[Row]:
        seen.append((torch.get_num_threads(), torch._C._get_nnpack_enabled()))
        return []

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(agreement, "check_pair", look)
            assert not agreement.check(small_pairs()[:1]).ok
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert [threads for threads, _ in seen] == [1]
    assert not seen[0][1]
