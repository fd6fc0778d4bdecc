"""Whether a training has learned anything, or blew up, and the likely cause.

Two twins can agree on every tensor and have learned nothing. So what they answer on the test images is held against
guessing: always naming the most frequent class, without looking at the image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from compare.machine.data import Dataset, batches
from compare.pairs import weights
from compare.pairs.decisions import deciding_layers
from compare.pairs.models import ModelPair
from compare.pairs.observe import watch_torch
from compare.training.lockstep import Epoch
from compare.training.settings import LEARNING_RATES, Settings
from compare.training.twins import Both
from compare.verify.one_step import blown, guessing
from scratch import Array

MARGIN = 3.0  # Standard errors above the share of the most frequent class: a guesser gets there once in 700 runs.
RISEN = 1.05  # Times the loss of guessing: untrained weights have 1.00 to 1.02, so that training made it worse.
WATCHED = 500  # The first so many test images: a unit that gives 0 for each of them is dead.
FEW_STEPS = 500  # With fewer steps, even a good learning rate may not have learned anything yet.
SLOW = 20.0  # Times smaller than the default: a learning rate that hardly moves the weights.
FAST = 4.0  # Times larger than the default: a learning rate that may be the reason.
STRONG_DECAY = 0.1  # A weight decay from which on the weights shrink faster than they learn; 5e-4 is usual.


@dataclass(frozen=True)
class Units:
    """The units of a ReLU, its channels or features: how many there are, and how many of them are dead."""

    dead: int
    units: int

    def __str__(self) -> str:
        """How many are dead, in words: "all 8" or "3 of 8"."""
        return f"all {self.units}" if self.dead == self.units else f"{self.dead} of {self.units}"


@dataclass(frozen=True)
class Cause:
    """Why nothing was learned, as far as one can tell: in words, and the option to try."""

    words: str
    option: str
    yet: bool = False  # whether nothing is wrong but that the training was short


@dataclass(frozen=True)
class Learning:
    """What the weights of a training answer on the test images, held against guessing.

    Attributes:
        settings: of the training.
        steps, steps_per_epoch, usual_epochs: how many steps were taken, make an epoch, and the epochs of the default.
        images: how many test images there are.
        frequent: the share of the most frequent class among them, from 0 to 1.
        classes: how many there are.
        accuracy, loss: by twin, over all test images: share of right answers from 0 to 1, mean loss.
        train_accuracy, train_loss: the same over the training images of the last epoch; empty before that.
        dead: the dead units of each ReLU, by the layer's name, with the weights of torch, or of the one twin.
        watched: the number of test images on which a dead unit gave 0.
    """

    settings: Settings
    steps: int
    steps_per_epoch: int
    usual_epochs: int
    images: int
    frequent: float
    classes: int
    accuracy: Both
    loss: Both
    train_accuracy: Both = field(default_factory=dict)
    train_loss: Both = field(default_factory=dict)
    dead: dict[str, Units] = field(default_factory=dict)
    watched: int = 0

    @property
    def threshold(self) -> float:
        """The share of right answers above which it is no guessing; 1 or more where the test images are too few."""
        return self.frequent + MARGIN * math.sqrt(self.frequent * (1 - self.frequent) / self.images)

    @property
    def learned(self) -> bool | None:
        """Whether every twin is better than guessing; None where there are too few test images to say."""
        if self.blew_up:
            return False
        return None if self.threshold >= 1 else min(self.accuracy.values()) > self.threshold

    @property
    def blew_up(self) -> bool:
        """Whether a twin has a loss far above that of guessing, and more wrong answers than right ones."""
        return any(
            self.accuracy[name] < 0.5
            and any(blown(held[name], self.classes) for held in (self.loss, self.train_loss) if held)
            for name in self.loss
        )

    @property
    def verdict(self) -> str:
        """What is to be said of the training in three words; empty if it has learned, or nobody can say."""
        if self.blew_up:
            return "blew up"
        if self.learned is not False:
            return ""
        return f"learned nothing{' yet' if self.cause.yet else ''}"

    @property
    def headline(self) -> str:
        """The verdict with the numbers behind it; empty where there is none."""
        accuracy = _both(self.accuracy, ".2%")
        if self.blew_up:
            trained = f"training loss {_both(self.train_loss, '.3g')}, " if self.train_loss else ""
            loss = f"{trained}test loss {_both(self.loss, '.3g')}"
            return f"blew up: {loss}, where guessing has {guessing(self.classes):.3g}; test accuracy {accuracy}"
        if not self.verdict:
            return ""
        more = f"; it takes more than {self.threshold:.2%} to tell {self.images:,} answers from guesses"
        most = f"always naming the most frequent class gives {self.frequent:.2%}"
        above = max(self.accuracy.values()) > self.frequent
        return f"{self.verdict}: test accuracy {accuracy}; {most}{more if above else ''}"

    def lines(self) -> list[str]:
        """What is to be said at the end of a run: nothing, or what happened, and the likely cause."""
        if self.learned is None:
            return [f"learned:         the {self.images:,} test images are too few to tell answers from guesses"]
        if self.learned:
            return []
        return [self.headline, f"likely cause: {self.cause.words}; try {self.cause.option}"]

    @property
    def cause(self) -> Cause:
        """The likely cause, where nothing was learned."""
        lr, usual = self.settings.learning_rate, LEARNING_RATES[self.settings.optimizer]
        smaller = f"--lr {min(lr / 10, usual):g}"
        silent = any(found.dead == found.units for found in self.dead.values())
        risen = not max(self.loss.values()) <= RISEN * guessing(self.classes)
        if self.settings.weight_decay >= STRONG_DECAY and lr <= usual:
            return Cause(
                f"the weight decay {self.settings.weight_decay:g} draws all weights towards 0{self._dead_units()}",
                "--weight-decay 0",
            )
        slow = SLOW * self._pace(lr) < self._pace(usual, Settings.momentum)
        if silent and slow:
            return Cause(
                f"the weights that it began with are dead{self._dead_units()}", "the weights of another --seed"
            )
        if silent or self.blew_up or (risen and not slow):
            ended = f", the test loss ended at {_both(self.loss, '.3g')}" if risen and not self.blew_up else ""
            return Cause(f"the learning rate {lr:g} is too large{ended}{self._dead_units()}", smaller)
        if self.train_accuracy and min(self.train_accuracy.values()) > max(0.5, self.threshold):
            return Cause(
                f"the training images were learned, {_both(self.train_accuracy, '.2%')}; the test images are not like "
                "them, or have other labels",
                "more training images",
            )
        if slow:
            larger = f"--lr {usual:g}" if lr < usual else f"--lr {10 * lr:g}"
            return Cause(f"the learning rate {lr:g} is too small, the test loss hardly changed", larger)
        if self.steps < FEW_STEPS:
            epochs = max(self.usual_epochs, math.ceil(FEW_STEPS / self.steps_per_epoch))
            steps = "1 step is few" if self.steps == 1 else f"{self.steps} steps are few"
            if lr > FAST * usual:
                fast = f"{steps}, and the learning rate {lr:g} is {lr / usual:.3g} times the default"
                return Cause(fast, f"--lr {usual:g} --epochs {epochs}", yet=True)
            return Cause(steps, f"--epochs {epochs}", yet=True)
        return Cause(
            f"unknown, as neither the loss nor dead units show one{self._dead_units()}; look at images and labels",
            f"--lr {lr / 10:g} or --lr {10 * lr:g}",
        )

    def as_json(self) -> dict[str, Any]:
        """{"most_frequent_class", "dead_units", "likely_cause", "try"}: plain values, null where there is no cause."""
        nothing = self.learned is False
        return {
            "most_frequent_class": self.frequent,
            "dead_units": {layer: vars(found) for layer, found in self.dead.items()},
            "likely_cause": self.cause.words if nothing else None,
            "try": self.cause.option if nothing else None,
        }

    def _pace(self, lr: float, momentum: float | None = None) -> float:
        """How far a steady gradient moves a weight in a step, relative to Adam's or SGD's own scale."""
        if self.settings.optimizer != "sgd":
            return lr
        return lr / (1 - (self.settings.momentum if momentum is None else momentum))

    def _dead_units(self) -> str:
        """The dead units of each layer in words, after a colon; empty if there are none."""
        told = [f"{found} units of {layer}" for layer, found in self.dead.items() if found.dead]
        if not told:
            return ""
        return f"; dead units, which give 0 for each of {self.watched} test images: {', '.join(told)}"


def learning_of(pair: ModelPair, settings: Settings, dataset: Dataset, state: weights.State, last: Epoch) -> Learning:
    """What a training has reached.

    Args:
        pair, settings, dataset: what was trained, and how.
        state: the weights of torch, or of the one twin.
        last: the last epoch, tested with these weights.
    """
    counts = np.unique(dataset.test_labels, return_counts=True)[1]
    images, _ = next(batches(dataset.test_images, dataset.test_labels, WATCHED, settings.dtype))
    return Learning(
        settings,
        steps=last.step,
        steps_per_epoch=math.ceil(len(dataset.train_images) / settings.batch_size),
        usual_epochs=Settings().epochs_on(dataset.name),
        images=len(dataset.test_labels),
        frequent=float(counts.max() / counts.sum()),
        classes=pair.num_classes,
        accuracy=last.test_accuracy,
        loss=last.test_loss,
        train_accuracy=last.train_accuracy,
        train_loss=last.train_loss,
        dead=dead_units(pair, state, images),
        watched=len(images),
    )


def dead_units(pair: ModelPair, state: weights.State, images: Array) -> dict[str, Units]:
    """The units of each ReLU of a model with the weights `state` that give 0 for all of `images` (N, 1, H, W).

    A unit is a channel of maps, (N, C, H, W), or a feature, (N, F).
    """
    model = pair.torch(dtype=getattr(torch, str(images.dtype)))
    weights.load_torch_state(model, state)
    model.eval()
    _, outputs = watch_torch(model, torch.from_numpy(images))
    found: dict[str, Units] = {}
    for name, _, decisions in deciding_layers(model):
        if not decisions.among_elements:  # A pooling chooses among elements: its zeros are those of the ReLU before it.
            by_unit = np.moveaxis(outputs[name], 1, 0).reshape(outputs[name].shape[1], -1)
            found[name] = Units(int((by_unit == 0).all(axis=1).sum()), len(by_unit))
    return found


def _both(values: Mapping[str, float], form: str) -> str:
    return ", ".join(f"{value:{form}} ({name})" for name, value in values.items())
