"""Mistakes in a convolution."""

from __future__ import annotations

from compare.faults.fault import Fault


def _conv(name: str, made: str, hint: str, shows: str, *edits: tuple[str, str]) -> Fault:
    return Fault(f"conv2d-{name}", "conv2d", "scratch.conv.Conv2d", made, hint, shows, edits)


_PAD = "image = pad(batch_last(x), self.padding, 0)"
_ACCUMULATE = "self.weight.accumulate_grad(grad_weight)"
_GRAD_WEIGHT = "grad_weight = grad_matrix[: c_in * kh * kw].T.copy().reshape(weight.shape)"
_BIAS = "np.concatenate([matrix, self.bias.data[:, None]], axis=1)"
_GRAD_BIAS = "self.bias.accumulate_grad(grad_matrix[-1])"
_RESULT = "return batch_first(y)"
_GRAD_INPUT = "return batch_first(crop(grad_image, self.padding))"
_PRODUCT = "weight.reshape(c_out, -1).T @ g[:, *at].reshape(c_out, -1)"
_SCATTER = "grad_windows[:, u, v, *at] += grad_patches"
_OVERWRITE = (_SCATTER, "grad_windows[:, u, v, *at] = grad_patches")
_FROM_THE_LAST = (
    ("for u in range(kh):", "for u in reversed(range(kh)):"),
    ("for v in range(kw):", "for v in reversed(range(kw)):"),
)

FAULTS: tuple[Fault, ...] = (
    _conv(
        "kernel-turned",
        "The kernel is turned by 180°: a true convolution, where layers compute a cross-correlation.",
        "Give it a kernel with a single 1 in a corner: from which side does it move the picture?",
        "The output equals the reference with the kernel reversed; hidden by symmetric kernels.",
        (
            "matrix = self._matrix()\n        y =",
            "matrix = self._matrix().copy()\n"
            "        matrix[:, : weight[0].size] = weight[:, :, ::-1, ::-1].reshape(c_out, -1)\n"
            "        y =",
        ),
    ),
    _conv(
        "grad-input-kernel-turned",
        "In grad_input the kernel is turned once too often (or once too seldom).",
        "Use a kernel with one 1 in a corner, and an upstream gradient with one 1: which pixel must it reach?",
        "grad_weight and grad_bias are exact, everything upstream is wrong; hidden where it is the first layer.",
        (_PRODUCT, _PRODUCT.replace("weight", "weight[:, :, ::-1, ::-1]")),
    ),
    _conv(
        "grad-input-channels-not-swapped",
        "In grad_input the input and output channels of the weight are not exchanged.",
        "Backward goes from C_out maps to C_in maps: which axis of the weight has to be summed over?",
        "It raises unless C_in = C_out, where it is only wrong; hidden if C_in ≠ C_out is never tried.",
        (_PRODUCT, _PRODUCT.replace("weight.reshape(c_out", "weight.swapaxes(0, 1).reshape(c_in")),
    ),
    _conv(
        "kernel-sides-exchanged",
        "The height and the width of the kernel are exchanged when the output size is computed.",
        "Try a kernel that is not square.",
        "It raises, or has the wrong shape; hidden by square kernels.",
        ('output_size("Conv2d", x, self.kernel_size,', 'output_size("Conv2d", x, self.kernel_size[::-1],'),
    ),
    _conv(
        "stride-sides-exchanged",
        "The vertical and the horizontal stride are exchanged.",
        "Try two different strides at once.",
        "It raises, or has the wrong shape; hidden by equal strides.",
        ("x, self.kernel_size, self.stride, self.padding)", "x, self.kernel_size, self.stride[::-1], self.padding)"),
    ),
    _conv(
        "padding-sides-exchanged",
        "The vertical and the horizontal padding are exchanged.",
        "Try padding in one direction only.",
        "It raises, or has the wrong shape; hidden by equal paddings.",
        (_PAD, "image = pad(batch_last(x), self.padding[::-1], 0)"),
    ),
    _conv(
        "patch-axes-order",
        "The patches are flattened as (row, column, channel), the weight as (channel, row, column).",
        "Take two input channels, one of them all zeros: do the right weights meet the right channel?",
        "Output and grad_weight are wrong; hidden by a single input channel.",
        (
            "columns[:rows].reshape(piece.shape)[...] = piece",
            "columns[:rows] = piece.transpose(1, 2, 0, 3, 4, 5).reshape(rows, -1)",
        ),
    ),
    _conv(
        "first-input-channel-only",
        "Every kernel sees the first input channel only.",
        "Set all channels but the first to zero: does the output change?",
        "Output and gradients are wrong; hidden by a single input channel.",
        ("reshape(piece.shape)[...] = piece", "reshape(piece.shape)[...] = piece[:1]"),
    ),
    _conv(
        "bias-forgotten",
        "The bias is never added to the output.",
        "Give it an image of zeros.",
        "A constant offset in each channel; hidden by a zero bias.",
        (_BIAS, _BIAS.replace("self.bias", "0 * self.bias")),
    ),
    _conv(
        "bias-twice",
        "The bias is added twice.",
        "Give it an image of zeros.",
        "A constant offset in each channel; hidden by a zero bias.",
        (_BIAS, _BIAS.replace("self.bias", "2 * self.bias")),
    ),
    _conv(
        "bias-per-element",
        "The bias is added once for every element of the window, inside the sum over the kernel.",
        "Give it an image of zeros, and kernels of two sizes.",
        "The offset grows with C_in·kH·kW; hidden by a zero bias.",
        (_BIAS, _BIAS.replace("self.bias", "weight[0].size * self.bias")),
    ),
    _conv(
        "grad-bias-mean",
        "grad_bias is the mean over images and positions; it must be the sum.",
        "How often is the bias used in one forward pass?",
        "The ratio to the right one is 1/(N·H_out·W_out).",
        (_GRAD_BIAS, "self.bias.accumulate_grad(grad_matrix[-1] / g[0].size)"),
    ),
    _conv(
        "grad-bias-divided-by-batch",
        "grad_bias is divided by the batch size; the mean is already in the loss.",
        "Try a batch of one image, then of two equal ones.",
        "The ratio to the right one is 1/N; hidden by N = 1.",
        (_GRAD_BIAS, "self.bias.accumulate_grad(grad_matrix[-1] / n)"),
    ),
    _conv(
        "grad-bias-one-number",
        "grad_bias is summed over the channels too, so that all its entries are one number.",
        "Over which axes do you sum, and which one must stay?",
        "All entries are equal; hidden by C_out = 1.",
        (_GRAD_BIAS, "self.bias.accumulate_grad(np.full_like(self.bias.data, grad_matrix[-1].sum()))"),
    ),
    _conv(
        "grad-bias-never-set",
        "grad_bias is never computed.",
        "Which parameters does your backward give a gradient?",
        "It is missing, or zero; hidden by a tolerance larger than the gradient.",
        (_GRAD_BIAS, "pass"),
    ),
    _conv(
        "grad-weight-last-image",
        "grad_weight is that of the last image of the batch: it is overwritten in the loop, not added up.",
        "Try a batch of two different images.",
        "The ratio to the right one varies; hidden by N = 1.",
        (_GRAD_WEIGHT, 'grad_weight = np.einsum("cuvijn,oijn->ocuv", windows[..., -1:], g[..., -1:])'),
    ),
    _conv(
        "grad-weight-divided-by-batch",
        "grad_weight is divided by the batch size; the mean is already in the loss.",
        "Try a batch of one image, then of two equal ones.",
        "The ratio to the right one is 1/N; hidden by N = 1.",
        (_ACCUMULATE, "self.weight.accumulate_grad(grad_weight / n)"),
    ),
    _conv(
        "grad-weight-divided-by-positions",
        "grad_weight is averaged over the positions of the window; it must be their sum.",
        "In how many windows is one weight used?",
        "The ratio to the right one is 1/(H_out·W_out).",
        (_ACCUMULATE, "self.weight.accumulate_grad(grad_weight / (size[0] * size[1]))"),
    ),
    _conv(
        "grad-weight-kernel-turned",
        "grad_weight comes out turned by 180°.",
        "Let one pixel of the input and one of the upstream gradient be 1: which weight joined them?",
        "grad_weight is the right one reversed; output and grad_input are right.",
        (_ACCUMULATE, "self.weight.accumulate_grad(grad_weight[:, :, ::-1, ::-1])"),
    ),
    _conv(
        "grad-weight-transposed",
        "grad_weight has its rows and columns exchanged.",
        "Let one pixel of the input and one of the upstream gradient be 1, off the diagonal.",
        "Each kernel of grad_weight is transposed; a wrong shape for kernels that are not square.",
        (_ACCUMULATE, "self.weight.accumulate_grad(grad_weight.swapaxes(2, 3))"),
    ),
    _conv(
        "grad-weight-sign",
        "grad_weight has the wrong sign.",
        "Move one weight up a little: does the loss go where its gradient says?",
        "The ratio to the right one is -1.",
        (_ACCUMULATE, "self.weight.accumulate_grad(-grad_weight)"),
    ),
    _conv(
        "grad-weight-with-decay",
        "Weight decay is added inside backward: the gradient is no longer that of the loss.",
        "Give it an upstream gradient of zeros.",
        "grad_weight is the right one plus a multiple of the weight; hidden by zero weights.",
        (_ACCUMULATE, "self.weight.accumulate_grad(grad_weight + 0.01 * weight)"),
    ),
    _conv(
        "grad-weight-of-step-before",
        "The gradient that is handed out belongs to the call before.",
        "Call it twice with different inputs.",
        "The first gradient is zero, each later one belongs to the call before; hidden by equal inputs.",
        (
            _ACCUMULATE,
            'before, self.last = getattr(self, "last", 0 * weight), grad_weight\n'
            "        self.weight.accumulate_grad(before)",
        ),
    ),
    _conv(
        "gradient-overwritten",
        "A second backward replaces grad_weight; it must add to it until zero_grad.",
        "Call forward and backward twice without zero_grad.",
        "After two calls only the second one's gradient is there; hidden by a single call.",
        (_ACCUMULATE, "self.weight.grad = grad_weight"),
    ),
    _conv(
        "overlaps-overwritten",
        "In grad_input overlapping windows overwrite each other (=); they must be added (+=).",
        "Take a stride smaller than the kernel: how many windows does one pixel lie in?",
        "Contributions of overlapping windows are lost; hidden by a stride of at least the kernel.",
        _OVERWRITE,
    ),
    _conv(
        "windows-overwritten",
        "In grad_input each window overwrites what the windows before it left (=); they must be added (+=).",
        "Take a stride smaller than the kernel: how many windows does one pixel lie in?",
        "Of overlapping windows only the last is left; hidden by a stride of at least the kernel.",
        _OVERWRITE,
        *_FROM_THE_LAST,
    ),
    _conv(
        "windows-and-channels-overwritten",
        "In grad_input each window and each output channel overwrites the ones before it (=); they must be added (+=).",
        "How many windows does one pixel lie in, and how many output channels see it?",
        "Of overlapping windows and of all output channels only the last is left.",
        (_PRODUCT, "weight[-1:].reshape(1, -1).T @ g[-1:, *at].reshape(1, -1)"),
        _OVERWRITE,
        *_FROM_THE_LAST,
    ),
    _conv(
        "grad-weight-last-window",
        "grad_weight is that of the last window of the last image: it is overwritten (=), not added up (+=).",
        "In how many windows is one weight used?",
        "Only one window is left in it; hidden by images as small as the kernel.",
        (_GRAD_WEIGHT, 'grad_weight = np.einsum("cuv,o->ocuv", windows[..., -1, -1, -1], g[:, -1, -1, -1])'),
    ),
    _conv(
        "stride-ignored-in-backward",
        "Backward places the windows side by side as if the stride were 1.",
        "Try a stride of 2, and look which pixels have a gradient.",
        "Positions in grad_input are wrong; hidden by stride 1.",
        (
            "grad_windows = sliding_windows(grad_image, self.kernel_size, self.stride)",
            "grad_windows = sliding_windows(grad_image, self.kernel_size, (1, 1))[:, :, :, : g.shape[1], : g.shape[2]]",
        ),
    ),
    _conv(
        "padding-cropped-at-end",
        "The padding is taken off grad_input at the bottom and right only; it lies on all four sides.",
        "With padding, let one upstream gradient in a corner be 1.",
        "grad_input is shifted by the padding; hidden without padding.",
        (
            _GRAD_INPUT,
            "(ph, pw), (_, h, w, _) = self.padding, image_shape\n"
            "        return batch_first(grad_image[:, : h - 2 * ph, : w - 2 * pw])",
        ),
    ),
    _conv(
        "padding-not-cropped",
        "The padding is left on grad_input, which then is larger than the input.",
        "Compare the shapes of the input and of its gradient, with padding.",
        "Its shape is wrong; hidden without padding.",
        (_GRAD_INPUT, "return batch_first(grad_image)"),
    ),
    _conv(
        "padding-one-side",
        "All padding is put at the top and left; half of it belongs to the bottom and right.",
        "With padding, let one pixel in a corner be 1.",
        "The output is shifted; hidden by zeros at the border.",
        (_PAD, "image = np.roll(pad(batch_last(x), self.padding, 0), self.padding, axis=(1, 2))"),
    ),
    _conv(
        "padding-repeats-edge",
        "The padding repeats the pixels at the edge; it must be zeros.",
        "Look at the output at the border, with padding, for an image of ones.",
        "The border of the output is wrong; hidden without padding.",
        (
            _PAD,
            'image = np.pad(batch_last(x), ((0, 0), *((p, p) for p in self.padding), (0, 0)), mode="edge")',
        ),
    ),
    _conv(
        "padding-of-ones",
        "The padding is filled with ones; it must be zeros.",
        "Give it an image of zeros with padding.",
        "The border of the output is wrong; hidden without padding.",
        (_PAD, "image = pad(batch_last(x), self.padding, 1)"),
    ),
    _conv(
        "grad-input-first-output-channel",
        "grad_input takes the gradient of the first output channel only.",
        "Set all but one channel of the upstream gradient to zero, each in turn.",
        "grad_input misses the other channels; hidden by C_out = 1.",
        (_PRODUCT, "weight[:1].reshape(1, -1).T @ g[:1, *at].reshape(1, -1)"),
    ),
    _conv(
        "grad-input-divided-by-batch",
        "grad_input is divided by the batch size; the mean is already in the loss.",
        "Try a batch of one image, then of two equal ones.",
        "The ratio to the right one is 1/N; hidden by N = 1.",
        (_GRAD_INPUT, "return batch_first(crop(grad_image / len(grad_output), self.padding))"),
    ),
    _conv(
        "grad-input-zero",
        "grad_input is zero: the layers before this one would never learn.",
        "What do you return from backward?",
        "It is zero everywhere; hidden where it is the first layer.",
        (_GRAD_INPUT, "return batch_first(0 * crop(grad_image, self.padding))"),
    ),
    _conv(
        "weights-updated-early",
        "The weights are updated inside backward before grad_input is computed from them.",
        "Which weights did the forward pass use, and which ones does grad_input use?",
        "The error of grad_input grows with the learning rate; hidden by a small one.",
        (
            "        grad_image = np.zeros_like(",
            '        weight -= LEARNING_RATE * np.einsum("cuvijn,oijn->ocuv", self.saved_for_backward[0], g)\n'
            "        grad_image = np.zeros_like(",
        ),
    ),
    _conv(
        "cache-kept",
        "What backward needs is saved at the first call only: later calls go backward through the first one.",
        "Call it twice with different inputs.",
        "The second backward is wrong, or raises; hidden by a single call.",
        (
            "        self.save_for_backward(windows, image.shape)",
            "        if self._saved is None:\n            self.save_for_backward(windows, image.shape)",
        ),
    ),
    _conv(
        "float32-inside",
        "The patches are stored as float32: float64 images are narrowed on the way.",
        "Ask every array on the way for its dtype.",
        "Errors of 1e-8 in float64; hidden if only float32 is tried.",
        ("buffer = np.empty_like(windows, shape=", "buffer = np.empty_like(windows, dtype=np.float32, shape="),
    ),
    _conv(
        "output-zero",
        "The output is zero: the array that was filled is not the one that is returned.",
        "Print one number of the output.",
        "Everything is zero.",
        (_RESULT, "return batch_first(0 * y)"),
    ),
    _conv(
        "output-not-a-number",
        "The output is NaN: memory is used that was never set, or something is divided by zero.",
        "Print one number of the output.",
        "NaN everywhere; a check that counts differences above a tolerance lets it pass.",
        (_RESULT, "return batch_first(np.nan * y)"),
    ),
    _conv(
        "images-reversed",
        "The images of the batch come out in reversed order.",
        "Try a batch of two different images.",
        "The output is a permutation of the right one; hidden by N = 1.",
        (_RESULT, "return batch_first(y[..., ::-1])"),
    ),
    _conv(
        "first-image-for-all",
        "Every image gets the output of the first one.",
        "Try a batch of two different images.",
        "All images of the output are equal; hidden by N = 1.",
        (_RESULT, "return batch_first(np.repeat(y[..., :1], len(x), axis=3))"),
    ),
    _conv(
        "evaluation-differs",
        "In evaluation the output is halved, as if there were something to average out.",
        "Compare the outputs of training and evaluation mode.",
        "Wrong in evaluation mode only; hidden if only training is tried.",
        (_RESULT, "return batch_first(y * (1.0 if self.training else 0.5))"),
    ),
)
