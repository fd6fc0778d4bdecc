"""Small changes of inputs: of bytes, and of the fields of JSON. What a generator draws depends on its seed only."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

WORDS = (0, 1, 2, 3, 27, 28, 255, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 2**31, 2**63, 2**64, 10**400),
    *(0.0, -0.5, 0.5, 1e-300, 1e308, float("nan"), float("inf"), -float("inf")),
    *("", "x", "\0", "\ud800", "\x1b[31m\n", "../..", "nan", "1", "x" * 3000),
    *([], [1], [[]], {}, {"x": 1}, [None] * 50),
)


def mutate_bytes(content: bytes, rng: Random) -> bytes:
    """One to four changes of bytes; the beginning, where a header is, is changed more often than the rest."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        length = len(changed)
        at = rng.randrange(min(length, 32) + 1 if rng.random() < 0.5 else length + 1)
        kind = rng.randrange(6)
        if kind == 0 and at < length:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < length:
            changed[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        elif kind == 2:
            changed[at : at + 4] = rng.choice(WORDS).to_bytes(4, rng.choice(("big", "little")))
        elif kind == 3:
            del changed[at : at + rng.randint(1, 1 + length // 4)]
        elif kind == 4:
            changed[at:at] = changed[at : at + rng.randint(1, 64)] or b"\0"
        else:
            del changed[at:]
    return bytes(changed)


def mutate_json(value: Any, rng: Random) -> Any:
    """A copy of a JSON value in which one to three values are gone, replaced, renamed, doubled or added."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        held, key = _place(value, rng)
        if held is None:
            return _odd_value(rng)
        kind = rng.randrange(6)
        if kind == 0:
            del held[key]
        elif kind == 1 and isinstance(held, dict):
            held[rng.choice(("x", "", f"{key} ", "\0", "logits"))] = held.pop(key)
        elif kind == 2 and isinstance(held[key], int | float):
            held[key] = rng.choice((-held[key], held[key] + 1, held[key] - 1, held[key] * 2, str(held[key])))
        elif kind == 3 and isinstance(held, list):
            held.insert(key, copy.deepcopy(held[key]))
        elif kind == 4 and isinstance(held[key], dict):
            held[key]["x"] = _odd_value(rng)
        else:
            held[key] = _odd_value(rng)
    return value


def _odd_value(rng: Random) -> Any:
    """A copy of one of the odd values: the next change may be one within it."""
    return copy.deepcopy(rng.choice(ODD_VALUES))


def _place(value: Any, rng: Random) -> tuple[Any, Any]:
    """A random place in a JSON value: the object or list, and the key or index; (None, None) where there is none."""
    places: list[tuple[Any, Any]] = []
    open_ = [value]
    while open_:
        held = open_.pop()
        keys: Any = held.keys() if isinstance(held, dict) else range(len(held)) if isinstance(held, list) else ()
        places += [(held, key) for key in keys]
        open_ += [held[key] for key in keys]
    return rng.choice(places) if places else (None, None)


def parsed(text: bytes) -> Any:
    """The JSON value of a text; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
