"""Where a difference lies, in words: each place is recognised, and is not claimed where there is only one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from compare.diagnosis.explaining.forms import _where
from compare.diagnosis.render.page import maps
from compare.driving.tensors import Call
from scratch import Array


@dataclass
class Seen:
    """What `_where` asks a piece of evidence for."""

    right: Array
    got: Array
    call: Call | None = None
    kind: str = "output"

    @property
    def off(self) -> Array:
        return self.got != self.right


def evidence(shape: tuple[int, ...], wrong: Any, x: Array | None = None, g: Array | None = None) -> Any:
    right = np.zeros(shape)
    got = right.copy()
    got[wrong] = 1.0
    call = None if x is None else Call((x,), np.ones(shape) if g is None else g)
    return Seen(right, got, call)


PLACES: list[tuple[str, tuple[int, ...], Any]] = [
    ("in the last image", (2, 3), np.s_[-1]),
    ("in the first image", (2, 3), np.s_[0]),
    ("in the last row", (1, 3, 2, 3), np.s_[:, :, -1]),
    ("in the last column", (1, 3, 3, 2), np.s_[..., -1]),
    ("in the first row", (1, 3, 2, 3), np.s_[:, :, 0]),
    ("in the first column", (1, 3, 3, 2), np.s_[..., 0]),
    ("in the first channel", (1, 2), np.s_[:, 0]),
    ("in the last channel", (1, 2), np.s_[:, -1]),
]


@pytest.mark.parametrize(("words", "shape", "place"), PLACES)
def test_each_place_is_named(words: str, shape: tuple[int, ...], place: Any) -> None:
    assert _where([evidence(shape, place)]) == f" (only {words})"
    everywhere = evidence(shape, ...)
    assert _where([evidence(shape, place), everywhere]) == ""
    assert _where([everywhere]) == ""


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 1), (1, 1, 1, 1)])
def test_where_there_is_one_place_only_none_is_named(shape: tuple[int, ...]) -> None:
    assert _where([evidence(shape, np.s_[-1:])]) == ""


# No whole row or column has one sign, so that no place is named before.
X = np.array([[-1.0, 0.0, 2.0, -5.0], [0.0, -3.0, 4.0, 6.0]])
WITHOUT = np.full_like(X, np.nan)  # of no sign
SIGNS = [
    ("the input is negative", X, 0 * X, X < 0),
    ("the input is exactly 0", X, 0 * X, X == 0),
    ("the input is positive", X, 0 * X, X > 0),
    ("the upstream gradient is negative", WITHOUT, X, X < 0),
    ("the upstream gradient is positive", WITHOUT, X, X > 0),
]


@pytest.mark.parametrize(("words", "x", "g", "mask"), SIGNS, ids=[row[0] for row in SIGNS])
def test_the_sign_of_the_input_or_of_the_gradient_is_named(words: str, x: Array, g: Array, mask: Array) -> None:
    shown = _where([evidence(x.shape, mask, x, g)])
    assert shown == f" (only where {words})"
    more = mask | (np.arange(8).reshape(2, 4) < 3)
    assert words not in _where([evidence(x.shape, more, x, g)])


# Cells of the page


def test_a_cell_is_wrong_beyond_rounding_only() -> None:
    right = np.array([[1.0, 1000.0], [-5.0, 0.0]])
    got = right + np.array([[0.9e-6, 0.0], [1.1e-6, 0.0]])
    ((top, bottom),) = (table["rows"] for table in maps(got, right))
    assert [wrong for _, wrong in top] == [False, False]
    assert [wrong for _, wrong in bottom] == [True, False]
    nan = got.copy()
    nan[0, 0] = np.nan
    assert maps(nan, right)[0]["rows"][0][0][1] is True
    assert maps(got)[0]["rows"][1][0][1] is False  # nothing to compare it with
    assert maps(got, right[:1])[0]["rows"][1][0][1] is False
