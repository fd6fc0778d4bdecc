"""Nothing is timed before it was found right: the sides' results on the very batch that is timed, held together.

The definitions are proven elsewhere, tensor by tensor (`compare.verify`); here it is made sure that what is timed, with
this batch size and this number of threads, computes the same. That needs one number for each tensor. In float32, u =
6e-8 being the rounding of one operation:

- scores and loss: sums of up to K = 9216 products, one after the other in at most 4 layers. Roundings add up to about
  √K·u = 6e-6 of the result if they are as often up as down, and to K·u = 6e-4 if they all go one way, which none does.
  Allowed is 1e-4 of the greatest element.
- gradients and updates: there, rounding may also decide a ReLU or the winner of a pooling window, where two numbers
  differ by a few u. One decision moves one of the terms of a sum over images and positions, of which a batch has
  thousands; measured by the norm of the tensor, that is far below 1e-2, which is allowed. One image left out of 512
  is 1/√512 = 4e-2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compare.bench.sides import Side
from compare.driving.tensors import Tensors
from scratch import Array

OUTPUTS = 1e-4  # of the greatest element
GRADIENTS = 1e-2  # of the norm
STEPS = 2  # the second uses what the first left in the momentum


class NotEqualError(Exception):
    """Two sides do not compute the same; the message says where."""


def require_equal(sides: Sequence[Side], mode: str, where: str) -> None:
    """Compare each side with the last one that is not compiled, torch as a rule.

    Raises:
        NotEqualError: naming `where`, and the first tensor that is too far away.
    """
    observed = {side.name: _observe(side, mode) for side in sides}
    reference = "torch" if "torch" in observed else sides[-1].name
    for side in sides:
        side.rewind()
    start = sides[0].weights()
    for name, tensors in observed.items():
        if name != reference and (problem := difference(tensors, observed[reference], start)):
            raise NotEqualError(f"{where}: not timed: {name} and {reference} are not equal: {problem}")


def difference(got: Tensors, expected: Tensors, start: Tensors) -> str:
    """What is too far away, with by how much; empty if nothing is. `start` has the parameters before the update."""
    if got.keys() != expected.keys():
        return f"one has {sorted(got.keys() ^ expected.keys())}, the other has not"
    for name, reference in expected.items():
        own = got[name]
        if own.shape != reference.shape:
            return f"{name} has shape {list(own.shape)} instead of {list(reference.shape)}"
        apart, allowed = _distance(name, own.astype(np.float64), reference.astype(np.float64), start)
        if not apart <= allowed:  # NaN is too far away as well
            return f"{name} is {apart:.2g} away, {allowed:.2g} allowed"
    return ""


def _distance(name: str, own: Array, reference: Array, start: Tensors) -> tuple[float, float]:
    """How far apart two tensors are, and how far they may be."""
    if name in ("logits", "loss"):
        return float(np.abs(own - reference).max()), OUTPUTS * float(np.abs(reference).max())
    apart = float(np.linalg.norm(own - reference))
    if name not in start:
        return apart, GRADIENTS * float(np.linalg.norm(reference))
    # What counts of an updated parameter is its update; the parameter itself was rounded in each step.
    update, rounding = reference - start[name], STEPS * float(np.finfo(np.float32).eps)
    return apart, GRADIENTS * float(np.linalg.norm(update)) + rounding * float(np.linalg.norm(reference))


def _observe(side: Side, mode: str) -> Tensors:
    """Scores, and with them what some steps leave behind."""
    tensors = {"logits": side.logits()}
    if mode == "train":
        loss = [side.train_step()[0] for _ in range(STEPS)]
        tensors |= {"loss": np.array(loss), **side.gradients(), **side.weights()}
    return tensors
