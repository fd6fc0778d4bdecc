"""Convolution: the same small set of weights at every position of the image."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from scratch import checks
from scratch.module import Array, Module, uniform
from scratch.windows import Pair, batch_first, batch_last, crop, output_size, pad, window_slices


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

    How it is computed: the windows of the whole batch become the columns of one matrix (im2col), so that (1), (3) and
    (4) are one matrix product each. `scratch.naive.conv2d` is the definition in plain loops.

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
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        bias: bool = True,
        *,
        dilation: int | Pair = 1,
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
        c_out, c_in, kh, kw = weight.shape
        checks.input_like("Conv2d", x, 4, "(N, C, H, W)", weight.dtype)
        if x.shape[1] != c_in:
            raise ValueError(f"Conv2d: input must have in_channels = {c_in} channels, got shape {x.shape}")
        h_out, w_out = size = output_size("Conv2d", x, self.kernel_size, self.stride, self.padding)

        image = pad(batch_last(x), self.padding, 0)  # (C_in, H + 2·pH, W + 2·pW, N)
        patches = np.empty_like(image, shape=(c_in, kh, kw, h_out, w_out, len(x)), order="C")
        for u, v, at in window_slices(self.kernel_size, self.stride, size):
            patches[:, u, v] = image[at]
        # Row (c,u,v) of the matrix is one element of every window; column (i,j,n) is one window.
        columns = patches.reshape(c_in * kh * kw, h_out * w_out * len(x))
        y = weight.reshape(c_out, -1) @ columns  # (1)
        if self.bias is not None:
            y += self.bias.data[:, None]
        # The columns are kept because (3) needs them again; the image's shape, because (4) writes into it.
        self.save_for_backward(columns, image.shape, size)
        return batch_first(y.reshape(c_out, h_out, w_out, len(x)))

    def backward(self, grad_output: Array) -> Array:
        columns, image_shape, size = self.saved_for_backward
        weight = self.weight.data
        c_out, c_in, kh, kw = weight.shape
        n = image_shape[-1]
        checks.gradient_like("Conv2d", grad_output, (n, c_out, *size), weight.dtype)

        g = batch_last(grad_output).reshape(c_out, -1)  # (C_out, H_out·W_out·N)
        if self.bias is not None:
            self.bias.accumulate_grad(g.sum(axis=1))  # (2)
        self.weight.accumulate_grad((g @ columns.T).reshape(weight.shape))  # (3)
        grad_patches = (weight.reshape(c_out, -1).T @ g).reshape(c_in, kh, kw, *size, n)  # (4): the products ...
        grad_image = np.zeros_like(g, shape=image_shape, order="C")
        for u, v, at in window_slices(self.kernel_size, self.stride, size):
            grad_image[at] += grad_patches[:, u, v]  # (4): ... and the sum over the overlapping windows
        return batch_first(crop(grad_image, self.padding))
