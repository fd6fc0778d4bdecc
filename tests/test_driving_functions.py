"""How functions, losses and constructors in other styles are driven: what each argument is passed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch import nn

from compare.diagnosis.diagnose import diagnose
from compare.driving.interface import Interface
from compare.driving.making import Functions, Making, UndrivableError, UnsupportedError, construct
from compare.pairs.layers import KNOWN_OPTIONS
from scratch import Array
from tests.foreign.linear_styles import ReturnsAll
from tests.test_driving import RIGHT, X, adapted, driven

pytestmark = pytest.mark.computes

# Functions


def linear_forward(x: Array, w: Array, b: Array) -> Any:
    return x @ w.T + b, (x, w)


def linear_backward(dout: Array, cache: Any) -> Any:
    x, w = cache
    return dout @ w, dout.T @ x, dout.sum(axis=0)


def test_functions_are_given_weights_and_what_they_kept() -> None:
    found = driven(adapted(Functions(linear_forward, linear_backward, {})))
    for name, expected in RIGHT.items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-12, atol=1e-12)  # type: ignore[arg-type]


def test_a_derivative_is_multiplied_by_the_upstream_gradient() -> None:
    def relu(z: Array) -> Array:
        return np.maximum(z, 0)

    def relu_prime(z: Array) -> Array:
        return (z > 0) * 1.0

    module = adapted(Functions(relu, relu_prime, {}), state={})
    g = np.full_like(X, 3.0)
    assert np.array_equal(module(X), np.maximum(X, 0))
    assert np.array_equal(module.backward(g), 3.0 * (X > 0))


CLASSES = np.array([2, 0, 1, 1])
PROBABILITIES = np.exp(X) / np.exp(X).sum(axis=1, keepdims=True)
LOSS = -np.log(PROBABILITIES[np.arange(4), CLASSES]).mean()
GRAD_LOSS = (PROBABILITIES - np.eye(3)[CLASSES]) / 4


def loss_and_gradient(scores: Array, y: Array) -> Any:
    assert y.dtype.kind == "i"
    assert scores.shape == (4, 3)
    return LOSS, GRAD_LOSS.copy()


class TargetsFirst:
    def forward(self, y_true: Array, y_pred: Array) -> Any:
        assert y_true.ndim == 1
        assert y_pred.shape == (4, 3)
        return LOSS

    def backward(self, y_true: Array, y_pred: Array) -> Any:
        assert y_true.ndim == 1
        assert y_pred.shape == (4, 3)
        return GRAD_LOSS.copy()


class TakesUpstream:
    def forward(self, x: Array, t: Array) -> Any:
        assert (x.shape, t.shape) == ((4, 3), (4,))
        return [[LOSS]]

    def backward(self, dout: float = 1.0) -> Any:
        return dout * GRAD_LOSS


@pytest.mark.parametrize("upstream", [1.0, 0.5])
@pytest.mark.parametrize(
    "subject", [Functions(loss_and_gradient, None, {}), TargetsFirst(), TakesUpstream()], ids=["one", "two", "three"]
)
def test_a_loss_gets_scores_and_targets_and_its_gradient_is_scaled(subject: Any, upstream: float) -> None:
    module = adapted(subject, state={})
    loss = module(X, CLASSES)
    assert (loss.shape, float(loss)) == ((), LOSS)
    np.testing.assert_allclose(module.backward(np.asarray(upstream)), upstream * GRAD_LOSS, rtol=1e-12)
    np.testing.assert_allclose(module.backward(), GRAD_LOSS, rtol=1e-12)


def test_targets_become_one_hot_where_that_is_told() -> None:
    class OneHot:
        def forward(self, x: Array, targets: Array) -> Any:
            assert np.array_equal(targets, np.eye(3)[CLASSES])
            assert targets.dtype == x.dtype
            return LOSS

        def backward(self) -> Any:
            return GRAD_LOSS.copy()

    assert float(adapted(OneHot(), Interface(targets="one-hot"), {})(X, CLASSES)) == LOSS


def test_an_argument_that_nobody_knows_is_named() -> None:
    class Asks(ReturnsAll):
        def forward(self, x: Array, magic: Any) -> Any:  # type: ignore[override]
            return x + magic

    with pytest.raises(UndrivableError, match="cannot tell what to pass as magic; give that argument a default"):
        driven(adapted(Asks()))  # type: ignore[no-untyped-call]


def test_a_target_is_passed_to_a_loss_only() -> None:
    class Asks(ReturnsAll):
        def backward(self, label: Array, grad_output: Array) -> Any:  # type: ignore[override]
            return grad_output + label

    with pytest.raises(UndrivableError, match="cannot tell what to pass as label; give that argument a default"):
        driven(adapted(Asks()))  # type: ignore[no-untyped-call]


# Constructors


def making(options: dict[str, Any], **how: Any) -> Making:
    return Making(options, {"bias": True, "stride": 1, "padding": 0}, "float64", about=KNOWN_OPTIONS, **how)


def test_constructors_are_given_options_under_their_own_names() -> None:
    class Own:
        def __init__(
            self, n_filters: int, in_ch: int, ksize: Any, s: Any = 1, *, pad: int = 0, scale: float = 2
        ) -> None:
            self.given = n_filters, in_ch, ksize, s, pad, scale

    options = {"in_channels": 2, "out_channels": 5, "kernel_size": (3, 3), "stride": (2, 2), "padding": 1}
    assert construct(Own, making(options)).given == (5, 2, 3, 2, 1, 2)
    assert construct(Own, making(options, size_pairs=True)).given == (5, 2, (3, 3), (2, 2), (1, 1), 2)
    with pytest.raises(UnsupportedError, match="bias=False"):
        construct(Own, making(options | {"bias": False}))
    assert construct(Own, making(options | {"bias": False}, fixed=True)).given[0] == 5


def test_an_object_is_copied_and_never_used_itself() -> None:
    subject = ReturnsAll()
    copied = construct(subject, making({}))
    assert copied is not subject
    copied.W[...] = 1
    assert not subject.W.any()


def test_an_argument_called_like_a_weight_is_no_weight_of_a_layer_that_has_none() -> None:
    def forward(x: Any, kernel: int) -> Any:
        n, c, h, w = x.shape
        cut = x[:, :, : h // kernel * kernel, : w // kernel * kernel]
        blocks = cut.reshape(n, c, h // kernel, kernel, w // kernel, kernel)
        return blocks.mean(axis=(3, 5)), (x, kernel)

    def backward(grad_output: Any, cache: Any) -> Any:
        x, kernel = cache
        grad_input = np.zeros_like(x)
        spread = np.repeat(np.repeat(grad_output, kernel, 2), kernel, 3) / kernel**2
        grad_input[:, :, : spread.shape[2], : spread.shape[3]] = spread
        return grad_input

    assert diagnose((forward, backward), like=nn.AvgPool2d(2), with_example=False).ok


def test_a_layer_with_three_sides_is_driven() -> None:
    class Pointwise:
        def __init__(self) -> None:
            self.W, self.b = np.zeros((1, 1, 1, 1, 1)), np.zeros(1)

        def forward(self, x: Any) -> Any:
            self.x = x
            return x * self.W.item() + self.b.item()

        def backward(self, grad_output: Any) -> Any:
            self.dW, self.db = np.full((1, 1, 1, 1, 1), (grad_output * self.x).sum()), np.array([grad_output.sum()])
            return grad_output * self.W.item()

    assert diagnose(Pointwise, like=nn.Conv3d(1, 1, 1), input_shape=(1, 3, 3, 3), with_example=False).ok
