"""The networks in torch.nn. Read this beside `scratch/model.py`: there is no `backward` here, autograd finds it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CNN(nn.Module):
    """One convolution and one linear layer: the smallest network that sees shapes.

    Shapes: images (N, 1, 28, 28) in, scores (logits) (N, num_classes) out.
    NumPy twin: `scratch.CNN`.
    """

    def __init__(
        self,
        num_classes: int = 10,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, kernel_size=3, dtype=dtype)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(8 * 13 * 13, num_classes, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.conv1(x))  # (N, 8, 26, 26)
        x = self.pool1(x)  # (N, 8, 13, 13)
        x = self.flatten(x)  # (N, 1352)
        logits: Tensor = self.fc1(x)  # (N, num_classes)
        return logits


class LeNet5(nn.Module):
    """The classic of handwritten digits, in today's parts: ReLU, max-pooling and a plain linear output.

    Shapes: images (N, 1, 28, 28) in, scores (logits) (N, num_classes) out.
    NumPy twin: `scratch.LeNet5`.
    Source: LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition".
    """

    def __init__(
        self,
        num_classes: int = 10,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, kernel_size=5, padding=2, dtype=dtype)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, kernel_size=5, dtype=dtype)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(16 * 5 * 5, 120, dtype=dtype)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(120, 84, dtype=dtype)
        self.relu4 = nn.ReLU()
        self.fc3 = nn.Linear(84, num_classes, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.relu1(self.conv1(x)))  # (N, 6, 14, 14)
        x = self.pool2(self.relu2(self.conv2(x)))  # (N, 16, 5, 5)
        x = self.flatten(x)  # (N, 400)
        x = self.relu3(self.fc1(x))  # (N, 120)
        x = self.relu4(self.fc2(x))  # (N, 84)
        logits: Tensor = self.fc3(x)  # (N, num_classes)
        return logits
