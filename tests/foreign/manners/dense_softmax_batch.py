import numpy as np


class OutputLayer:
    def __init__(self, W, b):
        self.W = W
        self.b = b

    def forward(self, X):
        self.X = X
        scores = X @ self.W.T + self.b
        scores = scores - scores.max(axis=1, keepdims=True)
        self.P = np.exp(scores)
        self.P /= self.P.sum(axis=1, keepdims=True)
        return self.P

    def backward(self, dP):
        dscores = self.P * dP
        dscores -= self.P * dscores.sum(axis=1, keepdims=True)
        self.dW = dscores.T @ self.X
        self.db = dscores.sum(axis=0)
        return dscores @ self.W
