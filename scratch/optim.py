"""Optimizers: from gradients to new weights."""

from __future__ import annotations

import math
from collections.abc import Iterable

from scratch.module import Array, Parameter


class SGD:
    """Stochastic gradient descent with momentum, dampening, Nesterov's look-ahead and L2 weight decay.

    One step, for each parameter θ with gradient g and velocity v:

        g ← g + weight_decay · θ                                                                            (1)
        v ← g at the first step, momentum · v + (1 - dampening) · g after it                                (2)
        g ← v, or g + momentum · v with Nesterov                                                            (3)
        θ ← θ - lr · g                                                                                      (4)

    Two habits of torch that textbooks do not share: the learning rate stands outside the velocity, and dampening leaves
    the first step alone. Parameters are changed in place; one whose gradient is None is left alone.

    Raises:
        ValueError: for a negative lr, momentum or weight_decay, or Nesterov without momentum or with dampening.

    Torch twin: `torch.optim.SGD`.
    Source: Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning".

    >>> import numpy as np
    >>> theta = Parameter(np.array([1.0]))
    >>> sgd = SGD([theta], lr=0.1, momentum=0.5)
    >>> for _ in range(2):               # v = 1, then 0.5·1 + 1 = 1.5: steps of 0.1 and 0.15
    ...     theta.grad = np.array([1.0])
    ...     sgd.step()
    >>> theta.data
    array([0.75])
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        for name, value in (("lr", lr), ("momentum", momentum), ("weight_decay", weight_decay)):
            if not 0 <= value < math.inf:
                raise ValueError(f"SGD: {name} must be a number of at least 0, got {value}")
        if not math.isfinite(dampening):
            raise ValueError(f"SGD: dampening must be a number, got {dampening}")
        if nesterov and (momentum == 0 or dampening != 0):
            raise ValueError(
                f"SGD: nesterov needs momentum above 0 and dampening 0, got momentum={momentum}, dampening={dampening}"
            )
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError("SGD: parameters must hold at least one Parameter, got none")
        self.lr = lr
        self.momentum = momentum
        self.dampening = dampening
        self.weight_decay = weight_decay
        self.nesterov = nesterov
        self.velocity: list[Array | None] = [None] * len(self.parameters)

    def step(self) -> None:
        """Update every parameter that has a gradient, in place."""
        for index, parameter in enumerate(self.parameters):
            if parameter.grad is None:
                continue
            g = parameter.grad
            if self.weight_decay:
                g = g + self.weight_decay * parameter.data  # (1)
            if self.momentum:
                v = self.velocity[index]
                v = g.copy() if v is None else self.momentum * v + (1 - self.dampening) * g  # (2)
                self.velocity[index] = v
                g = g + self.momentum * v if self.nesterov else v  # (3)
            parameter.data -= self.lr * g  # (4)

    def zero_grad(self) -> None:
        """Forget the gradients, so that the next backward pass starts afresh."""
        for parameter in self.parameters:
            parameter.grad = None
