"""Layers, loops and windows on small arrays of unequal sides: against torch, and by hand where torch has no say."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compare.driving.tensors import LAYOUTS
from scratch import (
    Array,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    CrossEntropyLoss,
    Dropout,
    Flatten,
    Linear,
    LogSoftmax,
    MaxPool2d,
    Module,
    ReLU,
    Softmax,
    checks,
    conv,
    log_softmax,
    naive,
    pool,
    softmax,
    windows,
)

pytestmark = pytest.mark.computes


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def whole(*shape: int, seed: int = 0) -> Array:
    """Small whole numbers: sums of their products are exact in any order."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float64)


def as_torch(array: Array) -> torch.Tensor:
    return torch.tensor(array, requires_grad=array.dtype.kind == "f")


Twins = tuple[Callable[[], Module], Callable[[], nn.Module], tuple[int, ...]]
TWINS: dict[str, Twins] = {
    "conv": (lambda: Conv2d(2, 3, (3, 2), dtype=float), lambda: nn.Conv2d(2, 3, (3, 2)), (4, 2, 5, 6)),
    "conv with stride and padding": (
        lambda: Conv2d(3, 2, (2, 4), (3, 2), (1, 2), dtype=float),
        lambda: nn.Conv2d(3, 2, (2, 4), (3, 2), (1, 2)),
        (2, 3, 7, 5),
    ),
    "conv without bias": (
        lambda: Conv2d(1, 2, 3, 2, 1, False, dtype=float),
        lambda: nn.Conv2d(1, 2, 3, 2, 1, bias=False),
        (2, 1, 6, 4),
    ),
    "pool": (lambda: MaxPool2d((2, 3)), lambda: nn.MaxPool2d((2, 3)), (2, 3, 5, 8)),
    "pool with stride and padding": (
        lambda: MaxPool2d((3, 2), (1, 3), (1, 0)),
        lambda: nn.MaxPool2d((3, 2), (1, 3), (1, 0)),
        (3, 2, 4, 7),
    ),
    "mean": (lambda: AvgPool2d((2, 3)), lambda: nn.AvgPool2d((2, 3)), (2, 3, 5, 8)),
    "mean with stride and padding": (
        lambda: AvgPool2d((3, 2), (1, 3), (1, 0)),
        lambda: nn.AvgPool2d((3, 2), (1, 3), (1, 0)),
        (2, 3, 6, 7),
    ),
    "mean with gaps": (lambda: AvgPool2d(2, 3), lambda: nn.AvgPool2d(2, 3), (2, 1, 6, 9)),
    "pool with gaps": (lambda: MaxPool2d(2, 3), lambda: nn.MaxPool2d(2, 3), (2, 1, 6, 9)),
    "relu": (ReLU, nn.ReLU, (3, 4)),
    "flatten": (Flatten, nn.Flatten, (3, 2, 4, 5)),
    "flatten rows": (Flatten, nn.Flatten, (3, 2)),
    "linear": (lambda: Linear(4, 3, dtype=float), lambda: nn.Linear(4, 3), (2, 4)),
    "linear, one image": (lambda: Linear(4, 3, dtype=float), lambda: nn.Linear(4, 3), (1, 4)),
    "linear without bias": (lambda: Linear(2, 5, False, dtype=float), lambda: nn.Linear(2, 5, bias=False), (3, 2)),
    "norm": (lambda: BatchNorm2d(3, dtype=float), lambda: nn.BatchNorm2d(3), (2, 3, 4, 5)),
    "norm with settings": (
        lambda: BatchNorm2d(2, 0.5, 0.25, dtype=float),
        lambda: nn.BatchNorm2d(2, 0.5, 0.25),
        (3, 2, 1, 4),
    ),
    "norm of two values": (lambda: BatchNorm2d(2, 1.0, dtype=float), lambda: nn.BatchNorm2d(2, 1.0), (2, 2, 1, 1)),
    "norm without weights": (
        lambda: BatchNorm2d(2, 0.1, 0.5, False, dtype=float),
        lambda: nn.BatchNorm2d(2, 0.1, 0.5, affine=False),
        (3, 2, 2, 1),
    ),
    "softmax": (Softmax, lambda: nn.Softmax(-1), (2, 3)),
    "softmax of columns": (lambda: Softmax(0), lambda: nn.Softmax(0), (2, 3)),
    "log-softmax": (LogSoftmax, lambda: nn.LogSoftmax(-1), (2, 3)),
    "log-softmax of columns": (lambda: LogSoftmax(0), lambda: nn.LogSoftmax(0), (2, 3)),
}


@pytest.mark.parametrize("name", TWINS)
def test_a_layer_and_its_gradients_are_torchs(name: str) -> None:
    make, make_twin, shape = TWINS[name]
    own, twin = make(), make_twin().double()
    for seed, (key, array) in enumerate(own.state_dict().items()):
        if array.ndim:
            array[...] = (
                np.abs(normal(*array.shape, seed=seed)) + 0.5 if "var" in key else normal(*array.shape, seed=seed)
            )
    twin.load_state_dict({key: torch.tensor(array) for key, array in own.state_dict().items()})
    for number, training in enumerate((True, False, True)):  # gradients add up
        x = normal(*shape, seed=10 + number)
        inputs = as_torch(x)
        expected = twin.train(training)(inputs)
        y = own.train(training)(x)
        g = normal(*y.shape, seed=20 + number)
        (expected * torch.tensor(g)).sum().backward()
        np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-12, atol=1e-14)
        assert inputs.grad is not None
        grad_input = own.backward(g)
        np.testing.assert_allclose(grad_input, inputs.grad.numpy(), rtol=1e-11, atol=1e-13)
        assert y.dtype == grad_input.dtype == np.float64
    for (key, parameter), theirs in zip(own.named_parameters(), twin.parameters(), strict=True):
        assert parameter.grad is not None
        assert theirs.grad is not None
        np.testing.assert_allclose(parameter.grad, theirs.grad.numpy(), rtol=1e-11, atol=1e-13, err_msg=key)
    for key, tensor in twin.state_dict().items():
        np.testing.assert_allclose(own.state_dict()[key], tensor.numpy(), rtol=1e-13, err_msg=key)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_loss_and_its_gradient_are_torchs(reduction: str) -> None:
    own, twin = CrossEntropyLoss(reduction=reduction), nn.CrossEntropyLoss(reduction=reduction)
    x, targets = normal(3, 4), np.array([3, 0, 2])
    inputs = as_torch(x)
    expected = twin(inputs, torch.tensor(targets))
    for kind in (np.int64, np.uint8, np.int32):
        y = own(x, targets.astype(kind))
        assert y.shape == tuple(expected.shape)
        np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-13)
    g = normal(*y.shape, seed=1) if y.ndim else np.asarray(-2.5)
    (expected * torch.tensor(g)).sum().backward()
    assert inputs.grad is not None
    np.testing.assert_allclose(own.backward(g), inputs.grad.numpy(), rtol=1e-12)
    if reduction != "none":
        np.testing.assert_allclose(own.backward(-2.5), inputs.grad.numpy() * (-2.5 / float(g)), rtol=1e-12)
        np.testing.assert_allclose(own.backward(), inputs.grad.numpy() / float(g), rtol=1e-12)


def test_the_loss_averages_unless_told_otherwise_and_keeps_the_dtype() -> None:
    loss, x = CrossEntropyLoss(), np.zeros((2, 4), np.float32)
    assert loss(x, np.array([0, 3])) == pytest.approx(np.log(4), rel=1e-6)
    assert loss(x, np.array([0, 3])).dtype == np.float32
    for g in (1, 1.0, np.ones((), np.float32)):
        grad = loss.backward(g)
        assert grad.dtype == np.float32
        np.testing.assert_array_equal(grad, [[-0.375, 0.125, 0.125, 0.125], [0.125, 0.125, 0.125, -0.375]])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_gradient_of_another_shape_than_the_loss_is_refused(reduction: str) -> None:
    loss = CrossEntropyLoss(reduction=reduction)
    loss(np.zeros((2, 3)), np.array([0, 1]))
    for shape in ((2,), (), (1,), (2, 1), (3,)):
        if shape == ((2,) if reduction == "none" else ()):
            continue
        with pytest.raises(ValueError, match="grad_output must be like the output"):
            loss.backward(np.ones(shape))


def test_targets_that_do_not_fit_are_refused_in_words() -> None:
    x = np.zeros((2, 3))
    cases: list[tuple[Array, str]] = [
        (np.array([0, 3]), "targets must be between 0 and 2, got 3"),
        (np.array([-1, 5]), "targets must be between 0 and 2, got -1"),
        (np.array([0.0, 1.0]), "targets must be whole numbers of shape (2,) beside scores (2, 3), got float64[2]"),
        (np.array([0]), f"targets must be whole numbers of shape (2,) beside scores (2, 3), got {np.dtype(int)}[1]"),
        (np.array([True, False]), "targets must be whole numbers of shape (2,) beside scores (2, 3), got bool[2]"),
    ]
    for targets, message in cases:
        with pytest.raises(ValueError, match="targets") as refused:
            CrossEntropyLoss()(x, targets)
        assert str(refused.value) == f"CrossEntropyLoss: {message}"


def test_functions_along_one_axis_take_the_last_unless_told_otherwise() -> None:
    x = np.log([[1.0, 3.0], [1.0, 1.0], [2.0, 6.0]])
    np.testing.assert_allclose(softmax(x), [[0.25, 0.75], [0.5, 0.5], [0.25, 0.75]], rtol=1e-14)
    np.testing.assert_allclose(softmax(x, 0), [[0.25, 0.3], [0.25, 0.1], [0.5, 0.6]], rtol=1e-14)
    np.testing.assert_allclose(log_softmax(x), np.log(softmax(x)), rtol=1e-13)
    np.testing.assert_allclose(log_softmax(x, 0), np.log(softmax(x, 0)), rtol=1e-13)


# Dropout.


class Drawn(np.random.Generator):
    """A generator whose numbers are known."""

    def __init__(self, *numbers: float) -> None:
        super().__init__(np.random.PCG64())
        self.numbers = numbers

    def random(self, *_: Any, **__: Any) -> Any:
        return np.array(self.numbers)


def test_dropout_keeps_what_draws_p_or_more() -> None:
    dropout = Dropout(0.75, generator=Drawn(0.0, 0.7499, 0.75, 0.9))
    np.testing.assert_array_equal(dropout(np.array([1.0, 2.0, 3.0, -4.0])), [0, 0, 12, -16])
    np.testing.assert_array_equal(dropout.backward(np.array([1.0, 1.0, -1.0, 2.0])), [0, 0, -4, 8])


def test_dropout_leaves_out_half_unless_told_otherwise_and_nothing_in_evaluation() -> None:
    dropout, x = Dropout(), normal(3)
    assert (dropout.p, dropout.scale) == (0.5, 2)
    assert dropout.eval()(x) is x
    assert dropout.backward(x) is x
    assert (Dropout(1.0).scale, Dropout(0.0).scale) == (0, 1)
    np.testing.assert_array_equal(Dropout(1.0)(x), np.zeros(3))
    np.testing.assert_array_equal(Dropout(0.0)(x), x)


# What a layer begins with, and what it refuses.


def test_the_defaults_are_torchs() -> None:
    norm, twin = BatchNorm2d(2), nn.BatchNorm2d(2)
    assert (norm.eps, norm.momentum) == (twin.eps, twin.momentum)
    assert [str(array.dtype) for array in norm.state_dict().values()] == ["float32"] * 4 + ["int64"]
    layer = Conv2d(1, 1, 2)
    assert (layer.kernel_size, layer.stride, layer.padding) == ((2, 2), (1, 1), (0, 0))
    assert layer.bias is not None
    assert layer.weight.data.dtype == Linear(1, 1).weight.data.dtype == np.float32
    assert Linear(1, 1).bias is not None
    assert (AvgPool2d((2, 3)).stride, AvgPool2d(2).padding) == ((2, 3), (0, 0))
    assert (MaxPool2d((2, 3)).stride, MaxPool2d(2).padding) == ((2, 3), (0, 0))
    Conv2d(1, 1, 1, dilation=(1, 1))
    MaxPool2d(1, dilation=(1, 1))
    assert inspect.signature(Flatten).parameters.keys() == {"start_dim", "end_dim"}
    assert Flatten(nn.Flatten().start_dim, nn.Flatten().end_dim)(normal(2, 3, 4)).shape == (2, 12)


@pytest.mark.parametrize(
    ("make", "bound"),
    [
        (lambda rng: Conv2d(3, 200, (2, 6), generator=rng, dtype=float), 1 / 6),
        (lambda rng: Linear(16, 300, generator=rng, dtype=float), 1 / 4),
    ],
)
def test_initial_weights_fill_the_interval_of_the_root_of_what_is_added_up(
    make: Callable[[np.random.Generator], Module], bound: float
) -> None:
    for parameter in make(np.random.default_rng(0)).parameters():
        assert 0.95 * bound < parameter.data.max() <= bound
        assert -bound <= parameter.data.min() < -0.95 * bound


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Conv2d(2, 0, 1), "Conv2d: out_channels must be an int of at least 1, got 0"),
        (lambda: Linear(0, 1), "Linear: in_features must be an int of at least 1, got 0"),
        (lambda: BatchNorm2d(1, eps=float("inf")), "BatchNorm2d: eps must be a number above 0, got inf"),
        (lambda: BatchNorm2d(1, eps=-1e-5), "BatchNorm2d: eps must be a number above 0, got -1e-05"),
        (lambda: BatchNorm2d(1, momentum=float("nan")), "BatchNorm2d: momentum must be a number, got nan"),
        (lambda: AvgPool2d(1, padding=1), r"AvgPool2d: padding must be at most half of .* \(1, 1\), got \(1, 1\)"),
        (lambda: AvgPool2d((4, 2), padding=(2, 2)), r"AvgPool2d: padding must be at most half .* got \(2, 2\)"),
        (lambda: AvgPool2d(0), "AvgPool2d: kernel_size must be an int or a pair of ints, each at least 1, got 0"),
        (lambda: AvgPool2d(2, 0), "AvgPool2d: stride must be an int or a pair of ints, each at least 1, got 0"),
        (lambda: AvgPool2d(2, padding=-1), "AvgPool2d: padding must be an int .*, each at least 0, got -1"),
        (lambda: AvgPool2d(2, ceil_mode=True), "AvgPool2d: ceil_mode must be False, the only .* got True"),
        (lambda: AvgPool2d(2, count_include_pad=False), "AvgPool2d: count_include_pad must be True, .* got False"),
        (lambda: AvgPool2d(2, divisor_override=3), "AvgPool2d: divisor_override must be None, .* got 3"),
        (lambda: MaxPool2d(1, padding=1), r"MaxPool2d: padding must be at most half of .* \(1, 1\), got \(1, 1\)"),
        (lambda: MaxPool2d((4, 2), padding=(2, 2)), r"MaxPool2d: padding must be at most half .* got \(2, 2\)"),
        (lambda: MaxPool2d(0), "MaxPool2d: kernel_size must be an int or a pair of ints, each at least 1, got 0"),
        (lambda: MaxPool2d(2, 0), "MaxPool2d: stride must be an int or a pair of ints, each at least 1, got 0"),
        (lambda: MaxPool2d(2, padding=-1), "MaxPool2d: padding must be an int .*, each at least 0, got -1"),
        (lambda: MaxPool2d(2, dilation=(1, 2)), r"MaxPool2d: dilation must be \(1, 1\), the only .* got \(1, 2\)"),
        (lambda: Flatten(0), "^Flatten: start_dim must be 1, the only value supported, got 0$"),
        (lambda: Flatten(start_dim=2), "^Flatten: start_dim must be 1, the only value supported, got 2$"),
        (lambda: Flatten(-3), "^Flatten: start_dim must be 1, the only value supported, got -3$"),
        (lambda: Flatten(1, 2), "^Flatten: end_dim must be -1, the only value supported, got 2$"),
        (lambda: Flatten(end_dim=-2), "^Flatten: end_dim must be -1, the only value supported, got -2$"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_what_is_just_allowed() -> None:
    assert MaxPool2d((4, 2), padding=(2, 1)).padding == (2, 1)
    assert MaxPool2d(3, padding=1)(normal(1, 1, 1, 1)).shape == (1, 1, 1, 1)
    assert BatchNorm2d(1, eps=1e-300, momentum=-2.5).momentum == -2.5
    assert Conv2d(1, 1, 3, padding=1, dtype=float)(normal(1, 1, 1, 1)).shape == (1, 1, 1, 1)


def test_a_value_is_read_as_a_pair_and_refused_as_it_was_given() -> None:
    assert checks.integer_pair("L", "n", 2, minimum=2) == (2, 2)
    assert checks.integer_pair("L", "n", (3, 2), minimum=2) == (3, 2)
    for value in (1, (2, 1), (1, 2), (2,), (2, 2, 2), 2.0, (2, 2.0), True, (2, True), "2", None):
        with pytest.raises(ValueError, match="L: n must be") as refused:
            checks.integer_pair("L", "n", value, minimum=2)  # type: ignore[arg-type]
        assert str(refused.value) == f"L: n must be an int or a pair of ints, each at least 2, got {value!r}"


def test_a_count_is_a_whole_number_above_0() -> None:
    checks.positive("L", a=1, b=2)
    for value in (0, -1, 1.0, True, None, "1"):
        with pytest.raises(ValueError, match="L: b must be an int of at least 1, got") as refused:
            checks.positive("L", a=1, b=value)  # type: ignore[arg-type]
        assert str(refused.value).endswith(f"got {value!r}")


def test_an_option_has_one_value_whatever_its_kind() -> None:
    thing = object()
    checks.only_default("L", a=(1, 1), b=(None, None), c=(np.ones(2), (1, 1)), d=(thing, thing), e=((1, 1), (1, 1)))
    for value, supported in ((2, 1), (np.ones(2), (1, 2)), ((1, 2), (1, 1)), (None, 1), (0, None)):
        with pytest.raises(ValueError, match="L: b must be") as refused:
            checks.only_default("L", a=(1, 1), b=(value, supported))
        assert str(refused.value) == f"L: b must be {supported!r}, the only value supported, got {value!r}"


def test_an_input_is_refused_for_its_axes_and_its_dtype() -> None:
    for dtype in (np.float32, np.float64):
        checks.input_like("L", np.zeros((1, 2), dtype), 2, "(N, K)")
        checks.input_like("L", np.zeros((1, 2), dtype), 2, "(N, K)", np.dtype(dtype))
    refusals: list[tuple[Array, Any, str]] = [
        (np.zeros(3), None, "L: input must have 2 axes (N, K), got shape (3,)"),
        (np.zeros((1, 2), np.int64), None, "L: input must be float32 or float64, got int64"),
        (np.zeros((1, 2)), np.float32, "L: input must have the parameters' dtype float32, got float64"),
        (np.zeros((1, 2), np.float32), np.float64, "L: input must have the parameters' dtype float64, got float32"),
    ]
    for array, dtype, message in refusals:
        with pytest.raises(ValueError, match="L: input") as refused:
            checks.input_like("L", array, 2, "(N, K)", None if dtype is None else np.dtype(dtype))
        assert str(refused.value) == message


def test_a_gradient_is_refused_for_its_shape_and_for_its_dtype() -> None:
    checks.gradient_like("L", np.zeros((2, 3)), (2, 3), np.dtype(float))
    for gradient, got in ((np.zeros((3, 2)), "float64[3, 2]"), (np.zeros((2, 3), np.float32), "float32[2, 3]")):
        with pytest.raises(ValueError, match="L: grad_output") as refused:
            checks.gradient_like("L", gradient, (2, 3), np.dtype(float))
        assert str(refused.value) == f"L: grad_output must be like the output, float64[2, 3], got {got}"


# The loops.

GEOMETRIES = [((1, 1), (0, 0)), ((2, 1), (1, 0)), ((1, 3), (0, 1)), ((3, 2), (2, 1))]


@pytest.mark.parametrize(("stride", "padding"), GEOMETRIES)
@pytest.mark.parametrize("bias", [True, False])
def test_the_loops_of_a_convolution_are_torchs(bias: bool, stride: tuple[int, int], padding: tuple[int, int]) -> None:
    x, weight, b = whole(2, 3, 6, 7), whole(4, 3, 3, 2, seed=1), whole(4, seed=2) if bias else None
    tensors = [as_torch(array) for array in (x, weight, whole(4, seed=2))]
    expected = nn.functional.conv2d(tensors[0], tensors[1], tensors[2] if bias else None, stride, padding)
    given = {} if (stride, padding) == GEOMETRIES[0] else {"stride": stride, "padding": padding}
    np.testing.assert_array_equal(naive.conv2d(x, weight, b, **given), expected.detach().numpy(), strict=True)
    g = whole(*expected.shape, seed=3)
    (expected * torch.tensor(g)).sum().backward()
    got = naive.conv2d_backward(x, weight, g, **given)
    for array, tensor in zip(got, tensors if bias else tensors[:2], strict=False):
        assert tensor.grad is not None
        np.testing.assert_array_equal(array, tensor.grad.numpy(), strict=True)
    np.testing.assert_array_equal(got[2], g.sum(axis=(0, 2, 3)))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((2, 3), None, (0, 0)), ((3, 2), (1, 2), (0, 0)), ((2, 4), (3, 1), (1, 2)), ((3, 2), None, (1, 1))],
)
def test_the_loops_of_pooling_are_torchs(
    kernel: tuple[int, int], stride: tuple[int, int] | None, padding: tuple[int, int]
) -> None:
    x = whole(2, 3, 5, 8)  # many ties
    inputs = as_torch(x)
    expected = nn.functional.max_pool2d(inputs, kernel, stride, padding)
    given: dict[str, Any] = {"stride": stride, "padding": padding}
    given = {name: value for name, value in given.items() if value not in (None, (0, 0))}
    np.testing.assert_array_equal(naive.max_pool2d(x, kernel, **given), expected.detach().numpy(), strict=True)
    g = whole(*expected.shape, seed=1)
    (expected * torch.tensor(g)).sum().backward()
    assert inputs.grad is not None
    np.testing.assert_array_equal(naive.max_pool2d_backward(x, g, kernel, **given), inputs.grad.numpy(), strict=True)


def test_the_loops_keep_float32() -> None:
    x, weight = whole(1, 1, 3, 3).astype(np.float32), whole(1, 1, 2, 2).astype(np.float32)
    y = naive.conv2d(x, weight)
    arrays = [y, *naive.conv2d_backward(x, weight, y), naive.max_pool2d(x, (2, 2))]
    arrays.append(naive.max_pool2d_backward(x, arrays[-1], (2, 2)))
    assert {array.dtype for array in arrays} == {np.dtype("float32")}


# Windows and pieces.


def test_the_batch_goes_last_and_comes_back() -> None:
    x = whole(2, 3, 4, 5)
    y = windows.batch_last(x)
    assert y.shape == (3, 4, 5, 2)
    assert y.flags.c_contiguous
    assert y[2, 1, 4, 0] == x[0, 2, 1, 4]
    np.testing.assert_array_equal(windows.batch_first(y), x, strict=True)
    assert np.shares_memory(windows.batch_first(y), y)
    assert np.shares_memory(windows.batch_last(windows.batch_first(y)), y), "it lay as it should"


def test_maps_are_surrounded_and_cut_out_again() -> None:
    y = whole(2, 3, 4, 5)
    padded = windows.pad(y, (1, 2), -7)
    np.testing.assert_array_equal(padded, np.pad(y, [(0, 0), (1, 1), (2, 2), (0, 0)], constant_values=-7), strict=True)
    np.testing.assert_array_equal(windows.crop(padded, (1, 2)), y, strict=True)
    assert np.shares_memory(windows.crop(padded, (1, 2)), padded)
    for padding, shape in (((0, 1), (2, 3, 6, 5)), ((1, 0), (2, 5, 4, 5)), ((2, 0), (2, 7, 4, 5))):
        assert windows.pad(y, padding, 0).shape == shape
    assert windows.pad(y, (0, 0), 0) is y


def test_so_many_windows_fit() -> None:
    x = np.zeros((1, 2, 7, 10))
    assert windows.output_size("L", x, (3, 4), (1, 2), (0, 0)) == (5, 4)
    assert windows.output_size("L", x, (3, 4), (3, 5), (1, 2)) == (3, 3)
    assert windows.output_size("L", x, (7, 10), (1, 1), (0, 0)) == (1, 1)
    assert windows.output_size("L", x, (9, 14), (2, 2), (1, 2)) == (1, 1)
    for kernel in ((10, 1), (1, 15)):
        with pytest.raises(ValueError, match="L: kernel_size") as refused:
            windows.output_size("L", x, kernel, (2, 2), (1, 2))
        assert str(refused.value) == (
            f"L: kernel_size {kernel} must not be larger than the padded input (9, 14), "
            "got input shape (1, 2, 7, 10) with padding (1, 2)"
        )
    with pytest.raises(ValueError, match=r"L: input must hold at least one image, got shape \(0, 2, 7, 10\)"):
        windows.output_size("L", np.zeros((0, 2, 7, 10)), (1, 1), (1, 1), (0, 0))


class Elsewhere:
    """An array that is not NumPy's."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape


def whole_slices(shape: tuple[int, ...], *ends: tuple[int, int, int]) -> list[tuple[slice, slice, slice]]:
    """Slices of so many rows, columns and images, from each of `ends` on."""
    rows, columns, images = shape
    return [(slice(i, i + rows), slice(j, j + columns), slice(k, k + images)) for i, j, k in ends]


@pytest.mark.parametrize(
    ("limit", "size", "starts"),
    [
        (24, (2, 6, 4), [(0, 0, 0), (2, 0, 0)]),  # two rows of 3 x 4
        (23, (1, 5, 4), [(0, 0, 0), (1, 0, 0), (2, 0, 0)]),  # one row
        (11, (1, 2, 4), [(i, j, 0) for i in range(3) for j in (0, 2)]),  # two pixels
        (4, (1, 1, 4), [(i, j, 0) for i in range(3) for j in range(3)]),
        (3, (1, 1, 2), [(i, j, k) for i in range(3) for j in range(3) for k in (0, 2)]),  # halves of the images
        (1, (1, 1, 1), [(i, j, k) for i in range(3) for j in range(3) for k in range(4)]),
        (0, (1, 1, 1), [(i, j, k) for i in range(3) for j in range(3) for k in range(4)]),
    ],
)
def test_pieces_are_as_large_as_they_may_be(
    limit: int, size: tuple[int, int, int], starts: list[tuple[int, int, int]]
) -> None:
    assert list(windows.pieces(np.zeros((2, 3, 3, 4)), limit)) == whole_slices(size, *starts)


def test_on_a_gpu_there_is_one_piece() -> None:
    (at,) = windows.pieces(Elsewhere(2, 3, 4, 5), 1)  # type: ignore[arg-type]
    np.testing.assert_array_equal(np.ones((3, 4, 5))[at], np.ones((3, 4, 5)), strict=True)


@pytest.mark.parametrize(
    ("size", "columns"),
    [(72, 13888), (2400, 416), (3906, 256), (3907, 768), (10**6, 768), (10**7, 768)],
)
def test_so_many_columns_are_multiplied_at_a_time(size: int, columns: int) -> None:
    """A million products, where that leaves 256 columns or more; else 768 columns."""
    assert windows.columns_at_once(np.broadcast_to(0.0, (2, size // 2) if size % 2 == 0 else (1, size))) == columns


@pytest.mark.parametrize(
    ("module", "layer", "shape", "limit"),
    [(conv, Conv2d(2, 3, (3, 5)), (1, 2, 3, 5), 500_000 // 30), (pool, MaxPool2d(2), (1, 3, 4, 4), 500_000 // 3)],
)
def test_backward_takes_half_a_million_numbers_at_a_time(
    module: Any, layer: Module, shape: tuple[int, ...], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = []

    def watched(y: Array, limit: int) -> Any:
        limits.append(limit)
        return windows.pieces(y, limit)

    y = layer(np.zeros(shape, np.float32))
    monkeypatch.setattr(module, "pieces", watched)
    layer.backward(y)
    assert limits[-1] == limit


def drawn_conv(channels: int, maps: int, padding: tuple[int, int]) -> Module:
    return Conv2d(channels, maps, 2, padding=padding, generator=np.random.default_rng(0), dtype=float)


MAKES: dict[str, Callable[[int], Module]] = {
    "conv": lambda channels: drawn_conv(channels, 3, (0, 0)),
    "conv to one map": lambda channels: drawn_conv(channels, 1, (0, 0)),
    "conv with padding": lambda channels: drawn_conv(channels, 3, (0, 1)),
    "pool": lambda _: MaxPool2d(2),
    "pool with padding": lambda _: MaxPool2d(2, stride=1, padding=1),
    "norm": lambda channels: BatchNorm2d(channels, dtype=float),
}


@pytest.mark.parametrize("layout", [*LAYOUTS, "channels last"])
@pytest.mark.parametrize("shape", [(1, 1, 4, 5), (1, 2, 4, 5), (3, 1, 4, 5), (3, 2, 4, 5)])
@pytest.mark.parametrize("kind", MAKES)
def test_however_an_image_lies_in_memory_the_answer_is_the_same(kind: str, shape: tuple[int, ...], layout: str) -> None:
    """Of an axis of one element the step is anything, and must not decide how the output lies."""

    def laid_out(array: Array) -> Array:
        if layout == "channels last":
            return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        return LAYOUTS[layout](array)

    x, results = whole(*shape), []
    for lay in (np.ascontiguousarray, laid_out):
        layer = MAKES[kind](shape[1])
        y = layer(lay(x))
        results.append([y, layer.backward(lay(whole(*y.shape, seed=1))), *(p.grad for p in layer.parameters())])
        assert windows.batch_last(y).base is not None
        assert np.shares_memory(windows.batch_last(y), y), "the batch is innermost in memory"
    for got, expected in zip(*results, strict=True):
        assert got is not None
        assert expected is not None
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)  # sums in another order
