"""Softmax and losses."""

from __future__ import annotations

import numpy as np
from torch import nn

from tests.foreign.against_torch.checking import batched, cached, like, loss, methods, same


@like(nn.Softmax(1), (5, 7), (1, 4))
def softmax_jacobian(m, x, g):
    layer = m.Activation_Softmax()
    layer.forward(x)
    layer.backward(g)
    return layer.output, layer.dinputs


@like(nn.Softmax(1), (5, 7), (1, 4), one=True)
def softmax_column(m, x, g):
    layer = m.Softmax()
    return layer.forward(x[:, None])[:, 0], layer.backward(g[:, None], 0.1)[:, 0]


SCORES = (5, 7), (1, 4)
batched("softmax_vector", lambda m: methods(m.Softmax()), nn.Softmax(1), *SCORES, one=True)
batched(
    "softmax_course_columns",
    lambda m: cached(m.softmax, m.softmax_backward),
    nn.Softmax(1),
    *SCORES,
    into=np.transpose,
    back=np.transpose,
)
batched("softmax_last_axis", lambda m: methods(m.Softmax(), "__call__"), nn.Softmax(1), *SCORES)
batched("softmax_list_of_floats", lambda m: cached(m.softmax, m.softmax_backward), nn.Softmax(1), *SCORES, one=True)
batched("log_softmax_rows", lambda m: methods(m.LogSoftmax()), nn.LogSoftmax(1), *SCORES)
batched("log_softmax_one", lambda m: methods(m.LogSoftMax()), nn.LogSoftmax(1), *SCORES, one=True)


def reduced(reduction):
    @loss(nn.CrossEntropyLoss(reduction=reduction), name="ce_class_indices")
    def check(m, x, t):
        layer = m.CrossEntropyLoss(reduction)
        value = layer(x, t)
        return value, layer.backward(np.ones_like(value))


for each in ("mean", "sum", "none"):
    reduced(each)


@loss(nn.CrossEntropyLoss(), "one-hot")
def ce_one_hot(m, x, t):
    layer = m.SoftmaxCrossEntropy()
    return layer.forward(x, t), layer.backward()


@loss(nn.CrossEntropyLoss())
def ce_loss_and_grad(m, x, t):
    return m.softmax_loss(x, t)


@loss(nn.CrossEntropyLoss(reduction="none"), shapes=((1, 4), (1, 7)))
def ce_one_example(m, x, t):
    layer = m.Loss()
    return [layer.forward(x[0], t[0])], [layer.backward()]


@loss(nn.CrossEntropyLoss())
def ce_logsumexp(m, x, t):
    layer = m.CrossEntropy()
    return layer.forward(x, t), layer.backward()


@loss(nn.CrossEntropyLoss(), "one-hot")
def ce_course_columns(m, x, t):
    layer = m.SoftmaxCost()
    return layer.forward(x.T, t.T), layer.backward().T


@loss(nn.CrossEntropyLoss())
def ce_flexible_targets(m, x, t):
    layer = m.SoftmaxWithLoss()
    value, dx = layer.forward(x, t), layer.backward()
    same([value, dx], [layer.forward(x, np.eye(x.shape[1])[t]), layer.backward()])
    return value, dx


@loss(nn.MSELoss(), "numbers")
def mse_prime(m, x, t):
    return m.mse(t, x), m.mse_prime(t, x)


@loss(nn.MSELoss(), "numbers")
def mse_class(m, x, t):
    layer = m.MSE()
    return layer.forward(x, t), layer.backward()
