"""Point at any from-scratch layer, and read which tensor is wrong, where first, and what they did."""

from __future__ import annotations

import functools
import itertools
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from compare.contained.session import Limits, Session
from compare.diagnosis.coverage import Refusal, kinds_of
from compare.diagnosis.examine import examine
from compare.diagnosis.fitting import ONE_NUMBER, Fitter
from compare.diagnosis.likeness import Likeness, defaults_of, likeness, one_image
from compare.diagnosis.readings import NotJudgedError, Read, Reader, Reading, pairs_of, takes_pairs
from compare.diagnosis.training_step import with_step
from compare.diagnosis.trial import try_probe
from compare.diagnosis.verdict import Alternative, Diagnosis
from compare.driving import vocabulary
from compare.driving.answering import Outcome
from compare.driving.candidate import name_of
from compare.driving.driver import Methods
from compare.driving.interface import Interface
from compare.driving.layouts import batch_in_words
from compare.driving.noticing import MOST
from compare.driving.wire import listed
from compare.driving.worker import Look
from compare.machine.conditions import direct_convolutions, equal_threads
from compare.machine.errors import UserError
from compare.pairs.probe import Probe

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
    require_contained: bool = False,
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
            `compare.driving.interface.Interface`.
        input_shape: the shape of one input without the batch, where it cannot be found by trying.
        seconds, memory: the limits of one call, in seconds and MiB.
        seed: draws weights and inputs.
        with_example: whether to look for the smallest input that shows the first mistake.
        require_contained: whether to refuse where the system cannot contain the process.

    Raises:
        UserError: if `like` is unknown, the file is not there, something that is said about the code is not so, or it
            cannot be contained and has to be.
    """
    interface = Interface(
        forward, backward, dict(parameters or {}), dict(gradients or {}), layout, output_layout, output_from, targets
    )
    with Session(candidate, Limits(seconds, memory)) as session:
        return diagnosed(
            session, like, interface, input_shape, seed, with_example=with_example, require_contained=require_contained
        )


def diagnosed(
    session: Session,
    like: Any,
    interface: Interface,
    input_shape: tuple[int, ...] | None = None,
    seed: int = 0,
    *,
    with_example: bool = True,
    require_contained: bool = False,
) -> Diagnosis:
    """The verdict on the candidate of a session; arguments and errors as of `diagnose`."""
    compared, name = likeness(like, input_shape), name_of(session.candidate)
    with equal_threads(1), direct_convolutions():
        session.meanwhile, session.task = compared.pair.prepared(compared.pair.examined(seed)), compared.task
        seen = session("look")
        if require_contained and not session.contained:
            raise UserError(
                f"{session.containment or seen.problem}; without --require-contained it is run all the same"
            )
        if seen.value is None:  # the file cannot be imported, or has no such thing
            missing = seen.error == "TargetError"  # which says itself where it was looked for
            problem = seen.problem.partition("Error: ")[2] if missing else f"{name}: {seen.problem}"
            result = _not_judged(name, compared, problem, seen.notes)
        else:
            try:
                result = _by_look(session, like, compared, interface, input_shape, seed, seen, with_example)
            except NotJudgedError as why:
                result = _not_judged(name, compared, str(why), ())
    noted = tuple(note for note in seen.notes if note not in result.remarks)
    remarks = (*session.remarks, *(noted if seen.value is not None else ()), *result.remarks)
    return replace(result, remarks=remarks, containment=session.containment, seed=seed)


def _by_look(
    session: Session,
    like: Any,
    compared: Likeness,
    interface: Interface,
    input_shape: tuple[int, ...] | None,
    seed: int,
    seen: Outcome,
    with_example: bool,
) -> Diagnosis:
    """The verdict on code of which is known what it is.

    Raises:
        NotJudgedError: if it cannot be driven at all.
        UserError: if something that was said about it is not so.
    """
    look: Look = seen.value
    name, gap = name_of(session.candidate), ""
    if look.shape and input_shape is None and compared.pair.fixed and not look.ours:
        compared = _for_its_size(like, look.shape) or compared
        session.task = compared.task
        gap = f"inputs of other sizes than {'x'.join(map(str, look.shape))}, which it is made for"
    if look.ours:
        compared = (one_image(compared) if interface.one_at_a_time else None) or compared
        probes = list(compared.pair.examined(seed))
        session.upcoming = probes
        answer = functools.partial(session, "drive", interface)
        return examine(compared, name, answer, probes, with_example=with_example)
    asked = functools.partial(_judged, session, compared, interface, name=name, seed=seed)
    return asked(gap=gap, arguments=() if compared.pair.fixed else look.arguments, with_example=with_example)


def _not_judged(name: str, compared: Likeness, problem: str, remarks: tuple[str, ...]) -> Diagnosis:
    return Diagnosis(name, compared.pair.name, (), (), None, (), remarks, problem)


def _for_its_size(like: Any, own_shape: tuple[int, ...]) -> Likeness | None:
    """The likeness with inputs of the size that an object was made for, channels first or last; None if none fits."""
    *sides, channels = own_shape
    for shape in (own_shape, (channels, *sides), (1, *own_shape)):
        try:
            return likeness(like, shape)
        except UserError:
            continue
    return None


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
    return f"{listed(unknown)} (not understood; is it {own[0]}?)" if own and unknown else ""


def _methods(session: Session, reading: Reading, seed: int) -> Methods:
    """What the code has beside its forward and backward; of an optimizer nothing is looked for."""
    first = next(reading.compared.pair.examined(seed))
    found = session("methods", reading.interface, first).value if first.calls else None
    return found or Methods()


def _remarked(result: Diagnosis, has: Methods) -> Diagnosis:
    """The verdict with what else is known of the code."""
    adds, overwrites = has.adds
    remarks = list(has.defaults[:MOST])
    if adds and overwrites:
        remarks.append(
            f"a second backward adds to {listed(adds)} and overwrites {listed(overwrites)}: "
            f"{listed(adds)} must be set to zero before each"
        )
    gaps = (f"{listed(has.updates)} (not run)",) if has.updates else ()
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
    session.meanwhile, session.upcoming = pair.prepared(probes), probes
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
