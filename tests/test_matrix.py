"""The kill matrix by itself: what is counted, what counts as good, and what becomes of one mistake."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from compare.diagnosis import matrix
from compare.diagnosis.likeness import likeness
from compare.diagnosis.matrix import CONFIGURATIONS, Kill, Matrix, _kill, _prepared, false_alarms, kill_matrix
from compare.diagnosis.trial import Trial
from compare.diagnosis.verdict import Diagnosis
from compare.faults.catalogue import CATALOGUE, faults_of, find_fault
from compare.faults.fault import Fault
from compare.pairs.probe import Probe
from compare.pairs.report import Row

GOOD = Kill("a", True, "a", "case", "output")
UNNAMED = Kill("a", True, "described", "case", "output")
PASSED = Kill("a", False, "", "", "")


@pytest.mark.parametrize(
    ("kills", "false_alarms", "rejected", "named", "ok"),
    [
        ([], 0, 0, 0, False),
        ([GOOD], 0, 1, 1, True),
        ([GOOD] * 19 + [UNNAMED], 0, 20, 19, True),  # 95 %
        ([GOOD] * 18 + [UNNAMED], 0, 19, 18, False),
        ([GOOD] * 39 + [PASSED], 0, 39, 39, False),
        ([GOOD] * 20, 1, 20, 20, False),
    ],
)
def test_what_is_counted_and_what_is_good(
    kills: list[Kill], false_alarms: int, rejected: int, named: int, ok: bool
) -> None:
    result = Matrix(tuple(kills), false_alarms, 1500)
    assert (result.rejected, result.named, result.ok) == (rejected, named, ok)
    assert result.headline() == (
        f"{rejected} of {len(kills)} mistakes rejected, {named} named; "
        f"{false_alarms} false alarms on 1,500 right configurations"
    )


def test_the_name_of_a_mistake_is_never_broken_in_the_table_and_all_else_may_be() -> None:
    columns = Matrix((GOOD, PASSED), 0, 1).table().columns
    assert [(column.header, column.overflow, column.no_wrap) for column in columns] == [
        ("mistake", "fold", True),
        ("rejected", "fold", False),
        ("diagnosed as", "fold", False),
        ("tensor", "fold", False),
        ("probe", "fold", False),
    ]
    assert [list(column.cells) for column in columns] == [
        ["a", "a"],
        ["yes", "NO"],
        ["its name", ""],
        ["output", ""],
        ["case", ""],
    ]


class Drawn:
    """Stands in for the random configurations: pairs and probes with what is said of each of their tensors."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *verdicts: list[bool]) -> None:
        self.verdicts = verdicts
        self.asked: list[tuple[int, int]] = []
        self.threads: set[int] = set()
        self.checked: list[list[bool]] = []
        monkeypatch.setattr(matrix, "random_configurations", self.draw)

    def draw(self, count: int, seed: int = 99) -> Iterator[tuple[Drawn, list[bool]]]:
        self.asked.append((count, seed))
        self.threads.add(torch.get_num_threads())
        for verdict in self.verdicts:
            yield self, verdict

    def check(self, probe: list[bool]) -> list[SimpleNamespace]:
        """Stands in for that of a pair: its rows are what the probe says."""
        self.checked.append(probe)
        return [SimpleNamespace(ok=ok) for ok in probe]


def test_a_false_alarm_is_a_configuration_with_any_wrong_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Drawn(monkeypatch, [True, True], [True, False], [False, False], [True], [])
    assert false_alarms(7) == 2
    assert false_alarms(8, 3) == 2
    assert drawn.asked == [(7, 0), (8, 3)]
    assert drawn.checked == 2 * list(drawn.verdicts)


def test_each_mistake_comes_as_soon_as_it_is_judged_and_all_of_them_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        drawn = Drawn(monkeypatch, [False])
        asked: list[tuple[str, int]] = []

        def judged(fault: Fault, seed: int) -> Kill:
            asked.append((fault.name, seed))
            drawn.threads.add(torch.get_num_threads())
            return Kill(fault.name, True, "", "", "")

        monkeypatch.setattr(matrix, "_kill", judged)
        monkeypatch.setattr(matrix, "_verifier_kill", lambda fault: Kill(fault.name, False, "", "", ""))
        faults = [find_fault("relu-leaky"), find_fault("verifier-nan-passes"), find_fault("sgd-ascent")]
        steps = kill_matrix(faults, configurations=5, seed=4)
        first = next(steps)
        assert first == Kill("relu-leaky", True, "", "", "")
        assert asked == [("relu-leaky", 4)]
        *others, result = steps
        assert others == [Kill("verifier-nan-passes", False, "", "", ""), Kill("sgd-ascent", True, "", "", "")]
        assert result == Matrix((first, *others), 1, 5)  # type: ignore[arg-type]
        assert drawn.asked == [(5, 4)]
        assert drawn.threads == {1}
        asked.clear()
        assert CONFIGURATIONS == 2000
        everything = list(kill_matrix())
        assert [kill.name for kill in everything[:-1] if isinstance(kill, Kill)] == list(CATALOGUE)
        assert {seed for _, seed in asked} == {0}
        assert drawn.asked[-1] == (2000, 0)
        assert list(kill_matrix([])) == [Matrix((), 1, 2000)]
    finally:
        torch.set_num_threads(threads)


def test_a_mistake_that_is_rejected_says_by_what_and_as_what_it_is_diagnosed() -> None:
    assert _kill(find_fault("relu-no-mask"), 0) == Kill(
        "relu-no-mask", True, "relu-no-mask", "3x2x5x4 normal, float64", "grad_input"
    )


def test_what_changes_nothing_is_not_rejected() -> None:
    right = "y = np.clip(x, 0, np.inf)  # (1)"
    nothing = Fault("relu-right", "relu", "scratch.activation.ReLU", "", "", "", ((right, right.replace("x,", "+x,")),))
    assert _kill(nothing, 0) == Kill("relu-right", False, "", "", "")


@pytest.mark.parametrize(
    ("rows", "problem", "kill"),
    [
        ([], "nothing was compared", Kill("relu-leaky", True, "described", "", "")),
        (
            ["", "first", "second"],
            "",
            Kill("relu-leaky", True, "described", "case 1, float32", "tensor 1"),
        ),
    ],
)
def test_a_mistake_without_a_name_is_described(
    rows: list[str], problem: str, kill: Kill, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def examine(compared: Any, name: str, answer: Any, probes: list[Probe], **more: Any) -> Diagnosis:
        asked.update(more, like=compared.pair.name, name=name, probes=probes, answer=answer(probes[0]))
        found = [
            Row("relu", f"case {n}", f"tensor {n}", "float32", (), 0.0, 0.0, 0.0, 0.0, None, said)
            for n, said in enumerate(rows)
        ]
        trials = (Trial(probes[0], None, {}, {}, tuple(found)),) if rows else ()
        return Diagnosis(name, "relu", trials, (), None, (), (), problem)

    monkeypatch.setattr(matrix, "examine", examine)
    assert _kill(find_fault("relu-leaky"), 6) == kill
    assert (asked["like"], asked["name"], asked["with_example"]) == ("relu", "relu-leaky", False)
    assert asked["answer"].value is not None
    assert asked["probes"] is _prepared("relu", 6)[1]


def test_the_inputs_are_drawn_once_for_each_pair_and_seed() -> None:
    compared, probes = _prepared("relu", 5)
    assert compared.pair is likeness("relu").pair
    assert _prepared("relu", 5)[1] is probes
    drawn = list(compared.pair.examined(5))
    assert [probe.case for probe in drawn] == [probe.case for probe in probes]
    np.testing.assert_array_equal(probes[0].calls[0].inputs[0], drawn[0].calls[0].inputs[0])
    assert (probes[0].calls[0].inputs[0] != _prepared("relu", 4)[1][0].calls[0].inputs[0]).any()


def test_a_mistake_in_the_verifier_is_named_by_the_canaries_that_it_misjudges(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third, fourth = (fault.name for fault in faults_of("verifier")[:4])
    canaries = {first: ["nan", "zeros"], second: ["zeros", "nan"], third: ["zeros", "nan"]}

    def misjudged(module: ModuleType) -> list[str]:
        return canaries.get(module.__name__.rpartition(" with ")[2], [])

    monkeypatch.setattr(matrix, "misjudged", misjudged)
    kills = [matrix._verifier_kill(find_fault(name)) for name in (first, second, third, fourth)]
    assert kills == [
        Kill(first, True, first, "nan", "verdict"),
        Kill(second, True, second, "zeros", "verdict"),
        Kill(third, True, second, "zeros", "verdict"),  # the two misjudge the same
        Kill(fourth, False, "", "", ""),
    ]
