"""A torch module as it is written on the command line: "Conv2d(1, 8, 3)" is read, and nothing in it is evaluated."""

from __future__ import annotations

import ast
import inspect
import pkgutil
from typing import Any

import torch
from torch import nn

from compare.machine.errors import UserError
from compare.pairs.observe import without_warnings
from compare.pairs.registry import REGISTRY
from compare.pairs.size import FAR, LAYERS, NUMBERS, Counted, numbers_in

LONGEST = 120  # Characters of somebody's text, or of torch's words about it, that an error repeats.


@without_warnings()
def parse_like(text: str) -> Any:
    """`text` of a command line: a registered name as it is, or a torch module written as one would in Python.

    Only calls of torch.nn classes with plain values are understood; nothing is executed but their constructors, first
    without memory for the weights, so that what is too large is refused before it takes any.

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
    tree = _tree(text)
    with torch.device("meta"), Counted():
        numbers = numbers_in(_module(tree))
    if numbers > NUMBERS:
        raise UserError(f"--like: {_brief(text)} has {numbers:,} weights; at most {NUMBERS:,} can be compared")
    return _module(tree)


def _tree(text: str) -> ast.Call:
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two are what Python says of deep nesting
        tree = ast.Constant(text)
    if not isinstance(tree, ast.Call):
        known = ", ".join(REGISTRY)
        raise UserError(
            f'--like {_brief(repr(text))} is neither a registered name ({known}) nor a call such as "Conv2d(1, 8, 3)"'
        )
    return tree


def _module(tree: ast.Call) -> nn.Module:
    """The module that a call makes, on torch's default device."""
    kind = _kind(ast.unparse(tree.func).removeprefix("torch.").removeprefix("nn."))
    written = _brief(ast.unparse(tree))
    arguments = [_value(argument) for argument in tree.args]
    named: dict[str, Any] = {}
    for keyword in tree.keywords:
        value = _value(keyword.value)
        if keyword.arg is None and not isinstance(value, dict):
            raise UserError(f"--like: {written}: after ** there must be names and values, {{'bias': False}}")
        named |= value if keyword.arg is None else {keyword.arg: value}  # **{"bias": False}
    try:
        given = inspect.signature(kind).bind_partial(*arguments, **named).arguments
        given |= given.pop("kwargs", {})
        _require_few(given, written)
        if given.get("device") is not None:
            raise UserError(f"--like: {written}: it is compared on the CPU; leave device out")
        return kind(*arguments, **named)
    except UserError:
        raise
    except Exception as error:  # torch checks by whatever happens: assert, a division by zero, a missing attribute
        raise UserError(f"--like: {written}: {_brief(' '.join(str(error).split())) or type(error).__name__}") from None


def _kind(name: str) -> type[nn.Module]:
    try:
        kind = pkgutil.resolve_name(f"torch.nn:{name}")
    except (AttributeError, ValueError):
        kind = None
    if isinstance(kind, type) and issubclass(kind, nn.Module):
        return kind
    if isinstance(getattr(torch.optim, name.removeprefix("optim."), None), type):
        optimizers = " or ".join(name for name, pair in REGISTRY.items() if pair.role == "optimizer")
        raise UserError(f"--like: an optimizer is given by its name, {optimizers}, got {_brief(name)!r}")
    raise UserError(
        f"--like: torch.nn has no module {_brief(name)!r}; write it as in Python, Conv2d(1, 8, 3) for instance"
    )


def _value(tree: ast.expr) -> Any:
    if isinstance(tree, ast.Call):
        return _module(tree)
    try:
        value = ast.literal_eval(tree)
    except (ValueError, TypeError, RecursionError, MemoryError):
        raise UserError(
            f"--like: {_brief(ast.unparse(tree))} is no plain value, such as 3, 0.5, True, 'same' or (2, 2)"
        ) from None
    numbers = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, int)]
    if max(numbers, default=0) > FAR:  # torch computes sizes in 64 bits, and does not see that they overflow
        raise UserError(f"--like: {_brief(str(max(numbers)))} is too large; no size is larger than {FAR:,}")
    return value


def _require_few(given: dict[str, Any], written: str) -> None:
    """Refuse a module that would make too many layers: TransformerEncoder(layer, 6) makes six copies of the layer."""
    copied = sum(len(list(value.modules())) for value in given.values() if isinstance(value, nn.Module))
    times = max((n for name, n in given.items() if name.endswith("_layers") and isinstance(n, int)), default=1)
    if max(1, copied) * times > LAYERS:
        raise UserError(f"--like: {written} has {max(1, copied) * times:,} layers; at most {LAYERS:,} can be compared")


def _brief(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
