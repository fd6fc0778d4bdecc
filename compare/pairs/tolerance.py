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
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from compare.pairs.observe import (
    Call,
    Tensors,
    arguments_after_use,
    call_names,
    learning_rates,
    observe_torch,
    observe_torch_optimizer,
)
from scratch import Array, log_softmax

LAMBDA = 4.0
LIBRARY = 8.0  # units of u that exp and log of a mathematical library may be off, each: 4 ulp, NumPy documents 3.83

Rule = Callable[[nn.Module, Sequence[Call], str], Tensors]
OptimizerRule = Callable[
    [Callable[..., torch.optim.Optimizer], dict[str, Any], Tensors, Sequence[Tensors], str], Tensors
]


class _Estimate(NamedTuple):
    """What is exact, and how far a computed one may be from it."""

    value: Array
    error: Array


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
    return observe_torch(module_with(reference, torch.ones_like), [in_float64(call, np.ones_like) for call in calls])


def sum_of_products(reference: nn.Module, calls: Sequence[Call], dtype: str) -> Tensors:
    """Convolution and linear layers: (1), with S the reference on absolute values and n the reference on ones.

    A sum of n terms rounds each of them at most n times: once for its product, and once for every addition after it.
    """
    magnitudes = observe_torch(module_with(reference, torch.abs), [in_float64(call, np.abs) for call in calls])
    counts = term_counts(reference, calls)
    # Absolute values once more: between two calls the parameters change their sign, here too.
    bounds = {name: 2 * growth(np.abs(counts[name]), dtype) * np.abs(array) for name, array in magnitudes.items()}
    return bounds | _left_alone(reference, calls)


def exact(reference: nn.Module, calls: Sequence[Call], _dtype: str) -> Tensors:
    """ReLU and flatten only pass numbers on: equality, bit for bit."""
    return {name: np.zeros(tensor.shape) for name, tensor in observe_torch(reference, calls).items()}


def one_product(reference: nn.Module, calls: Sequence[Call], dtype: str) -> Tensors:
    """Dropout multiplies each number by one constant, itself rounded twice: n = 4 roundings at most."""
    magnitudes = observe_torch(copy.deepcopy(reference).double(), [in_float64(call, np.abs) for call in calls])
    rounded = growth(np.asarray(4.0), dtype)
    return {name: 2 * rounded * array for name, array in magnitudes.items()} | _left_alone(reference, calls)


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
    return bounds | _left_alone(reference, calls)


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
    return bounds | _left_alone(reference, calls)


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
    return bounds | _left_alone(reference, calls)


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
    return bounds | _left_alone(reference, calls)


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


def batch_norm(reference: nn.Module, calls: Sequence[Call], dtype: str) -> Tensors:
    """x̂ = s·(x - μ) with s = 1/√(v + eps), y = w·x̂ + b, and their gradients, by channels of m values each.

    The errors are carried from tensor to tensor; G(n) is `growth`, E the mean over the m values, Σ their sum. Every
    correct algorithm must pass: v in two passes, as E (x - μ)², or in one, as E x² - μ², which keeps the errors of what
    it cancels; y also as (w·s)·x + (b - w·s·μ), and Σ g·x̂ also as s·(Σ g·x - μ·Σ g), for which |x| + |μ| takes the
    place of |x - μ|. With r the relative error of s, s' = s·(1 + r), and a multiple of u for the operations in between:

        e_μ = G(m)·E|x|                              m - 1 additions, and a division
        e_v = 3·G(m + 3)·E x²                        once for E x², twice for μ², as |μ|·E|x| ≤ E x²
        r   = 3u and what e_v does to s, v being never below 0
        e_x̂ = r·|x̂| + s'·(e_μ + 4u·(|x| + |μ|))
        e_y = |w|·e_x̂ + 4u·|b|

    In evaluation, the moving averages a stand for μ and v, with the errors from all calls in training before:

        e_a ← |1 - momentum|·e_a + |momentum|·e_new + 4u·(|a| + |momentum|·(|a| + |new|))

    The gradients, those of the parameters summed over k calls, with q = E g·x̂ and i = g - E g - x̂·q:

        grad_bias:   e_b = G(m + k)·Σ|g|
        grad_weight: e_w = r·|Σ g·x̂| + s'·(e_μ·|Σ g| + G(m + k + 4)·Σ |g|·(|x| + |μ|))
        grad_input:  |w|·(s·r·|i| + s'·e_i),
                     e_i = e_b/m + |x̂|·e_w/m + (|q| + e_w/m)·e_x̂ + 6u·(|g| + |E g| + |x̂·q|)

    and i = g, e_i = 6u·|g| in evaluation.
    """
    layer, u = module_with(reference, torch.abs), unit_roundoff(dtype)  # |w| and |b|: their signs change between calls
    assert isinstance(reference, nn.BatchNorm2d)
    momentum, eps = float(reference.momentum or 0), reference.eps
    state = {name: tensor.numpy()[:, None] for name, tensor in layer.state_dict().items() if tensor.ndim}
    weight, bias = state.get("weight", np.ones(1)), state.get("bias", np.zeros(1))
    averages = [_Estimate(state[name], np.zeros_like(state[name])) for name in ("running_mean", "running_var")]
    bounds, grad_weight, grad_bias = _left_alone(reference, calls), np.zeros(()), np.zeros(())
    for number, (call, name) in enumerate(zip(calls, call_names(calls), strict=True)):
        x, g = (_rows(array.astype(np.float64)) for array in (call.inputs[0], call.grad_output))
        m, mean, var = x.shape[1], *averages
        training = number < len(calls) - 1 if number else reference.training
        if training:
            mean, var = _mean_and_variance(x, dtype)
            unbiased = _Estimate(var.value * m / (m - 1), var.error * m / (m - 1))
            averages = [_moved(a, new, momentum, u) for a, new in zip(averages, (mean, unbiased), strict=True)]
        s, r = 1 / np.sqrt(var.value + eps), 3 * u + _inverse_root_error(var, eps)
        most = s * (1 + r)
        normal, extent = s * (x - mean.value), np.abs(x) + np.abs(mean.value)
        normal_error = r * np.abs(normal) + most * (mean.error + 4 * u * extent)
        total, product = _sum(g), _sum(g * normal)
        total_error = growth(np.asarray(m + len(calls)), dtype) * _sum(np.abs(g))
        product_error = r * np.abs(product) + most * (
            mean.error * np.abs(total) + growth(np.asarray(m + len(calls) + 4), dtype) * _sum(np.abs(g) * extent)
        )
        inner, inner_error = g, 6 * u * np.abs(g)
        if training:
            q, q_error = product / m, product_error / m
            inner = g - total / m - normal * q
            inner_error = total_error / m + np.abs(normal) * q_error + (np.abs(q) + q_error) * normal_error
            inner_error += 6 * u * (np.abs(g) + np.abs(total / m) + np.abs(normal * q))
        grad_weight, grad_bias = grad_weight + product_error, grad_bias + total_error
        for tensor, error in (
            ("output", weight * normal_error + 4 * u * bias),
            ("grad_input", weight * (s * r * np.abs(inner) + most * inner_error)),
        ):
            shaped = np.moveaxis(error.reshape(len(error), *np.delete(call.grad_output.shape, 1)), 0, 1)
            bounds[f"{tensor}{name}"] = _either_way(shaped / u, dtype)
    if "weight" in state:
        bounds |= {"grad_weight": _either_way(grad_weight[:, 0] / u, dtype)}
        bounds |= {"grad_bias": _either_way(grad_bias[:, 0] / u, dtype)}
    bounds |= {
        name: _either_way(average.error[:, 0] / u, dtype)
        for name, average in zip(("running_mean", "running_var"), averages, strict=True)
    }
    return bounds | {"num_batches_tracked": np.zeros(())}


def _rows(x: Array) -> Array:
    """(N, C, H, W) as one row for each channel."""
    return np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)


def _sum(rows: Array) -> Array:
    return np.asarray(rows.sum(axis=1, keepdims=True))


def _mean_and_variance(x: Array, dtype: str) -> tuple[_Estimate, _Estimate]:
    """Those of each row of x, with the errors e_μ and e_v of `batch_norm`."""
    m = x.shape[1]
    mean = _sum(x) / m
    return (
        _Estimate(mean, growth(np.asarray(m), dtype) * _sum(np.abs(x)) / m),
        _Estimate(_sum((x - mean) ** 2) / m, 3 * growth(np.asarray(m + 3), dtype) * _sum(x * x) / m),
    )


def _moved(average: _Estimate, new: _Estimate, momentum: float, u: float) -> _Estimate:
    """The moving average after one more batch, with the error e_a of `batch_norm`."""
    rounded = np.abs(average.value) + abs(momentum) * (np.abs(average.value) + np.abs(new.value))
    return _Estimate(
        (1 - momentum) * average.value + momentum * new.value,
        abs(1 - momentum) * average.error + abs(momentum) * new.error + 4 * u * rounded,
    )


def _inverse_root_error(var: _Estimate, eps: float) -> Array:
    """The greatest relative change of 1/√(v + eps) when v changes by its error and stays at 0 or above.

    With a = v + eps and b = a ± e that is |√a - √b|/√b = e/(b + √(a·b)), where nothing cancels.
    """
    a, fall = var.value + eps, np.minimum(var.error, var.value)
    below, above = a - fall, a + var.error
    return np.maximum(fall / (below + np.sqrt(a * below)), var.error / (above + np.sqrt(a * above)))


def _either_way(error: Array, dtype: str) -> Array:
    """The bound on a difference from errors in units of u; what falls below the smallest normal number may vanish."""
    return np.asarray(2 * (error * unit_roundoff(dtype) + float(np.finfo(dtype).tiny)))


def _left_alone(reference: nn.Module, calls: Sequence[Call]) -> Tensors:
    """No bound at all: what a module is given, and its weights, must stay as they were, bit for bit."""
    inputs = {
        argument: np.zeros(array.shape)
        for call, name in zip(calls, call_names(calls), strict=True)
        for argument, array in arguments_after_use(call, name).items()
    }
    return inputs | {f"{name} after use": np.zeros(tuple(p.shape)) for name, p in reference.named_parameters()}


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
        name: 2 * roundings * after[name] if any(name in step for step in gradients) else np.zeros(array.shape)
        for name, array in after.items()
    }


def adam(
    optimizer: Callable[..., torch.optim.Optimizer],
    options: dict[str, Any],
    parameters: Tensors,
    gradients: Sequence[Tensors],
    dtype: str,
) -> Tensors:
    """Parameters after some steps of Adam, whose square root and quotient leave no sum of products.

    The errors are carried through the recursion, element by element. A step does to them, with h = √(v/(1 - β₂ᵗ)) and
    the step p = lr/(1 - β₁ᵗ)·m/(h + eps):

        g:  e_g ← weight_decay·(e_θ + 2u·|θ|) + u·|g|              0 without decay
        m:  e_m ← β₁·e_m + (1 - β₁)·e_g + u·(|m'| + 3·(|m| + (1 - β₁)·|g|))
        v:  e_v ← β₂·e_v + (1 - β₂)·(2·|g| + e_g)·e_g + 4u·v'      all terms are positive
        h:  e_h = what e_v does to it + (4u + c₂)·h
        p:  e_p = lr/(1 - β₁ᵗ)·(e_m + |m'|·e_d/(h + eps))/d + (4u + c₁)·|p|,   e_d = e_h + u·(h + 2·eps),
        θ:  e_θ ← e_θ + e_p + u·|θ'|                               d = the least that h + eps may come out as

    m', v' and θ' are the new ones; m' may also be computed as m + (1 - β₁)·(g - m). 1 - βᵗ is a plain number, computed
    in float64 in whatever way: c = t·2⁻⁵³/(1 - βᵗ) is what the t products in βᵗ may do to it.
    """
    settings = optimizer([torch.zeros(())], **options).defaults
    rates = learning_rates(settings["lr"], len(gradients))
    after = observe_torch_optimizer(lambda tensors: optimizer(tensors, **options), parameters, gradients)
    bounds = {name: np.zeros(array.shape) for name, array in after.items()}
    for name, start in parameters.items():
        steps = [(lr, step[name].astype(np.float64)) for lr, step in zip(rates, gradients, strict=True) if name in step]
        if steps:
            error = _adam_error(start.astype(np.float64), steps, settings, dtype)
            bounds[name] = _either_way(error / unit_roundoff(dtype), dtype)
    return bounds


def _adam_error(theta: Array, steps: Sequence[tuple[float, Array]], settings: dict[str, Any], dtype: str) -> Array:
    """The error e_θ of `adam` after steps of (learning rate, gradient)."""
    u, tiny = unit_roundoff(dtype), float(np.finfo(dtype).tiny)
    (beta1, beta2), eps, decay = settings["betas"], settings["eps"], settings["weight_decay"]
    m, m_error, v, v_error, theta_error = (np.zeros_like(theta) for _ in range(5))
    for t, (lr, gradient) in enumerate(steps, 1):
        g = gradient + decay * theta
        g_error = decay * (theta_error + 2 * u * np.abs(theta)) + u * np.abs(g) * (decay > 0)
        m_error = beta1 * m_error + (1 - beta1) * g_error + 3 * u * (np.abs(m) + (1 - beta1) * np.abs(g))
        m = beta1 * m + (1 - beta1) * g
        m_error += u * np.abs(m)
        v = beta2 * v + (1 - beta2) * g * g
        v_error = beta2 * v_error + (1 - beta2) * (2 * np.abs(g) + g_error) * g_error + 4 * u * v + tiny
        rest1, rest2 = 1 - beta1**t, 1 - beta2**t
        h = np.sqrt(v / rest2)
        # |√v - √(v - e)| = e/(√v + √(v - e)), where nothing cancels; √e where v itself is less than e.
        roots = np.sqrt(np.maximum(v, v_error)) + np.sqrt(np.maximum(v - v_error, 0))
        h_error = v_error / roots / np.sqrt(rest2) + (4 * u + t * 2.0**-53 / rest2) * h
        d_error = h_error + u * (h + 2 * eps)
        least = np.maximum(h + eps - d_error, eps * (1 - 2 * u))
        p = lr / rest1 * m / (h + eps)
        p_error = lr / rest1 * (m_error + np.abs(m) * d_error / (h + eps)) / least
        p_error += (4 * u + t * 2.0**-53 / rest1) * np.abs(p)
        theta = theta - p
        theta_error = theta_error + p_error + u * np.abs(theta)
    return theta_error


def conditioning_factor(rounding_layers: int) -> float:
    """How many one-ulp perturbations of a model's inputs the roundings inside it may amount to.

    Each layer that rounds adds about one perturbation of its own inputs. They are independent, so that L of them add up
    to √L; λ and the factor 2 for two implementations are those of (1).
    """
    return 2 * LAMBDA * math.sqrt(rounding_layers)
