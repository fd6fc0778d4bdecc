"""Nothing that the comparison and the diagnosis say changes unseen: see `tests/recorded`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.recorded import RECORDS, recorded, same

pytestmark = pytest.mark.computes
EVERY = [(kind, name) for kind, (_, names) in RECORDS.items() for name in names]


@pytest.mark.parametrize(("kind", "name"), EVERY, ids=[f"{kind}-{name}" for kind, name in EVERY])
def test_what_was_recorded_is_said_today(kind: str, name: str) -> None:
    was, now = recorded(kind)[name], json.loads(json.dumps(RECORDS[kind][0](name)))
    assert same(was, now), f"changed on purpose? python -m tests.recorded, and look at the difference\n{was}\n{now}"


def test_nothing_is_recorded_that_is_no_longer_there() -> None:
    assert {(kind, name) for kind in RECORDS for name in recorded(kind)} == set(EVERY)


@pytest.mark.parametrize(
    ("was", "now", "alike"),
    [
        ({"a": [1, 0.5, "x"]}, {"a": [1, 0.50001, "x"]}, True),
        (0.5, 0.5002, False),
        (3.0, 4.0, False),
        (1e6, 1e6 + 1, False),  # whole numbers are counted or drawn, not rounded
        ("inf", "inf", True),
        (True, 1, False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ([1, 2], [1], False),
        (None, 0.0, False),
    ],
)
def test_records_agree_up_to_rounding_only(was: Any, now: Any, alike: bool) -> None:
    assert same(was, now) is alike
