"""How optimizers in other styles are driven: every form takes the same steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import scratch
from compare.diagnosis.diagnose import diagnose
from compare.driving.making import Making, UndrivableError, UnsupportedError
from compare.driving.observe import Parameter
from compare.driving.optimizers import AdaptedOptimizer, adapt_optimizer
from scratch import Array

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


class ReturnsDictionary:
    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate

    def update_params(self, params: dict[str, Array], grads: dict[str, Array]) -> dict[str, Array]:
        return {key: params[key] - self.learning_rate * grads[key] for key in params}


class ReturnsTuple:
    def __init__(self, lr: float) -> None:
        self.lr = lr

    def optimize(self, params: list[Array], grads: list[Array]) -> tuple[Array, ...]:
        return tuple(params[i] - self.lr * grads[i] for i in range(len(params)))


class InPlace:
    def __init__(self, lr: float) -> None:
        self.lr = lr

    def __call__(self, param: Array, grad: Array) -> None:
        param -= self.lr * grad


class Theta:
    """Has both a step of its own and an update that is for nobody else."""

    def __init__(self, theta: list[Parameter], lr: float, eps: float = 1e-8) -> None:
        self.held, self.eta, self.eps = theta, lr, eps

    def update(self, params: Any, grads: Any) -> None:
        raise NotImplementedError

    def step(self) -> None:
        for p in self.held:
            if p.grad is not None:
                p.data -= self.eta * p.grad


def made_by_a_function(lr: float) -> ByDictionary:
    return ByDictionary(lr)


def made_from_two(rate: float, lr: float) -> ByDictionary:
    assert rate == lr
    return ByDictionary(lr)


def plainly(x: Array, dx: Array, lr: float) -> Array:
    return x - lr * dx


def in_place(w: Array, dw: Array, learning_rate: float) -> None:
    w -= learning_rate * dw


def with_a_cache(w: Array, dw: Array, lr: float) -> tuple[Array, Array]:
    return w - lr * dw, np.zeros(3)


def with_new_settings(w: Array, dw: Array, config: dict[str, Any]) -> tuple[Array, dict[str, Any]]:
    return w - config["lr"] * dw, {"steps": config.get("steps", 0) + 1}


def in_training(w: Array, dw: Array, lr: float, training: bool) -> Array:
    assert training
    return w - lr * dw


FORMS: list[Any] = [Stepping, ByDictionary, ByList, OneByOne, sgd, ReturnsDictionary, ReturnsTuple, InPlace, Theta]
FORMS += [made_by_a_function, made_from_two, plainly, in_place, with_a_cache, with_new_settings, in_training]
FORMS += [(sgd,), (plainly, None)]


@pytest.mark.parametrize("factory", FORMS)
def test_every_form_of_optimizer_takes_the_same_steps(factory: Any) -> None:
    parameters = [Parameter(array.copy()) for array in START]
    made = adapt_optimizer(factory, parameters, Making({"lr": 0.5}, {"lr": 0.001}, "float64"))
    assert isinstance(made, AdaptedOptimizer)
    assert made.lr == 0.5
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
    if factory in (sgd, (sgd,), with_new_settings):
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


class Adam:
    def __init__(self, lr: float, beta1: float, beta2: float, eps: float = 1e-8) -> None:
        self.lr, self.given = lr, (beta1, beta2, eps)

    def update(self, params: Any, grads: Any) -> None:
        pass


class AdamOfTwo:
    def __init__(self, lr: float, betas: tuple[float, float], eps: float = 1e-8) -> None:
        self.lr, self.given = lr, (*betas, eps)

    def update(self, params: Any, grads: Any) -> None:
        pass


class AdamOfParameters(Adam):
    def __init__(self, params: list[Parameter], lr: float, beta1: float, beta2: float, eps: float = 1e-8) -> None:
        super().__init__(lr, beta1, beta2, eps)
        self.params = params


ADAM = {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0}


@pytest.mark.parametrize("factory", [Adam, AdamOfTwo, AdamOfParameters])
def test_betas_are_passed_as_two_numbers_where_two_are_wanted(factory: Any) -> None:
    parameters = [Parameter(array.copy()) for array in START]
    for options, given in (
        ({"lr": 0.5}, (0.9, 0.999, 1e-8)),
        ({"lr": 0.5, "betas": (0.5, 0.75)}, (0.5, 0.75, 1e-8)),
        ({"lr": 0.5, "betas": (0.5, 0.75), "eps": 0.25}, (0.5, 0.75, 0.25)),
    ):
        made = adapt_optimizer(factory, parameters, Making(options, ADAM, "float64"))
        assert made.subjects[0].given == given
        assert made.subjects[0].lr == 0.5
    if factory is AdamOfParameters:
        assert made.subjects[0].params is parameters


def adam(w: Array, dw: Array, lr: float, beta1: float, beta2: float) -> Array:
    return w - lr * beta1 * beta2 * dw


@pytest.mark.parametrize("factory", [adam, (adam,)])
def test_a_function_is_given_betas_as_two_numbers_too(factory: Any) -> None:
    parameters = [Parameter(np.array([8.0]))]
    made = adapt_optimizer(factory, parameters, Making({"lr": 0.5, "betas": (0.5, 0.75)}, ADAM, "float64"))
    parameters[0].grad = np.array([16.0])
    made.step()
    assert parameters[0].data.item() == 8 - 0.5 * 0.5 * 0.75 * 16


@pytest.mark.parametrize("factory", [plainly, (plainly,), ByDictionary, Stepping, made_by_a_function])
def test_an_option_that_it_does_not_take_is_refused(factory: Any) -> None:
    defaults = {"lr": 0.001, "momentum": 0}
    adapt_optimizer(factory, [], Making({"lr": 0.5}, defaults, "float64"))
    with pytest.raises(UnsupportedError, match=r"^momentum=0\.9$"):
        adapt_optimizer(factory, [], Making({"lr": 0.5, "momentum": 0.9}, defaults, "float64"))


def test_the_rate_is_that_of_the_options_or_torchs() -> None:
    assert AdaptedOptimizer(ByDictionary(), [], {"lr": 0.25}).lr == 0.25
    assert AdaptedOptimizer(ByDictionary(), [], {}).lr == 0.001


def test_every_attribute_that_is_called_a_rate_is_set() -> None:
    class Twice(ByDictionary):
        def __init__(self) -> None:
            super().__init__()
            self.learning_rate, self.momentum = 0.1, 0.9

    twice = Twice()
    made = AdaptedOptimizer(twice, [], {})
    made.lr = 0.25
    assert vars(twice) == {"lr": 0.25, "learning_rate": 0.25, "momentum": 0.9, "calls": 0}


def test_gradients_are_forgotten_by_its_own_method_where_there_is_one() -> None:
    class Clears(Stepping):
        cleared = 0

        def zero_grad(self) -> None:
            self.cleared += 1

    parameters = [Parameter(np.array([8.0]))]
    made = adapt_optimizer(Clears, parameters, Making({"lr": 0.5}, {}, "float64"))
    parameters[0].grad = gradient = np.array([16.0])
    made.zero_grad()
    assert made.subjects[0].cleared == 1
    assert parameters[0].grad is gradient  # what it leaves stays, to be seen


def test_one_parameter_after_another_may_be_alone() -> None:
    parameters = [Parameter(np.array([8.0]))]
    for factory in (OneByOne, sgd, plainly):
        made = adapt_optimizer(factory, parameters, Making({"lr": 0.5}, {}, "float64"))
        made.zero_grad()
        assert parameters[0].grad is None
        made.step()
    assert parameters[0].data.item() == 8


def test_an_optimizer_that_is_wrong_has_no_other_reading() -> None:
    class Uphill:
        def __init__(self, lr: float) -> None:
            self.lr = lr

        def update(self, params: dict[str, Array], grads: dict[str, Array]) -> None:
            for key in params:
                params[key] = params[key] + self.lr * grads[key]

    result = diagnose(Uphill, like="sgd", with_example=False)
    assert (result.outcome, result.alternatives) == ("wrong", ())
    assert result.coverage.layout == ""  # it is given no images
    assert result.headline().startswith("wrong: ")
