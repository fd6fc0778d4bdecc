import numpy as np


class ConvOp:
    @staticmethod
    def forward(x, weight, bias):
        n, c, h, w = x.shape
        o, _, kh, kw = weight.shape
        out = np.zeros((n, o, h - kh + 1, w - kw + 1), x.dtype)
        for u in range(kh):
            for v in range(kw):
                out += np.einsum("nchw,oc->nohw", x[:, :, u : u + h - kh + 1, v : v + w - kw + 1], weight[:, :, u, v])
        return out + bias[:, None, None], (x, weight)

    @staticmethod
    def backward(dout, cache):
        x, weight = cache
        kh, kw = weight.shape[2:]
        oh, ow = dout.shape[2:]
        dx, dweight = np.zeros_like(x), np.zeros_like(weight)
        for u in range(kh):
            for v in range(kw):
                dweight[:, :, u, v] = np.einsum("nohw,nchw->oc", dout, x[:, :, u : u + oh, v : v + ow])
                dx[:, :, u : u + oh, v : v + ow] += np.einsum("nohw,oc->nchw", dout, weight[:, :, u, v])
        return dx, dweight, dout.sum(axis=(0, 2, 3))
