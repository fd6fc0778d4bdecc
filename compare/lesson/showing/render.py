"""Filling the page's templates, and how numbers are written in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from compare.lesson.showing.formula import to_mathml
from compare.pairs.by_hand import plain
from scratch import Array


def render(context: dict[str, Any]) -> str:
    """The page as HTML; a name that a template asks for and nobody has given is an error."""
    loader = jinja2.PackageLoader("compare.lesson", "page")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    filters: dict[str, Callable[..., Any]] = {
        "mathml": lambda text: Markup(to_mathml(text)),
        "plain": lambda value, digits=7: plain(float(value), digits),
        "short": short,
        "maps": tables,
        "place": lambda index: f"[{','.join(map(str, index))}]: " if index else "",
        "greatest": lambda array: float(np.abs(array).max()),
        "difference": tiny,
        "percent": lambda share: f"{share:.1%}",
    }
    environment.filters |= filters
    own = {
        name: Markup(loader.get_source(environment, file)[0])
        for name, file in (("style", "style.css"), ("script", "lesson.js"))
    }
    return environment.get_template("lesson.html.j2").render(context | own)


def told_of() -> set[str]:
    """The layers that the page's own text tells of: `layers.NAME` in a template."""
    folder = files("compare.lesson").joinpath("page")
    texts = (path.read_text(encoding="utf-8") for path in folder.iterdir() if path.name.endswith(".j2"))
    return {name for text in texts for name in re.findall(r"\blayers\.(\w+)", text)}


def tables(array: Array) -> list[Array]:
    """The tables (rows, columns) that an array of any number of axes is shown as."""
    return list(array.reshape(-1, *array.shape[-2:])) if array.ndim > 1 else [array.reshape(1, -1)]


def short(value: Any) -> str:
    """A float32 with as many digits as tell it from its neighbours; or a whole number.

    >>> short(np.float32(0.1)), short(np.float32(0.31875002)), short(2)
    ('0.1', '0.31875002', '2')
    """
    return plain(float(str(value)), 9)


def tiny(value: float) -> str:
    """A difference in two digits, as the page's script writes it.

    >>> tiny(4.3e-6), tiny(0.0), tiny(0.123)
    ('4.3e−6', '0', '0.12')
    """
    if value == 0 or value >= 0.01:
        return plain(float(f"{value:.2g}"))
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}".replace("-", "−")
