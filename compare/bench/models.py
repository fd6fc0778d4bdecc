"""What is timed: the registered models, and one that is wide enough for arithmetic to be what counts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import scratch
from compare.bench.plan import MODELS as NAMES
from compare.pairs.models import ModelPair
from compare.pairs.registry import MODELS
from compare.pairs.weights import State
from scratch import Array

SEED = 0


def wide_scratch(
    *, generator: np.random.Generator | None = None, dtype: npt.DTypeLike = np.float32
) -> scratch.Sequential:
    """Two wide convolutions and two linear layers, 1.2 million weights: images (N, 1, 28, 28), scores (N, 10)."""
    return scratch.Sequential(
        scratch.Conv2d(1, 32, 3, generator=generator, dtype=dtype),  # (N, 32, 26, 26)
        scratch.ReLU(),
        scratch.Conv2d(32, 64, 3, generator=generator, dtype=dtype),  # (N, 64, 24, 24)
        scratch.ReLU(),
        scratch.MaxPool2d(2),  # (N, 64, 12, 12)
        scratch.Flatten(),
        scratch.Linear(9216, 128, generator=generator, dtype=dtype),
        scratch.ReLU(),
        scratch.Linear(128, 10, generator=generator, dtype=dtype),
    )


def wide_torch(*, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """The twin of `wide_scratch`."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, dtype=dtype),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, dtype=dtype),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(9216, 128, dtype=dtype),
        nn.ReLU(),
        nn.Linear(128, 10, dtype=dtype),
    )


PAIRS: dict[str, ModelPair] = {**MODELS, "wide": ModelPair("wide", wide_scratch, wide_torch, images_per_thread=16)}
assert set(NAMES) <= PAIRS.keys()


def draw_state(pair: ModelPair) -> State:
    """The weights that both sides start from, in float32."""
    module = pair.scratch(generator=np.random.default_rng(SEED), dtype="float32")
    return {name: array.copy() for name, array in module.state_dict().items()}


def draw_batch(pair: ModelPair, images: int) -> tuple[Array, Array]:
    """Random images float32 (N, 1, H, W) and labels (N)."""
    rng = np.random.default_rng(SEED + images)
    drawn = rng.standard_normal((images, *pair.image_shape)).astype(np.float32)
    return drawn, rng.integers(0, pair.num_classes, images)
