"""Layers of maps without weights: pooling, activations, flatten."""

from __future__ import annotations

from torch import nn

from tests.foreign.against_torch.checking import FLAT, GRAY, LAST, batched, cached, derivative, like, methods

batched("maxpool_even_assert", lambda m: methods(m.MaxPool(2)), nn.MaxPool2d(2), (3, 2, 6, 4), (1, 3, 4, 4))
batched("maxpool_even_raise", lambda m: methods(m.MaxPool(2)), nn.MaxPool2d(2), (3, 2, 6, 4), (1, 3, 4, 4))
batched("maxpool_loops", lambda m: methods(m.MaxPool2D(3, 2)), nn.MaxPool2d(3, 2))
batched("maxpool_padded", lambda m: methods(m.MaxPool2d(3, 2, 1)), nn.MaxPool2d(3, 2, 1))
batched("maxpool_im2col", lambda m: methods(m.Pooling(3, 2, 2)), nn.MaxPool2d((3, 2), 2))
batched("maxpool_nhwc", lambda m: methods(m.MaxPooling2D((3, 2), 1)), nn.MaxPool2d((3, 2), 1), **LAST)
batched(
    "pool_course_mode",
    lambda m: cached(m.pool_forward, m.pool_backward, {"f": 3, "stride": 2}),
    nn.MaxPool2d(3, 2),
    **LAST,
)
batched("maxpool_2x2_hwc", lambda m: methods(m.MaxPool2(), "forward", "backprop"), nn.MaxPool2d(2), one=True, **LAST)
batched("maxpool_one_chw", lambda m: methods(m.Pooling(3, 2)), nn.MaxPool2d(3, 2), one=True)
batched("maxpool_gray", lambda m: methods(m.Pool(2)), nn.MaxPool2d(2), *GRAY, one=True, **FLAT)
batched("maxpool_sibling", lambda m: methods(m.Pool()), nn.MaxPool2d(2), one=True, **LAST)
batched("avgpool_reshape", lambda m: methods(m.AvgPool2d(3), "__call__"), nn.AvgPool2d(3))
batched("avgpool_nhwc", lambda m: methods(m.AveragePooling2D((3, 2), 1)), nn.AvgPool2d((3, 2), 1), **LAST)
batched("avgpool_kron", lambda m: methods(m.MeanPool()), nn.AvgPool2d(2), (3, 1, 6, 4), (1, 1, 2, 2), one=True, **FLAT)
batched("avgpool_one_hwc", lambda m: methods(m.AvgPool(3)), nn.AvgPool2d(3), one=True, **LAST)
batched("relu_mask", lambda m: methods(m.Relu()), nn.ReLU())
batched("relu_and_prime", lambda m: derivative(m.relu, m.relu_prime), nn.ReLU())
batched("relu_course", lambda m: cached(m.relu, m.relu_backward), nn.ReLU())


@like(nn.ReLU(), (3, 4), (2, 3, 4, 5))
def relu_activation_layer(m, x, g):
    layer = m.ReLU()
    return layer.forward(x), layer.backward(g, 0.1)


@like(nn.ELU(), (3, 4), (2, 3, 4, 5))
def elu_backward_again(m, x, g):
    layer = m.ELU()
    return layer.forward(x), layer.backward(x, g)


@like(nn.LeakyReLU(), (3, 4), (2, 3, 4, 5))
def leaky_relu(m, x, g):
    layer = m.LeakyReLU()
    return layer(x), layer.gradient(x) * g


batched("sigmoid_functions", lambda m: derivative(m.sigmoid, m.sigmoid_prime), nn.Sigmoid())
batched("tanh_class", lambda m: methods(m.Tanh()), nn.Tanh())
batched("gelu_tanh", lambda m: methods(m.GELU(), "__call__"), nn.GELU("tanh"))
batched("flatten_batch", lambda m: methods(m.Flatten()), nn.Flatten())
batched("flatten_one", lambda m: methods(m.Flatten()), nn.Flatten(), one=True)


@like(nn.Flatten(), (3, 2, 4, 5), (1, 3, 2, 2))
def flatten_to_columns(m, x, g):
    y, cache = m.flatten_forward(x)
    return y.T, m.flatten_backward(g.T, cache)


@like(nn.Flatten(), (3, 2, 4, 5), (1, 3, 2, 2), one=True)
def flatten_maps_to_column(m, x, g):
    layer = m.Reshape()
    return layer.forward(x)[:, 0], layer.backward(g[:, None], 0.1)
