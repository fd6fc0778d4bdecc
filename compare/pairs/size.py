"""How much memory a torch module takes, known before it takes any: every probe of a comparison holds all its numbers.

Torch's "meta" device computes shapes only.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from compare.pairs.layers import registered
from compare.pairs.observe import leaves
from compare.pairs.pair import arguments_of

LAYERS = 1000  # A module may have so many layers: each is copied and run dozens of times.
NUMBERS = 4_000_000  # A module may have so many weights, and a layer inside give so many numbers.
OUTPUT = 1_000_000  # A module may give so many numbers: those of dozens of probes are held at once, with their bounds.
PASS = 10 * NUMBERS  # All tensors of one forward pass may hold so many numbers.
OPERATIONS = 10 * LAYERS  # So many operations may make a module, or be one forward pass.
FAR = 1_000_000_000  # No option may make a side longer than this, which is too long in any case.


class TooLargeError(ValueError):
    """A module that takes too much memory."""


class Counted(TorchDispatchMode):
    """Refuses more operations, or tensors with more numbers together, than a comparison can take.

    Raises:
        TooLargeError: out of the operation that is one too many.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = self.numbers = 0

    def __torch_dispatch__(
        self, operation: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation of torch's, and add up what it makes."""
        made = operation(*args, **(kwargs or {}))
        self.operations += 1
        several = made if isinstance(made, tuple | list) else (made,)
        self.numbers += sum(tensor.numel() for tensor in several if isinstance(tensor, Tensor))
        if self.operations > OPERATIONS:
            raise TooLargeError(f"it takes more than {OPERATIONS:,} operations of torch's")
        if self.numbers > PASS:
            raise TooLargeError(f"it makes more than {PASS:,} numbers")
        return made


def numbers_in(module: nn.Module) -> int:
    """How many numbers the parameters and buffers hold; those of a lazy module, none."""
    held = itertools.chain(module.parameters(), module.buffers())
    return sum(tensor.numel() for tensor in held if not nn.parameter.is_lazy(tensor))


def with_room(module: nn.Module) -> nn.Module:
    """A copy of a module that refuses an input for which one of its layers would make too much, before it does.

    Most layers need not be run on the meta device for that, whose import takes a second.

    Raises:
        TooLargeError: out of the call.
    """
    watched, total = copy.deepcopy(module), 0

    def before(layer: nn.Module, arguments: tuple[Any, ...]) -> None:
        nonlocal total
        given = [argument for argument in arguments if isinstance(argument, Tensor)]
        total += sum(tensor.numel() for tensor in given)
        if total > PASS:
            raise TooLargeError(f"it makes more than {PASS:,} numbers")
        if any(tensor.numel() * _growth(layer, tensor.shape) > NUMBERS for tensor in given):
            _require_room(layer, given)

    for _, layer in leaves(watched):
        layer.register_forward_pre_hook(before)
    return watched


def _require_room(layer: nn.Module, given: Sequence[Tensor]) -> None:
    """Run a layer on shapes alone.

    Raises:
        TooLargeError: if its output, or what it makes on the way, is too large.
        Exception: whatever torch raises for an input that the layer does not take.
    """
    with torch.no_grad(), Counted():
        output = copy.deepcopy(layer).to("meta").forward(*(tensor.to("meta") for tensor in given))
    if isinstance(output, Tensor):
        require_few(output.numel(), NUMBERS)


def require_few(numbers: int, most: int) -> None:
    """Refuse an output of more numbers than that.

    Raises:
        TooLargeError: if it has more.
    """
    if numbers > most:
        raise TooLargeError(f"it gives {numbers:,} numbers; at most {most:,} can be compared")


def _growth(layer: nn.Module, shape: Sequence[int]) -> float:
    """How many times as many numbers as its input of this shape a layer may give, at most.

    Its channels change by the ratio of the first two sides of a weight: one to the other in a registered layer, whose
    sides get no longer but by its padding. In any other, up to three sides of an input are multiplied by a scale or a
    stride, or get a padding at both ends, or a size of their own: all of them options.
    """
    weights = [tuple(parameter.shape) for parameter in layer.parameters()]
    pairs = [sides[:2] for sides in weights if len(sides) > 1]
    if registered(layer) is not None:
        channels = max((many / max(few, 1) for many, few in pairs), default=1.0)
        longer = 2 * max(_numbers(getattr(layer, "padding", 0)), default=0.0) / max(1, min(shape[2:], default=1))
    else:
        channels = max((max(sides) / max(min(sides), 1) for sides in pairs), default=1.0)
        options = itertools.chain.from_iterable(map(_numbers, arguments_of(layer).values()))
        longer = 2 * max(set(options) - {float(side) for sides in weights for side in sides}, default=0.0)
    return channels * (1 + longer) ** min(len(shape), 3)


def _numbers(option: Any) -> list[float]:
    """The numbers that an option is, none of them negative."""
    if isinstance(option, tuple | list):
        return [number for part in option for number in _numbers(part)]
    return [min(float(option), FAR)] if isinstance(option, int | float) and option > 0 else []
