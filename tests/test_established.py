"""What a verdict must not rest on: weak words, options that were never tried, a step that was never run."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from compare.diagnosis.diagnose import diagnose
from compare.diagnosis.verdict import Diagnosis
from scratch import Array

Diagnosed = Callable[..., Diagnosis]


@pytest.fixture
def of_file(tmp_path: Path) -> Diagnosed:
    """The verdict on `name` of a file with this source."""

    def diagnosed(source: str, name: str, like: Any, **more: Any) -> Diagnosis:
        path = tmp_path / f"code{len(list(tmp_path.iterdir()))}.py"
        path.write_text("import numpy as np\n\n" + textwrap.dedent(source))
        return diagnose(f"{path}:{name}", like=like, with_example=False, **more)

    return diagnosed


OVER_IMAGES = """
class Softmax:
    def forward(self, x):
        e = np.exp(x - np.max(x, axis=0))
        self.o = e / np.sum(e, axis=0)
        return self.o

    def backward(self, g):
        return self.o * (g - (g * self.o).sum(axis=0))

class Dense:
    def __init__(self, n_in, n_out):
        self.W = np.random.randn({sizes})
        self.b = np.zeros((n_out, 1))

    def forward(self, x):
        return {product}
"""


def test_a_column_for_a_bias_says_nothing_where_the_layer_itself_takes_rows(of_file: Diagnosed) -> None:
    columns = OVER_IMAGES.format(sizes="n_out, n_in", product="self.W @ x + self.b")
    assert of_file(columns, "Softmax", "softmax").outcome == "right"
    for product in ("x @ self.W + self.b.T", "np.dot(x, self.W) + self.b.T", "x.dot(self.W) + self.b.T"):
        rows = of_file(OVER_IMAGES.format(sizes="n_in, n_out", product=product), "Softmax", "softmax")
        assert (rows.outcome, rows.alternatives[0].option) == ("wrong", {"layout": "CN"}), product


WHOLE = """
class Softmax:
    def forward(self, x):
        e = np.exp(x - x.max())
        self.o = e / e.sum()
        return self.o

    def backward(self, g):
        return self.o * (g - (g * self.o).sum())

def evaluate(dataset, size=32):
    softmax, parts = Softmax(), np.array_split(dataset, len(dataset) // size)
    for x in {parts}:
        softmax.forward(x)
"""


def test_a_loop_over_parts_of_unknown_size_says_nothing(of_file: Diagnosed) -> None:
    for parts in ("parts", "chunks", "zip(self.splits, targets)", "whatever"):
        result = of_file(WHOLE.format(parts=parts), "Softmax", "softmax")
        assert (result.outcome, result.alternatives[0].option) == ("wrong", {"layout": "C"}), parts
    assert of_file(WHOLE.format(parts="dataset"), "Softmax", "softmax").outcome == "right"


NETWORK = """
class Network:
    def __init__(self, n_in, n_hidden, n_out):
        self.W1, self.b1 = np.random.randn(n_in, n_hidden), np.zeros((1, n_hidden))
        self.W2, self.b2 = np.random.randn(n_hidden, n_out), np.zeros((1, n_out))

    def forward(self, x):
        self.a = np.tanh(x @ self.W1 + self.b1)
        return self.a @ self.W2 + self.b2

    def train(self, x, y, {epochs}, lr=0.1):
        for _ in range(n_epochs):
            s = self.forward(x)
            p = np.exp(s - s.max(axis=1, keepdims=True))
            d = p / p.sum(axis=1, keepdims=True)
            d[np.arange(len(y)), y] -= 1
            d = {mean}
            h = d @ self.W2.T * (1 - self.a ** 2)
            self.W2 -= lr * {factor} * self.a.T @ d
            self.b2 -= lr * d.sum(axis=0)
            self.W1 -= lr * x.T @ h
            self.b1 -= lr * h.sum(axis=0)
"""
TWIN = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


@pytest.mark.parametrize("epochs", ["n_epochs", "n_epochs=1", "n_epochs=500"])
def test_the_loop_of_a_network_without_backward_is_run_for_one_epoch(of_file: Diagnosed, epochs: str) -> None:
    def network(mean: str = "d / len(y)", factor: int = 1) -> Diagnosis:
        return of_file(NETWORK.format(epochs=epochs, mean=mean, factor=factor), "Network(4, 5, 3)", TWIN)

    right = network()
    assert right.outcome == "right", right.headline()
    assert right.coverage.shares["training step"] == 1.0
    assert (network(mean="d").outcome, network(mean="d").first_wrong) == ("wrong", "training step")
    unknown = network(factor=3)
    assert unknown.outcome == "not_judged"
    assert unknown.headline().startswith("not judged: its training step, train, is not known: ")


BACKWARD = """
    def backward(self, x, g):
        h = g @ self.W2.T * (1 - self.a ** 2)
        self.dW1, self.db1, self.dW2, self.db2 = x.T @ h, h.sum(axis=0), self.a.T @ g, g.sum(axis=0)
        return h @ self.W1.T
"""


def test_a_loop_that_is_not_known_is_a_gap_where_the_gradients_were_compared(of_file: Diagnosed) -> None:
    def network(factor: int) -> Diagnosis:
        source = NETWORK.format(epochs="n_epochs=1", mean="d / len(y)", factor=factor) + BACKWARD
        return of_file(source, "Network(4, 5, 3)", TWIN)

    known, unknown = network(1), network(3)
    assert (known.outcome, unknown.outcome) == ("right", "right"), unknown.headline()
    assert "training step" in known.coverage.shares
    assert "training step" not in unknown.coverage.shares
    assert "train (not run)" in unknown.coverage.gaps


POOL = """
class MaxPool:
    def __init__(self, {arguments}):
        self.k, self.s = {held}

    def forward(self, x):
        n, c, h, w = x.shape
        k, s = self.k, self.s
        if {refused}:
            raise ValueError("these sides are not taken")
        out = np.zeros((n, c, (h - k) // s + 1, (w - k) // s + 1))
        for i in range(out.shape[2]):
            for j in range(out.shape[3]):
                out[:, :, i, j] = x[:, :, i * s : i * s + k, j * s : j * s + k].max(axis=(2, 3))
        return out
"""


def test_an_option_by_another_name_is_tried_or_said_not_to_be_understood(of_file: Diagnosed) -> None:
    named = of_file(POOL.format(arguments="f=2, s=2", held="2, s", refused="False"), "MaxPool", "maxpool2d")
    assert (named.outcome, named.first_wrong) == ("wrong", "output")
    unknown = of_file(POOL.format(arguments="extent=2, s=2", held="2, s", refused="False"), "MaxPool", "maxpool2d")
    assert "other values of kernel_size than its own, 2" in unknown.coverage.gaps
    assert "extent (not understood; is it kernel_size?)" in unknown.coverage.gaps
    alone = of_file(POOL.format(arguments="s=2", held="2, s", refused="False"), "MaxPool", "maxpool2d")
    assert not any("not understood" in gap for gap in alone.coverage.gaps)


def test_what_refuses_the_first_inputs_is_asked_for_pairs_on_what_it_takes(of_file: Diagnosed) -> None:
    even = POOL.format(arguments="size=2", held="size, size", refused="h % k or w % k")
    result = of_file(even, "MaxPool", "maxpool2d")
    assert result.outcome == "right", result.headline()
    assert "it takes one number for both sides" in result.remarks
    assert any(trial.got is not None and trial.probe.dtype == "float32" for trial in result.trials)


CONV = """
class Conv:
    def __init__(self, in_channels, out_channels, kernel_size{argument}):
        self.weight = np.random.randn(out_channels, in_channels, kernel_size, kernel_size)
        self.bias = np.zeros(out_channels) if {bias} else None

    def forward(self, x):
        k = self.weight.shape[2]
        windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(2, 3))
        y = np.einsum("nchwij,ocij->nohw", windows, self.weight)
        return y + self.bias[:, None, None]
"""


def test_every_option_is_tried_on_code_that_takes_one_number_for_both_sides(of_file: Diagnosed) -> None:
    breaks = of_file(CONV.format(argument=", bias=True", bias="bias"), "Conv", "conv2d")
    assert breaks.outcome == "wrong"
    assert all("bias=False" in trial.probe.case for trial in breaks.trials if trial.got is None)
    without = of_file(CONV.format(argument="", bias="True"), "Conv", "conv2d")
    assert without.outcome == "right", without.headline()
    assert without.coverage.missed == ()
    assert any("bias=False" in gap and "it has no such argument" in gap for gap in without.coverage.gaps)


class GlobalPool:
    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        y: Array = x.mean(axis=(2, 3))
        return y

    def backward(self, g: Array) -> Array:
        return np.broadcast_to(g[:, :, None, None] / np.prod(self.shape[2:]), self.shape)


def test_a_backward_that_was_not_called_is_not_called_missing() -> None:
    result = diagnose(GlobalPool, like=nn.AdaptiveAvgPool2d(1), with_example=False)
    assert result.outcome == "wrong"
    assert result.coverage.gaps == ("backward (not called: the output has another shape)",)


class LossOfProbabilities:
    """Its backward is given an array."""

    def forward(self, x: Array, t: Array) -> Any:
        shifted = x - x.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return -log_p[np.arange(len(t)), t].mean()

    def backward(self, dvalues: Array, t: Array) -> Array:
        g = dvalues.copy()
        g[range(len(dvalues)), t] -= 1
        return g / len(dvalues)


class BrokenLoss(LossOfProbabilities):
    def backward(self, t: Array) -> Array:  # type: ignore[override]
        raise TypeError(f"never right for {len(t)} targets")


def test_what_breaks_on_our_own_choice_of_an_argument_is_not_judged() -> None:
    result = diagnose(LossOfProbabilities, like="cross_entropy", with_example=False)
    assert result.outcome == "not_judged"
    assert "backward breaks where dvalues is the gradient of the loss, one number (TypeError: " in result.headline()
    assert diagnose(BrokenLoss, like="cross_entropy", with_example=False).outcome == "wrong"


def sigmoid(x: Array) -> Array:
    y: Array = 1 / (1 + np.exp(-x))
    return y


def slope_of_output(a: Array) -> Array:
    y: Array = a * (1 - a)
    return y


def sigmoid_prime(a: Array) -> Array:
    return slope_of_output(sigmoid(a))


def test_what_a_derivative_is_given_is_said_where_only_a_name_tells() -> None:
    remark = "its derivative is given the output, as its argument is called a"
    wrong = diagnose((sigmoid, sigmoid_prime), like=nn.Sigmoid(), with_example=False)
    assert (wrong.outcome, remark in wrong.remarks) == ("wrong", True)

    def sigmoid_derivative(a: Array) -> Array:
        return slope_of_output(a)

    right = diagnose((sigmoid, sigmoid_derivative), like=nn.Sigmoid(), with_example=False)
    assert (right.outcome, remark in right.remarks) == ("right", True)


CONV_FUNCTION = """
def conv_forward(x, W, b):
    n, c, h, w = x.shape
    k = W.shape[2]
    out = np.zeros((n, len(W), h - k + 1, w - k + 1))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            for o in range(len(W)):
                out[:, o, i, j] = (x[:, :, i : i + k, j : j + k] * W[o]).sum(axis=(1, 2, 3)) + {bias}
    return out
"""


@pytest.mark.parametrize(
    "bias", ["b[o]", "b[:, :, :, o].item()", "b[0, o, 0, 0]", "b[o, 0]", "b[..., o].item()", "b.reshape(-1)[o]"]
)
def test_a_bias_has_as_many_axes_as_the_function_indexes(of_file: Diagnosed, bias: str) -> None:
    result = of_file(CONV_FUNCTION.format(bias=bias), "conv_forward", nn.Conv2d(2, 3, 3))
    assert result.outcome == "right", result.headline()


class HalvesBothSides:
    def __init__(self, kernel_size: int = 2) -> None:
        del kernel_size

    def forward(self, x: Array) -> Array:
        n, c, h, w = x.shape
        y: Array = x.reshape(n, c, h // 2, 2, w // 2, 2).mean(axis=(3, 5))
        return y


class ExchangesSides:
    def forward(self, x: Array) -> Array:
        y = x.copy()
        y += np.zeros(x.transpose(0, 1, 3, 2).shape)
        return y


def test_what_breaks_it_is_told_apart_from_what_goes_with_it() -> None:
    halves = diagnose(HalvesBothSides, like=nn.AvgPool2d(2), with_example=False)
    assert "inputs that torch takes (odd sides): raised ValueError" in halves.headline()
    assert halves.coverage.missed == ("odd sides",)
    exchanges = diagnose(ExchangesSides, like=nn.AvgPool2d(1), with_example=False)
    assert "inputs that torch takes (sides of two lengths): raised ValueError" in exchanges.headline()


def test_a_kind_that_is_missed_is_listed_once() -> None:
    class Halves(HalvesBothSides):
        def __init__(self) -> None:
            pass

    result = diagnose(Halves, like="avgpool2d", with_example=False)
    words = str(result.coverage).partition("not compared: ")[2].replace(" (", ", (").replace("; ", ", ").split(", ")
    assert words.count("stride") == 1
