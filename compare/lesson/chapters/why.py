"""Why convolutions: how many weights, which pixels one number sees, and what a shift of the picture does to it.

All of it is counted or measured on the layers themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

import scratch
import torch_ref
from compare.lesson.not_as_shown import NotAsShown
from scratch import Array

SIDE, CHANNELS = 224, 3  # of a picture in the usual size
UNITS, KERNEL = 64, 3  # a first layer of so many neurons, or so many kernels
SHIFT = 3  # pixels


@dataclass(frozen=True)
class Count:
    """How many numbers a layer has learnt when it is done."""

    name: str
    call: str
    sum: str
    parameters: int


@dataclass(frozen=True)
class Field:
    """Which pixels can change the number in the middle of a layer's first map: a mask (H, W), and its sides."""

    layer: str
    mask: Array
    height: int
    width: int


@dataclass(frozen=True)
class Shifted:
    """What a shift of the picture does to a map, and to the outputs of a dense layer.

    Attributes:
        image, moved: (H, W), from 0 to 1.
        map, moved_map: the first filter's maps of both.
        difference: the greatest |map shifted - map of the shifted|, where no window reaches the border.
        dense: the share of a dense layer's outputs that changed by more than a tenth of the greatest.
    """

    image: Array
    moved: Array
    map: Array
    moved_map: Array
    difference: float
    dense: float


def counts(side: int = SIDE, channels: int = CHANNELS, units: int = UNITS, kernel: int = KERNEL) -> list[Count]:
    """The parameters of a dense layer and of a convolution on a picture, counted in both libraries.

    Raises:
        NotAsShown: if they have other numbers of them.
    """
    inputs = channels * side * side
    # On torch's device "meta" a layer has shapes but no memory; ours is made as it is.
    pairs: list[tuple[str, str, str, scratch.Module, nn.Module]] = [
        (
            "dense",
            f"Linear({inputs}, {units})",
            f"{side}·{side}·{channels}·{units} + {units}",
            scratch.Linear(inputs, units),
            nn.Linear(inputs, units, device="meta"),
        ),
        (
            "convolution",
            f"Conv2d({channels}, {units}, {kernel})",
            f"{channels}·{kernel}·{kernel}·{units} + {units}",
            scratch.Conv2d(channels, units, kernel),
            nn.Conv2d(channels, units, kernel, device="meta"),
        ),
    ]
    found = []
    for name, call, words, own, twin in pairs:
        number = sum(parameter.data.size for parameter in own.parameters())
        if number != sum(parameter.numel() for parameter in twin.parameters()):
            raise NotAsShown(f"the number of parameters of {call}: NumPy and torch have different ones")
        found.append(Count(name, call, words, number))
    return found


def fields(size: int = 28) -> list[Field]:
    """How far the layers of LeNet-5 see, found out with numbers that are not numbers.

    One pixel of an image is NaN; whatever depends on it is NaN as well. There is an image for each pixel.

    Raises:
        NotAsShown: if NumPy and torch see differently.
    """
    images = np.ones((size * size, 1, size, size), np.float32)
    images.reshape(size * size, -1)[np.diag_indices(size * size)] = np.nan
    own, twin = scratch.LeNet5(), torch_ref.LeNet5()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.fill_(0.01)
    own.load_state_dict({name: tensor.numpy() for name, tensor in twin.state_dict().items()})
    found, x, y = [], images, torch.tensor(images)
    for name in ("conv1", "pool1", "conv2", "pool2"):
        with torch.no_grad():
            x, y = getattr(own, name)(x), getattr(twin, name)(y)
        mask, same = _middle(x).reshape(size, size), _middle(y.numpy()).reshape(size, size)
        if not np.array_equal(mask, same):
            raise NotAsShown(f"the field of {name}: NumPy and torch depend on different pixels")
        rows, columns = mask.any(axis=1).sum(), mask.any(axis=0).sum()
        found.append(Field(name, mask, int(rows), int(columns)))
    return found


def shifted(image: Array, weight: Array, seed: int = 0) -> Shifted:
    """Move an image (H, W) to the right and down, and look what a filter (kH, kW) and a dense layer make of it."""
    moved = np.zeros_like(image)
    moved[SHIFT:, SHIFT:] = image[:-SHIFT, :-SHIFT]
    conv = scratch.Conv2d(1, 1, weight.shape, padding=weight.shape[0] // 2, bias=False)
    conv.load_state_dict({"weight": weight[None, None].astype(np.float32)})
    both = np.stack([image, moved])[:, None].astype(np.float32)
    first, second = conv(both)[:, 0]
    half = weight.shape[0] // 2  # so far a window reaches beyond its centre, to where pixels were pushed out
    end = -SHIFT - half
    inside = np.abs(first[SHIFT:end, SHIFT:end] - second[2 * SHIFT : -half, 2 * SHIFT : -half]).max()
    dense = scratch.Linear(image.size, 64, generator=np.random.default_rng(seed))
    before, after = dense(both.reshape(2, -1))
    changed = np.abs(after - before) > 0.1 * np.abs(before).max()
    return Shifted(image, moved, first, second, float(inside), float(changed.mean()))


def _middle(maps: Array) -> Array:
    """For each image (N, C, H, W), whether the middle of its first map is NaN."""
    return np.isnan(maps[:, 0, maps.shape[2] // 2, maps.shape[3] // 2])
