"""Layers as a notebook has them: one image at a time, channels last, updates inside backprop; four things are wrong."""

from __future__ import annotations

import numpy as np


class NotebookConv:
    """3x3 convolution with its ReLU inside. The mask of the ReLU is taken from the upstream gradient."""

    def __init__(self, count):
        self.count = count
        self.kernels = np.random.randn(count, 3, 3) / 9

    def windows(self, picture):
        rows, columns = picture.shape
        for i in range(rows - 2):
            for j in range(columns - 2):
                yield i, j, picture[i : i + 3, j : j + 3]

    def forward(self, picture):
        self.picture = picture
        maps = np.zeros((picture.shape[0] - 2, picture.shape[1] - 2, self.count))
        for i, j, window in self.windows(picture):
            maps[i, j] = (window * self.kernels).sum(axis=(1, 2))
        return np.maximum(maps, 0)

    def backprop(self, gradient, learning_rate):
        change = np.zeros_like(self.kernels)
        for i, j, window in self.windows(self.picture):
            for k in range(self.count):
                if gradient[i, j, k] > 0:
                    change[k] += gradient[i, j, k] * window
        self.kernels -= learning_rate * change
        return


class NotebookPool:
    """2x2 max-pooling. Every tied maximum receives the whole gradient."""

    def forward(self, maps):
        self.maps = maps
        h, w, c = maps.shape
        self.best = maps[: h // 2 * 2, : w // 2 * 2].reshape(h // 2, 2, w // 2, 2, c).max(axis=(1, 3))
        return self.best

    def backprop(self, gradient):
        whole = np.zeros_like(self.maps)
        for i, j, k in np.ndindex(*gradient.shape):
            corner = slice(2 * i, 2 * i + 2), slice(2 * j, 2 * j + 2), k
            whole[corner] += gradient[i, j, k] * (self.maps[corner] == self.best[i, j, k])
        return whole


class NotebookSoftmax:
    """Dense layer with softmax. backprop wants the gradient of the scores, and updates before it uses the weights."""

    def __init__(self, size, classes):
        self.weights = np.random.randn(size, classes) / size
        self.bias = np.zeros(classes)

    def forward(self, maps):
        self.shape = maps.shape
        self.row = maps.flatten()
        self.scores = self.row @ self.weights + self.bias
        e = np.exp(self.scores - self.scores.max())
        return e / e.sum()

    def backprop(self, gradient, learning_rate):
        self.weights -= learning_rate * np.outer(self.row, gradient)
        self.bias -= learning_rate * gradient
        return (self.weights @ gradient).reshape(self.shape)
