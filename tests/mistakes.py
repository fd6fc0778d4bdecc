"""Mistakes that people make, each planted in a copy of one of our layers with the fewest lines that make it."""

from __future__ import annotations

from typing import Any

import numpy as np

from scratch import CNN, SGD, Array, Conv2d, CrossEntropyLoss, Flatten, Linear, MaxPool2d, ReLU, softmax, windows


class ReLUMaskFromUpstream(ReLU):
    """The notebook's first: where the gradient from above is negative, it is dropped."""

    def backward(self, grad_output: Array) -> Array:
        return super().backward(grad_output) * (grad_output > 0)


class MaxPoolAllTiesWin(MaxPool2d):
    """The notebook's second: every element equal to the maximum gets the whole gradient."""

    def backward(self, grad_output: Array) -> Array:
        image, y = self.saved_for_backward
        grad_image = np.zeros_like(image)
        for _, _, at in windows.window_slices(self.kernel_size, self.stride, y.shape[1:3]):
            grad_image[at] += windows.batch_last(grad_output) * (image[at] == y)
        return windows.batch_first(windows.crop(grad_image, self.padding))


class LinearUpdatesTooEarly(Linear):
    """The notebook's third: the weights are changed before the gradient of the input is computed from them."""

    def backward(self, grad_output: Array) -> Array:
        (x,) = self.saved_for_backward
        self.weight.data = self.weight.data - np.asarray(0.005, x.dtype) * (grad_output.T @ x)
        return super().backward(grad_output)


class ConvTurnsKernel(Conv2d):
    """A true convolution: the kernel is turned by 180°."""

    def forward(self, x: Array) -> Array:
        straight = self.weight.data
        self.weight.data = np.ascontiguousarray(straight[:, :, ::-1, ::-1])
        try:
            return super().forward(x)
        finally:
            self.weight.data = straight


class ConvForgetsBias(Conv2d):
    def forward(self, x: Array) -> Array:
        bias, self.bias = self.bias, None
        y = super().forward(x)
        self.bias = bias
        return y


class ConvMeanGradBias(Conv2d):
    """grad_bias as a mean over images and positions."""

    def backward(self, grad_output: Array) -> Array:
        grad_input = super().backward(grad_output)
        if self.bias is not None and self.bias.grad is not None:
            self.bias.grad = self.bias.grad / np.asarray(grad_output[:, 0].size, grad_output.dtype)
        return grad_input


class ConvOverwritesOverlaps(Conv2d):
    """`=` instead of `+=` where windows overlap in grad_input."""

    def backward(self, grad_output: Array) -> Array:
        right = super().backward(grad_output)
        _, image_shape, size = self.saved_for_backward
        c_out, c_in, kh, kw = self.weight.data.shape
        g = windows.batch_last(grad_output).reshape(c_out, -1)
        grad_patches = (self.weight.data.reshape(c_out, -1).T @ g).reshape(c_in, kh, kw, *size, len(right))
        grad_image = np.zeros(image_shape, right.dtype)
        for u, v, at in windows.window_slices(self.kernel_size, self.stride, size):
            grad_image[at] = grad_patches[:, u, v]
        return windows.batch_first(windows.crop(grad_image, self.padding))


class ConvCropsOneSide(Conv2d):
    """The padding is taken from the end only: grad_input is shifted."""

    def backward(self, grad_output: Array) -> Array:
        padding, self.padding = self.padding, (0, 0)
        padded = super().backward(grad_output)
        self.padding = padding
        ph, pw = padding
        return padded[:, :, : padded.shape[2] - 2 * ph, : padded.shape[3] - 2 * pw]


class ConvOverwritesGradient(Conv2d):
    """A second backward replaces the gradient instead of adding to it."""

    def backward(self, grad_output: Array) -> Array:
        self.zero_grad()
        return super().backward(grad_output)


class ConvGradFromLastImage(Conv2d):
    """grad_weight of the last image of the batch only."""

    def backward(self, grad_output: Array) -> Array:
        before = self.weight.grad
        grad_input = super().backward(grad_output)
        columns, image_shape, _ = self.saved_for_backward
        n = image_shape[-1]
        g = windows.batch_last(grad_output).reshape(len(self.weight.data), -1)
        last = (g[:, n - 1 :: n] @ columns[:, n - 1 :: n].T).reshape(self.weight.data.shape)
        self.weight.grad = last if before is None else before + last
        return grad_input


class ConvNarrowsInside(Conv2d):
    """float64 is computed in float32 and handed back as float64."""

    def forward(self, x: Array) -> Array:
        return super().forward(x).astype(np.float32).astype(x.dtype)


class ReLUPassesZero(ReLU):
    """`>=` instead of `>`."""

    def backward(self, grad_output: Array) -> Array:
        (y,) = self.saved_for_backward
        return np.where((y > 0) | (self.x == 0), grad_output, 0)

    def forward(self, x: Array) -> Array:
        self.x = x.copy()
        return super().forward(x)


class ReLUInPlace(ReLU):
    """The input is changed."""

    def forward(self, x: Array) -> Array:
        y = super().forward(x)
        x[...] = y
        return y


class MaxPoolLastWins(MaxPool2d):
    """The last maximum of a window instead of the first."""

    def backward(self, grad_output: Array) -> Array:
        image, y = self.saved_for_backward
        grad_image, undecided = np.zeros_like(image), np.ones_like(y, dtype=bool)
        elements = list(windows.window_slices(self.kernel_size, self.stride, y.shape[1:3]))
        for _, _, at in reversed(elements):
            wins = undecided & (image[at] == y)
            undecided ^= wins
            grad_image[at] += windows.batch_last(grad_output) * wins
        return windows.batch_first(windows.crop(grad_image, self.padding))


class FlattenChannelsLast(Flatten):
    def forward(self, x: Array) -> Array:
        return super().forward(np.moveaxis(x, 1, -1) if x.ndim == 4 else x)


class LinearForgetsTransposition(Linear):
    """W instead of Wᵀ in grad_input: raises unless W is square, where it is only wrong."""

    def backward(self, grad_output: Array) -> Array:
        super().backward(grad_output)
        return grad_output @ self.weight.data.T


class CrossEntropyWithoutMean(CrossEntropyLoss):
    """The gradient of the sum, whatever the reduction."""

    def backward(self, grad_output: Array | float = 1.0) -> Array:
        grad = super().backward(grad_output)
        return grad * np.asarray(len(grad), grad.dtype) if self.reduction == "mean" else grad


class CrossEntropyOverflows(CrossEntropyLoss):
    """The probabilities of the gradient are computed without subtracting the maximum: NaN for large scores."""

    def forward(self, logits: Array, targets: Array) -> Array:
        loss = super().forward(logits, targets)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        self.save_for_backward(log_p, targets)
        return loss


class SGDDampensFirstStep(SGD):
    """v starts at 0 and takes (1 - momentum)·g in each step."""

    def step(self) -> None:
        for index, parameter in enumerate(self.parameters):
            if self.momentum and self.velocity[index] is None:
                self.velocity[index] = np.zeros_like(parameter.data)
        super().step()


class SGDAlwaysNesterov(SGD):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.nesterov = self.momentum > 0


class SGDDecoupledDecay(SGD):
    """The decay goes past the velocity, as in AdamW."""

    def step(self) -> None:
        decay, self.weight_decay = self.weight_decay, 0.0
        for parameter in self.parameters:
            parameter.data *= 1 if parameter.grad is None else 1 - self.lr * decay
        super().step()
        self.weight_decay = decay


class SGDLearningRateInVelocity(SGD):
    """v ← momentum·v + lr·g: the same until the learning rate changes."""

    def step(self) -> None:
        for index, parameter in enumerate(self.parameters):
            if parameter.grad is not None:
                v = self.velocity[index]
                update = self.lr * (parameter.grad + self.weight_decay * parameter.data)
                self.velocity[index] = v = update if v is None else self.momentum * v + update
                parameter.data -= v


class SGDDecaysIntoGradient(SGD):
    """The decay is added into the gradient itself."""

    def step(self) -> None:
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad += self.weight_decay * parameter.data
        decay, self.weight_decay = self.weight_decay, 0.0
        super().step()
        self.weight_decay = decay


class SGDNeverZeroes(SGD):
    def zero_grad(self) -> None:
        pass


class ReLU6(ReLU):
    """Nothing above 6 gets through."""

    def forward(self, x: Array) -> Array:
        return np.minimum(super().forward(x), np.asarray(6, x.dtype))


class ReLUReusesItsOutput(ReLU):
    """One buffer for all outputs: the next call writes over the last one's."""

    buffer: Array | None = None

    def forward(self, x: Array) -> Array:
        y = super().forward(x)
        if self.buffer is None:
            self.buffer = y.copy()
        self.buffer[: len(y)] = y
        return self.buffer[: len(y)]


class ConvBrokenInEvaluation(Conv2d):
    def forward(self, x: Array) -> Array:
        y = super().forward(x)
        return y if self.training else y * np.asarray(0.5, y.dtype)


class LinearRemembersWeight(Linear):
    """The weight of the first call is used for ever."""

    first: Array | None = None

    def forward(self, x: Array) -> Array:
        self.first = self.weight.data.copy() if self.first is None else self.first
        self.weight.data = self.first
        return super().forward(x)


class CrossEntropyRemembersBatchSize(CrossEntropyLoss):
    """N is that of the first batch: wrong on the last, partial one."""

    size = 0

    def backward(self, grad_output: Array | float = 1.0) -> Array:
        grad = super().backward(grad_output)
        self.size = self.size or len(grad)
        return grad * np.asarray(len(grad) / self.size, grad.dtype) if self.reduction == "mean" else grad


class CrossEntropyOverwritesTargets(CrossEntropyLoss):
    def forward(self, logits: Array, targets: Array) -> Array:
        loss = super().forward(logits, targets)
        self.save_for_backward(self.saved_for_backward[0], targets.copy())
        targets[...] = 0
        return loss


class CNNWithoutGradInput(CNN):
    def backward(self, grad_output: Array) -> Array:
        return np.zeros_like(super().backward(grad_output))


class CNNSoftmaxInEvaluation(CNN):
    """Probabilities in evaluation, scores in training."""

    def forward(self, x: Array) -> Array:
        logits = super().forward(x)
        return logits if self.training else softmax(logits, 1)
