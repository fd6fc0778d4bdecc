"""Pictures of what both twins learnt: NumPy arrays in, uint8 pixels (height, width, 3) out.

A picture has a column for each twin, in the same colours for the same numbers, and one for their difference, scratch
minus torch, in colours of its own: what full colour stands for is written at the ends of its colour bar. Where there is
one twin only, there is its column only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from compare.pictures import canvas
from compare.pictures.canvas import CAPTION, FAINT, GREY, INK, MARGIN, PAPER, PARTED, SIGNED, WRONG, Colour, Picture
from scratch import Array

_Line: TypeAlias = tuple[str, Colour]
Sides: TypeAlias = dict[str, Array]  # the float64 numbers of each twin that is there, by its name

DIFFERENCE = "difference (scratch - torch)"


def filters(own: Array | None, twin: Array | None) -> Picture:
    """The weights of a convolution, the C_in tiles of each filter side by side.

    Shapes: own, twin (C_out, C_in, kH, kW), either of them may be None.

    Raises:
        ValueError: for another number of axes, shapes that differ, no numbers, or neither twin.
    """
    return _tiled(_sides(own, twin, axes=(4,)), SIGNED)


def feature_maps(own: Array | None, twin: Array | None) -> Picture:
    """What a layer makes of one image, a tile for each channel; in grey where neither twin has a negative number.

    Shapes: own, twin (C, H, W), or (K,) where there are no maps, either of them may be None.

    Raises:
        ValueError: for another number of axes, shapes that differ, no numbers, or neither twin.
    """
    sides = _sides(own, twin, axes=(1, 3))
    signed = any((values < 0).any() for values in sides.values())
    maps = {name: values.reshape(len(values), 1, *(values.shape[1:] or (1, 1))) for name, values in sides.items()}
    return _tiled(maps, SIGNED if signed else GREY)


def confusion(own: Array | None, twin: Array | None, classes: Sequence[str]) -> Picture:
    """How often images of a class got which answer: the right ones in blue, mistakes in red on a scale of their own.

    Shapes: own, twin (K, K), counts, a row for each true class, either of them may be None; `classes` are the K names.

    Raises:
        ValueError: for shapes that differ or do not fit `classes`, for what are no counts, or neither twin.
    """
    sides = _sides(own, twin, axes=(2,))
    for counts in sides.values():
        if counts.shape != (len(classes), len(classes)):
            raise ValueError(
                f"{len(classes)} classes need counts of shape ({len(classes)}, {len(classes)}), not {counts.shape}"
            )
        if (counts < 0).any() or (np.isfinite(counts) & (counts != np.rint(counts))).any():
            raise ValueError("counts must be whole numbers, none of them negative")
    diagonal = np.eye(len(classes), dtype=bool)
    most_right = canvas.greatest(*(counts[diagonal] for counts in sides.values()))
    most_wrong = canvas.greatest(*(counts[~diagonal] for counts in sides.values()))
    columns = []
    for name, counts in sides.items():
        share = np.where(diagonal, -counts / (most_right or 1), counts / (most_wrong or 1))
        matrix = _matrix(counts, "{:.0f}", canvas.paint(share, 1, SIGNED), classes)
        caption = f"{name}: {np.trace(counts):,.0f} of {counts.sum():,.0f} right"
        columns.append(canvas.Column(caption, matrix, missing=_missing(counts)))
    if len(sides) == 2:
        change = _difference(sides)
        scale = canvas.greatest(change)
        matrix = _matrix(change, "{:+.0f}", canvas.paint(change, scale, SIGNED), classes)
        columns.append(_difference_column(change, scale, matrix))
    return canvas.page(columns)


def wrong_digits(
    images: Array,
    labels: Array,
    own_probabilities: Array | None,
    twin_probabilities: Array | None,
    classes: Sequence[str],
    count: int = 16,
) -> Picture:
    """The `count` images that are answered wrongly with most confidence by either twin, the worst first.

    Each has its true class beside it, and the answers with their probabilities; where the twins answer differently it
    is framed. Probabilities that are not finite are no answer: wrong, but with no confidence at all.

    Shapes: images (N, H, W) or (N, 1, H, W), labels (N,), probabilities (N, K), either of them may be None; `classes`
    are the K names.

    Raises:
        ValueError: for shapes that do not fit one another, labels that are no classes, what are no probabilities, a
            count below 1, or neither twin.
    """
    labels = np.asarray(labels)
    sides = _sides(own_probabilities, twin_probabilities, axes=(2,), what="_probabilities", empty=True)
    _check_digits(images, labels, sides, classes, count)
    answers = {name: _Answers.of(probabilities) for name, probabilities in sides.items()}
    said = np.stack([answer.classes for answer in answers.values()])  # (twins, N)
    wrong: Array = np.not_equal(said, labels)
    confidence = np.where(wrong, np.stack([answer.confidence for answer in answers.values()]), -1).max(axis=0)
    mistaken = np.flatnonzero(wrong.any(axis=0))
    worst = mistaken[np.argsort(-confidence[mistaken], kind="stable")][:count]
    parted = np.any(said[:, worst] != said[0, worst], axis=0)
    texts = [
        [(f"true {classes[labels[n]][:8]}", INK), *(a.line(name, n, labels[n], classes) for name, a in answers.items())]
        for n in worst.tolist()
    ]
    pixels = np.asarray(images)[worst].astype(np.float64).reshape(len(worst), *np.shape(images)[-2:])
    return _album(_digits_caption(sides, len(labels), len(mistaken), parted), pixels, texts, parted)


# ---- the twins and their difference


def _sides(own: Array | None, twin: Array | None, axes: tuple[int, ...], what: str = "", empty: bool = False) -> Sides:
    """The arguments that are there, checked; the names in errors are own and twin, with `what` added."""
    given = {"own": own, "twin": twin}
    arrays = {name + what: np.asarray(array) for name, array in given.items() if array is not None}
    if not arrays:
        raise ValueError(f"own{what} and twin{what} are both None: there is nothing to show")
    for name, array in arrays.items():
        if array.ndim not in axes or array.dtype.kind not in "biuf" or not (array.size or empty):
            wanted = " or ".join(map(str, axes))
            raise ValueError(
                f"{name} must hold real numbers on {wanted} axes, not {array.dtype} of shape {array.shape}"
            )
    if len({array.shape for array in arrays.values()}) > 1:
        shapes = " and ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"{shapes} must have the same shape")
    names = {"own" + what: "scratch", "twin" + what: "torch"}
    return {names[name]: array.astype(np.float64) for name, array in arrays.items()}


def _difference(sides: Sides) -> Array:
    """Scratch minus torch; not finite where either is not, even where both are infinite."""
    with np.errstate(invalid="ignore", over="ignore"):
        return sides["scratch"] - sides["torch"]


def _missing(values: Array) -> int:
    return int(values.size - np.isfinite(values).sum())


def _tiled(sides: Sides, colours: Picture) -> Picture:
    """The page of a (groups, tiles, height, width) array for each twin."""
    scale = canvas.greatest(*sides.values())
    columns = [
        canvas.Column(name, canvas.grid(canvas.paint(values, scale, colours)), colours, scale, _missing(values))
        for name, values in sides.items()
    ]
    if len(sides) == 2:
        change = _difference(sides)
        own_scale = canvas.greatest(change)
        columns.append(_difference_column(change, own_scale, canvas.grid(canvas.paint(change, own_scale, SIGNED))))
    return canvas.page(columns)


def _difference_column(change: Array, scale: float, body: Picture) -> canvas.Column:
    """The column of a difference, which only says that there is none where all numbers are there and zero."""
    missing = _missing(change)
    caption = DIFFERENCE if scale or missing else "no difference"
    return canvas.Column(caption, body, SIGNED if scale else None, scale, missing)


# ---- confusion matrices


def _matrix(values: Array, form: str, colours: Picture, classes: Sequence[str]) -> Picture:
    """A table (K, K) of cells with these colours and numbers; the short names of the classes at its edges."""
    names = [name[:4] for name in classes]
    texts = [[form.format(value) if value else "0" for value in row] for row in values.tolist()]
    width, height = 5 + max(17, *map(canvas.width, names), *(canvas.width(text) for row in texts for text in row)), 24
    edge, head = 8 + max(map(canvas.width, [*names, "true"])), 2 * height
    cells = colours.reshape(-1, 1, 1, 3).repeat(height - 1, axis=1).repeat(width - 1, axis=2)
    grid = canvas.framed(cells, len(names))
    table = Image.new("RGB", (edge + grid.shape[1], head + grid.shape[0]), PAPER)
    table.paste(Image.fromarray(grid), (edge, head))
    draw = ImageDraw.Draw(table)
    canvas.write(draw, edge + grid.shape[1] // 2, height // 2, "answer", before=0.5)
    canvas.write(draw, edge - 6, head - height // 2, "true", before=1)
    for row, (name, line) in enumerate(zip(names, texts, strict=True)):
        middle = head + height * row + height // 2
        canvas.write(draw, edge + width * row + width // 2, head - height // 2, name, before=0.5)
        canvas.write(draw, edge - 6, middle, name, before=1)
        for column, text in enumerate(line):
            colour = FAINT if text == "0" else _readable(*colours[row, column].tolist())
            canvas.write(draw, edge + width * column + width // 2, middle, text, colour, before=0.5)
    return np.array(table)


def _readable(red: int, green: int, blue: int) -> Colour:
    """The colour of letters on this one: dark on light, light on dark (by its luma, ITU-R BT.601)."""
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else PAPER


# ---- wrong answers


@dataclass(frozen=True)
class _Answers:
    """What one twin says of every image: a class (-1: no answer) and the probability that it gives it."""

    classes: Array
    confidence: Array

    @classmethod
    def of(cls, probabilities: Array) -> _Answers:
        """The greatest of each row (N, K); a row that is not all finite is no answer, of confidence 0."""
        answered: Array = np.logical_and.reduce(np.isfinite(probabilities), axis=1)
        known = np.where(answered[:, None], probabilities, 0)
        return cls(np.where(answered, known.argmax(axis=1), -1), known.max(axis=1))

    def line(self, name: str, image: int, label: int, classes: Sequence[str]) -> _Line:
        """The answer to one image in words, in red where it is wrong."""
        said = int(self.classes[image])
        if said < 0:
            return f"{name}: not finite", WRONG
        return f"{name} {classes[said][:8]} {self.confidence[image]:.1%}", INK if said == label else WRONG


def _check_digits(images: Array, labels: Array, sides: Sides, classes: Sequence[str], count: int) -> None:
    """Raise ValueError where the arguments of `wrong_digits` do not fit one another."""
    shape = np.shape(images)
    if (len(shape) != 3 and not (len(shape) == 4 and shape[1] == 1)) or 0 in shape[1:]:
        raise ValueError(f"images must have the shape (N, H, W) or (N, 1, H, W), not {shape}")
    if labels.shape != shape[:1]:
        raise ValueError(f"images {shape} need labels of shape ({shape[0]},), not {labels.shape}")
    if labels.dtype.kind not in "iu" or ((labels < 0) | (labels >= len(classes))).any():
        raise ValueError(
            f"labels must be whole numbers from 0 to {len(classes) - 1}, one of the {len(classes)} classes"
        )
    for probabilities in sides.values():
        if probabilities.shape != (shape[0], len(classes)):
            wanted = f"{shape[0]} images of {len(classes)} classes need probabilities"
            raise ValueError(f"{wanted} of shape ({shape[0]}, {len(classes)}), not {probabilities.shape}")
        finite = probabilities[np.isfinite(probabilities)]
        if ((finite < 0) | (finite > 1 + 1e-6)).any():  # a softmax may round up
            raise ValueError("probabilities must lie between 0 and 1: are these scores?")
    if count < 1:
        raise ValueError(f"count={count} must be at least 1")


def _digits_caption(sides: Sides, number: int, mistaken: int, parted: Array) -> str:
    """What the picture shows, in one line."""
    who = "by either twin" if len(sides) == 2 else f"by {next(iter(sides))}"
    shown = "" if len(parted) == mistaken else f"; the {len(parted)} with most confidence"
    framed = "; framed: the twins differ" if parted.any() else ""
    return f"answered wrongly {who}: {f'{mistaken:,}' if mistaken else 'none'} of {number:,} images{shown}{framed}"


def _album(caption: str, images: Array, texts: list[list[_Line]], framed: Array) -> Picture:
    """Images (n, H, W), each with its lines of text on the right, four in a row below the caption."""
    low = min(0.0, float(images[np.isfinite(images)].min(initial=0)))
    tiles = canvas.paint(images - low, canvas.greatest(images - low), GREY)
    factor = max(1, 84 // max(tiles.shape[1:3]))
    tiles = tiles.repeat(factor, axis=1).repeat(factor, axis=2)
    height, width = max(tiles.shape[1], 72) + 12, tiles.shape[2] + 20
    width += max([190 - tiles.shape[2], *(canvas.width(text) for lines in texts for text, _ in lines)])
    across, down = min(4, len(tiles)), -(-len(tiles) // 4)
    size = (max((width + MARGIN) * across, MARGIN + canvas.width(caption, CAPTION)) + MARGIN, 44 + (height + 8) * down)
    page = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(page)
    canvas.write(draw, MARGIN, MARGIN + 8, caption, size=CAPTION)
    for place, (tile, lines) in enumerate(zip(tiles, texts, strict=True)):
        left, top = MARGIN + place % 4 * (width + MARGIN), 40 + place // 4 * (height + 8)
        if framed[place]:
            draw.rectangle((left, top, left + width - 1, top + height - 1), outline=PARTED, width=3)
        page.paste(Image.fromarray(tile), (left + 6, top + 6))
        for number, (text, colour) in enumerate(lines):
            canvas.write(draw, left + tile.shape[1] + 14, top + 18 + 24 * number, text, colour)
    return np.array(page)
