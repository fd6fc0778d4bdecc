"""The moving window of chapter 2: what moves it, and its drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from scratch import Array
from tests.lesson_page.expected import all_kernels, exactly
from tests.lesson_page.reading import (
    BLUE,
    NEUTRAL,
    OUTSIDE,
    RED,
    TICK,
    YELLOW,
    canvas,
    cells,
    number,
    place,
    start,
    stop_the_clock,
    text_of,
    walk,
)

if TYPE_CHECKING:
    from playwright.sync_api import Page


def nearest(count: int, size: int, stride: int, pointer: float) -> int:
    """The window, out of `count` along one axis, whose centre is nearest to the pointer (in pixels)."""
    return min(range(count), key=lambda n: abs(n * stride + size / 2 - pointer))


def point_at(page: Page, identifier: str, row: float, column: float, side: int) -> None:
    """Move the mouse to a place on a canvas, in cells; `side` is how many cells are in a row of it."""
    target = page.locator(f"#{identifier}")
    target.scroll_into_view_if_needed()
    left, top, width, height = target.evaluate(
        """canvas => {
            const box = canvas.getBoundingClientRect();
            return [box.left + canvas.clientLeft, box.top + canvas.clientTop, canvas.clientWidth, canvas.clientHeight];
        }"""
    )
    page.mouse.move(left + column / side * width, top + row / side * height)


@pytest.mark.parametrize("width", [1280, 260])  # in the narrow one the canvases are drawn smaller
@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1), (3, 2)])
def test_the_mouse_moves_the_window(
    standing: Page, held: dict[str, Any], stride: int, padding: int, width: int
) -> None:
    page, size = standing, held["window"]["size"]
    page.set_viewport_size({"width": width, "height": 900})
    rows, columns = start(page, held, stride, padding)
    side = size + 2 * padding
    for row, column in [(14.4, 9.4), (2.3, 20.3), (0.4, 0.4), (side - 0.4, side - 0.4), (side - 0.4, 7.4)]:
        point_at(page, "picture", row, column, side)
        assert place(page) == (nearest(rows, 3, stride, row), nearest(columns, 3, stride, column))
    for row, column in [(0, 0), (rows - 1, columns - 1), (3, 5), (rows // 2, 1)]:
        point_at(page, "map", row + 0.4, column + 0.6, columns)
        assert place(page) == (row, column)
    # A click as well, and nothing beyond the edge.
    point_at(page, "map", 4.5, 2.5, columns)
    page.mouse.down()
    page.mouse.up()
    assert place(page) == (4, 2)
    page.set_viewport_size({"width": 1280, "height": 900})


@pytest.mark.parametrize("identifier", ["picture", "map"])
def test_the_arrow_keys_move_the_window_and_stop_at_the_edge(
    standing: Page, held: dict[str, Any], identifier: str
) -> None:
    page = standing
    rows, columns = start(page, held, stride=2)
    page.mouse.move(0, 0)
    page.locator(f"#{identifier}").focus()
    top = page.evaluate("scrollY")
    for key, expected in [
        ("ArrowRight", (0, 1)),
        ("ArrowDown", (1, 1)),
        ("ArrowDown", (2, 1)),
        ("ArrowLeft", (2, 0)),
        ("ArrowLeft", (2, 0)),
        ("ArrowUp", (1, 0)),
        ("ArrowUp", (0, 0)),
        ("ArrowUp", (0, 0)),
    ]:
        page.keyboard.press(key)
        assert place(page) == expected
    for _ in range(columns + 2):
        page.keyboard.press("ArrowRight")
    for _ in range(rows + 2):
        page.keyboard.press("ArrowDown")
    assert place(page) == (rows - 1, columns - 1)
    assert page.evaluate("document.activeElement.id") == identifier
    assert page.evaluate("scrollY") == top
    assert (page.locator("#row").input_value(), page.locator("#column").input_value()) == (
        str(rows - 1),
        str(columns - 1),
    )


def test_sliders_and_buttons_move_the_window_and_stop_at_the_edge(standing: Page, held: dict[str, Any]) -> None:
    page = standing
    rows, columns = start(page, held, stride=3, padding=1)
    for identifier, along in (("row", (1, 0)), ("column", (0, 1))):
        slider = page.locator(f"#{identifier}")
        start(page, held, stride=3, padding=1)
        slider.press("ArrowRight")
        slider.press("ArrowRight")
        assert place(page) == (2 * along[0], 2 * along[1])
        slider.press("End")
        slider.press("ArrowRight")
        assert place(page) == ((rows - 1) * along[0], (columns - 1) * along[1])
        slider.press("Home")
        assert place(page) == (0, 0)
    page.locator("#back").click()
    assert place(page) == (0, 0)
    page.locator("#forward").click()
    assert place(page) == (0, 1)
    walk(page, 3, 0, 3, 1, [[1, columns - 1]])
    page.locator("#forward").click()
    assert place(page) == (2, 0)
    page.locator("#back").click()
    assert place(page) == (1, columns - 1)
    walk(page, 3, 0, 3, 1, [[rows - 1, columns - 1]])
    page.locator("#forward").click()
    assert place(page) == (rows - 1, columns - 1)


def test_a_smaller_map_takes_the_window_along(standing: Page, held: dict[str, Any]) -> None:
    walk(standing, 3, 0, 1, 2, [[999, 999]])
    assert place(standing) == (29, 29)
    for stride, padding in ((1, 0), (2, 0), (3, 0)):
        standing.locator(f"#stride label:has([value='{stride}'])").click()
        standing.locator(f"#padding label:has([value='{padding}'])").click()
        rows, columns = (int(part) for part in text_of(standing, "map-size").split("×"))
        assert rows == (held["window"]["size"] - 3) // stride + 1
        assert place(standing) == (rows - 1, columns - 1)
        assert np.isfinite(number(text_of(standing, "sum-both")))


def test_play_moves_the_window_on_until_it_is_pressed_again(page: Page, held: dict[str, Any]) -> None:
    stop_the_clock(page)
    rows, columns = start(page, held, stride=3)
    play = page.locator("#play")
    play.click()
    assert play.get_attribute("aria-pressed") == "true"
    assert place(page) == (0, 1)
    page.clock.run_for(TICK * columns)
    assert place(page) == (1, 1)
    play.click()
    assert play.get_attribute("aria-pressed") == "false"
    page.clock.run_for(5 * TICK)
    assert place(page) == (1, 1)
    walk(page, 3, 0, 3, 0, [[rows - 1, columns - 4]])
    play.click()
    page.clock.run_for(2 * TICK)
    assert place(page) == (rows - 1, columns - 1)
    assert play.get_attribute("aria-pressed") == "false"
    page.clock.run_for(5 * TICK)
    assert place(page) == (rows - 1, columns - 1)


def lies_at(picture: Array, colour: Sequence[int]) -> tuple[int, int, int, int]:
    """The first row and column that hold a colour, and the last ones."""
    rows, columns = np.nonzero((picture == colour).all(axis=-1))
    return int(rows.min()), int(columns.min()), int(rows.max()), int(columns.max())


@pytest.mark.parametrize(
    ("stride", "padding", "at"), [(1, 0, (6, 11)), (2, 1, (5, 5)), (3, 2, (0, 9)), (1, 2, (29, 29))]
)
def test_the_drawing_follows(
    standing: Page, images: Array, held: dict[str, Any], stride: int, padding: int, at: tuple[int, int]
) -> None:
    page, image = standing, images[7]
    values = exactly(image, all_kernels(held), stride, padding)[0]
    walk(page, 7, 0, stride, padding, [at])
    picture, drawn = canvas(page, "picture"), canvas(page, "map")
    side = image.shape[0] + 2 * padding
    # The picture: greys, and another colour for what is only padding.
    middles = cells(picture, (side, side))
    inside = middles[padding : side - padding, padding : side - padding]
    assert np.array_equal(inside, np.repeat(np.rint(image * 255)[..., None], 3, axis=-1))
    border = np.ones((side, side), bool)
    border[padding : side - padding, padding : side - padding] = False
    assert (middles[border] == OUTSIDE).all()
    # The map: red for positive, blue for negative, the stronger the greater.
    assert (values > 0).any()
    assert (values < 0).any()
    assert (values == 0).any()
    colours = cells(drawn, values.shape)
    assert (colours[values == 0] == NEUTRAL).all()
    share = (np.abs(values) / np.abs(values).max())[..., None]
    expected = np.where(values[..., None] > 0, RED, BLUE) * share + np.array(NEUTRAL) * (1 - share)
    assert np.abs(colours - expected).max() <= 1
    # Both outlines, two pixels of a line on either side of the edge or cut off by that of the canvas.
    for shown, cell, corner, length in (
        (picture, picture.shape[0] // side, (at[0] * stride, at[1] * stride), 3),
        (drawn, drawn.shape[0] // values.shape[0], at, 1),
    ):
        top, left, bottom, right = lies_at(shown, YELLOW)
        assert abs(top - corner[0] * cell) <= 2
        assert abs(left - corner[1] * cell) <= 2
        assert abs(bottom - (corner[0] + length) * cell) <= 2
        assert abs(right - (corner[1] + length) * cell) <= 2
        # On the edge it is yellow, inside and farther out it is not.
        row, column = (corner[0] + length // 2) * cell + cell // 2, corner[1] * cell
        assert tuple(shown[row, min(column, shown.shape[1] - 1)]) == YELLOW
        assert tuple(shown[row, column + cell // 2]) != YELLOW
