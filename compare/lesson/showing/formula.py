"""The formulas of a docstring: numbered lines of plain Unicode in, MathML for the page out.

A formula is cut into tokens, which a parser reads by these rules, one method for each:

    sequence = clause {("," | gap) clause}                     the whole line, and what stands in brackets
    clause   = {words | formula}                               g where x > 0
    formula  = ["-"] factors {operator ["-"] factors}          a + b·c: what binds first makes no difference here
    factors  = factor {factor}                                 X Wᵀ
    factor   = number | √ factor | fraction | function factor | (Σ | max | min) [index] factor | quantity
    fraction = ∂ quantity / ∂ quantity
    quantity = (letter | name | sequence in brackets | "..." | ":") [index] [power]

What fits none of them raises ValueError: a formula on the page is right, or it is not there.
"""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass
from typing import NoReturn

GAP = "    "  # in the text of an equation, before a second one on the same line
NUMBERED = re.compile(r"^ *(\S.*?) {2,}\((\d+)\) *$", re.MULTILINE)
WIDE = re.compile(r" {3,}(?=[^ =←])")  # what only lines up the "=" of several lines separates nothing

LETTER = "A-Za-zΓΔΘΛΞΠΦΨΩα-ω"  # without Σ, which is an operator
# No letter or number touches the next one: lrg could be a product, or a name that nobody has listed.
KINDS = {
    "gap": r" {2,}",
    "space": r" ",
    "number": rf"\d+(?:\.\d+)?(?![{LETTER}.])",
    "name": r"[A-Za-z]{2,}(?:_[A-Za-z]{2,})+|(?:dampening|eps|lr|momentum)(?![A-Za-z_])",
    "ranging": r"Σ|(?:max|min)(?![A-Za-z])",
    "function": r"(?:exp|log|softmax)(?![A-Za-z_])|[a-z]{2,}(?=\()",
    "words": r'"[A-Za-z]+":?|[A-Za-z]{2,}:?(?=[ ,)}]|$)',  # prose: every other word, which takes no operator
    "letter": rf"[{LETTER}]\u0302?(?![{LETTER}\d])",
    "index": rf"_(?:[{LETTER}]+|\d+)(?![{LETTER}\d_])",
    "low": r"[₀-₉]+",
    "power": r"[⁰¹²³⁴-⁹]+|[ᵀᵗ]",
    "operator": r"[=←<>≤≥≠+\-·×/]",
    "colon": r":(?=[,\]])",  # x[n,:]
    "dots": r"\.\.\.",
    "sign": r"_\{|[](){}[,√∂]",
}
TOKEN = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in KINDS.items()))
FACTORS = {"number", "name", "ranging", "function", "letter", "colon", "dots", "(", "{", "√", "∂"}  # begin with these
CLOSING = {"(": ")", "{": "}", "[": "]", "_{": "}"}


@dataclass(frozen=True)
class Equation:
    """A numbered line of a docstring: `text` has single spaces, and GAP before a second equation."""

    number: int
    text: str


def equations(docstring: str) -> list[Equation]:
    """The lines that end in a number in brackets, after two spaces or more; ValueError for a number that comes twice.

    >>> equations('''Forward, by (7):
    ...
    ...         y   = x·w      for example: y = 3     (1)
    ...     ''')
    [Equation(number=1, text='y = x·w    for example: y = 3')]
    """
    found: dict[int, Equation] = {}
    for line, digits in NUMBERED.findall(docstring):
        text = GAP.join(" ".join(part.split()) for part in WIDE.split(line))
        first = found.setdefault(int(digits), equation := Equation(int(digits), text))
        if first is not equation:
            raise ValueError(f"equations: ({digits}) must stand at one line, got {first.text!r} and {text!r}")
    return list(found.values())


def to_mathml(text: str) -> str:
    """A formula as one <math> element, to stand within a line of HTML; ValueError where `text` is not understood.

    >>> to_mathml("x_i ≥ 0")
    '<math displaystyle="true" alttext="x_i ≥ 0"><msub><mi>x</mi><mi>i</mi></msub><mo>≥</mo><mn>0</mn></math>'
    >>> to_mathml("x[n ≥ 0")
    Traceback (most recent call last):
    ValueError: to_mathml: expected ']' at the end of 'x[n ≥ 0'
    """
    # With the style of a display, the indices of a sum stand under it and not beside it.
    return element("math", *Parser(text).line(), displaystyle="true", alttext=text)


def element(tag: str, *children: str, **attributes: str) -> str:
    """An element of children that are markup already.

    >>> element("msqrt", "<mi>v</mi>"), element("mspace", width="2em")
    ('<msqrt><mi>v</mi></msqrt>', '<mspace width="2em"></mspace>')
    """
    written = "".join(f' {name}="{html.escape(value)}"' for name, value in attributes.items())
    return f"<{tag}{written}>{''.join(children)}</{tag}>"


def leaf(tag: str, text: str, **attributes: str) -> str:
    """An element of mere text.

    >>> leaf("mo", "<", form="infix")
    '<mo form="infix">&lt;</mo>'
    """
    return element(tag, html.escape(text, quote=False), **attributes)


def row(items: list[str]) -> str:
    """Any number of elements as one.

    >>> row(["<mi>k</mi>"]), row(["<mi>k</mi>", "<mi>l</mi>"])
    ('<mi>k</mi>', '<mrow><mi>k</mi><mi>l</mi></mrow>')
    """
    return items[0] if len(items) == 1 else element("mrow", *items)


def script(text: str) -> str:
    """An index or a power that stands without brackets, a number or one-letter names; nothing where there is none.

    >>> script("²"), script("ᵀ"), script("kl")
    ('<mn>2</mn>', '<mi mathvariant="normal">T</mi>', '<mrow><mi>k</mi><mi>l</mi></mrow>')
    """
    if text == "ᵀ":  # upright: the transpose is no power
        return leaf("mi", "T", mathvariant="normal")
    text = unicodedata.normalize("NFKC", text)  # of small letters the large ones
    if text.isdecimal():
        return leaf("mn", text)
    return row([leaf("mi", letter) for letter in text]) if text else ""


@dataclass(frozen=True)
class Token:
    """A piece of a formula; `kind` is one of KINDS, and of a sign the sign itself."""

    kind: str
    text: str
    at: int
    spaced: bool  # whether it follows a space


class Parser:
    """A formula, and which of its tokens comes next. Its methods read one rule each, and give elements for a row."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[Token] = []
        self.position = 0
        at, spaced = 0, False
        while match := TOKEN.match(text, at):
            kind = match[0] if match.lastgroup == "sign" else str(match.lastgroup)
            if kind != "space":
                self.tokens.append(Token(kind, match[0], at, spaced))
            at, spaced = match.end(), kind == "space"
        self.tokens.append(Token("end", "", at, spaced))

    @property
    def next(self) -> Token:
        return self.tokens[self.position]

    def accept(self, *kinds: str) -> str:
        """The text of the next token, which is read then; empty where it is of none of these kinds."""
        token = self.next
        self.position += token.kind in kinds
        return token.text if token.kind in kinds else ""

    def expect(self, sign: str) -> None:
        if self.next.text != sign:
            self.refuse(repr(sign))
        self.position += 1

    def refuse(self, expected: str) -> NoReturn:
        rest = self.text[self.next.at :]
        raise ValueError(
            f"to_mathml: expected {expected} {f'before {rest!r}' if rest else 'at the end'} of {self.text!r}"
        )

    def line(self) -> list[str]:
        items = self.sequence()
        if self.next.at < len(self.text):
            self.refuse("nothing more")
        return items

    def sequence(self) -> list[str]:
        items = self.clause()
        while self.next.kind in (",", "gap"):
            items += [leaf("mo", ","), *self.space()] if self.accept(",") else []
            items += [element("mspace", width="2em")] if self.accept("gap") else []
            items += self.clause()
        return items

    def clause(self) -> list[str]:
        items: list[str] = []
        while self.next.kind == "words" or self.begins_formula():
            items += [self.words("\u00a0" if items else "")] if self.next.kind == "words" else self.formula()
        if not items:
            self.refuse("a formula")
        return items

    def words(self, before: str) -> str:
        said = []
        while word := self.accept("words"):
            said.append(word)
        after = "\u00a0" if self.begins_formula() else ""  # hard, as MathML drops soft spaces at the ends
        return leaf("mtext", before + "\u00a0".join(said) + after)

    def begins_formula(self) -> bool:
        return self.next.kind in FACTORS or self.next.text == "-"

    def formula(self) -> list[str]:
        items = self.minus() + self.factors()
        while operator := self.accept("operator"):
            items += [leaf("mo", operator.replace("-", "\u2212")), *self.minus(), *self.factors()]
        return items

    def minus(self) -> list[str]:
        if self.next.text != "-":
            return []
        self.expect("-")
        return [leaf("mo", "\u2212", form="prefix")]  # without the space that belongs around a difference

    def factors(self) -> list[str]:
        items = self.factor()
        while self.next.kind in FACTORS:
            items += self.argument()
        return items

    def argument(self) -> list[str]:
        return [*self.space(), *self.factor()]

    def space(self) -> list[str]:
        """A thin space where the text has one: else lr g would be lrg."""
        return [element("mspace", width="0.17em")] if self.next.spaced else []

    def factor(self) -> list[str]:
        if number := self.accept("number"):
            return [leaf("mn", number)]
        if self.accept("√"):  # its bar does what brackets did
            return [element("msqrt", *(self.inside("(") if self.accept("(") else self.factor()))]
        if self.accept("∂"):
            return [self.fraction()]
        if name := self.accept("function"):
            return [leaf("mi", name), *self.argument()]
        if name := self.accept("ranging"):
            operator = leaf("mo", "∑") if name == "Σ" else leaf("mi", name)  # the sign of the sum is larger
            under = "" if self.next.kind == "[" else self.index()
            # A strut that reaches above the letters: fonts that are not for mathematics leave no gap under the sign.
            strut = element("mspace", height="0.8em")
            return [element("munder", operator, row([strut, under])) if under else operator, *self.argument()]
        return [self.quantity()]

    def fraction(self) -> str:
        above = self.quantity()
        self.expect("/")
        self.expect("∂")
        return element("mfrac", *(row([leaf("mo", "∂"), part]) for part in (above, self.quantity())))

    def quantity(self) -> str:
        base, index, power = self.base(), self.index(), script(self.accept("power"))
        tag = "m" + "sub" * bool(index) + "sup" * bool(power)
        return element(tag, base, *filter(None, (index, power))) if index or power else base

    def base(self) -> str:
        if opening := self.accept("(", "{"):
            items = self.inside(opening)
            # Browsers set a bracket that may stretch with more space around it, whether it does or not.
            tall = "true" if re.search("<mfrac|<munder", row(items)) else "false"
            opened, closed = (leaf("mo", sign, stretchy=tall) for sign in (opening, CLOSING[opening]))
            return element("mrow", opened, *items, closed)
        if self.accept("dots"):
            return leaf("mi", "…")
        if self.accept("colon"):
            return leaf("mi", ":")  # all of an axis: no operator
        name = self.accept("name", "letter")
        if name.endswith("\u0302"):
            return element("mover", leaf("mi", name[0]), leaf("mo", "\u02c6", stretchy="false"), accent="true")
        return leaf("mi", name) if name else self.refuse("a quantity")

    def index(self) -> str:
        if opening := self.accept("[", "_{"):
            return row(self.inside(opening))
        return script(self.accept("index", "low").lstrip("_"))

    def inside(self, opening: str) -> list[str]:
        """What stands behind an opening bracket; the closing one is read too."""
        items = self.sequence()
        self.expect(CLOSING[opening])
        return items
