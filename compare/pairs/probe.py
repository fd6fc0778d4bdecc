"""One comparison as plain data: what both sides of a pair are given, so that anything can be driven with it.

The same probe drives the registered module, somebody's own code in another process, and a catalogued mistake.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

import scratch
from compare.pairs import weights
from compare.pairs.models import bounds_end_to_end, run_scratch, run_torch, updated_from
from compare.pairs.observe import (
    Call,
    Tensors,
    observe_scratch,
    observe_scratch_optimizer,
    observe_torch,
    observe_torch_optimizer,
)
from compare.pairs.registry import Case, LayerPair, ModelPair, OptimizerPair, Pair
from compare.pairs.report import Row, compare
from compare.pairs.values import LAYOUTS, VALUES

Make = Callable[..., Any]


@dataclass(frozen=True)
class TrainingStep:
    """A training step to be tried in place of `scratch.train_step`, with the registered model."""

    function: Callable[..., tuple[float, int]]


@dataclass(frozen=True, eq=False)
class Probe:
    """What a layer, loss, optimizer or model is given. A probe equals itself only.

    Attributes:
        case: its name in reports.
        dtype: "float64" or "float32".
        options: the constructor's arguments.
        state: parameters and buffers, by name; for an optimizer, the parameters at the start.
        calls: inputs and upstream gradients, one after the other; for a model, images and labels.
        gradients: for an optimizer, the gradients of each step.
        layout: how the arrays of the calls lie in memory, one of `LAYOUTS`.
    """

    case: str
    dtype: str
    options: dict[str, Any]
    state: Tensors
    calls: tuple[Call, ...] = ()
    gradients: tuple[Tensors, ...] = ()
    layout: str = "contiguous"


def draw_probes(pair: Pair, dtype: str, seed: int = 0) -> Iterator[Probe]:
    """The probes of every case of a pair, each drawn when it is asked for."""
    if isinstance(pair, LayerPair):
        return (draw_probe(pair, case, dtype, np.random.default_rng([seed, n])) for n, case in enumerate(pair.cases))
    if isinstance(pair, OptimizerPair):
        return (draw_steps(options, dtype, np.random.default_rng([seed, n])) for n, options in enumerate(pair.options))
    return iter([draw_images(pair, dtype, np.random.default_rng(seed))])


def draw_probe(pair: LayerPair, case: Case, dtype: str, rng: np.random.Generator) -> Probe:
    """Draw the weights, inputs and upstream gradients of a case.

    The last of several calls has an image less, as the last batch of an epoch may have. The upstream gradient is
    random: one of ones would hide what sums to zero.
    """
    state = draw_state(pair.torch(**case.options), dtype, rng)
    probe = Probe(case.name, dtype, case.options, state, layout=case.layout)
    reference = reference_of(pair, probe)
    less = [*(0 for _ in range(case.calls - 1)), int(case.calls > 1)]
    calls = [_draw_call(pair, _smaller(case, images), reference, dtype, rng) for images in less]
    return replace(probe, calls=tuple(calls))


def draw_steps(options: dict[str, Any], dtype: str, rng: np.random.Generator, steps: int = 5) -> Probe:
    """Draw parameters, and the gradients of some optimizer steps, from 1e-9 to 1.

    One parameter never has a gradient, another one in some steps only: each counts its own steps. Parameters are as
    small as their gradients, or rounding would swallow the small updates.
    """
    shapes = {"weight": (4, 3), "bias": (4,), "kernel": (2, 3, 2, 2), "late": (3,)}
    scales = {name: 10.0 ** rng.uniform(-9, 0, shape) for name, shape in shapes.items()}

    def draw() -> Tensors:
        return {name: np.asarray(rng.standard_normal(scale.shape) * scale, dtype) for name, scale in scales.items()}

    start, gradients = draw(), [draw() for _ in range(steps)]
    for step in (0, 2):
        del gradients[step]["late"]
    start["idle"] = np.asarray(rng.standard_normal(3), dtype)
    case = ", ".join(f"{key}={value}" for key, value in options.items())
    return Probe(case, dtype, options, start, gradients=tuple(gradients))


def draw_images(pair: ModelPair, dtype: str, rng: np.random.Generator, images: int = 64) -> Probe:
    """Draw weights, images without equal patches, and labels, for a model."""
    state = draw_state(pair.torch(), dtype, rng)
    inputs = rng.standard_normal((images, *pair.image_shape)).astype(dtype)
    labels = rng.integers(0, pair.num_classes, images)
    return Probe(f"{images} images", dtype, {}, state, (Call((inputs, labels), np.ones((), dtype)),))


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


def reference_of(pair: LayerPair | ModelPair, probe: Probe) -> nn.Module:
    """The torch side of a probe."""
    options = probe.options if isinstance(pair, LayerPair) else {}
    module = pair.torch(**options).to(getattr(torch, probe.dtype))
    weights.load_torch_state(module, probe.state)
    return module


def expected(pair: Pair, probe: Probe, got: Tensors | None = None) -> Tensors:
    """What the reference gives, read-only; `got` tells a random layer which choices the candidate made."""
    return _expected(pair, probe, got) if _is_random(pair) else dict(_known(_expected, pair, probe))


def bounds(pair: Pair, probe: Probe, got: Tensors | None = None) -> Tensors:
    """How far each element may be off; `got` as above."""
    return _bounds(pair, probe, got) if _is_random(pair) else dict(_known(_bounds, pair, probe))


def _is_random(pair: Pair) -> bool:
    return isinstance(pair, LayerPair) and pair.random is not None


Compute = Callable[[Pair, Probe, Tensors | None], Tensors]
# A probe is tried on many candidates: the ways to drive one, and every mistake of the catalogue. What is known of it is
# kept as long as the probe itself.
_KNOWN: WeakKeyDictionary[Probe, dict[tuple[Compute, Pair], Tensors]] = WeakKeyDictionary()


def _known(compute: Compute, pair: Pair, probe: Probe) -> Tensors:
    """What is the same for every candidate, computed once; read-only."""
    known = _KNOWN.setdefault(probe, {})
    if (compute, pair) not in known:
        known[compute, pair] = compute(pair, probe, None)
        for array in known[compute, pair].values():
            array.setflags(write=False)
    return known[compute, pair]


def _expected(pair: Pair, probe: Probe, got: Tensors | None) -> Tensors:
    if isinstance(pair, OptimizerPair):
        return observe_torch_optimizer(
            lambda tensors: pair.torch(tensors, **probe.options), probe.state, probe.gradients
        )
    if isinstance(pair, ModelPair):
        return run_torch(reference_of(pair, probe), *probe.calls[0].inputs)
    return observe_torch(_chosen(pair, probe, got), probe.calls)


def _bounds(pair: Pair, probe: Probe, got: Tensors | None) -> Tensors:
    if isinstance(pair, OptimizerPair):
        return pair.rule(pair.torch, probe.options, probe.state, probe.gradients, probe.dtype)
    if isinstance(pair, ModelPair):
        images, labels = probe.calls[0].inputs
        return bounds_end_to_end(reference_of(pair, probe), images, labels, seed=0)
    return pair.rule(_chosen(pair, probe, got), probe.calls, probe.dtype)


def compare_probe(
    pair: Pair, probe: Probe, got: Tensors, reference: Tensors | None = None, allowed: Tensors | None = None
) -> list[Row]:
    """One row for every tensor: what a candidate gave against the reference, within the bounds."""
    if reference is None or allowed is None:
        is_, should, may = shares(pair, probe, got)
        reference, allowed = expected(pair, probe, got) | should, bounds(pair, probe, got) | may
        got = got | is_
    start: Tensors | None = None
    if isinstance(pair, OptimizerPair):
        start = probe.state
    elif isinstance(pair, ModelPair):
        start = updated_from(reference_of(pair, probe), probe.dtype)
    return compare(pair.name, probe.case, got, reference, allowed, start=start)


def shares(pair: Pair, probe: Probe, got: Tensors) -> tuple[Tensors, Tensors, Tensors]:
    """How random a random layer is: shares as they are, as they should be, how far they may differ; else nothing."""
    if not isinstance(pair, LayerPair) or pair.random is None:
        return {}, {}, {}
    found = pair.random.shares(reference_of(pair, probe), got)
    # float32: a share is known to few digits, and float64 would demand more of its bound.
    of: list[Tensors] = [{name: np.asarray(s[n], np.float32) for name, s in found.items()} for n in range(3)]
    return of[0], of[1], of[2]


def drive(pair: Pair, make: Make | TrainingStep, probe: Probe, got: Tensors | None = None) -> Tensors:
    """What a module or optimizer made by `make` gives, on copies of what the probe holds. Raises whatever it raises.

    For a model, a training step may take the place of `make`. `got` are the tensors of another candidate, whose random
    choices this one is to make too.
    """
    with np.errstate(all="ignore"):  # NaN and infinity are found in what it gives
        if isinstance(make, TrainingStep):
            assert isinstance(pair, ModelPair)
            return _run_model(pair.scratch(), probe, make.function)
        if isinstance(pair, OptimizerPair):
            return observe_scratch_optimizer(
                lambda parameters: make(parameters, **probe.options), probe.state, probe.gradients
            )
        module: scratch.Module = make(**probe.options)
        if isinstance(pair, ModelPair):
            return _run_model(module, probe, scratch.train_step)
        if pair.random is not None:
            pair.random.choose(module, got)
        _load(module, probe)
        return observe_scratch(module, [_laid_out(call, probe.layout) for call in probe.calls])


def _run_model(model: scratch.Module, probe: Probe, train_step: Make) -> Tensors:
    _load(model, probe)
    images, labels = copy.deepcopy(probe.calls[0].inputs)
    return run_scratch(model, images, labels, train_step=train_step)


def _load(module: scratch.Module, probe: Probe) -> None:
    module.to(lambda array: array.astype(probe.dtype))
    weights.load_scratch_state(module, probe.state)


def _laid_out(call: Call, layout: str) -> Call:
    lay = LAYOUTS[layout]
    first, *rest = (array.copy() for array in call.inputs)
    grad_output = call.grad_output.copy()
    return Call((lay(first), *rest), lay(grad_output) if grad_output.ndim else grad_output)


def _chosen(pair: LayerPair, probe: Probe, got: Tensors | None) -> nn.Module:
    reference = reference_of(pair, probe)
    return reference if pair.random is None or got is None else pair.random.reference(reference, got)


def _smaller(case: Case, images: int) -> Case:
    """The case with so many images less, but at least one."""
    return replace(case, shape=(max(1, case.shape[0] - images), *case.shape[1:]))


def _draw_call(pair: LayerPair, case: Case, reference: nn.Module, dtype: str, rng: np.random.Generator) -> Call:
    inputs = [VALUES[case.values](rng, case.shape).astype(dtype)]
    if pair.takes_targets and isinstance(reference, nn.CrossEntropyLoss | nn.NLLLoss):
        inputs.append(rng.integers(0, case.shape[1], case.shape[0]))
    elif pair.takes_targets:
        inputs.append(rng.uniform(0.1, 0.9, case.shape).astype(dtype))  # numbers, or probabilities
    with torch.no_grad():  # a copy: what the layer keeps account of must not count this call
        shape = copy.deepcopy(reference)(*(torch.tensor(array) for array in inputs)).shape
    values = "magnitudes" if case.values == "magnitudes" else "normal"
    return Call(tuple(inputs), np.asarray(VALUES[values](rng, tuple(shape)), dtype))
