"""Drives a module or an optimizer in NumPy and writes down every tensor that its user can see.

Whatever follows the interface of `scratch.Module` and `scratch.Optimizer` can be driven: ours, and somebody's own code
behind an adapter.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compare.driving.tensors import (
    Array,
    Call,
    Given,
    Tensors,
    arguments_after_use,
    call_names,
    gradient_name,
    laid_out,
)


class Parameter:
    """An array and its gradient, as `scratch.Parameter`: what an optimizer is made of."""

    def __init__(self, data: Array) -> None:
        self.data = data
        self.grad: Array | None = None

    def accumulate_grad(self, grad: Array) -> None:
        """Add `grad`, of the shape of `data`, to the gradient."""
        self.grad = grad if self.grad is None else self.grad + grad


class Buffer:
    """An array that belongs to the state and is not trained, as `scratch.Buffer`."""

    def __init__(self, data: Array) -> None:
        self.data = data


def is_ours(kind: Any, *names: str) -> bool:
    """Whether a class is derived from one of these of `scratch`; who does not import that cannot have derived it."""
    ours = tuple(getattr(sys.modules.get("scratch"), name, ()) for name in names)
    return isinstance(kind, type) and issubclass(kind, ours)


def drive_module(module: Any, given: Given) -> Tensors:
    """What a module gives for a probe, on copies of what the probe holds. Raises whatever it raises."""
    with np.errstate(all="ignore"):  # NaN and infinity are found in what it gives
        load(module, given)
        return observe_scratch(module, [laid_out(call, given.layout) for call in given.calls])


def drive_optimizer(make: Callable[..., Any], given: Given, parameter: Callable[[Array], Any] = Parameter) -> Tensors:
    """What an optimizer gives for a probe; `make` takes its parameters, and the options by name."""
    with np.errstate(all="ignore"):

        def made(parameters: list[Any]) -> Any:
            return make(parameters, **given.options)

        return observe_scratch_optimizer(made, given.state, given.gradients, parameter)


def load(module: Any, given: Given) -> None:
    """Give a module the weights of a probe, and its dtype."""
    module.to(lambda array: array.astype(given.dtype))
    module.load_state_dict(given.state)


def observe_scratch(module: Any, calls: Sequence[Call]) -> Tensors:
    """Outputs, gradients, buffers, and whether inputs and weights were left alone, of `calls` made one after the other.

    Between two calls all parameters change their sign, and the last of several calls is made in evaluation mode: of an
    earlier call nothing may be remembered but the gradients of the parameters, which accumulate (one that was never set
    is missing), and the buffers, which are seen as all the calls left them.
    """
    module.zero_grad()
    seen: Tensors = {}
    for number, (call, name) in enumerate(zip(calls, call_names(calls), strict=True)):
        if number:
            module.train(number < len(calls) - 1)
            for parameter in module.parameters():
                parameter.data = -parameter.data
        output = seen[f"output{name}"] = np.asarray(module(*call.inputs))
        # An upstream gradient of another shape than the output says nothing about backward.
        fits = output.shape == call.grad_output.shape
        grad_input: Array | None = module.backward(call.grad_output) if fits else None
        if grad_input is not None:
            seen[f"grad_input{name}"] = np.asarray(grad_input)
        seen |= arguments_after_use(call, name)
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            seen[gradient_name(name)] = parameter.grad
        seen[f"{name} after use"] = parameter.data
    seen |= {name: np.asarray(buffer.data) for name, buffer in module.named_buffers()}
    # Not copied on the way: an array that a later call wrote into again no longer holds what it was returned for.
    return seen


def learning_rates(lr: float, steps: int) -> list[float]:
    """The learning rate of every step: before the last one it is halved, as a schedule would."""
    return [lr] * (steps - 1) + [0.5 * lr]


def observe_scratch_optimizer(
    make: Callable[[list[Any]], Any],
    start: Tensors,
    gradients: Sequence[Tensors],
    parameter: Callable[[Array], Any] = Parameter,
) -> Tensors:
    """The parameters `start` after one optimizer step for each set of `gradients`, and what became of the gradients.

    A parameter that is missing in `gradients` has none. The learning rate is that of `learning_rates`, so that an
    optimizer that mixes it into its velocity shows.
    """
    parameters = {name: parameter(array.copy()) for name, array in start.items()}
    arrays = {name: held.data for name, held in parameters.items()}  # to be updated in place
    optimizer = make(list(parameters.values()))
    for step, lr in zip(gradients, learning_rates(optimizer.lr, len(gradients)), strict=True):
        optimizer.lr = lr
        for name, held in parameters.items():
            held.grad = step[name].copy() if name in step else None
        optimizer.step()
    used = {f"grad of {n} after use": p.grad.copy() for n, p in parameters.items() if p.grad is not None}
    optimizer.zero_grad()
    left = np.array(float(sum(p.grad is not None and bool(p.grad.any()) for p in parameters.values())))
    return arrays | used | {"gradients left by zero_grad": left}
