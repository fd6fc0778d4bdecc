"""The tool that measures the suite: which edits there are, which tests meet them, and what becomes of them."""

from __future__ import annotations

import os
import sys
import textwrap
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from coverage import CoverageData

from tests.mutants.__main__ import EQUIVALENT, ROOT, main, parsed
from tests.mutants.edits import Edit, draw, edits_of
from tests.mutants.reached import Reached
from tests.mutants.trial import Judge, attempt

SOURCE = '''
"""Text 1 + 1."""
RATE: float = 0.5  # a - b

@dataclass(frozen=True)
class Layer:
    def forward(self, x, scale=2):
        assert x.ndim == 4
        if x < 0 or not scale:
            raise ValueError(f"{x - 1} is negative")
        self.total += x
        self.seen["x"] = x
        return np.maximum(x, 0) * scale ** 2

def pairs(a, b):
    return [f(m, key=-n) for m, n in zip(a, b, strict=True) if m is not None]
'''


def edits(tmp_path: Path, source: str = SOURCE) -> list[Edit]:
    (tmp_path / "part").mkdir(exist_ok=True)
    (tmp_path / "part" / "one.py").write_text(textwrap.dedent(source))
    return edits_of(tmp_path, tmp_path / "part" / "one.py")


def test_every_kind_of_edit_is_found_and_nothing_else(tmp_path: Path) -> None:
    found = edits(tmp_path)
    assert sorted(edit.key.removeprefix("part/one.py::") for edit in found) == sorted(
        [
            ": 0.5 -> 1.0",
            "Layer.forward: 2 -> 3",
            "Layer.forward: x < 0 or not scale -> (not (x < 0 or not scale))",
            "Layer.forward: or -> and",
            "Layer.forward: < -> <=",
            "Layer.forward: 0 -> 1",
            "Layer.forward: not -> ",
            'Layer.forward: raise ValueError(f"{x - 1} is negative") -> pass',
            "Layer.forward: self.total += x -> pass",
            "Layer.forward: + -> -",
            "Layer.forward: += -> =",
            'Layer.forward: self.seen["x"] = x -> pass',
            "Layer.forward: maximum -> minimum",
            "Layer.forward: 0 -> 1 #1",
            "Layer.forward: * -> /",
            "Layer.forward: ** -> *",
            "Layer.forward: 2 -> 3 #1",
            "pairs: key=-n -> ",
            "pairs: - -> ",
            "pairs: a, b -> b, a",
            "pairs: m is not None -> (not (m is not None))",
            "pairs: is not -> is",
        ]
    )
    for edit in found:
        compile(edit.apply((tmp_path / edit.path).read_bytes()), edit.path, "exec")


def test_the_order_of_arguments_is_exchanged_where_it_matters(tmp_path: Path) -> None:
    found = edits(tmp_path, "max(a, b)\nmax(a, b, key=f)\nnp.minimum(a, b)\nmath.isclose(a, b)\nnp.isclose(a, b)\n")
    assert [edit.first for edit in found if edit.new == "b, a"] == [2, 5]


def test_an_edit_replaces_what_it_names_also_behind_other_letters(tmp_path: Path) -> None:
    (only,) = edits(tmp_path, "α = 'Σ' + β  # +\n")
    assert (only.first, only.last, only.old, only.new) == (1, 1, "+", "-")
    assert only.apply((tmp_path / only.path).read_bytes()).decode() == "α = 'Σ' - β  # +\n"


def test_a_draw_depends_on_the_seed_and_not_on_other_functions(tmp_path: Path) -> None:
    first = edits(tmp_path)
    assert draw(first, 5, seed=1) == draw(list(reversed(first)), 5, seed=1) != draw(first, 5, seed=2)
    assert len(set(draw(first, 5, seed=1))) == 5
    more = edits(tmp_path, "def g(y):\n    return y\n" + SOURCE)
    assert [edit.key for edit in draw(more, 5, seed=1)] == [edit.key for edit in draw(first, 5, seed=1)]


@pytest.fixture
def reached(tmp_path: Path) -> Reached:
    data = CoverageData(no_disk=True)
    for context, lines in {"near": [2], "slow": [2, 3], "fixture f": [2], "far": [9], "": [1]}.items():
        data.set_context(context)
        data.add_lines({str(tmp_path / "part/one.py"): lines})
    seconds = {"near": 1.0, "slow": 30.0, "far": 2.0, "with": 0.5, "again": 0.5, "fixture f": 8.0, "elsewhere": 0.1}
    uses = {test: ["fixture f"] if test in ("with", "again") else [] for test in seconds if test != "fixture f"}
    return Reached(tmp_path, data, seconds, uses)


def test_the_tests_of_a_statement_come_first_the_cheapest_of_them_foremost(reached: Reached) -> None:
    edit = Edit("part/one.py", "", 2, 2, 0, 1, "a", "b")
    assert reached.choose(edit, 60) == ["near", "again", "with", "slow", "far"]
    # A fixture is paid once: 1 + 8.5 + 0.5 + 2.
    assert reached.choose(edit, 12) == ["near", "again", "with", "far"]
    assert reached.choose(edit, 11.9) == ["near", "again", "with"]
    assert reached.choose(Edit("part/one.py", "", 1, 1, 0, 1, "a", "b"), 3) == ["near", "far"]
    assert reached.choose(Edit("part/two.py", "", 2, 2, 0, 1, "a", "b"), 60) == []


def test_tests_of_files_that_name_the_module_come_last_or_first_for_its_constants(reached: Reached) -> None:
    """What is computed when a module is imported is reached by whichever test comes first."""
    (reached.root / "elsewhere").write_text("from part.one import CONSTANT\n")
    (reached.root / "far").write_text("import part.one\n")
    inside, on_top = (Edit("part/one.py", scope, 9, 9, 0, 1, "a", "b") for scope in ("f", ""))
    assert reached.choose(inside, 60) == ["far", "near", "again", "with", "slow", "elsewhere"]
    assert reached.choose(on_top, 60) == ["elsewhere", "far", "near", "again", "with", "slow"]
    assert reached.choose(replace(inside, path="part/two.py"), 60) == []


def test_no_map_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no map of a test run"):
        Reached.read(tmp_path, tmp_path)


def test_only_a_failure_that_is_not_about_the_text_of_the_source_kills() -> None:
    judge = Judge({"t": 1.0})
    judge.noticed("t", "ValueError: relu-x: 'a' does not occur once in scratch.activation.ReLU, nor beside it")
    assert judge.killer == ""
    judge.noticed("t", "assert 1 == 2")
    judge.noticed("u", "assert 1 == 2")
    assert judge.killer == "t"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork")
@pytest.mark.parametrize(
    ("source", "killer"),
    [
        ("def double(x):\n    return 2 * x\n", ""),
        ("def double(x):\n    return 3 * x\n", "tests/test_it.py::test_double"),
        ("def double(x\n", "tests/test_it.py"),
    ],
)
def test_a_trial_names_the_test_that_fails(tmp_path: Path, source: str, killer: str) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = '--strict-config'\n")
    (tmp_path / "scratch.py").write_text(source)
    (tmp_path / "tests" / "test_it.py").write_text(
        "from scratch import double\ndef test_other():\n    assert 0\ndef test_double():\n    assert double(2) == 4\n"
    )
    pid = os.fork()
    if not pid:
        sys.stdout = sys.stderr = sys.__stdout__  # pytest's capture of this very test ends here
        attempt(tmp_path, {"tests/test_it.py::test_double": 0.1}, tmp_path / "result")
    os.waitpid(pid, 0)
    assert (tmp_path / "result").read_text() == killer


def test_every_edit_that_is_called_equivalent_is_there_and_has_a_reason() -> None:
    known = tomllib.loads(EQUIVALENT.read_text())
    paths = {key.partition("::")[0] for key in known}
    there = {edit.key for path in paths for edit in edits_of(ROOT, ROOT / path)}
    assert known.keys() <= there, f"no longer in the sources: {sorted(known.keys() - there)}"
    assert all(reason.strip().endswith(".") for reason in known.values())


@pytest.mark.parametrize("option", ["--count", "--seconds", "--workers"])
def test_what_must_be_above_zero_is_refused_before_anything_runs(
    option: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["mutants", option, "0"])
    with pytest.raises(SystemExit) as left:
        parsed()
    assert left.value.code == 2
    assert f"{option} must be above 0, got 0" in capsys.readouterr().err


def test_a_draw_of_nothing_is_refused_before_anything_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["mutants", "--only", "no/such/file"])
    monkeypatch.setattr("tests.mutants.__main__.edits_of", lambda *_: [Edit("a.py", "f", 1, 1, 0, 1, "1", "2")])
    assert main() == 2
    assert capsys.readouterr().out.startswith("no edit's name holds 'no/such/file'; ")
