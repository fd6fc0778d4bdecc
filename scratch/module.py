"""What every layer is made of: parameters that own a gradient, and modules that own parameters.

There is no graph and no tape. A module remembers in `forward` what its own `backward` will need, and a model calls the
`backward` of its layers in reverse order; that is all that autograd does for these networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

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


class Module:
    """The base of every layer, loss and model: it finds parameters and submodules among its attributes.

    A subclass assigns `Parameter` and `Module` attributes in `__init__`, in the order in which torch registers them,
    and defines

    - `forward(x) -> y`: compute the output, and `save_for_backward` what the gradients will need (a loss takes two
      inputs);
    - `backward(grad_output) -> grad_input`: turn the gradient of the output into that of the input, and accumulate
      those of the parameters. Raises RuntimeError before the first `forward`.

    Torch twin: `torch.nn.Module`. Differences: `backward` is written by hand, parameters are found by looking at the
    attributes instead of by intercepting their assignment, and `load_state_dict` never casts.
    """

    forward: Callable[..., Array]
    backward: Callable[..., Array]

    def __init__(self) -> None:
        self.training = True
        self._saved: tuple[Any, ...] | None = None

    def __call__(self, *inputs: Array) -> Array:
        return self.forward(*inputs)

    def save_for_backward(self, *values: Any) -> None:
        """Remember what `backward` will need; the next `forward` replaces it."""
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
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield prefix + name, value
        for name, child in self.named_children():
            yield from child.named_parameters(f"{prefix}{name}.")

    def parameters(self) -> Iterator[Parameter]:
        """All parameters, in the order of `named_parameters`; one that has several names comes once."""
        return iter({id(parameter): parameter for _, parameter in self.named_parameters()}.values())

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
        """Replace every parameter array by `convert(array)`, `cupy.asarray` for instance, and drop the gradients."""
        for parameter in self.parameters():
            parameter.data, parameter.grad = convert(parameter.data), None
        return self

    def state_dict(self) -> dict[str, Array]:
        """The parameter arrays by name: the arrays themselves, as in torch, not copies."""
        return {name: parameter.data for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Copy `state` into the parameters, after checking that every name, shape and dtype agrees.

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
            array[...] = state[name]


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


def uniform(
    generator: np.random.Generator | None, bound: float, shape: tuple[int, ...], dtype: npt.DTypeLike
) -> Parameter:
    """A parameter drawn from U(-bound, bound): torch's default initialisation with bound = 1/√fan_in.

    The numbers are drawn in float64 and then rounded, so that one seed gives the same weights in every dtype. Without a
    generator each draw is a new one.

    Raises ValueError for a dtype other than float32 and float64.
    Source: He et al. 2015, "Delving Deep into Rectifiers", as `kaiming_uniform_(a=√5)` in `torch.nn.Linear`.
    """
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, got {np.dtype(dtype)}")
    generator = np.random.default_rng() if generator is None else generator
    return Parameter(generator.uniform(-bound, bound, shape).astype(dtype))
