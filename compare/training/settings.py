"""What a run is asked to do, checked before anything is loaded (and without torch, which takes seconds to import)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from compare.machine.errors import UserError, brief

DTYPES = ("float32", "float64")
DEVICES = ("cpu", "cuda")
SCHEDULES = ("cosine", "constant")
TWINS = ("scratch", "torch")
OWN = "idx:"  # before the folder of somebody's own files
LARGEST = 2**63 - 1  # The largest whole number: what takes them further on has 64 bits.
LARGEST_FACTOR = {"float32": 3.4e38, "float64": 1.79e308}  # The largest one that torch multiplies such a tensor by.
LEARNING_RATES = {"sgd": 0.05, "adam": 0.001}  # the default for each optimizer
# The default for each data set: enough for the models to have learnt it.
EPOCHS = {"mnist": 3, "digits": 20, "fashion-mnist": 3, "kmnist": 3, "qmnist": 3, "idx": 3}

_Rule = tuple[str, Callable[[float], bool]]
_CHOICES = {"dtype": DTYPES, "device": DEVICES, "schedule": SCHEDULES, "optimizer": tuple(LEARNING_RATES)}
_COUNT: _Rule = "at least 1", lambda value: value >= 1
_SHARE: _Rule = "at least 0 and below 1", lambda value: 0 <= value < 1
_NOT_NEGATIVE: _Rule = "at least 0", lambda value: 0 <= value < math.inf
_RULES = (
    dict.fromkeys(("epochs", "batch_size", "threads", "log_every", "checkpoint_every"), _COUNT)
    | dict.fromkeys(("momentum", "beta1", "beta2"), _SHARE)
    | dict.fromkeys(("weight_decay", "eps", "seed"), _NOT_NEGATIVE)
    | {"lr": ("a number above 0", lambda value: 0 < value < math.inf)}
)


@dataclass(frozen=True)
class Settings:
    """What a run does, as the options of `gradtwin train`.

    `epochs` None stands for the data set's default, `lr` None for the optimizer's (`LEARNING_RATES`); `momentum` and
    `nesterov` are SGD's, `beta1`, `beta2` and `eps` Adam's. `only` names the one twin to train. `resync` gives scratch
    torch's weights before each step; `yardstick` trains torch a second time, one ulp away.

    Raises:
        UserError: for values that make no sense, alone or together, each named with its rule.
    """

    model: str = "cnn"
    epochs: int | None = None
    batch_size: int = 64
    optimizer: str = "sgd"
    lr: float | None = None
    schedule: str = "cosine"
    momentum: float = 0.9
    nesterov: bool = False
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    dtype: str = "float32"
    device: str = "cpu"
    tf32: bool = False
    seed: int = 0
    threads: int = 1
    only: str | None = None
    resync: bool = False
    yardstick: bool = True
    log_every: int = 10
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        self._refuse_values()
        self._refuse_contradictions()

    def _refuse_values(self) -> None:
        for name, choices in _CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                raise UserError(f"{name} {brief(repr(value))} is unknown; choose one of {', '.join(choices)}")
        for name, (rule, holds) in _RULES.items():
            value = getattr(self, name)
            if value is not None and not holds(value):
                raise UserError(f"--{name.replace('_', '-')} must be {rule}, got {value}")
        for name, value in vars(self).items():
            if isinstance(value, int) and value > LARGEST:
                raise UserError(f"--{name.replace('_', '-')} must be at most {LARGEST}, got {brief(value)}")
        step = self.learning_rate / (1 - self.beta1 if self.optimizer == "adam" else 1)
        for option, factor in (("lr", step), ("weight-decay", self.weight_decay), ("eps", self.eps)):
            if factor > LARGEST_FACTOR[self.dtype]:
                raise UserError(f"--{option} gives a factor of {factor:g}, more than {self.dtype} holds; lower it")
        if self.threads > (cores := os.cpu_count() or 1):
            raise UserError(f"--threads must be at most the {cores} cores of this machine, got {self.threads}")

    def _refuse_contradictions(self) -> None:
        if self.only is not None and self.only not in TWINS:
            raise UserError(f"--only {brief(repr(self.only))} is unknown; choose one of {', '.join(TWINS)}")
        if self.only and self.resync:
            raise UserError(f"--resync compares both twins step by step: leave out --only {self.only}")
        if self.tf32 and self.device != "cuda":
            raise UserError("--tf32 needs --device cuda: a CPU has no TF32")
        if self.tf32 and self.resync:
            raise UserError("--resync holds each step to the bounds of float32, which TF32 breaks: leave out --tf32")
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise UserError(f"--nesterov needs --optimizer sgd with --momentum above 0, got {self.optimizer}")

    @property
    def learning_rate(self) -> float:
        """The learning rate at the start: `lr`, or the optimizer's default."""
        return LEARNING_RATES[self.optimizer] if self.lr is None else self.lr

    @property
    def compares(self) -> bool:
        """Whether both twins are trained."""
        return self.only is None

    @property
    def twins(self) -> tuple[str, ...]:
        """Who is trained, without the yardstick."""
        return (self.only,) if self.only else TWINS

    @property
    def measures_drift(self) -> bool:
        """Whether there is a yardstick: with --resync nothing can drift, with --only there is nothing to hold to it."""
        return self.yardstick and self.compares and not self.resync

    def optimizer_options(self) -> dict[str, Any]:
        """The keyword arguments of both optimizers, scratch's and torch's."""
        options: dict[str, Any] = {"lr": self.learning_rate, "weight_decay": self.weight_decay}
        if self.optimizer == "sgd":
            return options | {"momentum": self.momentum, "nesterov": self.nesterov}
        # torch wants both betas as floats; JSON and Python may have a 0.
        return options | {"betas": (float(self.beta1), float(self.beta2)), "eps": self.eps}

    def epochs_on(self, dataset: str) -> int:
        """How many times the training goes through the images of `dataset`."""
        return EPOCHS[dataset] if self.epochs is None else self.epochs

    def total_steps(self, dataset: str, images: int) -> int:
        """How many steps that takes, the last one of each epoch on what is left.

        Raises:
            UserError: if a batch is larger than the data set.
        """
        if self.batch_size > images:
            raise UserError(f"--batch-size must be at most the {images:,} training images, got {self.batch_size}")
        return self.epochs_on(dataset) * math.ceil(images / self.batch_size)

    def lr_at(self, step: int, steps: int) -> float:
        """The learning rate of `step` (from 1) out of `steps`: "cosine" falls to 0, as CosineAnnealingLR does.

        Source: Loshchilov & Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts".
        """
        lr = self.learning_rate
        return lr * (1 + math.cos(math.pi * (step - 1) / steps)) / 2 if self.schedule == "cosine" else lr

    def shown(self) -> dict[str, Any]:
        """The settings with their defaults filled in, those of the other optimizer left out."""
        other = ("beta1", "beta2", "eps") if self.optimizer == "sgd" else ("momentum", "nesterov")
        return {name: value for name, value in asdict(self).items() if name not in other} | {"lr": self.learning_rate}


@dataclass(frozen=True)
class DataOptions:
    """Which images a run sees, as its options say it; a checkpoint keeps them, so that a run goes on with the same."""

    dataset: str = "auto"
    data_dir: str | None = None
    train_images: int | None = None
    test_images: int | None = None

    def settled(self, found: str, folder: Path) -> Self:
        """The same, wherever it is read: `found` in place of "auto", `folder` as that of the data, both absolute."""
        dataset = found if self.dataset == "auto" else self.dataset
        if dataset.startswith(OWN):
            dataset = f"{OWN}{Path(dataset.removeprefix(OWN)).expanduser().absolute()}"
        return replace(self, dataset=dataset, data_dir=str(folder.absolute()))

    def moved(self, folder: Path) -> Self:
        """The same data set, which lies in `folder` now."""
        if self.dataset.startswith(OWN):
            return replace(self, dataset=f"{OWN}{folder.absolute()}")
        return replace(self, data_dir=str(folder.absolute()))
