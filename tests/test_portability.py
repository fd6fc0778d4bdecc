"""The same NumPy code runs on CuPy's arrays: shown, without a GPU, on a stand-in that refuses what CuPy refuses."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import scratch
import torch_ref
from compare.pairs import weights
from compare.pairs.registry import MODELS, REGISTRY
from scratch import Array, backend, windows
from tests import stand_in
from tests.elsewhere import maker
from tests.stand_in import DeviceArray

pytestmark = pytest.mark.computes

DTYPES = ["float32", "float64"]


@pytest.fixture(autouse=True)
def _in_place_of_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in, also where CuPy is asked for by name; and the same pieces as at home, for the same bits."""
    monkeypatch.setattr(backend, "open_cupy", lambda: stand_in.CUPY)
    monkeypatch.setattr(windows, "on_host", lambda _: True)


def place(array: Array) -> Array:
    """To the device: typed as NumPy's arrays are, as CuPy's are too."""
    placed: Any = stand_in.asarray(array)
    return placed


def norms_and_dropout(dtype: str) -> scratch.Module:
    rng = np.random.default_rng(3)
    return scratch.Sequential(
        scratch.Conv2d(1, 3, 3, stride=2, generator=rng, dtype=dtype),
        scratch.BatchNorm2d(3, dtype=dtype),
        scratch.ReLU(),
        scratch.Dropout(0.3, generator=rng),
        scratch.MaxPool2d(3, stride=2, padding=1),
        scratch.Flatten(),
        scratch.Linear(3 * 7 * 7, 10, generator=rng, dtype=dtype),
    )


TRAINED: dict[str, Callable[[str], scratch.Module]] = {
    "cnn": lambda dtype: scratch.CNN(dtype=dtype, generator=np.random.default_rng(1)),
    "lenet5": lambda dtype: scratch.LeNet5(dtype=dtype, generator=np.random.default_rng(1)),
    "norms and dropout": norms_and_dropout,
}
OPTIMIZERS: list[Callable[[scratch.Module], scratch.Optimizer]] = [
    lambda model: scratch.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    lambda model: scratch.SGD(model.parameters(), lr=0.05, momentum=0.9, dampening=0.1),
    lambda model: scratch.Adam(model.parameters(), weight_decay=0.1),
]


def images_and_labels(dtype: str, count: int = 10) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, 1, 28, 28)).astype(dtype), rng.integers(0, 10, count)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in REGISTRY if name not in MODELS])
def test_every_registered_layer_and_optimizer_gives_the_same_bits_elsewhere(name: str, dtype: str) -> None:
    pair = REGISTRY[name]
    for probe in pair.probes(dtype):
        # What comes to the device has no gaps in memory; NumPy 2.0 adds up otherwise where there are some.
        without_gaps = replace(probe, layout="contiguous") if probe.layout == "strided" else probe
        at_home, elsewhere = pair.drive(pair.scratch, without_gaps), pair.drive(maker(pair, place), probe)
        assert at_home.keys() == elsewhere.keys()
        for tensor, array in at_home.items():
            np.testing.assert_array_equal(elsewhere[tensor], array, err_msg=f"{tensor}, {probe.case}", strict=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make_optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", TRAINED)
def test_training_stays_on_its_device_and_gives_the_same_bits(
    model: str, make_optimizer: Callable[[scratch.Module], scratch.Optimizer], dtype: str
) -> None:
    images, labels = images_and_labels(dtype)
    results, states = [], []
    for bring in (lambda array: array, place):
        net = TRAINED[model](dtype).to(bring)
        criterion, optimizer = scratch.CrossEntropyLoss(), make_optimizer(net)
        batch = bring(images), bring(labels)
        result: list[Any] = [scratch.train_step(net, criterion, optimizer, *batch) for _ in range(3)]
        result += [scratch.evaluate(net, criterion, [batch, batch])]
        answers = scratch.predict(net, batch[0], batch_size=4)
        assert type(answers) is type(batch[0])
        gradients = {}
        for name, parameter in net.named_parameters():
            assert parameter.grad is not None
            assert type(parameter.data) is type(parameter.grad) is type(batch[0])
            gradients[f"gradient of {name}"] = backend.to_host(parameter.grad)
        optimizer.zero_grad()
        net.zero_grad()
        results.append((result, backend.to_host(answers).tolist()))
        states.append(weights.scratch_state(net) | gradients)
    assert results[0] == results[1]
    for name, array in states[0].items():
        np.testing.assert_array_equal(states[1][name], array, err_msg=name, strict=True)


WAITS = ("get", "item", "tolist", "__float__", "__int__", "__bool__", "__index__")


@pytest.mark.parametrize("make_optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", TRAINED)
def test_a_training_step_waits_for_its_device_at_its_end_only(
    model: str, make_optimizer: Callable[[scratch.Module], scratch.Optimizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number that comes to the host waits until everything before it is computed, and nothing is queued meanwhile."""
    net = TRAINED[model]("float32").to(place)
    optimizer, criterion, batch = (
        make_optimizer(net),
        scratch.CrossEntropyLoss(),
        map(place, images_and_labels("float32")),
    )
    events: list[str] = []

    def told(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            events.append(name)
            return function(*arguments)

        return call

    for name in WAITS:
        if function := vars(DeviceArray).get(name):
            monkeypatch.setattr(DeviceArray, name, told(name, function))
    monkeypatch.setattr(optimizer, "step", told("the update", optimizer.step))
    scratch.train_step(net, criterion, optimizer, *batch)
    assert events == ["the update", "__float__", "__int__"]


def test_on_a_gpu_everything_is_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    y = np.zeros((2, 5, 4, 3))
    assert len(list(windows.pieces(place(y), limit=7))) > 1
    monkeypatch.undo()
    (at,) = windows.pieces(place(y), limit=7)
    assert y[:, *at].shape == y.shape
    assert len(list(windows.pieces(y, limit=7))) > 1


@pytest.mark.parametrize("make_optimizer", OPTIMIZERS)
def test_an_optimizer_goes_on_elsewhere_from_a_state_of_the_host(
    make_optimizer: Callable[[scratch.Module], scratch.Optimizer],
) -> None:
    images, labels = images_and_labels("float32")
    nets = [scratch.CNN(generator=np.random.default_rng(0)) for _ in range(2)]
    optimizers = [make_optimizer(net) for net in nets]
    for net, optimizer in zip(nets, optimizers, strict=True):
        scratch.train_step(net, scratch.CrossEntropyLoss(), optimizer, images, labels)
    nets[1].to(place)
    saved = optimizers[0].state_dict()
    assert saved
    optimizers[1].load_state_dict(saved)
    for optimizer in optimizers:
        for parameter in optimizer.parameters:
            parameter.grad = parameter.data + 1
        optimizer.step()
    for name, array in weights.scratch_state(nets[0]).items():
        np.testing.assert_array_equal(weights.scratch_state(nets[1])[name], array)


def test_every_registered_model_is_trained_here() -> None:
    assert MODELS.keys() <= TRAINED.keys()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_loss_takes_a_gradient_or_a_number(reduction: str) -> None:
    logits, labels = np.random.default_rng(0).standard_normal((4, 3)), np.array([2, 0, 1, 1], np.uint8)
    grads = []
    for bring in (lambda array: array, place):
        criterion = scratch.CrossEntropyLoss(reduction=reduction)
        loss = criterion(bring(logits), bring(labels))
        grads.append(backend.to_host(criterion.backward(loss)))
        if reduction != "none":
            np.testing.assert_array_equal(
                backend.to_host(criterion.backward(2.0)), 2 * backend.to_host(criterion.backward())
            )
    np.testing.assert_array_equal(grads[1], grads[0], strict=True)


def test_weights_go_from_device_to_device() -> None:
    home, elsewhere, twin = scratch.LeNet5(), scratch.LeNet5().to(place), torch_ref.LeNet5()
    elsewhere.load_state_dict(home.state_dict())
    assert all(isinstance(array, DeviceArray) for array in elsewhere.state_dict().values())
    weights.scratch_to_torch(elsewhere, twin)
    other, other_home = scratch.LeNet5().to(place), scratch.LeNet5()
    weights.torch_to_scratch(twin, other)
    other_home.load_state_dict(other.state_dict())
    for name, array in home.state_dict().items():
        for state in (weights.torch_state(twin), weights.scratch_state(other), other_home.state_dict()):
            np.testing.assert_array_equal(state[name], array)
    with torch.no_grad():
        twin.conv1.weight.zero_()
    assert weights.scratch_state(other)["conv1.weight"].any(), "a copy, not the same memory"


def test_whole_numbers_and_their_dtype_survive_the_way() -> None:
    norm = scratch.BatchNorm2d(2).to(lambda array: place(array.astype(np.float64)))
    assert [norm.state_dict()[name].dtype.name for name in ("weight", "num_batches_tracked")] == ["float64", "int64"]


def test_memory_is_borrowed_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = torch.zeros(3)
    array = backend.from_dlpack(tensor)
    tensor[1] = 5
    assert array.tolist() == [0, 5, 0]

    class OnTheGPU:
        def __dlpack_device__(self) -> tuple[int, int]:
            return backend.CUDA, 0

        def __dlpack__(self, *, stream: None = None) -> Any:
            raise AssertionError

    class CuPy:
        @staticmethod
        def from_dlpack(given: object) -> str:
            return f"CuPy's view of {type(given).__name__}"

    monkeypatch.setattr(backend, "open_cupy", lambda: CuPy)
    assert str(backend.from_dlpack(OnTheGPU())) == "CuPy's view of OnTheGPU"


# The test is tested: it finds what would fail on a GPU.


class Mixing(scratch.ReLU):
    def forward(self, x: Array) -> Array:
        return super().forward(x) + np.zeros(x.shape, x.dtype)


class Converting(scratch.ReLU):
    def forward(self, x: Array) -> Array:
        return super().forward(np.asarray(x))


class Lacking(scratch.ReLU):
    def forward(self, x: Array) -> Array:
        return np.maximum(x, 0, out=np.zeros_like(x), where=np.ones_like(x, dtype=bool))


class Writing(scratch.ReLU):
    def forward(self, x: Array) -> Array:
        y = np.empty_like(x)
        y[...] = np.zeros(x.shape)
        return y


@pytest.mark.parametrize("layer", [Mixing, Converting, Lacking, Writing])
def test_a_layer_that_would_fail_on_a_gpu_fails_here(layer: type[scratch.Module]) -> None:
    x = np.zeros((2, 3))
    layer()(x)
    with pytest.raises((TypeError, ValueError), match=r"Unsupported type|not allowed|Wrong arguments|cannot be used"):
        layer()(place(x))


@pytest.mark.parametrize(
    "refused",
    [
        lambda x: np.zeros(2) + x,
        lambda x: np.add(x, x, out=np.zeros(2)),
        lambda x: x.__iadd__(np.zeros(2)),
        lambda x: np.add(x, [1, 2]),
        lambda x: x @ np.zeros(2),
        lambda x: np.maximum.reduce(x),
        lambda x: x.sum(initial=0),
        lambda x: x.sum(where=x > 0),
        lambda x: x[np.array([0])],
        lambda x: x.setflags(write=False),
        lambda x: np.concatenate([x, np.zeros(2)]),
        lambda x: np.zeros_like(x, subok=False),
        lambda x: np.full((2,), 1.0, like=x),
        lambda x: np.array([x, x]),
        lambda x: np.copyto(np.zeros(2), x),
        lambda x: np.zeros(2).__setitem__(0, x),
        lambda x: float(x),
        lambda x: bool(x > 0),
        lambda x: [1, 2][x[0]],
        lambda x: {x: 1},
    ],
)
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # CuPy's takes no copy=
def test_the_stand_in_refuses_what_cupy_refuses(refused: Callable[[Any], object]) -> None:
    errors = (TypeError, ValueError, IndexError, AttributeError, NotImplementedError)
    with pytest.raises(errors):
        refused(place(np.ones(2)))


def test_a_single_element_is_an_array_too() -> None:
    x = place(np.arange(6.0).reshape(2, 3))
    for one in (x[1, 2], x.sum(), x.max(), x.argmax(), x[0, 0] + 1):
        assert isinstance(one, DeviceArray)
        assert one.shape == ()
    assert float(x[1, 2]) == 5


def test_the_stand_in_has_nothing_that_cupy_has_not() -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed: its signatures cannot be compared")
    for name, function in stand_in.FUNCTIONS.items():
        assert list(inspect.signature(function).parameters) == list(
            inspect.signature(getattr(cupy, name)).parameters
        ), name
    given = inspect.signature(cupy.lib.stride_tricks.as_strided).parameters
    assert list(inspect.signature(stand_in.as_strided).parameters) == list(given)
    for name in stand_in.UFUNCS:
        assert callable(getattr(cupy, name)), name
    for name in stand_in.ARRAY_METHODS:
        (given,) = re.findall(r"\(self(?:, )?(.*?)\)", getattr(cupy.ndarray, name).__doc__.partition("\n")[0])
        own = [str(p).replace(": Any", "") for p in inspect.signature(getattr(DeviceArray, name)).parameters.values()]
        assert [re.split("[ =:]", p)[0] for p in own[1:]] == [p.split("=")[0] for p in given.split(", ") if p], name
    for name in vars(stand_in.Flags(np.zeros(1))):
        assert hasattr(cupy._core.flags.Flags, name), name
