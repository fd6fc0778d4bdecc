import numpy as np


class Pool:
    def __init__(self, k=2):
        self.k = k

    def forward(self, img):
        h, w = img.shape
        k = self.k
        self.img = img
        return np.array(
            [[img[i * k : i * k + k, j * k : j * k + k].max() for j in range(w // k)] for i in range(h // k)]
        )

    def backward(self, d):
        k = self.k
        dimg = np.zeros_like(self.img)
        for i in range(d.shape[0]):
            for j in range(d.shape[1]):
                tile = self.img[i * k : i * k + k, j * k : j * k + k]
                y, x = np.argwhere(tile == tile.max())[0]
                dimg[i * k + y, j * k + x] = d[i, j]
        return dimg
