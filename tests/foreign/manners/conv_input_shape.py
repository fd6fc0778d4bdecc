import numpy as np


class Convolutional:
    """Conv layer for one input volume whose size is fixed when the net is built."""

    def __init__(self, input_shape, kernel_size, n_filters):
        depth, height, width = input_shape
        self.input_shape = input_shape
        self.output_shape = (n_filters, height - kernel_size + 1, width - kernel_size + 1)
        self.kernels = np.random.randn(n_filters, depth, kernel_size, kernel_size) * 0.1
        self.biases = np.zeros(n_filters)

    def forward(self, volume):
        self.volume = volume
        k = self.kernels.shape[2]
        out = np.zeros(self.output_shape)
        for y in range(self.output_shape[1]):
            for x in range(self.output_shape[2]):
                window = volume[:, y : y + k, x : x + k]
                out[:, y, x] = np.tensordot(self.kernels, window, axes=3) + self.biases
        return out

    def backward(self, grad):
        k = self.kernels.shape[2]
        self.kernels_grad = np.zeros(self.kernels.shape)
        self.biases_grad = grad.sum(axis=(1, 2))
        input_grad = np.zeros(self.input_shape)
        for y in range(self.output_shape[1]):
            for x in range(self.output_shape[2]):
                window = self.volume[:, y : y + k, x : x + k]
                self.kernels_grad += grad[:, y, x, None, None, None] * window
                input_grad[:, y : y + k, x : x + k] += np.tensordot(grad[:, y, x], self.kernels, axes=1)
        return input_grad


if __name__ == "__main__":
    conv = Convolutional((1, 28, 28), 5, 3)
    print(conv.forward(np.random.rand(1, 28, 28)).shape)
