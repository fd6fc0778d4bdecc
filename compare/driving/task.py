"""What a candidate is compared with, as far as its own side has to know: how to make it, and where its weights go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from compare.driving.options import USUAL_AXES, Axes, Option
from compare.driving.tensors import Tensors


@dataclass(frozen=True)
class Task:
    """How somebody's code is to be driven.

    Attributes:
        role: what it is: "module", "optimizer" or "model".
        defaults: the arguments of torch's constructor that have a default.
        about: what the options of the constructor are about.
        hints: the options of the given torch module, for code that asks for them by name.
        axes: those of the parameters and buffers of which more is known than their number.
        buffers: the names of what belongs to the state and is not trained.
        fixed: whether the options are those of one torch module that was given.
    """

    role: str = "module"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Option] = field(default_factory=dict)
    hints: Mapping[str, Any] = field(default_factory=dict)
    axes: Mapping[str, Axes] = field(default_factory=dict)
    buffers: tuple[str, ...] = ()
    fixed: bool = False

    def axes_of(self, state: Tensors) -> dict[str, Axes]:
        """The axes of every parameter and buffer; of one of which nothing is known, by their number."""
        return {name: self.axes.get(name) or USUAL_AXES.get(array.ndim, Axes("")) for name, array in state.items()}
