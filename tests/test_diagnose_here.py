"""`diagnose` in this process: what is passed on, what is remarked, and how each kind of code is driven."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import scratch
from compare.contained.session import Limits
from compare.diagnosis import diagnose as module
from compare.diagnosis.diagnose import diagnose
from compare.diagnosis.likeness import Likeness, likeness
from compare.diagnosis.verdict import Diagnosis
from compare.driving.driver import Driver, _plain
from compare.driving.interface import Interface
from compare.driving.making import Making, UndrivableError, UnsupportedError
from compare.machine.errors import UserError
from compare.pairs.cases import Case
from compare.pairs.pair import LayerPair
from compare.pairs.probe import Probe
from compare.pairs.registry import REGISTRY
from scratch import Array
from tests.foreign import right
from tests.in_process import InProcess


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The candidate runs in this process."""
    monkeypatch.setattr(module, "Session", InProcess)


class Watched:
    """A ReLU that keeps what it sees."""

    def __init__(self) -> None:
        self.seen: list[Array] = []
        self.threads: set[int] = set()

    def __deepcopy__(self, _: Any) -> Watched:
        return self

    def forward(self, x: Array) -> Array:
        self.seen.append(x.copy())
        self.threads.add(torch.get_num_threads())
        self.x = x
        return np.maximum(x, 0)

    def backward(self, g: Array) -> Array:
        return g * (self.x > 0)


@pytest.mark.usefixtures("here")
def test_it_computes_with_one_thread_on_the_probes_of_the_seed() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        watched = Watched()
        result = diagnose(watched, like=nn.ReLU())
    finally:
        torch.set_num_threads(threads)
    assert result.ok
    assert (result.remarks, result.containment, result.seed) == ((), "not contained: in this process", 0)
    assert watched.threads == {1}
    probes = list(likeness(nn.ReLU()).pair.examined())
    np.testing.assert_array_equal(watched.seen[0], probes[0].calls[0].inputs[0])
    assert len(result.trials) == len(probes)
    other = Watched()
    assert diagnose(other, like=nn.ReLU(), seed=1, input_shape=(7,)).ok
    assert {x.shape for x in other.seen} == {(3, 7), (2, 7), (1, 7)}
    last = list(likeness(nn.ReLU(), (7,)).pair.examined(1))[-1].calls[-1].inputs[0]
    assert any(np.array_equal(seen, last) for seen in other.seen)


def test_the_limits_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Limits] = []

    class Recorded(InProcess):
        def __init__(self, candidate: Any, limits: Limits) -> None:
            given.append(limits)
            super().__init__(candidate, limits)

    monkeypatch.setattr(module, "Session", Recorded)
    diagnose(Watched(), like=nn.ReLU(), seconds=7.5, memory=99, with_example=False)
    diagnose(Watched(), like=nn.ReLU(), with_example=False)
    assert given == [Limits(seconds=7.5, memory=99), Limits()]


@pytest.mark.usefixtures("here")
def test_what_cannot_be_contained_is_refused_where_it_has_to_be() -> None:
    watched = Watched()
    with pytest.raises(UserError) as refused:
        diagnose(watched, like=nn.ReLU(), require_contained=True)
    text = "not contained: in this process; without --require-contained it is run all the same"
    assert str(refused.value) == text
    assert watched.seen == []


class Odd:
    """A dense layer in which nothing has a usual name."""

    def __init__(self) -> None:
        self.stuff = {"first": np.zeros((3, 4)), "second": np.zeros(3)}

    def go(self, a: Array) -> None:
        self.seen = a
        self.result = a @ self.stuff["first"].T + self.stuff["second"]

    def back(self, q: Array) -> None:
        self.one, self.two, self.three = q.T @ self.seen, q.sum(axis=0), q @ self.stuff["first"]


@pytest.mark.usefixtures("here")
def test_what_is_told_is_passed_on() -> None:
    told: dict[str, Any] = {
        "forward": "go",
        "backward": "back",
        "parameters": {"stuff['first']": "weight", "stuff['second']": "bias"},
        "gradients": {"one": "weight", "two": "bias", "three": "input"},
        "output_from": "result",
    }
    result = diagnose(Odd, like=nn.Linear(4, 3), **told)
    assert result.ok, result.headline()
    assert result.missing == ()
    assert result.remarks == ()
    untold = diagnose(Odd, like=nn.Linear(4, 3))
    assert (untold.outcome, untold.remarks) == ("not_judged", ())
    assert untold.problem.startswith("Odd has no method called forward"), untold.problem


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("layout", "output_layout", "targets"), [("wrong", "", ""), ("", "wrong", ""), ("", "", "wrong")]
)
def test_what_is_told_of_axes_and_targets_is_passed_on_too(layout: str, output_layout: str, targets: str) -> None:
    name = "targets" if targets else "layout" if layout else "output_layout"
    with pytest.raises(UserError, match=rf"^{name} 'wrong' must be"):
        diagnose(Watched, like="relu", layout=layout, output_layout=output_layout, targets=targets)


class Rows:
    """A dense layer with (in, out) weights that takes one row at a time."""

    def __init__(self) -> None:
        self.W, self.b = np.zeros((4, 3)), np.zeros(3)

    def forward(self, x: Array) -> Array:
        assert x.shape == (4,)
        self.x = x
        return x @ self.W + self.b

    def backward(self, g: Array) -> Array:
        self.dW, self.db = np.outer(self.x, g), g
        return self.W @ g


class WrongRows(Rows):
    def backward(self, g: Array) -> Array:
        super().backward(g)
        return 2 * self.W @ g


@pytest.mark.usefixtures("here")
def test_what_is_found_out_is_remarked_and_one_row_is_compared_at_a_time() -> None:
    result = diagnose(Rows, like=nn.Linear(4, 3))
    assert result.ok, result.headline()
    assert result.remarks == (
        "it takes inputs as C, one at a time, weight as IO (it is described as taking one at a time)",
    )
    assert {len(call.inputs[0]) for trial in result.trials for call in trial.probe.calls} == {1}
    wrong = diagnose(WrongRows, like=nn.Linear(4, 3))
    assert (wrong.first_wrong, wrong.name) == ("grad_input", "factor")
    assert wrong.example is not None
    assert wrong.example.given["input"].shape == (1, 4)


class SquarePool:
    """Takes one number for both sides."""

    def __init__(self, kernel_size: int, stride: int | None = None, padding: int = 0) -> None:
        if not isinstance(kernel_size, int):
            raise TypeError("one number")
        self.pool = scratch.MaxPool2d(kernel_size, stride or kernel_size, padding)

    def forward(self, x: Array) -> Array:
        return self.pool(x)

    def backward(self, g: Array) -> Array:
        return self.pool.backward(g)


class PairPool(SquarePool):
    """Takes pairs too."""

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        self.pool = scratch.MaxPool2d(kernel_size, kernel_size if stride is None else stride, padding)


@pytest.mark.usefixtures("here")
def test_sizes_that_differ_are_left_out_where_one_number_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = REGISTRY["maxpool2d"]
    assert isinstance(pair, LayerPair)
    shapes: list[dict[str, Any]] = [{"kernel_size": 2}, {"kernel_size": (2, 3)}, {"kernel_size": 3}]
    monkeypatch.setitem(
        REGISTRY, "maxpool2d", replace(pair, cases=tuple(Case((2, 1, 6, 7), options) for options in shapes))
    )
    result = diagnose(SquarePool, like="maxpool2d")
    assert result.ok, result.headline()
    assert result.remarks == ("it takes one number for both sides",)
    assert [trial.probe.options["kernel_size"] for trial in result.trials] == [2, 3, 2, 3]
    both = diagnose(PairPool, like="maxpool2d")
    assert both.ok, both.headline()
    assert both.remarks == ()
    assert [trial.probe.options["kernel_size"] for trial in both.trials] == [2, (2, 3), 3] * 2
    ours = diagnose(scratch.MaxPool2d, like="maxpool2d")
    assert ours.ok
    assert len(ours.trials) == 6


class NoGradient:
    def forward(self, x: Array) -> Array:
        return np.maximum(x, 0)

    def backward(self, _: Array) -> None:
        pass


class OurNoGradient(scratch.ReLU):
    def backward(self, grad_output: Array) -> Any:
        super().backward(grad_output)


@pytest.mark.usefixtures("here")
def test_what_others_leave_out_is_missing_and_what_we_leave_out_is_wrong() -> None:
    result = diagnose(NoGradient, like=nn.ReLU())
    assert result.ok
    assert result.missing == ("grad_input",)
    assert result.remarks == ()
    assert result.coverage.gaps == ("backward (not provided)",)
    ours = diagnose(OurNoGradient, like=nn.ReLU(), with_example=False)
    assert not ours.ok
    assert ours.first_wrong == "grad_input"
    assert ours.example is None


class Descent:
    def __init__(self, lr: float) -> None:
        self.lr = lr

    def update(self, w: Array, dw: Array) -> Array:
        return w - self.lr * dw


@pytest.mark.usefixtures("here")
def test_of_an_optimizer_only_parameters_with_a_gradient_in_every_step_are_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[list[Probe], bool]] = []

    def examine(
        _: Likeness, name: str, __: Any, probes: list[Probe], *, lenient: bool = False, **___: Any
    ) -> Diagnosis:
        asked.append((probes, lenient))
        return Diagnosis(name, "sgd", (), (), None, (), ("a remark",))

    monkeypatch.setattr(module, "examine", examine)  # torch's optimizers take seconds to import
    assert diagnose(Descent, like="sgd").remarks == ("a remark",)
    diagnose(scratch.SGD, like="sgd")
    drawn = list(likeness("sgd").pair.examined())
    for (probes, lenient), theirs in zip(asked, (True, False), strict=True):
        assert lenient is theirs
        assert [probe.case for probe in probes] == [probe.case for probe in drawn]
        everything = {"weight", "bias", "kernel", "late", "idle"}
        names = {name for probe in probes for name in probe.state}
        assert names == (everything - {"late", "idle"} if theirs else everything)


@pytest.mark.usefixtures("here")
def test_a_file_that_does_not_hold_it_and_one_that_breaks_are_not_judged(tmp_path: Path) -> None:
    path = tmp_path / "layers_for_this_test.py"
    path.write_text("class Mine: pass\n")
    without = diagnose(f"{path}:Yours", like="relu")
    assert (without.candidate, without.like, without.outcome) == (f"{path.name}:Yours", "relu", "not_judged")
    assert without.problem.startswith(f"{path.name} has no Yours; it has Mine"), without.problem
    broken = tmp_path / "broken_for_this_test.py"
    broken.write_text("raise OSError('no disk')\n")
    result = diagnose(f"{broken}:A", like="relu")
    assert (result.candidate, result.like, result.outcome) == (f"{broken.name}:A", "relu", "not_judged")
    assert result.problem == f"{broken.name}:A: raised OSError: no disk (broken_for_this_test.py, line 1)"


@pytest.mark.parametrize(
    ("subject", "ours"),
    [
        (scratch.ReLU, True),
        (scratch.ReLU(), True),
        (scratch.Adam, True),
        (Rows, False),
        (Rows(), False),
        (lambda: scratch.ReLU(), False),
    ],
)
def test_what_is_held_to_our_own_conventions(subject: Any, ours: bool) -> None:
    with InProcess(subject) as session:
        assert session("look").value.ours is ours


def linear_probe(dtype: str = "float64") -> Probe:
    return next(probe for probe in likeness("linear").pair.examined() if probe.dtype == dtype)


ONE = Interface(layout="C")


@pytest.mark.parametrize(
    ("factory", "recovered"), [(right.ColumnDense, {"weight", "bias"}), (right.KeepingDense, set())]
)
def test_weights_that_code_updates_itself_are_not_seen_afterwards(factory: Any, recovered: set[str]) -> None:
    probe = next(p for p in likeness("linear").pair.examined() if len(p.calls[0].inputs[0]) == 1)
    driven = Driver(lambda: factory, likeness("linear").task).drive(ONE, probe)
    assert set(driven.updated) == {"weight", "bias"}
    assert set(driven.recovered) == recovered
    assert not {"weight after use", "bias after use"} & driven.tensors.keys()


def test_weights_that_code_leaves_alone_are_seen_afterwards() -> None:
    like = likeness(nn.Linear(4, 3))
    probe = next(like.pair.examined())
    first = tuple(replace(c, inputs=(c.inputs[0][:1],), grad_output=c.grad_output[:1]) for c in probe.calls)
    interface = replace(ONE, weight_layouts={"weight": "IO"})
    driven = Driver(lambda: Rows, like.task).drive(interface, replace(probe, calls=first))
    assert (driven.updated, driven.recovered) == ((), ())
    assert {"weight after use", "bias after use"} <= driven.tensors.keys()


def test_our_own_layer_is_driven_as_it_is() -> None:
    driven = Driver(lambda: scratch.Linear, likeness("linear").task).drive(Interface(), linear_probe())
    assert (driven.updated, driven.recovered) == ((), ())
    assert "weight after use" in driven.tensors


def pool(x: Array, _config: dict[str, Any]) -> tuple[Array, Any]:
    made = scratch.MaxPool2d(2)
    return made(x), made


def pool_back(g: Array, cache: Any) -> Array:
    return np.asarray(cache.backward(g))


def test_functions_that_never_read_a_setting_that_matters_do_not_support_it() -> None:
    like = likeness("maxpool2d")
    drive = Driver(lambda: (pool, pool_back), like.task).drive
    kernel_2, kernel_3 = (
        next(p for p in like.pair.examined() if p.options.get("kernel_size") == size) for size in (2, 3)
    )
    assert drive(Interface(), kernel_2).tensors.keys() >= {"output", "grad_input"}
    with pytest.raises(UnsupportedError, match=r"^stride=2$|^padding"):
        drive(Interface(), replace(kernel_3, options={"kernel_size": 2, "stride": 2, "padding": 1}))


def descent(w: Array, dw: Array, config: dict[str, Any]) -> Array:
    return w - config["learning_rate"] * dw


def test_an_optimizer_function_that_never_reads_a_setting_does_not_support_it() -> None:
    like = likeness("sgd")
    drive = Driver(lambda: descent, like.task).drive
    plain, momentum = list(like.pair.examined())[:2]
    assert plain.options == {"lr": 0.1}
    assert "weight" in drive(Interface(), plain).tensors
    with pytest.raises(UnsupportedError, match=r"^momentum=0\.9$"):
        drive(Interface(), momentum)
    for driver in (Driver(lambda: scratch.SGD, like.task), Driver(lambda: Descent, like.task)):
        assert "weight" in driver.drive(Interface(), plain).tensors


def test_an_object_is_only_made_where_its_options_are_tried() -> None:
    made: list[tuple[int, int]] = []

    def factory(in_features: int, out_features: int) -> Rows:
        made.append((in_features, out_features))
        return Rows()

    Driver(lambda: factory, likeness("linear").task).construct(Interface(), linear_probe())
    assert made == [(7, 4)]
    with pytest.raises(UndrivableError):
        Driver(lambda: Demanding, likeness("relu").task).construct(Interface(), next(likeness("relu").pair.examined()))


class Demanding:
    def __init__(self, something: Any) -> None:
        self.something = something


def made_with(like: Likeness, interface: Interface, probe: Probe) -> Making:
    """What anything is made with for a probe."""
    return Driver(lambda: None, like.task)._making(interface, probe)


def test_a_constructor_is_offered_the_weights_in_its_own_layout() -> None:
    like, probe = likeness("linear"), linear_probe("float32")
    weight, bias = probe.state["weight"], probe.state["bias"]
    plain = made_with(like, Interface(), probe)
    np.testing.assert_array_equal(plain.weights["weight"], weight)
    np.testing.assert_array_equal(plain.weights["bias"], bias)
    assert (plain.dtype, plain.fixed, plain.size_pairs) == ("float32", False, False)
    assert plain.options == probe.options
    assert plain.defaults["bias"] is True
    assert plain.about == like.pair.about
    turned = made_with(like, Interface(weight_layouts={"weight": "IO"}, size_pairs=True), probe)
    np.testing.assert_array_equal(turned.weights["weight"], weight.T)
    assert turned.size_pairs
    unfit = made_with(like, Interface(weight_layouts={"weight": "HWIO"}), probe)
    assert unfit.weights.keys() == {"bias"}


def test_what_a_module_was_made_with_is_offered_by_name() -> None:
    like = likeness(nn.Sequential(nn.Linear(4, 3)))
    probe = next(like.pair.examined())
    making = made_with(like, Interface(), probe)
    assert making.weights.keys() == {"weight", "bias"}
    fixed = likeness(nn.Linear(4, 3, bias=False))
    making = made_with(fixed, Interface(), next(fixed.pair.examined()))
    assert making.fixed
    assert (making.options["in_features"], making.options["bias"]) == (4, False)
    both = made_with(replace(fixed, hints={"eps": 1.0, "p": 0.5}), Interface(), replace(probe, options={"eps": 2.0}))
    assert both.options == {"eps": 2.0, "p": 0.5}


def test_the_buffers_of_the_reference() -> None:
    for name in ("sgd", "linear", "cnn"):
        assert REGISTRY[name].buffers() == frozenset()
    norm = frozenset({"running_mean", "running_var", "num_batches_tracked"})
    pair = REGISTRY["batchnorm2d"]
    assert isinstance(pair, LayerPair)
    assert pair.buffers() == norm
    assert replace(pair, cases=pair.cases[:1]).buffers() == norm


def test_arrays_are_handed_over_as_plain_ones() -> None:
    class Theirs(np.ndarray[Any, Any]):
        pass

    array = np.asfortranarray(np.arange(6.0).reshape(2, 3)).view(Theirs)
    plain = _plain({"output": array})["output"]
    assert type(plain) is np.ndarray
    assert plain.flags.c_contiguous
    assert not np.shares_memory(plain, array)
    np.testing.assert_array_equal(plain, array)


def test_parameters_that_lack_a_gradient_in_some_step_are_left_out() -> None:
    steps = tuple({name: np.full(2, float(n)) for name in names} for n, names in enumerate(("ab", "abc", "bac")))
    probe = Probe("case", "float64", {"lr": 0.5}, {name: np.zeros(2) for name in "abcd"}, gradients=steps)
    kept = REGISTRY["sgd"].without_conventions(probe)
    assert list(kept.state) == ["a", "b"]
    assert [step.keys() for step in kept.gradients] == [{"a", "b"}] * 3
    assert [step["b"][0] for step in kept.gradients] == [0, 1, 2]
    assert (kept.case, kept.options) == ("case", {"lr": 0.5})
    assert REGISTRY["linear"].without_conventions(probe) is probe
