"""What the moving parts of the page need: digits, kernels, and every sum that a window can give, in both libraries.

A page cannot hold all those sums: ten digits under a dozen kernels with three strides and three paddings give hundreds
of thousands. So its script computes them, in float32, as both libraries do: in reading order, each product and sum
rounded once together (a fused multiply-add). Whether that is what they do is no matter of belief: here each of those
sums is computed by NumPy and by torch as well, and where one of them is another number, the page holds that number.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

import scratch
from compare.conditions import direct_convolutions, equal_threads
from compare.data import Dataset
from compare.lesson.agreement import require
from compare.observe import Call, Tensors, observe_scratch, observe_torch
from compare.pairs import REGISTRY, LayerPair
from compare.verify.models import check_calls
from compare.weights import load_scratch_state, load_torch_state
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


def learned(weight: Array) -> list[Kernel]:
    """The kernels (C_out, 1, kH, kW) of a first layer."""
    return [
        Kernel(f"learned, filter {n}", w[0].astype(np.float32), "One of the network's own filters.")
        for n, w in enumerate(weight)
    ]


def one_of_each(dataset: Dataset) -> dict[str, Array]:
    """The first test image, uint8 (H, W), of every class that has one, by the name of the class."""
    places = {name: np.flatnonzero(dataset.test_labels == k) for k, name in enumerate(dataset.classes)}
    return {name: dataset.test_images[found[0], 0] for name, found in places.items() if len(found)}


def window_data(named: Mapping[str, Array], kernels: Sequence[Kernel]) -> dict[str, Any]:
    """What the script is given: digits, kernels, the sums that are others than in reading order, how many there are.

    Raises:
        NotAsShown: if NumPy and torch differ by more than rounding.
    """
    digits = np.stack(list(named.values()))
    images = digits[:, None].astype(np.float32) / np.float32(255)
    count, others = 0, {"scratch": dict[str, list[Any]](), "torch": dict[str, list[Any]]()}
    for size in dict.fromkeys(kernel.values.shape for kernel in kernels):
        places = [n for n, kernel in enumerate(kernels) if kernel.values.shape == size]
        weight = np.stack([kernels[n].values for n in places])[:, None]
        for stride in STRIDES:
            for padding in PADDINGS:
                both = convolve(images, weight, stride, padding)
                expected = in_order(images[:, 0], weight[:, 0], stride, padding)
                count += expected.size
                for twin, sums in both.items():
                    for digit, place, i, j in np.argwhere(sums != expected).tolist():
                        key = f"{digit}/{places[place]}/{stride}/{padding}"
                        flat = i * sums.shape[3] + j
                        others[twin].setdefault(key, []).append([flat, _short(sums[digit, place, i, j])])
    return {
        "digits": [
            {"name": name, "pixels": base64.b64encode(digit.tobytes()).decode()} for name, digit in named.items()
        ],
        "size": digits.shape[1],
        "kernels": [{"name": k.name, "values": k.values.tolist(), "purpose": k.purpose} for k in kernels],
        "strides": STRIDES,
        "paddings": PADDINGS,
        "sums": count,
        "others": others,
        "other": sum(len(found) for by_key in others.values() for found in by_key.values()),
    }


def _short(value: np.float32) -> float:
    """A number of few digits that float32 rounds to `value`: there may be many to write down."""
    return float(str(value))


def convolve(images: Array, weight: Array, stride: int, padding: int) -> Tensors:
    """The maps (N, C_out, H_out, W_out) in both libraries; raises NotAsShown if they are not equal within rounding."""
    c_out, _, kh, kw = weight.shape
    own = scratch.Conv2d(1, c_out, (kh, kw), stride, padding, bias=False)
    twin = nn.Conv2d(1, c_out, (kh, kw), stride, padding, bias=False)
    size = output_size("Conv2d", images, own.kernel_size, own.stride, own.padding)
    call = Call((images,), np.ones((len(images), c_out, *size), np.float32))
    with equal_threads(1), direct_convolutions():
        seen = _proven(own, twin, {"weight": weight}, call, f"stride {stride}, padding {padding}")
    return {side: tensors["output"] for side, tensors in seen.items()}


def in_order(images: Array, kernels: Array, stride: int, padding: int) -> Array:
    """The same maps of images (N, H, W) under kernels (C_out, kH, kW), added up as the page's script does.

    In reading order, each product exact (float64 has room for it) and rounded together with the sum.
    """
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding)))
    _, kh, kw = kernels.shape
    h_out, w_out = ((length - k) // stride + 1 for length, k in zip(padded.shape[1:], (kh, kw), strict=True))
    sums = np.zeros((len(images), len(kernels), h_out, w_out), np.float32)
    for u, v in np.ndindex(kh, kw):
        pixels = padded[:, None, u : u + stride * (h_out - 1) + 1 : stride, v : v + stride * (w_out - 1) + 1 : stride]
        products = pixels.astype(np.float64) * kernels[:, u, v].astype(np.float64)[:, None, None]
        sums = (sums + products).astype(np.float32)
    return sums


def patch_of(digit: Array) -> Array:
    """The part of a digit (H, W) with most different greys, in whole numbers from 0 to 9: (PATCH, PATCH)."""
    tenths = np.rint(digit * (9 / 255)).astype(np.float32)
    places = np.lib.stride_tricks.sliding_window_view(tenths, (PATCH, PATCH)).reshape(-1, PATCH, PATCH)
    different = [len(np.unique(patch)) for patch in places]
    return places[int(np.argmax(different))].copy()


def backward_data(patch: Array, kernels: Sequence[Kernel], seed: int = 0) -> dict[str, Any]:
    """The way back on a small picture: for every kernel, stride and padding the gradients from both libraries.

    Raises:
        NotAsShown: if they differ by more than rounding.
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
    return {"grad_output": call.grad_output[0, 0].tolist()} | {
        side: {name: np.squeeze(tensors[name]).tolist() for name in shown} for side, tensors in seen.items()
    }


def _proven(own: scratch.Module, twin: nn.Module, state: Tensors, call: Call, case: str) -> dict[str, Tensors]:
    """What both give for a call, once it is proven that they agree."""
    pair = REGISTRY["conv2d"]
    assert isinstance(pair, LayerPair)
    load_scratch_state(own, state)
    load_torch_state(twin, state)
    require(check_calls(pair, pair.name, case, own, twin, [call], "float32"), "the moving window")
    return {"scratch": observe_scratch(own, [call]), "torch": observe_torch(twin, [call])}
