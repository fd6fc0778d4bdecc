"""A mistake, written as the edit that makes it.

The lines that somebody got wrong, beside the right ones, are the shortest and clearest description of a mistake.
Planted in a copy of the module that holds the right layer, they give a class that is wrong in just this way: to be
rejected, to be recognised in other people's code, and to be found as an exercise.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from dataclasses import asdict, dataclass
from functools import cache
from types import ModuleType
from typing import Any

LEARNING_RATE = 0.005  # of the updates that some mistakes make inside backward, unless `plant` is told another


@dataclass(frozen=True)
class Fault:
    """One catalogued mistake.

    Attributes:
        name: kebab-case, unique, beginning with the layer: "conv2d-kernel-turned".
        pair: the registered pair that it belongs to.
        target: what is wrong after the edit, as "module.name": "scratch.conv.Conv2d".
        made: one sentence to the person who made it, what the code does and what it should do.
        hint: where to look; it does not give the answer away.
        shows: how it shows, and what hides it from a weak test.
        edits: (right, wrong) pieces of source; each right one occurs once in the target, or else once in its module.
    """

    name: str
    pair: str
    target: str
    made: str
    hint: str
    shows: str
    edits: tuple[tuple[str, str], ...]

    @property
    def module(self) -> str:
        """The module that is edited, "scratch.conv"."""
        return self.target.rpartition(".")[0]


def as_json(fault: Fault) -> dict[str, Any]:
    """The mistake as plain values."""
    return asdict(fault) | {"edits": [{"right": right, "wrong": wrong} for right, wrong in fault.edits]}


def broken_source(fault: Fault) -> str:
    """The source of the module with the mistake in it.

    Raises:
        ValueError: if a piece to be edited occurs neither once in the target nor once in its module: the source has
            changed since.
    """
    module = importlib.import_module(fault.module)
    source, target = _source(module), _source(getattr(module, fault.target.rpartition(".")[2]))
    before, after = source.split(target)
    for right, wrong in fault.edits:
        if target.count(right) == 1:
            target = target.replace(right, wrong)
        elif (before + after).count(right) == 1 and not target.count(right):
            before, after = before.replace(right, wrong), after.replace(right, wrong)
        else:
            raise ValueError(f"{fault.name}: {right!r} does not occur once in {fault.target}, nor beside it")
    return before + target + after


@cache  # to find where a class ends, `inspect` reads it token by token
def _source(thing: Any) -> str:
    """The source of a module, a class or a function, of which many mistakes are made."""
    return inspect.getsource(thing)


def plant(fault: Fault, learning_rate: float = LEARNING_RATE) -> Any:
    """The target of `fault` (a class, or a function) with the mistake in it; the original stays as it is.

    The name `LEARNING_RATE` in an edit is `learning_rate`. Raises ValueError as `broken_source` does.
    """
    return getattr(planted_module(fault, learning_rate), fault.target.rpartition(".")[2])


@cache
def planted_module(fault: Fault, learning_rate: float = LEARNING_RATE) -> ModuleType:
    """The whole module with the mistake in it; see `plant`."""
    module = ModuleType(f"{fault.module} with {fault.name}")
    module.__dict__["LEARNING_RATE"] = learning_rate
    sys.modules[module.__name__] = module  # where dataclasses and pickle look for what a class's module holds
    exec(compile(broken_source(fault), f"<{module.__name__}>", "exec"), module.__dict__)
    return module
