"""What a run shows while it goes on, and the table at its end."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from compare.training.lockstep import Epoch, Step
from compare.training.settings import TWINS

REFRESH = 10  # steps between two updates of a bar's numbers


class Display:
    """One progress bar for each of `names` on a terminal, from step `done` on; elsewhere one plain line per epoch."""

    def __init__(self, console: Console, steps: int, names: Sequence[str] = TWINS, done: int = 0) -> None:
        self.console = console
        self.progress = Progress(
            TextColumn("{task.description:>8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.bars: dict[str, TaskID] = {
            name: self.progress.add_task(name, total=steps, completed=done, told="") for name in names
        }

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def show(self, event: Step | Epoch) -> None:
        """Move the bars by a step, or tell of an epoch."""
        if isinstance(event, Step):
            if event.number % REFRESH == 0:
                for name, bar in self.bars.items():
                    self.progress.update(bar, completed=event.number, told=f"loss {event.loss[name]:.4f}")
            return
        for bar in self.bars.values():
            self.progress.update(bar, completed=event.step)
        accuracy = ", ".join(f"{value:.2%} ({name})" for name, value in event.test_accuracy.items())
        line = f"epoch {event.number}: test accuracy {accuracy}"
        if event.number:
            line += "; training loss " + ", ".join(f"{value:.5f}" for value in event.train_loss.values())
            line += "; images/s " + ", ".join(f"{value:,.0f}" for value in event.images_per_second.values())
        self.console.print(line, highlight=False, soft_wrap=True)


def summary(last: Epoch) -> Table:
    """The table at the end: what each twin reached, and how far they are apart."""
    table = Table()
    for heading in ("", "training loss", "training accuracy", "test accuracy", "images/s"):
        table.add_column(heading, justify="right" if heading else "left")
    for name in last.test_accuracy:
        table.add_row(
            name,
            f"{last.train_loss[name]:.5f}",
            f"{last.train_accuracy[name]:.2%}",
            f"{last.test_accuracy[name]:.2%}",
            f"{last.images_per_second[name]:,.0f}",
        )
    if len(last.test_accuracy) < len(TWINS):
        return table
    loss, train, test, speed = (
        (value["scratch"], value["torch"])
        for value in (last.train_loss, last.train_accuracy, last.test_accuracy, last.images_per_second)
    )
    table.add_row(
        "difference",
        f"{loss[0] - loss[1]:+.1e}",
        f"{100 * (train[0] - train[1]):+.2f} points",
        f"{100 * (test[0] - test[1]):+.2f} points",
        f"x {speed[0] / speed[1]:.2f}",
    )
    return table
