"""How far the twins come apart: the yardstick, the step that is to blame, and whether it was rounding or a mistake."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import scratch
import torch_ref
from compare.driving.tensors import Tensors
from compare.machine import data
from compare.machine.conditions import equal_threads
from compare.machine.data import Dataset
from compare.pairs import weights
from compare.pairs.decisions import Flip, flips, impose
from compare.pairs.observe import watch_scratch, watch_torch
from compare.pairs.report import nothing_compared
from compare.training.drift import Drift, _Moment
from compare.training.findings import Distance, Findings, Parting, distance
from compare.training.lockstep import Epoch, Progress, Step, lockstep
from compare.training.settings import Settings
from compare.training.twins import PERTURBED, Twins
from compare.verify.one_step import Start, run_step
from scratch import Array


def test_the_suspect_is_the_step_in_which_the_distance_grew_most_times_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compare.training.drift._seen", lambda *_: {})
    drift = Drift(Twins(Settings(model="cnn")))
    name, one = next(iter(drift.now["torch"].items()))
    drift.now[PERTURBED] = drift.now["torch"] | {name: 2 * one}  # far enough to explain everything
    loss, both = {"scratch": 0.0, "torch": 0.0}, (one, torch.from_numpy(one))
    batch = (both, both)
    for number, apart in enumerate([0.00001, 0.002, 0.1, 0.3], 1):
        drift.moment = _Moment(number, {}, {}, 0.1, batch)
        drift.own = Distance({name: apart})
        drift._hold_to_yardstick(loss)
    assert drift.suspect is not None
    assert drift.suspect.number == 2  # 200 times as far; the others at most 50 times
    assert drift.suspect.growth == pytest.approx(200)


def train(dataset: Dataset, stop: int | None = None, **settings: Any) -> tuple[Drift, list[Step | Epoch], Twins]:
    """Train for `stop` steps, or to the end."""
    chosen = Settings(**settings)
    twins = Twins(chosen)
    drift, told = Drift(twins), list[Step | Epoch]()
    with equal_threads(1):
        for event in lockstep(twins, dataset, Progress.fresh(chosen.seed), drift):
            told.append(event)
            if stop is not None and isinstance(event, Step) and event.number == stop:
                break
    return drift, told, twins


def test_a_distance_is_relative_to_the_greatest_weight() -> None:
    twin = {"a": np.array([1.0, -4.0]), "b": np.zeros(2), "c": np.ones(1)}
    own = {"a": np.array([1.5, -4.0]), "b": np.zeros(2), "c": np.ones(1)}
    apart = distance(own, twin)
    assert apart.by_parameter == {"a": 0.125, "b": 0.0, "c": 0.0}
    assert (apart.largest, apart.parameter) == (0.125, "a")
    assert distance(own | {"b": np.ones(2)}, twin).by_parameter["b"] == math.inf
    assert distance(own | {"c": np.array([math.nan])}, twin).by_parameter["c"] == math.inf


@pytest.mark.computes
def test_right_twins_stay_as_near_as_torch_to_itself(few: Dataset) -> None:
    drift, _, twins = train(few, epochs=3, dtype="float64")
    found = drift.findings
    assert found.ok
    assert found.partings == []
    assert 0 < found.apart < 1e-14
    assert 0 < found.yardstick < 1e-14
    own, twin = twins.states().values()
    assert found.apart == distance(own, twin).largest
    moved = twins.members[PERTURBED].weights()
    assert found.yardstick >= distance(moved, twin).largest
    (line,) = found.lines(twins.settings)
    assert line.startswith("drift: the weights of scratch and torch are ")


def forgetful(self: scratch.SGD) -> None:
    """A velocity that forgets from the sixth step on; the first five are right."""
    self.calls = getattr(self, "calls", 0) + 1  # type: ignore[attr-defined]
    for index, parameter in enumerate(self.parameters):
        before, g = self.velocity[index], parameter.grad
        assert g is not None
        kept = 0.8 if self.calls > 5 else self.momentum  # type: ignore[attr-defined]
        v = g.copy() if before is None else kept * before + g
        self.velocity[index] = v
        parameter.data -= self.lr * v


def test_a_mistake_that_begins_later_is_found_in_its_step(few: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch.SGD, "step", forgetful)
    drift, _, _ = train(few, stop=8, epochs=3)
    parting = drift.findings.partings[0]
    assert parting.step == 6
    assert not parting.ok
    assert "no rounding, a mistake: wrong: conv1.weight after the step of cnn [step 6, float32]" in parting.reason
    assert not drift.findings.ok


def test_a_mistake_after_a_harmless_parting_is_found(few: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Drift._explain

    def harmless_at_first(self: Drift, found: Findings) -> Parting:
        return dataclasses.replace(right(self, found), ok=bool(not found.partings))

    def nudged(self: scratch.SGD, step: Any = scratch.SGD.step) -> None:
        self.calls = getattr(self, "calls", 0) + 1  # type: ignore[attr-defined]
        step(self)
        self.parameters[0].data += {4: 1e-4, 8: 1e-1}.get(self.calls, 0.0)  # type: ignore[attr-defined]

    monkeypatch.setattr(Drift, "_explain", harmless_at_first)
    monkeypatch.setattr(scratch.SGD, "step", nudged)
    drift, _, _ = train(few, epochs=3)
    assert [(parting.step, parting.ok) for parting in drift.findings.partings] == [(4, True), (8, False)]
    assert not drift.findings.ok


def test_a_parting_that_nobody_can_judge_is_no_mistake_and_the_next_is_examined(
    few: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nudged(self: scratch.SGD, step: Any = scratch.SGD.step) -> None:
        self.calls = getattr(self, "calls", 0) + 1  # type: ignore[attr-defined]
        step(self)
        self.parameters[0].data += {4: 1e-4, 8: 1e-1}.get(self.calls, 0.0)  # type: ignore[attr-defined]

    row = nothing_compared("cnn", "step", "float32", "its bound is so wide", unjudged=True)
    monkeypatch.setattr(Drift, "_compare", lambda *_: ([row], []))
    monkeypatch.setattr("compare.training.drift.check_layers", lambda *_: [])
    monkeypatch.setattr(scratch.SGD, "step", nudged)
    drift, _, _ = train(few, epochs=3)
    found = drift.findings
    assert [(parting.step, parting.ok, parting.unjudged) for parting in found.partings] == [
        (4, False, True),
        (8, False, True),
    ]
    words = "not judged, whether rounding or a mistake: all tensors: its bound is so wide"
    assert [parting.reason for parting in found.partings] == [words] * 2
    assert (found.ok, found.mistaken) == (False, False)
    assert found.open_question == str(found.partings[0])


def wrong_scale(self: scratch.Linear, grad_output: Array) -> Array:
    """Half of the gradient of the bias."""
    (x,) = self.saved_for_backward
    assert self.bias is not None
    self.bias.accumulate_grad(grad_output.sum(axis=0) / 2)
    self.weight.accumulate_grad(grad_output.T @ x)
    return (self.weight.data.T @ grad_output.T).T


def test_a_mistake_is_named_with_step_layer_and_tensor(few: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch.Linear, "backward", wrong_scale)
    drift, _, twins = train(few, stop=2, epochs=1)
    parting = drift.findings.partings[0]
    assert (parting.step, parting.parameter, parting.ok) == (1, "fc1.bias", False)
    assert parting.reason.startswith("no rounding, a mistake: wrong: grad_bias of cnn [fc1 isolated, float32]")
    assert not drift.findings.ok
    line, reason = drift.findings.lines(twins.settings)
    assert line.startswith("drift: the weights of scratch and torch are ")
    assert reason.startswith(f"parted: at step 1, most in fc1.bias{parting.element} (noticed at ")
    assert "): no rounding, a mistake: wrong: grad_bias" in reason


@pytest.fixture(scope="module")
def parted() -> tuple[Drift, Twins]:
    """A free run in float32 that comes to a near tie."""
    dataset = data.load("digits")
    for seed in range(20):
        drift, _, twins = train(dataset, epochs=4, seed=seed, lr=0.3)
        assert drift.findings.ok
        if drift.findings.partings and "near tie" in drift.findings.partings[0].reason:
            return drift, twins
    pytest.fail("no run came to a near tie")


@pytest.mark.computes
def test_a_near_tie_that_turns_is_told_of_and_is_no_mistake(parted: tuple[Drift, Twins]) -> None:
    drift, twins = parted
    parting = drift.findings.partings[0]
    assert parting.ok
    assert drift.findings.ok
    assert parting.reason.startswith(("a near tie turned, relu1 at [", "a near tie turned, pool1 at ["))
    assert "from the same weights both take this step alike (13 tensors within their bounds): rounding" in str(parting)
    assert len(parting.element) == twins.states()["torch"][parting.parameter].ndim


def test_findings_survive_json(parted: tuple[Drift, Twins]) -> None:
    findings = parted[0].findings
    assert Findings.from_json(json.loads(json.dumps(dataclasses.asdict(findings)))) == findings
    assert Findings.from_json(json.loads(json.dumps(dataclasses.asdict(Findings())))) == Findings()
    assert not Findings(partings=[Parting(1, "a", [0], 1.0, 0.1, "why", ok=False)]).ok


# Every step by itself


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "more",
    [
        {"weight_decay": 0.01},
        {"optimizer": "adam"},
        pytest.param({"model": "lenet5", "nesterov": True}, marks=pytest.mark.long),
    ],
)
def test_every_step_from_the_same_weights_is_within_its_bounds(few: Dataset, dtype: str, more: dict[str, Any]) -> None:
    drift, told, twins = train(few, epochs=2, resync=True, dtype=dtype, **more)
    reports = [event.checked for event in told if isinstance(event, Step)]
    assert all(report is not None and report.ok for report in reports)
    tensors = len(twins.states()["torch"])
    remembered = 3 if more.get("optimizer") == "adam" else 1
    assert drift.findings.steps == 8
    assert drift.findings.tensors == 8 * (1 + (2 + remembered) * tensors)
    assert 0 < drift.findings.share < 1
    assert drift.findings.ok
    (line,) = drift.findings.lines(twins.settings)
    assert line.startswith(
        f"8 steps from the same weights: {drift.findings.tensors} tensors compared, none outside its"
    )


def test_resync_brings_scratch_to_where_torch_stands(few: Dataset) -> None:
    twins = Twins(Settings(resync=True))
    images, labels = few.train_images[:8].astype(np.float32) / 255, few.train_labels[:8]
    twins.train_step(twins.share(images, labels))
    own, twin = twins.members["scratch"], twins.members["torch"]
    for array in own.model.state_dict().values():
        array += 1
    twins.resync()
    for given, expected in ((own.weights(), twin.weights()), (own.optimizer_state(), twin.optimizer_state())):
        assert given.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(given[name], array)
    before = twin.weights()
    twins.train_step(twins.share(images, labels))
    assert any((before[name] != array).any() for name, array in own.weights().items()), "a copy, not the same memory"
    twins.resync()
    own.model.conv1.weight.data[...] = 0
    assert twin.weights()["conv1.weight"].any()


@pytest.mark.parametrize("step", [1, 6])
def test_a_wrong_step_is_told_of_by_number_and_tensor(few: Dataset, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    right, count = scratch.SGD.step, [0]

    def now_and_then(self: scratch.SGD) -> None:
        count[0] += 1
        self.momentum = 0.9 if count[0] != step else 0.899
        if count[0] == step == 1:
            assert self.parameters[0].grad is not None
            self.parameters[0].grad *= np.float32(1.1)
        right(self)

    monkeypatch.setattr(scratch.SGD, "step", now_and_then)
    drift, told, twins = train(few, epochs=2, resync=True)
    wrong = [e.number for e in told if isinstance(e, Step) and e.checked is not None and not e.checked.ok]
    assert wrong == [step]
    assert not drift.findings.ok
    first = "conv1.grad_weight" if step == 1 else "conv1.weight after the step"
    assert f"WRONG cnn [step {step}] float32 {first}" in drift.findings.wrong[0]
    assert "or more are wrong" in drift.findings.lines(twins.settings)[0]


def test_a_decision_that_was_not_narrow_is_wrong(few: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    right = scratch.Conv2d.forward
    monkeypatch.setattr(scratch.Conv2d, "forward", lambda self, x: right(self, x) + np.float32(0.01))
    drift, _, _ = train(few, stop=1, epochs=1, resync=True)
    assert drift.findings.wrong[0].startswith("WRONG cnn [step 1] float32 all tensors (scalar): relu1 at [")
    assert drift.findings.wrong[0].endswith("in torch: that was not narrow")


@pytest.mark.computes
def test_torch_takes_the_step_under_the_given_decisions(few: Dataset) -> None:
    model = torch_ref.CNN(dtype=torch.float64)
    start = Start.of(model, torch.optim.SGD(model.parameters(), lr=0.1))
    images, labels = few.train_images[:4] / 255.0, few.train_labels[:4]
    decided_on, _ = watch_torch(model, torch.tensor(images))
    plain = {name: array.copy() for name, array in run_step(start, images, labels, decided_on).items()}
    loss = nn.CrossEntropyLoss()(model(torch.tensor(images)), torch.tensor(labels))
    assert float(plain["loss"]) == pytest.approx(loss.item(), rel=1e-15)
    turned = decided_on | {"relu1": np.abs(decided_on["relu1"]) + 1}
    otherwise = run_step(start, images, labels, turned)
    assert abs(otherwise["loss"] - plain["loss"]) > 1e-3, "everything gets through"
    again = run_step(start, images, labels, decided_on)
    for name, array in plain.items():
        np.testing.assert_array_equal(again[name], array, err_msg="start stays as it is")


def test_a_step_that_copies_nothing_from_scratch_is_wrong(few: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch.SGD, "step", lambda _: None)
    drift, _, _ = train(few, epochs=1, resync=True)
    assert not drift.findings.ok


# Decisions


def values(own: Array, twin: Array, **more: Array) -> tuple[Tensors, Tensors]:
    return {"0": own, **more}, {"0": twin, **more}


def test_a_relu_flips_where_the_signs_differ() -> None:
    model = nn.Sequential(nn.ReLU())
    found = flips(model, *values(np.array([[1.0, -1e-17, 2.0]]), np.array([[1.0, 1e-17, -2.0]])))
    assert found == [
        Flip("0", (0, 1), -1e-17, 1e-17, narrow=True, words="input"),
        Flip("0", (0, 2), 2.0, -2.0, narrow=False, words="input"),
    ]
    assert str(found[0]) == "0 at [0, 1]: input -1e-17 in scratch, 1e-17 in torch"
    assert flips(model, *values(np.array([[0.0, -1.0]]), np.array([[-0.0, -2.0]]))) == []


def test_a_pooling_flips_where_another_element_wins() -> None:
    model = nn.Sequential(nn.MaxPool2d(2))
    x = np.array([[[[1.0, 3.0], [2.0, 0.0]]]])
    nearly, over, tie = x.copy(), x.copy(), x.copy()
    nearly[..., 1, 0], over[..., 1, 0], tie[..., 1, 0] = 3 - 1e-15, 3 + 1e-15, 3
    (flip,) = flips(model, *values(over, nearly))
    assert (flip.layer, flip.index, flip.narrow) == ("0", (0, 0, 0, 0), True)
    assert flip.own > 0
    assert flip.twin > 0
    (flip,) = flips(model, *values(over, x))
    assert not flip.narrow
    assert flips(model, *values(over, tie)) == [], "an exact tie of torch's: equal patches"


def test_imposed_decisions_are_those_of_the_given_inputs() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2, padding=1))
    x, other = torch.randn(2, 3, 4, 4, dtype=torch.float64), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    decided_on, _ = watch_torch(model, x)
    expected = model(x)
    impose(model, decided_on)
    torch.testing.assert_close(model(x), expected, rtol=0, atol=0)
    assert (model(other) < 0).any(), "what x let through, other's negative numbers get through too"


@pytest.mark.computes
def test_watching_gives_inputs_and_outputs_and_leaves_the_model_alone() -> None:
    own, twin = scratch.LeNet5(dtype="float64"), torch_ref.LeNet5(dtype=torch.float64)
    weights.scratch_to_torch(own, twin)
    images = np.random.default_rng(0).normal(size=(2, 1, 28, 28))
    seen, expected = watch_scratch(own, images), watch_torch(twin, torch.tensor(images))
    for mine, theirs in zip(seen, expected, strict=True):
        assert list(mine) == list(theirs) == [name for name, _ in twin.named_children()]
        for name, array in mine.items():
            np.testing.assert_allclose(array, theirs[name], rtol=0, atol=1e-13)
    np.testing.assert_array_equal(seen[0]["conv1"], images)
    np.testing.assert_array_equal(seen[0]["relu1"], seen[1]["conv1"])
    assert all("forward" not in vars(layer) for _, layer in own.named_modules())
    assert not any(layer._forward_hooks for layer in twin.modules())


# Whole epochs of MNIST, and the beginning of one: 40 steps


@pytest.fixture(params=["beginning", pytest.param("whole", marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def mnist(request: pytest.FixtureRequest, mnist_folder: Path) -> Dataset:
    whole = data.load("mnist", mnist_folder)
    return whole if request.param == "whole" else whole.limited(40 * 64, 500)


@pytest.mark.parametrize("model", ["cnn", "lenet5"])
def test_a_free_epoch_in_float64_ends_in_the_same_weights_and_answers(mnist: Dataset, model: str) -> None:
    drift, told, twins = train(mnist, model=model, epochs=1, dtype="float64")
    assert drift.own is not None
    assert drift.own.largest <= 1e-8
    assert drift.findings.ok
    last = told[-1]
    assert isinstance(last, Epoch)
    answers = {name: logits.argmax(axis=1) for name, logits in last.logits.items()}
    assert len(answers["torch"]) == len(mnist.test_images)
    np.testing.assert_array_equal(answers["scratch"], answers["torch"])
    assert last.test_accuracy["torch"] > (0.96 if len(mnist.train_images) == 60_000 else 0.3)
    assert set(twins.members) == {"scratch", "torch", PERTURBED}


def test_every_step_of_an_epoch_in_float32_is_within_its_bounds(mnist: Dataset) -> None:
    steps = min(300, len(mnist.train_images) // 64)
    drift, _, _ = train(mnist.limited(steps * 64, 500), epochs=1, resync=True)
    assert drift.findings.ok, drift.findings.wrong
    assert (drift.findings.steps, drift.findings.tensors) == (steps, steps * 13)
