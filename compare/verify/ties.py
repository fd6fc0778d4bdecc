"""Decisions: which side of zero the input of a ReLU is on, which element wins a pooling window, and how narrowly.

Where a decision turns, two correct implementations differ by a whole gradient, not by a rounding; between two decisions
everything that these networks do is smooth. So decisions are compared by themselves, and the rest under the same ones.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from compare.pairs.observe import Values, leaves
from scratch import Array

CLEARANCE = 32  # ulps of a layer's greatest input by which a decision must stand clear of a tie


@dataclass(frozen=True)
class Flip:
    """A decision that two implementations made differently.

    Attributes:
        layer: whose decision.
        index: of the element of the layer's output, image first.
        own, twin: what the decision was made of: the input of the ReLU, or the two elements' difference in the window.
        narrow: whether the twin's stood within `CLEARANCE` of a tie.
    """

    layer: str
    index: tuple[int, ...]
    own: float
    twin: float
    narrow: bool
    pooling: bool

    def __str__(self) -> str:
        """In words: "relu1 at [3, 0, 5, 6]: input -1.2e-09 in scratch, 3.0e-09 in torch"."""
        what = "winner ahead of the other's by" if self.pooling else "input"
        return f"{self.layer} at {list(self.index)}: {what} {self.own:.2g} in scratch, {self.twin:.2g} in torch"


def deciding_layers(reference: nn.Module) -> list[tuple[str, nn.Module]]:
    """The ReLUs and max-poolings of a torch model, with their dotted names."""
    return [(name, layer) for name, layer in leaves(reference) if isinstance(layer, nn.ReLU | nn.MaxPool2d)]


def flips(reference: nn.Module, own: Values, twin: Values) -> list[Flip]:
    """Where scratch and torch decided differently, given the inputs (N, ...) of all layers in each; layer by layer.

    An exact tie of torch's in a pooling window is no flip: equal patches are the same whoever wins.
    """
    return [
        flip for name, layer in deciding_layers(reference) for flip in _flips_of(name, layer, own[name], twin[name])
    ]


def _flips_of(name: str, layer: nn.Module, own: Array, twin: Array) -> Iterator[Flip]:
    mine, theirs = torch.tensor(own), torch.tensor(twin)
    allowed = CLEARANCE * torch.finfo(theirs.dtype).eps * float(theirs.abs().max())
    if isinstance(layer, nn.MaxPool2d):
        winner, other = _winners(layer, mine), _winners(layer, theirs)
        mine = _taken(mine, winner) - _taken(mine, other)
        theirs = _taken(theirs, other) - _taken(theirs, winner)
        turned = (winner != other) & (theirs != 0)
    else:
        turned = (mine > 0) != (theirs > 0)
    for index in turned.nonzero().tolist():
        at = tuple(index)
        distance = float(theirs[at])
        pooling = isinstance(layer, nn.MaxPool2d)
        yield Flip(name, at, float(mine[at]), distance, abs(distance) <= allowed, pooling)


def impose(model: nn.Module, inputs: Values) -> None:
    """Let every ReLU and max-pooling of `model` decide as it would on these `inputs`, whatever it is given itself."""
    for name, layer in deciding_layers(model):
        given = torch.tensor(inputs[name])
        if isinstance(layer, nn.MaxPool2d):
            winners = _winners(layer, given)
            layer.register_forward_hook(lambda _, args, __, winners=winners: _taken(args[0], winners))
        else:
            layer.register_forward_hook(lambda _, args, __, mask=given > 0: args[0] * mask)


def _winners(layer: nn.MaxPool2d, x: Tensor) -> Tensor:
    """The place, counted through the map, of the element that wins each window: (N, C, H_out, W_out)."""
    _, indices = nn.functional.max_pool2d(x, layer.kernel_size, layer.stride, layer.padding, return_indices=True)
    return indices


def _taken(x: Tensor, places: Tensor) -> Tensor:
    return x.flatten(2).gather(2, places.flatten(2)).view_as(places)


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

    for _, layer in deciding_layers(wide):
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
