import numpy as np


class Dense:
    def __init__(self, inputs, outputs):
        self.weights = np.random.randn(inputs, outputs) / np.sqrt(inputs)
        self.bias = np.zeros(outputs)

    def forward(self, x):
        self.x = x
        return x @ self.weights + self.bias

    def backward(self, grad):
        self.weights_grad = self.x.T @ grad
        self.bias_grad = grad.sum(axis=0)
        return grad @ self.weights.T


if __name__ == "__main__":
    hidden = [Dense(784, 6), Dense(6, 6), Dense(6, 10)]
    h = np.random.rand(32, 784)
    for layer in hidden:
        h = layer.forward(h)
