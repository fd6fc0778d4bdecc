"""Mini-Keras. Tensors are channels_last like in TF."""

import numpy as np


class Conv2D:
    def __init__(self, in_channels, filters, kernel_size, strides=1, use_bias=True):
        if isinstance(kernel_size, int):
            kernel_size = (kernel_size, kernel_size)
        if isinstance(strides, int):
            strides = (strides, strides)
        self.kernel_size = kernel_size
        self.strides = strides
        kh, kw = kernel_size
        limit = np.sqrt(6 / (kh * kw * (in_channels + filters)))
        self.kernel = np.random.uniform(-limit, limit, size=(kh, kw, in_channels, filters))
        self.bias = np.zeros(filters) if use_bias else None

    def call(self, x):
        n, h, w, c = x.shape
        kh, kw = self.kernel_size
        sh, sw = self.strides
        oh, ow = (h - kh) // sh + 1, (w - kw) // sw + 1
        self.x = x
        out = np.zeros((n, oh, ow, self.kernel.shape[3]), dtype=x.dtype)
        for i in range(kh):
            for j in range(kw):
                patch = x[:, i : i + sh * (oh - 1) + 1 : sh, j : j + sw * (ow - 1) + 1 : sw, :]
                out += patch @ self.kernel[i, j]
        if self.bias is not None:
            out = out + self.bias
        return out

    def backward(self, grad):
        kh, kw = self.kernel_size
        sh, sw = self.strides
        _, oh, ow, filters = grad.shape
        dx = np.zeros_like(self.x)
        self.dkernel = np.zeros_like(self.kernel)
        for i in range(kh):
            for j in range(kw):
                rows = slice(i, i + sh * (oh - 1) + 1, sh)
                cols = slice(j, j + sw * (ow - 1) + 1, sw)
                dx[:, rows, cols, :] += grad @ self.kernel[i, j].T
                self.dkernel[i, j] = np.tensordot(self.x[:, rows, cols, :], grad, axes=([0, 1, 2], [0, 1, 2]))
        if self.bias is not None:
            self.dbias = grad.reshape(-1, filters).sum(axis=0)
        return dx
