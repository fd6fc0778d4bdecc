import numpy as np


class BatchNorm2d:
    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        self.gamma = np.ones((1, num_features, 1, 1))
        self.beta = np.zeros((1, num_features, 1, 1))
        self.running_mean = np.zeros(num_features)
        self.running_var = np.ones(num_features)
        self.eps = eps
        self.momentum = momentum
        self.training = True

    def forward(self, x):
        if self.training:
            mu = x.mean(axis=(0, 2, 3), keepdims=True)
            xc = x - mu
            var = (xc**2).mean(axis=(0, 2, 3), keepdims=True)
            n = x.shape[0] * x.shape[2] * x.shape[3]
            m = self.momentum
            self.running_mean = (1 - m) * self.running_mean + m * mu.squeeze((0, 2, 3))
            # like pytorch: biased for normalising, unbiased for the running average
            self.running_var = (1 - m) * self.running_var + m * var.squeeze((0, 2, 3)) * n / (n - 1)
        else:
            xc = x - self.running_mean[None, :, None, None]
            var = self.running_var[None, :, None, None]
        self.inv_std = 1 / np.sqrt(var + self.eps)
        self.x_hat = xc * self.inv_std
        return self.gamma * self.x_hat + self.beta

    def backward(self, dout):
        self.dgamma = (dout * self.x_hat).sum(axis=(0, 2, 3), keepdims=True)
        self.dbeta = dout.sum(axis=(0, 2, 3), keepdims=True)
        dx_hat = dout * self.gamma
        if not self.training:
            return dx_hat * self.inv_std
        N = dout.shape[0] * dout.shape[2] * dout.shape[3]
        s1 = dx_hat.sum(axis=(0, 2, 3), keepdims=True)
        s2 = (dx_hat * self.x_hat).sum(axis=(0, 2, 3), keepdims=True)
        return (N * dx_hat - s1 - self.x_hat * s2) * self.inv_std / N
