"""From feature maps to class scores: flatten, and the fully connected layer."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from scratch import checks
from scratch.module import Array, Module, uniform


class Flatten(Module):
    """Lays the maps of each image out in one row: channel by channel, row by row.

    Forward:

        y[n, (c·H + i)·W + j] = x[n,c,i,j]                                                                  (1)

    Backward, g = ∂L/∂y being given. Nothing is computed, so the gradient takes the way back:

        ∂L/∂x[n,c,i,j] = g[n, (c·H + i)·W + j]                                                              (2)

    Shapes: input (N, ...), output (N, product of the rest).
    Raises: ValueError for an unsupported option, an input without a batch axis, or one that is neither float32 nor
        float64.
    Torch twin: `torch.nn.Flatten`, with start_dim=1, end_dim=-1.

    >>> flatten = Flatten()
    >>> flatten(np.array([[[[1.0, 2.0]], [[3.0, 4.0]]]]))
    array([[1., 2., 3., 4.]])
    >>> flatten.backward(np.array([[1.0, 2.0, 3.0, 4.0]])).shape
    (1, 2, 1, 2)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        checks.only_default("Flatten", start_dim=(start_dim, 1), end_dim=(end_dim, -1))

    def forward(self, x: Array) -> Array:
        checks.input_like("Flatten", x, max(x.ndim, 2), "or more, (N, ...)")
        self.save_for_backward(x.shape, x.dtype)
        return x.reshape(len(x), math.prod(x.shape[1:]))  # (1); a view, also with the batch innermost in memory

    def backward(self, grad_output: Array) -> Array:
        shape, dtype = self.saved_for_backward
        checks.gradient_like("Flatten", grad_output, (shape[0], math.prod(shape[1:])), dtype)
        return grad_output.reshape(shape)  # (2)


class Linear(Module):
    """Every output is a weighted sum of all inputs.

    Forward:

        y[n,o] = b[o] + Σ_i x[n,i] · w[o,i]                          in matrices: Y = X Wᵀ + b              (1)

    Backward, g = ∂L/∂y being given. Each quantity collects g over every place where (1) uses it:

        ∂L/∂b[o]   = Σ_n g[n,o]                                                                             (2)
        ∂L/∂w[o,i] = Σ_n g[n,o] · x[n,i]                             ∂L/∂W = Gᵀ X                           (3)
        ∂L/∂x[n,i] = Σ_o g[n,o] · w[o,i]                             ∂L/∂X = G W                            (4)

    (1) and (4) are computed transposed, Yᵀ = W Xᵀ: the batch stays innermost in memory, as the convolutions before this
    layer keep it, and no array is ever rearranged.

    Args:
        in_features, out_features: the lengths of a row of x and of y.
        bias: whether b is added.
        generator, dtype: source and type of the initial weights, U(-1/√in_features, 1/√in_features).

    Shapes:
        input (N, in_features), output (N, out_features), weight (out_features, in_features), bias (out_features).

    Raises:
        ValueError: for an input of another width or dtype.

    Torch twin: `torch.nn.Linear`, on two axes.

    >>> linear = Linear(2, 1, dtype=np.float64)
    >>> linear.weight.data[...], linear.bias.data[...] = [[2, 3]], [1]
    >>> linear(np.array([[10.0, 100.0]]))    # 10·2 + 100·3 + 1
    array([[321.]])
    >>> linear.backward(np.array([[1.0]]))
    array([[2., 3.]])
    >>> linear.weight.grad
    array([[ 10., 100.]])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        generator: np.random.Generator | None = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        super().__init__()
        checks.positive("Linear", in_features=in_features, out_features=out_features)
        bound = 1 / math.sqrt(in_features)
        self.weight = uniform(generator, bound, (out_features, in_features), dtype)
        self.bias = uniform(generator, bound, (out_features,), dtype) if bias else None

    def forward(self, x: Array) -> Array:
        weight = self.weight.data
        checks.input_like("Linear", x, 2, "(N, in_features)", weight.dtype)
        if x.shape[1] != weight.shape[1]:
            raise ValueError(f"Linear: input must have in_features = {weight.shape[1]} columns, got shape {x.shape}")
        y = weight @ x.T  # (1)
        if self.bias is not None:
            y += self.bias.data[:, None]
        self.save_for_backward(x)
        return y.T

    def backward(self, grad_output: Array) -> Array:
        self.backward_parameters(grad_output)
        weight = self.weight.data
        return (weight.T @ grad_output.T).T  # (4)

    def backward_parameters(self, grad_output: Array) -> None:
        (x,) = self.saved_for_backward
        weight = self.weight.data
        checks.gradient_like("Linear", grad_output, (len(x), len(weight)), weight.dtype)
        if self.bias is not None:
            self.bias.accumulate_grad(grad_output.sum(axis=0))  # (2)
        # Of one image it is an outer product, for which NumPy's @ takes three to ten times as long as its *.
        grad_weight = grad_output.T @ x if len(x) > 1 else grad_output.T * x
        self.weight.accumulate_grad(grad_weight)  # (3)
