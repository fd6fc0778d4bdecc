"""One file for each family of layers: everything that is known about them. The list of all is here."""

from __future__ import annotations

from torch import nn

from compare.driving import vocabulary
from compare.machine.errors import UserError
from compare.pairs.layers.activation import LOG_SOFTMAX, RELU, SOFTMAX
from compare.pairs.layers.convolution import CONV2D
from compare.pairs.layers.dropout import DROPOUT
from compare.pairs.layers.linear import FLATTEN, LINEAR
from compare.pairs.layers.loss import CROSS_ENTROPY
from compare.pairs.layers.normalisation import BATCHNORM2D
from compare.pairs.layers.pooling import AVGPOOL2D, MAXPOOL2D
from compare.pairs.pair import LayerPair

LAYERS = (
    CONV2D,
    MAXPOOL2D,
    AVGPOOL2D,
    RELU,
    FLATTEN,
    BATCHNORM2D,
    DROPOUT,
    LINEAR,
    SOFTMAX,
    LOG_SOFTMAX,
    CROSS_ENTROPY,
)

# An option of a layer that is not registered means what it means for those that are.
KNOWN_OPTIONS = {name: option for pair in reversed(LAYERS) for name, option in pair.options.items()}
vocabulary.learn(KNOWN_OPTIONS)


def registered(layer: nn.Module) -> LayerPair | None:
    """The pair that a torch layer belongs to; None if its class is not registered."""
    return next((pair for pair in LAYERS if type(layer) is pair.torch), None)


def kin_of(layer: nn.Module) -> LayerPair | None:
    """The pair whose class a layer's is derived from: it takes the same, whatever it computes; None without one."""
    return next((pair for pair in LAYERS if isinstance(layer, pair.torch)), None)  # type: ignore[arg-type]


def layer_pair_of(layer: nn.Module) -> LayerPair:
    """The pair that a torch layer belongs to.

    Raises:
        UserError: if its class is not registered.
    """
    pair = registered(layer)
    if pair is None:
        raise UserError(f"{type(layer).__name__} has no registered pair; announce it in the registry of pairs")
    return pair
