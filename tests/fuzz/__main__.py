"""`python -m tests.fuzz`: give changed inputs to everything that reads files, and count what becomes of them.

With atheris (the extra "fuzz") the changes are guided by the code that they reach: a process for each reader, which
keeps what reaches new code. Without it they are drawn from a seed. A failure is whatever is neither accepted nor
refused in one line: any other exception, a warning, more than some seconds or some hundred megabytes.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from tests.fuzz.trial import Reader, Totals

ROOT = Path(__file__).resolve().parents[2]
LARGEST_INPUT = 1 << 16  # Bytes: enough for every seed.
SAVE_EVERY = 1000  # Inputs after which a process writes down its totals.


def main() -> int:
    options = parsed()
    if options.totals is not None:
        guided(options)
    found = with_atheris(options) if options.guided else unguided(options)
    Console(highlight=False).print(table(found))
    for totals in found:
        for kind in totals.kinds:
            print(f"{totals.reader}: {kind}")
    return int(any(totals.failed for totals in found))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--count", type=int, default=100_000, help="inputs for all readers together (100,000)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for all readers together (no limit)")
    parser.add_argument("--seed", type=int, default=1, help="draws the changes (1)")
    parser.add_argument("--only", default="", help="the readers whose name holds this: checkpoint")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "fuzz", help="where inputs that fail go")
    parser.add_argument("--unguided", dest="guided", action="store_false", help="without atheris")
    parser.add_argument("--totals", type=Path, help=argparse.SUPPRESS)  # of a process for one reader
    given = parser.parse_args()
    given.guided = given.guided and importlib.util.find_spec("atheris") is not None
    return given


def those_named(known: Sequence[Reader], text: str) -> list[Reader]:
    """The readers whose name holds this text; ends with status 2 if there is none: nothing tried is no success."""
    chosen = [reader for reader in known if text in reader.name]
    if not chosen:
        print(f"--only {text!r} is no reader; there are {', '.join(each.name for each in known)}", file=sys.stderr)
        raise SystemExit(2)
    return chosen


def unguided(options: argparse.Namespace) -> list[Totals]:
    """All readers in this process."""
    from tests.fuzz.readers import in_memory, readers
    from tests.fuzz.trial import Totals, run_own

    found = []
    with in_memory() as folder, warnings.catch_warnings(), readers(folder) as known:
        warnings.simplefilter("error")
        chosen = those_named(known, options.only)
        for reader in chosen:
            totals = Totals(reader.name, options.folder)
            until = time.monotonic() + options.seconds / len(chosen)
            run_own(reader, totals, -(-options.count // len(chosen)), until, options.seed)
            found.append(totals)
    return found


def with_atheris(options: argparse.Namespace) -> list[Totals]:
    """Each reader in a process of its own, one after the other: libFuzzer ends the process that it runs in."""
    from tests.fuzz.readers import in_memory, readers

    with in_memory() as folder, readers(folder) as known:
        chosen = [reader.name for reader in those_named(known, options.only)]
    share = -(-options.count // len(chosen)), options.seconds / len(chosen)
    return [from_process(options, name, *share) for name in chosen]


def from_process(options: argparse.Namespace, name: str, count: int, seconds: float) -> Totals:
    """What a process of its own finds for one reader."""
    from tests.fuzz.trial import Totals

    path = options.folder / f"{name}.json"
    options.folder.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.fuzz", "--only", name, "--seed", options.seed, "--folder", options.folder]
    command += ["--count", count, "--seconds", seconds, "--totals", path]
    with (options.folder / f"{name}.log").open("w") as log:
        status = subprocess.run(list(map(str, command)), cwd=ROOT, stdout=log, stderr=log, check=False).returncode
    totals = Totals(**json.loads(path.read_text())) if path.exists() else Totals(name)
    if status:
        totals.add("failed", b"", f"its process ended with status {status}, see {log.name}")
    return totals


def guided(options: argparse.Namespace) -> NoReturn:
    """Let atheris change the inputs of one reader in this process, until their number or the time is reached."""
    import atheris

    with atheris.instrument_imports(include=["scratch", "compare"]):
        from tests.fuzz.readers import in_memory, readers
        from tests.fuzz.trial import Totals, attempt
    warnings.simplefilter("error")
    with in_memory() as folder, readers(folder) as known:
        (reader,) = [each for each in known if each.name == options.only]
        totals, until = Totals(reader.name, options.folder), time.monotonic() + options.seconds

        def save() -> None:
            options.totals.write_text(json.dumps(asdict(totals) | {"folder": None}))

        def one_input(content: bytes) -> None:
            outcome, failure = attempt(reader, content)
            totals.add(outcome, content, failure)
            if totals.inputs % SAVE_EVERY == 0:
                save()
            if totals.inputs >= options.count or time.monotonic() > until:
                save()
                shutil.rmtree(folder)
                os._exit(0)  # libFuzzer ends the process without going back through Python either

        def change(content: bytes, largest: int, seed: int) -> bytes:
            rng = Random(seed)
            if rng.random() < 0.5:
                return bytes(atheris.Mutate(content, largest))
            return reader.mutate(content, rng)[:largest]

        corpus = folder / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(reader.seeds):
            (corpus / str(number)).write_bytes(seed)
        limits = [f"-max_len={LARGEST_INPUT}", "-timeout=60", "-rss_limit_mb=4096", f"-seed={options.seed}"]
        atheris.Setup([sys.argv[0], *limits, str(corpus)], one_input, custom_mutator=change)
        atheris.Fuzz()
    sys.exit("the fuzzer ended by itself")


def table(found: list[Totals]) -> Any:
    table = Table()
    for heading in ("reader", "inputs", "accepted", "refused", "failed", "kinds of failure"):
        table.add_column(heading, justify="left" if heading == "reader" else "right")
    for totals in found:
        numbers = (totals.inputs, totals.accepted, totals.refused, totals.failed, len(totals.kinds))
        table.add_row(totals.reader, *(f"{number:,}" for number in numbers))
    sums = (sum(getattr(t, name) for t in found) for name in ("inputs", "accepted", "refused", "failed"))
    table.add_row("all", *(f"{number:,}" for number in sums), f"{sum(len(t.kinds) for t in found):,}")
    return table


if __name__ == "__main__":
    sys.exit(main())
