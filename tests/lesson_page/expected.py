"""What the page must show, computed by torch and NumPy here, in the test."""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody gives it

import scratch
from scratch import Array
from tests.lesson_page.reading import is_rounded, number

if TYPE_CHECKING:
    from playwright.sync_api import Page


def all_kernels(held: dict[str, Any]) -> Array:
    """Those of the page, stacked as the filters of one layer: (C_out, 1, kH, kW)."""
    return np.array([kernel["values"] for kernel in held["window"]["kernels"]], np.float32)[:, None]


def values_of(held: dict[str, Any], kernel: int) -> Array:
    """One of them: (kH, kW)."""
    return np.array(held["window"]["kernels"][kernel]["values"], np.float32)


def by_torch(image: Array, kernels: Array, stride: int, padding: int) -> Array:
    """The maps (C_out, H_out, W_out) of an image (H, W)."""
    x, weight = torch.from_numpy(image.copy())[None, None], torch.from_numpy(kernels)
    return F.conv2d(x, weight, stride=stride, padding=padding)[0].numpy()


def exactly(image: Array, kernels: Array, stride: int, padding: int) -> Array:
    """The same in float64: what the page draws."""
    return by_torch(image.astype(np.float64), kernels.astype(np.float64), stride, padding)


def by_scratch(image: Array, kernels: Array, stride: int, padding: int) -> Array:
    layer = scratch.Conv2d(1, len(kernels), kernels.shape[2:], stride, padding, bias=False)
    layer.load_state_dict({"weight": kernels})
    return layer(image[None, None])[0]


def under(image: Array, size: tuple[int, int], stride: int, padding: int, at: tuple[int, int]) -> Array:
    """The pixels under the window."""
    padded = np.pad(image, padding).astype(np.float64)
    row, column = at[0] * stride, at[1] * stride
    return padded[row : row + size[0], column : column + size[1]]


def bound_of(products: Array) -> float:
    """What two float32 sums of these products may be apart: chapter 7."""
    return 2 * min(worst_case(products.size), 4 * math.sqrt(products.size) * 2.0**-24) * float(np.abs(products).sum())


def worst_case(terms: int) -> float:
    """What no order of additions exceeds, as a share of the sum of absolute values."""
    return terms * 2.0**-24 / (1 - terms * 2.0**-24)


def last_unit(products: Array) -> float:
    """The smallest power of ten that is not below what one float32 sum may err in both directions together."""
    bound = 2 * worst_case(products.size) * float(np.abs(products).sum())
    return 10.0 ** math.ceil(math.log10(bound)) if bound else 0.0


def check_products(shown: dict[str, Any], pixels: Array, weights: Array) -> None:
    """The products, their exact sum and their bound are those of the window."""
    assert np.shape(shown["products"]) == weights.shape
    for text, x, w in zip(itertools.chain(*shown["products"]), pixels.flat, weights.flat, strict=True):
        found = re.fullmatch(r"(\S+) · (\S+) = (\S+)", text)
        assert found is not None, text
        for part, value in zip(found.groups(), (x, float(w), x * float(w)), strict=True):
            assert is_rounded(part, value, 4), text
    products = pixels * weights.astype(np.float64)
    assert number(shown["sum-exact"]) == pytest.approx(float(products.sum()), rel=1e-11, abs=1e-14)
    assert is_rounded(shown["sum-bound"], bound_of(products), 2)
    check_certain(shown["sum-both"], products)


def check_certain(text: str, products: Array) -> None:
    """The number that is shown for both libraries: the exact sum, with the digits that rounding leaves certain."""
    exact, unit = float(products.sum()), last_unit(products)
    assert abs(number(text) - exact) <= unit / 2 * (1 + 1e-9)
    assert unit == 0 or number(text) / unit == pytest.approx(round(number(text) / unit), abs=1e-6)


def by_autograd(padded: Array, weight: Array, g: Array, stride: int, padding: int) -> dict[str, Array]:
    """The gradients from torch for an input that has its padding already, of which only the inside is the input."""
    end = padded.shape[0] - padding
    x = torch.tensor(padded[padding:end, padding:end], dtype=torch.float32)[None, None].requires_grad_()
    around = F.pad(x, (padding,) * 4)
    around.retain_grad()
    w = torch.tensor(weight, dtype=torch.float32)[None, None].requires_grad_()
    b = torch.zeros(1, requires_grad=True)
    F.conv2d(around, w, b, stride).backward(torch.tensor(g, dtype=torch.float32)[None, None])
    assert x.grad is not None
    assert w.grad is not None
    assert b.grad is not None
    assert around.grad is not None
    inner = around.grad[0, 0, padding:end, padding:end]
    assert torch.equal(inner, x.grad[0, 0])
    found = {"back-dx": around.grad[0, 0], "back-dw": w.grad[0, 0], "back-db": b.grad[None]}
    return {name: tensor.numpy().astype(np.float64) for name, tensor in found.items()}


def check_back(shown: dict[str, Any], stride: int, padding: int, only: Array) -> None:
    """The tables hold torch's gradients for the outputs that count, a mask (rows, columns)."""
    expected = by_autograd(shown["back-x"], shown["back-w"], shown["back-g"] * only, stride, padding)
    for name, values in expected.items():
        assert np.array_equal(shown[name], values), name


def counted(page: Page) -> tuple[str, str]:
    """The parameters of both layers for what is in the inputs, from torch."""
    side, channels, units, kernel = (
        int(page.locator(f"#counter [name={name}]").input_value()) for name in ("side", "channels", "units", "kernel")
    )
    layers = (
        nn.Linear(side * side * channels, units, device="meta"),
        nn.Conv2d(channels, units, kernel, device="meta"),
    )
    dense, conv = (f"{sum(parameter.numel() for parameter in layer.parameters()):,}" for layer in layers)
    return dense, conv
