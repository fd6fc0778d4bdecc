"""Opening the page of the lesson in a browser, reading it and setting it."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from scratch import Array

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

WIDTHS = (1280, 800, 375)
STRIDES, PADDINGS = (1, 2, 3), (0, 1, 2)
SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)
YELLOW, NEUTRAL, RED, BLUE, OUTSIDE = (255, 208, 0), (247, 247, 247), (202, 0, 32), (5, 113, 176), (39, 64, 96)
TICK = 450  # milliseconds between two steps of play
PATIENCE = 120_000  # milliseconds until what a browser does not do counts as not done; a busy machine may take long


def stop_the_clock(page: Page) -> None:
    """From here on time passes only as a test lets it."""
    page.clock.install(time=0)
    page.clock.pause_at(1000)


def between(text: str, start: str, end: str) -> str:
    return text.split(start, 1)[1].split(end, 1)[0]


def with_data(html: str, held: dict[str, Any]) -> str:
    """The page with other data in it."""
    start = '<script type="application/json" id="data">'
    text = json.dumps(held).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return html.replace(start + between(html, start, "</script>"), start + text)


def written(html: str, folder: Path) -> str:
    path = folder / "lesson.html"
    path.write_text(html, encoding="utf-8")
    return path.as_uri()


@contextmanager
def opened(browser: Browser, address: str, **options: Any) -> Iterator[Page]:
    """The page in a window of its own; at the end nothing must have been asked for or complained about."""
    with watched(browser, address, **options) as (page, seen):
        yield page
        assert disallowed(page, seen) == []


@contextmanager
def watched(browser: Browser, address: str, **options: Any) -> Iterator[tuple[Page, list[str]]]:
    """The page, and what it asks for or says beside itself."""
    seen: list[str] = []
    options = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | options
    with browser.new_context(**options) as context:
        context.on("console", lambda message: seen.append(f"console: {message.text}"))
        context.on("weberror", lambda error: seen.append(f"error: {error.error}"))
        context.on("request", lambda request: seen.append(f"request: {request.url[:100]}"))
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        yield page, seen


def disallowed(page: Page, seen: list[str]) -> list[str]:
    page.evaluate("1")  # whatever is on its way has arrived before the answer
    itself = page.url.partition("#")[0][:100]
    return [line for line in seen if line != f"request: {itself}" and not line.startswith("request: data:")]


def number(text: str) -> float:
    return float(text.replace("−", "-"))


def is_rounded(text: str, value: float, digits: int) -> bool:
    """Whether a text is a number rounded to so many digits."""
    if value == 0:
        return text == "0"
    place = math.floor(math.log10(abs(value))) - digits + 1
    return abs(number(text) - value) <= 0.5001 * 10.0**place + 1e-15 * abs(value)


def text_of(page: Page, identifier: str) -> str:
    return page.locator(f"#{identifier}").inner_text()


def numbers(page: Page, identifier: str) -> Array:
    """A table of numbers."""
    rows = page.evaluate(
        "id => [...document.getElementById(id).rows].map(row => [...row.cells].map(cell => cell.textContent))",
        identifier,
    )
    return np.array([[number(text) for text in row] for row in rows])


def canvas(page: Page, identifier: str) -> Array:
    """The picture on a canvas: (H, W, 3)."""
    address = page.evaluate("id => document.getElementById(id).toDataURL()", identifier)
    return decoded(address)


def decoded(address: str) -> Array:
    """The pixels of a picture that is in its own address: (H, W, 3)."""
    data = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")).astype(int)
    assert (picture[..., 3] == 255).all()
    return picture[..., :3]


def picture_of(image: Locator) -> Array:
    """The pixels of a picture that is in its own address: (H, W, 3)."""
    address = image.get_attribute("src")
    assert address is not None
    return decoded(address)


def cells(picture: Array, shape: tuple[int, ...]) -> Array:
    """The colours (rows, columns, 3) in the middle of the cells of a drawn table."""
    side = picture.shape[0] // shape[0]
    assert picture.shape[:2] == (shape[0] * side, shape[1] * side)
    return picture[side // 2 :: side, side // 2 :: side]


def place(page: Page) -> tuple[int, int]:
    row, column = text_of(page, "place").split(",")
    return int(row), int(column)


def figures(text: str) -> list[float]:
    """The numbers in a sentence."""
    return [number(found) for found in re.findall(r"\d+(?:\.\d+)?(?:e[+−]?\d+)?", text)]


def open_all(page: Page) -> None:
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")


def said(article: Locator) -> list[str]:
    """What is said of a guess: of which kind, and that it is said."""
    shown = article.locator(".said:visible")
    assert all(text.strip() for text in shown.all_inner_texts())
    return shown.evaluate_all("all => all.map(one => one.matches('.right') ? 'right' : 'wrong')")


# Sets the window as a reader would, and reads what is shown at each place.
WALK = """([settings, places]) => {
    const byId = id => document.getElementById(id), text = id => byId(id).textContent;
    for (const name of ["digit", "stride", "padding"]) {
        const radio = document.querySelector(`input[name="${name}"][value="${settings[name]}"]`);
        if (!radio.checked) radio.click();
    }
    if (byId("kernel").value !== String(settings.kernel)) {
        byId("kernel").value = settings.kernel;
        byId("kernel").dispatchEvent(new Event("change", { bubbles: true }));
    }
    const slide = (id, value) => {
        byId(id).value = value;
        byId(id).dispatchEvent(new Event("input", { bubbles: true }));
    };
    return places.map(([row, column]) => {
        slide("row", row);
        slide("column", column);
        const shown = Object.fromEntries(
            ["place", "map-size", "picture-size", "sum-both", "sum-difference", "sum-bound", "sum-exact"]
                .map(id => [id, text(id)]));
        shown.products = [...byId("products").rows].map(row => [...row.cells].map(cell => cell.textContent));
        shown.most = [byId("row").max, byId("column").max];
        return shown;
    });
}"""


def walk(page: Page, digit: int, kernel: int | str, stride: int, padding: int, places: Any) -> list[dict[str, Any]]:
    settings = {"digit": digit, "kernel": kernel, "stride": stride, "padding": padding}
    return page.evaluate(WALK, [settings, places])


def start(page: Page, held: dict[str, Any], stride: int = 1, padding: int = 0) -> tuple[int, int]:
    """The first kernel on a 3; returns the rows and columns of the map."""
    walk(page, 3, 0, stride, padding, [[0, 0]])
    rows, columns = text_of(page, "map-size").split("×")
    kernel = held["window"]["kernels"][0]["values"]
    size = held["window"]["size"] + 2 * padding
    assert (int(rows), int(columns)) == tuple((size - len(side)) // stride + 1 for side in (kernel, kernel[0]))
    return int(rows), int(columns)


BACK = """([kernel, stride, padding, mode, outputs]) => {
    const byId = id => document.getElementById(id);
    const table = id => [...byId(id).rows].map(row => [...row.cells].map(cell => cell.textContent));
    const classes = id => [...byId(id).rows].map(row => [...row.cells].map(cell => cell.className));
    for (const [name, value] of [["back-stride", stride], ["back-padding", padding], ["back-mode", mode]]) {
        const radio = document.querySelector(`input[name="${name}"][value="${value}"]`);
        if (!radio.checked) radio.click();
    }
    if (byId("back-kernel").value !== String(kernel)) {
        byId("back-kernel").value = kernel;
        byId("back-kernel").dispatchEvent(new Event("change", { bubbles: true }));
    }
    const names = ["back-x", "back-w", "back-g", "back-dx", "back-dw", "back-db"];
    return (outputs ?? [Number(byId("output").max)]).map(output => {
        byId("output").value = output;
        byId("output").dispatchEvent(new Event("input", { bubbles: true }));
        return Object.fromEntries([
            ...names.map(id => [id, table(id)]),
            ...names.map(id => [id + " class", classes(id)]),
            ["words", byId("back-words").textContent],
            ["verdict", byId("back-verdict").textContent],
            ["max", Number(byId("output").max)],
        ]);
    });
}"""


def way_back(
    page: Page, kernel: int, stride: int, padding: int, mode: str = "all", outputs: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """What chapter 3 shows; with all outputs, unless some are named."""
    shown = page.evaluate(BACK, [kernel, stride, padding, mode, outputs])
    for one in shown:
        for name in ("back-x", "back-w", "back-g", "back-dx", "back-dw", "back-db"):
            one[name] = np.array([[number(text) for text in row] for row in one[name]])
    return shown
