"""A pair: something of ours and its torch twin, and how both are driven with the same probe and held together.

What the three kinds of pair (layer, optimizer, model) do differently are the methods of `Pair`: nobody has to ask which
kind it is.
"""

from __future__ import annotations

import copy
import inspect
import itertools
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

import scratch
from compare.driving.observe import drive_module, observe_scratch
from compare.driving.options import Axes, Option
from compare.driving.tensors import LAYOUTS, Call, Tensors
from compare.pairs.bounds import Bound
from compare.pairs.by_hand import Lesson
from compare.pairs.cases import Case, Shape
from compare.pairs.observe import observe_torch, without_warnings
from compare.pairs.probe import Probe, draw_state, given_in
from compare.pairs.report import CANDIDATE_ERRORS, Row, compare, extremes, failure
from compare.pairs.values import VALUES
from compare.pairs.weights import load_torch_state
from scratch import Array, Module

Rng = np.random.Generator
Make = Callable[..., Any]
Targets = Callable[[Rng, Shape, str], Array]

# Why a layer has no such field.
NO_DECISIONS = {"decisions": "it decides nothing: it is smooth"}
NO_WEIGHTS = {"weights": "it has none"}
NO_OPTIONS = {"options": "its constructor takes none"}
NO_PRODUCTS = {"products": "it adds up no products: memory traffic is what limits it"}
NOT_RANDOM = {"random": "it gives the same each time"}
ONE_INPUT = {"targets": "it has one input"}

# Arguments of torch's constructors that do not change what is computed.
NO_BEHAVIOUR = {"device", "dtype", "inplace", "size_average", "reduce", "args", "kwargs", "return_indices"}

IMAGE_SIZES = [(9, 8), (8, 8), (12, 12), (16, 16), (28, 28), (32, 32), (64, 64), (224, 224)]

# A probe is tried on many candidates: the ways to drive one, and every mistake of the catalogue. What is known of it is
# kept as long as the probe itself.
_KNOWN: WeakKeyDictionary[Probe, dict[tuple[str, Pair], Tensors]] = WeakKeyDictionary()
_DRAWN: WeakKeyDictionary[Pair, dict[int, tuple[list[Probe], Iterator[Probe]]]] = WeakKeyDictionary()
_REFERENCES: WeakKeyDictionary[Probe, dict[Pair, nn.Module]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Pair(ABC):
    """Something of ours and its torch twin.

    Attributes:
        name: its name on the command line and in reports.
        scratch, torch: what makes either side.
    """

    name: str
    scratch: Callable[..., Any]
    torch: Callable[..., Any]

    @property
    def role(self) -> Literal["module", "optimizer", "model"]:
        """How somebody's code of this kind is driven."""
        return "module"

    @property
    def fixed(self) -> bool:
        """Whether it has one configuration only."""
        return False

    @property
    def often(self) -> int:
        """How often it comes in a round of random configurations."""
        return 0

    @property
    def normwise(self) -> bool:
        """Whether algorithms other than the definition are right, too."""
        return False

    # ---- drawing

    @abstractmethod
    def probes(self, dtype: str, seed: int = 0) -> Iterator[Probe]:
        """The probes of every case, each drawn when it is asked for."""

    def random_probe(self, dtype: str, rng: Rng) -> Probe | None:
        """A probe of a right configuration that `rng` draws; None for what has one configuration only."""
        return None

    # ---- both sides

    @abstractmethod
    def drive(self, make: Make, probe: Probe, got: Tensors | None = None) -> Tensors:
        """What something made by `make` gives, on copies of what the probe holds. Raises whatever it raises.

        `got` are the tensors of another candidate, whose random choices this one is to make too.
        """

    @abstractmethod
    def _expected(self, probe: Probe, got: Tensors | None) -> Tensors: ...

    @abstractmethod
    def _bounds(self, probe: Probe, got: Tensors | None) -> Tensors: ...

    def expected(self, probe: Probe, got: Tensors | None = None) -> Tensors:
        """What the reference gives, read-only; `got` tells a random layer which choices the candidate made."""
        return self._expected(probe, got) if self.is_random else dict(self._known(self._expected, probe))

    def bounds(self, probe: Probe, got: Tensors | None = None) -> Tensors:
        """How far each element may be off; `got` as above."""
        return self._bounds(probe, got) if self.is_random else dict(self._known(self._bounds, probe))

    def prepared(self, probes: Iterable[Probe]) -> Iterator[Tensors]:
        """Compute beforehand, step by step, what can be known of probes without a candidate."""
        for probe in () if self.is_random else probes:
            yield self.expected(probe)
            yield self.bounds(probe)

    def wider_bounds(self, probe: Probe) -> Tensors | None:
        """How far each element may be off in code that is right and less accurate; None where there is no such way."""
        return None

    def _known(self, compute: Callable[[Probe, Tensors | None], Tensors], probe: Probe) -> Tensors:
        """What is the same for every candidate, computed once; read-only."""
        known, key = _KNOWN.setdefault(probe, {}), (compute.__name__, self)
        if key not in known:
            known[key] = compute(probe, None)
            for array in known[key].values():
                array.setflags(write=False)
        return known[key]

    @property
    def is_random(self) -> bool:
        """Whether it draws numbers, so that a candidate's choices have to be taken over."""
        return False

    def shares(self, probe: Probe, got: Tensors) -> tuple[Tensors, Tensors, Tensors]:
        """How random it is: shares as they are, as they should be, how far they may differ; nothing for most."""
        return {}, {}, {}

    def start(self, probe: Probe) -> Tensors | None:
        """What updated tensors were before; None where nothing is updated."""
        return None

    def compare(
        self, probe: Probe, got: Tensors, reference: Tensors | None = None, allowed: Tensors | None = None
    ) -> list[Row]:
        """One row for every tensor: what a candidate gave against the reference, within the bounds."""
        if reference is None or allowed is None:
            are, should, may = self.shares(probe, got)
            reference, allowed = self.expected(probe, got) | should, self.bounds(probe, got) | may
            got = got | are
        extreme = extremes(given_in(probe), probe.dtype)
        return compare(self.name, probe.case, got, reference, allowed, start=self.start(probe), extreme=extreme)

    def check(self, probe: Probe, seed: int = 0) -> list[Row]:
        """Compare what our side does with a probe with what the reference does."""
        try:
            got = self.drive(self.scratch, probe)
        except CANDIDATE_ERRORS as error:
            return [failure(self.name, probe.case, probe.dtype, error)]
        return self.compare(probe, got)

    # ---- for somebody's own code

    def examined(self, seed: int = 0) -> Iterator[Probe]:
        """What a candidate is tried on: every case in float64, and the plain ones in float32.

        Each is drawn once, when it is asked for first: what the reference gives for it is known from then on.
        """
        drawn = _DRAWN.setdefault(self, {})
        if seed not in drawn:
            drawn.clear()
            drawn[seed] = [], self._draw_examined(seed)
        probes, more = drawn[seed]
        for number in itertools.count():
            if number == len(probes):
                probe = next(more, None)
                if probe is None:
                    return
                probes.append(probe)
            yield probes[number]

    def _draw_examined(self, seed: int) -> Iterator[Probe]:
        yield from self.probes("float64", seed)
        yield from (probe for probe in self.probes("float32", seed) if probe.plain)

    @property
    def about(self) -> Mapping[str, Option]:
        """What the options of the constructor are about."""
        return {}

    def axes_of(self, weight: str) -> Axes | None:
        """The axes of a weight; None where only their number is known."""
        return None

    def buffers(self) -> frozenset[str]:
        """The names of what belongs to its state and is not trained."""
        return frozenset()

    def with_option(self, option: str, value: Any) -> Pair:
        """The pair with this value of an option in every case."""
        return self

    def for_one_image(self) -> Pair | None:
        """The pair with one image in every case; None where no case allows that."""
        return self

    def for_one_channel(self) -> Pair | None:
        """The pair with images of one channel in every case; None where no case allows that."""
        return None

    def with_one_channel(self, case: Case) -> Case:
        """The case with images of one channel."""
        return case

    def redrawn(self, probe: Probe, change: Callable[[Case], Case]) -> Probe | None:
        """A probe like this one for a case that is changed; None where torch does not take it, or nothing changed."""
        return None

    @property
    def untested(self) -> tuple[str, ...]:
        """Arguments of torch's constructor that matter and that no probe ever sets."""
        return ()

    def without_conventions(self, probe: Probe) -> Probe:
        """The probe without what is a convention of ours, and no matter of right or wrong."""
        return probe

    def described_together(self, kinds: Sequence[str]) -> list[tuple[str, ...]]:
        """Wrong tensors without a name, in reading order, those that one description serves together."""
        return [(kind,) for kind in kinds]

    def small_probes(self, one_image: bool) -> Iterator[Probe]:
        """Probes small enough to follow by hand, from the smallest up; `one_image`: with one image only."""
        del one_image
        return iter(())

    @abstractmethod
    def excerpt(self, probe: Probe, kind: str, at: Shape | None) -> tuple[Tensors, Callable[[Array], Array]] | None:
        """What to show of a probe beside a wrong tensor, whose element `at` is wrong: the arrays given, and a function
        that takes from the tensor what belongs to them. None where it is too much to be looked at.
        """


@dataclass(frozen=True)
class Random:
    """How two sides of a random layer come to the same choices: both take those of a candidate that has run already.

    Attributes:
        reference: the reference with the choices that these tensors show, in float64 and float32.
        choose: makes a scratch module choose as these tensors show; without any, always in the same way.
        shares: whether the choices are as random as they should be: shares by name, (what is, should be, may differ).
    """

    reference: Callable[[nn.Module, Tensors], nn.Module]
    choose: Callable[[scratch.Module, Tensors | None], None]
    shares: Callable[[nn.Module, Tensors], dict[str, tuple[float, float, float]]]


class Decisions(ABC):
    """What a layer decides: which side of zero a number is on, which element wins a window, and how narrowly.

    Attributes:
        words: what a decision is made of, in words.
        among_elements: whether it chooses among elements, so that two that are equal but for rounding are a tie.
    """

    words: str
    among_elements: bool

    @abstractmethod
    def turned(self, layer: nn.Module, own: Tensor, twin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where two inputs (N, ...) decide differently, a mask like the output, and what decided in each."""

    @abstractmethod
    def imposed(self, layer: nn.Module, given: Tensor) -> Callable[[Tensor], Tensor]:
        """The layer as a function of its input, deciding as it would on `given`."""

    @abstractmethod
    def distance(self, layer: nn.Module, x: Tensor) -> Tensor:
        """How far each decision on the input x is from a tie."""


def image_shapes(_: nn.Module) -> list[Shape]:
    """Input shapes for what takes images, or rows, of any size."""
    return [(3, 2, 5, 4), (2, 3, 8, 6), (1, 1, 4, 4), *((2, 3, *size) for size in IMAGE_SIZES), (4, 6), (1, 3)]


def row_shapes(_: nn.Module) -> list[Shape]:
    """Input shapes for what takes rows of scores."""
    return [(5, 7), (1, 4)]


@dataclass(frozen=True, eq=False)
class LayerPair(Pair):
    """A layer or loss and its twin; both factories take the options of a case.

    Attributes:
        rule: how far two right ones may differ.
        cases: what they are compared on.
        small: the smallest cases in which mistakes show, from the smallest up.
        draw: draws a right configuration.
        often: how often it comes in a round of random configurations.
        gives: its numbers: computed; selected among those that it is given, and zeros; or all of them unchanged.
        decisions: what it decides.
        weights: the axes of its weights.
        options: what the options of its constructor are about.
        shapes: input shapes (N, ...) that a configured torch layer may take, to be tried.
        targets: draws the targets of a loss for an input of this shape and dtype.
        random: how both sides come to the same choices.
        products: how many products are added up in each number of its output.
        lesson: what the lesson shows of it.
        normwise: whether algorithms other than the definition (FFT, Winograd) are right too, whose errors are as large
            in small elements as in large ones.
        wider: how far right ones may differ that are written in another, less accurate way.
        fixed: whether it has one configuration only, that of a given torch module.
        unseen: options of torch's, left at their defaults, that matter only for inputs which no case has.
        lacks: why a field is not there.
    """

    scratch: Callable[..., scratch.Module]
    torch: Callable[..., nn.Module]
    rule: Bound
    cases: tuple[Case, ...]
    small: tuple[Case, ...] = ()
    draw: Callable[[Rng], Case] | None = None
    often: int = 0
    gives: Literal["computed", "selected", "unchanged"] = "computed"
    decisions: Decisions | None = None
    weights: Mapping[str, Axes] = field(default_factory=dict)
    options: Mapping[str, Option] = field(default_factory=dict)
    shapes: Callable[[nn.Module], list[Shape]] = image_shapes
    targets: Targets | None = None
    random: Random | None = None
    products: Callable[[Any], int] | None = None
    lesson: Lesson | None = None
    normwise: bool = False
    wider: Bound | None = None
    fixed: bool = False
    unseen: tuple[str, ...] = ()
    lacks: Mapping[str, str] = field(default_factory=dict)

    def probes(self, dtype: str, seed: int = 0) -> Iterator[Probe]:
        return (self.probe(case, dtype, np.random.default_rng([seed, n])) for n, case in enumerate(self.cases))

    def random_probe(self, dtype: str, rng: Rng) -> Probe | None:
        if self.draw is None:
            return None
        case = self.draw(rng)
        layout, calls = str(rng.choice(list(LAYOUTS))), 1 + int(rng.integers(4) == 0)
        return self.probe(replace(case, layout=layout, calls=calls), dtype, rng)

    def probe(self, case: Case, dtype: str, rng: Rng) -> Probe:
        """Draw the weights, inputs and upstream gradients of a case.

        The last of several calls has an image less, as the last batch of an epoch may have. The upstream gradient is
        random: one of ones would hide what sums to zero.
        """
        state = draw_state(self.torch(**case.options), dtype, rng)
        plain = case.values in ("normal", "large")
        probe = Probe(case.name, dtype, case.options, state, layout=case.layout, plain=plain, drawn=case)
        reference = self.reference(probe)
        less = [*(0 for _ in range(case.calls - 1)), int(case.calls > 1)]
        calls = [self._draw_call(_smaller(case, images), reference, dtype, rng) for images in less]
        return replace(probe, calls=tuple(calls))

    @without_warnings()
    def _draw_call(self, case: Case, reference: nn.Module, dtype: str, rng: Rng) -> Call:
        inputs = [VALUES[case.values](rng, case.shape).astype(dtype)]
        if self.targets is not None:
            inputs.append(self.targets(rng, case.shape, dtype))
        with torch.no_grad():  # a copy, if there are buffers: what the layer keeps account of must not count this call
            layer = copy.deepcopy(reference) if list(reference.buffers()) else reference
            shape = layer(*(torch.tensor(array) for array in inputs)).shape
        values = "magnitudes" if case.values == "magnitudes" else "normal"
        return Call(tuple(inputs), np.asarray(VALUES[values](rng, tuple(shape)), dtype))

    def reference(self, probe: Probe) -> nn.Module:
        """The torch side of a probe."""
        module = self.torch(**probe.options).to(getattr(torch, probe.dtype))
        load_torch_state(module, probe.state)
        return module

    def _chosen(self, probe: Probe, got: Tensors | None) -> nn.Module:
        """The torch side, to be watched and not to be changed; of a random layer, with the choices that `got` shows."""
        if self.random is not None:
            reference = self.reference(probe)
            return reference if got is None else self.random.reference(reference, got)
        made = _REFERENCES.setdefault(probe, {})
        if self not in made:
            made[self] = self.reference(probe)
        return made[self]

    def _expected(self, probe: Probe, got: Tensors | None) -> Tensors:
        return observe_torch(self._chosen(probe, got), probe.calls)

    def _bounds(self, probe: Probe, got: Tensors | None) -> Tensors:
        return self.rule(self._chosen(probe, got), probe.calls, probe.dtype)

    def wider_bounds(self, probe: Probe) -> Tensors | None:
        return None if self.wider is None else self.wider(self.reference(probe), probe.calls, probe.dtype)

    def drive(self, make: Make, probe: Probe, got: Tensors | None = None) -> Tensors:
        module: scratch.Module = make(**probe.options)
        if self.random is not None:
            self.random.choose(module, got)
        return drive_module(module, probe)

    @property
    def is_random(self) -> bool:
        return self.random is not None

    def shares(self, probe: Probe, got: Tensors) -> tuple[Tensors, Tensors, Tensors]:
        if self.random is None:
            return {}, {}, {}
        found = self.random.shares(self.reference(probe), got)
        # float32: a share is known to few digits, and float64 would demand more of its bound.
        of: list[Tensors] = [{name: np.asarray(s[n], np.float32) for name, s in found.items()} for n in range(3)]
        return of[0], of[1], of[2]

    def check_calls(
        self, name: str, case: str, candidate: Module, reference: nn.Module, calls: Sequence[Call], dtype: str
    ) -> list[Row]:
        """Compare what a layer does in `calls` with what its reference does; the rows are of the pair `name`."""
        # The candidate comes last: what it does to its inputs cannot reach the reference any more.
        bounds, expected = self.rule(reference, calls, dtype), observe_torch(reference, calls)
        try:
            got = observe_scratch(candidate, calls)
        except CANDIDATE_ERRORS as error:
            return [failure(name, case, dtype, error)]
        given = [*(array for call in calls for array in (*call.inputs, call.grad_output))]
        return compare(name, case, got, expected, bounds, extreme=extremes(given, dtype))

    @property
    def about(self) -> Mapping[str, Option]:
        return self.options

    def axes_of(self, weight: str) -> Axes | None:
        return self.weights.get(weight)

    def buffers(self) -> frozenset[str]:
        return frozenset(name for name, _ in self.torch(**self.cases[0].options).named_buffers())

    def with_option(self, option: str, value: Any) -> LayerPair:
        pair = self._changed(lambda case: replace(case, options=case.options | {option: value}), small=True)
        return self if pair is None else pair

    def for_one_image(self) -> LayerPair | None:
        return self._changed(lambda case: replace(case, shape=(1, *case.shape[1:])), small=self.fixed)

    def for_one_channel(self) -> LayerPair | None:
        images = tuple(case for case in self.cases if len(case.shape) == 4)
        small = tuple(case for case in self.small if len(case.shape) == 4)
        return replace(self, cases=images, small=small)._changed(self.with_one_channel, small=True)

    def with_one_channel(self, case: Case) -> Case:
        if len(case.shape) != 4:
            return case
        counts = {name: 1 for name in case.options if self.options.get(name, Option()).channels}
        return replace(case, shape=(case.shape[0], 1, *case.shape[2:]), options=case.options | counts)

    def _changed(self, change: Callable[[Case], Case], *, small: bool) -> LayerPair | None:
        """The pair with every case changed, those that torch takes; with the smallest ones, too, if `small`."""
        cases, smallest = dict[str, Case](), dict[str, Case]()
        for case in map(change, self.cases):
            if case.name not in cases and self._takes(case):
                cases[case.name] = case
        for case in map(change, self.small) if small else self.small:
            smallest.setdefault(case.name, case)
        return replace(self, cases=tuple(cases.values()), small=tuple(smallest.values())) if cases else None

    def _takes(self, case: Case) -> bool:
        """Whether torch takes a case: statistics need two values or more, for instance."""
        try:
            return self.takes(self.torch(**case.options), case.shape)
        except (RuntimeError, ValueError, TypeError):
            return False

    def redrawn(self, probe: Probe, change: Callable[[Case], Case]) -> Probe | None:
        case = None if probe.drawn is None else change(probe.drawn)
        if case is None or case == probe.drawn or not self._takes(case):
            return None
        drawn = probe.calls[0].inputs[0].tobytes() if probe.calls else b""
        return self.probe(case, probe.dtype, np.random.default_rng([zlib.crc32(drawn), *case.name.encode()]))

    @property
    def untested(self) -> tuple[str, ...]:
        if self.fixed:
            return self.unseen
        names = [name for name in inspect.signature(self.torch).parameters if name not in NO_BEHAVIOUR]
        return tuple(name for name in names if name not in self.options)

    def options_of(self, layer: nn.Module) -> dict[str, Any]:
        """The constructor arguments that make the scratch twin of a configured torch layer."""
        return arguments_of(layer, self.scratch)

    def takes(self, module: nn.Module, shape: Shape) -> bool:
        """Whether a torch module takes an input of this shape."""
        return takes(module, shape, self.targets)

    def small_probes(self, one_image: bool) -> Iterator[Probe]:
        for case in self.small:
            if one_image and case.shape[0] != 1:
                continue
            for draw in range(SMALL_DRAWS):
                try:
                    yield self._whole_numbers(case, draw)
                except (ValueError, RuntimeError):  # a case that torch does not take
                    continue

    def _whole_numbers(self, case: Case, draw: int) -> Probe:
        """The case with small whole numbers of both signs, none of them 0 but the first number of the input."""
        rng = np.random.default_rng(draw)
        probe = self.probe(case, "float64", rng)

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

    def excerpt(self, probe: Probe, kind: str, at: Shape | None) -> tuple[Tensors, Callable[[Array], Array]] | None:
        given: Tensors = dict(probe.state)
        for number, call in enumerate(probe.calls, 1):
            of = f" of call {number}" if len(probe.calls) > 1 else ""
            given[f"input{of}"] = call.inputs[0]
            if len(call.inputs) > 1:
                given[f"targets{of}"] = call.inputs[1]
            given[f"grad_output{of}"] = call.grad_output
        return given, lambda tensor: tensor


def chooses_elements(pair: LayerPair) -> bool:
    """Whether a layer chooses among elements, so that two that are equal but for rounding are a tie."""
    return pair.decisions is not None and pair.decisions.among_elements


SMALL_DRAWS = 3  # so many draws of the numbers of a small case


def arguments_of(layer: nn.Module, like: Callable[..., Any] | None = None) -> dict[str, Any]:
    """The constructor arguments that a torch layer was configured with, those that `like` has too."""
    options: dict[str, Any] = {}
    for name in inspect.signature(like or type(layer)).parameters:
        if hasattr(layer, name) and name not in ("args", "kwargs"):
            value = getattr(layer, name)
            options[name] = value is not None if name in layer._parameters else value  # bias: the weight, or whether
    return options


def takes(module: nn.Module, shape: Shape, targets: Targets | None = None) -> bool:
    """Whether a torch module takes an input of this shape, a loss with such targets, and gives something for it."""
    try:
        tried(module, shape, targets)
    except Exception:  # somebody's module may raise anything
        return False
    return True


@without_warnings()
def tried(module: nn.Module, shape: Shape, targets: Targets | None = None) -> Tensor:
    """What a torch module gives for zeros of this shape, a loss with such targets; the module stays as it was.

    Raises:
        TypeError: if it gives no tensor.
        ValueError: if it gives no numbers.
        Exception: whatever the module raises.
    """
    inputs = [np.zeros(shape, np.float32)]
    inputs += [] if targets is None else [targets(np.random.default_rng(0), shape, "float32")]
    with torch.no_grad():
        output = copy.deepcopy(module).float()(*(torch.tensor(array) for array in inputs))
    if not isinstance(output, Tensor):
        raise TypeError(f"it gives {type(output).__name__}, not a tensor")
    if not output.numel():
        raise ValueError("it gives a tensor without elements")
    return output


def _smaller(case: Case, images: int) -> Case:
    """The case with so many images less, but at least one."""
    return replace(case, shape=(max(1, case.shape[0] - images), *case.shape[1:]))


def _with_tie(x: Array) -> Array:
    """The last two numbers equal, and a 0 among the others: what shows ties and thresholds."""
    if x.size > 1:
        flat = x.reshape(-1).copy()
        flat[-2] = flat[-1]
        if x.size > 2:
            flat[0] = 0
        return flat.reshape(x.shape)
    return x
