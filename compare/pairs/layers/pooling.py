"""Pooling."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

import scratch
from compare.driving.options import KERNEL_SIZE, PADDING, STRIDE
from compare.driving.tensors import Call, Tensors, call_names
from compare.pairs.bounds import growth, in_float64, left_alone
from compare.pairs.by_hand import BOTH, MAPPED, ByHand, Lesson, Results, array, plain
from compare.pairs.cases import PLAIN, Case, Geometry, grid, whole
from compare.pairs.observe import observe_torch
from compare.pairs.pair import NO_DECISIONS, NO_PRODUCTS, NO_WEIGHTS, NOT_RANDOM, ONE_INPUT, Decisions, LayerPair, Rng
from scratch import Array, naive

GEOMETRIES: list[Geometry] = [
    ((2, 3, 9, 7), {"kernel_size": 2}),  # odd sizes: the last row and column are left out
    ((2, 2, 8, 9), {"kernel_size": 3, "stride": 2}),  # overlapping windows
    ((2, 2, 7, 7), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((1, 2, 6, 8), {"kernel_size": (2, 3), "stride": (1, 2), "padding": (0, 1)}),
    ((2, 2, 9, 9), {"kernel_size": 2, "stride": 3}),  # gaps between the windows
]
SMALL = (
    Case((1, 1, 2, 2), {"kernel_size": 2}),
    Case((1, 1, 3, 3), {"kernel_size": 2}),
    Case((1, 1, 3, 3), {"kernel_size": 2, "stride": 1}),
    Case((1, 1, 4, 4), {"kernel_size": 2}),
    Case((1, 1, 3, 3), {"kernel_size": 3, "stride": 2, "padding": 1}),
    Case((1, 1, 2, 4), {"kernel_size": (1, 2)}),
    Case((2, 1, 2, 2), {"kernel_size": 2}, calls=2),
)
OPTIONS = {
    "kernel_size": KERNEL_SIZE,
    "stride": STRIDE,
    "padding": PADDING,
}


def _draw(rng: Rng) -> Case:
    kernel = whole(rng, 1, 4), whole(rng, 1, 4)
    padding = whole(rng, 0, kernel[0] // 2), whole(rng, 0, kernel[1] // 2)
    size = [max(1, k - 2 * p) + whole(rng, 0, 6) for k, p in zip(kernel, padding, strict=True)]
    options = {"kernel_size": kernel, "stride": (whole(rng, 1, 4), whole(rng, 1, 4)), "padding": padding}
    shape = (whole(rng, 1, 4), whole(rng, 1, 4), *size)
    return Case(shape, options, str(rng.choice((*PLAIN, "per-channel"))))


# ---- maximum


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
    return bounds | left_alone(reference, calls)


class _Winners(Decisions):
    """Which element wins each window, the first of those that are equal."""

    words = "winner ahead of the other's by"
    among_elements = True

    def turned(self, layer: nn.Module, own: Tensor, twin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        winner, other = _winners(layer, own), _winners(layer, twin)
        ahead = _taken(own, winner) - _taken(own, other)
        behind = _taken(twin, other) - _taken(twin, winner)
        # An exact tie of the twin's is no turn: equal patches are the same whoever wins.
        return (winner != other) & (behind != 0), ahead, behind

    def imposed(self, layer: nn.Module, given: Tensor) -> Callable[[Tensor], Tensor]:
        winners = _winners(layer, given)
        return lambda x: _taken(x, winners)

    def distance(self, layer: nn.Module, x: Tensor) -> Tensor:
        """How far the maximum of each window is from the second."""
        assert isinstance(layer, nn.MaxPool2d)
        (kh, kw), (sh, sw), (ph, pw) = (
            (v, v) if isinstance(v, int) else v for v in (layer.kernel_size, layer.stride, layer.padding)
        )
        padded = nn.functional.pad(x, (pw, pw, ph, ph), value=-torch.inf)
        windows = padded.unfold(2, kh, sh).unfold(3, kw, sw).flatten(-2)
        if windows.shape[-1] == 1:
            return torch.full_like(windows, torch.inf)
        first, second = windows.topk(2).values.unbind(-1)
        return first - second


def _winners(layer: nn.Module, x: Tensor) -> Tensor:
    """The place, counted through the map, of the element that wins each window: (N, C, H_out, W_out)."""
    assert isinstance(layer, nn.MaxPool2d)
    _, indices = nn.functional.max_pool2d(x, layer.kernel_size, layer.stride, layer.padding, return_indices=True)
    return indices


def _taken(x: Tensor, places: Tensor) -> Tensor:
    return x.flatten(2).gather(2, places.flatten(2)).view_as(places)


def max_in_numpy(x: Array, grad_output: Array) -> Results:
    """Windows of 2x2 side by side."""
    layer = scratch.MaxPool2d(2)
    y = layer(x)  # (1)
    grad_input = layer.backward(grad_output)
    return {"output": y, "grad_input": grad_input}  # (2)


def max_in_torch(x: Tensor, grad_output: Tensor) -> Results:
    """Windows of 2x2 side by side."""
    layer = nn.MaxPool2d(2)
    y = layer(x)  # (1)
    y.backward(grad_output)
    return {"output": y, "grad_input": x.grad}  # (2)


def _max_by_hand(given: Tensors) -> list[ByHand]:
    x, g = given["x"][0, 0], given["grad_output"][0, 0]
    numbers = ", ".join(plain(v) for v in x[:, :2].ravel())
    return [
        ByHand(1, "output", (0, 0, 0, 0), f"max({numbers}) = {plain(x[:, :2].max())}", float(x[:, :2].max())),
        ByHand(
            2,
            "grad_input",
            (0, 0, 0, 1),
            f"the first {plain(x[0, 1])} gets all of g = {plain(g[0, 0])}",
            float(g[0, 0]),
        ),
        ByHand(2, "grad_input", (0, 0, 1, 0), f"the second {plain(x[1, 0])} gets 0", 0.0),
    ]


MAXPOOL2D = LayerPair(
    "maxpool2d",
    scratch.MaxPool2d,
    nn.MaxPool2d,
    selection,
    grid(GEOMETRIES, (*PLAIN, "per-channel")),
    small=SMALL,
    draw=_draw,
    often=3,
    gives="selected",
    decisions=_Winners(),
    options=OPTIONS,
    lesson=Lesson(
        BOTH,
        MAPPED,
        {"x": array([1, 5, 3, 0, 5, 2, 7, 4], (1, 1, 2, 4)), "grad_output": array([6, -2], (1, 1, 1, 2))},
        max_in_numpy,
        max_in_torch,
        _max_by_hand,
        loops=(naive.max_pool2d_backward, naive._winners),
    ),
    lacks=NO_WEIGHTS | ONE_INPUT | NOT_RANDOM | NO_PRODUCTS,
)


# ---- mean


def averages(reference: nn.Module, calls: Sequence[Call], dtype: str) -> Tensors:
    """Average pooling: (1), with S the reference on absolute values, and n counted.

    The mean of k numbers takes k - 1 additions, and a division or two roundings of a reciprocal: n = k + 1. A pixel is
    in w = ⌈kH/sH⌉·⌈kW/sW⌉ windows at most, and collects w shares, each rounded twice, in w - 1 additions: n = w + 1.
    """
    magnitudes = observe_torch(reference, [in_float64(call, np.abs) for call in calls])
    assert isinstance(reference, nn.AvgPool2d)
    (kh, kw), (sh, sw) = ((v, v) if isinstance(v, int) else v for v in (reference.kernel_size, reference.stride))
    k, windows = kh * kw, math.ceil(kh / sh) * math.ceil(kw / sw)
    bounds: Tensors = {}
    for name in call_names(calls):
        bounds[f"output{name}"] = 2 * growth(np.asarray(k + 1), dtype) * magnitudes[f"output{name}"]
        bounds[f"grad_input{name}"] = 2 * growth(np.asarray(windows + 1), dtype) * magnitudes[f"grad_input{name}"]
    return bounds | left_alone(reference, calls)


def mean_in_numpy(x: Array, grad_output: Array) -> Results:
    """Windows of 2x2 side by side."""
    layer = scratch.AvgPool2d(2)
    y = layer(x)  # (1)
    grad_input = layer.backward(grad_output)
    return {"output": y, "grad_input": grad_input}  # (2)


def mean_in_torch(x: Tensor, grad_output: Tensor) -> Results:
    """Windows of 2x2 side by side."""
    layer = nn.AvgPool2d(2)
    y = layer(x)  # (1)
    y.backward(grad_output)
    return {"output": y, "grad_input": x.grad}  # (2)


def _mean_by_hand(given: Tensors) -> list[ByHand]:
    x, g = given["x"][0, 0, :, :2], given["grad_output"][0, 0, 0, 0]
    total = " + ".join(plain(v) for v in x.ravel())
    return [
        ByHand(1, "output", (0, 0, 0, 0), f"({total}) / 4 = {plain(x.mean())}", float(x.mean())),
        ByHand(2, "grad_input", (0, 0, 1, 1), f"a quarter of g = {plain(g)}: {plain(g / 4)}", float(g / 4)),
    ]


AVGPOOL2D = LayerPair(
    "avgpool2d",
    scratch.AvgPool2d,
    nn.AvgPool2d,
    averages,
    grid(GEOMETRIES, (*PLAIN, "per-channel")),
    small=SMALL,
    draw=_draw,
    often=1,
    options=OPTIONS,
    normwise=True,  # sums over a summed-area table, for instance
    lesson=Lesson(
        BOTH,
        MAPPED,
        {"x": array([1, 5, 3, 0, 4, 2, 7, 6], (1, 1, 2, 4)), "grad_output": array([8, -2], (1, 1, 1, 2))},
        mean_in_numpy,
        mean_in_torch,
        _mean_by_hand,
    ),
    lacks=NO_DECISIONS | NO_WEIGHTS | ONE_INPUT | NOT_RANDOM | NO_PRODUCTS,
)
