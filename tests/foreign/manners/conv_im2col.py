import numpy as np


def get_im2col_indices(x_shape, fh, fw, pad, stride):
    N, C, H, W = x_shape
    out_h = (H + 2 * pad - fh) // stride + 1
    out_w = (W + 2 * pad - fw) // stride + 1
    i0 = np.tile(np.repeat(np.arange(fh), fw), C)
    i1 = stride * np.repeat(np.arange(out_h), out_w)
    j0 = np.tile(np.arange(fw), fh * C)
    j1 = stride * np.tile(np.arange(out_w), out_h)
    i = i0.reshape(-1, 1) + i1.reshape(1, -1)
    j = j0.reshape(-1, 1) + j1.reshape(1, -1)
    k = np.repeat(np.arange(C), fh * fw).reshape(-1, 1)
    return k, i, j, out_h, out_w


class ConvLayer:
    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0):
        self.W = np.random.randn(out_channels, in_channels, kernel_size, kernel_size) * 0.1
        self.b = np.zeros(out_channels)
        self.stride, self.padding, self.k = stride, padding, kernel_size

    def forward(self, X):
        p = self.padding
        self.x_shape = X.shape
        x_padded = np.pad(X, ((0, 0), (0, 0), (p, p), (p, p)))
        k, i, j, out_h, out_w = get_im2col_indices(X.shape, self.k, self.k, p, self.stride)
        self.where = k, i, j
        self.cols = x_padded[:, k, i, j]  # (N, C*k*k, out_h*out_w)
        F = self.W.shape[0]
        out = self.W.reshape(F, -1) @ self.cols + self.b[:, None]
        return out.reshape(len(X), F, out_h, out_w)

    def backward(self, dout):
        N, C, H, W = self.x_shape
        F, p = self.W.shape[0], self.padding
        d = dout.reshape(N, F, -1)
        self.db = d.sum(axis=(0, 2))
        self.dW = np.einsum("nfl,nkl->fk", d, self.cols).reshape(self.W.shape)
        dcols = self.W.reshape(F, -1).T @ d
        dx = np.zeros((N, C, H + 2 * p, W + 2 * p), dtype=dout.dtype)
        k, i, j = self.where
        np.add.at(dx, (slice(None), k, i, j), dcols)
        return dx[:, :, p : H + p, p : W + p]
