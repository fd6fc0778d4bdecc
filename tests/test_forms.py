"""Each form of a wrong tensor on arrays small enough to check by hand: what it takes, and what it just does not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from compare.diagnosis.explaining import forms
from compare.diagnosis.explaining.forms import Evidence, Form, recognise
from compare.diagnosis.trial import Trial
from compare.driving.tensors import Call, Tensors
from compare.pairs.probe import Probe
from compare.pairs.report import Row
from scratch import Array

Found = tuple[str, str, str] | None


def array(values: Any) -> Array:
    return np.asarray(values, np.float64)


def evidence(
    right: Any,
    got: Any,
    kind: str = "output",
    *,
    name: str = "",
    wrong: bool = True,
    case: str = "small",
    dtype: str = "float64",
    calls: tuple[Call, ...] = (),
    state: Tensors | None = None,
    others: Tensors | None = None,
) -> Evidence:
    """A tensor that came as `got` in place of `right`."""
    name = name or kind
    right, got = np.asarray(right), np.asarray(got)
    rows = [
        Row("pair", case, tensor, dtype, right.shape, 0.0, 0.0, 0.0, 0.0, (), "wrong" if bad else "")
        for tensor, bad in ((name, wrong), ("another tensor", not wrong))
    ]
    probe = Probe(case, dtype, {}, state or {}, calls)
    return Evidence(kind, name, Trial(probe, {name: got}, {name: right} | (others or {}), {}, tuple(rows)))


def call_of(x: Any, g: Any = 0.0) -> tuple[Call, ...]:
    return (Call((np.asarray(x), np.zeros(1)), np.asarray(g)),)


def numbers(*shape: int, seed: int = 0) -> Array:
    """Random numbers from 1 to 2, and a 0 in every second place."""
    drawn = np.random.default_rng(seed).uniform(1, 2, shape)
    drawn.reshape(-1)[::2] = 0
    return drawn


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


# One tensor of a trial


def test_what_is_not_a_number_counts_as_nan() -> None:
    for kind in (np.float32, np.int64, np.uint8, np.bool_):
        seen = evidence([1.0, 0.0], np.array([1, 0], kind)).got
        assert seen.dtype == np.float64
        assert seen.tolist() == [1, 0]
    seen = evidence(np.zeros((2, 3)), np.zeros((2, 3), complex)).got
    assert seen.shape == (2, 3)
    assert np.isnan(seen).all()


def test_right_is_seen_in_float64() -> None:
    assert evidence(np.ones(2, np.float32), np.ones(2)).right.dtype == np.float64


def test_wrong_is_what_a_row_of_its_own_says() -> None:
    """`evidence` adds the row of another tensor, which has the other verdict."""
    assert evidence([1.0], [2.0]).wrong
    assert not evidence([1.0], [2.0], wrong=False).wrong


@pytest.mark.parametrize(
    ("right", "dtype", "tolerance"),
    [
        ([0.0, -4.0, 1.0], "float64", 4e-9),
        ([0.0, -4.0, 1.0], "float32", 4e-4),
        ([0.25], "float64", 0.25e-9),
        ([1.0, -np.inf, np.nan], "float64", 1e-9),
        ([np.nan], "float64", 0.0),
        ([0.0], "float64", 0.0),
        ([], "float64", 0.0),
    ],
)
def test_the_tolerance_is_a_share_of_the_greatest_finite_number(
    right: list[float], dtype: str, tolerance: float
) -> None:
    assert evidence(array(right), array(right), dtype=dtype).tolerance == tolerance


@pytest.mark.parametrize(
    ("right", "got", "other", "same"),
    [
        ([1.0, 0.0], [1.0, 1e-9], [1.0, 0.0], True),  # just at the tolerance
        ([1.0, 0.0], [1.0, 1.1e-9], [1.0, 0.0], False),
        ([1.0, 0.0], [1.0, 1.1e-9], [0.0, 0.0], False),
        ([0.25, 0.0], [-4.0, 4e-9], [-4.0, 0.0], True),  # `other` is the greater
        ([0.25, 0.0], [-4.0, 4.1e-9], [-4.0, 0.0], False),
        ([0.25, 0.0], [0.25, 0.5e-9], [0.25, 0.0], False),
        ([4.0, 0.0], [0.25, 4e-9], [0.25, 0.0], True),  # `right` is
        ([4.0, 0.0], [0.25, 4.1e-9], [0.25, 0.0], False),
        ([1.0, 0.0], [1.0, 0.0], [[1.0, 0.0]], False),  # another shape
        ([1.0, 0.0], [1.0, 0.0], [1.0], False),
        ([], [], [], True),
    ],
)
def test_equal_is_equal_to_rounding(right: Any, got: Any, other: Any, same: bool) -> None:
    assert evidence(array(right), array(got)).equals(array(other)) is same


def test_a_tensor_belongs_to_the_call_of_its_name_or_to_the_first() -> None:
    calls = tuple(Call((np.zeros(n),), np.zeros(n)) for n in range(12))

    def call(name: str, given: tuple[Call, ...] = calls) -> Call | None:
        return evidence([1.0], [1.0], name=name, calls=given).call

    assert call("output of call 1") is calls[0]
    assert call("output of call 2") is calls[1]
    assert call("output of call 12") is calls[11]
    assert call("weight") is calls[0]
    assert call("share of call 2 alike") is calls[0]
    assert call("output of call 2", ()) is None
    assert call("weight", ()) is None


@pytest.mark.parametrize(
    ("x", "y", "state", "sizes"),
    [
        ((2, 3, 5, 7), (11, 13, 17, 19), (), {"N": 2, "C_in": 3, "H·W": 35, "C_out": 13, "H_out·W_out": 323}),
        ((2, 3), (5, 7), ((7, 3),), {"N": 2, "in_features": 3, "out_features": 7}),
        ((2, 3, 5, 7), (2, 4), ((1,), (9, 8, 3, 5), (1, 1, 2, 2)), {
            "N": 2, "C_in": 3, "H·W": 35, "out_features": 4, "kH·kW": 15,
        }),
        ((2, 3), (5, 7, 2, 3), (), {"N": 2, "in_features": 3, "C_out": 7, "H_out·W_out": 6}),
        ((4, 3, 2), (5, 7, 2), ((9, 8, 3, 5, 1),), {"N": 4}),
        ((4,), (5,), (), {"N": 4}),
    ],
)  # fmt: skip
def test_the_lengths_have_their_usual_letters(
    x: tuple[int, ...], y: tuple[int, ...], state: tuple[tuple[int, ...], ...], sizes: dict[str, float]
) -> None:
    weights = {f"weight{n}": np.zeros(shape) for n, shape in enumerate(state)}
    found = evidence([1.0], [1.0], calls=call_of(np.zeros(x), np.zeros(y)), state=weights).sizes()
    assert found == sizes
    assert list(found) == list(sizes)
    assert all(isinstance(length, float) for length in found.values())


def test_without_a_call_there_are_no_lengths() -> None:
    assert evidence([1.0], [1.0], state={"weight": np.zeros((1, 2, 3, 4))}).sizes() == {}


X, G = np.full((4, 5), 1.0), np.full((4, 6), 2.0)
STATE = {"weight": np.full((3, 2), 3.0), "bias": np.full(3, 4.0), "conv1.weight": np.full((9, 1), 5.0)}
SEEN = {
    "output of call 1": np.full((3, 2), 6.0),
    "grad_input": np.full((3, 2), 7.0),
    "grad_input of call 2": np.full((3, 1), 8.0),
    "input after use": np.full((3, 2), 9.0),
    "weight after use of call 2": np.full((3, 2), 10.0),
}
AROUND = [("the input", 1.0), ("the upstream gradient", 2.0)]


@pytest.mark.parametrize(
    ("kind", "shape", "related"),
    [
        ("grad_weight", (9, 9), [("weight", 3.0), *AROUND]),
        ("grad_bias", (3, 1), [("bias", 4.0), *AROUND, ("grad_input", 8.0)]),
        ("conv1.grad_weight", (9, 9), [("conv1.weight", 5.0), *AROUND]),
        ("grad_gamma", (3, 2), [("weight", 3.0), *AROUND, ("output", 6.0), ("grad_input", 7.0)]),
        ("grad_input", (3, 2), [("weight", 3.0), *AROUND, ("output", 6.0)]),
        ("output", (9, 9), [("weight", 3.0), ("bias", 4.0), ("conv1.weight", 5.0), *AROUND]),
    ],
)
def test_what_may_have_been_added(kind: str, shape: tuple[int, ...], related: list[tuple[str, float]]) -> None:
    """The parameter of a gradient, what has its shape, all parameters to an output, and what the call was given."""

    def found(calls: tuple[Call, ...]) -> list[tuple[str, float]]:
        seen = evidence(np.zeros(shape), np.ones(shape), kind, name="it", calls=calls, state=STATE, others=SEEN)
        return [(name, float(tensor.flat[0])) for name, tensor in seen.related() if name != "it"]

    assert found(call_of(X, G)) == related
    assert found(()) == [row for row in related if row not in AROUND]


# The order in which a tensor is judged


def test_the_evidence_says_on_how_many_inputs_a_form_holds() -> None:
    one = evidence(numbers(2, 3), np.zeros((2, 3)))
    right = evidence(numbers(2, 3), numbers(2, 3), wrong=False)
    made = ("zero", "It is zero everywhere.", "Is it ever computed, and is it the array you hand out?")
    assert recognise([one]) == Form(*made, "holds on the one input where the tensor is wrong")
    assert recognise([right, one, one]) == Form(*made, "holds on all 2 inputs where the tensor is wrong")


@pytest.mark.parametrize(
    ("got", "made", "hint"),
    [
        ((3, 2), "Its shape is [3, 2] instead of [2, 3]: the same lengths in another order.", "In which order do you"),
        ((6,), "Its shape is [6] instead of [2, 3]: as many numbers, not reshaped.", "Which shape did the input have?"),
        ((2, 2), "Its shape is [2, 2] instead of [2, 3].", "Work out the output size on paper for one odd input"),
    ],
)
def test_another_shape_comes_before_all_else(got: tuple[int, ...], made: str, hint: str) -> None:
    nan = evidence(np.ones((2, 3)), np.full((2, 3), np.nan), case="nan")
    fine = evidence(np.ones((2, 3)), np.ones((4, 3)), wrong=False, case="fine")
    form = recognise([fine, nan, evidence(np.ones((2, 3)), np.ones(got), case="odd")])
    assert (form.name, form.made, form.evidence) == ("shape", made, "first on [odd]")
    assert form.hint.startswith(hint)


def test_a_number_that_is_not_finite_comes_before_every_form() -> None:
    zero = evidence([1.0, 2.0, 3.0], [0.0, 0.0, 0.0])
    half = evidence([1.0, 2.0, 3.0, 4.0], [np.nan, np.inf, -np.inf, 4.0], case="2x2 large")
    assert recognise([zero, half]) == Form(
        "not-finite",
        "75% of its elements are NaN or infinite, for large inputs only.",
        "Which number overflows exp, or what is divided by zero?",
        "on 1 of 2 inputs where it is wrong",
    )
    other = evidence([1.0, 2.0], [np.nan, 2.0], case="2x2 normal")
    assert recognise([other, half, zero]) == Form(
        "not-finite",
        "50% of its elements are NaN or infinite.",
        "What is divided by zero, or never set?",
        "on 2 of 3 inputs where it is wrong",
    )


@pytest.mark.parametrize("right", [np.nan, -np.inf])
def test_finite_numbers_where_torch_has_none_fit_no_form(right: float) -> None:
    half = evidence([0.0, right], [0.0, 3.0], case="huge")
    assert recognise([evidence([1.0, 2.0], [0.0, 0.0]), half]) == Form(
        "",
        "All its elements are finite; those of torch are not, on [huge].",
        "Which step overflows in torch, or has no answer there?",
        "on 1 of 2 inputs where it is wrong",
    )


def test_what_is_right_but_for_its_type_has_no_form() -> None:
    """Numbers that are right fit many forms: off by one number for each channel, which is 0."""
    said = Form("", "It is missing, or differs in its type.", "Look at what is returned.", "the first row of the table")
    assert recognise([]) == said
    assert recognise([evidence([1.0], [2.0], wrong=False)]) == said
    x = np.arange(24.0).reshape(2, 3, 2, 2)
    assert recognise([evidence(x, x.astype(np.int64))]) == said
    assert recognise([evidence(x, x.astype(np.int64)), evidence(x, -x)]) != said


def test_what_overflows_is_described_without_a_warning() -> None:
    form = recognise([evidence([1e300, 2e300], [2e300, 1.5e300])])
    assert form.made.startswith("It fits no known form")


# Zero, and errors that are small


def test_zero_is_zero_everywhere_on_every_input() -> None:
    zero, half = evidence(numbers(2, 3), np.zeros((2, 3))), evidence(numbers(2, 3), [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert forms._zero([zero, zero])
    assert forms._zero([half]) is None
    assert forms._zero([zero, half]) is None


NARROWED = (
    "float32-inside",
    "Its errors are those of float32, although it was given float64: somewhere it is narrowed.",
    "Look for np.float32, dtype=... and arrays made without a dtype.",
)
EDGE = 2.0**-17  # representable in float32, as is 1e5 times it


@pytest.mark.parametrize(
    ("right", "got", "narrowed"),
    [
        # What float32 can represent, up to 1e-5 of the largest element
        ([0.0, 1000.0], [0.0, 1000.0 + 2.0**-8], True),
        ([0.0, 100000 * EDGE], [EDGE, 100000 * EDGE], True),
        ([0.0, 65536 * EDGE], [EDGE, 65536 * EDGE], False),
        ([1.0, 1.0], [1.0, 2.0], False),
        # What it cannot, from 1e-10 to 2e-6
        ([0.0, 1000.0], [0.0, 1000.0 + 1e-3], True),
        ([0.0, 1.0], [1.5e-10, 1.0], True),
        ([0.0, 1.0], [1e-10, 1.0], False),
        ([0.0, 1.0], [1.9e-6, 1.0], True),
        ([0.0, 1.0], [2e-6, 1.0], False),
        ([0.0, 1.0], [3e-6, 1.0], False),
    ],
)
def test_the_errors_of_float32_are_known_by_their_size(right: list[float], got: list[float], narrowed: bool) -> None:
    assert forms._narrow([evidence(right, got)]) == (NARROWED if narrowed else None)
    assert forms._narrow([evidence(right, got, dtype="float32")]) is None


def test_the_errors_of_float32_are_there_on_every_input() -> None:
    def seen(error: float) -> Evidence:
        return evidence([0.0, 1.0], [error, 1.0])

    assert forms._narrow([seen(1e-7), seen(1e-6)]) == NARROWED
    assert forms._narrow([seen(1e-12), seen(1e-6)]) == NARROWED
    assert forms._narrow([seen(1e-7), seen(3e-6)]) is None
    assert forms._narrow([seen(3e-6), seen(1e-7)]) is None
    assert forms._narrow([seen(2.0**-18), seen(3e-6)]) is None
    assert forms._narrow([seen(2.0**-18), seen(2.0**-18)]) == NARROWED
    assert forms._narrow([seen(1e-7), seen(0.5)]) is None
    assert forms._narrow([seen(2.0**-18), seen(0.5)]) is None


def test_what_is_off_by_no_more_than_the_tolerance_fits_no_form() -> None:
    """Whatever leaves a tensor nearly as it is would hold: images in their own order, zero where it is zero."""
    right = random(3, 2, 5, 4)
    noise = random(3, 2, 5, 4, seed=1)
    seen = [
        evidence(right, right + 0.5e-10 * np.abs(right).max() * noise / np.abs(noise).max()),
        evidence([0.0, 0.5], [0.2e-10, 0.5]),
        evidence([0.0, 0.0], [0.0, 0.0]),
    ]
    form = recognise(seen)
    assert form == Form(
        "",
        "It is off by no more than 5e-11 of the largest element: close, but more than rounding explains.",
        "Look for a small number that is added, such as eps, and for differences of nearly equal numbers.",
        "holds on all 3 inputs where the tensor is wrong",
    )


def test_close_is_close_everywhere_on_every_input() -> None:
    def seen(error: float) -> Evidence:
        return evidence([0.0, 4.0, 2.0], [error, 4.0, 2.0])

    assert forms._close([seen(4e-9)])
    assert forms._close([seen(4.1e-9)]) is None
    assert forms._close([seen(4e-9), seen(4.1e-9)]) is None


# A factor


def test_a_factor_is_that_of_the_tensors() -> None:
    right = np.array([0.0, 1.0, -3.0, 2.0])
    hint = "Compare the sizes of a few numbers with the right ones."
    assert forms._factor([evidence(right, 4 * right)]) == ("factor", "It is 4 times what it should be.", hint)
    assert forms._factor([evidence(right, 2 * right)]) == ("factor", "It is 2 times what it should be.", hint)
    assert forms._factor([evidence(right, -right / 8)]) == ("factor", "It is -1/8 times what it should be.", hint)
    assert forms._factor([evidence(right, right * [1, 2, 1, 1])]) is None
    assert forms._factor([evidence(right, 2 * right), evidence(right, right + 1)]) is None
    assert forms._factor([evidence(0 * right, right)]) is None
    assert forms._factor([evidence(right, 2 * right), evidence(0 * right, right)]) is None


def test_a_factor_beside_1_is_none() -> None:
    right = np.array([0.0, 1.0, -3.0, 2.0])
    assert forms._factor([evidence(right, (1 + 0.5e-6) * right)]) is None
    assert forms._factor([evidence(right, (1 + 1.5e-6) * right)])
    assert forms._factor([evidence(right, right), evidence(right, 3 * right)])


def test_a_factor_that_changes_is_a_length_or_varying() -> None:
    def seen(n: int, c: float) -> Evidence:
        right = numbers(n, 3, seed=n)
        return evidence(right, c * right, calls=call_of(right, right))

    found = forms._factor([seen(2, 1 / 2), seen(5, 1 / 5)])
    assert found is not None
    assert found[:2] == ("factor", "It is 1/N times what it should be.")
    assert forms._factor([seen(2, 1.23456), seen(5, 3), seen(4, 0.25), seen(3, 7)]) == (
        "factor-varying",
        "It is a multiple of what it should be, by a factor that changes from input to input (1.235, 3, 0.25 ...).",
        "What do you multiply or divide by, and where does that number come from?",
    )


SIZES = [{"N": 2.0, "C": 3.0, "K": 5.0, "F": 7.0}, {"C": 11.0, "N": 13.0, "K": 17.0, "F": 1.0}]


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        ([2, 13], "N"),
        ([-3, -11], "-C"),
        ([1 / 3, 1 / 11], "1/C"),
        ([-1 / 2, -1 / 13], "-1/N"),
        ([7, 1], "F"),
        ([1 / 7, 1], "1/F"),
        ([-7, -1], "-F"),
        ([6, 143], "N·C"),
        ([-1 / 10, -1 / 221], "-1/(N·K)"),
        ([30, 143 * 17], "N·C·K"),
        ([1 / 105, 1 / 187], "1/(C·K·F)"),
        ([210, 143 * 17], None),  # all four
        ([6, 13 * 17], None),
        ([2, 14], None),
        ([1, 2], None),
        ([2 * (1 + 0.9e-6), 13], "N"),
        ([2 * (1 + 1.5e-6), 13], None),
        ([3, 3], "3"),
        ([0.5, 0.5 * (1 + 0.9e-6)], "1/2"),
        ([0.5 * (1 + 0.9e-6), 0.5], "0.5"),  # said of the first
        ([0.5, 0.5 * (1 + 1.5e-6)], None),
    ],
)
def test_factors_in_words(factors: list[float], words: str | None) -> None:
    assert forms._in_words(factors, SIZES) == words


def test_of_one_size_no_expression_is_guessed() -> None:
    same = [{"N": 2.0, "C": 3.0}] * 2
    assert forms._in_words([2.0], same[:1]) == "2"
    assert forms._in_words([2.0, 2.0], same) == "2"
    assert forms._in_words([2.0, 3.0], same) is None


def test_a_length_that_an_input_lacks_says_nothing() -> None:
    assert forms._in_words([3, 5], [{"N": 2.0, "C": 3.0}, {"N": 5.0}]) is None
    assert forms._in_words([2, 5], [{"C": 3.0, "N": 2.0}, {"N": 5.0}]) == "N"


def test_a_length_of_1_is_no_expression() -> None:
    """All lengths are 1, and the factors are so near that they might be: nothing varies with it."""
    sizes = [{"N": 1.0, "C": 1.0}, {"N": 1.0, "K": 1.0}]
    for sign in (1, -1):
        assert forms._in_words([sign * (1 + 0.9e-6), sign * (1 - 0.9e-6)], sizes) is None


@pytest.mark.parametrize(
    ("c", "words"),
    [
        (1, "1"),
        (-1, "-1"),
        (1 / 2, "1/2"),
        (-1 / 2, "-1/2"),
        (1 / 64, "1/64"),
        (-1 / 64, "-1/64"),
        (1 / 65, "0.0153846"),
        (2, "2"),
        (-3, "-3"),
        (2 / 3, "0.666667"),
        (0, "0"),
        ((1 + 0.9e-9) / 3, "1/3"),
        ((1 + 1.5e-9) / 3, "0.333333"),
    ],
)
def test_a_constant_is_a_fraction_or_a_number(c: float, words: str) -> None:
    assert forms._constant(c) == words


# One number


@pytest.mark.parametrize(
    ("value", "word"),
    [(6.0, "sum"), (1.5, "mean"), (4.0, "maximum")],
)
def test_one_number_is_known_by_what_it_is_of_the_right_ones(value: float, word: str) -> None:
    seen = evidence([[0.0, -1.0], [3.0, 4.0]], np.full((2, 2), value))
    assert forms._one_value([seen]) == (
        "one-value",
        f"All its elements are one number, the {word} of the right ones.",
        "Over which axes do you sum?",
    )
    another = evidence([[0.0, -1.0], [3.0, 4.0]], np.full((2, 2), 17.0))
    for both in ([another], [seen, another], [another, seen]):
        assert forms._one_value(both) == (
            "one-value",
            "All its elements are one and the same number.",
            "Over which axes do you sum?",
        )


def test_one_number_is_the_same_everywhere_to_rounding() -> None:
    assert forms._one_value([evidence([0.0, 1.0], [0.0, 1e-9])])
    assert forms._one_value([evidence([0.0, 1.0], [0.0, 1.1e-9])]) is None
    assert forms._one_value([evidence([1.0], [2.0])]) is None
    assert forms._one_value([evidence([0.0, 1.0], [2.0, 2.0]), evidence([0.0, 1.0], [2.0, 3.0])]) is None


# Axes


@pytest.mark.parametrize(
    ("shape", "kind", "axes", "which"),
    [
        ((2, 3, 4, 5), "output", (0,), "N"),
        ((2, 3, 4, 5), "output", (1,), "C"),
        ((2, 3, 4, 5), "grad_input", (2,), "H"),
        ((2, 3, 4, 5), "output", (2, 3), "H, W"),
        ((2, 3, 4, 5), "output", (0, 1, 2, 3), "N, C, H, W"),
        ((2, 3, 4, 5), "grad_weight", (0, 3), "O, W"),
        ((2, 3, 4, 5), "conv1.weight after use", (1, 2), "I, H"),
        ((2, 3), "output", (0,), "N"),
        ((2, 3), "output", (1,), "C"),
        ((2, 3), "grad_weight", (0, 1), "O, I"),
        ((3,), "grad_bias", (0,), "0"),
        ((2, 3, 4), "output", (1,), "1"),
        ((2, 3, 4), "grad_weight", (0, 2), "0, 2"),
    ],
)
def test_what_is_reversed_is_reversed_along_axes_with_names(
    shape: tuple[int, ...], kind: str, axes: tuple[int, ...], which: str
) -> None:
    right = random(*shape)
    seen = evidence(right, np.flip(right, axes), kind)
    said = "flipped", f"It is reversed along {which}.", "Read one small example backwards."
    assert forms._turned([seen]) == said
    assert forms._turned([seen, seen]) == said
    assert forms._turned([seen, evidence(right, right + 1, kind)]) is None
    assert forms._turned([seen, evidence(np.ones(1), np.zeros(1), kind)]) is None
    assert forms._turned([evidence(np.ones(1), np.zeros(1), kind), seen]) is None


@pytest.mark.parametrize(
    ("kind", "order", "names"),
    [
        ("output", (0, 1, 3, 2), "N, C, W, H"),
        ("grad_input", (1, 2, 0, 3), "C, H, N, W"),
        ("grad_weight", (1, 0, 2, 3), "I, O, H, W"),
        ("output", (1, 0), "C, N"),
        ("grad_weight", (1, 0), "I, O"),
        ("output", (1, 2, 0), "1, 2, 0"),
        ("grad_weight", (0, 2, 1), "0, 2, 1"),
    ],
)
def test_axes_that_are_exchanged_have_names(kind: str, order: tuple[int, ...], names: str) -> None:
    """Only where their lengths are equal: else it is another shape."""
    right = random(*(3,) * len(order))
    seen = evidence(right, right.transpose(order), kind)
    said = "transposed", f"Its axes are exchanged: they come as ({names}).", "Compare one element off the diagonal."
    assert forms._turned([seen]) == said
    assert forms._turned([seen, seen]) == said
    assert forms._turned([seen, evidence(right, right + 1, kind)]) is None
    assert forms._turned([seen, evidence(np.ones(1), np.zeros(1), kind)]) is None


def test_axes_in_their_own_order_are_not_exchanged() -> None:
    for shape in ((2, 2), (3, 3, 3), (4,)):
        assert forms._turned([evidence(random(*shape), random(*shape))]) is None
        assert forms._turned([evidence(random(*shape), random(*shape, seed=1))]) is None


# A shift


def shifted(right: Array, dy: int, dx: int) -> Array:
    """`right`, shifted by rows and columns, with random numbers where nothing comes from it."""
    got = random(*right.shape, seed=9)
    for y, x in itertools.product(range(right.shape[2]), range(right.shape[3])):
        if 0 <= y + dy < right.shape[2] and 0 <= x + dx < right.shape[3]:
            got[:, :, y + dy, x + dx] = right[:, :, y, x]
    return got


@pytest.mark.parametrize("dy", range(-4, 5))
def test_a_shift_by_up_to_three_rows_and_columns(dy: int) -> None:
    for dx in range(-4, 5):
        seen = evidence(numbers(1, 2, 7, 6), shifted(numbers(1, 2, 7, 6), dy, dx))
        rows, columns = "row" if abs(dy) == 1 else "rows", "column" if abs(dx) == 1 else "columns"
        found = forms._shifted([seen])
        if (dy, dx) == (0, 0) or 4 in (abs(dy), abs(dx)):
            assert found is None
        else:
            assert found == (
                "shifted",
                f"It is shifted by {dy} {rows} and {dx} {columns}.",
                "Where does the first window begin, and where is the padding taken away again?",
            )


def test_a_shift_is_the_same_on_every_input() -> None:
    large, small = numbers(2, 1, 6, 7), numbers(1, 3, 5, 4, seed=1)
    one = evidence(large, shifted(large, 1, -2))
    assert forms._shifted([one, evidence(small, shifted(small, 1, -2))])
    assert forms._shifted([one, evidence(small, shifted(small, 1, 2))]) is None
    assert forms._shifted([one, evidence(small, small)]) is None
    assert forms._shifted([one, evidence(np.ones((2, 3)), np.zeros((2, 3)))]) is None
    assert forms._shifted([evidence(np.ones((2, 3)), np.zeros((2, 3)))]) is None
    nothing = np.zeros((0, 1, 5, 5))
    assert forms._shifted([evidence(nothing, nothing), one])


@pytest.mark.parametrize("shape", [(1, 1, 3, 9), (1, 1, 2, 9), (1, 1, 9, 3), (1, 1, 9, 2)])
def test_an_image_that_a_shift_leaves_nothing_of_does_not_confirm_it(shape: tuple[int, ...]) -> None:
    dy, dx = (3, 0) if shape[2] < 9 else (0, 3)
    large = numbers(1, 1, 9, 9)
    one = evidence(large, shifted(large, dy, dx))
    tiny = evidence(numbers(*shape), random(*shape))
    assert forms._shifted([one])
    assert forms._shifted([one, tiny]) is None
    assert forms._shifted([tiny, one]) is None


def test_zeros_that_cover_zeros_are_no_shift() -> None:
    right = np.zeros((1, 1, 5, 5))
    right[0, 0, 0, 0] = 1
    assert forms._shifted([evidence(right, 0 * right)]) is None


def test_a_shift_is_exact_to_rounding() -> None:
    right = np.zeros((1, 1, 4, 5))
    right[0, 0, 1, 1:4] = [1.0, 0.0, 0.5]
    for error, fits in ((1e-9, True), (1.1e-9, False)):
        got = shifted(right, 0, 1)
        got[0, 0, 1, 3] += error
        assert bool(forms._shifted([evidence(right, got)])) is fits


# A border


@pytest.mark.parametrize("ring", [1, 2, 3, 4])
@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("edge", ["zero", "wrong"])
def test_a_border_is_up_to_three_wide_with_something_inside(ring: int, more: int, edge: str) -> None:
    shape = (2, 3, 2 * ring + more, 2 * ring + 3)
    right = numbers(*shape)
    got = np.zeros(shape) if edge == "zero" else right + 1
    got[:, :, ring:-ring, ring:-ring] = right[:, :, ring:-ring, ring:-ring]
    found = forms._border([evidence(right, got)])
    if ring == 4 or not more:
        assert found is None
    else:
        assert found == (
            "border",
            f"It is right inside, and {edge} in a border of {ring}.",
            "Look at what happens to the windows at the edge, and to the padding.",
        )
    turned = evidence(right.swapaxes(2, 3), got.swapaxes(2, 3))
    assert forms._border([turned]) == found


def bordered(fill: float, *, inside: float = 0.0) -> Evidence:
    right = np.pad(np.array([[[[2.0, 0.0], [1.0, 3.0]]]]), ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=4)
    got = np.full_like(right, fill)
    got[..., 1:-1, 1:-1] = right[..., 1:-1, 1:-1]
    got[0, 0, 1, 2] += inside
    return evidence(right, got)


def test_a_border_is_there_on_every_input() -> None:
    def made(*wrong: Evidence) -> str | None:
        found = forms._border(wrong)
        return None if found is None else found[1]

    assert made(bordered(0), bordered(0)) == "It is right inside, and zero in a border of 1."
    assert made(bordered(0), bordered(5)) == "It is right inside, and wrong in a border of 1."
    assert made(bordered(0), bordered(0, inside=1)) is None
    assert made(bordered(0, inside=1), bordered(0)) is None
    assert made(bordered(0), evidence(np.ones((2, 3)), np.zeros((2, 3)))) is None
    assert made(evidence(np.ones((2, 3)), np.zeros((2, 3)))) is None
    assert made(bordered(0, inside=4e-9)) == "It is right inside, and zero in a border of 1."
    assert made(bordered(0, inside=4.1e-9)) is None


# The images of a batch

ORDER = "permuted-images", "The images of the batch are in another order.", "Is the order of the batch kept everywhere?"


@pytest.mark.parametrize("shape", [(3, 2, 2, 2), (4, 3), (3,), (2,)])
@pytest.mark.parametrize("kind", ["output", "grad_input", "grad_weight"])
def test_images_that_are_one_or_in_another_order(shape: tuple[int, ...], kind: str) -> None:
    right = random(*shape)

    def found(got: Array) -> Found:
        return forms._of_one_image([evidence(right, got, kind)])

    batch = kind != "grad_weight"
    hint = "What does the loop over images change?"
    first = "one-image", "Every image has what belongs to the first one.", hint
    last = "one-image", "Every image has what belongs to the last one.", hint
    assert found(np.broadcast_to(right[0], shape)) == (first if batch else None)
    assert found(np.broadcast_to(right[-1], shape)) == (last if batch else None)
    assert found(np.roll(right, 1, axis=0)) == (ORDER if batch else None)
    assert found(right + 1) is None
    if len(shape) > 1:
        assert found(np.roll(right, 1, axis=1)) is None
    if len(right) > 2:
        assert found(np.broadcast_to(right[1], shape)) is None
        assert found(np.concatenate([right[[1, 0]], right[1:-1]])) is None  # one twice, the last one not at all


def test_images_are_one_or_in_another_order_on_every_input() -> None:
    a, b = random(3, 2), random(2, 4, seed=1)
    order = [evidence(a, a[[1, 2, 0]]), evidence(b, b[::-1])]
    one = [evidence(a, a[[0, 0, 0]]), evidence(b, b[[0, 0]])]
    assert forms._of_one_image(order) == ORDER
    assert forms._of_one_image(one)
    assert forms._of_one_image([order[0], one[1]]) is None
    assert forms._of_one_image([one[0], order[1]]) is None
    assert forms._of_one_image([one[0], evidence(b, b[[1, 1]])]) is None
    assert forms._of_one_image([evidence(array(1.0), array(2.0))]) is None
    assert forms._of_one_image([one[0], evidence(array(1.0), array(2.0))]) is None


@pytest.mark.parametrize("got", [lambda y: np.repeat(y[:1], len(y), axis=0), lambda y: y[::-1]])
def test_one_image_alone_that_is_wrong_is_not_explained_by_the_others(got: Callable[[Array], Array]) -> None:
    right = random(3, 2)
    alone = evidence(right[:1], right[:1] + 1)
    assert forms._of_one_image([evidence(right, got(right))])
    assert forms._of_one_image([evidence(right, got(right)), alone]) is None
    assert forms._of_one_image([alone]) is None


def test_images_are_known_to_rounding() -> None:
    right = array([[1.0, 0.0], [0.5, 0.0], [0.25, 0.0]])
    for error, fits in ((1e-9, True), (1.1e-9, False)):
        got = right[[2, 0, 1]]
        got[1, 1] += error
        assert bool(forms._of_one_image([evidence(right, got)])) is fits


# Some zeros, another order


def partly(right: Any, got: Any) -> str | None:
    found = forms._partly_zero([evidence(array(right), array(got))])
    return None if found is None else found[1]


def test_some_elements_are_zero_where_they_should_not_be() -> None:
    right = [[0.0, 2.0, 4.0], [5.0, 8.0, 1.0], [1.0, 1.0, 1.0]]
    assert partly(right, [[0.0, 2.0, 0.0], [5.0, 0.0, 1.0], [1.0, 1.0, 1.0]]) == (
        "Some of its elements are zero where they should not be; all others are right."
    )
    assert partly(right, [[0.0, 0.0, 4.0], [5.0, 8.0, 1.0], [1.0, 1.0, 1.0]]) == (
        "Some of its elements are zero where they should not be (only in the first image); all others are right."
    )
    assert partly(right, [[1.0, 2.0, 0.0], [5.0, 8.0, 1.0], [1.0, 1.0, 1.0]]) is None
    assert partly(right, [[0.0, 2.0, 0.0], [5.0, 8.0, 1.1], [1.0, 1.0, 1.0]]) is None
    assert partly(right, [[8e-9, 2.0, 0.0], [5.0, 8.0, 1.0], [1.0, 1.0, 1.0]]) is not None
    assert partly(right, [[8.1e-9, 2.0, 0.0], [5.0, 8.0, 1.0], [1.0, 1.0, 1.0]]) is None


def test_where_they_are_zero_is_read_from_the_inputs_where_some_are() -> None:
    last = evidence([[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [0.0, 4.0]])
    close = evidence([[0.0, 1.0]], [[1e-9, 1.0]])
    right = evidence([[0.0, 1.0]], [[0.0, 1.0]])
    none = evidence([[0.0, 0.0]], [[0.0, 0.0]])
    for other in (close, right, none):
        found = forms._partly_zero([other, last])
        assert found is not None
        assert "(only in the last image)" in found[1]
    assert forms._partly_zero([last, evidence([1.0, 2.0], [3.0, 2.0])]) is None


def test_the_right_numbers_in_another_order() -> None:
    def found(right: Any, got: Any) -> bool:
        return forms._reordered([evidence(array(right), array(got))]) is not None

    right = [[1.0, 2.0, 0.0], [4.0, 5.0, 6.0]]
    assert found(right, [[5.0, 0.0, 4.0], [6.0, 1.0, 2.0]])
    assert not found(right, [[5.0, 0.0, 4.0], [6.0, 1.0, 1.0]])
    assert not found(right, [[5.0, 0.0, 4.0], [6.0, 1.0, 2.1]])
    assert found(right, [[5.0, 6e-9, 4.0], [6.0, 1.0, 2.0]])
    assert not found(right, [[5.0, 6.1e-9, 4.0], [6.0, 1.0, 2.0]])
    assert found([1.0, 2.0], [2.0, 1.0])
    assert not found([1.0], [1.0])
    assert not found([], [])
    both = [evidence([1.0, 2.0], [2.0, 1.0]), evidence([1.0, 2.0], [2.0, 3.0])]
    assert forms._reordered(both[:1])
    assert forms._reordered(both) is None


# Something added


def residual(*wrong: Evidence) -> str | None:
    found = forms._residual(wrong)
    assert found is None or (found[0], found[2]) == (
        "plus-multiple",
        "What is added to it that does not belong there?",
    )
    return None if found is None else found[1]


def plus(
    c: float, other: str = "the input", *, shape: tuple[int, ...] = (2, 3), error: float = 0.0, kind: str = "output"
) -> Evidence:
    """A tensor plus `c` times another one; `error` is added where the other one is 0."""
    x, g, bias = numbers(*shape), numbers(*shape, seed=1), random(shape[-1] if len(shape) == 2 else shape[1])
    right = random(*shape, seed=2)
    right.flat[0], right.flat[1] = 0.0, 4.0
    bias_over = bias if len(shape) == 2 else bias[:, None, None]
    got = right + c * {"the input": x, "the upstream gradient": g, "bias": bias_over, "one": np.ones(shape)}[other]
    got.flat[0] += error
    return evidence(right, got, kind, calls=call_of(x, g), state={"bias": bias})


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4, 5)])
def test_what_is_added_is_a_multiple_of_another_tensor(shape: tuple[int, ...]) -> None:
    assert residual(plus(0.5, shape=shape)) == "It is the right tensor plus 1/2 times the input."
    assert residual(plus(-1, shape=shape)) == "It is the right tensor plus -1 times the input."
    assert residual(plus(1, shape=shape)) == "It is the right tensor plus the input."
    assert residual(plus(3, "the upstream gradient", shape=shape)) == (
        "It is the right tensor plus 3 times the upstream gradient."
    )
    assert residual(plus(-1, "bias", shape=shape)) == "It is the right tensor plus -1 times bias."
    assert residual(plus(0.25, "one", shape=shape)) == "It is the right tensor plus a constant (0.25)."
    assert residual(plus(1, "one", shape=shape)) == "It is the right tensor plus a constant (1)."
    assert residual(plus(1.23456, "one", shape=shape)) == "It is the right tensor plus a constant (1.235)."


def test_what_is_added_is_the_same_on_every_input() -> None:
    assert residual(plus(2), plus(2, shape=(4, 3))) == "It is the right tensor plus 2 times the input."
    assert residual(plus(2), plus(4, shape=(4, 3))) == "It is the right tensor plus N times the input."
    assert residual(plus(2), plus(3)) == "It is the right tensor plus a multiple of the input."
    assert residual(plus(2), plus(2, "the upstream gradient")) is None
    assert residual(plus(2), plus(0)) is None
    assert residual(plus(2), evidence(random(2, 3), random(2, 3, seed=1))) is None


def test_nothing_is_added_to_what_is_right() -> None:
    assert residual(plus(0)) is None
    zero = evidence([1.0, 2.0], [3.0, 5.0], calls=call_of(np.zeros(2), np.zeros(2)))
    assert residual(zero) is None


def test_a_tensor_that_one_input_lacks_is_not_added() -> None:
    one = evidence(array(1.0), array(3.0), state={"scale": array(2.0)})
    other = evidence(array(1.0), array(2.0))
    assert residual(one) == "It is the right tensor plus scale."
    assert residual(one, other) == "It is the right tensor plus a constant (2)."


@pytest.mark.parametrize(
    ("rest", "fits"),
    [
        # The tolerance of `right` is 4e-9; of what is added, a millionth
        ([2.0**-9, 4e-9], True),
        ([2.0**-9, 4.1e-9], False),
        ([1.0, 1e-6], True),
        ([1.0, 1.1e-6], False),
        ([2.0, 1.9e-6], True),
        ([2.0, 2.1e-6], False),
    ],
)
def test_what_is_added_is_a_multiple_to_rounding(rest: list[float], fits: bool) -> None:
    right = array([4.0, 0.0])
    x = array([2.0, 0.0])  # nothing of it where the second error is
    seen = evidence(right, right + array(rest), calls=call_of(x, np.zeros(1)))
    assert (residual(seen) is not None) is fits


@pytest.mark.parametrize(
    ("other", "shape", "over"),
    [
        ((2, 3), (2, 3), (0, 1, 2, 3, 4, 5)),
        ((3,), (2, 3), (0, 1, 2, 0, 1, 2)),
        ((3,), (2, 3, 2, 1), (0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2)),
        ((3,), (1, 3, 2), (0, 0, 1, 1, 2, 2)),
        ((3,), (3,), (0, 1, 2)),
        ((2,), (2, 3), None),  # one number for each image
        ((3,), (4,), None),
        ((3, 1), (2, 3), None),
        ((3, 2), (2, 3), None),
        ((1,), (2, 3), None),
        ((), (2, 3), None),
        ((1, 3), (2, 3), None),
    ],
)
def test_one_number_for_each_channel_is_spread(
    other: tuple[int, ...], shape: tuple[int, ...], over: tuple[int, ...] | None
) -> None:
    found = forms._spread(np.arange(float(np.prod(other))).reshape(other), shape)
    if over is None:
        assert found is None
    else:
        assert found is not None
        assert found.shape == shape
        assert found.reshape(-1).tolist() == list(over)


@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        ((2, 3, 4, 5), True),
        ((2, 3, 1, 1), True),
        ((1, 3, 2, 1), True),
        ((1, 3, 1, 2), True),
        ((1, 3, 1, 1), False),  # one number for each channel: then any would fit
        ((2, 3), False),
        ((2, 3, 4), False),
        ((2, 3, 4, 5, 2), False),
    ],
)
def test_one_number_is_added_to_each_channel(shape: tuple[int, ...], fits: bool) -> None:
    right = random(*shape)
    offset = np.array([1.0, -2.0, 5.0]).reshape(1, 3, *(1,) * (len(shape) - 2))
    seen = evidence(right, right + offset)
    expected = (
        "offset-per-channel",
        "It is off by one number for each channel.",
        "What is added once for each channel?",
    )
    assert forms._per_channel([seen]) == (expected if fits else None)
    assert forms._per_channel([seen, evidence(right, right * 2)]) is None
    assert forms._per_channel([evidence(right, right * 2)]) is None
    one = evidence(random(1, 3, 1, 1), random(1, 3, 1, 1) + 1)
    assert forms._per_channel([seen, one]) is None


def test_every_channel_has_one_number_added() -> None:
    right = random(2, 3, 4, 5)
    got = right + 1
    got[:, 2] *= 2
    assert forms._per_channel([evidence(right, got)]) is None


def test_one_number_for_each_image_row_or_column_is_none_for_each_channel() -> None:
    right = random(2, 2, 2, 2)
    for axis in (0, 2, 3):
        offset = np.array([1.0, 3.0]).reshape([2 if n == axis else 1 for n in range(4)])
        assert forms._per_channel([evidence(right, right + offset)]) is None


@pytest.mark.parametrize(("error", "fits"), [(2e-9, True), (2.1e-9, False)])
def test_one_number_for_each_channel_is_one_to_rounding(error: float, fits: bool) -> None:
    right = array([[[[1.0, 0.0, 0.0]]]])
    seen = evidence(right, right + array([0.0, 0.0, error]))
    assert bool(forms._per_channel([seen])) is fits


# Where the differences are


def mask_of(shape: tuple[int, ...], place: Any) -> Array:
    mask = np.zeros(shape, bool)
    mask[place] = True
    return mask


def where(*masks: Array, x: Array | None = None, g: Array | None = None) -> str:
    calls = () if x is None else call_of(x, g if g is not None else np.zeros(1))
    return forms._where([evidence(np.zeros(m.shape), m.astype(float), calls=calls) for m in masks])


AXES = ["image", "channel", "row", "column"]
SHAPES = [(3, 3, 3, 3), (2, 2, 2, 2), (3, 4, 5, 6), (4, 3), (2, 2), (3, 4, 5)]


@pytest.mark.parametrize(("shape", "axis"), [(shape, axis) for shape in SHAPES for axis in range(len(shape))])
@pytest.mark.parametrize("end", ["first", "last"])
def test_a_slice_at_an_end_is_named(shape: tuple[int, ...], axis: int, end: str) -> None:
    named = axis < 2 or len(shape) == 4
    mask = np.zeros(shape, bool)
    layers = np.moveaxis(mask, axis, 0)
    layers[0 if end == "first" else -1] = True
    assert where(mask) == where(mask, mask) == (f" (only in the {end} {AXES[axis]})" if named else "")
    everywhere = np.ones(shape, bool)
    assert where(everywhere) == where(mask, everywhere) == where(everywhere, mask) == ""
    for layer in layers[1:] if end == "first" else layers[:-1]:
        layer.flat[0] = True  # a single element elsewhere is enough
        assert where(mask) == ""
        layer.flat[0] = False


def test_of_several_places_the_first_is_named() -> None:
    corner = mask_of((2, 3, 4, 5), (-1, 0, -1, 0))
    assert where(corner) == " (only in the last image)"
    assert where(corner[:1]) == " (only in the last row)"
    assert where(corner[1:]) == " (only in the last row)"
    assert where(corner[1:, :, 3:]) == " (only in the first column)"
    assert where(corner[1:, :, 3:, :1]) == " (only in the first channel)"
    assert where(corner[1:, :1, 3:, :1]) == ""
    assert where(mask_of((2, 1, 1, 1), 0)) == " (only in the first image)"


@pytest.mark.parametrize("shape", [(), (1,), (3,), (1, 1), (1, 3), (3, 1), (1, 1, 1, 3), (1, 1, 3, 1), (1, 3, 1, 1)])
def test_all_places_are_neither_the_first_nor_the_last(shape: tuple[int, ...]) -> None:
    assert where(np.ones(shape, bool)) == ""


def test_a_place_of_one_dimension_is_not_named() -> None:
    assert where(mask_of((3,), 0)) == where(mask_of((3,), -1)) == ""


# No whole row, column or channel has one sign, and the ends have others than their neighbours
SIGNED = array([[-1.0, 0.0, 0.5, 2.0, -0.5], [0.0, -3.0, 1.0, -1.0, 0.5], [2.0, 1.0, -2.0, 0.0, 0.0]])
UNSIGNED = np.full_like(SIGNED, np.nan)


@pytest.mark.parametrize(
    ("words", "mask"),
    [
        ("negative", SIGNED < 0),
        ("exactly 0", SIGNED == 0),
        ("positive", SIGNED > 0),
        (None, SIGNED <= 0),
        (None, SIGNED >= 0),
        (None, SIGNED != 0),
    ],
)
def test_the_sign_of_what_the_call_was_given_is_named(words: str | None, mask: Array) -> None:
    of_gradient = words if words != "exactly 0" else None
    assert where(mask, x=SIGNED, g=UNSIGNED) == (f" (only where the input is {words})" if words else "")
    said = f" (only where the upstream gradient is {of_gradient})" if of_gradient else ""
    assert where(mask, x=UNSIGNED, g=SIGNED) == said
    assert where(mask) == ""
    assert where(mask, x=SIGNED[:, :4], g=SIGNED[:, :4]) == ""
    assert where(mask, x=SIGNED[:1], g=SIGNED[:1]) == ""


def test_a_difference_beyond_the_tolerance_counts() -> None:
    right = array([[4.0, 0.0], [1.0, 4.0]])
    for error, words in ((4e-9, " (only in the last image)"), (4.1e-9, "")):
        assert forms._where([evidence(right, right + array([[0.0, error], [1.0, 1.0]]))]) == words


# What fits no form


def described(*seen: Evidence) -> Form:
    return forms._description([e for e in seen if e.wrong], seen)


def test_what_fits_no_form_is_described() -> None:
    right = array([[1.0, 0.0], [0.0, -4.0]])
    one = evidence(right, right + array([[0.0, 4e-9], [3.0, 2.0]]), case="one")
    assert described(one) == Form(
        "",
        "It fits no known form: on every input, 50% of its elements are off (only in the last image), "
        "by up to 0.75 of the largest; the first is at [1, 0] on [one].",
        "Follow the smallest example below by hand.",
        "on every input",
    )
    two = evidence(right, right + array([[0.0, 0.0], [0.0, 1.0]]), case="two")
    fine = [evidence(right, right, wrong=False, case=case) for case in ("right", "one", "fine")]
    assert described(two, *fine, one) == Form(
        "",
        "It fits no known form: on 2 of 5 inputs, 25% to 50% of its elements are off (only in the last image), "
        "by up to 0.75 of the largest; the first is at [1, 1] on [two].",
        "It is right on [fine] and wrong on [two]: what is the difference?",
        "on 2 of 5 inputs",
    )
    assert described(one, two).made.startswith("It fits no known form: on every input, 25% to 50% of")


def test_how_far_off_it_is_where_it_should_be_zero() -> None:
    made = described(evidence([0.0, 0.0, 0.0], [0.0, 3.0, -2.0])).made
    assert made == (
        "It fits no known form: on every input, 67% of its elements are off, "
        "by up to 3 of the largest; the first is at [1] on [small]."
    )


def test_the_first_difference_is_on_an_input_that_has_one() -> None:
    close = evidence([0.0, 1.0], [1e-9, 1.0], case="close")
    off = evidence([0.0, 1.0], [0.0, 3.0], case="off")
    made = described(close, off).made
    assert "0% to 50% of its elements are off" in made
    assert made.endswith("the first is at [1] on [off].")


def test_a_description_says_on_how_many_of_all_inputs() -> None:
    right = random(2, 3)
    seen = [evidence(right, right**2), evidence(right, right, wrong=False, case="fine")]
    form = recognise(seen)
    assert form.name == ""
    assert form.evidence == "on 1 of 2 inputs"
