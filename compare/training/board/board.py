"""What the twins did, for TensorBoard: a folder for each and the same tags, so that each chart shows their curves."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from sklearn.metrics import confusion_matrix
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

import scratch
from compare.driving.tensors import Tensors, gradient_name
from compare.machine.data import Dataset, batches
from compare.pairs.layers import layer_pair_of
from compare.pairs.observe import Values, leaves, watch_scratch, watch_torch
from compare.pairs.report import Report
from compare.pictures import side_by_side
from compare.training.board.logs import cut_back, log_sizes, wait_for_later_names
from compare.training.board.projector import write_projector
from compare.training.board.server import APART, DIFFERENCE
from compare.training.drift import Drift
from compare.training.findings import Distance
from compare.training.lockstep import Epoch, Step
from compare.training.twins import PERTURBED, Both, Twins
from scratch import Array

HISTOGRAMS = 10  # points of the curves between two histograms
PICTURES = 40  # points of the curves between two pictures, at the least
BINS = 64  # of a histogram; TensorBoard shows 30, and its own 1,549 take five times as long
EMBEDDED = 500  # test images in the projector
COMPARE = "compare"
PARTED, _, _ = DIFFERENCE.partition("/")  # before the name of a parameter

Recent = dict[str, dict[str, float]]


class Board:
    """Writes RUN/scratch and RUN/torch with the same tags, and RUN/compare with what they differ by.

    Each point of a training curve is the mean of `log_every` steps; test results follow each epoch. TensorBoard stores
    float32, too coarse to subtract two curves by eye: differences are taken before, in float64, and shown as log10, as
    they span sixteen decades. RUN/perturbed has the yardstick: torch against torch started one ulp away.

    Args:
        state: what `state` gave when the run was saved; everything written since is cut off.
    """

    def __init__(
        self,
        folder: Path,
        twins: Twins,
        dataset: Dataset,
        drift: Drift,
        description: str,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.twins, self.dataset, self.drift = folder, twins, dataset, drift
        self.recent: Recent = state["recent"] if state else {}
        # The same numbers twice tell nothing.
        self.drawn = {n for n, layer in leaves(twins.pair.torch()) if layer_pair_of(layer).gives != "unchanged"}
        self.steps_pictured: int | None = state["pictured"] if state else None
        if state:
            cut_back(folder, state["files"])
            wait_for_later_names(folder)
        purge = state["step"] + 1 if state else None  # for a TensorBoard that has read on already
        names = [*twins.members, *([COMPARE] if twins.settings.compares else [])]
        self.writers = {name: SummaryWriter(str(folder / name), purge_step=purge) for name in names}
        self.main = self.writers[COMPARE if twins.settings.compares else twins.settings.twins[0]]
        if not state:
            self._open(description)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is KeyboardInterrupt:  # it may have stopped a writer halfway, which would keep the others waiting
            return
        with ExitStack() as stack:  # each is closed, even if the disk is full for another one
            for writer in self.writers.values():
                stack.callback(writer.close)

    def state(self, step: int) -> dict[str, Any]:
        """Plain values to go on from after `step`; all that was logged is in its files then."""
        for writer in self.writers.values():
            writer.flush()
        return {
            "step": step,
            "recent": self.recent,
            "pictured": self.steps_pictured,
            "files": log_sizes(self.folder),
        }

    def log(self, event: Step | Epoch) -> None:
        """Take down a step, or the test results of an epoch."""
        if isinstance(event, Step):
            self._add(event)
            every = self.twins.settings.log_every
            if event.number % every == 0 or event.number == 1:
                self._point(event)
            if event.number % (every * HISTOGRAMS) == 0:
                self._histograms(event.number)
            return
        for name in event.test_loss:
            self._scalars(
                name, event.step, {"loss/test": event.test_loss[name], "accuracy/test": event.test_accuracy[name]}
            )
        if event.number and event.step % (self.twins.settings.log_every * HISTOGRAMS):
            self._histograms(event.step)
        if self.steps_pictured is None or event.step - self.steps_pictured >= PICTURES * self.twins.settings.log_every:
            self.picture(event)

    def picture(self, epoch: Epoch) -> None:
        """Filters, feature maps, confusion matrix, wrong digits and PR curves as they are after an epoch."""
        if self.steps_pictured == epoch.step:
            return
        self.steps_pictured = epoch.step
        weights = {name: self._filters(name) for name in self.twins.settings.twins}
        self._image("filters", side_by_side.filters(weights.get("scratch"), weights.get("torch")), epoch.step)
        outputs = {name: self._watched(name, 1)[1] for name in self.twins.settings.twins}
        for number, layer in enumerate(next(iter(outputs.values())), 1):
            if layer in self.drawn:
                own, twin = (outputs[name][layer][0] if name in outputs else None for name in ("scratch", "torch"))
                self._image(f"feature maps/{number} {layer}", side_by_side.feature_maps(own, twin), epoch.step)
        self._predictions(epoch)

    def report(self, name: str, report: Report, verdict: str, step: int) -> None:
        """The result of a comparison, as text: the verdict, and every tensor."""
        rows = "\n".join(
            f"| {row.pair} [{row.case}] | {row.tensor} | {row.dtype} | {row.budget:.0%} | {row.problem or 'ok'} |"
            for row in report.rows
        )
        table = f"| where | tensor | dtype | share of its bound | |\n|---|---|---|---|---|\n{rows}"
        self.main.add_text(f"agreement/{name}", f"{verdict}\n\n{table}", step)

    def result(self, summary: str, step: int) -> None:
        """What came out of the run, as text in Markdown."""
        self.main.add_text("result", summary, step)

    def finish(self, last: Epoch, report: Report, verdict: str) -> None:
        """What is shown of the trained twins only: the last pictures, the proof and its verdict, the projector."""
        self.picture(last)
        if report.rows:
            self.report("trained", report, verdict, last.step)
        vectors = {f"last hidden layer of {name}": self._hidden(name) for name in self.twins.settings.twins}
        folder = Path(self.main.log_dir)
        write_projector(folder, vectors, *self._test_images(EMBEDDED), self.dataset.classes)

    def _open(self, description: str) -> None:
        """What is written once: configuration, layout, hparams, the torch graph."""
        settings = self.twins.settings
        self.main.add_text("run", description, 0)
        if COMPARE in self.writers:
            self.writers[COMPARE].add_custom_scalars(self._layout())
        chosen = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in settings.shown().items()
            if name not in ("log_every", "checkpoint_every", "threads")  # nothing that is learnt depends on these
        }
        chosen["dataset"] = self.dataset.name
        for name in settings.twins:
            for part in hparams(chosen | {"twin": name}, {"accuracy/test": 0.0, "loss/test": 0.0}):
                self._write(name, part)
        if "torch" in settings.twins:
            images, _ = self._test_images(1)
            model = self.twins.members["torch"].model
            with warnings.catch_warnings():
                # add_graph calls what torch calls deprecated; the category differs from version to version.
                warnings.filterwarnings("ignore", message=".*`torch.jit.trace.*` is deprecated")
                self.writers["torch"].add_graph(model, self.twins.device.to_torch(images))

    def _layout(self) -> dict[str, dict[str, list[Any]]]:
        """The charts of the Custom Scalars page; a tag is matched as a regular expression, from its start."""

        def chart(*tags: str) -> list[Any]:
            return ["Multiline", [f"{tag}$" for tag in tags]]

        names = list(self.drift.now["torch"])
        return {
            "scratch and torch": {
                "training loss": chart("loss/train"),
                "test loss": chart("loss/test"),
                "training accuracy": chart("accuracy/train"),
                "test accuracy": chart("accuracy/test"),
                "images per second": chart("images per second"),
            },
            "log10 of their difference (compare), and of torch from torch one ulp away (perturbed)": {
                "training loss": chart(DIFFERENCE),
                "all weights": chart(APART),
                **{name: chart(f"{PARTED}/{name}") for name in names},
            },
            "gradient norms": {name: chart(f"gradient norm/{name}") for name in names},
        }

    def _add(self, step: Step) -> None:
        for name, loss in step.loss.items():
            sums = self.recent.setdefault(name, dict.fromkeys(("images", "loss", "right", "seconds"), 0.0))
            sums["images"] += step.images
            sums["loss"] += loss * step.images
            sums["right"] += step.right[name]
            sums["seconds"] += step.seconds[name]

    def _point(self, step: Step) -> None:
        """One point of every training curve."""
        mean = {name: sums["loss"] / sums["images"] for name, sums in self.recent.items()}
        for name in self.twins.settings.twins:
            sums = self.recent[name]
            values = {
                "loss/train": mean[name],
                "accuracy/train": sums["right"] / sums["images"],
                "learning rate": step.lr,
                "images per second": sums["images"] / sums["seconds"],
            }
            values |= {f"weight norm/{key}": _norm(array) for key, array in self.drift.now[name].items()}
            values |= {f"gradient norm/{key}": _norm(array) for key, array in self._gradients(name).items()}
            self._scalars(name, step.number, values)
        self._differences(mean, step.number)
        self.recent.clear()

    def _differences(self, loss: Both, step: int) -> None:
        """log10 of how far scratch is from torch, and the yardstick from torch; equality is a gap in the curve."""
        pairs: Iterable[tuple[str, str, Distance | None]] = (
            (COMPARE, "scratch", self.drift.own),
            (PERTURBED, PERTURBED, self.drift.yardstick),
        )
        for run, name, apart in pairs:
            if apart is not None and name in loss:
                values = {f"{PARTED}/{key}": value for key, value in apart.by_parameter.items()}
                values |= {DIFFERENCE: abs(loss[name] - loss["torch"]), APART: apart.largest}
                logs = {tag: math.log10(v) for tag, v in values.items() if v and math.isfinite(v)}
                self._scalars(run, step, logs)

    def _histograms(self, step: int) -> None:
        for name in self.twins.settings.twins:
            for kind, arrays in (
                ("weights", self.drift.now[name]),
                ("gradients", self._gradients(name)),
            ):
                for key, array in arrays.items():
                    if np.isfinite(array).all():
                        with np.errstate(over="ignore"):  # it adds up squares
                            self.writers[name].add_histogram(f"{kind}/{key}", array, step, bins=BINS)

    def _gradients(self, name: str) -> Tensors:
        """The gradients of a twin by the name of their parameter: a chart puts one beside the weight."""
        gradients = self.twins.members[name].gradients()
        return {key: gradients[gradient_name(key)] for key in self.drift.now[name] if gradient_name(key) in gradients}

    def _predictions(self, epoch: Epoch) -> None:
        """Confusion matrix, wrong digits and PR curves, from what the evaluation gave."""
        labels, classes = self.dataset.test_labels, self.dataset.classes
        chances = {name: scratch.softmax(logits) for name, logits in epoch.logits.items()}
        if not chances:  # a run that was finished already, and is only looked at again
            return
        counts = {n: confusion_matrix(labels, p.argmax(1), labels=range(len(classes))) for n, p in chances.items()}
        self._image(
            "predictions/confusion matrix",
            side_by_side.confusion(counts.get("scratch"), counts.get("torch"), classes),
            epoch.step,
        )
        wrong = side_by_side.wrong_digits(
            self.dataset.test_images, labels, chances.get("scratch"), chances.get("torch"), classes
        )
        self._image("predictions/wrong digits", wrong, epoch.step)
        for name, probabilities in chances.items():
            for number, label in enumerate(classes):
                self.writers[name].add_pr_curve(f"pr/{label}", labels == number, probabilities[:, number], epoch.step)

    def _test_images(self, count: int) -> tuple[Array, Array]:
        """The first test images, as numbers from 0 to 1, and their labels."""
        return next(batches(self.dataset.test_images, self.dataset.test_labels, count, self.twins.settings.dtype))

    def _watched(self, name: str, count: int) -> tuple[Values, Values]:
        """Inputs and outputs of all layers of a twin for the first test images."""
        model, (images, _) = self.twins.members[name].model, self._test_images(count)
        model.eval()
        device = self.twins.device
        seen = (
            watch_scratch(model, device.to_scratch(images))
            if name == "scratch"
            else (watch_torch(model, device.to_torch(images)))
        )
        model.train()
        return seen

    def _filters(self, name: str) -> Array:
        """The weights of the first convolution of a twin."""
        return self.twins.pair.filters(self.drift.now[name])

    def _hidden(self, name: str) -> Array:
        """What the last layer of a twin is given for the first test images: (N, features)."""
        inputs, _ = self._watched(name, EMBEDDED)
        return list(inputs.values())[-1]

    def _scalars(self, name: str, step: int, values: Mapping[str, float]) -> None:
        """Many scalars of one step in one record: a fifth of the time of as many calls of add_scalar."""
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
        self._write(name, summary, step)

    def _write(self, name: str, summary: Summary, step: int | None = None) -> None:
        file = self.writers[name].file_writer
        assert file is not None
        file.add_summary(summary, step)

    def _image(self, tag: str, picture: Array, step: int) -> None:
        self.main.add_image(tag, picture, step, dataformats="HWC")


def _norm(array: Array) -> float:
    with np.errstate(over="ignore", invalid="ignore"):  # a run that blows up is told of elsewhere
        return float(np.linalg.norm(array.astype(np.float64)))
