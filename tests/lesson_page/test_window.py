"""The moving window of chapter 2: its numbers, for the page's kernels and for one's own."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from compare.lesson.chapters.windows import certain
from scratch import Array
from tests.lesson_page.expected import (
    all_kernels,
    by_scratch,
    by_torch,
    check_certain,
    check_products,
    counted,
    last_unit,
    under,
    values_of,
)
from tests.lesson_page.reading import (
    PADDINGS,
    SOBEL,
    STRIDES,
    canvas,
    cells,
    is_rounded,
    number,
    numbers,
    opened,
    place,
    text_of,
    walk,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


BLUR = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 16
TYPED = np.array([[0.1, -1.7, 3.3], [1e-5, 0, -2.25], [123.456, -0.7, 0.3]], np.float32)
BY_NAME: dict[str, Array] = {"Sobel, vertical edges": SOBEL, "Sobel, horizontal edges": SOBEL.T.copy(), "blur": BLUR}


def places_in(rows: int, columns: int) -> list[tuple[int, int]]:
    """Corners, the middle, and where a digit has an edge."""
    corners = [(0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)]
    return [*corners, (rows // 2, columns // 2), (rows // 3, 2 * columns // 5)]


def check_window(page: Page, image: Array, held: dict[str, Any], digit: int, kernel: int) -> None:
    kernels = all_kernels(held)
    weights = kernels[kernel, 0]
    for stride, padding in itertools.product(STRIDES, PADDINGS):
        twin = by_torch(image, kernels, stride, padding)[kernel]
        own = by_scratch(image, kernels[kernel : kernel + 1], stride, padding)[0]
        places = places_in(*twin.shape)
        for at, shown in zip(places, walk(page, digit, kernel, stride, padding, places), strict=True):
            assert shown["place"] == f"{at[0]},{at[1]}"
            assert shown["map-size"] == f"{twin.shape[0]}×{twin.shape[1]}"
            assert shown["picture-size"] == "×".join(str(length + 2 * padding) for length in image.shape)
            assert shown["most"] == [str(length - 1) for length in twin.shape]
            pixels = under(image, weights.shape, stride, padding, at)
            for value in (twin[at], own[at]):
                assert abs(number(shown["sum-both"]) - float(value)) <= last_unit(pixels * weights)
            difference = held["window"]["differences"][f"{kernel}/{stride}/{padding}"][digit]
            assert is_rounded(shown["sum-difference"], difference, 2)
            check_products(shown, pixels, weights)


@pytest.mark.computes
@pytest.mark.parametrize("name", [*BY_NAME, "learned, filter 0", "learned, filter 5"])
def test_the_window_shows_the_digits_of_both_libraries(
    standing: Page, images: Array, held: dict[str, Any], name: str
) -> None:
    kernel = [one["name"] for one in held["window"]["kernels"]].index(name)
    if name in BY_NAME:
        assert np.array_equal(all_kernels(held)[kernel, 0], BY_NAME[name])
    for digit in (0, 3, 7):
        check_window(standing, images[digit], held, digit, kernel)


def test_the_digits_are_the_first_of_each_class(standing: Page, images: Array) -> None:
    page = standing
    walk(page, 0, 0, 1, 0, [[0, 0]])
    labels = page.locator("#digit label")
    assert labels.count() == len(images)
    for digit, image in enumerate(images):
        labels.nth(digit).click()
        assert np.array_equal(grey_cells(page, image.shape), np.rint(image * 255))


def grey_cells(page: Page, shape: tuple[int, ...]) -> Array:
    """The middle of each cell of the picture, where no outline is."""
    middles = cells(canvas(page, "picture"), shape)
    assert (middles == middles[..., :1]).all()
    return middles[..., 0]


def type_in(page: Page, weights: Array) -> None:
    inputs = page.locator("#weights input")
    assert inputs.count() == weights.size
    for n, value in enumerate(weights.flat):
        inputs.nth(n).fill(str(value))


@pytest.mark.computes
def test_a_kernel_that_was_typed_in_has_the_digits_that_are_certain(standing: Page, images: Array) -> None:
    page = standing
    walk(page, 3, 0, 1, 0, [[0, 0]])
    before, difference = text_of(page, "purpose"), page.locator("#sum-difference")
    assert difference.is_visible()
    type_in(page, TYPED)
    assert page.locator("#kernel").input_value() == "own"
    assert before != text_of(page, "purpose")
    assert not difference.is_visible()  # neither library has computed anything
    for digit, stride, padding in itertools.product((3, 8), STRIDES, PADDINGS):
        twin = by_torch(images[digit], TYPED[None, None], stride, padding)[0]
        own = by_scratch(images[digit], TYPED[None, None], stride, padding)[0]
        places = places_in(*twin.shape)
        for at, shown in zip(places, walk(page, digit, "own", stride, padding, places), strict=True):
            pixels = under(images[digit], TYPED.shape, stride, padding, at)
            check_products(shown, pixels, TYPED)
            assert shown["map-size"] == f"{twin.shape[0]}×{twin.shape[1]}"
            for value in (twin[at], own[at]):
                assert abs(number(shown["sum-both"]) - float(value)) <= last_unit(pixels * TYPED)
    assert page.locator("#weights input").nth(1).input_value() == "-1.7"
    page.locator("#kernel").select_option("0")
    assert difference.is_visible()


def test_what_is_no_weight_is_marked_and_changes_nothing(standing: Page) -> None:
    page = standing
    walk(page, 3, 0, 1, 0, [[5, 11]])
    first = page.locator("#weights input").first
    before = text_of(page, "sum-both"), text_of(page, "products")
    for text in ("", "1e39", "1.1e30", "-0.9e-30"):
        first.fill(text)
        assert first.get_attribute("aria-invalid") == "true"
        assert (text_of(page, "sum-both"), text_of(page, "products")) == before
    for text in ("0", "1e-30", "-1e30", "2"):
        first.fill(text)
        assert first.get_attribute("aria-invalid") == "false"
    assert "· 2 =" in page.locator("#products td").first.inner_text()
    page.locator("#kernel").select_option("0")
    assert first.input_value() == "-1"
    assert page.locator("#kernel").input_value() == "0"
    assert (text_of(page, "sum-both"), text_of(page, "products")) == before


def test_script_and_python_leave_the_same_digits_certain(standing: Page) -> None:
    rng = np.random.default_rng(0)
    pairs = [
        (x * 10.0**e, 10.0**d)
        for x, e, d in zip(rng.standard_normal(200), rng.integers(-9, 9, 200), rng.uniform(-12, 6, 200), strict=True)
    ]
    pairs += [(0.0, 0.0), (-1.5, 0.0), (0.0, 1e-6), (-1e-9, 1e-6), (1.25, 0.05)]
    shown = standing.evaluate("pairs => pairs.map(([exact, error]) => certain(exact, error))", pairs)
    # Python leaves out a zero after the e and a plus sign.
    assert [number(text) for text in shown] == [number(certain(*pair)) for pair in pairs]


# Waits until the page is loaded (`pageshow` comes with that) and its settings are back. Chromium may have noted none:
# then the page must show what it begins with.
SETTLED = """async () => {
    const loaded = () => performance.getEntriesByType("navigation")[0].loadEventEnd > 0;
    const restored = () => document.querySelector("input[name=digit]:checked").value === "8";
    for (let n = 0; !loaded() || (n < 50 && !restored()); n++) await new Promise(done => setTimeout(done, 100));
}"""


@pytest.mark.parametrize("again", ["reload", "back"])
def test_a_page_that_is_come_back_to_shows_what_its_controls_say(
    browser: Browser, address: str, images: Array, held: dict[str, Any], again: str
) -> None:
    with opened(browser, address) as page:
        walk(page, 8, 2, 2, 1, [[3, 4]])
        page.locator("[name=side]").fill("100")
        page.locator("#back-stride label:has([value='2'])").click()
        page.wait_for_timeout(1000)  # Chromium takes note of the settings now and then only
        if again == "reload":
            page.reload()
        else:
            page.goto("data:text/html,elsewhere")
            page.go_back()
        page.evaluate(SETTLED)
        digit, stride, padding = (
            int(page.locator(f"input[name={name}]:checked").input_value()) for name in ("digit", "stride", "padding")
        )
        kernel = int(page.locator("#kernel").input_value())
        values = by_torch(images[digit], all_kernels(held), stride, padding)[kernel]
        assert text_of(page, "map-size") == f"{values.shape[0]}×{values.shape[1]}"
        assert place(page) == (int(page.locator("#row").input_value()), int(page.locator("#column").input_value()))
        products = under(images[digit], values_of(held, kernel).shape, stride, padding, place(page)) * values_of(
            held, kernel
        )
        check_certain(text_of(page, "sum-both"), products)
        assert text_of(page, "count-dense") == counted(page)[0]
        stride = int(page.locator("input[name=back-stride]:checked").input_value())
        assert numbers(page, "back-g").shape == ((6 - 3) // stride + 1,) * 2
