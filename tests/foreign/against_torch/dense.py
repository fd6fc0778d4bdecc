"""Dense layers."""

from __future__ import annotations

from torch import nn

from tests.foreign.against_torch.checking import like, updated

ROWS = (5, 7), (1, 7)
SQUARE = (5, 6), (1, 6)
CALM = nn.Linear(7, 4)


@like(CALM, *ROWS)
def dense_in_out(m, x, g, weight, bias):
    layer = m.Layer_Dense(7, 4)
    layer.weights, layer.biases = weight.T, bias[None]
    layer.forward(x)
    layer.backward(g)
    return layer.output, layer.dinputs, layer.dweights.T, layer.dbiases[0]


@like(CALM, *ROWS)
def dense_course_columns(m, x, g, weight, bias):
    y, cache = m.linear_forward(x.T, weight, bias[:, None])
    dx, dw, db = m.linear_backward(g.T, cache)
    return y.T, dx.T, dw, db[:, 0]


@like(CALM, *ROWS)
def dense_columns_class(m, x, g, weight, bias):
    layer = m.Linear(7, 4)
    layer.W, layer.b = weight, bias[:, None]
    y, dx = layer.forward(x.T), layer.backward(g.T)
    return y.T, dx.T, layer.dW, layer.db[:, 0]


@like(CALM, *ROWS, one=True)
def dense_one_column(m, x, g, weight, bias):
    layer = m.Dense(7, 4)
    layer.weights, layer.bias = weight.copy(), bias[:, None].copy()
    y, dx = layer.forward(x[:, None]), layer.backward(g[:, None], 0.5)
    return y[:, 0], dx[:, 0], updated(layer, "weights", weight, 0.5), updated(layer, "bias", bias[:, None], 0.5)[:, 0]


@like(CALM, *ROWS, one=True)
def dense_one_vector(m, x, g, weight, bias):
    layer = m.Dense(7, 4)
    layer.W, layer.b = weight, bias
    y, dx = layer.forward(x), layer.backward(g)
    return y, dx, layer.grad_W, layer.grad_b


@like(CALM, *ROWS, one=True)
def dense_fc_rows(m, x, g, weight, bias):
    layer = m.FCLayer(7, 4)
    layer.weights, layer.bias = weight.T.copy(), bias[None].copy()
    y, dx = layer.forward_propagation(x[None]), layer.backward_propagation(g[None], 0.5)
    return y[0], dx[0], updated(layer, "weights", weight.T, 0.5).T, updated(layer, "bias", bias[None], 0.5)[0]


@like(nn.Linear(6, 6, bias=False), *SQUARE)
def dense_square(m, x, g, weight):
    layer = m.Mixing(6)
    layer.W = weight.T
    y, dx = layer.forward(x), layer.backward(g)
    return y, dx, layer.dW.T


@like(nn.Linear(6, 6), *SQUARE)
def dense_square_call(m, x, g, weight, bias):
    layer = m.Dense(6, 6)
    layer.weights, layer.bias = weight.T, bias
    y, dx = layer.forward(x), layer.backward(g)
    return y, dx, layer.weights_grad.T, layer.bias_grad


@like(nn.Linear(6, 6), *SQUARE)
def dense_square_einsum(m, x, g, weight, bias):
    layer = m.Affine(6, 6)
    layer.weight, layer.bias = weight, bias
    y, dx = layer.forward(x), layer.backward(g)
    return y, dx, layer.weight_grad, layer.bias_grad


@like(CALM, *ROWS)
def dense_param_objects(m, x, g, weight, bias):
    layer = m.FullyConnectedLayer(7, 4)
    layer.W.value, layer.B.value = weight.T, bias[None]
    y, dx = layer.forward(x), layer.backward(g)
    return y, dx, layer.params()["W"].grad.T, layer.params()["B"].grad[0]


@like(CALM, *ROWS)
def dense_w0_bias(m, x, g, weight, bias):
    layer = m.Dense(4, (7,))
    layer.W, layer.w0 = weight.T, bias[None]
    y, dx = layer.forward_pass(x), layer.backward_pass(g)
    return y, dx, layer.grad_w.T, layer.grad_w0[0]


@like(CALM, *ROWS)
def dense_params_list(m, x, g, weight, bias):
    layer = m.MatMulAdd(weight.T, bias)
    y, dx = layer.forward(x), layer.backward(g)
    return y, dx, layer.grads[0].T, layer.grads[1]


@like(CALM, *ROWS)
def dense_flattens(m, x, g, weight, bias):
    layer = m.Affine(weight.T, bias)
    y, dx = layer.forward(x.reshape(len(x), 7, 1)), layer.backward(g)
    return y, dx[..., 0], layer.dW.T, layer.db


@like(CALM, *ROWS)
def dense_lazy(m, x, g, weight, bias):
    layer = m.Dense(4)
    assert layer(x).shape == g.shape
    layer.kernel, layer.bias = weight.T, bias
    y, dx = layer(x), layer.backward(g)
    return y, dx, layer.d_kernel.T, layer.d_bias


@like(CALM, *ROWS)
def dense_loops(m, x, g, weight, bias):
    layer = m.Linear(7, 4)
    layer.weight, layer.bias = weight, bias
    y, dx = layer.forward(x), layer.backward(g)
    return y, dx, layer.dweight, layer.dbias


WITH_SOFTMAX = nn.Sequential(nn.Linear(12, 4), nn.Softmax(1))


@like(WITH_SOFTMAX, (5, 12), (1, 12), one=True)
def dense_softmax_layer(m, x, g, weight, bias):
    layer = m.Softmax(12, 4)
    layer.weights, layer.biases = weight.T.copy(), bias.copy()
    y, dx = layer.forward(x.reshape(2, 2, 3)), layer.backprop(g, 0.5)
    return y, dx.reshape(12), updated(layer, "weights", weight.T, 0.5).T, updated(layer, "biases", bias, 0.5)


@like(WITH_SOFTMAX, (5, 12), (1, 12))
def dense_softmax_batch(m, x, g, weight, bias):
    layer = m.OutputLayer(weight, bias)
    y, dx = layer.forward(x), layer.backward(g)
    return y, dx, layer.dW, layer.db
