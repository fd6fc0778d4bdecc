"""Drives the scratch side of a comparison on another device than the CPU, from host to host as the verifier expects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import scratch
from compare.pairs.optimizers import OptimizerPair
from compare.pairs.pair import Pair
from scratch import Array
from scratch.backend import to_host

Place = Callable[[Array], Array]


def maker(pair: Pair, place: Place) -> Callable[..., Any]:
    """What makes the scratch side of `pair`, so that it computes where `place` brings its arrays."""
    make: Callable[..., Any] = pair.scratch
    if isinstance(pair, OptimizerPair):
        return lambda parameters, **options: _optimizer(make, parameters, place, options)
    return lambda **options: _module(make(**options), place)


def move(module: scratch.Module, place: Place) -> None:
    """Bring parameters, gradients and buffers to another device."""
    for parameter in module.parameters():
        parameter.data = place(parameter.data)
        parameter.grad = None if parameter.grad is None else place(parameter.grad)
    for buffer in module.buffers():
        buffer.data = place(buffer.data)


def _module(module: scratch.Module, place: Place) -> scratch.Module:
    """The module, made to compute elsewhere; between two calls it is at home."""

    def elsewhere(function: Callable[..., Array]) -> Callable[..., Array]:
        def call(*inputs: Any) -> Array:
            move(module, place)
            result = function(*(place(x) if isinstance(x, np.ndarray) else x for x in inputs))
            assert not isinstance(result, np.ndarray), "it came home by itself"
            move(module, to_host)
            return to_host(result)

        return call

    module.forward, module.backward = elsewhere(module.forward), elsewhere(module.backward)
    return module


def _optimizer(
    make: Callable[..., scratch.Optimizer],
    parameters: list[scratch.Parameter],
    place: Place,
    options: dict[str, Any],
) -> scratch.Optimizer:
    """The optimizer of twins of `parameters` that are elsewhere; each step is brought home to the parameters."""
    twins = [scratch.Parameter(place(parameter.data)) for parameter in parameters]
    optimizer = make(twins, **options)
    step, zero_grad = optimizer.step, optimizer.zero_grad

    def step_elsewhere() -> None:
        for parameter, twin in zip(parameters, twins, strict=True):
            twin.grad = None if parameter.grad is None else place(parameter.grad)
        step()
        for parameter, twin in zip(parameters, twins, strict=True):
            parameter.data[...] = to_host(twin.data)
            parameter.grad = None if twin.grad is None else to_host(twin.grad)

    def zero_grad_elsewhere() -> None:
        zero_grad()
        for parameter, twin in zip(parameters, twins, strict=True):
            parameter.grad = twin.grad

    optimizer.step = step_elsewhere
    optimizer.zero_grad = zero_grad_elsewhere  # type: ignore[method-assign]
    return optimizer
