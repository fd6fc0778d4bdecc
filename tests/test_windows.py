"""Windows and pieces: views that copy nothing, and cuts that leave nothing out; and the layers in many small pieces."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scratch
from compare.pairs.pair import LayerPair
from compare.pairs.probe import Probe
from compare.pairs.registry import REGISTRY
from compare.verify.agreement import DTYPES
from scratch import Array, Conv2d, Flatten, Linear, MaxPool2d, Module, ReLU, Sequential, conv, naive, pool
from scratch import windows as tuning
from scratch.windows import pieces, sliding_windows, small_buffers

SIDE = st.integers(1, 7)


@given(channels=SIDE, h=SIDE, w=SIDE, n=st.integers(1, 40), limit=st.integers(0, 300))
def test_pieces_are_runs_of_memory_and_together_everything_once(
    channels: int, h: int, w: int, n: int, limit: int
) -> None:
    y, seen = np.zeros((channels, h, w, n)), np.zeros((h, w, n), int)
    for at in pieces(y, limit):
        piece = y[:, *at]
        assert 0 < piece[0].size <= max(limit, 1)
        assert piece[0].flags.c_contiguous
        assert piece[0].size == 1 or np.ptp(np.flatnonzero(marked(y.shape[1:], at))) == piece[0].size - 1
        assert np.shares_memory(piece.reshape(channels, -1), y), "a product could not be written into it"
        seen[at] += 1
    assert (seen == 1).all()


def marked(shape: tuple[int, ...], at: tuple[slice, ...]) -> Array:
    mask = np.zeros(shape, bool)
    mask[at] = True
    return mask


def test_images_at_one_pixel_are_cut_into_equal_parts() -> None:
    assert [at[2] for at in pieces(np.zeros((1, 1, 1, 512)), 416)] == [slice(0, 256), slice(256, 512)]


def test_windows_are_a_view_with_every_element_of_every_window() -> None:
    y = np.arange(2 * 7 * 6 * 3).reshape(2, 7, 6, 3)
    windows = sliding_windows(y, (3, 2), (2, 3))
    assert windows.shape == (2, 3, 2, 3, 2, 3)
    assert np.shares_memory(windows, y)
    for c, u, v, i, j, n in np.ndindex(windows.shape):
        assert windows[c, u, v, i, j, n] == y[c, 2 * i + u, 3 * j + v, n]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [1, 2, 3, 7, pytest.param(25, marks=pytest.mark.computes)])
def test_a_convolution_in_small_pieces_is_within_the_same_bounds(
    columns: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conv, "columns_at_once", lambda _: columns)
    monkeypatch.setattr(conv, "cached", lambda numbers: columns * 40 // numbers)
    for probe in probes("conv2d", dtype):
        rows = REGISTRY["conv2d"].check(probe)
        assert all(row.ok for row in rows), "\n".join(str(row) for row in rows if not row.ok)


@cache
def probes(name: str, dtype: str) -> list[Probe]:
    """One for each case; drawn once, so that what is right for it is computed once."""
    pair = REGISTRY[name]
    assert isinstance(pair, LayerPair)
    return [pair.probe(case, dtype, np.random.default_rng(0)) for case in pair.cases]


@pytest.mark.computes
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("windows", [1, 5, 40])
def test_pooling_in_small_pieces_is_the_same(windows: int, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "cached", lambda numbers: windows // numbers)
    for probe in probes("maxpool2d", dtype):
        rows = REGISTRY["maxpool2d"].check(probe)
        assert all(row.ok for row in rows), "\n".join(str(row) for row in rows if not row.ok)


def test_a_convolution_is_cut_into_rows_parts_of_rows_and_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registered cases meet every kind of piece, so that every check goes through them."""
    kinds = set()

    def watched(y: Array, limit: int) -> Any:
        for at in pieces(y, limit):
            sizes = y[:, *at].shape[1:]
            cut = [own < whole for own, whole in zip(sizes, y.shape[1:], strict=True)]
            kinds.add("images" if cut[2] else "columns" if cut[1] else "rows" if cut[0] else "whole")
            yield at

    monkeypatch.setattr(conv, "pieces", watched)
    pair = REGISTRY["conv2d"]
    assert isinstance(pair, LayerPair)
    for case in pair.cases:
        if case.values == "normal":
            layer = Conv2d(**case.options)
            layer.backward(layer(np.zeros(case.shape, np.float32)))
    assert kinds == {"whole", "rows", "columns", "images"}


@pytest.mark.parametrize("shape", [(8, 9), (16, 150), (6, 25), (32, 288)])
def test_products_stay_small_where_that_leaves_enough_columns(shape: tuple[int, int]) -> None:
    matrix = np.zeros(shape)
    columns = tuning.columns_at_once(matrix)
    if tuning.SMALL_PRODUCT // matrix.size >= tuning.FEWEST_COLUMNS:
        assert columns * matrix.size <= tuning.SMALL_PRODUCT < (columns + 1) * matrix.size
    else:
        assert columns == tuning.MANY_COLUMNS


# What a convolution keeps, and what it leaves to its user.


def test_a_convolution_keeps_the_image_and_not_its_patches() -> None:
    layer = Conv2d(3, 4, 5, padding=2)
    x = np.zeros((20, 3, 30, 30), np.float32)
    layer(x)
    windows, _ = layer.saved_for_backward
    low, high = np.lib.array_utils.byte_bounds(windows)
    assert high - low == 20 * 3 * 34 * 34 * 4


@pytest.mark.computes
@pytest.mark.parametrize(
    "make",
    [
        lambda: Conv2d(1, 4, 3, padding=1),
        lambda: MaxPool2d(2),
        lambda: MaxPool2d(3, stride=2),
        ReLU,
        lambda: Sequential(Flatten(), Linear(64, 5)),
    ],
)
def test_what_a_layer_returned_stays_as_it_is(make: Callable[[], Module]) -> None:
    """Memory is used again inside a call only: outputs and gradients belong to the caller."""
    layer, rng = make(), np.random.default_rng(0)
    first, second = (rng.standard_normal((3, 1, 8, 8)).astype(np.float32) for _ in range(2))
    y = layer(first)
    grad = layer.backward(y)
    kept = y.copy(), grad.copy()
    layer.zero_grad()
    layer.backward(layer(second))
    np.testing.assert_array_equal(y, kept[0])
    np.testing.assert_array_equal(grad, kept[1])


@pytest.mark.computes
@pytest.mark.parametrize(("kernel", "padding"), [(2, 0), (2, 1), ((2, 3), (1, 1)), (3, 1)])
@pytest.mark.parametrize("size", [(6, 6), (7, 8), (9, 7)])
def test_windows_side_by_side_are_what_the_loops_define(
    kernel: int | tuple[int, int], padding: int | tuple[int, int], size: tuple[int, int]
) -> None:
    """They are written once, not added up: what lies in no window must be zero all the same."""
    rng, layer = np.random.default_rng(1), MaxPool2d(kernel, padding=padding)
    x = rng.integers(0, 3, (2, 3, *size)).astype(np.float64)
    np.empty_like(layer(x), shape=(2, 3, *size)).fill(np.nan)  # memory that is likely to be had again
    y = layer(x)
    g = rng.standard_normal(y.shape)
    expected = naive.max_pool2d_backward(x, g, layer.kernel_size, layer.stride, layer.padding)
    np.testing.assert_array_equal(layer.backward(g), expected)


# The gradient that nobody asks for.

MODELS: list[Callable[[], Module]] = [
    lambda: scratch.CNN(generator=np.random.default_rng(0)),
    lambda: scratch.LeNet5(generator=np.random.default_rng(0)),
    lambda: Sequential(Flatten(), Linear(784, 10, generator=np.random.default_rng(0))),
    lambda: Sequential(Conv2d(1, 2, 28, generator=np.random.default_rng(0)), Flatten()),
    lambda: Sequential(),
    lambda: Linear(28, 3, generator=np.random.default_rng(0)),
]


@pytest.mark.computes
@pytest.mark.parametrize("make", MODELS)
def test_backward_for_the_parameters_gives_their_gradients_and_no_other(make: Callable[[], Module]) -> None:
    both, parameters_only = make(), make()
    x = np.random.default_rng(1).standard_normal((5, 1, 28, 28)).astype(np.float32)
    x = x[0, 0] if isinstance(both, Linear) else x
    for model, backward in ((both, both.backward), (parameters_only, parameters_only.backward_parameters)):
        for _ in range(2):  # they accumulate
            y = model(x)
            result = backward(np.ones_like(y))
        assert (result is None) == (model is parameters_only)
    for (name, parameter), twin in zip(both.named_parameters(), parameters_only.parameters(), strict=True):
        assert parameter.grad is not None
        assert parameter.grad.flags.c_contiguous, "who saves it byte by byte would save it in another order"
        np.testing.assert_array_equal(twin.grad, parameter.grad, err_msg=name)


def test_a_sequence_asks_its_first_layer_for_no_gradient_of_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Linear(3, 2)
    model = Sequential(first, ReLU())
    y = model(np.ones((4, 3), np.float32))
    monkeypatch.setattr(first, "backward", None)
    model.backward_parameters(y)
    assert first.weight.grad is not None


def test_numpys_buffer_is_small_for_the_sum_only_and_as_before_after_it() -> None:
    def fails() -> None:
        with small_buffers():
            assert np.getbufsize() == 512
            raise ArithmeticError

    before, layer = np.setbufsize(4096), Conv2d(2, 3, 3)
    try:
        layer.backward(layer(np.ones((2, 2, 5, 5), np.float32)))
        assert np.getbufsize() == 4096
        with pytest.raises(ArithmeticError):
            fails()
        assert np.getbufsize() == 4096
    finally:
        np.setbufsize(before)


def test_training_asks_for_no_gradient_of_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Array) -> Array:
        raise AssertionError

    model = scratch.CNN()
    monkeypatch.setattr(model.conv1, "backward", refused)
    optimizer = scratch.SGD(model.parameters())
    images, labels = np.zeros((3, 1, 28, 28), np.float32), np.array([0, 1, 2])
    scratch.train_step(model, scratch.CrossEntropyLoss(), optimizer, images, labels)
    assert model.conv1.weight.grad is not None


@pytest.mark.parametrize(("layer", "shape"), [(Conv2d(1, 2, 3), (1, 1, 5, 5)), (Linear(5, 2), (1, 5))])
def test_backward_for_the_parameters_refuses_what_backward_refuses(layer: Module, shape: tuple[int, ...]) -> None:
    with pytest.raises(RuntimeError, match="before forward"):
        layer.backward_parameters(np.zeros(shape, np.float32))
    y = layer(np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match="grad_output must be like the output"):
        layer.backward_parameters(y[..., :1])


def test_evaluation_takes_the_memory_of_one_batch_however_many_there_are() -> None:
    model, criterion = scratch.LeNet5(), scratch.CrossEntropyLoss()
    rng = np.random.default_rng(0)

    def peak(batches: int) -> int:
        def drawn() -> Iterator[tuple[Array, Array]]:
            for _ in range(batches):
                yield rng.standard_normal((250, 1, 28, 28), np.float32), rng.integers(0, 10, 250)

        tracemalloc.start()
        try:
            scratch.evaluate(model, criterion, drawn())
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)
    assert peak(40) < 1.1 * peak(4)  # 10,000 images, and 1,000
