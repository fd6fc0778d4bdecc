from types import SimpleNamespace

import numpy as np


def conv_layer(in_channels, out_channels, kernel_size):
    """No classes needed: the layer is two functions and what they share."""
    params = {
        "W": np.random.randn(out_channels, in_channels, kernel_size, kernel_size),
        "b": np.zeros(out_channels),
    }
    grads = {}
    saved = {}

    def forward(x):
        W, b = params["W"], params["b"]
        N, C, H, Wd = x.shape
        K, _, fh, fw = W.shape
        cols = np.empty((N, C * fh * fw, (H - fh + 1) * (Wd - fw + 1)), dtype=x.dtype)
        row = 0
        for c in range(C):
            for i in range(fh):
                for j in range(fw):
                    cols[:, row] = x[:, c, i : i + H - fh + 1, j : j + Wd - fw + 1].reshape(N, -1)
                    row += 1
        saved["cols"], saved["x_shape"] = cols, x.shape
        out = np.matmul(W.reshape(K, -1), cols) + b[None, :, None]
        return out.reshape(N, K, H - fh + 1, Wd - fw + 1)

    def backward(dout):
        W = params["W"]
        N, C, H, Wd = saved["x_shape"]
        K, _, fh, fw = W.shape
        d = dout.reshape(N, K, -1)
        grads["W"] = np.matmul(d, saved["cols"].transpose(0, 2, 1)).sum(axis=0).reshape(W.shape)
        grads["b"] = d.sum(axis=2).sum(axis=0)
        dcols = np.matmul(W.reshape(K, -1).T, d)
        dx = np.zeros(saved["x_shape"], dtype=dout.dtype)
        row = 0
        for c in range(C):
            for i in range(fh):
                for j in range(fw):
                    piece = dcols[:, row].reshape(N, H - fh + 1, Wd - fw + 1)
                    dx[:, c, i : i + H - fh + 1, j : j + Wd - fw + 1] += piece
                    row += 1
        return dx

    return SimpleNamespace(forward=forward, backward=backward, params=params, grads=grads)
