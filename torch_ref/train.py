"""One training step and the evaluation. Read this beside `scratch/train.py`: the difference is autograd."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]


def train_step(
    model: nn.Module, criterion: nn.CrossEntropyLoss, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor
) -> tuple[float, int]:
    """Learn from one batch: images (N, 1, H, W), labels (N). Returns the loss and how many answers were right."""
    optimizer.zero_grad()
    logits = model(images)
    loss = criterion(logits, labels)
    loss.backward()  # both backward lines of the NumPy twin, and the backward of every layer
    optimizer.step()
    return loss.item(), int((logits.argmax(dim=1) == labels).sum())


@torch.no_grad()
def evaluate(model: nn.Module, criterion: nn.CrossEntropyLoss, batches: Iterable[Batch]) -> tuple[float, float]:
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
        right += int((logits.argmax(dim=1) == labels).sum())
        count += len(labels)
    model.train(was_training)
    if not count:
        raise ValueError("evaluate: batches must hold at least one batch, got none")
    return total_loss / count, right / count


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, batch_size: int = 256) -> Tensor:
    """The most probable class of each image: (N, 1, H, W) to (N) whole numbers, `batch_size` images at a time."""
    was_training = model.training
    model.eval()
    answers = [model(batch).argmax(dim=1) for batch in images.split(batch_size)]
    model.train(was_training)
    return torch.cat(answers)
