"""The gallery of mistakes: each is in its place, shows what it must show, and can be told from what else is offered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import scratch
from compare.faults.catalogue import CATALOGUE, find_fault
from compare.faults.fault import plant
from compare.lesson.chapters import gallery as module
from compare.lesson.chapters.gallery import Mistake, Seen, count_ties, gallery
from compare.lesson.chapters.notes import note as note_of
from compare.lesson.not_as_shown import NotAsShown
from compare.machine.data import Dataset
from compare.pairs.registry import model_pair
from compare.pairs.weights import State
from scratch import Array

Galleries = dict[str, dict[str, Mistake]]
MODELS = pytest.mark.parametrize("model", ["cnn", "lenet5"])

# By hand: what is computed first of all that the mistake makes wrong.
FIRST_WRONG = {
    "cnn": {
        "conv2d-kernel-turned": ("conv1", "output of conv1"),
        "flatten-channels-last": ("flatten", "output of flatten"),
        "cross-entropy-gradient-not-averaged": ("the loss", "gradient of the scores"),
        "cross-entropy-jacobian-twice": ("the loss", "gradient of the scores"),
        "relu-no-mask": ("relu1", "gradient of the input of relu1"),
        "relu-mask-from-upstream": ("relu1", "gradient of the input of relu1"),
        "maxpool2d-spread-evenly": ("pool1", "gradient of the input of pool1"),
        "maxpool2d-all-ties-win": ("pool1", "gradient of the input of pool1"),
        "linear-weights-updated-early": ("fc1", "gradient of the input of fc1"),
        "cnn-gradient-stops": ("the model", "gradient of the input of relu1"),
        "conv2d-overlaps-overwritten": ("conv1", "gradient of the image"),
        "conv2d-grad-weight-kernel-turned": ("conv1", "conv1.grad_weight"),
        "conv2d-grad-bias-mean": ("conv1", "conv1.grad_bias"),
    },
}
FIRST_WRONG["lenet5"] = FIRST_WRONG["cnn"] | {
    "linear-weights-updated-early": ("fc3", "gradient of the input of fc3"),
    "conv2d-overlaps-overwritten": ("conv2", "gradient of the input of conv2"),
    "conv2d-grad-weight-kernel-turned": ("conv2", "conv2.grad_weight"),
    "conv2d-grad-bias-mean": ("conv2", "conv2.grad_bias"),
}
del FIRST_WRONG["lenet5"]["cnn-gradient-stops"]

CNN_OUTPUTS = ["output of conv1", "output of relu1", "output of pool1", "output of flatten", "scores", "loss"]
CNN_GRADIENTS = [
    "gradient of the scores",
    "fc1.grad_weight",
    "fc1.grad_bias",
    "gradient of the input of fc1",
    "gradient of the input of flatten",
    "gradient of the input of pool1",
    "gradient of the input of relu1",
    "conv1.grad_weight",
    "conv1.grad_bias",
    "gradient of the image",
]


def trained(model: str, digits: Dataset, steps: int = 40) -> State:
    network = model_pair(model).scratch(generator=np.random.default_rng(0))
    criterion, optimizer = scratch.CrossEntropyLoss(), scratch.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for step in range(steps):
        at = slice(32 * step, 32 * step + 32)
        images = digits.train_images[at].astype(np.float32) / np.float32(255)
        scratch.train_step(network, criterion, optimizer, images, digits.train_labels[at])
    return network.state_dict()


@pytest.fixture(scope="module")
def states(digits: Dataset) -> dict[str, State]:
    return {model: trained(model, digits) for model in ("cnn", "lenet5")}


@pytest.fixture(scope="module")
def images(digits: Dataset) -> Array:
    return digits.test_images[:16].astype(np.float32) / np.float32(255)


@pytest.fixture(scope="module")
def labels(digits: Dataset) -> Array:
    return digits.test_labels[:16]


@pytest.fixture(scope="module")
def galleries(states: dict[str, State], images: Array, labels: Array) -> Galleries:
    made = {model: gallery(model_pair(model), state, images, labels) for model, state in states.items()}
    return {model: {mistake.fault.name: mistake for mistake in mistakes} for model, mistakes in made.items()}


def wrong_tensors(mistake: Mistake) -> list[str]:
    return [finding.tensor for finding in mistake.findings if not finding.ok]


def note(mistake: Mistake, tensor: str) -> str:
    return next(finding.note for finding in mistake.findings if finding.tensor == tensor)


@MODELS
def test_each_mistake_is_in_its_place_and_first_shows_where_it_must(galleries: Galleries, model: str) -> None:
    seen = {name: (m.layer, wrong_tensors(m)[0]) for name, m in galleries[model].items()}
    assert seen == FIRST_WRONG[model]
    assert list(galleries[model]) == [name for name in module.CHOSEN if name in FIRST_WRONG[model]]
    assert all(mistake.fault is find_fault(name) for name, mistake in galleries[model].items())


def test_the_tensors_come_in_the_order_in_which_they_are_computed(galleries: Galleries) -> None:
    for mistake in galleries["cnn"].values():
        assert [finding.tensor for finding in mistake.findings] == CNN_OUTPUTS + CNN_GRADIENTS
        assert all(finding.ok == (finding.note == "") for finding in mistake.findings)
    tensors = [finding.tensor for finding in galleries["lenet5"]["relu-no-mask"].findings]
    assert len(tensors) == 11 + 1 + 1 + 1 + 12 + 10  # outputs, scores, loss, its gradient, those of layers, of weights
    assert tensors[10:14] == ["output of relu4", "scores", "loss", "gradient of the scores"]
    assert tensors[14:17] == ["fc3.grad_weight", "fc3.grad_bias", "gradient of the input of fc3"]
    assert tensors[-3:] == ["conv1.grad_weight", "conv1.grad_bias", "gradient of the image"]


@MODELS
def test_most_mistakes_leave_scores_and_loss_right(galleries: Galleries, model: str) -> None:
    loud = {name for name, mistake in galleries[model].items() if "loss" in wrong_tensors(mistake)}
    assert loud == {"conv2d-kernel-turned", "flatten-channels-last"}


def test_what_each_mistake_makes_wrong_in_the_cnn(galleries: Galleries) -> None:
    wrong = {name: wrong_tensors(mistake) for name, mistake in galleries["cnn"].items()}
    assert wrong["conv2d-kernel-turned"] == CNN_OUTPUTS + CNN_GRADIENTS
    assert wrong["cross-entropy-gradient-not-averaged"] == CNN_GRADIENTS
    assert wrong["maxpool2d-spread-evenly"] == CNN_GRADIENTS[5:]
    assert wrong["linear-weights-updated-early"] == CNN_GRADIENTS[3:]  # its own gradients are right
    assert wrong["relu-no-mask"] == wrong["cnn-gradient-stops"] == CNN_GRADIENTS[6:]
    assert wrong["conv2d-overlaps-overwritten"] == ["gradient of the image"]
    assert wrong["conv2d-grad-weight-kernel-turned"] == ["conv1.grad_weight"]
    assert wrong["conv2d-grad-bias-mean"] == ["conv1.grad_bias"]


def test_the_notes_say_what_is_to_be_seen(galleries: Galleries) -> None:
    cnn, lenet5 = galleries["cnn"], galleries["lenet5"]
    for model in galleries.values():
        summed = model["cross-entropy-gradient-not-averaged"]
        assert {finding.note for finding in summed.findings if not finding.ok} == {"16 times too large"}
        assert note(model["flatten-channels-last"], "output of flatten") == "the right numbers in another order"
        for name, tensor in (("relu-no-mask", "relu1"), ("maxpool2d-all-ties-win", "pool1")):
            found = note(model[name], f"gradient of the input of {tensor}")
            assert re.fullmatch(
                r"\d+% of the elements differ, by up to \d+% of the greatest; all of these should be 0", found
            )
    assert note(cnn["conv2d-grad-bias-mean"], "conv1.grad_bias") == "10,816 times too small"  # 16·26·26
    assert note(lenet5["conv2d-grad-bias-mean"], "conv2.grad_bias") == "1,600 times too small"  # 16·10·10
    assert {finding.note for finding in cnn["cnn-gradient-stops"].findings} == {"", "all zero"}
    assert re.fullmatch(r"\d\.\d+ instead of \d\.\d+", note(cnn["conv2d-kernel-turned"], "loss"))


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        ([[4.0, -2.0, 0.0]], ""),
        ([[4.0, -2.0, 4.1e-9]], "33% of the elements differ, by up to 0.0000001% of the greatest; all of these should"),
        ([[4.0, -2.0, 3.9e-9]], ""),
        ([[16.0, -8.0, 0.0]], "4 times too large"),
        ([[1.0, -0.5, 0.0]], "4 times too small"),
        ([[-4.0, 2.0, 0.0]], "the negative"),
        ([[-8.0, 4.0, 0.0]], "the negative, 2 times too large"),
        ([[0.0, 0.0, 0.0]], "all zero"),
        ([[0.0, 4.0, -2.0]], "the right numbers in another order"),
        ([[0.0, -2.0, 0.0]], "33% of the elements differ, by up to 100% of the greatest; all of these are 0"),
        ([[3.0, -2.0, 1.0]], "66% of the elements differ, by up to 25% of the greatest; 50% of these should be 0"),
        ([[9.0, 9.0, 9.0]], "all elements differ, by up to 275% of the greatest; 33% of these should be 0"),
        ([[4.0, np.nan, 0.0]], "not a number, or infinite"),
        ([[4.0], [-2.0], [0.0]], "shape [3, 1] instead of [1, 3]"),
        (None, "never computed"),
    ],
)
def test_a_note_of_each_kind(got: list[list[float]] | None, expected: str) -> None:
    said = note_of(None if got is None else np.array(got), np.array([[4.0, -2.0, 0.0]]))
    assert said.startswith(expected) if expected.endswith("should") else said == expected


def test_a_note_where_all_should_be_zero() -> None:
    assert note_of(np.array([0.0, 2.0]), np.zeros(2)) == "50% of the elements differ; all of these should be 0"


def test_a_note_where_many_should_be_zero() -> None:
    right, got = np.array([0.0, 0.0, 2.0, 2.0, 5.0]), np.array([1.0, 1.0, 0.0, 1.0, 5.0])
    note = "80% of the elements differ, by up to 40% of the greatest; 50% of these should be 0, 25% of them are 0"
    assert note_of(got, right) == note


@MODELS
def test_the_pictures_show_the_difference(galleries: Galleries, model: str) -> None:
    for name, mistake in galleries[model].items():
        assert mistake.shown in wrong_tensors(mistake)
        assert mistake.right.shape == mistake.wrong.shape
        assert mistake.right.ndim == 2
        assert mistake.right.dtype == mistake.wrong.dtype == np.float64
        assert mistake.right.any(), "of nothing there is no picture"
        least = 0.001 if name == "linear-weights-updated-early" else 0.3
        assert np.abs(mistake.wrong - mistake.right).max() > least * np.abs(mistake.right).max(), name


@MODELS
def test_the_pictures_are_those_of_the_mistakes(galleries: Galleries, model: str) -> None:
    made = galleries[model]
    loss = made["cross-entropy-gradient-not-averaged"]
    assert loss.right.shape == (16, 10)
    np.testing.assert_allclose(loss.right.sum(axis=1), 0, atol=1e-15)  # p - y, of each image
    np.testing.assert_allclose(loss.wrong, 16 * loss.right)

    for name in ("maxpool2d-spread-evenly", "maxpool2d-all-ties-win"):  # windows of 2x2, in each one winner
        right, wrong = (x.reshape(len(x) // 2, 2, -1, 2).swapaxes(1, 2) for x in (made[name].right, made[name].wrong))
        assert ((right != 0).sum(axis=(2, 3)) <= 1).all()
        if name == "maxpool2d-spread-evenly":
            np.testing.assert_allclose(wrong, np.broadcast_to(right.mean(axis=(2, 3), keepdims=True), wrong.shape))
        else:
            total = np.broadcast_to(right.sum(axis=(2, 3), keepdims=True), wrong.shape)
            np.testing.assert_allclose(wrong, np.where(wrong == 0, 0, total))
            assert (wrong != 0).sum() > (right != 0).sum()

    no_mask = made["relu-no-mask"]
    np.testing.assert_allclose(no_mask.wrong[no_mask.right != 0], no_mask.right[no_mask.right != 0])
    assert (made["relu-mask-from-upstream"].wrong >= 0).all()
    assert (made["relu-mask-from-upstream"].right < 0).any()


def test_of_a_dead_network_an_output_is_shown(states: dict[str, State], images: Array, labels: Array) -> None:
    """Its first bias is so low that the ReLU lets nothing through: no gradient knows of the kernel."""
    state = {**states["cnn"], "conv1.bias": np.full_like(states["cnn"]["conv1.bias"], -1000)}
    stage = module._stage(model_pair("cnn"), state, images, labels)
    trial = module._try(stage, find_fault("conv2d-kernel-turned"), "conv1")
    assert trial.shows == ["output of conv1"]
    assert module._in_picture(stage, trial) == "output of conv1"


def test_of_many_maps_a_clear_one_is_shown() -> None:
    right, wrong = np.zeros((2, 3, 4, 5)), np.zeros((2, 3, 4, 5))
    right[0, 1], wrong[0, 1] = 9.0, 9.0  # no difference
    right[1, 0], wrong[1, 0] = 0.1, 8.0  # a great one, but in the colours of the wrong one the right one is blank
    right[1, 2], wrong[1, 2] = 3.0, 5.0
    *shown, where = module._picture("gradient of the image", right, wrong)
    assert [x.tolist() for x in shown] == [right[1, 2].tolist(), wrong[1, 2].tolist()]
    assert where == "image 1, map 2"
    assert module._picture("gradient of the image", right[:, :1], wrong[:, :1])[2] == "image 1"
    assert module._picture("conv1.grad_weight", right, wrong)[2] == ""


@pytest.mark.parametrize(
    ("fault", "first"),
    [
        ("cnn-images-by-256", "output of conv1"),
        ("cnn-relu-missing", "output of relu1"),
        ("cnn-channels-last-flatten", "output of pool1"),  # the model hands the flatten another array
        ("cnn-softmax-before-loss", "scores"),
        ("cnn-relu-not-in-backward", "gradient of the input of relu1"),
        ("cnn-grad-input-zero", "gradient of the image"),
    ],
)
def test_what_lies_between_two_layers_is_what_the_next_one_receives(
    fault: str, first: str, states: dict[str, State], images: Array, labels: Array
) -> None:
    stage = module._stage(model_pair("cnn"), states["cnn"], images, labels)
    assert module._try(stage, find_fault(fault), "the model").shows[0] == first


def test_filters_are_shown_side_by_side(
    galleries: Galleries, states: dict[str, State], images: Array, labels: Array
) -> None:
    """Against autograd, asked without the gallery; with weights and images rounded as it does."""
    reference = model_pair("lenet5").torch(dtype=torch.float64)
    rounded = {name: torch.tensor(np.rint(array * 2.0**16) / 2.0**16) for name, array in states["lenet5"].items()}
    reference.load_state_dict(rounded)
    scores = reference(torch.tensor(np.rint(images * 2.0**14) / 2.0**14, dtype=torch.float64))
    nn.CrossEntropyLoss()(scores, torch.tensor(labels)).backward()
    expected = reference.get_parameter("conv2.weight").grad
    assert expected is not None
    shown = galleries["lenet5"]["conv2d-grad-weight-kernel-turned"]
    assert shown.shown == "conv2.grad_weight"
    assert shown.right.shape == (6 * 5, 16 * 5)
    scale = float(expected.abs().max())
    for out in range(16):
        for c in range(6):
            at = slice(5 * c, 5 * c + 5), slice(5 * out, 5 * out + 5)
            np.testing.assert_allclose(shown.right[at], expected[out, c], atol=1e-9 * scale)
            np.testing.assert_allclose(shown.wrong[at], shown.right[at][::-1, ::-1], atol=1e-9 * scale)


@MODELS
def test_the_right_answer_is_among_the_choices_once(galleries: Galleries, model: str) -> None:
    sentences = {fault.made for fault in CATALOGUE.values()}
    for mistake in galleries[model].values():
        assert mistake.choices.count(mistake.fault.made) == 1
        assert len(mistake.choices) == len(set(mistake.choices)) == 4
        assert set(mistake.choices) <= sentences
        assert mistake.would_show.keys() == set(mistake.choices) - {mistake.fault.made}
        first = next(finding for finding in mistake.findings if not finding.ok)
        assert f"{first.tensor}: {first.note}" not in mistake.would_show.values()


def test_what_would_look_the_same_is_never_offered(states: dict[str, State], images: Array, labels: Array) -> None:
    stage = module._stage(model_pair("cnn"), states["cnn"], images, labels)
    tried: module._Tried = {}
    places = set()
    for name, (layer, _) in FIRST_WRONG["cnn"].items():
        trial = module._try(stage, find_fault(name), layer)
        near = [(fault, place) for place in module._around(stage, layer) for fault in module._faults_at(stage, place)]
        for seed in range(8):
            choices = module._choices(stage, trial, tried, np.random.default_rng(seed))
            places.add(choices.index(trial.fault.made))
            alike = 0
            for made in set(choices) - {trial.fault.made}:
                ((fault, place),) = [(fault, place) for fault, place in near if fault.made == made]
                other = tried[fault.name, place]
                assert other is not None
                assert other.shows
                assert other.findings != trial.findings
                assert other.symptoms != trial.symptoms
                alike += other.shows[0] == trial.shows[0]
            assert alike >= 1 or name == "flatten-channels-last", "other orders look the same"
    assert places == {0, 1, 2, 3}, "the place of the right answer gives it away"
    # By hand: both leave single contributions where sums belong, and nothing but a percentage tells them apart.
    overlaps = module._try(stage, find_fault("conv2d-overlaps-overwritten"), "conv1")
    windows = module._try(stage, find_fault("conv2d-windows-overwritten"), "conv1")
    assert overlaps.findings != windows.findings
    assert overlaps.symptoms == windows.symptoms


@pytest.mark.parametrize(
    ("offered", "wrong", "tried"),
    [
        ("aaabab", "012", 3),  # the third that begins alike is enough
        ("bbbbaba", "460", 7),  # all that begin alike come before others
        ("bbabab", "240", 6),
        ("bbbbb", "012", 5),
        ("ab", "01", 2),
    ],
)
def test_what_begins_to_show_alike_is_offered_first(
    offered: str,
    wrong: str,
    tried: int,
    states: dict[str, State],
    images: Array,
    labels: Array,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = module._stage(model_pair("cnn"), states["cnn"], images, labels)
    right = module._Trial(find_fault("relu-no-mask"), "relu1", {}, (Seen("a", False, ""),))
    asked: list[str] = []

    def others(*_: object) -> Iterator[module._Trial]:
        for at, tensor in enumerate(offered):
            asked.append(tensor)
            yield replace(right, fault=replace(right.fault, made=str(at)), findings=(Seen(tensor, False, ""),))

    monkeypatch.setattr(module, "_others", others)
    choices = module._choices(stage, right, {}, np.random.default_rng(0))
    assert sorted(choices) == sorted([right.fault.made, *wrong])
    assert len(asked) == tried


def test_a_sentence_of_two_mistakes_is_not_offered(states: dict[str, State], images: Array, labels: Array) -> None:
    """Between two linear layers each mistake of theirs could be in either."""
    stage = module._stage(model_pair("lenet5"), states["lenet5"], images, labels)
    trial = module._try(stage, find_fault("relu-no-mask"), "relu3")
    assert module._around(stage, "relu3") == ["fc1", "relu3", "fc2"]
    offered = [other.fault for other in module._others(stage, trial, {}, np.random.default_rng(0))]
    assert len(offered) > 5
    assert {fault.pair for fault in offered} == {"relu"}


def test_one_seed_gives_one_gallery(
    galleries: Galleries, states: dict[str, State], images: Array, labels: Array
) -> None:
    before = {name: array.copy() for name, array in states["cnn"].items()}, images.copy(), labels.copy()
    again, other = (gallery(model_pair("cnn"), states["cnn"], images, labels, seed) for seed in (0, 1))
    for first, second in zip(galleries["cnn"].values(), again, strict=True):
        assert (first.choices, first.findings, first.shown) == (second.choices, second.findings, second.shown)
        assert np.array_equal(first.right, second.right)
        assert np.array_equal(first.wrong, second.wrong)
    assert [m.choices for m in other] != [m.choices for m in again]
    assert [m.findings for m in other] == [m.findings for m in again]
    assert all(np.array_equal(before[0][name], array) for name, array in states["cnn"].items())
    assert np.array_equal(before[1], images)
    assert np.array_equal(before[2], labels)


@MODELS
@pytest.mark.parametrize("seed", [0, 1])
def test_weights_that_were_never_trained_will_do(model: str, seed: int, images: Array, labels: Array) -> None:
    pair = model_pair(model)
    stage = module._stage(pair, pair.scratch(generator=np.random.default_rng(seed)).state_dict(), images, labels)
    for name, (layer, first) in FIRST_WRONG[model].items():
        trial = module._shown(stage, find_fault(name))
        assert trial is not None
        assert (trial.layer, trial.shows[0]) == (layer, first)


@pytest.mark.parametrize(
    ("where", "fault", "message"),
    [
        ("scratch.model.ReLU", "relu-no-mask", "gradient of the input of relu4 differs from torch's: .* should be 0"),
        ("scratch.model.Conv2d", "conv2d-bias-twice", "output of conv1 differs from torch's: "),
        ("scratch.model.Conv2d", "conv2d-float32-inside", "output of conv2 differs from torch's: .* 0.00000"),
        ("scratch.model.Linear", "linear-grad-bias-never-set", "fc3.grad_bias differs from torch's: never computed"),
        ("scratch.CrossEntropyLoss", "cross-entropy-summed", r"loss differs from torch's: [\d.]+ instead of"),
    ],
)
def test_a_model_that_is_wrong_without_any_mistake_is_not_shown(
    where: str,
    fault: str,
    message: str,
    states: dict[str, State],
    images: Array,
    labels: Array,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = plant(find_fault(fault))
    monkeypatch.setattr(where, broken)
    for show in (gallery, count_ties):
        with pytest.raises(NotAsShown, match=f"lenet5 without any mistake: {message}"):
            show(model_pair("lenet5"), states["lenet5"], images, labels)


def test_a_mistake_that_shows_nowhere_is_left_out(
    states: dict[str, State], images: Array, labels: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHOSEN", ("relu-no-mask", "linear-weights-updated-late"))
    (shown,) = gallery(model_pair("cnn"), states["cnn"], images, labels)
    assert shown.fault.name == "relu-no-mask"


@MODELS
def test_no_rounding_decides_a_tie(model: str, states: dict[str, State], images: Array, labels: Array) -> None:
    """What goes into the poolings is the same in both twins to the last bit."""
    stage = module._stage(model_pair(model), states[model], images, labels)
    network = stage.pair.scratch(dtype=np.float64)
    network.load_state_dict(dict(stage.state))
    own = module._scratch_pass(stage, network, scratch.CrossEntropyLoss())
    outputs = [name for name in own if name.startswith("output of ") and own[name].ndim == 4]
    assert len(outputs) == (3 if model == "cnn" else 6)
    for name in outputs:
        assert np.array_equal(own[name], stage.right[name]), name
    for name, array in stage.state.items():
        np.testing.assert_allclose(array, states[model][name], rtol=0, atol=2.0**-17)
    np.testing.assert_allclose(stage.images, images, rtol=0, atol=2.0**-15)


@MODELS
def test_on_blank_images_all_windows_tie(model: str, states: dict[str, State], labels: Array) -> None:
    """Then the output of conv1 is its bias: the gradient of those above 0 comes out four times as large."""
    bias = np.resize(np.array([0.25, -0.25], np.float32), states[model]["conv1.bias"].shape)
    state = {**states[model], "conv1.bias": bias}
    ties = count_ties(model_pair(model), state, np.zeros((16, 1, 28, 28)), labels)
    size = 13 * 13 if model == "cnn" else 14 * 14
    assert ties.windows == ties.tied == 16 * len(bias) * size
    assert ties.tied_above_zero == 16 * (bias > 0).sum() * size
    assert ties.grad_bias == pytest.approx(3)
    assert ties.grad_weight == 0


def test_ties_at_zero_do_no_harm(states: dict[str, State], labels: Array) -> None:
    """The ReLU before the pooling lets nothing through there."""
    noise = np.random.default_rng(0).uniform(0, 1, (16, 1, 28, 28))
    ties = count_ties(model_pair("cnn"), states["cnn"], noise, labels)
    assert ties.tied > 0
    assert ties.tied_above_zero == 0
    assert ties.grad_bias == pytest.approx(0, abs=1e-12)
    assert ties.grad_weight == pytest.approx(0, abs=1e-12)


def test_ties_of_real_digits_spoil_the_bias(states: dict[str, State], images: Array, labels: Array) -> None:
    ties = count_ties(model_pair("cnn"), states["cnn"], images, labels)
    stage = module._stage(model_pair("cnn"), states["cnn"], images, labels)
    windows = torch.tensor(stage.right["output of relu1"]).unfold(2, 2, 2).unfold(3, 2, 2).flatten(-2)
    first, second = windows.topk(2).values.unbind(-1)
    assert ties.windows == 16 * 8 * 13 * 13 == first.numel()
    assert ties.tied == int((first == second).sum())
    assert ties.tied_above_zero == int(((first == second) & (first > 0)).sum()) > 0
    assert ties.grad_bias > 0.1
    assert ties.grad_weight > 0
