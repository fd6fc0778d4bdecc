import numpy as np


class Conv:
    def __init__(self, filters):
        self.filters = filters

    def forward(self, x):
        h, w, c = x.shape
        n, fh, fw, _ = self.filters.shape
        y = np.zeros((h - fh + 1, w - fw + 1, n))
        for i, j, k in np.ndindex(*y.shape):
            y[i, j, k] = np.vdot(x[i : i + fh, j : j + fw], self.filters[k])
        return y


class Pool:
    def forward(self, x):
        self.x = x
        y = np.zeros((x.shape[0] // 2, x.shape[1] // 2, *x.shape[2:]))
        self.best = {}
        for at in np.ndindex(*y.shape):
            i, j, *rest = at
            block = x[(slice(2 * i, 2 * i + 2), slice(2 * j, 2 * j + 2), *rest)]
            u, v = np.unravel_index(block.argmax(), (2, 2))
            self.best[at] = (2 * i + u, 2 * j + v, *rest)
            y[at] = block[u, v]
        return y

    def backward(self, g):
        gx = np.zeros(self.x.shape)
        for at, where in self.best.items():
            gx[where] = g[at]
        return gx
