"""The page where no script runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from scratch import Array
from tests.lesson_page.expected import (
    all_kernels,
    by_scratch,
    by_torch,
    check_back,
    check_products,
    exactly,
    last_unit,
    under,
)
from tests.lesson_page.reading import (
    NEUTRAL,
    RED,
    SOBEL,
    is_rounded,
    number,
    numbers,
    picture_of,
    place,
    text_of,
    way_back,
)

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_without_scripts_nothing_is_left_that_needs_them(still: Page) -> None:
    assert still.locator("noscript").inner_text() != ""
    selectors = (".controls", "canvas", ".controls input", ".controls button", ".controls select", ".js-only")
    assert [selector for selector in selectors if still.locator(f"{selector}:visible").count()] == []
    assert still.locator(".controls").count() > 2


def test_without_scripts_there_are_pictures_instead(still: Page) -> None:
    stills = still.locator("img.still")
    assert stills.count() == 2
    for n in range(2):
        assert stills.nth(n).is_visible()
        assert stills.nth(n).evaluate("image => image.naturalWidth > 20")


def test_with_scripts_there_are_no_stills(standing: Page) -> None:
    assert standing.locator(".still:visible").count() == 0
    assert standing.locator("canvas:visible").count() == 2


@pytest.mark.computes
def test_without_scripts_the_window_shows_right_numbers(still: Page, images: Array, held: dict[str, Any]) -> None:
    values, at = exactly(images[3], all_kernels(held), 1, 0)[0], place(still)
    products = under(images[3], (3, 3), 1, 0, at) * SOBEL
    assert values[at] == values.max()
    identifiers = ("place", "map-size", "sum-both", "sum-difference", "sum-bound", "sum-exact")
    shown: dict[str, Any] = {identifier: text_of(still, identifier) for identifier in identifiers}
    shown["products"] = [row.locator("td").all_inner_texts() for row in still.locator("#products tr").all()]
    for value in (maps(images[3], SOBEL[None, None], 1, 0)[0][at] for maps in (by_torch, by_scratch)):
        assert abs(number(shown["sum-both"]) - float(value)) <= last_unit(products)
    assert shown["map-size"] == f"{values.shape[0]}×{values.shape[1]}"
    assert is_rounded(shown["sum-difference"], held["window"]["differences"]["0/1/0"][3], 2)
    check_products(shown, under(images[3], (3, 3), 1, 0, at), SOBEL)
    # The pictures: the one with the window is brighter inside it, the map has the colours of the numbers.
    picture, drawn = (picture_of(still.locator(".still").nth(n)) for n in range(2))
    assert picture.shape[:2] == images[3].shape
    assert drawn.shape[:2] == values.shape
    assert (drawn[values == 0] == NEUTRAL).all()
    assert drawn[at][0] > drawn[at][2] + 50
    assert (tuple(drawn[at]) == RED) == (values[at] == np.abs(values).max()), "full colour marks the largest size"
    negative = values < -0.5 * values.max()
    assert (drawn[negative][:, 2] > drawn[negative][:, 0] + 50).all()
    black = images[3] == 0
    window = np.zeros(black.shape, bool)
    window[at[0] : at[0] + 3, at[1] : at[1] + 3] = True
    assert (picture[black & window, 0] > 50).all()
    assert (picture[black & ~window] == 0).all()


@pytest.mark.computes
def test_without_scripts_the_way_back_shows_right_numbers(still: Page) -> None:
    shown = {name: numbers(still, f"back-{name}") for name in ("x", "w", "g", "dx", "dw", "db")}
    assert np.array_equal(shown["w"], SOBEL)
    assert shown["g"].shape == (4, 4)
    check_back({f"back-{name}": values for name, values in shown.items()}, 1, 0, np.ones((4, 4)))


@pytest.mark.computes
def test_without_scripts_and_with_them_the_start_is_the_same(still: Page, page: Page) -> None:
    (full,) = way_back(page, 0, 1, 0)
    for name in ("x", "w", "g", "dx", "dw", "db"):
        assert np.array_equal(numbers(still, f"back-{name}"), full[f"back-{name}"])
    for name in ("place", "map-size", "sum-both", "sum-difference", "sum-exact"):
        assert text_of(still, name) == text_of(page, name)
    assert number(text_of(still, "sum-bound")) == number(text_of(page, "sum-bound"))
    assert text_of(still, "products") == text_of(page, "products")
