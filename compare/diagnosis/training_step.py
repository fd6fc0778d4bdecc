"""The training step of somebody's network, held against torch's: the loss of the classes, backward, and plain SGD."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from compare.contained.session import Session
from compare.diagnosis.explaining.replay import Finding, name_mistakes
from compare.diagnosis.likeness import Likeness
from compare.diagnosis.readings import Reading
from compare.diagnosis.trial import Trial, kind_of, try_probe
from compare.diagnosis.verdict import Diagnosis
from compare.diagnosis.with_loss import with_loss
from compare.driving.driver import Methods
from compare.driving.interface import TARGETS
from compare.pairs.probe import Probe

STEP = "training step"


def with_step(session: Session, reading: Reading, has: Methods, result: Diagnosis, seed: int) -> Diagnosis:
    """The verdict on a right network and its training step, if it has one: a network is as right as its step.

    A step whose weights change by a multiple of what SGD gives, all by the same, is wrong: it climbs, or divides by the
    batch twice. One that changes them otherwise may be of another loss or optimizer, and is not judged.
    """
    if has.loss and not any("grad" in tensor for tensor in result.coverage.shares) and result.missing:
        return replace(result, problem=f"the gradients of {has.loss}(x, y) were not compared: give it a backward")
    method = has.step or has.loop
    if not method:
        return result
    if has.loop and any("grad" in tensor for tensor in result.coverage.shares):
        stepped = _stepped(session, reading, method, result, seed)
        if not stepped.problem:
            return stepped
        gaps = (*result.coverage.gaps, f"{method} (not run)")  # it may do more than steps; the gradients were compared
        return replace(result, coverage=replace(result.coverage, gaps=gaps))
    return _stepped(session, reading, method, result, seed)


def _stepped(session: Session, reading: Reading, method: str, result: Diagnosis, seed: int) -> Diagnosis:
    """The verdict with that on the training step."""
    trained = with_loss(reading.compared)
    if trained is None:
        return _not_run(result, method, "it is compared with what gives no scores (N, K), or with a name")
    trials = _tried(session, reading, trained, seed)
    if any(trial.got is None for trial in trials):
        return _not_run(result, method, next(trial.problem for trial in trials if trial.got is None))
    if all(trial.ok for trial in trials):
        shares = {**result.coverage.shares, STEP: 1.0}
        return replace(
            result,
            trials=(*result.trials, *map(_as_one, trials)),
            coverage=replace(result.coverage, shares=shares, inputs=result.coverage.inputs + len(trials)),
        )
    findings = name_mistakes(trained, trials)
    scaled = findings[0].name in ("factor", "factor-varying") and _told(trials) <= set(findings[0].kinds)
    if len(findings) > 1 or not scaled:
        problem = f"the weights change otherwise than by cross-entropy and SGD ({findings[0].made.rstrip('.')})"
        return replace(result, problem=f"its training step, {method}, is not known: {problem}")
    made = f"{method} changes every weight by a multiple of what SGD gives: {findings[0].made}"
    hint = f"Take one step of {method} with a small learning rate: does the loss fall, and by how much?"
    finding = Finding((STEP,), "", "training-step-scaled", False, made, hint, findings[0].evidence)
    return replace(result, trials=(*result.trials, *map(_as_one, trials)), findings=(finding,))


def _tried(session: Session, reading: Reading, trained: Likeness, seed: int) -> Sequence[Trial]:
    """The step on some batches, with classes as whole numbers, or as one-hot rows where it breaks on those.

    On the first it is taken twice, so that it shows what it keeps of the step before.
    """
    trials: list[Trial] = []
    for targets in TARGETS:
        interface = replace(reading.interface, targets=targets)
        probes = [_from_the_loss(probe) for probe in trained.pair.probes("float64", seed)]
        probes.append(replace(probes[0], case=f"{probes[0].case}, 2 calls", calls=probes[0].calls * 2))
        session.meanwhile = trained.pair.prepared(probes)
        answer = functools.partial(session, "step", interface)
        trials = [_weights_only(try_probe(trained.pair, probe, answer, lenient=True)) for probe in probes]
        if all(trial.got is not None for trial in trials):
            break
    return trials


def _from_the_loss(probe: Probe) -> Probe:
    """The probe with an upstream gradient of 1: a step starts from the loss itself."""
    calls = tuple(replace(call, grad_output=np.ones((), call.grad_output.dtype)) for call in probe.calls)
    return replace(probe, calls=calls)


def _weights_only(trial: Trial) -> Trial:
    """The trial without what the step returns and leaves: only what becomes of the weights is looked at."""
    if trial.got is None:
        return trial
    expected = {name: array for name, array in trial.expected.items() if name in trial.got}
    return replace(
        trial, expected=expected, rows=tuple(row for row in trial.rows if row.tensor in expected), missing=()
    )


def _told(trials: Sequence[Trial]) -> set[str]:
    """The changes of weights that would be wrong if they were none at all."""
    return {
        kind_of(name)
        for trial in trials
        for name, expected in trial.expected.items()
        if (np.abs(expected) > trial.bounds[name]).any()
    }


def _not_run(result: Diagnosis, method: str, why: str) -> Diagnosis:
    return replace(
        result, problem=f"the training step, {method}, was not run: {why.removeprefix('raised UndrivableError: ')}"
    )


def _as_one(trial: Trial) -> Trial:
    """The trial with the changes of all weights under one name."""
    return replace(trial, rows=tuple(replace(row, tensor=STEP) for row in trial.rows))
