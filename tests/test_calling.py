"""Which of our values belongs to which argument of somebody's function."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from compare.driving import calling
from compare.driving.calling import RATE
from compare.driving.making import Functions, UndrivableError

X, T, G, CACHE = "input", "targets", "gradient", "cache"  # what they are does not matter here


class Recorded:
    """What a function was called with, by the names of its arguments."""

    def __init__(self, arguments: str) -> None:
        self.given: dict[str, Any] = {}
        names = [part.split("=")[0].strip(" *") for part in arguments.split(",") if part.strip(" */")]
        space: dict[str, Any] = {}
        body = ", ".join(f"{name!r}: {name}" for name in names)
        exec(f"def called({arguments}):\n    return {{{body}}}", space)
        self.function: Callable[..., dict[str, Any]] = space["called"]


def forward(arguments: str, *inputs: Any, training: bool = True, functions: Functions | None = None) -> dict[str, Any]:
    """What a forward with these arguments is given."""
    return calling.call_forward(Recorded(arguments).function, inputs, training, functions)


def backward(
    arguments: str, *inputs: Any, cache: Any = None, training: bool = True, functions: Functions | None = None
) -> tuple[dict[str, Any], bool]:
    """What a backward with these arguments is given, and whether it took the gradient."""
    return calling.call_backward(Recorded(arguments).function, G, inputs, cache, training, functions)


def functions(arguments: dict[str, Any] | None = None, **options: Any) -> Functions:
    made = Functions(lambda x: x, None, options)
    made.arguments = arguments or {}
    return made


# The order of a loss's two inputs


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("scores, targets", {"scores": X, "targets": T}),
        ("y_pred, y_true", {"y_pred": X, "y_true": T}),
        ("y_true, y_pred", {"y_true": T, "y_pred": X}),
        ("labels, logits, training", {"labels": T, "logits": X, "training": True}),
        ("t, x, scale=1", {"t": T, "x": X, "scale": 1}),
        ("y, t", {"y": X, "t": T}),  # two words for targets: y is the prediction
        ("x, scores", {"x": X, "scores": T}),
        ("one, other", {"one": X, "other": T}),
        ("target, other", {"target": X, "other": T}),
        ("other, x", {"other": X, "x": T}),
        ("x, y=None", {"x": X, "y": T}),
        ("*arrays", {"arrays": (X, T)}),
        ("first, *others", {"first": X, "others": (T,)}),
    ],
)
def test_a_loss_is_given_scores_and_targets(arguments: str, expected: dict[str, Any]) -> None:
    assert forward(arguments, X, T) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("x, y", {"x": X, "y": T}),
        ("labels, images", {"labels": T, "images": X}),
        ("x, y, lr", {"x": X, "y": T, "lr": RATE}),
        ("x, y, eta=0.1", {"x": X, "y": T, "eta": RATE}),
        ("x, y, training, epochs=3", {"x": X, "y": T, "training": True, "epochs": 3}),
        ("x, y, *, learning_rate", {"x": X, "y": T, "learning_rate": RATE}),
    ],
)
def test_a_training_step_is_given_inputs_and_targets_and_a_rate_that_it_asks_for(
    arguments: str, expected: dict[str, Any]
) -> None:
    assert calling.call_step(Recorded(arguments).function, (X, T), True) == expected


def test_a_training_step_that_asks_for_more_is_named() -> None:
    with pytest.raises(UndrivableError, match=r"^called: cannot tell what to pass as magic;"):
        calling.call_step(Recorded("x, y, magic").function, (X, T), True)


def test_one_input_is_not_turned_round() -> None:
    assert forward("y, x=None", X) == {"y": X, "x": None}
    with pytest.raises(UndrivableError, match="cannot tell what to pass as x"):
        forward("y, x", X)


# What else is asked for by name


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ("x, training", bool),
        ("x, train_flg", bool),
        ("x, is_training=True", bool),
        ("x, training=False", bool),
        ("x, training=None", bool),
        ("x, *, train", bool),
        ("x, *, train=False", bool),
        ("training=True, x=None", bool),
        ("x, mode=True", bool),
        ("x, mode", str),
        ("x, mode=None", str),
        ("x, mode='train'", str),
        ("x, mode='test'", str),
        ("x, training='train'", str),
        ("x, scale=2, other=3, training=None", bool),
    ],
)
def test_the_mode_is_told_as_it_is_asked_for(arguments: str, wanted: type[Any], training: bool) -> None:
    given = forward(arguments, X, training=training)
    (value,) = (value for name, value in given.items() if name.startswith(("is_tr", "tr", "mode")))
    expected: Any = training if wanted is bool else "train" if training else "test"
    assert value is expected if wanted is bool else value == expected


def test_an_input_that_is_called_like_a_mode_is_given_the_input_if_nothing_else_is() -> None:
    assert forward("train", X) == {"train": X}
    assert forward("train, x", X, T) == {"train": X, "x": T}
    assert forward("training=True, x=None", X) == {"training": True, "x": X}


def test_what_has_a_default_that_nobody_knows_keeps_it() -> None:
    assert forward("x, scale=2, training=False", X) == {"x": X, "scale": 2, "training": True}
    assert forward("x, mode='max'", X) == {"x": X, "mode": "max"}  # it is about something else
    assert forward("x, mode='max', training=False", X) == {"x": X, "mode": "max", "training": True}
    assert forward("x, scale=2, *, training=False", X) == {"x": X, "scale": 2, "training": True}
    assert forward("x, *rest, scale=2, **others", X) == {"x": X, "rest": (), "scale": 2, "others": {}}
    assert forward("*inputs, training", X) == {"inputs": (X,), "training": True}
    assert forward("x, **kwargs", X, functions=functions(stride=2)) == {"x": X, "kwargs": {}}


def test_arguments_without_names_are_passed_by_place() -> None:
    assert forward("x, training, /", X) == {"x": X, "training": True}
    assert forward("x, t, /", X, T) == {"x": X, "t": T}


class Compiled:
    """Says nothing of its arguments, as compiled code."""

    __signature__ = 0

    def __call__(self, *given: Any) -> Any:
        return given


def test_compiled_code_is_given_the_inputs() -> None:
    assert calling.call_forward(Compiled(), (X,), True, None) == (X,)
    assert calling.call_forward(Compiled(), (X, T), True, None) == (X, T)


def test_an_argument_that_nobody_knows_is_named() -> None:
    def scaled(x: Any, magic: Any) -> Any:
        return x * magic

    with pytest.raises(UndrivableError) as refused:
        calling.call_forward(scaled, (X,), True, None)
    assert str(refused.value) == (
        "scaled: cannot tell what to pass as magic; give that argument a default, "
        "or wrap the call in a function of your own"
    )
    with pytest.raises(UndrivableError, match=r"^called: cannot tell what to pass as magic;"):
        forward("x, *, magic", X)


def test_functions_are_given_weights_settings_and_options_by_name() -> None:
    w = np.array([7.0])
    given = functions({"w": w}, stride=(2, 2), kernel_size=(2, 3), padding=1, p=0.5)
    found = forward("w, x, k, s, pad=0, q=9, param=None", X, functions=given)
    assert found == {"w": w, "x": X, "k": (2, 3), "s": 2, "pad": 1, "q": 9, "param": given.settings}
    assert found["param"] is given.settings
    assert forward("x, conv_param", X, functions=given)["conv_param"] is given.settings
    assert forward("x, training, rate=0", X, functions=given) == {"x": X, "training": True, "rate": 0.5}
    # Without functions an object has its own options.
    assert forward("x, s=1, param=None", X) == {"x": X, "s": 1, "param": None}


def test_a_weight_that_is_called_like_settings_is_a_weight() -> None:
    w = np.array([7.0])
    assert forward("x, params", X, functions=functions({"params": w})) == {"x": X, "params": w}


# Backward


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("g", {"g": G}),
        ("whatever", {"whatever": G}),
        ("x", {"x": G}),  # the only argument, whatever it is called
        ("y", {"y": G}),
        ("dout, cache", {"dout": G, "cache": CACHE}),
        ("ctx, grad_output", {"ctx": CACHE, "grad_output": G}),
        ("x, dout", {"x": X, "dout": G}),
        ("inputs, whatever", {"inputs": X, "whatever": G}),
        ("whatever, x", {"whatever": G, "x": X}),
        ("lr, whatever", {"lr": RATE, "whatever": G}),
        ("learning_rate, x, dvalues", {"learning_rate": RATE, "x": X, "dvalues": G}),
        ("delta, alpha=0.1", {"delta": G, "alpha": RATE}),
        ("training, whatever", {"training": True, "whatever": G}),
        ("dout, training=False", {"dout": G, "training": True}),
        ("dout, scale=2", {"dout": G, "scale": 2}),
        ("dout, *rest", {"dout": G, "rest": ()}),
        ("*gradients", {"gradients": (G,)}),
        ("*, dout", {"dout": G}),
        # The only thing that it must be given, by a word that means a learning rate elsewhere.
        ("eta", {"eta": G}),
        ("alpha", {"alpha": G}),
        ("rate", {"rate": G}),
        ("eta, scale=2", {"eta": G, "scale": 2}),
        ("dout, eta", {"dout": G, "eta": RATE}),
        ("x, eta", {"x": G, "eta": RATE}),
        ("eta, alpha, dout", {"eta": RATE, "alpha": RATE, "dout": G}),
    ],
)
def test_a_layers_backward_takes_the_gradient(arguments: str, expected: dict[str, Any]) -> None:
    assert backward(arguments, X, cache=CACHE) == (expected, True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", {}),
        ("x, inputs", {"x": X, "inputs": X}),
        ("cache", {"cache": CACHE}),
        ("lr", {"lr": RATE}),
        ("learning_rate", {"learning_rate": RATE}),
        ("step_size", {"step_size": RATE}),
        ("eta=0.1", {"eta": RATE}),
        ("scale=2", {"scale": 2}),
    ],
)
def test_a_layers_backward_may_take_no_gradient(arguments: str, expected: dict[str, Any]) -> None:
    assert backward(arguments, X, cache=CACHE) == (expected, False)


@pytest.mark.parametrize(
    ("arguments", "expected", "took"),
    [
        ("", {}, False),
        ("y_true, y_pred", {"y_true": T, "y_pred": X}, False),
        ("scores, targets", {"scores": X, "targets": T}, False),
        ("x", {"x": X}, False),
        ("y", {"y": T}, False),
        ("dout", {"dout": G}, True),
        ("x, t, upstream", {"x": X, "t": T, "upstream": G}, True),
        ("whatever, y", {"whatever": G, "y": T}, True),
        ("dout=1.0", {"dout": G}, True),  # nothing else is asked for
        ("scale=2, dout=1.0", {"scale": 2, "dout": G}, True),
        ("x, dout=1.0", {"x": X, "dout": 1.0}, False),
        ("*arrays", {"arrays": ()}, False),
        ("eta", {"eta": RATE}, False),
    ],
)
def test_a_losss_backward_takes_what_it_asks_for(arguments: str, expected: dict[str, Any], took: bool) -> None:
    assert backward(arguments, X, T) == (expected, took)


def test_a_layers_backward_has_no_targets() -> None:
    with pytest.raises(UndrivableError, match="cannot tell what to pass as y;"):
        backward("y, dout", X)


def test_a_second_gradient_is_not_known() -> None:
    with pytest.raises(UndrivableError, match="cannot tell what to pass as dz;"):
        backward("dout, dz", X)


def test_a_backward_function_is_given_weights_and_the_mode() -> None:
    w = np.array([7.0])
    given = backward("dout, x, w, s, mode", X, training=False, functions=functions({"w": w}, stride=(2, 2)))
    assert given == ({"dout": G, "x": X, "w": w, "s": 2, "mode": "test"}, True)


def relu_prime(z: Any) -> Any:
    return [float(number > 0) for number in z]


def test_a_derivative_of_its_input_is_multiplied_by_the_gradient() -> None:
    gradient, took = calling.call_backward(relu_prime, np.array([3.0, 4.0]), (np.array([-1.0, 2.0]),), None, True, None)
    assert (gradient.tolist(), took) == ([0.0, 4.0], True)


def test_with_a_cache_a_derivative_takes_the_gradient() -> None:
    found = calling.call_backward(relu_prime, np.array([3.0, 0.0]), (np.array([-1.0, 2.0]),), CACHE, True, None)
    assert found == ([1.0, 0.0], True)


def function_called(name: str, arguments: str) -> Callable[..., Any]:
    made = Recorded(arguments).function
    made.__name__ = name
    return made


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("relu_prime", "z", True),
        ("sigmoid_derivative", "x", True),
        ("Gradient", "x", True),
        ("tanh_grad", "z, scale=1", True),
        ("deriv", "whatever", True),
        ("relu", "z", False),
        ("backprop", "z", False),
        ("relu_prime", "z, w", False),
        ("relu_prime", "", False),
        ("relu_prime", "dout", False),
        ("backward_prime", "z", False),
        ("Backward_gradient", "z", False),
    ],
)
def test_a_derivative_is_known_by_its_name_and_its_one_argument(name: str, arguments: str, expected: bool) -> None:
    assert calling.takes_input_only(function_called(name, arguments)) is expected


def test_what_has_no_name_is_no_derivative() -> None:
    assert not calling.takes_input_only(functools.partial(relu_prime))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("dout, lr", True),
        ("dout, learning_rate=0.1", True),
        ("lr", True),
        ("dout, eta", True),
        ("dout, alpha=0.1", True),
        ("eta", False),  # alone it is an upstream gradient
        ("alpha", False),
        ("rate, scale=2", False),
        ("eta=0.1", True),  # a gradient has no default
        ("eta, alpha=0.1", True),
        ("dout", False),
        ("", False),
        ("dout, *lr", False),
        ("x, scale", False),
    ],
)
def test_a_learning_rate_is_asked_for_by_name(arguments: str, expected: bool) -> None:
    assert calling.asks_for_rate(Recorded(arguments).function) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("g", True),
        ("dvalues", True),
        ("output_gradient", True),
        ("upstream_grad", True),
        ("d_next", True),
        ("dL_dy", True),
        ("x", False),
        ("z", False),
        ("dx", False),
        ("cache", False),
    ],
)
def test_an_upstream_gradient_is_known_by_its_name(name: str, expected: bool) -> None:
    assert calling._is_gradient(name) is expected
