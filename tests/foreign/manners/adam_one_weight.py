import numpy as np


class Adam:
    def __init__(self, learning_rate=0.001, b1=0.9, b2=0.999, eps=1e-8):
        self.learning_rate = learning_rate
        self.eps = eps
        self.m = None
        self.v = None
        self.t = 0
        # Decay rates
        self.b1 = b1
        self.b2 = b2

    def update(self, w, grad_wrt_w):
        if self.m is None:
            self.m = np.zeros(np.shape(grad_wrt_w))
            self.v = np.zeros(np.shape(grad_wrt_w))
        self.t += 1
        self.m = self.b1 * self.m + (1 - self.b1) * grad_wrt_w
        self.v = self.b2 * self.v + (1 - self.b2) * np.power(grad_wrt_w, 2)
        m_hat = self.m / (1 - self.b1**self.t)
        v_hat = self.v / (1 - self.b2**self.t)
        return w - self.learning_rate * m_hat / (np.sqrt(v_hat) + self.eps)
