"""What gradtwin says about itself where it is installed, and in a source tree that is not."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from compare.machine import package
from compare.machine.doctor import examine
from compare.training.checkpoint import versions
from tests.conftest import Run


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that knows every package but gradtwin."""
    version = metadata.version

    def known(name: str) -> str:
        if name == "gradtwin":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    def requires(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    for module in ("importlib.metadata", "compare.training.checkpoint"):
        monkeypatch.setattr(f"{module}.version", known)
    monkeypatch.setattr("importlib.metadata.requires", requires)


@pytest.mark.usefixtures("bare")
def test_a_source_tree_says_what_its_pyproject_says(gradtwin: Run) -> None:
    project = tomllib.loads(package.PYPROJECT.read_text())["project"]
    assert package.own_version() == project["version"]
    assert package.requirements() == project["dependencies"]
    assert gradtwin("--version").out == f"gradtwin {project['version']}\n"
    assert versions()["gradtwin"] == project["version"]
    found = {finding.name: finding for finding in examine()}
    assert "packages" not in found, "cannot be examined"
    assert found["numpy"].value.endswith("(needs >=2.0)")


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("text", [None, "[project", '[project]\nname = "other"\nversion = "9"\ndependencies = ["x"]\n'])
def test_where_nothing_says_it_nothing_fails(text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pyproject.toml"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(package, "PYPROJECT", file)
    assert (package.own_version(), package.requirements()) == ("unknown", [])
