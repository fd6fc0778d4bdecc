"""The command for a machine with a GPU: rehearsed as a whole, and in what it must survive."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from compare.bench.cells import Cell, ModelRow
from compare.bench.equality import NotEqualError
from compare.pairs.pair import LayerPair
from compare.pairs.registry import REGISTRY
from tests.on_cuda import __main__ as command
from tests.on_cuda import measure, steps
from tests.on_cuda.bounds import both_there, noted
from tests.on_cuda.device import REHEARSAL, chosen_device
from tests.on_cuda.steps import ROOT, TIMED_OUT, Done
from tests.on_cuda.summary import summary
from tests.stand_in import DeviceArray


@pytest.mark.long
def test_everything_can_be_rehearsed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--device", "cpu", "--tiny", "--minutes", "60", "--out", str(tmp_path / "out")]
    assert command.main(arguments) in (0, 1), "1: what doctor finds"
    result = json.loads((tmp_path / "out" / "measured.json").read_text())
    done = result["steps"]
    assert list(done) == ["doctor", "cuda tests", "quick tests", "measurements"]
    assert done["doctor"]["findings"]
    for name in ("cuda tests", "quick tests"):
        assert done[name]["passed"]
        assert done[name]["failures"] == []
    kinds = {(note["what"], note["dtype"]) for note in done["cuda tests"]["noted"]}
    assert len(kinds) == 6, "three comparisons in two dtypes"
    rows = done["measurements"]["rates"]
    assert {(row["device"], row["mode"]) for row in rows} >= {("stand-in", "train"), ("cpu", "train")}
    assert all(row["scratch"] > 0 and row["torch"] > 0 for row in rows)
    assert done["measurements"]["left_out"] == []
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["log.txt", "measured.json"]
    printed = capsys.readouterr().out.splitlines()
    assert any(line.startswith("scratch on the GPU, torch on the CPU, float32: ") for line in printed)
    assert printed[-1].startswith("written: ")


@pytest.mark.long
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--out", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.err == "on_cuda: torch sees no CUDA device; --device cpu rehearses everything without one\n"
    assert not captured.out


def test_a_step_that_fails_or_does_not_end_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failure = {"test": "test_x", "outcome": "failed", "seconds": 1.0, "noted": [], "text": "it is 3, not 2"}

    def two(*_: object) -> Iterator[tuple[str, command.Step]]:
        yield "quick tests", lambda _: Done("quick tests", 1, 2.0, tests=[failure])
        yield "measurements", lambda _: Done("measurements", TIMED_OUT, 3.0, found={"rates": [], "left_out": []})

    monkeypatch.setattr(command, "steps", two)
    monkeypatch.setattr(command, "look", lambda _: {"gpu": "a GPU"})
    assert command.main(["--out", str(tmp_path)]) == 1
    written = json.loads((tmp_path / "measured.json").read_text())["steps"]
    assert written["quick tests"]["failures"] == [{"test": "test_x", "text": "it is 3, not 2"}]
    printed = capsys.readouterr().out
    assert "\nFAILED test_x: it is 3, not 2\n" in printed
    assert "\nquick tests: exit status 1, 0 passed, 1 failed, 0 skipped, 2 s\n" in printed
    assert "\nmeasurements: its time was up, 0 rates, 3 s\n" in printed


def test_a_step_ends_with_all_that_it_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    forked = f"{sys.executable} -c 'import time; time.sleep(100)' & echo $! > {child}; wait"
    with (tmp_path / "log").open("w") as log:
        assert steps.run(["sh", "-c", forked], log, os.environ, limit=3.0) == TIMED_OUT
    process = int(child.read_text())
    for _ in range(100):
        if not alive(process):
            break
        time.sleep(0.1)
    else:
        os.kill(process, signal.SIGKILL)
        pytest.fail("its child lives on")


def alive(process: int) -> bool:
    """Whether it runs: one that ended may still be listed until somebody asks for its status."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


CRASHES = """
import os, pytest

def test_right(record_property):
    record_property("noted", {"apart": 0.5})

def test_wrong():
    assert 2 == 3, "two is not three"

@pytest.mark.skip(reason="not today")
def test_left_out():
    pass

@pytest.fixture
def broken():
    raise ValueError("no fixture")

def test_without_its_fixture(broken):
    pass

def test_that_kills_its_process():
    os._exit(3)

def test_never_reached():
    pass
"""


def test_what_came_of_each_test_survives_a_crash(tmp_path: Path) -> None:
    (tmp_path / "test_crashes.py").write_text(CRASHES)
    (tmp_path / "test_not_imported.py").write_text("import no_such_module")
    with (tmp_path / "log").open("w") as log:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        alone = [str(tmp_path / "test_crashes.py"), "--rootdir", str(tmp_path), "-p", "no:randomly"]
        done = steps.tests("alone", alone, tmp_path, log, environment, limit=60)
        other = [str(tmp_path / "test_not_imported.py"), "--rootdir", str(tmp_path)]
        unread = steps.tests("unread", other, tmp_path, log, environment, limit=60)
    assert done.status == 3
    assert done.counts() == {"passed": 1, "failed": 2, "skipped": 1}
    result = done.as_json()
    assert result["noted"] == [{"apart": 0.5}]
    texts = [failure["text"] for failure in result["failures"]]
    assert texts[0].startswith("AssertionError: two is not three")
    assert texts[1] == "ValueError: no fixture"
    assert "no_such_module" in unread.as_json()["failures"][0]["text"]


def test_the_quick_tests_are_there() -> None:
    assert [path for path in steps.QUICK if not (ROOT / path).exists()] == []


def test_a_difference_on_the_device_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rehearsal's device rounds as the CPU does: what is compared is made wrong here, and seen."""
    monkeypatch.setenv(REHEARSAL, "1")
    pair = REGISTRY["linear"]
    assert isinstance(pair, LayerPair)
    with chosen_device() as device:
        right = both_there(pair, "float32", device)
        assert all(report.ok for report in right)
        matmul = DeviceArray.__matmul__
        monkeypatch.setattr(DeviceArray, "__matmul__", lambda a, b: matmul(a, b) * (1 + 1e-3))
        against_cpu, against_torch = both_there(pair, "float32", device)
    assert against_cpu.ok, "torch's own"
    note = noted(against_torch, "linear", "float32", "scratch, torch")
    assert note["tensors"] == right[1].compared
    assert note["wrong"]
    assert note["share"] > 1


def test_what_cannot_be_measured_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: object) -> None:
        raise MemoryError("out of memory")

    kept: list[tuple[str, Any]] = []
    monkeypatch.setattr(measure, "measure_cell", too_large)
    part = measure.Part("cpu", "train", ("cnn",), 1)
    later = time.monotonic() + 100
    measure.measure(part, [4], 0.01, later, lambda *given: kept.append(given))
    measure.measure(part, [4], 0.01, time.monotonic(), lambda *given: kept.append(given))
    assert [(kind, value["why"]) for kind, value in kept] == [
        ("left_out", "too little memory"),
        ("left_out", "the time was up"),
    ]


@pytest.mark.parametrize(
    ("error", "status"), [(None, 0), (MemoryError(), 1), (NotEqualError("output differs"), 1), (ValueError("no"), 1)]
)
def test_measuring_nothing_or_what_differs_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception | None, status: int
) -> None:
    monkeypatch.setenv(REHEARSAL, "1")

    def measured(part: Any, _batches: Any, _seconds: float, _until: float, keep: Any) -> None:
        if error is None:
            keep("rates", {"device": part.device})

    def failing(*_: object) -> None:
        assert error is not None
        raise error

    if error is None:
        monkeypatch.setattr(measure, "measure", measured)
    else:
        monkeypatch.setattr(measure, "measure_cell", failing)
    command = ["measure", "--out", str(tmp_path / "rates.json"), "--limit", "60", "--batches", "2", "--models", "cnn"]
    monkeypatch.setattr("sys.argv", command)
    assert measure.main() == status
    left_out = json.loads((tmp_path / "rates.json").read_text())["left_out"]
    assert any(cell.get("wrong") for cell in left_out) == (error is not None and not isinstance(error, MemoryError))


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert command.main(["--out", str(tmp_path / "file"), "--device", "cpu"]) == 2
    assert "name a folder that can be written" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_cell_that_would_not_end_in_time_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first takes 60 of 100 seconds, and the next, of twice the batch, would take twice as long."""
    kept: list[tuple[str, Any]] = []
    clock = iter([0.0, 60.0, 60.0])
    monkeypatch.setattr(measure, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    row = ModelRow(Cell("cnn", "train", 4, 1), {"scratch": 2.0, "torch": 1.0}, 2.0, 0.0)
    monkeypatch.setattr(measure, "measure_cell", lambda *_: row)
    measure.measure(measure.Part("cpu", "train", ("cnn",), 1), [4, 8], 0.01, 100.0, lambda *given: kept.append(given))
    assert [(kind, value.get("batch")) for kind, value in kept] == [("rates", 4), ("left_out", None)]


def test_a_share_that_is_no_number_is_the_worst() -> None:
    note = {"what": "a, b", "dtype": "float32", "tensors": 2, "wrong": 1, "pair": "relu", "where": "output [x]"}
    notes = [note | {"share": 0.5, "wrong": 0}, note | {"share": None}]
    result = {"machine": {}, "steps": {"cuda tests": {"status": 1, "seconds": 1.0, "noted": notes}}}
    assert "a, b, float32: 4 tensors, 1 wrong, the largest share of a bound no number (relu, output [x])" in summary(
        result
    )


def test_wheels_that_came_along_can_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by itself: one that pip refuses keeps out no other."""
    asked: list[list[str]] = []

    def pip(arguments: list[str], *_: object, **__: object) -> int:
        asked.append(arguments)
        return 1

    monkeypatch.setattr(command, "run", pip)
    for name in ("b.whl", "a.whl", "notes.txt"):
        (tmp_path / name).touch()
    with (tmp_path / "log").open("w") as log:
        command.install_wheels(tmp_path, tmp_path / "site", log, os.environ)
        command.install_wheels(tmp_path / "missing", tmp_path / "site", log, os.environ)
    assert [arguments[-1] for arguments in asked] == [str(tmp_path / "a.whl"), str(tmp_path / "b.whl")]
    assert all({"--no-index", "--no-deps", "--target"} <= set(arguments) for arguments in asked)
    environment = command.make_environment(tmp_path, rehearsal=False)
    assert environment["PYTHONPATH"].split(os.pathsep)[:2] == [str(tmp_path / "site"), str(ROOT)]
