"""What a grader asks for: containment, inputs that nobody can know, the same verdict from the same seed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from compare.contained import process
from compare.contained import session as module
from compare.diagnosis.diagnose import diagnose
from compare.diagnosis.render.formats import FORMATS, parse_seed, render
from compare.machine.errors import UserError

RELU = """
import numpy as np
class ReLU:
    def forward(self, x):
        self.x = x
        return np.maximum(x, 0)
    def backward(self, g):
        return g * (self.x >= 0)
"""


@pytest.fixture
def target(tmp_path: Path) -> str:
    (tmp_path / "layer.py").write_text(RELU)
    return f"{tmp_path / 'layer.py'}:ReLU"


def commanded(target: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "compare", "diagnose", target, "--like", "relu", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_seed_is_a_whole_number_or_drawn() -> None:
    assert parse_seed("0") == 0
    assert parse_seed("4294967295") == 4294967295
    drawn = {parse_seed("random") for _ in range(4)}
    assert len(drawn) == 4
    assert all(0 <= seed < 2**32 for seed in drawn)


@pytest.mark.parametrize("text", ["-1", "1.5", "", "Random", "1e3", "٣", "1" * 21])
def test_anything_else_is_no_seed(text: str) -> None:
    with pytest.raises(UserError, match=r"^--seed .* must be a whole number from 0, or random$"):
        parse_seed(text)


def test_a_drawn_seed_is_told_and_gives_the_same_result_byte_for_byte(target: str) -> None:
    first = commanded(target, "--seed", "random", "--format", "json")
    assert first.returncode == 1
    seed = json.loads(first.stdout)["seed"]
    again = commanded(target, "--seed", str(seed), "--format", "json")
    assert again.stdout == first.stdout
    other = commanded(target, "--seed", str(seed + 1), "--format", "json")
    assert other.stdout != first.stdout


def test_a_bad_seed_is_refused_in_one_line(target: str) -> None:
    refused = commanded(target, "--seed", "x")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "gradtwin: --seed 'x' must be a whole number from 0, or random\n"


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Take levels of containment away."""

    def switch_off(*names: str) -> None:
        for name in names:
            monkeypatch.setattr(module, name, "switched off")

    return switch_off


def test_every_format_says_how_it_was_contained(target: str, without: Callable[..., None]) -> None:
    without("_no_bubblewrap", "_no_landlock")
    result = diagnose(target, like="relu", seed=5)
    assert result.containment == "not contained: switched off; switched off"
    for name in FORMATS:
        text = render(result, name, Console(), to_file=True)
        assert "contained: switched off; switched off" in text, name
        assert "seed" in text
        assert "5" in text


def test_what_has_to_be_contained_is_refused_where_it_is_not(target: str, without: Callable[..., None]) -> None:
    without("_no_bubblewrap", "_no_landlock")
    with pytest.raises(UserError, match=r"^not contained: switched off; switched off; without --require-contained "):
        diagnose(target, like="relu", require_contained=True)
    assert diagnose(target, like="relu").outcome == "wrong"


def test_landlock_is_enough(target: str, without: Callable[..., None]) -> None:
    without("_no_bubblewrap")
    if not diagnose(target, like="relu").containment.startswith("contained"):
        pytest.skip("needs Landlock")
    assert diagnose(target, like="relu", require_contained=True).outcome == "wrong"


def test_a_module_with_a_dot_in_its_name_is_not_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To find a.b, Python would import a: code of the candidate, in this process."""
    (tmp_path / "planted.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert process.where("planted") == str(tmp_path / "planted.py")
    assert process.where("planted.inner") == ""
    assert process.where("../planted") == ""
    assert process.where("no_such_module_here") == ""
