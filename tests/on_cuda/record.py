"""A pytest plugin that writes what came of each test as it ends: one line of JSON, so that nothing is lost in a crash.

The file is named by an environment variable; `-p tests.on_cuda.record` switches the plugin on.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.on_cuda.steps import RECORD

LONGEST = 400  # characters of a failure's text


class Recorder:
    """Writes a line for each test that passed, failed or was skipped, with what it noted of its measurements."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test has three reports: its own counts, and of its setup and teardown only what is no success."""
        if report.passed and report.when != "call":
            return
        line: dict[str, Any] = {
            "test": report.nodeid,
            "outcome": report.outcome,
            "seconds": round(report.duration, 3),
            "noted": [values for name, values in report.user_properties if name == "noted"],
        }
        if not report.passed:
            line["text"] = short(report)
        self._write(line)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be imported counts as a test that failed."""
        if report.failed:
            self._write(
                {"test": report.nodeid, "outcome": "failed", "seconds": 0.0, "noted": [], "text": short(report)}
            )

    def _write(self, line: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def short(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why a test failed or was skipped, in one line."""
    told: Any = report.longrepr
    if isinstance(told, tuple):  # file, line, reason: skipped
        return str(told[2])[:LONGEST]
    crash = getattr(told, "reprcrash", None)
    lines = (crash.message if crash else str(told)).strip().splitlines()
    return " ".join((lines if crash else lines[-1:]) or ["no text"])[:LONGEST]


def pytest_configure(config: pytest.Config) -> None:
    """Record in the process that hears of all tests: under pytest-xdist not in its workers."""
    path = os.environ.get(RECORD)
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(Path(path)))
