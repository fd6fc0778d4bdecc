"""Plain values, as JSON has them, held against the types that they should have."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from compare.machine.errors import brief

MaybeInfinite = Annotated[float, "may be infinite"]  # every other float must be finite


def require_kind(value: Any, kind: Any, where: str) -> None:
    """Make sure that `value` is of `kind`, as deep as it goes; `where` says in the message which one it is.

    Args:
        kind: bool, int, float, str, dict[str, KIND], list[KIND], KIND | None, `MaybeInfinite`, or a dataclass, which
            stands for a mapping of exactly its fields, without those that `==` leaves out.

    Raises:
        ValueError: naming the first value that is missing, unknown, of another type, NaN or infinite.
    """
    if isinstance(kind, type) and is_dataclass(kind):
        kinds = _kinds_of(kind)
        _require(isinstance(value, dict), value, where, "an object")
        if others := sorted(kinds.keys() ^ value.keys()):
            raise ValueError(f"{where}.{brief(others[0])} is {'missing' if others[0] in kinds else 'unknown'}")
        for name, each in kinds.items():
            require_kind(value[name], each, f"{where}.{name}")
        return
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in _SCALARS:
        rule, holds = _SCALARS[kind]
        _require(holds(value), value, where, rule)
    elif NoneType in arguments:
        if value is not None:
            require_kind(value, arguments[0], where)
    elif origin is dict:
        _require(isinstance(value, dict), value, where, "an object")
        for name, each in value.items():
            require_kind(name, str, where)
            require_kind(each, arguments[1], f"{where}.{brief(name)}")
    else:
        assert origin is list, f"{where}: no rule for {kind}"
        _require(isinstance(value, list), value, where, "a list")
        for index, each in enumerate(value):
            require_kind(each, arguments[0], f"{where}[{index}]")


def _is_text(value: str) -> bool:
    """Whether a system can take it as the name of a file; JSON can also write NUL, and halves of characters."""
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _is_number(value: Any) -> bool:
    """Whether it is a number that a float can hold; JSON's whole numbers may be larger."""
    try:
        return type(value) in (int, float) and isinstance(float(value), float)
    except OverflowError:
        return False


# bool is a kind of int in Python, not in JSON.
_SCALARS: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("a whole number of 64 bits", lambda value: type(value) is int and -(2**63) <= value < 2**63),
    float: ("a finite number", lambda value: _is_number(value) and abs(value) < math.inf),
    MaybeInfinite: ("a number", lambda value: _is_number(value) and not math.isnan(value)),
    str: ("text", lambda value: isinstance(value, str) and _is_text(value)),
    dict[str, Any]: ("an object", lambda value: isinstance(value, dict)),
}


@cache
def _kinds_of(kind: type) -> dict[str, Any]:
    """The fields of a dataclass that belong to its value, with their kinds."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind) if field.compare}


def _require(holds: bool, value: Any, where: str, rule: str) -> None:
    if not holds:
        raise ValueError(f"{where} must be {rule}, got {brief(repr(value))}")
