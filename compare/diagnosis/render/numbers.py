"""Small arrays as text that can be followed by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from scratch import Array

FEW = 96  # numbers; more are described by their shape


def brief(array: Array) -> str:
    """The shape and, of a small array, the numbers: one line for each row, maps one after the other.

    >>> print(brief(np.array([[[[1.0, -2.5], [0.0, 4.0]]]])))
    1x1x2x2
         1 -2.5
         0    4
    """
    shape = "x".join(map(str, array.shape)) or "scalar"
    if array.size > FEW or array.size == 0:
        return shape
    return "\n".join([shape, *rows(array)])


def rows(array: Array) -> list[str]:
    """The numbers, aligned; a line for each row, an empty one between maps."""
    texts = tables(np.vectorize(number)(array))
    width = max(len(text) for text in texts.ravel())
    lines: list[str] = []
    for index, table in enumerate(texts):
        lines += [""] if index else []
        lines += [
            " ".join("  " + text.rjust(width) if not n else text.rjust(width) for n, text in enumerate(row))
            for row in table
        ]
    return lines


def tables(array: Array) -> Array:
    """The maps of an array one after the other, (maps, rows, columns); a number is a row, and a row a map."""
    whole = np.atleast_2d(array)
    return whole.reshape(math.prod(whole.shape[:-2]), *whole.shape[-2:])


def number(value: float) -> str:
    """A number with as many digits as it needs, at most six.

    >>> number(3.0), number(0.125), number(1 / 3)
    ('3', '0.125', '0.333333')
    """
    return f"{float(value) + 0.0:.6g}"


def options_text(options: dict[str, object]) -> str:
    """Constructor arguments as they would be written."""
    return ", ".join(f"{key}={value}" for key, value in options.items())


def listed(items: Sequence[str]) -> str:
    """Words as a list in a sentence: a, b and c."""
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)
