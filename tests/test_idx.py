"""The IDX reader, byte by byte: how much it reads, and every refusal in full."""

from __future__ import annotations

import errno
import gzip
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scratch import Array, IDXError, load_mnist, read_idx
from scratch.data import NAMES, QMNIST_NAMES, _read, find_idx


def idx(array: Array) -> bytes:
    """`array` (uint8 or int32) as the content of an IDX file."""
    kind = {"uint8": 0x08, "int32": 0x0C}[str(array.dtype)]
    header = bytes([0, 0, kind, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def refused(path: Path, content: bytes, **more: Any) -> str:
    """What is said of a file of this content, after its name."""
    path.write_bytes(content)
    with pytest.raises(IDXError) as error:
        read_idx(path, **({"ndim": 2} | more))
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ")


class Counted(io.BytesIO):
    """A file that remembers how many bytes it was asked for."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.asked: list[int | None] = []

    def read(self, size: int | None = -1, /) -> bytes:
        self.asked.append(size)
        return super().read(size)


MEGABYTE = 2**20


def test_no_more_than_a_megabyte_is_asked_for_at_a_time_and_one_byte_more_than_there_should_be() -> None:
    array = np.arange(2 * MEGABYTE + 3, dtype=np.int64).astype(np.uint8)
    file = Counted(idx(array))
    np.testing.assert_array_equal(_read(Path("file"), file, 1, "uint8"), array)
    assert file.asked == [4, 4, MEGABYTE, MEGABYTE, 4, 1]
    empty = Counted(idx(np.zeros((2, 0), np.uint8)))
    assert _read(Path("file"), empty, 2, "uint8").shape == (2, 0)
    assert empty.asked == [4, 8, 1]


@pytest.mark.parametrize("size", [MEGABYTE - 1, MEGABYTE, MEGABYTE + 1])
def test_one_byte_too_many_is_noticed_wherever_a_chunk_ends(tmp_path: Path, size: int) -> None:
    content = idx(np.zeros(size, np.uint8))
    said = refused(tmp_path / "file", content + b"\0", ndim=1)
    assert said == f"header announces {size} bytes ({size},), the file holds more; fetch it again"
    said = refused(tmp_path / "file", content[:-1], ndim=1)
    assert said == f"header announces {size} bytes ({size},), the file holds only {size - 1}; fetch it again"
    (tmp_path / "file").write_bytes(content)
    assert read_idx(tmp_path / "file", 1).shape == (size,)


def test_arrays_come_in_the_byte_order_of_this_machine(tmp_path: Path) -> None:
    for array in (np.array([[1, -2, 2**31 - 1]], np.int32), np.array([[255], [1]], np.uint8)):
        (tmp_path / "file").write_bytes(idx(array))
        got = read_idx(tmp_path / "file", 2, "int32" if array.dtype == np.int32 else "uint8")
        np.testing.assert_array_equal(got, array, strict=True)
        assert got.dtype.isnative


GOOD = idx(np.zeros((2, 3), np.uint8))


@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        (b"", {}, "empty or truncated, 0 bytes where an IDX header has 4; fetch it again"),
        (GOOD[:3], {}, "empty or truncated, 3 bytes where an IDX header has 4; fetch it again"),
        (GOOD[:4], {}, "truncated inside its header; fetch it again"),
        (GOOD[:11], {}, "truncated inside its header; fetch it again"),
        (GOOD[:12], {}, "header announces 6 bytes (2, 3), the file holds only 0; fetch it again"),
        (GOOD[:-1], {}, "header announces 6 bytes (2, 3), the file holds only 5; fetch it again"),
        (
            GOOD,
            {"ndim": 1},
            "wrong magic number 0x00000802, expected 0x00000801 (uint8, 1 axis); is it the right file?",
        ),
        (
            GOOD,
            {"dtype": "int32"},
            "wrong magic number 0x00000802, expected 0x00000c02 (int32, 2 axes); is it the right file?",
        ),
        (
            b"\0\1" + GOOD[2:],
            {},
            "wrong magic number 0x00010802, expected 0x00000802 (uint8, 2 axes); is it the right file?",
        ),
        (
            b"\1" + GOOD[1:],
            {},
            "wrong magic number 0x01000802, expected 0x00000802 (uint8, 2 axes); is it the right file?",
        ),
        (
            idx(np.zeros((2, 3), np.int32))[:-1],
            {"dtype": "int32"},
            "header announces 24 bytes (2, 3), the file holds only 23; fetch it again",
        ),
        (
            b"\0\0\x08\x03" + b"\xff" * 8 + b"\0" * 4,
            {"ndim": 3},
            "header announces (4294967295, 4294967295, 0) of uint8, more than the 1,073,741,824 bytes that are read; "
            "take fewer images",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_full(
    tmp_path: Path, content: bytes, more: dict[str, Any], message: str
) -> None:
    assert refused(tmp_path / "file", content, **more) == message
    packed = refused(tmp_path / "file.gz", gzip.compress(content), **more)
    assert packed == message


def test_what_cannot_be_opened_is_said_in_full(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "none", "no such file; put the IDX file there, plain or as .gz"),
        (tmp_path, f"cannot be read ({os.strerror(errno.EISDIR)}); check the file and its rights"),
    ):
        with pytest.raises(IDXError) as error:
            read_idx(path, 1)
        assert str(error.value) == f"{path}: {said}"
    said = refused(tmp_path / "plain.gz", GOOD)
    assert said == "damaged or truncated gzip file (Not a gzipped file (b'\\x00\\x00')); delete it and fetch it again"


def test_an_error_of_the_system_without_words_of_its_own_is_said_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Any:
        raise OSError("it hangs")

    monkeypatch.setattr(os, "open", fails)
    with pytest.raises(IDXError, match=r"cannot be read \(it hangs\); check the file"):
        read_idx(tmp_path / "file", 1)


def test_the_plain_file_comes_before_the_packed_one(tmp_path: Path) -> None:
    assert find_idx(tmp_path, "a") is None
    (tmp_path / "a.gz").touch()
    assert find_idx(tmp_path, "a") == tmp_path / "a.gz"
    (tmp_path / "a").touch()
    assert find_idx(tmp_path, "a") == tmp_path / "a"


# Four files together.

FILES: dict[str, Array] = {
    "train_images": np.arange(3 * 2 * 4, dtype=np.uint8).reshape(3, 2, 4),
    "train_labels": np.array([0, 9, 3], np.uint8),
    "test_images": np.full((2, 2, 4), 255, np.uint8),
    "test_labels": np.array([7, 0], np.uint8),
}


def write(folder: Path, names: dict[str, str] = NAMES, **changed: Array) -> Path:
    for kind, array in (FILES | changed).items():
        (folder / names[kind]).write_bytes(idx(array))
    return folder


def table(*classes: int) -> Array:
    """QMNIST's labels: eight numbers each, of which the first is the class."""
    return np.array([[each, *range(70_000, 70_007)] for each in classes], np.int32).reshape(len(classes), 8)


def test_four_files_are_images_with_one_channel_and_labels_of_int64(tmp_path: Path) -> None:
    data = load_mnist(write(tmp_path))
    assert list(data) == ["train_images", "train_labels", "test_images", "test_labels"]
    for kind, array in FILES.items():
        got = data[kind]
        np.testing.assert_array_equal(got[:, 0] if "images" in kind else got, array)
        assert got.dtype == (np.uint8 if "images" in kind else np.int64)
        assert got.ndim == (4 if "images" in kind else 1)


def test_the_first_column_of_qmnist_is_the_class(tmp_path: Path) -> None:
    labels = {"train_labels": table(0, 9, 3), "test_labels": table(7, 0)}
    data = load_mnist(write(tmp_path, QMNIST_NAMES, **labels), QMNIST_NAMES)
    assert data["train_labels"].tolist() == [0, 9, 3]
    assert data["test_labels"].tolist() == [7, 0]
    assert data["test_labels"].dtype == np.int64


IMAGES, LABELS = NAMES["train_images"], NAMES["train_labels"]
Q_LABELS = QMNIST_NAMES["test_labels"]


@pytest.mark.parametrize(
    ("names", "changed", "message"),
    [
        (
            NAMES,
            {"train_labels": np.array([1, 2], np.uint8)},
            f"{{0}}/{IMAGES} holds 3 images but {{0}}/{LABELS} 2 labels; take both from the same source",
        ),
        (
            NAMES,
            {"test_images": np.zeros((0, 2, 4), np.uint8), "test_labels": np.zeros(0, np.uint8)},
            f"{{0}}/{NAMES['test_images']}: holds no images; fetch it again",
        ),
        (
            NAMES,
            {"train_images": np.zeros((3, 0, 4), np.uint8)},
            f"{{0}}/{IMAGES}: holds no images; fetch it again",
        ),
        (
            NAMES,
            {"train_labels": np.array([9, 10, 200], np.uint8)},
            f"{{0}}/{LABELS}: label 10 at position 1 is outside 0 to 9; take labels of these 10 classes only",
        ),
        (
            QMNIST_NAMES,
            {"train_labels": table(1, 2, 3), "test_labels": table(0, -1)},
            f"{{0}}/{Q_LABELS}: label -1 at position 1 is outside 0 to 9; take labels of these 10 classes only",
        ),
        (
            QMNIST_NAMES,
            {"train_labels": table(1, 2, 3), "test_labels": np.zeros((2, 0), np.int32)},
            f"{{0}}/{Q_LABELS}: holds no column of classes, its shape is (2, 0); fetch it again",
        ),
    ],
)
def test_files_that_do_not_belong_together_are_refused_in_full(
    tmp_path: Path, names: dict[str, str], changed: dict[str, Array], message: str
) -> None:
    write(tmp_path, names, **changed)
    with pytest.raises(IDXError) as error:
        load_mnist(tmp_path, names)
    assert str(error.value) == message.format(tmp_path)


def test_one_column_of_classes_is_enough(tmp_path: Path) -> None:
    labels = {"train_labels": table(0, 9, 3)[:, :1], "test_labels": table(7, 0)[:, :1]}
    assert load_mnist(write(tmp_path, QMNIST_NAMES, **labels), QMNIST_NAMES)["test_labels"].tolist() == [7, 0]


def test_so_many_classes_as_are_asked_for_are_allowed(tmp_path: Path) -> None:
    write(tmp_path, train_labels=np.array([11, 0, 1], np.uint8))
    assert load_mnist(tmp_path, num_classes=12)["train_labels"].tolist() == [11, 0, 1]
    with pytest.raises(IDXError, match="label 11 at position 0 is outside 0 to 10; take labels of these 11 classes"):
        load_mnist(tmp_path, num_classes=11)


def test_a_file_that_is_not_there_is_missed_by_both_its_names(tmp_path: Path) -> None:
    (write(tmp_path) / NAMES["test_labels"]).unlink()
    with pytest.raises(IDXError) as error:
        load_mnist(tmp_path)
    name, mend = NAMES["test_labels"], "put it there, or delete the others to have all four downloaded"
    assert str(error.value) == f"{tmp_path}: neither {name} nor {name}.gz is there; {mend}"
