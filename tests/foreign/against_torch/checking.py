"""How a layer is checked against torch, driven by hand.

A check of a layer gets its module, an input x and an upstream gradient g in torch's order, and the weights of torch's
layer; it returns output, gradient of the input and gradients of the weights, in torch's order again. A layer of one
image or example is given one after the other, and the gradients of its weights are added up.
"""

from __future__ import annotations

import importlib
import itertools

import numpy as np
import torch

CHECKS = {}  # of a file, by its name: what runs its checks

BATCHES = (3, 2, 7, 6), (1, 2, 5, 5)
COLOURS = (3, 3, 7, 6), (1, 3, 5, 5)
GRAY = (3, 1, 7, 6), (1, 1, 5, 5)


def like(torch_layer, *shapes, one=False, rtol=1e-9, name=""):
    """Registers a check of a layer against `torch_layer` on inputs of these shapes."""

    def register(check):
        def run():
            module = importlib.import_module(f"tests.foreign.manners.{name or check.__name__}")
            for n, (shape, kind) in enumerate(itertools.product(shapes, ("normal", "integers"))):
                rng = np.random.default_rng(n)
                x = rng.normal(size=shape) if kind == "normal" else rng.integers(-2, 3, shape).astype(float)
                _compare(module, check, torch_layer, x, one, rtol, rng)

        CHECKS.setdefault(name or check.__name__, []).append(run)
        return check

    return register


def _compare(module, check, layer, given, one, rtol, rng):
    layer = layer.double()
    x = torch.tensor(given, requires_grad=True)
    weights = []
    for w in layer.parameters():
        w.data = torch.tensor(rng.normal(size=w.shape))
        w.grad = None
        weights.append(w.detach().numpy().copy())
    y = layer(x)
    g = rng.normal(size=y.shape)
    y.backward(torch.tensor(g))
    expected = [y.detach().numpy(), x.grad.numpy(), *(w.grad.numpy() for w in layer.parameters())]
    if one:
        parts = [check(module, given[n], g[n], *(w.copy() for w in weights)) for n in range(len(given))]
        got = [np.stack([part[k] for part in parts]) if parts[0][k] is not None else None for k in (0, 1)]
        got += [sum(part[k] for part in parts) for k in range(2, len(expected))]
    else:
        got = check(module, given.copy(), g.copy(), *(w.copy() for w in weights))
    same(expected, got, rtol)


def same(expected, got, rtol=1e-9):
    assert len(got) == len(expected)
    for right, theirs in zip(expected, got, strict=True):
        if theirs is not None:
            assert np.shape(theirs) == np.shape(right), (np.shape(theirs), np.shape(right))
            np.testing.assert_allclose(theirs, right, rtol=rtol, atol=rtol)


def loss(criterion, targets="classes", name="", shapes=((5, 4), (1, 7))):
    """Registers a check of a loss: it gets the module, scores and targets, and returns loss and gradient."""

    def register(check):
        def run():
            module = importlib.import_module(f"tests.foreign.manners.{name or check.__name__}")
            for seed, (rows, columns) in enumerate(shapes):
                rng = np.random.default_rng(seed)
                x = rng.uniform(0.1, 0.9, (rows, columns)) if targets == "numbers" else rng.normal(size=(rows, columns))
                t = rng.uniform(0.1, 0.9, x.shape) if targets == "numbers" else rng.integers(0, columns, rows)
                tensor = torch.tensor(x, requires_grad=True)
                value = criterion(tensor, torch.tensor(t))
                value.sum().backward()
                if targets == "one-hot":
                    t = np.eye(columns)[t]
                same([value.detach().numpy(), tensor.grad.numpy()], check(module, x, t))

        CHECKS.setdefault(name or check.__name__, []).append(run)
        return check

    return register


def steps(make, name=""):
    """Registers a check of an optimizer: `check(module, w, gradients)` returns the two weights after all steps."""

    def register(check):
        def run():
            module = importlib.import_module(f"tests.foreign.manners.{name or check.__name__}")
            rng = np.random.default_rng(0)
            w = [rng.normal(size=(3, 2)), rng.normal(size=4)]
            gradients = [[rng.normal(size=(3, 2)), rng.normal(size=4)] for _ in range(4)]
            tensors = [torch.tensor(a.copy(), requires_grad=True) for a in w]
            optimizer = make(tensors)
            for step in gradients:
                for tensor, gradient in zip(tensors, step, strict=True):
                    tensor.grad = torch.tensor(gradient)
                optimizer.step()
            same([tensor.detach().numpy() for tensor in tensors], check(module, w, gradients))

        CHECKS.setdefault(name or check.__name__, []).append(run)
        return check

    return register


def hwc(a):
    return np.moveaxis(a, -3, -1)


def chw(a):
    return np.moveaxis(a, -1, -3)


def updated(layer, name, before, rate):
    """The gradient behind an update."""
    return (before - getattr(layer, name)) / rate


def simple(name, make, torch_layer, *shapes, one=False, into=lambda a: a, back=lambda a: a, out=None, up=None):
    """x goes in by `into`, dx comes back by `back`; output and upstream gradient likewise, or by `out` and `up`."""

    def check(m, x, g):
        forward, backward = make(m)
        y = forward(into(x))
        dx = backward((up or into)(g))
        return (out or back)(y), back(dx)

    like(torch_layer, *shapes, one=one, name=name)(check)


def methods(layer, forward="forward", backward="backward"):
    """Both methods, whether they return something or keep it."""
    return getattr(layer, forward), getattr(layer, backward)


def cached(forward, backward, *settings):
    """Two functions with a cache."""
    held = []

    def first(x):
        y, cache = forward(x, *settings)
        held.append(cache)
        return y

    return first, lambda g: backward(g, held[-1])


def derivative(forward, slope):
    """A function and its derivative."""
    held = []

    def first(x):
        held.append(x)
        return forward(x)

    return first, lambda g: g * slope(held[-1])


def batched(name, make, torch_layer, *shapes, **how):
    simple(name, make, torch_layer, *(shapes or ((3, 2, 7, 6), (1, 3, 5, 4))), **how)


LAST = {"into": hwc, "back": chw}
FLAT = {"into": lambda a: a[0], "back": lambda a: a[None]}
