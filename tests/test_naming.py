"""How a mistake gets its name: what a replay explains, which mistakes are chosen, and what is said where none fits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from torch import nn

import scratch
from compare.diagnosis.examine import own_answer
from compare.diagnosis.explaining import replay
from compare.diagnosis.explaining.replay import (
    RAISED,
    Finding,
    _choose,
    _choose_two,
    _described,
    _finding,
    _held_against,
    _identical,
    _inputs,
    _ours_is_right,
    _rate,
    _replay,
    _replay_all,
    _Replayed,
    _run,
    _same,
    _together,
    _within,
    name_mistakes,
    planted,
)
from compare.diagnosis.likeness import Likeness, likeness
from compare.diagnosis.trial import Trial, in_order, try_probe
from compare.driving.calling import RATE
from compare.driving.tensors import Call, Tensors
from compare.faults.catalogue import faults_of, find_fault
from compare.faults.fault import Fault, plant
from compare.pairs.models import TrainingStep
from compare.pairs.pair import Pair
from compare.pairs.probe import Probe
from compare.pairs.registry import MODELS, REGISTRY
from compare.pairs.report import Row
from scratch import Array

pytestmark = pytest.mark.timeout(60)  # a choice that is never content would go on for ever


def fault(name: str) -> Fault:
    return Fault(name, "relu", "scratch.activation.ReLU", f"It does {name}.", f"Is it {name}?", "", ())


def replayed(
    name: str,
    affected: Iterable[str] = (),
    matched: Iterable[str] | None = None,
    tensors: Sequence[Tensors | str] = (),
    *,
    part: str = "",
    same_words: bool = False,
) -> _Replayed:
    """A replay by hand; by default the candidate has all that it changes."""
    affected = set(affected)
    return _Replayed(
        part, fault(name), list(tensors), affected, affected if matched is None else set(matched), same_words
    )


def trial(got: Tensors | None, right: Tensors, *, case: str = "case", dtype: str = "float64", **more: Any) -> Trial:
    """A trial by hand: what differs from the right one is wrong."""
    probe = Probe(case, dtype, {}, more.pop("state", {}), more.pop("calls", ()))
    rows = [
        Row("pair", case, name, dtype, (), 0.0, 0.0, 0.0, 0.0, None, problem)
        for name in (right if got is not None else [RAISED])
        for problem in ["" if got is not None and np.array_equal(got.get(name, ()), right[name]) else "wrong"]
    ]
    bounds = {name: np.zeros_like(array) for name, array in right.items()}
    return Trial(probe, got, right, bounds, tuple(rows), **more)


@cache
def drawn(pair: Pair) -> list[Probe]:
    """The same probes for every test: what is right, and within which bounds, is worked out once."""
    return list(pair.probes("float64"))


def tried(like: Likeness, make: Any, *, count: int | None = None) -> list[Trial]:
    """What a mistaken class of ours gives on the first probes."""
    answer = own_answer(like, make)
    return [try_probe(like.pair, probe, answer, lenient=False) for probe in drawn(like.pair)[:count]]


def changed(before: Trial, **arrays: Array) -> Trial:
    """The trial with other tensors in what the candidate gave."""
    assert before.got is not None
    got = before.got | arrays
    rows = tuple(
        replace(row, problem="" if np.array_equal(arrays[row.tensor], before.expected[row.tensor]) else "wrong")
        if row.tensor in arrays
        else row
        for row in before.rows
    )
    return replace(before, got=got, rows=rows)


@pytest.fixture(scope="module")
def relu() -> Likeness:
    return likeness("relu")


@pytest.fixture(scope="module")
def linear() -> Likeness:
    return likeness("linear")


@pytest.fixture(scope="module")
def two() -> Likeness:
    """A dense layer "0" with its ReLU "1"."""
    return likeness(nn.Sequential(nn.Linear(4, 3), nn.ReLU()))


LINEAR, RELU = ("0", "linear-grad-weight-divided-by-batch"), ("1", "relu-no-mask")


def both_planted(two: Likeness, *faults: tuple[str, str]) -> Any:
    assert two.build is not None
    return two.build({part: planted(find_fault(name)) for part, name in faults})


# What a replay explains


@pytest.mark.parametrize(
    ("affected", "matched", "same_words", "present", "explained"),
    [
        ({"output"}, {"output"}, True, {"output"}, {"output"}),
        ({"output"}, {"output"}, False, {"output"}, {"output"}),
        ({"output"}, {"output", "grad_input"}, True, {"output", "grad_input"}, {"output"}),
        ({"output", "grad_bias"}, {"output"}, True, {"output"}, {"output"}),
        ({"output", "grad_bias"}, {"output"}, True, {"output", "grad_bias"}, set()),
        (set(), {"output"}, True, {"output"}, set()),
        ({"output"}, {"output"}, True, {"grad_bias"}, set()),
        ({RAISED, "output"}, {"output"}, True, {"output"}, set()),
        ({RAISED}, {RAISED}, True, {RAISED}, {RAISED}),
        ({RAISED}, {RAISED}, False, {RAISED}, set()),  # an error alone has a name only with the same words
        ({RAISED, "output"}, {RAISED, "output"}, False, {RAISED, "output"}, {RAISED, "output"}),
    ],
)
def test_a_replay_explains_what_it_changes_if_the_candidate_has_all_of_it(
    affected: set[str], matched: set[str], same_words: bool, present: set[str], explained: set[str]
) -> None:
    assert replayed("a", affected, matched, same_words=same_words).explains(present) == explained


def arrays(*values: float) -> Array:
    return np.array(values)


@pytest.mark.parametrize(
    ("a", "b", "bound", "within"),
    [
        (None, arrays(1.0), arrays(1.0), False),
        (arrays(1.0, 2.0), arrays(1.0, 2.5), arrays(0.0, 0.5), True),
        (arrays(1.0, 2.0), arrays(1.0, 2.5), arrays(0.5, 0.0), False),
        (arrays(1.0, 3.0), arrays(1.0, 2.5), arrays(0.0, 0.25), False),
        (arrays(1.0), arrays(1.0, 1.0), arrays(9.0), False),
        (np.array([np.nan]), arrays(1.0), arrays(9.0), False),
    ],
)
def test_within_the_bound_of_each_element(a: Array | None, b: Array, bound: Array, within: bool) -> None:
    assert _within(a, b, bound) is within


NONE = np.zeros(())


@pytest.mark.parametrize(
    ("a", "b", "bound", "tolerance", "same"),
    [
        (None, None, NONE, 0.5, True),
        (None, arrays(0.0), NONE, 0.5, False),
        (arrays(0.0), None, NONE, 0.5, False),
        (arrays(1.0, 2.0), arrays(1.0, 2.0), NONE, 0.0, True),
        (arrays(1.0, 2.0), arrays(1.0), NONE, 9.0, False),
        # The tolerance is a share of the largest element of both.
        (arrays(3.0, 0.0), arrays(2.0, 0.0), NONE, 0.4, True),
        (arrays(2.0, 0.0), arrays(3.0, 0.0), NONE, 0.4, True),
        (arrays(3.0, 0.0), arrays(2.0, 0.0), NONE, 0.3, False),
        (arrays(0.003, 0.0), arrays(0.002, 0.0), NONE, 0.3, False),
        (arrays(300.0, 100.0), arrays(300.0, 110.0), NONE, 0.04, True),
        (arrays(300.0, 100.0), arrays(300.0, 110.0), NONE, 0.03, False),
        # A bound that is wider counts instead, if it is one number or one for each element.
        (arrays(1.0, 2.0), arrays(1.5, 2.0), np.asarray(0.5), 0.0, True),
        (arrays(1.0, 2.0), arrays(1.5, 2.0), arrays(0.5, 0.0), 0.0, True),
        (arrays(1.0, 2.0), arrays(1.5, 2.0), arrays(0.0, 0.5), 0.0, False),
        (arrays(1.0, 2.0), arrays(1.5, 2.0), arrays(0.0, 0.0), 0.25, True),
        (arrays(1.0, 2.0), arrays(1.5, 2.0), arrays(0.5), 0.0, False),
        # What is not finite must be so in both.
        (arrays(math.nan, 2.0), arrays(math.nan, 2.0), NONE, 0.1, True),
        (arrays(math.nan, 2.0), arrays(math.inf, 2.1), NONE, 0.1, True),
        (arrays(math.nan, 2.0), arrays(1.0, 2.0), NONE, 0.1, False),
        (arrays(math.nan, 2.0), arrays(2.0, math.nan), NONE, 0.1, False),
        (arrays(math.nan), arrays(math.nan), NONE, 0.1, True),
    ],
)
def test_two_wrong_tensors_coincide_to_rounding(
    a: Array | None, b: Array | None, bound: Array, tolerance: float, same: bool
) -> None:
    with np.errstate(all="ignore"):
        assert _same(a, b, bound, tolerance) is same


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-5)])
def test_how_near_a_replay_must_be_depends_on_the_float_type(dtype: str, tolerance: float) -> None:
    given: Tensors = {"output": arrays(1.0, 2.0)}
    for share, same in ((0.9, True), (1.5, False)):
        mine = trial({"output": arrays(1.0 + share * tolerance * 2, 2.0)}, {"output": arrays(5.0, 6.0)}, dtype=dtype)
        assert list(_held_against(mine, given)) == [("output", True, same)]


def test_each_tensor_of_a_replay_is_held_against_the_right_one_and_the_candidates() -> None:
    right: Tensors = {"output of call 1": arrays(1.0), "output of call 2": arrays(1.0), "grad_bias": arrays(1.0)}
    mine = trial({"output of call 1": arrays(2.0), "output of call 2": arrays(1.0)}, right)
    given: Tensors = {"output of call 1": arrays(2.0), "output of call 2": arrays(3.0)}
    assert list(_held_against(mine, given)) == [
        ("output", True, True),
        ("output", True, False),
        ("grad_bias", True, True),  # missing in both
    ]
    assert list(_held_against(mine, right)) == [
        ("output", False, False),
        ("output", False, True),
        ("grad_bias", False, False),
    ]


def test_a_tensor_within_its_bound_is_not_changed() -> None:
    mine = replace(trial({"output": arrays(1.0)}, {"output": arrays(1.0)}), bounds={"output": arrays(0.25)})
    assert list(_held_against(mine, {"output": arrays(1.25)})) == [("output", False, True)]
    assert list(_held_against(mine, {"output": arrays(1.5)})) == [("output", True, False)]


def test_an_error_is_held_against_an_error() -> None:
    right: Tensors = {"output": arrays(1.0)}
    broken = trial(None, right, problem="raised ValueError: shapes (my.py, line 3)")
    assert list(_held_against(broken, "raised ValueError: something else")) == [(RAISED, True, True)]
    assert list(_held_against(broken, "raised TypeError: shapes")) == [(RAISED, True, False)]
    assert list(_held_against(broken, right)) == [(RAISED, False, False)]
    assert list(_held_against(trial(right, right), "raised ValueError: no")) == [(RAISED, True, False)]
    silent = trial(right, right, problem="raised ValueError: no")
    assert list(_held_against(silent, "raised ValueError: no")) == [(RAISED, True, False)]


# Replaying


def test_a_replay_matches_a_kind_that_it_matches_on_every_input(relu: Likeness) -> None:
    """On continuous inputs the slope at 0 does not matter: there a mask of >= is right, and nothing is affected."""
    passes, no_mask = find_fault("relu-passes-zero"), find_fault("relu-no-mask")
    trials = tried(relu, planted(passes))
    replay = _replay(relu, {"": passes}, trials, 1.0)
    assert (replay.part, replay.fault) == ("", passes)
    assert replay.affected == {"grad_input"}
    assert {"output", "grad_input"} <= replay.matched
    assert len(replay.tensors) == len(trials)
    normal = [t for t in trials if t.ok]
    assert 0 < len(normal) < len(trials)
    assert _replay(relu, {"": passes}, normal, 1.0).affected == set()
    other = _replay(relu, {"": no_mask}, trials, 1.0)
    assert other.affected == {"grad_input"}
    assert "output" in other.matched
    assert "grad_input" not in other.matched


def test_the_words_of_an_error_may_be_spaced_and_followed_by_a_place(linear: Likeness) -> None:
    transposed = find_fault("linear-transposed-in-forward")
    trials = tried(linear, planted(transposed))
    broken = [t for t in trials if t.got is None]
    assert 1 < len(broken) < len(trials)  # a square weight raises no error
    assert _replay(linear, {"": transposed}, trials, 1.0).same_words
    spaced = [replace(t, problem=t.problem.replace("core ", "core\n  ") + " (my.py, line 3)") for t in broken]
    assert _replay(linear, {"": transposed}, spaced, 1.0).same_words
    other = [*spaced[:-1], replace(spaced[-1], problem="raised ValueError: something else")]
    replay = _replay(linear, {"": transposed}, other, 1.0)
    assert not replay.same_words
    assert replay.matched == replay.affected == {RAISED}
    bias = find_fault("linear-bias-forgotten")
    assert _replay(linear, {"": bias}, other, 1.0).same_words  # it raises none


def test_two_mistakes_are_replayed_together(two: Likeness) -> None:
    weight, mask = find_fault(LINEAR[1]), find_fault(RELU[1])
    trials = tried(two, both_planted(two, LINEAR, RELU), count=2)
    replay = _replay(two, {"0": weight, "1": mask}, trials, 1.0)
    assert (replay.part, replay.fault) == ("0", weight)
    assert replay.affected == {"0.grad_weight", "0.grad_bias", "grad_input"} <= replay.matched


def test_every_mistake_is_replayed_on_all_trials_where_it_explains_anything_on_the_first_wrong_ones(
    relu: Likeness,
) -> None:
    no_mask = find_fault("relu-no-mask")
    trials = tried(relu, planted(no_mask))
    assert sum(not t.ok for t in trials) > 4
    found = _replay_all(relu, trials, 1.0)
    assert [replay.fault for replay in found] == faults_of("relu")
    assert {replay.part for replay in found} == {""}
    lengths = {replay.fault.name: len(replay.tensors) for replay in found}
    assert {name for name, length in lengths.items() if length == len(trials)} == {"relu-no-mask"}
    assert set(lengths.values()) == {4, len(trials)}


def test_every_layer_is_replayed_by_the_name_that_it_has_in_the_module(two: Likeness) -> None:
    trials = tried(two, both_planted(two, RELU), count=1)
    found = _replay_all(two, trials, 1.0)
    assert [replay.part for replay in found] == ["0"] * len(faults_of("linear")) + ["1"] * len(faults_of("relu"))


def test_nothing_is_replayed_where_our_own_layer_is_wrong(relu: Likeness) -> None:
    trials = tried(relu, planted(find_fault("relu-no-mask")), count=3)
    assert _ours_is_right(relu, trials)
    broken = replace(relu, build=lambda parts: parts.get("", planted(find_fault("relu-leaky"))))
    assert not _ours_is_right(broken, trials)
    assert _replay_all(broken, trials, 1.0) == []
    nowhere = [trial(None, t.expected, problem="raised ValueError") for t in trials]
    assert _ours_is_right(relu, [replace(t, probe=old.probe) for t, old in zip(nowhere, trials, strict=True)])


def test_a_replay_that_raises_is_the_words_of_its_error(relu: Likeness) -> None:
    (mine,) = tried(relu, scratch.ReLU, count=1)

    def raising(error: BaseException) -> Any:
        def make() -> Any:
            raise error

        return make

    assert _run(raising(ZeroDivisionError("by zero")), mine, relu) == "raised ZeroDivisionError: by zero"
    assert _run(raising(SystemExit(3)), mine, relu) == "raised SystemExit: 3"
    given = _run(scratch.ReLU, mine, relu)
    assert isinstance(given, dict)
    np.testing.assert_array_equal(given["output"], mine.expected["output"])


def test_weights_are_put_back_where_the_candidate_updates_them_itself(linear: Likeness) -> None:
    late = planted(find_fault("linear-weights-updated-late"))
    (mine,) = tried(linear, late, count=1)
    weight = mine.probe.state["weight"]
    moved, kept = _run(late, mine, linear), _run(late, replace(mine, updated=("weight",)), linear)
    assert isinstance(moved, dict)
    assert isinstance(kept, dict)
    assert (moved["weight after use"] != weight).any()
    np.testing.assert_array_equal(kept["weight after use"], weight)
    for name in ("output", "grad_input", "grad_weight", "grad_bias", "bias after use"):
        np.testing.assert_array_equal(kept[name], moved[name])


def test_how_random_a_replay_is_is_measured_on_choices_of_its_own() -> None:
    dropout = likeness("dropout")
    wrong = planted(find_fault("dropout-p-is-kept"))
    (mine,) = tried(dropout, scratch.Dropout, count=1)
    assert mine.got is not None
    of_its_own, should, _ = dropout.pair.shares(mine.probe, dropout.pair.drive(wrong, mine.probe))
    names = [name for name in mine.got if name.startswith("share")]
    assert names == list(of_its_own)
    given = _run(wrong, mine, dropout)
    assert isinstance(given, dict)
    assert {name: given[name].item() for name in names} == {name: of_its_own[name].item() for name in names}
    assert any(of_its_own[name] != should[name] for name in names)
    # The other tensors follow the candidate's choices.
    kept = np.asarray(mine.got["output"]) != 0
    np.testing.assert_array_equal(given["output"] != 0, kept)
    without = replace(mine, got={name: array for name, array in mine.got.items() if name not in names})
    for unmeasured in (without, replace(mine, got=None)):
        run = _run(wrong, unmeasured, dropout)
        assert isinstance(run, dict)
        assert not set(names) & run.keys()


def test_a_mistaken_training_step_is_one_and_a_mistaken_class_is_a_class() -> None:
    step = planted(find_fault("training-no-step"))
    assert isinstance(step, TrainingStep)
    assert step.function is plant(find_fault("training-no-step"), RATE)
    late = find_fault("linear-weights-updated-late")
    assert planted(late) is plant(late, RATE)
    assert planted(late, 0.25) is plant(late, 0.25)


WEIGHT, GRADIENT = np.array([[1.0, -2.0], [0.5, 4.0]]), np.array([[2.0, 0.0], [3.0, -1.0]])
ONE = Call((np.zeros((1, 2)),), np.zeros((1, 2)))


def updated(after: Array | None, gradient: Array | None = GRADIENT, *, holder: str = "", calls: int = 1) -> Trial:
    right: Tensors = {} if gradient is None else {f"{holder}grad_weight": gradient}
    got: Tensors = {} if after is None else {f"{holder}weight after use": after}
    return trial(got, right, state={f"{holder}weight": WEIGHT}, calls=(ONE,) * calls)


@pytest.mark.parametrize(
    ("trials", "rate"),
    [
        ([updated(WEIGHT - 0.25 * GRADIENT)], 0.25),
        ([updated(WEIGHT - 0.25 * GRADIENT, holder="fc1.")], 0.25),
        # The least squares: a change of 1 in the second row alone, against 2² + 3² + 1².
        ([updated(WEIGHT - np.array([[0.0, 0.0], [1.0, 0.0]]))], 3 / 14),
        ([updated(WEIGHT)], RATE),
        ([updated(WEIGHT - 0.25, 0 * GRADIENT)], RATE),
        ([updated(WEIGHT - 0.25 * GRADIENT, calls=2)], RATE),
        ([updated(None)], RATE),
        ([updated(WEIGHT - 0.25, None)], RATE),
        ([updated(WEIGHT[:1] - 0.25)], RATE),
        ([trial(None, {"grad_weight": GRADIENT}, state={"weight": WEIGHT}, calls=(ONE,))], RATE),
        ([updated(WEIGHT), updated(None), updated(WEIGHT - 0.5 * GRADIENT), updated(WEIGHT - GRADIENT / 8)], 0.5),
        ([], RATE),
    ],
)
def test_the_rate_with_which_code_updates_its_weights_is_read_off_them(trials: list[Trial], rate: float) -> None:
    assert _rate(trials) == pytest.approx(rate, rel=1e-15)


# Choosing


def test_the_mistake_that_explains_most_is_chosen_first() -> None:
    small, large = replayed("small", {"a", "p", "q", "r"}), replayed("large", {"a", "b"})
    rest, never = replayed("rest", {"c", "b"}), replayed("never", {"a", "c"}, {"a"})
    wrong, present = {"a", "b", "c", "d"}, {"a", "b", "c", "d", "p", "q", "r"}
    assert _choose([small, never, large, rest], present, wrong) == [(large, {"a", "b"}), (rest, {"c"})]
    assert _choose([small], present, wrong) == [(small, {"a"})]
    assert _choose([never], present, wrong) == []
    assert _choose([], present, wrong) == []
    assert _choose([large], present, {"a", "b"}) == [(large, {"a", "b"})]
    assert _choose([large], present, set()) == []


def chosen_two(like: Likeness, trials: list[Trial], *faults: tuple[str, str]) -> list[tuple[str, set[str]]]:
    alone = [_replay(like, {part: find_fault(name)}, trials, 1.0) for part, name in faults]
    wrong = set().union(*(t.wrong() for t in trials))
    present = wrong | {"output"}
    return [(one.fault.name, kinds) for one, kinds in _choose_two(like, trials, alone, present, wrong, 1.0)]


def test_two_mistakes_of_two_layers_are_found_together_or_not_at_all(two: Likeness) -> None:
    trials = tried(two, both_planted(two, LINEAR, RELU), count=5)
    others = [("0", "linear-bias-forgotten"), ("1", "relu-leaky")]
    both = [(LINEAR[1], {"0.grad_weight"}), (RELU[1], {"0.grad_weight", "0.grad_bias", "grad_input"})]
    assert chosen_two(two, trials, *others, LINEAR, RELU) == both
    assert chosen_two(two, trials, LINEAR, others[1]) == []
    assert chosen_two(two, trials, LINEAR) == []
    # All inputs count, not only the first wrong ones.
    assert trials[-1].got is not None
    last = changed(trials[-1], grad_input=2 * trials[-1].got["grad_input"])
    assert chosen_two(two, [*trials[:-1], last], LINEAR, RELU) == []


def test_two_mistakes_of_one_layer_are_no_pair(two: Likeness) -> None:
    trials = tried(two, both_planted(two, LINEAR), count=5)
    assert chosen_two(two, trials, ("0", "linear-grad-bias-mean"), LINEAR) == []


def test_a_mistake_that_changes_nothing_by_itself_is_given_all_that_is_wrong(two: Likeness) -> None:
    trials = tried(two, both_planted(two, LINEAR), count=5)
    assert chosen_two(two, trials, LINEAR, ("1", "relu-passes-zero")) == [
        (LINEAR[1], {"0.grad_weight"}),
        ("relu-passes-zero", {"0.grad_weight"}),
    ]


# What is found


def test_a_finding_says_what_the_catalogue_does_and_what_cannot_be_told_from_it(relu: Likeness, two: Likeness) -> None:
    given: list[Tensors | str] = [{"output": arrays(1.0)}]
    found = replayed("found", {"output"}, tensors=given)
    twin = replayed("twin", {"output"}, tensors=given)
    other = replayed("other", {"output"}, tensors=[{"output": arrays(2.0)}])
    mine = trial({"output": arrays(1.0)}, {"output": arrays(0.0)})
    kinds = {"grad_bias", "output", "grad_weight"}
    assert _finding(found, kinds, [mine, mine], relu, [twin, found, other]) == Finding(
        kinds=("output", "grad_weight", "grad_bias"),
        layer="",
        name="found",
        catalogued=True,
        made="It does found.",
        hint="Is it found?",
        evidence="the catalogued mistake, replayed, coincides with it on all 2 inputs",
        also=("twin",),
    )
    found.part = "1"
    finding = _finding(found, {"output"}, [mine], two, [other])
    assert (finding.layer, finding.also) == ("1 (relu)", ())
    assert finding.evidence == "the catalogued mistake, replayed, coincides with it on the one input"


def test_the_number_of_inputs_in_words() -> None:
    assert [_inputs(count) for count in (1, 2, 30)] == ["the one input", "all 2 inputs", "all 30 inputs"]


NEAR = 1 + 0.9e-12
FAR = 1 + 1.5e-12


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ([{"a": arrays(1.0), "b": arrays(2.0)}], [{"a": arrays(1.0), "b": arrays(2.0)}], True),
        ([{"a": arrays(1.0), "b": arrays(2.0)}], [{"a": arrays(1.0), "b": arrays(2.5)}], False),
        ([{"a": arrays(1.0)}], [{"a": arrays(NEAR)}], True),
        ([{"a": arrays(1.0)}], [{"a": arrays(FAR)}], False),
        ([{"a": arrays(1.0)}], [{"b": arrays(1.0)}], False),
        ([{"a": arrays(1.0)}], [{"a": arrays(1.0), "b": arrays(1.0)}], False),
        ([{"a": arrays(1.0), "b": arrays(1.0)}], [{"a": arrays(1.0)}], False),
        ([{"a": arrays(1.0)}], [{"a": arrays(1.0)}, {"a": arrays(1.0)}], False),
        ([{"a": arrays(1.0)}, {"a": arrays(1.0)}], [{"a": arrays(1.0)}, {"a": arrays(2.0)}], False),
        (["raised ValueError: no"], ["raised ValueError: no"], True),
        (["raised ValueError: no"], ["raised ValueError: other"], False),
        (["raised ValueError: no"], [{"a": arrays(1.0)}], False),
        ([{"a": arrays(1.0)}], ["raised ValueError: no"], False),
        (["raised ValueError: no", {"a": arrays(1.0)}], ["raised ValueError: no", {"a": arrays(2.0)}], False),
        ([], [], True),
    ],
)
def test_two_mistakes_are_alike_where_all_they_give_coincides(
    one: list[Tensors | str], other: list[Tensors | str], alike: bool
) -> None:
    assert _identical(replayed("one", {"a"}, tensors=one), replayed("other", {"a"}, tensors=other)) is alike
    assert not _identical(replayed("one", {"a"}, tensors=one), replayed("other", {"b"}, tensors=other))


def test_what_raises_on_some_cases_or_on_all_is_described() -> None:
    right: Tensors = {"output": arrays(1.0)}
    good = trial(right, right, case="good")
    first = trial(None, right, case="first", problem="raised ValueError: no")
    second = trial(None, right, case="second", problem="called sys.exit")
    assert _described(RAISED, [good, first, second]) == Finding(
        (RAISED,),
        "",
        "no-answer",
        False,
        "It breaks on 2 of 3 inputs that torch takes: raised ValueError: no.",
        "Run it on [first] alone and read the traceback.",
        "first on [first]",
    )
    everywhere = _described(RAISED, [second, first])
    assert everywhere.made == "It breaks on every input that torch takes: called sys.exit."
    assert everywhere.hint == (
        "Is it meant to be like something else? If not: run it on [second] alone and read the traceback."
    )


def of_images(*shape: int, breaks: bool) -> Trial:
    right: Tensors = {"output": arrays(1.0)}
    call = Call((np.zeros(shape),), np.zeros(()))
    return trial(None if breaks else right, right, problem="raised ValueError: no" if breaks else "", calls=(call,))


@pytest.mark.parametrize(
    ("trials", "common"),
    [
        ([of_images(2, 3, 9, 8, breaks=True), of_images(2, 3, 8, 6, breaks=False)], " (odd sides)"),
        ([of_images(2, 3, 8, 8, breaks=True), of_images(2, 3, 8, 6, breaks=False)], " (square images)"),
        # Only what all that break have in common, and nothing that is right elsewhere.
        (
            [
                of_images(2, 3, 9, 8, breaks=True),
                of_images(2, 1, 7, 7, breaks=True),
                of_images(1, 3, 8, 6, breaks=False),
            ],
            " (batches, odd sides)",
        ),
        ([of_images(2, 3, 9, 8, breaks=True), of_images(2, 3, 9, 7, breaks=False)], ""),
        ([of_images(2, 3, 9, 8, breaks=True)], ""),
    ],
)
def test_what_raises_says_what_its_inputs_have_in_common(trials: list[Trial], common: str) -> None:
    broken = [one for one in trials if one.got is None]
    share = "every input" if len(broken) == len(trials) else f"{len(broken)} of {len(trials)} inputs"
    made = _described(RAISED, trials).made
    assert made == f"It breaks on {share} that torch takes{common}: raised ValueError: no."


RIGHT: Tensors = {"output": arrays(1.0, 2.0), "grad_input": arrays(3.0, 5.0)}
WRONG: Tensors = {"output": arrays(0.0, 0.0), "grad_input": arrays(9.0, 15.0), "extra": arrays(7.0)}
THREEFOLD = "It is 3 times what it should be."
ZERO = "It is zero everywhere."


def test_a_tensor_is_described_by_its_form_on_every_input_that_answers() -> None:
    trials = [trial(WRONG, RIGHT), trial(None, RIGHT, problem="raised"), trial(WRONG, RIGHT)]
    output, gradient = _described("output", trials), _described("grad_input", trials)
    assert (output.kinds, output.layer, output.catalogued) == (("output",), "", False)
    assert (output.name, output.made) == ("zero", ZERO)
    assert (gradient.kinds, gradient.name, gradient.made) == (("grad_input",), "factor", THREEFOLD)
    assert output.evidence == "holds on all 2 inputs where the tensor is wrong"
    assert output.hint.startswith("Is it ever computed")
    assert _described("extra", trials).made == "It is missing, or differs in its type."


def test_findings_of_one_mistake_are_one() -> None:
    first = Finding(("grad_bias",), "0 (linear)", "n", True, "made", "hint", "evidence", ("also",))
    same = replace(first, kinds=("output", "grad_bias"), hint="later", evidence="later", also=())
    others = [replace(first, layer="1 (relu)"), replace(first, name="m"), replace(first, made="other")]
    assert _together([first, *others[:2], same, others[2]]) == [
        replace(first, kinds=("output", "grad_bias")),
        *others,
    ]


def together(pair: str, kinds: set[str]) -> list[tuple[str, ...]]:
    return REGISTRY[pair].described_together(in_order(kinds))


@pytest.mark.parametrize("model", MODELS)
def test_what_only_follows_from_a_wrong_tensor_of_a_model_is_left_out(model: str) -> None:
    assert together(model, {"logits", "fc1.grad_bias", "loss"}) == [("logits",)]
    updates = {"fc1.bias after a step", "fc1.weight after a step"}
    assert together(model, {"fc1.grad_bias", "loss"} | updates) == [("fc1.grad_bias",), ("loss",)]
    assert together(model, updates) == [("fc1.bias after a step",), ("fc1.weight after a step",)]
    assert together(model, set()) == []


def test_the_tensors_of_a_layer_are_described_one_by_one_and_those_of_an_optimizer_together() -> None:
    kinds = {"output", "grad_bias", "logits", "bias after a step"}
    assert together("linear", kinds) == [("output",), ("grad_bias",), ("bias after a step",), ("logits",)]
    assert together("sgd", kinds) == [("output", "grad_bias", "bias after a step", "logits")]
    assert together("linear", set()) == together("sgd", set()) == []


# From trials to names


def only(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Replay no more than these: the whole catalogue takes seconds."""
    chosen = [find_fault(name) for name in names]
    monkeypatch.setattr(replay, "faults_of", lambda pair: [fault for fault in chosen if fault.pair == pair])


def without_twin(pair: str) -> Likeness:
    """A likeness of which no mistake can be replayed."""
    return replace(likeness(pair), build=None)


def said(like: Likeness, trials: Sequence[Trial]) -> list[tuple[tuple[str, ...], str]]:
    return [(finding.kinds, finding.made) for finding in name_mistakes(like, trials)]


def test_what_is_wrong_in_float64_is_judged_there_alone() -> None:
    like = without_twin("relu")
    right, wrong = trial(RIGHT, RIGHT), trial(RIGHT | {"grad_input": WRONG["grad_input"]}, RIGHT)
    narrow = trial(RIGHT | {"grad_input": 0 * WRONG["grad_input"]}, RIGHT, dtype="float32")
    assert said(like, [right, wrong, wrong, narrow]) == [(("grad_input",), THREEFOLD)]
    assert said(like, [right, narrow]) == [(("grad_input",), ZERO)]
    assert said(like, [narrow]) == [(("grad_input",), ZERO)]
    assert said(like, [right]) == []


def test_findings_come_in_the_order_in_which_one_reads() -> None:
    like = without_twin("relu")
    both = trial(RIGHT | {"output": WRONG["output"], "grad_input": WRONG["grad_input"]}, RIGHT)
    assert said(like, [both]) == [(("output",), ZERO), (("grad_input",), THREEFOLD)]
    broken = trial(None, RIGHT, problem="raised ValueError: no")
    assert said(like, [both, broken])[-1] == (
        (RAISED,),
        "It breaks on 1 of 2 inputs that torch takes: raised ValueError: no.",
    )


def test_of_a_model_causes_are_described_and_of_a_layer_everything() -> None:
    right: Tensors = {"fc1.grad_bias": arrays(3.0, 5.0), "fc1.bias after a step": arrays(1.0, 2.0)}
    wrong: Tensors = {"fc1.grad_bias": arrays(9.0, 15.0), "fc1.bias after a step": arrays(0.0, 0.0)}
    trials = [trial(wrong, right)]
    assert said(without_twin("cnn"), trials) == [(("fc1.grad_bias",), THREEFOLD)]
    assert said(without_twin("linear"), trials) == [
        (("fc1.grad_bias",), THREEFOLD),
        (("fc1.bias after a step",), ZERO),
    ]


def test_an_optimizer_has_one_rule_for_all_parameters() -> None:
    right: Tensors = {"weight": arrays(1.0, 2.0), "bias": arrays(3.0, 5.0)}
    wrong: Tensors = {"weight": arrays(0.0, 0.0), "bias": arrays(9.0, 15.0)}
    like = without_twin("sgd")
    assert said(like, [trial(wrong, right)]) == [(("bias", "weight"), THREEFOLD)]
    assert said(like, [trial(right | {"weight": wrong["weight"]}, right)]) == [(("weight",), ZERO)]
    assert len(said(without_twin("relu"), [trial(wrong, right)])) == 2


def test_a_catalogued_mistake_stands_beside_what_is_only_described(
    linear: Likeness, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "linear-grad-weight-last-image", "linear-grad-bias-mean")
    mean = tried(linear, planted(find_fault("linear-grad-bias-mean")), count=10)
    trials = [changed(t, grad_input=3 * t.expected["grad_input"]) for t in mean]
    found = name_mistakes(linear, trials)
    assert [(f.kinds, f.name, f.catalogued, f.layer) for f in found] == [
        (("grad_input",), "factor", False, ""),
        (("grad_bias",), "linear-grad-bias-mean", True, ""),
    ]
    assert found[1].evidence == f"the catalogued mistake, replayed, coincides with it on all {len(trials)} inputs"


def test_a_mistake_of_which_the_candidate_has_only_a_part_is_not_named(relu: Likeness) -> None:
    """|x| in place of max(0, x) lets every gradient pass but that at 0: with the right output it is something else."""
    absolute = tried(relu, planted(find_fault("relu-absolute")))
    assert [f.name for f in name_mistakes(relu, absolute)] == ["relu-absolute"]
    outputs = [{n: a for n, a in relu.pair.expected(t.probe).items() if n.startswith("output")} for t in absolute]
    trials = [changed(t, **right) for t, right in zip(absolute, outputs, strict=True)]
    assert [(f.kinds, f.catalogued) for f in name_mistakes(relu, trials)] == [(("grad_input",), False)]


def test_two_mistakes_that_meet_in_one_tensor_are_named_with_their_layers(
    two: Likeness, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "linear-bias-forgotten", LINEAR[1], "linear-grad-bias-mean", "relu-leaky", RELU[1])
    found = name_mistakes(two, tried(two, both_planted(two, LINEAR, RELU), count=3))
    assert [(f.kinds, f.name, f.layer) for f in found] == [
        (("grad_input", "0.grad_weight", "0.grad_bias"), "relu-no-mask", "1 (relu)"),
        (("0.grad_weight",), "linear-grad-weight-divided-by-batch", "0 (linear)"),
    ]


def test_where_one_mistake_explains_all_no_second_one_is_looked_for(
    two: Likeness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the weights after use, an update inside backward could be there beside anything else."""
    only(monkeypatch, "linear-weights-updated-late", RELU[1])

    def hidden(tensors: Tensors) -> Tensors:
        return {name: array for name, array in tensors.items() if not name.endswith("t after use")}

    trials = [
        replace(t, got=hidden(t.got or {}), expected=hidden(t.expected), bounds=hidden(t.bounds))
        for t in tried(two, both_planted(two, RELU), count=2)
    ]
    assert [f.name for f in name_mistakes(two, trials)] == ["relu-no-mask"]


def test_an_update_inside_backward_is_named_at_whatever_rate(linear: Likeness, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "linear-weights-updated-early", "linear-weights-updated-late")
    late = find_fault("linear-weights-updated-late")
    for rate in (0.25, 1.0):
        found = name_mistakes(linear, tried(linear, planted(late, rate), count=2))
        assert [f.name for f in found] == [late.name]


def test_without_a_twin_nothing_is_planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "plant", lambda *_: pytest.fail("nothing can be replayed"))
    like = without_twin("relu")
    assert said(like, [trial(RIGHT | {"output": WRONG["output"]}, RIGHT)]) == [(("output",), ZERO)]
