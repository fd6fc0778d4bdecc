"""The check on other processors: which settings it has, what it skips, and that it fails when a test does."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests import processors
from tests.processors import ATEN, ONEDNN, OPENBLAS, SETTINGS, Setting

ALL = frozenset().union(*(choice.needs for choice in (*OPENBLAS, *ONEDNN, *ATEN)))
WITHOUT_AVX512 = ALL - OPENBLAS[2].needs


@pytest.mark.parametrize(("flags", "kernels", "count"), [(ALL, 3, 6), (WITHOUT_AVX512, 2, 3)])
def test_whatever_the_processor_can_do_is_tried(flags: frozenset[str], kernels: int, count: int) -> None:
    possible = [s for s in SETTINGS if not s.lacking(flags, cores=2)]
    assert len(possible) == len({(s.openblas, s.onednn) for s in possible}) == count
    assert {s.openblas for s in possible} == set(OPENBLAS[:kernels])
    assert {s.onednn for s in possible} == set(ONEDNN[:kernels])
    assert {s.aten for s in possible} == set(ATEN)
    assert {s.threads for s in possible} == {1, 2}


def test_what_the_processor_cannot_do_is_skipped_with_the_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []

    def pretended(setting: Setting, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        ran.append(setting)
        return subprocess.CompletedProcess(arguments, 0, "..\n=== 2 passed in 1.00s ===\n")

    monkeypatch.setattr(processors, "run", pretended)
    assert processors.run_all(set(WITHOUT_AVX512), 1, []) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert ran == [SETTINGS[0]]
    skipped = [line for line in lines if line.startswith("skipped: ")]
    avx512 = "avx512bw, avx512cd, avx512dq, avx512f, avx512vl"
    assert (
        f"skipped: OpenBLAS SkylakeX, oneDNN AVX512_CORE, ATen default, 1 thread: this processor has no {avx512}"
        in skipped
    )
    assert (
        "skipped: OpenBLAS Haswell, oneDNN AVX2, ATen default, 2 threads: this processor has no second core" in skipped
    )
    passed = "passed: OpenBLAS Prescott, oneDNN SSE41, ATen default, 1 thread: 2 passed in 1.00s ("
    assert [line.startswith(passed) for line in lines].count(True) == 1
    assert last == "1 settings passed, 0 failed, 5 skipped"


def test_a_failing_setting_is_shown_and_gives_status_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pretended(setting: Setting, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(arguments, int(setting.onednn.name == "AVX2"), "why\n=== 1 of 2 ===\n")

    monkeypatch.setattr(processors, "run", pretended)
    assert processors.run_all(set(WITHOUT_AVX512), 2, []) == 1
    out = capsys.readouterr().out
    assert out.count("why") == 2
    assert "failed: OpenBLAS Haswell, oneDNN AVX2, ATen default, 2 threads: 1 of 2" in out
    assert "1 settings passed, 2 failed, 3 skipped" in out


def first() -> Setting:
    """A setting that every x86 processor of today can do."""
    setting = SETTINGS[0]
    if setting.lacking(processors.flags_of_this_processor(), cores=1):
        pytest.skip("not an x86 processor, or nothing says so")
    return setting


@pytest.mark.long
def test_only_marked_tests_run_and_a_failing_one_fails_the_process(tmp_path: Path) -> None:
    setting, path = first(), tmp_path / "test_it.py"
    path.write_text(
        """
import os, pytest
pytestmark = pytest.mark.filterwarnings("ignore")
@pytest.mark.computes
def test_the_environment(): assert os.environ["OPENBLAS_CORETYPE"] == "Prescott"
@pytest.mark.computes
def test_wrong(): assert 1 == 2
@pytest.mark.computes
@pytest.mark.long
def test_long(): assert 1 == 3
def test_something_else(): assert 1 == 4
"""
    )
    done = processors.run(setting, [str(path)])
    assert done.returncode == 1, done.stdout
    assert "1 failed, 1 passed, 2 deselected" in done.stdout
    assert "assert 1 == 2" in done.stdout


@pytest.mark.parametrize("part", ["openblas", "onednn", "aten", "threads"])
def test_a_setting_that_is_not_in_use_runs_no_test(part: str) -> None:
    changed = {"threads": 77} if part == "threads" else {part: replace(getattr(first(), part), shown=("another",))}
    with pytest.raises(pytest.exit.Exception, match="instead of 77" if part == "threads" else "instead of another"):
        processors.InUse(replace(first(), **changed)).pytest_sessionstart()


def test_an_option_that_pytest_does_not_know_is_told_of_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pretended(_: Setting, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(arguments, 4, "ERROR: unrecognized arguments: --nope\n")

    monkeypatch.setattr(processors, "run", pretended)
    assert processors.run_all(set(ALL), 2, ["--nope"]) == 2
    assert capsys.readouterr().out == "ERROR: unrecognized arguments: --nope\n"
