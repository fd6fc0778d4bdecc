"""The page: opened once for the tests that only read it or set all that they look at, and afresh for the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from compare.lesson.build import Lesson
from compare.machine.data import Dataset
from scratch import Array
from tests.lesson_page.reading import between, disallowed, opened, watched, written

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="session")
def html(lesson: Lesson) -> str:
    return lesson.html


@pytest.fixture(scope="session")
def held(html: str) -> dict[str, Any]:
    """What the page's script is given."""
    return json.loads(between(html, '<script type="application/json" id="data">', "</script>"))


@pytest.fixture(scope="session")
def address(html: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(html, tmp_path_factory.mktemp("lesson"))


@pytest.fixture(scope="session")
def shared(browser: Browser, address: str) -> Iterator[tuple[Page, list[str]]]:
    with watched(browser, address) as both:
        yield both


@pytest.fixture
def standing(shared: tuple[Page, list[str]]) -> Iterator[Page]:
    """One page for the tests that set everything that they look at."""
    page, seen = shared
    yield page
    assert disallowed(page, seen) == []
    seen.clear()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address) as page:
        yield page


@pytest.fixture(scope="session")
def still(browser: Browser, address: str) -> Iterator[Page]:
    """The page where no script runs, so that nobody can change it."""
    with opened(browser, address, java_script_enabled=False) as page:
        yield page


@pytest.fixture(scope="session")
def images(best_digits: Dataset) -> Array:
    """The first test image of every class, float32 from 0 to 1: (K, H, W)."""
    places = [int(np.flatnonzero(best_digits.test_labels == k)[0]) for k in range(len(best_digits.classes))]
    return best_digits.test_images[places, 0].astype(np.float32) / np.float32(255)
