"""Inputs for code that does not take all that torch takes: even or square sides, one image, one number for both sides.

What the code refuses is drawn again, changed as little as the refusal asks for, so that it is tried on as many inputs
as code that takes everything. What was refused is counted in `coverage`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from compare.pairs.cases import Case
from compare.pairs.pair import Pair
from compare.pairs.probe import Probe

Change = Callable[[Case], Case]
Side = Callable[[int, int, int, int], int]  # a side, kernel, stride and padding: the side that is taken instead


def _same(side: int, kernel: int, stride: int, padding: int) -> int:
    del kernel, stride, padding
    return side


def _even(side: int, kernel: int, stride: int, padding: int) -> int:
    del kernel, stride, padding
    return side + side % 2


def _tiled(side: int, kernel: int, stride: int, padding: int) -> int:
    """The next side whose last window ends where the image does."""
    return side + (kernel - side - 2 * padding) % stride


def _even_and_tiled(side: int, kernel: int, stride: int, padding: int) -> int:
    sides = range(side, side + 2 * stride)
    return next((n for n in sides if n % 2 == 0 and _tiled(n, kernel, stride, padding) == n), _even(side, 0, 0, 0))


@dataclass(frozen=True)
class Fit:
    """One way to change a case.

    Attributes:
        side: what becomes of each side of an image.
        square: whether both sides become equal.
        one_image, one_channel: whether there is only one.
        plain: the options that get their defaults.
        one_number: which of two numbers an option becomes that is two numbers, `max` or `min`; None if it stays.
    """

    side: Side = _same
    square: bool = False
    one_image: bool = False
    one_channel: bool = False
    plain: tuple[str, ...] = ()
    one_number: Callable[[tuple[int, ...]], int] | None = None

    def changed(self, pair: Pair, case: Case, defaults: Mapping[str, Any]) -> Case:
        """The case as this fit wants it; `defaults` are those of the options, or what a given module has."""
        options = dict(case.options)
        for name in {*self.plain} & options.keys() & defaults.keys():
            implied = pair.about[name].implied if name in pair.about else ()
            options[name] = implied[0] if implied else defaults[name]
        if self.one_number is not None:
            one = self.one_number
            options = {name: one(value) if isinstance(value, tuple) else value for name, value in options.items()}
        count, *rest = case.shape
        if len(rest) == 3:
            full = {**defaults, **options}
            given = [_both(full.get(name), fallback) for name, fallback in (("kernel_size", 1), ("padding", 0))]
            strides = _both(full.get("stride") or full.get("kernel_size"), 1)
            sides = [self.side(n, given[0][i], strides[i], given[1][i]) for i, n in enumerate(rest[1:])]
            rest[1:] = [max(sides)] * 2 if self.square else sides
        found = replace(case, shape=(1 if self.one_image else count, *rest), options=options)
        return pair.with_one_channel(found) if self.one_channel else found


def _both(value: Any, fallback: int) -> tuple[int, int]:
    if isinstance(value, tuple) and len(value) == 2 and all(isinstance(n, int) for n in value):
        return value
    return (value, value) if isinstance(value, int) else (fallback, fallback)


SIDES = (_same, _even, _tiled, _even_and_tiled)
# The least changed first.
FITS = sorted(
    (
        Fit(side, square, one_image, one_channel)
        for side in SIDES
        for square, one_image, one_channel in itertools.product((False, True), repeat=3)
    ),
    key=lambda fit: (fit.side is not _same) + fit.square + 2 * (fit.one_image + fit.one_channel),
)[1:]


@dataclass
class Fitter:
    """Draws what was refused again, first in the way that was taken before.

    Attributes:
        pair: what the code is compared with.
        defaults: torch's options, or those of a given module.
        taken: the fits that were taken, the last first.
        hopeless: refusals for which there is none.
    """

    pair: Pair
    defaults: Mapping[str, Any]
    taken: list[Fit] = field(default_factory=list)
    hopeless: set[str] = field(default_factory=set)

    def again(self, probe: Probe, options: tuple[str, ...] = ()) -> Iterator[tuple[Fit, Probe]]:
        """Other probes in its place; `options` are those that it does not take: nothing else is changed then."""
        plain = tuple(name for name in probe.options if name in self.defaults)
        rest = [*FITS, *(replace(fit, plain=plain) for fit in (Fit(), *FITS[:4]) if plain)]
        fits = [Fit(plain=options)] if options else [*self.taken, *(fit for fit in rest if fit not in self.taken)]
        seen = {probe.case}
        for fit in fits:
            redrawn = self.redrawn(probe, fit)
            if redrawn is not None and redrawn.case not in seen:
                seen.add(redrawn.case)
                yield fit, redrawn

    def is_known(self, probe: Probe, options: tuple[str, ...], tried: set[tuple[str, str]]) -> bool:
        """Whether the probe with these options at their defaults has been tried, by its case's name and its dtype."""
        if probe.drawn is None:
            return False
        return (Fit(plain=options).changed(self.pair, probe.drawn, self.defaults).name, probe.dtype) in tried

    def milder(self, probe: Probe) -> Iterator[tuple[Fit, Probe]]:
        """The probe with even sides, and with equal ones: what code takes that breaks without a word on others."""
        fits = (Fit(_even_and_tiled), Fit(_even_and_tiled, square=True))
        return ((fit, redrawn) for fit in fits if (redrawn := self.redrawn(probe, fit)) is not None)

    def redrawn(self, probe: Probe, fit: Fit) -> Probe | None:
        """The probe with its case changed; None where torch does not take it, or nothing changed."""
        return self.pair.redrawn(probe, lambda case: fit.changed(self.pair, case, self.defaults))

    def remember(self, fit: Fit) -> None:
        """That a fit was taken."""
        self.taken = [fit, *(other for other in self.taken if other != fit)]


# The smaller one where torch does not take the larger: the image may be as small as the kernel.
ONE_NUMBER = (Fit(one_number=max), Fit(one_number=min))
