"""`gradtwin board`: what it refuses, what it says of broken logs, what TensorBoard serves, and what a browser shows."""

from __future__ import annotations

import contextlib
import errno
import http.client
import inspect
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from compare import cli
from compare.machine.data import Dataset
from compare.machine.errors import UserError
from compare.training.board import server
from compare.training.run import run_twins
from compare.training.settings import Settings
from compare.training.twins import Twins
from tests.conftest import Run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

STEPS = range(0, 300, 2)  # more than the 10 images and 100 texts that TensorBoard keeps unless it is told otherwise
HAS_FAST_LOADER = import_module("tensorboard_data_server").server_binary() is not None
PATIENCE = 120  # seconds, on a machine that is busy with other things


@dataclass
class Logged:
    """A run, and what must be seen of it in the browser."""

    folder: Path
    pinned: str  # the tag of one of the pinned cards
    curves: list[str]  # the runs that it shows
    category: str  # the first of the custom scalars, which is unfolded; its first chart shows the same runs
    charts: list[str]
    image: str
    text: str  # stands in the table
    apart: bool  # whether the two curves can be told apart by their colours


def write_run(folder: Path) -> None:
    """Logs as a training writes them; the curves of the two twins are apart, so that both can be seen."""
    generator = np.random.default_rng(0)
    for name, apart in (("scratch", 0.0), ("torch", 0.1)):
        with SummaryWriter(str(folder / name)) as writer:
            for step in STEPS:
                writer.add_scalar("loss/train", 2 * np.exp(-step / 100) + apart, step)
                writer.add_scalar("accuracy/test", 1 - np.exp(-step / 100) - apart, step)
    with SummaryWriter(str(folder / "compare")) as writer:
        writer.add_custom_scalars(
            {"both twins": {"training loss": ["Multiline", ["loss/train$"]], "test": ["Multiline", ["accuracy/test$"]]}}
        )
        for step in STEPS:
            writer.add_scalar(server.DIFFERENCE, -4 + generator.random(), step)
            writer.add_scalar(server.APART, -3 + generator.random(), step)
            writer.add_image("filters", generator.random((3, 16, 48)), step)
            writer.add_text("run", f"| setting | value |\n|---|---|\n| step | {step} |", step)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    folder = tmp_path_factory.mktemp("logs") / "run"
    write_run(folder)
    return Logged(
        folder,
        pinned="loss/train",
        curves=["scratch", "torch"],
        category="both twins",
        charts=["training loss", "test"],
        image="filters",
        text="setting",
        apart=True,
    )


@pytest.fixture
def copied(logged: Logged, tmp_path: Path) -> Path:
    """A copy of the run, to be spoiled."""
    return Path(shutil.copytree(logged.folder, tmp_path / "copied"))


def log_file(folder: Path) -> Path:
    (path,) = folder.glob("*tfevents*")
    return path


# What it refuses


def refused(gradtwin: Run, *arguments: object) -> str:
    outcome = gradtwin("board", *arguments)
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1
    return outcome.err


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_that_is_none(gradtwin: Run, logged: Logged, port: str) -> None:
    assert "--port" in refused(gradtwin, logged.folder, "--port", port)


def test_a_port_in_use(gradtwin: Run, logged: Logged) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = refused(gradtwin, logged.folder, "--port", port)
    assert message == (
        f"gradtwin: port {port}: Address already in use; "
        "choose another one with --port, or --port 0 for one that is free\n"
    )


def test_a_port_that_is_not_permitted(gradtwin: Run, logged: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(address: tuple[str, int]) -> socket.socket:
        raise PermissionError(errno.EACCES, f"Permission denied (while attempting to bind on address {address})")

    monkeypatch.setattr(socket, "create_server", forbid)
    assert "gradtwin: port 80: Permission denied; choose another" in refused(gradtwin, logged.folder, "--port", 80)


def test_a_run_that_is_none(gradtwin: Run, tmp_path: Path) -> None:
    assert refused(gradtwin, "nowhere") == "gradtwin: nowhere: there is no such folder; gradtwin train makes one\n"
    (tmp_path / "file").touch()
    assert refused(gradtwin, "file") == "gradtwin: file: is a file; give the folder of a run\n"
    (tmp_path / "empty").mkdir()
    assert refused(gradtwin, "empty") == "gradtwin: empty: no runs there; gradtwin train makes one\n"
    assert refused(gradtwin) == "gradtwin: runs: no runs there; gradtwin train makes one\n"
    (tmp_path / "runs").mkdir()
    assert refused(gradtwin) == "gradtwin: runs: no runs there; gradtwin train makes one\n"


# Which run


def test_the_newest_run_is_the_one_that_was_written_to_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for age, name in enumerate(["b/perturbed", "a/scratch", "c/compare", "others"]):
        path = tmp_path / "runs" / name / "events.out.tfevents.1.x"
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (0, 1000 - age))
    assert server.chosen_run(None) == Path("runs/b")
    os.utime(tmp_path / "runs/others/events.out.tfevents.1.x", (0, 2000))
    assert server.chosen_run(None) == Path("runs/others")
    assert server.chosen_run(Path("runs")) == Path("runs")


def test_links_in_a_circle_are_walked_once(copied: Path) -> None:
    before = len(list(server.event_files(copied, print)))
    (copied / "loop").symlink_to(copied)
    (copied / "again").symlink_to(copied / "scratch")
    assert len(list(server.event_files(copied, print))) == before == 3


def test_the_default_port_is_that_of_the_page() -> None:
    port = inspect.signature(cli.board).parameters["port"].default
    assert server.page() == server.page(port)
    assert f"localhost:{port}/?pinnedCards=" in server.page()
    assert server.page().endswith("&smoothing=0#timeseries&_smoothingWeight=0")


# Broken logs


def records(content: bytes) -> list[int]:
    """Where each record begins."""
    starts, start = list[int](), 0
    while start < len(content):
        starts.append(start)
        start += int.from_bytes(content[start : start + 8], "little") + 16
    return starts


def break_length(content: bytearray, start: int) -> bytearray:
    content[start] ^= 1
    return content


def break_data(content: bytearray, start: int) -> bytearray:
    content[start + 12 : start + 20] = b"\xff" * 8
    return content


def zero_the_rest(content: bytearray, start: int) -> bytearray:
    return content[:start] + bytes(4096)


@pytest.mark.parametrize("damage", [break_length, break_data, zero_the_rest])
def test_a_damaged_log_is_reported_in_one_line(copied: Path, damage: Callable[[bytearray, int], bytearray]) -> None:
    path = log_file(copied / "scratch")
    content = path.read_bytes()
    starts = records(content)
    number = next(number for number, start in enumerate(starts) if start > len(content) // 2)
    path.write_bytes(damage(bytearray(content), starts[number]))
    (line,) = server.complaints(copied)
    # The first record is the version of the format; then two scalars for each step.
    assert line == f"{path}: damaged in record {number + 1:,}; nothing after step {STEPS[(number - 2) // 2]} is shown"


def test_a_log_that_is_none_at_all(copied: Path) -> None:
    path = log_file(copied / "compare")
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    assert list(server.complaints(copied)) == [f"{path}: damaged in record 1; nothing of it is shown"]


@pytest.mark.parametrize("missing", [1, 5, 30])
def test_a_last_record_that_is_cut_off_is_no_damage(copied: Path, missing: int) -> None:
    path = log_file(copied / "torch")
    path.write_bytes(path.read_bytes()[:-missing])
    log_file(copied / "scratch").write_bytes(b"")
    assert list(server.complaints(copied)) == []


def test_a_log_that_cannot_be_read(copied: Path) -> None:
    path = copied / "torch" / "events.out.tfevents.2.x"
    path.symlink_to("nowhere")
    assert list(server.complaints(copied)) == [
        f"{path}: cannot be read (No such file or directory); nothing of it is shown"
    ]


def test_what_may_not_be_read(gradtwin: Run, copied: Path) -> None:
    file, folder = log_file(copied / "torch"), copied / "scratch"
    file.chmod(0)
    folder.chmod(0)
    try:
        if os.access(folder, os.R_OK):
            pytest.skip("root may read everything")
        assert list(server.complaints(copied)) == [
            f"{path}: cannot be read (Permission denied); nothing of it is shown" for path in (file, folder)
        ]
        assert f"path '{folder}' is not readable" in refused(gradtwin, folder)
        with pytest.raises(UserError, match=r"scratch: cannot be read \(Permission denied\)"):
            server.chosen_run(folder)
    finally:
        folder.chmod(0o700)


def test_the_checksums_of_the_data_are_left_alone(copied: Path) -> None:
    """They would take seconds, and TensorBoard leaves them alone as well."""
    path = log_file(copied / "compare")
    content = bytearray(path.read_bytes())
    for end in [*records(bytes(content))[1:], len(content)]:
        content[end - 1] ^= 1
    path.write_bytes(content)
    assert list(server.complaints(copied)) == []


# A server


@dataclass
class Served:
    """A running `gradtwin board`."""

    process: subprocess.Popen[str]
    address: str
    said: list[str]

    def ask(self, path: str, **query: object) -> Any:
        base = self.address.partition("?")[0]
        with urllib.request.urlopen(f"{base}data/{path}?{urlencode(query)}", timeout=PATIENCE) as answer:
            return json.loads(answer.read())

    @property
    def loads_fast(self) -> bool:
        """Whether TensorBoard's fast loader, a server of its own, reads the logs."""
        return str(self.ask("environment")["debug"]["data_provider"]).startswith("Grpc")

    def series(self, tag: str, run: str, plugin: str = "scalars") -> list[Any]:
        """What there is of a tag: of scalars, a time, a step and a value each."""
        which = {"sample": 0} if plugin == "images" else {}
        return list(self.ask(f"plugin/{plugin}/{plugin}", tag=tag, run=run, **which))

    def stop(self) -> tuple[int, str]:
        """Press Ctrl-C; the exit status, and what it still had to say."""
        self.process.send_signal(signal.SIGINT)
        out, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out


@contextmanager
def served(run: Path, *options: str, **environment: str) -> Iterator[Served]:
    """Serve a run on a free port; everything that is printed arrives in `said`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "compare", "board", str(run), "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | environment,
        # A shell's background job ignores Ctrl-C, and so would whatever it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    said = list[str]()
    try:
        assert process.stdout
        for line in process.stdout:
            said.append(line)
            if line == "Ctrl-C ends it\n":
                break
        addresses = re.findall(r"http://\S+", "".join(said))
        assert len(addresses) == 1, "".join(said)
        yield Served(process, addresses[0], said)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def board(logged: Logged) -> Iterator[Served]:
    """One server for all that only look at the run."""
    with served(logged.folder) as running:
        yield running


def eventually(question: Callable[[], bool]) -> None:
    """Ask until the answer is yes: TensorBoard reads the logs while it already serves."""
    end = time.monotonic() + PATIENCE
    while not question():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.1)


def request(board: Served, host: str | None, path: str = "/data/plugins_listing") -> tuple[int, str, bytes]:
    """Status, Location and content of the answer to a request with this Host header."""
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(board.address).port or 0, timeout=PATIENCE)
    connection.putrequest("GET", path, skip_host=True)
    if host is not None:
        connection.putheader("Host", host)
    connection.endheaders()
    with contextlib.closing(connection):
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location", ""), answer.read()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"])
def test_it_answers_to_its_own_names(board: Served, host: str) -> None:
    port = urlsplit(board.address).port
    for name in (f"{host}:{port}", f"{host}:16006", host):  # the second as through a tunnel
        status, _, content = request(board, name)
        assert status == 200
        assert "scalars" in json.loads(content)


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "evil.example:6006",
            "localhost.evil.example",
            "evil.example/localhost",
            "localhost:1@evil.example",
        ),
        *("127.0.0.1.nip.io", "0.0.0.0", "localhost.", "localhost, evil.example", "localhost:", "::1", "", None),
    ],
)
def test_it_answers_to_no_other_name(board: Served, host: str | None) -> None:
    for path in ("/data/plugins_listing", "/", "/data/logdir"):
        status, location, content = request(board, host, path)
        assert (status, location) == (403, "")
        assert content == b"only http://localhost, http://127.0.0.1 and http://[::1] are answered here\n"


def test_the_bare_address_leads_to_the_pinned_page(board: Served) -> None:
    port = urlsplit(board.address).port
    for path in ("/", ""):
        status, location, _ = request(board, f"127.0.0.1:{port}", path)
        assert (status, f"http://localhost:{port}{location}") == (302, board.address)
    for path in (location.partition("#")[0], "/?x=1"):
        status, _, content = request(board, f"localhost:{port}", path)
        assert status == 200
        assert b"<html" in content or b"\x1f\x8b" in content[:2]


@pytest.mark.parametrize("loader", ["fast", "slow"])
def test_everything_logged_is_served(logged: Logged, loader: str, request: pytest.FixtureRequest) -> None:
    if loader == "fast" and not HAS_FAST_LOADER:
        pytest.skip("TensorBoard has no fast loader on this platform")
    with ExitStack() as stack:
        if loader == "fast":
            board = request.getfixturevalue("board")
        else:
            board = stack.enter_context(served(logged.folder, TENSORBOARD_DATA_SERVER_BINARY="/nowhere"))
        assert board.loads_fast == (loader == "fast")
        eventually(lambda: len(board.ask("runs")) == 3)
        eventually(lambda: len(board.ask("plugin/timeseries/tags")["images"]["tagRunSampledInfo"]) == 1)
        listing = board.ask("plugins_listing")
        assert all(listing[name]["enabled"] for name in ("timeseries", "scalars", "custom_scalars", "images", "text"))
        scalars = board.ask("plugin/timeseries/tags")["scalars"]["runTagInfo"]
        assert {run: sorted(tags) for run, tags in scalars.items()} == {
            "scratch": ["accuracy/test", "loss/train"],
            "torch": ["accuracy/test", "loss/train"],
            "compare": [server.APART, server.DIFFERENCE],
        }
        (category,) = board.ask("plugin/custom_scalars/layout")["category"]
        assert category["title"] == "both twins"
        assert [chart["title"] for chart in category["chart"]] == ["training loss", "test"]
        assert [chart["multiline"]["tag"] for chart in category["chart"]] == [["loss/train$"], ["accuracy/test$"]]
        for run in ("scratch", "torch"):
            eventually(lambda run=run: len(board.series("loss/train", run)) == len(STEPS))  # type: ignore[misc]
        eventually(lambda: len(board.series("filters", "compare", "images")) == len(STEPS))
        eventually(lambda: len(board.series("run/text_summary", "compare", "text")) == len(STEPS))


def test_it_says_where_to_look_and_ends_quietly(logged: Logged) -> None:
    with served(logged.folder) as board:
        eventually(lambda: len(board.ask("runs")) == 3)
        port = int(re.findall(r"localhost:(\d+)/", board.address)[0])
        assert board.said == [
            f"logs:            {logged.folder}\n",
            f"open:            {server.page(port)}\n",
            "Ctrl-C ends it\n",
        ]
        assert board.stop() == (0, "")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_running_training_is_followed(copied: Path) -> None:
    with served(copied) as board:
        eventually(lambda: len(board.ask("runs")) == 3)
        with SummaryWriter(str(copied / "scratch")) as writer:
            writer.add_scalar("loss/train", 0.5, 1000)
        eventually(lambda: board.series("loss/train", "scratch")[-1][1:] == [1000, 0.5])


def test_broken_logs_and_proxies_are_no_reason_for_noise(copied: Path) -> None:
    path = log_file(copied / "torch")
    path.write_bytes(break_length(bytearray(path.read_bytes()), 0))
    with served(copied, http_proxy="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9") as board:
        assert board.loads_fast == HAS_FAST_LOADER
        eventually(lambda: len(board.ask("runs")) == 2)
        assert board.said[0] == f"{path}: damaged in record 1; nothing of it is shown\n"
        assert len(board.said) == 4
        assert board.stop() == (0, "")


def test_it_opens_the_page(logged: Logged, tmp_path: Path) -> None:
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}.part && mv {opened}.part {opened}\n')
    browser.chmod(0o755)
    with served(logged.folder, "--open", BROWSER=f"{browser} %s") as board:
        eventually(opened.exists)
        assert opened.read_text() == board.address
        assert board.stop() == (0, "")


# A browser


@dataclass
class Window:
    """A page of the browser that keeps what went wrong in it, and its pictures where they are wanted."""

    page: Page
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("response", lambda answer: self.errors.append(answer.url) if answer.status >= 400 else None)

    def keep(self, name: str) -> None:
        folder = os.environ.get("GRADTWIN_SCREENSHOTS")
        if folder:
            self.page.screenshot(path=Path(folder) / f"{name}.png", animations="disabled")


def drawn(picture: bytes, style: str) -> int:
    """How many pixels of a picture have the colour of a style, "background-color: rgb(66, 80, 102);"."""
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
    colour = np.array([int(part) for part in re.findall(r"\d+", style)])
    return int((np.abs(pixels - colour).max(axis=-1) < 12).sum())


def test_the_browser_shows_both_twins_in_one_chart(logged: Logged, board: Served, browser: Browser) -> None:
    with browser.new_page(viewport={"width": 1400, "height": 900}) as page:
        eventually(lambda: len(board.ask("runs")) == 3)
        look_at(page, board.address, logged)


@pytest.mark.long
def test_the_browser_shows_a_real_training(few: Dataset, tmp_path: Path, browser: Browser) -> None:
    folder = tmp_path / "run"
    run_twins(Twins(Settings(epochs=4, log_every=2)), few, folder, lambda _: None, lambda _: None)
    logged = Logged(
        folder,
        pinned="loss/train",
        curves=["scratch", "torch"],
        category="scratch and torch",
        charts=["training loss", "test loss", "training accuracy", "test accuracy", "images per second"],
        image="feature maps/1 conv1",
        text="share of its bound",
        apart=False,  # they lie on one another
    )
    with served(folder) as board, browser.new_page(viewport={"width": 1400, "height": 900}) as page:
        eventually(lambda: len(board.ask("runs")) == 4)
        look_at(page, board.address, logged)


def look_at(page: Page, address: str, logged: Logged) -> None:
    """Go through the pages of TensorBoard and see what was logged."""
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE * 1000)
    window = Window(page)
    page.goto(address)
    cards = page.locator("metrics-pinned-view scalar-card")
    expect(cards).to_have_count(len(server.PINNED))
    card = cards.filter(has=page.locator(f"[title='{logged.pinned}']"))
    rows = card.locator("tb-data-table-content-row")
    expect(rows).to_have_count(len(logged.curves))
    expect(rows).to_contain_text(logged.curves)
    styles = [row.locator("[style*=background-color]").get_attribute("style") or "" for row in rows.all()]
    seen = all if logged.apart else any
    eventually(lambda: seen(drawn(card.locator("canvas").screenshot(), style) > 100 for style in styles))
    expect(page.get_by_role("spinbutton", name="Smoothing")).to_have_value("0")
    window.keep("timeseries")

    show_tab(page, "Custom Scalars")
    category = page.locator("tf-custom-scalar-dashboard tf-category-paginated-view").first
    expect(category.locator(".category-name")).to_have_text(logged.category)
    expect(category.locator("tf-card-heading .heading-label.name")).to_have_text(logged.charts)
    expect(category.locator(".matches-text").first).to_have_text(f"Matches ({len(logged.curves)})")
    expect(category.locator(".line-plot path").first).to_be_attached()
    expect(page.locator("tf-custom-scalar-dashboard tf-smoothing-input input")).to_have_value("0")
    window.keep("custom-scalars")

    show_tab(page, "Images")
    image = page.locator("tf-image-loader").filter(has_text=logged.image).locator("img").first
    expect(image).to_be_visible()
    eventually(lambda: bool(image.evaluate("picture => picture.complete && picture.naturalWidth > 0")))
    window.keep("images")

    show_tab(page, "Text")
    expect(page.locator("tf-text-loader tf-markdown-view table").first).to_contain_text(logged.text)
    window.keep("text")
    assert window.errors == []


def show_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=re.compile(rf"^\s*{name}\s*$", re.IGNORECASE)).click()
