"""The registry: every layer, loss, optimizer and model with its twin, and the cases that they are compared on.

This is the one place where a new one is announced; the agreement check and the tests walk these rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

import scratch
import torch_ref
from compare.machine.errors import UserError
from compare.pairs import tolerance
from compare.pairs.layers.dropout import choose_dropout, dropout_given, dropout_shares
from compare.pairs.observe import Tensors
from compare.pairs.tolerance import OptimizerRule, Rule


@dataclass(frozen=True)
class Case:
    """One comparison of a layer or loss: constructor arguments of both twins, the input, how often it is called."""

    shape: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    values: str = "normal"
    layout: str = "contiguous"
    calls: int = 1

    @property
    def name(self) -> str:
        """In words, for a report: "3x3, stride=2, padding=1 | 4x1x9x9 normal"."""
        options = ", ".join(f"{key}={_brief(value)}" for key, value in self.options.items())
        given = [f"{'x'.join(map(str, self.shape))} {self.values}"]
        given += [self.layout] if self.layout != "contiguous" else []
        given += [f"{self.calls} calls"] if self.calls > 1 else []
        return " | ".join([options, ", ".join(given)] if options else [", ".join(given)])


@dataclass(frozen=True)
class Random:
    """How two sides of a random layer come to the same choices: both take those of a candidate that has run already.

    Attributes:
        reference: the reference with the choices that these tensors show, in float64 and float32.
        choose: makes a scratch module choose as these tensors show; without any, always in the same way.
        shares: whether the choices are as random as they should be: shares by name, (what is, should be, may differ).
    """

    reference: Callable[[nn.Module, Tensors], nn.Module]
    choose: Callable[[scratch.Module, Tensors | None], None]
    shares: Callable[[nn.Module, Tensors], dict[str, tuple[float, float, float]]]


@dataclass(frozen=True, eq=False)
class LayerPair:
    """A layer or loss and its twin; both factories take the options of a case."""

    name: str
    scratch: Callable[..., scratch.Module]
    torch: Callable[..., nn.Module]
    rule: Rule
    cases: tuple[Case, ...]
    takes_targets: bool = False
    random: Random | None = None


@dataclass(frozen=True, eq=False)
class OptimizerPair:
    """An optimizer and its twin: both are made from parameters and the options, and fed the same gradients."""

    name: str
    scratch: Callable[..., scratch.Optimizer]
    torch: Callable[..., torch.optim.Optimizer]
    options: tuple[dict[str, Any], ...]
    rule: OptimizerRule = tolerance.sgd


@dataclass(frozen=True, eq=False)
class ModelPair:
    """A model and its twin, and the shape of one image."""

    name: str
    scratch: Callable[..., scratch.Module]
    torch: Callable[..., nn.Module]
    image_shape: tuple[int, int, int] = (1, 28, 28)
    num_classes: int = 10


Pair = LayerPair | OptimizerPair | ModelPair


def _brief(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _conv(c_in: int, c_out: int, kernel: int | tuple[int, int], **more: Any) -> dict[str, Any]:
    return {"in_channels": c_in, "out_channels": c_out, "kernel_size": kernel} | more


def _grid(
    geometries: list[tuple[tuple[int, ...], dict[str, Any]]], values: tuple[str, ...], *, layouts: bool = True
) -> tuple[Case, ...]:
    """Every geometry with every kind of value; the first geometry also in every layout, and called three times."""
    cases = [Case(shape, options, kind) for shape, options in geometries for kind in values]
    shape, options = geometries[0]
    if layouts:
        cases += [Case(shape, options, layout=name) for name in ("strided", "fortran", "batch last", "read-only")]
    return (*cases, Case(shape, options, calls=3))


CONVOLUTIONS: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((3, 2, 9, 8), _conv(2, 5, 3, padding=1)),
    ((2, 3, 7, 7), _conv(3, 3, 3)),  # C_in = C_out: exchanged axes fit by their shapes
    ((2, 3, 8, 6), _conv(3, 2, (3, 2), stride=(2, 1), padding=(1, 0))),
    ((1, 1, 10, 11), _conv(1, 4, 3, stride=2)),  # N = 1, and a stride that leaves rows over
    ((2, 2, 9, 9), _conv(2, 3, 2, stride=3)),  # gaps between the windows
    ((2, 4, 5, 5), _conv(4, 6, 1)),
    ((2, 2, 6, 7), _conv(2, 3, 5, padding=2)),
    ((2, 3, 4, 5), _conv(3, 4, (4, 5), bias=False)),  # one window
    ((2, 1, 4, 4), _conv(1, 2, 3, padding=3)),  # windows that see padding only
    ((1, 2, 7, 6), _conv(2, 3, 3, stride=(1, 2))),  # exchanged sides show one by one
    ((1, 2, 5, 6), _conv(2, 3, 3, padding=(0, 2))),
]
POOLINGS: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((2, 3, 9, 7), {"kernel_size": 2}),  # odd sizes: the last row and column are left out
    ((2, 2, 8, 9), {"kernel_size": 3, "stride": 2}),  # overlapping windows
    ((2, 2, 7, 7), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((1, 2, 6, 8), {"kernel_size": (2, 3), "stride": (1, 2), "padding": (0, 1)}),
    ((2, 2, 9, 9), {"kernel_size": 2, "stride": 3}),  # gaps between the windows
]
LINEARS: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((5, 7), {"in_features": 7, "out_features": 4}),
    ((3, 6), {"in_features": 6, "out_features": 6}),  # square: a forgotten transposition fits by its shape
    ((1, 5), {"in_features": 5, "out_features": 3}),
    ((4, 9), {"in_features": 9, "out_features": 2, "bias": False}),
]
NORMS: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((4, 3, 5, 6), {"num_features": 3}),
    ((1, 2, 6, 5), {"num_features": 2, "momentum": 0.3}),  # the values of one image
    ((7, 4, 1, 1), {"num_features": 4, "eps": 1e-3}),  # one value of each image
    ((3, 3, 3, 3), {"num_features": 3, "affine": False}),  # exchanged axes fit by their shapes
    ((2, 1, 4, 7), {"num_features": 1, "eps": 0.1, "momentum": 1.0}),  # an eps that shows where it stands
    ((2, 5, 3, 2), {"num_features": 5, "eps": 0.5, "momentum": 0.0}),
]
PLAIN = ("normal", "integers", "zeros", "post-relu", "magnitudes")

REGISTRY: dict[str, Pair] = {
    pair.name: pair
    for pair in (
        LayerPair(
            "conv2d",
            scratch.Conv2d,
            nn.Conv2d,
            tolerance.sum_of_products,
            (
                *_grid(CONVOLUTIONS, (*PLAIN, "per-channel")),
                # Large enough to be computed in pieces: rows, parts of a row, and parts of the batch.
                Case((40, 6, 14, 14), _conv(6, 16, 5)),
                Case((150, 6, 6, 14), _conv(6, 16, 5)),
                Case((600, 6, 6, 5), _conv(6, 16, 5)),
            ),
        ),
        LayerPair(
            "maxpool2d",
            scratch.MaxPool2d,
            nn.MaxPool2d,
            tolerance.selection,
            _grid(POOLINGS, (*PLAIN, "per-channel")),
        ),
        LayerPair(
            "relu",
            scratch.ReLU,
            nn.ReLU,
            tolerance.exact,
            _grid([((3, 2, 5, 4), {}), ((4, 6), {}), ((1, 1), {})], PLAIN),
        ),
        LayerPair(
            "flatten",
            scratch.Flatten,
            nn.Flatten,
            tolerance.exact,
            _grid([((3, 2, 5, 4), {}), ((1, 4, 1, 1), {}), ((2, 3), {})], ("normal", "per-channel", "magnitudes")),
        ),
        LayerPair(
            "batchnorm2d",
            scratch.BatchNorm2d,
            nn.BatchNorm2d,
            tolerance.batch_norm,
            (
                *_grid(NORMS, (*PLAIN, "per-channel")),
                Case((5, 2, 4, 3), {"num_features": 2}, "per-channel", calls=3),  # two in training
                Case((4, 2, 3, 3), {"num_features": 2, "affine": False, "momentum": 0.7, "eps": 1e-2}, calls=3),
            ),
        ),
        LayerPair(
            "dropout",
            scratch.Dropout,
            nn.Dropout,
            tolerance.one_product,
            (
                # Large enough for the share of what is kept to say something.
                *_grid([((8, 4, 9, 8), {"p": 0.25}), ((20, 30), {"p": 0.8})], ("normal", "per-channel")),
                Case((20, 50), {"p": 0.3}, calls=3),
            ),
            random=Random(dropout_given, choose_dropout, dropout_shares),
        ),
        LayerPair(
            "linear",
            scratch.Linear,
            nn.Linear,
            tolerance.sum_of_products,
            _grid(LINEARS, PLAIN),
        ),
        LayerPair(
            "softmax",
            scratch.Softmax,
            nn.Softmax,
            tolerance.probabilities,
            _grid(
                [((5, 4), {"dim": 1}), ((1, 10), {"dim": 1}), ((3, 4), {"dim": 0})],
                ("normal", "zeros", "large", "uneven"),
            ),
        ),
        LayerPair(
            "log_softmax",
            scratch.LogSoftmax,
            nn.LogSoftmax,
            tolerance.log_probabilities,
            _grid(
                [((5, 4), {"dim": 1}), ((1, 10), {"dim": 1}), ((3, 4), {"dim": 0})],
                ("normal", "zeros", "large", "uneven"),
            ),
        ),
        LayerPair(
            "cross_entropy",
            scratch.CrossEntropyLoss,
            nn.CrossEntropyLoss,
            tolerance.cross_entropy,
            # One image with large scores may be right beyond doubt: loss and gradient exactly 0, and nothing to
            # compare.
            _grid(
                [((6, 10), {"reduction": r}) for r in ("mean", "sum", "none")], ("normal", "zeros", "large", "uneven")
            )
            + _grid([((1, 4), {"reduction": r}) for r in ("mean", "sum", "none")], ("normal", "zeros")),
            takes_targets=True,
        ),
        OptimizerPair(
            "sgd",
            scratch.SGD,
            torch.optim.SGD,
            (
                {"lr": 0.1},
                {"lr": 0.05, "momentum": 0.9},
                {"lr": 0.05, "momentum": 0.9, "dampening": 0.5},
                {"lr": 0.05, "momentum": 0.9, "nesterov": True},
                {"lr": 0.1, "weight_decay": 0.01},
                {"lr": 0.05, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.1},
                {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
            ),
        ),
        OptimizerPair(
            "adam",
            scratch.Adam,
            torch.optim.Adam,
            (
                {"lr": 0.001},
                {"lr": 0.05, "betas": (0.5, 0.75)},
                {"lr": 0.01, "betas": (0.0, 0.99)},
                {"lr": 0.01, "eps": 1e-3},  # an eps as large as many gradients shows where it stands
                {"lr": 0.01, "weight_decay": 0.1},
                {"lr": 0.02, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.5},
            ),
            tolerance.adam,
        ),
        ModelPair("cnn", scratch.CNN, torch_ref.CNN),
        ModelPair("lenet5", scratch.LeNet5, torch_ref.LeNet5),
    )
}
MODELS: dict[str, ModelPair] = {name: pair for name, pair in REGISTRY.items() if isinstance(pair, ModelPair)}


def model_pair(name: str) -> ModelPair:
    """The registered model `name`.

    Raises:
        UserError: for an unknown name.
    """
    if name not in MODELS:
        raise UserError(f"model {name!r} is unknown; choose one of {', '.join(MODELS)}")
    return MODELS[name]


def chosen_pairs(names: Sequence[str] | None) -> list[Pair]:
    """The registered pairs of these names; all of them where none is named.

    Raises:
        UserError: for an unknown name.
    """
    for name in names or ():
        if name not in REGISTRY:
            raise UserError(f"pair {name!r} is unknown; choose among {', '.join(REGISTRY)}")
    return [pair for name, pair in REGISTRY.items() if not names or name in names]


def layer_pair_of(reference: nn.Module) -> LayerPair:
    """The registered pair that a torch layer belongs to.

    Raises:
        UserError: if its class is not registered.
    """
    for pair in REGISTRY.values():
        if isinstance(pair, LayerPair) and type(reference) is pair.torch:
            return pair
    raise UserError(f"{type(reference).__name__} has no registered pair; announce it in the registry of pairs")
