"""One set of weights for both twins: strict copies both ways, and safetensors files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.utils.dlpack
from torch import nn

import scratch
from compare.machine.errors import UserError, brief
from compare.machine.files import write_bytes
from compare.machine.tensor_files import read_tensors
from scratch.backend import from_dlpack, to_host

State = Mapping[str, scratch.Array]


def scratch_state(module: scratch.Module) -> dict[str, scratch.Array]:
    """The module's state_dict as NumPy arrays: copies, on the host."""
    return {name: to_host(array) for name, array in module.state_dict().items()}


def torch_state(module: nn.Module) -> dict[str, scratch.Array]:
    """The module's state_dict as NumPy arrays: copies, on the host."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in module.state_dict().items()}


def scratch_to_torch(source: scratch.Module, target: nn.Module) -> None:
    """Copy every parameter and buffer of `source` into its twin; on a GPU, without a way through the host.

    Raises:
        UserError: naming the keys, or the first array of another shape or dtype. `target` is untouched then.
    """
    load_torch_state(target, source.state_dict())


def torch_to_scratch(source: nn.Module, target: scratch.Module) -> None:
    """Copy every parameter and buffer of `source` into its twin; errors as in `scratch_to_torch`."""
    load_scratch_state(target, _borrowed_state(source))


def load_scratch_state(target: scratch.Module, state: State, where: str = "the given weights") -> None:
    """Copy `state` into `target`; errors as in `scratch_to_torch`, each beginning with `where`."""
    check_state(state, target.state_dict(), where, type(target).__name__)
    target.load_state_dict(state)


def load_torch_state(target: nn.Module, state: State) -> None:
    """Copy `state` into `target`; errors as in `scratch_to_torch`.

    torch's own strict loading would cast another dtype in silence.
    """
    check_state(state, _borrowed_state(target), "the given weights", type(target).__name__)
    target.load_state_dict({name: _tensor(array) for name, array in state.items()})


def _borrowed_state(module: nn.Module) -> State:
    """The module's state_dict as arrays that share its memory, on its device."""
    return {name: from_dlpack(tensor.detach()) for name, tensor in module.state_dict().items()}


def _tensor(array: scratch.Array) -> torch.Tensor:
    """What torch can copy `array` from. torch takes no NumPy array that is read-only or runs backwards."""
    if isinstance(array, np.ndarray):
        return torch.tensor(_in_order(array))
    return torch.utils.dlpack.from_dlpack(array)


def check_state(state: State, expected: State, where: str, model: str) -> None:
    """Refuse a state whose names, shapes or dtypes are not those of `expected`; `where` begins the message.

    Raises:
        UserError: naming missing and unexpected keys, or the first array of another shape or dtype.
    """
    missing, unexpected = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unexpected:
        raise UserError(
            f"{where}: not the weights of {model}: missing {brief(missing)}, unexpected {brief(unexpected)}; "
            "another model's file?"
        )
    for name, array in expected.items():
        given = state[name]
        if given.shape != array.shape or given.dtype != array.dtype:
            raise UserError(
                f"{where}: {name} is {given.dtype}{list(given.shape)}, {model} needs {array.dtype}{list(array.shape)}; "
                "choose another file, model or dtype"
            )


def save_weights(path: Path, state: State) -> None:
    """Write `state` as a safetensors file, whole or not at all.

    Raises:
        UserError: if it cannot be written.
    """
    from safetensors.numpy import save

    # safetensors writes the memory as it lies: a transposed view would come back scrambled.
    write_bytes(path, save({name: _in_order(array) for name, array in state.items()}))


def _in_order(array: scratch.Array) -> scratch.Array:
    """`array` contiguous; `np.ascontiguousarray` would give a scalar an axis."""
    return np.asarray(array, order="C")


def load_weights(path: Path) -> dict[str, scratch.Array]:
    """Read a safetensors file.

    Raises:
        UserError: as `read_tensors` does, or if it holds a number that is not finite.
    """
    found = read_tensors(path, "give a file of weights that is whole")
    if found.not_finite:
        raise UserError(
            f"{path}: {brief(found.not_finite)} holds NaN or infinity; take weights from before the training diverged"
        )
    return found.tensors
