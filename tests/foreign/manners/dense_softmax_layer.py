import numpy as np


class Softmax:
    """Standard fully-connected layer with softmax activation, last layer of the net."""

    def __init__(self, input_len, nodes):
        self.weights = np.random.randn(input_len, nodes) / input_len
        self.biases = np.zeros(nodes)

    def forward(self, input):
        self.input_shape = input.shape
        flat = input.flatten()
        self.flat = flat
        scores = flat @ self.weights + self.biases
        e = np.exp(scores - scores.max())
        self.probs = e / e.sum()
        return self.probs

    def backprop(self, d_L_d_out, learn_rate):
        jacobian = np.diag(self.probs) - np.outer(self.probs, self.probs)
        d_L_d_t = jacobian @ d_L_d_out
        d_L_d_w = self.flat[:, np.newaxis] @ d_L_d_t[np.newaxis]
        d_L_d_inputs = self.weights @ d_L_d_t
        self.weights -= learn_rate * d_L_d_w
        self.biases -= learn_rate * d_L_d_t
        return d_L_d_inputs.reshape(self.input_shape)
