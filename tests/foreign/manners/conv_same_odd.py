import numpy as np


class SameConv:
    """Convolution that keeps the size of the maps."""

    def __init__(self, channels_in, channels_out, ksize=3):
        assert ksize % 2 == 1, "kernel must be odd, otherwise 'same' makes no sense"
        self.half = ksize // 2
        self.weights = np.random.randn(channels_out, channels_in, ksize, ksize) / ksize
        self.bias = np.zeros((channels_out, 1, 1))

    def _pad(self, x):
        p = self.half
        return np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))

    def forward(self, x):
        self.padded = self._pad(x)
        k, (h, w) = 2 * self.half + 1, x.shape[-2:]
        self.cols = np.stack(
            [self.padded[:, :, u : u + h, v : v + w] for u in range(k) for v in range(k)],
            axis=2,
        )
        kernel = self.weights.reshape(*self.weights.shape[:2], -1)
        return np.einsum("ncphw,ocp->nohw", self.cols, kernel) + self.bias

    def backward(self, grad_out):
        kernel = self.weights.reshape(*self.weights.shape[:2], -1)
        self.grad_weights = np.einsum("ncphw,nohw->ocp", self.cols, grad_out).reshape(self.weights.shape)
        self.grad_bias = grad_out.sum(axis=(0, 2, 3)).reshape(self.bias.shape)
        # gradient of a same-convolution is a same-convolution with the kernel rotated by 180 degrees
        g = self._pad(grad_out)
        k, (h, w) = 2 * self.half + 1, grad_out.shape[-2:]
        g = np.stack([g[:, :, u : u + h, v : v + w] for u in range(k) for v in range(k)], axis=2)
        return np.einsum("nophw,ocp->nchw", g, kernel[:, :, ::-1])
