import numpy as np


class Pooling:
    """Max pooling of the feature maps of one picture, maps first: (maps, rows, columns)."""

    def __init__(self, size=2, stride=2):
        self.size, self.stride = size, stride

    def forward(self, maps):
        self.maps = maps
        depth, rows, columns = maps.shape
        r = (rows - self.size) // self.stride + 1
        c = (columns - self.size) // self.stride + 1
        out = np.zeros((depth, r, c))
        for d in range(depth):
            for i in range(r):
                for j in range(c):
                    a, b = i * self.stride, j * self.stride
                    out[d, i, j] = maps[d, a : a + self.size, b : b + self.size].max()
        return out

    def backward(self, error):
        result = np.zeros(self.maps.shape)
        for d, i, j in np.ndindex(error.shape):
            a, b = i * self.stride, j * self.stride
            window = self.maps[d, a : a + self.size, b : b + self.size]
            y, x = divmod(int(window.argmax()), self.size)
            result[d, a + y, b + x] += error[d, i, j]
        return result
