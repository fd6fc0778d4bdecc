"""Size, form and print of the page."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from compare.lesson.build import TITLES

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_on_paper_everything_is_open_and_nothing_is_to_be_operated(page: Page) -> None:
    page.locator("details").nth(3).locator("summary").click()
    page.emulate_media(media="print")
    for selector in (".controls", ".skip", "nav.chapters", ".guess input"):
        assert page.locator(selector).count() > 0
        assert page.locator(f"{selector}:visible").count() == 0, selector
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    details = page.locator("details")
    assert details.count() > 10
    assert page.locator("details:not([open])").count() == 0
    for answer in page.locator(".mistake details:last-of-type pre").all():
        assert answer.is_visible()
    for identifier, title in TITLES:
        heading = page.locator(f"#{identifier} h2")
        assert heading.is_visible()
        assert title in heading.inner_text()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 1


def test_a_printer_gets_the_whole_page(page: Page) -> None:
    paper = page.pdf(format="A4")
    assert paper.startswith(b"%PDF")
    # Each chapter begins on a page of its own.
    assert len(re.findall(rb"/Type\s*/Page\b", paper)) > len(TITLES)
    assert page.locator("details[open]").count() == 0


def test_the_page_is_small_and_complete(html: str) -> None:
    assert len(html.encode()) < 3_000_000
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", html)
    assert "url(" not in html
    assert "@import" not in html


class Nesting(HTMLParser):
    """Every tag that is opened is closed in its turn; how many of each there are."""

    VOID = frozenset(("meta", "link", "img", "input", "br"))

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count = Counter[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), (tag, attrs)
        self.count[tag] += 1
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self.count[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()


def test_the_browser_finds_the_elements_that_are_written(still: Page, html: str) -> None:
    written = Nesting()
    written.feed(html)
    written.close()
    assert written.open == []
    found = still.evaluate("[...document.querySelectorAll('*')].map(one => one.localName)")
    assert Counter(name.lower() for name in found) == written.count
    assert still.evaluate("document.compatMode") == "CSS1Compat"


FAULTS_OF_FORM: dict[str, str] = {
    "an id twice": """[...document.querySelectorAll("[id]")].map(one => one.id)
        .filter((id, n, all) => all.indexOf(id) !== n)""",
    "a label without control": """[...document.querySelectorAll("label")].filter(one => !one.control)
        .map(one => one.outerHTML)""",
    "a control without name": """[...document.querySelectorAll("input, select, button")]
        .filter(one => !one.labels?.length && !one.ariaLabel && !one.textContent.trim()).map(one => one.outerHTML)""",
    "a picture without words": """[...document.images].filter(one => !one.alt.trim()).map(one => one.outerHTML)""",
    "a link to nowhere": """[...document.querySelectorAll("a")]
        .filter(one => !document.getElementById(one.hash.slice(1))).map(one => one.outerHTML)""",
    "a reference to nothing": """[...document.querySelectorAll("[aria-labelledby], [aria-describedby], [for]")]
        .filter(one => ["aria-labelledby", "aria-describedby", "for"].some(
            name => one.hasAttribute(name) && !document.getElementById(one.getAttribute(name))))
        .map(one => one.outerHTML.slice(0, 100))""",
    "a heading that skips a level": """[...document.querySelectorAll("h1, h2, h3, h4, h5, h6")]
        .map(one => Number(one.localName[1])).filter((level, n, all) => level > (all[n - 1] ?? 0) + 1)""",
    "a broken picture": """[...document.images].filter(one => !one.complete || !one.naturalWidth)
        .map(one => one.alt)""",
}


@pytest.mark.parametrize("fault", FAULTS_OF_FORM)
def test_the_form_is_right(standing: Page, fault: str) -> None:
    assert standing.evaluate(FAULTS_OF_FORM[fault]) == []


def test_the_chapters_are_there_in_order(standing: Page) -> None:
    headings: Callable[[str], list[str]] = lambda selector: standing.locator(selector).all_inner_texts()  # noqa: E731
    expected = [f"{n} {title}" for n, (_, title) in enumerate(TITLES, 1)]
    assert headings("main h2") == expected
    assert headings("nav.chapters a") == expected
    assert len(headings("h1")) == 1
    assert standing.locator("html").get_attribute("lang") == "en"
