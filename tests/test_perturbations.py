"""The bounds that are measured: what is moved by one rounding, how far, and what is allowed for it."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compare.driving.tensors import Call
from compare.pairs import end_to_end, measured
from compare.pairs.bounds import conditioning_factor
from compare.pairs.registry import model_pair
from scratch import Array

pytestmark = pytest.mark.computes


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_number_moves_to_a_neighbour_and_zeros_stay(dtype: Any) -> None:
    x: Array = np.array([1.0, -1.0, 1.5, 0.0, -0.0, 1e-30] * 40, dtype)
    moved = end_to_end.one_ulp_away(x, np.random.default_rng(0))
    assert moved.dtype == x.dtype
    up, down = np.nextafter(x, dtype(np.inf)), np.nextafter(x, dtype(-np.inf))
    assert ((moved == up) | (moved == down) | (x == 0)).all()
    assert np.array_equal(moved[x == 0], x[x == 0])
    for value in (1.0, -1.0, 1.5):
        assert len(np.unique(moved[x == value])) == 2


def test_a_moved_reference_is_one_ulp_away_in_weights_and_in_the_gradient_of_its_scores() -> None:
    pair = model_pair("cnn")
    probe = pair.probe("float64", np.random.default_rng(0), images=4)
    reference = pair.reference(probe)
    before = {name: parameter.detach().clone() for name, parameter in reference.named_parameters()}
    moved = end_to_end.moved_reference(reference, 4, np.random.default_rng(1))
    for name, parameter in moved.named_parameters():
        was, now = before[name].numpy(), parameter.detach().numpy()
        assert np.array_equal(reference.get_parameter(name).detach().numpy(), was)
        nonzero = was != 0
        assert ((now != was) == nonzero).all()
        assert (np.abs(now - was)[nonzero] <= np.spacing(np.abs(was))[nonzero]).all()
    # The gradient of the last bias is that of the scores, here of one image.
    image = torch.tensor(probe.calls[0].inputs[0][:1])
    gradients = []
    for model in (reference, moved):
        model.zero_grad()
        model(image).backward(torch.zeros(1, 10, dtype=torch.float64))
        gradients.append(model.get_parameter("fc1.bias").grad)
    assert gradients[0] is not None
    assert not gradients[0].any()
    assert gradients[1] is not None
    assert set(gradients[1].tolist()) == {-(2.0**-52) / 4, 2.0**-52 / 4}


def test_a_bound_end_to_end_grows_with_what_a_model_amplifies() -> None:
    pair = model_pair("cnn")
    probe = pair.probe("float64", np.random.default_rng(0), images=4)
    reference = pair.reference(probe)
    images, labels = probe.calls[0].inputs
    bounds = end_to_end.bounds_end_to_end(reference, images, labels, seed=0)
    with torch.no_grad():
        reference.get_parameter("fc1.weight").mul_(1000.0)
    wider = end_to_end.bounds_end_to_end(reference, images, labels, seed=0)
    ratio = float(np.mean(wider["logits"]) / np.mean(bounds["logits"]))
    assert 300 < ratio < 3000  # as the scores, up to which of the perturbations is the worst
    own = end_to_end.own_rounding_of_gradients(reference, images, labels)
    assert all((wider[name] >= own[name]).all() for name in own)
    assert end_to_end.roundings_of(reference) == conditioning_factor(3)  # two layers with weights, and the loss


def values(result: torch.Tensor) -> float:
    return round(float(result.detach()), 9)


def test_every_weight_every_number_between_layers_and_every_gradient_is_moved() -> None:
    """With a size that shows: each factor 1 ± 1/4 is there by chance, once for each place where a number passes."""
    size = 0.25
    reference = nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(reference.weight)
    outputs, gradients = set(), set()
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        moved, sizes = measured._moved(reference, size, generator, set())
        x = torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
        y = moved(x)
        y.backward()
        assert x.grad is not None
        outputs.add(values(y))
        gradients.add(values(x.grad))
        assert sizes == [1]
    # What is given, the weight and what comes out; backward through all three, and the upstream gradient itself.
    for found, places in ((outputs, 3), (gradients, 4)):
        assert found == {
            round(math.prod(factors), 9) for factors in itertools.product((1 - size, 1 + size), repeat=places)
        }
    assert reference.weight.item() == 1


@pytest.mark.parametrize("layer", [nn.ReLU(), nn.Flatten(), nn.MaxPool2d(1), nn.Identity()])
def test_what_passes_numbers_on_moves_none(layer: nn.Module) -> None:
    x = torch.rand(2, 1, 2, 2, dtype=torch.float64)
    passing = measured._passing(layer, Call((x.numpy(),), np.zeros(())))
    assert passing == {""}
    moved, sizes = measured._moved(layer, 0.25, torch.Generator().manual_seed(0), passing)
    assert torch.equal(moved(x), layer(x))
    assert sizes == []


def test_without_a_gradient_a_moved_module_still_runs() -> None:
    moved, _ = measured._moved(nn.Linear(2, 2).double(), 1e-8, torch.Generator().manual_seed(0), set())
    with torch.no_grad():
        assert moved(torch.ones(1, 2, dtype=torch.float64)).shape == (1, 2)


def test_what_is_measured_is_allowed_many_times_over_and_what_must_stay_not_at_all() -> None:
    rng = np.random.default_rng(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    call = Call((rng.standard_normal((5, 3)).astype(np.float32),), np.ones((5, 2), np.float32))
    found = measured.measured(module, [call], "float32")
    for name, bound in found.items():
        assert len(np.unique(bound)) == 1
        assert (bound == 0).all() == ("after use" in name)
    # One rounding of every number moves an output by about u·|W|·|x|; 2·λ·√(L·n) of them are allowed: L is 3, n is 20.
    narrow = float(found["output"].max())
    assert 1e-6 < narrow < 1e-3
    double = float(measured.measured(module, [call], "float64")["output"].max())
    assert narrow / double == pytest.approx(2.0**29, rel=0.5)
