import numpy as np


class Conv2D:
    def __init__(self, in_channels, out_channels, kernel_size, stride=1):
        self.in_channels, self.out_channels = in_channels, out_channels
        self.F, self.S = kernel_size, stride
        self.W = np.random.randn(out_channels, in_channels, self.F, self.F)
        self.B = np.random.randn(out_channels)

    def forward(self, X):
        N, C, H, W = X.shape
        assert H == W, "only square images supported"
        assert C == self.in_channels
        self.X = X
        out = (H - self.F) // self.S + 1
        Y = np.zeros((N, self.out_channels, out, out))
        for r in range(out):
            for c in range(out):
                r0, c0 = r * self.S, c * self.S
                region = X[:, None, :, r0 : r0 + self.F, c0 : c0 + self.F]
                Y[:, :, r, c] = np.sum(region * self.W[None], axis=(2, 3, 4)) + self.B
        return Y

    def backward(self, dY):
        out = dY.shape[-1]
        dX = np.zeros(self.X.shape)
        self.dW = np.zeros(self.W.shape)
        self.dB = np.sum(dY, axis=(0, 2, 3))
        for r in range(out):
            for c in range(out):
                r0, c0 = r * self.S, c * self.S
                g = dY[:, :, r, c]
                region = self.X[:, :, r0 : r0 + self.F, c0 : c0 + self.F]
                self.dW += np.tensordot(g, region, axes=([0], [0]))
                dX[:, :, r0 : r0 + self.F, c0 : c0 + self.F] += np.tensordot(g, self.W, axes=([1], [0]))
        return dX
