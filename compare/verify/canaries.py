"""Who watches the verifier: candidates whose verdict is known, to be judged by it.

Each stands for a way in which a comparison can be fooled. A verifier that misjudges one of them is broken.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from compare.driving.tensors import Tensors
from compare.pairs import report as verifier
from scratch import Array

BOUND = 1e-14


@dataclass(frozen=True)
class Canary:
    """A candidate: what it gives, what it should give, what it may differ by, and whether it is right."""

    name: str
    got: Tensors
    expected: Tensors
    bound: float
    right: bool
    start: Tensors | None = None


def _numbers(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape)


def _canary(
    name: str,
    got: Array | None,
    expected: Array,
    bound: float = BOUND,
    *,
    right: bool = False,
    start: Array | None = None,
) -> Canary:
    given = {} if got is None else {"tensor": got}
    before = None if start is None else {"tensor": start}
    return Canary(name, given, {"tensor": expected}, bound, right, before)


def _of_one_tensor() -> list[Canary]:
    x = _numbers(4, 3)
    y = x.astype(np.float32)
    one_off = x.copy()
    one_off[2, 1] *= 1 + 1e-9
    not_a_number, infinite = x.copy(), x.copy()
    not_a_number[0, 0], infinite[0, 0] = np.nan, np.inf
    wide = 10 * float(np.abs(x).max())
    near = x + 0.5 * BOUND * np.sign(_numbers(4, 3))
    return [
        _canary("equal", x.copy(), x, right=True),
        _canary("off by half of the bound", near, x, right=True),
        _canary("off by twice the bound", x + 2 * BOUND, x),
        _canary("one element off by 1e-9", one_off, x),
        _canary("NaN", not_a_number, x),
        _canary("NaN in both", not_a_number.copy(), not_a_number),
        _canary("infinite", infinite, x),
        _canary("infinite in both", infinite.copy(), infinite),
        _canary("zeros within a wide bound", np.zeros_like(x), x, wide),
        _canary("an update that was not made, within a wide bound", y.copy(), y + np.float32(1e-3), 2e-3, start=y),
        _canary("a bound that is no number", x + 1, x, np.nan),
        _canary("a bound without an end", x + 1, x, np.inf),
        _canary("a bound looser than 1e-9", x + 1e-6, x, 2e-6),
        _canary("a permutation", x[::-1].copy(), x),
        _canary("the same numbers sorted", np.sort(x, axis=None).reshape(x.shape), x),
        _canary("another sign", -x, x),
        _canary("too small everywhere", x - 1, x),
        _canary("missing", None, x),
        _canary("the reference's own array", x, x),
        _canary("another dtype", y.copy(), y.astype(np.float64)),
        _canary("a row that broadcasts", x[:1].copy(), np.repeat(x[:1], 4, axis=0)),
        _canary("a shape of as many elements", x.reshape(3, 4).copy(), x),
        _canary("no elements", x[:0].copy(), x[:0]),
    ]


def _of_several_tensors() -> list[Canary]:
    x = _numbers(4, 3)
    return [
        Canary("a tensor too many", {"tensor": x.copy(), "more": x.copy()}, {"tensor": x}, BOUND, right=False),
        Canary("one of two is missing", {"first": x.copy()}, {"first": x, "second": x}, BOUND, right=False),
        Canary("nothing at all", {}, {}, BOUND, right=False),
        Canary(
            "the second of two is wrong",
            {"first": x.copy(), "second": x + 1},
            {"first": x, "second": x},
            BOUND,
            right=False,
        ),
        Canary(
            "the first of two is wrong",
            {"first": x + 1, "second": x.copy()},
            {"first": x, "second": x},
            BOUND,
            right=False,
        ),
    ]


CANARIES = [*_of_one_tensor(), *_of_several_tensors()]


def misjudged(judge: ModuleType = verifier) -> list[str]:
    """The canaries that a verifier (a module like `compare.pairs.report`) misjudges; an exception misjudges too."""
    return [canary.name for canary in CANARIES if _accepts(judge, canary) != canary.right]


def _accepts(judge: ModuleType, canary: Canary) -> bool | None:
    bounds = {name: np.full(array.shape, canary.bound) for name, array in canary.expected.items()}
    try:
        with np.errstate(all="ignore"):
            rows = judge.compare("canary", canary.name, canary.got, canary.expected, bounds, start=canary.start)
        return bool(judge.Report(rows).ok)
    except Exception:
        return None
