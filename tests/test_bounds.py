"""The bounds: by hand, against what rounding really does, and never loose."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import scratch
from compare.driving.tensors import Call
from compare.pairs import bounds as derived
from compare.pairs import optimizers
from compare.pairs.cases import Case
from compare.pairs.layers import normalisation, pooling
from compare.pairs.observe import observe_torch, observe_torch_optimizer
from compare.pairs.optimizers import OptimizerPair
from compare.pairs.pair import LayerPair
from compare.pairs.registry import REGISTRY
from compare.pairs.report import LOOSEST, compare
from compare.verify.agreement import check
from scratch import Array

pytestmark = pytest.mark.computes


def test_growth_by_hand() -> None:
    u = 2.0**-53
    assert derived.unit_roundoff("float64") == u
    assert derived.unit_roundoff("float32") == 2.0**-24
    few, many = derived.growth(np.array([1.0, 10000.0]), "float64")
    assert few == pytest.approx(u)  # one rounding: the worst case is smaller than 4·√1·u
    assert many == pytest.approx(4 * 100 * u)  # ten thousand: what 100 of them in one direction would be, times λ
    assert derived.growth(np.zeros(1), "float32") == 0


def test_terms_are_counted_by_the_reference_itself() -> None:
    conv = nn.Conv2d(2, 3, 3, padding=1)
    counts = derived.term_counts(conv, [Call((np.zeros((5, 2, 4, 4)),), np.zeros((5, 3, 4, 4)))])
    assert counts["output"][0, 0, 1, 1] == 2 * 9 + 1  # every product of an inner window, and the bias
    assert counts["output"][0, 0, 0, 0] == 2 * 4 + 1  # a corner sees four pixels
    assert counts["grad_input"][0, 0, 1, 1] == 3 * 9
    assert counts["grad_weight"][0, 0, 1, 1] == 5 * 16
    assert counts["grad_weight"][0, 0, 0, 0] == 5 * 9
    assert counts["grad_bias"].tolist() == [5 * 16] * 3


def test_a_sum_of_products_by_hand() -> None:
    linear = nn.Linear(2, 1, bias=False, dtype=torch.float64)
    linear.weight.data[...] = torch.tensor([[3.0, -4.0]])
    bounds = derived.sum_of_products(linear, [Call((np.array([[1.0, 1.0]]),), np.array([[2.0]]))], "float64")
    gamma = 2 * 2.0**-53
    np.testing.assert_allclose(bounds["output"], [[2 * gamma * 7]], rtol=1e-12)  # |3·1| + |-4·1|
    np.testing.assert_allclose(bounds["grad_weight"], [[2 * 2.0**-53 * 2] * 2], rtol=1e-12)


def test_pooling_without_overlap_must_be_equal_and_with_overlap_may_round() -> None:
    x, rng = np.random.default_rng(0).standard_normal((1, 1, 5, 5)), np.random.default_rng(1)
    apart, overlapping = nn.MaxPool2d(2), nn.MaxPool2d(3, stride=1)
    bounds = pooling.selection(apart, [Call((x,), rng.standard_normal((1, 1, 2, 2)))], "float64")
    assert not any(bound.any() for bound in bounds.values())
    bounds = pooling.selection(overlapping, [Call((x,), rng.standard_normal((1, 1, 3, 3)))], "float64")
    assert bounds["grad_input"].any()
    assert not bounds["output"].any()


@pytest.mark.parametrize("name", ["conv2d", "linear", "batchnorm2d", "softmax", "log_softmax", "cross_entropy"])
def test_rounding_stays_inside_half_the_bound_of_two_implementations(name: str) -> None:
    """Torch in float32 against torch in float64 is one implementation's error: half of what two may differ by."""
    pair = REGISTRY[name]
    assert isinstance(pair, LayerPair)
    for seed in range(20):
        case, rng = pair.cases[0], np.random.default_rng(seed)
        probe = pair.probe(case, "float32", rng)
        narrow, call = pair.reference(probe), probe.calls[0]
        bounds, got = pair.rule(narrow, [call], "float32"), observe_torch(narrow, [call])
        wide = derived.module_with(narrow, torch.Tensor.double)
        exact = observe_torch(wide, [derived.in_float64(call, lambda array: array)])
        for tensor, bound in bounds.items():
            error = np.abs(got[tensor].astype(np.float64) - exact[tensor])
            assert (error <= bound / 2).all(), tensor


def test_the_bound_of_moving_averages_by_hand() -> None:
    u, call = 2.0**-53, Call((np.array([[[[1.0, 3.0]]]]),), np.array([[[[1.0, 0.0]]]]))
    bounds = normalisation.batch_norm(nn.BatchNorm2d(1, dtype=torch.float64), [call], "float64")
    # e_μ = 2u·2; 0.1 of it, and 4u·(0 + 0.1·(0 + 2)) for the step
    np.testing.assert_allclose(bounds["running_mean"], [2 * (0.4 + 0.8) * u], rtol=1e-12)
    # e_v = 3·5u·5, times 2/1; 0.1 of it, and 4u·(1 + 0.1·(1 + 2)) for the step
    np.testing.assert_allclose(bounds["running_var"], [2 * (15 + 5.2) * u], rtol=1e-12)
    np.testing.assert_allclose(bounds["grad_bias"], [2 * 3 * u], rtol=1e-12)
    assert bounds["num_batches_tracked"] == 0


class BatchNormOnePass(scratch.BatchNorm2d):
    """The other correct algorithm throughout: E x² - μ², y as a straight line in x, sums of products with x itself."""

    def forward(self, x: Array) -> Array:
        mean, var = self.running_mean.data, self.running_var.data
        if self.training:
            mean, m = x.mean(axis=(0, 2, 3)), x[:, 0].size
            var = np.maximum((x * x).mean(axis=(0, 2, 3)) - mean * mean, 0)
            self.running_mean.data += self.momentum * (mean - self.running_mean.data)
            self.running_var.data += self.momentum * (m / (m - 1) * var - self.running_var.data)
            self.num_batches_tracked.data += 1
        inverse_std = 1 / np.sqrt(var + self.eps)
        # Not the averages themselves: the next call in training moves them.
        self.save_for_backward(x.copy(), mean.copy(), inverse_std, self.training)
        scale = inverse_std if self.weight is None else self.weight.data * inverse_std
        shift = -mean * scale if self.bias is None else self.bias.data - mean * scale
        return x * scale[:, None, None] + shift[:, None, None]

    def backward(self, grad_output: Array) -> Array:
        x, mean, inverse_std, was_training = self.saved_for_backward
        m, total = x[:, 0].size, grad_output.sum(axis=(0, 2, 3))
        product = ((grad_output * x).sum(axis=(0, 2, 3)) - mean * total) * inverse_std
        scale = inverse_std
        if self.weight is not None and self.bias is not None:
            scale = self.weight.data * inverse_std
            self.weight.accumulate_grad(product)
            self.bias.accumulate_grad(total)
        if not was_training:
            return grad_output * scale[:, None, None]
        slope = -scale * inverse_std * product / m
        shift = -scale * total / m - slope * mean
        return grad_output * scale[:, None, None] + x * slope[:, None, None] + shift[:, None, None]


def test_a_variance_in_one_pass_is_as_good_as_one_in_two() -> None:
    pair = REGISTRY["batchnorm2d"]
    assert isinstance(pair, LayerPair)
    two_passes = check([pair])
    assert two_passes.ok, two_passes.headline()
    for seed in range(3):
        one_pass = check([dataclasses.replace(pair, scratch=BatchNormOnePass)], seed)
        assert one_pass.ok, one_pass.headline()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_bound_of_a_channel_far_from_zero_is_wide_but_never_endless(dtype: str) -> None:
    """One pass loses the variance there; no algorithm makes it less than 0."""
    norm = nn.BatchNorm2d(1, dtype=getattr(torch, dtype))
    call = Call((np.full((2, 1, 4, 4), 1e4, dtype),), np.ones((2, 1, 4, 4), dtype))
    assert all(np.isfinite(bound).all() for bound in normalisation.batch_norm(norm, [call], dtype).values())


def test_rounding_stays_inside_half_the_bound_of_two_adams() -> None:
    pair = REGISTRY["adam"]
    assert isinstance(pair, OptimizerPair)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        start, *gradients = (
            {"w": (rng.standard_normal(30) * 10.0 ** rng.uniform(-9, 0, 30)).astype(np.float32)} for _ in range(6)
        )
        for options in pair.options:

            def make(tensors: list[torch.Tensor], options: dict[str, Any] = options) -> torch.optim.Optimizer:
                return pair.torch(tensors, **options)

            bound = pair.rule(pair.torch, options, start, gradients, "float32")["w"]
            narrow = observe_torch_optimizer(make, start, gradients)["w"]
            wide = [{"w": step["w"].astype(np.float64)} for step in (start, *gradients)]
            exact = observe_torch_optimizer(make, wide[0], wide[1:])["w"]
            assert (np.abs(narrow - exact) <= bound / 2).all()


def test_one_step_of_adam_by_hand() -> None:
    u, lr = 2.0**-53, 0.5
    options = {"lr": lr, "betas": (0.5, 0.75), "eps": 0.0}
    bounds = optimizers.adam(torch.optim.Adam, options, {"w": np.array([8.0])}, [{"w": np.array([4.0])}], "float64")
    # m = 2: e_m = u·(2 + 3·2); v = 4: e_v = 4u·4; h = 4: e_h = 16u/(2·2)/0.5 + (4u + 4u)·4, of which e_d adds u·4;
    # the learning rate is halved: p = 0.25, e_p = 0.25/0.5·(8u + 2·44u/4)/4 + (4u + 2u)·0.25; and u·7.75 for the sum
    np.testing.assert_allclose(bounds["w"], [2 * (0.5 * 30 / 4 + 1.5 + 7.75) * u], rtol=1e-12)
    assert bounds["grad of w after use"] == 0


def test_a_wide_layer_stays_inside_its_bound_too() -> None:
    pair = REGISTRY["conv2d"]
    assert isinstance(pair, LayerPair)
    case = Case((2, 256, 6, 6), {"in_channels": 256, "out_channels": 8, "kernel_size": 3})  # 2304 products a sum
    rng = np.random.default_rng(0)
    probe = pair.probe(case, "float32", rng)
    twin, call = pair.reference(probe), probe.calls[0]
    share = np.abs(pair.drive(pair.scratch, probe)["output"] - observe_torch(twin, [call])["output"])
    assert (share <= pair.rule(twin, [call], "float32")["output"]).all()


def test_no_bound_in_float64_is_looser_than_a_billionth() -> None:
    """The report enforces it row by row; here for the widest sum of the registry, by the numbers."""
    pair = REGISTRY["conv2d"]
    assert isinstance(pair, LayerPair)
    rng = np.random.default_rng(0)
    for case in pair.cases:
        probe = pair.probe(case, "float64", rng)
        twin, call = pair.reference(probe), probe.calls[0]
        expected, bounds = observe_torch(twin, [call]), pair.rule(twin, [call], "float64")
        for name, tensor in expected.items():
            assert bounds[name].max() <= LOOSEST * np.abs(tensor).max()


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("conv2d", "grad_weight"),
        ("linear", "grad_weight"),
        ("batchnorm2d", "output"),
        ("batchnorm2d", "grad_input"),
        ("batchnorm2d", "grad_weight"),
        ("batchnorm2d", "grad_bias"),
        ("batchnorm2d", "running_mean"),
        ("batchnorm2d", "running_var"),
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
    probe = pair.probe(pair.cases[0], "float64", rng)
    twin, call = pair.reference(probe), probe.calls[0]
    expected, bounds = observe_torch(twin, [call]), pair.rule(twin, [call], "float64")
    got = {seen: array.copy() for seen, array in expected.items()}
    largest = np.unravel_index(np.abs(got[tensor]).argmax(), got[tensor].shape)
    got[tensor][largest] *= 1 + relative
    wrong = [row for row in compare(name, "", got, expected, bounds) if not row.ok]
    assert [row.tensor for row in wrong] == [tensor]


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize("relative", [1e-9, 1e-12])
def test_a_tiny_relative_error_in_an_updated_parameter_is_caught(relative: float, kind: Any) -> None:
    start, gradients = {"w": np.ones(3)}, [{"w": np.array([1.0, -2.0, 3.0])} for _ in range(5)]
    more, rule = ({"momentum": 0.9}, optimizers.sgd) if kind is torch.optim.SGD else ({"eps": 1e-3}, optimizers.adam)
    options = {"lr": 0.05, "weight_decay": 0.1} | more
    expected = observe_torch_optimizer(lambda tensors: kind(tensors, **options), start, gradients)
    bounds = rule(kind, options, start, gradients, "float64")
    got = {name: array.copy() for name, array in expected.items()}
    got["w"][1] *= 1 + relative
    wrong = [row for row in compare("sgd", "", got, expected, bounds, start=start) if not row.ok]
    assert [row.tensor for row in wrong] == ["w"]


def test_adam_may_do_anything_where_its_second_moment_is_lost() -> None:
    """g² of 1e-36 times 1 - β₂ is less than the smallest normal float32, and nothing of it need be left."""
    settings = {"betas": (0.9, 0.999), "eps": 1e-30, "weight_decay": 0.0}
    lost, kept = (
        optimizers._adam_error(np.zeros(1), [(1e-3, np.array([g]))], settings, "float32").item() for g in (1e-18, 1e-17)
    )
    assert lost > 1
    assert kept == pytest.approx(6.4523e-5, rel=1e-4)


@pytest.mark.parametrize("options", [{"momentum": None}, {"track_running_stats": False}])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_batch_norm_with_a_cumulative_average_or_none_has_its_bound(options: dict[str, Any], dtype: str) -> None:
    rng = np.random.default_rng(0)
    layer = nn.BatchNorm2d(2, dtype=getattr(torch, dtype), **options)
    calls = [
        Call((rng.standard_normal((4, 2, 3, 3)).astype(dtype),), rng.standard_normal((4, 2, 3, 3)).astype(dtype))
        for _ in range(3)
    ]
    found, seen = normalisation.batch_norm(layer, calls, dtype), observe_torch(layer, calls)
    assert found.keys() == seen.keys()
    exact = [derived.in_float64(call, lambda array: array) for call in calls]
    wide = observe_torch(copy.deepcopy(layer).double(), exact)
    for name, bound in found.items():
        assert (np.abs(seen[name].astype(np.float64) - wide[name]) <= bound).all(), name
