"""The registry agrees, the comparison covers it all, and whole models stay together over many steps."""

from __future__ import annotations

import dataclasses
import itertools
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import scratch
import torch_ref
from compare.diagnosis.likeness import likeness
from compare.driving.tensors import Call
from compare.faults.catalogue import find_fault
from compare.faults.fault import plant
from compare.machine.data import Dataset, batches
from compare.machine.errors import UserError
from compare.pairs import weights
from compare.pairs.cases import Case
from compare.pairs.decisions import decided
from compare.pairs.layers import layer_pair_of
from compare.pairs.models import ModelPair, check_model
from compare.pairs.observe import observe_torch, record_calls
from compare.pairs.optimizers import draw_steps
from compare.pairs.pair import LayerPair
from compare.pairs.probe import Probe
from compare.pairs.registry import MODELS, REGISTRY, chosen_pairs, model_pair
from compare.pairs.report import Report
from compare.verify.agreement import check, check_pair
from scratch import Array


@pytest.fixture(scope="module")
def report() -> Report:
    return check()


def test_everything_agrees(report: Report) -> None:
    assert report.ok, report.headline()
    assert report.compared >= 2000


def test_every_pair_is_compared_in_both_dtypes_and_all_its_tensors(report: Report) -> None:
    for name, pair in REGISTRY.items():
        rows = [row for row in report.rows if row.pair == name]
        assert {row.dtype for row in rows} >= {"float64", "float32"}
        if isinstance(pair, LayerPair):
            tensors = {row.tensor for row in rows}
            assert {"output", "grad_input", "input after use", "output of call 2", "grad_input of call 1"} <= tensors
            learnt = (
                {"grad_weight", "grad_bias", "weight after use"}
                if pair.scratch(**pair.cases[0].options).state_dict()
                else set()
            )
            assert learnt <= tensors
            assert len({row.case for row in rows}) == len(pair.cases)
        elif isinstance(pair, ModelPair):
            cases = {row.case.split(",")[0] for row in rows}
            layers = {f"{layer} isolated" for layer, _ in pair.scratch().named_children()}
            assert cases == layers | {"loss isolated", "end to end"}
            ends = {row.tensor for row in rows if "end to end" in row.case and row.dtype == "float64"}
            assert {"logits", "loss", "conv1.grad_weight", "conv1.weight after 3 steps"} <= ends
            assert {"grad_input", "logits in evaluation", "logits of one image"} <= ends


def test_the_sgd_case_of_every_option_is_compared(report: Report) -> None:
    cases = {row.case for row in report.rows if row.pair == "sgd"}
    for option in ("momentum", "dampening", "nesterov", "weight_decay"):
        assert any(option in case for case in cases)


def test_the_adam_case_of_every_option_is_compared(report: Report) -> None:
    rows = [row for row in report.rows if row.pair == "adam"]
    for option in ("betas", "eps", "weight_decay"):
        assert any(option in row.case for row in rows)
    assert {"weight", "late", "idle", "gradients left by zero_grad"} <= {row.tensor for row in rows}


def test_the_buffers_of_batchnorm2d_are_compared(report: Report) -> None:
    rows = [row for row in report.rows if row.pair == "batchnorm2d"]
    for buffer in ("running_mean", "running_var", "num_batches_tracked"):
        assert {row.case for row in rows if row.tensor == buffer} == {row.case for row in rows}
    assert any(row.tensor == "output of call 3" for row in rows)


def test_a_layer_that_begins_with_ones_is_compared_with_other_weights_and_left_as_it_was() -> None:
    pair = REGISTRY["batchnorm2d"]
    assert isinstance(pair, LayerPair)
    rng = np.random.default_rng(0)
    probe = pair.probe(pair.cases[0], "float32", rng)
    twin = pair.reference(probe)
    before = weights.torch_state(twin)
    for name, array in before.items():
        np.testing.assert_array_equal(probe.state[name], array)
        assert not np.isin(array, [0, 1]).any(), name
    observe_torch(twin, [*probe.calls, *probe.calls])
    assert twin.training
    for name, array in weights.torch_state(twin).items():
        np.testing.assert_array_equal(array, before[name])


def test_the_twin_is_given_the_very_gradient() -> None:
    rng = np.random.default_rng(0)
    x, g = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 3, 8, 8), (2, 4, 6, 6)))
    layer, image = nn.Conv2d(3, 4, 3), torch.tensor(x, requires_grad=True)
    grad_input, grad_weight = torch.autograd.grad(layer(image), (image, layer.weight), torch.tensor(g))
    seen = observe_torch(layer, [Call((x,), g)])
    np.testing.assert_array_equal(seen["grad_input"], grad_input.numpy())
    np.testing.assert_array_equal(seen["grad_weight"], grad_weight.numpy())
    with pytest.raises(AssertionError, match="its gradient"):  # it would be repeated for every image
        observe_torch(layer, [Call((x,), g[:1])])


@pytest.mark.parametrize("name", ["batchnorm2d", "adam", "sgd"])
def test_other_seeds_agree_too(name: str) -> None:
    for seed in range(1, 6):
        report = check([REGISTRY[name]], seed)
        assert report.ok, report.headline()


def test_another_seed_agrees_too_and_draws_other_numbers() -> None:
    pair = REGISTRY["linear"]
    one, two = Report(list(check_pair(pair, 0))), Report(list(check_pair(pair, 1)))
    assert two.ok
    assert [row.max_abs for row in one.rows] != [row.max_abs for row in two.rows]


def test_a_case_says_in_words_what_it_is() -> None:
    case = Case((2, 3, 4, 5), {"kernel_size": (2, 3), "stride": 1}, "zeros", "fortran", 2)
    assert case.name == "kernel_size=2x3, stride=1 | 2x3x4x5 zeros, fortran, 2 calls"
    assert Case((4, 5)).name == "4x5 normal"


def test_names_are_looked_up_or_refused() -> None:
    assert [pair.name for pair in chosen_pairs(["relu", "conv2d"])] == ["conv2d", "relu"]
    assert len(chosen_pairs(None)) == len(REGISTRY)
    with pytest.raises(UserError, match="pair 'conv3d' is unknown; choose among conv2d"):
        chosen_pairs(["conv3d"])
    with pytest.raises(UserError, match="model 'vgg' is unknown; choose one of cnn, lenet5"):
        model_pair("vgg")
    with pytest.raises(UserError, match="GELU has no registered pair"):
        layer_pair_of(nn.GELU())


# Whole models.


def model_rows(change: dict[str, type], dtype: str = "float64") -> Report:
    """`CNN` with some of its layers replaced, against its twin."""

    def broken(**options: Any) -> scratch.Module:
        model = scratch.CNN(**options)
        for name, layer in change.items():
            getattr(model, name).__class__ = layer
        return model

    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((16, 1, 28, 28)).astype(dtype), rng.integers(0, 10, 16)
    state = scratch.CNN(generator=rng, dtype=dtype).state_dict()
    pair = dataclasses.replace(MODELS["cnn"], scratch=broken)
    return Report(check_model(pair, state, images, labels))


def test_an_untouched_model_agrees() -> None:
    assert model_rows({}).ok
    assert model_rows({}, "float32").ok


def test_the_faulty_layer_of_a_model_is_named_alone_and_its_effect_beside_it() -> None:
    report = model_rows({"relu1": plant(find_fault("relu-mask-from-upstream"))})
    assert report.headline().startswith("wrong: grad_input of cnn [relu1 isolated, float64]")
    assert {row.case for row in report.wrong if "isolated" in row.case} == {"relu1 isolated"}
    assert {"conv1.grad_weight", "conv1.grad_bias"} <= {row.tensor for row in report.wrong}
    assert "fc1.grad_weight" not in {row.tensor for row in report.wrong}


def test_weights_changed_during_backward_show_in_the_layer_and_after_the_steps() -> None:
    report = model_rows({"fc1": plant(find_fault("linear-weights-updated-early"))})
    assert report.wrong[0].case == "fc1 isolated"
    assert "fc1.weight after 3 steps" in {row.tensor for row in report.wrong}


def test_a_model_that_raises_is_a_finding() -> None:
    class Raises(scratch.ReLU):
        def forward(self, _: Array) -> Array:
            raise IndexError("out of range")

    report = model_rows({"relu1": Raises})
    assert report.wrong[0].problem == "raised IndexError: out of range"
    assert not report.ok


def test_a_model_that_cannot_be_made_or_lacks_a_layer_is_a_finding() -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((4, 1, 28, 28)), np.array([0, 1, 2, 3])
    state = scratch.CNN(dtype="float64").state_dict()

    def leaves(**_: Any) -> scratch.Module:
        raise SystemExit(0)

    class Renamed(scratch.CNN):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.activation = self.relu1
            del self.relu1

    rows = check_model(dataclasses.replace(MODELS["cnn"], scratch=leaves), state, images, labels)
    assert [row.problem for row in rows] == ["raised SystemExit: 0"]
    rows = check_model(dataclasses.replace(MODELS["cnn"], scratch=Renamed), state, images, labels)
    assert "the model has no such layer" in {row.problem for row in rows if row.case == "relu1 isolated"}


def test_a_layer_that_cannot_be_made_is_a_finding() -> None:
    class TakesNothing(scratch.ReLU):
        def __init__(self) -> None:
            raise TypeError("no")

    relu: Any = REGISTRY["relu"]
    report = check([dataclasses.replace(relu, scratch=TakesNothing)])
    assert report.wrong[0].problem == "raised TypeError: no"


def test_a_dead_network_agrees_with_its_twin() -> None:
    state = {name: -np.ones_like(array) for name, array in scratch.CNN(dtype="float64").state_dict().items()}
    rng = np.random.default_rng(0)
    report = Report(check_model(MODELS["cnn"], state, rng.random((8, 1, 28, 28)), rng.integers(0, 10, 8)))
    assert report.ok, report.headline()


@pytest.mark.computes
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_dead_relus_leave_only_the_rounding_of_the_last_layers_and_that_is_allowed(dtype: str) -> None:
    """Nothing that is moved by an ulp reaches the loss then: its own rounding has to be allowed for by itself."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        state = scratch.CNN(generator=rng, dtype=dtype).state_dict()
        state["conv1.weight"][...] = state["conv1.bias"][...] = -1
        images, labels = rng.random((32, 1, 28, 28)).astype(dtype), rng.integers(0, 10, 32)
        report = Report(check_model(MODELS["cnn"], state, images, labels, seed))
        assert report.ok, report.headline()


@pytest.mark.computes
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_network_sure_of_its_answers_agrees_with_its_twin(dtype: str) -> None:
    """Large weights saturate the softmax: gradients cancel, and rounding is all that is left of some."""
    rng = np.random.default_rng(0)
    state = {name: 10 * array for name, array in scratch.CNN(generator=rng, dtype=dtype).state_dict().items()}
    for seed in range(5):
        images = rng.random((32, 1, 28, 28)).astype(dtype)
        labels = scratch.predict(_with(state, dtype), images)
        report = Report(check_model(MODELS["cnn"], state, images, labels, seed))
        assert report.ok, report.headline()


def _with(state: dict[str, Array], dtype: str) -> scratch.CNN:
    model = scratch.CNN(dtype=dtype)
    model.load_state_dict(state)
    return model


def test_what_a_layer_is_given_is_recorded() -> None:
    model = torch_ref.CNN(dtype=torch.float64)
    images, labels = np.random.default_rng(0).random((3, 1, 28, 28)), np.array([1, 2, 3])
    calls = record_calls(model, images, labels)
    assert list(calls) == ["conv1", "relu1", "pool1", "flatten", "fc1", "loss"]
    np.testing.assert_array_equal(calls["conv1"].inputs[0], images)
    assert calls["fc1"].inputs[0].shape == (3, 1352)
    np.testing.assert_allclose(calls["fc1"].grad_output.sum(axis=1), 0, atol=1e-15)
    assert not any(layer._forward_hooks for layer in model.modules())


def test_an_image_that_rounding_could_decide_is_left_out() -> None:
    model = nn.Sequential(nn.MaxPool2d(2), nn.ReLU()).double()
    clear = [[1.0, 2.0], [3.0, -4.0]]
    images = np.array(
        [[clear], [[[1.0, 3.0], [2.0, 3.0 - 1e-15]]], [[[-1.0, 1e-17], [-2, -3]]], [[[5.0, 5.0], [0, 0]]]]
    )
    np.testing.assert_array_equal(decided(model, images), [True, False, False, True])


def test_images_that_rounding_could_all_decide_are_a_finding_not_an_agreement() -> None:
    pair = MODELS["cnn"]
    state = scratch.CNN(dtype="float64").state_dict()
    state["conv1.weight"][...] = 0
    state["conv1.bias"][...] = 1e-300  # every ReLU stands a hair above zero, in the scale of the larger channel
    state["conv1.bias"][0] = 1
    report = Report(check_model(pair, state, np.ones((2, 1, 28, 28)), np.array([1, 2])))
    assert "take other images" in report.unjudged[-1].problem
    assert (report.wrong, report.outcome) == ((), "not_judged")


def test_blank_borders_do_not_make_an_image_undecided() -> None:
    rng = np.random.default_rng(0)
    images = np.zeros((4, 1, 28, 28))
    images[:, :, 8:20, 8:20] = rng.random((4, 1, 12, 12))
    assert decided(torch_ref.LeNet5(dtype=torch.float64), images).all()


@pytest.mark.parametrize("number", [40, pytest.param(200, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", list(MODELS))
def test_many_steps_in_float64_end_in_the_same_parameters(name: str, number: int, best_digits: Dataset) -> None:
    """Momentum 0.9, learning rate 0.05, on MNIST where it is there: equal to 1e-10 of each tensor's largest element."""
    own = MODELS[name].scratch(generator=np.random.default_rng(0), dtype="float64")
    twin = MODELS[name].torch(dtype=torch.float64)
    weights.scratch_to_torch(own, twin)
    start = weights.torch_state(twin)
    own_sgd = scratch.SGD(own.parameters(), lr=0.05, momentum=0.9)
    twin_sgd = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9)
    own_loss, twin_loss, steps = scratch.CrossEntropyLoss(), nn.CrossEntropyLoss(), 0
    rng, images, labels = np.random.default_rng(1), best_digits.train_images, best_digits.train_labels
    while steps < number:
        for x, y in batches(images, labels, 32, "float64", rng.permutation(len(images))):
            scratch.train_step(own, own_loss, own_sgd, x, y)
            torch_ref.train_step(twin, twin_loss, twin_sgd, torch.tensor(x), torch.tensor(y))
            steps += 1
            if steps == number:
                break
    for parameter, array in weights.torch_state(twin).items():
        assert np.abs(array - start[parameter]).max() > 1e-3, "it did not train"
        difference = np.abs(own.state_dict()[parameter] - array).max()
        assert difference <= 1e-10 * np.abs(array).max(), parameter


# Training functions.


@pytest.mark.computes
def test_a_step_returns_the_loss_and_the_right_answers_from_before_the_update() -> None:
    rng = np.random.default_rng(0)
    model = scratch.Sequential(scratch.Linear(4, 3, generator=rng, dtype="float64"))
    x, y = rng.standard_normal((8, 4)), rng.integers(0, 3, 8)
    logits, criterion = model(x), scratch.CrossEntropyLoss()
    expected = float(criterion(logits, y)), int((logits.argmax(axis=1) == y).sum())
    optimizer = scratch.SGD(model.parameters(), lr=0.1)
    assert scratch.train_step(model, criterion, optimizer, x, y) == expected
    assert scratch.train_step(model, criterion, optimizer, x, y)[0] < expected[0]


@pytest.mark.computes
def test_both_evaluate_alike_weighing_a_last_partial_batch_by_its_size() -> None:
    rng = np.random.default_rng(0)
    own, twin = scratch.CNN(generator=rng, dtype="float64"), torch_ref.CNN(dtype=torch.float64)
    weights.scratch_to_torch(own, twin)
    x, y = rng.random((7, 1, 28, 28)), rng.integers(0, 10, 7)
    parts = [(x[:4], y[:4]), (x[4:], y[4:])]
    whole = scratch.evaluate(own, scratch.CrossEntropyLoss(), [(x, y)])
    pieces = scratch.evaluate(own, scratch.CrossEntropyLoss(), parts)
    reference = torch_ref.evaluate(twin, nn.CrossEntropyLoss(), [(torch.tensor(a), torch.tensor(b)) for a, b in parts])
    np.testing.assert_allclose(pieces, whole, rtol=1e-14)
    np.testing.assert_allclose(pieces, reference, rtol=1e-14)
    np.testing.assert_array_equal(scratch.predict(own, x, 3), torch_ref.predict(twin, torch.tensor(x), 3).numpy())
    assert scratch.predict(own, x, 3).shape == (7,)
    assert own.training
    assert twin.training


def test_evaluating_nothing_is_refused_by_both() -> None:
    with pytest.raises(ValueError, match="evaluate: batches must hold at least one batch, got none"):
        scratch.evaluate(scratch.CNN(), scratch.CrossEntropyLoss(), [])
    with pytest.raises(ValueError, match="evaluate: batches must hold at least one batch, got none"):
        torch_ref.evaluate(torch_ref.CNN(), nn.CrossEntropyLoss(), [])


def test_an_optimizer_that_does_nothing_is_wrong_where_an_update_is_as_small_as_rounding() -> None:
    pair, rng = REGISTRY["sgd"], np.random.default_rng(0)
    probe = draw_steps({"lr": 0.5}, "float64", rng)
    large = {name: np.sign(array) * (1 + rng.random(array.shape)) * 2.0**50 for name, array in probe.state.items()}
    gradients = tuple(
        {name: np.sign(g) * (1 + rng.random(g.shape)) for name, g in step.items()} for step in probe.gradients
    )
    probe = dataclasses.replace(probe, state=large, gradients=gradients)
    idle = {name: large.get(name, array).copy() for name, array in pair.expected(probe).items()}
    wrong = {row.tensor: row.problem for row in pair.compare(probe, idle) if not row.ok}
    assert wrong.keys() == {"weight", "bias", "kernel", "late"}
    assert set(wrong.values()) == {"its bound is so wide that zeros, or no update, would pass"}


def test_what_is_right_for_a_probe_is_computed_once_and_cannot_be_written() -> None:
    pair = REGISTRY["linear"]
    first, second = itertools.islice(pair.probes("float64"), 2)
    for compute in (pair.expected, pair.bounds):
        tensors, again = compute(first), compute(first)
        assert all(again[name] is array for name, array in tensors.items())
        assert not any(array.flags.writeable for array in tensors.values())
        assert not np.array_equal(compute(second)["output"], tensors["output"])
        tensors.clear()
        assert compute(first).keys() == again.keys()


def test_what_is_known_of_a_probe_goes_with_it() -> None:
    pair = REGISTRY["linear"]
    probe = next(pair.probes("float64"))
    kept = weakref.ref(pair.expected(probe)["output"])
    assert kept() is not None
    del probe
    assert kept() is None


def test_what_a_random_layer_should_give_depends_on_the_candidate() -> None:
    pair = REGISTRY["dropout"]
    assert isinstance(pair, LayerPair)
    probe = next(pair.probes("float64"))
    first = pair.drive(pair.scratch, probe)
    second = pair.drive(pair.scratch, probe, {name: array[::-1] for name, array in first.items()})
    assert not np.array_equal(first["output"], second["output"])
    for got in (first, second):
        np.testing.assert_allclose(pair.expected(probe, got)["output"], got["output"], rtol=1e-14)


def test_a_probe_is_drawn_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    original = LayerPair.probe

    def draw(pair: LayerPair, case: Case, dtype: str, rng: np.random.Generator) -> Probe:
        drawn.append(dtype)
        return original(pair, case, dtype, rng)

    monkeypatch.setattr(LayerPair, "probe", draw)
    probes = replace(likeness("linear").pair).examined()  # a pair of its own: others have drawn theirs
    next(probes)
    assert drawn == ["float64"]
    assert {probe.dtype for probe in probes} == {"float64", "float32"} == set(drawn)
