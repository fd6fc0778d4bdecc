"""Convolution: the same small set of weights at every position of the image."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from scratch import checks
from scratch.module import Array, Module, uniform
from scratch.windows import (
    Piece,
    Size2d,
    batch_first,
    batch_last,
    cached,
    columns_at_once,
    crop,
    output_size,
    pad,
    pieces,
    sliding_windows,
    small_buffers,
)


class Conv2d(Module):
    """Slides C_out kernels over C_in input maps and sums the products in every window.

    Like every deep-learning library this computes a cross-correlation: the kernel is not turned by 180°.

    Forward, with stride s and padding p, x being zero outside the image:

        y[n,o,i,j] = b[o] + Σ_{c,u,v} x[n, c, i·s + u - p, j·s + v - p] · w[o,c,u,v]                        (1)

    Backward. The loss L depends on the layer through y alone, and g = ∂L/∂y is given. By the chain rule each quantity
    collects g over every place where (1) uses it:

        b[o] is in every y[n,o,i,j], with factor 1:
            ∂L/∂b[o]       = Σ_{n,i,j} g[n,o,i,j]                                                           (2)
        w[o,c,u,v] multiplies one pixel of each window:
            ∂L/∂w[o,c,u,v] = Σ_{n,i,j} g[n,o,i,j] · x[n, c, i·s + u - p, j·s + v - p]                       (3)
        x[n,c,k,l] is element (u,v) of each window (i,j) with i·s + u - p = k and j·s + v - p = l;
        overlapping windows add up:
            ∂L/∂x[n,c,k,l] = Σ_{o, (i,j,u,v) as above} g[n,o,i,j] · w[o,c,u,v]                              (4)

    How it is computed: the windows become the columns of a matrix (im2col), so that (1) to (4) are matrix products.

    - A few windows at a time: they are gathered, multiplied and forgotten while they are in the cache. The columns of
      a whole batch are kH·kW times as large as its images.
    - The bias is one more column of the weight, and meets a row of ones: (1) adds it, and (2) comes out of (3), without
      another pass over y or g.
    - (4) is left out where nobody asks for it: see `backward_parameters`.

    `scratch.naive.conv2d` is the definition in plain loops.

    Args:
        in_channels, out_channels: C_in and C_out.
        kernel_size, stride, padding: an int, or a pair (vertical, horizontal).
        bias: whether b is added.
        generator, dtype: source and type of the initial weights, U(-1/√fan_in, 1/√fan_in), fan_in = C_in·kH·kW.

    Shapes:
        input (N, C_in, H, W), output (N, C_out, H_out, W_out) with H_out = ⌊(H + 2·pH - kH) / sH⌋ + 1,
        weight (C_out, C_in, kH, kW), bias (C_out).

    Raises:
        ValueError: for an unsupported option, an input of other channels or dtype, a kernel larger than its input.

    Torch twin: `torch.nn.Conv2d`, with dilation=1, groups=1, padding_mode="zeros".
    Source: Dumoulin & Visin 2016, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285.

    >>> conv = Conv2d(1, 1, kernel_size=2, bias=False, dtype=np.float64)
    >>> conv.weight.data[...] = [[[[1, 2], [3, 4]]]]
    >>> x = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> conv(x)                              # top left: 0·1 + 1·2 + 3·3 + 4·4 = 27
    array([[[[27., 37.],
             [57., 67.]]]])
    >>> conv.backward(np.ones((1, 1, 2, 2)))  # the centre pixel lies in all four windows: 1 + 2 + 3 + 4 = 10
    array([[[[ 1.,  3.,  2.],
             [ 4., 10.,  6.],
             [ 3.,  7.,  4.]]]])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Size2d,
        stride: int | Size2d = 1,
        padding: int | Size2d = 0,
        bias: bool = True,
        *,
        dilation: int | Size2d = 1,
        groups: int = 1,
        padding_mode: str = "zeros",
        generator: np.random.Generator | None = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        super().__init__()
        checks.positive("Conv2d", in_channels=in_channels, out_channels=out_channels)
        one = (1, 1) if isinstance(dilation, tuple) else 1
        checks.only_default(
            "Conv2d", dilation=(dilation, one), groups=(groups, 1), padding_mode=(padding_mode, "zeros")
        )
        self.kernel_size = checks.integer_pair("Conv2d", "kernel_size", kernel_size, minimum=1)
        self.stride = checks.integer_pair("Conv2d", "stride", stride, minimum=1)
        self.padding = checks.integer_pair("Conv2d", "padding", padding, minimum=0)
        bound = 1 / math.sqrt(in_channels * self.kernel_size[0] * self.kernel_size[1])
        self.weight = uniform(generator, bound, (out_channels, in_channels, *self.kernel_size), dtype)
        self.bias = uniform(generator, bound, (out_channels,), dtype) if bias else None

    def forward(self, x: Array) -> Array:
        weight = self.weight.data
        c_out, c_in, *_ = weight.shape
        checks.input_like("Conv2d", x, 4, "(N, C, H, W)", weight.dtype)
        if x.shape[1] != c_in:
            raise ValueError(f"Conv2d: input must have in_channels = {c_in} channels, got shape {x.shape}")
        size = output_size("Conv2d", x, self.kernel_size, self.stride, self.padding)

        image = pad(batch_last(x), self.padding, 0)  # (C_in, H + 2·pH, W + 2·pW, N)
        windows = sliding_windows(image, self.kernel_size, self.stride)  # (C_in, kH, kW, H_out, W_out, N)
        matrix = self._matrix()
        y = np.empty_like(image, shape=(c_out, *size, len(x)), order="C")
        for at, columns in self._columns(windows):
            np.matmul(matrix, columns, out=y[:, *at].reshape(c_out, -1))  # (1)
        # The columns are not kept: backward gathers them again, which is cheap beside the products.
        self.save_for_backward(windows, image.shape)
        return batch_first(y)

    def backward(self, grad_output: Array) -> Array:
        self.backward_parameters(grad_output)
        _, image_shape = self.saved_for_backward
        weight = self.weight.data
        c_out, c_in, kh, kw = weight.shape

        g = batch_last(grad_output)  # (C_out, H_out, W_out, N)
        grad_image = np.zeros_like(g, shape=image_shape, order="C")
        grad_windows = sliding_windows(grad_image, self.kernel_size, self.stride)
        for at in pieces(g, cached(c_in * kh * kw)):
            grad_columns = weight.reshape(c_out, -1).T @ g[:, *at].reshape(c_out, -1)  # (4): the products ...
            grad_patches = grad_columns.reshape(grad_windows[:, :, :, *at].shape)
            with small_buffers():
                for u in range(kh):
                    for v in range(kw):
                        grad_windows[:, u, v, *at] += grad_patches[:, u, v]  # (4): ... and the sum where they overlap
        return batch_first(crop(grad_image, self.padding))

    def backward_parameters(self, grad_output: Array) -> None:
        windows, _ = self.saved_for_backward
        weight = self.weight.data
        c_out, c_in, kh, kw = weight.shape
        *size, n = windows.shape[3:]
        checks.gradient_like("Conv2d", grad_output, (n, c_out, *size), weight.dtype)

        g = batch_last(grad_output)  # (C_out, H_out, W_out, N)
        grad_matrix = np.zeros_like(self._matrix().T, order="C")
        for at, columns in self._columns(windows):
            grad_matrix += columns @ g[:, *at].reshape(c_out, -1).T
        grad_weight = grad_matrix[: c_in * kh * kw].T.copy().reshape(weight.shape)  # contiguous, as the weight is
        self.weight.accumulate_grad(grad_weight)  # (3)
        if self.bias is not None:
            self.bias.accumulate_grad(grad_matrix[-1])  # (2)

    def _matrix(self) -> Array:
        """The weight as a matrix (C_out, C_in·kH·kW), with the bias as one more column."""
        weight = self.weight.data
        matrix = weight.reshape(len(weight), -1)
        return matrix if self.bias is None else np.concatenate([matrix, self.bias.data[:, None]], axis=1)

    def _columns(self, windows: Array) -> Iterator[tuple[Piece, Array]]:
        """The windows piece by piece as columns of a matrix, each with its place in (H_out, W_out, N).

        Row (c,u,v) is one element of every window, and a row of ones belongs to the bias. All pieces use one memory:
        each must be done with before the next is asked for.
        """
        matrix, rows = self._matrix(), self.weight.data[0].size
        places = list(pieces(windows[:, 0, 0], columns_at_once(matrix)))
        largest = windows[0, 0, 0][places[0]]  # the first piece is; of one element of the windows
        buffer = np.empty_like(windows, shape=(matrix.shape[1], largest.size), order="C")
        buffer[rows:] = 1
        for at in places:
            piece = windows[:, :, :, *at]
            columns = buffer[:, : piece[0, 0, 0].size]
            columns[:rows].reshape(piece.shape)[...] = piece  # written through a view of the columns
            yield at, columns
