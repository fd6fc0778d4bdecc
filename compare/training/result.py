"""What comes out of a run, and the verdict on it: right, wrong, or not judged."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from compare.machine.data import Dataset
from compare.pairs.report import Report, Row
from compare.training.findings import WRONG, Findings, judged
from compare.training.learning import Learning
from compare.training.lockstep import Epoch
from compare.training.settings import TWINS, Settings
from compare.training.twins import Both

Outcome = Literal["right", "wrong", "not_judged"]
STATUS: dict[Outcome, int] = {"right": 0, "wrong": 1, "not_judged": 2}  # the exit status of a command


@dataclass(frozen=True)
class RunResult:
    """What came out of a run.

    Attributes:
        before, after: the comparisons of the untrained, or resumed, and of the trained twins.
        findings: of the comparison in training.
        last: the last epoch; None if nothing was trained or the training diverged.
        learning: what the trained weights answer; None as `last` is.
        stopped: why the training ended before its time, in words; empty if it did not.
    """

    settings: Settings
    dataset: Dataset
    folder: Path
    before: Report
    after: Report
    findings: Findings
    last: Epoch | None
    learning: Learning | None = None
    stopped: str = ""

    @property
    def ok(self) -> bool:
        """Whether the twins agreed before, during and after the training; alone, a twin has nobody to agree with."""
        return self.outcome == "right"

    @property
    def outcome(self) -> Outcome:
        """The verdict: "wrong" if a mistake was found, "not_judged" if something could not be judged, else "right".

        Trained twins that learned nothing are right if they agree. Weights that blew up are not judged: with numbers
        that large, neither agreement nor a difference shows anything.
        """
        if self.before.wrong or self.findings.mistaken or self.after.wrong:
            return "wrong"
        return "not_judged" if self.reason else "right"

    @property
    def reason(self) -> str:
        """Why nothing can be said of the twins, in words; empty if everything could be judged."""
        if self.stopped:
            return self.stopped
        if self.learning is not None and self.learning.blew_up:
            return self.learning.headline
        reports = [report for report in (self.after, self.before) if report.unjudged]
        return unjudged(reports[0]) if reports else self.findings.open_question

    @property
    def learned(self) -> bool | None:
        """Whether the trained twins are better than guessing; None if nothing was trained, or nobody can say."""
        if self.stopped:
            return False
        return None if self.learning is None else self.learning.learned

    def headline(self) -> str:
        """The verdict on the trained twins in one sentence."""
        if self.after.wrong:
            return judged(self.after).headline()
        if self.outcome == "wrong" and self.stopped:
            return f"wrong, see below; {self.stopped}"
        if self.reason:
            return f"not judged: {self.reason}"
        said = self.after.headline()
        verdict = self.learning.verdict if self.learning is not None else ""
        return said.replace("equal: ", f"equal, but {verdict}: ", 1) if verdict else said

    def lines(self) -> list[str]:
        """What is to be said at the end of a run, besides the table."""
        compared = f"trained twins:   {self.headline()}" if self.settings.compares else ""
        alone = self.headline() if not self.settings.compares and self.reason else ""
        lines = [line for line in (compared, alone) if line]
        # Of twins with a mistake nobody knows what they would have learned without it.
        learning = self.learning.lines() if self.learning is not None and self.outcome != "wrong" else []
        # What the headline has said already is not said again.
        lines += [line for line in learning if not any(line in said for said in lines)]
        return lines + self.findings.lines(self.settings)

    def rows(self) -> list[Row]:
        """The tensors that are wrong before or after the training, and the first few that could not be judged."""
        both = Report([*self.before.rows, *self.after.rows])
        return [*both.wrong, *both.unjudged[:WRONG]]

    def as_json(self) -> dict[str, Any]:
        """The result as plain values; null for what was not reached, and for a number that is not finite."""
        last = self.last
        chosen = asdict(self.settings)
        return {
            "ok": self.ok,
            "outcome": self.outcome,
            "learned": self.learned,
            "reason": self.reason or (self.learning.headline if self.learning is not None else ""),
            "dataset": self.dataset.name,
            "train_images": len(self.dataset.train_images),
            "test_images": len(self.dataset.test_images),
            "model": chosen["model"],
            "epochs": chosen["epochs"],
            "dtype": chosen["dtype"],
            "device": chosen["device"],
            "seed": chosen["seed"],
            "settings": chosen,
            "run_dir": str(self.folder),
            "test_accuracy": _by_twin(last.test_accuracy if last else {}),
            "final_loss": _by_twin(last.train_loss if last else {}),
            "images_per_second": _by_twin(last.images_per_second if last else {}),
            "learning": None if self.learning is None else self.learning.as_json(),
            "agreement": {"ok": self.ok, "compared": self.before.compared + self.after.compared},
            "drift": _finite(asdict(self.findings)),
        }

    def page(self) -> str:
        """The result in Markdown: what each twin reached, and the verdict."""
        last, lines = self.last, list[str]()
        if last is not None:
            rows = "\n".join(
                f"| {name} | {last.train_loss[name]:.5f} | {last.test_accuracy[name]:.2%} "
                f"| {last.images_per_second[name]:,.0f} |"
                for name in last.test_accuracy
            )
            lines.append(f"| | training loss | test accuracy | images/s |\n|---|---|---|---|\n{rows}")
        return "\n\n".join([*lines, *self.lines()])


def verdict_on(report: Report) -> str:
    """The verdict on twins that are yet to be trained in one sentence: wrong, not judged or equal."""
    if report.wrong:
        return judged(report).headline()
    return f"not judged: {unjudged(report)}" if report.unjudged else report.headline()


def unjudged(report: Report) -> str:
    """The first tensor that could not be judged, and why, in words."""
    rows = report.unjudged
    more = f"; {len(rows)} of {report.compared} tensors could not be judged" if len(rows) > 1 else ""
    first = rows[0]
    return f"{first.tensor} of {first.pair} [{first.case}, {first.dtype}]: {first.problem}{more}"


def _by_twin(values: Both) -> dict[str, float | None]:
    return {name: values.get(name) for name in TWINS}


def _finite(value: Any) -> Any:
    """Plain values with null for every number that is not finite, as JSON has none."""
    if isinstance(value, dict):
        return {name: _finite(held) for name, held in value.items()}
    if isinstance(value, list):
        return [_finite(held) for held in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
