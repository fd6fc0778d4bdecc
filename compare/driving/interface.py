"""What somebody says about their code, where it cannot be found out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from compare.driving.options import Axes
from compare.machine.errors import UserError

TARGETS = ("classes", "one-hot")
AXES = "NCHWDL1"  # and F, features, which is C
INPUT = ("input", "x", "grad_input")  # what the gradient of the input may be called


@dataclass(frozen=True)
class Interface:
    """How to drive a class, an object or functions that were not written for this.

    Everything is optional: what is empty is found by the usual names, by shapes, and by trying.

    Attributes:
        forward, backward: the names of the methods.
        parameters: what their weights are in torch: {"filters": "weight"}; a layout may follow: {"W": "weight:HWIO"}.
            A path goes into dictionaries and lists: "params['W1']", "layers[0].W".
        gradients: where the gradients are after backward: {"dW": "weight", "grads['b']": "bias", "dx": "input"}.
        layout: the axes of the input, "NHWC", "HWC" (one image at a time) or "C1" (one column) for instance; "" is
            torch's order, "NCHW" or "NC".
        output_layout: those of the output, where they are others.
        output_from: the attribute that holds the output, where forward returns something else.
        weight_layouts: the layouts of weights, by torch's name, where `parameters` gives none.
        size_pairs: whether sizes are passed as pairs, also where both are equal.
        targets: what a loss takes: "classes" (whole numbers) or "one-hot" rows.
        built_in: options that have a value of their own in this code, and are no arguments of it.
    """

    forward: str = ""
    backward: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    gradients: Mapping[str, str] = field(default_factory=dict)
    layout: str = ""
    output_layout: str = ""
    output_from: str = ""
    targets: str = ""
    weight_layouts: Mapping[str, str] = field(default_factory=dict)
    size_pairs: bool = False
    built_in: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("layout", "output_layout"):
            value = getattr(self, name).replace("F", "C")
            object.__setattr__(self, name, value)
            if not re.fullmatch(f"[{AXES}]*", value) or len(set(value)) != len(value):
                raise UserError(
                    f"{name} {value!r} must be letters such as NCHW, NHWC, HWC, HW, NC or C1, each of {AXES} once"
                )
        if self.targets not in ("", *TARGETS):
            raise UserError(f"targets {self.targets!r} must be one of {', '.join(TARGETS)}")

    @property
    def one_at_a_time(self) -> bool:
        """Whether the code takes one image at a time."""
        return bool(self.layout) and "N" not in self.layout

    def for_parameters(self, known: Mapping[str, Axes]) -> Interface:
        """The interface with torch's full names, "weight" becoming "0.weight" where there is only one.

        Args:
            known: torch's parameters and buffers, and their axes.

        Raises:
            UserError: for a name that torch's module has not, or a layout that does not fit it.
        """

        def full(theirs: str, given: str, option: str) -> str:
            name, colon, layout = given.partition(":")
            found = [k for k in known if k == name or k.endswith(f".{name}")]
            if len(found) != 1:
                there = ", ".join(known) or "none"
                raise UserError(
                    f"{option} {theirs}={given}: there is no parameter {name!r} to compare with; there is {there}"
                )
            axes = known[found[0]].torch
            if set(layout) - set(axes):
                raise UserError(f"{option} {theirs}={given}: the layout must be made of the letters {axes}")
            return f"{found[0]}{colon}{layout}"

        parameters = {theirs: full(theirs, given, "--param") for theirs, given in self.parameters.items()}
        gradients = {theirs: g if g in INPUT else full(theirs, g, "--grad") for theirs, g in self.gradients.items()}
        return replace(self, parameters=parameters, gradients=gradients)

    def layout_of(self, parameter: str) -> str:
        """The layout that was given for torch's `parameter`; empty if none was."""
        for given in self.parameters.values():
            name, _, layout = given.partition(":")
            if name == parameter and layout:
                return layout
        return self.weight_layouts.get(parameter, "")

    def their_parameters(self) -> dict[str, str]:
        """Torch's names of the parameters that were named, and the paths to theirs."""
        return {given.partition(":")[0]: theirs for theirs, given in self.parameters.items()}
