import numpy as np


def logsumexp(v):
    top = v.max()
    return top + np.log(np.sum(np.exp(v - top)))


class LogSoftMax:
    def forward(self, scores):
        """
        Args:
            scores (np.ndarray): class scores of ONE example, shape (n_classes,)
        """
        shifted = scores - scores.max()
        self.logp = shifted - logsumexp(shifted)
        return self.logp

    def backward(self, grad):
        return grad - np.exp(self.logp) * grad.sum()
