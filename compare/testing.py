"""For people's own test suites: one assertion that a from-scratch layer computes what its torch twin does."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from compare.diagnosis.diagnose import diagnose
from compare.diagnosis.render.terminal import show


def assert_twin(candidate: Any, *, like: Any, **how: Any) -> None:
    """Assert that `candidate` is right; the arguments are those of `compare.diagnose`.

    Raises:
        AssertionError: if it is wrong or not judged, with the whole verdict: the first wrong tensor, what the mistake
            is, the smallest input; or what is missing for a verdict.
        UserError: as `compare.diagnose`.

    >>> from scratch import ReLU
    >>> assert_twin(ReLU, like="relu")
    """
    __tracebackhide__ = True  # pytest shows the line of the test, not this one
    diagnosis = diagnose(candidate, like=like, **how)
    if not diagnosis.ok:
        text = io.StringIO()
        show(diagnosis, Console(file=text, width=120, color_system=None))
        raise AssertionError(text.getvalue().rstrip())
