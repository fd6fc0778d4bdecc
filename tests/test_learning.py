"""What a training has learned, whether it blew up, the likely cause, and what a run says of it."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import scratch
from compare.machine.data import Dataset
from compare.pairs import weights
from compare.pairs.observe import watch_scratch
from compare.pairs.registry import model_pair
from compare.pairs.report import Report, Row
from compare.training.checkpoint import LAST, load_checkpoint
from compare.training.findings import Findings, Parting
from compare.training.learning import Learning, Units, dead_units, learning_of
from compare.training.lockstep import Epoch, Step
from compare.training.result import RunResult, verdict_on
from compare.training.run import run_twins
from compare.training.settings import Settings
from compare.training.twins import Twins
from compare.verify import trained
from compare.verify.one_step import Start, blown, check_step, guessing, run_step, updated_name
from scratch import Array
from tests.conftest import Run
from tests.test_board import text

FEW = ("--dataset", "digits", "--train-images", 200, "--test-images", 100)


def both(value: float) -> dict[str, float]:
    return {"scratch": value, "torch": value}


def learning(accuracy: float | dict[str, float] = 0.1, loss: float | dict[str, float] = 2.3, **more: Any) -> Learning:
    """A long training with usual settings on ten classes that are equally frequent, unless `more` says otherwise."""
    known: dict[str, Any] = {"steps": 10_000, "steps_per_epoch": 23, "usual_epochs": 20, "frequent": 0.1, "classes": 10}
    settings = more.pop("settings", {})
    known["accuracy"], known["loss"] = (each if isinstance(each, dict) else both(each) for each in (accuracy, loss))
    return Learning(Settings(**settings), **(known | {"images": 100} | more))


# Better than guessing


def test_more_than_three_standard_errors_above_the_most_frequent_class_is_learned() -> None:
    assert learning().threshold == pytest.approx(0.1 + 3 * math.sqrt(0.1 * 0.9 / 100))  # 0.19
    assert [learning(a).learned for a in (0.0, 0.1, 0.18, 0.19, 0.2, 1.0)] == [False] * 4 + [True] * 2
    assert learning(0.2, images=10).learned is False
    assert learning(0.2, images=1000).learned is True
    assert learning(0.2, frequent=0.5).learned is False


def test_every_twin_must_have_learned() -> None:
    for accuracy in ({"scratch": 0.9, "torch": 0.1}, {"scratch": 0.1, "torch": 0.9}):
        assert learning(accuracy).learned is False


def test_too_few_test_images_tell_nothing() -> None:
    found = learning(1.0, images=4, frequent=0.5)
    assert found.threshold > 1
    assert found.learned is None
    assert found.verdict == ""
    assert found.lines() == ["learned:         the 4 test images are too few to tell answers from guesses"]
    assert learning(1.0, images=1, frequent=1.0).learned is None


def test_the_numbers_are_those_of_the_test_images(few: Dataset) -> None:
    pair, settings = model_pair("cnn"), Settings()
    labels = np.array([3] * 40 + [1] * 60)
    data = dataclasses.replace(few, test_labels=labels)
    last = Epoch(2, 8, both(2.0), both(0.5), both(1.5), both(0.25), both(1.0))
    found = learning_of(pair, settings, data, Twins(settings).states()["torch"], last)
    assert (found.images, found.frequent, found.steps, found.steps_per_epoch) == (100, 0.6, 8, 4)
    assert (found.loss, found.accuracy) == (both(2.0), both(0.5))
    assert (found.train_loss, found.train_accuracy) == (both(1.5), both(0.25))
    assert (found.classes, found.usual_epochs, found.watched) == (10, 20, 100)
    assert found.learned is False
    assert learning_of(pair, settings, few, Twins(settings).states()["torch"], last).learned is True


# Dead units


@pytest.mark.computes
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_unit_that_gives_0_for_every_image_is_dead(dtype: str) -> None:
    pair = model_pair("lenet5")
    state = weights.torch_state(pair.torch(dtype=getattr(torch, dtype)))
    state["conv1.bias"][[1, 4]] = -100
    state["fc1.bias"][:] = -1000
    state["fc2.weight"][7] = 0  # alive: its bias alone
    state["fc2.bias"][:] = 1
    images = np.random.default_rng(0).random((20, 1, 28, 28)).astype(dtype)
    found = dead_units(pair, state, images)
    assert list(found) == ["relu1", "relu2", "relu3", "relu4"]
    assert (found["relu1"], found["relu3"], found["relu4"]) == (Units(2, 6), Units(120, 120), Units(0, 84))
    assert (found["relu2"].units, str(found["relu1"]), str(found["relu3"])) == (16, "2 of 6", "all 120")


@pytest.mark.computes
def test_a_unit_that_answers_to_one_image_is_alive() -> None:
    pair = model_pair("cnn")
    state = {name: np.zeros_like(array) for name, array in weights.torch_state(pair.torch()).items()}
    state["conv1.weight"][3, 0, 1, 1] = 1.0
    images = np.zeros((5, 1, 28, 28), np.float32)
    assert dead_units(pair, state, images)["relu1"] == Units(8, 8)
    images[4, 0, 20, 20] = 0.5
    assert dead_units(pair, state, images)["relu1"] == Units(7, 8)


# Blown up


def test_a_loss_ten_times_that_of_guessing_has_blown_up() -> None:
    assert guessing(10) == pytest.approx(2.302585)
    assert [blown(loss, 10) for loss in (0.0, 23.0, 23.1, 1e30, math.inf, math.nan)] == [False] * 2 + [True] * 4
    assert blown(23.1, 100) is False
    assert learning(loss=23.0).blew_up is False
    for found in (learning(loss=23.1), learning(train_loss=both(23.1)), learning(0.3, loss=23.1)):
        assert found.blew_up
        assert found.learned is False
        assert found.verdict == "blew up"
    assert learning(0.5, loss=23.1).blew_up is False, "who is right on half of the images knows something"
    assert learning(loss={"scratch": 2.3, "torch": 1e9}).blew_up is True


def test_what_is_said_has_the_numbers() -> None:
    found = learning(
        0.1, loss=1e9, settings={"lr": 50.0}, train_loss=both(5.0), dead={"relu1": Units(8, 8)}, watched=99
    )
    assert found.lines() == [
        "blew up: training loss 5 (scratch), 5 (torch), test loss 1e+09 (scratch), 1e+09 (torch), where guessing has "
        "2.3; test accuracy 10.00% (scratch), 10.00% (torch)",
        "likely cause: the learning rate 50 is too large; dead units, which give 0 for each of 99 test images: "
        "all 8 units of relu1; try --lr 0.05",
    ]
    headline = (
        "learned nothing: test accuracy {0} (scratch), {0} (torch); always naming the most frequent class gives 10.00%"
    )
    assert learning(0.09).headline == headline.format("9.00%")
    more = "; it takes more than 19.00% to tell 100 answers from guesses"
    assert learning(0.15).headline == headline.format("15.00%") + more
    assert learning(0.9).headline == ""
    assert learning(0.9).lines() == []


DEAD = {"relu1": Units(8, 8)}


@pytest.mark.parametrize(
    ("found", "words", "option"),
    [
        (learning(settings={"lr": 5.0}, dead=DEAD), "the learning rate 5 is too large; dead", "--lr 0.05"),
        (learning(settings={"lr": 0.3}, loss=2.5), "the learning rate 0.3 is too large, the test loss", "--lr 0.03"),
        (learning(loss=2.5), "the learning rate 0.05 is too large, the test loss", "--lr 0.005"),
        (
            learning(loss=1e9, steps=3, settings={"optimizer": "adam", "lr": 1.0}),
            "the learning rate 1 is too large",
            "--lr 0.001",
        ),
        (learning(settings={"lr": 1e-6}), "the learning rate 1e-06 is too small", "--lr 0.05"),
        (learning(settings={"lr": 1e-6}, loss=2.5), "the learning rate 1e-06 is too small", "--lr 0.05"),
        (
            learning(settings={"lr": 1e-5, "optimizer": "adam"}, steps=3),
            "the learning rate 1e-05 is too small",
            "--lr 0.001",
        ),
        (learning(settings={"lr": 1e-6}, dead=DEAD), "the weights that it began with are dead", "another --seed"),
        (learning(settings={"weight_decay": 0.5}), "the weight decay 0.5 draws all", "--weight-decay 0"),
        (learning(settings={"weight_decay": 0.5}, dead=DEAD), "the weight decay 0.5 draws all", "--weight-decay 0"),
        (learning(train_accuracy=both(0.9)), "the training images were learned, 90.00%", "more training images"),
        (learning(train_accuracy=both(0.9), dead=DEAD), "the learning rate 0.05 is too large", "--lr 0.005"),
        (learning(dead={"relu1": Units(3, 8)}), "unknown, as neither the loss", "--lr 0.005 or --lr 0.5"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_likely_cause_and_the_option_to_try(found: Learning, words: str, option: str) -> None:
    assert found.learned is False
    assert found.cause.words.startswith(words)
    assert found.cause.option.endswith(option)
    assert not found.cause.yet
    assert "yet" not in found.headline
    told = found.as_json()
    assert (told["likely_cause"], told["try"]) == (found.cause.words, found.cause.option)


@pytest.mark.parametrize(
    ("steps", "per_epoch", "words", "option"),
    [
        (1, 1, "1 step is few", "--epochs 500"),
        (46, 23, "46 steps are few", "--epochs 22"),
        (4, 900, "4 steps are few", "--epochs 20"),
    ],
)
def test_few_steps_have_learned_nothing_yet(steps: int, per_epoch: int, words: str, option: str) -> None:
    found = learning(steps=steps, steps_per_epoch=per_epoch)
    assert found.headline.startswith("learned nothing yet: test accuracy 10.00%")
    assert (found.cause.words, found.cause.option) == (words, option)
    fast = learning(steps=steps, steps_per_epoch=per_epoch, settings={"lr": 1.0})
    assert fast.headline == found.headline
    assert fast.cause.words == f"{words}, and the learning rate 1 is 20 times the default"
    assert fast.cause.option == f"--lr 0.05 {option}"


# Whole runs


@pytest.fixture
def _short_proofs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained, "IMAGES", 8)


def train(dataset: Dataset, folder: Path, given: Path | None = None, **settings: Any) -> RunResult:
    return run_twins(Twins(Settings(**settings), given), dataset, folder, lambda _: None, lambda _: None)


SILENT: dict[str, Any] = {"lr": 1.0, "epochs": 2}
SLOW: dict[str, Any] = {"lr": 1e-6, "epochs": 8}


@pytest.mark.usefixtures("_short_proofs")
@pytest.mark.parametrize(
    ("settings", "cause", "option"),
    [
        pytest.param(
            SILENT,
            "the learning rate 1 is too large; dead units, which give 0 for each of 100 test images: all 8",
            "--lr 0.05",
            id="too large",
            marks=pytest.mark.computes,
        ),
        pytest.param(SLOW, "the learning rate 1e-06 is too small", "--lr 0.05", id="too small"),
        pytest.param(
            {"optimizer": "adam", "lr": 1e-6, "epochs": 8},
            "the learning rate 1e-06 is too small",
            "--lr 0.001",
            id="adam",
        ),
    ],
)
def test_a_run_that_learned_nothing_is_right_and_its_option_helps(
    few: Dataset, tmp_path: Path, settings: dict[str, Any], cause: str, option: str
) -> None:
    result = train(few, tmp_path / "run", **settings)
    assert (result.outcome, result.ok, result.learned) == ("right", True, False)
    assert result.headline().startswith("equal, but learned nothing: 90 tensors compared, none outside its bound")
    first, second, third, *_ = result.lines()
    assert first == f"trained twins:   {result.headline()}"
    assert second.startswith("learned nothing: test accuracy ")
    assert third.startswith(f"likely cause: {cause}")
    assert third.endswith(f"; try {option}")
    told = json.loads(json.dumps(result.as_json(), allow_nan=False))
    assert (told["ok"], told["outcome"], told["learned"], told["reason"]) == (True, "right", False, second)
    assert told["learning"]["try"] == option
    assert text(tmp_path / "run" / "compare", "agreement/trained").startswith("equal, but learned nothing: ")
    page = text(tmp_path / "run" / "compare", "result")
    for line in (first, second, third):
        assert line in page
    again = train(few, tmp_path / "again", **(settings | {"epochs": 8, "lr": float(option.removeprefix("--lr "))}))
    assert (again.outcome, again.learned) == ("right", True)
    assert again.headline().startswith("equal: ")
    assert again.as_json()["reason"] == ""


@pytest.mark.usefixtures("_short_proofs")
def test_a_twin_alone_that_learned_nothing_is_told_of_too(few: Dataset, tmp_path: Path) -> None:
    result = train(few, tmp_path, only="scratch", **SILENT)
    assert (result.outcome, result.learned) == ("right", False)
    assert [line.split(":")[0] for line in result.lines()] == ["learned nothing", "likely cause"]
    assert "equal" not in "".join(result.lines())


def planted(monkeypatch: pytest.MonkeyPatch, after: int, spoil: Any) -> None:
    """Let the optimizer of scratch spoil the weights in one step of the training."""
    right, count = scratch.SGD.step, [0]

    def step(self: scratch.SGD) -> None:
        right(self)
        count[0] += 1
        if count[0] == after:
            spoil(self)

    monkeypatch.setattr(scratch.SGD, "step", step)


PROOF_STEPS = 4  # The proof of the untrained twins takes three steps in float64 and one in float32.


@pytest.mark.usefixtures("_short_proofs")
@pytest.mark.parametrize("resync", [False, True], ids=["yardstick", "resync"])
def test_a_mistake_is_wrong_whatever_was_learned(
    few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resync: bool
) -> None:
    def spoil(optimizer: scratch.SGD) -> None:
        optimizer.parameters[0].data += 0.1

    planted(monkeypatch, PROOF_STEPS + 3, spoil)
    result = train(few, tmp_path, lr=1e-6, epochs=2, resync=resync)
    assert (result.outcome, result.ok, result.learned) == ("wrong", False, False)
    assert not any(line.startswith("likely cause") for line in result.lines())


# Runs that blow up


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, marks=pytest.mark.computes),
        {"optimizer": "adam"},
        pytest.param({"model": "lenet5", "optimizer": "adam", "dtype": "float64"}, marks=pytest.mark.computes),
        {"resync": True},
        {"only": "torch"},
        {"dtype": "float64", "lr": 1e60},  # more than float32 can hold
    ],
    ids=str,
)
@pytest.mark.usefixtures("_short_proofs")
def test_a_run_that_blew_up_is_not_judged(few: Dataset, tmp_path: Path, settings: dict[str, Any]) -> None:
    result = train(few, tmp_path, **({"lr": 1e4, "epochs": 2} | settings))
    assert result.last is not None
    assert all(map(math.isfinite, result.last.test_loss.values()))
    assert (result.outcome, result.ok, result.learned) == ("not_judged", False, False)
    assert result.headline().startswith("not judged: blew up: training loss ")
    assert result.lines()[0].endswith(result.headline())
    assert result.lines()[1].startswith("likely cause: the learning rate 1")
    told = json.loads(json.dumps(result.as_json(), allow_nan=False))
    assert (told["ok"], told["outcome"], told["learned"]) == (False, "not_judged", False)
    assert told["reason"].startswith("blew up: ")
    folder = tmp_path / ("torch" if settings.get("only") else "compare")
    said = [text(folder, "result"), *result.lines()]
    assert not any("equal" in line or "rong" in line for line in said)


def test_the_command_says_so_and_ends_with_status_2(gradtwin: Run, tmp_path: Path) -> None:
    outcome = gradtwin("train", *FEW, "--lr", 1e4, "--epochs", 2, "--run-dir", "run", "--json", "result.json")
    assert (outcome.status, outcome.err) == (2, "")
    ending = outcome.out.partition("trained twins:   ")[2]
    assert ending.startswith("not judged: blew up: training loss ")
    assert "; try --lr 0.05\n" in ending
    assert "equal" not in ending
    assert "wrong" not in ending.lower()
    assert "\nlogs:            run\n" in ending
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["outcome"], result["ok"], result["learned"]) == ("not_judged", False, False)
    resumed = gradtwin("train", "--resume", "run", "--json", "again.json")
    assert resumed.status == 2
    assert "resumed twins: not judged: " in resumed.out
    assert "nothing was trained" not in resumed.out
    again = json.loads((tmp_path / "again.json").read_text())
    assert {k: v for k, v in again.items() if k != "agreement"} == {k: v for k, v in result.items() if k != "agreement"}


def test_the_command_of_a_run_that_learned_nothing_ends_with_status_0(gradtwin: Run, tmp_path: Path) -> None:
    outcome = gradtwin("train", *FEW, "--lr", 1, "--epochs", 2, "--json", "result.json")
    assert outcome.status == 0
    assert "\ntrained twins:   equal, but learned nothing: 90 tensors compared" in outcome.out
    assert "\nlikely cause: the learning rate 1 is too large; dead units" in outcome.out
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["outcome"], result["learned"]) == ("right", False)
    assert result["learning"]["dead_units"] == {"relu1": {"dead": 8, "units": 8}}


@pytest.mark.parametrize("only", [(), ("--only", "torch")], ids=["both", "alone"])
def test_a_run_whose_loss_is_no_number_is_not_judged(gradtwin: Run, tmp_path: Path, only: tuple[str, ...]) -> None:
    outcome = gradtwin("train", *FEW, "--lr", 1e30, *only, "--json", "result.json", "--run-dir", "run")
    assert outcome.status == 2
    name = only[-1] if only else "scratch"
    assert outcome.err.startswith(f"gradtwin: not judged: training diverged: the loss of {name} is ")
    assert outcome.err.count("\n") == 1
    assert "\ntrained twins:" not in outcome.out
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["outcome"], result["ok"], result["learned"]) == ("not_judged", False, False)
    assert result["reason"].startswith("training diverged: ")
    assert result["test_accuracy"] == {"scratch": None, "torch": None}
    folder = tmp_path / "run" / (only[-1] if only else "compare")
    assert "training diverged: the loss of" in text(folder, "result")


@pytest.mark.usefixtures("_short_proofs")
@pytest.mark.parametrize("resync", [False, True], ids=["yardstick", "resync"])
def test_a_loss_that_is_no_number_in_scratch_alone_is_a_mistake(
    few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resync: bool
) -> None:
    right, count = scratch.CrossEntropyLoss.forward, [0]

    def forward(self: scratch.CrossEntropyLoss, logits: Array, targets: Array) -> Array:
        count[0] += len(logits) == 64
        return right(self, logits, targets) * (np.nan if count[0] == 3 else 1)

    monkeypatch.setattr(scratch.CrossEntropyLoss, "forward", forward)
    result = train(few, tmp_path, epochs=1, batch_size=64, resync=resync)
    assert "training diverged: the loss of scratch is nan at step 3" in result.stopped
    assert result.outcome == "wrong"
    assert result.headline().startswith("wrong, see below; training diverged")
    assert "loss" in "".join(result.lines()[1:])
    json.dumps(result.as_json(), allow_nan=False)


def test_weights_that_nobody_can_judge_are_not_trained(gradtwin: Run, tmp_path: Path) -> None:
    state = {name: array * np.float32(1e30) for name, array in Twins(Settings()).states()["torch"].items()}
    weights.save_weights(tmp_path / "huge", state)
    outcome = gradtwin("train", *FEW, "--weights", "huge", "--json", "result.json")
    assert outcome.status == 2
    assert "untrained twins: not judged: " in outcome.out
    assert "WRONG" not in outcome.out
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["outcome"], result["learned"]) == ("not_judged", None)


@pytest.mark.usefixtures("_short_proofs")
def test_a_run_that_blew_up_goes_on_as_if_it_had_never_stopped(few: Dataset, tmp_path: Path) -> None:
    settings = Settings(lr=1e4, epochs=2, checkpoint_every=3)
    unbroken = run_twins(Twins(settings), few, tmp_path / "whole", lambda _: None, lambda _: None)

    class Stopped(Exception):  # noqa: N818 - not an error
        pass

    def stop(event: Step | Epoch) -> None:
        if isinstance(event, Step) and event.number == 7:
            raise Stopped

    with pytest.raises(Stopped):
        run_twins(Twins(settings), few, tmp_path / "run", lambda _: None, stop)
    saved, told = load_checkpoint(tmp_path / "run" / LAST), list[str]()
    result = run_twins(Twins(settings), few, tmp_path / "run", told.append, lambda _: None, resumed=saved)
    assert told == [f"resumed twins: {verdict_on(result.before)}"]
    assert told[0].startswith("resumed twins: not judged: ")
    assert (result.outcome, result.headline()) == ("not_judged", unbroken.headline())


# What counts as wrong


ROW = Row("cnn", "end to end", "loss", "float32", (), 1.0, 1.0, 0.5, 2.0, (), "1 instead of 2")
OPEN = dataclasses.replace(ROW, problem="its bound is not a number that allows a verdict", unjudged=True)
FINE = dataclasses.replace(ROW, budget=0.5, problem="")


def result_of(after: list[Row], found: Findings | None = None, reached: Learning | None = None) -> RunResult:
    nothing: Any = None
    return RunResult(
        Settings(),
        nothing,
        Path(),
        Report([FINE]),
        Report(after),
        found or Findings(),
        nothing,
        reached or learning(0.9),
    )


def test_a_row_that_could_not_be_judged_is_not_wrong() -> None:
    result = result_of([FINE, OPEN, OPEN])
    assert result.outcome == "not_judged"
    assert result.headline() == (
        "not judged: loss of cnn [end to end, float32]: its bound is not a number that allows a verdict; "
        "2 of 3 tensors could not be judged"
    )
    assert verdict_on(result.after) == result.headline()
    assert result_of([FINE]).outcome == "right"
    mixed = result_of([OPEN, ROW, FINE])
    assert mixed.outcome == "wrong"
    assert mixed.headline() == "wrong: loss of cnn [end to end, float32]: 1 instead of 2"
    assert verdict_on(mixed.after) == mixed.headline()
    assert verdict_on(Report([FINE])).startswith("equal: 1 tensors")


def test_what_is_wrong_before_a_training_blew_up_is_wrong() -> None:
    assert result_of([FINE], Findings(wrong=["a step"]), learning(loss=1e9)).outcome == "wrong"


def test_all_that_is_wrong_is_told_of_and_some_that_was_not_judged() -> None:
    assert result_of([OPEN, ROW, FINE, *[OPEN] * 9, ROW]).rows() == [ROW] * 2 + [OPEN] * 5
    assert result_of([FINE]).rows() == []


@pytest.mark.parametrize(("lr", "outcome"), [(1e4, "not_judged"), (0.05, "wrong")])
def test_a_difference_with_weights_that_blew_up_is_no_mistake(
    few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lr: float, outcome: str
) -> None:
    proofs = iter([[FINE], [ROW], [ROW], [ROW]])
    monkeypatch.setattr("compare.training.run.check_trained", lambda *_: next(proofs))
    result = train(few, tmp_path, lr=lr, epochs=2)
    assert result.outcome == outcome
    assert result.rows() == [dataclasses.replace(ROW, unjudged=lr > 1)]
    told = list[str]()
    saved = load_checkpoint(tmp_path / LAST)
    again = run_twins(Twins(Settings(lr=lr, epochs=2)), few, tmp_path, told.append, lambda _: None, resumed=saved)
    assert told[0].startswith(f"resumed twins: {outcome.replace('_', ' ')}: ")
    assert again.outcome == outcome


def parting(**more: bool) -> Parting:
    return Parting(3, "fc1.bias", [0], 1.0, 0.1, "why", **more)


def test_findings_that_could_not_be_judged_are_no_mistakes() -> None:
    found = Findings()
    found.add(Report([FINE, OPEN, ROW]), [])
    assert (found.wrong, found.unjudged) == ([str(ROW)], [str(OPEN)])
    assert found.mistaken
    found = Findings()
    for _ in range(9):
        found.add(Report([FINE, dataclasses.replace(OPEN, budget=math.inf)]), [])
    assert not found.ok
    assert not found.mistaken
    assert len(found.unjudged) == 5
    assert (found.share, found.closest) == (0.5, "loss [end to end]"), "not that of a bound that says nothing"
    assert found.open_question == found.unjudged[0].removeprefix("not judged ")
    assert found.open_question.startswith("cnn [end to end] float32 loss")
    assert "none outside its bound, 5 or more not judged; " in found.lines(Settings(resync=True))[0]
    assert result_of([FINE], found).outcome == "not_judged"
    for doubt, outcome in ((parting(ok=False, unjudged=True), "not_judged"), (parting(ok=False), "wrong")):
        found = Findings(partings=[doubt])
        assert result_of([FINE], found).outcome == outcome
        assert found.open_question == (str(doubt) if outcome == "not_judged" else "")
    assert result_of([FINE], Findings(partings=[parting(ok=True)])).outcome == "right"


def test_findings_of_an_older_checkpoint_are_read() -> None:
    found = Findings(partings=[parting(ok=True)], apart=2.0)
    values = json.loads(json.dumps(dataclasses.asdict(found)))
    del values["unjudged"], values["partings"][0]["unjudged"]
    assert Findings.from_json(values) == found


# A step with blown-up weights


@pytest.fixture
def step() -> tuple[Start, Array, Array]:
    torch.manual_seed(0)
    model = model_pair("cnn").torch(dtype=torch.float64)
    rng = np.random.default_rng(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Start.of(model, optimizer), rng.random((4, 1, 28, 28)), rng.integers(0, 10, 4)


def checked(start: Start, images: Array, labels: Array, change: float) -> list[Row]:
    """The rows of a step of scratch that differs in one weight by `change`."""
    own = scratch.CNN(dtype="float64")
    weights.load_scratch_state(own, weights.torch_state(start.model))
    decided_on, _ = watch_scratch(own, images)
    got = {name: array.copy() for name, array in run_step(start, images, labels, decided_on).items()}
    got[updated_name("fc1.bias")][0] += change
    rows, _ = check_step("cnn", "step 1", start, images, labels, got, decided_on, 0)
    return [row for row in rows if not row.ok]


def test_a_wrong_step_is_wrong_unless_the_weights_had_blown_up(step: tuple[Start, Array, Array]) -> None:
    start, *_ = step
    assert checked(*step, change=0.0) == []
    (row,) = checked(*step, change=1e-3)
    assert not row.unjudged
    with torch.no_grad():
        start.model.get_parameter("fc1.weight").mul_(1e4)
    assert checked(*step, change=0.0) == []
    (row,) = checked(*step, change=1e-3)
    assert row.unjudged
    assert "; the weights had blown up, torch's loss was " in row.problem
    assert str(row).startswith("not judged cnn [step 1] float64 fc1.bias after the step")


def test_a_decision_on_what_is_no_number_in_torch_is_not_judged(step: tuple[Start, Array, Array]) -> None:
    start, images, labels = step
    own = scratch.CNN(dtype="float64")
    weights.load_scratch_state(own, weights.torch_state(start.model))
    decided_on, _ = watch_scratch(own, images)
    got = run_step(start, images, labels, decided_on)
    with torch.no_grad():
        start.model.get_parameter("conv1.bias").fill_(math.nan)
    with np.errstate(invalid="ignore"):
        rows, _ = check_step("cnn", "step 1", start, images, labels, got, decided_on, 0)
    wrong = [row for row in rows if not row.ok]
    assert wrong
    assert all(row.unjudged for row in wrong)
