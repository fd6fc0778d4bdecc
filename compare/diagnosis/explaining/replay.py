"""What they did: every catalogued mistake is replayed on the inputs where the candidate went wrong.

What coincides with the candidate to rounding, in every tensor on every input, has its name. Several mistakes that touch
different tensors, or different layers, are found together. What no replay explains is described by its form
(`forms`), and never guessed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import scratch
from compare.diagnosis.coverage import kinds_of
from compare.diagnosis.explaining.forms import Evidence, recognise
from compare.diagnosis.likeness import Likeness
from compare.diagnosis.trial import Trial, in_order, kind_of
from compare.driving.calling import RATE
from compare.driving.tensors import SAME, Tensors
from compare.faults.catalogue import faults_of
from compare.faults.fault import Fault, plant
from compare.pairs.models import TrainingStep
from scratch import Array

FIRST = 4  # so many inputs decide which mistakes are replayed on all
RAISED = "all tensors"


@dataclass(frozen=True)
class Finding:
    """One mistake of a candidate.

    Attributes:
        kinds: the tensors that it makes wrong, in reading order.
        layer: the name of the layer that it is in, empty if there is only one.
        name: the catalogued name, or that of a form; empty if nothing fits.
        catalogued: whether a replay of a catalogued mistake coincides with it.
        made: what they did, one sentence; for what has no name, how the difference looks.
        hint: where to look, without the answer.
        evidence: what the finding rests on.
        also: other catalogued mistakes that cannot be told from it on these inputs.
    """

    kinds: tuple[str, ...]
    layer: str
    name: str
    catalogued: bool
    made: str
    hint: str
    evidence: str
    also: tuple[str, ...] = ()


@dataclass
class _Replayed:
    """A mistake in a layer (`part`) of the twin, and what it gives on each trial: tensors, or the error it raises.

    `affected` are the kinds of tensors that it changes, `matched` those that coincide with the candidate's;
    `same_words` says that its errors have the candidate's words.
    """

    part: str
    fault: Fault
    tensors: list[Tensors | str]
    affected: set[str]
    matched: set[str]
    same_words: bool

    def explains(self, present: set[str]) -> set[str]:
        """The kinds of tensors that it changes, if the candidate has them all just so; else nothing."""
        if RAISED in self.affected - self.matched:
            return set()
        changed = self.affected & present
        if changed == {RAISED} and not self.same_words:
            return set()
        return changed if changed and changed <= self.matched else set()


@np.errstate(all="ignore")  # NaN and infinity are compared too
def name_mistakes(likeness: Likeness, trials: Sequence[Trial]) -> list[Finding]:
    """The mistakes behind the wrong tensors of `trials`, first tensor first."""
    double = [trial for trial in trials if trial.probe.dtype == "float64"]
    judged = list(trials) if all(trial.ok for trial in double) else double
    wrong = set().union(*(trial.wrong() for trial in judged))
    present = wrong.union(*({kind_of(name) for name in trial.got or {}} for trial in judged))
    rate = _rate(judged)
    replayed = _replay_all(likeness, judged, rate) if likeness.build is not None else []
    chosen = _choose(replayed, present, wrong)
    explained = set().union(*(kinds for _, kinds in chosen))
    if wrong - explained and len(likeness.parts) > 1:
        chosen = _choose_two(likeness, judged, replayed, present, wrong, rate) or chosen
        explained = set().union(*(kinds for _, kinds in chosen))
    findings = [_finding(replay, kinds, judged, likeness, replayed) for replay, kinds in chosen]
    left = likeness.pair.described_together(in_order(wrong - explained))
    findings += [replace(_described(kinds[0], judged), kinds=kinds) for kinds in left]
    order = in_order(wrong)
    return sorted(_together(findings), key=lambda finding: order.index(finding.kinds[0]))


def _finding(
    replay: _Replayed, kinds: set[str], trials: Sequence[Trial], likeness: Likeness, replayed: Sequence[_Replayed]
) -> Finding:
    part, fault = replay.part, replay.fault
    layer = f"{part} ({likeness.parts[part].name})" if len(likeness.parts) > 1 else ""
    evidence = f"the catalogued mistake, replayed, coincides with it on {_inputs(len(trials))}"
    twins = tuple(other.fault.name for other in replayed if other is not replay and _identical(other, replay))
    return Finding(tuple(in_order(kinds)), layer, fault.name, True, fault.made, fault.hint, evidence, twins)


def _identical(a: _Replayed, b: _Replayed) -> bool:
    """Whether two mistakes cannot be told apart on these trials."""
    if a.affected != b.affected or len(a.tensors) != len(b.tensors):
        return False
    for x, y in zip(a.tensors, b.tensors, strict=True):
        if isinstance(x, str) or isinstance(y, str):
            if x != y:
                return False
        elif x.keys() != y.keys() or not all(_same(x[name], y[name], np.zeros(()), 1e-12) for name in x):
            return False
    return True


def _inputs(count: int) -> str:
    return f"all {count} inputs" if count > 1 else "the one input"


def _described(kind: str, trials: Sequence[Trial]) -> Finding:
    if kind == RAISED:
        broken = [trial for trial in trials if trial.got is None]
        share = "every input" if len(broken) == len(trials) else f"{len(broken)} of {len(trials)} inputs"
        made = f"It breaks on {share} that torch takes{_what_breaks(trials)}: {broken[0].problem}."
        hint = f"Run it on [{broken[0].probe.case}] alone and read the traceback."
        if len(broken) == len(trials):
            hint = "Is it meant to be like something else? If not: " + hint[0].lower() + hint[1:]
        return Finding((kind,), "", "no-answer", False, made, hint, f"first on [{broken[0].probe.case}]")
    evidence = [
        Evidence(kind, name, trial)
        for trial in trials
        for name in (trial.got or {})
        if kind_of(name) == kind and name in trial.expected
    ]
    form = recognise(evidence)
    return Finding((kind,), "", form.name, False, form.made, form.hint, form.evidence)


def _what_breaks(trials: Sequence[Trial]) -> str:
    """What the inputs without an answer have in common, and no other has: " (odd sides)"; empty if nothing."""
    kinds = [(kinds_of(trial.probe, {}), trial.got is None) for trial in trials]
    common = frozenset[str].intersection(*(found for found, breaks in kinds if breaks))
    common = common.difference(*(found for found, breaks in kinds if not breaks))
    return f" ({', '.join(sorted(common))})" if common and not all(breaks for _, breaks in kinds) else ""


def _together(findings: Sequence[Finding]) -> list[Finding]:
    """Findings of the same mistake as one."""
    merged: dict[tuple[str, str, str], Finding] = {}
    for finding in findings:
        key = finding.layer, finding.name, finding.made
        if key in merged:
            old = merged[key]
            kinds = tuple(in_order({*old.kinds, *finding.kinds}))
            merged[key] = Finding(kinds, *(getattr(old, f) for f in list(old.__dataclass_fields__)[1:]))
        else:
            merged[key] = finding
    return list(merged.values())


def _choose(replayed: Sequence[_Replayed], present: set[str], wrong: set[str]) -> list[tuple[_Replayed, set[str]]]:
    """The fewest replayed mistakes that explain the most wrong tensors."""
    chosen: list[tuple[_Replayed, set[str]]] = []
    left = set(wrong)
    while left:
        best = max(replayed, key=lambda r: len(r.explains(present) & left), default=None)
        if best is None or not best.explains(present) & left:
            return chosen
        kinds = best.explains(present)
        chosen.append((best, kinds & left))
        left -= kinds
    return chosen


def _choose_two(
    likeness: Likeness,
    trials: Sequence[Trial],
    replayed: Sequence[_Replayed],
    present: set[str],
    wrong: set[str],
    rate: float,
) -> list[tuple[_Replayed, set[str]]]:
    """Two mistakes in two layers that together explain everything; nothing if there are none."""
    some = [trial for trial in trials if not trial.ok][:FIRST]
    for first, second in itertools.combinations(replayed, 2):
        if first.part == second.part:
            continue
        both = {first.part: first.fault, second.part: second.fault}
        if all(_replay(likeness, both, tried, rate).explains(present) >= wrong for tried in (some, trials)):
            return [(one, one.affected & wrong or wrong) for one in (first, second)]
    return []


def _replay_all(likeness: Likeness, trials: Sequence[Trial], rate: float) -> list[_Replayed]:
    """Every catalogued mistake of every layer, replayed on all trials where it explains anything on the first.

    None where our own layers are wrong themselves, on somebody's machine or in somebody's hands: a mistake is an edit
    of the right source.
    """
    wrong = [trial for trial in trials if not trial.ok][:FIRST]
    if not _ours_is_right(likeness, wrong):
        return []
    found = []
    for part, pair in likeness.parts.items():
        for fault in faults_of(pair.name):
            replay = _replay(likeness, {part: fault}, wrong, rate)
            if replay.matched & replay.affected:
                replay = _replay(likeness, {part: fault}, trials, rate)
            found.append(replay)
    return found


def _ours_is_right(likeness: Likeness, trials: Sequence[Trial]) -> bool:
    """Whether our own layers, with no mistake planted, give what is right on these trials.

    Where the candidate raised an error there is nothing to compare, and they are taken to be right.
    """
    assert likeness.build is not None
    make = likeness.build({})
    return not any(changed for trial in trials for _, changed, _ in _held_against(trial, _run(make, trial, likeness)))


def _replay(likeness: Likeness, faults: Mapping[str, Fault], trials: Sequence[Trial], rate: float) -> _Replayed:
    assert likeness.build is not None
    make = likeness.build({part: planted(fault, rate) for part, fault in faults.items()})
    tensors = [_run(make, trial, likeness) for trial in trials]
    affected: set[str] = set()
    matched: set[str] = set()
    unmatched: set[str] = set()
    for trial, given in zip(trials, tensors, strict=True):
        for kind, changed, same in _held_against(trial, given):
            affected |= {kind} if changed else set()
            (matched if same else unmatched).add(kind)
    part, fault = next(iter(faults.items()))
    errors = [(given, trial.problem) for trial, given in zip(trials, tensors, strict=True) if isinstance(given, str)]
    same_words = all(" ".join(problem.split()).startswith(" ".join(given.split())) for given, problem in errors)
    return _Replayed(part, fault, tensors, affected, matched - unmatched, same_words)


def _held_against(trial: Trial, given: Tensors | str) -> Iterator[tuple[str, bool, bool]]:
    """Each tensor of a replay: its kind, whether it differs from the right one, whether it is the candidate's."""
    if isinstance(given, str) or trial.got is None:
        # The same kind of error; where nothing but errors speaks for a mistake, also with the same words.
        same = isinstance(given, str) and trial.got is None and trial.problem.startswith(given.partition(":")[0])
        yield RAISED, isinstance(given, str), same
        return
    for name, right in trial.expected.items():
        replayed, bound = given.get(name), trial.bounds[name]
        changed = not _within(replayed, right, bound)
        yield kind_of(name), changed, _same(replayed, trial.got.get(name), bound, SAME[trial.probe.dtype])


def _rate(trials: Sequence[Trial]) -> float:
    """The learning rate with which the candidate changes its own weights in backward, if it does; else `RATE`."""
    for trial in trials:
        for name, before in trial.probe.state.items():
            holder, dot, leaf = name.rpartition(".")
            after, gradient = (
                (trial.got or {}).get(f"{name} after use"),
                trial.expected.get(f"{holder}{dot}grad_{leaf}"),
            )
            if after is None or gradient is None or after.shape != before.shape or len(trial.probe.calls) != 1:
                continue
            change = before.astype(np.float64) - after
            if change.any() and gradient.any():
                return float((change * gradient).sum() / (gradient * gradient).sum())
    return RATE


def planted(fault: Fault, rate: float = RATE) -> Any:
    """The mistaken class, or training step, as `drive` takes it; where it updates weights, with this learning rate."""
    target = plant(fault, rate)
    return TrainingStep(target) if fault.target == "scratch.train.train_step" else target


def _run(make: Any, trial: Trial, likeness: Likeness) -> Tensors | str:
    """What a mistaken twin gives: tensors, or the error that it raises, in the words of an `Outcome`."""
    make = _put_back(make) if trial.updated else make
    try:
        given = likeness.pair.drive(make, trial.probe, trial.got)
        if trial.got is None or not any(name.startswith("share") for name in trial.got):
            return given
        return given | likeness.pair.shares(trial.probe, likeness.pair.drive(make, trial.probe))[0]
    except (Exception, SystemExit) as error:
        return f"raised {type(error).__name__}: {error}"


def _put_back(make: Any) -> Any:
    """The twin with its weights put back after every backward, as those of code that updates them itself are."""

    def made(**options: Any) -> scratch.Module:
        module: scratch.Module = make(**options)
        backward = module.backward

        def backward_then_put_back(grad_output: Array) -> Array:
            before = [parameter.data.copy() for parameter in module.parameters()]
            grad_input = backward(grad_output)
            for parameter, data in zip(module.parameters(), before, strict=True):
                parameter.data = data
            return grad_input

        module.backward = backward_then_put_back
        return module

    return made


def _within(a: Array | None, b: Array, bound: Array) -> bool:
    """Whether a tensor is as right as the reference's."""
    return a is not None and a.shape == b.shape and bool((np.abs(a.astype(np.float64) - b) <= bound).all())


def _same(a: Array | None, b: Array | None, bound: Array, tolerance: float) -> bool:
    """Whether two wrong tensors coincide to rounding; both missing coincide, NaN coincides with NaN."""
    if a is None or b is None:
        return a is None and b is None
    if a.shape != b.shape:
        return False
    x, y = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(x)
    if not np.array_equal(finite, np.isfinite(y)):
        return False
    scale = max(float(np.abs(x[finite]).max(initial=0)), float(np.abs(y[finite]).max(initial=0)))
    allowed = np.maximum(bound, tolerance * scale) if bound.shape in ((), a.shape) else np.asarray(tolerance * scale)
    return bool((np.abs(x - y)[finite] <= np.broadcast_to(allowed, a.shape)[finite]).all())
