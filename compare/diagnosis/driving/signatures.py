"""What the arguments of somebody's functions are called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from inspect import isclass, isfunction, ismethod
from types import MethodType
from typing import Any

from compare.diagnosis.driving import vocabulary


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
