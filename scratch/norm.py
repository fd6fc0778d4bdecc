"""Batch normalisation: every channel with mean 0 and variance 1, then scaled and shifted as training likes it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from scratch import checks
from scratch.module import Array, Buffer, Module, Parameter, float_type
from scratch.windows import batch_first, batch_last


class BatchNorm2d(Module):
    """Normalises every channel over the m = N·H·W values that it has in the batch.

    Forward, everything for each channel c by itself, Σ over n, i, j:

        μ = (1/m) Σ x                                                                                       (1)
        v = (1/m) Σ (x - μ)²                                                                                (2)
        x̂ = s · (x - μ),   s = 1/√(v + eps)                                                                 (3)
        y = w · x̂ + b                                                                                       (4)

    In training, moving averages remember μ and v, this one as the estimate for all images, which divides by m - 1:

        running_mean ← (1 - momentum) · running_mean + momentum · μ                                         (5)
        running_var  ← (1 - momentum) · running_var  + momentum · v · m/(m - 1)                             (6)

    In evaluation they take the place of μ and v, so that the answer for an image does not depend on the others.

    Backward, g = ∂L/∂y being given. From (4):

        ∂L/∂b = Σ g                                                                                         (7)
        ∂L/∂w = Σ g·x̂                                                                                       (8)

    In evaluation μ and v are constants, and (3) and (4) a straight line:

        ∂L/∂x = w·s·g                                                                                       (9)

    In training x_k is in every x̂_l, by itself, by ∂μ/∂x_k = 1/m and by ∂v/∂x_k = 2·(x_k - μ)/m (what μ adds to the
    latter is -(2/m)·Σ(x - μ)/m = 0). As ds/dv = -s³/2,

        ∂x̂_l/∂x_k = s·(δ_kl - 1/m) - (x_l - μ)·(s³/2)·2·(x_k - μ)/m = s·(δ_kl - 1/m - x̂_l·x̂_k/m),

    and with w·g_l = ∂L/∂x̂_l the sum over l is

        ∂L/∂x_k = w·s·(g_k - (1/m) Σ g - x̂_k·(1/m) Σ g·x̂)                                                  (10)

    where the sums are those of (7) and (8).

    Args:
        num_features: C.
        eps: what keeps (3) finite where a channel is constant.
        momentum: the weight of the new batch in (5) and (6).
        affine: whether w and b are there; else y = x̂.
        dtype: type of w, which begins as ones, of b, zeros, and of the moving averages, which begin as 0 and 1.

    Shapes:
        input and output (N, C, H, W); weight, bias, running_mean and running_var (C); num_batches_tracked, which counts
        the batches of training, one int64.

    Raises:
        ValueError: for an unsupported option, an input of other channels or dtype, and in training one without
            two values or more for each channel.

    Torch twin: `torch.nn.BatchNorm2d`, with track_running_stats=True, and a number for momentum.
    Source: Ioffe & Szegedy 2015, "Batch Normalization", arXiv:1502.03167.

    >>> norm = BatchNorm2d(1, eps=3.0, dtype=np.float64)
    >>> norm.weight.data[...], norm.bias.data[...] = 4, 1
    >>> norm(np.array([[[[1.0, 3.0]]]]))     # μ = 2, v = 1, s = 1/√(1 + 3) = 0.5: x̂ = -0.5 and 0.5
    array([[[[-1.,  3.]]]])
    >>> norm.running_mean.data, norm.running_var.data  # 0.9·0 + 0.1·2, and 0.9·1 + 0.1·1·2/(2 - 1)
    (array([0.2]), array([1.1]))
    >>> norm.backward(np.array([[[[1.0, 0.0]]]]))  # 4·0.5·(1 - 0.5 - 0.5·0.25), and 4·0.5·(0 - 0.5 + 0.5·0.25)
    array([[[[ 0.75, -0.75]]]])
    >>> norm.weight.grad, norm.bias.grad
    (array([-0.5]), array([1.]))
    """

    splits_batches = False  # the statistics are those of the whole batch

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        super().__init__()
        checks.positive("BatchNorm2d", num_features=num_features)
        checks.only_default("BatchNorm2d", track_running_stats=(track_running_stats, True))
        if not 0 < eps < math.inf:
            raise ValueError(f"BatchNorm2d: eps must be a number above 0, got {eps}")
        if momentum is None or not math.isfinite(momentum):
            raise ValueError(f"BatchNorm2d: momentum must be a number, got {momentum}")
        self.eps = float(eps)
        self.momentum = float(momentum)
        zeros = np.zeros(num_features, float_type(dtype))
        self.weight = Parameter(zeros + 1) if affine else None
        self.bias = Parameter(zeros.copy()) if affine else None
        self.running_mean = Buffer(zeros)
        self.running_var = Buffer(zeros + 1)
        self.num_batches_tracked = Buffer(np.zeros((), np.int64))

    def forward(self, x: Array) -> Array:
        running_mean, running_var = self.running_mean.data, self.running_var.data
        checks.input_like("BatchNorm2d", x, 4, "(N, C, H, W)", running_mean.dtype)
        if x.shape[1] != len(running_mean):
            raise ValueError(
                f"BatchNorm2d: input must have num_features = {len(running_mean)} channels, got shape {x.shape}"
            )
        image = batch_last(x)
        rows = image.reshape(len(image), math.prod(image.shape[1:]))  # one row for each channel: m values
        if self.training:
            m = rows.shape[1]
            if m < 2:
                raise ValueError(
                    f"BatchNorm2d: in training, input must have 2 values or more for each channel, got shape {x.shape}"
                )
            mean = rows.mean(axis=1)  # (1)
            normal = rows - mean[:, None]
            var = (normal * normal).mean(axis=1)  # (2)
            # In place: who holds the arrays of the state sees them move.
            running_mean[...] = (1 - self.momentum) * running_mean + self.momentum * mean  # (5)
            running_var[...] = (1 - self.momentum) * running_var + self.momentum * var * (m / (m - 1))  # (6)
            self.num_batches_tracked.data += 1
        else:
            normal, var = rows - running_mean[:, None], running_var
        inverse_std = 1 / np.sqrt(var + self.eps)
        normal *= inverse_std[:, None]  # (3)
        # The mode is kept too: backward belongs to this forward, whatever is switched in between.
        self.save_for_backward(normal, inverse_std, image.shape, self.training)
        y = normal if self.weight is None else normal * self.weight.data[:, None]
        if self.bias is not None:
            y += self.bias.data[:, None]  # (4)
        return batch_first(y.reshape(image.shape))

    def backward(self, grad_output: Array) -> Array:
        normal, inverse_std, (c, h, w, n), was_training = self.saved_for_backward
        checks.gradient_like("BatchNorm2d", grad_output, (n, c, h, w), normal.dtype)
        g = batch_last(grad_output).reshape(normal.shape)
        grad_bias = g.sum(axis=1)  # (7)
        grad_weight = (g * normal).sum(axis=1)  # (8)
        scale = inverse_std
        if self.weight is not None and self.bias is not None:
            scale = scale * self.weight.data
            self.bias.accumulate_grad(grad_bias)
            self.weight.accumulate_grad(grad_weight)
        if was_training:
            m = normal.shape[1]
            g = g - (grad_bias / m)[:, None] - normal * (grad_weight / m)[:, None]
        grad_rows = scale[:, None] * g  # (9), (10)
        return batch_first(grad_rows.reshape(c, h, w, n))
