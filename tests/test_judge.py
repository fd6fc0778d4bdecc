"""What a verdict may say: the natural reading is judged, coverage decides over "right", and outcomes are three."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch import nn

from compare.diagnosis.diagnose import diagnose
from compare.diagnosis.verdict import Diagnosis
from scratch import Array

# ---- Readings: none is chosen because the numbers then agree.


class SoftmaxOfAll:
    """The sum runs over everything."""

    def forward(self, z: Array) -> Array:
        e = np.exp(z - z.max())
        self.p: Array = e / e.sum()
        return self.p

    def backward(self, g: Array) -> Array:
        return self.p * (g - (g * self.p).sum())


class SoftmaxOfImages:
    """The sums run over the first axis."""

    def forward(self, z: Array) -> Array:
        e = np.exp(z - z.max(axis=0))
        self.p: Array = e / e.sum(axis=0)
        return self.p

    def backward(self, g: Array) -> Array:
        return self.p * (g - (g * self.p).sum(axis=0))


class SoftmaxOfRows(SoftmaxOfImages):
    """Rows are images, as everywhere in this network."""


class SummedLoss:
    def forward(self, scores: Array, onehot: Array) -> Any:
        shifted = scores - scores.max(axis=-1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        self.p, self.t = np.exp(log_p), onehot
        return -(onehot * log_p).sum()

    def backward(self) -> Array:
        return self.p - self.t


class SquaredErrorByImages:
    def forward(self, p: Array, t: Array) -> Any:
        self.p, self.t = p, t
        return ((p - t) ** 2).sum() / len(p)

    def backward(self) -> Array:
        return 2 * (self.p - self.t) / len(self.p)


BATCH = "wrong for a batch (N, C); "


@pytest.mark.parametrize(
    ("candidate", "like", "headline", "option"),
    [
        (SoftmaxOfAll, "softmax", "right for one image (C,): if that is meant, --layout C", {"layout": "C"}),
        (SoftmaxOfAll, nn.Softmax(1), "right for one image (C,): if that is meant, --layout C", {"layout": "C"}),
        (
            SoftmaxOfImages,
            "softmax",
            "right for a batch of columns (C, N): if that is meant, --layout CN",
            {"layout": "CN"},
        ),
        (SummedLoss, "cross_entropy", "right for one image (C,): if that is meant, --layout C", {"layout": "C"}),
        (
            SquaredErrorByImages,
            nn.MSELoss(),
            "right for one image (C,): if that is meant, --layout C",
            {"layout": "C"},
        ),
    ],
)
def test_what_is_right_under_another_reading_only_is_wrong_and_says_how_to_ask_for_it(
    candidate: type, like: Any, headline: str, option: dict[str, Any]
) -> None:
    natural = diagnose(candidate, like=like, with_example=False)
    assert (natural.outcome, natural.headline()) == ("wrong", BATCH + headline)
    assert natural.alternatives[0].option == option
    asked = diagnose(candidate, like=like, with_example=False, **option)
    assert asked.outcome == "right", asked.headline()
    assert asked.coverage.layout == natural.alternatives[0].words
    assert asked.coverage.layout in str(asked.coverage)


def test_a_softmax_over_the_images_whose_rows_are_images_is_told_that_its_axis_is_wrong() -> None:
    result = diagnose(SoftmaxOfRows, like="softmax", with_example=False)
    assert result.headline() == (
        BATCH + "right for a batch of columns (C, N): it works along other axes than it is described for"
    )
    assert result.alternatives[0].against
    assert result.as_json()["alternatives"][0]["flags"] == ""


class SwappedPool:
    """The output has the width where the height should be."""

    def forward(self, x: Array) -> Array:
        n, c, h, w = x.shape
        y = np.zeros((n, c, w // 2, h // 2))
        for i, j in np.ndindex(w // 2, h // 2):
            y[:, :, i, j] = x[:, :, 2 * j : 2 * j + 2, 2 * i : 2 * i + 2].max(axis=(2, 3))
        return y


def test_a_pool_that_exchanges_height_and_width_is_wrong() -> None:
    result = diagnose(SwappedPool, like=nn.MaxPool2d(2), with_example=False)
    assert (result.outcome, result.first_wrong, result.alternatives) == ("wrong", "output", ())


class DropsNegative:
    def forward(self, x: Array) -> Array:
        self.x = x
        return np.maximum(x, 0)

    def backward(self, eta: Array) -> Array:
        return eta * (self.x > 0) * (eta > 0)


class TakesEta(DropsNegative):
    def backward(self, eta: Array) -> Array:
        return eta * (self.x > 0)


class TakesNoGradient(DropsNegative):
    def backward(self) -> Any:  # type: ignore[override]
        return (self.x > 0) * 1.0


def test_an_argument_called_like_a_learning_rate_may_be_the_upstream_gradient() -> None:
    assert diagnose(TakesEta, like="relu", with_example=False).outcome == "right"
    dropped = diagnose(DropsNegative, like="relu", with_example=False)
    assert (dropped.outcome, dropped.first_wrong) == ("wrong", "grad_input")


def test_a_backward_that_takes_no_upstream_gradient_is_wrong_and_told_why() -> None:
    result = diagnose(TakesNoGradient, like="relu", with_example=False)
    assert (result.outcome, result.name) == ("wrong", "upstream-gradient-not-taken")


# ---- Coverage


class EvenPool:
    def forward(self, x: Array) -> Array:
        n, c, h, w = x.shape
        assert h % 2 == 0
        assert w % 2 == 0
        self.shape = x.shape
        blocks = x.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h // 2, w // 2, 4)
        self.winner = blocks.argmax(-1)
        return blocks.max(-1)

    def backward(self, g: Array) -> Array:
        n, c, h, w = self.shape
        spread = np.eye(4)[self.winner] * g[..., None]
        spread = spread.reshape(n, c, h // 2, w // 2, 2, 2).transpose(0, 1, 2, 4, 3, 5)
        return spread.reshape(self.shape)


class EvenPoolAllTies(EvenPool):
    def forward(self, x: Array) -> Array:
        n, c, h, w = x.shape
        assert h % 2 == 0
        assert w % 2 == 0
        self.blocks, self.shape = x.reshape(n, c, h // 2, 2, w // 2, 2), x.shape
        self.y: Array = self.blocks.max(axis=(3, 5))
        return self.y

    def backward(self, g: Array) -> Array:
        mask = self.blocks == self.y[:, :, :, None, :, None]
        return (mask * g[:, :, :, None, :, None]).reshape(self.shape)


class SquareEvenPool(EvenPool):
    def forward(self, x: Array) -> Array:
        if x.shape[2] != x.shape[3]:
            raise ValueError("square images only")
        return super().forward(x)


class BreakingPool(EvenPool):
    def forward(self, x: Array) -> Array:
        n, c, h, w = x.shape
        self.shape = x.shape
        blocks = x.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h // 2, w // 2, 4)
        self.winner = blocks.argmax(-1)
        return blocks.max(-1)


@pytest.mark.parametrize("like", [nn.MaxPool2d(2), "maxpool2d"])
def test_code_that_takes_even_sides_only_gets_even_sides_as_many_as_code_that_takes_all(like: Any) -> None:
    result = diagnose(EvenPool, like=like, with_example=False)
    assert result.outcome == "right", result.headline()
    assert "not compared: odd sides" in str(result.coverage)
    mistaken = diagnose(EvenPoolAllTies, like=like, with_example=False)
    assert (mistaken.outcome, mistaken.name) == ("wrong", "maxpool2d-all-ties-win")
    assert mistaken.coverage.inputs == result.coverage.inputs


def test_what_takes_too_few_kinds_of_input_is_not_judged() -> None:
    result = diagnose(SquareEvenPool, like=nn.MaxPool2d(2), with_example=False)
    assert result.outcome == "not_judged"
    assert result.headline().startswith("not judged: too little could be compared: 67% of the kinds of input")
    assert set(result.coverage.missed) == {"odd sides", "sides of two lengths"}
    assert not any(row.problem for row in result.report.rows)


def test_an_exception_of_numpys_on_an_input_that_torch_takes_is_wrong() -> None:
    result = diagnose(BreakingPool, like=nn.MaxPool2d(2), with_example=False)
    assert result.outcome == "wrong"
    assert "inputs that torch takes (odd sides): raised ValueError: cannot reshape array" in result.headline()


class ForwardOnly:
    def forward(self, x: Array) -> Array:
        return np.maximum(x, 0)


class LosesItsGradient:
    def __init__(self, in_features: int, out_features: int) -> None:
        self.W, self.b = np.zeros((out_features, in_features)), np.zeros(out_features)

    def forward(self, x: Array) -> Array:
        self.x = x
        y: Array = x @ self.W.T + self.b
        return y

    def backward(self, g: Array) -> Array:
        self.something, self.else_ = g.T @ self.x, g.sum(axis=0)
        grad_input: Array = g @ self.W
        return grad_input


def test_what_is_not_provided_is_in_the_coverage_and_what_is_lost_is_not_judged() -> None:
    forward = diagnose(ForwardOnly, like="relu", with_example=False)
    assert forward.outcome == "right"
    assert "not compared: backward (not provided)" in str(forward.coverage)
    lost = diagnose(LosesItsGradient, like="linear", with_example=False)
    assert lost.outcome == "not_judged"
    assert "--grad OWN=weight" in lost.headline()
    told = {"something": "weight", "else_": "bias"}
    assert diagnose(LosesItsGradient, like="linear", gradients=told, with_example=False).outcome == "right"


def test_options_that_are_never_set_are_said() -> None:
    class Loss:
        def forward(self, x: Array, t: Array) -> Any:
            shifted = x - x.max(axis=1, keepdims=True)
            self.log_p, self.t = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), t
            return -self.log_p[np.arange(len(t)), t].mean()

        def backward(self) -> Array:
            g = np.exp(self.log_p)
            g[np.arange(len(self.t)), self.t] -= 1
            return g / len(self.t)

    named = diagnose(Loss, like="cross_entropy", with_example=False)
    assert "weight, ignore_index, label_smoothing (not tried)" in str(named.coverage)
    assert "ignore_index (not tried)" in str(diagnose(Loss, like=nn.CrossEntropyLoss(), with_example=False).coverage)
    asked = diagnose(Loss, like=nn.CrossEntropyLoss(ignore_index=2), with_example=False)
    assert asked.outcome == "wrong"


class Flat:
    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        return x.reshape(1, -1)

    def backward(self, g: Array) -> Array:
        return g.reshape(self.shape)


class FlatOfBatch(Flat):
    """Flattens each image of a batch (N, C, H, W)."""


def test_one_row_for_a_whole_batch_is_wrong_whatever_its_shape() -> None:
    flat = diagnose(Flat, like="flatten", with_example=False)
    assert flat.outcome == "wrong"
    assert flat.headline().startswith(
        "wrong for a batch (N, C, H, W); right for one image (C, H, W): if that is meant, "
    )
    assert diagnose(Flat, like="flatten", with_example=False, **flat.alternatives[0].option).outcome == "right"
    assert diagnose(FlatOfBatch, like="flatten", with_example=False).outcome == "wrong"


class FirstImageOnly(LosesItsGradient):
    def forward(self, x: Array) -> Array:
        return super().forward(x)[:1]


def test_what_computes_the_first_image_only_is_wrong() -> None:
    result = diagnose(FirstImageOnly, like="linear", with_example=False)
    assert (result.outcome, result.first_wrong, result.alternatives) == ("wrong", "output", ())


def relu(z: Array) -> Array:
    return np.maximum(z, 0)


def relu_backward(dA: Array, Z: Array) -> Array:  # noqa: N803
    gradient = np.array(dA)
    gradient[Z <= 0] = 0
    return gradient


def leaky(x: Array, alpha: float = 0.01) -> Array:
    return np.where(x > 0, x, alpha * x)


def leaky_backward(dout: Array, x: Array, alpha: float = 0.01) -> Array:
    return dout * np.where(x > 0, 1.0, alpha)


def sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def sigmoid_derivative(a: Array) -> Array:
    return a * (1 - a)


@pytest.mark.parametrize(
    ("functions", "like"),
    [
        ((relu, relu_backward), "relu"),
        ((leaky, leaky_backward), nn.LeakyReLU()),
        ((sigmoid, sigmoid_derivative), nn.Sigmoid()),
    ],
)
def test_backward_is_given_the_input_or_the_output_again_by_the_names_of_its_arguments(
    functions: tuple[Any, Any], like: Any
) -> None:
    result = diagnose(functions, like=like, with_example=False)
    assert result.outcome == "right", result.headline()
    assert "grad_input" in result.coverage.shares


def test_a_backward_that_is_not_implemented_is_none() -> None:
    class Base(ForwardOnly):
        def backward(self, g: Array) -> Array:
            raise NotImplementedError

    result = diagnose(Base, like="relu", with_example=False)
    assert result.headline().startswith("right, forward only: ")


class Momentum:
    def __init__(self, lr: float = 0.1) -> None:
        self.lr = lr

    def step(self, params: dict[str, Array], grads: dict[str, Array]) -> None:
        for name, gradient in grads.items():
            params[name] -= self.lr * gradient


def test_the_step_of_an_optimizer_is_no_training_step() -> None:
    assert diagnose(Momentum, like="sgd", with_example=False).outcome == "right"


def test_an_argument_that_is_accepted_and_never_set_counts_as_a_kind_that_is_missing() -> None:
    class Pool(EvenPool):
        def __init__(self, kernel_size: int = 2, dilation: int = 1, ceil_mode: bool = False) -> None:
            del dilation, ceil_mode
            assert kernel_size == 2, "only 2"

    result = diagnose(Pool, like="maxpool2d", with_example=False)
    assert {"dilation", "ceil_mode"} <= set(result.coverage.missed)


class Remarkable:
    """One gradient adds up, the other does not; the eps is another."""

    def __init__(self, in_features: int, out_features: int) -> None:
        self.W, self.b = np.zeros((out_features, in_features)), np.zeros(out_features)
        self.db = np.zeros(out_features)

    def forward(self, x: Array) -> Array:
        self.x = x
        y: Array = x @ self.W.T + self.b
        return y

    def backward(self, g: Array) -> Array:
        self.dW = g.T @ self.x
        self.db += g.sum(axis=0)
        grad_input: Array = g @ self.W
        return grad_input


def test_gradients_that_behave_differently_are_remarked_upon() -> None:
    result = diagnose(Remarkable, like="linear", with_example=False)
    assert result.outcome == "right"
    assert "a second backward adds to db and overwrites dW: db must be set to zero before each" in result.remarks


def test_defaults_that_are_others_than_torchs_are_remarked_upon() -> None:
    class Own(ForwardOnly):
        def __init__(self, negative_slope: float = 0.0) -> None:
            del negative_slope

    result = diagnose(Own, like="relu", with_example=False)
    assert result.remarks == ()

    class Drop:
        def __init__(self, p: float = 0.3) -> None:
            self.p, self.training = p, True

        def forward(self, x: Array) -> Array:
            kept = np.random.rand(*x.shape) >= self.p  # noqa: NPY002
            self.mask = kept / (1 - self.p) if self.training else np.ones_like(x)
            return x * self.mask

        def backward(self, g: Array) -> Array:
            return g * self.mask

    assert "its default p is 0.3, torch's p is 0.5" in diagnose(Drop, like="dropout", with_example=False).remarks


class Columns:
    """Columns; the gradient of the bias has the shape of the bias."""

    keepdims = True

    def __init__(self, n_in: int, n_out: int) -> None:
        self.W, self.b = np.zeros((n_out, n_in)), np.zeros((n_out, 1))

    def forward(self, x: Array) -> Array:
        self.x = x
        y: Array = self.W @ x + self.b
        return y

    def backward(self, g: Array) -> Array:
        self.dW, self.db = g @ self.x.T, g.sum(axis=1, keepdims=self.keepdims)
        grad_input: Array = self.W.T @ g
        return grad_input


class FlatBias(Columns):
    keepdims = False


class FlatBiasThatUpdates(Columns):
    def backward(self, g: Array, lr: float) -> Array:  # type: ignore[override]
        grad_input: Array = self.W.T @ g
        self.dW, self.db = g @ self.x.T, g.sum(axis=1)
        self.W -= lr * self.dW
        self.b -= lr * self.db[:, None]
        return grad_input


def test_a_gradient_that_cannot_be_subtracted_from_its_weight_is_wrong_by_its_shape() -> None:
    assert diagnose(Columns, like="linear", with_example=False).outcome == "right"
    flat = diagnose(FlatBias, like="linear", with_example=False)
    assert (flat.outcome, flat.first_wrong, flat.name) == ("wrong", "grad_bias", "gradient-of-another-shape")
    assert "its shape is [4] instead of [4, 1]" in flat.headline()
    assert diagnose(FlatBiasThatUpdates, like="linear", with_example=False).outcome == "right"


# ---- A network with its own step


class Net:
    """12-8-5, with a step of its own."""

    factor = -1.0

    def __init__(self, lr: float = 0.1) -> None:
        rng = np.random.default_rng(0)
        self.lr = lr
        self.W1, self.b1 = rng.normal(size=(12, 8)) / 4, np.zeros(8)
        self.W2, self.b2 = rng.normal(size=(8, 5)) / 3, np.zeros(5)

    def forward(self, x: Array) -> Array:
        self.x = x
        self.z: Array = x @ self.W1 + self.b1
        self.a = np.maximum(self.z, 0)
        y: Array = self.a @ self.W2 + self.b2
        return y

    def backward(self, d: Array) -> Array:
        self.dW2, self.db2 = self.a.T @ d, d.sum(0)
        g = (d @ self.W2.T) * (self.z > 0)
        self.dW1, self.db1 = self.x.T @ g, g.sum(0)
        grad_input: Array = g @ self.W1.T
        return grad_input

    def train_step(self, x: Array, y: Array) -> float:
        s = self.forward(x)
        p = np.exp(s - s.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        loss = -np.log(p[np.arange(len(y)), y]).mean()
        p[np.arange(len(y)), y] -= 1
        self.backward(p / len(y))
        for name in ("W1", "b1", "W2", "b2"):
            change = self.factor * self.lr * getattr(self, f"d{name}")
            setattr(self, name, getattr(self, name) + change)
        return float(loss)


class Climbs(Net):
    factor = 1.0


TWIN = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 5))


class LossOnly(Net):
    """Its gradients come out of `loss(X, y)` alone."""

    backward = None  # type: ignore[assignment]
    train_step = None  # type: ignore[assignment]

    def loss(self, x: Array, y: Any = None) -> Any:
        return (0.0, {}) if y is not None else self.forward(x)


def test_a_network_whose_gradients_come_out_of_its_loss_is_not_judged() -> None:
    result = diagnose(LossOnly(), like=TWIN, with_example=False)
    assert result.headline() == "not judged: the gradients of loss(x, y) were not compared: give it a backward"


def test_a_network_is_as_right_as_its_training_step() -> None:
    right = diagnose(Net(), like=TWIN, with_example=False)
    assert right.outcome == "right", right.headline()
    assert "training step" in right.coverage.shares
    wrong = diagnose(Climbs(), like=TWIN, with_example=False)
    assert (wrong.outcome, wrong.first_wrong) == ("wrong", "training step")
    assert "It is -1 times what it should be" in wrong.headline()


# ---- Outcomes


def test_a_verdict_says_its_outcome_everywhere() -> None:
    for result, outcome in (
        (diagnose(EvenPool, like=nn.MaxPool2d(2), with_example=False), "right"),
        (diagnose(TakesNoGradient, like="relu", with_example=False), "wrong"),
        (diagnose(SquareEvenPool, like=nn.MaxPool2d(2), with_example=False), "not_judged"),
    ):
        assert isinstance(result, Diagnosis)
        values = result.as_json()
        assert (values["outcome"], values["ok"]) == (outcome, outcome == "right")
        assert values["coverage"]["share"] == pytest.approx(result.coverage.share, abs=1e-4)
        assert result.headline().startswith(outcome.replace("_", " "))
