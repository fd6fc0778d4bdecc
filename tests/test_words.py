"""The words by which somebody's code is understood, the arguments of its functions, and what is said about it."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from compare.driving import signatures, vocabulary
from compare.driving.interface import Interface
from compare.driving.options import KERNELS, MATRIX, VECTOR, Axes, Option
from compare.machine.errors import UserError

CONV = {"in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "bias"}
POOL = {"kernel_size", "kernel_height", "kernel_width", "stride", "padding"}
LINEAR = {"in_features", "out_features", "bias"}
NORM = {"num_features", "eps", "momentum", "affine"}

# Words


@pytest.mark.parametrize(
    ("name", "word"),
    [("learning_rate", "learningrate"), ("W1", "w"), ("_x", "x"), ("dL/dW", "dldw"), ("layer_2_out", "layerout")],
)
def test_case_digits_and_punctuation_are_not_part_of_a_word(name: str, word: str) -> None:
    assert vocabulary.plain(name) == word


@pytest.mark.parametrize(
    ("words", "usual"),
    [
        (vocabulary.INPUT_WORDS, ("x", "inputs", "images", "pred", "yhat", "batch")),
        (vocabulary.GRADIENT_WORDS, ("dout", "delta", "upstream", "gradoutput", "err")),
        (vocabulary.SETTINGS_WORDS, ("convparam", "config", "hparameters", "hparams", "kwargs")),
    ],
)
def test_usual_words_are_known(words: set[str], usual: tuple[str, ...]) -> None:
    assert set(usual) <= words


@pytest.mark.parametrize(
    ("argument", "options", "expected"),
    [
        ("stride", CONV, "stride"),
        ("c_in", CONV, "in_channels"),
        ("num_channels", CONV, "in_channels"),
        ("n_out", CONV, "out_channels"),
        ("numFilters", CONV, "out_channels"),
        ("k_out", CONV, "out_channels"),
        ("ksize", CONV, "kernel_size"),
        ("filter_shape", CONV, "kernel_size"),
        ("Stride_1", CONV, "stride"),
        ("use_bias", CONV, "bias"),
        ("pool_h", POOL, "kernel_height"),
        ("WF", POOL, "kernel_width"),
        ("n_inputs", LINEAR, "in_features"),
        ("fan_in", LINEAR, "in_features"),
        ("units", LINEAR, "out_features"),
        ("hidden", LINEAR, "out_features"),
        ("c", NORM, "num_features"),
        ("epsilon", NORM, "eps"),
        ("beta1", {"lr", "beta1", "beta2"}, "beta1"),
        ("beta_1", {"lr", "beta1", "beta2"}, "beta1"),
        ("beta_2", {"lr", "beta1", "beta2"}, "beta2"),
        ("b1", {"lr", "beta1", "beta2"}, "beta1"),
        ("b2", {"lr", "beta1", "beta2"}, "beta2"),
        ("b", {"lr", "beta1", "beta2"}, None),  # without its number it is no word
        ("learning_rate", {"lr", "beta1", "beta2"}, "lr"),
        ("decay", {"momentum"}, "momentum"),
        ("decay", {"weight_decay"}, "weight_decay"),
        ("decay", {"momentum", "weight_decay"}, None),  # one or the other
        ("n_in", CONV | LINEAR, None),
        ("units", CONV, None),
        ("magic", CONV | LINEAR, None),
        ("dilation", CONV, "dilation"),  # torch's own name, for which there is no other word
        ("dilate", CONV, None),
        ("stride", set(), None),
    ],
)
def test_an_argument_stands_for_the_one_option_that_it_names(
    argument: str, options: set[str], expected: str | None
) -> None:
    assert vocabulary.option_of(argument, options) == expected


@pytest.mark.parametrize(
    ("own", "parameter", "same"),
    [
        ("W1", "weight", True),
        ("gamma", "weight", True),
        ("weight", "weight", True),
        ("biases", "bias", True),
        ("B_2", "bias", True),
        ("moving_mean", "running_mean", True),
        ("runVar", "running_var", True),
        ("running_var", "running_var", True),
        ("alpha", "alpha", True),
        ("Alpha_1", "alpha", True),
        ("in_proj_weight", "in_proj_weight", True),
        ("w", "bias", False),
        ("b", "weight", False),
        ("moving_mean", "running_var", False),
        ("beta", "alpha", False),
        ("weight", "W", False),  # somebody's name comes first
    ],
)
def test_two_names_mean_the_same_thing(own: str, parameter: str, same: bool) -> None:
    assert vocabulary.same_thing(own, parameter) is same


@pytest.mark.parametrize(
    ("own", "thing"),
    [
        ("dW", "w"),
        ("d_W1", "w1"),
        ("grad_w", "w"),
        ("dL_dW", "w"),
        ("d_L_d_filters", "filters"),
        ("grads_of_bias", "bias"),
        ("nabla_b", "b"),
        ("delta_w", "w"),
        ("gradient_input", "input"),
        ("grad_of_w", "w"),
        ("weights_grad", "weights"),
        ("weightGradient", "weight"),
        ("w_grads", "w"),
        ("weights", None),
        ("output", None),
    ],
)
def test_a_gradient_is_told_by_the_form_of_its_name(own: str, thing: str | None) -> None:
    assert vocabulary.gradient_of(own) == thing


@pytest.mark.parametrize(
    ("what", "names", "found"),
    [
        ("forward", ["forward_propagation", "propagate_forward", "fprop"], ["fprop", "propagate_forward"]),
        ("forward", ["do_fwd", "Forward2"], ["do_fwd", "Forward2"]),
        ("backward", ["backward_propagation", "do_backprop"], ["do_backprop", "backward_propagation"]),
        ("backward", ["bprop", "run_bwd", "Backpropagate"], ["bprop", "run_bwd", "Backpropagate"]),
        ("forward", ["straightforward", "backward", "predict"], []),
        ("backward", ["feedback", "forward", "rollback"], []),
    ],
)
def test_methods_are_alike_by_a_word_in_their_name_the_shortest_first(
    what: str, names: list[str], found: list[str]
) -> None:
    assert [name for name in vocabulary.methods_like(what, names) if name in found] == found
    assert {*vocabulary.methods_like(what, names)} <= {*names}
    assert bool(vocabulary.methods_like(what, names)) is bool(found)


# Arguments of functions


class Compiled:
    """Says nothing of its arguments, as compiled code does."""

    __signature__ = "none"

    def __call__(self, *_: Any) -> Any: ...


def plain(x: Any, w: Any, scale: Any = 2) -> Any: ...
def starred(x: Any, *rest: Any) -> Any: ...
def named(x: Any, **more: Any) -> Any: ...
def only_starred(*rest: Any) -> Any: ...
def with_rate(x: Any, lr: Any = 0.1, scale: Any = 2, *rest: Any, key: Any, other: Any = 1, **more: Any) -> Any: ...
def with_rates(x: Any, *learning_rate: Any, **lr: Any) -> Any: ...


@pytest.mark.parametrize(
    ("function", "every", "required", "is_starred"),
    [
        (plain, ["x", "w", "scale"], ["x", "w"], False),
        (starred, ["x", "rest"], ["x"], True),
        (named, ["x", "more"], ["x"], False),
        (only_starred, ["rest"], [], True),
        (with_rate, ["x", "lr", "scale", "rest", "key", "other", "more"], ["x", "lr", "key"], True),
        (with_rates, ["x", "learning_rate", "lr"], ["x"], True),
        (Compiled(), ["x0"], ["x0"], False),
    ],
)
def test_arguments_of_a_function_and_those_that_it_requires(
    function: Callable[..., Any], every: list[str], required: list[str], is_starred: bool
) -> None:
    assert signatures.argument_names(function) == every
    assert signatures.required_names(function) == required
    assert signatures.is_starred(function) is is_starred


def test_compiled_code_takes_the_inputs_by_position() -> None:
    found = signatures.parameters(Compiled(), 2)
    assert list(found) == ["x0", "x1"]
    for name, parameter in found.items():
        assert (parameter.name, parameter.kind) == (name, inspect.Parameter.POSITIONAL_ONLY)
        assert parameter.default is inspect.Parameter.empty


def test_a_function_is_called_by_its_name_and_an_object_by_its_class() -> None:
    assert signatures.called(plain) == "plain"
    assert signatures.called(Compiled) == "Compiled"
    assert signatures.called(Compiled()) == "Compiled"


# What is said about the code


def test_nothing_need_be_said() -> None:
    said = dataclasses.asdict(Interface())
    texts = ("forward", "backward", "layout", "output_layout", "output_from", "targets")
    assert said == {
        **dict.fromkeys(texts, ""),
        **{name: {} for name in ("parameters", "gradients", "weight_layouts", "built_in")},
        "size_pairs": False,
    }


@pytest.mark.parametrize(
    "layout",
    ["", "N", "C", "NC", "CN", "C1", "1C", "HW", "HWC", "NCHW", "NHWC", "1CHW", "1HWC", "NCDHW", "NLC"],
)
def test_a_layout_names_each_axis_once(layout: str) -> None:
    said = Interface(layout=layout, output_layout=layout)
    assert (said.layout, said.output_layout) == (layout, layout)


@pytest.mark.parametrize(("given", "layout"), [("F", "C"), ("NF", "NC"), ("FN", "CN"), ("F1", "C1"), ("1F", "1C")])
def test_features_are_channels(given: str, layout: str) -> None:
    said = Interface(layout=given, output_layout=given)
    assert (said.layout, said.output_layout) == (layout, layout)
    assert said == Interface(layout=layout, output_layout=layout)


@pytest.mark.parametrize("layout", ["FC", "NCF"])
def test_features_and_channels_are_the_same_axis_twice(layout: str) -> None:
    with pytest.raises(UserError, match="each of NCHWDL1 once"):
        Interface(layout=layout)


@pytest.mark.parametrize("name", ["layout", "output_layout"])
@pytest.mark.parametrize("layout", ["hwc", "NN", "NCHWC", "NX", "N C", "OI", "C11", "C2"])
def test_a_layout_of_other_letters_is_refused(name: str, layout: str) -> None:
    given: dict[str, Any] = {name: layout}
    with pytest.raises(UserError) as caught:
        Interface(**given)
    assert str(caught.value) == (
        f"{name} '{layout}' must be letters such as NCHW, NHWC, HWC, HW, NC or C1, each of NCHWDL1 once"
    )


def test_targets_are_classes_or_one_hot_rows() -> None:
    for targets in ("", "classes", "one-hot"):
        assert Interface(targets=targets).targets == targets
    with pytest.raises(UserError) as caught:
        Interface(targets="onehot")
    assert str(caught.value) == "targets 'onehot' must be one of classes, one-hot"


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("", False),
        ("HWC", True),
        ("HW", True),
        ("NHWC", False),
        ("CN", False),
        ("C", True),
        # A batch of one is one at a time, and so is one column.
        ("1CHW", True),
        ("1C", True),
        ("C1", True),
    ],
)
def test_code_takes_one_image_at_a_time_where_its_layout_has_no_batch(layout: str, expected: bool) -> None:
    assert Interface(layout=layout).one_at_a_time is expected
    assert not Interface(output_layout=layout).one_at_a_time


ONE = {"0.weight": KERNELS, "0.bias": VECTOR, "0.running_mean": VECTOR}
TWO = {"0.weight": KERNELS, "0.bias": VECTOR, "2.weight": MATRIX, "2.bias": VECTOR}
PLAIN = {"weight": KERNELS, "bias": VECTOR}
DEEP = {"weight": Axes("")}
OWN = {"weight": Axes("QK", ("KQ",))}


@pytest.mark.parametrize(
    ("known", "given", "full"),
    [
        (PLAIN, "weight", "weight"),
        (ONE, "weight", "0.weight"),
        (ONE, "0.weight", "0.weight"),
        (ONE, "weight:HWIO", "0.weight:HWIO"),
        (ONE, "running_mean:O", "0.running_mean:O"),
        (TWO, "2.weight:IO", "2.weight:IO"),
        (TWO, "0.bias", "0.bias"),
        (DEEP, "weight", "weight"),  # a kernel of a volume, whose axes have no letters
        (OWN, "weight:K", "weight:K"),  # of the letters of its own axes, in any order
    ],
)
def test_a_parameter_is_named_in_full_where_there_is_only_one(known: Mapping[str, Axes], given: str, full: str) -> None:
    def said(name: str) -> Interface:
        gradients = {"dx": "x", "d_own": name}
        return Interface("go", "", {"own": name}, gradients, size_pairs=True, built_in={"kernel_size": 3})

    assert said(given).for_parameters(known) == said(full)


@pytest.mark.parametrize("name", ["input", "x", "grad_input"])
def test_the_gradient_of_the_input_is_no_parameter(name: str) -> None:
    assert Interface(gradients={"dx": name}).for_parameters(ONE).gradients == {"dx": name}
    with pytest.raises(UserError, match="--param dx="):
        Interface(parameters={"dx": name}).for_parameters(ONE)


@pytest.mark.parametrize(
    ("known", "given", "reason"),
    [
        (PLAIN, "wait", "there is no parameter 'wait' to compare with; there is weight, bias"),
        (PLAIN, "ight", "there is no parameter 'ight' to compare with; there is weight, bias"),
        (
            TWO,
            "weight:OI",
            "there is no parameter 'weight' to compare with; there is 0.weight, 0.bias, 2.weight, 2.bias",
        ),
        ({}, "weight", "there is no parameter 'weight' to compare with; there is none"),
        (PLAIN, "weight:HWCO", "the layout must be made of the letters OIHW"),
        (TWO, "2.weight:HI", "the layout must be made of the letters OI"),
        (PLAIN, "bias:I", "the layout must be made of the letters O"),
        (OWN, "weight:OI", "the layout must be made of the letters QK"),
        (DEEP, "weight:O", "the layout must be made of the letters "),
    ],
)
def test_a_parameter_that_is_not_there_is_refused_with_those_that_are(
    known: Mapping[str, Axes], given: str, reason: str
) -> None:
    with pytest.raises(UserError) as caught:
        Interface(parameters={"own": given}).for_parameters(known)
    assert str(caught.value) == f"--param own={given}: {reason}"
    with pytest.raises(UserError) as caught:
        Interface(gradients={"d_own": given}).for_parameters(known)
    assert str(caught.value) == f"--grad d_own={given}: {reason}"


def test_the_layout_of_a_weight_is_that_of_its_parameter_or_the_one_that_was_found() -> None:
    said = Interface(
        parameters={"W": "weight:HWIO", "b": "bias", "m": "running_mean"},
        weight_layouts={"weight": "OIHW", "bias": "O", "running_var": "NO"},
    )
    expected = {"weight": "HWIO", "bias": "O", "running_mean": "", "running_var": "NO", "other": ""}
    assert {parameter: said.layout_of(parameter) for parameter in expected} == expected
    assert said.their_parameters() == {"weight": "W", "bias": "b", "running_mean": "m"}


def test_a_row_says_what_others_call_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "_CALLED", {})
    assert vocabulary.option_of("slope", {"negative_slope", "inplace"}) is None
    vocabulary.learn({"negative_slope": Option(called=("slope", "alpha")), "inplace": Option()})
    assert vocabulary.option_of("slope", {"negative_slope", "inplace"}) == "negative_slope"
    assert vocabulary.option_of("_alpha", {"negative_slope", "inplace"}) == "negative_slope"
