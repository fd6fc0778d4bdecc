"""The CNN with its convolution and pooling in plain loops: the scale on which the arrays' speed shows."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

import scratch
from compare.bench.equality import require_equal
from compare.bench.models import PAIRS, draw_batch, draw_state
from compare.bench.sides import ScratchSide
from compare.bench.timing import wall_clock
from compare.machine.devices import open_device
from compare.pairs.models import ModelPair
from scratch import Array, naive

MODEL, IMAGES, STEPS = "cnn", 1, 3


class LoopConv2d(scratch.Conv2d):
    """`scratch.naive.conv2d` as a layer."""

    def forward(self, x: Array) -> Array:
        self.save_for_backward(x)
        bias = None if self.bias is None else self.bias.data
        return naive.conv2d(x, self.weight.data, bias, self.stride, self.padding)

    def backward(self, grad_output: Array) -> Array:
        (x,) = self.saved_for_backward
        grad_input, grad_weight, grad_bias = naive.conv2d_backward(
            x, self.weight.data, grad_output, self.stride, self.padding
        )
        self.weight.accumulate_grad(grad_weight)
        if self.bias is not None:
            self.bias.accumulate_grad(grad_bias)
        return grad_input

    def backward_parameters(self, grad_output: Array) -> None:
        """The same loops, as those compute all three gradients at once."""
        self.backward(grad_output)


class LoopMaxPool2d(scratch.MaxPool2d):
    """`scratch.naive.max_pool2d` as a layer."""

    def forward(self, x: Array) -> Array:
        self.save_for_backward(x)
        return naive.max_pool2d(x, self.kernel_size, self.stride, self.padding)

    def backward(self, grad_output: Array) -> Array:
        (x,) = self.saved_for_backward
        return naive.max_pool2d_backward(x, grad_output, self.kernel_size, self.stride, self.padding)


class LoopCNN(scratch.CNN):
    """`scratch.CNN` with these two layers; everything else as it is."""

    def __init__(self, num_classes: int = 10, **options: Any) -> None:
        super().__init__(num_classes, **options)
        self.conv1 = LoopConv2d(1, 8, kernel_size=3, **options)
        self.pool1 = LoopMaxPool2d(2)


@dataclass(frozen=True)
class Loops:
    """Images per second of one training step in loops, and how many times as fast the layers were at their best."""

    images_per_second: float
    speedup: float

    def __str__(self) -> str:
        return (
            f"plain loops: a training step of {MODEL} takes {1 / self.images_per_second:.2g} s per image; "
            f"scratch at its best is {self.speedup:,.0f} times as fast"
        )


def measure_loops(best: float) -> Loops:
    """Time training steps in loops; `best` is how many images per second scratch has trained `MODEL` with.

    Raises:
        NotEqualError: if the loops do not compute what the layers do.
    """
    pair, cpu = PAIRS[MODEL], open_device("cpu")
    state = draw_state(pair)
    fast = ScratchSide(pair, state, cpu)
    loops = ScratchSide(ModelPair("loops", LoopCNN, pair.torch), state, cpu)
    loops.name = "plain loops"
    for side in (loops, fast):
        side.take(*draw_batch(pair, IMAGES))
    require_equal([loops, fast], "train", f"{MODEL} in plain loops")
    rate = IMAGES / median(wall_clock(loops.train_step, 1) for _ in range(STEPS))
    return Loops(rate, best / rate)
