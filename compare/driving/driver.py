"""What runs in the candidate's process: somebody's code is made, presented as one side of the pair, and driven."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compare.driving import signatures, vocabulary
from compare.driving.adapter import Adapted, adapt
from compare.driving.answering import random_state_kept
from compare.driving.candidate import Source
from compare.driving.evidence import Claim, claims_of
from compare.driving.interface import Interface
from compare.driving.layouts import LayoutError, to_theirs
from compare.driving.making import ConversionError, Functions, Making, construct
from compare.driving.models import drive_model
from compare.driving.observe import Parameter, drive_module, drive_optimizer, load
from compare.driving.optimizers import AdaptedOptimizer, adapt_optimizer
from compare.driving.steps import AdaptedStep, loop_method, loss_method, step_method, update_methods
from compare.driving.task import Task
from compare.driving.tensors import Driven, Given, Tensors, gradient_name


@dataclass(frozen=True)
class Methods:
    """What somebody's code has beside its forward and backward.

    Attributes:
        step: the method that trains by one step; empty if there is none.
        loop: one that trains for a number of epochs; empty if there is a step, or none.
        loss: a method that computes a loss of inputs and targets.
        updates: methods that update the weights.
        adds: the gradients that a second backward adds to, and those that it overwrites.
        defaults: the defaults that are others than torch's, in words.
    """

    step: str = ""
    loop: str = ""
    loss: str = ""
    updates: tuple[str, ...] = ()
    adds: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    defaults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Driver:
    """Makes and drives a candidate as one side of the pair that it is compared with."""

    source: Source
    task: Task

    def construct(self, interface: Interface, probe: Given) -> None:
        """Try whether it takes the options of a probe."""
        with random_state_kept():
            construct(self.source(), self._making(interface, probe))

    def claims(self, interface: Interface, probe: Given) -> tuple[Claim, ...]:
        """What the code says about the arrays that it takes."""
        with random_state_kept():
            return claims_of(construct(self.source(), self._making(interface, probe)), interface.forward)

    def drive(self, interface: Interface, probe: Given) -> Driven:
        """What it gives for a probe."""
        return (self._drive_optimizer if self.task.role == "optimizer" else self._drive_module)(interface, probe)

    def _making(self, interface: Interface, probe: Given, *, with_weights: bool = True) -> Making:
        """What it is made with for a probe."""
        weights = {}
        for name, axes in self.task.axes_of(probe.state).items() if with_weights else ():
            with suppress(LayoutError):
                theirs = interface.layout_of(name) or axes.torch
                weights[name.rpartition(".")[2]] = to_theirs(probe.state[name], axes.torch, theirs)
        task = self.task
        built_in = {name: replace(task.about[name], implied=(value,)) for name, value in interface.built_in.items()}
        return Making(
            {**task.hints, **probe.options},
            task.defaults,
            probe.dtype,
            weights,
            task.fixed,
            interface.size_pairs,
            {**task.about, **built_in},
        )

    def methods(self, interface: Interface, probe: Given) -> Methods:
        """What else it has and does that no probe asks for."""
        with random_state_kept():
            subject = construct(self.source(), self._making(interface, probe))
            step = step_method(subject)
            return Methods(
                step,
                "" if step else loop_method(subject),
                loss_method(subject),
                update_methods(subject),
                self._adds_up(subject, interface, probe),
                self._other_defaults(),
            )

    def _adds_up(self, subject: Any, interface: Interface, probe: Given) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The gradients that a second backward adds to, and those that it overwrites."""
        module = adapt(subject, interface, probe.state, self.task.buffers, probe.dtype, self.task.axes_of(probe.state))
        if not isinstance(module, Adapted) or module.functions is not None or len(probe.calls[0].inputs) != 1:
            return (), ()
        with suppress(Exception):
            load(module, probe)
            module(*probe.calls[0].inputs)
            module.backward(probe.calls[0].grad_output)
            return module.adds_up(probe.calls[0].grad_output)
        return (), ()

    def _other_defaults(self) -> tuple[str, ...]:
        """The defaults of its constructor that are others than torch's, in words."""
        kind, torchs = self.source(), self.task.defaults
        if not isinstance(kind, type):
            return ()
        found = []
        for name, parameter in signatures.parameters(kind).items():
            option = vocabulary.option_of(name, set(torchs) - {"lr"})
            own, theirs = parameter.default, torchs.get(option or "")
            numbers = isinstance(own, int | float) and isinstance(theirs, int | float)
            if numbers and own != theirs:
                found.append(f"its default {name} is {own}, torch's {option} is {theirs}")
        return tuple(found)

    def step(self, interface: Interface, probe: Given) -> Driven:
        """What its training step does for a probe of the network with its loss."""
        with random_state_kept():
            subject = construct(self.source(), self._making(interface, probe))
        module = AdaptedStep(subject, interface, probe.state, self.task.buffers, self.task.axes_of(probe.state))
        tensors = drive_module(module, probe)
        changed = {name: array for name, array in tensors.items() if "grad_" in name and "after use" not in name}
        return Driven(_plain(changed), tuple(module.recovered), tuple(module.recovered))

    def _drive_module(self, interface: Interface, probe: Given) -> Driven:
        with random_state_kept():  # weights are drawn in a constructor: nothing to remark upon
            subject = construct(self.source(), self._making(interface, probe))
        axes = self.task.axes_of(probe.state)
        module = adapt(subject, interface, probe.state, self.task.buffers, probe.dtype, axes)
        if isinstance(module, Adapted):
            module.scalar = all(call.grad_output.ndim == 0 for call in probe.calls)
        elif isinstance(getattr(module, "generator", None), np.random.Generator):
            module.generator = np.random.default_rng(0)  # what is drawn is the same every time
        tensors = (drive_model if self.task.role == "model" else drive_module)(module, probe)
        recovered = module.recovered if isinstance(module, Adapted) else set()
        exact = module.exact if isinstance(module, Adapted) else set()
        if isinstance(subject, Functions):
            subject.require_read(self._making(interface, probe))
        for name in recovered:  # weights that it updates itself are not meant to stay as they were
            tensors.pop(f"{name} after use", None)
        placed = tuple(module.placement.paths.items()) if isinstance(module, Adapted) else ()
        ignores = isinstance(module, Adapted) and module.ignores_gradient
        misshapen = _misshapen(module) if isinstance(module, Adapted) else ()
        notes = module.notes if isinstance(module, Adapted) else ()
        return Driven(_plain(tensors), tuple(recovered), tuple(recovered - exact), placed, ignores, misshapen, notes)

    def _drive_optimizer(self, interface: Interface, probe: Given) -> Driven:
        made: list[Any] = []
        making = self._making(interface, probe, with_weights=False)

        def make(held: list[Any], **_: Any) -> Any:
            made.append(adapt_optimizer(self.source(), held, making))
            return made[-1]

        tensors = drive_optimizer(make, probe, getattr(sys.modules.get("scratch"), "Parameter", Parameter))
        if isinstance(made[-1], AdaptedOptimizer) and made[-1].functions is not None:
            made[-1].functions.require_read(making)
        return Driven(_plain(tensors))


def _plain(tensors: Tensors) -> Tensors:
    """Arrays of NumPy itself, whatever class theirs are of.

    Raises ConversionError for what is no array of real numbers.
    """
    plain: Tensors = {}
    for name, array in tensors.items():
        copied = np.array(array, order="C")
        if copied.dtype.kind not in "fiub":
            raise ConversionError(f"{name} is {type(array).__name__} of {copied.dtype}: no array of real numbers")
        longer = copied.dtype.kind == "f" and copied.dtype.itemsize > 8
        plain[name] = copied.astype(np.float64 if longer else copied.dtype.newbyteorder("="))
    return plain


def _misshapen(module: Adapted) -> tuple[tuple[str, str], ...]:
    """The gradients whose shape does not go with that of their weight, each with the reason."""
    return tuple(
        (gradient_name(name), f"shape {list(own)} instead of {list(weight)}, that of its weight in this code")
        for name, (own, weight) in module.misshapen.items()
    )
