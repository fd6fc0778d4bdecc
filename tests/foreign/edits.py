"""`python -m tests.foreign.edits`: draw single edits of right layers, and see what `diagnose` says of each.

The layers are those of `right.py`, `linear_styles.py` and `manners/`. An edit counts if it is one of the layer:

- Its statement runs inside a function while the right layer is diagnosed. (The file is run once with a tracer for
  that.) So usage code at the bottom, training loops, constants, defaults of arguments and whatever diagnose never
  reaches are left out.
- It is in no statement of a constructor that draws or makes weights, or the size of a draw (`STARTS`): diagnose puts
  its own weights in their place.

An edit that passes as right is listed in full. Those shown to change nothing are in equivalent.toml, with a reason that
can be checked; if any other passes, the exit status is 1.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import re
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import compare
from compare.diagnosis.explaining.replay import RAISED
from compare.diagnosis.written import parse_like
from compare.machine.errors import UserError
from tests.foreign.manners import MANNERS, path
from tests.mutants.edits import Edit, draw, edits_of

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
SECONDS = 10.0  # that one call of an edited layer may take
# How the statements begin, or what they call, that give a constructor's weights their first values.
STARTS = re.compile(r"random|normal\(|np\.(zeros|ones|eye|full)\(|zeros_like|ones_like|^\s*(limit|bound) = ")
CONSTRUCTORS = {"__init__", "__post_init__", "build"}
OUTCOMES = {
    "catalogued": "wrong, the catalogued mistake named",
    "described": "wrong, described",
    "unexplained": "wrong, without a name",
    "no answer": "wrong, no answer",
    "not judged": "not judged",
    "equivalent": "passes, known to change nothing",
    "right": "passes as right",
    "broken": "diagnose itself raises",
}
console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Subject:
    """A right layer: the file, what of it is diagnosed, what it is like, and what is said about it."""

    file: Path
    target: str
    like: str
    option: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def owner(self) -> str:
        """The class or function that is diagnosed."""
        return re.split(r"[(,.]", self.target)[0]

    def diagnosed(self, file: Path) -> Any:
        """The verdict on what the file holds under the same name."""
        like = parse_like(self.like)
        target = f"{file}:{self.target}"
        return compare.diagnose(target, like=like, with_example=False, seconds=SECONDS, **self.option)


RIGHT = {
    "LoopConv(2, 3, 3, 2, 1)": "Conv2d(2, 3, 3, stride=2, padding=1)",
    "EinsumConv": "conv2d",
    "FFTConv": "conv2d",
    "BackwardsConv": "conv2d",
    "SingleConv(2)": "Sequential(Conv2d(1, 2, 3, bias=False), ReLU())",
    "Float32Linear": "linear",
    "BookAffine": "linear",
    "AttributeDense": "linear",
    "ColumnDense": "linear",
    "KeepingDense": "linear",
    "AddingDense": "linear",
    "SquareConv(2, 3, 3, 2, 1)": "Conv2d(2, 3, 3, stride=2, padding=1)",
    "Pool": "maxpool2d",
    "SoftmaxWithLoss": "cross_entropy",
    "Sigmoid": "Sigmoid()",
    "Norm": "batchnorm2d",
    "Drop": "dropout",
    "affine_forward,affine_backward": "linear",
    "conv_forward,conv_backward": "Conv2d(2, 3, 3)",
    "softmax_loss": "cross_entropy",
    "Momentum": "sgd",
    "adam": "adam",
}
STYLES = (
    *("ReturnsAll", "ReturnsDictionary", "ReturnsInputAndDictionary", "KeepsBeside", "KeepsInDictionary"),
    *("KeepsInParameters", "Numbered", "Adds", "Updates", "UpdatesByItsOwnRate", "UpdatesAndShows", "KeepsOutput"),
    *("ReturnsCache", "TakesInputAgain", "MakesWeightsLate", "Columns"),
)


def subjects() -> list[Subject]:
    """Every right layer."""
    found = [Subject(HERE / "right.py", target, like) for target, like in RIGHT.items()]
    found += [Subject(HERE / "linear_styles.py", f"{name}()", "Linear(3, 2)") for name in STYLES]
    return found + [Subject(path(m), m.target, m.like, m.option) for m in MANNERS]


@dataclass(frozen=True)
class Trial:
    """What became of an edit: one of OUTCOMES, and the headline or the reason."""

    edit: Edit
    outcome: str
    words: str
    seconds: float = 0.0


def main() -> int:
    options = parsed()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        chosen = [s for s in subjects() if options.only in f"{s.file}:{s.target}"]
        edits = dict(candidates(chosen, Path(folder)))
        drawn = draw(list(edits), options.count, options.seed)
        if not drawn:
            console.print(f"no layer's file and target hold {options.only!r}, or none of its edits counts")
            return 2
        console.print(f"seed {options.seed}: {len(drawn)} of {len(edits):,} edits of {len(chosen)} layers")
        began = time.monotonic()
        trials = []
        for trial in attempts([(edit, edits[edit], Path(folder)) for edit in drawn], options.jobs):
            trials.append(trial)
            if options.verbose:
                console.print(
                    f"{len(trials)}: {trial.outcome} in {trial.seconds:.1f} s: {trial.edit.key}: {trial.words}"
                )
    for outcome in ("equivalent", "broken", "right"):
        for trial in (t for t in trials if t.outcome == outcome):
            console.print(f"{OUTCOMES[outcome]}: {trial.edit.key} (line {trial.edit.first}): {trial.words}")
    console.print(table(trials))
    console.print(f"{(time.monotonic() - began) / len(trials):.2f} s for each edit")
    return 1 if any(trial.outcome in ("right", "broken") for trial in trials) else 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.foreign.edits", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="draws the edits (0)")
    parser.add_argument("--count", type=int, default=300, help="how many (300)")
    parser.add_argument("--jobs", type=int, default=1, help="edits at the same time (1)")
    parser.add_argument("--only", default="", help="layers whose file and target hold this: manners/conv")
    parser.add_argument("--verbose", action="store_true", help="print every edit as it ends, with its verdict")
    given = parser.parse_args()
    for name in ("count", "jobs"):
        if getattr(given, name) <= 0:
            parser.error(f"--{name} must be above 0, got {getattr(given, name)}")
    return given


def candidates(chosen: list[Subject], folder: Path) -> Iterator[tuple[Edit, Subject]]:
    """Every edit that counts, with the layer that shows it: its own, else the first that runs it."""
    lines = {subject: run_lines(subject, folder) for subject in chosen}
    for file in dict.fromkeys(subject.file for subject in chosen):
        source = file.read_text().splitlines()
        for edit in edits_of(ROOT, file):
            reached = [s for s in chosen if s.file == file and lines[s] & {*range(edit.first, edit.last + 1)}]
            if not edit.scope or not reached or gives_start_values(edit, source):
                continue
            name = edit.scope.split(".")[0]
            yield edit, next((s for s in reached if s.owner == name), reached[0])


def gives_start_values(edit: Edit, source: list[str]) -> bool:
    """Whether an edit is in a statement that gives a constructor's weights their first values."""
    statement = "\n".join(source[edit.first - 1 : edit.last])
    return edit.scope.split(".")[-1] in CONSTRUCTORS and STARTS.search(statement) is not None


TRACER = """
def _trace_the_lines_of_this_file(file=__file__, log={log!r}):
    import os, sys, threading

    seen, out = set(), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def local(frame, event, argument):
        if event == "line" and frame.f_lineno not in seen:
            seen.add(frame.f_lineno)
            os.write(out, b"%d\\n" % frame.f_lineno)
        return local

    def start(frame, event, argument):
        inside = frame.f_code.co_filename == file and frame.f_code.co_name != "<module>"
        return local if inside else None

    sys.settrace(start)
    threading.settrace(start)


_trace_the_lines_of_this_file()
"""


def run_lines(subject: Subject, folder: Path) -> set[int]:
    """The lines inside functions that run while the right layer is diagnosed."""
    copied = Path(tempfile.mkdtemp(dir=folder)) / subject.file.name
    log = copied.with_suffix(".lines")
    copied.write_text(subject.file.read_text() + TRACER.format(log=str(log)))
    try:
        subject.diagnosed(copied)
    except UserError as error:
        console.print(f"not judged although it is right: {subject.file.name}:{subject.target}: {error}")
    return {int(line) for line in log.read_text().split()} if log.exists() else set()


def attempts(given: list[tuple[Edit, Subject, Path]], jobs: int) -> Iterator[Trial]:
    """Each edit tried, as many at the same time as there are jobs."""
    if jobs == 1:
        yield from map(attempt, given)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(attempt, given)


def attempt(given: tuple[Edit, Subject, Path]) -> Trial:
    """Write the edited file into a folder of its own, and diagnose it."""
    edit, subject, folder = given
    edited = Path(tempfile.mkdtemp(dir=folder)) / subject.file.name
    edited.write_bytes(edit.apply(subject.file.read_bytes()))
    began = time.monotonic()
    try:
        outcome, words = judged(subject.diagnosed(edited))
    except UserError as error:
        outcome, words = "not judged", str(error)
    except Exception as error:
        outcome, words = "broken", f"{type(error).__name__}: {error}"
    known = tomllib.loads(EQUIVALENT.read_text())
    if outcome == "right" and edit.key in known:
        outcome, words = "equivalent", known[edit.key]
    return Trial(edit, outcome, words, time.monotonic() - began)


def judged(diagnosis: Any) -> tuple[str, str]:
    """What a verdict comes to: one of OUTCOMES, and its headline."""
    said = getattr(diagnosis, "outcome", "right" if diagnosis.ok else "wrong").replace("_", " ")
    if said != "wrong":
        return said, diagnosis.headline()
    if diagnosis.problem or diagnosis.first_wrong == RAISED:
        return "no answer", diagnosis.headline()
    if not diagnosis.name:
        return "unexplained", diagnosis.headline()
    return "catalogued" if diagnosis.findings[0].catalogued else "described", diagnosis.headline()


def table(trials: list[Trial]) -> Table:
    """How many ended how."""
    counts = Counter(trial.outcome for trial in trials)
    shown = Table("outcome", "edits", "share", title="edits of right layers")
    for outcome, words in OUTCOMES.items():
        shown.add_row(words, str(counts[outcome]), f"{counts[outcome] / len(trials):.1%}")
    return shown


if __name__ == "__main__":
    sys.exit(main())
