"""The page for everybody: axe's rules, narrow windows, and the keyboard alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.lesson_page.reading import PADDINGS, WIDTHS, open_all, opened, said, walk, way_back, written

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def violations(page: Page, rules: dict[str, Any]) -> str:
    """What axe finds serious or critical."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    results = axe.Axe().run(page, options={"resultTypes": ["violations"], **rules})
    return "\n".join(
        f"{found['id']} ({found['impact']}): {found['help']}: {node['html'][:200]} at {node['target']}"
        for found in results.response["violations"]
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    )


CONTRAST = {"runOnly": ["color-contrast"]}
ALL_BUT_CONTRAST = {"rules": {"color-contrast": {"enabled": False}}}


def guess(page: Page) -> None:
    page.locator(".mistake input.is-wrong").first.check()
    page.locator(".mistake").nth(1).locator("input.is-right").check()


@pytest.mark.long
@pytest.mark.parametrize(("unfolded", "widths"), [(False, WIDTHS[:1]), (True, WIDTHS)])
def test_axe_finds_nothing_serious(page: Page, unfolded: bool, widths: Sequence[int]) -> None:
    if unfolded:
        open_all(page)
        guess(page)
    for width in widths:
        page.set_viewport_size({"width": width, "height": 900})
        assert violations(page, ALL_BUT_CONTRAST) == "", width


# Colours do not depend on the width, and their rule takes as long as all others together and more.
@pytest.mark.long
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 800)])
def test_axe_finds_enough_contrast(browser: Browser, address: str, scheme: str, width: int) -> None:
    viewport = {"width": width, "height": 900}
    with opened(browser, address, color_scheme=scheme, viewport=viewport) as page:
        open_all(page)
        guess(page)
        page.locator(".formulas .conv2d-1 .tag").first.click()
        assert violations(page, CONTRAST) == ""


def test_axe_finds_nothing_serious_where_no_script_has_run(browser: Browser, html: str, tmp_path: Path) -> None:
    # axe is a script itself and cannot run without any. So the page's own is taken out, and what is said instead of it
    # stands there.
    start = html.rindex("<script>")
    bare = html[:start] + html[html.index("</script>", start) + len("</script>") :]
    bare = bare.replace("<noscript>", "<div>").replace("</noscript>", "</div>")
    with opened(browser, written(bare, tmp_path)) as page:
        assert page.locator(".controls:visible").count() == 0
        assert violations(page, ALL_BUT_CONTRAST) == ""


OUT_OF_SIGHT = """() => [...document.querySelectorAll("a, button, input, select, summary, canvas, [tabindex]")]
    .filter(one => one.checkVisibility() && !one.matches(".skip"))
    .filter(one => {
        // A radio button is a spot in its label, and what is in a part that scrolls is reached by scrolling.
        let shown = one.matches(".choice input") ? one.closest("label") : one;
        for (let at = shown.parentElement; at; at = at.parentElement)
            if (getComputedStyle(at).overflowX === "auto" && at.scrollWidth > at.clientWidth) shown = at;
        const { left, right } = shown.getBoundingClientRect();
        return left < 0 || right > innerWidth;
    }).map(one => one.outerHTML.slice(0, 120))"""
DISTORTED = """() => [...document.images].filter(one => one.clientWidth && one.clientHeight &&
    Math.abs(one.clientWidth * one.naturalHeight / one.naturalWidth - one.clientHeight) > 2
).map(one => `${one.alt}: ${one.clientWidth}×${one.clientHeight} of ${one.naturalWidth}×${one.naturalHeight}`)"""


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_its_window(browser: Browser, address: str, width: int) -> None:
    with opened(browser, address, viewport={"width": width, "height": 800}) as page:
        open_all(page)
        for padding in PADDINGS:
            walk(page, 3, 0, 1, padding, [[0, 0]])
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        way_back(page, 2, 1, 1)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("innerWidth") == width
        assert page.evaluate(OUT_OF_SIGHT) == []
        assert page.evaluate(DISTORTED) == []


# Writes down whatever gets the focus, and whether that can be seen.
FOLLOW = """() => {
    window.stations = [];
    document.addEventListener("focusin", ({ target }) => {
        const style = getComputedStyle(target.matches(".choice input") ? target.closest("label") : target);
        const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 && style.opacity > 0;
        target.dataset.visited = "";
        stations.push([target.outerHTML.slice(0, 100), outlined]);
    });
}"""


IN_SIGHT = """() => {
    const one = document.activeElement, shown = one.matches(".choice input") ? one.closest("label") : one;
    const { left, right, top, bottom, width, height } = shown.getBoundingClientRect();
    return width > 0 && height > 0 && right > 0 && bottom > 0 && left < innerWidth && top < innerHeight;
}"""
NOT_VISITED = """() => {
    // Of the radio buttons with one name one is enough.
    const called = one => one.type === "radio" ? one.name : one;
    const visited = new Set([...document.querySelectorAll("[data-visited]")].map(called));
    return [...document.querySelectorAll("a, button, input, select, summary, canvas, [tabindex]")]
        .filter(one => one.checkVisibility() && !visited.has(called(one))).map(one => one.outerHTML.slice(0, 100));
}"""


def test_the_tab_key_reaches_everything_and_shows_where_it_is(page: Page) -> None:
    page.evaluate(FOLLOW)
    page.keyboard.press("Tab")
    assert 'class="skip"' in page.evaluate("stations[0][0]")
    assert page.evaluate(IN_SIGHT)
    for _ in range(100):
        for _ in range(7):
            page.keyboard.press("Tab")
        assert page.evaluate(IN_SIGHT)
        if page.evaluate("stations.filter(([html]) => html.includes('class=\"skip\"')).length > 1"):
            break  # it begins again
    stations = page.evaluate("stations")
    assert len(stations) > 100
    assert [html for html, outlined in stations if not outlined] == []
    assert page.evaluate(NOT_VISITED) == []


def test_the_skip_link_leads_to_the_first_chapter(page: Page) -> None:
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#why"
    assert page.evaluate("Math.abs(document.getElementById('why').getBoundingClientRect().top) < 5")
    page.keyboard.press("Tab")
    assert page.evaluate("document.getElementById('why').contains(document.activeElement)")


def test_a_guess_is_made_and_an_answer_opened_by_keyboard(page: Page) -> None:
    article = page.locator(".mistake").first
    choices = article.locator(".guess input")
    article.locator("summary").first.focus()
    page.keyboard.press("Tab")
    assert choices.first.evaluate("one => one === document.activeElement")
    page.keyboard.press("Space")
    assert choices.first.is_checked()
    for n in range(choices.count()):
        assert choices.nth(n).is_checked()
        assert said(article) == ["right" if "is-right" in (choices.nth(n).get_attribute("class") or "") else "wrong"]
        page.keyboard.press("ArrowDown")
    answer = article.locator("details").last
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")  # the first one leads to a hint
    assert answer.locator("summary").evaluate("one => one === document.activeElement")
    assert not answer.locator("ins").first.is_visible()
    page.keyboard.press("Enter")
    assert answer.locator("pre ins").first.is_visible()
