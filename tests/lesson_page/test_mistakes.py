"""The mistakes of chapter 6: guesses and answers."""

from __future__ import annotations

import inspect
from collections import Counter
from importlib import import_module
from typing import TYPE_CHECKING

from compare.faults.catalogue import CATALOGUE
from compare.faults.fault import broken_source
from tests.lesson_page.reading import said

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_the_gallery_says_whether_a_guess_is_right(page: Page) -> None:
    articles = page.evaluate(
        """() => [...document.querySelectorAll(".mistake")].map(article => {
            const said = () => [...article.querySelectorAll(".said")].filter(one => one.checkVisibility());
            const before = said().length;
            return [article.querySelector(".guess input").name, before,
                [...article.querySelectorAll(".guess label")].map(label => {
                    const text = label.innerText.trim();
                    label.click();
                    const found = said();
                    return [text, found.map(one => one.innerText.trim()), found.every(one => label.contains(one))];
                })];
        })"""
    )
    assert len(articles) > 5
    for name, before, guesses in articles:
        made = CATALOGUE[name.removeprefix("guess-")].made
        assert before == 0
        assert len({text for text, _, _ in guesses}) == len(guesses) >= 3
        assert [text for text, _, _ in guesses].count(made) == 1
        for text, (words,), beside in guesses:
            assert beside
            assert words.startswith("Right" if text == made else "No")
    # Each article has its own guess.
    assert page.locator(".guess input:checked").count() == len(articles)


def test_a_guess_is_made_by_mouse(page: Page) -> None:
    article = page.locator(".mistake").nth(2)
    assert said(article) == []
    article.locator("label:has(.is-wrong)").first.click()
    assert said(article) == ["wrong"]
    article.locator("label:has(.is-right)").click()
    assert said(article) == ["right"]
    assert page.locator(".said:visible").count() == 1


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_the_answer_shows_the_edit(page: Page) -> None:
    for n, article in enumerate(page.locator(".mistake").all()):
        name = article.locator(".guess input").first.get_attribute("name")
        assert name is not None
        fault = CATALOGUE[name.removeprefix("guess-")]
        answer = article.locator("details").last
        if n < 2:
            assert not answer.locator("pre").is_visible()
        answer.locator("summary").click()
        assert answer.locator("pre").is_visible()
        text = answer.inner_text()
        assert fault.made in text
        assert f"gradtwin break {fault.name}" in text
        ours, theirs = (
            Counter(map(squeezed, "".join(answer.locator(f"pre {kind}").all_text_contents()).splitlines()))
            for kind in ("del", "ins")
        )
        right = Counter(map(squeezed, inspect.getsource(import_module(fault.module)).splitlines()))
        wrong = Counter(map(squeezed, broken_source(fault).splitlines()))
        assert (ours - theirs, theirs - ours) == (right - wrong, wrong - right)


def test_a_sign_stands_before_each_edit_and_nowhere_twice(standing: Page) -> None:
    found = standing.locator(".mistake :is(del, ins)").evaluate_all(
        """all => all.filter(one => {
            const sign = getComputedStyle(one, "::before").content;
            return one.closest("pre") ? sign === "none" : sign !== "none" && /^[−+]/.test(one.textContent);
        }).map(one => one.parentElement.innerHTML.slice(0, 60))"""
    )
    assert found == []
