"""Point at any from-scratch layer, and read which tensor is wrong, where first, and what they did."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from compare.diagnosis.driving.adapter import Adapted, adapt
from compare.diagnosis.driving.candidate import Source, name_of, source_of
from compare.diagnosis.driving.interface import Interface
from compare.diagnosis.driving.layouts import WEIGHTS, LayoutError, to_own
from compare.diagnosis.driving.making import Functions, Making, construct
from compare.diagnosis.driving.optimizers import AdaptedOptimizer, adapt_optimizer
from compare.diagnosis.driving.resolve import has_pairs, one_image, resolve, takes_pairs
from compare.diagnosis.driving.sandbox import Limits, Session, random_state_kept
from compare.diagnosis.examine import Answer, examine, probes_of
from compare.diagnosis.likeness import Likeness, defaults_of, likeness
from compare.diagnosis.trial import Driven
from compare.diagnosis.verdict import Diagnosis
from compare.machine.conditions import direct_convolutions, equal_threads
from compare.machine.errors import UserError
from compare.pairs.observe import Tensors
from compare.pairs.probe import Probe, drive
from compare.pairs.registry import LayerPair, OptimizerPair
from scratch import Module, Optimizer, Parameter


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
            `compare.diagnosis.driving.interface.Interface`.
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
            state = next(probes_of(compared, seed)).state
            interface = interface.for_parameters({name: array.ndim for name, array in state.items()})
            compared, interface, found = resolve(session, compared, interface, name_of(candidate), seed)
            remarks += found
        single = interface.one_at_a_time
        if single:
            compared = one_image(compared)
        probes = list(probes_of(compared, seed))
        if not ours.value and not takes_pairs(session, compared, interface, probes):
            probes = [probe for probe in probes if not has_pairs(probe)]
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
            one_image=single,
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
                made.append(adapt_optimizer(source(), held, Making(options, defaults, probe.dtype)))
                return made[-1]

            tensors = drive(pair, make, probe)
            if isinstance(made[-1], AdaptedOptimizer) and made[-1].functions is not None:
                made[-1].functions.require_read(Making(probe.options, defaults, probe.dtype))
            return Driven(_plain(tensors))
        with random_state_kept():  # weights are drawn in a constructor: nothing to remark upon
            subject = construct(source(), making(interface, probe))
        module = adapt(subject, interface, probe.state, buffers, probe.dtype)
        tensors = drive(pair, lambda **_: module, probe)
        recovered = module.recovered if isinstance(module, Adapted) else set()
        exact = module.exact if isinstance(module, Adapted) else set()
        if isinstance(subject, Functions):
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
            construct(source(), making(interface, probe))

    return run


def _making(compared: Likeness) -> Callable[[Interface, Probe], Making]:
    """What an object is made with for a probe."""
    defaults = defaults_of(compared.pair)

    def making(interface: Interface, probe: Probe) -> Making:
        weights = {}
        for name, array in probe.state.items():
            with suppress(LayoutError):
                canonical = WEIGHTS.get(array.ndim, "")
                weights[name.rpartition(".")[2]] = to_own(array, canonical, interface.layout_of(name) or canonical)
        return Making(
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


def _always_with_gradients(probe: Probe) -> Probe:
    """The probe without the parameters that lack a gradient in some step: what becomes of them is a convention."""
    everywhere = set.intersection(*(set(step) for step in probe.gradients))
    return replace(
        probe,
        state={name: array for name, array in probe.state.items() if name in everywhere},
        gradients=tuple({name: step[name] for name in everywhere} for step in probe.gradients),
    )
