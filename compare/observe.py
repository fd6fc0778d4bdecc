"""Runs a module and writes down every tensor that its user can see. Both twins are observed under the same names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

import scratch
from scratch import Array

Tensors = dict[str, Array]


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
    """Outputs, gradients, and whether the inputs were left alone, of `calls` made one after the other.

    Gradients of parameters are those after the last call, accumulated; one that was never set is missing.
    """
    module.zero_grad()
    seen: Tensors = {}
    for call, name in zip(calls, call_names(calls), strict=True):
        seen[f"output{name}"] = np.array(module(*call.inputs))
        seen[f"grad_input{name}"] = np.array(module.backward(call.grad_output))
        seen[f"input after use{name}"] = np.array(call.inputs[0])
        seen[f"grad_output after use{name}"] = np.array(call.grad_output)
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            seen[gradient_name(name)] = np.array(parameter.grad)
    return seen


def observe_torch(module: nn.Module, calls: Sequence[Call]) -> Tensors:
    """The same tensors of a torch module, by autograd."""
    module.zero_grad()
    seen: Tensors = {}
    for call, name in zip(calls, call_names(calls), strict=True):
        # torch.tensor copies: the inputs may be read-only, and nothing of them may change.
        first, *rest = (torch.tensor(array) for array in call.inputs)
        first.requires_grad_()
        output = module(first, *rest)
        output.backward(torch.tensor(call.grad_output))
        assert first.grad is not None
        seen[f"output{name}"] = output.detach().numpy().copy()
        seen[f"grad_input{name}"] = first.grad.numpy().copy()
        seen[f"input after use{name}"] = np.array(call.inputs[0])
        seen[f"grad_output after use{name}"] = np.array(call.grad_output)
    for parameter_name, parameter in module.named_parameters():
        if parameter.grad is not None:
            seen[gradient_name(parameter_name)] = parameter.grad.numpy().copy()
    return seen


def observe_scratch_optimizer(
    make: Callable[[list[scratch.Parameter]], scratch.SGD], start: Tensors, gradients: Sequence[Tensors]
) -> Tensors:
    """The parameters `start` after one optimizer step for each set of `gradients`."""
    parameters = {name: scratch.Parameter(array.copy()) for name, array in start.items()}
    optimizer = make(list(parameters.values()))
    for step in gradients:
        for name, parameter in parameters.items():
            parameter.grad = step[name].copy()
        optimizer.step()
    return {name: parameter.data for name, parameter in parameters.items()}


def observe_torch_optimizer(
    make: Callable[[list[torch.Tensor]], torch.optim.Optimizer], start: Tensors, gradients: Sequence[Tensors]
) -> Tensors:
    """The same of a torch optimizer."""
    tensors = {name: torch.tensor(array) for name, array in start.items()}
    optimizer = make(list(tensors.values()))
    for step in gradients:
        for name, tensor in tensors.items():
            tensor.grad = torch.tensor(step[name])
        optimizer.step()
    return {name: tensor.numpy() for name, tensor in tensors.items()}
