"""One training step of scratch held against one of torch, both from the same weights and the same optimizer state.

A step is compared under the decisions that scratch made (`pairs.decisions`): where one of them is not torch's, it must
have been a narrow one, and torch then takes the step again as if it had decided so.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

import torch_ref
from compare.driving.tensors import Tensors, gradient_name
from compare.pairs import weights
from compare.pairs.bounds import growth, largest_changes
from compare.pairs.decisions import Flip, flips, impose
from compare.pairs.end_to_end import moved_reference, one_ulp_away, own_rounding_of_gradients, roundings_of
from compare.pairs.observe import Values, watch_torch
from compare.pairs.report import Row, compare, nothing_compared
from scratch import Array

PERTURBATIONS = 4  # how often torch takes the step again, one ulp away
OPERATIONS = 8  # roundings of each term of an update, as in `optimizers.sgd`
BLOWN = 10.0  # Times the loss of guessing: a training that got there has blown up.


@dataclass(frozen=True)
class Start:
    """Where torch stood before the step: copies of its model and optimizer, on the host, the one made for the other."""

    model: nn.Module
    optimizer: torch.optim.Optimizer

    @classmethod
    def of(cls, model: nn.Module, optimizer: torch.optim.Optimizer) -> Start:
        """Copies of both as they are now."""
        own_model, own_optimizer = copy.deepcopy((model, optimizer))
        own_model.cpu()  # in place: the optimizer goes on holding its parameters
        own_optimizer.load_state_dict(own_optimizer.state_dict())  # brings what it remembers to where they are
        return cls(own_model, own_optimizer)

    def moved(self, images: int, rng: np.random.Generator) -> Start:
        """The same with the weights one ulp away."""
        model = moved_reference(self.model, images, rng)
        kind: Any = type(self.optimizer)
        optimizer = kind(model.parameters())
        optimizer.load_state_dict(self.optimizer.state_dict())
        return Start(model, optimizer)


def guessing(classes: int) -> float:
    """The loss of who gives every class the same probability, ln(classes)."""
    return math.log(classes)


def blown(loss: float, classes: int) -> bool:
    """Whether a loss is so far above that of guessing, or no number, that a training with it has blown up."""
    return not loss <= BLOWN * guessing(classes)


def updated_name(parameter: str) -> str:
    """What a parameter is called after the step."""
    return f"{parameter} after the step"


def remembered(optimizer: torch.optim.Optimizer) -> Tensors:
    """What a torch optimizer remembers, as "optimizer 0.momentum_buffer"."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer {i}.{name}": held.cpu().numpy().copy()
        for i in state
        for name, held in state[i].items()
        if held is not None
    }


def check_step(
    name: str, case: str, start: Start, images: Array, labels: Array, got: Tensors, decided_on: Values, seed: int
) -> tuple[list[Row], list[Flip]]:
    """Compare what one training step of scratch gave with what torch's gives.

    Args:
        name, case: what the rows are called: the model, and which step.
        start: where torch stood before.
        images, labels: the batch, on the host.
        got: scratch's loss, gradients, updated parameters and optimizer state, as `run_step` names them.
        decided_on: the inputs of all layers in scratch's forward pass, by layer.
        seed: draws the perturbations.

    Returns:
        A row for each tensor and for each decision that was not narrow, and all decisions that torch made differently.
        Where the weights have blown up, a row outside its bound is `unjudged`: the bounds are measured one rounding
        away, and say nothing where a rounding changes the loss by more than they assume.
    """
    rng, dtype = np.random.default_rng(seed), str(images.dtype)
    inputs, outputs = watch_torch(start.model, torch.from_numpy(images))
    turned = flips(start.model, decided_on, inputs)
    wrong = [nothing_compared(name, case, dtype, f"{flip}: that was not narrow") for flip in turned if not flip.narrow]
    expected = run_step(start, images, labels, decided_on)
    bounds = _bounds(start, images, labels, decided_on, expected, rng)
    # No `start`, to tell an update from none: a learning rate near 0 leaves none to tell, and what the optimizer
    # remembers is compared as well.
    rows = wrong + compare(name, case, got, expected, bounds)
    if blown(loss := float(expected["loss"]), list(outputs.values())[-1].shape[1]):
        rows = [row if row.ok or row.unjudged else _open(row, loss) for row in rows]
    return rows, turned


def _open(row: Row, loss: float) -> Row:
    """The row of a step with blown-up weights, which tells nothing."""
    return replace(row, problem=f"{row.problem}; the weights had blown up, torch's loss was {loss:.3g}", unjudged=True)


def run_step(start: Start, images: Array, labels: Array, decided_on: Values) -> Tensors:
    """Loss, gradients, updated parameters and optimizer state of one step of torch, which decides as it would on these.

    `start` stays as it is.
    """
    model, optimizer = copy.deepcopy((start.model, start.optimizer))
    impose(model, decided_on)
    loss, _ = torch_ref.train_step(
        model, nn.CrossEntropyLoss(), optimizer, torch.from_numpy(images), torch.from_numpy(labels)
    )
    gradients = {gradient_name(n): p.grad.numpy().copy() for n, p in model.named_parameters() if p.grad is not None}
    return {"loss": np.array(loss, images.dtype)} | gradients | _after(model, optimizer)


def _bounds(
    start: Start,
    images: Array,
    labels: Array,
    decided_on: Values,
    expected: Tensors,
    rng: np.random.Generator,
) -> Tensors:
    """What each tensor may differ by.

    One ulp of weights and images, measured, times what the roundings of the model amount to; the rounding of the layer
    that computes a gradient, carried through the optimizer; and the optimizer's own operations.
    """
    old = {updated_name(name): array for name, array in weights.torch_state(start.model).items()}

    def moved_steps() -> Iterator[tuple[Tensors, Tensors]]:
        for _ in range(PERTURBATIONS):
            moved = start.moved(len(images), rng)
            began = {updated_name(name): array for name, array in weights.torch_state(moved.model).items()}
            yield run_step(moved, one_ulp_away(images, rng), labels, decided_on), began

    changes = largest_changes(expected, moved_steps(), old)
    own = own_rounding_of_gradients(start.model, images, labels)
    carried = _through_the_optimizer(start, expected, own)
    rounding = 2 * growth(np.asarray(float(OPERATIONS)), str(images.dtype))
    bounds: Tensors = {}
    for name, tensor in expected.items():
        bounds[name] = roundings_of(start.model) * changes[name] + own.get(name, np.zeros(()))
        if name in carried:
            update = np.abs(tensor) + np.abs(old.get(name, 0.0))
            bounds[name] = bounds[name] + carried[name] + rounding * update * (tensor.ndim > 0)
    return bounds


def _through_the_optimizer(start: Start, expected: Tensors, own: Tensors) -> Tensors:
    """What an error of `own` in every gradient, of one sign or the other, does to parameters and optimizer state."""
    reached: list[Tensors] = []
    for sign in (0.0, 1.0, -1.0):
        model, optimizer = copy.deepcopy((start.model, start.optimizer))
        for name, parameter in model.named_parameters():
            key = gradient_name(name)
            parameter.grad = torch.tensor(expected[key] + sign * own[key], dtype=parameter.dtype)
        optimizer.step()
        reached.append(_after(model, optimizer))
    plain, above, below = reached
    return {n: np.maximum(np.abs(above[n] - plain[n]), np.abs(below[n] - plain[n])) for n in plain}


def _after(model: nn.Module, optimizer: torch.optim.Optimizer) -> Tensors:
    return {updated_name(n): array for n, array in weights.torch_state(model).items()} | remembered(optimizer)
