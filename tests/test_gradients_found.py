"""Where somebody's gradients are found after a backward: returned, kept beside the weights, or hidden in an update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from compare.driving.calling import RATE
from compare.driving.gradients import Gradients, Resetting, _place, collect
from compare.driving.interface import Interface
from compare.driving.making import Functions, MistoldError
from compare.driving.observe import Parameter
from compare.driving.placement import Placement
from scratch import Array

W = np.arange(1.0, 7.0).reshape(2, 3)
B = np.array([7.0, 8.0])
DX, DW, DB = np.full((4, 3), 1.0), np.full((2, 3), 2.0), np.full(2, 3.0)
STATE = {"weight": W, "bias": B}


class Part:
    """An object with whatever it is made with, in that order."""

    def __init__(self, **held: Any) -> None:
        self.__dict__.update(held)


def layer(**held: Any) -> Any:
    return Part(W=np.zeros((2, 3)), b=np.zeros(2), **held)


def placed(
    subject: Any,
    state: Mapping[str, Array] | None = None,
    told: Mapping[str, str] | None = None,
    gradients: Mapping[str, str] | None = None,
) -> Placement:
    """Where the weights have been found and put."""
    parameters = {name: Parameter(array.copy()) for name, array in (STATE if state is None else state).items()}
    placement = Placement(subject, Interface(parameters=told or {}, gradients=gradients or {}), parameters, {})
    placement.find()
    placement.push()
    return placement


def found(
    returned: Any,
    subject: Any = None,
    state: Mapping[str, Array] | None = None,
    *,
    shape: tuple[int, ...] = (4, 3),
    updates: bool = False,
    **how: Any,
) -> Gradients:
    return collect(returned, placed(layer() if subject is None else subject, state, **how), shape, updates=updates)


def holds(gradients: Gradients, of_input: Any = None, recovered: Any = None, **of_parameters: Any) -> None:
    """Exactly these gradients were found; "_" stands for the dot in the name of a layer's parameter."""
    if of_input is None:
        assert gradients.of_input is None
    else:
        np.testing.assert_array_equal(gradients.of_input, of_input)
    assert {name.replace(".", "_") for name in gradients.of_parameters} == of_parameters.keys()
    for name, array in gradients.of_parameters.items():
        np.testing.assert_array_equal(array, of_parameters[name.replace(".", "_")], err_msg=name)
    assert gradients.recovered == (recovered or set())


# Returned


@pytest.mark.parametrize(
    "returned",
    [
        (DX, DW, DB),
        [DX, DW, DB],
        (DX, DB, DW),  # by their shapes
        (DX.tolist(), DW.tolist(), DB.tolist()),
        {"dx": DX, "dW": DW, "db": DB},
        {"b": DB, "W": DW, "input": DX},
        {"bias_grad": DB[:, None], "d_weights": DW, "dX": DX},
        {"dW": DW, "foo": DB, "dx": DX, "other": DX + 1, "db": DB},
        (DX, {"dW": DW, "db": DB}),
        ({"dW": DW}, DX, {"db": DB}),
        (DX, {"dW": DW}, DB),
        (DX, {"dx": DX + 1, "dW": DW}, None, DB),
    ],
)
def test_gradients_are_found_in_what_is_returned(returned: Any) -> None:
    gradients = found(returned)
    np.testing.assert_array_equal(gradients.of_input, DX)
    assert gradients.of_parameters.keys() == {"weight", "bias"}
    np.testing.assert_array_equal(gradients.of_parameters["weight"], DW)
    np.testing.assert_array_equal(gradients.of_parameters["bias"].ravel(), DB)
    assert gradients.recovered == set()


def test_the_gradient_of_the_input_may_be_all_that_is_returned() -> None:
    for returned in (DX, DX.tolist(), [DX], (DX,)):
        holds(found(returned), DX)
    row = (1.0, 2.0, 3.0)
    holds(found(row, shape=(3,)), row)
    holds(found(np.ones(5)), np.ones(5))  # its shape is wrong, and will be told
    holds(found([1.0, 2.0]), [1.0, 2.0])
    holds(found(0.5), 0.5)
    assert found("text").of_input == "text"


def test_nothing_may_be_returned() -> None:
    holds(found(None))
    holds(found({}))
    holds(found({"dW": None, "dx": None}))
    holds(found(({"dW": DW},)), weight=DW)
    holds(found((None, DW, DB)), weight=DW, bias=DB)
    holds(found((None, None), shape=(2,)))
    assert found(()).of_input == ()


def test_a_key_that_says_nothing_holds_the_gradient_of_the_input_if_that_has_its_shape() -> None:
    holds(found({"foo": DB, "bar": DX, "baz": DX + 1}), DX)
    holds(found({3: DX}), DX)
    holds(found((DX, {"bar": DX + 1})), DX)


def test_text_is_no_gradient_of_the_input() -> None:
    returned = [["text"]]
    assert found(returned, shape=(1, 1)).of_input == ["text"]


def test_what_is_returned_without_a_name_belongs_to_the_first_parameter_of_its_shape() -> None:
    wrong = np.ones((3, 2))
    holds(found((DX, wrong, DB)), DX, weight=wrong, bias=DB)  # then the next one
    holds(found((DX, DW, DB, DX)), DX, weight=DW, bias=DB)
    two = {"weight": W, "gamma": W}
    holds(found((DX, DW, DW + 1), Part(W=W * 0, gamma=W * 0), two), DX, weight=DW, gamma=DW + 1)


def two_layers(**held: Any) -> Any:
    return Part(params={"W1": W * 0, "b1": B * 0, "W2": W * 0, "b2": B * 0}, **held)


TWO = {"0.weight": W, "0.bias": B, "1.weight": W + 1, "1.bias": B + 1}
EACH = {"0_weight": DW, "0_bias": DB, "1_weight": DW + 1, "1_bias": DB + 1}


@pytest.mark.parametrize(
    "returned",
    [
        (DX, DW, DB, DW + 1, DB + 1),
        (DX, {"dW1": DW, "db1": DB, "dW2": DW + 1, "db2": DB + 1}),
        (DX, {"dW2": DW + 1, "db2": DB + 1, "dW1": DW, "db1": DB}),
        (DX, {"W2": DW + 1, "b1": DB, "W1": DW, "b2": DB + 1}),
        (DX, {"first_dw": DW, "second_dw": DW + 9, "db": DB, "d_bias": DB + 1, "W2": DW + 1, "dW": DW}),
    ],
)
def test_the_gradients_of_two_layers_are_told_apart(returned: Any) -> None:
    holds(found(returned, two_layers(), TWO), DX, **EACH)


@pytest.mark.parametrize("first", [0, 1, 9])
@pytest.mark.parametrize("turned", [False, True])
def test_the_numbers_of_gradients_may_begin_elsewhere_than_those_of_weights(first: int, turned: bool) -> None:
    """Weights in a list begin at 0, and "dW1" is the gradient of the first; 10 comes after 9."""
    grads = {f"dW{first}": DW, f"db{first}": DB, f"dW{first + 1}": DW + 1, f"db{first + 1}": DB + 1}
    returned = DX, dict(reversed(grads.items())) if turned else grads
    holds(found(returned, Part(W=[W * 0, W * 0], b=[B * 0, B * 0]), TWO), DX, **EACH)
    layers = Part(conv2d=Part(W=W * 0, b=B * 0), fc=Part(W=W * 0, b=B * 0))
    holds(found(returned, layers, TWO), DX, **EACH)


def test_a_gradient_belongs_to_the_parameter_of_its_own_word() -> None:
    subject = Part(params={"W1": W * 0, "gamma1": W * 0})
    returned = DX, {"dgamma1": DW + 1, "dW1": DW}
    holds(found(returned, subject, {"0.weight": W, "1.weight": W + 1}), DX, **{"0_weight": DW, "1_weight": DW + 1})


def test_of_one_gradient_alone_the_number_is_that_of_its_weight() -> None:
    holds(found((DX, {"dW2": DW}), two_layers(), TWO), DX, **{"1_weight": DW})
    holds(found((DX, {"dW7": DW}), two_layers(), TWO), DX, **{"0_weight": DW})
    holds(found(({"dW1": DW}, DX, {"dW1": DW + 1}), two_layers(), TWO), DX, **{"0_weight": DW, "1_weight": DW + 1})


# Told


def test_gradients_are_taken_from_where_they_are_told_to_be() -> None:
    subject = layer(one=DW, cache={"b": DB.tolist()})
    told = {"one": "weight", "cache['b']": "bias", "1": "input"}
    holds(found((DX + 1, DX), subject, gradients=told), DX, weight=DW, bias=DB)
    for word in ("input", "x", "grad_input"):
        holds(found(None, layer(there=DX), gradients={"there": word}), DX)
    holds(found({"dW": DW}, layer(there=DX), gradients={"there": "weight"}), weight=DX)
    holds(found(None, layer(there=None), gradients={"there": "weight"}))


@pytest.mark.parametrize(
    ("returned", "own"), [((DX,), "1"), (None, "0"), ({"dW": DW}, "0"), (None, "dV"), (None, "W.x"), (None, "g[3]")]
)
def test_gradients_that_are_told_and_not_there_are_said(returned: Any, own: str) -> None:
    with pytest.raises(MistoldError) as refused:
        found(returned, layer(g=[]), gradients={own: "weight"})
    assert str(refused.value) == f"there is no {own} after backward; correct --grad {own}=weight"


# Kept


@pytest.mark.parametrize(
    "held",
    [
        {"dW": DW, "db": DB},
        {"grad_W": DW, "b_grad": DB},
        {"dweights": DW, "d_L_d_bias": DB},
        {"grads": {"W": DW, "b": DB}},
        {"grads": {"dW": DW, "db": DB}},
        {"gradients": {"weight": DW, "bias": DB}},
        {"x": DX, "dx": DX + 9, "dW": DW, "db": DB},
    ],
)
def test_gradients_are_found_beside_the_weights(held: dict[str, Any]) -> None:
    holds(found(DX, layer(**held)), DX, weight=DW, bias=DB)


def test_what_is_returned_comes_before_what_is_kept() -> None:
    holds(found((DX, DW), layer(dW=DW + 1, dx=DX + 1)), DX, weight=DW)


def test_a_parameter_that_nobody_found_has_no_gradient() -> None:
    holds(found(DX, Part(b=B * 0, dW=DW), updates=True), DX, {"bias"}, bias=B * 0)


def test_objects_that_are_parameters_hold_their_gradients() -> None:
    for holder in ("data", "value", "val", "values"):
        for kept in ("grad", "gradient"):
            weight, bias = Part(**{holder: W * 0, kept: DW}), Part(**{holder: B * 0, kept: DB})
            holds(found(DX, Part(weight=weight, bias=bias, dW=DW + 1)), DX, weight=DW, bias=DB)
    weight, bias = Part(data=W * 0, grad=DW, gradient=DW + 1), Part(data=B * 0)
    holds(found(DX, Part(weight=weight, bias=bias, db=DB)), DX, weight=DW)


def test_a_gradient_may_be_called_as_the_weight_is_called_there() -> None:
    only = {"weight": W}
    holds(found(DX, Part(params={"V": W * 0}, grads={"V": DW, "U": DW + 1}), only), DX, weight=DW)
    holds(found(DX, Part(filters=W * 0, dW=DW), only), DX, weight=DW)
    holds(found(DX, Part(layers=[Part(filters=W * 0, dW=DW)]), {"0.weight": W}), DX, **{"0_weight": DW})


def test_of_several_gradients_the_one_that_fits_is_taken() -> None:
    only = {"weight": W}
    wrong = np.ones((3, 2))
    for held in ({"W_grad": wrong, "dW": DW}, {"dW": DW, "grad_W": wrong}, {"dW": wrong, "grad_w": DW}):
        holds(found(DX, Part(W=W * 0, **held), only), DX, weight=DW)
    holds(found(DX, Part(W=W * 0, dW=wrong), only), DX, weight=wrong)


def test_of_several_gradients_the_one_at_the_same_place_is_taken() -> None:
    grads = {"W1": DW, "b1": DB, "W2": DW + 1, "b2": DB + 1}
    holds(found(DX, two_layers(grads=grads), TWO), DX, **EACH)
    holds(found(DX, two_layers(grads=dict(reversed(grads.items()))), TWO), DX, **EACH)
    layers = [Part(W=W * 0, b=B * 0, dW=DW + step, db=DB + step) for step in range(2)]
    holds(found(DX, Part(layers=layers, first=DX), TWO), DX, **EACH)


def test_of_several_gradients_the_one_called_as_the_weight_is_taken() -> None:
    only = {"weight": W}
    holds(found(DX, Part(kernel=W * 0, dW=DW + 1, dkernel=DW), only), DX, weight=DW)
    holds(found(DX, Part(W=W * 0, dW=DW, dKernel=DW + 1, dA_weight=DW + 1), only), DX, weight=DW)
    holds(found(DX, Part(W=W * 0, grad_W=DW + 1, W_grad=DW), only), DX, weight=DW)  # then by the alphabet


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("W", ()),
        ("params['W']", ()),
        ("grads['W']", ()),
        ("Weights.W", ()),
        ("parameters['W1']", ("1",)),
        ("layers[0].params['W1']", ("0", "1", "layers")),
        ("net.conv.sub.dW", ("net", "conv", "sub")),
        ("net.gradient.W12", ("12", "net")),
    ],
)
def test_a_gradient_lies_at_the_same_place_as_its_weight(path: str, expected: tuple[str, ...]) -> None:
    assert _place(path) == expected


def test_the_gradient_of_the_input_may_be_kept() -> None:
    for word in ("dinputs", "dinput", "dx", "grad_input", "dX"):
        holds(found(None, layer(**{word: DX})), DX)
    holds(found(None, layer(dinputs=DB, dx=DX, grad_input=DX + 1)), DX)
    holds(found(None, layer(dx=DB)))
    holds(found(None, layer(kept=DX)))


def test_what_functions_are_given_is_not_what_they_kept() -> None:
    subject = Functions(lambda x, w: x @ w.T, None, {})
    placement = placed(subject, {"weight": W})
    subject.settings["dW"], subject.options["dx"] = DW, DX
    subject.dx = DX  # type: ignore[attr-defined]
    holds(collect(None, placement, (4, 3), updates=False))


# Updates


def updated(rate: float = RATE, **held: Any) -> tuple[Any, Placement]:
    subject = layer(**held)
    placement = placed(subject)
    subject.W -= rate * DW
    return subject, placement


def test_a_gradient_is_recovered_from_an_update() -> None:
    _, placement = updated(rate=1)  # a step by the gradient itself, where no rate is asked for
    holds(collect(DX, placement, (4, 3), updates=False), DX, {"weight"}, weight=DW)


def test_a_weight_that_should_have_been_updated_and_was_not_has_the_gradient_zero() -> None:
    _, placement = updated()
    holds(collect(DX, placement, (4, 3), updates=True), DX, {"weight", "bias"}, weight=DW, bias=[0.0, 0.0])


def test_a_gradient_that_is_shown_needs_no_update() -> None:
    _, placement = updated(dW=DW + 1)
    holds(collect((DX,), placement, (4, 3), updates=False), DX, weight=DW + 1)
    subject, placement = updated(dW=DW, db=DB)
    subject.b -= RATE * DB
    holds(collect((DX,), placement, (4, 3), updates=True), DX, weight=DW, bias=DB)


def test_an_update_by_another_gradient_than_is_shown_is_the_one_that_counts() -> None:
    subject, placement = updated(dW=DW + 1, db=DB)
    subject.b -= RATE * DB
    holds(collect((DX,), placement, (4, 3), updates=True), DX, {"weight"}, weight=DW, bias=DB)
    _, placement = updated(dW=DW, db=DB)  # its bias stays as it was
    holds(collect((DX,), placement, (4, 3), updates=True), DX, {"bias"}, weight=DW, bias=[0.0, 0.0])
    # Where no weight is updated, what is shown is all that there is.
    holds(collect((DX,), placed(layer(dW=DW, db=DB)), (4, 3), updates=True), DX, weight=DW, bias=DB)


def test_what_an_update_rounds_contradicts_nothing() -> None:
    subject, placement = updated(dW=DW * (1 + 1e-15), db=DB)
    subject.b -= RATE * DB
    holds(collect((DX,), placement, (4, 3), updates=True), DX, weight=DW * (1 + 1e-15), bias=DB)


# Of each call alone


def test_what_holds_gradients_is_made_as_it_was() -> None:
    subject = layer(dW=DW.copy(), grads={"b": DB.copy()}, late=None)
    arrays = subject.dW, subject.grads["b"]
    resetting = Resetting(subject)
    resetting.reset()
    for _ in range(2):
        subject.W += 1
        subject.dW += 1
        subject.grads["b"] += 1
        subject.grads["W"] = DW.copy()
        subject.db = DB.copy()
        resetting.reset()
        np.testing.assert_array_equal(subject.dW, DW)
        np.testing.assert_array_equal(subject.grads["b"], DB)
        assert (subject.grads["W"], subject.db) == (None, None)
    assert (subject.dW is arrays[0], subject.grads["b"] is arrays[1]) == (True, True)
    np.testing.assert_array_equal(subject.W, np.full((2, 3), 2.0))


def test_the_first_call_changes_nothing() -> None:
    subject = layer(dW=DW.copy())
    Resetting(subject).reset()
    np.testing.assert_array_equal(subject.dW, DW)


def test_gradients_of_another_shape_than_before_go_and_those_that_are_read_only_stay() -> None:
    subject = layer(dW=DW.copy(), db=DB.copy())
    resetting = Resetting(subject)
    resetting.reset()
    subject.dW = np.ones((4, 2, 3))
    subject.db = DB + 1
    subject.db.flags.writeable = False
    resetting.reset()
    assert subject.dW is None
    np.testing.assert_array_equal(subject.db, DB + 1)
