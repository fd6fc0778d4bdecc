"""Point at any from-scratch layer, and read which tensor is wrong, where first, and what they did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from compare.diagnosis.driving.candidate import name_of, source_of
from compare.diagnosis.driving.driver import Driver
from compare.diagnosis.driving.interface import Interface
from compare.diagnosis.driving.resolve import has_pairs, one_image, resolve, takes_pairs
from compare.diagnosis.driving.sandbox import Limits, Session
from compare.diagnosis.examine import examine
from compare.diagnosis.likeness import Likeness, likeness
from compare.diagnosis.verdict import Diagnosis
from compare.machine.conditions import direct_convolutions, equal_threads
from compare.machine.errors import UserError
from compare.pairs.probe import Probe
from scratch import Module, Optimizer


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
        driver = Driver(source, compared)
        session.serve("drive", driver.drive)
        session.serve("construct", driver.construct)
        ours = session("strict")
        if ours.error in ("TargetError", "ModuleNotFoundError", "SyntaxError"):
            raise UserError(f"{name_of(candidate)}: {ours.problem.removeprefix('raised TargetError: ')}")
        if ours.value is None:
            return Diagnosis(name_of(candidate), compared.pair.name, (), (), None, (), ours.notes, ours.problem)
        remarks = [] if session.isolated else ["it runs in this process, without limits: there is no fork here"]
        if ours.value:
            compared = _with_as_many_images(compared, interface)
            probes = list(compared.pair.examined(seed))
        else:
            compared, interface, probes, found = _found_out(session, compared, interface, name_of(candidate), seed)
            remarks += found
        result = examine(
            compared,
            name_of(candidate),
            lambda probe: session("drive", interface, probe),
            probes,
            lenient=not ours.value,
            with_example=with_example,
            one_image=interface.one_at_a_time,
        )
    return replace(result, remarks=(*remarks, *result.remarks))


def _is_ours(subject: Any) -> bool:
    """Whether it follows the interface of `scratch`, and is held to all of its conventions."""
    kind = subject if isinstance(subject, type) else type(subject)
    return issubclass(kind, Module | Optimizer)


def _found_out(
    session: Session, compared: Likeness, interface: Interface, name: str, seed: int
) -> tuple[Likeness, Interface, list[Probe], list[str]]:
    """How code that was not written for this wants to be driven: as what, how, on which probes; and what to remark."""
    state = next(compared.pair.examined(seed)).state
    interface = interface.for_parameters(compared.axes(state))
    compared, interface, remarks = resolve(session, compared, interface, name, seed)
    compared = _with_as_many_images(compared, interface)
    probes = list(compared.pair.examined(seed))
    if not takes_pairs(session, compared, interface, probes):
        probes = [probe for probe in probes if not has_pairs(probe)]
        remarks.append("it takes one number for both sides: sizes that differ were left out")
    return compared, interface, [compared.pair.without_conventions(probe) for probe in probes], remarks


def _with_as_many_images(compared: Likeness, interface: Interface) -> Likeness:
    """The likeness with as many images in each case as the code takes at a time."""
    return (one_image(compared) or compared) if interface.one_at_a_time else compared
