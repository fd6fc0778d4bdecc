"""Whole models, each twin on its own intermediate results, through forward, loss, backward and some optimizer steps.

What is allowed here is measured, not guessed: the reference runs again with its weights and images moved by one unit in
the last place. What that does to a tensor, times what the roundings of the layers before it amount to
(`tolerance.conditioning_factor`), is allowed, and the bound of the one layer that computes the tensor.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

import scratch
import torch_ref
from compare import tolerance, weights
from compare.observe import Tensors, gradient_name, leaves, record_calls
from compare.pairs import layer_pair_of
from scratch import Array

PERTURBATIONS = 8  # how often the reference runs again, one ulp away
CLEARANCE = 32  # ulps of a layer's greatest input by which a decision must stand clear of a tie
TrainStep = Callable[..., tuple[float, int]]

STEPS = {"float64": 3, "float32": 1}  # optimizer steps end to end; in float32 a later step may meet a near tie
SGD: dict[str, Any] = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}


def bounds_end_to_end(
    reference: nn.Module, images: Array, labels: Array, seed: int, *, blank_free: bool = True
) -> Tensors:
    """What logits, loss, all gradients and updated parameters may differ by; `seed` draws the perturbations."""
    steps, rng = STEPS[str(images.dtype)], np.random.default_rng(seed)
    start = updated_from(reference, str(images.dtype))
    rounding_layers = sum(bool(list(layer.parameters())) for _, layer in leaves(reference)) + 1  # and the loss
    factor = tolerance.conditioning_factor(rounding_layers)
    expected = run_torch(reference, images, labels, blank_free=blank_free)
    changes = dict.fromkeys(expected, 0.0)
    for _ in range(PERTURBATIONS):
        moved = _moved_reference(reference, len(images), rng)
        moved_start = updated_from(moved, str(images.dtype))
        moved_images = _one_ulp_away(images, rng)
        for name, tensor in run_torch(moved, moved_images, labels, blank_free=blank_free).items():
            change = (tensor - moved_start.get(name, 0.0)) - (expected[name] - start.get(name, 0.0))
            changes[name] = max(changes[name], float(np.abs(change).max()))
    own = _own_rounding(reference, images, labels, steps)
    return {name: factor * change + own[name] for name, change in changes.items()}


def updated_from(reference: nn.Module, dtype: str) -> Tensors:
    """What the updated parameters were before the steps, under their names after them."""
    return _after(weights.torch_state(reference), STEPS[dtype])


def _moved_reference(reference: nn.Module, images: int, rng: np.random.Generator) -> nn.Module:
    """A copy of the reference with its weights one ulp away.

    So is the loss's gradient, (p - δ)/N: p was rounded before δ was subtracted, so that where p is near 1 the error is
    an ulp of 1/N however small the difference is, and no change of the weights would show it.
    """
    moved = copy.deepcopy(reference)
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter.copy_(torch.tensor(_one_ulp_away(parameter.numpy(), rng)))

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
    own: Tensors = {}
    for name, call in record_calls(reference, images, labels).items():
        layer = nn.CrossEntropyLoss() if name == "loss" else reference.get_submodule(name)
        bounds = layer_pair_of(layer).rule(layer, [call], dtype)
        own["loss" if name == "loss" else "logits"] = bounds["output"]  # the last layer's stays
        if "grad_input" not in own:
            own["grad_input"] = bounds["grad_input"]  # the first layer's
        own |= {gradient_name(f"{name}.{p}"): bounds[gradient_name(p)] for p, _ in layer.named_parameters()}
    own |= {"logits in evaluation": own["logits"], "logits of one image": own["logits"][:1]}
    roundings = 2 * tolerance.growth(np.asarray(8.0 * steps), dtype)
    for name, array in weights.torch_state(reference).items():
        gradients = SGD["lr"] * steps * (steps + 1) / 2 * own[gradient_name(name)]
        own |= _after({name: gradients + roundings * np.abs(array)}, steps)
    return own


def _after(state: weights.State, steps: int) -> Tensors:
    return {f"{name} after {steps} step{'s' if steps > 1 else ''}": array for name, array in state.items()}


def _one_ulp_away(x: Array, rng: np.random.Generator) -> Array:
    """Every element moved to the next number above or below, by chance; zeros stay."""
    direction = rng.choice([-np.inf, np.inf], x.shape).astype(x.dtype)
    return np.where(x == 0, x, np.nextafter(x, direction))


def run_scratch(
    model: scratch.Module,
    images: Array,
    labels: Array,
    *,
    blank_free: bool = True,
    train_step: TrainStep = scratch.train_step,
) -> Tensors:
    """Logits, loss, all gradients, and the parameters after some optimizer steps, of a scratch model.

    `blank_free` says that no two patches of an image are equal: only then do two correct implementations agree on the
    winner of every pooling window, and with it on the gradient of the images.
    """
    steps = STEPS[str(images.dtype)]
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
    return seen | _after({name: array.copy() for name, array in model.state_dict().items()}, steps)


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
    return seen | _after(weights.torch_state(model), steps)


def decided(reference: nn.Module, images: Array) -> npt.NDArray[np.bool_]:
    """Which images (N) no ReLU and no max-pooling of the reference decides by less than rounding could turn: a mask.

    Where a decision turns, two correct implementations differ by a whole gradient, not by a rounding. Exact ties count
    as decided: they come from equal patches (a blank border), which both twins tie in the same way.
    """
    wide = copy.deepcopy(reference).double()
    ulp = float(np.finfo(images.dtype).eps)
    clear = torch.ones(len(images), dtype=torch.bool)

    def judge(layer: nn.Module, args: tuple[Tensor, ...], _: Tensor) -> None:
        distance = _distance_to_tie(layer, args[0])
        sure = (distance == 0) | (distance > CLEARANCE * ulp * args[0].abs().max())
        clear.logical_and_(sure.flatten(1).all(dim=1))

    for _, layer in leaves(wide):
        if isinstance(layer, nn.ReLU | nn.MaxPool2d):
            layer.register_forward_hook(judge)
    with torch.no_grad():
        wide(torch.tensor(images, dtype=torch.float64))
    return clear.numpy()


def _distance_to_tie(layer: nn.Module, x: Tensor) -> Tensor:
    """How far the input of a ReLU is from 0; how far the maximum of a pooling window is from the second."""
    if not isinstance(layer, nn.MaxPool2d):
        return x.abs()
    (kh, kw), (sh, sw), (ph, pw) = (
        (v, v) if isinstance(v, int) else v for v in (layer.kernel_size, layer.stride, layer.padding)
    )
    padded = nn.functional.pad(x, (pw, pw, ph, ph), value=-torch.inf)
    windows = padded.unfold(2, kh, sh).unfold(3, kw, sw).flatten(-2)
    if windows.shape[-1] == 1:
        return torch.full_like(windows, torch.inf)
    first, second = windows.topk(2).values.unbind(-1)
    return first - second
