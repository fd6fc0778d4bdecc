"""One linear layer, 3 to 2 features, in sixteen styles: what differs is where things are and what is asked for."""

from __future__ import annotations

import numpy as np


class Base:
    """A linear layer; what follows differs in where things are."""

    def __init__(self):
        self.W, self.b = np.zeros((2, 3)), np.zeros(2)

    def forward(self, x):
        self.x = x
        return x @ self.W.T + self.b

    def parts(self, g):
        return g @ self.W, g.T @ self.x, g.sum(axis=0)


class ReturnsAll(Base):
    def backward(self, g):
        return self.parts(g)


class ReturnsDictionary(Base):
    def backward(self, g):
        dx, dw, db = self.parts(g)
        return {"db": db, "dx": dx, "dW": dw}


class ReturnsInputAndDictionary(Base):
    def backward(self, g):
        dx, dw, db = self.parts(g)
        return dx, {"b": db, "W": dw}


class KeepsBeside(Base):
    def backward(self, g):
        self.dx, self.dW, self.db = self.parts(g)


class KeepsInDictionary(Base):
    def backward(self, g):
        dx, dw, db = self.parts(g)
        self.grads = {"W": dw, "b": db}
        return dx


class Held:
    def __init__(self, shape):
        self.data, self.grad = np.zeros(shape), np.zeros(shape)


class KeepsInParameters(Base):
    def __init__(self):
        self.weight, self.bias = Held((2, 3)), Held((2,))

    def forward(self, x):
        self.x, self.held = x, self.weight.data
        return x @ self.held.T + self.bias.data

    def backward(self, g):
        self.weight.grad += g.T @ self.x
        self.bias.grad += g.sum(axis=0)
        return g @ self.held


class Numbered(Base):
    def __init__(self):
        self.params = {"W1": np.zeros((2, 3)), "b1": np.zeros((1, 2))}
        self.grads = {"W2": np.full((2, 3), 5.0)}

    def forward(self, x):
        self.x, self.W = x, self.params["W1"]
        return x @ self.W.T + self.params["b1"]

    def backward(self, g):
        dx, dw, db = self.parts(g)
        self.grads |= {"W1": dw, "b1": db[None]}
        return dx


class Adds(Base):
    def __init__(self):
        super().__init__()
        self.dW, self.db = np.zeros((2, 3)), np.zeros(2)

    def backward(self, g):
        dx, dw, db = self.parts(g)
        self.dW += dw
        self.db += db
        return dx


class Updates(Base):
    def backprop(self, g, learning_rate):
        dx, dw, db = self.parts(g)
        self.W -= learning_rate * dw
        self.b -= learning_rate * db
        return dx


class UpdatesByItsOwnRate(Base):
    def __init__(self):
        super().__init__()
        self.lr = 0.01

    def backward(self, g):
        return Updates.backprop(self, g, self.lr)


class UpdatesAndShows(Base):
    def backward(self, g, lr):
        dx, self.dW, self.db = self.parts(g)
        self.W -= lr * self.dW
        self.b -= lr * self.db
        return dx


class KeepsOutput(Base):
    def forward(self, x):
        self.output = super().forward(x)

    backward = ReturnsAll.backward


class ReturnsCache(Base):
    def forward(self, x):
        return super().forward(x), (x, self.W)

    def backward(self, cache, dout):
        x, w = cache
        return dout @ w, dout.T @ x, dout.sum(axis=0)


class TakesInputAgain(Base):
    def backward(self, x, grad_output):
        return grad_output @ self.W, grad_output.T @ x, grad_output.sum(axis=0)


class MakesWeightsLate(Base):
    def __init__(self):
        self.W = None
        self.b = None

    def forward(self, x):
        if self.W is None:
            self.W, self.b = np.zeros((2, x.shape[1])), np.zeros(2)
        return super().forward(x)

    backward = ReturnsAll.backward


class Columns(Base):
    """The bias is a column."""

    def __init__(self):
        self.W, self.b = np.zeros((2, 3)), np.zeros((2, 1))

    def forward(self, x):
        self.x = x
        return (self.W @ x.T + self.b).T

    def backward(self, g):
        dx, dw, db = self.parts(g)
        return dx, dw, db[:, None]
