"""One edit, tried: the chosen tests run in a process of their own, on a copy of the project that holds the edit."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# Seconds that a test may take beyond FACTOR times what it took without the edit: then it hangs.
GRACE, FACTOR = 20, 6
# What says that a catalogued mistake no longer fits the edited source. No behaviour was noticed by that.
STALE = "does not occur once in"


class Judge:
    """Runs the chosen tests in their order, up to the first that fails.

    Attributes:
        killer: the test that failed; empty as long as none did.
    """

    def __init__(self, tests: dict[str, float]) -> None:
        self.tests = tests
        self.killer = ""
        self.session: pytest.Session | None = None

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self.session = session

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        place = {name: n for n, name in enumerate(self.tests)}
        items[:] = sorted((item for item in items if item.nodeid in place), key=lambda item: place[item.nodeid])
        for item in items:
            limit = GRACE + FACTOR * self.tests[item.nodeid]
            item.add_marker(pytest.mark.timeout(limit), append=False)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.noticed(report.nodeid, report.longreprtext)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.noticed(report.nodeid, report.longreprtext)

    def noticed(self, test: str, text: str) -> None:
        if self.killer or STALE in text:
            return
        self.killer = test
        if self.session is not None:
            self.session.shouldfail = "killed"


def attempt(tree: Path, tests: dict[str, float], result: Path) -> None:
    """In a forked process: run the tests (with their expected seconds) in `tree`; write the killer's name and end."""
    os.setpgrp()
    log = os.open(result.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.chdir(tree)
    for name in [name for name in sys.modules if name.split(".")[0] in ("tests", "scratch", "torch_ref", "compare")]:
        del sys.modules[name]
    sys.path[:] = [str(tree), *(path for path in sys.path if path and not Path(path, "tests", "mutants").is_dir())]
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    judge = Judge(tests)
    files = list(dict.fromkeys(test.split("::")[0] for test in tests))
    try:
        status = pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", *files], plugins=[judge])
        noticed = (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR)
        if status in noticed and not judge.killer:
            judge.killer = f"pytest, which ends with {status!r}"
    except BaseException as error:
        judge.killer = f"pytest, which raises {type(error).__name__}"
    result.write_text(judge.killer)
    sys.stdout.flush()
    os._exit(0)
