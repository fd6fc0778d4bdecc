def flatten_forward(X):
    """
    Makes the examples columns.

    X -- array of shape (m, n_C, n_H, n_W)
    returns array of shape (n_C * n_H * n_W, m)
    """
    return X.reshape(X.shape[0], -1).T, X.shape


def flatten_backward(dA, cache):
    return dA.T.reshape(cache)
