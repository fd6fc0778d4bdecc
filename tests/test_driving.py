"""How code in other styles is driven: what it is passed, and where its output, gradients and updates are found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch import nn

from compare.diagnosis.diagnose import diagnose
from compare.driving.adapter import Adapted, adapt
from compare.driving.calling import RATE
from compare.driving.interface import Interface
from compare.driving.making import (
    ConversionError,
    Making,
    MistoldError,
    UndrivableError,
    UnsupportedError,
    construct,
)
from compare.pairs.layers import KNOWN_OPTIONS
from scratch import Array
from tests.foreign.linear_styles import (
    Adds,
    Base,
    Columns,
    KeepsBeside,
    KeepsInDictionary,
    KeepsInParameters,
    KeepsOutput,
    MakesWeightsLate,
    Numbered,
    ReturnsAll,
    ReturnsCache,
    ReturnsDictionary,
    ReturnsInputAndDictionary,
    TakesInputAgain,
    Updates,
    UpdatesAndShows,
    UpdatesByItsOwnRate,
)

pytestmark = pytest.mark.computes

RNG = np.random.default_rng(0)
W, B = RNG.standard_normal((2, 3)), RNG.standard_normal(2)
X, G = RNG.standard_normal((4, 3)), RNG.standard_normal((4, 2))
STATE = {"weight": W, "bias": B}
RIGHT = {"output": X @ W.T + B, "grad_input": G @ W, "grad_weight": G.T @ X, "grad_bias": G.sum(axis=0)}


STYLES: list[tuple[Callable[[], Any], set[str]]] = [
    (ReturnsAll, set()),
    (ReturnsDictionary, set()),
    (ReturnsInputAndDictionary, set()),
    (KeepsBeside, set()),
    (KeepsInDictionary, set()),
    (KeepsInParameters, set()),
    (Numbered, set()),
    (Adds, set()),
    (Updates, {"weight", "bias"}),
    (UpdatesByItsOwnRate, {"weight", "bias"}),
    (UpdatesAndShows, {"weight", "bias"}),
    (KeepsOutput, set()),
    (ReturnsCache, set()),
    (TakesInputAgain, set()),
    (MakesWeightsLate, set()),
    (Columns, set()),
]


def adapted(subject: Any, interface: Interface | None = None, state: Any = None, buffers: Any = ()) -> Adapted:
    module = adapt(subject, interface or Interface(), STATE if state is None else state, frozenset(buffers), "float64")
    assert isinstance(module, Adapted)
    return module


def driven(module: Adapted) -> dict[str, Array | None]:
    """Output and gradients of one call."""
    module.zero_grad()
    output = module(X)
    grad_input = module.backward(G)
    found = {"output": output, "grad_input": grad_input}
    return found | {f"grad_{name}": parameter.grad for name, parameter in module.named_parameters()}


@pytest.mark.parametrize(("style", "recovered"), STYLES, ids=[style.__name__ for style, _ in STYLES])
def test_every_style_gives_the_same(style: Callable[[], Any], recovered: set[str]) -> None:
    subject = style()
    module = adapted(subject)
    for _ in range(3):  # nothing is added up from call to call, and updates do not stay
        found = driven(module)
        assert found.keys() == RIGHT.keys()
        for name, expected in RIGHT.items():
            value = found[name]
            assert value is not None, name
            np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12, err_msg=name)
    assert module.recovered == recovered
    assert module.exact == ({"weight", "bias"} if style is UpdatesAndShows else {"weight", "bias"} - recovered)
    assert {name: parameter.data.tolist() for name, parameter in module.named_parameters()} == {
        "weight": W.tolist(),
        "bias": B.tolist(),
    }


def test_the_learning_rate_of_an_update_rounds_nothing() -> None:
    subject = UpdatesByItsOwnRate()
    module = adapted(subject)
    module(X)
    module.backward(G)
    assert subject.lr == RATE == 2.0 ** round(np.log2(RATE)) != 1  # by 1 one may multiply or divide
    np.testing.assert_allclose(subject.W, W - RATE * G.T @ X, rtol=1e-12)


def test_a_weight_that_an_update_leaves_out_has_the_gradient_zero() -> None:
    class Forgets(Base):
        def backward(self, g: Array, lr: float) -> Any:
            self.W -= lr * g.T @ self.x
            return g @ self.W

    found = driven(adapted(Forgets()))  # type: ignore[no-untyped-call]
    assert not np.any(found["grad_bias"])
    np.testing.assert_allclose(found["grad_weight"], RIGHT["grad_weight"], rtol=1e-12)  # type: ignore[arg-type]


def test_what_is_not_provided_is_none() -> None:
    class OnlyWeights(Base):
        def backward(self, g: Array) -> None:
            self.dW = g.T @ self.x

    found = driven(adapted(OnlyWeights()))  # type: ignore[no-untyped-call]
    assert (found["grad_input"], found["grad_bias"]) == (None, None)
    assert found["grad_weight"] is not None


def test_without_a_backward_the_output_is_all_that_is_given() -> None:
    class Forward(Base):
        pass

    found = driven(adapted(Forward()))  # type: ignore[no-untyped-call]
    np.testing.assert_allclose(found.pop("output"), RIGHT["output"], rtol=1e-12)  # type: ignore[arg-type]
    assert found == {"grad_input": None, "grad_weight": None, "grad_bias": None}


def test_a_layout_that_is_told_is_used_both_ways() -> None:
    class InOut(Base):
        def __init__(self) -> None:
            self.W, self.b = np.zeros((3, 2)), np.zeros(2)

        def forward(self, x: Array) -> Any:
            self.x = x
            return x @ self.W + self.b

        def backward(self, g: Array) -> Any:
            return g @ self.W.T, self.x.T @ g, g.sum(axis=0)

    found = driven(adapted(InOut(), Interface(parameters={"W": "weight:IO"})))
    for name, expected in RIGHT.items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-12, atol=1e-12)  # type: ignore[arg-type]


def test_names_that_are_told_come_before_those_that_are_usual() -> None:
    class Odd(Base):
        def go(self, x: Array) -> Any:
            self.result = super().forward(x)  # type: ignore[no-untyped-call]
            return "done"

        def forward(self, x: Array) -> Any:
            raise AssertionError(x)

        def back(self, g: Array) -> Any:
            self.one, self.two, self.three = self.parts(g)  # type: ignore[no-untyped-call]
            return 0.0, self.two

        backward = forward

    interface = Interface(
        "go",
        "back",
        {"W": "weight", "b": "bias"},
        {"one": "input", "1": "weight", "three": "bias"},
        output_from="result",
    )
    found = driven(adapted(Odd(), interface))  # type: ignore[no-untyped-call]
    for name, expected in RIGHT.items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-12, atol=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("interface", "message"),
    [
        (Interface("go"), "ReturnsAll has no method go"),
        (Interface(backward="back"), "ReturnsAll has no method back"),
        (Interface(parameters={"V": "weight"}), "there is no array V; there is W, b, x; correct --param"),
        (
            Interface(gradients={"dV": "weight"}),
            "there is no dV after backward; correct --grad dV=weight",
        ),
        (Interface(gradients={"3": "bias"}), "there is no 3 after backward"),
        (Interface(output_from="y.z"), "there is no y.z after forward; correct --output-from y.z"),
    ],
)
def test_what_is_told_wrongly_is_said(interface: Interface, message: str) -> None:
    subject = ReturnsAll()
    subject.forward(X)
    with pytest.raises(MistoldError, match=message):
        driven(adapted(subject, interface))


def test_what_cannot_be_found_is_listed() -> None:
    class Nothing:
        def forward(self, x: Array) -> Any:
            return x

    with pytest.raises(UndrivableError, match="object has no method called forward, __call__, forward_pass or the"):
        adapted(object())
    with pytest.raises(UndrivableError, match=r"cannot find bias \[2\], weight \[2, 3\]; arrays there: none; name it"):
        driven(adapted(Nothing()))
    subject: Any = Nothing()
    subject.b, subject.odd = np.zeros(2), np.zeros(7)
    with pytest.raises(UndrivableError, match=r"cannot find weight \[2, 3\]; arrays there: b \[2\], odd \[7\]"):
        driven(adapted(subject))


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (None, UndrivableError, "forward returns nothing, and no attribute is called output"),
        ("text", ConversionError, r"forward returned str of <U4: no array of real numbers"),
        (np.array([1j]), ConversionError, "forward returned ndarray of complex128"),
    ],
)
def test_an_output_that_is_none_is_said(returned: Any, error: type[Exception], message: str) -> None:
    class Wrong:
        def forward(self, x: Array) -> Any:
            assert np.array_equal(x, X)
            return returned

        def backward(self, g: Array) -> Any:
            return g

    with pytest.raises(error, match=message):
        adapted(Wrong(), state={})(X)


def test_a_gradient_that_is_none_is_said_and_in_evaluation_missing() -> None:
    class Wrong:
        def forward(self, x: Array) -> Any:
            return x

        def backward(self, g: Array) -> Any:
            if not self.training:
                raise RuntimeError("not in evaluation")
            return str(g.ndim)

        training = True

        def __init__(self) -> None:
            self.training = True

    module = adapted(Wrong(), state={})
    module(X)
    with pytest.raises(ConversionError, match="backward gave str of <U1: no real numbers"):
        module.backward(X)
    module.eval()
    module(X)
    assert module.backward(X) is None


class Modes:
    """Everything that may say whether it is training."""

    def __init__(self) -> None:
        self.training, self.mode, self.train_flg, self.rate = True, "train", 1, True

    def forward(self, x: Array, is_training: bool) -> Any:
        return x * (1.0 if is_training else 10.0)

    def backward(self, g: Array) -> Any:
        return g


def test_the_mode_is_told_in_every_way() -> None:
    subject = Modes()
    module = adapted(subject, state={})
    assert np.array_equal(module(X), X)
    module.eval()
    assert np.array_equal(module(X), 10 * X)
    assert (subject.training, subject.mode, subject.train_flg, subject.rate) == (False, "test", 1, True)
    module.train()
    assert (subject.training, subject.mode) == (True, "train")


def test_methods_that_switch_the_mode_are_called() -> None:
    class Switched(Modes):
        said = ""

        def train(self) -> None:
            self.said += "train "

        def eval(self) -> None:
            self.said += "eval "

    subject = Switched()
    module = adapted(subject, state={})
    module.eval()
    module.train()
    assert subject.said == "eval train "


# What a constructor is given


class Anything:
    def __init__(self, **options: Any) -> None:
        self.given = options


class InOrder:
    def __init__(self, first: int, second: int) -> None:
        self.given = first, second


class OneTooMany:
    def __init__(self, first: int, second: int, third: int) -> None:
        self.given = first, second, third


LINEAR = {"in_features": 3, "out_features": 2}


def test_everything_that_is_not_taken_is_listed() -> None:
    options = LINEAR | {"bias": False, "scale": 2, "slope": 0.5}
    with pytest.raises(UnsupportedError) as refused:
        construct(InOrder, Making(options, {"bias": True, "scale": 2, "slope": 1.0}, "float64"))
    assert str(refused.value) == "bias=False, slope=0.5"


def test_who_takes_any_options_gets_them_by_torchs_names() -> None:
    options = LINEAR | {"bias": False}
    assert construct(Anything, Making(options, {"bias": True}, "float64")).given == options


def test_arguments_that_do_not_say_what_they_are_get_the_required_options_in_torchs_order() -> None:
    given = Making(LINEAR, {"bias": True}, "float64")
    assert construct(InOrder, given).given == (3, 2)
    with pytest.raises(UndrivableError, match="OneTooMany: cannot tell what to pass as first, second, third"):
        construct(OneTooMany, given)


@pytest.mark.parametrize("dim", [1, -1])
def test_a_softmax_along_the_rows_needs_no_option_for_it(dim: int) -> None:
    Making({"dim": dim}, {}, "float64", about=KNOWN_OPTIONS).refuse(["dim"])


def test_a_softmax_along_another_axis_does() -> None:
    with pytest.raises(UnsupportedError, match="dim=0"):
        Making({"dim": 0}, {}, "float64", about=KNOWN_OPTIONS).refuse(["dim"])


class StarredReLU:
    def forward(self, *inputs: Any) -> Any:
        (self.x,) = inputs
        return np.maximum(self.x, 0)

    def backward(self, *gradients: Any) -> Any:
        (g,) = gradients
        return g * (self.x > 0)


def test_a_method_that_takes_any_number_of_arrays_is_given_each_once() -> None:
    assert diagnose(StarredReLU, like="relu").ok


class SummedArea:
    """The mean of windows of 3x3, one pixel apart, from a summed-area table; with a divisor of its own."""

    def __init__(self, divisor: float = 9.0) -> None:
        self.divisor = divisor

    @staticmethod
    def windows(x: Array) -> Array:
        table = np.pad(x.cumsum(2).cumsum(3), ((0, 0), (0, 0), (1, 0), (1, 0)))
        return table[:, :, 3:, 3:] - table[:, :, :-3, 3:] - table[:, :, 3:, :-3] + table[:, :, :-3, :-3]

    def forward(self, x: Array) -> Array:
        return self.windows(x) / self.divisor

    def backward(self, grad_output: Array) -> Array:
        return self.windows(np.pad(grad_output, ((0, 0), (0, 0), (2, 2), (2, 2)))) / self.divisor


@pytest.mark.parametrize("divisor", [None, 50])
def test_means_may_be_computed_in_another_way_than_window_by_window(divisor: int | None) -> None:
    own = SummedArea(divisor or 9.0)
    like = nn.AvgPool2d(3, 1, divisor_override=divisor)
    assert diagnose(own, like=like, with_example=False).ok
    assert not diagnose(SummedArea(10.0), like=like, with_example=False).ok


class Filters:
    """A convolution of gray images, one at a time, with 3x3 filters and no bias; it updates them itself."""

    def __init__(self, num_filters: int) -> None:
        self.filters = np.zeros((num_filters, 3, 3))

    def windows(self, image: Array) -> Array:
        return np.lib.stride_tricks.sliding_window_view(image, (3, 3))

    def forward(self, image: Array) -> Array:
        self.last_input = image
        return np.einsum("hwij,oij->hwo", self.windows(image), self.filters)

    def backprop(self, d_l_d_out: Array, learn_rate: float) -> None:
        self.filters -= learn_rate * np.einsum("hwo,hwij->oij", d_l_d_out, self.windows(self.last_input))


def test_a_convolution_may_have_a_size_of_its_own_and_no_bias() -> None:
    result = diagnose(Filters, like="conv2d", with_example=False)
    assert result.ok
    assert result.coverage.layout == "one image (H, W)"
    assert list(result.coverage.shares) == ["output", "grad_weight"]
    assert {"other values of kernel_size than its own, 3; bias (it has none)", "grad_input (not provided)"} <= {
        *result.coverage.gaps
    }


def test_a_loss_derived_from_a_registered_one_takes_the_same_targets() -> None:
    class Own(nn.CrossEntropyLoss):
        pass

    class Loss:
        def forward(self, scores: Array, targets: Array) -> Array:
            shifted = scores - scores.max(1, keepdims=True)
            logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
            self.chances, self.targets = np.exp(logs), targets
            return -logs[np.arange(len(targets)), targets].mean()

        def backward(self) -> Array:
            return (self.chances - np.eye(self.chances.shape[1])[self.targets]) / len(self.targets)

    assert diagnose(Loss, like=Own(), with_example=False).ok


def test_dropout_is_tried_on_enough_numbers_to_tell_its_share() -> None:
    class Drops:
        def __init__(self) -> None:
            self.training = True

        def forward(self, x: Array) -> Array:
            self.mask = (np.random.rand(*x.shape) < 0.5) * 2.0 if self.training else np.ones(x.shape)  # noqa: NPY002
            return x * self.mask

        def backward(self, grad_output: Array) -> Array:
            return grad_output * self.mask

    assert diagnose(Drops, like=nn.Dropout(0.5), with_example=False).ok
