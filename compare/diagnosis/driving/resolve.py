"""Finding out how somebody's code wants to be driven: the orders of axes, one image at a time, sizes as pairs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache

import numpy as np

from compare.diagnosis.driving.interface import TARGETS, Interface
from compare.diagnosis.driving.sandbox import Outcome, Session
from compare.diagnosis.likeness import Likeness, defaults_of, only_with
from compare.machine.errors import UserError
from compare.pairs.observe import Tensors
from compare.pairs.options import Axes
from compare.pairs.probe import Probe

IMAGE_LAYOUTS = (("", ""), ("NHWC", ""), ("CHW", ""), ("HWC", ""), ("HW", "HWC"), ("HW", "CHW"), ("HW", "HW"))

ROW_LAYOUTS = (("", ""), ("F", ""), ("FN", ""))


def resolve(
    session: Session, compared: Likeness, interface: Interface, name: str, seed: int
) -> tuple[Likeness, Interface, list[str]]:
    """Find out how the candidate wants to be driven: the first way that gives the right output, else the right shape.

    Raises:
        UserError: if none can be driven at all.
    """
    first = next(compared.pair.examined(seed))
    if not first.calls:  # an optimizer: there are no axes to be found out
        outcome = session("drive", interface, first)
        if outcome.error == "UndrivableError":
            raise _undrivable(name, outcome)
        return compared, interface, []
    defaults = defaults_of(compared.pair)
    dropped = [option for option, about in compared.pair.about.items() if about.often_dropped and option in defaults]
    tried = {"": compared} | {option: only_with(compared, option, False) for option in dropped}
    undrivable: Outcome | None = None
    for option, chosen in tried.items():
        try:
            found, failed = _first_fitting(session, chosen, interface, name, seed)
        except UserError:
            if undrivable is None:
                raise
            break  # what was found out first says more
        if found is not None:
            remarks = [] if found == interface else [_in_words(found, interface)]
            if option:
                remarks.append(f"it has no {option}: compared without one")
            return chosen, found, [remark for remark in remarks if remark]
        undrivable = undrivable or failed
    assert undrivable is not None
    raise _undrivable(name, undrivable)


def _undrivable(name: str, outcome: Outcome) -> UserError:
    text = outcome.problem.partition("Error: ")[2]
    return UserError(text if text.startswith(name) else f"{name}: {text}")


def _first_fitting(
    session: Session, compared: Likeness, interface: Interface, name: str, seed: int
) -> tuple[Interface | None, Outcome | None]:
    best: tuple[int, Interface | None] = (0, None)
    undrivable: Outcome | None = None
    for variant, probe in _ways(session, compared, interface, name, seed):
        outcome = session("drive", variant, probe)
        if outcome.fatal:
            return variant, None
        if outcome.error == "MistoldError":
            raise _undrivable(name, outcome)
        if outcome.error in ("UndrivableError", "LayoutError"):
            undrivable = outcome if undrivable is None or undrivable.error == "LayoutError" else undrivable
            continue
        score = _score(compared, probe, outcome)
        if score == 3:
            return variant, None
        if score > best[0]:
            best = score, variant
    if best[1] is None and undrivable is None:
        raise UserError(f"{name}: {compared.pair.name} has no case with a single image")
    return best[1], undrivable


def _ways(
    session: Session, compared: Likeness, interface: Interface, name: str, seed: int
) -> Iterator[tuple[Interface, Probe]]:
    """Each variant of the interface with the probe that it is tried on; none of one image where no case has one."""

    @cache
    def one_alone() -> Probe | None:
        alone = one_image(compared)
        return None if alone is None else _first_supported(session, alone, interface, name, seed)

    together = _first_supported(session, compared, interface, name, seed)
    for variant in _variants(interface, together, compared.axes(together.state)):
        probe = one_alone() if variant.one_at_a_time else together
        if probe is not None:
            yield variant, probe


def _first_supported(session: Session, compared: Likeness, interface: Interface, name: str, seed: int) -> Probe:
    """The first probe with options that the candidate takes. Raises UserError if it takes none."""
    tried: set[str] = set()
    refused = ""
    for probe in compared.pair.examined(seed):
        if (key := str(probe.options)) not in tried:
            tried.add(key)
            outcome = session("construct", interface, probe)
            if outcome.error not in ("UnsupportedError", "TypeError"):
                return probe
            refused = outcome.problem.removeprefix("raised ").removeprefix("UnsupportedError: ")
    raise UserError(
        f"{name}: cannot be made like any case of {compared.pair.name} ({refused}); write the call out, "
        'FILE.py:"Class(1, 8)", and what it is then like, "Conv2d(1, 8, 3)" for instance'
    )


def _score(compared: Likeness, probe: Probe, outcome: Outcome) -> int:
    """3 for the right output, 2 for its shape, 1 for anything else that ran or broke."""
    if outcome.value is None:
        return 1
    got: Tensors = outcome.value.tensors
    right = compared.pair.expected(probe, got)
    name = next(name for name in right if name.startswith(("output", "logits")))
    if name not in got or got[name].shape != right[name].shape:
        return 1
    scale = np.abs(right[name]).max(initial=0)
    with np.errstate(all="ignore"):
        close = bool((np.abs(got[name].astype(np.float64) - right[name]) <= 1e-4 * scale).all())
    return 3 if close else 2


def _variants(interface: Interface, probe: Probe, axes: Mapping[str, Axes]) -> Iterator[Interface]:
    """The interface as it is, then with other orders of axes wherever none was given."""
    first = probe.calls[0].inputs[0]
    layouts: tuple[tuple[str, str], ...] = IMAGE_LAYOUTS if first.ndim == 4 else ROW_LAYOUTS
    if interface.layout or interface.output_layout:
        layouts = ((interface.layout, interface.output_layout),)
    targets = TARGETS if len(probe.calls[0].inputs) > 1 and not interface.targets else (interface.targets,)
    ways: list[dict[Axes, str]] = [{}]
    for kind in sorted({kind for kind in axes.values() if kind.others}, key=lambda kind: len(kind.torch)):
        ways = [way | {kind: layout} for layout in ("", *kind.others) for way in ways]
    for layout, output_layout in layouts:
        for way in ways:
            for target, single in itertools.product(targets, (False, True) if layout == "FN" else (False,)):
                yield replace(
                    interface,
                    layout=layout,
                    output_layout=output_layout,
                    targets=target,
                    single=single or interface.single,
                    weight_layouts={name: way[kind] for name, kind in axes.items() if way.get(kind)},
                )


def _in_words(found: Interface, given: Interface) -> str:
    said = []
    if found.layout and not given.layout:
        said.append(f"inputs as {found.layout}" + (", one at a time" if found.one_at_a_time else ""))
    if found.output_layout and not given.output_layout:
        said.append(f"outputs as {found.output_layout}")
    said += [f"{name} as {layout}" for name, layout in found.weight_layouts.items()]
    if found.targets == "one-hot" and not given.targets:
        said.append("targets as one-hot rows")
    return f"it takes {', '.join(said)}" if said else ""


def takes_pairs(session: Session, compared: Likeness, interface: Interface, probes: list[Probe]) -> bool:
    """Whether (2, 2) does the same as 2; where no size differs from the other, or 2 does not work either, it may."""
    two_sided = {option for option, about in compared.pair.about.items() if about.two_sided}
    equal = [p for p in probes if two_sided & p.options.keys() and not has_pairs(p)]
    if compared.pair.fixed or not equal or not any(has_pairs(probe) for probe in probes):
        return True
    for probe in equal:
        one = session("drive", interface, probe)
        if one.value is not None:
            return session("drive", replace(interface, size_pairs=True), probe).value is not None
    return True


def has_pairs(probe: Probe) -> bool:
    """Whether an option has two different sizes."""
    return any(isinstance(value, tuple) and len(set(value)) > 1 for value in probe.options.values())


def one_image(compared: Likeness) -> Likeness | None:
    """The likeness with one image in every case; None where no case allows that."""
    pair = compared.pair.for_one_image()
    return None if pair is None else replace(compared, pair=pair)
