"""What a wrong tensor looks like beside the right one: forms that need no catalogue.

Each form is a closed-form test that must hold on every input where the tensor is wrong. They are tried from the most
telling to the least; what fits none is described by where the differences lie, and how large they are.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compare.diagnosis.trial import Trial, kind_of
from compare.driving.tensors import Call
from scratch import Array

ONE = "one"  # the tensor of ones
EXACT = {"float64": 1e-9, "float32": 1e-4}  # of the greatest element


@dataclass(frozen=True)
class Form:
    """A recognised form: its name, what it says about the code, a hint, and what it rests on."""

    name: str
    made: str
    hint: str
    evidence: str


@dataclass(frozen=True)
class Evidence:
    """One wrong or right tensor of one trial."""

    kind: str
    name: str
    trial: Trial

    @property
    def got(self) -> Array:
        assert self.trial.got is not None
        array = self.trial.got[self.name]
        return np.asarray(array if array.dtype.kind in "fiub" else np.full(array.shape, np.nan), np.float64)

    @property
    def right(self) -> Array:
        return self.trial.expected[self.name].astype(np.float64)

    @property
    def wrong(self) -> bool:
        """Whether it was found wrong."""
        return any(row.tensor == self.name and not row.ok for row in self.trial.rows)

    @property
    def tolerance(self) -> float:
        """What counts as no difference: a share of the greatest number in it."""
        finite = self.right[np.isfinite(self.right)]
        return EXACT[self.trial.probe.dtype] * float(np.abs(finite).max(initial=0))

    @property
    def off(self) -> Array:
        """Which elements differ by more than the tolerance."""
        return np.abs(self.got - self.right) > self.tolerance

    def equals(self, other: Array) -> bool:
        """Whether the candidate's tensor is `other`, to rounding."""
        if other.shape != self.got.shape:
            return False
        largest = float(np.abs(other).max(initial=0))
        return bool(np.all(np.abs(self.got - other) <= max(self.tolerance, EXACT[self.trial.probe.dtype] * largest)))

    @property
    def call(self) -> Call | None:
        """The call that the tensor belongs to; the first one where it belongs to all of them."""
        number = re.search(r" of call (\d+)$", self.name)
        calls = self.trial.probe.calls
        return calls[int(number[1]) - 1 if number else 0] if calls else None

    def sizes(self) -> dict[str, float]:
        """The lengths that factors are made of, by their usual letters."""
        if self.call is None:
            return {}
        x, y = self.call.inputs[0], self.call.grad_output
        weights = [array for array in self.trial.probe.state.values() if array.ndim == 4]
        found = {"N": x.shape[0]}
        if x.ndim == 4:
            found |= {"C_in": x.shape[1], "H·W": x.shape[2] * x.shape[3]}
        elif x.ndim == 2:
            found |= {"in_features": x.shape[1]}
        if y.ndim == 4:
            found |= {"C_out": y.shape[1], "H_out·W_out": y.shape[2] * y.shape[3]}
        elif y.ndim == 2:
            found |= {"out_features": y.shape[1]}
        if weights:
            found |= {"kH·kW": weights[0].shape[2] * weights[0].shape[3]}
        return {name: float(length) for name, length in found.items()}

    def related(self) -> Iterator[tuple[str, Array]]:
        """Other tensors of the trial that a difference may be a multiple of."""
        probe = self.trial.probe
        leaf = self.kind.removeprefix("grad_").rpartition(".grad_")
        owner = f"{leaf[0]}.{leaf[2]}" if leaf[1] else leaf[2]
        for name, array in probe.state.items():
            if name == owner or array.shape == self.right.shape or self.kind == "output":
                yield name, array
        if self.call is not None:
            yield "the input", self.call.inputs[0]
            yield "the upstream gradient", self.call.grad_output
        for name, array in self.trial.expected.items():
            if kind_of(name) != self.kind and "after use" not in name and array.shape == self.right.shape:
                yield kind_of(name), array


def recognise(evidence: Sequence[Evidence]) -> Form:
    """The first form that holds on every input where the tensor is wrong; else a description."""
    wrong = [e for e in evidence if e.wrong]
    shapes = [e for e in wrong if e.got.shape != e.right.shape]
    if shapes:
        return _shape(shapes[0])
    broken = [e for e in wrong if not np.isfinite(e.got).all()]
    if broken:
        return _not_finite(broken, wrong)
    unlike = [e for e in wrong if not np.isfinite(e.right).all()]
    if unlike:
        return Form(
            "",
            f"All its elements are finite; those of torch are not, on [{unlike[0].trial.probe.case}].",
            "Which step overflows in torch, or has no answer there?",
            f"on {len(unlike)} of {len(wrong)} inputs where it is wrong",
        )
    if all(np.array_equal(e.got, e.right) for e in wrong):
        return Form(
            "", "It is missing, or differs in its type.", "Look at what is returned.", "the first row of the table"
        )
    with np.errstate(all="ignore"):
        for form in FORMS:
            found = form(wrong)
            if found is not None:
                name, made, hint = found
                times = f"all {len(wrong)} inputs" if len(wrong) > 1 else "the one input"
                return Form(name, made, hint, f"holds on {times} where the tensor is wrong")
    return _description(wrong, evidence)


Found = tuple[str, str, str] | None


def _zero(wrong: Sequence[Evidence]) -> Found:
    if all(not e.got.any() for e in wrong):
        return "zero", "It is zero everywhere.", "Is it ever computed, and is it the array you hand out?"
    return None


def _narrow(wrong: Sequence[Evidence]) -> Found:
    if wrong[0].trial.probe.dtype == "float64" and all(
        np.abs(e.got - e.right).max() <= 1e-5 * np.abs(e.right).max() for e in wrong
    ):
        at_float32 = all(np.array_equal(e.got, e.got.astype(np.float32)) for e in wrong)
        small = max(float(np.abs(e.got - e.right).max() / np.abs(e.right).max()) for e in wrong)
        if at_float32 or 1e-10 < small < 2e-6:
            return (
                "float32-inside",
                "Its errors are those of float32, although it was given float64: somewhere it is narrowed.",
                "Look for np.float32, dtype=... and arrays made without a dtype.",
            )
    return None


def _close(wrong: Sequence[Evidence]) -> Found:
    """Off by so little that every form would hold that leaves the tensor nearly as it is."""
    if not any(e.off.any() for e in wrong):
        largest = max(float(np.abs(e.got - e.right).max() / np.abs(e.right).max()) for e in wrong if e.right.any())
        return (
            "",
            f"It is off by no more than {largest:.2g} of the largest element: close, but more than rounding explains.",
            "Look for a small number that is added, such as eps, and for differences of nearly equal numbers.",
        )
    return None


def _factor(wrong: Sequence[Evidence]) -> Found:
    factors = []
    for e in wrong:
        right = e.right
        if not right.any():
            return None
        c = float((e.got * right).sum() / (right * right).sum())
        if not e.equals(c * right):
            return None
        factors.append(c)
    if all(math.isclose(c, 1, abs_tol=1e-6) for c in factors):
        return None
    said = _in_words(factors, [e.sizes() for e in wrong])
    if said is not None:
        return (
            "factor",
            f"It is {said} times what it should be.",
            "Compare the sizes of a few numbers with the right ones.",
        )
    return (
        "factor-varying",
        f"It is a multiple of what it should be, by a factor that changes from input to input "
        f"({', '.join(f'{c:.4g}' for c in factors[:3])} ...).",
        "What do you multiply or divide by, and where does that number come from?",
    )


def _in_words(factors: Sequence[float], sizes: Sequence[dict[str, float]]) -> str | None:
    """The factors as an expression that holds for all of them: "1/N", "H·W", "-1"; None if none does."""

    def near(values: Sequence[float]) -> bool:
        return all(math.isclose(c, v, rel_tol=1e-6) for c, v in zip(factors, values, strict=True))

    if near([factors[0]] * len(factors)):
        return _constant(factors[0])
    if len({tuple(s.items()) for s in sizes}) == 1:  # one size: any expression of it would be a guess
        return None
    return next((words for words, values in _expressions(sizes) if near(values)), None)


def _expressions(sizes: Sequence[dict[str, float]]) -> Iterator[tuple[str, list[float]]]:
    """Products of up to three lengths, and one over them, of either sign: in words, and their values in each case."""
    letters = [name for name in sizes[0] if all(name in s for s in sizes)]
    for count in (1, 2, 3):
        for chosen in itertools.combinations(letters, count):
            product = [math.prod(s[name] for name in chosen) for s in sizes]
            if all(p == 1 for p in product):
                continue
            words = "·".join(chosen)
            for sign, prefix in ((1, ""), (-1, "-")):
                yield f"{prefix}{words}", [sign * p for p in product]
                yield f"{prefix}1/({words})" if count > 1 else f"{prefix}1/{words}", [sign / p for p in product]


def _constant(c: float) -> str:
    for whole in range(2, 65):
        if math.isclose(abs(c) * whole, 1):
            return f"{'-' if c < 0 else ''}1/{whole}"
    return f"{c:.6g}"


def _turned(wrong: Sequence[Evidence]) -> Found:
    ndim = wrong[0].right.ndim
    names = {4: "NCHW", 2: "NC"}.get(ndim, "")
    if "weight" in wrong[0].kind:
        names = {4: "OIHW", 2: "OI"}.get(ndim, "")
    for count in range(1, ndim + 1):
        for axes in itertools.combinations(range(ndim), count):
            if all(e.right.ndim == ndim and e.equals(np.flip(e.right, axes)) for e in wrong):
                which = ", ".join(names[a] if names else str(a) for a in axes)
                return "flipped", f"It is reversed along {which}.", "Read one small example backwards."
    for order in itertools.permutations(range(ndim)):
        if list(order) == list(range(ndim)):
            continue
        for e in wrong:
            if e.right.ndim != ndim or not e.equals(e.right.transpose(order)):
                break
        else:
            swapped = ", ".join(names[a] if names else str(a) for a in order)
            return (
                "transposed",
                f"Its axes are exchanged: they come as ({swapped}).",
                "Compare one element off the diagonal.",
            )
    return None


def _shifted(wrong: Sequence[Evidence]) -> Found:
    if any(e.right.ndim != 4 for e in wrong):
        return None
    for dy, dx in itertools.product(range(-3, 4), repeat=2):
        if (dy, dx) != (0, 0) and _is_shifted(wrong, dy, dx):
            return (
                "shifted",
                f"It is shifted by {dy} row{'s' * (abs(dy) != 1)} and {dx} column{'s' * (abs(dx) != 1)}.",
                "Where does the first window begin, and where is the padding taken away again?",
            )
    return None


def _is_shifted(wrong: Sequence[Evidence], dy: int, dx: int) -> bool:
    """Whether every tensor is the right one, moved. A map that is no larger than the shift speaks against it."""
    seen = False
    for e in wrong:
        h, w = e.right.shape[2:]
        if abs(dy) >= h or abs(dx) >= w:
            return False
        got = e.got[:, :, max(dy, 0) : h + dy, max(dx, 0) : w + dx]
        right = e.right[:, :, max(-dy, 0) : h - dy, max(-dx, 0) : w - dx]
        if np.abs(got - right).max(initial=0) > e.tolerance:
            return False
        seen = seen or bool(right.any())
    return seen


def _border(wrong: Sequence[Evidence]) -> Found:
    if any(e.right.ndim != 4 for e in wrong):
        return None
    for ring in (1, 2, 3):

        def inner(array: Array, ring: int = ring) -> Array:
            return array[:, :, ring:-ring, ring:-ring]

        if all(
            min(e.right.shape[2:]) > 2 * ring and np.abs(inner(e.got) - inner(e.right)).max() <= e.tolerance
            for e in wrong
        ):
            zero = all(
                not (e.got - np.pad(inner(e.got), ((0, 0), (0, 0), (ring, ring), (ring, ring)))).any() for e in wrong
            )
            return (
                "border",
                f"It is right inside, and {'zero' if zero else 'wrong'} in a border of {ring}.",
                "Look at what happens to the windows at the edge, and to the padding.",
            )
    return None


def _one_value(wrong: Sequence[Evidence]) -> Found:
    if not all(e.got.size > 1 and np.ptp(e.got) <= e.tolerance for e in wrong):
        return None
    whole: list[tuple[str, Callable[[Array], Any]]] = [("sum", np.sum), ("mean", np.mean), ("maximum", np.max)]
    for word, function in whole:
        if all(e.equals(np.full(e.right.shape, function(e.right))) for e in wrong):
            return (
                "one-value",
                f"All its elements are one number, the {word} of the right ones.",
                "Over which axes do you sum?",
            )
    return "one-value", "All its elements are one and the same number.", "Over which axes do you sum?"


def _of_one_image(wrong: Sequence[Evidence]) -> Found:
    """Rows of the batch: permuted, or one image's for all."""
    if any(e.kind not in ("output", "grad_input") or e.right.ndim == 0 for e in wrong):
        return None
    for word, index in (("first", 0), ("last", -1)):
        if all(e.equals(np.broadcast_to(e.right[index], e.right.shape)) for e in wrong):
            return (
                "one-image",
                f"Every image has what belongs to the {word} one.",
                "What does the loop over images change?",
            )
    for e in wrong:
        rows = [r for g in e.got for r in range(len(e.right)) if np.abs(g - e.right[r]).max() <= e.tolerance]
        if sorted(rows) != list(range(len(e.right))):
            return None
    return (
        "permuted-images",
        "The images of the batch are in another order.",
        "Is the order of the batch kept everywhere?",
    )


def _partly_zero(wrong: Sequence[Evidence]) -> Found:
    if not any((e.off & (e.got != 0)).any() for e in wrong):
        where = _where([e for e in wrong if e.off.any()])
        return (
            "partly-zero",
            f"Some of its elements are zero where they should not be{where}; all others are right.",
            "Which condition keeps these elements from being set?",
        )
    return None


def _reordered(wrong: Sequence[Evidence]) -> Found:
    for e in wrong:
        difference = np.abs(np.sort(e.got, axis=None) - np.sort(e.right, axis=None)).max(initial=0)
        if difference > e.tolerance or e.got.size < 2:
            return None
    return (
        "reordered",
        "It holds the right numbers in another order.",
        "Look for a reshape or transpose that reads the axes in another order.",
    )


def _residual(wrong: Sequence[Evidence]) -> Found:
    """The right tensor plus a multiple of another one."""
    for name in [*(name for name, _ in wrong[0].related()), ONE]:
        factors = [_multiple_of(name, e) for e in wrong]
        if any(factor is None for factor in factors):
            continue
        known = [factor for factor in factors if factor is not None]
        said = _in_words(known, [e.sizes() for e in wrong])
        times = f"a multiple of {name}" if said is None else name if said == "1" else f"{said} times {name}"
        what = f"a constant ({known[0]:.4g})" if name == ONE else times
        made = f"It is the right tensor plus {what}."
        return "plus-multiple", made, "What is added to it that does not belong there?"
    return None


def _multiple_of(name: str, e: Evidence) -> float | None:
    """Which multiple of another tensor is added to the right one; None if it is no multiple."""
    known = np.ones(e.right.shape) if name == ONE else dict(e.related()).get(name)
    other = None if known is None else _spread(np.asarray(known, np.float64), e.right.shape)
    if other is None or not other.any():
        return None
    rest = e.got - e.right
    c = float((rest * other).sum() / (other * other).sum())
    fits = np.abs(rest - c * other).max() <= max(e.tolerance, 1e-6 * np.abs(rest).max())
    return c if c != 0 and fits else None


def _spread(other: Array, shape: tuple[int, ...]) -> Array | None:
    """`other` over `shape`: as it is, or one number for each channel; None if it does not fit."""
    if other.shape == shape:
        return other
    if other.ndim == 1 and len(shape) >= 2 and other.shape[0] == shape[1]:
        return np.broadcast_to(other.reshape(1, -1, *(1,) * (len(shape) - 2)), shape)
    return None


def _per_channel(wrong: Sequence[Evidence]) -> Found:
    """A constant offset or factor for each channel."""
    if not all(e.right.ndim == 4 and e.right.shape[2] * e.right.shape[3] * len(e.right) > 1 for e in wrong):
        return None
    if all(np.ptp(e.got - e.right, axis=(0, 2, 3)).max() <= 2 * e.tolerance for e in wrong):
        return "offset-per-channel", "It is off by one number for each channel.", "What is added once for each channel?"
    return None


FORMS: tuple[Callable[[Sequence[Evidence]], Found], ...] = (
    _zero,
    _narrow,
    _close,
    _factor,
    _one_value,
    _turned,
    _shifted,
    _of_one_image,
    _residual,
    _per_channel,
    _border,
    _partly_zero,
    _reordered,
)


def _shape(e: Evidence) -> Form:
    got, right = list(e.got.shape), list(e.right.shape)
    made = f"Its shape is {got} instead of {right}."
    hint = "Work out the output size on paper for one odd input, with its padding and stride."
    if sorted(got) == sorted(right):
        made, hint = made[:-1] + ": the same lengths in another order.", "In which order do you list the axes?"
    elif e.got.size == e.right.size:
        made, hint = made[:-1] + ": as many numbers, not reshaped.", "Which shape did the input have?"
    return Form("shape", made, hint, f"first on [{e.trial.probe.case}]")


def _not_finite(broken: Sequence[Evidence], wrong: Sequence[Evidence]) -> Form:
    share = float(np.mean(~np.isfinite(broken[0].got)))
    large = all("large" in e.trial.probe.case for e in broken)
    made = f"{share:.0%} of its elements are NaN or infinite" + (", for large inputs only." if large else ".")
    hint = (
        "Which number overflows exp, or what is divided by zero?" if large else "What is divided by zero, or never set?"
    )
    return Form("not-finite", made, hint, f"on {len(broken)} of {len(wrong)} inputs where it is wrong")


def _where(wrong: Sequence[Evidence]) -> str:
    """Where the differences lie, if that can be said for all: " (only in the last image)"."""

    def masks() -> Iterator[tuple[Evidence, Array]]:
        for e in wrong:
            yield e, e.off

    tests: list[tuple[str, Callable[[Evidence, Array], bool]]] = [
        ("in the last image", lambda _, m: m.ndim > 1 and len(m) > 1 and not m[:-1].any()),
        ("in the first image", lambda _, m: m.ndim > 1 and len(m) > 1 and not m[1:].any()),
        ("in the last row", lambda _, m: m.ndim == 4 and m.shape[2] > 1 and not m[:, :, :-1].any()),
        ("in the last column", lambda _, m: m.ndim == 4 and m.shape[3] > 1 and not m[..., :-1].any()),
        ("in the first row", lambda _, m: m.ndim == 4 and m.shape[2] > 1 and not m[:, :, 1:].any()),
        ("in the first column", lambda _, m: m.ndim == 4 and m.shape[3] > 1 and not m[..., 1:].any()),
        ("in the first channel", lambda _, m: m.ndim > 1 and m.shape[1] > 1 and not m[:, 1:].any()),
        ("in the last channel", lambda _, m: m.ndim > 1 and m.shape[1] > 1 and not m[:, :-1].any()),
        ("where the input is negative", lambda e, m: _at(e, m, lambda x: x < 0)),
        ("where the input is exactly 0", lambda e, m: _at(e, m, lambda x: x == 0)),
        ("where the input is positive", lambda e, m: _at(e, m, lambda x: x > 0)),
        ("where the upstream gradient is negative", lambda e, m: _at(e, m, lambda g: g < 0, gradient=True)),
        ("where the upstream gradient is positive", lambda e, m: _at(e, m, lambda g: g > 0, gradient=True)),
    ]
    for words, test in tests:
        if all(test(e, mask) for e, mask in masks()):
            return f" (only {words})"
    return ""


def _at(e: Evidence, mask: Array, condition: Callable[[Array], Array], *, gradient: bool = False) -> bool:
    if e.call is None:
        return False
    other = e.call.grad_output if gradient else e.call.inputs[0]
    return other.shape == mask.shape and not mask[~condition(other)].any()


def _description(wrong: Sequence[Evidence], evidence: Sequence[Evidence]) -> Form:
    shares = [float(np.mean(e.off)) for e in wrong]
    scale = max(float(np.abs(e.got - e.right).max() / (np.abs(e.right).max() or 1.0)) for e in wrong)
    first = next(e for e in wrong if e.off.any())
    at = [int(i) for i in np.unravel_index(int(first.off.argmax()), first.off.shape)]
    where = _where(wrong)
    on = "every input" if len(wrong) == len(evidence) else f"{len(wrong)} of {len(evidence)} inputs"
    low, high = f"{min(shares):.0%}", f"{max(shares):.0%}"
    share = low if low == high else f"{low} to {high}"
    made = (
        f"It fits no known form: on {on}, {share} of its elements are off{where}, "
        f"by up to {scale:.2g} of the largest; the first is at {at} on [{first.trial.probe.case}]."
    )
    kinds = sorted({e.trial.probe.case for e in evidence} - {e.trial.probe.case for e in wrong})
    hint = (
        f"It is right on [{kinds[0]}] and wrong on [{first.trial.probe.case}]: what is the difference?"
        if kinds
        else "Follow the smallest example below by hand."
    )
    return Form("", made, hint, f"on {on}")
