"""How far two correct implementations may differ, derived and never tuned.

For a sum of products, computed in any order, with unit roundoff u (2⁻²⁴ in float32, 2⁻⁵³ in float64) and n roundings on
the way of each product into the sum, the computed value differs from the exact one by at most

    γ_n · S,  γ_n = n·u / (1 - n·u),      S = the same sum over absolute values

(Higham 2002, "Accuracy and Stability of Numerical Algorithms", chapter 3). As roundings go either way, λ·√n·u takes the
place of γ_n with a probability that λ = 4 makes practically one (Ipsen & Zhou 2020, arXiv:1906.10465). Two
implementations may err in opposite directions, which makes the bound on their difference

    |a - b| ≤ 2 · min(γ_n, λ·√n·u) · S                                                                      (1)

S needs no formula of its own: it is the reference itself, run on absolute values. Neither does n: it is the reference
run on ones, which counts the products of each sum, edges and overlaps included.

Where a layer is not a sum of products, its own file (`layers/`) says what takes the place of S and n. All bounds
are float64 arrays of the shape of the tensor they guard.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import nn

from compare.driving.tensors import Call, Tensors, arguments_after_use, call_names
from compare.pairs.observe import observe_torch
from scratch import Array

LAMBDA = 4.0
LIBRARY = 8.0  # units of u that exp and log of a mathematical library may be off, each: 4 ulp, NumPy documents 3.83

Bound = Callable[[nn.Module, Sequence[Call], str], Tensors]


def unit_roundoff(dtype: str) -> float:
    """Half the distance from 1 to the next number: the largest relative error of one rounding."""
    return float(np.finfo(dtype).eps) / 2


def worst_case(n: Array, dtype: str) -> Array:
    """γ_n for each number of roundings in `n`: what no order of additions exceeds."""
    u = unit_roundoff(dtype)
    return n * u / (1 - n * u)


def growth(n: Array, dtype: str) -> Array:
    """min(γ_n, λ·√n·u) for each number of roundings in `n`; exactly 0 where nothing is rounded."""
    return np.minimum(worst_case(n, dtype), LAMBDA * np.sqrt(n) * unit_roundoff(dtype))


def in_float64(call: Call, change: Callable[[Array], Array], *, input_too: bool = True) -> Call:
    """`call` with `change` applied to its gradient and (unless told otherwise) its input, in float64."""
    first, *rest = (x.astype(np.float64) if x.dtype.kind == "f" else x for x in call.inputs)
    return Call((change(first) if input_too else first, *rest), change(call.grad_output.astype(np.float64)))


def module_with(reference: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
    """A float64 copy of `reference` with `change` applied to every parameter."""
    changed = copy.deepcopy(reference).double()
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.copy_(change(parameter))
    return changed


def term_counts(reference: nn.Module, calls: Sequence[Call]) -> Tensors:
    """How many terms are added up for each element of each tensor: the reference, run on ones."""
    ones = module_with(reference, torch.ones_like)
    return observe_torch(ones, [in_float64(call, np.ones_like) for call in calls], keep=False)


def sum_of_products(reference: nn.Module, calls: Sequence[Call], dtype: str) -> Tensors:
    """Sums of products (convolution, linear): (1), with S the reference on absolute values and n the reference on ones.

    A sum of n terms rounds each of them at most n times: once for its product, and once for every addition after it.
    """
    positive = module_with(reference, torch.abs)
    magnitudes = observe_torch(positive, [in_float64(call, np.abs) for call in calls], keep=False)
    counts = term_counts(reference, calls)
    # Absolute values once more: between two calls the parameters change their sign, here too.
    bounds = {name: 2 * growth(np.abs(counts[name]), dtype) * np.abs(array) for name, array in magnitudes.items()}
    return bounds | left_alone(reference, calls)


def exact(reference: nn.Module, calls: Sequence[Call], _dtype: str) -> Tensors:
    """What only passes numbers on: equality, bit for bit."""
    return {name: np.zeros(tensor.shape) for name, tensor in observe_torch(reference, calls).items()}


def either_way(error: Array, dtype: str) -> Array:
    """The bound on a difference from errors in units of u; what falls below the smallest normal number may vanish."""
    return np.asarray(2 * (error * unit_roundoff(dtype) + float(np.finfo(dtype).tiny)))


def left_alone(reference: nn.Module, calls: Sequence[Call]) -> Tensors:
    """No bound at all: what a module is given, and its weights, must stay as they were, bit for bit."""
    inputs = {
        argument: np.zeros(array.shape)
        for call, name in zip(calls, call_names(calls), strict=True)
        for argument, array in arguments_after_use(call, name).items()
    }
    return inputs | {f"{name} after use": np.zeros(tuple(p.shape)) for name, p in reference.named_parameters()}


def largest_changes(
    expected: Tensors, moved: Iterable[tuple[Tensors, Tensors]], start: Tensors | None = None
) -> dict[str, float]:
    """The largest change of each tensor over some runs of a reference that were moved by a rounding.

    Args:
        expected: what the reference gives.
        moved: of each run what it gave, and what updated tensors began with.
        start: what they began with in the reference: of an updated tensor, the change of its update counts.
    """
    changes, start = dict.fromkeys(expected, 0.0), start or {}
    for tensors, began in moved:
        for name, tensor in tensors.items():
            change = (tensor - began.get(name, 0.0)) - (expected[name] - start.get(name, 0.0))
            changes[name] = max(changes[name], float(np.abs(change).max(initial=0)))
    return changes


def conditioning_factor(rounding_layers: int) -> float:
    """How many one-ulp perturbations of a model's inputs the roundings inside it may amount to.

    Each layer that rounds adds about one perturbation of its own inputs. They are independent, so that L of them add up
    to √L; λ and the factor 2 for two implementations are those of (1).
    """
    return 2 * LAMBDA * math.sqrt(rounding_layers)
