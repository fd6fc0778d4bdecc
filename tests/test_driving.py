"""How code in other styles is driven: what it is passed, and where its output, gradients and updates are found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from compare.diagnosis.adapter import Adapted, adapt
from compare.diagnosis.interface import Interface
from compare.diagnosis.making import Functions, Making, MistoldError, UndrivableError, UnsupportedError, construct
from compare.diagnosis.optimizers import AdaptedOptimizer, adapt_optimizer
from scratch import Array, Parameter

pytestmark = pytest.mark.computes

RNG = np.random.default_rng(0)
W, B = RNG.standard_normal((2, 3)), RNG.standard_normal(2)
X, G = RNG.standard_normal((4, 3)), RNG.standard_normal((4, 2))
STATE = {"weight": W, "bias": B}
RIGHT = {"output": X @ W.T + B, "grad_input": G @ W, "grad_weight": G.T @ X, "grad_bias": G.sum(axis=0)}


class Base:
    """A linear layer; what follows differs in where things are."""

    def __init__(self) -> None:
        self.W, self.b = np.zeros((2, 3)), np.zeros(2)

    def forward(self, x: Array) -> Any:
        self.x = x
        return x @ self.W.T + self.b

    def parts(self, g: Array) -> tuple[Array, Array, Array]:
        return g @ self.W, g.T @ self.x, g.sum(axis=0)


class ReturnsAll(Base):
    def backward(self, g: Array) -> Any:
        return self.parts(g)


class ReturnsDictionary(Base):
    def backward(self, g: Array) -> Any:
        dx, dw, db = self.parts(g)
        return {"db": db, "dx": dx, "dW": dw}


class ReturnsInputAndDictionary(Base):
    def backward(self, g: Array) -> Any:
        dx, dw, db = self.parts(g)
        return dx, {"b": db, "W": dw}


class KeepsBeside(Base):
    def backward(self, g: Array) -> Any:
        self.dx, self.dW, self.db = self.parts(g)


class KeepsInDictionary(Base):
    def backward(self, g: Array) -> Any:
        dx, dw, db = self.parts(g)
        self.grads = {"W": dw, "b": db}
        return dx


class Held:
    def __init__(self, shape: tuple[int, ...]) -> None:
        self.data, self.grad = np.zeros(shape), np.zeros(shape)


class KeepsInParameters(Base):
    def __init__(self) -> None:
        self.weight, self.bias = Held((2, 3)), Held((2,))

    def forward(self, x: Array) -> Any:
        self.x, self.held = x, self.weight.data
        return x @ self.held.T + self.bias.data

    def backward(self, g: Array) -> Any:
        self.weight.grad += g.T @ self.x
        self.bias.grad += g.sum(axis=0)
        return g @ self.held


class Numbered(Base):
    def __init__(self) -> None:
        self.params = {"W1": np.zeros((2, 3)), "b1": np.zeros((1, 2))}
        self.grads = {"W2": np.full((2, 3), 5.0)}

    def forward(self, x: Array) -> Any:
        self.x, self.W = x, self.params["W1"]
        return x @ self.W.T + self.params["b1"]

    def backward(self, g: Array) -> Any:
        dx, dw, db = self.parts(g)
        self.grads |= {"W1": dw, "b1": db[None]}
        return dx


class Adds(Base):
    def __init__(self) -> None:
        super().__init__()
        self.dW, self.db = np.zeros((2, 3)), np.zeros(2)

    def backward(self, g: Array) -> Any:
        dx, dw, db = self.parts(g)
        self.dW += dw
        self.db += db
        return dx


class Updates(Base):
    def backprop(self, g: Array, learning_rate: float) -> Any:
        dx, dw, db = self.parts(g)
        self.W -= learning_rate * dw
        self.b -= learning_rate * db
        return dx


class UpdatesByItsOwnRate(Base):
    def __init__(self) -> None:
        super().__init__()
        self.lr = 0.01

    def backward(self, g: Array) -> Any:
        return Updates.backprop(self, g, self.lr)  # type: ignore[arg-type]


class UpdatesAndShows(Base):
    def backward(self, g: Array, lr: float) -> Any:
        dx, self.dW, self.db = self.parts(g)
        self.W -= lr * self.dW
        self.b -= lr * self.db
        return dx


class KeepsOutput(Base):
    def forward(self, x: Array) -> Any:
        self.output = super().forward(x)

    backward = ReturnsAll.backward


class ReturnsCache(Base):
    def forward(self, x: Array) -> Any:
        return super().forward(x), (x, self.W)

    def backward(self, cache: Any, dout: Array) -> Any:
        x, w = cache
        return dout @ w, dout.T @ x, dout.sum(axis=0)


class TakesInputAgain(Base):
    def backward(self, x: Array, grad_output: Array) -> Any:
        return grad_output @ self.W, grad_output.T @ x, grad_output.sum(axis=0)


class MakesWeightsLate(Base):
    def __init__(self) -> None:
        self.W: Any = None
        self.b: Any = None

    def forward(self, x: Array) -> Any:
        if self.W is None:
            self.W, self.b = np.zeros((2, x.shape[1])), np.zeros(2)
        return super().forward(x)

    backward = ReturnsAll.backward


class Columns(Base):
    """The bias is a column."""

    def __init__(self) -> None:
        self.W, self.b = np.zeros((2, 3)), np.zeros((2, 1))

    def forward(self, x: Array) -> Any:
        self.x = x
        return (self.W @ x.T + self.b).T

    def backward(self, g: Array) -> Any:
        dx, dw, db = self.parts(g)
        return dx, dw, db[:, None]


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
    assert subject.lr == 1.0
    np.testing.assert_allclose(subject.W, W - G.T @ X, rtol=1e-12)


def test_a_weight_that_an_update_leaves_out_has_the_gradient_zero() -> None:
    class Forgets(Base):
        def backward(self, g: Array, lr: float) -> Any:
            self.W -= lr * g.T @ self.x
            return g @ self.W

    found = driven(adapted(Forgets()))
    assert not np.any(found["grad_bias"])
    np.testing.assert_allclose(found["grad_weight"], RIGHT["grad_weight"], rtol=1e-12)  # type: ignore[arg-type]


def test_what_is_not_provided_is_none() -> None:
    class OnlyWeights(Base):
        def backward(self, g: Array) -> None:
            self.dW = g.T @ self.x

    found = driven(adapted(OnlyWeights()))
    assert (found["grad_input"], found["grad_bias"]) == (None, None)
    assert found["grad_weight"] is not None


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
            self.result = super().forward(x)
            return "done"

        def forward(self, x: Array) -> Any:
            raise AssertionError(x)

        def back(self, g: Array) -> Any:
            self.one, self.two, self.three = self.parts(g)
            return 0.0, self.two

        backward = forward

    interface = Interface(
        "go",
        "back",
        {"W": "weight", "b": "bias"},
        {"one": "input", "1": "weight", "three": "bias"},
        output_from="result",
    )
    found = driven(adapted(Odd(), interface))
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

    with pytest.raises(UndrivableError, match="Nothing has no method called backward, backprop, backward_pass or the"):
        adapted(Nothing())
    Nothing.backward = Nothing.forward  # type: ignore[attr-defined]
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
        ("text", TypeError, r"forward returned str of <U4: no array of real numbers"),
        (np.array([1j]), TypeError, "forward returned ndarray of complex128"),
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
    with pytest.raises(TypeError, match="backward gave str of <U1: no real numbers"):
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
        driven(adapted(Asks()))


def test_a_target_is_passed_to_a_loss_only() -> None:
    class Asks(ReturnsAll):
        def backward(self, y: Array, grad_output: Array) -> Any:  # type: ignore[override]
            return grad_output + y

    with pytest.raises(UndrivableError, match="cannot tell what to pass as y; give that argument a default"):
        driven(adapted(Asks()))


# Constructors


def making(options: dict[str, Any], **how: Any) -> Making:
    return Making(options, {"bias": True, "stride": 1, "padding": 0}, "float64", **how)


def test_constructors_are_given_options_under_their_own_names() -> None:
    class Own:
        def __init__(
            self, n_filters: int, in_ch: int, ksize: Any, s: Any = 1, *, pad: int = 0, scale: float = 2
        ) -> None:
            self.given = n_filters, in_ch, ksize, s, pad, scale

    options = {"in_channels": 2, "out_channels": 5, "kernel_size": (3, 3), "stride": (2, 2), "padding": 1}
    assert construct(Own, making(options)).given == (5, 2, 3, 2, 1, 2)
    assert construct(Own, making(options, pairs=True)).given == (5, 2, (3, 3), (2, 2), (1, 1), 2)
    with pytest.raises(UnsupportedError, match="bias=False"):
        construct(Own, making(options | {"bias": False}))
    assert construct(Own, making(options | {"bias": False}, fixed=True)).given[0] == 5


def test_an_object_is_copied_and_never_used_itself() -> None:
    subject = ReturnsAll()
    copied = construct(subject, making({}))
    assert copied is not subject
    copied.W[...] = 1
    assert not subject.W.any()


# Optimizers

START, GRADIENTS = [np.array([1.0, -2.0]), np.array([[3.0]])], [np.array([0.5, 0.25]), np.array([[-1.0]])]


class Stepping:
    def __init__(self, params: list[Parameter], lr: float) -> None:
        self.params, self.lr = params, lr

    def step(self) -> None:
        for p in self.params:
            if p.grad is not None:
                p.data -= self.lr * p.grad


class ByDictionary:
    def __init__(self, lr: float = 0.1) -> None:
        self.lr, self.calls = lr, 0

    def update(self, params: dict[str, Array], grads: dict[str, Array]) -> None:
        for key in params.keys():  # noqa: SIM118 - a list has none
            params[key] = params[key] - self.lr * grads[key]


class ByList:
    def __init__(self, learning_rate: float) -> None:
        self.learning_rate, self.t = learning_rate, 0

    def apply_gradients(self, weights: list[Array], gradients: list[Array]) -> list[Array]:
        self.t += 1
        return [w - self.learning_rate * g for w, g in zip([*weights], gradients, strict=True)]


class OneByOne:
    def __init__(self, lr: float) -> None:
        self.lr, self.seen = lr, 0

    def update(self, w: Array, dw: Array) -> Array:
        self.seen += 1
        return w - self.lr * dw


def sgd(w: Array, dw: Array, config: Any = None) -> Any:
    config = {} if config is None else config
    config.setdefault("steps", 0)
    config["steps"] += 1
    return w - config["learning_rate"] * dw, config


@pytest.mark.parametrize("factory", [Stepping, ByDictionary, ByList, OneByOne, sgd])
def test_every_form_of_optimizer_takes_the_same_steps(factory: Any) -> None:
    parameters = [Parameter(array.copy()) for array in START]
    made = adapt_optimizer(factory, parameters, Making({"lr": 0.5}, {"lr": 0.001}, "float64"))
    assert isinstance(made, AdaptedOptimizer)
    expected = [array.copy() for array in START]
    arrays = [parameter.data for parameter in parameters]
    for rate in (0.5, 0.5, 0.25):
        made.lr = rate
        assert made.lr == rate
        made.zero_grad()
        assert all(parameter.grad is None for parameter in parameters)
        for parameter, gradient, value in zip(parameters, GRADIENTS, expected, strict=True):
            parameter.grad = gradient.copy()
            value -= rate * gradient
        made.step()
        for parameter, array, value in zip(parameters, arrays, expected, strict=True):
            assert parameter.data is array
            np.testing.assert_allclose(array, value, rtol=1e-12)
    parameters[0].grad = None
    made.step()
    np.testing.assert_array_equal(parameters[0].data, expected[0])
    if factory is ByList:  # the first try of a step, with dictionaries, is undone
        assert made.subjects[0].t == 4
    if factory is OneByOne:
        assert [subject.seen for subject in made.subjects] == [3, 4]
    if factory is sgd:
        assert [subject.settings["steps"] for subject in made.subjects] == [3, 4]


def test_our_own_optimizer_stays_what_it_is() -> None:
    import scratch

    parameters = [Parameter(array.copy()) for array in START]
    made = adapt_optimizer(scratch.SGD, parameters, Making({"lr": 0.5, "momentum": 0.5}, {}, "float64"))
    assert type(made) is scratch.SGD
    assert made.lr == 0.5


def test_an_optimizer_that_cannot_be_driven_is_said() -> None:
    class NoStep:
        pass

    class NoRate:
        def step(self) -> None:
            pass

    with pytest.raises(UndrivableError, match="NoStep has no method called step, update, apply_gradients or the like"):
        adapt_optimizer(NoStep, [], Making({}, {}, "float64"))
    made = adapt_optimizer(NoRate, [], Making({}, {}, "float64"))
    with pytest.raises(UndrivableError, match="NoRate has no attribute called lr or learning_rate to change"):
        made.lr = 0.5
