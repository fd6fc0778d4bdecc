"""How somebody's code becomes a module: which methods are called, with what, and what becomes of what they return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from compare.driving.adapter import Adapted, adapt
from compare.driving.calling import RATE
from compare.driving.interface import Interface
from compare.driving.making import ConversionError, Functions, MistoldError, UndrivableError
from scratch import Array, BatchNorm2d, Linear

W = np.arange(1.0, 7.0).reshape(2, 3)
B = np.array([7.0, 8.0])
STATE = {"weight": W, "bias": B}
X = np.arange(12.0).reshape(4, 3)
G = np.arange(8.0).reshape(4, 2)


def adapted(subject: Any, state: dict[str, Array] | None = None, buffers: Any = (), **told: Any) -> Adapted:
    module = adapt(subject, Interface(**told), state or {}, frozenset(buffers), "float64")
    assert isinstance(module, Adapted)
    return module


class Identity:
    """Remembers what it was given, and gives back what it is told to."""

    def __init__(self, returned: Any = None, gradient: Any = None) -> None:
        self.returned, self.gradient = returned, gradient
        self.seen: list[Any] = []

    def forward(self, x: Array) -> Any:
        self.seen.append(x)
        return x if self.returned is None else self.returned

    def backward(self, g: Array) -> Any:
        self.seen.append(g)
        return g if self.gradient is None else self.gradient


class Dense:
    """A linear layer as the formula says; the gradients of the weights lie beside them."""

    def __init__(self) -> None:
        self.W, self.b = np.zeros((2, 3)), np.zeros(2)
        self.calls = 0

    def forward(self, x: Array) -> Any:
        self.x = x
        self.calls += 1
        return x @ self.W.T + self.b

    def backward(self, g: Array) -> Any:
        self.dW, self.db = g.T @ self.x, g.sum(axis=0)
        return g @ self.W


def linear(x: Array, w: Array, b: Array) -> Any:
    return x @ w.T + b, (x, w)


def linear_backward(dout: Array, cache: Any) -> Any:
    x, w = cache
    return dout @ w, dout.T @ x, dout.sum(axis=0)


# What is adapted


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_module_of_ours_stays_what_it_is(dtype: str) -> None:
    module: Any = BatchNorm2d(2)
    other = Linear(3, 2)
    adopted: Any = adapt(module, Interface(), {}, frozenset(), dtype)
    assert adopted is module
    assert adopted.weight.data.dtype == adopted.running_mean.data.dtype == dtype
    assert adopted.num_batches_tracked.data.dtype == np.int64
    assert adapt(other, Interface(), {}, frozenset(), dtype) is other
    assert other.weight.data.dtype == dtype


def test_the_parameters_are_copies_of_the_state() -> None:
    state = {"weight": W.copy(), "bias": B.copy(), "mean": B.copy()}
    module = adapted(Dense(), state, {"mean"})
    assert [name for name, _ in module.named_parameters()] == ["weight", "bias"]
    assert [name for name, _ in module.named_buffers()] == ["mean"]
    for array in module.state_dict().values():
        array += 1
    for array, before in zip(state.values(), (W, B, B), strict=True):
        np.testing.assert_array_equal(array, before)
    assert module.training


def test_once_the_code_is_known_it_has_the_statistics_that_were_found() -> None:
    subject: Any = Identity()
    subject.running_mean = np.zeros(3)
    mean, count = np.array([1.0, 2.0, 3.0]), np.array(0)
    module = adapted(subject, {"running_mean": mean, "count": count}, {"running_mean", "count"})
    assert [name for name, _ in module.named_buffers()] == ["running_mean", "count"]
    module(X)
    assert [name for name, _ in module.named_buffers()] == ["running_mean"]
    np.testing.assert_array_equal(subject.running_mean, mean)


# Methods


def test_the_first_usual_method_is_called() -> None:
    class Several:
        forward = 3  # no method

        def feedforward(self, x: Array) -> Any:
            return x + 1

        def predict(self, x: Array) -> Any:
            return x + 2

        def back_prop(self, g: Array) -> Any:
            return g + 3

        def gradient(self, g: Array) -> Any:
            return g + 4

    module = adapted(Several())
    np.testing.assert_array_equal(module(X), X + 1)
    np.testing.assert_array_equal(module.backward(X), X + 3)
    told = adapted(Several(), forward="predict", backward="gradient")
    np.testing.assert_array_equal(told(X), X + 2)
    np.testing.assert_array_equal(told.backward(X), X + 4)


def test_a_method_of_a_name_like_the_usual_ones_is_called_after_those() -> None:
    class Propagates:
        def propagate_forward(self, x: Array) -> Any:
            return x + 1

        def propagate_forward_all(self, x: Array) -> Any:
            raise AssertionError(x)

        def propagate_backward(self, g: Array) -> Any:
            return g + 2

    class Both(Propagates):
        def __call__(self, x: Array) -> Any:
            return x + 3

    for subject, added in ((Propagates(), 1), (Both(), 3)):
        module = adapted(subject)
        np.testing.assert_array_equal(module(X), X + added)
        np.testing.assert_array_equal(module.backward(X), X + 2)


def test_a_missing_method_is_said() -> None:
    class Nothing:
        pass

    with pytest.raises(UndrivableError) as missing:
        adapted(Nothing())
    usual = "forward, __call__, forward_pass"
    assert str(missing.value) == f"Nothing has no method called {usual} or the like; name it (--forward NAME)"
    with pytest.raises(MistoldError, match=r"^Half has no method go$"):
        adapted(Half(), forward="go")
    with pytest.raises(MistoldError, match=r"^Half has no method back$"):
        adapted(Half(), backward="back")


class Half:
    """Has no backward."""

    def forward(self, x: Array) -> Any:
        return x + 1


def test_what_has_no_backward_is_driven_forward_only() -> None:
    module = adapted(Half())
    for _ in range(2):
        np.testing.assert_array_equal(module(X), X + 1)
        assert module.backward(X) is None
    assert (module.recovered, module.exact, module.ignores_gradient) == (set(), set(), False)


def test_of_weights_without_a_backward_there_are_no_gradients() -> None:
    class Linear:
        def __init__(self) -> None:
            self.W, self.b = np.zeros((2, 3)), np.zeros(2)

        def forward(self, x: Array) -> Any:
            return x @ self.W.T + self.b

    module = adapted(Linear(), STATE)
    np.testing.assert_array_equal(module(X), X @ W.T + B)
    assert module.backward(G) is None
    assert [parameter.grad for parameter in module.parameters()] == [None, None]


# Training and evaluation


class Modes:
    """Everything that may say whether it is training, and what does not."""

    def __init__(self) -> None:
        self.training, self.mode, self.is_train = True, "train", True
        self.train_flg, self.rate, self.label = 1, True, "train"

    def forward(self, x: Array, training: bool) -> Any:
        return x if training else -x

    def backward(self, g: Array) -> Any:
        return g


def test_attributes_that_say_the_mode_are_set() -> None:
    subject = Modes()
    module = adapted(subject)
    assert module.eval() is module
    np.testing.assert_array_equal(module(X), -X)
    assert (subject.training, subject.mode, subject.is_train) == (False, "test", False)
    assert module.train() is module
    np.testing.assert_array_equal(module(X), X)
    assert (subject.training, subject.mode, subject.is_train) == (True, "train", True)
    assert (subject.train_flg, subject.rate, subject.label) == (1, True, "train")


@pytest.mark.parametrize("mode", ["max", "same", "yes", ""])
def test_a_mode_that_is_about_something_else_stays(mode: str) -> None:
    subject: Any = Identity()
    subject.mode = mode
    adapted(subject).eval().train()
    assert subject.mode == mode


@pytest.mark.parametrize("mode", ["Train", "eval", "inference"])
def test_a_mode_of_another_word_is_set(mode: str) -> None:
    subject: Any = Identity()
    subject.mode = mode
    module = adapted(subject).eval()
    assert subject.mode == "test"
    module.train()
    assert subject.mode == "train"


def test_methods_that_switch_the_mode_are_called_if_there_are_both() -> None:
    said: list[str] = []

    class Trains(Identity):
        def train(self) -> None:
            said.append("train")

    class Switched(Trains):
        def eval(self) -> None:
            said.append("eval")

    adapted(Trains()).train().eval()  # that method trains, perhaps
    assert said == []
    adapted(Switched()).eval().train()
    assert said == ["eval", "train"]


def test_an_object_of_slots_has_no_attributes_for_the_mode() -> None:
    class Slotted:
        __slots__ = ()

        def forward(self, x: Array, train: bool) -> Any:
            return x if train else -x

        def backward(self, g: Array) -> Any:
            return g

    module = adapted(Slotted()).eval()
    np.testing.assert_array_equal(module(X), -X)
    assert module.backward(X) is not None


def test_functions_are_told_the_mode_in_their_settings() -> None:
    subject = Functions(lambda x, param: x if param["mode"] == "train" else -x, lambda dout: dout, {})
    module = adapted(subject)
    np.testing.assert_array_equal(module(X), X)
    np.testing.assert_array_equal(module.eval()(X), -X)
    np.testing.assert_array_equal(module.train()(X), X)


# Forward


def test_weights_are_put_there_before_each_forward() -> None:
    subject = Dense()
    module = adapted(subject, STATE)
    for _ in range(2):
        np.testing.assert_array_equal(module(X), X @ W.T + B)
        subject.W += 1
    module.placement.parameters["bias"].data = B + 1
    np.testing.assert_array_equal(module(X), X @ W.T + B + 1)
    assert subject.calls == 3  # not once more to look for the weights


def test_weights_that_the_first_forward_makes_are_found() -> None:
    class Late(Dense):
        def __init__(self) -> None:
            super().__init__()
            self.W: Any = None

        def forward(self, x: Array) -> Any:
            if self.W is None:
                self.W = np.zeros((2, x.shape[1]))
            return super().forward(x)

    subject = Late()
    np.testing.assert_array_equal(adapted(subject, STATE)(X), X @ W.T + B)
    assert subject.calls == 2


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        (
            Dense(),
            "cannot find bias [5], gamma [4]; arrays there: W [2, 3], b [2], x [4, 3]; name it (--param NAME=weight)",
        ),
        (Functions(lambda x: x, None, {}), "cannot find bias [5], gamma [4]; arrays there: none; name it"),
        (Identity(1.0), "cannot find bias [5], gamma [4]; arrays there: seen[0] [4, 3]; name it (--param NAME=weight)"),
    ],
)
def test_weights_that_cannot_be_found_are_listed(subject: Any, message: str) -> None:
    with pytest.raises(UndrivableError) as missing:
        adapted(subject, {"gamma": np.zeros(4), "bias": np.zeros(5)})(X)
    assert str(missing.value).startswith(message)


def test_weights_that_cannot_be_found_are_listed_though_forward_breaks_without_them() -> None:
    class Breaks:
        def __init__(self) -> None:
            self.odd = np.zeros(7)

        def forward(self, x: Array) -> Any:
            raise ZeroDivisionError(x.shape)

    with pytest.raises(UndrivableError) as missing:
        adapted(Breaks(), {"weight": W})(X)
    assert str(missing.value) == ("cannot find weight [2, 3]; arrays there: odd [7]; name it (--param NAME=weight)")


def test_an_object_without_arrays_has_none_to_list() -> None:
    class Empty:
        def forward(self, x: Array) -> Any:
            return x

        backward = forward

    with pytest.raises(UndrivableError, match=r"^cannot find weight \[2, 3\]; arrays there: none; name it"):
        adapted(Empty(), {"weight": W})(X)


def test_what_forward_does_to_weights_and_statistics_is_taken_over() -> None:
    class Counts(Dense):
        def __init__(self) -> None:
            super().__init__()
            self.running_mean = np.zeros(2)

        def forward(self, x: Array) -> Any:
            self.running_mean = self.running_mean + 1
            self.W *= 2
            return super().forward(x)

    module = adapted(Counts(), STATE | {"running_mean": B}, {"running_mean"})
    module(X)
    np.testing.assert_array_equal(module.state_dict()["running_mean"], B + 1)
    np.testing.assert_array_equal(module.state_dict()["weight"], 2 * W)
    module(X)
    np.testing.assert_array_equal(module.state_dict()["running_mean"], B + 2)


IMAGES = np.arange(120.0).reshape(2, 3, 4, 5)


@pytest.mark.parametrize(
    ("x", "layout", "own"),
    [
        (IMAGES, "", (2, 3, 4, 5)),
        (IMAGES, "NHWC", (2, 4, 5, 3)),
        (IMAGES[:1], "HWC", (4, 5, 3)),
        (IMAGES[:1, :1], "WH", (5, 4)),
        (X, "NHWC", (4, 3)),
        (X, "CN", (3, 4)),
        (X, "FN", (3, 4)),  # features are channels
        (X[:1], "C", (3,)),
        (X[:1], "C1", (3, 1)),
        (X[:1], "1C", (1, 3)),
        (X[:1], "1CHW", (1, 3)),
        (IMAGES[:1], "1CHW", (1, 3, 4, 5)),
        (IMAGES[:1], "1HWC", (1, 4, 5, 3)),
        (IMAGES[:1], "C", (3, 4, 5)),
        (X[:1], "HWC", (3,)),
        (X[:1], "", (1, 3)),
        (np.ones((2, 3, 4)), "NLC", (2, 4, 3)),
        (np.ones((1, 3, 4)), "HWC", (3, 4)),
        (np.ones((2, 1, 3, 4, 5)), "", (2, 1, 3, 4, 5)),
    ],
)
def test_inputs_and_gradients_have_their_layout_and_come_back(x: Array, layout: str, own: tuple[int, ...]) -> None:
    subject = Identity()
    module = adapted(subject, layout=layout)
    np.testing.assert_array_equal(module(x), x)
    np.testing.assert_array_equal(module.backward(x + 1), x + 1)
    assert [array.shape for array in subject.seen] == [own, own]
    np.testing.assert_array_equal(subject.seen[1], subject.seen[0] + 1)


@pytest.mark.parametrize(
    ("x", "layout", "output_layout", "output", "expected"),
    [
        # The output has other axes than the input: with a batch or without, as the input.
        (IMAGES, "NHWC", "", np.ones((2, 7)), (2, 7)),
        (IMAGES[:1], "HWC", "", np.ones(7), (1, 7)),
        (IMAGES[:1], "HWC", "", np.ones((3, 7)), (1, 3, 7)),
        (IMAGES, "", "", np.ones((2, 7)), (2, 7)),
        # What is told of the output comes first.
        (IMAGES[:1, :1], "HW", "HWC", np.ones((4, 5, 8)), (1, 8, 4, 5)),
        (IMAGES[:1], "HWC", "HW", np.ones((4, 5)), (1, 1, 4, 5)),
        (IMAGES[:1], "HWC", "NHWC", np.ones((1, 4, 5, 8)), (1, 8, 4, 5)),
        (IMAGES, "", "NC", np.ones((2, 7)), (2, 7)),
        (IMAGES, "", "CN", np.ones((7, 2)), (2, 7)),
        (IMAGES, "", "FN", np.ones((7, 2)), (2, 7)),
        (IMAGES[:1], "", "C1", np.ones((7, 1)), (1, 7)),
        (IMAGES[:1], "HWC", "1HWC", np.ones((1, 4, 5, 8)), (1, 8, 4, 5)),
        (IMAGES, "", "NLC", np.ones((2, 9, 3)), (2, 3, 9)),
        (IMAGES, "", "NDHWC", np.ones((2, 4, 5, 6, 3)), (2, 3, 4, 5, 6)),
        (IMAGES, "", "N", np.ones(2), (2, 1)),
        (IMAGES[:1], "HWC", "C", np.ones(7), (1, 7)),
        # Of a batch of one, and of one column, the output is the same.
        (IMAGES[:1], "1CHW", "", np.ones((1, 8, 4, 5)), (1, 8, 4, 5)),
        (IMAGES[:1], "1HWC", "", np.ones((1, 4, 5, 8)), (1, 8, 4, 5)),
        (IMAGES[:1], "1CHW", "", np.ones((1, 7)), (1, 7)),
        (X[:1], "1C", "", np.ones((1, 7)), (1, 7)),
        (X[:1], "C1", "", np.ones((7, 1)), (1, 7)),
        (X[:1], "C", "", np.ones(7), (1, 7)),
        (IMAGES, "", "HWC", np.ones((2, 7)), (2, 7)),
        # Where nothing fits, it stays as it is.
        (IMAGES, "", "", np.ones(()), ()),
        (IMAGES, "", "", np.ones((1, 1, 1, 1, 1, 1)), (1,) * 6),
        (IMAGES[:1], "HWC", "", np.ones((1, 3, 4, 5)), (1, 1, 3, 4, 5)),
        (IMAGES[:1], "1CHW", "", np.ones((2, 7)), (2, 7)),
        (X[:1], "C1", "", np.ones((7, 2)), (7, 2)),
    ],
)
def test_outputs_are_in_torchs_layout(
    x: Array, layout: str, output_layout: str, output: Array, expected: tuple[int, ...]
) -> None:
    output = output * np.arange(output.size).reshape(output.shape)
    subject = Identity(output, np.zeros(x.shape))
    module = adapted(subject, layout=layout, output_layout=output_layout)
    found = module(x)
    assert found.shape == expected
    gradient = found + 1
    module.backward(gradient)
    np.testing.assert_array_equal(subject.seen[1], output + 1)  # the way back
    np.testing.assert_array_equal(np.sort(found, axis=None), np.sort(output, axis=None))


def test_an_output_that_is_reordered_keeps_its_places() -> None:
    output = np.arange(24.0).reshape(2, 4, 3)
    module = adapted(Identity(output), output_layout="NLC")
    np.testing.assert_array_equal(module(IMAGES), output.swapaxes(1, 2))


def test_a_gradient_that_does_not_fit_their_output_is_passed_as_it_is() -> None:
    subject = Identity(np.ones((2, 7, 2)))
    module = adapted(subject, output_layout="NC")
    module(X)
    module.backward(G)
    assert subject.seen[1] is G


# What forward returns


class Cached(Identity):
    """Its backward asks for what forward returned beside the output."""

    def backward(self, dout: Array, cache: Any) -> Any:  # type: ignore[override]
        self.cache = cache
        return dout


@pytest.mark.parametrize(
    ("returned", "cache"),
    [
        ((X, (1, 2)), (1, 2)),
        ((X, B), B),
        ((X, None), None),
        ((X, STATE), STATE),
        ((X, 5, B), (5, B)),
        ((X, B, W), (B, W)),
        (X, None),
    ],
)
def test_what_forward_returns_beside_the_output_goes_to_backward(returned: Any, cache: Any) -> None:
    subject = Cached(returned)
    module = adapted(subject)
    np.testing.assert_array_equal(module(X), X)
    module.backward(X)
    if isinstance(cache, tuple):
        assert len(subject.cache) == len(cache)
        assert all(one is other for one, other in zip(subject.cache, cache, strict=True))
    else:
        assert subject.cache is cache
    subject.returned = X
    module(X)
    module.backward(X)
    assert subject.cache is None  # of each call alone


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (([1.0, 2.0, 3.0],), [[1.0, 2.0, 3.0]]),
        ([[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [3.0, 4.0]]),
        ((1.0, 2.0, 3.0), [1.0, 2.0, 3.0]),
        ([[True, False]], [[True, False]]),
        ([[1, 2]], [[1, 2]]),
        (np.array([[1, 2]], np.uint8), [[1, 2]]),
    ],
)
def test_lists_and_tuples_of_numbers_are_outputs(returned: Any, expected: Any) -> None:
    np.testing.assert_array_equal(adapted(Identity(returned))(X), expected)


class Silent:
    """Returns nothing, and keeps things."""

    def __init__(self, **kept: Any) -> None:
        self.__dict__.update(kept)

    def forward(self, x: Array) -> None:
        self.last = [x + 5]

    def backward(self, g: Array) -> Any:
        return g


def test_an_output_that_is_kept_is_found_or_told() -> None:
    np.testing.assert_array_equal(adapted(Silent(output=None, out=X, y=X + 1, other=X + 2))(X), X)
    np.testing.assert_array_equal(adapted(Silent(out=X), output_from="last[0]")(X), X + 5)
    subject: Any = Identity()
    subject.out = X + 1
    np.testing.assert_array_equal(adapted(subject)(X), X)  # it returns one
    np.testing.assert_array_equal(adapted(subject, output_from="out")(X), X + 1)


@pytest.mark.parametrize("path", ["there", "last[1]", "held['y']"])
def test_an_output_that_is_told_and_not_there_is_said(path: str) -> None:
    with pytest.raises(MistoldError) as refused:
        adapted(Silent(out=X, held={}), output_from=path)(X)
    assert str(refused.value) == f"there is no {path} after forward; correct --output-from {path}"


def test_an_output_that_is_nowhere_is_said() -> None:
    for subject, told in ((Silent(), ""), (Silent(held=None), "held")):
        with pytest.raises(UndrivableError) as refused:
            adapted(subject, output_from=told)(X)
        assert str(refused.value) == (
            "forward returns nothing, and no attribute is called output; name it (--output-from)"
        )


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("text", "forward returned str of <U4: no array of real numbers"),
        (np.array([1j]), "forward returned ndarray of complex128: no array of real numbers"),
        ([None], "forward returned list of object: no array of real numbers"),
    ],
)
def test_an_output_of_no_real_numbers_is_said(returned: Any, message: str) -> None:
    with pytest.raises(ConversionError) as refused:
        adapted(Identity(returned))(X)
    assert str(refused.value) == message


# Backward


def test_gradients_are_added_up_from_call_to_call_as_ours_are() -> None:
    class Adds(Dense):
        def __init__(self) -> None:
            super().__init__()
            self.dW, self.db = np.zeros((2, 3)), np.zeros(2)

        def backward(self, g: Array) -> Any:
            self.dW += g.T @ self.x
            self.db += g.sum(axis=0)
            return g @ self.W

    for subject in (Dense(), Adds()):
        module = adapted(subject, STATE)
        for calls in range(1, 4):
            module(X)
            np.testing.assert_array_equal(module.backward(G), G @ W)
            grads = {name: parameter.grad for name, parameter in module.named_parameters()}
            np.testing.assert_array_equal(grads["weight"], calls * G.T @ X)
            np.testing.assert_array_equal(grads["bias"], calls * G.sum(axis=0))
        assert (module.recovered, module.exact) == (set(), {"weight", "bias"})


def test_gradients_come_back_in_torchs_layout() -> None:
    class InOut:
        def __init__(self) -> None:
            self.W, self.b = np.zeros((3, 2)), np.zeros((1, 2))

        def forward(self, x: Array) -> Any:
            self.x = x
            return x @ self.W + self.b

        def backward(self, g: Array) -> Any:
            return g @ self.W.T, self.x.T @ g, g.sum(axis=0, keepdims=True)

    module = adapted(InOut(), STATE, weight_layouts={"weight": "IO"})
    module(X)
    module.backward(G)
    grads = {name: parameter.grad for name, parameter in module.named_parameters()}
    np.testing.assert_array_equal(grads["weight"], G.T @ X)
    np.testing.assert_array_equal(grads["bias"], G.sum(axis=0))


class Updating(Dense):
    def backward(self, g: Array, lr: float) -> Any:  # type: ignore[override]
        self.W -= lr * g.T @ self.x
        return None


class OwnRate(Dense):
    def __init__(self) -> None:
        super().__init__()
        self.learning_rate: Any = 0.25
        self.rate = 0.75  # of a dropout, perhaps

    def backward(self, g: Array) -> Any:
        self.W -= self.learning_rate * g.T @ self.x
        return None


class Shown(Updating):
    def backward(self, g: Array, lr: float) -> Any:  # type: ignore[override]
        self.dW, self.db = g.T @ self.x, g.sum(axis=0)
        self.W -= lr * self.dW
        return None


class ShownAndUpdated(Shown):
    def backward(self, g: Array, lr: float) -> Any:  # type: ignore[override]
        super().backward(g, lr)
        self.b -= lr * self.db


class Hidden(Dense):
    def backward(self, g: Array) -> Any:
        self.W -= g.T @ self.x
        return None


class WholeRate(OwnRate):
    def __init__(self) -> None:
        super().__init__()
        self.learning_rate = 2


@pytest.mark.parametrize(
    ("style", "recovered", "exact", "bias"),
    [
        (Updating, {"weight", "bias"}, set(), np.zeros(2)),  # a bias that stayed as it was has the gradient 0
        (OwnRate, {"weight", "bias"}, set(), np.zeros(2)),
        (WholeRate, {"weight", "bias"}, set(), np.zeros(2)),
        (Shown, {"weight", "bias"}, {"weight"}, np.zeros(2)),  # what it is updated by, and not what is shown
        (ShownAndUpdated, {"weight", "bias"}, {"weight", "bias"}, G.sum(axis=0)),
        (Hidden, {"weight"}, set(), None),  # nothing says that it would be updated
    ],
)
def test_weights_that_their_code_updates_are_its_own_affair(
    style: Callable[[], Any], recovered: set[str], exact: set[str], bias: Array | None
) -> None:
    subject = style()
    module = adapted(subject, STATE)
    for _ in range(2):
        module.zero_grad()
        module(X)
        assert module.backward(G) is None
        # One that says nothing of a rate steps by the gradient itself.
        np.testing.assert_array_equal(subject.W, W - (1 if style is Hidden else RATE) * G.T @ X)
        parameters = dict(module.named_parameters())
        np.testing.assert_array_equal(parameters["weight"].data, W)
        grads = {name: parameter.grad for name, parameter in parameters.items()}
        np.testing.assert_array_equal(grads["weight"], G.T @ X)
        if bias is None:
            assert grads["bias"] is None
        else:
            np.testing.assert_array_equal(grads["bias"], bias)
        assert (module.recovered, module.exact) == (recovered, exact)
    if isinstance(subject, OwnRate):
        assert (subject.learning_rate, subject.rate) == (RATE, 0.75)


@pytest.mark.parametrize("factor", [-1.0, 2.0, 1 + 1e-9])
def test_a_gradient_that_is_shown_and_not_what_weights_are_updated_by_is_the_update(factor: float) -> None:
    class Otherwise(Dense):
        def backward(self, g: Array, lr: float) -> Any:  # type: ignore[override]
            self.dW, self.db = g.T @ self.x, g.sum(axis=0)
            self.W -= lr * factor * self.dW
            self.b -= lr * self.db

    module = adapted(Otherwise(), STATE)
    module(X)
    module.backward(G)
    grads: dict[str, Any] = {name: parameter.grad for name, parameter in module.named_parameters()}
    np.testing.assert_allclose(grads["weight"], factor * G.T @ X, rtol=1e-12)
    np.testing.assert_array_equal(grads["bias"], G.sum(axis=0))
    assert (module.recovered, module.exact) == ({"weight", "bias"}, {"bias"})


class ShapedBias(Dense):
    """A bias, and its gradient, of any shape."""

    def __init__(self, bias: tuple[int, ...], gradient: tuple[int, ...]) -> None:
        super().__init__()
        self.b, self.gradient = np.zeros(bias), gradient

    def forward(self, x: Array) -> Any:
        self.x = x
        return x @ self.W.T + self.b.reshape(-1)

    def backward(self, g: Array) -> Any:
        self.dW, self.db = g.T @ self.x, g.sum(axis=0).reshape(self.gradient)
        return g @ self.W


class ShapedAndUpdated(ShapedBias):
    def backward(self, g: Array, lr: float) -> Any:  # type: ignore[override]
        super().backward(g)
        self.W -= lr * self.dW
        self.b -= lr * self.db.reshape(self.b.shape)
        return g @ self.W


SHAPES: list[tuple[tuple[int, ...], tuple[int, ...], bool]] = [
    ((2,), (2,), False),
    ((2,), (1, 2), False),  # b - db has one axis more, and the numbers of a bias
    ((1, 2), (2,), False),
    ((2, 1), (2, 1), False),
    ((2,), (2, 1), True),  # b - db is 2x2
    ((2, 1), (2,), True),
    ((2, 1), (1, 2), True),
    ((1, 2), (2, 1), True),
]


@pytest.mark.parametrize(("bias", "gradient", "misshapen"), SHAPES)
def test_a_gradient_that_cannot_be_subtracted_from_its_weight_is_misshapen(
    bias: tuple[int, ...], gradient: tuple[int, ...], misshapen: bool
) -> None:
    module = adapted(ShapedBias(bias, gradient), STATE)
    for _ in range(2):
        module(X)
        module.backward(G)
        assert module.misshapen == ({"bias": (gradient, bias)} if misshapen else {})
    # Its numbers are compared all the same.
    grads = {name: parameter.grad for name, parameter in module.named_parameters()}
    np.testing.assert_array_equal(grads["bias"], 2 * G.sum(axis=0))


@pytest.mark.parametrize(("bias", "gradient", "misshapen"), SHAPES)
def test_of_a_layer_that_updates_itself_no_gradient_is_misshapen(
    bias: tuple[int, ...], gradient: tuple[int, ...], misshapen: bool
) -> None:
    del misshapen
    module = adapted(ShapedAndUpdated(bias, gradient), STATE)
    module(X)
    module.backward(G)
    assert (module.misshapen, module.recovered) == ({}, {"weight", "bias"})


def test_a_gradient_of_other_numbers_than_its_weight_has_is_wrong_and_not_misshapen() -> None:
    class Row(Dense):
        def backward(self, g: Array) -> Any:
            self.dW, self.db = g.T @ self.x, g.copy()  # one for each image

    module = adapted(Row(), STATE)
    module(X)
    module.backward(G)
    assert module.misshapen == {}


def test_what_is_known_of_weights_stays_known_from_call_to_call() -> None:
    class Sometimes(Dense):
        """Updates a weight when it is called for the first time, and shows the gradient of the bias at the second."""

        def backward(self, g: Array) -> Any:
            if self.calls == 1:
                self.W -= g.T @ self.x
            else:
                self.db = g.sum(axis=0)

    module = adapted(Sometimes(), STATE)
    for recovered, exact in (({"weight"}, set()), ({"weight"}, {"bias"})):
        module(X)
        module.backward(G)
        assert (module.recovered, module.exact) == (recovered, exact)


def test_a_rate_that_is_no_number_is_not_a_rate() -> None:
    class Scheduled(Dense):
        def __init__(self) -> None:
            super().__init__()
            self.lr: Any = "constant"

        def backward(self, g: Array) -> Any:
            return g @ self.W

    subject = Scheduled()
    module = adapted(subject, STATE)
    module(X)
    module.backward(G)
    assert subject.lr == "constant"
    assert module.recovered == set()
    assert [parameter.grad for parameter in module.parameters()] == [None, None]


def test_what_backward_does_to_weights_and_statistics_is_taken_over() -> None:
    class Changes(Dense):
        def __init__(self) -> None:
            super().__init__()
            self.running_mean = np.zeros(2)

        def backward(self, g: Array) -> Any:
            super().backward(g)
            self.W += 1
            self.running_mean += 1
            return g

    module = adapted(Changes(), STATE | {"running_mean": B}, {"running_mean"})
    module(X)
    module.backward(G)
    np.testing.assert_array_equal(module.state_dict()["weight"], W + 1)
    np.testing.assert_array_equal(module.state_dict()["running_mean"], B + 1)


def test_an_error_in_training_says_that_it_was_in_backward() -> None:
    class Fails(Identity):
        def backward(self, g: Array) -> Any:
            raise ZeroDivisionError(g.shape)

    module = adapted(Fails())
    module(X)
    with pytest.raises(ZeroDivisionError) as raised:
        module.backward(X)
    assert raised.value.in_backward is True  # type: ignore[attr-defined]
    module.eval()
    module(X)
    assert module.backward(X) is None


@pytest.mark.parametrize(
    ("gradient", "message"),
    [
        ("text", "backward gave str of <U4: no real numbers"),
        (np.full((4, 3), 1j), "backward gave ndarray of complex128: no real numbers"),
    ],
)
def test_a_gradient_of_no_real_numbers_is_said(gradient: Any, message: str) -> None:
    module = adapted(Identity(gradient=gradient))
    module(X)
    with pytest.raises(ConversionError) as refused:
        module.backward(X)
    assert str(refused.value) == message


class Slope(Identity):
    """Its backward takes no upstream gradient."""

    def backward(self) -> Any:  # type: ignore[override]
        return np.full((4, 3), 2.0)


@pytest.mark.parametrize("upstream", [1.0, -3.0])
def test_a_layers_backward_that_takes_no_gradient_is_not_multiplied_by_it(upstream: float) -> None:
    module = adapted(Slope())
    module(X)
    np.testing.assert_array_equal(module.backward(np.full((4, 3), upstream)), np.full((4, 3), 2.0))
    assert module.ignores_gradient


def test_a_backward_that_takes_the_gradient_does_not_ignore_it() -> None:
    for subject in (Identity(), Half(), Updating()):
        module = adapted(subject, STATE if isinstance(subject, Updating) else None)
        module(X)
        module.backward(G if isinstance(subject, Updating) else X)
        assert not module.ignores_gradient


def test_eta_alone_is_the_upstream_gradient_and_no_rate() -> None:
    class Delta(Dense):
        def backward(self, eta: Array) -> Any:
            return super().backward(eta)

    module = adapted(Delta(), STATE)
    module(X)
    np.testing.assert_array_equal(module.backward(G), G @ W)
    grads = {name: parameter.grad for name, parameter in module.named_parameters()}
    np.testing.assert_array_equal(grads["weight"], G.T @ X)
    assert (module.recovered, module.exact, module.ignores_gradient) == (set(), {"weight", "bias"}, False)


def test_a_gradient_of_another_number_of_axes_stays_as_it_is() -> None:
    module = adapted(Identity(gradient=np.ones(5)))
    module(X)
    np.testing.assert_array_equal(module.backward(X), np.ones(5))


# Functions


def test_functions_are_driven_as_a_module() -> None:
    module = adapted(Functions(linear, linear_backward, {}), STATE)
    np.testing.assert_array_equal(module(X), X @ W.T + B)
    np.testing.assert_array_equal(module.backward(G), G @ W)
    grads = {name: parameter.grad for name, parameter in module.named_parameters()}
    np.testing.assert_array_equal(grads["weight"], G.T @ X)
    np.testing.assert_array_equal(grads["bias"], G.sum(axis=0))


def test_of_functions_no_gradient_is_misshapen() -> None:
    def upright(dout: Array, cache: Any) -> Any:
        grad_input, grad_weight, grad_bias = linear_backward(dout, cache)
        return grad_input, grad_weight, grad_bias[:, None]

    module = adapted(Functions(linear, upright, {}), STATE)
    module(X)
    module.backward(G)
    grads = {name: parameter.grad for name, parameter in module.named_parameters()}
    np.testing.assert_array_equal(grads["bias"], G.sum(axis=0))
    assert module.misshapen == {}  # the weights that they are given have our shape


def test_a_layer_of_one_function_has_no_gradients() -> None:
    module = adapted(Functions(lambda x, w, b: (x @ w.T + b, x), None, {}), STATE)
    np.testing.assert_array_equal(module(X), X @ W.T + B)
    assert module.backward(G) is None
    assert [parameter.grad for parameter in module.parameters()] == [None, None]
    assert module.recovered == set()


# Losses

CLASSES = np.array([2, 0, 1, 1])


def one_function(returned: Any) -> Functions:
    return Functions(lambda scores, targets: returned, None, {})  # noqa: ARG005


@pytest.mark.parametrize("upstream", [1.0, 0.5, -4.0])
def test_a_losss_backward_that_takes_no_gradient_is_multiplied_by_it(upstream: float) -> None:
    class Plain(Loss):
        def backward(self) -> Any:  # type: ignore[override]
            return 2 * self.x

    module = adapted(Plain())
    module(X, CLASSES)
    np.testing.assert_array_equal(module.backward(np.asarray(upstream)), upstream * 2 * X)
    assert not module.ignores_gradient  # a loss is where gradients begin


@pytest.mark.parametrize("upstream", [1.0, 0.5, -4.0])
def test_a_loss_returns_its_gradient_beside_its_value(upstream: float) -> None:
    module = adapted(one_function((0.25, X)))
    loss = module(X, CLASSES)
    assert (loss.shape, float(loss)) == ((), 0.25)
    np.testing.assert_array_equal(module.backward(np.asarray(upstream)), upstream * X)
    np.testing.assert_array_equal(module.backward(), X)


def test_what_else_a_loss_returns_is_not_its_gradient() -> None:
    for returned in ((0.25, {"dx": X}), (0.25, X, X), 0.25):
        module = adapted(one_function(returned))
        assert float(module(X, CLASSES)) == 0.25
        assert module.backward() is None


@pytest.mark.parametrize(
    ("returned", "shape"), [([[2.0]], ()), (np.ones(1), ()), (2.0, ()), (np.ones(4), (4,)), (np.ones((4, 1)), (4, 1))]
)
def test_a_single_number_is_the_loss(returned: Any, shape: tuple[int, ...]) -> None:
    assert adapted(one_function(returned))(X, CLASSES).shape == shape


def test_the_losses_of_one_image_alone_keep_their_axis() -> None:
    module = adapted(one_function(np.ones(1)))
    module.scalar = False  # a loss for each image is asked for
    assert module(X[:1], CLASSES[:1]).shape == (1,)


def test_a_layers_single_number_keeps_its_axes() -> None:
    assert adapted(Identity(np.ones((1, 1))))(X).shape == (1, 1)


class Loss:
    """Remembers its inputs, and what its backward is given."""

    def forward(self, x: Array, y: Array) -> Any:
        self.x, self.y = x, y
        return 0.5

    def backward(self, dout: Any) -> Any:
        self.dout = dout
        return np.asarray(dout) * self.x


@pytest.mark.parametrize(
    ("scores", "targets", "told", "x", "y"),
    [
        (X, CLASSES, {}, X, CLASSES),
        (X, CLASSES, {"targets": "classes"}, X, CLASSES),
        (X, CLASSES, {"targets": "one-hot"}, X, np.eye(3)[CLASSES]),
        (X, CLASSES, {"layout": "CN"}, X.T, CLASSES),
        (X[:1], CLASSES[:1], {"layout": "C"}, X[0], np.int64(2)),
        (X[:1], CLASSES[:1], {"layout": "C", "targets": "one-hot"}, X[0], np.array([0, 0, 1])),
        (X[:1], CLASSES[:1], {"layout": "1C"}, X[:1], CLASSES[:1]),  # a batch of one has a list of one target
        (X[:1], CLASSES[:1], {"layout": "1C", "targets": "one-hot"}, X[:1], np.array([[0, 0, 1]])),
        (X, CLASSES, {"layout": "CN", "targets": "one-hot"}, X.T, np.eye(3)[CLASSES].T),
        (X[:1], CLASSES[:1], {"layout": "C1", "targets": "one-hot"}, X[:1].T, np.array([[0], [0], [1]])),
        (IMAGES, IMAGES + 1, {"layout": "NHWC"}, np.moveaxis(IMAGES, 1, 3), np.moveaxis(IMAGES + 1, 1, 3)),
        (X, X + 1, {"targets": "one-hot"}, X, X + 1),
    ],
)
def test_a_loss_is_given_targets_as_it_wants_them(
    scores: Array, targets: Array, told: dict[str, Any], x: Array, y: Array
) -> None:
    subject = Loss()
    module = adapted(subject, **told)
    assert float(module(scores.astype(np.float32), targets)) == 0.5
    np.testing.assert_array_equal(subject.x, x)
    np.testing.assert_array_equal(subject.y, y)
    assert np.shape(subject.y) == y.shape
    if told.get("targets") == "one-hot" and targets.ndim < scores.ndim:
        assert subject.y.dtype == np.float32
    upstream = np.asarray(0.5)
    np.testing.assert_array_equal(module.backward(upstream), 0.5 * scores)
    assert subject.dout is upstream
