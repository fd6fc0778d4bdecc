"""Mistakes in ReLU, softmax and its logarithm."""

from __future__ import annotations

from compare.faults.fault import Fault


def _relu(name: str, made: str, hint: str, shows: str, *edits: tuple[str, str]) -> Fault:
    return Fault(f"relu-{name}", "relu", "scratch.activation.ReLU", made, hint, shows, edits)


def _softmax(name: str, made: str, hint: str, shows: str, *edits: tuple[str, str]) -> Fault:
    return Fault(f"softmax-{name}", "softmax", "scratch.activation.Softmax", made, hint, shows, edits)


def _log(name: str, made: str, hint: str, shows: str, *edits: tuple[str, str]) -> Fault:
    return Fault(f"log-softmax-{name}", "log_softmax", "scratch.activation.LogSoftmax", made, hint, shows, edits)


_MASK = "grad_output * (y > 0)"
_MAX = "y = np.clip(x, 0, np.inf)  # (1)"

RELU: tuple[Fault, ...] = (
    _relu(
        "mask-from-upstream",
        "The ReLU mask is taken from the sign of the upstream gradient; it must be that of the layer's input.",
        "Try an upstream gradient with negative entries: which of them reach the input?",
        "Negative entries of the gradient vanish; hidden by positive upstream gradients and by .sum().",
        (_MASK, "grad_output * (grad_output > 0)"),
    ),
    _relu(
        "two-masks",
        "The gradient is cut off where the input is negative and also where the gradient itself is negative.",
        "Try an upstream gradient with negative entries where the input is positive.",
        "Negative entries of the gradient vanish; hidden by positive upstream gradients.",
        (_MASK, "grad_output * (y > 0) * (grad_output > 0)"),
    ),
    _relu(
        "no-mask",
        "The gradient passes everywhere; it must be 0 where the input was negative.",
        "What does a small change of a negative input do to the output?",
        "There is a gradient where the input was negative; hidden by positive inputs.",
        (_MASK, "grad_output * (y == y)"),
    ),
    _relu(
        "mask-inverted",
        "The mask is the wrong way round: the gradient passes where the input was negative.",
        "Which inputs change the output at all?",
        "The gradient has exactly the wrong support.",
        (_MASK, "grad_output * (y <= 0)"),
    ),
    _relu(
        "passes-zero",
        "At an input of exactly 0 the gradient passes (>=); by convention it is 0 there (>).",
        "Try inputs that are exactly 0.",
        "It differs at exact zeros only; hidden by continuous inputs.",
        (_MAX, _MAX + "\n        self.x = x.copy()"),
        (_MASK, "grad_output * (self.x >= 0)"),
    ),
    _relu(
        "half-at-zero",
        "At an input of exactly 0 half of the gradient passes; by convention none does.",
        "Try inputs that are exactly 0.",
        "It differs at exact zeros only; hidden by continuous inputs.",
        (_MAX, _MAX + "\n        self.x = x.copy()"),
        (_MASK, "grad_output * (1 + np.sign(self.x)) / 2"),
    ),
    _relu(
        "upstream-forgotten",
        "The slope is returned alone; it must be multiplied by the upstream gradient.",
        "What does the chain rule multiply?",
        "The gradient holds only zeros and ones; hidden by an upstream gradient of ones.",
        (_MASK, "(y > 0).astype(y.dtype)"),
    ),
    _relu(
        "times-output",
        "The upstream gradient is multiplied by the output; it must be multiplied by the slope, 0 or 1.",
        "What is the slope of ReLU at 3?",
        "The gradient grows with the input; hidden by inputs of 0 and 1.",
        (_MASK, "grad_output * y"),
    ),
    _relu(
        "mask-from-product",
        "The mask is the sign of the gradient times the output; only the input's sign decides.",
        "Try an upstream gradient with negative entries: which of them reach the input?",
        "It passes |gradient| of one sign only; hidden by positive upstream gradients.",
        (_MASK, "np.maximum(grad_output, 0) * (y > 0) - np.minimum(grad_output, 0) * (y > 0)"),
    ),
    _relu(
        "leaky",
        "Negative inputs leak through with a slope of 0.01; ReLU makes them 0.",
        "What does it give for -1?",
        "The output is negative where the input is; hidden by positive inputs.",
        (_MAX, "y = np.maximum(x, 0.01 * x)  # (1)"),
    ),
    _relu(
        "absolute",
        "It takes the absolute value; negative inputs must become 0.",
        "What does it give for -1?",
        "The output is positive where the input is negative; hidden by positive inputs.",
        (_MAX, "y = np.abs(x)  # (1)"),
    ),
    _relu(
        "clipped-at-6",
        "Nothing above 6 gets through: that is ReLU6.",
        "Try large inputs.",
        "Outputs above 6 are cut off; hidden by inputs that are small.",
        (_MAX, "y = np.minimum(np.maximum(x, 0), 6)  # (1)"),
    ),
    _relu(
        "input-changed",
        "The input is changed in place (x[x < 0] = 0): whoever else holds it, finds other numbers.",
        "Compare the input before and after the call.",
        "The input after use differs, the output is right; hidden by running it once.",
        (_MAX, "x[x < 0] = 0\n        y = x.copy()  # (1)"),
    ),
    _relu(
        "gradient-changed",
        "The upstream gradient is changed in place (grad[x <= 0] = 0): whoever else holds it, finds other numbers.",
        "Compare the upstream gradient before and after backward.",
        "The upstream gradient after use differs, grad_input is right; hidden in a plain chain of layers.",
        ("return " + _MASK, "grad_output[y <= 0] = 0\n        return grad_output"),
    ),
    _relu(
        "output-buffer-reused",
        "All calls write into one array: the next call overwrites the output of the last one.",
        "Keep the output of one call, call again, and look at it.",
        "The output of an earlier call is wrong; hidden by a single call.",
        (_MAX, 'y = self.buffer = np.maximum(x, 0, out=getattr(self, "buffer", np.empty_like(x))[: len(x)])'),
    ),
    _relu(
        "threshold",
        "Inputs below a small threshold count as 0; every positive number must pass.",
        "Try inputs of many magnitudes.",
        "Very small outputs are zero; hidden by ordinary inputs.",
        (_MAX, "y = x * (x > 1e-6)  # (1)"),
    ),
)

_E = "e = np.exp(x - x.max(axis=dim, keepdims=True))"
_JACOBIAN = "return p * (grad_output - (grad_output * p).sum(axis=self.dim, keepdims=True))"

SOFTMAX: tuple[Fault, ...] = (
    _softmax(
        "no-maximum",
        "The maximum is not subtracted before exp, which overflows for large scores.",
        "Try scores of 1000.",
        "NaN for large scores; hidden by small ones.",
        (_E, "e = np.exp(x)"),
    ),
    _softmax(
        "maximum-of-all",
        "The maximum of the whole batch is subtracted; it must be that of each row.",
        "Try a batch in which one row is much smaller than another.",
        "NaN for rows far below the greatest; hidden by small scores.",
        (_E, "e = np.exp(x - x.max())"),
    ),
    _softmax(
        "wrong-axis",
        "The probabilities are taken along the wrong axis: over the batch, not over the classes.",
        "Along which axis must they add up to 1?",
        "Rows do not add up to 1; hidden by square input that is looked at, not added up.",
        ("p = softmax(x, self.dim)", "p = softmax(x, 1 - self.dim)"),
    ),
    _softmax(
        "sum-of-all",
        "All exponentials of the batch are added up; each row has a sum of its own.",
        "Try a batch of two rows: do both add up to 1?",
        "Rows do not add up to 1; hidden by N = 1.",
        ("return e / e.sum(axis=dim, keepdims=True)", "return e / e.sum()"),
    ),
    _softmax(
        "no-jacobian",
        "The upstream gradient is passed on unchanged: backward takes it for the gradient of the scores.",
        "Does your backward belong to softmax alone, or to softmax and cross-entropy together?",
        "grad_input equals the upstream gradient; hidden if the loss hands over p - y.",
        (_JACOBIAN, "return grad_output * np.ones_like(p)"),
    ),
    _softmax(
        "diagonal-jacobian",
        "Only the diagonal of the Jacobian is used, p·(1 - p): every score changes every probability.",
        "Raise one score: does only its own probability change?",
        "grad_input misses the cross terms; hidden by an upstream gradient with one entry.",
        (_JACOBIAN, "return grad_output * p * (1 - p)"),
    ),
    _softmax(
        "probability-forgotten",
        "The factor p in front of the bracket is missing.",
        "How much may the gradient of a class with probability 0 be?",
        "grad_input is too large for improbable classes.",
        (_JACOBIAN, "return grad_output - (grad_output * p).sum(axis=self.dim, keepdims=True)"),
    ),
    _softmax(
        "sum-over-batch",
        "The sum of g·p goes over the whole batch; each row has a sum of its own.",
        "Try a batch of two rows, one with an upstream gradient of zeros.",
        "grad_input of one row depends on the others; hidden by N = 1.",
        (_JACOBIAN, "return p * (grad_output - (grad_output * p).sum())"),
    ),
)

_SHIFT = "shifted = x - x.max(axis=dim, keepdims=True)"
_LOG = "return shifted - np.log(np.exp(shifted).sum(axis=dim, keepdims=True))"
_LOG_BACKWARD = "return grad_output - np.exp(y) * grad_output.sum(axis=self.dim, keepdims=True)"

LOG_SOFTMAX: tuple[Fault, ...] = (
    _log(
        "no-maximum",
        "The maximum is not subtracted before exp, which overflows for large scores.",
        "Try scores of 1000.",
        "Infinite or NaN for large scores; hidden by small ones.",
        (_SHIFT, "shifted = x"),
    ),
    _log(
        "maximum-of-all",
        "The maximum of the whole batch is subtracted; it must be that of each row.",
        "Try a batch in which one row is much smaller than another.",
        "Infinite for rows far below the greatest; hidden by small scores.",
        (_SHIFT, "shifted = x - x.max()"),
    ),
    _log(
        "wrong-axis",
        "It goes along the wrong axis: over the batch, not over the classes.",
        "Along which axis must the probabilities add up to 1?",
        "The probabilities of a row do not add up to 1.",
        ("y = log_softmax(x, self.dim)", "y = log_softmax(x, 1 - self.dim)"),
    ),
    _log(
        "base-2",
        "The logarithm of the sum is taken to the base 2.",
        "What must two equal scores give?",
        "The probabilities of a row do not add up to 1.",
        (_LOG, "return shifted - np.log2(np.exp(shifted).sum(axis=dim, keepdims=True))"),
    ),
    _log(
        "epsilon",
        "A small number is added to the probability before the logarithm, which cuts off small ones.",
        "Try a class that is almost impossible.",
        "Off where a probability is tiny; hidden by ordinary scores.",
        (_LOG, "return np.log(np.exp(shifted) / np.exp(shifted).sum(axis=dim, keepdims=True) + 1e-12)"),
    ),
    _log(
        "sum-of-gradient-forgotten",
        "The softmax is subtracted without the factor Σ g, which is 1 only for a one-hot gradient.",
        "Try an upstream gradient that does not add up to 1.",
        "grad_input is wrong; hidden by one-hot upstream gradients.",
        (_LOG_BACKWARD, "return grad_output - np.exp(y)"),
    ),
    _log(
        "exp-forgotten",
        "The logarithm y stands where the probability exp(y) belongs.",
        "Between which bounds does a probability lie?",
        "grad_input is wrong, with a large error for improbable classes.",
        (_LOG_BACKWARD, "return grad_output - y * grad_output.sum(axis=self.dim, keepdims=True)"),
    ),
    _log(
        "softmax-backward",
        "Backward is that of softmax; the logarithm is not differentiated.",
        "Which function does your backward belong to?",
        "grad_input is that of softmax.",
        (
            _LOG_BACKWARD,
            "return np.exp(y) * (grad_output - (grad_output * np.exp(y)).sum(axis=self.dim, keepdims=True))",
        ),
    ),
)
FAULTS = (*RELU, *SOFTMAX, *LOG_SOFTMAX)
