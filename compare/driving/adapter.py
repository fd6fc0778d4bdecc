"""Anybody's class, object or functions, presented as a module: what `scratch.Module` has that drives one.

With it, one and the same observation serves our layers, their layers and the catalogued mistakes. In their code nothing
is changed: weights are put into it before a forward, gradients are taken out after a backward, axes are reordered on
the way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Self

import numpy as np

from compare.driving import calling, paths, signatures, vocabulary
from compare.driving.gradients import Resetting, collect
from compare.driving.interface import Interface
from compare.driving.layouts import IMAGES, LayoutError, for_axes, from_theirs, to_theirs
from compare.driving.making import ConversionError, Functions, MistoldError, UndrivableError
from compare.driving.observe import Buffer, Parameter, is_ours
from compare.driving.options import Axes
from compare.driving.placement import Placement, gradient_word
from compare.driving.tensors import Array, Tensors


def adapt(
    subject: Any,
    interface: Interface,
    state: Tensors,
    buffers: Collection[str],
    dtype: str,
    axes: Mapping[str, Axes] | None = None,
) -> Any:
    """`subject` as a `scratch.Module` with parameters and buffers of these names and shapes; a Module stays what it is.

    Raises:
        UndrivableError: if a method or a parameter cannot be found.
    """
    if is_ours(type(subject), "Module"):
        return subject.to(lambda array: array.astype(dtype) if array.dtype.kind == "f" else array)
    return Adapted(subject, interface, state, buffers, axes)


class Adapted:
    """Drives `subject` as `interface` says, and by the usual names where it says nothing.

    Attributes:
        recovered: the parameters that it updates itself.
        exact: those of them whose gradient it shows all the same.
        ignores_gradient: whether its backward takes no upstream gradient, though it is no loss.
        misshapen: the parameters whose gradient has a shape that cannot be subtracted from theirs, with both shapes.
    """

    def __init__(
        self,
        subject: Any,
        interface: Interface,
        state: Tensors,
        buffers: Collection[str],
        axes: Mapping[str, Axes] | None = None,
    ) -> None:
        self.training = True
        self.subject, self.interface = subject, interface
        self.placement = Placement(
            subject,
            interface,
            {name: Parameter(array.copy()) for name, array in state.items() if name not in buffers},
            {name: Buffer(array.copy()) for name, array in state.items() if name in buffers},
            axes,
        )
        self.functions = subject if isinstance(subject, Functions) else None
        self.forward_call = self._method(interface.forward, vocabulary.FORWARD, "forward")
        self.backward_call = self._method(interface.backward, vocabulary.BACKWARD, "backward")
        self.resetting = Resetting(subject)
        self.recovered: set[str] = set()
        self.exact: set[str] = set()
        self.inputs: tuple[Any, ...] = ()
        self.cache: Any = None
        self.output: Any = None
        self.loss_gradient: Array | None = None
        self.ignores_gradient = False
        self.misshapen: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        self.scalar = True  # a loss of one number, of whatever shape theirs is

    def _method(self, given: str, usual: tuple[str, ...], what: str) -> Any:
        if self.functions is not None:
            return self.functions.forward_function if what == "forward" else self.functions.backward_function
        alike = [] if given else vocabulary.methods_like(what, dir(self.subject))
        for name in (given,) if given else (*usual, *alike):
            method = getattr(self.subject, name, None)
            if callable(method):
                return method
        kind = type(self.subject).__name__
        if given:
            raise MistoldError(f"{kind} has no method {given}")
        if what == "backward":
            return None
        raise UndrivableError(
            f"{kind} has no method called {', '.join(usual[:3])} or the like; name it (--{what} NAME)"
        )

    def __call__(self, *inputs: Array) -> Array:
        return self.forward(*inputs)

    def named_parameters(self) -> Iterable[tuple[str, Parameter]]:
        return self.placement.parameters.items()

    def parameters(self) -> Iterable[Parameter]:
        return self.placement.parameters.values()

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        # Once their code is known, of the buffers only what it has: running statistics may lie where nobody finds them.
        known = self.placement.paths or self.placement.buffers
        return ((name, buffer) for name, buffer in self.placement.buffers.items() if name in known)

    def zero_grad(self) -> None:
        for parameter in self.parameters():
            parameter.grad = None

    def to(self, convert: Callable[[Array], Array]) -> Self:
        """Convert every array; a count stays a whole number."""
        for parameter in self.parameters():
            parameter.data, parameter.grad = convert(parameter.data), None
        for _, buffer in self.named_buffers():
            if buffer.data.dtype.kind == "f":
                buffer.data = convert(buffer.data)
        return self

    def load_state_dict(self, state: Tensors) -> None:
        for name, array in self.state_dict().items():
            array[...] = state[name]

    def state_dict(self) -> Tensors:
        parameters = {name: parameter.data for name, parameter in self.named_parameters()}
        return parameters | {name: buffer.data for name, buffer in self.named_buffers()}

    def eval(self) -> Self:
        return self.train(False)

    def train(self, mode: bool = True) -> Self:
        self.training = mode
        switches = [getattr(self.subject, name, None) for name in ("train", "eval")]
        if all(callable(switch) and not signatures.required_names(switch) for switch in switches):
            switches[0 if mode else 1]()  # type: ignore[misc]
        for name, value in list(getattr(self.subject, "__dict__", {}).items()):
            switch_like = isinstance(value, bool) or (isinstance(value, str) and value.lower() in vocabulary.MODES)
            if vocabulary.plain(name) in vocabulary.MODE_WORDS and switch_like:
                setattr(self.subject, name, mode if isinstance(value, bool) else "train" if mode else "test")
        if self.functions is not None:
            self.functions.settings["mode"] = "train" if mode else "test"
        return self

    def forward(self, *inputs: Array) -> Array:
        first, *rest = inputs
        canonical = IMAGES[first.ndim]
        self.input_layout = canonical, for_axes(self.interface.layout, canonical)
        self.inputs = (to_theirs(first, *self.input_layout), *(self._targets(array, first) for array in rest))
        if not self.placement.paths:
            self._find()
        self.placement.push()
        returned = calling.call_forward(self.forward_call, self.inputs, self.training, self.functions)
        output = self._output(returned)
        self.placement.read_back(self.recovered)
        return output

    def _find(self) -> None:
        missing = self.placement.find()
        if missing:  # perhaps weights are made when the first input is seen
            with suppress(Exception):
                calling.call_forward(self.forward_call, self.inputs, self.training, self.functions)
            missing = self.placement.find(self.inputs)
        if missing:
            shapes = ", ".join(f"{name} {list(self.placement.data(name).shape)}" for name in missing)
            arrays = () if self.functions is not None else paths.arrays(self.subject)
            there = ", ".join(f"{path} {list(array.shape)}" for path, array in arrays) or "none"
            raise UndrivableError(f"cannot find {shapes}; arrays there: {there}; name it (--param NAME=weight)")

    def _targets(self, targets: Array, scores: Array) -> Array:
        """The second input of a loss: classes as whole numbers or one-hot rows, or numbers like the first input."""
        if targets.ndim == scores.ndim:
            return to_theirs(targets, *self.input_layout)
        if self.interface.targets == "one-hot":
            return to_theirs(np.eye(scores.shape[1], dtype=scores.dtype)[targets], *self.input_layout)
        return targets if {"N", "1"} & set(self.input_layout[1]) else targets[0]

    def _output(self, returned: Any) -> Array:
        """The output in torch's layout; the rest of what forward returned is kept for backward."""
        self.cache = self.loss_gradient = None
        if isinstance(returned, tuple) and len(returned) >= 2 and not np.isscalar(returned[-1]):
            returned, *rest = returned
            self.cache = rest[0] if len(rest) == 1 else tuple(rest)
            if len(self.inputs) == 2 and isinstance(self.cache, np.ndarray):
                self.loss_gradient = self.cache  # (loss, gradient), both of one function
        if self.interface.output_from:
            try:
                returned = paths.get(self.subject, self.interface.output_from)
            except (AttributeError, KeyError, IndexError):
                given = self.interface.output_from
                raise MistoldError(f"there is no {given} after forward; correct --output-from {given}") from None
        elif returned is None:
            held = (getattr(self.subject, name, None) for name in vocabulary.OUTPUTS)
            returned = next((value for value in held if value is not None), None)
        if returned is None:
            raise UndrivableError("forward returns nothing, and no attribute is called output; name it (--output-from)")
        y = np.asarray(returned)
        if y.dtype.kind not in "fiub":
            raise ConversionError(f"forward returned {type(returned).__name__} of {y.dtype}: no array of real numbers")
        self.output = y
        if len(self.inputs) == 2:
            return y.reshape(()) if y.size == 1 and self.scalar else y
        self.output_layout = self._layout_of_output(y.ndim)
        try:
            return from_theirs(y, *reversed(self.output_layout))
        except LayoutError:
            return y

    def _layout_of_output(self, ndim: int) -> tuple[str, str]:
        """Which axes an output of so many has: those of the layout if it has as many, else batch and features."""
        theirs, of_input = self.interface.output_layout or self.interface.layout, self.input_layout[1]
        batch = "N" in of_input or "1" in of_input
        canonical = IMAGES.get(ndim + (not batch), "")
        if theirs and len(theirs) == ndim:
            if set(theirs) <= set("NC1"):  # "N": one number for each image
                return "NC", theirs
            images = {"H", "W"} & set(theirs) and set(theirs) <= set("NCHW1")
            return ("NCHW" if images else canonical), theirs
        return canonical, canonical if "N" in of_input else canonical.replace("N", "1" if batch else "")

    def backward(self, grad_output: Array | float = 1.0) -> Any:
        """The gradient of the input; None if they provide none."""
        updates = self.backward_call is not None and (
            calling.asks_for_rate(self.backward_call, self.forward_call) or self._sets_rate()
        )
        try:
            returned, took_gradient = self._call_backward(grad_output)
        except NotImplementedError:
            return None  # that of a base class: there is no backward
        except BaseException as error:
            if self.training or not isinstance(error, Exception):
                raised = self._wants_an_array(error) or error
                raised.in_backward = True  # type: ignore[attr-defined]
                raise raised from None
            return None  # much code has no backward in evaluation, and needs none
        found = collect(returned, self.placement, np.shape(self.inputs[0]), updates=updates)
        self.recovered |= found.recovered
        if updates:  # weights that it changes itself are its own affair, also where it shows the gradients
            self.recovered |= self.placement.changed()
        self.exact |= found.of_parameters.keys() - found.recovered
        for name, gradient in found.of_parameters.items():
            self._accumulate(name, gradient)
        self.placement.read_back(self.recovered)
        if found.of_input is None:
            return None
        grad_input = np.asarray(found.of_input)
        if grad_input.dtype.kind not in "fiub":
            raise ConversionError(
                f"backward gave {type(found.of_input).__name__} of {grad_input.dtype}: no real numbers"
            )
        if not took_gradient and len(self.inputs) == 2:  # a loss is where gradients begin
            grad_input = grad_input * np.asarray(grad_output, grad_input.dtype)
        self.ignores_gradient = not took_gradient and len(self.inputs) == 1
        try:
            return from_theirs(grad_input, *reversed(self.input_layout))
        except LayoutError:
            return grad_input

    def backward_parameters(self, grad_output: Array) -> None:
        """Backward, of which nobody asks for the gradient of the input."""
        self.backward(grad_output)

    def _wants_an_array(self, error: BaseException) -> UndrivableError | None:
        """What to raise in place of an error of a loss's backward that cannot take the gradient of the loss itself."""
        if len(self.inputs) != 2 or not isinstance(error, TypeError | IndexError) or self.backward_call is None:
            return None
        name = calling.gradient_argument(self.backward_call)
        if not name:
            return None
        said = f"{type(error).__name__}: {error}"
        return UndrivableError(
            f"backward breaks where {name} is the gradient of the loss, one number ({said}); "
            "let it take the targets alone, or wrap it in a function of your own"
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """How it was read, in words, where that is told by no more than a name."""
        called = self.backward_call if self.cache is None else None
        slope = calling.slope_at_output(called, self.forward_call) if called is not None else ""
        return (f"its derivative is given the output, as its argument is called {slope}",) if slope else ()

    def adds_up(self, grad_output: Array) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The gradients that one more backward adds to, and those that it overwrites; it must have run once."""
        before = {path: array.copy() for path, array in self._gradients_there()}
        calling.call_backward(
            self.backward_call, self._their_gradient(grad_output), self.inputs, self.cache, self.training, None
        )
        after = {path: array for path, array in self._gradients_there() if path in before and before[path].any()}
        doubled = [path for path, array in after.items() if np.allclose(array, 2 * before[path], rtol=1e-6, atol=0)]
        same = [path for path, array in after.items() if np.array_equal(array, before[path])]
        return tuple(doubled), tuple(same)

    def _gradients_there(self) -> list[tuple[str, Array]]:
        return [(path, array) for path, array in paths.arrays(self.subject) if gradient_word(path) is not None]

    def _accumulate(self, name: str, gradient: Array) -> None:
        """Take over a gradient of theirs; a copy: it may be the array that the next backward adds to."""
        weight = self.placement.pushed[name].shape
        # Functions are given weights of our shape, and what updates itself has found a way.
        own = self.functions is None and name not in self.recovered
        fits = math.prod(_together(weight, gradient.shape)) == gradient.size
        if own and not fits and gradient.size == math.prod(weight):
            self.misshapen[name] = gradient.shape, weight
        self.placement.parameters[name].accumulate_grad(self.placement.canonical(name, gradient).copy())

    def _call_backward(self, grad_output: Array | float) -> tuple[Any, bool]:
        if self.backward_call is None:
            return self.loss_gradient, False
        if self.functions is None:
            self.resetting.reset()
        return calling.call_backward(
            self.backward_call,
            self._their_gradient(grad_output),
            self.inputs,
            self.cache,
            self.training,
            self.functions,
            self.forward_call,
            self.output,
        )

    def _sets_rate(self) -> bool:
        """Set a learning rate that the object holds to everybody's; whether it holds one."""
        held = [
            name
            for name in getattr(self.subject, "__dict__", {})
            if vocabulary.plain(name) in vocabulary.HELD_RATE_WORDS
        ]
        held = [name for name in held if isinstance(getattr(self.subject, name), int | float)]
        for name in held:
            setattr(self.subject, name, calling.RATE)
        return bool(held)

    def _their_gradient(self, grad_output: Array | float) -> Any:
        if len(self.inputs) == 2:
            return grad_output
        try:
            return to_theirs(np.asarray(grad_output), *self.output_layout)
        except (LayoutError, ValueError):
            return grad_output  # their output has another shape than it should: they get the gradient as it is


def _together(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a - b; that of a where they do not go together at all."""
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        return a
