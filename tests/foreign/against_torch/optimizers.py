"""Optimizers."""

from __future__ import annotations

import torch

from tests.foreign.against_torch.checking import steps


def by_name(optimizer, w, gradients):
    """An optimizer of dictionaries."""
    params = {"w": w[0].copy(), "b": w[1].copy()}
    for step in gradients:
        optimizer.update(params, dict(zip(params, step, strict=True)))
    return list(params.values())


MOMENTUM = {"lr": 0.1, "momentum": 0.9}
DECAY = MOMENTUM | {"weight_decay": 0.3}
ADAM = {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-4}


@steps(lambda tensors: torch.optim.SGD(tensors, **MOMENTUM))
def sgd_momentum(m, w, gradients):
    return by_name(m.SGD(0.1, 0.9), w, gradients)


@steps(lambda tensors: torch.optim.SGD(tensors, **DECAY))
def sgd_of_parameters(m, w, gradients):
    class Held:
        def __init__(self, data):
            self.data, self.grad = data.copy(), None

    held = [Held(a) for a in w]
    optimizer = m.SGD(held, 0.1, 0.9, 0.3)
    for step in gradients:
        optimizer.zero_grad()
        for parameter, gradient in zip(held, step, strict=True):
            parameter.grad = gradient
        optimizer.step()
    return [parameter.data for parameter in held]


@steps(lambda tensors: torch.optim.SGD(tensors, **MOMENTUM))
def sgd_config(m, w, gradients):
    configs = [{"learning_rate": 0.1, "momentum": 0.9} for _ in w]
    for step in gradients:
        for n, gradient in enumerate(step):
            w[n], configs[n] = m.sgd_momentum(w[n], gradient, configs[n])
    return w


@steps(lambda tensors: torch.optim.Adam(tensors, **ADAM))
def adam_dicts(m, w, gradients):
    return by_name(m.Adam(0.1, 0.8, 0.95, 1e-4), w, gradients)


@steps(lambda tensors: torch.optim.Adam(tensors, **ADAM))
def adam_one_weight(m, w, gradients):
    optimizers = [m.Adam(0.1, 0.8, 0.95, 1e-4) for _ in w]
    for step in gradients:
        w = [optimizer.update(a, gradient) for optimizer, a, gradient in zip(optimizers, w, step, strict=True)]
    return w


@steps(lambda tensors: torch.optim.Adam(tensors, **ADAM))
def adam_lists(m, w, gradients):
    optimizer = m.Adam(0.1, 0.8, 0.95, 1e-4)
    for step in gradients:
        optimizer.update(w, step)
    return w
