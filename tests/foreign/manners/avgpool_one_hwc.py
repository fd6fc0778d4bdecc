from typing import Annotated

import numpy as np

Image = Annotated[np.ndarray, "height, width, channels"]


class AvgPool:
    def __init__(self, size):
        self.size = size

    def forward(self, image: Image):
        n = self.size
        self.shape = image.shape
        out = np.zeros((image.shape[0] // n, image.shape[1] // n, image.shape[2]))
        for i in range(n):
            for j in range(n):
                out += image[i : len(out) * n : n, j : out.shape[1] * n : n]
        return out / n**2

    def backward(self, dout):
        n = self.size
        dx = np.zeros(self.shape)
        for i in range(n):
            for j in range(n):
                dx[i : dout.shape[0] * n : n, j : dout.shape[1] * n : n] = dout / n**2
        return dx
