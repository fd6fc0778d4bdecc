"""The layers that the lesson explains: their equations from the docstrings, their code, and both calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import scratch
from compare.lesson import with_scratch, with_torch
from compare.lesson.showing.formula import Equation, equations
from compare.lesson.showing.source import Listing, beside, listing
from scratch import naive


@dataclass(frozen=True)
class Layer:
    """One layer, as the lesson shows it.

    Attributes:
        pair: its name in the registry.
        kind: the class.
        methods: those of its methods that hold the equations.
        tensors: which tensor an equation computes, by the equation's number.
        loops: its definition in plain loops, forward and backward, where there is one.
        called: functions that it calls and that are worth a look.
    """

    pair: str
    kind: type[scratch.Module] | type[scratch.Optimizer]
    methods: tuple[str, ...]
    tensors: dict[int, str]
    loops: tuple[Callable[..., Any], ...] = ()
    called: tuple[Callable[..., Any], ...] = ()

    @property
    def title(self) -> str:
        return self.kind.__name__

    @cached_property
    def equations(self) -> list[Equation]:
        """Those of the docstring."""
        return equations(self.kind.__doc__ or "")

    @cached_property
    def code(self) -> list[Listing]:
        return [listing(getattr(self.kind, name)) for name in self.methods]

    @cached_property
    def functions(self) -> list[Listing]:
        return [listing(function) for function in self.called]

    @cached_property
    def definition(self) -> list[Listing]:
        return [listing(function) for function in self.loops]

    @cached_property
    def calls(self) -> tuple[Listing, Listing]:
        """One call in NumPy, one in torch, with the lines marked that differ."""
        return beside(listing(getattr(with_scratch, self.pair)), listing(getattr(with_torch, self.pair)))

    def spot(self, number: int | None) -> str:
        """The line of code that computes an equation, "scratch/conv.py:150"; empty if there is none."""
        lines = ((code.path, line) for code in self.code for line in code.lines)
        return next((f"{path}:{line.number}" for path, line in lines if number and line.tag == number), "")


_BOTH = ("forward", "backward")
_MAPPED = {1: "output", 2: "grad_input"}
_WEIGHTED = {1: "output", 2: "grad_bias", 3: "grad_weight", 4: "grad_input"}

LAYERS: dict[str, Layer] = {
    layer.pair: layer
    for layer in (
        Layer(
            "conv2d",
            scratch.Conv2d,
            ("forward", "_columns", "backward", "backward_parameters"),
            _WEIGHTED,
            (naive.conv2d, naive.conv2d_backward),
        ),
        Layer("relu", scratch.ReLU, _BOTH, _MAPPED),
        Layer("maxpool2d", scratch.MaxPool2d, _BOTH, _MAPPED, (naive.max_pool2d_backward, naive._winners)),
        Layer("flatten", scratch.Flatten, _BOTH, _MAPPED),
        Layer("linear", scratch.Linear, (*_BOTH, "backward_parameters"), _WEIGHTED),
        Layer("softmax", scratch.Softmax, _BOTH, _MAPPED, called=(scratch.softmax,)),
        Layer(
            "cross_entropy",
            scratch.CrossEntropyLoss,
            _BOTH,
            {1: "losses", 2: "output", 3: "grad_input"},
            called=(scratch.log_softmax,),
        ),
        Layer("sgd", scratch.SGD, ("step",), {2: "velocity", 4: "weight"}),
    )
}
