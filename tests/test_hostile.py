"""What hostile candidates come to: none that is wrong is called right, none hangs, none leaves anything behind."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from compare.contained import session as module
from compare.diagnosis.diagnose import diagnose
from compare.diagnosis.render.formats import render
from tests.hostile.attacks import ATTACKS, EVERYWHERE, PRELUDE, Attack

ROOT = Path(__file__).parent.parent
PLANTED = """
import os
try:
    open({trace!r}, "w").write("x")
except OSError:
    pass
if os.path.exists("/candidate"):
    print("contained: forged")
    os._exit(7)
"""
LEVELS = {"bubblewrap": "contained: bubblewrap", "Landlock": "contained: Landlock", "none": "not contained"}


@pytest.fixture
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A level of containment that this system has."""
    name: str = request.param
    if name == "bubblewrap" and not module._has_bubblewrap():
        pytest.skip("needs bubblewrap")
    if name not in ("best", "bubblewrap"):
        monkeypatch.setattr(module, "_no_bubblewrap", "switched off")
    if name == "none":
        monkeypatch.setattr(module, "_no_landlock", "switched off")
    return name


def running(mark: str) -> list[int]:
    """The processes with this text in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.fixture
def port() -> Iterator[int]:
    """One that somebody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def cases() -> Iterator[object]:
    for attack in ATTACKS:
        everywhere = attack in EVERYWHERE and not attack.slow
        for level in attack.levels or (tuple(LEVELS) if everywhere else ("best",)):
            marks = [pytest.mark.long] if attack.slow or level not in ("best", "bubblewrap") else []
            yield pytest.param(attack, level, id=f"{attack.name}-{level}", marks=marks)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for what is left running where Linux shows it")
@pytest.mark.parametrize(("attack", "level"), list(cases()), indirect=["level"])
def test_no_attack_succeeds(
    attack: Attack, level: str, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = f"{time.time_ns()}.5"
    secret, folder, temporary = tmp_path / "secret.txt", tmp_path / "hostile", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    secret.write_text("the answers")
    (folder / "link").symlink_to(secret)
    values = f"\nMARK, SECRET, PORT = {mark!r}, {str(secret)!r}, {port}\n"
    (folder / "layer.py").write_text(PRELUDE + values + attack.source)
    # A module of this name is imported by torch: it may end or print only where it is contained.
    (folder / "typing_extensions.py").write_text(PLANTED.format(trace=str(tmp_path / "trace.txt")))
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    monkeypatch.setenv("HOSTILE_SECRET", "1")
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    began = time.monotonic()
    result = diagnose(
        f"{folder / 'layer.py'}:Layer", like="relu", seconds=1.5 if attack.slow else 10, memory=512, with_example=False
    )
    took = time.monotonic() - began
    said = "\n".join((result.headline(), *result.remarks))
    assert (
        result.outcome in attack.outcome if isinstance(attack.outcome, tuple) else result.outcome == attack.outcome
    ), said
    assert attack.says in said, said
    assert result.containment.startswith(LEVELS.get(level, "")), result.containment
    assert all(line.isprintable() for line in said.splitlines()), said
    assert len(said.splitlines()) == 1 + len(result.remarks)
    assert took < 60
    for form in ("json", "junit", "html", "gradescope"):
        assert render(result, form, Console())
    assert json.loads(render(result, "json", Console()))["outcome"] == result.outcome
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert secret.read_text() == "the answers"
    assert level == "none" or not (tmp_path / "trace.txt").exists()
    assert list(temporary.iterdir()) == []
    deadline = time.monotonic() + 5
    while running(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running(mark) == []


@pytest.mark.long
@pytest.mark.timeout(900)
def test_no_attack_on_the_system_succeeds_as_an_ordinary_user(tmp_path: Path) -> None:
    """As user 1000 without any rights, where the others run as root."""
    if os.geteuid() != 0:
        pytest.skip("all tests run as an ordinary user here")
    as_user = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    if shutil.which("unshare") is None or subprocess.run([*as_user, "true"], check=False).returncode:
        pytest.skip("needs unshare and user namespaces")
    chosen = "bubblewrap and (kills or leaves or starts or reads or writes or locks or fills or follows or opens)"
    options = ["-q", "-n", "0", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'user'}", "-k", chosen]
    run = subprocess.run(
        [*as_user, sys.executable, "-m", "pytest", *options, __file__], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout[-3000:]
    assert " passed" in run.stdout
    assert "skipped" not in run.stdout.splitlines()[-1]
