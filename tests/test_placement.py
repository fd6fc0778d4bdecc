"""Where somebody's weights and running statistics are found, and how they get there and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from compare.driving.interface import Interface
from compare.driving.layouts import LayoutError
from compare.driving.making import ConversionError, Functions, MistoldError, UnsupportedError
from compare.driving.observe import Buffer, Parameter
from compare.driving.options import Axes
from compare.driving.placement import Placement, gradient_word, last_word
from compare.pairs.layers import KNOWN_OPTIONS
from compare.pairs.layers.activation import SOFTMAX
from compare.pairs.layers.normalisation import BATCHNORM2D
from scratch import Array

W = np.arange(1.0, 7.0).reshape(2, 3)
B = np.array([7.0, 8.0])
MEAN, COUNT = np.array([9.0, 10.0]), np.array(3)


class Part:
    """An object with whatever it is made with, in that order."""

    def __init__(self, **held: Any) -> None:
        self.__dict__.update(held)


def placement(
    subject: Any,
    state: Mapping[str, Array] | None = None,
    buffers: Mapping[str, Array] | None = None,
    told: Mapping[str, str] | None = None,
    layouts: Mapping[str, str] | None = None,
    axes: Mapping[str, Axes] | None = None,
) -> Placement:
    held = {"weight": W, "bias": B} if state is None else state
    return Placement(
        subject,
        Interface(parameters=told or {}, weight_layouts=layouts or {}),
        {name: Parameter(array.copy()) for name, array in held.items()},
        {name: Buffer(array.copy()) for name, array in (buffers or {}).items()},
        axes,
    )


def zeros(*shape: int) -> Array:
    return np.zeros(shape)


# Finding


def found(
    subject: Any,
    state: Mapping[str, Array] | None = None,
    buffers: Mapping[str, Array] | None = None,
    told: Mapping[str, str] | None = None,
) -> tuple[list[str], dict[str, str]]:
    """The parameters that were not found, and where the others are."""
    placed = placement(subject, state, buffers, told)
    assert placed.paths == {}
    return placed.find(), placed.paths


def test_weights_are_found_by_name_and_shape() -> None:
    assert found(Part(b=zeros(2), W=zeros(2, 3))) == ([], {"weight": "W", "bias": "b"})
    there = Part(params={"weights": zeros(2, 3), "biases": zeros(2, 1)}, running_mean=zeros(2))
    paths = {"weight": "params['weights']", "bias": "params['biases']"}
    assert found(there) == ([], paths)
    assert found(there, {"weight": W, "bias": B}, {"running_mean": MEAN, "count": COUNT}) == (
        [],
        paths | {"running_mean": "running_mean"},
    )
    # The right name and another shape are not enough, and neither is the shape of a vector without the name.
    assert found(Part(W=zeros(3, 2), b=zeros(3), other=zeros(2))) == (["bias", "weight"], {})
    assert found(Part()) == (["bias", "weight"], {})


def test_the_only_array_of_the_shape_of_a_weight_is_that_weight() -> None:
    only = {"weight": W}
    assert found(Part(odd=zeros(2, 3), other=zeros(3, 3)), only) == ([], {"weight": "odd"})
    assert found(Part(odd=zeros(2, 3), other=zeros(2, 3)), only) == (["weight"], {})
    assert found(Part(odd=zeros(2, 3), W=zeros(2, 3)), only) == ([], {"weight": "W"})
    assert found(Part(odd=zeros(3)), {"gamma": zeros(3)}) == (["gamma"], {})
    assert found(Part(dW=zeros(2, 3), odd=zeros(2, 3)), only) == ([], {"weight": "odd"})  # the other is its gradient


def test_of_several_that_are_called_so_the_first_is_taken() -> None:
    assert found(Part(weights=zeros(2, 3), W=zeros(2, 3)), {"weight": W}) == ([], {"weight": "weights"})


def test_gradients_are_no_weights() -> None:
    subject = Part(grads={"W": zeros(2, 3)}, params={"W": zeros(2, 3)})
    assert found(subject, {"weight": W}) == ([], {"weight": "params['W']"})


def test_no_array_is_two_parameters() -> None:
    two = {"0.weight": W, "1.weight": W}
    assert found(Part(W1=zeros(2, 3), W2=zeros(2, 3)), two) == ([], {"0.weight": "W1", "1.weight": "W2"})
    assert found(Part(W1=zeros(2, 3)), two) == (["1.weight"], {"0.weight": "W1"})
    told = {"W1": "1.weight"}
    expected = {"0.weight": "W2", "1.weight": "W1"}
    assert found(Part(W1=zeros(2, 3), W2=zeros(2, 3)), two, told=told) == ([], expected)


def test_a_parameter_of_a_layer_lies_where_the_name_of_the_layer_is() -> None:
    two = {"0.weight": W, "2.weight": W}
    layers = {name: Part(W=zeros(2, 3)) for name in ("9", "2", "0")}
    expected = {"0.weight": "layers['0'].W", "2.weight": "layers['2'].W"}
    assert found(Part(layers=layers), two) == ([], expected)


def test_what_is_told_comes_before_what_is_called_so() -> None:
    subject = Part(W=zeros(2, 3), V=zeros(2, 3), b=zeros(2))
    assert found(subject, told={"V": "weight"}) == ([], {"weight": "V", "bias": "b"})


@pytest.mark.parametrize(
    ("subject", "there"),
    [(Part(W=zeros(2, 3), b=zeros(2)), "W, b"), (Part(V=[1.0, 2.0]), "none")],
    ids=["another", "no array"],
)
def test_an_array_that_is_told_and_not_there_is_said(subject: Any, there: str) -> None:
    with pytest.raises(MistoldError) as refused:
        found(subject, told={"V": "weight:IO"})
    assert str(refused.value) == f"there is no array V; there is {there}; correct --param V=weight"


def linear(x: Array, w: Array, b: Array) -> Array:
    return x @ w.T + b


def unusual(x: Array, theta_out: Array, c: Array) -> Array:
    return x @ theta_out.T + c


def two_layers(x: Array, W1: Array, b1: Array, W2: Array, b2: Array) -> Array:  # noqa: N803
    return (x @ W1.T + b1) @ W2.T + b2


def scaled(x: Array, b: Array) -> Array:
    return x @ b.T


def no_bias(x: Array, w: Array) -> Array:
    return x @ w.T


def test_functions_are_given_weights_by_the_names_of_their_arguments() -> None:
    subject = Functions(linear, None, {})
    placed = placement(subject, layouts={"weight": "IO"})
    assert placed.find() == []
    assert placed.paths == {"weight": "arguments['w']", "bias": "arguments['b']"}
    assert subject.arguments.keys() == {"w", "b"}
    np.testing.assert_array_equal(subject.arguments["w"], W.T)
    np.testing.assert_array_equal(subject.arguments["b"], B)
    placed.push()
    np.testing.assert_array_equal(subject.arguments["w"], W.T)


def test_each_argument_of_a_function_takes_one_weight() -> None:
    layers = {"0.weight": W, "0.bias": B, "2.weight": W + 1, "2.bias": B + 1}
    subject = Functions(two_layers, None, {})
    expected = {"0.weight": "W1", "0.bias": "b1", "2.weight": "W2", "2.bias": "b2"}
    paths = {name: f"arguments['{word}']" for name, word in expected.items()}
    assert found(subject, layers) == ([], paths)
    for name, word in expected.items():
        np.testing.assert_array_equal(subject.arguments[word], layers[name])


def test_arguments_of_functions_may_be_told() -> None:
    subject = Functions(unusual, None, {})
    told = {"c": "bias", "theta_out": "weight:IO"}
    assert found(subject, told=told) == ([], {"bias": "arguments['c']", "weight": "arguments['theta_out']"})
    np.testing.assert_array_equal(subject.arguments["theta_out"], W.T)
    swapped = {"b": "weight", "w": "bias"}
    expected = {"weight": "arguments['b']", "bias": "arguments['w']"}
    assert found(Functions(linear, None, {}), {"weight": B, "bias": B}, told=swapped) == ([], expected)
    assert found(Functions(linear, None, {}), told={"w": "bias"}) == (["weight"], {"bias": "arguments['w']"})


def test_an_argument_that_is_told_and_not_there_is_said() -> None:
    with pytest.raises(MistoldError) as refused:
        found(Functions(linear, None, {}), told={"V": "weight"})
    assert str(refused.value) == "there is no argument V; there is x, w, b; correct --param V=weight"


def test_other_places_of_functions_may_be_told() -> None:
    told = {"settings['W']": "weight"}
    subject = Functions(linear, None, {})
    placed = placement(subject, told=told)
    assert placed.find() == []
    assert placed.paths == {"weight": "settings['W']", "bias": "arguments['b']"}
    placed.push()
    np.testing.assert_array_equal(subject.settings["W"], W)


def test_functions_that_take_no_weight_lack_it() -> None:
    assert found(Functions(no_bias, None, {})) == (["bias"], {"weight": "arguments['w']"})
    assert found(Functions(no_bias, None, {}), {"weight": W}) == ([], {"weight": "arguments['w']"})


def test_functions_that_take_a_bias_cannot_do_without() -> None:
    with pytest.raises(UnsupportedError, match=r"^bias=False$"):
        found(Functions(linear, None, {}, KNOWN_OPTIONS), {"weight": W})
    # An argument that is told to be something else is none.
    assert found(Functions(scaled, None, {}, KNOWN_OPTIONS), {"weight": W}, told={"b": "weight"})[0] == []
    # The bias of a layer is a bias, too.
    assert found(Functions(linear, None, {}, KNOWN_OPTIONS), {"0.weight": W, "0.bias": B})[0] == []


def normalised(x: Array, gamma: Array, beta: Array) -> Array:
    return x * gamma + beta


def test_functions_that_normalise_cannot_do_without_their_weights() -> None:
    known = BATCHNORM2D.options
    with pytest.raises(UnsupportedError, match=r"^affine=False$"):
        found(Functions(normalised, None, {}, known), {})
    assert found(Functions(normalised, None, {}, known), {"weight": B, "bias": B})[0] == []
    # An argument of such a name is no weight of a layer that never has any.
    assert found(Functions(normalised, None, {}, SOFTMAX.options), {}) == ([], {})


def test_running_statistics_of_functions_lie_in_their_settings_and_counts_do_not() -> None:
    subject = Functions(linear, None, {})
    buffers = {"running_mean": MEAN, "num_batches_tracked": COUNT}
    placed = placement(subject, buffers=buffers)
    placed.find()
    assert placed.paths["running_mean"] == "settings['running_mean']"
    assert "num_batches_tracked" not in placed.paths
    assert "num_batches_tracked" not in subject.settings
    np.testing.assert_array_equal(subject.settings["running_mean"], MEAN)
    subject.settings["running_mean"] += 1
    np.testing.assert_array_equal(placed.data("running_mean"), MEAN)


def test_running_statistics_of_functions_may_be_told_to_be_an_argument() -> None:
    def norm(x: Array, w: Array, b: Array, average: Array) -> Array:
        average += 1
        return x @ w.T + b

    subject = Functions(norm, None, {})
    placed = placement(subject, buffers={"running_mean": MEAN}, told={"average": "running_mean"})
    assert placed.find() == []
    assert placed.paths["running_mean"] == "arguments['average']"
    assert "running_mean" not in subject.settings
    placed.push()
    norm(zeros(3), **subject.arguments)
    placed.read_back(set())
    np.testing.assert_array_equal(placed.data("running_mean"), MEAN + 1)


# Layouts


def test_data_is_that_of_a_parameter_or_a_buffer() -> None:
    placed = placement(Part(), buffers={"running_mean": MEAN})
    np.testing.assert_array_equal(placed.data("weight"), W)
    np.testing.assert_array_equal(placed.data("running_mean"), MEAN)


def test_weights_are_reordered_as_told() -> None:
    kernel = np.arange(120.0).reshape(2, 3, 4, 5)
    state = {"weight": kernel, "bias": B, "deep": np.ones((1, 2, 1, 2, 1))}
    placed = placement(Part(), state, layouts={"weight": "HWIO"})
    np.testing.assert_array_equal(placed.theirs("weight"), np.moveaxis(kernel, (2, 3), (0, 1)).swapaxes(2, 3))
    np.testing.assert_array_equal(placed.theirs("bias"), B)
    np.testing.assert_array_equal(placed.theirs("deep"), state["deep"])
    for name, array in state.items():
        np.testing.assert_array_equal(placed.canonical(name, placed.theirs(name)), array)
    with pytest.raises(LayoutError):
        placement(Part(), {"weight": W}, layouts={"weight": "O"}).theirs("weight")


def test_the_axes_of_a_weight_are_those_of_its_layer_and_else_the_usual_ones_for_their_number() -> None:
    kernel = np.arange(24.0).reshape(1, 2, 3, 4)
    state, layouts = {"weight": kernel, "other": kernel}, {"weight": "OIHW", "other": "HWO"}
    own = Axes("IOHW")
    placed = placement(Part(), state, layouts=layouts, axes={"weight": own})
    np.testing.assert_array_equal(placed.theirs("weight"), kernel.swapaxes(0, 1))
    np.testing.assert_array_equal(placed.canonical("weight", placed.theirs("weight")), kernel)
    with pytest.raises(LayoutError, match="no axis I, which is 2 long"):
        placed.theirs("other")
    np.testing.assert_array_equal(placement(Part(), state, axes={"weight": own}).theirs("weight"), kernel)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (zeros(2), True),
        (zeros(2, 1), True),
        (zeros(1, 2), True),
        (zeros(1, 2, 1), True),
        (np.zeros(2, int), True),
        (np.zeros(2, np.uint8), True),
        (np.zeros(2, bool), False),
        (np.zeros(2, complex), False),
        (np.array(["a", "b"]), False),
        (zeros(3), False),
        (zeros(1), False),
        (zeros(2, 2), False),
        (zeros(2, 0), False),
    ],
)
def test_a_vector_may_stand_or_lie(array: Array, expected: bool) -> None:
    assert placement(Part()).fits(array, "bias") is expected


def test_a_vector_is_no_square_of_as_many_numbers() -> None:
    four = placement(Part(), {"bias": zeros(4)})
    assert [four.fits(zeros(*shape), "bias") for shape in ((4,), (4, 1), (2, 2))] == [True, True, False]


def test_a_single_number_fits_what_has_one() -> None:
    placed = placement(Part(), {"count": COUNT, "one": zeros(1)})
    for name in ("count", "one"):
        assert [placed.fits(zeros(*shape), name) for shape in ((), (1,), (1, 1), (2,), (0,))] == [True] * 3 + [
            False
        ] * 2


def test_a_weight_fits_in_its_layout_only() -> None:
    shapes = ((2, 3), (3, 2), (6,), (1, 2, 3))
    fits = [placement(Part()).fits(zeros(*shape), "weight") for shape in shapes]
    assert fits == [True, False, False, False]
    told = placement(Part(), layouts={"weight": "IO"})
    assert [told.fits(zeros(*shape), "weight") for shape in shapes] == [False, True, False, False]
    without = placement(Part(), layouts={"weight": "O"})
    assert not any(without.fits(zeros(*shape), "weight") for shape in (*shapes, (2,)))
    row = placement(Part(), {"weight": zeros(1, 3)})
    assert [row.fits(zeros(*shape), "weight") for shape in ((1, 3), (3, 1), (3,))] == [True, False, False]


def test_an_array_comes_back_in_torchs_layout_or_as_it_is() -> None:
    placed = placement(Part(), {"weight": W, "bias": B, "count": COUNT}, layouts={"weight": "IO"})
    np.testing.assert_array_equal(placed.canonical("weight", W.T), W)
    np.testing.assert_array_equal(placed.canonical("weight", W.ravel()), W.ravel())
    for shape in ((2,), (2, 1), (1, 2)):
        np.testing.assert_array_equal(placed.canonical("bias", B.reshape(shape)), B)
    for wrong in (zeros(3), zeros(2, 2), zeros(3, 1)):
        assert placed.canonical("bias", wrong).shape == wrong.shape
    assert placed.canonical("count", np.array([[5]])).shape == ()


# There and back


def placed_in(subject: Any, **how: Any) -> Placement:
    """Where all has been found and put."""
    placed = placement(subject, **how)
    assert placed.find() == []
    placed.push()
    return placed


def test_weights_are_put_into_the_arrays_that_are_there() -> None:
    subject: Any = Part(W=zeros(2, 3), b=zeros(2, 1))
    weight, bias, view = subject.W, subject.b, subject.W[0]
    placed = placed_in(subject)
    assert subject.W is weight
    assert subject.b is bias
    np.testing.assert_array_equal(weight, W)
    np.testing.assert_array_equal(bias, B[:, None])
    np.testing.assert_array_equal(view, W[0])
    subject.W *= 2
    np.testing.assert_array_equal(placed.data("weight"), W)  # theirs is a copy
    np.testing.assert_array_equal(placed.pushed["weight"], W)
    placed.push()
    np.testing.assert_array_equal(subject.W, W)


def test_weights_replace_arrays_of_another_type_and_those_that_are_read_only() -> None:
    subject: Any = Part(W=zeros(2, 3).astype(np.float32), b=zeros(2))
    subject.b.flags.writeable = False
    placed = placed_in(subject)
    assert {subject.W.dtype, subject.b.dtype} == {np.dtype(np.float64)}
    np.testing.assert_array_equal(subject.W, W)
    np.testing.assert_array_equal(subject.b, B)
    subject.W += 1
    subject.b += 1
    np.testing.assert_array_equal(placed.data("weight"), W)
    np.testing.assert_array_equal(placed.pushed["bias"], B)


def test_weights_are_put_where_there_is_none_any_more() -> None:
    subject: Any = Part(W=zeros(2, 3), b=zeros(2))
    placed = placed_in(subject)
    subject.b, subject.W = None, [[0.0]]
    placed.push()
    np.testing.assert_array_equal(subject.W, W)
    np.testing.assert_array_equal(subject.b, B)
    del subject.b
    placed.push()
    np.testing.assert_array_equal(subject.b, B)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("W", (3, 2), "W has shape [3, 2], weight needs [2, 3]"),
        ("W", (6,), "W has shape [6], weight needs [2, 3]"),
        ("b", (3,), "b has shape [3], bias needs [2]"),
        ("b", (1, 3), "b has shape [1, 3], bias needs [2]"),
    ],
)
def test_another_shape_is_said(name: str, shape: tuple[int, ...], message: str) -> None:
    subject = Part(W=zeros(2, 3), b=zeros(2))
    placed = placed_in(subject)
    setattr(subject, name, zeros(*shape))
    with pytest.raises(ConversionError) as refused:
        placed.push()
    assert str(refused.value) == message


def test_what_forward_was_given_is_no_weight() -> None:
    given = np.arange(6.0).reshape(2, 3)
    subject = Part(found=given.copy(), x=given + 1, b=zeros(2))  # what is called like an input is none either
    placed = Placement(subject, Interface(), {"weight": Parameter(W.copy())}, {})
    assert placed.find([given]) == ["weight"]
    assert placed.find([given + 1]) == []
    assert placed.paths == {"weight": "found"}
    assert placed.find() == []
    # A view of what was given, and a target beside it, are none either.
    assert placed.find([zeros(4), given]) == ["weight"]


def test_running_statistics_are_put_there_once() -> None:
    subject: Any = Part(W=zeros(2, 3), b=zeros(2), running_mean=zeros(2), running_var=zeros(2))
    buffers = {"running_mean": MEAN, "running_var": MEAN + 1}
    placed = placed_in(subject, buffers=buffers)
    np.testing.assert_array_equal(subject.running_mean, MEAN)
    np.testing.assert_array_equal(subject.running_var, MEAN + 1)
    subject.running_mean, subject.W = zeros(2), zeros(2, 3)
    placed.push()
    np.testing.assert_array_equal(subject.running_mean, zeros(2))
    np.testing.assert_array_equal(subject.W, W)


def test_what_became_of_weights_and_statistics_is_taken_over() -> None:
    subject: Any = Part(W=zeros(3, 2), b=zeros(1, 2), running_mean=zeros(2).astype(np.float32))
    placed = placed_in(subject, layouts={"weight": "IO"}, buffers={"running_mean": MEAN})
    weight, bias = placed.parameters["weight"].data, placed.parameters["bias"].data
    placed.read_back(set())
    assert placed.parameters["weight"].data is weight  # nothing was changed
    assert placed.parameters["bias"].data is bias
    subject.W += 1
    subject.b += 2
    subject.running_mean = np.array([[1.0], [2.0]], np.float32)
    placed.read_back({"bias"})
    np.testing.assert_array_equal(placed.data("weight"), W + 1)
    np.testing.assert_array_equal(placed.data("bias"), B)  # updated by their code, not by the layer
    np.testing.assert_array_equal(placed.data("running_mean"), [1.0, 2.0])
    assert placed.data("running_mean").dtype == np.float64
    subject.W += 1
    np.testing.assert_array_equal(placed.data("weight"), W + 1)  # a copy
    placed.read_back(set())
    np.testing.assert_array_equal(placed.data("weight"), W + 2)
    np.testing.assert_array_equal(placed.data("bias"), B + 2)


def test_weights_that_are_no_numbers_and_stayed_so_did_not_change() -> None:
    subject: Any = Part(W=zeros(2, 3), b=zeros(2))
    placed = placement(subject)
    placed.parameters["bias"].data = np.array([np.nan, 1.0])
    placed.find()
    placed.push()
    before = placed.parameters["bias"].data
    placed.read_back(set())
    assert placed.parameters["bias"].data is before


def test_the_gradient_behind_an_update_is_what_was_taken_away() -> None:
    subject: Any = Part(W=zeros(2, 3), b=zeros(2))
    placed = placed_in(subject)
    assert placed.update_of("weight", 0.5) is None
    assert placed.changed() == set()
    subject.W -= 0.5 * np.array([[0, 1, 2], [3, 4, 5]])
    update = placed.update_of("weight", 0.5)
    assert update is not None
    np.testing.assert_array_equal(update, [[0, 1, 2], [3, 4, 5]])
    assert placed.update_of("bias", 0.5) is None
    assert placed.update_of("unknown", 0.5) is None
    assert placed.changed() == {"weight"}
    subject.W = None
    assert placed.changed() == set()


def test_an_update_has_the_type_of_the_weights() -> None:
    subject: Any = Part(W=zeros(2, 3))
    placed = placement(subject, {"weight": W.astype(np.float32)})
    placed.find()
    placed.push()
    subject.W -= np.float32(2)
    update = placed.update_of("weight", 0.5)
    assert update is not None
    assert update.dtype == np.float32
    assert update.tolist() == [[4.0] * 3] * 2


def test_statistics_that_changed_are_no_update() -> None:
    subject: Any = Part(W=zeros(2, 3), b=zeros(2), running_mean=zeros(2))
    placed = placed_in(subject, buffers={"running_mean": MEAN})
    subject.running_mean += 1
    assert placed.changed() == set()


def test_functions_update_nothing() -> None:
    subject = Functions(linear, None, {})
    placed = placed_in(subject)
    subject.arguments["w"] = W + 1
    assert placed.update_of("weight", 1.0) is None


# What a path says


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("W", "W"),
        ("a.b.kernel", "kernel"),
        ("layers[0].sub.weight.data", "weight"),
        ("net.a.W.value", "W"),
        ("params['b'].val", "b"),
        ("x.values", "x"),
        ("data", "data"),
        ("data.value", "data.value"),
        ("", ""),
    ],
)
def test_the_last_word_is_the_one_that_says_something(path: str, expected: str) -> None:
    assert last_word(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("dW", "w"),
        ("layer.sub.dW", "w"),
        ("layers[2].inner.b_grad", "b"),
        ("db", "b"),
        ("dgamma", "gamma"),
        ("grads['W']", "w"),
        ("Grads['W']", "w"),
        ("grads['dW']", "w"),
        ("net.grads['V']", "v"),
        ("net.inner.grads['dW']", "w"),
        ("layers[0].sub.gradients['Bias']", "bias"),
        ("weight.grad", "weight"),
        ("net.Weight.grad", "weight"),
        ("net.layer.weight.Gradient", "weight"),
        ("W", None),
        ("layers[0].W", None),
        ("params['W']", None),
        ("layer.sub.W", None),
        ("dx", None),
        ("layers[0].dx", None),
        ("grad", None),
        ("grads[0]", None),
        ("[0]", None),
        ("", None),
    ],
)
def test_a_gradient_is_known_by_its_name_or_its_place(path: str, expected: str | None) -> None:
    assert gradient_word(path) == expected
