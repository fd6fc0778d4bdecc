"""What the lesson shows of a layer: its code, both calls, and a small example that is worked out on paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compare.driving.tensors import Tensors
from scratch import Array

Results = dict[str, Any]


@dataclass(frozen=True)
class ByHand:
    """One element of a tensor, computed on paper: "1·4 + 0·3" and what that gives."""

    equation: int
    tensor: str
    index: tuple[int, ...]
    text: str
    value: float


def is_tensor_of(tensors: dict[int, str], equation: int, tensor: str, case: str) -> bool:
    """Whether an equation computes this tensor in this case: by its name."""
    del case
    return tensors[equation] == tensor


@dataclass(frozen=True)
class Lesson:
    """What is shown of a layer or optimizer.

    Attributes:
        methods: the methods of the scratch class that hold the equations of its docstring.
        tensors: which tensor an equation computes, by the equation's number.
        given: the arguments of both calls, by name; small whole numbers, where the layer allows it.
        in_numpy, in_torch: one forward and backward pass, or some steps, in either library. Each gives its tensors by
            name; the lines that an equation computes bear its number.
        by_hand: at least one element for each equation that has a tensor.
        loops: the definition in plain loops, forward and backward, where there is one.
        called: functions that it calls and that are worth a look.
        computes: whether an equation gives a tensor of a case of the check, where the names alone do not say it.
    """

    methods: tuple[str, ...]
    tensors: dict[int, str]
    given: Tensors
    in_numpy: Callable[..., Results]
    in_torch: Callable[..., Results]
    by_hand: Callable[[Tensors], list[ByHand]]
    loops: tuple[Callable[..., Any], ...] = ()
    called: tuple[Callable[..., Any], ...] = ()
    computes: Callable[[dict[int, str], int, str, str], bool] = is_tensor_of


BOTH = ("forward", "backward")
MAPPED = {1: "output", 2: "grad_input"}
WEIGHTED = {1: "output", 2: "grad_bias", 3: "grad_weight", 4: "grad_input"}


def array(values: Any, shape: tuple[int, ...] | None = None) -> Array:
    """Numbers in float32."""
    numbers = np.array(values, np.float32)
    return numbers if shape is None else numbers.reshape(shape)


def terms(factors: Sequence[tuple[float, ...]], more: float | None = None) -> tuple[str, float]:
    """A sum of products in words and its value; `more` is added at the end.

    >>> terms([(1, 4), (-2, 3)], more=0.5)
    ('1·4 + (−2)·3 + 0.5 = −1.5', -1.5)
    """
    words = ["·".join(map(_signed, product)) for product in factors] + ([] if more is None else [_signed(more)])
    value = float(sum(np.prod(product) for product in factors)) + (more or 0.0)
    return f"{' + '.join(words)} = {plain(value)}", value


def _signed(number: float) -> str:
    return plain(number) if number >= 0 else f"({plain(number)})"


def plain(number: float, digits: int = 7) -> str:
    """A number as it is written on paper, with a real minus.

    >>> plain(-1.50), plain(27.0), plain(-0.0), plain(2e-5)
    ('−1.5', '27', '0', '2e−5')
    """
    mantissa, e, exponent = f"{number + 0.0:.{digits}g}".partition("e")
    return f"{mantissa}{e}{int(exponent) if e else ''}".replace("-", "−")
