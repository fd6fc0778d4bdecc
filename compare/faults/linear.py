"""Mistakes in flatten and in the fully connected layer."""

from __future__ import annotations

from compare.faults.fault import Fault


def _flatten(name: str, made: str, hint: str, shows: str, *edits: tuple[str, str]) -> Fault:
    return Fault(f"flatten-{name}", "flatten", "scratch.linear.Flatten", made, hint, shows, edits)


def _linear(name: str, made: str, hint: str, shows: str, *edits: tuple[str, str]) -> Fault:
    return Fault(f"linear-{name}", "linear", "scratch.linear.Linear", made, hint, shows, edits)


_ROW = "return x.reshape(len(x), math.prod(x.shape[1:]))"
_BACK = "return grad_output.reshape(shape)"

FLATTEN: tuple[Fault, ...] = (
    _flatten(
        "channels-last",
        "The channels are laid out last, (row, column, channel); torch lays them out first.",
        "Take two channels, one of zeros and one of ones: where do the ones land?",
        "The columns of the next weight are permuted; hidden by one channel, or by maps of one pixel.",
        (_ROW, "return np.moveaxis(x, 1, -1).reshape(len(x), math.prod(x.shape[1:]))"),
        (_BACK, "return np.moveaxis(grad_output.reshape(shape[0], *shape[2:], *shape[1:2]), -1, 1)"),
    ),
    _flatten(
        "columns-first",
        "The maps are read column by column; torch reads them row by row.",
        "Take one map with its number of rows unlike its number of columns, and number the pixels.",
        "The columns of the next weight are permuted; hidden by maps of one row.",
        (_ROW, 'return x.reshape((len(x), math.prod(x.shape[1:])), order="F")'),
        (_BACK, 'return grad_output.reshape(shape, order="F")'),
    ),
    _flatten(
        "backward-order",
        "Backward lays the gradient out in another order than forward took the numbers.",
        "Flatten something and send it straight back.",
        "grad_input is a permutation of the right one; hidden by one channel.",
        (_BACK, 'return grad_output.reshape(shape, order="F")'),
    ),
    _flatten(
        "batch-too",
        "The batch is flattened too: all images in one row.",
        "Try a batch of two images.",
        "The shape is wrong; hidden by a single image.",
        (_ROW, "return x.reshape(1, x.size)"),
        (_BACK, "return grad_output.reshape(shape)"),
    ),
    _flatten(
        "gradient-not-reshaped",
        "The gradient is handed back as a row; it must have the shape of the input.",
        "Compare the shapes of the input and of its gradient.",
        "The shape of grad_input is wrong; hidden by inputs that are rows already.",
        (_BACK, "return grad_output"),
    ),
)

_PRODUCT = "y = weight @ x.T"
_GRAD_BIAS = "self.bias.accumulate_grad(grad_output.sum(axis=0))"
_GRAD_WEIGHT = "self.weight.accumulate_grad(grad_weight)"
_GRAD_INPUT = "return (weight.T @ grad_output.T).T"

LINEAR: tuple[Fault, ...] = (
    _linear(
        "transposed-in-forward",
        "The weight is transposed in forward.",
        "Try as many outputs as inputs, with a weight that is not symmetric.",
        "It raises unless the weight is square, where it is only wrong.",
        (_PRODUCT, "y = weight.T @ x.T"),
    ),
    _linear(
        "transposition-forgotten",
        "grad_input uses W where Wᵀ belongs.",
        "Backward goes from the outputs to the inputs: which shape must the weight have for that?",
        "It raises unless the weight is square, where it is only wrong; hidden if square is never tried.",
        (_GRAD_INPUT, "return (weight @ grad_output.T).T"),
    ),
    _linear(
        "weights-updated-early",
        "The weights are updated inside backward before grad_input is computed from them.",
        "Which weights did the forward pass use, and which ones does grad_input use?",
        "The error of grad_input grows with the learning rate; hidden by a small one.",
        (_GRAD_INPUT, "weight -= LEARNING_RATE * (grad_output.T @ self.saved_for_backward[0])\n        " + _GRAD_INPUT),
    ),
    _linear(
        "weights-updated-late",
        "The weights are updated inside backward, after all gradients were computed; that is the optimizer's work.",
        "Compare the weights before and after backward.",
        "The gradients are right, the weights change; hidden if only the gradients are looked at.",
        (
            _GRAD_INPUT,
            "grad_input = (weight.T @ grad_output.T).T\n"
            "        weight -= LEARNING_RATE * (grad_output.T @ self.saved_for_backward[0])\n"
            "        return grad_input",
        ),
    ),
    _linear(
        "bias-forgotten",
        "The bias is never added to the output.",
        "Give it an input of zeros.",
        "A constant offset in each column; hidden by a zero bias.",
        ("y += self.bias.data[:, None]", "pass"),
    ),
    _linear(
        "grad-bias-mean",
        "grad_bias is the mean over the batch; it must be the sum.",
        "Try a batch of two equal rows.",
        "The ratio to the right one is 1/N; hidden by N = 1.",
        (_GRAD_BIAS, "self.bias.accumulate_grad(grad_output.mean(axis=0))"),
    ),
    _linear(
        "grad-bias-one-number",
        "grad_bias is summed over the outputs too, so that all its entries are one number.",
        "Over which axes do you sum, and which one must stay?",
        "All entries are equal; hidden by a single output.",
        (_GRAD_BIAS, "self.bias.accumulate_grad(np.full_like(self.bias.data, grad_output.sum()))"),
    ),
    _linear(
        "grad-bias-never-set",
        "grad_bias is never computed.",
        "Which parameters does your backward give a gradient?",
        "It is missing, or zero; hidden by a tolerance larger than the gradient.",
        (_GRAD_BIAS, "pass"),
    ),
    _linear(
        "grad-bias-not-summed",
        "grad_bias is the upstream gradient itself, a row for every image; it must be summed over the batch.",
        "Compare the shapes of the bias and of its gradient.",
        "The shape of grad_bias is wrong.",
        (_GRAD_BIAS, "self.bias.accumulate_grad(grad_output)"),
    ),
    _linear(
        "grad-bias-last-image",
        "grad_bias is that of the last image of the batch.",
        "Try a batch of two different rows.",
        "The ratio to the right one varies; hidden by N = 1.",
        (_GRAD_BIAS, "self.bias.accumulate_grad(grad_output[-1])"),
    ),
    _linear(
        "grad-weight-divided-by-batch",
        "grad_weight is divided by the batch size; the mean is already in the loss.",
        "Try a batch of one row, then of two equal ones.",
        "The ratio to the right one is 1/N; hidden by N = 1.",
        (_GRAD_WEIGHT, "self.weight.accumulate_grad(grad_weight / len(x))"),
    ),
    _linear(
        "grad-weight-transposed",
        "grad_weight comes out as (in, out); the weight is (out, in).",
        "Compare the shapes of the weight and of its gradient.",
        "Its shape is wrong unless the weight is square, where it is transposed.",
        (_GRAD_WEIGHT, "self.weight.accumulate_grad(x.T @ grad_output)"),
    ),
    _linear(
        "grad-weight-last-image",
        "grad_weight is that of the last image of the batch: it is overwritten in the loop, not added up.",
        "Try a batch of two different rows.",
        "The ratio to the right one varies; hidden by N = 1.",
        (_GRAD_WEIGHT, "self.weight.accumulate_grad(np.outer(grad_output[-1], x[-1]))"),
    ),
    _linear(
        "grad-weight-from-output",
        "grad_weight is computed from the layer's output; the input belongs there.",
        "Which factor does a weight have in the forward pass?",
        "grad_weight is wrong, or has the wrong shape; hidden by identities.",
        (_GRAD_WEIGHT, "self.weight.accumulate_grad(grad_output.T @ np.resize(x @ weight.T, x.shape))"),
    ),
    _linear(
        "grad-weight-with-decay",
        "Weight decay is added inside backward: the gradient is no longer that of the loss.",
        "Give it an upstream gradient of zeros.",
        "grad_weight is the right one plus a multiple of the weight; hidden by zero weights.",
        (_GRAD_WEIGHT, "self.weight.accumulate_grad(grad_weight + 0.01 * weight)"),
    ),
    _linear(
        "gradient-overwritten",
        "A second backward replaces grad_weight; it must add to it until zero_grad.",
        "Call forward and backward twice without zero_grad.",
        "After two calls only the second one's gradient is there; hidden by a single call.",
        (_GRAD_WEIGHT, "self.weight.grad = grad_weight"),
    ),
    _linear(
        "grad-input-divided-by-batch",
        "grad_input is divided by the batch size; the mean is already in the loss.",
        "Try a batch of one row, then of two equal ones.",
        "The ratio to the right one is 1/N; hidden by N = 1.",
        (_GRAD_INPUT, "return (weight.T @ grad_output.T).T / len(grad_output)"),
    ),
    _linear(
        "weight-remembered",
        "The weight of the first call is used for ever: updates have no effect.",
        "Change the weight between two calls.",
        "The second output is wrong; hidden by a single call.",
        (
            'weight = self.weight.data\n        checks.input_like("Linear"',
            'weight = self.first = getattr(self, "first", self.weight.data)\n        checks.input_like("Linear"',
        ),
    ),
)
FAULTS = (*FLATTEN, *LINEAR)
