"""How optimizers in other styles are driven: every form takes the same steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import scratch
from compare.diagnosis.making import Making, UndrivableError
from compare.diagnosis.optimizers import AdaptedOptimizer, adapt_optimizer
from scratch import Array, Parameter

pytestmark = pytest.mark.computes

START, GRADIENTS = [np.array([1.0, -2.0]), np.array([[3.0]])], [np.array([0.5, 0.25]), np.array([[-1.0]])]


class Stepping:
    def __init__(self, params: list[Parameter], lr: float) -> None:
        self.params, self.lr = params, lr

    def step(self) -> None:
        for p in self.params:
            if p.grad is not None:
                p.data -= self.lr * p.grad


class ByDictionary:
    def __init__(self, lr: float = 0.1) -> None:
        self.lr, self.calls = lr, 0

    def update(self, params: dict[str, Array], grads: dict[str, Array]) -> None:
        for key in params.keys():  # noqa: SIM118 - a list has none
            params[key] = params[key] - self.lr * grads[key]


class ByList:
    def __init__(self, learning_rate: float) -> None:
        self.learning_rate, self.t = learning_rate, 0

    def apply_gradients(self, weights: list[Array], gradients: list[Array]) -> list[Array]:
        self.t += 1
        return [w - self.learning_rate * g for w, g in zip([*weights], gradients, strict=True)]


class OneByOne:
    def __init__(self, lr: float) -> None:
        self.lr, self.seen = lr, 0

    def update(self, w: Array, dw: Array) -> Array:
        self.seen += 1
        return w - self.lr * dw


def sgd(w: Array, dw: Array, config: Any = None) -> Any:
    config = {} if config is None else config
    config.setdefault("steps", 0)
    config["steps"] += 1
    return w - config["learning_rate"] * dw, config


@pytest.mark.parametrize("factory", [Stepping, ByDictionary, ByList, OneByOne, sgd])
def test_every_form_of_optimizer_takes_the_same_steps(factory: Any) -> None:
    parameters = [Parameter(array.copy()) for array in START]
    made = adapt_optimizer(factory, parameters, Making({"lr": 0.5}, {"lr": 0.001}, "float64"))
    assert isinstance(made, AdaptedOptimizer)
    expected = [array.copy() for array in START]
    arrays = [parameter.data for parameter in parameters]
    for rate in (0.5, 0.5, 0.25):
        made.lr = rate
        assert made.lr == rate
        made.zero_grad()
        assert all(parameter.grad is None for parameter in parameters)
        for parameter, gradient, value in zip(parameters, GRADIENTS, expected, strict=True):
            parameter.grad = gradient.copy()
            value -= rate * gradient
        made.step()
        for parameter, array, value in zip(parameters, arrays, expected, strict=True):
            assert parameter.data is array
            np.testing.assert_allclose(array, value, rtol=1e-12)
    parameters[0].grad = None
    made.step()
    np.testing.assert_array_equal(parameters[0].data, expected[0])
    if factory is ByList:  # the first try of a step, with dictionaries, is undone
        assert made.subjects[0].t == 4
    if factory is OneByOne:
        assert [subject.seen for subject in made.subjects] == [3, 4]
    if factory is sgd:
        assert [subject.settings["steps"] for subject in made.subjects] == [3, 4]


def test_our_own_optimizer_stays_what_it_is() -> None:
    parameters = [Parameter(array.copy()) for array in START]
    made = adapt_optimizer(scratch.SGD, parameters, Making({"lr": 0.5, "momentum": 0.5}, {}, "float64"))
    assert type(made) is scratch.SGD
    assert made.lr == 0.5


def test_an_optimizer_that_cannot_be_driven_is_said() -> None:
    class NoStep:
        pass

    class NoRate:
        def step(self) -> None:
            pass

    with pytest.raises(UndrivableError, match="NoStep has no method called step, update, apply_gradients or the like"):
        adapt_optimizer(NoStep, [], Making({}, {}, "float64"))
    made = adapt_optimizer(NoRate, [], Making({}, {}, "float64"))
    with pytest.raises(UndrivableError, match="NoRate has no attribute called lr or learning_rate to change"):
        made.lr = 0.5
