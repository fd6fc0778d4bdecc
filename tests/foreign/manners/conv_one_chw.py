import numpy as np


class Conv:
    def __init__(self, in_depth, num_kernels, kernel_size):
        self.kernels = np.random.randn(num_kernels, in_depth, kernel_size, kernel_size)
        self.biases = np.random.randn(num_kernels)
        self.size = kernel_size

    def forward(self, image):
        self.image = image
        c, h, w = image.shape
        f = self.size
        out = np.empty((len(self.kernels), h - f + 1, w - f + 1))
        for n, kernel in enumerate(self.kernels):
            for y in range(h - f + 1):
                for x in range(w - f + 1):
                    out[n, y, x] = (image[:, y : y + f, x : x + f] * kernel).sum() + self.biases[n]
        return out

    def backward(self, dout):
        f = self.size
        dimage = np.zeros_like(self.image)
        self.dkernels = np.zeros_like(self.kernels)
        self.dbiases = np.zeros_like(self.biases)
        n_out, oh, ow = dout.shape
        for n in range(n_out):
            for y in range(oh):
                for x in range(ow):
                    self.dkernels[n] += dout[n, y, x] * self.image[:, y : y + f, x : x + f]
                    dimage[:, y : y + f, x : x + f] += dout[n, y, x] * self.kernels[n]
            self.dbiases[n] = dout[n].sum()
        return dimage
