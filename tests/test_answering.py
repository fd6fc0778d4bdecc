"""One request to somebody's code: a value, or one line that says what went wrong, and what else the code did."""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compare
import scratch
from compare.driving.answering import (
    Outcome,
    _cut,
    _in_one_line,
    _is_theirs,
    _own_raise,
    answer,
    random_state_kept,
)
from compare.driving.noticing import Noticed

FUNCTIONS = {"some": 1}


def divided(by: int) -> float:
    return 1 / by


def answered(function: Callable[..., Any], *arguments: Any) -> Outcome:
    with random_state_kept():
        return answer(function, arguments)


def test_what_a_request_ends_in_unless_it_is_said() -> None:
    assert Outcome() == Outcome(None, "", "", False, False, (), False)


@pytest.mark.parametrize(
    ("function", "error", "problem", "fatal"),
    [
        (lambda: divided(0), "ZeroDivisionError", "raised ZeroDivisionError: division by zero", False),
        (lambda: np.empty(2**60, np.uint8), "MemoryError", "asked for more memory than the limit allows", True),
        (lambda: sys.exit(3), "SystemExit", "called sys.exit", False),
        (lambda: raises(KeyboardInterrupt()), "KeyboardInterrupt", "raised KeyboardInterrupt:", False),
        (lambda: raises(GeneratorExit("gone")), "GeneratorExit", "raised GeneratorExit: gone", False),
    ],
)
def test_each_end_has_its_name(function: Callable[[], Any], error: str, problem: str, fatal: bool) -> None:
    outcome = answered(function)
    assert (outcome.value, outcome.error, outcome.fatal, outcome.refused) == (None, error, fatal, False)
    assert outcome.problem.partition(" (test_answering.py")[0].rstrip() == problem


def raises(error: BaseException) -> None:
    raise error


def test_the_random_state_is_put_back_after_an_error_too() -> None:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = random.random(), np.random.random()  # noqa: NPY002
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    with suppress(KeyError), random_state_kept():
        random.seed(2)
        np.random.seed(2)  # noqa: NPY002
        raise KeyError
    assert (random.random(), np.random.random()) == expected  # noqa: NPY002


def test_a_state_that_is_seeded_in_every_call_is_changed_in_every_call() -> None:
    for seed in (np.random.seed, random.seed):
        for _ in range(2):
            with random_state_kept():
                first, second = answer(seed, (0,)), answer(seed, (0,))
            assert first.notes == second.notes == ("it changes the global random state",)
    assert answered(divided, 2).notes == ()


def test_each_part_of_the_random_state_counts() -> None:
    def turned() -> None:
        state: Any = np.random.get_state()  # noqa: NPY002
        np.random.set_state((state[0], np.roll(state[1], 1), *state[2:]))  # noqa: NPY002

    assert answered(turned).notes == ("it changes the global random state",)
    assert answered(np.random.standard_normal).notes == ("it changes the global random state",)


def test_every_warning_is_noted_once_and_in_order() -> None:
    def warning() -> None:
        warnings.warn("z" * 81, UserWarning, stacklevel=1)
        for _ in range(2):
            warnings.warn("old\nstyle", DeprecationWarning, stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert answered(warning).notes == (
            "it warns: DeprecationWarning: old style",
            f"it warns: UserWarning: {'z' * 77}...",
        )


@pytest.fixture(scope="module")
def noticed() -> Noticed:
    """One for all tests: the hook by which it hears of what is done stays as long as the process."""
    return Noticed()


def test_all_that_happened_is_noted_together(noticed: Noticed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def everything() -> None:
        print("said")
        random.random()
        warnings.warn("careful", UserWarning, stacklevel=1)
        raise KeyError("no")

    with (
        open(tmp_path / "printed", "w+") as file,
        redirect_stdout(file),
        random_state_kept(),
    ):
        monkeypatch.setattr(noticed, "_printed", file.fileno())
        outcome = answer(everything, (), noticed)
    assert outcome.notes == (
        "it prints (1 line): 'said'",
        "it changes the global random state",
        "it warns: UserWarning: careful",
    )
    assert (outcome.error, outcome.refused, outcome.fatal) == ("KeyError", False, False)


def raised_by(function: Callable[[], Any]) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("it raises nothing")


def refuses() -> None:
    raise ValueError("not this")


def refuses_deep_inside() -> None:
    refuses()


def asserts() -> None:
    assert not FUNCTIONS, "empty"


def asserts_in_one_line() -> None:
    if FUNCTIONS: assert not FUNCTIONS  # noqa: E701  # fmt: skip


def is_not_written() -> None:
    raise NotImplementedError


def has_a_type_of_its_own() -> None:
    raise TypeError("no lists")


def looks_up() -> None:
    raise KeyError("nothing")


def computes() -> None:
    int("raise")


def lets_numpy_raise() -> None:
    np.split(np.arange(3), 2)


def in_backward() -> None:
    error: Any = ValueError("too late")
    error.in_backward = True
    raise error


def without_source() -> None:
    exec(compile("raise ValueError", "<typed>", "exec"))


@pytest.mark.parametrize(
    ("function", "refused"),
    [
        (refuses, True),
        (refuses_deep_inside, True),
        (asserts, True),
        (asserts_in_one_line, True),
        (is_not_written, True),
        (has_a_type_of_its_own, True),
        (looks_up, False),
        (computes, False),
        (lets_numpy_raise, False),
        (in_backward, False),
        (without_source, False),
    ],
)
def test_a_refusal_is_a_raise_of_its_own(function: Callable[[], None], refused: bool) -> None:
    assert _own_raise(raised_by(function)) is refused
    assert answered(function).refused is refused


@pytest.mark.parametrize(("function", "late"), [(in_backward, True), (refuses, False), (looks_up, False)])
def test_an_error_says_whether_it_was_in_backward(function: Callable[[], None], late: bool) -> None:
    outcome = answered(function)
    assert (outcome.value, outcome.in_backward, outcome.fatal) == (None, late, False)


def test_whatever_else_an_error_says_of_itself_is_not_passed_on() -> None:
    def raises() -> None:
        error: Any = ValueError("no")
        error.in_backward = "a lot of text"
        raise error

    assert answered(raises).in_backward is False


def test_what_is_answered_was_not_ended_in_backward() -> None:
    assert answered(lambda: 3) == Outcome(3)
    assert Outcome(3).in_backward is False


def test_what_was_never_raised_is_no_refusal() -> None:
    assert _own_raise(ValueError("made, not raised")) is False


def test_an_error_is_one_line_with_the_last_place_in_their_code() -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def breaks() -> None:
        raise BrokenError

    def line(function: Callable[[], None]) -> int:
        return function.__code__.co_firstlineno + 1

    deep = _in_one_line(raised_by(refuses_deep_inside))
    assert deep == f"raised ValueError: not this (test_answering.py, line {line(refuses)})"
    numpys = _in_one_line(raised_by(lets_numpy_raise))
    assert numpys.endswith(f" (test_answering.py, line {line(lets_numpy_raise)})")
    broken = _in_one_line(raised_by(breaks))
    assert broken == f"raised BrokenError: (its message cannot be shown) (test_answering.py, line {line(breaks)})"
    assert _in_one_line(ValueError(f"{os.getcwd()}/layer.py")) == "raised ValueError: layer.py"
    assert _in_one_line(ValueError("a\n  b")) == "raised ValueError: a b"
    assert _in_one_line(ValueError("x" * 301)) == f"raised ValueError: {'x' * 297}..."
    assert _in_one_line(SystemExit(3)) == "called sys.exit"


@pytest.mark.parametrize(
    ("path", "theirs"),
    [
        ("/mine/layer.py", True),
        ("layer.py", True),
        ("<stdin>", True),
        (__file__, True),
        (scratch.__file__, False),
        (compare.__file__, False),
        (os.path.dirname(scratch.__file__) + "_of_mine/layer.py", True),
        (os.__file__, False),
        (np.__file__, False),
        ("/mine/site-packages/other/code.py", False),
        ("/mine/dist-packages/other/code.py", False),
        ("/mine/site-packages-of-mine/code.py", True),
        ("<frozen importlib._bootstrap>", False),
    ],
)
def test_which_files_are_theirs(path: str, theirs: bool) -> None:
    assert _is_theirs(path) is theirs


def test_a_long_text_is_cut_to_its_length() -> None:
    assert _cut("a b\n\tc", 5) == "a b c"
    assert _cut("abcdefghij", 10) == "abcdefghij"
    assert _cut("abcdefghijk", 10) == "abcdefg..."
