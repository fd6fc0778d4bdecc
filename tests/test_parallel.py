"""DataParallel: the same as the module alone, on several threads, and what it refuses."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

import scratch
from scratch import Array, DataParallel, Linear, Module, Sequential

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

    def __deepcopy__(self, _: object) -> Watching:
        replica = Watching()
        replica.seen, replica.barrier = self.seen, self.barrier
        return replica

    def forward(self, x: Array) -> Array:
        self.seen.append((len(x), self.training, threading.get_ident()))
        if self.barrier:
            self.barrier.wait(10)
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
    ],
)
def test_what_cannot_be_done_in_parts_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_backward_refuses_to_come_first() -> None:
    parallel = DataParallel(Linear(1, 1))
    for backward in (parallel.backward, parallel.backward_parameters):
        with pytest.raises(RuntimeError, match=r"DataParallel\.backward\(\) was called before forward"):
            backward(np.ones((1, 1), np.float32))
