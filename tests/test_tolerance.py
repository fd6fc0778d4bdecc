"""The bounds: by hand, against what rounding really does, and never loose."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from compare import tolerance
from compare.observe import Call, observe_torch, observe_torch_optimizer
from compare.pairs import REGISTRY, Case, LayerPair
from compare.verify.agreement import draw_call, make_twins
from compare.verify.report import LOOSEST, compare


def test_growth_by_hand() -> None:
    u = 2.0**-53
    assert tolerance.unit_roundoff("float64") == u
    assert tolerance.unit_roundoff("float32") == 2.0**-24
    few, many = tolerance.growth(np.array([1.0, 10000.0]), "float64")
    assert few == pytest.approx(u)  # one rounding: the worst case is smaller than 4·√1·u
    assert many == pytest.approx(4 * 100 * u)  # ten thousand: what 100 of them in one direction would be, times λ
    assert tolerance.growth(np.zeros(1), "float32") == 0


def test_terms_are_counted_by_the_reference_itself() -> None:
    conv = nn.Conv2d(2, 3, 3, padding=1)
    counts = tolerance.term_counts(conv, [Call((np.zeros((5, 2, 4, 4)),), np.zeros((5, 3, 4, 4)))])
    assert counts["output"][0, 0, 1, 1] == 2 * 9 + 1  # every product of an inner window, and the bias
    assert counts["output"][0, 0, 0, 0] == 2 * 4 + 1  # a corner sees four pixels
    assert counts["grad_input"][0, 0, 1, 1] == 3 * 9
    assert counts["grad_weight"][0, 0, 1, 1] == 5 * 16
    assert counts["grad_weight"][0, 0, 0, 0] == 5 * 9
    assert counts["grad_bias"].tolist() == [5 * 16] * 3


def test_a_sum_of_products_by_hand() -> None:
    linear = nn.Linear(2, 1, bias=False, dtype=torch.float64)
    linear.weight.data[...] = torch.tensor([[3.0, -4.0]])
    bounds = tolerance.sum_of_products(linear, [Call((np.array([[1.0, 1.0]]),), np.array([[2.0]]))], "float64")
    gamma = 2 * 2.0**-53
    np.testing.assert_allclose(bounds["output"], [[2 * gamma * 7]], rtol=1e-12)  # |3·1| + |-4·1|
    np.testing.assert_allclose(bounds["grad_weight"], [[2 * 2.0**-53 * 2] * 2], rtol=1e-12)


def test_pooling_without_overlap_must_be_equal_and_with_overlap_may_round() -> None:
    x, rng = np.random.default_rng(0).standard_normal((1, 1, 5, 5)), np.random.default_rng(1)
    apart, overlapping = nn.MaxPool2d(2), nn.MaxPool2d(3, stride=1)
    bounds = tolerance.selection(apart, [Call((x,), rng.standard_normal((1, 1, 2, 2)))], "float64")
    assert not any(bound.any() for bound in bounds.values())
    bounds = tolerance.selection(overlapping, [Call((x,), rng.standard_normal((1, 1, 3, 3)))], "float64")
    assert bounds["grad_input"].any()
    assert not bounds["output"].any()


@pytest.mark.parametrize("name", ["conv2d", "linear", "softmax", "log_softmax", "cross_entropy"])
def test_rounding_stays_inside_half_the_bound_of_two_implementations(name: str) -> None:
    """Torch in float32 against torch in float64 is one implementation's error: half of what two may differ by."""
    pair = REGISTRY[name]
    assert isinstance(pair, LayerPair)
    for seed in range(20):
        case, rng = pair.cases[0], np.random.default_rng(seed)
        _, narrow = make_twins(pair, case, "float32", rng)
        call = draw_call(pair, case, narrow, "float32", rng)
        bounds, got = pair.rule(narrow, [call], "float32"), observe_torch(narrow, [call])
        wide = tolerance.module_with(narrow, torch.Tensor.double)
        exact = observe_torch(wide, [tolerance.in_float64(call, lambda array: array)])
        for tensor, bound in bounds.items():
            error = np.abs(got[tensor].astype(np.float64) - exact[tensor])
            assert (error <= bound / 2).all(), tensor


def test_a_wide_layer_stays_inside_its_bound_too() -> None:
    pair = REGISTRY["conv2d"]
    assert isinstance(pair, LayerPair)
    case = Case((2, 256, 6, 6), {"in_channels": 256, "out_channels": 8, "kernel_size": 3})  # 2304 products a sum
    rng = np.random.default_rng(0)
    own, twin = make_twins(pair, case, "float32", rng)
    call = draw_call(pair, case, twin, "float32", rng)
    share = np.abs(own(*call.inputs) - observe_torch(twin, [call])["output"])
    assert (share <= pair.rule(twin, [call], "float32")["output"]).all()


def test_no_bound_in_float64_is_looser_than_a_billionth() -> None:
    """The report enforces it row by row; here for the widest sum of the registry, by the numbers."""
    pair = REGISTRY["conv2d"]
    assert isinstance(pair, LayerPair)
    rng = np.random.default_rng(0)
    for case in pair.cases:
        _, twin = make_twins(pair, case, "float64", rng)
        call = draw_call(pair, case, twin, "float64", rng)
        expected, bounds = observe_torch(twin, [call]), pair.rule(twin, [call], "float64")
        for name, tensor in expected.items():
            assert bounds[name].max() <= LOOSEST * np.abs(tensor).max()


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("conv2d", "grad_weight"),
        ("linear", "grad_weight"),
        ("softmax", "output"),
        ("softmax", "grad_input"),
        ("log_softmax", "output"),
        ("log_softmax", "grad_input"),
        ("cross_entropy", "output"),
        ("cross_entropy", "grad_input"),
    ],
)
@pytest.mark.parametrize("relative", [1e-9, 1e-12])
def test_a_tiny_relative_error_in_one_element_is_caught(name: str, tensor: str, relative: float) -> None:
    pair = REGISTRY[name]
    assert isinstance(pair, LayerPair)
    rng = np.random.default_rng(0)
    _, twin = make_twins(pair, pair.cases[0], "float64", rng)
    call = draw_call(pair, pair.cases[0], twin, "float64", rng)
    expected, bounds = observe_torch(twin, [call]), pair.rule(twin, [call], "float64")
    got = {seen: array.copy() for seen, array in expected.items()}
    largest = np.unravel_index(np.abs(got[tensor]).argmax(), got[tensor].shape)
    got[tensor][largest] *= 1 + relative
    wrong = [row for row in compare(name, "", got, expected, bounds) if not row.ok]
    assert [row.tensor for row in wrong] == [tensor]


@pytest.mark.parametrize("relative", [1e-9, 1e-12])
def test_a_tiny_relative_error_in_an_updated_parameter_is_caught(relative: float) -> None:
    start, gradients = {"w": np.ones(3)}, [{"w": np.array([1.0, -2.0, 3.0])} for _ in range(5)]
    options = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1}
    expected = observe_torch_optimizer(lambda tensors: torch.optim.SGD(tensors, **options), start, gradients)  # type: ignore[arg-type]
    bounds = tolerance.sgd(torch.optim.SGD, options, start, gradients, "float64")
    got = {name: array.copy() for name, array in expected.items()}
    got["w"][1] *= 1 + relative
    wrong = [row for row in compare("sgd", "", got, expected, bounds, start=start) if not row.ok]
    assert [row.tensor for row in wrong] == ["w"]
