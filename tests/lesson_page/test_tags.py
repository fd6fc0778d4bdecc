"""The tags that light up together, with scripts and without; and the counter of chapter 1."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.lesson_page.expected import counted
from tests.lesson_page.reading import text_of

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


def test_the_counter_counts_as_torch_does(standing: Page) -> None:
    page = standing
    assert (text_of(page, "count-dense"), text_of(page, "count-conv")) == counted(page)
    seen = set()
    for name, value in [("side", 28), ("channels", 1), ("units", 8), ("kernel", 5), ("side", 1024), ("units", 999)]:
        page.locator(f"#counter [name={name}]").fill(str(value))
        shown = (text_of(page, "count-dense"), text_of(page, "count-conv"))
        assert shown == counted(page), (name, value)
        seen.add(shown)
    assert len(seen) == 6


# Which names of tags are on lit elements, and which on others; for each also what it is.
LIT = """() => {
    const probe = document.createElement("i");
    probe.style.background = "var(--lit)";
    document.body.append(probe);
    const light = getComputedStyle(probe).backgroundColor;
    probe.remove();
    const found = [[], []];
    for (const element of document.querySelectorAll("main [class]")) {
        const name = [...element.classList].find(one => /^[a-z0-9_]+-[0-9]$/.test(one));
        if (name) found[getComputedStyle(element).backgroundColor === light ? 0 : 1].push([name, element.localName]);
    }
    return found;
}"""


KINDS = {"formula": ".formulas li", "code": "pre .line", "row": "tbody tr"}


def lit(page: Page) -> set[str]:
    """The names whose elements are lit, each of them all or none."""
    bright, dark = page.evaluate(LIT)
    names = {name for name, _ in bright}
    assert not names & {name for name, _ in dark}
    return names


def tags(page: Page) -> list[str]:
    bright, dark = page.evaluate(LIT)
    return sorted({name for name, _ in [*bright, *dark]})


def aside(page: Page) -> None:
    """The mouse to where nothing is, and the focus nowhere."""
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.mouse.move(2, 2)


def check_hover(page: Page, chosen: set[str]) -> None:
    names = tags(page)
    assert chosen <= set(names)
    assert len(names) > 20
    assert lit(page) == set()
    kinds = Counter[str]()
    for name in sorted(chosen):
        for kind, selector in KINDS.items():
            element = page.locator(f"{selector}.{name}:visible").last
            if name in chosen and element.count():
                element.hover(position={"x": 5, "y": 5})
                assert lit(page) == {name}, kind
                kinds[kind] += 1
    assert min(kinds[kind] for kind in KINDS) >= 3
    page.locator("figure.conv2d-3").hover()
    assert lit(page) == {"conv2d-3"}
    aside(page)
    assert lit(page) == set()


def test_what_belongs_to_one_equation_lights_up_together(page: Page) -> None:
    check_hover(page, {"conv2d-1", "conv2d-2", "conv2d-4", "relu-2", "cross_entropy-1", "sgd-3", "sgd-4"})


def test_the_focus_lights_them_as_well(page: Page) -> None:
    aside(page)
    buttons = page.locator("main button.tag:visible")
    for n in range(0, buttons.count(), 7):
        name = name_of(buttons.nth(n))
        # Away and back again with the Tab key.
        buttons.nth(n).focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Shift+Tab")
        assert lit(page) == {name}
    aside(page)
    assert lit(page) == set()


def name_of(button: Locator) -> str:
    """The name of the tag that a button stands in."""
    return button.evaluate(
        """one => {
            for (let at = one; at; at = at.parentElement) {
                const name = [...at.classList].find(name => /^[a-z0-9_]+-[0-9]$/.test(name));
                if (name) return name;
            }
        }"""
    )


def test_a_click_keeps_them_lit_until_the_next(page: Page) -> None:
    first, second = page.locator(".formulas .conv2d-1 .tag").first, page.locator("tr.relu-2 .tag").first
    first.click()
    aside(page)
    assert lit(page) == {"conv2d-1"}
    assert first.get_attribute("aria-pressed") == "true"
    second.click()
    aside(page)
    assert lit(page) == {"relu-2"}
    assert first.get_attribute("aria-pressed") in (None, "false")
    assert second.get_attribute("aria-pressed") == "true"
    second.click()
    aside(page)
    assert lit(page) == set()
    assert second.get_attribute("aria-pressed") in (None, "false")
    second.focus()
    page.keyboard.press("Enter")
    aside(page)
    assert lit(page) == {"relu-2"}


def test_each_tag_can_be_clicked(standing: Page) -> None:
    clicked = standing.evaluate(
        """() => [...document.querySelectorAll("main button.tag")].map((one, n) => {
            let name;
            for (let at = one; !name; at = at.parentElement)
                name = [...at.classList].find(name => /^[a-z0-9_]+-[0-9]$/.test(name));
            const after = [0, 1].map(() => { one.click(); return document.body.dataset.pinned ?? ""; });
            return [`${n} in ${one.parentElement.outerHTML.slice(0, 80)}`, name, ...after];
        })"""
    )
    assert len(clicked) > 50
    assert [one for one in clicked if one[2:] != [one[1], ""]] == []


def test_without_scripts_hovering_works(still: Page) -> None:
    check_hover(still, {"conv2d-1", "conv2d-3", "linear-2"})
