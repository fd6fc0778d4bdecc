import numpy as np


class Reshape:
    """From the maps of one picture, (depth, height, width), to a column vector (n, 1)."""

    def forward(self, input):
        self.input_shape = input.shape
        return np.reshape(input, (-1, 1))

    def backward(self, output_gradient, learning_rate):
        return np.reshape(output_gradient, self.input_shape)
