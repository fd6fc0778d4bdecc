"""Somebody's optimizer, presented as a `scratch.Optimizer`.

Three forms are common: an object that is made from the parameters and has `step()`; an object with `update(params,
grads)`, both dictionaries or lists; and a function, or a method, that takes one weight and its gradient and returns the
new weight.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from compare.driving import calling, signatures, vocabulary
from compare.driving.making import (
    Functions,
    Making,
    UndrivableError,
    UnsupportedError,
    construct,
    refuse_unknown,
)
from compare.driving.observe import Parameter, is_ours
from compare.driving.tensors import Array

STEPS = ("step", "update", "apply_gradients", "update_params", "apply", "optimize", "update_weights", "__call__")
PARAMETERS = {"params", "parameters", "theta", "weights", "variables"}


def adapt_optimizer(factory: Any, parameters: list[Parameter], making: Making) -> Any:
    """An optimizer of these parameters, driven as `scratch.Optimizer` is; one of ours stays what it is.

    Raises:
        UndrivableError: if it cannot be told how to call it.
        UnsupportedError: if it does not take an option that is not at its default.
    """
    if is_ours(factory, "Optimizer"):
        return factory(parameters, **making.options)
    try:
        return _adapted(factory, parameters, making)
    except UnsupportedError as refused:  # in torch's words
        words = re.sub(r"beta[12]=[^,]*(, beta2=.*)?", f"betas={making.full().get('betas')}", str(refused))
        raise UnsupportedError(words) from None


def _adapted(factory: Any, parameters: list[Parameter], making: Making) -> AdaptedOptimizer:
    """An optimizer of these parameters; raises as `adapt_optimizer` does."""
    options = making.full()
    if isinstance(factory, tuple):
        return AdaptedOptimizer(construct(factory, _spread(factory[0], making)), parameters, options)
    function = factory if inspect.isfunction(factory) else None
    if (
        function is not None
        and len(signatures.required_names(function)) >= 2
        and vocabulary.plain(signatures.required_names(function)[0]) in vocabulary.WEIGHT_WORDS | {"x"}
    ):
        refuse_unknown(function, _spread(function, making))
        subject: Any = Functions(function, None, _spread(function, making).full())
        return AdaptedOptimizer(subject, parameters, options)
    wanted = list(inspect.signature(factory).parameters)
    if wanted and vocabulary.plain(wanted[0]) in PARAMETERS:
        bound = _Bound(factory, parameters)
        return AdaptedOptimizer(construct(bound, _spread(factory, making)), parameters, options)
    subject = construct(factory, _spread(factory, making))
    return AdaptedOptimizer(subject, parameters, options)


def _spread(factory: Any, making: Making) -> Making:
    """The same, with `betas` as two numbers where the code wants two."""
    if "betas" not in making.full() or "betas" in inspect.signature(factory).parameters:
        return making

    def spread(options: Mapping[str, Any]) -> dict[str, Any]:
        rest = {name: value for name, value in options.items() if name != "betas"}
        return rest | (dict(zip(("beta1", "beta2"), options["betas"], strict=True)) if "betas" in options else {})

    return replace(making, options=spread(making.options), defaults=spread(making.defaults))


class _Bound:
    """A class that is made from the parameters first, without that argument."""

    def __init__(self, factory: Any, parameters: list[Parameter]) -> None:
        self.func = factory
        self.parameters = parameters
        signature = inspect.signature(factory)
        self.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])
        self.__name__ = getattr(factory, "__name__", "optimizer")

    def __call__(self, **options: Any) -> Any:
        return self.func(self.parameters, **options)


class AdaptedOptimizer:
    """Drives an optimizer object or function."""

    def __init__(self, subject: Any, parameters: list[Parameter], options: Mapping[str, Any]) -> None:
        self.parameters = parameters
        self.functions = subject if isinstance(subject, Functions) else None
        self.subjects: list[Any] = [subject]
        self.one_by_one = self.functions is not None
        self.rate = float(options.get("lr", 1e-3))
        if self.functions is None:
            self.method = next((name for name in STEPS if callable(getattr(subject, name, None))), "")
            if not self.method:
                raise UndrivableError(
                    f"{type(subject).__name__} has no method called {', '.join(STEPS[:3])} or the like"
                )
            wanted = signatures.required_names(getattr(subject, self.method))
            self.by_itself = not wanted
            first = vocabulary.plain(wanted[0]) if wanted else ""
            self.one_by_one = bool(wanted) and first in {"w", "weight", "param", "x", "theta", "parameter", "value"}
        if self.one_by_one:
            self.subjects = [copy.deepcopy(subject) for _ in parameters]  # each with a state of its own

    @property
    def lr(self) -> float:
        """The learning rate."""
        return self.rate

    @lr.setter
    def lr(self, value: float) -> None:
        self.rate = value
        for subject in self.subjects:
            if isinstance(subject, Functions):
                subject.settings |= {"learning_rate": value, "lr": value}
                subject.options["lr"] = value
                continue
            found = [name for name in vars(subject) if vocabulary.plain(name) in vocabulary.RATE_WORDS]
            if not found:
                raise UndrivableError(f"{type(subject).__name__} has no attribute called lr or learning_rate to change")
            for name in found:
                setattr(subject, name, value)

    def step(self) -> None:
        """One step of every parameter that has a gradient."""
        if self.functions is None and self.by_itself:
            getattr(self.subjects[0], self.method)()
            return
        held = [(i, p, p.grad) for i, p in enumerate(self.parameters) if p.grad is not None]
        if self.one_by_one:
            for index, parameter, gradient in held:
                _store(parameter, self._one(self.subjects[index], parameter.data, gradient))
            return
        update = getattr(self.subjects[0], self.method)
        arrays = {f"p{i}": p.data for i, p, _ in held}
        gradients = {f"p{i}": gradient for i, _, gradient in held}
        untried = copy.deepcopy(self.subjects[0])
        try:
            returned = update(arrays, gradients)
        except (TypeError, AttributeError, KeyError, IndexError):  # then lists are wanted
            self.subjects[0] = untried
            as_list = list(arrays.values())
            returned = getattr(untried, self.method)(as_list, list(gradients.values()))
            arrays = dict(zip(arrays, as_list, strict=True))
        if isinstance(returned, dict):
            arrays = returned
        elif isinstance(returned, list | tuple):
            arrays = dict(zip(arrays, returned, strict=False))
        for index, parameter, _ in held:
            _store(parameter, arrays[f"p{index}"])

    def _one(self, subject: Any, weight: Array, gradient: Array) -> Any:
        if not isinstance(subject, Functions):
            returned = getattr(subject, self.method)(weight, gradient)
            return weight if returned is None else returned
        returned = calling.call_forward(subject.forward_function, (weight, gradient), True, subject)
        if isinstance(returned, tuple):
            returned, settings = returned
            if isinstance(settings, dict) and settings is not subject.settings:
                subject.settings.update(settings)
        return weight if returned is None else returned

    def zero_grad(self) -> None:
        """Forget the gradients, if it can; where it has no such method nobody expects it to."""
        clear = getattr(self.subjects[0], "zero_grad", None)
        if callable(clear):
            clear()
        else:
            for parameter in self.parameters:
                parameter.grad = None


def _store(parameter: Parameter, value: Any) -> None:
    """Write what they return into the parameter's own array: that they need not update in place is their convention."""
    if value is not parameter.data:
        parameter.data[...] = np.asarray(value)
