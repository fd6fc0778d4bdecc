"""The registry: every layer, loss, optimizer and model with its twin. Check, diagnosis, lesson and tests walk it."""

from __future__ import annotations

from collections.abc import Sequence

from compare.machine.errors import UserError, brief
from compare.pairs.layers import LAYERS
from compare.pairs.models import MODEL_PAIRS, ModelPair
from compare.pairs.optimizers import OPTIMIZERS, OptimizerPair
from compare.pairs.pair import Pair

REGISTRY: dict[str, Pair] = {pair.name: pair for pair in (*LAYERS, *OPTIMIZERS, *MODEL_PAIRS)}
MODELS: dict[str, ModelPair] = {pair.name: pair for pair in MODEL_PAIRS}


def model_pair(name: str) -> ModelPair:
    """The registered model `name`.

    Raises:
        UserError: for an unknown name.
    """
    if name not in MODELS:
        raise UserError(f"model {brief(repr(name))} is unknown; choose one of {', '.join(MODELS)}")
    return MODELS[name]


def optimizer_pair(name: str) -> OptimizerPair:
    """The registered optimizer `name`; raises KeyError for an unknown one."""
    return {pair.name: pair for pair in OPTIMIZERS}[name]


def chosen_pairs(names: Sequence[str] | None) -> list[Pair]:
    """The registered pairs of these names; all of them where none is named.

    Raises:
        UserError: for an unknown name.
    """
    for name in names or ():
        if name not in REGISTRY:
            raise UserError(f"pair {name!r} is unknown; choose among {', '.join(REGISTRY)}")
    return [pair for name, pair in REGISTRY.items() if not names or name in names]
