"""The lesson: what it takes from the source, what it computes, and that it is not built where something is wrong."""

from __future__ import annotations

import base64
import html
import inspect
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import scratch
from compare import cli
from compare.driving.tensors import Call, Tensors
from compare.faults.catalogue import find_fault
from compare.faults.fault import plant
from compare.lesson import agreement, examples, server
from compare.lesson.build import Lesson, build
from compare.lesson.chapters import close, contents, learnt, why, windows
from compare.lesson.history import Curve, History, train_small
from compare.lesson.layers import LAYERS, Layer
from compare.lesson.not_as_shown import NotAsShown
from compare.lesson.scene import Scene
from compare.lesson.showing import chart, source
from compare.machine.data import Dataset
from compare.machine.errors import UserError
from compare.pairs.models import ModelPair
from compare.pairs.pair import LayerPair
from compare.pairs.registry import MODELS, REGISTRY
from compare.pairs.report import Report, Row
from compare.pairs.weights import scratch_state
from compare.pictures import inline
from compare.training.findings import Findings, Parting
from compare.verify.agreement import check
from compare.verify.trained import check_trained
from scratch import naive
from tests.conftest import Run
from tests.test_lesson_history import begin

ROOT = Path(__file__).parent.parent


# ---- the code that is shown


def text_of(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", markup))


def test_a_listing_is_the_source_without_its_docstring() -> None:
    shown = source.listing(scratch.CrossEntropyLoss.backward)
    assert shown.path == "scratch/loss.py"
    lines = (ROOT / shown.path).read_text().splitlines()
    assert len(shown.lines) > 5
    for line in shown.lines:
        assert lines[line.number - 1].strip() == line.text.strip()
        assert text_of(line.html) == line.text
    assert not any('"""' in line.text for line in shown.lines)
    assert any('"""' in line.text for line in source.listing(scratch.CrossEntropyLoss.backward, docstring=True).lines)


def test_a_function_without_a_docstring_is_shown_whole() -> None:
    shown = source.listing(scratch.ReLU.forward)
    assert [line.text for line in shown.lines] == [
        line.removeprefix("    ") for line in inspect.getsource(scratch.ReLU.forward).splitlines()
    ]


def test_code_is_escaped_once() -> None:
    (line,) = source.coloured(['assert 1 < 2 and "<b>&"'])
    assert "&lt;b&gt;&amp;" in line
    assert "<b>" not in line


def test_tags_are_the_numbers_in_comments() -> None:
    tags = {line.text.strip(): line.tag for line in source.listing(scratch.Linear.forward).lines}
    assert tags["y = weight @ x.T  # (1)"] == 1
    assert tags["weight = self.weight.data"] is None


def test_beside_marks_what_differs() -> None:
    own, twin = source.beside(
        source.listing(LAYERS["relu"].shown.in_torch), source.listing(LAYERS["flatten"].shown.in_torch)
    )
    for side in (own, twin):
        assert [line.text.strip() for line in side.lines if line.marked] == [
            side.lines[0].text,
            side.lines[1].text.strip(),
        ]
    assert all(not line.marked for line in source.beside(own, own)[0].lines)


@pytest.mark.parametrize("layer", LAYERS.values(), ids=lambda layer: layer.pair)
def test_formula_code_calls_and_numbers_carry_the_same_tags(layer: Layer) -> None:
    numbers = {equation.number for equation in layer.equations}
    in_code = {line.tag for listing in layer.code for line in listing.lines} - {None}
    assert in_code == numbers, "every equation has its line, every tag its equation"
    assert layer.tensors.keys() <= numbers
    for call in layer.calls:
        assert {line.tag for line in call.lines} - {None} == layer.tensors.keys()
    assert {line.tag for listing in layer.definition for line in listing.lines} - {None} <= numbers
    for number in numbers:
        path, line = layer.spot(number).split(":")
        assert f"({number})" in (ROOT / path).read_text().splitlines()[int(line) - 1]


# ---- the small examples


@pytest.mark.computes
def test_the_examples_agree_and_say_what_autograd_keeps() -> None:
    shown = examples.examples()
    assert shown.keys() == LAYERS.keys()
    for name, example in shown.items():
        assert example.scratch.keys() == example.torch.keys() >= set(LAYERS[name].tensors.values())
        assert {line.equation for line in example.by_hand} == LAYERS[name].tensors.keys()
    assert shown["conv2d"].by_hand[0].text == "0·1 + 1·2 + 3·3 + 4·4 + 0.5 = 27.5"
    pool = shown["maxpool2d"].kept
    assert pool is not None
    assert pool.operations == ("MaxPool2DWithIndicesBackward0",)
    assert pool.tensors == ("x", "the indices [1, 6]")  # the first five, and the seven
    assert shown["flatten"].kept == examples.Kept(("ViewBackward0",), ())
    loss = shown["cross_entropy"].kept
    assert loss is not None
    assert loss.operations == ("NllLossBackward0", "LogSoftmaxBackward0")
    assert shown["sgd"].kept is None


@pytest.mark.parametrize("name", ["conv2d-grad-weight-sign", "maxpool2d-all-ties-win", "relu-passes-zero"])
def test_a_wrong_layer_fails_its_example(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = plant(find_fault(name))
    monkeypatch.setattr(scratch, wrong.__name__, wrong)
    with pytest.raises(NotAsShown, match=f"the example of {find_fault(name).pair}, .*: NumPy gives .*, torch "):
        examples.examples()


def test_what_was_computed_by_hand_is_held_against_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    relu = LAYERS["relu"]
    off = [replace(line, value=line.value + 1e-3) for line in relu.shown.by_hand(relu.shown.given)]
    monkeypatch.setitem(LAYERS, "relu", replace(relu, shown=replace(relu.shown, by_hand=lambda _: off)))
    with pytest.raises(NotAsShown, match=r"the example of relu, \(1\) by hand: max\(0, −1\) = 0, not 0"):
        examples.examples()


# ---- the agreement that is shown


@pytest.mark.computes
def test_every_equation_has_its_agreement() -> None:
    rows = check([REGISTRY[pair] for pair in ("conv2d", "cross_entropy", "sgd")]).rows
    report = Report(rows)
    numbers = {name: [n for n, _, _ in agreement.agreements_of(report, LAYERS[name])] for name in LAYERS}
    assert numbers["conv2d"] == [1, 2, 3, 4]
    assert numbers["cross_entropy"] == [1, 2, 3]
    losses, mean, _ = (found for _, _, found in agreement.agreements_of(report, LAYERS["cross_entropy"]))
    outputs = [row for row in rows if row.pair == "cross_entropy" and row.tensor.startswith("output")]
    assert losses.compared == sum("reduction=none" in row.case for row in outputs) > 0
    assert losses.compared + mean.compared == len(outputs)
    assert numbers["sgd"] == [4]
    assert numbers["relu"] == []
    first = agreement.agreements_of(report, LAYERS["conv2d"])[0][2]
    outputs = [row for row in rows if row.pair == "conv2d" and row.tensor.startswith("output")]
    assert first.compared == len(outputs)
    for dtype in ("float64", "float32"):
        assert first.share[dtype] == max(row.budget for row in outputs if row.dtype == dtype) > 0
        assert first.largest[dtype] == max(row.max_abs for row in outputs if row.dtype == dtype) > 0


@pytest.mark.parametrize(
    ("name", "spot"),
    [
        ("conv2d-grad-weight-sign", r"grad_weight of conv2d .*; equation \(3\), scratch/conv.py:\d+; "),
        ("maxpool2d-last-tie-wins", r"grad_input of maxpool2d .*; equation \(2\), scratch/pool.py:\d+"),
        ("cross-entropy-gradient-sign", r"grad_input of cross_entropy .*; equation \(3\), scratch/loss.py:\d+; "),
    ],
)
def test_a_wrong_layer_is_named_with_its_equation_and_its_line(
    name: str, spot: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = find_fault(name)
    pair = REGISTRY[fault.pair]
    assert isinstance(pair, LayerPair)
    wrong = replace(pair, scratch=plant(fault))
    monkeypatch.setitem(REGISTRY, fault.pair, wrong)
    monkeypatch.setattr("compare.lesson.agreement.check", lambda: check([wrong]))
    with pytest.raises(NotAsShown, match=spot):
        agreement.checked(list(LAYERS.values()))


def test_nothing_compared_is_no_agreement() -> None:
    with pytest.raises(NotAsShown, match="the trained cnn: nothing was compared"):
        agreement.require([], "the trained cnn")


# ---- the moving windows


@pytest.fixture(scope="module")
def ten(digits: Dataset) -> scratch.Array:
    return np.stack(list(windows.one_of_each(digits).values()))


def named(images: scratch.Array) -> dict[str, scratch.Array]:
    return {str(n): image for n, image in enumerate(images)}


def test_one_image_of_each_class_that_has_one(digits: Dataset) -> None:
    found = windows.one_of_each(digits)
    assert list(found) == [str(n) for n in range(10)]
    for label, digit in enumerate(found.values()):
        first = next(n for n in range(1000) if digits.test_labels[n] == label)
        assert np.array_equal(digits.test_images[first, 0], digit)
    kept = ~np.isin(digits.test_labels, [0, 4])
    without = replace(digits, test_images=digits.test_images[kept], test_labels=digits.test_labels[kept])
    assert list(windows.one_of_each(without)) == list("12356789")


@pytest.mark.computes
@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1), (3, 2)])
def test_maps_are_those_of_the_definition(ten: scratch.Array, stride: int, padding: int) -> None:
    images = ten[:2, None].astype(np.float32) / np.float32(255)
    kernels = np.stack([kernel.values for kernel in windows.FILTERS])[:, None]
    maps = windows.convolve(images, kernels, stride, padding)
    wide = images.astype(np.float64), kernels.astype(np.float64)
    exact, magnitude = (
        naive.conv2d(x, w, None, (stride, stride), (padding, padding)) for x, w in (wide, tuple(map(np.abs, wide)))
    )
    np.testing.assert_allclose(maps.exact, exact, rtol=0, atol=1e-14)
    # Nine products and their additions: 9 roundings of 2⁻²⁴ each.
    np.testing.assert_allclose(maps.error, 9 * 2.0**-24 * magnitude, rtol=1e-5)
    for sums in (maps.scratch, maps.torch):
        assert sums.dtype == np.float32
        assert (np.abs(sums - maps.exact) <= maps.error).all()
    for image, kernel in np.ndindex(2, len(kernels)):
        apart = [
            abs(float(a) - float(b))
            for a, b in zip(maps.scratch[image, kernel].flat, maps.torch[image, kernel].flat, strict=True)
        ]
        assert maps.differences[image, kernel] == max(apart)


@pytest.mark.computes
@pytest.mark.parametrize("side", ["scratch", "torch"])
def test_a_library_too_far_from_float64_moves_no_window(
    ten: scratch.Array, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    proven, moved_by = windows._proven, 0.0

    def elsewhere(*arguments: Any) -> dict[str, Any]:
        seen = proven(*arguments)
        seen[side]["output"][0, 0, 9, 9] = exact + moved_by
        return seen

    images, kernel = ten[3:4, None].astype(np.float32) / np.float32(255), windows.FILTERS[2].values[None, None]
    maps = windows.convolve(images, kernel, 1, 0)
    exact, error = maps.exact[0, 0, 9, 9], maps.error[0, 0, 9, 9]
    assert error > 0
    monkeypatch.setattr(windows, "_proven", elsewhere)
    for share in (0.9, -0.9):
        moved_by = share * error
        windows.convolve(images, kernel, 1, 0)
    for share in (1.1, -1.1):
        moved_by = share * error
        with pytest.raises(NotAsShown, match=f"output of {side} .stride 1, padding 0. is too far from float64"):
            windows.convolve(images, kernel, 1, 0)


@pytest.mark.computes
def test_the_page_holds_the_largest_difference_of_every_map(
    ten: scratch.Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    convolve = windows.convolve

    def elsewhere(images: scratch.Array, weight: scratch.Array, stride: int, padding: int) -> windows.Maps:
        maps = convolve(images, weight, stride, padding)
        return replace(maps, scratch=maps.exact, torch=maps.exact + apart) if (stride, padding) == (2, 1) else maps

    apart = np.zeros((10, 2, 14, 14))
    apart[3, 1, 4, 5], apart[3, 1, 0, 0], apart[2, 0, 1, 3] = -0.5, 0.25, 0.125
    plain = windows.window_data(named(ten), windows.FILTERS[:2])
    monkeypatch.setattr(windows, "convolve", elsewhere)
    moved = windows.window_data(named(ten), windows.FILTERS[:2])
    assert moved["sums"] == plain["sums"] == 10 * 2 * (676 + 784 + 900 + 169 + 196 + 225 + 81 + 100 + 100)
    assert len(plain["differences"]) == 2 * 3 * 3
    assert {len(by_digit) for by_digit in plain["differences"].values()} == {10}
    found = {
        (digit, key): value
        for key, by_digit in moved["differences"].items()
        for digit, value in enumerate(by_digit)
        if key.endswith("/2/1") and value
    }
    assert found == pytest.approx({(3, "1/2/1"): 0.5, (2, "0/2/1"): 0.125})
    assert base64.b64decode(plain["digits"][3]["pixels"]) == ten[3].tobytes()


@given(exact=st.floats(-1e3, 1e3), error=st.floats(1e-4, 1e3), share=st.floats(-1, 1))
def test_digits_that_are_certain(exact: float, error: float, share: float) -> None:
    text = windows.certain(exact, error)
    unit = next(10.0**n for n in range(-9, 5) if 10.0**n >= 2 * error)
    shown = float(text.replace("−", "-"))
    assert ("e" in text) == (unit >= 10 and shown != 0)
    assert shown / unit == pytest.approx(round(shown / unit), abs=1e-6)
    assert abs(exact + share * error - shown) <= unit * (1 + 1e-6)


@pytest.mark.computes
def test_kernels_of_two_sizes(ten: scratch.Array) -> None:
    five = windows.filters_of(np.ones((1, 1, 5, 5), np.float32))
    data = windows.window_data(named(ten[:1]), [*windows.FILTERS[:1], *five])
    assert data["sums"] == sum(
        ((28 + 2 * p - k) // s + 1) ** 2 for k in (3, 5) for s in windows.STRIDES for p in windows.PADDINGS
    )
    assert [np.shape(kernel["values"]) for kernel in data["kernels"]] == [(3, 3), (5, 5)]


@pytest.mark.computes
def test_a_wrong_convolution_moves_no_window(ten: scratch.Array, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "Conv2d", plant(find_fault("conv2d-padding-one-side")))
    with pytest.raises(NotAsShown, match=r"the moving window: output of conv2d \[stride 1, padding 1"):
        windows.window_data(named(ten[:1]), windows.FILTERS[:1])
    monkeypatch.setattr(scratch, "Conv2d", plant(find_fault("conv2d-overlaps-overwritten")))
    with pytest.raises(NotAsShown, match=r"the moving window: grad_input of conv2d \[backward, stride 1, padding 0"):
        windows.backward_data(windows.patch_of(ten[0]), windows.FILTERS[:1])


@pytest.mark.computes
def test_the_way_back_is_autograds(ten: scratch.Array) -> None:
    patch = windows.patch_of(ten[3])
    assert patch.shape == (6, 6)
    assert set(np.unique(patch)) <= set(range(10))
    data = windows.backward_data(patch, windows.FILTERS)
    assert len(data["results"]) == 4 * 2 * 2
    for key, result in data["results"].items():
        kernel, stride, padding = map(int, key.split("/"))
        x = torch.tensor(patch)[None, None].double().requires_grad_()
        w = torch.tensor(windows.FILTERS[kernel].values)[None, None].double().requires_grad_()
        g = torch.tensor(result["grad_output"])[None, None].double()
        nn.functional.conv2d(x, w, None, stride, padding).backward(g)
        assert x.grad is not None
        assert w.grad is not None
        for side in ("scratch", "torch"):
            np.testing.assert_array_equal(result[side]["grad_input"], x.grad[0, 0])
            np.testing.assert_array_equal(result[side]["grad_weight"], w.grad[0, 0])
            assert result[side]["grad_bias"] == float(g.sum())


@pytest.mark.computes
def test_a_way_back_that_is_rounded_is_not_shown(ten: scratch.Array, monkeypatch: pytest.MonkeyPatch) -> None:
    proven = windows._proven

    def elsewhere(*arguments: Any) -> dict[str, Any]:
        seen = proven(*arguments)
        seen["torch"]["grad_weight"] = np.nextafter(seen["torch"]["grad_weight"], np.float32(np.inf))
        return seen

    monkeypatch.setattr(windows, "_proven", elsewhere)
    with pytest.raises(NotAsShown, match=r"grad_weight \[stride 1, padding 0\] differs, and nothing is rounded"):
        windows.backward_data(windows.patch_of(ten[3]), windows.FILTERS[:1])


# ---- why convolutions


def test_parameters_are_counted_in_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    dense, convolution = why.counts()
    assert (dense.parameters, convolution.parameters) == (9_633_856, 1_792)
    assert (dense.call, convolution.call) == ("Linear(150528, 64)", "Conv2d(3, 64, 3)")
    for count in (dense, convolution):
        assert eval(count.sum.replace("·", "*")) == count.parameters

    class Unbiased(scratch.Conv2d):
        def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
            super().__init__(in_channels, out_channels, kernel_size, bias=False)

    monkeypatch.setattr(scratch, "Conv2d", Unbiased)
    with pytest.raises(NotAsShown, match=r"parameters of Conv2d\(3, 64, 3\)"):
        why.counts()


@pytest.mark.computes
def test_fields_grow_from_layer_to_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    found = why.fields()
    assert [(f.layer, f.height, f.width) for f in found] == [
        ("conv1", 5, 5),
        ("pool1", 6, 6),
        ("conv2", 14, 14),
        ("pool2", 16, 16),
    ]
    for field in found:
        assert field.mask.sum() == field.height * field.width
        assert field.mask[14, 14]
    monkeypatch.setattr(scratch.Conv2d, "forward", plant(find_fault("conv2d-images-reversed")).forward)
    with pytest.raises(NotAsShown, match="the field of conv1"):
        why.fields()


@pytest.mark.computes
def test_a_shift_moves_the_map_along(ten: scratch.Array) -> None:
    for digit in ten:
        moved = why.shifted(digit / 255.0, windows.FILTERS[0].values)
        assert (
            moved.difference <= 2 * 9 * 2.0**-24 * 8
        )  # two sums of nine products of pixels up to 1, |weights| 8 in all
        assert moved.dense > 0.2
        assert np.array_equal(moved.moved[3:, 3:], moved.image[:-3, :-3])
        assert not np.array_equal(moved.map, moved.moved_map)


# ---- pictures and curves


def decoded(picture: inline.Pixels) -> scratch.Array:
    image = Image.open(io.BytesIO(base64.b64decode(picture.address.partition(",")[2])))
    assert image.size == (picture.width, picture.height)
    return np.asarray(image)


def test_pictures_have_a_pixel_for_each_number() -> None:
    assert decoded(inline.grey(np.array([[0.0, 1.0, 2.0]]))).tolist() == [[[0] * 3, [128] * 3, [255] * 3]]
    assert decoded(inline.grey(np.array([[-1.0, 300.0]]), 255)).tolist() == [[[0] * 3, [255] * 3]]
    (negative, zero, positive) = decoded(inline.signed(np.array([[-1.0, 0.0, 5.0]]), 1.0))[0].tolist()
    assert negative[2] > negative[0]
    assert zero == [247] * 3
    assert positive == [202, 0, 32]
    assert decoded(inline.signed(np.ones((5, 3, 2)))).shape == (2 * 4 + 1, 3 * 3 + 1, 3)


def test_curves_are_drawn_where_their_points_are() -> None:
    drawn = chart.lines([chart.Series("a < b", "own", (0, 10), (1.0, 3.0))], "the & title", "step")
    assert "a &lt; b" in drawn
    assert "the &amp; title" in drawn
    first, last = re.search(r'points="([^"]*)"', drawn)[1].split()  # type: ignore[index]
    assert first.split(",")[0] == f"{chart.LEFT:.1f}"
    assert last == f"{chart.WIDTH - chart.RIGHT:.1f},{chart.TOP:.1f}"
    assert float(first.split(",")[1]) > float(last.split(",")[1])


def test_a_logarithmic_curve_has_decades_and_no_zero() -> None:
    drawn = chart.lines([chart.Series("a", "own", (1, 2, 3), (0.0, 1e-3, 0.1))], "t", "x", logarithmic=True)
    assert len(re.search(r'points="([^"]*)"', drawn)[1].split()) == 2  # type: ignore[index]
    assert "10⁻³" in drawn
    assert "10⁻¹" in drawn
    with pytest.raises(ValueError, match="t: there is no point to show"):
        chart.lines([chart.Series("a", "own", (1,), (0.0,))], "t", "x", logarithmic=True)


def test_a_long_curve_is_thinned_and_a_constant_one_is_drawn() -> None:
    drawn = chart.lines([chart.Series("a", "own", range(10_000), [2.0] * 10_000)], "t", "x")
    assert 100 < len(re.search(r'points="([^"]*)"', drawn)[1].split()) <= chart.POINTS  # type: ignore[index]
    assert "NaN" not in drawn
    assert "nan" not in drawn
    assert "polyline" in chart.lines([chart.Series("a", "own", (5,), (0.0,))], "t", "x")


def test_a_thinned_curve_keeps_its_end_and_its_jumps() -> None:
    values = [1e-6] * 1128
    values[501], values[-1] = 1.0, 1e-3
    for logarithmic in (False, True):
        drawn = chart.lines([chart.Series("a", "own", range(1128), values)], "t", "x", logarithmic=logarithmic)
        points = [tuple(map(float, pair.split(","))) for pair in re.search(r'points="([^"]*)"', drawn)[1].split()]  # type: ignore[index]
        assert points[-1][0] == chart.WIDTH - chart.RIGHT
        assert len(points) == (282 if logarithmic else 283)  # groups of four, and the last where it is not one of them
        assert (max(y for _, y in points) - min(y for _, y in points) > 200) or not logarithmic
        assert "to 0.001" in drawn


def test_bars_say_their_counts() -> None:
    drawn = chart.bars([("equal", 1_000), ("0–5 %", 0), ("5–10 %", 1)], "shares")
    assert drawn.count("<rect") == 3
    assert "equal: 1,000, 5–10 %: 1" in drawn


def test_bars_are_as_high_as_the_logarithm_of_their_counts() -> None:
    drawn = chart.bars([("a", 999), ("b", 0), ("c", 9)], "t")  # one more than each: 3, 0 and 1 powers of ten
    bars = re.findall(r'<rect class="bar" x="(.*?)" y="(.*?)" width="(.*?)" height="(.*?)"/>', drawn)
    width = (chart.WIDTH - chart.LEFT - chart.RIGHT) / 3
    bottom, most = chart.HEIGHT - chart.BOTTOM, chart.HEIGHT - chart.BOTTOM - chart.TOP - 16  # 16 for the highest count
    for place, (bar, height) in enumerate(zip(bars, [most, 0, most / 3], strict=True)):
        expected = [chart.LEFT + place * width + 2, bottom - height, width - 4, height]
        assert [float(number) for number in bar] == pytest.approx(expected, abs=0.05)


@pytest.mark.computes
def test_every_tensor_has_its_bar(lesson: Lesson) -> None:
    row = lesson.report.rows[0]
    rows = [replace(row, budget=share) for share in (0.0, 0.02, 0.05, 0.97, 1.0)]
    drawn = contents._histogram(tuple(rows))
    assert "exact: 1, up to 5 %: 1, up to 10 %: 1, up to 100 %: 2" in drawn


# ---- how close


@pytest.mark.computes
def test_the_bound_that_is_worked_out_is_the_bound_of_the_check(best_digits: Dataset) -> None:
    pair, images = MODELS["cnn"], best_digits.test_images[:20].astype(np.float32) / np.float32(255)
    own = pair.scratch(generator=np.random.default_rng(0))
    state = scratch_state(own)
    found = close.worked(pair, state, images)
    assert found.layer == "fc1"
    assert found.terms == 1353
    twin = nn.Linear(1352, 10)
    twin.load_state_dict({leaf: torch.tensor(state[f"fc1.{leaf}"]) for leaf in ("weight", "bias")})
    model = pair.torch()
    model.load_state_dict({name: torch.tensor(array) for name, array in state.items()})
    with torch.no_grad():
        x = nn.Sequential(*list(model.children())[:-1])(torch.tensor(images)).numpy()
    call = Call((x,), np.ones((20, 10), np.float32))
    linear = REGISTRY["linear"]
    assert isinstance(linear, LayerPair)
    allowed = linear.rule(twin, [call], "float32")["output"][found.index]
    assert found.bound == pytest.approx(float(allowed), rel=1e-6)
    assert 0 < found.difference == abs(found.own - found.twin) < found.bound
    assert abs(found.own - found.exact) < found.bound


@pytest.mark.computes
def test_one_number_outside_its_bound_has_no_page(best_digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    pair, images = MODELS["cnn"], best_digits.test_images[:4].astype(np.float32) / np.float32(255)
    state = scratch_state(pair.scratch(generator=np.random.default_rng(0)))
    monkeypatch.setattr(scratch.Linear, "forward", lambda self, x: x @ self.weight.data.T)
    with pytest.raises(NotAsShown, match=r"the bound of one number: fc1 differs by .*, .* is allowed"):
        close.worked(pair, state, images)


@pytest.mark.computes
def test_precision_is_measured_against_float64(best_digits: Dataset) -> None:
    pair, images = MODELS["cnn"], best_digits.test_images[:50].astype(np.float32) / np.float32(255)
    state = scratch_state(pair.scratch(generator=np.random.default_rng(0)))
    found = close.precision(pair, state, images)
    assert found.images == 50
    for side in ("scratch", "torch"):
        assert 0 < found.mean[side] <= found.greatest[side] < 1e-5


# ---- the chapters


@pytest.fixture(scope="module")
def scene(lesson: Lesson, digits: Dataset) -> Scene:
    return Scene(MODELS["cnn"], train_small("cnn", digits, epochs=1), lesson.report, seed=0)


@pytest.mark.computes
def test_the_ties_that_are_explained_are_torchs(scene: Scene) -> None:
    tie = contents.layers(scene)["tie"]
    x = torch.tensor([[[[1.0, 5.0], [5.0, 2.0]]]], requires_grad=True)
    nn.MaxPool2d(2)(x).backward(torch.tensor([[[[6.0]]]]))
    assert x.grad is not None
    assert np.array_equal(tie["first"], x.grad[0, 0])
    assert tie["all"].tolist() == [[0, 6], [6, 0]]
    assert tie["shared"].tolist() == [[0, 3], [3, 0]]
    assert (tie["g"], tie["count"], tie["indices"]) == (6, "12", "1, 6")


@pytest.mark.computes
def test_a_convolution_is_the_product_that_is_shown(scene: Scene) -> None:
    shown = contents.convolution(scene)["columns"]
    assert np.array_equal(shown["matrix"], [[1, 2, 3, 4, 0.5]])
    assert np.array_equal(shown["columns"], [[0, 1, 3, 4], [1, 2, 4, 5], [3, 4, 6, 7], [4, 5, 7, 8], [1, 1, 1, 1]])
    assert np.array_equal(shown["product"], [[27.5, 37.5, 57.5, 67.5]])


def test_autograds_chain_is_ours(scene: Scene) -> None:
    assert contents.convolution(scene)["chain"] == [
        ("the loss", "criterion.backward()", ["NllLossBackward0", "LogSoftmaxBackward0"]),
        ("fc1", "fc1.backward(g)", ["AddmmBackward0"]),
        ("flatten", "flatten.backward(g)", ["ViewBackward0"]),
        ("pool1", "pool1.backward(g)", ["MaxPool2DWithIndicesBackward0"]),
        ("relu1", "relu1.backward(g)", ["ReluBackward0"]),
        ("conv1", "conv1.backward_parameters(g)", ["ConvolutionBackward0"]),
    ]


def test_the_answer_shows_whole_lines(scene: Scene) -> None:
    shown = {mistake["name"]: mistake for mistake in contents.mistakes(scene)["mistakes"]}
    edit = [(sign, text_of(line)) for sign, line in shown["maxpool2d-all-ties-win"]["edit"]]
    assert edit == [("-", "wins &= undecided")]
    edit = [(sign, text_of(line)) for sign, line in shown["conv2d-overlaps-overwritten"]["edit"]]
    assert [sign for sign, _ in edit] == ["-", "+"]
    assert edit[0][1].startswith("grad_windows[:, u, v, *at] += grad_patches[:, u, v]")
    assert edit[1][1] == edit[0][1].replace("+=", "=", 1)


def test_the_verdict_on_the_drift(scene: Scene) -> None:
    history = scene.history
    apart, yardstick = Curve((1, 2), (1e-7, 2e-6)), Curve((1, 2), (1e-6, 5e-7))
    calm = replace(history, findings=Findings(apart=2e-6, yardstick=1e-6), apart=apart, yardstick=yardstick)
    drift = learnt.training(replace(scene, history=calm))["drift"]
    assert drift["verdict"].endswith("NumPy was never ten times as far: there was no reason to look closer.")
    assert "NumPy is 2.0e−6 from torch" in drift["verdict"]
    assert "the yardstick 5.0e−7 (at most 1.0e−6 on the way)" in drift["verdict"]
    parting = Parting(7, "conv1.bias", [0], 1e-3, 1e-6, "a near tie turned", ok=True)
    parted = replace(history, findings=Findings(apart=1e-3, yardstick=1e-6, partings=[parting]))
    drift = learnt.training(replace(scene, history=parted))["drift"]
    assert drift["verdict"].endswith("ten times as far once; what was examined was rounding, all of it.")
    assert drift["lines"] == [str(parting)]
    alone = replace(history, settings=replace(history.settings, yardstick=False))
    assert "had no yardstick" in learnt.training(replace(scene, history=alone))["drift"]["verdict"]


def test_a_training_in_which_a_mistake_was_found_has_no_page(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compare.lesson.build.checked", lambda _: scene.report)
    parting = Parting(7, "conv1.bias", [0], 1e-3, 1e-6, "no rounding, a mistake", ok=False)
    for findings in (Findings(partings=[parting]), Findings(wrong=["step 7: no rounding, a mistake"])):
        with pytest.raises(NotAsShown, match=r"the training that is shown: .*step 7.*: no rounding, a mistake"):
            build(replace(scene.history, findings=findings))


def in_float64(weights: dict[str, dict[str, scratch.Array]]) -> dict[str, dict[str, scratch.Array]]:
    return {twin: {name: array.astype(np.float64) for name, array in state.items()} for twin, state in weights.items()}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("adam in float64", marks=pytest.mark.long),
        "few images of few classes",
        pytest.param("black images", marks=pytest.mark.long),
        "dead network",
    ],
)
def test_whatever_the_run_there_is_a_page(scene: Scene, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr("compare.lesson.build.checked", lambda _: scene.report)
    history, data = scene.history, scene.history.dataset
    assert history.before is not None
    if kind == "adam in float64":
        settings = replace(history.settings, dtype="float64", optimizer="adam")
        history = replace(
            history, settings=settings, before=in_float64(history.before), after=in_float64(history.after)
        )
    elif kind == "few images of few classes":
        few = np.flatnonzero(np.isin(data.test_labels, [7, 8]))[:2]
        classes = tuple(f"<b>{name}</script>" for name in data.classes)
        history = replace(
            history,
            dataset=replace(
                data, test_images=data.test_images[few], test_labels=data.test_labels[few], classes=classes
            ),
        )
    elif kind == "black images":
        history = replace(history, dataset=replace(data, test_images=np.zeros_like(data.test_images)))
    else:
        dead = {name: -np.abs(array) for name, array in history.after["torch"].items()}
        history = replace(history, after=dict.fromkeys(("scratch", "torch"), dead))
    page = build(history).html
    assert page.count("<section") == 7
    assert "<b>" not in page
    assert ("a neighbouring float64 number" in page) == (kind == "adam in float64")
    assert ("trained with none of these three" in page) == (kind != "adam in float64")
    assert ("In this network none of them shows" in page) == (page.count('class="mistake"') == 0)


def unlearned(scene: Scene, **more: Any) -> History:
    """The history of a training that reached what guessing reaches, unless `more` says otherwise."""
    accuracy = dict.fromkeys(("scratch", "torch"), 0.1)
    found = replace(scene.history.learning, accuracy=accuracy, steps=10**6, frequent=0.1, images=1000, **more)
    return replace(scene.history, learning=found)


def test_the_page_of_a_training_that_learned_nothing_admires_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compare.lesson.build.checked", lambda _: scene.report)
    learned, page = build(scene.history), build(unlearned(scene))
    admired = ("Both learn<", "What was learnt", "looks for an edge", "learned, filter 0")
    instead = (
        "Both learned nothing<",
        "<strong>Learned nothing: test accuracy 10.00% (scratch), 10.00% (torch); always naming",
        "<strong>Likely cause: ",
        "This network has learned nothing, so its filters look for nothing.",
        "network, filter 0",
        "The network has learned nothing, so it looks for nothing.",
    )
    for words in admired:
        assert words in learned.html
        assert words not in page.html
    for words in instead:
        assert words in page.html
        assert words not in learned.html
    assert (learned.learning.learned, page.learning.learned) == (True, False)


def test_a_training_that_blew_up_has_no_page(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compare.lesson.build.checked", lambda _: scene.report)
    blown = unlearned(scene, loss=dict.fromkeys(("scratch", "torch"), 1e9))
    with pytest.raises(NotAsShown, match=r"the trained cnn: blew up: .*; likely cause: the learning rate ") as caught:
        build(blown)
    assert not caught.value.judged
    wrong = Row("cnn", "end to end", "loss", "float64", (), 1.0, 1.0, 0.5, 2.0, (), "2 instead of 1")
    unsure = replace(wrong, problem="its bound is so wide", unjudged=True)
    for rows, history, judged in (
        ([wrong, unsure], scene.history, True),
        ([unsure], scene.history, False),
        ([wrong], blown, False),
    ):
        monkeypatch.setattr("compare.lesson.build.check_trained", lambda *_, rows=rows: rows)
        with pytest.raises(NotAsShown, match="the trained cnn: ") as caught:
            build(history)
        assert caught.value.judged is judged
    monkeypatch.setattr("compare.lesson.build.check_trained", lambda *_: list(scene.report.rows[:1]))
    parting = Parting(7, "conv1.bias", [0], 1e-3, 1e-6, "not judged", ok=False, unjudged=True)
    with pytest.raises(NotAsShown, match=r"the trained cnn: parted: at step 7, .*: not judged") as caught:
        build(replace(scene.history, findings=Findings(partings=[parting])))
    assert not caught.value.judged


def test_a_filter_that_has_died_is_told_of(scene: Scene) -> None:
    state = {name: array.copy() for name, array in scene.state.items()}
    state["conv1.weight"][[2, 5]], state["conv1.bias"][[2, 5]] = -1.0, 0.0
    died = replace(scene.history, after=scene.history.after | {"scratch": state})
    assert {"2", "5"} <= set(re.findall(r"\d+", learnt.training(replace(scene, history=died))["dead"]))
    alive = {name: np.abs(array) for name, array in scene.state.items()}
    living = replace(scene.history, after=scene.history.after | {"scratch": alive})
    assert learnt.training(replace(scene, history=living))["dead"] == ""


def test_a_run_without_logs_or_known_start_has_its_page(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = replace(scene.history, loss={}, accuracy={}, apart=Curve(), yardstick=Curve(), before=None)
    shown = learnt.training(replace(scene, history=bare))
    assert shown["curves"] == {"loss": "", "accuracy": "", "apart": ""}
    assert shown["accuracy"] is None
    assert [caption for _, _, caption in shown["learnt"]["filters"]][:2] == ["after, NumPy", "after, torch"]
    monkeypatch.setattr("compare.lesson.build.checked", lambda _: scene.report)
    page = build(bare)
    assert "This run has left no logs" in page.html
    assert "What they began with is not known of this run." in page.html


def test_the_trained_twins_are_compared_with_every_label_moved_on(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def check_model(
        pair: ModelPair, state: Tensors, images: scratch.Array, labels: scratch.Array, seed: int
    ) -> list[Row]:
        assert pair is MODELS["cnn"]
        assert seed == 7
        assert {array.dtype for array in state.values()} == {images.dtype}
        assert state["conv1.bias"].tolist() == [2.0]
        np.testing.assert_allclose(images, digits.test_images[:64] / 255, rtol=1e-6)
        assert labels.tolist() == [{9: 0}.get(label, label + 1) for label in digits.test_labels[:64].tolist()]
        seen.append(images.dtype.name)
        return []

    monkeypatch.setattr("compare.verify.trained.check_model", check_model)
    after = {"scratch": {"conv1.bias": np.ones(1)}, "torch": {"conv1.bias": np.full(1, 2.0)}}
    assert check_trained(MODELS["cnn"], after["torch"], digits, 7) == []
    assert seen == ["float64", "float32"]


@pytest.mark.computes
def test_trained_twins_that_disagree_have_no_page(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row("cnn", "end to end", "loss", "float64", (), 1.0, 1.0, 0.0, 1.0, (), "2 instead of 1")
    monkeypatch.setattr("compare.lesson.build.checked", lambda _: scene.report)
    monkeypatch.setattr("compare.lesson.build.check_trained", lambda *_: [row])
    with pytest.raises(NotAsShown, match=r"the trained cnn: loss of cnn \[end to end, float64\]: 2 instead of 1"):
        build(scene.history)


# ---- the page


def test_the_page_shows_the_source_as_it_is(lesson: Lesson) -> None:
    shown = set(re.findall(r'<span class="ln">\d+</span>(.*)', lesson.html))
    plain = {text_of(line).strip() for line in shown}
    for code in (scratch.Conv2d.backward, scratch.train_step, LAYERS["maxpool2d"].shown.in_torch, naive.conv2d):
        assert {line.text.strip() for line in source.listing(code).lines} <= plain


def test_the_page_is_one_small_file(lesson: Lesson) -> None:
    assert len(lesson.html.encode()) < 3_000_000
    assert "http://" not in lesson.html
    assert "https://" not in lesson.html
    assert not re.search(r'(?:src|href)="(?!data:|#)', lesson.html)
    assert "{{" not in lesson.html
    assert "{%" not in lesson.html
    assert lesson.report.ok
    assert f"{lesson.report.compared:,} tensors of NumPy were compared" in lesson.html
    assert {row.pair for row in lesson.report.rows} == REGISTRY.keys()


# ---- the command


def test_it_writes_the_page(gradtwin: Run, lesson: Lesson, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_lesson", lambda *_: lesson)
    outcome = gradtwin("lesson", "--dataset", "digits", "--out", "new/page.html", "--json", "result.json")
    assert outcome.status == 0, outcome.err
    assert "none outside its bound" in outcome.out
    assert "written:         new/page.html, " in outcome.out
    page, result = Path("new/page.html").read_bytes(), json.loads(Path("result.json").read_text())
    assert page == lesson.html.encode()
    assert result["ok"] is True
    assert (result["file"], result["bytes"]) == ("new/page.html", len(page))
    assert result["compared"] > 4_000


def test_a_page_that_would_be_wrong_is_not_written(
    gradtwin: Run, monkeypatch: pytest.MonkeyPatch, few: Dataset
) -> None:
    def wrong() -> Report:
        row = Row("relu", "4x6 normal", "output", "float64", (4, 6), 1.0, 1.0, 0.0, 1.0, (0, 0), "1 instead of 0")
        return Report([row])

    monkeypatch.setattr("compare.lesson.agreement.check", wrong)
    Path("lesson.html").write_text("the page before")
    begin(few, Path("run"))
    outcome = gradtwin("lesson", "--run", "run", "--json", "result.json")
    assert outcome.status == 1
    assert re.search(
        r"wrong: output of relu \[4x6 normal, float64\]: 1 instead of 0; equation \(1\), scratch/activation.py:\d+\n"
        "no page was written: ",
        outcome.out,
    )
    assert Path("lesson.html").read_text() == "the page before"
    result = json.loads(Path("result.json").read_text())
    assert result["ok"] is False
    assert "equation (1)" in result["problem"]


@pytest.mark.long
def test_a_wrong_sign_in_our_own_backward_is_named(few: Dataset, tmp_path: Path) -> None:
    begin(few, tmp_path / "run")
    for package in ("scratch", "torch_ref", "compare"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.png"))
    path = tmp_path / "scratch" / "conv.py"
    right = "grad_windows[:, u, v, *at] += grad_patches"
    assert path.read_text().count(right) == 1
    path.write_text(path.read_text().replace(right, right.replace("+=", "-=")))
    done = subprocess.run(
        [sys.executable, "-m", "compare", "lesson", "--run", "run"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "wrong: grad_input of conv2d [" in done.stdout
    assert re.search(
        r"; equation \(4\), scratch/conv.py:\d+; factor: It is -1 times what it should be\.\n", done.stdout
    )
    assert not (tmp_path / "lesson.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", "r", "--model", "cnn"], "--model: the lesson shows the network of the run, and its data; leave"),
        (["--run", "r", "--dataset", "digits"], "--dataset: the lesson shows the network of the run, and its data"),
        (["--run", "r", "--seed", "1"], "--seed: the lesson shows the network of the run, and its data; leave it out"),
        (["--port", "8000"], "--port: it goes with --serve; add that, or leave it out"),
        (["--open"], "--open: it goes with --serve; add that, or leave it out"),
        (["--run", "nowhere"], "nowhere: no such run; give the folder that gradtwin train named"),
        (["--model", "vgg"], "model 'vgg' is unknown; choose one of cnn, lenet5"),
        (["--dataset", "cifar"], "dataset 'cifar' is unknown"),
        (["--out", "."], ".: is a folder; give the name of a file"),
        (["--out", "file/page.html"], "file: cannot be written (File exists); choose another folder"),
        (["--json", "."], ".: is a folder; give the name of a file"),
        (["--json", "same.html", "--out", "same.html"], "--out and --json must be two files, got same.html for both"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(gradtwin: Run, arguments: list[str], message: str) -> None:
    Path("file").write_text("")
    outcome = gradtwin("lesson", *arguments)
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err.startswith(f"gradtwin: {message}")
    assert outcome.err.count("\n") == 1
    assert os.listdir() == ["file"]


# ---- the server


def got(address: str, method: str = "GET") -> tuple[int, str, bytes]:
    request = urllib.request.Request(address, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read()


def test_the_server_has_one_page() -> None:
    address = server.launch("<p>ä</p>", 0)
    assert got(address) == (200, "text/html; charset=utf-8", "<p>ä</p>".encode())
    assert got(f"{address}index.html?x=1")[0] == 200
    assert got(address, "HEAD") == (200, "text/html; charset=utf-8", b"")
    assert got(f"{address}../etc/passwd") == (404, "text/plain", b"there is one page here: /\n")
    assert got(address, "POST")[0] == 501
    port = int(address.rsplit(":", 1)[1].strip("/"))
    with pytest.raises(UserError, match=f"port {port}: Address already in use; choose another one with --port"):
        server.launch("", port)


def test_the_server_is_for_this_machine_only() -> None:
    port = int(server.launch("", 0).rsplit(":", 1)[1].strip("/"))
    with socket.create_server(("127.0.0.2", port)):  # another address of this machine is still free
        pass


def test_a_port_in_use_is_refused_before_any_work(gradtwin: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = gradtwin("lesson", "--serve", "--port", port)
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err.startswith(f"gradtwin: port {port}: Address already in use")


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT")
def test_serve_writes_and_serves_until_ctrl_c(few: Dataset, tmp_path: Path) -> None:
    begin(few, tmp_path / "run")
    command = [sys.executable, "-m", "compare", "lesson", "--serve", "--port", "0", "--run", "run"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    ) as served:
        assert served.stdout is not None
        lines = iter(served.stdout.readline, "")
        try:
            address = next(line for line in lines if line.startswith("open:")).split()[1]
            status, _, page = got(address)
            served.send_signal(signal.SIGINT)
            assert served.wait(timeout=120) == 0
        finally:
            served.kill()
    assert status == 200
    assert page == (tmp_path / "lesson.html").read_bytes()
    assert page.startswith(b"<!doctype html>")


def test_help_names_the_lesson(gradtwin: Run) -> None:
    outcome = gradtwin("--help")
    assert re.search(r"lesson\s+The page that teaches", outcome.out)
    assert cli.lesson.__doc__
