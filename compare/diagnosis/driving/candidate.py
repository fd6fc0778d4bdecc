"""The code to be examined, named on a command line: FILE.py:Class, FILE.py:Class(8), FILE.py:forward,backward."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compare.machine.errors import UserError

Source = Callable[[], Any]
_FORM = "write FILE.py:Class, FILE.py:Class(arguments) or FILE.py:forward_function,backward_function"


class TargetError(ValueError):
    """The file has no such thing in it."""


def source_of(candidate: Any) -> Source:
    """How to get at the candidate: called in the process where it is to run.

    Args:
        candidate: a class, a function that makes an object, an object, a pair of functions, or the text of a target.

    Raises:
        UserError: for a text that is no target, or a file that is not there.
    """
    if not isinstance(candidate, str):
        return lambda: candidate
    file, colon, expression = candidate.rpartition(":")
    if not colon or not file.endswith(".py") or not expression.strip():
        raise UserError(f"target {candidate!r} is not understood; {_FORM}")
    path = Path(file)
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; {_FORM}")
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except SyntaxError:
        raise UserError(f"target {expression!r} is not Python; {_FORM}") from None
    names = tree.elts if isinstance(tree, ast.Tuple) else [tree]
    simple = 0 < len(names) <= 2 and all(isinstance(node, ast.Name | ast.Attribute) for node in names)
    if not simple and not isinstance(tree, ast.Call):
        raise UserError(f"target {expression!r} is neither a name, a call nor two names; {_FORM}")
    return functools.partial(_load, str(path.resolve()), ast.unparse(tree))


@functools.cache
def _load(file: str, expression: str) -> Any:
    module = _module(file)
    if re.fullmatch(r"[\w.]+", expression):
        return _attribute(module, expression, file)
    tree = ast.parse(expression, mode="eval").body
    if isinstance(tree, ast.Tuple):
        return tuple(_attribute(module, ast.unparse(node), file) for node in tree.elts)
    assert isinstance(tree, ast.Call)
    _attribute(module, ast.unparse(tree.func), file)
    return functools.partial(eval, compile(expression, f"<{expression}>", "eval"), vars(module))


def _attribute(module: Any, name: str, file: str) -> Any:
    found = module
    for part in name.split("."):
        if not hasattr(found, part):
            there = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
            raise TargetError(
                f"{Path(file).name} has no {name}; it has {', '.join(there) or 'nothing that can be called'}"
            )
        found = getattr(found, part)
    return found


@functools.cache
def _module(file: str) -> Any:
    """The file, imported under its own name, with its folder on the path as if it were run from there."""
    sys.path.insert(0, str(Path(file).parent))
    specification = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[module.__name__] = module
    specification.loader.exec_module(module)
    return module


def name_of(candidate: Any) -> str:
    """What a candidate is called in a verdict."""
    if isinstance(candidate, str):
        return Path(candidate.rpartition(":")[0]).name + ":" + candidate.rpartition(":")[2].strip()
    if isinstance(candidate, tuple):
        return ", ".join(getattr(function, "__name__", "?") for function in candidate)
    return getattr(candidate, "__name__", type(candidate).__name__)
