import numpy as np


class MaxPool2D:
    def __init__(self, kernel_size, stride):
        self.kernel_size = kernel_size
        self.stride = stride

    def forward(self, x):
        self.x = x
        B, C, H, W = x.shape
        K, S = self.kernel_size, self.stride
        H_out = int((H - K) / S) + 1
        W_out = int((W - K) / S) + 1
        out = np.zeros((B, C, H_out, W_out), dtype=x.dtype)
        # remember which pixel won
        self.row = np.zeros(out.shape, dtype=int)
        self.col = np.zeros(out.shape, dtype=int)
        for b in range(B):
            for c in range(C):
                for i in range(H_out):
                    for j in range(W_out):
                        best = -np.inf
                        for u in range(i * S, i * S + K):
                            for v in range(j * S, j * S + K):
                                if x[b, c, u, v] > best:
                                    best = x[b, c, u, v]
                                    self.row[b, c, i, j] = u
                                    self.col[b, c, i, j] = v
                        out[b, c, i, j] = best
        return out

    def backward(self, dout):
        dx = np.zeros_like(self.x)
        B, C, H_out, W_out = dout.shape
        for b in range(B):
            for c in range(C):
                for i in range(H_out):
                    for j in range(W_out):
                        dx[b, c, self.row[b, c, i, j], self.col[b, c, i, j]] += dout[b, c, i, j]
        return dx
