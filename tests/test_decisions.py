"""Decisions by hand: where they turn, how narrowly, and a training step that is taken under given ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import torch_ref
from compare.driving.tensors import Tensors
from compare.pairs import weights
from compare.pairs.bounds import growth
from compare.pairs.decisions import Flip, decided, deciding_layers, flips, impose
from compare.pairs.end_to_end import own_rounding_of_gradients
from compare.pairs.layers import LAYERS
from compare.pairs.layers.activation import RELU
from compare.pairs.layers.pooling import MAXPOOL2D
from compare.pairs.observe import Values, watch_torch
from compare.pairs.pair import chooses_elements
from compare.pairs.report import Row
from compare.verify import one_step
from compare.verify.one_step import Start, check_step, remembered, run_step, updated_name
from scratch import Array


def test_the_deciding_layers_are_relus_and_max_poolings_wherever_they_stand() -> None:
    inner = nn.Sequential(nn.MaxPool2d(2), nn.Flatten())
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), inner, nn.Linear(4, 4), nn.Sigmoid(), nn.ReLU())
    found = deciding_layers(model)
    assert [name for name, _, _ in found] == ["1", "2.0", "5"]
    assert [layer for _, layer, _ in found] == [model[1], inner[0], model[5]]
    assert [decisions for _, _, decisions in found] == [RELU.decisions, MAXPOOL2D.decisions, RELU.decisions]
    assert deciding_layers(nn.Linear(2, 2)) == []


def test_a_pooling_alone_chooses_among_elements() -> None:
    assert [pair.name for pair in LAYERS if pair.decisions is not None] == ["maxpool2d", "relu"]
    assert [pair.name for pair in LAYERS if chooses_elements(pair)] == ["maxpool2d"]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("greatest", [1.0, 4.0])
def test_a_flip_is_narrow_up_to_32_ulps_of_the_greatest_input_of_torch(dtype: str, greatest: float) -> None:
    limit = np.array(32 * np.finfo(dtype).eps * greatest, dtype)
    twin = np.array([[-greatest, -limit, np.nextafter(-limit, np.array(-1, dtype))]], dtype)
    own = np.array([[-1000.0, 1.0, 1.0]], dtype)
    found = flips(nn.Sequential(nn.ReLU()), {"0": own}, {"0": twin})
    assert [(flip.index, flip.narrow, flip.words) for flip in found] == [
        ((0, 1), True, "input"),
        ((0, 2), False, "input"),
    ]
    assert [flip.own for flip in found] == [1, 1]
    assert found[0].twin == -limit
    # From the other side of zero it is as narrow.
    found = flips(nn.Sequential(nn.ReLU()), {"0": -own}, {"0": -twin})
    assert [(flip.index, flip.narrow) for flip in found] == [((0, 0), False), ((0, 1), True), ((0, 2), False)][1:]


def test_zero_is_on_the_side_of_the_negative_numbers() -> None:
    own, twin = np.array([[0.0, 0.0, 1.0, -1.0]]), np.array([[-1.0, 1.0, 0.0, 0.0]])
    found = flips(nn.Sequential(nn.ReLU()), {"0": own}, {"0": twin})
    assert [(flip.index, flip.own, flip.twin) for flip in found] == [((0, 1), 0.0, 1.0), ((0, 2), 1.0, 0.0)]


def test_the_flips_of_several_layers_come_layer_by_layer() -> None:
    model = nn.Sequential(nn.ReLU(), nn.ReLU())
    one, two = np.array([[1.0], [-1.0]]), np.array([[-2.0], [2.0]])
    found = flips(model, {"0": one, "1": two}, {"0": -one, "1": two})
    assert [(flip.layer, flip.index) for flip in found] == [("0", (0, 0)), ("0", (1, 0))]
    found = flips(model, {"0": one, "1": two}, {"0": -one, "1": -two})
    assert [flip.layer for flip in found] == ["0", "0", "1", "1"]


AHEAD = "winner ahead of the other's by"
POOL = nn.MaxPool2d((1, 3), stride=(2, 2), padding=(0, 1))


def test_the_flips_of_a_pooling_by_hand() -> None:
    """Windows of three in a row, every second column, with a border of one: columns 0-1, 1-3 and 3-5."""
    twin = np.zeros((2, 2, 3, 6))
    twin[..., :] = [1, 2, 3, 4, 5, 6]
    own = twin.copy()
    own[1, 0, 2, 1] = 7  # wins the windows of columns 0-1 (as before) and 1-3
    own[1, 1, 0, 3] = 5.5  # wins that of 3-5 beside its own, where torch has 6 at column 5
    own[0, 0, 1] = -twin[0, 0, 1]  # a row between the windows
    found = flips(nn.Sequential(POOL), {"0": own}, {"0": twin})
    assert found == [Flip("0", (1, 0, 1, 1), 3.0, 2.0, narrow=False, words=AHEAD)]
    assert str(found[0]) == "0 at [1, 0, 1, 1]: winner ahead of the other's by 3 in scratch, 2 in torch"
    own[1, 1, 0, 3] = 6.5
    found = flips(nn.Sequential(POOL), {"0": own}, {"0": twin})
    assert found[1:] == [Flip("0", (1, 1, 0, 2), 0.5, 2.0, narrow=False, words=AHEAD)]


def test_a_flip_of_a_pooling_is_as_narrow_as_its_greatest_input_allows() -> None:
    ulp = 2.0**-52
    twin = np.array([[[[1.0, 1 + 32 * ulp], [-1.0, 0.5]]]])
    own = np.array([[[[2.0, 1.0], [0.0, 0.0]]]])
    # 32 ulps of the greatest number, which is a little above 1.
    (flip,) = flips(nn.Sequential(nn.MaxPool2d(2)), {"0": own}, {"0": twin})
    assert (flip.own, flip.twin, flip.narrow) == (1.0, 32 * ulp, True)
    twin[0, 0, 0, 1] = 1 + 33 * ulp
    (flip,) = flips(nn.Sequential(nn.MaxPool2d(2)), {"0": own}, {"0": twin})
    assert not flip.narrow
    twin[0, 0, 0, 1] = 1
    assert flips(nn.Sequential(nn.MaxPool2d(2)), {"0": own}, {"0": twin[..., ::-1].copy()}) == []


def test_imposed_decisions_by_hand() -> None:
    relu, pool = nn.Sequential(nn.ReLU()), nn.Sequential(copy.deepcopy(POOL))
    impose(relu, {"0": np.array([[0.0, 1.0, -1.0]])})
    assert relu(torch.tensor([[5.0, -6.0, 7.0]])).tolist() == [[0.0, -6.0, 0.0]]
    impose(pool, {"0": np.array([[[[9.0, 2.0, 3.0, 4.0, 6.0, 5.0]]] * 2])})
    given = torch.tensor([[[[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]], [[-1.0, 0.0, 0.0, -4.0, -5.0, 0.0]]]])
    assert pool(given).tolist() == [[[[1.0, 4.0, 5.0]], [[-1.0, -4.0, -5.0]]]]
    both = nn.Sequential(nn.ReLU(), nn.ReLU())
    impose(both, {"0": np.array([[1.0, -1.0]]), "1": np.array([[1.0, 1.0]])})
    assert both(torch.tensor([[-3.0, 4.0]])).tolist() == [[-3.0, 0.0]]


# Images that rounding could decide


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("layer", [nn.ReLU(), nn.MaxPool2d((1, 2))])
def test_an_image_is_decided_where_it_stands_clear_by_more_than_32_ulps(layer: nn.Module, dtype: str) -> None:
    greatest = 2.0
    limit = 32 * float(np.finfo(dtype).eps) * greatest
    # For the ReLU the numbers themselves, for the pooling their distance from 0 beside them.
    distances = [limit, 2 * limit, -limit, -2 * limit, 0.0, -greatest]
    images = np.array([[[[distance, 0.0]]] for distance in distances], dtype)
    assert decided(nn.Sequential(layer), images).tolist() == [False, True, False, True, True, True]
    # The greatest of all images counts.
    assert decided(nn.Sequential(layer), images[:-1]).tolist() == [True] * 5
    assert decided(nn.Sequential(layer), images[:1] * 0).tolist() == [True]


def test_one_undecided_element_of_one_layer_is_enough() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.MaxPool2d((1, 2)), nn.ReLU())
    nn.init.ones_(model[0].weight)  # type: ignore[arg-type]
    images = np.zeros((4, 1, 2, 4))
    images[...] = [4, 2, -1, -3]
    images[1, 0, 1] = [4, 4 - 1e-15, -1, -3]  # the pooling
    images[2, 0, 0] = [4, 2, 1e-16, -3]  # the ReLU
    images[3, 0, 1] = [4, 2, 1e-3, -3]
    assert decided(model, images).tolist() == [True, False, False, True]
    assert decided(model, images[1:3]).tolist() == [False, False]
    assert not model[1]._forward_hooks
    assert next(model.parameters()).dtype == torch.float32


def test_poolings_of_one_element_decide_nothing_and_a_border_never_wins() -> None:
    images = np.array([[[[1.0, 1 - 1e-16], [1.0, 1 - 1e-16]]]])
    assert decided(nn.Sequential(nn.MaxPool2d(1)), images).all()
    # A border of 0 would be 1e-17 ahead of the only element of its window.
    images = np.array([[[[-1e-17, -5.0, -9.0]]]])
    assert decided(nn.Sequential(nn.MaxPool2d((1, 2), stride=(1, 3), padding=(0, 1))), images).all()


@pytest.mark.parametrize(
    ("layer", "undecided"),
    [
        (nn.MaxPool2d((2, 1), stride=(2, 1)), True),
        (nn.MaxPool2d((1, 2), stride=(1, 2)), False),
        (nn.MaxPool2d(2), True),
        (nn.MaxPool2d((2, 1), stride=(2, 1), padding=(1, 0)), False),
        (nn.MaxPool2d((2, 1), stride=(4, 1), padding=(1, 0)), False),
        (nn.MaxPool2d((2, 1), stride=(1, 3)), True),
        (nn.MaxPool2d((2, 1), stride=(3, 1)), True),
        (nn.MaxPool2d(3), True),
    ],
)
def test_only_elements_of_the_same_window_are_held_against_each_other(layer: nn.Module, undecided: bool) -> None:
    images = np.arange(1.0, 21.0).reshape(1, 1, 4, 5) ** 2
    images[0, 0, 1, 0] = 1000
    images[0, 0, 0, 0] = 1000 - 1e-12
    assert decided(nn.Sequential(layer), images).tolist() == [not undecided]


# One step of training


def model() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)).double()


def batch() -> tuple[Array, Array]:
    return np.random.default_rng(0).normal(size=(5, 1, 3, 4)), np.array([0, 1, 2, 1, 0])


def sgd(own: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(own.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)


def adam(own: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(own.parameters(), lr=0.1)


def started(make: Callable[[nn.Module], torch.optim.Optimizer] = sgd) -> Start:
    """After one step, so that the optimizer remembers something."""
    own = model()
    optimizer = make(own)
    images, labels = batch()
    torch_ref.train_step(own, nn.CrossEntropyLoss(), optimizer, torch.tensor(images + 1), torch.tensor(labels))
    return Start.of(own, optimizer)


def decisions(start: Start) -> Values:
    return watch_torch(start.model, torch.tensor(batch()[0]))[0]


def step(start: Start) -> Tensors:
    return run_step(start, *batch(), decisions(start))


def test_a_start_is_a_copy_of_model_and_optimizer_that_belong_together() -> None:
    own = model()
    optimizer = sgd(own)
    images, labels = (torch.tensor(array) for array in batch())
    torch_ref.train_step(own, nn.CrossEntropyLoss(), optimizer, images, labels)
    start = Start.of(own, optimizer)
    before = weights.torch_state(start.model)
    torch_ref.train_step(own, nn.CrossEntropyLoss(), optimizer, images, labels)
    for name, array in weights.torch_state(start.model).items():
        np.testing.assert_array_equal(array, before[name])
    held = start.optimizer.param_groups[0]["params"]
    assert all(one is two for one, two in zip(held, start.model.parameters(), strict=True))
    # The copy goes on as the original did.
    torch_ref.train_step(start.model, nn.CrossEntropyLoss(), start.optimizer, images, labels)
    for name, array in weights.torch_state(own).items():
        np.testing.assert_array_equal(array, weights.torch_state(start.model)[name])


@pytest.mark.parametrize("make", [sgd, adam])
def test_a_moved_start_has_other_weights_and_remembers_the_same(make: Any) -> None:
    start = started(make)
    moved = start.moved(5, np.random.default_rng(0))
    assert type(moved.optimizer) is type(start.optimizer)
    for name, array in weights.torch_state(start.model).items():
        other = weights.torch_state(moved.model)[name]
        assert (array != other).all()
        np.testing.assert_allclose(array, other, rtol=2.3e-16)
    kept, same = remembered(start.optimizer), remembered(moved.optimizer)
    assert kept.keys() == same.keys()
    assert all(np.array_equal(array, same[name]) for name, array in kept.items())
    settings = [
        {k: v for k, v in o.param_groups[0].items() if k != "params"} for o in (start.optimizer, moved.optimizer)
    ]
    assert settings[0] == settings[1]
    held = moved.optimizer.param_groups[0]["params"]
    assert all(one is two for one, two in zip(held, moved.model.parameters(), strict=True))
    # The gradient of the scores is moved by an ulp of 1 over the number of images.
    x = torch.tensor(batch()[0][:1])
    moved.model.zero_grad()
    moved.model(x).backward(torch.zeros(1, 3, dtype=torch.float64))
    bias = moved.model.get_parameter("3.bias").grad
    assert bias is not None
    assert {abs(value) for value in bias.tolist()} == {2.0**-52 / 5}


def test_what_an_optimizer_remembers_has_names_and_is_a_copy() -> None:
    start = started()
    found = remembered(start.optimizer)
    assert list(found) == [f"optimizer {i}.momentum_buffer" for i in range(4)]
    for index, parameter in enumerate(start.model.parameters()):
        buffer = start.optimizer.state[parameter]["momentum_buffer"]
        np.testing.assert_array_equal(found[f"optimizer {index}.momentum_buffer"], buffer.numpy())
        buffer.add_(1)
        assert not np.array_equal(found[f"optimizer {index}.momentum_buffer"], buffer.numpy())
    own = model()
    optimizer = torch.optim.SGD(own.parameters(), lr=0.1)  # no momentum: nothing to remember
    torch_ref.train_step(own, nn.CrossEntropyLoss(), optimizer, *(torch.tensor(array) for array in batch()))
    assert remembered(optimizer) == {}
    assert set(remembered(started(adam).optimizer)) >= {"optimizer 0.step", "optimizer 3.exp_avg_sq"}


def test_a_step_of_torch_by_its_own_autograd() -> None:
    start = started()
    images, labels = batch()
    seen = step(start)
    twin = copy.deepcopy(start.model)
    loss = nn.CrossEntropyLoss()(twin(torch.tensor(images)), torch.tensor(labels))
    gradients = torch.autograd.grad(loss, list(twin.parameters()))
    assert seen["loss"].dtype == np.float64
    assert seen["loss"].shape == ()
    np.testing.assert_allclose(seen["loss"], loss.item(), rtol=1e-15)
    names = [name for name, _ in twin.named_parameters()]
    for index, (name, gradient) in enumerate(zip(names, gradients, strict=True)):
        old = start.model.get_parameter(name).detach().numpy()
        velocity = remembered(start.optimizer)[f"optimizer {index}.momentum_buffer"]
        g = gradient.numpy()
        new = 0.9 * velocity + g + 0.01 * old
        owner, leaf = name.split(".")
        np.testing.assert_allclose(seen[f"{owner}.grad_{leaf}"], g, rtol=1e-13, atol=1e-16)
        np.testing.assert_allclose(seen[f"optimizer {index}.momentum_buffer"], new, rtol=1e-13, atol=1e-16)
        np.testing.assert_allclose(seen[updated_name(name)], old - 0.1 * new, rtol=1e-13, atol=1e-16)
    assert updated_name("a") == "a after the step"
    assert len(seen) == 1 + 3 * 4
    assert step(start).keys() == seen.keys()
    assert all(np.array_equal(array, seen[name]) for name, array in step(start).items()), "start stays as it is"


def test_a_gradient_that_there_is_not_is_not_told_of() -> None:
    own = model()
    own[0].bias.requires_grad_(False)
    start = Start.of(own, torch.optim.SGD(own.parameters(), lr=0.1))
    assert "0.grad_bias" not in step(start)
    assert "0.grad_weight" in step(start)


def checked(start: Start, got: Tensors, decided_on: Values, seed: int = 3) -> tuple[list[Row], list[Flip]]:
    return check_step("small", "step 7", start, *batch(), got, decided_on, seed)


@pytest.mark.parametrize("make", [sgd, adam])
def test_a_step_like_torchs_is_right_in_all_its_tensors_and_another_is_not(make: Any) -> None:
    start = started(make)
    got = step(start)
    rows, turned = checked(start, got, decisions(start))
    assert turned == []
    assert [row.tensor for row in rows] == list(got)
    assert all((row.ok, row.pair, row.case, row.dtype) == (True, "small", "step 7", row.dtype) for row in rows)
    other = {name: array * (1 + 1e-6) for name, array in got.items()}
    rows, _ = checked(start, other, decisions(start))
    assert [row.tensor for row in rows if not row.ok] == list(got)


def test_the_step_of_another_decision_is_right_where_it_was_narrow_and_else_told_of_first() -> None:
    start = started()
    for size, narrow in ((1e-16, True), (0.25, False)):
        # An image of torch's that stands `size` above the tie, and scratch's as far below it.
        decided_on = {name: array.copy() for name, array in decisions(start).items()}
        inputs = decided_on["1"]
        at = np.unravel_index(np.abs(inputs - size).argmin(), inputs.shape)
        assert narrow or inputs[at] > 0.1
        inputs[at] = -inputs[at]
        got = run_step(start, *batch(), decided_on)
        rows, turned = checked(start, got, decided_on)
        (flip,) = turned
        index = tuple(int(i) for i in at)
        assert (flip.layer, flip.index) == ("1", index)
        wrong = [row for row in rows if not row.ok]
        if not flip.narrow:
            assert wrong == rows[:1]
            assert (wrong[0].pair, wrong[0].case, wrong[0].dtype) == ("small", "step 7", "float64")
            assert wrong[0].problem == f"{flip}: that was not narrow"
        else:
            assert wrong == []
        assert len(rows) == len(got) + len(wrong)


def test_a_narrow_flip_is_not_wrong() -> None:
    start = started()
    decided_on = {name: array.copy() for name, array in decisions(start).items()}
    image = batch()[0]
    # Shift the bias of the first map until one of its elements is narrow in torch.
    own: Any = start.model
    with torch.no_grad():
        own[0].bias[0] -= decided_on["1"][2, 0, 1, 1] - 1e-15
    decided_on = {name: array.copy() for name, array in decisions(start).items()}
    assert abs(decided_on["1"][2, 0, 1, 1]) < 1e-14
    sign = np.sign(decided_on["1"][2, 0, 1, 1])
    decided_on["1"][2, 0, 1, 1] = 1e-15 if sign <= 0 else -1e-15
    rows, turned = checked(start, run_step(start, image, batch()[1], decided_on), decided_on)
    assert [(flip.index, flip.narrow) for flip in turned] == [((2, 0, 1, 1), True)]
    assert all(row.ok for row in rows)


def allowed(start: Start) -> tuple[Tensors, Tensors, Tensors]:
    """What a step gives, what it may differ by, and the rounding of each layer alone."""
    images, labels = batch()
    expected = step(start)
    found = one_step._bounds(start, images, labels, decisions(start), expected, np.random.default_rng(0))
    return expected, found, own_rounding_of_gradients(start.model, images, labels)


def test_without_perturbations_the_bounds_are_those_of_the_layers_and_of_the_optimizer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(one_step, "one_ulp_away", lambda x, _: x)
    monkeypatch.setattr(Start, "moved", lambda self, _images, _rng: self)
    start = started()
    expected, found, own = allowed(start)
    assert found.keys() == expected.keys()
    np.testing.assert_array_equal(found["loss"], own["loss"])
    rounding = 2 * growth(np.asarray(8.0), "float64")
    for index, (name, parameter) in enumerate(start.model.named_parameters()):
        owner, leaf = name.split(".")
        gradient, old = own[f"{owner}.grad_{leaf}"], np.abs(parameter.detach().numpy())
        np.testing.assert_array_equal(found[f"{owner}.grad_{leaf}"], gradient)
        new = np.abs(expected[updated_name(name)])
        held = np.abs(expected[f"optimizer {index}.momentum_buffer"])
        # The learning rate is 0.1; what is added to the velocity reaches the weight through it.
        np.testing.assert_allclose(found[updated_name(name)], 0.1 * gradient + rounding * (new + old), rtol=0.1)
        np.testing.assert_allclose(found[f"optimizer {index}.momentum_buffer"], gradient + rounding * held, rtol=0.2)


def test_an_error_is_carried_through_the_optimizer_with_either_sign() -> None:
    start = started()
    expected = step(start)
    errors = {name: np.full(array.shape, 0.5) for name, array in expected.items() if ".grad_" in name}
    carried = one_step._through_the_optimizer(start, expected, errors)
    assert carried.keys() == {name for name in expected if "after the step" in name or "optimizer" in name}
    for name, array in carried.items():
        np.testing.assert_allclose(array, 0.5 if "momentum" in name else 0.05, rtol=1e-9)
    # Of Adam's second moment, (g + e)² is further away than (g - e)² where g and e have one sign.
    start = started(adam)
    expected = step(start)
    before, errors = (
        remembered(start.optimizer),
        {name: np.abs(array) for name, array in expected.items() if ".grad_" in name},
    )
    carried = one_step._through_the_optimizer(start, expected, errors)
    g = expected["3.grad_bias"]
    # From (1 - β₂)·g² to (1 - β₂)·(2g)² or to 0.
    np.testing.assert_allclose(carried["optimizer 3.exp_avg_sq"], 0.001 * 3 * g * g, rtol=1e-9)
    np.testing.assert_allclose(carried["optimizer 3.exp_avg"], 0.1 * np.abs(g), rtol=1e-9)
    assert carried["optimizer 3.step"] == 0
    assert before["optimizer 3.step"] == 1
    _, found, _ = allowed(start)
    assert found["optimizer 3.step"] == 0
    assert found["optimizer 3.exp_avg_sq"].all()


def test_the_bounds_have_the_worst_of_four_perturbations(monkeypatch: pytest.MonkeyPatch) -> None:
    start, changes = started(), iter([1e-6, -3e-6, 2e-6, -1e-6, 100.0])
    expected, plain, _ = allowed(start)
    given: list[Any] = []

    def moved(self: Start, images: int, rng: np.random.Generator) -> Start:
        twin = copy.deepcopy(self)
        with torch.no_grad():
            for parameter in twin.model.parameters():
                parameter.add_(0.25)
        given.append((images, rng))
        return twin

    def stepped(_: Start, images: Array, labels: Array, decided_on: Values) -> Tensors:
        given.append((images, labels, decided_on))
        change = next(changes)
        return {name: array + change + 0.25 * ("after the step" in name) for name, array in expected.items()}

    monkeypatch.setattr(Start, "moved", moved)
    monkeypatch.setattr(one_step, "run_step", stepped)
    monkeypatch.setattr(one_step, "one_ulp_away", lambda x, rng: x + 1 if isinstance(rng, np.random.Generator) else rng)
    images, labels = batch()
    decided_on, rng = decisions(start), np.random.default_rng(0)
    found = one_step._bounds(start, images, labels, decided_on, expected, rng)
    # The convolution, the linear layer and the loss: 2·4·√3 roundings. Weights count by how far they are moved anew.
    for name, bound in found.items():
        np.testing.assert_allclose(np.broadcast_to(bound, expected[name].shape), 8 * 3**0.5 * 3e-6, rtol=1e-3)
        assert (bound >= plain[name] * 0 + 8 * 3**0.5 * 2.99e-6).all()
    assert len(given) == 8
    assert given[0] == (5, rng)
    np.testing.assert_array_equal(given[1][0], images + 1)
    assert given[1][1] is labels
    assert given[1][2] is decided_on


def test_the_seed_draws_the_perturbations() -> None:
    start = started()
    got = {name: array + 1e-17 for name, array in step(start).items()}
    bounds = [[row.bound for row in checked(start, got, decisions(start), seed)[0]] for seed in (3, 3, 4)]
    assert bounds[0] == bounds[1] != bounds[2]


def test_the_operations_of_an_optimizer_are_eight_roundings_of_what_is_updated(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any) -> Tensors:
        return {name: np.zeros(()) for name in expected if "after the step" in name or "optimizer" in name}

    start = started(adam)
    expected = step(start)
    monkeypatch.setattr(one_step, "one_ulp_away", lambda x, _: x)
    monkeypatch.setattr(Start, "moved", lambda self, _images, _rng: self)
    monkeypatch.setattr(one_step, "own_rounding_of_gradients", lambda *_: {})
    monkeypatch.setattr(one_step, "_through_the_optimizer", nothing)
    found = one_step._bounds(start, *batch(), decisions(start), expected, np.random.default_rng(0))
    old = {updated_name(name): array for name, array in weights.torch_state(start.model).items()}
    for name, array in expected.items():
        updated = name in nothing() and array.ndim > 0
        size = np.abs(array) + np.abs(old.get(name, np.zeros(()))) if updated else np.zeros(array.shape)
        np.testing.assert_allclose(found[name], 2 * 8 * 2.0**-53 * size, rtol=1e-12, err_msg=name)


def test_a_step_in_float32_is_held_to_the_bounds_of_float32() -> None:
    own = model().float()
    start = Start.of(own, sgd(own))
    images, labels = batch()[0].astype(np.float32), batch()[1]
    decided_on, _ = watch_torch(start.model, torch.from_numpy(images))
    got = run_step(start, images, labels, decided_on)
    assert {array.dtype for array in got.values()} == {np.dtype("float32")}
    rows, turned = check_step("small", "first", start, images, labels, got, decided_on, 0)
    assert (turned, [row.tensor for row in rows if not row.ok]) == ([], [])
    assert {row.dtype for row in rows} == {"float32"}
    near = {name: array * np.float32(1 + 2.0**-22) for name, array in got.items()}
    assert all(row.ok for row in check_step("", "", start, images, labels, near, decided_on, 0)[0])
    far = {name: array * np.float32(1.01) for name, array in got.items()}
    assert not any(row.ok for row in check_step("", "", start, images, labels, far, decided_on, 0)[0])
