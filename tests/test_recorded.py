"""Nothing that the comparison and the diagnosis say changes unseen: see `tests/recorded`."""

from __future__ import annotations

from typing import Any

import pytest

from compare.faults.catalogue import CATALOGUE
from tests.recorded import RECORDS, assert_recorded, differences, recorded

EVERY = [(kind, name) for kind, (_, names) in RECORDS.items() for name in names()]
HERE = [(kind, name) for kind, name in EVERY if kind != "foreign"]  # those are compared where they are diagnosed


def on_other_processors(number: int, kind: str) -> tuple[pytest.MarkDecorator, ...]:
    """All bounds and inputs, and some of the verdicts, which take longest."""
    return (pytest.mark.computes,) if kind != "verdicts" or number % 30 == 0 else ()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, name, id=f"{kind}-{name}", marks=on_other_processors(number, kind))
        for number, (kind, name) in enumerate(HERE)
    ],
)
def test_what_was_recorded_is_said_today(kind: str, name: str) -> None:
    assert_recorded(kind, name, RECORDS[kind][0](name))


def test_every_catalogued_mistake_is_rejected_and_named() -> None:
    """The record is what is said today; so this holds today."""
    verdicts = recorded("verdicts")
    assert [name for name, said in verdicts.items() if not said["headline"].startswith("wrong: ")] == []
    named = {name: said["findings"][0]["name"] for name, said in verdicts.items()}
    others = {name: first for name, first in named.items() if first != name}
    assert len(others) <= 0.05 * len(verdicts), others
    assert [first for first in others.values() if first in CATALOGUE] == []


def test_what_differs_from_the_record_fails() -> None:
    with pytest.raises(AssertionError, match=r"changed on purpose\? python -m tests\.recorded"):
        assert_recorded("configurations", "0", ["another"])


def test_nothing_is_recorded_that_is_no_longer_there() -> None:
    assert {(kind, name) for kind in RECORDS for name in recorded(kind)} == set(EVERY)


@pytest.mark.parametrize(
    ("was", "now", "alike"),
    [
        ({"a": [1, 0.5, "x"]}, {"a": [1, 0.50001, "x"]}, True),
        (0.5, 0.5002, False),
        (3.0, 4.0, False),
        (1e5, 1e5 + 1, False),  # whole numbers are counted or drawn, not rounded
        (1234567.0, 1234570.0, True),
        ("60% of 3, by up to 0.14", "61% of 3, by up to 0.13", True),
        ("60% of 3, by up to 0.14", "60% of 4, by up to 0.14", False),
        ("60% of 3, by up to 0.14", "62% of 3, by up to 0.14", False),
        ("60% of 3, by up to 0.14", "60% of 3, by up to 0.16", False),
        ("at 1.2e-05", "at 1.3e-05", True),
        ("at 1.2e-05", "at 1.2e-04", False),
        ("inf", "inf", True),
        (True, 1, False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ([1, 2], [1], False),
        (None, 0.0, False),
    ],
)
def test_records_agree_up_to_rounding_only(was: Any, now: Any, alike: bool) -> None:
    assert (not list(differences(was, now))) is alike


def test_a_difference_is_named_by_its_place() -> None:
    was, now = {"a": [1, {"b": 0.5}], "c": 1}, {"a": [1, {"b": 0.6}], "d": 1}
    assert list(differences(was, now)) == [
        "['a'][1]['b']: 0.5 in the record, 0.6 today",
        "['c']: only in the record",
        "['d']: not in the record",
    ]
