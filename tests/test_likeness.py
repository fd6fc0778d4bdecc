"""What somebody's code is compared with: the pair of a name or of a torch module, its cases, and its scratch twin."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import scratch
from compare.diagnosis.likeness import Likeness, defaults_of, likeness, only_with, options_of, parse_like, takes
from compare.machine.errors import UserError
from compare.pairs.cases import Case
from compare.pairs.measured import measured
from compare.pairs.pair import LayerPair
from compare.pairs.registry import REGISTRY

NAMES = (
    "conv2d, maxpool2d, relu, flatten, batchnorm2d, dropout, linear, softmax, log_softmax, cross_entropy, sgd, adam, "
    "cnn, lenet5"
)
LAYOUTS = ("strided", "fortran", "batch last", "read-only")
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
    """Takes one shape."""

    def __init__(self, shape: Shape, error: type[Exception] = ValueError) -> None:
        super().__init__()
        self.shape, self.error = shape, error

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape) != self.shape:
            raise self.error("another shape")
        return x


# Names, classes and pairs


@pytest.mark.parametrize("name", list(REGISTRY))
def test_a_registered_name_is_its_pair(name: str) -> None:
    pair = REGISTRY[name]
    for like in (name, pair, pair.torch):
        found = likeness(like)
        assert found.pair is pair
        assert found.fixed is (name in ("cnn", "lenet5"))
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
    first = (3, 3, 7, 8)
    assert pair.cases == (
        *(Case(shape, {}) for shape in (first, (2, 3, 3, 7), (1, 3, 2, 4), (2, 3, 9, 8))),
        *(Case(first, {}, kind) for kind in ("integers", "zeros", "post-relu", "magnitudes", "per-channel")),
        *(Case(first, {}, "normal", layout) for layout in LAYOUTS),
        Case(first, {}, "normal", "contiguous", 3),
    )
    assert pair.rule is registered("conv2d").rule
    assert (pair.takes_targets, pair.random, found.fixed) == (False, None, True)
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
    assert (found.build, found.parts, found.fixed) == (None, {}, True)
    assert found.hints == {"approximate": "none"}


def test_a_random_layer_stays_random() -> None:
    assert layer_of(likeness(nn.Dropout(0.3))).random is registered("dropout").random
    assert registered("dropout").random is not None


@pytest.mark.parametrize(
    ("module", "expected"),
    [(nn.MSELoss(), True), (nn.CrossEntropyLoss(), True), (nn.Softmax(1), False), (nn.ReLU(), False)],
)
def test_losses_take_targets(module: nn.Module, expected: bool) -> None:
    assert layer_of(likeness(module)).takes_targets is expected


ALL = ["normal", "integers", "zeros", "post-relu", "magnitudes", "per-channel"]
FLAT = ALL[:-1]


@pytest.mark.parametrize(
    ("module", "input_shape", "kinds"),
    [
        (nn.Conv2d(1, 2, 3), None, ALL),
        (nn.MaxPool2d(2), None, ALL),
        (nn.ReLU(), None, ALL),
        (nn.Flatten(), None, ALL),
        (nn.BatchNorm2d(2), None, ALL),
        (nn.Linear(4, 2), None, FLAT),  # no channels
        (nn.Linear(4, 2), (5, 4), ALL),
        (nn.ReLU(), (4,), FLAT),
        (nn.Softmax(1), None, ["normal", "zeros", "integers"]),
        (nn.Softmax(1), (3, 4), ["normal", "per-channel", "zeros", "integers"]),
        (nn.Dropout(0.5), None, ["normal", "per-channel", "zeros", "integers"]),
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


def test_only_what_is_an_attribute_of_a_module_is_known_of_its_arguments() -> None:
    class Scaled(nn.Module):
        def __init__(self, *args: Any, scale: Any = 2, other: Any = 1, bias: Any = None, **kwargs: Any) -> None:
            super().__init__()
            self.args, self.kwargs, self.scale, self.bias = args, kwargs, scale + other, bias

        def forward(self, x: Tensor) -> Tensor:
            return x

    assert likeness(Scaled()).hints == {"scale": 3, "bias": False}
    assert likeness(Scaled(bias=[0])).hints == {"scale": 3, "bias": True}


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


@pytest.mark.parametrize(("start", "end"), [(0, -1), (2, -1), (1, 2), (1, -2), (1, 1)])
def test_flattening_other_axes_has_no_twin(start: int, end: int) -> None:
    with pytest.raises(ValueError, match=r"^Flatten: start_dim must be 1 and end_dim -1$"):
        options_of(nn.Flatten(start, end), registered("flatten"))


def test_the_options_of_a_twin_are_those_that_scratch_has() -> None:
    assert options_of(nn.Flatten(), registered("flatten")) == {}
    assert options_of(nn.Linear(3, 4, bias=False), registered("linear")) == {
        "in_features": 3,
        "out_features": 4,
        "bias": False,
    }
    assert options_of(nn.MaxPool2d(2), registered("maxpool2d"))["stride"] == 2


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
        (nn.Sequential(nn.ReLU(), nn.Linear(6, 2)), None, [(4, 6)]),
        (nn.MSELoss(), None, [(5, 7), (1, 4)]),
        (nn.CrossEntropyLoss(), None, [(5, 7), (1, 4)]),
        (nn.NLLLoss(), None, [(5, 7), (1, 4)]),
        (nn.Softmax(1), None, [(5, 7), (1, 4)]),
        (nn.LogSoftmax(0), None, [(5, 7), (1, 4)]),
        (nn.ReLU(), None, [(3, 2, 5, 4), (2, 3, 9, 7), (1, 1, 4, 4), (2, 3, 9, 8)]),
        (nn.Sequential(nn.ReLU(), nn.Softmax(1)), None, [(3, 2, 5, 4), (2, 3, 9, 7), (1, 1, 4, 4), (2, 3, 9, 8)]),
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


@pytest.mark.parametrize("shape", [(3, 2, 5, 4), (2, 3, 9, 7), (1, 1, 4, 4), (2, 3, 9, 8), (4, 6), (1, 3)])
def test_a_module_of_one_shape_is_found_by_it(shape: Shape) -> None:
    assert shapes_of(Only(shape)) == [shape]


@pytest.mark.parametrize(
    ("module", "input_shape", "name"),
    [
        (Only((2, 3)), None, "Only"),
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
    assert str(caught.value) == (
        f"no input shape was found for {name}; give the shape of one input (--input-shape C,H,W)"
    )


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (nn.ReLU(), (1, 1), True),
        (nn.ReLU(), (0, 3), False),  # nothing comes out
        (nn.Linear(3, 2), (5, 3), True),
        (nn.Linear(3, 2).double(), (5, 3), True),
        (nn.Linear(3, 2), (5, 4), False),
        (nn.LSTM(3, 2), (4, 3), False),  # more than one output
        (nn.Bilinear(3, 3, 2), (4, 3), False),  # more than one input
        (nn.MSELoss(), (5, 7), True),
        (nn.CrossEntropyLoss(), (5, 7), True),
        (nn.CrossEntropyLoss(), (1, 4), True),
        (nn.NLLLoss(), (5, 7), True),
        (nn.CrossEntropyLoss(), (5, 7, 2), False),
        (Only((2, 3)), (2, 3), True),
        *((Only((2, 3), error), (2, 4), False) for error in (RuntimeError, ValueError, IndexError, TypeError)),
    ],
)
def test_whether_a_module_takes_a_shape(module: nn.Module, shape: Shape, expected: bool) -> None:
    assert takes(module, shape) is expected


def test_trying_a_shape_leaves_the_module_as_it_was() -> None:
    norm = nn.BatchNorm2d(2).double()
    assert takes(norm, (3, 2, 4, 4))
    assert norm.weight.dtype == torch.float64
    assert norm.num_batches_tracked == 0


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
        ("ReLU(x)", "ReLU(x): malformed node or string"),
        ("Dropout( 7 )", "Dropout(7): dropout probability has to be between 0 and 1, but got 7"),
        ("Sequential(ReLU(), Dropout(7))", "Dropout(7): dropout probability has to be between 0 and 1, but got 7"),
        ("PReLU(-3)", "PReLU(-3): "),
        ("Hardtanh(2, 1)", "Hardtanh(2, 1): "),  # which torch asserts
        ("ReLU(**3)", "ReLU(**3): "),
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
    assert (after.fixed, after.parts, after.build) == (before.fixed, before.parts, before.build)
