"""Losses."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody gives it

import scratch
from compare.driving.options import Option
from compare.driving.tensors import Call, Tensors, call_names
from compare.pairs.bounds import LIBRARY, either_way, left_alone
from compare.pairs.by_hand import BOTH, ByHand, Lesson, Results, array, is_tensor_of
from compare.pairs.cases import SCORES, Case, Shape, grid, whole
from compare.pairs.layers.activation import softmax_error
from compare.pairs.pair import NO_DECISIONS, NO_PRODUCTS, NO_WEIGHTS, NOT_RANDOM, LayerPair, Rng, row_shapes
from scratch import Array, log_softmax


def cross_entropy(reference: nn.Module, calls: Sequence[Call], dtype: str, *, shifted: bool = True) -> Tensors:
    """L_n = -log p[n,t_n], averaged or added up over N images, and grad_input = s_n·(p - δ).

    The loss takes the errors of its log-probabilities, and N + 1 roundings for the sum and the division; the gradient
    those of p (by exp of the logarithm), of the difference and of the scale:

        |s_n| · (p·(e + LIBRARY) + 3·|p - δ|) · u

    `shifted` as for `softmax_error`.
    """
    reduction = reference.reduction
    bounds: Tensors = {}
    for call, name in zip(calls, call_names(calls), strict=True):
        logits, targets = call.inputs[0].astype(np.float64), call.inputs[1]
        p, _, absolute = softmax_error(logits, 1, shifted=shifted)
        n, k = logits.shape
        right = targets[:, None] == np.arange(k)
        losses, errors = -log_softmax(logits, 1)[right], absolute[right]
        scale = np.abs(call.grad_output.astype(np.float64))
        if reduction == "none":
            bounds[f"output{name}"] = either_way(errors, dtype)
            scale = scale[:, None]
        else:
            parts = n if reduction == "mean" else 1
            bounds[f"output{name}"] = either_way((errors.sum() + (n + 1) * losses.sum()) / parts, dtype)
            scale = scale / parts
        product = scale * (p * (absolute + LIBRARY) + 3 * np.abs(p - right))
        bounds[f"grad_input{name}"] = either_way(product, dtype)
    return bounds | left_alone(reference, calls)


def _classes(rng: Rng, shape: Shape, _dtype: str) -> Array:
    """A class for each image, as a whole number."""
    return rng.integers(0, shape[1], shape[0])


def _draw(rng: Rng) -> Case:
    shape = whole(rng, 1, 6), whole(rng, 2, 12)
    options = {"reduction": str(rng.choice(["mean", "sum", "none"]))}
    return Case(shape, options, str(rng.choice(("normal", "zeros"))))


def _computes(tensors: dict[int, str], equation: int, tensor: str, case: str) -> bool:
    """The loss of each image is what reduction="none" gives."""
    if tensor == "output":
        return equation == (1 if "reduction=none" in case else 2)
    return is_tensor_of(tensors, equation, tensor, case)


def in_numpy(x: Array, targets: Array) -> Results:
    """The loss of each image, and their mean."""
    losses = scratch.CrossEntropyLoss(reduction="none")(x, targets)  # (1)
    criterion = scratch.CrossEntropyLoss()
    loss = criterion(x, targets)  # (2)
    grad_input = criterion.backward()
    return {"losses": losses, "output": loss, "grad_input": grad_input}  # (3)


def in_torch(x: Tensor, targets: Tensor) -> Results:
    """The loss of each image, and their mean."""
    losses = F.cross_entropy(x, targets, reduction="none")  # (1)
    loss = nn.CrossEntropyLoss()(x, targets)  # (2)
    loss.backward()
    return {"losses": losses, "output": loss, "grad_input": x.grad}  # (3)


def _by_hand(given: Tensors) -> list[ByHand]:
    x, targets = given["x"].astype(float), given["targets"]
    p = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    losses = -np.log(p[[0, 1], targets])
    return [
        ByHand(1, "losses", (0,), f"−log {p[0, targets[0]]:.4f} = {losses[0]:.4f}", losses[0]),
        ByHand(2, "output", (), f"({losses[0]:.4f} + {losses[1]:.4f}) / 2 = {losses.mean():.4f}", losses.mean()),
        ByHand(
            3,
            "grad_input",
            (0, 2),
            f"({p[0, 2]:.4f} − 1) / 2 = {(p[0, 2] - 1) / 2:.4f}".replace("-", "−"),
            (p[0, 2] - 1) / 2,
        ),
    ]


REDUCTIONS = "mean", "sum", "none"

CROSS_ENTROPY = LayerPair(
    "cross_entropy",
    scratch.CrossEntropyLoss,
    nn.CrossEntropyLoss,
    cross_entropy,
    # One image with large scores may be right beyond doubt: loss and gradient exactly 0, and nothing to compare.
    grid([((6, 10), {"reduction": r}) for r in REDUCTIONS], SCORES)
    + grid([((1, 4), {"reduction": r}) for r in REDUCTIONS], ("normal", "zeros")),
    small=(
        Case((1, 2), {"reduction": "mean"}),
        Case((2, 2), {"reduction": "mean"}),
        Case((2, 3), {"reduction": "mean"}),
        Case((2, 2), {"reduction": "sum"}),
        Case((2, 2), {"reduction": "mean"}, calls=2),
    ),
    draw=_draw,
    often=1,
    options={"reduction": Option()},
    shapes=row_shapes,
    targets=_classes,
    wider=partial(cross_entropy, shifted=False),
    lesson=Lesson(
        BOTH,
        {1: "losses", 2: "output", 3: "grad_input"},
        {"x": array([[1, 2, 3], [0, 0, 2]]), "targets": np.array([2, 0])},
        in_numpy,
        in_torch,
        _by_hand,
        called=(scratch.log_softmax,),
        computes=_computes,
    ),
    lacks=NO_DECISIONS | NO_WEIGHTS | NOT_RANDOM | NO_PRODUCTS,
)
