"""The sides of a measurement: scratch, torch, and torch compiled, each a model with one batch to work on.

What is timed is what training calls: `scratch.train_step` and `torch_ref.train_step`, in float32, by SGD with momentum.
Several threads are used by each library in its own way: torch in its operations, scratch in its matrix products, or,
where the batch is large enough for the model, for parts of the batch (`scratch.DataParallel`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Protocol

import torch
from threadpoolctl import threadpool_limits

import scratch
from compare.bench.timing import Stopwatch, Timed, wall_clock
from compare.driving.tensors import Tensors
from compare.machine.devices import Device, open_device
from compare.machine.errors import UserError
from compare.pairs.learners import ScratchLearner, TorchLearner
from compare.pairs.models import ModelPair
from compare.pairs.registry import optimizer_pair
from compare.pairs.weights import State, load_scratch_state, load_torch_state
from scratch import Array, backend

OPTIONS: dict[str, Any] = {"lr": 0.001, "momentum": 0.9}


class Side(Protocol):
    """What can be asked of a side, in whichever library; all arrays that it gives are copies on the host."""

    name: str
    stopwatch: Stopwatch

    def take(self, images: Array, labels: Array) -> None:
        """Work on this batch from now on."""

    def rewind(self) -> None:
        """Put the weights back to what they were at the start: else thousands of steps on one batch would wear them
        out, and numbers too small to be normal are slow to compute with.
        """

    def train_step(self) -> tuple[float, int]:
        """Forward, loss, backward and the update."""

    def infer(self) -> object:
        """Forward alone, in evaluation mode."""

    def logits(self) -> Array:
        """What the model makes of the batch."""

    def weights(self) -> Tensors:
        """The parameters and buffers."""

    def gradients(self) -> Tensors:
        """The gradients of the last step."""


class ScratchSide(ScratchLearner):
    """The NumPy twin; on a CUDA device, CuPy's arrays."""

    name = "scratch"

    def __init__(self, pair: ModelPair, state: State, device: Device, threads: int = 1) -> None:
        model = pair.scratch(dtype="float32")
        load_scratch_state(model, state)
        super().__init__(model.to(device.to_scratch), optimizer_pair("sgd"), OPTIONS)
        self.device, self.state = device, state
        self.parallel = scratch.DataParallel(self.model, threads, pair.images_per_thread)
        self.stopwatch: Stopwatch = wall_clock if device.name == "cpu" else _cupy_events

    def take(self, images: Array, labels: Array) -> None:
        self.images, self.labels = self.device.to_scratch(images), self.device.to_scratch(labels)
        self.called = self.parallel if self.parallel.parts(len(images)) > 1 else self.model

    def rewind(self) -> None:
        self.load_weights(self.state)

    def train_step(self) -> tuple[float, int]:
        return self.step(self.images, self.labels)

    def infer(self) -> Array:
        return self.called(self.images)

    def logits(self) -> Array:
        return backend.to_host(self.infer())


class TorchSide(TorchLearner):
    """torch as it comes: eager, without compilation."""

    name = "torch"

    def __init__(self, pair: ModelPair, state: State, device: Device) -> None:
        model = pair.torch(dtype=torch.float32)
        load_torch_state(model, state)
        super().__init__(model.to(device.name), optimizer_pair("sgd"), OPTIONS)
        self.device, self.state = device, state
        self.stopwatch: Stopwatch = wall_clock if device.name == "cpu" else _torch_events

    def take(self, images: Array, labels: Array) -> None:
        self.images, self.labels = self.device.to_torch(images), self.device.to_torch(labels)

    def rewind(self) -> None:
        self.load_weights(self.state)

    def train_step(self) -> tuple[float, int]:
        return self.step(self.images, self.labels)

    def infer(self) -> torch.Tensor:
        logits: torch.Tensor = self.called(self.images)
        return logits

    def logits(self) -> Array:
        with torch.inference_mode():
            return self.infer().cpu().numpy().copy()


class CompiledSide(TorchSide):
    """torch with the model compiled for the batch's shape."""

    name = "compile"

    def __init__(self, pair: ModelPair, state: State, device: Device) -> None:
        super().__init__(pair, state, device)
        torch.compiler.reset()  # it compiles a function for a few shapes only, then gives up
        self.called = torch.compile(self.model, dynamic=False)


def make_sides(
    pair: ModelPair,
    state: State,
    batch: tuple[Array, Array],
    mode: str,
    device: str = "cpu",
    compiled: bool = False,
    threads: int = 1,
) -> list[Side]:
    """scratch, torch, and compiled torch where that is wanted, with the same weights and the same batch.

    `threads` is for parts of the batch in scratch; those of the libraries are set for all (`equal_threads`).
    """
    where = open_device(device)
    sides: list[Side] = [ScratchSide(pair, state, where, threads), TorchSide(pair, state, where)]
    sides += [CompiledSide(pair, state, where)] if compiled else []
    for side in sides:
        side.take(*batch)
        model: Any = side
        model.model.train(mode == "train")
    return sides


def timed(side: Side, mode: str) -> Timed:
    """What of a side is timed, under which conditions, which are entered once for all calls of a block.

    Inference is in torch's inference mode, which means nothing to scratch. Where scratch cuts the batch, each of its
    threads has one thread of the matrix library.
    """
    cut = isinstance(side, ScratchSide) and side.called is side.parallel

    def stopwatch(call: Callable[[], object], repeats: int) -> float:
        inference = torch.inference_mode() if mode != "train" else nullcontext()
        with inference, threadpool_limits(1, user_api="blas") if cut else nullcontext():
            return side.stopwatch(call, repeats)

    return Timed(side.train_step if mode == "train" else side.infer, stopwatch, side.rewind)


def require_compiler() -> None:
    """Try whether torch.compile works on this machine.

    Raises:
        UserError: if it does not, a C++ compiler being missing for instance.
    """
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(2))
    except Exception as error:
        reason = " ".join(str(error).split()).partition(" Set TORCHDYNAMO_VERBOSE")[0][:160]  # advice for its makers
        raise UserError(
            f"--compile: torch.compile does not work here ({type(error).__name__}: {reason}); "
            "install a C++ compiler, or leave --compile out"
        ) from None


def _torch_events(call: Callable[[], object], repeats: int) -> float:
    """The seconds between two events on the device, around `repeats` calls."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    for _ in range(repeats):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000


def _cupy_events(call: Callable[[], object], repeats: int) -> float:
    """The same by CuPy's events, on the stream that CuPy computes on."""
    cupy = backend.open_cupy()
    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    torch.cuda.synchronize()  # the whole device: what torch was given to do is no part of this
    start.record()
    for _ in range(repeats):
        call()
    end.record()
    end.synchronize()
    return float(cupy.cuda.get_elapsed_time(start, end)) / 1000
