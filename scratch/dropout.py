"""Dropout: leave out elements by chance, so that no unit can rely on another."""

from __future__ import annotations

import numpy as np

from scratch import checks
from scratch.module import Array, Module


class Dropout(Module):
    """Keeps each element with probability 1 - p, and scales what is kept so that the mean stays.

    Forward, in training, with a mask k of zeros and ones drawn anew by every call (P(k = 0) = p):

        y = x·k/(1 - p)                                                                                     (1)

    and y = x in evaluation. For p = 1 nothing is kept, and y = 0.

    Backward, g = ∂L/∂y being given. With the mask that (1) drew, y is a multiple of x:

        ∂L/∂x = g·k/(1 - p)                                                                                 (2)

    and ∂L/∂x = g in evaluation.

    Args:
        p: the probability to leave an element out.
        generator: what draws the masks; in float64, so that one seed gives the same masks in every dtype.

    Shapes: any; output and gradient have the input's.
    Raises: ValueError for a p that is no probability, inplace=True, an input that is neither float32 nor float64.
    Torch twin: `torch.nn.Dropout`, with inplace=False; the masks are other ones.
    Source: Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting".

    >>> dropout = Dropout(p=0.5, generator=np.random.default_rng(0))  # draws 0.64, 0.27, 0.04
    >>> dropout(np.array([1.0, 2.0, 3.0]))   # what drew p or more is kept: 1/(1 - 0.5)
    array([2., 0., 0.])
    >>> dropout.backward(np.array([5.0, 5.0, 5.0]))
    array([10.,  0.,  0.])
    >>> dropout.eval()(np.array([1.0, 2.0, 3.0]))
    array([1., 2., 3.])
    """

    splits_batches = False  # threads cannot share a generator

    def __init__(self, p: float = 0.5, inplace: bool = False, *, generator: np.random.Generator | None = None) -> None:
        super().__init__()
        checks.only_default("Dropout", inplace=(inplace, False))
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p must be a number from 0 to 1, got {p}")
        self.p = p
        self.scale = 0.0 if p == 1 else 1 / (1 - float(p))
        self.generator = np.random.default_rng() if generator is None else generator

    def forward(self, x: Array) -> Array:
        checks.input_like("Dropout", x, x.ndim, "of any shape")
        # `like` brings the mask to where x is.
        mask = np.asarray(self.generator.random(x.shape) >= self.p, like=x) if self.training else None
        self.save_for_backward(mask, x.shape, x.dtype)
        return x if mask is None else x * mask * self.scale  # (1)

    def backward(self, grad_output: Array) -> Array:
        mask, shape, dtype = self.saved_for_backward
        checks.gradient_like("Dropout", grad_output, shape, dtype)
        return grad_output if mask is None else grad_output * mask * self.scale  # (2)
