"""The bounds, number by number: worked out by hand, or by their formulas in plain Python on one number at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compare.driving.tensors import Call, Tensors
from compare.pairs import bounds as derived
from compare.pairs import optimizers
from compare.pairs.layers import activation, dropout, loss, normalisation, pooling
from compare.pairs.observe import observe_torch
from scratch import Array

pytestmark = pytest.mark.computes

U = 2.0**-24  # of float32, whose squares still show beside it in float64
TINY = 2.0**-126
LIBRARY = 8
Row = list[float]


def growth(n: int) -> float:
    return min(n * U / (1 - n * U), 4 * math.sqrt(n) * U)


def differ(error: float) -> float:
    """How far two implementations may differ, each of which may be off by `error`."""
    return 2 * (error + TINY)


def equal(got: Array, expected: Any) -> None:
    np.testing.assert_allclose(got, np.asarray(expected, np.float64), rtol=1e-11, atol=0)
    assert got.shape == np.shape(expected)


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def left_alone(bounds: Tensors) -> dict[str, tuple[int, ...]]:
    """The shapes of the bounds on what must stay as it was, all of them 0."""
    alone = {name: bound for name, bound in bounds.items() if "after use" in name}
    assert not any(bound.any() for bound in alone.values())
    return {name: bound.shape for name, bound in alone.items()}


# What all rules are made of.


def test_the_constants_are_those_of_the_derivation() -> None:
    assert derived.LAMBDA == 4
    assert derived.LIBRARY == LIBRARY  # 4 ulp are 8 units of u


def test_the_worst_case_is_more_than_the_number_of_roundings() -> None:
    few, many = derived.worst_case(np.array([3.0, 2.0**22]), "float32")
    assert few == 3 * U / (1 - 3 * U)
    assert many == pytest.approx((1 / 4) / (3 / 4), rel=1e-15)
    assert derived.worst_case(np.array(2.0), "float64") == pytest.approx(2.0**-52, rel=1e-15)


def test_growth_is_the_worst_case_up_to_15_roundings_and_the_likely_one_from_16() -> None:
    equal(
        derived.growth(np.array([0.0, 1.0, 15.0, 16.0, 25.0]), "float32") / U,
        [0, 1 / (1 - U), 15 / (1 - 15 * U), 16, 20],
    )


def test_a_conditioning_factor_is_that_of_two_implementations() -> None:
    assert derived.conditioning_factor(9) == 2 * 4 * 3
    assert derived.conditioning_factor(1) == 8


def test_a_difference_may_be_twice_an_error_and_what_vanishes_below_the_normal_numbers() -> None:
    equal(derived.either_way(np.array([0.0, 3.0]), "float32"), [2.0**-125, 6 * U])


def test_a_call_is_changed_in_its_numbers_and_not_in_its_targets() -> None:
    numbers, more, targets = np.array([1.5, -2], np.float32), np.array([-5], np.float32), np.array([-1, 2])
    call = Call((numbers, more, targets), np.array([-3.0], np.float32))
    changed = derived.in_float64(call, np.abs)
    assert [array.tolist() for array in changed.inputs] == [[1.5, 2], [-5], [-1, 2]]
    assert [str(array.dtype) for array in changed.inputs] == ["float64", "float64", str(targets.dtype)]
    assert changed.grad_output.tolist() == [3]
    assert changed.grad_output.dtype == np.float64
    only_gradient = derived.in_float64(call, np.abs, input_too=False)
    assert only_gradient.inputs[0].tolist() == [1.5, -2]
    assert only_gradient.inputs[0].dtype == np.float64
    assert only_gradient.grad_output.tolist() == [3]


def test_a_changed_module_is_a_copy_in_float64() -> None:
    linear = nn.Linear(2, 3)
    before = [parameter.detach().clone() for parameter in linear.parameters()]
    changed = derived.module_with(linear, torch.abs)
    for own, other, old in zip(linear.parameters(), changed.parameters(), before, strict=True):
        assert torch.equal(own, old)
        assert own.dtype == torch.float32
        assert torch.equal(other, old.abs().double())


# Sums of products, and what only passes numbers on.


def test_the_bounds_of_a_linear_layer_called_twice() -> None:
    linear = nn.Linear(2, 1)
    linear.weight.data[...], linear.bias.data[...] = torch.tensor([[3.0, -4.0]]), torch.tensor([-5.0])
    calls = [
        Call((np.array([[1, -2]], np.float32),), np.array([[2]], np.float32)),
        Call((np.array([[-6, 0.5]], np.float32),), np.array([[-3]], np.float32)),
    ]
    bounds = derived.sum_of_products(linear, calls, "float32")
    once, twice, three = (2 * n * U / (1 - n * U) for n in (1, 2, 3))
    equal(bounds["output of call 1"], [[three * (3 * 1 + 4 * 2 + 5)]])
    equal(bounds["output of call 2"], [[three * (3 * 6 + 4 * 0.5 + 5)]])
    equal(bounds["grad_input of call 1"], [[once * 6, once * 8]])
    equal(bounds["grad_input of call 2"], [[once * 9, once * 12]])
    equal(bounds["grad_weight"], [[twice * (2 * 1 + 3 * 6), twice * (2 * 2 + 3 * 0.5)]])
    equal(bounds["grad_bias"], [twice * (2 + 3)])
    assert left_alone(bounds) == {
        "input after use of call 1": (1, 2),
        "grad_output after use of call 1": (1, 1),
        "input after use of call 2": (1, 2),
        "grad_output after use of call 2": (1, 1),
        "weight after use": (1, 2),
        "bias after use": (1,),
    }


def test_what_passes_numbers_on_is_exact_in_every_tensor() -> None:
    calls = [Call((normal(2, 3, seed=n),), normal(2, 3, seed=n + 1)) for n in (0, 1)]
    bounds = derived.exact(nn.ReLU(), calls, "float32")
    assert bounds.keys() == observe_torch(nn.ReLU(), calls).keys()
    assert all(bound.shape == (2, 3) and not bound.any() for bound in bounds.values())


def test_a_product_with_a_constant_rounds_four_times() -> None:
    call = Call((np.array([[-3, 0.5]], np.float32),), np.array([[7, -1]], np.float32))
    bounds = dropout.one_product(nn.Dropout(0.75).eval(), [call], "float32")
    equal(bounds["output"], [[2 * growth(4) * 3, 2 * growth(4) * 0.5]])
    equal(bounds["grad_input"], [[2 * growth(4) * 7, 2 * growth(4)]])
    assert left_alone(bounds) == {"input after use": (1, 2), "grad_output after use": (1, 2)}
    kept = dropout.one_product(nn.Dropout(0.0), [call], "float32")
    assert kept.keys() == bounds.keys()
    equal(kept["output"], bounds["output"])


def test_an_element_that_wins_several_windows_takes_one_addition_less() -> None:
    # -1 wins all three windows of the first call; in the second, -9 wins one of them and -1 two.
    calls = [
        Call((np.array([[[[-7, -5, -1, -4, -6]]]], np.float32),), np.array([[[[2, -3, 4]]]], np.float32)),
        Call((np.array([[[[-9, -10, -11, -1, -2]]]], np.float32),), np.array([[[[-5, 6, 8]]]], np.float32)),
    ]
    bounds = pooling.selection(nn.MaxPool2d((1, 3), stride=1), calls, "float32")
    equal(bounds["grad_input of call 1"], [[[[0, 0, 2 * growth(2) * (2 + 3 + 4), 0, 0]]]])
    equal(bounds["grad_input of call 2"], [[[[0, 0, 0, 2 * growth(1) * (6 + 8), 0]]]])
    for name in ("output of call 1", "output of call 2"):
        equal(bounds[name], [[[[0, 0, 0]]]])
    assert left_alone(bounds) == {
        f"{argument} after use of call {n}": (1, 1, 1, width)
        for n in (1, 2)
        for argument, width in (("input", 5), ("grad_output", 3))
    }


# Softmax, its logarithm, and the loss.


def softmax_terms(row: Row) -> tuple[Row, Row, Row]:
    """p, its relative error, and the absolute one of its logarithm, in units of u."""
    highest, k = max(row), len(row)
    exponentials = [math.exp(x - highest) for x in row]
    total = math.fsum(exponentials)
    p = [e / total for e in exponentials]
    d = [highest - x for x in row]
    sum_error = math.fsum(each * far for each, far in zip(p, d, strict=True)) + LIBRARY + k
    relative = [far + LIBRARY + sum_error + 1 for far in d]
    absolute = [far + sum_error + LIBRARY * math.log(total) + far + math.log(total) for far in d]  # -log p_i
    return p, relative, absolute


def softmax_by_hand(row: Row, g: Row) -> tuple[Row, Row]:
    p, relative, _ = softmax_terms(row)
    t = math.fsum(a * b for a, b in zip(g, p, strict=True))
    spread = math.fsum(abs(a) * b * (r + len(row) + 1) for a, b, r in zip(g, p, relative, strict=True))
    output = [differ(b * r * U) for b, r in zip(p, relative, strict=True)]
    return output, [differ(b * (abs(a - t) * (r + 2) + spread) * U) for a, b, r in zip(g, p, relative, strict=True)]


def log_softmax_by_hand(row: Row, g: Row) -> tuple[Row, Row]:
    p, _, absolute = softmax_terms(row)
    total, size = abs(math.fsum(g)), math.fsum(map(abs, g))
    output = [differ(e * U) for e in absolute]
    return output, [
        differ((abs(a) + b * (total * (e + LIBRARY + 2) + len(row) * size)) * U)
        for a, b, e in zip(g, p, absolute, strict=True)
    ]


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("kind", [nn.Softmax, nn.LogSoftmax])
def test_the_bounds_of_softmax_and_its_logarithm(kind: Any, dim: int) -> None:
    by_hand, rule = {
        nn.Softmax: (softmax_by_hand, activation.probabilities),
        nn.LogSoftmax: (log_softmax_by_hand, activation.log_probabilities),
    }[kind]
    calls = [Call((3 * normal(2, 4, seed=n),), normal(2, 4, seed=n + 10)) for n in (0, 1)]
    bounds = rule(kind(dim=dim), calls, "float32")
    for n, call in enumerate(calls, 1):
        x, g = (array if dim else array.T for array in (call.inputs[0], call.grad_output))
        rows = [by_hand(a, b) for a, b in zip(x.tolist(), g.tolist(), strict=True)]
        for name, which in (("output", 0), ("grad_input", 1)):
            bound = bounds[f"{name} of call {n}"]
            equal(bound if dim else bound.T, [row[which] for row in rows])
    assert left_alone(bounds) == {
        f"{argument} after use of call {n}": (2, 4) for n in (1, 2) for argument in ("input", "grad_output")
    }
    assert len(bounds) == 8


@pytest.mark.parametrize("rule", [activation.probabilities, activation.log_probabilities])
def test_scores_that_are_equal_have_the_error_of_the_library_and_of_a_sum(rule: derived.Bound) -> None:
    """By hand: d = 0 and p = 1/2, so that the sum has LIBRARY + 2, and g = (1, -1) has t = Σ g = 0."""
    log = rule is activation.log_probabilities
    layer = nn.LogSoftmax(1) if log else nn.Softmax(1)
    bounds = rule(layer, [Call((np.zeros((1, 2)),), np.array([[1.0, -1.0]]))], "float64")
    u = 2.0**-53
    if log:
        error, gradient = (8 + 2) + 8 * math.log(2) + math.log(2), 1 + 2 * 2 / 2
    else:
        error, gradient = (0 + 8 + (8 + 2) + 1) / 2, (1 * (19 + 2) + 2 * (19 + 2 + 1) / 2) / 2
    equal(bounds["output"], [[2 * error * u] * 2])
    equal(bounds["grad_input"], [[2 * gradient * u] * 2])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_bounds_of_cross_entropy(reduction: str) -> None:
    images, classes = 3, 4
    calls = [
        Call(
            (2 * normal(images, classes, seed=n), np.array([[2, 0, 3], [1, 1, 0]][n])),
            -np.abs(normal(images, seed=n + 5) if reduction == "none" else normal(seed=n + 5).reshape(())),
        )
        for n in (0, 1)
    ]
    bounds = loss.cross_entropy(nn.CrossEntropyLoss(reduction=reduction), calls, "float32")
    for n, call in enumerate(calls, 1):
        (logits, targets), parts = call.inputs, images if reduction == "mean" else 1
        scales = np.broadcast_to(np.abs(call.grad_output), images).tolist()
        gradients, errors, losses = [], [], []
        for row, target, scale in zip(logits.tolist(), targets.tolist(), scales, strict=True):
            p, _, absolute = softmax_terms(row)
            errors.append(absolute[target])
            losses.append(-math.log(p[target]))
            off = [abs(each - (k == target)) for k, each in enumerate(p)]
            gradients.append(
                [
                    differ(scale / parts * (each * (e + LIBRARY) + 3 * far) * U)
                    for each, e, far in zip(p, absolute, off, strict=True)
                ]
            )
        equal(bounds[f"grad_input of call {n}"], gradients)
        whole = (math.fsum(errors) + (images + 1) * math.fsum(losses)) / parts
        expected = [differ(error * U) for error in errors] if reduction == "none" else differ(whole * U)
        equal(bounds[f"output of call {n}"], expected)
    gradient = (images,) if reduction == "none" else ()
    assert left_alone(bounds) == {
        f"{argument} after use of call {n}": shape
        for n in (1, 2)
        for argument, shape in (("input", (images, classes)), ("input 1", (images,)), ("grad_output", gradient))
    }


# Batch normalisation.


class Average:
    """A moving average, and how far it may be off."""

    def __init__(self, value: float) -> None:
        self.value, self.error = value, 0.0

    def move(self, new: float, error: float, momentum: float) -> None:
        self.error = abs(1 - momentum) * self.error + abs(momentum) * error
        self.error += 4 * U * (abs(self.value) + abs(momentum) * (abs(self.value) + abs(new)))
        self.value = (1 - momentum) * self.value + momentum * new


def root_error(v: float, error: float, eps: float) -> float:
    """The greatest relative change of 1/√(v + eps), v being off by `error` but not below 0."""
    changes = (-min(error, v), error)
    return max(abs(math.expm1(-0.5 * math.log1p(change / (v + eps)))) for change in changes)


def channel_by_hand(
    xs: Sequence[Row],
    gs: Sequence[Row],
    training: Sequence[bool],
    weight: float,
    bias: float,
    averages: tuple[Average, Average],
    settings: tuple[float, float],
) -> tuple[list[Row], list[Row], float, float]:
    """The bounds on y and grad_input of each call, on grad_weight and grad_bias; `averages` are moved on."""
    (eps, momentum), k = settings, len(xs)
    outputs, inputs, weight_error, bias_error = [], [], 0.0, 0.0
    for x, g, trains in zip(xs, gs, training, strict=True):
        m = len(x)
        mean, var = (average.value for average in averages)
        e_mean, e_var = (average.error for average in averages)
        if trains:
            mean = math.fsum(x) / m
            var = math.fsum((each - mean) ** 2 for each in x) / m
            e_mean = growth(m) * math.fsum(map(abs, x)) / m
            e_var = 3 * growth(m + 3) * math.fsum(each**2 for each in x) / m
            averages[0].move(mean, e_mean, momentum)
            averages[1].move(var * m / (m - 1), e_var * m / (m - 1), momentum)
        s, r = 1 / math.sqrt(var + eps), 3 * U + root_error(var, e_var, eps)
        most = s * (1 + r)
        hat = [s * (each - mean) for each in x]
        extent = [abs(each) + abs(mean) for each in x]
        e_hat = [r * abs(h) + most * (e_mean + 4 * U * e) for h, e in zip(hat, extent, strict=True)]
        total, product = math.fsum(g), math.fsum(a * h for a, h in zip(g, hat, strict=True))
        e_b = growth(m + k) * math.fsum(map(abs, g))
        crossed = math.fsum(abs(a) * e for a, e in zip(g, extent, strict=True))
        e_w = r * abs(product) + most * (e_mean * abs(total) + growth(m + k + 4) * crossed)
        grads = []
        for a, h, e_h in zip(g, hat, e_hat, strict=True):
            i, e_i = a, 6 * U * abs(a)
            if trains:
                q = product / m
                i = a - total / m - h * q
                e_i = e_b / m + abs(h) * e_w / m + (abs(q) + e_w / m) * e_h
                e_i += 6 * U * (abs(a) + abs(total / m) + abs(h * q))
            grads.append(differ(abs(weight) * (s * r * abs(i) + most * e_i)))
        inputs.append(grads)
        outputs.append([differ(abs(weight) * e + 4 * U * abs(bias)) for e in e_hat])
        weight_error, bias_error = weight_error + e_w, bias_error + e_b
    return outputs, inputs, differ(weight_error), differ(bias_error)


SHAPES = [(2, 3, 4, 5), (3, 3, 2, 1), (1, 3, 2, 4)]  # of the calls: no two sides of the first one are alike


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(
    ("calls", "mode", "training"),
    [
        (1, True, [True]),
        (1, False, [False]),
        (3, True, [True, True, False]),
        (3, False, [False, True, False]),  # it is said to the first call only
    ],
)
@pytest.mark.parametrize(("eps", "momentum"), [(0.1, 0.3), (1e-3, 0.0), (0.5, 1.125)])
def test_the_bounds_of_batch_norm(
    eps: float, momentum: float, calls: int, mode: bool, training: list[bool], affine: bool
) -> None:
    channels = 3
    norm = nn.BatchNorm2d(channels, eps=eps, momentum=momentum, affine=affine).train(mode)
    norm.running_mean[...], norm.running_var[...] = torch.tensor([0.5, -2, 3]), torch.tensor([1.0, 0.25, 4])  # type: ignore[index]
    weights, biases = [2.0, -0.5, 1.25], [-3.0, 0.75, 1.0]
    if affine:
        norm.weight.data[...], norm.bias.data[...] = torch.tensor(weights), torch.tensor(biases)
    else:
        weights, biases = [1.0] * channels, [0.0] * channels
    given = [
        Call((2 * normal(*shape, seed=n) + 1,), normal(*shape, seed=n + 5)) for n, shape in enumerate(SHAPES[:calls])
    ]
    bounds = normalisation.batch_norm(norm, given, "float32")

    names = [f" of call {n + 1}" for n in range(calls)] if calls > 1 else [""]
    seen = set(left_alone(bounds)) | {"num_batches_tracked"}
    assert bounds["num_batches_tracked"] == 0
    for c in range(channels):
        averages = Average(float(norm.running_mean[c])), Average(float(norm.running_var[c]))  # type: ignore[index]
        xs, gs = (
            [array[:, c].ravel().tolist() for array in arrays]
            for arrays in zip(*((call.inputs[0], call.grad_output) for call in given), strict=True)
        )
        outputs, inputs, weight, bias = channel_by_hand(
            xs, gs, training, weights[c], biases[c], averages, (eps, momentum)
        )
        for name, output, grad_input in zip(names, outputs, inputs, strict=True):
            equal(bounds[f"output{name}"][:, c].ravel(), output)
            equal(bounds[f"grad_input{name}"][:, c].ravel(), grad_input)
            seen |= {f"output{name}", f"grad_input{name}"}
        if affine:
            equal(bounds["grad_weight"][c], weight)
            equal(bounds["grad_bias"][c], bias)
            seen |= {"grad_weight", "grad_bias"}
        for name, average in zip(("running_mean", "running_var"), averages, strict=True):
            equal(bounds[name][c], differ(average.error))
            seen.add(name)
    assert bounds.keys() == seen
    assert {name: bound.shape for name, bound in bounds.items() if name == "output"} == {
        name: SHAPES[0] for name in ("output",) if calls == 1
    }
    assert bounds["running_var"].shape == (channels,)


@pytest.mark.parametrize(("v", "error"), [(1.0, 0.25), (0.01, 2.0), (0.0, 1.0), (3.0, 0.0), (0.5, 0.5)])
def test_an_inverse_root_is_off_by_the_worse_side_of_its_variance(v: float, error: float) -> None:
    estimate = normalisation._Estimate(np.array([[v]]), np.array([[error]]))
    equal(normalisation._inverse_root_error(estimate, 0.04), [[root_error(v, error, 0.04)]])


def test_a_mean_and_a_variance_by_hand() -> None:
    mean, var = normalisation._mean_and_variance(np.array([[1.0, -3.0], [4.0, 2.0]]), "float64")
    u = 2.0**-53
    equal(mean.value, [[-1.0], [3.0]])
    equal(mean.error, [[2 * u * 2], [2 * u * 3]])
    equal(var.value, [[4.0], [1.0]])
    equal(var.error, [[3 * 5 * u * 5], [3 * 5 * u * 10]])


@pytest.mark.parametrize("momentum", [0.25, 1.5, -0.5])
def test_a_moving_average_keeps_its_error_and_takes_the_new_one(momentum: float) -> None:
    old = normalisation._Estimate(np.array(-8.0), np.array(32.0))
    moved = normalisation._moved(old, normalisation._Estimate(np.array(-2.0), np.array(64.0)), momentum, 1.0)
    value, error = {
        0.25: (0.75 * -8 + 0.25 * -2, 0.75 * 32 + 0.25 * 64 + 4 * (8 + 0.25 * 10)),
        1.5: (-0.5 * -8 + 1.5 * -2, 0.5 * 32 + 1.5 * 64 + 4 * (8 + 1.5 * 10)),
        -0.5: (1.5 * -8 + -0.5 * -2, 1.5 * 32 + 0.5 * 64 + 4 * (8 + 0.5 * 10)),
    }[momentum]
    assert moved.value == value
    assert moved.error == error


# The optimizers.


def test_the_bounds_of_sgd_by_hand() -> None:
    """θ = -2, lr = 0.5 with its last step halved, no decay: |θ| + Σ lr·|g|, each of 8 roundings a step."""
    start = {"w": np.array([-2.0, 1.0], np.float32), "idle": np.array([5.0], np.float32)}
    gradients = [{"w": np.array(g, np.float32)} for g in ([3.0, -1.0], [-4.0, 0.0], [6.0, 2.0])]
    for steps, rates, roundings in ((1, [0.25], 8 * U / (1 - 8 * U)), (3, [0.5, 0.5, 0.25], 4 * math.sqrt(24) * U)):
        bounds = optimizers.sgd(torch.optim.SGD, {"lr": 0.5}, start, gradients[:steps], "float32")
        sums = [
            abs(float(theta)) + sum(lr * abs(float(step["w"][n])) for lr, step in zip(rates, gradients, strict=False))
            for n, theta in enumerate(start["w"])
        ]
        equal(bounds["w"], [2 * roundings * total for total in sums])
        equal(bounds["idle"], [0])
        equal(bounds["grad of w after use"], [0, 0])
        equal(bounds["gradients left by zero_grad"], 0)
        assert len(bounds) == 4


def test_the_bounds_of_sgd_add_up_the_decay_too() -> None:
    options = {"lr": 0.5, "weight_decay": 0.5}
    bounds = optimizers.sgd(torch.optim.SGD, options, {"w": np.array([-4.0])}, [{"w": np.array([2.0])}], "float64")
    equal(bounds["w"], [2 * 8 * 2.0**-53 * (4 + 0.25 * (2 + 0.5 * 4))])


def test_a_parameter_of_sgd_with_a_gradient_in_one_step_only_is_bounded() -> None:
    gradients = [{"w": np.ones(1)}, {"w": np.ones(1), "late": np.ones(1)}]
    bounds = optimizers.sgd(torch.optim.SGD, {"lr": 1.0}, {"w": np.ones(1), "late": np.ones(1)}, gradients, "float64")
    equal(bounds["late"], [2 * 16 * 2.0**-53 * 1.5])


def adam_by_hand(
    theta: float, steps: Sequence[tuple[float, float]], betas: tuple[float, float], eps: float, decay: float, dtype: str
) -> float:
    """The error of one parameter after steps of (learning rate, gradient)."""
    u, tiny = {"float32": (U, TINY), "float64": (2.0**-53, 2.0**-1022)}[dtype]
    (beta1, beta2), m, v, e_m, e_v, e_theta = betas, 0.0, 0.0, 0.0, 0.0, 0.0
    for t, (lr, given) in enumerate(steps, 1):
        g = given + decay * theta
        e_g = decay * (e_theta + 2 * u * abs(theta)) + u * abs(g) if decay else 0.0
        before, m = m, beta1 * m + (1 - beta1) * g
        e_m = beta1 * e_m + (1 - beta1) * e_g + u * (abs(m) + 3 * (abs(before) + (1 - beta1) * abs(g)))
        v = beta2 * v + (1 - beta2) * g**2
        e_v = beta2 * e_v + (1 - beta2) * (2 * abs(g) + e_g) * e_g + 4 * u * v + tiny
        left1, left2 = 1 - beta1**t, 1 - beta2**t
        c1, c2 = t * 2.0**-53 / left1, t * 2.0**-53 / left2
        h = math.sqrt(v / left2)
        fall = math.sqrt(e_v) if e_v >= v else -math.sqrt(v) * math.expm1(0.5 * math.log1p(-e_v / v))
        e_h = fall / math.sqrt(left2) + (4 * u + c2) * h
        e_d = e_h + u * (h + 2 * eps)
        d = max(h + eps - e_d, eps * (1 - 2 * u))
        p = lr / left1 * m / (h + eps)
        e_p = lr / left1 * (e_m + abs(m) * e_d / (h + eps)) / d + (4 * u + c1) * abs(p)
        theta -= p
        e_theta += e_p + u * abs(theta)
    return e_theta


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("decay", [0.0, 0.25])
@pytest.mark.parametrize(("betas", "eps"), [((0.9, 0.999), 1e-8), ((0.5, 0.75), 0.25), ((0.0, 0.99), 1e-3)])
def test_the_error_of_adam(betas: tuple[float, float], eps: float, decay: float, dtype: str) -> None:
    starts, steps = (
        [1.5, -0.25, 3e-3, 0.0],
        [(0.5, [2.0, -1.0, 1e-3, 1e-6]), (0.25, [-3.0, -0.5, 1.0, 0.0]), (1.0, [0.5, 4.0, -1.0, 2.0])],
    )
    settings = {"betas": betas, "eps": eps, "weight_decay": decay}
    for count in (1, 2, 3):
        error = optimizers._adam_error(
            np.array(starts), [(lr, np.array(g)) for lr, g in steps[:count]], settings, dtype
        )
        expected = [
            adam_by_hand(theta, [(lr, g[n]) for lr, g in steps[:count]], betas, eps, decay, dtype)
            for n, theta in enumerate(starts)
        ]
        equal(error, expected)


@pytest.mark.parametrize(("gradient", "eps"), [(1e-18, 1e-19), (1e-18, 1e-21), (1e-19, 1e-17), (0.0, 1e-20)])
def test_the_error_of_adam_where_its_second_moment_is_lost(gradient: float, eps: float) -> None:
    settings = {"betas": (0.9, 0.999), "eps": eps, "weight_decay": 0.0}
    steps = [(0.5, gradient), (0.25, -gradient / 2)]
    error = optimizers._adam_error(np.array([2.0]), [(lr, np.array([g])) for lr, g in steps], settings, "float32")
    equal(error, [adam_by_hand(2.0, steps, (0.9, 0.999), eps, 0.0, "float32")])


def test_the_bounds_of_adam_follow_the_steps_in_which_a_parameter_had_a_gradient() -> None:
    start = {
        "w": np.array([2.0], np.float32),
        "late": np.array([-1.0], np.float32),
        "idle": np.ones((2, 3), np.float32),
    }
    gradients = [{"w": 1.5}, {"w": -0.5, "late": 0.25}, {"w": 3.0, "late": 2.0}]
    arrays = [{name: np.array([g], np.float32) for name, g in step.items()} for step in gradients]
    options = {"lr": 0.5, "betas": (0.5, 0.75), "eps": 0.125, "weight_decay": 0.25}
    bounds = optimizers.adam(torch.optim.Adam, options, start, arrays, "float32")
    rates = [0.5, 0.5, 0.25]  # halved before the last step
    for name in ("w", "late"):
        steps = [(lr, step[name]) for lr, step in zip(rates, gradients, strict=True) if name in step]
        equal(bounds[name], [differ(adam_by_hand(float(start[name][0]), steps, (0.5, 0.75), 0.125, 0.25, "float32"))])
    equal(bounds["idle"], np.zeros((2, 3)))
    others = {"grad of w after use", "grad of late after use", "gradients left by zero_grad"}
    assert bounds.keys() == {*start, *others}
    assert not any(bounds[name].any() for name in others)


# ---- average pooling


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_mean_of_a_window_is_rounded_once_more_than_it_has_elements(dtype: str) -> None:
    x = np.array([[[[1.0, -2.0, 3.0], [4.0, 5.0, -6.0]]]], dtype)
    g = np.array([[[[2.0, -1.0]]]], dtype)
    found = pooling.averages(nn.AvgPool2d(2, stride=1), [Call((x,), g)], dtype)
    u = derived.unit_roundoff(dtype)
    five = derived.growth(np.asarray(5.0), dtype)  # 4 elements; with a stride of 1 a pixel is in 4 windows at most
    np.testing.assert_allclose(found["output"], [[[[2 * five * 12 / 4, 2 * five * 16 / 4]]]], rtol=1e-12)
    spread = np.array([[2, 3, 1], [2, 3, 1]]) / 4  # of |g|, to every pixel of each window
    np.testing.assert_allclose(found["grad_input"], [[2 * five * spread]], rtol=1e-12)
    assert found["grad_input"].max() < 100 * u
    assert not found["input after use"].any()
    assert not found["grad_output after use"].any()


@pytest.mark.parametrize("kernel", [1, (3, 2)])
def test_a_mean_has_as_many_elements_as_its_window_has_sides(kernel: Any) -> None:
    x, layer = np.ones((1, 1, 3, 2)), nn.AvgPool2d(kernel)
    found = pooling.averages(layer, [Call((x,), np.ones(layer(torch.tensor(x)).shape))], "float64")
    elements = 1 if kernel == 1 else 6
    assert found["output"].ravel()[0] == 2 * derived.growth(np.asarray(elements + 1.0), "float64")
