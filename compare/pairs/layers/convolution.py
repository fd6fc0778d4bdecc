"""Convolution."""

# A layer has a bias unless it is told otherwise.
# mypy: disable-error-code="union-attr"

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

import scratch
from compare.driving.options import BIAS, IN_CHANNELS, KERNEL_SIZE, KERNELS, OUT_FEATURES, PADDING, STRIDE, VECTOR
from compare.driving.tensors import Tensors
from compare.pairs.bounds import sum_of_products
from compare.pairs.by_hand import WEIGHTED, ByHand, Lesson, Results, array, terms
from compare.pairs.cases import PLAIN, Case, Geometry, Shape, grid, whole
from compare.pairs.pair import IMAGE_SIZES, NO_DECISIONS, NOT_RANDOM, ONE_INPUT, LayerPair, Rng
from scratch import Array, naive


def _conv(c_in: int, c_out: int, kernel: int | tuple[int, int], **more: Any) -> dict[str, Any]:
    return {"in_channels": c_in, "out_channels": c_out, "kernel_size": kernel} | more


GEOMETRIES: list[Geometry] = [
    ((3, 2, 9, 8), _conv(2, 5, 3, padding=1)),
    ((2, 3, 7, 7), _conv(3, 3, 3)),  # C_in = C_out: exchanged axes fit by their shapes
    ((2, 3, 8, 6), _conv(3, 2, (3, 2), stride=(2, 1), padding=(1, 0))),
    ((1, 1, 10, 11), _conv(1, 4, 3, stride=2)),  # N = 1, and a stride that leaves rows over
    ((2, 2, 9, 9), _conv(2, 3, 2, stride=3)),  # gaps between the windows
    ((2, 4, 5, 5), _conv(4, 6, 1)),
    ((2, 2, 6, 7), _conv(2, 3, 5, padding=2)),
    ((2, 3, 4, 5), _conv(3, 4, (4, 5), bias=False)),  # one window
    ((2, 1, 4, 4), _conv(1, 2, 3, padding=3)),  # windows that see padding only
    ((1, 2, 7, 6), _conv(2, 3, 3, stride=(1, 2))),  # exchanged sides show one by one
    ((1, 2, 5, 6), _conv(2, 3, 3, padding=(0, 2))),
]


def _draw(rng: Rng) -> Case:
    kernel, stride, padding = ((whole(rng, low, high), whole(rng, low, high)) for low, high in ((1, 4), (1, 3), (0, 2)))
    size = [max(1, k - 2 * p) + whole(rng, 0, 6) for k, p in zip(kernel, padding, strict=True)]
    c_in, c_out = whole(rng, 1, 5), whole(rng, 1, 6)
    options = _conv(c_in, c_out, kernel, stride=stride, padding=padding, bias=bool(rng.integers(2)))
    return Case((whole(rng, 1, 4), c_in, *size), options, str(rng.choice((*PLAIN, "per-channel"))))


def _shapes(layer: nn.Module) -> list[Shape]:
    assert isinstance(layer, nn.Conv2d)
    (kh, kw), channels = layer.kernel_size, layer.in_channels
    sizes = [(kh + 5, kw + 4), (kh + 1, kw + 3), (kh, kw), *IMAGE_SIZES]
    return [(3 if n == 0 else 1 + n % 2, channels, *size) for n, size in enumerate(sizes)]


def in_numpy(x: Array, weight: Array, bias: Array, grad_output: Array) -> Results:
    """One map to one map, with a kernel of 2x2."""
    layer = scratch.Conv2d(1, 1, kernel_size=2)
    layer.load_state_dict({"weight": weight, "bias": bias})
    y = layer(x)  # (1)
    grad_input = layer.backward(grad_output)
    return {
        "output": y,
        "grad_bias": layer.bias.grad,  # (2)
        "grad_weight": layer.weight.grad,  # (3)
        "grad_input": grad_input,  # (4)
    }


def in_torch(x: Tensor, weight: Tensor, bias: Tensor, grad_output: Tensor) -> Results:
    """One map to one map, with a kernel of 2x2."""
    layer = nn.Conv2d(1, 1, kernel_size=2)
    layer.load_state_dict({"weight": weight, "bias": bias})
    y = layer(x)  # (1)
    y.backward(grad_output)
    return {
        "output": y,
        "grad_bias": layer.bias.grad,  # (2)
        "grad_weight": layer.weight.grad,  # (3)
        "grad_input": x.grad,  # (4)
    }


def _by_hand(given: Tensors) -> list[ByHand]:
    x, w, g = given["x"][0, 0], given["weight"][0, 0], given["grad_output"][0, 0]
    window = list(np.ndindex(2, 2))
    centre = [(g[i, j], w[1 - i, 1 - j]) for i, j in window]
    return [
        ByHand(1, "output", (0, 0, 0, 0), *terms([(x[u, v], w[u, v]) for u, v in window], given["bias"][0])),
        ByHand(2, "grad_bias", (0,), *terms([(g[i, j],) for i, j in window])),
        ByHand(3, "grad_weight", (0, 0, 0, 0), *terms([(g[i, j], x[i, j]) for i, j in window])),
        ByHand(4, "grad_input", (0, 0, 1, 1), *terms(centre)),
    ]


CONV2D = LayerPair(
    "conv2d",
    scratch.Conv2d,
    nn.Conv2d,
    sum_of_products,
    (
        *grid(GEOMETRIES, (*PLAIN, "per-channel")),
        # Large enough to be computed in pieces: rows, parts of a row, and parts of the batch.
        Case((40, 6, 14, 14), _conv(6, 16, 5)),
        Case((150, 6, 6, 14), _conv(6, 16, 5)),
        Case((600, 6, 6, 5), _conv(6, 16, 5)),
    ),
    small=(
        Case((1, 1, 3, 3), _conv(1, 1, 3)),
        Case((1, 1, 3, 3), _conv(1, 1, 2)),
        Case((1, 1, 2, 2), _conv(1, 1, 3, padding=1)),
        Case((1, 1, 3, 3), _conv(1, 1, 3, padding=1)),
        Case((1, 1, 4, 4), _conv(1, 1, 2, stride=2)),
        Case((2, 1, 2, 2), _conv(1, 1, 2)),
        Case((1, 2, 2, 2), _conv(2, 1, 2)),
        Case((1, 1, 2, 2), _conv(1, 2, 2)),
        Case((1, 2, 2, 2), _conv(2, 2, 2)),
        Case((1, 1, 3, 3), _conv(1, 1, (2, 1))),
        Case((1, 1, 4, 4), _conv(1, 1, 2, stride=(2, 1))),
        Case((1, 1, 3, 3), _conv(1, 1, 3, padding=(1, 0))),
        Case((1, 1, 2, 2), _conv(1, 1, 2), calls=2),
        Case((2, 1, 2, 2), _conv(1, 1, 2), calls=2),
    ),
    draw=_draw,
    often=5,  # it has the most ways to be configured
    weights={"weight": KERNELS, "bias": VECTOR},
    options={
        "in_channels": IN_CHANNELS,
        "out_channels": OUT_FEATURES,
        "kernel_size": KERNEL_SIZE,
        "stride": STRIDE,
        "padding": PADDING,
        "bias": BIAS,
    },
    shapes=_shapes,
    products=lambda layer: layer.weight.data[0].size,
    normwise=True,
    lesson=Lesson(
        ("forward", "_columns", "backward", "backward_parameters"),
        WEIGHTED,
        {
            "x": array(range(9), (1, 1, 3, 3)),
            "weight": array([1, 2, 3, 4], (1, 1, 2, 2)),
            "bias": array([0.5]),
            "grad_output": array([1, 0, 2, -1], (1, 1, 2, 2)),
        },
        in_numpy,
        in_torch,
        _by_hand,
        loops=(naive.conv2d, naive.conv2d_backward),
    ),
    lacks=NO_DECISIONS | ONE_INPUT | NOT_RANDOM,
)
