"""What all chapters share: the network, how it was trained, and what was compared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from compare.driving.tensors import Tensors
from compare.lesson.chapters import windows
from compare.lesson.history import History
from compare.pairs.models import ModelPair
from compare.pairs.report import Report
from scratch import Array

SHOWN = 3  # the class of the digit that is shown first

Context = dict[str, Any]


@dataclass(frozen=True)
class Scene:
    """The network, how it was trained, and what was compared."""

    pair: ModelPair
    history: History
    report: Report
    seed: int

    @property
    def state(self) -> Tensors:
        """The trained weights of scratch, in float32, whatever they were trained in."""
        return in_float32(self.history.after["scratch"])

    @cached_property
    def digits(self) -> dict[str, Array]:
        """One test image, uint8 (H, W), of every class that there is among them, by its name."""
        return windows.one_of_each(self.history.dataset)

    @property
    def first(self) -> int:
        """The place among them of the one that is shown first."""
        return min(SHOWN, len(self.digits) - 1)

    @property
    def digit(self) -> Array:
        """The one that is shown first."""
        return list(self.digits.values())[self.first]


def in_float32(state: Tensors) -> Tensors:
    """Weights in float32."""
    return {name: array.astype(np.float32) for name, array in state.items()}


def some(history: History, count: int, dtype: str) -> tuple[Array, Array]:
    """The first test images (N, 1, H, W), from 0 to 1, and their labels."""
    dataset = history.dataset
    return dataset.test_images[:count].astype(dtype) / np.dtype(dtype).type(255), dataset.test_labels[:count]
