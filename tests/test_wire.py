"""Messages between the two processes: what is sent arrives, and what is no message is refused, whatever it is."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from compare.driving import wire
from compare.driving.answering import Outcome
from compare.driving.interface import Interface
from compare.driving.task import Task
from compare.driving.tensors import Array, Call, Driven, Given
from compare.driving.wire import DTYPES, LENGTHS, LONGEST_TEXT, Other, WireError, checked, cleaned, pack, unpack
from compare.driving.worker import RESULTS, Reply, Start
from tests.in_process import received

KINDS = sorted(np.dtype(name).name for name in DTYPES)


def body(plain: Any, arrays: Any = (), data: bytes = b"") -> tuple[memoryview, int]:
    """What follows the lengths of a message, and the length of its header."""
    header = json.dumps([plain, arrays]).encode()
    begins = LENGTHS.unpack_from(pack(np.zeros(1)))[0] - 8  # its array begins where any may
    return memoryview(header + bytes((begins - len(header)) % wire.ALIGNED if arrays else 0) + data), len(header)


# Round trips


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0, 2), (2, 3, 4)])
def test_arrays_of_every_kind_and_shape_arrive(kind: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(kind)
    arrived = received({"first": array, "again": array[...]}, trusted=False)
    for found in arrived.values():
        assert type(found) is np.ndarray
        assert (found.dtype, found.shape) == (array.dtype, shape)
        np.testing.assert_array_equal(found, array)
        assert found.flags.c_contiguous
        assert not np.shares_memory(found, array)


def test_arrays_arrive_where_numpy_would_have_put_them() -> None:
    for found in received([np.ones(3, np.uint8), np.ones(5), np.ones(7, np.float32), np.ones(9)], trusted=False):
        assert found.flags.aligned
        assert found.flags.writeable


def test_every_bit_of_a_number_arrives() -> None:
    for kind in ("float16", "float32", "float64"):
        special = np.array([np.nan, np.inf, -np.inf, -0.0, np.finfo(kind).smallest_subnormal, np.finfo(kind).max], kind)
        special.view(np.uint8)[0] = 7  # a NaN of its own
        assert received(special, trusted=False).tobytes() == special.tobytes()
    for number in (0.1, -0.0, 1e308, 5e-324, float("inf"), 2**70, -1, 0):
        assert repr(received(number, trusted=False)) == repr(number)
    assert str(received(float("nan"), trusted=False)) == "nan"


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.T,
        lambda x: x[::2],
        lambda x: x[:, ::-1],
        np.asfortranarray,
        lambda x: np.broadcast_to(x[:1], x.shape),
        lambda x: x.view(type("Theirs", (np.ndarray,), {})),
    ],
)
def test_however_an_array_lies_in_memory_its_numbers_arrive(view: Any) -> None:
    array = view(np.arange(12.0).reshape(3, 4))
    array.flags.writeable = False
    arrived = received(array, trusted=False)
    assert (type(arrived), arrived.flags.c_contiguous, arrived.flags.writeable) == (np.ndarray, True, True)
    np.testing.assert_array_equal(arrived, array)


class Whole(int):
    """Answers differently from the number that it is."""

    def __repr__(self) -> str:
        return "a lie"

    def __eq__(self, _: object) -> bool:
        return True

    __hash__ = int.__hash__


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (None, None),
        (True, True),
        ("two words", "two words"),
        ([1, [2.5, None]], (1, (2.5, None))),
        ((), ()),
        ({}, {}),
        ({1: {"a": (True,)}}, {"1": {"a": (True,)}}),
        ({3}, (3,)),
        (range(3), (0, 1, 2)),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("text"), "text"),
        (Whole(3), 3),
        (Fraction(1, 2), Other("Fraction(1, 2)")),
        (int, Other("<class 'int'>")),
    ],
)
def test_plain_values_arrive_as_pythons_own(value: Any, arrives: Any) -> None:
    arrived = received(value, trusted=False)
    assert arrived == arrives
    assert type(arrived) is type(arrives)
    assert repr(arrived) == repr(arrives)


@pytest.mark.parametrize(
    "array",
    [
        np.array([object()]),
        np.array(["text"]),
        np.array([1j]),
        np.array([1.0]).astype(">f8"),
        np.array(["2020"], "M8[D]"),
        np.zeros(1, [("a", "f4")]),
        np.zeros(1, np.longdouble) if np.longdouble(0).itemsize > 8 else np.array([b"bytes"]),
    ],
)
def test_an_array_of_anything_else_is_not_sent(array: Array) -> None:
    with pytest.raises(WireError, match=r"is no array of real numbers$"):
        pack({"tensors": array})


GIVEN = Given(
    "case",
    "float64",
    {"kernel_size": (2, 3), "bias": None},
    {"weight": np.ones((2, 3)), "count": np.array(7)},
    (Call((np.arange(3.0), np.array([1, 2])), np.array(1.0)),),
    ({"weight": np.zeros(2, np.float32)},),
    "strided",
)


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    elif dataclasses.is_dataclass(expected):
        assert type(found) is type(expected)
        for part in dataclasses.fields(expected):
            assert_same(getattr(found, part.name), getattr(expected, part.name))
    elif isinstance(expected, Mapping):
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == expected


@pytest.mark.parametrize(
    "value",
    [
        GIVEN,
        Driven({"output": np.ones(3)}, ("weight",), placed=(("weight", "W"),), notes=("as rows",)),
        Interface("go", "back", {"W": "weight"}, layout="NHWC", built_in={"kernel_size": 3}),
        Outcome(problem="raised ValueError: no", error="ValueError", refused=True, notes=("it warns",)),
        Start(
            pickled=np.frombuffer(b"bytes", np.uint8),
            sources=(("module", "file.py", "text\n"),),
            files=(("a/b", np.zeros(0, np.uint8)),),
        ),
        Task("optimizer", {"lr": 0.1}, buffers=("mean",)),
        Reply(Outcome(), ("seaborn",)),
    ],
)
def test_what_is_sent_between_the_two_processes_arrives_whole(value: Any) -> None:
    assert_same(checked(type(value), received(value, trusted=True)), value)


def test_the_kinds_of_all_answers_are_of_those_that_are_checked() -> None:
    assert RESULTS.keys() == {"look", "construct", "claims", "methods", "drive", "step"}
    for kind in RESULTS.values():
        with pytest.raises(WireError):
            checked(kind, {"no such field": 1})


# What is no message


DEEP: Any = 0
for _ in range(900):
    DEEP = [DEEP]


def test_what_is_a_message_is_read() -> None:
    np.testing.assert_array_equal(unpack(*body({"array": 0}, [["<f8", [2, 1]]], np.ones(2).tobytes())), np.ones((2, 1)))
    assert unpack(*body([1, {"a": None}])) == (1, {"a": None})


@pytest.mark.parametrize(
    ("message", "header"),
    [
        (b"", 0),
        (b"nothing like it", 15),
        (b"\xff\xfe\x00", 3),
        (b"[" * 100_000, 100_000),
        (b'{"a":' * 100_000, 100_000),
        (b"[1, 2, 3]", 9),
        (b"{}", 2),
        (b"[[], []]", 3),
        (b"[[], []]", 100),
        (b"[0, 7]", 6),
        (b"[0, [7]]", 8),
        (b"[0, [[]]]", 9),
        (b"9" * 5000, 5000),
        (b"[" + b"9" * 5000 + b", []]", 5006),
        body({"array": 0}),
        body({"array": "0"}),
        body({"array": None}),
        body({"array": {}}),
        body(0, [["<f8", [1], 3]], bytes(8)),
        body(0, [["<f8"]], bytes(8)),
        body(0, [["<f8", 1]], bytes(8)),
        body(0, [["<f8", None]], bytes(8)),
        body(0, [["<f8", {"0": 1}]], bytes(8)),
        body(0, [["<f8", [1]]], bytes(7)),
        body(0, [["<f8", [1]]], bytes(9)),
        body(0, [["<f8", [1]]]),
        body(0, [["<f8", [-1]]]),
        body(0, [["<f8", [-1, -1]]], bytes(8)),
        body(0, [["<f8", [0, -1]]]),
        body(0, [["<f8", [-1]], ["<f8", [1]]], bytes(8)),  # the first would take the place of the second
        body(0, [["<f8", [1.0]]], bytes(8)),
        body(0, [["<f8", [True]]], bytes(8)),
        body(0, [["<f8", ["1"]]], bytes(8)),
        body(0, [["<f8", [2**62, 4]]], bytes(8)),
        body(0, [["<f8", [0, 2**62, 2**62]]]),
        body(0, [["<f8", [0, 2**200]]]),
        body(0, [["<f8", [10**9] * 30]], bytes(8)),
        body(0, [["<f8", [1] * 33]], bytes(8)),
        body(0, [["<f8", [1] * 100_000]], bytes(8)),
        body(0, [["|O", [1]]], bytes(8)),
        body(0, [["O", [1]]], bytes(8)),
        body(0, [["float64", [1]]], bytes(8)),
        body(0, [["<f8,<f8", [1]]], bytes(16)),
        body(0, [[["<f8"], [1]]], bytes(8)),
        body(0, [[{"a": 1}, [1]]], bytes(8)),
        body(0, [[None, [1]]], bytes(8)),
        body(0, data=b"more"),
    ],
)
def test_what_is_no_message_is_refused(message: Any, header: int) -> None:
    with pytest.raises(WireError):
        unpack(memoryview(message), header)


def test_what_a_message_says_of_itself_takes_no_memory() -> None:
    shape = [2**26]  # half a gigabyte
    with pytest.raises(WireError, match=r"^an array of shape \[67108864\] is longer than the message$"):
        unpack(*body(0, [["<f8", shape]]))


def test_nesting_that_json_allows_is_refused_or_read_and_never_breaks() -> None:
    try:
        arrived = unpack(*body(DEEP))
    except WireError:
        return
    with pytest.raises(WireError):
        checked(Driven, arrived)


def damaged(message: bytes, rng: random.Random) -> bytes:
    """The message with some of it changed, left out, or put twice."""
    data = bytearray(message)
    for _ in range(rng.randint(1, 4)):
        place, length = rng.randrange(len(data) + 1), rng.randint(1, 8)
        what = rng.randrange(4)
        if what == 0:
            data[place : place + length] = rng.randbytes(length)
        elif what == 1:
            del data[place : place + length]
        elif what == 2:
            data[place:place] = data[place : place + length]
        else:
            data[place : place + 1] = rng.choice([b"-", b"9", b"[", b"]", b'"', b"null", b"1e999", b"NaN", b"{"])
    return bytes(data)


@pytest.mark.parametrize("kind", [Driven, Reply, Given, Outcome])
def test_a_damaged_message_is_refused_or_of_its_kind(kind: Any) -> None:
    """Nothing else is raised, and what is taken has the types that were asked for."""
    values = {
        Driven: Driven({"output": np.ones((2, 3)), "grad": np.ones(0)}, ("weight",), placed=(("weight", "W"),)),
        Reply: Reply(Outcome(Driven({"output": np.ones(2)}), notes=("it prints",)), ("module",)),
        Given: GIVEN,
        Outcome: Outcome(problem="no", error="ValueError"),
    }
    rng, taken = random.Random(0), 0
    message = pack(values[kind])[LENGTHS.size :]
    header = LENGTHS.unpack_from(pack(values[kind]))[1]
    for _ in range(1500):
        hurt = damaged(message, rng)
        try:
            found = checked(kind, unpack(memoryview(hurt), rng.choice([header, header + len(hurt) - len(message)])))
        except WireError:
            continue
        taken += 1
        assert type(found) is kind
        assert checked(kind, received(found, trusted=True)) is not None  # it can be sent again
    assert taken, "some damage is no more than another number"


def test_of_random_bytes_nothing_but_a_refusal_comes() -> None:
    rng = random.Random(0)
    for _ in range(300):
        data = rng.randbytes(rng.randrange(200))
        with contextlib.suppress(WireError):
            unpack(memoryview(data), rng.randrange(220))


ODD: list[Any] = [None, True, 0, -1, 2**70, 10**400, 0.5, float("nan"), "", "array", "\x1b", "<f8", "|O", (), {}]


def anything(rng: random.Random, depth: int = 4) -> Any:
    """Some value that JSON can hold."""
    kind = rng.randrange(4) if depth else 0
    if kind == 1:
        return [anything(rng, depth - 1) for _ in range(rng.randrange(4))]
    if kind == 2:
        return {rng.choice(["array", "other"]): anything(rng, depth - 1)}
    if kind == 3:
        names = ("outcome", "missing", "value", "notes", "tensors", "placed", "ours", "shape")
        return {name: anything(rng, depth - 1) for name in rng.sample(names, rng.randrange(4))}
    return rng.choice(ODD)


def test_of_any_header_nothing_but_a_refusal_or_plain_values_come() -> None:
    rng, taken = random.Random(0), 0
    for _ in range(3000):
        arrays = [["<f8", [0]]] if rng.random() < 0.9 else anything(rng)
        with contextlib.suppress(WireError):
            found = unpack(*body(anything(rng), arrays))
            taken += 1
            for kind in (Driven, Reply, Outcome, float, *RESULTS.values()):
                with contextlib.suppress(WireError):
                    checked(kind, found)
    assert taken > 1000


@pytest.mark.parametrize("said", [5, None, ["a"], {"b": 1}])
def test_what_stands_for_a_value_that_is_not_sent_is_refused_like_any_other(said: Any) -> None:
    for kind in (Driven, Reply, int | None, tuple[int, ...]):
        with pytest.raises(WireError):
            checked(kind, unpack(*body({"other": said})))


def test_a_number_that_is_too_large_for_its_type_is_refused() -> None:
    with pytest.raises(WireError):
        checked(float, unpack(*body(10**400)))


# Types


@dataclass(frozen=True)
class Inner:
    number: int = 0


@dataclass(frozen=True)
class Outer:
    text: str
    parts: tuple[Inner, ...] = ()
    pair: tuple[int, str] = (0, "")
    by_name: Mapping[str, float] = field(default_factory=dict)
    either: int | str | None = None
    array: Array | None = None
    flag: bool = False
    anything: Any = None


@pytest.mark.parametrize(
    "value",
    [
        {"text": 3},
        {"text": None},
        {},
        {"text": "", "more": 1},
        {"text": "", "parts": {"number": 1}},
        {"text": "", "parts": ({"number": 1.5},)},
        {"text": "", "parts": ({"number": True},)},
        {"text": "", "parts": ({"other": 1},)},
        {"text": "", "parts": (3,)},
        {"text": "", "pair": (1,)},
        {"text": "", "pair": (1, "a", 2)},
        {"text": "", "pair": ("a", 1)},
        {"text": "", "by_name": {"a": "1"}},
        {"text": "", "by_name": (1.0,)},
        {"text": "", "either": 1.5},
        {"text": "", "either": (1,)},
        {"text": "", "array": (1.0,)},
        {"text": "", "flag": 1},
        {"text": "", "flag": None},
        "text",
        (),
        None,
        np.zeros(3),
    ],
)
def test_a_value_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(WireError):
        checked(Outer, value)


def test_a_value_of_the_right_types_is_made() -> None:
    array = np.zeros(3)
    value = {
        "text": "a",
        "parts": ({"number": 1}, {}),
        "pair": (1, "b"),
        "by_name": {"x": 1, "y": 0.5},
        "either": "c",
        "array": array,
        "flag": True,
        "anything": {"z": (1, None)},
    }
    found = checked(Outer, value)
    assert found.parts == (Inner(1), Inner(0))
    assert (found.pair, found.by_name, found.either, found.flag) == ((1, "b"), {"x": 1.0, "y": 0.5}, "c", True)
    assert type(found.by_name["x"]) is float
    assert found.array is array
    assert found.anything == {"z": (1, None)}
    assert checked(None, None) is None
    with pytest.raises(WireError):
        checked(None, 0)


def test_what_is_refused_is_shown_in_one_short_line() -> None:
    with pytest.raises(WireError) as refused:
        checked(Inner, {"number": "\x1b[31m\n" + "x" * 1000})
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 100


# Texts


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("", ""),
        ("as  it is", "as  it is"),
        ("äö, 中文, ∂L/∂x", "äö, 中文, ∂L/∂x"),
        ("two\nlines\tand\r\nmore", "two lines and more"),
        ("\x1b[31mred\x1b[0m", "?[31mred?[0m"),
        ("a\x00b\x07c\x7fd\x9be", "a?b?c?d?e"),
        ("\u202eright to left", "?right to left"),
        ("zero\u200bwidth\ufeff", "zero?width?"),
        ("half \ud800 of a pair", "half ? of a pair"),
        ("x" * LONGEST_TEXT, "x" * LONGEST_TEXT),
        ("x" * (LONGEST_TEXT + 1), "x" * (LONGEST_TEXT - 3) + "..."),
        ("x" * 10**6, "x" * (LONGEST_TEXT - 3) + "..."),
        ("\x00" * 10**6, "?" * (LONGEST_TEXT - 3) + "..."),
    ],
)
def test_a_text_is_one_line_that_can_be_shown(text: str, clean: str) -> None:
    assert cleaned(text) == clean
    assert cleaned(text).isprintable()


def test_the_texts_of_a_message_are_cleaned_unless_it_is_trusted() -> None:
    value = {"a\nkey": ["\x1b[1m", Other("a\nlie")]}
    assert received(value, trusted=False) == {"a key": ("?[1m", Other("a lie"))}
    assert received(value, trusted=True) == {"a\nkey": ("\x1b[1m", Other("a lie"))}
    assert wire.LARGEST == 256 * 2**20
