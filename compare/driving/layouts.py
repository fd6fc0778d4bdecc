"""Axes by letter: how somebody else orders the axes of an array, and the way there and back.

A layout is a word with one letter for each axis: "NCHW" is torch's order for images, "HWC" one image with the channels
last, "HW" one image of one channel; "NC" are rows, "CN" columns, "C1" one column. Weights have "OIHW" (convolution) and
"OI" (linear). An axis that a layout leaves out has length 1; "1" is an axis of length 1 that torch's has not.
"""

from __future__ import annotations

from compare.driving.tensors import Array

IMAGES = {1: "C", 2: "NC", 3: "NCL", 4: "NCHW", 5: "NCDHW"}  # torch's order by number of axes


class LayoutError(ValueError):
    """An array has not the axes that its layout says."""


def to_theirs(array: Array, canonical: str, theirs: str) -> Array:
    """Reorder the axes of `array` from `canonical` to `theirs`, without the axes that `theirs` has not.

    Raises:
        LayoutError: if `theirs` has other axes, or an axis that it leaves out is longer than 1.

    >>> import numpy as np
    >>> to_theirs(np.zeros((1, 2, 3, 4)), "NCHW", "HWC").shape
    (3, 4, 2)
    >>> to_theirs(np.zeros((1, 2)), "NC", "C1").shape
    (2, 1)
    """
    own = theirs.replace("1", "")
    if set(own) - set(canonical) or len(set(own)) != len(own):
        raise LayoutError(f"layout {theirs!r} must be made of the letters of {canonical!r}, each at most once")
    for axis, letter in enumerate(canonical):
        if letter not in own and array.shape[axis] != 1:
            raise LayoutError(f"layout {theirs!r} has no axis {letter}, which is {array.shape[axis]} long, not 1")
    kept = array.reshape([n for n, letter in zip(array.shape, canonical, strict=True) if letter in own])
    letters = [letter for letter in canonical if letter in own]
    ordered = kept.transpose([letters.index(letter) for letter in own])
    lengths = dict(zip(own, ordered.shape, strict=True))
    return ordered.reshape([lengths.get(letter, 1) for letter in theirs]) if own != theirs else ordered


def from_theirs(array: Array, theirs: str, canonical: str) -> Array:
    """The way back: the axes of `array` from `theirs` to `canonical`, those left out with length 1.

    Raises:
        LayoutError: if `theirs` has other axes, `array` another number of them, or is longer than 1 at a "1".
    """
    if array.ndim != len(theirs):
        raise LayoutError(f"shape {array.shape} instead of {len(theirs)} axes {theirs!r}")
    ones = tuple(axis for axis, letter in enumerate(theirs) if letter == "1")
    if any(array.shape[axis] != 1 for axis in ones):
        raise LayoutError(f"shape {array.shape} is longer than 1 where layout {theirs!r} says 1")
    own = theirs.replace("1", "")
    if set(own) - set(canonical):
        raise LayoutError(f"layout {theirs!r} must be made of the letters of {canonical!r}")
    kept = array.squeeze(ones) if ones else array
    letters = [letter for letter in canonical if letter in own]
    ordered = kept.transpose([own.index(letter) for letter in letters])
    lengths = dict(zip(letters, ordered.shape, strict=True))
    return ordered.reshape([lengths.get(letter, 1) for letter in canonical])


def for_axes(theirs: str, canonical: str) -> str:
    """`theirs` where it fits an array of the axes `canonical`; else what it says about the batch, for those axes.

    >>> for_axes("HWC", "NC"), for_axes("NHWC", "NC"), for_axes("1CHW", "NC"), for_axes("", "NCHW")
    ('C', 'NC', '1C', 'NCHW')
    """
    if not theirs:
        return canonical
    letters, needed = set(theirs) - {"1"}, set(canonical) - {"N", "C"} or {"C"}
    if needed <= letters <= set(canonical):
        return theirs
    return canonical if "N" in theirs else canonical.replace("N", "1" if "1" in theirs else "")


def batch_in_words(layout: str, axes: int) -> str:
    """What an input of so many axes is in a layout, in words; "" is torch's order.

    >>> batch_in_words("CHW", 2)
    'one image (C,)'
    >>> batch_in_words("", 2), batch_in_words("HWC", 4), batch_in_words("CN", 2), batch_in_words("C1", 2)
    ('a batch (N, C)', 'one image (H, W, C)', 'a batch of columns (C, N)', 'one column (C, 1)')
    """
    layout = for_axes(layout, IMAGES[axes])
    letters = ", ".join(layout) + ("," if len(layout) == 1 else "")
    columns = layout in ("CN", "C1")
    if "N" in layout:
        return f"a batch{' of columns' if columns else ''} ({letters})"
    return f"one {'column' if columns else 'image'} ({letters})"
