"""Finding and setting what lies inside somebody's object, by a path such as "layers[0].params['W']"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from compare.driving.tensors import Array

DEPTH = 4  # how deep objects may lie in one another
NO_PARTS = (type, FunctionType, MethodType, ModuleType, str, bytes, int, float, complex, np.generic)
_STEP = re.compile(r"\.?([A-Za-z_]\w*)|\[(-?\d+)\]|\[(['\"])(.*?)\3\]|\.(\d+)(?![\w])|^(\d+)(?=\.|$)")


def steps(path: str) -> list[str | int]:
    """The path taken apart: attribute names as they are, keys of dictionaries with "[" before, positions as numbers.

    Raises ValueError for what is no path.

    >>> steps("layers[0].params['W']")
    ['layers', 0, 'params', '[W']
    """
    taken: list[str | int] = []
    at = 0
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None:
            raise ValueError(f"{path!r} is not a path such as W, params['W'] or layers[0].W")
        attribute, position, _, key, number, first = found.groups()
        if position is not None:
            taken.append(int(position))
        elif key is not None:
            taken.append("[" + key)
        else:
            taken.append(attribute or number or first)
        at = found.end()
    return taken


def get(subject: Any, path: str) -> Any:
    """What lies at `path`. Raises AttributeError, KeyError or IndexError if there is nothing."""
    for step in steps(path):
        subject = _get(subject, step)
    return subject


def put(subject: Any, path: str, value: Any) -> None:
    """Replace what lies at `path`."""
    *before, last = steps(path)
    for step in before:
        subject = _get(subject, step)
    if isinstance(last, int):
        subject[last] = value
    elif last.startswith("["):
        subject[last[1:]] = value
    else:
        setattr(subject, last, value)


def _get(subject: Any, step: str | int) -> Any:
    if isinstance(step, int):
        return subject[step]
    return subject[step[1:]] if step.startswith("[") else getattr(subject, step)


def arrays(subject: Any, path: str = "", depth: int = DEPTH) -> Iterator[tuple[str, Array]]:
    """All arrays inside an object, its dictionaries, lists and parts, each with its path."""
    for step, value in _inside(subject):
        here = path + (step if path or not step.startswith(".") else step[1:])
        if isinstance(value, np.ndarray):
            yield here, value
        elif depth > 1 and (isinstance(value, dict | list | tuple) or _is_plain_object(value)):
            yield from arrays(value, here, depth - 1)


def words(path: str) -> list[str]:
    """The names in a path, without positions.

    >>> words("layers[0].params['W']")
    ['layers', 'params', 'W']
    """
    return [word for word in re.split(r"[.\[\]'\"]+", path) if word and not word.isdigit()]


def _inside(subject: Any) -> list[tuple[str, Any]]:
    if isinstance(subject, dict):
        return [(f"[{key!r}]", value) for key, value in subject.items() if isinstance(key, str)]
    if isinstance(subject, list | tuple):
        return [(f"[{index}]", value) for index, value in enumerate(subject)]
    named = dict(getattr(subject, "__dict__", {}))
    for kind in type(subject).__mro__:
        slots = getattr(kind, "__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(subject, name):
                named.setdefault(name, getattr(subject, name))
    return [(f".{name}", value) for name, value in named.items()]


def _is_plain_object(value: Any) -> bool:
    """Whether it may hold arrays of the layer: an instance, not a class, a function, a module or a number."""
    return not isinstance(value, NO_PARTS) and (hasattr(value, "__dict__") or hasattr(value, "__slots__"))
