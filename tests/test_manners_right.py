"""Every layer of `tests/foreign/manners` is right: proven against torch alone, nothing of gradtwin is used."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

import pytest

from tests.foreign import manners
from tests.foreign.against_torch import CHECKS
from tests.foreign.edits import EQUIVALENT, ROOT
from tests.foreign.manners import MANNERS, path
from tests.mutants.edits import edits_of


@pytest.mark.computes
@pytest.mark.parametrize("name", sorted(CHECKS))
def test_it_computes_what_torch_does(name: str) -> None:
    for check in CHECKS[name]:
        check()


def test_each_file_has_a_row_and_a_check() -> None:
    here = Path(manners.__file__).parent
    files = {file.stem for file in here.glob("*.py")} - {"__init__"}
    assert files == {manner.name for manner in MANNERS} == set(CHECKS)
    assert max(Counter(manner.name for manner in MANNERS).values()) == 1
    assert all(path(manner).is_file() for manner in MANNERS)


def test_without_evidence_an_option_is_named() -> None:
    assert all(manner.evidence or manner.option for manner in MANNERS)
    assert len(MANNERS) >= 66


def test_each_edit_that_is_said_to_change_nothing_is_one() -> None:
    known = tomllib.loads(EQUIVALENT.read_text())
    files = {ROOT / key.partition("::")[0] for key in known}
    assert known.keys() <= {edit.key for file in files for edit in edits_of(ROOT, file)}
    assert all(reason.endswith(".") for reason in known.values())
