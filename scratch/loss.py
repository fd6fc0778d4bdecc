"""How wrong the scores are, as one number per image: softmax cross-entropy."""

from __future__ import annotations

import numpy as np

from scratch import checks
from scratch.activation import log_softmax
from scratch.backend import on_host
from scratch.module import Array, Module


class CrossEntropyLoss(Module):
    """Minus the logarithm of the probability that softmax gives to the right class.

    Forward, for image n with scores x[n,:] and class t[n]:

        L[n] = -log p[n,t[n]],   p[n,:] = softmax(x[n,:])                                                   (1)
        "mean": Σ_n L[n] / N     "sum": Σ_n L[n]     "none": all L[n]                                       (2)

    Backward. From (1), ∂L[n]/∂x[n,k] = p[n,k] - δ(k = t[n]): the probabilities, with 1 subtracted at the right class.
    With g the gradient of the output (1 unless something follows the loss), s[n] = g/N for "mean", g for "sum", g[n]
    for "none":

        ∂L/∂x[n,k] = s[n] · (p[n,k] - δ(k = t[n]))                                                          (3)

    Shapes:
        input: scores (logits) (N, K), targets (N), whole numbers from 0 to K - 1;
        output: () for "mean" and "sum", (N) for "none".

    Raises:
        ValueError: for an unsupported option, scores that are not (N, K), targets that do not fit them. On a GPU a
            class out of range is not noticed: to look for one, every step would have to wait for the device.

    Torch twin: `torch.nn.CrossEntropyLoss`, without weight, ignore_index and label_smoothing, on two axes.
    Source: Goodfellow, Bengio & Courville 2016, "Deep Learning", section 6.2.2.

    >>> loss = CrossEntropyLoss()
    >>> round(float(loss(np.array([[0.0, 0.0]]), np.array([1]))), 4)      # two equal scores: -log 1/2
    0.6931
    >>> loss.backward()
    array([[ 0.5, -0.5]])
    """

    def __init__(
        self, *, reduction: str = "mean", weight: None = None, ignore_index: int = -100, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"CrossEntropyLoss: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
        checks.only_default(
            "CrossEntropyLoss",
            weight=(weight, None),
            ignore_index=(ignore_index, -100),
            label_smoothing=(label_smoothing, 0.0),
        )
        self.reduction = reduction

    def forward(self, logits: Array, targets: Array) -> Array:
        checks.input_like("CrossEntropyLoss", logits, 2, "(N, K)")
        self._check_targets(logits, targets)
        log_p = log_softmax(logits, dim=1)
        losses = -log_p[np.arange(len(targets), like=targets), targets]  # (1)
        # log p gives p back by exp in (3); the scores themselves are not needed again.
        self.save_for_backward(log_p, targets)
        if self.reduction == "none":
            return losses
        total = losses.sum(keepdims=True)  # (2)
        return (total / len(losses) if self.reduction == "mean" else total).reshape(())

    def backward(self, grad_output: Array | float = 1.0) -> Array:
        """The gradient of the scores, (N, K); `grad_output` is like the output, 1 by default as in torch."""
        log_p, targets = self.saved_for_backward
        n, k = log_p.shape
        if isinstance(grad_output, int | float):
            g = np.full_like(log_p, grad_output, shape=(1,)).reshape(())
        else:
            g = grad_output
        checks.gradient_like("CrossEntropyLoss", g, (n,) if self.reduction == "none" else (), log_p.dtype)
        scale = g[:, None] if self.reduction == "none" else g / n if self.reduction == "mean" else g
        right = targets[:, None] == np.arange(k, like=targets)
        return scale * (np.exp(log_p) - right)  # (3)

    @staticmethod
    def _check_targets(logits: Array, targets: Array) -> None:
        n, k = logits.shape
        if targets.shape != (n,) or targets.dtype.kind not in "iu":
            raise ValueError(
                f"CrossEntropyLoss: targets must be whole numbers of shape {(n,)} beside scores {logits.shape}, "
                f"got {targets.dtype}{list(targets.shape)}"
            )
        if n == 0:
            raise ValueError("CrossEntropyLoss: a batch must hold at least one image, got none")
        if not on_host(targets):
            return
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= k:
            raise ValueError(f"CrossEntropyLoss: targets must be between 0 and {k - 1}, got {low if low < 0 else high}")
