"""Right layers in many styles."""

from __future__ import annotations

import numpy as np


class LoopConv:
    """Plain loops over everything; NCHW, names like torch's."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, bias=True):
        pair = lambda v: v if isinstance(v, tuple) else (v, v)
        self.k, self.s, self.p = pair(kernel_size), pair(stride), pair(padding)
        self.weight = np.random.randn(out_channels, in_channels, *self.k)
        self.bias = np.random.randn(out_channels) if bias else None

    def forward(self, x):
        (ph, pw), (sh, sw), (kh, kw) = self.p, self.s, self.k
        self.shape = x.shape
        self.x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
        n, _, h, w = self.x.shape
        ho, wo = (h - kh) // sh + 1, (w - kw) // sw + 1
        y = np.zeros((n, len(self.weight), ho, wo), x.dtype)
        for b in range(n):
            for o in range(len(self.weight)):
                for i in range(ho):
                    for j in range(wo):
                        window = self.x[b, :, i * sh : i * sh + kh, j * sw : j * sw + kw]
                        y[b, o, i, j] = np.sum(window * self.weight[o])
                        if self.bias is not None:
                            y[b, o, i, j] += self.bias[o]
        return y

    def backward(self, grad_output):
        (ph, pw), (sh, sw), (kh, kw) = self.p, self.s, self.k
        self.grad_weight = np.zeros_like(self.weight)
        self.grad_bias = None if self.bias is None else grad_output.sum(axis=(0, 2, 3))
        gx = np.zeros_like(self.x)
        for b, o, i, j in np.ndindex(*grad_output.shape):
            rows, columns = slice(i * sh, i * sh + kh), slice(j * sw, j * sw + kw)
            g = grad_output[b, o, i, j]
            self.grad_weight[o] += g * self.x[b, :, rows, columns]
            gx[b, :, rows, columns] += g * self.weight[o]
        return gx[:, :, ph : gx.shape[2] - ph, pw : gx.shape[3] - pw]


class EinsumConv:
    """Windows as a view, summed by einsum; channels last, kernels (kH, kW, C_in, C_out)."""

    def __init__(self, in_ch, filters, ksize):
        self.kernel = np.random.normal(size=(ksize, ksize, in_ch, filters))
        self.b = np.zeros(filters)

    def __call__(self, x):
        self.x = x
        k = len(self.kernel)
        self.windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(1, 2))
        return np.einsum("nijcuv,uvco->nijo", self.windows, self.kernel, optimize=True) + self.b

    def backprop(self, delta):
        self.db = delta.sum((0, 1, 2))
        self.d_kernel = np.einsum("nijcuv,nijo->uvco", self.windows, delta)
        k = len(self.kernel)
        padded = np.pad(delta, ((0, 0), (k - 1, k - 1), (k - 1, k - 1), (0, 0)))
        around = np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(1, 2))
        return np.einsum("nijouv,uvco->nijc", around, self.kernel[::-1, ::-1])


class FFTConv:
    """Products in the frequency domain: right up to the greatest element, not element by element."""

    def __init__(self, in_channels, out_channels, kernel_size):
        self.W = np.random.randn(out_channels, in_channels, kernel_size, kernel_size)
        self.b = np.random.randn(out_channels)

    def _correlate(self, a, b, equation, size):
        shape = [n + m - 1 for n, m in zip(a.shape[-2:], b.shape[-2:], strict=True)]
        product = np.einsum(equation, np.fft.rfft2(a, shape), np.conj(np.fft.rfft2(b, shape)))
        return np.fft.irfft2(product, shape)[..., : size[0], : size[1]]

    def forward(self, x):
        self.x = x
        size = [n - m + 1 for n, m in zip(x.shape[-2:], self.W.shape[-2:], strict=True)]
        return self._correlate(x, self.W, "ncij,ocij->noij", size) + self.b[:, None, None]

    def backward(self, g):
        self.dW = self._correlate(self.x, g, "ncij,noij->ocij", self.W.shape[-2:])
        self.db = g.sum((0, 2, 3))
        k = self.W.shape[-1]
        padded = np.pad(g, ((0, 0), (0, 0), (k - 1, k - 1), (k - 1, k - 1)))
        return self._correlate(padded, self.W[:, :, ::-1, ::-1], "noij,ocij->ncij", self.x.shape[-2:])


class BackwardsConv:
    """Sums in reversed order, in pieces; arrays in Fortran's order; gradients returned."""

    def __init__(self, in_channels, out_channels, kernel_size):
        self.weights = np.asfortranarray(np.random.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.biases = np.random.randn(out_channels, 1)

    def forward(self, x):
        self.x = np.asfortranarray(x)
        k = self.weights.shape[-1]
        h, w = x.shape[2] - k + 1, x.shape[3] - k + 1
        y = np.zeros((len(x), len(self.weights), h, w), x.dtype, order="F")
        for u in reversed(range(k)):
            for v in reversed(range(k)):
                y += np.tensordot(self.x[:, ::-1, u : u + h, v : v + w], self.weights[:, ::-1, u, v], (1, 1)).transpose(
                    0, 3, 1, 2
                )
        return y + self.biases[:, :, None]

    def backward(self, g):
        k, dx, dw = self.weights.shape[-1], np.zeros_like(self.x), np.zeros_like(self.weights)
        h, w = g.shape[2:]
        for u in reversed(range(k)):
            for v in reversed(range(k)):
                dx[:, :, u : u + h, v : v + w] += np.tensordot(g, self.weights[:, :, u, v], (1, 0)).transpose(
                    0, 3, 1, 2
                )
                dw[:, :, u, v] = np.tensordot(g, self.x[:, :, u : u + h, v : v + w], ((0, 2, 3), (0, 2, 3)))
        return dx, dw, g.sum((0, 2, 3))[:, None]


class SingleConv:
    """One image at a time, one channel, with its ReLU inside; the weights are updated in place."""

    def __init__(self, n, k=3):
        self.filters = np.random.randn(n, k, k) / k**2

    def forward(self, image):
        self.image = image
        n, k, _ = self.filters.shape
        h, w = image.shape
        self.out = np.zeros((h - k + 1, w - k + 1, n))
        for i in range(h - k + 1):
            for j in range(w - k + 1):
                self.out[i, j] = np.sum(image[i : i + k, j : j + k] * self.filters, axis=(1, 2))
        return np.maximum(self.out, 0)

    def backprop(self, d_out, learn_rate):
        step = np.zeros(self.filters.shape)
        k = self.filters.shape[1]
        for i, j, f in np.ndindex(*d_out.shape):
            if self.out[i, j, f] > 0:
                step[f] += d_out[i, j, f] * self.image[i : i + k, j : j + k]
        self.filters -= learn_rate * step


class Float32Linear:
    """Everything in float32, whatever comes."""

    def __init__(self, in_features, out_features):
        self.W = np.random.randn(out_features, in_features).astype(np.float32)
        self.b = np.zeros(out_features, np.float32)

    def forward(self, x):
        self.x = x.astype(np.float32)
        return self.x @ self.W.astype(np.float32).T + self.b.astype(np.float32)

    def backward(self, g):
        g = g.astype(np.float32)
        self.dW, self.db = g.T @ self.x, g.sum(0)
        return g @ self.W.astype(np.float32)


class BookAffine:
    """Parameters and gradients in dictionaries; (in, out) weights."""

    def __init__(self, input_size, output_size):
        self.params = {"W": 0.01 * np.random.randn(input_size, output_size), "b": np.zeros(output_size)}
        self.grads = {"W": None, "b": None}

    def forward(self, x):
        self.x = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, dout):
        self.grads["W"], self.grads["b"] = self.x.T @ dout, dout.sum(axis=0)
        return dout @ self.params["W"].T


class AttributeDense:
    """Nothing is returned: output and gradients are attributes."""

    def __init__(self, n_inputs, n_neurons):
        self.weights = 0.1 * np.random.randn(n_inputs, n_neurons)
        self.biases = np.zeros((1, n_neurons))

    def forward(self, inputs):
        self.inputs = inputs
        self.output = inputs @ self.weights + self.biases

    def backward(self, dvalues):
        self.dweights = self.inputs.T @ dvalues
        self.dbiases = np.sum(dvalues, axis=0, keepdims=True)
        self.dinputs = dvalues @ self.weights.T


class ColumnDense:
    """One column vector at a time, trained inside backward."""

    def __init__(self, input_size, output_size):
        self.weights = np.random.randn(output_size, input_size)
        self.bias = np.random.randn(output_size)

    def forward(self, input):  # noqa: A002
        self.input = input
        return self.weights @ input + self.bias

    def backward(self, output_gradient, learning_rate):
        input_gradient = self.weights.T @ output_gradient
        self.weights -= learning_rate * np.outer(output_gradient, self.input)
        self.bias -= learning_rate * output_gradient
        return input_gradient


class KeepingDense(ColumnDense):
    """Shows its gradients, and updates the weights all the same."""

    def backward(self, output_gradient, learning_rate=0.1):
        self.weights_gradient = np.outer(output_gradient, self.input)
        self.bias_gradient = output_gradient.copy()
        before = self.weights.T @ output_gradient
        self.weights -= learning_rate * self.weights_gradient
        self.bias -= learning_rate * self.bias_gradient
        return before


class AddingDense:
    """Adds to its gradients until somebody sets them to zero."""

    def __init__(self, in_features, out_features):
        self.w, self.b = np.zeros((out_features, in_features)), np.zeros(out_features)
        self.dw, self.db = np.zeros_like(self.w), np.zeros_like(self.b)

    def forward(self, x):
        self.x = x
        return x @ self.w.T + self.b

    def backward(self, dout):
        self.dw += dout.T @ self.x
        self.db += dout.sum(axis=0)
        return dout @ self.w


class SquareConv(LoopConv):
    """Takes one number for both sides; two of them break it deep inside NumPy."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0):
        size = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
        super().__init__(in_channels, out_channels, size)
        self.step, self.pad = stride, padding

    def forward(self, x):
        np.pad(x, ((0, 0), (0, 0), (self.pad, self.pad), (self.pad, self.pad)))
        self.p, self.s = (self.pad, self.pad), (self.step, self.step)
        return super().forward(x)


class Pool:
    """Argmax over flattened windows; gradients scattered by np.add.at."""

    def __init__(self, pool_size, stride=None):
        self.k, self.s = pool_size, stride or pool_size

    def forward(self, x):
        k, s = self.k, self.s
        self.shape = x.shape
        windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(2, 3))[:, :, ::s, ::s]
        flat = windows.reshape(*windows.shape[:4], k * k)
        self.winner = flat.argmax(-1)
        return flat.max(-1)

    def backward(self, g):
        dx = np.zeros(self.shape, g.dtype)
        n, c, i, j = np.indices(g.shape)
        np.add.at(dx, (n, c, i * self.s + self.winner // self.k, j * self.s + self.winner % self.k), g)
        return dx


class SoftmaxWithLoss:
    """Softmax and cross-entropy in one; backward takes nothing."""

    def forward(self, x, t):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        self.y, self.t = e / e.sum(axis=1, keepdims=True), t
        shifted = x - x.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return -log_p[np.arange(len(t)), t].mean()

    def backward(self):
        dx = self.y.copy()
        dx[np.arange(len(self.t)), self.t] -= 1
        return dx / len(self.t)


class Sigmoid:
    """An activation that our registry has not."""

    def forward(self, z):
        self.a = np.where(z >= 0, 1 / (1 + np.exp(-np.abs(z))), np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z))))
        return self.a

    def backward(self, upstream):
        return upstream * self.a * (1 - self.a)


class Norm:
    """Batch normalisation with a flag in forward."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        self.gamma, self.beta = np.ones(num_features), np.zeros(num_features)
        self.running_mean, self.running_var = np.zeros(num_features), np.ones(num_features)
        self.eps, self.momentum = eps, momentum

    def forward(self, x, training=True):
        axes = (0, 2, 3)
        if training:
            mean, var = x.mean(axes), x.var(axes)
            m = x.size / x.shape[1]
            self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mean
            self.running_var = (1 - self.momentum) * self.running_var + self.momentum * var * m / (m - 1)
        else:
            mean, var = self.running_mean, self.running_var
        spread = lambda v: v[None, :, None, None]
        self.std, self.training = np.sqrt(spread(var) + self.eps), training
        self.hat = (x - spread(mean)) / self.std
        return spread(self.gamma) * self.hat + spread(self.beta)

    def backward(self, dout):
        axes = (0, 2, 3)
        self.dgamma, self.dbeta = (dout * self.hat).sum(axes), dout.sum(axes)
        dhat = dout * self.gamma[None, :, None, None]
        if not self.training:
            return dhat / self.std
        mean = lambda v: v.mean(axes, keepdims=True)
        return (dhat - mean(dhat) - self.hat * mean(dhat * self.hat)) / self.std


class Drop:
    """Dropout with numpy's global generator."""

    def __init__(self, p=0.5):
        self.p, self.train_mode = p, True

    def forward(self, x):
        if not self.train_mode:
            self.mask = np.ones_like(x)
            return x
        self.mask = (np.random.rand(*x.shape) >= self.p) / (1 - self.p)
        return x * self.mask

    def backward(self, g):
        return g * self.mask


def affine_forward(x, w, b):
    """Functions with a cache; (in, out) weights."""
    return x.reshape(len(x), -1) @ w + b, (x, w)


def affine_backward(dout, cache):
    x, w = cache
    return (dout @ w.T).reshape(x.shape), x.reshape(len(x), -1).T @ dout, dout.sum(axis=0)


def conv_forward(x, w, b, conv_param):
    """Functions with a cache and a dictionary of settings."""
    layer = LoopConv(w.shape[1], len(w), w.shape[2:], conv_param["stride"], conv_param["pad"])
    layer.weight, layer.bias = w, b
    return layer.forward(x), layer


def conv_backward(dout, cache):
    dx = cache.backward(dout)
    return dx, cache.grad_weight, cache.grad_bias


def softmax_loss(x, y):
    """Loss and gradient of one function."""
    layer = SoftmaxWithLoss()
    return layer.forward(x, y), layer.backward()


class Momentum:
    """Dictionaries of parameters and gradients."""

    def __init__(self, lr=0.01, momentum=0.9):
        self.lr, self.momentum, self.v = lr, momentum, {}

    def update(self, params, grads):
        for key in params:
            self.v[key] = self.momentum * self.v.get(key, 0) + grads[key]
            params[key] -= self.lr * self.v[key]


def adam(w, dw, config=None):
    """One weight at a time; the state is handed back."""
    config.setdefault("m", np.zeros_like(w))
    config.setdefault("v", np.zeros_like(w))
    config["t"] = config.get("t", 0) + 1
    config["m"] = config["beta1"] * config["m"] + (1 - config["beta1"]) * dw
    config["v"] = config["beta2"] * config["v"] + (1 - config["beta2"]) * dw**2
    m, v = config["m"] / (1 - config["beta1"] ** config["t"]), config["v"] / (1 - config["beta2"] ** config["t"])
    return w - config["learning_rate"] * m / (np.sqrt(v) + config["epsilon"]), config


class TinyCNN:
    """A whole model of somebody's own layers."""

    def __init__(self):
        self.conv1 = LoopFreeConv(1, 8, 3)
        self.pool1 = Pool(2)
        self.fc1 = AttributeDense(8 * 13 * 13, 10)

    def forward(self, x):
        y = self.conv1.forward(x)
        self.mask = y > 0
        y = self.pool1.forward(y * self.mask)
        self.shape = y.shape
        self.fc1.forward(y.reshape(len(y), -1))
        return self.fc1.output

    def backward(self, g):
        self.fc1.backward(g)
        g = self.pool1.backward(self.fc1.dinputs.reshape(self.shape))
        return self.conv1.backward(g * self.mask)


class LoopFreeConv(BackwardsConv):
    """Keeps its gradients, as a part of a model does."""

    def backward(self, g):
        dx, self.d_weights, self.d_biases = super().backward(g)
        return dx
