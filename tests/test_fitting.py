"""Inputs for code that does not take all that torch takes: what changes of a case, and what is tried first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import nn

from compare.diagnosis.fitting import FITS, ONE_NUMBER, Fit, Fitter, _even, _even_and_tiled, _same, _tiled
from compare.diagnosis.likeness import defaults_of, likeness
from compare.pairs.cases import Case
from compare.pairs.pair import LayerPair, Pair
from compare.pairs.probe import Probe
from compare.pairs.registry import REGISTRY

Side = Callable[[int, int, int, int], int]
Shape = tuple[int, ...]


def layer(name: str) -> LayerPair:
    pair = REGISTRY[name]
    assert isinstance(pair, LayerPair)
    return pair


def fitter(pair: Pair | str) -> Fitter:
    found = layer(pair) if isinstance(pair, str) else pair
    return Fitter(found, defaults_of(found))


def probe_of(pair: LayerPair | str, case: Case, dtype: str = "float64") -> Probe:
    found = layer(pair) if isinstance(pair, str) else pair
    return found.probe(case, dtype, np.random.default_rng(1))


def drawn(probe: Probe) -> Case:
    assert probe.drawn is not None
    return probe.drawn


def shape_of(probe: Probe) -> Shape:
    return probe.calls[0].inputs[0].shape


# ---- a side


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "padding", "same", "even", "tiled", "both"),
    [
        (8, 2, 2, 0, 8, 8, 8, 8),
        (9, 2, 2, 0, 9, 10, 10, 10),
        (9, 3, 3, 0, 9, 10, 9, 12),  # what is tiled is odd, and what is even leaves a row over
        (7, 3, 2, 1, 7, 8, 7, 8),  # no even side is tiled
        (7, 2, 2, 1, 7, 8, 8, 8),
        (8, 3, 2, 0, 8, 8, 9, 8),
        (8, 5, 3, 0, 8, 8, 8, 8),
        (9, 5, 3, 0, 9, 10, 11, 14),
        (3, 5, 4, 0, 3, 4, 5, 4),  # smaller than the kernel
        (5, 1, 1, 0, 5, 6, 5, 6),
        (6, 2, 3, 1, 6, 6, 6, 6),
        (7, 2, 3, 1, 7, 8, 9, 12),
    ],
)
def test_what_becomes_of_a_side(
    side: int, kernel: int, stride: int, padding: int, same: int, even: int, tiled: int, both: int
) -> None:
    ways: tuple[Side, ...] = (_same, _even, _tiled, _even_and_tiled)
    assert [way(side, kernel, stride, padding) for way in ways] == [same, even, tiled, both]


# ---- a case

TALL = {"kernel_size": (2, 3), "stride": (1, 2), "padding": (0, 1)}


@pytest.mark.parametrize(
    ("pair", "fit", "case", "shape", "options"),
    [
        ("maxpool2d", Fit(), Case((2, 3, 9, 7), {"kernel_size": 2}), (2, 3, 9, 7), None),
        ("maxpool2d", Fit(_even), Case((2, 3, 9, 6), {"kernel_size": 2}), (2, 3, 10, 6), None),
        # No stride: it is that of the kernel.
        ("maxpool2d", Fit(_tiled), Case((2, 3, 8, 7), {"kernel_size": 3}), (2, 3, 9, 9), None),
        ("maxpool2d", Fit(_tiled), Case((2, 3, 8, 9), {"kernel_size": 3, "stride": None}), (2, 3, 9, 9), None),
        ("maxpool2d", Fit(_tiled), Case((2, 3, 8, 9), {"kernel_size": 3, "stride": 2}), (2, 3, 9, 9), None),
        # Each side by its own numbers: the first by kernel 2, stride 1 and no padding, the second by 3, 2 and 1.
        ("maxpool2d", Fit(_tiled), Case((1, 2, 6, 8), TALL), (1, 2, 6, 9), None),
        ("maxpool2d", Fit(_tiled), Case((1, 2, 6, 8), TALL | {"stride": (1, 3)}), (1, 2, 6, 10), None),
        ("maxpool2d", Fit(_even_and_tiled), Case((1, 2, 7, 7), TALL), (1, 2, 8, 8), None),
        # Torch's stride of a convolution is 1: every side is tiled.
        (
            "conv2d",
            Fit(_tiled),
            Case((1, 1, 8, 7), {"in_channels": 1, "out_channels": 2, "kernel_size": 3}),
            (1, 1, 8, 7),
            None,
        ),
        (
            "conv2d",
            Fit(_tiled),
            Case((1, 1, 5, 5), {"in_channels": 1, "out_channels": 2, "kernel_size": 2, "stride": 4, "padding": 1}),
            (1, 1, 8, 8),
            None,
        ),
        ("relu", Fit(_tiled), Case((2, 3, 9, 7)), (2, 3, 9, 7), None),  # without windows
        ("relu", Fit(_even), Case((2, 3, 9, 7)), (2, 3, 10, 8), None),
        # The longer side becomes that of both, after each was made even.
        ("maxpool2d", Fit(square=True), Case((2, 3, 9, 7), {"kernel_size": 2}), (2, 3, 9, 9), None),
        ("maxpool2d", Fit(square=True), Case((2, 3, 7, 9), {"kernel_size": 2}), (2, 3, 9, 9), None),
        ("maxpool2d", Fit(_even, square=True), Case((2, 3, 9, 7), {"kernel_size": 2}), (2, 3, 10, 10), None),
        ("maxpool2d", Fit(one_image=True), Case((2, 3, 9, 7), {"kernel_size": 2}), (1, 3, 9, 7), None),
        ("maxpool2d", Fit(one_channel=True), Case((2, 3, 9, 7), {"kernel_size": 2}), (2, 1, 9, 7), None),
        (
            "batchnorm2d",
            Fit(one_channel=True),
            Case((2, 3, 2, 2), {"num_features": 3}),
            (2, 1, 2, 2),
            {"num_features": 1},
        ),
        (
            "conv2d",
            Fit(_even, square=True, one_image=True, one_channel=True),
            Case((2, 3, 7, 4), {"in_channels": 3, "out_channels": 2, "kernel_size": 3}),
            (1, 1, 8, 8),
            {"in_channels": 1, "out_channels": 2, "kernel_size": 3},
        ),
        # Rows have neither sides nor windows.
        ("linear", Fit(_even, square=True), Case((5, 7), {"in_features": 7}), (5, 7), None),
        ("linear", Fit(one_image=True), Case((5, 7), {"in_features": 7}), (1, 7), None),
        ("relu", Fit(_even), Case((5,)), (5,), None),
        ("relu", Fit(one_image=True), Case((5,)), (1,), None),
        # An option that has no default, is not among those of the case, or is not known, stays.
        (
            "conv2d",
            Fit(plain=("stride", "bias", "kernel_size", "dilation", "colour")),
            Case(
                (1, 1, 7, 7), {"in_channels": 1, "kernel_size": (3, 2), "stride": (2, 1), "bias": False, "padding": 1}
            ),
            (1, 1, 7, 7),
            {"in_channels": 1, "kernel_size": (3, 2), "stride": 1, "bias": True, "padding": 1},
        ),
        # What code takes for granted is not always torch's own default.
        ("softmax", Fit(plain=("dim",)), Case((5, 7), {"dim": 0}), (5, 7), {"dim": 1}),
        ("maxpool2d", Fit(plain=("stride",)), Case((1, 1, 7, 7), TALL), (1, 1, 7, 7), TALL | {"stride": None}),
        (
            "maxpool2d",
            ONE_NUMBER[0],
            Case((1, 2, 6, 8), TALL | {"return_indices": False}),
            (1, 2, 6, 8),
            {"kernel_size": 3, "stride": 2, "padding": 1, "return_indices": False},
        ),
        # Sides by the options that are left.
        (
            "maxpool2d",
            Fit(_tiled, plain=("stride", "padding"), one_number=max),
            Case((1, 2, 7, 8), TALL),
            (1, 2, 9, 9),
            {"kernel_size": 3, "stride": None, "padding": 0},
        ),
    ],
)
def test_a_fit_changes_of_a_case_what_it_says_and_no_more(
    pair: str, fit: Fit, case: Case, shape: Shape, options: dict[str, Any] | None
) -> None:
    case = replace(case, values="zeros", layout="fortran", calls=2)
    before = dict(case.options)
    found = fit.changed(layer(pair), case, defaults_of(layer(pair)))
    assert found == replace(case, shape=shape, options=before if options is None else options)
    assert case.options == before


def test_the_windows_of_a_given_module_are_its_own() -> None:
    pooling = likeness(nn.MaxPool2d(3, stride=2, padding=1))
    case = Case((1, 1, 8, 8))
    assert Fit(_tiled).changed(pooling.pair, case, pooling.hints).shape == (1, 1, 9, 9)
    same = likeness(nn.Conv2d(1, 1, 3, padding="same"))
    assert Fit(_tiled).changed(same.pair, case, same.hints).shape == (1, 1, 8, 8)


# ---- the order


def changes(fit: Fit) -> int:
    return (fit.side is not _same) + fit.square + fit.one_image + fit.one_channel


def test_every_way_is_there_once_without_that_of_changing_nothing() -> None:
    assert len(FITS) == len(set(FITS)) == 4 * 2 * 2 * 2 - 1
    assert Fit() not in FITS
    assert all(fit.plain == () and fit.one_number is None for fit in FITS)


def test_one_change_comes_before_two_and_sides_before_the_number_of_images_or_channels() -> None:
    sides = [FITS.index(fit) for fit in FITS if not fit.one_image and not fit.one_channel]
    either = [FITS.index(fit) for fit in FITS if fit.one_image != fit.one_channel]
    both = [FITS.index(fit) for fit in FITS if fit.one_image and fit.one_channel]
    assert FITS[:4] == [Fit(square=True), Fit(_even), Fit(_tiled), Fit(_even_and_tiled)]
    assert set(FITS[4:6]) == {Fit(one_image=True), Fit(one_channel=True)}
    for kind in (sides, either, both):
        assert [changes(FITS[n]) for n in kind] == sorted(changes(FITS[n]) for n in kind)
    assert max(both) == len(FITS) - 1
    assert min(both) > min(either) > min(sides)
    # What changes a case in one way more than another comes after it.
    pairs = [(less, more) for less in FITS for more in FITS if less != more and extends(more, less)]
    assert len(pairs) > 100
    assert all(FITS.index(less) < FITS.index(more) for less, more in pairs)


def extends(more: Fit, less: Fit) -> bool:
    """Whether `more` makes every change that `less` makes."""
    flags = ("square", "one_image", "one_channel")
    return less.side in (_same, more.side) and all(getattr(less, name) <= getattr(more, name) for name in flags)


# ---- drawn again

ODD = Case((2, 3, 9, 7), {"kernel_size": 2}, "integers", "fortran")


def test_a_probe_is_drawn_again_for_the_changed_case_in_its_own_type() -> None:
    for dtype in ("float64", "float32"):
        probe = probe_of("maxpool2d", ODD, dtype)
        found = fitter("maxpool2d").redrawn(probe, Fit(_even))
        assert found is not None
        assert drawn(found) == replace(ODD, shape=(2, 3, 10, 8))
        assert (found.case, found.dtype, found.layout) == (drawn(found).name, dtype, "fortran")
        assert shape_of(found) == (2, 3, 10, 8)
        assert found.calls[0].inputs[0].dtype == dtype
        again = fitter("maxpool2d").redrawn(probe, Fit(_even))
        assert again is not None
        np.testing.assert_array_equal(again.calls[0].inputs[0], found.calls[0].inputs[0])


def test_each_case_has_numbers_of_its_own() -> None:
    probe = probe_of("relu", Case((2, 3, 8, 8)))
    found = [fitter("relu").redrawn(probe, fit) for fit in (Fit(one_image=True), Fit(one_channel=True))]
    one, two = (again.calls[0].inputs[0].ravel()[:20] for again in found if again is not None)
    assert not np.array_equal(one, two)


def test_what_torch_does_not_take_is_not_drawn() -> None:
    values = Case((7, 4, 1, 1), {"num_features": 4})  # one value of one image has no variance
    assert fitter("batchnorm2d").redrawn(probe_of("batchnorm2d", values), Fit(one_image=True)) is None
    assert fitter("batchnorm2d").redrawn(probe_of("batchnorm2d", values), Fit(_even)) is not None
    # As one number the padding is more than half of the kernel: torch does not make it.
    wide = Case((1, 1, 8, 8), {"kernel_size": (2, 4), "padding": (0, 2)})
    assert fitter("maxpool2d").redrawn(probe_of("maxpool2d", wide), ONE_NUMBER[0]) is not None
    short = Case((1, 1, 3, 9), {"kernel_size": (2, 5), "stride": 1, "padding": 0})
    assert fitter("maxpool2d").redrawn(probe_of("maxpool2d", short), ONE_NUMBER[0]) is None
    smaller = fitter("maxpool2d").redrawn(probe_of("maxpool2d", short), ONE_NUMBER[1])
    assert smaller is not None
    assert smaller.options["kernel_size"] == 2


def test_what_does_not_change_is_not_drawn() -> None:
    probe = probe_of("maxpool2d", Case((2, 3, 8, 8), {"kernel_size": 2}))
    for fit in (Fit(), Fit(_even), Fit(_tiled), Fit(square=True), *ONE_NUMBER, Fit(plain=("stride", "padding"))):
        assert fitter("maxpool2d").redrawn(probe, fit) is None


@pytest.mark.parametrize("name", ["sgd", "cnn"])
def test_what_is_no_layer_is_not_drawn_again(name: str) -> None:
    pair = REGISTRY[name]
    probe = next(pair.examined())
    assert [fitter(pair).redrawn(probe, fit) for fit in (Fit(square=True), Fit(one_image=True))] == [None, None]
    assert list(fitter(pair).again(probe)) == list(fitter(pair).milder(probe)) == []


# ---- what is tried in place of what was refused


def test_ways_are_tried_from_the_least_changed_and_no_case_twice() -> None:
    probe = probe_of("maxpool2d", ODD)
    found = list(fitter("maxpool2d").again(probe))
    names = [again.case for _, again in found]
    assert [shape_of(again) for _, again in found] == [
        (2, 3, 9, 9),
        (2, 3, 10, 8),  # even; what is tiled, or both, is the same here
        (2, 1, 9, 7),
        (1, 3, 9, 7),
        (2, 3, 10, 10),
        (2, 1, 9, 9),
        (1, 3, 9, 9),
        (2, 1, 10, 8),
        (1, 3, 10, 8),
        (1, 1, 9, 7),
        (2, 1, 10, 10),
        (1, 3, 10, 10),
        (1, 1, 9, 9),
        (1, 1, 10, 8),
        (1, 1, 10, 10),
    ]
    assert len(set(names)) == len(names)
    assert probe.case not in names
    assert all(fit.changed(layer("maxpool2d"), ODD, {"stride": None}) == drawn(again) for fit, again in found)


def test_where_options_are_not_taken_nothing_else_is_changed() -> None:
    case = Case((2, 3, 9, 7), {"kernel_size": 3, "stride": 2, "padding": 1})
    probe = probe_of("maxpool2d", case)
    ((fit, again),) = fitter("maxpool2d").again(probe, ("stride", "padding"))
    assert fit == Fit(plain=("stride", "padding"))
    assert drawn(again) == replace(case, options={"kernel_size": 3, "stride": None, "padding": 0})
    assert list(fitter("maxpool2d").again(probe, ("kernel_size",))) == []  # it has no default


def test_the_way_that_was_taken_is_tried_first_the_last_before_the_others() -> None:
    found, probe = fitter("maxpool2d"), probe_of("maxpool2d", ODD)
    assert found.taken == []
    usual = [fit for fit, _ in found.again(probe)]
    single, even = Fit(one_image=True), Fit(_even, square=True)
    found.remember(single)
    found.remember(even)
    assert found.taken == [even, single]
    assert [fit for fit, _ in found.again(probe)] == [even, single, *(f for f in usual if f not in (even, single))]
    found.remember(single)
    assert found.taken == [single, even]
    found.remember(single)
    assert found.taken == [single, even]
    # One that changes nothing here is passed over.
    alone = probe_of("maxpool2d", replace(ODD, shape=(1, 3, 9, 7)))
    assert next(iter(found.again(alone)))[0] == even


def test_two_fitters_remember_nothing_of_each_other() -> None:
    one, other = fitter("relu"), fitter("relu")
    one.remember(Fit(square=True))
    one.hopeless.add("no")
    assert (other.taken, other.hopeless) == ([], set())


def test_what_breaks_without_a_word_is_tried_with_even_and_with_equal_sides() -> None:
    found = [(fit, shape_of(probe)) for fit, probe in fitter("maxpool2d").milder(probe_of("maxpool2d", ODD))]
    assert found == [(Fit(_even_and_tiled), (2, 3, 10, 8)), (Fit(_even_and_tiled, square=True), (2, 3, 10, 10))]
    odd = replace(ODD, shape=(2, 3, 9, 6), options={"kernel_size": 3})
    found = [(fit, shape_of(probe)) for fit, probe in fitter("maxpool2d").milder(probe_of("maxpool2d", odd))]
    assert found == [(Fit(_even_and_tiled), (2, 3, 12, 6)), (Fit(_even_and_tiled, square=True), (2, 3, 12, 12))]
    square = probe_of("maxpool2d", replace(ODD, shape=(2, 3, 8, 8)))
    assert list(fitter("maxpool2d").milder(square)) == []
    rows = probe_of("linear", Case((5, 7), {"in_features": 7, "out_features": 4}))
    assert list(fitter("linear").milder(rows)) == []


def test_two_numbers_become_the_larger_one() -> None:
    probe = probe_of("maxpool2d", Case((1, 2, 6, 8), TALL))
    found = fitter("maxpool2d").redrawn(probe, ONE_NUMBER[0])
    assert found is not None
    assert found.options == {"kernel_size": 3, "stride": 2, "padding": 1}
    assert shape_of(found) == (1, 2, 6, 8)
    assert found.calls[0].grad_output.shape == (1, 2, 3, 4)


def test_a_probe_whose_options_were_left_out_before_is_known_without_being_drawn() -> None:
    pair = REGISTRY["cross_entropy"]
    probe = next(probe for probe in pair.examined() if probe.options == {"reduction": "sum"})
    fitter = Fitter(pair, {"reduction": "mean"})
    (_, redrawn), *_ = fitter.again(probe, ("reduction",))
    assert fitter.is_known(probe, ("reduction",), {(redrawn.case, "float64")})
    assert not fitter.is_known(probe, ("reduction",), {(redrawn.case, "float32")})
    assert not fitter.is_known(probe, ("reduction",), set())
