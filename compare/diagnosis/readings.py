"""How somebody's code is to be read: the orders of axes, one image at a time, one-hot targets, (in, out) weights.

A reading is chosen by evidence, never because the numbers then agree: first by shapes, since under another reading code
breaks or gives another shape; then by what the code says about itself (`evidence`); and where nothing speaks for
another, the natural one holds: a batch, in torch's order. Where that turns out wrong, `other_readings` tells which
others the shapes allow, so that the verdict can name the one under which the code is right.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from compare.contained.session import Session
from compare.diagnosis.fitting import Fit, Fitter
from compare.diagnosis.likeness import Likeness, defaults_of, one_channel, one_image, only_with
from compare.driving.answering import Outcome
from compare.driving.evidence import MEDIUM, STRONG, Claim
from compare.driving.interface import TARGETS, Interface
from compare.driving.layouts import IMAGES
from compare.driving.options import Axes
from compare.machine.errors import UserError
from compare.pairs.pair import Pair
from compare.pairs.probe import Probe

# The natural one first.
IMAGE_LAYOUTS = (
    *(("", ""), ("NHWC", ""), ("CHW", ""), ("HWC", ""), ("HW", "HWC"), ("HW", "CHW"), ("HW", "HW")),
    *(("NHW", "NCHW"), ("NHW", "NHWC"), ("NHW", "NHW")),
)
# Of layers that make rows of images: the rows may come out as columns.
UPRIGHT = (("", "CN"), ("NHWC", "CN"), ("CHW", "C1"), ("HWC", "C1"))
ROW_LAYOUTS = (("", ""), ("CN", ""), ("C", ""))
# Too near to a batch to be told by shapes: read so only where the code says it, or where it is right so and wrong else.
ALSO_IMAGES = (("1CHW", ""), ("1HWC", ""))
ALSO_ROWS = (("C1", ""), ("1C", ""))
UNDRIVABLE = ("UndrivableError", "LayoutError", "ConversionError")


class NotJudgedError(Exception):
    """Nothing can be said about this code; the message says why, and what to add."""


@dataclass(frozen=True)
class Reading:
    """A way to read the code.

    Attributes:
        compared: what it is compared with, in cases that the reading allows.
        interface: how it is driven.
        weights: where its weights are, by torch's names.
        support: how much the code says for it.
        against: whether the code's own words speak against it.
    """

    compared: Likeness
    interface: Interface
    weights: tuple[tuple[str, str], ...] = ()
    support: int = 0
    against: bool = False


@dataclass(frozen=True)
class Read:
    """What was found out.

    Attributes:
        reading: the one that is judged.
        remarks: what was found out, in words.
        assumed: what the code is taken for, and what cannot be compared then, in words; empty if it is as asked.
        claims: what the code says about itself.
    """

    reading: Reading
    remarks: tuple[str, ...] = ()
    assumed: str = ""
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True)
class Reader:
    """Reads a candidate by driving it in `session`.

    Attributes:
        name: what the candidate is called.
        seed: draws the inputs.
    """

    session: Session
    name: str
    seed: int
    _supported: dict[tuple[Pair, str], Probe] = field(default_factory=dict, repr=False)

    def read(self, compared: Likeness, interface: Interface) -> Read:
        """Find the reading that is judged.

        Raises:
            NotJudgedError: if the code cannot be driven at all.
            UserError: if something that was said about it is not so.
        """
        first = next(compared.pair.examined(self.seed))
        if not first.calls:  # an optimizer: there are no axes to be found out
            outcome = self.session("drive", interface, first)
            if outcome.error in ("UndrivableError", "MistoldError"):
                raise self._undrivable(outcome)
            return Read(Reading(compared, interface))
        undrivable: Outcome | None = None
        likely: Read | None = None
        for assumed, known, gap in self._assumed(compared, interface):
            claims = self._claims(assumed, known)
            try:
                fits, reading, failed = self._first_fitting(assumed, known, claims)
            except NotJudgedError:
                if undrivable is None and likely is None:
                    raise
                break  # what was found out first says more
            undrivable = undrivable or failed
            if reading is None:
                continue
            found = Read(reading, tuple(_in_words(reading, interface, claims)), gap, claims)
            if fits:
                return found
            likely = likely or found
        if likely is None:
            assert undrivable is not None
            raise self._undrivable(undrivable)
        return likely

    def _undrivable(self, outcome: Outcome) -> Exception:
        text = outcome.problem.partition("Error: ")[2]
        kind = UserError if outcome.error == "MistoldError" else NotJudgedError
        return kind(text if text.startswith(self.name) else f"{self.name}: {text}")

    def _assumed(self, compared: Likeness, interface: Interface) -> Iterator[tuple[Likeness, Interface, str]]:
        """What the code may be like: as asked; with a kernel of its own; without the bias that much code has not.

        Each with what is not compared then, in words.
        """
        defaults, about = defaults_of(compared.pair), compared.pair.about
        try:
            self._first_supported(compared, interface)
        except NotJudgedError as refused:
            own = [name for name, option in about.items() if option.usual and f"{name}=" in str(refused)]
            if not own or own[0] in interface.built_in:
                raise
            for value in about[own[0]].usual:
                known = replace(interface, built_in={**interface.built_in, own[0]: value})
                gap = f"other values of {own[0]} than its own, {value}"
                for assumed, further, more in self._assumed(only_with(compared, own[0], value), known):
                    yield assumed, further, f"{gap}; {more}" if more else gap
            return
        yield compared, interface, ""
        for option in about:
            if about[option].often_dropped and option in defaults:
                known = replace(interface, built_in={**interface.built_in, option: False})
                yield only_with(compared, option, False), known, f"{option} (it has none)"

    def _claims(self, compared: Likeness, interface: Interface) -> tuple[Claim, ...]:
        try:
            probe = self._first_supported(compared, interface)
        except NotJudgedError:
            return ()
        return self.session("claims", interface, probe).value or ()

    def _first_supported(self, compared: Likeness, interface: Interface) -> Probe:
        """The first probe that the candidate can be made for, its options left at their defaults where that helps.

        The first case of every pair has axes of different lengths, so that shapes tell them apart.

        Raises:
            NotJudgedError: if there is none.
        """
        key = compared.pair, repr(interface)
        if key not in self._supported:
            self._supported[key] = self._found_supported(compared, interface)
        return self._supported[key]

    def _found_supported(self, compared: Likeness, interface: Interface) -> Probe:
        tried: set[str] = set()
        refused = ""
        fitter = Fitter(compared.pair, defaults_of(compared.pair))
        for probe in compared.pair.examined(self.seed):
            if (key := str(probe.options)) in tried:
                continue
            tried.add(key)
            outcome = self.session("construct", interface, probe)
            if outcome.error not in ("UnsupportedError", "TypeError"):
                return probe
            refused = refused or outcome.problem.removeprefix("raised ").removeprefix("UnsupportedError: ")
            plain = fitter.redrawn(probe, Fit(plain=unsupported(outcome)))
            if plain is not None and self.session("construct", interface, plain).error == "":
                return plain
        raise NotJudgedError(
            f"{self.name}: cannot be made like any case of {compared.pair.name} ({refused}); write the call out, "
            'FILE.py:"Class(1, 8)", and what it is then like, "Conv2d(1, 8, 3)" for instance'
        )

    def _first_fitting(
        self, compared: Likeness, interface: Interface, claims: Sequence[Claim]
    ) -> tuple[bool, Reading | None, Outcome | None]:
        """The first reading whose output has the right shape, else the first that can be driven; and which it is."""
        ran: Reading | None = None  # the first that gave anything
        first: Reading | None = None  # the first that could be driven
        undrivable: Outcome | None = None
        for reading, probe in self._ways(compared, interface, claims):
            if _is_matrix(reading.interface.layout) and _has_channels(reading, ran, first):
                continue
            if ran is not None and not _may_follow(reading, ran):
                continue
            outcome, taken = self._driven(reading, probe)
            if outcome.fatal:
                return True, reading, None
            if outcome.error == "MistoldError" or (outcome.error == "UndrivableError" and outcome.in_backward):
                raise self._undrivable(outcome)
            if outcome.error in UNDRIVABLE:
                undrivable = outcome if undrivable is None or undrivable.error == "LayoutError" else undrivable
                continue
            if _has_right_shape(reading.compared, taken, outcome):
                placed = outcome.value.placed if outcome.value is not None else ()
                return True, replace(reading, weights=placed), None
            if outcome.value is not None:
                ran = ran or reading
            first = first or reading
        if first is None and undrivable is None:
            raise UserError(f"{self.name}: {compared.pair.name} has no case with a single image")
        return False, first, undrivable

    def _driven(self, reading: Reading, probe: Probe) -> tuple[Outcome, Probe]:
        """What became of a probe, or where it gives no output, of one drawn to fit what the code takes."""
        outcome = self.session("drive", reading.interface, probe)
        if outcome.value is not None or outcome.fatal or outcome.error in (*UNDRIVABLE, "MistoldError"):
            return outcome, probe
        pair = reading.compared.pair
        fitter = Fitter(pair, {**defaults_of(pair), **reading.compared.hints})
        for fit, redrawn in fitter.again(probe) if outcome.refused else fitter.milder(probe):
            if fit.one_image or fit.one_channel:
                continue
            again = self.session("drive", reading.interface, redrawn)
            if again.value is not None:
                return again, redrawn
        return outcome, probe

    def _ways(
        self, compared: Likeness, interface: Interface, claims: Sequence[Claim], *, also: bool = False
    ) -> Iterator[tuple[Reading, Probe]]:
        """Each reading with the probe that it is tried on: what the code says first, then the most natural first.

        Args:
            also: whether those are among them which shapes cannot tell from a batch, though the code does not say so.
        """

        @cache
        def cases(one: bool, plain: bool) -> tuple[Likeness, Probe] | None:
            found: Likeness | None = compared
            if plain:
                found = one_channel(compared)
            if one and found is not None:
                found = one_image(found)
            return None if found is None else (found, self._first_supported(found, interface))

        together = self._first_supported(compared, interface)
        axes = compared.axes(together.state)
        ways = list(variants(interface, together, axes))
        support = {id(way): _support(way, together, claims) for way in ways}
        further = {id(way): support[id(way)] + _support_of_weights(way, axes, claims) for way in ways}
        spoken_for = [way for way in ways if support[id(way)] > 0 or way.layout not in _ALSO or interface.layout]
        for way in sorted(ways if also else spoken_for, key=lambda way: -further[id(way)]):
            given = cases(way.one_at_a_time, bool(way.layout) and "C" not in way.layout)
            if given is not None:
                yield Reading(given[0], way, (), support[id(way)]), given[1]

    def other_readings(self, read: Read, compared: Likeness, interface: Interface, *, one: bool) -> Iterator[Reading]:
        """Other readings that the shapes allow.

        Args:
            compared, interface: as they were given to `read`.
            one: whether batches of one are among them, for code that breaks on larger ones; on code that does not,
                nothing would be seen of what it does to a batch.
        """
        chosen = read.reading
        if not next(compared.pair.examined(self.seed)).calls:
            return  # an optimizer
        for assumed, known, gap in self._assumed(compared, interface):
            if gap != read.assumed:
                continue
            for reading, probe in self._ways(assumed, known, read.claims, also=True):
                if reading.interface == chosen.interface or (not one and _differs_by_one_image(reading, chosen)):
                    continue
                outcome, taken = self._driven(reading, probe)
                if _has_right_shape(reading.compared, taken, outcome):
                    placed = outcome.value.placed if outcome.value is not None else ()
                    words = [claim for claim in read.claims if claim.strength >= MEDIUM]
                    here, there = (_support(way, probe, words) for way in (reading.interface, chosen.interface))
                    against = here <= there - 2 * MEDIUM
                    yield replace(reading, weights=placed, against=against)


def _may_follow(reading: Reading, ran: Reading) -> bool:
    """Whether a reading may still be chosen by its shapes, after code gave something, of another shape, for `ran`.

    Code that computes anything for a batch is read as taking one image only where it says so; and what its own words
    speak for comes before what they speak against.
    """
    if reading.support < 0 and ran.support >= STRONG:
        return False
    return not reading.interface.one_at_a_time or ran.interface.one_at_a_time or reading.support > 0


def _has_channels(matrix: Reading, ran: Reading | None, tried: Reading | None) -> bool:
    """Whether code that could be read as taking images without channels is not to be read so.

    It gave something, `ran`, for images with channels; or its words speak more for those that were `tried` first.
    """
    if ran is not None and matrix.support <= 0:
        return True
    return tried is not None and tried.support > matrix.support and not _is_matrix(tried.interface.layout)


def _differs_by_one_image(reading: Reading, chosen: Reading) -> bool:
    """Whether a reading is the same as the chosen one, for a batch of one: 1CHW for NCHW, C1 for CN."""
    layout = reading.interface.layout
    return layout[:1] == "1" or ("1" in layout and layout.replace("1", "N") == chosen.interface.layout)


def _is_matrix(layout: str) -> bool:
    """Whether images have no channels."""
    return "H" in layout and "C" not in layout


_ALSO = {layout for layout, _ in (*ALSO_IMAGES, *ALSO_ROWS)}


def _has_right_shape(compared: Likeness, probe: Probe, outcome: Outcome) -> bool:
    """Whether there is an output, of the shape that the reference's has."""
    if outcome.value is None:
        return outcome.in_backward  # which is run only where the output has the right shape
    got = outcome.value.tensors
    right = compared.pair.expected(probe, got)
    name = next(name for name in right if name.startswith(("output", "logits")))
    return name in got and got[name].shape == right[name].shape


def unsupported(outcome: Outcome) -> tuple[str, ...]:
    """The options that the candidate's constructor cannot express, by what became of trying."""
    return tuple(re.findall(r"(\w+)=", outcome.problem)) if outcome.error == "UnsupportedError" else ()


def _support(way: Interface, probe: Probe, claims: Sequence[Claim]) -> int:
    """How much the code says for the layout and the targets of a reading."""
    layout = way.layout or IMAGES.get(probe.calls[0].inputs[0].ndim, "")
    return sum(claim.strength * claim.agrees(layout, way.targets) for claim in claims)


def _support_of_weights(way: Interface, axes: Mapping[str, Axes], claims: Sequence[Claim]) -> int:
    """How much the code says for the order of the axes of its weights."""
    kernels = [way.layout_of(name) or kind.torch for name, kind in axes.items() if kind.others]
    if len(kernels) != 1:
        return 0
    return sum(claim.strength * claim.agrees("", "", kernels[0]) for claim in claims if claim.weights)


def variants(interface: Interface, probe: Probe, axes: Mapping[str, Axes]) -> Iterator[Interface]:
    """The interface as it is, then with other orders of axes wherever none was given."""
    first = probe.calls[0].inputs[0]
    layouts: tuple[tuple[str, str], ...]
    layouts = (*IMAGE_LAYOUTS, *ALSO_IMAGES) if first.ndim == 4 else (*ROW_LAYOUTS, *ALSO_ROWS)
    layouts += UPRIGHT if first.ndim == 4 and probe.calls[0].grad_output.ndim == 2 else ()
    if interface.layout or interface.output_layout:
        layouts = ((interface.layout, interface.output_layout),)
    targets = TARGETS if len(probe.calls[0].inputs) > 1 and not interface.targets else (interface.targets,)
    ways: list[dict[Axes, str]] = [{}]
    for kind in sorted({kind for kind in axes.values() if kind.others}, key=lambda kind: len(kind.torch)):
        ways = [way | {kind: layout} for layout in ("", *kind.others) for way in ways]
    for layout, output_layout in layouts:
        for way, target in itertools.product(_natural_first(ways, layout), targets):
            yield replace(
                interface,
                layout=layout,
                output_layout=output_layout,
                targets=target,
                weight_layouts={name: way[kind] for name, kind in axes.items() if way.get(kind)},
            )


def _natural_first(ways: Sequence[Mapping[Axes, str]], layout: str) -> list[Mapping[Axes, str]]:
    return sorted(ways, key=lambda way: _unlike(layout, way))


def _unlike(layout: str, way: Mapping[Axes, str]) -> bool:
    """Whether the channels of kernels lie elsewhere than those of the images: natural is that both are last, or not."""
    orders = [order or kind.torch for kind, order in way.items() if {"H", "W"} <= set(kind.torch)]
    channels_last = "H" in layout and layout.endswith("C")
    return any((order.index("H") < order.index("I")) is not channels_last for order in orders if "I" in order)


def _in_words(found: Reading, given: Interface, claims: Sequence[Claim]) -> Iterator[str]:
    """What was found out, and what says so."""
    own, said = found.interface, []
    if own.layout and not given.layout:
        said.append(f"inputs as {own.layout}" + (", one at a time" if own.one_at_a_time else ""))
    if own.output_layout and not given.output_layout:
        said.append(f"outputs as {own.output_layout}")
    said += [f"{name} as {layout}" for name, layout in own.weight_layouts.items()]
    if own.targets == "one-hot" and not given.targets:
        said.append("targets as one-hot rows")
    if said:
        weights = next(iter(own.weight_layouts.values()), "")
        counts = [claim for claim in claims if claim.weights or found.support > 0]
        spoken = [claim.reason for claim in counts if claim.agrees(own.layout, own.targets, weights) > 0]
        yield f"it takes {', '.join(said)}" + (f" ({spoken[0]})" if spoken else "")


def takes_pairs(session: Session, compared: Likeness, interface: Interface, probes: list[Probe]) -> bool:
    """Whether (2, 2) does the same as 2; where no size differs from the other, or 2 does not work either, it may."""
    two_sided = {option for option, about in compared.pair.about.items() if about.two_sided}
    equal = [p for p in probes if two_sided & p.options.keys() and not pairs_of(p)]
    if compared.pair.fixed or not equal or not any(pairs_of(probe) for probe in probes):
        return True
    for probe in equal:
        if session("drive", replace(interface, size_pairs=True), probe).value is not None:
            return True
        one = session("drive", interface, probe)
        if one.value is not None:
            return False
        if one.refused:  # it is asked on what it takes
            fitter = Fitter(compared.pair, defaults_of(compared.pair))
            fitting = (redrawn for _, redrawn in fitter.again(probe) if session("drive", interface, redrawn).value)
            taken = next(fitting, None)
            return taken is None or session("drive", replace(interface, size_pairs=True), taken).value is not None
    return True


def pairs_of(probe: Probe) -> tuple[str, ...]:
    """The options that have two different sizes."""
    return tuple(name for name, v in probe.options.items() if isinstance(v, tuple) and len(set(v)) > 1)
