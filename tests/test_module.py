"""Modules, parameters, buffers, models and the optimizers, (almost) without torch in sight."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from torch import nn

import torch_ref
from scratch import (
    CNN,
    SGD,
    Adam,
    Array,
    BatchNorm2d,
    Buffer,
    Conv2d,
    Flatten,
    LeNet5,
    Linear,
    Module,
    Parameter,
    ReLU,
    Sequential,
)

pytestmark = pytest.mark.computes


def test_parameters_are_found_by_name_in_the_order_of_their_assignment() -> None:
    names = [name for name, _ in CNN().named_parameters()]
    assert names == ["conv1.weight", "conv1.bias", "fc1.weight", "fc1.bias"]
    assert list(CNN().state_dict()) == names
    assert [name for name, _ in Sequential(Linear(2, 3), Sequential(Linear(3, 1, bias=False))).named_parameters()] == [
        "0.weight",
        "0.bias",
        "1.0.weight",
    ]
    assert [name for name, _ in Sequential(ReLU()).named_modules()] == ["", "0"]


@pytest.mark.parametrize("name", ["CNN", "LeNet5"])
def test_both_models_of_a_name_are_written_alike(name: str) -> None:
    own, twin = {"CNN": CNN, "LeNet5": LeNet5}[name], getattr(torch_ref, name)
    assert [child for child, _ in own().named_children()] == [child for child, _ in twin().named_children()]
    assert {key: value.shape for key, value in own().state_dict().items()} == {
        key: tuple(value.shape) for key, value in twin().state_dict().items()
    }
    shared = [set(inspect.signature(model).parameters) for model in (own, twin)]
    assert shared[0] - shared[1] == {"generator"}
    assert own(num_classes=3)(np.zeros((2, 1, 28, 28), np.float32)).shape == (2, 3)


def test_gradients_accumulate_until_they_are_zeroed() -> None:
    layer, x = Linear(2, 1, dtype=np.float64), np.array([[1.0, 2.0]])
    assert layer.weight.grad is None
    for times in (1, 2):
        layer(x)
        layer.backward(np.ones((1, 1)))
        np.testing.assert_array_equal(layer.weight.grad, times * x)
    layer.zero_grad()
    assert layer.weight.grad is None


def test_a_parameter_with_two_names_is_updated_once() -> None:
    shared = Linear(2, 2, bias=False)
    model = Sequential(shared, shared)
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "1.weight"]
    assert len(list(model.parameters())) == 1


def test_training_mode_reaches_every_layer() -> None:
    model = Sequential(Sequential(ReLU()))
    assert all(not module.training for _, module in model.eval().named_modules())
    assert all(module.training for _, module in model.train().named_modules())


def test_a_misspelt_attribute_raises() -> None:
    with pytest.raises(AttributeError, match="wieght"):
        _ = Linear(1, 1).wieght  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="forward"):
        Module()(np.zeros(1))


def test_a_sequence_is_its_layers_one_after_the_other_and_back() -> None:
    rng = np.random.default_rng(0)
    layers = [Conv2d(1, 2, 3, generator=rng, dtype=np.float64), ReLU(), Flatten(), Linear(8, 3, dtype=np.float64)]
    x, g = rng.standard_normal((2, 1, 4, 4)), rng.standard_normal((2, 3))
    y = x
    for layer in layers:
        y = layer(y)
    model = Sequential(*layers)
    np.testing.assert_array_equal(model(x), y)
    expected = g
    for layer in reversed(layers):
        expected = layer.backward(expected)
    np.testing.assert_array_equal(model.backward(g), expected)


def test_state_is_copied_in_and_checked_before_anything_is_changed() -> None:
    source, target = (LeNet5(generator=np.random.default_rng(seed)) for seed in (1, 2))
    target.load_state_dict(source.state_dict())
    for name, array in target.state_dict().items():
        np.testing.assert_array_equal(array, source.state_dict()[name])
        assert array is not source.state_dict()[name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": None}, r"Linear: missing keys \['weight'\], unexpected keys \[\]"),
        ({"extra": np.zeros(1)}, r"Linear: missing keys \[\], unexpected keys \['extra'\]"),
        ({"bias": np.zeros((2, 1))}, r"Linear: bias must be float64\[2\], got float64\[2, 1\]"),
        ({"bias": np.zeros(2, np.float32)}, r"Linear: bias must be float64\[2\], got float32\[2\]"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_whole(change: dict[str, Any], message: str) -> None:
    layer = Linear(3, 2, dtype=np.float64)
    before = {name: array.copy() for name, array in layer.state_dict().items()}
    state = {
        name: array for name, array in ({k: v + 1 for k, v in before.items()} | change).items() if array is not None
    }
    with pytest.raises(ValueError, match=message):
        layer.load_state_dict(state)
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_arrays_can_be_converted_as_a_whole() -> None:
    model = Sequential(Linear(2, 2), ReLU())
    model(np.zeros((1, 2), np.float32))
    model.backward(np.zeros((1, 2), np.float32))
    model.to(lambda array: array.astype(np.float64))
    assert all(p.data.dtype == np.float64 and p.grad is None for p in model.parameters())
    assert repr(next(model.parameters())) == "Parameter(shape=(2, 2), dtype=float64)"


def test_buffers_belong_to_the_state_in_torchs_order_but_not_to_the_parameters() -> None:
    own = Sequential(BatchNorm2d(2), Sequential(Linear(2, 2), BatchNorm2d(2, affine=False)))
    twin = nn.Sequential(nn.BatchNorm2d(2), nn.Sequential(nn.Linear(2, 2), nn.BatchNorm2d(2, affine=False)))
    assert list(own.state_dict()) == list(twin.state_dict())
    assert [name for name, _ in own.named_buffers()] == [name for name, _ in twin.named_buffers()]
    assert [name for name, _ in own.named_parameters()] == [name for name, _ in twin.named_parameters()]
    for name, buffer in own.named_buffers():
        assert own.state_dict()[name] is buffer.data


def test_a_shared_buffer_has_several_names_and_comes_once() -> None:
    shared = BatchNorm2d(2)
    model = Sequential(shared, shared)
    assert len(list(model.named_buffers())) == 6
    assert len(list(model.buffers())) == 3


def test_buffers_are_loaded_in_place_and_checked() -> None:
    source, target = BatchNorm2d(2), BatchNorm2d(2)
    source(np.random.default_rng(0).standard_normal((3, 2, 2, 2)).astype(np.float32))
    arrays = target.state_dict()
    target.load_state_dict(source.state_dict())
    for name, array in source.state_dict().items():
        np.testing.assert_array_equal(arrays[name], array)
    with pytest.raises(ValueError, match=r"BatchNorm2d: num_batches_tracked must be int64\[\], got float32\[\]"):
        target.load_state_dict(source.state_dict() | {"num_batches_tracked": np.zeros((), np.float32)})
    with pytest.raises(ValueError, match=r"BatchNorm2d: missing keys \['running_mean'\], unexpected keys \[\]"):
        target.load_state_dict({name: array for name, array in arrays.items() if name != "running_mean"})


def test_a_change_of_dtype_reaches_the_buffers_but_no_whole_number() -> None:
    norm = BatchNorm2d(2).to(lambda array: array.astype(np.float64))
    assert [str(array.dtype) for array in norm.state_dict().values()] == ["float64"] * 4 + ["int64"]
    assert norm.eval()(np.zeros((1, 2, 1, 1))).dtype == np.float64
    assert repr(norm.num_batches_tracked) == "Buffer(shape=(), dtype=int64)"
    assert isinstance(norm.running_mean, Buffer)


# The optimizers; their steps are compared with torch's by the agreement check.


@pytest.mark.parametrize("kind", [SGD, Adam])
def test_parameters_without_gradient_are_left_alone_and_the_others_changed_in_place(
    kind: type[SGD] | type[Adam],
) -> None:
    still, moving = Parameter(np.ones(2)), Parameter(np.ones(2))
    moving.grad = np.ones(2)
    array = moving.data
    optimizer = kind([still, moving], lr=0.5)
    optimizer.step()
    np.testing.assert_array_equal(still.data, [1, 1])
    np.testing.assert_allclose(array, [0.5, 0.5], rtol=1e-7)
    np.testing.assert_array_equal(moving.grad, [1, 1])
    optimizer.zero_grad()
    assert moving.grad is None


def test_the_dtype_is_kept() -> None:
    parameter = Parameter(np.ones(2, np.float32))
    sgd = SGD([parameter], lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True)
    adam = Adam([parameter], betas=(np.float64(0.9), np.float64(0.99)), eps=np.float64(0.1), weight_decay=0.1)
    for optimizer in (sgd, adam) * 3:
        parameter.grad = np.ones(2, np.float32)
        optimizer.step()
    assert parameter.data.dtype == np.float32
    assert adam.moments[0] is not None
    assert [array.dtype for array in adam.moments[0][:2]] == [np.float32, np.float32]


def test_adam_by_hand() -> None:
    """β₁ = 0.5, β₂ = 0.75, eps = 0, gradients 1 and then 3."""
    theta, late = Parameter(np.array([10.0])), Parameter(np.array([10.0]))
    adam = Adam([theta, late], lr=0.5, betas=(0.5, 0.75), eps=0.0)
    theta.grad = np.array([1.0])
    adam.step()  # m = 0.5, v = 0.25; m̂ = 1, v̂ = 1
    np.testing.assert_allclose(theta.data, [9.5], rtol=1e-15)
    theta.grad, late.grad = np.array([3.0]), np.array([-7.0])
    adam.step()  # m = 1.75, v = 0.1875 + 2.25 = 2.4375; m̂ = 1.75/0.75 = 7/3, v̂ = 2.4375/0.4375 = 39/7
    np.testing.assert_allclose(theta.data, [9.5 - 0.5 * (7 / 3) / np.sqrt(39 / 7)], rtol=1e-15)
    np.testing.assert_allclose(late.data, [10.5], rtol=1e-15)  # its first step


def test_the_first_step_of_adam_is_lr_whatever_the_scale() -> None:
    theta = Parameter(np.zeros(3))
    theta.grad = np.array([1e-4, -1.0, 1e4])
    Adam([theta], lr=0.1, eps=1e-12).step()
    np.testing.assert_allclose(theta.data, [-0.1, 0.1, -0.1], rtol=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": float("inf")}, "SGD: lr must be a number of at least 0, got inf"),
        ({"dampening": float("nan")}, "SGD: dampening must be a number, got nan"),
        ({"lr": -1.0}, "SGD: lr must be a number of at least 0, got -1.0"),
        ({"lr": float("nan")}, "SGD: lr must be a number of at least 0, got nan"),
        ({"momentum": -0.1}, "SGD: momentum must be a number of at least 0, got -0.1"),
        ({"weight_decay": -0.1}, "SGD: weight_decay must be a number of at least 0, got -0.1"),
        ({"nesterov": True}, "SGD: nesterov needs momentum above 0 and dampening 0, got momentum=0.0, dampening=0.0"),
        ({"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "SGD: nesterov needs .* dampening=0.1"),
    ],
)
def test_sgd_refuses_settings_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SGD([Parameter(np.ones(1))], **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "Adam: lr must be a number of at least 0, got -1.0"),
        ({"eps": -1e-8}, "Adam: eps must be a number of at least 0, got -1e-08"),
        ({"weight_decay": float("nan")}, "Adam: weight_decay must be a number of at least 0, got nan"),
        ({"betas": (1.0, 0.9)}, r"Adam: betas must be two numbers of at least 0 and below 1, got \(1.0, 0.9\)"),
        ({"betas": (0.9, -0.1)}, r"Adam: betas must be two numbers of at least 0 and below 1, got \(0.9, -0.1\)"),
        ({"betas": (0.9,)}, r"Adam: betas must be two numbers of at least 0 and below 1, got \(0.9,\)"),
        ({"amsgrad": True}, "Adam: amsgrad must be False, the only value supported, got True"),
    ],
)
def test_adam_refuses_settings_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Adam([Parameter(np.ones(1))], **options)


@pytest.mark.parametrize("kind", [SGD, Adam])
def test_an_optimizer_refuses_to_have_nothing_to_do(kind: type[SGD] | type[Adam]) -> None:
    with pytest.raises(ValueError, match=f"{kind.__name__}: parameters must hold at least one Parameter, got none"):
        kind([])


def stepped(kind: type[SGD] | type[Adam], steps: int, **options: Any) -> tuple[SGD | Adam, list[Parameter]]:
    """An optimizer after some steps on two parameters, the second of which has no gradient in the first step."""
    parameters = [Parameter(np.array([1.0, -2.0])), Parameter(np.array([[3.0]]))]
    optimizer = kind(parameters, lr=0.1, **options)
    for number in range(steps):
        parameters[0].grad = np.array([0.5, 1.0 + number])
        parameters[1].grad = np.array([[2.0]]) if number else None
        optimizer.step()
    return optimizer, parameters


@pytest.mark.parametrize(("kind", "options"), [(SGD, {"momentum": 0.9}), (SGD, {}), (Adam, {})])
@pytest.mark.parametrize("saved_after", [0, 1, 3])
def test_an_optimizer_goes_on_from_its_state(
    kind: type[SGD] | type[Adam], options: dict[str, float], saved_after: int
) -> None:
    unbroken, expected = stepped(kind, saved_after, **options)
    state = {name: array.copy() for name, array in unbroken.state_dict().items()}
    resumed, parameters = stepped(kind, 0, **options)
    for parameter, other in zip(parameters, expected, strict=True):
        parameter.data[...] = other.data
    resumed.load_state_dict(state)
    for _ in range(2):
        for optimizer, owned in ((unbroken, expected), (resumed, parameters)):
            for parameter in owned:
                parameter.grad = np.ones_like(parameter.data)
            optimizer.step()
    for parameter, other in zip(parameters, expected, strict=True):
        np.testing.assert_array_equal(parameter.data, other.data)
    for name, array in state.items():
        assert (resumed.state_dict()[name] != array).any(), "the state that was given is copied, not changed"


def test_the_state_of_an_optimizer_has_torchs_names() -> None:
    assert list(stepped(SGD, 1, momentum=0.9)[0].state_dict()) == ["0.momentum_buffer"]
    assert list(stepped(SGD, 2, momentum=0.9)[0].state_dict()) == ["0.momentum_buffer", "1.momentum_buffer"]
    assert stepped(SGD, 2)[0].state_dict() == {}
    state = stepped(Adam, 2)[0].state_dict()
    assert list(state) == [f"{i}.{name}" for i in (0, 1) for name in ("exp_avg", "exp_avg_sq", "step")]
    assert (int(state["0.step"]), int(state["1.step"])) == (2, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"2.exp_avg": np.ones(1)}, r"Adam: unexpected state \['2.exp_avg'\]"),
        ({"0.momentum_buffer": np.ones(2)}, r"Adam: unexpected state \['0.momentum_buffer'\]"),
        ({"0.exp_avg": np.ones(3)}, r"Adam: 0.exp_avg must be float64\[2\], got float64\[3\]"),
        ({"1.exp_avg": np.ones((1, 1), np.float32)}, r"Adam: 1.exp_avg must be float64\[1, 1\], got float32\[1, 1\]"),
        ({"0.step": None}, r"Adam: state of parameter 0 must have all of \('exp_avg', .*, got \['0.exp_avg', "),
    ],
)
def test_the_state_of_another_optimizer_is_refused(change: dict[str, Array | None], message: str) -> None:
    adam, _ = stepped(Adam, 2)
    state = {name: array for name, array in (adam.state_dict() | change).items() if array is not None}
    with pytest.raises(ValueError, match=message):
        stepped(Adam, 0)[0].load_state_dict(state)
