"""One input for one reader: it is accepted or refused; everything else is a failure."""

from __future__ import annotations

import hashlib
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Literal

from compare.machine.errors import UserError
from scratch import IDXError

SECONDS = 5.0  # An input of some kilobytes that takes longer is a failure.
MEMORY = 256  # MiB by which an input may raise the memory of the process above what all before it took.
LONGEST = 2000  # Characters of a message; it names a path and a field, and repeats little of the input.
Outcome = Literal["accepted", "refused", "failed"]


@dataclass(frozen=True)
class Reader:
    """What reads one kind of file.

    Attributes:
        name: what it is called on the command line.
        seeds: valid inputs.
        read: reads an input; raises UserError or IDXError for one that it refuses.
        mutate: a changed input, drawn with the generator.
    """

    name: str
    seeds: tuple[bytes, ...]
    read: Callable[[bytes], object]
    mutate: Callable[[bytes, Random], bytes]


@dataclass
class Totals:
    """What became of the inputs of a reader; the first input of each kind of failure is kept in `folder`."""

    reader: str
    folder: Path | None = None
    accepted: int = 0
    refused: int = 0
    failed: int = 0
    kinds: dict[str, str] = field(default_factory=dict)

    @property
    def inputs(self) -> int:
        return self.accepted + self.refused + self.failed

    def add(self, outcome: Outcome, content: bytes, failure: str) -> None:
        """Count an input; `failure` says, in its first line, which kind it is."""
        setattr(self, outcome, getattr(self, outcome) + 1)
        kind = failure.partition("\n")[0]
        if not failure or kind in self.kinds:
            return
        self.kinds[kind] = failure
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{self.reader}-{hashlib.sha256(content).hexdigest()[:12]}"
            path.write_bytes(content)
            path.with_suffix(".txt").write_text(failure, errors="backslashreplace")


def attempt(reader: Reader, content: bytes) -> tuple[Outcome, str]:
    """Give an input to a reader: what became of it, and what failed, if it did. Warnings are to be errors."""
    memory, start = peak_memory(), time.monotonic()
    outcome: Outcome = "accepted"
    failure = ""
    try:
        reader.read(content)
    except (UserError, IDXError) as error:
        outcome, said = "refused", str(error)
        if not said.isprintable() or len(said) > LONGEST:
            failure = f"a message that is no short line of text\n{said[:LONGEST]!r}"
    except (Exception, SystemExit) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        failure = f"{type(error).__name__} in {Path(where.filename).name}, {where.name}\n{traceback.format_exc()}"
    if (seconds := time.monotonic() - start) > SECONDS:
        failure = f"too slow\n{seconds:.1f} s\n{failure}"
    if (grown := peak_memory() - memory) > MEMORY:
        failure = f"too much memory\n{grown} MiB\n{failure}"
    return ("failed" if failure else outcome), failure


def peak_memory() -> int:
    """The largest memory of this process so far, in MiB; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> (20 if sys.platform == "darwin" else 10)


def run_own(reader: Reader, totals: Totals, count: int, until: float, seed: int) -> None:
    """Give a reader `count` random changes of its seeds, or as many as come before the time `until`."""
    rng = Random(f"{reader.name} {seed}")
    for _ in range(count):
        content = reader.mutate(rng.choice(reader.seeds), rng)
        outcome, failure = attempt(reader, content)
        totals.add(outcome, content, failure)
        if time.monotonic() > until:
            return
