"""The checker is checked: what it must never let pass, and what it says."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from compare.diagnosis.render.terminal import first_difference
from compare.observe import Tensors
from compare.verify.report import Report, Row, compare, failure, overview
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
