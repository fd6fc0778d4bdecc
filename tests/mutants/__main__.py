"""`python -m tests.mutants`: draw single edits of `scratch` and `compare`, run each against the tests that reach it.

The map of what each test reaches takes one run of the whole suite; it is kept in build/mutants and made again when the
project has changed. Edits that are known to change no behaviour are listed, with the reason, in equivalent.toml.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from compare.machine.processor import cores
from tests.mutants.edits import Edit, draw, edits_of
from tests.mutants.reached import Reached
from tests.mutants.trial import attempt

ROOT = Path(__file__).resolve().parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
EXCUSED = 0.08  # the largest share of edits that may be called equivalent
OUTCOMES = ("killed", "survived", "equivalent")
# Imported once here instead of in each process; nothing of the project is.
HEAVY = ("numpy", "torch", "torchvision", "rich", "typer", "PIL.Image")
# A process is ended after PATIENCE times the seconds of its tests, and two minutes: the machine may be busy.
PATIENCE = 4
console = Console(highlight=False)


@dataclass(frozen=True)
class Trial:
    """What became of an edit: "killed" (by which test), "survived" (how many tests), or "equivalent" (why)."""

    edit: Edit
    outcome: str
    reason: str
    seconds: float = 0.0

    @property
    def package(self) -> str:
        return str(Path(self.edit.path).parent).replace("/", ".")


def main() -> int:
    options = parsed()
    folder = options.folder.absolute()
    paths = sorted(path for name in ("scratch", "compare") for path in (ROOT / name).rglob("*.py"))
    edits = [edit for path in paths for edit in edits_of(ROOT, path)]
    drawn = draw([edit for edit in edits if options.only in edit.key], options.count, options.seed)
    if not drawn:
        console.print(
            f"no edit's name holds {options.only!r}; an edit is named like compare/pairs/registry.py::_brief: 1 -> 2",
            soft_wrap=True,
        )
        return 2
    reached = Reached.read(ROOT, map_of_the_suite(folder, options.reuse, options.workers))
    known = tomllib.loads(EQUIVALENT.read_text())
    trials = [Trial(edit, "equivalent", known[edit.key]) for edit in drawn if edit.key in known]
    chosen = {edit: reached.choose(edit, options.seconds) for edit in drawn if edit.key not in known}
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as in the tests; read by what is imported now
    for name in HEAVY:
        importlib.import_module(name)
    trees = [copy_of_the_project(folder / f"tree-{n}") for n in range(options.workers)]
    console.print(f"seed {options.seed}: {len(drawn)} of {len(edits):,} edits, {options.seconds:g} s of tests each")
    trials += run_all(chosen, reached, trees, folder, options.seconds)
    unreliable = control(trials, reached, trees[0], folder)
    for trial in sorted(trials, key=lambda trial: (OUTCOMES.index(trial.outcome), trial.edit.key)):
        console.print(f"{trial.outcome}: {trial.edit.key} (line {trial.edit.first}): {trial.reason}", soft_wrap=True)
    console.print(table(trials))
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps([as_json(trial) for trial in trials], indent=1, ensure_ascii=False))
    if unreliable:
        console.print(f"not to be believed: {unreliable} fails without any edit", style="red")
    excused = sum(trial.outcome == "equivalent" for trial in trials)
    if excused > EXCUSED * len(trials):
        console.print(f"too many are called equivalent: {excused} of {len(trials)}", style="red")
    return 1 if unreliable or excused > EXCUSED * len(trials) else 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="draws the edits (1)")
    parser.add_argument("--count", type=int, default=150, help="how many (150)")
    parser.add_argument("--only", default="", help="draw among the edits whose name holds this: scratch/conv")
    parser.add_argument("--seconds", type=float, default=60, help="of tests for each edit, at most (60)")
    parser.add_argument("--workers", type=int, default=cores(), help="edits at the same time")
    parser.add_argument("--reuse", action="store_true", help="take the last map, whatever has changed since")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "mutants", help="for the map and copies")
    parser.add_argument("--json", type=Path, help="write every edit and what became of it to this file")
    given = parser.parse_args()
    for name in ("count", "seconds", "workers"):
        if getattr(given, name) <= 0:
            parser.error(f"--{name} must be above 0, got {getattr(given, name)}")
    return given


def map_of_the_suite(folder: Path, reuse: bool, workers: int) -> Path:
    """The folder of the map; a run of the whole suite makes it where it is missing or belongs to other sources."""
    state, stamp = hashlib.sha256(), folder / "reach" / "sources"
    for path in project_files():
        state.update(f"{path} {len((ROOT / path).read_bytes())}".encode() + (ROOT / path).read_bytes())
    if stamp.exists() and (reuse or stamp.read_text() == state.hexdigest()):
        return stamp.parent
    shutil.rmtree(stamp.parent, ignore_errors=True)
    console.print("running the whole suite once, to see what each test reaches")
    plugin = ["-p", "tests.mutants.reach", f"--reach={stamp.parent}", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-q", *plugin, "-n", str(workers)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    console.print(done.stdout.strip().rpartition("\n")[2])
    if done.returncode not in (0, 1):
        raise SystemExit(f"{done.stdout}{done.stderr}\nno map: pytest ended with status {done.returncode}")
    if done.returncode:
        console.print("\n".join(line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))))
        console.print("tests that fail already are not used")
    stamp.write_text(state.hexdigest())
    return stamp.parent


def project_files() -> list[str]:
    """Everything that git knows or would add, from the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(path for path in listed if (ROOT / path).is_file())


def copy_of_the_project(tree: Path) -> Path:
    """A copy to be edited, with everything compiled already."""
    shutil.rmtree(tree, ignore_errors=True)
    for path in project_files():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, tree / path)
    environment = os.environ | {"PYTHONPATH": str(tree)}
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider"]
    subprocess.run(command, cwd=tree, env=environment, capture_output=True, check=False)
    return tree


def run_all(
    chosen: dict[Edit, list[str]], reached: Reached, trees: list[Path], folder: Path, limit: float
) -> list[Trial]:
    """Every edit in a process of its own, as many at the same time as there are copies of the project."""
    waiting, running, trials = list(chosen), dict[int, tuple[Edit, Path, float]](), list[Trial]()
    free = list(trees)
    while waiting or running:
        while waiting and free:
            edit, tree = waiting.pop(0), free.pop()
            if not chosen[edit]:
                trials.append(Trial(edit, "survived", "no test reaches it"))
                free.append(tree)
                continue
            result = folder / f"{tree.name}.result"
            running[start(edit, tree, expected(chosen[edit], reached), result)] = (edit, tree, time.monotonic())
        for pid, (edit, tree, began) in list(running.items()):
            spent = time.monotonic() - began
            if os.waitpid(pid, os.WNOHANG)[0]:
                killer = (folder / f"{tree.name}.result").read_text()
            elif spent > PATIENCE * limit + 120:
                killer = f"the time: no end after {spent:.0f} s"
            else:
                continue
            end(pid)
            shutil.copy2(ROOT / edit.path, tree / edit.path)
            outcome, reason = ("killed", killer) if killer else ("survived", f"{len(chosen[edit])} tests")
            trials.append(Trial(edit, outcome, reason, spent))
            console.print(f"{len(trials)}: {outcome} in {spent:.0f} s: {edit.key}", soft_wrap=True)
            del running[pid]
            free.append(tree)
        time.sleep(0.1)
    return trials


def expected(tests: list[str], reached: Reached) -> dict[str, float]:
    return {test: reached.cost(test, set()) for test in tests}


def start(edit: Edit | None, tree: Path, tests: dict[str, float], result: Path) -> int:
    """The process that tries an edit, or none, in `tree`."""
    result.write_text("a process that ended before it said anything")
    if edit is not None:
        path = tree / edit.path
        path.write_bytes(edit.apply((ROOT / edit.path).read_bytes()))
        os.utime(path, (0, time.time() + 1000))  # another time than that of the compiled file
    pid = os.fork()
    if not pid:
        attempt(tree, tests, result)
    return pid


def end(pid: int) -> None:
    """Whatever is left of a process and of those that it has started."""
    try:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def control(trials: list[Trial], reached: Reached, tree: Path, folder: Path) -> str:
    """The tests that have killed, all of them without any edit: the one that fails there too, or nothing."""
    killers = sorted({trial.reason for trial in trials if trial.outcome == "killed" and trial.reason in reached.uses})
    if not killers:
        return ""
    result = folder / "control.result"
    pid = start(None, tree, expected(killers, reached), result)
    os.waitpid(pid, 0)
    end(pid)
    return result.read_text()


def table(trials: list[Trial]) -> Table:
    """By package: how many of which outcome, and the share killed of those that change behaviour."""
    shown = Table(title="mutants")
    for column in ("package", *OUTCOMES, "killed of those that change behaviour"):
        shown.add_column(column, justify="left" if column == "package" else "right")
    counts = {package: Counter[str]() for package in sorted({trial.package for trial in trials})}
    for trial in trials:
        counts[trial.package][trial.outcome] += 1
    for package, count in (*counts.items(), ("all", Counter(trial.outcome for trial in trials))):
        changing = count["killed"] + count["survived"]
        share = f"{count['killed'] / changing:.0%}" if changing else "-"
        shown.add_row(package, *(str(count[outcome]) for outcome in OUTCOMES), share, end_section=package != "all")
    return shown


def as_json(trial: Trial) -> dict[str, object]:
    return {
        "package": trial.package,
        "edit": trial.edit.key,
        "line": trial.edit.first,
        "outcome": trial.outcome,
        "reason": trial.reason,
        "seconds": round(trial.seconds, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
