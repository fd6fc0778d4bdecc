"""Axes by letter: how somebody else orders the axes of an array, and the way there and back.

A layout is a word with one letter for each axis: "NCHW" is torch's order for images, "HWC" one image with the channels
last, "HW" one image of one channel. Weights have "OIHW" (convolution) and "OI" (linear). An axis that a layout leaves
out has length 1 there.
"""

from __future__ import annotations

from scratch import Array

IMAGES = {1: "F", 2: "NF", 3: "NCL", 4: "NCHW", 5: "NCDHW"}  # torch's order by number of axes


class LayoutError(ValueError):
    """An array has not the axes that its layout says."""


def to_theirs(array: Array, canonical: str, theirs: str) -> Array:
    """Reorder the axes of `array` from `canonical` to `theirs`, without the axes that `theirs` has not.

    Raises:
        LayoutError: if `theirs` has other axes, or an axis that it leaves out is longer than 1.

    >>> import numpy as np
    >>> to_theirs(np.zeros((1, 2, 3, 4)), "NCHW", "HWC").shape
    (3, 4, 2)
    """
    if set(theirs) - set(canonical) or len(set(theirs)) != len(theirs):
        raise LayoutError(f"layout {theirs!r} must be made of the letters of {canonical!r}, each at most once")
    for axis, letter in enumerate(canonical):
        if letter not in theirs and array.shape[axis] != 1:
            raise LayoutError(f"layout {theirs!r} has no axis {letter}, which is {array.shape[axis]} long, not 1")
    kept = array.reshape([n for n, letter in zip(array.shape, canonical, strict=True) if letter in theirs])
    letters = [letter for letter in canonical if letter in theirs]
    return kept.transpose([letters.index(letter) for letter in theirs])


def from_theirs(array: Array, theirs: str, canonical: str) -> Array:
    """The way back: the axes of `array` from `theirs` to `canonical`, those left out with length 1.

    Raises:
        LayoutError: if `array` has another number of axes.
    """
    if array.ndim != len(theirs):
        raise LayoutError(f"shape {array.shape} instead of {len(theirs)} axes {theirs!r}")
    letters = [letter for letter in canonical if letter in theirs]
    ordered = array.transpose([theirs.index(letter) for letter in letters])
    lengths = dict(zip(letters, ordered.shape, strict=True))
    return ordered.reshape([lengths.get(letter, 1) for letter in canonical])


def for_axes(theirs: str, canonical: str) -> str:
    """`theirs` where it fits an array of the axes `canonical`; else what it says about the batch, for those axes.

    >>> for_axes("HWC", "NF"), for_axes("NHWC", "NF"), for_axes("", "NCHW")
    ('F', 'NF', 'NCHW')
    """
    if not theirs:
        return canonical
    if not set(theirs) - set(canonical):
        return theirs
    return canonical if "N" in theirs else canonical.replace("N", "")
