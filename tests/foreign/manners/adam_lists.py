from math import sqrt

import numpy as np


class Adam:
    def __init__(self, alpha=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8):
        self.alpha, self.beta1, self.beta2, self.epsilon = alpha, beta1, beta2, epsilon
        self.t, self.moments = 0, None

    def update(self, params, grads):
        """params, grads: lists of arrays, changed in place"""
        if self.moments is None:
            self.moments = [(np.zeros_like(g), np.zeros_like(g)) for g in grads]
        self.t += 1
        c1, c2 = 1 - self.beta1**self.t, 1 - self.beta2**self.t
        for p, g, (m, v) in zip(params, grads, self.moments):
            m *= self.beta1
            m += (1 - self.beta1) * g
            v *= self.beta2
            v += (1 - self.beta2) * g * g
            p -= self.alpha / c1 * m / (np.sqrt(v) / sqrt(c2) + self.epsilon)
