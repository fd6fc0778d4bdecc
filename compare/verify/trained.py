"""Trained twins: both codes, given the same trained weights, held together on test images."""

from __future__ import annotations

import numpy as np

from compare.driving.tensors import Tensors
from compare.machine.conditions import direct_convolutions
from compare.machine.data import Dataset, batches
from compare.pairs.models import ModelPair, check_model
from compare.pairs.report import Row
from compare.verify.agreement import DTYPES

IMAGES = 64  # of the test images


def check_trained(pair: ModelPair, state: Tensors, dataset: Dataset, seed: int = 0) -> list[Row]:
    """Compare a model with its twin, both with the weights `state`, in float64 and float32; `seed` as in `check_model`.

    Every label is moved to the next class: a trained model is so sure of the right ones that hardly a gradient is left
    to compare.
    """
    rows: list[Row] = []
    for dtype in DTYPES:
        images, labels = next(batches(dataset.test_images, dataset.test_labels, IMAGES, dtype))
        with direct_convolutions(), np.errstate(over="ignore", invalid="ignore"):  # weights that blew up, too
            narrowed = {name: array.astype(dtype) for name, array in state.items()}
            rows += check_model(pair, narrowed, images, (labels + 1) % pair.num_classes, seed)
    return rows
