"""What both twins did, for TensorBoard: one folder per twin and the same tags, so that each chart shows two curves."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

from torch.utils.tensorboard import SummaryWriter

from compare.training.lockstep import TWINS, Both, Epoch, Step

INTERVAL = 10  # steps that go into one point of a training curve
DIFFERENCE = "log10 difference/loss/train"


def page(port: int = 6006) -> str:
    """The address of TensorBoard's page that shows the answer at once: three pinned charts, and nothing smoothed."""
    pins = [{"plugin": "scalars", "tag": tag} for tag in ("loss/train", "accuracy/test", DIFFERENCE)]
    query = urlencode({"pinnedCards": json.dumps(pins, separators=(",", ":")), "smoothing": 0}, quote_via=quote)
    return f"http://localhost:{port}/?{query}#timeseries"


class Board:
    """Writes RUN/scratch and RUN/torch with the same tags, and RUN/compare with what they differ by.

    Tags: loss/train and accuracy/train, each point the mean of `INTERVAL` steps; loss/test and accuracy/test after each
    epoch; and in RUN/compare "log10 difference/loss/train", as its values span sixteen decades. TensorBoard stores
    float32, too coarse to subtract the two curves by eye: the difference is taken before, in float64.
    """

    def __init__(self, folder: Path, description: str) -> None:
        self.writers = {name: SummaryWriter(str(folder / name)) for name in (*TWINS, "compare")}
        self.writers["compare"].add_text("run", description)
        self.recent: list[Step] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self.writers.values():
            writer.close()

    def log(self, event: Step | Epoch) -> None:
        """Take down a step, or the test results of an epoch."""
        if isinstance(event, Epoch):
            self._scalars("loss/test", event.test_loss, event.step)
            self._scalars("accuracy/test", event.test_accuracy, event.step)
            return
        self.recent.append(event)
        if event.number % INTERVAL == 0 or event.number == 1:
            images = sum(step.images for step in self.recent)
            loss = {name: sum(step.loss[name] * step.images for step in self.recent) / images for name in TWINS}
            self._scalars("loss/train", loss, event.number)
            right = {name: sum(step.right[name] for step in self.recent) / images for name in TWINS}
            self._scalars("accuracy/train", right, event.number)
            difference = abs(loss["scratch"] - loss["torch"])
            if difference:  # equality has no logarithm: it is a gap in the curve
                self.writers["compare"].add_scalar(DIFFERENCE, math.log10(difference), event.number)
            self.recent.clear()

    def _scalars(self, tag: str, values: Both, step: int) -> None:
        for name in TWINS:
            self.writers[name].add_scalar(tag, values[name], step)
