"""The rows as a picture: scratch/torch against the batch size, one panel for each number of threads.

Both axes are logarithmic: twice as fast and half as fast are equally far from the heavy line at 1.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from compare.bench.cells import ModelRow, plural
from compare.pictures import canvas
from compare.pictures.canvas import INK, LINE, PAPER, Colour, Picture

WIDTH, HEIGHT = 900, 460  # pixels of one panel
LEFT, RIGHT, TOP, BOTTOM = 70, 170, 50, 60  # around the axes; the legend is on the right
FINE = 3  # lines are drawn so many times as large, then reduced: else they have steps
GRID: Colour = (225, 227, 230)
# Okabe and Ito's colours, which the colour-blind can tell apart: one for each model.
COLOURS: tuple[Colour, ...] = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167))
# The numbers on the axis of ratios, from few to many: the last that are not too many are taken.
DIGITS = ((1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.1, 1.2, 1.3, 1.5, 1.75, 2, 2.5, 3, 4, 5, 6, 7, 8, 9))
MOST_TICKS = 10
Point = tuple[float, float]


def chart_png(rows: Sequence[ModelRow]) -> bytes:
    """The picture as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(chart(rows)).save(file, "PNG")
    return file.getvalue()


def chart(rows: Sequence[ModelRow]) -> Picture:
    """One panel for each number of threads, one below the other."""
    threads = list(dict.fromkeys(row.cell.threads for row in rows))
    return np.concatenate([_panel([row for row in rows if row.cell.threads == number], number) for number in threads])


def _panel(rows: Sequence[ModelRow], threads: int) -> Picture:
    batches, ratios = sorted({row.cell.batch for row in rows}), [row.ratio for row in rows]
    low, high = min(0.8, 0.93 * min(ratios)), max(1.25, 1.07 * max(ratios))
    curves = _curves(rows)

    def place(batch: float, ratio: float) -> Point:
        across, up = _share(batch, batches[0], batches[-1]), _share(ratio, low, high)
        return LEFT + 20 + across * (WIDTH - LEFT - RIGHT - 40), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    ticks = _ticks(low, high)
    page = _lines(curves, batches, ticks, place)
    draw = ImageDraw.Draw(page)
    title = f"speed of scratch / speed of torch, {plural(threads, 'thread')}: above 1, scratch is faster"
    canvas.write(draw, LEFT, TOP // 2, title, size=canvas.CAPTION)
    for tick in ticks:
        canvas.write(draw, LEFT - 8, round(place(batches[0], tick)[1]), f"{tick:g}", before=1)
    free = 0.0  # to the right of the last label
    for batch in batches:
        across, half = place(batch, low)[0], canvas.width(str(batch)) / 2
        if across - half > free:
            canvas.write(draw, round(across), HEIGHT - BOTTOM + 16, str(batch), before=0.5)
            free = across + half + 4
    canvas.write(draw, (LEFT + WIDTH - RIGHT) // 2, HEIGHT - BOTTOM + 40, "images in a batch", before=0.5)
    for number, (name, colour, dashed, _) in enumerate(curves):
        middle = TOP + 10 + 24 * number
        for start, end in _dashes((WIDTH - RIGHT + 14, middle), (WIDTH - RIGHT + 44, middle), dashed):
            draw.line((*start, *end), colour, 2)
        canvas.write(draw, WIDTH - RIGHT + 52, middle, name)
    return np.array(page)


def _curves(rows: Sequence[ModelRow]) -> list[tuple[str, Colour, bool, list[Point]]]:
    """Each model and mode: name, colour, whether dashed, and the points (batch size, ratio) from left to right."""
    models = list(dict.fromkeys(row.cell.model for row in rows))
    curves: dict[tuple[str, str], list[Point]] = {}
    for row in rows:
        curves.setdefault((row.cell.model, row.cell.mode), []).append((row.cell.batch, row.ratio))
    return [
        (f"{model}, {mode}", COLOURS[models.index(model) % len(COLOURS)], mode == "inference", sorted(points))
        for (model, mode), points in curves.items()
    ]


def _lines(
    curves: list[tuple[str, Colour, bool, list[Point]]],
    batches: list[int],
    ticks: list[float],
    place: Callable[[float, float], Point],
) -> Image.Image:
    """Everything that is not text."""
    page = Image.new("RGB", (FINE * WIDTH, FINE * HEIGHT), PAPER)
    draw = ImageDraw.Draw(page)

    def line(start: Point, end: Point, colour: Colour, width: float) -> None:
        draw.line([FINE * value for value in (*start, *end)], colour, round(FINE * width))

    left, right, bottom = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM
    for tick in ticks:
        height = place(batches[0], tick)[1]
        line((left, height), (right, height), *((INK, 2.5) if tick == 1 else (GRID, 1)))
    for batch in batches:
        across = place(batch, 1)[0]
        line((across, bottom), (across, bottom + 5), LINE, 1)
    line((left, bottom), (right, bottom), LINE, 1)
    line((left, TOP), (left, bottom), LINE, 1)
    for _, colour, dashed, points in curves:
        places = [place(*point) for point in points]
        for start, end in pairwise(places):
            for piece in _dashes(start, end, dashed):
                line(*piece, colour, 2)
        for x, y in places:
            draw.ellipse(
                [FINE * value for value in (x - 4, y - 4, x + 4, y + 4)], PAPER if dashed else colour, colour, 5
            )
    return page.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def _ticks(low: float, high: float) -> list[float]:
    """The numbers from `low` to `high` that stand on the axis; 1 is always one of them."""
    choices = []
    for digits in DIGITS:
        ticks = [round(digit * 10.0**power, 9) for power in range(-6, 7) for digit in digits]
        choices.append([tick for tick in ticks if low <= tick <= high])
    return next((ticks for ticks in reversed(choices) if len(ticks) <= MOST_TICKS), choices[0])


def _dashes(start: Point, end: Point, dashed: bool) -> list[tuple[Point, Point]]:
    """The line from `start` to `end`, whole or in dashes of 7 pixels."""
    pieces = max(1, round(math.dist(start, end) / 7)) if dashed else 1
    places = [(start[0] + (end[0] - start[0]) * i / pieces, start[1] + (end[1] - start[1]) * i / pieces)
              for i in range(pieces + 1)]  # fmt: skip
    return list(pairwise(places))[::2]


def _share(value: float, low: float, high: float) -> float:
    """Where `value` is between `low` (0) and `high` (1), by its logarithm; in the middle where those are equal."""
    return math.log(value / low) / math.log(high / low) if high > low else 0.5
