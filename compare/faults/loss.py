"""Mistakes in softmax cross-entropy."""

from __future__ import annotations

from compare.faults.fault import Fault


def _loss(name: str, made: str, hint: str, shows: str, *edits: tuple[str, str]) -> Fault:
    target = "scratch.loss.CrossEntropyLoss"
    return Fault(f"cross-entropy-{name}", "cross_entropy", target, made, hint, shows, edits)


_LOG_P = "log_p = log_softmax(logits, dim=1)"
_LOSSES = "losses = -log_p[np.arange(len(targets), like=targets), targets]"
_SCALE = 'g / n if self.reduction == "mean"'
_GRADIENT = "return scale * (np.exp(log_p) - right)"

FAULTS: tuple[Fault, ...] = (
    _loss(
        "gradient-not-averaged",
        "The gradient is that of the summed loss: the division by N is missing.",
        "Repeat every image of a batch: must the gradient of one of them change?",
        "The ratio to the right one is N; hidden by N = 1.",
        (_SCALE, 'g if self.reduction == "mean"'),
    ),
    _loss(
        "averaged-twice",
        "The gradient is divided by N twice.",
        "Who divides by N: the loss, the layers, or both?",
        "The ratio to the right one is 1/N; hidden by N = 1.",
        (_SCALE, 'g / n / n if self.reduction == "mean"'),
    ),
    _loss(
        "jacobian-twice",
        "The Jacobian of softmax is applied once more to p - y, which contains it already.",
        "Derive the gradient of the loss with respect to the scores, not to the probabilities.",
        "grad_input is J·(p - y); hidden if only its sign is looked at.",
        (
            _GRADIENT,
            "p = np.exp(log_p)\n"
            "        g = scale * (p - right)\n"
            "        return p * (g - (g * p).sum(axis=1, keepdims=True))",
        ),
    ),
    _loss(
        "no-maximum",
        "The maximum is not subtracted before exp, which overflows for large scores.",
        "Try scores of 1000.",
        "NaN or infinity for large scores; hidden by small ones.",
        (_LOG_P, "log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))"),
    ),
    _loss(
        "maximum-of-all",
        "The maximum of the whole batch is subtracted; it must be that of each row.",
        "Try a batch in which one row is much smaller than another.",
        "NaN or infinity for some rows; hidden by small scores.",
        (
            _LOG_P,
            "shifted = logits - logits.max()\n"
            "        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))",
        ),
    ),
    _loss(
        "maximum-of-column",
        "The maximum of each class over the batch is subtracted, which changes the softmax.",
        "What may be subtracted from a row of scores without changing its softmax?",
        "Everything is wrong; hidden by N = 1 with equal scores.",
        (_LOG_P, "log_p = log_softmax(logits - logits.max(axis=0), dim=1)"),
    ),
    _loss(
        "epsilon",
        "A small number is added to the probability before the logarithm, which caps the loss.",
        "Try an image that the scores are sure about, and wrong.",
        "The loss is off where a probability is tiny; hidden by ordinary scores.",
        (_LOSSES, "losses = -np.log(np.exp(log_p[np.arange(len(targets)), targets]) + 1e-7)"),
    ),
    _loss(
        "batch-size-of-first",
        "N is that of the first batch: wrong on the last, partial one.",
        "Try a second batch with an image less.",
        "The ratio is N/N_first on a smaller batch; hidden by full batches.",
        ("n, k = log_p.shape", 'n, k = log_p.shape\n        self.first = getattr(self, "first", n)'),
        (_SCALE, 'g / self.first if self.reduction == "mean"'),
    ),
    _loss(
        "batch-size-fixed",
        "The loss is divided by a batch size of 32, whatever the batch.",
        "Try batches of two sizes.",
        "The ratio is N/32; hidden by batches of 32.",
        ("(total / len(losses) if", "(total / 32 if"),
    ),
    _loss(
        "wrong-axis",
        "The softmax goes over the batch; it must go over the classes.",
        "Along which axis must the probabilities add up to 1?",
        "The probabilities of a row do not add up to 1.",
        (_LOG_P, "log_p = log_softmax(logits, dim=0)"),
    ),
    _loss(
        "label-not-subtracted",
        "The gradient is p: the 1 of the right class is never subtracted.",
        "What must the gradient of a perfect prediction be?",
        "The gradient has no negative entry.",
        (_GRADIENT, "return scale * np.exp(log_p)"),
    ),
    _loss(
        "probability-forgotten",
        "Only the right class has a gradient; every score changes the loss.",
        "Raise the score of a wrong class: what happens to the loss?",
        "The gradient is zero outside the right class.",
        (_GRADIENT, "return scale * (np.exp(log_p) - 1) * right"),
    ),
    _loss(
        "gradient-of-probabilities",
        "The gradient is that of the probabilities, -y/p; it must be that of the scores.",
        "With respect to what is the loss differentiated: its input, or something inside?",
        "The gradient is zero outside the right class, and large where p is small.",
        (_GRADIENT, "return -scale * right / np.exp(log_p)"),
    ),
    _loss(
        "gradient-sign",
        "The gradient has the wrong sign: y - p.",
        "Raise the score of the right class: does the loss fall?",
        "The ratio to the right one is -1.",
        (_GRADIENT, "return scale * (right - np.exp(log_p))"),
    ),
    _loss(
        "labels-off-by-one",
        "In the gradient the labels are counted from 1.",
        "Try a batch with the label 0.",
        "The 1 is subtracted at the class before the right one.",
        ("np.arange(k, like=targets)", "np.arange(1, k + 1, like=targets)"),
    ),
    _loss(
        "summed",
        "The loss is the sum over the batch; the mean was asked for.",
        "Repeat every image of a batch: must the mean change?",
        "The ratio to the right one is N; hidden by N = 1.",
        ("(total / len(losses) if", "(total if"),
    ),
    _loss(
        "averaged-over-classes",
        "The loss is divided by the number of classes too.",
        "How many numbers do you average over, and how many images are there?",
        "The ratio to the right one is 1/K.",
        ("(total / len(losses) if", "(total / log_p.size if"),
    ),
    _loss(
        "base-2",
        "The loss is in bits: the logarithm is taken to the base 2.",
        "What must two equal scores give?",
        "The ratio to the right one is 1.4427.",
        (_LOSSES, _LOSSES + " / 0.6931471805599453"),
    ),
    _loss(
        "upstream-ignored",
        "The gradient of the loss's own output is ignored.",
        "Multiply the loss by 2 before backward.",
        "Right only for an upstream gradient of 1.",
        ("            g = grad_output\n", "            g = np.ones_like(grad_output)\n"),
    ),
    _loss(
        "softmax-twice",
        "A softmax is applied to the scores first: the loss makes its own.",
        "Between which bounds do the numbers lie that the loss takes for scores?",
        "The loss can never be small.",
        (_LOG_P, "log_p = log_softmax(np.exp(log_softmax(logits, dim=1)), dim=1)"),
    ),
    _loss(
        "labels-changed",
        "The labels are changed in place.",
        "Compare the labels before and after the call.",
        "The labels after use differ, loss and gradient are right; hidden by running it once.",
        (
            "        self.save_for_backward(log_p, targets)",
            "        self.save_for_backward(log_p, targets.copy())\n        targets -= targets.min() + 1",
        ),
    ),
)
