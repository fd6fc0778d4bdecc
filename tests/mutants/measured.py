"""Measures in the process of a candidate, from its start to its end; the plugin `reach` has it do so."""

from __future__ import annotations

import os
from typing import Any, NoReturn

import coverage

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOURCES = [os.path.join(ROOT, name) for name in ("scratch", "torch_ref", "compare")]
FOLDER, CONTEXT = "GRADTWIN_REACH", "GRADTWIN_REACH_CONTEXT"  # of the environment: where to write, and for whom


def measuring(folder: str, **options: Any) -> coverage.Coverage:
    """What measures this process; it writes a file of its own into the folder."""
    return coverage.Coverage(
        data_file=os.path.join(folder, "lines"),
        data_suffix=True,
        source=SOURCES,
        config_file=False,
        messages=False,
        **options,
    )


def save_at_exit(measured: coverage.Coverage) -> None:
    """Save what was seen when this process ends by `os._exit`."""
    leave = os._exit

    def save_and_leave(status: int) -> NoReturn:
        os._exit = leave
        measured.stop()
        measured.save()
        leave(status)

    os._exit = save_and_leave


def begin() -> None:
    """Measure this process for the test, or the fixture, that has started it."""
    measured = measuring(os.environ[FOLDER], context=os.environ[CONTEXT])
    measured.start()
    save_at_exit(measured)
