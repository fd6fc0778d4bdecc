"""What goes wrong: catalogued mistakes in the real model, each with every tensor that it makes wrong, and a picture.

A mistake is planted in one layer, in the loss or in the model. One pass, forward and backward, is then held against
torch's, tensor by tensor in the order in which they are computed. The first wrong one tells where the mistake is.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

import scratch
from compare.driving.tensors import Tensors, gradient_name
from compare.faults.catalogue import CATALOGUE, faults_of
from compare.faults.fault import Fault, plant
from compare.lesson.chapters.notes import note
from compare.lesson.not_as_shown import NotAsShown
from compare.machine.conditions import equal_threads
from compare.pairs.layers import layer_pair_of
from compare.pairs.models import ModelPair
from compare.pairs.observe import leaves, torch_pass
from compare.pairs.pair import arguments_of, chooses_elements
from compare.pairs.registry import MODELS
from compare.pairs.report import CANDIDATE_ERRORS
from compare.pairs.weights import State, load_scratch_state, load_torch_state
from scratch import Array
from scratch.windows import batch_last, pad, sliding_windows

# From those that fail loudly to those that hide. One of a model is left out where the pair is another model.
CHOSEN = (
    "conv2d-kernel-turned",
    "flatten-channels-last",
    "cross-entropy-gradient-not-averaged",
    "cross-entropy-jacobian-twice",
    "relu-no-mask",
    "relu-mask-from-upstream",
    "maxpool2d-spread-evenly",
    "maxpool2d-all-ties-win",
    "linear-weights-updated-early",
    "cnn-gradient-stops",
    "conv2d-overlaps-overwritten",
    "conv2d-grad-weight-kernel-turned",
    "conv2d-grad-bias-mean",
)
CHOICES = 4  # sentences among which the reader guesses
LEARNING_RATE = 0.05  # of the mistake that updates the weights too early; training's default
# Planted in the first layer of their kind, which has the largest maps; the others in the last, to be followed further.
FIRST = ("conv2d-kernel-turned", "relu-", "maxpool2d-")

MODEL, LOSS = "the model", "the loss"  # where a mistake can be, beside the layers

# Weights and images are rounded to so many binary places. Then float64 holds every product and every sum of the
# convolutions exactly, in whatever order they are added: equal patches give equal numbers in both twins, and every tie
# in a max-pooling is one and the same tie. The sums of two convolutions have 14 + 2·16 places, and 7 bits before them.
WEIGHT_BITS, IMAGE_BITS = 16, 14


@dataclass(frozen=True)
class Seen:
    """One tensor of the pass, held against torch's.

    Attributes:
        tensor: "output of conv1", "scores", "loss", "gradient of the scores", "fc1.grad_weight", "gradient of the
            input of pool1", "gradient of the image", ...
        ok: whether it is torch's.
        note: what is to be seen, in a few words; empty if it is ok.
    """

    tensor: str
    ok: bool
    note: str


@dataclass(frozen=True)
class Mistake:
    """A mistake in its place, what it does, and what the reader may guess.

    Attributes:
        fault: the entry of the catalogue.
        layer: where it was planted: "pool1", "the model" or "the loss".
        findings: all tensors, in the order in which they are computed.
        shown: the tensor of the picture.
        right, wrong: the picture (H, W), float64.
        where: which part of the tensor it is: "image 3, map 5"; empty where it is all of it.
        choices: what may have been done; one of these sentences is the fault's.
        would_show: for each of the others, what is wrong first with that mistake in the same network.
    """

    fault: Fault
    layer: str
    findings: tuple[Seen, ...]
    shown: str
    right: Array
    wrong: Array
    where: str
    choices: tuple[str, ...]
    would_show: dict[str, str]


@dataclass(frozen=True)
class Ties:
    """How often several elements tie for the maximum in the first max-pooling, and what it does if all of them win.

    Attributes:
        windows, tied, tied_above_zero: all windows, those with a tie, those of the latter whose maximum is above 0.
        grad_bias, grad_weight: max |wrong - right| / max |right| of the first convolution's gradients if all win.
    """

    windows: int
    tied: int
    tied_above_zero: int
    grad_bias: float
    grad_weight: float


@dataclass(frozen=True)
class _Stage:
    """What every mistake is tried on.

    Attributes:
        pair, state, images, labels: in float64.
        twins: torch's layers in the order of the pass, by name; last the loss.
        right: torch's tensors, in the order in which they are computed.
    """

    pair: ModelPair
    state: State
    images: Array
    labels: Array
    twins: dict[str, nn.Module]
    right: Tensors


@dataclass(frozen=True)
class _Trial:
    """A mistake in its place, and what came out."""

    fault: Fault
    layer: str
    wrong: Tensors
    findings: tuple[Seen, ...]

    @property
    def shows(self) -> list[str]:
        """The wrong tensors."""
        return [finding.tensor for finding in self.findings if not finding.ok]

    @property
    def first(self) -> str:
        """The first wrong tensor, and what is wrong with it."""
        finding = next(finding for finding in self.findings if not finding.ok)
        return f"{finding.tensor}: {finding.note}"

    @property
    def symptoms(self) -> tuple[str, ...]:
        """All notes without their percentages: two mistakes that differ here can be told apart by a reader."""
        notes = (finding.note.replace("all elements", "100% of the elements") for finding in self.findings)
        return tuple(re.sub(r"[\d.]+%", "some", note) for note in notes)


_Tried: TypeAlias = dict[tuple[str, str], _Trial | None]  # by the names of fault and place; None where it raises


@equal_threads(1)
def gallery(pair: ModelPair, state: State, images: Array, labels: Array, seed: int = 0) -> list[Mistake]:
    """The chosen mistakes, each planted in this model; one that shows nowhere in it is left out.

    Args:
        pair: the model.
        state: its weights, trained, of any dtype. They and the images are rounded a little: see `WEIGHT_BITS`.
        images, labels: digits (N, 1, 28, 28), floating-point numbers from 0 to 1, and their classes (N). They should
            be real ones: without a blank background no windows tie.
        seed: draws the choices.

    Raises:
        NotAsShown: if the model without any mistake differs from torch's.
    """
    stage = _stage(pair, state, images, labels)
    faults = [CATALOGUE[name] for name in CHOSEN]
    fit = [fault for fault in faults if fault.pair == pair.name or fault.pair not in MODELS]
    shown = [trial for fault in fit if (trial := _shown(stage, fault)) is not None]
    tried: _Tried = {(trial.fault.name, trial.layer): trial for trial in shown}
    rng = np.random.default_rng(seed)
    return [_mistake(stage, trial, _choices(stage, trial, tried, rng), tried) for trial in shown]


@equal_threads(1)
def count_ties(pair: ModelPair, state: State, images: Array, labels: Array) -> Ties:
    """How often elements tie in the first max-pooling of this model; arguments and errors as in `gallery`."""
    stage = _stage(pair, state, images, labels)
    names = list(stage.twins)
    conv = next(name for name in names if list(stage.twins[name].parameters()))
    pool = next(name for name in names if chooses_elements(layer_pair_of(stage.twins[name])))
    layer = _like(stage.twins[pool], layer_pair_of(stage.twins[pool]).scratch)
    image = pad(batch_last(stage.right[_value(names, names.index(pool))]), layer.padding, -np.inf)
    windows = sliding_windows(image, layer.kernel_size, layer.stride)
    maximum = windows.max(axis=(1, 2), keepdims=True)
    tied = (windows == maximum).sum(axis=(1, 2)) > 1
    wrong = _try(stage, CATALOGUE["maxpool2d-all-ties-win"], pool).wrong
    return Ties(
        tied.size,
        int(tied.sum()),
        int((tied & (maximum[:, 0, 0] > 0)).sum()),
        _error(wrong, stage.right, f"{conv}.grad_bias"),
        _error(wrong, stage.right, f"{conv}.grad_weight"),
    )


def _error(wrong: Tensors, right: Tensors, name: str) -> float:
    """The greatest |wrong - right| as a share of the greatest |right|; of 1 where that is 0."""
    return float(np.abs(wrong[name] - right[name]).max() / (np.abs(right[name]).max() or 1.0))


def _stage(pair: ModelPair, state: State, images: Array, labels: Array) -> _Stage:
    """Torch's pass, and the proof that ours is the same as long as there is no mistake in it."""
    state = {name: _rounded(array, WEIGHT_BITS) for name, array in state.items()}
    images = _rounded(images, IMAGE_BITS)
    reference = pair.torch(dtype=torch.float64)
    load_torch_state(reference, state)
    twins = dict(leaves(reference)) | {LOSS: nn.CrossEntropyLoss()}
    stage = _Stage(pair, state, images, labels, twins, _torch_pass(reference, images, labels))
    model = pair.scratch(dtype=np.float64)
    load_scratch_state(model, state)
    for finding in _findings(_scratch_pass(stage, model, scratch.CrossEntropyLoss()), stage.right):
        if not finding.ok:
            raise NotAsShown(f"{pair.name} without any mistake: {finding.tensor} differs from torch's: {finding.note}")
    return stage


def _rounded(array: Array, bits: int) -> Array:
    return np.rint(array.astype(np.float64) * 2**bits) / 2**bits


def _value(names: list[str], at: int) -> str:
    """What layer number `at` is given; `names` are those of the layers and, last, of the loss."""
    if at == 0:
        return "image"
    return "scores" if at == len(names) - 1 else f"output of {names[at - 1]}"


def _gradient(names: list[str], at: int) -> str:
    """What layer number `at` gives back in backward."""
    inner = 0 < at < len(names) - 1
    return f"gradient of the {f'input of {names[at]}' if inner else _value(names, at)}"


def _torch_pass(reference: nn.Module, images: Array, labels: Array) -> Tensors:
    """All tensors of one pass through torch's model and loss, in the order in which they are computed."""
    seen = torch_pass(reference, images, labels)
    names = [*seen.inputs, LOSS]
    tensors = {_value(names, at): seen.inputs[name] for at, name in enumerate(names[:-1]) if at}
    tensors |= {"scores": seen.logits, "loss": seen.loss, _gradient(names, len(names) - 1): seen.grad_logits}
    for at, name in reversed(list(enumerate(names[:-1]))):
        for leaf, weight in reference.get_submodule(name).named_parameters():
            assert weight.grad is not None
            tensors[gradient_name(f"{name}.{leaf}")] = weight.grad.numpy().copy()
        tensors[_gradient(names, at)] = seen.grad_inputs[name]
    return tensors


def _scratch_pass(stage: _Stage, model: scratch.Module, criterion: scratch.Module) -> Tensors:
    """The same of ours. What lies between two layers is taken from the one that receives it, if there is one."""
    names, layers, seen = list(stage.twins), dict(model.named_modules()), dict[str, Array]()
    for at, name in enumerate(names[:-1]):
        layer = layers[name]
        layer.forward = _watched(layer.forward, seen, _value(names, at), _value(names, at + 1))
        layer.backward = _watched(layer.backward, seen, _gradient(names, at + 1), _gradient(names, at))
    with np.errstate(all="ignore"):  # a mistake may overflow
        scores = model(stage.images.copy())
        seen["scores"], seen["loss"] = np.array(scores), np.array(criterion(scores, stage.labels.copy()))
        gradient = criterion.backward()
        seen[_gradient(names, len(names) - 1)] = np.array(gradient)
        seen[_gradient(names, 0)] = np.array(model.backward(gradient))
    own = {gradient_name(name): parameter.grad for name, parameter in model.named_parameters()}
    return seen | {name: gradient for name, gradient in own.items() if gradient is not None}


def _watched(call: Callable[..., Array], seen: Tensors, taken: str, returned: str) -> Callable[..., Array]:
    """`call`, which writes down its argument and its result under these names; copies, as they are at that moment."""

    def run(x: Array) -> Array:
        seen[taken] = np.array(x)
        y = call(x)
        seen[returned] = np.array(y)
        return y

    return run


def _findings(got: Tensors, right: Tensors) -> tuple[Seen, ...]:
    notes = {name: note(got.get(name), tensor) for name, tensor in right.items()}
    return tuple(Seen(name, not note, note) for name, note in notes.items())


def _shown(stage: _Stage, fault: Fault) -> _Trial | None:
    """The mistake in the first place where it shows; None where it shows nowhere, as in a network that is dead."""
    trials = (_try(stage, fault, place) for place in _places(stage, fault))
    return next((trial for trial in trials if trial.shows), None)


def _places(stage: _Stage, fault: Fault) -> list[str]:
    """Where the mistake fits, the best place first."""
    if fault.pair in MODELS:
        return [MODEL]
    fit = [name for name, twin in stage.twins.items() if layer_pair_of(twin).name == fault.pair]
    return fit if fault.name.startswith(FIRST) else fit[::-1]


def _around(stage: _Stage, place: str) -> list[str]:
    """A layer and its neighbours; the model has none."""
    if place == MODEL:
        return [MODEL]
    names = list(stage.twins)
    at = names.index(place)
    return names[max(at - 1, 0) : at + 2]


def _faults_at(stage: _Stage, place: str) -> list[Fault]:
    """All catalogued mistakes that can be made in this place."""
    if place == MODEL:
        return [fault for fault in faults_of(stage.pair.name) if fault.name.startswith(f"{stage.pair.name}-")]
    return faults_of(layer_pair_of(stage.twins[place]).name)


def _try(stage: _Stage, fault: Fault, place: str) -> _Trial:
    broken = plant(fault, LEARNING_RATE)
    model = broken(dtype=np.float64) if place == MODEL else stage.pair.scratch(dtype=np.float64)
    if place not in (MODEL, LOSS):
        setattr(model, place, _like(stage.twins[place], broken))
    load_scratch_state(model, stage.state)
    wrong = _scratch_pass(stage, model, broken() if place == LOSS else scratch.CrossEntropyLoss())
    return _Trial(fault, place, wrong, _findings(wrong, stage.right))


def _like(twin: nn.Module, kind: Any) -> Any:
    """A layer of class `kind`, made with the arguments that its twin was made with."""
    dtype = {"dtype": np.float64} if "dtype" in inspect.signature(kind).parameters else {}
    return kind(**arguments_of(twin, kind) | dtype)


def _choices(stage: _Stage, trial: _Trial, tried: _Tried, rng: np.random.Generator) -> tuple[str, ...]:
    """The right sentence among wrong ones, in an order drawn."""
    alike: list[str] = []
    more: list[str] = []
    for other in _others(stage, trial, tried, rng):
        (alike if other.shows[0] == trial.shows[0] else more).append(other.fault.made)
        if len(alike) == CHOICES - 1:
            break
    wrong = [*alike, *more][: CHOICES - 1]
    return tuple(str(made) for made in rng.permutation([trial.fault.made, *wrong]))


def _others(stage: _Stage, trial: _Trial, tried: _Tried, rng: np.random.Generator) -> Iterator[_Trial]:
    """Mistakes of the same layer and its neighbours, in an order drawn, that show, and show something else.

    A sentence that several of them share could be true of one that shows the same; it is left out.
    """
    near = [(fault, place) for place in _around(stage, trial.layer) for fault in _faults_at(stage, place)]
    count = Counter(fault.made for fault, _ in near)
    for at in rng.permutation(len(near)):
        fault, place = near[at]
        if count[fault.made] > 1:
            continue
        if (fault.name, place) not in tried:
            tried[fault.name, place] = _attempt(stage, fault, place)
        other = tried[fault.name, place]
        if other and other.shows and other.symptoms != trial.symptoms and other.first != trial.first:
            yield other


def _attempt(stage: _Stage, fault: Fault, place: str) -> _Trial | None:
    """The mistake tried; None if it raises an error."""
    try:
        return _try(stage, fault, place)
    except CANDIDATE_ERRORS:
        return None


def _mistake(stage: _Stage, trial: _Trial, choices: tuple[str, ...], tried: _Tried) -> Mistake:
    shown = _in_picture(stage, trial)
    right, wrong, where = _picture(shown, stage.right[shown], trial.wrong[shown])
    near = _around(stage, trial.layer)
    others = [t for t in tried.values() if t and t.shows and t.layer in near and t.fault.made in choices]
    would_show = {t.fault.made: t.first for t in others if t.fault.made != trial.fault.made}
    return Mistake(trial.fault, trial.layer, trial.findings, shown, right, wrong, where, choices, would_show)


def _in_picture(stage: _Stage, trial: _Trial) -> str:
    """The first wrong gradient that is maps or filters; of the loss the first, the gradient of the scores.

    Where forward is wrong already, every gradient is: that of the image shows best what became of it.
    """
    wrong = [name for name in trial.shows if "grad" in name] or trial.shows  # a dead network has no gradients
    if "grad" not in trial.shows[0]:
        return wrong[-1]
    pictures = [name for name in wrong if stage.right[name].ndim == 4 and trial.layer != LOSS]
    return (pictures or wrong)[0]


def _picture(name: str, right: Array, wrong: Array) -> tuple[Array, Array, str]:
    """Right and wrong as (H, W), and where: of maps the one that differs most while it is not faint, of filters all."""
    if right.ndim < 4:
        return np.atleast_2d(right).copy(), np.atleast_2d(wrong).copy(), ""
    if "grad_weight" in name:
        return _tiled(right), _tiled(wrong), ""
    clear = np.minimum(np.abs(wrong - right).sum(axis=(2, 3)), np.abs(right).sum(axis=(2, 3)))
    image, channel = np.unravel_index(clear.argmax(), clear.shape)
    where = f"image {image}" + (f", map {channel}" if right.shape[1] > 1 else "")
    return right[image, channel].copy(), wrong[image, channel].copy(), where


def _tiled(filters: Array) -> Array:
    """Filters (C_out, C_in, kH, kW) in a column for each output and a row for each input: (C_in·kH, C_out·kW)."""
    c_out, c_in, height, width = filters.shape
    return filters.transpose(1, 2, 0, 3).reshape(c_in * height, c_out * width)
