from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass
class Conv2d:
    in_channels: int
    out_channels: int
    kernel_size: int
    weight: NDArray[np.float64] = field(init=False)
    bias: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        k = self.kernel_size
        self.weight = np.random.default_rng(0).normal(size=(self.out_channels, self.in_channels, k, k))
        self.bias = np.zeros(self.out_channels)

    def forward(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        self._x = x
        batch, _, height, width = x.shape
        k = self.kernel_size
        out = np.empty((batch, self.out_channels, height - k + 1, width - k + 1), dtype=x.dtype)
        flat = self.weight.reshape(self.out_channels, -1).T
        for i in range(out.shape[2]):
            for j in range(out.shape[3]):
                out[:, :, i, j] = x[:, :, i : i + k, j : j + k].reshape(batch, -1) @ flat + self.bias
        return out

    def backward(self, grad: NDArray[np.float64]) -> NDArray[np.float64]:
        k, x = self.kernel_size, self._x
        self.weight_grad = np.zeros_like(self.weight)
        self.bias_grad = grad.sum(axis=(0, 2, 3))
        grad_x = np.zeros_like(x)
        flat = self.weight.reshape(self.out_channels, -1)
        for i in range(grad.shape[2]):
            for j in range(grad.shape[3]):
                g = grad[:, :, i, j]
                patch = x[:, :, i : i + k, j : j + k].reshape(len(x), -1)
                self.weight_grad += (g.T @ patch).reshape(self.weight.shape)
                grad_x[:, :, i : i + k, j : j + k] += (g @ flat).reshape(len(x), self.in_channels, k, k)
        return grad_x
