"""Inputs that expose mistakes: each kind of value and of memory layout lets some mistake show that others hide."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scratch import Array

Shape = tuple[int, ...]
Draw = Callable[[np.random.Generator, Shape], Array]


def _per_channel(rng: np.random.Generator, shape: Shape) -> Array:
    """Normal numbers around 3, 6, 9 ...: every channel (axis 1) at a height of its own."""
    heights = 3.0 * np.arange(1, shape[1] + 1).reshape(1, -1, *(1,) * (len(shape) - 2))
    return rng.standard_normal(shape) + heights


# What each is for: mistakes in the values.
VALUES: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "integers": lambda rng, shape: rng.integers(-2, 3, shape).astype(float),  # ties, and exact zeros
    "zeros": lambda _, shape: np.zeros(shape),  # nothing but ties; only the bias is left
    "post-relu": lambda rng, shape: np.maximum(rng.standard_normal(shape), 0),  # pooling windows full of zeros
    "per-channel": _per_channel,  # exchanged channels
    "magnitudes": lambda rng, shape: (
        rng.standard_normal(shape) * 10.0 ** rng.uniform(-9, 3, shape)
    ),  # hidden thresholds
    "large": lambda rng, shape: rng.choice([-1000.0, 1000.0], shape) + rng.integers(-3, 4, shape),  # exp overflows
    "uneven": lambda rng, shape: (  # each row 1000 above the last: exp underflows beside the greatest of all
        rng.standard_normal(shape) + 1000.0 * np.arange(shape[0]).reshape(-1, *(1,) * (len(shape) - 1))
    ),
}
