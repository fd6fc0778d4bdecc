"""Random configurations: how large they may become, how often each choice is made, and that they can be drawn again."""

from __future__ import annotations

import dataclasses
import itertools
import zlib
from collections import Counter
from typing import Any

import numpy as np
import pytest
from torch import nn

import scratch
from compare.driving.tensors import LAYOUTS
from compare.pairs import bounds, optimizers, values
from compare.pairs.cases import Case, whole
from compare.pairs.models import ModelPair
from compare.pairs.optimizers import OptimizerPair
from compare.pairs.pair import LayerPair, Pair
from compare.pairs.registry import REGISTRY
from compare.verify import configurations
from compare.verify.configurations import in_turn, random_configurations

PLAIN = {"normal", "integers", "zeros", "post-relu", "magnitudes"}
# What each layer is drawn with: the kinds of values that suit it.
DRAWN_VALUES = {
    "conv2d": PLAIN | {"per-channel"},
    "maxpool2d": PLAIN | {"per-channel"},
    "avgpool2d": PLAIN | {"per-channel"},
    "linear": PLAIN,
    "batchnorm2d": {"normal", "integers", "post-relu", "magnitudes", "per-channel"},
    "dropout": {"normal", "per-channel"},
    "relu": PLAIN,
    "flatten": {"normal", "per-channel", "magnitudes"},
    "softmax": {"normal", "zeros"},
    "log_softmax": {"normal", "zeros", "large"},
    "cross_entropy": {"normal", "zeros"},
}


def drawn_case(name: str, rng: Any) -> Case:
    pair = REGISTRY[name]
    assert isinstance(pair, LayerPair)
    assert pair.draw is not None
    return pair.draw(rng)


def drawn_options(name: str, rng: Any) -> dict[str, Any]:
    pair = REGISTRY[name]
    assert isinstance(pair, OptimizerPair)
    assert pair.draw is not None
    return pair.draw(rng)


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
    for ends, (shape, options) in ((LEAST, least), (GREATEST, greatest)):
        case = drawn_case(name, ends)
        assert case.shape == shape
        assert case.options == pytest.approx(options) if name == "batchnorm2d" else case.options == options
        assert case.values in DRAWN_VALUES[name]
        assert (case.layout, case.calls) == ("contiguous", 1), "those are drawn for every layer alike"


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
    drawn = drawn_options(name, ends)
    assert drawn.pop("betas", None) == options.get("betas")
    assert drawn == pytest.approx({key: value for key, value in options.items() if key != "betas"})


def test_a_whole_number_is_one_of_both_ends_or_between() -> None:
    rng = np.random.default_rng(0)
    assert {whole(rng, 2, 4) for _ in range(100)} == {2, 3, 4}


@pytest.mark.parametrize("name", ["conv2d", "maxpool2d"])
def test_the_windows_of_every_configuration_fit_and_some_only_just(name: str) -> None:
    rng = np.random.default_rng(0)
    beyond: dict[tuple[int, int], set[int]] = {}
    for _ in range(3000):
        case = drawn_case(name, rng)
        for axis in (0, 1):
            kernel, padding = case.options["kernel_size"][axis], case.options["padding"][axis]
            size = case.shape[2 + axis]
            beyond.setdefault((kernel, padding), set()).add(size - max(1, kernel - 2 * padding))
    pads = {kernel: range(3) if name == "conv2d" else range(kernel // 2 + 1) for kernel in range(1, 5)}
    assert beyond.keys() == {(kernel, padding) for kernel, some in pads.items() for padding in some}
    assert all(found == set(range(7)) for found in beyond.values())


def test_the_sides_of_a_configuration_are_drawn_one_by_one() -> None:
    rng = np.random.default_rng(1)
    for name, keys in (("conv2d", ("kernel_size", "stride", "padding")), ("maxpool2d", ("kernel_size", "stride"))):
        drawn = [drawn_case(name, rng) for _ in range(300)]
        for key in keys:
            sides = {case.options[key] for case in drawn}
            assert sides == set(itertools.product({a for a, _ in sides}, repeat=2))
    for name in ("relu", "flatten"):
        assert len({drawn_case(name, rng).shape for _ in range(50)}) > 40


def share(found: list[bool]) -> float:
    return float(np.mean(found))


def test_a_choice_of_two_is_made_either_way_as_often() -> None:
    rng = np.random.default_rng(0)
    for name in ("conv2d", "linear"):
        assert share([drawn_case(name, rng).options["bias"] for _ in range(1500)]) == pytest.approx(0.5, abs=0.05)
    sgd = [drawn_options("sgd", rng) for _ in range(3000)]
    plain = [options for options in sgd if not options["momentum"]]
    assert share([bool(options["momentum"]) for options in sgd]) == pytest.approx(0.5, abs=0.05)
    assert not any(options["nesterov"] for options in plain), "torch wants a momentum with it"
    moving = [options for options in sgd if options["momentum"]]
    assert share([options["nesterov"] for options in moving]) == pytest.approx(0.5, abs=0.06)
    assert not any(options["dampening"] for options in moving if options["nesterov"])
    assert share([bool(o["dampening"]) for o in sgd if not o["nesterov"]]) == pytest.approx(0.5, abs=0.06)
    assert share([bool(options["weight_decay"]) for options in sgd]) == pytest.approx(0.5, abs=0.05)
    for name in ("softmax", "log_softmax"):
        dims = [drawn_case(name, rng).options["dim"] for _ in range(500)]
        assert share([dim == 1 for dim in dims]) == pytest.approx(0.5, abs=0.1)


ROUND = sum(pair.often for pair in REGISTRY.values())


@pytest.fixture(scope="module")
def cases() -> list[tuple[str, str, Case | dict[str, Any]]]:
    """4,000 configurations, of which no arrays are drawn: pair, dtype, and the case or the optimizer's options."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LayerPair, "probe", lambda _, case, dtype, __: (dtype, case))
        patch.setattr(optimizers, "draw_steps", lambda options, dtype, _: (dtype, options))
        drawn: list[Any] = list(random_configurations(4000))
    return [(pair.name, *probe) for pair, probe in drawn]


def test_a_round_has_every_pair_but_the_models_and_mostly_convolutions(cases: list[Any]) -> None:
    names = [name for name, _, _ in cases]
    often = Counter(names[:ROUND])
    assert often.keys() == {name for name, pair in REGISTRY.items() if not isinstance(pair, ModelPair)}
    assert often["conv2d"] == 5 == max(often.values())
    assert (often["maxpool2d"], often["linear"]) == (3, 3)
    assert often.total() == ROUND
    assert names == (names[:ROUND] * 200)[: len(names)]


def of(name: str, often: int) -> LayerPair:
    return LayerPair(name, scratch.ReLU, nn.ReLU, bounds.exact, (), often=often)


@pytest.mark.parametrize(
    ("often", "order"),
    [
        ({"a": 2, "b": 1}, "aab"),
        ({"a": 1, "b": 2}, "abb"),
        ({"a": 1, "b": 1}, "ab"),
        ({"b": 1, "a": 1}, "ba"),  # in the order of the registry
        ({"a": 4, "b": 2}, "aabaab"),
        ({"a": 3, "b": 0}, "aaa"),
        ({}, ""),
    ],
)
def test_each_pair_comes_as_often_as_it_says_evenly_spread(often: dict[str, int], order: str) -> None:
    pairs: list[Pair] = [of(name, number) for name, number in often.items()]
    assert "".join(pair.name for pair in in_turn(pairs)) == order


def test_convolutions_are_spread_over_a_round() -> None:
    names = [pair.name for pair in in_turn(list(REGISTRY.values()))]
    places = [place for place, name in enumerate(names * 2) if name == "conv2d"]
    gaps = [after - before for before, after in itertools.pairwise(places)]
    assert len(names) == ROUND
    assert min(gaps) >= 2
    assert max(gaps) <= ROUND // 5 + 1


def test_what_has_one_configuration_only_draws_none() -> None:
    rng = np.random.default_rng(0)
    sgd = REGISTRY["sgd"]
    assert isinstance(sgd, OptimizerPair)
    for pair in (REGISTRY["cnn"], REGISTRY["lenet5"], of("relu", 0), dataclasses.replace(sgd, draw=None)):
        assert pair.random_probe("float64", rng) is None


def test_a_pair_that_is_to_be_drawn_and_draws_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configurations, "REGISTRY", {"idle": of("idle", 2)})
    with pytest.raises(AssertionError, match="idle is drawn 2 times and draws nothing"):
        next(random_configurations(1))


@pytest.mark.parametrize("name", [name for name, pair in REGISTRY.items() if not isinstance(pair, ModelPair)])
def test_a_configuration_is_what_its_pair_draws_in_the_dtype(name: str) -> None:
    pair = REGISTRY[name]
    for number, dtype in enumerate(("float64", "float32")):
        probe = pair.random_probe(dtype, np.random.default_rng(number))
        assert probe is not None
        assert probe.dtype == dtype
        draw = drawn_case if isinstance(pair, LayerPair) else drawn_options
        drawn = draw(name, np.random.default_rng(number))
        assert probe.options == (drawn.options if isinstance(drawn, Case) else drawn)
        if isinstance(drawn, Case):
            assert probe.calls[0].inputs[0].shape == drawn.shape
            assert probe.case.startswith(drawn.name)


def test_rounds_alternate_between_the_dtypes(cases: list[Any]) -> None:
    dtypes = [dtype for _, dtype, _ in cases]
    assert dtypes == ((["float64"] * ROUND + ["float32"] * ROUND) * 100)[: len(dtypes)]


def test_every_layer_is_drawn_in_every_layout_with_every_kind_of_value_that_suits_it(cases: list[Any]) -> None:
    for name, pair in REGISTRY.items():
        if isinstance(pair, LayerPair):
            mine = [case for other, _, case in cases if other == name]
            assert {case.layout for case in mine} == set(LAYOUTS)
            assert {case.values for case in mine} == DRAWN_VALUES[name] <= set(values.VALUES)
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
    np.testing.assert_array_equal(drawn[3][1].calls[0].inputs[0], again[3][1].calls[0].inputs[0])
    assert len(again) == 8
    # The first linear layer of a stream of its own: its size is drawn first.
    first = next(probe for pair, probe in random_configurations(8, seed=7) if pair.name == "linear")
    assert first.options["in_features"] == np.random.default_rng([7, zlib.crc32(b"linear"), 0]).integers(1, 41)
    zero = [[probe.case for _, probe in random_configurations(4, *seed)] for seed in ((), (0,), (7,))]
    assert zero[0] == zero[1] != zero[2]


def test_another_pair_in_the_registry_changes_no_configuration_of_a_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_linear() -> list[str]:
        return [probe.case for pair, probe in random_configurations(60) if pair.name == "linear"]

    before = of_linear()
    fewer = {name: pair for name, pair in REGISTRY.items() if name != "dropout"}
    monkeypatch.setattr(configurations, "REGISTRY", fewer)
    after = of_linear()
    assert len(before) > 5
    assert [case.partition(" | ")[0] for case in before[:5]] == [case.partition(" | ")[0] for case in after[:5]]
