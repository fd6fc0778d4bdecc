"""The models with their twins, compared twice over.

*Isolated*: each layer is fed the reference's own input and upstream gradient, and held to the bound of its kind. This
finds the layer that is wrong. *End to end*: each twin works on its own intermediate results, through the loss, backward
and some optimizer steps. This finds what is wrong between the layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

import scratch
import torch_ref
from compare.driving.models import TrainStep, drive_model, run_scratch
from compare.driving.tensors import Call, Tensors
from compare.pairs import weights
from compare.pairs.cases import Shape
from compare.pairs.decisions import decided
from compare.pairs.end_to_end import bounds_end_to_end, run_torch, updated_from
from compare.pairs.layers import layer_pair_of
from compare.pairs.observe import record_calls
from compare.pairs.pair import Make, Pair, Rng
from compare.pairs.probe import Probe, draw_state
from compare.pairs.report import CANDIDATE_ERRORS, Row, compare, extremes, failure, nothing_compared
from scratch import Array


@dataclass(frozen=True)
class TrainingStep:
    """A training step to be tried in place of `scratch.train_step`, with the registered model."""

    function: TrainStep


@dataclass(frozen=True, eq=False)
class ModelPair(Pair):
    """A model and its twin.

    Attributes:
        image_shape, num_classes: the shape of one image, and how many scores it gets.
        images_per_thread: how many images each thread must have for scratch to cut a batch (`scratch.DataParallel`).
            Measured: below, waiting for each other costs more than it saves, and the threads go to the matrix library.
        lesson_epochs: how many epochs of 6,000 images it needs to have learnt what the lesson shows.
    """

    scratch: Callable[..., scratch.Module]
    torch: Callable[..., nn.Module]
    image_shape: tuple[int, int, int] = (1, 28, 28)
    num_classes: int = 10
    images_per_thread: int = 64
    lesson_epochs: int = 4

    @property
    def role(self) -> Literal["model"]:
        return "model"

    @property
    def fixed(self) -> bool:
        return True

    def probes(self, dtype: str, seed: int = 0) -> Iterator[Probe]:
        return iter([self.probe(dtype, np.random.default_rng(seed))])

    def probe(self, dtype: str, rng: Rng, images: int = 64) -> Probe:
        """Draw weights, images without equal patches, and labels."""
        state = draw_state(self.torch(), dtype, rng)
        inputs = rng.standard_normal((images, *self.image_shape)).astype(dtype)
        labels = rng.integers(0, self.num_classes, images)
        return Probe(f"{images} images", dtype, {}, state, (Call((inputs, labels), np.ones((), dtype)),))

    def reference(self, probe: Probe) -> nn.Module:
        """The torch side of a probe."""
        module = self.torch().to(getattr(torch, probe.dtype))
        weights.load_torch_state(module, probe.state)
        return module

    def _expected(self, probe: Probe, got: Tensors | None) -> Tensors:
        return run_torch(self.reference(probe), *probe.calls[0].inputs)

    def _bounds(self, probe: Probe, got: Tensors | None) -> Tensors:
        images, labels = probe.calls[0].inputs
        return bounds_end_to_end(self.reference(probe), images, labels, seed=0)

    def start(self, probe: Probe) -> Tensors | None:
        return updated_from(self.reference(probe), probe.dtype)

    def drive(self, make: Make | TrainingStep, probe: Probe, got: Tensors | None = None) -> Tensors:
        """As of every pair; a training step may take the place of `make`."""
        step, factory = (make.function, self.scratch) if isinstance(make, TrainingStep) else (None, make)
        return drive_model(factory(), probe, step)

    def check(self, probe: Probe, seed: int = 0) -> list[Row]:
        images, labels = probe.calls[0].inputs
        return check_model(self, probe.state, images, labels, seed, blank_free=True)

    def buffers(self) -> frozenset[str]:
        return frozenset(name for name, _ in self.torch().named_buffers())

    def described_together(self, kinds: Sequence[str]) -> list[tuple[str, ...]]:
        """Each by itself, without what only follows: updates of a wrong gradient, all else of wrong scores."""
        if "logits" in kinds:
            return [("logits",)]
        causes = [kind for kind in kinds if " after " not in kind]
        return [(kind,) for kind in causes or kinds]

    def excerpt(self, probe: Probe, kind: str, at: Shape | None) -> tuple[Tensors, Callable[[Array], Array]] | None:
        return None

    def filters(self, state: weights.State) -> Array:
        """The weights of the first layer that has a height and a width: (C_out, C_in, kH, kW)."""
        for name, layer in self.torch().named_modules():
            for leaf, _ in layer.named_parameters(recurse=False):
                axes = layer_pair_of(layer).axes_of(leaf)
                if axes is not None and {"H", "W"} <= set(axes.torch):
                    return state[f"{name}.{leaf}"]
        raise ValueError(f"{self.name} has no layer whose weights have a height and a width")


def check_model(
    pair: ModelPair, state: weights.State, images: Array, labels: Array, seed: int = 0, *, blank_free: bool = False
) -> list[Row]:
    """Compare a model with its twin, both with the weights `state`, on images (N, 1, H, W) and labels (N).

    The dtype is that of the images and the state; `seed` draws the perturbations. `blank_free` says that no two patches
    of an image are equal: only then do two correct implementations agree on the winner of every pooling window, and
    with it on the gradient of the images.
    """
    dtype = str(images.dtype)
    try:
        reference, candidate = _twins(pair, state, dtype)
    except CANDIDATE_ERRORS as error:
        return [failure(pair.name, "all layers", dtype, error)]
    rows = _check_layers(pair, candidate, reference, images, labels)
    clear = decided(reference, images)
    if not clear.any():
        problem = "not proven: rounding could decide a ReLU or a pooling of every image; take other images"
        return [*rows, nothing_compared(pair.name, "end to end", dtype, problem, unjudged=True)]
    images, labels, case = images[clear], labels[clear], f"end to end, {clear.sum()} images"
    weights.load_torch_state(reference, state)  # running statistics moved while the layers were looked at
    expected = run_torch(reference, images, labels, blank_free=blank_free)
    bounds = bounds_end_to_end(reference, images, labels, seed, blank_free=blank_free)
    try:
        weights.load_scratch_state(candidate, state)
        got = run_scratch(candidate, images.copy(), labels.copy(), blank_free=blank_free)
    except CANDIDATE_ERRORS as error:
        return [*rows, failure(pair.name, case, dtype, error)]
    start, extreme = updated_from(reference, dtype), extremes([images, *state.values()], dtype)
    return rows + compare(pair.name, case, got, expected, bounds, start=start, extreme=extreme)


def check_layers(pair: ModelPair, state: weights.State, images: Array, labels: Array) -> list[Row]:
    """The first half of `check_model`: every layer by itself."""
    reference, candidate = _twins(pair, state, str(images.dtype))
    return _check_layers(pair, candidate, reference, images, labels)


def _twins(pair: ModelPair, state: weights.State, dtype: str) -> tuple[nn.Module, scratch.Module]:
    """Both models with these weights."""
    reference = pair.torch(dtype=getattr(torch, dtype))
    weights.load_torch_state(reference, state)
    candidate = pair.scratch(dtype=dtype)
    weights.load_scratch_state(candidate, state)
    return reference, candidate


def _check_layers(
    pair: ModelPair, candidate: scratch.Module, reference: nn.Module, images: Array, labels: Array
) -> list[Row]:
    calls = record_calls(reference, images, labels)
    return [row for name in calls for row in _check_isolated(pair, candidate, reference, name, calls[name])]


def _check_isolated(
    pair: ModelPair, candidate: scratch.Module, reference: nn.Module, name: str, call: Call
) -> list[Row]:
    """One layer, or the loss, on what the reference gave its own."""
    dtype = str(call.grad_output.dtype)
    if name == "loss":
        own: scratch.Module = scratch.CrossEntropyLoss()
        twin: nn.Module = nn.CrossEntropyLoss()
    else:
        layers, twin = dict(candidate.named_modules()), reference.get_submodule(name)
        if name not in layers:
            return [nothing_compared(pair.name, f"{name} isolated", dtype, "the model has no such layer")]
        own = layers[name]
    return layer_pair_of(twin).check_calls(pair.name, f"{name} isolated", own, twin, [call], dtype)


MODEL_PAIRS = (
    ModelPair("cnn", scratch.CNN, torch_ref.CNN, images_per_thread=128, lesson_epochs=6),
    ModelPair("lenet5", scratch.LeNet5, torch_ref.LeNet5),
)
