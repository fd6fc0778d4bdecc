"""What a layer is compared on: configurations, inputs and upstream gradients of every kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

Shape = tuple[int, ...]
Geometry = tuple[Shape, dict[str, Any]]  # of the input, and the options
PLAIN = ("normal", "integers", "zeros", "post-relu", "magnitudes")  # for whatever takes any numbers
SCORES = ("normal", "zeros", "large", "uneven")  # for whatever takes exponentials


@dataclass(frozen=True)
class Case:
    """One comparison of a layer or loss: constructor arguments of both twins, the input, how often it is called."""

    shape: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    values: str = "normal"
    layout: str = "contiguous"
    calls: int = 1

    @property
    def name(self) -> str:
        """In words, for a report: "3x3, stride=2, padding=1 | 4x1x9x9 normal"."""
        options = ", ".join(f"{key}={_brief(value)}" for key, value in self.options.items())
        given = [f"{'x'.join(map(str, self.shape))} {self.values}"]
        given += [self.layout] if self.layout != "contiguous" else []
        given += [f"{self.calls} calls"] if self.calls > 1 else []
        return " | ".join([options, ", ".join(given)] if options else [", ".join(given)])


def _brief(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def grid(geometries: list[Geometry], values: tuple[str, ...], *, layouts: bool = True) -> tuple[Case, ...]:
    """Every geometry with every kind of value; the first geometry also in every layout, and called three times."""
    cases = [Case(shape, options, kind) for shape, options in geometries for kind in values]
    shape, options = geometries[0]
    if layouts:
        cases += [Case(shape, options, layout=name) for name in ("strided", "fortran", "batch last", "read-only")]
    return (*cases, Case(shape, options, calls=3))


def whole(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    return int(rng.integers(low, high + 1))
