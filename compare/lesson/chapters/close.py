"""How close is close enough, on one number: its bound worked out, and the share of it that was used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

import scratch
from compare.lesson.not_as_shown import NotAsShown
from compare.pairs.bounds import LAMBDA, growth, unit_roundoff
from compare.pairs.models import ModelPair
from compare.pairs.observe import leaves, watch_torch
from compare.pairs.pair import arguments_of
from compare.pairs.weights import State, load_scratch_state, load_torch_state
from scratch import Array


@dataclass(frozen=True)
class Worked:
    """One score of one image, in float32, and its bound.

    Attributes:
        layer: the linear layer that gives the scores; index: which image and which class.
        own, twin, exact: NumPy's and torch's number, and that of float64 from the same inputs and weights.
        terms: K, how many products are added up, the bias included.
        magnitude: S, the same sum over absolute values.
        worst, likely: γ_K and λ·√K·u.
        bound, difference: what the two may differ by, and what they do.
    """

    layer: str
    index: tuple[int, int]
    own: float
    twin: float
    exact: float
    terms: int
    magnitude: float
    worst: float
    likely: float
    bound: float
    difference: float


@dataclass(frozen=True)
class Precision:
    """How far each twin in float32 is from float64, in the scores of so many images: greatest and mean error."""

    images: int
    greatest: dict[str, float]
    mean: dict[str, float]


def worked(pair: ModelPair, state: State, images: Array) -> Worked:
    """The score of `images` (N, 1, H, W), float32, in which NumPy and torch differ most.

    Raises:
        NotAsShown: if they differ by more than its bound.
    """
    twin = pair.torch()
    load_torch_state(twin, state)
    inputs, _ = watch_torch(twin, torch.tensor(images))
    name, last = leaves(twin)[-1]
    own = scratch.Linear(**arguments_of(last, scratch.Linear))
    load_scratch_state(own, {leaf: state[f"{name}.{leaf}"] for leaf in ("weight", "bias")})
    x = inputs[name]
    mine = own(x)
    with torch.no_grad():
        theirs = last(torch.tensor(x)).numpy()
    difference = np.abs(mine.astype(np.float64) - theirs)
    n, k = (int(i) for i in np.unravel_index(difference.argmax(), difference.shape))
    assert own.bias is not None
    row, weight, bias = x[n].astype(np.float64), own.weight.data[k].astype(np.float64), float(own.bias.data[k])
    terms, u = len(row) + 1, unit_roundoff("float32")
    worst, likely = terms * u / (1 - terms * u), LAMBDA * terms**0.5 * u
    magnitude = float(np.abs(row * weight).sum() + abs(bias))
    bound = 2 * float(growth(np.asarray(float(terms)), "float32")) * magnitude
    if difference[n, k] > bound:
        raise NotAsShown(f"the bound of one number: {name} differs by {difference[n, k]:.3g}, {bound:.3g} is allowed")
    return Worked(
        name,
        (n, k),
        float(mine[n, k]),
        float(theirs[n, k]),
        float(row @ weight + bias),
        terms,
        magnitude,
        worst,
        likely,
        bound,
        float(difference[n, k]),
    )


def precision(pair: ModelPair, state: State, images: Array) -> Precision:
    """Both twins in float32 against torch in float64, on `images` (N, 1, H, W)."""
    exact, twin, own = pair.torch(dtype=torch.float64), pair.torch(), pair.scratch()
    load_torch_state(exact, {name: array.astype(np.float64) for name, array in state.items()})
    load_torch_state(twin, state)
    load_scratch_state(own, state)
    with torch.no_grad():
        right = exact(torch.tensor(images, dtype=torch.float64)).numpy()
        scores = {"scratch": own(images), "torch": twin(torch.tensor(images)).numpy()}
    errors = {side: np.abs(array - right) for side, array in scores.items()}
    return Precision(
        len(images),
        {side: float(error.max()) for side, error in errors.items()},
        {side: float(error.mean()) for side, error in errors.items()},
    )
