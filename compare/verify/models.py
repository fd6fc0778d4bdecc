"""Models against their twins, twice over.

*Isolated*: each layer is fed the reference's own input and upstream gradient, and held to the bound of its kind. This
finds the layer that is wrong. *End to end*: each twin works on its own intermediate results, through the loss, backward
and some optimizer steps. This finds what is wrong between the layers.
"""

from __future__ import annotations

import torch
from torch import nn

import scratch
from compare.pairs import weights
from compare.pairs.models import bounds_end_to_end, run_scratch, run_torch, updated_from
from compare.pairs.observe import Call, observe_scratch, observe_torch, record_calls
from compare.pairs.registry import LayerPair, ModelPair, layer_pair_of
from compare.pairs.report import CANDIDATE_ERRORS, Row, compare, failure, nothing_compared
from compare.verify.ties import decided
from scratch import Array


def check_model(
    pair: ModelPair, state: weights.State, images: Array, labels: Array, seed: int = 0, *, blank_free: bool = False
) -> list[Row]:
    """Compare a model with its twin, both with the weights `state`, on images (N, 1, H, W) and labels (N).

    The dtype is that of the images and the state; `seed` draws the perturbations. `blank_free` says that no two patches
    of an image are equal: only then do two correct implementations agree on the winner of every pooling window, and
    with it on the gradient of the images.
    """
    dtype = str(images.dtype)
    try:
        reference, candidate = _twins(pair, state, dtype)
    except CANDIDATE_ERRORS as error:
        return [failure(pair.name, "all layers", dtype, error)]
    rows = _check_layers(pair, candidate, reference, images, labels)
    clear = decided(reference, images)
    if not clear.any():
        problem = "not proven: rounding could decide a ReLU or a pooling of every image; take other images"
        return [*rows, nothing_compared(pair.name, "end to end", dtype, problem)]
    images, labels, case = images[clear], labels[clear], f"end to end, {clear.sum()} images"
    weights.load_torch_state(reference, state)  # running statistics moved while the layers were looked at
    expected = run_torch(reference, images, labels, blank_free=blank_free)
    bounds = bounds_end_to_end(reference, images, labels, seed, blank_free=blank_free)
    try:
        weights.load_scratch_state(candidate, state)
        got = run_scratch(candidate, images.copy(), labels.copy(), blank_free=blank_free)
    except CANDIDATE_ERRORS as error:
        return [*rows, failure(pair.name, case, dtype, error)]
    return rows + compare(pair.name, case, got, expected, bounds, start=updated_from(reference, dtype))


def check_layers(pair: ModelPair, state: weights.State, images: Array, labels: Array) -> list[Row]:
    """The first half of `check_model`: every layer by itself."""
    reference, candidate = _twins(pair, state, str(images.dtype))
    return _check_layers(pair, candidate, reference, images, labels)


def check_calls(
    pair: LayerPair,
    name: str,
    case: str,
    candidate: scratch.Module,
    reference: nn.Module,
    calls: list[Call],
    dtype: str,
) -> list[Row]:
    """Compare what a layer does in `calls` with what its reference does."""
    # The candidate comes last: what it does to its inputs cannot reach the reference any more.
    bounds, expected = pair.rule(reference, calls, dtype), observe_torch(reference, calls)
    try:
        got = observe_scratch(candidate, calls)
    except CANDIDATE_ERRORS as error:
        return [failure(name, case, dtype, error)]
    return compare(name, case, got, expected, bounds)


def _twins(pair: ModelPair, state: weights.State, dtype: str) -> tuple[nn.Module, scratch.Module]:
    """Both models with these weights."""
    reference = pair.torch(dtype=getattr(torch, dtype))
    weights.load_torch_state(reference, state)
    candidate = pair.scratch(dtype=dtype)
    weights.load_scratch_state(candidate, state)
    return reference, candidate


def _check_layers(
    pair: ModelPair, candidate: scratch.Module, reference: nn.Module, images: Array, labels: Array
) -> list[Row]:
    calls = record_calls(reference, images, labels)
    return [row for name in calls for row in _check_isolated(pair, candidate, reference, name, calls[name])]


def _check_isolated(
    pair: ModelPair, candidate: scratch.Module, reference: nn.Module, name: str, call: Call
) -> list[Row]:
    """One layer, or the loss, on what the reference gave its own."""
    dtype = str(call.grad_output.dtype)
    if name == "loss":
        own: scratch.Module = scratch.CrossEntropyLoss()
        twin: nn.Module = nn.CrossEntropyLoss()
    else:
        layers, twin = dict(candidate.named_modules()), reference.get_submodule(name)
        if name not in layers:
            return [nothing_compared(pair.name, f"{name} isolated", dtype, "the model has no such layer")]
        own = layers[name]
    return check_calls(layer_pair_of(twin), pair.name, f"{name} isolated", own, twin, [call], dtype)
