"""How much of what torch's layer takes a verdict rests on: kinds of configuration, tensors, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compare.diagnosis.trial import Trial, in_order, kind_of
from compare.driving.options import Option
from compare.pairs.probe import Probe

ENOUGH = 0.75  # the share of kinds on which a tensor must have been compared for "right"


@dataclass(frozen=True)
class Refusal:
    """A probe that the code does not take.

    Attributes:
        words: why, in words.
        options: those that its constructor cannot express; empty for what the code refuses itself.
        tensors: what would have been compared.
    """

    probe: Probe
    words: str
    options: tuple[str, ...] = ()
    tensors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Coverage:
    """What a verdict rests on.

    Attributes:
        inputs: how many inputs were compared.
        layout: what an input is, in words: "a batch (N, C, H, W)"; empty for an optimizer.
        shares: by tensor, on what share of the kinds of configuration it was compared.
        missed: kinds of configuration that the code could express and on which something was not compared.
        gaps: what was not compared besides, in words.
        lacking: what no layer can be without and nothing was compared on: negative numbers for instance.
    """

    inputs: int = 0
    layout: str = ""
    shares: Mapping[str, float] = field(default_factory=dict)
    missed: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """That of the tensor that was compared on the fewest kinds; 0 if none was."""
        return min(self.shares.values(), default=0.0)

    @property
    def enough(self) -> bool:
        """Whether every tensor was compared on so many kinds that it may be called right."""
        return self.share >= ENOUGH and not self.lacking

    def __str__(self) -> str:
        """One line: what was compared, and what not."""
        if not self.inputs:
            return "nothing was compared"
        of = f" of {self.layout}" if self.layout else ""
        inputs = f"{self.inputs:,} input{'s' if self.inputs > 1 else ''}"
        compared = f"{', '.join(self.shares)}{of}, on {inputs}"
        gaps = [*self.lacking, *self.missed, *self.gaps]
        compared += f", {self.share:.0%} of the kinds of input" if self.missed else ""
        return f"{compared}; not compared: {'; '.join(gaps)}" if gaps else compared

    def as_json(self) -> dict[str, Any]:
        """The coverage as plain values."""
        return {
            "inputs": self.inputs,
            "layout": self.layout,
            "share": round(self.share, 4),
            "tensors": {name: round(share, 4) for name, share in self.shares.items()},
            "missed": [*self.lacking, *self.missed],
            "not_compared": list(self.gaps),
        }


def kinds_of(probe: Probe, defaults: Mapping[str, Any]) -> frozenset[str]:
    """The kinds of configuration that a probe belongs to, each in words.

    >>> from compare.pairs.observe import Call
    >>> import numpy as np
    >>> call = Call((np.zeros((2, 3, 9, 7)),), np.zeros(()))
    >>> sorted(kinds_of(Probe("", "float64", {"kernel_size": 2, "stride": 3}, {}, (call,)), {"stride": None}))
    ['batches', 'odd sides', 'several channels', 'sides of two lengths', 'stride']
    """
    found = set[str]()
    if probe.calls:
        count, *rest = probe.calls[0].inputs[0].shape or (1,)
        found |= {"batches"} if count > 1 else set()
        if len(rest) == 3:
            channels, height, width = rest
            found |= {"several channels"} if channels > 1 else set()
            found.add("odd sides" if height % 2 or width % 2 else "even sides")
            found.add("square images" if height == width else "sides of two lengths")
    for option, value in probe.options.items():
        if isinstance(value, tuple) and len(set(value)) > 1 and all(isinstance(n, int) for n in value):
            found.add(f"{option} of two numbers")
        if option in defaults and value != defaults[option] and value != (defaults[option],) * 2:
            found.add(f"{option}={value}" if isinstance(value, bool | str) else option)
    return frozenset(found)


def basics_of(probe: Probe, about: Mapping[str, Option]) -> frozenset[str]:
    """What a probe has that no layer can be without, each in words: both signs, sizes above 1."""
    found = set[str]()
    if probe.calls:
        x = probe.calls[0].inputs[0]
        found |= {"negative numbers"} if bool((x < 0).any()) else set()
        found |= {"positive numbers"} if bool((x > 0).any()) else set()
    for option, value in probe.options.items():
        if option in about and about[option].two_sided and about[option].seen_in and bool(np.max(value) > 1):
            found.add(f"{option} above 1")
    return frozenset(found)


def coverage(
    trials: Sequence[Trial],
    refusals: Sequence[Refusal],
    defaults: Mapping[str, Any],
    *,
    layout: str = "",
    gaps: Sequence[str] = (),
    untried: Sequence[str] = (),
    about: Mapping[str, Option] | None = None,
) -> Coverage:
    """What trials and refusals together cover.

    Args:
        defaults: the arguments of torch's constructor that have a default.
        layout: what an input is, in words.
        gaps: what is known not to have been compared.
        untried: options that the code takes, and that no probe ever sets.
        about: what the options are about.
    """
    tried = [trial.probe for trial in trials] + [refusal.probe for refusal in refusals if not refusal.options]
    basics = {basic for probe in tried for basic in basics_of(probe, about or {})}
    basics -= {basic for trial in trials if trial.got is not None for basic in basics_of(trial.probe, about or {})}
    compared: dict[str, set[str]] = {}
    possible: dict[str, set[str]] = {}
    answered = [trial for trial in trials if trial.got is not None]
    there = {kind_of(row.tensor) for trial in answered for row in (*trial.rows, *trial.unjudged)}
    there = {kind for kind in there if not kind.endswith("after use")}
    for trial in trials:
        kinds = kinds_of(trial.probe, defaults)
        for tensor in {kind_of(name) for name in (*trial.expected, *trial.missing)} & there:
            possible.setdefault(tensor, set()).update(kinds)
        for tensor in {kind_of(row.tensor) for row in trial.rows} & there if trial.got is not None else ():
            compared.setdefault(tensor, set()).update(kinds)
    unsaid: set[str] = {kind for refusal in refusals for kind in _unsayable(refusal, defaults)}
    for refusal in refusals:
        for tensor in {kind_of(name) for name in refusal.tensors} & there:
            possible.setdefault(tensor, set()).update(kinds_of(refusal.probe, defaults) - unsaid)
    shares, missed = {}, list[str]()
    for tensor in in_order(there):
        seen = compared.get(tensor, set())
        every = possible.get(tensor, set()) | seen | set(untried)
        shares[tensor] = len(seen) / len(every) if every else float(tensor in compared)
        missed += sorted(every - seen)
    unsaid -= set(missed).union(*compared.values())
    also = [f"{', '.join(sorted(unsaid))} (it has no such argument)"] if unsaid else []
    return Coverage(len(answered), layout, shares, tuple(dict.fromkeys(missed)), (*also, *gaps), tuple(sorted(basics)))


def _unsayable(refusal: Refusal, defaults: Mapping[str, Any]) -> frozenset[str]:
    """The kinds that a probe has only by options which the code's constructor cannot express.

    Where two numbers cannot be said, one number may be.
    """
    options = {name: value for name, value in refusal.probe.options.items() if name in refusal.options}
    kinds = kinds_of(Probe("", "", options, {}), defaults)
    return kinds - {name for name in options if f"{name} of two numbers" in kinds}
