import numpy as np

DTYPE = np.float32


class Conv2D:
    def __init__(self, n_channels, n_filters, filter_size, stride=1):
        self.stride = stride
        self.params = {
            "w": (np.random.randn(n_filters, n_channels, filter_size, filter_size) * 0.1).astype(DTYPE),
            "b": np.zeros(n_filters, DTYPE),
        }
        self.grads = {}

    def _col(self, x):
        k, s = self.params["w"].shape[-1], self.stride
        v = np.lib.stride_tricks.sliding_window_view(x, (k, k), (2, 3))[:, :, ::s, ::s]
        return v.transpose(0, 2, 3, 1, 4, 5)  # N OH OW C k k

    def forward(self, x):
        x = x.astype(DTYPE)
        w = self.params["w"].astype(DTYPE)
        self.x_shape = x.shape
        self.col = self._col(x)
        y = np.tensordot(self.col, w, ([3, 4, 5], [1, 2, 3])) + self.params["b"].astype(DTYPE)
        return y.transpose(0, 3, 1, 2)

    def backward(self, dy):
        dy = dy.astype(DTYPE).transpose(0, 2, 3, 1)
        w = self.params["w"].astype(DTYPE)
        self.grads["b"] = dy.sum((0, 1, 2))
        self.grads["w"] = np.tensordot(dy, self.col, ([0, 1, 2], [0, 1, 2]))
        dcol = np.tensordot(dy, w, ([3], [0]))  # N OH OW C k k
        dx = np.zeros(self.x_shape, DTYPE)
        k, s = w.shape[-1], self.stride
        for i in range(dy.shape[1]):
            for j in range(dy.shape[2]):
                dx[:, :, i * s : i * s + k, j * s : j * s + k] += dcol[:, i, j]
        return dx
