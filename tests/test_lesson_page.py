"""The lesson in a real browser: what it shows must be what torch and NumPy compute here, in the test."""

from __future__ import annotations

import base64
import inspect
import io
import itertools
import json
import math
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody gives it

import scratch
from compare.data import Dataset
from compare.faults.catalogue import CATALOGUE
from compare.faults.fault import broken_source
from compare.lesson.build import TITLES, Lesson
from compare.lesson.windows import certain
from scratch import Array

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

WIDTHS = (1280, 800, 375)
SCHEMES = ("light", "dark")
STRIDES, PADDINGS = (1, 2, 3), (0, 1, 2)
SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)
BLUR = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 16
TYPED = np.array([[0.1, -1.7, 3.3], [1e-5, 0, -2.25], [123.456, -0.7, 0.3]], np.float32)
BY_NAME: dict[str, Array] = {"Sobel, vertical edges": SOBEL, "Sobel, horizontal edges": SOBEL.T.copy(), "blur": BLUR}
YELLOW, NEUTRAL, RED, BLUE, OUTSIDE = (255, 208, 0), (247, 247, 247), (202, 0, 32), (5, 113, 176), (39, 64, 96)
TICK = 450  # milliseconds between two steps of play


# The browser, and what it must never do


@pytest.fixture(scope="module")
def html(lesson: Lesson) -> str:
    return lesson.html


@pytest.fixture(scope="module")
def held(html: str) -> dict[str, Any]:
    """What the page's script is given."""
    return json.loads(between(html, '<script type="application/json" id="data">', "</script>"))


def between(text: str, start: str, end: str) -> str:
    return text.split(start, 1)[1].split(end, 1)[0]


def with_data(html: str, held: dict[str, Any]) -> str:
    """The page with other data in it."""
    start = '<script type="application/json" id="data">'
    text = json.dumps(held).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return html.replace(start + between(html, start, "</script>"), start + text)


@pytest.fixture(scope="module")
def address(html: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(html, tmp_path_factory.mktemp("lesson"))


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
        page.set_default_timeout(10_000)
        page.goto(address)
        yield page, seen


def disallowed(page: Page, seen: list[str]) -> list[str]:
    page.evaluate("1")  # whatever is on its way has arrived before the answer
    itself = page.url.partition("#")[0][:100]
    return [line for line in seen if line != f"request: {itself}" and not line.startswith("request: data:")]


@pytest.fixture(scope="module")
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


# Reading the page


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


def lies_at(picture: Array, colour: Sequence[int]) -> tuple[int, int, int, int]:
    """The first row and column that hold a colour, and the last ones."""
    rows, columns = np.nonzero((picture == colour).all(axis=-1))
    return int(rows.min()), int(columns.min()), int(rows.max()), int(columns.max())


def place(page: Page) -> tuple[int, int]:
    row, column = text_of(page, "place").split(",")
    return int(row), int(column)


# What must be shown


@pytest.fixture(scope="module")
def images(best_digits: Dataset) -> Array:
    """The first test image of every class, float32 from 0 to 1: (K, H, W)."""
    places = [int(np.flatnonzero(best_digits.test_labels == k)[0]) for k in range(len(best_digits.classes))]
    return best_digits.test_images[places, 0].astype(np.float32) / np.float32(255)


def all_kernels(held: dict[str, Any]) -> Array:
    """Those of the page, stacked as the filters of one layer: (C_out, 1, kH, kW)."""
    return np.array([kernel["values"] for kernel in held["window"]["kernels"]], np.float32)[:, None]


def values_of(held: dict[str, Any], kernel: int) -> Array:
    """One of them: (kH, kW)."""
    return np.array(held["window"]["kernels"][kernel]["values"], np.float32)


def by_torch(image: Array, kernels: Array, stride: int, padding: int) -> Array:
    """The maps (C_out, H_out, W_out) of an image (H, W)."""
    x, weight = torch.from_numpy(image.copy())[None, None], torch.from_numpy(kernels)
    return F.conv2d(x, weight, stride=stride, padding=padding)[0].numpy()


def exactly(image: Array, kernels: Array, stride: int, padding: int) -> Array:
    """The same in float64: what the page draws."""
    return by_torch(image.astype(np.float64), kernels.astype(np.float64), stride, padding)


def by_scratch(image: Array, kernels: Array, stride: int, padding: int) -> Array:
    layer = scratch.Conv2d(1, len(kernels), kernels.shape[2:], stride, padding, bias=False)
    layer.load_state_dict({"weight": kernels})
    return layer(image[None, None])[0]


def under(image: Array, size: tuple[int, int], stride: int, padding: int, at: tuple[int, int]) -> Array:
    """The pixels under the window."""
    padded = np.pad(image, padding).astype(np.float64)
    row, column = at[0] * stride, at[1] * stride
    return padded[row : row + size[0], column : column + size[1]]


def bound_of(products: Array) -> float:
    """What two float32 sums of these products may be apart: chapter 7."""
    u, terms = 2.0**-24, products.size
    worst = terms * u / (1 - terms * u)
    return float(2 * min(worst, 4 * math.sqrt(terms) * u) * np.abs(products).sum())


def places_in(rows: int, columns: int) -> list[tuple[int, int]]:
    """Corners, the middle, and where a digit has an edge."""
    corners = [(0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)]
    return [*corners, (rows // 2, columns // 2), (rows // 3, 2 * columns // 5)]


def nearest(count: int, size: int, stride: int, pointer: float) -> int:
    """The window, out of `count` along one axis, whose centre is nearest to the pointer (in pixels)."""
    return min(range(count), key=lambda n: abs(n * stride + size / 2 - pointer))


# 1 nothing leaves the page


def test_a_policy_forbids_whatever_would_leave_the_page(browser: Browser, address: str) -> None:
    attempts = """async base => {
        const refused = [];
        document.addEventListener("securitypolicyviolation", event => refused.push(event.effectiveDirective));
        const add = (name, values) => document.body.append(Object.assign(document.createElement(name), values));
        const target = document.createElement("iframe");
        target.name = "target";
        document.body.append(target);
        add("img", { src: base + "/img" });
        add("script", { src: base + "/script" });
        add("link", { rel: "stylesheet", href: base + "/style" });
        add("iframe", { src: base + "/frame" });
        add("audio", { src: base + "/audio" });
        add("object", { data: base + "/object" });
        const form = Object.assign(document.createElement("form"), { action: base + "/form", target: "target" });
        document.body.append(form);
        form.submit();
        fetch(base + "/fetch").catch(() => {});
        try { new WebSocket(base.replace("http", "ws")); } catch {}
        navigator.sendBeacon(base + "/beacon", "x");
        const font = new FontFace("other", `url(${base}/font)`);
        font.load().catch(() => {});
        try { new Worker(base + "/worker"); } catch {}
        await new Promise(done => setTimeout(done, 700));
        return refused;
    }"""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                # Chromium may connect before it knows whether it may ask; what counts is what it sends.
                with connection, suppress(OSError):
                    connection.settimeout(0.2)
                    asked.extend(filter(None, [connection.recv(100)]))

        threading.Thread(target=listen, daemon=True).start()
        with browser.new_context() as context:
            page = context.new_page()
            page.goto(address)
            refused = page.evaluate(attempts, f"http://127.0.0.1:{server.getsockname()[1]}")
        server.shutdown(socket.SHUT_RDWR)
    assert asked == []
    expected = {"img-src", "script-src-elem", "style-src-elem", "frame-src", "media-src", "object-src", "form-action"}
    assert set(refused) >= expected | {"connect-src", "font-src"}


def test_the_policy_comes_before_whatever_could_ask(html: str) -> None:
    head = html[: html.index("Content-Security-Policy")]
    assert set(re.findall(r"<([a-z]+)", head)) <= {"html", "head", "meta"}


# 2 the moving window

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


def check_products(shown: dict[str, Any], pixels: Array, weights: Array) -> None:
    """The products, their exact sum and their bound are those of the window."""
    assert np.shape(shown["products"]) == weights.shape
    for text, x, w in zip(itertools.chain(*shown["products"]), pixels.flat, weights.flat, strict=True):
        found = re.fullmatch(r"(\S+) · (\S+) = (\S+)", text)
        assert found is not None, text
        for part, value in zip(found.groups(), (x, float(w), x * float(w)), strict=True):
            assert is_rounded(part, value, 4), text
    products = pixels * weights.astype(np.float64)
    assert number(shown["sum-exact"]) == pytest.approx(float(products.sum()), rel=1e-11, abs=1e-14)
    assert is_rounded(shown["sum-bound"], bound_of(products), 2)
    check_certain(shown["sum-both"], products)


def check_certain(text: str, products: Array) -> None:
    """The number that is shown for both libraries: the exact sum, with the digits that rounding leaves certain."""
    exact, unit = float(products.sum()), last_unit(products)
    assert abs(number(text) - exact) <= unit / 2 * (1 + 1e-9)
    assert unit == 0 or number(text) / unit == pytest.approx(round(number(text) / unit), abs=1e-6)


def last_unit(products: Array) -> float:
    """The smallest power of ten that is not below the bound: what one float32 sum may err in either direction."""
    bound = bound_of(products)
    return 10.0 ** math.ceil(math.log10(bound)) if bound else 0.0


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


def cells(picture: Array, shape: tuple[int, ...]) -> Array:
    """The colours (rows, columns, 3) in the middle of the cells of a drawn table."""
    side = picture.shape[0] // shape[0]
    assert picture.shape[:2] == (shape[0] * side, shape[1] * side)
    return picture[side // 2 :: side, side // 2 :: side]


def type_in(page: Page, weights: Array) -> None:
    inputs = page.locator("#weights input")
    assert inputs.count() == weights.size
    for n, value in enumerate(weights.flat):
        inputs.nth(n).fill(str(value))


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


def start(page: Page, held: dict[str, Any], stride: int = 1, padding: int = 0) -> tuple[int, int]:
    """The first kernel on a 3; returns the rows and columns of the map."""
    walk(page, 3, 0, stride, padding, [[0, 0]])
    rows, columns = text_of(page, "map-size").split("×")
    kernel = held["window"]["kernels"][0]["values"]
    size = held["window"]["size"] + 2 * padding
    assert (int(rows), int(columns)) == tuple((size - len(side)) // stride + 1 for side in (kernel, kernel[0]))
    return int(rows), int(columns)


def point_at(page: Page, identifier: str, row: float, column: float, side: int) -> None:
    """Move the mouse to a place on a canvas, in cells; `side` is how many cells are in a row of it."""
    target = page.locator(f"#{identifier}")
    target.scroll_into_view_if_needed()
    left, top, width, height = target.evaluate(
        """canvas => {
            const box = canvas.getBoundingClientRect();
            return [box.left + canvas.clientLeft, box.top + canvas.clientTop, canvas.clientWidth, canvas.clientHeight];
        }"""
    )
    page.mouse.move(left + column / side * width, top + row / side * height)


@pytest.mark.parametrize("width", [1280, 260])  # in the narrow one the canvases are drawn smaller
@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1), (3, 2)])
def test_the_mouse_moves_the_window(
    standing: Page, held: dict[str, Any], stride: int, padding: int, width: int
) -> None:
    page, size = standing, held["window"]["size"]
    page.set_viewport_size({"width": width, "height": 900})
    rows, columns = start(page, held, stride, padding)
    side = size + 2 * padding
    for row, column in [(14.4, 9.4), (2.3, 20.3), (0.4, 0.4), (side - 0.4, side - 0.4), (side - 0.4, 7.4)]:
        point_at(page, "picture", row, column, side)
        assert place(page) == (nearest(rows, 3, stride, row), nearest(columns, 3, stride, column))
    for row, column in [(0, 0), (rows - 1, columns - 1), (3, 5), (rows // 2, 1)]:
        point_at(page, "map", row + 0.4, column + 0.6, columns)
        assert place(page) == (row, column)
    # A click as well, and nothing beyond the edge.
    point_at(page, "map", 4.5, 2.5, columns)
    page.mouse.down()
    page.mouse.up()
    assert place(page) == (4, 2)
    page.set_viewport_size({"width": 1280, "height": 900})


@pytest.mark.parametrize("identifier", ["picture", "map"])
def test_the_arrow_keys_move_the_window_and_stop_at_the_edge(
    standing: Page, held: dict[str, Any], identifier: str
) -> None:
    page = standing
    rows, columns = start(page, held, stride=2)
    page.mouse.move(0, 0)
    page.locator(f"#{identifier}").focus()
    top = page.evaluate("scrollY")
    for key, expected in [
        ("ArrowRight", (0, 1)),
        ("ArrowDown", (1, 1)),
        ("ArrowDown", (2, 1)),
        ("ArrowLeft", (2, 0)),
        ("ArrowLeft", (2, 0)),
        ("ArrowUp", (1, 0)),
        ("ArrowUp", (0, 0)),
        ("ArrowUp", (0, 0)),
    ]:
        page.keyboard.press(key)
        assert place(page) == expected
    for _ in range(columns + 2):
        page.keyboard.press("ArrowRight")
    for _ in range(rows + 2):
        page.keyboard.press("ArrowDown")
    assert place(page) == (rows - 1, columns - 1)
    assert page.evaluate("document.activeElement.id") == identifier
    assert page.evaluate("scrollY") == top
    assert (page.locator("#row").input_value(), page.locator("#column").input_value()) == (
        str(rows - 1),
        str(columns - 1),
    )


def test_sliders_and_buttons_move_the_window_and_stop_at_the_edge(standing: Page, held: dict[str, Any]) -> None:
    page = standing
    rows, columns = start(page, held, stride=3, padding=1)
    for identifier, along in (("row", (1, 0)), ("column", (0, 1))):
        slider = page.locator(f"#{identifier}")
        start(page, held, stride=3, padding=1)
        slider.press("ArrowRight")
        slider.press("ArrowRight")
        assert place(page) == (2 * along[0], 2 * along[1])
        slider.press("End")
        slider.press("ArrowRight")
        assert place(page) == ((rows - 1) * along[0], (columns - 1) * along[1])
        slider.press("Home")
        assert place(page) == (0, 0)
    page.locator("#back").click()
    assert place(page) == (0, 0)
    page.locator("#forward").click()
    assert place(page) == (0, 1)
    walk(page, 3, 0, 3, 1, [[1, columns - 1]])
    page.locator("#forward").click()
    assert place(page) == (2, 0)
    page.locator("#back").click()
    assert place(page) == (1, columns - 1)
    walk(page, 3, 0, 3, 1, [[rows - 1, columns - 1]])
    page.locator("#forward").click()
    assert place(page) == (rows - 1, columns - 1)


def test_a_smaller_map_takes_the_window_along(standing: Page, held: dict[str, Any]) -> None:
    walk(standing, 3, 0, 1, 2, [[999, 999]])
    assert place(standing) == (29, 29)
    for stride, padding in ((1, 0), (2, 0), (3, 0)):
        standing.locator(f"#stride label:has([value='{stride}'])").click()
        standing.locator(f"#padding label:has([value='{padding}'])").click()
        rows, columns = (int(part) for part in text_of(standing, "map-size").split("×"))
        assert rows == (held["window"]["size"] - 3) // stride + 1
        assert place(standing) == (rows - 1, columns - 1)
        assert np.isfinite(number(text_of(standing, "sum-both")))


def test_play_moves_the_window_on_until_it_is_pressed_again(page: Page, held: dict[str, Any]) -> None:
    page.clock.install()
    rows, columns = start(page, held, stride=3)
    play = page.locator("#play")
    play.click()
    assert play.get_attribute("aria-pressed") == "true"
    assert place(page) == (0, 1)
    page.clock.run_for(TICK * columns)
    assert place(page) == (1, 1)
    play.click()
    assert play.get_attribute("aria-pressed") == "false"
    page.clock.run_for(5 * TICK)
    assert place(page) == (1, 1)
    walk(page, 3, 0, 3, 0, [[rows - 1, columns - 4]])
    play.click()
    page.clock.run_for(2 * TICK)
    assert place(page) == (rows - 1, columns - 1)
    assert play.get_attribute("aria-pressed") == "false"
    page.clock.run_for(5 * TICK)
    assert place(page) == (rows - 1, columns - 1)


@pytest.mark.parametrize(
    ("stride", "padding", "at"), [(1, 0, (6, 11)), (2, 1, (5, 5)), (3, 2, (0, 9)), (1, 2, (29, 29))]
)
def test_the_drawing_follows(
    standing: Page, images: Array, held: dict[str, Any], stride: int, padding: int, at: tuple[int, int]
) -> None:
    page, image = standing, images[7]
    values = exactly(image, all_kernels(held), stride, padding)[0]
    walk(page, 7, 0, stride, padding, [at])
    picture, drawn = canvas(page, "picture"), canvas(page, "map")
    side = image.shape[0] + 2 * padding
    # The picture: greys, and another colour for what is only padding.
    middles = cells(picture, (side, side))
    inside = middles[padding : side - padding, padding : side - padding]
    assert np.array_equal(inside, np.repeat(np.rint(image * 255)[..., None], 3, axis=-1))
    border = np.ones((side, side), bool)
    border[padding : side - padding, padding : side - padding] = False
    assert (middles[border] == OUTSIDE).all()
    # The map: red for positive, blue for negative, the stronger the greater.
    assert (values > 0).any()
    assert (values < 0).any()
    assert (values == 0).any()
    colours = cells(drawn, values.shape)
    assert (colours[values == 0] == NEUTRAL).all()
    share = (np.abs(values) / np.abs(values).max())[..., None]
    expected = np.where(values[..., None] > 0, RED, BLUE) * share + np.array(NEUTRAL) * (1 - share)
    assert np.abs(colours - expected).max() <= 1
    # Both outlines, two pixels of a line on either side of the edge or cut off by that of the canvas.
    for shown, cell, corner, length in (
        (picture, picture.shape[0] // side, (at[0] * stride, at[1] * stride), 3),
        (drawn, drawn.shape[0] // values.shape[0], at, 1),
    ):
        top, left, bottom, right = lies_at(shown, YELLOW)
        assert abs(top - corner[0] * cell) <= 2
        assert abs(left - corner[1] * cell) <= 2
        assert abs(bottom - (corner[0] + length) * cell) <= 2
        assert abs(right - (corner[1] + length) * cell) <= 2
        # On the edge it is yellow, inside and farther out it is not.
        row, column = (corner[0] + length // 2) * cell + cell // 2, corner[1] * cell
        assert tuple(shown[row, min(column, shown.shape[1] - 1)]) == YELLOW
        assert tuple(shown[row, column + cell // 2]) != YELLOW


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
        page.wait_for_timeout(500)  # Chromium brings the settings back some time after the page has begun
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


# 3 the way back

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


def by_autograd(padded: Array, weight: Array, g: Array, stride: int, padding: int) -> dict[str, Array]:
    """The gradients from torch for an input that has its padding already, of which only the inside is the input."""
    end = padded.shape[0] - padding
    x = torch.tensor(padded[padding:end, padding:end], dtype=torch.float32)[None, None].requires_grad_()
    around = F.pad(x, (padding,) * 4)
    around.retain_grad()
    w = torch.tensor(weight, dtype=torch.float32)[None, None].requires_grad_()
    b = torch.zeros(1, requires_grad=True)
    F.conv2d(around, w, b, stride).backward(torch.tensor(g, dtype=torch.float32)[None, None])
    assert x.grad is not None
    assert w.grad is not None
    assert b.grad is not None
    assert around.grad is not None
    inner = around.grad[0, 0, padding:end, padding:end]
    assert torch.equal(inner, x.grad[0, 0])
    found = {"back-dx": around.grad[0, 0], "back-dw": w.grad[0, 0], "back-db": b.grad[None]}
    return {name: tensor.numpy().astype(np.float64) for name, tensor in found.items()}


def figures(text: str) -> list[float]:
    """The numbers in a sentence."""
    return [number(found) for found in re.findall(r"\d+(?:\.\d+)?(?:e[+−]?\d+)?", text)]


def check_back(shown: dict[str, Any], stride: int, padding: int, only: Array) -> None:
    """The tables hold torch's gradients for the outputs that count, a mask (rows, columns)."""
    expected = by_autograd(shown["back-x"], shown["back-w"], shown["back-g"] * only, stride, padding)
    for name, values in expected.items():
        assert np.array_equal(shown[name], values), name


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
    page.clock.install()
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


# 4 the counter


def counted(page: Page) -> tuple[str, str]:
    """The parameters of both layers for what is in the inputs, from torch."""
    side, channels, units, kernel = (
        int(page.locator(f"#counter [name={name}]").input_value()) for name in ("side", "channels", "units", "kernel")
    )
    layers = (
        nn.Linear(side * side * channels, units, device="meta"),
        nn.Conv2d(channels, units, kernel, device="meta"),
    )
    dense, conv = (f"{sum(parameter.numel() for parameter in layer.parameters()):,}" for layer in layers)
    return dense, conv


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


# 5 tags

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


# 5 without scripts


@pytest.fixture
def still(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address, java_script_enabled=False) as page:
        yield page


def test_without_scripts_hovering_works(still: Page) -> None:
    check_hover(still, {"conv2d-1", "conv2d-3", "linear-2"})


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
    assert (tuple(drawn[at]) == RED) == (values[at] == np.abs(values).max()), "full colour is the greatest size"
    negative = values < -0.5 * values.max()
    assert (drawn[negative][:, 2] > drawn[negative][:, 0] + 50).all()
    black = images[3] == 0
    window = np.zeros(black.shape, bool)
    window[at[0] : at[0] + 3, at[1] : at[1] + 3] = True
    assert (picture[black & window, 0] > 50).all()
    assert (picture[black & ~window] == 0).all()


def picture_of(image: Locator) -> Array:
    """The pixels of a picture that is in its own address: (H, W, 3)."""
    address = image.get_attribute("src")
    assert address is not None
    return decoded(address)


def test_without_scripts_the_way_back_shows_right_numbers(still: Page) -> None:
    shown = {name: numbers(still, f"back-{name}") for name in ("x", "w", "g", "dx", "dw", "db")}
    assert np.array_equal(shown["w"], SOBEL)
    assert shown["g"].shape == (4, 4)
    check_back({f"back-{name}": values for name, values in shown.items()}, 1, 0, np.ones((4, 4)))


def test_without_scripts_and_with_them_the_start_is_the_same(still: Page, page: Page) -> None:
    (full,) = way_back(page, 0, 1, 0)
    for name in ("x", "w", "g", "dx", "dw", "db"):
        assert np.array_equal(numbers(still, f"back-{name}"), full[f"back-{name}"])
    for name in ("place", "map-size", "sum-both", "sum-difference", "sum-exact"):
        assert text_of(still, name) == text_of(page, name)
    assert number(text_of(still, "sum-bound")) == number(text_of(page, "sum-bound"))
    assert text_of(still, "products") == text_of(page, "products")


# 6 accessibility


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


def open_all(page: Page) -> None:
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")


def guess(page: Page) -> None:
    page.locator(".mistake input.is-wrong").first.check()
    page.locator(".mistake").nth(1).locator("input.is-right").check()


@pytest.mark.parametrize(("unfolded", "widths"), [(False, WIDTHS[:1]), (True, WIDTHS)])
def test_axe_finds_nothing_serious(page: Page, unfolded: bool, widths: Sequence[int]) -> None:
    if unfolded:
        open_all(page)
        guess(page)
    for width in widths:
        page.set_viewport_size({"width": width, "height": 900})
        assert violations(page, ALL_BUT_CONTRAST) == "", width


# Colours do not depend on the width, and their rule takes as long as all others together and more.
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


# 7 widths

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


# 8 by keyboard alone

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


def said(article: Locator) -> list[str]:
    """What is said of a guess: of which kind, and that it is said."""
    shown = article.locator(".said:visible")
    assert all(text.strip() for text in shown.all_inner_texts())
    return shown.evaluate_all("all => all.map(one => one.matches('.right') ? 'right' : 'wrong')")


# 9 the gallery


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


def test_a_sign_stands_before_each_edit_and_nowhere_twice(page: Page) -> None:
    found = page.locator(".mistake :is(del, ins)").evaluate_all(
        """all => all.filter(one => {
            const sign = getComputedStyle(one, "::before").content;
            return one.closest("pre") ? sign === "none" : sign !== "none" && /^[−+]/.test(one.textContent);
        }).map(one => one.parentElement.innerHTML.slice(0, 60))"""
    )
    assert found == []


# 10 on paper


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


# 11 size and form


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
