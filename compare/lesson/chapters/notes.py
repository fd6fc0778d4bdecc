"""What is wrong with a tensor, in the few words of a reader who looks at it beside the right one."""

from __future__ import annotations

import numpy as np

from compare.pairs.report import LOOSEST
from scratch import Array

MANY = 0.2  # of the wrong elements: such a share that should be 0, or is, is worth a word


def note(got: Array | None, right: Array) -> str:
    """What is wrong with `got`, in a few words; empty if nothing is."""
    if got is None:
        return "never computed"
    if got.shape != right.shape:
        return f"shape {list(got.shape)} instead of {list(right.shape)}"
    if not np.isfinite(got).all():
        return "not a number, or infinite"
    difference, scale = np.abs(got - right), np.abs(right).max()
    if difference.max() <= LOOSEST * scale:
        return ""
    if got.size == 1:
        return f"{got.item():.4g} instead of {right.item():.4g}"
    if not got.any():
        return "all zero"
    return _multiple(got, right) or _permutation(got, right) or _elements(got, right)


def _multiple(got: Array, right: Array) -> str:
    """By which factor it is too large or too small; empty if it is no multiple."""
    factor = float((got * right).sum() / (right * right).sum()) if right.any() else 0.0
    if not factor or np.abs(got - factor * right).max() > LOOSEST * np.abs(got).max():
        return ""
    if abs(abs(factor) - 1) <= LOOSEST:
        return "the negative"
    times = max(abs(factor), 1 / abs(factor))
    size = f"{times:{',.0f' if times >= 1000 else '.4g'}} times too {'large' if abs(factor) > 1 else 'small'}"
    return size if factor > 0 else f"the negative, {size}"


def _permutation(got: Array, right: Array) -> str:
    """Whether it has the right numbers in wrong places; empty if not."""
    near = LOOSEST * np.abs(right).max()
    if abs(got.mean() - right.mean()) > near:  # which saves the sorting
        return ""
    apart = np.abs(np.sort(got, axis=None) - np.sort(right, axis=None)).max()
    return "the right numbers in another order" if apart <= near else ""


def _elements(got: Array, right: Array) -> str:
    """How many elements differ, by how much, and whether all of them should be 0, or are."""
    difference, scale = np.abs(got - right), np.abs(right).max()
    wrong = difference > LOOSEST * scale
    share = "all elements differ" if wrong.all() else f"{_percent(wrong.mean())} of the elements differ"
    size = f", by up to {_percent(difference.max() / scale)} of the greatest" if scale else ""
    return share + size + _zeros(got[wrong], right[wrong])


def _zeros(got: Array, right: Array) -> str:
    """Of the wrong elements, whether all or many should be 0, or are."""
    if not right.any():
        return "; all of these should be 0"
    if not got.any():
        return "; all of these are 0"
    should, are = (float(np.mean(array == 0)) for array in (right, got))
    words = [f"{_percent(should)} of these should be 0"] if should > MANY else []
    words += [f"{_percent(are)} of them are 0"] if are > MANY else []
    return "; " + ", ".join(words) if words else ""


def _percent(share: float) -> str:
    """A share in percent: two digits below 10%, above that the whole number below, so that 99.7% is not all.

    >>> _percent(0.997), _percent(0.0345), _percent(0.00000123)
    ('99%', '3.5%', '0.00012%')
    """
    percent = 100 * float(share)
    return f"{int(percent) if percent >= 10 else np.format_float_positional(percent, 2, fractional=False, trim='-')}%"
