"""How somebody's object is made: which options it is passed, which it is excused from, and what is refused."""

from __future__ import annotations

import copy
import functools
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from compare.driving.making import (
    Functions,
    Making,
    Settings,
    UndrivableError,
    UnsupportedError,
    by_sides,
    construct,
    is_forward,
    refuse_missing,
    refuse_unknown,
    settings_of,
    single,
)
from compare.driving.options import Option
from compare.pairs.layers import KNOWN_OPTIONS
from compare.pairs.layers.normalisation import BATCHNORM2D

CONV_DEFAULTS = {"stride": 1, "padding": 0, "bias": True, "device": None}
POOL_DEFAULTS = {"stride": None, "padding": 0}
NORM_DEFAULTS = {"eps": 1e-5, "momentum": 0.1, "affine": True}
CONV = {"in_channels": 2, "out_channels": 5, "kernel_size": 3}
SIZES = {"in_channels", "out_channels", "kernel_size", "in_features", "out_features", "num_features"}
KERNEL_KEYS = ("kernel_size", "pool_size", "size", "f", "hf")  # of the settings
WEIGHT, BIAS = np.arange(90.0).reshape(5, 2, 3, 3), np.arange(5.0)


def making(options: Mapping[str, Any], defaults: Mapping[str, Any] = CONV_DEFAULTS, **how: Any) -> Making:
    return Making(options, defaults, "float64", **({"about": KNOWN_OPTIONS} | how))


def class_of(initialize: Callable[..., None]) -> Any:
    """A class of somebody's whose constructor keeps what it was given in `given`."""
    return type("Theirs", (), {"__init__": initialize})


# The dictionary of settings


@pytest.mark.parametrize(
    ("use", "read"),
    [
        (lambda settings: settings["a"], {"a"}),
        (lambda settings: settings.get("a"), {"a"}),
        (lambda settings: settings.get("c", 7), {"c"}),
        (lambda settings: settings.setdefault("b", 7), {"b"}),
        (lambda settings: settings.pop("b"), {"b"}),
        (lambda settings: "a" in settings, {"a"}),
        (lambda settings: list(settings), {"a", "b"}),
        (lambda settings: {**settings}, {"a", "b"}),
        (lambda settings: dict(settings), {"a", "b"}),
        (lambda settings: settings.copy(), {"a", "b"}),
        (lambda settings: list(settings.items()), {"a", "b"}),
        (lambda settings: list(settings.values()), {"a", "b"}),
        (lambda settings: len(settings), set()),
    ],
)
def test_every_way_of_reading_a_setting_is_remembered(use: Callable[[Settings], Any], read: set[str]) -> None:
    settings = Settings({"a": 1, "b": 2})
    assert settings.read == set()
    use(settings)
    assert settings.read == read


@pytest.mark.parametrize("unpack", [list, lambda settings: list(settings.items()), lambda s: list(s.values())])
def test_what_was_read_before_all_was_read_stays_read(unpack: Callable[[Settings], Any]) -> None:
    settings = Settings({"a": 1, "b": 2})
    assert settings.pop("a") == 1
    unpack(settings)
    assert settings.read == {"a", "b"}


def test_settings_answer_as_a_dictionary_does() -> None:
    settings = Settings({"a": 1, "b": 2})
    assert settings["a"] == 1
    assert settings.get("b", 5) == 2
    assert settings.get("c", 5) == 5
    assert settings.get("c") is None
    assert "a" in settings
    assert "c" not in settings
    assert settings.setdefault("a", 5) == 1
    assert settings.setdefault("d", 6) == 6
    assert settings.pop("c", 8) == 8
    assert settings.pop("a", 8) == 1
    assert list(settings) == ["b", "d"]
    assert list(settings.items()) == [("b", 2), ("d", 6)]
    assert list(settings.values()) == [2, 6]
    with pytest.raises(KeyError):
        settings.pop("a")


def test_a_deep_copy_of_the_settings_tells_the_original_what_was_read() -> None:
    settings = Settings({"a": [1], "b": 2})
    copied = copy.deepcopy(settings)
    assert copied == {"a": [1], "b": 2}
    assert settings.read == set()
    assert copied["b"] == 2
    assert settings.read == {"b"}


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({}, {}),
        ({"affine": False}, {"affine": False}),
        ({"stride": 2}, {"stride": 2, "strides": 2}),
        ({"padding": (1, 0)}, {"pad": (1, 0), "padding": (1, 0)}),
        ({"eps": 0.5, "lr": 0.1}, {"eps": 0.5, "epsilon": 0.5, "learning_rate": 0.1, "lr": 0.1}),
    ],
)
def test_an_option_stands_under_every_usual_key(options: dict[str, Any], settings: dict[str, Any]) -> None:
    assert settings_of(options, KNOWN_OPTIONS) == settings


@pytest.mark.parametrize(("size", "height", "width"), [((2, 3), 2, 3), (4, 4, 4)])
def test_a_kernel_stands_in_the_settings_with_both_sides(size: Any, height: int, width: int) -> None:
    whole = dict.fromkeys(KERNEL_KEYS, size)
    sides = {"pool_height": height, "pool_width": width, "kernel_height": height, "kernel_width": width}
    assert settings_of({"kernel_size": size}, KNOWN_OPTIONS) == whole | sides


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"kernel_size": (2, 3), "stride": (1, 4)}, {"kernel_height": 2, "kernel_width": 3}),
        ({"kernel_size": 4}, {"kernel_height": 4, "kernel_width": 4}),
        ({"stride": 2, "p": 0.5, "unknown": (1, 2)}, {}),
        ({}, {}),
    ],
)
def test_the_two_numbers_of_a_kernel_have_names_of_their_own(options: dict[str, Any], expected: dict[str, int]) -> None:
    assert by_sides(options, KNOWN_OPTIONS) == expected


def test_which_options_have_two_numbers_is_what_is_known_of_them() -> None:
    about = {"window": Option(sides=("rows", "columns")), "kernel_size": Option(two_sided=True)}
    options = {"window": (2, 3), "kernel_size": 5}
    assert by_sides(options, about) == {"rows": 2, "columns": 3}
    settings = {"window": (2, 3), "rows": 2, "columns": 3, **dict.fromkeys(KERNEL_KEYS, 5)}
    assert settings_of(options, about) == settings
    functions = Functions(conv_forward, None, options, about)
    assert functions.settings == settings | {"mode": "train"}
    assert functions.about is about


def conv_forward(x: Any, w: Any, b: Any, conv_param: Any) -> Any: ...


def test_functions_start_in_training_mode_with_all_options_and_no_weights() -> None:
    functions = Functions(conv_forward, None, {"stride": 2})
    assert functions.settings == {"stride": 2, "strides": 2, "mode": "train"}
    assert functions.options == {"stride": 2}
    assert functions.arguments == {}
    assert functions.forward_function is conv_forward
    assert functions.backward_function is None


@pytest.mark.parametrize(
    ("options", "reads", "refused"),
    [
        ({**CONV, "stride": 2, "padding": 1}, ["stride", "pad"], None),
        ({**CONV, "stride": 2, "padding": 1}, ["strides", "padding"], None),
        ({**CONV, "stride": 2, "padding": 1}, ["stride"], "padding=1"),
        ({**CONV, "stride": 2, "padding": 1}, ["pad"], "stride=2"),
        ({**CONV, "stride": 2, "padding": 0}, ["stride"], None),  # at its default
        ({**CONV, "bias": False}, [], None),  # told by the weights
        ({**CONV, "groups": 2}, ["groups"], None),  # no other word for it
        ({**CONV, "groups": 2}, [], "groups=2"),
        ({**CONV, "stride": 2, "padding": 1, "groups": 2}, ["pad"], "stride=2, groups=2"),
    ],
)
def test_a_setting_that_was_never_read_is_not_supported(
    options: dict[str, Any], reads: list[str], refused: str | None
) -> None:
    functions = Functions(conv_forward, None, options, KNOWN_OPTIONS)
    for key in reads:
        functions.settings.get(key)
    if refused is None:
        functions.require_read(making(options))
    else:
        with pytest.raises(UnsupportedError) as caught:
            functions.require_read(making(options))
        assert str(caught.value) == refused


def test_an_option_with_an_argument_of_its_own_need_not_be_read_from_the_settings() -> None:
    def forward(x: Any, w: Any, pad: Any, conv_param: Any) -> Any: ...

    options = {**CONV, "stride": 1, "padding": 1}
    Functions(forward, None, options, KNOWN_OPTIONS).require_read(making(options))
    options["stride"] = 2
    with pytest.raises(UnsupportedError, match="stride=2"):
        Functions(forward, None, options, KNOWN_OPTIONS).require_read(making(options))


def test_functions_without_a_settings_dictionary_have_nothing_to_read() -> None:
    def forward(x: Any, w: Any, b: Any) -> Any: ...

    options = {**CONV, "padding": 1}
    Functions(forward, None, options, KNOWN_OPTIONS).require_read(making(options))


# Options and their values


@pytest.mark.parametrize(
    ("value", "expected"),
    [((3, 3), 3), ((2, 3), (2, 3)), ((5,), 5), ((), ()), (4, 4), ([3, 3], [3, 3]), ("a", "a"), (None, None)],
)
def test_a_pair_of_equal_numbers_becomes_one(value: Any, expected: Any) -> None:
    assert single(value) == expected


@pytest.mark.parametrize(
    ("option", "given", "one", "pair"),
    [
        ("kernel_size", 3, 3, (3, 3)),
        ("stride", (2, 2), 2, (2, 2)),
        ("padding", (1, 0), (1, 0), (1, 0)),
        ("dilation", (2, 2), 2, 2),  # no size that is passed as a pair
    ],
)
def test_sizes_are_passed_as_one_number_or_as_pairs(option: str, given: Any, one: Any, pair: Any) -> None:
    assert making({option: given}).value(option) == one
    assert making({option: given}, size_pairs=True).value(option) == pair


def test_what_is_known_of_the_options_says_which_are_sizes_defaults_and_implied() -> None:
    about = {"dilation": Option(two_sided=True), "step": Option(default="window"), "axis": Option(implied=(2,))}
    known = making({"dilation": 2, "window": 3, "stride": 4}, {"step": None}, about=about, size_pairs=True)
    assert (known.value("dilation"), known.value("stride"), known.value("step")) == ((2, 2), 4, 3)
    known.refuse(["step"])
    making({"axis": 2}, {"axis": None}, about=about).refuse(["axis"])
    for options, refused in (({"axis": 1}, "axis"), ({"dim": 1}, "dim"), ({"window": 3, "step": 2}, "step")):
        with pytest.raises(UnsupportedError, match=rf"^{refused}="):
            making(options, {"axis": None, "dim": None, "step": None}, about=about).refuse([refused])


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["x", "w"], SIZES | {"affine"}),
        (["x", "bias"], {"bias", "affine"}),
        (["filters", "biases"], SIZES | {"bias", "affine"}),
        (["x", "stride", "running_mean"], set()),
        ([], set()),
    ],
)
def test_weights_show_the_options_that_make_their_shapes_or_drop_them(arguments: list[str], shown: set[str]) -> None:
    assert making({}).shown_by(arguments) == shown
    assert making({}).shown_by(iter(arguments)) == shown
    assert making({}, about={"bias": Option(), "p": Option()}).shown_by(arguments) == set()


def test_an_option_that_is_not_given_has_torchs_default() -> None:
    assert making({"padding": 2}).full() == {"stride": 1, "padding": 2, "bias": True}


@pytest.mark.parametrize(
    ("options", "defaults", "stride"),
    [
        ({"kernel_size": (2, 3)}, POOL_DEFAULTS, (2, 3)),
        ({"kernel_size": 3, "stride": None}, POOL_DEFAULTS, 3),
        ({"kernel_size": 3, "stride": 2}, POOL_DEFAULTS, 2),
        ({"kernel_size": 3}, CONV_DEFAULTS, 1),
        ({}, POOL_DEFAULTS, "none"),
        ({"stride": None}, POOL_DEFAULTS, None),
    ],
)
def test_a_stride_that_is_not_given_is_the_kernel_of_a_pool(
    options: dict[str, Any], defaults: dict[str, Any], stride: Any
) -> None:
    assert making(options, defaults).full().get("stride", "none") == stride


@pytest.mark.parametrize(
    ("options", "defaults", "unused", "refused"),
    [
        ({"padding": 1}, CONV_DEFAULTS, ["padding"], "padding=1"),
        ({"padding": 0}, CONV_DEFAULTS, ["padding"], None),
        ({"padding": 1}, CONV_DEFAULTS, ["stride"], None),
        ({"stride": (1, 1)}, CONV_DEFAULTS, ["stride"], None),
        ({"stride": (1, 2)}, CONV_DEFAULTS, ["stride"], "stride=(1, 2)"),
        ({"stride": 3}, CONV_DEFAULTS, ["stride"], "stride=3"),
        ({"kernel_size": 3}, CONV_DEFAULTS, ["stride"], None),
        ({"kernel_size": 3, "stride": 3}, CONV_DEFAULTS, ["stride"], "stride=3"),  # only a pool strides by its kernel
        ({"kernel_size": 3}, POOL_DEFAULTS, ["stride"], None),
        ({"kernel_size": 3, "stride": (3, 3)}, POOL_DEFAULTS, ["stride"], None),
        ({"kernel_size": 3, "stride": 2}, POOL_DEFAULTS, ["stride"], "stride=2"),
        ({"kernel_size": 3, "device": "meta"}, CONV_DEFAULTS, ["device"], "device=meta"),
        ({"kernel_size": 3}, POOL_DEFAULTS, ["kernel_size"], "kernel_size=3"),  # torch has no default for it
        ({"dim": 1}, {"dim": None}, ["dim"], None),
        ({"dim": -1}, {"dim": None}, ["dim"], None),
        ({"dim": 0}, {"dim": None}, ["dim"], "dim=0"),
        ({"dim": 2}, {"dim": None}, ["dim"], "dim=2"),
        ({"dim": -2}, {"dim": None}, ["dim"], "dim=-2"),
        ({"dim": 1, "p": 0.3}, {"dim": None, "p": 0.5}, ["dim", "p"], "p=0.3"),
        ({}, CONV_DEFAULTS, [], None),
        # All of them, in the order in which they are left over.
        ({"padding": 1, "stride": (1, 2)}, CONV_DEFAULTS, ["stride", "padding"], "stride=(1, 2), padding=1"),
        ({"padding": 1, "stride": 1, "p": 0.3}, CONV_DEFAULTS, ["padding", "stride", "p"], "padding=1, p=0.3"),
    ],
)
def test_an_unused_option_is_refused_unless_it_is_at_its_default(
    options: dict[str, Any], defaults: dict[str, Any], unused: list[str], refused: str | None
) -> None:
    making(options, defaults, fixed=True).refuse(unused)  # one given module: none is missed
    if refused is None:
        making(options, defaults).refuse(unused)
    else:
        with pytest.raises(UnsupportedError) as caught:
            making(options, defaults).refuse(unused)
        assert str(caught.value) == refused


# Functions, objects and what makes objects


def test_a_pair_of_functions_is_kept_with_the_options_as_they_take_them() -> None:
    def forward(x: Any, w: Any, b: Any, stride: Any) -> Any: ...
    def backward(grad: Any) -> Any: ...

    functions = construct((forward, backward), making({**CONV, "stride": (2, 2)}))
    assert isinstance(functions, Functions)
    assert functions.forward_function is forward
    assert functions.backward_function is backward
    assert functions.options == {**CONV, "stride": 2, "padding": 0, "bias": True}


def test_one_function_of_an_input_has_no_backward() -> None:
    def forward(x: Any, w: Any, b: Any) -> Any: ...

    for factory in (forward, (forward,)):
        functions = construct(factory, making(CONV))
        assert isinstance(functions, Functions)
        assert functions.forward_function is forward
        assert functions.backward_function is None
        with pytest.raises(UnsupportedError, match="padding=1"):
            construct(factory, making({**CONV, "padding": 1}))


def test_what_makes_an_object_is_called_and_an_object_is_copied() -> None:
    class Theirs:
        def __init__(self, kernel_size: Any) -> None:
            self.kernel_size = kernel_size

        def again(self, kernel_size: Any) -> Theirs:
            return Theirs(kernel_size + 10)

        def __call__(self, _: Any) -> Any:
            raise AssertionError("this is its forward")

    def make(kernel_size: Any) -> Theirs:
        return Theirs(kernel_size + 1)

    options = making({"kernel_size": 3}, POOL_DEFAULTS)
    assert construct(Theirs, options).kernel_size == 3
    assert construct(make, options).kernel_size == 4
    assert construct(lambda k: Theirs(k + 2), options).kernel_size == 5
    assert construct(Theirs(0).again, options).kernel_size == 13
    assert construct(functools.partial(Theirs), options).kernel_size == 3
    made = Theirs([7])
    copied = construct(made, options)
    assert copied.kernel_size == [7]
    assert copied.kernel_size is not made.kernel_size


def test_an_object_that_cannot_be_copied_is_used_itself() -> None:
    class Locked:
        def __init__(self) -> None:
            self.lock = threading.Lock()

    locked = Locked()
    assert construct(locked, making({})) is locked


def takes_input_second(n: Any, x: Any) -> Any: ...
def takes_input(images: Any) -> Any: ...
def takes_prediction(y_pred: Any) -> Any: ...
def takes_z(z: Any, more: Any = 1) -> Any: ...
def takes_input_after_known(lr: Any = 0.1, x: Any = None) -> Any: ...
def takes_nothing() -> Any: ...
def takes_option(channels: Any) -> Any: ...


class TakesInput:
    def __init__(self, x: Any) -> None: ...


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        (takes_input, True),
        (takes_prediction, True),
        (takes_z, True),
        (takes_input_second, False),
        (takes_input_after_known, False),
        (takes_nothing, False),
        (takes_option, False),
        (TakesInput, False),
        (TakesInput(1), False),
        (3, False),
    ],
)
def test_a_function_whose_first_argument_is_an_input_is_a_forward(factory: Any, expected: bool) -> None:
    assert is_forward(factory) is expected


# Arguments of constructors


def initialize_positional(self: Any, first: Any, second: Any, third: Any, stride: Any = 1) -> None:
    self.given = first, second, third, stride


def initialize_stride(self: Any, stride: Any = 1) -> None:
    self.given = stride


def initialize_sides(self: Any, kernel_height: Any, kernel_width: Any, stride: Any) -> None:
    self.given = kernel_height, kernel_width, stride


def initialize_weights(self: Any, w: Any, b: Any, stride: Any = 1) -> None:
    self.given = w, b, stride


def initialize_weight(self: Any, w: Any, stride: Any = 1) -> None:
    self.given = w, stride


def initialize_any(self: Any, *rest: Any, **more: Any) -> None:
    self.given = rest, more


def test_arguments_of_unknown_names_take_what_torch_requires_in_torchs_order() -> None:
    made = construct(class_of(initialize_positional), making({**CONV, "kernel_size": (3, 3), "stride": 2}))
    assert made.given == (2, 5, 3, 2)


def test_arguments_of_unknown_names_are_refused_where_there_are_more_of_them() -> None:
    def initialize(self: Any, a: Any, magic: Any, kernel: Any) -> None: ...

    with pytest.raises(UndrivableError) as caught:
        construct(class_of(initialize), making({"in_features": 3, "kernel_size": 2}))
    assert str(caught.value) == (
        "Theirs: cannot tell what to pass as a, magic; write the call out, "
        'FILE.py:"Theirs(...)", and say which torch module it is like'
    )


def test_an_option_that_torch_requires_and_they_do_not_take_is_refused() -> None:
    def initialize(self: Any, a: Any) -> None: ...

    with pytest.raises(UnsupportedError, match="out_channels=5"):
        construct(class_of(initialize), making({"in_channels": 2, "out_channels": 5}))
    with pytest.raises(UnsupportedError, match="kernel_size=3"):
        construct(class_of(initialize_stride), making({"kernel_size": 3}, POOL_DEFAULTS))
    with pytest.raises(UnsupportedError, match="in_channels=2"):
        construct(class_of(initialize_stride), making({"in_channels": 2}))


@pytest.mark.parametrize(
    ("size", "expected"), [((2, 4), (2, 4, (1, 3))), (3, (3, 3, (1, 3))), ((5, 5), (5, 5, (1, 3)))]
)
def test_the_sides_of_a_kernel_are_passed_one_by_one(size: Any, expected: Any) -> None:
    options = {"kernel_size": size, "stride": (1, 3)}
    assert construct(class_of(initialize_sides), making(options, POOL_DEFAULTS)).given == expected
    assert construct(class_of(initialize_sides), making(options, POOL_DEFAULTS, size_pairs=True)).given == expected


def test_a_constructor_is_given_copies_of_the_weights_and_then_misses_no_size() -> None:
    given = making({**CONV, "stride": 2}, weights={"weight": WEIGHT, "bias": BIAS})
    weight, bias, stride = construct(class_of(initialize_weights), given).given
    np.testing.assert_array_equal(weight, WEIGHT)
    np.testing.assert_array_equal(bias, BIAS)
    assert stride == 2
    assert not np.shares_memory(weight, WEIGHT)
    with pytest.raises(UnsupportedError, match="padding=1"):
        construct(class_of(initialize_weights), making({**CONV, "padding": 1}, weights=given.weights))


@pytest.mark.parametrize("own", ["initialize_weights", "initialize_magic"])
def test_a_constructor_that_requires_a_bias_is_excused_from_having_none(own: str) -> None:
    def initialize_magic(self: Any, w: Any, magic: Any, b: Any) -> None: ...

    initialize = initialize_magic if own == "initialize_magic" else initialize_weights
    with pytest.raises(UnsupportedError, match=r"^bias=False$"):
        construct(class_of(initialize), making({**CONV, "bias": False}, weights={"weight": WEIGHT}))


def test_a_bias_that_torch_has_no_option_for_cannot_be_told() -> None:
    without_option = {"eps": 1e-5, "momentum": 0.1}
    with pytest.raises(UndrivableError, match="Theirs: cannot tell what to pass as w, b;"):
        construct(class_of(initialize_weights), making({"num_features": 3}, without_option))


def test_a_normalisation_that_requires_its_weights_is_excused_from_having_none() -> None:
    def initialize(self: Any, gamma: Any, beta: Any, eps: Any = 1e-5, momentum: Any = 0.1) -> None:
        self.given = gamma, beta, eps, momentum

    options = {"num_features": 3, "affine": False, "eps": 0.5}
    for about in (KNOWN_OPTIONS, BATCHNORM2D.options):
        with pytest.raises(UnsupportedError, match=r"^affine=False$"):
            construct(class_of(initialize), making(options, NORM_DEFAULTS, about=about))
    weights = {"weight": WEIGHT[0, 0, 0], "bias": BIAS[:3]}
    given = construct(class_of(initialize), making(options | {"affine": True}, NORM_DEFAULTS, weights=weights)).given
    np.testing.assert_array_equal(given[0], weights["weight"])
    np.testing.assert_array_equal(given[1], weights["bias"])
    assert given[2:] == (0.5, 0.1)


@pytest.mark.parametrize(
    ("arguments", "there", "refused"),
    [
        (["x", "w", "b"], {"weight"}, "bias=False"),
        (["x", "w", "b"], {"weight", "bias"}, None),
        (["x"], set(), None),
        (["x", "gamma"], {"bias"}, "affine=False"),
        (["x", "gamma"], {"weight"}, None),
        (["x", "moving_mean"], set(), None),  # no option drops it
    ],
)
def test_an_argument_for_a_weight_that_is_not_there_is_refused_as_the_option_that_drops_it(
    arguments: list[str], there: set[str], refused: str | None
) -> None:
    if refused is None:
        refuse_missing(arguments, KNOWN_OPTIONS, there)
    else:
        with pytest.raises(UnsupportedError) as caught:
            refuse_missing(arguments, KNOWN_OPTIONS, there)
        assert str(caught.value) == refused
    refuse_missing(arguments, {"bias": Option(), "affine": Option(seen_in="weight")})  # options that drop nothing


def test_an_argument_with_a_default_is_given_no_weight() -> None:
    def initialize(self: Any, in_ch: Any, out_ch: Any, k: Any, w: Any = "own", scale: Any = 2) -> None:
        self.given = in_ch, out_ch, k, w, scale

    made = construct(class_of(initialize), making(CONV, weights={"weight": WEIGHT, "bias": BIAS}))
    assert made.given == (2, 5, 3, "own", 2)


def test_an_argument_called_bias_is_the_option_where_there_is_one_and_else_the_weight() -> None:
    def initialize(self: Any, weight: Any, bias: Any) -> None:
        self.given = weight, bias

    weights = {"weight": WEIGHT[0, 0, 0], "bias": BIAS[:3]}
    assert construct(class_of(initialize), making({**CONV, "bias": True}, weights=weights)).given[1] is True
    made = construct(class_of(initialize), making({"num_features": 3}, NORM_DEFAULTS, weights=weights))
    np.testing.assert_array_equal(made.given[1], BIAS[:3])


def test_a_bias_without_an_option_is_refused_where_the_weight_alone_is_given() -> None:
    with pytest.raises(UnsupportedError, match="bias=False"):
        construct(class_of(initialize_weight), making({**CONV, "bias": False}, weights={"weight": WEIGHT}))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_constructor_that_asks_for_a_dtype_is_given_it(dtype: str) -> None:
    def initialize(self: Any, n_inputs: Any, n_outputs: Any, dtype: Any = None) -> None:
        self.given = n_inputs, n_outputs, dtype

    made = construct(class_of(initialize), Making({"in_features": 3, "out_features": 4}, {"bias": True}, dtype))
    assert made.given == (3, 4, np.dtype(dtype))


def test_any_other_arguments_are_given_the_options_of_the_case_by_torchs_names() -> None:
    made = construct(class_of(initialize_any), making({**CONV, "kernel_size": (3, 3), "padding": 1}))
    assert made.given == ((), {"in_channels": 2, "out_channels": 5, "kernel_size": 3, "padding": 1})


def test_any_other_arguments_are_not_given_what_was_given_under_another_name() -> None:
    def initialize(self: Any, w: Any, b: Any, pad: Any, **more: Any) -> None:
        self.given = w.shape, b.shape, pad, more

    given = making({**CONV, "padding": 1, "bias": True, "stride": 2}, weights={"weight": WEIGHT, "bias": BIAS})
    assert construct(class_of(initialize), given).given == ((5, 2, 3, 3), (5,), 1, {"stride": 2})


def test_a_list_of_any_arguments_takes_no_options() -> None:
    def initialize(self: Any, k: Any, *rest: Any) -> None:
        self.given = k, rest

    assert construct(class_of(initialize), making({"kernel_size": 3}, POOL_DEFAULTS)).given == (3, ())
    with pytest.raises(UnsupportedError, match="padding=1"):
        construct(class_of(initialize), making({"kernel_size": 3, "padding": 1}, POOL_DEFAULTS))


# Functions that compute


def test_functions_know_what_their_arguments_and_weights_tell() -> None:
    def whole(x: Any, w: Any, b: Any, pad: Any) -> Any: ...
    def without_bias(x: Any, w: Any) -> Any: ...
    def without_weight(x: Any, b: Any) -> Any: ...

    refuse_unknown(whole, making({**CONV, "padding": 1, "bias": False}))
    with pytest.raises(UnsupportedError, match="stride=2"):
        refuse_unknown(whole, making({**CONV, "stride": 2}))
    refuse_unknown(without_bias, making(CONV))
    with pytest.raises(UnsupportedError, match="bias=False"):
        refuse_unknown(without_bias, making({**CONV, "bias": False}))
    refuse_unknown(without_weight, making({"bias": False}))
    with pytest.raises(UnsupportedError, match="kernel_size=3"):
        refuse_unknown(without_weight, making({"kernel_size": 3, "bias": False}))


def test_functions_with_a_settings_dictionary_are_refused_nothing_yet() -> None:
    refuse_unknown(conv_forward, making({**CONV, "padding": 1, "groups": 2}))
