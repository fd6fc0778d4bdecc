import numpy as np


class Dropout:
    def __init__(self, rate):
        self.rate = rate
        self.training = True

    def forward(self, x):
        self.scale = np.ones_like(x)
        if self.training:
            keep = 1 - self.rate
            self.scale = np.random.binomial(1, keep, size=x.shape) / keep
        return x * self.scale

    def backward(self, dy):
        return dy * self.scale
