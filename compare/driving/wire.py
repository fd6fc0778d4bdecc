"""Messages between the process that judges and that of the candidate: plain bytes, in which nothing is evaluated.

A message is its length, a header in JSON, and the raw data of its arrays. What comes from a candidate is not trusted:
lengths, dtypes, shapes and the type of every field are checked, text is cleaned, and whatever is not as it should be
raises `WireError`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import struct
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from compare.driving.tensors import Array

LENGTHS = struct.Struct("<QI")  # of all that follows, and of the header in it
LARGEST = 256 * 2**20  # bytes of one message
LARGEST_HEADER = 16 * 2**20
LARGEST_ANSWER_HEADER = 2**20
MOST_ARRAYS = 2000  # in an answer
LONGEST_TEXT = 2000
LISTED = 3  # names that are told of a list
_BASIC = frozenset({type(None), bool, int, float, str})  # as JSON has them
ALIGNED = 64  # bytes, of which the place of an array in a message is a multiple
DTYPES = {np.dtype(name).str: np.dtype(name) for name in ("f2", "f4", "f8", "b1")}
DTYPES |= {np.dtype(f"{kind}{size}").str: np.dtype(f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)}


class WireError(ValueError):
    """A message is not what it should be; the text says how."""


@dataclasses.dataclass(frozen=True)
class Other:
    """Stands for a value of a kind that is not sent, a torch dtype for instance: it equals one that looks the same."""

    said: str

    def __repr__(self) -> str:
        return self.said


def pack(value: Any) -> bytes:
    """A message.

    Args:
        value: None, numbers, texts, arrays, dataclasses, mappings with text as keys, and sequences of these.

    Raises:
        WireError: for an array of another dtype than those of `DTYPES`.
    """
    arrays: list[Array] = []
    plain = _plain(value, arrays)
    header = json.dumps([plain, [(array.dtype.str, array.shape) for array in arrays]]).encode()
    parts, length = [header], len(header)
    for array in arrays:
        padding = -length % ALIGNED
        parts += [bytes(padding), array.tobytes()]
        length += padding + array.nbytes
    # One piece: each piece that is sent by itself would wake the other side.
    return b"".join((LENGTHS.pack(length, len(header)), *parts))


def _plain(value: Any, arrays: list[Array]) -> Any:
    """`value` as JSON has it; arrays are put into the list, and are {"array": index}."""
    kind: Any = type(value)
    if kind in _BASIC:
        return value
    if isinstance(value, np.ndarray):
        if value.dtype.str not in DTYPES:
            raise WireError(f"an array of {value.dtype} is no array of real numbers")
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if kind is not Other and (names := _names(kind)) is not None:
        return {name: _plain(getattr(value, name), arrays) for name in names}
    if isinstance(value, Mapping):
        return {str(key): _plain(item, arrays) for key, item in value.items()}
    if isinstance(value, bool | int | float | str):
        return _number(value)
    if isinstance(value, Sequence | set | frozenset):
        return [_plain(item, arrays) for item in value]
    return _plain(value.item(), arrays) if isinstance(value, np.generic) else {"other": repr(value)}


@functools.cache
def _names(kind: type) -> tuple[str, ...] | None:
    """The names of a dataclass's fields; None for another class."""
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else None


def _number(value: Any) -> Any:
    """The value as one of Python's own types: a class derived from them may answer differently."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return None


def unpack(message: memoryview, header: int, *, trusted: bool = False) -> Any:
    """The plain values of a message, without its lengths: dictionaries, lists, texts, numbers and arrays.

    Args:
        message: all that follows the lengths.
        header: the length of the header in it.
        trusted: whether texts are left as they are.

    Raises:
        WireError: if it is no message, or not as long as it says.
    """
    try:
        plain, described = json.loads(bytes(message[:header]))
        if not trusted and len(described) > MOST_ARRAYS:
            raise WireError(f"{len(described)} arrays")
        arrays, at = [], header
        for dtype, shape in described:
            at += -at % ALIGNED
            if dtype not in DTYPES or len(shape) > 32 or any(type(side) is not int or side < 0 for side in shape):
                raise WireError(f"an array of dtype {dtype!r} and shape {shape!r}")
            count = math.prod(shape)
            if at + count * DTYPES[dtype].itemsize > len(message):
                raise WireError(f"an array of shape {shape} is longer than the message")
            arrays.append(
                np.frombuffer(message, DTYPES[dtype], count, at).reshape(shape) if count else np.zeros(shape, dtype)
            )
            at += count * DTYPES[dtype].itemsize
        if at != len(message):
            raise WireError("it is longer than its arrays")
        return _filled(plain, arrays, trusted=trusted)
    except WireError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, MemoryError) as error:
        raise WireError(f"{type(error).__name__} in its header") from None


def _filled(plain: Any, arrays: list[Array], *, trusted: bool) -> Any:
    if isinstance(plain, dict):
        if plain.keys() == {"array"}:
            return arrays[plain["array"]]
        if plain.keys() == {"other"}:
            return Other(cleaned(str(plain["other"])))
        return {key if trusted else cleaned(key): _filled(item, arrays, trusted=trusted) for key, item in plain.items()}
    if isinstance(plain, list):
        return tuple(_filled(item, arrays, trusted=trusted) for item in plain)
    return cleaned(plain) if isinstance(plain, str) and not trusted else plain


def cleaned(text: str) -> str:
    r"""One line that a terminal shows as it is: no control or invisible characters, and no more than is read.

    >>> cleaned("red \x1b[31m and \nmore")
    'red ?[31m and more'
    """
    text = text[: LONGEST_TEXT + 1]
    if not text.isprintable():
        text = " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in text).split())
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 3] + "..."


def listed(names: Iterable[str]) -> str:
    """The first names, and how many more there are.

    >>> listed({"a", "b", "c", "d", "e"})
    'a, b, c and 2 more'
    """
    every = sorted(names)
    return ", ".join(every[:LISTED]) + (f" and {len(every) - LISTED} more" if len(every) > LISTED else "")


def checked(kind: Any, value: Any) -> Any:
    """A plain value as one of type `kind`: a dataclass, a basic type, a union, a tuple or a mapping of these.

    Raises:
        WireError: if it is none.
    """
    if kind is Any or (kind in (None, type(None)) and value is None) or type(value) is kind:
        return value
    if kind is float and type(value) is int and abs(value) < 2**1023:
        return float(value)
    return _of_parts(kind, value) if (fields := _fields(kind)) is None else _made(kind, fields, value)


def _of_parts(kind: Any, value: Any) -> Any:
    """As `checked`, for kinds that are made of others."""
    origin, inner = _parts(kind)
    if origin is tuple and isinstance(value, tuple):
        kinds = (inner[0],) * len(value) if inner[-1] is Ellipsis else inner
        if len(kinds) == len(value):
            return tuple(map(checked, kinds, value))
    elif origin in (typing.Union, types.UnionType):
        for option in inner:
            with contextlib.suppress(WireError):
                return checked(option, value)
    elif isinstance(value, dict) and isinstance(origin, type) and issubclass(dict, origin):
        return {key: checked(inner[1], item) for key, item in value.items()}
    elif origin is np.ndarray and isinstance(value, np.ndarray):
        return value
    raise WireError(f"{type(value).__name__} instead of {getattr(kind, '__name__', kind)}")


def _made(kind: Any, fields: dict[str, Any], value: Any) -> Any:
    if not isinstance(value, dict) or value.keys() - fields.keys():
        raise WireError(f"{type(value).__name__} instead of {kind.__name__}")
    try:
        return kind(**{name: checked(fields[name], item) for name, item in value.items()})
    except TypeError as error:
        raise WireError(str(error)) from None


@functools.cache
def _fields(kind: Any) -> dict[str, Any] | None:
    """The fields of a dataclass and the type of each; None for another type."""
    if not dataclasses.is_dataclass(kind):
        return None
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


@functools.cache
def _parts(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    return typing.get_origin(kind), typing.get_args(kind)
