"""What a run shows while it goes on, and the table at its end."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from compare.training.lockstep import TWINS, Epoch, Step

REFRESH = 10  # steps between two updates of a bar's numbers


class Display:
    """One progress bar for each twin on a terminal; elsewhere one plain line per epoch."""

    def __init__(self, console: Console, steps: int) -> None:
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
        self.bars: dict[str, TaskID] = {name: self.progress.add_task(name, total=steps, told="") for name in TWINS}

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
                for name in TWINS:
                    self.progress.update(self.bars[name], completed=event.number, told=f"loss {event.loss[name]:.4f}")
            return
        for name in TWINS:
            self.progress.update(self.bars[name], completed=event.step)
        test = event.test_accuracy
        line = f"epoch {event.number}: test accuracy {test['scratch']:.2%} (scratch), {test['torch']:.2%} (torch)"
        if event.number:
            loss, speed = event.train_loss, event.images_per_second
            line += f"; training loss {loss['scratch']:.5f}, {loss['torch']:.5f}"
            line += f"; images/s {speed['scratch']:,.0f}, {speed['torch']:,.0f}"
        self.console.print(line, highlight=False, soft_wrap=True)


def summary(last: Epoch) -> Table:
    """The table at the end: what each twin reached, and how far they are apart."""
    table = Table()
    for heading in ("", "training loss", "training accuracy", "test accuracy", "images/s"):
        table.add_column(heading, justify="right" if heading else "left")
    for name in TWINS:
        table.add_row(
            name,
            f"{last.train_loss[name]:.5f}",
            f"{last.train_accuracy[name]:.2%}",
            f"{last.test_accuracy[name]:.2%}",
            f"{last.images_per_second[name]:,.0f}",
        )
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
