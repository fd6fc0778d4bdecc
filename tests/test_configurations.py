"""Random configurations: how large they may become, how often each choice is made, and that they can be drawn again."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest

from compare.pairs import values
from compare.pairs.cases import Case
from compare.pairs.models import ModelPair
from compare.pairs.optimizers import OptimizerPair
from compare.pairs.pair import LayerPair
from compare.pairs.registry import REGISTRY
from compare.verify import configurations
from compare.verify.configurations import random_configurations


class Ends:
    """Draws the smallest (0) or the largest (-1) of what is asked for: whole numbers, others, and choices."""

    def __init__(self, whole: int, real: int, chosen: int) -> None:
        self.whole, self.real, self.chosen = whole, real, chosen

    def integers(self, low: int, high: int | None = None) -> int:
        return range(*((low,) if high is None else (low, high)))[self.whole]

    def uniform(self, low: float, high: float) -> float:
        return (low, high)[self.real]

    def choice(self, of: list[Any]) -> Any:
        return of[self.chosen]


LEAST, GREATEST = Ends(0, 0, 0), Ends(-1, -1, -1)


def windows(size: int, stride: int, padding: int) -> dict[str, Any]:
    return {"kernel_size": (size,) * 2, "stride": (stride,) * 2, "padding": (padding,) * 2}


@pytest.mark.parametrize(
    ("name", "least", "greatest"),
    [
        (
            "conv2d",
            ((1, 1, 1, 1), {"in_channels": 1, "out_channels": 1, "bias": False, **windows(1, 1, 0)}),
            ((4, 5, 7, 7), {"in_channels": 5, "out_channels": 6, "bias": True, **windows(4, 3, 2)}),
        ),
        ("maxpool2d", ((1, 1, 1, 1), windows(1, 1, 0)), ((4, 4, 7, 7), windows(4, 4, 2))),
        (
            "linear",
            ((1, 1), {"in_features": 1, "out_features": 1, "bias": False}),
            ((8, 40), {"in_features": 40, "out_features": 20, "bias": True}),
        ),
        (
            "batchnorm2d",
            ((2, 1, 2, 2), {"num_features": 1, "eps": 1e-6, "momentum": 0.0}),
            ((5, 5, 6, 6), {"num_features": 5, "eps": 1e-1, "momentum": 1.0}),
        ),
        ("dropout", ((16, 6, 6, 6), {"p": 0.2}), ((24, 6, 6, 6), {"p": 0.8})),
        ("relu", ((1, 1, 1, 1), {}), ((6, 6, 6, 6), {})),
        ("flatten", ((1, 1, 1, 1), {}), ((6, 6, 6, 6), {})),
        ("softmax", ((1, 2), {"dim": 0}), ((6, 12), {"dim": 1})),
        ("log_softmax", ((1, 2), {"dim": 0}), ((6, 12), {"dim": 1})),
        ("cross_entropy", ((1, 2), {"reduction": "mean"}), ((6, 12), {"reduction": "none"})),
    ],
)
def test_the_smallest_and_the_largest_configuration_of_a_layer(name: str, least: Any, greatest: Any) -> None:
    draw: Any = configurations._LAYERS[name][0]
    for ends, (shape, options) in ((LEAST, least), (GREATEST, greatest)):
        drawn_shape, drawn = draw(ends)
        assert drawn_shape == shape
        assert drawn == pytest.approx(options) if name == "batchnorm2d" else drawn == options


SGD = {"momentum": 0.0, "dampening": 0.0, "nesterov": False, "weight_decay": 0.0}


@pytest.mark.parametrize(
    ("name", "ends", "options"),
    [
        ("sgd", LEAST, SGD | {"lr": 1e-3}),
        ("sgd", GREATEST, SGD | {"lr": 10**-0.5, "momentum": 0.99, "nesterov": True, "weight_decay": 0.1}),
        ("sgd", Ends(0, -1, -1), SGD | {"lr": 10**-0.5, "momentum": 0.99, "dampening": 0.9, "weight_decay": 0.1}),
        ("sgd", Ends(0, 0, -1), SGD | {"lr": 1e-3, "momentum": 0.1}),
        ("adam", LEAST, {"lr": 1e-4, "betas": (0.0, 0.5), "eps": 1e-8, "weight_decay": 0.0}),
        ("adam", GREATEST, {"lr": 1e-1, "betas": (0.95, 0.999), "eps": 1e-3, "weight_decay": 0.1}),
        ("adam", Ends(0, 0, -1), {"lr": 1e-4, "betas": (0.0, 0.5), "eps": 1e-8, "weight_decay": 0.0}),
        ("adam", Ends(0, -1, 0), {"lr": 1e-1, "betas": (0.95, 0.999), "eps": 1e-3, "weight_decay": 0.0}),
    ],
)
def test_the_least_and_the_greatest_settings_of_an_optimizer(name: str, ends: Any, options: dict[str, Any]) -> None:
    drawn = configurations._OPTIMIZERS[name](ends)
    assert drawn.pop("betas", None) == options.get("betas")
    assert drawn == pytest.approx({key: value for key, value in options.items() if key != "betas"})


def test_a_whole_number_is_one_of_both_ends_or_between() -> None:
    rng = np.random.default_rng(0)
    assert {configurations._whole(rng, 2, 4) for _ in range(100)} == {2, 3, 4}


@pytest.mark.parametrize("name", ["conv2d", "maxpool2d"])
def test_the_windows_of_every_configuration_fit_and_some_only_just(name: str) -> None:
    draw, rng = configurations._LAYERS[name][0], np.random.default_rng(0)
    beyond: dict[tuple[int, int], set[int]] = {}
    for _ in range(3000):
        shape, options = draw(rng)
        for axis in (0, 1):
            kernel, padding, size = options["kernel_size"][axis], options["padding"][axis], shape[2 + axis]
            beyond.setdefault((kernel, padding), set()).add(size - max(1, kernel - 2 * padding))
    pads = {kernel: range(3) if name == "conv2d" else range(kernel // 2 + 1) for kernel in range(1, 5)}
    assert beyond.keys() == {(kernel, padding) for kernel, some in pads.items() for padding in some}
    assert all(found == set(range(7)) for found in beyond.values())


def test_the_sides_of_a_configuration_are_drawn_one_by_one() -> None:
    rng = np.random.default_rng(1)
    for name, keys in (("conv2d", ("kernel_size", "stride", "padding")), ("maxpool2d", ("kernel_size", "stride"))):
        drawn = [configurations._LAYERS[name][0](rng) for _ in range(300)]
        for key in keys:
            sides = {options[key] for _, options in drawn}
            assert sides == set(itertools.product({a for a, _ in sides}, repeat=2))
    assert len({shape for shape, _ in (configurations._maps(rng) for _ in range(50))}) > 40


def share(found: list[bool]) -> float:
    return float(np.mean(found))


def test_a_choice_of_two_is_made_either_way_as_often() -> None:
    rng = np.random.default_rng(0)
    for draw in (configurations._convolution, configurations._linear):
        assert share([draw(rng)[1]["bias"] for _ in range(1500)]) == pytest.approx(0.5, abs=0.05)
    sgd = [configurations._sgd(rng) for _ in range(3000)]
    plain = [options for options in sgd if not options["momentum"]]
    assert share([bool(options["momentum"]) for options in sgd]) == pytest.approx(0.5, abs=0.05)
    assert not any(options["nesterov"] for options in plain), "torch wants a momentum with it"
    moving = [options for options in sgd if options["momentum"]]
    assert share([options["nesterov"] for options in moving]) == pytest.approx(0.5, abs=0.06)
    assert not any(options["dampening"] for options in moving if options["nesterov"])
    assert share([bool(o["dampening"]) for o in sgd if not o["nesterov"]]) == pytest.approx(0.5, abs=0.06)
    assert share([bool(options["weight_decay"]) for options in sgd]) == pytest.approx(0.5, abs=0.05)
    dims = [configurations._rows(rng)[1]["dim"] for _ in range(500)]
    assert share([dim == 1 for dim in dims]) == pytest.approx(0.5, abs=0.1)


@pytest.fixture(scope="module")
def cases() -> list[tuple[str, str, Case | dict[str, Any]]]:
    """4,000 configurations, of which no arrays are drawn: pair, dtype, and the case or the optimizer's options."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(configurations, "draw_probe", lambda _, case, dtype, __: (dtype, case))
        patch.setattr(configurations, "draw_steps", lambda options, dtype, _: (dtype, options))
        drawn: list[Any] = list(random_configurations(4000))
    return [(pair.name, *probe) for pair, probe in drawn]


def test_a_round_has_every_pair_but_the_models_and_mostly_convolutions(cases: list[Any]) -> None:
    names = [name for name, _, _ in cases]
    often = Counter(names[:20])
    assert often.keys() == {name for name, pair in REGISTRY.items() if not isinstance(pair, ModelPair)}
    assert often["conv2d"] == 5 == max(often.values())
    assert (often["maxpool2d"], often["linear"]) == (3, 3)
    assert often.total() == 20
    assert names == names[:20] * 200


def test_rounds_alternate_between_the_dtypes(cases: list[Any]) -> None:
    dtypes = [dtype for _, dtype, _ in cases]
    assert dtypes == (["float64"] * 20 + ["float32"] * 20) * 100


def test_every_layer_is_drawn_in_every_layout_with_every_kind_of_value_that_suits_it(cases: list[Any]) -> None:
    for name, pair in REGISTRY.items():
        if isinstance(pair, LayerPair):
            mine = [case for other, _, case in cases if other == name]
            assert {case.layout for case in mine} == set(values.LAYOUTS)
            assert {case.values for case in mine} == set(configurations._LAYERS[name][1]) <= set(values.VALUES)
        elif isinstance(pair, OptimizerPair):
            assert all(isinstance(options, dict) for other, _, options in cases if other == name)


def test_every_fourth_layer_is_called_twice_and_no_layer_more_often(cases: list[Any]) -> None:
    calls = [case.calls for _, _, case in cases if isinstance(case, Case)]
    assert set(calls) == {1, 2}
    assert share([number == 2 for number in calls]) == pytest.approx(0.25, abs=0.03)


def test_a_configuration_depends_on_its_seed_and_number_only() -> None:
    drawn = list(random_configurations(4, seed=7))
    again = list(random_configurations(8, seed=7))
    assert [probe.case for _, probe in drawn] == [probe.case for _, probe in again[:4]]
    np.testing.assert_array_equal(drawn[2][1].calls[0].inputs[0], again[2][1].calls[0].inputs[0])
    assert len(again) == 8
    # The fourth is of a linear layer, whose size is drawn first.
    assert drawn[3][0].name == "linear"
    assert drawn[3][1].options["in_features"] == np.random.default_rng([7, 3]).integers(1, 41)
    zero = [[probe.case for _, probe in random_configurations(4, *seed)] for seed in ((), (0,), (7,))]
    assert zero[0] == zero[1] != zero[2]
