"""What a comparison in training has found, as plain values: a checkpoint keeps them, a result holds them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from compare.machine.plain import MaybeInfinite
from compare.pairs.decisions import Flip
from compare.pairs.report import Report
from compare.pairs.weights import State
from compare.training.settings import Settings

WRONG = 5  # The wrong tensors that are told of, and those that could not be judged.


def judged(report: Report) -> Report:
    """The rows that say something, right or wrong."""
    return Report([row for row in report.rows if not row.unjudged])


def left_open(report: Report) -> Report:
    """The same with every row that is not ok as one that shows nothing: that of weights which blew up."""
    return Report([row if row.ok else replace(row, unjudged=True) for row in report.rows])


@dataclass(frozen=True)
class Distance:
    """How far two sets of weights are apart: for each parameter, max |a - b| / max |b|."""

    by_parameter: dict[str, float]

    @property
    def largest(self) -> float:
        """That of the parameter that is furthest."""
        return max(self.by_parameter.values())

    @property
    def parameter(self) -> str:
        """Which one that is."""
        return max(self.by_parameter, key=lambda name: self.by_parameter[name])


def distance(own: State, twin: State) -> Distance:
    """How far `own` is from `twin`; where one of them is not a number, infinitely."""
    apart: dict[str, float] = {}
    for name, array in twin.items():
        difference = float(np.abs(own[name].astype(np.float64) - array).max())
        scale = float(np.abs(array).max())
        relative = difference / scale if scale else (np.inf if difference else 0.0)
        apart[name] = relative if np.isfinite(relative) else np.inf
    return Distance(apart)


@dataclass(frozen=True)
class Parting:
    """Where scratch and torch went apart further than rounding alone takes torch from itself, and why.

    Attributes:
        step: in which the difference grew most.
        parameter, element: that was furthest apart after it, and where in it.
        apart, yardstick: relative distances when it was noticed.
        reason: in words.
        ok: whether both do the same in that step when they start it from the same weights.
        unjudged: whether nothing could be said about that, as the numbers were too large for any bound; not ok either.
    """

    step: int
    parameter: str
    element: list[int]
    apart: MaybeInfinite
    yardstick: MaybeInfinite
    reason: str
    ok: bool
    unjudged: bool = False

    def __str__(self) -> str:
        """One sentence for what was seen, one for why."""
        return (
            f"parted: at step {self.step}, most in {self.parameter}{self.element} "
            f"(noticed at {self.apart:.1e}, torch one ulp away {self.yardstick:.1e}): {self.reason}"
        )


@dataclass
class Findings:
    """What has been found so far; plain values, which a checkpoint keeps.

    Attributes:
        apart, yardstick: the distance now, and the largest of the yardstick so far.
        partings: each time that scratch was another ten times further away, until one was a mistake.
        steps, tensors: compared with --resync.
        turned: decisions that were made differently, all on narrow ties.
        share, closest: the closest call: how much of its bound it used, and which it was.
        wrong: what was wrong, in words, the first few.
        unjudged: what could not be judged, in words, the first few.
    """

    apart: MaybeInfinite = 0.0
    yardstick: MaybeInfinite = 0.0
    partings: list[Parting] = field(default_factory=list)
    steps: int = 0
    tensors: int = 0
    turned: int = 0
    share: MaybeInfinite = 0.0
    closest: str = ""
    wrong: list[str] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Findings:
        """What `asdict` gave."""
        return cls(**(values | {"partings": [Parting(**parting) for parting in values["partings"]]}))

    @property
    def ok(self) -> bool:
        """Whether nothing was found but rounding, and everything could be judged."""
        return not self.wrong and not self.unjudged and all(parting.ok for parting in self.partings)

    @property
    def mistaken(self) -> bool:
        """Whether a mistake was found; what could not be judged is none."""
        return bool(self.wrong) or any(not parting.ok and not parting.unjudged for parting in self.partings)

    @property
    def open_question(self) -> str:
        """The first thing that could not be judged, in words; empty if everything could."""
        partings = [str(parting) for parting in self.partings if parting.unjudged]
        return next(iter([*self.unjudged, *partings]), "").removeprefix("not judged ")

    def add(self, report: Report, turned: list[Flip]) -> None:
        """Count a compared step in."""
        self.steps += 1
        self.tensors += report.compared
        self.turned += len(turned)
        for row in report.rows:
            if row.budget > self.share and not row.unjudged:
                self.share, self.closest = row.budget, f"{row.tensor} [{row.case}]"
        for found, rows in ((self.wrong, report.wrong), (self.unjudged, report.unjudged)):
            found += [str(row) for row in rows[: WRONG - len(found)]]

    def lines(self, settings: Settings) -> list[str]:
        """What is to be said at the end of a run."""
        if settings.resync:
            verdict = f"{len(self.wrong)} or more are wrong" if self.wrong else "none outside its bound"
            if self.unjudged:
                verdict += f", {len(self.unjudged)} or more not judged"
            return [
                f"{self.steps:,} steps from the same weights: {self.tensors:,} tensors compared, {verdict}; "
                f"the closest call, {self.closest}, used {self.share:.0%} of its bound; "
                f"{self.turned} decisions on near ties turned",
                *self.wrong,
                *self.unjudged,
            ]
        if not settings.measures_drift:
            return []
        told = [parting for number, parting in enumerate(self.partings) if number == 0 or not parting.ok]
        return [
            f"drift: the weights of scratch and torch are {self.apart:.1e} apart, relative to the largest weight; "
            f"torch and torch started one ulp away, at most {self.yardstick:.1e}",
            *map(str, told),
        ]
