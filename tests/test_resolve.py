"""How it is found out what somebody's code wants: the ways that are tried, in which order, and what is said of them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import nn

from compare.diagnosis.driving.interface import Interface
from compare.diagnosis.driving.resolve import (
    _first_supported,
    _in_words,
    _score,
    _undrivable,
    _variants,
    has_pairs,
    one_image,
    resolve,
    takes_pairs,
)
from compare.diagnosis.driving.sandbox import Outcome, Session
from compare.diagnosis.likeness import Likeness, likeness
from compare.diagnosis.trial import Driven
from compare.machine.errors import UserError
from compare.pairs.cases import Case
from compare.pairs.observe import Call, Tensors
from compare.pairs.options import Axes, Option
from compare.pairs.pair import LayerPair
from compare.pairs.probe import Probe
from compare.pairs.registry import REGISTRY

Answer = Callable[[Interface, Probe], Outcome]


def taken(_: Interface, __: Probe) -> Outcome:
    return Outcome(())


class Here(Session):
    """Answers in this process as it is told to, and keeps what it was asked."""

    def __init__(self, drive: Answer = taken, construct: Answer = taken) -> None:
        super().__init__()
        self.answers = {"drive": drive, "construct": construct}
        self.asked: list[tuple[str, Interface, Probe]] = []

    def __call__(self, name: str, *arguments: Any) -> Outcome:
        interface, probe = arguments
        assert isinstance(interface, Interface)
        self.asked.append((name, interface, probe))
        return self.answers[name](interface, probe)

    def driven(self) -> list[Interface]:
        return [interface for name, interface, _ in self.asked if name == "drive"]


def failed(error: str, text: str = "") -> Outcome:
    return Outcome(problem=f"raised {error}: {text}", error=error)


def right(pair: LayerPair, probe: Probe) -> Outcome:
    return Outcome(Driven(pair.expected(probe)))


def of_shape(*shape: int) -> Outcome:
    return Outcome(Driven({"output": np.full(shape, 77.0)}))


def pair_of(name: str) -> LayerPair:
    pair = REGISTRY[name]
    assert isinstance(pair, LayerPair)
    return pair


def first_of(like: Likeness) -> Probe:
    return next(like.pair.examined())


Way = tuple[str, str, str, bool, dict[str, str]]


def ways(interface: Interface, like: Likeness) -> list[Way]:
    probe = first_of(like)
    found = list(_variants(interface, probe, like.axes(probe.state)))
    return [(i.layout, i.output_layout, i.targets, i.single, dict(i.weight_layouts)) for i in found]


def test_a_dense_layer_is_tried_with_rows_one_vector_and_columns_and_its_weight_both_ways() -> None:
    turned = {"weight": "IO"}
    assert ways(Interface(), likeness("linear")) == [
        ("", "", "", False, {}),
        ("", "", "", False, turned),
        ("F", "", "", False, {}),
        ("F", "", "", False, turned),
        ("FN", "", "", False, {}),
        ("FN", "", "", True, {}),
        ("FN", "", "", False, turned),
        ("FN", "", "", True, turned),
    ]


def test_a_convolution_is_tried_with_every_order_of_the_input_and_within_it_of_the_kernel() -> None:
    images = [("", ""), ("NHWC", ""), ("CHW", ""), ("HWC", ""), ("HW", "HWC"), ("HW", "CHW"), ("HW", "HW")]
    kernels = ["", "HWIO", "OHWI", "IOHW", "HWOI", "OHW", "HWO"]
    assert ways(Interface(), likeness("conv2d")) == [
        (layout, output, "", False, {"weight": kernel} if kernel else {})
        for layout, output in images
        for kernel in kernels
    ]


def test_weights_of_both_kinds_are_tried_in_all_combinations() -> None:
    both = likeness(nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(2, 3)), (1, 2, 2))
    found = [way[-1] for way in ways(Interface(layout="NHWC"), both)]
    assert found[:4] == [
        {},
        {"2.weight": "IO"},
        {"0.weight": "HWIO"},
        {"0.weight": "HWIO", "2.weight": "IO"},
    ]
    assert len(found) == 14
    assert all(found.count(way) == 1 for way in found)


def test_the_orders_of_a_weight_that_are_tried_are_those_of_its_axes_whatever_their_number() -> None:
    scores, state = first_of(likeness("relu")), {"a": np.zeros(2), "b": np.zeros((2, 2)), "c": np.zeros((2, 2))}
    axes = {"a": Axes("O"), "b": Axes("OI"), "c": Axes("QK", ("KQ", "Q"))}
    found = [dict(way.weight_layouts) for way in _variants(Interface(layout="NF"), replace(scores, state=state), axes)]
    assert found == [{}, {"c": "KQ"}, {"c": "Q"}]


def test_what_was_said_is_not_tried_otherwise() -> None:
    linear, pool = likeness("linear"), likeness("maxpool2d")
    assert ways(Interface(layout="CHW", single=True), pool) == [("CHW", "", "", True, {})]
    assert ways(Interface(output_layout="HWC"), pool) == [("", "HWC", "", False, {})]
    assert {way[3] for way in ways(Interface(single=True), linear)} == {True}
    probe = first_of(linear)
    given = next(_variants(Interface(forward="go", parameters={"W": "weight"}), probe, linear.axes(probe.state)))
    assert given == Interface(forward="go", parameters={"W": "weight"})


def test_only_a_loss_is_tried_with_one_hot_targets() -> None:
    loss = likeness("cross_entropy")
    rows = [("", "", False), ("F", "", False), ("FN", "", False), ("FN", "", True)]
    assert sorted((layout, output, single) for layout, output, _, single, _ in ways(Interface(), loss)) == sorted(
        rows * 2
    )
    assert [way[2] for way in ways(Interface(layout="NF"), loss)] == ["classes", "one-hot"]
    assert [way[2] for way in ways(Interface(layout="NF", targets="one-hot"), loss)] == ["one-hot"]
    assert [way[2] for way in ways(Interface(layout="NF"), likeness("relu"))] == [""]


def flat(values: Sequence[float]) -> Probe:
    """A probe of ReLU, whose output is its input where that is positive."""
    x = np.array(values, np.float64).reshape(-1, 2)
    return Probe("case", "float64", {}, {}, (Call((x,), np.ones_like(x)),))


@pytest.mark.parametrize(
    ("values", "output", "score"),
    [
        ([0.01, 0.002], [0.01, 0.002], 3),
        ([0.01, 0.002], [0.01, 0.002 + 0.9e-6], 3),  # 1e-4 of the greatest
        ([0.01, 0.002], [0.01, 0.002 + 1.5e-6], 2),
        ([0.01, 0.002], [0.01, 0.002 - 1.5e-6], 2),
        ([0.0, 0.0], [0.0, 0.0], 3),
        ([0.0, 0.0], [0.0, 1e-9], 2),
        ([3.0, 2.0], [math.nan, 2.0], 2),
        ([500.0, 0.0], [500.04, 0.0], 3),
        ([500.0, 0.0], [500.0, 0.0, 0.0, 0.0], 1),
        ([], [], 3),
        ([1.7e308, 0.0], [-1.7e308, 0.0], 2),
    ],
)
def test_the_score_of_an_output(values: list[float], output: list[float], score: int) -> None:
    got = {"output": np.array(output, np.float64).reshape(-1, 2), "grad_input": np.full(3, 9.0)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _score(likeness("relu"), flat(values), Outcome(Driven(got))) == score


def test_what_breaks_or_gives_no_output_scores_1() -> None:
    relu, probe = likeness("relu"), flat([1.0, 2.0])
    assert _score(relu, probe, failed("IndexError")) == 1
    gradient: Tensors = {"grad_input": probe.calls[0].inputs[0]}
    assert _score(relu, probe, Outcome(Driven(gradient))) == 1


def test_the_first_way_that_is_right_is_found_and_said() -> None:
    like = likeness("conv2d")
    wanted = replace(Interface(), layout="NHWC", weight_layouts={"weight": "OHWI"})

    def drive(interface: Interface, probe: Probe) -> Outcome:
        if interface == wanted:
            return right(pair_of("conv2d"), probe)
        return of_shape(3, 5, 9, 8) if interface.layout == "" else failed("LayoutError", "no")

    session = Here(drive)
    found = resolve(session, like, Interface(), "Mine", 0)
    assert found == (like, wanted, ["it takes inputs as NHWC, weight as OHWI"])
    assert session.driven()[-1] == wanted  # nothing is tried after it
    assert len(session.driven()) == 7 + 3


def test_what_is_right_as_it_is_needs_no_words() -> None:
    like = likeness("relu")
    session = Here(lambda _, probe: right(pair_of("relu"), probe))
    assert resolve(session, like, Interface(), "Mine", 0) == (like, Interface(), [])
    assert [name for name, _, _ in session.asked] == ["construct", "drive"]


def test_the_seed_draws_what_it_is_tried_on() -> None:
    like = likeness("relu")
    inputs = []
    for seed in (0, 1):
        session = Here(lambda _, probe: right(pair_of("relu"), probe))
        resolve(session, like, Interface(), "Mine", seed)
        inputs.append(session.asked[-1][2].calls[0].inputs[0])
        np.testing.assert_array_equal(inputs[-1], next(like.pair.examined(seed)).calls[0].inputs[0])
    assert (inputs[0] != inputs[1]).any()


def test_where_none_is_right_the_first_with_the_right_shape_is_taken_else_the_first_that_runs() -> None:
    like = likeness("linear")  # 5 rows of 7, 4 outputs

    def shaped(interface: Interface, _: Probe) -> Outcome:
        if interface.layout == "":
            return failed("ValueError", "shapes do not fit")
        return of_shape(5, 4) if interface.layout == "FN" else of_shape(1, 4, 5)

    _, found, remarks = resolve(Here(shaped), like, Interface(), "Mine", 0)
    assert (found.layout, found.single, found.weight_layouts) == ("FN", False, {})
    assert remarks == ["it takes inputs as FN"]

    def broken(interface: Interface, _: Probe) -> Outcome:
        return failed("LayoutError") if interface.layout == "" else failed("ValueError")

    _, found, _ = resolve(Here(broken), like, Interface(), "Mine", 0)
    assert (found.layout, found.weight_layouts) == ("F", {})


def test_one_image_at_a_time_is_tried_on_one_image() -> None:
    session = Here(lambda *_: failed("LayoutError"))
    with pytest.raises(UserError):
        resolve(session, likeness("maxpool2d"), Interface(), "Mine", 0)
    sizes = {(interface.layout, len(probe.calls[0].inputs[0])) for name, interface, probe in session.asked}
    assert sizes == {("", 1), ("", 2), ("NHWC", 2), ("CHW", 1), ("HWC", 1), ("HW", 1)}
    assert sum(name == "construct" for name, _, _ in session.asked) == 2  # once for each kind of probe


def test_a_way_that_ends_the_process_is_tried_no_further() -> None:
    crash = Outcome(problem="its process was ended by SIGSEGV: a crash", error="SIGSEGV", fatal=True)
    session = Here(lambda *_: crash)
    assert resolve(session, likeness("conv2d"), Interface(), "Mine", 0)[1:] == (Interface(), [])
    assert len(session.driven()) == 1


def test_something_told_wrongly_is_an_error_at_once() -> None:
    session = Here(lambda *_: failed("MistoldError", "there is no array V; correct --param"))
    with pytest.raises(UserError, match=r"^Mine: there is no array V; correct --param$"):
        resolve(session, likeness("conv2d"), Interface(), "Mine", 0)
    assert len(session.driven()) == 1


def test_of_the_reasons_why_it_cannot_be_driven_the_first_says_most_but_not_that_of_a_layout() -> None:
    reasons = {
        "": ("LayoutError", "axes"),
        "NHWC": ("UndrivableError", "no method called forward"),
        "CHW": ("UndrivableError", "something later"),
    }
    session = Here(lambda interface, _: failed(*reasons.get(interface.layout, ("LayoutError", "axes"))))
    with pytest.raises(UserError, match=r"^Mine: no method called forward$"):
        resolve(session, likeness("relu"), Interface(), "Mine", 0)
    with pytest.raises(UserError, match=r"^Mine: axes$"):
        resolve(Here(lambda *_: failed("LayoutError", "axes")), likeness("softmax"), Interface(), "Mine", 0)


def test_a_reason_that_begins_with_the_name_is_not_given_it_twice() -> None:
    assert str(_undrivable("Mine", failed("UndrivableError", "Mine has no method"))) == "Mine has no method"
    assert str(_undrivable("Mine", failed("UndrivableError", "no method: Error: odd"))) == "Mine: no method: Error: odd"


def test_a_layer_without_a_bias_is_compared_without_one() -> None:
    def drive(_: Interface, probe: Probe) -> Outcome:
        if probe.options.get("bias", True):
            return failed("UndrivableError", "Mine: cannot find bias [4]")
        return right(pair_of("linear"), probe)

    like, found, remarks = resolve(Here(drive), likeness("linear"), Interface(), "Mine", 0)
    assert found == Interface()
    assert remarks == ["it has no bias: compared without one"]
    assert isinstance(like.pair, LayerPair)
    assert len(like.pair.cases) == len(pair_of("linear").cases)
    assert all(case.options["bias"] is False for case in like.pair.cases)


def test_any_option_that_much_code_leaves_out_is_tried_without() -> None:
    norm = replace(
        pair_of("batchnorm2d"), options={"affine": Option(often_dropped=True), "eps": Option(), "gain": Option()}
    )

    def drive(_: Interface, probe: Probe) -> Outcome:
        return right(norm, probe) if probe.options.get("affine") is False else failed("UndrivableError", "no weight")

    like, found, remarks = resolve(Here(drive), likeness(norm), Interface(), "Mine", 0)
    assert found == Interface()
    assert remarks == ["it has no affine: compared without one"]
    assert isinstance(like.pair, LayerPair)
    assert all(case.options["affine"] is False for case in like.pair.cases)
    # One that its constructor has not, or that much code has too, is not.
    for rarely in ({"gain": Option(often_dropped=True)}, pair_of("batchnorm2d").options):
        session = Here(drive)
        with pytest.raises(UserError, match=r"^Mine: no weight$"):
            resolve(session, likeness(replace(norm, options=rarely)), Interface(), "Mine", 0)
        assert {probe.options.get("affine", True) for _, _, probe in session.asked} == {True}


def test_where_it_cannot_be_driven_without_a_bias_either_the_first_reason_is_given() -> None:
    def drive(_: Interface, probe: Probe) -> Outcome:
        return failed("UndrivableError", f"bias {probe.options.get('bias', True)}")

    with pytest.raises(UserError, match=r"^Mine: bias True$"):
        resolve(Here(drive), likeness("linear"), Interface(), "Mine", 0)

    def construct(_: Interface, probe: Probe) -> Outcome:
        return taken(_, probe) if probe.options.get("bias", True) else failed("UnsupportedError", "bias=False")

    with pytest.raises(UserError, match=r"^Mine: bias True$"):
        resolve(Here(drive, construct), likeness("linear"), Interface(), "Mine", 0)


@pytest.mark.parametrize("like", ["relu", "cross_entropy"])
def test_what_never_has_a_bias_is_not_tried_without_one(like: str) -> None:
    session = Here(lambda *_: failed("UndrivableError", "no"))
    with pytest.raises(UserError, match=r"^Mine: no$"):
        resolve(session, likeness(like), Interface(), "Mine", 0)
    assert not any("bias" in probe.options for _, _, probe in session.asked)


def test_a_difference_that_was_said_is_not_said_again() -> None:
    def drive(interface: Interface, probe: Probe) -> Outcome:
        return right(pair_of("relu"), probe) if interface.single else failed("LayoutError")

    _, found, remarks = resolve(Here(drive), likeness("relu"), Interface(layout="FN"), "Mine", 0)
    assert found == Interface(layout="FN", single=True)
    assert remarks == []


def test_an_optimizer_is_asked_once_whether_it_can_be_driven() -> None:
    like = likeness("sgd")
    session = Here(lambda *_: failed("TypeError", "a mistake of its own"))
    assert resolve(session, like, Interface(), "Mine", 3) == (like, Interface(), [])
    ((name, interface, probe),) = session.asked
    assert (name, interface, probe.case) == ("drive", Interface(), "lr=0.1")
    np.testing.assert_array_equal(probe.state["bias"], next(like.pair.examined(3)).state["bias"])
    with pytest.raises(UserError, match=r"^Mine has no step$"):
        resolve(Here(lambda *_: failed("UndrivableError", "Mine has no step")), like, Interface(), "Mine", 0)


def test_a_model_is_driven_as_it_is() -> None:
    session = Here(lambda *_: failed("UndrivableError", "no conv1"))
    with pytest.raises(UserError, match=r"^Mine: no conv1$"):
        resolve(session, likeness("lenet5"), Interface(), "Mine", 0)
    assert {len(probe.calls[0].inputs[0]) for _, _, probe in session.asked} == {64}


def test_batch_normalisation_of_one_value_is_not_tried_on_one_image() -> None:
    like = likeness(nn.BatchNorm2d(3), (3, 1, 1))
    assert isinstance(like.pair, LayerPair)
    pair = like.pair
    session = Here(lambda _, probe: right(pair, probe))
    assert resolve(session, like, Interface(), "Mine", 0) == (like, Interface(), [])
    wrong = Here(lambda *_: of_shape(3, 3, 1, 1))
    assert resolve(wrong, like, Interface(), "Mine", 0) == (like, Interface(), [])
    assert {interface.layout for interface in wrong.driven()} == {"", "NHWC"}
    with pytest.raises(UserError, match=r"^Mine: batchnorm2d has no case with a single image$"):
        resolve(session, like, Interface(layout="CHW"), "Mine", 0)


def test_each_set_of_options_is_tried_once_and_the_last_refusal_is_said() -> None:
    def construct(_: Interface, probe: Probe) -> Outcome:
        if probe.options.get("bias", True):
            return failed("UnsupportedError", f"out_features={probe.options['out_features']}")
        return failed("TypeError", "unexpected keyword bias")

    session = Here(construct=construct)
    with pytest.raises(UserError) as caught:
        _first_supported(session, likeness("linear"), Interface(), "Mine", 0)
    assert str(caught.value) == (
        "Mine: cannot be made like any case of linear (TypeError: unexpected keyword bias); write the call out, "
        'FILE.py:"Class(1, 8)", and what it is then like, "Conv2d(1, 8, 3)" for instance'
    )
    assert [probe.options["out_features"] for _, _, probe in session.asked] == [4, 6, 3, 2]
    refusing = Here(construct=lambda *_: failed("UnsupportedError", "out_features=2"))
    with pytest.raises(UserError, match=r"any case of linear \(out_features=2\); write"):
        _first_supported(refusing, likeness("linear"), Interface(), "Mine", 0)


def test_the_first_options_that_are_taken_are_driven() -> None:
    def construct(_: Interface, probe: Probe) -> Outcome:
        return failed("TypeError") if probe.options["out_features"] > 3 else failed("ZeroDivisionError")

    session = Here(construct=construct)
    probe = _first_supported(session, likeness("linear"), Interface(), "Mine", 5)
    assert probe.options == {"in_features": 5, "out_features": 3}
    same = next(p for p in likeness("linear").pair.examined(5) if p.case == probe.case)
    np.testing.assert_array_equal(probe.calls[0].inputs[0], same.calls[0].inputs[0])


@pytest.mark.parametrize(
    ("found", "given", "words"),
    [
        (Interface(), Interface(), ""),
        (Interface(layout="NHWC"), Interface(), "it takes inputs as NHWC"),
        (Interface(layout="CHW"), Interface(), "it takes inputs as CHW, one at a time"),
        (Interface(layout="FN", single=True), Interface(), "it takes inputs as FN, one at a time"),
        (Interface(layout="NHWC"), Interface(layout="NHWC"), ""),
        (
            Interface(layout="HW", output_layout="HWC"),
            Interface(),
            "it takes inputs as HW, one at a time, outputs as HWC",
        ),
        (Interface(output_layout="HWC"), Interface(output_layout="HWC"), ""),
        (Interface(weight_layouts={"0.weight": "IO"}), Interface(), "it takes 0.weight as IO"),
        (Interface(targets="one-hot"), Interface(), "it takes targets as one-hot rows"),
        (Interface(targets="one-hot"), Interface(targets="one-hot"), ""),
        (Interface(targets="classes"), Interface(), ""),
    ],
)
def test_what_was_found_out_is_said_in_words(found: Interface, given: Interface, words: str) -> None:
    assert _in_words(found, given) == words


def options(**values: Any) -> Probe:
    return Probe(str(values), "float64", values, {})


def pairs_as(answers: dict[tuple[int, bool], bool]) -> Here:
    """A session that works as `answers` say for a kernel size, as one number or as a pair."""

    def drive(interface: Interface, probe: Probe) -> Outcome:
        works = answers[probe.options["kernel_size"], interface.size_pairs]
        return Outcome(Driven({})) if works else failed("TypeError")

    return Here(drive)


PAIR = options(kernel_size=(2, 3))


@pytest.mark.parametrize(
    ("probes", "answers", "takes"),
    [
        ([options(kernel_size=2), PAIR], {(2, False): True, (2, True): False}, False),
        ([options(kernel_size=2), PAIR], {(2, False): True, (2, True): True}, True),
        ([PAIR, options(kernel_size=5), options(kernel_size=2)], {(5, False): True, (5, True): False}, False),
        # What does not work as one number either says nothing of pairs.
        ([options(kernel_size=2), PAIR], {(2, False): False}, True),
        (
            [options(kernel_size=2), options(kernel_size=3), PAIR],
            {(2, False): False, (3, False): True, (3, True): False},
            False,
        ),
        ([options(kernel_size=2)], {}, True),
        ([PAIR], {}, True),
        ([options(p=0.5), PAIR], {}, True),
        ([options(dilation=2), PAIR], {}, True),  # no size that is passed as a pair
        ([], {}, True),
    ],
)
def test_whether_it_takes_pairs_is_tried_where_it_matters(
    probes: list[Probe], answers: dict[tuple[int, bool], bool], takes: bool
) -> None:
    session = pairs_as(answers)
    assert takes_pairs(session, likeness("conv2d"), Interface(), probes) is takes
    assert len(session.asked) == len(answers)


def test_what_is_like_one_module_takes_the_sizes_of_that_one() -> None:
    fixed = likeness(nn.MaxPool2d((2, 3)))
    session = pairs_as({(2, False): True, (2, True): False})
    assert takes_pairs(session, fixed, Interface(), [options(kernel_size=2), PAIR]) is True
    assert session.asked == []


@pytest.mark.parametrize(
    ("values", "two"),
    [
        ({}, False),
        ({"kernel_size": 3}, False),
        ({"kernel_size": (3, 3)}, False),
        ({"kernel_size": (3, 2)}, True),
        ({"stride": 2, "padding": (0, 1)}, True),
        ({"reduction": "mean"}, False),
    ],
)
def test_a_pair_is_two_different_sizes(values: dict[str, Any], two: bool) -> None:
    assert has_pairs(options(**values)) is two


def test_one_image_of_every_case_and_none_twice() -> None:
    pooling = likeness("maxpool2d")
    sizes: list[dict[str, Any]] = [{"kernel_size": 2}, {"kernel_size": 3}]
    cases = [Case((n, 3, 6, 7), kernel, kind) for n in (4, 2) for kernel in sizes for kind in ("normal", "zeros")]
    single = one_image(replace(pooling, pair=replace(pair_of("maxpool2d"), cases=tuple(cases), fixed=True)))
    assert single is not None
    assert isinstance(single.pair, LayerPair)
    assert (single.pair.name, single.pair.fixed, single.parts) == ("maxpool2d", True, pooling.parts)
    assert [case.name for case in single.pair.cases] == [
        "kernel_size=2 | 1x3x6x7 normal",
        "kernel_size=2 | 1x3x6x7 zeros",
        "kernel_size=3 | 1x3x6x7 normal",
        "kernel_size=3 | 1x3x6x7 zeros",
    ]
    everything = one_image(likeness("conv2d"))
    assert everything is not None
    assert isinstance(everything.pair, LayerPair)
    assert len(everything.pair.cases) == len(pair_of("conv2d").cases)


def test_one_image_of_one_value_is_no_case_of_batch_normalisation() -> None:
    assert one_image(likeness(nn.BatchNorm2d(3), (3, 1, 1))) is None
    single = one_image(likeness("batchnorm2d"))
    assert single is not None
    assert isinstance(single.pair, LayerPair)
    assert {case.shape for case in single.pair.cases} == {
        (1, 3, 5, 6),
        (1, 2, 6, 5),
        (1, 3, 3, 3),
        (1, 1, 4, 7),
        (1, 5, 3, 2),
        (1, 2, 4, 3),
        (1, 2, 3, 3),
    }


@pytest.mark.parametrize("name", ["sgd", "cnn"])
def test_an_optimizer_and_a_model_stay_what_they_are(name: str) -> None:
    like = likeness(name)
    single = one_image(like)
    assert single == like
    assert single.pair is like.pair
