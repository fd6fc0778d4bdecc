from abc import ABC, abstractmethod

import numpy as np


class Layer(ABC):
    trainable = True

    @abstractmethod
    def forward_pass(self, X, training=True): ...

    @abstractmethod
    def backward_pass(self, accum_grad): ...


class Conv2D(Layer):
    """A 2D convolution layer, plain SGD built in."""

    def __init__(self, n_filters, filter_shape, n_channels, padding=0, learning_rate=0.01):
        self.padding = padding
        self.learning_rate = learning_rate
        self.W = np.random.uniform(-0.1, 0.1, size=(n_filters, n_channels, *filter_shape))
        self.b = np.zeros((n_filters, 1))

    def forward_pass(self, X, training=True):
        self.layer_input = X
        p = self.padding
        batch_size, channels, height, width = X.shape
        fh, fw = self.W.shape[2:]
        Xp = np.pad(X, ((0, 0), (0, 0), (p, p), (p, p)))
        self.view = np.lib.stride_tricks.sliding_window_view(Xp, (fh, fw), axis=(2, 3))
        out = np.tensordot(self.view, self.W, axes=([1, 4, 5], [1, 2, 3]))
        return out.transpose(0, 3, 1, 2) + self.b[:, :, None]

    def backward_pass(self, accum_grad):
        W = self.W.copy()  # the weights of the forward pass
        p = self.padding
        grad_w = np.tensordot(accum_grad, self.view, axes=([0, 2, 3], [0, 2, 3]))
        grad_b = np.sum(accum_grad, axis=(0, 2, 3))[:, None]
        self.W -= self.learning_rate * grad_w
        self.b -= self.learning_rate * grad_b
        batch_size, channels, height, width = self.layer_input.shape
        dx = np.zeros((batch_size, channels, height + 2 * p, width + 2 * p))
        for i in range(accum_grad.shape[2]):
            for j in range(accum_grad.shape[3]):
                dx[:, :, i : i + W.shape[2], j : j + W.shape[3]] += np.tensordot(accum_grad[:, :, i, j], W, axes=1)
        return dx[:, :, p : p + height, p : p + width]
