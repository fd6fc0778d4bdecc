"""The registry: what every pair is compared on, written out once more, so that no case is lost or weakened unseen."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import scratch
import torch_ref
from compare.driving.options import USUAL_AXES, Axes
from compare.machine.errors import UserError
from compare.pairs import bounds, cases, layers, optimizers, registry
from compare.pairs.cases import Case
from compare.pairs.layers import activation, loss, normalisation, pooling
from compare.pairs.layers.dropout import choose_dropout, dropout_given, dropout_shares, one_product
from compare.pairs.models import ModelPair
from compare.pairs.optimizers import OptimizerPair
from compare.pairs.pair import LayerPair, Pair, image_shapes, row_shapes
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
    "conv2d": (scratch.Conv2d, nn.Conv2d, bounds.sum_of_products),
    "maxpool2d": (scratch.MaxPool2d, nn.MaxPool2d, pooling.selection),
    "avgpool2d": (scratch.AvgPool2d, nn.AvgPool2d, pooling.averages),
    "relu": (scratch.ReLU, nn.ReLU, bounds.exact),
    "flatten": (scratch.Flatten, nn.Flatten, bounds.exact),
    "batchnorm2d": (scratch.BatchNorm2d, nn.BatchNorm2d, normalisation.batch_norm),
    "dropout": (scratch.Dropout, nn.Dropout, one_product),
    "linear": (scratch.Linear, nn.Linear, bounds.sum_of_products),
    "softmax": (scratch.Softmax, nn.Softmax, activation.probabilities),
    "log_softmax": (scratch.LogSoftmax, nn.LogSoftmax, activation.log_probabilities),
    "cross_entropy": (scratch.CrossEntropyLoss, nn.CrossEntropyLoss, loss.cross_entropy),
    "sgd": (scratch.SGD, torch.optim.SGD, optimizers.sgd),
    "adam": (scratch.Adam, torch.optim.Adam, optimizers.adam),
}
GRIDS["avgpool2d"] = GRIDS["maxpool2d"]
# The smallest cases, from the smallest up.
SMALL = {
    "conv2d": [
        "in_channels=1, out_channels=1, kernel_size=3 | 1x1x3x3 normal",
        "in_channels=1, out_channels=1, kernel_size=2 | 1x1x3x3 normal",
        "in_channels=1, out_channels=1, kernel_size=3, padding=1 | 1x1x2x2 normal",
        "in_channels=1, out_channels=1, kernel_size=3, padding=1 | 1x1x3x3 normal",
        "in_channels=1, out_channels=1, kernel_size=2, stride=2 | 1x1x4x4 normal",
        "in_channels=1, out_channels=1, kernel_size=2 | 2x1x2x2 normal",
        "in_channels=2, out_channels=1, kernel_size=2 | 1x2x2x2 normal",
        "in_channels=1, out_channels=2, kernel_size=2 | 1x1x2x2 normal",
        "in_channels=2, out_channels=2, kernel_size=2 | 1x2x2x2 normal",
        "in_channels=1, out_channels=1, kernel_size=2x1 | 1x1x3x3 normal",
        "in_channels=1, out_channels=1, kernel_size=2, stride=2x1 | 1x1x4x4 normal",
        "in_channels=1, out_channels=1, kernel_size=3, padding=1x0 | 1x1x3x3 normal",
        "in_channels=1, out_channels=1, kernel_size=2 | 1x1x2x2 normal, 2 calls",
        "in_channels=1, out_channels=1, kernel_size=2 | 2x1x2x2 normal, 2 calls",
    ],
    "maxpool2d": [
        "kernel_size=2 | 1x1x2x2 normal",
        "kernel_size=2 | 1x1x3x3 normal",
        "kernel_size=2, stride=1 | 1x1x3x3 normal",
        "kernel_size=2 | 1x1x4x4 normal",
        "kernel_size=3, stride=2, padding=1 | 1x1x3x3 normal",
        "kernel_size=1x2 | 1x1x2x4 normal",
        "kernel_size=2 | 2x1x2x2 normal, 2 calls",
    ],
    "relu": ["1x3 normal", "1x1x2x2 normal", "1x3 normal, 2 calls"],
    "flatten": ["1x1x1x2 normal", "1x2x1x2 normal", "1x1x2x2 normal", "2x2x2x2 normal"],
    "batchnorm2d": [
        "num_features=1 | 2x1x1x1 normal",
        "num_features=1 | 3x1x1x1 normal",
        "num_features=1 | 1x1x2x2 normal",
        "num_features=2 | 2x2x1x2 normal",
        "num_features=1 | 3x1x1x1 normal, 2 calls",
    ],
    "dropout": [],
    "linear": [
        "in_features=2, out_features=1 | 1x2 normal",
        "in_features=2, out_features=2 | 1x2 normal",
        "in_features=3, out_features=2 | 1x3 normal",
        "in_features=2, out_features=2 | 2x2 normal",
        "in_features=2, out_features=2 | 2x2 normal, 2 calls",
    ],
    "softmax": ["dim=1 | 1x2 normal", "dim=1 | 2x2 normal", "dim=0 | 2x2 normal"],
    "log_softmax": ["dim=1 | 1x2 normal", "dim=1 | 2x2 normal", "dim=0 | 2x2 normal"],
    "cross_entropy": [
        "reduction=mean | 1x2 normal",
        "reduction=mean | 2x2 normal",
        "reduction=mean | 2x3 normal",
        "reduction=sum | 2x2 normal",
        "reduction=mean | 2x2 normal, 2 calls",
    ],
}
SMALL["avgpool2d"] = SMALL["maxpool2d"]
OFTEN = dict.fromkeys(SIDES, 1) | {"conv2d": 5, "maxpool2d": 3, "linear": 3}
# The axes of every weight in torch's order, and the other orders that are tried.
WEIGHTS = {
    "conv2d": {"weight": "OIHW", "bias": "O"},
    "linear": {"weight": "OI", "bias": "O"},
    "batchnorm2d": {"weight": "O", "bias": "O", "running_mean": "O", "running_var": "O"},
}
OTHER_ORDERS = {
    "OIHW": ("HWIO", "OHWI", "IOHW", "HWOI", "OHW", "HWO"),
    "OIDHW": (),
    "OIL": (),
    "OI": ("IO",),
    "O": (),
}
# What is known of the options: told by the shape of a weight, one number for each side, left out by much code.
SEEN_IN_WEIGHT = {
    "conv2d": ["in_channels", "out_channels", "kernel_size"],
    "maxpool2d": ["kernel_size"],
    "avgpool2d": ["kernel_size"],
    "linear": ["in_features", "out_features"],
    "batchnorm2d": ["num_features"],
}
TWO_SIDED = {name: ["kernel_size", "stride", "padding"] for name in ("conv2d", "maxpool2d", "avgpool2d")}
DROPPING = {
    "conv2d": {"bias": ("bias",)},
    "linear": {"bias": ("bias",)},
    "batchnorm2d": {"affine": ("weight", "bias")},
}
OPTIONS = {
    "conv2d": ["in_channels", "out_channels", "kernel_size", "stride", "padding", "bias"],
    "maxpool2d": ["kernel_size", "stride", "padding"],
    "avgpool2d": ["kernel_size", "stride", "padding"],
    "relu": [],
    "flatten": [],
    "batchnorm2d": ["num_features", "eps", "momentum", "affine"],
    "dropout": ["p"],
    "linear": ["in_features", "out_features", "bias"],
    "softmax": ["dim"],
    "log_softmax": ["dim"],
    "cross_entropy": ["reduction"],
}
# What the lesson shows: which tensor each equation gives.
MAPPED = {1: "output", 2: "grad_input"}
WEIGHTED = {1: "output", 2: "grad_bias", 3: "grad_weight", 4: "grad_input"}
LESSONS = {
    "conv2d": WEIGHTED,
    "maxpool2d": MAPPED,
    "avgpool2d": MAPPED,
    "relu": MAPPED,
    "flatten": MAPPED,
    "linear": WEIGHTED,
    "softmax": MAPPED,
    "cross_entropy": {1: "losses", 2: "output", 3: "grad_input"},
    "sgd": {2: "velocity", 4: "weight"},
}

# What a row has to say, or else why it has nothing to say; and what a row may leave at its default.
LAYER_FIELDS = (
    ["small", "draw", "often", "decisions", "weights", "options", "targets", "random", "products", "lesson"],
    {"gives", "shapes", "normwise", "fixed", "unseen", "wider", "lacks"},
)
OPTIMIZER_FIELDS = ["draw", "often", "lesson"], {"lacks"}


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
    grid = cases.grid([((1, 2), {"dim": 1}), ((3,), {})], ("normal", "zeros"), layouts=False)
    names = ["dim=1 | 1x2 normal", "dim=1 | 1x2 zeros", "3 normal", "3 zeros", "dim=1 | 1x2 normal, 3 calls"]
    assert [case.name for case in grid] == names


def test_the_kinds_of_values_are_named_once() -> None:
    assert (list(cases.PLAIN), list(cases.SCORES)) == (PLAIN, SCORES)


@pytest.mark.parametrize("name", GRIDS)
def test_the_small_cases_go_from_the_smallest_up_to_two_calls(name: str) -> None:
    assert [case.name for case in layer(name).small] == SMALL[name]


def test_only_losses_take_targets_and_only_dropout_is_random() -> None:
    rows = [pair for pair in REGISTRY.values() if isinstance(pair, LayerPair)]
    assert [pair.name for pair in rows if pair.targets is not None] == ["cross_entropy"]
    assert [pair.name for pair in rows if pair.random] == ["dropout"]
    assert [pair.name for pair in REGISTRY.values() if pair.is_random] == ["dropout"]
    random = layer("dropout").random
    assert random is not None
    assert (random.reference, random.choose, random.shares) == (dropout_given, choose_dropout, dropout_shares)


def test_the_targets_of_cross_entropy_are_classes() -> None:
    draw = layer("cross_entropy").targets
    assert draw is not None
    for dtype in ("float64", "float32"):
        classes = draw(np.random.default_rng(0), (200, 3), dtype)
        assert (classes.shape, classes.dtype) == ((200,), np.dtype("int64"))
        assert set(classes) == {0, 1, 2}


@pytest.mark.parametrize(("name", "often"), OFTEN.items())
def test_in_a_round_of_random_configurations_so_many_are_of_a_pair(name: str, often: int) -> None:
    assert sum(OFTEN.values()) == 21
    assert REGISTRY[name].often == often
    assert [pair.often for pair in MODELS.values()] == [0, 0]


def test_what_each_layer_gives_and_what_it_decides() -> None:
    rows = {name: layer(name) for name in GRIDS}
    gives = {name: pair.gives for name, pair in rows.items() if pair.gives != "computed"}
    assert gives == {"maxpool2d": "selected", "relu": "selected", "flatten": "unchanged"}
    decisions = {name: pair.decisions for name, pair in rows.items() if pair.decisions is not None}
    assert {name: (own.words, own.among_elements) for name, own in decisions.items()} == {
        "maxpool2d": ("winner ahead of the other's by", True),
        "relu": ("input", False),
    }


def test_other_algorithms_are_right_too_for_sums_of_products_only() -> None:
    assert [pair.name for pair in REGISTRY.values() if pair.normwise] == ["conv2d", "avgpool2d", "linear"]
    rows = {pair.name: pair.rule for pair in REGISTRY.values() if isinstance(pair, LayerPair) and pair.normwise}
    sums = bounds.sum_of_products
    assert rows == {"conv2d": sums, "avgpool2d": pooling.averages, "linear": sums}


@pytest.mark.parametrize("name", GRIDS)
def test_the_axes_of_every_weight_are_known(name: str) -> None:
    pair = layer(name)
    assert {weight: axes.torch for weight, axes in pair.weights.items()} == WEIGHTS.get(name, {})
    assert all(axes == Axes(axes.torch, OTHER_ORDERS[axes.torch]) for axes in pair.weights.values())
    state = pair.torch(**pair.cases[0].options).state_dict()
    # A count has no axes.
    assert {weight: len(axes.torch) for weight, axes in pair.weights.items()} == {
        weight: tensor.ndim for weight, tensor in state.items() if tensor.ndim
    }
    for weight in (*state, "other"):
        assert pair.axes_of(weight) == pair.weights.get(weight)


def test_the_usual_axes_of_a_weight_by_their_number() -> None:
    usual = {1: "O", 2: "OI", 3: "OIL", 4: "OIHW", 5: "OIDHW"}
    assert {number: axes.torch for number, axes in USUAL_AXES.items()} == usual
    assert all(axes.others == OTHER_ORDERS[axes.torch] for axes in USUAL_AXES.values())


@pytest.mark.parametrize("name", GRIDS)
def test_what_is_known_of_the_options_of_a_layer(name: str) -> None:
    pair = layer(name)
    about = pair.options
    assert pair.about is about
    assert list(about) == OPTIONS[name]
    assert {*about} >= {option for case in (*pair.cases, *pair.small) for option in case.options}
    assert [option for option, known in about.items() if known.seen_in] == SEEN_IN_WEIGHT.get(name, [])
    assert {known.seen_in for known in about.values()} <= {"", "weight"}
    assert [option for option, known in about.items() if known.two_sided] == TWO_SIDED.get(name, [])
    assert {option: known.drops for option, known in about.items() if known.drops} == DROPPING.get(name, {})
    assert {option for option, known in about.items() if known.often_dropped} == {"bias"} & {*about}
    assert {option: known.implied for option, known in about.items() if known.implied} == (
        {"dim": (1, -1)} if "dim" in about else {"in_channels": (1,)} if "in_channels" in about else {}
    )
    # Sizes that are built in elsewhere, and what counts the channels of the input.
    assert {option: known.usual for option, known in about.items() if known.usual} == (
        {"kernel_size": (2, 3, 5)} if "kernel_size" in about else {}
    )
    assert {option for option, known in about.items() if known.channels} == (
        {"in_channels", "in_features", "num_features"} & {*about}
    )
    assert {option: known.default for option, known in about.items() if known.default} == (
        {"stride": "kernel_size"} if "stride" in about else {}
    )
    assert {option: known.sides for option, known in about.items() if known.sides} == (
        {"kernel_size": ("kernel_height", "kernel_width")} if "kernel_size" in about else {}
    )


# Arguments of torch's that matter, and that no case sets.
UNTESTED = {
    "conv2d": ("dilation", "groups", "padding_mode"),
    "maxpool2d": ("dilation", "ceil_mode"),
    "avgpool2d": ("ceil_mode", "count_include_pad", "divisor_override"),
    "flatten": ("start_dim", "end_dim"),
    "batchnorm2d": ("track_running_stats",),
    "cross_entropy": ("weight", "ignore_index", "label_smoothing"),
}


@pytest.mark.parametrize("name", list(REGISTRY))
def test_what_no_case_sets_is_named(name: str) -> None:
    pair = REGISTRY[name]
    expected = UNTESTED.get(name, ())
    if name == "batchnorm2d" and "bias" in inspect.signature(nn.BatchNorm2d).parameters:
        expected += ("bias",)  # not in every version of torch
    assert pair.untested == expected
    for case in pair.cases if isinstance(pair, LayerPair) else ():
        assert not {*pair.untested} & {*case.options}
    # A given module is tried as it is configured.
    if isinstance(pair, LayerPair):
        fixed = dataclasses.replace(pair, fixed=True)
        assert fixed.untested == ()
        assert dataclasses.replace(fixed, unseen=("ignore_index",)).untested == ("ignore_index",)
        assert dataclasses.replace(pair, unseen=("ignore_index",)).untested == expected


def test_what_is_known_of_a_probe_without_a_candidate_is_computed_step_by_step() -> None:
    pair = layer("linear")
    probe, further = (next(pair.probes("float64", seed=77)) for _ in range(2))
    steps = pair.prepared([probe, further])
    computed = [next(steps), next(steps)]
    assert [step.keys() for step in computed] == [pair.expected(probe).keys(), pair.bounds(probe).keys()]
    for step, known in zip(computed, (pair.expected(probe), pair.bounds(probe)), strict=True):
        assert all(step[name] is known[name] for name in known)  # they are not computed again
    assert len(list(steps)) == 2
    # What is right depends on the choices of a candidate.
    assert list(layer("dropout").prepared(layer("dropout").probes("float64"))) == []


def test_what_is_known_of_one_option_is_known_of_it_everywhere() -> None:
    assert layers.KNOWN_OPTIONS.keys() == {option for name in GRIDS for option in OPTIONS[name]}
    for name in GRIDS:
        for option, known in layer(name).options.items():
            assert layers.KNOWN_OPTIONS[option] == known


@pytest.mark.parametrize("name", GRIDS)
def test_a_layer_takes_the_first_of_the_shapes_that_are_to_be_tried(name: str) -> None:
    pair = layer(name)
    usual = {"softmax": row_shapes, "log_softmax": row_shapes, "cross_entropy": row_shapes}
    usual |= dict.fromkeys(("maxpool2d", "avgpool2d", "relu", "flatten"), image_shapes)
    assert pair.shapes is usual.get(name, pair.shapes)
    module = pair.torch(**pair.cases[0].options)
    first, *more = pair.shapes(module)
    assert first[0] > 1
    assert pair.takes(module, first)
    assert any(pair.takes(module, shape) for shape in more if shape[0] == 1)


@pytest.mark.parametrize(("name", "channels"), [("conv2d", "in_channels"), ("batchnorm2d", "num_features")])
def test_for_one_channel_every_case_has_images_of_one_and_the_option_that_counts_them(name: str, channels: str) -> None:
    pair = layer(name)
    alone = pair.for_one_channel()
    assert alone is not None
    assert {(case.shape[1], case.options[channels]) for case in (*alone.cases, *alone.small)} == {(1, 1)}
    # Nothing else is changed, and no case is there twice.
    wanted = [
        dataclasses.replace(case, shape=(case.shape[0], 1, *case.shape[2:]), options=case.options | {channels: 1})
        for case in pair.cases
    ]
    assert list(alone.cases) == list({case.name: case for case in wanted}.values())
    assert {f.name for f in dataclasses.fields(pair) if getattr(alone, f.name) is not getattr(pair, f.name)} == {
        "cases",
        "small",
    }
    for probe in alone.probes("float64"):
        assert all(call.inputs[0].shape[1] == 1 for call in probe.calls)
        assert pair.takes(pair.torch(**probe.options), probe.calls[0].inputs[0].shape)


@pytest.mark.parametrize("name", ["maxpool2d", "avgpool2d"])
def test_for_one_channel_what_does_the_same_in_every_channel_keeps_its_options(name: str) -> None:
    pair = layer(name)
    alone = pair.for_one_channel()
    assert alone is not None
    assert {case.shape[1] for case in (*alone.cases, *alone.small)} == {1}
    options = {str(case.options) for case in pair.cases}
    assert {str(case.options) for case in alone.cases} == options


@pytest.mark.parametrize("name", ["relu", "flatten", "dropout"])
def test_for_one_channel_what_takes_rows_too_keeps_its_cases_of_images_only(name: str) -> None:
    pair = layer(name)
    images = [case for case in pair.cases if len(case.shape) == 4]
    assert 0 < len(images) < len(pair.cases)
    alone = pair.for_one_channel()
    assert alone is not None
    wanted = [dataclasses.replace(case, shape=(case.shape[0], 1, *case.shape[2:])) for case in images]
    assert list(alone.cases) == list({case.name: case for case in wanted}.values())
    assert {(len(case.shape), case.shape[1]) for case in alone.small} <= {(4, 1)}
    assert bool(alone.small) == any(len(case.shape) == 4 for case in pair.small)
    assert {f.name for f in dataclasses.fields(pair) if getattr(alone, f.name) is not getattr(pair, f.name)} <= {
        "cases",
        "small",
    }


def test_one_channel_is_only_of_images() -> None:
    for name in ("linear", "softmax", "log_softmax", "cross_entropy"):
        assert layer(name).for_one_channel() is None, name
    for name in ("sgd", "adam", "cnn", "lenet5"):
        pair = REGISTRY[name]
        assert pair.for_one_channel() is None
        assert pair.with_one_channel(Case((2, 3))) == Case((2, 3))
    assert layer("conv2d").with_one_channel(Case((2, 3, 4, 5), {"in_channels": 3, "out_channels": 2})) == (
        Case((2, 1, 4, 5), {"in_channels": 1, "out_channels": 2})
    )
    assert layer("relu").with_one_channel(Case((2, 3, 4, 5))) == Case((2, 1, 4, 5))
    # The features of a row are no channels.
    for row in (Case((2, 3)), Case((2, 3), {"in_features": 3, "out_features": 2}, values="large")):
        assert layer("linear").with_one_channel(row) == row
        assert layer("relu").with_one_channel(row) == row


def test_for_one_image_cases_that_torch_does_not_take_are_left_out() -> None:
    alone = layer("batchnorm2d").for_one_image()
    assert alone is not None
    assert {case.shape[0] for case in alone.cases} == {1}
    shapes = {case.shape[1:] for case in layer("batchnorm2d").cases}
    # In training one number for each channel has no variance.
    assert {case.shape[1:] for case in alone.cases} == shapes - {(4, 1, 1)}
    assert alone.small == layer("batchnorm2d").small  # what is too large there, `smallest` leaves out
    assert (
        dataclasses.replace(layer("batchnorm2d"), cases=(Case((7, 4, 1, 1), {"num_features": 4}),)).for_one_image()
        is None
    )


def test_an_option_that_torch_does_not_take_leaves_the_pair_as_it_is() -> None:
    linear = layer("linear")
    without = linear.with_option("bias", False)
    assert {case.options["bias"] for case in (*without.cases, *without.small)} == {False}
    assert linear.with_option("colour", 3) is linear


@pytest.mark.parametrize("name", ["relu", "sgd", "cnn"])
def test_what_is_examined_is_drawn_once_for_a_seed(name: str) -> None:
    pair = dataclasses.replace(REGISTRY[name])  # nobody else has drawn of this one
    begun = pair.examined(3)
    first, second = next(begun), next(begun)
    probes = list(itertools.islice(pair.examined(3), 4))  # while another is under way
    assert (probes[0] is first, probes[1] is second) == (True, True)
    assert all(a is b for a, b in zip([first, second, *begun], pair.examined(3), strict=True))
    same = next(dataclasses.replace(pair).examined(3))
    assert same is not first
    assert (same.case, same.options) == (first.case, first.options)
    assert all(np.array_equal(same.state[weight], array) for weight, array in first.state.items())
    # The probes of another seed are others, and those of the first are given up.
    other = next(pair.examined(4))
    assert other is next(pair.examined(4))
    assert other is not first
    assert next(pair.examined(3)) is not first


def test_what_is_examined_is_every_case_in_float64_and_the_plain_ones_in_float32() -> None:
    pair = layer("relu")
    double = [probe.case for probe in pair.probes("float64", 0)]
    single = [probe.case for probe in pair.probes("float32", 0) if probe.plain]
    assert 0 < len(single) < len(double)
    assert [(probe.case, probe.dtype) for probe in pair.examined(0)] == [
        *((case, "float64") for case in double),
        *((case, "float32") for case in single),
    ]


def drawn(name: str) -> Any:
    """A probe of the first case of a pair."""
    return next(layer(name).probes("float64"))


def test_a_probe_is_drawn_again_for_a_case_that_is_changed() -> None:
    pair, probe = layer("maxpool2d"), drawn("maxpool2d")
    assert probe.drawn == pair.cases[0]

    def even(case: Case) -> Case:
        return dataclasses.replace(case, shape=(*case.shape[:2], 10, 8))

    again = pair.redrawn(probe, even)
    assert again is not None
    assert (again.case, again.dtype, again.options) == (
        "kernel_size=2 | 2x3x10x8 normal",
        "float64",
        {"kernel_size": 2},
    )
    assert again.drawn == even(pair.cases[0])
    assert again.calls[0].inputs[0].shape == (2, 3, 10, 8)
    twice = pair.redrawn(probe, even)
    assert twice is not None
    np.testing.assert_array_equal(twice.calls[0].inputs[0], again.calls[0].inputs[0])
    assert pair.redrawn(again, even) is None  # nothing is changed
    # What is drawn depends on what was drawn before, and so on the seed.
    other = next(pair.probes("float64", seed=1))
    assert other.case == probe.case
    of_other = pair.redrawn(other, even)
    assert of_other is not None
    assert of_other.case == again.case
    assert (of_other.calls[0].inputs[0] != again.calls[0].inputs[0]).any()
    single = dataclasses.replace(probe, dtype="float32")
    in_single = pair.redrawn(single, even)
    assert in_single is not None
    assert in_single.calls[0].inputs[0].dtype == np.float32


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("maxpool2d", lambda case: case),
        ("maxpool2d", lambda case: dataclasses.replace(case, shape=(2, 3, 1, 1))),  # smaller than a window
        ("maxpool2d", lambda case: dataclasses.replace(case, options={"kernel_size": "two"})),
        ("conv2d", lambda case: dataclasses.replace(case, shape=(3, 5, 9, 8))),  # other channels than its weights
        ("linear", lambda case: dataclasses.replace(case, options=case.options | {"colour": 3})),
        ("batchnorm2d", lambda case: dataclasses.replace(case, shape=(1, 3, 1, 1))),
    ],
)
def test_what_torch_does_not_take_or_is_not_changed_is_not_drawn_again(name: str, change: Any) -> None:
    assert layer(name).redrawn(drawn(name), change) is None


def test_what_was_not_drawn_for_a_case_is_not_drawn_again() -> None:
    for name in ("sgd", "adam"):
        probe = next(REGISTRY[name].examined(0))
        assert probe.drawn is None
        assert REGISTRY[name].redrawn(probe, lambda _: Case((9,))) is None
    by_hand = dataclasses.replace(drawn("relu"), drawn=None)
    assert layer("relu").redrawn(by_hand, lambda _: Case((9, 9))) is None


def test_the_products_of_a_number_of_the_output_are_those_that_the_reference_adds_up() -> None:
    counted = {name: layer(name).products for name in GRIDS if layer(name).products is not None}
    assert list(counted) == ["conv2d", "linear"]
    for name, count in counted.items():
        pair = layer(name)
        for case in pair.cases:
            probe = pair.probe(case, "float64", np.random.default_rng(0))
            terms = bounds.term_counts(pair.reference(probe), probe.calls)
            output = next(array for tensor, array in terms.items() if tensor.startswith("output"))
            bias = int(case.options.get("bias", True))
            assert count is not None
            assert count(pair.scratch(**case.options)) >= output.max() - bias
            if not case.options.get("padding"):
                assert count(pair.scratch(**case.options)) == output.max() - bias == output.min() - bias


@pytest.mark.parametrize("name", SIDES)
def test_the_lesson_shows_which_tensor_each_equation_gives(name: str) -> None:
    pair = REGISTRY[name]
    assert isinstance(pair, LayerPair | OptimizerPair)
    lesson = pair.lesson
    assert (lesson is not None) is (name in LESSONS)
    if lesson is not None:
        assert lesson.tensors == LESSONS[name]
        assert all(callable(getattr(pair.scratch, method)) for method in lesson.methods)


def says_all(pair: LayerPair | OptimizerPair, fields: tuple[list[str], set[str]]) -> None:
    """A new field, too, has to be filled in everywhere, or its absence to be explained."""
    says, may_be_left = fields
    optional = {
        field.name
        for field in dataclasses.fields(pair)
        if not (field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING)
    }
    assert optional == {*says} | may_be_left
    there = {field for field in says if getattr(pair, field)}
    assert {field: pair.lacks.get(field) for field in says if field not in there} == pair.lacks
    for reason in pair.lacks.values():
        assert len(reason.split()) >= 3, reason


@pytest.mark.parametrize("name", SIDES)
def test_every_field_of_a_row_is_there_or_the_row_says_why_not(name: str) -> None:
    pair = REGISTRY[name]
    if isinstance(pair, LayerPair):
        says_all(pair, LAYER_FIELDS)
    else:
        assert isinstance(pair, OptimizerPair)
        says_all(pair, OPTIMIZER_FIELDS)


def test_a_row_that_says_nothing_or_too_much_is_found() -> None:
    relu, adam = layer("relu"), REGISTRY["adam"]
    assert isinstance(adam, OptimizerPair)
    for wrong in (
        dataclasses.replace(relu, lesson=None),
        dataclasses.replace(relu, small=()),
        dataclasses.replace(relu, often=0),
        dataclasses.replace(relu, lacks={**relu.lacks, "lesson": "it is shown anyway"}),
        dataclasses.replace(relu, lacks={**relu.lacks, "colour": "it has none"}),
        dataclasses.replace(relu, lacks={**relu.lacks, "weights": "none"}),
        dataclasses.replace(relu, lacks={**relu.lacks, "weights": ""}),
    ):
        with pytest.raises(AssertionError):
            says_all(wrong, LAYER_FIELDS)
    for lacking in ({}, {"lesson": ""}, {**adam.lacks, "draw": "it draws nothing"}):
        with pytest.raises(AssertionError):
            says_all(dataclasses.replace(adam, lacks=lacking), OPTIMIZER_FIELDS)


def test_the_kinds_of_pair_say_themselves_how_they_differ() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Pair("none", scratch.ReLU, nn.ReLU)  # type: ignore[abstract]
    assert [name for name, pair in REGISTRY.items() if pair.role == "optimizer"] == ["sgd", "adam"]
    assert {pair.role for pair in REGISTRY.values()} == {"module", "optimizer", "model"}
    assert [name for name, pair in REGISTRY.items() if pair.fixed] == list(MODELS)
    buffers = {name: pair.buffers() for name, pair in REGISTRY.items() if pair.buffers()}
    assert buffers == {"batchnorm2d": {"running_mean", "running_var", "num_batches_tracked"}}


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
    assert (pair.images_per_thread, pair.lesson_epochs) == {"cnn": (128, 6), "lenet5": (64, 4)}[name]
    assert registry.model_pair(name) is MODELS[name] is pair
    assert list(MODELS) == ["cnn", "lenet5"]


def test_an_optimizer_is_looked_up_by_its_name() -> None:
    assert registry.optimizer_pair("sgd") is REGISTRY["sgd"]
    assert registry.optimizer_pair("adam") is REGISTRY["adam"]
    with pytest.raises(KeyError, match="relu"):
        registry.optimizer_pair("relu")


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


def test_a_row_of_which_nothing_else_is_said_has_one_input_and_computes_the_same_each_time() -> None:
    own = LayerPair("own", scratch.ReLU, nn.ReLU, bounds.exact, ())
    assert own.targets is None
    assert own.random is None
    assert (own.gives, own.normwise, own.fixed, own.often) == ("computed", False, False, 0)


@pytest.mark.parametrize("nothing", [None, []])
def test_where_no_pair_is_named_all_are_chosen(nothing: list[str] | None) -> None:
    assert registry.chosen_pairs(nothing) == list(REGISTRY.values())


def test_named_pairs_come_in_the_order_of_the_registry() -> None:
    assert registry.chosen_pairs(["lenet5", "sgd", "relu"]) == [REGISTRY["relu"], REGISTRY["sgd"], REGISTRY["lenet5"]]


NAMES = (
    "conv2d, maxpool2d, avgpool2d, relu, flatten, batchnorm2d, dropout, linear, softmax, log_softmax, cross_entropy, "
    "sgd, adam"
)


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

    for find in (layers.layer_pair_of, layers.registered):
        assert find(nn.Linear(1, 2)) is REGISTRY["linear"]
        assert find(nn.Conv2d(1, 2, 3)) is REGISTRY["conv2d"]
    for unknown in (Own(), torch_ref.CNN()):
        assert layers.registered(unknown) is None
        with pytest.raises(UserError) as refused:
            layers.layer_pair_of(unknown)
        name = type(unknown).__name__
        assert str(refused.value) == f"{name} has no registered pair; announce it in the registry of pairs"
