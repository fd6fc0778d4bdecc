"""Pooling: keep the strongest response of each window, or the mean of all."""

from __future__ import annotations

import math

import numpy as np

from scratch import checks
from scratch.module import Array, Module
from scratch.windows import Size2d, batch_first, batch_last, cached, crop, output_size, pad, pieces, sliding_windows


class MaxPool2d(Module):
    """Takes the maximum of every window, channel by channel.

    Forward, with stride s and padding p, x being -∞ outside the image:

        y[n,c,i,j] = max_{u,v} x[n, c, i·s + u - p, j·s + v - p]                                            (1)

    Backward, g = ∂L/∂y being given. y equals the one element that won its window, so the whole gradient of the window
    goes to it and none to the others. Where several elements tie for the maximum, the first in reading order wins, as
    in torch; the function has no gradient there, and "the first" is a choice that has to be made and kept. An element
    that wins several overlapping windows collects from each:

        ∂L/∂x[n,c,k,l] = Σ_{(i,j) whose winner is (k,l)} g[n,c,i,j]                                         (2)

    Args:
        kernel_size: an int, or a pair (vertical, horizontal).
        stride: likewise; None means kernel_size: windows side by side.
        padding: likewise; at most half the kernel, so that every window holds at least one pixel.

    Shapes:
        input (N, C, H, W), output (N, C, H_out, W_out) with H_out = ⌊(H + 2·pH - kH) / sH⌋ + 1; rows and columns that
        fill no whole window are left out.

    Raises:
        ValueError: for an unsupported option, an input that is not (N, C, H, W), a kernel larger than its input.

    Torch twin: `torch.nn.MaxPool2d`, with dilation=1, return_indices=False, ceil_mode=False. NaN propagates in both,
    but here nothing equals it, and its window's gradient is lost; an infinite gradient makes NaN of those that lost.
    Source: Goodfellow, Bengio & Courville 2016, "Deep Learning", section 9.3.

    >>> pool = MaxPool2d(2)
    >>> pool(np.array([[[[1.0, 5.0], [5.0, 2.0]]]]))
    array([[[[5.]]]])
    >>> pool.backward(np.array([[[[7.0]]]]))  # two fives tie: the first takes it all
    array([[[[0., 7.],
             [0., 0.]]]])
    """

    def __init__(
        self,
        kernel_size: int | Size2d,
        stride: int | Size2d | None = None,
        padding: int | Size2d = 0,
        *,
        dilation: int | Size2d = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        one = (1, 1) if isinstance(dilation, tuple) else 1
        checks.only_default(
            "MaxPool2d", dilation=(dilation, one), return_indices=(return_indices, False), ceil_mode=(ceil_mode, False)
        )
        self.kernel_size, self.stride, self.padding = _sizes("MaxPool2d", kernel_size, stride, padding)

    def forward(self, x: Array) -> Array:
        checks.input_like("MaxPool2d", x, 4, "(N, C, H, W)")
        output_size("MaxPool2d", x, self.kernel_size, self.stride, self.padding)  # refuses what does not fit

        image = pad(batch_last(x), self.padding, -np.inf)  # (C, H + 2·pH, W + 2·pW, N)
        windows = sliding_windows(image, self.kernel_size, self.stride)  # (C, kH, kW, H_out, W_out, N)
        first, *rest = self._elements()
        y = windows[:, *first].copy(order="C")
        for u, v in rest:
            np.maximum(y, windows[:, u, v], out=y)  # (1)
        # Who won is found out in backward, from these two: inference never pays for it.
        self.save_for_backward(windows, y, image.shape)
        return batch_first(y)

    def backward(self, grad_output: Array) -> Array:
        windows, y, image_shape = self.saved_for_backward
        c, h_out, w_out, n = y.shape
        checks.gradient_like("MaxPool2d", grad_output, (n, c, h_out, w_out), y.dtype)

        g = batch_last(grad_output)
        grad_image = np.empty_like(y, shape=image_shape, order="C")
        grad_windows = sliding_windows(grad_image, self.kernel_size, self.stride)
        # Windows side by side write each pixel once: only what is in no window needs a zero, and nothing is added up.
        side_by_side = self.kernel_size == self.stride
        if side_by_side:
            grad_image[:, h_out * self.stride[0] :] = 0
            grad_image[:, :, w_out * self.stride[1] :] = 0
        else:
            grad_image[...] = 0
        for at in pieces(y, cached(c)):  # so that y, g and what is undecided stay in the cache
            y_piece, g_piece = y[:, *at], g[:, *at]
            undecided = np.ones_like(y_piece, dtype=bool)  # windows whose winner has not been met yet
            for u, v in self._elements():
                wins = windows[:, u, v, *at] == y_piece
                wins &= undecided
                undecided ^= wins
                if side_by_side:
                    np.multiply(g_piece, wins, out=grad_windows[:, u, v, *at])  # (2)
                else:
                    grad_windows[:, u, v, *at] += g_piece * wins  # (2)
        return batch_first(crop(grad_image, self.padding))

    def _elements(self) -> list[Size2d]:
        """The elements (u, v) of a window in reading order."""
        return [(u, v) for u in range(self.kernel_size[0]) for v in range(self.kernel_size[1])]


class AvgPool2d(Module):
    """Takes the mean of every window, channel by channel.

    Forward, with stride s, padding p and K = kH·kW, x being zero outside the image, where it counts too:

        y[n,c,i,j] = 1/K · Σ_{u,v} x[n, c, i·s + u - p, j·s + v - p]                                        (1)

    Backward, g = ∂L/∂y being given. Every pixel has the same share 1/K in each window that it lies in, and collects
    from each:

        ∂L/∂x[n,c,k,l] = 1/K · Σ_{(i,j) whose window holds (k,l)} g[n,c,i,j]                                (2)

    Args:
        kernel_size: an int, or a pair (vertical, horizontal).
        stride: likewise; None means kernel_size: windows side by side.
        padding: likewise; at most half the kernel, so that every window holds at least one pixel.

    Shapes:
        input (N, C, H, W), output (N, C, H_out, W_out) with H_out = ⌊(H + 2·pH - kH) / sH⌋ + 1; rows and columns that
        fill no whole window are left out.

    Raises:
        ValueError: for an unsupported option, an input that is not (N, C, H, W), a kernel larger than its input.

    Torch twin: `torch.nn.AvgPool2d`, with ceil_mode=False, count_include_pad=True, divisor_override=None.
    Source: LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition".

    >>> pool = AvgPool2d(2)
    >>> pool(np.array([[[[1.0, 5.0], [4.0, 2.0]]]]))
    array([[[[3.]]]])
    >>> pool.backward(np.array([[[[8.0]]]]))  # a quarter for each
    array([[[[2., 2.],
             [2., 2.]]]])
    """

    def __init__(
        self,
        kernel_size: int | Size2d,
        stride: int | Size2d | None = None,
        padding: int | Size2d = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        checks.only_default(
            "AvgPool2d",
            ceil_mode=(ceil_mode, False),
            count_include_pad=(count_include_pad, True),
            divisor_override=(divisor_override, None),
        )
        self.kernel_size, self.stride, self.padding = _sizes("AvgPool2d", kernel_size, stride, padding)

    def forward(self, x: Array) -> Array:
        checks.input_like("AvgPool2d", x, 4, "(N, C, H, W)")
        output_size("AvgPool2d", x, self.kernel_size, self.stride, self.padding)  # refuses what does not fit

        image = pad(batch_last(x), self.padding, 0)  # (C, H + 2·pH, W + 2·pW, N)
        windows = sliding_windows(image, self.kernel_size, self.stride)  # (C, kH, kW, H_out, W_out, N)
        first, *rest = np.ndindex(self.kernel_size)
        y = windows[:, *first].copy(order="C")
        for u, v in rest:
            y += windows[:, u, v]
        y /= math.prod(self.kernel_size)  # (1)
        self.save_for_backward(image.shape, y.shape, y.dtype)
        return batch_first(y)

    def backward(self, grad_output: Array) -> Array:
        image_shape, (c, h_out, w_out, n), dtype = self.saved_for_backward
        checks.gradient_like("AvgPool2d", grad_output, (n, c, h_out, w_out), dtype)

        g = batch_last(grad_output) / math.prod(self.kernel_size)
        grad_image = np.zeros_like(g, shape=image_shape, order="C")
        grad_windows = sliding_windows(grad_image, self.kernel_size, self.stride)
        for u, v in np.ndindex(self.kernel_size):
            grad_windows[:, u, v] += g  # (2)
        return batch_first(crop(grad_image, self.padding))


def _sizes(
    layer: str, kernel_size: int | Size2d, stride: int | Size2d | None, padding: int | Size2d
) -> tuple[Size2d, Size2d, Size2d]:
    """Kernel, stride and padding as pairs (vertical, horizontal), refused where torch refuses them."""
    kernel = checks.integer_pair(layer, "kernel_size", kernel_size, minimum=1)
    step = checks.integer_pair(layer, "stride", kernel_size if stride is None else stride, minimum=1)
    border = checks.integer_pair(layer, "padding", padding, minimum=0)
    if any(p > k // 2 for p, k in zip(border, kernel, strict=True)):
        raise ValueError(f"{layer}: padding must be at most half of kernel_size {kernel}, got {border}")
    return kernel, step, border
