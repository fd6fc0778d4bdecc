import numpy as np


def dropout_forward(x, dropout_param):
    """
    - dropout_param: A dictionary with the following keys:
      - p: we drop each neuron output with probability p.
      - mode: 'test' or 'train'.
    """
    p, mode = dropout_param["p"], dropout_param["mode"]
    mask = None
    out = x
    if mode == "train":
        mask = (np.random.rand(*x.shape) >= p) / (1 - p)
        out = x * mask
    cache = (dropout_param, mask)
    return out.astype(x.dtype, copy=False), cache


def dropout_backward(dout, cache):
    dropout_param, mask = cache
    if dropout_param["mode"] == "train":
        return dout * mask
    return dout
