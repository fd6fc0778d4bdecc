import numpy as np


class ConvolutionLayer:
    # color images, one at a time

    def __init__(self, kernel_num, kernel_size, channels=3):
        self.kernel_num = kernel_num
        self.kernel_size = kernel_size
        # one kernel is (size, size, channels)
        self.kernels = np.random.randn(kernel_num, kernel_size, kernel_size, channels) / (kernel_size**2)
        self.bias = np.zeros(kernel_num)

    def patches_generator(self, image):
        h, w, c = image.shape
        for r in range(h - self.kernel_size + 1):
            for col in range(w - self.kernel_size + 1):
                yield image[r : r + self.kernel_size, col : col + self.kernel_size], r, col

    def forward_prop(self, image):
        h, w, c = image.shape
        self.image = image
        out = np.zeros((h - self.kernel_size + 1, w - self.kernel_size + 1, self.kernel_num))
        for patch, r, col in self.patches_generator(image):
            out[r, col] = np.sum(patch * self.kernels, axis=(1, 2, 3)) + self.bias
        return out

    def back_prop(self, dE_dY):
        self.dkernels = np.zeros(self.kernels.shape)
        dE_dX = np.zeros(self.image.shape)
        for patch, r, col in self.patches_generator(self.image):
            for f in range(self.kernel_num):
                self.dkernels[f] += patch * dE_dY[r, col, f]
                dE_dX[r : r + self.kernel_size, col : col + self.kernel_size] += self.kernels[f] * dE_dY[r, col, f]
        self.dbias = dE_dY.sum(axis=(0, 1))
        return dE_dX

    forward, backward = forward_prop, back_prop
