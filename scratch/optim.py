"""Optimizers: from gradients to new weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from scratch import checks
from scratch.backend import beside
from scratch.module import Array, Parameter


class Optimizer:
    """The base of every optimizer: it holds the parameters and their learning rate.

    A subclass defines `step()`: update every parameter that has a gradient, in place. One whose gradient is None is
    left alone.

    Torch twin: `torch.optim.Optimizer`, with one group of parameters, and its learning rate as the attribute `lr`.
    Its state_dict has only what `step` remembers, under flat names: "0.momentum_buffer" belongs to the first parameter.
    """

    step: Callable[[], None]
    state_dict: Callable[[], dict[str, Array]]
    load_state_dict: Callable[[Mapping[str, Array]], None]

    def __init__(self, parameters: Iterable[Parameter], lr: float, **settings: float) -> None:
        """Hold `parameters`, at least one; refuse a learning rate, or one of the other settings, below 0."""
        name = type(self).__name__
        for setting, value in ({"lr": lr} | settings).items():
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}: {setting} must be a number of at least 0, got {value}")
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError(f"{name}: parameters must hold at least one Parameter, got none")
        self.lr = lr

    def zero_grad(self) -> None:
        """Forget the gradients, so that the next backward pass starts afresh."""
        for parameter in self.parameters:
            parameter.grad = None

    def _remembered(self, state: Mapping[str, Array], *names: str) -> list[tuple[Array, ...] | None]:
        """Copies of what `state` holds for each parameter, in the order of `names`; None where it holds nothing.

        Raises ValueError for a name that is not "INDEX.NAME", a parameter that has some of the names only, and an array
        of another shape or dtype than its parameter's (a number may have any dtype).
        """
        optimizer, left = type(self).__name__, dict(state)
        found: list[tuple[Array, ...] | None] = []
        for index, parameter in enumerate(self.parameters):
            keys = [f"{index}.{name}" for name in names if f"{index}.{name}" in left]
            if len(keys) not in (0, len(names)):
                raise ValueError(f"{optimizer}: state of parameter {index} must have all of {names}, got {keys}")
            arrays = [left.pop(key) for key in keys]
            for key, array in zip(keys, arrays, strict=True):
                if array.ndim and (array.shape != parameter.data.shape or array.dtype != parameter.data.dtype):
                    raise ValueError(
                        f"{optimizer}: {key} must be {parameter.data.dtype}{list(parameter.data.shape)}, "
                        f"got {array.dtype}{list(array.shape)}"
                    )
            # To where the parameter is; a mere number stays on the host.
            here = [beside(array, parameter.data) if array.ndim else array for array in arrays]
            found.append(tuple(array.copy() for array in here) or None)
        if left:
            raise ValueError(f"{optimizer}: unexpected state {sorted(left)}")
        return found


class SGD(Optimizer):
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
        super().__init__(parameters, lr, momentum=momentum, weight_decay=weight_decay)
        if not math.isfinite(dampening):
            raise ValueError(f"SGD: dampening must be a number, got {dampening}")
        if nesterov and (momentum == 0 or dampening != 0):
            raise ValueError(
                f"SGD: nesterov needs momentum above 0 and dampening 0, got momentum={momentum}, dampening={dampening}"
            )
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
                if v is None:
                    v = self.velocity[index] = g.copy()  # (2)
                else:
                    v *= self.momentum  # (2), in place: nothing of the size of the weights is allocated
                    v += (1 - self.dampening) * g if self.dampening else g
                g = g + self.momentum * v if self.nesterov else v  # (3)
            parameter.data -= self.lr * g  # (4)

    def state_dict(self) -> dict[str, Array]:
        """The velocities themselves, as torch calls them: "0.momentum_buffer" and so on; none before the first step."""
        return {f"{index}.momentum_buffer": v for index, v in enumerate(self.velocity) if v is not None}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Take over what `state_dict` gave; raises ValueError for another optimizer's."""
        self.velocity = [None if held is None else held[0] for held in self._remembered(state, "momentum_buffer")]


class Adam(Optimizer):
    """Steps of about lr in every element, whatever the scale of its gradient.

    One step, the t-th of a parameter θ with gradient g; m and v, the moving averages of g and g², begin as zeros:

        g ← g + weight_decay · θ                                                                            (1)
        m ← β₁·m + (1 - β₁)·g                                                                               (2)
        v ← β₂·v + (1 - β₂)·g²                                                                              (3)
        θ ← θ - lr · m̂ / (√v̂ + eps),   m̂ = m/(1 - β₁ᵗ),   v̂ = v/(1 - β₂ᵗ)                                   (4)

    After t steps the weights of all g in m add up to 1 - β₁ᵗ, not to 1; m̂ makes up for that, and v̂ likewise. The decay
    (1) goes through m and v; that of AdamW does not. Parameters are changed in place; one whose gradient is None is
    left alone, and its t stands still.

    Raises:
        ValueError: for a negative lr, eps or weight_decay, a β that is not in [0, 1), amsgrad=True.

    Torch twin: `torch.optim.Adam`, with amsgrad=False.
    Source: Kingma & Ba 2015, "Adam: A Method for Stochastic Optimization", arXiv:1412.6980.

    >>> theta = Parameter(np.array([1.0, 1.0]))
    >>> adam = Adam([theta], lr=0.25, betas=(0.5, 0.75), eps=1.0)
    >>> theta.grad = np.array([1.0, -3.0])
    >>> adam.step()    # m̂ = g and √v̂ = |g| at the first step: 1 - 0.25·1/(1 + 1), and 1 + 0.25·3/(3 + 1)
    >>> theta.data
    array([0.875 , 1.1875])
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(parameters, lr, eps=eps, weight_decay=weight_decay)
        checks.only_default("Adam", amsgrad=(amsgrad, False))
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"Adam: betas must be two numbers of at least 0 and below 1, got {betas}")
        self.betas = float(betas[0]), float(betas[1])
        self.eps = float(eps)
        self.weight_decay = weight_decay
        self.moments: list[tuple[Array, Array, int] | None] = [None] * len(self.parameters)  # m, v, t

    def step(self) -> None:
        """Update every parameter that has a gradient, in place."""
        beta1, beta2 = self.betas
        for index, parameter in enumerate(self.parameters):
            if parameter.grad is None:
                continue
            g = parameter.grad
            if self.weight_decay:
                g = g + self.weight_decay * parameter.data  # (1)
            m, v, t = self.moments[index] or (np.zeros_like(g), np.zeros_like(g), 0)
            m = beta1 * m + (1 - beta1) * g  # (2)
            v = beta2 * v + (1 - beta2) * (g * g)  # (3)
            t += 1
            self.moments[index] = m, v, t
            step_size = self.lr / (1 - beta1**t)
            parameter.data -= step_size * m / (np.sqrt(v) / math.sqrt(1 - beta2**t) + self.eps)  # (4)

    def state_dict(self) -> dict[str, Array]:
        """m, v and t, as torch calls them: "0.exp_avg", "0.exp_avg_sq", "0.step"; none before the first step."""
        state: dict[str, Array] = {}
        for index, held in enumerate(self.moments):
            if held is not None:
                m, v, t = held
                state |= {f"{index}.exp_avg": m, f"{index}.exp_avg_sq": v, f"{index}.step": np.array(t, np.float32)}
        return state

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Take over what `state_dict` gave; raises ValueError for another optimizer's."""
        held = self._remembered(state, "exp_avg", "exp_avg_sq", "step")
        self.moments = [None if each is None else (each[0], each[1], int(each[2])) for each in held]
