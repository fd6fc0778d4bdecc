"""Where somebody's weights and running statistics are, and how they get there and back in the right layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from inspect import isfunction
from typing import Any

import numpy as np

from compare.driving import paths, signatures, vocabulary
from compare.driving.interface import Interface
from compare.driving.layouts import LayoutError, from_theirs, to_theirs
from compare.driving.making import ConversionError, Functions, MistoldError, refuse_missing
from compare.driving.observe import Buffer, Parameter
from compare.driving.options import USUAL_AXES, Axes
from compare.driving.tensors import Array


class Placement:
    """Torch's parameters and buffers, and the places of theirs.

    Attributes:
        axes: those of each; where it has none, the usual ones for their number.
        paths: where each is; empty until `find` has been called.
        pushed: what was put there last, in their layout.
    """

    def __init__(
        self,
        subject: Any,
        interface: Interface,
        parameters: dict[str, Parameter],
        buffers: dict[str, Buffer],
        axes: Mapping[str, Axes] | None = None,
    ) -> None:
        self.subject, self.interface = subject, interface
        self.parameters, self.buffers, self.axes = parameters, buffers, axes or {}
        self.functions = subject if isinstance(subject, Functions) else None
        self.paths: dict[str, str] = {}
        self.pushed: dict[str, Array] = {}

    def find(self, seen: Sequence[Any] = ()) -> list[str]:
        """Look for every parameter and buffer; returns the parameters that were not found.

        Args:
            seen: what forward was given, and may have kept: no weights.
        """
        found = self.interface.their_parameters()
        for name, path in found.items():
            if self.functions is None and self._there(path) is None:
                there = ", ".join(path for path, _ in paths.arrays(self.subject)) or "none"
                raise MistoldError(f"there is no array {path}; there is {there}; correct --param {path}={name}")
        if self.functions is not None:
            found |= self._find_arguments(self.functions, found)
        else:
            found |= self._find_arrays(found, seen)
        self.paths = found
        return sorted(self.parameters.keys() - found.keys())

    def _find_arrays(self, named: dict[str, str], seen: Sequence[Any]) -> dict[str, str]:
        candidates = [
            (path, array)
            for path, array in paths.arrays(self.subject)
            if gradient_word(path) is None and not any(np.array_equal(array, given) for given in seen)
        ]
        found: dict[str, str] = {}
        for name in (*self.parameters, *self.buffers):
            prefix, _, leaf = name.rpartition(".")
            taken = {*named.values(), *found.values()}
            fitting = [path for path, array in candidates if path not in taken and self.fits(array, name)]
            called = [path for path in fitting if vocabulary.same_thing(last_word(path), leaf)]
            if name in named:
                continue
            kept = [path for path in fitting if vocabulary.plain(last_word(path)) not in KEPT]
            if called:
                found[name] = min(called, key=lambda path: bool(prefix) and prefix not in path)
            elif len(kept) == 1 and self.data(name).ndim > 1:
                found[name] = kept[0]
        return found

    def _find_arguments(self, functions: Functions, named: dict[str, str]) -> dict[str, str]:
        """Which arguments of their functions take the weights; running statistics go into the settings."""
        wanted = signatures.argument_names(functions.forward_function)
        takes: dict[str, str] = {}
        for name, word in named.items():
            if word in wanted:
                takes[name] = word
            elif word.isidentifier():
                there = ", ".join(wanted)
                raise MistoldError(f"there is no argument {word}; there is {there}; correct --param {word}={name}")
        for name in [name for name in self.parameters if name not in named]:
            free = [word for word in wanted if word not in takes.values()]
            match = [word for word in free if vocabulary.same_thing(word, name.rpartition(".")[2])]
            if match:
                takes[name] = match[0]
        leaves = {name.rpartition(".")[2] for name in self.parameters}
        free = [word for word in wanted if word not in takes.values()]
        refuse_missing(free, functions.about, leaves)
        forward = functions.forward_function
        functions.arguments |= {word: _as_indexed(forward, word, self.theirs(name)) for name, word in takes.items()}
        found = {name: f"arguments[{word!r}]" for name, word in takes.items()}
        for name, buffer in self.buffers.items():
            if name in takes or buffer.data.dtype.kind == "i":  # nobody else counts batches
                continue
            functions.settings[name] = buffer.data.copy()
            found[name] = f"settings[{name!r}]"
        return found

    def data(self, name: str) -> Array:
        """The parameter or buffer, in torch's layout."""
        return self.parameters[name].data if name in self.parameters else self.buffers[name].data

    def theirs(self, name: str) -> Array:
        """The same in their layout. Raises LayoutError if that does not fit."""
        canonical, theirs = self._layouts(name)
        array = to_theirs(self.data(name), canonical, theirs) if theirs != canonical else self.data(name)
        upright = self.functions is not None and self.interface.layout in ("CN", "C1")
        return array[:, None] if upright and array.ndim == 1 else array  # beside columns, a bias is a column

    def _layouts(self, name: str) -> tuple[str, str]:
        canonical = (self.axes.get(name) or USUAL_AXES.get(self.data(name).ndim, Axes(""))).torch
        return canonical, self.interface.layout_of(name) or canonical

    def fits(self, array: Array, name: str) -> bool:
        """Whether `array` has the shape that the parameter has in their layout; vectors may stand or lie."""
        if array.dtype.kind not in "fiu":
            return False
        if self.data(name).ndim <= 1:
            return array.size == self.data(name).size and max(array.shape, default=1) == array.size
        try:
            return array.shape == self.theirs(name).shape
        except LayoutError:
            return False

    def canonical(self, name: str, their_array: Array) -> Array:
        """Their array in torch's layout; as it is where its shape does not fit."""
        shape, (canonical, theirs) = self.data(name).shape, self._layouts(name)
        if len(shape) <= 1 and their_array.size == self.data(name).size:
            return their_array.reshape(shape)
        try:
            return from_theirs(their_array, theirs, canonical)
        except LayoutError:
            return their_array

    def push(self) -> None:
        """Put the parameters into their code, before every forward; buffers, which are theirs to change, only once.

        Raises ConversionError if theirs has another shape.
        """
        for name, path in self.paths.items():
            if name in self.buffers and name in self.pushed:
                continue
            theirs, there = self.theirs(name), self._there(path)
            if there is not None and theirs.ndim <= 1 and there.size == theirs.size:
                theirs = theirs.reshape(there.shape)
            if there is not None and there.shape != theirs.shape:
                raise ConversionError(f"{path} has shape {list(there.shape)}, {name} needs {list(theirs.shape)}")
            self.pushed[name] = theirs.copy()
            if there is not None and there.dtype == theirs.dtype and there.flags.writeable:
                there[...] = theirs  # in place: other attributes may be views of it
            else:
                paths.put(self.subject, path, theirs.copy())

    def _there(self, path: str) -> Array | None:
        try:
            found = paths.get(self.subject, path)
        except (AttributeError, KeyError, IndexError):
            return None
        return found if isinstance(found, np.ndarray) else None

    def update_of(self, name: str, rate: float) -> Array | None:
        """The gradient behind what became of a weight since it was put there; None if it did not change."""
        path = self.paths.get(name)
        if path is None or self.functions is not None:
            return None
        before, after = self.pushed[name], np.asarray(paths.get(self.subject, path))
        return None if np.array_equal(before, after) else (before - after) / np.asarray(rate, before.dtype)

    def changed(self) -> set[str]:
        """The parameters that are no longer what was put there."""
        there = {name: self._there(path) for name, path in self.paths.items() if name in self.parameters}
        return {name for name, now in there.items() if now is not None and not np.array_equal(now, self.pushed[name])}

    def read_back(self, updated: set[str]) -> None:
        """Take over what became of their weights and running statistics, but not of weights that they update."""
        for name, path in self.paths.items():
            now = np.asarray(paths.get(self.subject, path))
            if name in self.buffers:
                self.buffers[name].data = self.canonical(name, now).astype(self.buffers[name].data.dtype)
            elif name not in updated and not np.array_equal(now, self.pushed[name], equal_nan=True):
                self.parameters[name].data = self.canonical(name, now.copy())


# What layers keep that is no weight, whatever its shape.
KEPT = vocabulary.INPUT_WORDS | vocabulary.OUTPUT_WORDS | {"h", "probs", "p", "mask", "cols", "col", "cache"}
HOLDERS = ("data", "value", "val", "values")  # attributes of an object that is a parameter
GRADIENT_HOLDERS = {"grads", "grad", "gradients", "gradient", "dparams", "derivatives"}


def _as_indexed(function: Callable[..., Any], argument: str, array: Array) -> Array:
    """A vector with as many axes as a function indexes: (1, 1, 1, C) for `b[:, :, :, c]`."""
    indices = signatures.indices_of(function, argument) if array.ndim == 1 and isfunction(function) else []
    if len({len(index) for index in indices}) != 1 or len(indices[0]) < 2:
        return array
    axes = [axis for index in indices for axis, part in enumerate(index) if part not in (":", "0")]
    shape = [1] * len(indices[0])
    shape[axes[0] if axes else -1] = array.size
    return array.reshape(shape)


@lru_cache(maxsize=4096)
def last_word(path: str) -> str:
    """What an array is called: the last name in its path that says more than "data".

    >>> last_word("layers[0].weight.data")
    'weight'
    """
    words = [word for word in paths.words(path) if word not in HOLDERS]
    return words[-1] if words else path


@lru_cache(maxsize=4096)
def gradient_word(path: str) -> str | None:
    """What the array at `path` is a gradient of, by its name or its place; None if of nothing.

    >>> gradient_word("dW"), gradient_word("grads['W']"), gradient_word("weight.grad"), gradient_word("W")
    ('w', 'w', 'weight', None)
    """
    words = paths.words(path)
    if not words:
        return None
    if any(word.lower() in GRADIENT_HOLDERS for word in words[:-1]):
        return vocabulary.gradient_of(words[-1]) or words[-1].lower()
    if words[-1].lower() in GRADIENT_HOLDERS and len(words) > 1:
        return words[-2].lower()
    of = vocabulary.gradient_of(words[-1])
    return of if of is not None and vocabulary.plain(of) in vocabulary.WEIGHT_WORDS | vocabulary.BIAS_WORDS else None
