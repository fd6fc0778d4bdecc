"""Where somebody's gradients are after a backward: returned, kept beside the weights, or hidden in an update."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compare.driving import paths, vocabulary
from compare.driving.calling import RATE
from compare.driving.interface import INPUT
from compare.driving.making import MistoldError
from compare.driving.placement import GRADIENT_HOLDERS, HOLDERS, Placement, gradient_word, last_word
from compare.driving.tensors import SAME, Array

PLACES = GRADIENT_HOLDERS | {"params", "parameters", "weights"}


@dataclass
class Gradients:
    """What was found.

    Attributes:
        of_input: None if there is none.
        of_parameters: by torch's names, in their layout.
        recovered: the parameters whose gradient was taken from an update.
    """

    of_input: Any = None
    of_parameters: dict[str, Array] = field(default_factory=dict)
    recovered: set[str] = field(default_factory=set)


def collect(returned: Any, placement: Placement, input_shape: tuple[int, ...], *, updates: bool) -> Gradients:
    """Find the gradients after a backward.

    Args:
        returned: what backward returned.
        placement: where the weights are.
        input_shape: the shape of the input, as they got it.
        updates: whether backward asked for a learning rate: then a weight that stayed the same has the gradient 0.
    """
    found = _returned(returned, placement, input_shape)
    inside = {} if placement.functions is not None else _inside(placement.subject)
    for theirs, target in placement.interface.gradients.items():
        try:
            value = returned[int(theirs)] if theirs.isdigit() else paths.get(placement.subject, theirs)
        except (AttributeError, KeyError, IndexError, TypeError):
            raise MistoldError(f"there is no {theirs} after backward; correct --grad {theirs}={target}") from None
        if target in INPUT:
            found.of_input = value
        elif value is not None:
            found.of_parameters[target] = np.asarray(value)
    for name in placement.parameters.keys() - found.of_parameters.keys():
        kept = _kept(name, inside, placement)
        if kept is not None:
            found.of_parameters[name] = kept
    _add_updates(found, placement, updates=updates)
    if found.of_input is None:
        kept_inputs = (inside[name] for name in vocabulary.GRAD_INPUTS if name in inside)
        found.of_input = next((array for array in kept_inputs if array.shape == input_shape), None)
    return found


def _inside(subject: Any) -> dict[str, Array]:
    """All arrays in an object, and gradients that are single numbers."""
    numbers = {
        name: np.asarray(value)
        for name, value in getattr(subject, "__dict__", {}).items()
        if isinstance(value, float | np.floating) and gradient_word(name) is not None
    }
    return numbers | dict(paths.arrays(subject))


def _add_updates(found: Gradients, placement: Placement, *, updates: bool) -> None:
    """Take the gradients that are not shown from the updates, and those that the updates contradict."""
    changed = placement.changed() if updates else set()
    for name in placement.parameters:
        shown = found.of_parameters.get(name)
        if shown is not None and not (changed and _contradicts(name, shown, placement)):
            continue
        update = placement.update_of(name, RATE if updates else 1.0)  # without a rate it is a step by the gradient
        if update is None and updates and name in placement.paths:
            update = np.zeros_like(placement.pushed[name])
        if update is not None:
            found.of_parameters[name] = update
            found.recovered.add(name)


def _contradicts(name: str, shown: Array, placement: Placement) -> bool:
    """Whether a weight that is updated changed otherwise than by the gradient that is shown beside it."""
    before = placement.pushed.get(name)
    if before is None or name not in placement.paths:
        return False
    change = placement.update_of(name, RATE)
    change = np.zeros_like(before) if change is None else change
    scale = np.abs(before).max(initial=0) + np.abs(shown).max(initial=0)
    if change.size != np.size(shown):
        return True
    allowed = SAME[str(before.dtype)] * scale
    return not bool((np.abs(change.reshape(-1) - np.asarray(shown).reshape(-1)) <= allowed).all())


def _is_array(value: Any, shape: tuple[int, ...]) -> bool:
    """Whether a list, say, is an array of numbers of this shape."""
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        return False
    return array.dtype.kind in "fiub" and array.shape == shape


def _returned(returned: Any, placement: Placement, input_shape: tuple[int, ...]) -> Gradients:
    """What was returned: dx; (dx, dw, db); {"dW": ..., "dx": ...}; or such a dictionary beside dx."""
    found = Gradients()
    named: list[tuple[str, Any]] = []
    if _is_array(returned, input_shape):
        found.of_input = returned
    elif isinstance(returned, dict):
        named = list(returned.items())
    elif isinstance(returned, tuple | list) and returned and not np.isscalar(returned[0]):
        dictionaries = [part for part in returned if isinstance(part, dict)]
        arrays = [part for part in returned if not isinstance(part, dict)]
        named = [item for dictionary in dictionaries for item in dictionary.items()]
        found.of_input = arrays[0] if arrays else None
        named += [("", array) for array in arrays[1:]]
    else:
        found.of_input = returned
    named = [(str(key), value) for key, value in named if value is not None]
    for key, value in named:
        array = np.asarray(value)
        name = _whose(key, array, placement, found.of_parameters, [other for other, _ in named])
        if name is not None:
            found.of_parameters[name] = array
        elif found.of_input is None and array.shape == input_shape:
            found.of_input = array
    return found


def _whose(key: str, array: Array, placement: Placement, taken: Mapping[str, Array], keys: Sequence[str]) -> str | None:
    """The parameter that a returned gradient belongs to: by its key among all keys, else the next one that fits."""
    if not key:
        left = [name for name in placement.parameters if name not in taken]
        fitting = [name for name in left if placement.fits(array, name)]
        return next(iter(fitting or left), None)
    called = _called(key, placement)
    alike = [other for other in keys if _called(other, placement) == called]
    if len(alike) == len(called):  # "dW2" comes after "dW1", in whatever order they are returned
        name = _by_number(called, placement)[sorted(alike, key=_numbers).index(key)]
        if name not in taken:
            return name
    left = [name for name in called if name not in taken]
    numbered = [name for name in left if _numbers(placement.paths.get(name, "")) == _numbers(key)]
    return next(iter(numbered or left), None)


def _called(key: str, placement: Placement) -> list[str]:
    """The parameters that a key may mean: those called so in their code, else all that mean the same."""
    subject = vocabulary.gradient_of(key) or key
    same = [name for name in placement.parameters if vocabulary.same_thing(subject, name.rpartition(".")[2])]
    theirs = {name: vocabulary.plain(last_word(placement.paths.get(name, ""))) for name in same}
    return [name for name in same if theirs[name] == vocabulary.plain(subject)] or same


def _by_number(called: Sequence[str], placement: Placement) -> list[str]:
    """Parameters by the number in their paths, "W1" or "layers[0].W"; as they are where the paths differ in more."""
    held = [placement.paths.get(name, "") for name in called]
    if len({re.sub(r"\d+", "", path) for path in held}) > 1:
        return list(called)
    return sorted(called, key=lambda name: _numbers(placement.paths.get(name, "")))


def _kept(name: str, inside: Mapping[str, Array], placement: Placement) -> Array | None:
    """The array that holds the gradient of a parameter: beside it, or called after it."""
    path = placement.paths.get(name)
    if path is None:
        return None
    holder, _, leaf = path.rpartition(".")
    if leaf in HOLDERS:
        return next((inside[f"{holder}.{g}"] for g in ("grad", "gradient") if f"{holder}.{g}" in inside), None)
    theirs, place = last_word(path), _place(path)
    found = []
    for candidate, array in inside.items():
        of = gradient_word(candidate)
        if of is None or not (
            vocabulary.plain(of) == vocabulary.plain(theirs) or vocabulary.same_thing(of, name.rpartition(".")[2])
        ):
            continue
        # A number as in "W1" must agree, and what does not fit is taken only where nothing does: its shape is wrong.
        found.append((not placement.fits(array, name), _place(candidate) != place, of != theirs.lower(), candidate))
    return inside[min(found)[3]] if found else None


def _place(path: str) -> tuple[str, ...]:
    """Where an array lies, without the word for what it is: gradients often lie beside their weights."""
    outer = [word for word in paths.words(path)[:-1] if word.lower() not in PLACES]
    return (*re.findall(r"\d+", path), *outer)


def _numbers(path: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path)]


class Resetting:
    """Makes what holds gradients as it was before the first backward: of each call alone they are wanted.

    Code that adds to its gradients and code that overwrites them then give the same.
    """

    def __init__(self, subject: Any) -> None:
        self.subject = subject
        self.before: dict[str, Array] | None = None

    def reset(self) -> None:
        """To be called before every backward."""
        present = {path: a for path, a in paths.arrays(self.subject) if gradient_word(path) is not None}
        if self.before is None:
            self.before = {path: array.copy() for path, array in present.items()}
            return
        for path, array in present.items():
            was = self.before.get(path)
            if was is None or was.shape != array.shape:
                paths.put(self.subject, path, None)
            elif array.flags.writeable:
                array[...] = was
