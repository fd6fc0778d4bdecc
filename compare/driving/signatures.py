"""What the arguments of somebody's functions are called."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from functools import lru_cache
from inspect import isclass, isfunction, ismethod
from types import MethodType
from typing import Any

from compare.driving import vocabulary


def parameters(function: Callable[..., Any], inputs: int = 1) -> Mapping[str, inspect.Parameter]:
    """The arguments of a function; one of compiled code, which says nothing of them, takes the inputs."""
    try:
        if ismethod(function):
            return _parameters_of_method(function.__func__)
        known = isclass(function) or isfunction(function)
        return _parameters_of(function) if known else inspect.signature(function).parameters
    except (TypeError, ValueError):
        kind = inspect.Parameter.POSITIONAL_ONLY
        return {f"x{index}": inspect.Parameter(f"x{index}", kind) for index in range(inputs)}


# They are asked for again and again.
@lru_cache(maxsize=256)
def _parameters_of(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function).parameters


@lru_cache(maxsize=256)
def _parameters_of_method(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The arguments of a method without its object."""
    return inspect.signature(MethodType(function, object())).parameters


def argument_names(function: Callable[..., Any]) -> list[str]:
    """The names of a function's arguments."""
    return list(parameters(function))


@lru_cache(maxsize=256)
def indices_of(function: Callable[..., Any], argument: str) -> list[list[str]]:
    """The indices by which a function takes parts of an argument, one for each axis; empty where there is no source.

    >>> def forward(x, b): return x + b[:, 0]
    >>> indices_of(forward, "b")
    [[':', '0']]
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return []
    found = (node for node in ast.walk(tree) if isinstance(node, ast.Subscript) and ast.unparse(node.value) == argument)
    slices = [node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice] for node in found]
    return [[ast.unparse(part) for part in parts] for parts in slices if not any(map(_is_open, parts))]


def _is_open(part: ast.expr) -> bool:
    """Whether an index stands for any number of axes, or for none."""
    return ast.unparse(part) in ("...", "None", "np.newaxis", "numpy.newaxis")


def is_starred(function: Callable[..., Any]) -> bool:
    """Whether a function takes any number of arguments, *args."""
    return any(parameter.kind == parameter.VAR_POSITIONAL for parameter in parameters(function).values())


def required_names(function: Callable[..., Any]) -> list[str]:
    """The names of the arguments without a default (and those with one that we know), but not *args and **kwargs."""
    return [
        name
        for name, parameter in parameters(function).items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and (parameter.default is parameter.empty or vocabulary.plain(name) in vocabulary.RATE_WORDS)
    ]


def called(function: Any) -> str:
    """The name of a function, or of an object's class."""
    return getattr(function, "__name__", type(function).__name__)
