"""What is written down of a module or an optimizer, and which inputs a comparison has to offer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import scratch
from compare.driving.observe import learning_rates, observe_scratch, observe_scratch_optimizer
from compare.driving.tensors import LAYOUTS, Call, Tensors, arguments_after_use, call_names, gradient_name
from compare.pairs import observe, values
from compare.pairs.layers import dropout
from compare.pairs.registry import REGISTRY
from scratch import Array

X = np.array([[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]])
W = np.array([[2.0, 0.0, -1.0], [1.0, 3.0, 0.5]])
B = np.array([0.25, -0.5])


def test_a_gradient_has_the_name_of_its_parameter_after_the_last_dot() -> None:
    assert gradient_name("weight") == "grad_weight"
    assert gradient_name("conv1.weight") == "conv1.grad_weight"
    assert gradient_name("a.b.weight") == "a.b.grad_weight"


def test_calls_have_numbers_only_where_there_are_several() -> None:
    call = Call((X,), X)
    assert call_names([call]) == [""]
    assert call_names([call] * 3) == [" of call 1", " of call 2", " of call 3"]
    assert call_names([]) == []


def test_what_a_call_was_given_is_numbered_where_there_is_more_than_the_input() -> None:
    targets = np.array([1, 0])
    seen = arguments_after_use(Call((X, targets), B), " of call 2")
    assert list(seen) == ["input after use of call 2", "input 1 after use of call 2", "grad_output after use of call 2"]
    assert seen["input after use of call 2"] is X
    assert seen["input 1 after use of call 2"] is targets
    assert seen["grad_output after use of call 2"] is B


# A linear layer, by hand: y = x·Wᵀ + b


def own_linear() -> scratch.Module:
    layer = scratch.Linear(3, 2, dtype="float64")
    layer.load_state_dict({"weight": W, "bias": B})
    return layer


def torch_linear() -> nn.Module:
    layer = nn.Linear(3, 2, dtype=torch.float64)
    layer.load_state_dict({"weight": torch.tensor(W), "bias": torch.tensor(B)})
    return layer


OBSERVE: list[Callable[[list[Call]], Tensors]] = [
    lambda calls: observe_scratch(own_linear(), calls),
    lambda calls: observe.observe_torch(torch_linear(), calls),
]


@pytest.mark.parametrize("seen_of", OBSERVE, ids=["scratch", "torch"])
def test_one_call_is_seen_whole(seen_of: Callable[[list[Call]], Tensors]) -> None:
    g = np.array([[1.0, 2.0], [-1.0, 0.5]])
    seen = seen_of([Call((X,), g)])
    right = {
        "output": X @ W.T + B,
        "grad_input": g @ W,
        "input after use": X,
        "grad_output after use": g,
        "grad_weight": g.T @ X,
        "grad_bias": g.sum(axis=0),
        "weight after use": W,
        "bias after use": B,
    }
    assert set(seen) == set(right)
    for name, array in right.items():
        np.testing.assert_allclose(seen[name], array, rtol=1e-15, err_msg=name)


@pytest.mark.parametrize("seen_of", OBSERVE, ids=["scratch", "torch"])
def test_parameters_change_their_sign_between_calls_and_gradients_add_up(
    seen_of: Callable[[list[Call]], Tensors],
) -> None:
    g = [np.full((2, 2), factor) for factor in (1.0, 10.0, 100.0)]
    seen = seen_of([Call((X + number,), upstream) for number, upstream in enumerate(g)])
    for number, sign in enumerate((1, -1, 1)):
        name = f" of call {number + 1}"
        np.testing.assert_allclose(seen[f"output{name}"], sign * ((X + number) @ W.T + B), rtol=1e-15)
        np.testing.assert_allclose(seen[f"grad_input{name}"], sign * g[number] @ W, rtol=1e-15)
        np.testing.assert_array_equal(seen[f"input after use{name}"], X + number)
        np.testing.assert_array_equal(seen[f"grad_output after use{name}"], g[number])
    np.testing.assert_array_equal(seen["weight after use"], W)
    np.testing.assert_array_equal(seen["grad_bias"], [222, 222])
    np.testing.assert_allclose(seen["grad_weight"], sum(a.T @ (X + n) for n, a in enumerate(g)), rtol=1e-15)
    assert len(seen) == 3 * 4 + 4


@pytest.mark.parametrize("kind", ["scratch", "torch"])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_last_of_several_calls_is_made_in_evaluation(kind: str, number: int) -> None:
    calls = [Call((np.full((2, 1, 2, 2), 8.0),), np.ones((2, 1, 2, 2)))] * number
    if kind == "scratch":
        seen = observe_scratch(scratch.BatchNorm2d(1, momentum=0.5, dtype="float64"), calls)
    else:
        seen = observe.observe_torch(nn.BatchNorm2d(1, momentum=0.5, dtype=torch.float64), calls)
    in_training = 1 if number == 1 else number - 1
    assert seen["num_batches_tracked"] == in_training
    np.testing.assert_allclose(seen["running_mean"], [8 * (1 - 0.5**in_training)], rtol=1e-12)
    assert isinstance(seen["num_batches_tracked"], np.ndarray)
    # In training, equal numbers give 0; in evaluation what is left between them and the moving average.
    last = seen["output" if number == 1 else f"output of call {number}"]
    assert last.any() == (number > 1)


def test_torch_is_observed_in_a_copy_that_forgets_earlier_gradients() -> None:
    for number in (1, 2):
        layer: Any = torch_linear()
        layer.weight.grad = torch.ones(2, 3, dtype=torch.float64)
        seen = observe.observe_torch(layer, [Call((X,), np.zeros((2, 2)))] * number)
        np.testing.assert_array_equal(seen["grad_weight"], np.zeros((2, 3)))
        assert layer.weight.grad.sum() == 6
        assert layer.training
        np.testing.assert_array_equal(layer.weight.detach().numpy(), W)
    seen = observe.observe_torch(layer, [Call((X,), np.zeros((2, 2)))])
    held = seen["weight after use"].copy()
    with torch.no_grad():
        layer.weight.zero_()
    np.testing.assert_array_equal(seen["weight after use"], held)


@pytest.mark.parametrize(
    ("module", "state"),
    [
        (nn.ReLU(), False),
        (nn.Sequential(nn.ReLU(), nn.Flatten()), False),
        (nn.Sequential(nn.ReLU(), nn.Linear(2, 3)), True),
        (nn.BatchNorm2d(2, affine=False), True),  # statistics, and no parameters
        (nn.BatchNorm2d(2, affine=False, track_running_stats=False), False),
        (nn.Linear(2, 3).requires_grad_(False), True),
    ],
)
def test_parameters_and_buffers_are_what_a_pass_may_change(module: nn.Module, state: bool) -> None:
    assert observe.has_state(module) is state


class Uncopied(nn.Module):
    """Says that it is copied."""

    def __init__(self, *inside: nn.Module) -> None:
        super().__init__()
        self.inside = nn.ModuleList(inside)
        self.copies = 0

    def __deepcopy__(self, memo: Any) -> Uncopied:
        self.copies += 1
        return Uncopied(*copy.deepcopy(list(self.inside), memo))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.inside:
            x = layer(x)
        return 2 * x


@pytest.mark.parametrize(
    ("inside", "calls", "copies"),
    [
        ([], 1, 0),
        ([], 2, 1),  # the last call is made in evaluation
        ([nn.ReLU()], 1, 0),
        ([nn.Linear(3, 3, dtype=torch.float64)], 1, 1),
        ([nn.BatchNorm1d(3, affine=False, dtype=torch.float64)], 1, 1),
    ],
)
def test_only_what_a_pass_may_change_is_copied(inside: list[nn.Module], calls: int, copies: int) -> None:
    module = Uncopied(*inside)
    held = copy.deepcopy(module.state_dict())
    first = observe.observe_torch(module, [Call((X,), np.ones((2, 3)))] * calls)
    assert (module.copies, module.training) == (copies, True)
    assert all(torch.equal(held[name], tensor) for name, tensor in module.state_dict().items())
    again = observe.observe_torch(module, [Call((X,), np.ones((2, 3)))] * calls)
    assert first.keys() == again.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(again[name], array)


def test_scratch_is_observed_from_gradients_forgotten() -> None:
    layer: Any = own_linear()
    layer.weight.grad = np.ones((2, 3))
    seen = observe_scratch(layer, [Call((X,), np.zeros((2, 2)))])
    np.testing.assert_array_equal(seen["grad_weight"], np.zeros((2, 3)))


def test_the_read_only_inputs_of_a_call_are_no_obstacle_to_torch() -> None:
    x, g = X.copy(), np.ones((2, 2))
    x.flags.writeable = g.flags.writeable = False
    seen = observe.observe_torch(torch_linear(), [Call((x,), g)])
    assert not np.may_share_memory(seen["input after use"], x)
    assert not np.may_share_memory(seen["grad_output after use"], g)


class Half(scratch.Module):
    """Gives no gradient, or an output of another shape."""

    def __init__(self, gradient: bool) -> None:
        super().__init__()
        self.gradient = gradient
        self.unused = scratch.Parameter(np.ones(2))

    def forward(self, x: Array) -> Any:
        return x if self.gradient is False else x[:1].sum()

    def backward(self, grad_output: Array) -> Any:
        assert grad_output.shape == X.shape
        return None


def test_what_a_candidate_does_not_give_is_missing() -> None:
    seen = observe_scratch(Half(gradient=False), [Call((X,), X)])
    assert set(seen) == {"output", "input after use", "grad_output after use", "unused after use"}
    assert seen["output"] is X
    # Another shape of output: backward is not asked at all.
    seen = observe_scratch(Half(gradient=True), [Call((X,), np.ones((2, 2)))])
    assert isinstance(seen["output"], np.ndarray)
    assert "grad_input" not in seen


def test_a_parameter_that_torch_does_not_use_has_no_gradient() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.ones(2))

        def forward(self, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
            return x / factor

    seen = observe.observe_torch(Idle(), [Call((X, np.array(4.0)), X)])
    assert "grad_unused" not in seen
    np.testing.assert_array_equal(seen["output"], X / 4)
    np.testing.assert_array_equal(seen["grad_input"], X / 4)
    assert seen["input 1 after use"] == 4


# Optimizers


START = {"w": np.array([1.0, -2.0]), "late": np.array([5.0]), "idle": np.array([7.0])}
GRADIENTS = [{"w": np.array([1.0, 2.0])}, {"w": np.array([3.0, -4.0]), "late": np.array([2.0])}, {"late": np.ones(1)}]


def test_the_learning_rate_is_halved_before_the_last_step() -> None:
    assert learning_rates(0.4, 3) == [0.4, 0.4, 0.2]
    assert learning_rates(0.4, 1) == [0.2]


@pytest.mark.parametrize("kind", ["scratch", "torch"])
def test_the_steps_of_an_optimizer_by_hand(kind: str) -> None:
    if kind == "scratch":
        seen = observe_scratch_optimizer(lambda own: scratch.SGD(own, lr=0.5), START, GRADIENTS)
    else:
        seen = observe.observe_torch_optimizer(lambda own: torch.optim.SGD(own, lr=0.5), START, GRADIENTS)
    # w: -0.5·(1, 2) - 0.5·(3, -4); late: -0.5·2 - 0.25·1
    assert {name: array.tolist() for name, array in seen.items()} == {
        "w": [-1.0, -1.0],
        "late": [3.75],
        "idle": [7.0],
        "grad of late after use": [1.0],
        "gradients left by zero_grad": 0.0,
    }
    assert START["w"].tolist() == [1.0, -2.0]
    assert GRADIENTS[1]["late"].tolist() == [2.0]
    assert isinstance(seen["gradients left by zero_grad"], np.ndarray)


class Greedy(scratch.SGD):
    """Writes into gradients, replaces a parameter instead of updating it, and forgets to forget."""

    def step(self) -> None:
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad *= 0
                parameter.data = parameter.data + 1

    def zero_grad(self) -> None:
        pass


def test_what_an_optimizer_does_to_gradients_and_arrays_shows() -> None:
    seen = observe_scratch_optimizer(lambda own: Greedy(own, lr=0.5), START, GRADIENTS)
    np.testing.assert_array_equal(seen["w"], START["w"])  # the array that was given
    assert seen["grad of late after use"] == 0
    assert seen["gradients left by zero_grad"] == 0  # they are zeros: nothing is left
    assert GRADIENTS[2]["late"] == 1


def test_gradients_are_left_by_a_zero_grad_that_neither_forgets_them_nor_sets_them_to_zero() -> None:
    class Forgets(scratch.SGD):
        def zero_grad(self) -> None:
            pass

    class Zeros(scratch.SGD):
        def zero_grad(self) -> None:
            for parameter in self.parameters:
                if parameter.grad is not None:
                    parameter.grad[...] = 0

    for kind, left in ((Forgets, 1), (Zeros, 0), (scratch.SGD, 0)):
        seen = observe_scratch_optimizer(lambda own, kind=kind: kind(own, lr=0.5), START, GRADIENTS)  # type: ignore[misc]
        assert seen["gradients left by zero_grad"] == left
        assert seen["grad of late after use"] == GRADIENTS[2]["late"]


def test_what_torchs_optimizer_does_to_gradients_shows() -> None:

    class Lazy(torch.optim.SGD):
        def zero_grad(self, set_to_none: bool = True) -> None:
            pass

    twin = observe.observe_torch_optimizer(lambda own: Lazy(own, lr=0.5), START, GRADIENTS)
    assert twin["gradients left by zero_grad"] == 1
    assert twin["grad of late after use"] == 1


# What passes between the layers


def own_model() -> scratch.Module:
    inner = scratch.Sequential(scratch.ReLU(), scratch.Flatten())
    return scratch.Sequential(scratch.Conv2d(1, 2, 2, dtype="float64"), inner, scratch.Linear(4, 3, dtype="float64"))


def torch_model() -> nn.Sequential:
    inner = nn.Sequential(nn.ReLU(), nn.Flatten())
    return nn.Sequential(nn.Conv2d(1, 2, 2), inner, nn.Linear(4, 3)).double()


def test_the_leaves_of_a_model_are_what_has_no_layers_inside() -> None:
    assert [name for name, _ in observe.leaves(torch_model())] == ["0", "1.0", "1.1", "2"]
    (only,) = observe.leaves(nn.ReLU())
    assert only[0] == ""


def test_what_every_layer_and_the_loss_are_given_by_hand() -> None:
    model, images, labels = torch_model(), np.random.default_rng(0).normal(size=(3, 1, 2, 3)), np.array([2, 0, 1])
    calls = observe.record_calls(model, images, labels)
    assert list(calls) == ["0", "1.0", "1.1", "2", "loss"]
    x = torch.tensor(images)
    layers = [model[0], model[1][0], model[1][1], model[2]]  # type: ignore[index]
    given = []
    for layer in layers:
        given.append(x)
        x = layer(x)
        x.retain_grad()
        given.append(x)
    nn.CrossEntropyLoss()(x, torch.tensor(labels)).backward()
    for number, name in enumerate(["0", "1.0", "1.1", "2"]):
        np.testing.assert_array_equal(calls[name].inputs[0], given[2 * number].detach().numpy())
        upstream = given[2 * number + 1].grad
        assert upstream is not None
        np.testing.assert_array_equal(calls[name].grad_output, upstream.numpy())
    np.testing.assert_array_equal(calls["loss"].inputs[0], x.detach().numpy())
    assert calls["loss"].inputs[1] is labels
    loss = calls["loss"].grad_output
    assert (loss.shape, loss.dtype) == ((), np.dtype("float64"))
    assert loss == 1
    assert not any(layer._forward_hooks for layer in model.modules())


class InPlace(nn.Module):
    """Writes into its input and its output later on."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mul_(-1)


def test_what_torch_writes_into_later_is_recorded_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(3, 2), InPlace(), InPlace()).double()
    inputs, outputs = observe.watch_torch(model, torch.tensor(X))
    np.testing.assert_array_equal(outputs["1"], -outputs["0"])
    np.testing.assert_array_equal(outputs["0"], outputs["2"])
    assert list(inputs) == list(outputs) == ["0", "1", "2"]
    np.testing.assert_array_equal(inputs["0"], X)
    assert not any(layer._forward_hooks for layer in model.modules())


class OverwritesItsInput(scratch.Module):
    def forward(self, x: Array) -> Array:
        y = x.copy()
        x[...] = 0
        return y


def test_scratch_is_watched_layer_by_layer_and_left_as_it_was() -> None:
    model = own_model()
    images = np.random.default_rng(0).normal(size=(3, 1, 2, 3))
    inputs, outputs = observe.watch_scratch(model, images)
    assert list(inputs) == list(outputs) == ["0", "1.0", "1.1", "2"]
    np.testing.assert_array_equal(inputs["0"], images)
    for before, after in (("0", "1.0"), ("1.0", "1.1"), ("1.1", "2")):
        np.testing.assert_array_equal(outputs[before], inputs[after])
    np.testing.assert_array_equal(outputs["1.0"], np.maximum(outputs["0"], 0))
    np.testing.assert_array_equal(outputs["2"], model(images))
    assert all("forward" not in vars(layer) for _, layer in model.named_modules())
    layer = scratch.Sequential(scratch.ReLU(), OverwritesItsInput())
    inputs, outputs = observe.watch_scratch(layer, np.ones((1, 2)))
    assert outputs["0"].tolist() == [[1, 1]]
    assert inputs["1"].tolist() == [[0, 0]], "looked at when the layer is done"


def test_a_model_that_raises_while_it_is_watched_is_left_as_it_was() -> None:
    model = own_model()
    with pytest.raises(ValueError, match="Conv2d"):
        observe.watch_scratch(model, np.ones((3, 2, 2, 3)))
    assert all("forward" not in vars(layer) for _, layer in model.named_modules())


# Kinds of values and of layouts


def draw(name: str, shape: tuple[int, ...]) -> Array:
    return values.VALUES[name](np.random.default_rng(0), shape)


def test_the_kinds_of_values() -> None:
    shape = (40, 5, 4, 3)
    drawn = {name: draw(name, shape) for name in values.VALUES}
    assert all(array.shape == shape and array.dtype == np.float64 for array in drawn.values())
    assert drawn["normal"].mean() == pytest.approx(0, abs=0.1)
    assert drawn["normal"].std() == pytest.approx(1, abs=0.1)
    assert np.unique(drawn["integers"]).tolist() == [-2, -1, 0, 1, 2]
    assert not drawn["zeros"].any()
    np.testing.assert_array_equal(drawn["post-relu"], drawn["normal"].clip(0))
    by_channel = drawn["per-channel"].mean(axis=(0, 2, 3))
    np.testing.assert_allclose(by_channel, [3, 6, 9, 12, 15], atol=0.2)
    assert drawn["per-channel"][:, 0].std() == pytest.approx(1, abs=0.1)
    assert np.unique(np.abs(drawn["large"])).tolist() == [*range(997, 1004)]
    assert {np.sign(value) for value in drawn["large"].flat} == {-1, 1}
    assert (drawn["large"] < 0).mean() == pytest.approx(0.5, abs=0.05)
    rows = drawn["uneven"].mean(axis=(1, 2, 3))
    np.testing.assert_allclose(rows, 1000 * np.arange(40), atol=1)
    assert (drawn["uneven"] - 1000 * np.arange(40).reshape(-1, 1, 1, 1)).std() == pytest.approx(1, abs=0.1)


def test_magnitudes_go_from_a_billionth_to_a_thousand() -> None:
    class Even:
        def standard_normal(self, shape: tuple[int, ...]) -> Array:
            return np.full(shape, 2.0)

        def uniform(self, low: float, high: float, shape: tuple[int, ...]) -> Array:
            return np.linspace(low, high, int(np.prod(shape))).reshape(shape)

    even: Any = Even()
    drawn = values.VALUES["magnitudes"](even, (1, 5, 1))
    np.testing.assert_allclose(drawn[0, :, 0], [2e-9, 2e-6, 2e-3, 2, 2e3], rtol=1e-12)


@pytest.mark.parametrize("name", ["per-channel", "uneven"])
def test_values_of_channels_and_rows_of_any_number_of_axes(name: str) -> None:
    for shape in ((4, 3), (4, 3, 2), (4, 3, 2, 5)):
        drawn = draw(name, shape)
        assert drawn.shape == shape
        axis, step = (1, 3) if name == "per-channel" else (0, 1000)
        heights = step * np.arange(name == "per-channel", shape[axis] + (name == "per-channel"))
        rest = np.moveaxis(drawn, axis, -1) - heights
        np.testing.assert_allclose(rest, draw("normal", shape).transpose(_last(axis, len(shape))), atol=1e-9)


def _last(axis: int, ndim: int) -> tuple[int, ...]:
    return (*(i for i in range(ndim) if i != axis), axis)


@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (3, 4)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", list(LAYOUTS))
def test_a_layout_changes_the_memory_and_no_number(name: str, dtype: str, shape: tuple[int, ...]) -> None:
    x = draw("normal", shape).astype(dtype)
    laid = LAYOUTS[name](x)
    np.testing.assert_array_equal(laid, x)
    assert laid.dtype == dtype
    size = x.itemsize
    if name == "strided":
        assert laid.strides == tuple(2 * stride for stride in x.strides)
        assert laid.base is not None
        assert np.isnan(np.lib.stride_tricks.as_strided(laid, strides=x.strides)[..., 1]).all(), "between the numbers"
    elif name == "fortran":
        assert laid.flags.f_contiguous
        assert not laid.flags.c_contiguous
    elif name == "batch last":
        assert laid.strides[0] == size
        assert np.moveaxis(laid, 0, -1).flags.c_contiguous
    else:
        assert laid.flags.c_contiguous
    assert laid.flags.writeable == (name != "read-only")
    assert x.flags.writeable
    if name == "read-only":
        assert not np.may_share_memory(laid, x)


# Dropout


KEPT = np.array([[1, 0, 1], [1, 1, 0]], bool)


def test_masks_are_read_off_the_outputs_alone() -> None:
    got = {
        "output of call 1": X * KEPT,
        "grad_input of call 1": X,
        "output of call 2": X,
        "input after use of call 2": X * 0,
    }
    one, two = dropout.masks_of(got)
    np.testing.assert_array_equal(one, KEPT)
    assert two.all()
    assert [mask.tolist() for mask in dropout.masks_of({"output": X * KEPT})] == [KEPT.tolist()]


def test_the_reference_takes_the_masks_call_by_call_and_none_in_evaluation() -> None:
    got = {"output of call 1": X * KEPT, "output of call 2": X * ~KEPT, "output of call 3": X}
    reference = dropout.dropout_given(nn.Dropout(0.75), got)
    x = torch.tensor(X)
    np.testing.assert_allclose(reference(x), X * KEPT * 4)
    np.testing.assert_allclose(reference(x), X * ~KEPT * 4)
    reference.eval()
    assert reference(x) is x
    reference = dropout.dropout_given(nn.Dropout(0.75), got).eval()
    reference(x)
    reference.train()
    np.testing.assert_allclose(reference(x), X * ~KEPT * 4), "an evaluation is a call"
    assert reference(x.float()).dtype == torch.float32
    other = dropout.dropout_given(nn.Dropout(0.75), {"output": X[0]})
    np.testing.assert_allclose(other(x), X * 4)  # of another shape: all is kept


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_a_scratch_layer_repeats_the_masks_of_a_candidate(p: float) -> None:
    layer = scratch.Dropout(p)
    dropout.choose_dropout(layer, {"output of call 1": X * KEPT, "output of call 2": X * ~KEPT, "output of call 3": B})
    for kept in (KEPT, ~KEPT, np.ones_like(KEPT)):  # the third is of another shape: all is kept
        if p == 0:
            np.testing.assert_array_equal(layer(X) != 0, kept)
        elif p < 1:
            np.testing.assert_allclose(layer(X), X * kept / (1 - p))
        else:
            assert not layer(X).any()


def test_without_a_candidate_a_scratch_layer_always_draws_the_same() -> None:
    outputs = []
    for _ in range(2):
        layer = scratch.Dropout(0.5)
        dropout.choose_dropout(layer, None)
        outputs.append(layer(np.ones(50)))
    np.testing.assert_array_equal(outputs[0] != 0, np.random.default_rng(0).random(50) >= 0.5)
    np.testing.assert_array_equal(outputs[0], outputs[1])


def test_only_a_generator_is_replaced() -> None:
    relu = scratch.ReLU()
    dropout.choose_dropout(relu, None)
    assert not hasattr(relu, "generator")
    odd: Any = scratch.Dropout(0.5)
    odd.generator = "another"
    dropout.choose_dropout(odd, None)
    assert odd.generator == "another"


def shares(p: float, *masks: Any) -> dict[str, tuple[float, float, float]]:
    got = {f"output of call {n}": np.asarray(mask, float) for n, mask in enumerate(masks, 1)}
    return dropout.dropout_shares(nn.Dropout(p), got if len(masks) > 1 else {"output": np.asarray(masks[0], float)})


def test_the_shares_of_one_call_by_hand() -> None:
    found = shares(0.25, [[1, 1, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]])
    assert list(found) == ["share kept", "share kept alike by two images"]
    assert found["share kept"] == pytest.approx((9 / 12, 0.75, 6 * (0.75 * 0.25 / 12) ** 0.5))
    # Between the rows 1 and 2 three of four are alike, between 2 and 3 two.
    same = 0.75**2 + 0.25**2
    assert found["share kept alike by two images"] == pytest.approx((5 / 8, same, 6 * (same * (1 - same) / 8) ** 0.5))


def test_the_shares_of_several_calls_by_hand_of_which_the_last_is_in_evaluation() -> None:
    first, second, last = [[1, 0], [1, 1], [0, 1]], [[1, 1], [0, 1]], [[1, 1]]
    found = shares(0.25, first, second, last)
    same = 0.75**2 + 0.25**2
    assert found["share kept"] == pytest.approx((7 / 10, 0.75, 6 * (0.75 * 0.25 / 10) ** 0.5))
    # The first two rows of both calls: (1, 0, 1, 1) and (1, 1, 0, 1).
    two = found["share kept alike by two calls"]
    assert two == pytest.approx((2 / 4, same, 6 * (same * (1 - same) / 4) ** 0.5))
    # Rows one after the other: of two elements one is alike, twice in the first call and once in the second.
    assert found["share kept alike by two images"] == pytest.approx((3 / 6, same, 6 * (same * (1 - same) / 6) ** 0.5))
    assert list(shares(0.25, first, second)) == ["share kept", "share kept alike by two images"]


@pytest.mark.parametrize("mask", [[1, 0, 1], [[1, 0, 1]]])
def test_images_are_not_compared_where_there_is_one_or_none(mask: Any) -> None:
    assert list(shares(0.5, mask)) == ["share kept"]
    assert list(shares(0.5, mask, mask, mask)) == ["share kept", "share kept alike by two calls"]
    pair = [[1, 0, 1], [0, 1, 0]]
    assert list(shares(0.5, pair, [[1, 0, 1]], pair)) == ["share kept", "share kept alike by two calls"]


@pytest.mark.parametrize(
    "masks",
    [
        [1.0],
        [[]],
        [np.ones((0, 3))],
        [np.ones((4, 0))],
        [1.0, 0.0, 1.0],
        [[1, 0], 1.0, [1, 0]],
        [[[1, 0], [0, 1]], np.ones((2, 3)), [[1, 0]]],
        [[[1, 0], [0, 1]], np.ones((0, 2)), [[1, 0]]],
    ],
)
def test_outputs_of_other_shapes_show_no_masks(masks: list[Any]) -> None:
    assert shares(0.5, *masks) == {}
    assert dropout.dropout_shares(nn.Dropout(0.5), {"grad_input": X}) == {}


def test_a_dropout_that_returns_one_number_is_wrong_by_its_shape() -> None:
    class Mean(scratch.Dropout):
        def forward(self, x: Array) -> Any:
            return np.asarray(super().forward(x).mean())

    pair: Any = REGISTRY["dropout"]
    for case in pair.cases:
        probe = pair.probe(case, "float64", np.random.default_rng(0))
        rows = pair.compare(probe, pair.drive(Mean, probe))
        assert any("shape [] instead of" in row.problem for row in rows)
        assert not any(row.tensor.startswith("share") for row in rows)
