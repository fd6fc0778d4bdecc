"""A class, function or object of this process, pickled by value: the candidate's process need not import it."""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import linecache
import sys
import sysconfig
from collections import ChainMap
from collections.abc import Iterator
from types import CodeType, ModuleType
from typing import Any, ClassVar

import cloudpickle
import numpy as np

from compare.driving.worker import HIDDEN, Start


def by_value(candidate: Any) -> tuple[Start, set[str]]:
    """What to start a process with that is to have `candidate`, and which of the `HIDDEN` modules it needs.

    Raises:
        Exception: whatever pickling raises, for an object that holds an open file or a lock for instance.
    """
    kinds = list(_kinds(candidate))
    modules = {name: sys.modules.get(name) for name in dict.fromkeys(kind.__module__ for kind in kinds)}
    own = {name: module for name, module in modules.items() if module is not None and _is_theirs(module)}
    with contextlib.ExitStack() as stack:
        for name, module in own.items():
            if name != "__main__" and name not in cloudpickle.list_registry_pickle_by_value():
                cloudpickle.register_pickle_by_value(module)
                stack.callback(cloudpickle.unregister_pickle_by_value, module)
        pickled = io.BytesIO()
        _Pickler(pickled).dump(candidate)
    shown = {name.partition(".")[0] for name in modules} & HIDDEN
    sources = tuple(dict.fromkeys(source for kind in kinds if (source := _source(kind)) is not None))
    return Start(pickled=np.frombuffer(pickled.getvalue(), np.uint8), sources=sources), shown


def _code(code: CodeType) -> Any:
    """As cloudpickle reduces code, but with the name of its file: tracebacks and sources are found by it."""
    made, arguments = cloudpickle.CloudPickler.dispatch_table[CodeType](code)
    return made, tuple(code.co_filename if given == "<dynamic-code>" else given for given in arguments)


class _Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]
    dispatch_table: ClassVar = ChainMap({CodeType: _code}, cloudpickle.CloudPickler.dispatch_table)


def _kinds(candidate: Any) -> Iterator[Any]:
    """The classes and functions that a candidate is made of."""
    for part in candidate if isinstance(candidate, tuple) else (candidate,):
        while isinstance(part, functools.partial):
            part = part.func
        if inspect.ismethod(part):
            part = part.__func__
        if inspect.isfunction(part):
            yield part
        else:
            kind = part if isinstance(part, type) else type(part)
            yield from (base for base in kind.__mro__ if base.__module__ != "builtins")


@functools.cache
def _installed() -> tuple[str, ...]:
    return tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def _is_theirs(module: ModuleType) -> bool:
    """Whether a module can be found by nobody but this process, or belongs to the user's own files."""
    if module.__name__.partition(".")[0] in HIDDEN and getattr(module, "__spec__", None) is not None:
        return False
    file = getattr(module, "__file__", None)
    if not file:
        return module.__name__ == "__main__" or getattr(module, "__spec__", None) is None
    return not file.startswith(_installed())


def _source(kind: Any) -> tuple[str, str, str] | None:
    """The module of a class or function, its file and its text; None where there is none."""
    functions = [kind] if inspect.isfunction(kind) else [f for f in vars(kind).values() if inspect.isfunction(f)]
    file = functions[0].__code__.co_filename if functions else getattr(sys.modules.get(kind.__module__), "__file__", "")
    if not file or kind.__module__.partition(".")[0] in HIDDEN or file.startswith(_installed()):
        return None
    text = "".join(linecache.getlines(file))
    return (kind.__module__, file, text) if text else None
