"""Anybody's class, object or functions, presented as a `scratch.Module`.

With it, one and the same observation serves our layers, their layers and the catalogued mistakes. In their code nothing
is changed: weights are put into it before a forward, gradients are taken out after a backward, axes are reordered on the
way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from compare.diagnosis import calling, names, paths
from compare.diagnosis.calling import Functions, Undrivable
from compare.diagnosis.interface import Interface
from compare.diagnosis.layouts import IMAGES, WEIGHTS, LayoutError, for_axes, from_own, to_own
from compare.observe import Tensors
from scratch import Array, Buffer, Module, Parameter


def adapt(subject: Any, interface: Interface, state: Tensors, buffers: frozenset[str], dtype: str) -> Module:
    """`subject` as a `scratch.Module` with parameters and buffers of these names and shapes; a Module stays what it is.

    Raises:
        Undrivable: if a method or a parameter cannot be found.
    """
    if isinstance(subject, Module):
        return subject.to(lambda array: array.astype(dtype) if array.dtype.kind == "f" else array)
    return Adapted(subject, interface, state, buffers)


class Adapted(Module):
    """Drives `subject` as `interface` says, and by the usual names where it says nothing.

    Attributes:
        recovered: the parameters whose gradient had to be taken from an update of the weights.
    """

    def __init__(self, subject: Any, interface: Interface, state: Tensors, buffers: frozenset[str]) -> None:
        super().__init__()
        self.subject, self.interface = subject, interface
        self.state_names = list(state)
        self.own_parameters = {name: Parameter(array.copy()) for name, array in state.items() if name not in buffers}
        self.own_buffers = {name: Buffer(array.copy()) for name, array in state.items() if name in buffers}
        self.functions = subject if isinstance(subject, Functions) else None
        self.forward_call = self._method(interface.forward, names.FORWARD, "forward")
        self.backward_call = self._method(interface.backward, names.BACKWARD, "backward")
        self.recovered: set[str] = set()
        self._paths: dict[str, str] | None = None
        self._pushed: dict[str, Array] = {}
        self._before_backward: dict[str, Any] | None = None
        self._inputs: tuple[Any, ...] = ()
        self._own_output: Any = None
        self._cache: Any = None

    def _named(self, kinds: tuple[type[Any], ...], prefix: str) -> Iterator[tuple[str, Any]]:
        # Once their code is known, of the buffers only what it has: running statistics may lie where nobody finds them.
        known = self.own_buffers if self._paths is None else self._paths
        buffers = {name: buffer for name, buffer in self.own_buffers.items() if name in known}
        for name, held in (self.own_parameters | buffers).items():
            if isinstance(held, kinds):
                yield prefix + name, held

    def train(self, mode: bool = True) -> Adapted:
        self.training = mode
        switch = getattr(self.subject, "train" if mode else "eval", None)
        if callable(switch) and callable(getattr(self.subject, "eval", None)):
            switch()
        for name, value in list(getattr(self.subject, "__dict__", {}).items()):
            if names.plain(name) in names.MODE_WORDS:
                if isinstance(value, bool):
                    setattr(self.subject, name, mode)
                elif isinstance(value, str):
                    setattr(self.subject, name, "train" if mode else "test")
        if self.functions is not None:
            self.functions.settings["mode"] = "train" if mode else "test"
        return self

    # Forward

    def forward(self, *inputs: Array) -> Array:
        first, *rest = inputs
        canonical = IMAGES[first.ndim]
        own = for_axes(self.interface.layout, canonical)
        self._input_layout = canonical, own
        self._inputs = (to_own(first, canonical, own), *(self._targets(array, first) for array in rest))
        if self._paths is None:
            self._paths = self._find()
        self._push()
        returned = calling.call_forward(self.forward_call, self._inputs, self.training, self.functions)
        output = self._output(returned)
        self._read_back()
        return output

    def _targets(self, targets: Array, scores: Array) -> Array:
        if self.interface.targets == "one-hot":
            targets = np.eye(scores.shape[1], dtype=scores.dtype)[targets]
        return targets if "N" in for_axes(self.interface.layout, IMAGES[scores.ndim]) else targets[0]

    def _output(self, returned: Any) -> Array:
        self._cache = None
        self._loss_gradient = None
        if isinstance(returned, tuple | list) and len(returned) >= 2:
            if len(self._inputs) == 2 and isinstance(returned[1], np.ndarray):
                self._loss_gradient = returned[1]  # (loss, gradient) of one function
            self._cache, returned = returned[1] if len(returned) == 2 else returned[1:], returned[0]
        if self.interface.output_from:
            returned = paths.get(self.subject, self.interface.output_from)
        elif returned is None:
            returned = next((getattr(self.subject, n) for n in names.OUTPUTS if hasattr(self.subject, n)), None)
        if returned is None:
            raise Undrivable("forward returns nothing, and no attribute is called output; name it (output_from)")
        y = np.asarray(returned)
        if y.dtype == object:
            raise TypeError(f"forward returned {type(returned).__name__}, which is no array of numbers")
        if len(self._inputs) == 2:
            return y.reshape(()) if y.size == 1 else y
        # Which axes the output has is not known here: those of the layout if it has as many, else batch and features.
        own = self.interface.output_layout or self.interface.layout
        with_batch = "N" in (self._input_layout[1] or "N")
        if own and len(own) == y.ndim:
            canonical = "NCHW" if not set(own) - set("NCHW") else IMAGES[y.ndim + (not with_batch)]
        else:
            canonical = IMAGES.get(y.ndim + (not with_batch), "")
            own = canonical if with_batch else canonical.replace("N", "")
        self._output_layout = canonical, own
        try:
            return from_own(y, own, canonical)
        except (LayoutError, KeyError):
            return y

    # Backward

    def backward(self, grad_output: Array | float = 1.0) -> Any:
        """The gradient of the input; None if they provide none."""
        assert self._paths is not None
        if self.backward_call is None:
            if self._loss_gradient is None:
                return None
            returned, took_gradient = self._loss_gradient, False
        else:
            self._reset_gradients()
            try:
                returned, took_gradient = calling.call_backward(
                    self.backward_call,
                    self._own_gradient(grad_output),
                    self._inputs,
                    self._cache,
                    self.training,
                    self.functions,
                )
            except Exception:
                if self.training:
                    raise
                return None  # much code has no backward in evaluation, and needs none
        grad_input = self._collect(returned)
        if grad_input is None:
            return None
        if not took_gradient:
            grad_input = grad_input * np.asarray(grad_output, np.asarray(grad_input).dtype)
        canonical, own = self._input_layout
        try:
            return from_own(np.asarray(grad_input), own, canonical)
        except LayoutError:
            return np.asarray(grad_input)

    def _own_gradient(self, grad_output: Array | float) -> Any:
        if len(self._inputs) == 2:
            return grad_output
        canonical, own = self._output_layout
        g = np.asarray(grad_output)
        try:
            return to_own(g, canonical, own)
        except (LayoutError, ValueError):
            return g  # their output has another shape than it should: they get the gradient as it is

    def _collect(self, returned: Any) -> Any:
        """Hand the gradients of the parameters to them, and return that of the input."""
        assert self._paths is not None
        found: dict[str, Array] = {}
        grad_input: Any = None
        parts: list[tuple[str, Any]] = []
        if isinstance(returned, dict):
            parts = [(str(key), value) for key, value in returned.items()]
        elif isinstance(returned, tuple | list) and len(returned) >= 1 and not np.isscalar(returned[0]):
            grad_input, *rest = returned
            parts = [("", value) for value in rest]
            if isinstance(grad_input, dict):  # ({"dW": ...}, dx) or the like
                parts, grad_input = [(str(k), v) for k, v in grad_input.items()], rest[0] if rest else None
            elif rest and isinstance(rest[0], dict):
                parts = [(str(k), v) for k, v in rest[0].items()]
        else:
            grad_input = returned
        for own, target in self.interface.gradients.items():
            value = returned[int(own)] if own.isdigit() else paths.get(self.subject, own)
            if target in ("input", "x", "grad_input"):
                grad_input = value
            elif value is not None:
                found[target.partition(":")[0]] = np.asarray(value)
        for key, value in parts:
            if value is None:
                continue
            array = np.asarray(value)
            name = self._whose_gradient(key, array, found)
            if name is not None:
                found[name] = array
            elif grad_input is None and array.shape == np.shape(self._inputs[0]):
                grad_input = array
        inside = {} if self.functions is not None else dict(paths.arrays(self.subject))
        for name in self.own_parameters:
            if name not in found:
                found |= {name: g for g in [self._gradient_attribute(name, inside)] if g is not None}
        for name in self.own_parameters.keys() - found.keys():
            path = self._paths.get(name)
            if path is None or self.functions is not None:
                continue
            before, after = self._pushed[name], np.asarray(paths.get(self.subject, path))
            if not np.array_equal(before, after) or (
                self.backward_call is not None and calling.asks_for_rate(self.backward_call)
            ):
                found[name] = (before - after) / np.asarray(calling.RATE, before.dtype)
                self.recovered.add(name)
        for name, gradient in found.items():
            if name in self.own_parameters:
                self.own_parameters[name].accumulate_grad(self._canonical(name, gradient))
        self._read_back()
        if grad_input is None or (isinstance(grad_input, np.ndarray) and grad_input.dtype == object):
            shape = np.shape(self._inputs[0])
            grad_input = next((inside[n] for n in names.GRAD_INPUTS if n in inside and inside[n].shape == shape), None)
        return grad_input

    def _whose_gradient(self, key: str, array: Array, taken: Mapping[str, Array]) -> str | None:
        """The parameter that a returned gradient belongs to: by its key, else the next one of its shape."""
        subject = names.gradient_of(key) or key
        for name in self.own_parameters:
            if key and name not in taken and names.same_thing(subject, name.rpartition(".")[2]):
                return name
        for name in self.own_parameters:
            if not key and name not in taken and self._fits(array, name):
                return name
        return None

    def _gradient_attribute(self, name: str, inside: Mapping[str, Array]) -> Array | None:
        """The array that holds the gradient of a parameter: beside it, or called after it."""
        assert self._paths is not None
        path = self._paths.get(name)
        if path is None:
            return None
        holder, _, leaf = path.rpartition(".")
        if leaf in HOLDERS:
            return next((inside[f"{holder}.{g}"] for g in ("grad", "gradient") if f"{holder}.{g}" in inside), None)
        own, place = _last_word(path), _place(path)
        found = []
        for candidate, array in inside.items():
            of = _gradient_word(candidate)
            if of is None or not self._fits(array, name):
                continue
            if names.plain(of) == names.plain(own) or names.same_thing(of, name.rpartition(".")[2]):
                found.append((_place(candidate) != place, of != own.lower(), candidate))
        return inside[min(found)[2]] if found else None

    def _reset_gradients(self) -> None:
        """Make what holds gradients as it was before the first backward: of this call alone they are wanted."""
        if self.functions is not None:
            return
        present = {path: array for path, array in paths.arrays(self.subject) if _gradient_word(path) is not None}
        if self._before_backward is None:
            self._before_backward = {path: array.copy() for path, array in present.items()}
            return
        for path, array in present.items():
            was = self._before_backward.get(path)
            if was is None or was.shape != array.shape:
                paths.put(self.subject, path, None)
            elif array.flags.writeable:
                array[...] = was

    # Parameters

    def _method(self, given: str, usual: tuple[str, ...], what: str) -> Any:
        if self.functions is not None:
            return self.functions.forward_function if what == "forward" else self.functions.backward_function
        for name in (given,) if given else usual:
            method = getattr(self.subject, name, None)
            if callable(method):
                return method
        kind = type(self.subject).__name__
        if given:
            raise Undrivable(f"{kind} has no method {given}")
        if what == "backward":
            raise Undrivable(
                f"{kind} has no method called {', '.join(usual[:3])} or the like; name it (--backward NAME)"
            )
        raise Undrivable(f"{kind} has no method called {', '.join(usual[:2])} or the like; name it (--forward NAME)")

    def _find(self) -> dict[str, str]:
        found = self._find_parameters()
        if self.own_parameters.keys() - found.keys():  # weights that are made when the first input is seen
            calling.call_forward(self.forward_call, self._inputs, self.training, self.functions)
            found = self._find_parameters()
        missing = sorted(self.own_parameters.keys() - found.keys())
        if missing:
            there = ", ".join(f"{path} {list(array.shape)}" for path, array in self._candidates()) or "none"
            raise Undrivable(
                f"cannot find {', '.join(missing)} of shape "
                f"{', '.join(str(list(self.own_parameters[name].data.shape)) for name in missing)}; arrays there: {there}; "
                "name it (--param NAME=weight)"
            )
        return found

    def _candidates(self) -> list[tuple[str, Array]]:
        return [] if self.functions is not None else list(paths.arrays(self.subject))

    def _find_parameters(self) -> dict[str, str]:
        """Where each parameter and buffer is."""
        found = dict(self.interface.own_parameters())
        if self.functions is not None:
            return found | self._find_arguments(self.functions)
        candidates = [
            (p, a) for p, a in self._candidates() if _gradient_word(p) is None or p in self.interface.parameters
        ]
        for name in self.state_names:
            if name in found:
                continue
            prefix, _, leaf = name.rpartition(".")
            fitting = [
                (
                    not names.same_thing(_last_word(path), leaf),
                    bool(prefix) and prefix not in path,
                    number,
                    path,
                )
                for number, (path, array) in enumerate(candidates)
                if path not in found.values() and self._fits(array, name)
            ]
            named = [entry for entry in fitting if not entry[0]]
            if named:
                found[name] = min(named)[3]
            elif len(fitting) == 1 and len(self._shape(name)) > 1:
                found[name] = fitting[0][3]
        return found

    def _find_arguments(self, functions: Functions) -> dict[str, str]:
        """Which arguments of their functions take the weights."""
        found: dict[str, str] = {}
        wanted = calling._parameters(functions.forward_function, 1)
        for name in self.own_parameters:
            leaf = name.rpartition(".")[2]
            match = [word for word in wanted if names.same_thing(word, leaf)]
            if match:
                functions.arguments[match[0]] = self._own(name)
                found[name] = f"arguments[{match[0]!r}]"
        for name, buffer in self.own_buffers.items():
            functions.settings[name] = buffer.data.copy()
            found[name] = f"settings[{name!r}]"
        return found

    def _shape(self, name: str) -> tuple[int, ...]:
        return self._data(name).shape

    def _data(self, name: str) -> Array:
        return (self.own_parameters.get(name) or self.own_buffers[name]).data

    def _layout(self, name: str) -> tuple[str, str]:
        canonical = WEIGHTS.get(len(self._shape(name)), "")
        return canonical, self.interface.layout_of(name) or canonical

    def _own(self, name: str) -> Array:
        """The parameter in their layout."""
        data = self._data(name)
        canonical, own = self._layout(name)
        return to_own(data, canonical, own) if own != canonical else data

    def _fits(self, array: Array, name: str) -> bool:
        """Whether `array` has the shape that the parameter has in their layout; vectors may stand or lie."""
        if array.dtype.kind not in "fiu":
            return False
        if len(self._shape(name)) <= 1:
            return array.size == self._data(name).size and max(array.shape, default=1) == array.size
        try:
            return array.shape == self._own(name).shape
        except LayoutError:
            return False

    def _canonical(self, name: str, own_array: Array) -> Array:
        """Their array in torch's layout; as it is where its shape does not fit."""
        shape, (canonical, own) = self._shape(name), self._layout(name)
        if len(shape) <= 1 and own_array.size == self._data(name).size:
            return own_array.reshape(shape)
        try:
            return from_own(own_array, own, canonical)
        except LayoutError:
            return own_array

    def _push(self) -> None:
        """Put the parameters into their code, before every forward; buffers, which are theirs to change, only once."""
        assert self._paths is not None
        for name, path in self._paths.items():
            if name in self.own_buffers and name in self._pushed:
                continue
            own = self._own(name)
            there = None
            try:
                there = paths.get(self.subject, path)
            except (AttributeError, KeyError, IndexError):
                pass
            if isinstance(there, np.ndarray) and there.size == own.size and own.ndim <= 1:
                own = own.reshape(there.shape)
            if isinstance(there, np.ndarray) and there.shape != own.shape:
                raise ValueError(f"{path} has shape {list(there.shape)}, {name} needs {list(own.shape)}")
            self._pushed[name] = own.copy()
            if isinstance(there, np.ndarray) and there.dtype == own.dtype and there.flags.writeable:
                there[...] = own  # in place: other attributes may be views of it
            else:
                paths.put(self.subject, path, own.copy())

    def _read_back(self) -> None:
        """What became of their weights and running statistics; weights that they update themselves are put back."""
        assert self._paths is not None
        for name, path in self._paths.items():
            now = np.asarray(paths.get(self.subject, path))
            if name in self.own_buffers:
                self.own_buffers[name].data = self._canonical(name, now).astype(self.own_buffers[name].data.dtype)
            elif name not in self.recovered and not np.array_equal(now, self._pushed[name], equal_nan=True):
                self.own_parameters[name].data = self._canonical(name, now.copy())


HOLDERS = ("data", "value", "val", "values")
_GRADIENT_HOLDERS = {"grads", "grad", "gradients", "gradient", "dparams", "derivatives"}


def _words(path: str) -> list[str]:
    return [word for word in re.split(r"[.\[\]'\"]+", path) if word and not word.isdigit()]


def _last_word(path: str) -> str:
    words = [word for word in _words(path) if word not in HOLDERS]
    return words[-1] if words else path


def _place(path: str) -> tuple[str, ...]:
    """Where an array lies, without the word for what it is: gradients often lie beside their weights."""
    return tuple(re.findall(r"\d+", path)) + tuple(word for word in _words(path)[:-1] if word.lower() not in PLACES)


PLACES = _GRADIENT_HOLDERS | {"params", "parameters", "weights"}


def _gradient_word(path: str) -> str | None:
    """What the array at `path` is a gradient of, by its name ("dW") or its place ("grads['W']"); None if of nothing."""
    words = _words(path)
    if not words:
        return None
    if any(word.lower() in _GRADIENT_HOLDERS for word in words[:-1]):
        return names.gradient_of(words[-1]) or words[-1].lower()
    if words[-1].lower() in _GRADIENT_HOLDERS and len(words) > 1:
        return words[-2].lower()
    of = names.gradient_of(words[-1])
    known = names.WEIGHT_WORDS | names.BIAS_WORDS
    return of if of is not None and names.plain(of) in known else None
