"""Max-pooling: keep the strongest response of each window."""

from __future__ import annotations

import numpy as np

from scratch import checks
from scratch.module import Array, Module
from scratch.windows import Pair, batch_first, batch_last, crop, output_size, pad, window_slices


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

    Torch twin: `torch.nn.MaxPool2d`, with dilation=1, return_indices=False, ceil_mode=False. NaN propagates in
    both, but its gradient may go to another element.
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
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        *,
        dilation: int | Pair = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        one = (1, 1) if isinstance(dilation, tuple) else 1
        checks.only_default(
            "MaxPool2d", dilation=(dilation, one), return_indices=(return_indices, False), ceil_mode=(ceil_mode, False)
        )
        self.kernel_size = checks.integer_pair("MaxPool2d", "kernel_size", kernel_size, minimum=1)
        self.stride = checks.integer_pair("MaxPool2d", "stride", kernel_size if stride is None else stride, minimum=1)
        self.padding = checks.integer_pair("MaxPool2d", "padding", padding, minimum=0)
        if any(p > k // 2 for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(
                f"MaxPool2d: padding must be at most half of kernel_size {self.kernel_size}, got {self.padding}"
            )

    def forward(self, x: Array) -> Array:
        checks.input_like("MaxPool2d", x, 4, "(N, C, H, W)")
        size = output_size("MaxPool2d", x, self.kernel_size, self.stride, self.padding)

        image = pad(batch_last(x), self.padding, -np.inf)  # (C, H + 2·pH, W + 2·pW, N)
        windows = [image[at] for _, _, at in window_slices(self.kernel_size, self.stride, size)]
        y = windows[0].copy(order="C")
        for element in windows[1:]:
            np.maximum(y, element, out=y)  # (1)
        # Who won is found out in backward, from these two: inference never pays for it.
        self.save_for_backward(image, y)
        return batch_first(y)

    def backward(self, grad_output: Array) -> Array:
        image, y = self.saved_for_backward
        c, h_out, w_out, n = y.shape
        checks.gradient_like("MaxPool2d", grad_output, (n, c, h_out, w_out), y.dtype)

        g = batch_last(grad_output)
        grad_image = np.zeros_like(image, order="C")
        undecided = np.ones_like(y, dtype=bool)  # windows whose winner has not been met yet
        for _, _, at in window_slices(self.kernel_size, self.stride, (h_out, w_out)):
            wins = undecided & (image[at] == y)
            undecided ^= wins
            grad_image[at] += g * wins  # (2)
        return batch_first(crop(grad_image, self.padding))
