"""Arrays as pictures in the page: PNG files inside their addresses, one pixel for each number; the browser enlarges."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from compare.pictures import canvas
from scratch import Array


@dataclass(frozen=True)
class Pixels:
    """A picture: its data address, and its size in pixels."""

    address: str
    width: int
    height: int


def grey(values: Array, scale: float = 0.0) -> Pixels:
    """An array (H, W), or tiles (C, H, W), from black (0) to white (`scale`, by default the greatest)."""
    return _painted(np.where(values < 0, 0, values), scale, canvas.GREY)


def signed(values: Array, scale: float = 0.0) -> Pixels:
    """The same in blue (negative) and red (positive); full colour is `scale` and more, by default the greatest size."""
    return _painted(values, scale, canvas.SIGNED)


def _painted(values: Array, scale: float, colours: canvas.Picture) -> Pixels:
    scale = float(scale or canvas.greatest(values))  # NumPy 2.0 clips whole numbers by such of their own kind only
    picture = canvas.paint(np.clip(values, -scale, scale), scale, colours)
    return pixels(picture if values.ndim == 2 else canvas.framed(picture, math.ceil(math.sqrt(len(picture)))))


def pixels(picture: canvas.Picture) -> Pixels:
    """A picture (H, W, 3), as it is."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", optimize=True)
    address = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    return Pixels(address, picture.shape[1], picture.shape[0])
