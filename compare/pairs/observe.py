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
from compare.driving.observe import learning_rates
from compare.driving.tensors import Call, Tensors, arguments_after_use, call_names, gradient_name
from scratch import Array, backend

Values = dict[str, Array]  # one array for each layer, by its dotted name


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
