"""What a run is asked to do, checked before anything is loaded (and without torch, which takes seconds to import)."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from compare.errors import UserError

DTYPES = ("float32", "float64")
DEVICES = ("cpu", "cuda")
SCHEDULES = ("cosine", "constant")
EPOCHS = {"mnist": 3, "digits": 20}  # the default for each data set: enough for the models to have learnt it


@dataclass(frozen=True)
class Settings:
    """What a run does, as the options of `gradtwin train`; `epochs` None stands for the data set's default.

    Raises:
        UserError: for values that make no sense, each named with its rule.
    """

    model: str = "cnn"
    epochs: int | None = None
    batch_size: int = 64
    lr: float = 0.05
    schedule: str = "cosine"
    momentum: float = 0.9
    weight_decay: float = 0.0
    dtype: str = "float32"
    device: str = "cpu"
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        for name, choices in (("dtype", DTYPES), ("device", DEVICES), ("schedule", SCHEDULES)):
            if getattr(self, name) not in choices:
                raise UserError(f"{name} {getattr(self, name)!r} is unknown; choose one of {', '.join(choices)}")
        for name in ("epochs", "batch_size", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
        if self.threads > (cores := os.cpu_count() or 1):
            raise UserError(f"--threads must be at most the {cores} cores of this machine, got {self.threads}")
        if not 0 < self.lr < math.inf:
            raise UserError(f"--lr must be a number above 0, got {self.lr}")
        if not 0 <= self.momentum < 1:
            raise UserError(f"--momentum must be at least 0 and below 1, got {self.momentum}")
        if not 0 <= self.weight_decay < math.inf:
            raise UserError(f"--weight-decay must be at least 0, got {self.weight_decay}")
        if self.seed < 0:
            raise UserError(f"--seed must be at least 0, got {self.seed}")

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
        """The learning rate of `step` (from 1) out of `steps`: "cosine" falls from lr to 0, as CosineAnnealingLR does.

        Source: Loshchilov & Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts".
        """
        return self.lr * (1 + math.cos(math.pi * (step - 1) / steps)) / 2 if self.schedule == "cosine" else self.lr
