"""Random configurations of every pair, for the other question that matters as much: right code must be called right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from compare.pairs.probe import Probe, draw_probe, draw_steps
from compare.pairs.registry import REGISTRY, Case, LayerPair, OptimizerPair, Pair
from compare.pairs.values import LAYOUTS

Rng = np.random.Generator


def _whole(rng: Rng, low: int, high: int) -> int:
    return int(rng.integers(low, high + 1))


def _convolution(rng: Rng) -> tuple[tuple[int, ...], dict[str, Any]]:
    kernel, stride, padding = (
        (_whole(rng, low, high), _whole(rng, low, high)) for low, high in ((1, 4), (1, 3), (0, 2))
    )
    size = [max(1, k - 2 * p) + _whole(rng, 0, 6) for k, p in zip(kernel, padding, strict=True)]
    c_in, c_out = _whole(rng, 1, 5), _whole(rng, 1, 6)
    options = {"in_channels": c_in, "out_channels": c_out, "kernel_size": kernel, "stride": stride, "padding": padding}
    return (_whole(rng, 1, 4), c_in, *size), options | {"bias": bool(rng.integers(2))}


def _pooling(rng: Rng) -> tuple[tuple[int, ...], dict[str, Any]]:
    kernel = _whole(rng, 1, 4), _whole(rng, 1, 4)
    padding = _whole(rng, 0, kernel[0] // 2), _whole(rng, 0, kernel[1] // 2)
    size = [max(1, k - 2 * p) + _whole(rng, 0, 6) for k, p in zip(kernel, padding, strict=True)]
    options = {"kernel_size": kernel, "stride": (_whole(rng, 1, 4), _whole(rng, 1, 4)), "padding": padding}
    return (_whole(rng, 1, 4), _whole(rng, 1, 4), *size), options


def _linear(rng: Rng) -> tuple[tuple[int, ...], dict[str, Any]]:
    n_in, n_out = _whole(rng, 1, 40), _whole(rng, 1, 20)
    return (_whole(rng, 1, 8), n_in), {"in_features": n_in, "out_features": n_out, "bias": bool(rng.integers(2))}


def _normalisation(rng: Rng) -> tuple[tuple[int, ...], dict[str, Any]]:
    channels = _whole(rng, 1, 5)
    options = {"num_features": channels, "eps": float(10 ** rng.uniform(-6, -1)), "momentum": float(rng.uniform(0, 1))}
    return (_whole(rng, 2, 5), channels, _whole(rng, 2, 6), _whole(rng, 2, 6)), options


def _maps(rng: Rng) -> tuple[tuple[int, ...], dict[str, Any]]:
    return tuple(_whole(rng, 1, 6) for _ in range(4)), {}


def _dropout(rng: Rng) -> tuple[tuple[int, ...], dict[str, Any]]:
    return (_whole(rng, 16, 24), 6, 6, 6), {"p": float(rng.uniform(0.2, 0.8))}


def _rows(rng: Rng) -> tuple[tuple[int, ...], dict[str, Any]]:
    return (_whole(rng, 1, 6), _whole(rng, 2, 12)), {"dim": _whole(rng, 0, 1)}


def _scores(rng: Rng) -> tuple[tuple[int, ...], dict[str, Any]]:
    return (_whole(rng, 1, 6), _whole(rng, 2, 12)), {"reduction": str(rng.choice(["mean", "sum", "none"]))}


def _sgd(rng: Rng) -> dict[str, Any]:
    momentum = float(rng.choice([0.0, rng.uniform(0.1, 0.99)]))
    nesterov = bool(momentum and rng.integers(2))
    dampening = 0.0 if nesterov else float(rng.choice([0.0, rng.uniform(0, 0.9)]))
    decay = float(rng.choice([0.0, rng.uniform(0, 0.1)]))
    options = {"lr": float(10 ** rng.uniform(-3, -0.5)), "momentum": momentum, "dampening": dampening}
    return options | {"nesterov": nesterov, "weight_decay": decay}


def _adam(rng: Rng) -> dict[str, Any]:
    betas = float(rng.uniform(0, 0.95)), float(rng.uniform(0.5, 0.999))
    decay = float(rng.choice([0.0, rng.uniform(0, 0.1)]))
    options = {"lr": float(10 ** rng.uniform(-4, -1)), "betas": betas, "eps": float(10 ** rng.uniform(-8, -3))}
    return options | {"weight_decay": decay}


_LAYERS: dict[str, tuple[Callable[[Rng], tuple[tuple[int, ...], dict[str, Any]]], tuple[str, ...]]] = {
    "conv2d": (_convolution, ("normal", "integers", "zeros", "post-relu", "magnitudes", "per-channel")),
    "maxpool2d": (_pooling, ("normal", "integers", "zeros", "post-relu", "magnitudes", "per-channel")),
    "linear": (_linear, ("normal", "integers", "zeros", "post-relu", "magnitudes")),
    "batchnorm2d": (_normalisation, ("normal", "integers", "post-relu", "magnitudes", "per-channel")),
    "dropout": (_dropout, ("normal", "per-channel")),
    "relu": (_maps, ("normal", "integers", "zeros", "post-relu", "magnitudes")),
    "flatten": (_maps, ("normal", "per-channel", "magnitudes")),
    "softmax": (_rows, ("normal", "zeros")),
    "log_softmax": (_rows, ("normal", "zeros", "large")),
    "cross_entropy": (_scores, ("normal", "zeros")),
}
_OPTIMIZERS: dict[str, Callable[[Rng], dict[str, Any]]] = {"sgd": _sgd, "adam": _adam}
# Convolutions have the most ways to be configured.
_ORDER: tuple[str, ...] = (
    "conv2d",
    "maxpool2d",
    "conv2d",
    "linear",
    "conv2d",
    "batchnorm2d",
    "relu",
    "conv2d",
    "maxpool2d",
    "flatten",
)
_ORDER += (
    "linear",
    "softmax",
    "conv2d",
    "cross_entropy",
    "sgd",
    "log_softmax",
    "adam",
    "dropout",
    "maxpool2d",
    "linear",
)


def random_configurations(count: int, seed: int = 0) -> Iterator[tuple[Pair, Probe]]:
    """`count` random configurations over all pairs, float64 and float32 in turn, each with its pair."""
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        name, dtype = _ORDER[number % len(_ORDER)], ("float64", "float32")[number // len(_ORDER) % 2]
        pair = REGISTRY[name]
        if isinstance(pair, OptimizerPair):
            yield pair, draw_steps(_OPTIMIZERS[name](rng), dtype, rng)
            continue
        assert isinstance(pair, LayerPair)
        draw, values = _LAYERS[name]
        shape, options = draw(rng)
        layout, calls = str(rng.choice(list(LAYOUTS))), 1 + int(rng.integers(4) == 0)
        yield pair, draw_probe(pair, Case(shape, options, str(rng.choice(values)), layout, calls), dtype, rng)
