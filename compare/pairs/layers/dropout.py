"""Dropout is random: how two sides of a comparison come to the same masks.

The candidate draws them, and its output shows them: what is left out is 0. The reference is the definition with these
masks, and autograd. That the masks themselves are as they should be is compared too: how much is kept, that no two
calls and no two images share a mask.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

import scratch
from compare.driving.options import Option
from compare.driving.tensors import Call, Tensors
from compare.pairs.bounds import growth, in_float64, left_alone
from compare.pairs.cases import Case, grid, whole
from compare.pairs.observe import observe_torch
from compare.pairs.pair import NO_DECISIONS, NO_PRODUCTS, NO_WEIGHTS, ONE_INPUT, LayerPair, Random, Rng
from scratch import Array


class GivenMasks(nn.Module):
    """y = x·k/(1 - p) in training, call by call with the given masks k; y = x in evaluation."""

    def __init__(self, p: float, masks: list[Array]) -> None:
        super().__init__()
        self.p = p
        self.masks = masks
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if not self.training:
            return x
        mask = self.masks[self.calls - 1]
        if mask.shape != tuple(x.shape):  # an output of another shape: no mask can be read off it
            return x / (1 - self.p)
        return x * torch.tensor(mask, dtype=x.dtype) / (1 - self.p)


def masks_of(got: Tensors) -> list[Array]:
    """Which elements each call kept, read off its output."""
    outputs = [array for name, array in got.items() if name.partition(" of ")[0] == "output"]
    return [output != 0 for output in outputs]


def dropout_given(reference: nn.Module, got: Tensors) -> nn.Module:
    """The reference of the masks that a candidate drew."""
    p = reference.p
    assert isinstance(p, int | float)
    return GivenMasks(p, masks_of(got))


def choose_dropout(module: scratch.Module, got: Tensors | None) -> None:
    """Make a scratch layer draw the masks that a candidate drew; always the same ones where there is no candidate."""
    if isinstance(getattr(module, "generator", None), np.random.Generator):
        replaced = np.random.default_rng(0) if got is None else _Replay(iter(masks_of(got)))
        setattr(module, "generator", replaced)  # noqa: B010 (not every module has one, mypy would say)


class _Replay:
    """Stands in for a generator: what it draws is above every p where the mask keeps, and below where it does not."""

    def __init__(self, masks: Iterator[Array]) -> None:
        self.masks = masks

    def random(self, shape: tuple[int, ...]) -> Array:
        mask = next(self.masks)
        return np.where(mask, 1.0, -1.0) if mask.shape == shape else np.ones(shape)


def dropout_shares(reference: nn.Module, got: Tensors) -> dict[str, tuple[float, float, float]]:
    """What is kept in training, and how often two calls, and two images, agree about it.

    Each may differ by six standard deviations: one chance in half a billion. Outputs that are empty, single numbers or
    of several shapes show no masks, and are found by their shapes.
    """
    p = reference.p
    assert isinstance(p, int | float)
    masks = masks_of(got)
    training = masks[:-1] if len(masks) > 1 else masks
    if len({mask.shape[1:] for mask in training}) != 1 or not all(mask.ndim and mask.size for mask in training):
        return {}
    shares = {"share kept": (training, 1 - p)}
    same = p * p + (1 - p) * (1 - p)
    if len(training) > 1:
        size = min(len(mask) for mask in training)
        shares["share kept alike by two calls"] = ([training[0][:size] == training[1][:size]], same)
    if all(mask.ndim > 1 and len(mask) > 1 for mask in training):
        shares["share kept alike by two images"] = ([mask[1:] == mask[:-1] for mask in training], same)
    found = {}
    for name, (arrays, share) in shares.items():
        flat = np.concatenate([array.reshape(-1) for array in arrays])
        found[name] = float(flat.mean()), share, 6 * math.sqrt(share * (1 - share) / flat.size)
    return found


def one_product(reference: nn.Module, calls: Sequence[Call], dtype: str) -> Tensors:
    """Dropout multiplies each number by one constant, itself rounded twice: n = 4 roundings at most."""
    magnitudes = observe_torch(copy.deepcopy(reference).double(), [in_float64(call, np.abs) for call in calls])
    rounded = growth(np.asarray(4.0), dtype)
    return {name: 2 * rounded * array for name, array in magnitudes.items()} | left_alone(reference, calls)


def _draw(rng: Rng) -> Case:
    values = str(rng.choice(("normal", "per-channel")))
    return Case((whole(rng, 16, 24), 6, 6, 6), {"p": float(rng.uniform(0.2, 0.8))}, values)


DROPOUT = LayerPair(
    "dropout",
    scratch.Dropout,
    nn.Dropout,
    one_product,
    (
        # Large enough for the share of what is kept to say something.
        *grid([((8, 4, 9, 8), {"p": 0.25}), ((20, 30), {"p": 0.8})], ("normal", "per-channel")),
        Case((20, 50), {"p": 0.3}, calls=3),
    ),
    draw=_draw,
    often=1,
    options={"p": Option()},
    shapes=lambda _: [(8, 4, 9, 8), (1, 4, 20, 20), (20, 50)],  # large enough, as above
    random=Random(dropout_given, choose_dropout, dropout_shares),
    lacks=NO_DECISIONS
    | NO_WEIGHTS
    | ONE_INPUT
    | NO_PRODUCTS
    | {
        "small": "of few numbers nobody can say which share is kept",
        "lesson": "no model of the lesson has it",
    },
)
