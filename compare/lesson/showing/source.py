"""The code that the lesson shows: taken from the modules as they are, coloured, each line with the tag of its equation.

A comment `# (4)` in the source says which equation of the docstring a line computes. That number is the tag.
"""

from __future__ import annotations

import difflib
import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

_TAG = re.compile(r"#.*?\((\d)\)")
_ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Line:
    """One line of code.

    Attributes:
        number: where it stands in its file, from 1.
        text: as it stands there, without the indentation of the whole.
        html: coloured, and safe to put into a page.
        tag: the number of the equation that it computes, or None.
        marked: whether it is to be pointed out.
    """

    number: int
    text: str
    html: Markup
    tag: int | None
    marked: bool = False


@dataclass(frozen=True)
class Listing:
    """Some lines of a module: `path` relative to the project, "scratch/conv.py"."""

    path: str
    lines: tuple[Line, ...]


def listing(code: Callable[..., Any] | type[Any], *, docstring: bool = False) -> Listing:
    """The source of a function or method, coloured; its docstring only where it is asked for.

    >>> import scratch
    >>> [(line.number > 0, line.tag) for line in listing(scratch.Flatten.backward).lines]
    [(True, None), (True, None), (True, None), (True, 2)]
    """
    lines, start = inspect.getsourcelines(code)
    numbered = list(enumerate(textwrap.dedent("".join(lines)).splitlines(), start))
    if not docstring:
        numbered = _without_docstring(numbered, code.__doc__)
    path = Path(inspect.getsourcefile(code) or "").resolve()
    return Listing(
        path.relative_to(_ROOT).as_posix() if path.is_relative_to(_ROOT) else path.name,
        tuple(
            Line(number, text, html, _tag(text))
            for (number, text), html in zip(numbered, coloured([t for _, t in numbered]), strict=True)
        ),
    )


def coloured(lines: list[str]) -> list[Markup]:
    """Lines of Python as HTML, a colour being a class of pygments."""
    html = highlight("\n".join(lines), PythonLexer(stripnl=False), HtmlFormatter(nowrap=True))
    return [Markup(line) for line in html.splitlines()]  # which escapes what is special in HTML


def beside(left: Listing, right: Listing) -> tuple[Listing, Listing]:
    """The same two listings, with the lines marked that have no equal in the other."""
    texts = [[line.text.strip() for line in side.lines] for side in (left, right)]
    matcher = difflib.SequenceMatcher(None, texts[0], texts[1], autojunk=False)
    marked: tuple[list[Line], list[Line]] = [], []
    for what, a, b, c, d in matcher.get_opcodes():
        for found, side, start, end in zip(marked, (left, right), (a, c), (b, d), strict=True):
            found += [replace(line, marked=what != "equal" and bool(line.text)) for line in side.lines[start:end]]
    return Listing(left.path, tuple(marked[0])), Listing(right.path, tuple(marked[1]))


def _tag(text: str) -> int | None:
    found = _TAG.search(text)
    return int(found[1]) if found else None


def _without_docstring(lines: list[tuple[int, str]], docstring: str | None) -> list[tuple[int, str]]:
    """The lines without those from the first triple quotes to the next ones."""
    if not docstring:
        return lines
    quotes = [index for index, (_, text) in enumerate(lines) for _ in range(text.count('"""'))]
    return lines[: quotes[0]] + lines[quotes[1] + 1 :]
