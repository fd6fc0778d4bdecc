"""What every layer is made of: parameters that own a gradient, buffers that have none, and modules that own both.

There is no graph and no tape. A module remembers in `forward` what its own `backward` will need, and a model calls the
`backward` of its layers in reverse order; that is all that autograd does for these networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from scratch.backend import beside

Array: TypeAlias = npt.NDArray[Any]


class Parameter:
    """A trainable array and the gradient of the loss with respect to it.

    `grad` is None until the first backward pass, as in torch, and has the shape and dtype of `data` from then on.

    Torch twin: `torch.nn.Parameter`.
    """

    def __init__(self, data: Array) -> None:
        self.data = data
        self.grad: Array | None = None

    def accumulate_grad(self, grad: Array) -> None:
        """Add `grad`, of the shape of `data`, to the gradient.

        A parameter that is used twice receives two contributions and needs their sum, so a gradient is never
        overwritten; `zero_grad` starts afresh.
        """
        self.grad = grad if self.grad is None else self.grad + grad

    def __repr__(self) -> str:
        return f"Parameter(shape={self.data.shape}, dtype={self.data.dtype})"


class Buffer:
    """An array that belongs to the state of a module but is not trained: a running mean, a count.

    It has no gradient and no optimizer sees it. The module that owns it changes `data` in place.

    Torch twin: `torch.nn.Buffer`, always persistent.
    """

    def __init__(self, data: Array) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"Buffer(shape={self.data.shape}, dtype={self.data.dtype})"


_Held = TypeVar("_Held", bound=Parameter | Buffer)


class Module:
    """The base of every layer, loss and model: it finds parameters, buffers and submodules among its attributes.

    A subclass assigns `Parameter`, `Buffer` and `Module` attributes in `__init__`, in the order in which torch
    registers them, and defines

    - `forward(x) -> y`: compute the output, and `save_for_backward` what the gradients will need (a loss takes two
      inputs);
    - `backward(grad_output) -> grad_input`: turn the gradient of the output into that of the input, and accumulate
      those of the parameters. Raises RuntimeError before the first `forward`.

    Torch twin: `torch.nn.Module`. Differences: `backward` is written by hand, parameters and buffers are found by
    looking at the attributes instead of by intercepting their assignment, and `load_state_dict` never casts.
    """

    forward: Callable[..., Array]
    backward: Callable[..., Array]
    splits_batches = True  # whether a batch may be cut: every image is taken for itself, and nothing is drawn

    def __init__(self) -> None:
        self.training = True
        self._saved: tuple[Any, ...] | None = None

    def __call__(self, *inputs: Array) -> Array:
        return self.forward(*inputs)

    def backward_parameters(self, grad_output: Array) -> None:
        """Backward for the gradients of the parameters alone, where nobody asks for the gradient of the input.

        Nobody does in training: no layer before the first one learns from it. A layer or model that can save work
        that way defines its own; autograd does the same with an input that does not require a gradient.
        """
        self.backward(grad_output)

    def save_for_backward(self, *values: Any) -> None:
        """Remember what `backward` will need; the next `forward` replaces it.

        Nothing is copied: who writes into an input or output before `backward` changes the gradients, too.
        """
        self._saved = values

    @property
    def saved_for_backward(self) -> tuple[Any, ...]:
        """What the last `forward` saved. Raises RuntimeError before the first one."""
        if self._saved is None:
            raise RuntimeError(f"{type(self).__name__}.backward() was called before forward()")
        return self._saved

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct submodules by attribute name, in the order of their assignment."""
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Module))

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """All modules from this one (named "") downwards, with their dotted names."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """All parameters with their dotted names ("conv1.weight"), own ones first, then those of the submodules."""
        return self._named((Parameter,), prefix)

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Buffer]]:
        """All buffers with their dotted names ("bn1.running_mean"), own ones first, then those of the submodules."""
        return self._named((Buffer,), prefix)

    def _named(self, kinds: tuple[type[_Held], ...], prefix: str) -> Iterator[tuple[str, _Held]]:
        """All attributes of these kinds with their dotted names: module by module, and in each kind by kind."""
        for kind in kinds:
            for name, value in vars(self).items():
                if isinstance(value, kind):
                    yield prefix + name, value
        for name, child in self.named_children():
            yield from child._named(kinds, f"{prefix}{name}.")

    def parameters(self) -> Iterator[Parameter]:
        """All parameters, in the order of `named_parameters`; one that has several names comes once."""
        return iter({id(parameter): parameter for _, parameter in self.named_parameters()}.values())

    def buffers(self) -> Iterator[Buffer]:
        """All buffers, in the order of `named_buffers`; one that has several names comes once."""
        return iter({id(buffer): buffer for _, buffer in self.named_buffers()}.values())

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    def train(self, mode: bool = True) -> Self:
        """Switch this module and its submodules to training mode (`mode=False`: to evaluation)."""
        self.training = mode
        for _, child in self.named_children():
            child.train(mode)
        return self

    def eval(self) -> Self:
        """Switch this module and its submodules to evaluation mode."""
        return self.train(False)

    def to(self, convert: Callable[[Array], Array]) -> Self:
        """Replace every array by `convert(array)`, `cupy.asarray` for instance, and drop the gradients.

        As in torch, only floating-point numbers change their dtype: a count stays a whole number.
        """
        for parameter in self.parameters():
            parameter.data, parameter.grad = convert(parameter.data), None
        for buffer in self.buffers():
            whole = buffer.data.dtype.kind in "biu"
            buffer.data = convert(buffer.data).astype(buffer.data.dtype) if whole else convert(buffer.data)
        return self

    def state_dict(self) -> dict[str, Array]:
        """The arrays of parameters and buffers by name: the arrays themselves, as in torch, not copies.

        In torch's order: of each module the parameters, then the buffers, then the submodules.
        """
        kinds: tuple[type[Parameter | Buffer], ...] = (Parameter, Buffer)
        return {name: held.data for name, held in self._named(kinds, "")}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Copy `state` into the parameters and buffers, after checking that every name, shape and dtype agrees.

        The arrays of `state` may be on another device than the module, as in torch.

        Raises:
            ValueError: naming every missing and unexpected key, or the first array of a wrong shape or dtype. Nothing
                has been copied then.
        """
        own = self.state_dict()
        missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if missing or unexpected:
            raise ValueError(f"{type(self).__name__}: missing keys {missing}, unexpected keys {unexpected}")
        for name, array in own.items():
            given = state[name]
            if given.shape != array.shape or given.dtype != array.dtype:
                raise ValueError(
                    f"{type(self).__name__}: {name} must be {array.dtype}{list(array.shape)}, "
                    f"got {given.dtype}{list(given.shape)}"
                )
        for name, array in own.items():
            array[...] = beside(state[name], array)


class Sequential(Module):
    """Layers applied one after the other; its `backward` is the chain rule, last layer first.

    Torch twin: `torch.nn.Sequential`; the names of the layers are "0", "1", ... here too.

    >>> from scratch import Flatten, ReLU
    >>> Sequential(ReLU(), Flatten())(np.array([[[-1.0, 2.0]]]))
    array([[0., 2.]])
    """

    def __init__(self, *layers: Module) -> None:
        super().__init__()
        for index, layer in enumerate(layers):
            setattr(self, str(index), layer)

    def forward(self, x: Array) -> Array:
        for _, layer in self.named_children():
            x = layer(x)
        return x

    def backward(self, grad_output: Array) -> Array:
        for _, layer in reversed(list(self.named_children())):
            grad_output = layer.backward(grad_output)
        return grad_output

    def backward_parameters(self, grad_output: Array) -> None:
        layers = [layer for _, layer in self.named_children()]
        for layer in reversed(layers[1:]):
            grad_output = layer.backward(grad_output)
        if layers:
            layers[0].backward_parameters(grad_output)


def uniform(
    generator: np.random.Generator | None, bound: float, shape: tuple[int, ...], dtype: npt.DTypeLike
) -> Parameter:
    """A parameter drawn from U(-bound, bound): torch's default initialisation with bound = 1/√fan_in.

    The numbers are drawn in float64 and then rounded, so that one seed gives the same weights in every dtype. Without a
    generator each draw is a new one.

    Raises ValueError for a dtype other than float32 and float64.
    Source: He et al. 2015, "Delving Deep into Rectifiers", as `kaiming_uniform_(a=√5)` in `torch.nn.Linear`.
    """
    generator = np.random.default_rng() if generator is None else generator
    return Parameter(generator.uniform(-bound, bound, shape).astype(float_type(dtype)))


def float_type(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """`dtype` as NumPy's; raises ValueError for one other than float32 and float64."""
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, got {np.dtype(dtype)}")
    return np.dtype(dtype)
