"""`python -m tests.processors`: the tests of whatever computes, as on other processors and with more threads.

NumPy's matrix library, torch and torch's convolutions choose their kernels, and with them the order of every sum, by
the processor. Environment variables make them choose as an older one would. Each setting runs in a process of its own,
which first makes sure that the libraries do as they were told. What this processor cannot do is skipped, in one line.
Arguments go to pytest: `python -m tests.processors -k window`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import threadpoolctl
import torch

from compare.machine.conditions import direct_convolutions
from compare.machine.processor import cores

AT_ONCE = 2  # settings that run side by side
CHOSEN = "computes and not long"  # the markers of the tests that run
_AVX512 = frozenset(("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"))


@dataclass(frozen=True)
class Choice:
    """One value of an environment variable.

    Attributes:
        name: what the variable is set to.
        needs: flags of the processor, as /proc/cpuinfo calls them.
        shown: what the library then says that it uses, one of these.
    """

    name: str
    needs: frozenset[str]
    shown: tuple[str, ...]


OPENBLAS = (
    Choice("Prescott", frozenset({"pni"}), ("Prescott", "Katmai")),  # one kernel under two names
    Choice("Haswell", frozenset({"avx2", "fma"}), ("Haswell",)),
    Choice("SkylakeX", _AVX512, ("SkylakeX",)),
)
ONEDNN = (
    Choice("SSE41", frozenset({"sse4_1"}), ("Intel SSE4.1",)),
    Choice("AVX2", frozenset({"avx2"}), ("Intel AVX2",)),
    Choice("AVX512_CORE", _AVX512, ("Intel AVX-512 with AVX512BW, AVX512VL, and AVX512DQ extensions",)),
)
ATEN = (
    Choice("default", frozenset(), ("DEFAULT",)),
    Choice("avx2", frozenset({"avx2", "fma"}), ("AVX2",)),
)


@dataclass(frozen=True)
class Setting:
    """One value of each."""

    openblas: Choice
    onednn: Choice
    aten: Choice
    threads: int

    def __str__(self) -> str:
        words = f"OpenBLAS {self.openblas.name}, oneDNN {self.onednn.name}, ATen {self.aten.name}"
        return f"{words}, {self.threads} thread{'s' if self.threads > 1 else ''}"

    @property
    def environment(self) -> dict[str, str]:
        """What makes the libraries do so. OpenBLAS takes as many threads as OpenMP; a thread that waits sleeps."""
        return {
            "OPENBLAS_CORETYPE": self.openblas.name,
            "ONEDNN_MAX_CPU_ISA": self.onednn.name,
            "ATEN_CPU_CAPABILITY": self.aten.name,
            "OMP_NUM_THREADS": str(self.threads),
            "OMP_WAIT_POLICY": "passive",
            "OPENBLAS_THREAD_TIMEOUT": "4",
        }

    def lacking(self, flags: Iterable[str], cores: int) -> list[str]:
        """What the processor lacks for it."""
        needs = self.openblas.needs | self.onednn.needs | self.aten.needs
        return sorted(needs.difference(flags)) + ["second core"] * (self.threads > cores)


# Every kernel of OpenBLAS with two of oneDNN's, so that all together take five minutes on two cores. What is left for a
# processor without AVX-512, the first three, still has every other value.
SETTINGS = tuple(
    Setting(OPENBLAS[openblas], ONEDNN[onednn], ATEN[aten], threads)
    for openblas, onednn, aten, threads in (
        (0, 0, 0, 1),
        (0, 1, 1, 2),
        (1, 1, 0, 2),
        (1, 2, 1, 1),
        (2, 2, 0, 1),
        (2, 0, 1, 2),
    )
)


def flags_of_this_processor() -> set[str]:
    """The flags that Linux lists; none elsewhere, and on other than x86 processors."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())


def not_in_use(setting: Setting) -> list[str]:
    """What this process computes with that the setting says otherwise."""
    pools = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    found: list[tuple[str, Iterable[str], tuple[str, ...]]] = [
        (
            "NumPy's matrix library",
            [pool.get("architecture", pool["internal_api"]) for pool in pools],
            setting.openblas.shown,
        ),
        ("oneDNN", [_onednn()], setting.onednn.shown),
        ("ATen", [torch.backends.cpu.get_cpu_capability()], setting.aten.shown),
        ("threads of NumPy's", [str(pool["num_threads"]) for pool in pools], (str(setting.threads),)),
        ("threads of torch's", [str(torch.get_num_threads())], (str(setting.threads),)),
    ]
    return [
        f"{what}: {', '.join(shown) or 'unknown'} instead of {expected[0]}"
        for what, shown, expected in found
        if not shown or not set(shown) <= set(expected)
    ]


def _onednn() -> str:
    """The instructions that torch's convolutions use: oneDNN names them in the log that it writes on request."""
    sys.stdout.flush()
    with tempfile.TemporaryFile() as log:
        before = os.dup(1)
        os.dup2(log.fileno(), 1)
        try:
            with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON), direct_convolutions():
                torch.nn.functional.conv2d(torch.ones(2, 1, 28, 28), torch.ones(8, 1, 3, 3))
        finally:
            os.dup2(before, 1)
            os.close(before)
        log.seek(0)
        lines = log.read().decode().splitlines()
    return next((line.partition("isa:")[2] for line in lines if ",cpu,isa:" in line), "unknown")


class InUse:
    """Makes sure, before each test, that the setting is in use where the test runs."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def pytest_sessionstart(self) -> None:
        if wrong := not_in_use(self.setting):
            pytest.exit("\n".join(wrong), returncode=3)

    @pytest.hookimpl(tryfirst=True)  # before those without the marker are left out
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            if isinstance(item, pytest.DoctestItem):
                item.add_marker("computes")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self) -> None:
        assert torch.get_num_threads() == self.setting.threads


def run(setting: Setting, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """The tests in a process of its own, under this setting."""
    number = str(SETTINGS.index(setting))
    command = [sys.executable, "-m", "tests.processors", "--setting", number, *arguments]
    inherited = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    return subprocess.run(
        command, env=inherited | setting.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run_all(flags: set[str], cores: int, arguments: list[str]) -> int:
    """Every setting that the processor can do, and a line for each; returns the exit status."""
    failed, possible = 0, []
    for setting in SETTINGS:
        if lacking := setting.lacking(flags, cores):
            print(f"skipped: {setting}: this processor has no {', '.join(lacking)}", flush=True)
        else:
            possible.append(setting)

    def timed(setting: Setting) -> tuple[Setting, subprocess.CompletedProcess[str], float]:
        begun = time.monotonic()
        return setting, run(setting, arguments), time.monotonic() - begun

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for setting, done, seconds in pool.map(timed, possible):
            if done.returncode == pytest.ExitCode.USAGE_ERROR:  # under every setting the same
                print(done.stdout.strip())
                pool.shutdown(cancel_futures=True)
                return 2
            failed += done.returncode != 0
            if done.returncode:
                print(done.stdout)
            last = done.stdout.strip().rpartition("\n")[2].strip("= ")
            print(
                f"{'failed' if done.returncode else 'passed'}: {setting}: {last} ({seconds:.0f} s in all)", flush=True
            )
    print(f"{len(possible) - failed} settings passed, {failed} failed, {len(SETTINGS) - len(possible)} skipped")
    return 1 if failed else 0


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.processors", description=__doc__, add_help=False)
    parser.add_argument("--setting", type=int, help=argparse.SUPPRESS)
    own, arguments = parser.parse_known_args()
    if own.setting is None:
        return run_all(flags_of_this_processor(), cores(), arguments)
    setting = SETTINGS[own.setting]
    return pytest.main(["-q", "-m", CHOSEN, "-p", "no:cacheprovider", *arguments], plugins=[InUse(setting)])


if __name__ == "__main__":
    sys.exit(main())
