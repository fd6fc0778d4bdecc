"""A whole run: prove that the untrained twins agree, train them side by side, prove that the trained ones still do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from compare import weights
from compare.conditions import direct_convolutions, equal_threads
from compare.data import Dataset, batches
from compare.errors import UserError
from compare.files import make_folder
from compare.pairs import model_pair
from compare.training.board import Board
from compare.training.lockstep import TWINS, Both, Epoch, Step, Twins, lockstep
from compare.training.settings import Settings
from compare.verify.agreement import DTYPES
from compare.verify.models import check_model
from compare.verify.report import Report, Row

PROOF_IMAGES = 64  # images of the data set on which the agreement of both models is proven


@dataclass(frozen=True)
class Result:
    """What came out of a run; `last` is None when the untrained twins did not agree and nothing was trained."""

    settings: Settings
    dataset: Dataset
    folder: Path
    before: Report
    after: Report
    last: Epoch | None

    @property
    def ok(self) -> bool:
        """Whether the twins agreed before and after the training."""
        return self.before.ok and self.after.ok

    def as_json(self) -> dict[str, Any]:
        """The result as plain values; null for what was not reached."""
        unknown: Both | dict[str, None] = dict.fromkeys(TWINS)
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
            "test_accuracy": last.test_accuracy if last else unknown,
            "final_loss": last.train_loss if last else unknown,
            "images_per_second": last.images_per_second if last else unknown,
            "agreement": {"ok": self.ok, "compared": self.before.compared + self.after.compared},
        }


def run_twins(
    twins: Twins,
    dataset: Dataset,
    folder: Path,
    tell: Callable[[str], None],
    watch: Callable[[Step | Epoch], None],
) -> Result:
    """Train both twins on `dataset`, with the logs and the final weights in `folder`.

    Args:
        tell: receives the verdicts on the way, a sentence each.
        watch: receives every step and epoch.

    Raises:
        UserError: as `lockstep` and `make_folder` do.
    """
    settings = replace(twins.settings, epochs=twins.settings.epochs_on(dataset.name))
    make_folder(folder)
    with equal_threads(settings.threads):
        before = _prove(twins, dataset)
        tell(f"untrained twins: {before.headline()}")
        if not before.ok:
            return Result(settings, dataset, folder, before, Report([]), None)
        with Board(folder, _description(settings, dataset, before)) as board:
            for event in lockstep(twins, dataset):
                board.log(event)
                watch(event)
                if isinstance(event, Epoch):
                    last = event
        for name, trained in twins.states().items():
            weights.save_weights(folder / f"{name}.safetensors", trained)
        return Result(settings, dataset, folder, before, _prove(twins, dataset), last)


def new_folder(given: Path | None, settings: Settings, dataset: Dataset) -> Path:
    """The folder of a new run: `given`, or a new one under runs/ that says what it holds and since when.

    Raises:
        UserError: if `given` has something in it: the curves of two runs in one chart say nothing.
    """
    if given is None:
        return Path("runs") / f"{settings.model}-{dataset.name}-{datetime.now():%Y%m%d-%H%M%S-%f}"
    if given.is_dir() and any(given.iterdir()):
        raise UserError(f"{given}: holds something already; choose a new folder for the run")
    return given


def _prove(twins: Twins, dataset: Dataset) -> Report:
    """Compare scratch and torch on test images, in float64 and float32, both with the weights that torch has now.

    Every label is moved to the next class: a trained model is so sure of the right ones that hardly a gradient is left
    to compare.
    """
    pair, state, rows = model_pair(twins.settings.model), twins.states()["torch"], list[Row]()
    for dtype in DTYPES:
        images, labels = next(batches(dataset.test_images, dataset.test_labels, PROOF_IMAGES, dtype))
        cast = {name: array.astype(dtype) for name, array in state.items()}
        with direct_convolutions():
            rows += check_model(pair, cast, images, (labels + 1) % pair.num_classes, twins.settings.seed)
    return Report(rows)


def _description(settings: Settings, dataset: Dataset, before: Report) -> str:
    """What TensorBoard's text page says of the run, in Markdown."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in asdict(settings).items())
    return f"{dataset.origin}\n\nUntrained twins: {before.headline()}\n\n| setting | value |\n|---|---|\n{rows}"
