import numpy as np


class AveragePooling2D:
    """(batch, height, width, channels)"""

    def __init__(self, pool_size=(2, 2), stride=2):
        if isinstance(pool_size, int):
            pool_size = (pool_size, pool_size)
        self.pool_h, self.pool_w = pool_size
        self.stride = stride

    def forward(self, batch):
        self.shape = batch.shape
        b, h, w, c = batch.shape
        out_h = 1 + (h - self.pool_h) // self.stride
        out_w = 1 + (w - self.pool_w) // self.stride
        out = np.zeros((b, out_h, out_w, c), dtype=batch.dtype)
        for i in range(out_h):
            for j in range(out_w):
                hs, ws = i * self.stride, j * self.stride
                out[:, i, j, :] = batch[:, hs : hs + self.pool_h, ws : ws + self.pool_w, :].mean(axis=(1, 2))
        return out

    def backward(self, d_out):
        d_batch = np.zeros(self.shape, dtype=d_out.dtype)
        share = d_out / (self.pool_h * self.pool_w)
        for i in range(d_out.shape[1]):
            for j in range(d_out.shape[2]):
                hs, ws = i * self.stride, j * self.stride
                d_batch[:, hs : hs + self.pool_h, ws : ws + self.pool_w, :] += share[:, i : i + 1, j : j + 1, :]
        return d_batch
