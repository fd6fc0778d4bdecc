import numpy as np


class Linear:
    def __init__(self, n_in, n_out):
        self.W = np.random.randn(n_out, n_in) * np.sqrt(2 / n_in)
        self.b = np.zeros((n_out, 1))

    def forward(self, X):
        self.X = X
        self.m = X.shape[1]  # examples are columns
        return self.W @ X + self.b

    def backward(self, dZ):
        self.dW = dZ @ self.X.T
        self.db = dZ.sum(axis=1, keepdims=True)
        return self.W.T @ dZ
