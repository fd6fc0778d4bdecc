import numpy as np


def conv_forward_fast(x, w, b, conv_param):
    """
    Inputs:
    - x: Input data of shape (N, C, H, W)
    - w: Filter weights of shape (F, C, HH, WW)
    - b: Biases, of shape (F,)
    - conv_param: A dictionary with the keys 'stride' and 'pad'

    Returns a tuple of:
    - out: Output data, of shape (N, F, H', W')
    - cache: everything that the backward pass needs
    """
    stride, pad = conv_param["stride"], conv_param["pad"]
    F, _, HH, WW = w.shape
    x_pad = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="constant")
    view = np.lib.stride_tricks.sliding_window_view(x_pad, (HH, WW), axis=(2, 3))[:, :, ::stride, ::stride]
    out = np.tensordot(view, w, axes=((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
    out = out + b.reshape(1, F, 1, 1)
    return out, (x, w, b, conv_param, view)


def conv_backward_fast(dout, cache):
    x, w, b, conv_param, view = cache
    stride, pad = conv_param["stride"], conv_param["pad"]
    _, _, HH, WW = w.shape
    _, _, H2, W2 = dout.shape
    db = dout.sum(axis=(0, 2, 3))
    dw = np.tensordot(dout, view, axes=((0, 2, 3), (0, 2, 3)))
    dx_pad = np.zeros(x.shape[:2] + (x.shape[2] + 2 * pad, x.shape[3] + 2 * pad), dtype=x.dtype)
    for i in range(H2):
        for j in range(W2):
            hs, ws = i * stride, j * stride
            # (N, F) x (F, C, HH, WW) -> (N, C, HH, WW)
            dx_pad[:, :, hs : hs + HH, ws : ws + WW] += np.tensordot(dout[:, :, i, j], w, axes=(1, 0))
    dx = dx_pad[:, :, pad : pad + x.shape[2], pad : pad + x.shape[3]]
    return dx, dw, db
