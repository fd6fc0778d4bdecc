"""Small examples that can be computed by hand: by hand, in NumPy and in torch.

The numbers are small and whole wherever the layer allows it: then all three are equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compare.driving.tensors import Tensors
from compare.lesson.layers import LAYERS, Layer
from compare.lesson.not_as_shown import NotAsShown
from compare.pairs.by_hand import ByHand

SLACK = 1e-6  # by which float32 may be off what was computed by hand, relative to the greatest number of the tensor


@dataclass(frozen=True)
class Kept:
    """What autograd keeps of a forward pass: its names for the operations, last one first, and what they hold."""

    operations: tuple[str, ...]
    tensors: tuple[str, ...]


@dataclass(frozen=True)
class WorkedExample:
    """What is given, what comes out, and what was computed by hand.

    Attributes:
        pair: the registered pair.
        given: the arguments of both calls, by name.
        scratch, torch: what each gave, by the same names.
        by_hand: at least one element for each equation that has a tensor.
        kept: see `Kept`; None where nothing goes backward.
    """

    pair: str
    given: Tensors
    scratch: Tensors
    torch: Tensors
    by_hand: tuple[ByHand, ...]
    kept: Kept | None


def examples() -> dict[str, WorkedExample]:
    """The example of every layer that the lesson explains, by the name of its pair.

    Raises:
        NotAsShown: if NumPy, torch or the hand do not agree.
    """
    return {name: _example(layer) for name, layer in LAYERS.items()}


def _example(layer: Layer) -> WorkedExample:
    pair, shown, given = layer.pair, layer.shown, layer.shown.given
    own = _arrays(shown.in_numpy(**{name: array.copy() for name, array in given.items()}))
    tensors = {name: torch.tensor(array) for name, array in given.items()}
    if "x" in tensors:
        tensors["x"].requires_grad_()
    saved: list[Tensor] = []

    def notice(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(notice, lambda tensor: tensor):
        results = shown.in_torch(**tensors)
    twin, hand = _arrays(results), tuple(shown.by_hand(given))
    for name, array in twin.items():
        scale = float(np.abs(array).max()) or 1.0
        if own[name].shape != array.shape or not np.abs(own[name] - array).max() <= SLACK * scale:
            raise NotAsShown(f"the example of {pair}, {name}: NumPy gives {own[name].tolist()}, torch {array.tolist()}")
        for line in hand:
            if line.tensor == name and not abs(array[line.index] - line.value) <= SLACK * scale:
                raise NotAsShown(
                    f"the example of {pair}, ({line.equation}) by hand: {line.text}, not {array[line.index]}"
                )
    return WorkedExample(pair, given, own, twin, hand, _kept(results, saved, tensors))


def _arrays(results: dict[str, Any]) -> Tensors:
    return {
        name: value.detach().numpy().copy() if isinstance(value, torch.Tensor) else np.asarray(value)
        for name, value in results.items()
    }


def _kept(results: dict[str, Any], saved: list[Tensor], given: dict[str, Tensor]) -> Kept | None:
    """What was saved on the way forward: by its name if it was given or came out, else by its type."""
    operations = tuple(nodes(results["output"])) if "output" in results else ()
    if not operations:
        return None
    named = {name: t for name, t in (given | results).items() if isinstance(t, Tensor)}
    words = [_called(tensor, named) for tensor in saved if tensor.ndim]
    return Kept(operations, tuple(dict.fromkeys(words)))


def _called(tensor: Tensor, named: dict[str, Tensor]) -> str:
    for name, candidate in named.items():
        if any(torch.equal(tensor, t) for t in (candidate, candidate.T if candidate.ndim == 2 else candidate)):
            return name
    if not tensor.is_floating_point():
        return f"the indices {tensor.flatten().tolist()}"
    return f"numbers of shape {list(tensor.shape)}"


def nodes(result: Tensor, until: Tensor | None = None) -> Iterator[str]:
    """The names of the operations that made `result`, last one first, back to `until` or to what was given."""
    node, end = result.grad_fn, until.grad_fn if until is not None else None
    while node is not None and node is not end and not node.name().endswith("AccumulateGrad"):
        yield node.name()
        # Of the nodes before, the one on the way to the images: parameters are ends, their views are no operations.
        before = [one for one, _ in node.next_functions if one is not None and one.name() != "TBackward0"]
        node = next((one for one in before if not one.name().endswith("AccumulateGrad")), None)
