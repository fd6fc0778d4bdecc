"""Sliding windows, and the memory layout that makes them fast: what convolution and pooling have in common.

Shapes are always (N, C, H, W), as in torch. In memory the batch lies innermost, (C, H, W, N), under that shape (torch's
`channels_last` puts the channels there in the same way). Element (u, v) of *every* window of the batch is then one view
with long contiguous runs, and a loop over the few elements of a window replaces those over images and positions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from scratch.backend import as_strided, on_host
from scratch.module import Array

Size2d = tuple[int, int]
Piece = tuple[slice, slice, slice]  # some rows, some columns, some images
CACHED = 500_000  # numbers: 2 MB of float32
SMALL_PRODUCT = 10**6
FEWEST_COLUMNS, MANY_COLUMNS = 256, 768


def batch_last(x: Array) -> Array:
    """The (N, C, H, W) array as (C, H, W, N), contiguous; a copy only where the memory is laid out otherwise."""
    y = x.transpose(1, 2, 3, 0)
    return y if y.flags.c_contiguous else y.copy(order="C")


def batch_first(y: Array) -> Array:
    """The (C, H, W, N) array as (N, C, H, W), without a copy."""
    return y.transpose(3, 0, 1, 2)


def pad(y: Array, padding: Size2d, value: float) -> Array:
    """Surround the maps of (C, H, W, N) by `padding` rows and columns of `value`: (C, H + 2·pH, W + 2·pW, N)."""
    (ph, pw), (c, h, w, n) = padding, y.shape
    if ph == pw == 0:
        return y
    padded = np.full_like(y, value, shape=(c, h + 2 * ph, w + 2 * pw, n), order="C")
    padded[:, ph : ph + h, pw : pw + w] = y
    return padded


def crop(y: Array, padding: Size2d) -> Array:
    """Undo `pad`: (C, H + 2·pH, W + 2·pW, N) to (C, H, W, N), a view."""
    (ph, pw), (_, h, w, _) = padding, y.shape
    return y[:, ph : h - ph, pw : w - pw]


def output_size(layer: str, x: Array, kernel: Size2d, stride: Size2d, padding: Size2d) -> Size2d:
    """How many windows fit, vertically and horizontally: ⌊(H + 2·pH - kH) / sH⌋ + 1 and likewise for W.

    Raises:
        ValueError: if the kernel is larger than the padded input, or the batch is empty.
    """
    n, _, h, w = x.shape
    (kh, kw), (sh, sw), (ph, pw) = kernel, stride, padding
    if kh > h + 2 * ph or kw > w + 2 * pw:
        raise ValueError(
            f"{layer}: kernel_size {kernel} must not be larger than the padded input {(h + 2 * ph, w + 2 * pw)}, "
            f"got input shape {x.shape} with padding {padding}"
        )
    if n == 0:
        raise ValueError(f"{layer}: input must hold at least one image, got shape {x.shape}")
    return (h + 2 * ph - kh) // sh + 1, (w + 2 * pw - kw) // sw + 1


def sliding_windows(y: Array, kernel: Size2d, stride: Size2d) -> Array:
    """Every window of (C, H, W, N), as a view (C, kH, kW, H_out, W_out, N) of the same memory: nothing is copied.

    Element [c,u,v,i,j,n] is y[c, i·sH + u, j·sW + v, n], so that [:, u, v] is element (u, v) of all windows. Windows
    that overlap share pixels: write to one (u, v) at a time.
    """
    (c, h, w, n), (kh, kw), (sh, sw) = y.shape, kernel, stride
    channel, row, column, image = y.strides
    shape = (c, kh, kw, (h - kh) // sh + 1, (w - kw) // sw + 1, n)
    return as_strided(y, shape, (channel, row, column, sh * row, sw * column, image))


def pieces(y: Array, limit: int) -> Iterator[Piece]:
    """Cut (C, H, W, N) into pieces of at most `limit` elements per channel, but at least one.

    A piece is some rows, or some pixels of one row, or one pixel of some images: one run of memory in every channel.
    What is done piece by piece stays in the cache. On a GPU, which is slow at many small calls, there is one piece.
    """
    _, h, w, n = y.shape
    limit = max(1, limit) if on_host(y) else h * w * n
    rows, columns = max(1, limit // (w * n)), max(1, limit // n)
    images = math.ceil(n / math.ceil(n / limit))  # parts of about the same size
    for i in range(0, h, rows):
        for j in range(0, w, columns):
            for k in range(0, n, images):
                yield slice(i, i + rows), slice(j, j + columns), slice(k, k + images)


def cached(numbers: int) -> int:
    """How many positions, each with so many numbers, are best worked on at a time: together 2 MB of float32."""
    return CACHED // numbers


def columns_at_once(matrix: Array) -> int:
    """How many columns `matrix` is best multiplied by at a time.

    OpenBLAS, with which NumPy multiplies, takes small matrices as they stand, where the product has up to 10⁶
    multiplications. Larger ones it first copies into an order of its own, and for a matrix of few rows that costs up to
    five times as much as the product. So the columns are few enough for that; but where they would be fewer than 256,
    as beside a large weight, calls cost more than copies, and 768 are best: measured, and no power of two, as rows so
    far apart collide in the cache.
    """
    small = SMALL_PRODUCT // matrix.size
    return small if small >= FEWEST_COLUMNS else MANY_COLUMNS


@contextmanager
def small_buffers() -> Iterator[None]:
    """Let NumPy add up rows where they stand.

    It copies operands with gaps through a buffer, by default one of 8,192 numbers, unless their rows are longer than
    that. With a buffer of 512, rows of 768 numbers are added in half the time; shorter ones take as long as before.
    """
    before = np.setbufsize(512)
    try:
        yield
    finally:
        np.setbufsize(before)
