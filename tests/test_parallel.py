"""DataParallel: the same as the module alone, on several threads, and what it refuses."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

import scratch
from scratch import Array, DataParallel, Linear, Module, Sequential

pytestmark = pytest.mark.computes

MODELS: dict[str, Callable[[], Module]] = {
    "cnn": lambda: scratch.CNN(generator=np.random.default_rng(0), dtype="float64"),
    "lenet5": lambda: scratch.LeNet5(generator=np.random.default_rng(0), dtype="float64"),
}


def batch(images: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(images)
    return rng.standard_normal((images, 1, 28, 28)), rng.integers(0, 10, images)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", MODELS)
def test_training_and_evaluation_are_those_of_the_module_alone(name: str, threads: int) -> None:
    alone, module = MODELS[name](), MODELS[name]()
    parallel = DataParallel(module, threads=threads, least=3)
    results = []
    for model in (alone, parallel):
        optimizer, criterion = scratch.SGD(model.parameters(), lr=0.1, momentum=0.9), scratch.CrossEntropyLoss()
        steps = [scratch.train_step(model, criterion, optimizer, *batch(images)) for images in (11, 4, 2, 9)]
        results.append([*steps, scratch.evaluate(model, criterion, [batch(8), batch(1)])])
        np.testing.assert_array_equal(
            scratch.predict(model, batch(10)[0], batch_size=7), scratch.predict(alone, batch(10)[0])
        )
    for own, expected in zip(results[1], results[0], strict=True):
        assert own == pytest.approx(expected, rel=1e-12)
    for (key, array), twin in zip(alone.state_dict().items(), parallel.state_dict().items(), strict=True):
        assert twin[0] == f"module.{key}"
        np.testing.assert_allclose(twin[1], array, rtol=1e-11, atol=1e-14, err_msg=key)


@pytest.mark.parametrize("images", [1, 5, 6, 7, 100])
def test_outputs_and_gradients_come_back_in_order(images: int) -> None:
    rng = np.random.default_rng(0)
    linear = Linear(3, 2, generator=rng, dtype="float64")
    parallel, alone = DataParallel(linear, threads=3, least=2), Linear(3, 2, dtype="float64")
    alone.load_state_dict(linear.state_dict())
    for _ in range(2):  # the second time gradients add up
        x, g = rng.standard_normal((images, 3)), rng.standard_normal((images, 2))
        np.testing.assert_allclose(parallel(x), alone(x), rtol=1e-13)
        np.testing.assert_allclose(parallel.backward(g), alone.backward(g), rtol=1e-13)
    for own, expected in zip(linear.parameters(), alone.parameters(), strict=True):
        assert own.grad is not None
        assert expected.grad is not None
        np.testing.assert_allclose(own.grad, expected.grad, rtol=1e-12)


class Watching(Module):
    """Notes the images that each thread has, and can be told to wait for others or to fail."""

    def __init__(self, barrier: threading.Barrier | None = None) -> None:
        super().__init__()
        self.seen: list[tuple[int, bool, int]] = []
        self.barrier = barrier

    def forward(self, x: Array) -> Array:
        self.seen.append((len(x), self.training, threading.get_ident()))
        if self.barrier:
            self.barrier.wait(120)
        if (x < 0).any():
            raise ValueError("negative")
        return x

    def backward(self, grad_output: Array) -> Array:
        return grad_output


def test_the_parts_are_computed_at_the_same_time_and_are_of_about_one_size() -> None:
    watching = Watching(threading.Barrier(3))  # each waits until all three are there
    DataParallel(watching, threads=3, least=2)(np.zeros((11, 1)))
    assert sorted(images for images, _, _ in watching.seen) == [3, 4, 4]
    assert len({thread for *_, thread in watching.seen}) == 3


@pytest.mark.parametrize(("images", "parts"), [(0, 1), (1, 1), (7, 1), (8, 2), (11, 2), (12, 3), (100, 3)])
def test_a_part_has_the_least_number_of_images_at_least(images: int, parts: int) -> None:
    watching = Watching()
    parallel = DataParallel(watching, threads=3, least=4)
    assert parallel.parts(images) == parts
    parallel(np.zeros((images, 1)))
    assert len(watching.seen) == parts


def test_replicas_follow_the_mode_and_the_weights_of_the_module() -> None:
    watching = Watching()
    parallel = DataParallel(watching, threads=2, least=1)
    parallel.eval()(np.zeros((2, 1)))
    parallel.train()(np.zeros((2, 1)))
    assert [training for _, training, _ in watching.seen] == [False, False, True, True]
    linear = Linear(1, 1, bias=False)
    parallel = DataParallel(linear, threads=2, least=1)
    linear.weight.data = np.array([[3.0]], np.float32)  # another array, as `to` puts in its place
    assert parallel(np.ones((2, 1), np.float32)).tolist() == [[3], [3]]


@pytest.mark.parametrize("where", [0, 3])
def test_an_error_in_any_part_is_raised_when_all_have_ended(where: int) -> None:
    parallel = DataParallel(Watching(), threads=2, least=1)
    x = np.zeros((4, 1))
    x[where] = -1
    with pytest.raises(ValueError, match="negative"):
        parallel(x)
    assert parallel(np.ones((4, 1))).tolist() == [[1]] * 4


class Late(Module):
    """Fails at once where a number is negative, and else ends late."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[int] = []

    def forward(self, x: Array) -> Array:
        if (x < 0).any():
            raise ValueError("negative")
        time.sleep(0.1)
        self.ended.append(len(x))
        return x


def test_after_an_error_nobody_computes_any_more() -> None:
    late = Late()
    with pytest.raises(ValueError, match="negative"):
        DataParallel(late, threads=2, least=1)(np.array([[-1.0], [1.0]]))
    assert late.ended == [1]


def test_a_second_backward_adds_the_gradient_once_more() -> None:
    linear = Linear(1, 1, dtype="float64")
    parallel, gradients = DataParallel(linear, threads=2, least=1), []
    parallel(np.array([[1.0], [2.0]]))
    for _ in range(2):
        parallel.backward_parameters(np.ones((2, 1)))
        assert linear.weight.grad is not None
        gradients.append(linear.weight.grad.item())
    assert gradients == [3, 6]


class Whole(Module):
    """A layer of one's own that needs the batch whole."""

    splits_batches = False

    def forward(self, x: Array) -> Array:
        return x / x.max()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DataParallel(Linear(1, 1), threads=0), "DataParallel: threads must be an int of at least 1, got 0"),
        (lambda: DataParallel(Linear(1, 1), least=0), "DataParallel: least must be an int of at least 1, got 0"),
        (
            lambda: DataParallel(Sequential(scratch.ReLU(), scratch.BatchNorm2d(3))),
            r"DataParallel: module must take every image for itself, got BatchNorm2d in it \('1'\)",
        ),
        (lambda: DataParallel(scratch.Dropout()), "got Dropout in it"),
        (lambda: DataParallel(Whole()), r"DataParallel: module must .*, got Whole in it \(''\)"),
        (lambda: DataParallel(Sequential(Linear(1, 1), Sequential(Whole()))), r"got Whole in it \('1\.0'\)"),
    ],
)
def test_what_cannot_be_done_in_parts_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("rows", [3, 5, 8])
def test_a_gradient_of_another_batch_is_refused(rows: int) -> None:
    parallel = DataParallel(Linear(1, 1), threads=2, least=1)
    parallel(np.ones((4, 1), np.float32))
    for backward in (parallel.backward, parallel.backward_parameters):
        with pytest.raises(ValueError, match=r"DataParallel: grad_output must be like .*\[4, 1\], got"):
            backward(np.ones((rows, 1), np.float32))


def test_replicas_are_of_the_module_as_it_is_now() -> None:
    module = Sequential(Linear(2, 2), scratch.ReLU())
    parallel, x = DataParallel(module, threads=3, least=1), -np.ones((6, 2), np.float32)
    parallel(x)
    setattr(module, "1", scratch.Softmax())
    np.testing.assert_allclose(parallel(x).sum(axis=1), 1, rtol=1e-6)
    for layer in (scratch.Dropout(), Whole()):
        setattr(module, "1", layer)
        with pytest.raises(ValueError, match=f"got {type(layer).__name__} in it"):
            parallel(x)


def test_a_parameter_with_two_names_has_one_gradient_in_each_part() -> None:
    module = Sequential(Linear(2, 2, dtype="float64"), Linear(2, 2, dtype="float64"))
    first, second = (layer for _, layer in module.named_children())
    assert isinstance(first, Linear)
    assert isinstance(second, Linear)
    second.weight = first.weight
    gradients = []
    for model in (module, DataParallel(module, threads=2, least=1)):
        module.zero_grad()
        model(np.arange(8.0).reshape(4, 2))
        model.backward_parameters(np.ones((4, 2)))
        assert first.weight.grad is not None
        gradients.append(first.weight.grad)
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-13)


def test_it_can_be_copied_and_pickled_after_use() -> None:
    parallel, x = DataParallel(Linear(3, 2), threads=3, least=1), np.ones((6, 3), np.float32)
    y = parallel(x)
    for twin in (copy.deepcopy(parallel), pickle.loads(pickle.dumps(parallel))):
        np.testing.assert_array_equal(twin(x), y)


def test_its_threads_end_with_it() -> None:
    before, parallel = set(threading.enumerate()), DataParallel(Linear(1, 1), threads=3, least=1)
    for _ in range(3):
        parallel(np.ones((6, 1), np.float32))
    own = set(threading.enumerate()) - before
    assert len(own) == 2
    del parallel
    gc.collect()
    for thread in own:
        thread.join(timeout=120)
        assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_it_works_on_in_a_forked_process() -> None:
    parallel = DataParallel(Linear(1, 1), threads=2, least=1)
    parallel(np.ones((2, 1), np.float32))
    child = os.fork()
    if not child:
        parallel(np.ones((2, 1), np.float32))
        os._exit(7)
    deadline = time.monotonic() + 120
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("it hangs")
        time.sleep(0.01)


def test_numpys_settings_hold_in_every_thread() -> None:
    parallel = DataParallel(Sequential(Linear(1, 1, bias=False)), threads=2, least=1)
    large = np.array([[1.0], [3e38]], np.float32)
    next(parallel.parameters()).data[...] = 1e30
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        parallel(large)
    with np.errstate(over="ignore"):
        assert np.isinf(parallel(large)[1])


def test_backward_refuses_to_come_first() -> None:
    parallel = DataParallel(Linear(1, 1))
    for backward in (parallel.backward, parallel.backward_parameters):
        with pytest.raises(RuntimeError, match=r"DataParallel\.backward\(\) was called before forward"):
            backward(np.ones((1, 1), np.float32))
