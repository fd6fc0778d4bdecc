"""Argument checks shared by the layers: every message names the argument, its value and the rule."""

from __future__ import annotations

from typing import Any

import numpy as np

from scratch.module import Array

FLOATS = (np.float32, np.float64)


def integer_pair(layer: str, name: str, value: int | tuple[int, int], minimum: int) -> tuple[int, int]:
    """Read `value` as (vertical, horizontal), both at least `minimum`; a single int stands for both.

    >>> integer_pair("Conv2d", "stride", 2, minimum=1)
    (2, 2)
    """
    both = value if isinstance(value, tuple) else (value, value)
    whole = len(both) == 2 and all(isinstance(v, int) and not isinstance(v, bool) for v in both)
    if not whole or min(both) < minimum:
        raise ValueError(f"{layer}: {name} must be an int or a pair of ints, each at least {minimum}, got {value!r}")
    return both


def positive(layer: str, **values: int) -> None:
    """Refuse every value that is not an int of at least 1."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{layer}: {name} must be an int of at least 1, got {value!r}")


def only_default(layer: str, **options: tuple[Any, Any]) -> None:
    """Refuse options that torch has and this package has not: each is given as (value, the one value supported).

    >>> only_default("Conv2d", dilation=(2, 1))
    Traceback (most recent call last):
    ...
    ValueError: Conv2d: dilation must be 1, the only value supported, got 2
    """
    for name, (value, supported) in options.items():
        if not (value is supported or np.array_equal(value, supported)):
            raise ValueError(f"{layer}: {name} must be {supported!r}, the only value supported, got {value!r}")


def input_like(layer: str, x: Array, ndim: int, axes: str, dtype: np.dtype[Any] | None = None) -> None:
    """Refuse an input with another number of axes, or another dtype than the parameters' (`dtype`)."""
    if x.ndim != ndim:
        raise ValueError(f"{layer}: input must have {ndim} axes {axes}, got shape {x.shape}")
    if dtype is None and x.dtype not in FLOATS:
        raise ValueError(f"{layer}: input must be float32 or float64, got {x.dtype}")
    if dtype is not None and x.dtype != dtype:
        raise ValueError(f"{layer}: input must have the parameters' dtype {dtype}, got {x.dtype}")


def gradient_like(layer: str, grad_output: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse an upstream gradient that has not the shape and dtype of the output it belongs to."""
    if grad_output.shape != shape or grad_output.dtype != dtype:
        raise ValueError(
            f"{layer}: grad_output must be like the output, {dtype}{list(shape)}, "
            f"got {grad_output.dtype}{list(grad_output.shape)}"
        )
