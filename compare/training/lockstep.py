"""Lockstep training: the same weights at the start, the same batches in the same order, each twin with its own step.

Everything random, the weights and the order of the images, is drawn once, in NumPy, from one seed, and given to both.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import scratch
import torch_ref
from compare import weights
from compare.data import Dataset, batches
from compare.devices import Device, open_device
from compare.errors import UserError
from compare.pairs import model_pair
from compare.training.settings import Settings
from scratch import Array

TWINS = ("scratch", "torch")
EVALUATION_BATCH = 250

Both = dict[str, float]  # one number for each of TWINS


@dataclass(frozen=True)
class Step:
    """One batch through both twins: the number of the step from 1, how many images, and what each twin made of them."""

    number: int
    images: int
    loss: Both
    right: Both
    seconds: Both


@dataclass(frozen=True)
class Epoch:
    """Where both twins stand after an epoch; number 0 is before the first.

    Attributes:
        number, step: epochs and steps so far.
        train_loss, train_accuracy: means over the epoch, while it learnt; empty for number 0.
        test_loss, test_accuracy: over all test images.
        images_per_second: of the training steps of the epoch, each twin timed by itself; empty for number 0.
    """

    number: int
    step: int
    test_loss: Both
    test_accuracy: Both
    train_loss: Both = field(default_factory=dict)
    train_accuracy: Both = field(default_factory=dict)
    images_per_second: Both = field(default_factory=dict)


class Twins:
    """Both models with their optimizers, with the same weights: those in a safetensors file, or drawn with the seed.

    Raises:
        UserError: for an unknown model, a device that is not there, a file that is not one of this model's weights.
    """

    def __init__(self, settings: Settings, weights_file: Path | None = None) -> None:
        self.settings = settings
        self.first = "torch"  # whose turn came first in the last step
        pair, rng = model_pair(settings.model), np.random.default_rng(settings.seed)
        self.device: Device = open_device(settings.device)
        self.scratch = pair.scratch(generator=rng, dtype=settings.dtype)
        self.torch = pair.torch(dtype=getattr(torch, settings.dtype))
        if weights_file is not None:
            weights.load_scratch_state(self.scratch, weights.load_weights(weights_file), str(weights_file))
        weights.scratch_to_torch(self.scratch, self.torch)
        self.scratch.to(self.device.to_scratch)
        self.torch.to(settings.device)
        sgd: dict[str, Any] = {"lr": settings.lr, "momentum": settings.momentum, "weight_decay": settings.weight_decay}
        self.scratch_criterion, self.torch_criterion = scratch.CrossEntropyLoss(), nn.CrossEntropyLoss()
        self.scratch_optimizer = scratch.SGD(self.scratch.parameters(), **sgd)
        self.torch_optimizer = torch.optim.SGD(self.torch.parameters(), **sgd)

    def set_lr(self, lr: float) -> None:
        """Give both optimizers this learning rate."""
        self.scratch_optimizer.lr = self.torch_optimizer.param_groups[0]["lr"] = lr

    def train_step(self, images: Array, labels: Array) -> tuple[Both, Both, Both]:
        """One step of both twins on NumPy images and labels: (loss, right answers, seconds), each by twin."""
        to_scratch, to_torch = self.device.to_scratch, self.device.to_torch
        own, twin = (to_scratch(images), to_scratch(labels)), (to_torch(images), to_torch(labels))
        steps = {
            "scratch": lambda: scratch.train_step(self.scratch, self.scratch_criterion, self.scratch_optimizer, *own),
            "torch": lambda: torch_ref.train_step(self.torch, self.torch_criterion, self.torch_optimizer, *twin),
        }
        self.first = "torch" if self.first == "scratch" else "scratch"  # who comes second finds the batch in the cache
        with np.errstate(over="ignore", invalid="ignore"):  # a run that blows up is told of in words
            results = {name: _timed(steps[name]) for name in sorted(TWINS, key=lambda name: name != self.first)}
        loss, right, seconds = ({name: float(result[i]) for name, result in results.items()} for i in range(3))
        return loss, right, seconds

    def evaluate(self, images: Array, labels: Array) -> tuple[Both, Both]:
        """Loss and accuracy of both twins on uint8 images: (loss, accuracy), each by twin."""
        to_scratch, to_torch = self.device.to_scratch, self.device.to_torch
        # Two passes over the images: each holds one batch of floats at a time.
        own, twin = (batches(images, labels, EVALUATION_BATCH, self.settings.dtype) for _ in range(2))
        with np.errstate(over="ignore", invalid="ignore"):
            results = {
                "scratch": scratch.evaluate(
                    self.scratch, self.scratch_criterion, ((to_scratch(x), to_scratch(y)) for x, y in own)
                ),
                "torch": torch_ref.evaluate(
                    self.torch, self.torch_criterion, ((to_torch(x), to_torch(y)) for x, y in twin)
                ),
            }
        return {name: loss for name, (loss, _) in results.items()}, {name: acc for name, (_, acc) in results.items()}

    def states(self) -> dict[str, dict[str, Array]]:
        """The weights of each twin, as NumPy arrays."""
        return {"scratch": weights.scratch_state(self.scratch), "torch": weights.torch_state(self.torch)}


def lockstep(twins: Twins, dataset: Dataset) -> Iterator[Step | Epoch]:
    """Train both twins, and tell of every step and epoch as it is done; the first word is of epoch 0, untrained.

    Raises:
        UserError: if a batch is larger than the data set, or a loss stops being a number: said with the step.
    """
    settings, images, labels = twins.settings, dataset.train_images, dataset.train_labels
    order = np.random.default_rng([settings.seed, 1])  # another stream than the weights': given ones change no order
    number, total = 0, settings.total_steps(dataset.name, len(images))
    yield Epoch(0, 0, *twins.evaluate(dataset.test_images, dataset.test_labels))
    for epoch in range(1, settings.epochs_on(dataset.name) + 1):
        steps = []
        for x, y in batches(images, labels, settings.batch_size, settings.dtype, order.permutation(len(images))):
            number += 1
            twins.set_lr(settings.lr_at(number, total))
            step = Step(number, len(y), *twins.train_step(x, y))
            _refuse_divergence(step.loss, number, settings)
            steps.append(step)
            yield step
        test_loss, test_accuracy = twins.evaluate(dataset.test_images, dataset.test_labels)
        _refuse_divergence(test_loss, number, settings)
        yield Epoch(
            epoch,
            number,
            test_loss,
            test_accuracy,
            train_loss={name: sum(s.loss[name] * s.images for s in steps) / len(images) for name in TWINS},
            train_accuracy={name: sum(s.right[name] for s in steps) / len(images) for name in TWINS},
            images_per_second={name: len(images) / sum(s.seconds[name] for s in steps) for name in TWINS},
        )


def _refuse_divergence(loss: Both, step: int, settings: Settings) -> None:
    for name in TWINS:
        if not math.isfinite(loss[name]):
            raise UserError(
                f"training diverged: the loss of {name} is {loss[name]} at step {step}; "
                f"lower --lr (now {settings.lr:g})"
            )


def _timed(step: Callable[[], tuple[float, int]]) -> tuple[float, int, float]:
    start = time.perf_counter()
    loss, right = step()  # both are numbers on the host, so that a device has finished too
    return loss, right, time.perf_counter() - start
