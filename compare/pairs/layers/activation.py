"""Activations: ReLU, softmax and its logarithm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from torch import Tensor, nn

import scratch
from compare.driving.options import ALONG_ROWS
from compare.driving.tensors import Call, Tensors, call_names
from compare.pairs.bounds import LIBRARY, either_way, exact, left_alone
from compare.pairs.by_hand import BOTH, MAPPED, ByHand, Lesson, Results, array, plain
from compare.pairs.cases import PLAIN, SCORES, Case, grid, whole
from compare.pairs.pair import (
    NO_DECISIONS,
    NO_OPTIONS,
    NO_PRODUCTS,
    NO_WEIGHTS,
    NOT_RANDOM,
    ONE_INPUT,
    Decisions,
    LayerPair,
    Rng,
    row_shapes,
)
from scratch import Array, log_softmax

# ---- ReLU


class _Mask(Decisions):
    """Which inputs a ReLU passes on: those above 0."""

    words = "input"
    among_elements = False

    def turned(self, layer: nn.Module, own: Tensor, twin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        del layer
        return (own > 0) != (twin > 0), own, twin

    def imposed(self, layer: nn.Module, given: Tensor) -> Callable[[Tensor], Tensor]:
        del layer
        positive = given > 0
        return lambda x: x * positive

    def distance(self, layer: nn.Module, x: Tensor) -> Tensor:
        """How far each input is from 0."""
        del layer
        return x.abs()


def _draw_maps(rng: Rng) -> Case:
    return Case(tuple(whole(rng, 1, 6) for _ in range(4)), {}, str(rng.choice(PLAIN)))


def relu_in_numpy(x: Array, grad_output: Array) -> Results:
    """Any shape."""
    layer = scratch.ReLU()
    y = layer(x)  # (1)
    grad_input = layer.backward(grad_output)
    return {"output": y, "grad_input": grad_input}  # (2)


def relu_in_torch(x: Tensor, grad_output: Tensor) -> Results:
    """Any shape."""
    layer = nn.ReLU()
    y = layer(x)  # (1)
    y.backward(grad_output)
    return {"output": y, "grad_input": x.grad}  # (2)


def _relu_by_hand(given: Tensors) -> list[ByHand]:
    x, g = given["x"][0], given["grad_output"][0]
    return [
        ByHand(1, "output", (0, 0), f"max(0, {plain(x[0])}) = 0", 0.0),
        ByHand(2, "grad_input", (0, 2), f"{plain(x[2])} > 0, so g = {plain(g[2])} passes", float(g[2])),
        ByHand(2, "grad_input", (0, 1), "the input is 0, not above it: 0", 0.0),
    ]


RELU = LayerPair(
    "relu",
    scratch.ReLU,
    nn.ReLU,
    exact,
    grid([((3, 2, 5, 4), {}), ((4, 6), {}), ((1, 1), {})], PLAIN),
    small=(Case((1, 3)), Case((1, 1, 2, 2)), Case((1, 3), calls=2)),
    draw=_draw_maps,
    often=1,
    gives="selected",
    decisions=_Mask(),
    lesson=Lesson(
        BOTH,
        MAPPED,
        {"x": array([[-1, 0, 2, 3]]), "grad_output": array([[5, 5, -5, 1]])},
        relu_in_numpy,
        relu_in_torch,
        _relu_by_hand,
    ),
    lacks=NO_WEIGHTS | NO_OPTIONS | ONE_INPUT | NOT_RANDOM | NO_PRODUCTS,
)


# ---- softmax


def _dim(reference: nn.Module, calls: Sequence[Call]) -> int:
    """The axis of the sum; where none was given, the one that torch takes, by the number of axes of the input."""
    if isinstance(reference.dim, int):
        return reference.dim
    return 0 if calls[0].inputs[0].ndim in (0, 1, 3) else 1


def probabilities(reference: nn.Module, calls: Sequence[Call], dtype: str, *, shifted: bool = True) -> Tensors:
    """p_i = exp(d_i) / Σ_j exp(d_j) with d = x - max x, and grad_input_i = p_i·(g_i - Σ_j g_j·p_j).

    With r_i·u the relative error of p_i from `softmax_error`, the error of the gradient is that of its factors:

        p_i · (|g_i - t|·(r_i + 2) + Σ_j |g_j|·p_j·(r_j + K + 1)) · u,     t = Σ_j g_j·p_j

    `shifted` as for `softmax_error`.
    """
    dim = _dim(reference, calls)
    bounds: Tensors = {}
    for call, name in zip(calls, call_names(calls), strict=True):
        x, g = (array.astype(np.float64) for array in (call.inputs[0], call.grad_output))
        p, relative, _ = softmax_error(x, dim, shifted=shifted)
        t = (g * p).sum(axis=dim, keepdims=True)
        spread = (np.abs(g) * p * (relative + x.shape[dim] + 1)).sum(axis=dim, keepdims=True)
        bounds[f"output{name}"] = either_way(p * relative, dtype)
        bounds[f"grad_input{name}"] = either_way(p * (np.abs(g - t) * (relative + 2) + spread), dtype)
    return bounds | left_alone(reference, calls)


def log_probabilities(reference: nn.Module, calls: Sequence[Call], dtype: str, *, shifted: bool = True) -> Tensors:
    """y_i = d_i - log Σ_j exp(d_j), and grad_input_i = g_i - exp(y_i)·Σ_j g_j.

    With e_i·u the error of y_i from `softmax_error`, exp turns it into a relative one:

        (|g_i| + exp(y_i)·(|Σ_j g_j|·(e_i + LIBRARY + 2) + K·Σ_j |g_j|)) · u

    `shifted` as for `softmax_error`.
    """
    dim = _dim(reference, calls)
    bounds: Tensors = {}
    for call, name in zip(calls, call_names(calls), strict=True):
        x, g = (array.astype(np.float64) for array in (call.inputs[0], call.grad_output))
        p, _, absolute = softmax_error(x, dim, shifted=shifted)
        total, magnitude = g.sum(axis=dim, keepdims=True), np.abs(g).sum(axis=dim, keepdims=True)
        product = p * (np.abs(total) * (absolute + LIBRARY + 2) + x.shape[dim] * magnitude)
        bounds[f"output{name}"] = either_way(absolute, dtype)
        bounds[f"grad_input{name}"] = either_way(np.abs(g) + product, dtype)
    return bounds | left_alone(reference, calls)


def softmax_error(x: Array, dim: int, *, shifted: bool = True) -> tuple[Array, Array, Array]:
    """p, the relative error of p, and the absolute error of log p, both in units of u.

    Rounding d_i = x_i - max x costs |d_i|, which exp turns into a relative error; exp and log add LIBRARY each. The sum
    of K exponentials takes their errors, weighted by p, and K additions, and log makes that absolute:

        sum:    e_Σ = Σ_j p_j·|d_j| + LIBRARY + K                        (relative)
        log p:  |d_i| + e_Σ + LIBRARY·|log Σ| + |log p_i|                (absolute)
        p:      |d_i| + LIBRARY + e_Σ + 1                                (relative)

    Not `shifted` are algorithms that add the maximum back before they subtract, x_i - (max x + log Σ_j ...): right, and
    as far off as one rounding of the scores themselves takes the result. |x_i| + |max x| is in the place of |d_i| then.
    """
    largest = x.max(axis=dim, keepdims=True)
    log_sum = np.log(np.exp(x - largest).sum(axis=dim, keepdims=True))
    d = np.abs(x - largest) if shifted else np.abs(x) + np.abs(largest)
    log_p = log_softmax(x, dim)
    p = np.exp(log_p)
    sum_error = (p * d).sum(axis=dim, keepdims=True) + LIBRARY + x.shape[dim]
    relative = d + LIBRARY + sum_error + 1
    absolute = d + sum_error + LIBRARY * log_sum + np.abs(log_p)
    return p, relative, absolute


def _draw_rows(*values: str) -> Callable[[Rng], Case]:
    def draw(rng: Rng) -> Case:
        shape = whole(rng, 1, 6), whole(rng, 2, 12)
        return Case(shape, {"dim": whole(rng, 0, 1)}, str(rng.choice(values)))

    return draw


def softmax_in_numpy(x: Array, grad_output: Array) -> Results:
    """Along a row."""
    layer = scratch.Softmax(dim=-1)
    p = layer(x)  # (1)
    grad_input = layer.backward(grad_output)
    return {"output": p, "grad_input": grad_input}  # (2)


def softmax_in_torch(x: Tensor, grad_output: Tensor) -> Results:
    """Along a row."""
    layer = nn.Softmax(dim=-1)
    p = layer(x)  # (1)
    p.backward(grad_output)
    return {"output": p, "grad_input": x.grad}  # (2)


def _softmax_by_hand(given: Tensors) -> list[ByHand]:
    (x,), (g,) = given["x"].astype(float), given["grad_output"]
    p = np.exp(x) / np.exp(x).sum()
    powers = ", ".join(f"e^{plain(v)} = {np.exp(v):.4f}" for v in x)
    return [
        ByHand(1, "output", (0, 0), f"{powers}; {np.exp(x[0]):.4f} / {np.exp(x).sum():.4f} = {p[0]:.4f}", p[0]),
        ByHand(
            2,
            "grad_input",
            (0, 0),
            f"p₀·(g₀ − g₀·p₀) = {p[0]:.4f}·(1 − {p[0]:.4f}) = {p[0] * (1 - p[0]):.4f}",
            p[0] * (g[0] - (g * p).sum()),
        ),
    ]


CASES = grid([((5, 4), {"dim": 1}), ((1, 10), {"dim": 1}), ((3, 4), {"dim": 0})], SCORES)
SMALL = (Case((1, 2), {"dim": 1}), Case((2, 2), {"dim": 1}), Case((2, 2), {"dim": 0}))

SOFTMAX = LayerPair(
    "softmax",
    scratch.Softmax,
    nn.Softmax,
    probabilities,
    CASES,
    small=SMALL,
    draw=_draw_rows("normal", "zeros"),
    often=1,
    options={"dim": ALONG_ROWS},
    shapes=row_shapes,
    wider=partial(probabilities, shifted=False),
    lesson=Lesson(
        BOTH,
        MAPPED,
        {"x": array([[1, 2, 3]]), "grad_output": array([[1, 0, 0]])},
        softmax_in_numpy,
        softmax_in_torch,
        _softmax_by_hand,
        called=(scratch.softmax,),
    ),
    lacks=NO_DECISIONS | NO_WEIGHTS | ONE_INPUT | NOT_RANDOM | NO_PRODUCTS,
)
LOG_SOFTMAX = LayerPair(
    "log_softmax",
    scratch.LogSoftmax,
    nn.LogSoftmax,
    log_probabilities,
    CASES,
    small=SMALL,
    draw=_draw_rows("normal", "zeros", "large"),
    often=1,
    options={"dim": ALONG_ROWS},
    shapes=row_shapes,
    wider=partial(log_probabilities, shifted=False),
    lacks=NO_DECISIONS
    | NO_WEIGHTS
    | ONE_INPUT
    | NOT_RANDOM
    | NO_PRODUCTS
    | {"lesson": "the lesson shows it inside cross-entropy"},
)
