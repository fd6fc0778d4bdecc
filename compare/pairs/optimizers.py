"""The optimizers: each with its cases, its error bound, its random right configurations and its example by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

import scratch
from compare.driving.observe import drive_optimizer, learning_rates
from compare.driving.tensors import Tensors
from compare.pairs.bounds import either_way, growth, unit_roundoff
from compare.pairs.by_hand import ByHand, Lesson, Results, array, plain
from compare.pairs.cases import Shape
from compare.pairs.observe import observe_torch_optimizer
from compare.pairs.pair import Make, Pair, Rng
from compare.pairs.probe import Probe
from scratch import Array

STEPS = 5
OptimizerBound = Callable[
    [Callable[..., torch.optim.Optimizer], dict[str, Any], Tensors, Sequence[Tensors], str], Tensors
]


@dataclass(frozen=True, eq=False)
class OptimizerPair(Pair):
    """An optimizer and its twin: both are made from parameters and the options, and fed the same gradients.

    Attributes:
        options: those of every case.
        rule: how far two right ones may differ.
        draw: draws the options of a right configuration.
        often: how often it comes in a round of random configurations.
        lesson: what the lesson shows of it.
        lacks: why a field is not there.
    """

    scratch: Callable[..., scratch.Optimizer]
    torch: Callable[..., torch.optim.Optimizer]
    options: tuple[dict[str, Any], ...]
    rule: OptimizerBound
    draw: Callable[[Rng], dict[str, Any]] | None = None
    often: int = 0
    lesson: Lesson | None = None
    lacks: Mapping[str, str] = field(default_factory=dict)

    @property
    def role(self) -> Literal["module", "optimizer"]:
        return "optimizer"

    def probes(self, dtype: str, seed: int = 0) -> Iterator[Probe]:
        rngs = (np.random.default_rng([seed, n]) for n in range(len(self.options)))
        return (draw_steps(options, dtype, rng) for options, rng in zip(self.options, rngs, strict=True))

    def random_probe(self, dtype: str, rng: Rng) -> Probe | None:
        return None if self.draw is None else draw_steps(self.draw(rng), dtype, rng)

    def drive(self, make: Make, probe: Probe, got: Tensors | None = None) -> Tensors:
        return drive_optimizer(make, probe, scratch.Parameter)

    def _expected(self, probe: Probe, got: Tensors | None) -> Tensors:
        return observe_torch_optimizer(
            lambda tensors: self.torch(tensors, **probe.options), probe.state, probe.gradients
        )

    def _bounds(self, probe: Probe, got: Tensors | None) -> Tensors:
        return self.rule(self.torch, probe.options, probe.state, probe.gradients, probe.dtype)

    def start(self, probe: Probe) -> Tensors | None:
        return probe.state

    def without_conventions(self, probe: Probe) -> Probe:
        """The probe without parameters that lack a gradient in some step: what becomes of them is a convention."""
        everywhere = set.intersection(*(set(step) for step in probe.gradients))
        return replace(
            probe,
            state={name: array for name, array in probe.state.items() if name in everywhere},
            gradients=tuple({name: step[name] for name in everywhere} for step in probe.gradients),
        )

    def described_together(self, kinds: Sequence[str]) -> list[tuple[str, ...]]:
        """All at once: there is one update rule, whatever the parameter."""
        return [tuple(kinds)] if kinds else []

    def excerpt(self, probe: Probe, kind: str, at: Shape | None) -> tuple[Tensors, Callable[[Array], Array]] | None:
        """What the optimizer does to one number, step by step."""
        if at is None or kind not in probe.state:
            return None
        given = {kind: probe.state[kind][at]}
        given |= {f"gradient of step {n}": step[kind][at] for n, step in enumerate(probe.gradients, 1) if kind in step}
        return {name: np.asarray(number) for name, number in given.items()}, lambda tensor: np.asarray(tensor[at])


def draw_steps(options: dict[str, Any], dtype: str, rng: Rng, steps: int = STEPS) -> Probe:
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


# ---- SGD


def sgd(
    optimizer: Callable[..., torch.optim.Optimizer],
    options: dict[str, Any],
    parameters: Tensors,
    gradients: Sequence[Tensors],
    dtype: str,
) -> Tensors:
    """Parameters after some optimizer steps: (1), with S the reference on absolute values.

    All signs of an update are made to agree by turning that of the learning rate: θ + lr·(|g| + weight_decay·|θ|). A
    step rounds each of its terms at most 8 times: two operations for the weight decay, three for the velocity, one for
    Nesterov, two for the update.
    """

    def turned(tensors: list[torch.Tensor]) -> torch.optim.Optimizer:
        reference = optimizer(tensors, **options)
        reference.param_groups[0]["lr"] *= -1
        return reference

    magnitudes, *steps = (
        {name: np.abs(array.astype(np.float64)) for name, array in s.items()} for s in (parameters, *gradients)
    )
    roundings = growth(np.asarray(8.0 * len(gradients)), dtype)
    after = observe_torch_optimizer(turned, magnitudes, steps)
    # Gradients are not changed by a step, nor is a parameter without one.
    return {
        name: 2 * roundings * after[name] if any(name in step for step in gradients) else np.zeros(array.shape)
        for name, array in after.items()
    }


def _draw_sgd(rng: Rng) -> dict[str, Any]:
    momentum = float(rng.choice([0.0, rng.uniform(0.1, 0.99)]))
    nesterov = bool(momentum and rng.integers(2))
    dampening = 0.0 if nesterov else float(rng.choice([0.0, rng.uniform(0, 0.9)]))
    decay = float(rng.choice([0.0, rng.uniform(0, 0.1)]))
    options = {"lr": float(10 ** rng.uniform(-3, -0.5)), "momentum": momentum, "dampening": dampening}
    return options | {"nesterov": nesterov, "weight_decay": decay}


def in_numpy(weight: Array, gradients: Array) -> Results:
    """One step for each of the gradients, with momentum and weight decay."""
    parameter = scratch.Parameter(weight)
    optimizer = scratch.SGD([parameter], lr=0.1, momentum=0.5, weight_decay=0.25)
    for gradient in gradients:
        parameter.grad = gradient.copy()
        optimizer.step()
    return {
        "velocity": optimizer.velocity[0],  # (2)
        "weight": parameter.data,  # (4)
    }


def in_torch(weight: Tensor, gradients: Tensor) -> Results:
    """One step for each of the gradients, with momentum and weight decay."""
    parameter = nn.Parameter(weight)
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.5, weight_decay=0.25)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return {
        "velocity": optimizer.state[parameter]["momentum_buffer"],  # (2)
        "weight": parameter,  # (4)
    }


def _by_hand(given: Tensors) -> list[ByHand]:
    (theta,), ((g1,), (g2,)) = given["weight"], given["gradients"]
    v1 = g1 + 0.25 * theta
    theta1 = theta - 0.1 * v1
    v2 = 0.5 * v1 + g2 + 0.25 * theta1
    theta2 = theta1 - 0.1 * v2
    first = f"first step: v = {plain(g1)} + 0.25·{plain(theta)} = {plain(v1)}, "
    first += f"θ = {plain(theta)} − 0.1·{plain(v1)} = {plain(theta1)}; "
    words = f"{first}second: 0.5·{plain(v1)} + ({plain(g2)} + 0.25·{plain(theta1)}) = {plain(v2)}"
    return [
        ByHand(2, "velocity", (0,), words, float(v2)),
        ByHand(4, "weight", (0,), f"{plain(theta1)} − 0.1·{plain(v2)} = {plain(theta2)}", float(theta2)),
    ]


SGD = OptimizerPair(
    "sgd",
    scratch.SGD,
    torch.optim.SGD,
    (
        {"lr": 0.1},
        {"lr": 0.05, "momentum": 0.9},
        {"lr": 0.05, "momentum": 0.9, "dampening": 0.5},
        {"lr": 0.05, "momentum": 0.9, "nesterov": True},
        {"lr": 0.1, "weight_decay": 0.01},
        {"lr": 0.05, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.1},
        {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    ),
    sgd,
    draw=_draw_sgd,
    often=1,
    lesson=Lesson(
        ("step",),
        {2: "velocity", 4: "weight"},
        {"weight": array([1]), "gradients": array([[2], [-1]])},
        in_numpy,
        in_torch,
        _by_hand,
        computes=lambda _, equation, tensor, __: equation == 4 and not tensor.startswith("grad"),
    ),
)


# ---- Adam


def adam(
    optimizer: Callable[..., torch.optim.Optimizer],
    options: dict[str, Any],
    parameters: Tensors,
    gradients: Sequence[Tensors],
    dtype: str,
) -> Tensors:
    """Parameters after some steps of Adam, whose square root and quotient leave no sum of products.

    The errors are carried through the recursion, element by element. A step does to them, with h = √(v/(1 - β₂ᵗ)) and
    the step p = lr/(1 - β₁ᵗ)·m/(h + eps):

        g:  e_g ← weight_decay·(e_θ + 2u·|θ|) + u·|g|              0 without decay
        m:  e_m ← β₁·e_m + (1 - β₁)·e_g + u·(|m'| + 3·(|m| + (1 - β₁)·|g|))
        v:  e_v ← β₂·e_v + (1 - β₂)·(2·|g| + e_g)·e_g + 4u·v'      all terms are positive
        h:  e_h = what e_v does to it + (4u + c₂)·h
        p:  e_p = lr/(1 - β₁ᵗ)·(e_m + |m'|·e_d/(h + eps))/d + (4u + c₁)·|p|,   e_d = e_h + u·(h + 2·eps),
        θ:  e_θ ← e_θ + e_p + u·|θ'|                               d = the least that h + eps may come out as

    m', v' and θ' are the new ones; m' may also be computed as m + (1 - β₁)·(g - m). 1 - βᵗ is a plain number, computed
    in float64 in whatever way: c = t·2⁻⁵³/(1 - βᵗ) is what the t products in βᵗ may do to it.
    """
    settings = optimizer([torch.zeros(())], **options).defaults
    rates = learning_rates(settings["lr"], len(gradients))
    after = observe_torch_optimizer(lambda tensors: optimizer(tensors, **options), parameters, gradients)
    bounds = {name: np.zeros(array.shape) for name, array in after.items()}
    for name, start in parameters.items():
        steps = [(lr, step[name].astype(np.float64)) for lr, step in zip(rates, gradients, strict=True) if name in step]
        if steps:
            error = _adam_error(start.astype(np.float64), steps, settings, dtype)
            bounds[name] = either_way(error / unit_roundoff(dtype), dtype)
    return bounds


def _adam_error(theta: Array, steps: Sequence[tuple[float, Array]], settings: dict[str, Any], dtype: str) -> Array:
    """The error e_θ of `adam` after steps of (learning rate, gradient)."""
    u, tiny = unit_roundoff(dtype), float(np.finfo(dtype).tiny)
    (beta1, beta2), eps, decay = settings["betas"], settings["eps"], settings["weight_decay"]
    m, m_error, v, v_error, theta_error = (np.zeros_like(theta) for _ in range(5))
    for t, (lr, gradient) in enumerate(steps, 1):
        g = gradient + decay * theta
        g_error = decay * (theta_error + 2 * u * np.abs(theta)) + u * np.abs(g) * (decay > 0)
        m_error = beta1 * m_error + (1 - beta1) * g_error + 3 * u * (np.abs(m) + (1 - beta1) * np.abs(g))
        m = beta1 * m + (1 - beta1) * g
        m_error += u * np.abs(m)
        v = beta2 * v + (1 - beta2) * g * g
        v_error = beta2 * v_error + (1 - beta2) * (2 * np.abs(g) + g_error) * g_error + 4 * u * v + tiny
        rest1, rest2 = 1 - beta1**t, 1 - beta2**t
        h = np.sqrt(v / rest2)
        # |√v - √(v - e)| = e/(√v + √(v - e)), where nothing cancels; √e where v itself is less than e.
        roots = np.sqrt(np.maximum(v, v_error)) + np.sqrt(np.maximum(v - v_error, 0))
        h_error = v_error / roots / np.sqrt(rest2) + (4 * u + t * 2.0**-53 / rest2) * h
        d_error = h_error + u * (h + 2 * eps)
        least = np.maximum(h + eps - d_error, eps * (1 - 2 * u))
        p = lr / rest1 * m / (h + eps)
        p_error = lr / rest1 * (m_error + np.abs(m) * d_error / (h + eps)) / least
        p_error += (4 * u + t * 2.0**-53 / rest1) * np.abs(p)
        theta = theta - p
        theta_error = theta_error + p_error + u * np.abs(theta)
    return theta_error


def _draw_adam(rng: Rng) -> dict[str, Any]:
    betas = float(rng.uniform(0, 0.95)), float(rng.uniform(0.5, 0.999))
    decay = float(rng.choice([0.0, rng.uniform(0, 0.1)]))
    options = {"lr": float(10 ** rng.uniform(-4, -1)), "betas": betas, "eps": float(10 ** rng.uniform(-8, -3))}
    return options | {"weight_decay": decay}


ADAM = OptimizerPair(
    "adam",
    scratch.Adam,
    torch.optim.Adam,
    (
        {"lr": 0.001},
        {"lr": 0.05, "betas": (0.5, 0.75)},
        {"lr": 0.01, "betas": (0.0, 0.99)},
        {"lr": 0.01, "eps": 1e-3},  # an eps as large as many gradients shows where it stands
        {"lr": 0.01, "weight_decay": 0.1},
        {"lr": 0.02, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.5},
    ),
    adam,
    draw=_draw_adam,
    often=1,
    lacks={"lesson": "the lesson trains with SGD"},
)

OPTIMIZERS = (SGD, ADAM)
