"""How a training ends before its time: by Ctrl-C, by a disk that is full, by a folder that is moved away."""

from __future__ import annotations

import errno
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.summary.writer.record_writer import RecordWriter

from compare import cli
from compare.machine.data import Dataset
from compare.machine.errors import UserError
from compare.training.board.logs import wait_for_later_names
from compare.training.checkpoint import LAST, load_checkpoint
from compare.training.lockstep import Epoch, Step
from compare.training.settings import Settings
from tests.test_board import scalars
from tests.test_checkpoint import Stopped, _short_proofs, assert_same_run, begin, curves, go_on, stop_at, under_way

__all__ = ["_short_proofs"]  # a fixture, for all tests here

SHORT = Settings(epochs=1, log_every=1, checkpoint_every=2)

# Ctrl-C


@pytest.mark.skipif(sys.platform == "win32", reason="no process can be sent a Ctrl-C there")
@pytest.mark.parametrize(
    ("presses", "apart"),
    [
        (5, 0.002),
        *(
            pytest.param(presses, apart, marks=pytest.mark.long)  # each takes as long as a start of torch
            for presses, apart in ((2, 0), (2, 0.01), (3, 0.001), (3, 0.1), (5, 0), (5, 0.1))
        ),
    ],
)
def test_a_further_ctrl_c_ends_within_seconds_and_without_a_traceback(
    tmp_path: Path, presses: int, apart: float
) -> None:
    options = ("--train-images", "64", "--test-images", "10", "--epochs", "100000", "--log-every", "1")
    process = under_way(tmp_path, *options)
    process.send_signal(signal.SIGINT)
    time.sleep(apart)
    second = time.monotonic()
    for _ in range(presses - 1):
        process.send_signal(signal.SIGINT)
        time.sleep(apart)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - second < 5
    assert process.returncode == 130
    # The first one may have been all that it needed.
    assert re.fullmatch(r"(gradtwin: interrupted( after step .*)?\n){1,2}", err)


@pytest.mark.parametrize("handler", ["_interrupt", "_end"])
def test_the_second_ctrl_c_of_any_command_ends_at_once(monkeypatch: pytest.MonkeyPatch, handler: str) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    signal.signal(signal.SIGINT, getattr(cli, handler))
    if handler == "_interrupt":
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert left == []
    signal.raise_signal(signal.SIGINT)
    assert left == [130]


# A full disk


def truthful(error: UserError, dataset: Dataset, folder: Path, unbroken: Path) -> None:
    """Make sure that what is said of a run whose disk was full is so, and that what it advises works."""
    said = str(error)
    if (folder / LAST).exists():
        assert said.endswith(
            "the last checkpoint is whole: mend that (is the disk full?), then go on with: "
            f"gradtwin train --resume {folder}"
        )
        load_checkpoint(folder / LAST)
        go_on(dataset, folder)
        assert_same_run(folder, unbroken)
    else:
        assert said.endswith(f"nothing was saved; mend that (is the disk full?), remove {folder} and start again")
        assert list(folder.glob("checkpoints/*")) == []


@pytest.fixture(scope="module")
def short(few: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("short") / "run"
    begin(few, folder, settings=SHORT)
    return folder


def full_from(call: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """A function that raises ENOSPC from its so-manieth call on."""
    calls = itertools.count(1)

    def function(*given: Any) -> Any:
        if next(calls) >= call:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*given)

    return function


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        *((os, "fsync", call) for call in (1, 3, 5, 7)),  # two of each file
        *((os, "replace", call) for call in (1, 2, 6, 7)),
        *((RecordWriter, "write", call) for call in (1, 3, 40, 100)),
        *(pytest.param(os, "replace", call, marks=pytest.mark.long) for call in (3, 4, 5)),
        *(pytest.param(RecordWriter, "write", call, marks=pytest.mark.long) for call in range(2, 110, 9)),
    ],
)
def test_what_is_said_of_a_full_disk_is_so(
    few: Dataset, tmp_path: Path, short: Path, owner: Any, name: str, call: int
) -> None:
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, full_from(call, getattr(owner, name)))
        try:
            begin(few, folder, settings=SHORT)
        except UserError as error:
            caught = error
        else:
            pytest.fail("it was never reached")
    assert "(No space left on device)" in str(caught)
    truthful(caught, few, folder, short)


def test_a_disk_without_room_for_a_run_is_full_indeed(few: Dataset, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        with pytest.raises(UserError, match=r"\(No space left on device\); nothing was saved; mend that"):
            begin(few, disk / "run", settings=SHORT)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


# A folder that is moved


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        (Epoch, 2),  # after the last checkpoint: the trained weights are what is left to write
        (Step, 3),
        pytest.param(Step, 1, marks=pytest.mark.long),
        pytest.param(Step, 8, marks=pytest.mark.long),
    ],
)
def test_a_run_whose_folder_was_moved_says_so_and_goes_on_where_it_is_now(
    few: Dataset, tmp_path: Path, kind: type[Step | Epoch], number: int
) -> None:
    settings = Settings(epochs=2, log_every=1, checkpoint_every=2)
    begin(few, tmp_path / "unbroken", settings=settings)
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"

    def move(event: Step | Epoch) -> None:
        if isinstance(event, kind) and event.number == number:
            folder.rename(elsewhere)

    with pytest.raises(UserError) as caught:
        begin(few, folder, move, settings)
    assert str(caught.value) == (
        f"{folder}: cannot be written (No such file or directory); the folder was moved or removed; "
        "go on with it where it is now: gradtwin train --resume FOLDER"
    )
    assert not folder.exists()
    go_on(few, elsewhere)
    assert_same_run(elsewhere, tmp_path / "unbroken")


# A run that goes on within the same second


def test_logs_of_a_run_that_goes_on_come_after_those_before(few: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    begin(few, tmp_path / "unbroken", settings=SHORT)
    for step in (1, 2, 3):
        with pytest.raises(Stopped):
            (begin(few, folder, stop_at(step), SHORT) if step == 1 else go_on(few, folder, stop_at(step)))
    go_on(few, folder)
    for name in ("scratch", "torch", "compare"):
        made = [int(path.name.split(".")[3]) for path in (folder / name).glob("*tfevents*")]
        assert len(made) == len(set(made))
    # As they are read, not put in order: by name, as TensorBoard does.
    for tag, points in scalars(folder / "torch").items():
        assert [step for step, _ in points] == sorted(step for step, _ in points), tag
    assert curves(folder) == curves(tmp_path / "unbroken")


def test_it_is_waited_for_a_later_name_and_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 100.5, 101.2])
    monkeypatch.setattr(time, "time", lambda: next(clock))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    (tmp_path / "torch").mkdir()
    for name in ("100.host.7.0", "99.host.7.0", "4000000000.host.7.0", "x"):
        (tmp_path / "torch" / f"events.out.tfevents.{name}").touch()
    wait_for_later_names(tmp_path)
    assert next(clock, None) is None
