"""No code branches on a layer's name or type but the layer's own file: everybody else asks the pair."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import scratch
from compare.pairs.layers import LAYERS

ROOT = Path(__file__).parent.parent
NAMES = {pair.name for pair in LAYERS}
CLASSES = {pair.torch.__name__ for pair in LAYERS} | {pair.scratch.__name__ for pair in LAYERS}
# An option that one layer alone has tells it from all others.
TELLING = {name for name, count in Counter(name for pair in LAYERS for name in pair.options).items() if count == 1}
TELLING -= {"p", "momentum", "eps", "reduction", "dim"}  # words that optimizers, arrays and others have too

# Where layers are used by name: their own files, the models, the mistakes of each, and what shows single layers.
OWN = ("scratch/", "torch_ref/", "compare/pairs/layers/", "compare/faults/")
SHOWN = ("compare/lesson/chapters/", "compare/bench/models.py", "compare/bench/loops.py")
# Words that are also names of layers: functions that are exported, and what people call an option.
WORDS = ("scratch/__init__.py", "compare/driving/vocabulary.py")


def is_layer(node: ast.AST) -> bool:
    """Whether an expression is a layer's class, `nn.ReLU` or `ReLU`, or its name."""
    if isinstance(node, ast.Constant):
        return node.value in NAMES | CLASSES
    return (node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")) in CLASSES


def parts(node: ast.AST) -> Iterator[ast.AST]:
    """An expression, and what is in it if it is a union, a list or the like."""
    yield node
    if isinstance(node, ast.BinOp):
        yield from (*parts(node.left), *parts(node.right))
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        for element in node.elts:
            yield from parts(element)


def call(node: ast.Call) -> str:
    """What a call asks of a layer; empty if nothing."""
    called = getattr(node.func, "id", getattr(node.func, "attr", ""))
    if called in ("isinstance", "issubclass") and any(is_layer(part) for part in parts(node.args[1])):
        return f"{called} of a layer"
    if called in ("getattr", "hasattr", "resolve_name") and ast.unparse(node.args[0]) in ("nn", "torch.nn", "scratch"):
        return f"a lookup in {ast.unparse(node.args[0])}"
    if called in ("getattr", "hasattr") and getattr(node.args[1], "value", "") in TELLING:
        return f"a predicate that one layer fulfils: {ast.unparse(node.args[1])}"
    return ""


def comparison(node: ast.Compare) -> str:
    """Whether one side of a comparison is a layer."""
    sides = (part for side in (node.left, *node.comparators) for part in parts(side))
    return "a comparison with a layer" if any(map(is_layer, sides)) else ""


def case(node: ast.MatchClass | ast.MatchValue) -> str:
    """Whether a pattern is a layer."""
    return "a case of a layer" if is_layer(node.cls if isinstance(node, ast.MatchClass) else node.value) else ""


def collection(node: ast.List | ast.Tuple | ast.Set) -> str:
    """Whether names of layers are listed."""
    named = any(isinstance(element, ast.Constant) and is_layer(element) for element in node.elts)
    return "a list of layers" if named else ""


def dictionary(node: ast.Dict) -> str:
    """Whether layers are keys."""
    return "a dictionary by layer" if any(key is not None and is_layer(key) for key in node.keys) else ""


def subscript(node: ast.Subscript) -> str:
    """Whether something is looked up by a layer's name."""
    return "a lookup by a layer's name" if isinstance(node.slice, ast.Constant) and is_layer(node.slice) else ""


def attribute(node: ast.Attribute) -> str:
    """Whether it is an option that one layer alone has."""
    return f"an option that one layer has: {node.attr}" if node.attr in TELLING else ""


Question = Callable[[Any], str]
BRANCHES: dict[type[ast.AST], Question] = {
    ast.Call: call,
    ast.Compare: comparison,
    ast.MatchClass: case,
    ast.MatchValue: case,
}
MENTIONS: dict[type[ast.AST], Question] = {
    ast.Dict: dictionary,
    ast.List: collection,
    ast.Tuple: collection,
    ast.Set: collection,
    ast.Subscript: subscript,
    ast.Attribute: attribute,
}


def branches_in(tree: ast.AST, *, shown: bool = False) -> Iterator[tuple[int, str]]:
    """Line and kind of every branch on a layer; where single layers are `shown`, they may be mentioned."""
    questions = BRANCHES if shown else BRANCHES | MENTIONS
    for node in ast.walk(tree):
        found = questions[type(node)](node) if type(node) in questions else ""
        if found:
            yield getattr(node, "lineno", 0), found


def own_file(path: Path, root: Path) -> bool:
    """Whether a file is a layer's own: those of `scratch` that define one, and those of `compare`'s layers."""
    relative = path.relative_to(root).as_posix()
    if relative.startswith("scratch/"):
        return any(f"class {name}(" in path.read_text() for name in CLASSES)
    return relative.startswith(OWN)


def branches(root: Path) -> list[str]:
    """All branches on a layer in the code of a project, but for the layers' own files."""
    found = []
    for path in sorted(path for folder in ("scratch", "compare") for path in (root / folder).rglob("*.py")):
        relative = path.relative_to(root).as_posix()
        if not own_file(path, root):
            lines = branches_in(ast.parse(path.read_text()), shown=relative.startswith(SHOWN + WORDS))
            found += [f"{relative}:{line}: {kind}" for line, kind in sorted(lines)]
    return found


def test_nobody_branches_on_a_layer() -> None:
    assert branches(ROOT) == []


@pytest.mark.parametrize(
    "code",
    [
        "isinstance(layer, nn.ReLU)",
        "isinstance(layer, nn.Conv2d | nn.Linear)",
        "issubclass(kind, (Dropout, Module))",
        "type(layer) is nn.MaxPool2d",
        "type(layer) in (scratch.Flatten, str)",
        'type(layer).__name__ == "Softmax"',
        'pair.name == "conv2d"',
        'pair.name in ("linear", "other")',
        'for name in ["relu", "flatten"]: pass',
        '{"conv2d": 1}',
        "{nn.ReLU: 1}",
        'known["batchnorm2d"]',
        "getattr(nn, name)",
        'getattr(scratch, "ReLU")',
        'hasattr(layer, "num_features")',
        "layer.in_features",
        "match layer:\n case nn.ReLU(): pass",
        'match name:\n case "relu": pass',
    ],
)
def test_a_branch_is_found(code: str) -> None:
    assert len(list(branches_in(ast.parse(code)))) >= 1


@pytest.mark.parametrize(
    "code",
    [
        "nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU())",
        "isinstance(module, nn.Sequential)",
        "registered(layer).gives",
        "pair.torch is like",
        'getattr(layer, "bias", None)',
        'print("a relu or a conv2d")',
    ],
)
def test_using_a_layer_is_no_branch(code: str) -> None:
    assert list(branches_in(ast.parse(code))) == []


def test_what_tells_layers_apart_is_known() -> None:
    assert {"conv2d", "maxpool2d", "relu", "dropout"} <= NAMES
    assert {"Conv2d", "ReLU", "CrossEntropyLoss"} <= CLASSES
    assert {"in_channels", "num_features", "in_features"} <= TELLING
    assert all(hasattr(nn, name) or hasattr(scratch, name) for name in CLASSES)
