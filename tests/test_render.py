"""A verdict made by hand, as its readers see it: on the terminal, on the page, in JSON and as marks."""

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import jinja2
import numpy as np
import pytest
from rich.console import Console

from compare.diagnosis.coverage import Coverage
from compare.diagnosis.explaining.replay import RAISED, Finding
from compare.diagnosis.explaining.shrink import Example
from compare.diagnosis.render.formats import FORMATS, check_format, parse_map, parse_shape, render
from compare.diagnosis.render.grading import Mark, as_gradescope, as_junit, marks, read_points
from compare.diagnosis.render.numbers import FEW, brief, listed, number, options_text, rows, tables
from compare.diagnosis.render.page import CELLS, MAPS, as_html, heatmaps, maps
from compare.diagnosis.render.terminal import first_difference, show
from compare.diagnosis.trial import Trial
from compare.diagnosis.verdict import Alternative, Diagnosis
from compare.driving.tensors import Tensors
from compare.machine.errors import UserError
from compare.pairs.probe import Probe
from compare.pairs.report import Row
from compare.testing import assert_twin
from scratch import Array

A, B = "2x3 normal", "5x1 huge"


def row(tensor: str, problem: str = "", case: str = A, *, dtype: str = "float64", budget: float = 0.25) -> Row:
    return Row("linear", case, tensor, dtype, (2, 3), 0.00012345, 0.0, 1e-9, budget, (0, 0), problem)


def trial(*made: Row, got: Tensors | None = None, right: Tensors | None = None, bounds: Tensors | None = None) -> Trial:
    return Trial(Probe(A, "float64", {}, {}), got, right or {}, bounds or {}, made)


def finding(*kinds: str, name: str = "", layer: str = "", also: tuple[str, ...] = ()) -> Finding:
    first = kinds[0]
    return Finding(
        kinds, layer, name, bool(name), f"Made {first} wrong.", f"See {first}.", f"Evidence of {first}", also
    )


def covered(*tensors: str, missed: tuple[str, ...] = (), gaps: tuple[str, ...] = (), **shares: float) -> Coverage:
    """The coverage of two inputs, all of it compared but for these shares."""
    return Coverage(2, "a batch (N, C)", dict.fromkeys(tensors, 1.0) | shares, missed, gaps)


def verdict(trials: Sequence[Trial] = (), findings: Sequence[Finding] = (), **more: Any) -> Diagnosis:
    """A verdict on what was compared on every kind of input, unless it is said otherwise."""
    tensors = [row.tensor for trial in trials for row in trial.rows]
    tensors = [name for name in tensors if name != RAISED and not name.endswith("after use")]
    whole: dict[str, Any] = {"example": None, "missing": (), "remarks": (), "coverage": covered(*tensors)} | more
    return Diagnosis("mine.py:Dense", "linear", tuple(trials), tuple(findings), **whole)


RIGHT = verdict([trial(row("output"), row("grad_input")), trial(row("output"))], remarks=("it is slow",))
ONE = verdict(
    [trial(row("output", case=B)), trial(row("output", "off", A), row("output", "off", B), row("grad_input"))],
    [finding("output", name="linear-no-bias", layer="fc1 (linear)", also=("linear-b", "linear-c", "linear-d"))],
    example=Example(
        {"bias": True, "n": 3},
        {"input": np.array([[1.0, 2.0]]), "weight": np.array([[30.0, 4.5]]), "bias": np.array([7.0])},
        "output",
        np.array([[1.0, 8.0]]),
        np.array([[1.0, -5.0]]),
    ),
    missing=("grad_bias",),
    remarks=("weights are (in, out)", "it is slow"),
)
TWO = verdict(
    [
        trial(row(RAISED, "raised OSError"), row("output"), row("grad_weight", "far", B)),
        trial(row("grad_weight", "far", A, dtype="float32"), row("input after use", "changed")),
    ],
    [
        finding(RAISED, "grad_weight", layer="conv1"),
        replace(finding("input after use", name="x-form"), catalogued=False),
    ],
)
# Right for another reading, and for one that its own words speak against.
OTHER = replace(
    TWO,
    findings=TWO.findings[:1],
    alternatives=(
        Alternative("a batch (N, C)", "a batch of columns (C, N)", {"layout": "CN"}, "--layout CN"),
        Alternative("a batch (N, C)", "one image (C,)", {"layout": "C"}, "--layout C", against=True),
    ),
)
# Nothing can be said of it; of one tensor too little was compared; of one tensor nothing was.
NEVER = verdict(problem="it has no forward", remarks=("it is slow",), coverage=Coverage())
LITTLE = verdict(
    [trial(row("output"), row("grad_input"))] * 2,
    problem="too little could be compared: 50% of the kinds of input that it could be given; "
    "missing: odd sides, stride",
    missing=("grad_bias",),
    coverage=covered("output", grad_input=0.5, missed=("odd sides", "stride"), gaps=("eps (not tried)",)),
)
UNSEEN = verdict(
    [trial(row("output", "off"), row("grad_input"))],
    [finding("output")],
    coverage=covered("output", "grad_input", grad_weight=0.0, missed=("batches",)),
)


def printed(diagnosis: Diagnosis, width: int = 120, *, hint_only: bool = False) -> list[str]:
    text = io.StringIO()
    show(diagnosis, Console(file=text, width=width, color_system=None), hint_only=hint_only)
    return [line.rstrip() for line in text.getvalue().splitlines()]


def before_the_table(lines: list[str]) -> list[str]:
    return lines[: next((n for n, line in enumerate(lines) if line.startswith("┏")), len(lines))]


def in_the_table(lines: list[str]) -> list[list[str]]:
    return [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in lines if line[:1] in ("│", "┃")]


# Numbers


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.array(2.5), "scalar\n  2.5"),
        (np.array([4.0]), "1\n  4"),
        (np.array([1.0, -20.0]), "2\n    1 -20"),
        (np.array([1.0, 2.0, -0.0]), "3\n  1 2 0"),
        (np.array([[1], [23]]), "2x1\n   1\n  23"),
        (np.array([[True, False], [False, False]]), "2x2\n  1 0\n  0 0"),
        (np.arange(6.0).reshape(2, 1, 3), "2x1x3\n  0 1 2\n\n  3 4 5"),
        (np.arange(12.0).reshape(2, 1, 3, 2), "2x1x3x2\n   0  1\n   2  3\n   4  5\n\n   6  7\n   8  9\n  10 11"),
        (np.zeros(0), "0"),
        (np.zeros((0, 3)), "0x3"),
    ],
)
def test_a_small_array_is_its_shape_and_its_numbers(array: Array, text: str) -> None:
    assert brief(array) == text


def test_more_than_96_numbers_are_a_shape() -> None:
    assert FEW == 96
    assert len(brief(np.zeros((2, 48))).splitlines()) == 3
    assert brief(np.zeros((97, 1))) == "97x1"


def test_every_array_is_maps_of_rows() -> None:
    shapes = {(): (1, 1, 1), (3,): (1, 1, 3), (2, 3): (1, 2, 3), (5, 2, 3): (5, 2, 3), (4, 5, 2, 3): (20, 2, 3)}
    empty = {(0,): (1, 1, 0), (0, 3): (1, 0, 3), (2, 0, 3): (2, 0, 3), (4, 0, 2, 3): (0, 2, 3)}
    for shape, expected in (shapes | empty).items():
        array = np.arange(np.prod(shape, dtype=int)).reshape(shape)
        assert tables(array).shape == expected
        np.testing.assert_array_equal(tables(array).ravel(), array.ravel())


def test_the_rows_of_an_array_are_aligned_to_the_widest_number() -> None:
    assert rows(np.array([[1, 100], [-10, 2]])) == ["    1 100", "  -10   2"]


def test_a_number_has_six_digits_at_most_and_no_negative_zero() -> None:
    values: list[Any] = [-0.0, 1234567.0, 1e-7, -1 / 3, float("nan"), float("-inf"), np.float32(0.5), True]
    assert [number(value) for value in values] == ["0", "1.23457e+06", "1e-07", "-0.333333", "nan", "-inf", "0.5", "1"]


def test_words_and_options_as_in_a_sentence() -> None:
    assert [listed(list(words)) for words in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]
    assert options_text({"stride": (1, 2), "bias": False}) == "stride=(1, 2), bias=False"
    assert options_text({}) == ""


# The terminal


def test_what_is_right_is_told_with_its_remarks_and_its_table() -> None:
    lines = printed(RIGHT)
    assert before_the_table(lines) == [
        "right: mine.py:Dense computes what linear does: 3 tensors compared on 2 inputs, none outside its bound "
        "(at most 25% of it used)",
        "  coverage: output, grad_input of a batch (N, C), on 2 inputs",
        "  remark: it is slow",
    ]
    assert in_the_table(lines) == [
        ["tensor", "compared", "wrong", "first wrong on"],
        ["output", "2", "-", ""],
        ["grad_input", "1", "-", ""],
    ]


def test_one_mistake_is_told_with_its_name_its_hint_and_its_example() -> None:
    lines = printed(ONE)
    assert before_the_table(lines) == [
        "wrong: output, layer fc1 (linear): Made output wrong.",
        "  mistake: linear-no-bias (or linear-b, linear-c and linear-d: the same on these inputs); Evidence of output",
        "  hint: See output.",
        "",
        "The smallest input that shows it (bias=True, n=3):",
        "input 1x2   weight 1x2   bias 1",
        "  1 2          30 4.5      7",
        "expected output 1x2   got 1x2",
        "  1 8                    1 -5",
        "                      wrong first at [0, 1]",
        "",
        "  coverage: output, grad_input of a batch (N, C), on 2 inputs",
        "  remark: weights are (in, out)",
        "  remark: it is slow",
    ]
    assert in_the_table(lines) == [
        ["tensor", "compared", "wrong", "first wrong on"],
        ["output", "3", "2", "[2x3 normal, float64]"],
        ["grad_input", "1", "-", ""],
        ["grad_bias", "-", "-", "not provided"],
    ]


def test_a_hint_is_all_that_hint_only_gives() -> None:
    assert before_the_table(printed(ONE, hint_only=True)) == [
        "wrong: output, layer fc1 (linear)",
        "  hint: See output.",
        "  coverage: output, grad_input of a batch (N, C), on 2 inputs",
        "  remark: weights are (in, out)",
        "  remark: it is slow",
    ]


def test_several_mistakes_are_numbered() -> None:
    assert before_the_table(printed(TWO)) == [
        "wrong: no answer, grad_weight, layer conv1: Made all tensors wrong. (and 1 more mistake, below)",
        "  1. no answer and grad_weight (layer conv1): Made all tensors wrong.",
        "  hint: See all tensors.",
        "  2. input after use: Made input after use wrong.",
        "  form: x-form; Evidence of input after use",
        "  hint: See input after use.",
        "  coverage: output, grad_weight of a batch (N, C), on 2 inputs",
    ]
    assert before_the_table(printed(TWO, hint_only=True)) == [
        "wrong: no answer, grad_weight, layer conv1 (and 1 more mistake, below)",
        "  1. no answer and grad_weight (layer conv1)",
        "  hint: See all tensors.",
        "  2. input after use",
        "  hint: See input after use.",
        "  coverage: output, grad_weight of a batch (N, C), on 2 inputs",
    ]


def test_the_table_has_what_was_changed_only_where_it_was() -> None:
    changed = trial(row("input"), row("input after use", "changed", B), row("grad_output after use"))
    lines = in_the_table(printed(verdict([changed], [finding("input after use")])))
    assert lines[1:] == [["input", "1", "-", ""], ["input after use", "1", "1", "[5x1 huge, float64]"]]


def test_the_table_counts_in_thousands_with_numbers_to_the_right() -> None:
    lines = printed(verdict([trial(*[row("output")] * 1234), trial(*[row("output of call 2")] * 2)]))
    assert "│ output │    1,236 │     - │                │" in lines
    assert lines[3] == "┃ tensor ┃ compared ┃ wrong ┃ first wrong on ┃"


def test_without_an_answer_there_is_no_table() -> None:
    for hint_only in (False, True):
        assert printed(NEVER, hint_only=hint_only) == [
            "not judged: it has no forward",
            "  coverage: nothing was compared",
            "  remark: it is slow",
        ]


def test_what_is_not_judged_says_what_was_compared_and_what_not() -> None:
    lines = printed(LITTLE)
    assert before_the_table(lines) == [
        "not judged: too little could be compared: 50% of the kinds of input that it could be given; "
        "missing: odd sides, stride",
        "  coverage: output, grad_input of a batch (N, C), on 2 inputs, 50% of the kinds of input; "
        "not compared: odd sides; stride; eps (not tried)",
    ]
    assert in_the_table(lines)[1:] == [
        ["output", "2", "-", ""],
        ["grad_input", "2", "-", ""],
        ["grad_bias", "-", "-", "not provided"],
    ]


def test_other_readings_under_which_it_is_right_come_first() -> None:
    first = [
        "wrong for a batch (N, C); right for a batch of columns (C, N): if that is meant, --layout CN",
        "  also right for one image (C,): it works along other axes than it is described for",
    ]
    last = ["  hint: See all tensors.", "  coverage: output, grad_weight of a batch (N, C), on 2 inputs"]
    # The headline does not say what is wrong: the mistake is numbered, though there is only one.
    mistake = "  1. no answer and grad_weight (layer conv1)"
    assert before_the_table(printed(OTHER)) == [*first, f"{mistake}: Made all tensors wrong.", *last]
    assert before_the_table(printed(OTHER, hint_only=True)) == [*first, mistake, *last]
    alone = before_the_table(printed(replace(OTHER, alternatives=OTHER.alternatives[:1])))
    assert alone == [first[0], f"{mistake}: Made all tensors wrong.", *last]


def test_a_narrow_terminal_keeps_lines_whole_and_examples_close() -> None:
    lines = printed(ONE, 27)
    assert lines[0] == "wrong: output, layer fc1 (linear): Made output wrong."
    at = lines.index("input 1x2   weight 1x2")
    assert lines[at : at + 9] == [
        "input 1x2   weight 1x2",
        "  1 2          30 4.5",
        "bias 1",
        "  7",
        "expected output 1x2",
        "  1 8",
        "got 1x2",
        "   1 -5",
        "wrong first at [0, 1]",
    ]


def example(expected: Array | None, got: Array | None, problem: str = "") -> list[str]:
    lines = before_the_table(
        printed(replace(ONE, example=Example({}, {"x": np.array(2.0)}, "output", expected, got, problem), remarks=()))
    )
    at = lines.index("The smallest input that shows it:")
    assert lines[-1].startswith("  coverage: ")
    return lines[at + 3 : -1]


def test_an_example_without_an_answer_says_why() -> None:
    assert example(np.array([1.0]), None, "it crashed") == ["expected output 1   it crashed", "  1", ""]
    assert example(None, None, "it crashed") == [""]
    assert example(None, np.array([3.0])) == [""]


def test_the_first_wrong_number_is_pointed_at_where_there_are_several() -> None:
    right = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert example(right, right * [[1], [2]])[-2] == "                      wrong first at [1, 0]"
    assert example(np.array([1.0, 2.0]), np.array([1.0, 9.0]))[-2].strip() == "wrong first at [1]"
    assert example(np.array([1.0]), np.array([2.0])) == ["expected output 1   got 1", "  1                   2", ""]
    assert example(right, right[0]) == ["expected output 2x2   got 2", "  1 2                   1 2", "  3 4", ""]
    assert not any("wrong first" in line for line in example(right, right))


def test_a_difference_is_one_beyond_rounding() -> None:
    zeros = np.zeros((2, 3))
    assert first_difference(zeros, zeros) is None
    assert first_difference(zeros[:, :2], zeros) is None
    assert first_difference(zeros[:1], zeros + 1) is None
    assert first_difference(zeros[:0], zeros[:0]) is None
    assert first_difference(np.array([0.5]), np.array([0.25])) == (0,)
    assert first_difference(np.array([1.0, np.nan]), np.array([1.0, 2.0])) == (1,)
    assert first_difference(np.array([[0.0, 1.0], [5.0, 5.0]]), np.array([[0.0, 1.0], [2.0, 5.0]])) == (1, 0)
    # One part in 1e9 of the largest element, or 1e-9 where all are zero.
    assert first_difference(np.array([1e-9, 0.0]), np.zeros(2)) is None
    assert first_difference(np.array([0.0, 1.5e-9]), np.zeros(2)) == (1,)
    assert first_difference(np.array([0.0, 1e6]), np.array([9e-4, 1e6])) is None
    assert first_difference(np.array([0.0, 1e6]), np.array([1.1e-3, 1e6])) == (0,)
    assert first_difference(np.array([1e-6, 3e-6]), np.array([1e-6 + 1e-12, 3e-6])) == (0,)


def test_the_colours_say_how_it_went() -> None:
    def first(diagnosis: Diagnosis) -> str:
        text = io.StringIO()
        console = Console(file=text, width=120, force_terminal=True, color_system="standard", legacy_windows=False)
        show(diagnosis, console)
        return text.getvalue()

    assert first(RIGHT).startswith("\x1b[1;32mright: ")
    for unjudged in (NEVER, LITTLE):
        assert first(unjudged).startswith("\x1b[1;33mnot judged: ")
    assert first(OTHER).startswith("\x1b[1;31mwrong for ")
    wrong = first(ONE)
    assert wrong.startswith("\x1b[1;31mwrong: ")
    for style, line in {"2": "  mistake: ", "36": "  hint: ", "33": "  remark: ", "1": "The smallest input"}.items():
        assert f"\x1b[{style}m{line}" in wrong
    assert "\x1b[1;31mwrong first at [0, 1]\x1b[0m" in wrong


def test_assert_twin_shows_the_whole_verdict_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    long = verdict([trial(row("output", "off", "5x4 normal " * 20))], [finding("output")])
    monkeypatch.setattr(
        "compare.testing.diagnose", lambda _, **how: long if how == {"like": "linear", "seed": 3} else RIGHT
    )
    assert_twin(object, like="linear")
    with pytest.raises(AssertionError) as raised:
        assert_twin(object, like="linear", seed=3)
    lines = str(raised.value).splitlines()
    assert lines[0] == "wrong: output of linear: Made output wrong."
    assert lines[-1].startswith("└")
    assert max(map(len, lines)) == 120
    assert raised.traceback[-1].ishidden(raised)


# The page


def page(diagnosis: Diagnosis, *, hint_only: bool = False) -> str:
    return as_html(diagnosis, hint_only=hint_only)


def words(html: str) -> str:
    """What a reader of the page reads."""
    body = html.partition("<body>")[2]
    return " ".join(re.sub("<[^>]*>", " ", body).split())


HEAT = replace(
    TWO,
    trials=(
        trial(
            row("grad_weight", "far", B),
            got={"grad_weight": np.array([[1.0, 2.0]])},
            right={"grad_weight": np.array([[1.0, 6.0]])},
            bounds={"grad_weight": np.array([[1e-9, 1e-9]])},
        ),
        *TWO.trials,
    ),
)


def test_the_page_of_what_is_right_is_a_headline_and_a_table() -> None:
    html = page(RIGHT)
    assert html.startswith("<!doctype html>\n<html")
    assert "<title>mine.py:Dense like linear</title>" in html
    assert '<h1 class="right">' in html
    assert words(html) == (
        "right: mine.py:Dense computes what linear does: 3 tensors compared on 2 inputs, none outside its bound "
        "(at most 25% of it used) mine.py:Dense, compared with linear on 2 inputs. "
        "Coverage: output, grad_input of a batch (N, C), on 2 inputs. Remarks it is slow "
        "Tensors tensor compared wrong output 2 - grad_input 1 - "
        "All 3 rows case dtype tensor max |difference| of its bound problem "
        + " ".join(f"2x3 normal float64 {tensor} 0.000123 25%" for tensor in ("output", "grad_input", "output"))
    )


def test_the_page_of_one_mistake_has_its_name_and_its_example() -> None:
    html = page(ONE)
    assert '<h1 class="wrong">' in html
    assert words(html).partition(" Tensors ")[0] == (
        "wrong: output, layer fc1 (linear): Made output wrong. mine.py:Dense, compared with linear on 2 inputs. "
        "Coverage: output, grad_input of a batch (N, C), on 2 inputs. "
        "What is wrong output (layer fc1 (linear)): Made output wrong. Hint: See output. "
        "linear-no-bias (or linear-b, linear-c, linear-d); Evidence of output "
        "The smallest input that shows it bias=True, n=3 input 1 2 weight 30 4.5 bias 7 expected output 1 8 "
        "got (wrong numbers underlined) 1 -5 Remarks weights are (in, out) it is slow"
    )
    assert re.findall(r'<td class="wrong">([^<]*)<', html) == ["-5", "2", "off", "off"]
    assert "<td>grad_bias</td><td>-</td><td>not provided</td>" in html


def test_the_page_of_what_is_not_judged_has_a_colour_of_its_own_and_no_mistakes() -> None:
    html = page(NEVER)
    assert '<h1 class="not_judged">' in html
    assert words(html) == (
        "not judged: it has no forward mine.py:Dense, compared with linear on 0 inputs. "
        "Coverage: nothing was compared. Remarks it is slow Tensors tensor compared wrong "
        "All 0 rows case dtype tensor max |difference| of its bound problem"
    )
    html = page(LITTLE)
    assert '<h1 class="not_judged">' in html
    assert words(html).startswith(f"{LITTLE.headline()} mine.py:Dense, compared with linear on 2 inputs. Coverage: ")
    assert f"<p>Coverage: {LITTLE.coverage}.</p>" in html
    assert "What is wrong" not in html
    for outcome in ("right", "wrong", "not_judged"):
        assert f"h1.{outcome}" in html


def test_the_page_names_the_other_readings_under_which_it_is_right() -> None:
    for hint_only in (False, True):
        html = page(OTHER, hint_only=hint_only)
        assert f'<h1 class="wrong">{OTHER.headline()}</h1>' in html
        assert f"<p>Also {OTHER.alternatives[1]}.</p>" in html
        assert html.count("<p>Also ") == 1
        assert "What is wrong no answer, grad_weight" in words(html)
    assert "<p>Also " not in page(replace(OTHER, alternatives=OTHER.alternatives[:1]))


def test_the_page_with_the_hint_only_has_no_numbers() -> None:
    assert words(page(ONE, hint_only=True)) == (
        "wrong: output, layer fc1 (linear) mine.py:Dense, compared with linear on 2 inputs. "
        "Coverage: output, grad_input of a batch (N, C), on 2 inputs. "
        "What is wrong output (layer fc1 (linear)) Hint: See output. Remarks weights are (in, out) it is slow "
        "Tensors tensor compared wrong output 3 2 grad_input 1 - grad_bias - not provided"
    )
    assert "; the darkest is off by 4." in words(page(HEAT))
    assert "grad_weight on [5x1 huge, float64]: 50% of its elements are wrong." in words(page(HEAT, hint_only=True))


def test_the_page_draws_where_the_elements_differ() -> None:
    html = page(HEAT)
    assert "no answer, grad_weight</strong> (layer conv1)" in html
    assert "Where the elements differ grad_weight on [5x1 huge, float64]: 50% of its elements are wrong;" in words(html)
    assert re.findall(r'<td style="--v:([^"]*)" title="([^"]*)"', html) == [("0.0", "0.0"), ("1.0", "1.0")]
    assert "<figcaption>grad_weight</figcaption>" in html
    assert "more maps are not shown" not in html
    assert "Where the elements differ" not in page(TWO)
    ones = {"grad_weight": np.ones((27, 1, 1))}
    many = trial(row("grad_weight", "far"), got=ones, right={"grad_weight": np.zeros((27, 1, 1))}, bounds=ones)
    wide = replace(HEAT, trials=(many,))
    assert "3 more maps are not shown." in page(wide)


def test_an_example_on_the_page_without_an_answer_says_why() -> None:
    crashed = replace(ONE, example=Example({}, {"x": np.array([2.0])}, "output", None, None, "it crashed"))
    assert "The smallest input that shows it x 2 it crashed Remarks" in words(page(crashed))
    half = replace(ONE, example=Example({}, {"x": np.array([2.0])}, "output", np.array([3.0]), None, "it crashed"))
    assert "The smallest input that shows it x 2 expected output 3 it crashed Remarks" in words(page(half))


def test_the_page_has_an_answer_without_elements() -> None:
    for shape in ((0, 3), (0, 2, 3), (2, 0)):
        empty = replace(ONE, example=Example({}, {"x": np.zeros(shape)}, "output", np.array([[3.0]]), np.zeros(shape)))
        assert "expected output 3" in words(page(empty))


def test_the_page_shows_markup_as_text() -> None:
    html = page(replace(RIGHT, candidate="<script>a</script>", remarks=("<b>&",)))
    assert "<script" not in html
    assert '<h1 class="right">right: &lt;script&gt;a&lt;/script&gt; computes' in html
    assert "<li>&lt;b&gt;&amp;</li>" in html


def test_the_page_has_no_lines_of_spaces() -> None:
    lines = page(HEAT).splitlines()
    assert [line for line in lines if not line.strip() or line.startswith(" ")] == []


def test_the_page_names_nothing_that_there_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "page.html.j2").write_text("{{ nothing }}")
    monkeypatch.setattr("compare.diagnosis.render.page.files", lambda _: tmp_path)
    with pytest.raises(jinja2.UndefinedError, match="nothing"):
        page(RIGHT)


def test_every_bound_is_told_as_a_share_up_to_ten_of_it() -> None:
    html = page(verdict([trial(row("output", budget=10.0), row("output", budget=10.1), row("output", budget=0.994))]))
    assert re.findall(r"<td>([^<]*%)</td>", html) == ["1000%", "over 1000%", "99%"]


def cells(array: Array, right: Array | None = None) -> list[list[list[tuple[str, bool]]]]:
    return [table["rows"] for table in maps(array, right)]


def test_the_maps_of_an_array_have_their_leading_indices() -> None:
    assert maps(np.array([1.5, 2.0])) == [{"index": "", "rows": [[("1.5", False), ("2", False)]]}]
    assert maps(np.array(7.0)) == [{"index": "", "rows": [[("7", False)]]}]
    assert [table["index"] for table in maps(np.zeros((2, 3)))] == [""]
    assert [table["index"] for table in maps(np.zeros((3, 1, 2)))] == ["[0]", "[1]", "[2]"]
    whole = maps(np.arange(12.0).reshape(2, 3, 1, 2))
    assert [table["index"] for table in whole] == ["[0, 0]", "[0, 1]", "[0, 2]", "[1, 0]", "[1, 1]", "[1, 2]"]
    assert whole[4]["rows"] == [[("8", False), ("9", False)]]


def test_so_many_maps_rows_and_columns_are_drawn() -> None:
    assert (MAPS, CELLS) == (24, 32)
    assert len(maps(np.zeros((25, 1, 1)))) == 24
    assert len(maps(np.zeros((24, 1, 1)))) == 24
    (drawn,) = cells(np.arange(34.0 * 33).reshape(34, 33))
    assert (len(drawn), {len(line) for line in drawn}) == (32, {32})
    assert drawn[1][31] == ("64", False)


def test_the_numbers_that_are_wrong_are_marked() -> None:
    def wrong(got: Any, right: Any) -> list[bool]:
        return [mark for table in cells(np.array(got), np.array(right)) for line in table for _, mark in line]

    assert wrong([[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [5.0, 4.0]]) == [False, False, True, False]
    assert wrong([[[1.0]], [[2.0]]], [[[1.0]], [[3.0]]]) == [False, True]
    assert wrong([np.nan, np.inf, 1.0], [1.0, 1.0, 1.0]) == [True, True, False]
    assert wrong([1.0, 2.0], [[9.0, 9.0]]) == [False, False]
    assert wrong([1e-9, 1.5e-9], [0.0, 0.0]) == [False, True]
    assert wrong([0.0, 0.0, 1e6], [9e-4, 1.1e-3, 1e6]) == [False, True, False]
    assert wrong([1e-6, 3e-6], [1e-6 + 1e-12, 3e-6]) == [True, False]
    assert wrong(np.zeros((0, 2)), np.zeros((0, 2))) == []


def heat(got: Any, right: Any, *, tensor: str = "output", bound: float = 0.0) -> list[dict[str, Any]]:
    tensors = ({tensor: np.asarray(got)}, {tensor: np.asarray(right)}, {tensor: np.full(np.shape(right), bound)})
    tried = trial(row(tensor, "off", B), got=tensors[0], right=tensors[1], bounds=tensors[2])
    return heatmaps(verdict([tried], [finding("output")]))


def test_a_heatmap_shows_how_far_each_element_is_off() -> None:
    assert heat([[1.0, 2.0, 4.0]], [[1.0, 3.0, 1.0]], bound=1.0) == [
        {
            "tensor": "output",
            "case": "5x1 huge, float64",
            "largest": "3",
            "wrong": "33%",
            "maps": [{"index": "", "rows": [[0.0, 0.333, 1.0]]}],
            "left_out": 0,
        }
    ]
    (one,) = heat([0.25, -0.25], [0.0, 0.0], tensor="output of call 2")
    assert (one["tensor"], one["largest"], one["maps"]) == (
        "output of call 2",
        "0.25",
        [{"index": "", "rows": [[1.0, 1.0]]}],
    )
    (one,) = heat(np.float32(3.0), 1.0)
    assert (one["largest"], one["maps"]) == ("2", [{"index": "", "rows": [[1.0]]}])
    (one,) = heat([[[1.0]], [[2.0]], [[4.0]]], np.zeros((3, 1, 1)))
    assert one["maps"] == [{"index": f"[{n}]", "rows": [[v]]} for n, v in enumerate((0.25, 0.5, 1.0))]


def test_what_is_no_number_is_as_far_off_as_can_be() -> None:
    (one,) = heat([np.nan, 3.0, np.inf], [1.0, 1.0, 1.0])
    assert (one["largest"], one["wrong"], one["maps"][0]["rows"]) == ("2", "100%", [[1.0, 1.0, 1.0]])
    (one,) = heat([np.nan, np.nan], [1.0, 1.0])
    assert (one["largest"], one["maps"][0]["rows"]) == ("1", [[1.0, 1.0]])
    (one,) = heat([1.7e308, 2.0], [-1.7e308, 1.0])
    assert (one["largest"], one["maps"][0]["rows"]) == ("1", [[1.0, 1.0]])


def test_a_heatmap_is_cut_as_the_maps_are() -> None:
    (one,) = heat(np.ones((26, 33, 34)), np.zeros((26, 33, 34)))
    assert (len(one["maps"]), one["left_out"]) == (24, 2)
    assert {(len(table["rows"]), len(table["rows"][0])) for table in one["maps"]} == {(32, 32)}


def test_no_heatmap_without_two_tensors_of_one_shape() -> None:
    assert heat(np.ones((2, 1)), np.ones((1, 2))) == []
    assert heat(np.ones((0, 2)), np.ones((0, 2))) == []
    assert heat(np.array([1, 2]), np.array([1, 3])) == []
    assert heatmaps(verdict([trial(row("output", "off"), got=None)], [finding("output")])) == []
    assert heatmaps(verdict([trial(row("output", "off"), got={"x": np.ones(1)})], [finding("output")])) == []


def test_a_heatmap_is_of_the_first_input_and_call_that_is_wrong() -> None:
    names = ("output", "output of call 2", "output of call 3", "grad_input")
    tried = trial(
        row("grad_input", "off"),
        row("output"),
        row("output of call 2", "off"),
        row("output of call 3", "off"),
        got={name: np.ones(1) for name in names},
        right={name: np.full(1, n + 2.0) for n, name in enumerate(names)},
        bounds={name: np.zeros(1) for name in names},
    )
    shown = heatmaps(verdict([trial(row("output")), tried, tried], [finding("output"), finding("x", "grad_input")]))
    assert [(one["tensor"], one["largest"]) for one in shown] == [("output of call 2", "2"), ("grad_input", "4")]


# Grading


def test_points_are_one_number_or_one_for_each_tensor() -> None:
    assert [read_points(text) for text in ("10", "0", " 2.5 ")] == [10, 0, 2.5]
    assert read_points("output=1") == {"output": 1}
    assert read_points("output=0, fc1.weight = 2.5") == {"output": 0, "fc1.weight": 2.5}


@pytest.mark.parametrize(
    "text", ["", "-1", "x", "inf", "nan", "output", "output=", "a=1,-2", "a=1,2", "10,20", "a=1,a=2", "a=1,b=-0.5"]
)
def test_points_that_cannot_be_given_are_refused(text: str) -> None:
    with pytest.raises(UserError) as refused:
        read_points(text)
    assert str(refused.value) == (
        f"--points {text!r} must be a number such as 10, or one for each tensor: output=4,grad_input=6"
    )


GRADED = verdict(
    [
        trial(row("output"), row("grad_input", "off"), row("grad_weight"), row("grad_output after use")),
        trial(row("output"), row("grad_input")),
    ],
    [finding("x", "grad_input", name="linear-x"), finding("y")],
    missing=("grad_bias",),
    remarks=("it is slow", "it is odd"),
)


def test_points_are_shared_out_evenly_and_told_with_their_reason() -> None:
    assert marks(GRADED, 10) == [
        Mark("output", 2.5, 2.5, "right on every input", True),
        Mark("grad_input", 0, 2.5, "Made x wrong. Hint: See x.", False),
        Mark("grad_weight", 2.5, 2.5, "right on every input", True),
        Mark("grad_bias", 0, 2.5, "not provided", False),
    ]
    assert marks(GRADED, 10, hint_only=True)[1].text == "See x."


def test_points_by_tensor_leave_the_others_out() -> None:
    given = marks(GRADED, {"grad_bias": 1, "grad_weight": 6})
    assert [(mark.tensor, mark.points, mark.of) for mark in given] == [("grad_bias", 0, 1), ("grad_weight", 6, 6)]
    with pytest.raises(UserError) as refused:
        marks(GRADED, {"output": 1, "grad_output after use": 6})
    assert str(refused.value) == (
        "--points: mine.py:Dense has no tensor 'grad_output after use'; "
        "it has output, grad_input, grad_weight, grad_bias"
    )


def test_an_output_that_is_right_loses_its_points_where_what_was_given_is_changed() -> None:
    changed = replace(GRADED, trials=(*GRADED.trials, trial(row("input after use", "changed"))), missing=())
    given = {mark.tensor: mark for mark in marks(changed, 3)}
    assert [(mark.tensor, mark.points) for mark in given.values()] == [
        ("output", 0),
        ("grad_input", 0),
        ("grad_weight", 1),
    ]
    assert given["output"].text == changed.headline()
    assert {mark.tensor: mark.text for mark in marks(changed, 3, hint_only=True)}["output"] == (
        "wrong: x, grad_input of linear (and 1 more mistake, below)"
    )
    both = replace(changed, trials=(*changed.trials, trial(row("input after use"), row("weight after use"))))
    assert marks(both, 3) == marks(changed, 3)


def test_what_gives_no_answer_has_no_points() -> None:
    raised = verdict([trial(row("output")), trial(row(RAISED, "raised"))], [finding(RAISED)])
    assert [(mark.tensor, mark.points) for mark in marks(raised, 4)] == [("output", 0)]
    only = verdict([trial(row(RAISED, "raised"))], [finding(RAISED)])
    assert [(mark.tensor, mark.of, mark.text) for mark in marks(only, 4)] == [("output", 4, only.headline())]
    assert [mark.points for mark in marks(only, {"grad_weight": 3, "output": 1})] == [0, 0]
    said = "not judged: it has no forward"
    assert marks(NEVER, 4) == [Mark("output", 0, 4, said, False, False)]
    assert marks(NEVER, {"grad_weight": 3}, hint_only=True) == [Mark("grad_weight", 0, 3, said, False, False)]
    uncovered = verdict([trial(row("output"))], problem="it has no forward", coverage=Coverage())
    assert marks(uncovered, 4) == [Mark("output", 0, 4, said, False, False)]
    answered = verdict([trial(row("output"), row(RAISED))])
    assert [(mark.tensor, mark.points) for mark in marks(answered, 4)] == [("output", 4)]


def test_what_too_little_of_was_compared_has_no_points_and_says_why() -> None:
    little = "too little of it could be compared: 50% of the kinds of input; missing: odd sides, stride"
    for hint_only in (False, True):
        assert marks(LITTLE, 6, hint_only=hint_only) == [
            Mark("output", 2, 2, "right on every input", True),
            Mark("grad_input", 0, 2, little, False, False),
            Mark("grad_bias", 0, 2, "not provided", False, True),
        ]
    enough = replace(LITTLE, coverage=covered("output", grad_input=0.75), problem="")
    assert [(mark.points, mark.judged) for mark in marks(enough, {"output": 1, "grad_input": 2})] == [
        (1, True),
        (2, True),
    ]
    below = replace(enough, coverage=covered("output", grad_input=0.7499, missed=("stride",)))
    assert [(mark.points, mark.judged) for mark in marks(below, {"output": 1, "grad_input": 2})] == [
        (1, True),
        (0, False),
    ]
    # What is wrong is wrong, however little of it was compared.
    wrong = replace(UNSEEN, coverage=covered("grad_input", output=0.5, missed=("stride",)))
    assert marks(wrong, {"output": 1}) == [Mark("output", 0, 1, "Made output wrong. Hint: See output.", False, True)]


def test_what_nothing_of_could_be_compared_has_no_points_beside_what_is_wrong() -> None:
    assert marks(UNSEEN, 6) == [
        Mark("output", 0, 2, "Made output wrong. Hint: See output.", False),
        Mark("grad_input", 2, 2, "right on every input", True),
        Mark(
            "grad_weight",
            0,
            2,
            "too little of it could be compared: 0% of the kinds of input; missing: batches",
            False,
            False,
        ),
    ]


def test_gradescope_takes_points_with_six_places() -> None:
    result = as_gradescope(replace(GRADED, missing=()), 100)
    assert result == {
        "score": 66.666667,
        "output": f"{GRADED.headline()}\ncoverage: {GRADED.coverage}\nit is slow\nit is odd",
        "tests": [
            {
                "name": f"linear: {tensor}",
                "score": score,
                "max_score": 33.333333,
                "status": "passed" if score else "failed",
                "output": text,
            }
            for tensor, score, text in (
                ("output", 33.333333, "right on every input"),
                ("grad_input", 0, "Made x wrong. Hint: See x."),
                ("grad_weight", 33.333333, "right on every input"),
            )
        ],
    }
    hidden = as_gradescope(GRADED, 4, hint_only=True)
    assert hidden["output"].startswith("wrong: x, grad_input of linear (and 1 more")
    assert hidden["tests"][1]["output"] == "See x."
    assert "Made" not in json.dumps(hidden)


def test_gradescope_says_what_was_compared_and_what_could_not_be_judged() -> None:
    never = as_gradescope(NEVER, 4)
    assert never == {
        "score": 0,
        "output": "not judged: it has no forward\ncoverage: nothing was compared\nit is slow",
        "tests": [
            {
                "name": "linear: output",
                "score": 0,
                "max_score": 4,
                "status": "failed",
                "output": "not judged: it has no forward",
            }
        ],
    }
    little = as_gradescope(LITTLE, 6)
    assert little["score"] == 2
    assert little["output"].splitlines() == [LITTLE.headline(), f"coverage: {LITTLE.coverage}"]
    assert [(test["status"], test["output"]) for test in little["tests"]] == [
        ("passed", "right on every input"),
        ("failed", "too little of it could be compared: 50% of the kinds of input; missing: odd sides, stride"),
        ("failed", "not provided"),
    ]
    right = as_gradescope(RIGHT, 6)
    assert right["score"] == 6
    assert right["output"] == f"{RIGHT.headline()}\ncoverage: {RIGHT.coverage}\nit is slow"
    other = as_gradescope(OTHER, 6)
    assert other["output"].startswith(
        "wrong for a batch (N, C); right for a batch of columns (C, N): if that is meant,"
    )
    assert other["score"] == 0


def test_a_wrong_tensor_that_is_worth_nothing_has_failed_all_the_same() -> None:
    result = as_gradescope(GRADED, {"grad_input": 0, "output": 0})
    assert [test["status"] for test in result["tests"]] == ["failed", "passed"]


def test_junit_as_it_is_written() -> None:
    assert as_junit(GRADED) == (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<testsuite name="gradtwin: mine.py:Dense like linear" tests="4" failures="1" errors="0" skipped="1">\n'
        '  <testcase classname="mine.py:Dense" name="output" />\n'
        '  <testcase classname="mine.py:Dense" name="grad_input">\n'
        f'    <failure message="{GRADED.headline()}">Made x wrong. Hint: See x.</failure>\n'
        "  </testcase>\n"
        '  <testcase classname="mine.py:Dense" name="grad_weight" />\n'
        '  <testcase classname="mine.py:Dense" name="grad_bias">\n'
        '    <skipped message="not provided" />\n'
        "  </testcase>\n"
        "</testsuite>\n"
    )
    assert "Made" not in as_junit(GRADED, hint_only=True)
    assert ">See x.</failure>" in as_junit(GRADED, hint_only=True)


def junit(diagnosis: Diagnosis) -> tuple[dict[str, str], list[tuple[str, str, str, str]]]:
    """The counts of a suite; and of every test case that has not passed: name, what it is, message and text."""
    tree = ET.fromstring(as_junit(diagnosis))
    counts = {name: tree.attrib[name] for name in ("tests", "failures", "errors", "skipped")}
    told = [
        (case.attrib["name"], inner.tag, inner.get("message", ""), inner.text or "") for case in tree for inner in case
    ]
    return counts, told


def test_junit_has_a_failure_for_what_is_wrong_and_an_error_for_what_is_not_judged() -> None:
    assert junit(RIGHT) == ({"tests": "2", "failures": "0", "errors": "0", "skipped": "0"}, [])
    said = "not judged: it has no forward"
    assert junit(NEVER) == (
        {"tests": "1", "failures": "0", "errors": "1", "skipped": "0"},
        [("output", "error", said, said)],
    )
    assert junit(LITTLE) == (
        {"tests": "3", "failures": "0", "errors": "2", "skipped": "0"},
        [
            (
                "grad_input",
                "error",
                LITTLE.headline(),
                "too little of it could be compared: 50% of the kinds of input; missing: odd sides, stride",
            ),
            ("grad_bias", "error", LITTLE.headline(), "not provided"),
        ],
    )
    # Of code that is judged, what is not provided is no error.
    judged = replace(LITTLE, problem="", coverage=covered("output", "grad_input"))
    assert junit(judged) == (
        {"tests": "3", "failures": "0", "errors": "0", "skipped": "1"},
        [("grad_bias", "skipped", "not provided", "")],
    )
    assert junit(UNSEEN) == (
        {"tests": "3", "failures": "1", "errors": "1", "skipped": "0"},
        [
            ("output", "failure", UNSEEN.headline(), "Made output wrong. Hint: See output."),
            (
                "grad_weight",
                "error",
                UNSEEN.headline(),
                "too little of it could be compared: 0% of the kinds of input; missing: batches",
            ),
        ],
    )
    counts, told = junit(OTHER)
    assert counts == {"tests": "2", "failures": "2", "errors": "0", "skipped": "0"}
    assert {(tag, message) for _, tag, message, _ in told} == {("failure", OTHER.headline())}


def test_junit_replaces_what_xml_cannot_hold() -> None:
    odd = "a\x00\x1fb \t\n\r<&> \x7f é \ud7ff\ud800\udfff\ue000 \ufffd\ufffe\uffff \U0001f600"
    tree = ET.fromstring(as_junit(replace(GRADED, candidate=odd, findings=(replace(GRADED.findings[0], made=odd),))))
    shown = odd.translate(dict.fromkeys(map(ord, "\x00\x1f\ud800\udfff\ufffe\uffff"), "?"))
    assert tree.get("name") == f"gradtwin: {shown} like linear"
    assert tree[0].get("classname") == shown
    failure = tree[1].find("failure")
    assert failure is not None
    assert failure.text == f"{shown} Hint: See x.".replace("\r", "\n")
    assert str(failure.get("message")).startswith("wrong: x, grad_input of linear: a??b ")


# The formats and their options


def screen(width: int = 120) -> tuple[io.StringIO, Console]:
    text = io.StringIO()
    return text, Console(file=text, width=width, color_system=None)


def formatted(diagnosis: Diagnosis, name: str, **how: Any) -> str:
    text, console = screen()
    result = render(diagnosis, name, console, **how)
    assert text.getvalue() == ""
    return result


@pytest.mark.parametrize("hint_only", [False, True])
@pytest.mark.parametrize("one", [RIGHT, ONE, OTHER, NEVER, LITTLE, UNSEEN])
def test_each_format_is_what_its_own_function_makes(one: Diagnosis, hint_only: bool) -> None:
    assert FORMATS == ("text", "json", "html", "junit", "gradescope")
    values = one.as_json(hint_only=hint_only)
    assert formatted(one, "json", hint_only=hint_only) == json.dumps(values, indent=2) + "\n"
    assert formatted(one, "html", hint_only=hint_only) == as_html(one, hint_only=hint_only)
    assert formatted(one, "junit", hint_only=hint_only) == as_junit(one, hint_only=hint_only)
    graded = as_gradescope(one, 100, hint_only=hint_only)
    assert formatted(one, "gradescope", hint_only=hint_only) == json.dumps(graded, indent=2) + "\n"
    text = formatted(one, "text", hint_only=hint_only, to_file=True)
    assert [line.rstrip() for line in text.splitlines()] == printed(one, hint_only=hint_only)


def test_json_has_the_outcome_what_it_rests_on_and_the_other_readings() -> None:
    for one, ok, outcome in (
        (RIGHT, True, "right"),
        (ONE, False, "wrong"),
        (OTHER, False, "wrong"),
        (NEVER, False, "not_judged"),
        (LITTLE, False, "not_judged"),
    ):
        result = json.loads(formatted(one, "json"))
        assert (result["ok"], result["outcome"], result["headline"]) == (ok, outcome, one.headline())
        assert result["coverage"] == one.coverage.as_json()
        assert [a["right_for"] for a in result["alternatives"]] == [a.words for a in one.alternatives]
    assert json.loads(formatted(OTHER, "json"))["alternatives"] == [
        {"right_for": "a batch of columns (C, N)", "flags": "--layout CN", "against": False},
        {"right_for": "one image (C,)", "flags": "", "against": True},  # no flag to be tried: the code says otherwise
    ]
    little = json.loads(formatted(LITTLE, "json", points="output=1,grad_input=2"))
    assert little["coverage"] == {
        "inputs": 2,
        "layout": "a batch (N, C)",
        "share": 0.5,
        "tensors": {"output": 1, "grad_input": 0.5},
        "missed": ["odd sides", "stride"],
        "not_compared": ["eps (not tried)"],
    }
    assert little["points"] == [
        {"tensor": "output", "points": 1, "of": 1},
        {"tensor": "grad_input", "points": 0, "of": 2},
    ]


def test_every_format_shows_everything_where_nothing_is_hidden() -> None:
    for name in ("json", "html", "junit", "gradescope"):
        assert "Made output wrong." in formatted(ONE, name)
    assert "Made output wrong." in formatted(ONE, "text", to_file=True)
    assert "Made output wrong." in as_html(ONE)
    assert "Made output wrong." in as_junit(ONE)
    assert "Made output wrong." in as_gradescope(ONE, 1)["output"]
    assert "Made output wrong." in marks(ONE, 1)[0].text
    text, console = screen()
    show(ONE, console)
    assert "Made output wrong." in text.getvalue()


def test_text_goes_to_the_screen_unless_it_goes_to_a_file() -> None:
    text, console = screen()
    assert render(ONE, "text", console) == ""
    assert [line.rstrip() for line in text.getvalue().splitlines()] == printed(ONE)


def test_a_file_is_120_wide_and_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    long = verdict([trial(row("output", "off", "5x4 normal " * 20))], [finding("output")])
    lines = formatted(long, "text", to_file=True, points="8").splitlines()
    assert max(map(len, lines)) == 120
    assert lines[0] == "wrong: output of linear: Made output wrong."
    assert "\x1b" not in "".join(lines)


def test_points_are_told_on_one_line_after_the_table() -> None:
    text, console = screen(30)
    render(GRADED, "text", console, points="10")
    assert text.getvalue().splitlines()[-1] == (
        "points: 5 of 10 (output 2.5/2.5, grad_input 0/2.5, grad_weight 2.5/2.5, grad_bias 0/2.5)"
    )
    assert "points:" not in formatted(GRADED, "text", to_file=True)
    text, console = screen()
    render(GRADED, "text", console, points="output=1,grad_bias=0.5")
    assert text.getvalue().splitlines()[-1] == "points: 1 of 1.5 (output 1/1, grad_bias 0/0.5)"


def test_points_go_into_json_and_gradescope() -> None:
    result = json.loads(formatted(GRADED, "json", points="output=1,grad_input=2"))
    assert result["points"] == [
        {"tensor": "output", "points": 1, "of": 1},
        {"tensor": "grad_input", "points": 0, "of": 2},
    ]
    assert "points" not in json.loads(formatted(GRADED, "json"))
    assert json.loads(formatted(GRADED, "gradescope", points="8"))["score"] == 4
    with pytest.raises(UserError, match="--points 'x' must be a number"):
        formatted(GRADED, "html", points="x")


def test_json_that_is_none_is_never_written() -> None:
    class Odd:
        def as_json(self, *, hint_only: bool) -> dict[str, float]:
            return {"hint": hint_only, "x": float("nan")}

    with pytest.raises(ValueError, match="JSON"):
        render(cast("Diagnosis", Odd()), "json", screen()[1])


def test_an_unknown_format_is_refused() -> None:
    for name in FORMATS:
        check_format(name)
    with pytest.raises(
        UserError, match=r"^--format 'pdf' is unknown; choose one of text, json, html, junit, gradescope$"
    ):
        check_format("pdf")


def test_pairs_are_split_at_their_last_equals_sign() -> None:
    assert parse_map(None, "--param") == {}
    assert parse_map([], "--param") == {}
    assert parse_map(["w=weight", "p['a=b']=bias"], "--param") == {"w": "weight", "p['a=b']": "bias"}
    for pair in ("", "w", "w=", "=weight", "="):
        with pytest.raises(UserError) as refused:
            parse_map(["a=b", pair], "--grad")
        assert str(refused.value) == f"--grad {pair!r} must be OWN=NAME, --grad filters=weight for instance"


def test_a_shape_is_whole_numbers_from_1() -> None:
    assert parse_shape("") is None
    assert parse_shape("1") == (1,)
    assert parse_shape("3, 28,1") == (3, 28, 1)
    for text in ("0", "5,0", "-1,2", "a", "1.5", "1,,2", "1x2", ","):
        with pytest.raises(UserError) as refused:
            parse_shape(text)
        assert str(refused.value) == f"--input-shape {text!r} must be whole numbers such as 1,28,28"
