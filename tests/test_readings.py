"""How somebody's code is read: by shapes, then by what it says about itself, never because its numbers agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import nn

from compare.contained.session import Session
from compare.diagnosis.likeness import Likeness, likeness, one_image
from compare.diagnosis.readings import (
    NotJudgedError,
    Read,
    Reader,
    Reading,
    _has_right_shape,
    _in_words,
    pairs_of,
    takes_pairs,
    unsupported,
    variants,
)
from compare.driving.answering import Outcome
from compare.driving.evidence import MEDIUM, STRONG, WEAK, Claim
from compare.driving.interface import Interface
from compare.driving.options import Axes, Option
from compare.driving.tensors import Call, Driven, Tensors
from compare.machine.errors import UserError
from compare.pairs.cases import Case
from compare.pairs.pair import LayerPair
from compare.pairs.probe import Probe
from compare.pairs.registry import REGISTRY

Answer = Callable[[Interface, Probe], Outcome]


def taken(_: Interface, __: Probe) -> Outcome:
    return Outcome(())


class Here(Session):
    """Answers in this process as it is told to, and keeps what it was asked."""

    def __init__(self, drive: Answer = taken, construct: Answer = taken, claims: Sequence[Claim] = ()) -> None:
        super().__init__(None)
        self.answers = {"drive": drive, "construct": construct, "claims": lambda *_: Outcome(tuple(claims))}
        self.asked: list[tuple[str, Interface, Probe]] = []

    def __call__(self, name: str, *arguments: Any) -> Outcome:
        interface, probe = arguments
        assert isinstance(interface, Interface)
        self.asked.append((name, interface, probe))
        return self.answers[name](interface, probe)

    def driven(self) -> list[Interface]:
        return [interface for name, interface, _ in self.asked if name == "drive"]

    def driven_on(self) -> list[Probe]:
        return [probe for name, _, probe in self.asked if name == "drive"]


def failed(error: str, text: str = "", *, refused: bool = False) -> Outcome:
    return Outcome(problem=f"raised {error}: {text}", error=error, refused=refused)


def right(pair: LayerPair, probe: Probe) -> Outcome:
    return Outcome(Driven(pair.expected(probe)))


def of_shape(*shape: int) -> Outcome:
    return Outcome(Driven({"output": np.full(shape, 77.0)}))


def shaped(pair: LayerPair, probe: Probe) -> Outcome:
    """An output of the right shape, and nothing right in it."""
    return of_shape(*pair.expected(probe)["output"].shape)


def pair_of(name: str) -> LayerPair:
    pair = REGISTRY[name]
    assert isinstance(pair, LayerPair)
    return pair


def first_of(like: Likeness) -> Probe:
    return next(like.pair.examined())


def read(session: Session, like: Likeness | str, interface: Interface | None = None, seed: int = 0) -> Read:
    compared = likeness(like) if isinstance(like, str) else like
    return Reader(session, "Mine", seed).read(compared, Interface() if interface is None else interface)


# ---- the ways to read it

Way = tuple[str, str, str, dict[str, str]]


def ways(interface: Interface, like: Likeness) -> list[Way]:
    probe = first_of(like)
    found = list(variants(interface, probe, like.axes(probe.state)))
    return [(i.layout, i.output_layout, i.targets, dict(i.weight_layouts)) for i in found]


def test_a_dense_layer_is_tried_with_rows_columns_and_one_vector_and_its_weight_both_ways() -> None:
    turned = {"weight": "IO"}
    assert ways(Interface(), likeness("linear")) == [
        (layout, "", "", weight) for layout in ("", "CN", "C", "C1", "1C") for weight in ({}, turned)
    ]


def test_a_convolution_is_tried_with_every_order_of_the_input_and_within_it_of_the_kernel() -> None:
    images = [("", ""), ("NHWC", ""), ("CHW", ""), ("HWC", ""), ("HW", "HWC"), ("HW", "CHW"), ("HW", "HW")]
    images += [("NHW", "NCHW"), ("NHW", "NHWC"), ("NHW", "NHW"), ("1CHW", ""), ("1HWC", "")]
    first = ["", "IOHW", "OHW", "HWO", "HWIO", "OHWI", "HWOI"]
    last = ["HWIO", "OHWI", "HWOI", "OHW", "HWO", "", "IOHW"]  # channels last in the image, and so in the kernel
    assert ways(Interface(), likeness("conv2d")) == [
        (layout, output, "", {"weight": kernel} if kernel else {})
        for layout, output in images
        for kernel in (last if layout.endswith("HWC") else first)
    ]


@pytest.mark.parametrize("name", ["conv2d", "maxpool2d", "relu", "linear", "softmax", "cross_entropy", "flatten"])
def test_torchs_own_order_comes_first_and_no_way_twice(name: str) -> None:
    found = ways(Interface(), likeness(name))
    targets = "classes" if name == "cross_entropy" else ""
    assert found[0] == ("", "", targets, {})
    assert all(found.count(way) == 1 for way in found)


def test_weights_of_both_kinds_are_tried_in_all_combinations() -> None:
    both = likeness(nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(2, 3)), (1, 2, 2))
    found = [way[-1] for way in ways(Interface(layout="NCHW"), both)]
    assert found[:4] == [
        {},
        {"2.weight": "IO"},
        {"0.weight": "IOHW"},
        {"0.weight": "IOHW", "2.weight": "IO"},
    ]
    assert len(found) == 14
    assert all(found.count(way) == 1 for way in found)


def test_the_orders_of_a_weight_that_are_tried_are_those_of_its_axes_whatever_their_number() -> None:
    scores, state = first_of(likeness("relu")), {"a": np.zeros(2), "b": np.zeros((2, 2)), "c": np.zeros((2, 2))}
    axes = {"a": Axes("O"), "b": Axes("OI"), "c": Axes("QK", ("KQ", "Q"))}
    found = [dict(way.weight_layouts) for way in variants(Interface(layout="NC"), replace(scores, state=state), axes)]
    assert found == [{}, {"c": "KQ"}, {"c": "Q"}]


def test_what_was_said_is_not_tried_otherwise() -> None:
    linear, pool = likeness("linear"), likeness("maxpool2d")
    assert ways(Interface(layout="CHW"), pool) == [("CHW", "", "", {})]
    assert ways(Interface(output_layout="HWC"), pool) == [("", "HWC", "", {})]
    assert {way[0] for way in ways(Interface(layout="1C"), linear)} == {"1C"}
    probe = first_of(linear)
    given = next(variants(Interface(forward="go", parameters={"W": "weight"}), probe, linear.axes(probe.state)))
    assert given == Interface(forward="go", parameters={"W": "weight"})


def test_only_a_loss_is_tried_with_one_hot_targets() -> None:
    loss = likeness("cross_entropy")
    rows = ["", "CN", "C", "C1", "1C"]
    found = ways(Interface(), loss)
    assert [way[:3] for way in found] == [
        (layout, "", targets) for layout in rows for targets in ("classes", "one-hot")
    ]
    assert [way[2] for way in ways(Interface(layout="NC"), loss)] == ["classes", "one-hot"]
    assert [way[2] for way in ways(Interface(layout="NC", targets="one-hot"), loss)] == ["one-hot"]
    assert [way[2] for way in ways(Interface(layout="NC"), likeness("relu"))] == [""]


# ---- shapes


def flat(rows: int) -> Probe:
    """A probe of ReLU."""
    x = np.arange(2.0 * rows).reshape(-1, 2)
    return Probe("case", "float64", {}, {}, (Call((x,), np.ones_like(x)),))


@pytest.mark.parametrize(
    ("shape", "fits"),
    [((1, 2), True), ((2, 1), False), ((2,), False), ((1, 2, 1), False), ((1, 1), False), ((), False), ((0, 2), False)],
)
def test_a_reading_fits_where_the_output_has_the_right_shape(shape: tuple[int, ...], fits: bool) -> None:
    assert _has_right_shape(likeness("relu"), flat(1), of_shape(*shape)) is fits


@pytest.mark.parametrize("number", [0.0, 1.0, -1.7e308, np.nan, np.inf])
def test_its_numbers_do_not_matter(number: float) -> None:
    got: Tensors = {"output": np.full((1, 2), number), "grad_input": np.full(3, 9.0)}
    assert _has_right_shape(likeness("relu"), flat(1), Outcome(Driven(got)))
    assert _has_right_shape(likeness("relu"), flat(0), of_shape(0, 2))


def test_what_breaks_or_gives_no_output_fits_nowhere_but_for_what_breaks_in_backward() -> None:
    relu, probe = likeness("relu"), flat(1)
    assert not _has_right_shape(relu, probe, failed("IndexError"))
    # Backward is only run on an output of the right shape.
    assert _has_right_shape(relu, probe, replace(failed("IndexError"), in_backward=True))
    gradient: Tensors = {"grad_input": probe.calls[0].inputs[0]}
    assert not _has_right_shape(relu, probe, Outcome(Driven(gradient)))


def test_the_first_output_of_several_calls_and_the_scores_of_a_model_count() -> None:
    relu, model = likeness("relu"), likeness("cnn")
    calls = tuple(Call((np.zeros((n, 2)),), np.zeros((n, 2))) for n in (3, 2))
    twice = Probe("case", "float64", {}, {}, calls)
    for rows, fits in ((3, True), (2, False)):
        got: Tensors = {"output of call 1": np.zeros((rows, 2)), "output of call 2": np.zeros((2, 2))}
        assert _has_right_shape(relu, twice, Outcome(Driven(got))) is fits
    probe = first_of(model)
    shape = model.pair.expected(probe)["logits"].shape
    assert _has_right_shape(model, probe, Outcome(Driven({"logits": np.zeros(shape)})))
    assert not _has_right_shape(model, probe, Outcome(Driven({"logits": np.zeros((1, *shape))})))


def test_the_first_way_of_the_right_shape_is_found_and_said() -> None:
    like = likeness("conv2d")
    wanted = replace(Interface(), layout="NHWC", weight_layouts={"weight": "OHWI"})

    def drive(interface: Interface, probe: Probe) -> Outcome:
        if interface == wanted:
            placed = Driven(shaped(pair_of("conv2d"), probe).value.tensors, placed=(("weight", "W"),))
            return Outcome(placed)
        return of_shape(3, 5, 9, 9) if interface.layout == "" else failed("LayoutError", "no")

    session = Here(drive)
    found = read(session, like)
    assert found == Read(Reading(like, wanted, (("weight", "W"),)), ("it takes inputs as NHWC, weight as OHWI",))
    assert session.driven()[-1] == wanted  # nothing is tried after it
    assert len(session.driven()) == 7 + 2


def test_the_natural_reading_holds_where_shapes_leave_it_open_even_if_another_agrees_in_its_numbers() -> None:
    def drive(interface: Interface, probe: Probe) -> Outcome:
        return shaped(pair_of("linear"), probe) if interface == Interface() else right(pair_of("linear"), probe)

    session = Here(drive)
    found = read(session, "linear")
    assert (found.reading.interface, found.remarks, found.assumed) == (Interface(), (), "")
    assert session.driven() == [Interface()]


@pytest.mark.parametrize(("strength", "layout"), [(STRONG, "HWC"), (WEAK, "NHWC")])
def test_a_reading_of_the_wrong_shape_is_judged_only_where_the_codes_own_words_speak_for_it(
    strength: int, layout: str
) -> None:
    claims = [Claim("h, w, c = x.shape", strength, "HWC", 3, False), Claim("one image", strength, batched=False)]

    def drive(interface: Interface, probe: Probe) -> Outcome:
        if interface.layout == "HWC":
            return Outcome(Driven({**right(pair_of("relu"), probe).value.tensors, "output": np.zeros((1, 5, 4, 3))}))
        return shaped(pair_of("relu"), probe) if interface.layout == "NHWC" else failed("ValueError", "no")

    session = Here(drive, claims=claims)
    assert read(session, "relu").reading.interface == Interface(layout=layout)
    assert session.driven()[0].layout == "HWC"


def test_code_that_computes_anything_for_a_batch_is_not_read_as_taking_one_image_by_shapes_alone() -> None:
    def drive(interface: Interface, probe: Probe) -> Outcome:
        return right(pair_of("flatten"), probe) if interface.one_at_a_time else of_shape(1, 120)

    assert read(Here(drive), "flatten").reading.interface == Interface()
    said = [Claim("c, h, w = x.shape", STRONG, "CHW", 3, False)]
    assert read(Here(drive, claims=said), "flatten").reading.interface == Interface(layout="CHW")


def test_what_is_right_as_it_is_needs_no_words() -> None:
    like = likeness("relu")
    session = Here(lambda _, probe: right(pair_of("relu"), probe))
    assert read(session, like) == Read(Reading(like, Interface()))
    assert [name for name, _, _ in session.asked if name != "construct"] == ["claims", "drive"]
    assert {probe.case for _, _, probe in session.asked} == {first_of(like).case}


# ---- what the code says


@pytest.mark.parametrize(
    ("claims", "layout"),
    [
        ([], ""),
        ([Claim("", WEAK, batched=False)], "CHW"),
        ([Claim("", WEAK, axes="HWC")], "HWC"),
        ([Claim("", WEAK, axes="NHWC", batched=True)], "NHWC"),
        ([Claim("", WEAK, axes="1HWC")], "1HWC"),  # only since it is said
        ([Claim("", WEAK, batched=True)], ""),
        ([Claim("", STRONG, axes="NCHW", batched=True)], ""),
        ([Claim("", WEAK, axes="ABCD")], ""),
        ([Claim("", WEAK, ndim=3)], "CHW"),
        # Their own words outweigh what is said elsewhere.
        ([Claim("", STRONG, axes="NCHW", batched=True), Claim("", WEAK, batched=False)], ""),
        ([Claim("", MEDIUM, batched=True), Claim("", WEAK, axes="HWC", batched=False)], ""),
        ([Claim("", WEAK, batched=True), Claim("", MEDIUM, axes="HWC", batched=False)], "HWC"),
        # What is as much said as the other way leaves it as it is.
        ([Claim("", WEAK, batched=True), Claim("", WEAK, batched=False)], ""),
        ([Claim("", WEAK, columns=True), Claim("", WEAK, targets="one-hot"), Claim("", WEAK, weights="IO")], ""),
    ],
)
def test_what_the_code_says_decides_before_the_natural_order(claims: list[Claim], layout: str) -> None:
    session = Here(lambda _, probe: shaped(pair_of("relu"), probe), claims=claims)
    found = read(session, "relu")
    assert found.reading.interface.layout == layout
    assert found.claims == tuple(claims)
    assert session.driven() == [found.reading.interface]


def test_what_the_code_says_for_a_reading_is_weighed_and_quoted() -> None:
    claims = [
        Claim("of another", WEAK, axes="NCHW", batched=True),
        Claim("h, w, c = x.shape", STRONG, "HWC", 3, False),
        Claim("called image", WEAK, batched=False),
    ]
    found = read(Here(lambda _, probe: shaped(pair_of("relu"), probe), claims=claims), "relu")
    assert found.reading.support == STRONG
    assert found.remarks == ("it takes inputs as HWC, one at a time (h, w, c = x.shape)",)


@pytest.mark.parametrize(("order", "layouts"), [("IO", {"weight": "IO"}), ("OI", {}), ("OIHW", {}), ("", {})])
def test_the_order_of_weights_is_as_it_is_said(order: str, layouts: dict[str, str]) -> None:
    claims = [Claim("made so", STRONG, weights=order)]
    found = read(Here(lambda _, probe: shaped(pair_of("linear"), probe), claims=claims), "linear")
    assert found.reading.interface == Interface(weight_layouts=layouts)
    assert found.remarks == (("it takes weight as IO (made so)",) if layouts else ())


def test_of_weights_of_several_kinds_one_order_says_nothing() -> None:
    both = likeness(nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(2, 3)), (1, 2, 2))
    pair = both.pair
    assert isinstance(pair, LayerPair)
    for order in ("IO", "HWIO"):
        claims = [Claim("made so", STRONG, weights=order)]
        found = read(Here(lambda _, probe: shaped(pair, probe), claims=claims), both)
        assert found.reading.interface == Interface()


def test_targets_are_as_they_are_said() -> None:
    def drive(_: Interface, probe: Probe) -> Outcome:
        return right(pair_of("cross_entropy"), probe)

    assert read(Here(drive), "cross_entropy").reading.interface.targets == "classes"
    found = read(Here(drive, claims=[Claim("Y_oh", WEAK, targets="one-hot")]), "cross_entropy")
    assert found.reading.interface == Interface(targets="one-hot")
    assert found.remarks == ("it takes targets as one-hot rows (Y_oh)",)


def test_what_it_is_told_counts_before_what_the_code_says() -> None:
    claims = [Claim("", STRONG, "HWC", 3, False)]
    session = Here(lambda _, probe: shaped(pair_of("relu"), probe), claims=claims)
    found = read(session, "relu", Interface(layout="CHW"))
    assert found.reading.interface == Interface(layout="CHW")
    assert found.reading.support == -STRONG
    assert found.remarks == ()


def test_a_batch_of_one_is_tried_where_it_is_told_or_said_only() -> None:
    def tried(interface: Interface, *claims: Claim) -> set[str]:
        session = Here(lambda *_: failed("LayoutError"), claims=claims)
        with pytest.raises(NotJudgedError):
            read(session, "softmax", interface)
        return {interface.layout for interface in session.driven()}

    assert tried(Interface()) == {"", "CN", "C"}
    assert tried(Interface(layout="1C")) == {"1C"}
    assert tried(Interface(), Claim("", WEAK, axes="1C")) == {"", "CN", "C", "1C"}
    assert tried(Interface(), Claim("", WEAK, columns=True)) == {"", "CN", "C", "C1"}


def test_the_code_is_asked_for_its_words_in_the_options_that_it_takes() -> None:
    def construct(_: Interface, probe: Probe) -> Outcome:
        return failed("TypeError") if probe.options["out_features"] > 3 else taken(_, probe)

    session = Here(lambda _, probe: right(pair_of("linear"), probe), construct)
    read(session, "linear")
    ((_, interface, probe),) = [asked for asked in session.asked if asked[0] == "claims"]
    assert (interface, probe.options["out_features"]) == (Interface(), 3)


# ---- what is refused, and what breaks


def sides(probe: Probe) -> tuple[int, ...]:
    return probe.calls[0].inputs[0].shape


def test_a_probe_that_is_refused_is_drawn_again_to_fit() -> None:
    def drive(_: Interface, probe: Probe) -> Outcome:
        n, _c, h, w = sides(probe)
        if h % 2 or w % 2 or h != w:
            return failed("AssertionError", "even squares only", refused=True)
        return shaped(pair_of("maxpool2d"), probe) if n > 1 else failed("ValueError", "one?")

    session = Here(drive)
    found = read(session, "maxpool2d")
    assert found.reading.interface == Interface()
    assert [sides(probe) for probe in session.driven_on()] == [
        (2, 3, 9, 7),
        (2, 3, 9, 9),
        (2, 3, 10, 8),
        (2, 3, 10, 10),
    ]
    assert all(interface == Interface() for interface in session.driven())


def test_the_shape_of_what_was_taken_is_the_one_that_is_held_against_torchs() -> None:
    """What takes even sides only gives the right shape for those, and no other reading is tried."""

    def drive(interface: Interface, probe: Probe) -> Outcome:
        if sides(probe)[2] % 2:
            return failed("ValueError", "odd", refused=True)
        return shaped(pair_of("maxpool2d"), probe) if interface.layout == "NHWC" else of_shape(2, 3, 4, 4)

    session = Here(drive)
    assert read(session, "maxpool2d").reading.interface.layout == "NHWC"


def test_one_image_or_channel_is_no_way_to_fit_a_batch() -> None:
    """That is another reading, which is tried by itself."""

    def drive(interface: Interface, probe: Probe) -> Outcome:
        if sides(probe)[0] > 1 or (interface.layout == "HW" and sides(probe)[1] > 1):
            return failed("ValueError", "one image", refused=True)
        return shaped(pair_of("maxpool2d"), probe)

    session = Here(drive)
    assert read(session, "maxpool2d").reading.interface.layout == "CHW"
    assert {sides(probe)[:2] for probe in session.driven_on()} == {(2, 3), (1, 3)}


def test_what_breaks_without_a_word_is_tried_on_even_and_equal_sides_alone() -> None:
    def drive(_: Interface, probe: Probe) -> Outcome:
        square = sides(probe)[2] == sides(probe)[3]
        return shaped(pair_of("maxpool2d"), probe) if square else failed("IndexError", "7 is out of bounds")

    session = Here(drive)
    assert read(session, "maxpool2d").reading.interface == Interface()
    assert [sides(probe) for probe in session.driven_on()] == [(2, 3, 9, 7), (2, 3, 10, 8), (2, 3, 10, 10)]


@pytest.mark.parametrize("error", ["UndrivableError", "LayoutError", "ConversionError"])
def test_what_cannot_be_driven_is_not_drawn_again(error: str) -> None:
    session = Here(lambda *_: failed(error, "no", refused=True))
    with pytest.raises(NotJudgedError):
        read(session, "relu", Interface(layout="NHWC"))
    assert len(session.driven()) == 1


def test_where_nothing_fits_the_first_reading_that_runs_is_judged_all_the_same() -> None:
    found = read(Here(lambda *_: failed("ValueError", "never", refused=True)), "relu")
    assert (found.reading.interface, found.remarks) == (Interface(), ())
    wrong = read(Here(lambda *_: of_shape(7)), "relu")
    assert wrong.reading.interface == Interface()
    said = read(Here(lambda *_: of_shape(7), claims=[Claim("", WEAK, axes="HWC")]), "relu")
    assert said.reading.interface == Interface(layout="HWC")


def on_matrices(interface: Interface, probe: Probe, otherwise: Outcome) -> Outcome:
    """Code that is right on one image without channels."""
    if interface.layout == "HW" and interface.output_layout == "HW":
        return right(pair_of("relu"), probe)
    return otherwise


@pytest.mark.parametrize("otherwise", [of_shape(7), of_shape(2, 3, 1, 1)])
def test_what_computes_anything_for_images_with_channels_is_not_read_as_taking_none(otherwise: Outcome) -> None:
    session = Here(lambda interface, probe: on_matrices(interface, probe, otherwise))
    found = read(session, "relu")
    assert (found.reading.interface, found.remarks) == (Interface(), ())
    assert {interface.layout for interface in session.driven()} == {"", "NHWC"}  # nor as taking one image


def test_what_breaks_on_images_with_channels_may_take_none() -> None:
    session = Here(lambda interface, probe: on_matrices(interface, probe, failed("ValueError", "2 axes")))
    found = read(session, "relu")
    assert found.reading.interface == Interface(layout="HW", output_layout="HW")
    assert found.remarks == ("it takes inputs as HW, one at a time, outputs as HW",)


def test_what_computes_anything_for_images_with_channels_takes_none_where_it_says_so() -> None:
    def drive(interface: Interface, probe: Probe) -> Outcome:
        return on_matrices(interface, probe, of_shape(7))

    said = Claim("its docstring: (H, W)", STRONG, axes="HW")
    assert read(Here(drive, claims=[said]), "relu").reading.interface.layout == "HW"
    told = read(Here(drive), "relu", Interface(layout="HW", output_layout="HW"))
    assert told.reading.interface.layout == "HW"


# ---- from the first to the last resort


def test_the_seed_draws_what_it_is_tried_on() -> None:
    like = likeness("relu")
    inputs = []
    for seed in (0, 1):
        session = Here(lambda _, probe: right(pair_of("relu"), probe))
        read(session, like, seed=seed)
        inputs.append(session.asked[-1][2].calls[0].inputs[0])
        np.testing.assert_array_equal(inputs[-1], next(like.pair.examined(seed)).calls[0].inputs[0])
    assert (inputs[0] != inputs[1]).any()


def test_the_first_with_the_right_shape_is_taken_else_the_first_that_runs() -> None:
    # 5 rows of 7, 4 outputs
    def of_columns(interface: Interface, _: Probe) -> Outcome:
        if interface.layout == "":
            return failed("ValueError", "shapes do not fit")
        return of_shape(5, 4) if interface.layout == "CN" else of_shape(1, 4, 5)

    found = read(Here(of_columns), "linear")
    assert found.reading.interface == Interface(layout="CN")
    assert found.remarks == ("it takes inputs as CN",)

    def broken(interface: Interface, _: Probe) -> Outcome:
        return failed("LayoutError") if interface.layout == "" else failed("ValueError")

    found = read(Here(broken), "linear")
    assert found.reading.interface == Interface(layout="CN")
    assert found.assumed == ""


def test_one_image_at_a_time_is_tried_on_one_image_and_one_channel_on_one() -> None:
    session = Here(lambda *_: failed("LayoutError"))
    with pytest.raises(NotJudgedError):
        read(session, "maxpool2d")
    tried = {(interface.layout, *sides(probe)[:2]) for name, interface, probe in session.asked if name == "drive"}
    assert tried == {
        ("", 2, 3),
        ("NHWC", 2, 3),
        ("CHW", 1, 3),
        ("HWC", 1, 3),
        ("HW", 1, 1),
        ("NHW", 2, 1),
    }


def test_a_way_that_ends_the_process_is_tried_no_further() -> None:
    crash = Outcome(problem="its process was ended by SIGSEGV: a crash", error="SIGSEGV", fatal=True)
    session = Here(lambda *_: crash)
    like = likeness("conv2d")
    assert read(session, like) == Read(Reading(like, Interface()))
    assert len(session.driven()) == 1


# ---- what is said where it cannot be driven


def test_something_told_wrongly_is_an_error_at_once() -> None:
    session = Here(lambda *_: failed("MistoldError", "there is no array V; correct --param"))
    with pytest.raises(UserError, match=r"^Mine: there is no array V; correct --param$"):
        read(session, "conv2d")
    assert len(session.driven()) == 1


def test_of_the_reasons_why_it_cannot_be_driven_the_first_says_most_but_not_that_of_a_layout() -> None:
    reasons = {
        "": ("LayoutError", "axes"),
        "NHWC": ("UndrivableError", "no method called forward"),
        "CHW": ("UndrivableError", "something later"),
    }
    session = Here(lambda interface, _: failed(*reasons.get(interface.layout, ("LayoutError", "axes"))))
    with pytest.raises(NotJudgedError, match=r"^Mine: no method called forward$"):
        read(session, "relu")
    with pytest.raises(NotJudgedError, match=r"^Mine: axes$"):
        read(Here(lambda *_: failed("LayoutError", "axes")), "softmax")
    with pytest.raises(NotJudgedError, match=r"^Mine: a tuple of text$"):
        read(Here(lambda *_: failed("ConversionError", "a tuple of text")), "softmax")


def test_a_reason_that_begins_with_the_name_is_not_given_it_twice() -> None:
    reader = Reader(Here(), "Mine", 0)
    assert str(reader._undrivable(failed("UndrivableError", "Mine has no method"))) == "Mine has no method"
    odd = reader._undrivable(failed("UndrivableError", "no method: Error: odd"))
    assert str(odd) == "Mine: no method: Error: odd"
    assert isinstance(odd, NotJudgedError)
    assert isinstance(reader._undrivable(failed("MistoldError", "no")), UserError)


def test_a_layer_without_a_bias_is_compared_without_one() -> None:
    def drive(interface: Interface, probe: Probe) -> Outcome:
        assert interface.built_in == ({} if probe.options.get("bias", True) else {"bias": False})
        if probe.options.get("bias", True):
            return failed("UndrivableError", "Mine: cannot find bias [4]")
        return right(pair_of("linear"), probe)

    found = read(Here(drive), "linear")
    assert found.reading.interface == Interface(built_in={"bias": False})
    assert (found.assumed, found.remarks) == ("bias (it has none)", ())
    pair = found.reading.compared.pair
    assert isinstance(pair, LayerPair)
    assert len(pair.cases) == len(pair_of("linear").cases)
    assert all(case.options["bias"] is False for case in pair.cases)


def test_what_breaks_with_a_bias_is_still_compared_without_one() -> None:
    """A shape that is right counts before a reading that runs, if the layer can do without its bias."""

    def drive(_: Interface, probe: Probe) -> Outcome:
        return of_shape(9) if probe.options.get("bias", True) else right(pair_of("linear"), probe)

    assert read(Here(drive), "linear").assumed == "bias (it has none)"
    # Where neither is right, what was found out first says more.
    neither = read(Here(lambda *_: of_shape(9)), "linear")
    assert (neither.assumed, neither.reading.interface) == ("", Interface())


def test_any_option_that_much_code_leaves_out_is_tried_without() -> None:
    norm = replace(
        pair_of("batchnorm2d"), options={"affine": Option(often_dropped=True), "eps": Option(), "gain": Option()}
    )

    def drive(_: Interface, probe: Probe) -> Outcome:
        return right(norm, probe) if probe.options.get("affine") is False else failed("UndrivableError", "no weight")

    found = read(Here(drive), likeness(norm))
    assert found.reading.interface == Interface(built_in={"affine": False})
    assert found.assumed == "affine (it has none)"
    pair = found.reading.compared.pair
    assert isinstance(pair, LayerPair)
    assert all(case.options["affine"] is False for case in pair.cases)
    # One that its constructor has not, or that much code has too, is not.
    for rarely in ({"gain": Option(often_dropped=True)}, pair_of("batchnorm2d").options):
        session = Here(drive)
        with pytest.raises(NotJudgedError, match=r"^Mine: no weight$"):
            read(session, likeness(replace(norm, options=rarely)))
        assert {probe.options.get("affine", True) for _, _, probe in session.asked} == {True}
        assert all(interface.built_in == {} for _, interface, _ in session.asked)


def test_where_it_cannot_be_driven_without_a_bias_either_the_first_reason_is_given() -> None:
    def drive(_: Interface, probe: Probe) -> Outcome:
        return failed("UndrivableError", f"bias {probe.options.get('bias', True)}")

    with pytest.raises(NotJudgedError, match=r"^Mine: bias True$"):
        read(Here(drive), "linear")

    def construct(_: Interface, probe: Probe) -> Outcome:
        return taken(_, probe) if probe.options.get("bias", True) else failed("UnsupportedError", "bias=False")

    with pytest.raises(NotJudgedError, match=r"^Mine: bias True$"):
        read(Here(drive, construct), "linear")


@pytest.mark.parametrize("like", ["relu", "cross_entropy"])
def test_what_never_has_a_bias_is_not_tried_without_one(like: str) -> None:
    session = Here(lambda *_: failed("UndrivableError", "no"))
    with pytest.raises(NotJudgedError, match=r"^Mine: no$"):
        read(session, like)
    assert not any("bias" in probe.options for _, _, probe in session.asked)


# ---- sizes of its own


def own_kernel(interface: Interface, probe: Probe) -> Outcome:
    """Code that takes no kernel size can be made like no case, until it is known which one it has."""
    if interface.built_in.get("kernel_size") == probe.options["kernel_size"]:
        return taken(interface, probe)
    return failed("UnsupportedError", f"kernel_size={probe.options['kernel_size']}, padding=1")


@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_layer_with_a_kernel_of_its_own_is_compared_with_that_size(size: int) -> None:
    def drive(interface: Interface, probe: Probe) -> Outcome:
        if interface.built_in["kernel_size"] != size:
            return failed("UndrivableError", f"cannot find weight of {probe.options['kernel_size']}")
        return shaped(pair_of("conv2d"), probe)

    session = Here(drive, own_kernel)
    found = read(session, "conv2d")
    assert found.reading.interface == Interface(built_in={"kernel_size": size})
    assert found.assumed == f"other values of kernel_size than its own, {size}"
    pair = found.reading.compared.pair
    assert isinstance(pair, LayerPair)
    assert {case.options["kernel_size"] for case in (*pair.cases, *pair.small)} == {size}
    assert {interface.built_in["kernel_size"] for interface in session.driven()} == {n for n in (2, 3, 5) if n <= size}


def test_pooling_of_its_own_size_is_found_by_the_shape_of_its_output() -> None:
    def drive(_: Interface, probe: Probe) -> Outcome:
        n, c, h, w = sides(probe)
        return of_shape(n, c, h // 3, w // 3)

    found = read(Here(drive, own_kernel), "maxpool2d")
    assert found.assumed == "other values of kernel_size than its own, 3"
    # Where the shape is wrong for each, the first size is judged.
    none = read(Here(lambda *_: of_shape(1, 1, 1), own_kernel), "maxpool2d")
    assert none.assumed == "other values of kernel_size than its own, 2"


def test_a_kernel_that_is_none_of_the_usual_ones_is_not_judged_and_the_reason_of_the_first_is_given() -> None:
    def drive(_: Interface, probe: Probe) -> Outcome:
        return failed("UndrivableError", f"no weight of {probe.options['kernel_size']}")

    with pytest.raises(NotJudgedError, match=r"^Mine: no weight of 2$"):
        read(Here(drive, own_kernel), "conv2d")


def test_a_layer_with_a_kernel_of_its_own_and_no_bias_is_compared_so() -> None:
    def drive(interface: Interface, probe: Probe) -> Outcome:
        if interface.built_in["kernel_size"] != 3 or probe.options.get("bias", True):
            return failed("UndrivableError", "cannot find bias [4]")
        return shaped(pair_of("conv2d"), probe)

    found = read(Here(drive, own_kernel), "conv2d")
    assert found.reading.interface == Interface(built_in={"kernel_size": 3, "bias": False})
    assert found.assumed == "other values of kernel_size than its own, 3; bias (it has none)"
    pair = found.reading.compared.pair
    assert isinstance(pair, LayerPair)
    assert {(case.options["kernel_size"], case.options["bias"]) for case in pair.cases} == {(3, False)}


def test_a_size_is_supposed_once_also_where_the_refusal_goes_on_to_name_it() -> None:
    def construct(_: Interface, probe: Probe) -> Outcome:
        assert len(session.asked) < 1000
        return failed("TypeError", f"kernel_size={probe.options['kernel_size']} is no Kernel")

    session = Here(construct=construct)
    with pytest.raises(NotJudgedError, match=r"any case of conv2d \(TypeError: kernel_size=[23] is no Kernel\)"):
        read(session, "conv2d")


def test_an_error_in_backward_leaves_the_reading_as_it_is() -> None:
    broken = replace(failed("IndexError", "3"), in_backward=True)
    session = Here(lambda *_: broken)
    assert read(session, "linear").reading.interface == Interface()
    assert [interface for interface in session.driven() if interface != Interface()] == []
    assert {reading.interface.layout for reading in others(Here(lambda *_: broken), "softmax")} == {
        "CN",
        "C",
        "C1",
        "1C",
    }


def test_only_a_size_that_much_code_has_for_itself_is_tried_so() -> None:
    session = Here(construct=lambda *_: failed("UnsupportedError", "out_channels=5"))
    with pytest.raises(NotJudgedError, match=r"any case of conv2d \(out_channels=5\)"):
        read(session, "conv2d")
    assert all(interface.built_in == {} for _, interface, _ in session.asked)
    assert session.driven() == []


# ---- what it is made with


def test_each_set_of_options_is_tried_once_and_the_first_refusal_is_said() -> None:
    def construct(_: Interface, probe: Probe) -> Outcome:
        if probe.options.get("bias", True):
            return failed("UnsupportedError", f"out_features={probe.options['out_features']}")
        return failed("TypeError", "unexpected keyword bias")

    session = Here(construct=construct)
    with pytest.raises(NotJudgedError) as caught:
        read(session, "linear")
    assert str(caught.value) == (
        "Mine: cannot be made like any case of linear (out_features=4); write the call out, "
        'FILE.py:"Class(1, 8)", and what it is then like, "Conv2d(1, 8, 3)" for instance'
    )
    assert [probe.options["out_features"] for _, _, probe in session.asked] == [4, 6, 3, 2]
    of_type = Here(construct=lambda *_: failed("TypeError", "unexpected keyword bias"))
    with pytest.raises(NotJudgedError, match=r"any case of linear \(TypeError: unexpected keyword bias\); write"):
        read(of_type, "linear")


def test_the_first_options_that_are_taken_are_driven() -> None:
    def construct(_: Interface, probe: Probe) -> Outcome:
        return failed("TypeError") if probe.options["out_features"] > 3 else failed("ZeroDivisionError")

    session = Here(lambda _, probe: right(pair_of("linear"), probe), construct)
    read(session, "linear", seed=5)
    (probe,) = session.driven_on()
    assert probe.options == {"in_features": 5, "out_features": 3}
    same = next(p for p in likeness("linear").pair.examined(5) if p.case == probe.case)
    np.testing.assert_array_equal(probe.calls[0].inputs[0], same.calls[0].inputs[0])


def test_options_that_it_does_not_take_are_left_at_their_defaults() -> None:
    """The first probe is drawn again so, before another one is looked for that need not tell axes apart so well."""

    def construct(_: Interface, probe: Probe) -> Outcome:
        return failed("UnsupportedError", "padding=1 (only 0)") if probe.options.get("padding") else taken(_, probe)

    session = Here(lambda _, probe: right(pair_of("conv2d"), probe), construct)
    read(session, "conv2d")
    (probe,) = session.driven_on()
    assert probe.options == {"in_channels": 2, "out_channels": 5, "kernel_size": 3, "padding": 0}
    assert sides(probe) == (3, 2, 9, 8)


@pytest.mark.parametrize(
    ("outcome", "options"),
    [
        (failed("UnsupportedError", "padding=1, stride=(2, 1)"), ("padding", "stride")),
        (failed("UnsupportedError", "not that"), ()),
        (failed("TypeError", "padding=1"), ()),
        (Outcome(()), ()),
    ],
)
def test_the_options_that_it_does_not_take_are_read_from_the_refusal(
    outcome: Outcome, options: tuple[str, ...]
) -> None:
    assert unsupported(outcome) == options


# ---- what there is nothing to find out about


def test_a_difference_that_was_said_is_not_said_again() -> None:
    def drive(interface: Interface, probe: Probe) -> Outcome:
        return right(pair_of("relu"), probe) if interface.layout == "C1" else failed("LayoutError")

    found = read(Here(drive), "relu", Interface(layout="F1"))
    assert found.reading.interface == Interface(layout="C1")
    assert found.remarks == ()


def test_an_optimizer_is_asked_once_whether_it_can_be_driven() -> None:
    like = likeness("sgd")
    session = Here(lambda *_: failed("TypeError", "a mistake of its own"))
    assert read(session, like, seed=3) == Read(Reading(like, Interface()))
    ((name, interface, probe),) = session.asked
    assert (name, interface, probe.case) == ("drive", Interface(), "lr=0.1")
    np.testing.assert_array_equal(probe.state["bias"], next(like.pair.examined(3)).state["bias"])
    with pytest.raises(NotJudgedError, match=r"^Mine has no step$"):
        read(Here(lambda *_: failed("UndrivableError", "Mine has no step")), like)
    with pytest.raises(UserError, match=r"^Mine: no W$"):
        read(Here(lambda *_: failed("MistoldError", "no W")), like)


def test_a_model_is_driven_as_it_is() -> None:
    session = Here(lambda *_: failed("UndrivableError", "no conv1"))
    with pytest.raises(NotJudgedError, match=r"^Mine: no conv1$"):
        read(session, "lenet5")
    assert {len(probe.calls[0].inputs[0]) for _, _, probe in session.asked} == {64}


def test_batch_normalisation_of_one_value_is_not_tried_on_one_image() -> None:
    like = likeness(nn.BatchNorm2d(3), (3, 1, 1))
    assert isinstance(like.pair, LayerPair)
    pair = like.pair
    session = Here(lambda _, probe: right(pair, probe))
    assert read(session, like) == Read(Reading(like, Interface()))
    wrong = Here(lambda *_: of_shape(3, 3, 1, 2))
    assert read(wrong, like) == Read(Reading(like, Interface()))
    assert {interface.layout for interface in wrong.driven()} == {"", "NHWC"}
    with pytest.raises(UserError, match=r"^Mine: batchnorm2d has no case with a single image$"):
        read(session, like, Interface(layout="CHW"))


# ---- in words


@pytest.mark.parametrize(
    ("found", "given", "words"),
    [
        (Interface(), Interface(), ""),
        (Interface(layout="NHWC"), Interface(), "it takes inputs as NHWC"),
        (Interface(layout="CHW"), Interface(), "it takes inputs as CHW, one at a time"),
        (Interface(layout="F1"), Interface(), "it takes inputs as C1, one at a time"),
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
    assert list(_in_words(Reading(likeness("relu"), found), given, ())) == ([words] if words else [])


@pytest.mark.parametrize(
    ("support", "claims", "reason"),
    [
        (1, [Claim("no", 1, axes="NCHW"), Claim("yes", 1, axes="HWC"), Claim("more", 1, batched=False)], " (yes)"),
        (0, [Claim("no", 1, axes="NCHW"), Claim("yes", 1, axes="HWC")], ""),
        (-1, [Claim("yes", 1, axes="HWC")], ""),
        (1, [Claim("no", 1, axes="NCHW")], ""),
    ],
)
def test_the_first_reason_is_given_if_more_speaks_for_it_than_against_it(
    support: int, claims: list[Claim], reason: str
) -> None:
    reading = Reading(likeness("relu"), Interface(layout="HWC"), support=support)
    assert list(_in_words(reading, Interface(), claims)) == [f"it takes inputs as HWC, one at a time{reason}"]


# ---- alternatives


def others(
    session: Here, like: str, *, claims: Sequence[Claim] = (), one: bool = True, assumed: str = ""
) -> list[Reading]:
    compared = likeness(like)
    chosen = Read(Reading(compared, Interface(), support=sum(c.strength for c in claims)), (), assumed, tuple(claims))
    return list(Reader(session, "Mine", 0).other_readings(chosen, compared, Interface(), one=one))


def test_every_other_reading_that_the_shapes_allow_is_an_alternative() -> None:
    def drive(interface: Interface, probe: Probe) -> Outcome:
        if interface.layout in ("CN", "1C"):
            return failed("ValueError", "no")
        if interface.layout == "C" and interface.weight_layouts:
            return of_shape(1, 1)
        return Outcome(Driven(shaped(pair_of("linear"), probe).value.tensors, placed=(("weight", "W"),)))

    found = others(Here(drive), "linear")
    assert [(reading.interface.layout, dict(reading.interface.weight_layouts)) for reading in found] == [
        ("", {"weight": "IO"}),
        ("C", {}),
        ("C1", {}),
        ("C1", {"weight": "IO"}),
    ]
    assert {reading.weights for reading in found} == {(("weight", "W"),)}
    assert {len(first_of(reading.compared).calls[0].inputs[0]) for reading in found[1:]} == {1}


def test_batches_of_one_are_alternatives_only_for_code_that_breaks_on_larger_ones() -> None:
    def drive(_: Interface, probe: Probe) -> Outcome:
        return shaped(pair_of("softmax"), probe)

    assert [reading.interface.layout for reading in others(Here(drive), "softmax")] == ["CN", "C", "C1", "1C"]
    assert [reading.interface.layout for reading in others(Here(drive), "softmax", one=False)] == ["CN", "C", "C1"]


def test_one_column_is_no_alternative_to_columns_for_code_that_takes_several() -> None:
    def drive(_: Interface, probe: Probe) -> Outcome:
        return shaped(pair_of("softmax"), probe)

    def layouts(one: bool) -> list[str]:
        reader = Reader(Here(drive), "Layer", 0)
        compared = likeness("softmax")
        read = Read(Reading(compared, Interface(layout="CN")))
        return [other.interface.layout for other in reader.other_readings(read, compared, Interface(), one=one)]

    assert layouts(one=True) == ["", "C", "C1", "1C"]
    assert layouts(one=False) == ["", "C"]


def test_a_reading_that_the_code_speaks_against_is_called_so() -> None:
    def drive(_: Interface, probe: Probe) -> Outcome:
        return shaped(pair_of("softmax"), probe)

    def against(*claims: Claim) -> list[tuple[str, bool]]:
        found = others(Here(drive), "softmax", claims=claims, one=False)
        return [(reading.interface.layout, reading.against) for reading in found]

    assert against() == [("CN", False), ("C", False), ("C1", False)]
    assert against(Claim("", STRONG, "NC", batched=True)) == [("CN", True), ("C", True), ("C1", True)]
    assert against(Claim("", MEDIUM, batched=True)) == [("CN", False), ("C", True), ("C1", True)]
    assert against(Claim("", WEAK, batched=True)) == [("CN", False), ("C", False), ("C1", False)]


def test_alternatives_are_looked_for_under_what_was_assumed_only() -> None:
    def drive(_: Interface, probe: Probe) -> Outcome:
        return shaped(pair_of("linear"), probe)

    with_bias = others(Here(drive), "linear")
    assert {reading.interface.built_in.get("bias") for reading in with_bias} == {None}
    without = others(Here(drive), "linear", assumed="bias (it has none)")
    assert {reading.interface.built_in.get("bias") for reading in without} == {False}
    assert others(Here(drive), "linear", assumed="something else") == []


def test_an_optimizer_has_no_other_readings() -> None:
    session = Here(lambda *_: Outcome(Driven({})))
    assert others(session, "sgd") == []
    assert session.asked == []


# ---- pairs of sizes


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
        ([options(kernel_size=2), PAIR], {(2, True): True}, True),
        ([PAIR, options(kernel_size=5), options(kernel_size=2)], {(5, False): True, (5, True): False}, False),
        # What does not work as one number either says nothing of pairs.
        ([options(kernel_size=2), PAIR], {(2, False): False, (2, True): False}, True),
        (
            [options(kernel_size=2), options(kernel_size=3), PAIR],
            {(2, False): False, (2, True): False, (3, False): True, (3, True): False},
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
        ({}, ()),
        ({"kernel_size": 3}, ()),
        ({"kernel_size": (3, 3)}, ()),
        ({"kernel_size": (3, 2)}, ("kernel_size",)),
        ({"stride": 2, "padding": (0, 1)}, ("padding",)),
        ({"kernel_size": (3, 2), "stride": (2, 2), "padding": (0, 1)}, ("kernel_size", "padding")),
        ({"reduction": "mean"}, ()),
    ],
)
def test_a_pair_is_two_different_sizes(values: dict[str, Any], two: tuple[str, ...]) -> None:
    assert pairs_of(options(**values)) == two


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
