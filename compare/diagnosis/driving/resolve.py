"""Finding out how somebody's code wants to be driven: the orders of axes, one image at a time, sizes as pairs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np

from compare.diagnosis.driving import making
from compare.diagnosis.driving.interface import TARGETS, Interface
from compare.diagnosis.driving.sandbox import Outcome, Session
from compare.diagnosis.examine import probes_of
from compare.diagnosis.likeness import Likeness, defaults_of, only_with, takes
from compare.machine.errors import UserError
from compare.pairs.observe import Tensors
from compare.pairs.probe import Probe, expected
from compare.pairs.registry import Case, LayerPair, OptimizerPair

IMAGE_LAYOUTS = (("", ""), ("NHWC", ""), ("CHW", ""), ("HWC", ""), ("HW", "HWC"), ("HW", "CHW"), ("HW", "HW"))

ROW_LAYOUTS = (("", ""), ("F", ""), ("FN", ""))

WEIGHT_LAYOUTS = {4: ("", "HWIO", "OHWI", "IOHW", "HWOI", "OHW", "HWO"), 2: ("", "IO")}


def resolve(
    session: Session, compared: Likeness, interface: Interface, name: str, seed: int
) -> tuple[Likeness, Interface, list[str]]:
    """Find out how the candidate wants to be driven: the first way that gives the right output, else the right shape.

    Raises:
        UserError: if none can be driven at all.
    """
    if isinstance(compared.pair, OptimizerPair):
        outcome = session("drive", interface, next(probes_of(compared, seed)))
        if outcome.error == "UndrivableError":
            raise _undrivable(name, outcome)
        return compared, interface, []
    tried = [compared]
    if isinstance(compared.pair, LayerPair) and "bias" in defaults_of(compared.pair):
        tried.append(only_with(compared, "bias", False))
    undrivable: Outcome | None = None
    for number, chosen in enumerate(tried):
        try:
            found, failed = _first_fitting(session, chosen, interface, name, seed)
        except UserError:
            if undrivable is None:
                raise
            break  # what was found out first says more
        if found is not None:
            remarks = [] if found == interface else [_in_words(found, interface)]
            if number:
                remarks.append("it has no bias: compared without one")
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
        if isinstance(alone.pair, LayerPair) and not alone.pair.cases:
            return None
        return _first_supported(session, alone, interface, name, seed)

    together = _first_supported(session, compared, interface, name, seed)
    for variant in _variants(interface, together):
        probe = one_alone() if variant.one_at_a_time else together
        if probe is not None:
            yield variant, probe


def _first_supported(session: Session, compared: Likeness, interface: Interface, name: str, seed: int) -> Probe:
    """The first probe with options that the candidate takes. Raises UserError if it takes none."""
    tried: set[str] = set()
    refused = ""
    for probe in probes_of(compared, seed):
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
    right = expected(compared.pair, probe, got)
    name = next(name for name in right if name.startswith(("output", "logits")))
    if name not in got or got[name].shape != right[name].shape:
        return 1
    scale = np.abs(right[name]).max(initial=0)
    with np.errstate(all="ignore"):
        close = bool((np.abs(got[name].astype(np.float64) - right[name]) <= 1e-4 * scale).all())
    return 3 if close else 2


def _variants(interface: Interface, probe: Probe) -> Iterator[Interface]:
    """The interface as it is, then with other orders of axes wherever none was given."""
    first = probe.calls[0].inputs[0]
    layouts: tuple[tuple[str, str], ...] = IMAGE_LAYOUTS if first.ndim == 4 else ROW_LAYOUTS
    if interface.layout or interface.output_layout:
        layouts = ((interface.layout, interface.output_layout),)
    kinds = sorted({array.ndim for array in probe.state.values() if array.ndim in WEIGHT_LAYOUTS})
    targets = TARGETS if len(probe.calls[0].inputs) > 1 and not interface.targets else (interface.targets,)
    ways: list[dict[int, str]] = [{}]
    for ndim in kinds:
        ways = [way | {ndim: layout} for layout in WEIGHT_LAYOUTS[ndim] for way in ways]
    for layout, output_layout in layouts:
        for way in ways:
            for target, single in itertools.product(targets, (False, True) if layout == "FN" else (False,)):
                yield replace(
                    interface,
                    layout=layout,
                    output_layout=output_layout,
                    targets=target,
                    single=single or interface.single,
                    weight_layouts={name: way[a.ndim] for name, a in probe.state.items() if way.get(a.ndim)},
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
    equal = [p for p in probes if set(making.PAIRED) & p.options.keys() and not has_pairs(p)]
    if compared.fixed or not equal or not any(has_pairs(probe) for probe in probes):
        return True
    for probe in equal:
        one = session("drive", interface, probe)
        if one.value is not None:
            return session("drive", replace(interface, pairs=True), probe).value is not None
    return True


def has_pairs(probe: Probe) -> bool:
    """Whether an option has two different sizes."""
    return any(isinstance(value, tuple) and len(set(value)) > 1 for value in probe.options.values())


def one_image(compared: Likeness) -> Likeness:
    """The likeness with one image in every case."""
    pair = compared.pair
    if not isinstance(pair, LayerPair):
        return compared
    cases: dict[str, Case] = {}
    for case in pair.cases:
        single = replace(case, shape=(1, *case.shape[1:]))
        if takes(pair.torch(**case.options), single.shape):  # batch normalisation needs two values or more
            cases.setdefault(single.name, single)
    return replace(compared, pair=replace(pair, cases=tuple(cases.values())))
