"""One comparison as plain data: what both sides of a pair are given, so that anything can be driven with it.

The same probe drives the registered module, somebody's own code in another process, and a catalogued mistake.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import nn

from compare.driving.tensors import Given, Tensors
from compare.pairs.cases import Case
from scratch import Array


@dataclass(frozen=True, eq=False)
class Probe(Given):
    """What a layer, loss, optimizer or model is given, and where it comes from. A probe equals itself only.

    Attributes:
        plain: whether its numbers are ordinary ones, or as large as they get: those that float32 is tried on.
        drawn: the case of a layer that it was drawn for.
    """

    plain: bool = True
    drawn: Case | None = None


def given_in(probe: Probe) -> list[Array]:
    """All arrays that a probe gives: weights, inputs, upstream gradients, and the gradients of an optimizer's steps."""
    calls = [array for call in probe.calls for array in (*call.inputs, call.grad_output)]
    return [*probe.state.values(), *calls, *(array for step in probe.gradients for array in step.values())]


def draw_state(reference: nn.Module, dtype: str, rng: np.random.Generator) -> Tensors:
    """An array for every parameter and buffer of `reference`: none is full of zeros or ones, which hide mistakes.

    Weights are as large as torch draws them. Whole numbers count something, and a variance is positive.
    """
    state: Tensors = {}
    for name, tensor in reference.state_dict().items():
        shape = tuple(tensor.shape)
        if not tensor.is_floating_point():
            state[name] = rng.integers(1, 100, shape).astype(tensor.numpy().dtype)
        elif len(shape) > 1:
            bound = 1 / math.sqrt(math.prod(shape[1:]))
            state[name] = rng.uniform(-bound, bound, shape).astype(dtype)
        else:
            drawn = rng.standard_normal(shape)
            state[name] = np.asarray(np.abs(drawn) + 0.1 if name.endswith("_var") else drawn, dtype)
    return {name: np.asarray(array) for name, array in state.items()}
