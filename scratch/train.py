"""One training step and the evaluation. Read this beside `torch_ref/train.py`: the difference is autograd."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from scratch.loss import CrossEntropyLoss
from scratch.module import Array, Module
from scratch.optim import Optimizer

Batch = tuple[Array, Array]


def train_step(
    model: Module, criterion: CrossEntropyLoss, optimizer: Optimizer, images: Array, labels: Array
) -> tuple[float, int]:
    """Learn from one batch: images (N, 1, H, W), labels (N). Returns the loss and how many answers were right."""
    optimizer.zero_grad()
    logits = model(images)
    loss = criterion(logits, labels)
    grad_logits = criterion.backward()
    model.backward_parameters(grad_logits)  # nobody learns from the gradient of the images
    optimizer.step()
    return float(loss), int((logits.argmax(axis=1) == labels).sum())


def evaluate(model: Module, criterion: CrossEntropyLoss, batches: Iterable[Batch]) -> tuple[float, float]:
    """The mean loss per image, and the share of right answers, over all batches of (images, labels).

    `criterion` must average over its batch (reduction "mean"). Memory stays that of one batch.

    Raises:
        ValueError: if there is no batch.
    """
    was_training = model.training
    model.eval()
    total_loss, right, count = 0.0, 0, 0
    for images, labels in batches:
        logits = model(images)
        total_loss += float(criterion(logits, labels)) * len(labels)
        right += int((logits.argmax(axis=1) == labels).sum())
        count += len(labels)
    model.train(was_training)
    if not count:
        raise ValueError("evaluate: batches must hold at least one batch, got none")
    return total_loss / count, right / count


def predict(model: Module, images: Array, batch_size: int = 256) -> Array:
    """The most probable class of each image: (N, 1, H, W) to (N) whole numbers, `batch_size` images at a time."""
    was_training = model.training
    model.eval()
    starts = range(0, len(images), batch_size)
    answers = [model(images[start : start + batch_size]).argmax(axis=1) for start in starts]
    model.train(was_training)
    return np.concatenate(answers)
