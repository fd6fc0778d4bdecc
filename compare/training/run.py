"""A whole run: prove that the untrained twins agree, train them side by side, prove that the trained ones still do."""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
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
from compare.training.findings import Findings
from compare.training.lockstep import Epoch, Progress, Step, evaluate, lockstep
from compare.training.settings import TWINS, DataOptions, Settings
from compare.training.twins import Both, Twins
from compare.verify.trained import check_trained


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """Ctrl-C: the step was finished and everything saved."""

    def __init__(self, folder: Path, step: int) -> None:
        command = f"gradtwin train --resume {shlex.quote(str(folder))}"
        super().__init__(f"interrupted after step {step:,}, all saved; go on with: {command}")


@dataclass(frozen=True)
class RunResult:
    """What came out of a run; `last` is None when the untrained twins did not agree and nothing was trained."""

    settings: Settings
    dataset: Dataset
    folder: Path
    before: Report
    after: Report
    findings: Findings
    last: Epoch | None

    @property
    def ok(self) -> bool:
        """Whether the twins agreed before, during and after the training; alone, a twin has nobody to agree with."""
        return not self.settings.compares or (self.before.ok and self.after.ok and self.findings.ok)

    def as_json(self) -> dict[str, Any]:
        """The result as plain values; null for what was not reached."""
        last = self.last
        chosen = asdict(self.settings)
        return {
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
            "agreement": {"ok": self.ok, "compared": self.before.compared + self.after.compared},
            "drift": asdict(self.findings),
        }


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
    """
    settings = replace(twins.settings, epochs=twins.settings.epochs_on(dataset.name))
    make_folder(folder)
    keep_freed_memory()
    with locked(folder), equal_threads(settings.threads), _ctrl_c() as asked:
        run = _Run(twins, dataset, folder, chosen or DataOptions(dataset.name), resumed)
        for line in run.notes:
            tell(line)
        before = run.prove()
        if settings.compares:
            tell(f"{'resumed' if resumed else 'untrained'} twins: {before.headline()}")
            if not before.ok:
                return RunResult(settings, dataset, folder, before, Report([]), run.drift.findings, None)
        try:
            description = _description(settings, dataset)
            with quiet_writers(), Board(folder, twins, dataset, run.drift, description, run.logged) as board:
                if resumed is None:
                    board.report("untrained", before, 0)
                    run.save(board)
                for event in lockstep(twins, dataset, run.progress, run.drift):
                    board.log(event)
                    run.save_after(event, board)
                    watch(event)
                    if asked:
                        run.save(board)
                        raise Interrupted(folder, run.progress.step)
                last, after = run.last(), run.prove()
                for name, trained in twins.states().items():
                    weights.save_weights(folder / f"{name}.safetensors", trained)
                result = RunResult(settings, dataset, folder, before, after, run.drift.findings, last)
                board.finish(last, after, _outcome(result))
        except BrokenPipeError:
            raise
        except OSError as error:  # of the logs; what else is written says so itself
            raise UserError(f"{folder}: cannot be written ({error.strerror or error}); {_go_on(folder)}") from None
        return result


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
            remove_leftovers(folder / LAST)
            # Before the logs are cut back to it: the last checkpoint and the logs must never be of different steps.
            save_checkpoint(folder / LAST, resumed)
            twins.load_tensors(resumed.tensors)
            self.progress, self.best = Progress.from_json(record["progress"]), record["best"]
            self.logged, findings = record["board"], Findings.from_json(record["findings"])
        self.drift = Drift(twins, findings)

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
        try:
            for name in (*more, LAST):
                save_checkpoint(self.folder / name, checkpoint)
        except UserError as error:
            what, _, _ = str(error).rpartition(";")
            raise UserError(f"{what}; the checkpoint before it is whole: {_go_on(self.folder)}") from None

    def last(self) -> Epoch:
        """The last epoch, with the logits; a run that was saved after it has to evaluate once more for them."""
        assert self.progress.last is not None
        if self.progress.last.logits:
            return self.progress.last
        tested = evaluate(self.twins, self.dataset)
        return replace(self.progress.last, logits={name: result.logits for name, result in tested.items()})

    def prove(self) -> Report:
        """Compare scratch and torch on test images, both with the weights that torch has now.

        A twin that is trained alone has nothing to be compared with.
        """
        twins = self.twins
        if not twins.settings.compares:
            return Report([])
        return Report(check_trained(twins.pair, twins.states()["torch"], self.dataset, twins.settings.seed))


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


def _go_on(folder: Path) -> str:
    return f"make room, then go on with: gradtwin train --resume {shlex.quote(str(folder))}"


def _by_twin(values: Both) -> dict[str, float | None]:
    return {name: values.get(name) for name in TWINS}


def _description(settings: Settings, dataset: Dataset) -> str:
    """What TensorBoard's text page says of the run, in Markdown."""
    shown = settings.shown() | versions()
    rows = "\n".join(f"| {name} | {value} |" for name, value in shown.items())
    return f"{dataset.origin}\n\n| setting | value |\n|---|---|\n{rows}"


def _outcome(result: RunResult) -> str:
    """The result in Markdown: what each twin reached, and what the comparison says."""
    assert result.last is not None
    last = result.last
    rows = "\n".join(
        f"| {name} | {last.train_loss[name]:.5f} | {last.test_accuracy[name]:.2%} "
        f"| {last.images_per_second[name]:,.0f} |"
        for name in last.test_accuracy
    )
    lines = [f"| | training loss | test accuracy | images/s |\n|---|---|---|---|\n{rows}"]
    lines += result.findings.lines(result.settings)
    return "\n\n".join(lines)
