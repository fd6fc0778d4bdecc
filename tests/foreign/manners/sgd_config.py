import numpy as np


def sgd_momentum(w, dw, config=None):
    """
    config format:
    - learning_rate: Scalar learning rate.
    - momentum: Scalar giving the momentum value.
    - velocity: A numpy array of the same shape as w and dw.
    """
    if config is None:
        config = {}
    config.setdefault("learning_rate", 1e-2)
    config.setdefault("momentum", 0.9)
    v = config.get("velocity", np.zeros_like(w))
    v = config["momentum"] * v + dw
    next_w = w - config["learning_rate"] * v
    config["velocity"] = v
    return next_w, config
