"""One comparison as plain data: what both sides of a pair are given, so that anything can be driven with it.

The same probe drives the registered layer, somebody's own code in another process, and a catalogued mistake.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

import scratch
from compare import probes, weights
from compare.observe import (
    Call,
    Tensors,
    observe_scratch,
    observe_scratch_optimizer,
    observe_torch,
    observe_torch_optimizer,
)
from compare.pairs import Case, LayerPair, OptimizerPair

Factory = Callable[..., scratch.Module]


@dataclass(frozen=True)
class Probe:
    """What a layer, loss or optimizer is given.

    Attributes:
        case: its name in reports.
        dtype: "float64" or "float32".
        options: the constructor's arguments.
        state: parameters and buffers, by name; for an optimizer, the parameters at the start.
        calls: inputs and upstream gradients, one after the other.
        gradients: of an optimizer, the gradients of each step.
    """

    case: str
    dtype: str
    options: dict[str, Any]
    state: Tensors
    calls: tuple[Call, ...] = ()
    gradients: tuple[Tensors, ...] = ()


def draw_probe(pair: LayerPair, case: Case, dtype: str, rng: np.random.Generator) -> Probe:
    """Draw the weights, inputs and upstream gradients of a case.

    Each further call has an image less, as the last batch of an epoch may have. The upstream gradient is random: one of
    ones would hide what sums to zero.
    """
    empty = pair.torch(**case.options)
    state = draw_state(empty, dtype, rng)
    probe = Probe(case.name, dtype, case.options, state, ())
    reference = reference_of(pair, probe)
    calls = [_draw_call(pair, _smaller(case, number), reference, dtype, rng) for number in range(case.calls)]
    return replace(probe, calls=tuple(calls))


def draw_steps(options: dict[str, Any], dtype: str, rng: np.random.Generator, steps: int = 5) -> Probe:
    """Draw parameters and the gradients of some optimizer steps, from 1e-9 to 1; one parameter never has a gradient.

    Parameters are as small as their gradients: otherwise rounding would swallow the small updates.
    """
    shapes = {"weight": (4, 3), "bias": (4,), "kernel": (2, 3, 2, 2)}
    scales = {name: 10.0 ** rng.uniform(-9, 0, shape) for name, shape in shapes.items()}

    def draw() -> Tensors:
        return {name: np.asarray(rng.standard_normal(scale.shape) * scale, dtype) for name, scale in scales.items()}

    start, gradients = draw(), tuple(draw() for _ in range(steps))
    start["idle"] = np.asarray(rng.standard_normal(3), dtype)
    case = ", ".join(f"{key}={value}" for key, value in options.items())
    return Probe(case, dtype, options, start, gradients=gradients)


def draw_state(reference: nn.Module, dtype: str, rng: np.random.Generator) -> Tensors:
    """Weights for every parameter and buffer of `reference`: none is 0 or 1, which hide mistakes."""
    state: Tensors = {}
    buffers = {name for name, _ in reference.named_buffers()}
    for name, tensor in reference.state_dict().items():
        shape = tuple(tensor.shape)
        if not tensor.is_floating_point():
            state[name] = tensor.numpy().copy()
        elif name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
            state[name] = rng.uniform(0.5, 2.0, shape).astype(dtype)
        elif name in buffers or len(shape) < 2:
            state[name] = rng.uniform(-1.0, 1.0, shape).astype(dtype)
        else:
            bound = 1 / math.sqrt(math.prod(shape[1:]))
            state[name] = rng.uniform(-bound, bound, shape).astype(dtype)
    return state


def reference_of(pair: LayerPair, probe: Probe) -> nn.Module:
    """The torch side of a probe."""
    module = pair.torch(**probe.options).to(getattr(torch, probe.dtype))
    if probe.state:
        weights.load_torch_state(module, probe.state)
    return module


def expected(pair: LayerPair | OptimizerPair, probe: Probe, got: Tensors | None = None) -> Tensors:
    """What the reference gives; `got` tells a random layer which choices the candidate made."""
    if isinstance(pair, OptimizerPair):
        return observe_torch_optimizer(
            lambda tensors: pair.torch(tensors, **probe.options), probe.state, probe.gradients
        )
    return observe_torch(_reference(pair, probe, got), probe.calls)


def bounds(pair: LayerPair | OptimizerPair, probe: Probe, got: Tensors | None = None) -> Tensors:
    """How far each element may be off."""
    if isinstance(pair, OptimizerPair):
        return pair.rule(pair.torch, probe.options, probe.state, probe.gradients, probe.dtype)
    return pair.rule(_reference(pair, probe, got), probe.calls, probe.dtype)


def _reference(pair: LayerPair, probe: Probe, got: Tensors | None) -> nn.Module:
    reference = reference_of(pair, probe)
    return reference if pair.random is None or got is None else pair.random.reference(reference, got)


def drive(pair: LayerPair | OptimizerPair, make: Callable[..., Any], probe: Probe, got: Tensors | None = None) -> Tensors:
    """What a module or optimizer made by `make` gives. Raises whatever it raises.

    `got` are the tensors of another candidate, whose random choices this one is to make too.
    """
    if isinstance(pair, OptimizerPair):
        return observe_scratch_optimizer(
            lambda parameters: make(parameters, **probe.options), probe.state, probe.gradients
        )
    module = make(**probe.options)
    if pair.random is not None and got is not None:
        pair.random.repeat(module, got)
    if probe.state:
        module.to(lambda array: array.astype(probe.dtype) if array.dtype.kind == "f" else array)
        module.load_state_dict(probe.state)
    return observe_scratch(module, probe.calls)


def _smaller(case: Case, images: int) -> Case:
    """The case with so many images less, but at least one."""
    return replace(case, shape=(max(1, case.shape[0] - images), *case.shape[1:]))


def _draw_call(pair: LayerPair, case: Case, reference: nn.Module, dtype: str, rng: np.random.Generator) -> Call:
    layout = probes.LAYOUTS[case.layout]
    inputs = [layout(probes.VALUES[case.values](rng, case.shape).astype(dtype))]
    if pair.takes_targets:
        inputs.append(rng.integers(0, case.shape[1], case.shape[0]))
    with torch.no_grad():
        shape = reference(*(torch.tensor(array) for array in inputs)).shape
    values = "magnitudes" if case.values == "magnitudes" else "normal"
    grad_output = np.asarray(probes.VALUES[values](rng, tuple(shape)), dtype)
    return Call(tuple(inputs), layout(grad_output) if shape else grad_output)
