"""The twins in training: each a model, its loss and its optimizer, behind the same few methods.

Everything random, the weights and the order of the images, is drawn once, in NumPy, from one seed, and given to all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

import scratch
import torch_ref
from compare.driving.tensors import Tensors
from compare.machine.devices import Device, open_device
from compare.machine.errors import UserError
from compare.pairs import weights
from compare.pairs.end_to_end import one_ulp_away
from compare.pairs.learners import ScratchLearner, TorchLearner
from compare.pairs.models import ModelPair
from compare.pairs.registry import model_pair, optimizer_pair
from compare.pairs.weights import State
from compare.training.settings import Settings
from scratch import Array, backend

PERTURBED = "perturbed"  # torch again, started one ulp away: the yardstick

Both = dict[str, float]  # one number for each twin that is trained
Batch = tuple[tuple[Array, Tensor], tuple[Array, Tensor]]  # images and labels, each as both libraries see them


@dataclass(frozen=True)
class Evaluation:
    """What a twin makes of some images: mean loss, share of right answers, and the logits (N, K) on the host."""

    loss: float
    accuracy: float
    logits: Array


class Twin(Protocol):
    """What can be asked of a twin, in whichever library; all arrays that it gives are copies on the host."""

    model: Any

    def set_lr(self, lr: float) -> None:
        """Give the optimizer this learning rate."""

    def train_step(self, batch: Batch) -> tuple[float, int]:
        """Learn from one batch: the loss, and how many answers were right."""

    def evaluate(self, batches: Iterable[Batch]) -> Evaluation:
        """Look at batches without learning from them."""

    def weights(self) -> Tensors:
        """The model's state_dict."""

    def gradients(self) -> Tensors:
        """The gradients of the last step, as "conv1.grad_weight"."""

    def optimizer_state(self) -> Tensors:
        """What the optimizer remembers, under torch's names: "0.momentum_buffer"."""

    def load(self, state: State, optimizer_state: State) -> None:
        """Go on from here. Raises UserError or ValueError for the state of another model or optimizer."""


class ScratchTwin(ScratchLearner):
    """The NumPy twin."""

    def __init__(self, model: scratch.Module, settings: Settings) -> None:
        super().__init__(model, optimizer_pair(settings.optimizer), settings.optimizer_options())

    def set_lr(self, lr: float) -> None:
        self.optimizer.lr = lr

    def train_step(self, batch: Batch) -> tuple[float, int]:
        (images, _), (labels, _) = batch
        return self.step(images, labels)

    def evaluate(self, batches: Iterable[Batch]) -> Evaluation:
        criterion = _KeepingLoss()
        own = ((images[0], labels[0]) for images, labels in batches)
        loss, accuracy = scratch.evaluate(self.model, criterion, own)
        return Evaluation(loss, accuracy, np.concatenate(criterion.kept))

    def optimizer_state(self) -> Tensors:
        return {name: backend.to_host(array) for name, array in self.optimizer.state_dict().items()}

    def load(self, state: State, optimizer_state: State) -> None:
        self.load_weights(state)
        self.optimizer.load_state_dict(optimizer_state)

    def follow(self, leader: TorchTwin) -> None:
        """Take over the leader's weights and what its optimizer remembers, without a way through the host."""
        weights.torch_to_scratch(leader.model, self.model)
        self.optimizer.load_state_dict({n: backend.from_dlpack(t) for n, t in leader.optimizer_tensors().items()})


class TorchTwin(TorchLearner):
    """The torch twin, and the yardstick."""

    def __init__(self, model: nn.Module, settings: Settings) -> None:
        super().__init__(model, optimizer_pair(settings.optimizer), settings.optimizer_options())

    def set_lr(self, lr: float) -> None:
        self.optimizer.param_groups[0]["lr"] = lr

    def train_step(self, batch: Batch) -> tuple[float, int]:
        (_, images), (_, labels) = batch
        return self.step(images, labels)

    def evaluate(self, batches: Iterable[Batch]) -> Evaluation:
        kept: list[Array] = []
        criterion = nn.CrossEntropyLoss()
        criterion.register_forward_hook(lambda _, given, __: kept.append(given[0].cpu().numpy()))
        own = ((images[1], labels[1]) for images, labels in batches)
        loss, accuracy = torch_ref.evaluate(self.model, criterion, own)
        return Evaluation(loss, accuracy, np.concatenate(kept))

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """What the optimizer remembers, where it is: not copies."""
        state = self.optimizer.state_dict()["state"]
        return {f"{index}.{name}": held for index in state for name, held in state[index].items() if held is not None}

    def optimizer_state(self) -> Tensors:
        return {name: tensor.cpu().numpy().copy() for name, tensor in self.optimizer_tensors().items()}

    def load(self, state: State, optimizer_state: State) -> None:
        self.load_weights(state)
        held: dict[int, dict[str, Tensor]] = {}
        for name, array in optimizer_state.items():
            index, _, kind = name.partition(".")
            held.setdefault(int(index), {})[kind] = torch.tensor(array)
        self.optimizer.load_state_dict({"state": held, "param_groups": self.optimizer.state_dict()["param_groups"]})


class Twins:
    """All that is trained, with the same weights: those in a safetensors file, or drawn with the seed.

    Attributes:
        members: the twins by name, "scratch" and "torch"; one of them with `only`, and "perturbed" where there is a
            yardstick.

    Raises:
        UserError: for an unknown model, a device that is not there, a file that is not one of this model's weights.
    """

    def __init__(self, settings: Settings, weights_file: Path | None = None) -> None:
        self.settings = settings
        self.pair: ModelPair = model_pair(settings.model)
        self.device: Device = open_device(settings.device, tf32=settings.tf32)
        own = self.pair.scratch(generator=np.random.default_rng(settings.seed), dtype=settings.dtype)
        if weights_file is not None:
            given = weights.load_weights(weights_file)
            if any(name.startswith(("scratch/model/", "torch/model/")) for name in given):
                raise UserError(
                    f"{weights_file}: is a checkpoint; take the run's torch.safetensors, or --resume the run"
                )
            weights.load_scratch_state(own, given, str(weights_file))
        members: dict[str, Twin] = {name: self._torch_twin(own) for name in settings.twins if name == "torch"}
        if settings.measures_drift:
            rng = np.random.default_rng([settings.seed, 2])
            members[PERTURBED] = moved = self._torch_twin(own)
            moved.load({name: one_ulp_away(array, rng) for name, array in moved.weights().items()}, {})
        if "scratch" in settings.twins:
            members = {"scratch": ScratchTwin(own.to(self.device.to_scratch), settings)} | members
        self.members = members
        self.turn = 0  # steps so far: each begins with another twin

    def _torch_twin(self, own: scratch.Module) -> TorchTwin:
        model = self.pair.torch(dtype=getattr(torch, self.settings.dtype))
        weights.load_torch_state(model, own.state_dict())
        return TorchTwin(model.to(self.settings.device), self.settings)

    def set_lr(self, lr: float) -> None:
        """Give all optimizers this learning rate."""
        for twin in self.members.values():
            twin.set_lr(lr)

    def resync(self) -> None:
        """Let scratch stand where torch stands."""
        own, leader = self.members["scratch"], self.members["torch"]
        assert isinstance(own, ScratchTwin)
        assert isinstance(leader, TorchTwin)
        own.follow(leader)

    def share(self, images: Array, labels: Array) -> Batch:
        """Images and labels on the device, once, as both libraries see them."""
        return self.device.share(images), self.device.share(labels)

    def train_step(self, batch: Batch) -> tuple[Both, Both, Both]:
        """One step of every twin: (loss, right answers, seconds), each by twin."""
        names = list(self.members)
        self.turn += 1  # who comes second finds the batch in the cache
        names = names[self.turn % len(names) :] + names[: self.turn % len(names)]
        with np.errstate(over="ignore", invalid="ignore"):  # a run that blows up is told of in words
            results = {name: _timed(self.members[name].train_step, batch) for name in names}
        loss, right, seconds = ({name: float(results[name][i]) for name in self.members} for i in range(3))
        return loss, right, seconds

    def evaluate(self, batches: Callable[[], Iterable[tuple[Array, Array]]]) -> dict[str, Evaluation]:
        """What scratch and torch make of the batches; each goes through them once, holding one at a time."""
        with np.errstate(over="ignore", invalid="ignore"):
            return {
                name: self.members[name].evaluate(self.share(*batch) for batch in batches())
                for name in self.settings.twins
            }

    def states(self) -> dict[str, Tensors]:
        """The weights of scratch and torch, as NumPy arrays."""
        return {name: self.members[name].weights() for name in self.settings.twins}

    def tensors(self) -> Tensors:
        """Everything that the training goes on from, under "torch/model/conv1.weight", "torch/optimizer/0.step"."""
        return {
            f"{name}/{part}/{key}": array
            for name, twin in self.members.items()
            for part, state in (("model", twin.weights()), ("optimizer", twin.optimizer_state()))
            for key, array in state.items()
        }

    def load_tensors(self, tensors: Mapping[str, Array], step: int) -> None:
        """Go on from what `tensors` gave after so many steps; raises UserError where it is not of these twins."""
        expected = self._optimizer_state() if step else {}
        parts: dict[str, dict[str, Tensors]] = {name: {"model": {}, "optimizer": {}} for name in self.members}
        for key, array in tensors.items():
            owner, part, rest = key.split("/", 2)
            parts[owner][part][rest] = array
        for name, given in parts.items():
            weights.check_state(given["optimizer"], expected, f"the optimizer of {name}", self.settings.optimizer)
            self.members[name].load(given["model"], given["optimizer"])

    def _optimizer_state(self) -> Tensors:
        """What an optimizer remembers after its first step, by torch's; each twin has the same names and shapes."""
        twin = TorchTwin(self.pair.torch(dtype=getattr(torch, self.settings.dtype)), self.settings)
        for parameter in twin.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        twin.optimizer.step()
        return twin.optimizer_state()


class _KeepingLoss(scratch.CrossEntropyLoss):
    """The loss, keeping the logits that it is given: who wants them need not evaluate twice."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Array] = []

    def forward(self, logits: Array, targets: Array) -> Array:
        self.kept.append(backend.to_host(logits))
        return super().forward(logits, targets)


def _timed(step: Callable[[Batch], tuple[float, int]], batch: Batch) -> tuple[float, int, float]:
    start = time.perf_counter()
    loss, right = step(batch)  # both are numbers on the host, so that a device has finished too
    return loss, right, time.perf_counter() - start
