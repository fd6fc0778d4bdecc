"""The layers that the lesson explains: their equations from the docstrings, their code, and both calls.

What is shown of each stands in its own file (`compare/pairs/layers`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from compare.lesson.showing.formula import Equation, equations
from compare.lesson.showing.source import Listing, beside, listing
from compare.pairs.by_hand import Lesson
from compare.pairs.layers import LAYERS as LAYER_PAIRS
from compare.pairs.optimizers import OPTIMIZERS


@dataclass(frozen=True)
class Layer:
    """One layer, or optimizer, as the lesson shows it.

    Attributes:
        pair: its name in the registry.
        kind: the class.
        shown: what is shown of it.
    """

    pair: str
    kind: Any
    shown: Lesson

    @property
    def title(self) -> str:
        return str(self.kind.__name__)

    @property
    def summary(self) -> str:
        """What it does, in one sentence: the first of the docstring."""
        return (self.kind.__doc__ or "").partition("\n")[0]

    @property
    def tensors(self) -> dict[int, str]:
        """Which tensor an equation computes, by the equation's number."""
        return self.shown.tensors

    @cached_property
    def equations(self) -> list[Equation]:
        """Those of the docstring."""
        return equations(self.kind.__doc__ or "")

    @cached_property
    def code(self) -> list[Listing]:
        return [listing(getattr(self.kind, name)) for name in self.shown.methods]

    @cached_property
    def functions(self) -> list[Listing]:
        return [listing(function) for function in self.shown.called]

    @cached_property
    def definition(self) -> list[Listing]:
        return [listing(function) for function in self.shown.loops]

    @cached_property
    def calls(self) -> tuple[Listing, Listing]:
        """One call in NumPy, one in torch, with the lines marked that differ."""
        return beside(listing(self.shown.in_numpy), listing(self.shown.in_torch))

    def computes(self, number: int, tensor: str, case: str) -> bool:
        """Whether an equation gives this tensor of a case."""
        return self.shown.computes(self.tensors, number, tensor.split(" of call ")[0], case)

    def spot(self, number: int | None) -> str:
        """The line of code that computes an equation, "scratch/conv.py:150"; empty if there is none."""
        lines = ((code.path, line) for code in self.code for line in code.lines)
        return next((f"{path}:{line.number}" for path, line in lines if number and line.tag == number), "")


LAYERS: dict[str, Layer] = {
    pair.name: Layer(pair.name, pair.scratch, pair.lesson)
    for pair in (*LAYER_PAIRS, *OPTIMIZERS)
    if pair.lesson is not None
}
