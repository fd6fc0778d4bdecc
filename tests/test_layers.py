"""Layers and losses: what they promise (the examples by hand are in their docstrings), and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compare.pairs.cases import Case
from compare.pairs.pair import LayerPair
from compare.pairs.registry import REGISTRY
from compare.verify.agreement import DTYPES
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
    log_softmax,
    naive,
    softmax,
)

pytestmark = pytest.mark.computes

PLAIN = st.sampled_from(["normal", "integers", "zeros", "post-relu", "per-channel"])
LAYOUT = st.sampled_from(["contiguous", "strided", "fortran", "batch last", "read-only"])


def normal(*shape: int, dtype: str = "float64", seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# Against torch, on 1,100 random configurations, each in both dtypes.


@st.composite
def windows(draw: st.DrawFn, *, pooling: bool) -> dict[str, Any]:
    """A kernel, stride and padding, and an image that they fit."""
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    padding = tuple(draw(st.integers(0, k // 2 if pooling else 3)) for k in kernel)
    smallest = [max(1, k - 2 * p) for k, p in zip(kernel, padding, strict=True)]
    return {
        "kernel_size": kernel,
        "stride": draw(st.tuples(st.integers(1, 4), st.integers(1, 4))),
        "padding": padding,
        "size": tuple(draw(st.integers(low, low + 7)) for low in smallest),
    }


@st.composite
def convolutions(draw: st.DrawFn) -> Case:
    given_windows = draw(windows(pooling=False))
    size, channels = given_windows.pop("size"), draw(st.integers(1, 4))
    options = {"in_channels": channels, "out_channels": draw(st.integers(1, 4)), "bias": draw(st.booleans())}
    shape = (draw(st.integers(1, 4)), channels, *size)
    return Case(shape, options | given_windows, draw(PLAIN), draw(LAYOUT), calls=draw(st.integers(1, 2)))


@st.composite
def poolings(draw: st.DrawFn) -> Case:
    options = draw(windows(pooling=True))
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 4)), *options.pop("size"))
    return Case(shape, options, draw(PLAIN), draw(LAYOUT), calls=draw(st.integers(1, 2)))


@st.composite
def linears(draw: st.DrawFn) -> Case:
    width = draw(st.integers(1, 12))
    options = {"in_features": width, "out_features": draw(st.integers(1, 8)), "bias": draw(st.booleans())}
    return Case((draw(st.integers(1, 6)), width), options, draw(PLAIN), draw(LAYOUT), calls=draw(st.integers(1, 2)))


@st.composite
def norms(draw: st.DrawFn) -> Case:
    channels = draw(st.integers(1, 4))
    # With two values a channel, y is ±w + b whatever the input, and the gradient of the input is only rounding.
    shape = (draw(st.integers(1, 4)), channels, draw(st.integers(1, 5)), draw(st.integers(3, 6)))
    options = {
        "num_features": channels,
        "eps": draw(st.sampled_from([1e-5, 1e-3, 0.1, 1.0])),
        "momentum": draw(st.sampled_from([0.0, 0.1, 0.6, 1.0])),
        "affine": draw(st.booleans()),
    }
    return Case(shape, options, draw(PLAIN), draw(LAYOUT), calls=draw(st.integers(1, 3)))


SHAPES = st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple)
SCORES = st.tuples(st.integers(1, 6), st.integers(2, 10))
SIMPLE = st.builds(Case, shape=SHAPES, values=PLAIN, layout=LAYOUT)
# "large" scores are in the registry's cases only: of few of them, one may be right beyond doubt, with all gradients 0.
SOFTMAXES = st.builds(
    Case, SCORES, st.just({"dim": 1}), values=st.sampled_from(["normal", "integers", "zeros"]), layout=LAYOUT
)
LOSSES = st.builds(
    Case,
    SCORES,
    st.fixed_dictionaries({"reduction": st.sampled_from(["mean", "sum", "none"])}),
    values=st.sampled_from(["normal", "integers", "zeros"]),
    layout=LAYOUT,
)


def agree(pair_name: str, case: Case, seed: int) -> None:
    pair = REGISTRY[pair_name]
    assert isinstance(pair, LayerPair)
    for dtype in DTYPES:
        rows = pair.check(pair.probe(case, dtype, np.random.default_rng(seed)))
        assert rows
        assert all(row.ok for row in rows), "\n".join(str(row) for row in rows if not row.ok)


SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=300)
@given(convolutions(), SEEDS)
def test_conv2d_agrees_with_torch(case: Case, seed: int) -> None:
    agree("conv2d", case, seed)


@settings(max_examples=250)
@given(poolings(), SEEDS)
def test_maxpool2d_agrees_with_torch(case: Case, seed: int) -> None:
    agree("maxpool2d", case, seed)


@settings(max_examples=100)
@given(linears(), SEEDS)
def test_linear_agrees_with_torch(case: Case, seed: int) -> None:
    agree("linear", case, seed)


@settings(max_examples=150)
@given(norms(), SEEDS)
def test_batchnorm2d_agrees_with_torch(case: Case, seed: int) -> None:
    agree("batchnorm2d", case, seed)


@pytest.mark.parametrize("pair", ["relu", "flatten"])
@settings(max_examples=60)
@given(case=SIMPLE, seed=SEEDS)
def test_relu_and_flatten_agree_with_torch(pair: str, case: Case, seed: int) -> None:
    agree(pair, case, seed)


@pytest.mark.parametrize("pair", ["softmax", "log_softmax"])
@settings(max_examples=60)
@given(case=SOFTMAXES, seed=SEEDS)
def test_softmax_agrees_with_torch(pair: str, case: Case, seed: int) -> None:
    agree(pair, case, seed)


@settings(max_examples=60)
@given(LOSSES, SEEDS)
def test_cross_entropy_agrees_with_torch(case: Case, seed: int) -> None:
    agree("cross_entropy", case, seed)


def test_the_loss_takes_a_plain_number_as_its_gradient() -> None:
    loss, logits, targets = CrossEntropyLoss(), normal(3, 4), np.array([0, 1, 2])
    loss(logits, targets)
    one = loss.backward()
    np.testing.assert_array_equal(loss.backward(2), 2 * one)
    np.testing.assert_array_equal(loss.backward(np.array(2.0)), 2 * one)


# Against the definitions in plain loops, without torch.


@settings(max_examples=60)
@given(convolutions(), SEEDS)
def test_conv2d_is_what_the_loops_define(case: Case, seed: int) -> None:
    rng = np.random.default_rng(seed)
    layer = Conv2d(**case.options, generator=rng, dtype=np.float64)
    # Small whole numbers: every sum is exact in any order, so that equality can be asked for.
    for parameter in layer.parameters():
        parameter.data[...] = rng.integers(-4, 5, parameter.data.shape)
    x = rng.integers(-4, 5, case.shape).astype(float)
    bias = None if layer.bias is None else layer.bias.data

    y = layer(x)
    g = rng.integers(-4, 5, y.shape).astype(float)
    grad_input = layer.backward(g)

    np.testing.assert_array_equal(y, naive.conv2d(x, layer.weight.data, bias, layer.stride, layer.padding))
    expected = naive.conv2d_backward(x, layer.weight.data, g, layer.stride, layer.padding)
    np.testing.assert_array_equal(grad_input, expected[0])
    np.testing.assert_array_equal(layer.weight.grad, expected[1])
    if layer.bias is not None:
        np.testing.assert_array_equal(layer.bias.grad, expected[2])


@settings(max_examples=60)
@given(poolings(), SEEDS)
def test_maxpool2d_is_what_the_loops_define(case: Case, seed: int) -> None:
    rng = np.random.default_rng(seed)
    layer = MaxPool2d(**case.options)
    x = rng.integers(-2, 3, case.shape).astype(float)

    y = layer(x)
    g = rng.integers(-4, 5, y.shape).astype(float)

    windows_of = layer.kernel_size, layer.stride, layer.padding
    np.testing.assert_array_equal(y, naive.max_pool2d(x, *windows_of))
    np.testing.assert_array_equal(layer.backward(g), naive.max_pool2d_backward(x, g, *windows_of))


def test_the_loops_keep_the_dtype_and_leave_out_what_fills_no_window() -> None:
    assert naive.conv2d(np.ones((1, 1, 3, 3), np.float32), np.ones((2, 1, 2, 2), np.float32)).dtype == np.float32
    assert naive.max_pool2d(np.ones((1, 1, 5, 4)), (2, 2)).shape == (1, 1, 2, 2)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_the_gradient_of_batchnorm2d_is_the_slope_of_its_loss(affine: bool, training: bool) -> None:
    norm, x, g = BatchNorm2d(2, eps=0.5, affine=affine, dtype=float), normal(3, 2, 2, 3), normal(3, 2, 2, 3, seed=1)
    for seed, parameter in enumerate(norm.parameters()):
        parameter.data[...] = normal(2, seed=2 + seed)
    norm.running_mean.data[...], norm.running_var.data[...] = [0.5, -0.5], [2.0, 3.0]
    norm.train(training)(x)
    grad_input = norm.backward(g)

    def slope(array: Array) -> Array:
        slopes = np.zeros_like(array)
        for at in np.ndindex(array.shape):
            here, sides = array[at], []
            for side in (here + 1e-5, here - 1e-5):
                array[at] = side
                sides.append((g * norm(x)).sum())
            array[at], slopes[at] = here, (sides[0] - sides[1]) / 2e-5
        return slopes

    np.testing.assert_allclose(grad_input, slope(x), rtol=1e-6, atol=1e-8)
    for parameter in norm.parameters():
        assert parameter.grad is not None
        np.testing.assert_allclose(parameter.grad, slope(parameter.data), rtol=1e-6, atol=1e-8)


# Properties.


def test_batchnorm2d_gives_every_channel_its_bias_as_mean_and_its_weight_as_deviation() -> None:
    norm, x = BatchNorm2d(3, dtype=float), 5 * normal(4, 3, 6, 6) + 100
    assert norm.weight is not None
    assert norm.bias is not None
    norm.weight.data[...], norm.bias.data[...] = [1.0, -2.0, 3.0], [4.0, 5.0, 6.0]
    y = norm(x)
    np.testing.assert_allclose(y.mean(axis=(0, 2, 3)), [4, 5, 6], rtol=1e-12)
    np.testing.assert_allclose(y.std(axis=(0, 2, 3)), [1, 2, 3], rtol=1e-6)
    np.testing.assert_allclose(norm(3 * x - 7), y, atol=1e-5)  # neither scale nor height of the input matter
    # So the gradient has no share in the direction of a shift, and next to none in that of a scale.
    grad_input = norm.backward(normal(4, 3, 6, 6, seed=1))
    np.testing.assert_allclose(grad_input.sum(axis=(0, 2, 3)), 0, atol=1e-13)
    np.testing.assert_allclose((grad_input * x).sum(axis=(0, 2, 3)), 0, atol=1e-4)


def test_batchnorm2d_answers_for_one_image_in_evaluation_and_leaves_its_averages() -> None:
    norm = BatchNorm2d(1, eps=3.0, dtype=float)
    norm.running_mean.data[...], norm.running_var.data[...] = 1, 6
    np.testing.assert_array_equal(norm.eval()(np.array([[[[7.0]]]])), [[[[2.0]]]])  # (7 - 1)/√(6 + 3)
    np.testing.assert_allclose(norm.backward(np.array([[[[1.0]]]])), [[[[1 / 3]]]])
    assert [buffer.data.item() for buffer in norm.buffers()] == [1, 6, 0]


def test_batchnorm2d_takes_the_last_batch_in_place_and_counts() -> None:
    norm = BatchNorm2d(1, momentum=0.25, dtype=float)
    state = norm.state_dict()
    for _ in range(2):
        norm(np.array([[[[2.0]]], [[[6.0]]]]))  # mean 4, unbiased variance (4 + 4)/1
    np.testing.assert_array_equal(state["running_mean"], [0.75 * 1 + 0.25 * 4])
    np.testing.assert_array_equal(state["running_var"], [0.75 * 2.75 + 0.25 * 8])
    assert int(state["num_batches_tracked"]) == 2


def test_batchnorm2d_goes_backward_in_the_mode_it_went_forward() -> None:
    norm, x, g = BatchNorm2d(2, dtype=float), normal(3, 2, 2, 2), normal(3, 2, 2, 2, seed=1)
    norm(x)
    expected = norm.backward(g)
    np.testing.assert_array_equal(norm.eval().backward(g), expected)


def test_batchnorm2d_begins_as_torchs_and_keeps_the_dtype() -> None:
    for affine in (True, False):
        # What comes from elsewhere as a NumPy number, of float64, must not widen anything.
        own = BatchNorm2d(3, np.float64(1e-3), np.float64(0.1), affine)
        twin = torch.nn.BatchNorm2d(3, affine=affine).state_dict()
        assert list(own.state_dict()) == list(twin)
        for name, array in own.state_dict().items():
            np.testing.assert_array_equal(array, twin[name].numpy(), strict=True)
        for training in (True, False):
            norm = own.train(training)
            assert norm(X4).dtype == norm.backward(X4).dtype == np.float32
        assert all(p.grad is not None and p.grad.dtype == np.float32 for p in own.parameters())
        assert {array.dtype for array in own.state_dict().values()} == {np.dtype("float32"), np.dtype("int64")}


def test_dropout_leaves_out_a_share_of_p_and_keeps_the_mean() -> None:
    dropout, x = Dropout(0.2, generator=np.random.default_rng(0)), np.ones((100, 100))
    y = dropout(x)
    np.testing.assert_allclose(np.unique(y), [0, 1.25])
    assert abs((y == 0).mean() - 0.2) < 0.02  # five standard deviations
    assert abs(y.mean() - 1) < 0.02
    np.testing.assert_array_equal(dropout.backward(2 * x), 2 * y)
    assert not np.array_equal(dropout(x), y), "the mask is drawn anew"


def test_dropout_draws_the_same_mask_in_both_dtypes_and_keeps_them() -> None:
    narrow, wide = (Dropout(0.3, generator=np.random.default_rng(5)) for _ in range(2))
    x = normal(4, 5, 6)
    for _ in range(2):
        few, many = narrow(x.astype(np.float32)), wide(x)
        np.testing.assert_array_equal(few == 0, many == 0)
        assert few.dtype == narrow.backward(few).dtype == np.float32
    assert Dropout(np.float64(0.3))(X4).dtype == np.float32


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_dropout_is_torchs_where_nothing_is_left_to_chance(p: float) -> None:
    own, twin, x, g = Dropout(p), torch.nn.Dropout(p), normal(3, 4), normal(3, 4, seed=1)
    for training in (True, False) if p in (0, 1) else (False,):
        inputs = torch.tensor(x, requires_grad=True)
        output = twin.train(training)(inputs)
        output.backward(torch.tensor(g))
        np.testing.assert_array_equal(own.train(training)(x), output.detach().numpy())
        assert inputs.grad is not None
        np.testing.assert_array_equal(own.backward(g), inputs.grad.numpy())


def test_dropout_without_a_generator_differs() -> None:
    assert not np.array_equal(Dropout()(np.ones(64)), Dropout()(np.ones(64)))


def test_softmax_rows_are_probabilities_and_do_not_see_a_shift() -> None:
    x = normal(4, 6)
    np.testing.assert_allclose(softmax(x).sum(axis=1), 1, rtol=1e-15)
    np.testing.assert_allclose(softmax(x + 1000), softmax(x), rtol=1e-12)
    np.testing.assert_allclose(np.exp(log_softmax(x, 0)), softmax(x, 0), rtol=1e-14)


def test_relu_and_maxpool_pass_nan_on() -> None:
    x = normal(1, 1, 4, 4)
    x[0, 0, 1, 1] = np.nan
    assert np.isnan(ReLU()(x)[0, 0, 1, 1])
    assert np.isnan(MaxPool2d(2)(x)[0, 0, 0, 0])
    assert not np.isnan(MaxPool2d(2)(x)[0, 0, 1:, 1:]).any()


def test_feature_maps_keep_the_batch_innermost() -> None:
    x = normal(5, 2, 8, 8, dtype="float32")
    conv, pool = Conv2d(2, 3, 3), MaxPool2d(2)
    y = pool(ReLU()(conv(x)))
    assert y.strides[0] == y.itemsize
    assert Flatten()(y).base is not None, "flatten copied"


def test_the_initial_weights_are_torchs_and_the_same_in_both_dtypes() -> None:
    for make in (lambda **more: Conv2d(3, 50, (5, 4), **more), lambda **more: Linear(60, 300, **more)):
        narrow, wide = (make(generator=np.random.default_rng(7), dtype=dtype) for dtype in ("float32", "float64"))
        bound = 1 / np.sqrt(60)
        for (_, few), (_, many) in zip(narrow.named_parameters(), wide.named_parameters(), strict=True):
            assert few.data.dtype == np.float32
            np.testing.assert_array_equal(few.data, many.data.astype(np.float32))
            assert 0.9 * bound < np.abs(many.data).max() <= bound
            assert abs(many.data.mean()) < 0.2 * bound


def test_layers_without_a_generator_differ() -> None:
    assert not np.array_equal(Linear(3, 3).weight.data, Linear(3, 3).weight.data)


# What they refuse.

X4 = np.zeros((2, 3, 5, 5), np.float32)
REFUSED_OPTIONS: list[tuple[Callable[[], object], str]] = [
    (lambda: Conv2d(0, 1, 3), "Conv2d: in_channels must be an int of at least 1, got 0"),
    (lambda: Conv2d(1, True, 3), "Conv2d: out_channels must be an int of at least 1, got True"),
    (lambda: Conv2d(1, 1, 0), "Conv2d: kernel_size must be an int or a pair of ints, each at least 1, got 0"),
    (lambda: Conv2d(1, 1, (3, 3, 3)), r"Conv2d: kernel_size must be .* got \(3, 3, 3\)"),  # type: ignore[arg-type]
    (lambda: Conv2d(1, 1, 3, stride=0), "Conv2d: stride must be .* at least 1, got 0"),
    (lambda: Conv2d(1, 1, 3, padding=-1), "Conv2d: padding must be .* at least 0, got -1"),
    (lambda: Conv2d(1, 1, 3, padding="same"), "Conv2d: padding must be .* got 'same'"),  # type: ignore[arg-type]
    (lambda: Conv2d(1, 1, 3, dilation=2), "Conv2d: dilation must be 1, the only value supported, got 2"),
    (lambda: Conv2d(1, 1, 3, dilation=(1, 2)), r"Conv2d: dilation must be \(1, 1\), the only .* got \(1, 2\)"),
    (lambda: Conv2d(2, 2, 3, groups=2), "Conv2d: groups must be 1, the only value supported, got 2"),
    (lambda: Conv2d(1, 1, 3, padding_mode="reflect"), "Conv2d: padding_mode must be 'zeros', .* got 'reflect'"),
    (lambda: MaxPool2d(2, stride=(1, 0)), r"MaxPool2d: stride must be .* got \(1, 0\)"),
    (lambda: MaxPool2d(3, padding=2), r"MaxPool2d: padding must be at most half of kernel_size \(3, 3\), got \(2, 2\)"),
    (lambda: MaxPool2d(2, dilation=2), "MaxPool2d: dilation must be 1, the only value supported, got 2"),
    (lambda: MaxPool2d(2, ceil_mode=True), "MaxPool2d: ceil_mode must be False, .* got True"),
    (lambda: MaxPool2d(2, return_indices=True), "MaxPool2d: return_indices must be False, .* got True"),
    (lambda: Linear(3, 0), "Linear: out_features must be an int of at least 1, got 0"),
    (lambda: Linear(3, 1, dtype=int), "dtype must be float32 or float64, got int64"),
    (lambda: BatchNorm2d(0), "BatchNorm2d: num_features must be an int of at least 1, got 0"),
    (lambda: BatchNorm2d(3, eps=0), "BatchNorm2d: eps must be a number above 0, got 0"),
    (lambda: BatchNorm2d(3, eps=float("nan")), "BatchNorm2d: eps must be a number above 0, got nan"),
    (lambda: BatchNorm2d(3, momentum=None), "BatchNorm2d: momentum must be a number, got None"),  # type: ignore[arg-type]
    (lambda: BatchNorm2d(3, momentum=float("inf")), "BatchNorm2d: momentum must be a number, got inf"),
    (lambda: BatchNorm2d(3, track_running_stats=False), "BatchNorm2d: track_running_stats must be True, .* got False"),
    (lambda: BatchNorm2d(3, dtype=np.float16), "dtype must be float32 or float64, got float16"),
    (lambda: Dropout(-0.1), "Dropout: p must be a number from 0 to 1, got -0.1"),
    (lambda: Dropout(1.5), "Dropout: p must be a number from 0 to 1, got 1.5"),
    (lambda: Dropout(float("nan")), "Dropout: p must be a number from 0 to 1, got nan"),
    (lambda: Dropout(inplace=True), "Dropout: inplace must be False, the only value supported, got True"),
    (lambda: CrossEntropyLoss(weight=np.ones(3)), "CrossEntropyLoss: weight must be None, .* got array"),  # type: ignore[arg-type]
    (lambda: CrossEntropyLoss(reduction="max"), "CrossEntropyLoss: reduction must be .* got 'max'"),
    (lambda: CrossEntropyLoss(label_smoothing=0.1), "CrossEntropyLoss: label_smoothing must be 0.0, .* got 0.1"),
    (lambda: CrossEntropyLoss(ignore_index=0), "CrossEntropyLoss: ignore_index must be -100, .* got 0"),
]
REFUSED_INPUTS: list[tuple[Module, tuple[Array, ...], str]] = [
    (Conv2d(3, 2, 3), (X4[0],), r"Conv2d: input must have 4 axes \(N, C, H, W\), got shape \(3, 5, 5\)"),
    (Conv2d(2, 2, 3), (X4,), r"Conv2d: input must have in_channels = 2 channels, got shape \(2, 3, 5, 5\)"),
    (Conv2d(3, 2, 3), (X4.astype(float),), "Conv2d: input must have the parameters' dtype float32, got float64"),
    (Conv2d(3, 2, 6), (X4,), r"Conv2d: kernel_size \(6, 6\) must not be larger than the padded input \(5, 5\)"),
    (Conv2d(3, 2, 3), (X4[:0],), "Conv2d: input must hold at least one image"),
    (AvgPool2d(2), (X4[0, 0],), r"AvgPool2d: input must have 4 axes \(N, C, H, W\), got shape \(5, 5\)"),
    (AvgPool2d((6, 1)), (X4,), r"AvgPool2d: kernel_size \(6, 1\) must not be larger than the padded input \(5, 5\)"),
    (MaxPool2d(2), (X4[0, 0],), r"MaxPool2d: input must have 4 axes \(N, C, H, W\), got shape \(5, 5\)"),
    (MaxPool2d((6, 1)), (X4,), r"MaxPool2d: kernel_size \(6, 1\) must not be larger than the padded input \(5, 5\)"),
    (MaxPool2d(2), (X4.astype(int),), "MaxPool2d: input must be float32 or float64, got int64"),
    (ReLU(), (X4.astype(np.float16),), "ReLU: input must be float32 or float64, got float16"),
    (Flatten(), (X4[0, 0, 0],), r"Flatten: input must have 2 axes or more, \(N, ...\), got shape \(5,\)"),
    (Softmax(), (X4.astype(int),), "Softmax: input must be float32 or float64, got int64"),
    (LogSoftmax(), (X4.astype(int),), "LogSoftmax: input must be float32 or float64, got int64"),
    (Linear(5, 2), (X4,), r"Linear: input must have 2 axes \(N, in_features\), got shape \(2, 3, 5, 5\)"),
    (Linear(4, 2), (X4[0, 0],), r"Linear: input must have in_features = 4 columns, got shape \(5, 5\)"),
    (Linear(5, 2), (X4[0, 0].astype(float),), "Linear: input must have the parameters' dtype float32, got float64"),
    (BatchNorm2d(3), (X4[0],), r"BatchNorm2d: input must have 4 axes \(N, C, H, W\), got shape \(3, 5, 5\)"),
    (BatchNorm2d(2), (X4,), r"BatchNorm2d: input must have num_features = 2 channels, got shape \(2, 3, 5, 5\)"),
    (BatchNorm2d(3), (X4.astype(float),), "BatchNorm2d: input must have the parameters' dtype float32, got float64"),
    (
        BatchNorm2d(3),
        (X4[:1, :, :1, :1],),
        r"BatchNorm2d: in training, input must have 2 values or more for each channel, got shape \(1, 3, 1, 1\)",
    ),
    (BatchNorm2d(3), (X4[:0],), r"BatchNorm2d: in training, input must have 2 .* got shape \(0, 3, 5, 5\)"),
    (Dropout(), (X4.astype(int),), "Dropout: input must be float32 or float64, got int64"),
    (CrossEntropyLoss(), (X4, np.zeros(2, int)), r"CrossEntropyLoss: input must have 2 axes \(N, K\)"),
    (CrossEntropyLoss(), (X4[0, 0], np.zeros(4, int)), r"targets must be whole numbers of shape \(5,\).*int64\[4\]"),
    (CrossEntropyLoss(), (X4[0, 0], np.zeros(5)), r"targets must be whole numbers of shape \(5,\).*float64\[5\]"),
    (CrossEntropyLoss(), (X4[0, 0], np.array([0, 1, 5, 0, 0])), "targets must be between 0 and 4, got 5"),
    (CrossEntropyLoss(), (X4[0, 0], np.array([0, -1, 4, 0, 0])), "targets must be between 0 and 4, got -1"),
    (CrossEntropyLoss(), (X4[0, 0, :0], np.zeros(0, int)), "a batch must hold at least one image, got none"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED_OPTIONS, ids=[message[:40] for _, message in REFUSED_OPTIONS])
def test_an_unsupported_option_is_refused_by_name(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("layer", "inputs", "message"), REFUSED_INPUTS)
def test_an_input_that_does_not_fit_is_refused(layer: Module, inputs: tuple[Array, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer(*inputs)


LAYERS: list[tuple[Module, tuple[Array, ...]]] = [
    (Conv2d(3, 2, 3), (X4,)),
    (MaxPool2d(2), (X4,)),
    (ReLU(), (X4,)),
    (Flatten(), (X4,)),
    (Linear(5, 2), (X4[0, 0],)),
    (BatchNorm2d(3), (X4,)),
    (Dropout(), (X4,)),
    (Dropout().eval(), (X4,)),
    (Softmax(), (X4,)),
    (LogSoftmax(), (X4,)),
    (CrossEntropyLoss(), (X4[0, 0], np.zeros(5, int))),
]


@pytest.mark.parametrize(("layer", "inputs"), LAYERS, ids=[type(layer).__name__ for layer, _ in LAYERS])
def test_backward_refuses_to_come_first_and_a_gradient_that_does_not_fit(
    layer: Module, inputs: tuple[Array, ...]
) -> None:
    name = type(layer).__name__
    with pytest.raises(RuntimeError, match=rf"{name}.backward\(\) was called before forward\(\)"):
        layer.backward(X4)
    y = layer(*inputs)
    with pytest.raises(ValueError, match=f"{name}: grad_output must be like the output, float32"):
        layer.backward(np.zeros((*y.shape, 2), np.float32))
    with pytest.raises(ValueError, match=f"{name}: grad_output must be like the output, .* got float64"):
        layer.backward(np.zeros(y.shape))
