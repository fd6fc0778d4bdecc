"""A batch on several cores: each thread takes some of its images through a replica of the model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from typing import TypeVar

import numpy as np

from scratch import checks
from scratch.dropout import Dropout
from scratch.module import Array, Module
from scratch.norm import BatchNorm2d

Result = TypeVar("Result")


class DataParallel(Module):
    """Cuts every batch into as many parts as there are threads, and computes them at the same time.

    Forward, the batch x being cut into x₁, x₂, ...:

        y = (f(x₁), f(x₂), ...)                                                                             (1)

    Backward, g = ∂L/∂y being given, and cut in the same way. Each image has a gradient of its own; a parameter is used
    by all images, and its gradient collects all uses:

        ∂L/∂x = (∂L/∂x₁, ∂L/∂x₂, ...)                                                                       (2)
        ∂L/∂θ = Σ_k ∂L/∂θ by part k                                                                         (3)

    Every thread but the first has a replica of the module, with the same weights and with gradients of its own until
    (3). NumPy lets other threads run while it computes, but not between two of its calls, where threads wait for each
    other. For small parts that costs more than it saves, so that batches of fewer than `least` images per thread are
    not cut as often. NumPy's matrix library should have one thread then, or its threads compete with these.

    Args:
        module: the model, whose layers take every image for itself.
        threads: at least 1.
        least: the smallest number of images per thread.

    Shapes: those of `module`, with the batch as the first axis.
    Raises: ValueError for a module with BatchNorm2d, which needs the whole batch, or Dropout, whose replicas would draw
        the same masks.
    Torch twin: `torch.nn.DataParallel`, with threads in place of devices.
    Source: Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks", arXiv:1404.5997.

    >>> from scratch import Linear
    >>> linear = Linear(2, 1)
    >>> x = np.ones((4, 2), np.float32)
    >>> np.array_equal(DataParallel(linear, threads=2, least=1)(x), linear(x))
    True
    """

    def __init__(self, module: Module, threads: int = 2, least: int = 64) -> None:
        super().__init__()
        checks.positive("DataParallel", threads=threads, least=least)
        for name, layer in module.named_modules():
            if isinstance(layer, BatchNorm2d | Dropout):
                kind = type(layer).__name__
                raise ValueError(f"DataParallel: module must take every image for itself, got {kind} in it ({name!r})")
        self.module = module
        self.least = least
        self._replicas = [copy.deepcopy(module) for _ in range(threads - 1)]
        self._pool = ThreadPoolExecutor(threads)

    def forward(self, x: Array) -> Array:
        parts = self.parts(len(x))
        workers = [self.module, *self._replicas[: parts - 1]]
        for replica in workers[1:]:
            replica.train(self.module.training)
            for own, shared in zip(replica.parameters(), self.module.parameters(), strict=True):
                own.data, own.grad = shared.data, None
        cuts = [len(x) * part // parts for part in range(parts + 1)]
        slices = [slice(*ends) for ends in pairwise(cuts)]
        self.save_for_backward(workers, slices)
        return np.concatenate(self._at_once(lambda worker, at: worker(x[at])))  # (1)

    def backward(self, grad_output: Array) -> Array:
        grads = self._at_once(lambda worker, at: worker.backward(grad_output[at]))
        self._collect()
        return np.concatenate(grads)  # (2)

    def backward_parameters(self, grad_output: Array) -> None:
        self._at_once(lambda worker, at: worker.backward_parameters(grad_output[at]))
        self._collect()

    def parts(self, images: int) -> int:
        """Into how many parts a batch of so many images is cut."""
        return max(1, min(1 + len(self._replicas), images // self.least))

    def _at_once(self, work: Callable[[Module, slice], Result]) -> list[Result]:
        """`work` done by every worker on its part of the batch, the first one's by the calling thread."""
        (first, *others), (at, *rest) = self.saved_for_backward
        futures = [self._pool.submit(work, *its) for its in zip(others, rest, strict=True)]
        try:
            result = work(first, at)
        finally:
            wait(futures)  # nobody goes on, not even after an error, while others still compute
        return [result, *(future.result() for future in futures)]

    def _collect(self) -> None:
        """Add the replicas' gradients to the module's, and let the replicas forget them."""
        workers, _ = self.saved_for_backward
        for replica in workers[1:]:
            for own, shared in zip(replica.parameters(), self.module.parameters(), strict=True):
                if own.grad is not None:
                    shared.accumulate_grad(own.grad)  # (3)
                    own.grad = None
