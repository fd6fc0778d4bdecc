import numpy as np


class Mixing:
    def __init__(self, n):
        self.n = n
        self.W = np.eye(n) + 0.01 * np.random.randn(n, n)

    def forward(self, x):
        self.x = x
        return x @ self.W

    def backward(self, g):
        self.dW = self.x.T @ g
        return g @ self.W.T
