"""Whole models, each twin on its own intermediate results, through forward, loss, backward and some optimizer steps.

What is allowed here is measured, not guessed: the reference runs again with its weights and images moved by one unit in
the last place. What that does to a tensor, times what the roundings of the layers before it amount to
(`bounds.conditioning_factor`), is allowed, and the bound of the one layer that computes the tensor.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

import torch_ref
from compare.driving.models import SGD, STEPS, after
from compare.driving.tensors import Tensors, gradient_name
from compare.pairs import weights
from compare.pairs.bounds import conditioning_factor, growth, largest_changes
from compare.pairs.layers import layer_pair_of
from compare.pairs.observe import leaves, record_calls
from scratch import Array

PERTURBATIONS = 8  # how often the reference runs again, one ulp away


def bounds_end_to_end(
    reference: nn.Module, images: Array, labels: Array, seed: int, *, blank_free: bool = True
) -> Tensors:
    """What logits, loss, all gradients and updated parameters may differ by; `seed` draws the perturbations."""
    steps, rng = STEPS[str(images.dtype)], np.random.default_rng(seed)
    start = updated_from(reference, str(images.dtype))
    factor = roundings_of(reference)
    expected = run_torch(reference, images, labels, blank_free=blank_free)

    def moved_runs() -> Iterator[tuple[Tensors, Tensors]]:
        for _ in range(PERTURBATIONS):
            moved = moved_reference(reference, len(images), rng)
            began = updated_from(moved, str(images.dtype))
            yield run_torch(moved, one_ulp_away(images, rng), labels, blank_free=blank_free), began

    changes = largest_changes(expected, moved_runs(), start)
    own = _own_rounding(reference, images, labels, steps)
    return {name: factor * change + own[name] for name, change in changes.items()}


def updated_from(reference: nn.Module, dtype: str) -> Tensors:
    """What the updated parameters were before the steps, under their names after them."""
    return after(weights.torch_state(reference), STEPS[dtype])


def moved_reference(reference: nn.Module, images: int, rng: np.random.Generator) -> nn.Module:
    """A copy of the reference with its weights one ulp away.

    So is the loss's gradient, (p - δ)/N: p was rounded before δ was subtracted, so that where p is near 1 the error is
    an ulp of 1/N however small the difference is, and no change of the weights would show it.
    """
    moved = copy.deepcopy(reference)
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter.copy_(torch.tensor(one_ulp_away(parameter.numpy(), rng)))

    def move_gradient(_: nn.Module, _args: tuple[Tensor, ...], logits: Tensor) -> None:
        if logits.requires_grad:
            ulp = torch.finfo(logits.dtype).eps / images
            signs = torch.tensor(rng.choice([-1.0, 1.0], tuple(logits.shape)), dtype=logits.dtype)
            logits.register_hook(lambda grad: grad + ulp * signs)

    moved.register_forward_hook(move_gradient)
    return moved


def _own_rounding(reference: nn.Module, images: Array, labels: Array, steps: int) -> Tensors:
    """How far each tensor may be off by the rounding of the one layer that computes it, by the rule of its kind.

    An updated parameter takes that of its gradients (with momentum, the gradient of step k counts at most steps - k + 1
    times) and of the optimizer's own operations.
    """
    dtype = str(images.dtype)
    own = own_rounding_of_gradients(reference, images, labels)
    own |= {"logits in evaluation": own["logits"], "logits of one image": own["logits"][:1]}
    roundings = 2 * growth(np.asarray(8.0 * steps), dtype)
    for name, array in weights.torch_state(reference).items():
        gradients = SGD["lr"] * steps * (steps + 1) / 2 * own[gradient_name(name)]
        own |= after({name: gradients + roundings * np.abs(array)}, steps)
    return own


def own_rounding_of_gradients(reference: nn.Module, images: Array, labels: Array) -> Tensors:
    """How far logits, loss and gradients may be off by the rounding of the one layer that computes each."""
    own: Tensors = {}
    for name, call in record_calls(reference, images, labels).items():
        layer = nn.CrossEntropyLoss() if name == "loss" else reference.get_submodule(name)
        bounds = layer_pair_of(layer).rule(layer, [call], str(images.dtype))
        own["loss" if name == "loss" else "logits"] = bounds["output"]  # the last layer's stays
        if "grad_input" not in own:
            own["grad_input"] = bounds["grad_input"]  # the first layer's
        own |= {gradient_name(f"{name}.{p}"): bounds[gradient_name(p)] for p, _ in layer.named_parameters()}
    return own


def roundings_of(reference: nn.Module) -> float:
    """How many one-ulp perturbations the roundings of a model and its loss amount to."""
    return conditioning_factor(sum(bool(list(layer.parameters())) for _, layer in leaves(reference)) + 1)


def one_ulp_away(x: Array, rng: np.random.Generator) -> Array:
    """Every element moved to the next number above or below, by chance; zeros stay."""
    direction = rng.choice([-np.inf, np.inf], x.shape).astype(x.dtype)
    return np.where(x == 0, x, np.nextafter(x, direction))


def run_torch(reference: nn.Module, images: Array, labels: Array, *, blank_free: bool = True) -> Tensors:
    """The same of a copy of a torch model."""
    steps, model = STEPS[str(images.dtype)], copy.deepcopy(reference)
    criterion, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), **SGD)
    inputs, targets = torch.tensor(images), torch.tensor(labels)
    with torch.no_grad():
        seen: Tensors = {"logits": model(inputs).numpy(), "logits of one image": model(inputs[:1]).numpy()}
        model.eval()
        seen["logits in evaluation"] = model(inputs).numpy()
        model.train()
    if blank_free:
        images_with_grad = inputs.clone().requires_grad_()
        criterion(model(images_with_grad), targets).backward()
        assert images_with_grad.grad is not None
        seen["grad_input"] = images_with_grad.grad.numpy()
    for step in range(steps):
        loss, _ = torch_ref.train_step(model, criterion, optimizer, inputs, targets)
        if step == 0:
            seen["loss"] = np.array(loss, images.dtype)
            seen |= {
                gradient_name(name): parameter.grad.numpy().copy()
                for name, parameter in model.named_parameters()
                if parameter.grad is not None
            }
    return seen | after(weights.torch_state(model), steps)
