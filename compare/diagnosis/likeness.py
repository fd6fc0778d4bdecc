"""What somebody's code is compared with: a registered pair, or any torch module, as a pair of its own."""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor, nn

import scratch
from compare.driving.options import USUAL_AXES, Axes, Option
from compare.driving.task import Task
from compare.driving.tensors import Tensors
from compare.machine.conditions import equal_threads
from compare.machine.errors import UserError
from compare.pairs.cases import Case, Shape
from compare.pairs.layers import KNOWN_OPTIONS, kin_of, registered
from compare.pairs.measured import measured
from compare.pairs.observe import has_state, without_warnings
from compare.pairs.pair import (
    LayerPair,
    Make,
    Pair,
    Rng,
    Targets,
    arguments_of,
    chooses_elements,
    image_shapes,
    row_shapes,
    tried,
)
from compare.pairs.registry import REGISTRY
from compare.pairs.size import LAYERS, NUMBERS, OUTPUT, numbers_in, require_few, with_room
from scratch import Array

CONTINUOUS = ("normal", "per-channel")  # no ties, whose winner rounding would choose
LONGEST = 120  # Characters of torch's words, or of the name of a module, that an error repeats.
SHAPES = 4  # so many input shapes of a torch module are tried, if it takes them


@dataclass(frozen=True)
class Likeness:
    """The pair that a candidate is examined as.

    Attributes:
        pair: with the reference, its cases and its rule.
        parts: the registered pair of every layer inside, by its name in the module ("" for the module itself).
        hints: the options of the given torch module, for code that asks for them by name.
        build: the scratch module with some of its layers replaced, given by name; None if it has no scratch twin.
    """

    pair: Pair
    parts: Mapping[str, Pair]
    build: Callable[[Mapping[str, Any]], Make] | None
    hints: Mapping[str, Any] = field(default_factory=dict)

    def axes(self, state: Tensors) -> dict[str, Axes]:
        """The axes of every parameter and buffer; of one of which nothing is known, by their number."""
        found: dict[str, Axes] = {}
        for name, array in state.items():
            owner, _, leaf = name.rpartition(".")
            part = self.parts.get(owner)
            found[name] = (part and part.axes_of(leaf)) or USUAL_AXES.get(array.ndim, Axes(""))
        return found

    @cached_property
    def task(self) -> Task:
        """What the candidate's own side has to know of it."""
        pair = self.pair
        known = {
            f"{owner}.{leaf}".removeprefix("."): axes
            for owner, part in self.parts.items()
            for leaf, axes in getattr(part, "weights", {}).items()
        }
        buffers = tuple(sorted(pair.buffers()))
        return Task(pair.role, defaults_of(pair), pair.about, self.hints, known, buffers, pair.fixed)


def likeness(like: Any, input_shape: Shape | None = None) -> Likeness:
    """Find out what `like` stands for.

    Args:
        like: a registered name, a torch module, or a registered torch class (`torch.nn.Conv2d`, `torch.optim.SGD`).
        input_shape: the shape of one input without the batch, where it cannot be found by trying.

    Raises:
        UserError: for an unknown name, something that is no torch module, or if no input shape fits it.
    """
    if isinstance(like, str):
        if like not in REGISTRY:
            known = ", ".join(REGISTRY)
            raise UserError(f"--like {like!r} is no registered name; choose one of {known}, or a torch module")
        like = REGISTRY[like]
    elif isinstance(like, type):
        found = [pair for pair in REGISTRY.values() if pair.torch is like]
        if not found:
            raise UserError(f"{like.__name__} has no registered pair; give an object, {like.__name__}(...)")
        like = found[0]
    if isinstance(like, Pair):
        pair = like
        return Likeness(pair, parts={"": pair}, build=lambda parts: parts.get("", pair.scratch))
    if isinstance(like, nn.Module):
        return _of_module(like, input_shape)
    raise UserError(f"like must be a registered name or a torch.nn.Module, got {type(like).__name__}")


@equal_threads(1)  # they are small: more threads would only wait
@without_warnings()
def _of_module(module: nn.Module, input_shape: Shape | None) -> Likeness:
    """The likeness to one torch module.

    Raises:
        UserError: if it cannot be driven as others are, or gives nothing to compare with.
    """
    name = _name(module)
    layers = sum(1 for _ in module.modules())
    if layers > LAYERS:
        raise UserError(f"{name[:LONGEST]} has {layers:,} layers; at most {LAYERS:,} can be compared")
    held = [*module.parameters(), *module.buffers()]
    if any(map(nn.parameter.is_lazy, held)):
        raise UserError(f"{name} is lazy and has no weights yet; give the layer with its sizes")
    elsewhere = {tensor.device.type for tensor in held} - {"cpu"}
    if elsewhere:
        raise UserError(f"{name} has its weights on {', '.join(sorted(elsewhere))}; give a module on the CPU")
    if numbers_in(module) > NUMBERS:
        raise UserError(f"{name} has {numbers_in(module):,} weights; at most {NUMBERS:,} can be compared")
    return _comparable(_fixed(_out_of_place(module), name, input_shape))


def _out_of_place(module: nn.Module) -> nn.Module:
    """The module with no layer that writes into its input, which gives the same numbers."""
    if not any(vars(layer).get("inplace") for layer in module.modules()):
        return module
    module = copy.deepcopy(module)
    for layer in module.modules():
        if vars(layer).get("inplace"):
            vars(layer)["inplace"] = False
    return module


def _comparable(compared: Likeness) -> Likeness:
    """The likeness, if its probes can be drawn and torch's own answers to them can be computed.

    Raises:
        UserError: if not, or if the answer is no number, or another one each time.
    """
    pair = compared.pair
    try:
        for probe in pair.examined():  # which are needed again, unless others are drawn
            pair.expected(probe)
            if probe.dtype == "float32":
                break
        first, same = next(pair.examined()), next(pair.probes("float64"))
        pair.bounds(first)
        expected, again = pair.expected(first), pair.expected(same)
    except Exception as error:
        raise UserError(f"{pair.name} cannot be compared: with torch's own this raises {_in_words(error)}") from None
    if not all(np.isfinite(array).any() for name, array in expected.items() if name.startswith("output")):
        raise UserError(f"{pair.name} cannot be compared: torch's own output is not finite for ordinary numbers")
    if not (pair.is_random or all(np.array_equal(expected[name], again[name], equal_nan=True) for name in expected)):
        raise UserError(f"{pair.name} cannot be compared: it draws random numbers, and gives others each time")
    return compared


def _in_words(error: Exception) -> str:
    """An exception in one line that is not too long."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:LONGEST]}".removesuffix(": ")


def _name(module: nn.Module) -> str:
    if isinstance(module, nn.Sequential):
        return " + ".join(map(_name, module)) or "Sequential"
    pair = registered(module)
    return pair.name if pair else type(module).__name__


def _fixed(module: nn.Module, name: str, input_shape: Shape | None) -> Likeness:
    """The likeness to one torch module as it is configured."""
    pair = _plain(module)
    leaves = {n: layer for n, layer in module.named_modules(remove_duplicate=False) if not list(layer.children())}
    parts = {n: part for n, layer in leaves.items() if (part := registered(layer)) is not None}
    shapes, targets = _inputs(module, leaves, input_shape)
    first = shapes[0]
    values = _values(pair, leaves)
    if len(first) < 3:
        values = tuple(v for v in values if v != "per-channel")
    # One registered layer is probed as hard as its name is; of more layers, the first shape alone in every kind.
    cases = [Case(shape) for shape in shapes]
    cases += [Case(shape, values=v) for shape in shapes[: len(shapes) if pair else 1] for v in values if v != "normal"]
    cases += [Case(first, layout=layout) for layout in ("strided", "fortran", "batch last", "read-only")]
    cases += [Case(first, calls=3)]
    ones = dict.fromkeys((1, *shape[1:]) for shape in sorted(shapes, key=lambda shape: int(np.prod(shape))))

    changes = has_state(module) or (pair is not None and pair.random is not None)

    def reference() -> nn.Module:
        return copy.deepcopy(module) if changes else module

    build = _builder(module, leaves, parts)
    compared = LayerPair(
        name,
        build({}) if build else scratch.Module,
        reference,
        pair.rule if pair else measured,
        tuple(cases),
        small=(*map(Case, ones), Case(first, calls=2)),
        weights=pair.weights if pair else {},
        options=pair.options if pair else _known_options(leaves),
        targets=targets,
        random=pair.random if pair else None,
        normwise=pair.normwise if pair else True,
        wider=pair.wider if pair else None,
        fixed=True,
        unseen=_unseen(module),
    )
    return Likeness(compared, parts=parts, build=build, hints=arguments_of(module))


def _plain(layer: nn.Module) -> LayerPair | None:
    """The pair of a torch layer, if it is configured with nothing that our side has never heard of."""
    pair = registered(layer)
    if pair is None:
        return None
    arguments = inspect.signature(type(layer)).parameters
    # A loss of ours has the rest of torch's arguments to refuse them; its rule knows nothing of them.
    known = inspect.signature(pair.scratch).parameters if pair.targets is None else ()
    beyond = [name for name in pair.untested if hasattr(layer, name) and name not in {*known, *layer._parameters}]
    return pair if all(_equals(getattr(layer, name), arguments[name].default) for name in beyond) else None


def _equals(value: Any, default: Any) -> bool:
    """Whether an option has its default value, which torch may keep as a pair."""
    return value is default or value in (default, (default, default)) if not isinstance(value, Tensor) else False


def _unseen(module: nn.Module) -> tuple[str, ...]:
    """Options of a torch module that matter only for inputs which it is not given, as it is configured."""
    argument = inspect.signature(type(module)).parameters.get("ignore_index")
    unseen = argument is not None and getattr(module, "ignore_index", None) == argument.default
    return ("ignore_index",) if unseen else ()


def _known_options(leaves: Mapping[str, nn.Module]) -> dict[str, Option]:
    """What the options of these layers are about, where registered layers have some of the same name."""
    taken = {name for layer in leaves.values() for name in arguments_of(layer)}
    return {name: option for name, option in KNOWN_OPTIONS.items() if name in taken}


def _values(registered_pair: LayerPair | None, leaves: Mapping[str, nn.Module]) -> tuple[str, ...]:
    """The kinds of values that a torch module is tried on: those of its pair, else those that tie nothing by chance."""
    if registered_pair is not None:
        return tuple(dict.fromkeys(case.values for case in registered_pair.cases))
    kin = (kin_of(layer) for layer in leaves.values())
    ties = any(pair is not None and chooses_elements(pair) for pair in kin)
    # A sum that is 0 for one order of summation is 0 for every one only without a bias.
    keeps_zeros = all(getattr(layer, "bias", None) is None for layer in leaves.values())
    values = CONTINUOUS if ties or not keeps_zeros else (*CONTINUOUS, "zeros", "integers")
    # Exponentials overflow on large numbers, unless the largest is subtracted first.
    known = [pair for layer in leaves.values() if (pair := kin_of(layer)) is not None]
    return (*values, "large") if any(case.values == "large" for pair in known for case in pair.cases) else values


def _builder(
    module: nn.Module, leaves: Mapping[str, nn.Module], parts: Mapping[str, LayerPair]
) -> Callable[[Mapping[str, Any]], Make] | None:
    """How to make the scratch twin of `module` with some of its layers replaced; None if a layer has no twin."""
    if set(parts) != set(leaves) or not _only_sequential(module) or None in map(_plain, leaves.values()):
        return None
    for held in (module.named_parameters, module.named_buffers):
        if len(list(held())) != len(list(held(remove_duplicate=False))):
            return None  # weights or running statistics that two layers share
    try:
        options = {name: pair.options_of(leaves[name]) for name, pair in parts.items()}
        for name, pair in parts.items():
            pair.scratch(**options[name])
    except ValueError:  # a configuration that scratch has not
        return None

    def build(replaced: Mapping[str, Any]) -> Make:
        def make(name: str) -> scratch.Module:
            layer: scratch.Module = replaced.get(name, parts[name].scratch)(**options[name])
            return layer

        return lambda: _sequential(module, "", make)

    return build


def _only_sequential(module: nn.Module) -> bool:
    return all(type(part) is nn.Sequential for part in module.modules() if list(part.children()))


def _sequential(module: nn.Module, prefix: str, make: Callable[[str], scratch.Module]) -> scratch.Module:
    if not list(module.children()):
        return make(prefix)
    assert isinstance(module, nn.Sequential)
    names = [f"{prefix}.{name}" if prefix else name for name in module._modules]
    return scratch.Sequential(*(_sequential(child, name, make) for name, child in zip(names, module, strict=True)))


def defaults_of(pair: Pair) -> dict[str, Any]:
    """The arguments of the torch constructor that have a default."""
    found = inspect.signature(pair.torch).parameters.items()
    return {name: parameter.default for name, parameter in found if parameter.default is not parameter.empty}


def _inputs(
    module: nn.Module, leaves: Mapping[str, nn.Module], input_shape: Shape | None
) -> tuple[list[Shape], Targets | None]:
    """Input shapes that the module takes, several where it takes several: (N, ...); and how its targets are drawn.

    What the targets of a loss are, classes or numbers, is tried where it is not registered.
    """
    kin, first = kin_of(module), next(iter(leaves.values()))
    wants_targets = kin.targets is not None if kin else isinstance(module, nn.modules.loss._Loss)
    refusals: list[str] = []

    def taken(shape: Shape, targets: Targets | None) -> bool:
        try:
            for images in (shape[0], shape[0] - 1)[: 1 + (shape[0] > 2)]:  # or what comes first is no batch
                output = tried(with_room(module), (images, *shape[1:]), targets)
                require_few(output.numel(), OUTPUT)
        except Exception as error:  # somebody's module may raise anything
            refusals.append(f"{'x'.join(map(str, shape))}: {_in_words(error)}")
            return False
        return True

    kinds = [None] if not wants_targets else [kin.targets] if kin else [_numbers, _classes]
    shapes = _shapes(first, image_shapes if not wants_targets else row_shapes, input_shape)
    for targets in kinds:
        found = list(itertools.islice((shape for shape in shapes if taken(shape, targets)), SHAPES))
        if found:
            return found, _with_ignored(targets, module)
    told = f"; {refusals[0]}" if refusals else ""
    raise UserError(
        f"no input shape was found for {_name(module)}; give the shape of one input (--input-shape C,H,W){told}"
    )


def _shapes(first: nn.Module, usual: Callable[[nn.Module], list[Shape]], input_shape: Shape | None) -> list[Shape]:
    """Input shapes to be tried for a module with this first layer; those of what it is like, if that is registered."""
    if input_shape is not None:
        return [(3, *input_shape), (1, *input_shape)]
    leading = kin_of(first)
    try:
        return (leading.shapes if leading else usual)(first)
    except (TypeError, ValueError):  # sides that are no pair, a number of channels that is none
        return []


def _numbers(rng: Rng, shape: Shape, dtype: str) -> Array:
    """Targets like the input: numbers, or probabilities."""
    return rng.uniform(0.1, 0.9, shape).astype(dtype)


def _with_ignored(targets: Targets | None, module: nn.Module) -> Targets | None:
    """The same targets; of a loss that was told to ignore a class, the first image of a batch has that one."""
    if targets is None or not hasattr(module, "ignore_index") or _unseen(module):
        return targets

    def drawn(rng: Rng, shape: Shape, dtype: str) -> Array:
        given = targets(rng, shape, dtype)
        given[given == module.ignore_index] = int(module.ignore_index == 0)  # of one image alone nothing would be left
        given[: int(len(given) > 1)] = module.ignore_index
        return given

    return drawn


def _classes(rng: Rng, shape: Shape, _dtype: str) -> Array:
    """A class for each image."""
    return rng.integers(0, shape[1], shape[0])


def one_image(likeness: Likeness) -> Likeness | None:
    """The likeness with one image in every case; None where no case allows that."""
    pair = likeness.pair.for_one_image()
    return None if pair is None else replace(likeness, pair=pair)


def one_channel(likeness: Likeness) -> Likeness | None:
    """The likeness with images of one channel in every case; None where no case allows that."""
    pair = likeness.pair.for_one_channel()
    return None if pair is None else replace(likeness, pair=pair)


def only_with(likeness: Likeness, option: str, value: Any) -> Likeness:
    """The likeness with `value` for an option in every case."""
    return replace(likeness, pair=likeness.pair.with_option(option, value))
