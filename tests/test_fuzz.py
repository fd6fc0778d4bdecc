"""Ten thousand changed inputs are read or refused in one line, and the fuzzer notices what is neither."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from compare.machine.errors import UserError
from tests.fuzz import trial
from tests.fuzz.__main__ import those_named
from tests.fuzz.mutations import ODD_VALUES, mutate_bytes, mutate_json
from tests.fuzz.readers import in_memory, readers
from tests.fuzz.trial import Reader, Totals, attempt, run_own

NAMES = ("idx file", "idx table", "idx file.gz", "idx dataset", "weights", "checkpoint", "signed checkpoint", "log")
INPUTS = dict.fromkeys(NAMES, 1336) | {"signed checkpoint": 648}  # 10,000; each of the last takes milliseconds


@pytest.fixture(scope="module")
def known() -> Iterator[dict[str, Reader]]:
    with in_memory() as folder, readers(folder) as found:
        yield {reader.name: reader for reader in found}


@pytest.mark.parametrize("name", NAMES)
def test_changed_inputs_are_read_or_refused_in_one_line(known: dict[str, Reader], name: str) -> None:
    assert known.keys() == set(NAMES)
    totals = Totals(name)
    run_own(known[name], totals, INPUTS[name], until=float("inf"), seed=0)
    assert totals.kinds == {}
    assert totals.inputs == INPUTS[name]
    assert (totals.refused > totals.inputs // 2) == (name != "log"), (
        "what is damaged in a log is told, it is not refused"
    )


@pytest.mark.parametrize("name", NAMES)
def test_valid_inputs_are_accepted(known: dict[str, Reader], name: str) -> None:
    expected = "refused" if name == "checkpoint" else "accepted"  # it is signed, but has an empty record
    assert [attempt(known[name], seed) for seed in known[name].seeds] == [(expected, "")] * len(known[name].seeds)


def reader(read: object) -> Reader:
    assert callable(read)
    return Reader("x", (b"abc",), read, mutate_bytes)


def raising(error: BaseException) -> Reader:
    def read(_: bytes) -> None:
        raise error

    return reader(read)


def test_what_is_neither_read_nor_refused_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert attempt(reader(len), b"") == ("accepted", "")
    assert attempt(raising(UserError("no")), b"") == ("refused", "")
    for error in (ValueError("no"), RecursionError(), MemoryError(), SystemExit(2)):
        outcome, failure = attempt(raising(error), b"")
        assert outcome == "failed"
        assert failure.startswith(f"{type(error).__name__} in test_fuzz.py, read\nTraceback")
    for said in ("two\nlines", "\x1b[31m", "x" * 3000):
        assert attempt(raising(UserError(said)), b"")[1].startswith("a message that is no short line of text\n")
    outcome, failure = attempt(reader(lambda _: warnings.warn("odd", stacklevel=1)), b"")
    assert (outcome, failure.partition(" ")[0]) == ("failed", "UserWarning")
    monkeypatch.setattr(trial, "SECONDS", 0.001)
    assert attempt(reader(lambda _: time.sleep(0.01)), b"")[1].startswith("too slow\n")
    monkeypatch.setattr(trial, "MEMORY", -1)
    assert attempt(reader(len), b"")[1].startswith("too much memory\n")


def test_the_first_input_of_each_kind_of_failure_is_kept(tmp_path: Path) -> None:
    totals = Totals("x", tmp_path / "found")
    for content in (b"a", b"b"):
        totals.add("failed", content, "odd\nmore")
    totals.add("accepted", b"c", "")
    totals.add("refused", b"d", "")
    assert (totals.inputs, totals.accepted, totals.refused, totals.failed) == (4, 1, 1, 2)
    kept = {path.suffix: path.read_bytes() for path in (tmp_path / "found").iterdir()}
    assert kept == {"": b"a", ".txt": b"odd\nmore"}


def test_the_seed_decides_what_is_drawn() -> None:
    def drawn(seed: int) -> list[bytes]:
        found: list[bytes] = []
        run_own(reader(found.append), Totals("x"), 50, float("inf"), seed)
        return found

    assert drawn(1) == drawn(1) != drawn(2)
    assert len(set(drawn(1))) > 25


def test_the_time_ends_it() -> None:
    totals = Totals("x")
    run_own(reader(len), totals, 10**9, time.monotonic(), seed=0)
    assert totals.inputs == 1


def test_fields_are_dropped_replaced_renamed_doubled_and_added() -> None:
    value = {"a": {"b": [1, "x"]}, "c": 2.5}
    found = [mutate_json(value, Random(seed)) for seed in range(5000)]
    assert value == {"a": {"b": [1, "x"]}, "c": 2.5}, "the value itself stays"
    for expected in (
        {"a": {"b": [1, "x"]}},
        {"a": {"b": [1, "x"]}, "c": -2.5},
        {"a": {"b": [1, "x"]}, "c": None},
        {"a": {"b": [1, "x"]}, "x": 2.5},
        {"a": {"b": [1, 1, "x"]}, "c": 2.5},
        {"a": {"b": [1, "x"], "x": True}, "c": 2.5},
    ):
        assert expected in found
    assert mutate_json(3, Random(0)) != 3


def test_what_was_drawn_before_changes_nothing() -> None:
    before = copy.deepcopy(ODD_VALUES)
    for seed in range(3000):
        json.dumps(mutate_json({"a": {"b": {}}, "c": []}, Random(seed)))
    assert repr(ODD_VALUES) == repr(before)


def test_no_reader_of_that_name_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    known = [reader(len)]
    assert those_named(known, known[0].name[:1]) == known
    with pytest.raises(SystemExit, match="2"):
        those_named(known, "nothing")
    assert capsys.readouterr().err == f"--only 'nothing' is no reader; there are {known[0].name}\n"


@pytest.mark.long
@pytest.mark.parametrize("more", [("--unguided",), ()])
def test_the_command_prints_totals(tmp_path: Path, more: tuple[str, ...]) -> None:
    if not more:
        pytest.importorskip("atheris", reason="the extra fuzz is not installed")
    command = [sys.executable, "-m", "tests.fuzz", "--count", "200", "--only", "idx", "--folder", str(tmp_path), *more]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True)
    for name in NAMES[:4]:
        assert f"│ {name} " in done.stdout
    assert "│ all         │    200 │" in done.stdout
