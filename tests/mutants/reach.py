"""A pytest plugin that writes down which lines each test executes, and how long each test and each fixture takes.

A shared fixture is set up by the first test that asks for it, so its lines and its seconds are kept under its own name
and belong to every test that uses it. Of other processes only those of candidates are seen, and forks.

    pytest -p tests.mutants.reach --reach FOLDER
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.mutants.measured import CONTEXT, FOLDER, measuring, save_at_exit

SAVING = 2.0  # seconds that a candidate's process has to write down what it has seen
BEGIN = "import sys; sys.path += sys.argv[2:]; from tests.mutants.measured import begin; begin(); "


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
        self.coverage = measuring(str(self.folder))
        self.coverage.start()
        self.current = [""]
        os.environ[FOLDER] = str(self.folder)
        os.register_at_fork(after_in_child=lambda: save_at_exit(self.coverage))

    def pytest_collection_finish(self) -> None:
        """Have the processes of candidates measure themselves: they see the folder, and are given time to write."""
        from compare.contained import bubblewrap, process, session

        wrapped, stop = bubblewrap.wrapped, process.Process.stop

        def wrapped_with_folder(*arguments: Any) -> list[str]:
            command: Sequence[str] = wrapped(*arguments)
            at = command.index("--chdir")
            return [*command[:at], "--bind", str(self.folder), str(self.folder), *command[at:]]

        def save_and_stop(started: process.Process) -> None:
            started.connection.close()  # at which it ends by itself
            ends = time.monotonic() + SAVING
            with contextlib.suppress(ChildProcessError):
                while not os.waitid(os.P_PID, started.popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    if time.monotonic() > ends:
                        break
                    time.sleep(0.01)
            stop(started)

        for owner, name, value in (
            (bubblewrap, "wrapped", wrapped_with_folder),
            (process.Process, "stop", save_and_stop),
            (process, "BOOT", BEGIN + process.BOOT),
            (process, "NEEDED", (*process.NEEDED, "tests/__init__.py", "tests/mutants")),
            (process, "_PASSED_ON", (*process._PASSED_ON, FOLDER, CONTEXT)),
            (session, "WRITABLE", (*session.WRITABLE, str(self.folder))),
        ):
            setattr(owner, name, value)

    def enter(self, name: str) -> float:
        self.current.append(name)
        self.switch(name)
        return time.perf_counter()

    def leave(self, start: float) -> None:
        spent = time.perf_counter() - start
        name = self.current.pop()
        self.seconds[name] = self.seconds.get(name, 0) + spent
        outer = self.current[-1]
        self.seconds[outer] = self.seconds.get(outer, 0) - spent  # it is counted where it was spent
        self.switch(outer)

    def switch(self, context: str) -> None:
        os.environ[CONTEXT] = context
        self.coverage.switch_context(context)

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
