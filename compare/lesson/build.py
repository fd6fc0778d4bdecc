"""The page, put together from what the other modules of this package measure.

Whatever it shows as equal was compared while it was built; where something is not, `NotAsShown` is raised and there is
no page.
"""

from __future__ import annotations

from dataclasses import dataclass

from compare.lesson.agreement import checked, require
from compare.lesson.chapters import contents, learnt
from compare.lesson.history import History
from compare.lesson.layers import LAYERS
from compare.lesson.not_as_shown import NotAsShown
from compare.lesson.scene import Scene
from compare.lesson.showing.render import render
from compare.machine.conditions import equal_threads
from compare.pairs.registry import model_pair
from compare.pairs.report import Report
from compare.training.checkpoint import versions
from compare.verify.trained import check_trained

TITLES = (
    ("why", "Why convolutions"),
    ("convolution", "The convolution, step by step"),
    ("backward", "Backward through a convolution"),
    ("layers", "From maps to a loss"),
    ("training", "Training"),
    ("mistakes", "What goes wrong"),
    ("close", "How close is close enough"),
)


@dataclass(frozen=True)
class Lesson:
    """The page, and what was compared for it."""

    html: str
    report: Report


def build(history: History, seed: int = 0) -> Lesson:
    """The whole page, with the network of `history`; `seed` draws what is drawn for it.

    Raises:
        NotAsShown: if something that it shows as equal is not, or a comparison in the training has found a mistake.
    """
    pair = model_pair(history.settings.model)
    registered = checked(list(LAYERS.values()))
    with equal_threads(1):
        trained = Report(check_trained(pair, history.after["torch"], history.dataset, seed))
    require(trained.rows, f"the trained {pair.name}")
    if not history.findings.ok:
        found = [str(parting) for parting in history.findings.partings if not parting.ok] + history.findings.wrong
        raise NotAsShown(f"the training that is shown: {found[0]}")
    report = Report([*registered.rows, *trained.rows])
    scene = Scene(pair, history, report, seed)
    context = {
        "chapters": TITLES,
        "layers": LAYERS,
        "versions": versions(),
        "history": history,
        "summary": {"compared": f"{report.compared:,}"},
        "trained": {"compared": trained.compared, "share": f"{max(row.budget for row in trained.rows):.0%}"},
    }
    for chapter in (
        contents.why,
        contents.convolution,
        contents.layers,
        learnt.training,
        contents.mistakes,
        contents.close,
    ):
        context |= chapter(scene)
    return Lesson(render(context), report)
