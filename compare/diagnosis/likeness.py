"""What somebody's code is compared with: a registered pair, or any torch module, as a pair of its own."""

from __future__ import annotations

import ast
import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

import scratch
from compare.machine.errors import UserError
from compare.pairs.measured import measured
from compare.pairs.probe import Make
from compare.pairs.registry import REGISTRY, Case, LayerPair, ModelPair, OptimizerPair, Pair

SIZES = [(9, 8), (8, 8), (12, 12), (16, 16), (28, 28), (32, 32), (64, 64), (224, 224)]
CONTINUOUS = ("normal", "per-channel")  # no ties, whose winner rounding would choose


@dataclass(frozen=True)
class Likeness:
    """The pair that a candidate is examined as.

    Attributes:
        pair: with the reference, its cases and its rule.
        fixed: whether there is one configuration only, that of a given torch module.
        parts: the registered pair of every layer inside, by its name in the module ("" for the module itself).
        hints: the options of the given torch module, for code that asks for them by name.
        build: the scratch module with some of its layers replaced, given by name; None if it has no scratch twin.
    """

    pair: Pair
    fixed: bool
    parts: Mapping[str, Pair]
    build: Callable[[Mapping[str, Any]], Make] | None
    hints: Mapping[str, Any] = field(default_factory=dict)


def likeness(like: Any, input_shape: tuple[int, ...] | None = None) -> Likeness:
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
    if isinstance(like, LayerPair | OptimizerPair | ModelPair):
        pair = like
        fixed = isinstance(pair, ModelPair)
        return Likeness(pair, fixed=fixed, parts={"": pair}, build=lambda parts: parts.get("", pair.scratch))
    if isinstance(like, nn.Module):
        return _fixed(like, _name(like), input_shape)
    raise UserError(f"like must be a registered name or a torch.nn.Module, got {type(like).__name__}")


def _name(module: nn.Module) -> str:
    if isinstance(module, nn.Sequential):
        return " + ".join(_name(child) for child in module)
    pair = _registered(module)
    return pair.name if pair else type(module).__name__


def _registered(module: nn.Module) -> LayerPair | None:
    return next((p for p in REGISTRY.values() if isinstance(p, LayerPair) and type(module) is p.torch), None)


def _fixed(module: nn.Module, name: str, input_shape: tuple[int, ...] | None) -> Likeness:
    """The likeness to one torch module as it is configured."""
    registered = _registered(module)
    takes_targets = isinstance(module, nn.modules.loss._Loss)
    leaves = {n: layer for n, layer in module.named_modules(remove_duplicate=False) if not list(layer.children())}
    ties = any(isinstance(layer, nn.MaxPool2d) for layer in leaves.values())
    values: tuple[str, ...] = (
        ("normal", "integers", "zeros", "post-relu", "magnitudes", "per-channel")
        if registered and registered.name in ("conv2d", "linear", "maxpool2d", "relu", "flatten", "batchnorm2d")
        else CONTINUOUS
        if ties or not _keeps_zeros(leaves.values())
        else (*CONTINUOUS, "zeros", "integers")
    )
    shapes = _shapes(module, input_shape)
    first = shapes[0]
    if len(first) < 3:
        values = tuple(v for v in values if v != "per-channel")
    cases = [Case(shape, {}, "normal") for shape in shapes]
    cases += [Case(first, {}, kind) for kind in values if kind != "normal"]
    cases += [Case(first, {}, layout=layout) for layout in ("strided", "fortran", "batch last", "read-only")]
    cases += [Case(first, {}, calls=3)]

    def reference() -> nn.Module:
        return copy.deepcopy(module)

    parts = {n: pair for n, layer in leaves.items() if (pair := _registered(layer)) is not None}
    build = _builder(module, leaves, parts)
    pair = LayerPair(
        name,
        build({}) if build else scratch.Module,
        reference,
        registered.rule if registered else measured,
        tuple(cases),
        takes_targets=takes_targets,
        random=registered.random if registered else None,
    )
    return Likeness(pair, fixed=True, parts=parts, build=build, hints=_arguments_of(module))


def _keeps_zeros(layers: Any) -> bool:
    """Whether ties at 0 are safe: a sum that is 0 for one order of summation is 0 for every one only without a bias."""
    return all(getattr(layer, "bias", None) is None for layer in layers)


def _builder(
    module: nn.Module, leaves: Mapping[str, nn.Module], parts: Mapping[str, LayerPair]
) -> Callable[[Mapping[str, Any]], Make] | None:
    """How to make the scratch twin of `module` with some of its layers replaced; None if a layer has no twin."""
    if set(parts) != set(leaves) or not _only_sequential(module):
        return None
    for held in (module.named_parameters, module.named_buffers):
        if len(list(held())) != len(list(held(remove_duplicate=False))):
            return None  # weights or running statistics that two layers share
    try:
        options = {name: options_of(leaves[name], pair) for name, pair in parts.items()}
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


def _arguments_of(layer: nn.Module, like: Any = None) -> dict[str, Any]:
    """The constructor arguments that a torch layer was configured with, those that `like` has too."""
    options: dict[str, Any] = {}
    for name in inspect.signature(like or type(layer)).parameters:
        if hasattr(layer, name) and name not in ("args", "kwargs"):
            value = getattr(layer, name)
            options[name] = value is not None if name == "bias" else value
    return options


def options_of(layer: nn.Module, pair: LayerPair) -> dict[str, Any]:
    """The constructor arguments that make the scratch twin of a configured torch layer."""
    options = _arguments_of(layer, pair.scratch)
    if isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) != (1, -1):
        raise ValueError("Flatten: start_dim must be 1 and end_dim -1")
    return options


def defaults_of(pair: Pair) -> dict[str, Any]:
    """The arguments of the torch constructor that have a default."""
    found = inspect.signature(pair.torch).parameters.items()
    return {name: parameter.default for name, parameter in found if parameter.default is not parameter.empty}


def _shapes(module: nn.Module, input_shape: tuple[int, ...] | None) -> list[tuple[int, ...]]:
    """Input shapes that the module takes, several where it takes several: (N, ...)."""
    if input_shape is not None:
        tried = [(3, *input_shape), (1, *input_shape)]
    else:
        first = next((m for m in module.modules() if not list(m.children())), module)
        if isinstance(first, nn.Conv2d | nn.BatchNorm2d):
            channels = first.in_channels if isinstance(first, nn.Conv2d) else first.num_features
            kernel = tuple(first.kernel_size) if isinstance(first, nn.Conv2d) else (1, 1)
            sizes = [(kernel[0] + 5, kernel[1] + 4), (kernel[0] + 1, kernel[1] + 3), kernel, *SIZES]
            tried = [(3 if n == 0 else 1 + n % 2, channels, *size) for n, size in enumerate(sizes)]
        elif isinstance(first, nn.Linear):
            tried = [(4, first.in_features), (1, first.in_features)]
        elif isinstance(module, nn.modules.loss._Loss) or isinstance(first, nn.Softmax | nn.LogSoftmax):
            tried = [(5, 7), (1, 4)]
        else:
            tried = [(3, 2, 5, 4), (2, 3, 9, 7), (1, 1, 4, 4), *((2, 3, *size) for size in SIZES), (4, 6), (1, 3)]
    found = [shape for shape in tried if takes(module, shape)]
    if not found:
        raise UserError(
            f"no input shape was found for {_name(module)}; give the shape of one input (--input-shape C,H,W)"
        )
    return found[:4]


def takes(module: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether a torch module takes an input of this shape."""
    inputs = [torch.zeros(shape)]
    if isinstance(module, nn.CrossEntropyLoss | nn.NLLLoss):
        inputs.append(torch.zeros(shape[0], dtype=torch.int64))
    elif isinstance(module, nn.modules.loss._Loss):
        inputs.append(torch.zeros(shape))
    try:
        with torch.no_grad():
            output = copy.deepcopy(module).float()(*inputs)
    except (RuntimeError, ValueError, IndexError, TypeError):
        return False
    return isinstance(output, torch.Tensor) and output.numel() > 0


def parse_like(text: str) -> Any:
    """`text` of a command line: a registered name as it is, or a torch module written as one would in Python.

    Only calls of torch.nn classes with plain values are understood; nothing is executed but their constructors.

    >>> parse_like("conv2d")
    'conv2d'
    >>> parse_like("Sequential(Conv2d(1, 8, 3, bias=False), ReLU())")
    Sequential(
      (0): Conv2d(1, 8, kernel_size=(3, 3), stride=(1, 1), bias=False)
      (1): ReLU()
    )

    Raises:
        UserError: for anything else.
    """
    if text.isidentifier() and text in REGISTRY:
        return text
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        tree = ast.Constant(text)
    if not isinstance(tree, ast.Call):
        known = ", ".join(REGISTRY)
        raise UserError(f'--like {text!r} is neither a registered name ({known}) nor a call such as "Conv2d(1, 8, 3)"')
    return _module(tree)


def _module(tree: ast.Call) -> nn.Module:
    name = ast.unparse(tree.func).removeprefix("torch.").removeprefix("nn.")
    kind = getattr(nn, name, None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise UserError(f"--like: torch.nn has no module {name!r}; write it as in Python, Conv2d(1, 8, 3) for instance")
    try:
        arguments = [_module(a) if isinstance(a, ast.Call) else ast.literal_eval(a) for a in tree.args]
        named: dict[str, Any] = {}
        for keyword in tree.keywords:
            value = ast.literal_eval(keyword.value)
            named |= value if keyword.arg is None else {keyword.arg: value}  # **{"bias": False}
        return kind(*arguments, **named)
    except UserError:  # of a module inside
        raise
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise UserError(f"--like: {ast.unparse(tree)}: {error}") from None


def only_with(likeness: Likeness, option: str, value: Any) -> Likeness:
    """The likeness with `value` for an option in every case."""
    pair = likeness.pair
    assert isinstance(pair, LayerPair)
    cases = tuple(replace(case, options=case.options | {option: value}) for case in pair.cases)
    return replace(likeness, pair=replace(pair, cases=cases))
