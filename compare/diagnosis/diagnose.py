"""Point at any from-scratch layer, and read which tensor is wrong, where first, and what they did."""

from __future__ import annotations

import functools
import itertools
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from compare.diagnosis.coverage import Refusal, kinds_of
from compare.diagnosis.driving import signatures, vocabulary
from compare.diagnosis.driving.candidate import name_of, source_of
from compare.diagnosis.driving.driver import Driver, Methods
from compare.diagnosis.driving.evidence import input_shape_of
from compare.diagnosis.driving.interface import Interface
from compare.diagnosis.driving.layouts import batch_in_words
from compare.diagnosis.driving.readings import NotJudgedError, Read, Reader, Reading, pairs_of, takes_pairs
from compare.diagnosis.driving.sandbox import Limits, Session
from compare.diagnosis.examine import examine
from compare.diagnosis.fitting import ONE_NUMBER, Fitter
from compare.diagnosis.likeness import Likeness, defaults_of, likeness, one_image
from compare.diagnosis.training_step import with_step
from compare.diagnosis.trial import try_probe
from compare.diagnosis.verdict import Alternative, Diagnosis
from compare.machine.conditions import direct_convolutions, equal_threads
from compare.machine.errors import UserError
from compare.pairs.probe import Probe
from scratch import Module, Optimizer

ALTERNATIVES = 2  # so many readings under which it is right are looked for


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
    weights and gradients by what they are called, the order of the axes by shapes and by what the code says. A reading
    is never chosen because the numbers then agree. `outcome` is "right", "wrong" or "not_judged".

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
        UserError: if `like` is unknown, the file is not there, or something that is said about the code is not so.
    """
    interface = Interface(
        forward, backward, dict(parameters or {}), dict(gradients or {}), layout, output_layout, output_from, targets
    )
    compared = likeness(like, input_shape)
    source, limits, name = source_of(candidate), Limits(seconds, memory), name_of(candidate)
    with equal_threads(1), direct_convolutions(), Session(limits) as session:
        session.meanwhile = compared.pair.prepared(compared.pair.examined(seed))
        session.serve("look", lambda: _look(source()))
        _serve(session, Driver(source, compared))
        seen = session("look")
        remarks = () if session.isolated else ("it runs in this process, without limits: there is no fork here",)
        if seen.value is None:  # the file cannot be imported, or has no such thing
            missing = seen.error == "TargetError"  # which says itself where it was looked for
            problem = seen.problem.partition("Error: ")[2] if missing else f"{name}: {seen.problem}"
            return _not_judged(name, compared, problem, (*remarks, *seen.notes))
        ours, own_shape, arguments = seen.value
        gap = ""
        if own_shape and input_shape is None and compared.pair.fixed and not ours:
            compared = _for_its_size(like, own_shape) or compared
            _serve(session, Driver(source, compared))
            gap = f"inputs of other sizes than {'x'.join(map(str, own_shape))}, which it is made for"
        if ours:
            compared = (one_image(compared) if interface.one_at_a_time else None) or compared
            probes = list(compared.pair.examined(seed))
            answer = functools.partial(session, "drive", interface)
            result = examine(compared, name, answer, probes, with_example=with_example)
        else:
            try:
                asked = functools.partial(_judged, session, compared, interface, name=name, seed=seed)
                result = asked(gap=gap, arguments=() if compared.pair.fixed else arguments, with_example=with_example)
            except NotJudgedError as why:
                return _not_judged(name, compared, str(why), remarks)
    return replace(result, remarks=(*remarks, *result.remarks))


def _not_judged(name: str, compared: Likeness, problem: str, remarks: tuple[str, ...]) -> Diagnosis:
    return Diagnosis(name, compared.pair.name, (), (), None, (), remarks, problem)


def _serve(session: Session, driver: Driver) -> None:
    for function in (driver.drive, driver.construct, driver.claims, driver.methods, driver.step):
        session.serve(function.__name__, function)


def _for_its_size(like: Any, own_shape: tuple[int, ...]) -> Likeness | None:
    """The likeness with inputs of the size that an object was made for, channels first or last; None if none fits."""
    *sides, channels = own_shape
    for shape in (own_shape, (channels, *sides), (1, *own_shape)):
        try:
            return likeness(like, shape)
        except UserError:
            continue
    return None


def _look(subject: Any) -> tuple[bool, tuple[int, ...], tuple[str, ...]]:
    """Whether it follows our own interface; the shape of one input, if an object keeps it; the arguments it takes."""
    made = subject() if isinstance(subject, functools.partial) else subject
    called = made[0] if isinstance(made, tuple) else made
    arguments = signatures.argument_names(called) if callable(called) else []
    return _is_ours(made), () if isinstance(made, type) else input_shape_of(made), tuple(arguments)


def _is_ours(subject: Any) -> bool:
    """Whether it follows the interface of `scratch`, and is held to all of its conventions."""
    kind = subject if isinstance(subject, type) else type(subject)
    return issubclass(kind, Module | Optimizer)


def _judged(
    session: Session,
    compared: Likeness,
    interface: Interface,
    *,
    name: str,
    seed: int,
    gap: str,
    arguments: Sequence[str],
    with_example: bool,
) -> Diagnosis:
    """The verdict on code that was not written for this.

    Args:
        gap: what is known not to be compared, in words.
        arguments: those of the constructor or function.

    Raises:
        NotJudgedError: if it cannot be driven at all.
        UserError: if something that was said about it is not so.
    """
    reader = Reader(session, name, seed)
    interface = interface.for_parameters(compared.axes(next(compared.pair.examined(seed)).state))
    read = reader.read(compared, interface)
    gaps = [words for words in (read.assumed, gap, _not_understood(read.reading, arguments)) if words]
    judge = functools.partial(_examined, session, read=read, gaps=gaps, name=name, seed=seed, arguments=arguments)
    result = judge(read.reading, with_example=with_example)
    if result.outcome == "right":
        has = _methods(session, read.reading, seed)
        return with_step(session, read.reading, has, _remarked(result, has), seed)
    moved = any(trial.probe.calls and not trial.fatal for trial in result.trials)
    if result.outcome == "wrong" and moved:
        breaks = all(trial.got is None for trial in result.trials if "batches" in kinds_of(trial.probe, {}))
        others = reader.other_readings(read, compared, interface, one=breaks)
        found = itertools.islice(_alternatives(session, read.reading, others, judge, seed), ALTERNATIVES)
        result = replace(result, alternatives=tuple(found))
    return result


def _not_understood(reading: Reading, arguments: Sequence[str]) -> str:
    """The arguments that may mean an option of which the code is taken to have one value only; empty if none may."""
    pair = reading.compared.pair
    own = [option for option in reading.interface.built_in if pair.about[option].usual]
    known = {*pair.about, *defaults_of(pair)}
    unknown = [name for name in arguments if vocabulary.option_of(name, known) is None]
    return f"{', '.join(unknown)} (not understood; is it {own[0]}?)" if own and unknown else ""


def _methods(session: Session, reading: Reading, seed: int) -> Methods:
    """What the code has beside its forward and backward; of an optimizer nothing is looked for."""
    first = next(reading.compared.pair.examined(seed))
    found = session("methods", reading.interface, first).value if first.calls else None
    return found or Methods()


def _remarked(result: Diagnosis, has: Methods) -> Diagnosis:
    """The verdict with what else is known of the code."""
    adds, overwrites = has.adds
    remarks = list(has.defaults)
    if adds and overwrites:
        remarks.append(
            f"a second backward adds to {', '.join(adds)} and overwrites {', '.join(overwrites)}: "
            f"{', '.join(adds)} must be set to zero before each"
        )
    gaps = (f"{', '.join(has.updates)} (not run)",) if has.updates else ()
    covered = replace(result.coverage, gaps=(*result.coverage.gaps, *gaps))
    return replace(result, remarks=(*result.remarks, *remarks), coverage=covered)


def _examined(
    session: Session,
    reading: Reading,
    *,
    read: Read,
    gaps: Sequence[str],
    name: str,
    seed: int,
    arguments: Sequence[str],
    with_example: bool,
) -> Diagnosis:
    """The verdict under one reading."""
    pair, interface = reading.compared.pair, reading.interface
    probes, refusals, remarks = list(pair.examined(seed)), list[Refusal](), list(read.remarks)
    if not takes_pairs(session, reading.compared, interface, probes):
        fitter = Fitter(pair, defaults_of(pair))
        refusals = [
            Refusal(probe, "two sizes", pairs_of(probe), tuple(pair.expected(probe)))
            for probe in probes
            if pairs_of(probe)
        ]
        redrawn = (_with_one_number(fitter, probe) if pairs_of(probe) else probe for probe in probes)
        probes = list({(p.case, p.dtype): p for p in redrawn if p is not None}.values())
        remarks.append("it takes one number for both sides")
    probes = [pair.without_conventions(probe) for probe in probes]
    session.meanwhile = pair.prepared(probes)
    layout = batch_in_words(interface.layout, probes[0].calls[0].inputs[0].ndim) if probes[0].calls else ""
    result = examine(
        reading.compared,
        name,
        functools.partial(session, "drive", interface),
        probes,
        lenient=True,
        with_example=with_example,
        one_image=interface.one_at_a_time,
        layout=layout,
        gaps=gaps,
        refusals=refusals,
        arguments=arguments,
    )
    return replace(result, remarks=(*remarks, *result.remarks))


def _with_one_number(fitter: Fitter, probe: Probe) -> Probe | None:
    """The probe with one number in place of two; None where torch takes neither."""
    return next((redrawn for fit in ONE_NUMBER if (redrawn := fitter.redrawn(probe, fit)) is not None), None)


def _alternatives(
    session: Session, natural: Reading, others: Iterator[Reading], judge: Callable[..., Diagnosis], seed: int
) -> Iterator[Alternative]:
    """Those of the other readings under which `judge` finds the code right."""
    for other in others:
        first = next(other.compared.pair.examined(seed))
        trial = try_probe(
            other.compared.pair, first, functools.partial(session, "drive", other.interface), lenient=True
        )
        if trial.got is not None and not trial.ok:
            continue
        if judge(other, with_example=False).ok:
            yield _alternative(natural, other, first.calls[0].inputs[0].ndim)
            if other.interface.one_at_a_time:
                return  # the rest differ in axes of length 1


def _alternative(natural: Reading, other: Reading, axes: int) -> Alternative:
    """How to say that another reading is meant."""
    option: dict[str, Any] = {}
    judged, words, flags = list[str](), list[str](), list[str]()
    for what in ("layout", "output_layout", "targets"):
        given = getattr(other.interface, what)
        if given != getattr(natural.interface, what) and given:
            option[what] = given
            flags.append(f"--{what.replace('_', '-')} {given}")
    if "layout" in option:
        judged.append(batch_in_words(natural.interface.layout, axes))
        words.append(batch_in_words(other.interface.layout, axes))
    if "targets" in option:
        judged.append("targets as classes")
        words.append("one-hot targets")
    for weight, layout in other.interface.weight_layouts.items():
        if natural.interface.weight_layouts.get(weight) == layout:
            continue
        path = re.sub(r"^arguments\['(\w+)'\]$", r"\1", dict(other.weights).get(weight, weight))
        option.setdefault("parameters", {})[path] = f"{weight}:{layout}"
        flags.append(f"--param {shlex.quote(f'{path}={weight}:{layout}')}")
        judged.append(f"{weight} in torch's order")
        words.append(f"{weight} as {layout}")
    return Alternative(" and ".join(judged), " and ".join(words), option, " ".join(flags), other.against)
