"""Whole models by hand: three steps of momentum in NumPy, what they may differ by, and how a model is checked."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import scratch
from compare.driving.models import run_scratch
from compare.driving.tensors import Call, Tensors
from compare.pairs import end_to_end, models, weights
from compare.pairs.bounds import conditioning_factor, growth, sum_of_products
from compare.pairs.end_to_end import bounds_end_to_end, run_torch, updated_from
from compare.pairs.layers.loss import cross_entropy
from compare.pairs.models import ModelPair, check_layers, check_model
from compare.pairs.observe import record_calls
from compare.pairs.pair import LayerPair
from compare.pairs.registry import REGISTRY
from compare.pairs.report import Row
from scratch import Array


def own_model(dtype: str = "float64") -> scratch.Module:
    return scratch.Sequential(
        scratch.Conv2d(1, 2, 2, dtype=dtype), scratch.ReLU(), scratch.Flatten(), scratch.Linear(12, 3, dtype=dtype)
    )


def torch_model(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)).to(dtype)


SMALL = ModelPair("small", own_model, torch_model, (1, 3, 4), 3)
STATE = weights.torch_state(torch_model())
IMAGES = np.random.default_rng(0).normal(size=(5, 1, 3, 4))
LABELS = np.array([0, 1, 2, 1, 0])


def loaded(model: scratch.Module, state: weights.State) -> scratch.Module:
    weights.load_scratch_state(model, state)
    return model


# The steps


def scores_and_gradients(w: Array, b: Array, x: Array, t: Array) -> tuple[Array, float, Array, Array, Array]:
    """Logits, mean cross-entropy, and the gradients of w, b and x."""
    logits = x @ w.T + b
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    loss = -np.log(p[np.arange(len(t)), t]).mean()
    g = (p - np.eye(3)[t]) / len(t)
    return logits, float(loss), g.T @ x, g.sum(axis=0), g @ w


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", ["scratch", "torch"])
def test_the_steps_of_a_linear_model_in_numpy(kind: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(5, 4)).astype(dtype), np.array([0, 1, 2, 1, 0])
    state = {"0.weight": rng.normal(size=(3, 4)).astype(dtype), "0.bias": rng.normal(size=3).astype(dtype)}
    if kind == "scratch":
        own = loaded(scratch.Sequential(scratch.Linear(4, 3, dtype=dtype)), state)
        seen = run_scratch(own, x, t)
    else:
        twin = nn.Sequential(nn.Linear(4, 3)).to(getattr(torch, dtype))
        weights.load_torch_state(twin, state)
        seen = run_torch(twin, x, t)
        np.testing.assert_array_equal(weights.torch_state(twin)["0.weight"], state["0.weight"])
    w, b = (array.astype(np.float64) for array in state.values())
    logits, loss, grad_w, grad_b, grad_x = scores_and_gradients(w, b, x, t)
    steps, ending = (3, "after 3 steps") if dtype == "float64" else (1, "after 1 step")
    velocity_w, velocity_b = np.zeros_like(w), np.zeros_like(b)
    right: dict[str, Any] = {"loss": loss, "0.grad_weight": grad_w, "0.grad_bias": grad_b, "grad_input": grad_x}
    right |= {"logits": logits, "logits of one image": logits[:1], "logits in evaluation": logits}
    for _ in range(steps):
        _, _, step_w, step_b, _ = scores_and_gradients(w, b, x, t)
        velocity_w = 0.9 * velocity_w + step_w + 0.01 * w
        velocity_b = 0.9 * velocity_b + step_b + 0.01 * b
        w, b = w - 0.05 * velocity_w, b - 0.05 * velocity_b
    right |= {f"0.weight {ending}": w, f"0.bias {ending}": b}
    assert seen.keys() == right.keys()
    for name, array in right.items():
        assert seen[name].dtype == dtype
        assert seen[name].shape == np.shape(array)
        np.testing.assert_allclose(seen[name], array, rtol=1e-12 if dtype == "float64" else 1e-5, err_msg=name)


def norms(kind: str, *, blank_free: bool) -> Tensors:
    """The steps of a model with a normalisation, which evaluates with what it has seen in training."""
    x, t = np.random.default_rng(0).normal(size=(5, 2, 2, 2)) + 3, np.array([0, 1, 2, 1, 0])
    twin = nn.Sequential(nn.BatchNorm2d(2, momentum=0.5), nn.Flatten(), nn.Linear(8, 3)).double()
    if kind == "torch":
        return run_torch(twin, x, t, blank_free=blank_free)
    norm = scratch.BatchNorm2d(2, momentum=0.5, dtype="float64")
    own = scratch.Sequential(norm, scratch.Flatten(), scratch.Linear(8, 3, dtype="float64"))
    return run_scratch(loaded(own, weights.torch_state(twin)), x, t, blank_free=blank_free)


@pytest.mark.parametrize("kind", ["scratch", "torch"])
def test_a_model_is_asked_in_training_but_once_in_evaluation(kind: str) -> None:
    seen = norms(kind, blank_free=True)
    # Both scores, the gradient of the images, and three steps.
    assert seen["0.num_batches_tracked after 3 steps"] == 6
    assert "grad_input" in seen
    assert np.abs(seen["logits"] - seen["logits in evaluation"]).max() > 1e-3
    blank = norms(kind, blank_free=False)
    assert blank["0.num_batches_tracked after 3 steps"] == 5
    assert "grad_input" not in blank


def test_what_was_seen_of_a_model_stays_when_the_model_goes_on() -> None:
    own = loaded(own_model(), STATE)
    seen = run_scratch(own, IMAGES, LABELS)
    assert own.training
    before = {name: array.copy() for name, array in seen.items()}
    for array in own.state_dict().values():
        array[...] = 0
    own(IMAGES)
    for name, array in before.items():
        np.testing.assert_array_equal(seen[name], array)


def test_a_gradient_that_a_model_does_not_give_is_missing() -> None:
    class Silent(scratch.Linear):
        def backward(self, grad_output: Array) -> Any:
            self.weight.accumulate_grad(0 * self.weight.data + grad_output.sum())
            return None

        def backward_parameters(self, grad_output: Array) -> None:
            self.backward(grad_output)

    seen = run_scratch(Silent(4, 3, dtype="float64"), np.ones((2, 4)), np.array([0, 1]))
    assert "grad_input" not in seen
    assert "grad_bias" not in seen
    assert "grad_weight" in seen

    frozen = torch_model()
    frozen[0].bias.requires_grad_(False)
    assert "0.grad_bias" not in run_torch(frozen, IMAGES, LABELS)


def test_the_loss_and_the_gradients_are_those_of_the_first_step() -> None:
    given: list[float] = []

    def step(model: scratch.Module, *_: Any) -> tuple[float, int]:
        given.append(len(given) + 7.0)
        for parameter in model.parameters():
            parameter.grad = np.full(parameter.data.shape, given[-1])
        return given[-1], 0

    seen = run_scratch(loaded(own_model(), STATE), IMAGES, LABELS, train_step=step)
    assert given == [7, 8, 9]
    assert seen["loss"] == 7
    assert (seen["3.grad_weight"] == 7).all()
    np.testing.assert_array_equal(seen["3.weight after 3 steps"], STATE["3.weight"])


# What may differ


def test_what_parameters_were_before_has_their_names_after() -> None:
    for dtype, ending in (("float64", "after 3 steps"), ("float32", "after 1 step")):
        before = updated_from(torch_model(), dtype)
        assert list(before) == [f"{name} {ending}" for name in STATE]
        np.testing.assert_array_equal(before[f"3.bias {ending}"], STATE["3.bias"])


def test_how_many_perturbations_the_roundings_amount_to() -> None:
    assert end_to_end.roundings_of(torch_model()) == conditioning_factor(3) == 8 * 3**0.5
    assert end_to_end.roundings_of(nn.Sequential(nn.ReLU())) == 8


def test_the_rounding_of_the_layers_by_the_rules_of_their_kinds() -> None:
    reference = torch_model()
    calls = record_calls(reference, IMAGES, LABELS)
    own = end_to_end.own_rounding_of_gradients(reference, IMAGES, LABELS)
    first, last = (sum_of_products(reference[n], [calls[str(n)]], "float64") for n in (0, 3))
    loss = cross_entropy(nn.CrossEntropyLoss(), [calls["loss"]], "float64")
    right = {
        "loss": loss["output"],
        "logits": last["output"],
        "grad_input": first["grad_input"],
        "0.grad_weight": first["grad_weight"],
        "0.grad_bias": first["grad_bias"],
        "3.grad_weight": last["grad_weight"],
        "3.grad_bias": last["grad_bias"],
    }
    assert own.keys() == right.keys()
    for name, bound in right.items():
        np.testing.assert_array_equal(own[name], bound)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_without_perturbations_only_the_last_rounding_of_each_tensor_is_left(
    monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    monkeypatch.setattr(end_to_end, "one_ulp_away", lambda x, _: x)
    monkeypatch.setattr(end_to_end, "moved_reference", lambda reference, *_: reference)
    reference, images = torch_model(getattr(torch, dtype)), IMAGES.astype(dtype)
    found = bounds_end_to_end(reference, images, LABELS, seed=0)
    own = end_to_end.own_rounding_of_gradients(reference, images, LABELS)
    assert found.keys() == run_torch(reference, images, LABELS).keys()
    for name, bound in own.items():
        np.testing.assert_array_equal(found[name], bound)
    np.testing.assert_array_equal(found["logits in evaluation"], own["logits"])
    np.testing.assert_array_equal(found["logits of one image"], own["logits"][:1])
    # The gradient of the first of three steps counts three times, that of the second twice.
    times, steps, ending = (6, 3, "after 3 steps") if dtype == "float64" else (1, 1, "after 1 step")
    rounding = 2 * growth(np.asarray(8.0 * steps), dtype)
    for name in ("0.weight", "0.bias", "3.weight", "3.bias"):
        size = np.abs(weights.torch_state(reference)[name])
        owner, leaf = name.split(".")
        right = 0.05 * times * own[f"{owner}.grad_{leaf}"] + rounding * size
        np.testing.assert_allclose(found[f"{name} {ending}"], right, rtol=1e-12)


def test_the_bounds_have_the_worst_of_eight_perturbations(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = torch_model()
    expected = run_torch(reference, IMAGES, LABELS, blank_free=False)
    changes = iter([0.0, 1e-3, -4e-3, 2e-3, 1e-3, 1e-3, 1e-3, -1e-3, 3e-3, 100.0])
    given: list[Any] = []

    def moved(original: nn.Module, images: int, rng: np.random.Generator) -> nn.Module:
        assert isinstance(rng, np.random.Generator)
        given.append(images)
        twin = copy.deepcopy(original)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.add_(0.25)
        return twin

    def run(_: nn.Module, images: Array, labels: Array, *, blank_free: bool) -> Tensors:
        given.append((images, labels, blank_free))
        change = next(changes)
        return {name: array + change + 0.25 * ("after" in name) * (len(given) > 1) for name, array in expected.items()}

    monkeypatch.setattr(end_to_end, "moved_reference", moved)
    monkeypatch.setattr(end_to_end, "run_torch", run)
    monkeypatch.setattr(
        end_to_end, "one_ulp_away", lambda x, rng: x + 1 if isinstance(rng, np.random.Generator) else rng
    )
    found = bounds_end_to_end(reference, IMAGES, LABELS, seed=0, blank_free=False)
    assert found.keys() == expected.keys()
    # The convolution, the linear layer and the loss. Weights count by how far they are moved anew.
    for name, bound in found.items():
        np.testing.assert_allclose(bound, np.broadcast_to(8 * 3**0.5 * 4e-3, bound.shape), rtol=1e-6, err_msg=name)
    first, *others = given
    assert (first[0] is IMAGES, first[1] is LABELS, first[2]) == (True, True, False)
    assert others[::2] == [5] * 8
    for images, labels, blank_free in others[1::2]:
        np.testing.assert_array_equal(images, IMAGES + 1)
        assert labels is LABELS
        assert not blank_free


def test_the_seed_draws_the_perturbations_and_a_gradient_of_the_images_is_bounded_where_it_is_asked_for() -> None:
    reference = torch_model()
    found = [bounds_end_to_end(reference, IMAGES, LABELS, seed) for seed in (1, 1, 2)]
    same = [{name: np.array_equal(found[0][name], other[name]) for name in other} for other in found[1:]]
    assert all(same[0].values())
    assert not all(same[1].values())  # those of some tensors do not depend on it, on some processors
    assert "grad_input" in found[0]
    assert "grad_input" not in bounds_end_to_end(reference, IMAGES, LABELS, 1, blank_free=False)


# How a model is checked


def wrong(rows: list[Row]) -> list[tuple[str, str]]:
    return [(row.case, row.tensor) for row in rows if not row.ok]


LAYERS = ["0 isolated", "1 isolated", "2 isolated", "3 isolated", "loss isolated"]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("blank_free", [True, False, None])
def test_a_right_model_agrees_layer_by_layer_and_end_to_end(dtype: str, blank_free: bool | None) -> None:
    state = {name: array.astype(dtype) for name, array in STATE.items()}
    images, labels = IMAGES.astype(dtype), LABELS.copy()
    more = {} if blank_free is None else {"blank_free": blank_free}
    rows = check_model(SMALL, state, images, labels, **more)
    assert wrong(rows) == []
    assert {(row.pair, row.dtype) for row in rows if row.tensor != "input 1 after use"} == {("small", dtype)}
    assert list(dict.fromkeys(row.case for row in rows)) == [*LAYERS, "end to end, 5 images"]
    ends = [row.tensor for row in rows if row.case.startswith("end")]
    assert ("grad_input" in ends) == bool(blank_free)
    assert "loss" in ends
    isolated = check_layers(SMALL, state, images, labels)
    assert isolated == [row for row in rows if "isolated" in row.case]


def test_the_layers_are_held_to_the_rule_of_their_kind_on_what_the_reference_gave_its_own() -> None:
    rows = check_layers(SMALL, STATE, IMAGES, LABELS)
    reference = torch_model()
    calls = record_calls(reference, IMAGES, LABELS)
    of_loss = {row.tensor: row for row in rows if row.case == "loss isolated"}
    bound = cross_entropy(nn.CrossEntropyLoss(), [calls["loss"]], "float64")["output"]
    assert of_loss["output"].bound == float(bound)
    used = {"input after use", "input 1 after use", "grad_output after use"}
    assert of_loss.keys() == {"output", "grad_input"} | used
    relu = {row.tensor: row for row in rows if row.case == "1 isolated"}
    assert relu["output"].shape == calls["1"].inputs[0].shape
    assert relu["output"].bound == 0


def test_the_seed_of_a_model_check_draws_its_perturbations() -> None:
    images = IMAGES[:2]
    used = []
    with pytest.MonkeyPatch.context() as patch:

        def bounds(*given: Any, **more: Any) -> Tensors:
            used.append((given[3], more))
            return bounds_end_to_end(*given, **more)

        patch.setattr(models, "bounds_end_to_end", bounds)
        check_model(SMALL, STATE, images, LABELS[:2], 7, blank_free=True)
        check_model(SMALL, STATE, images, LABELS[:2])
    assert used == [(7, {"blank_free": True}), (0, {"blank_free": False})]


def test_images_that_rounding_could_decide_are_left_out_end_to_end() -> None:
    state = {name: array.copy() for name, array in STATE.items()}
    state["0.bias"][...] = 0
    images = IMAGES.copy()
    images[3, 0, :2, :2] = 1e-17
    assert [row.case for row in check_model(SMALL, state, images, LABELS)][-1] == "end to end, 4 images"
    one = {row.case for row in check_model(SMALL, state, images[2:4], LABELS[2:4])}
    assert one == {*LAYERS, "end to end, 1 images"}
    # A lone image, all of which is small, is decided; beside a large one it is not.
    images = np.full((2, 1, 3, 4), 1e-17)
    images[:, 0, 2, 3] = 1
    rows = check_model(SMALL, state, images, LABELS[:2])
    assert wrong(rows) == [("end to end", "all tensors")]
    assert (rows[-1].pair, rows[-1].dtype) == ("small", "float64")
    problem = "not proven: rounding could decide a ReLU or a pooling of every image; take other images"
    assert rows[-1].problem == problem
    assert len(rows) == len(check_layers(SMALL, state, images, LABELS[:2])) + 1


def norm_pair() -> ModelPair:
    def own(dtype: str) -> scratch.Module:
        norm = scratch.BatchNorm2d(2, dtype=dtype)
        return scratch.Sequential(norm, scratch.Flatten(), scratch.Linear(8, 3, dtype=dtype))

    def twin(dtype: torch.dtype) -> nn.Module:
        return nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3)).to(dtype)

    return ModelPair("norm", own, twin)


def test_what_the_layers_saw_one_by_one_is_forgotten_before_both_run_end_to_end() -> None:
    pair = norm_pair()
    state = weights.torch_state(pair.torch(dtype=torch.float64))
    images = np.random.default_rng(0).normal(size=(4, 2, 2, 2)) + 5
    given: list[Any] = []

    def run(model: scratch.Module, *arguments: Any, **more: Any) -> Tensors:
        given.append(model.state_dict()["0.running_mean"].copy())
        return run_scratch(model, *arguments, **more)

    def loose(*arguments: Any, **more: Any) -> Tensors:
        right = run_torch(*arguments[:3], **more)
        return {name: np.full(array.shape, 1e-12) for name, array in right.items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "run_scratch", run)
        patch.setattr(models, "bounds_end_to_end", loose)
        rows = check_model(pair, state, images, LABELS[:4], blank_free=True)
    assert "end to end, 4 images" in {row.case for row in rows}
    assert not [case for case, _ in wrong(rows) if case.startswith("end")]
    assert given[0].tolist() == [0, 0]


def test_a_model_that_overwrites_its_images_does_not_overwrite_ours() -> None:
    class Overwrites(scratch.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, layer in own_model().named_children():
                setattr(self, name, layer)

        def forward(self, x: Array) -> Array:
            y = x.copy()
            x[...] = 0
            for _, layer in self.named_children():
                y = layer(y)
            return y

    images, labels = IMAGES.copy(), LABELS.copy()
    pair = dataclasses.replace(SMALL, scratch=lambda dtype: Overwrites().to(lambda array: array.astype(dtype)))
    rows = check_model(pair, STATE, images, labels)
    assert {case for case, _ in wrong(rows)} == {"end to end, 5 images"}
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


def test_an_update_that_is_not_made_is_told_by_its_size() -> None:
    seen: list[Any] = []

    def compare(*given: Any, **more: Any) -> list[Row]:
        seen.append((given, more))
        return []

    with pytest.MonkeyPatch.context() as patch:
        for module in ("models", "pair"):  # end to end, and layer by layer
            patch.setattr(f"compare.pairs.{module}.compare", compare)
        assert check_model(SMALL, STATE, IMAGES, LABELS) == []
    (given, more) = seen[-1]
    assert given[:2] == ("small", "end to end, 5 images")
    np.testing.assert_array_equal(more["start"]["3.weight after 3 steps"], STATE["3.weight"])
    assert [(case, more) for (_, case, *_), more in seen[:-1]] == [(case, {"extreme": ""}) for case in LAYERS]


class Raises(scratch.ReLU):
    def forward(self, _: Array) -> Array:
        raise SystemExit("no")


def test_whatever_a_model_raises_is_a_finding_where_it_raises_it() -> None:
    def refuse(**_: Any) -> scratch.Module:
        raise KeyError("dtype")

    (row,) = check_model(dataclasses.replace(SMALL, scratch=refuse), STATE, IMAGES, LABELS)
    assert (row.pair, row.case, row.dtype, row.problem) == (
        "small",
        "all layers",
        "float64",
        "raised KeyError: 'dtype'",
    )

    def breaks(dtype: str) -> scratch.Module:
        model: Any = own_model(dtype)
        setattr(model, "1", Raises())
        return model

    rows = check_model(dataclasses.replace(SMALL, scratch=breaks), STATE, IMAGES, LABELS)
    found = [(row.case, row.tensor, row.problem) for row in rows if not row.ok]
    assert found == [(case, "all tensors", "raised SystemExit: no") for case in ("1 isolated", "end to end, 5 images")]
    assert {(row.pair, row.dtype) for row in rows if row.tensor != "input 1 after use"} == {("small", "float64")}


def test_a_layer_that_the_model_lacks_is_a_finding_and_the_others_are_compared() -> None:
    class Renamed(scratch.Module):
        def __init__(self, dtype: str) -> None:
            super().__init__()
            for name, layer in own_model(dtype).named_children():
                setattr(self, "other" if name == "1" else name, layer)

    rows = check_layers(dataclasses.replace(SMALL, scratch=Renamed), STATE, IMAGES, LABELS)
    (bad,) = [row for row in rows if not row.ok]
    assert (bad.pair, bad.case, bad.dtype, bad.problem) == (
        "small",
        "1 isolated",
        "float64",
        "the model has no such layer",
    )
    assert {row.case for row in rows} == set(LAYERS)


def test_the_calls_of_a_layer_are_compared_whole() -> None:
    pair = REGISTRY["relu"]
    assert isinstance(pair, LayerPair)
    x = np.array([[1.0, -2.0]])
    calls = [Call((x,), np.ones((1, 2))), Call((x + 1,), np.ones((1, 2)))]
    rows = pair.check_calls("name", "case", scratch.ReLU(), nn.ReLU(), calls, "float64")
    assert wrong(rows) == []
    assert {(row.pair, row.case, row.dtype) for row in rows} == {("name", "case", "float64")}
    assert "grad_input of call 2" in {row.tensor for row in rows}
    (row,) = pair.check_calls("name", "case", Raises(), nn.ReLU(), calls, "float32")
    assert (row.pair, row.case, row.dtype, row.problem) == ("name", "case", "float32", "raised SystemExit: no")


def test_both_twins_have_the_dtype_of_the_images() -> None:
    made: list[Any] = []

    def own(dtype: str) -> scratch.Module:
        made.append(dtype)
        return own_model(dtype)

    def twin(dtype: torch.dtype) -> nn.Module:
        made.append(dtype)
        return torch_model(dtype)

    state = {name: array.astype(np.float32) for name, array in STATE.items()}
    pair = ModelPair("small", own, twin, (1, 3, 4), 3)
    assert not wrong(check_layers(pair, state, IMAGES.astype(np.float32), LABELS))
    assert made == [torch.float32, "float32"]
