"""The networks, layer by layer. Read this beside `torch_ref/model.py`: what is extra here is `backward`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from scratch.activation import ReLU
from scratch.conv import Conv2d
from scratch.linear import Flatten, Linear
from scratch.module import Array, Module
from scratch.pool import MaxPool2d


class CNN(Module):
    """One convolution and one linear layer: the smallest network that sees shapes.

    Shapes: images (N, 1, 28, 28) in, scores (logits) (N, num_classes) out.
    Torch twin: `torch_ref.CNN`.
    """

    def __init__(
        self,
        num_classes: int = 10,
        *,
        generator: np.random.Generator | None = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        super().__init__()
        self.conv1 = Conv2d(1, 8, kernel_size=3, generator=generator, dtype=dtype)
        self.relu1 = ReLU()
        self.pool1 = MaxPool2d(2)
        self.flatten = Flatten()
        self.fc1 = Linear(8 * 13 * 13, num_classes, generator=generator, dtype=dtype)

    def forward(self, x: Array) -> Array:
        x = self.relu1(self.conv1(x))  # (N, 8, 26, 26)
        x = self.pool1(x)  # (N, 8, 13, 13)
        x = self.flatten(x)  # (N, 1352)
        return self.fc1(x)  # (N, num_classes)

    def backward(self, grad_output: Array) -> Array:
        return self.conv1.backward(self._backward_to_conv1(grad_output))

    def backward_parameters(self, grad_output: Array) -> None:
        self.conv1.backward_parameters(self._backward_to_conv1(grad_output))

    def _backward_to_conv1(self, grad_output: Array) -> Array:
        g = self.fc1.backward(grad_output)
        g = self.flatten.backward(g)
        g = self.pool1.backward(g)
        return self.relu1.backward(g)


class LeNet5(Module):
    """The classic of handwritten digits, in today's parts: ReLU, max-pooling and a plain linear output.

    Shapes: images (N, 1, 28, 28) in, scores (logits) (N, num_classes) out.
    Torch twin: `torch_ref.LeNet5`.
    Source: LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition".
    """

    def __init__(
        self,
        num_classes: int = 10,
        *,
        generator: np.random.Generator | None = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        super().__init__()
        self.conv1 = Conv2d(1, 6, kernel_size=5, padding=2, generator=generator, dtype=dtype)
        self.relu1 = ReLU()
        self.pool1 = MaxPool2d(2)
        self.conv2 = Conv2d(6, 16, kernel_size=5, generator=generator, dtype=dtype)
        self.relu2 = ReLU()
        self.pool2 = MaxPool2d(2)
        self.flatten = Flatten()
        self.fc1 = Linear(16 * 5 * 5, 120, generator=generator, dtype=dtype)
        self.relu3 = ReLU()
        self.fc2 = Linear(120, 84, generator=generator, dtype=dtype)
        self.relu4 = ReLU()
        self.fc3 = Linear(84, num_classes, generator=generator, dtype=dtype)

    def forward(self, x: Array) -> Array:
        x = self.pool1(self.relu1(self.conv1(x)))  # (N, 6, 14, 14)
        x = self.pool2(self.relu2(self.conv2(x)))  # (N, 16, 5, 5)
        x = self.flatten(x)  # (N, 400)
        x = self.relu3(self.fc1(x))  # (N, 120)
        x = self.relu4(self.fc2(x))  # (N, 84)
        return self.fc3(x)  # (N, num_classes)

    def backward(self, grad_output: Array) -> Array:
        return self.conv1.backward(self._backward_to_conv1(grad_output))

    def backward_parameters(self, grad_output: Array) -> None:
        self.conv1.backward_parameters(self._backward_to_conv1(grad_output))

    def _backward_to_conv1(self, grad_output: Array) -> Array:
        g = self.fc3.backward(grad_output)
        g = self.fc2.backward(self.relu4.backward(g))
        g = self.fc1.backward(self.relu3.backward(g))
        g = self.flatten.backward(g)
        g = self.conv2.backward(self.relu2.backward(self.pool2.backward(g)))
        return self.relu1.backward(self.pool1.backward(g))
