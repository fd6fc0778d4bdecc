import numpy as np
from scipy.special import logsumexp


class CrossEntropy:
    def forward(self, x, y):
        N, K = x.shape
        self.log_p = x - logsumexp(x, axis=1, keepdims=True)
        self.y = y
        return -self.log_p[range(N), y].mean()

    def backward(self):
        N, K = self.log_p.shape
        return (np.exp(self.log_p) - np.eye(K)[self.y]) / N
