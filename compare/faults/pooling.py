"""Mistakes in max-pooling and average pooling."""

from __future__ import annotations

from compare.faults.fault import Fault


def _pool(name: str, made: str, hint: str, shows: str, *edits: tuple[str, str]) -> Fault:
    return Fault(f"maxpool2d-{name}", "maxpool2d", "scratch.pool.MaxPool2d", made, hint, shows, edits)


def _mean(name: str, made: str, hint: str, shows: str, *edits: tuple[str, str]) -> Fault:
    return Fault(f"avgpool2d-{name}", "avgpool2d", "scratch.pool.AvgPool2d", made, hint, shows, edits)


_DECIDED = "                undecided ^= wins\n"
_LARGER = "np.maximum(y, windows[:, u, v], out=y)"
_PAD = "image = pad(batch_last(x), self.padding, -np.inf)"
_UNDECIDED = "undecided = np.ones_like(y_piece, dtype=bool)"
_MEAN = "y /= math.prod(self.kernel_size)  # (1)"
_SHARE = "g = batch_last(grad_output) / math.prod(self.kernel_size)"
_COLLECT = "grad_windows[:, u, v] += g  # (2)"
_STRIDE = 'checks.integer_pair(layer, "stride", kernel_size if stride is None else stride, minimum=1)'

FAULTS: tuple[Fault, ...] = (
    _pool(
        "all-ties-win",
        "Every element equal to the maximum gets the whole gradient; only the first of them may have it.",
        "Try a window with two equal maxima: how much gradient goes in, how much comes out?",
        "The sum of grad_input is larger than that of the upstream gradient; hidden by continuous inputs.",
        ("                wins &= undecided\n", ""),
    ),
    _pool(
        "ties-share",
        "Equal maxima share the gradient; the first of them must have all of it.",
        "Try a window with two equal maxima.",
        "The sum is kept, the positions differ; hidden by continuous inputs.",
        (
            _UNDECIDED,
            "ties = sum((windows[:, u, v, *at] == y_piece).astype(y.dtype) for u, v in self._elements())\n"
            "            undecided = np.ones_like(y_piece, dtype=bool)",
        ),
        (_DECIDED, "                wins = (windows[:, u, v, *at] == y_piece) / ties\n"),
    ),
    _pool(
        "last-tie-wins",
        "Of equal maxima the last one gets the gradient (>=); it must be the first one in reading order (>).",
        "Try a window with two equal maxima.",
        "The positions differ where there are ties; hidden by continuous inputs.",
        ("for u, v in self._elements():", "for u, v in reversed(self._elements()):"),
    ),
    _pool(
        "spread-evenly",
        "The gradient is spread over the window as if the mean had been taken; it belongs to the maximum alone.",
        "Which elements of the window change the maximum when they change a little?",
        "Every element has gradient/(kH·kW); hidden by .sum().",
        (_DECIDED, "                wins = np.full_like(y_piece, 1 / (self.kernel_size[0] * self.kernel_size[1]))\n"),
    ),
    _pool(
        "gradient-everywhere",
        "Every element of the window gets the whole gradient; it belongs to the maximum alone.",
        "Which elements of the window change the maximum when they change a little?",
        "The sum of grad_input is kH·kW times that of the upstream gradient.",
        (_DECIDED, "                wins = np.ones_like(y_piece)\n"),
    ),
    _pool(
        "overlaps-overwritten",
        "Where windows overlap, a later one overwrites the gradient of an earlier one (=); they must be added (+=).",
        "Take a stride smaller than the kernel, and let one element win two windows.",
        "Gradients are lost; hidden by a stride of at least the kernel.",
        (
            "grad_windows[:, u, v, *at] += g_piece * wins",
            "grad_windows[:, u, v, *at] = np.where(wins, g_piece, grad_windows[:, u, v, *at])",
        ),
    ),
    _pool(
        "mean",
        "It takes the mean of the window: that is average pooling.",
        "What does it give for a window 0, 0, 0, 4?",
        "The output is smaller than the maximum; hidden by constant images.",
        (_LARGER, "np.add(y, windows[:, u, v], out=y)"),
        (
            "        self.save_for_backward(windows, y, image.shape)",
            "        y /= 1 + len(rest)\n        self.save_for_backward(windows, y, image.shape)",
        ),
    ),
    _pool(
        "minimum",
        "It takes the minimum of the window.",
        "What does it give for a window 0, 0, 0, 4?",
        "The output is too small; hidden by constant images.",
        (_LARGER, "np.minimum(y, windows[:, u, v], out=y)"),
    ),
    _pool(
        "absolute-maximum",
        "It compares absolute values: a large negative number wins.",
        "Try a window with -5 in it.",
        "Wrong where a negative number has the greatest absolute value; hidden by data after a ReLU.",
        (_LARGER, "np.copyto(y, windows[:, u, v], where=np.abs(windows[:, u, v]) > np.abs(y))"),
    ),
    _pool(
        "starts-at-zero",
        "The search for the maximum begins at 0: a window of negative numbers gives 0.",
        "Try an image of negative numbers.",
        "The output is never negative; hidden by data after a ReLU.",
        ('y = windows[:, *first].copy(order="C")', 'y = np.maximum(windows[:, *first], 0, order="C")'),
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
            _PAD,
            "image = pad(batch_last(x), self.padding, -np.inf)\n"
            "        more = [(0, s - 1) for s in self.stride]\n"
            "        image = np.pad(image, ((0, 0), *more, (0, 0)), constant_values=-np.inf)",
        ),
        (
            "return batch_first(crop(grad_image, self.padding))",
            "h, w = (length - s + 1 for length, s in zip(image_shape[1:3], self.stride, strict=True))\n"
            "        return batch_first(crop(grad_image[:, :h, :w], self.padding))",
        ),
    ),
    _pool(
        "gradient-of-value",
        "The gradient is multiplied by the maximum itself; the slope of the maximum is 1.",
        "What is the slope of max(a, b) in its larger argument?",
        "The gradient grows with the input; hidden by inputs of 1.",
        (_DECIDED, _DECIDED + "                wins = wins * y_piece\n"),
    ),
    _pool(
        "sides-exchanged",
        "The height and the width of the window are exchanged.",
        "Try a window that is not square.",
        "The shape is wrong, or it raises; hidden by square windows.",
        ('"kernel_size", kernel_size, minimum=1)', '"kernel_size", kernel_size, minimum=1)[::-1]'),
    ),
    _pool(
        "cache-kept",
        "What backward needs is saved at the first call only: later calls go backward through the first one.",
        "Call it twice with different inputs.",
        "The second backward is wrong, or raises; hidden by a single call.",
        (
            "        self.save_for_backward(windows, y, image.shape)",
            "        if self._saved is None:\n            self.save_for_backward(windows, y, image.shape)",
        ),
    ),
    _mean(
        "sum-not-mean",
        "The window is added up, forward and backward; it must be divided by its kH·kW elements.",
        "Pool a map of ones: what should come out?",
        "Output and gradient are kH·kW times as large; hidden by a kernel of 1.",
        (_MEAN, "pass"),
        (_SHARE, "g = batch_last(grad_output)"),
    ),
    _mean(
        "gradient-not-divided",
        "Backward hands the whole gradient to every element of the window; each has a share of 1/(kH·kW).",
        "How much gradient goes into a window, and how much comes out?",
        "The output is right, grad_input is kH·kW times as large.",
        (_SHARE, "g = batch_last(grad_output)"),
    ),
    _mean(
        "divided-by-one-side",
        "The sum is divided by the height of the window, not by its kH·kW elements, forward and backward.",
        "Pool a map of ones: what should come out?",
        "Output and gradient are kW times as large; hidden by a kernel one column wide.",
        (_MEAN, "y /= self.kernel_size[0]  # (1)"),
        (_SHARE, "g = batch_last(grad_output) / self.kernel_size[0]"),
    ),
    _mean(
        "padding-not-counted",
        "At the border the sum is divided by the pixels inside the image only; torch counts the zeros of the padding.",
        "Pool a map of ones with padding: what comes out at the border?",
        "Wrong at the border, right inside; hidden without padding. In torch it is count_include_pad=False.",
        (
            _MEAN,
            "inside = pad(np.ones_like(batch_last(x)), self.padding, 0)\n"
            "        counted = sliding_windows(inside, self.kernel_size, self.stride).sum(axis=(1, 2))\n"
            "        y /= counted",
        ),
        (
            "self.save_for_backward(image.shape, y.shape, y.dtype)",
            "self.save_for_backward(image.shape, y.shape, y.dtype)\n        self.counted = counted",
        ),
        (_SHARE, "g = batch_last(grad_output) / self.counted"),
    ),
    _mean(
        "overlaps-overwritten",
        "Where windows overlap, a later one overwrites the gradient of an earlier one (=); they must be added (+=).",
        "Which windows does the pixel in the middle belong to, if the stride is smaller than the kernel?",
        "Wrong where windows overlap; hidden by a stride as large as the kernel.",
        (_COLLECT, "grad_windows[:, u, v] = g  # (2)"),
    ),
    _mean(
        "gradient-to-one",
        "The whole gradient goes to the first element of the window, as if it had been chosen; all share it.",
        "Which elements of the window change the mean when they change a little?",
        "The sum of grad_input is right, the positions are not; hidden by .sum().",
        (
            _COLLECT,
            "if (u, v) == (0, 0):\n                grad_windows[:, u, v] += g * math.prod(self.kernel_size)  # (2)",
        ),
    ),
    _mean(
        "gradient-by-stride",
        "The gradient is divided by the area of the stride; it must be that of the kernel.",
        "Try a stride that is not the kernel's size.",
        "A constant factor where the stride differs from the kernel; hidden by windows side by side.",
        (_SHARE, "g = batch_last(grad_output) / math.prod(self.stride)"),
    ),
    _mean(
        "stride-is-one",
        "Without a stride the windows move by one pixel; they must lie side by side, by kernel_size.",
        "What is the size of the output when only kernel_size is given?",
        "The output is too large where no stride is given; hidden by giving one.",
        (_STRIDE, _STRIDE.replace("kernel_size if stride is None", "1 if stride is None")),
    ),
)
