import numpy as np


def im2col(data, fh, fw, stride):
    N, C, H, W = data.shape
    out_h = (H - fh) // stride + 1
    out_w = (W - fw) // stride + 1
    col = np.zeros((N, C, fh, fw, out_h, out_w), data.dtype)
    for y in range(fh):
        for x in range(fw):
            col[:, :, y, x, :, :] = data[:, :, y : y + stride * out_h : stride, x : x + stride * out_w : stride]
    return col.transpose(0, 4, 5, 1, 2, 3).reshape(N * out_h * out_w, -1)


def col2im(col, shape, fh, fw, stride):
    N, C, H, W = shape
    out_h = (H - fh) // stride + 1
    out_w = (W - fw) // stride + 1
    col = col.reshape(N, out_h, out_w, C, fh, fw).transpose(0, 3, 4, 5, 1, 2)
    img = np.zeros((N, C, H, W), col.dtype)
    for y in range(fh):
        for x in range(fw):
            img[:, :, y : y + stride * out_h : stride, x : x + stride * out_w : stride] += col[:, :, y, x, :, :]
    return img


class Pooling:
    def __init__(self, pool_h, pool_w, stride=1):
        self.pool_h, self.pool_w, self.stride = pool_h, pool_w, stride
        self.x = None
        self.arg_max = None

    def forward(self, x):
        N, C, H, W = x.shape
        out_h = (H - self.pool_h) // self.stride + 1
        out_w = (W - self.pool_w) // self.stride + 1
        col = im2col(x, self.pool_h, self.pool_w, self.stride).reshape(-1, self.pool_h * self.pool_w)
        self.arg_max = np.argmax(col, axis=1)
        self.x = x
        return np.max(col, axis=1).reshape(N, out_h, out_w, C).transpose(0, 3, 1, 2)

    def backward(self, dout):
        dout = dout.transpose(0, 2, 3, 1)
        size = self.pool_h * self.pool_w
        dmax = np.zeros((dout.size, size), dout.dtype)
        dmax[np.arange(self.arg_max.size), self.arg_max] = dout.flatten()
        dcol = dmax.reshape(dout.shape[0] * dout.shape[1] * dout.shape[2], -1)
        return col2im(dcol, self.x.shape, self.pool_h, self.pool_w, self.stride)
