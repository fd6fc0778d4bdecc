"""From probes to a verdict: try them, find what is wrong, name it, and show it on the smallest input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from compare.diagnosis.driving.sandbox import Outcome
from compare.diagnosis.explaining.replay import RAISED, name_mistakes
from compare.diagnosis.explaining.shrink import smallest
from compare.diagnosis.likeness import Likeness
from compare.diagnosis.trial import Driven, Trial, remarks_on_rows, try_probe
from compare.diagnosis.verdict import Diagnosis, missing_of
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
    """
    trials, unsupported = _try_all(likeness, answer, probes, lenient=lenient)
    remarks: list[str] = []
    if lenient and any("float32 for float64" in trial.notes for trial in trials):
        trials = [trial for trial in trials if trial.probe.dtype == "float32" or trial.got is None]
        remarks.append("it computes in float32, and is judged in float32")
    remarks += _skipped(unsupported, len(probes)) + _noticed(trials) + remarks_on_rows(trials)
    missing = missing_of(trials)
    if not any(trial.rows for trial in trials):
        problem = f"nothing was compared: {unsupported[0]} is not taken" if unsupported else "nothing was compared"
        return Diagnosis(candidate, likeness.pair.name, tuple(trials), (), None, missing, tuple(remarks), problem)
    findings = () if all(trial.ok for trial in trials) else tuple(name_mistakes(likeness, trials))
    example = None
    if findings and with_example and findings[0].kinds[0] != RAISED:
        kind = findings[0].kinds[0]

        def attempt(probe: Probe) -> Trial:
            return try_probe(likeness.pair, probe, answer, lenient=lenient)

        example = smallest(likeness.pair, kind, attempt, trials, one_image=one_image)
    if missing:
        remarks.append(f"not provided, and so not compared: {', '.join(missing)}")
    return Diagnosis(
        candidate,
        likeness.pair.name,
        tuple(trials),
        findings,
        example,
        missing,
        tuple(dict.fromkeys(remarks)),
        left_out=len(unsupported),
    )


def _try_all(
    likeness: Likeness, answer: Answer, probes: Sequence[Probe], *, lenient: bool
) -> tuple[list[Trial], list[str]]:
    """A trial of every probe that the candidate takes, and in a few words each that it does not take."""
    trials: list[Trial] = []
    unsupported: list[str] = []
    for probe in probes:
        trial = try_probe(likeness.pair, probe, answer, lenient=lenient)
        if lenient and _is_unsupported(trial, probe):
            unsupported.append(_not_taken(trial))
            continue
        trials.append(trial)
        if trial.fatal:
            break  # another process would end in the same way
    return trials, unsupported


def _skipped(unsupported: Sequence[str], probes: int) -> list[str]:
    """The remark on inputs that it does not take, if there are any."""
    reasons = list(dict.fromkeys(unsupported))
    more = f" and {len(reasons) - 4} more" if len(reasons) > 4 else ""
    said = f"left out {len(unsupported)} of {probes} inputs that it does not take: {'; '.join(reasons[:4])}{more}"
    return [said] if unsupported else []


def _noticed(trials: Sequence[Trial]) -> list[str]:
    """What else was noticed, but for converted floats."""
    notes = {note for trial in trials for note in trial.notes}
    return sorted(note for note in notes if not note.endswith(("for float64", "for float32")))


def _not_taken(trial: Trial) -> str:
    """In a few words, what the code does not take."""
    if trial.error == "UnsupportedError":
        return trial.problem.partition("UnsupportedError: ")[2].partition(" (")[0] or trial.problem
    return f"[{trial.probe.case}], which {trial.problem}"


def _is_unsupported(trial: Trial, probe: Probe) -> bool:
    """Whether a failure is no more than a case that the code does not take: refused by itself, or a pair of sizes."""
    if trial.got is not None or trial.fatal:
        return False
    pairs = any(isinstance(v, tuple) and len(set(v)) > 1 for v in probe.options.values())
    return trial.refused or trial.error == "UnsupportedError" or (pairs and trial.error == "TypeError")
