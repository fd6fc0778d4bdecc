"""Random configurations of every pair, for the other question that matters as much: right code must be called right."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator

import numpy as np

from compare.pairs.pair import Pair
from compare.pairs.probe import Probe
from compare.pairs.registry import REGISTRY


def random_configurations(count: int, seed: int = 0) -> Iterator[tuple[Pair, Probe]]:
    """`count` random configurations over all pairs, float64 and float32 in turn, each with its pair.

    Each pair has a stream of its own: another pair in the registry changes none of its configurations.
    """
    order = in_turn(list(REGISTRY.values()))
    drawn = Counter[str]()
    for number in range(count):
        pair, dtype = order[number % len(order)], ("float64", "float32")[number // len(order) % 2]
        stream = zlib.crc32(pair.name.encode())
        probe = pair.random_probe(dtype, np.random.default_rng([seed, stream, drawn[pair.name]]))
        drawn[pair.name] += 1
        assert probe is not None, f"{pair.name} is drawn {pair.often} times and draws nothing"
        yield pair, probe


def in_turn(pairs: list[Pair]) -> list[Pair]:
    """Each pair as often as it says (`often`), evenly spread; each begins a little later than the one before."""
    places = [((k + n / len(pairs)) / pair.often, n) for n, pair in enumerate(pairs) for k in range(pair.often)]
    return [pairs[n] for _, n in sorted(places)]
