"""Linear, and flatten before it."""

# A layer has a bias unless it is told otherwise.
# mypy: disable-error-code="union-attr"

from __future__ import annotations

from torch import Tensor, nn

import scratch
from compare.driving.options import BIAS, IN_FEATURES, MATRIX, OUT_FEATURES, VECTOR
from compare.driving.tensors import Tensors
from compare.pairs.bounds import exact, sum_of_products
from compare.pairs.by_hand import BOTH, MAPPED, WEIGHTED, ByHand, Lesson, Results, array, terms
from compare.pairs.cases import PLAIN, Case, Geometry, Shape, grid, whole
from compare.pairs.pair import (
    NO_DECISIONS,
    NO_OPTIONS,
    NO_PRODUCTS,
    NO_WEIGHTS,
    NOT_RANDOM,
    ONE_INPUT,
    LayerPair,
    Rng,
)
from scratch import Array

# ---- linear

GEOMETRIES: list[Geometry] = [
    ((5, 7), {"in_features": 7, "out_features": 4}),
    ((3, 6), {"in_features": 6, "out_features": 6}),  # square: a forgotten transposition fits by its shape
    ((1, 5), {"in_features": 5, "out_features": 3}),
    ((4, 9), {"in_features": 9, "out_features": 2, "bias": False}),
]


def _draw(rng: Rng) -> Case:
    n_in, n_out = whole(rng, 1, 40), whole(rng, 1, 20)
    options = {"in_features": n_in, "out_features": n_out, "bias": bool(rng.integers(2))}
    return Case((whole(rng, 1, 8), n_in), options, str(rng.choice(PLAIN)))


def _shapes(layer: nn.Module) -> list[Shape]:
    assert isinstance(layer, nn.Linear)
    return [(4, layer.in_features), (1, layer.in_features)]


def linear_in_numpy(x: Array, weight: Array, bias: Array, grad_output: Array) -> Results:
    """Two numbers to two numbers."""
    layer = scratch.Linear(2, 2)
    layer.load_state_dict({"weight": weight, "bias": bias})
    y = layer(x)  # (1)
    grad_input = layer.backward(grad_output)
    return {
        "output": y,
        "grad_bias": layer.bias.grad,  # (2)
        "grad_weight": layer.weight.grad,  # (3)
        "grad_input": grad_input,  # (4)
    }


def linear_in_torch(x: Tensor, weight: Tensor, bias: Tensor, grad_output: Tensor) -> Results:
    """Two numbers to two numbers."""
    layer = nn.Linear(2, 2)
    layer.load_state_dict({"weight": weight, "bias": bias})
    y = layer(x)  # (1)
    y.backward(grad_output)
    return {
        "output": y,
        "grad_bias": layer.bias.grad,  # (2)
        "grad_weight": layer.weight.grad,  # (3)
        "grad_input": x.grad,  # (4)
    }


def _linear_by_hand(given: Tensors) -> list[ByHand]:
    x, w, g = given["x"], given["weight"], given["grad_output"]
    return [
        ByHand(1, "output", (0, 0), *terms([(x[0, i], w[0, i]) for i in (0, 1)], given["bias"][0])),
        ByHand(2, "grad_bias", (0,), *terms([(g[n, 0],) for n in (0, 1)])),
        ByHand(3, "grad_weight", (0, 0), *terms([(g[n, 0], x[n, 0]) for n in (0, 1)])),
        ByHand(4, "grad_input", (0, 0), *terms([(g[0, o], w[o, 0]) for o in (0, 1)])),
    ]


LINEAR = LayerPair(
    "linear",
    scratch.Linear,
    nn.Linear,
    sum_of_products,
    grid(GEOMETRIES, PLAIN),
    small=(
        Case((1, 2), {"in_features": 2, "out_features": 1}),
        Case((1, 2), {"in_features": 2, "out_features": 2}),
        Case((1, 3), {"in_features": 3, "out_features": 2}),
        Case((2, 2), {"in_features": 2, "out_features": 2}),
        Case((2, 2), {"in_features": 2, "out_features": 2}, calls=2),
    ),
    draw=_draw,
    often=3,
    weights={"weight": MATRIX, "bias": VECTOR},
    options={"in_features": IN_FEATURES, "out_features": OUT_FEATURES, "bias": BIAS},
    shapes=_shapes,
    products=lambda layer: layer.weight.data[0].size,
    normwise=True,
    lesson=Lesson(
        (*BOTH, "backward_parameters"),
        WEIGHTED,
        {
            "x": array([[10, 100], [1, 2]]),
            "weight": array([[2, 3], [-1, 0.5]]),
            "bias": array([1, -2]),
            "grad_output": array([[1, 2], [0.5, -1]]),
        },
        linear_in_numpy,
        linear_in_torch,
        _linear_by_hand,
    ),
    lacks=NO_DECISIONS | ONE_INPUT | NOT_RANDOM,
)


# ---- flatten


def _draw_maps(rng: Rng) -> Case:
    values = str(rng.choice(("normal", "per-channel", "magnitudes")))
    return Case(tuple(whole(rng, 1, 6) for _ in range(4)), {}, values)


def flatten_in_numpy(x: Array, grad_output: Array) -> Results:
    """Maps to a row."""
    layer = scratch.Flatten()
    y = layer(x)  # (1)
    grad_input = layer.backward(grad_output)
    return {"output": y, "grad_input": grad_input}  # (2)


def flatten_in_torch(x: Tensor, grad_output: Tensor) -> Results:
    """Maps to a row."""
    layer = nn.Flatten()
    y = layer(x)  # (1)
    y.backward(grad_output)
    return {"output": y, "grad_input": x.grad}  # (2)


def _flatten_by_hand(given: Tensors) -> list[ByHand]:
    x, g = given["x"], given["grad_output"]
    return [
        ByHand(1, "output", (0, 5), "x[0,1,0,1] goes to place (1·2 + 0)·2 + 1 = 5", float(x[0, 1, 0, 1])),
        ByHand(2, "grad_input", (0, 1, 0, 1), "g[0,5] goes back to where it came from", float(g[0, 5])),
    ]


FLATTEN = LayerPair(
    "flatten",
    scratch.Flatten,
    nn.Flatten,
    exact,
    grid([((3, 2, 5, 4), {}), ((1, 4, 1, 1), {}), ((2, 3), {})], ("normal", "per-channel", "magnitudes")),
    small=(Case((1, 1, 1, 2)), Case((1, 2, 1, 2)), Case((1, 1, 2, 2)), Case((2, 2, 2, 2))),
    draw=_draw_maps,
    often=1,
    gives="unchanged",
    lesson=Lesson(
        BOTH,
        MAPPED,
        {"x": array(range(8), (1, 2, 2, 2)), "grad_output": array([range(10, 18)])},
        flatten_in_numpy,
        flatten_in_torch,
        _flatten_by_hand,
    ),
    lacks=NO_DECISIONS | NO_WEIGHTS | NO_OPTIONS | ONE_INPUT | NOT_RANDOM | NO_PRODUCTS,
)
