"""Chapter 5: both training steps, the curves, what was learnt, and how far the twins came apart."""

from __future__ import annotations

import numpy as np
import torch

import scratch
import torch_ref
from compare.driving.tensors import Tensors
from compare.lesson.history import Curve, History
from compare.lesson.scene import Context, Scene, in_float32, some
from compare.lesson.showing.chart import Series, lines
from compare.lesson.showing.render import tiny
from compare.lesson.showing.source import beside, listing
from compare.pairs.decisions import deciding_layers
from compare.pairs.models import ModelPair
from compare.pairs.observe import watch_scratch, watch_torch
from compare.pairs.registry import model_pair
from compare.pairs.weights import load_scratch_state, load_torch_state
from compare.pictures import inline
from scratch import Array

NAMES = {"scratch": "NumPy", "torch": "torch"}
STYLES = {"scratch": "own", "torch": "twin"}
DEAD_IMAGES = 500  # of so many test images, a filter that is alive finds something in one


def training(scene: Scene) -> Context:
    """Both training steps, the curves, what was learnt, and how far the twins came apart."""
    history = scene.history
    final = {name: curve.values[-1] for name, curve in history.accuracy.items() if curve.values}
    tested = max((curve.steps[-1] for curve in history.accuracy.values() if curve.steps), default=0)
    return {
        "steps": beside(listing(scratch.train_step), listing(torch_ref.train_step)),
        "tested": tested,
        "accuracy": final if final.keys() == NAMES.keys() else None,
        "curves": {
            "loss": _curves(history.loss, "Training loss", "step"),
            "accuracy": _curves(history.accuracy, "Share of right answers on the test images", "step"),
            "apart": _apart(history),
        },
        "nothing": history.learning.verdict,
        "instead": history.learning.lines(),
        "learnt": {"before": history.before is not None, "filters": _filters(history), "maps": _maps(scene)},
        "dead": _dead(scene),
        "deadimages": len(some(history, DEAD_IMAGES, "float32")[0]),
        "settings": history.settings.shown(),
        "tests": len(history.dataset.test_images),
        "drift": {"verdict": _verdict(history), "lines": [str(p) for p in history.findings.partings]},
    }


def _verdict(history: History) -> str:
    """What came of the comparison with the yardstick, in words."""
    found = history.findings
    if not history.settings.measures_drift:
        return "This run had no yardstick, so that nothing of this kind was examined."
    own, twin = (tiny(curve.values[-1]) if curve.values else tiny(0.0) for curve in (history.apart, history.yardstick))
    apart = f"In the end NumPy is {own} from torch, relative to the largest weight, and the yardstick {twin}"
    apart += f" (at most {tiny(found.yardstick)} on the way)."
    if not found.partings:
        return f"{apart} NumPy was never ten times as far: there was no reason to look closer."
    times = f"{len(found.partings)} times" if len(found.partings) > 1 else "once"
    return f"{apart} NumPy was ten times as far {times}; what was examined was rounding, all of it."


def _curves(curves: dict[str, Curve], title: str, x: str) -> str:
    series = [Series(NAMES[name], STYLES[name], c.steps, c.values) for name, c in curves.items() if c.values]
    return lines(series, title, x) if series else ""


def _apart(history: History) -> str:
    series = [
        Series("NumPy from torch", "own", history.apart.steps, history.apart.values),
        Series("torch from torch started one rounding away", "yardstick", *_points(history.yardstick)),
    ]
    series = [one for one in series if any(value > 0 for value in one.y)]
    title = "How far the weights are apart, relative to the largest"
    return lines(series, title, "step", logarithmic=True) if series else ""


def _points(curve: Curve) -> tuple[tuple[int, ...], tuple[float, ...]]:
    return curve.steps, curve.values


def _filters(history: History) -> list[tuple[inline.Pixels, str, str]]:
    """The first layer's filters of both twins, before and after, and their difference."""
    found = []
    pair = model_pair(history.settings.model)
    weights = {name: pair.filters(state)[:, 0] for name, state in history.after.items()}  # each filter's first map
    started = {name: pair.filters(state)[:, 0] for name, state in (history.before or {}).items()}
    scale = max(float(np.abs(w).max()) for w in [*weights.values(), *started.values()])
    if started:
        found.append((inline.signed(started["torch"], scale), "filters before training", "before, in both"))
    for name in NAMES:
        caption = f"after, {NAMES[name]}"
        found.append((inline.signed(weights[name], scale), f"filters after training, {NAMES[name]}", caption))
    difference = weights["scratch"].astype(np.float64) - weights["torch"]
    caption = f"difference; full colour is {tiny(float(np.abs(difference).max()))}"
    return [*found, (inline.signed(difference), "difference of the filters", caption)]


def _maps(scene: Scene) -> list[tuple[inline.Pixels, str, str]]:
    """What the first ReLU makes of the digit, before and after, in both twins."""
    history, image = scene.history, (scene.digit / np.float32(255))[None, None]
    found = []
    if history.before is not None:
        maps = _relu_maps(scene.pair, history.before["scratch"], image, "scratch")
        found.append((inline.grey(maps), "feature maps before training", "before, in both"))
    after = {name: _relu_maps(scene.pair, history.after[name], image, name) for name in NAMES}
    scale = max(float(maps.max()) for maps in after.values())
    for name, maps in after.items():
        caption = f"after, {NAMES[name]}"
        found.append((inline.grey(maps, scale), f"feature maps after training, {NAMES[name]}", caption))
    difference = after["scratch"].astype(np.float64) - after["torch"]
    caption = f"difference; full colour is {tiny(float(np.abs(difference).max()))}"
    return [*found, (inline.signed(difference), "difference of the feature maps", caption)]


def _dead(scene: Scene) -> str:
    """Which filters of the first layer give nothing on any of some test images, in words; empty if none."""
    images, _ = some(scene.history, DEAD_IMAGES, "float32")
    own = scene.pair.scratch()
    load_scratch_state(own, scene.state)
    greatest = watch_scratch(own, images)[1][_first_relu(scene.pair)].max(axis=(0, 2, 3))
    dead = [str(n) for n in np.flatnonzero(greatest == 0)]
    if not dead:
        return ""
    return f"filter {dead[0]} finds nothing" if len(dead) == 1 else f"filters {', '.join(dead)} find nothing"


def _relu_maps(pair: ModelPair, state: Tensors, image: Array, name: str) -> Array:
    if name == "scratch":
        own = pair.scratch()
        load_scratch_state(own, in_float32(state))
        return watch_scratch(own, image)[1][_first_relu(pair)][0]
    twin = pair.torch()
    load_torch_state(twin, in_float32(state))
    return watch_torch(twin, torch.tensor(image))[1][_first_relu(pair)][0]


def _first_relu(pair: ModelPair) -> str:
    """The name of the first layer that decides something, after the first convolution."""
    return deciding_layers(pair.torch())[0][0]
