"""Curves as SVG: lines and text that take the page's colours, light or dark, on paper too."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 640, 280
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 12, 40
POINTS = 300  # of a curve: more than a screen can show


@dataclass(frozen=True)
class Series:
    """One curve: its name, its points, and its style in the page: "own", "twin" or "yardstick"."""

    name: str
    style: str
    x: Sequence[float]
    y: Sequence[float]


def lines(series: Sequence[Series], title: str, x_label: str, *, logarithmic: bool = False) -> Markup:
    """Curves in one pair of axes, with a legend; `logarithmic` leaves out what is not above 0.

    Raises:
        ValueError: if there is no point to show.
    """
    kept = [_thinned(s, logarithmic) for s in series]
    xs, ys = [x for s in kept for x in s.x], [y for s in kept for y in s.y]
    if not xs:
        raise ValueError(f"{title}: there is no point to show")
    ticks = powers(min(ys), max(ys)) if logarithmic else round_numbers(min(0.0, *ys), max(ys))
    scale: Callable[[float], float] = math.log10 if logarithmic else float
    low, high = scale(min(ticks[0], *ys)), scale(max(ticks[-1], *ys))
    first, last = min(xs), max(xs)

    def across(x: float) -> float:
        return LEFT + (x - first) / ((last - first) or 1) * (WIDTH - LEFT - RIGHT)

    def down(y: float) -> float:
        return HEIGHT - BOTTOM - (scale(y) - low) / ((high - low) or 1) * (HEIGHT - TOP - BOTTOM)

    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{down(t):.1f}" y2="{down(t):.1f}"/>' for t in ticks]
    parts += [_text(LEFT - 6, down(t) + 4, _number(t, logarithmic), "end") for t in ticks]
    parts += [_text(across(t), bottom + 16, f"{t:,.0f}", "middle") for t in round_numbers(first, last)]
    parts += [_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_label, "middle")]
    for s in kept:
        points = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in zip(s.x, s.y, strict=True))
        parts.append(f'<polyline class="curve {s.style}" points="{points}"/>')
    legend = " ".join(f'<span class="key {s.style}">{escape(s.name)}</span>' for s in kept)
    return Markup(
        f'<figure class="chart"><figcaption>{escape(title)} <span class="legend">{legend}</span></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(_described(kept, title))}">'
        f"{''.join(parts)}</svg></figure>"
    )


def round_numbers(low: float, high: float, about: int = 5) -> list[float]:
    """The round numbers from `low` to `high`, about so many.

    >>> round_numbers(0, 2.3)
    [0.0, 0.5, 1.0, 1.5, 2.0]
    """
    span = (high - low) or 1.0
    unit = 10 ** math.floor(math.log10(span / about))
    step = next(unit * m for m in (1, 2, 5, 10) if span / (unit * m) <= about)
    return [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def powers(low: float, high: float) -> list[float]:
    """The powers of ten around what lies between `low` and `high`.

    >>> powers(3e-4, 0.2)
    [0.0001, 0.001, 0.01, 0.1, 1.0]
    """
    return [10.0**n for n in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]


def _thinned(series: Series, logarithmic: bool) -> Series:
    points = [(x, y) for x, y in zip(series.x, series.y, strict=True) if y > 0 or not logarithmic]
    size = -(-len(points) // POINTS) or 1
    # Of each group its first point, or on a logarithmic axis its highest: a jump must not get lost. And the last one.
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    kept = [max(group, key=lambda point: point[1]) if logarithmic else group[0] for group in groups]
    kept += points[-1:] if kept and kept[-1] != points[-1] else []
    return Series(series.name, series.style, [x for x, _ in kept], [y for _, y in kept])


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _number(value: float, logarithmic: bool) -> str:
    if not logarithmic:
        return f"{value:g}"
    digits = str(round(math.log10(value))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{digits}"


def _described(series: Sequence[Series], title: str) -> str:
    ends = "; ".join(f"{s.name} from {s.y[0]:.3g} to {s.y[-1]:.3g}" for s in series if s.y)
    return f"{title}: {ends}"


def bars(groups: Sequence[tuple[str, int]], title: str) -> Markup:
    """One bar for each group, with its count; the heights are logarithmic, so that single ones can be seen."""
    most = math.log10(max(count for _, count in groups) + 1)
    width = (WIDTH - LEFT - RIGHT) / len(groups)
    parts = []
    for place, (name, count) in enumerate(groups):
        height = math.log10(count + 1) / most * (HEIGHT - TOP - BOTTOM - 16)
        x, y = LEFT + place * width, HEIGHT - BOTTOM - height
        parts.append(f'<rect class="bar" x="{x + 2:.1f}" y="{y:.1f}" width="{width - 4:.1f}" height="{height:.1f}"/>')
        if count:
            parts.append(_text(x + width / 2, y - 4, f"{count:,}", "middle"))
        if place % 4 == 0:
            parts.append(_text(x + width / 2, HEIGHT - BOTTOM + 16, name, "middle"))
    words = ", ".join(f"{name}: {count:,}" for name, count in groups if count)
    return Markup(
        f'<figure class="chart"><figcaption>{escape(title)} (logarithmic heights)</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}: {escape(words)}">'
        f"{''.join(parts)}</svg></figure>"
    )
