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
from compare.training.findings import judged
from compare.training.learning import Learning
from compare.training.result import unjudged
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
    """The page, what was compared for it, and what its network has learned."""

    html: str
    report: Report
    learning: Learning


def build(history: History, seed: int = 0) -> Lesson:
    """The whole page, with the network of `history`; `seed` draws what is drawn for it.

    Raises:
        NotAsShown: if something that it shows as equal is not, or a comparison in the training has found a mistake; not
            `judged` if a training blew up, so that nothing can be said of it.
    """
    pair = model_pair(history.settings.model)
    registered = checked(list(LAYERS.values()))
    with equal_threads(1):
        trained = Report(check_trained(pair, history.after["torch"], history.dataset, seed))
    if not trained.rows or (trained.wrong and not history.learning.blew_up):
        require(judged(trained).rows, f"the trained {pair.name}")
    if history.findings.mistaken:
        found = [str(p) for p in history.findings.partings if not (p.ok or p.unjudged)] + history.findings.wrong
        raise NotAsShown(f"the training that is shown: {found[0]}")
    if problem := _unjudged(history, trained):
        raise NotAsShown(f"the trained {pair.name}: {problem}", judged=False)
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
    return Lesson(render(context), report, history.learning)


def _unjudged(history: History, trained: Report) -> str:
    """Why nothing can be said of trained twins, in words; empty if everything could be judged."""
    if history.learning.blew_up:
        return "; ".join(history.learning.lines())
    return unjudged(trained) if trained.unjudged else history.findings.open_question
