"""One request to somebody's code: a value, or in one line what went wrong, and what else the code did meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compare.driving.noticing import Noticed

_counter = itertools.count(10_000)
_HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_NOT_THEIRS = tuple(
    os.path.dirname(os.path.abspath(file)) + os.sep
    for file in (np.__file__, os.__file__, f"{_HERE}/scratch/_", f"{_HERE}/compare/_")
)


@dataclass(frozen=True)
class Outcome:
    """What became of one request: a value, or the problem in one line.

    Attributes:
        value: what the request returned; None where there is a problem.
        problem: why there is no value, in one line; empty if there is one.
        error: the name of the exception's class, empty if it was none.
        refused: whether their own `raise` or `assert` ended it: a refusal of these arguments rather than a breakdown.
        in_backward: whether it ended in their backward, after there was an output.
        notes: what else happened: something printed, random state changed, warnings, files written.
        fatal: further requests would end in the same way: the process is gone, or has no memory left.
    """

    value: Any = None
    problem: str = ""
    error: str = ""
    refused: bool = False
    in_backward: bool = False
    notes: tuple[str, ...] = ()
    fatal: bool = False


def answer(function: Callable[..., Any], arguments: tuple[Any, ...], noticed: Noticed | None = None) -> Outcome:
    """Call the function; whatever it raises is an `Outcome`."""
    # A state that nobody has set before: seeding it to what it was would not show.
    random.seed(next(_counter))
    np.random.seed(next(_counter))  # noqa: NPY002
    before = _random_state()
    outcome = Outcome()
    with warnings.catch_warnings(record=True) as heard, noticed or contextlib.nullcontext():
        warnings.simplefilter("always")
        try:
            outcome = Outcome(function(*arguments))
        except MemoryError:
            # Asking for all memory again and again would take its time.
            outcome = Outcome(problem="asked for more memory than the limit allows", error="MemoryError", fatal=True)
        except BaseException as raised:
            outcome = _of_exception(raised)
    notes = noticed.told() if noticed is not None else []
    if _random_state() != before:
        notes.append("it changes the global random state")
    notes += sorted({f"it warns: {w.category.__name__}: {_cut(str(w.message), 80)}" for w in heard})
    return replace(outcome, notes=tuple(notes))


def _of_exception(raised: BaseException) -> Outcome:
    return Outcome(
        problem=_in_one_line(raised),
        error=type(raised).__name__,
        refused=_own_raise(raised),
        in_backward=getattr(raised, "in_backward", False) is True,
    )


@contextlib.contextmanager
def random_state_kept() -> Iterator[None]:
    """Put the global random state back afterwards."""
    numpys, pythons = np.random.get_state(), random.getstate()  # noqa: NPY002 (people's code uses it)
    try:
        yield
    finally:
        np.random.set_state(numpys)  # noqa: NPY002
        random.setstate(pythons)


def _random_state() -> object:
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    return random.getstate(), kind, np.asarray(keys).tobytes(), position, has_gauss, gauss


def _in_one_line(raised: BaseException) -> str:
    """The exception and where in their file it was raised."""
    if isinstance(raised, SystemExit):
        text = "called sys.exit"
    else:
        try:
            said = str(raised)
        except Exception:  # their own exceptions may break too
            said = "(its message cannot be shown)"
        text = f"raised {type(raised).__name__}: {_cut(said.replace(_folder(), ''), 300)}"
    frames = [frame for frame in traceback.extract_tb(raised.__traceback__) if _is_theirs(frame.filename)]
    return f"{text} ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else text


def _folder() -> str:
    """How files in the working directory begin: it lies elsewhere every time."""
    try:
        folder = os.getcwd()
    except OSError:  # it is gone
        folder = "/"
    return f"{folder}/" if folder != "/" else "\0"  # which is in no message


def _own_raise(raised: BaseException) -> bool:
    """Whether it is a refusal: their own `raise` or `assert`, before there is an output.

    What NumPy or Python raises underneath is a breakdown, and so is whatever is raised in backward.
    """
    frames = traceback.extract_tb(raised.__traceback__)
    refusal = isinstance(raised, AssertionError | ValueError | TypeError | NotImplementedError)
    if not refusal or getattr(raised, "in_backward", False) or not frames or not _is_theirs(frames[-1].filename):
        return False
    return re.search(r"(^|[:;])\s*(raise|assert)\b", frames[-1].line or "") is not None


def _is_theirs(filename: str) -> bool:
    if {"site-packages", "dist-packages"} & set(os.path.abspath(filename).split(os.sep)):
        return False
    return not os.path.abspath(filename).startswith(_NOT_THEIRS) and not filename.startswith("<frozen")


def _cut(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 3] + "..."
