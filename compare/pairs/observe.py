"""Runs a module and writes down every tensor that its user can see. Both twins are observed under the same names."""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

import scratch
from scratch import Array, backend

Tensors = dict[str, Array]
Values = dict[str, Array]  # one array for each layer, by its dotted name


@dataclass(frozen=True)
class Call:
    """One forward and backward pass: the inputs (a loss takes two), and the gradient of the output."""

    inputs: tuple[Array, ...]
    grad_output: Array


def gradient_name(parameter: str) -> str:
    """The name of a parameter's gradient: "conv1.weight" has "conv1.grad_weight"."""
    owner, dot, leaf = parameter.rpartition(".")
    return f"{owner}{dot}grad_{leaf}"


def call_names(calls: Sequence[Call]) -> list[str]:
    """What is added to the name of a tensor to say which call it belongs to; nothing where there is only one."""
    return [""] if len(calls) == 1 else [f" of call {number}" for number in range(1, len(calls) + 1)]


def observe_scratch(module: scratch.Module, calls: Sequence[Call]) -> Tensors:
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


def arguments_after_use(call: Call, name: str) -> Tensors:
    """The arrays that a call was given, under the names that say so."""
    seen = {f"input {n} after use{name}" if n else f"input after use{name}": x for n, x in enumerate(call.inputs)}
    return seen | {f"grad_output after use{name}": call.grad_output}


@contextmanager
def without_warnings() -> Iterator[None]:
    """Without torch's warnings of what it guesses, or no longer wants: the reference is as it was given."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@without_warnings()
def observe_torch(module: nn.Module, calls: Sequence[Call], *, keep: bool = True) -> Tensors:
    """The same tensors of a torch module, by autograd; with `keep`, the module itself stays as it was."""
    if keep and (len(calls) > 1 or has_state(module)):
        module = copy.deepcopy(module)
    module.zero_grad()
    seen: Tensors = {}
    for number, (call, name) in enumerate(zip(calls, call_names(calls), strict=True)):
        if number:
            module.train(number < len(calls) - 1)
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.neg_()
        # torch.tensor copies: the inputs may be read-only, and nothing of them may change.
        first, *rest = (torch.tensor(array) for array in call.inputs)
        first.requires_grad_()
        output = module(first, *rest)
        _backward(output, torch.tensor(call.grad_output))
        assert first.grad is not None
        seen[f"output{name}"] = output.detach().numpy().copy()
        seen[f"grad_input{name}"] = first.grad.numpy().copy()
        seen |= {argument: array.copy() for argument, array in arguments_after_use(call, name).items()}
    for parameter_name, parameter in module.named_parameters():
        if parameter.grad is not None:
            seen[gradient_name(parameter_name)] = parameter.grad.numpy().copy()
        seen[f"{parameter_name} after use"] = parameter.detach().numpy().copy()
    return seen | {buffer_name: buffer.numpy().copy() for buffer_name, buffer in module.named_buffers()}


def has_state(module: nn.Module) -> bool:
    """Whether a module has parameters or buffers, which a pass through it may change."""
    return any(True for _ in itertools.chain(module.parameters(), module.buffers()))


def _backward(output: Tensor, grad_output: Tensor) -> None:
    """What `output.backward(grad_output)` does, and the same bits: the gradient of this sum is `grad_output` itself.

    To a gradient that it is given, torch adds the import of sympy, which takes longer than comparing a small layer.
    """
    assert output.shape == grad_output.shape, f"output {output.shape}, its gradient {grad_output.shape}"
    (output * grad_output).sum().backward()


def learning_rates(lr: float, steps: int) -> list[float]:
    """The learning rate of every step: before the last one it is halved, as a schedule would."""
    return [lr] * (steps - 1) + [0.5 * lr]


def observe_scratch_optimizer(
    make: Callable[[list[scratch.Parameter]], scratch.Optimizer], start: Tensors, gradients: Sequence[Tensors]
) -> Tensors:
    """The parameters `start` after one optimizer step for each set of `gradients`, and what became of the gradients.

    A parameter that is missing in `gradients` has none. The learning rate is that of `learning_rates`, so that an
    optimizer that mixes it into its velocity shows.
    """
    parameters = {name: scratch.Parameter(array.copy()) for name, array in start.items()}
    arrays = {name: parameter.data for name, parameter in parameters.items()}  # to be updated in place
    optimizer = make(list(parameters.values()))
    for step, lr in zip(gradients, learning_rates(optimizer.lr, len(gradients)), strict=True):
        optimizer.lr = lr
        for name, parameter in parameters.items():
            parameter.grad = step[name].copy() if name in step else None
        optimizer.step()
    used = {f"grad of {n} after use": p.grad.copy() for n, p in parameters.items() if p.grad is not None}
    optimizer.zero_grad()
    left = np.array(float(sum(p.grad is not None and bool(p.grad.any()) for p in parameters.values())))
    return arrays | used | {"gradients left by zero_grad": left}


def observe_torch_optimizer(
    make: Callable[[list[torch.Tensor]], torch.optim.Optimizer], start: Tensors, gradients: Sequence[Tensors]
) -> Tensors:
    """The same of a torch optimizer."""
    tensors = {name: torch.tensor(array) for name, array in start.items()}
    optimizer = make(list(tensors.values()))
    settings = optimizer.param_groups[0]
    for step, lr in zip(gradients, learning_rates(settings["lr"], len(gradients)), strict=True):
        settings["lr"] = lr
        for name, tensor in tensors.items():
            tensor.grad = torch.tensor(step[name]) if name in step else None
        optimizer.step()
    used = {f"grad of {n} after use": t.grad.numpy().copy() for n, t in tensors.items() if t.grad is not None}
    optimizer.zero_grad()
    left = np.array(float(sum(tensor.grad is not None for tensor in tensors.values())))
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    return arrays | used | {"gradients left by zero_grad": left}


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass through a torch model and its loss.

    Attributes:
        inputs, grad_inputs, grad_outputs: by layer: what it was given, and the gradients of that and of its output.
        logits, grad_logits: the scores (N, K), and what the loss gives back for them.
        loss: the mean over the images.
    """

    inputs: Values
    grad_inputs: Values
    grad_outputs: Values
    logits: Array
    grad_logits: Array
    loss: Array


def torch_pass(reference: nn.Module, images: Array, labels: Array) -> Pass:
    """Watch a pass; the gradients of the parameters are added to those of `reference`."""
    given: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}

    def remember(name: str, args: tuple[Tensor, ...], output: Tensor) -> None:
        given[name], outputs[name] = args[0], output
        args[0].retain_grad()
        output.retain_grad()

    handles = [
        layer.register_forward_hook(lambda _, args, output, name=name: remember(name, args, output))
        for name, layer in leaves(reference)
    ]
    logits = reference(torch.tensor(images, requires_grad=True))
    logits.retain_grad()
    loss = nn.CrossEntropyLoss()(logits, torch.tensor(labels))
    loss.backward()
    for handle in handles:
        handle.remove()
    return Pass(
        {name: _numpy(tensor) for name, tensor in given.items()},
        {name: _numpy(tensor.grad) for name, tensor in given.items()},
        {name: _numpy(tensor.grad) for name, tensor in outputs.items()},
        _numpy(logits),
        _numpy(logits.grad),
        _numpy(loss),
    )


def _numpy(tensor: Tensor | None) -> Array:
    assert tensor is not None
    return tensor.detach().numpy().copy()


def record_calls(reference: nn.Module, images: Array, labels: Array) -> dict[str, Call]:
    """What every layer of the reference, and the loss, is given in one forward and backward pass, by name."""
    seen = torch_pass(reference, images, labels)
    calls = {name: Call((seen.inputs[name],), seen.grad_outputs[name]) for name in seen.inputs}
    return calls | {"loss": Call((seen.logits, labels), np.ones((), images.dtype))}


def leaves(reference: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers of a torch model that have no layers inside, with their dotted names."""
    return [(name, layer) for name, layer in reference.named_modules() if not list(layer.children())]


def watch_scratch(model: scratch.Module, images: Array) -> tuple[Values, Values]:
    """The input and the output of every layer in one forward pass, by name, on the host; nothing of the model changes.

    The names are those of modules without modules inside.
    """
    inputs: Values = {}
    outputs: Values = {}

    def watched(name: str, forward: Callable[..., Array]) -> Callable[..., Array]:
        def run(x: Array) -> Array:
            y = forward(x)
            inputs[name], outputs[name] = np.array(backend.to_host(x)), np.array(backend.to_host(y))
            return y

        return run

    layers = [(name, layer) for name, layer in model.named_modules() if not any(True for _ in layer.named_children())]
    for name, layer in layers:
        layer.forward = watched(name, layer.forward)  # the instance's own attribute, which hides the class's
    try:
        model(images)
    finally:
        for _, layer in layers:
            del layer.forward
    return inputs, outputs


def watch_torch(model: nn.Module, images: Tensor) -> tuple[Values, Values]:
    """The same of a torch model."""
    inputs: Values = {}
    outputs: Values = {}

    def remember(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            inputs[name], outputs[name] = args[0].cpu().numpy().copy(), output.cpu().numpy().copy()

        return hook

    handles = [layer.register_forward_hook(remember(name)) for name, layer in leaves(model)]
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return inputs, outputs
