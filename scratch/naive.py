"""The definitions in plain loops: slow, and short enough to be believed by reading.

They are the oracle that needs no torch, and where somebody begins who wants to know what a layer *is*. Every loop
stands for one index of the equations in `scratch.conv` and `scratch.pool`, whose numbers stand beside the lines.
"""

from __future__ import annotations

import numpy as np

from scratch.module import Array
from scratch.windows import Size2d


def conv2d(
    x: Array, weight: Array, bias: Array | None = None, stride: Size2d = (1, 1), padding: Size2d = (0, 0)
) -> Array:
    """Convolve x (N, C_in, H, W) with weight (C_out, C_in, kH, kW): output (N, C_out, H_out, W_out).

    >>> conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3)), padding=(1, 1))[0, 0]
    array([[4., 6., 4.],
           [6., 9., 6.],
           [4., 6., 4.]])
    """
    (n_images, _, height, width), (c_out, c_in, kh, kw) = x.shape, weight.shape
    (sh, sw), (ph, pw) = stride, padding
    h_out, w_out = (height + 2 * ph - kh) // sh + 1, (width + 2 * pw - kw) // sw + 1
    y = np.zeros((n_images, c_out, h_out, w_out), x.dtype)
    for n, o, i, j in np.ndindex(y.shape):
        if bias is not None:
            y[n, o, i, j] += bias[o]
        for c, u, v in np.ndindex(c_in, kh, kw):
            k, m = i * sh + u - ph, j * sw + v - pw
            if 0 <= k < height and 0 <= m < width:  # outside the image x is zero
                y[n, o, i, j] += x[n, c, k, m] * weight[o, c, u, v]  # (1)
    return y


def conv2d_backward(
    x: Array, weight: Array, grad_output: Array, stride: Size2d = (1, 1), padding: Size2d = (0, 0)
) -> tuple[Array, Array, Array]:
    """The gradients (grad_input, grad_weight, grad_bias) of `conv2d`, shaped like x, weight and (C_out).

    The loops are those of `conv2d`: wherever y used a product, its two factors receive their share of the gradient.

    >>> grad_input, _, grad_bias = conv2d_backward(np.ones((1, 1, 2, 3)), np.ones((1, 1, 2, 2)), np.ones((1, 1, 1, 2)))
    >>> grad_input[0, 0], grad_bias
    (array([[1., 2., 1.],
           [1., 2., 1.]]), array([2.]))
    """
    (_, _, height, width), (_, c_in, kh, kw) = x.shape, weight.shape
    (sh, sw), (ph, pw) = stride, padding
    grad_input, grad_weight = np.zeros_like(x), np.zeros_like(weight)
    grad_bias = np.zeros(len(weight), weight.dtype)
    for n, o, i, j in np.ndindex(grad_output.shape):
        g = grad_output[n, o, i, j]
        grad_bias[o] += g  # (2)
        for c, u, v in np.ndindex(c_in, kh, kw):
            k, m = i * sh + u - ph, j * sw + v - pw
            if 0 <= k < height and 0 <= m < width:
                grad_weight[o, c, u, v] += g * x[n, c, k, m]  # (3)
                grad_input[n, c, k, m] += g * weight[o, c, u, v]  # (4)
    return grad_input, grad_weight, grad_bias


def max_pool2d(x: Array, kernel_size: Size2d, stride: Size2d | None = None, padding: Size2d = (0, 0)) -> Array:
    """The maximum of every window of x (N, C, H, W): output (N, C, H_out, W_out).

    >>> max_pool2d(np.arange(6.0).reshape(1, 1, 2, 3), (2, 2), stride=(1, 1))
    array([[[[4., 5.]]]])
    """
    winners = _winners(x, kernel_size, kernel_size if stride is None else stride, padding)
    y = np.zeros(winners.shape[:-1], x.dtype)
    for n, c, i, j in np.ndindex(y.shape):
        k, m = winners[n, c, i, j]
        y[n, c, i, j] = x[n, c, k, m]  # (1)
    return y


def max_pool2d_backward(
    x: Array, grad_output: Array, kernel_size: Size2d, stride: Size2d | None = None, padding: Size2d = (0, 0)
) -> Array:
    """The gradient of the input of `max_pool2d`, shaped like x: each window's goes to its winner.

    >>> max_pool2d_backward(np.array([[[[3.0, 3.0]]]]), np.array([[[[5.0]]]]), (1, 2))
    array([[[[5., 0.]]]])
    """
    winners = _winners(x, kernel_size, kernel_size if stride is None else stride, padding)
    grad_input = np.zeros_like(x)
    for n, c, i, j in np.ndindex(grad_output.shape):
        k, m = winners[n, c, i, j]
        grad_input[n, c, k, m] += grad_output[n, c, i, j]  # (2)
    return grad_input


def _winners(x: Array, kernel_size: Size2d, stride: Size2d, padding: Size2d) -> Array:
    """The (row, column) of the first maximum of every window: (N, C, H_out, W_out, 2)."""
    n_images, channels, height, width = x.shape
    (kh, kw), (sh, sw), (ph, pw) = kernel_size, stride, padding
    h_out, w_out = (height + 2 * ph - kh) // sh + 1, (width + 2 * pw - kw) // sw + 1
    winners = np.zeros((n_images, channels, h_out, w_out, 2), np.intp)
    for n, c, i, j in np.ndindex(n_images, channels, h_out, w_out):
        best = -np.inf
        for u, v in np.ndindex(kh, kw):
            k, m = i * sh + u - ph, j * sw + v - pw
            if 0 <= k < height and 0 <= m < width and x[n, c, k, m] > best:  # ">": the first of equals stays
                best, winners[n, c, i, j] = x[n, c, k, m], (k, m)
    return winners
