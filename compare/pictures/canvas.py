"""How numbers become pixels: colours, tiles, columns with their colour bars, and text, by NumPy and Pillow alone.

Pixels are uint8 (height, width, 3). Numbers that are not finite are yellow, and a column counts them in its caption.
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


# ---- numbers to colours


def greatest(*arrays: Array) -> float:
    """The greatest absolute value of all finite numbers; 0 where there are none."""
    return max(float(np.abs(values[np.isfinite(values)]).max(initial=0)) for values in arrays)


def paint(values: Array, scale: float, colours: Picture) -> Picture:
    """A colour for each number, (...,) to (..., 3): `scale` has full colour."""
    finite = np.isfinite(values)
    share = np.where(finite, values, 0) / (scale or 1)
    return colours[np.where(finite, 255 + np.rint(255 * share), 511).astype(np.intp)]


# ---- tiles


def grid(groups: Picture) -> Picture:
    """Tiles (groups, tiles, height, width, 3), enlarged: the tiles of a group in a row, the groups in a grid."""
    number, tiles, height, width, _ = groups.shape
    across, factor = _arrangement(number, height, tiles * width)
    enlarged = groups.repeat(factor, axis=2).repeat(factor, axis=3)
    if tiles > 1:
        return framed(np.stack([framed(group, tiles) for group in enlarged]), across, gap=4)
    return framed(enlarged[:, 0], across)


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


def framed(tiles: Picture, across: int, gap: int = 1) -> Picture:
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
class Column:
    """A caption, what is below it, the colours with what full colour stands for, and how many numbers are missing."""

    caption: str
    body: Picture
    colours: Picture | None = None
    scale: float = 0.0
    missing: int = 0


def page(columns: Sequence[Column]) -> Picture:
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


def _missing_text(column: Column) -> str:
    return f"{column.missing:,} not finite"


def _header_width(column: Column) -> int:
    """The pixels that the caption takes."""
    missing = 26 + width(_missing_text(column)) if column.missing else 0
    return width(column.caption, CAPTION) + missing


def _header(page: Image.Image, draw: ImageDraw.ImageDraw, column: Column, left: int) -> None:
    """Write the caption, with the number of missing values, and the colour bar below it."""
    middle = MARGIN + 8
    write(draw, left, middle, column.caption, size=CAPTION)
    if column.missing:
        edge = left + width(column.caption, CAPTION) + 10
        draw.rectangle((edge, middle - 5, edge + 10, middle + 5), NOT_FINITE)
        write(draw, edge + 16, middle, _missing_text(column))
    if column.colours is not None:
        _bar(page, draw, column.colours, column.scale, left, middle + 22)


def _bar(page: Image.Image, draw: ImageDraw.ImageDraw, colours: Picture, scale: float, left: int, middle: int) -> None:
    """A strip of the colours between the numbers that its ends stand for."""
    signed, number = colours is SIGNED, f"{scale:.2g}"
    low, high = (f"-{number}", f"+{number}") if signed else ("0", number)
    strip = colours[0:511:5] if signed else colours[255:511:3]
    edge = left + width(low) + 7
    write(draw, left, middle, low)
    page.paste(Image.fromarray(np.repeat(strip[None], 10, axis=0)), (edge, middle - 5))
    draw.rectangle((edge - 1, middle - 6, edge + len(strip), middle + 5), outline=LINE)
    write(draw, edge + len(strip) + 7, middle, high)


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


def width(text: str, size: int = LETTERS) -> int:
    """The pixels that a line of text takes."""
    return _letters(text, size).width


def write(
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
