"""The agreement check: forward, gradients and updates of every registered pair, against bounds that were derived.

Both twins of a case get the same weights, the same input and the same upstream gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from compare.machine.conditions import direct_convolutions, equal_threads
from compare.pairs.probe import Probe, compare_probe, draw_probes, drive
from compare.pairs.registry import REGISTRY, ModelPair, Pair
from compare.pairs.report import CANDIDATE_ERRORS, Report, Row, failure
from compare.verify.models import check_model

DTYPES = ("float64", "float32")


def check(pairs: Iterable[Pair] = tuple(REGISTRY.values()), seed: int = 0) -> Report:
    """Compare every case of `pairs` in float64 and float32, from weights and inputs drawn with `seed`."""
    with equal_threads(1), direct_convolutions():  # the matrices are small: more threads would only wait
        return Report([row for pair in pairs for row in check_pair(pair, seed)])


def check_pair(pair: Pair, seed: int = 0) -> Iterator[Row]:
    """The rows of one registered pair, as they come."""
    for dtype in DTYPES:
        for probe in draw_probes(pair, dtype, seed):
            if isinstance(pair, ModelPair):
                images, labels = probe.calls[0].inputs
                yield from check_model(pair, probe.state, images, labels, seed, blank_free=True)
            else:
                yield from check_probe(pair, probe)


def check_probe(pair: Pair, probe: Probe) -> list[Row]:
    """Compare what the scratch side of a pair does with a probe with what the reference does."""
    try:
        got = drive(pair, pair.scratch, probe)
    except CANDIDATE_ERRORS as error:
        return [failure(pair.name, probe.case, probe.dtype, error)]
    return compare_probe(pair, probe, got)
