"""How two sides are timed against each other: in turns, in one process, so that what slows the machine slows both."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np

BLOCK = 0.01  # seconds that one timed block lasts at least, or one call
ROUNDS = 5  # at least
SETTLE = 0.05  # seconds in which threads that wait for work give up their core
WARM_UP = 0.03  # seconds of calls, at least one, after which cores and threads that slept are as fast as in a long run
LONG_BLOCK = 0.05  # `BLOCK` where all this is needed
Stopwatch = Callable[[Callable[[], object], int], float]  # seconds that so many calls take


@dataclass(frozen=True)
class Timed:
    """A call to be timed, by which clock, and what is done untimed before each block: the weights put back."""

    call: Callable[[], object]
    stopwatch: Stopwatch
    rewind: Callable[[], None]


def wall_clock(call: Callable[[], object], repeats: int) -> float:
    """The seconds that `repeats` calls take."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return time.perf_counter() - start


def interleaved(sides: Mapping[str, Timed], seconds: float, settle: float = 0.0) -> dict[str, list[float]]:
    """The seconds per call of every side, once for each round: A B A B ...

    A round gives each side one block: as many calls as fill `BLOCK`, or one. There are at least `ROUNDS`, and as many
    more as give each side `seconds` on average. Each side has been called twice before, untimed.

    With `settle`, each change of side waits so long, warms up again for `WARM_UP`, untimed, and then takes blocks of
    `LONG_BLOCK`. That is for more than one thread: after its call the pool of a library waits busily for the next one,
    for some milliseconds, and would take the cores from the other library. Without it the twin that comes second is
    measured beside the other's threads.
    """
    repeats = {name: _calls(side, LONG_BLOCK if settle else BLOCK) for name, side in sides.items()}
    samples: dict[str, list[float]] = {name: [] for name in sides}
    spent, rounds = 0.0, 0
    while rounds < ROUNDS or spent < seconds * len(sides):
        for name, side in sides.items():
            side.rewind()
            if settle:
                time.sleep(settle)
                side.stopwatch(side.call, math.ceil(repeats[name] * WARM_UP / LONG_BLOCK))
            taken = side.stopwatch(side.call, repeats[name])
            samples[name].append(taken / repeats[name])
            spent += taken
        rounds += 1
    return samples


def _calls(side: Timed, seconds: float) -> int:
    """How many calls fill so many seconds; at least one."""
    side.rewind()
    side.stopwatch(side.call, 1)
    return max(1, round(seconds / max(side.stopwatch(side.call, 1), 1e-7)))


def speed_ratio(samples: Mapping[str, list[float]], one: str = "scratch", other: str = "torch") -> float:
    """How many times as fast `one` is as `other`, by the medians of their seconds."""
    return median(samples[other]) / median(samples[one])


def spread(samples: Mapping[str, list[float]], one: str = "scratch", other: str = "torch") -> float:
    """How far the ratio differs from round to round: the width of the middle half of the rounds' ratios, as a share of
    their median. 0.02 means that half of the rounds lie within about 1 % of it.

    >>> spread({"scratch": [1.0, 1.0, 1.0, 1.0, 1.0], "torch": [8.0, 9.0, 10.0, 11.0, 12.0]})
    0.2
    """
    low, middle, high = np.quantile(np.divide(samples[other], samples[one]), (0.25, 0.5, 0.75))
    return float((high - low) / middle)
