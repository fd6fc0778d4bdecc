import numpy as np


class SGD:
    def __init__(self, parameters, lr, momentum=0, weight_decay=0):
        self.parameters = list(parameters)
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.buffers = [np.zeros_like(p.data) for p in self.parameters]

    def zero_grad(self):
        for p in self.parameters:
            p.grad = None

    def step(self):
        for p, buffer in zip(self.parameters, self.buffers):
            if p.grad is None:
                continue
            g = p.grad + self.weight_decay * p.data
            buffer *= self.momentum
            buffer += g
            p.data -= self.lr * buffer
