"""The steps: each a process of its own with a limit of time, so that none takes another one down with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parent.parent.parent
# Small enough to take about a minute on many cores, and all that says whether the twins agree.
QUICK = (
    "scratch",
    "tests/test_layers.py",
    "tests/test_module.py",
    "tests/test_windows.py",
    "tests/test_parallel.py",
    "tests/test_bounds.py",
    "tests/test_report.py",
    "tests/test_agreement.py",
    "tests/test_weights.py",
    "tests/test_portability.py",
    "tests/test_devices.py",
    "tests/test_package.py",
)
QUICK_CUDA = ("-k", "linear or both_libraries")  # of the tests on the device, with --tiny
RECORD = "GRADTWIN_RECORD"  # names the file that the plugin `record` writes
TIMED_OUT = 124  # as the command `timeout` says it


@dataclass
class Done:
    """What came of a step: its exit status (124 where its time was up), how long it took, and what it left."""

    name: str
    status: int
    seconds: float
    tests: list[dict[str, Any]] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.status == 0

    def counts(self) -> dict[str, int]:
        """How many tests passed, failed and were skipped."""
        return {outcome: sum(test["outcome"] == outcome for test in self.tests) for outcome in OUTCOMES}

    def as_json(self) -> dict[str, Any]:
        """Plain values; of the tests their counts, and those that failed."""
        result: dict[str, Any] = {"status": self.status, "seconds": round(self.seconds, 1)} | self.found
        if self.tests:
            failed = [{"test": t["test"], "text": t["text"]} for t in self.tests if t["outcome"] == "failed"]
            noted = [note for test in self.tests for note in test["noted"]]
            result |= self.counts() | {"failures": failed, "noted": noted}
        return result


OUTCOMES = ("passed", "failed", "skipped")


def run(command: list[str], log: IO[str], environment: Mapping[str, str], limit: float) -> int:
    """Run a command, its output into the log; it and all that it started are ended when its time is up."""
    log.write(f"\n$ {' '.join(command)}\n")
    log.flush()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        return process.wait(timeout=max(limit, 0.1))
    except subprocess.TimeoutExpired:
        log.write(f"\nended: its {limit:.0f} s were up\n")
        return TIMED_OUT
    finally:
        if process.poll() is None:  # also when this process itself is interrupted
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def doctor(scratchpad: Path, log: IO[str], environment: Mapping[str, str], limit: float) -> Done:
    """What is wrong with this machine."""
    file, start = scratchpad / "doctor.json", time.monotonic()
    command = [sys.executable, "-m", "compare", "doctor", "--json", str(file)]
    status = run(command, log, environment, limit)
    return Done("doctor", status, time.monotonic() - start, found=read_json(file))


def tests(
    name: str, arguments: list[str], scratchpad: Path, log: IO[str], environment: Mapping[str, str], limit: float
) -> Done:
    """pytest, with a limit of time for each test: one that hangs must not cost the others."""
    file, start = scratchpad / f"{name.replace(' ', '-')}.jsonl", time.monotonic()
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "tests.on_cuda.record", "-q"]
    command += ["--timeout", "90", "--durations", "10", *arguments]
    status = run(command, log, {**environment, RECORD: str(file)}, limit)
    lines = file.read_text().splitlines() if file.exists() else []
    return Done(name, status, time.monotonic() - start, tests=[json.loads(line) for line in lines])


def measurements(
    arguments: list[str], scratchpad: Path, log: IO[str], environment: Mapping[str, str], limit: float
) -> Done:
    """Images per second; the process stops by itself a little before its limit, and what it wrote till then counts."""
    file, start = scratchpad / "rates.json", time.monotonic()
    own = max(limit - 20, 1)  # a cell that was begun may take so long
    command = [sys.executable, "-m", "tests.on_cuda.measure", "--out", str(file), "--limit", f"{own:.0f}", *arguments]
    status = run(command, log, environment, limit)
    return Done("measurements", status, time.monotonic() - start, found=read_json(file))


def read_json(file: Path) -> dict[str, Any]:
    """What a step wrote; nothing where it did not come so far."""
    try:
        found: dict[str, Any] = json.loads(file.read_text())
    except (OSError, json.JSONDecodeError):
        return {}
    return found
