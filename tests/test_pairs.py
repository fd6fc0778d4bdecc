"""The registry: what every pair is compared on, written out once more, so that no case is lost or weakened unseen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import scratch
import torch_ref
from compare.machine.errors import UserError
from compare.pairs import registry, tolerance
from compare.pairs.cases import Case
from compare.pairs.layers.dropout import choose_dropout, dropout_given, dropout_shares
from compare.pairs.models import ModelPair
from compare.pairs.optimizers import OptimizerPair
from compare.pairs.pair import LayerPair
from compare.pairs.registry import MODELS, REGISTRY

PLAIN = ["normal", "integers", "zeros", "post-relu", "magnitudes"]
SCORES = ["normal", "zeros", "large", "uneven"]
LAYOUTS = ["strided", "fortran", "batch last", "read-only"]

# Of each layer: its geometries (options, and shape of the input), and the kinds of values that each is tried with.
GRIDS: dict[str, list[tuple[list[str], list[str]]]] = {
    "conv2d": [
        (
            [
                "in_channels=2, out_channels=5, kernel_size=3, padding=1 | 3x2x9x8",
                "in_channels=3, out_channels=3, kernel_size=3 | 2x3x7x7",
                "in_channels=3, out_channels=2, kernel_size=3x2, stride=2x1, padding=1x0 | 2x3x8x6",
                "in_channels=1, out_channels=4, kernel_size=3, stride=2 | 1x1x10x11",
                "in_channels=2, out_channels=3, kernel_size=2, stride=3 | 2x2x9x9",
                "in_channels=4, out_channels=6, kernel_size=1 | 2x4x5x5",
                "in_channels=2, out_channels=3, kernel_size=5, padding=2 | 2x2x6x7",
                "in_channels=3, out_channels=4, kernel_size=4x5, bias=False | 2x3x4x5",
                "in_channels=1, out_channels=2, kernel_size=3, padding=3 | 2x1x4x4",
                "in_channels=2, out_channels=3, kernel_size=3, stride=1x2 | 1x2x7x6",
                "in_channels=2, out_channels=3, kernel_size=3, padding=0x2 | 1x2x5x6",
            ],
            [*PLAIN, "per-channel"],
        )
    ],
    "maxpool2d": [
        (
            [
                "kernel_size=2 | 2x3x9x7",
                "kernel_size=3, stride=2 | 2x2x8x9",
                "kernel_size=3, stride=2, padding=1 | 2x2x7x7",
                "kernel_size=2x3, stride=1x2, padding=0x1 | 1x2x6x8",
                "kernel_size=2, stride=3 | 2x2x9x9",
            ],
            [*PLAIN, "per-channel"],
        )
    ],
    "relu": [(["3x2x5x4", "4x6", "1x1"], PLAIN)],
    "flatten": [(["3x2x5x4", "1x4x1x1", "2x3"], ["normal", "per-channel", "magnitudes"])],
    "batchnorm2d": [
        (
            [
                "num_features=3 | 4x3x5x6",
                "num_features=2, momentum=0.3 | 1x2x6x5",
                "num_features=4, eps=0.001 | 7x4x1x1",
                "num_features=3, affine=False | 3x3x3x3",
                "num_features=1, eps=0.1, momentum=1.0 | 2x1x4x7",
                "num_features=5, eps=0.5, momentum=0.0 | 2x5x3x2",
            ],
            [*PLAIN, "per-channel"],
        )
    ],
    "dropout": [(["p=0.25 | 8x4x9x8", "p=0.8 | 20x30"], ["normal", "per-channel"])],
    "linear": [
        (
            [
                "in_features=7, out_features=4 | 5x7",
                "in_features=6, out_features=6 | 3x6",
                "in_features=5, out_features=3 | 1x5",
                "in_features=9, out_features=2, bias=False | 4x9",
            ],
            PLAIN,
        )
    ],
    "softmax": [(["dim=1 | 5x4", "dim=1 | 1x10", "dim=0 | 3x4"], SCORES)],
    "log_softmax": [(["dim=1 | 5x4", "dim=1 | 1x10", "dim=0 | 3x4"], SCORES)],
    "cross_entropy": [
        ([f"reduction={reduction} | 6x10" for reduction in ("mean", "sum", "none")], SCORES),
        ([f"reduction={reduction} | 1x4" for reduction in ("mean", "sum", "none")], ["normal", "zeros"]),
    ],
}
# What is compared beside the grid.
SINGLE = {
    "conv2d": [
        "in_channels=6, out_channels=16, kernel_size=5 | 40x6x14x14 normal",
        "in_channels=6, out_channels=16, kernel_size=5 | 150x6x6x14 normal",
        "in_channels=6, out_channels=16, kernel_size=5 | 600x6x6x5 normal",
    ],
    "batchnorm2d": [
        "num_features=2 | 5x2x4x3 per-channel, 3 calls",
        "num_features=2, affine=False, momentum=0.7, eps=0.01 | 4x2x3x3 normal, 3 calls",
    ],
    "dropout": ["p=0.3 | 20x50 normal, 3 calls"],
}
SIDES: dict[str, tuple[Any, Any, Any]] = {
    "conv2d": (scratch.Conv2d, nn.Conv2d, tolerance.sum_of_products),
    "maxpool2d": (scratch.MaxPool2d, nn.MaxPool2d, tolerance.selection),
    "relu": (scratch.ReLU, nn.ReLU, tolerance.exact),
    "flatten": (scratch.Flatten, nn.Flatten, tolerance.exact),
    "batchnorm2d": (scratch.BatchNorm2d, nn.BatchNorm2d, tolerance.batch_norm),
    "dropout": (scratch.Dropout, nn.Dropout, tolerance.one_product),
    "linear": (scratch.Linear, nn.Linear, tolerance.sum_of_products),
    "softmax": (scratch.Softmax, nn.Softmax, tolerance.probabilities),
    "log_softmax": (scratch.LogSoftmax, nn.LogSoftmax, tolerance.log_probabilities),
    "cross_entropy": (scratch.CrossEntropyLoss, nn.CrossEntropyLoss, tolerance.cross_entropy),
    "sgd": (scratch.SGD, torch.optim.SGD, tolerance.sgd),
    "adam": (scratch.Adam, torch.optim.Adam, tolerance.adam),
}


def layer(name: str) -> LayerPair:
    pair = REGISTRY[name]
    assert isinstance(pair, LayerPair)
    return pair


def test_every_name_is_that_of_its_pair() -> None:
    assert list(REGISTRY) == [*SIDES, "cnn", "lenet5"]
    assert [pair.name for pair in REGISTRY.values()] == list(REGISTRY)


@pytest.mark.parametrize("name", SIDES)
def test_a_pair_has_the_twin_of_its_layer_and_the_rule_that_was_derived_for_it(name: str) -> None:
    pair = REGISTRY[name]
    assert isinstance(pair, LayerPair | OptimizerPair)
    assert (pair.scratch, pair.torch, pair.rule) == SIDES[name]


@pytest.mark.parametrize("name", GRIDS)
def test_every_geometry_meets_every_kind_of_values_and_the_first_one_every_layout_and_three_calls(name: str) -> None:
    expected = []
    for geometries, values in GRIDS[name]:
        expected += [f"{geometry} {kind}" for geometry in geometries for kind in values]
        expected += [f"{geometries[0]} normal, {layout}" for layout in LAYOUTS]
        expected += [f"{geometries[0]} normal, 3 calls"]
    assert [case.name for case in layer(name).cases] == expected + SINGLE.get(name, [])


def test_a_grid_without_layouts_has_the_values_and_the_three_calls() -> None:
    cases = registry._grid([((1, 2), {"dim": 1}), ((3,), {})], ("normal", "zeros"), layouts=False)
    names = ["dim=1 | 1x2 normal", "dim=1 | 1x2 zeros", "3 normal", "3 zeros", "dim=1 | 1x2 normal, 3 calls"]
    assert [case.name for case in cases] == names


def test_only_losses_take_targets_and_only_dropout_is_random() -> None:
    layers = [pair for pair in REGISTRY.values() if isinstance(pair, LayerPair)]
    assert [pair.name for pair in layers if pair.takes_targets] == ["cross_entropy"]
    assert [pair.name for pair in layers if pair.random] == ["dropout"]
    random = layer("dropout").random
    assert random is not None
    assert (random.reference, random.choose, random.shares) == (dropout_given, choose_dropout, dropout_shares)


def test_the_settings_of_the_optimizers() -> None:
    sgd, adam = REGISTRY["sgd"], REGISTRY["adam"]
    assert isinstance(sgd, OptimizerPair)
    assert isinstance(adam, OptimizerPair)
    assert sgd.options == (
        {"lr": 0.1},
        {"lr": 0.05, "momentum": 0.9},
        {"lr": 0.05, "momentum": 0.9, "dampening": 0.5},
        {"lr": 0.05, "momentum": 0.9, "nesterov": True},
        {"lr": 0.1, "weight_decay": 0.01},
        {"lr": 0.05, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.1},
        {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    )
    assert adam.options == (
        {"lr": 0.001},
        {"lr": 0.05, "betas": (0.5, 0.75)},
        {"lr": 0.01, "betas": (0.0, 0.99)},
        {"lr": 0.01, "eps": 1e-3},
        {"lr": 0.01, "weight_decay": 0.1},
        {"lr": 0.02, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.5},
    )


@pytest.mark.parametrize("name", ["cnn", "lenet5"])
def test_a_model_takes_images_like_mnists_and_gives_ten_scores(name: str) -> None:
    pair, own, twin = (
        REGISTRY[name],
        *{
            "cnn": (scratch.CNN, torch_ref.CNN),
            "lenet5": (scratch.LeNet5, torch_ref.LeNet5),
        }[name],
    )
    assert isinstance(pair, ModelPair)
    assert (pair.scratch, pair.torch, pair.image_shape, pair.num_classes) == (own, twin, (1, 28, 28), 10)
    assert registry.model_pair(name) is MODELS[name] is pair
    assert list(MODELS) == ["cnn", "lenet5"]


# The names of cases, and the choice of pairs.


@pytest.mark.parametrize(
    ("case", "name"),
    [
        (Case((7,)), "7 normal"),
        (Case((2, 3), values="zeros"), "2x3 zeros"),
        (Case((2, 3), {"p": 0.5, "size": (4, 5)}, layout="strided"), "p=0.5, size=4x5 | 2x3 normal, strided"),
        (Case((2, 3), calls=2), "2x3 normal, 2 calls"),
        (Case((2, 3), {"dim": 1}, "large", "fortran", 5), "dim=1 | 2x3 large, fortran, 5 calls"),
    ],
)
def test_a_case_is_named_by_what_is_not_usual(case: Case, name: str) -> None:
    assert case.name == name


def test_a_case_is_one_call_without_options() -> None:
    case = Case((1,))
    assert (case.options, case.values, case.layout, case.calls) == ({}, "normal", "contiguous", 1)
    assert case.options is not Case((1,)).options
    assert LayerPair("own", scratch.ReLU, nn.ReLU, tolerance.exact, ()).takes_targets is False
    assert LayerPair("own", scratch.ReLU, nn.ReLU, tolerance.exact, ()).random is None


@pytest.mark.parametrize("nothing", [None, []])
def test_where_no_pair_is_named_all_are_chosen(nothing: list[str] | None) -> None:
    assert registry.chosen_pairs(nothing) == list(REGISTRY.values())


def test_named_pairs_come_in_the_order_of_the_registry() -> None:
    assert registry.chosen_pairs(["lenet5", "sgd", "relu"]) == [REGISTRY["relu"], REGISTRY["sgd"], REGISTRY["lenet5"]]


NAMES = "conv2d, maxpool2d, relu, flatten, batchnorm2d, dropout, linear, softmax, log_softmax, cross_entropy, sgd, adam"


def test_a_name_that_is_not_registered_is_refused_with_those_that_are() -> None:
    with pytest.raises(UserError) as refused:
        registry.chosen_pairs(["relu", "conv3d"])
    assert str(refused.value) == f"pair 'conv3d' is unknown; choose among {NAMES}, cnn, lenet5"
    with pytest.raises(UserError) as refused:
        registry.model_pair("relu")
    assert str(refused.value) == "model 'relu' is unknown; choose one of cnn, lenet5"


def test_a_layer_belongs_to_the_pair_of_its_class_and_of_no_other() -> None:
    class Own(nn.ReLU):
        pass

    assert registry.layer_pair_of(nn.Linear(1, 2)) is REGISTRY["linear"]
    assert registry.layer_pair_of(nn.Conv2d(1, 2, 3)) is REGISTRY["conv2d"]
    for unknown in (Own(), torch_ref.CNN()):
        with pytest.raises(UserError) as refused:
            registry.layer_pair_of(unknown)
        name = type(unknown).__name__
        assert str(refused.value) == f"{name} has no registered pair; announce it in the registry of pairs"
