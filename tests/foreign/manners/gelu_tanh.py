import numpy as np

C = np.sqrt(2 / np.pi)


class GELU:
    """The approximation used in GPT-2."""

    def __call__(self, x):
        self.x = x
        self.t = np.tanh(C * (x + 0.044715 * x**3))
        return 0.5 * x * (1 + self.t)

    def backward(self, dy):
        x, t = self.x, self.t
        dt = (1 - t**2) * C * (1 + 3 * 0.044715 * x**2)
        return dy * (0.5 * (1 + t) + 0.5 * x * dt)
