"""Right layers in many manners: each is right, or the verdict names the option with which it is."""

from __future__ import annotations

from typing import Any

import pytest

import compare
from compare.diagnosis.verdict import Diagnosis
from compare.diagnosis.written import parse_like
from tests.foreign.manners import MANNERS, Manner, path

ENOUGH = 0.75  # the share of the kinds of configuration on which each tensor must have been compared
WITH_EVIDENCE = [manner for manner in MANNERS if manner.evidence]
WITHOUT = [manner for manner in MANNERS if not manner.evidence]


def diagnosed(manner: Manner, **option: Any) -> Diagnosis:
    """The verdict, with what is always said about the layer."""
    target = f"{path(manner)}:{manner.target}"
    return compare.diagnose(target, like=parse_like(manner.like), with_example=False, **(manner.given | option))


def assert_right(diagnosis: Diagnosis) -> None:
    assert diagnosis.outcome == "right", diagnosis.headline()
    assert diagnosis.coverage.share >= ENOUGH, str(diagnosis.coverage)


@pytest.mark.parametrize("manner", WITH_EVIDENCE, ids=lambda manner: manner.name)
def test_it_is_right_where_the_file_tells_how_it_is_driven(manner: Manner) -> None:
    assert_right(diagnosed(manner))


@pytest.mark.parametrize("manner", WITHOUT, ids=lambda manner: manner.name)
def test_without_evidence_the_option_is_named_with_which_it_is_right(manner: Manner) -> None:
    first = diagnosed(manner)
    if first.outcome == "right":
        assert first.coverage.share >= ENOUGH, str(first.coverage)
        return
    assert first.outcome == "wrong", first.headline()
    assert first.alternatives
    assert all(alternative.words for alternative in first.alternatives)
    assert_right(diagnosed(manner, **first.alternatives[0].option))


@pytest.mark.parametrize("manner", WITHOUT, ids=lambda manner: manner.name)
def test_with_the_option_it_is_right(manner: Manner) -> None:
    assert_right(diagnosed(manner, **manner.option))
