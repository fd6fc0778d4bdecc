"""Vectors for TensorBoard's projector, with a picture and a label for each point."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from compare.machine.files import write_bytes
from scratch import Array

LABELS, SPRITES, CONFIG = "labels.tsv", "sprites.png", "projector_config.pbtxt"
LARGEST = float(np.finfo(np.float32).max)  # The largest number that the projector can show.


def write_projector(
    folder: Path, vectors: Mapping[str, Array], images: Array, labels: Array, classes: Sequence[str]
) -> None:
    """Write what the projector shows for the run in `folder`; what is there is replaced.

    Args:
        vectors: (N, features) for each name, one point for each image; clipped to what float32 can hold.
        images, labels: (N, 1, H, W) from 0 to 1, and (N).
        classes: the names of the labels.

    Raises:
        UserError: if it cannot be written.
    """
    config = ProjectorConfig()
    for number, (name, array) in enumerate(vectors.items()):
        content = array.clip(-LARGEST, LARGEST).astype("<f4").tobytes()
        if _is_text(content):
            continue
        path = f"vectors-{number}.bytes"
        write_bytes(folder / path, content)
        embedding = config.embeddings.add(tensor_name=name, tensor_path=path, metadata_path=LABELS)
        embedding.tensor_shape.extend(array.shape)
        embedding.sprite.image_path = SPRITES
        embedding.sprite.single_image_dim.extend(reversed(images.shape[2:]))
    write_bytes(folder / LABELS, "".join(f"{classes[label]}\n" for label in labels).encode())
    _write_sprites(folder / SPRITES, images)
    write_bytes(folder / CONFIG, text_format.MessageToString(config).encode())


def _is_text(content: bytes) -> bool:
    """Whether TensorBoard would take the numbers for text, as it does with a layer that is dead, all zeros."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _write_sprites(path: Path, images: Array) -> None:
    """All images in one square picture, row by row, dark on light."""
    side = math.ceil(math.sqrt(len(images)))
    height, width = images.shape[2:]
    tiles = np.zeros((side * side, height, width))
    tiles[: len(images)] = images[:, 0]
    sheet = tiles.reshape(side, side, height, width).swapaxes(1, 2).reshape(side * height, side * width)
    Image.fromarray(np.uint8(255 * (1 - sheet))).save(path)
