"""A catalogued mistake as an exercise: a copy of our layer's source with the mistake in it, to be found."""

from __future__ import annotations

import random
from pathlib import Path

from compare.faults.catalogue import faults_of, find_fault
from compare.faults.fault import LEARNING_RATE, Fault, broken_source
from compare.machine.errors import UserError
from compare.machine.files import write_bytes

NO_EXERCISE = ("verifier", "training")  # no class that `diagnose` could be pointed at


def write_exercise(name: str, out: Path | None = None, seed: int | None = None) -> list[str]:
    """Write the module that a mistake belongs to, with the mistake in it; returns what to tell the reader.

    Args:
        name: a mistake, or a pair: then one of its mistakes by chance.
        out: the file; by default one in this folder that does not tell.
        seed: makes the chance the same again.

    Raises:
        UserError: for an unknown name, a mistake that is no layer's, a file that is there already or cannot be written.
    """
    suited = [fault for fault in faults_of(name) if not fault.name.startswith(NO_EXERCISE)]
    fault = random.Random(seed).choice(suited) if suited else find_fault(name)
    if fault.name.startswith(NO_EXERCISE):
        raise UserError(f"mistake {fault.name!r} is not one of a layer that could be diagnosed; take another one")
    path = out or Path(f"exercise_{fault.pair}.py")
    if path.exists():
        raise UserError(f"{path}: is there already; give another name with --out")
    write_bytes(path, exercise_source(fault).encode())
    kind = fault.target.rpartition(".")[2]
    return [
        f"{path} holds {kind} with one mistake in it",
        f"hint:     {fault.hint}",
        f"solution: gradtwin diagnose {path}:{kind} --like {fault.pair}",
    ]


def exercise_source(fault: Fault) -> str:
    """The source to be debugged: importable by itself beside `scratch`."""
    return broken_source(fault).replace("LEARNING_RATE", str(LEARNING_RATE))
