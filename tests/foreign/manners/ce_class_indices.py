import numpy as np


class CrossEntropyLoss:
    def __init__(self, reduction="mean"):
        self.reduction = reduction

    def __call__(self, logits, target):
        z = logits - logits.max(axis=1, keepdims=True)
        logp = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        self.logp, self.target = logp, target
        losses = -logp[np.arange(len(target)), target]
        if self.reduction == "none":
            return losses
        return losses.mean() if self.reduction == "mean" else losses.sum()

    def backward(self, grad_output=1.0):
        n = len(self.target)
        g = np.exp(self.logp)
        g[np.arange(n), self.target] -= 1
        if self.reduction == "mean":
            g /= n
        return g * np.reshape(grad_output, (-1, 1))
