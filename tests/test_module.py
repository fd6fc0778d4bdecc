"""Modules, parameters, models and the optimizer, without torch in sight."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import torch_ref
from scratch import CNN, SGD, Conv2d, Flatten, LeNet5, Linear, Module, Parameter, ReLU, Sequential


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


# The optimizer; its steps are compared with torch's by the agreement check.


def test_sgd_leaves_parameters_without_gradient_alone_and_changes_the_others_in_place() -> None:
    still, moving = Parameter(np.ones(2)), Parameter(np.ones(2))
    moving.grad = np.ones(2)
    array = moving.data
    optimizer = SGD([still, moving], lr=0.5)
    optimizer.step()
    np.testing.assert_array_equal(still.data, [1, 1])
    np.testing.assert_array_equal(array, [0.5, 0.5])
    optimizer.zero_grad()
    assert moving.grad is None


def test_sgd_keeps_the_dtype() -> None:
    parameter = Parameter(np.ones(2, np.float32))
    optimizer = SGD([parameter], lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True)
    for _ in range(3):
        parameter.grad = np.ones(2, np.float32)
        optimizer.step()
    assert parameter.data.dtype == np.float32


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


def test_sgd_refuses_to_have_nothing_to_do() -> None:
    with pytest.raises(ValueError, match="SGD: parameters must hold at least one Parameter, got none"):
        SGD([])
