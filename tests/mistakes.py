"""Mistakes that people make, each planted in a copy of one of our layers with the fewest lines that make it."""

from __future__ import annotations

from typing import Any

import numpy as np

from scratch import (
    CNN,
    SGD,
    Adam,
    Array,
    BatchNorm2d,
    Conv2d,
    CrossEntropyLoss,
    Flatten,
    Linear,
    MaxPool2d,
    ReLU,
    softmax,
    windows,
)


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


class BatchNormRescaled(BatchNorm2d):
    """No mistake by itself: the output is computed again with the `inverse_std` that a mistake makes of v."""

    def inverse_std(self, var: Array, m: int, /) -> Array:
        raise NotImplementedError

    def forward(self, x: Array) -> Array:
        y = super().forward(x)
        _, inverse_std, _, was_training = self.saved_for_backward
        if not was_training or self.bias is None:
            return y
        var = np.maximum(inverse_std**-2.0 - self.eps, 0)
        ratio, bias = self.inverse_std(var, x[:, 0].size) / inverse_std, self.bias.data[:, None, None]
        return (y - bias) * ratio[:, None, None] + bias


class BatchNormUnbiasedVariance(BatchNormRescaled):
    """Divides by m - 1 to normalise too."""

    def inverse_std(self, var: Array, m: int, /) -> Array:
        return 1 / np.sqrt(var * (m / (m - 1)) + self.eps)


class BatchNormEpsOutsideRoot(BatchNormRescaled):
    """√v + eps."""

    def inverse_std(self, var: Array, _: int, /) -> Array:
        return 1 / (np.sqrt(var) + self.eps)


class BatchNormBiasedRunningVar(BatchNorm2d):
    """Divides by m for the moving average too."""

    def forward(self, x: Array) -> Array:
        kept = (1 - self.momentum) * self.running_var.data
        y = super().forward(x)
        if self.training:
            m = x[:, 0].size
            self.running_var.data[...] = kept + (self.running_var.data - kept) * ((m - 1) / m)
        return y


class BatchNormTurnedMomentum(BatchNorm2d):
    """The weight of what was, not of what is new: the habit of other libraries."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.momentum = 1 - self.momentum


class BatchNormConstantStatistics(BatchNorm2d):
    """Backward in training as if the mean and the variance did not depend on the input."""

    def backward(self, grad_output: Array) -> Array:
        self.save_for_backward(*self.saved_for_backward[:3], False)
        return super().backward(grad_output)


class BatchNormForgetsMeanTerm(BatchNorm2d):
    """What reaches the input by way of the mean is missing."""

    def backward(self, grad_output: Array) -> Array:
        _, scale, _, was_training = self.saved_for_backward
        scale = scale if self.weight is None else scale * self.weight.data
        mean = grad_output.mean(axis=(0, 2, 3)) if was_training else np.zeros_like(scale)
        return super().backward(grad_output) + (scale * mean)[:, None, None]


class BatchNormIgnoresEvaluation(BatchNorm2d):
    """Normalises by the batch, whatever the mode."""

    def forward(self, x: Array) -> Array:
        mode, self.training = self.training, True
        y = super().forward(x)
        self.training = mode
        return y


class BatchNormCountsEvaluation(BatchNorm2d):
    def forward(self, x: Array) -> Array:
        self.num_batches_tracked.data += not self.training
        return super().forward(x)


class BatchNormForgetsSecondBatch(BatchNorm2d):
    """The moving averages begin anew with each batch in training: right after the first."""

    first: tuple[Array, Array] | None = None

    def forward(self, x: Array) -> Array:
        averages = self.running_mean.data, self.running_var.data
        self.first = self.first or (averages[0].copy(), averages[1].copy())
        if self.training:
            averages[0][...], averages[1][...] = self.first
        return super().forward(x)


class AdamForgetsCorrection(Adam):
    """m and v as they are, although they began as zeros."""

    def step(self) -> None:
        for index, parameter in enumerate(self.parameters):
            zeros = np.zeros_like(parameter.data)
            m, v, _ = self.moments[index] or (zeros, zeros, 0)
            self.moments[index] = m, v, 10**6
        super().step()


class AdamOneClock(Adam):
    """Counts the steps of all parameters together."""

    clock = 0

    def step(self) -> None:
        for index, parameter in enumerate(self.parameters):
            zeros = np.zeros_like(parameter.data)
            m, v, _ = self.moments[index] or (zeros, zeros, 0)
            self.moments[index] = m, v, self.clock
        self.clock += 1
        super().step()


class AdamMovesWithoutGradient(Adam):
    """No gradient is taken for one of zero: the moving averages go on, and with them the parameter."""

    def step(self) -> None:
        for parameter in self.parameters:
            parameter.grad = np.zeros_like(parameter.data) if parameter.grad is None else parameter.grad
        super().step()


class AdamDecoupledDecay(Adam):
    """The decay goes past the moving averages: AdamW."""

    def step(self) -> None:
        decay, self.weight_decay = self.weight_decay, 0.0
        for parameter in self.parameters:
            parameter.data *= 1 if parameter.grad is None else 1 - self.lr * decay
        super().step()
        self.weight_decay = decay


class AdamEpsBeforeCorrection(Adam):
    """√v + eps, and only then the correction of v."""

    def step(self) -> None:
        eps, clocks = self.eps, [0 if moment is None else moment[2] for moment in self.moments]
        parameters, moments = self.parameters, self.moments
        for index, clock in enumerate(clocks):
            self.parameters, self.moments = parameters[index : index + 1], moments[index : index + 1]
            self.eps = eps / (1 - self.betas[1] ** (clock + 1)) ** 0.5
            super().step()
            moments[index] = self.moments[0]
        self.parameters, self.moments, self.eps = parameters, moments, eps


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
