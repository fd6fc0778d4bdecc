"""A bound for any torch module, measured: what roundings inside the reference do to the reference itself.

Where no rule is derived for a module (a Sequential of several layers, an activation outside the registry), the
reference runs again with every number that passes between its layers moved by one rounding, forward and backward. What
that does to a tensor, times what a sum of n such roundings may amount to, is allowed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from compare.driving.tensors import Call, Tensors
from compare.pairs.bounds import conditioning_factor, in_float64, largest_changes, unit_roundoff
from compare.pairs.cases import Shape
from compare.pairs.layers import registered
from compare.pairs.observe import leaves, observe_torch, without_warnings

REPETITIONS = 8


@without_warnings()  # NumPy's too: where a tensor is not finite, its bound says so
def measured(reference: nn.Module, calls: Sequence[Call], dtype: str) -> Tensors:
    """The largest change of a tensor under one-rounding perturbations, times 2·λ·√(L·n).

    L is the number of layers, n the largest number of elements that a layer is given. The bound is the same for all
    elements of a tensor; for what passes numbers on unchanged it is exactly 0.
    """
    wide = copy.deepcopy(reference).double()
    wide_calls = [in_float64(call, lambda array: array) for call in calls]
    base, passing = observe_torch(wide, wide_calls), _passing(wide, wide_calls[0])
    generator = torch.Generator().manual_seed(0)
    seen = [1]

    def moved_runs() -> Iterator[tuple[Tensors, Tensors]]:
        for _ in range(REPETITIONS):
            moved, sizes = _moved(wide, unit_roundoff(dtype), generator, passing)
            yield observe_torch(moved, wide_calls, keep=False), {}
            seen.extend(sizes)  # which are known once it has run

    changes = largest_changes(base, moved_runs())
    factor = conditioning_factor(len(leaves(reference))) * math.sqrt(max(seen))
    return {
        name: np.full(array.shape, 0.0 if "after use" in name else factor * changes[name])
        for name, array in base.items()
    }


def _passing(reference: nn.Module, call: Call) -> set[str]:
    """The names of the layers that compute nothing, in this call."""
    shapes: dict[str, Shape] = {}
    watched = copy.deepcopy(reference)
    for name, layer in leaves(watched):
        layer.register_forward_pre_hook(lambda _, args, name=name: shapes.__setitem__(name, tuple(args[0].shape)))
    with torch.no_grad():
        watched(*(torch.tensor(array) for array in call.inputs))
    layers = dict(leaves(reference))
    return {name for name, shape in shapes.items() if passes_on(layers[name], shape)}


def _moved(
    reference: nn.Module, size: float, generator: torch.Generator, passing: set[str]
) -> tuple[nn.Module, list[int]]:
    """A copy in which every weight, and every number between two layers that compute, is off by `size`, by chance.

    Also a list that will hold the number of elements that each layer is given.
    """
    moved, sizes = copy.deepcopy(reference), []

    def move(tensor: Tensor) -> Tensor:
        signs = torch.randint(0, 2, tensor.shape, generator=generator, dtype=torch.float64) * 2 - 1
        return tensor * (1 + size * signs)

    def before(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        sizes.append(arguments[0].numel())
        return (move(arguments[0]), *arguments[1:])

    def after(_: nn.Module, _arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        output = move(output)
        if output.requires_grad:
            output.register_hook(move)
        return output

    with torch.no_grad():
        for parameter in moved.parameters():
            parameter.copy_(move(parameter))
    for name, leaf in leaves(moved):
        if name not in passing:
            leaf.register_forward_pre_hook(before)
            leaf.register_forward_hook(after)
    return moved, sizes


def passes_on(layer: nn.Module, shape: Shape) -> bool:
    """Whether a layer computes nothing: what it gives for an input of this shape is among what it is given, or 0.

    Of a layer that is not registered this is tried, forward and backward, on numbers of which no two are equal.
    """
    pair = registered(layer)
    if pair is not None:
        return pair.gives != "computed"
    if list(layer.parameters()):
        return False
    generator = torch.Generator().manual_seed(0)
    return all(_passes(copy.deepcopy(layer).double(), shape, generator) for _ in range(REPETITIONS))


def _passes(layer: nn.Module, shape: Shape, generator: torch.Generator) -> bool:
    x = torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
    try:
        y = layer(x)
        g = torch.randn(y.shape, generator=generator, dtype=torch.float64)
        (grad_input,) = torch.autograd.grad(y, x, g)
    except (RuntimeError, ValueError, IndexError, TypeError, AttributeError):  # nothing is known of it
        return False
    return _is_among(y, x) and _is_among(grad_input, g)


def _is_among(numbers: Tensor, given: Tensor) -> bool:
    return bool((torch.isin(numbers, given) | (numbers == 0)).all())
