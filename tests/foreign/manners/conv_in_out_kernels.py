import numpy as np
from numpy.lib.stride_tricks import sliding_window_view as windows


class Conv:
    """Kernels are kept as (in, out, k, k): kernel[i][o] leads from map i to map o. Batches N x C x H x W."""

    def __init__(self, n_in, n_out, k):
        self.kernel = np.random.normal(0, 0.1, (n_in, n_out, k, k))
        self.bias = np.zeros(n_out)

    def forward(self, batch):
        k = self.kernel.shape[-1]
        self.win = windows(batch, (k, k), axis=(2, 3))
        return np.einsum("nihwuv,iouv->nohw", self.win, self.kernel) + self.bias.reshape(1, -1, 1, 1)

    def backward(self, delta):
        k = self.kernel.shape[-1]
        grads = {
            "kernel": np.einsum("nihwuv,nohw->iouv", self.win, delta),
            "bias": delta.sum(axis=3).sum(axis=2).sum(axis=0),
        }
        padded = np.pad(delta, ((0, 0), (0, 0), (k - 1, k - 1), (k - 1, k - 1)))
        flipped = self.kernel[:, :, ::-1, ::-1]
        dx = np.einsum("nohwuv,iouv->nihw", windows(padded, (k, k), axis=(2, 3)), flipped)
        return dx, grads
