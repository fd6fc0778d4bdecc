"""What the tests share: fixed random examples, and the real MNIST where it lies on this machine."""

from __future__ import annotations

import dataclasses
import gc
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

# Tests run side by side: one thread for each process, and for those that it starts, unless a test asks for more.
# NumPy and torch read it when they are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from compare import cli
from compare.contained import spares
from compare.lesson.build import Lesson, build
from compare.lesson.history import train_small
from compare.machine import data
from compare.machine.data import Dataset
from compare.machine.processor import cores

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# The same examples in every run: a test that fails now and then is believed by nobody.
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("fixed")

# A test that looks at what is running or lying about is not to see what another one has prepared.
spares.enabled = False


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """The folder of the official MNIST files; where there are none, the tests that need them skip, visibly."""
    folder = data.data_folder()
    if data.find_mnist(folder) is None:
        pytest.skip(f"MNIST is not in {folder}: set GRADTWIN_DATA to test on it")
    return folder


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return data.load("digits")


@pytest.fixture(scope="session")
def few(digits: Dataset) -> Dataset:
    """200 images to learn and 100 to test: enough for 4 steps of 64, the last one of 8."""
    return dataclasses.replace(
        digits,
        train_images=digits.train_images[:200],
        train_labels=digits.train_labels[:200],
        test_images=digits.test_images[:100],
        test_labels=digits.test_labels[:100],
    )


@pytest.fixture(scope="session")
def best_digits(digits: Dataset) -> Dataset:
    """MNIST where it is there, else the embedded digits."""
    return data.load("mnist") if data.find_mnist(data.data_folder()) else digits


@pytest.fixture(scope="session")
def lesson(best_digits: Dataset) -> Lesson:
    """The page, with a network that was trained for one epoch."""
    return build(train_small("cnn", best_digits, epochs=1))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real browser, one for each process of tests; where there is none, they skip, visibly."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("neither Chromium nor Chrome is on the path")
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu", *quiet])
        yield browser
        browser.close()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Three processes for two cores, as tests wait for processes and browsers too; at most 4, each takes 1 GB."""
    return min(4, cores() + cores() // 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is long comes first, so that nothing long is left to one process when the others are done.

    Then what looks at the lesson, which each process would build for itself: side by side in the list, it goes to one.
    """

    def order(item: pytest.Item) -> tuple[bool, bool]:
        return item.get_closest_marker("long") is None, "lesson" not in getattr(item, "fixturenames", ())

    items.sort(key=order)


@pytest.fixture(autouse=True)
def _same_conditions() -> Iterator[None]:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.manual_seed(0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores Ctrl-C
    yield
    signal.signal(signal.SIGINT, before)


@dataclass
class Outcome:
    status: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def gradtwin(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run the command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(cli.console, "width", 200)  # the console keeps the COLUMNS that it was made with

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["gradtwin", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return Outcome(left.value.code, captured.out, captured.err)

    return run


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays to the end: torch, and thousands of tests."""
    gc.collect()
    gc.freeze()
