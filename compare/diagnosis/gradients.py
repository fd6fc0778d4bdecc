"""Where somebody's gradients are after a backward: returned, kept beside the weights, or hidden in an update."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compare.diagnosis import names, paths
from compare.diagnosis.calling import RATE
from compare.diagnosis.interface import INPUT
from compare.diagnosis.making import MistoldError
from compare.diagnosis.placement import GRADIENT_HOLDERS, HOLDERS, Placement, gradient_word, last_word
from scratch import Array

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
    inside = {} if placement.functions is not None else dict(paths.arrays(placement.subject))
    for own, target in placement.interface.gradients.items():
        try:
            value = returned[int(own)] if own.isdigit() else paths.get(placement.subject, own)
        except (AttributeError, KeyError, IndexError, TypeError):
            raise MistoldError(f"there is no {own} after backward; correct --grad {own}={target}") from None
        if target in INPUT:
            found.of_input = value
        elif value is not None:
            found.of_parameters[target] = np.asarray(value)
    for name in placement.parameters.keys() - found.of_parameters.keys():
        kept = _kept(name, inside, placement)
        if kept is not None:
            found.of_parameters[name] = kept
            continue
        update = placement.update_of(name, RATE)
        if update is None and updates and name in placement.paths:
            update = np.zeros_like(placement.pushed[name])
        if update is not None:
            found.of_parameters[name] = update
            found.recovered.add(name)
    if found.of_input is None:
        kept_inputs = (inside[name] for name in names.GRAD_INPUTS if name in inside)
        found.of_input = next((array for array in kept_inputs if array.shape == input_shape), None)
    return found


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
    for key, value in named:
        if value is None:
            continue
        array = np.asarray(value)
        name = _whose(str(key), array, placement, found.of_parameters)
        if name is not None:
            found.of_parameters[name] = array
        elif found.of_input is None and array.shape == input_shape:
            found.of_input = array
    return found


def _whose(key: str, array: Array, placement: Placement, taken: Mapping[str, Array]) -> str | None:
    """The parameter that a returned gradient belongs to: by its key, else the next one, by its shape first."""
    left = [name for name in placement.parameters if name not in taken]
    if key:
        subject = names.gradient_of(key) or key
        called = [name for name in left if names.same_thing(subject, name.rpartition(".")[2])]
        # Of several layers the last one often comes first: a number as in "dW2" must agree with that of the weight.
        numbered = [name for name in called if _numbers(placement.paths.get(name, "")) == _numbers(key)]
        return next(iter(numbered or called), None)
    fitting = [name for name in left if placement.fits(array, name)]
    return fitting[0] if fitting else left[0] if left else None


def _kept(name: str, inside: Mapping[str, Array], placement: Placement) -> Array | None:
    """The array that holds the gradient of a parameter: beside it, or called after it."""
    path = placement.paths.get(name)
    if path is None:
        return None
    holder, _, leaf = path.rpartition(".")
    if leaf in HOLDERS:
        return next((inside[f"{holder}.{g}"] for g in ("grad", "gradient") if f"{holder}.{g}" in inside), None)
    own, place = last_word(path), _place(path)
    found = []
    for candidate, array in inside.items():
        of = gradient_word(candidate)
        if of is None or not (names.plain(of) == names.plain(own) or names.same_thing(of, name.rpartition(".")[2])):
            continue
        # A number as in "W1" must agree, and what does not fit is taken only where nothing does: its shape is wrong.
        found.append((not placement.fits(array, name), _place(candidate) != place, of != own.lower(), candidate))
    return inside[min(found)[3]] if found else None


def _place(path: str) -> tuple[str, ...]:
    """Where an array lies, without the word for what it is: gradients often lie beside their weights."""
    outer = [word for word in paths.words(path)[:-1] if word.lower() not in PLACES]
    return (*_numbers(path), *outer)


def _numbers(path: str) -> list[str]:
    return re.findall(r"\d+", path)


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
