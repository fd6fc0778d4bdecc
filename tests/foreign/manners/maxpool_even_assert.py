import numpy as np


class MaxPool:
    def __init__(self, size=2):
        self.size = size

    def forward(self, x):
        n, c, h, w = x.shape
        s = self.size
        assert h % s == 0, "height must be divisible by the pool size"
        assert w % s == 0, "width must be divisible by the pool size"
        tiles = x.reshape(n, c, h // s, s, w // s, s).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h // s, w // s, s * s)
        self.arg = tiles.argmax(axis=-1)
        self.shape = x.shape
        return tiles.max(axis=-1)

    def backward(self, dy):
        n, c, h, w = self.shape
        s = self.size
        tiles = np.zeros(dy.shape + (s * s,), dtype=dy.dtype)
        np.put_along_axis(tiles, self.arg[..., None], dy[..., None], axis=-1)
        tiles = tiles.reshape(n, c, h // s, w // s, s, s).transpose(0, 1, 2, 4, 3, 5)
        return tiles.reshape(self.shape)
