"""The verdict in words and as plain values, made of findings and rows that are written down here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from compare.diagnosis.coverage import Coverage
from compare.diagnosis.explaining.replay import RAISED, Finding
from compare.diagnosis.explaining.shrink import Example
from compare.diagnosis.trial import Trial
from compare.diagnosis.verdict import Alternative, Diagnosis, missing_of
from compare.driving.tensors import Tensors
from compare.machine.outcome import STATUS
from compare.pairs.probe import Probe
from compare.pairs.report import Row


def row(tensor: str, budget: float = 0.5, problem: str = "") -> Row:
    return Row("relu", "2x3", tensor, "float64", (2, 3), 1e-16, 1e-16, 2e-16, budget, (0, 0), problem)


def trial(*rows: Row, got: Tensors | None = None, missing: tuple[str, ...] = ()) -> Trial:
    return Trial(Probe("2x3", "float64", {}, {}), got, {}, {}, rows, missing=missing)


FIRST = Finding(
    ("grad_input", "output"), "", "relu-no-mask", True, "The mask is missing.", "Try -1.", "on 3", ("also",)
)
SECOND = Finding((RAISED, "grad_bias"), "fc1", "", False, "It differs.", "Look.", "on 1")
RIGHT = Diagnosis("Mine", "relu", (trial(row("output")),), (), None, (), ())
COVERED = Coverage(7, "a batch (N, C)", {"output": 1.0, "grad_input": 0.87654}, ("bias=False",), ("eps",))
COLUMNS = Alternative("a batch (N, C)", "a batch of columns (C, N)", {"layout": "CN"}, "--layout CN")
ALONE = Alternative("a batch (N, C)", "one image (C,)", {"layout": "C"}, "--layout C", against=True)
WRONG = replace(
    RIGHT,
    trials=(trial(row("grad_input", 9.0, "off"), row("output")), trial(row("output", 8.0, "off"))),
    findings=(FIRST, SECOND),
)


def test_right_is_what_was_compared_and_has_nothing_wrong() -> None:
    assert RIGHT.ok
    assert not replace(RIGHT, trials=()).ok
    assert not replace(RIGHT, problem="it does not start").ok
    assert not replace(RIGHT, findings=(FIRST,)).ok
    assert not replace(RIGHT, trials=WRONG.trials).ok
    assert not replace(RIGHT, trials=WRONG.trials, problem="it does not start").ok
    assert not WRONG.ok


def test_what_cannot_be_judged_is_neither_right_nor_wrong() -> None:
    outcomes = {
        "right": [RIGHT, replace(RIGHT, coverage=COVERED), replace(RIGHT, missing=("grad_input",))],
        "wrong": [WRONG, replace(RIGHT, findings=(FIRST,)), replace(WRONG, findings=())],
        "not_judged": [
            replace(RIGHT, trials=()),
            replace(RIGHT, trials=(trial(),)),
            replace(RIGHT, problem="it does not start"),
            replace(WRONG, problem="it does not start"),
            replace(WRONG, trials=()),  # mistakes without a tensor that shows them
        ],
    }
    for outcome, results in outcomes.items():
        assert [result.outcome for result in results] == [outcome] * len(results)
        assert [result.ok for result in results] == [outcome == "right"] * len(results)
    assert STATUS == {"right": 0, "wrong": 1, "not_judged": 2}


def test_the_first_mistake_gives_its_name_and_its_first_tensor() -> None:
    assert (WRONG.name, WRONG.first_wrong) == ("relu-no-mask", "grad_input")
    assert (RIGHT.name, RIGHT.first_wrong) == ("", "")
    second = replace(WRONG, findings=(SECOND, FIRST))
    assert (second.name, second.first_wrong) == ("", RAISED)


def test_the_report_has_the_rows_of_all_trials_in_order() -> None:
    assert [(r.tensor, r.budget) for r in WRONG.report.rows] == [("grad_input", 9.0), ("output", 0.5), ("output", 8.0)]


def test_every_kind_of_tensor_is_counted_in_reading_order() -> None:
    rows = [
        row("share kept"),
        row("grad_input of call 1", problem="off"),
        row("grad_input of call 2"),
        row("output of call 1"),
        row("grad_input of call 1", problem="off"),
        row("bias", problem="off"),
    ]
    result = replace(RIGHT, trials=(trial(*rows[:4]), trial(*rows[4:])))
    assert result.kinds() == [("output", 1, 0), ("grad_input", 3, 2), ("bias", 1, 1), ("share kept", 1, 0)]
    assert replace(RIGHT, trials=()).kinds() == []


@pytest.mark.parametrize("hint_only", [False, True])
def test_the_headline_of_what_is_right(hint_only: bool) -> None:
    rows = [row("output", 0.25), row("output", 0.75), row("output", 0.5)]
    result = replace(RIGHT, trials=(trial(*rows), trial(row("output", 0.0))))
    said = (
        "right: Mine computes what relu does: 4 tensors compared on 2 inputs, none outside its bound "
        "(at most 75% of it used)"
    )
    assert result.headline(hint_only=hint_only) == said
    # What was not compared is told by the coverage.
    missing = replace(result, missing=("output", "grad_weight", "conv1.grad_bias", "bias"), coverage=COVERED)
    assert missing.headline(hint_only=hint_only) == said
    many = replace(result, trials=(trial(*rows * 500),))
    assert " 1,500 tensors compared on " in many.headline()
    assert repr(result) == f"<Diagnosis {result.headline()}>"


@pytest.mark.parametrize("hint_only", [False, True])
def test_the_headline_of_what_could_not_be_judged_is_the_reason(hint_only: bool) -> None:
    for result in (RIGHT, WRONG, replace(WRONG, alternatives=(COLUMNS,)), replace(RIGHT, trials=())):
        said = replace(result, problem="it does not start").headline(hint_only=hint_only)
        assert said == "not judged: it does not start"
    for result in (replace(RIGHT, trials=()), replace(WRONG, trials=(), alternatives=(COLUMNS,))):
        assert result.headline(hint_only=hint_only) == "not judged: nothing was compared"
        assert repr(result) == "<Diagnosis not judged: nothing was compared>"


@pytest.mark.parametrize("hint_only", [False, True])
def test_the_headline_names_the_first_reading_under_which_it_is_right(hint_only: bool) -> None:
    either = replace(WRONG, alternatives=(COLUMNS, ALONE))
    assert either.headline(hint_only=hint_only) == (
        "wrong for a batch (N, C); right for a batch of columns (C, N): if that is meant, --layout CN"
    )
    assert (either.outcome, either.name) == ("wrong", "relu-no-mask")
    assert replace(either, alternatives=(ALONE,)).headline(hint_only=hint_only) == (
        "wrong for a batch (N, C); right for one image (C,): it works along other axes than it is described for"
    )


def test_the_headline_of_a_mistake() -> None:
    third = replace(FIRST, kinds=("grad_bias",))
    one, two, three = (replace(WRONG, findings=(FIRST, SECOND, third)[:n]) for n in (1, 2, 3))
    assert one.headline() == "wrong: grad_input, output of relu: The mask is missing."
    assert two.headline() == ("wrong: grad_input, output of relu: The mask is missing. (and 1 more mistake, below)")
    assert three.headline() == ("wrong: grad_input, output of relu: The mask is missing. (and 2 more mistakes, below)")
    assert two.headline(hint_only=True) == "wrong: grad_input, output of relu (and 1 more mistake, below)"
    in_a_layer = replace(WRONG, findings=(SECOND,))
    assert in_a_layer.headline() == "wrong: no answer, grad_bias, layer fc1: It differs."
    assert in_a_layer.headline(hint_only=True) == "wrong: no answer, grad_bias, layer fc1"


def test_a_verdict_in_full_as_plain_values() -> None:
    example = Example({"dim": 1}, {"input": np.zeros((1, 2))}, "output", np.ones(1), np.zeros(1))
    result = replace(
        WRONG,
        example=example,
        missing=("grad_bias",),
        remarks=("slow",),
        coverage=COVERED,
    )
    assert result.as_json() == {
        "ok": False,
        "outcome": "wrong",
        "candidate": "Mine",
        "like": "relu",
        "headline": "wrong: grad_input, output of relu: The mask is missing. (and 1 more mistake, below)",
        "findings": [
            {
                "tensors": ["grad_input", "output"],
                "layer": "",
                "hint": "Try -1.",
                "name": "relu-no-mask",
                "catalogued": True,
                "made": "The mask is missing.",
                "evidence": "on 3",
                "also": ["also"],
            },
            {
                "tensors": [RAISED, "grad_bias"],
                "layer": "fc1",
                "hint": "Look.",
                "name": "",
                "catalogued": False,
                "made": "It differs.",
                "evidence": "on 1",
                "also": [],
            },
        ],
        "tensors": [
            {"name": "output", "compared": 2, "wrong": 1},
            {"name": "grad_input", "compared": 1, "wrong": 1},
        ],
        "missing": ["grad_bias"],
        "coverage": {
            "inputs": 7,
            "layout": "a batch (N, C)",
            "share": 0.8765,
            "tensors": {"output": 1.0, "grad_input": 0.8765},
            "missed": ["bias=False"],
            "not_compared": ["eps"],
        },
        "alternatives": [],
        "remarks": ["slow"],
        "containment": "",
        "seed": 0,
        "example": example.as_json(),
        "rows": [r.as_json() for r in result.report.rows],
    }
    assert result.as_json(hint_only=False) == result.as_json()
    assert RIGHT.as_json()["ok"] is True
    assert RIGHT.as_json()["example"] is None


@pytest.mark.parametrize("hint_only", [False, True])
def test_every_outcome_and_alternative_is_a_plain_value(hint_only: bool) -> None:
    def plain(result: Diagnosis) -> dict[str, Any]:
        return result.as_json(hint_only=hint_only)

    assert [plain(RIGHT)[name] for name in ("ok", "outcome", "alternatives")] == [True, "right", []]
    unknown = plain(replace(WRONG, problem="no reason"))
    assert [unknown[name] for name in ("ok", "outcome", "headline")] == [False, "not_judged", "not judged: no reason"]
    either = plain(replace(WRONG, alternatives=(COLUMNS, ALONE)))
    assert (either["ok"], either["outcome"]) == (False, "wrong")
    assert either["alternatives"] == [
        {"right_for": "a batch of columns (C, N)", "flags": "--layout CN", "against": False},
        {"right_for": "one image (C,)", "flags": "", "against": True},
    ]


def test_a_hint_gives_away_neither_the_mistake_nor_an_expected_value() -> None:
    example = Example({}, {}, "output", np.ones(1), np.zeros(1))
    hint = replace(WRONG, example=example).as_json(hint_only=True)
    assert hint == {
        "ok": False,
        "outcome": "wrong",
        "candidate": "Mine",
        "like": "relu",
        "headline": "wrong: grad_input, output of relu (and 1 more mistake, below)",
        "findings": [
            {"tensors": ["grad_input", "output"], "layer": "", "hint": "Try -1."},
            {"tensors": [RAISED, "grad_bias"], "layer": "fc1", "hint": "Look."},
        ],
        "tensors": [
            {"name": "output", "compared": 2, "wrong": 1},
            {"name": "grad_input", "compared": 1, "wrong": 1},
        ],
        "missing": [],
        "coverage": Coverage().as_json(),
        "alternatives": [],
        "remarks": [],
        "containment": "",
        "seed": 0,
    }


def test_missing_is_what_no_trial_has() -> None:
    there = {"output": np.zeros(1), "grad_input of call 1": np.zeros(1)}
    trials = [
        trial(got=None, missing=("grad_bias", "grad_weight of call 2", "conv1.grad_weight")),
        trial(got=there, missing=("grad_input of call 2", "grad_weight", "input after use", "share after use")),
        trial(got={"conv1.grad_weight": np.zeros(1)}, missing=("running_mean",)),
    ]
    assert missing_of(trials) == ("grad_weight", "grad_bias", "running_mean")
    assert missing_of([]) == ()
