"""The formats of a verdict by name, and the options of the command line that need reading."""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Sequence

from rich.console import Console

from compare.diagnosis.render.grading import as_gradescope, as_junit, marks, read_points
from compare.diagnosis.render.terminal import show
from compare.diagnosis.verdict import Diagnosis
from compare.machine.errors import UserError

FORMATS = ("text", "json", "html", "junit", "gradescope")
GRADESCOPE_POINTS = 100.0  # where none are given


def check_format(name: str) -> None:
    """Raises UserError for an unknown format."""
    if name not in FORMATS:
        raise UserError(f"--format {name!r} is unknown; choose one of {', '.join(FORMATS)}")


def render(
    diagnosis: Diagnosis,
    name: str,
    console: Console,
    *,
    points: str = "",
    hint_only: bool = False,
    to_file: bool = False,
) -> str:
    """The verdict in this format; the format "text" is printed on the console instead, unless it goes to a file.

    Raises:
        UserError: for points that cannot be read, or for a tensor that there is not.
    """
    given = read_points(points) if points else None
    if name == "json":
        result = diagnosis.as_json(hint_only=hint_only)
        if given is not None:
            result["points"] = [
                {"tensor": m.tensor, "points": m.points, "of": m.of}
                for m in marks(diagnosis, given, hint_only=hint_only)
            ]
        return json.dumps(result, indent=2, allow_nan=False) + "\n"
    if name == "html":
        from compare.diagnosis.render.page import as_html

        return as_html(diagnosis, hint_only=hint_only)
    if name == "junit":
        return as_junit(diagnosis, hint_only=hint_only)
    if name == "gradescope":
        result = as_gradescope(diagnosis, GRADESCOPE_POINTS if given is None else given, hint_only=hint_only)
        return json.dumps(result, indent=2) + "\n"
    text = io.StringIO()
    screen = Console(file=text, width=120, color_system=None) if to_file else console
    show(diagnosis, screen, hint_only=hint_only)
    if given is not None:
        each = marks(diagnosis, given, hint_only=hint_only)
        total, of = sum(mark.points for mark in each), sum(mark.of for mark in each)
        line = ", ".join(f"{mark.tensor} {mark.points:g}/{mark.of:g}" for mark in each)
        screen.print(f"points: {total:g} of {of:g} ({line})", soft_wrap=True)
    return text.getvalue()


def parse_map(pairs: Sequence[str] | None, option: str) -> dict[str, str]:
    """OWN=NAME pairs of the command line; the last "=" separates.

    Raises:
        UserError: for one without "=".
    """
    found = {}
    for pair in pairs or ():
        own, equals, name = pair.rpartition("=")
        if not equals or not own or not name:
            raise UserError(f"{option} {pair!r} must be OWN=NAME, {option} filters=weight for instance")
        found[own] = name
    return found


def parse_seed(text: str) -> int:
    """A whole number from 0, or "random": one that nobody can know before.

    Raises:
        UserError: for anything else.
    """
    if text == "random":
        return secrets.randbits(32)
    if not text.isdecimal() or not text.isascii() or len(text) > 20:
        raise UserError(f"--seed {text!r} must be a whole number from 0, or random")
    return int(text)


def parse_shape(text: str) -> tuple[int, ...] | None:
    """A shape such as 1,28,28; None for nothing.

    Raises:
        UserError: for anything but whole numbers of at least 1.
    """
    if not text:
        return None
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = (0,)
    if min(shape) < 1:
        raise UserError(f"--input-shape {text!r} must be whole numbers such as 1,28,28")
    return shape
