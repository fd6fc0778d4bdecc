"""What somebody's code does beside computing: each thing is told, and nothing else."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from compare.driving import noticing
from compare.driving.noticing import PRINTED, Noticed

HEARS = Noticed()  # one for all tests: the hook by which it hears of what is done stays as long as the process


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with two files in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        (tmp_path / name).touch()
    return tmp_path


def told(function: Callable[[], Any]) -> list[str]:
    """What is said of it, and each thing that it did, with its names."""
    with HEARS:
        function()
    return [*HEARS.told(), *(" ".join([verb, *names]) for verb, names in HEARS.did())]


def opens_a_socket() -> None:
    socket.socket().close()


def writes(*names: str) -> Callable[[], None]:
    def function() -> None:
        for name in names:
            open(name, "w").close()

    return function


def writes_without_open() -> None:
    os.close(os.open("low", os.O_WRONLY | os.O_CREAT))


def reads(name: str) -> Callable[[], None]:
    def function() -> None:
        open(name).close()

    return function


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("function", "notes"),
    [
        (lambda: sum(range(3)), []),
        (writes("new"), ["it writes new"]),
        (writes("b", "a", "b"), ["it writes a b"]),
        (writes(*(f"{n:02}" for n in range(30))), [" ".join(["it writes", *(f"{n:02}" for n in range(20))])]),
        (writes_without_open, ["it writes low"]),
        (writes(os.devnull), []),
        pytest.param(
            lambda: tempfile.TemporaryFile().close(),
            ["it writes a temporary file"],
            marks=pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it has a name, and is deleted"),
        ),
        (reads("one"), []),
        (lambda: os.path.exists("nowhere"), []),
        (lambda: os.remove("one"), ["it deletes or renames one"]),
        (lambda: os.rename("one", "three"), ["it deletes or renames one"]),
        (opens_a_socket, ["it opens a socket"]),
        (lambda: subprocess.run(["true"], check=True), ["it starts other processes"]),
        (lambda: os.environ.update(GRADTWIN_TEST="1"), ["it changes the environment"]),
    ],
)
def test_each_thing_is_told(function: Callable[[], Any], notes: list[str]) -> None:
    try:
        assert told(function) == notes
    finally:
        os.environ.pop("GRADTWIN_TEST", None)
    assert told(lambda: None) == []


def test_a_temporary_file_is_told_without_its_name() -> None:
    made: list[str] = []

    def makes() -> None:
        descriptor, name = tempfile.mkstemp()
        os.close(descriptor)
        made.append(name)

    assert told(makes) == ["it writes a temporary file"]
    os.remove(made[0])


@pytest.mark.timeout(20)
def test_it_hears_in_whatever_state_the_process_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for the folder of temporary files first looks whether files can be written there."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert told(writes("new")) == ["it writes new"]
    assert (folder / "new").exists()


def test_a_file_that_is_not_there_is_told_with_why(folder: Path) -> None:
    def looks() -> None:
        for name in ("one", "weights.npy"):
            try:
                reads(name)()
            except FileNotFoundError:
                continue

    assert told(looks) == ["it looked for files that are not in sight: weights.npy"]
    assert folder.samefile(os.getcwd())


@pytest.mark.skipif(sys.platform == "win32", reason="a working directory cannot be removed there")
def test_the_working_directory_is_put_back(folder: Path) -> None:
    gone = folder / "gone"
    gone.mkdir()

    def moves() -> None:
        os.chdir(gone)
        os.rmdir(gone)

    assert told(moves) == ["it deletes or renames gone", "it changes the working directory"]
    assert folder.samefile(os.getcwd())


def test_threads_that_go_on_are_told() -> None:
    go_on = threading.Event()
    left = threading.Thread(target=go_on.wait)
    assert told(left.start) == ["it leaves threads running"]
    go_on.set()
    left.join()

    def ends() -> None:
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()

    assert told(ends) == []


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[IO[str]]:
    """A file that is looked at for what is printed."""
    with open(tmp_path / "printed", "a+") as file:
        monkeypatch.setattr(HEARS, "_printed", file.fileno())
        yield file


def told_of_printing(output: IO[str], function: Callable[[], Any]) -> list[str]:
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        return told(function)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("a\nb\n", "it prints (3 lines): 'a'"),
        ("x" * 56, f"it prints (1 line): '{'x' * 56}more'"),
        ("x" * 57, f"it prints (1 line): '{'x' * 57}...'"),
        ("\n a\tb \n", "it prints (2 lines): 'a b'"),
    ],
)
def test_what_is_printed_is_told_by_its_first_line(output: IO[str], text: str, note: str) -> None:
    def prints() -> None:
        print(text, end="")
        sys.stderr.write("more")

    assert told_of_printing(output, prints) == [note]
    assert told_of_printing(output, lambda: None) == []  # it is told once


def test_an_empty_line_is_printed_too(output: IO[str]) -> None:
    assert told_of_printing(output, print) == ["it prints (1 line): ''"]


def test_what_compiled_code_prints_is_told_too(output: IO[str]) -> None:
    assert told(lambda: os.write(output.fileno(), b"\xffby C\n")) == ["it prints (1 line): '\ufffdby C'"]


def test_of_much_that_is_printed_a_part_is_read(output: IO[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert PRINTED == 2**20
    monkeypatch.setattr(noticing, "PRINTED", 6)
    assert told_of_printing(output, lambda: print("a\n" * 9)) == ["it prints (3 lines): 'a'"]
    assert os.fstat(output.fileno()).st_size == 0


def test_nothing_is_noted_that_happens_otherwise(folder: Path) -> None:
    told(lambda: None)
    writes("after")()
    assert (HEARS.told(), HEARS.did()) == ([], ())
    assert (folder / "after").exists()
