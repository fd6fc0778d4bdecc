"""Every single edit of a source file, and a draw among them.

An edit exchanges an operator, a number, a truth value or `min` for `max`, turns a condition round, takes a keyword
argument away, exchanges the first two arguments, assigns instead of adding, or takes a statement out. Text, types,
decorators and assertions (`assert`, the `strict` of `zip`) are left alone: what they say or promise is not what the
code computes. So are the arguments of `max` and other functions to which their order is all the same.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

OPERATORS: dict[type[ast.AST], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum", "maximum": "minimum"}
# To these the order of their arguments is all the same.
SYMMETRIC = {"max", "min", "np.maximum", "np.minimum", "np.array_equal", "np.may_share_memory", "math.isclose"}


@dataclass(frozen=True)
class Edit:
    """One edit of one file.

    Attributes:
        path: of the file, from the project's root.
        scope: the class and function around it, "Conv2d.forward"; empty at the top of a module.
        first, last: the lines of the statement that it changes.
        start, end: the bytes of the file that it replaces.
        old, new: what stands there, and what is put there.
        number: tells it from earlier edits of the same kind in the same scope.
    """

    path: str
    scope: str
    first: int
    last: int
    start: int
    end: int
    old: str
    new: str
    number: int = 0

    @property
    def key(self) -> str:
        """Names the edit as long as its function stays as it is, wherever in the file it stands."""
        numbered = f" #{self.number}" if self.number else ""
        return f"{self.path}::{self.scope}: {squeezed(self.old)} -> {squeezed(self.new)}{numbered}"

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.new.encode() + source[self.end :]


def squeezed(text: str) -> str:
    return " ".join(text.split())


def draw(edits: list[Edit], count: int, seed: int) -> list[Edit]:
    """`count` of the edits, each as likely as any other.

    An edit elsewhere in the project does not change the draw: each edit has its own lot, made of its key and the seed.
    """
    return sorted(edits, key=lambda edit: hashlib.sha256(f"{seed} {edit.key}".encode()).digest())[:count]


def edits_of(root: Path, path: Path) -> list[Edit]:
    """Every edit of a file that still compiles to another program."""
    finder = Finder(path.relative_to(root).as_posix(), path.read_bytes())
    found: list[Edit] = []
    seen = Counter[str]()
    for statement in ast.parse(finder.source).body:
        start, end = finder.begin(statement), finder.finish(statement)
        block = finder.source[start:end]
        before = parsed(block)
        for edit in finder.statement(statement, ""):
            within = replace(edit, start=edit.start - start, end=edit.end - start)
            after = parsed(within.apply(block))
            if after not in ("", before):
                found.append(replace(edit, number=seen[edit.key]))
                seen[edit.key] += 1
    return found


def parsed(source: bytes) -> str:
    """What a statement means to Python, whatever its spaces and brackets; empty if it does not compile."""
    try:
        return ast.dump(ast.parse(source))
    except SyntaxError:
        return ""


class Finder:
    """Walks through one file."""

    def __init__(self, path: str, source: bytes) -> None:
        self.path, self.source = path, source
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def statement(self, node: ast.stmt, scope: str) -> Iterator[Edit]:
        """The edits of a statement's own lines, and of the statements in it."""
        if isinstance(node, ast.Assert | ast.Import | ast.ImportFrom) or is_for_types(node):
            return
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            scope = f"{scope}.{node.name}".lstrip(".")
        inner = list(statements_in(node))
        last = min((child.lineno - 1 for child in inner), default=node.end_lineno or node.lineno)
        where = Edit(self.path, scope, node.lineno, max(last, node.lineno), 0, 0, "", "")
        if isinstance(node, ast.If | ast.While):
            yield self.negated(where, node.test)
        if is_removable(node):
            yield self.at(where, self.begin(node), self.finish(node), "pass")
        if isinstance(node, ast.AugAssign):
            yield from self.exchanged(where, node.op, self.finish(node.target), self.begin(node.value))
            yield self.assigned(where, node)
        for part in parts_of(node):
            yield from self.expression(part, where)
        for child in inner:
            yield from self.statement(child, scope)

    def expression(self, node: ast.AST, where: Edit) -> Iterator[Edit]:
        """The edits of an expression and of all in it."""
        if isinstance(node, ast.JoinedStr):
            return  # text
        yield from self.operation(node, where)
        yield from self.value(node, where)
        for child in parts_of(node):
            yield from self.expression(child, where)

    def operation(self, node: ast.AST, where: Edit) -> Iterator[Edit]:
        match node:
            case ast.BinOp():
                yield from self.exchanged(where, node.op, self.finish(node.left), self.begin(node.right))
            case ast.BoolOp():
                yield from self.exchanged(where, node.op, self.finish(node.values[0]), self.begin(node.values[1]))
            case ast.Compare():
                sides = [node.left, *node.comparators]
                for left, operator, right in zip(sides, node.ops, node.comparators, strict=False):
                    yield from self.exchanged(where, operator, self.finish(left), self.begin(right))
            case ast.UnaryOp():
                yield self.at(where, self.begin(node), self.begin(node.operand), " ")
            case ast.IfExp():
                yield self.negated(where, node.test)
            case ast.comprehension():
                for test in node.ifs:
                    yield self.negated(where, test)

    def value(self, node: ast.AST, where: Edit) -> Iterator[Edit]:
        match node:
            case ast.Constant(value=bool()):
                yield self.at(where, self.begin(node), self.finish(node), str(not node.value))
            case ast.Constant(value=int(number)):
                yield self.at(where, self.begin(node), self.finish(node), str(number + 1))
            case ast.Constant(value=float(number)):
                yield self.at(where, self.begin(node), self.finish(node), repr(2 * number or 1.0))
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in NAMES:
                end = self.finish(node)
                yield self.at(where, end - len(name), end, NAMES[name])
            case ast.Call():
                yield from self.call(where, node)

    def call(self, where: Edit, node: ast.Call) -> Iterator[Edit]:
        for keyword in node.keywords:
            if keyword.arg is not None and keyword.arg != "strict":
                start, end = self.begin(keyword), self.finish(keyword)
                comma = re.match(rb"\s*,", self.source[end:])
                yield self.at(where, start, end + (comma.end() if comma else 0), "")
        if len(node.args) > 1 and not all(map(is_text, node.args[:2])) and not is_symmetric(node):
            first, second = node.args[:2]
            start, end = self.begin(first), self.finish(second)
            parts = [(self.finish(first), self.begin(second)), (start, self.finish(first)), (self.begin(second), end)]
            between, one, other = (self.source[a:b].decode() for a, b in parts)
            yield self.at(where, start, end, other + between + one)

    def exchanged(self, where: Edit, operator: ast.AST, start: int, end: int) -> Iterator[Edit]:
        """Another operator between the bytes `start` and `end`."""
        if type(operator) not in OPERATORS:
            return
        old, new = OPERATORS[type(operator)]
        found = re.search(re.escape(old).replace(r"\ ", r"\s+"), self.source[start:end].decode())
        assert found, (self.path, where.first, old)
        at = start + len(self.source[start:end].decode()[: found.start()].encode())
        yield self.at(where, at, at + len(found[0].encode()), new)

    def assigned(self, where: Edit, node: ast.AugAssign) -> Edit:
        """An assignment instead of `+=` or the like."""
        start, end = self.finish(node.target), self.begin(node.value)
        at = start + self.source[start:end].index(b"=") + 1
        while self.source[start : start + 1].isspace():
            start += 1
        return self.at(where, start, at, "=")

    def negated(self, where: Edit, test: ast.expr) -> Edit:
        text = self.source[self.begin(test) : self.finish(test)].decode()
        return self.at(where, self.begin(test), self.finish(test), f"(not ({text}))")

    def at(self, where: Edit, start: int, end: int, new: str) -> Edit:
        """What the edit replaces; in its name stands the line, so that one can see what is meant."""
        return replace(where, start=start, end=end, old=self.source[start:end].decode(), new=new)

    def begin(self, node: ast.expr | ast.stmt | ast.keyword) -> int:
        return self.starts[node.lineno - 1] + node.col_offset

    def finish(self, node: ast.expr | ast.stmt | ast.keyword) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.starts[node.end_lineno - 1] + node.end_col_offset


def is_for_types(node: ast.stmt) -> bool:
    """Whether a statement is for the type checker only."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def is_symmetric(node: ast.Call) -> bool:
    """Whether a function gives the same for its arguments in any order."""
    return ast.unparse(node.func) in SYMMETRIC and all(keyword.arg != "key" for keyword in node.keywords)


def is_removable(node: ast.stmt) -> bool:
    """Whether the program goes on without a statement: a call, an addition, a part filled in, a refusal, a jump."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call | ast.Yield | ast.YieldFrom)
    if isinstance(node, ast.Assign):
        return all(isinstance(target, ast.Subscript) for target in node.targets)
    return isinstance(node, ast.AugAssign | ast.Raise | ast.Break | ast.Continue | ast.Delete)


def statements_in(node: ast.AST) -> Iterator[ast.stmt]:
    """The statements directly under a statement, those of its handlers and cases too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
        elif isinstance(child, ast.ExceptHandler | ast.match_case):
            yield from child.body


def parts_of(node: ast.AST) -> Iterator[ast.AST]:
    """The children that compute something: no statements, no types, no decorators."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params", "bases", "ctx", "op", "ops"):
            continue
        for child in value if isinstance(value, list) else [value]:
            is_strict = isinstance(child, ast.keyword) and child.arg == "strict"
            is_block = isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case)
            if isinstance(child, ast.AST) and not is_strict and not is_block:
                yield child
