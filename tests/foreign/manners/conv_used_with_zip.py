import numpy as np


class Conv:
    def __init__(self, k, cin, cout):
        self.k = k
        self.W = np.random.randn(k, k, cin, cout) * 0.1
        self.b = np.zeros(cout)

    def forward(self, a):
        self.a = a
        rows, cols = a.shape[0] - self.k + 1, a.shape[1] - self.k + 1
        z = np.zeros((rows, cols, self.b.size))
        for i in range(rows):
            for j in range(cols):
                z[i, j] = np.tensordot(a[i : i + self.k, j : j + self.k], self.W, 3) + self.b
        return z

    def backward(self, dz):
        self.dW = np.zeros_like(self.W)
        da = np.zeros_like(self.a)
        for i in range(dz.shape[0]):
            for j in range(dz.shape[1]):
                self.dW += self.a[i : i + self.k, j : j + self.k, :, None] * dz[i, j]
                da[i : i + self.k, j : j + self.k] += self.W @ dz[i, j]
        self.db = dz.sum((0, 1))
        return da


if __name__ == "__main__":
    # CIFAR, 32 x 32 x 3
    images = np.random.rand(10, 32, 32, 3)
    labels = np.random.randint(0, 10, 10)
    conv = Conv(3, 3, 8)
    for im, label in zip(images, labels):
        out = conv.forward(im)
        g = conv.backward(out - label)
        conv.W -= 0.01 * conv.dW
        conv.b -= 0.01 * conv.db
