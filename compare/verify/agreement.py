"""The agreement check: forward, gradients and updates of every registered pair, against bounds that were derived.

Both twins of a case get the same weights, the same input and the same upstream gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from compare.machine.conditions import direct_convolutions, equal_threads
from compare.pairs.pair import Pair
from compare.pairs.registry import REGISTRY
from compare.pairs.report import Report, Row

DTYPES = ("float64", "float32")


def check(pairs: Iterable[Pair] = tuple(REGISTRY.values()), seed: int = 0) -> Report:
    """Compare every case of `pairs` in float64 and float32, from weights and inputs drawn with `seed`."""
    with equal_threads(1), direct_convolutions():  # the matrices are small: more threads would only wait
        return Report([row for pair in pairs for row in check_pair(pair, seed)])


def check_pair(pair: Pair, seed: int = 0) -> Iterator[Row]:
    """The rows of one registered pair, as they come."""
    for dtype in DTYPES:
        for probe in pair.probes(dtype, seed):
            yield from pair.check(probe, seed)
