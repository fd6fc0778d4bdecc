"""Pictures for TensorBoard, pixel by pixel: which colour stands where, what is written, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from compare.pictures import canvas, side_by_side
from compare.pictures.canvas import GREY, NEUTRAL, NOT_FINITE, PARTED, SIGNED, Picture
from compare.pictures.side_by_side import confusion, feature_maps, filters, wrong_digits
from scratch import Array

RNG = np.random.default_rng(0)
WEIGHTS = RNG.uniform(-0.5, 0.5, (8, 1, 3, 3))
DIGITS = [str(n) for n in range(10)]
RED, BLUE, WHITE, BLACK = SIGNED[510], SIGNED[0], GREY[510], GREY[255]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is written into pictures from now on, in its order."""
    texts: list[str] = []
    write = canvas.write

    def spy(draw: Any, x: int, middle: int, text: str, *args: Any, **options: Any) -> None:
        texts.append(text)
        write(draw, x, middle, text, *args, **options)

    monkeypatch.setattr(canvas, "write", spy)
    return texts


def bodies(picture: Picture, columns: int = 3, top: int = 60) -> list[Picture]:
    """The columns of a picture without their captions and colour bars."""
    edges = np.linspace(0, picture.shape[1], columns + 1).astype(int)
    return [picture[top:, left:right] for left, right in pairwise(edges)]


def where(picture: Picture, colour: Any) -> Array:
    """The (rows, columns) of the pixels of exactly this colour."""
    return np.argwhere((picture == np.asarray(colour)).all(axis=-1))


def same(one: Picture, other: Picture) -> bool:
    """Whether two columns hold the same grid, a few pixels further left or right."""
    return all(np.array_equal(a, b) for a, b in zip(inner(one), inner(other), strict=True))


def inner(body: Picture) -> tuple[Picture]:
    """The smallest part of a column that has everything which is not paper."""
    rows, columns = (body != 255).any(axis=-1).nonzero()
    return (body[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1],)


# ---- filters


def test_every_weight_of_a_filter_is_a_square_in_its_place() -> None:
    weights = np.zeros((1, 1, 3, 3))
    weights[0, 0, 0, 2], weights[0, 0, 2, 1] = 4.0, -2.0
    (grid,) = inner(bodies(filters(weights, None), columns=1)[0])
    assert grid.shape == (74, 74, 3)  # three squares of 24 pixels, and a line on each side
    squares = grid[1:-1, 1:-1].reshape(3, 24, 3, 24, 3).swapaxes(1, 2)
    assert (squares == squares[:, :, :1, :1]).all()  # each of one colour
    expected = np.full((3, 3, 3), NEUTRAL, np.uint8)
    expected[0, 2], expected[2, 1] = RED, SIGNED[255 - 128]  # -2 of 4: half of the 255 colours below zero
    np.testing.assert_array_equal(squares[:, :, 0, 0], expected)


@pytest.mark.parametrize("place", [0, 1, 5, 7])
def test_the_largest_weight_is_the_only_full_red_and_lies_in_its_filter(place: int) -> None:
    weights = WEIGHTS.copy()
    weights[place, 0, 1, 2] = 1.0
    (grid,) = inner(bodies(filters(weights, weights))[0])
    across, factor = canvas._arrangement(8, 3, 3)
    side = 3 * factor + 1
    top, left = place // across * side + 1 + factor, place % across * side + 1 + 2 * factor
    red = where(grid, RED)
    assert len(red) == factor**2
    np.testing.assert_array_equal(
        [red.min(axis=0), red.max(axis=0)], [[top, left], [top + factor - 1, left + factor - 1]]
    )


@pytest.mark.parametrize("channels", [2, 3])
def test_the_tiles_of_a_filter_of_several_channels_lie_in_its_row(channels: int) -> None:
    weights = np.zeros((2, channels, 5, 5))
    weights[1, :, 2, 2] = 1
    squares = where(bodies(filters(weights, None), columns=1)[0], RED)
    assert len(np.unique(squares[:, 1])) == channels * len(np.unique(squares[:, 0]))


# ---- the twins and their difference


@pytest.mark.parametrize("values", [WEIGHTS, WEIGHTS.astype(np.float32), WEIGHTS * 1e-320, np.zeros((2, 1, 5, 5))])
def test_twins_that_are_equal_have_equal_colours_and_a_neutral_difference(values: Array, written: list[str]) -> None:
    own, twin, difference = bodies(filters(values, values))
    assert same(own, twin)
    colours = {tuple(colour) for colour in difference.reshape(-1, 3).tolist()}
    assert colours == {canvas.PAPER, canvas.LINE, NEUTRAL}
    assert "no difference" in written
    assert side_by_side.DIFFERENCE not in written


def test_both_twins_are_on_the_scale_of_the_greater_and_the_difference_on_its_own(written: list[str]) -> None:
    own, twin = np.zeros((2, 1, 1, 1, 2))
    own[0, 0, 0], twin[0, 0, 0] = (1, 0.5), (0.5, -2)
    left, right, difference = (inner(body)[0][12, 12::24] for body in bodies(filters(own, twin)))
    np.testing.assert_array_equal(left, [SIGNED[255 + 128], SIGNED[255 + 64]])
    np.testing.assert_array_equal(right, [SIGNED[255 + 64], BLUE])
    np.testing.assert_array_equal(difference, [SIGNED[255 + 51], RED])  # 0.5 and 2.5
    assert written == ["scratch", "-2", "+2", "torch", "-2", "+2", side_by_side.DIFFERENCE, "-2.5", "+2.5"]


def test_a_difference_is_taken_in_float64(written: list[str]) -> None:
    own = np.full((1, 2, 2), 1, np.uint8)
    feature_maps(own, own + 1)
    feature_maps(own, own * (1 + 3.1e-12))
    assert written[-6:] == ["torch", "0", "1", side_by_side.DIFFERENCE, "-3.1e-12", "+3.1e-12"]
    assert written[-10] == "+1"  # not 255, as in uint8


# ---- feature maps


def test_maps_that_are_never_negative_are_grey() -> None:
    maps = np.zeros((2, 6, 6))
    maps[1, 0, 0] = 3
    own, _, difference = bodies(feature_maps(maps, maps * 0.5))
    assert len(where(own, WHITE)) - len(where(bodies(feature_maps(maps * 0.5, maps))[0], WHITE)) > 0
    assert len(where(own, BLACK)) > 0
    assert len(where(own, RED)) == 0
    assert len(where(difference, RED)) > 0


def test_one_negative_number_of_either_twin_makes_both_signed() -> None:
    maps = np.ones((1, 4, 4))
    below = maps.copy()
    below[0, 0, 0] = -1
    own, twin, _ = bodies(feature_maps(maps, below))
    assert len(where(own, RED)) == 16 * 24**2
    assert len(where(twin, BLUE)) == 24**2


def test_a_vector_is_a_strip_of_cells() -> None:
    (strip,) = inner(bodies(feature_maps(np.array([1, -1, 0, 1, -1.0]), None), columns=1)[0])
    assert strip.shape == (26, 5 * 25 + 1, 3)
    np.testing.assert_array_equal(strip[12, 12::25], [RED, BLUE, NEUTRAL, RED, BLUE])


@pytest.mark.parametrize("shape", [(8, 26, 26), (16, 5, 5), (1352,), (120,), (2, 1, 1), (3, 600, 500), (500, 1, 3)])
def test_every_size_is_shown_whole(shape: tuple[int, ...]) -> None:
    maps = np.full(shape, -1.0)
    maps[-1] = 1
    picture = feature_maps(maps, None)
    red, blue = (len(where(bodies(picture, columns=1)[0], colour)) for colour in (RED, BLUE))
    assert red / (red + blue) == pytest.approx(1 / shape[0])
    assert red > 0


# ---- one twin only, and numbers that are not finite


def counts(own: Array | None, twin: Array | None) -> Picture:
    return confusion(own, twin, DIGITS)


@pytest.mark.parametrize(
    ("draw", "values"), [(filters, WEIGHTS), (feature_maps, np.ones((8, 26, 26))), (counts, np.eye(10))]
)
def test_one_twin_has_one_column_with_its_name(
    draw: Callable[[Array | None, Array | None], Picture], values: Array, written: list[str]
) -> None:
    both = draw(values, values)
    for name, other, sides in (("scratch", "torch", (values, None)), ("torch", "scratch", (None, values))):
        written.clear()
        picture = draw(*sides)
        assert sum(text.startswith(name) for text in written) == 1
        assert not any(other in text or "difference" in text for text in written)
        assert picture.dtype == both.dtype == np.uint8
        assert picture.shape == (picture.shape[0], 284 + 2 * 12, 3)
    assert both.shape[1] == 3 * 284 + 4 * 12


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(("draw", "values"), [(filters, WEIGHTS), (feature_maps, WEIGHTS[:, 0]), (counts, np.eye(10))])
def test_what_is_not_finite_is_yellow_and_counted(
    draw: Callable[[Array | None, Array | None], Picture], values: Array, bad: float, written: list[str]
) -> None:
    broken = values.astype(np.float64)
    broken.flat[1] = bad
    picture = draw(broken, values)
    assert written.count("1 not finite") == 2  # of scratch and of the difference
    own, twin, difference = bodies(picture)
    assert min(len(where(own, NOT_FINITE)), len(where(difference, NOT_FINITE))) > 20  # a cell, not only the caption's
    assert len(where(twin, NOT_FINITE)) == 0


def test_twins_that_are_infinite_in_the_same_place_are_not_said_to_be_equal(written: list[str]) -> None:
    lost = np.full((2, 1, 3, 3), np.inf)
    for body in bodies(filters(lost, lost)):
        assert {tuple(c) for c in body.reshape(-1, 3).tolist()} == {canvas.PAPER, canvas.LINE, NOT_FINITE}
    assert written.count("18 not finite") == 3
    assert "no difference" not in written
    filters(np.full((1, 1, 1, 1), 1e308), np.full((1, 1, 1, 1), -1e308))  # their difference overflows
    assert written.count("1 not finite") == 1


# ---- confusion matrices


def test_a_confusion_matrix_has_every_count_and_the_names_at_its_edges(written: list[str]) -> None:
    own, twin = np.array([[8, 2], [0, 90]]), np.array([[9, 1], [0, 90]])
    confusion(own, twin, ["cat", "horses"])
    head = ["answer", "true", "cat", "cat"]
    scratch = ["scratch: 98 of 100 right", *[*head, "8", "2", "hors", "hors", "0", "90"]]
    torch = ["torch: 99 of 100 right", *[*head, "9", "1", "hors", "hors", "0", "90"]]
    change = [side_by_side.DIFFERENCE, "-1", "+1", *[*head, "-1", "+1", "hors", "hors", "0", "0"]]
    assert sorted(written) == sorted(scratch + torch + change)


def test_right_answers_are_blue_and_mistakes_red_each_on_a_scale_of_both_twins() -> None:
    own, twin = np.array([[1000, 4], [0, 500]]), np.array([[1000, 2], [4, 500]])
    columns = bodies(confusion(own, twin, ["a", "b"]))
    full, half = (510, 0), (255 + 128, 255 - 128)
    shades = [[(len(where(body, SIGNED[entry])) > 300) for entry in (*full, *half)] for body in columns]
    assert shades == [[True, True, False, True], [True, True, True, True], [False, True, True, False]]
    red, blue = (where(columns[0], SIGNED[entry]).mean(axis=0) for entry in full)
    assert red[1] > blue[1]  # the mistake is in the row of class a, on the right of the diagonal
    assert abs(red[0] - blue[0]) < 2


# ---- wrong digits


def probabilities(*rows: tuple[int, float]) -> Array:
    """Rows of three classes: this class has this probability, the others share the rest."""
    out = np.empty((len(rows), 3))
    for row, (answer, share) in zip(out, rows, strict=True):
        row[:] = (1 - share) / 2
        row[answer] = share
    return out


IMAGES = np.zeros((5, 1, 28, 28), np.uint8) + np.arange(50, 300, 50, dtype=np.uint8)[:, None, None, None]
LABELS = np.zeros(5, np.int64)
OWN = probabilities((0, 0.9), (1, 0.7), (0, 0.99), (2, 0.8), (0, 0.5))
TWIN = probabilities((0, 0.9), (1, 0.6), (1, 0.95), (1, 0.6), (0, 0.5))


def test_wrong_digits_come_in_the_order_of_the_greater_confidence(written: list[str]) -> None:
    picture = wrong_digits(IMAGES, LABELS, OWN, TWIN, DIGITS[:3])
    assert written == [
        "answered wrongly by either twin: 3 of 5 images; framed: the twins differ",
        *("true 0", "scratch 0 99.0%", "torch 1 95.0%"),  # a right answer, however sure, is no mistake
        *("true 0", "scratch 2 80.0%", "torch 1 60.0%"),
        *("true 0", "scratch 1 70.0%", "torch 1 60.0%"),
    ]
    # Each image in its own place: black is 0, white the brightest that is shown.
    greys = [picture[44 + 40, 12 + 6 + 10 + n * 222].tolist() for n in range(3)]
    assert greys == [[191, 191, 191], [255, 255, 255], [128, 128, 128]]
    frames = where(picture, PARTED)[:, 1]
    assert sorted({int(n) for n in (frames - 12) // 222}) == [0, 1]


def test_a_frame_of_three_pixels_is_around_each_digit_that_the_twins_answer_differently() -> None:
    framed = where(wrong_digits(IMAGES, LABELS, OWN, TWIN, DIGITS[:3]), PARTED)
    middle = framed[framed[:, 0] == framed[:, 0].min() + 20]
    assert len(middle) == 2 * 2 * 3  # the left and the right sides of two frames; the third answer is that of both


def test_a_wrong_answer_is_written_in_red() -> None:
    said = side_by_side._Answers.of(probabilities((1, 0.9), (2, np.nan)))
    lines = [said.line("torch", image, label, DIGITS[:3]) for image, label in ((0, 1), (0, 2), (1, 2))]
    assert lines == [
        ("torch 1 90.0%", canvas.INK),
        ("torch 1 90.0%", canvas.WRONG),
        ("torch: not finite", canvas.WRONG),
    ]


def test_as_many_wrong_digits_as_asked_for_and_equal_ones_in_their_order(written: list[str]) -> None:
    wrong = probabilities(*[(1, 0.6)] * 20)
    names = [f"n{number}" for number in range(3)]
    images = np.zeros((20, 28, 28))
    picture = wrong_digits(images, np.arange(20) % 2 * 2, wrong, None, names, count=5)
    assert written[0] == "answered wrongly by scratch: 20 of 20 images; the 5 with most confidence"
    assert written[1::2] == ["true n0", "true n2", "true n0", "true n2", "true n0"]
    assert written[2::2] == ["scratch n1 60.0%"] * 5
    assert picture.shape == (44 + 2 * (96 + 8), 900, 3)
    assert len(where(picture, PARTED)) == 0


def test_where_no_digit_is_wrong_the_picture_says_so(written: list[str]) -> None:
    right = np.eye(3)[LABELS]
    assert wrong_digits(IMAGES, LABELS, None, right, DIGITS[:3]).dtype == np.uint8
    wrong_digits(IMAGES, LABELS, right, right, DIGITS[:3])
    wrong_digits(IMAGES[:0], LABELS[:0], right[:0], None, DIGITS[:3])
    assert written == [
        "answered wrongly by torch: none of 5 images",
        "answered wrongly by either twin: none of 5 images",
        "answered wrongly by scratch: none of 0 images",
    ]


def test_a_twin_that_diverged_has_no_answers_and_comes_last(written: list[str]) -> None:
    own = OWN.copy()
    own[0, 2] = np.nan
    wrong_digits(IMAGES, LABELS, own, TWIN, DIGITS[:3])
    assert written[-3:] == ["true 0", "scratch: not finite", "torch 0 90.0%"]
    images = IMAGES.astype(np.float64)
    images[2] = np.nan
    assert len(where(wrong_digits(images, LABELS, own, TWIN, DIGITS[:3]), NOT_FINITE)) == 84**2


# ---- what is refused


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (lambda: filters(None, None), "own and twin are both None"),
        (lambda: filters(WEIGHTS[0], None), r"own must hold real numbers on 4 axes, not float64 of shape \(1, 3, 3\)"),
        (lambda: filters(None, WEIGHTS[:0]), r"twin must hold .* of shape \(0, 1, 3, 3\)"),
        (lambda: filters(WEIGHTS, WEIGHTS[:1]), r"own \(8, 1, 3, 3\) and twin \(1, 1, 3, 3\) must have the same shape"),
        (lambda: feature_maps(WEIGHTS[0, 0], None), "real numbers on 1 or 3 axes"),
        (lambda: feature_maps(np.ones(3) * 1j, None), "own must hold real numbers .* not complex128"),
        (lambda: confusion(np.eye(3), None, DIGITS), r"10 classes need counts of shape \(10, 10\), not \(3, 3\)"),
        (lambda: confusion(np.ones((3, 2)), None, DIGITS[:3]), r"not \(3, 2\)"),
        (lambda: confusion(-np.eye(3), None, DIGITS[:3]), "whole numbers, none of them negative"),
        (lambda: confusion(None, np.eye(3) / 2, DIGITS[:3]), "whole numbers, none of them negative"),
        (lambda: wrong_digits(IMAGES, LABELS, None, None, DIGITS[:3]), "own_probabilities and twin_probabilities"),
        (lambda: wrong_digits(IMAGES, LABELS, OWN, TWIN[1:], DIGITS[:3]), r"own_probabilities \(5, 3\) and twin_prob"),
        (
            lambda: wrong_digits(IMAGES, LABELS, OWN[0], None, DIGITS[:3]),
            "own_probabilities must hold real numbers on 2",
        ),
        (lambda: wrong_digits(IMAGES, LABELS, OWN, None, DIGITS), r"probabilities of shape \(5, 10\), not \(5, 3\)"),
        (lambda: wrong_digits(IMAGES, LABELS, OWN * 9, None, DIGITS[:3]), "between 0 and 1: are these scores"),
        (lambda: wrong_digits(IMAGES, LABELS[1:], OWN, None, DIGITS[:3]), r"labels of shape \(5,\), not \(4,\)"),
        (lambda: wrong_digits(IMAGES, LABELS + 3, OWN, None, DIGITS[:3]), "labels must be whole numbers from 0 to 2"),
        (lambda: wrong_digits(IMAGES, LABELS * 1.0, OWN, None, DIGITS[:3]), "labels must be whole numbers from 0 to 2"),
        (
            lambda: wrong_digits(IMAGES[0], LABELS, OWN, None, DIGITS[:3]),
            r"images \(1, 28, 28\) need labels of shape \(1,\)",
        ),
        (lambda: wrong_digits(IMAGES.repeat(3, 1), LABELS, OWN, None, DIGITS[:3]), r"not \(5, 3, 28, 28\)"),
        (lambda: wrong_digits(IMAGES, LABELS, OWN, None, DIGITS[:3], count=0), "count=0 must be at least 1"),
    ],
)
def test_refused(refused: Callable[[], Picture], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refused()
