"""Files are written whole or not at all, with the rights that they should have, and a folder is locked for others."""

from __future__ import annotations

import errno
import importlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from compare.machine import files
from compare.machine.errors import UserError

LINUX = pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="only Linux shows the open files here")


def fails(number: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture
def _masked() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_masked")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0, 0o666)])
def test_a_file_has_the_rights_of_any_new_file_and_the_mask_stays(tmp_path: Path, mask: int, mode: int) -> None:
    os.umask(mask)
    files.write_bytes(tmp_path / "a", b"x")
    assert (tmp_path / "a").stat().st_mode & 0o7777 == mode
    assert os.umask(mask) == mask


@LINUX
def test_a_file_is_flushed_beside_its_place_and_then_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, path = tmp_path / "new" / "deep", tmp_path / "new" / "deep" / "a.bin"
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def flush(descriptor: int) -> None:
        target = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        done.append("folder" if target == folder else f"file with {target.read_bytes()!r}")
        fsync(descriptor)

    def rename(source: str, target: Path) -> None:
        assert Path(source).parent == folder
        assert Path(source).name.startswith(".a.bin-")
        done.append(f"renamed with {Path(source).read_bytes()!r}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", rename)
    files.write_bytes(path, b"whole")
    assert done == ["file with b'whole'", "renamed with b'whole'", "folder"]
    assert path.read_bytes() == b"whole"
    files.write_bytes(path, b"")
    assert path.read_bytes() == b""
    assert list(folder.iterdir()) == [path]


@LINUX
def test_no_file_stays_open(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        files.write_bytes(tmp_path / "a", b"x")
        with files.locked(tmp_path):
            pass
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("name", ["fsync", "chmod", "replace"])
def test_what_cannot_be_finished_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, name, fails(errno.ENOSPC))
    with pytest.raises(UserError) as refused:
        files.write_bytes(path, b"new")
    assert str(refused.value) == f"{path}: cannot be written (No space left on device); choose another place"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interruption_is_passed_on_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_bytes(tmp_path / "a", b"new")
    assert list(tmp_path.iterdir()) == []


@LINUX
def test_a_folder_that_cannot_be_flushed_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, fsync = os.open, os.fsync

    def refuse_folders(path: Any, *how: Any, **more: Any) -> int:
        if Path(path).is_dir():
            raise PermissionError(path)
        return opened(path, *how, **more)

    def flush_files(descriptor: int) -> None:
        if Path(os.readlink(f"/proc/self/fd/{descriptor}")).is_dir():
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse_folders)
        files.write_bytes(tmp_path / "a", b"x")
    monkeypatch.setattr(os, "fsync", flush_files)
    files.write_bytes(tmp_path / "b", b"y")
    assert [(tmp_path / name).read_bytes() for name in "ab"] == [b"x", b"y"]


def test_a_link_is_followed_and_a_pipe_stays_one(tmp_path: Path) -> None:
    target, link, pipe = tmp_path / "there" / "target", tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(target)
    for content in (b"first", b"second"):
        files.write_bytes(link, content)
        assert link.is_symlink()
        assert target.read_bytes() == content
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        files.write_bytes(pipe, b"through")
        assert os.read(end, 100) == b"through"
    finally:
        os.close(end)
    assert pipe.is_fifo()


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(UserError) as refused:
        files.write_bytes(tmp_path / "file" / "below", b"x")
    assert str(refused.value).startswith(f"{tmp_path / 'file' / 'below'}: cannot be written (")
    assert str(refused.value).endswith("); choose another place")
    with pytest.raises(UserError, match=r"cannot be written \(Is a directory\); choose another place"):
        files.write_bytes(tmp_path, b"x")
    assert (tmp_path / "file").read_text() == "old"


def test_what_a_killed_process_left_is_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = [".last.safetensors-abc", ".best.safetensors-1", ".last.safetensors-"]
    kept = ["last.safetensors", ".last.safetensors", ".last.json-abc", "last.safetensors-abc", ".lock"]
    for name in gone + kept:
        (tmp_path / name).touch()
    files.remove_leftovers(tmp_path / "last.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    monkeypatch.setattr(Path, "glob", lambda folder, _: iter([folder / "removed by somebody else"]))
    files.remove_leftovers(tmp_path / "last.safetensors")


def test_a_folder_is_made_with_its_parents_and_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a" / "b"
    for _ in range(2):
        files.make_folder(folder)
        assert folder.is_dir()
        assert list(folder.iterdir()) == []
    temporary = tempfile.TemporaryFile

    def read_only(*, dir: Path | None = None) -> Any:  # noqa: A002
        return fails(errno.EROFS)() if dir == folder else temporary(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    with pytest.raises(UserError) as refused:
        files.make_folder(folder)
    assert str(refused.value) == f"{folder}: cannot be written (Read-only file system); choose another folder"


def test_a_result_needs_a_place_that_is_no_folder(tmp_path: Path) -> None:
    files.require_writable(None)
    files.require_writable(tmp_path / "new" / "deep" / "result.json")
    assert list((tmp_path / "new" / "deep").iterdir()) == []
    (tmp_path / "file").touch()
    files.require_writable(tmp_path / "file")
    with pytest.raises(UserError) as refused:
        files.require_writable(tmp_path)
    assert str(refused.value) == f"{tmp_path}: is a folder; give the name of a file"
    with pytest.raises(UserError, match=r"file: cannot be written \(.*\); choose another folder$"):
        files.require_writable(tmp_path / "file" / "result.json")


def test_json_is_strict_and_indented(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"b": [None, 1.5]})
    assert path.read_text() == '{\n  "b": [\n    null,\n    1.5\n  ]\n}\n'
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            files.write_json(path, {"b": value})
    assert path.read_text().startswith('{\n  "b"')


def test_a_locked_folder_is_kept_from_others_until_it_is_released(tmp_path: Path) -> None:
    with files.locked(tmp_path):
        with pytest.raises(UserError) as refused, files.locked(tmp_path):
            pytest.fail("two have the lock")
        assert str(refused.value) == f"{tmp_path}: another process is training in it; wait until it has ended"
        (tmp_path / "other").mkdir()
        with files.locked(tmp_path / "other"):
            pass
    with files.locked(tmp_path):
        assert [path.name for path in tmp_path.glob(".*")] == [".lock"]


def test_a_system_without_locks_goes_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = importlib.import_module

    def without_fcntl(name: str, package: str | None = None) -> Any:
        if name == "fcntl":
            raise ImportError(name)
        return imported(name, package)

    monkeypatch.setattr(importlib, "import_module", without_fcntl)
    entered = 0
    with files.locked(tmp_path), files.locked(tmp_path):
        entered += 1
    assert entered == 1
