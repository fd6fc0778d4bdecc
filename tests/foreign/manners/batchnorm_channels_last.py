import numpy as np


class BatchNormalization:
    def __init__(self, channels, momentum=0.1, epsilon=1e-5):
        self.momentum, self.epsilon = momentum, epsilon
        self.gamma, self.beta = np.ones(channels), np.zeros(channels)
        self.moving_mean, self.moving_variance = np.zeros(channels), np.ones(channels)

    def forward(self, x, training=True):
        b, h, w, ch = x.shape
        self.is_training_pass = training
        if training:
            mean = x.mean((0, 1, 2))
            var = x.var((0, 1, 2))
            count = b * h * w
            self.moving_mean += self.momentum * (mean - self.moving_mean)
            self.moving_variance += self.momentum * (var * count / (count - 1) - self.moving_variance)
        else:
            mean, var = self.moving_mean, self.moving_variance
        self.centered = x - mean
        self.std = np.sqrt(var + self.epsilon)
        self.normalized = self.centered / self.std
        return self.gamma * self.normalized + self.beta

    def backward(self, grad):
        axes = (0, 1, 2)
        self.grad_gamma = np.sum(grad * self.normalized, axis=axes)
        self.grad_beta = np.sum(grad, axis=axes)
        dn = grad * self.gamma
        if not self.is_training_pass:
            return dn / self.std
        m = grad.size // grad.shape[-1]
        dvar = -0.5 * np.sum(dn * self.centered, axis=axes) / self.std**3
        dmean = -np.sum(dn, axis=axes) / self.std
        return dn / self.std + 2 * dvar * self.centered / m + dmean / m
