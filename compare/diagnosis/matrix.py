"""The kill matrix: every catalogued mistake through the verifier, and right code beside it.

A verifier is worth what it rejects. For each mistake: is it rejected, by which probe and tensor, and is it named? And
of thousands of right configurations, how many are called wrong?
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from rich.table import Table

from compare.diagnosis.examine import examine, own_answer
from compare.diagnosis.explaining.replay import planted
from compare.diagnosis.likeness import Likeness, likeness
from compare.faults.catalogue import CATALOGUE, faults_of
from compare.faults.fault import Fault, planted_module
from compare.machine.conditions import direct_convolutions, equal_threads
from compare.pairs.probe import Probe
from compare.verify.canaries import misjudged
from compare.verify.configurations import random_configurations

CONFIGURATIONS = 2000
UNNAMED = "described"  # what a mistake is diagnosed as that has no name


@dataclass(frozen=True)
class Kill:
    """What became of one mistake.

    Attributes:
        name: the mistake.
        rejected: whether the verifier called it wrong.
        diagnosed_as: the name it was given first; empty if it passed.
        probe, tensor: the first case and tensor that showed it.
    """

    name: str
    rejected: bool
    diagnosed_as: str
    probe: str
    tensor: str


@dataclass(frozen=True)
class Matrix:
    """All mistakes, and how many of the right configurations were called wrong."""

    kills: tuple[Kill, ...]
    false_alarms: int
    correct_configurations: int

    @property
    def rejected(self) -> int:
        """How many mistakes were rejected."""
        return sum(kill.rejected for kill in self.kills)

    @property
    def named(self) -> int:
        """How many were given their own name first."""
        return sum(kill.diagnosed_as == kill.name for kill in self.kills)

    @property
    def ok(self) -> bool:
        """Every mistake rejected, at least 95 % named, and no false alarm."""
        total = len(self.kills)
        return total > 0 and self.rejected == total and self.named >= 0.95 * total and not self.false_alarms

    def headline(self) -> str:
        """The result in one sentence."""
        total = len(self.kills)
        return (
            f"{self.rejected} of {total} mistakes rejected, {self.named} named; "
            f"{self.false_alarms} false alarms on {self.correct_configurations:,} right configurations"
        )

    def as_json(self) -> dict[str, Any]:
        """The result as plain values."""
        return {
            "total": len(self.kills),
            "rejected": self.rejected,
            "named": self.named,
            "false_alarms": self.false_alarms,
            "correct_configurations": self.correct_configurations,
            "rows": [asdict(kill) for kill in self.kills],
        }

    def table(self) -> Table:
        """One line for each mistake."""
        table = Table()
        for heading in ("mistake", "rejected", "diagnosed as", "tensor", "probe"):
            table.add_column(heading, overflow="fold", no_wrap=heading == "mistake")
        for kill in self.kills:
            said = "its name" if kill.diagnosed_as == kill.name else kill.diagnosed_as
            table.add_row(
                kill.name, "yes" if kill.rejected else "NO", said, kill.tensor, kill.probe.replace("[", r"\[")
            )
        return table


def kill_matrix(
    faults: Sequence[Fault] | None = None, configurations: int = CONFIGURATIONS, seed: int = 0
) -> Iterator[Kill | Matrix]:
    """Run the mistakes (all of the catalogue by default): each `Kill` as it comes, and the `Matrix` at the end."""
    kills = []
    with equal_threads(1), direct_convolutions():
        for fault in CATALOGUE.values() if faults is None else faults:
            kill = _verifier_kill(fault) if fault.pair == "verifier" else _kill(fault, seed)
            kills.append(kill)
            yield kill
        yield Matrix(tuple(kills), false_alarms(configurations, seed), configurations)


def false_alarms(configurations: int, seed: int = 0) -> int:
    """How many random configurations of the right code are called wrong, float64 and float32 in turn."""
    drawn = random_configurations(configurations, seed)
    return sum(any(not row.ok for row in pair.check(probe)) for pair, probe in drawn)


def _kill(fault: Fault, seed: int) -> Kill:
    compared, probes = _prepared(fault.pair, seed)
    result = examine(compared, fault.name, own_answer(compared, planted(fault)), probes, with_example=False)
    if result.ok:
        return Kill(fault.name, False, "", "", "")
    row = result.report.wrong[0] if result.report.wrong else None
    probe, tensor = (f"{row.case}, {row.dtype}", row.tensor) if row is not None else ("", "")
    return Kill(fault.name, True, result.name or UNNAMED, probe, tensor)


@cache
def _prepared(pair: str, seed: int) -> tuple[Likeness, list[Probe]]:
    compared = likeness(pair)
    return compared, list(compared.pair.examined(seed))


def _verifier_kill(fault: Fault) -> Kill:
    """A mistake in the verifier is rejected if it misjudges a canary, and named by the canaries that it misjudges."""
    wrong = misjudged(planted_module(fault))
    if not wrong:
        return Kill(fault.name, False, "", "", "")
    alike = [other.name for other in faults_of("verifier") if misjudged(planted_module(other)) == wrong]
    return Kill(fault.name, True, alike[0], wrong[0], "verdict")
