"""Batch normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

import scratch
from compare.driving.options import IN_FEATURES, VECTOR, Option
from compare.driving.tensors import Call, Tensors, call_names
from compare.pairs.bounds import either_way, growth, left_alone, module_with, unit_roundoff
from compare.pairs.cases import PLAIN, Case, Geometry, Shape, grid, whole
from compare.pairs.pair import IMAGE_SIZES, NO_DECISIONS, NO_PRODUCTS, NOT_RANDOM, ONE_INPUT, LayerPair, Rng
from scratch import Array

GEOMETRIES: list[Geometry] = [
    ((4, 3, 5, 6), {"num_features": 3}),
    ((1, 2, 6, 5), {"num_features": 2, "momentum": 0.3}),  # the values of one image
    ((7, 4, 1, 1), {"num_features": 4, "eps": 1e-3}),  # one value of each image
    ((3, 3, 3, 3), {"num_features": 3, "affine": False}),  # exchanged axes fit by their shapes
    ((2, 1, 4, 7), {"num_features": 1, "eps": 0.1, "momentum": 1.0}),  # an eps that shows where it stands
    ((2, 5, 3, 2), {"num_features": 5, "eps": 0.5, "momentum": 0.0}),
]


def _draw(rng: Rng) -> Case:
    channels = whole(rng, 1, 5)
    options = {"num_features": channels, "eps": float(10 ** rng.uniform(-6, -1)), "momentum": float(rng.uniform(0, 1))}
    shape = whole(rng, 2, 5), channels, whole(rng, 2, 6), whole(rng, 2, 6)
    values = str(rng.choice(("normal", "integers", "post-relu", "magnitudes", "per-channel")))
    return Case(shape, options, values)


def _shapes(layer: nn.Module) -> list[Shape]:
    assert isinstance(layer, nn.BatchNorm2d)
    sizes = [(6, 5), (2, 4), (1, 1), *IMAGE_SIZES]
    return [(3 if n == 0 else 1 + n % 2, layer.num_features, *size) for n, size in enumerate(sizes)]


class _Estimate(NamedTuple):
    """What is exact, and how far a computed one may be from it."""

    value: Array
    error: Array


STATISTICS = "running_mean", "running_var"


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

    A momentum of None means 1 over the number of batches so far; without moving averages, evaluation is like training.

    The gradients, those of the parameters summed over k calls, with q = E g·x̂ and i = g - E g - x̂·q:

        grad_bias:   e_b = G(m + k)·Σ|g|
        grad_weight: e_w = r·|Σ g·x̂| + s'·(e_μ·|Σ g| + G(m + k + 4)·Σ |g|·(|x| + |μ|))
        grad_input:  |w|·(s·r·|i| + s'·e_i),
                     e_i = e_b/m + |x̂|·e_w/m + (|q| + e_w/m)·e_x̂ + 6u·(|g| + |E g| + |x̂·q|)

    and i = g, e_i = 6u·|g| in evaluation.
    """
    layer, u = module_with(reference, torch.abs), unit_roundoff(dtype)  # |w| and |b|: their signs change between calls
    assert isinstance(reference, nn.BatchNorm2d)
    eps, tracked = reference.eps, reference.running_mean is not None
    state = {name: tensor.numpy()[:, None] for name, tensor in layer.state_dict().items() if tensor.ndim}
    weight, bias = state.get("weight", np.ones(1)), state.get("bias", np.zeros(1))
    averages = [_Estimate(state[name], np.zeros_like(state[name])) for name in STATISTICS if tracked]
    bounds, grad_weight, grad_bias = left_alone(reference, calls), np.zeros(()), np.zeros(())
    for number, (call, name) in enumerate(zip(calls, call_names(calls), strict=True)):
        x, g = (_rows(array.astype(np.float64)) for array in (call.inputs[0], call.grad_output))
        m, training = x.shape[1], (number < len(calls) - 1 if number else reference.training) or not tracked
        mean, var = _mean_and_variance(x, dtype) if training else averages
        if training and tracked:
            batches = int(reference.num_batches_tracked or 0) + number + 1
            momentum = 1 / batches if reference.momentum is None else reference.momentum
            unbiased = _Estimate(var.value * m / (m - 1), var.error * m / (m - 1))
            averages = [_moved(a, new, momentum, u) for a, new in zip(averages, (mean, unbiased), strict=True)]
        errors = _call_errors(x, g, mean, var, eps, len(calls), dtype, training=training)
        grad_weight, grad_bias = grad_weight + errors.grad_weight, grad_bias + errors.grad_bias
        for tensor, error in (
            ("output", weight * errors.normal + 4 * u * bias),
            ("grad_input", weight * errors.grad_normal),
        ):
            shaped = np.moveaxis(error.reshape(len(error), *np.delete(call.grad_output.shape, 1)), 0, 1)
            bounds[f"{tensor}{name}"] = either_way(shaped / u, dtype)
    if "weight" in state:
        bounds |= {"grad_weight": either_way(grad_weight[:, 0] / u, dtype)}
        bounds |= {"grad_bias": either_way(grad_bias[:, 0] / u, dtype)}
    moved = zip(STATISTICS, averages, strict=False)
    bounds |= {name: either_way(average.error[:, 0] / u, dtype) for name, average in moved}
    return bounds | ({"num_batches_tracked": np.zeros(())} if tracked else {})


class _Errors(NamedTuple):
    """Those of one call: of x̂, of the parameters' gradients, and of the gradient of the input without |w|."""

    normal: Array
    grad_weight: Array
    grad_bias: Array
    grad_normal: Array


def _call_errors(
    x: Array, g: Array, mean: _Estimate, var: _Estimate, eps: float, calls: int, dtype: str, *, training: bool
) -> _Errors:
    """e_x̂, e_w, e_b and s·r·|i| + s'·e_i of `batch_norm`, for one call of so many; x and g are rows (C, m)."""
    u, m = unit_roundoff(dtype), x.shape[1]
    s, r = 1 / np.sqrt(var.value + eps), 3 * u + _inverse_root_error(var, eps)
    most = s * (1 + r)
    normal, extent = s * (x - mean.value), np.abs(x) + np.abs(mean.value)
    normal_error = r * np.abs(normal) + most * (mean.error + 4 * u * extent)
    total, product = _sum(g), _sum(g * normal)
    total_error = growth(np.asarray(m + calls), dtype) * _sum(np.abs(g))
    product_error = r * np.abs(product) + most * (
        mean.error * np.abs(total) + growth(np.asarray(m + calls + 4), dtype) * _sum(np.abs(g) * extent)
    )
    inner, inner_error = g, 6 * u * np.abs(g)
    if training:
        q, q_error = product / m, product_error / m
        inner = g - total / m - normal * q
        inner_error = total_error / m + np.abs(normal) * q_error + (np.abs(q) + q_error) * normal_error
        inner_error += 6 * u * (np.abs(g) + np.abs(total / m) + np.abs(normal * q))
    return _Errors(normal_error, product_error, total_error, s * r * np.abs(inner) + most * inner_error)


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
    """The largest relative change of 1/√(v + eps) when v changes by its error and stays at 0 or above.

    With a = v + eps and b = a ± e that is |√a - √b|/√b = e/(b + √(a·b)), where nothing cancels.
    """
    a, fall = var.value + eps, np.minimum(var.error, var.value)
    below, above = a - fall, a + var.error
    return np.maximum(fall / (below + np.sqrt(a * below)), var.error / (above + np.sqrt(a * above)))


BATCHNORM2D = LayerPair(
    "batchnorm2d",
    scratch.BatchNorm2d,
    nn.BatchNorm2d,
    batch_norm,
    (
        *grid(GEOMETRIES, (*PLAIN, "per-channel")),
        Case((5, 2, 4, 3), {"num_features": 2}, "per-channel", calls=3),  # two in training
        Case((4, 2, 3, 3), {"num_features": 2, "affine": False, "momentum": 0.7, "eps": 1e-2}, calls=3),
    ),
    small=(
        Case((2, 1, 1, 1), {"num_features": 1}),
        Case((3, 1, 1, 1), {"num_features": 1}),
        Case((1, 1, 2, 2), {"num_features": 1}),
        Case((2, 2, 1, 2), {"num_features": 2}),
        Case((3, 1, 1, 1), {"num_features": 1}, calls=2),
    ),
    draw=_draw,
    often=1,
    weights={"weight": VECTOR, "bias": VECTOR, "running_mean": VECTOR, "running_var": VECTOR},
    options={
        "num_features": IN_FEATURES,
        "eps": Option(),
        "momentum": Option(),
        "affine": Option(drops=("weight", "bias")),
    },
    shapes=_shapes,
    lacks=NO_DECISIONS | ONE_INPUT | NOT_RANDOM | NO_PRODUCTS | {"lesson": "no model of the lesson has it"},
)
