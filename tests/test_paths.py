"""Paths into somebody's object, and axes by letter: what is taken apart, found, put and reordered."""

from __future__ import annotations

import functools
import json.decoder
import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from compare.driving import layouts, paths
from compare.driving.layouts import LayoutError, batch_in_words, for_axes, from_theirs, to_theirs
from compare.driving.options import USUAL_AXES
from compare.pairs.layers import LAYERS
from scratch import Array


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("", []),
        ("W", ["W"]),
        ("_w1", ["_w1"]),
        ("layer.weight.data", ["layer", "weight", "data"]),
        ("params['W']", ["params", "[W"]),
        ('params["b 1"].x', ["params", "[b 1", "x"]),
        ("params['']", ["params", "["]),
        ("['W']", ["[W"]),
        ("layers[0].W", ["layers", 0, "W"]),
        ("layers[-1]", ["layers", -1]),
        ("[12][3]", [12, 3]),
        ("0", ["0"]),
        ("10.weight", ["10", "weight"]),
        ("net.1.weight", ["net", "1", "weight"]),
    ],
)
def test_a_path_is_taken_apart(path: str, steps: list[str | int]) -> None:
    assert paths.steps(path) == steps


@pytest.mark.parametrize("path", ["a b", "W!", "a..b", "[W]", "1W", "params['W]", "W[0]5"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is not a path such as W") as refused:
        paths.steps(path)
    assert str(refused.value) == f"{path!r} is not a path such as W, params['W'] or layers[0].W"


class Part:
    """An object with whatever it is made with."""

    def __init__(self, **held: Any) -> None:
        self.__dict__.update(held)


def test_what_lies_at_a_path_is_got() -> None:
    subject: Any = Part(layers=[Part(params={"W": 1, "b": 2}), Part(W=3)])
    setattr(subject, "0", 4)
    there = ("layers[0].params['W']", "layers[0].params['b']", "layers[1].W", "layers[-1].W", "0")
    assert [paths.get(subject, path) for path in there] == [1, 2, 3, 3, 4]
    assert paths.get(subject, "") is subject


@pytest.mark.parametrize(
    ("path", "error"), [("V", AttributeError), ("layers[2]", IndexError), ("params['V']", KeyError)]
)
def test_where_nothing_lies_is_said(path: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        paths.get(Part(layers=[1, 2], params={"W": 1}), path)


def test_what_lies_at_a_path_is_replaced_and_nothing_else() -> None:
    inner: Any = Part(W=1, b=2)
    subject: Any = Part(layers=[inner, 3, 4], params={"W": 5, "[W": 6}, b=7)
    for path, value in (("layers[0].W", "a"), ("layers[1]", "b"), ("params['W']", "c"), ("b", "d")):
        paths.put(subject, path, value)
    assert (inner.W, inner.b) == ("a", 2)
    assert subject.layers == [inner, "b", 4]
    assert subject.params == {"W": "c", "[W": 6}
    assert subject.b == "d"


def names_of(subject: Any, **how: Any) -> list[str]:
    return [path for path, _ in paths.arrays(subject, **how)]


def test_arrays_are_found_in_objects_dictionaries_lists_and_tuples_in_their_order() -> None:
    arrays = [np.array([float(number)]) for number in range(6)]
    subject: Any = Part(
        W=arrays[0],
        params={"b": arrays[1], 3: np.ones(1)},  # a path has no word for a key that is no text
        layers=[Part(gamma=arrays[2]), (np.float64(2), arrays[3])],
        count=5,
        last=Part(inner=Part(x=arrays[4])),
        own=arrays[5],
    )
    found = list(paths.arrays(subject))
    assert [path for path, _ in found] == [
        "W",
        "params['b']",
        "layers[0].gamma",
        "layers[1][1]",
        "last.inner.x",
        "own",
    ]
    for (path, array), expected in zip(found, arrays, strict=True):
        assert array is expected
        assert paths.get(subject, path) is expected


def test_arrays_of_a_dictionary_or_a_list_have_paths_too() -> None:
    one = np.ones(1)
    assert names_of({"a": one, "b": {"c": one}, "d": [one]}) == ["['a']", "['b']['c']", "['d'][0]"]
    assert names_of([one, Part(b=one)]) == ["[0]", "[1].b"]
    assert names_of((one, {"c": one})) == ["[0]", "[1]['c']"]
    assert names_of(Part(W=one), path="held") == ["held.W"]


def test_arrays_are_looked_for_four_steps_deep() -> None:
    deep: Any = Part(W=np.ones(1))
    for _ in range(3):
        deep = Part(W=np.ones(1), x=deep)
    assert names_of(deep) == ["W", "x.W", "x.x.W", "x.x.x.W"]
    assert names_of(Part(x=deep)) == ["x.W", "x.x.W", "x.x.x.W"]
    assert names_of(deep, depth=1) == ["W"]
    assert names_of(deep, depth=2) == ["W", "x.W"]


def test_an_object_that_holds_itself_comes_to_an_end() -> None:
    subject: Any = Part(W=np.ones(1))
    subject.me = subject
    assert names_of(subject) == ["W", "me.W", "me.me.W", "me.me.me.W"]


class Slotted:
    __slots__ = ("W", "unset")

    def __init__(self) -> None:
        self.W = np.ones(1)


class OneSlot:
    __slots__ = "bias"

    def __init__(self) -> None:
        self.bias = np.ones(1)


class Extended(Slotted):
    __slots__ = ("gamma",)

    def __init__(self) -> None:
        super().__init__()
        self.gamma = np.ones(1)


class Open(Slotted):
    def __init__(self) -> None:
        super().__init__()
        self.extra = np.ones(1)


def test_arrays_in_slots_are_found() -> None:
    assert names_of(Slotted()) == ["W"]
    assert names_of(OneSlot()) == ["bias"]
    assert names_of(Extended()) == ["gamma", "W"]
    assert names_of(Open()) == ["extra", "W"]
    for path, array in paths.arrays(Open()):
        assert array.tolist() == [1.0], path


def test_parts_with_slots_are_looked_into() -> None:
    assert names_of(Part(weight=Slotted(), layers=[OneSlot()])) == ["weight.W", "layers[0].bias"]


class Run:
    def run(self) -> None:
        pass


Run.run.W = np.ones(1)  # type: ignore[attr-defined]


def a_function(x: Array) -> Array:
    return x


def test_functions_classes_modules_and_text_hold_no_arrays_of_the_layer() -> None:
    class Holder:
        W = np.ones(1)

    class Text(str):
        W: Any

    class Count(int):
        W: Any

    single = ModuleType("single")
    single.W = np.ones(1)  # type: ignore[attr-defined]
    function: Any = functools.wraps(a_function)(lambda x: x)
    function.W = np.ones(1)
    text, count = Text("a"), Count(3)
    text.W, count.W = np.ones(1), np.ones(1)
    assert names_of(Part(W=np.ones(1))) == ["W"]
    held = (Holder, text, count, function, single, json, json.decoder, np, math, None, 1.5, 2j, b"W", np.float32(1))
    for value in (*held, Slotted.__init__, Run().run, np.random.default_rng(0), np.random.RandomState(0), math.sin):
        assert names_of(Part(held=value)) == [], value


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", []),
        ("W", ["W"]),
        ("layers[0].params['W1']", ["layers", "params", "W1"]),
        ('net.2.held["b"].data', ["net", "held", "b", "data"]),
        ("[0][1]", []),
    ],
)
def test_the_words_of_a_path_are_its_names(path: str, words: list[str]) -> None:
    assert paths.words(path) == words


# Axes by letter


def test_every_number_of_axes_has_as_many_letters() -> None:
    assert {axes: len(letters) for axes, letters in layouts.IMAGES.items()} == {n: n for n in range(1, 6)}
    assert {number: len(axes.torch) for number, axes in USUAL_AXES.items()} == {n: n for n in range(1, 6)}


def test_other_orders_of_a_weight_are_made_of_its_letters_each_at_most_once() -> None:
    known = [*USUAL_AXES.values(), *(axes for pair in LAYERS for axes in pair.weights.values())]
    for axes in known:
        for order in axes.others:
            assert set(order) <= set(axes.torch)
            assert len(set(order)) == len(order)
            assert order != axes.torch


def counted(*shape: int) -> Array:
    return np.arange(math.prod(shape), dtype=np.float64).reshape(shape)


@pytest.mark.parametrize(
    ("shape", "canonical", "own", "expected"),
    [
        ((2, 3, 4, 5), "NCHW", "NCHW", (2, 3, 4, 5)),
        ((2, 3, 4, 5), "NCHW", "NHWC", (2, 4, 5, 3)),
        ((1, 3, 4, 5), "NCHW", "HWC", (4, 5, 3)),
        ((1, 1, 4, 5), "NCHW", "WH", (5, 4)),
        ((2, 3), "NC", "CN", (3, 2)),
        ((1, 3), "NC", "C", (3,)),
        ((2, 1), "NC", "N", (2,)),
        ((1, 3), "NC", "C1", (3, 1)),
        ((1, 3), "NC", "1C", (1, 3)),
        ((1, 3, 4, 5), "NCHW", "1HWC", (1, 4, 5, 3)),
        ((2, 3), "OI", "IO", (3, 2)),
        ((2, 3, 4, 5), "OIHW", "HWIO", (4, 5, 3, 2)),
    ],
)
def test_axes_go_there_and_back(shape: tuple[int, ...], canonical: str, own: str, expected: tuple[int, ...]) -> None:
    array = counted(*shape)
    there = to_theirs(array, canonical, own)
    assert there.shape == expected
    kept = array.squeeze(tuple(axis for axis, letter in enumerate(canonical) if letter not in own))
    letters = "".join(letter for letter in canonical if letter in own)
    ordered = np.einsum(f"{letters}->{own.replace('1', '')}", kept)
    np.testing.assert_array_equal(there, ordered.reshape(expected))
    np.testing.assert_array_equal(from_theirs(there, own, canonical), array)


@pytest.mark.parametrize(
    ("shape", "canonical", "own", "message"),
    [
        ((1, 2), "NC", "NL", "layout 'NL' must be made of the letters of 'NC', each at most once"),
        ((2, 3), "NC", "NCC", "layout 'NCC' must be made of the letters of 'NC', each at most once"),
        ((2, 3), "NC", "C1", "layout 'C1' has no axis N, which is 2 long, not 1"),
        ((2, 3, 4, 5), "NCHW", "HWC", "layout 'HWC' has no axis N, which is 2 long, not 1"),
        ((1, 2, 4, 5), "NCHW", "HW", "layout 'HW' has no axis C, which is 2 long, not 1"),
        ((1, 0, 4, 5), "NCHW", "HW", "layout 'HW' has no axis C, which is 0 long, not 1"),
    ],
)
def test_axes_that_do_not_fit_are_refused(shape: tuple[int, ...], canonical: str, own: str, message: str) -> None:
    with pytest.raises(LayoutError) as refused:
        to_theirs(counted(*shape), canonical, own)
    assert str(refused.value) == message


@pytest.mark.parametrize("shape", [(4,), (4, 5, 3), ()])
def test_another_number_of_axes_has_no_way_back(shape: tuple[int, ...]) -> None:
    with pytest.raises(LayoutError) as refused:
        from_theirs(counted(*shape), "HW", "NCHW")
    assert str(refused.value) == f"shape {shape} instead of 2 axes 'HW'"


def test_an_axis_of_length_1_may_not_be_longer_on_the_way_back() -> None:
    with pytest.raises(LayoutError) as refused:
        from_theirs(counted(4, 2), "C1", "NC")
    assert str(refused.value) == "shape (4, 2) is longer than 1 where layout 'C1' says 1"


@pytest.mark.parametrize(
    ("own", "canonical", "expected"),
    [
        ("", "NCHW", "NCHW"),
        ("", "NC", "NC"),
        ("NHWC", "NCHW", "NHWC"),
        ("HW", "NCHW", "HW"),
        ("C", "NC", "C"),
        ("C1", "NC", "C1"),
        ("CN", "NC", "CN"),
        ("HWC", "NC", "C"),
        ("1HWC", "NC", "1C"),
        ("C", "NCHW", "CHW"),
        ("HWC", "NCL", "CL"),
        ("NHWC", "NC", "NC"),
        ("NHWC", "NCL", "NCL"),
    ],
)
def test_a_layout_for_other_axes_says_only_whether_there_is_a_batch(own: str, canonical: str, expected: str) -> None:
    assert for_axes(own, canonical) == expected


@pytest.mark.parametrize(
    ("layout", "axes", "words"),
    [
        ("", 2, "a batch (N, C)"),
        ("", 4, "a batch (N, C, H, W)"),
        ("HWC", 4, "one image (H, W, C)"),
        ("CHW", 2, "one image (C,)"),  # of an image it says that there is one; of rows, too
        ("NHWC", 2, "a batch (N, C)"),
        ("CN", 2, "a batch of columns (C, N)"),
        ("C1", 2, "one column (C, 1)"),
    ],
)
def test_what_an_input_is_is_said_for_the_axes_that_it_has(layout: str, axes: int, words: str) -> None:
    assert batch_in_words(layout, axes) == words
