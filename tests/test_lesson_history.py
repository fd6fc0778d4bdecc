"""The training that the lesson shows: a small one that is its own, or a run's, read back as it was."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compare.driving.tensors import Tensors
from compare.lesson.history import Curve, History, _apart, read_run, train_small
from compare.machine import data
from compare.machine.conditions import equal_threads
from compare.machine.data import Dataset
from compare.machine.errors import UserError
from compare.pairs import weights
from compare.training.checkpoint import BEST, LAST, Checkpoint, load_checkpoint, save_checkpoint
from compare.training.drift import Drift
from compare.training.findings import Findings
from compare.training.lockstep import Epoch, Progress, Step, evaluate, lockstep
from compare.training.run import run_twins
from compare.training.settings import TWINS, DataOptions, Settings
from compare.training.twins import Twins
from compare.verify import trained
from scratch.data import NAMES
from tests.test_data import idx

FEW = DataOptions("digits", train_images=200, test_images=100)
SETTINGS = Settings(epochs=3, log_every=1, checkpoint_every=5)  # 12 steps of 64, 64, 64 and 8 images


@dataclasses.dataclass
class Told:
    """What a training said of itself."""

    loss: dict[str, dict[int, float]]
    accuracy: dict[str, dict[int, float]]
    apart: dict[int, float]
    yardstick: dict[int, float]
    after: dict[str, Tensors]
    findings: Findings


def told(dataset: Dataset, settings: Settings, last: int = 10**9) -> Told:
    """Train up to the step `last`, and listen."""
    twins = Twins(settings)
    drift, found = Drift(twins), Told({n: {} for n in TWINS}, {n: {} for n in TWINS}, {}, {}, {}, Findings())
    with equal_threads(1):
        for event in lockstep(twins, dataset, Progress.fresh(settings.seed), drift):
            for name in TWINS:
                if isinstance(event, Step):
                    found.loss[name][event.number] = event.loss[name]
                else:
                    found.accuracy[name][event.step] = event.test_accuracy[name]
            if isinstance(event, Step):
                assert drift.own is not None
                found.apart[event.number] = drift.own.largest
                if drift.yardstick is not None:
                    found.yardstick[event.number] = drift.yardstick.largest
                if event.number == last:
                    break
    found.after, found.findings = twins.states(), drift.findings
    return found


def points(curve: Curve) -> dict[int, float]:
    assert list(curve.steps) == sorted(set(curve.steps))
    return dict(zip(curve.steps, curve.values, strict=True))


def assert_same_curves(history: History, expected: Told, rel: float = 1e-12) -> None:
    for name in TWINS:
        assert points(history.loss[name]) == pytest.approx(expected.loss[name], rel=rel)
        assert points(history.accuracy[name]) == pytest.approx(expected.accuracy[name], rel=rel)
    for curve, values in ((history.apart, expected.apart), (history.yardstick, expected.yardstick)):
        assert points(curve) == pytest.approx({step: value for step, value in values.items() if value}, rel=rel)


def assert_same_weights(own: dict[str, Tensors] | None, expected: dict[str, Tensors]) -> None:
    assert own is not None
    assert list(own) == list(expected) == list(TWINS)
    for name, state in expected.items():
        assert own[name].keys() == state.keys()
        for key, array in state.items():
            assert own[name][key].dtype == array.dtype
            np.testing.assert_array_equal(own[name][key], array)


@pytest.fixture(scope="module", autouse=True)
def _short_proofs() -> Iterator[None]:
    """The proofs before and after are tested elsewhere, and take most of the time of a short run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trained, "IMAGES", 4)
        yield


class Stopped(Exception):  # noqa: N818 - not an error
    pass


def begin(
    dataset: Dataset,
    folder: Path,
    settings: Settings = SETTINGS,
    *,
    given: Path | None = None,
    chosen: DataOptions = FEW,
    stop: int | None = None,
    resumed: Checkpoint | None = None,
) -> Path:
    """A run in `folder`, stopped after the step `stop` as if it was killed."""

    def watch(event: Step | Epoch) -> None:
        if isinstance(event, Step) and event.number == stop:
            raise Stopped

    try:
        run_twins(Twins(settings, given), dataset, folder, lambda _: None, watch, chosen=chosen, resumed=resumed)
    except Stopped:
        assert stop is not None
    return folder


@pytest.fixture(scope="module")
def whole(few: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return begin(few, tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy of a whole run, to be spoilt."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def edit(folder: Path, **settings: Any) -> None:
    """Give the checkpoint of a run other settings."""
    saved = load_checkpoint(folder / LAST)
    record = dict(saved.record) | {"settings": saved.record["settings"] | settings}
    save_checkpoint(folder / LAST, Checkpoint(saved.tensors, record))


# A small training


def test_a_small_training_tells_what_the_twins_did(few: Dataset) -> None:
    heard: list[Step | Epoch] = []
    history = train_small("cnn", few, 5, epochs=2, watch=heard.append)
    assert history.settings == Settings(epochs=2, batch_size=32, seed=5)
    assert history.dataset is few
    assert history.origin == "cnn, trained while this page was built: 2 epochs of 200 images of scikit-learn's digits"
    assert history.loss["scratch"].steps == history.loss["torch"].steps == tuple(range(1, 15))
    assert history.accuracy["scratch"].steps == history.accuracy["torch"].steps == (0, 7, 14)
    assert history.yardstick.steps
    expected = told(few, history.settings)
    assert_same_curves(history, expected)
    assert_same_weights(history.before, Twins(history.settings).states())
    assert_same_weights(history.after, expected.after)
    assert history.findings == expected.findings
    assert [type(event) for event in heard] == [Epoch, *[Step] * 7, Epoch, *[Step] * 7, Epoch]


def test_a_small_training_takes_no_more_than_a_part_of_the_images(digits: Dataset) -> None:
    parts = ("train_images", "train_labels", "test_images", "test_labels")
    fives: dict[str, Any] = {part: np.concatenate([getattr(digits, part)] * 5) for part in parts}
    many = dataclasses.replace(digits, **fives)
    history = train_small("cnn", many, epochs=1)
    assert [len(getattr(history.dataset, part)) for part in parts] == [6000, 6000, 1000, 1000]
    assert history.origin.endswith(": 1 epoch of 6,000 images of scikit-learn's digits")
    assert len(history.loss["torch"].steps) == math.ceil(6000 / 32)


def test_the_small_training_of_few_images_has_more_epochs(few: Dataset) -> None:
    ten = few.limited(10, 10)
    history = train_small("lenet5", ten)
    assert (history.settings.model, history.settings.epochs, history.settings.batch_size) == ("lenet5", 12, 10)
    assert set(history.after["scratch"]) == set(Twins(Settings(model="lenet5")).states()["torch"])


def test_the_small_training_has_learnt_the_digits(digits: Dataset) -> None:
    history = train_small("cnn", digits)
    assert history.findings.ok
    for name in TWINS:
        assert history.accuracy[name].values[-1] >= 0.95


def test_a_small_training_has_the_conditions_of_a_run(few: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bool] = []
    monkeypatch.setattr("compare.lesson.history.keep_freed_memory", lambda: kept.append(True))
    torch.set_num_threads(2)
    threads = set[int]()
    train_small("cnn", few, epochs=1, watch=lambda _: threads.add(torch.get_num_threads()))
    assert (threads, torch.get_num_threads(), kept) == ({1}, 2, [True])


def test_a_small_training_of_an_unknown_model_is_refused(few: Dataset) -> None:
    with pytest.raises(UserError, match="model 'resnet' is unknown; choose one of cnn, lenet5"):
        train_small("resnet", few)


# A run


def test_a_run_is_read_back_as_it_was(few: Dataset, whole: Path, capfd: pytest.CaptureFixture[str]) -> None:
    history = read_run(whole)
    assert history.settings == SETTINGS
    assert history.dataset.checksum == few.checksum
    assert history.origin == f"cnn of the run {whole}, after step 12 of 12"
    expected = told(few, SETTINGS)
    assert len(points(history.apart)) == len(points(history.yardstick)) == 12
    assert_same_curves(history, expected, rel=1e-5)  # logged in float32, differences as their logarithms
    assert_same_weights(history.before, Twins(SETTINGS).states())
    assert_same_weights(history.after, expected.after)
    assert_same_weights(history.after, {name: weights.load_weights(whole / f"{name}.safetensors") for name in TWINS})
    assert history.findings == expected.findings
    assert capfd.readouterr() == ("", "")


def test_a_point_of_a_runs_curve_is_the_mean_since_the_one_before(few: Dataset, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, epochs=None, log_every=4, schedule="constant")
    history = read_run(begin(few, tmp_path / "run", settings, stop=9))
    assert history.settings == dataclasses.replace(settings, epochs=20), "the default of digits"
    assert history.origin.endswith(", after step 8 of 80"), "the end of an epoch is saved"
    losses = told(few, history.settings, 8).loss["torch"]
    mean = sum(losses[step] * images for step, images in zip((5, 6, 7, 8), (64, 64, 64, 8), strict=True)) / 200
    assert history.loss["torch"].steps == (1, 4, 8)
    assert history.loss["torch"].values[-1] == pytest.approx(mean, rel=1e-6)


def test_what_was_logged_after_the_checkpoint_is_left_out(few: Dataset, tmp_path: Path) -> None:
    folder = begin(few, tmp_path / "run", stop=7)
    history = read_run(folder)
    assert history.origin == f"cnn of the run {folder}, after step 5 of 12"
    expected = told(few, SETTINGS, 5)
    assert_same_curves(history, expected, rel=1e-5)
    assert_same_weights(history.after, expected.after)
    assert history.findings == expected.findings


def test_the_best_checkpoint_of_a_run_can_be_shown(few: Dataset, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, lr=1e-9)  # nothing is learnt: the first is the best
    folder = begin(few, tmp_path / "run", settings)
    history = read_run(folder / BEST)
    assert history.origin == f"cnn of the run {folder}, after step 0 of 12"
    assert history.accuracy["torch"].steps == (0,)
    assert history.loss["torch"] == history.apart == Curve()
    assert_same_weights(history.before, Twins(settings).states())
    assert_same_weights(history.after, Twins(settings).states())


def test_a_run_that_went_on_has_its_curves_from_both_its_logs(few: Dataset, tmp_path: Path) -> None:
    folder = begin(few, tmp_path / "run", stop=7)
    begin(few, folder, resumed=load_checkpoint(folder / LAST))
    assert len(list((folder / "torch").glob("*tfevents*"))) == 2
    history, expected = read_run(folder), told(few, SETTINGS)
    assert_same_curves(history, expected, rel=1e-5)
    assert_same_weights(history.after, expected.after)
    assert history.before is not None


@pytest.mark.parametrize("more", [{"yardstick": False}, {"resync": True}], ids=str)
def test_a_run_without_a_yardstick_has_none(few: Dataset, tmp_path: Path, more: dict[str, Any]) -> None:
    settings = dataclasses.replace(SETTINGS, epochs=1, **more)
    history = read_run(begin(few, tmp_path / "run", settings))
    assert history.yardstick == Curve()
    expected = told(few, settings)
    assert_same_curves(history, expected, rel=1e-5)
    assert history.findings.steps == expected.findings.steps == (4 if settings.resync else 0)
    assert_same_weights(history.before, Twins(settings).states())


@pytest.mark.parametrize("more", [{"dtype": "float64"}, {"seed": 3, "optimizer": "adam"}, {"model": "lenet5"}], ids=str)
def test_the_start_of_every_run_is_drawn_again(few: Dataset, tmp_path: Path, more: dict[str, Any]) -> None:
    settings = dataclasses.replace(SETTINGS, epochs=1, **more)
    history = read_run(begin(few, tmp_path / "run", settings))
    assert_same_weights(history.before, Twins(settings).states())


def test_the_start_of_a_run_with_given_weights_is_not_known(few: Dataset, tmp_path: Path) -> None:
    given = tmp_path / "given.safetensors"
    weights.save_weights(given, Twins(Settings(seed=1)).states()["torch"])
    settings = dataclasses.replace(SETTINGS, epochs=1)
    folder = begin(few, tmp_path / "run", settings, given=given)
    assert read_run(folder).before is None
    untrained = begin(few, tmp_path / "untrained", settings, given=given, stop=1)
    assert_same_weights(read_run(untrained).before, Twins(settings, given).states())


def test_weights_that_are_nearly_those_of_the_seed_are_not_taken_for_them(few: Dataset, tmp_path: Path) -> None:
    given = tmp_path / "given.safetensors"
    state = Twins(SETTINGS).states()["torch"]
    weights.save_weights(given, {name: array * np.float32(1.001) for name, array in state.items()})
    assert read_run(begin(few, tmp_path / "run", SETTINGS, given=given)).before is None


def test_a_run_of_another_machine_is_read_without_its_device(few: Dataset, run: Path) -> None:
    before = read_run(run)
    edit(run, device="cuda", tf32=True, threads=10**6)
    history = read_run(run)
    cores = os.cpu_count() or 1
    assert history.settings == dataclasses.replace(SETTINGS, device="cuda", tf32=True, threads=cores)
    assert_same_weights(history.before, Twins(SETTINGS).states())
    assert_same_weights(history.after, before.after)
    assert history.dataset.checksum == few.checksum


def test_what_a_run_has_learned_is_that_of_the_weights_that_are_shown(few: Dataset, tmp_path: Path) -> None:
    folder = begin(few, tmp_path / "run", dataclasses.replace(SETTINGS, epochs=8, checkpoint_every=2), stop=31)
    trained, twins = read_run(folder).learning, Twins(SETTINGS)
    assert (trained.steps, trained.steps_per_epoch, trained.images, trained.learned) == (30, 4, 100, True)
    for name, state in read_run(folder).after.items():
        twins.members[name].load(state, {})
    tested = evaluate(twins, few)
    assert trained.accuracy == {name: tested[name].accuracy for name in TWINS}
    assert trained.loss == {name: tested[name].loss for name in TWINS}
    assert trained.train_accuracy == load_checkpoint(folder / LAST).record["progress"]["last"]["train_accuracy"]
    untrained = begin(few, tmp_path / "untrained", stop=1)
    found = read_run(untrained).learning
    assert (found.steps, found.learned, found.verdict) == (0, False, "learned nothing yet")


def test_a_small_training_says_what_it_has_learned(few: Dataset) -> None:
    history = train_small("cnn", few, epochs=1)
    found = history.learning
    assert (found.steps, found.learned) == (7, found.accuracy["torch"] > found.threshold)
    assert found.accuracy == {name: history.accuracy[name].values[-1] for name in TWINS}
    assert found.train_loss.keys() == {"scratch", "torch"}


# Logs


def test_a_run_without_logs_has_its_weights(run: Path) -> None:
    expected = read_run(run)
    for log in run.rglob("*tfevents*"):
        log.unlink()
    history = read_run(run)
    nothing = {"scratch": Curve(), "torch": Curve()}
    assert history.loss == history.accuracy == nothing
    assert history.apart == history.yardstick == Curve()
    assert history.before is None, "nothing says that it began with the seed's weights"
    assert_same_weights(history.after, expected.after)
    assert history.findings == expected.findings


def test_a_damaged_log_is_read_up_to_there(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (log,), (gone,) = ((run / name).glob("*tfevents*") for name in ("torch", "perturbed"))
    content = log.read_bytes()
    at = [i for i in range(len(content)) if content.startswith(b"loss/train", i)][4]
    log.write_bytes(content[: at + 20])
    gone.write_bytes(b"no log")
    history = read_run(run)
    assert history.loss["torch"].steps == (1, 2, 3, 4)
    assert history.loss["scratch"].steps == history.apart.steps == tuple(range(1, 13))
    assert history.yardstick == Curve()
    assert capfd.readouterr() == ("", "")


def test_logs_of_another_run_are_refused(few: Dataset, run: Path, tmp_path: Path) -> None:
    other = begin(few, tmp_path / "other", dataclasses.replace(SETTINGS, epochs=1))
    shutil.copy(other / LAST, run / LAST)
    with pytest.raises(UserError, match="run: the logs there are not those of this checkpoint's run; put it back"):
        read_run(run)


def test_a_log_beside_those_of_the_run_is_not_read(run: Path, whole: Path) -> None:
    (log,) = (run / "scratch").glob("*tfevents*")
    shutil.copy(log, run / "torch" / "events.out.tfevents.9999999999.other")
    assert read_run(run).loss == read_run(whole).loss


def test_a_curve_has_finite_numbers_by_step() -> None:
    assert Curve.of({3: 1.0, 1: 2.0, 2: math.nan, 4: math.inf, 5: -math.inf}) == Curve((1, 3), (2.0, 1.0))
    assert _apart({1: -2.0, 2: math.nan, 3: math.inf, 4: 1e30, 5: 0.0}) == Curve((1, 5), (0.01, 1.0))


# What is refused


@pytest.mark.parametrize("name", TWINS)
def test_a_run_of_one_twin_is_refused(few: Dataset, tmp_path: Path, name: str) -> None:
    folder = begin(few, tmp_path / "run", Settings(epochs=1, only=name))
    message = f"run: was trained with --only {name}, and the lesson shows both twins; .* trained without --only$"
    with pytest.raises(UserError, match=message):
        read_run(folder)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none: no such run; give the folder that gradtwin train named"):
        read_run(tmp_path / "none")
    with pytest.raises(UserError, match="holds no checkpoint"):
        read_run(tmp_path)


def test_a_damaged_checkpoint_is_refused(run: Path) -> None:
    content = bytearray((run / LAST).read_bytes())
    content[-5] ^= 1
    (run / LAST).write_bytes(content)
    with pytest.raises(UserError, match=r"last.safetensors: damaged, .*; go on from .*best.safetensors$"):
        read_run(run)


def test_settings_of_another_version_are_refused(run: Path) -> None:
    edit(run, colour="blue")
    with pytest.raises(
        UserError, match=r"it is altered, of another version, or diverged \(record.settings.colour is unknown\)"
    ):
        read_run(run)


def test_data_that_moved_are_found_by_their_new_folder_and_no_others_are_taken(few: Dataset, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    for part, name in NAMES.items():
        array = getattr(few, part).astype(np.uint8)
        (old / name).write_bytes(idx(array[:, 0] if array.ndim == 4 else array))
    chosen = DataOptions(f"idx:{old}")
    folder = begin(data.load(chosen.dataset), tmp_path / "run", Settings(epochs=1), chosen=chosen)
    old.rename(new)
    with pytest.raises(UserError, match=r"old: no such folder"):
        read_run(folder)
    history = read_run(folder, new)
    assert history.dataset.checksum == few.checksum
    assert history.before is not None
    labels = (new / NAMES["test_labels"]).read_bytes()
    (new / NAMES["test_labels"]).write_bytes(labels[:-1] + bytes([(labels[-1] + 1) % 10]))
    message = r"run: the data set is not the one that the run began with, IDX files in .*old; .* --data-dir"
    with pytest.raises(UserError, match=message):
        read_run(folder, new)
