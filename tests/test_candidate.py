"""The code that a target names: how it is found in its file, and what is refused."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compare.driving.candidate import Target, TargetError, _module, load_target, name_of, read_target
from compare.machine.errors import UserError

FORM = "write FILE.py:Class, FILE.py:Class(arguments) or FILE.py:forward_function,backward_function"
SOURCE = """
LIMIT = 3
_hidden = print

class Conv:
    class Inner:
        pass

    def __init__(self, channels=1, kernel=2):
        self.given = channels, kernel

def forward(x):
    return x

def backward(grad):
    return -grad
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file with code in it, in the working directory; what loading it leaves behind is taken away again."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    path = tmp_path / "somebodys.py"
    path.write_text(SOURCE)
    yield path
    for name in set(sys.modules) - before:
        del sys.modules[name]
    load_target.cache_clear()
    _module.cache_clear()


def loaded(text: str) -> Any:
    """What a target means where the working directory is its root, as it is in the candidate's process."""
    target = read_target(text)
    return load_target(str(target.file.relative_to(target.root)), target.expression)


def test_a_name_is_looked_up_in_the_file(file: Path) -> None:
    found = loaded(f"{file}:Conv")
    assert (found.__name__, found.__module__) == ("Conv", "somebodys")
    assert vars(sys.modules["somebodys"])["Conv"] is found
    assert sys.path[0] == str(file.parent)
    for text in (" Conv ", "(Conv)"):
        assert loaded(f"{file}:{text}") is found
    for text in ("Conv.Inner", "Conv .Inner"):
        assert loaded(f"{file}:{text}") is found.Inner


def test_two_names_are_a_pair_of_functions(file: Path) -> None:
    for text in ("forward,backward", " forward, backward ", "(forward, backward)"):
        forward, backward = loaded(f"{file}:{text}")
        assert (forward(3), backward(3)) == (3, -3)
    inner, forward = loaded(f"{file}:Conv.Inner,forward")
    assert (inner.__name__, forward.__name__) == ("Inner", "forward")
    assert len(loaded(f"{file}:forward,")) == 1


def test_a_call_makes_a_new_object_each_time(file: Path) -> None:
    make = loaded(f"{file}:Conv(2 * LIMIT, kernel=(4, 5))")
    assert make().given == (6, (4, 5))
    assert make() is not make()
    assert type(make()) is loaded(f"{file}:Conv")  # the file is loaded once


def test_a_name_that_the_file_has_not_is_told_with_those_that_it_has(file: Path) -> None:
    for text, missing in [
        ("Pool", "Pool"),
        ("Conv.Outer", "Conv.Outer"),
        ("Pool.Inner", "Pool.Inner"),
        ("forward,back", "back"),
        ("Pool(3)", "Pool"),
        ("Conv.Outer(3)", "Conv.Outer"),
    ]:
        with pytest.raises(TargetError) as caught:
            loaded(f"{file}:{text}")
        assert str(caught.value) == f"somebodys.py has no {missing}; it has Conv, forward, backward"


def test_a_file_that_has_nothing_to_call_says_so(file: Path) -> None:
    file.write_text("LIMIT = 3\n_hidden = print\n")
    with pytest.raises(TargetError) as caught:
        loaded(f"{file}:Conv")
    assert str(caught.value) == "somebodys.py has no Conv; it has nothing that can be called"


def test_a_file_finds_what_lies_beside_it_before_all_else(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "lies_beside.py").write_text("WHERE = 'elsewhere'")
    (tmp_path / "lies_beside.py").write_text("WHERE = 'beside'")
    monkeypatch.syspath_prepend(elsewhere)
    file.write_text("from lies_beside import WHERE\ndef where(n):\n    return WHERE")
    assert loaded(f"{file}:where")(1) == "beside"


def test_a_file_is_told_in_full_whatever_the_folder_is_later(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = read_target("somebodys.py:Conv")
    monkeypatch.chdir("/")
    assert target == Target(file.resolve(), "Conv")


@pytest.mark.parametrize(
    ("packages", "root", "top"),
    [
        ((), "outer/inner", "outer/inner"),
        (("outer/inner",), "outer", "outer/inner"),
        (("outer", "outer/inner"), "", "outer"),
        (("outer",), "outer/inner", "outer/inner"),  # what lies in it without __init__.py is no part of the package
    ],
)
def test_a_file_of_a_package_is_seen_with_its_package(
    tmp_path: Path, packages: tuple[str, ...], root: str, top: str
) -> None:
    folder = tmp_path / "outer/inner"
    folder.mkdir(parents=True)
    for package in packages:
        (tmp_path / package / "__init__.py").touch()
    target = Target(folder / "layer.py", "Conv")
    assert (target.root, target.top) == (tmp_path / root, tmp_path / top)


def test_a_file_of_a_package_is_imported_as_part_of_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = file.parent / "package_of_somebody"
    package.mkdir()
    (package / "__init__.py").write_text("SCALE = 3\n")
    (package / "part.py").write_text("def scaled(x):\n    return 2 * x\n")
    (package / "layer.py").write_text(
        "from . import SCALE\nfrom .part import scaled\ndef forward(x):\n    return SCALE * scaled(x)\n"
    )
    monkeypatch.syspath_prepend(file.parent)  # as the process does
    forward = loaded(f"{package / 'layer.py'}:forward")
    assert forward(1) == 6
    assert forward.__module__ == "package_of_somebody.layer"


@pytest.mark.parametrize(
    "target", ["", "Conv", "FILE", "FILE:", "FILE:  ", "nowhere.txt:Conv", ":Conv", "FILE:Conv:", "Conv:FILE:x"]
)
def test_a_text_that_is_no_file_and_name_is_refused(file: Path, target: str) -> None:
    target = target.replace("FILE", str(file))
    with pytest.raises(UserError) as caught:
        read_target(target)
    expected = f"target {target!r} is not understood; {FORM}"
    if target.endswith(":x"):
        expected = f"{target.removesuffix(':x')}: there is no such file; {FORM}"
    assert str(caught.value) == expected


@pytest.mark.parametrize("exists", ["nothing", "a folder"])
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, exists: str) -> None:
    path = tmp_path / "nowhere.py"
    if exists == "a folder":
        path.mkdir()
    with pytest.raises(UserError) as caught:
        read_target(f"{path}:Conv")
    assert str(caught.value) == f"{path}: there is no such file; {FORM}"


@pytest.mark.parametrize(
    "expression", ["Conv(", "a b", "x = 3", "Conv; Pool", "import os", "Conv\0", "(" * 300 + ")" * 300]
)
def test_what_is_not_python_is_refused(file: Path, expression: str) -> None:
    with pytest.raises(UserError) as caught:
        read_target(f"{file}:{expression}")
    assert str(caught.value) == f"target {expression!r} is not Python; {FORM}"


@pytest.mark.parametrize(
    "expression", ["3", "'Conv'", "a + b", "a[0]", "forward, 3", "3, forward", "Conv(1), Conv(2)", "()", "a, b, c"]
)
def test_what_is_no_name_no_call_and_no_two_names_is_refused(file: Path, expression: str) -> None:
    with pytest.raises(UserError) as caught:
        read_target(f"{file}:{expression}")
    assert str(caught.value) == f"target {expression!r} is neither a name, a call nor two names; {FORM}"


@pytest.mark.parametrize(
    ("candidate", "name"),
    [
        ("some/folder/pool.py:Pool2", "pool.py:Pool2"),
        ("pool.py: Pool2(8) ", "pool.py:Pool2(8)"),
        ("C:/folder/pool.py:forward,backward", "pool.py:forward,backward"),
        (Path, "Path"),
        (len, "len"),
        (Path(), type(Path()).__name__),
        ((len, abs), "len, abs"),
        ((len, functools.partial(abs)), "len, ?"),
        ((len,), "len"),
    ],
)
def test_a_candidate_is_called_as_it_was_told(candidate: Any, name: str) -> None:
    assert name_of(candidate) == name
