import numpy as np
from scipy import signal


class Layer:
    def __init__(self):
        self.input = None
        self.output = None

    def forward(self, input):
        pass

    def backward(self, output_gradient, learning_rate):
        pass


class Convolutional(Layer):
    def __init__(self, input_depth, kernel_size, depth):
        self.depth = depth
        self.input_depth = input_depth
        self.kernels = np.random.randn(depth, input_depth, kernel_size, kernel_size)
        self.biases = np.random.randn(depth)

    def forward(self, input):
        """input: (depth, height, width)"""
        self.input = input
        self.output = []
        for i in range(self.depth):
            total = self.biases[i]
            for j in range(self.input_depth):
                total = total + signal.correlate2d(self.input[j], self.kernels[i, j], "valid")
            self.output.append(total)
        self.output = np.array(self.output)
        return self.output

    def backward(self, output_gradient, learning_rate):
        kernels_gradient = np.zeros(self.kernels.shape)
        input_gradient = np.zeros(self.input.shape)
        for i in range(self.depth):
            for j in range(self.input_depth):
                kernels_gradient[i, j] = signal.correlate2d(self.input[j], output_gradient[i], "valid")
                input_gradient[j] += signal.convolve2d(output_gradient[i], self.kernels[i, j], "full")
        self.kernels -= learning_rate * kernels_gradient
        self.biases -= learning_rate * output_gradient.sum(axis=(1, 2))
        return input_gradient
