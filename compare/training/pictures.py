"""Pictures of what both twins learnt: NumPy arrays in, uint8 pixels (height, width, 3) out, by NumPy and Pillow alone.

A picture has a column for each twin, in the same colours for the same numbers, and one for their difference, scratch
minus torch, in colours of its own: what full colour stands for is written at the ends of its colour bar. Where there is
one twin only, there is its column only. Numbers that are not finite are yellow, and counted in the caption.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from scratch import Array

Picture: TypeAlias = npt.NDArray[np.uint8]
Colour: TypeAlias = tuple[int, int, int]
_Line: TypeAlias = tuple[str, Colour]
Sides: TypeAlias = dict[str, Array]  # the float64 numbers of each twin that is there, by its name

PAPER: Colour = (255, 255, 255)
INK: Colour = (32, 33, 36)
FAINT: Colour = (165, 170, 175)
LINE: Colour = (150, 155, 160)
NEUTRAL: Colour = (247, 247, 247)
NOT_FINITE: Colour = (255, 200, 0)
WRONG: Colour = (178, 0, 28)
PARTED: Colour = (230, 97, 0)  # round an image about which the twins disagree

COLUMN, MARGIN = 284, 12  # pixels: three columns and four margins are 900
TALLEST = 420  # pixels: what a grid of tiles should not exceed
LARGEST = 24  # pixels: what one number gets at most, in each direction
CAPTION, LETTERS = 16, 13  # sizes of text
DIFFERENCE = "difference (scratch - torch)"


def _ramp(*stops: Colour) -> Picture:
    """256 colours, from the first of `stops` to the last."""
    places = np.linspace(0, len(stops) - 1, 256)
    channels = [np.interp(places, range(len(stops)), channel) for channel in zip(*stops, strict=True)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


def _table(negative: Picture, positive: Picture) -> Picture:
    """512 colours: entry 255 is zero, 0 is -1, 510 is 1, and 511 is what is not finite."""
    return np.concatenate([negative[:0:-1], positive, np.array([NOT_FINITE], np.uint8)])


# ColorBrewer's RdBu, which the colour-blind can tell apart; and grey, for what is never negative.
SIGNED = _table(_ramp(NEUTRAL, (146, 197, 222), (5, 113, 176)), _ramp(NEUTRAL, (244, 165, 130), (202, 0, 32)))
GREY = _table(_ramp((0, 0, 0), (0, 0, 0)), _ramp((0, 0, 0), (255, 255, 255)))


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
    most_right = _greatest(*(counts[diagonal] for counts in sides.values()))
    most_wrong = _greatest(*(counts[~diagonal] for counts in sides.values()))
    columns = []
    for name, counts in sides.items():
        share = np.where(diagonal, -counts / (most_right or 1), counts / (most_wrong or 1))
        matrix = _matrix(counts, "{:.0f}", _paint(share, 1, SIGNED), classes)
        caption = f"{name}: {np.trace(counts):,.0f} of {counts.sum():,.0f} right"
        columns.append(_Column(caption, matrix, missing=_missing(counts)))
    if len(sides) == 2:
        change = _difference(sides)
        scale = _greatest(change)
        matrix = _matrix(change, "{:+.0f}", _paint(change, scale, SIGNED), classes)
        columns.append(_difference_column(change, scale, matrix))
    return _page(columns)


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


# ---- numbers to colours


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


def _greatest(*arrays: Array) -> float:
    """The greatest absolute value of all finite numbers; 0 where there are none."""
    return max(float(np.abs(values[np.isfinite(values)]).max(initial=0)) for values in arrays)


def _paint(values: Array, scale: float, colours: Picture) -> Picture:
    """A colour for each number, (...,) to (..., 3): `scale` has full colour."""
    finite = np.isfinite(values)
    share = np.where(finite, values, 0) / (scale or 1)
    return colours[np.where(finite, 255 + np.rint(255 * share), 511).astype(np.intp)]


# ---- tiles


def _tiled(sides: Sides, colours: Picture) -> Picture:
    """The page of a (groups, tiles, height, width) array for each twin."""
    scale = _greatest(*sides.values())
    columns = [
        _Column(name, _grid(_paint(values, scale, colours)), colours, scale, _missing(values))
        for name, values in sides.items()
    ]
    if len(sides) == 2:
        change = _difference(sides)
        own_scale = _greatest(change)
        columns.append(_difference_column(change, own_scale, _grid(_paint(change, own_scale, SIGNED))))
    return _page(columns)


def _grid(groups: Picture) -> Picture:
    """Tiles (groups, tiles, height, width, 3), enlarged: the tiles of a group in a row, the groups in a grid."""
    number, tiles, height, width, _ = groups.shape
    across, factor = _arrangement(number, height, tiles * width)
    enlarged = groups.repeat(factor, axis=2).repeat(factor, axis=3)
    if tiles > 1:
        return _framed(np.stack([_framed(group, tiles) for group in enlarged]), across, gap=4)
    return _framed(enlarged[:, 0], across)


@lru_cache
def _arrangement(number: int, height: int, width: int) -> tuple[int, int]:
    """How many groups of `height` x `width` numbers go side by side, and how many pixels each number gets.

    The widest arrangement whose factor is not much smaller than the largest that fits; what fits nowhere is tall.
    """

    def factor(across: int) -> int:
        down = -(-number // across)
        fits = min((COLUMN - across - 1) // (across * width), (TALLEST - down - 1) // (down * height))
        return max(0, min(LARGEST, fits))

    factors = {across: factor(across) for across in range(1, number + 1)}
    largest = max(factors.values())
    if largest == 0:
        return min(number, max(1, COLUMN // (width + 1))), 1
    across = max(across for across, fits in factors.items() if fits >= 0.6 * largest)
    return across, factors[across]


def _framed(tiles: Picture, across: int, gap: int = 1) -> Picture:
    """Tiles (number, height, width, 3) in a grid, `across` in a row, lines of `gap` pixels round each of them."""
    number, height, width, _ = tiles.shape
    down = -(-number // across)
    grid = np.full((down * (height + gap) + gap, across * (width + gap) + gap, 3), PAPER, np.uint8)
    for place, tile in enumerate(tiles):
        top, left = place // across * (height + gap), place % across * (width + gap)
        grid[top : top + height + 2 * gap, left : left + width + 2 * gap] = LINE if gap == 1 else PAPER
        grid[top + gap : top + gap + height, left + gap : left + gap + width] = tile
    return grid


# ---- pages of columns


@dataclass(frozen=True)
class _Column:
    """A caption, what is below it, the colours with what full colour stands for, and how many numbers are missing."""

    caption: str
    body: Picture
    colours: Picture | None = None
    scale: float = 0.0
    missing: int = 0


def _difference_column(change: Array, scale: float, body: Picture) -> _Column:
    """The column of a difference, which only says that there is none where all numbers are there and zero."""
    missing = _missing(change)
    caption = DIFFERENCE if scale or missing else "no difference"
    return _Column(caption, body, SIGNED if scale else None, scale, missing)


def _page(columns: Sequence[_Column]) -> Picture:
    """The columns side by side, all bodies starting at the same height."""
    top = MARGIN + 24 * (1 + any(column.colours is not None for column in columns))
    widths = [max(COLUMN, column.body.shape[1], _header_width(column)) for column in columns]
    height = top + max(column.body.shape[0] for column in columns) + MARGIN
    page = Image.new("RGB", (sum(widths) + MARGIN * (len(widths) + 1), height), PAPER)
    draw, left = ImageDraw.Draw(page), MARGIN
    for column, width in zip(columns, widths, strict=True):
        _header(page, draw, column, left)
        page.paste(Image.fromarray(column.body), (left, top))
        left += width + MARGIN
    return np.array(page)


def _missing_text(column: _Column) -> str:
    return f"{column.missing:,} not finite"


def _header_width(column: _Column) -> int:
    """The pixels that the caption takes."""
    missing = 26 + _width(_missing_text(column)) if column.missing else 0
    return _width(column.caption, CAPTION) + missing


def _header(page: Image.Image, draw: ImageDraw.ImageDraw, column: _Column, left: int) -> None:
    """Write the caption, with the number of missing values, and the colour bar below it."""
    middle = MARGIN + 8
    _write(draw, left, middle, column.caption, size=CAPTION)
    if column.missing:
        edge = left + _width(column.caption, CAPTION) + 10
        draw.rectangle((edge, middle - 5, edge + 10, middle + 5), NOT_FINITE)
        _write(draw, edge + 16, middle, _missing_text(column))
    if column.colours is not None:
        _bar(page, draw, column.colours, column.scale, left, middle + 22)


def _bar(page: Image.Image, draw: ImageDraw.ImageDraw, colours: Picture, scale: float, left: int, middle: int) -> None:
    """A strip of the colours between the numbers that its ends stand for."""
    signed, number = colours is SIGNED, f"{scale:.2g}"
    low, high = (f"-{number}", f"+{number}") if signed else ("0", number)
    strip = colours[0:511:5] if signed else colours[255:511:3]
    edge = left + _width(low) + 7
    _write(draw, left, middle, low)
    page.paste(Image.fromarray(np.repeat(strip[None], 10, axis=0)), (edge, middle - 5))
    draw.rectangle((edge - 1, middle - 6, edge + len(strip), middle + 5), outline=LINE)
    _write(draw, edge + len(strip) + 7, middle, high)


# ---- text


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, which takes longer to load than to use."""
    return ImageFont.load_default(size)


@lru_cache(maxsize=4096)  # Pillow takes longer to draw letters than to copy them
def _letters(text: str, size: int) -> Image.Image:
    """The coverage of each pixel by a line of text, its middle in the middle."""
    font = _font(size)
    mask = Image.new("L", (max(1, math.ceil(ImageDraw.Draw(Image.new("L", (1, 1))).textlength(text, font))), 2 * size))
    ImageDraw.Draw(mask).text((0, size), text, 255, font, anchor="lm")
    return mask


def _width(text: str, size: int = LETTERS) -> int:
    """The pixels that a line of text takes."""
    return _letters(text, size).width


def _write(
    draw: ImageDraw.ImageDraw,
    x: int,
    middle: int,
    text: str,
    colour: Colour = INK,
    size: int = LETTERS,
    before: float = 0,
) -> None:
    """Write a line of text at `x`, with the share `before` of it on the left of that."""
    letters = _letters(text, size)
    draw.bitmap((x - round(before * letters.width), middle - size), letters, colour)


# ---- confusion matrices


def _matrix(values: Array, form: str, colours: Picture, classes: Sequence[str]) -> Picture:
    """A table (K, K) of cells with these colours and numbers; the short names of the classes at its edges."""
    names = [name[:4] for name in classes]
    texts = [[form.format(value) if value else "0" for value in row] for row in values.tolist()]
    width, height = 5 + max(17, *map(_width, names), *(_width(text) for row in texts for text in row)), 24
    edge, head = 8 + max(map(_width, [*names, "true"])), 2 * height
    cells = colours.reshape(-1, 1, 1, 3).repeat(height - 1, axis=1).repeat(width - 1, axis=2)
    grid = _framed(cells, len(names))
    table = Image.new("RGB", (edge + grid.shape[1], head + grid.shape[0]), PAPER)
    table.paste(Image.fromarray(grid), (edge, head))
    draw = ImageDraw.Draw(table)
    _write(draw, edge + grid.shape[1] // 2, height // 2, "answer", before=0.5)
    _write(draw, edge - 6, head - height // 2, "true", before=1)
    for row, (name, line) in enumerate(zip(names, texts, strict=True)):
        middle = head + height * row + height // 2
        _write(draw, edge + width * row + width // 2, head - height // 2, name, before=0.5)
        _write(draw, edge - 6, middle, name, before=1)
        for column, text in enumerate(line):
            colour = FAINT if text == "0" else _readable(*colours[row, column].tolist())
            _write(draw, edge + width * column + width // 2, middle, text, colour, before=0.5)
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
    tiles = _paint(images - low, _greatest(images - low), GREY)
    factor = max(1, 84 // max(tiles.shape[1:3]))
    tiles = tiles.repeat(factor, axis=1).repeat(factor, axis=2)
    height, width = max(tiles.shape[1], 72) + 12, tiles.shape[2] + 20
    width += max([190 - tiles.shape[2], *(_width(text) for lines in texts for text, _ in lines)])
    across, down = min(4, len(tiles)), -(-len(tiles) // 4)
    size = (max((width + MARGIN) * across, MARGIN + _width(caption, CAPTION)) + MARGIN, 44 + (height + 8) * down)
    page = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(page)
    _write(draw, MARGIN, MARGIN + 8, caption, size=CAPTION)
    for place, (tile, lines) in enumerate(zip(tiles, texts, strict=True)):
        left, top = MARGIN + place % 4 * (width + MARGIN), 40 + place // 4 * (height + 8)
        if framed[place]:
            draw.rectangle((left, top, left + width - 1, top + height - 1), outline=PARTED, width=3)
        page.paste(Image.fromarray(tile), (left + 6, top + 6))
        for number, (text, colour) in enumerate(lines):
            _write(draw, left + tile.shape[1] + 14, top + 18 + 24 * number, text, colour)
    return np.array(page)
