import numpy as np


def spatial_batchnorm_forward(x, gamma, beta, bn_param):
    """
    - x: Input data of shape (N, C, H, W)
    - gamma, beta: Scale and shift parameters, of shape (C,)
    - bn_param: dictionary with mode ('train' or 'test'), eps, momentum, running_mean, running_var
    """
    N, C, H, W = x.shape
    eps, momentum = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.1)
    flat = x.transpose(0, 2, 3, 1).reshape(-1, C)
    running_mean = bn_param.get("running_mean", np.zeros(C))
    running_var = bn_param.get("running_var", np.ones(C))
    train = bn_param["mode"] == "train"
    if train:
        mean, var = flat.mean(axis=0), flat.var(axis=0)
        bn_param["running_mean"] = (1 - momentum) * running_mean + momentum * mean
        bn_param["running_var"] = (1 - momentum) * running_var + momentum * flat.var(axis=0, ddof=1)
    else:
        mean, var = running_mean, running_var
    std = np.sqrt(var + eps)
    xhat = (flat - mean) / std
    out = (gamma * xhat + beta).reshape(N, H, W, C).transpose(0, 3, 1, 2)
    return out, (xhat, gamma, std, train)


def spatial_batchnorm_backward(dout, cache):
    xhat, gamma, std, train = cache
    N, C, H, W = dout.shape
    d = dout.transpose(0, 2, 3, 1).reshape(-1, C)
    dgamma, dbeta = np.sum(d * xhat, axis=0), np.sum(d, axis=0)
    dxhat = d * gamma
    if train:
        dxhat = dxhat - dxhat.mean(axis=0) - xhat * (dxhat * xhat).mean(axis=0)
    dx = (dxhat / std).reshape(N, H, W, C).transpose(0, 3, 1, 2)
    return dx, dgamma, dbeta
