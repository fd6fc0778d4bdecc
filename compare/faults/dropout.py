"""Mistakes in dropout."""

from __future__ import annotations

from compare.faults.fault import Fault


def _dropout(name: str, made: str, hint: str, shows: str, *edits: tuple[str, str]) -> Fault:
    return Fault(f"dropout-{name}", "dropout", "scratch.dropout.Dropout", made, hint, shows, edits)


_BACK = "return grad_output if mask is None else grad_output * mask * self.scale"

FAULTS: tuple[Fault, ...] = (
    _dropout(
        "scaled-by-p",
        "What is kept is scaled by 1/p; it must be 1/(1 - p).",
        "Which share of the elements is kept, and what must the mean become?",
        "The ratio to the right one is (1 - p)/p; hidden by p = 0.5.",
        ("1 / (1 - float(p))", "1 / float(p)"),
    ),
    _dropout(
        "not-scaled",
        "What is kept is not scaled, and evaluation does not make up for it.",
        "Compare the mean of the output in training and in evaluation.",
        "The ratio to the right one is 1 - p.",
        ("1 / (1 - float(p))", "1.0"),
    ),
    _dropout(
        "active-in-evaluation",
        "Elements are left out in evaluation too.",
        "Call it twice in evaluation mode.",
        "The output of evaluation is random; hidden if only training is tried.",
        ("if self.training else None", "if True else None"),
    ),
    _dropout(
        "never-active",
        "Nothing is ever left out.",
        "Count the zeros of the output in training.",
        "The share of kept elements is 1; hidden if only evaluation is tried.",
        ("if self.training else None", "if False else None"),
    ),
    _dropout(
        "p-is-kept",
        "p is the share that is kept; in torch it is the share that is left out.",
        "With p = 0.9, is most of the output 0?",
        "The share of kept elements is p; hidden by p = 0.5.",
        ("self.p = p\n", "self.p = 1 - p\n"),
    ),
    _dropout(
        "mask-not-in-backward",
        "Backward passes the whole gradient; it must use the mask of forward.",
        "Does an element that was left out change the output?",
        "There is a gradient where the output was 0.",
        (_BACK, "return grad_output if mask is None else grad_output * self.scale"),
    ),
    _dropout(
        "other-mask-in-backward",
        "Backward draws a mask of its own; it must use that of forward.",
        "Does an element that was left out change the output?",
        "The zeros of the gradient are not those of the output.",
        (_BACK, "return grad_output if mask is None else grad_output * np.flip(mask) * self.scale"),
    ),
    _dropout(
        "scale-not-in-backward",
        "Backward uses the mask without the scale 1/(1 - p).",
        "By how much does the output change when a kept input changes by 1?",
        "The ratio to the right one is 1 - p.",
        (_BACK, "return grad_output if mask is None else grad_output * mask"),
    ),
    _dropout(
        "one-mask-for-ever",
        "The mask is drawn once and kept; every call must draw a new one.",
        "Call it twice in training: are the same elements left out?",
        "The masks of two calls agree; hidden by a single call.",
        (
            "        self.save_for_backward(mask, x.shape, x.dtype)",
            "        if mask is not None:\n"
            '            self.first = getattr(self, "first", mask)\n'
            "            mask = np.resize(self.first, x.shape)\n"
            "        self.save_for_backward(mask, x.shape, x.dtype)",
        ),
    ),
    _dropout(
        "one-mask-for-the-batch",
        "All images of a batch share one mask; every element must be drawn by itself.",
        "In a batch of two, are the same elements left out?",
        "The images of the output have their zeros at the same places; hidden by N = 1.",
        (
            "        self.save_for_backward(mask, x.shape, x.dtype)",
            "        if mask is not None:\n"
            "            mask = np.repeat(mask[:1], len(x), axis=0)\n"
            "        self.save_for_backward(mask, x.shape, x.dtype)",
        ),
    ),
)
