"""What the README says of layers, mistakes and folders is what there is."""

from __future__ import annotations

import re

import pytest

from tests.readme import README, generated, written

ROOT = README.parent


def test_its_lists_are_those_of_the_code() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == written(text), "python -m tests.readme writes them anew"


def test_a_list_that_is_not_the_code_s_is_written_anew() -> None:
    text = README.read_text(encoding="utf-8")
    assert written(text.replace("`conv2d`, ", "", 1)) == text
    assert "`maxpool2d`" in generated()["names"]


def test_a_part_that_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="no part <!-- names -->"):
        written("nothing")


def test_every_path_that_it_names_is_there() -> None:
    named = re.findall(r"`((?:scratch|torch_ref|compare|tests)/[\w/.]*)`", README.read_text(encoding="utf-8"))
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists()] == []
