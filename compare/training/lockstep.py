"""Lockstep training: the same weights at the start, the same batches in the same order, each twin with its own step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from compare.machine.data import Dataset, batches
from compare.machine.errors import UserError
from compare.pairs.report import Report
from compare.training.drift import Drift
from compare.training.twins import Both, Evaluation, Twins
from scratch import Array

EVALUATION_BATCH = 250


class Diverged(UserError):  # noqa: N818 - a result of the learning rate, not an accident
    """A loss that is no number: the message says in which twin, step and layer that began."""


@dataclass(frozen=True)
class Step:
    """One batch through every twin: the number of the step from 1, how many images, and what each twin made of them.

    `checked` holds the rows of the comparison with --resync.
    """

    number: int
    images: int
    lr: float
    loss: Both
    right: Both
    seconds: Both
    checked: Report | None = None


@dataclass(frozen=True)
class Epoch:
    """Where the twins stand after an epoch; number 0 is before the first.

    Attributes:
        number, step: epochs and steps so far.
        train_loss, train_accuracy: means over the epoch, while it learnt; empty for number 0.
        test_loss, test_accuracy: over all test images.
        images_per_second: of the training steps of the epoch, each twin timed by itself; empty for number 0.
        logits: of all test images (N, K), by twin; not part of what is saved.
    """

    number: int
    step: int
    test_loss: Both
    test_accuracy: Both
    train_loss: Both = field(default_factory=dict)
    train_accuracy: Both = field(default_factory=dict)
    images_per_second: Both = field(default_factory=dict)
    logits: dict[str, Array] = field(default_factory=dict, repr=False, compare=False)

    def as_json(self) -> dict[str, Any]:
        """Plain values, without the logits."""
        return {name: value for name, value in vars(self).items() if name != "logits"}


@dataclass
class Progress:
    """How far a training has come: enough, with the twins' tensors, to go on as if it had never stopped.

    Attributes:
        epoch, done: the epoch that is going on, from 1, and how many of its steps are done.
        step: steps so far, over all epochs.
        order: state of the generator that drew the order of this epoch's images, before it did.
        images, loss, right, seconds: sums over the steps of this epoch, by twin.
        last: the last epoch that is whole; None before the untrained twins have been evaluated.
    """

    order: dict[str, Any]
    epoch: int = 1
    done: int = 0
    step: int = 0
    images: int = 0
    loss: Both = field(default_factory=dict)
    right: Both = field(default_factory=dict)
    seconds: Both = field(default_factory=dict)
    last: Epoch | None = None

    @classmethod
    def fresh(cls, seed: int) -> Self:
        """Before the first step. The order has a stream of its own: given weights change no order."""
        return cls(dict(np.random.default_rng([seed, 1]).bit_generator.state))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """What `as_json` gave."""
        last = values["last"] and Epoch(**values["last"])
        return cls(**(values | {"last": last}))

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"last": self.last and self.last.as_json()}

    def permutation(self, images: int) -> tuple[Array, dict[str, Any]]:
        """The order of this epoch's images, and the generator's state after it was drawn."""
        rng = np.random.default_rng()
        rng.bit_generator.state = self.order
        return rng.permutation(images), dict(rng.bit_generator.state)

    def add(self, step: Step) -> None:
        """Count a step in."""
        self.done, self.step, self.images = self.done + 1, step.number, self.images + step.images
        for name, loss in step.loss.items():
            self.loss[name] = self.loss.get(name, 0.0) + loss * step.images
            self.right[name] = self.right.get(name, 0.0) + step.right[name]
            self.seconds[name] = self.seconds.get(name, 0.0) + step.seconds[name]

    def finish(self, tested: dict[str, Evaluation], order: dict[str, Any]) -> Epoch:
        """Close the epoch with these results of the evaluation; `order` is the generator's state for the next one."""
        self.last = Epoch(
            self.epoch,
            self.step,
            **_tested(tested),
            train_loss={name: self.loss[name] / self.images for name in tested},
            train_accuracy={name: self.right[name] / self.images for name in tested},
            images_per_second={name: self.images / self.seconds[name] for name in tested},
        )
        self.epoch, self.done, self.images, self.order = self.epoch + 1, 0, 0, order
        self.loss, self.right, self.seconds = {}, {}, {}
        return self.last


def lockstep(twins: Twins, dataset: Dataset, progress: Progress, drift: Drift) -> Iterator[Step | Epoch]:
    """Train the twins from where `progress` stands, and tell of every step and epoch as it is done.

    The first word of a new training is of epoch 0, untrained. Whenever a word is given, `progress` and the twins are
    those after that step or epoch: the moment to save them.

    Raises:
        UserError: if a batch is larger than the data set.
        Diverged: if a loss stops being a number.
    """
    settings, images, labels = twins.settings, dataset.train_images, dataset.train_labels
    total = settings.total_steps(dataset.name, len(images))
    if progress.last is None:
        progress.last = Epoch(0, 0, **_tested(evaluate(twins, dataset)))
        yield progress.last
    while progress.epoch <= settings.epochs_on(dataset.name):
        order, after = progress.permutation(len(images))
        rest = order[progress.done * settings.batch_size :]
        for x, y in batches(images, labels, settings.batch_size, settings.dtype, rest):
            number = progress.step + 1
            twins.set_lr(lr := settings.lr_at(number, total))
            step = _step(twins, drift, number, lr, x, y)
            progress.add(step)
            yield step
        tested = evaluate(twins, dataset)
        test_loss = {name: result.loss for name, result in tested.items()}
        _refuse_divergence(twins, drift, test_loss, progress.step, after=True)
        yield progress.finish(tested, after)


def _step(twins: Twins, drift: Drift, number: int, lr: float, images: Array, labels: Array) -> Step:
    batch = twins.share(images, labels)
    if twins.settings.resync:
        twins.resync()
    drift.before(number, lr, batch)
    results = twins.train_step(batch)
    finite = {name: math.isfinite(results[0][name]) for name in twins.settings.twins}
    if (
        len(set(finite.values())) > 1
    ):  # One twin alone: torch takes the step from the same weights and says who is wrong.
        drift.after_divergence(results[0])
    _refuse_divergence(twins, drift, results[0], number)
    return Step(number, len(labels), lr, *results, drift.after(results[0]))


def evaluate(twins: Twins, dataset: Dataset) -> dict[str, Evaluation]:
    """What scratch and torch make of all test images."""
    images, labels = dataset.test_images, dataset.test_labels
    return twins.evaluate(lambda: batches(images, labels, EVALUATION_BATCH, twins.settings.dtype))


def _tested(tested: dict[str, Evaluation]) -> dict[str, Any]:
    return {
        "test_loss": {name: result.loss for name, result in tested.items()},
        "test_accuracy": {name: result.accuracy for name, result in tested.items()},
        "logits": {name: result.logits for name, result in tested.items()},
    }


def _refuse_divergence(twins: Twins, drift: Drift, loss: Both, step: int, *, after: bool = False) -> None:
    """Stop where a loss is no number, and say in which layer of which twin that began."""
    for name in twins.members:
        if not math.isfinite(loss.get(name, 0.0)):
            raise Diverged(
                f"training diverged: the loss of {name} is {loss[name]} at step {step}: "
                f"{drift.first_broken(name, after)}; lower --lr (now {twins.settings.learning_rate:g})"
            )
