"""Weights go from twin to twin, to a file and back, exactly or not at all; files are written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import scratch
import torch_ref
from compare.machine import files
from compare.machine.errors import UserError
from compare.pairs import weights
from scratch import Array


def assert_same_weights(own: scratch.Module, twin: torch.nn.Module) -> None:
    state = weights.torch_state(twin)
    assert list(state) == list(own.state_dict())
    for name, array in own.state_dict().items():
        np.testing.assert_array_equal(array, state[name])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_are_shared_both_ways(dtype: str) -> None:
    own, twin = scratch.LeNet5(dtype=dtype), torch_ref.LeNet5(dtype=getattr(torch, dtype))
    weights.scratch_to_torch(own, twin)
    assert_same_weights(own, twin)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    weights.torch_to_scratch(twin, own)
    assert_same_weights(own, twin)
    own.state_dict()["conv1.bias"] += 1  # a copy: the twin does not follow
    assert not np.array_equal(own.state_dict()["conv1.bias"], weights.torch_state(twin)["conv1.bias"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_buffers_are_shared_both_ways_and_by_file(dtype: str, tmp_path: Path) -> None:
    def twins() -> tuple[scratch.Module, torch.nn.Module]:
        norms = torch.nn.BatchNorm2d(3, dtype=getattr(torch, dtype)), torch.nn.BatchNorm2d(3, affine=False)
        own = scratch.BatchNorm2d(3, dtype=dtype), scratch.BatchNorm2d(3, affine=False)
        return scratch.Sequential(*own), torch.nn.Sequential(*norms)

    x = np.random.default_rng(0).standard_normal((4, 3, 2, 2)).astype(dtype)
    (own, twin), (other_own, other_twin) = twins(), twins()
    dict(own.named_modules())["0"](x)
    weights.scratch_to_torch(own, twin)
    assert_same_weights(own, twin)
    twin[0](torch.tensor(x + 1))  # type: ignore[index]
    weights.torch_to_scratch(twin, own)
    assert_same_weights(own, twin)
    assert own.state_dict()["0.num_batches_tracked"] == 2
    # As anybody would, strictly, without our help.
    other_twin.load_state_dict({name: torch.tensor(array) for name, array in own.state_dict().items()}, strict=True)
    other_own.load_state_dict({name: tensor.numpy() for name, tensor in twin.state_dict().items()})
    assert_same_weights(other_own, other_twin)

    weights.save_weights(tmp_path / "w", weights.scratch_state(own))
    loaded = weights.load_weights(tmp_path / "w")
    assert loaded["0.num_batches_tracked"].shape == ()
    weights.load_scratch_state(other_own, loaded)
    weights.load_torch_state(other_twin, loaded)
    assert_same_weights(other_own, other_twin)


def test_a_missing_or_widened_buffer_is_refused() -> None:
    own, twin = scratch.BatchNorm2d(2), torch.nn.BatchNorm2d(2)
    state = weights.torch_state(twin)
    with pytest.raises(UserError, match=r"not the weights of BatchNorm2d: missing \['running_var'\]"):
        weights.load_scratch_state(own, {name: array for name, array in state.items() if name != "running_var"})
    with pytest.raises(UserError, match=r"num_batches_tracked is float32\[\], BatchNorm2d needs int64\[\]"):
        weights.load_torch_state(twin, state | {"num_batches_tracked": np.zeros((), np.float32)})


def test_a_transposed_view_comes_back_as_it_looked(tmp_path: Path) -> None:
    state = {"t": np.arange(6.0).reshape(2, 3).T, "s": np.arange(10, dtype=np.float32)[::2]}
    weights.save_weights(tmp_path / "w", state)
    loaded = weights.load_weights(tmp_path / "w")
    for name, array in state.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc1.bias": None}, r"not the weights of CNN: missing \['fc1.bias'\], unexpected \[\]"),
        ({"fc2.bias": np.zeros(1)}, r"missing \[\], unexpected \['fc2.bias'\]"),
        ({"fc1.bias": np.zeros(9, np.float32)}, r"fc1.bias is float32\[9\], CNN needs float32\[10\]"),
        ({"fc1.bias": np.zeros(10)}, r"fc1.bias is float64\[10\], CNN needs float32\[10\]"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name_and_nothing_is_changed(
    change: dict[str, Any], message: str
) -> None:
    own, twin = scratch.CNN(), torch_ref.CNN()
    weights.scratch_to_torch(own, twin)
    state: dict[str, Array] = {name: array + 1 for name, array in own.state_dict().items()}
    state = {name: array for name, array in (state | change).items() if array is not None}
    with pytest.raises(UserError, match=message):
        weights.load_torch_state(twin, state)
    with pytest.raises(UserError, match=f"^here: .*{message[-20:]}"):
        weights.load_scratch_state(own, state, "here")
    assert_same_weights(own, twin)


def test_a_file_that_is_not_weights_is_refused_by_name(tmp_path: Path) -> None:
    good = tmp_path / "good"
    weights.save_weights(good, scratch.CNN().state_dict())
    content = good.read_bytes()
    for name, bad in {"truncated": content[:-7], "header": content[:40], "empty": b"", "text": b"hello" * 30}.items():
        path = tmp_path / name
        path.write_bytes(bad)
        with pytest.raises(UserError, match=f"{path}: damaged, or not a safetensors file") as refused:
            weights.load_weights(path)
        assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match="cannot be read"):
        weights.load_weights(tmp_path / "missing")
    with pytest.raises(UserError, match="cannot be read"):
        weights.load_weights(tmp_path)


def test_weights_that_are_not_numbers_are_refused_by_name(tmp_path: Path) -> None:
    weights.save_weights(tmp_path / "w", {"a": np.ones(2), "b": np.array([1.0, np.nan])})
    with pytest.raises(UserError, match=f"{tmp_path / 'w'}: b holds NaN or infinity"):
        weights.load_weights(tmp_path / "w")


def test_a_link_is_followed_and_a_pipe_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    files.write_bytes(tmp_path / "link", b"one")
    assert (tmp_path / "target").read_bytes() == b"one"
    assert (tmp_path / "link").is_symlink()
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    files.write_bytes(tmp_path / "pipe", b"two")
    assert os.read(reader, 10) == b"two"
    assert (tmp_path / "pipe").is_fifo()
    os.close(reader)


def test_a_write_that_breaks_off_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "folder" / "file"
    files.write_bytes(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=f"{path}: cannot be written .No space left on device."):
        files.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [other.name for other in path.parent.iterdir()] == ["file"]


def test_written_files_are_readable_by_others_as_the_mask_allows(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.write_bytes(tmp_path / "file", b"")
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_json_is_strict(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"b": None})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": None}
    with pytest.raises(ValueError, match="Out of range"):
        files.write_json(tmp_path / "a.json", {"b": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": None}


def test_a_place_that_cannot_be_written_is_refused_beforehand(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        files.make_folder(tmp_path / "file" / "below")
    with pytest.raises(UserError, match="cannot be written"):
        files.require_writable(tmp_path / "file" / "result.json")
    with pytest.raises(UserError, match="is a folder; give the name of a file"):
        files.require_writable(tmp_path)
    with pytest.raises(UserError, match="cannot be written"):
        files.write_bytes(tmp_path / "file" / "x", b"")
    files.require_writable(None)
    files.require_writable(tmp_path / "new" / "result.json")
