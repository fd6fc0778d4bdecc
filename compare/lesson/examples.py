"""Small examples that can be computed by hand: by hand, in NumPy and in torch.

The numbers are small and whole wherever the layer allows it: then all three are equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compare.lesson import with_scratch, with_torch
from compare.lesson.not_as_shown import NotAsShown
from compare.pairs.observe import Tensors
from scratch import Array

SLACK = 1e-6  # by which float32 may be off what was computed by hand, relative to the greatest number of the tensor


@dataclass(frozen=True)
class ByHand:
    """One element of a tensor, computed on paper: "1·4 + 0·3" and what that gives."""

    equation: int
    tensor: str
    index: tuple[int, ...]
    text: str
    value: float


@dataclass(frozen=True)
class Kept:
    """What autograd keeps of a forward pass: its names for the operations, last one first, and what they hold."""

    operations: tuple[str, ...]
    tensors: tuple[str, ...]


@dataclass(frozen=True)
class Example:
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


def examples() -> dict[str, Example]:
    """The example of every layer that the lesson explains, by the name of its pair.

    Raises:
        NotAsShown: if NumPy, torch or the hand do not agree.
    """
    return {pair: _example(pair, given, by_hand) for pair, (given, by_hand) in _GIVEN.items()}


def terms(factors: Sequence[tuple[float, ...]], more: float | None = None) -> tuple[str, float]:
    """A sum of products in words and its value; `more` is added at the end.

    >>> terms([(1, 4), (-2, 3)], more=0.5)
    ('1·4 + (−2)·3 + 0.5 = −1.5', -1.5)
    """
    words = ["·".join(map(_signed, product)) for product in factors] + ([] if more is None else [_signed(more)])
    value = float(sum(np.prod(product) for product in factors)) + (more or 0.0)
    return f"{' + '.join(words)} = {plain(value)}", value


def _signed(number: float) -> str:
    return plain(number) if number >= 0 else f"({plain(number)})"


def plain(number: float, digits: int = 7) -> str:
    """A number as it is written on paper, with a real minus.

    >>> plain(-1.50), plain(27.0), plain(-0.0), plain(2e-5)
    ('−1.5', '27', '0', '2e−5')
    """
    mantissa, e, exponent = f"{number + 0.0:.{digits}g}".partition("e")
    return f"{mantissa}{e}{int(exponent) if e else ''}".replace("-", "−")


def _example(pair: str, given: Tensors, by_hand: Callable[[Tensors], list[ByHand]]) -> Example:
    own = _arrays(getattr(with_scratch, pair)(**{name: array.copy() for name, array in given.items()}))
    tensors = {name: torch.tensor(array) for name, array in given.items()}
    if "x" in tensors:
        tensors["x"].requires_grad_()
    saved: list[Tensor] = []

    def notice(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(notice, lambda tensor: tensor):
        results = getattr(with_torch, pair)(**tensors)
    twin, hand = _arrays(results), tuple(by_hand(given))
    for name, array in twin.items():
        scale = float(np.abs(array).max()) or 1.0
        if own[name].shape != array.shape or not np.abs(own[name] - array).max() <= SLACK * scale:
            raise NotAsShown(f"the example of {pair}, {name}: NumPy gives {own[name].tolist()}, torch {array.tolist()}")
        for line in hand:
            if line.tensor == name and not abs(array[line.index] - line.value) <= SLACK * scale:
                raise NotAsShown(
                    f"the example of {pair}, ({line.equation}) by hand: {line.text}, not {array[line.index]}"
                )
    return Example(pair, given, own, twin, hand, _kept(results, saved, tensors))


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


# What is given, and what somebody with paper and pencil finds.


def _conv2d(given: Tensors) -> list[ByHand]:
    x, w, g = given["x"][0, 0], given["weight"][0, 0], given["grad_output"][0, 0]
    window = list(np.ndindex(2, 2))
    centre = [(g[i, j], w[1 - i, 1 - j]) for i, j in window]
    return [
        ByHand(1, "output", (0, 0, 0, 0), *terms([(x[u, v], w[u, v]) for u, v in window], given["bias"][0])),
        ByHand(2, "grad_bias", (0,), *terms([(g[i, j],) for i, j in window])),
        ByHand(3, "grad_weight", (0, 0, 0, 0), *terms([(g[i, j], x[i, j]) for i, j in window])),
        ByHand(4, "grad_input", (0, 0, 1, 1), *terms(centre)),
    ]


def _relu(given: Tensors) -> list[ByHand]:
    x, g = given["x"][0], given["grad_output"][0]
    return [
        ByHand(1, "output", (0, 0), f"max(0, {plain(x[0])}) = 0", 0.0),
        ByHand(2, "grad_input", (0, 2), f"{plain(x[2])} > 0, so g = {plain(g[2])} passes", float(g[2])),
        ByHand(2, "grad_input", (0, 1), "the input is 0, not above it: 0", 0.0),
    ]


def _maxpool2d(given: Tensors) -> list[ByHand]:
    x, g = given["x"][0, 0], given["grad_output"][0, 0]
    numbers = ", ".join(plain(v) for v in x[:, :2].ravel())
    return [
        ByHand(1, "output", (0, 0, 0, 0), f"max({numbers}) = {plain(x[:, :2].max())}", float(x[:, :2].max())),
        ByHand(
            2,
            "grad_input",
            (0, 0, 0, 1),
            f"the first {plain(x[0, 1])} gets all of g = {plain(g[0, 0])}",
            float(g[0, 0]),
        ),
        ByHand(2, "grad_input", (0, 0, 1, 0), f"the second {plain(x[1, 0])} gets 0", 0.0),
    ]


def _flatten(given: Tensors) -> list[ByHand]:
    x, g = given["x"], given["grad_output"]
    return [
        ByHand(1, "output", (0, 5), "x[0,1,0,1] goes to place (1·2 + 0)·2 + 1 = 5", float(x[0, 1, 0, 1])),
        ByHand(2, "grad_input", (0, 1, 0, 1), "g[0,5] goes back to where it came from", float(g[0, 5])),
    ]


def _linear(given: Tensors) -> list[ByHand]:
    x, w, g = given["x"], given["weight"], given["grad_output"]
    return [
        ByHand(1, "output", (0, 0), *terms([(x[0, i], w[0, i]) for i in (0, 1)], given["bias"][0])),
        ByHand(2, "grad_bias", (0,), *terms([(g[n, 0],) for n in (0, 1)])),
        ByHand(3, "grad_weight", (0, 0), *terms([(g[n, 0], x[n, 0]) for n in (0, 1)])),
        ByHand(4, "grad_input", (0, 0), *terms([(g[0, o], w[o, 0]) for o in (0, 1)])),
    ]


def _softmax(given: Tensors) -> list[ByHand]:
    (x,), (g,) = given["x"].astype(float), given["grad_output"]
    p = np.exp(x) / np.exp(x).sum()
    powers = ", ".join(f"e^{plain(v)} = {np.exp(v):.4f}" for v in x)
    return [
        ByHand(1, "output", (0, 0), f"{powers}; {np.exp(x[0]):.4f} / {np.exp(x).sum():.4f} = {p[0]:.4f}", p[0]),
        ByHand(
            2,
            "grad_input",
            (0, 0),
            f"p₀·(g₀ − g₀·p₀) = {p[0]:.4f}·(1 − {p[0]:.4f}) = {p[0] * (1 - p[0]):.4f}",
            p[0] * (g[0] - (g * p).sum()),
        ),
    ]


def _cross_entropy(given: Tensors) -> list[ByHand]:
    x, targets = given["x"].astype(float), given["targets"]
    p = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    losses = -np.log(p[[0, 1], targets])
    return [
        ByHand(1, "losses", (0,), f"−log {p[0, targets[0]]:.4f} = {losses[0]:.4f}", losses[0]),
        ByHand(2, "output", (), f"({losses[0]:.4f} + {losses[1]:.4f}) / 2 = {losses.mean():.4f}", losses.mean()),
        ByHand(
            3,
            "grad_input",
            (0, 2),
            f"({p[0, 2]:.4f} − 1) / 2 = {(p[0, 2] - 1) / 2:.4f}".replace("-", "−"),
            (p[0, 2] - 1) / 2,
        ),
    ]


def _sgd(given: Tensors) -> list[ByHand]:
    (theta,), ((g1,), (g2,)) = given["weight"], given["gradients"]
    v1 = g1 + 0.25 * theta
    theta1 = theta - 0.1 * v1
    v2 = 0.5 * v1 + g2 + 0.25 * theta1
    theta2 = theta1 - 0.1 * v2
    first = f"first step: v = {plain(g1)} + 0.25·{plain(theta)} = {plain(v1)}, "
    first += f"θ = {plain(theta)} − 0.1·{plain(v1)} = {plain(theta1)}; "
    words = f"{first}second: 0.5·{plain(v1)} + ({plain(g2)} + 0.25·{plain(theta1)}) = {plain(v2)}"
    return [
        ByHand(2, "velocity", (0,), words, float(v2)),
        ByHand(4, "weight", (0,), f"{plain(theta1)} − 0.1·{plain(v2)} = {plain(theta2)}", float(theta2)),
    ]


def _array(values: Any, shape: tuple[int, ...] | None = None) -> Array:
    array = np.array(values, np.float32)
    return array if shape is None else array.reshape(shape)


_GIVEN: dict[str, tuple[Tensors, Callable[[Tensors], list[ByHand]]]] = {
    "conv2d": (
        {
            "x": _array(range(9), (1, 1, 3, 3)),
            "weight": _array([1, 2, 3, 4], (1, 1, 2, 2)),
            "bias": _array([0.5]),
            "grad_output": _array([1, 0, 2, -1], (1, 1, 2, 2)),
        },
        _conv2d,
    ),
    "relu": ({"x": _array([[-1, 0, 2, 3]]), "grad_output": _array([[5, 5, -5, 1]])}, _relu),
    "maxpool2d": (
        {
            "x": _array([1, 5, 3, 0, 5, 2, 7, 4], (1, 1, 2, 4)),
            "grad_output": _array([6, -2], (1, 1, 1, 2)),
        },
        _maxpool2d,
    ),
    "flatten": ({"x": _array(range(8), (1, 2, 2, 2)), "grad_output": _array([range(10, 18)])}, _flatten),
    "linear": (
        {
            "x": _array([[10, 100], [1, 2]]),
            "weight": _array([[2, 3], [-1, 0.5]]),
            "bias": _array([1, -2]),
            "grad_output": _array([[1, 2], [0.5, -1]]),
        },
        _linear,
    ),
    "softmax": ({"x": _array([[1, 2, 3]]), "grad_output": _array([[1, 0, 0]])}, _softmax),
    "cross_entropy": ({"x": _array([[1, 2, 3], [0, 0, 2]]), "targets": np.array([2, 0])}, _cross_entropy),
    "sgd": ({"weight": _array([1]), "gradients": _array([[2], [-1]])}, _sgd),
}
