"""What is read from files: regular files of a limited size only, and checkpoints whose every field is right."""

from __future__ import annotations

import copy
import gzip
import json
import os
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from compare.machine import files
from compare.machine.data import Dataset
from compare.machine.errors import UserError, brief
from compare.machine.plain import MaybeInfinite, require_kind
from compare.pairs import weights
from compare.training.board.events import DamagedLog, read_events
from compare.training.board.server import damage_of
from compare.training.checkpoint import BEST, LAST, Checkpoint, load_checkpoint, save_checkpoint
from compare.training.lockstep import Step
from compare.training.result import RunResult
from compare.training.run import run_twins
from compare.training.settings import Settings
from compare.training.twins import Twins
from compare.verify import trained
from scratch import IDXError, load_mnist, read_idx
from scratch.data import NAMES
from tests.conftest import Run
from tests.fuzz.readers import idx

MEGABYTE = 1 << 20
READERS: dict[str, Callable[[Path], object]] = {
    "IDX": lambda path: read_idx(path, 3),
    "weights": weights.load_weights,
    "checkpoint": load_checkpoint,
    "log": damage_of,
}
Change = Callable[[dict[str, Any], dict[str, Any]], None]


@contextmanager
def little_memory(most: int = 8 * MEGABYTE) -> Iterator[None]:
    """Fails if what is done within takes more memory at some time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


# Regular files only


@pytest.mark.timeout(60)
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_pipe_a_device_and_a_folder_are_refused_at_once(
    tmp_path: Path, read: Callable[[Path], object], suffix: str
) -> None:
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"zero{suffix}").symlink_to("/dev/zero")
    (tmp_path / f"folder{suffix}").mkdir()
    reasons = {"pipe": "not a regular file", "zero": "not a regular file", "folder": "Is a directory"}
    for name, reason in reasons.items():
        with little_memory(), pytest.raises((UserError, IDXError, OSError), match=reason) as refused:
            read(tmp_path / f"{name}{suffix}")
        assert "\n" not in str(refused.value)


@pytest.mark.timeout(60)
def test_the_command_refuses_a_pipe_in_one_line(gradtwin: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    outcome = gradtwin("train", "--weights", "pipe", "--dataset", "digits")
    said = "gradtwin: pipe: cannot be read (not a regular file); give a file of weights that is whole\n"
    assert (outcome.status, outcome.out, outcome.err) == (2, "", said)


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    assert files.read_bytes(tmp_path / "link", 3) == b"abc"


# Sizes


@pytest.mark.parametrize("read", [weights.load_weights, load_checkpoint])
def test_a_file_with_holes_is_refused_by_its_size(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 40)
    with little_memory(), pytest.raises(UserError, match=r"1,099,511,627,776 bytes, at most 268,435,456 are read"):
        read(tmp_path / "file")


def test_a_header_that_is_too_long_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    content = (1 << 25).to_bytes(8, "little") + b"{" + b" " * (1 << 25)
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UserError, match=r"a header of 33,554,432 bytes, at most 4,194,304 are read"):
        weights.load_weights(tmp_path / "file")


def test_a_file_that_grows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert files.read_bytes(tmp_path / "file", 3) == b"abc"
    with pytest.raises(OSError, match="3 bytes, at most 2 are read"):
        files.read_bytes(tmp_path / "file", 2)
    with pytest.raises(OSError, match="its size changes while it is read"):
        files.read_bytes(Path("/proc/self/status"), 100)  # has size 0, and content


def four_files(folder: Path, **changed: bytes) -> Path:
    """A folder of four IDX files that belong together, some of them gzipped and of other content."""
    for kind, name in NAMES.items():
        array = np.zeros((2, 28, 28) if "images" in kind else 2, np.uint8)
        if kind in changed:
            (folder / f"{name}.gz").write_bytes(changed[kind])
        else:
            (folder / name).write_bytes(idx(array))
    return folder


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 32768, 32768), "more than the 1,073,741,824 bytes that are read; take fewer images"),
        ((2, 8192, 8192), "images are 8192x8192, the models need 28x28; scale or pad them to that"),
        ((100_000, 28, 28), "holds 100000 images but .* 2 labels; take both from the same source"),
    ],
)
def test_a_gzip_bomb_is_refused_by_its_header(tmp_path: Path, shape: tuple[int, ...], message: str) -> None:
    header = bytes([0, 0, 8, 3]) + np.array(shape, ">u4").tobytes()
    bomb = gzip.compress(header + bytes(64 * MEGABYTE), 1)
    folder = four_files(tmp_path, train_images=bomb)
    with little_memory(), pytest.raises(IDXError, match=message):
        load_mnist(folder, size=(28, 28))


def test_a_gzip_file_is_unpacked_no_further_than_its_header_announces(tmp_path: Path) -> None:
    bomb = gzip.compress(idx(np.zeros((2, 28, 28), np.uint8)) + bytes(64 * MEGABYTE), 1)
    folder = four_files(tmp_path, train_images=bomb)
    with little_memory(), pytest.raises(IDXError, match="the file holds more; fetch it again"):
        load_mnist(folder, size=(28, 28))


# Plain values


class TestKinds:
    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            (int, 3), (float, 3), (float, 0.5), (MaybeInfinite, float("inf")), (str, ""), (bool, True),
            (int | None, None), (list[int], [1, 2]), (dict[str, float], {"a": 1.0}), (dict[str, Any], {"a": [None]}),
        ],
    )  # fmt: skip
    def test_what_is_right_passes(self, kind: Any, value: Any) -> None:
        require_kind(value, kind, "x")

    @pytest.mark.parametrize(
        ("kind", "value", "message"),
        [
            (int, True, "x must be a whole number of 64 bits, got True"),
            (int, 1.0, "x must be a whole number of 64 bits, got 1.0"),
            (int, 2**63, "x must be a whole number of 64 bits, got 9223372036854775808"),
            (float, float("nan"), "x must be a finite number, got nan"),
            (float, float("inf"), "x must be a finite number, got inf"),
            pytest.param(float, 10**400, f"x must be a finite number, got 1{'0' * 199}...", id="no float"),
            (float, "1", "x must be a finite number, got '1'"),
            (MaybeInfinite, float("nan"), "x must be a number, got nan"),
            pytest.param(MaybeInfinite, 10**400, f"x must be a number, got 1{'0' * 199}...", id="no float either"),
            (bool, 1, "x must be true or false, got 1"),
            (str, None, "x must be text, got None"),
            (str, "\0", r"x must be text, got '\x00'"),
            (str, "\ud800", r"x must be text, got '\ud800'"),
            (int | None, "", "x must be a whole number of 64 bits, got ''"),
            (list[int], [1, None], "x[1] must be a whole number of 64 bits, got None"),
            (list[int], {}, "x must be a list, got {}"),
            (dict[str, float], {"a": None}, "x.a must be a finite number, got None"),
            (dict[str, float], [], "x must be an object, got []"),
            (Settings, [], "x must be an object, got []"),
        ],
    )
    def test_what_is_wrong_is_named_with_its_place(self, kind: Any, value: Any, message: str) -> None:
        with pytest.raises(ValueError, match="x") as refused:
            require_kind(value, kind, "x")
        assert str(refused.value) == message


def test_text_of_others_is_short_and_on_one_line() -> None:
    assert brief("a\nb\x1b[31m é") == r"a\nb\x1b[31m é"
    assert brief("x" * 201) == "x" * 200 + "..."
    assert len(brief("\0" * 1000)) == 203


# Checkpoints that are altered, and signed anew


@pytest.fixture(scope="module")
def runs(few: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run that was stopped within an epoch, and one with Adam that is finished."""
    folder = tmp_path_factory.mktemp("runs")

    def stop(event: Any) -> None:
        if isinstance(event, Step) and event.number == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(trained, "IMAGES", 4)
        twins = Twins(Settings(epochs=2, checkpoint_every=1))
        with pytest.raises(KeyboardInterrupt):
            run_twins(twins, few, folder / "stopped", lambda _: None, stop)
        twins = Twins(Settings(epochs=1, optimizer="adam"))
        run_twins(twins, few, folder / "finished", lambda _: None, lambda _: None)
    return {name: folder / name for name in ("stopped", "finished")}


def place(record: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    """What holds the field at a path such as "progress.last", and its name there."""
    *above, name = path.split(".")
    for each in above:
        record = record[each]
    return record, name


def put(path: str, value: Any, *more: str) -> Change:
    """Set the field at this path, and at more of them."""

    def change(record: dict[str, Any], _: dict[str, Any]) -> None:
        for each in (path, *more):
            held, name = place(record, each)
            held[name] = value

    return change


def drop(path: str) -> Change:
    def change(record: dict[str, Any], _: dict[str, Any]) -> None:
        held, name = place(record, path)
        del held[name]

    return change


def tensor(name: str, edit: Callable[[Any], Any]) -> Change:
    """Replace a tensor by what `edit` makes of it; drop it where that is None."""

    def change(_: dict[str, Any], tensors: dict[str, Any]) -> None:
        edited = edit(tensors.pop(name))
        if edited is not None:
            tensors[name] = edited

    return change


def holding(value: float) -> Callable[[Any], Any]:
    def edit(array: Any) -> Any:
        array = array.copy()
        array.flat[0] = value
        return array

    return edit


MOMENTUM, SECOND, COUNT = "torch/optimizer/0.momentum_buffer", "torch/optimizer/0.exp_avg_sq", "torch/optimizer/0.step"
ALTERED: dict[str, tuple[str, Change, str]] = {
    "no data": ("stopped", drop("data"), "record.data is missing"),
    "no board": ("stopped", drop("board"), "record.board is missing"),
    "no findings": ("stopped", drop("findings"), "record.findings is missing"),
    "no share": ("stopped", drop("findings.share"), "record.findings.share is missing"),
    "no last epoch": ("stopped", drop("progress.last"), "record.progress.last is missing"),
    "last is null": ("stopped", put("progress.last", None), "record.progress.last is missing"),
    "last of another epoch": ("stopped", put("progress.last.number", 1), "last must be of the epoch before"),
    "last at another step": ("stopped", put("progress.last.step", 1), "last must end where this epoch began"),
    "something more": ("stopped", put("colour", "blue"), "record.colour is unknown"),
    "a log elsewhere": ("stopped", put("board.files", {"../x": 3}), r"board.files: \.\./x is no log of a run"),
    "data as text": ("stopped", put("data", "digits"), "record.data must be an object, got 'digits'"),
    "a path with NUL": ("stopped", put("data.data_dir", "\0"), r"record.data.data_dir must be text, got '\\x00'"),
    "findings as a list": ("stopped", put("findings", []), r"record.findings must be an object, got \[\]"),
    "a step of true": ("stopped", put("progress.step", True), "step must be a whole number of 64 bits, got True"),
    "a huge step": ("finished", put("progress.step", 10**400), "progress.step must be a whole number of 64 bits"),
    "step 1": ("stopped", put("progress.step", 1), "last must end where this epoch began"),
    "another step throughout": (
        "finished",
        put("progress.step", 5, "progress.last.step", "board.step"),
        "is not the number of steps, 5",
    ),
    "done without losses": ("stopped", put("progress.loss", {}), "record.progress.loss must have"),
    "a NaN loss": ("stopped", put("progress.loss.torch", float("nan")), "loss.torch must be a finite number, got nan"),
    "an infinite best": ("stopped", put("best", float("inf")), "record.best must be a finite number, got inf"),
    "best of 2": ("stopped", put("best", 2), "best must be from -1 to 1"),
    "an order that is none": ("stopped", put("progress.order", {}), "record.progress.order is no state of a generator"),
    "no images in a sum": ("stopped", put("board.recent.torch.images", 0), "record.board.recent must be above 0"),
    "pictures to come": ("finished", put("board.pictured", 99), "record.board.pictured is out of range"),
    "a long name of a model": ("stopped", put("settings.model", "x" * 3000), f"model '{'x' * 199}... is unknown"),
    "a share of 400 digits": ("stopped", put("findings.share", 10**400), "findings.share must be a number, got 1"),
    "an unknown model": ("stopped", put("settings.model", "vgg"), "model 'vgg' is unknown"),
    "a learning rate of text": ("stopped", put("settings.lr", "0.1"), "record.settings.lr must be a finite number"),
    "a huge learning rate": ("stopped", put("settings.lr", 1e300), r"--lr gives a factor of 1e\+300, more than"),
    "one twin": ("stopped", put("settings.only", "torch"), "record.progress.loss must have"),
    "another optimizer": ("stopped", put("settings.optimizer", "adam"), "the optimizer of scratch: not the weights of"),
    "without momentum": ("stopped", put("settings.momentum", 0.0), r"missing \[\], unexpected \['0.momentum_buffer'"),
    "images of fewer steps": ("stopped", put("progress.images", 64), "progress.images are not those of its steps"),
    "fewer epochs": ("finished", put("settings.epochs", 0), "--epochs must be at least 1, got 0"),
    "larger batches": ("finished", put("settings.batch_size", 100), "record.progress.step is not that of its epoch"),
    "no momentum": ("stopped", tensor(MOMENTUM, lambda _: None), r"missing \['0.momentum_buffer'\]"),
    "momentum of another shape": ("stopped", tensor(MOMENTUM, np.ravel), r"0.momentum_buffer is float32\[72\]"),
    "momentum as one number": ("stopped", tensor(MOMENTUM, lambda _: np.array(2, np.float32)), r"float32\[\]"),
    "momentum of another type": ("stopped", tensor(MOMENTUM, np.float64), "0.momentum_buffer is float64"),
    "NaN momentum": ("stopped", tensor(MOMENTUM, holding(np.nan)), f"{MOMENTUM} holds NaN or infinity"),
    "NaN in a finished run": ("finished", tensor(SECOND, holding(np.nan)), f"{SECOND} holds NaN or infinity"),
    "another count": ("finished", tensor(COUNT, lambda count: count + 1), f"{COUNT} is not the number of steps, 4"),
    "weights of nobody": ("stopped", lambda _, tensors: tensors.update({"a": np.ones(1)}), "a belongs to none of"),
    "no weights": ("stopped", tensor("torch/model/fc1.bias", lambda _: None), r"missing \['fc1.bias'\]"),
}  # fmt: skip


def altered(run: Path, folder: Path, change: Change) -> Path:
    """A copy of a run whose last checkpoint is altered and signed anew."""
    shutil.copytree(run, folder)
    saved = load_checkpoint(folder / LAST)
    record, tensors = copy.deepcopy(dict(saved.record)), dict(saved.tensors)
    change(record, tensors)
    save_checkpoint(folder / LAST, Checkpoint(tensors, record))
    return folder


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def go_on(dataset: Dataset, folder: Path) -> RunResult:
    saved = load_checkpoint(folder / LAST)
    twins = Twins(Settings(**saved.record["settings"]))
    return run_twins(twins, dataset, folder, lambda _: None, lambda _: None, resumed=saved)


@pytest.mark.parametrize(("which", "change", "message"), ALTERED.values(), ids=ALTERED)
def test_an_altered_checkpoint_is_refused_in_one_line_and_nothing_is_changed(
    runs: dict[str, Path], few: Dataset, tmp_path: Path, which: str, change: Change, message: str
) -> None:
    folder = altered(runs[which], tmp_path / "run", change)
    before = contents(folder)
    with pytest.raises(UserError, match=message) as refused:
        go_on(few, folder)
    assert str(refused.value).isprintable()
    assert contents(folder) == before


@pytest.mark.parametrize("which", ["stopped", "finished"])
def test_a_checkpoint_that_is_signed_anew_as_it_was_is_gone_on_from(
    runs: dict[str, Path], few: Dataset, tmp_path: Path, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained, "IMAGES", 4)
    assert go_on(few, altered(runs[which], tmp_path / "run", lambda *_: None)).ok


@pytest.mark.parametrize("command", ["train --resume", "lesson --run"])
@pytest.mark.parametrize("name", ["no board", "NaN in a finished run"])
def test_the_commands_refuse_an_altered_checkpoint(
    runs: dict[str, Path], gradtwin: Run, tmp_path: Path, command: str, name: str
) -> None:
    which, change, message = ALTERED[name]
    altered(runs[which], tmp_path / "run", change)
    outcome = gradtwin(*command.split(), "run")
    assert (outcome.status, outcome.out) == (2, "")
    said = "no run can go on from it, it is altered, of another version, or diverged"
    assert outcome.err == f"gradtwin: run/{LAST}: {said} ({message}); go on from run/{BEST}\n"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("{", "Expecting property name"),
        ("[]", "record must be an object"),
        ("null", "record must be an object"),
        ("[" * 100_000, "maximum recursion depth"),
        ('{"format": [1]}', r"its format is \[1\], this version's is 1"),
        ('{"format": ' + "1" * 5000 + "}", "Exceeds the limit"),
    ],
    ids=["cut", "list", "null", "deep", "format", "digits"],
)
def test_a_record_that_is_no_object_is_refused(tmp_path: Path, record: str, reason: str) -> None:
    from compare.training.checkpoint import _digest

    content = safetensors.numpy.save({}, {"gradtwin": record, "digest": _digest({}, record)})
    (tmp_path / "c").write_bytes(content)
    with pytest.raises(UserError, match=reason) as refused:
        load_checkpoint(tmp_path / "c")
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("header", [{"__metadata__": None}, {}, {"__metadata__": {}}])
def test_a_file_without_metadata_is_no_checkpoint(tmp_path: Path, header: dict[str, Any]) -> None:
    text = json.dumps(header).encode()
    (tmp_path / "c").write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(UserError, match="c: a safetensors file, but not a checkpoint of gradtwin"):
        load_checkpoint(tmp_path / "c")


# Logs


def signed(length: int) -> bytes:
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    return length.to_bytes(8, "little") + masked_crc32c(length.to_bytes(8, "little")).to_bytes(4, "little")


def test_a_record_that_says_it_is_huge_takes_no_memory(tmp_path: Path) -> None:
    for length, damage in ((2**64 - 1, "damaged in record 1; nothing"), (2**28 + 1, "damaged"), (2**27, "")):
        (tmp_path / "events").write_bytes(signed(length) + b"1234")
        with little_memory():
            assert damage_of(tmp_path / "events").startswith(damage)


def test_data_that_are_no_event_end_a_log(tmp_path: Path) -> None:
    (tmp_path / "events").write_bytes(signed(0) + bytes(4) + signed(4) + b"\xff" * 8)
    events = read_events(tmp_path / "events")
    assert not next(events).HasField("summary")
    with pytest.raises(DamagedLog, match="2"):
        next(events)
