"""A torch network together with its loss: what a training step of somebody's is held against."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody gives it

import scratch
from compare.diagnosis.likeness import Likeness
from compare.pairs.cases import Case, Shape
from compare.pairs.measured import measured
from compare.pairs.observe import leaves
from compare.pairs.pair import LayerPair, Rng
from scratch import Array


class _Criterion(nn.Module):
    """The mean over images of minus the log-probability of their classes.

    Attributes:
        given: what the network gives for each class: "scores", "probabilities" or "log-probabilities".
    """

    def __init__(self, given: str) -> None:
        super().__init__()
        self.given = given

    def forward(self, outputs: Tensor, classes: Tensor) -> Tensor:
        if self.given == "scores":
            return F.cross_entropy(outputs, classes)
        return F.nll_loss(outputs.log() if self.given == "probabilities" else outputs, classes)


def with_loss(compared: Likeness) -> Likeness | None:
    """A given network of several layers with the loss of its classes; None for what gives no (N, K), K above 1."""
    pair = compared.pair
    if not (isinstance(pair, LayerPair) and pair.fixed and pair.targets is None):
        return None
    network = pair.torch()
    every = list(dict.fromkeys(case.shape for case in pair.cases))
    shapes = ([shape for shape in every if shape[0] > 1] or every)[:2]  # one image only, where that is all it takes
    outputs = [_output(network, shape) for shape in shapes]
    if len(leaves(network)) < 2 or not outputs or any(output.dim() != 2 or output.shape[1] < 2 for output in outputs):
        return None
    kind: type[nn.Module] = type(network)
    given, count = _what(outputs[0]), outputs[0].shape[1]
    # As many images as classes would let classes pass for one-hot rows.
    shapes = [(shape[0] + (shape[0] == count), *shape[1:]) for shape in shapes]

    class WithLoss(kind):  # type: ignore[misc, valid-type]
        """The network, its parameters under their own names, of images and classes; always in training."""

        def train(self, mode: bool = True) -> WithLoss:
            del mode
            super().train()
            return self

        def forward(self, x: Tensor, classes: Tensor) -> Tensor:
            criterion = self._modules.pop("criterion")  # not a layer of a Sequential
            try:
                loss: Tensor = criterion(kind.forward(self, x), classes)
            finally:
                self._modules["criterion"] = criterion
            return loss

    def reference() -> nn.Module:
        trained = copy.deepcopy(network)
        trained.__class__ = WithLoss
        trained.add_module("criterion", _Criterion(given))
        return trained

    def classes(rng: Rng, shape: Shape, _dtype: str) -> Array:
        return rng.integers(0, count, shape[0])

    trained = replace(
        pair,
        scratch=scratch.Module,
        torch=reference,
        rule=measured,
        cases=tuple(map(Case, shapes)),
        small=(),
        targets=classes,
        random=None,
    )
    return replace(compared, pair=trained, build=None)


def _output(network: nn.Module, shape: Shape) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        output: Tensor = copy.deepcopy(network).double()(torch.randn(shape, generator=generator, dtype=torch.float64))
    return output


def _what(outputs: Tensor) -> str:
    """What outputs (N, K) are, by what each row adds up to."""
    ones = torch.ones(len(outputs), dtype=outputs.dtype)
    if bool((outputs >= 0).all()) and torch.allclose(outputs.sum(1), ones):
        return "probabilities"
    return "log-probabilities" if torch.allclose(outputs.exp().sum(1), ones) else "scores"
