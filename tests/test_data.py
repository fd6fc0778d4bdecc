"""The IDX reader and the data sets: good files, every kind of bad one, and no data set for another in silence."""

from __future__ import annotations

import gzip
import hashlib
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.client import IncompleteRead
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision import datasets

import torch_ref
from compare.machine import data
from compare.machine.errors import UserError
from scratch import Array, IDXError, load_mnist, read_idx
from scratch.data import NAMES, QMNIST_NAMES
from tests.conftest import Run

TITLES = {"fashion-mnist": "Fashion-MNIST", "kmnist": "Kuzushiji-MNIST", "qmnist": "QMNIST"}
FOLDERS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST", "qmnist": "QMNIST"}
FILES = {"mnist": NAMES, "fashion-mnist": NAMES, "kmnist": NAMES, "qmnist": QMNIST_NAMES}


def idx(array: Array) -> bytes:
    """`array` (uint8 or int32) as the content of an IDX file."""
    header = bytes([0, 0, {1: 0x08, 4: 0x0C}[array.itemsize], array.ndim])
    return header + np.array(array.shape, ">u4").tobytes() + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_mnist(
    folder: Path, train: int = 6, test: int = 4, *, packed: bool = False, files: dict[str, str] = NAMES
) -> Path:
    """Four small files that belong together; every image is filled with its own number.

    QMNIST's labels are rows of eight numbers, of which the class is the first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", train), ("test", test)):
        images = np.arange(count, dtype=np.uint8)[:, None, None] + np.zeros((count, 28, 28), np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        if files is QMNIST_NAMES:
            labels = np.stack([labels.astype(np.int32), *np.full((7, count), 70000, np.int32)], axis=1)
        for name, array in ((f"{part}_images", images), (f"{part}_labels", labels)):
            content = idx(array)
            path = folder / f"{files[name]}{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)
    return folder


def write_kin(name: str, root: Path, *, packed: bool = False) -> Path:
    """The files of the data set `name` where torchvision leaves them under `root`."""
    return write_mnist(root / FOLDERS[name] / "raw", packed=packed, files=FILES[name])


def test_an_idx_file_is_read_plain_and_packed(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "a").write_bytes(idx(array))
    (tmp_path / "b.gz").write_bytes(gzip.compress(idx(array)))
    for name in ("a", "b.gz"):
        got = read_idx(tmp_path / name, ndim=3)
        np.testing.assert_array_equal(got, array)
        assert got.dtype == np.uint8


GOOD = idx(np.zeros((2, 3, 4), np.uint8))
PACKED = gzip.compress(GOOD, mtime=0)  # the clock is no part of it: the bytes name a test
BAD_FILES: list[tuple[str, bytes, str]] = [
    ("empty", b"", "empty or truncated, 0 bytes where an IDX header has 4"),
    ("short magic", b"\0\0\x08", "empty or truncated, 3 bytes"),
    ("labels for images", idx(np.zeros(5, np.uint8)), "wrong magic number 0x00000801, expected 0x00000803"),
    ("not IDX", b"P5 28 28 255 ....", "wrong magic number 0x50352032"),
    ("floats", b"\0\0\x0d\x03" + GOOD[4:], "wrong magic number 0x00000d03"),
    ("header cut", GOOD[:9], "truncated inside its header"),
    ("truncated", GOOD[:-1], r"header announces 24 bytes \(2, 3, 4\), the file holds only 23"),
    ("oversized", GOOD + b"\0", r"header announces 24 bytes \(2, 3, 4\), the file holds more"),
    (
        "liar",
        GOOD[:4] + b"\xff" * 12 + GOOD[16:],
        r"announces \(4294967295, .* of uint8, more than the 1,073,741,824 bytes that are read; take fewer",
    ),
    (
        "void",
        GOOD[:4] + b"\xff" * 8 + b"\0" * 4,
        r"header announces \(4294967295, 4294967295, 0\) of uint8, more than the 1,073,741,824 bytes",
    ),
]


@pytest.mark.parametrize(("content", "message"), [row[1:] for row in BAD_FILES], ids=[row[0] for row in BAD_FILES])
@pytest.mark.parametrize("packed", [False, True])
def test_a_bad_idx_file_is_refused_by_name(tmp_path: Path, content: bytes, message: str, packed: bool) -> None:
    path = tmp_path / ("file.gz" if packed else "file")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(IDXError, match=message) as refused:
        read_idx(path, ndim=3)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (PACKED[:-9], "damaged or truncated gzip file"),
        (PACKED[:20] + b"garbage" + PACKED[20:], "damaged or truncated gzip file"),
        (GOOD, "damaged or truncated gzip file"),
        (b"", "empty or truncated"),
    ],
)
def test_a_bad_gzip_file_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(content)
    with pytest.raises(IDXError, match=message):
        read_idx(path, ndim=3)


def test_a_missing_file_and_a_folder_in_its_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IDXError, match="no such file"):
        read_idx(tmp_path / "missing", ndim=3)
    with pytest.raises(IDXError, match="cannot be read"):
        read_idx(tmp_path, ndim=3)


def test_an_idx_file_of_32_bit_integers_is_read_and_not_taken_for_bytes(tmp_path: Path) -> None:
    array = np.array([[1, -2, 70000], [3, 4, 5]], np.int32)
    path = tmp_path / "a"
    path.write_bytes(idx(array))
    assert path.read_bytes()[:4] == b"\0\0\x0c\x02"
    got = read_idx(path, ndim=2, dtype="int32")
    np.testing.assert_array_equal(got, array)
    assert got.dtype == np.int32
    with pytest.raises(IDXError, match=r"wrong magic number 0x00000c02, expected 0x00000802 \(uint8, 2 axes\)"):
        read_idx(path, ndim=2)
    path.write_bytes(idx(array)[:-1])
    with pytest.raises(IDXError, match=r"header announces 24 bytes \(2, 3\), the file holds only 23"):
        read_idx(path, ndim=2, dtype="int32")


@pytest.mark.parametrize("packed", [False, True])
def test_four_files_make_a_data_set(tmp_path: Path, packed: bool) -> None:
    loaded = load_mnist(write_mnist(tmp_path, packed=packed))
    assert loaded["train_images"].shape == (6, 1, 28, 28)
    assert loaded["test_images"].shape == (4, 1, 28, 28)
    assert loaded["train_labels"].dtype == np.int64
    np.testing.assert_array_equal(loaded["train_images"][:, 0, 3, 3], range(6))
    np.testing.assert_array_equal(loaded["test_labels"], range(4))


def damage(name: str, array: Array) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / NAMES[name]).write_bytes(idx(array))

    return change


BAD_SETS: list[tuple[Callable[[Path], None], str]] = [
    (
        lambda folder: (folder / NAMES["test_labels"]).unlink(),
        "neither t10k-labels-idx1-ubyte nor .*gz is there; put it there, or delete the others",
    ),
    (damage("train_labels", np.zeros(5, np.uint8)), "holds 6 images but .* 5 labels"),
    (damage("test_labels", np.array([0, 1, 10, 2], np.uint8)), "label 10 at position 2 is outside 0 to 9; take"),
]


@pytest.mark.parametrize(("change", "message"), BAD_SETS)
@pytest.mark.parametrize("name", ["mnist", "auto"])
def test_files_that_do_not_belong_together_are_refused(
    tmp_path: Path, change: Callable[[Path], None], message: str, name: str
) -> None:
    change(write_mnist(tmp_path / "MNIST" / "raw"))
    with pytest.raises(UserError, match=message):
        data.load(name, tmp_path)


def test_an_empty_set_and_images_of_another_size_are_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path / "a", train=0)
    with pytest.raises(UserError, match="holds no images"):
        data.load("mnist", tmp_path / "a")
    write_mnist(tmp_path / "b")
    (tmp_path / "b" / NAMES["test_images"]).write_bytes(idx(np.zeros((4, 20, 28), np.uint8)))
    with pytest.raises(UserError, match="t10k-images-idx3-ubyte: images are 20x28, the models need 28x28"):
        data.load("mnist", tmp_path / "b")


def test_mnist_is_found_where_torchvision_puts_it_and_in_the_folder_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nested, flat = write_mnist(tmp_path / "a" / "MNIST" / "raw"), write_mnist(tmp_path / "b")
    assert data.find_mnist(tmp_path / "a") == nested
    assert data.find_mnist(flat) == flat
    assert data.find_mnist(tmp_path / "c") is None
    monkeypatch.setenv("GRADTWIN_DATA", str(flat))
    loaded = data.load("auto")
    assert loaded.name == "mnist"
    assert loaded.origin == f"MNIST, found in {flat}"


def test_the_folder_is_the_given_one_then_the_environments_then_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADTWIN_DATA", str(tmp_path))
    assert data.data_folder(Path("given")) == Path("given")
    assert data.data_folder() == tmp_path
    monkeypatch.setenv("GRADTWIN_DATA", "")
    assert data.data_folder().name == "gradtwin"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_root: Path, _kind: str) -> None:
        raise RuntimeError("Error downloading x:\nTried y, got:\n<urlopen error no route>\n")

    monkeypatch.setattr(torch_ref, "fetch_mnist", refuse)


@pytest.mark.usefixtures("no_network")
def test_auto_falls_back_to_digits_and_says_why_where_mnist_cannot_be_had(tmp_path: Path) -> None:
    loaded = data.load("auto", tmp_path)
    assert loaded.name == "digits"
    assert f"MNIST is not in {tmp_path} and cannot be downloaded: <urlopen error no route>" in loaded.origin


@pytest.mark.usefixtures("no_network")
def test_mnist_never_falls_back(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be downloaded \(<urlopen error no route>\); put its four IDX files"):
        data.load("mnist", tmp_path)


def test_a_download_is_used_where_it_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_ref, "fetch_mnist", lambda root, kind: write_mnist(root / kind / "raw"))
    told: list[str] = []
    loaded = data.load("auto", tmp_path, told.append)
    assert told == [f"data: MNIST is not in {tmp_path}: downloading it there"]
    assert (loaded.name, loaded.origin) == ("mnist", f"MNIST, downloaded to {tmp_path}")


@pytest.mark.parametrize("name", FOLDERS)
def test_a_download_that_breaks_off_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def break_off(folder: str, *, train: bool, download: bool) -> None:
        assert download
        write_kin(name, Path(folder))
        if not train or name == "mnist":
            raise RuntimeError("broke off")

    monkeypatch.setattr(datasets, FOLDERS[name], break_off)
    before = socket.getdefaulttimeout()
    with pytest.raises(RuntimeError, match="broke off"):
        torch_ref.fetch_mnist(tmp_path, FOLDERS[name])
    assert list(tmp_path.iterdir()) == []
    assert socket.getdefaulttimeout() == before


@pytest.mark.parametrize("name", FOLDERS)
def test_a_download_is_silent_has_its_patience_and_moves_whole_files_into_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    def fetch(folder: str, *, train: bool, download: bool) -> None:
        """Only the part asked for, as QMNIST does."""
        assert download
        assert socket.getdefaulttimeout() == 10
        print("100%", file=sys.stderr)
        raw = Path(folder) / FOLDERS[name] / "raw"
        raw.mkdir(parents=True, exist_ok=True)
        for key, file in FILES[name].items():
            if key.startswith("train" if train else "test"):
                (raw / file).touch()

    monkeypatch.setattr(datasets, FOLDERS[name], fetch)
    torch_ref.fetch_mnist(tmp_path, FOLDERS[name])
    assert {path.name for path in (tmp_path / FOLDERS[name] / "raw").iterdir()} == set(FILES[name].values())
    assert [path.name for path in tmp_path.iterdir()] == [FOLDERS[name]]
    assert capsys.readouterr() == ("", "")


def test_an_unknown_data_set_is_refused_and_all_choices_are_named() -> None:
    choices = "auto, mnist, fashion-mnist, kmnist, qmnist, digits, idx:FOLDER"
    for name in ("cifar", "idx", "FashionMNIST", ""):
        with pytest.raises(UserError, match=f"^dataset '{name}' is unknown; choose one of {choices}$"):
            data.load(name)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", TITLES)
def test_the_kin_are_read_where_torchvision_puts_them(tmp_path: Path, name: str, packed: bool) -> None:
    raw = write_kin(name, tmp_path, packed=packed)
    loaded = data.load(name, tmp_path)
    assert (loaded.name, loaded.origin) == (name, f"{TITLES[name]}, found in {raw}")
    assert loaded.train_images.shape == (6, 1, 28, 28)
    assert loaded.test_images.shape == (4, 1, 28, 28)
    assert loaded.train_images.dtype == np.uint8
    assert loaded.train_labels.dtype == np.int64
    np.testing.assert_array_equal(loaded.train_images[:, 0, 27, 0], range(6))
    np.testing.assert_array_equal(loaded.train_labels, range(6))
    np.testing.assert_array_equal(loaded.test_labels, range(4))


@pytest.mark.parametrize("name", FOLDERS)
def test_torchvision_reads_the_same(tmp_path: Path, name: str) -> None:
    write_kin(name, tmp_path)
    own, twin = data.load(name, tmp_path), torch_ref.load_mnist(tmp_path, FOLDERS[name])
    for part in ("train", "test"):
        np.testing.assert_array_equal(getattr(own, f"{part}_images")[:, 0], twin[f"{part}_images"].numpy())
        np.testing.assert_array_equal(getattr(own, f"{part}_labels"), twin[f"{part}_labels"].numpy())


def test_the_classes_have_names(tmp_path: Path, digits: data.Dataset) -> None:
    numbers = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    for name in FOLDERS:
        write_kin(name, tmp_path)
    classes = {name: data.load(name, tmp_path).classes for name in FOLDERS}
    assert classes["mnist"] == classes["qmnist"] == digits.classes == numbers
    assert classes["fashion-mnist"][:2] == ("T-shirt/top", "Trouser")
    assert classes["fashion-mnist"][9] == "Ankle boot"
    assert classes["kmnist"] == ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
    assert data.load(f"idx:{tmp_path / 'MNIST' / 'raw'}").classes == numbers
    assert {len(names) for names in classes.values()} == {10}


Change = Callable[[Path, dict[str, str]], Path]


def cut(key: str) -> Change:
    def change(folder: Path, files: dict[str, str]) -> Path:
        path = folder / files[key]
        path.write_bytes(path.read_bytes()[:-1])
        return path

    return change


def swap(key: str, content: bytes) -> Change:
    def change(folder: Path, files: dict[str, str]) -> Path:
        (folder / files[key]).write_bytes(content)
        return folder / files[key]

    return change


def label(value: int) -> Change:
    def change(folder: Path, files: dict[str, str]) -> Path:
        path = folder / files["train_labels"]
        content = bytearray(path.read_bytes())
        if files is QMNIST_NAMES:
            content[12 + 32 : 12 + 36] = value.to_bytes(4, "big", signed=True)
        else:
            content[8 + 1] = value % 256
        path.write_bytes(content)
        return path

    return change


def pack_badly(folder: Path, files: dict[str, str]) -> Path:
    path = folder / files["test_images"]
    packed = path.with_name(f"{path.name}.gz")
    packed.write_bytes(gzip.compress(path.read_bytes())[:-9])
    path.unlink()
    return packed


def nest(folder: Path, files: dict[str, str]) -> Path:
    path = folder / files["train_images"]
    path.unlink()
    path.mkdir()
    return path


def lose(folder: Path, files: dict[str, str]) -> Path:
    (folder / files["test_labels"]).unlink()
    return folder


def resize(folder: Path, files: dict[str, str]) -> Path:
    (folder / files["test_images"]).write_bytes(idx(np.zeros((4, 32, 30), np.uint8)))
    return folder


DAMAGES: dict[str, tuple[Change, str]] = {
    "images cut": (cut("train_images"), "header announces 4704 bytes .* the file holds only 4703; fetch it again"),
    "labels cut": (cut("test_labels"), "the file holds only [0-9]+; fetch it again"),
    "empty": (swap("test_images", b""), "empty or truncated, 0 bytes"),
    "a web page": (swap("train_labels", b"<html>not found</html>"), "wrong magic number 0x3c68746d"),
    "of no shape": (
        swap("train_images", b"\0\0\x08\x03" + b"\xff" * 8 + b"\0" * 4),
        "header announces .* more than the 1,073,741,824 bytes that are read; take fewer images",
    ),
    "no images": (swap("train_images", idx(np.zeros((6, 28, 0), np.uint8))), "holds no images"),
    "other counts": (swap("test_images", idx(np.zeros((3, 28, 28), np.uint8))), "holds 3 images but .* 4 labels"),
    "packed badly": (pack_badly, "damaged or truncated gzip file"),
    "a folder": (nest, r"cannot be read \(Is a directory\)"),
    "one missing": (lose, "t10k-labels-idx1-ubyte.* put |qmnist-test-labels-idx2-int.* put "),
    "another size": (
        resize,
        "(t10k|qmnist-test)-images-idx3-ubyte: images are 32x30, the models need 28x28; scale or pad them",
    ),
    "label 10": (label(10), "label 10 at position 1 is outside 0 to 9; take labels of these 10 classes only"),
    "label -1": (label(-1), "label (-1|255) at position 1 is outside 0 to 9"),
}


@pytest.mark.parametrize(("change", "message"), DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", [*FOLDERS, "idx"])
def test_damaged_files_are_refused_by_name_whatever_the_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, change: Change, message: str
) -> None:
    def never(_root: Path, _kind: str) -> None:
        raise AssertionError("files that are there must not be downloaded")

    monkeypatch.setattr(torch_ref, "fetch_mnist", never)
    folder = write_mnist(tmp_path) if name == "idx" else write_kin(name, tmp_path)
    where = change(folder, FILES.get(name, NAMES))
    with pytest.raises(UserError, match=message) as refused:
        data.load(f"idx:{folder}" if name == "idx" else name, tmp_path)
    assert str(refused.value).startswith(str(where))
    assert "\n" not in str(refused.value)


def test_labels_of_two_axes_need_a_column_and_may_not_be_bytes(tmp_path: Path) -> None:
    path = write_kin("qmnist", tmp_path) / QMNIST_NAMES["test_labels"]
    path.write_bytes(idx(np.zeros((4, 0), np.int32)))
    with pytest.raises(
        UserError, match=r"qmnist-test-labels-idx2-int: holds no column of classes, its shape is \(4, 0\)"
    ):
        data.load("qmnist", tmp_path)
    path.write_bytes(idx(np.zeros(4, np.uint8)))
    with pytest.raises(UserError, match=r"expected 0x00000c02 \(int32, 2 axes\); is it the right file"):
        data.load("qmnist", tmp_path)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", TITLES)
def test_the_kin_never_fall_back_not_even_to_one_another(tmp_path: Path, name: str) -> None:
    write_mnist(tmp_path)  # MNIST itself may lie there, and has the same names
    for other in FOLDERS.keys() - {name}:
        write_kin(other, tmp_path)
    with pytest.raises(UserError) as refused:
        data.load(name, tmp_path)
    assert str(refused.value) == (
        f"{TITLES[name]} is not in {tmp_path} and cannot be downloaded (<urlopen error no route>); "
        f"put its four IDX files into {tmp_path / FOLDERS[name] / 'raw'}, or take --dataset digits"
    )


@pytest.mark.parametrize("name", TITLES)
def test_a_folder_that_cannot_be_made_ends_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be downloaded \(.*Not a directory.*\); put its four IDX files into"):
        data.load(name, tmp_path / "file" / "below")


@pytest.mark.parametrize(
    "error", [AssertionError(), EOFError("cut"), KeyError(10), TypeError("no"), ValueError("bad"), MemoryError()]
)
@pytest.mark.parametrize("name", TITLES)
def test_whatever_torchvision_raises_on_its_download_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: Exception
) -> None:
    def stumble(folder: str, **_: object) -> None:
        write_kin(name, Path(folder))
        raise error

    monkeypatch.setattr(datasets, FOLDERS[name], stumble)
    message = f"torchvision cannot read its download: {type(error).__name__}"
    with pytest.raises(UserError, match=rf"{TITLES[name]} is not in .* and cannot be downloaded \({message}.*\); put"):
        data.load(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_connection_that_breaks_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(_folder: str, **_: object) -> None:
        raise IncompleteRead(b"half", 4)

    monkeypatch.setattr(datasets, "KMNIST", break_off)
    with pytest.raises(
        UserError, match=r"cannot be downloaded \(IncompleteRead\(4 bytes read, 4 more expected\)\); put"
    ):
        data.load("kmnist", tmp_path)


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A web server of this machine's own: the folder that it serves, and its address."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(variable, "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def redirect(name: str, folder: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files on the mirror, and torchvision's class told of their addresses and checksums."""
    write_mnist(folder, packed=True, files=FILES[name])

    def checksum(file: str) -> str:
        return hashlib.md5((folder / file).read_bytes()).hexdigest()

    kind = getattr(datasets, FOLDERS[name])
    if name == "qmnist":
        parts = {
            part: [(f"{address}{file}.gz", checksum(f"{file}.gz")) for key, file in QMNIST_NAMES.items() if part in key]
            for part in ("train", "test")
        }
        monkeypatch.setattr(kind, "resources", parts)
    else:
        monkeypatch.setattr(kind, "mirrors", [address])
        monkeypatch.setattr(kind, "resources", [(f"{file}.gz", checksum(f"{file}.gz")) for file in NAMES.values()])


@pytest.mark.parametrize("name", FOLDERS)
def test_torchvision_downloads_from_a_mirror_and_the_next_run_finds_it(
    tmp_path: Path,
    mirror: tuple[Path, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    redirect(name, *mirror, monkeypatch)
    root, told = tmp_path / "data", list[str]()
    first = data.load(name, root, told.append)
    title = TITLES.get(name, "MNIST")
    assert told == [f"data: {title} is not in {root}: downloading it there"]
    assert first.origin == f"{title}, downloaded to {root}"
    np.testing.assert_array_equal(first.test_labels, range(4))
    assert [path.name for path in root.iterdir()] == [FOLDERS[name]]
    again = data.load(name, root, told.append)
    assert len(told) == 1
    assert again.origin == f"{title}, found in {root / FOLDERS[name] / 'raw'}"
    assert again.checksum == first.checksum
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", TITLES)
def test_a_mirror_that_serves_something_else_ends_in_one_line(
    tmp_path: Path, mirror: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    redirect(name, *mirror, monkeypatch)
    (mirror[0] / f"{FILES[name]['test_labels']}.gz").write_bytes(b"something else")
    root = tmp_path / "data"
    reason = r"cannot be downloaded \(File not found or corrupted\.\)"
    with pytest.raises(UserError, match=rf"^{TITLES[name]} is not in {root} and {reason}; put its four IDX files into"):
        data.load(name, root)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("name", TITLES)
def test_a_mirror_that_does_not_answer_ends_in_one_line(
    tmp_path: Path, mirror: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with socket.socket() as taken:  # and nobody listens
        taken.bind(("127.0.0.1", 0))
        redirect(name, mirror[0], f"http://127.0.0.1:{taken.getsockname()[1]}/", monkeypatch)
        root = tmp_path / "data"
        with pytest.raises(UserError, match=r"cannot be downloaded \(<urlopen error .*refused>\); put its four IDX"):
            data.load(name, root)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("packed", [False, True])
def test_anybodys_own_idx_files_are_read_from_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    folder = write_mnist(tmp_path / "mine: a", 3, 2, packed=packed)
    loaded = data.load(f"idx:{folder}", tmp_path / "elsewhere")
    assert (loaded.name, loaded.origin) == ("idx", f"IDX files in {folder}")
    assert (len(loaded.train_images), len(loaded.test_images)) == (3, 2)
    monkeypatch.chdir(tmp_path)
    assert data.load("idx:mine: a").checksum == loaded.checksum
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data.load("idx:~/mine: a").checksum == loaded.checksum


def test_a_folder_of_ones_own_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for given, message in {
        "": "^--dataset idx: names no folder; write idx:FOLDER$",
        f"{tmp_path}/gone": f"^{tmp_path}/gone: no such folder.*; idx:FOLDER takes the folder of the four IDX files$",
        f"{tmp_path}/file": f"^{tmp_path}/file: not a folder; idx:FOLDER takes",
        f"{tmp_path}/{'x' * 300}": "no such folder",
        "~nobody-of-this-name/x": "^~nobody-of-this-name/x: no such folder",
        f"{tmp_path}": f"^{tmp_path}: train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, "
        "t10k-labels-idx1-ubyte missing, plain and as .gz; put all four IDX files there$",
    }.items():
        with pytest.raises(UserError, match=message):
            data.load(f"idx:{given}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_a_folder_that_may_not_be_looked_into_is_refused(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path / "a" / "b")
    folder.parent.chmod(0)
    try:
        with pytest.raises(UserError, match="no such folder, or it may not be looked into"):
            data.load(f"idx:{folder}")
    finally:
        folder.parent.chmod(0o700)


@pytest.mark.parametrize("dataset", ["idx:gone", "cifar"])
def test_the_command_line_ends_in_one_line(gradtwin: Run, dataset: str) -> None:
    outcome = gradtwin("train", "--dataset", dataset)
    assert outcome.status == 2
    assert outcome.err.startswith("gradtwin: ")
    assert outcome.err.count("\n") == 1
    assert "Traceback" not in outcome.err + outcome.out


def test_the_first_images_of_each_part_can_be_taken_alone(digits: data.Dataset) -> None:
    few = digits.limited(7, 3)
    for part, count in (("train", 7), ("test", 3)):
        for kind in ("images", "labels"):
            whole = getattr(digits, f"{part}_{kind}")
            np.testing.assert_array_equal(getattr(few, f"{part}_{kind}"), whole[:count])
    assert (few.name, few.classes) == (digits.name, digits.classes)
    assert few.origin == f"{digits.origin}, cut from 1,437 and 360"
    train, test = digits.limited(7, None), digits.limited(None, 3)
    assert [len(array) for array in (train.train_images, train.test_images, train.test_labels)] == [7, 360, 360]
    assert [len(array) for array in (test.train_images, test.train_labels, test.test_labels)] == [1437, 1437, 3]
    assert digits.limited(None, None) is digits
    assert digits.limited(1437, 360) is digits
    assert len(digits.limited(1, 1).test_images) == 1


@pytest.mark.parametrize("count", [0, -1])
def test_less_than_one_image_and_more_than_there_are_is_refused(digits: data.Dataset, count: int) -> None:
    with pytest.raises(
        UserError, match=f"^--train-images must be at least 1 and at most the 1,437 of digits, got {count}$"
    ):
        digits.limited(count, None)
    with pytest.raises(
        UserError, match=f"^--test-images must be at least 1 and at most the 360 of digits, got {count}$"
    ):
        digits.limited(None, count)
    with pytest.raises(UserError, match=r"^--train-images .* got 1438$"):
        digits.limited(1438, 360)
    with pytest.raises(UserError, match=r"^--test-images .* got 361$"):
        digits.limited(5, 361)


def test_the_checksum_is_that_of_the_data_and_of_nothing_else(digits: data.Dataset) -> None:
    again = replace(data.load("digits"), origin="found elsewhere", name="x")
    assert digits.checksum == again.checksum
    assert len(digits.checksum) == 64
    assert int(digits.checksum, 16) > 0
    seen = {digits.checksum, digits.limited(1436, None).checksum, digits.limited(None, 359).checksum}
    for field in ("train_images", "train_labels", "test_images", "test_labels"):
        array: Array = getattr(digits, field)
        touched, turned = array.copy(), array[::-1]
        touched[-1] += 1
        for other in (touched, turned, array.view(np.int8 if array.itemsize == 1 else np.uint64), array[None]):
            changed: dict[str, Any] = {field: other}
            seen.add(replace(digits, **changed).checksum)
    assert len(seen) == 3 + 4 * 4
    strided = np.repeat(digits.train_images, 2, axis=0)[::2]
    assert not strided.flags.c_contiguous
    assert replace(digits, train_images=strided).checksum == digits.checksum


def test_the_digits_are_28_by_28_and_their_test_set_is_always_the_same() -> None:
    one, two = data.load("digits"), data.load("digits")
    assert one.train_images.shape == (1437, 1, 28, 28)
    assert one.test_images.shape == (360, 1, 28, 28)
    assert one.train_images.dtype == np.uint8
    assert (one.train_images.min(), one.train_images.max()) == (0, 255)
    assert np.bincount(one.test_labels).min() >= 34
    assert not one.train_images[:, :, :2].any()
    np.testing.assert_array_equal(one.train_images[:, :, 2:26:3, 2:26:3], one.train_images[:, :, 4:26:3, 4:26:3])
    np.testing.assert_array_equal(one.test_images, two.test_images)


def test_batches_cover_everything_once_and_the_last_one_is_what_is_left() -> None:
    images, labels = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1) * 25, np.arange(10)
    parts = list(data.batches(images, labels, 4, "float32", np.arange(10)[::-1]))
    assert [len(y) for _, y in parts] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([y for _, y in parts]), np.arange(10)[::-1])
    x, y = parts[0]
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x[:, 0, 0, 0], y.astype(np.float32) * 25 / np.float32(255))


def test_the_real_files_read_as_torchvision_reads_them(mnist_folder: Path, tmp_path: Path) -> None:
    raw = data.find_mnist(mnist_folder)
    assert raw is not None
    own = load_mnist(raw)
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    for name in NAMES.values():  # torchvision reads the unpacked ones only
        packed = raw / f"{name}.gz"
        content = gzip.decompress(packed.read_bytes()) if packed.exists() else (raw / name).read_bytes()
        (tmp_path / "MNIST" / "raw" / name).write_bytes(content)
    twin = torch_ref.load_mnist(tmp_path)
    for part in ("train", "test"):
        np.testing.assert_array_equal(own[f"{part}_images"][:, 0], twin[f"{part}_images"].numpy())
        np.testing.assert_array_equal(own[f"{part}_labels"], twin[f"{part}_labels"].numpy())
    assert own["train_images"].shape == (60000, 1, 28, 28)


def test_only_mnist_may_lie_in_the_folder_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path)
    asked: list[tuple[Path, str]] = []

    def refuse(root: Path, kind: str) -> None:
        asked.append((root, kind))
        raise RuntimeError("no route")

    monkeypatch.setattr(torch_ref, "fetch_mnist", refuse)
    assert data.load("mnist", tmp_path).origin == f"MNIST, found in {tmp_path}"
    for name, title in TITLES.items():
        with pytest.raises(UserError) as refused:
            data.load(name, tmp_path)
        assert str(refused.value) == (
            f"{title} is not in {tmp_path} and cannot be downloaded (no route); "
            f"put its four IDX files into {tmp_path / FOLDERS[name] / 'raw'}, or take --dataset digits"
        )
    assert asked == [(tmp_path, FOLDERS[name]) for name in TITLES]


def test_the_digits_are_those_of_scikit_learn_split_by_class() -> None:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import StratifiedShuffleSplit

    loaded, original = data.load("digits"), load_digits()
    ((train, test),) = StratifiedShuffleSplit(1, test_size=360, random_state=0).split(original.images, original.target)
    np.testing.assert_array_equal(loaded.train_labels, original.target[train])
    np.testing.assert_array_equal(loaded.test_labels, original.target[test])
    np.testing.assert_array_equal(
        loaded.test_images[:, 0, 3:26:3, 4:26:3], np.round(original.images[test] / 16 * 255).astype(np.uint8)
    )
    shares = np.bincount(loaded.test_labels) / np.bincount(original.target)
    assert np.abs(shares - 0.2).max() < 0.006  # within one of 174 to 183 digits
    assert not loaded.test_images[:, :, [0, 1, 26, 27]].any()
    assert not loaded.test_images[:, :, :, [0, 1, 26, 27]].any()
    assert loaded.train_labels.dtype == loaded.test_labels.dtype == np.int64
    assert loaded.origin == "scikit-learn's 1,797 embedded digits, enlarged to 28x28 (asked for)"
    assert loaded.name == "digits"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_batches_come_as_they_lie_where_no_order_is_given(dtype: str) -> None:
    images, labels = np.array([0, 51, 255, 1, 128], np.uint8).reshape(5, 1, 1, 1), np.arange(5)
    parts = list(data.batches(images, labels, 2, dtype))
    assert [x.ravel().tolist() for x, _ in parts] == [
        (np.array(grey, dtype) / np.array(255, dtype)).tolist() for grey in ([0, 51], [255, 1], [128])
    ]
    assert [y.tolist() for _, y in parts] == [[0, 1], [2, 3], [4]]
    assert {x.dtype for x, _ in parts} == {np.dtype(dtype)}
    assert list(data.batches(images[:0], labels[:0], 2, dtype)) == []
    assert len(list(data.batches(images, labels, 5, dtype))) == 1


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("no route", "no route"),
        ("\n  Error downloading x:\n  Tried y, got:\n <no route> \n\n<another>", "<no route>"),
        ("Error downloading x:\n got:\n", "Error downloading x:"),
        ("", "RuntimeError"),
        (" \n ", "RuntimeError"),
    ],
)
def test_why_a_download_failed_is_its_first_line_that_is_no_announcement(said: str, reason: str) -> None:
    assert data._reason(RuntimeError(said)) == reason
