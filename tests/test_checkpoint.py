"""Checkpoints: whole or not there, and a run that goes on is the run that never stopped."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import SessionLog

from compare.machine import files
from compare.machine.data import Dataset
from compare.machine.errors import UserError
from compare.pairs import weights
from compare.training import checkpoint, run
from compare.training.checkpoint import BEST, LAST, Checkpoint, find_checkpoint, load_checkpoint, save_checkpoint
from compare.training.lockstep import Epoch, Step
from compare.training.result import RunResult
from compare.training.run import Interrupted, require_new, run_twins
from compare.training.settings import Settings
from compare.training.twins import Twins
from compare.verify import trained
from tests.conftest import Run
from tests.test_board import read, scalars

SETTINGS = Settings(epochs=6, log_every=3, checkpoint_every=3)
Watch = Callable[[Step | Epoch], None]


def nobody(_: object) -> None:
    pass


def begin(dataset: Dataset, folder: Path, watch: Watch = nobody, settings: Settings = SETTINGS) -> RunResult:
    return run_twins(Twins(settings), dataset, folder, nobody, watch)


def go_on(dataset: Dataset, given: Path, watch: Watch = nobody) -> RunResult:
    folder, path = find_checkpoint(given)
    saved = load_checkpoint(path)
    twins = Twins(Settings(**saved.record["settings"]))
    return run_twins(twins, dataset, folder, nobody, watch, resumed=saved)


class Stopped(Exception):  # noqa: N818 - not an error
    pass


def stop_at(number: int, kind: type[Step | Epoch] = Step) -> Watch:
    def watch(event: Step | Epoch) -> None:
        if isinstance(event, kind) and event.number == number:
            raise Stopped

    return watch


@pytest.fixture(scope="module", autouse=True)
def _short_proofs() -> Iterator[None]:
    """The proofs before and after are tested elsewhere, and take most of the time of a short run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trained, "IMAGES", 4)
        yield


@pytest.fixture(scope="module")
def unbroken(few: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    return folder, begin(few, folder)


def curves(folder: Path) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """Every curve of a run but those of the clock.

    By step: files of one second and one process are read in the order of their names, where .10 comes before .9.
    """
    runs = sorted({path.parent.name for path in folder.rglob("*tfevents*")})
    return {
        (name, tag): sorted(points)
        for name in runs
        for tag, points in scalars(folder / name).items()
        if tag != "images per second"
    }


def assert_same_run(folder: Path, unbroken: Path) -> None:
    """Bit for bit the same weights, all curves the same with no point twice, all pictures, and no file left over."""
    for name in ("scratch", "torch"):
        assert (folder / f"{name}.safetensors").read_bytes() == (unbroken / f"{name}.safetensors").read_bytes()
    own, expected = (load_checkpoint(each / LAST) for each in (folder, unbroken))
    assert own.tensors.keys() == expected.tensors.keys()
    for name, array in expected.tensors.items():
        np.testing.assert_array_equal(own.tensors[name], array)
    load_checkpoint(folder / BEST)
    assert curves(folder) == curves(unbroken)
    for tag in read(unbroken / "compare").Tags()["images"]:
        own_steps, steps = (
            sorted(event.step for event in read(each / "compare").Images(tag)) for each in (folder, unbroken)
        )
        assert own_steps == steps
    texts = [read(each / "compare").Tags()["tensors"] for each in (folder, unbroken)]
    assert sorted(texts[0]) == sorted(texts[1])
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["best.safetensors", "last.safetensors"]


def forget_the_clock(result: RunResult) -> dict[str, Any]:
    return result.as_json() | {"images_per_second": None, "run_dir": None}


# A run that goes on


@pytest.mark.parametrize(
    ("number", "kind"),
    [(0, Epoch), (1, Step), (5, Step), (8, Step), (2, Epoch), (24, Step), (6, Epoch)],
    ids=["untrained", "step 1", "step 5", "step 8", "epoch 2", "last step", "last epoch"],
)
def test_a_stopped_run_goes_on_bit_for_bit(
    few: Dataset, tmp_path: Path, unbroken: tuple[Path, RunResult], number: int, kind: Any
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        begin(few, folder, stop_at(number, kind))
    result = go_on(few, folder)
    assert_same_run(folder, unbroken[0])
    assert forget_the_clock(result) == forget_the_clock(unbroken[1])


@pytest.mark.parametrize(
    "more",
    [
        {"optimizer": "adam"},
        pytest.param({"dtype": "float64", "nesterov": True}, marks=pytest.mark.long),
        {"only": "scratch"},
        {"only": "torch", "optimizer": "adam"},
        pytest.param({"yardstick": False, "schedule": "constant"}, marks=pytest.mark.long),
        pytest.param({"resync": True}, marks=pytest.mark.long),
    ],
    ids=str,
)
def test_every_kind_of_run_goes_on(few: Dataset, tmp_path: Path, more: dict[str, Any]) -> None:
    settings = Settings(epochs=2, checkpoint_every=3, **more)
    begin(few, tmp_path / "unbroken", settings=settings)
    with pytest.raises(Stopped):
        begin(few, tmp_path / "run", stop_at(5), settings)
    go_on(few, tmp_path / "run")
    for name in settings.twins:
        own, expected = (tmp_path / each / f"{name}.safetensors" for each in ("run", "unbroken"))
        assert own.read_bytes() == expected.read_bytes()
    assert curves(tmp_path / "run") == curves(tmp_path / "unbroken")


def test_a_finished_run_says_again_what_came_out(
    few: Dataset, tmp_path: Path, unbroken: tuple[Path, RunResult]
) -> None:
    folder = Path(shutil.copytree(unbroken[0], tmp_path / "run"))
    told: list[Step | Epoch] = []
    result = go_on(few, folder, told.append)
    assert told == []
    assert forget_the_clock(result) == forget_the_clock(unbroken[1])
    assert_same_run(folder, unbroken[0])


def test_the_best_is_kept_and_can_be_gone_on_from(
    few: Dataset, tmp_path: Path, unbroken: tuple[Path, RunResult]
) -> None:
    folder = Path(shutil.copytree(unbroken[0], tmp_path / "run"))
    best, last = (load_checkpoint(folder / name).record["progress"] for name in (BEST, LAST))
    mean = [sum(record["last"]["test_accuracy"].values()) / 2 for record in (best, last)]
    assert mean[0] >= mean[1]
    assert mean[0] == load_checkpoint(folder / LAST).record["best"]
    go_on(few, folder / BEST)
    assert_same_run(folder, unbroken[0])


def test_checkpoints_come_as_often_as_asked_for(few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []

    def spy(path: Path, given: Checkpoint) -> None:
        if path.name == Path(LAST).name:
            saved.append(given.record["progress"]["step"])
        save_checkpoint(path, given)

    monkeypatch.setattr(run, "save_checkpoint", spy)
    begin(few, tmp_path / "run", settings=Settings(epochs=2, checkpoint_every=3))
    assert saved == [0, 0, 3, 4, 6, 8], "at the start, after each epoch, and every third step"


# Killed; more of it is in kills.py


def test_what_a_killed_writer_left_is_removed(few: Dataset, tmp_path: Path, unbroken: tuple[Path, RunResult]) -> None:
    folder = Path(shutil.copytree(unbroken[0], tmp_path / "run"))
    (folder / "checkpoints" / ".last.safetensors-abc").write_bytes(b"half a checkpo")
    go_on(few, folder)
    assert_same_run(folder, unbroken[0])


def test_ctrl_c_finishes_the_step_and_saves(few: Dataset, tmp_path: Path, unbroken: tuple[Path, RunResult]) -> None:
    folder, before = tmp_path / "run", signal.getsignal(signal.SIGINT)

    def press(event: Step | Epoch) -> None:
        if isinstance(event, Step) and event.number == 7:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(
        Interrupted, match=r"interrupted after step \d+, all saved; go on with: gradtwin train --resume"
    ):
        begin(few, folder, press)
    assert signal.getsignal(signal.SIGINT) is before
    assert load_checkpoint(folder / LAST).record["progress"]["step"] == 7
    go_on(few, folder)
    assert_same_run(folder, unbroken[0])


def test_a_second_ctrl_c_ends_at_once(few: Dataset, tmp_path: Path) -> None:
    def press(_: Step | Epoch) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        time.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        begin(few, tmp_path / "run", press)


def under_way(folder: Path, *options: str) -> subprocess.Popen[str]:
    """The training `run` in this folder, started by the command, after its first epoch."""
    process = subprocess.Popen(
        [sys.executable, "-m", "compare", "train", "--dataset", "digits", "--run-dir", "run", *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent), "PYTHONUNBUFFERED": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a job in the background has none
    )
    assert process.stdout is not None
    next(line for line in process.stdout if line.startswith("epoch 1:"))
    return process


@pytest.mark.long
def test_the_command_is_interrupted_and_goes_on(tmp_path: Path, gradtwin: Run) -> None:
    process = under_way(tmp_path, "--epochs", "10", "--train-images", "640")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    said = re.fullmatch(
        r"gradtwin: interrupted after step ([\d,]+), all saved; go on with: gradtwin train --resume run\n", err
    )
    assert said
    step = said[1]
    outcome = gradtwin("train", "--resume", "run", "--json", "result.json")
    assert (outcome.status, outcome.err) == (0, "")
    assert f"\ngoes on: run, after step {step} of 100\nresumed twins: equal: 90 tensors" in outcome.out
    assert "epoch 0:" not in outcome.out
    assert json.loads((tmp_path / "result.json").read_text())["epochs"] == 10


# What is refused


def refuse(dataset: Dataset, folder: Path, message: str) -> None:
    with pytest.raises(UserError, match=message):
        go_on(dataset, folder)


def test_runs_that_cannot_go_on_are_refused(few: Dataset, tmp_path: Path) -> None:
    refuse(few, tmp_path / "none", "none: no such run; give the folder that gradtwin train named")
    refuse(few, tmp_path, r"holds no checkpoint \(checkpoints/last.safetensors\); .* start a new run")
    weights.save_weights(tmp_path / "w.safetensors", {"a": np.ones(2)})
    refuse(few, tmp_path / "w.safetensors", "not in the folder checkpoints of a run")
    weights.save_weights(tmp_path / LAST, {"a": np.ones(2)})
    refuse(few, tmp_path, "last.safetensors: a safetensors file, but not a checkpoint of gradtwin")


@pytest.mark.parametrize("at", [0, 7, 8, 50, 0.2, 0.5, 0.99, -1])
def test_one_wrong_bit_anywhere_is_found(tmp_path: Path, unbroken: tuple[Path, RunResult], at: float) -> None:
    content = bytearray((unbroken[0] / LAST).read_bytes())
    content[int(at * len(content)) if 0 < at < 1 else int(at)] ^= 4
    (tmp_path / "last.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"last.safetensors: (damaged|a safetensors file, but not a checkpoint)"):
        load_checkpoint(tmp_path / "last.safetensors")


@pytest.mark.parametrize("length", [0, 5, 100, 5000, -1])
def test_a_truncated_checkpoint_is_refused_and_the_best_is_named(
    few: Dataset, tmp_path: Path, unbroken: tuple[Path, RunResult], length: int
) -> None:
    folder = Path(shutil.copytree(unbroken[0], tmp_path / "run"))
    content = (folder / LAST).read_bytes()
    (folder / LAST).write_bytes(content[:length])
    refuse(few, folder, rf"last.safetensors: damaged.*; go on from {folder / BEST}$")
    assert (folder / BEST).read_bytes() == (unbroken[0] / BEST).read_bytes()


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'\\"step\\": 24', b'\\"step\\": 23'), (b'\\"best\\"', b'\\"bets\\"'), (b'"digest":"', b'"digesd":"')],
)
def test_an_edited_record_is_found(tmp_path: Path, unbroken: tuple[Path, RunResult], old: bytes, new: bytes) -> None:
    content = (unbroken[0] / LAST).read_bytes()
    assert old in content
    (tmp_path / "c").write_bytes(content.replace(old, new, 1))
    with pytest.raises(UserError, match="c: damaged, it does not hold what was saved"):
        load_checkpoint(tmp_path / "c")


def test_a_run_is_found_by_its_folder_its_checkpoints_and_their_folder(unbroken: tuple[Path, RunResult]) -> None:
    folder, _ = unbroken
    assert find_checkpoint(folder) == find_checkpoint(folder / "checkpoints") == (folder, folder / LAST)
    assert find_checkpoint(folder / BEST) == (folder, folder / BEST)


def test_a_checkpoint_of_another_run_is_refused_and_nothing_is_lost(
    few: Dataset, tmp_path: Path, unbroken: tuple[Path, RunResult]
) -> None:
    folder = Path(shutil.copytree(unbroken[0], tmp_path / "run"))
    begin(few, tmp_path / "other", settings=Settings(epochs=1))
    shutil.copy(tmp_path / "other" / LAST, folder / LAST)
    before = {path: path.read_bytes() for path in folder.rglob("*tfevents*")}
    refuse(few, folder, "run: the logs there are not those of this checkpoint's run; put it back where it was")
    assert {path: path.read_bytes() for path in folder.rglob("*tfevents*")} == before


def test_logs_that_are_not_the_runs_own_are_left_alone(
    few: Dataset, tmp_path: Path, unbroken: tuple[Path, RunResult]
) -> None:
    folder = Path(shutil.copytree(unbroken[0], tmp_path / "run"))
    for other in ("second/scratch", "backup", "scratch/below"):
        shutil.copytree(unbroken[0] / "scratch", folder / other)
    (folder / "torch" / "events.out.tfevents.0.folder").mkdir()
    go_on(few, folder)
    for other in ("second/scratch", "backup", "scratch/below"):
        assert len(list((folder / other).glob("*tfevents*"))) == 1


def test_gaps_in_the_logs_are_told_of(few: Dataset, tmp_path: Path, unbroken: tuple[Path, RunResult]) -> None:
    folder = Path(shutil.copytree(unbroken[0], tmp_path / "run"))
    (gone,), (shorter,) = ((folder / name).glob("*tfevents*") for name in ("scratch", "torch"))
    gone.unlink()
    shorter.write_bytes(shorter.read_bytes()[:1000])
    told: list[str] = []
    saved = load_checkpoint(folder / LAST)
    twins = Twins(Settings(**saved.record["settings"]))
    run_twins(twins, few, folder, told.append, nobody, resumed=saved)
    assert told[:2] == [
        f"note: {gone} is gone: its curves have a gap",
        f"note: {shorter} is shorter than it was: its curves have a gap",
    ]


def test_a_run_that_is_killed_after_it_went_back_to_its_best_has_no_gap(
    few: Dataset, tmp_path: Path, unbroken: tuple[Path, RunResult]
) -> None:
    folder, settings = tmp_path / "run", dataclasses.replace(SETTINGS, lr=1e-9, checkpoint_every=100)
    with pytest.raises(Stopped):
        begin(few, folder, stop_at(4, Epoch), settings)
    assert load_checkpoint(folder / BEST).record["progress"]["step"] == 0, "nothing is learnt"
    with pytest.raises(Stopped):
        go_on(few, folder / BEST, stop_at(2))
    go_on(few, folder)
    begin(few, tmp_path / "unbroken", settings=settings)
    assert curves(folder) == curves(tmp_path / "unbroken")
    assert unbroken


def test_a_checkpoint_of_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "FORMAT", 99)
    save_checkpoint(tmp_path / "c", Checkpoint({"a": np.ones(1)}, {}))
    monkeypatch.undo()
    with pytest.raises(
        UserError,
        match=r"c: no run can go on from it, .* of another version, .*its format is 99, this version's is 1",
    ):
        load_checkpoint(tmp_path / "c")


def test_changed_data_are_refused(few: Dataset, tmp_path: Path, unbroken: tuple[Path, RunResult]) -> None:
    folder = Path(shutil.copytree(unbroken[0], tmp_path / "run"))
    labels = few.train_labels.copy()
    labels[7] = (labels[7] + 1) % 10
    changed = dataclasses.replace(few, train_labels=labels)
    refuse(
        changed, folder, "the data set is not the one that the run began with, scikit-learn's 1,797 .* start a new run"
    )


def test_two_processes_cannot_train_in_one_folder(few: Dataset, tmp_path: Path) -> None:
    tmp_path.joinpath("run").mkdir()
    with files.locked(tmp_path / "run"), pytest.raises(UserError, match="run: another process is training in it"):
        begin(few, tmp_path / "run")
    begin(few, tmp_path / "run", settings=Settings(epochs=1))


def test_a_full_disk_leaves_the_earlier_checkpoint(
    few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: tuple[Path, RunResult]
) -> None:
    folder = tmp_path / "run"

    def fill(event: Step | Epoch) -> None:
        if isinstance(event, Step) and event.number == 4:
            monkeypatch.setattr(os, "fsync", full)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(
        UserError,
        match=r"\(No space left on device\); the last checkpoint is whole: mend that \(is the disk full\?\)",
    ):
        begin(few, folder, fill)
    monkeypatch.undo()
    assert load_checkpoint(folder / LAST).record["progress"]["step"] == 3
    go_on(few, folder)
    assert_same_run(folder, unbroken[0])


def test_a_disk_that_is_full_of_logs_says_how_to_go_on(few: Dataset, tmp_path: Path) -> None:
    def fill(_: Step | Epoch) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"run: cannot be written \(No space left on device\); the last checkpoint is"):
        begin(few, tmp_path / "run", fill)


def test_a_folder_that_cannot_be_written_is_refused(few: Dataset, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").write_text("in the way")
    with pytest.raises(UserError, match=r"checkpoints.* cannot be written"):
        begin(few, tmp_path / "run")


def test_other_versions_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: tuple[Path, RunResult]
) -> None:
    now, whole = checkpoint.versions(), load_checkpoint(unbroken[0] / LAST)
    monkeypatch.setattr(checkpoint, "versions", lambda: now | {"torch": "1.0"})
    save_checkpoint(tmp_path / "c", whole)
    monkeypatch.undo()
    saved = load_checkpoint(tmp_path / "c")
    assert checkpoint.what_changed(saved) == [
        f"note: torch is {now['torch']}, the run began with 1.0: it may no longer be the same bit for bit"
    ]
    save_checkpoint(tmp_path / "c", whole)
    assert checkpoint.what_changed(load_checkpoint(tmp_path / "c")) == []


def test_a_folder_that_holds_no_more_than_a_lock_is_new(tmp_path: Path) -> None:
    (tmp_path / "run" / "scratch").mkdir(parents=True)
    (tmp_path / "run" / ".lock").write_text("")
    require_new(tmp_path / "run")
    (tmp_path / "run" / "scratch" / "log").write_text("")
    with pytest.raises(UserError, match=r"run: holds something already; choose a new folder for the run$"):
        require_new(tmp_path / "run")
    with pytest.raises(UserError, match=r"log: is a file; give the name of a folder"):
        require_new(tmp_path / "run" / "scratch" / "log")


def test_the_weights_of_a_checkpoint_are_not_taken_for_weights(unbroken: tuple[Path, RunResult]) -> None:
    with pytest.raises(UserError, match=r"last.safetensors: is a checkpoint; take the run's torch.safetensors, or"):
        Twins(SETTINGS, unbroken[0] / LAST)


@pytest.mark.parametrize(
    "option", ["--no-yardstick", "--lr 0.1", "--epochs 9", "--nesterov", "--dataset digits", "--run-dir other"]
)
def test_resume_takes_no_settings(gradtwin: Run, option: str) -> None:
    outcome = gradtwin("train", "--resume", "run", *option.split())
    assert outcome.status == 2
    assert outcome.err == f"gradtwin: {option.split()[0]}: a run goes on with its own settings; leave it out\n"


def test_the_command_refuses_in_one_line(gradtwin: Run, tmp_path: Path) -> None:
    outcome = gradtwin("train", "--resume", "none")
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err == "gradtwin: none: no such run; give the folder that gradtwin train named\n"
    assert list(tmp_path.iterdir()) == []


def test_a_job_in_the_background_goes_on_ignoring_ctrl_c(few: Dataset, tmp_path: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # put back by the fixture of all tests

    def press(_: Step | Epoch) -> None:
        signal.raise_signal(signal.SIGINT)

    assert begin(few, tmp_path / "run", press, Settings(epochs=1)).ok
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.long
def test_logs_that_cannot_grow_end_the_run_in_one_line(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: the checkpoints stay below it, the logs do not."""
    resource = pytest.importorskip("resource", reason="there are no such limits here")
    arguments = "--dataset digits --train-images 400 --epochs 5 --log-every 1 --momentum 0 --checkpoint-every 2"
    done = subprocess.run(
        [sys.executable, "-m", "compare", "train", *arguments.split(), "--run-dir", "run"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
    )
    assert done.returncode == 2
    assert done.stderr == (
        "gradtwin: run: cannot be written (File too large); the last checkpoint is whole: "
        "mend that (is the disk full?), then go on with: gradtwin train --resume run\n"
    )
    load_checkpoint(tmp_path / "run" / LAST)


def test_a_tensorboard_that_has_read_on_is_told_from_where_to_forget(few: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        begin(few, folder, stop_at(5))
    before = set((folder / "torch").glob("*tfevents*"))
    go_on(few, folder)
    (new,) = set((folder / "torch").glob("*tfevents*")) - before
    started = [event for event in LegacyEventFileLoader(str(new)).Load() if event.HasField("session_log")]
    assert [(event.session_log.status, event.step) for event in started] == [(SessionLog.START, 5)]
