"""Mistakes in max-pooling."""

from __future__ import annotations

from compare.faults.fault import Fault


def _pool(name: str, made: str, hint: str, shows: str, *edits: tuple[str, str]) -> Fault:
    return Fault(f"maxpool2d-{name}", "maxpool2d", "scratch.pool.MaxPool2d", made, hint, shows, edits)


_WINS = "wins = undecided & (image[at] == y)"
_ADD = "grad_image[at] += g * wins"
_LOOP = "for _, _, at in window_slices(self.kernel_size, self.stride, (h_out, w_out)):"
_PAD = "image = pad(batch_last(x), self.padding, -np.inf)"
_UNDECIDED = "undecided = np.ones_like(y, dtype=bool)"

POOLING: tuple[Fault, ...] = (
    _pool(
        "all-ties-win",
        "Every element equal to the maximum gets the whole gradient; only the first of them may have it.",
        "Try a window with two equal maxima: how much gradient goes in, how much comes out?",
        "The sum of grad_input is larger than that of the upstream gradient; hidden by continuous inputs.",
        (_WINS, "wins = image[at] == y"),
    ),
    _pool(
        "ties-share",
        "Equal maxima share the gradient; the first of them must have all of it.",
        "Try a window with two equal maxima.",
        "The sum is kept, the positions differ; hidden by continuous inputs.",
        (
            _UNDECIDED,
            "at_all = window_slices(self.kernel_size, self.stride, (h_out, w_out))\n"
            "        ties = sum((image[at] == y) for _, _, at in at_all)\n"
            "        undecided = np.ones_like(y, dtype=bool)",
        ),
        (_ADD, "grad_image[at] += g * (image[at] == y) / ties"),
    ),
    _pool(
        "last-tie-wins",
        "Of equal maxima the last one gets the gradient (>=); it must be the first one in reading order (>).",
        "Try a window with two equal maxima.",
        "The positions differ where there are ties; hidden by continuous inputs.",
        (_LOOP, _LOOP.replace("window_slices(", "reversed(list(window_slices(").replace("))", "))))", 1)),
    ),
    _pool(
        "spread-evenly",
        "The gradient is spread over the window as if the mean had been taken; it belongs to the maximum alone.",
        "Which elements of the window change the maximum when they change a little?",
        "Every element has gradient/(kH·kW); hidden by .sum().",
        (_ADD, "grad_image[at] += g / (self.kernel_size[0] * self.kernel_size[1])"),
    ),
    _pool(
        "gradient-everywhere",
        "Every element of the window gets the whole gradient; it belongs to the maximum alone.",
        "Which elements of the window change the maximum when they change a little?",
        "The sum of grad_input is kH·kW times that of the upstream gradient.",
        (_ADD, "grad_image[at] += g"),
    ),
    _pool(
        "overlaps-overwritten",
        "Where windows overlap, a later one overwrites the gradient of an earlier one (=); they must be added (+=).",
        "Take a stride smaller than the kernel, and let one element win two windows.",
        "Gradients are lost; hidden by a stride of at least the kernel.",
        (_ADD, "grad_image[at] = np.where(wins, g, grad_image[at])"),
    ),
    _pool(
        "mean",
        "It takes the mean of the window: that is average pooling.",
        "What does it give for a window 0, 0, 0, 4?",
        "The output is smaller than the maximum; hidden by constant images.",
        ("np.maximum(y, element, out=y)", "np.add(y, element, out=y)"),
        (
            "        self.save_for_backward(image, y)",
            "        y /= len(windows)\n        self.save_for_backward(image, y)",
        ),
    ),
    _pool(
        "minimum",
        "It takes the minimum of the window.",
        "What does it give for a window 0, 0, 0, 4?",
        "The output is too small; hidden by constant images.",
        ("np.maximum(y, element, out=y)", "np.minimum(y, element, out=y)"),
    ),
    _pool(
        "absolute-maximum",
        "It compares absolute values: a large negative number wins.",
        "Try a window with -5 in it.",
        "Wrong where a negative number has the greatest absolute value; hidden by data after a ReLU.",
        ("np.maximum(y, element, out=y)", "np.copyto(y, element, where=np.abs(element) > np.abs(y))"),
    ),
    _pool(
        "starts-at-zero",
        "The search for the maximum begins at 0: a window of negative numbers gives 0.",
        "Try an image of negative numbers.",
        "The output is never negative; hidden by data after a ReLU.",
        ('y = windows[0].copy(order="C")', 'y = np.maximum(windows[0], 0, order="C")'),
    ),
    _pool(
        "padding-zero",
        "The padding is filled with 0, which wins over negative pixels; it must never win.",
        "Try negative pixels at the border, with padding.",
        "The border of the output is 0; hidden without padding and by data after a ReLU.",
        (_PAD, "image = pad(batch_last(x), self.padding, 0)"),
    ),
    _pool(
        "stride-ignored",
        "The stride is always the kernel size.",
        "Try a stride smaller than the kernel.",
        "The shape is wrong; hidden by a stride equal to the kernel.",
        ("kernel_size if stride is None else stride", "kernel_size"),
    ),
    _pool(
        "incomplete-windows-counted",
        "Rows and columns that fill no whole window give an output of their own; they must be left out.",
        "Try an image of odd height.",
        "The output is larger; hidden by even sizes.",
        (
            'size = output_size("MaxPool2d", x, self.kernel_size, self.stride, self.padding)',
            "lengths = zip(x.shape[2:], self.kernel_size, self.stride, self.padding, strict=True)\n"
            "        size = tuple(-(-(n + 2 * p - k) // s) + 1 for n, k, s, p in lengths)",
        ),
        (
            _PAD,
            "image = pad(batch_last(x), self.padding, -np.inf)\n"
            "        image = np.pad(image, ((0, 0), (0, 9), (0, 9), (0, 0)), constant_values=-np.inf)",
        ),
        (
            "return batch_first(crop(grad_image, self.padding))",
            "return batch_first(crop(grad_image[:, :-9, :-9], self.padding))",
        ),
    ),
    _pool(
        "gradient-of-value",
        "The gradient is multiplied by the maximum itself; the slope of the maximum is 1.",
        "What is the slope of max(a, b) in its larger argument?",
        "The gradient grows with the input; hidden by inputs of 1.",
        (_ADD, "grad_image[at] += g * wins * y"),
    ),
    _pool(
        "sides-exchanged",
        "The height and the width of the window are exchanged.",
        "Try a window that is not square.",
        "The shape is wrong, or it raises; hidden by square windows.",
        ("x, self.kernel_size, self.stride, self.padding)", "x, self.kernel_size[::-1], self.stride, self.padding)"),
    ),
    _pool(
        "cache-kept",
        "What backward needs is saved at the first call only: later calls go backward through the first one.",
        "Call it twice with different inputs.",
        "The second backward is wrong, or raises; hidden by a single call.",
        (
            "        self.save_for_backward(image, y)",
            "        if self._saved is None:\n            self.save_for_backward(image, y)",
        ),
    ),
)
