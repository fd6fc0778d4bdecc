"""Point at any from-scratch layer, and read which tensor is wrong, where first, and what they did."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from compare.conditions import direct_convolutions, equal_threads
from compare.diagnosis import calling
from compare.diagnosis.adapter import Adapted, adapt
from compare.diagnosis.examine import Answer, examine, probes_of
from compare.diagnosis.interface import TARGETS, Interface
from compare.diagnosis.isolation import Limits, Outcome, Session, random_state_kept
from compare.diagnosis.layouts import WEIGHTS, LayoutError, to_own
from compare.diagnosis.likeness import Likeness, defaults_of, likeness, only_with, takes
from compare.diagnosis.optimizers import AdaptedOptimizer, adapt_optimizer
from compare.diagnosis.target import Source, name_of, source_of
from compare.diagnosis.trial import Driven
from compare.diagnosis.verdict import Diagnosis
from compare.errors import UserError
from compare.observe import Tensors
from compare.pairs import Case, LayerPair, OptimizerPair
from compare.verify.probe import Probe, drive, expected
from scratch import Module, Optimizer, Parameter

IMAGE_LAYOUTS = (("", ""), ("NHWC", ""), ("CHW", ""), ("HWC", ""), ("HW", "HWC"), ("HW", "CHW"), ("HW", "HW"))
ROW_LAYOUTS = (("", ""), ("F", ""), ("FN", ""))
WEIGHT_LAYOUTS = {4: ("", "HWIO", "OHWI", "IOHW", "HWOI", "OHW", "HWO"), 2: ("", "IO")}


def diagnose(
    candidate: Any,
    *,
    like: Any,
    forward: str = "",
    backward: str = "",
    parameters: Mapping[str, str] | None = None,
    gradients: Mapping[str, str] | None = None,
    layout: str = "",
    output_layout: str = "",
    output_from: str = "",
    targets: str = "",
    input_shape: tuple[int, ...] | None = None,
    seconds: float = Limits.seconds,
    memory: int = Limits.memory,
    seed: int = 0,
    with_example: bool = True,
) -> Diagnosis:
    """Compare anybody's layer, loss, activation, optimizer or model with what it should be, and name its mistakes.

    It needs no base class, and runs in a process of its own. What is not said is found out: the names of methods,
    weights and gradients, the order of the axes, whether it takes one image at a time.

    Args:
        candidate: a class or a function that makes the object (it gets torch's options under its own names), an object,
            a pair of functions (forward, backward), or "FILE.py:Class".
        like: what it should be: a registered name ("conv2d") or a torch module, a `Sequential` too.
        forward, backward, parameters, gradients, layout, output_layout, output_from, targets: see
            `compare.diagnosis.interface.Interface`.
        input_shape: the shape of one input without the batch, where it cannot be found by trying.
        seconds, memory: the limits of one call, in seconds and MiB.
        seed: draws weights and inputs.
        with_example: whether to look for the smallest input that shows the first mistake.

    Raises:
        UserError: if `like` is unknown, or it cannot be told how to drive the candidate; the message says what to add.
    """
    interface = Interface(
        forward, backward, dict(parameters or {}), dict(gradients or {}), layout, output_layout, output_from, targets
    )
    compared = likeness(like, input_shape)
    source, limits = source_of(candidate), Limits(seconds, memory)
    with equal_threads(1), direct_convolutions(), Session(limits) as session:
        session.serve("strict", lambda: _is_ours(source()))
        session.serve("drive", _driver(source, compared))
        session.serve("construct", _constructor(source, compared))
        ours = session("strict")
        if ours.error in ("TargetError", "ModuleNotFoundError", "SyntaxError"):
            raise UserError(f"{name_of(candidate)}: {ours.problem.removeprefix('raised TargetError: ')}")
        if ours.value is None:
            return Diagnosis(name_of(candidate), compared.pair.name, (), (), None, (), ours.notes, ours.problem)
        remarks: list[str] = (
            [] if session.isolated else ["it runs in this process, without limits: there is no fork here"]
        )
        if not ours.value:
            compared, interface, found = _resolve(session, compared, interface, name_of(candidate), seed)
            remarks += found
        one_image = interface.one_at_a_time
        if one_image:
            compared = _one_image(compared)
        probes = probes_of(compared, seed)
        if not ours.value and not _takes_pairs(session, compared, interface, probes):
            probes = [probe for probe in probes if not _has_pairs(probe)]
            remarks.append("it takes one number for both sides: sizes that differ were left out")
        if not ours.value and isinstance(compared.pair, OptimizerPair):
            probes = [_always_with_gradients(probe) for probe in probes]
        result = examine(
            compared,
            name_of(candidate),
            _answer(session, interface),
            probes,
            lenient=not ours.value,
            with_example=with_example,
            one_image=one_image,
        )
    return replace(result, remarks=(*remarks, *result.remarks))


def _is_ours(subject: Any) -> bool:
    """Whether it follows the interface of `scratch`, and is held to all of its conventions."""
    kind = subject if isinstance(subject, type) else type(subject)
    return issubclass(kind, Module | Optimizer)


def _driver(source: Source, compared: Likeness) -> Callable[[Interface, Probe], Driven]:
    """What runs in the candidate's process: make it, and drive it with a probe."""
    pair, defaults, making = compared.pair, defaults_of(compared.pair), _making(compared)
    buffers = _buffers(compared)

    def run(interface: Interface, probe: Probe) -> Driven:
        if isinstance(pair, OptimizerPair):
            made: list[Any] = []

            def make(held: list[Parameter], **options: Any) -> Any:
                made.append(adapt_optimizer(source(), held, calling.Making(options, defaults, probe.dtype)))
                return made[-1]

            tensors = drive(pair, make, probe)
            if isinstance(made[-1], AdaptedOptimizer) and made[-1].functions is not None:
                made[-1].functions.require_read(calling.Making(probe.options, defaults, probe.dtype))
            return Driven(_plain(tensors))
        with random_state_kept():  # weights are drawn in a constructor: nothing to remark upon
            subject = calling.construct(source(), making(interface, probe))
        module = adapt(subject, interface, probe.state, buffers, probe.dtype)
        tensors = drive(pair, lambda **_: module, probe)
        recovered = module.recovered if isinstance(module, Adapted) else set()
        exact = module.exact if isinstance(module, Adapted) else set()
        if isinstance(subject, calling.Functions):
            subject.require_read(making(interface, probe))
        for name in recovered:  # weights that it updates itself are not meant to stay as they were
            tensors.pop(f"{name} after use", None)
        return Driven(_plain(tensors), tuple(recovered), tuple(recovered - exact))

    return run


def _constructor(source: Source, compared: Likeness) -> Callable[[Interface, Probe], None]:
    """What tries in the candidate's process whether it takes the options of a probe."""
    making = _making(compared)

    def run(interface: Interface, probe: Probe) -> None:
        with random_state_kept():
            calling.construct(source(), making(interface, probe))

    return run


def _making(compared: Likeness) -> Callable[[Interface, Probe], calling.Making]:
    """What an object is made with for a probe."""
    defaults = defaults_of(compared.pair)

    def making(interface: Interface, probe: Probe) -> calling.Making:
        weights = {}
        for name, array in probe.state.items():
            with suppress(LayoutError):
                canonical = WEIGHTS.get(array.ndim, "")
                weights[name.rpartition(".")[2]] = to_own(array, canonical, interface.layout_of(name) or canonical)
        return calling.Making(
            {**compared.hints, **probe.options}, defaults, probe.dtype, weights, compared.fixed, interface.pairs
        )

    return making


def _buffers(compared: Likeness) -> frozenset[str]:
    pair = compared.pair
    if isinstance(pair, OptimizerPair):
        return frozenset()
    options = pair.cases[0].options if isinstance(pair, LayerPair) else {}
    return frozenset(name for name, _ in pair.torch(**options).named_buffers())


def _plain(tensors: Tensors) -> Tensors:
    """Arrays of NumPy itself, whatever class theirs are of."""
    return {name: np.array(array, order="C") for name, array in tensors.items()}


def _answer(session: Session, interface: Interface) -> Answer:
    return lambda probe: session("drive", interface, probe)


def _resolve(
    session: Session, compared: Likeness, interface: Interface, name: str, seed: int
) -> tuple[Likeness, Interface, list[str]]:
    """Find out how the candidate wants to be driven: the first way that gives the right output, else the right shape.

    Raises:
        UserError: if none can be driven at all.
    """
    if isinstance(compared.pair, OptimizerPair):
        outcome = session("drive", interface, probes_of(compared, seed)[0])
        if outcome.error == "UndrivableError":
            raise _undrivable(name, outcome)
        return compared, interface, []
    tried = [compared]
    if isinstance(compared.pair, LayerPair) and "bias" in defaults_of(compared.pair):
        tried.append(only_with(compared, "bias", False))
    undrivable: Outcome | None = None
    for number, chosen in enumerate(tried):
        found, failed = _first_fitting(session, chosen, interface, name, seed)
        if found is not None:
            remarks = [] if found == interface else [_in_words(found, interface)]
            if number:
                remarks.append("it has no bias: compared without one")
            return chosen, found, [remark for remark in remarks if remark]
        undrivable = undrivable or failed
    assert undrivable is not None
    raise _undrivable(name, undrivable)


def _undrivable(name: str, outcome: Outcome) -> UserError:
    text = outcome.problem.removeprefix("raised UndrivableError: ")
    return UserError(text if text.startswith(name) else f"{name}: {text}")


def _first_fitting(
    session: Session, compared: Likeness, interface: Interface, name: str, seed: int
) -> tuple[Interface | None, Outcome | None]:
    best: tuple[int, Interface | None] = (0, None)
    undrivable: Outcome | None = None
    batch = _first_supported(session, compared, interface, name, seed)
    single = _first_supported(session, _one_image(compared), interface, name, seed)
    for variant in _variants(interface, batch):
        probe = single if variant.one_at_a_time else batch
        outcome = session("drive", variant, probe)
        if outcome.fatal:
            return variant, None
        if outcome.error in ("UndrivableError", "LayoutError"):
            undrivable = outcome if undrivable is None or undrivable.error == "LayoutError" else undrivable
            continue
        score = _score(compared, probe, outcome)
        if score == 3:
            return variant, None
        if score > best[0]:
            best = score, variant
    return best[1], undrivable


def _first_supported(session: Session, compared: Likeness, interface: Interface, name: str, seed: int) -> Probe:
    """The first probe with options that the candidate takes. Raises UserError if it takes none."""
    probes = probes_of(compared, seed)
    tried: set[str] = set()
    refused = ""
    for probe in probes:
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


def _takes_pairs(session: Session, compared: Likeness, interface: Interface, probes: list[Probe]) -> bool:
    """Whether (2, 2) does the same as 2; where no size differs from the other, or 2 does not work either, it may."""
    equal = [p for p in probes if set(calling.PAIRED) & p.options.keys() and not _has_pairs(p)]
    if compared.fixed or not equal or not any(_has_pairs(probe) for probe in probes):
        return True
    for probe in equal:
        one = session("drive", interface, probe)
        if one.value is not None:
            return session("drive", replace(interface, pairs=True), probe).value is not None
    return True


def _has_pairs(probe: Probe) -> bool:
    """Whether an option has two different sizes."""
    return any(isinstance(value, tuple) and len(set(value)) > 1 for value in probe.options.values())


def _one_image(compared: Likeness) -> Likeness:
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


def _always_with_gradients(probe: Probe) -> Probe:
    """The probe without the parameters that lack a gradient in some step: what becomes of them is a convention."""
    everywhere = set.intersection(*(set(step) for step in probe.gradients))
    return replace(
        probe,
        state={name: array for name, array in probe.state.items() if name in everywhere},
        gradients=tuple({name: step[name] for name in everywhere} for step in probe.gradients),
    )
