"""Modules, models, optimizers, one training step and the memory of arrays: each by itself, by hand or beside torch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import scratch
from compare.pairs.optimizers import OptimizerPair
from compare.pairs.registry import REGISTRY
from scratch import (
    CNN,
    SGD,
    Adam,
    Array,
    BatchNorm2d,
    Buffer,
    CrossEntropyLoss,
    DataParallel,
    LeNet5,
    Linear,
    Module,
    Optimizer,
    Parameter,
    ReLU,
    Sequential,
    backend,
    evaluate,
    optim,
    predict,
    train_step,
)
from scratch.module import float_type, uniform
from scratch.parallel import replica

pytestmark = pytest.mark.computes


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


# Modules.


def test_modules_have_dotted_names_from_the_outermost_inwards() -> None:
    model = Sequential(Sequential(ReLU(), Linear(2, 3)), BatchNorm2d(1))
    assert [name for name, _ in model.named_modules()] == ["", "0", "0.0", "0.1", "1"]
    assert [name for name, _ in model.named_modules("all")] == ["all", "all.0", "all.0.0", "all.0.1", "all.1"]
    assert [name for name, _ in model.named_parameters()] == ["0.1.weight", "0.1.bias", "1.weight", "1.bias"]
    assert [name for name, _ in model.named_buffers()] == ["1.running_mean", "1.running_var", "1.num_batches_tracked"]
    assert [type(child) for _, child in model.named_children()] == [Sequential, BatchNorm2d]
    assert next(iter(dict(model.named_modules()).values())) is model


def test_a_gradient_is_added_to_the_one_before_and_not_written_into_it() -> None:
    parameter, first = Parameter(np.zeros(2)), np.array([1.0, 2.0])
    parameter.accumulate_grad(first)
    assert parameter.grad is first
    parameter.accumulate_grad(np.array([10.0, -5.0]))
    np.testing.assert_array_equal(parameter.grad, [11, -3])
    np.testing.assert_array_equal(first, [1, 2])


def test_a_mode_is_given_to_all_and_the_module_given_back() -> None:
    model = Sequential(Sequential(ReLU()))
    assert model.training
    assert model.eval() is model
    assert [module.training for _, module in model.named_modules()] == [False] * 3
    assert model.train() is model
    assert [module.training for _, module in model.named_modules()] == [True] * 3
    model.train(False)
    assert not model.training


def test_what_is_saved_is_what_the_last_forward_saved() -> None:
    module = Module()
    with pytest.raises(RuntimeError, match=r"^Module\.backward\(\) was called before forward\(\)$"):
        _ = module.saved_for_backward
    module.save_for_backward(1, "two")
    module.save_for_backward()
    assert module.saved_for_backward == ()


def test_a_module_whose_backward_is_one_gives_the_parameters_gradients_by_it() -> None:
    class Own(Module):
        def backward(self, grad_output: Array) -> Array:
            self.seen = grad_output
            return grad_output

    own, g = Own(), np.ones(1)
    assert own.backward_parameters(g) is None  # type: ignore[func-returns-value]
    assert own.seen is g


def test_only_floating_point_numbers_change_their_dtype() -> None:
    class Own(Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = Parameter(np.ones(2))
            for kind in ("bool", "int64", "uint8", "float32"):
                setattr(self, kind, Buffer(np.ones(2, kind)))

    own = Own()
    own.weight.grad = np.ones(2)
    assert own.to(lambda array: array.astype(np.float16) * 0) is own
    assert own.weight.grad is None
    state = own.state_dict()
    assert [str(array.dtype) for array in state.values()] == ["float16", "bool", "int64", "uint8", "float16"]
    assert not any(array.any() for array in state.values()), "whole numbers are converted, too"


def test_a_state_names_all_that_is_missing_and_all_that_is_too_much_in_order() -> None:
    norm = BatchNorm2d(1)
    state = {"z": np.zeros(1), "a": np.zeros(1)} | {k: v for k, v in norm.state_dict().items() if "running" not in k}
    with pytest.raises(ValueError, match="missing") as refused:
        norm.load_state_dict(state)
    expected = "missing keys ['running_mean', 'running_var'], unexpected keys ['a', 'z']"
    assert str(refused.value) == f"BatchNorm2d: {expected}"


def test_parameters_are_drawn_evenly_from_an_interval() -> None:
    drawn = uniform(np.random.default_rng(0), 0.25, (3, 4), "float32")
    np.testing.assert_array_equal(drawn.data, np.random.default_rng(0).uniform(-0.25, 0.25, (3, 4)).astype(np.float32))
    assert drawn.data.dtype == np.float32
    assert uniform(None, 1.0, (2, 5), float).data.shape == (2, 5)
    for dtype in ("float16", int, np.complex128):
        with pytest.raises(ValueError, match="dtype must be float32 or float64, got"):
            float_type(dtype)
    assert float_type("float32") == np.float32
    assert float_type(float) == np.float64


def test_an_empty_sequence_passes_everything_on() -> None:
    model, x = Sequential(), np.ones(2)
    assert model(x) is x
    assert model.backward(x) is x
    model.backward_parameters(x)


@pytest.mark.parametrize("make", [CNN, LeNet5])
def test_a_model_is_its_layers_in_the_order_of_their_names(make: Callable[..., Module]) -> None:
    model = make(7, generator=np.random.default_rng(0), dtype=np.float64)
    layers = Sequential(*(layer for _, layer in model.named_children()))
    x, g = normal(2, 1, 28, 28), normal(2, 7, seed=1)
    y = model(x)
    assert y.shape == (2, 7)
    assert y.dtype == np.float64
    grad_input = model.backward(g)
    gradients = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    np.testing.assert_array_equal(layers(x), y)
    np.testing.assert_array_equal(layers.backward(g), grad_input)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert gradient is not None
        np.testing.assert_array_equal(parameter.grad, gradient)
        assert gradient.any()


@pytest.mark.parametrize("make", [CNN, LeNet5])
def test_a_model_is_drawn_whole_from_one_generator_in_the_dtype_asked_for(make: Callable[..., Module]) -> None:
    one, two, wide = (make(generator=np.random.default_rng(3), dtype=dtype) for dtype in ("float32", "float32", float))
    for (name, array), twin, exact in zip(
        one.state_dict().items(), two.state_dict().values(), wide.state_dict().values(), strict=True
    ):
        np.testing.assert_array_equal(array, twin, err_msg=name)
        np.testing.assert_array_equal(array, exact.astype(np.float32), err_msg=name)
        assert exact.dtype == np.float64
    assert {str(array.dtype) for array in make().state_dict().values()} == {"float32"}
    assert list(make().state_dict().values())[-1].shape == (10,)


# The optimizers.

OPTIONS = [
    (pair.scratch, pair.torch, options)
    for pair in REGISTRY.values()
    if isinstance(pair, OptimizerPair)
    for options in pair.options
]


@pytest.mark.parametrize(("make", "make_twin", "options"), OPTIONS)
def test_an_optimizer_steps_as_torchs(make: Any, make_twin: Any, options: dict[str, Any]) -> None:
    start = [normal(2, 3), normal(4, seed=1)]
    own, tensors = [Parameter(array.copy()) for array in start], [torch.tensor(array) for array in start]
    optimizer, twin = make(own, **options), make_twin(tensors, **options)
    for number in range(4):
        for n, (parameter, tensor) in enumerate(zip(own, tensors, strict=True)):
            g = normal(*parameter.data.shape, seed=10 * number + n)
            parameter.grad, tensor.grad = (g, torch.tensor(g)) if n or number % 2 else (None, None)
            kept = g.copy()
        optimizer.step()
        twin.step()
        np.testing.assert_array_equal(g, kept)
        for parameter, tensor in zip(own, tensors, strict=True):
            np.testing.assert_allclose(parameter.data, tensor.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("kind", "twin"), [(SGD, torch.optim.SGD), (Adam, torch.optim.Adam)])
def test_the_settings_of_an_optimizer_are_torchs_where_nothing_is_said(kind: Any, twin: Any) -> None:
    own, theirs = (inspect.signature(each).parameters for each in (kind, twin))
    settings = {name: value.default for name, value in own.items() if value.default is not inspect.Parameter.empty}
    assert settings == {name: theirs[name].default for name in settings}
    optimizer = kind([Parameter(np.ones(1))])
    held = {name: getattr(optimizer, name) for name in settings if name != "amsgrad"}
    assert held == {name: value for name, value in settings.items() if name != "amsgrad"}


def test_settings_of_0_are_allowed() -> None:
    parameter = Parameter(np.ones(1))
    for optimizer in (
        SGD([parameter], lr=0.0, momentum=0.0, dampening=-3.0, weight_decay=0.0),
        Adam([parameter], lr=0.0, betas=(0.0, 0.0), eps=0.0, weight_decay=0.0),
        SGD([parameter], lr=0.0, momentum=1e-9, nesterov=True),
    ):
        parameter.grad = np.ones(1)
        optimizer.step()
        assert parameter.data == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: SGD(p, momentum=math.inf), "SGD: momentum must be a number of at least 0, got inf"),
        (lambda p: SGD(p, dampening=-math.inf), "SGD: dampening must be a number, got -inf"),
        (
            lambda p: SGD(p, momentum=0.5, dampening=-0.5, nesterov=True),
            "SGD: nesterov needs momentum above 0 and dampening 0, got momentum=0.5, dampening=-0.5",
        ),
        (lambda p: Adam(p, weight_decay=-1.0), "Adam: weight_decay must be a number of at least 0, got -1.0"),
        (lambda p: Adam(p, eps=math.inf), "Adam: eps must be a number of at least 0, got inf"),
        (
            lambda p: Adam(p, betas=(0.5, 0.5, 0.5)),  # type: ignore[arg-type]
            "Adam: betas must be two numbers of at least 0 and below 1, got (0.5, 0.5, 0.5)",
        ),
        (
            lambda p: Adam(p, betas=(0.5, 1.0)),
            "Adam: betas must be two numbers of at least 0 and below 1, got (0.5, 1.0)",
        ),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(make: Callable[[list[Parameter]], object], message: str) -> None:
    with pytest.raises(ValueError, match=r"must be|needs") as refused:
        make([Parameter(np.ones(1))])
    assert str(refused.value) == message


def test_parameters_may_come_from_a_generator_and_lose_their_gradients_together() -> None:
    optimizer = SGD(iter([Parameter(np.ones(1)), Parameter(np.ones(2))]))
    for parameter in optimizer.parameters:
        parameter.grad = np.ones(1)
    optimizer.zero_grad()
    assert [parameter.grad for parameter in optimizer.parameters] == [None, None]


def test_the_velocity_is_updated_where_it_is_and_is_no_gradient() -> None:
    parameter = Parameter(np.zeros(2))
    sgd = SGD([parameter], lr=1.0, momentum=0.5)
    g = np.array([2.0, 4.0])
    parameter.grad = g
    sgd.step()
    velocity = sgd.velocity[0]
    sgd.step()
    assert sgd.velocity[0] is velocity
    np.testing.assert_array_equal(velocity, [3, 6])
    np.testing.assert_array_equal(g, [2, 4])
    np.testing.assert_array_equal(parameter.data, [-5, -10])


def two(kind: type[SGD] | type[Adam]) -> Any:
    return kind([Parameter(np.zeros(2)), Parameter(np.zeros((1, 3), np.float32))])


def test_a_state_may_be_of_some_parameters_and_its_numbers_of_any_dtype() -> None:
    adam = two(Adam)
    state = {"1.exp_avg": np.ones((1, 3), np.float32), "1.exp_avg_sq": np.full((1, 3), 2, np.float32)}
    for step in (np.array(5), np.array(5.0), np.array(5, np.float32)):
        adam.load_state_dict(state | {"1.step": step})
        assert adam.moments[0] is None
        m, v, t = adam.moments[1]
        np.testing.assert_array_equal(m, state["1.exp_avg"])
        np.testing.assert_array_equal(v, state["1.exp_avg_sq"])
        assert t == 5
        assert type(t) is int
        assert m is not state["1.exp_avg"]
        assert not np.shares_memory(m, state["1.exp_avg"])
    saved = adam.state_dict()
    assert list(saved) == ["1.exp_avg", "1.exp_avg_sq", "1.step"]
    assert saved["1.exp_avg"] is adam.moments[1][0]
    assert saved["1.step"].dtype == np.float32
    assert saved["1.step"].shape == ()
    adam.load_state_dict({})
    assert adam.moments == [None, None]
    assert adam.state_dict() == {}


@pytest.mark.parametrize(
    ("kind", "state", "message"),
    [
        (SGD, {"0.momentum_buffer": np.ones(3)}, "SGD: 0.momentum_buffer must be float64[2], got float64[3]"),
        (
            SGD,
            {"1.momentum_buffer": np.ones((1, 3))},
            "SGD: 1.momentum_buffer must be float32[1, 3], got float64[1, 3]",
        ),
        (SGD, {"2.momentum_buffer": np.ones(2)}, "SGD: unexpected state ['2.momentum_buffer']"),
        (SGD, {"b": np.ones(2), "a": np.ones(2)}, "SGD: unexpected state ['a', 'b']"),
        (
            Adam,
            {"1.step": np.array(1.0), "1.exp_avg": np.ones((1, 3), np.float32)},
            "Adam: state of parameter 1 must have all of ('exp_avg', 'exp_avg_sq', 'step'), "
            "got ['1.exp_avg', '1.step']",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused_in_words(kind: Any, state: dict[str, Array], message: str) -> None:
    with pytest.raises(ValueError, match=r"state|must be") as refused:
        two(kind).load_state_dict(state)
    assert str(refused.value) == message


def test_a_state_goes_to_where_its_parameter_is_but_for_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[tuple[Array, Array]] = []

    def beside(array: Array, other: Array) -> Array:
        moved.append((array, other))
        return array

    monkeypatch.setattr(optim, "beside", beside)
    adam = two(Adam)
    m, v = np.ones(2), np.full(2, 2.0)
    adam.load_state_dict({"0.exp_avg": m, "0.exp_avg_sq": v, "0.step": np.array(3.0)})
    assert [array is given for (array, _), given in zip(moved, (m, v), strict=True)] == [True, True]
    assert all(other is adam.parameters[0].data for _, other in moved)


# One training step, the evaluation, and answers.


class Scores(Module):
    """Gives each image's numbers as its scores, and remembers how it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[int, bool]] = []
        self.shift = Parameter(np.zeros(3))

    def forward(self, x: Array) -> Array:
        self.asked.append((len(x), self.training))
        return x.reshape(len(x), 3) + self.shift.data

    def backward(self, _: Array) -> Array:
        raise AssertionError("nobody learns from the gradient of the images")

    def backward_parameters(self, grad_output: Array) -> None:
        self.shift.accumulate_grad(grad_output.sum(axis=0))


IMAGES = np.array([[0.0, 1, 0], [2, 0, 0], [0, 0, 3], [0, 4, 0], [5, 0, 0]])[:, None, None]
LABELS = np.array([1, 0, 0, 1, 2])


@pytest.mark.parametrize("training", [True, False])
def test_an_evaluation_is_the_mean_over_images_and_not_over_batches(training: bool) -> None:
    model = Scores().train(training)
    batches = ((IMAGES[at], LABELS[at]) for at in (slice(0, 4), slice(4, 5)))
    loss, right = evaluate(model, CrossEntropyLoss(), batches)
    scores, rows = torch.tensor(IMAGES.reshape(5, 3)), torch.tensor(LABELS)
    assert loss == pytest.approx(torch.nn.functional.cross_entropy(scores, rows).item(), rel=1e-14)
    assert right == 3 / 5
    assert model.asked == [(4, False), (1, False)]
    assert model.training is training


def test_an_evaluation_of_nothing_is_refused_and_changes_no_mode() -> None:
    model = Scores()
    with pytest.raises(ValueError, match=r"^evaluate: batches must hold at least one batch, got none$"):
        evaluate(model, CrossEntropyLoss(), [])
    assert model.training


@pytest.mark.parametrize("training", [True, False])
def test_answers_come_in_order_whatever_the_batches(training: bool) -> None:
    for size, batches in ((1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (6, [5])):
        model = Scores().train(training)
        np.testing.assert_array_equal(predict(model, IMAGES, size), [1, 0, 2, 1, 0])
        assert model.asked == [(images, False) for images in batches]
        assert model.training is training
    model = Scores()
    predict(model, np.zeros((600, 1, 1, 3)))
    assert [images for images, _ in model.asked] == [256, 256, 88]


def test_a_step_forgets_the_gradients_of_the_last_and_answers_with_the_scores_before_it() -> None:
    model = Scores()
    model.shift.grad = np.full(3, 1e9)
    loss, right = train_step(model, CrossEntropyLoss(), SGD(model.parameters(), lr=0.5), IMAGES, LABELS)
    scores = torch.tensor(IMAGES.reshape(5, 3), requires_grad=True)
    expected = torch.nn.functional.cross_entropy(scores, torch.tensor(LABELS))
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-14)
    assert type(loss) is float
    assert right == 3
    assert type(right) is int
    assert scores.grad is not None
    np.testing.assert_allclose(model.shift.data, -0.5 * scores.grad.numpy().sum(axis=0), rtol=1e-13)
    assert model.asked == [(5, True)]


# Parts of a batch.


def test_two_threads_take_64_images_or_more_each_where_nothing_is_said() -> None:
    parallel = DataParallel(ReLU())
    assert (parallel.threads, parallel.least) == (2, 64)
    assert [parallel.parts(images) for images in (0, 64, 127, 128, 1000)] == [1, 1, 1, 2, 2]
    assert DataParallel(ReLU(), threads=5, least=3).parts(14) == 4


def test_one_part_needs_no_thread() -> None:
    parallel = DataParallel(ReLU(), threads=2, least=2)
    parallel(np.ones((3, 1)))
    assert parallel._pool is None
    parallel(np.ones((4, 1)))
    assert parallel._pool is not None
    pool = parallel._pool[1]
    parallel(np.ones((4, 1)))
    assert parallel._pool[1] is pool
    assert parallel.__getstate__()["_pool"] is None
    assert parallel._pool[1] is pool, "only a copy goes without its threads"


def test_a_replica_shares_the_arrays_and_nothing_else() -> None:
    inner = Linear(2, 3)
    module = Sequential(inner, Sequential(inner), ReLU())
    inner.weight.grad = np.ones((3, 2), np.float32)
    twin = replica(module)
    names = [name for name, _ in module.named_modules()]
    assert [name for name, _ in twin.named_modules()] == names
    for (_, own), (_, other) in zip(module.named_modules(), twin.named_modules(), strict=True):
        assert own is not other
        assert type(own) is type(other)
    for (name, mine), theirs in zip(module.named_parameters(), dict(twin.named_parameters()).values(), strict=True):
        assert mine is not theirs, name
        assert mine.data is theirs.data
        assert theirs.grad is None
    assert len({id(parameter) for _, parameter in twin.named_parameters()}) == 2
    assert inner.weight.grad is not None


class Centred(Module):
    """Takes the mean of the batch away."""

    splits_batches = False

    def forward(self, x: Array) -> Array:
        return x - x.mean(axis=0)


class OwnNorm(BatchNorm2d):
    pass


def test_a_layer_says_whether_its_batch_may_be_cut() -> None:
    layers = [getattr(scratch, name) for name in scratch.__all__]
    kinds = [kind for kind in layers if isinstance(kind, type) and issubclass(kind, Module)]
    assert {kind.__name__ for kind in kinds if not kind.splits_batches} == {"BatchNorm2d", "Dropout"}
    assert {"Module", "Conv2d", "Sequential", "CNN", "DataParallel"} < {k.__name__ for k in kinds if k.splits_batches}


def test_a_layer_that_looks_at_other_images_is_refused_by_its_dotted_name() -> None:
    layers = BatchNorm2d(1), scratch.Dropout(), Centred(), OwnNorm(1)
    for layer, kind in zip(layers, ("BatchNorm2d", "Dropout", "Centred", "OwnNorm"), strict=True):
        for module, name in ((layer, ""), (Sequential(ReLU(), layer), "1"), (Sequential(Sequential(layer)), "0.0")):
            with pytest.raises(ValueError, match="DataParallel: module") as refused:
                replica(module)
            assert str(refused.value) == (
                f"DataParallel: module must take every image for itself, got {kind} in it ({name!r})"
            )


def test_a_layer_is_cut_up_or_not_as_it_says_whatever_its_class() -> None:
    norm = OwnNorm(1, dtype=float).eval()
    norm.splits_batches = True  # in evaluation its averages are those of nobody in the batch
    x = normal(4, 1, 2, 3)
    parallel = DataParallel(Sequential(norm), threads=2, least=1).eval()
    np.testing.assert_array_equal(parallel(x), norm(x))
    linear = Linear(1, 1)
    linear.splits_batches = False
    with pytest.raises(ValueError, match=r"got Linear in it \('0'\)$"):
        replica(Sequential(linear))


def test_a_parameter_without_a_gradient_gets_none_from_its_replicas() -> None:
    class Half(Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = Parameter(np.zeros(1)), Parameter(np.zeros(1))

        def forward(self, x: Array) -> Array:
            return x

        def backward(self, grad_output: Array) -> Array:
            self.used.accumulate_grad(grad_output.sum(axis=0))
            return 2 * grad_output

    half = Half()
    parallel = DataParallel(half, threads=3, least=1)
    parallel(np.zeros((4, 1)))
    np.testing.assert_array_equal(parallel.backward(np.array([[1.0], [2], [3], [4]])), [[2], [4], [6], [8]])
    np.testing.assert_array_equal(half.used.grad, [10])
    assert half.idle.grad is None


# Where arrays are: another library's are stood in for.


class Elsewhere:
    """An array on another device, which comes back by `get`."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def get(self) -> Array:
        return self.array


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """In CuPy's place: it says what it was asked for."""
    tricks = SimpleNamespace(as_strided=lambda *given: ("strided", *given))
    library = SimpleNamespace(
        lib=SimpleNamespace(stride_tricks=tricks), from_dlpack=lambda tensor: ("borrowed", tensor)
    )
    monkeypatch.setattr(backend, "open_cupy", lambda: library)
    return library


def test_an_array_of_numpy_is_on_the_host_and_others_are_not() -> None:
    assert backend.on_host(np.zeros(1))
    assert not backend.on_host(Elsewhere(np.zeros(1)))  # type: ignore[arg-type]


def test_an_array_comes_back_as_a_copy() -> None:
    array = np.arange(3.0)
    assert backend.to_host(array) is not array
    np.testing.assert_array_equal(backend.to_host(array), array)
    assert backend.to_host(Elsewhere(array)) is array  # type: ignore[arg-type]


def test_an_array_goes_beside_another() -> None:
    array = np.arange(3.0)
    assert backend.beside(array, np.zeros(1)) is array
    assert backend.beside(Elsewhere(array), np.zeros(1)) is array  # type: ignore[arg-type]

    class Asked:
        """Takes part in NumPy's protocol."""

        def __array_function__(self, function: Any, _types: Any, arguments: Any, named: Any) -> Any:
            return function, arguments, named

    assert backend.beside(array, Asked()) == (np.asarray, (array,), {})  # type: ignore[arg-type]


def test_memory_is_seen_under_another_shape_by_the_library_it_belongs_to(other: SimpleNamespace) -> None:
    array = np.arange(6.0)
    view = backend.as_strided(array, (2, 3), (16, 8))
    np.testing.assert_array_equal(view, [[0, 1, 2], [2, 3, 4]])
    assert np.shares_memory(view, array)
    elsewhere: Any = Elsewhere(array)
    assert backend.as_strided(elsewhere, (2, 3), (16, 8)) == ("strided", elsewhere, (2, 3), (16, 8))
    assert other.lib


class Lender:
    def __init__(self, kind: int) -> None:
        self.kind = kind

    def __dlpack__(self, *, stream: None = None) -> Any:
        raise AssertionError(stream)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.kind, 0


def test_the_memory_of_an_nvidia_gpu_is_borrowed_by_the_other_library(other: SimpleNamespace) -> None:
    lender = Lender(2)
    assert backend.from_dlpack(lender) == ("borrowed", lender)
    assert other.from_dlpack
    tensor = torch.arange(3.0)
    borrowed = backend.from_dlpack(tensor)
    tensor[0] = 7
    assert borrowed.tolist() == [7, 1, 2]


def test_an_optimizer_is_known_by_its_name() -> None:
    class Own(Optimizer):
        pass

    with pytest.raises(ValueError, match=r"^Own: lr must be a number of at least 0, got -1$"):
        Own([Parameter(np.ones(1))], -1)
    assert Own([Parameter(np.ones(1))], 2).lr == 2
