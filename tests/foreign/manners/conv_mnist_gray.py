import numpy as np


class Conv3x3:
    """First layer of the net. Gray 2d image in, one map per filter out. No bias, keep it simple."""

    def __init__(self, num_filters):
        self.num_filters = num_filters
        self.filters = np.random.randn(num_filters, 3, 3) / 9  # poor man's Xavier

    def forward(self, image):
        h, w = image.shape
        self.last_image = image
        output = np.zeros((h - 2, w - 2, self.num_filters))
        for i in range(h - 2):
            for j in range(w - 2):
                region = image[i : i + 3, j : j + 3]
                output[i, j] = np.sum(region * self.filters, axis=(1, 2))
        return output

    def backprop(self, d_L_d_out, learn_rate):
        d_L_d_filters = np.zeros(self.filters.shape)
        h, w, nf = d_L_d_out.shape
        for i in range(h):
            for j in range(w):
                region = self.last_image[i : i + 3, j : j + 3]
                for f in range(nf):
                    d_L_d_filters[f] += d_L_d_out[i, j, f] * region
        self.filters -= learn_rate * d_L_d_filters
        # nothing to return: this is the first layer
        return None


def train(images, labels, conv, pool, dense):
    for im, label in zip(images, labels):
        out = conv.forward((im / 255) - 0.5)
        out = pool.forward(out)
        out = dense.forward(out)
        grad = np.zeros(10)
        grad[label] = -1 / out[label]
        conv.backprop(pool.backprop(dense.backprop(grad, 0.005)), 0.005)
