"""What somebody's code is compared with: the pair of a name or of a torch module, its cases, and its scratch twin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import scratch
from compare.diagnosis.likeness import (
    Likeness,
    _inputs,
    defaults_of,
    likeness,
    one_channel,
    one_image,
    only_with,
)
from compare.diagnosis.written import parse_like
from compare.driving.options import KERNELS, MATRIX, VECTOR, Axes
from compare.machine.errors import UserError
from compare.pairs.cases import Case
from compare.pairs.layers import KNOWN_OPTIONS
from compare.pairs.measured import measured
from compare.pairs.pair import LayerPair, arguments_of, takes
from compare.pairs.registry import REGISTRY
from scratch import Array

NAMES = (
    "conv2d, maxpool2d, avgpool2d, relu, flatten, batchnorm2d, dropout, linear, softmax, log_softmax, cross_entropy, "
    "sgd, adam, cnn, lenet5"
)
LAYOUTS = ("strided", "fortran", "batch last", "read-only")
SCORES = ["normal", "zeros", "large", "uneven"]
Shape = tuple[int, ...]


def layer_of(found: Likeness) -> LayerPair:
    assert isinstance(found.pair, LayerPair)
    return found.pair


def registered(name: str) -> LayerPair:
    pair = REGISTRY[name]
    assert isinstance(pair, LayerPair)
    return pair


def shapes_of(module: nn.Module, input_shape: Shape | None = None) -> list[Shape]:
    """The shapes that ordinary values are tried in."""
    cases = layer_of(likeness(module, input_shape)).cases
    return [case.shape for case in cases if case == Case(case.shape, {})]


def kinds_of(module: nn.Module, input_shape: Shape | None = None) -> list[str]:
    """The kinds of values that are tried, without those that differ by shape, layout or calls only."""
    cases = layer_of(likeness(module, input_shape)).cases
    return list(dict.fromkeys(case.values for case in cases))


class Net(nn.Module):
    """A network as people write it: its order is in its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.fc(x))


class Only(nn.Module):
    """Takes one shape, with so many images or fewer."""

    def __init__(self, shape: Shape, error: type[Exception] = ValueError) -> None:
        super().__init__()
        self.shape, self.error = shape, error

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.shape[1:] or len(x) > self.shape[0]:
            raise self.error("another shape")
        return x


# Names, classes and pairs


@pytest.mark.parametrize("name", list(REGISTRY))
def test_a_registered_name_is_its_pair(name: str) -> None:
    pair = REGISTRY[name]
    for like in (name, pair, pair.torch):
        found = likeness(like)
        assert found.pair is pair
        assert found.pair.fixed is (name in ("cnn", "lenet5"))
        assert found.parts == {"": pair}
        assert found.hints == {}
        assert found.build is not None
        assert found.build({}) is pair.scratch
        assert found.build({"": print}) is print
        assert found.build({"0": print}) is pair.scratch


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ("conv", f"--like 'conv' is no registered name; choose one of {NAMES}, or a torch module"),
        ("", f"--like '' is no registered name; choose one of {NAMES}, or a torch module"),
        (nn.GELU, "GELU has no registered pair; give an object, GELU(...)"),
        (int, "int has no registered pair; give an object, int(...)"),
        (3, "like must be a registered name or a torch.nn.Module, got int"),
        (None, "like must be a registered name or a torch.nn.Module, got NoneType"),
    ],
)
def test_what_is_like_nothing_is_refused(like: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        likeness(like)
    assert str(caught.value) == message


class OwnConv(nn.Conv2d):
    """Somebody's variant, which the registered layer need not be like."""


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (nn.Conv2d(1, 2, 3), "conv2d"),
        (OwnConv(1, 2, 3), "OwnConv"),
        (nn.GELU(), "GELU"),
        (nn.MSELoss(), "MSELoss"),
        (Net(), "Net"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.ReLU(), nn.GELU())), "conv2d + relu + GELU"),
    ],
)
def test_a_module_is_called_by_its_layers(module: nn.Module, name: str) -> None:
    assert likeness(module, (6,) if isinstance(module, Net) else None).pair.name == name


# One torch module


def test_a_registered_layer_keeps_its_rule_and_gets_cases_of_its_own() -> None:
    conv = nn.Conv2d(3, 5, (2, 4), stride=2, bias=False)
    found = likeness(conv)
    pair = layer_of(found)
    shapes = [first := (3, 3, 7, 8), (2, 3, 3, 7), (1, 3, 2, 4), (2, 3, 9, 8)]
    others = ("integers", "zeros", "post-relu", "magnitudes", "per-channel")
    assert pair.cases == (
        *(Case(shape, {}) for shape in shapes),
        *(Case(shape, {}, kind) for shape in shapes for kind in others),
        *(Case(first, {}, "normal", layout) for layout in LAYOUTS),
        Case(first, {}, "normal", "contiguous", 3),
    )
    assert pair.rule is registered("conv2d").rule
    assert (pair.targets, pair.random, pair.fixed) == (None, None, True)
    assert (pair.weights, pair.options) == (registered("conv2d").weights, registered("conv2d").options)
    assert found.parts == {"": registered("conv2d")}
    assert found.hints == {
        "in_channels": 3,
        "out_channels": 5,
        "kernel_size": (2, 4),
        "stride": (2, 2),
        "padding": (0, 0),
        "dilation": (1, 1),
        "groups": 1,
        "bias": False,
        "padding_mode": "zeros",
    }


def test_the_reference_is_a_copy_of_the_module_with_its_weights() -> None:
    linear = nn.Linear(3, 2)
    made = layer_of(likeness(linear)).torch()
    assert isinstance(made, nn.Linear)
    assert made is not linear
    assert torch.equal(made.weight, linear.weight)
    with torch.no_grad():
        made.weight += 1
    assert not torch.equal(made.weight, linear.weight)


def test_a_module_outside_the_registry_is_held_to_a_measured_bound_and_has_no_twin() -> None:
    found = likeness(nn.GELU())
    pair = layer_of(found)
    assert pair.rule is measured
    assert pair.scratch is scratch.Module
    assert pair.random is None
    assert (found.build, found.parts, pair.fixed) == (None, {}, True)
    assert (pair.weights, pair.options) == ({}, {})  # of its weights nothing is known
    assert found.hints == {"approximate": "none"}


@pytest.mark.parametrize(
    ("module", "input_shape", "names"),
    [
        (nn.Conv1d(4, 3, 2), (4, 5), ["in_channels", "out_channels", "kernel_size", "stride", "padding", "bias"]),
        (nn.Sequential(nn.Linear(3, 4), nn.GELU()), None, ["in_features", "out_features", "bias"]),
        (nn.Sequential(nn.GELU(), nn.Sequential(nn.Softmax(1))), None, ["dim"]),
        (nn.Sequential(nn.GELU()), None, []),
    ],
)
def test_an_option_outside_the_registry_means_what_it_means_for_the_layers_inside(
    module: nn.Module, input_shape: Shape | None, names: list[str]
) -> None:
    options = layer_of(likeness(module, input_shape)).options
    assert {name: KNOWN_OPTIONS[name] for name in names}.items() <= options.items() <= KNOWN_OPTIONS.items()
    inside = [arguments_of(layer) for layer in module.modules()]
    assert set(options) == {name for name in KNOWN_OPTIONS if any(name in taken for taken in inside)}


def test_a_random_layer_stays_random() -> None:
    assert layer_of(likeness(nn.Dropout(0.3))).random is registered("dropout").random
    assert registered("dropout").random is not None


@pytest.mark.parametrize(
    ("module", "expected"),
    [(nn.MSELoss(), True), (nn.CrossEntropyLoss(), True), (nn.Softmax(1), False), (nn.ReLU(), False)],
)
def test_losses_take_targets(module: nn.Module, expected: bool) -> None:
    assert (layer_of(likeness(module)).targets is not None) is expected


@pytest.mark.parametrize(
    ("module", "normwise"),
    [
        (nn.Conv2d(1, 2, 3), True),
        (nn.Linear(4, 2), True),
        (nn.ReLU(), False),
        (nn.BatchNorm2d(2), False),
        (nn.GELU(), True),  # measured: nobody knows what is inside
        (nn.Sequential(nn.ReLU()), True),
    ],
)
def test_other_algorithms_are_right_where_its_pair_says_so_and_where_nothing_is_known(
    module: nn.Module, normwise: bool
) -> None:
    assert layer_of(likeness(module)).normwise is normwise


FLAT = ["normal", "integers", "zeros", "post-relu", "magnitudes"]
ALL = [*FLAT, "per-channel"]


@pytest.mark.parametrize(
    ("module", "input_shape", "kinds"),
    [
        (nn.Conv2d(1, 2, 3), None, ALL),
        (nn.MaxPool2d(2), None, ALL),
        (nn.ReLU(), None, FLAT),  # it does the same in every channel
        (nn.Flatten(), None, ["normal", "per-channel", "magnitudes"]),
        (nn.BatchNorm2d(2), None, ALL),
        (nn.Linear(4, 2), None, FLAT),  # no channels
        (nn.Linear(4, 2), (5, 4), FLAT),
        (nn.ReLU(), (4,), FLAT),
        (nn.Flatten(), (4,), ["normal", "magnitudes"]),
        (nn.Dropout(0.5), (4,), ["normal"]),
        (nn.GELU(), (4,), ["normal", "zeros", "integers"]),
        (nn.Softmax(1), None, SCORES),
        (nn.Softmax(1), (3, 4), SCORES),
        (nn.LogSoftmax(1), None, SCORES),
        (nn.CrossEntropyLoss(), None, SCORES),
        (nn.Dropout(0.5), None, ["normal", "per-channel"]),
        (nn.GELU(), None, ["normal", "per-channel", "zeros", "integers"]),
        # Ties whose winner rounding chooses: only a sum without a bias is 0 in every order.
        (
            nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.ReLU()),
            None,
            ["normal", "per-channel", "zeros", "integers"],
        ),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), None, ["normal", "per-channel"]),
        (nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.MaxPool2d(2)), None, ["normal", "per-channel"]),
        (nn.Sequential(nn.Linear(4, 2), nn.ReLU()), None, ["normal"]),
        (nn.Sequential(nn.Linear(4, 2, bias=False), nn.ReLU()), None, ["normal", "zeros", "integers"]),
    ],
)
def test_values_are_of_the_kinds_that_the_module_decides(
    module: nn.Module, input_shape: Shape | None, kinds: list[str]
) -> None:
    assert kinds_of(module, input_shape) == kinds


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(1, 2, 3),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.BatchNorm2d(2),
        nn.Dropout(0.5),
        nn.Linear(4, 2),
        nn.Softmax(1),
        nn.LogSoftmax(1),
        nn.CrossEntropyLoss(),
    ],
)
def test_a_registered_layer_is_tried_on_the_values_of_the_cases_of_its_pair(module: nn.Module) -> None:
    pair = layer_of(likeness(module))
    kinds = list(dict.fromkeys(case.values for case in registered(pair.name).cases))
    if len(pair.cases[0].shape) < 3:
        kinds = [kind for kind in kinds if kind != "per-channel"]
    assert kinds_of(module) == kinds


@pytest.mark.parametrize(
    ("module", "name", "shapes"),
    [
        (nn.Softmax(1), "softmax", [(5, 7), (1, 4)]),
        (nn.LogSoftmax(1), "log_softmax", [(5, 7), (1, 4)]),
        (nn.CrossEntropyLoss(), "cross_entropy", [(5, 7), (1, 4)]),
        (nn.Linear(4, 2), "linear", [(4, 4), (1, 4)]),
        (nn.Conv2d(1, 2, 3), "conv2d", [(3, 1, 8, 7), (2, 1, 4, 6), (1, 1, 3, 3), (2, 1, 9, 8)]),
    ],
)
def test_a_registered_layer_is_probed_as_hard_as_its_name(module: nn.Module, name: str, shapes: list[Shape]) -> None:
    def kinds(pair: LayerPair) -> set[tuple[str, str, int]]:
        return {(case.values, case.layout, case.calls) for case in pair.cases if case.options.get("dim") != 0}

    found, by_name = layer_of(likeness(module)), registered(name)
    assert kinds(found) == kinds(by_name)
    tried = [(case.shape, case.values) for case in found.cases if (case.layout, case.calls) == ("contiguous", 1)]
    values = {case.values for case in by_name.cases}
    assert set(tried) == {(shape, kind) for shape in shapes for kind in values}
    assert len(tried) == len(set(tried))


def test_of_more_layers_the_first_shape_alone_is_tried_on_every_kind_of_values() -> None:
    pair = layer_of(likeness(nn.Sequential(nn.Softmax(1), nn.GELU())))
    first, *others = dict.fromkeys(case.shape for case in pair.cases)
    assert others
    # Exponentials overflow on large scores.
    assert {case.values for case in pair.cases if case.shape == first} == {"normal", "zeros", "integers", "large"}
    assert {case.values for case in pair.cases if case.shape != first} == {"normal"}


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 20.0, 0.5, 1.5])),
        nn.CrossEntropyLoss(weight=torch.ones(4)),
        nn.CrossEntropyLoss(ignore_index=1),
        nn.CrossEntropyLoss(label_smoothing=0.1),
    ],
)
def test_a_loss_with_class_weights_is_no_plain_registered_layer(loss: nn.Module) -> None:
    found = likeness(loss, (4,))
    pair = layer_of(found)
    assert pair.rule is measured  # the registered rule knows of nothing but the reduction
    assert pair.normwise
    assert (found.build, pair.scratch) == (None, scratch.Module)
    assert pair.targets is not None
    assert found.parts == {"": registered("cross_entropy")}
    assert likeness(loss, (4,)).pair.name == "cross_entropy"
    for probe in pair.probes("float64"):
        assert pair.expected(probe).keys() == pair.bounds(probe).keys()


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(2, 4, 3, groups=2),
        nn.Conv2d(2, 4, 3, dilation=2),
        nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.BatchNorm2d(2, track_running_stats=False),
        nn.Flatten(2),
    ],
)
def test_a_layer_that_scratch_knows_and_refuses_keeps_its_rule_and_has_no_twin(module: nn.Module) -> None:
    found = likeness(module)
    pair = layer_of(found)
    assert (pair.rule, pair.weights) == (registered(pair.name).rule, registered(pair.name).weights)
    assert (found.build, pair.scratch) == (None, scratch.Module)


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(2, 4, 3, groups=1, dilation=1, padding_mode="zeros"),
        nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False),
        nn.CrossEntropyLoss(reduction="sum", ignore_index=-100, label_smoothing=0.0),
        nn.AvgPool2d(2, count_include_pad=True),
        nn.MaxPool2d(2, dilation=1),
        nn.BatchNorm2d(2, eps=0.1, momentum=0.5, affine=False),
    ],
)
def test_options_at_their_defaults_make_no_other_layer(module: nn.Module) -> None:
    found = likeness(module)
    pair = layer_of(found)
    assert (pair.rule, pair.weights) == (registered(pair.name).rule, registered(pair.name).weights)
    assert found.build is not None
    assert type(twin_of(module)) is registered(pair.name).scratch


def test_only_what_is_an_attribute_of_a_module_is_known_of_its_arguments() -> None:
    class Scaled(nn.Module):
        def __init__(self, *args: Any, scale: Any = 2, other: Any = 1, bias: Any = None, **kwargs: Any) -> None:
            super().__init__()
            self.args, self.kwargs, self.scale, self.bias = args, kwargs, scale + other, bias

        def forward(self, x: Tensor) -> Tensor:
            return x

    assert likeness(Scaled()).hints == {"scale": 3, "bias": None}
    assert likeness(Scaled(bias=[0])).hints == {"scale": 3, "bias": [0]}


def test_of_an_argument_that_is_kept_as_a_weight_it_is_known_whether_there_is_one() -> None:
    class Shifted(nn.Module):
        def __init__(self, bias: bool = True, slope: bool = True, steep: bool = False) -> None:
            super().__init__()
            self.register_parameter("bias", nn.Parameter(torch.ones(1)) if bias else None)
            self.register_parameter("slope", nn.Parameter(torch.ones(1)) if slope else None)
            self.steep = steep

        def forward(self, x: Tensor) -> Tensor:
            return x

    for bias in (False, True):
        for slope in (False, True):
            for steep in (False, True):
                assert likeness(Shifted(bias, slope, steep)).hints == {"bias": bias, "slope": slope, "steep": steep}


def test_arguments_are_those_of_the_constructor_that_is_asked_for() -> None:
    assert arguments_of(nn.Linear(3, 4)) == {"in_features": 3, "out_features": 4, "bias": True}

    def other(out_features: int, depth: int) -> tuple[int, int]:
        return out_features, depth

    assert arguments_of(nn.Linear(3, 4), other) == {"out_features": 4}


# The scratch twin


class Recorded(scratch.Module):
    """A layer of scratch that keeps what it was made with."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options


def twin_of(module: nn.Module, replaced: dict[str, Any] | None = None, shape: Shape | None = None) -> scratch.Module:
    build = likeness(module, shape).build
    assert build is not None
    twin: scratch.Module = build(replaced or {})()
    return twin


def layers_in(module: scratch.Module) -> dict[str, type]:
    return {name: type(m) for name, m in module.named_modules() if not isinstance(m, scratch.Sequential)}


def test_the_twin_of_a_layer_has_its_options() -> None:
    for make in (twin_of, lambda module: layer_of(likeness(module)).scratch()):
        conv: Any = make(nn.Conv2d(2, 5, (3, 2), stride=(2, 1), padding=1, bias=False))
        assert isinstance(conv, scratch.Conv2d)
        assert conv.weight.data.shape == (5, 2, 3, 2)
        assert conv.bias is None
        assert (conv.stride, conv.padding) == ((2, 1), (1, 1))


def test_the_twin_of_a_sequence_has_its_layers_in_order_and_some_of_them_replaced() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, 2)), nn.Flatten())
    names = {"0": scratch.Conv2d, "1.0": scratch.ReLU, "1.1": scratch.MaxPool2d, "2": scratch.Flatten}
    assert layers_in(twin_of(module)) == names
    assert layers_in(twin_of(module, {"1.1": Recorded})) == names | {"1.1": Recorded}
    twin: Any = dict(twin_of(module, {"1.1": Recorded}).named_modules())["1.1"]
    assert twin.options.items() >= {"kernel_size": 3, "stride": 2, "padding": 0}.items()
    parts = likeness(module).parts
    assert {part: pair.name for part, pair in parts.items()} == {
        "0": "conv2d",
        "1.0": "relu",
        "1.1": "maxpool2d",
        "2": "flatten",
    }


def test_a_layer_without_weights_that_stands_twice_is_there_twice_in_the_twin() -> None:
    relu = nn.ReLU()
    module = nn.Sequential(nn.Linear(3, 4), relu, nn.Linear(4, 2), relu)
    assert [*layers_in(twin_of(module)).values()] == [scratch.Linear, scratch.ReLU, scratch.Linear, scratch.ReLU]
    assert list(likeness(module).parts) == ["0", "1", "2", "3"]
    linear = nn.Linear(3, 3)
    assert likeness(nn.Sequential(linear, nn.ReLU(), linear)).build is None  # shared weights
    norm = nn.BatchNorm2d(2, affine=False)
    assert likeness(nn.Sequential(norm, nn.ReLU(), norm), (2, 3, 3)).build is None  # shared running statistics


@pytest.mark.parametrize(
    ("module", "input_shape", "parts"),
    [
        (nn.Sequential(nn.Linear(3, 4), nn.GELU()), None, ["0"]),
        (Net(), (6,), ["fc"]),
        (nn.Sequential(nn.ReLU(), Net()), (6,), ["0", "1.fc"]),
        (nn.Sequential(nn.Linear(6, 6), nn.Sequential(Net())), None, ["0", "1.0.fc"]),
        (nn.Conv2d(1, 2, 3, padding="same"), None, [""]),
        (nn.Sequential(nn.Conv2d(1, 2, 3, dilation=2), nn.ReLU()), None, ["0", "1"]),
        (nn.Flatten(2), None, [""]),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(0)), None, ["0", "1"]),
    ],
)
def test_what_scratch_has_not_has_no_twin(module: nn.Module, input_shape: Shape | None, parts: list[str]) -> None:
    found = likeness(module, input_shape)
    assert found.build is None
    assert list(found.parts) == parts
    assert layer_of(found).scratch is scratch.Module


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (0, -1, "Flatten: start_dim must be 1, the only value supported, got 0"),
        (2, -1, "Flatten: start_dim must be 1, the only value supported, got 2"),
        (1, 2, "Flatten: end_dim must be -1, the only value supported, got 2"),
        (1, -2, "Flatten: end_dim must be -1, the only value supported, got -2"),
        (1, 1, "Flatten: end_dim must be -1, the only value supported, got 1"),
    ],
)
def test_flattening_other_axes_has_no_twin(start: int, end: int, message: str) -> None:
    flatten = nn.Flatten(start, end)
    options = registered("flatten").options_of(flatten)
    with pytest.raises(ValueError, match=f"^{message}$"):
        scratch.Flatten(**options)
    assert likeness(flatten).build is None


def test_the_options_of_a_twin_are_those_that_scratch_has() -> None:
    assert registered("flatten").options_of(nn.Flatten()) == {"start_dim": 1, "end_dim": -1}
    assert registered("relu").options_of(nn.ReLU(inplace=True)) == {}
    assert registered("linear").options_of(nn.Linear(3, 4, bias=False)) == {
        "in_features": 3,
        "out_features": 4,
        "bias": False,
    }
    assert registered("maxpool2d").options_of(nn.MaxPool2d(2))["stride"] == 2


def test_the_defaults_of_a_pair_are_those_of_the_torch_constructor() -> None:
    assert defaults_of(REGISTRY["linear"]) == {"bias": True, "device": None, "dtype": None}
    assert defaults_of(REGISTRY["dropout"]) == {"p": 0.5, "inplace": False}
    assert defaults_of(REGISTRY["sgd"])["momentum"] == 0


# Input shapes


@pytest.mark.parametrize(
    ("module", "input_shape", "shapes"),
    [
        (nn.Conv2d(4, 2, 3), None, [(3, 4, 8, 7), (2, 4, 4, 6), (1, 4, 3, 3), (2, 4, 9, 8)]),
        # In training a norm does not take one number of each channel.
        (nn.BatchNorm2d(5), None, [(3, 5, 6, 5), (2, 5, 2, 4), (2, 5, 9, 8), (1, 5, 8, 8)]),
        (nn.Linear(7, 2), None, [(4, 7), (1, 7)]),
        (nn.Sequential(nn.Sequential(nn.Linear(7, 2)), nn.ReLU()), None, [(4, 7), (1, 7)]),
        (nn.Sequential(nn.ReLU(), nn.Linear(6, 2)), None, [(2, 3, 8, 6), (4, 6)]),
        (nn.MSELoss(), None, [(5, 7), (1, 4)]),
        (nn.CrossEntropyLoss(), None, [(5, 7), (1, 4)]),
        (nn.NLLLoss(), None, [(5, 7), (1, 4)]),
        (nn.Softmax(1), None, [(5, 7), (1, 4)]),
        (nn.LogSoftmax(0), None, [(5, 7), (1, 4)]),
        (nn.ReLU(), None, [(3, 2, 5, 4), (2, 3, 8, 6), (1, 1, 4, 4), (2, 3, 9, 8)]),
        (nn.Sequential(nn.ReLU(), nn.Softmax(1)), None, [(3, 2, 5, 4), (2, 3, 8, 6), (1, 1, 4, 4), (2, 3, 9, 8)]),
        (nn.MaxPool2d(8), None, [(2, 3, 9, 8), (2, 3, 8, 8), (2, 3, 12, 12), (2, 3, 16, 16)]),
        (nn.Conv2d(4, 2, 3), (4, 6, 5), [(3, 4, 6, 5), (1, 4, 6, 5)]),
        (nn.BatchNorm2d(4), (4, 1, 1), [(3, 4, 1, 1)]),
        (nn.ReLU(), (), [(3,), (1,)]),
    ],
)
def test_shapes_are_found_by_the_first_layer_and_by_trying(
    module: nn.Module, input_shape: Shape | None, shapes: list[Shape]
) -> None:
    assert shapes_of(module, input_shape) == shapes


@pytest.mark.parametrize(
    ("batch", "side"),
    [(1, 8), (2, 12), (1, 16), (2, 28), (1, 32), (2, 64), (1, 224)],  # both batches in turns
)
def test_a_network_for_square_images_of_a_usual_size_needs_no_shape(batch: int, side: int) -> None:
    network = nn.Sequential(nn.Conv2d(2, 1, 1), nn.Flatten(), nn.Linear(side * side, 1))
    assert shapes_of(network) == [(batch, 2, side, side)]
    assert shapes_of(Only((2, 3, side, side))) == [(2, 3, side, side)]


@pytest.mark.parametrize("shape", [(3, 2, 5, 4), (2, 3, 8, 6), (1, 1, 4, 4), (2, 3, 9, 8), (4, 6), (1, 3)])
def test_a_module_of_one_shape_is_found_by_it(shape: Shape) -> None:
    assert shapes_of(Only(shape)) == [shape]


@pytest.mark.parametrize(
    ("module", "input_shape", "name"),
    [
        (Only((2, 11)), None, "Only"),
        (nn.Sequential(nn.ReLU(), nn.Linear(11, 2)), None, "relu + linear"),
        (nn.Conv2d(4, 2, 3), (3, 9, 9), "conv2d"),
        (nn.Conv2d(4, 2, 3), (4, 2, 9), "conv2d"),
        (nn.Module(), None, "Module"),
        (nn.Bilinear(2, 2, 2), None, "Bilinear"),
    ],
)
def test_a_module_that_takes_no_shape_asks_for_one(module: nn.Module, input_shape: Shape | None, name: str) -> None:
    with pytest.raises(UserError) as caught:
        likeness(module, input_shape)
    assert str(caught.value).startswith(
        f"no input shape was found for {name}; give the shape of one input (--input-shape C,H,W); 3x"
    )


def numbers(shape: Shape) -> list[Array]:
    """An input alone."""
    return [np.zeros(shape, np.float32)]


def with_numbers(shape: Shape) -> list[Array]:
    """An input, and targets like it."""
    return [np.zeros(shape, np.float32), np.zeros(shape, np.float32)]


def with_classes(shape: Shape) -> list[Array]:
    """An input, and a class for each image."""
    return [np.zeros(shape, np.float32), np.zeros(shape[0], np.int64)]


@pytest.mark.parametrize(
    ("module", "inputs", "expected"),
    [
        (nn.ReLU(), numbers((1, 1)), True),
        (nn.ReLU(), numbers((0, 3)), False),  # nothing comes out
        (nn.Linear(3, 2), numbers((5, 3)), True),
        (nn.Linear(3, 2).double(), numbers((5, 3)), True),
        (nn.Linear(3, 2), numbers((5, 4)), False),
        (nn.LSTM(3, 2), numbers((4, 3)), False),  # more than one output
        (nn.Bilinear(3, 3, 2), numbers((4, 3)), False),  # more than one input
        (nn.Bilinear(3, 3, 2), with_numbers((4, 3)), True),
        (nn.MSELoss(), with_numbers((5, 7)), True),
        (nn.MSELoss(), numbers((5, 7)), False),
        (nn.CrossEntropyLoss(), with_classes((5, 7)), True),
        (nn.CrossEntropyLoss(), with_classes((1, 4)), True),
        (nn.NLLLoss(), with_classes((5, 7)), True),
        (nn.NLLLoss(), with_numbers((5, 7)), False),
        (nn.CrossEntropyLoss(), with_classes((5, 7, 2)), False),
        (Only((2, 3)), numbers((2, 3)), True),
        *((Only((2, 3), error), numbers((2, 4)), False) for error in (RuntimeError, ValueError, IndexError, TypeError)),
    ],
)
def test_whether_a_module_takes_its_inputs(module: nn.Module, inputs: list[Array], expected: bool) -> None:
    first, *targets = inputs
    assert takes(module, first.shape, (lambda *_: targets[0]) if targets else None) is expected


def test_targets_that_cannot_be_drawn_are_not_taken() -> None:
    def refuses(*_: Any) -> Array:
        raise IndexError("no classes")

    assert not takes(nn.CrossEntropyLoss(), (3,), refuses)
    assert not layer_of(likeness("cross_entropy")).takes(nn.CrossEntropyLoss(), (3,))


def test_a_layer_of_ones_own_takes_what_the_one_takes_that_it_is_derived_from() -> None:
    class Wide(nn.Conv2d):
        pass

    class Dense(nn.Linear):
        pass

    assert [case.shape for case in layer_of(likeness(Wide(4, 2, 3))).cases][:2] == [(3, 4, 8, 7), (2, 4, 4, 6)]
    assert layer_of(likeness(nn.Sequential(Wide(4, 2, 3), nn.ReLU()))).cases[0].shape == (3, 4, 8, 7)
    assert [case.shape for case in layer_of(likeness(Dense(7, 2))).cases][:2] == [(4, 7), (1, 7)]


@pytest.mark.parametrize("module", [nn.Bilinear(7, 7, 2), nn.CosineSimilarity()])
def test_what_has_two_inputs_is_refused(module: nn.Module) -> None:
    with pytest.raises(UserError, match="no input shape was found"):
        likeness(module)


def test_for_one_image_small_cases_have_one_too() -> None:
    alone = layer_of(likeness(nn.Linear(3, 2))).for_one_image()
    assert alone is not None
    assert [(case.shape, case.calls) for case in alone.small] == [((1, 3), 1), ((1, 3), 2)]
    assert {call.inputs[0].shape for probe in alone.small_probes(True) for call in probe.calls} == {(1, 3)}


@pytest.mark.parametrize(
    ("name", "module", "shape", "expected"),
    [
        ("relu", nn.ReLU(), (1, 1), True),
        ("relu", nn.ReLU(), (0, 3), False),
        ("linear", nn.Linear(3, 2), (5, 3), True),
        ("linear", nn.Linear(3, 2).double(), (5, 3), True),
        ("linear", nn.Linear(3, 2), (5, 4), False),
        ("batchnorm2d", nn.BatchNorm2d(2), (3, 2, 1, 1), True),
        ("batchnorm2d", nn.BatchNorm2d(2), (1, 2, 1, 1), False),
        ("cross_entropy", nn.CrossEntropyLoss(), (5, 7), True),
        ("cross_entropy", nn.CrossEntropyLoss(), (1, 4), True),
        ("cross_entropy", nn.CrossEntropyLoss(), (5, 7, 2), False),
        ("relu", nn.MSELoss(), (5, 7), False),  # a pair without targets gives none
    ],
)
def test_whether_a_layer_takes_a_shape_with_the_targets_of_its_pair(
    name: str, module: nn.Module, shape: Shape, expected: bool
) -> None:
    assert registered(name).takes(module, shape) is expected


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (nn.MSELoss(), (5, 7), True),
        (nn.MSELoss(), (5, 7, 2), True),
        (nn.NLLLoss(), (5, 7), True),
        (nn.NLLLoss(), (5, 7, 2), False),
    ],
)
def test_what_is_like_one_loss_is_tried_with_the_targets_that_were_found_for_it(
    module: nn.Module, shape: Shape, expected: bool
) -> None:
    assert layer_of(likeness(module)).takes(module, shape) is expected


@pytest.mark.parametrize(
    ("module", "targets"),
    [(nn.MSELoss(), with_numbers), (nn.NLLLoss(), with_classes), (nn.CrossEntropyLoss(), with_classes)],
)
def test_the_targets_of_a_loss_are_numbers_where_it_takes_them_and_else_classes(
    module: nn.Module, targets: Callable[[Shape], list[Array]]
) -> None:
    shapes, draw = _inputs(module, {"": module}, None)
    assert shapes == [(5, 7), (1, 4)]
    assert draw is not None
    like = targets((200, 7))[1]
    for dtype in ("float32", "float64"):
        drawn = draw(np.random.default_rng(0), (200, 7), dtype)
        assert drawn.shape == like.shape
        if targets is with_classes:
            assert drawn.dtype == like.dtype
            assert set(drawn.tolist()) == set(range(7))
        else:
            assert drawn.dtype == dtype
            assert 0 < drawn.min() < 0.2  # a probability too
            assert 0.8 < drawn.max() < 1


@pytest.mark.parametrize(
    "module",
    [
        nn.CrossEntropyLoss(ignore_index=1),
        nn.CrossEntropyLoss(ignore_index=0),
        nn.NLLLoss(ignore_index=1),
        nn.CrossEntropyLoss(ignore_index=-1),
    ],
)
def test_a_class_that_is_to_be_ignored_is_drawn(module: nn.CrossEntropyLoss) -> None:
    pair = layer_of(likeness(module))
    calls = [call for seed in range(5) for probe in pair.examined(seed) for call in probe.calls]
    assert {len(call.inputs[1]) for call in calls} >= {1, 5}
    for call in calls:
        first, *others = (int(value) for value in call.inputs[1])
        # Of one image alone nothing would be left.
        assert (first == module.ignore_index) is bool(others)
        assert module.ignore_index not in others
        assert {*others, first} <= {*range(call.inputs[0].shape[1]), module.ignore_index}
    assert {int(value) for call in calls for value in call.inputs[1]} >= {*range(4)} - {module.ignore_index}
    assert (pair.unseen, pair.untested) == ((), ())


@pytest.mark.parametrize("module", [nn.CrossEntropyLoss(), nn.NLLLoss(), nn.CrossEntropyLoss(ignore_index=-100)])
def test_that_no_class_is_ignored_is_said_where_none_is_to_be(module: nn.Module) -> None:
    pair = layer_of(likeness(module))
    assert (pair.unseen, pair.untested) == (("ignore_index",), ("ignore_index",))
    drawn = [call.inputs[1] for probe in pair.probes("float64") for call in probe.calls]
    assert min(classes.min() for classes in drawn) >= 0


def test_what_ignores_nothing_has_seen_everything() -> None:
    for module in (nn.MSELoss(), nn.ReLU(), nn.Conv2d(1, 2, 3)):
        pair = layer_of(likeness(module))
        assert (pair.unseen, pair.untested) == ((), ())


def test_what_has_one_input_has_no_targets() -> None:
    conv = nn.Conv2d(4, 2, 3)
    assert _inputs(conv, {"": conv}, (4, 6, 5)) == ([(3, 4, 6, 5), (1, 4, 6, 5)], None)


def test_trying_a_shape_leaves_the_module_as_it_was() -> None:
    norm = nn.BatchNorm2d(2).double()
    assert takes(norm, (3, 2, 4, 4))
    assert registered("batchnorm2d").takes(norm, (3, 2, 4, 4))
    assert norm.weight.dtype == torch.float64
    assert norm.num_batches_tracked == 0


# The axes of its weights


def axes_of(like: Any, input_shape: Shape | None = None) -> dict[str, Axes]:
    found = likeness(like, input_shape)
    return found.axes(next(found.pair.probes("float64")).state)


def test_the_axes_of_a_weight_are_those_that_its_layer_knows() -> None:
    assert axes_of("conv2d") == {"weight": KERNELS, "bias": VECTOR}
    assert axes_of("linear") == axes_of(nn.Linear(3, 2)) == {"weight": MATRIX, "bias": VECTOR}
    count = {"num_batches_tracked": Axes("")}
    norm = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), VECTOR) | count
    assert axes_of(nn.BatchNorm2d(3)) == norm
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Sequential(nn.BatchNorm2d(3), nn.GELU()))
    assert axes_of(network) == {
        "0.weight": KERNELS,
        "0.bias": VECTOR,
        **{f"1.0.{name}": axes for name, axes in norm.items()},
    }
    assert axes_of("relu") == {}


def test_a_layer_is_asked_for_the_axes_before_their_number_is() -> None:
    found, own = likeness(nn.Sequential(nn.Linear(3, 2))), Axes("IO", ("OI",))
    parts = {"0": replace(registered("linear"), weights={"weight": own})}
    state = {"0.weight": np.ones((2, 3)), "0.bias": np.ones(2), "weight": np.ones((2, 3)), "1.weight": np.ones((2, 3))}
    assert replace(found, parts=parts).axes(state) == {
        "0.weight": own,
        "0.bias": VECTOR,
        "weight": MATRIX,
        "1.weight": MATRIX,
    }


def test_of_a_weight_that_no_layer_knows_the_number_of_axes_tells_them() -> None:
    assert axes_of(nn.Conv1d(4, 3, 2), (4, 5)) == {"weight": Axes("OIL"), "bias": VECTOR}
    assert axes_of(OwnConv(1, 2, 3)) == {"weight": KERNELS, "bias": VECTOR}
    state = {f"of {n}": np.zeros((1,) * n) for n in range(7)}
    assert likeness("relu").axes(state) == {
        "of 0": Axes(""),
        "of 1": VECTOR,
        "of 2": MATRIX,
        "of 3": Axes("OIL"),
        "of 4": KERNELS,
        "of 5": Axes("OIDHW"),
        "of 6": Axes(""),
    }
    assert likeness("sgd").axes({"weight": np.zeros((2, 3)), "bias": np.zeros(2)}) == {"weight": MATRIX, "bias": VECTOR}


# A command line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ReLU()", "ReLU()"),
        (" nn.ReLU() ", "ReLU()"),
        ("torch.nn.ReLU()", "ReLU()"),
        ("Linear(3, out_features=4)", "Linear(in_features=3, out_features=4, bias=True)"),
        ("Linear(3, 4, bias=False)", "Linear(in_features=3, out_features=4, bias=False)"),
        ("Linear(3, **{'out_features': 4}, bias=False)", "Linear(in_features=3, out_features=4, bias=False)"),
        ("MaxPool2d((2, 3))", str(nn.MaxPool2d((2, 3)))),
        ("Sequential(Flatten(), nn.Sequential(ReLU()))", str(nn.Sequential(nn.Flatten(), nn.Sequential(nn.ReLU())))),
    ],
)
def test_a_module_is_written_as_in_python(text: str, shown: str) -> None:
    assert str(parse_like(text)) == shown


def test_a_registered_name_stays_as_it_is() -> None:
    assert [parse_like(name) for name in REGISTRY] == list(REGISTRY)


@pytest.mark.parametrize("text", ["nonsense", "conv2d ", "ReLU", "", "Conv2d(", "1 + 1", "nn.ReLU", "ReLU() + ReLU()"])
def test_a_text_that_is_no_name_and_no_call_is_refused(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_like(text)
    assert str(caught.value) == (
        f'--like {text!r} is neither a registered name ({NAMES}) nor a call such as "Conv2d(1, 8, 3)"'
    )


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Conv9d(1)", "Conv9d"),
        ("Sequential(ReLU(), print(1))", "print"),
        ("Parameter(3)", "Parameter"),  # of torch.nn, but no module
        ("functional(1)", "functional"),
        ("ReLU()()", "ReLU()"),
        ("os.system('x')", "os.system"),
    ],
)
def test_a_call_of_anything_but_a_module_is_refused(text: str, name: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_like(text)
    assert str(caught.value) == (
        f"--like: torch.nn has no module {name!r}; write it as in Python, Conv2d(1, 8, 3) for instance"
    )


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("ReLU(1, 2)", "ReLU(1, 2): "),
        ("ReLU(x)", "x is no plain value, such as 3, 0.5, True, 'same' or (2, 2)"),
        ("Dropout( 7 )", "Dropout(7): dropout probability has to be between 0 and 1, but got 7"),
        ("Sequential(ReLU(), Dropout(7))", "Dropout(7): dropout probability has to be between 0 and 1, but got 7"),
        ("PReLU(-3)", "PReLU(-3): "),
        ("Hardtanh(2, 1)", "Hardtanh(2, 1): "),  # which torch asserts
        ("ReLU(**3)", "ReLU(**3): after ** there must be names and values"),
        ("ReLU(**{'x': 3})", "ReLU(**{'x': 3}): "),
    ],
)
def test_what_torch_does_not_take_is_told_as_torch_says_it(text: str, start: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_like(text)
    assert str(caught.value).startswith(f"--like: {start}")


# One option for all cases


def test_an_option_is_set_in_every_case_and_nothing_else_is_changed() -> None:
    before = likeness("linear")
    after = only_with(before, "bias", False)
    old, new = layer_of(before), layer_of(after)
    assert len(new.cases) == len(old.cases)
    for was, case in zip(old.cases, new.cases, strict=True):
        assert case == Case(was.shape, {**was.options, "bias": False}, was.values, was.layout, was.calls)
    assert any(case.options.get("bias", True) for case in old.cases)
    assert (new.name, new.scratch, new.torch, new.rule) == (old.name, old.scratch, old.torch, old.rule)
    assert (new.fixed, after.parts, after.build) == (old.fixed, before.parts, before.build)


def test_every_case_has_one_image_and_nothing_else_is_changed() -> None:
    before = likeness("linear")
    after = one_image(before)
    assert after is not None
    shapes = {(*case.shape, *case.options.items()) for case in layer_of(before).cases}
    assert {(*case.shape, *case.options.items()) for case in layer_of(after).cases} == {
        (1, *rest) for _, *rest in shapes
    }
    assert (after.parts, after.build, after.hints) == (before.parts, before.build, before.hints)


def test_every_case_has_one_channel_where_there_are_channels() -> None:
    before = likeness("conv2d")
    after = one_channel(before)
    assert after is not None
    assert {case.shape[1] for case in layer_of(after).cases} == {1}
    assert {case.options["in_channels"] for case in layer_of(after).cases} == {1}
    assert (after.parts, after.build, after.hints) == (before.parts, before.build, before.hints)
    for like in ("linear", "softmax", "sgd"):
        assert one_channel(likeness(like)) is None
    assert one_channel(likeness(nn.Conv2d(3, 2, 3))) is None  # its weights are for three


@pytest.mark.parametrize("name", ["sgd", "cnn"])
def test_what_has_no_cases_with_options_stays_as_it_is(name: str) -> None:
    assert only_with(likeness(name), "bias", False).pair is REGISTRY[name]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("GroupNorm(0, 3)", r"^--like: GroupNorm\(0, 3\): .*zero"),
        ("Linear(0, 2)", "^linear cannot be compared: with torch's own this raises ZeroDivisionError: float division"),
        (
            "Linear(3, 0)",
            "^no input shape was found for linear; .*; 4x3: ValueError: it gives a tensor without elements",
        ),
        ("Conv2d(1, 8, (3,))", "^no input shape was found for conv2d; give the shape of one input"),
        ("Conv2d(True, 8, 3)", "^no input shape was found for conv2d; .* an integer is required"),
        ("BCELoss()", "^BCELoss cannot be compared: .* all elements of input should be between 0 and 1"),
        ("PoissonNLLLoss(False)", "^PoissonNLLLoss cannot be compared: torch's own output is not finite for ordinary"),
        ("RReLU()", "^RReLU cannot be compared: it draws random numbers, and gives others each time"),
        ("LazyLinear(3)", "^LazyLinear is lazy and has no weights yet; give the layer with its sizes"),
        ("Linear(3, 4, device='meta')", "^--like: .*: it is compared on the CPU; leave device out"),
        ("LSTM(3, 4, 1, True, False, 0.0, False, 0, 'meta')", "^LSTM has its weights on meta; give a module on the"),
        ("SGD(lr=0.1)", "^--like: an optimizer is given by its name, sgd or adam, got 'SGD'"),
        ("Conv1d(4, 3, 2)", "^no input shape was found for Conv1d; "),  # (4, 6) would be one image of 4 channels
        ("MaxPool2d(2, return_indices=True)", "^no input shape .*: it gives tuple, not a tensor"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        likeness(parse_like(text))


def test_an_option_of_every_case_is_one_of_the_small_cases_too() -> None:
    without = layer_of(likeness("linear")).with_option("bias", False)
    for probe in (*without.probes("float64"), *without.small_probes(False)):
        assert probe.options["bias"] is False
        assert probe.state.keys() == {"weight"}
