"""The IDX reader and the data sets: good files, every kind of bad one, and no data set for another in silence."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import torch_ref
from compare import data
from compare.errors import UserError
from scratch import Array, IDXError, load_mnist, read_idx
from scratch.data import NAMES


def idx(array: Array) -> bytes:
    """`array` (uint8) as the content of an IDX file."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def write_mnist(folder: Path, train: int = 6, test: int = 4, *, packed: bool = False) -> Path:
    """Four small files that belong together; every image is filled with its own number."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", train), ("test", test)):
        images = np.arange(count, dtype=np.uint8)[:, None, None] + np.zeros((count, 28, 28), np.uint8)
        for name, array in ((f"{part}_images", images), (f"{part}_labels", np.arange(count, dtype=np.uint8) % 10)):
            content = idx(array)
            path = folder / f"{NAMES[name]}{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)
    return folder


def test_an_idx_file_is_read_plain_and_packed(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "a").write_bytes(idx(array))
    (tmp_path / "b.gz").write_bytes(gzip.compress(idx(array)))
    for name in ("a", "b.gz"):
        got = read_idx(tmp_path / name, ndim=3)
        np.testing.assert_array_equal(got, array)
        assert got.dtype == np.uint8


GOOD = idx(np.zeros((2, 3, 4), np.uint8))
BAD_FILES: list[tuple[str, bytes, str]] = [
    ("empty", b"", "empty or truncated, 0 bytes where an IDX header has 4"),
    ("short magic", b"\0\0\x08", "empty or truncated, 3 bytes"),
    ("labels for images", idx(np.zeros(5, np.uint8)), "wrong magic number 0x00000801, expected 0x00000803"),
    ("not IDX", b"P5 28 28 255 ....", "wrong magic number 0x50352032"),
    ("floats", b"\0\0\x0d\x03" + GOOD[4:], "wrong magic number 0x00000d03"),
    ("header cut", GOOD[:9], "truncated inside its header"),
    ("truncated", GOOD[:-1], r"header announces 24 bytes \(2, 3, 4\), the file holds only 23"),
    ("oversized", GOOD + b"\0", r"header announces 24 bytes \(2, 3, 4\), the file holds more"),
    ("liar", GOOD[:4] + b"\xff" * 12 + GOOD[16:], "header announces .* bytes .* the file holds only 24"),
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
        (gzip.compress(GOOD)[:-9], "damaged or truncated gzip file"),
        (gzip.compress(GOOD)[:20] + b"garbage" + gzip.compress(GOOD)[20:], "damaged or truncated gzip file"),
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
    (damage("test_labels", np.array([0, 1, 10, 2], np.uint8)), "label 10 at position 2 is outside 0 to 9"),
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
    with pytest.raises(UserError, match="test images are 20x28, the models need 28x28"):
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
    def refuse(_: Path) -> None:
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
    monkeypatch.setattr(torch_ref, "fetch_mnist", lambda root: write_mnist(root / "MNIST" / "raw"))
    told: list[str] = []
    loaded = data.load("auto", tmp_path, told.append)
    assert told == [f"data: MNIST is not in {tmp_path}: downloading it there"]
    assert (loaded.name, loaded.origin) == ("mnist", f"MNIST, downloaded to {tmp_path}")


def test_a_download_that_breaks_off_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(folder: str, download: bool) -> None:
        assert download
        write_mnist(Path(folder) / "MNIST" / "raw")
        raise RuntimeError("broke off")

    monkeypatch.setattr("torch_ref.data.MNIST", break_off)
    with pytest.raises(RuntimeError, match="broke off"):
        torch_ref.fetch_mnist(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_download_moves_whole_files_into_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch_ref.data.MNIST", lambda folder, **_: write_mnist(Path(folder) / "MNIST" / "raw"))
    torch_ref.fetch_mnist(tmp_path)
    assert sorted(path.name for path in (tmp_path / "MNIST" / "raw").iterdir()) == sorted(NAMES.values())
    assert [path.name for path in tmp_path.iterdir()] == ["MNIST"]


def test_an_unknown_data_set_is_refused() -> None:
    with pytest.raises(UserError, match="dataset 'cifar' is unknown; choose one of auto, mnist, digits"):
        data.load("cifar")


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
