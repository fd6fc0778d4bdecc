"""Somebody's network with a training step of its own: `train_step(x, y)`, which changes the weights itself.

The step is presented as a module like any other: its forward is the step, and the gradients are what became of the
weights. What it returns, a loss or an accuracy, is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from compare.driving import calling, signatures, vocabulary
from compare.driving.adapter import Adapted
from compare.driving.layouts import to_theirs
from compare.driving.making import Functions, UndrivableError
from compare.driving.tensors import Array

# What changes weights, by the words in its name.
_STEP = re.compile(r"^_?(train|fit|learn|optimi[sz]e)(_?(step|batch|one_?batch|on_?batch|one_?step))?$|^step$", re.I)
UPDATES = {"update", "updateparams", "updateparameters", "updateweights", "applygradients", "sgdstep", "optimizerstep"}


def step_method(subject: Any) -> str:
    """The method that trains a network on inputs and targets; empty if there is none.

    >>> class Net:
    ...     def train(self, mode=True): ...
    ...     def train_step(self, x, y, lr): ...
    >>> step_method(Net())
    'train_step'
    """
    return next((name for name in _trainers(subject) if not _epochs(getattr(subject, name))), "")


def loop_method(subject: Any) -> str:
    """The method that trains a network for a number of epochs, which may be 1; empty if there is none."""
    return next((name for name in _trainers(subject) if _epochs(getattr(subject, name))), "")


def _trainers(subject: Any) -> Iterator[str]:
    """The methods that train and need no more than inputs, targets, a learning rate and a number of epochs."""
    for name in sorted(dir(subject), key=lambda name: not re.search("step|batch", name, re.I)):
        if _STEP.match(name) and callable(method := getattr(subject, name)):
            known = vocabulary.RATE_WORDS | _epochs(method)
            words = [vocabulary.plain(word) for word in signatures.required_names(method)]
            if sum(word not in known for word in words) == 2:
                yield name


def loss_method(subject: Any) -> str:
    """A method such as `loss(X, y)`, which may return gradients that nothing here looks at; empty if there is none."""
    for name in dir(subject):
        if re.match(r"^_?(compute_?)?(loss|cost)(_?and_?grads?|_?and_?gradients?)?$", name, re.I):
            names = signatures.argument_names(getattr(subject, name)) if callable(getattr(subject, name)) else []
            if len(names) > 1 and vocabulary.plain(names[1]) in vocabulary.TARGET_WORDS:
                return name
    return ""


def _epochs(method: Any) -> set[str]:
    """What a method that takes many steps calls the number of its epochs."""
    return {vocabulary.plain(name) for name in signatures.argument_names(method) if re.search("epoch|iter", name, re.I)}


def update_methods(subject: Any) -> tuple[str, ...]:
    """Methods that update the weights, and further training loops, which nothing here calls."""
    if isinstance(subject, Functions):
        return ()
    found = [name for name in dir(subject) if callable(getattr(subject, name))]
    loops = {name for name in found if _STEP.match(name) and _epochs(getattr(subject, name))}
    if not step_method(subject):
        loops -= {loop_method(subject)}  # its steps are run
    return tuple(name for name in found if vocabulary.plain(name) in UPDATES or name in loops)


class AdaptedStep(Adapted):
    """Drives the training step of a network: `forward(x, classes)`, then `backward` tells how the weights changed.

    Of a training loop it is the one step of one epoch.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.method = step_method(self.subject) or loop_method(self.subject)
        self.network, self.forward_call = self.forward_call, self._step
        self.recovered = set(self.placement.parameters)

    def train(self, mode: bool = True) -> Self:
        """A step is taken in training."""
        del mode
        super().train()
        return self

    def _step(self, x: Array, targets: Array) -> float:
        method = getattr(self.subject, self.method)
        asked = {vocabulary.plain(name) for name in signatures.argument_names(method)} & vocabulary.RATE_WORDS
        if not (self._sets_rate() or asked):
            raise UndrivableError("its learning rate is neither an argument nor an attribute: call it lr")
        calling.call_step(method, (x, targets), self.training, dict.fromkeys(_epochs(method), 1))
        return 0.0

    def _targets(self, targets: Array, scores: Array) -> Array:
        """The classes, or one-hot rows as long as the rows of their output."""
        if self.interface.targets != "one-hot":
            return super()._targets(targets, scores)
        self.forward_call = self.network
        output = super().forward(scores)
        self.forward_call = self._step
        return to_theirs(np.eye(output.shape[1], dtype=scores.dtype)[targets], *self.output_layout)

    def forward(self, *inputs: Array) -> Array:
        super().forward(*inputs)
        return np.zeros(())

    def backward(self, grad_output: Array | float = 1.0) -> Any:
        del grad_output
        for name, parameter in self.placement.parameters.items():
            change = self.placement.update_of(name, calling.RATE)
            change = np.zeros_like(self.placement.pushed[name]) if change is None else change
            parameter.accumulate_grad(self.placement.canonical(name, change).copy())
