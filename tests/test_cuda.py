"""On a CUDA device: CuPy under scratch, torch beside it. Skipped, visibly, where there is none; `make cuda` runs it.

What a test measures it notes by `note`; `tests.on_cuda` collects that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import scratch
import torch_ref
from compare.machine.data import Dataset
from compare.machine.devices import Device
from compare.pairs import weights
from compare.pairs.models import ModelPair
from compare.pairs.pair import LayerPair
from compare.pairs.registry import MODELS, REGISTRY
from compare.pairs.report import Report
from compare.training.checkpoint import LAST, load_checkpoint
from compare.training.lockstep import Epoch, Step
from compare.training.run import run_twins
from compare.training.settings import Settings
from compare.training.twins import Twins
from scratch import Array, backend
from scratch.backend import to_host
from tests.elsewhere import maker
from tests.on_cuda.bounds import both_there, noted
from tests.on_cuda.device import chosen_device, rehearsing

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not (torch.cuda.is_available() or rehearsing()), reason="there is no CUDA device"),
]
only_there = pytest.mark.skipif(rehearsing(), reason="the stand-in has no memory of its own")
DTYPES = ["float64", "float32"]
Note = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    if not rehearsing():
        pytest.importorskip("cupy", reason="CuPy is not installed")
    with chosen_device() as chosen:
        yield chosen


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Note:
    return lambda values: record_property("noted", values)


@only_there
def test_both_libraries_see_one_memory(device: Device) -> None:
    array = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    own, tensor = device.share(array)
    assert tensor.is_cuda
    assert (tensor.shape, tensor.dtype) == ((2, 3), torch.float32)
    assert own.data.ptr == tensor.data_ptr()  # type: ignore[attr-defined] # CuPy's memory pointer
    own[0, 0] = 7
    torch.cuda.synchronize()
    assert tensor[0, 0].item() == 7
    tensor[1, 2] = 9
    assert float(own[1, 2]) == 9
    assert array[0, 0] == 0, "the array on the host is not touched"
    borrowed: Any = backend.from_dlpack(tensor)
    assert borrowed.data.ptr == tensor.data_ptr()


def test_arrays_come_to_the_host_and_back(device: Device) -> None:
    array = np.random.default_rng(0).standard_normal((3, 4)).T
    there = device.to_scratch(array)
    assert not isinstance(there, np.ndarray)
    np.testing.assert_array_equal(to_host(there), array, strict=True)
    np.testing.assert_array_equal(to_host(backend.beside(array, there)), array, strict=True)
    np.testing.assert_array_equal(backend.beside(there, array), array, strict=True)


@only_there
@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_are_copied_on_the_device(device: Device, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = scratch.LeNet5(dtype=dtype).to(device.to_scratch)
    twin = torch_ref.LeNet5(dtype=getattr(torch, dtype)).to(device.name)

    def refuse(*_: object) -> None:
        raise AssertionError("through the host")

    with monkeypatch.context() as patched:
        patched.setattr(torch.Tensor, "cpu", refuse)
        patched.setattr(torch.Tensor, "numpy", refuse)
        patched.setattr(backend, "to_host", refuse)
        weights.scratch_to_torch(own, twin)
        with torch.no_grad():
            twin.conv1.weight.mul_(2)
        weights.torch_to_scratch(twin, own)
    for name, array in weights.torch_state(twin).items():
        np.testing.assert_array_equal(weights.scratch_state(own)[name], array, strict=True)


def test_products_in_float32_have_all_their_digits(device: Device, note: Note) -> None:
    """TF32 keeps 10 bits of each factor: errors of 1e-2 in these sums of 256 products, where float32 has 5e-5."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((256, 256)).astype(np.float32) for _ in range(2))
    exact = a.astype(np.float64) @ b.astype(np.float64)
    (own_a, a_there), (own_b, b_there) = device.share(a), device.share(b)
    image = a_there.reshape(1, 256, 16, 16)
    kernels = b_there.reshape(256, 256, 1, 1)
    convolved = nn.functional.conv2d(image, kernels).reshape(256, 256).cpu().numpy()
    errors = {
        "CuPy's product": np.abs(to_host(own_a @ own_b) - exact).max(),
        "torch's product": np.abs((a_there @ b_there).cpu().numpy() - exact).max(),
        "torch's convolution": np.abs(convolved - b.astype(np.float64) @ a.reshape(256, 256)).max(),
    }
    note({f"largest error of {name} in float32": float(error) for name, error in errors.items()})
    for name, error in errors.items():
        assert error < 1e-3, f"{name}: TF32 is on"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name, pair in REGISTRY.items() if not isinstance(pair, ModelPair)])
def test_scratch_on_cupy_is_within_the_bounds_of_the_reference(
    device: Device, name: str, dtype: str, note: Note
) -> None:
    """The reference on the CPU, and its derived bounds: they allow for any order of summation."""
    pair = REGISTRY[name]
    rows, apart = [], []
    for probe in pair.probes(dtype):
        own, again = (pair.drive(maker(pair, device.to_scratch), probe) for _ in range(2))
        rows += pair.compare(probe, own)
        apart += [f"{tensor} [{probe.case}]" for tensor in own if not np.array_equal(own[tensor], again[tensor])]
    report = Report(rows)
    note(noted(report, name, dtype, "scratch on the GPU, torch on the CPU") | {"repeats": not apart})
    assert report.ok, report.headline()
    assert not apart, "the same inputs gave other bits the second time"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "name", [name for name, pair in REGISTRY.items() if isinstance(pair, LayerPair) and pair.random is None]
)
def test_scratch_on_cupy_is_within_the_bounds_of_torch_on_cuda(
    device: Device, name: str, dtype: str, note: Note, monkeypatch: pytest.MonkeyPatch
) -> None:
    # cuDNN may take Winograd's algorithm, whose error is bounded relative to the largest element only.
    monkeypatch.setattr(torch.backends.cudnn, "enabled", False)
    pair = REGISTRY[name]
    assert isinstance(pair, LayerPair)
    against_cpu, against_torch = both_there(pair, dtype, device)
    note(noted(against_cpu, name, dtype, "torch on the GPU, torch on the CPU"))
    note(noted(against_torch, name, dtype, "scratch on the GPU, torch on the GPU"))
    assert against_cpu.ok, against_cpu.headline()
    assert against_torch.ok, against_torch.headline()


@pytest.mark.parametrize("name", MODELS)
def test_training_in_float64_agrees_and_repeats_itself(device: Device, name: str, note: Note) -> None:
    def trained() -> tuple[dict[str, Array], dict[str, Array]]:
        own_step, twin_step, own, twin = twins(name, "float64", device, batch=32)
        for _ in range(20):
            own_loss, own_right = own_step()
            twin_loss, twin_right = twin_step()
            assert own_right == twin_right
            assert own_loss == pytest.approx(twin_loss, rel=1e-10)
        return weights.scratch_state(own), weights.torch_state(twin)

    (own, twin), (own_again, twin_again) = trained(), trained()
    apart = max(float(np.abs(own[key] - twin[key]).max() / np.abs(twin[key]).max()) for key in own)
    note({f"parameters of {name} apart after 20 steps in float64": apart})
    assert apart < 1e-10
    for key in own:
        np.testing.assert_array_equal(own_again[key], own[key], err_msg=f"scratch, {key}")
        np.testing.assert_array_equal(twin_again[key], twin[key], err_msg=f"torch, {key}")


OneStep = Callable[[], tuple[float, int]]


def twins(name: str, dtype: str, device: Device, batch: int) -> tuple[OneStep, OneStep, scratch.Module, nn.Module]:
    """A training step of each twin on the same batch, and the two models, of the same weights."""
    rng, pair = np.random.default_rng(0), MODELS[name]
    own = pair.scratch(dtype=dtype, generator=np.random.default_rng(1)).to(device.to_scratch)
    twin = pair.torch(dtype=getattr(torch, dtype)).to(device.name)
    weights.scratch_to_torch(own, twin)
    images = rng.standard_normal((batch, *pair.image_shape)).astype(dtype)
    (own_images, twin_images), (own_labels, twin_labels) = (
        device.share(images),
        device.share(rng.integers(0, pair.num_classes, batch)),
    )
    own_optimizer = scratch.SGD(own.parameters(), lr=0.01, momentum=0.9)
    twin_optimizer = torch.optim.SGD(twin.parameters(), lr=0.01, momentum=0.9)
    own_criterion, twin_criterion = scratch.CrossEntropyLoss(), nn.CrossEntropyLoss()
    return (
        lambda: scratch.train_step(own, own_criterion, own_optimizer, own_images, own_labels),
        lambda: torch_ref.train_step(twin, twin_criterion, twin_optimizer, twin_images, twin_labels),
        own,
        twin,
    )


def test_a_stopped_run_goes_on_from_its_checkpoint(device: Device, few: Dataset, tmp_path: Path) -> None:
    """To rounding: cuBLAS may choose otherwise in another process, but here it is the same one."""
    settings = Settings(epochs=2, checkpoint_every=3, device=device.name, dtype="float64")

    def stop(event: Step | Epoch) -> None:
        if isinstance(event, Step) and event.number == 5:
            raise KeyboardInterrupt

    run_twins(Twins(settings), few, tmp_path / "unbroken", print, lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        run_twins(Twins(settings), few, tmp_path / "run", print, stop)
    saved = load_checkpoint(tmp_path / "run" / LAST)
    assert saved.record["progress"]["step"] == 4, "after the first epoch"
    result = run_twins(Twins(settings), few, tmp_path / "run", print, lambda _: None, resumed=saved)
    assert result.ok
    for name in ("scratch", "torch"):
        own, expected = (weights.load_weights(tmp_path / each / f"{name}.safetensors") for each in ("run", "unbroken"))
        for key, array in expected.items():
            np.testing.assert_allclose(own[key], array, rtol=0, atol=1e-12, err_msg=f"{name} {key}")


def test_every_step_from_the_same_weights_is_within_its_bounds(
    device: Device, few: Dataset, tmp_path: Path, note: Note
) -> None:
    settings = Settings(epochs=1, resync=True, device=device.name, dtype="float64")
    result = run_twins(Twins(settings), few, tmp_path, print, lambda _: None)
    note({"every step from the same weights": result.findings.lines(settings)[0]})
    assert result.ok, result.findings.wrong
