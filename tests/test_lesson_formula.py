"""The formulas of the lesson say what the docstrings say: every character, and what belongs to what."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

import scratch
from compare.lesson.showing.formula import Equation, equations, to_mathml

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SOURCES = Path(scratch.__file__).parent
EQUATIONS = [
    pytest.param(equation.text, id=f"{name}-{equation.number}")
    for name in scratch.__all__
    for equation in equations(getattr(scratch, name).__doc__ or "")
]
UNNUMBERED = [
    "log p_i = (x_i - m) - log Σ_j exp(x_j - m),    m = max_j x_j",
    "∂x̂_l/∂x_k = s·(δ_kl - 1/m) - (x_l - μ)·(s³/2)·2·(x_k - μ)/m",
    "∂L[n]/∂x[n,k] = p[n,k] - δ(k = t[n])",
    "lr ≤ 0.5, x ≠ -1 and {0, 1} × 2",
]
# Of MathML Core, what a formula may use: an element, and its attributes.
CORE = {"math": {"displaystyle", "alttext"}, "mi": {"mathvariant"}, "mo": {"form", "stretchy"}, "mn": set()}
CORE |= {"mtext": set(), "mrow": set(), "mspace": {"width", "height"}, "msqrt": set(), "mfrac": set()}
CORE |= {"msub": set(), "msup": set(), "msubsup": set(), "munder": set(), "mover": {"accent"}}


def parsed(text: str) -> ET.Element:
    return ET.fromstring(to_mathml(text))


def inner(text: str) -> str:
    """The markup of a formula without <math> around it, and without the spaces between its parts."""
    match = re.fullmatch(r"<math [^>]*>(.*)</math>", to_mathml(text))
    assert match
    return re.sub(r"<mspace [^>]*></mspace>", "", match[1])


def written_back(node: ET.Element) -> str:
    """A formula of MathML as plain text, with every index in [] and every power in ^[]."""
    parts = [written_back(child) for child in node]
    if node.tag in ("msub", "munder"):
        return f"{parts[0]}[{parts[1]}]"
    if node.tag == "msup":
        return f"{parts[0]}^[{parts[1]}]"
    if node.tag == "msubsup":
        return f"{parts[0]}[{parts[1]}]^[{parts[2]}]"
    if node.tag == "mfrac":
        return f"{parts[0]}/{parts[1]}"
    if node.tag == "msqrt":
        return f"√({''.join(parts)})"
    if node.tag == "mover":
        return parts[0] + {"ˆ": "\u0302"}[parts[1]]
    return "".join([re.sub(r"\s", "", node.text or ""), *parts])


def spelled_out(text: str) -> str:
    """A formula of a docstring in the form of `written_back`."""
    for pattern, replacement in [
        (r"_\{([^{}]*)\}", r"[\1]"),
        (r"(max|(?<![A-Za-z])[^\W\d_]\u0302?)_([A-Za-z]+|\d+)", r"\1[\2]"),
        (r"([₀-₉]+)", r"[\1]"),
        (r"([²³ᵀᵗ])", r"^[\1]"),
        (r"√([^\W\d_]\u0302?)", r"√(\1)"),
        (r"\s", ""),
        ("Σ", "∑"),
        ("-", "\u2212"),
        (r"\.\.\.", "…"),
    ]:
        text = re.sub(pattern, replacement, text)
    return re.sub("[₀-₉²³ᵀᵗ]", lambda match: unicodedata.normalize("NFKC", match[0]), text)


def test_no_numbered_line_of_scratch_is_missed() -> None:
    lines = [line for path in SOURCES.glob("*.py") for line in path.read_text().splitlines()]
    assert len(EQUATIONS) == sum(bool(re.search(r"  \(\d+\)$", line)) for line in lines) > 40


@pytest.mark.parametrize("text", [*EQUATIONS, *UNNUMBERED])
def test_a_formula_says_what_the_docstring_says(text: str) -> None:
    math = parsed(text)
    assert math.tag == "math"
    assert math.get("alttext") == text
    assert written_back(math) == spelled_out(text)


@pytest.mark.parametrize("text", [*EQUATIONS, *UNNUMBERED])
def test_nothing_is_left_as_it_is_typed_in_plain_text(text: str) -> None:
    shown = " ".join(parsed(text).itertext())
    assert not set("[]^-Σ√") & set(shown)
    assert "_" not in re.sub(r"weight_decay|running_mean|running_var", "", shown)  # names of the program stay


@pytest.mark.parametrize("text", [*EQUATIONS, *UNNUMBERED])
def test_every_browser_knows_the_elements(text: str) -> None:
    children = {"msub": 2, "msup": 2, "msubsup": 3, "munder": 2, "mover": 2, "mfrac": 2}
    for node in parsed(text).iter():
        assert set(node.attrib) <= CORE[node.tag]
        assert len(node) == children.get(node.tag, len(node))


def test_the_equations_of_a_docstring() -> None:
    linear = equations(scratch.Linear.__doc__ or "")
    assert linear[0] == Equation(1, "y[n,o] = b[o] + Σ_i x[n,i] · w[o,i]    in matrices: Y = X Wᵀ + b")
    assert linear[1] == Equation(2, "∂L/∂b[o] = Σ_n g[n,o]")  # what lined up its "=" is gone
    assert [equation.number for equation in equations(scratch.BatchNorm2d.__doc__ or "")] == list(range(1, 11))
    assert equations("By (1) and (2)\n    x = 1 (3)\n    (4)\n    y  (5) that") == []


def test_a_number_is_given_once() -> None:
    with pytest.raises(ValueError, match=r"\(2\) must stand at one line, got 'x = 1' and 'y = 2'"):
        equations("    x = 1   (2)\n    z = 1   (1)\n    y = 2   (2)")
    with pytest.raises(ValueError, match=r"\(2\)"):
        equations("    x = 1   (2)\n    x = 1   (2)")


N, COMMA = "<mi>n</mi>", "<mo>,</mo>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x[n, c]", f"<msub><mi>x</mi><mrow>{N}{COMMA}<mi>c</mi></mrow></msub>"),
        ("p[n,t[n]]", f"<msub><mi>p</mi><mrow>{N}{COMMA}<msub><mi>t</mi>{N}</msub></mrow></msub>"),
        ("x[n,:]", f"<msub><mi>x</mi><mrow>{N}{COMMA}<mi>:</mi></mrow></msub>"),
        ("δ_kl", "<msub><mi>δ</mi><mrow><mi>k</mi><mi>l</mi></mrow></msub>"),
        ("β₁ᵗ", "<msubsup><mi>β</mi><mn>1</mn><mi>t</mi></msubsup>"),
        ("g²", "<msup><mi>g</mi><mn>2</mn></msup>"),
        ("Wᵀ", '<msup><mi>W</mi><mi mathvariant="normal">T</mi></msup>'),
        ("x̂_k", '<msub><mover accent="true"><mi>x</mi><mo stretchy="false">ˆ</mo></mover><mi>k</mi></msub>'),
        ("Σ_n g[n]", f"<munder><mo>∑</mo><mrow>{N}</mrow></munder><msub><mi>g</mi>{N}</msub>"),
        (
            "max_{u,v} x",
            f"<munder><mi>max</mi><mrow><mrow><mi>u</mi>{COMMA}<mi>v</mi></mrow></mrow></munder><mi>x</mi>",
        ),
        ("Σ x", "<mo>∑</mo><mi>x</mi>"),
        (
            "∂L/∂x[n]",
            "<mfrac><mrow><mo>∂</mo><mi>L</mi></mrow><mrow><mo>∂</mo><msub><mi>x</mi><mi>n</mi></msub></mrow></mfrac>",
        ),
        ("a/b", "<mi>a</mi><mo>/</mo><mi>b</mi>"),
        ("√v·x", "<msqrt><mi>v</mi></msqrt><mo>·</mo><mi>x</mi>"),
        ("1/√(v + eps)", "<mn>1</mn><mo>/</mo><msqrt><mi>v</mi><mo>+</mo><mi>eps</mi></msqrt>"),
        (
            "(x - μ)²",
            '<msup><mrow><mo stretchy="false">(</mo><mi>x</mi><mo>−</mo><mi>μ</mi><mo stretchy="false">)</mo></mrow>'
            "<mn>2</mn></msup>",
        ),
        ("a = -log p", '<mi>a</mi><mo>=</mo><mo form="prefix">−</mo><mi>log</mi><mi>p</mi>'),
        ("lr · g", "<mi>lr</mi><mo>·</mo><mi>g</mi>"),
        ("0.5 < x", "<mn>0.5</mn><mo>&lt;</mo><mi>x</mi>"),
        (
            "g where x > 0, else 0",
            "<mi>g</mi><mtext>\u00a0where\u00a0</mtext><mi>x</mi><mo>&gt;</mo><mn>0</mn><mo>,</mo>"
            "<mtext>else\u00a0</mtext><mn>0</mn>",
        ),
        ("g at the first step, v", f"<mi>g</mi><mtext>\u00a0at\u00a0the\u00a0first\u00a0step</mtext>{COMMA}<mi>v</mi>"),
        ('"none": all v', '<mtext>"none":\u00a0all\u00a0</mtext><mi>v</mi>'),
    ],
)
def test_by_hand(text: str, expected: str) -> None:
    assert inner(text) == expected


def test_a_space_of_the_text_is_one_of_the_page() -> None:
    assert '<mi>lr</mi><mspace width="0.17em"></mspace><mi>g</mi>' in to_mathml("lr g")
    assert '<mi>log</mi><mspace width="0.17em"></mspace><mi>p</mi>' in to_mathml("log p")
    assert "mspace" not in to_mathml("f(x)")
    assert '<mi>x</mi><mspace width="2em"></mspace><mi>y</mi>' in to_mathml("x    y")


def test_a_strut_keeps_indices_from_touching_the_sign_above() -> None:
    assert '<mo>∑</mo><mrow><mspace height="0.8em"></mspace><mi>n</mi></mrow>' in to_mathml("Σ_n x")


def test_brackets_grow_with_what_is_tall() -> None:
    assert to_mathml("(∂L/∂x, b)").count('stretchy="true"') == 2
    assert to_mathml("(a, b)").count('stretchy="false"') == 2


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "a formula at the end of ''"),
        ("x[n", "']' at the end"),
        ("x[n)", "']' before ')'"),
        ("(x", "')' at the end"),
        ("x)", "nothing more before ')'"),
        ("Σ_{i x", "'}' at the end"),
        ("[n]", "a formula before '[n]'"),
        ("x[]", "a formula before ']'"),
        ("x = @y", "a quantity before '@y' of 'x = @y'"),
        ("x $ y", "nothing more before '$ y'"),
        ("x =", "a quantity at the end"),
        ("= x", "a formula before '= x'"),
        ("x + · y", "a quantity before '· y'"),
        ("x,", "a formula at the end"),
        ("x    = y", "a formula before '= y'"),  # a gap separates equations
        ("Σ_j", "a quantity at the end"),
        ("max[n] x", "a quantity before '[n] x'"),  # neither an index nor a range
        ("log_2 x", "a formula before 'log_2 x'"),
        ("∂L", "'/' at the end"),
        ("∂L/x", "'∂' before 'x'"),
        ("gamma · x", "nothing more before '· x'"),  # a name that is not listed counts as prose
        ("x · gamma", "a quantity before 'gamma'"),
        ("gammaX(x)", "a formula before 'gammaX(x)'"),
        ("x2", "a formula before 'x2'"),
        ("2x", "a formula before '2x'"),
        ("1e-3", "a formula before '1e-3'"),
        ("x_k2", "nothing more before '_k2'"),
        ("x_i_j", "nothing more before '_i_j'"),
        ("x[i][j]", "nothing more before '[j]'"),
        ("√", "a quantity at the end"),
        ("x : y", "nothing more before ': y'"),
    ],
)
def test_what_is_not_understood_is_refused(text: str, place: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"to_mathml: expected {place}")):
        to_mathml(text)


def test_a_browser_draws_indices_below_and_numerators_above(browser: Browser) -> None:
    formulas = "".join(f"<p>{to_mathml(str(case.values[0]))}" for case in EQUATIONS)
    measure = """() => [...document.querySelectorAll("munder, msub, mfrac")].map(node => {
        const [above, below] = [...node.children].map(child => child.getBoundingClientRect());
        return [node.localName, above.top, above.bottom, below.top, below.bottom, below.width];
    })"""
    page = browser.new_page()
    page.set_content(f"<!doctype html><meta charset=utf-8>{formulas}")
    boxes = page.evaluate(measure)
    page.close()
    assert {name for name, *_ in boxes} == {"munder", "msub", "mfrac"}
    for name, top, bottom, below_top, below_bottom, width in boxes:
        assert width > 0
        assert below_bottom > bottom
        assert below_top >= (top if name == "msub" else bottom - 1)


@pytest.mark.parametrize("name", ["exp", "tanh", "sin", "erf"])
def test_every_word_before_a_bracket_is_a_function(name: str) -> None:
    assert f"<mi>{name}</mi>" in to_mathml(f"y = {name}(x)")
