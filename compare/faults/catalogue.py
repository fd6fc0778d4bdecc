"""All catalogued mistakes, by name and by the pair that they belong to."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from compare.faults import (
    activation,
    convolution,
    dropout,
    linear,
    loss,
    models,
    normalisation,
    optimizers,
    pooling,
    verifier,
)
from compare.faults.fault import Fault
from compare.machine.errors import UserError

FILES = (convolution, pooling, activation, linear, normalisation, dropout, loss, optimizers, models, verifier)
_ALL = [fault for file in FILES for fault in file.FAULTS]
CATALOGUE: dict[str, Fault] = {fault.name: fault for fault in _ALL}
if len(CATALOGUE) < len(_ALL):
    raise RuntimeError("two catalogued mistakes have one name")


def faults_of(pair: str) -> list[Fault]:
    """The catalogued mistakes of a registered pair, in the order of the catalogue."""
    return [fault for fault in CATALOGUE.values() if fault.pair == pair]


def chosen_faults(pairs: Sequence[str] | None) -> list[Fault]:
    """The catalogued mistakes of these pairs; all of them where none is named.

    Raises:
        UserError: for a pair that has none.
    """
    known = dict.fromkeys(fault.pair for fault in CATALOGUE.values())
    for pair in pairs or ():
        if pair not in known:
            raise UserError(f"pair {pair!r} has no catalogued mistakes; choose among {', '.join(known)}")
    return [fault for fault in CATALOGUE.values() if not pairs or fault.pair in pairs]


def catalogue_table(faults: Sequence[Fault]) -> Table:
    """One line for each mistake: its name, what they did, how it shows."""
    table = Table()
    for heading in ("mistake", "what they did", "how it shows"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "mistake")
    for fault in faults:
        table.add_row(fault.name, Text(fault.made), Text(fault.shows))
    return table


def find_fault(name: str) -> Fault:
    """The catalogued mistake of this name.

    Raises:
        UserError: for an unknown name, with the names that are close to it.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    close = difflib.get_close_matches(name, CATALOGUE, cutoff=0.5)
    mean = f"did you mean {', '.join(close)}?" if close else "gradtwin faults lists them all"
    raise UserError(f"mistake {name!r} is not in the catalogue; {mean}")
