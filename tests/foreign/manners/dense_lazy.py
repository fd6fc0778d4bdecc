import numpy as np


class Dense:
    def __init__(self, units):
        self.units = units
        self.built = False
        self.kernel = self.bias = None

    def build(self, n_features):
        self.kernel = np.random.normal(scale=0.05, size=(n_features, self.units))
        self.bias = np.zeros(self.units)
        self.built = True

    def __call__(self, batch):
        if not self.built:
            self.build(batch.shape[-1])
        self.batch = batch
        return batch @ self.kernel + self.bias

    def backward(self, grad):
        self.d_kernel, self.d_bias = self.batch.T @ grad, grad.sum(axis=0)
        return grad @ self.kernel.T
