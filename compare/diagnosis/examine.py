"""From probes to a verdict: try them, find what is wrong, name it, and show it on the smallest input."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from compare.diagnosis.coverage import Coverage, Refusal, coverage
from compare.diagnosis.explaining.replay import RAISED, Finding, name_mistakes
from compare.diagnosis.explaining.shrink import smallest
from compare.diagnosis.fitting import Fitter
from compare.diagnosis.likeness import Likeness, defaults_of
from compare.diagnosis.trial import Trial, in_order, kind_of, remarks_on_rows, try_probe
from compare.diagnosis.verdict import Diagnosis, missing_of
from compare.driving.answering import Outcome
from compare.driving.tensors import SAME, Driven
from compare.pairs.probe import Probe

Answer = Callable[[Probe], Outcome]


def own_answer(likeness: Likeness, make: Any) -> Answer:
    """Answers of code of our own, in this process: `make` is a class like the registered one, or a training step."""

    def answer(probe: Probe) -> Outcome:
        try:
            return Outcome(Driven(likeness.pair.drive(make, probe)))
        except (Exception, SystemExit) as error:
            return Outcome(problem=f"raised {type(error).__name__}: {error}", error=type(error).__name__)

    return answer


def examine(
    likeness: Likeness,
    candidate: str,
    answer: Answer,
    probes: Sequence[Probe],
    *,
    lenient: bool = False,
    with_example: bool = True,
    one_image: bool = False,
    layout: str = "",
    gaps: Sequence[str] = (),
    refusals: Sequence[Refusal] = (),
    arguments: Sequence[str] = (),
) -> Diagnosis:
    """Try all probes on a candidate and come to a verdict.

    Args:
        likeness: what it is compared with.
        candidate: its name.
        answer: runs a probe on it.
        lenient: for code that was not written for this: what it does not provide is no mistake, a refusal of its own
            (`raise`, `assert`) is a case it does not support, and code that computes in float32 is judged in float32.
        with_example: whether to look for the smallest input that shows a mistake.
        one_image: whether it takes one image at a time.
        layout: what an input is, in words.
        gaps: what is known not to be compared, in words.
        refusals: what it is known not to take.
        arguments: those of its constructor, or of a function.
    """
    pair, defaults = likeness.pair, defaults_of(likeness.pair)

    def attempt(probe: Probe) -> Trial:
        return try_probe(pair, probe, answer, lenient=lenient)

    trials, refused = _try_all(likeness, attempt, probes, lenient=lenient)
    refused = [*refusals, *refused]
    remarks: list[str] = []
    if lenient and any("float32 for float64" in trial.notes for trial in trials):
        trials = [trial for trial in trials if trial.probe.dtype == "float32" or trial.got is None]
        remarks.append("it computes in float32, and is judged in float32")
    remarks += _skipped(refused) + _noticed(trials) + _unjudged(trials) + remarks_on_rows(trials)
    missing = missing_of(trials)
    untried = [option for option in pair.untested if option in arguments]
    others = [option for option in pair.untested if option not in arguments]
    gaps = [*gaps, *_not_provided(trials, missing), *([f"{', '.join(others)} (not tried)"] if others else [])]
    covered = coverage(trials, refused, defaults, layout=layout, gaps=gaps, untried=untried, about=pair.about)
    result = Diagnosis(
        candidate, pair.name, tuple(trials), (), None, missing, tuple(dict.fromkeys(remarks)), coverage=covered
    )
    problem = _nothing_compared(trials, refused, lenient=lenient)
    if problem:
        return replace(result, problem=problem)
    if all(trial.ok for trial in trials):
        return replace(result, problem=_too_little(trials, covered) if lenient else "")
    findings = _of_another_shape(_without_upstream(tuple(name_mistakes(likeness, trials)), trials), trials)
    example = None
    if with_example and findings[0].kinds[0] != RAISED:
        example = smallest(pair, findings[0].kinds[0], attempt, trials, one_image=one_image)
    return replace(result, findings=findings, example=example)


def _try_all(
    likeness: Likeness, attempt: Callable[[Probe], Trial], probes: Sequence[Probe], *, lenient: bool
) -> tuple[list[Trial], list[Refusal]]:
    """A trial of every probe, or of one drawn to fit where the candidate does not take it; and what it did not take.

    Where it breaks, also one with even sides or equal ones, if it takes that: so that what breaks it can be told.
    """
    trials: list[Trial] = []
    refused: list[Refusal] = []
    unsupported: dict[str, Refusal] = {}  # by the options, which are the same for many kinds of numbers
    pair = likeness.pair
    fitter = Fitter(pair, {**defaults_of(pair), **likeness.hints})
    tried = {(probe.case, probe.dtype) for probe in probes}
    for probe in probes:
        trial: Trial | None = None
        refusal = unsupported.get(str(probe.options))
        if refusal is None:
            trial = attempt(probe)
            refusal = _refusal(trial) if lenient and _is_refused(trial) else None
        if refusal is not None:
            refused.append(replace(refusal, probe=probe))
            if refusal.options:
                unsupported[str(probe.options)] = refusal
            trial = _fitted(fitter, attempt, refused[-1], tried)
        if trial is None:
            continue
        trials.append(trial)
        if trial.fatal:
            break  # another process would end in the same way
    broken = next((trial for trial in trials if trial.got is None), None)
    if lenient and broken is not None and not broken.fatal:
        milder = (attempt(probe) for _, probe in fitter.milder(broken.probe) if (probe.case, probe.dtype) not in tried)
        trials += [trial for trial in milder if trial.got is not None][:1]
    return trials, refused


def _fitted(
    fitter: Fitter, attempt: Callable[[Probe], Trial], refusal: Refusal, tried: set[tuple[str, str]]
) -> Trial | None:
    """A trial of a probe like the refused one that is taken; None if there is none, or it has been tried already."""
    if refusal.words in fitter.hopeless or (refusal.options and not _is_ordinary(refusal.probe)):
        return None
    if refusal.options and fitter.is_known(refusal.probe, refusal.options, tried):
        return None
    for fit, probe in fitter.again(refusal.probe, refusal.options):
        if (probe.case, probe.dtype) in tried:
            if fit in fitter.taken or refusal.options:
                return None
            continue
        trial = attempt(probe)
        if not _is_refused(trial):
            if not refusal.options:
                fitter.remember(fit)
            tried.add((probe.case, probe.dtype))
            return trial
        if refusal.options and not (again := _refusal(trial)).options:
            return _fitted(fitter, attempt, again, tried)
    fitter.hopeless.add(refusal.words)
    return None


def _is_ordinary(probe: Probe) -> bool:
    """Whether its numbers are ordinary ones: of a configuration that cannot be told, one kind of numbers is enough."""
    return probe.drawn is not None and probe.drawn.values == "normal"


# What is raised where our side cannot drive theirs.
OURS = ("UnsupportedError", "UndrivableError", "LayoutError", "ConversionError", "MistoldError")


def _is_refused(trial: Trial) -> bool:
    """Whether there is no answer because the code refuses the probe itself, or because we cannot drive it there."""
    ours = trial.error in OURS and not trial.in_backward  # what has given an output can be driven there
    return trial.got is None and not trial.fatal and (trial.refused or ours)


def _refusal(trial: Trial) -> Refusal:
    """What the code does not take, in a few words."""
    words, options = trial.problem, tuple[str, ...]()
    if trial.error in OURS:
        words = trial.problem.partition("Error: ")[2].partition(" (")[0] or trial.problem
    if trial.error == "UnsupportedError":
        options = tuple(name for name in re.findall(r"(\w+)=", words) if name in trial.probe.options)
    return Refusal(trial.probe, words, options, tuple(trial.expected))


def _skipped(refused: Sequence[Refusal]) -> list[str]:
    """The remark on inputs that it refuses, if there are any."""
    own = [refusal for refusal in refused if not refusal.options]
    first = {refusal.words: refusal for refusal in reversed(own)}
    reasons = [f"{words}, first on [{first[words].probe.case}]" for words in dict.fromkeys(r.words for r in own)]
    more = f" and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    inputs = f"{len(own)} input{'s' if len(own) > 1 else ''}"
    return [f"it refuses {inputs}: it {'; '.join(reasons[:3])}{more}"] if own else []


def _noticed(trials: Sequence[Trial]) -> list[str]:
    """What else was noticed, but for converted floats."""
    notes = {note for trial in trials for note in trial.notes}
    return sorted(note for note in notes if not note.endswith(("for float64", "for float32")))


def _unjudged(trials: Sequence[Trial]) -> list[str]:
    """The remark on tensors that could not be judged, if there are any."""
    rows = [row for trial in trials for row in trial.unjudged]
    few = "; ".join(f"{row.tensor} [{row.case}, {row.dtype}]: {row.problem}" for row in rows[:3])
    more = f"; and {len(rows) - 3} more" if len(rows) > 3 else ""
    return [f"{len(rows)} tensor{'s' if len(rows) > 1 else ''} could not be judged: {few}{more}"] if rows else []


def _not_provided(trials: Sequence[Trial], missing: Sequence[str]) -> list[str]:
    """Which gradients were not compared because there are none."""
    gradients = [kind for kind in missing if "grad" in kind]
    compared = {kind_of(row.tensor) for trial in trials for row in trial.rows}
    if gradients and not any("grad" in kind and not kind.endswith("after use") for kind in compared):
        called = any(_has_its_shape(trial) for trial in trials)
        return ["backward (not provided)" if called else "backward (not called: the output has another shape)"]
    return [f"{', '.join(missing)} (not provided)"] if missing else []


def _has_its_shape(trial: Trial) -> bool:
    """Whether an output has the shape that it should have: else no upstream gradient fits it."""
    got = trial.got or {}
    return any(
        kind_of(name) == "output" and name in got and got[name].shape == array.shape
        for name, array in trial.expected.items()
    )


def _nothing_compared(trials: Sequence[Trial], refused: Sequence[Refusal], *, lenient: bool) -> str:
    """Why nothing can be said at all; empty if something can."""
    if not any(trial.rows for trial in trials):
        if not refused:
            return "nothing was compared"
        words = refused[0].words
        return f"it does not take {words}" if refused[0].options else f"it refuses every input: it {words}"
    if lenient and not any(trial.got is not None or trial.in_backward for trial in trials):
        first = trials[0]
        return (
            f"there is no output on any input: {first.problem}, first on [{first.probe.case}]; "
            "is it meant to be like something else (--like), or called in another way (--forward, --layout)?"
        )
    return ""


def _too_little(trials: Sequence[Trial], covered: Coverage) -> str:
    """Why right code may not be called right: too little of it was compared; empty if enough was."""
    if at_times := _at_times(trials):
        return at_times
    if covered.lacking:
        return f"too little could be compared: nothing with {', '.join(covered.lacking)}"
    if not covered.enough:
        return (
            f"too little could be compared: {covered.share:.0%} of the kinds of input that it could be given; "
            f"missing: {', '.join(covered.missed)}"
        )
    lost = {name for trial in trials for name in trial.missing if "grad" in name} - {"grad_input"}
    lost = {name for name in map(kind_of, lost) if name not in covered.shares and name != "grad_input"}
    given = any("grad" in kind for kind in covered.shares)
    if lost and given:
        names = ", ".join(in_order(lost))
        return f"its {names} could not be found; say where it is (--grad OWN={in_order(lost)[0].replace('grad_', '')})"
    return ""


def _at_times(trials: Sequence[Trial]) -> str:
    """The gradient that is there on some inputs only, in words: a gradient that comes and goes is none; empty if none.

    On some of these it may be wrong, and withheld.
    """
    answered = [trial for trial in trials if trial.got is not None]
    given = [{kind_of(row.tensor) for row in (*trial.rows, *trial.unjudged)} for trial in answered]
    for kind in in_order({kind for kinds in given for kind in kinds if "grad" in kind and "after use" not in kind}):
        without = [trial.probe for trial in answered if kind in map(kind_of, trial.missing)]
        if without:
            count = sum(kind in kinds for kinds in given)
            return (
                f"there is a {kind} on {count} of {count + len(without)} inputs only; "
                f"there is none on [{without[0].case}, {without[0].dtype}]"
            )
    return ""


def _without_upstream(findings: tuple[Finding, ...], trials: Sequence[Trial]) -> tuple[Finding, ...]:
    """The findings, with the reason where a backward takes no upstream gradient and is right but for that."""
    wrong = [trial for trial in trials if trial.ignores_gradient and "grad_input" in trial.wrong()]
    if not wrong or not all(_but_for_upstream(trial) for trial in wrong):
        return findings
    return tuple(
        replace(
            finding,
            name="upstream-gradient-not-taken",
            catalogued=False,
            made="backward takes no upstream gradient: it returns the derivative alone, not multiplied by it.",
            hint="Which argument of backward says how the loss depends on the output of this layer?",
            evidence="multiplied by the upstream gradient, it is right on every input",
            also=(),
        )
        if "grad_input" in finding.kinds
        else finding
        for finding in findings
    )


def _of_another_shape(findings: tuple[Finding, ...], trials: Sequence[Trial]) -> tuple[Finding, ...]:
    """The findings, with the reason where a gradient is right but for its shape."""

    def why(finding: Finding) -> str:
        wrong = [(trial, row) for trial in trials for row in trial.rows if not row.ok]
        wrong = [(trial, row) for trial, row in wrong if kind_of(row.tensor) in finding.kinds]
        return wrong[0][1].problem if all(row.tensor in trial.misshapen for trial, row in wrong) else ""

    return tuple(
        replace(
            finding,
            name="gradient-of-another-shape",
            catalogued=False,
            made=f"Its numbers are right, its {problem.replace('shape', 'shape is', 1)}: no update can subtract it.",
            hint="Print the shapes of the weight and of its gradient.",
            evidence="on every input",
            also=(),
        )
        if (problem := why(finding))
        else finding
        for finding in findings
    )


def _but_for_upstream(trial: Trial) -> bool:
    """Whether what backward returned is right once it is multiplied by the upstream gradient."""
    if trial.got is None or len(trial.probe.calls) != 1:
        return trial.got is not None
    given, gradient = trial.got.get("grad_input"), trial.probe.calls[0].grad_output
    if given is None or given.shape != gradient.shape:
        return False
    right = trial.expected["grad_input"]
    allowed = SAME[trial.probe.dtype] * float(np.abs(right).max(initial=0))
    return bool((np.abs(given * gradient - right) <= allowed).all())
