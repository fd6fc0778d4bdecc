"""A pytest plugin that writes down which lines each test executes, and how long each test and each fixture takes.

A shared fixture is set up by the first test that asks for it, so its lines and its seconds are kept under its own name
and belong to every test that uses it. Of other processes only those that `compare.diagnosis` forks are seen.

    pytest -p tests.mutants.reach --reach FOLDER
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import coverage
import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(eq=False)  # a plugin must be hashable
class Recorder:
    """Measures one process of the test run; the names of contexts are node ids of tests, and names of fixtures.

    Attributes:
        folder: where `write` puts the result of this process.
        seconds: of each test and of each shared fixture, what it takes by itself.
        uses: the shared fixtures of each test.
        failed: the tests that did not pass.
    """

    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)
    uses: dict[str, list[str]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.coverage = coverage.Coverage(
            data_file=self.folder / "lines",
            data_suffix=True,
            source=[str(ROOT / name) for name in ("scratch", "torch_ref", "compare")],
            config_file=False,
            messages=False,
        )
        self.coverage.start()
        self.current = [""]
        os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGUSR1, self.save_and_end))

    def save_and_end(self, *_: object) -> None:
        self.coverage.stop()
        self.coverage.save()
        os._exit(0)

    def pytest_collection_finish(self) -> None:
        """Have the processes of the diagnosis save what they have seen before they are killed."""
        from compare.contained.session import Session

        stop = Session._stop

        def save_and_stop(session: Session) -> None:
            process = session._process
            if isinstance(process, BaseProcess) and process.pid is not None and process.is_alive():
                os.kill(process.pid, signal.SIGUSR1)
                process.join(5)
            stop(session)

        setattr(Session, "_stop", save_and_stop)  # noqa: B010 - in the tests' own process only

    def enter(self, name: str) -> float:
        self.current.append(name)
        self.coverage.switch_context(name)
        return time.perf_counter()

    def leave(self, start: float) -> None:
        spent = time.perf_counter() - start
        name = self.current.pop()
        self.seconds[name] = self.seconds.get(name, 0) + spent
        outer = self.current[-1]
        self.seconds[outer] = self.seconds.get(outer, 0) - spent  # it is counted where it was spent
        self.coverage.switch_context(outer)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        definitions: dict[str, Any] = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
        shared = [found[-1] for found in definitions.values() if found[-1].scope != "function"]
        self.uses[item.nodeid] = sorted(map(fixture_name, shared))
        start = self.enter(item.nodeid)
        try:
            return (yield)
        finally:
            self.leave(start)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, Any, Any]:
        if fixturedef.scope == "function":
            return (yield)
        start = self.enter(fixture_name(fixturedef))
        try:
            return (yield)
        finally:
            self.leave(start)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self.failed.append(report.nodeid)

    def pytest_unconfigure(self) -> None:
        self.coverage.stop()
        self.coverage.save()
        self.seconds.pop("", None)
        text = json.dumps({"seconds": self.seconds, "uses": self.uses, "failed": self.failed})
        (self.folder / f"tests-{os.getpid()}.json").write_text(text)


def fixture_name(definition: Any) -> str:
    """The context of a shared fixture; no node id begins like this."""
    return f"fixture {definition.baseid}::{definition.argname}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reach", type=Path, help="a folder for what each test reaches")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Begin before the first import of what is measured."""
    folder = early_config.known_args_namespace.reach
    if folder is not None:
        early_config.pluginmanager.register(Recorder(folder.absolute()))
