import numpy as np


class Dropout:
    """inverted dropout, so nothing has to be done at test time"""

    def __init__(self, dropout_ratio=0.5):
        self.dropout_ratio = dropout_ratio
        self.mask = None

    def forward(self, x, train_flg=True):
        if not train_flg:
            self.mask = None
            return x
        self.mask = np.random.rand(*x.shape) > self.dropout_ratio
        return x * self.mask / (1.0 - self.dropout_ratio)

    def backward(self, dout):
        if self.mask is None:
            return dout
        return dout * self.mask / (1.0 - self.dropout_ratio)
