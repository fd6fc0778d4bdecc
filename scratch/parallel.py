"""A batch on several cores: each thread takes some of its images through a replica of the model."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from scratch import checks
from scratch.module import Array, Module, Parameter

Result = TypeVar("Result")


class DataParallel(Module):
    """Cuts every batch into as many parts as there are threads, and computes them at the same time.

    Forward, the batch x being cut into x₁, x₂, ...:

        y = (f(x₁), f(x₂), ...)                                                                             (1)

    Backward, g = ∂L/∂y being given, and cut in the same way. Each image has a gradient of its own; a parameter is used
    by all images, and its gradient collects all uses:

        ∂L/∂x = (∂L/∂x₁, ∂L/∂x₂, ...)                                                                       (2)
        ∂L/∂θ = Σ_k ∂L/∂θ by part k                                                                         (3)

    Every thread but the first takes its part through a replica of the module, made anew in each forward pass, with the
    same weights and with gradients of its own until (3). NumPy lets other threads run while it computes, but not
    between two of its calls, where threads wait for each other. For small parts that costs more than it saves: no part
    is smaller than `least`. NumPy's matrix library should have one thread then, or its threads compete with these.

    Args:
        module: the model, whose layers take every image for itself (`Module.splits_batches`).
        threads: at least 1.
        least: the smallest number of images per thread.

    Shapes: those of `module`, with the batch as the first axis.
    Raises: ValueError for a module with BatchNorm2d, which needs the whole batch, or Dropout, whose generator cannot be
        shared by threads.
    Torch twin: `torch.nn.DataParallel`, with threads in place of devices.
    Source: Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks", arXiv:1404.5997.

    >>> from scratch import Linear
    >>> linear = Linear(2, 1, bias=False)  # of two terms: their sum is the same in either order
    >>> x = np.ones((4, 2), np.float32)
    >>> np.array_equal(DataParallel(linear, threads=2, least=1)(x), linear(x))
    True
    """

    def __init__(self, module: Module, threads: int = 2, least: int = 64) -> None:
        super().__init__()
        checks.positive("DataParallel", threads=threads, least=least)
        replica(module)
        self.module = module
        self.threads = threads
        self.least = least
        self._pool: tuple[int, ThreadPoolExecutor] | None = None  # and the process whose threads they are

    def __getstate__(self) -> dict[str, Any]:
        """What a copy takes over: not the threads."""
        return vars(self) | {"_pool": None}

    def forward(self, x: Array) -> Array:
        parts = self.parts(len(x))
        workers = [self.module, *(replica(self.module) for _ in range(parts - 1))]
        cuts = [len(x) * part // parts for part in range(parts + 1)]
        slices = [slice(*ends) for ends in pairwise(cuts)]
        y = np.concatenate(self._at_once(lambda worker, at: worker(x[at]), workers, slices))  # (1)
        self.save_for_backward(workers, slices, y.shape, y.dtype)
        return y

    def backward(self, grad_output: Array) -> Array:
        workers, slices = self._workers(grad_output)
        grads = self._at_once(lambda worker, at: worker.backward(grad_output[at]), workers, slices)
        self._collect(workers)
        return np.concatenate(grads)  # (2)

    def backward_parameters(self, grad_output: Array) -> None:
        workers, slices = self._workers(grad_output)
        self._at_once(lambda worker, at: worker.backward_parameters(grad_output[at]), workers, slices)
        self._collect(workers)

    def parts(self, images: int) -> int:
        """Into how many parts a batch of so many images is cut."""
        return max(1, min(self.threads, images // self.least))

    def _at_once(
        self, work: Callable[[Module, slice], Result], workers: Sequence[Module], slices: Sequence[slice]
    ) -> list[Result]:
        """`work` done by every worker on its part of the batch: the first in this thread, the others in their own.

        All have ended when it returns or raises. NumPy's settings (`np.errstate`) hold for all.
        """
        if len(workers) == 1:
            return [work(workers[0], slices[0])]
        # Kept from call to call: new threads would have to get their memory from the system anew.
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = os.getpid(), ThreadPoolExecutor(self.threads - 1)
        _, pool = self._pool
        others = [
            pool.submit(copy_context().run, work, worker, at)
            for worker, at in zip(workers[1:], slices[1:], strict=True)
        ]
        try:
            first = work(workers[0], slices[0])
        finally:
            wait(others)
        return [first, *(other.result() for other in others)]

    def _workers(self, grad_output: Array) -> tuple[list[Module], list[slice]]:
        workers, slices, shape, dtype = self.saved_for_backward
        checks.gradient_like("DataParallel", grad_output, shape, dtype)
        return workers, slices

    def _collect(self, workers: list[Module]) -> None:
        """Add the replicas' gradients to the module's, and let the replicas forget them."""
        for worker in workers[1:]:
            for own, shared in zip(worker.parameters(), self.module.parameters(), strict=True):
                if own.grad is not None:
                    shared.accumulate_grad(own.grad)  # (3)
                    own.grad = None


def replica(module: Module) -> Module:
    """A module with the same weights, the same arrays, and with gradients and layers of its own.

    Raises ValueError for a layer in it that does not take every image for itself.
    """
    made: dict[int, Any] = {}  # what has two names in the module has two in the replica

    def twin(original: Any, name: str) -> Any:
        if isinstance(original, Module) and not original.splits_batches:
            kind = type(original).__name__
            raise ValueError(f"DataParallel: module must take every image for itself, got {kind} in it ({name!r})")
        if id(original) not in made:
            if isinstance(original, Parameter):
                made[id(original)] = Parameter(original.data)
            else:
                made[id(original)] = layer = copy.copy(original)
                for key, value in vars(original).items():
                    if isinstance(value, Module | Parameter):
                        setattr(layer, key, twin(value, f"{name}.{key}" if name else key))
        return made[id(original)]

    whole: Module = twin(module, "")
    return whole
