"""Lockstep training: the same data and seeds for both, what it tells, what TensorBoard gets, what it refuses."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from threadpoolctl import threadpool_info

from compare.machine import data
from compare.machine.conditions import direct_convolutions, equal_threads
from compare.machine.data import Dataset
from compare.machine.devices import open_device
from compare.machine.errors import UserError
from compare.pairs import weights
from compare.pairs.models import check_model
from compare.training.console import Display, summary
from compare.training.drift import Drift
from compare.training.lockstep import Epoch, Progress, Step, lockstep
from compare.training.run import new_folder, run_twins
from compare.training.settings import Settings
from compare.training.twins import PERTURBED, ScratchTwin, TorchTwin, Twins
from scratch import CNN


def events(dataset: Dataset, settings: Settings) -> tuple[list[Step], list[Epoch], Twins]:
    twins = Twins(settings)
    with equal_threads(1):
        told = list(lockstep(twins, dataset, Progress.fresh(settings.seed), Drift(twins)))
    steps = [event for event in told if isinstance(event, Step)]
    return steps, [event for event in told if isinstance(event, Epoch)], twins


def test_both_learn_the_same_from_the_same_batches(few: Dataset) -> None:
    steps, epochs, twins = events(few, Settings(epochs=3, dtype="float64"))

    assert [step.number for step in steps] == list(range(1, 13))
    assert [step.images for step in steps] == [64, 64, 64, 8] * 3
    for step in steps:
        assert step.loss["scratch"] == pytest.approx(step.loss["torch"], rel=1e-12)
        assert step.right["scratch"] == step.right["torch"]
        assert min(step.seconds.values()) > 0
    assert [(epoch.number, epoch.step) for epoch in epochs] == [(0, 0), (1, 4), (2, 8), (3, 12)]
    first, last = epochs[0], epochs[-1]
    assert not first.train_loss
    assert last.test_accuracy["scratch"] == last.test_accuracy["torch"] > first.test_accuracy["torch"] + 0.2
    for name in ("scratch", "torch"):
        assert last.train_loss[name] == pytest.approx(sum(s.loss[name] * s.images for s in steps[-4:]) / 200)
        assert last.train_accuracy[name] == sum(s.right[name] for s in steps[-4:]) / 200
        assert last.images_per_second[name] == pytest.approx(200 / sum(s.seconds[name] for s in steps[-4:]))
    own, twin = twins.states().values()
    for name, array in own.items():
        np.testing.assert_allclose(array, twin[name], rtol=0, atol=1e-13)


@pytest.mark.computes
def test_a_seed_gives_the_same_run_again_and_another_one_another(few: Dataset) -> None:
    losses = [[step.loss for step in events(few, Settings(epochs=1, seed=seed))[0]] for seed in (0, 0, 1)]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


@pytest.mark.computes
@pytest.mark.parametrize(
    "more",
    [{"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}, {"optimizer": "adam", "beta1": 0.8, "eps": 1e-3}],
    ids=["nesterov", "adam"],
)
def test_both_learn_the_same_with_every_optimizer(few: Dataset, more: dict[str, Any]) -> None:
    steps, _, twins = events(few, Settings(epochs=2, dtype="float64", **more))
    assert steps[-1].loss["torch"] < steps[0].loss["torch"]
    own, twin = twins.states().values()
    for name, array in own.items():
        np.testing.assert_allclose(array, twin[name], rtol=0, atol=1e-12)


@pytest.mark.computes
@pytest.mark.parametrize("name", ["scratch", "torch"])
def test_a_twin_alone_learns_what_it_learns_beside_the_other(few: Dataset, name: str) -> None:
    both = events(few, Settings(epochs=2))
    steps, epochs, twins = events(few, Settings(epochs=2, only=name))
    assert [step.loss for step in steps] == [{name: step.loss[name]} for step in both[0]]
    assert epochs[-1].test_accuracy == {name: both[1][-1].test_accuracy[name]}
    assert set(twins.members) == {name}
    for key, array in twins.states()[name].items():
        np.testing.assert_array_equal(array, both[2].states()[name][key])


@pytest.mark.computes
def test_the_yardstick_starts_one_ulp_away_and_changes_nothing(few: Dataset) -> None:
    twins, without = Twins(Settings()), Twins(Settings(yardstick=False))
    assert set(without.members) == {"scratch", "torch"}
    moved, leader = twins.members[PERTURBED].weights(), twins.members["torch"].weights()
    for name, array in leader.items():
        assert (np.abs(moved[name] - array) <= np.spacing(np.abs(array))).all()
        assert (moved[name] != array).all()
    losses = [[s.loss["scratch"] for s in events(few, Settings(epochs=1, yardstick=y))[0]] for y in (True, False)]
    assert losses[0] == losses[1]


@pytest.mark.computes
def test_an_evaluation_gives_the_logits_of_every_image_in_order(few: Dataset) -> None:
    _, epochs, twins = events(few, Settings(epochs=1))
    for name in ("scratch", "torch"):
        logits = epochs[-1].logits[name]
        assert logits.shape == (100, 10)
        assert np.mean(logits.argmax(axis=1) == few.test_labels) == epochs[-1].test_accuracy[name]
    images = few.test_images.astype(np.float32) / np.float32(255)
    np.testing.assert_allclose(twins.members["scratch"].model(images), epochs[-1].logits["scratch"], atol=1e-5)


def test_the_order_of_the_images_changes_from_epoch_to_epoch(few: Dataset) -> None:
    slow = Settings(epochs=2, lr=1e-12, schedule="constant", dtype="float64")
    steps, _, _ = events(few, slow)
    assert [round(s.loss["torch"], 6) for s in steps[:4]] != [round(s.loss["torch"], 6) for s in steps[4:]]


def test_the_cosine_falls_from_lr_to_nothing_as_torchs_does() -> None:
    settings = Settings(lr=0.3)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7)
    for step in range(1, 8):
        assert settings.lr_at(step, 7) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert Settings(lr=0.3, schedule="constant").lr_at(7, 7) == 0.3


def test_the_schedule_reaches_both_optimizers(few: Dataset) -> None:
    _, _, twins = events(few, Settings(epochs=1, lr=0.1))
    own, twin = twins.members["scratch"], twins.members["torch"]
    assert isinstance(own, ScratchTwin)
    assert isinstance(twin, TorchTwin)
    assert own.optimizer.lr == twin.optimizer.param_groups[0]["lr"] == Settings(lr=0.1).lr_at(4, 4) < 0.1


def test_threads_are_equal_during_a_run_and_as_before_after_it() -> None:
    torch.set_num_threads(2)
    with equal_threads(1):
        assert torch.get_num_threads() == 1
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {1}
    assert torch.get_num_threads() == 2


def test_torch_convolves_directly_while_it_is_the_reference() -> None:
    flags: Any = torch.backends.nnpack.set_flags
    (before,) = flags(True)
    with direct_convolutions():
        assert flags(False) == (False,)
    assert flags(before) == (True,)


@pytest.mark.computes
def test_trained_twins_are_proven_on_labels_that_leave_a_gradient(
    few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proofs: list[Any] = []

    def spy(pair: Any, state: Any, images: Any, labels: Any, seed: int) -> Any:
        proofs.append((str(images.dtype), labels))
        return check_model(pair, state, images, labels, seed)

    monkeypatch.setattr("compare.verify.trained.check_model", spy)
    run_twins(Twins(Settings(epochs=1)), few, tmp_path, lambda _: None, lambda _: None)
    assert [dtype for dtype, _ in proofs] == ["float64", "float32"] * 2
    for _, labels in proofs:
        np.testing.assert_array_equal(labels, (few.test_labels[:64] + 1) % 10)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "--epochs must be at least 1, got 0"),
        ({"batch_size": 0}, "--batch-size must be at least 1, got 0"),
        ({"batch_size": -5}, "--batch-size must be at least 1, got -5"),
        ({"threads": 10**6}, "--threads must be at most the [0-9]+ cores of this machine, got 1000000"),
        ({"threads": 0}, "--threads must be at least 1, got 0"),
        ({"lr": 0.0}, "--lr must be a number above 0, got 0.0"),
        ({"lr": -0.1}, "--lr must be a number above 0, got -0.1"),
        ({"lr": math.nan}, "--lr must be a number above 0, got nan"),
        ({"lr": math.inf}, "--lr must be a number above 0, got inf"),
        ({"lr": 1e300}, r"--lr gives a factor of 1e\+300, more than float32 holds; lower it"),
        (
            {"lr": 1e30, "optimizer": "adam", "beta1": 1 - 1e-16},
            r"--lr gives a factor of 9.0072e\+45, more than float32",
        ),
        ({"eps": 1e39}, r"--eps gives a factor of 1e\+39, more than float32 holds; lower it"),
        ({"epochs": 2**63}, "--epochs must be at most 9223372036854775807, got 9223372036854775808"),
        ({"momentum": 1.0}, "--momentum must be at least 0 and below 1, got 1.0"),
        ({"momentum": -0.1}, "--momentum must be at least 0 and below 1, got -0.1"),
        ({"weight_decay": -1.0}, "--weight-decay must be at least 0, got -1.0"),
        ({"seed": -1}, "--seed must be at least 0, got -1"),
        ({"dtype": "float16"}, "dtype 'float16' is unknown; choose one of float32, float64"),
        ({"device": "tpu"}, "device 'tpu' is unknown; choose one of cpu, cuda"),
        ({"schedule": "step"}, "schedule 'step' is unknown; choose one of cosine, constant"),
        ({"optimizer": "lion"}, "optimizer 'lion' is unknown; choose one of sgd, adam"),
        ({"beta1": 1.0}, "--beta1 must be at least 0 and below 1, got 1.0"),
        ({"beta2": -0.1}, "--beta2 must be at least 0 and below 1, got -0.1"),
        ({"eps": -1e-8}, "--eps must be at least 0, got -1e-08"),
        ({"log_every": 0}, "--log-every must be at least 1, got 0"),
        ({"checkpoint_every": 0}, "--checkpoint-every must be at least 1, got 0"),
        ({"only": "numpy"}, "--only 'numpy' is unknown; choose one of scratch, torch"),
        ({"only": "torch", "resync": True}, "--resync compares both twins step by step: leave out --only torch"),
        ({"tf32": True}, "--tf32 needs --device cuda"),
        ({"tf32": True, "device": "cuda", "resync": True}, "--resync holds each step .*: leave out --tf32"),
        ({"nesterov": True, "momentum": 0.0}, "--nesterov needs --optimizer sgd with --momentum above 0, got sgd"),
        ({"nesterov": True, "optimizer": "adam"}, "--nesterov needs --optimizer sgd with .*, got adam"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Settings(**values)


def test_whole_numbers_do_where_others_are_expected() -> None:
    for settings in (Settings(optimizer="adam", lr=1, beta1=0, eps=0), Settings(lr=1, momentum=0, weight_decay=0)):
        Twins(settings).set_lr(1)


def test_settings_survive_json() -> None:
    settings = Settings(lr=0.1, only="torch", epochs=2)
    assert Settings(**json.loads(json.dumps(dataclasses.asdict(settings)))) == settings


def test_what_is_shown_of_the_settings_is_what_counts() -> None:
    assert Settings(optimizer="adam").shown()["lr"] == 0.001
    assert "momentum" not in Settings(optimizer="adam").shown()
    assert Settings().shown()["lr"] == 0.05
    assert "beta1" not in Settings().shown()


def test_epochs_depend_on_the_data_set_unless_given() -> None:
    assert (Settings().epochs_on("mnist"), Settings().epochs_on("digits")) == (3, 20)
    assert Settings(epochs=5).epochs_on("mnist") == 5
    assert Settings(epochs=2, batch_size=64).total_steps("mnist", 130) == 6


def test_a_batch_larger_than_the_data_is_refused(few: Dataset) -> None:
    with pytest.raises(UserError, match="--batch-size must be at most the 200 training images, got 201"):
        events(few, Settings(batch_size=201))


BROKEN = (
    r"training diverged: the loss of scratch is \w+ at step {step}: "
    r"the output of fc1 was the first that is not finite; lower --lr \(now 1e\+30\)"
)


def test_a_run_that_blows_up_says_which_twin_and_when(few: Dataset) -> None:
    with pytest.raises(UserError, match=BROKEN.format(step=r"\d+")):
        events(few, Settings(lr=1e30, epochs=20, schedule="constant"))


def test_a_run_that_blows_up_in_its_last_step_is_found_out_too(few: Dataset) -> None:
    with pytest.raises(UserError, match=BROKEN.format(step="1")):
        events(few, Settings(lr=1e30, epochs=1, batch_size=200, schedule="constant"))


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(UserError, match="model 'vgg' is unknown"):
        Twins(Settings(model="vgg"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_is_refused_where_there_is_none() -> None:
    with pytest.raises(UserError, match="device cuda: torch sees no CUDA device on this machine; take --device cpu"):
        open_device("cuda")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_both_learn_the_same_on_cuda(few: Dataset) -> None:
    _, epochs, twins = events(few, Settings(epochs=2, dtype="float64", device="cuda"))
    assert epochs[-1].test_accuracy["scratch"] == epochs[-1].test_accuracy["torch"]
    own, twin = twins.states().values()
    for name, array in own.items():
        np.testing.assert_allclose(array, twin[name], rtol=0, atol=1e-12)


def test_the_cpu_hands_arrays_on_without_a_copy() -> None:
    array, device = np.zeros(3), open_device("cpu")
    assert device.to_scratch(array) is array
    device.to_torch(array)[0] = 1
    assert array[0] == 1


# A whole run.


def test_weights_of_a_run_start_the_next_one(few: Dataset, tmp_path: Path) -> None:
    settings = Settings(epochs=1)
    result = run_twins(Twins(settings), few, tmp_path / "run", lambda _: None, lambda _: None)
    assert result.ok
    saved = weights.load_weights(tmp_path / "run" / "torch.safetensors")
    twins = Twins(settings, tmp_path / "run" / "torch.safetensors")
    for name, array in twins.states()["scratch"].items():
        np.testing.assert_array_equal(array, saved[name])


def test_weights_of_another_model_or_dtype_are_refused_by_file_and_name(tmp_path: Path) -> None:
    weights.save_weights(tmp_path / "w", CNN().state_dict())
    with pytest.raises(UserError, match=f"{tmp_path / 'w'}: not the weights of LeNet5: missing .*conv2"):
        Twins(Settings(model="lenet5"), tmp_path / "w")
    with pytest.raises(UserError, match=r"w: conv1.weight is float32\[8, 1, 3, 3\], CNN needs float64"):
        Twins(Settings(dtype="float64"), tmp_path / "w")


def test_twins_that_disagree_are_not_trained(few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scratch.activation.ReLU.backward", lambda _, g: g)
    result = run_twins(Twins(Settings(epochs=1)), few, tmp_path, lambda _: None, lambda _: None)
    assert not result.ok
    assert result.last is None
    described = json.loads(json.dumps(result.as_json(), allow_nan=False))
    assert described["test_accuracy"] == {"scratch": None, "torch": None}
    assert described["agreement"]["ok"] is False


def test_a_run_goes_into_a_folder_of_its_own(few: Dataset, tmp_path: Path) -> None:
    one, two = (new_folder(None, Settings(), few) for _ in range(2))
    assert one != two
    assert one.parts[0] == "runs"
    assert one.name.startswith("cnn-digits-")
    assert new_folder(tmp_path / "new", Settings(), few) == tmp_path / "new"
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="holds something already; choose a new folder for the run"):
        new_folder(tmp_path, Settings(), few)
    with pytest.raises(UserError, match="cannot be written"):
        run_twins(Twins(Settings()), few, tmp_path / "file", lambda _: None, lambda _: None)


@pytest.mark.parametrize(
    ("images", "high"), [(6_400, 0.9), pytest.param(60_000, 0.975, marks=pytest.mark.long)], ids=["a tenth", "all"]
)
def test_three_epochs_of_mnist_reach_the_same_high_accuracy(
    images: int, high: float, mnist_folder: Path, tmp_path: Path
) -> None:
    """The default run, on the real 60,000 and 10,000 images, or fewer of them."""
    loaded = data.load("mnist", mnist_folder).limited(images, images // 6)
    result = run_twins(Twins(Settings()), loaded, tmp_path, print, lambda _: None)
    assert result.ok
    assert result.last is not None
    reached = result.last.test_accuracy
    assert min(reached.values()) >= high
    assert abs(reached["scratch"] - reached["torch"]) <= 0.003


# What is shown.

STEP = Step(10, 64, 0.05, {"scratch": 0.5, "torch": 0.25}, {"scratch": 60, "torch": 61}, {"scratch": 0.1, "torch": 0.2})
EPOCH = Epoch(
    1,
    20,
    {"scratch": 0.4, "torch": 0.3},
    {"scratch": 0.91, "torch": 0.9},
    {"scratch": 0.4, "torch": 0.3},
    {"scratch": 0.95, "torch": 0.94},
    {"scratch": 3000.0, "torch": 1500.0},
)


def shown(terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, color_system=None, _environ={})
    with Display(console, steps=20) as display:
        display.show(STEP)
        display.show(EPOCH)
    console.print(summary(EPOCH))
    return out.getvalue()


def test_a_terminal_shows_one_bar_for_each_twin() -> None:
    text = shown(terminal=True)
    assert "scratch ━" in text
    assert "torch ━" in text
    assert "20/20" in text


def test_elsewhere_there_is_one_plain_line_per_epoch() -> None:
    lines = shown(terminal=False).splitlines()
    assert lines[0] == (
        "epoch 1: test accuracy 91.00% (scratch), 90.00% (torch); training loss 0.40000, 0.30000; images/s 3,000, 1,500"
    )
    assert "━ " not in lines[0]


def test_the_table_shows_both_and_their_difference() -> None:
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown(False).splitlines() if "│" in line]
    assert lines == [
        ["scratch", "0.40000", "95.00%", "91.00%", "3,000"],
        ["torch", "0.30000", "94.00%", "90.00%", "1,500"],
        ["difference", "+1.0e-01", "+1.00 points", "+1.00 points", "x 2.00"],
    ]
