"""Decisions: which side of zero the input of a ReLU is on, which element wins a pooling window, and how narrowly.

Where a decision turns, two correct implementations differ by a whole gradient, not by a rounding; between two decisions
everything that these networks do is smooth. So decisions are compared by themselves, and the rest under the same ones.
What a layer decides stands in its own file (`layers/`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from compare.pairs.layers import registered
from compare.pairs.observe import Values, leaves
from compare.pairs.pair import Decisions
from scratch import Array

CLEARANCE = 32  # ulps of a layer's largest input by which a decision must stand clear of a tie


@dataclass(frozen=True)
class Flip:
    """A decision that two implementations made differently.

    Attributes:
        layer: whose decision.
        index: of the element of the layer's output, image first.
        own, twin: what the decision was made of: the input of the ReLU, or the two elements' difference in the window.
        narrow: whether the twin's stood within `CLEARANCE` of a tie.
        words: what that number is, in words.
    """

    layer: str
    index: tuple[int, ...]
    own: float
    twin: float
    narrow: bool
    words: str

    def __str__(self) -> str:
        """In words: "relu1 at [3, 0, 5, 6]: input -1.2e-09 in scratch, 3.0e-09 in torch"."""
        return f"{self.layer} at {list(self.index)}: {self.words} {self.own:.2g} in scratch, {self.twin:.2g} in torch"


def deciding_layers(reference: nn.Module) -> list[tuple[str, nn.Module, Decisions]]:
    """The layers of a torch model that decide something, with their dotted names."""
    pairs = [(name, layer, registered(layer)) for name, layer in leaves(reference)]
    return [(name, layer, pair.decisions) for name, layer, pair in pairs if pair is not None and pair.decisions]


def flips(reference: nn.Module, own: Values, twin: Values) -> list[Flip]:
    """Where scratch and torch decided differently, given the inputs (N, ...) of all layers in each; layer by layer."""
    return [
        flip
        for name, layer, decisions in deciding_layers(reference)
        for flip in _flips_of(name, layer, decisions, torch.tensor(own[name]), torch.tensor(twin[name]))
    ]


def _flips_of(name: str, layer: nn.Module, decisions: Decisions, own: Tensor, twin: Tensor) -> Iterator[Flip]:
    allowed = CLEARANCE * torch.finfo(twin.dtype).eps * float(twin.abs().max())
    turned, mine, theirs = decisions.turned(layer, own, twin)
    for index in turned.nonzero().tolist():
        at = tuple(index)
        distance = float(theirs[at])
        yield Flip(name, at, float(mine[at]), distance, abs(distance) <= allowed, decisions.words)


def impose(model: nn.Module, inputs: Values) -> None:
    """Let every layer that decides do so as it would on these `inputs`, whatever it is given itself."""
    for name, layer, decisions in deciding_layers(model):
        decide = decisions.imposed(layer, torch.tensor(inputs[name]))
        layer.register_forward_hook(lambda _, args, __, decide=decide: decide(args[0]))


def decided(reference: nn.Module, images: Array) -> npt.NDArray[np.bool_]:
    """Which images (N) no layer of the reference decides by less than rounding could turn: a mask.

    Where a decision turns, two correct implementations differ by a whole gradient, not by a rounding. Exact ties count
    as decided: they come from equal patches (a blank border), which both twins tie in the same way.
    """
    wide = copy.deepcopy(reference).double()
    ulp = float(np.finfo(images.dtype).eps)
    clear = torch.ones(len(images), dtype=torch.bool)

    def judge(decisions: Decisions, layer: nn.Module, x: Tensor) -> None:
        distance = decisions.distance(layer, x)
        sure = (distance == 0) | (distance > CLEARANCE * ulp * x.abs().max())
        clear.logical_and_(sure.flatten(1).all(dim=1))

    for _, deciding, decisions in deciding_layers(wide):
        deciding.register_forward_hook(lambda layer, args, _, decisions=decisions: judge(decisions, layer, args[0]))
    with torch.no_grad():
        wide(torch.tensor(images, dtype=torch.float64))
    return clear.numpy()
