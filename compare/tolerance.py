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

Where a layer is not a sum of products, its rule says beside it what takes the place of S and n. All bounds are float64
arrays of the shape of the tensor they guard.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from compare.observe import Call, Tensors, arguments_after_use, call_names, observe_torch, observe_torch_optimizer
from scratch import Array, log_softmax

LAMBDA = 4.0
LIBRARY = 8.0  # units of u that exp and log of a mathematical library may be off, each: 4 ulp, NumPy documents 3.83

Rule = Callable[[nn.Module, Sequence[Call], str], Tensors]


def unit_roundoff(dtype: str) -> float:
    """Half the distance from 1 to the next number: the largest relative error of one rounding."""
    return float(np.finfo(dtype).eps) / 2


def growth(n: Array, dtype: str) -> Array:
    """min(γ_n, λ·√n·u) for each number of roundings in `n`; exactly 0 where nothing is rounded."""
    u = unit_roundoff(dtype)
    worst_case = n * u / (1 - n * u)
    return np.minimum(worst_case, LAMBDA * np.sqrt(n) * u)


def in_float64(call: Call, change: Callable[[Array], Array], *, input_too: bool = True) -> Call:
    """`call` with `change` applied to its gradient and (unless told otherwise) its input, in float64."""
    first, *rest = call.inputs
    wide = first.astype(np.float64)
    return Call((change(wide) if input_too else wide, *rest), change(call.grad_output.astype(np.float64)))


def module_with(reference: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
    """A float64 copy of `reference` with `change` applied to every parameter."""
    changed = copy.deepcopy(reference).double()
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.copy_(change(parameter))
    return changed


def term_counts(reference: nn.Module, calls: Sequence[Call]) -> Tensors:
    """How many terms are added up for each element of each tensor: the reference, run on ones."""
    return observe_torch(module_with(reference, torch.ones_like), [in_float64(call, np.ones_like) for call in calls])


def sum_of_products(reference: nn.Module, calls: Sequence[Call], dtype: str) -> Tensors:
    """Convolution and linear layers: (1), with S the reference on absolute values and n the reference on ones.

    A sum of n terms rounds each of them at most n times: once for its product, and once for every addition after it.
    """
    magnitudes = observe_torch(module_with(reference, torch.abs), [in_float64(call, np.abs) for call in calls])
    counts = term_counts(reference, calls)
    # Absolute values once more: between two calls the parameters change their sign, here too.
    bounds = {name: 2 * growth(np.abs(counts[name]), dtype) * np.abs(array) for name, array in magnitudes.items()}
    return bounds | _inputs_left_alone(calls)


def exact(reference: nn.Module, calls: Sequence[Call], _dtype: str) -> Tensors:
    """ReLU and flatten only pass numbers on: equality, bit for bit."""
    return {name: np.zeros(tensor.shape) for name, tensor in observe_torch(reference, calls).items()}


def selection(reference: nn.Module, calls: Sequence[Call], dtype: str) -> Tensors:
    """Max-pooling passes numbers on, and adds up gradients where windows overlap.

    An element that wins n windows takes n - 1 additions: none without overlap, where the bound is equality. The winners
    are those of the real input, so only the gradient is replaced by its absolute value, and by ones.
    """
    wide = copy.deepcopy(reference).double()
    magnitudes = observe_torch(wide, [in_float64(call, np.abs, input_too=False) for call in calls])
    counts = observe_torch(wide, [in_float64(call, np.ones_like, input_too=False) for call in calls])
    bounds: Tensors = {}
    for name in call_names(calls):
        additions = np.maximum(counts[f"grad_input{name}"] - 1, 0)
        bounds[f"grad_input{name}"] = 2 * growth(additions, dtype) * magnitudes[f"grad_input{name}"]
        bounds[f"output{name}"] = np.zeros(magnitudes[f"output{name}"].shape)
    return bounds | _inputs_left_alone(calls)


def probabilities(reference: nn.Module, calls: Sequence[Call], dtype: str) -> Tensors:
    """p_i = exp(d_i) / Σ_j exp(d_j) with d = x - max x, and grad_input_i = p_i·(g_i - Σ_j g_j·p_j).

    With r_i·u the relative error of p_i from `_softmax_error`, the error of the gradient is that of its factors:

        p_i · (|g_i - t|·(r_i + 2) + Σ_j |g_j|·p_j·(r_j + K + 1)) · u,     t = Σ_j g_j·p_j
    """
    dim = reference.dim
    assert isinstance(dim, int)
    bounds: Tensors = {}
    for call, name in zip(calls, call_names(calls), strict=True):
        x, g = (array.astype(np.float64) for array in (call.inputs[0], call.grad_output))
        p, relative, _ = _softmax_error(x, dim)
        t = (g * p).sum(axis=dim, keepdims=True)
        spread = (np.abs(g) * p * (relative + x.shape[dim] + 1)).sum(axis=dim, keepdims=True)
        bounds[f"output{name}"] = _either_way(p * relative, dtype)
        bounds[f"grad_input{name}"] = _either_way(p * (np.abs(g - t) * (relative + 2) + spread), dtype)
    return bounds | _inputs_left_alone(calls)


def log_probabilities(reference: nn.Module, calls: Sequence[Call], dtype: str) -> Tensors:
    """y_i = d_i - log Σ_j exp(d_j), and grad_input_i = g_i - exp(y_i)·Σ_j g_j.

    With e_i·u the error of y_i from `_softmax_error`, exp turns it into a relative one:

        (|g_i| + exp(y_i)·(|Σ_j g_j|·(e_i + LIBRARY + 2) + K·Σ_j |g_j|)) · u
    """
    dim = reference.dim
    assert isinstance(dim, int)
    bounds: Tensors = {}
    for call, name in zip(calls, call_names(calls), strict=True):
        x, g = (array.astype(np.float64) for array in (call.inputs[0], call.grad_output))
        p, _, absolute = _softmax_error(x, dim)
        total, magnitude = g.sum(axis=dim, keepdims=True), np.abs(g).sum(axis=dim, keepdims=True)
        product = p * (np.abs(total) * (absolute + LIBRARY + 2) + x.shape[dim] * magnitude)
        bounds[f"output{name}"] = _either_way(absolute, dtype)
        bounds[f"grad_input{name}"] = _either_way(np.abs(g) + product, dtype)
    return bounds | _inputs_left_alone(calls)


def cross_entropy(reference: nn.Module, calls: Sequence[Call], dtype: str) -> Tensors:
    """L_n = -log p[n,t_n], averaged or added up over N images, and grad_input = s_n·(p - δ).

    The loss takes the errors of its log-probabilities, and N + 1 roundings for the sum and the division; the gradient
    those of p (by exp of the logarithm), of the difference and of the scale:

        |s_n| · (p·(e + LIBRARY) + 3·|p - δ|) · u
    """
    reduction = reference.reduction
    bounds: Tensors = {}
    for call, name in zip(calls, call_names(calls), strict=True):
        logits, targets = call.inputs[0].astype(np.float64), call.inputs[1]
        p, _, absolute = _softmax_error(logits, 1)
        n, k = logits.shape
        right = targets[:, None] == np.arange(k)
        losses, errors = -log_softmax(logits, 1)[right], absolute[right]
        scale = np.abs(call.grad_output.astype(np.float64))
        if reduction == "none":
            bounds[f"output{name}"] = _either_way(errors, dtype)
            scale = scale[:, None]
        else:
            parts = n if reduction == "mean" else 1
            bounds[f"output{name}"] = _either_way((errors.sum() + (n + 1) * losses.sum()) / parts, dtype)
            scale = scale / parts
        product = scale * (p * (absolute + LIBRARY) + 3 * np.abs(p - right))
        bounds[f"grad_input{name}"] = _either_way(product, dtype)
    return bounds | _inputs_left_alone(calls)


def _softmax_error(x: Array, dim: int) -> tuple[Array, Array, Array]:
    """p, the relative error of p, and the absolute error of log p, both in units of u.

    Rounding d_i = x_i - max x costs |d_i|, which exp turns into a relative error; exp and log add LIBRARY each. The sum
    of K exponentials takes their errors, weighted by p, and K additions, and log makes that absolute:

        sum:    e_Σ = Σ_j p_j·|d_j| + LIBRARY + K                        (relative)
        log p:  |d_i| + e_Σ + LIBRARY·|log Σ| + |log p_i|                (absolute)
        p:      |d_i| + LIBRARY + e_Σ + 1                                (relative)
    """
    d = np.abs(x - x.max(axis=dim, keepdims=True))
    log_p = log_softmax(x, dim)
    p = np.exp(log_p)
    sum_error = (p * d).sum(axis=dim, keepdims=True) + LIBRARY + x.shape[dim]
    log_sum = np.log(np.exp(-d).sum(axis=dim, keepdims=True))
    relative = d + LIBRARY + sum_error + 1
    absolute = d + sum_error + LIBRARY * log_sum + np.abs(log_p)
    return p, relative, absolute


def _either_way(error: Array, dtype: str) -> Array:
    """The bound on a difference from errors in units of u; what falls below the smallest normal number may vanish."""
    return np.asarray(2 * (error * unit_roundoff(dtype) + float(np.finfo(dtype).tiny)))


def _inputs_left_alone(calls: Sequence[Call]) -> Tensors:
    """No bound at all: what a module is given must stay as it was, bit for bit."""
    return {
        argument: np.zeros(array.shape)
        for call, name in zip(calls, call_names(calls), strict=True)
        for argument, array in arguments_after_use(call, name).items()
    }


def sgd(
    optimizer: Callable[..., torch.optim.Optimizer],
    options: dict[str, Any],
    parameters: Tensors,
    gradients: Sequence[Tensors],
    dtype: str,
) -> Tensors:
    """Parameters after some optimizer steps: (1), with S the reference on absolute values.

    All signs of an update are made to agree by turning that of the learning rate: θ + lr·(|g| + weight_decay·|θ|). A
    step rounds each of its terms at most 8 times: two operations for the weight decay, three for the velocity, one for
    Nesterov, two for the update.
    """

    def turned(tensors: list[torch.Tensor]) -> torch.optim.Optimizer:
        reference = optimizer(tensors, **options)
        reference.param_groups[0]["lr"] *= -1
        return reference

    magnitudes, *steps = (
        {name: np.abs(array.astype(np.float64)) for name, array in s.items()} for s in (parameters, *gradients)
    )
    roundings = growth(np.asarray(8.0 * len(gradients)), dtype)
    after = observe_torch_optimizer(turned, magnitudes, steps)
    # Gradients are not changed by a step, nor is a parameter without one.
    return {
        name: 2 * roundings * after[name] if name in gradients[0] else np.zeros(array.shape)
        for name, array in after.items()
    }


def conditioning_factor(rounding_layers: int) -> float:
    """How many one-ulp perturbations of a model's inputs the roundings inside it may amount to.

    Each layer that rounds adds about one perturbation of its own inputs. They are independent, so that L of them add up
    to √L; λ and the factor 2 for two implementations are those of (1).
    """
    return 2 * LAMBDA * math.sqrt(rounding_layers)
