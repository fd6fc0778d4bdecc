"""What a verdict rests on: kinds of configuration, shares of them for each tensor, what is refused, and the line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from compare.diagnosis.coverage import ENOUGH, Coverage, Refusal, coverage, kinds_of
from compare.diagnosis.trial import Trial
from compare.driving.tensors import Call
from compare.pairs.probe import Probe
from compare.pairs.report import Row, nothing_compared

DEFAULTS: dict[str, Any] = {"stride": 1, "padding": 0, "bias": True, "mode": "zeros", "betas": (0.9, 0.999)}


def probe_of(*shape: int, **options: Any) -> Probe:
    """A probe with an input of this shape."""
    return Probe(str(shape), "float64", options, {}, (Call((np.zeros(shape),), np.zeros(())),))


# ---- kinds


@pytest.mark.parametrize(
    ("shape", "kinds"),
    [
        ((1,), set()),
        ((5,), {"batches"}),
        ((1, 7), set()),
        ((5, 7), {"batches"}),
        ((1, 1, 4, 4), {"even sides", "square images"}),
        ((2, 3, 4, 6), {"batches", "several channels", "even sides", "sides of two lengths"}),
        ((1, 1, 4, 5), {"odd sides", "sides of two lengths"}),
        ((1, 1, 5, 4), {"odd sides", "sides of two lengths"}),
        ((2, 1, 5, 5), {"batches", "odd sides", "square images"}),
        ((2, 3, 4), {"batches"}),
        ((2, 3, 4, 4, 4), {"batches"}),
        ((), set()),
    ],
)
def test_the_kinds_of_an_input_are_seen_in_its_shape(shape: tuple[int, ...], kinds: set[str]) -> None:
    assert kinds_of(probe_of(*shape), {}) == kinds


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({"stride": 1, "padding": 0, "bias": True, "mode": "zeros"}, set()),
        ({"stride": 2}, {"stride"}),
        ({"stride": 3, "padding": 1}, {"stride", "padding"}),
        ({"stride": (1, 1)}, set()),  # the default, given as a pair
        ({"stride": (2, 2)}, {"stride"}),
        ({"stride": (1, 2)}, {"stride", "stride of two numbers"}),
        ({"bias": False}, {"bias=False"}),  # a word or a truth is a kind for each of its values
        ({"mode": "circular"}, {"mode=circular"}),
        ({"betas": (0.9, 0.999)}, set()),
        ({"betas": (0.5, 0.75)}, {"betas"}),  # no sizes
        # What has no default is always said: only two numbers are a kind of it.
        ({"kernel_size": 3, "in_channels": 4}, set()),
        ({"kernel_size": (3, 3)}, set()),
        ({"kernel_size": (3, 2)}, {"kernel_size of two numbers"}),
    ],
)
def test_the_kinds_of_options_are_those_that_are_not_at_their_defaults(
    options: dict[str, Any], kinds: set[str]
) -> None:
    assert kinds_of(Probe("", "float64", options, {}), DEFAULTS) == kinds
    assert kinds_of(probe_of(2, 3, **options), DEFAULTS) == kinds | {"batches"}


def test_the_first_input_of_the_first_call_counts() -> None:
    calls = tuple(Call((np.zeros((n, 2)), np.zeros(n)), np.zeros(())) for n in (1, 5))
    assert kinds_of(Probe("", "float64", {}, {}, calls), {}) == set()


# ---- shares


def row(tensor: str, *, unjudged: bool = False, problem: str = "") -> Row:
    return Row("pair", "case", tensor, "float64", (1,), 0.0, 0.0, 1.0, 0.0, (0,), problem, unjudged)


def tried(
    probe: Probe,
    *compared: str,
    unjudged: Sequence[str] = (),
    missing: Sequence[str] = (),
    problem: str = "",
    expected: Sequence[str] = (),
) -> Trial:
    """A trial in which these tensors were compared; with a problem there is no answer."""
    names = (*compared, *unjudged, *expected)
    return Trial(
        probe,
        None if problem else {},
        {name: np.zeros(1) for name in names},
        {},
        (nothing_compared("pair", "case", "float64", problem),) if problem else tuple(map(row, compared)),
        problem,
        tuple(missing),
        unjudged=tuple(row(name, unjudged=True) for name in unjudged),
    )


# Two kinds: batches; stride. And both.
BATCH, STRIDED, BOTH = probe_of(2, 3), probe_of(1, 3, stride=2), probe_of(2, 3, stride=2)


def test_what_is_compared_everywhere_is_covered_in_full() -> None:
    found = coverage([tried(p, "output", "grad_input") for p in (BATCH, STRIDED)], (), DEFAULTS)
    assert found == Coverage(2, "", {"output": 1.0, "grad_input": 1.0}, (), ())
    assert (found.share, found.enough) == (1.0, True)


def test_the_share_of_each_tensor_is_its_own_and_the_least_counts() -> None:
    trials = [
        tried(BATCH, "output", missing=["grad_weight"]),
        tried(STRIDED, "output", "grad_weight"),
    ]
    found = coverage(trials, (), DEFAULTS)
    assert found.shares == {"output": 1.0, "grad_weight": 0.5}
    assert (found.share, found.enough, found.missed) == (0.5, False, ("batches",))


def test_a_tensor_is_not_asked_for_where_the_reference_has_none() -> None:
    found = coverage([tried(BATCH, "output", "grad_bias"), tried(STRIDED, "output")], (), DEFAULTS)
    assert found.shares == {"output": 1.0, "grad_bias": 1.0}
    assert found.missed == ()


def test_a_tensor_that_is_never_there_is_a_gap_and_no_share() -> None:
    trials = [tried(p, "output", missing=["grad_input"]) for p in (BATCH, STRIDED)]
    found = coverage(trials, (), DEFAULTS, gaps=["backward (not provided)"])
    assert (found.shares, found.missed, found.gaps) == ({"output": 1.0}, (), ("backward (not provided)",))
    assert found.enough


def test_what_gives_no_answer_was_not_compared_there() -> None:
    found = coverage(
        [tried(BATCH, "output"), tried(STRIDED, problem="raised IndexError: 3", expected=["output", "grad_input"])],
        (),
        DEFAULTS,
    )
    assert (found.inputs, found.shares, found.missed) == (1, {"output": 0.5}, ("stride",))
    nothing = coverage([tried(BATCH, problem="raised IndexError: 3", expected=["output"])], (), DEFAULTS)
    assert (nothing.inputs, nothing.shares, nothing.share) == (0, {}, 0.0)
    assert not nothing.enough


def test_what_could_not_be_judged_was_not_compared() -> None:
    found = coverage([tried(BATCH, "output"), tried(BOTH, "grad_input", unjudged=["output"])], (), DEFAULTS)
    assert found.shares == {"output": 0.5, "grad_input": 1.0}
    assert found.missed == ("stride",)
    never = coverage([tried(BATCH, "grad_input", unjudged=["output"])], (), DEFAULTS)
    assert never.shares == {"output": 0.0, "grad_input": 1.0}
    assert not never.enough


def test_a_wrong_tensor_was_compared() -> None:
    trial = Trial(BATCH, {}, {"output": np.zeros(1)}, {}, (row("output", problem="3 instead of 4"),))
    assert coverage([trial], (), DEFAULTS).shares == {"output": 1.0}


def test_tensors_count_once_for_all_calls_in_reading_order_but_for_weights_after_use() -> None:
    names = ["weight after use", "grad_bias", "grad_input of call 2", "output of call 1", "output of call 2"]
    found = coverage([tried(BATCH, *names)], (), DEFAULTS)
    assert list(found.shares.items()) == [("output", 1.0), ("grad_input", 1.0), ("grad_bias", 1.0)]


def test_of_probes_without_any_kind_one_is_enough() -> None:
    plain = probe_of(1, 3)
    found = coverage([tried(plain, "output", "grad_input"), tried(plain, "output")], (), DEFAULTS)
    assert found.shares == {"output": 1.0, "grad_input": 1.0}
    assert coverage([tried(plain, "grad_input", unjudged=["output"])], (), DEFAULTS).shares["output"] == 0.0


# ---- what is refused


def test_what_the_code_refuses_itself_lowers_the_share() -> None:
    refusal = Refusal(BOTH, "raised ValueError: odd", (), ("output", "grad_input of call 1", "grad_bias"))
    found = coverage([tried(BATCH, "output", "grad_input")], [refusal], DEFAULTS)
    assert found.shares == {"output": 0.5, "grad_input": 0.5}
    assert (found.inputs, found.missed, found.gaps) == (1, ("stride",), ())


def test_a_refusal_that_is_covered_by_other_inputs_lowers_nothing() -> None:
    refusal = Refusal(BOTH, "raised ValueError: odd", (), ("output",))
    found = coverage([tried(BATCH, "output"), tried(STRIDED, "output")], [refusal], DEFAULTS)
    assert (found.shares, found.missed) == ({"output": 1.0}, ())


def test_an_option_that_the_constructor_lacks_lowers_nothing_and_is_said() -> None:
    refusal = Refusal(BOTH, "stride=2", ("stride",), ("output",))
    found = coverage([tried(BATCH, "output")], [refusal], DEFAULTS, gaps=["dilation (not tried)"])
    assert (found.shares, found.missed) == ({"output": 1.0}, ())
    assert found.gaps == ("stride (it has no such argument)", "dilation (not tried)")


def test_what_else_a_probe_is_counts_also_where_an_option_is_lacking() -> None:
    """A refused batch with a stride leaves out batches too, unless another input is one."""
    refusal = Refusal(BOTH, "stride=2", ("stride",), ("output",))
    found = coverage([tried(probe_of(1, 3, padding=1), "output")], [refusal], DEFAULTS)
    assert (found.shares, found.missed) == ({"output": 0.5}, ("batches",))


def test_an_option_that_is_lacking_in_one_refusal_is_lacking_in_all() -> None:
    both = probe_of(2, 3, stride=2, padding=1)
    refusals = [
        Refusal(STRIDED, "stride=2", ("stride",), ("output",)),
        Refusal(both, "raised ValueError: pad", (), ("output",)),
    ]
    found = coverage([tried(BATCH, "output")], refusals, DEFAULTS)
    assert (found.shares, found.missed) == ({"output": 0.5}, ("padding",))


def test_several_lacking_options_are_said_in_one_go_with_their_kinds() -> None:
    tall = probe_of(1, 3, stride=(2, 1), bias=False)
    refusals = [
        Refusal(tall, "bias=False, stride=(2, 1)", ("stride", "bias"), ("output",)),
        Refusal(STRIDED, "stride=2", ("stride",), ("output",)),
    ]
    found = coverage([tried(BATCH, "output")], refusals, DEFAULTS)
    assert found.gaps == ("bias=False, stride, stride of two numbers (it has no such argument)",)
    assert (found.shares, found.missed) == ({"output": 1.0}, ())


def test_what_takes_no_two_numbers_may_take_one() -> None:
    """Then that counts: it is no excuse for what the code refuses itself."""
    tall = probe_of(1, 3, kernel_size=(2, 3), stride=(2, 1), padding=(0, 1))
    two = Refusal(tall, "two sizes", ("kernel_size", "stride", "padding"), ("output",))
    own = Refusal(probe_of(1, 3, padding=1), "raised ValueError: no padding", (), ("output",))
    found = coverage([tried(BATCH, "output"), tried(STRIDED, "output")], [two, own], DEFAULTS)
    assert found.missed == ("padding",)
    assert found.shares == {"output": 2 / 3}
    assert found.gaps == (
        "kernel_size of two numbers, padding of two numbers, stride of two numbers (it has no such argument)",
    )


def test_what_was_compared_after_all_is_not_called_lacking() -> None:
    two = probe_of(1, 3, stride=(2, 1))
    refusals = [Refusal(two, "two sizes", ("stride",), ("output",))]
    found = coverage([tried(STRIDED, "output")], refusals, DEFAULTS)
    assert found.gaps == ("stride of two numbers (it has no such argument)",)
    assert found.shares == {"output": 1.0}


def test_refusals_alone_cover_nothing() -> None:
    found = coverage([], [Refusal(BATCH, "no", (), ("output",))], DEFAULTS, layout="a batch (N, C)")
    assert found == Coverage(0, "a batch (N, C)", {}, (), ())
    assert not found.enough


def test_what_is_missed_is_said_once_the_first_tensor_first() -> None:
    trials = [
        tried(probe_of(1, 3, padding=1), "output", "grad_input"),
        tried(probe_of(2, 3, stride=2, padding=1), "output", missing=["grad_input"]),
    ]
    refusal = Refusal(probe_of(1, 3, mode="circular"), "no", (), ("output", "grad_input"))
    found = coverage(trials, [refusal], DEFAULTS)
    assert found.missed == ("mode=circular", "batches", "stride")
    assert found.shares == {"output": 0.75, "grad_input": 0.25}


# ---- enough


@pytest.mark.parametrize(
    ("shares", "share", "enough"),
    [
        ({}, 0.0, False),
        ({"output": 1.0}, 1.0, True),
        ({"output": 0.75}, 0.75, True),
        ({"output": 0.7499}, 0.7499, False),
        ({"output": 1.0, "grad_input": 0.75}, 0.75, True),
        ({"output": 1.0, "grad_input": 0.6, "grad_weight": 0.9}, 0.6, False),
    ],
)
def test_enough_is_three_quarters_of_the_kinds_for_every_tensor(
    shares: dict[str, float], share: float, enough: bool
) -> None:
    found = Coverage(3, shares=shares)
    assert (found.share, found.enough) == (share, enough)
    assert ENOUGH == 0.75


# ---- in words

FULL = Coverage(1234, "a batch (N, C)", {"output": 1.0, "grad_input": 2 / 3}, ("batches", "stride"), ("bias (none)",))


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (Coverage(), "nothing was compared"),
        (Coverage(0, "a batch (N, C)", gaps=("backward",)), "nothing was compared"),
        (Coverage(1, shares={"output": 1.0}), "output, on 1 input"),
        (Coverage(2, shares={"weight": 1.0, "bias": 1.0}), "weight, bias, on 2 inputs"),
        (Coverage(2, "one image (C, H, W)", {"output": 1.0}), "output of one image (C, H, W), on 2 inputs"),
        (
            FULL,
            "output, grad_input of a batch (N, C), on 1,234 inputs, 67% of the kinds of input; "
            "not compared: batches; stride; bias (none)",
        ),
        (Coverage(2, shares={"output": 1.0}, gaps=("backward",)), "output, on 2 inputs; not compared: backward"),
    ],
)
def test_a_line_says_what_was_compared_and_what_not(found: Coverage, line: str) -> None:
    assert str(found) == line


def test_as_plain_values() -> None:
    assert FULL.as_json() == {
        "inputs": 1234,
        "layout": "a batch (N, C)",
        "share": 0.6667,
        "tensors": {"output": 1.0, "grad_input": 0.6667},
        "missed": ["batches", "stride"],
        "not_compared": ["bias (none)"],
    }
    assert Coverage().as_json()["share"] == 0.0


def test_an_option_that_the_code_takes_and_no_probe_sets_counts_as_a_kind_that_is_missing() -> None:
    found = coverage([tried(BATCH, "output")], [], DEFAULTS, untried=["dilation"])
    assert (found.shares, found.missed) == ({"output": 0.5}, ("dilation",))
