"""A few of the kills of `python -m tests.kills`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compare.machine.data import Dataset
from tests.kills import AIMS, kills
from tests.test_checkpoint import _short_proofs

__all__ = ["_short_proofs"]  # a fixture, for all tests here


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_killed_runs_end_as_the_undisturbed_one(few: Dataset, tmp_path: Path) -> None:
    ended = list(kills(few, tmp_path, 10, seed=0))
    assert [aim for aim, _ in ended] == [AIMS[number % len(AIMS)] for number in range(10)]
    assert all(same for _, same in ended)
