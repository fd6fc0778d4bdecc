"""The smallest input that shows a mistake: small enough to follow its numbers by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compare.diagnosis.trial import Trial, kind_of
from compare.driving.tensors import Call, Tensors
from compare.pairs.pair import Pair
from compare.pairs.probe import Probe
from scratch import Array

ATTEMPTS = 60  # so often a simpler input is tried
Try = Callable[[Probe], Trial]


@dataclass(frozen=True)
class Example:
    """A small case in full.

    Attributes:
        options: the constructor's arguments.
        given: inputs, weights and upstream gradients, by name.
        tensor: the tensor that is wrong.
        expected, got: what it should be, and what it is; `got` is None where there was no answer.
        problem: why there was none.
    """

    options: dict[str, Any]
    given: Tensors
    tensor: str
    expected: Array | None
    got: Array | None
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        """The example as plain lists; a number that is not finite becomes a string, as JSON has none."""
        return {
            "options": {key: _plain(value) for key, value in self.options.items()},
            "given": {name: _plain(array) for name, array in self.given.items()},
            "tensor": self.tensor,
            "expected": _plain(self.expected),
            "got": _plain(self.got),
            "problem": self.problem,
        }


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value


def smallest(pair: Pair, kind: str, attempt: Try, trials: Sequence[Trial], *, one_image: bool) -> Example | None:
    """The smallest case in which the tensor `kind` is wrong: one of a few small ones, made simpler number by number.

    Args:
        attempt: tries one probe on the candidate.
        trials: what was tried already; the smallest wrong one of them serves where no small one is wrong.
    """
    for probe in pair.small_probes(one_image):
        trial = attempt(probe)
        if kind in trial.wrong() and not trial.problem:
            return _example(pair, _simpler(trial, kind, attempt), kind)
    wrong = min((trial for trial in trials if kind in trial.wrong()), key=_size, default=None)
    return None if wrong is None else _example(pair, wrong, kind)


def _example(pair: Pair, trial: Trial, kind: str) -> Example | None:
    row = next((row for row in trial.rows if not row.ok and kind_of(row.tensor) == kind), None)
    name = kind if row is None else row.tensor
    excerpt = pair.excerpt(trial.probe, name, None if row is None else row.worst)
    if excerpt is None:
        return None
    given, part = excerpt
    right, got = trial.expected.get(name), None if trial.got is None else trial.got.get(name)
    return Example(
        trial.probe.options,
        given,
        name,
        None if right is None else part(right),
        None if got is None else part(got),
        trial.problem,
    )


def _simpler(trial: Trial, kind: str, attempt: Try) -> Trial:
    """Numbers replaced by 0, one after the other, as long as the tensor stays wrong."""
    left = ATTEMPTS
    probe = trial.probe
    places = [
        *(("state", name, index) for name, array in probe.state.items() for index in np.ndindex(array.shape)),
        *(("grad", n, index) for n, call in enumerate(probe.calls) for index in np.ndindex(call.grad_output.shape)),
        *(("input", n, index) for n, call in enumerate(probe.calls) for index in np.ndindex(call.inputs[0].shape)),
    ]
    for place in places:
        if left == 0:
            break
        simpler = _with_zero(trial.probe, *place)
        if simpler is None:
            continue
        left -= 1
        again = attempt(simpler)
        if kind in again.wrong() and again.got is not None and not _nothing_right(again, kind):
            trial = again
    return trial


def _nothing_right(trial: Trial, kind: str) -> bool:
    """Whether the tensor should be all zeros: then the example says little."""
    return all(not array.any() for name, array in trial.expected.items() if kind_of(name) == kind)


def _with_zero(probe: Probe, what: str, which: Any, index: tuple[int, ...]) -> Probe | None:
    def zeroed(array: Array) -> Array | None:
        if array.dtype.kind != "f" or array[index] == 0 or array.size == 1:
            return None
        changed = array.copy()
        changed[index] = 0
        return changed

    if what == "state":
        if str(which).endswith(("running_var", "num_batches_tracked")):
            return None
        array = zeroed(probe.state[which])
        return None if array is None else replace(probe, state={**probe.state, which: array})
    calls = list(probe.calls)
    call = calls[which]
    if what == "grad":
        array = zeroed(call.grad_output)
        if array is None or not array.any():
            return None
        calls[which] = Call(call.inputs, array)
    else:
        array = zeroed(call.inputs[0])
        if array is None:
            return None
        calls[which] = Call((array, *call.inputs[1:]), call.grad_output)
    return replace(probe, calls=tuple(calls))


def _size(trial: Trial) -> int:
    """How much there is to look at: inputs; of an optimizer, which has none, options."""
    return sum(call.inputs[0].size for call in trial.probe.calls) or len(trial.probe.options)
