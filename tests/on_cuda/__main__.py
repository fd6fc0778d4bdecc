"""`python3 -m tests.on_cuda --out DIR`: run and measure everything on this machine's GPU, and write it down.

Nothing has to be installed and nothing is fetched: the source tree is enough, with the packages that are there. Wheels
of what is missing may lie in the folder `.whl` of the source tree, which git ignores:

    python3 -m pip download --no-deps --only-binary=:all: -d .whl platformdirs

Nothing is written but DIR/log.txt, DIR/measured.json and a temporary folder. A failure stops nothing. Exit status: 0
all is well, 1 something failed, 2 there is no GPU. `--device cpu` rehearses everything without one.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from compare.machine.processor import cores
from tests.on_cuda.steps import QUICK, QUICK_CUDA, ROOT, Done, doctor, measurements, run, tests
from tests.on_cuda.summary import summary

WHEELS = ROOT / ".whl"
LOOK = 60  # Seconds in which torch and CuPy must say what they see; a driver may hang.
Step = Callable[[float], Done]  # takes the seconds that are left
# Of the time for everything, what a step may take at most; the measurements take what is left.
SHARES = {"doctor": 0.1, "cuda tests": 0.45, "quick tests": 0.22}


def main(arguments: list[str] | None = None) -> int:
    """Run the steps one after the other, and write after each what is known."""
    given = parse(arguments)
    begun = time.monotonic()
    try:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "log.txt").touch()
    except OSError as error:
        print(f"on_cuda: --out {given.out}: {error.strerror}; name a folder that can be written", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="gradtwin-") as folder, (given.out / "log.txt").open("w") as log:
        pad = Path(folder)
        environment = make_environment(pad, rehearsal=given.device == "cpu")
        install_wheels(WHEELS, pad / "site", log, environment)
        machine = look(environment)
        if given.device == "cuda" and not machine.get("gpu"):
            reason = f"torch: {machine['torch']}" if "torch is for CUDA" not in machine else "torch sees no CUDA device"
            print(f"on_cuda: {reason}; --device cpu rehearses everything without one", file=sys.stderr)
            return 2
        result: dict[str, Any] = {"machine": machine, "rehearsal": given.device == "cpu", "steps": {}}
        for name, step in steps(given, pad, log, environment):
            whole = given.minutes * 60
            done = step(min(whole + begun - time.monotonic(), whole * SHARES.get(name, 1)))
            result["steps"][name] = done.as_json()
            result["seconds"] = round(time.monotonic() - begun, 1)
            (given.out / "measured.json").write_text(json.dumps(result, indent=1))
            print(f"{name}: status {done.status}, {done.seconds:.0f} s", flush=True)
        lines = summary(result)
        log.write("\n" + "\n".join(lines) + "\n")
    print("\n".join([*lines, f"written: {given.out / 'log.txt'}, {given.out / 'measured.json'}"]))
    return 0 if all(step["status"] == 0 for step in result["steps"].values()) else 1


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options; a mistaken one is said in a line, with exit status 2."""
    parser = argparse.ArgumentParser(
        prog="on_cuda", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/cuda"), metavar="DIR", help="[default: runs/cuda]")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a rehearsal without a GPU")
    parser.add_argument("--minutes", type=float, default=7.5, help="for everything [default: 7.5]")
    parser.add_argument("--tiny", action="store_true", help="few tests and small batches: to try this command itself")
    return parser.parse_args(arguments)


def steps(
    given: argparse.Namespace, pad: Path, log: IO[str], environment: Mapping[str, str]
) -> Iterator[tuple[str, Step]]:
    """The steps by name, in their order."""
    # One process has the GPU; the quick tests share the cores.
    alone, shared = (
        ([], []) if importlib.util.find_spec("xdist") is None else (["-n", "0"], ["-n", str(min(cores(), 8))])
    )
    device = [*alone, "-s", "-m", "cuda", "tests/test_cuda.py", *(QUICK_CUDA if given.tiny else ())]
    quick = [*(alone if given.tiny else shared), "-m", "not cuda and not long", *(QUICK[-1:] if given.tiny else QUICK)]
    cells = ["--models", "cnn", "--batches", "8", "--seconds", "0.01"] if given.tiny else []
    yield "doctor", lambda limit: doctor(pad, log, environment, limit)
    yield "cuda tests", lambda limit: tests("cuda tests", device, pad, log, environment, limit)
    yield "quick tests", lambda limit: tests("quick tests", quick, pad, log, environment, limit)
    yield "measurements", lambda limit: measurements(cells, pad, log, environment, limit)


def make_environment(pad: Path, *, rehearsal: bool) -> dict[str, str]:
    """The steps' environment: everything that a library writes beside the results goes to a temporary folder."""
    own = {
        "PYTHONPATH": os.pathsep.join([str(pad / "site"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": "160",
        "XDG_CACHE_HOME": str(pad / "cache"),
        "CUPY_CACHE_DIR": str(pad / "cupy"),
        "CUDA_CACHE_PATH": str(pad / "cuda"),
        "TORCHINDUCTOR_CACHE_DIR": str(pad / "inductor"),
        "TRITON_CACHE_DIR": str(pad / "triton"),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(pad / "hypothesis"),
        "GRADTWIN_DATA": os.environ.get("GRADTWIN_DATA") or str(pad / "data"),
    }
    return {**os.environ, **own} | ({"GRADTWIN_REHEARSAL": "1"} if rehearsal else {})


def install_wheels(wheels: Path, site: Path, log: IO[str], environment: Mapping[str, str]) -> None:
    """Unpack the wheels that came along, each by itself: one for another Python must not keep out the others."""
    for wheel in sorted(wheels.glob("*.whl")):
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        run([*command, "--target", str(site), str(wheel)], log, environment, limit=60)


def look(environment: Mapping[str, str]) -> dict[str, Any]:
    """What this machine has, looked at in a process of its own: an import that crashes is an answer, too."""
    command = [sys.executable, "-m", "tests.on_cuda.machine"]
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False, timeout=LOOK
        )
    except subprocess.TimeoutExpired:
        return {"torch": f"it does not answer within {LOOK} s"}
    try:
        found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        return {"torch": f"it cannot be looked at (exit status {ended.returncode})"}
    return found


if __name__ == "__main__":
    sys.exit(main())
