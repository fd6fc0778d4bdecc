"""What somebody's code says about the arrays that it takes: one image or a batch, and in which order their axes are.

Shapes come first (`readings`): what a layer of other axes gives for them has another shape, or breaks. What they leave
open is read here: the names that a shape is unpacked into (`n, h, w, c = x.shape`), docstrings and comments
("(batch, classes)", "one image"), the names of arguments (`image`, `y_onehot`), how the same file calls it
(`conv.forward(images[i])`), and what other layers of the file say. None of it looks at a number that the code computes.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, TypeGuard

from compare.driving import vocabulary
from compare.driving.making import Functions

STRONG, MEDIUM, WEAK = 4, 2, 1  # their own words about the array; a name; what is said or done elsewhere in the file

LETTERS = {
    "N": "n m b bs batch batchsize nbatch nsamples numsamples samples nexamples examples num ntrain nimages numimages",
    "C": "c ch cin nc channel channels nchannels depth d cprev ncprev ncin inchannels f k features nfeatures feature "
    "classes nclasses numclasses dim indim nin ninputs insize inputsize infeatures inputdim sizein",
    "H": "h hin height nh rows row ih hprev nhprev imgheight imageheight inputheight hh r",
    "W": "w win width nw cols col columns iw wprev nwprev imgwidth imagewidth inputwidth ww",
}
_LETTER_OF = {word: letter for letter, words in LETTERS.items() for word in words.split()}
_ONE = re.compile(
    r"\b(one|(a )?single) (image|sample|example|input|vector|picture|column|row)\b"
    r"(?! (channel|feature|map))",
    re.I,
)
_THINGS = "(images?|samples?|examples?)"
_BATCH = re.compile(r"\b(mini-?batch(es)?|batch(es|ed)?)\b", re.I)
_NO_BATCH = re.compile(
    r"\b(no|not|without|never)( (support|take|handle|accept|expect|process|work|made|meant|with|on|for|any|an?|in))* "
    r"(mini-?)?batch",
    re.I,
)
_ROWS = re.compile(
    rf"\b(rows are|rows? per|rows? for each) {_THINGS}\b|\b{_THINGS} are (the )?rows\b|\b{_THINGS} (per|a) row\b",
    re.I,
)
_COLUMNS = re.compile(r"\bcolumn[- ]?vectors?\b|\b(images|samples|examples) (are|as|in) columns\b|\bone column\b", re.I)
_OTHER_SHAPE = re.compile(r"\b(kernel|pool|filter|stride|window|padding|weight|bias)[^.\n(\[]*[(\[][^)\]]*[)\]]", re.I)
_SHAPE = re.compile(r"[(\[]\s*([A-Za-z_][\w ]*(?:\s*(?:,| x )\s*(?:[A-Za-z_][\w ]*|1|3)?)+)\s*[)\]]")
SINGULAR = {"image", "img", "im", "sample", "vector", "vec", "pixel", "picture", "example", "xi"}
PLURAL = {"images", "imgs", "batch", "xbatch", "samples", "examples", "minibatch", "rows", "batchx", "pictures"}


@dataclass(frozen=True)
class Claim:
    """What the code says about its input.

    Attributes:
        reason: where it says so, in words.
        strength: how much it counts beside others.
        axes: their letters in order, "?" for one that is not understood; empty if only their number is known.
        ndim: how many axes there are; 0 if that is not said.
        batched: whether there is a batch; None if that is not said.
        columns: whether vectors stand upright.
        targets: what a loss is given, "classes" or "one-hot".
        weights: the order of the axes of its weights, "IO" or "OIHW".
        of_images: whether the number of axes is said of images only.
    """

    reason: str
    strength: int
    axes: str = ""
    ndim: int = 0
    batched: bool | None = None
    columns: bool = False
    targets: str = ""
    weights: str = ""
    of_images: bool = False

    def agrees(self, layout: str, targets: str = "", weights: str = "") -> int:
        """1 if a reading is as the claim says, -1 if it is not, 0 if the claim says nothing about it."""
        said = []
        if self.axes:
            same = len(self.axes) == len(layout)
            said.append(same and all(a in ("?", b) or b == "1" for a, b in zip(self.axes, layout, strict=True)))
        if self.ndim and (not self.of_images or "H" in layout):
            said.append(self.ndim == len(layout))
        if self.batched is not None:  # a batch of one is said by its axes alone
            said.append(("1" not in layout or layout in ("C1", "1C")) and self.batched is ("N" in layout))
        if self.columns and "C" in layout and not {"H", "W"} & set(layout):
            said.append(layout in ("CN", "C1"))
        if self.targets and targets:
            said.append(self.targets == targets)
        if self.weights and weights:
            said.append(self.weights == weights)
        return 0 if not said else 1 if all(said) else -1


def claims_of(subject: Any, forward: str = "") -> tuple[Claim, ...]:
    """Everything that the source of a class, an object or a pair of functions says; nothing where there is no source.

    Args:
        forward: the name of the forward method, where it was told.
    """
    function, kind = _forward_of(subject, forward)
    if function is None:
        return ()
    tree, found = _tree(function), list[Claim]()
    if tree is not None:
        found += _unpacked(tree)
        if not found and kind is not None:
            found += [claim for method in _helpers(kind, tree) for claim in _unpacked(method)][:1]
        found += _arguments(tree)
    if kind is not None:
        found += _weights(kind)
    found += _words(function, kind)
    found += _held(subject)
    module = sys.modules.get(getattr(function, "__module__", ""))
    whole = None if module is None else _tree(module)
    if module is not None and whole is not None and tree is not None:
        found += _usage(whole, inspect.getsource(module), tree.name, kind.__name__ if kind is not None else "")
        if not any(claim.batched is not None or claim.axes for claim in found):
            found += _siblings(whole, kind.__name__ if kind is not None else tree.name)
    return tuple(found)


def _forward_of(subject: Any, forward: str) -> tuple[Any, type | None]:
    """The forward function, and the class that it belongs to."""
    if isinstance(subject, Functions):
        return subject.forward_function, None
    kind = subject if isinstance(subject, type) else type(subject)
    own = {name: value for base in reversed(kind.__mro__) for name, value in vars(base).items()}
    names = (forward,) if forward else (*vocabulary.FORWARD, *vocabulary.methods_like("forward", own))
    return next(
        (getattr(kind, name) for name in names if callable(getattr(kind, name, None)) and name in own), None
    ), kind


def _tree(thing: Any) -> Any:
    """The syntax tree of a function (its definition) or a module; None where there is no source."""
    if inspect.ismodule(thing):
        return _parsed(thing)
    module = sys.modules.get(getattr(thing, "__module__", None) or "")
    if (
        inspect.isfunction(thing)
        and module is not None
        and thing.__code__.co_filename == getattr(module, "__file__", "")
    ):
        whole = _parsed(module)
        if whole is not None:
            return _definitions(whole).get((thing.__code__.co_firstlineno, thing.__name__))
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    return next((node for node in tree.body if isinstance(node, ast.FunctionDef)), None)


@functools.cache
def _parsed(module: ModuleType) -> ast.Module | None:
    try:
        return ast.parse(inspect.getsource(module))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None


@functools.cache
def _definitions(module: ast.Module) -> dict[tuple[int, str], ast.FunctionDef]:
    """The functions of a file, by the line where they begin (with their decorators) and their name."""
    found = (node for node in _statements(module) if isinstance(node, ast.FunctionDef))
    return {(min([part.lineno for part in node.decorator_list] + [node.lineno]), node.name): node for node in found}


def _statements(node: ast.AST) -> Iterator[ast.stmt]:
    """The statements in a module, class, function or loop, and those inside them; expressions are not looked at."""
    for part in ("body", "orelse", "handlers", "finalbody"):
        for child in getattr(node, part, ()):
            yield child
            yield from _statements(child)


def _own_arguments(function: ast.FunctionDef) -> list[str]:
    return [argument.arg for argument in function.args.args if argument.arg not in ("self", "cls")]


def _helpers(kind: type, forward: ast.FunctionDef) -> Iterator[ast.FunctionDef]:
    """The methods of the class that forward calls."""
    for name in sorted(_methods_called(forward, *_own_arguments(forward)[:1])):
        method = getattr(kind, name, None)
        tree = _tree(method) if inspect.isfunction(method) else None
        if tree is not None:
            yield tree


def _methods_called(function: ast.FunctionDef, given: str = "") -> set[str]:
    """The names of what is called as self.name(x), x being the argument `given`, or what it is kept as."""
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    own = [call.func for call in calls if call.args and _same_axes(call.args[0]) in (given, f"self.{given}")]
    return {f.attr for f in own if isinstance(f, ast.Attribute) and ast.unparse(f.value) == "self"}


def _unpacked(function: ast.FunctionDef) -> Iterator[Claim]:
    """`n, c, h, w = x.shape` in a function whose first argument is x, or is kept as self.x."""
    own = _own_arguments(function)
    if not own:
        return
    given = {own[0]}
    assignments = [node for node in _statements(function) if isinstance(node, ast.Assign)]
    for node in sorted(assignments, key=lambda node: node.lineno):
        targets = {ast.unparse(target) for target in node.targets}
        given = given | targets if _same_axes(node.value) in given else given - targets
        shape = _shape_of(node.value)
        if shape in given and isinstance(node.targets[0], ast.Tuple):
            names = [ast.unparse(name) for name in node.targets[0].elts]
            if not any(name.startswith("*") for name in names):
                axes = _letters([name.removeprefix("self.") for name in names])
                words = f"{', '.join(names)} = {ast.unparse(node.value)}"
                yield Claim(words, STRONG, axes if axes.strip("?") else "", len(names), _batched(axes))
                return


# Functions and methods that leave the number and the order of the axes as they are.
_KEEPING = {"pad", "array", "asarray", "ascontiguousarray", "asfortranarray", "astype", "copy", "float64", "float32"}


def _same_axes(node: ast.AST) -> str:
    """What has the axes that `node` has: x of `x`, of `np.pad(x, 1)` and of `x.astype(float)`; empty if nothing has."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _KEEPING:
        module = ast.unparse(node.func.value) in ("np", "numpy")
        inner = (node.args[0] if node.args else None) if module else node.func.value
        return "" if inner is None else _same_axes(inner)
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def _shape_of(node: ast.AST) -> str:
    """What `node` is the shape of: `x.shape` or `np.shape(x)`; empty if of nothing."""
    if isinstance(node, ast.Attribute) and node.attr == "shape":
        return ast.unparse(node.value)
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.shape", "numpy.shape") and node.args:
        return ast.unparse(node.args[0])
    return ""


def _letters(names: list[str]) -> str:
    """The letters of axes that are called so, each once; "?" for what is not understood."""
    found = ""
    for name in names:
        letter = "1" if name == "1" else _letter(name)
        found += "?" if letter in found and letter != "1" else letter
    return found


def _letter(name: str) -> str:
    """The letter of an axis of this name, or of this description: "number of classes", "m examples"."""
    words = [vocabulary.plain(word) for word in (name, *name.split()) if word not in ("number", "of", "the", "no")]
    return next((_LETTER_OF[word] for word in words if word in _LETTER_OF), "?")


def _batched(axes: str) -> bool | None:
    """Whether there is a batch among the axes; None where that cannot be told, or a 1 among them tells it better."""
    return True if "N" in axes else None if {"?", "1"} & set(axes) or not axes else False


def _arguments(function: ast.FunctionDef) -> Iterator[Claim]:
    """The names and annotations of forward's arguments: `image`, `x_batch`, `y_onehot`."""
    own = _own_arguments(function)
    word = vocabulary.plain(own[0]) if own else ""
    if word in SINGULAR:
        yield Claim(f"its argument is called {own[0]}", WEAK, batched=False)
    elif word in PLURAL:
        yield Claim(f"its argument is called {own[0]}", WEAK, batched=True)
    for name in own[1:2]:
        if re.search(r"one_?hot|^(Y|T)_?(oh|hot)$", name, re.I):
            yield Claim(f"its argument is called {name}", STRONG, targets="one-hot")
        elif vocabulary.plain(name) in ("labels", "classes", "index", "indices", "idx", "targetindices"):
            yield Claim(f"its argument is called {name}", WEAK, targets="classes")
    for argument in function.args.args:
        if own and argument.arg == own[0] and argument.annotation is not None:
            for axes in re.findall(r"['\"]([\w ,]+)['\"]", ast.unparse(argument.annotation)):
                letters = _letters(re.split(r"[ ,]+", axes.strip()))
                if "?" not in letters:
                    yield Claim(f"its argument is annotated {axes!r}", STRONG, letters, batched=_batched(letters))


def _words(function: Any, kind: type | None) -> Iterator[Claim]:
    """Docstrings and comments about the input."""
    texts = [inspect.getdoc(function) or "", (vars(kind).get("__doc__") if kind is not None else "") or ""]
    with suppress(OSError, TypeError):
        texts.append("\n".join(re.findall(r"#\s*(.*)", inspect.getsource(function))))
    for number, text in enumerate(texts):
        text = _OTHER_SHAPE.sub("", text)
        described = _SHAPE.findall(text) if number < 2 else []  # comments give the shapes of all kinds of arrays
        shapes = (re.split(r"\s*,\s*|\s+x\s+", found.strip(" ,")) for found in described)
        known = [axes for names in shapes if "?" not in (axes := _letters(names)) and len(axes) > 0]
        if known:
            yield Claim(f"it is described as ({', '.join(known[0])})", STRONG, known[0], batched=_batched(known[0]))
        elif _ROWS.search(text):
            yield Claim("it is described as taking images as rows", STRONG, "NC", batched=True)
        elif _NO_BATCH.search(text):
            yield Claim("it is described as taking one at a time", MEDIUM, batched=False)
        elif _BATCH.search(text):
            yield Claim("it is described as taking batches", MEDIUM, batched=True)
        elif _ONE.search(text):
            yield Claim("it is described as taking one at a time", MEDIUM, batched=False)
        if _COLUMNS.search(text):
            yield Claim("it is described as taking columns", MEDIUM, columns=True)
        if re.search(r"one[- _]?hot", text, re.I):
            yield Claim("it is described as one-hot", MEDIUM, targets="one-hot")


def _held(subject: Any) -> Iterator[Claim]:
    """A bias that is a column says that vectors stand upright."""
    for name, value in getattr(subject, "__dict__", {}).items():
        shape: tuple[int, ...] = getattr(value, "shape", ())
        if vocabulary.plain(name) in vocabulary.BIAS_WORDS and len(shape) == 2 and shape[1] == 1 < shape[0]:
            yield Claim(f"its {name} is a column", MEDIUM, columns=True)


def _usage(module: ast.Module, source: str, method: str, owner: str) -> Iterator[Claim]:
    """How the file calls it, outside the class itself: `layer.forward(x[i])`, or with an item of a loop."""
    lines, called = source.splitlines(), re.compile(rf"(?<!def )\b{re.escape(method)}\(")
    blocks = [node for node in module.body if called.search("\n".join(lines[node.lineno - 1 : node.end_lineno]))]
    for function, loops in _calls(ast.Module(blocks, []), owner):
        name = function.func.attr if isinstance(function.func, ast.Attribute) else ast.unparse(function.func)
        if name != method or not function.args:
            continue
        batched = _is_batch(function.args[0], loops)
        if batched is not None:
            words = " ".join(ast.unparse(function).split())
            yield Claim(f"the file calls it so: {words[:60]}", WEAK, batched=batched)
            return


Loops = tuple[ast.For, ...]


def _calls(node: ast.AST, owner: str, loops: Loops = ()) -> Iterator[tuple[ast.Call, Loops]]:
    """Every call in a file, with the loops around it, but for those of the class itself."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef) and child.name == owner:
            continue
        if isinstance(child, ast.Call):
            yield child, loops
        yield from _calls(child, owner, (*loops, child) if isinstance(child, ast.For) else loops)


def _is_batch(given: ast.expr, loops: Loops) -> bool | None:
    """Whether an argument is a batch, by how it is written; None if that cannot be told."""
    if isinstance(given, ast.Subscript):
        parts = given.slice.elts if isinstance(given.slice, ast.Tuple) else [given.slice]
        first = ast.unparse(parts[0])
        if isinstance(parts[0], ast.Slice) or first in ("None", "np.newaxis"):
            return True
        return None if first == "..." or re.search("batch|idx|indices|mask|perm", vocabulary.plain(first)) else False
    if not isinstance(given, ast.Name):
        return None
    word = vocabulary.plain(given.id)
    if word in PLURAL or "batch" in word:
        return True
    for loop in loops:
        if given.id in _from_loop(loop):
            return _yields_batches(loop.iter)
    return False if word in SINGULAR else None


# What images are called that are looped over one by one, and what larger parts of them are.
_DATA = re.compile(r"train|test|valid|data|images|imgs|samples|examples|pictures|inputs|vectors|\b[xy]s?\b")
_PARTS = re.compile(r"layer|chunk|split|fold|block|shard|group|parts|pieces")


def _from_loop(loop: ast.For) -> set[str]:
    """The names that a loop gives a value, and those that are set to one of them in its body."""
    names = {node.id for node in ast.walk(loop.target) if isinstance(node, ast.Name)}
    for node in ast.walk(loop):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id in names:
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def _yields_batches(iterated: ast.expr) -> bool | None:
    """Whether what is looped over gives batches, and not single images; None if that cannot be told."""
    words = ast.unparse(iterated).lower()
    if "batch" in words or "loader" in words:
        return True
    if isinstance(iterated, ast.Call) and ast.unparse(iterated.func) not in ("zip", "enumerate", "tqdm"):
        return None
    one_by_one = _DATA.search(words) is not None and _PARTS.search(words) is None
    return False if one_by_one and isinstance(iterated, ast.Name | ast.Attribute | ast.Call) else None


def _siblings(module: ast.Module, own: str) -> Iterator[Claim]:
    """What the other layers of the file say by how they unpack their inputs and make their biases, if they agree."""
    found: list[Claim] = []
    beside = [node for node in module.body if isinstance(node, ast.ClassDef) and node.name != own]
    for node in beside:
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and method.name in vocabulary.FORWARD:
                claims = [claim for claim in _unpacked(method) if claim.batched is not None]
                found += [replace(claim, reason=f"{node.name} beside it has {claim.reason}") for claim in claims]
    if len({claim.batched for claim in found}) == 1:
        yield Claim(found[0].reason, WEAK, batched=found[0].batched)
        images = [claim for claim in found if "H" in claim.axes]
        if len({claim.ndim for claim in images}) == 1:
            yield Claim(images[0].reason, WEAK, ndim=images[0].ndim, of_images=True)
    upright = [(node.name, column and not _takes_rows(node)) for node in beside for column in _biases(node)]
    if upright and all(column for _, column in upright):
        yield Claim(f"the bias of {upright[0][0]} beside it is a column", MEDIUM, columns=True)


def _biases(kind: ast.ClassDef) -> Iterator[bool]:
    """For each bias that a class makes, whether it is a column (n, 1)."""
    methods = [part for part in kind.body if isinstance(part, ast.FunctionDef)]
    for name, value in (made for method in methods for made in _assigned(method)):
        words = {vocabulary.plain(word) for word in re.findall(r"\w+", name)}
        if not words & vocabulary.BIAS_WORDS or not ("self." in name or name[:1] in "'\""):
            continue
        parts = [part for part in ast.walk(value) if _has_parts(part)]
        if parts:
            sizes = [part.args if isinstance(part, ast.Call) else part.elts for part in parts]
            yield any(len(two) == 2 and ast.unparse(two[1]) == "1" != ast.unparse(two[0]) for two in sizes)


def _takes_rows(kind: ast.ClassDef) -> bool:
    """Whether weights stand on the right of a product somewhere in a class: `x @ self.W`, `np.dot(x, self.W)`."""
    products = [found for node in ast.walk(kind) if (found := _factors(node)) is not None]
    return any(_has_weights(right) and not _has_weights(left) for left, right in products)


def _factors(node: ast.AST) -> tuple[ast.expr, ast.expr] | None:
    """Both sides of a matrix product; None if it is none."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        return node.left, node.right
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("dot", "matmul"):
        factors = [node.func.value, *node.args] if len(node.args) == 1 else node.args
        return (factors[0], factors[1]) if len(factors) == 2 else None
    return None


def _has_weights(node: ast.expr) -> bool:
    return any(vocabulary.plain(word) in vocabulary.WEIGHT_WORDS for word in re.findall(r"\w+", ast.unparse(node)))


def _has_parts(node: ast.AST) -> TypeGuard[ast.Call | ast.Tuple]:
    return isinstance(node, ast.Call | ast.Tuple)


# By kind of layer: "n_in" is the word for an option of both.
_SIDES = (
    {"in_features": "I", "out_features": "O"},
    {"in_channels": "I", "out_channels": "O", "kernel_size": "K", "kernel_height": "K", "kernel_width": "K"},
)


def _weights(kind: type) -> Iterator[Claim]:
    """The order of the axes of weights, by the names of the sizes that they are made with: randn(n_in, n_out)."""
    trees = [
        tree for method in vars(kind).values() if inspect.isfunction(method) if (tree := _tree(method)) is not None
    ]
    for name, value in (assigned for tree in trees for assigned in _assigned(tree)):
        if not {vocabulary.plain(word) for word in re.findall(r"\w+", name)} & vocabulary.WEIGHT_WORDS:
            continue
        for inner in ast.walk(value):
            sizes = inner.args if isinstance(inner, ast.Call) else inner.elts if isinstance(inner, ast.Tuple) else []
            names = [ast.unparse(size).removeprefix("self.") for size in sizes]
            for known in _SIDES:
                order = "".join(known.get(vocabulary.option_of(name, {*known}) or "", "") for name in names)
                order = order.replace("KK", "HW")
                if sorted(order) in (sorted("IO"), sorted("OIHW")):
                    yield Claim(f"its weights are made as ({', '.join(names)})", STRONG, weights=order)
                    return


def _assigned(function: ast.FunctionDef) -> Iterator[tuple[str, ast.expr]]:
    """What is assigned in a function, by its name or its key: `self.W = ...`, `self.params = {"W": ...}`."""
    for node in _statements(function):
        if isinstance(node, ast.Assign):
            yield ast.unparse(node.targets[0]), node.value
            if isinstance(node.value, ast.Dict):
                items = zip(node.value.keys, node.value.values, strict=True)
                yield from ((ast.unparse(key), value) for key, value in items if key)


_SIZES = {"inputshape", "inshape", "imageshape", "inputsize", "imagesize", "inputdim"}


def input_shape_of(subject: Any) -> tuple[int, ...]:
    """The shape of one input that an object was made for, as it keeps it; empty if it keeps none."""
    for name, value in getattr(subject, "__dict__", {}).items():
        sizes = tuple(value) if isinstance(value, tuple | list) and vocabulary.plain(name) in _SIZES else ()
        if len(sizes) > 1 and all(isinstance(size, int) and size > 0 for size in sizes):
            return sizes
    return ()
