"""A bound for any torch module, measured: what roundings inside the reference do to the reference itself.

Where no rule is derived for a module (a Sequential of several layers, an activation outside the registry), the
reference runs again with every number that passes between its layers moved by one rounding, forward and backward. What
that does to a tensor, times what a sum of n such roundings may amount to, is allowed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from compare.pairs.bounds import conditioning_factor, in_float64, unit_roundoff
from compare.pairs.layers import registered
from compare.pairs.observe import Call, Tensors, leaves, observe_torch

REPETITIONS = 8


def measured(reference: nn.Module, calls: Sequence[Call], dtype: str) -> Tensors:
    """The greatest change of a tensor under one-rounding perturbations, times 2·λ·√(L·n).

    L is the number of layers, n the greatest number of elements that a layer adds up: no sum in it is longer. The bound
    is the same for all elements of a tensor; for what passes numbers on unchanged it is exactly 0.
    """
    wide = copy.deepcopy(reference).double()
    wide_calls = [in_float64(call, lambda array: array) for call in calls]
    base = observe_torch(copy.deepcopy(wide), wide_calls)
    generator = torch.Generator().manual_seed(0)
    changes = dict.fromkeys(base, 0.0)
    longest = 1
    for _ in range(REPETITIONS):
        moved, sizes = _moved(wide, unit_roundoff(dtype), generator)
        for name, tensor in observe_torch(moved, wide_calls).items():
            changes[name] = max(changes[name], float(np.abs(tensor - base[name]).max(initial=0)))
        longest = max(longest, *sizes, 1)
    factor = conditioning_factor(len(leaves(reference))) * math.sqrt(longest)
    return {
        name: np.full(array.shape, 0.0 if "after use" in name else factor * changes[name])
        for name, array in base.items()
    }


def _moved(reference: nn.Module, size: float, generator: torch.Generator) -> tuple[nn.Module, list[int]]:
    """A copy in which every weight, and every number between two layers, is off by `size`, up or down by chance.

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
    for _, leaf in leaves(moved):
        if not passes_on(leaf):
            leaf.register_forward_pre_hook(before)
            leaf.register_forward_hook(after)
    return moved, sizes


def passes_on(leaf: nn.Module) -> bool:
    """Whether a layer computes nothing: its numbers are among those that it is given, or 0.

    Of a layer that is not registered this is tried, on numbers of which no two are equal.
    """
    pair = registered(leaf)
    if pair is not None:
        return pair.gives != "computed"
    x = torch.arange(1.0, 65.0, dtype=torch.float64).sqrt().reshape(1, 1, 8, 8)
    try:
        with torch.no_grad():
            y = copy.deepcopy(leaf).double()(x)
    except Exception:  # it takes other shapes: nothing is known of it
        return False
    return isinstance(y, Tensor) and bool(torch.isin(y, x).all())
