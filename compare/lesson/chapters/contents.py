"""What the chapters of the page show, as their templates name it; chapter 5 is in `learnt.py`."""

from __future__ import annotations

import difflib
import importlib
import inspect
import textwrap
from collections import Counter
from typing import Any

import numpy as np
import torch

import scratch
from compare.faults.catalogue import CATALOGUE
from compare.faults.fault import Fault, broken_source
from compare.lesson.agreement import agreements_of, measure
from compare.lesson.chapters import windows
from compare.lesson.chapters.close import precision, worked
from compare.lesson.chapters.gallery import Mistake, count_ties, gallery
from compare.lesson.chapters.why import SHIFT, SIDE, counts, fields, shifted
from compare.lesson.examples import examples, nodes
from compare.lesson.layers import LAYERS
from compare.lesson.scene import Context, Scene, some
from compare.lesson.showing.chart import bars
from compare.lesson.showing.render import tiny, told_of
from compare.lesson.showing.source import beside, coloured, listing
from compare.machine.conditions import equal_threads
from compare.pairs.by_hand import plain
from compare.pairs.observe import leaves
from compare.pairs.report import Row
from compare.pictures import inline
from scratch import Array

GALLERY_IMAGES = 16
DIGITS = ("mnist", "qmnist", "digits")  # data sets of digits
PRECISION_IMAGES = 500


# ---- 1 why convolutions


def why(scene: Scene) -> Context:
    """Parameters counted, fields, and a shift."""
    image = scene.digit / 255.0
    moved = shifted(image, windows.FILTERS[0].values)
    return {
        "side": SIDE,
        "shift": SHIFT,
        "counts": counts(),
        "fields": [
            {"layer": f.layer, "height": f.height, "width": f.width, "picture": inline.grey(_lit(image, f.mask), 1)}
            for f in fields()
        ],
        "shifted": {
            "image": inline.grey(moved.image),
            "moved": inline.grey(moved.moved),
            "map": inline.signed(moved.map),
            "moved_map": inline.signed(moved.moved_map),
            "difference": moved.difference,
            "dense": moved.dense,
        },
    }


def _lit(image: Array, mask: Array) -> Array:
    """An image (H, W) from 0 to 1, bright where the mask is, dim elsewhere."""
    return np.where(mask, 0.35 + 0.65 * image, 0.3 * image)


# ---- 2 the convolution, 3 the way back


def convolution(scene: Scene) -> Context:
    """The two moving windows, forward (chapter 2) and backward (chapter 3), and the edge maps."""
    first = scene.pair.filters(scene.state)
    kernels = [*windows.FILTERS, *windows.filters_of(first, learned=not scene.history.learning.verdict)]
    window = windows.window_data(scene.digits, kernels)
    back = windows.backward_data(windows.patch_of(scene.digit), windows.FILTERS, scene.seed)
    digits = [inline.grey(digit, 255) for digit in scene.digits.values()]
    images = np.stack(list(scene.digits.values()))[:, None] / np.float32(255)
    vertical, horizontal = (
        windows.convolve(images, kernel.values[None, None], 1, 0).scratch[:, 0] for kernel in windows.FILTERS[:2]
    )
    return {
        "data": {"window": window, "back": back},
        "window": {"digits": digits, "names": list(scene.digits), "sums": window["sums"]},
        "kernels": kernels,
        "strides": windows.STRIDES,
        "paddings": windows.PADDINGS,
        "start": _window_at_rest(scene, kernels[0], window["differences"]["0/1/0"][scene.first]),
        "edges": [
            {"name": name, "digit": digit, "vertical": inline.signed(v), "horizontal": inline.signed(h)}
            for name, digit, v, h in zip(scene.digits, digits, vertical, horizontal, strict=True)
        ],
        "columns": _columns(),
        "chain": _chain(scene),
        "back": back | {"start": _back_at_rest(back), "compared": f"{_numbers(back):,}"},
    }


def _window_at_rest(scene: Scene, kernel: windows.Kernel, difference: float) -> Context:
    """The window where the page shows it first, and without scripts: where the map is greatest."""
    image = scene.digit / np.float32(255)
    maps = windows.convolve(image[None, None], kernel.values[None, None], 1, 0)
    exact, error = maps.exact[0, 0], maps.error[0, 0]
    row, column = (int(i) for i in np.unravel_index(exact.argmax(), exact.shape))
    height, width = kernel.values.shape
    under = image[row : row + height, column : column + width]
    lit = np.zeros(image.shape, bool)
    lit[row : row + height, column : column + width] = True
    return {
        "digit": scene.first,
        "kernel": 0,
        "row": row,
        "column": column,
        "picture": inline.grey(_lit(image, lit), 1),
        "map": inline.signed(exact),
        "products": [
            [(plain(x, 4), plain(w), plain(x * w, 4)) for x, w in zip(xs, ws, strict=True)]
            for xs, ws in zip(under, kernel.values, strict=True)
        ],
        "both": windows.certain(exact[row, column], error[row, column]),
        "difference": tiny(difference),
        "bound": tiny(maps.allowed[0, 0, row, column]),
        "exact": plain(exact[row, column], 13),
    }


def _back_at_rest(back: Context) -> Context:
    """All outputs added up, with the first kernel, stride 1 and no padding: what the page shows without scripts."""
    result = back["results"]["0/1/0"]
    return {
        "x": back["patch"],
        "w": back["kernels"][0]["values"],
        "g": result["grad_output"],
        "dx": result["scratch"]["grad_input"],
        "dw": result["scratch"]["grad_weight"],
        "db": result["scratch"]["grad_bias"],
        "words": "All outputs, added up.",
    }


def _columns() -> Context:
    """The matrix product that a convolution is, for its small example: from the layer's own methods."""
    example = examples()["conv2d"]
    layer = scratch.Conv2d(1, 1, kernel_size=2)
    layer.load_state_dict({name: example.given[name] for name in ("weight", "bias")})
    layer(example.given["x"])
    windows_of, _ = layer.saved_for_backward
    ((_, columns),) = layer._columns(windows_of)
    matrix = layer._matrix()
    return {"matrix": matrix, "columns": columns.copy(), "product": matrix @ columns}


def _chain(scene: Scene) -> list[tuple[str, str, list[str]]]:
    """Layer, our call and autograd's nodes, for one training step of the network, in the order of backward."""
    model = scene.pair.torch()
    outputs: dict[str, torch.Tensor] = {}
    for name, layer in leaves(model):
        layer.register_forward_hook(lambda _, __, output, name=name: outputs.__setitem__(name, output))
    images, labels = some(scene.history, 1, "float32")
    scores = model(torch.tensor(images))
    loss = torch.nn.functional.cross_entropy(scores, torch.tensor(labels))
    found = [("the loss", "criterion.backward()", list(nodes(loss, scores)))]
    before = [None, *list(outputs.values())[:-1]]
    for (name, output), earlier in reversed(list(zip(outputs.items(), before, strict=True))):
        call = f"{name}.backward(g)" if earlier is not None else f"{name}.backward_parameters(g)"
        found.append((name, call, list(nodes(output, earlier))))
    return found


def _numbers(back: Context) -> int:
    """How many numbers of the gradients there are, for all settings together."""
    return sum(np.size(values) for result in back["results"].values() for values in result["scratch"].values())


# ---- 4 the other layers


def layers(scene: Scene) -> Context:
    """Examples and agreement of all layers, and the ties in max-pooling."""
    shown = examples()
    images, labels = some(scene.history, GALLERY_IMAGES, "float64")
    pool = shown["maxpool2d"]
    x, g = torch.tensor(pool.given["x"]), pool.given["grad_output"].ravel()[0]
    _, indices = torch.nn.functional.max_pool2d(x, 2, return_indices=True)
    window = pool.given["x"][0, 0, :, :2]
    tied = window == window.max()
    own, twin = scene.pair.scratch(), scene.pair.torch()
    return {
        "models": beside(listing(type(own)), listing(type(twin))),
        "others": [name for name in LAYERS if name not in told_of()],
        "classes": scene.pair.num_classes,
        "convolutions": sum(p.ndim == 4 for p in twin.parameters()),
        "parameters": [(name, tuple(p.shape), p.numel()) for name, p in twin.named_parameters()],
        "examples": shown,
        "agreements": {name: agreements_of(scene.report, layer) for name, layer in LAYERS.items()},
        "ties": count_ties(scene.pair, scene.state, images, labels),
        "tie": {
            "first": pool.torch["grad_input"][0, 0, :, :2],
            "all": g * tied,
            "shared": g * tied / tied.sum(),
            "g": g,
            "count": plain(float(g * tied.sum())),
            "indices": ", ".join(map(str, indices.flatten().tolist())),
            "images": len(images),
            "thing": "digits" if scene.history.dataset.name in DIGITS else "pictures",
        },
    }


# ---- 6 what goes wrong


def mistakes(scene: Scene) -> Context:
    """The gallery."""
    images, labels = some(scene.history, GALLERY_IMAGES, "float64")
    found = gallery(scene.pair, scene.state, images, labels, scene.seed)
    return {"catalogue": len(CATALOGUE), "mistakes": [_mistake(mistake) for mistake in found]}


def _mistake(mistake: Mistake) -> Context:
    fault, wrong = mistake.fault, [finding for finding in mistake.findings if not finding.ok]
    forward = next(n for n, finding in enumerate(mistake.findings) if finding.tensor == "loss")
    fine = all(finding.ok for finding in mistake.findings[: forward + 1])
    scale, difference = float(np.abs(mistake.right).max()) or 1.0, mistake.wrong - mistake.right
    return {
        "headline": f"{'the loss is right, ' if fine else ''}{wrong[0].tensor} is the first that is wrong",
        "findings": mistake.findings,
        "noted": {wrong[0].tensor} | {finding.tensor for finding in wrong if "differ" not in finding.note},
        "shown": mistake.shown,
        "right": inline.signed(mistake.right, scale),
        "wrong": inline.signed(mistake.wrong, scale),
        "difference": inline.signed(difference),
        "full": f"{np.abs(difference).max() / scale:.0%}",
        "scale": max(2, round(150 / max(mistake.right.shape))),
        "hint": fault.hint,
        "choices": mistake.choices,
        "made": fault.made,
        "shows": fault.shows,
        "edit": _edit(fault),
        "would_show": mistake.would_show,
        "where": mistake.where,
        "target": fault.target,
        "name": fault.name,
    }


def _edit(fault: Fault) -> list[tuple[str, Any]]:
    """The lines of our source that the mistake takes out ("-") and those that it puts in ("+"), coloured."""
    right = inspect.getsource(importlib.import_module(fault.module)).splitlines()
    changes = difflib.unified_diff(right, broken_source(fault).splitlines(), lineterm="", n=0)
    signed = [line for line in changes if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    signs, lines_ = [line[0] for line in signed], textwrap.dedent("\n".join(line[1:] for line in signed)).splitlines()
    return list(zip(signs, coloured(lines_), strict=True))


# ---- 7 how close


def close(scene: Scene) -> Context:
    """The bound of one number worked out, and the shares of all."""
    images, _ = some(scene.history, PRECISION_IMAGES, "float32")
    rows = scene.report.rows
    pairs = dict.fromkeys(row.pair for row in rows)
    with equal_threads(1):
        return {
            "worked": worked(scene.pair, scene.state, images),
            "precision": precision(scene.pair, scene.state, images),
            "by_pair": [(name, measure([row for row in rows if row.pair == name])) for name in pairs],
            "histogram": _histogram(rows),
        }


def _histogram(rows: tuple[Row, ...]) -> str:
    """How many tensors used which share of their bound, in steps of 5 %, those that are equal apart."""
    equal = sum(row.budget == 0 for row in rows)
    groups = Counter(min(19, int(row.budget * 20)) for row in rows if row.budget > 0)
    named = [("exact", equal)] + [(f"up to {5 * n + 5} %", groups[n]) for n in range(20)]
    return bars(named, "Tensors by the share of the bound that they used")
