"""Layer by layer: what each takes forward and backward, and how far that is from what the machine could do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.table import Table
from threadpoolctl import threadpool_limits
from torch import nn

from compare.bench.equality import NotEqualError, difference
from compare.bench.models import PAIRS, draw_batch, draw_state
from compare.bench.timing import SETTLE, Timed, interleaved, speed_ratio, wall_clock
from compare.driving.tensors import Tensors, gradient_name
from compare.pairs import weights
from compare.pairs.layers import layer_pair_of
from scratch import Array

MATRIX = 1024  # side of the matrices whose product shows the peak
REPEATS = 7


@dataclass(frozen=True)
class LayerRow:
    """One layer in one direction, in microseconds per image.

    `ratio` is how many times as fast scratch is as torch. `limit` is what the arithmetic would take at the speed of a
    product of large matrices, or, in a layer without products, what reading and writing its arrays would take at the
    speed of a copy; `share` is limit / scratch, 1 being as fast as can be. Both are None where nothing is computed.
    """

    model: str
    batch: int
    threads: int
    layer: str
    direction: str
    scratch: float
    torch: float
    ratio: float
    limit: float | None
    share: float | None

    def as_json(self) -> dict[str, Any]:
        """The row as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class _Layer:
    """One layer of both models, with what it meets in training."""

    name: str
    first: bool
    own: Any
    twin: nn.Module
    x: Array
    grad_output: Array
    twin_x: torch.Tensor
    twin_y: torch.Tensor
    twin_grad_output: torch.Tensor

    @property
    def wanted(self) -> list[torch.Tensor]:
        """What torch's gradients are computed of: the parameters, and the input where a layer stands before."""
        return [*([] if self.first else [self.twin_x]), *self.twin.parameters()]

    def own_backward(self) -> Array | None:
        """One backward pass: of the first layer, the gradients of the parameters alone, as in training."""
        self.own.zero_grad()
        return (self.own.backward_parameters if self.first else self.own.backward)(self.grad_output)

    def twin_forward(self) -> torch.Tensor:
        y: torch.Tensor = self.twin(self.twin_x)
        return y

    def twin_backward(self) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(self.twin_y, self.wanted, self.twin_grad_output, retain_graph=True)


def measure_layers(model: str, batch: int, threads: int, seconds: float) -> Iterator[LayerRow]:
    """Time every layer of a model by itself, on what it meets in a training step, forward and backward in turns.

    Each side's arrays lie in memory as the layers before and after leave them. Scratch's backward is repeated after one
    forward; torch's is `torch.autograd.grad` with the graph retained, which includes what autograd does for a graph of
    one layer (some microseconds a call) and, for both, new arrays for the gradients. The first layer of a model has the
    gradients of its parameters alone: nobody asks for that of the images.

    Raises:
        NotEqualError: for the first layer whose results are not torch's.
    """
    for layer in _layers(model, batch):
        if problem := _problem(layer):
            raise NotEqualError(
                f"{model}, {layer.name}, batch {batch}: not timed: scratch and torch are not equal: {problem}"
            )
        directions: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "forward": (lambda layer=layer: layer.own(layer.x), layer.twin_forward),  # type: ignore[misc]
            "backward": (layer.own_backward, layer.twin_backward),
        }
        for direction, (own, twin) in directions.items():
            sides = {
                "scratch": Timed(own, wall_clock, lambda: None),
                "torch": Timed(twin, wall_clock, lambda: None),
            }
            samples = interleaved(sides, seconds, SETTLE if threads > 1 else 0.0)
            own_time, twin_time = (1e6 * median(samples[side]) / batch for side in sides)
            limit = 1e6 * _limit(layer, direction, threads) / batch or None
            yield LayerRow(
                model=model,
                batch=batch,
                threads=threads,
                layer=layer.name,
                direction=direction,
                scratch=own_time,
                torch=twin_time,
                ratio=speed_ratio(samples),
                limit=limit,
                share=limit and limit / own_time,
            )


def layers_table(rows: Sequence[LayerRow], title: str) -> Table:
    """Two lines for each layer of one model."""
    table = Table(title=title, title_justify="left")
    for heading in ("layer", "", "scratch", "torch", "ratio", "limit", "share"):
        table.add_column(heading, justify="left" if heading in ("layer", "") else "right", no_wrap=True)
    for row in rows:
        limit = ("-", "-") if row.limit is None or row.share is None else (f"{row.limit:.3f}", f"{row.share:.0%}")
        values = f"{row.scratch:.3f}", f"{row.torch:.3f}", f"{row.ratio:.2f}", *limit
        table.add_row(row.layer, row.direction, *values)
    return table


def _layers(model: str, batch: int) -> list[_Layer]:
    """The layers of both models, after one forward and one backward pass through all of them."""
    pair = PAIRS[model]
    state, (images, _) = draw_state(pair), draw_batch(pair, batch)
    own, twin = pair.scratch(dtype="float32"), pair.torch(dtype=torch.float32)
    weights.load_scratch_state(own, state)
    weights.load_torch_state(twin, state)
    both = list(zip(own.named_children(), twin.named_children(), strict=True))
    x, twin_x = images, torch.from_numpy(images)
    inputs = []
    for (_, layer), (_, reference) in both:
        twin_y = reference(twin_x)
        inputs.append((x, twin_x, twin_y))
        twin_x = twin_y.detach().requires_grad_()
        x = _laid_out_like(layer(x), twin_x)
    g = np.random.default_rng(batch).standard_normal(x.shape).astype(x.dtype)
    twin_g = torch.from_numpy(g)
    layers: list[_Layer] = []
    for ((name, layer), (_, reference)), (x, twin_x, twin_y) in zip(reversed(both), reversed(inputs), strict=True):
        first = len(layers) == len(both) - 1
        title = f"{name} {type(reference).__name__}"
        layers.append(_Layer(title, first, layer, reference, x, g, twin_x, twin_y, twin_g))
        if not first:
            twin_g = layers[-1].twin_backward()[0]
            g = _laid_out_like(layer.backward(g), twin_g)
    return layers[::-1]


def _laid_out_like(own: Array, twin: torch.Tensor) -> Array:
    """Torch's numbers, in memory as scratch has them: so that a layer does not inherit another's mistake."""
    numbers = np.empty_like(own, shape=tuple(twin.shape))
    numbers[...] = twin.detach().numpy()
    return numbers


def _problem(layer: _Layer) -> str:
    """What of the layer's results is not equal; empty if nothing is."""
    names = [gradient_name(name) for name, _ in layer.twin.named_parameters()]
    gradients = [tensor.numpy() for tensor in layer.twin_backward()]
    expected: Tensors = {"logits": layer.twin_y.detach().numpy()}
    expected |= dict(zip([*([] if layer.first else ["grad_input"]), *names], gradients, strict=True))
    got: Tensors = {"logits": layer.own(layer.x)}
    grad_input = layer.own_backward()
    if not layer.first and grad_input is not None:
        got["grad_input"] = grad_input
    got |= {gradient_name(name): p.grad for name, p in layer.own.named_parameters() if p.grad is not None}
    return difference(got, expected, {}).replace("logits", "output")


# ---- what the machine could do


def _limit(layer: _Layer, direction: str, threads: int) -> float:
    """The seconds that the layer's arithmetic takes at the least, or its memory traffic, whichever is more."""
    pair = layer_pair_of(layer.twin)
    if pair.gives == "unchanged":
        return 0.0
    y, backward = layer.twin_y, direction == "backward"
    # Forward reads x and writes y; backward reads g, like y, and writes the gradient of x. What it needs to know of
    # forward could be a bit for each element, and is not counted. Weights are read, or their gradients written.
    moved = layer.x.nbytes + y.numel() * y.element_size() + sum(p.data.nbytes for p in layer.own.parameters())
    traffic = moved / copy_speed(1 << math.ceil(math.log2(moved / 2)))
    if pair.products is None:
        return traffic
    products = y.numel() * pair.products(layer.own)
    return max(traffic, 2 * products * (1 + (backward and not layer.first)) / matrix_product_speed(threads))


@lru_cache
def matrix_product_speed(threads: int) -> float:
    """Floating-point operations per second in a product of large float32 matrices."""
    with threadpool_limits(threads, user_api="blas"):
        return _matrix_product_speed()


def _matrix_product_speed() -> float:
    rng = np.random.default_rng(0)
    one, other = (rng.standard_normal((MATRIX, MATRIX)).astype(np.float32) for _ in range(2))
    out = np.empty_like(one)
    return 2 * MATRIX**3 / min(wall_clock(lambda: np.matmul(one, other, out=out), 1) for _ in range(REPEATS))


@lru_cache
def copy_speed(size: int) -> float:
    """Bytes per second, read and written together, of copying an array of `size` bytes; NumPy does it with one thread.

    An array that fits into a cache is copied faster than one that does not: that is why it depends on the size.
    """
    source = np.ones(max(1, size // 4), np.float32)
    target = np.empty_like(source)
    repeats = max(1, (1 << 22) // size)
    return 2 * source.nbytes * repeats / min(wall_clock(lambda: np.copyto(target, source), repeats) for _ in range(20))
