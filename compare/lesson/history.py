"""How the twins that the lesson shows were trained: while the page is built, or before, by a run that is read back."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from compare.driving.tensors import Tensors
from compare.machine.conditions import equal_threads, keep_freed_memory
from compare.machine.data import KIN, MNIST, Dataset, load
from compare.machine.errors import UserError
from compare.pairs.registry import model_pair
from compare.training.board.events import DamagedLog, read_events
from compare.training.board.logs import require_logs
from compare.training.board.server import APART
from compare.training.checkpoint import open_run, require_data
from compare.training.drift import Drift
from compare.training.findings import Findings
from compare.training.learning import Learning, learning_of
from compare.training.lockstep import Epoch, Progress, Step, evaluate, lockstep
from compare.training.settings import TWINS, Settings
from compare.training.twins import PERTURBED, Twins

# A training small enough to wait for, and large enough for both models to have learnt it.
TRAIN_IMAGES, TEST_IMAGES, BATCH = 6_000, 1_000, 32
MOST_EPOCHS = 12  # of fewer training images it takes more epochs, but no more than these
TITLES = {source.name: source.title for source in (MNIST, *KIN.values())} | {
    "digits": "scikit-learn's digits",
    "idx": "your own IDX files",
}
COMPARE, LOSS, TEST_LOSS, ACCURACY = "compare", "loss/train", "loss/test", "accuracy/test"  # as `board` has them
SAME_LOSS = 1e-6  # relative: a mean over many images in float32, on whatever machine, and stored in float32
LARGEST = 308.0  # log10 of what a float can hold

Points = dict[int, float]  # by step
Logged = dict[tuple[str, str], Points]  # by folder and tag


@dataclass(frozen=True)
class Curve:
    """Numbers by step, in the order of the steps; all of them finite."""

    steps: tuple[int, ...] = ()
    values: tuple[float, ...] = ()

    @classmethod
    def of(cls, points: Mapping[int, float]) -> Curve:
        """The finite ones of `points`."""
        kept = sorted((step, value) for step, value in points.items() if math.isfinite(value))
        return cls(tuple(step for step, _ in kept), tuple(value for _, value in kept))


@dataclass(frozen=True)
class History:
    """A trained pair of twins, and how it came about.

    Attributes:
        settings: with the number of epochs filled in. Of a run they are its own, its device too: who builds a model of
            them builds it where that is.
        dataset: the images that the twins learnt, and were tested on.
        origin: where the twins come from, in words.
        loss: the training loss by twin. At every step; of a run at every point of its logs, the mean since the point
            before.
        accuracy: the test accuracy by twin after each epoch, and before the first.
        apart: how far scratch is from torch, as `Distance.largest` says it; equality is a gap, as in the logs of runs.
        yardstick: the same of torch started one ulp away; empty for a run that has none.
        before: the weights by twin at the start; None where they are not known.
        after: the weights by twin now.
        findings: what the comparison has found.
        learning: what the weights answer now, held against guessing.
    """

    settings: Settings
    dataset: Dataset
    origin: str
    loss: dict[str, Curve]
    accuracy: dict[str, Curve]
    apart: Curve
    yardstick: Curve
    before: dict[str, Tensors] | None
    after: dict[str, Tensors]
    findings: Findings
    learning: Learning


def train_small(
    pair_name: str,
    data: Dataset,
    seed: int = 0,
    *,
    epochs: int | None = None,
    watch: Callable[[Step | Epoch], None] = lambda _: None,
) -> History:
    """Train the twins of this model in some seconds, on the first images of `data`; nothing is written.

    Args:
        epochs: by default, enough for the model to have learnt what there is.
        watch: receives every step and epoch.

    Raises:
        UserError: for an unknown model, and as `lockstep` does.
    """
    data = data.limited(min(TRAIN_IMAGES, len(data.train_images)), min(TEST_IMAGES, len(data.test_images)))
    images = len(data.train_images)
    epochs = _epochs(pair_name, images) if epochs is None else epochs
    settings = Settings(model=pair_name, epochs=epochs, batch_size=min(BATCH, images), seed=seed)
    times = "1 epoch" if epochs == 1 else f"{epochs} epochs"
    origin = f"{pair_name}, trained while this page was built: {times} of {images:,} images of {TITLES[data.name]}"
    keep_freed_memory()
    with equal_threads(settings.threads):
        return _trained(Twins(settings), data, origin, watch)


def read_run(run: Path, data_dir: Path | None = None, tell: Callable[[str], None] = lambda _: None) -> History:
    """The twins of a run, as its checkpoint has them, with the curves that it has logged up to there.

    Where a log is gone or damaged its curves have a gap, or are empty: the weights need no logs.

    Args:
        run: the folder of a run, or one of its checkpoints.
        data_dir: where the data set lies now, if not where it was.
        tell: receives what is to be said of a download.

    Raises:
        UserError: for a run that is not there, is damaged, has one twin only, or whose data set or logs are not there
            any more but others are.
    """
    saved = open_run(run, data_dir)
    folder, record = saved.folder, saved.checkpoint.record
    # With no more threads than this machine has cores: it need not be the one that trained.
    threads = min(record["settings"]["threads"], os.cpu_count() or 1)
    settings = Settings(**(record["settings"] | {"threads": threads}))
    if not settings.compares:
        raise UserError(
            f"{folder}: was trained with --only {settings.only}, and the lesson shows both twins; "
            "give a run that was trained without --only"
        )
    where = None if saved.data.data_dir is None else Path(saved.data.data_dir)
    data = load(saved.data.dataset, where, tell).limited(saved.data.train_images, saved.data.test_images)
    require_data(folder, record, data, "say with --data-dir where it lies now")
    settings = replace(settings, epochs=settings.epochs_on(data.name))
    require_logs(folder, record["board"]["files"])
    step, total = record["progress"]["step"], settings.total_steps(data.name, len(data.train_images))
    logged = _logged(folder, record["board"]["files"], step)
    last = Epoch(**(record["progress"]["last"] or {"number": 0, "step": 0, "test_loss": {}, "test_accuracy": {}}))
    after = {name: _part(saved.checkpoint.tensors, f"{name}/model/") for name in TWINS}
    return History(
        settings,
        data,
        f"{settings.model} of the run {_readable(folder)}, after step {step:,} of {total:,}",
        {name: Curve.of(logged.get((name, LOSS), {})) for name in TWINS},
        {name: Curve.of(logged.get((name, ACCURACY), {})) for name in TWINS},
        _apart(logged.get((COMPARE, APART), {})),
        _apart(logged.get((PERTURBED, APART), {})),
        _before(settings, data, _untrained_loss(record["progress"], logged)) if step else after,
        after,
        Findings.from_json(record["findings"]),
        _learning(settings, data, after, replace(last, step=step)),
    )


def _epochs(model: str, images: int) -> int:
    """As many epochs as make about the same number of steps, whatever the number of images."""
    full = model_pair(model).lesson_epochs
    return min(MOST_EPOCHS, max(full, round(full * TRAIN_IMAGES / images)))


def _trained(twins: Twins, data: Dataset, origin: str, watch: Callable[[Step | Epoch], None]) -> History:
    """Train the twins to the end, and take down what `History` tells."""
    before, drift = twins.states(), Drift(twins)
    loss, accuracy = ({name: Points() for name in TWINS} for _ in range(2))
    apart, yardstick = Points(), Points()
    last = Epoch(0, 0, {}, {})
    for event in lockstep(twins, data, Progress.fresh(twins.settings.seed), drift):
        for name in TWINS:
            if isinstance(event, Step):
                loss[name][event.number] = event.loss[name]
            else:
                accuracy[name][event.step] = event.test_accuracy[name]
                last = event
        if isinstance(event, Step):
            for points, found in ((apart, drift.own), (yardstick, drift.yardstick)):
                if found is not None and found.largest:
                    points[event.number] = found.largest
        watch(event)
    return History(
        twins.settings,
        data,
        origin,
        {name: Curve.of(points) for name, points in loss.items()},
        {name: Curve.of(points) for name, points in accuracy.items()},
        Curve.of(apart),
        Curve.of(yardstick),
        before,
        twins.states(),
        drift.findings,
        _learning(twins.settings, data, twins.states(), last),
    )


def _learning(settings: Settings, data: Dataset, after: dict[str, Tensors], last: Epoch) -> Learning:
    """What the weights `after` answer on the test images: the `last` epoch of a run need not have ended with them."""
    twins = Twins(replace(settings, device="cpu", tf32=False, resync=False, yardstick=False))
    for name, twin in twins.members.items():
        twin.load(after[name], {})
    with equal_threads(settings.threads):
        tested = evaluate(twins, data)
    loss, accuracy = ({n: getattr(t, what) for n, t in tested.items()} for what in ("loss", "accuracy"))
    return learning_of(
        twins.pair, settings, data, after["torch"], replace(last, test_loss=loss, test_accuracy=accuracy)
    )


def _readable(folder: Path) -> str:
    """The name of a folder as text that can be written in UTF-8, whatever bytes the system gave it."""
    return str(folder).encode(errors="replace").decode()


def _part(tensors: Mapping[str, Any], prefix: str) -> Tensors:
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def _logged(folder: Path, files: Iterable[str], last: int) -> Logged:
    """All scalars of these logs up to the step `last`; each log by itself, so that their order does not matter.

    What was logged after the checkpoint belongs to weights that it does not hold.
    """
    found: Logged = {}
    for name in files:
        for tag, step, value in _scalars(folder / name):
            if step <= last:
                found.setdefault((PurePosixPath(name).parts[0], tag), {})[step] = value
    return found


def _scalars(path: Path) -> Iterator[tuple[str, int, float]]:
    """Every scalar of a log up to where it is damaged, as (tag, step, value); none if it is gone."""
    with suppress(DamagedLog, OSError):
        for event in read_events(path):
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    yield value.tag, event.step, value.simple_value


def _apart(logarithms: Points) -> Curve:
    """The distances of which these are the logarithms."""
    return Curve.of({step: 10.0**value for step, value in logarithms.items() if value <= LARGEST})


def _untrained_loss(progress: Mapping[str, Any], logged: Logged) -> float | None:
    """The test loss of torch before the first step, as the checkpoint or else the logs have it."""
    last = progress["last"]
    if last and last["number"] == 0:
        return float(last["test_loss"]["torch"])
    return logged.get(("torch", TEST_LOSS), {}).get(0)


def _before(settings: Settings, data: Dataset, loss: float | None) -> dict[str, Tensors] | None:
    """The weights at the start, drawn again with the seed; None if the run's were others, or nothing says which.

    A run that was given its weights does not say so, but untrained it had another loss.
    """
    if loss is None:
        return None
    twins = Twins(replace(settings, device="cpu", tf32=False, resync=False, only="torch"))  # both start alike
    with equal_threads(settings.threads):
        found = evaluate(twins, data)["torch"].loss
    if not math.isclose(found, loss, rel_tol=SAME_LOSS):
        return None
    return {name: twins.states()["torch"] for name in TWINS}
