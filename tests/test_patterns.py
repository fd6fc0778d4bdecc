"""Forms that need no catalogue: each is recognised on code that no replay explains, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from compare.diagnosis.diagnose import diagnose
from compare.diagnosis.explaining.forms import Evidence, _in_words
from compare.diagnosis.explaining.replay import name_mistakes
from compare.diagnosis.likeness import Likeness, likeness
from compare.diagnosis.trial import Trial, kind_of, try_probe
from compare.driving.answering import Outcome
from compare.driving.tensors import Driven
from compare.pairs.probe import Probe
from scratch import Array

Change = Callable[[Array, Array], Array]


def sigmoid_with(change: Change) -> type:
    """A right sigmoid whose output goes through `change(output, input)`."""

    class Changed:
        def forward(self, x: Array) -> Array:
            self.y = 1 / (1 + np.exp(-x))
            return change(self.y, x)

        def backward(self, g: Array) -> Array:
            return g * self.y * (1 - self.y)

    return Changed


@pytest.fixture(scope="module")
def sigmoid() -> Likeness:
    return likeness(nn.Sigmoid())


@pytest.fixture(scope="module")
def right(sigmoid: Likeness) -> list[Trial]:
    """What a right sigmoid gives on every probe: nothing of this needs a process of its own."""

    def answer(probe: Probe) -> Outcome:
        return Outcome(Driven({name: array.copy() for name, array in sigmoid.pair.expected(probe).items()}))

    return [try_probe(sigmoid.pair, probe, answer, lenient=True) for probe in sigmoid.pair.examined()]


def input_of(name: str, trial: Trial) -> Array:
    """The input of the call that a tensor belongs to."""
    call = Evidence(kind_of(name), name, trial).call
    assert call is not None
    return call.inputs[0]


def changed(right: Trial, sigmoid: Likeness, tensor: str, change: Change) -> Trial:
    """The trial with `change(array, input)` in place of every array of the tensor."""
    assert right.got is not None
    got = {
        name: change(array, input_of(name, right)) if kind_of(name) == tensor else array
        for name, array in right.got.items()
    }
    return replace(right, got=got, rows=tuple(sigmoid.pair.compare(right.probe, got, right.expected, right.bounds)))


def ring(y: Array, _: Array) -> Array:
    z = y.copy()
    z[:, :, 0] = z[:, :, -1] = z[..., 0] = z[..., -1] = 0
    return z


def nan_somewhere(y: Array, _: Array) -> Array:
    z = y.copy()
    z[0, 0, 0, 0] = np.nan
    return z


FORMS: list[tuple[str, str, Change]] = [
    ("zero", "It is zero everywhere.", lambda y, _: 0 * y),
    ("factor", "It is 1/N times what it should be.", lambda y, _: y / len(y)),
    ("factor", "It is H·W times what it should be.", lambda y, _: y * y.shape[2] * y.shape[3]),
    ("factor", "It is -1 times what it should be.", lambda y, _: -y),
    ("factor", "It is 1/3 times what it should be.", lambda y, _: y / 3),
    ("factor-varying", "by a factor that changes from input to input", lambda y, x: y * (1 + float(x.max()))),
    (
        "one-value",
        "All its elements are one number, the mean of the right ones.",
        lambda y, _: np.full_like(y, y.mean()),
    ),
    ("flipped", "It is reversed along W.", lambda y, _: y[..., ::-1]),
    ("flipped", "It is reversed along H, W.", lambda y, _: y[:, :, ::-1, ::-1]),
    ("shifted", "It is shifted by 0 rows and 1 column.", lambda y, _: np.roll(y, 1, axis=3)),
    ("shifted", "It is shifted by -1 row and 0 columns.", lambda y, _: np.roll(y, -1, axis=2)),
    ("one-image", "Every image has what belongs to the first one.", lambda y, _: np.repeat(y[:1], len(y), axis=0)),
    ("permuted-images", "The images of the batch are in another order.", lambda y, _: np.roll(y, 1, axis=0)),
    ("plus-multiple", "It is the right tensor plus 1/2 times the input.", lambda y, x: y + x / 2),
    ("plus-multiple", "It is the right tensor plus a constant", lambda y, _: y + 0.25),
    ("offset-per-channel", "off by one number for each channel", lambda y, _: y + np.arange(y.shape[1])[:, None, None]),
    ("border", "It is right inside, and zero in a border of 1.", ring),
    ("partly-zero", "(only where the input is negative); all others are right", lambda y, x: y * (x >= 0)),
    ("reordered", "It holds the right numbers in another order.", lambda y, _: y.swapaxes(2, 3).reshape(y.shape)),
    ("float32-inside", "Its errors are those of float32", lambda y, _: y.astype(np.float32).astype(y.dtype)),
    ("not-finite", "of its elements are NaN or infinite.", nan_somewhere),
    ("shape", "the same lengths in another order", lambda y, _: y.swapaxes(2, 3)),
    ("shape", "as many numbers, not reshaped", lambda y, _: y.reshape(len(y), -1)),
    ("", "It fits no known form: on every input, ", lambda y, _: y**2),
]


@pytest.mark.parametrize("tensor", ["output", "grad_input"])
@pytest.mark.parametrize(("name", "made", "change"), FORMS, ids=[f"{row[0] or 'none'}: {row[1]}" for row in FORMS])
def test_a_form_is_recognised(
    name: str, made: str, change: Change, tensor: str, sigmoid: Likeness, right: list[Trial]
) -> None:
    findings = name_mistakes(sigmoid, [changed(trial, sigmoid, tensor, change) for trial in right])
    finding = next(finding for finding in findings if tensor in finding.kinds)
    assert finding.name == name, finding.made
    assert made in finding.made
    assert finding.hint
    assert not finding.catalogued


def test_what_is_right_has_no_form() -> None:
    assert diagnose(sigmoid_with(lambda y, _: y), like=nn.Sigmoid()).ok


def test_transposed_axes_are_recognised_where_the_shape_allows() -> None:
    change = sigmoid_with(lambda y, _: np.ascontiguousarray(y.swapaxes(2, 3)))
    result = diagnose(change, like=nn.Sigmoid(), input_shape=(2, 5, 5), with_example=False)
    assert result.name == "transposed"
    assert "(N, C, W, H)" in result.findings[0].made


def test_a_factor_is_an_expression_that_holds_on_all_inputs() -> None:
    sizes = [{"N": 2.0, "C": 3.0}, {"N": 4.0, "C": 5.0}]
    assert _in_words([2, 4], sizes) == "N"
    assert _in_words([1 / 6, 1 / 20], sizes) == "1/(N·C)"
    assert _in_words([-3, -5], sizes) == "-C"
    assert _in_words([0.5, 0.5], sizes) == "1/2"
    assert _in_words([0.5, 0.6], sizes) is None


def test_what_counts_as_rounding_is_a_share_of_the_largest_number(right: list[Trial]) -> None:
    for dtype, share in (("float64", 1e-9), ("float32", 1e-4)):
        trial = next(trial for trial in right if trial.probe.dtype == dtype and "output" in trial.expected)
        evidence = Evidence("output", "output", trial)
        largest = float(np.abs(trial.expected["output"]).max())
        assert evidence.tolerance == pytest.approx(share * largest, rel=1e-6)
        assert evidence.equals(evidence.got + 0.99 * share * largest)
        assert not evidence.equals(
            evidence.got + 1.01 * share * max(largest, float(np.abs(evidence.got).max()) + share)
        )
