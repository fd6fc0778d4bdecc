"""Mistakes in batch normalisation."""

from __future__ import annotations

from compare.faults.fault import Fault


def _norm(name: str, made: str, hint: str, shows: str, *edits: tuple[str, str]) -> Fault:
    return Fault(f"batchnorm2d-{name}", "batchnorm2d", "scratch.norm.BatchNorm2d", made, hint, shows, edits)


_INNER = "g = g - (grad_bias / m)[:, None] - normal * (grad_weight / m)[:, None]"
_MEAN = "self.momentum) * running_mean + self.momentum * mean"
_VAR = "self.momentum) * running_var + self.momentum * var * (m / (m - 1))"

FAULTS: tuple[Fault, ...] = (
    _norm(
        "running-variance-biased",
        "The running variance takes the biased estimate, 1/m; it must take the unbiased one, 1/(m - 1).",
        "Which of the two variances is the estimate for images that are not in the batch?",
        "The ratio of what the batch adds is (m - 1)/m, seen in evaluation; hidden in training.",
        (_VAR, "self.momentum) * running_var + self.momentum * var"),
    ),
    _norm(
        "normalises-by-unbiased",
        "The batch is normalised by the unbiased variance, 1/(m - 1); it must be the biased one, 1/m.",
        "What is the variance of the normalised batch, divided by m?",
        "The output is √((m - 1)/m) times as large; hidden by large batches.",
        (
            "inverse_std = 1 / np.sqrt(var + self.eps)",
            "if self.training:\n            var = var * m / (m - 1)\n        inverse_std = 1 / np.sqrt(var + self.eps)",
        ),
    ),
    _norm(
        "momentum-exchanged",
        "Momentum is the weight of the old average; in torch it is the weight of the new batch.",
        "After one batch, is the running mean near the batch's, or near where it was?",
        "The running statistics move too fast; hidden if evaluation is never tried.",
        ("(1 - " + _MEAN, "self.momentum * running_mean + (1 - self.momentum) * mean"),
        ("(1 - " + _VAR, "self.momentum * running_var + (1 - self.momentum) * var * (m / (m - 1))"),
    ),
    _norm(
        "eps-outside-root",
        "ε is added to the standard deviation; it must be added to the variance, under the root.",
        "Try a channel that is almost constant.",
        "Off for small variances; hidden by ordinary ones.",
        ("1 / np.sqrt(var + self.eps)", "1 / (np.sqrt(var) + self.eps)"),
    ),
    _norm(
        "eps-forgotten",
        "ε is left out: a constant channel divides by 0.",
        "Try a channel that is constant.",
        "NaN for constant channels, off for small variances; hidden by ordinary ones.",
        ("1 / np.sqrt(var + self.eps)", "1 / np.sqrt(var)"),
    ),
    _norm(
        "running-statistics-in-training",
        "The running statistics normalise in training too; there it must be the batch's own.",
        "What are mean and variance of the output in training?",
        "The output of training is wrong, that of evaluation right.",
        ("normal = rows - mean[:, None]\n", "normal = rows - running_mean[:, None]\n"),
    ),
    _norm(
        "batch-statistics-in-evaluation",
        "The batch's own statistics normalise in evaluation too; there it must be the running ones.",
        "In evaluation, does the answer for one image depend on the others?",
        "The output of evaluation is wrong; hidden if only training is tried.",
        (
            "normal, var = rows - running_mean[:, None], running_var",
            "normal = rows - rows.mean(axis=1)[:, None]\n            var = (normal * normal).mean(axis=1)",
        ),
    ),
    _norm(
        "gradient-without-mean",
        "grad_input misses the term of the mean.",
        "Add the same number to the whole batch: how does the output change?",
        "The sum of grad_input over a channel is not 0; hidden by an upstream gradient that sums to 0.",
        (_INNER, "g = g - normal * (grad_weight / m)[:, None]"),
    ),
    _norm(
        "gradient-without-variance",
        "grad_input misses the term of the variance.",
        "Multiply the whole batch by 2: how does the output change?",
        "grad_input is wrong, though it sums to 0; hidden by .sum().",
        (_INNER, "g = g - (grad_bias / m)[:, None]"),
    ),
    _norm(
        "gradient-as-if-constant",
        "grad_input treats mean and variance as constants: both terms are missing.",
        "Add the same number to the whole batch: how does the output change?",
        "grad_input is the upstream gradient, scaled; hidden in evaluation.",
        (_INNER, "g = g - 0 * normal"),
    ),
    _norm(
        "grad-weight-from-input",
        "grad_weight takes the input; it must take the normalised input.",
        "What does the weight multiply in the forward pass?",
        "grad_weight is wrong; hidden by input that is normal already.",
        ("grad_weight = (g * normal).sum(axis=1)", "grad_weight = (g * normal / inverse_std[:, None]).sum(axis=1)"),
    ),
    _norm(
        "weight-forgotten-in-backward",
        "grad_input misses the factor weight.",
        "Try a weight other than 1.",
        "The ratio to the right one is 1/weight; hidden by weights of 1.",
        ("            scale = scale * self.weight.data\n", ""),
    ),
    _norm(
        "per-image",
        "Each image is normalised by itself: that is instance normalisation.",
        "Over which axes is the mean taken?",
        "The output is wrong; hidden by a batch of one image.",
        (
            "mean = rows.mean(axis=1)",
            "per_image = image.mean(axis=(1, 2), keepdims=True)\n"
            "            rows = (image - per_image).reshape(rows.shape)\n"
            "            mean = rows.mean(axis=1)",
        ),
    ),
    _norm(
        "batches-not-counted",
        "num_batches_tracked is never raised.",
        "How many batches has the layer seen?",
        "The count stays; everything else is right.",
        ("self.num_batches_tracked.data += 1", "pass"),
    ),
    _norm(
        "statistics-updated-in-evaluation",
        "The running statistics are reset in evaluation; there they must stay as they are.",
        "Compare the running mean before and after a call in evaluation mode.",
        "The running statistics are wrong after evaluation.",
        (
            "normal, var = rows - running_mean[:, None], running_var",
            "normal, var = rows - running_mean[:, None], running_var.copy()\n"
            "            running_mean[...] = 0.9 * running_mean + 0.1 * rows.mean(axis=1)",
        ),
    ),
)

_KEEP = "return x if mask is None else x * mask * self.scale"
