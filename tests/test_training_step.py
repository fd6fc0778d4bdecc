"""The training step of somebody's network: found, run, and held against cross-entropy and plain SGD."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compare.diagnosis.diagnose import diagnose
from compare.diagnosis.likeness import likeness
from compare.diagnosis.training_step import STEP
from compare.diagnosis.verdict import Diagnosis
from compare.diagnosis.with_loss import with_loss
from compare.driving.calling import RATE
from compare.driving.interface import Interface
from compare.driving.making import Functions, UndrivableError
from compare.driving.steps import AdaptedStep, loop_method, step_method, update_methods
from compare.pairs.pair import LayerPair
from scratch import Array


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a process for each call, which takes longer than the call."""
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])


LIKE = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
WEIGHTS = ("W1", "b1", "W2", "b2")


def probabilities(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares: Array = powers / powers.sum(axis=-1, keepdims=True)
    return shares


class Net:
    """A right network, and a right step; what is written differently is overridden."""

    classes = 3

    def __init__(self) -> None:
        self.W1, self.b1 = np.ones((6, 5)), np.zeros(5)
        self.W2, self.b2 = np.ones((5, self.classes)), np.zeros(self.classes)
        self.lr = 0.1

    def forward(self, x: Array) -> Array:
        self.x = x
        self.h = np.maximum(x @ self.W1 + self.b1, 0)
        scores: Array = self.h @ self.W2 + self.b2
        return scores

    def backward(self, g: Array) -> Array:
        self.dW2, self.db2 = self.h.T @ g, g.sum(axis=0)
        d = (g @ self.W2.T) * (self.h > 0)
        self.dW1, self.db1 = self.x.T @ d, d.sum(axis=0)
        grad_input: Array = d @ self.W1.T
        return grad_input

    def slope(self, scores: Array, y: Array) -> Array:
        """The derivative of the loss with respect to the scores."""
        return (probabilities(scores) - np.eye(self.classes)[y]) / len(y)

    def step_by(self, name: str) -> Array:
        """What a weight changes by, before it is multiplied by the learning rate."""
        gradient: Array = getattr(self, f"d{name}")
        return gradient

    def descend(self, x: Array, y: Array, lr: float) -> None:
        self.backward(self.slope(self.forward(x), y))
        for name in WEIGHTS:
            setattr(self, name, getattr(self, name) - lr * self.step_by(name))


class Right(Net):
    def train_step(self, x: Array, y: Array) -> float:
        self.descend(x, y, self.lr)
        return 0.0


def judged(candidate: Any, like: Any = LIKE, **how: Any) -> Diagnosis:
    return diagnose(candidate, like=like, with_example=False, **how)


def unknown(result: Diagnosis, method: str = "train_step") -> str:
    """Why a step is not judged that ran; the network itself was found right."""
    begin = f"its training step, {method}, is not known: the weights change otherwise than by cross-entropy and SGD ("
    assert (result.outcome, result.findings) == ("not_judged", ())
    assert result.problem.startswith(begin), result.problem
    assert STEP not in result.coverage.shares
    return result.problem.removeprefix(begin).removesuffix(")")


def not_run(result: Diagnosis, method: str = "train_step") -> str:
    begin = f"the training step, {method}, was not run: "
    assert (result.outcome, result.findings) == ("not_judged", ())
    assert result.problem.startswith(begin), result.problem
    assert STEP not in result.coverage.shares
    return result.problem.removeprefix(begin)


# ---- which method it is


def holder(name: str, value: Any) -> Any:
    return type("Holder", (), {name: value})()


def taking(arguments: str) -> Any:
    """A method with these arguments."""
    return eval(f"lambda self, {arguments}: None")


of_two, of_rate, of_nothing = taking("x, y"), taking("lr"), taking("")


@pytest.mark.parametrize(
    "name",
    [
        "train",
        "fit",
        "learn",
        "train_step",
        "_train_step",
        "trainStep",
        "train_batch",
        "train_on_batch",
        "fit_one_batch",
        "train_one_step",
        "optimize",
        "optimise",
        "step",
    ],
)
def test_a_method_that_is_called_like_a_step_and_takes_inputs_and_targets_is_one(name: str) -> None:
    assert step_method(holder(name, of_two)) == name


@pytest.mark.parametrize(
    "name", ["trainer", "retrain", "fitted", "time_step", "step_size", "forward", "update", "loss"]
)
def test_a_method_of_another_name_is_none(name: str) -> None:
    assert step_method(holder(name, of_two)) == ""


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ("x, y", True),
        ("x, y, lr", True),
        ("x, y, learning_rate=0.1", True),
        ("x, y, verbose=False, *args, **kwargs", True),
        ("", False),
        ("mode=True", False),  # as torch's own
        ("lr", False),  # the step of an optimizer
        ("x", False),
        ("x, y, optimizer", False),
    ],
)
def test_a_step_takes_two_things_and_perhaps_a_learning_rate(arguments: str, found: bool) -> None:
    assert step_method(holder("train", taking(arguments))) == ("train" if found else "")


@pytest.mark.parametrize("value", [True, "yes", None])
def test_what_cannot_be_called_is_no_step(value: Any) -> None:
    assert step_method(holder("train", value)) == ""


def test_one_step_comes_before_a_loop_over_many() -> None:
    both = type("Both", (), {"fit": of_two, "train_step": of_two, "train": of_two})()
    assert step_method(both) == "train_step"
    assert step_method(type("Loops", (), {"fit": of_two, "train": taking("mode=True")})()) == "fit"


@pytest.mark.parametrize(
    "name", ["update", "update_weights", "updateParams", "update_parameters", "apply_gradients", "sgd_step"]
)
def test_methods_that_update_weights_are_listed(name: str) -> None:
    assert update_methods(holder(name, of_rate)) == (name,)
    assert update_methods(holder(name, 3)) == ()
    assert step_method(holder(name, of_rate)) == ""


def test_other_methods_and_functions_update_no_weights() -> None:
    assert update_methods(Right()) == ()
    assert update_methods(holder("update_plot", of_nothing)) == ()
    assert update_methods(Functions(lambda x: x, None, {})) == ()
    assert step_method(Functions(lambda x: x, None, {})) == ""


# ---- right steps


def test_a_right_step_is_right_and_counted() -> None:
    result = judged(Right)
    assert result.outcome == "right", result.headline()
    assert result.coverage.shares[STEP] == 1.0
    without = judged(Net)
    assert without.outcome == "right"
    assert STEP not in without.coverage.shares
    steps = [trial for trial in result.trials if any(row.tensor == STEP for row in trial.rows)]
    assert [len(trial.probe.calls) for trial in steps] == [1, 2]
    assert result.coverage.inputs == without.coverage.inputs + len(steps)
    assert {row.tensor for trial in steps for row in trial.rows} == {STEP}
    assert [len(trial.rows) for trial in steps] == [len(WEIGHTS)] * 2
    assert (result.kinds()[-1][0], result.kinds()[-1][1:]) == (STEP, (2 * len(WEIGHTS), 0))


class RateAsArgument(Net):
    def __init__(self) -> None:
        super().__init__()
        del self.lr

    def train_step(self, x: Array, y: Array, lr: float) -> None:
        self.descend(x, y, lr)


class RateByDefault(RateAsArgument):
    def train_step(self, x: Array, y: Array, learning_rate: float = 0.001) -> None:
        self.descend(x, y, learning_rate)


class RateOfAnotherName(Right):
    def __init__(self) -> None:
        super().__init__()
        self.learning_rate = 3
        del self.lr

    def train_step(self, x: Array, y: Array) -> float:
        self.descend(x, y, self.learning_rate)
        return 0.0


class TargetsFirst(Net):
    def train_step(self, y: Array, x: Array) -> None:
        self.descend(x, y, self.lr)


class InPlace(Right):
    def descend(self, x: Array, y: Array, lr: float) -> None:
        self.backward(self.slope(self.forward(x), y))
        for name in WEIGHTS:
            weight = getattr(self, name)
            weight -= lr * getattr(self, f"d{name}")


class LowerRateEachTime(Right):
    def train_step(self, x: Array, y: Array) -> float:
        super().train_step(x, y)
        self.lr *= 0.5
        return 0.0


@pytest.mark.parametrize(
    "candidate", [RateAsArgument, RateByDefault, RateOfAnotherName, TargetsFirst, InPlace, LowerRateEachTime]
)
def test_a_right_step_is_right_however_it_is_written(candidate: Any) -> None:
    result = judged(candidate)
    assert result.outcome == "right", result.headline()
    assert STEP in result.coverage.shares


class OneHot(Right):
    """Takes one-hot rows, and computes anything for classes that happens to broadcast."""

    def slope(self, scores: Array, y: Array) -> Array:
        slope: Array = (probabilities(scores) - y) / len(y)
        return slope


class FourClasses(OneHot):
    classes = 4


class SixClasses(OneHot):
    classes = 6


@pytest.mark.parametrize("candidate", [OneHot, FourClasses, SixClasses])  # the batch has 4 images, of 6 numbers
def test_one_hot_rows_are_given_where_it_breaks_on_classes(candidate: Any) -> None:
    like = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, candidate.classes))
    result = judged(candidate, like, parameters={"W1": "0.weight:IO", "W2": "2.weight:IO"})
    assert result.outcome == "right", result.headline()
    assert STEP in result.coverage.shares


class OneHotColumns:
    """Everything stands in columns, the one-hot targets too."""

    def __init__(self) -> None:
        self.W1, self.b1 = np.ones((5, 6)), np.zeros((5, 1))
        self.W2, self.b2 = np.ones((3, 5)), np.zeros((3, 1))
        self.lr = 0.1

    def forward(self, x: Array) -> Array:
        self.x, self.z = x, self.W1 @ x + self.b1
        scores: Array = self.W2 @ np.maximum(self.z, 0) + self.b2
        return scores

    def backward(self, g: Array) -> Array:
        self.dW2, self.db2 = g @ np.maximum(self.z, 0).T, g.sum(axis=1, keepdims=True)
        d = (self.W2.T @ g) * (self.z > 0)
        self.dW1, self.db1 = d @ self.x.T, d.sum(axis=1, keepdims=True)
        grad_input: Array = self.W1.T @ d
        return grad_input

    def train_step(self, x: Array, y: Array) -> None:
        self.backward((probabilities(self.forward(x).T).T - y) / y.shape[1])
        for name in WEIGHTS:
            setattr(self, name, getattr(self, name) - self.lr * getattr(self, f"d{name}"))


def test_one_hot_targets_lie_as_the_outputs_do() -> None:
    result = judged(OneHotColumns, layout="CN")
    assert result.outcome == "right", result.headline()
    assert STEP in result.coverage.shares


class OneRow:
    """Takes one row at a time."""

    def __init__(self) -> None:
        self.W1, self.b1, self.W2, self.b2 = np.ones((5, 6)), np.zeros(5), np.ones((3, 5)), np.zeros(3)
        self.lr = 0.1

    def forward(self, x: Array) -> Array:
        assert x.ndim == 1
        self.x, self.z = x, self.W1 @ x + self.b1
        scores: Array = self.W2 @ np.maximum(self.z, 0) + self.b2
        return scores

    def backward(self, g: Array) -> Array:
        self.dW2, self.db2 = np.outer(g, np.maximum(self.z, 0)), g
        d = (self.W2.T @ g) * (self.z > 0)
        self.dW1, self.db1 = np.outer(d, self.x), d
        grad_input: Array = self.W1.T @ d
        return grad_input

    def train_step(self, x: Array, y: int) -> None:
        self.backward(probabilities(self.forward(x)) - np.eye(3)[y])
        for name in WEIGHTS:
            setattr(self, name, getattr(self, name) - self.lr * getattr(self, f"d{name}"))


def test_one_row_at_a_time_is_trained_on_one_row_and_its_class() -> None:
    result = judged(OneRow)
    assert STEP in result.coverage.shares, result.headline()


class Probabilities(Right):
    """The softmax is part of the network, and its derivative of the backward."""

    def forward(self, x: Array) -> Array:
        self.p = probabilities(super().forward(x))
        return self.p

    def backward(self, g: Array) -> Array:
        return super().backward(self.p * (g - (g * self.p).sum(axis=1, keepdims=True)))

    def descend(self, x: Array, y: Array, lr: float) -> None:
        Net.backward(self, (self.forward(x) - np.eye(3)[y]) / len(y))
        for name in WEIGHTS:
            setattr(self, name, getattr(self, name) - lr * self.step_by(name))


class LogProbabilities(Probabilities):
    def forward(self, x: Array) -> Array:
        scores = Net.forward(self, x)
        scores = scores - scores.max(axis=1, keepdims=True)
        logs: Array = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        self.p = np.exp(logs)
        return logs

    def backward(self, g: Array) -> Array:
        return Net.backward(self, g - self.p * g.sum(axis=1, keepdims=True))

    def descend(self, x: Array, y: Array, lr: float) -> None:
        self.forward(x)
        self.backward(-np.eye(3)[y] / len(y))
        for name in WEIGHTS:
            setattr(self, name, getattr(self, name) - lr * self.step_by(name))


@pytest.mark.parametrize(
    ("candidate", "last"), [(Probabilities, nn.Softmax(dim=1)), (LogProbabilities, nn.LogSoftmax(dim=1))]
)
def test_a_network_that_ends_with_a_softmax_is_trained_on_its_probabilities(candidate: Any, last: nn.Module) -> None:
    like = nn.Sequential(*LIKE, last)
    result = judged(candidate, like)
    assert result.outcome == "right", result.headline()
    assert STEP in result.coverage.shares


# ---- wrong steps


class Climbs(Right):
    def step_by(self, name: str) -> Array:
        return -super().step_by(name)


class DividesTwice(Right):
    def step_by(self, name: str) -> Array:
        return super().step_by(name) / len(self.x)


class AddsUp(Right):
    def slope(self, scores: Array, y: Array) -> Array:
        return super().slope(scores, y) * len(y)


class Doubled(Right):
    def step_by(self, name: str) -> Array:
        return 2 * super().step_by(name)


@pytest.mark.parametrize(
    ("candidate", "factor"), [(Climbs, "-1"), (DividesTwice, "1/4"), (AddsUp, "4"), (Doubled, "2")]
)
def test_a_step_that_changes_every_weight_by_the_same_multiple_is_wrong(candidate: Any, factor: str) -> None:
    result = judged(candidate)
    assert (result.outcome, result.name, result.first_wrong) == ("wrong", "training-step-scaled", STEP)
    (finding,) = result.findings
    assert (finding.kinds, finding.catalogued) == ((STEP,), False)
    assert finding.made == (
        f"train_step changes every weight by a multiple of what SGD gives: It is {factor} times what it should be."
    )
    assert "train_step" in finding.hint
    # Of the network itself nothing is wrong.
    assert {kind for kind, _, wrong in result.kinds() if wrong} == {STEP}


class OnlyBiasesDoubled(Right):
    def step_by(self, name: str) -> Array:
        return super().step_by(name) * (2 if name.startswith("b") else 1)


class Forgetful(Right):
    """One bias is never updated."""

    def step_by(self, name: str) -> Array:
        return super().step_by(name) * (name != "b2")


class WeightDecay(Right):
    def step_by(self, name: str) -> Array:
        decayed: Array = super().step_by(name) + 0.01 * getattr(self, name)
        return decayed


class Momentum(Right):
    """Begins at rest: its first step is that of plain SGD."""

    keep, take, start = 0.9, 1.0, 0.0

    def __init__(self) -> None:
        super().__init__()
        self.velocity = {name: np.full_like(getattr(self, name), self.start) for name in WEIGHTS}

    def step_by(self, name: str) -> Array:
        self.velocity[name] = self.keep * self.velocity[name] + self.take * super().step_by(name)
        return self.velocity[name]


class MovingAverage(Momentum):
    """Its first step is a tenth of that of plain SGD."""

    take = 0.1


class MomentumInMotion(Momentum):
    start = 1.0


class Squares(Right):
    def slope(self, scores: Array, y: Array) -> Array:
        return 2 * (scores - np.eye(3)[y]) / scores.size


class Signs(Right):
    def step_by(self, name: str) -> Array:
        return np.sign(super().step_by(name))


class Stands(Right):
    def train_step(self, x: Array, y: Array) -> float:
        self.forward(x)
        return 0.0 * len(y)


@pytest.mark.parametrize(
    ("candidate", "why"),
    [
        (OnlyBiasesDoubled, "It is 2 times what it should be"),
        (Forgetful, "It is zero everywhere"),
        (WeightDecay, "It is the right tensor plus 0.01 times 0.weight"),
        (Momentum, "It fits no known form"),
        (MovingAverage, "It fits no known form"),
        (MomentumInMotion, "It "),
        (Squares, "It fits no known form"),
        (Signs, "It fits no known form"),
        (Stands, "It is zero everywhere"),
    ],
)
def test_a_step_of_another_loss_or_optimizer_is_not_judged(candidate: Any, why: str) -> None:
    assert unknown(judged(candidate)).startswith(why)


# ---- what is not run


class WithoutRate(Net):
    def __init__(self) -> None:
        super().__init__()
        self.speed = self.lr
        del self.lr

    def train_step(self, x: Array, y: Array) -> None:
        self.descend(x, y, self.speed)


class Raises(Right):
    def train_step(self, x: Array, y: Array) -> float:
        raise RuntimeError("not yet", len(x) - len(y))


def test_without_a_learning_rate_it_is_not_run() -> None:
    why = not_run(judged(WithoutRate))
    assert why == "its learning rate is neither an argument nor an attribute: call it lr"


def test_a_step_that_raises_is_said() -> None:
    why = not_run(judged(Raises))
    assert why.startswith("raised RuntimeError: ('not yet', 0) (test_training_step.py, line ")


class OneLayer:
    def __init__(self) -> None:
        self.W, self.b, self.lr = np.ones((6, 5)), np.zeros(5), 0.1

    def forward(self, x: Array) -> Array:
        self.x = x
        y: Array = x @ self.W + self.b
        return y

    def backward(self, g: Array) -> Array:
        self.dW, self.db = self.x.T @ g, g.sum(axis=0)
        grad_input: Array = g @ self.W.T
        return grad_input

    def train_step(self, x: Array, y: Array) -> None: ...


NO_SCORES = "it is compared with what gives no scores (N, K), or with a name"


@pytest.mark.parametrize("like", [nn.Linear(6, 5), nn.Sequential(nn.Linear(6, 5))])
def test_one_layer_has_no_training_step_to_be_compared_with(like: nn.Module) -> None:
    assert not_run(judged(OneLayer, like)) == NO_SCORES


class NamedLayer(OneLayer):
    def __init__(self, in_features: int, out_features: int) -> None:
        self.W, self.b, self.lr = np.ones((in_features, out_features)), np.zeros(out_features), 0.1


def test_what_is_compared_with_a_name_has_none_either() -> None:
    assert not_run(judged(NamedLayer, "linear")) == NO_SCORES


class WithUpdate(Net):
    def update(self, lr: float) -> None:
        raise AssertionError("nobody calls this", lr)

    def update_parameters(self, lr: float) -> None:
        raise AssertionError("nobody calls this", lr)


def test_methods_that_update_weights_are_said_not_to_be_run() -> None:
    result = judged(WithUpdate)
    assert result.outcome == "right", result.headline()
    assert result.coverage.gaps == ("update, update_parameters (not run)",)


class StepAndUpdate(WithUpdate):
    def train_step(self, x: Array, y: Array) -> None:
        self.descend(x, y, self.lr)


def test_a_step_is_run_though_something_else_is_not() -> None:
    result = judged(StepAndUpdate)
    assert result.outcome == "right", result.headline()
    assert STEP in result.coverage.shares
    assert result.coverage.gaps == ("update, update_parameters (not run)",)


class WrongBackward(Right):
    def backward(self, g: Array) -> Array:
        return 2 * super().backward(g)


def test_the_step_of_a_wrong_network_is_not_looked_at() -> None:
    result = judged(WrongBackward)
    assert (result.outcome, result.first_wrong) == ("wrong", "grad_input")
    assert STEP not in {kind for kind, _, _ in result.kinds()}


# ---- the network with its loss


def trained_like(like: Any, input_shape: tuple[int, ...] | None = None) -> LayerPair:
    compared = with_loss(likeness(like, input_shape))
    assert compared is not None
    assert compared.build is None
    assert isinstance(compared.pair, LayerPair)
    return compared.pair


@pytest.mark.parametrize(
    "like",
    [
        "cnn",
        "sgd",
        "linear",
        "cross_entropy",
        nn.Linear(6, 5),
        nn.CrossEntropyLoss(),
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()),  # gives images
        nn.Sequential(nn.Linear(6, 1), nn.Sigmoid()),  # one number is no choice of a class
    ],
)
def test_what_gives_no_scores_has_no_loss_of_classes(like: Any) -> None:
    assert with_loss(likeness(like)) is None


@pytest.mark.parametrize("last", [(), (nn.Softmax(dim=1),), (nn.LogSoftmax(dim=1),)])
def test_the_loss_is_the_cross_entropy_of_what_the_network_gives(last: tuple[nn.Module, ...]) -> None:
    network = nn.Sequential(*LIKE, *last)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pair = trained_like(network)
    reference = pair.torch()
    assert list(dict(reference.named_parameters())) == list(dict(network.named_parameters()))
    x, classes = torch.randn(4, 6), torch.tensor([0, 2, 1, 2])
    expected = nn.functional.cross_entropy(LIKE(x), classes)
    for _ in range(2):
        torch.testing.assert_close(reference(x, classes), expected)
    reference(x, classes).backward()
    # The network that was given stays as it was.
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())


def test_a_network_of_a_class_of_its_own_is_trained_by_its_own_forward() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.second(torch.tanh(self.first(x)))
            return scores

    network = Two()
    reference = trained_like(network, (6,)).torch()
    x, classes = torch.randn(4, 6), torch.tensor([0, 2, 1, 2])
    torch.testing.assert_close(reference(x, classes), nn.functional.cross_entropy(network(x), classes))
    assert isinstance(reference, Two)


def test_a_network_is_always_in_training_while_it_is_trained() -> None:
    reference = trained_like(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)), (6,)).torch()
    assert reference.eval() is reference
    assert all(part.training for part in reference.modules())


def test_the_classes_are_drawn_and_are_as_many_as_the_images_but_not_as_the_classes() -> None:
    for count in (3, 4, 5):
        pair = trained_like(nn.Sequential(nn.Linear(6, 5), nn.Linear(5, count)))
        for probe in pair.probes("float64"):
            (call,) = probe.calls
            x, classes = call.inputs
            assert classes.shape == x.shape[:1]
            assert 1 < len(x) != count
            assert set(classes.tolist()) <= set(range(count))
            assert call.grad_output.shape == ()


# ---- how it is driven


STATE = {
    "0.weight": np.arange(30.0).reshape(5, 6) / 30 - 0.4,
    "0.bias": np.array([0.5, -0.25, 0.0, 1.0, 0.125]),
    "2.weight": np.arange(15.0).reshape(3, 5) / 15 - 0.5,
    "2.bias": np.array([0.0, 0.5, -0.5]),
}
X, CLASSES = np.arange(24.0).reshape(4, 6) / 24 - 0.3, np.array([0, 2, 1, 2])
IN_OUT = {"0.weight": "IO", "2.weight": "IO"}


def stepped(subject: Any, **how: Any) -> AdaptedStep:
    return AdaptedStep(subject, Interface(weight_layouts=IN_OUT, **how), STATE, frozenset(), {})


def test_the_step_starts_from_the_weights_that_are_pushed_and_its_changes_are_the_gradients() -> None:
    class Watched(Right):
        def train_step(self, x: Array, y: Array) -> float:
            self.before = {name: getattr(self, name).copy() for name in WEIGHTS}
            self.given = x.copy(), y.copy()
            return super().train_step(x, y)

    subject = Watched()
    module = stepped(subject)
    for _ in range(2):  # what the first changed is put back
        module.zero_grad()
        assert module(X, CLASSES) == 0.0
        assert module.backward() is None
        np.testing.assert_array_equal(subject.before["W1"], STATE["0.weight"].T)
        np.testing.assert_array_equal(subject.before["b1"], STATE["0.bias"])
        np.testing.assert_array_equal(subject.before["W2"], STATE["2.weight"].T)
        np.testing.assert_array_equal(subject.before["b2"], STATE["2.bias"])
        np.testing.assert_array_equal(subject.given[0], X)
        np.testing.assert_array_equal(subject.given[1], CLASSES)
        gradients: dict[str, Any] = {name: parameter.grad for name, parameter in module.named_parameters()}
        for name, right in {"0.weight": "dW1", "0.bias": "db1", "2.weight": "dW2", "2.bias": "db2"}.items():
            np.testing.assert_allclose(gradients[name], getattr(subject, right).T, rtol=1e-12, atol=1e-14)
        data = {name: parameter.data for name, parameter in module.named_parameters()}
        for name, array in STATE.items():
            np.testing.assert_array_equal(data[name], array)
    assert subject.lr == RATE
    assert module.recovered == STATE.keys()


def test_a_weight_that_the_step_leaves_alone_has_the_gradient_zero() -> None:
    module = stepped(Stands())
    module(X, CLASSES)
    module.backward()
    for name, parameter in module.named_parameters():
        np.testing.assert_array_equal(parameter.grad, np.zeros_like(STATE[name]))


def test_one_hot_rows_have_the_length_of_the_output() -> None:
    given: list[Array] = []

    class Seen(Right):
        def train_step(self, _: Array, y: Array) -> float:
            given.append(y)
            return 0.0

    stepped(Seen(), targets="one-hot")(X, CLASSES)
    np.testing.assert_array_equal(given[0], np.eye(3)[CLASSES])


def test_without_a_rate_nothing_is_run() -> None:
    module = stepped(WithoutRate())
    with pytest.raises(UndrivableError, match=r"^its learning rate is neither an argument nor an attribute"):
        module(X, CLASSES)


def test_a_step_is_always_taken_in_training() -> None:
    class Switched(Right):
        def __init__(self) -> None:
            super().__init__()
            self.training = False

    subject = Switched()
    module = stepped(subject)
    assert module.train(False) is module
    assert (module.training, subject.training) == (True, True)


def test_a_loop_over_epochs_is_no_step_and_is_listed_as_not_run() -> None:
    class Fits(Right):
        def fit(self, x: Array, y: Array, epochs: int = 3) -> None:
            for _ in range(epochs):
                self.train_step(x, y)

    class FitsOnly(Fits):
        train_step = None  # type: ignore[assignment]

    assert (step_method(Fits()), update_methods(Fits())) == ("train_step", ("fit",))
    assert loop_method(Fits()) == "fit"
    # Where there is no other, its steps are run.
    assert (step_method(FitsOnly()), loop_method(FitsOnly()), update_methods(FitsOnly())) == ("", "fit", ())
