"""Convolutions."""

from __future__ import annotations

import numpy as np
from torch import nn

from tests.foreign.against_torch.checking import BATCHES, COLOURS, GRAY, chw, hwc, like, updated


def conv(name, make, torch_layer, *shapes, w="W", b="b", dw="dW", db="db", rtol=1e-9):
    """NCHW, (out, in, kH, kW), gradients as attributes."""

    def check(m, x, g, weight, bias):
        layer = make(m)
        setattr(layer, w, weight)
        setattr(layer, b, bias.reshape(np.shape(getattr(layer, b))))
        y = layer.forward(x)
        dx = layer.backward(g)
        return y, dx, getattr(layer, dw), getattr(layer, db).reshape(-1)

    like(torch_layer, *shapes, rtol=rtol, name=name)(check)


conv("conv_im2col", lambda m: m.ConvLayer(2, 4, 3, 2, 1), nn.Conv2d(2, 4, 3, stride=2, padding=1), *BATCHES)
conv(
    "conv_as_strided",
    lambda m: m.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0)),
    nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0)),
    *BATCHES,
    w="weight",
    b="bias",
    dw="grad_weight",
    db="grad_bias",
)
conv(
    "conv_square_only",
    lambda m: m.Conv2D(2, 3, 3, 2),
    nn.Conv2d(2, 3, 3, stride=2),
    (2, 2, 7, 7),
    (1, 2, 8, 8),
    b="B",
    db="dB",
)
conv(
    "conv_same_odd",
    lambda m: m.SameConv(2, 3, 5),
    nn.Conv2d(2, 3, 5, padding=2),
    *BATCHES,
    w="weights",
    b="bias",
    dw="grad_weights",
    db="grad_bias",
)
conv(
    "conv_dataclass",
    lambda m: m.Conv2d(2, 3, 3),
    nn.Conv2d(2, 3, 3),
    *BATCHES,
    w="weight",
    b="bias",
    dw="weight_grad",
    db="bias_grad",
)


@like(nn.Conv2d(2, 3, 3, stride=2), *BATCHES, rtol=1e-4)
def conv_float32(m, x, g, weight, bias):
    layer = m.Conv2D(2, 3, 3, 2)
    layer.params = {"w": weight, "b": bias}
    y, dx = layer.forward(x), layer.backward(g)
    return y, dx, layer.grads["w"], layer.grads["b"]


@like(nn.Conv2d(2, 4, (3, 2), stride=(2, 1)), *BATCHES)
def conv_keras_like(m, x, g, weight, bias):
    layer = m.Conv2D(2, 4, (3, 2), strides=(2, 1))
    layer.kernel, layer.bias = weight.transpose(2, 3, 1, 0), bias
    y, dx = layer.call(hwc(x)), layer.backward(hwc(g))
    return chw(y), chw(dx), layer.dkernel.transpose(3, 2, 0, 1), layer.dbias


@like(nn.Conv2d(2, 4, 3, stride=2, padding=1), *BATCHES)
def conv_with_param_dict(m, x, g, weight, bias):
    y, cache = m.conv_forward_fast(x, weight, bias, {"stride": 2, "pad": 1})
    return (y, *m.conv_backward_fast(g, cache))


@like(nn.Conv2d(2, 4, 3, stride=2, padding=1), *BATCHES)
def conv_course_cache(m, x, g, weight, bias):
    given = weight.transpose(2, 3, 1, 0), bias.reshape(1, 1, 1, -1)
    y, cache = m.conv_forward(hwc(x), *given, {"stride": 2, "pad": 1})
    dx, dw, db = m.conv_backward(hwc(g), cache)
    return chw(y), chw(dx), dw.transpose(3, 2, 0, 1), db.reshape(-1)


@like(nn.Conv2d(2, 4, 3, stride=2, padding=1), *BATCHES)
def conv_course_four_axes(m, x, g, weight, bias):
    return conv_course_cache(m, x, g, weight, bias)


@like(nn.Conv2d(2, 4, 3), *BATCHES, one=True)
def conv_one_chw(m, x, g, weight, bias):
    layer = m.Conv(2, 4, 3)
    layer.kernels, layer.biases = weight, bias
    y, dx = layer.forward(x), layer.backward(g)
    return y, dx, layer.dkernels, layer.dbiases


@like(nn.Conv2d(3, 4, 3), *COLOURS, one=True)
def conv_one_hwc(m, x, g, weight, bias):
    layer = m.ConvolutionLayer(4, 3)
    layer.kernels, layer.bias = weight.transpose(0, 2, 3, 1), bias
    y, dx = layer.forward_prop(hwc(x)), layer.back_prop(hwc(g))
    return chw(y), chw(dx), layer.dkernels.transpose(0, 3, 1, 2), layer.dbias


@like(nn.Conv2d(1, 8, 3, bias=False), *GRAY, one=True)
def conv_mnist_gray(m, x, g, weight):
    layer = m.Conv3x3(8)
    layer.filters = weight[:, 0].copy()
    y = layer.forward(x[0])
    assert layer.backprop(hwc(g), 0.5) is None
    return chw(y), None, updated(layer, "filters", weight[:, 0], 0.5)[:, None]


@like(nn.Conv2d(2, 4, 3), *BATCHES, one=True)
def conv_scipy_signal(m, x, g, weight, bias):
    layer = m.Convolutional(2, 3, 4)
    layer.kernels, layer.biases = weight.copy(), bias.copy()
    y, dx = layer.forward(x), layer.backward(g, 0.5)
    return y, dx, updated(layer, "kernels", weight, 0.5), updated(layer, "biases", bias, 0.5)


@like(nn.Conv2d(2, 3, 5), (3, 2, 9, 8), (1, 2, 6, 5), one=True)
def conv_input_shape(m, x, g, weight, bias):
    layer = m.Convolutional(x.shape, 5, 3)
    layer.kernels, layer.biases = weight, bias
    y, dx = layer.forward(x), layer.backward(g)
    return y, dx, layer.kernels_grad, layer.biases_grad


@like(nn.Conv2d(2, 4, 3), *BATCHES)
def conv_in_out_kernels(m, x, g, weight, bias):
    layer = m.Conv(2, 4, 3)
    layer.kernel, layer.bias = weight.transpose(1, 0, 2, 3), bias
    y, (dx, grads) = layer.forward(x), layer.backward(g)
    return y, dx, grads["kernel"].transpose(1, 0, 2, 3), grads["bias"]


@like(nn.Conv2d(2, 3, 3), *BATCHES)
def conv_nine_shifts(m, x, g, weight, bias):
    layer = m.Conv3x3(2, 3)
    layer.w, layer.b = weight, bias
    return (layer(x), *layer.backward(g))


@like(nn.Conv2d(2, 3, 3), *BATCHES)
def conv_closure(m, x, g, weight, bias):
    layer = m.conv_layer(2, 3, 3)
    layer.params |= {"W": weight, "b": bias}
    y, dx = layer.forward(x), layer.backward(g)
    return y, dx, layer.grads["W"], layer.grads["b"]


@like(nn.Conv2d(2, 4, 3, padding=1), *BATCHES)
def conv_base_layer(m, x, g, weight, bias):
    layer = m.Conv2D(4, (3, 3), 2, padding=1, learning_rate=0.5)
    layer.W, layer.b = weight.copy(), bias[:, None].copy()
    y, dx = layer.forward_pass(x), layer.backward_pass(g)
    return y, dx, updated(layer, "W", weight, 0.5), updated(layer, "b", bias[:, None], 0.5)[:, 0]


@like(nn.Conv2d(2, 4, 3), *BATCHES, one=True)
def conv_used_with_zip(m, x, g, weight, bias):
    layer = m.Conv(3, 2, 4)
    layer.W, layer.b = weight.transpose(2, 3, 1, 0), bias
    y, dx = layer.forward(hwc(x)), layer.backward(hwc(g))
    return chw(y), chw(dx), layer.dW.transpose(3, 2, 0, 1), layer.db


@like(nn.Conv2d(2, 3, 3), *BATCHES)
def conv_static_methods(m, x, g, weight, bias):
    y, cache = m.ConvOp.forward(x, weight, bias)
    return (y, *m.ConvOp.backward(g, cache))


@like(nn.Conv2d(1, 4, 3), *GRAY)
def conv_gray_batch(m, x, g, weight, bias):
    layer = m.GrayConv(4, 3)
    layer.filters, layer.bias = weight[:, 0], bias
    y, dx = layer.forward(x[:, 0]), layer.backward(g)
    return y, dx[:, None], layer.grad_filters[:, None], layer.grad_bias
