"""Arrays and their names: what code is given for one probe, and how the tensors that are seen of it are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Tensors = dict[str, Array]

SAME = {"float64": 1e-10, "float32": 1e-5}  # of the largest element: mistakes differ by more, roundings by less


@dataclass(frozen=True)
class Call:
    """One forward and backward pass: the inputs (a loss takes two), and the gradient of the output."""

    inputs: tuple[Array, ...]
    grad_output: Array


@dataclass(frozen=True, eq=False)
class Given:
    """What a layer, loss, optimizer or model is given for one probe.

    Attributes:
        case: its name in reports.
        dtype: "float64" or "float32".
        options: the constructor's arguments.
        state: parameters and buffers, by name; for an optimizer, the parameters at the start.
        calls: inputs and upstream gradients, one after the other; for a model, images and labels.
        gradients: for an optimizer, the gradients of each step.
        layout: how the arrays of the calls lie in memory, one of `LAYOUTS`.
    """

    case: str
    dtype: str
    options: dict[str, Any]
    state: Tensors
    calls: tuple[Call, ...] = ()
    gradients: tuple[Tensors, ...] = ()
    layout: str = "contiguous"

    @property
    def bare(self) -> Given:
        """The same without what a derived class adds."""
        return Given(**{part.name: getattr(self, part.name) for part in fields(Given)})


@dataclass(frozen=True)
class Driven:
    """What a candidate gave for a probe.

    Attributes:
        tensors: outputs and gradients, by name.
        updated: the parameters that it updates itself.
        recovered: those of them whose gradient was taken from the update.
        placed: where its weights are, by torch's names.
        ignores_gradient: whether its backward takes no upstream gradient, though it is no loss.
        misshapen: gradients, by name, whose shape does not go with that of their weight, and why, in words.
        notes: how it was read, in words.
    """

    tensors: Tensors = field(default_factory=dict)
    updated: tuple[str, ...] = ()
    recovered: tuple[str, ...] = ()
    placed: tuple[tuple[str, str], ...] = ()
    ignores_gradient: bool = False
    misshapen: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def gradient_name(parameter: str) -> str:
    """The name of a parameter's gradient: "conv1.weight" has "conv1.grad_weight"."""
    owner, dot, leaf = parameter.rpartition(".")
    return f"{owner}{dot}grad_{leaf}"


def call_names(calls: Sequence[Call]) -> list[str]:
    """What is added to the name of a tensor to say which call it belongs to; nothing where there is only one."""
    return [""] if len(calls) == 1 else [f" of call {number}" for number in range(1, len(calls) + 1)]


def arguments_after_use(call: Call, name: str) -> Tensors:
    """The arrays that a call was given, under the names that say so."""
    seen = {f"input {n} after use{name}" if n else f"input after use{name}": x for n, x in enumerate(call.inputs)}
    return seen | {f"grad_output after use{name}": call.grad_output}


def _strided(x: Array) -> Array:
    """`x` as every second element of a larger array: a view that is contiguous nowhere."""
    wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), np.nan, x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


def _read_only(x: Array) -> Array:
    frozen = x.copy()
    frozen.flags.writeable = False
    return frozen


# What each is for: code that trusts the memory instead of the shape, or writes where it should only read.
LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "contiguous": np.ascontiguousarray,
    "strided": _strided,
    "fortran": np.asfortranarray,
    "batch last": lambda x: np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0),
    "read-only": _read_only,
}


def laid_out(call: Call, layout: str) -> Call:
    """A copy of a call with its arrays in another memory layout."""
    lay = LAYOUTS[layout]
    first, *rest = (array.copy() for array in call.inputs)
    grad_output = call.grad_output.copy()
    return Call((lay(first), *rest), lay(grad_output) if grad_output.ndim else grad_output)
