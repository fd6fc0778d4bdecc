import numpy as np


class Dense:
    """Fully connected. Works on the activations of a single sample, a plain vector (n_in,)."""

    def __init__(self, n_in, n_out):
        self.W = np.random.randn(n_out, n_in)
        self.b = np.zeros(n_out)

    def forward(self, a):
        self.a = a
        return self.W.dot(a) + self.b

    def backward(self, delta):
        self.grad_W = np.outer(delta, self.a)
        self.grad_b = delta
        return self.W.T.dot(delta)
