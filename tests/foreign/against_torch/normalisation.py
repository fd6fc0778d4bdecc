"""Batch normalisation and dropout."""

from __future__ import annotations

import importlib

import numpy as np
import torch
from torch import nn

from tests.foreign.against_torch.checking import CHECKS, chw, hwc, like, same


def normalisation(name, call):
    """In training, then in evaluation with what it has collected.

    `call(module, gamma, beta)` gives run(x, g, training), which returns output, the gradients of x, gamma and beta, and
    its mean and variance so far.
    """

    def run():
        module = importlib.import_module(f"tests.foreign.manners.{name}")
        for seed, shape in enumerate(((3, 2, 4, 3), (2, 2, 5, 1))):
            rng = np.random.default_rng(seed)
            gamma, beta, g = rng.normal(size=2), rng.normal(size=2), rng.normal(size=shape)
            layer = nn.BatchNorm2d(2).double()
            layer.weight.data, layer.bias.data = torch.tensor(gamma), torch.tensor(beta)
            theirs = call(module, gamma, beta)
            for training in (True, True, False):
                layer.train(training)
                layer.zero_grad()
                x = torch.tensor(rng.normal(2, 3, shape), requires_grad=True)
                y = layer(x)
                y.backward(torch.tensor(g))
                expected = [y, x.grad, layer.weight.grad, layer.bias.grad, layer.running_mean, layer.running_var]
                got = theirs(x.detach().numpy(), g, training)
                same([tensor.detach().numpy() for tensor in expected], got)

    CHECKS[name] = [run]


def _norm_modes(m, gamma, beta):
    layer = m.BatchNorm2d(2)
    layer.gamma, layer.beta = gamma.reshape(1, 2, 1, 1), beta.reshape(1, 2, 1, 1)

    def run(x, g, training):
        layer.training = training
        y, dx = layer.forward(x), layer.backward(g)
        return y, dx, layer.dgamma.reshape(2), layer.dbeta.reshape(2), layer.running_mean, layer.running_var

    return run


def _norm_last(m, gamma, beta):
    layer = m.BatchNormalization(2)
    layer.gamma, layer.beta = gamma, beta

    def run(x, g, training):
        y, dx = layer.forward(hwc(x), training), layer.backward(hwc(g))
        return chw(y), chw(dx), layer.grad_gamma, layer.grad_beta, layer.moving_mean, layer.moving_variance

    return run


def _norm_functions(m, gamma, beta):
    settings = {}

    def run(x, g, training):
        settings["mode"] = "train" if training else "test"
        y, cache = m.spatial_batchnorm_forward(x, gamma, beta, settings)
        rest = m.spatial_batchnorm_backward(g, cache)
        return y, *rest, settings["running_mean"], settings["running_var"]

    return run


normalisation("batchnorm_modes", _norm_modes)
normalisation("batchnorm_channels_last", _norm_last)
normalisation("batchnorm_functions", _norm_functions)


@like(nn.BatchNorm2d(3, track_running_stats=False), (2, 3, 4, 3), (3, 3, 1, 2))
def batchnorm_training_only(m, x, g, gamma, beta):
    layer = m.BN(3)
    layer.gamma, layer.beta = gamma, beta
    y, dx = layer.forward(x), layer.backward(g)
    return y, dx, layer.gamma_grad, layer.beta_grad


def dropout(name, call):
    """What it keeps is scaled, what it drops has no gradient, and about as much as it should is kept."""

    def run():
        module = importlib.import_module(f"tests.foreign.manners.{name}")
        np.random.seed(0)
        for shape in ((200, 50), (10, 5, 20, 10)):
            x, g = np.random.uniform(1, 2, shape), np.random.uniform(1, 2, shape)
            y, dx = call(module, x, g, True)
            kept = y != 0
            assert abs(kept.mean() - 0.7) < 0.02
            same([x * kept / 0.7, g * kept / 0.7], [y, dx])
            same([x, g], call(module, x, g, False))

    CHECKS[name] = [run]


def _drop_class(m, x, g, training):
    layer = m.Dropout(0.3)
    layer.training = training
    return layer.forward(x), layer.backward(g)


def _drop_flag(m, x, g, training):
    layer = m.Dropout(0.3)
    return layer.forward(x, training), layer.backward(g)


def _drop_functions(m, x, g, training):
    y, cache = m.dropout_forward(x, {"p": 0.3, "mode": "train" if training else "test"})
    return y, m.dropout_backward(g, cache)


dropout("dropout_inverted", _drop_class)
dropout("dropout_flag", _drop_flag)
dropout("dropout_functions", _drop_functions)
