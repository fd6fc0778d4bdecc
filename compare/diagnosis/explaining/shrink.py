"""The smallest input that shows a mistake: small enough to follow its numbers by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compare.diagnosis.likeness import Likeness
from compare.diagnosis.trial import Trial, kind_of
from compare.pairs.observe import Call, Tensors
from compare.pairs.probe import Probe, draw_probe
from compare.pairs.registry import Case, LayerPair
from scratch import Array

ATTEMPTS = 60  # so often a simpler input is tried
DRAWS = 3  # so many draws of the numbers of a small case
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


def _conv(c_in: int, c_out: int, kernel: Any, **more: Any) -> dict[str, Any]:
    return {"in_channels": c_in, "out_channels": c_out, "kernel_size": kernel} | more


# From the smallest up: what a mistake needs to show at all.
SMALL: dict[str, list[tuple[tuple[int, ...], dict[str, Any], int]]] = {
    "conv2d": [
        ((1, 1, 3, 3), _conv(1, 1, 3), 1),
        ((1, 1, 3, 3), _conv(1, 1, 2), 1),
        ((1, 1, 2, 2), _conv(1, 1, 3, padding=1), 1),
        ((1, 1, 3, 3), _conv(1, 1, 3, padding=1), 1),
        ((1, 1, 4, 4), _conv(1, 1, 2, stride=2), 1),
        ((2, 1, 2, 2), _conv(1, 1, 2), 1),
        ((1, 2, 2, 2), _conv(2, 1, 2), 1),
        ((1, 1, 2, 2), _conv(1, 2, 2), 1),
        ((1, 2, 2, 2), _conv(2, 2, 2), 1),
        ((1, 1, 3, 3), _conv(1, 1, (2, 1)), 1),
        ((1, 1, 4, 4), _conv(1, 1, 2, stride=(2, 1)), 1),
        ((1, 1, 3, 3), _conv(1, 1, 3, padding=(1, 0)), 1),
        ((1, 1, 2, 2), _conv(1, 1, 2), 2),
        ((2, 1, 2, 2), _conv(1, 1, 2), 2),
    ],
    "maxpool2d": [
        ((1, 1, 2, 2), {"kernel_size": 2}, 1),
        ((1, 1, 3, 3), {"kernel_size": 2}, 1),
        ((1, 1, 3, 3), {"kernel_size": 2, "stride": 1}, 1),
        ((1, 1, 4, 4), {"kernel_size": 2}, 1),
        ((1, 1, 3, 3), {"kernel_size": 3, "stride": 2, "padding": 1}, 1),
        ((1, 1, 2, 4), {"kernel_size": (1, 2)}, 1),
        ((2, 1, 2, 2), {"kernel_size": 2}, 2),
    ],
    "linear": [
        ((1, 2), {"in_features": 2, "out_features": 1}, 1),
        ((1, 2), {"in_features": 2, "out_features": 2}, 1),
        ((1, 3), {"in_features": 3, "out_features": 2}, 1),
        ((2, 2), {"in_features": 2, "out_features": 2}, 1),
        ((2, 2), {"in_features": 2, "out_features": 2}, 2),
    ],
    "relu": [((1, 3), {}, 1), ((1, 1, 2, 2), {}, 1), ((1, 3), {}, 2)],
    "flatten": [((1, 1, 1, 2), {}, 1), ((1, 2, 1, 2), {}, 1), ((1, 1, 2, 2), {}, 1), ((2, 2, 2, 2), {}, 1)],
    "softmax": [((1, 2), {"dim": 1}, 1), ((2, 2), {"dim": 1}, 1), ((2, 2), {"dim": 0}, 1)],
    "log_softmax": [((1, 2), {"dim": 1}, 1), ((2, 2), {"dim": 1}, 1), ((2, 2), {"dim": 0}, 1)],
    "cross_entropy": [
        ((1, 2), {"reduction": "mean"}, 1),
        ((2, 2), {"reduction": "mean"}, 1),
        ((2, 3), {"reduction": "mean"}, 1),
        ((2, 2), {"reduction": "sum"}, 1),
        ((2, 2), {"reduction": "mean"}, 2),
    ],
    "batchnorm2d": [
        ((2, 1, 1, 1), {"num_features": 1}, 1),
        ((3, 1, 1, 1), {"num_features": 1}, 1),
        ((1, 1, 2, 2), {"num_features": 1}, 1),
        ((2, 2, 1, 2), {"num_features": 2}, 1),
        ((3, 1, 1, 1), {"num_features": 1}, 2),
    ],
}


def smallest(
    likeness: Likeness, kind: str, attempt: Try, trials: Sequence[Trial], *, one_image: bool
) -> Example | None:
    """The smallest case in which the tensor `kind` is wrong: one of a few small ones, made simpler number by number.

    Args:
        attempt: tries one probe on the candidate.
        trials: what was tried already; the smallest wrong one of them serves where no small one is wrong.
    """
    pair = likeness.pair
    if not isinstance(pair, LayerPair):
        trial = min((t for t in trials if kind in t.wrong()), key=_steps, default=None)
        return None if trial is None else _one_element(trial, kind)
    for case, draw in itertools.product(_small_cases(likeness, one_image), range(DRAWS)):
        try:
            probe = _whole_numbers(pair, case, draw)
        except (ValueError, RuntimeError):
            continue
        trial = attempt(probe)
        if kind in trial.wrong() and not trial.problem:
            return _of_trial(_simpler(trial, kind, attempt), kind)
    wrong = [trial for trial in trials if kind in trial.wrong()]
    return _of_trial(min(wrong, key=_size, default=None), kind)


def _one_element(trial: Trial, kind: str) -> Example | None:
    """What an optimizer does to one number, step by step."""
    row = next((row for row in trial.rows if kind_of(row.tensor) == kind and not row.ok), None)
    if row is None or row.worst is None or trial.got is None or kind not in trial.probe.state:
        return None
    at = row.worst
    given = {kind: trial.probe.state[kind][at]}
    given |= {
        f"gradient of step {n}": step[kind][at] for n, step in enumerate(trial.probe.gradients, 1) if kind in step
    }
    given = {name: np.asarray(number) for name, number in given.items()}
    got, right = np.asarray(trial.got[kind][at]), np.asarray(trial.expected[kind][at])
    return Example(trial.probe.options, given, kind, right, got)


def _small_cases(likeness: Likeness, one_image: bool) -> Iterator[Case]:
    pair = likeness.pair
    if not likeness.fixed:
        for shape, options, calls in SMALL.get(pair.name, []):
            if not one_image or shape[0] == 1:
                yield Case(shape, options, calls=calls)
        return
    assert isinstance(pair, LayerPair)
    shapes = {case.shape for case in pair.cases}
    for shape in sorted(shapes, key=lambda shape: int(np.prod(shape))):
        yield Case((1, *shape[1:]), pair.cases[0].options)
    yield Case(pair.cases[0].shape, pair.cases[0].options, calls=2)


def _whole_numbers(pair: LayerPair, case: Case, draw: int) -> Probe:
    """The case with small whole numbers of both signs, none of them 0 but the first number of the input."""
    rng = np.random.default_rng(draw)
    probe = draw_probe(pair, case, "float64", rng)

    def whole(array: Array, low: int, high: int) -> Array:
        if array.dtype.kind != "f":
            return array
        numbers = rng.integers(low, high + 1, array.shape).astype(float)
        return np.where(numbers == 0, 1.0, numbers)

    state = {name: whole(array, 1 if name.endswith("var") else -4, 5) for name, array in probe.state.items()}
    calls = tuple(
        Call((_with_tie(whole(call.inputs[0], -5, 9)), *call.inputs[1:]), whole(call.grad_output, -3, 3))
        for call in probe.calls
    )
    return replace(probe, state=state, calls=calls)


def _with_tie(x: Array) -> Array:
    """The last two numbers equal, and a 0 among the others: what shows ties and thresholds."""
    if x.size > 1:
        flat = x.reshape(-1).copy()
        flat[-2] = flat[-1]
        if x.size > 2:
            flat[0] = 0
        return flat.reshape(x.shape)
    return x


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
    return sum(call.inputs[0].size for call in trial.probe.calls)


def _steps(trial: Trial) -> int:
    return len(trial.probe.options)


def _of_trial(trial: Trial | None, kind: str) -> Example | None:
    if trial is None:
        return None
    probe = trial.probe
    several = len(probe.calls) > 1
    given: Tensors = dict(probe.state)
    for number, call in enumerate(probe.calls, 1):
        of = f" of call {number}" if several else ""
        given[f"input{of}"] = call.inputs[0]
        if len(call.inputs) > 1:
            given[f"targets{of}"] = call.inputs[1]
        given[f"grad_output{of}"] = call.grad_output
    name = next((row.tensor for row in trial.rows if not row.ok and kind_of(row.tensor) == kind), kind)
    got = None if trial.got is None else trial.got.get(name)
    return Example(probe.options, given, name, trial.expected.get(name), got, trial.problem)
