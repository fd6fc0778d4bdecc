"""The code to be examined, named on a command line: FILE.py:Class, FILE.py:Class(8), FILE.py:forward,backward."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from compare.machine.errors import UserError

Source = Callable[[], Any]
_FORM = "write FILE.py:Class, FILE.py:Class(arguments) or FILE.py:forward_function,backward_function"


class TargetError(ValueError):
    """The file has no such thing in it."""


@dataclass(frozen=True)
class Target:
    """A file and what of it: "Class", "Class(8)" or "forward, backward"."""

    file: Path
    expression: str

    @property
    def root(self) -> Path:
        """The folder that the file is imported from: its own, or that in which the package lies that it belongs to."""
        folder = self.file.parent
        while (folder / "__init__.py").is_file() and folder.parent != folder:
            folder = folder.parent
        return folder

    @property
    def top(self) -> Path:
        """The folder whose files it may need: of its package as a whole, or its own."""
        inside = self.file.relative_to(self.root).parts
        return self.root / inside[0] if len(inside) > 1 else self.root


def read_target(text: str) -> Target:
    """The target that a text of a command line names.

    Raises:
        UserError: for a text that is no target, or a file that is not there.
    """
    file, colon, expression = text.rpartition(":")
    if not colon or not file.endswith(".py") or not expression.strip():
        raise UserError(f"target {text!r} is not understood; {_FORM}")
    path = Path(file)
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; {_FORM}")
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
        plain = ast.unparse(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UserError(f"target {expression!r} is not Python; {_FORM}") from None
    names = tree.elts if isinstance(tree, ast.Tuple) else [tree]
    simple = 0 < len(names) <= 2 and all(isinstance(node, ast.Name | ast.Attribute) for node in names)
    if not simple and not isinstance(tree, ast.Call):
        raise UserError(f"target {expression!r} is neither a name, a call nor two names; {_FORM}")
    return Target(path.resolve(), plain)


@functools.cache
def load_target(file: str, expression: str) -> Any:
    """What `expression` means in a file, a path relative to the working directory.

    Raises:
        TargetError: if there is no such thing in it; and whatever the file raises.
    """
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
def _module(file: str) -> ModuleType:
    """The file, imported as part of its package, or under its own name as if it were run from its folder."""
    path = Path(file)
    if (path.parent / "__init__.py").is_file() and path.parent != Path():
        return importlib.import_module(".".join(path.with_suffix("").parts))
    sys.path.insert(0, str(path.parent.resolve()))
    specification = importlib.util.spec_from_file_location(path.stem, path.resolve())
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
