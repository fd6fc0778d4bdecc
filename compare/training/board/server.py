"""TensorBoard, opened on the answer: which run to show, whether its logs are whole, and the server itself."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import logging
import os
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urlsplit

from compare.machine.errors import UserError
from compare.training.board.events import DamagedLog, read_events
from compare.training.board.own_names import only_own_names

if TYPE_CHECKING:
    from argparse import Namespace
    from wsgiref.types import WSGIApplication

DIFFERENCE = "log10 difference/loss/train"
APART = "log10 difference/all weights"
PINNED = ("loss/train", "accuracy/test", DIFFERENCE, APART)
FOLDERS = ("scratch", "torch", "perturbed", "compare")  # of one run of ours; TensorBoard calls each of them a run
HOST = "127.0.0.1"  # this machine only
# Of a longer series TensorBoard keeps a random sample: by default 1,000 scalars, 100 histograms or texts, 10 images.
SAMPLES = {"scalars": 10_000, "histograms": 500, "images": 200, "text": 200, "pr_curves": 200}
# What the parts of TensorBoard that are not written in Python would print; and its own connection needs no proxy.
ENVIRONMENT = {
    "RUST_LOG": "off",
    "GRPC_VERBOSITY": "NONE",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "no_grpc_proxy": "localhost",
}


def page(port: int = 6006) -> str:
    """The address of TensorBoard's page that shows the answer at once: four pinned charts, nowhere smoothed."""
    return f"http://localhost:{port}{_pinned()}"


def _pinned() -> str:
    """Path, query and fragment of that page."""
    pins = [{"plugin": "scalars", "tag": tag} for tag in PINNED]
    query = urlencode({"pinnedCards": json.dumps(pins, separators=(",", ":")), "smoothing": 0}, quote_via=quote)
    return f"/?{query}#timeseries&_smoothingWeight=0"


def chosen_run(run: Path | None) -> Path:
    """The folder to show: `run`, which may hold several runs; without it, the run under runs/ that was last written to.

    Raises:
        UserError: if there is nothing to show.
    """
    folder = Path("runs") if run is None else run
    if run is not None and not run.exists():
        raise UserError(f"{run}: there is no such folder; gradtwin train makes one")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; give the folder of a run")
    unreadable: list[OSError] = []
    files = list(event_files(folder, unreadable.append))
    if not files and folder.exists() and unreadable:
        raise UserError(f"{unreadable[0].filename}: cannot be read ({unreadable[0].strerror})")
    if not files:
        raise UserError(f"{folder}: no runs there; gradtwin train makes one")
    if run is not None:
        return run
    newest = max(files, key=lambda path: path.stat().st_mtime).parent
    return newest.parent if newest.name in FOLDERS else newest


def event_files(folder: Path, unreadable: Callable[[OSError], None]) -> Iterator[Path]:
    """The log files in a folder and below; `unreadable` receives what happened to the folders that are left out."""
    seen = set[str]()
    for parent, below, names in os.walk(folder, onerror=unreadable, followlinks=True):
        if os.path.realpath(parent) in seen:  # a link in a circle
            below.clear()
            continue
        seen.add(os.path.realpath(parent))
        yield from (Path(parent, name) for name in sorted(names) if "tfevents" in name)


def complaints(folder: Path) -> Iterator[str]:
    """One line for each log file in `folder` that TensorBoard cannot show to its end, or folder that it cannot read."""
    unreadable: list[OSError] = []
    for path in event_files(folder, unreadable.append):
        try:
            damage = damage_of(path)
        except OSError as error:
            damage = f"cannot be read ({error.strerror}); nothing of it is shown"
        if damage:
            yield f"{path}: {damage}"
    for failure in unreadable:
        yield f"{failure.filename}: cannot be read ({failure.strerror}); nothing of it is shown"


def damage_of(path: Path) -> str:
    """What is damaged in a log file, and from where on TensorBoard shows nothing of it; empty if it is whole.

    Raises:
        OSError: as `read_events` does.
    """
    shown = "nothing of it is shown"
    try:
        for event in read_events(path):
            if event.HasField("summary"):
                shown = f"nothing after step {event.step:,} is shown"
    except DamagedLog as damage:
        return f"damaged in record {damage.args[0]:,}; {shown}"
    return ""


def require_free(port: int) -> None:
    """Make sure, before any work is done, that a server can listen on `port`; 0 stands for any that is free.

    Raises:
        UserError: if it cannot.
    """
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise refused(port, error) from None


def launch(folder: Path, port: int) -> str:
    """Start TensorBoard in a thread; the address to open. It is a quiet one, and takes the process's log with it.

    It answers to the names of this machine only, and its bare address leads to the same page. Its fast loader is used
    where there is one; it serves the same as the slow one.

    Raises:
        UserError: if it cannot listen on `port`.
    """
    logging.disable()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from tensorboard import program

    def serve(application: WSGIApplication, flags: Namespace) -> program.TensorBoardServer:
        return program.create_port_scanning_werkzeug_server(only_own_names(application, _pinned()), flags)

    board = program.TensorBoard(server_class=serve)
    board.configure(
        logdir=str(folder.resolve()),
        host=HOST,
        port=port,
        load_fast="auto",
        reload_interval=1.0,  # seconds until what a training has logged can be seen
        samples_per_plugin=SAMPLES,
        window_title=f"gradtwin {folder.resolve().name}",
    )
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # a note that the fast loader is new
            address = board.launch()
    except (SystemExit, program.TensorBoardServerException):  # somebody was faster
        raise refused(port, OSError(errno.EADDRINUSE, "")) from None
    return page(urlsplit(address).port or port)


def open_page(address: str, tell: Callable[[str], None]) -> None:
    """Open the page in a browser, in a thread: a browser in the terminal would keep the server waiting."""

    def attempt() -> None:
        if not webbrowser.open(address):
            tell("no browser was found; open the address yourself")

    threading.Thread(target=attempt, daemon=True).start()


def wait() -> None:
    """Let the server work until Ctrl-C, which is a KeyboardInterrupt."""
    threading.Event().wait()


def refused(port: int, error: OSError) -> UserError:
    """What is to be said when nobody can listen on `port`."""
    reason = os.strerror(error.errno or 0)
    return UserError(f"port {port}: {reason}; choose another one with --port, or --port 0 for one that is free")
