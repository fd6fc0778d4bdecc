"""A whole run: prove that the untrained twins agree, train them side by side, prove that the trained ones still do."""

from __future__ import annotations

import functools
import shlex
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from compare.machine.conditions import equal_threads, keep_freed_memory
from compare.machine.data import Dataset
from compare.machine.errors import UserError
from compare.machine.files import LOCK, locked, make_folder, remove_leftovers
from compare.pairs import weights
from compare.pairs.report import Report
from compare.training.board.board import Board
from compare.training.board.logs import quiet_writers, require_logs
from compare.training.checkpoint import BEST, LAST, Checkpoint, require_data, save_checkpoint, versions
from compare.training.drift import Drift
from compare.training.findings import Findings, left_open
from compare.training.learning import learning_of
from compare.training.lockstep import Diverged, Epoch, Progress, Step, evaluate, lockstep
from compare.training.result import RunResult, verdict_on
from compare.training.settings import DataOptions, Settings
from compare.training.twins import Twins
from compare.verify.one_step import blown
from compare.verify.trained import check_trained


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """Ctrl-C: the step was finished and everything saved."""

    def __init__(self, folder: Path, step: int) -> None:
        command = f"gradtwin train --resume {shlex.quote(str(folder))}"
        super().__init__(f"interrupted after step {step:,}, all saved; go on with: {command}")


def run_twins(
    twins: Twins,
    dataset: Dataset,
    folder: Path,
    tell: Callable[[str], None],
    watch: Callable[[Step | Epoch], None],
    *,
    chosen: DataOptions | None = None,
    resumed: Checkpoint | None = None,
) -> RunResult:
    """Train the twins on `dataset`, with the logs, checkpoints and final weights in `folder`.

    Args:
        tell: receives the verdicts on the way, a sentence each.
        watch: receives every step and epoch.
        chosen: how the data set was asked for; by default, by its name.
        resumed: where to go on from; the twins, of the same settings, are brought there.

    Raises:
        UserError: as `lockstep`, `make_folder`, `save_checkpoint` and `locked` do; for a checkpoint of other twins or
            another data set.
        Interrupted: after Ctrl-C.

    Twins that are proven wrong are not trained, nor new ones that cannot be judged; a run goes on as it began.
    """
    settings = replace(twins.settings, epochs=twins.settings.epochs_on(dataset.name))
    make_folder(folder)
    keep_freed_memory()
    with locked(folder), equal_threads(settings.threads), _ctrl_c() as asked:
        run = _Run(twins, dataset, folder, chosen or DataOptions(dataset.name), resumed)
        for line in run.notes:
            tell(line)
        before = run.prove()
        untrained = RunResult(settings, dataset, folder, before, Report([]), run.drift.findings, None)
        if settings.compares:
            tell(f"{'resumed' if resumed else 'untrained'} twins: {verdict_on(before)}")
            if before.wrong or not (before.ok or resumed):
                return untrained
        try:
            with quiet_writers(), Board(folder, twins, dataset, run.drift, run.description(), run.logged) as board:
                if resumed is None:
                    board.report("untrained", before, verdict_on(before), 0)
                    run.save(board)
                try:
                    for event in run.train(board):
                        watch(event)
                        if asked:
                            run.save(board)
                            raise Interrupted(folder, run.progress.step)
                    result = run.finish(board, untrained)
                except Diverged as stop:
                    result = replace(untrained, stopped=str(stop))
                board.result(result.page(), run.progress.step)
                return result
        except BrokenPipeError:
            raise
        except OSError as error:  # of the logs
            raise UserError(f"{folder}: cannot be written ({error.strerror or error}); {advice(folder)}") from None


class _Run:
    """A run that goes on: everything that a checkpoint is made of, and came out of."""

    def __init__(
        self, twins: Twins, dataset: Dataset, folder: Path, chosen: DataOptions, resumed: Checkpoint | None
    ) -> None:
        self.twins, self.dataset, self.folder, self.chosen = twins, dataset, folder, chosen
        self.progress, self.best = Progress.fresh(twins.settings.seed), -1.0
        self.logged: dict[str, Any] | None = None
        findings, self.notes = None, list[str]()
        if resumed is not None:
            record = resumed.record
            require_data(folder, record, dataset, "start a new run")
            self.notes = require_logs(folder, record["board"]["files"])
            self.progress, self.best = Progress.from_json(record["progress"]), record["best"]
            twins.load_tensors(resumed.tensors, self.progress.step)
            remove_leftovers(folder / LAST)
            # Before the logs are cut back to it: the last checkpoint and the logs must never be of different steps.
            self.write(functools.partial(save_checkpoint, folder / LAST, resumed))
            self.logged, findings = record["board"], Findings.from_json(record["findings"])
        self.drift = Drift(twins, findings)

    def train(self, board: Board) -> Iterator[Step | Epoch]:
        """Train, log and save; gives every step and epoch after that. Raises UserError and Diverged as `lockstep`."""
        for event in lockstep(self.twins, self.dataset, self.progress, self.drift):
            board.log(event)
            self.save_after(event, board)
            yield event

    def save_after(self, event: Step | Epoch, board: Board) -> None:
        """Save the last state when it is time for it, and the best one when it has become better."""
        if isinstance(event, Epoch):
            accuracy = sum(event.test_accuracy.values()) / len(event.test_accuracy)
            better, self.best = accuracy > self.best, max(accuracy, self.best)
            self.save(board, *([BEST] if better else []))
        elif event.number % self.twins.settings.checkpoint_every == 0:
            self.save(board)

    def save(self, board: Board, *more: str) -> None:
        """Write the last checkpoint, and the same under other names."""
        record = {
            "settings": asdict(self.twins.settings),
            "data": asdict(self.chosen),
            "origin": self.dataset.origin,
            "checksum": self.dataset.checksum,
            "progress": self.progress.as_json(),
            "best": self.best,
            "findings": asdict(self.drift.findings),
            "board": board.state(self.progress.step),
        }
        checkpoint = Checkpoint(self.twins.tensors(), record)
        for name in (*more, LAST):
            self.write(functools.partial(save_checkpoint, self.folder / name, checkpoint))

    def write(self, save: Callable[[], None]) -> None:
        """Write a file of the run.

        Raises:
            UserError: if it cannot be written, or the folder is not where it was: what can be done then.
        """
        try:
            if not self.folder.is_dir():  # what is written would make a new one, without the logs
                raise UserError(f"{self.folder}: cannot be written (No such file or directory);")
            save()
        except UserError as error:
            what, _, _ = str(error).rpartition(";")
            raise UserError(f"{what}; {advice(self.folder)}") from None

    def last(self) -> Epoch:
        """The last epoch, with the logits; a run that was saved after it has to evaluate once more for them."""
        assert self.progress.last is not None
        if self.progress.last.logits:
            return self.progress.last
        tested = evaluate(self.twins, self.dataset)
        return replace(self.progress.last, logits={name: result.logits for name, result in tested.items()})

    def finish(self, board: Board, untrained: RunResult) -> RunResult:
        """Compare the trained twins, write their weights, and show what came out; `untrained` is the result so far."""
        last, after, states = self.last(), self.prove(), self.twins.states()
        for name, trained in states.items():
            self.write(functools.partial(weights.save_weights, self.folder / f"{name}.safetensors", trained))
        pair, settings = self.twins.pair, self.twins.settings
        learning = learning_of(pair, settings, self.dataset, states[settings.twins[-1]], last)
        if learning.blew_up:
            after = left_open(after)
        result = replace(untrained, after=after, last=last, learning=learning)
        board.finish(last, after, result.headline())
        return result

    def description(self) -> str:
        """What TensorBoard's text page says of the run, in Markdown."""
        settings = replace(self.twins.settings, epochs=self.twins.settings.epochs_on(self.dataset.name))
        rows = "\n".join(f"| {name} | {value} |" for name, value in (settings.shown() | versions()).items())
        return f"{self.dataset.origin}\n\n| setting | value |\n|---|---|\n{rows}"

    def prove(self) -> Report:
        """Compare scratch and torch on test images, both with the weights that torch has now.

        A twin that is trained alone has nothing to be compared with. With weights that blew up no difference counts as
        wrong.
        """
        twins = self.twins
        if not twins.settings.compares:
            return Report([])
        report = Report(check_trained(twins.pair, twins.states()["torch"], self.dataset, twins.settings.seed))
        if not report.wrong:
            return report
        tested = evaluate(twins, self.dataset)["torch"]
        return left_open(report) if blown(tested.loss, twins.pair.num_classes) and tested.accuracy < 0.5 else report


def new_folder(given: Path | None, settings: Settings, dataset: Dataset) -> Path:
    """The folder of a new run: `given`, or a new one under runs/ that says what it holds and since when.

    Raises:
        UserError: as `require_new` does: the curves of two runs in one chart say nothing.
    """
    if given is None:
        return Path("runs") / f"{settings.model}-{dataset.name}-{datetime.now():%Y%m%d-%H%M%S-%f}"
    require_new(given)
    return given


def require_new(folder: Path) -> None:
    """Make sure that a run can begin in `folder`: that it is not there, or holds no more than a lock and empty folders.

    Raises:
        UserError: if it holds something, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; give the name of a folder")
    if any(path.is_file() and path.name != LOCK for path in folder.rglob("*")):
        mend = f"; --resume {folder} goes on with it" if (folder / LAST).exists() else ""
        raise UserError(f"{folder}: holds something already; choose a new folder for the run{mend}")


@contextmanager
def _ctrl_c() -> Iterator[list[int]]:
    """Let Ctrl-C ask for an end, once; the second one ends at once. Gives a list that is no longer empty when asked."""
    asked: list[int] = []

    def ask(number: int, _: FrameType | None) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.getsignal(signal.SIGINT)
    ignored = before is signal.SIG_IGN  # as in a job in the background: it stays so
    if ignored or threading.current_thread() is not threading.main_thread():  # where no signal arrives
        yield asked
        return
    signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def advice(folder: Path) -> str:
    """What can be done where something of a run could not be written, by what of it is there."""
    if not folder.is_dir():
        return "the folder was moved or removed; go on with it where it is now: gradtwin train --resume FOLDER"
    if not (folder / LAST).is_file():
        return f"nothing was saved; mend that (is the disk full?), remove {shlex.quote(str(folder))} and start again"
    command = f"gradtwin train --resume {shlex.quote(str(folder))}"
    return f"the last checkpoint is whole: mend that (is the disk full?), then go on with: {command}"
