"""The agreement check: forward, gradients and updates of every registered pair, against bounds that were derived.

Both twins of a case get the same weights, the same input and the same upstream gradient.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

import scratch
from compare import probes, weights
from compare.conditions import direct_convolutions, equal_threads
from compare.observe import (
    Call,
    Tensors,
    observe_scratch_optimizer,
    observe_torch_optimizer,
)
from compare.pairs import REGISTRY, Case, LayerPair, OptimizerPair, Pair
from compare.verify.models import check_calls, check_model
from compare.verify.report import CANDIDATE_ERRORS, Report, Row, compare, failure

DTYPES = ("float64", "float32")


def check(pairs: Iterable[Pair] = tuple(REGISTRY.values()), seed: int = 0) -> Report:
    """Compare every case of `pairs` in float64 and float32, from weights and inputs drawn with `seed`."""
    with equal_threads(1), direct_convolutions():  # the matrices are small: more threads would only wait
        return Report([row for pair in pairs for row in check_pair(pair, seed)])


def check_pair(pair: Pair, seed: int = 0) -> Iterator[Row]:
    """The rows of one registered pair, as they come."""
    for dtype in DTYPES:
        if isinstance(pair, LayerPair):
            for number, case in enumerate(pair.cases):
                yield from check_layer(pair, case, dtype, np.random.default_rng([seed, number]))
        elif isinstance(pair, OptimizerPair):
            for number, options in enumerate(pair.options):
                yield from check_optimizer(pair, options, dtype, np.random.default_rng([seed, number]))
        else:
            rng = np.random.default_rng(seed)
            images = rng.standard_normal((64, *pair.image_shape)).astype(dtype)
            labels = rng.integers(0, pair.num_classes, len(images))
            candidate = pair.scratch(generator=rng, dtype=dtype)
            yield from check_model(pair, candidate.state_dict(), images, labels, seed, blank_free=True)


def check_layer(pair: LayerPair, case: Case, dtype: str, rng: np.random.Generator) -> list[Row]:
    """Compare outputs and all gradients of a layer or loss on one case."""
    try:
        candidate, reference = make_twins(pair, case, dtype, rng)
    except CANDIDATE_ERRORS as error:
        return [failure(pair.name, case.name, dtype, error)]
    # Each further call has an image less, as the last batch of an epoch may have.
    calls = [draw_call(pair, smaller(case, number), reference, dtype, rng) for number in range(case.calls)]
    return check_calls(pair, pair.name, case.name, candidate, reference, calls, dtype)


def make_twins(pair: LayerPair, case: Case, dtype: str, rng: np.random.Generator) -> tuple[scratch.Module, nn.Module]:
    """Both layers of a case, with the same weights."""
    if not pair.has_parameters:
        return pair.scratch(**case.options), pair.torch(**case.options)
    drawing = {"generator": rng} if pair.takes_generator else {}
    candidate = pair.scratch(**case.options, **drawing, dtype=dtype)
    reference = pair.torch(**case.options, dtype=getattr(torch, dtype))
    if not pair.takes_generator:
        weights.load_scratch_state(candidate, drawn_state(reference, rng))
    weights.scratch_to_torch(candidate, reference)
    return candidate, reference


def drawn_state(reference: nn.Module, rng: np.random.Generator) -> Tensors:
    """Weights and buffers for a layer that begins with ones and zeros, which would hide mistakes.

    Whole numbers count something, and a variance is positive.
    """
    state = weights.torch_state(reference)
    for name, array in state.items():
        drawn = rng.integers(1, 100, array.shape) if array.dtype.kind == "i" else rng.standard_normal(array.shape)
        state[name] = np.asarray(np.abs(drawn) + 0.1 if name.endswith("_var") else drawn, array.dtype)
    return state


def smaller(case: Case, images: int) -> Case:
    """The case with so many images less, but at least one."""
    return replace(case, shape=(max(1, case.shape[0] - images), *case.shape[1:]))


def draw_call(pair: LayerPair, case: Case, reference: nn.Module, dtype: str, rng: np.random.Generator) -> Call:
    """The inputs of a case, and a random upstream gradient: one of ones would hide what sums to zero."""
    layout = probes.LAYOUTS[case.layout]
    inputs = [layout(probes.VALUES[case.values](rng, case.shape).astype(dtype))]
    if pair.takes_targets:
        inputs.append(rng.integers(0, case.shape[1], case.shape[0]))
    with torch.no_grad():  # a copy: what the layer keeps account of must not count this call
        shape = copy.deepcopy(reference)(*(torch.tensor(array) for array in inputs)).shape
    values = "magnitudes" if case.values == "magnitudes" else "normal"
    grad_output = np.asarray(probes.VALUES[values](rng, tuple(shape)), dtype)
    return Call(tuple(inputs), layout(grad_output) if shape else grad_output)


def check_optimizer(
    pair: OptimizerPair, options: dict[str, Any], dtype: str, rng: np.random.Generator, steps: int = 5
) -> list[Row]:
    """Compare what an optimizer does to parameters in `steps` steps with gradients from 1e-9 to 1."""
    case = ", ".join(f"{key}={value}" for key, value in options.items())
    shapes = {"weight": (4, 3), "bias": (4,), "kernel": (2, 3, 2, 2), "late": (3,)}
    # Parameters as small as their gradients: otherwise rounding would swallow the small updates.
    scales = {name: 10.0 ** rng.uniform(-9, 0, shape) for name, shape in shapes.items()}

    def draw() -> Tensors:
        return {name: np.asarray(rng.standard_normal(scale.shape) * scale, dtype) for name, scale in scales.items()}

    start, gradients = draw(), [draw() for _ in range(steps)]
    del gradients[0]["late"], gradients[2]["late"]  # each parameter counts its own steps
    start["idle"] = np.asarray(rng.standard_normal(3), dtype)  # it never receives a gradient
    bounds = pair.rule(pair.torch, options, start, gradients, dtype)
    expected = observe_torch_optimizer(lambda tensors: pair.torch(tensors, **options), start, gradients)
    try:
        got = observe_scratch_optimizer(lambda parameters: pair.scratch(parameters, **options), start, gradients)
    except CANDIDATE_ERRORS as error:
        return [failure(pair.name, case, dtype, error)]
    return compare(pair.name, case, got, expected, bounds, start=start)
