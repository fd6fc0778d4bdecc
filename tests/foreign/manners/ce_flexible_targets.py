import numpy as np


class SoftmaxWithLoss:
    def __init__(self):
        self.loss = None
        self.y = None
        self.t = None

    def forward(self, x, t):
        self.t = t
        x = x - np.max(x, axis=1, keepdims=True)
        logs = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
        self.y = np.exp(logs)
        if t.size == self.y.size:  # one-hot vector
            self.t = t.argmax(axis=1)
        batch_size = x.shape[0]
        self.loss = -logs[np.arange(batch_size), self.t].sum() / batch_size
        return self.loss

    def backward(self, dout=1):
        batch_size = self.t.shape[0]
        dx = self.y.copy()
        dx[np.arange(batch_size), self.t] -= 1
        return dx * dout / batch_size
