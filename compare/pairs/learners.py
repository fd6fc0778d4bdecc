"""A model with its loss and its optimizer, in either library, behind the same few methods."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import scratch
import torch_ref
from compare.driving.tensors import Tensors, gradient_name
from compare.pairs.optimizers import OptimizerPair
from compare.pairs.weights import State, load_scratch_state, load_torch_state, scratch_state, torch_state
from scratch import Array, backend


class ScratchLearner:
    """The NumPy side; on a CUDA device, with CuPy's arrays. What it gives are copies on the host."""

    def __init__(self, model: scratch.Module, optimizer: OptimizerPair, options: dict[str, Any]) -> None:
        self.model = model
        self.called = model  # in a training step: the model, or what cuts its batches
        self.criterion = scratch.CrossEntropyLoss()
        self.optimizer = optimizer.scratch(model.parameters(), **options)

    def step(self, images: Array, labels: Array) -> tuple[float, int]:
        """Forward, loss, backward and the update: the loss, and how many answers were right."""
        return scratch.train_step(self.called, self.criterion, self.optimizer, images, labels)

    def weights(self) -> Tensors:
        """The model's parameters and buffers."""
        return scratch_state(self.model)

    def load_weights(self, state: State) -> None:
        """Go on from these; raises UserError for those of another model."""
        load_scratch_state(self.model, state)

    def gradients(self) -> Tensors:
        """The gradients of the last step, as "conv1.grad_weight"."""
        named = self.model.named_parameters()
        return {gradient_name(name): backend.to_host(p.grad) for name, p in named if p.grad is not None}


class TorchLearner:
    """The torch side, with the same methods."""

    def __init__(self, model: nn.Module, optimizer: OptimizerPair, options: dict[str, Any]) -> None:
        self.model = model
        self.called: Any = model  # in a training step: the model, or what was compiled of it
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer: torch.optim.Optimizer = optimizer.torch(model.parameters(), **options)

    def step(self, images: Tensor, labels: Tensor) -> tuple[float, int]:
        """Forward, loss, backward and the update: the loss, and how many answers were right."""
        return torch_ref.train_step(self.called, self.criterion, self.optimizer, images, labels)

    def weights(self) -> Tensors:
        """The model's parameters and buffers."""
        return torch_state(self.model)

    def load_weights(self, state: State) -> None:
        """Go on from these; raises UserError for those of another model."""
        load_torch_state(self.model, state)

    def gradients(self) -> Tensors:
        """The gradients of the last step, as "conv1.grad_weight"."""
        named = self.model.named_parameters()
        return {gradient_name(name): p.grad.cpu().numpy().copy() for name, p in named if p.grad is not None}
