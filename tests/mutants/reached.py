"""What the plugin `reach` wrote down, read back: which tests to run against an edit, and what they take."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from coverage import CoverageData

from tests.mutants.edits import Edit

Contexts = dict[int, list[str]]  # by line of a file


@dataclass
class Reached:
    """The map of one test run over the sources in `root`.

    Attributes:
        seconds: of each test that passed, and of each shared fixture, by itself.
        uses: the shared fixtures of each test.
        files, texts: what has been looked up already in `data`, and in the files of tests.
    """

    root: Path
    data: CoverageData
    seconds: dict[str, float]
    uses: dict[str, list[str]]
    files: dict[str, Contexts] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path, folder: Path) -> Reached:
        """Raises FileNotFoundError if no test run has written into `folder`."""
        data, seconds, uses = combined(folder), dict[str, float](), dict[str, list[str]]()
        failed = set[str]()
        for path in folder.glob("tests-*.json"):
            found = json.loads(path.read_text())
            failed.update(found["failed"])
            for name, spent in found["seconds"].items():
                seconds[name] = max(spent, seconds.get(name, 0))  # each process sets up its own fixtures
            uses.update(found["uses"])
        if not uses:
            raise FileNotFoundError(f"{folder}: no map of a test run")
        return cls(root, data, seconds, {test: shared for test, shared in uses.items() if test not in failed})

    @cached_property
    def users(self) -> dict[str, set[str]]:
        """The tests of each context: a test's own, and those that use a fixture."""
        found: dict[str, set[str]] = {test: {test} for test in self.uses}
        for test, shared in self.uses.items():
            for fixture in shared:
                found.setdefault(fixture, set()).add(test)
        return found

    def tests_of(self, contexts: Iterable[str]) -> set[str]:
        return set().union(*(self.users.get(context, set()) for context in contexts))

    def choose(self, edit: Edit, limit: float) -> list[str]:
        """The tests to run against an edit, in this order, so that they take at most `limit` seconds.

        First the tests that execute its statement; for one at the top of a module, whose constants belong to no test,
        all tests of files that name the module too. Then those that execute anything else in its file, as a result may
        have been kept by an earlier test; last those of files that name it. Of each, the cheapest first.
        """
        if edit.path not in self.files:
            self.files[edit.path] = self.data.contexts_by_lineno(str(self.root / edit.path))
        lines = self.files[edit.path]
        near = self.tests_of({c for n in range(edit.first, edit.last + 1) for c in lines.get(n, [])})
        naming = self.naming(edit.path.removesuffix(".py").replace("/", "."))
        near |= set() if edit.scope else naming
        far = self.tests_of({c for contexts in lines.values() for c in contexts}) - near
        chosen: list[str] = []
        paid, spent = set[str](), 0.0
        for tests in (near, far, naming - near - far):
            for test in sorted(tests, key=lambda test: (self.cost(test, set()), test)):
                cost = self.cost(test, paid)
                if spent + cost <= limit:
                    chosen.append(test)
                    spent += cost
                    paid.update(self.uses[test])
        return chosen

    def naming(self, module: str) -> set[str]:
        """The tests of files that name a module in full, as those that import it do."""
        return {test for test in self.uses if module in self.text(test.partition("::")[0])}

    def text(self, path: str) -> str:
        if path not in self.texts:
            file = self.root / path
            self.texts[path] = file.read_text(encoding="utf-8") if file.is_file() else ""
        return self.texts[path]

    def cost(self, test: str, paid: set[str]) -> float:
        """Seconds of a test with those of its fixtures that are not set up yet."""
        return sum(self.seconds.get(name, 0) for name in (test, *(set(self.uses[test]) - paid)))


def combined(folder: Path) -> CoverageData:
    """The lines that all processes have seen, from then on in one file."""
    data = CoverageData(basename=str(folder / "lines"))
    data.read()
    for path in folder.glob("lines.*"):
        part = CoverageData(basename=str(path))
        part.read()
        data.update(part)
        path.unlink()
    return data
