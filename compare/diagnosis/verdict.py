"""The verdict on a candidate: what is wrong, where first, and what they did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compare.diagnosis.coverage import Coverage
from compare.diagnosis.explaining.replay import RAISED, Finding
from compare.diagnosis.explaining.shrink import Example
from compare.diagnosis.trial import Trial, in_order, kind_of
from compare.machine.outcome import Outcome
from compare.pairs.report import Report


@dataclass(frozen=True)
class Alternative:
    """Another reading, under which code is right that is wrong under the natural one.

    Attributes:
        natural: what was judged, in words: "a batch (N, C)".
        words: what it is right for: "one image (C,)".
        option: the arguments of `compare.diagnose` that say so.
        flags: the same for a command line: "--layout C".
        against: whether the code's own words say that this is not meant.
    """

    natural: str
    words: str
    option: Mapping[str, Any]
    flags: str
    against: bool = False

    def __str__(self) -> str:
        if self.against:
            return f"right for {self.words}: it works along other axes than it is described for"
        return f"right for {self.words}: if that is meant, {self.flags}"


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """What was found out about a candidate.

    Attributes:
        candidate, like: what was examined, and what it was compared with.
        trials: every probe that was tried.
        findings: the mistakes, first wrong tensor first; empty if nothing is wrong.
        example: the smallest input that shows the first of them.
        missing: the tensors that the candidate does not provide.
        remarks: what is no mistake, and should be known.
        problem: why it is not judged; empty if it is.
        coverage: what the verdict rests on.
        alternatives: readings under which it is right, though it is wrong under the one that is judged.
        containment: how its process was contained, in words.
        seed: what its inputs were drawn from.
    """

    candidate: str
    like: str
    trials: tuple[Trial, ...]
    findings: tuple[Finding, ...]
    example: Example | None
    missing: tuple[str, ...]
    remarks: tuple[str, ...]
    problem: str = ""
    coverage: Coverage = field(default_factory=Coverage)
    alternatives: tuple[Alternative, ...] = ()
    containment: str = ""
    seed: int = 0

    def __repr__(self) -> str:
        return f"<Diagnosis {self.headline()}>"

    @property
    def report(self) -> Report:
        """One row for every tensor that was compared."""
        return Report([row for trial in self.trials for row in trial.rows])

    @property
    def outcome(self) -> Outcome:
        """One of "right", "wrong" and "not_judged"; of the last, `problem` says why, and what to add."""
        if self.problem or not self.report.rows:
            return "not_judged"
        return "wrong" if self.findings or not self.report.ok else "right"

    @property
    def ok(self) -> bool:
        """Whether it is right: enough was compared, and nothing of it is wrong."""
        return self.outcome == "right"

    @property
    def name(self) -> str:
        """The name of the first mistake; empty if there is none, or it has no name."""
        return self.findings[0].name if self.findings else ""

    @property
    def first_wrong(self) -> str:
        """The first wrong tensor; empty if none is."""
        return self.findings[0].kinds[0] if self.findings else ""

    @property
    def conditions(self) -> str:
        """How it was run, in words; empty if that is not known."""
        return f"{self.containment}; seed {self.seed}" if self.containment else ""

    def kinds(self) -> list[tuple[str, int, int]]:
        """Every kind of tensor in reading order, with how many were compared and how many of them are wrong."""
        rows = self.report.rows
        return [
            (
                kind,
                sum(kind_of(row.tensor) == kind for row in rows),
                sum(kind_of(row.tensor) == kind and not row.ok for row in rows),
            )
            for kind in in_order({kind_of(row.tensor) for row in rows})
        ]

    def headline(self, *, hint_only: bool = False) -> str:
        """The verdict in one sentence."""
        if self.outcome == "not_judged":
            return f"not judged: {self.problem or 'nothing was compared'}"
        if self.ok:
            report = self.report
            worst = max(row.budget for row in report.rows)
            gradients = any("grad" in kind for kind in self.coverage.shares)
            only = ", forward only" if not gradients and any("grad" in kind for kind in self.missing) else ""
            return (
                f"right{only}: {self.candidate} computes what {self.like} does: {report.compared:,} tensors compared "
                f"on {len(self.trials)} inputs, none outside its bound (at most {worst:.0%} of it used)"
            )
        if self.alternatives:
            return f"wrong for {self.alternatives[0].natural}; {self.alternatives[0]}"
        first = self.findings[0]
        where = f" of {self.like}" if not first.layer else f", layer {first.layer}"
        tensors = ", ".join("no answer" if kind == RAISED else kind for kind in first.kinds)
        more = len(self.findings) - 1
        others = f" (and {more} more mistake{'s' if more > 1 else ''}, below)" if more else ""
        if hint_only:
            return f"wrong: {tensors}{where}{others}"
        return f"wrong: {tensors}{where}: {first.made}{others}"

    def as_json(self, *, hint_only: bool = False) -> dict[str, Any]:
        """The verdict as plain values; `hint_only` leaves out expected values and what the mistake is."""
        findings = [
            {
                "tensors": list(f.kinds),
                "layer": f.layer,
                "hint": f.hint,
                **(
                    {}
                    if hint_only
                    else {
                        "name": f.name,
                        "catalogued": f.catalogued,
                        "made": f.made,
                        "evidence": f.evidence,
                        "also": list(f.also),
                    }
                ),
            }
            for f in self.findings
        ]
        result: dict[str, Any] = {
            "ok": self.ok,
            "outcome": self.outcome,
            "candidate": self.candidate,
            "like": self.like,
            "headline": self.headline(hint_only=hint_only),
            "findings": findings,
            "tensors": [{"name": k, "compared": n, "wrong": w} for k, n, w in self.kinds()],
            "missing": list(self.missing),
            "coverage": self.coverage.as_json(),
            "alternatives": [
                {"right_for": a.words, "flags": "" if a.against else a.flags, "against": a.against}
                for a in self.alternatives
            ],
            "remarks": list(self.remarks),
            "containment": self.containment,
            "seed": self.seed,
        }
        if not hint_only:
            result["example"] = None if self.example is None else self.example.as_json()
            result["rows"] = [row.as_json() for row in self.report.rows]
        return result


def missing_of(trials: Sequence[Trial]) -> tuple[str, ...]:
    """The kinds of tensors that no trial has."""
    missing = {kind_of(name) for trial in trials for name in trial.missing}
    there = {kind_of(name) for trial in trials for name in trial.got or {}}
    return tuple(kind for kind in in_order(missing - there) if not kind.endswith("after use"))
