"""Drives a whole model in NumPy: through forward, loss, backward and some optimizer steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from compare.driving.observe import load
from compare.driving.tensors import Array, Given, Tensors, gradient_name

TrainStep = Callable[..., tuple[float, int]]

STEPS = {"float64": 3, "float32": 1}  # optimizer steps end to end; in float32 a later step may meet a near tie
SGD: dict[str, Any] = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}


def drive_model(model: Any, given: Given, train_step: TrainStep | None = None) -> Tensors:
    """What a model gives for a probe of images and labels; a training step may take the place of our own."""
    with np.errstate(all="ignore"):  # NaN and infinity are found in what it gives
        load(model, given)
        images, labels = (array.copy() for array in given.calls[0].inputs)
        return run_scratch(model, images, labels, train_step=train_step)


def run_scratch(
    model: Any,
    images: Array,
    labels: Array,
    *,
    blank_free: bool = True,
    train_step: TrainStep | None = None,
) -> Tensors:
    """Logits, loss, all gradients, and the parameters after some optimizer steps, of a scratch model.

    `blank_free` says that no two patches of an image are equal: only then do two correct implementations agree on the
    winner of every pooling window, and with it on the gradient of the images.
    """
    import scratch  # a model is trained with our loss and optimizer

    steps, train_step = STEPS[str(images.dtype)], train_step or scratch.train_step
    criterion, optimizer = scratch.CrossEntropyLoss(), scratch.SGD(model.parameters(), **SGD)
    seen: Tensors = {"logits": np.array(model(images)), "logits of one image": np.array(model(images[:1]))}
    model.eval()
    seen["logits in evaluation"] = np.array(model(images))
    model.train()
    if blank_free:
        criterion(model(images), labels)
        grad_input: Array | None = model.backward(criterion.backward())
        if grad_input is not None:
            seen["grad_input"] = np.array(grad_input)
    for step in range(steps):
        loss, _ = train_step(model, criterion, optimizer, images, labels)
        if step == 0:
            seen["loss"] = np.array(loss, images.dtype)
            seen |= {
                gradient_name(name): np.array(parameter.grad)
                for name, parameter in model.named_parameters()
                if parameter.grad is not None
            }
    return seen | after({name: array.copy() for name, array in model.state_dict().items()}, steps)


def after(state: Mapping[str, Array], steps: int) -> Tensors:
    """Parameters under their names after so many steps."""
    return {f"{name} after {steps} step{'s' if steps > 1 else ''}": array for name, array in state.items()}
