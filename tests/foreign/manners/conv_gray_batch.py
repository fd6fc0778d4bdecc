import numpy as np


class GrayConv:
    """x: (batch, height, width) gray images -> (batch, n_filters, height-k+1, width-k+1)"""

    def __init__(self, n_filters, k):
        self.k = k
        self.filters = np.random.randn(n_filters, k, k)
        self.bias = np.zeros(n_filters)

    def forward(self, x):
        batch, height, width = x.shape
        self.x = x
        w = np.lib.stride_tricks.sliding_window_view(x, (self.k, self.k), axis=(1, 2))
        self.w = w
        return np.einsum("bijuv,fuv->bfij", w, self.filters) + self.bias[:, None, None]

    def backward(self, grad):
        self.grad_filters = np.einsum("bijuv,bfij->fuv", self.w, grad)
        self.grad_bias = grad.sum((0, 2, 3))
        dx = np.zeros_like(self.x)
        for u in range(self.k):
            for v in range(self.k):
                dx[:, u : u + grad.shape[2], v : v + grad.shape[3]] += np.einsum(
                    "bfij,f->bij", grad, self.filters[:, u, v]
                )
        return dx
