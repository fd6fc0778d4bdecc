import numpy as np
from numpy.lib.stride_tricks import as_strided


class Conv2d:
    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, bias=True):
        kh, kw = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        bound = 1 / np.sqrt(in_channels * kh * kw)
        self.weight = np.random.uniform(-bound, bound, (out_channels, in_channels, kh, kw))
        self.bias = np.random.uniform(-bound, bound, out_channels) if bias else None
        self.stride = (stride, stride) if isinstance(stride, int) else stride
        self.padding = (padding, padding) if isinstance(padding, int) else padding
        self.grad_weight = self.grad_bias = None

    def _view(self, x):
        n, c, h, w = x.shape
        kh, kw = self.weight.shape[2:]
        sh, sw = self.stride
        s = x.strides
        return as_strided(
            x,
            (n, c, (h - kh) // sh + 1, (w - kw) // sw + 1, kh, kw),
            (s[0], s[1], s[2] * sh, s[3] * sw, s[2], s[3]),
            writeable=False,
        )

    def forward(self, x):
        ph, pw = self.padding
        self.xp = np.pad(x, [(0, 0), (0, 0), (ph, ph), (pw, pw)])
        y = np.einsum("nchwij,ocij->nohw", self._view(self.xp), self.weight, optimize=True)
        return y if self.bias is None else y + self.bias[:, None, None]

    def backward(self, gy):
        if self.bias is not None:
            self.grad_bias = np.einsum("nohw->o", gy)
        self.grad_weight = np.einsum("nohw,nchwij->ocij", gy, self._view(self.xp), optimize=True)
        gcol = np.einsum("nohw,ocij->nchwij", gy, self.weight, optimize=True)
        gxp = np.zeros_like(self.xp)
        sh, sw = self.stride
        oh, ow = gy.shape[2:]
        for i in range(self.weight.shape[2]):
            for j in range(self.weight.shape[3]):
                gxp[:, :, i : i + oh * sh : sh, j : j + ow * sw : sw] += gcol[..., i, j]
        ph, pw = self.padding
        return gxp[:, :, ph : gxp.shape[2] - ph, pw : gxp.shape[3] - pw]
