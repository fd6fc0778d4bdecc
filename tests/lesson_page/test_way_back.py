"""The way back of chapter 3: gradients as autograd gives them, and what chooses outputs and pixels."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.lesson_page.expected import all_kernels, check_back
from tests.lesson_page.reading import (
    TICK,
    figures,
    number,
    numbers,
    opened,
    stop_the_clock,
    text_of,
    way_back,
    with_data,
    written,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.mark.computes
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("kernel", range(4))
def test_all_outputs_give_the_gradients_of_autograd(
    standing: Page, held: dict[str, Any], kernel: int, stride: int, padding: int
) -> None:
    (shown,) = way_back(standing, kernel, stride, padding)
    rows = (6 + 2 * padding - 3) // stride + 1
    assert shown["back-g"].shape == (rows, rows)
    assert np.unique(shown["back-g"]).size > 1
    assert shown["max"] == rows * rows - 1
    assert np.array_equal(shown["back-w"].astype(np.float32), all_kernels(held)[kernel, 0])
    assert shown["back-x"].shape == (6 + 2 * padding,) * 2
    edge = np.pad(np.zeros((6, 6), bool), padding, constant_values=True)
    for name in ("back-x", "back-dx"):
        assert np.array_equal([["cut" in one.split() for one in row] for row in shown[f"{name} class"]], edge)
    assert (shown["back-x"][edge] == 0).all()
    check_back(shown, stride, padding, np.ones((rows, rows)))
    # 36 pixels, 9 weights and a bias, and no difference to either library.
    *counts, own, twin = figures(shown["verdict"])
    assert (sum(counts), own, twin) == (46, 0, 0)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(0, 1, 0), (2, 1, 1), (3, 2, 1), (1, 2, 0)])
@pytest.mark.parametrize("mode", ["one", "all"])
def test_the_outputs_so_far_and_one_output_alone(
    standing: Page, kernel: int, stride: int, padding: int, mode: str
) -> None:
    (last,) = way_back(standing, kernel, stride, padding, mode)
    outputs = range(last["max"] + 1)
    rows = last["back-g"].shape[1]
    for output, shown in zip(outputs, way_back(standing, kernel, stride, padding, mode, outputs), strict=True):
        i, j = divmod(output, rows)
        only = np.arange(rows * rows) == output if mode == "one" else np.arange(rows * rows) <= output
        check_back(shown, stride, padding, only.reshape(rows, rows))
        top, left = i * stride, j * stride
        window = np.zeros(shown["back-x"].shape, bool)
        window[top : top + 3, left : left + 3] = True
        if mode == "one":
            g = shown["back-g"][i, j]
            assert np.array_equal(shown["back-dx"][window].reshape(3, 3), g * shown["back-w"])
            assert (shown["back-dx"][~window] == 0).all()
            assert np.array_equal(shown["back-dw"], g * shown["back-x"][window].reshape(3, 3))
            assert shown["back-db"] == g
        for name in ("back-x", "back-dx"):
            reached = [["reached" in one.split() for one in row] for row in shown[f"{name} class"]]
            assert np.array_equal(reached, window)
        marks = np.array(shown["back-g class"]).ravel()
        assert np.array_equal(np.flatnonzero(marks == "now"), [output])
        assert set(marks[~only]) <= {""}
        if mode == "one" or output < outputs[-1]:
            # No word of the libraries before there is something to be held against them.
            assert re.findall(r"\d+", shown["verdict"]) == [str(int(only.sum())), str(rows * rows)]


def test_a_difference_to_a_library_is_shown(browser: Browser, html: str, held: dict[str, Any], tmp_path: Path) -> None:
    changed = json.loads(json.dumps(held))
    result = changed["back"]["results"]["0/1/0"]
    result["torch"]["grad_weight"][1][1] += 0.25
    result["scratch"]["grad_bias"] -= 3
    with opened(browser, written(with_data(html, changed), tmp_path)) as page:
        page.locator("#output").press("End")
        assert figures(text_of(page, "back-verdict"))[-2:] == [3, 0.25]


def current(page: Page) -> tuple[int, int]:
    """The output that is marked."""
    marked = page.evaluate(
        """() => [...document.querySelectorAll("#back-g td.now")].map(
            cell => [cell.parentNode.rowIndex, cell.cellIndex])"""
    )
    ((row, column),) = marked
    assert page.locator("#output").input_value() == str(row * numbers(page, "back-g").shape[1] + column)
    return row, column


def focused(page: Page) -> list[str]:
    """The table and the name of the button that has the focus."""
    return page.evaluate(
        "() => [document.activeElement.closest('table')?.id ?? '', document.activeElement.ariaLabel ?? '']"
    )


def test_an_output_is_chosen_by_click_slider_buttons_and_keys(standing: Page) -> None:
    page = standing
    way_back(page, 0, 1, 0)
    rows, columns = numbers(page, "back-g").shape
    assert current(page) == (rows - 1, columns - 1)
    cell = page.locator("#back-g button")
    cell.nth(1 * columns + 2).click()
    assert current(page) == (1, 2)
    cell.nth(2 * columns + 1).focus()
    page.keyboard.press("Enter")
    assert current(page) == (2, 1)
    assert focused(page) == ["back-g", "output 2,1"]
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert current(page) == (2, 2)
    assert focused(page) == ["back-g", "output 2,2"]
    slider = page.locator("#output")
    slider.press("Home")
    assert current(page) == (0, 0)
    slider.press("ArrowRight")
    assert current(page) == (0, 1)
    assert page.evaluate("document.activeElement.id") == "output"
    back, forward = page.locator("#back-back"), page.locator("#back-forward")
    forward.click()
    assert current(page) == (0, 2)
    for _ in range(4):
        back.click()
    assert current(page) == (0, 0)
    slider.press("End")
    forward.click()
    assert current(page) == (rows - 1, columns - 1)
    assert page.evaluate("document.activeElement.id") == "back-forward"


def test_play_adds_up_the_outputs_one_by_one(page: Page) -> None:
    stop_the_clock(page)
    (full,) = way_back(page, 0, 2, 0)
    play = page.locator("#back-play")
    play.click()  # at the end it begins again
    assert current(page) == (0, 0)
    assert play.get_attribute("aria-pressed") == "true"
    page.clock.run_for(TICK)
    assert current(page) == (0, 1)
    play.click()
    page.clock.run_for(5 * TICK)
    assert current(page) == (0, 1)
    assert play.get_attribute("aria-pressed") == "false"
    play.click()
    page.clock.run_for(5 * TICK)
    assert current(page) == (1, 1)
    assert play.get_attribute("aria-pressed") == "false"
    assert np.array_equal(numbers(page, "back-dx"), full["back-dx"])


def terms(words: str) -> tuple[list[tuple[float, float]], float]:
    """The factors of a sum, "2·(−1) + 3·4 = 10", and its result."""
    one = r"\(?(−?[\d.e−]+)\)?"
    found = re.search(rf"({one}·{one}(?: \+ {one}·{one})*) = (−?[\d.e−]*\d)", words)
    assert found is not None, words
    factors = re.findall(rf"{one}·{one}", found[1])
    return [(number(a), number(b)) for a, b in factors], number(found.groups()[-1])


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "mode"), [(0, 1, 0, "all"), (3, 2, 1, "all"), (1, 1, 1, "one")]
)
def test_a_pixel_shows_its_sum(standing: Page, kernel: int, stride: int, padding: int, mode: str) -> None:
    (shown,) = way_back(standing, kernel, stride, padding, mode, [7])
    g, w = shown["back-g"], shown["back-w"]
    for k, line in enumerate(shown["back-dx"][padding : 6 + padding]):
        for column, value in enumerate(line[padding : 6 + padding]):
            standing.evaluate(
                "label => document.querySelector(`#back-dx [aria-label='${label}']`).click()", f"pixel {k},{column}"
            )
            expected = [
                (g[i, j], w[k + padding - i * stride, column + padding - j * stride])
                for n, (i, j) in enumerate(np.ndindex(*g.shape))
                if (n == 7 or (mode == "all" and n < 7))
                and 0 <= k + padding - i * stride < 3
                and 0 <= column + padding - j * stride < 3
            ]
            words = text_of(standing, "back-words")
            assert f"[{k},{column}]" in words
            if not expected:
                assert value == 0
                assert "·" not in words
                assert words.rstrip(".").endswith(" 0")
            else:
                assert terms(words) == (expected, value)
                named = [tuple(map(int, found)) for found in re.findall(r"g\[(\d),(\d)\]·w\[(\d),(\d)\]", words)]
                assert [(g[i, j], w[u, v]) for i, j, u, v in named] == expected
                assert str(len(expected)) in words.split(f"[{k},{column}]")[1].split(":")[0]


def test_a_pixel_is_chosen_by_keyboard_and_keeps_the_focus(standing: Page) -> None:
    page = standing
    way_back(page, 0, 1, 0)
    before = text_of(page, "back-words")
    page.locator("#back-dx button[aria-label='pixel 2,3']").focus()
    page.keyboard.press("Enter")
    assert focused(page) == ["back-dx", "pixel 2,3"]
    assert "[2,3]" in text_of(page, "back-words")
    page.locator("#back-dx button[aria-label='pixel 4,1']").click()
    assert "[4,1]" in text_of(page, "back-words")
    # Another output is spoken of as soon as one is chosen.
    page.locator("#back-g button").last.click()
    assert text_of(page, "back-words") == before


def test_an_output_shows_its_first_products(standing: Page) -> None:
    for output, shown in enumerate(way_back(standing, 0, 1, 1, "one", range(36))):
        i, j = divmod(output, 6)
        g = shown["back-g"][i, j]
        products = re.findall(r"(−?[\d.]+)·\(?(−?[\d.]+)\)? = (−?[\d.]+\b)", shown["words"])
        expected = [(g, v, g * v) for v in (shown["back-w"][0, 0], shown["back-x"][i, j])]
        assert [tuple(map(number, product)) for product in products] == expected, shown["words"]
