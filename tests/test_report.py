"""The checker is checked: what it must never let pass, and what it says."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from compare.diagnosis.render.terminal import first_difference
from compare.driving.tensors import Tensors
from compare.pairs.report import Report, Row, compare, failure, nothing_compared, overview
from compare.verify.canaries import BOUND as CANARY_BOUND
from compare.verify.canaries import CANARIES, Canary, misjudged
from scratch import Array

EXPECTED = np.array([[1.0, -2.0], [3.0, 4.0]])
BOUND = np.full((2, 2), 1e-15)


def verdict(got: Array | None, expected: Array = EXPECTED, bound: Array = BOUND, start: Array | None = None) -> Row:
    """The one row of comparing one tensor."""
    tensors: Tensors = {} if got is None else {"t": got}
    (row,) = compare(
        "pair", "case", tensors, {"t": expected}, {"t": bound}, start=None if start is None else {"t": start}
    )
    return row


def test_equality_passes_and_uses_nothing_of_the_bound() -> None:
    row = verdict(EXPECTED.copy())
    assert row.ok
    assert (row.max_abs, row.budget, row.bound) == (0, 0, 1e-15)
    assert verdict(EXPECTED.copy(), bound=np.zeros(())).ok


def test_a_difference_is_measured_against_the_bound_of_its_own_element() -> None:
    bound = np.array([[1e-10, 1e-15], [1e-15, 1e-15]])
    got = EXPECTED + np.array([[5e-11, 0], [0, 8.9e-16]])
    row = verdict(got, bound=bound)
    assert row.ok
    assert row.worst == (1, 1)  # the smaller difference, of the larger share
    assert row.budget == pytest.approx(0.89, abs=0.01)
    assert row.max_abs == pytest.approx(5e-11)


@pytest.mark.parametrize(
    ("got", "problem"),
    [
        (EXPECTED * (1 + 1e-9), "2 instead of|1 instead of|4 instead of"),
        (EXPECTED + np.array([[0, 0], [0, 1e-9]]), r"4 instead of 4 at \[1, 1\]; 25.0% of the elements are wrong"),
        (np.zeros((2, 2)), "0 instead of"),
        (EXPECTED.T.copy(), "of the elements are wrong"),
        (None, "not provided"),
        (EXPECTED[:1].copy(), r"shape \[1, 2\] instead of \[2, 2\]"),
        (EXPECTED.astype(np.float32), "dtype float32 instead of float64"),
        (np.array([[1.0, np.nan], [3.0, 4.0]]), r"it is nan at \[0, 1\]"),
        (np.array([[1.0, -np.inf], [3.0, 4.0]]), r"it is -inf at \[0, 1\]"),
    ],
)
def test_a_wrong_tensor_is_rejected(got: Array | None, problem: str) -> None:
    row = verdict(got)
    assert not row.ok
    assert re.search(problem, row.problem), row.problem


def test_nan_and_infinity_never_agree_even_with_themselves() -> None:
    for bad in (np.nan, np.inf):
        both = np.array([[1.0, bad], [3.0, 4.0]])
        assert not verdict(both, expected=both).ok
        assert not verdict(EXPECTED.copy(), expected=both).ok
        assert not verdict(EXPECTED * (1 + 3e-16), bound=np.array([[1e-15, bad], [1e-15, 1e-15]])).ok


def test_a_bound_that_cannot_tell_right_from_wrong_is_a_failure_itself() -> None:
    near = EXPECTED * (1 + 1e-15)
    assert "zeros, or no update, would pass" in verdict(near, bound=np.full((2, 2), 5.0)).problem
    assert "wider than 1e-09" in verdict(near, bound=np.full((2, 2), 5e-9)).problem
    assert "wider than 1e-09" in verdict(np.full((2, 2), 1e-300), expected=np.zeros((2, 2))).problem
    assert verdict(near.astype("f4"), expected=EXPECTED.astype("f4"), bound=np.full((2, 2), 5e-9)).ok
    assert not verdict(near, bound=-BOUND).ok


def test_equality_needs_no_bound() -> None:
    """A dead network's gradients are zero in both twins: equal, though no bound could tell them from anything."""
    assert verdict(np.zeros((2, 2)), expected=np.zeros((2, 2))).ok
    assert verdict(EXPECTED.copy(), bound=np.full((2, 2), 5.0)).ok
    exact = verdict(EXPECTED.copy(), bound=np.zeros((2, 2)))
    assert (exact.ok, exact.budget, exact.difference) == (True, 0.0, 0.0)


def test_an_update_is_guarded_by_its_own_size_not_by_the_parameters() -> None:
    start = EXPECTED - 1e-12
    assert "no update, would pass" in verdict(start.copy(), start=start, bound=np.full((2, 2), 2e-12)).problem
    assert verdict(EXPECTED * (1 + 1e-16), start=EXPECTED - 1, bound=BOUND).ok


def test_nothing_compared_is_not_agreement() -> None:
    assert not Report([]).ok
    assert Report([]).headline() == "wrong: nothing was compared"
    assert not verdict(np.zeros((0, 2)), expected=np.zeros((0, 2)), bound=np.zeros(())).ok
    assert compare("pair", "case", {}, {}, {}) == []


def test_a_tensor_that_the_reference_has_not_is_reported() -> None:
    (row,) = compare("pair", "case", {"grad_extra": EXPECTED}, {}, {})
    assert not row.ok
    assert "the reference has no such tensor" in row.problem


def test_the_headline_names_the_first_wrong_tensor_and_how_many_there_are() -> None:
    rows = [
        verdict(EXPECTED.copy()),
        verdict(EXPECTED + np.array([[0, 0], [0, 1.0]])),
        failure("conv2d", "3x3", "float64", TypeError("no")),
    ]
    report = Report(rows)
    assert not report.ok
    assert (report.compared, len(report.wrong)) == (3, 2)
    assert report.headline() == (
        "wrong: t of pair [case, float64]: 5 instead of 4 at [1, 1]; 25.0% of the elements are wrong; "
        "2 of 3 tensors are wrong"
    )
    lines = str(report).splitlines()
    assert lines[0] == report.headline()
    assert lines[1].startswith(
        "WRONG pair [case] float64 t (2x2): max |difference| 1; closest to its bound at [1, 1]: 1 of 1e-15, "
    )
    assert lines[2].endswith("raised TypeError: no")
    assert lines[3] == (
        "ok    pair [case] float64 t (2x2): max |difference| 0; closest to its bound at [0, 0]: 0 of 1e-15, 0.0%"
    )


def test_the_headline_of_agreement_names_the_closest_call() -> None:
    report = Report([verdict(EXPECTED.copy()), verdict(EXPECTED + np.array([[0, 0], [0, 8.9e-16]]))])
    assert report.headline() == (
        "equal: 2 tensors compared, none outside its bound; the closest call, t of pair [case], used 89% of its bound"
    )


def test_the_result_is_strict_json() -> None:
    result = Report([verdict(None), verdict(EXPECTED.copy())]).as_json()
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert (result["ok"], result["compared"]) == (False, 2)
    assert result["rows"][0]["budget"] is None
    assert set(result["rows"][1]) >= {"pair", "case", "tensor", "dtype", "shape", "max_abs", "bound", "budget", "ok"}


def test_the_overview_has_a_line_for_each_pair() -> None:
    table = overview(Report([verdict(EXPECTED.copy()), failure("conv2d", "3x3", "float64", TypeError("no"))]))
    assert table.row_count == 2


def test_what_cannot_be_compared_has_no_bound_and_is_infinitely_far() -> None:
    row = verdict(np.zeros((3, 3)))
    assert (row.ok, row.worst, row.bound) == (False, None, 0.0)
    assert row.max_abs == row.difference == row.budget == np.inf


def test_the_overview_has_its_numbers_on_the_right() -> None:
    columns = overview(Report([verdict(EXPECTED.copy())])).columns
    assert [column.justify for column in columns] == ["left", *["right"] * (len(columns) - 1)]


def test_the_first_difference_is_one_beside_the_largest_element() -> None:
    expected = np.array([1.0, 1000.0, 5.0])
    assert first_difference(expected + np.array([1e-7, 1.0, 1.0]), expected) == (1,)
    assert first_difference(expected + np.array([1e-7, 0.0, 0.0]), expected) is None
    assert first_difference(expected[:2], expected) is None


# To the letter


def changed(*changes: tuple[tuple[int, int], float], of: Array = EXPECTED) -> Array:
    got = of.copy()
    for at, difference in changes:
        got[at] += difference
    return got


def test_a_row_in_one_line_and_in_json() -> None:
    row = Row("conv2d", "3x3", "grad_bias", "float32", (3,), 0.5, 0.25, 0.125, 2.0, (1,), "no good")
    assert str(row) == (
        "WRONG conv2d [3x3] float32 grad_bias (3): max |difference| 0.5; closest to its bound at [1]: "
        "0.25 of 0.12, 200.0%: no good"
    )
    assert row.as_json() == {
        "pair": "conv2d",
        "case": "3x3",
        "tensor": "grad_bias",
        "dtype": "float32",
        "shape": [3],
        "max_abs": 0.5,
        "difference": 0.25,
        "bound": 0.125,
        "budget": 2.0,
        "worst": [1],
        "ok": False,
        "problem": "no good",
    }
    scalar = verdict(np.array(2.0), expected=np.array(2.0), bound=np.zeros(()))
    assert str(scalar) == (
        "ok    pair [case] float64 t (scalar): max |difference| 0; closest to its bound at []: 0 of 0, 0.0%"
    )
    assert scalar.as_json()["worst"] == []
    missing = verdict(None)
    assert str(missing) == "WRONG pair [case] float64 t (2x2): not provided"
    numbers = ("max_abs", "difference", "bound", "budget", "worst")
    assert [missing.as_json()[name] for name in numbers] == [None, None, 0.0, None, None]
    infinite = Row("", "", "", "", (), np.inf, np.nan, -np.inf, np.inf, None)
    assert [infinite.as_json()[name] for name in numbers[:4]] == [None] * 4
    assert infinite.as_json()["ok"]


def test_what_cannot_be_compared_is_one_row_of_all_tensors() -> None:
    row = failure("conv2d", "3x3", "float32", KeyError("w"))
    assert row == nothing_compared("conv2d", "3x3", "float32", "raised KeyError: 'w'")
    inf = math.inf
    assert row == Row("conv2d", "3x3", "all tensors", "float32", (), inf, inf, 0.0, inf, None, "raised KeyError: 'w'")


def test_tensors_come_in_the_order_of_the_reference_and_those_too_many_by_name() -> None:
    expected = {"b": EXPECTED, "a": EXPECTED.astype(np.float32)}
    got = {name: array.copy() for name, array in expected.items()} | {"z": np.ones(3), "y": np.ones((), np.int64)}
    rows = compare("pair", "case", got, expected, dict.fromkeys(expected, np.zeros(())))
    assert [(row.tensor, row.dtype, row.shape, row.ok) for row in rows] == [
        ("b", "float64", (2, 2), True),
        ("a", "float32", (2, 2), True),
        ("y", "int64", (), False),
        ("z", "float64", (3,), False),
    ]
    inf, problem = math.inf, "the reference has no such tensor"
    assert rows[3] == Row("pair", "case", "z", "float64", (3,), inf, inf, 0.0, inf, None, problem)


def test_each_updated_tensor_has_a_start_of_its_own() -> None:
    expected = {"a": np.ones(2), "b": np.ones(2)}
    got = {"a": np.ones(2) + 1e-15, "b": np.ones(2) + 1e-15}
    bounds = {"a": np.full(2, 1e-11), "b": np.full(2, 1e-11)}
    rows = compare("", "", got, expected, bounds, start={"b": np.ones(2) - 1e-12})
    assert [row.ok for row in rows] == [True, False]
    assert "no update, would pass" in rows[1].problem


def test_a_difference_as_large_as_its_bound_is_allowed_and_no_larger_one() -> None:
    ulp = 2.0**-52
    bound = np.full((2, 2), ulp)
    row = verdict(changed(((0, 0), ulp)), bound=bound)
    assert (row.ok, row.budget, row.worst) == (True, 1.0, (0, 0))
    row = verdict(changed(((0, 0), ulp), ((1, 0), 2 * ulp)), bound=bound)
    assert row.problem == "3 instead of 3 at [1, 0]; 25.0% of the elements are wrong"
    assert (row.max_abs, row.difference, row.bound, row.budget) == (2 * ulp, 2 * ulp, ulp, 2.0)
    # What is reported is the first of those that use most of their bound, not the largest difference.
    bound = np.array([[1e-12, 1e-10], [1e-12, 1e-10]])
    row = verdict(changed(((0, 1), 2.0**-34), ((1, 0), 2.0**-38)), bound=bound)
    assert (row.worst, row.max_abs, row.difference, row.bound) == ((1, 0), 2.0**-34, 2.0**-38, 1e-12)
    assert row.problem == "3 instead of 3 at [1, 0]; 25.0% of the elements are wrong"
    row = verdict(EXPECTED + 1, bound=np.full((2, 2), 1e-12))
    assert row.problem == "2 instead of 1 at [0, 0]; 100.0% of the elements are wrong"


def test_without_a_bound_only_equal_elements_are_right() -> None:
    bound = np.array([[0.0, 1e-15], [1e-15, 1e-15]])
    assert verdict(changed(((1, 1), 8.9e-16)), bound=bound).ok
    row = verdict(changed(((0, 0), 2.0**-52)), bound=bound)
    assert (row.ok, row.worst, row.budget) == (False, (0, 0), math.inf)


def test_a_share_too_large_for_a_number_is_infinite() -> None:
    big = np.array([[1e300, 0.0], [3.0, 4.0]])
    row = verdict(changed(((0, 1), 1e300), of=big), expected=big, bound=np.full((2, 2), 1e-300))
    assert (row.ok, row.worst, row.budget, row.max_abs) == (False, (0, 1), math.inf, 1e300)
    opposite = verdict(-np.full(2, 1.7e308), expected=np.full(2, 1.7e308), bound=np.full(2, 1e290))
    assert (opposite.ok, opposite.max_abs) == (False, math.inf)


def test_a_bound_of_one_number_is_that_of_every_element() -> None:
    row = verdict(changed(((1, 1), 8.9e-16)), bound=np.array(1e-15))
    assert (row.ok, row.bound) == (True, 1e-15)


@pytest.mark.parametrize(("size", "ok"), [(3e-9, True), (4e-9, True), (4.1e-9, False)])
def test_in_float64_a_bound_is_at_most_a_billionth_of_the_greatest_element(size: float, ok: bool) -> None:
    bound = np.array([[size, 0], [1e-15, 1e-15]])
    row = verdict(changed(((0, 0), 1e-15)), bound=bound)
    assert row.ok == ok
    assert ok or row.problem == "its bound 4.1e-09 is wider than 1e-09 of the largest element 4"
    narrow = verdict(
        changed(((0, 0), 1e-6), of=EXPECTED.astype("f4")), expected=EXPECTED.astype("f4"), bound=bound * 1e4
    )
    assert narrow.ok


def test_in_float32_a_bound_has_to_tell_some_element_from_zero() -> None:
    expected = EXPECTED.astype(np.float32)
    got = changed(((0, 0), 1e-3), of=expected)
    wide = "its bound is so wide that zeros, or no update, would pass"
    assert verdict(got, expected=expected, bound=np.abs(EXPECTED)).problem == wide
    assert verdict(got, expected=expected, bound=np.array([[1.0, 2.0], [3.0, 3.9]])).ok
    nothing = np.zeros((2, 2), np.float32)
    assert verdict(nothing + np.float32(1e-9), expected=nothing, bound=np.full((2, 2), 1e-8)).ok
    # A start that is given is taken from what is expected.
    assert verdict(got, expected=expected, bound=np.full((2, 2), 0.5), start=expected - 1).ok
    assert verdict(got, expected=expected, bound=np.full((2, 2), 0.5), start=expected - np.float32(0.4)).problem == wide


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1e-15])
def test_one_element_without_a_bound_leaves_no_verdict(bad: float) -> None:
    bound = np.array([[1e-15, 1e-15], [bad, 1e-15]])
    row = verdict(changed(((1, 1), 8.9e-16)), bound=bound)
    assert row.problem == "its bound is not a number that allows a verdict"


def test_why_two_tensors_cannot_be_compared() -> None:
    both = np.array([[1.0, 2.0], [np.nan, np.inf]])
    assert verdict(EXPECTED.copy(), expected=both).problem == "the reference is nan at [1, 0]"
    assert verdict(both, expected=EXPECTED).problem == "it is nan at [1, 0]"
    assert verdict(EXPECTED).problem == "it is the reference's own array: nothing was compared"
    assert verdict(EXPECTED[:, ::-1]).problem == "it is the reference's own array: nothing was compared"
    empty = np.zeros((0, 2))
    assert verdict(empty.copy(), expected=empty).problem == "it has no elements: nothing was compared"
    assert verdict(np.ones((2, 2), np.int64)).problem == "dtype int64 instead of float64"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1e-15])
def test_without_a_bound_that_allows_it_nothing_is_known_of_the_tensor(bad: float) -> None:
    bound = np.array([[1e-15, 1e-15], [bad, 1e-15]])
    for got in (changed(((1, 1), 8.9e-16)), EXPECTED + 1):
        row = verdict(got, bound=bound)
        assert (row.ok, row.unjudged, row.problem) == (False, True, "its bound is not a number that allows a verdict")
        assert str(row).startswith("not judged pair [case] float64 t (2x2): ")
    equal = verdict(EXPECTED.copy(), bound=bound)
    assert (equal.ok, equal.unjudged) == (True, False)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_reference_that_is_no_number_says_nothing_of_the_tensor(bad: float) -> None:
    expected = np.array([[1.0, 2.0], [bad, 4.0]])
    for got in (EXPECTED.copy(), expected.copy(), np.full((2, 2), np.nan)):
        row = verdict(got, expected=expected)
        assert (row.ok, row.unjudged, row.problem) == (False, True, f"the reference is {bad} at [1, 0]")
        assert str(row) == f"not judged pair [case] float64 t (2x2): the reference is {bad} at [1, 0]"
    numbers = verdict(np.array([[1.0, -2.0], [bad, 4.0]]))
    assert (numbers.unjudged, numbers.problem) == (False, f"it is {bad} at [1, 0]")
    assert str(numbers).startswith("WRONG ")


def test_what_a_bound_is_too_wide_to_accept_is_wrong_outside_of_it() -> None:
    near, far = EXPECTED * (1 + 1e-15), EXPECTED + 6
    for bound, problem in ((5.0, "zeros, or no update, would pass"), (5e-9, "wider than 1e-09")):
        within, outside = (verdict(got, bound=np.full((2, 2), bound)) for got in (near, far))
        assert (within.ok, within.unjudged) == (outside.ok, not outside.unjudged) == (False, True)
        assert problem in within.problem
        assert str(within).startswith("not judged ")
        assert outside.problem == "7 instead of 1 at [0, 0]; 100.0% of the elements are wrong"
        assert str(outside).startswith("WRONG ")
        # One element that is outside is enough, and the share says how many there are.
        alone = verdict(changed(((1, 1), 6.0)), bound=np.full((2, 2), bound))
        assert (alone.ok, alone.unjudged, alone.worst) == (False, False, (1, 1))
        assert alone.problem.endswith(" at [1, 1]; 25.0% of the elements are wrong")


@pytest.mark.parametrize(
    "got",
    [
        None,
        EXPECTED,
        EXPECTED[:1].copy(),
        EXPECTED.astype(np.float32),
        EXPECTED + 1,
        np.array([[1.0, np.nan], [3.0, 4.0]]),
    ],
)
def test_what_is_wrong_with_the_tensor_itself_is_judged(got: Array | None) -> None:
    row = verdict(got)
    assert (row.ok, row.unjudged) == (False, False)
    assert str(row).startswith("WRONG ")


def test_a_comparison_that_could_not_be_made_may_be_nobodys_doing() -> None:
    assert not nothing_compared("cnn", "end to end", "float32", "raised").unjudged
    row = nothing_compared("cnn", "end to end", "float32", "not proven", unjudged=True)
    assert (row.ok, row.unjudged) == (False, True)
    assert str(row) == "not judged cnn [end to end] float32 all tensors (scalar): not proven"


def test_one_wrong_tensor_is_not_counted_in_the_headline() -> None:
    report = Report([verdict(EXPECTED.copy()), failure("relu", "2x3", "float32", ValueError("no"))])
    assert report.headline() == "wrong: all tensors of relu [2x3, float32]: raised ValueError: no"
    assert report.rows[1:] == report.wrong
    assert not report.ok
    assert report.as_json() == {"ok": False, "compared": 2, "rows": [row.as_json() for row in report.rows]}


def test_a_report_is_ok_where_every_row_is() -> None:
    report = Report([verdict(EXPECTED.copy())])
    assert report.ok
    assert report.wrong == ()
    assert report.as_json()["ok"] is True
    assert str(report).count("\n") == 1


def test_the_overview_by_hand() -> None:
    share = verdict(changed(((1, 1), 8.9e-16)))  # 89 %
    fine, narrow = verdict(EXPECTED.copy()), dataclasses.replace(share, dtype="float32", budget=0.25)
    other = dataclasses.replace(narrow, pair="other", budget=1.5, problem="no good")
    table = overview(Report([fine, other, share, narrow, *[fine] * 998]))
    cells = [list(column.cells) for column in table.columns]
    assert [column.header for column in table.columns] == [
        "pair",
        "tensors",
        "wrong",
        "float64: bound used",
        "float32: bound used",
    ]
    assert cells == [["pair", "other"], ["1,001", "1"], ["-", "1"], ["89%", "0%"], ["25%", "150%"]]


# The canaries: each differs from what is right in just the way that its name says


def canary(name: str) -> tuple[Array, Array, Canary]:
    (found,) = (canary for canary in CANARIES if canary.name == name)
    return found.got["tensor"], found.expected["tensor"], found


def test_the_canaries_are_of_one_random_matrix_and_have_a_bound_of_some_roundings() -> None:
    for each in CANARIES:
        assert each.right == (each.name in ("equal", "off by half of the bound"))
        for array in each.expected.values():
            assert array.shape == ((0, 3) if each.name == "no elements" else (4, 3))
    _, x, _ = canary("equal")
    assert len(np.unique(np.abs(x))) == 12
    assert (x[0] != 0).all()
    assert CANARY_BOUND == 1e-14
    assert np.spacing(np.abs(x).max()) < CANARY_BOUND / 16
    special = {
        "zeros within a wide bound": 10 * np.abs(x).max(),
        "an update that was not made, within a wide bound": 2e-3,
        "a bound that is no number": np.nan,
        "a bound without an end": np.inf,
        "a bound looser than 1e-9": 2e-6,
    }
    for each in CANARIES:
        np.testing.assert_equal(each.bound, special.get(each.name, CANARY_BOUND))
        assert (each.start is None) == (each.name != "an update that was not made, within a wide bound")


@pytest.mark.parametrize(
    ("name", "difference"),
    [
        ("equal", 0.0),
        ("off by half of the bound", CANARY_BOUND / 2),
        ("off by twice the bound", 2 * CANARY_BOUND),
        ("a bound that is no number", 1.0),
        ("a bound without an end", 1.0),
        ("a bound looser than 1e-9", 1e-6),
        ("too small everywhere", -1.0),
    ],
)
def test_how_far_a_canary_is_off_everywhere(name: str, difference: float) -> None:
    got, expected, _ = canary(name)
    off = got - expected
    np.testing.assert_allclose(np.abs(off), abs(difference), rtol=0.1)
    if name == "off by half of the bound":
        assert set(np.sign(off).flat) == {-1, 1}
    else:
        assert (np.sign(off) == np.sign(difference)).all()


def test_what_is_wrong_with_the_other_canaries() -> None:
    got, x, _ = canary("one element off by 1e-9")
    assert np.argwhere(got != x).tolist() == [[2, 1]]
    assert got[2, 1] / x[2, 1] - 1 == pytest.approx(1e-9, rel=1e-6)
    for name, value in (("NaN", np.nan), ("NaN in both", np.nan), ("infinite", np.inf), ("infinite in both", np.inf)):
        got, expected, _ = canary(name)
        np.testing.assert_array_equal(got[0, 0], value)
        np.testing.assert_array_equal(got.flat[1:], x.flat[1:])
        np.testing.assert_array_equal(expected, got if "both" in name else x)
    got, expected, update = canary("an update that was not made, within a wide bound")
    assert update.start is not None
    np.testing.assert_array_equal(got, update.start["tensor"])
    np.testing.assert_allclose(expected - got, 1e-3, rtol=1e-3)
    assert got.dtype == expected.dtype == np.float32
    assert not canary("zeros within a wide bound")[0].any()
    np.testing.assert_array_equal(canary("a permutation")[0], x[[3, 2, 1, 0]])
    np.testing.assert_array_equal(canary("the same numbers sorted")[0].reshape(-1), sorted(x.flat))
    assert canary("the same numbers sorted")[0].shape == (4, 3)
    np.testing.assert_array_equal(canary("another sign")[0], -x)
    got, expected, _ = canary("another dtype")
    assert (got.dtype, expected.dtype) == (np.dtype("float32"), np.dtype("float64"))
    np.testing.assert_array_equal(got, expected)
    got, expected, _ = canary("a row that broadcasts")
    assert got.shape == (1, 3)
    np.testing.assert_array_equal(np.broadcast_to(got, (4, 3)), expected)
    got, expected, _ = canary("a shape of as many elements")
    assert got.shape == (3, 4)
    np.testing.assert_array_equal(got.reshape(-1), expected.reshape(-1))
    assert canary("no elements")[0].shape == (0, 3)
    got, expected, _ = canary("the reference's own array")
    assert got is expected


def test_only_one_canary_is_given_the_reference_itself_and_some_have_other_tensors() -> None:
    shared = [
        each.name
        for each in CANARIES
        for name, array in each.got.items()
        if name in each.expected and np.may_share_memory(array, each.expected[name])
    ]
    assert shared == ["the reference's own array"]
    several = {each.name: (set(each.got), set(each.expected)) for each in CANARIES}
    del several["nothing at all"]
    both = {"first", "second"}
    assert {name: sets for name, sets in several.items() if sets != ({"tensor"}, {"tensor"})} == {
        "missing": (set(), {"tensor"}),
        "a tensor too many": ({"tensor", "more"}, {"tensor"}),
        "one of two is missing": ({"first"}, both),
        "the second of two is wrong": (both, both),
        "the first of two is wrong": (both, both),
    }
    for each in CANARIES:
        if len(each.expected) == 2:
            off = {name: float((each.got[name] - each.expected[name]).max()) for name in each.got}
            wrong = {"the first of two is wrong": "first", "the second of two is wrong": "second"}.get(each.name)
            assert {name for name, size in off.items() if size} == ({wrong} if wrong else set())
            assert wrong is None or (each.got[wrong] > each.expected[wrong] + 0.9).all()
    nothing = next(each for each in CANARIES if each.name == "nothing at all")
    assert nothing.got == nothing.expected == {}


def test_a_judge_is_given_the_bound_of_every_element_and_may_raise() -> None:
    given: list[Any] = []

    class Judge(ModuleType):
        @staticmethod
        def compare(*arguments: Any, start: Any) -> list[Row]:
            given.append((*arguments, start))
            np.array([1.0]) / np.array([0.0])  # no warning
            if arguments[1] == "NaN":
                raise KeyError
            return []

        @staticmethod
        def Report(rows: list[Row]) -> Any:  # noqa: N802
            return Report([verdict(EXPECTED.copy()), *rows])

    wrong = {each.name for each in CANARIES if not each.right}
    assert set(misjudged(Judge("judge"))) == wrong
    assert len(given) == len(CANARIES)
    for each, (pair, name, got, expected, bounds, start) in zip(CANARIES, given, strict=True):
        assert (pair, name, got, expected, start) == ("canary", each.name, each.got, each.expected, each.start)
        for tensor, array in expected.items():
            np.testing.assert_array_equal(bounds[tensor], np.full(array.shape, each.bound))
    assert misjudged() == []
