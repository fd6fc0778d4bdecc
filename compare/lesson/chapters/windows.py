"""What the moving parts of the page need: digits, kernels, and a proof about every sum that a window can give.

A page cannot hold all those sums: ten digits under a dozen kernels with three strides and three paddings give hundreds
of thousands. So its script adds up in float64, and shows the digits that rounding leaves certain in float32, whatever
the order of the additions: libraries choose it by processor, shape and number of threads. Here NumPy and torch compute
each of those sums, and each of their numbers is proven to be that close to the float64 sum.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

import scratch
from compare.driving.observe import observe_scratch
from compare.driving.tensors import Call, Tensors
from compare.lesson.agreement import require
from compare.lesson.not_as_shown import NotAsShown
from compare.machine.conditions import direct_convolutions, equal_threads
from compare.machine.data import Dataset
from compare.pairs.bounds import growth, worst_case
from compare.pairs.by_hand import plain
from compare.pairs.layers.convolution import CONV2D
from compare.pairs.observe import observe_torch
from compare.pairs.weights import load_scratch_state, load_torch_state
from scratch import Array
from scratch.windows import output_size

STRIDES, PADDINGS = (1, 2, 3), (0, 1, 2)
PATCH = 6  # rows and columns of the picture that the way back is shown on
BACK_STRIDES, BACK_PADDINGS = (1, 2), (0, 1)


@dataclass(frozen=True)
class Kernel:
    """A kernel (kH, kW) in float32, and what it is for."""

    name: str
    values: Array
    purpose: str


FILTERS = (
    Kernel(
        "Sobel, vertical edges",
        np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32),
        "It answers where the picture gets brighter from left to right.",
    ),
    Kernel(
        "Sobel, horizontal edges",
        np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]], np.float32),
        "It answers where the picture gets brighter from top to bottom.",
    ),
    Kernel(
        "blur",
        np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 16,
        "It takes the mean of the neighbourhood, in which the centre counts most.",
    ),
    Kernel(
        "sharpen",
        np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], np.float32),
        "It raises a pixel above its neighbours.",
    ),
)


def filters_of(weight: Array, *, learned: bool = True) -> list[Kernel]:
    """The kernels (C_out, 1, kH, kW) of a first layer, and whether the network has `learned` anything."""
    name, more = (
        ("learned", "") if learned else ("network", " The network has learned nothing, so it looks for nothing.")
    )
    return [
        Kernel(f"{name}, filter {n}", w[0].astype(np.float32), f"One of the network's own filters.{more}")
        for n, w in enumerate(weight)
    ]


def one_of_each(dataset: Dataset) -> dict[str, Array]:
    """The first test image, uint8 (H, W), of every class that has one, by the name of the class."""
    places = {name: np.flatnonzero(dataset.test_labels == k) for k, name in enumerate(dataset.classes)}
    return {name: dataset.test_images[found[0], 0] for name, found in places.items() if len(found)}


@dataclass(frozen=True)
class Maps:
    """The same maps (N, C_out, H_out, W_out), computed in three ways.

    Attributes:
        scratch, torch: in float32.
        exact: in float64, from the same float32 pixels and weights.
        error: how far a float32 sum, added up in any order, may be from the exact one.
        allowed: how far two of them may be from each other: the bound of the check.
    """

    scratch: Array
    torch: Array
    exact: Array
    error: Array
    allowed: Array

    @property
    def differences(self) -> Array:
        """The largest difference between the two libraries in each map: (N, C_out)."""
        return np.abs(self.scratch.astype(np.float64) - self.torch).max(axis=(2, 3))


def window_data(named: Mapping[str, Array], kernels: Sequence[Kernel]) -> dict[str, Any]:
    """What the script is given: digits, kernels, how far the libraries are apart in each map, how many sums there are.

    Raises:
        NotAsShown: if NumPy and torch differ by more than rounding, from float64 or from each other.
    """
    digits = np.stack(list(named.values()))
    images = digits[:, None].astype(np.float32) / np.float32(255)
    count, differences = 0, dict[str, list[float]]()
    for size in dict.fromkeys(kernel.values.shape for kernel in kernels):
        places = [n for n, kernel in enumerate(kernels) if kernel.values.shape == size]
        weight = np.stack([kernels[n].values for n in places])[:, None]
        for stride in STRIDES:
            for padding in PADDINGS:
                maps = convolve(images, weight, stride, padding)
                count += maps.exact.size
                by_kernel = maps.differences.T.tolist()
                differences |= {f"{n}/{stride}/{padding}": d for n, d in zip(places, by_kernel, strict=True)}
    return {
        "digits": [
            {"name": name, "pixels": base64.b64encode(digit.tobytes()).decode()} for name, digit in named.items()
        ],
        "size": digits.shape[1],
        "kernels": [{"name": k.name, "values": k.values.tolist(), "purpose": k.purpose} for k in kernels],
        "strides": STRIDES,
        "paddings": PADDINGS,
        "sums": count,
        "differences": differences,
    }


def convolve(images: Array, weight: Array, stride: int, padding: int) -> Maps:
    """The maps in both libraries; raises NotAsShown if one is farther from float64 than rounding explains."""
    c_out, _, kh, kw = weight.shape
    own = scratch.Conv2d(1, c_out, (kh, kw), stride, padding, bias=False)
    twin = nn.Conv2d(1, c_out, (kh, kw), stride, padding, bias=False)
    size = output_size("Conv2d", images, own.kernel_size, own.stride, own.padding)
    call, case = (
        Call((images,), np.ones((len(images), c_out, *size), np.float32)),
        f"stride {stride}, padding {padding}",
    )
    with equal_threads(1), direct_convolutions():
        seen = _proven(own, twin, {"weight": weight}, call, case)
    x, w = torch.tensor(images).double(), torch.tensor(weight).double()
    exact, magnitude = (
        nn.functional.conv2d(a, b, stride=stride, padding=padding).numpy() for a, b in ((x, w), (x.abs(), w.abs()))
    )
    terms = np.asarray(float(kh * kw))
    error, allowed = worst_case(terms, "float32") * magnitude, 2 * growth(terms, "float32") * magnitude
    for side, tensors in seen.items():
        if (np.abs(tensors["output"] - exact) > error).any():
            raise NotAsShown(f"the moving window: output of {side} [{case}] is too far from float64")
    return Maps(seen["scratch"]["output"], seen["torch"]["output"], exact, error, allowed)


def certain(exact: float, error: float) -> str:
    """The digits of a number that are certain within `error`, as the page's script writes them.

    The unit of the last one is the smallest power of ten that is not below 2·error. So whatever lies within the error
    is at most one unit away from what is written: half a unit is rounded here, and the error is another half. From a
    unit of 10 on an exponent stands in the place of zeros that would look certain.

    >>> certain(0.123456789, 4e-6), certain(-12345.6, 30.0), certain(0.0, 0.0)
    ('0.12346', '−1.23e4', '0')
    """
    if error == 0:
        return plain(exact, 12)
    place = math.ceil(math.log10(2 * error))
    units = math.floor(exact / 10.0**place + 0.5)
    if place < 1 or units == 0:
        return plain(units * 10.0**place, 12)
    digits = str(abs(units))
    mantissa = digits[0] + (f".{digits[1:]}" if digits[1:] else "")
    return f"{'−' if units < 0 else ''}{mantissa}e{place + len(digits) - 1}"


def patch_of(digit: Array) -> Array:
    """The part of a digit (H, W) with most different greys, in whole numbers from 0 to 9: (PATCH, PATCH)."""
    tenths = np.rint(digit * (9 / 255)).astype(np.float32)
    places = np.lib.stride_tricks.sliding_window_view(tenths, (PATCH, PATCH)).reshape(-1, PATCH, PATCH)
    different = [len(np.unique(patch)) for patch in places]
    return places[int(np.argmax(different))].copy()


def backward_data(patch: Array, kernels: Sequence[Kernel], seed: int = 0) -> dict[str, Any]:
    """The way back on a small picture: for every kernel, stride and padding the gradients from both libraries.

    Pixels and gradients are small whole numbers, and the weights are whole or sixteenths. So nothing is rounded in any
    order of additions, and both libraries must give the same bits.

    Raises:
        NotAsShown: if they differ.
    """
    upstream = np.random.default_rng(seed).integers(-2, 4, (PATCH + 2, PATCH + 2)).astype(np.float32)
    results = {
        f"{n}/{stride}/{padding}": _backward(patch, kernel.values, upstream, stride, padding)
        for n, kernel in enumerate(kernels)
        for stride in BACK_STRIDES
        for padding in BACK_PADDINGS
    }
    return {
        "patch": patch.tolist(),
        "kernels": [{"name": kernel.name, "values": kernel.values.tolist()} for kernel in kernels],
        "strides": BACK_STRIDES,
        "paddings": BACK_PADDINGS,
        "results": results,
    }


def _backward(patch: Array, kernel: Array, upstream: Array, stride: int, padding: int) -> dict[str, Any]:
    own = scratch.Conv2d(1, 1, kernel.shape, stride, padding)
    twin = nn.Conv2d(1, 1, kernel.shape, stride, padding)
    image, state = patch[None, None], {"weight": kernel[None, None], "bias": np.zeros(1, np.float32)}
    h_out, w_out = output_size("Conv2d", image, own.kernel_size, own.stride, own.padding)
    call = Call((image,), upstream[None, None, :h_out, :w_out].copy())
    seen = _proven(own, twin, state, call, f"backward, stride {stride}, padding {padding}")
    shown = ("grad_bias", "grad_weight", "grad_input")
    for name in shown:
        if not np.array_equal(seen["scratch"][name], seen["torch"][name]):
            raise NotAsShown(
                f"the way back: {name} [stride {stride}, padding {padding}] differs, and nothing is rounded"
            )
    return {"grad_output": call.grad_output[0, 0].tolist()} | {
        side: {name: np.squeeze(tensors[name]).tolist() for name in shown} for side, tensors in seen.items()
    }


def _proven(own: scratch.Module, twin: nn.Module, state: Tensors, call: Call, case: str) -> dict[str, Tensors]:
    """What both give for a call, once it is proven that they agree."""
    load_scratch_state(own, state)
    load_torch_state(twin, state)
    require(CONV2D.check_calls(CONV2D.name, case, own, twin, [call], "float32"), "the moving window")
    return {"scratch": observe_scratch(own, [call]), "torch": observe_torch(twin, [call])}
