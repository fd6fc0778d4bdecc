"""The commands diagnose, faults and break as their users run them, and a verdict in every format."""

from __future__ import annotations

import html.parser
import inspect
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from compare.diagnosis.diagnose import diagnose
from compare.diagnosis.render.grading import as_gradescope, as_junit, marks, read_points
from compare.diagnosis.render.page import as_html
from compare.diagnosis.verdict import Diagnosis
from compare.faults.catalogue import CATALOGUE
from compare.machine.errors import UserError
from scratch import Array
from tests.conftest import Run

WRONG_POOL = '''
"""One image at a time, (height, width, channels), as a notebook has it."""
import numpy as np


class Pool2:
    def forward(self, image):
        self.image = image
        h, w, c = image.shape
        self.out = image[: h // 2 * 2, : w // 2 * 2].reshape(h // 2, 2, w // 2, 2, c).max(axis=(1, 3))
        return self.out

    def backprop(self, gradient):
        whole = np.zeros_like(self.image)
        h, w, _ = gradient.shape
        for i in range(h):
            for j in range(w):
                window = self.image[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
                whole[2 * i : 2 * i + 2, 2 * j : 2 * j + 2] += (window == self.out[i, j]) * gradient[i, j]
        return whole
'''


class WrongLinear:
    """Two mistakes: no bias in the output, and the mean in grad_bias."""

    def __init__(self, in_features: int, out_features: int) -> None:
        self.weight, self.bias = np.zeros((out_features, in_features)), np.zeros(out_features)

    def forward(self, x: Array) -> Array:
        self.x = x
        y: Array = x @ self.weight.T
        return y

    def backward(self, g: Array) -> Array:
        self.grad_weight, self.grad_bias = g.T @ self.x, g.mean(axis=0)
        grad_input: Array = g @ self.weight
        return grad_input


@pytest.fixture(scope="module")
def wrong() -> Diagnosis:
    return diagnose(WrongLinear, like="linear")


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    path = tmp_path / "pool.py"
    path.write_text(WRONG_POOL)
    return path


def test_diagnose_says_what_is_wrong_with_hint_example_and_table(gradtwin: Run, pool: Path) -> None:
    outcome = gradtwin("diagnose", f"{pool}:Pool2", "--like", "MaxPool2d(2)", "--json", "verdict.json")
    assert outcome.status == 1, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0] == (
        "wrong: grad_input of maxpool2d: Every element equal to the maximum gets the whole gradient; "
        "only the first of them may have it."
    )
    assert "  mistake: maxpool2d-all-ties-win; the catalogued mistake, replayed, coincides" in outcome.out
    assert "  hint: Try a window with two equal maxima" in outcome.out
    assert "The smallest input that shows it:" in outcome.out
    assert "expected grad_input 1x" in outcome.out
    assert "wrong first at [0, " in outcome.out
    assert "remark: it takes inputs as HWC, one at a time" in outcome.out
    assert re.search(r"│ grad_input +│ +\d+ │ +\d+ │ \[", outcome.out)
    result = json.loads(Path("verdict.json").read_text())
    assert result["ok"] is False
    assert result["findings"][0]["name"] == "maxpool2d-all-ties-win"
    assert result["example"]["tensor"] == "grad_input"
    assert any(not row["ok"] for row in result["rows"])


def test_diagnose_with_nothing_wrong_exits_with_0(gradtwin: Run) -> None:
    from tests.foreign import right

    outcome = gradtwin("diagnose", f"{right.__file__}:Pool", "--like", "maxpool2d")
    assert outcome.status == 0, outcome.out
    assert outcome.out.startswith("right: right.py:Pool computes what maxpool2d does: ")
    assert "  coverage: output, grad_input of a batch (N, C, H, W), on " in outcome.out
    assert "padding" in outcome.out.partition("not compared: ")[2]


@pytest.fixture
def _one_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same question is answered once: what is asked is how the answer looks in each format."""
    told: dict[str, Diagnosis] = {}

    def once(candidate: object, **how: object) -> Diagnosis:
        key = repr((candidate, how))
        if key not in told:
            told[key] = diagnose(candidate, **how)  # type: ignore[arg-type]
        return told[key]

    monkeypatch.setattr("compare.diagnosis.diagnose.diagnose", once)


@pytest.mark.usefixtures("_one_verdict")
def test_hint_only_hides_the_mistake_and_all_numbers(gradtwin: Run, pool: Path) -> None:
    for kind in ("text", "json", "html", "junit", "gradescope"):
        outcome = gradtwin(
            "diagnose", f"{pool}:Pool2", "--like", "MaxPool2d(2)", "--format", kind, "--hint-only", "--json", "v.json"
        )
        for text in (outcome.out, Path("v.json").read_text()):
            assert CATALOGUE["maxpool2d-all-ties-win"].hint.split(":")[0] in text
            assert "all-ties-win" not in text
            assert "whole gradient" not in text
            assert "expected" not in text
            assert "instead of" not in text


def test_every_option_of_the_interface_reaches_the_code(gradtwin: Run, tmp_path: Path) -> None:
    path = tmp_path / "odd.py"
    path.write_text(
        "import numpy as np\n"
        "class Odd:\n"
        "    def __init__(self, n):\n"
        "        self.stuff = {'first': np.zeros((3, 3, n, 2)), 'second': np.zeros(2)}\n"
        "    def go(self, a):\n"
        "        v = np.lib.stride_tricks.sliding_window_view(a, (3, 3), axis=(1, 2))\n"
        "        self.v, self.a = v, a\n"
        "        b = self.stuff['second'][:, None, None]\n"
        "        self.result = np.einsum('nijcuv,uvco->noij', v, self.stuff['first']) + b\n"
        "    def back(self, q):\n"
        "        self.one = np.einsum('nijcuv,noij->uvco', self.v, q)\n"
        "        self.two = q.sum((0, 2, 3))\n"
    )
    outcome = gradtwin(
        "diagnose", f"{path}:Odd(4)", "--like", "Conv2d(4, 2, 3)", "--forward", "go", "--backward", "back",
        "--param", "stuff['first']=weight:HWIO", "--param", "stuff['second']=bias", "--grad", "one=weight",
        "--grad", "two=bias", "--layout", "NHWC", "--output-layout", "NCHW", "--output-from", "result",
        "--input-shape", "4,6,5", "--seconds", "60", "--memory", "500", "--seed", "3",
    )  # fmt: skip
    assert outcome.status == 0, outcome.out + outcome.err
    assert outcome.out.startswith("right: odd.py:Odd(4) computes what conv2d does: ")
    assert "of a batch (N, H, W, C), on 24 inputs; not compared: grad_input (not provided)" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.py:A", "--like", "relu"], "nowhere.py: there is no such file; write FILE.py:Class"),
        (["POOL:Pool2"], "Missing option '--like'"),
        (["POOL:Pool2", "--like", "nonsense"], "--like 'nonsense' is neither a registered name (conv2d, "),
        (["POOL:Pool2", "--like", "Conv9d(1)"], "--like: torch.nn has no module 'Conv9d'"),
        (["POOL:Pool2", "--like", "Conv2d(1)"], "--like: Conv2d(1): Conv2d.__init__() missing 2 required"),
        (["POOL:Pool2", "--like", "ReLU(open('x'))"], "--like: "),
        (["POOL:Pool2", "--like", "relu", "--format", "pdf"], "--format 'pdf' is unknown; choose one of text, json"),
        (["POOL:Pool2", "--like", "relu", "--param", "w"], "--param 'w' must be OWN=NAME"),
        (["POOL:Pool2", "--like", "relu", "--layout", "hwc"], "layout 'hwc' must be letters such as NCHW"),
        (["POOL:Pool2", "--like", "relu", "--input-shape", "a"], "--input-shape 'a' must be whole numbers"),
        (["POOL:Pool2", "--like", "MaxPool2d(2)", "--points", "x"], "--points 'x' must be a number such as 10"),
        (["POOL:Pool2", "--like", "MaxPool2d(2)", "--points", "a=3"], "--points: pool.py:Pool2 has no tensor 'a'"),
        (["POOL:Pool2", "--like", "relu", "--json", "/proc/x/y"], "/proc/x: cannot be written"),
        (["POOL:Pool2", "--like", "relu", "--seconds", "0"], "Invalid value for '--seconds'"),
    ],
)
def test_diagnose_refuses_in_one_line(gradtwin: Run, pool: Path, arguments: list[str], message: str) -> None:
    outcome = gradtwin("diagnose", *(argument.replace("POOL", str(pool)) for argument in arguments))
    assert outcome.status == 2
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert "Traceback" not in outcome.err


@pytest.mark.usefixtures("_one_verdict")
def test_a_verdict_goes_to_a_file_whole(gradtwin: Run, pool: Path) -> None:
    for kind in ("text", "json", "html", "junit", "gradescope"):
        arguments = ("diagnose", f"{pool}:Pool2", "--like", "MaxPool2d(2)", "--format", kind)
        outcome = gradtwin(*arguments, "--out", f"verdict.{kind}")
        assert outcome.status == 1
        assert outcome.out.endswith(f"written to verdict.{kind}\n")
        if kind != "text":
            assert Path(f"verdict.{kind}").read_text() == gradtwin(*arguments).out


class Tags(html.parser.HTMLParser):
    """Checks that every tag is closed, and collects what the page asks for from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.asked: list[str] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.asked += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_asks_for_nothing(wrong: Diagnosis) -> None:
    page = as_html(wrong)
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.asked == []
    assert "<script" not in page
    assert "The bias is never added to the output." in page
    assert 'class="heat"' in page
    assert page.count("<td style=") >= 20
    assert "The smallest input that shows it" in page


def test_the_page_escapes_what_it_shows(wrong: Diagnosis) -> None:
    import dataclasses

    page = as_html(dataclasses.replace(wrong, candidate="<script>alert(1)</script>", remarks=("<b>&",)))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "&lt;b&gt;&amp;" in page


def test_points_go_to_what_is_right(wrong: Diagnosis) -> None:
    given = {mark.tensor: (mark.points, mark.of) for mark in marks(wrong, 10)}
    assert given == {"output": (0, 2.5), "grad_input": (2.5, 2.5), "grad_weight": (2.5, 2.5), "grad_bias": (0, 2.5)}
    named = marks(wrong, {"output": 4, "grad_input": 6})
    assert [(mark.points, mark.of) for mark in named] == [(0, 4), (6, 6)]
    assert named[0].text.startswith("The bias is never added to the output. Hint: ")
    assert marks(wrong, 10, hint_only=True)[0].text == "Give it an input of zeros."


def test_points_are_read_or_refused() -> None:
    assert read_points("10") == 10
    assert read_points("output=4, grad_input=6") == {"output": 4, "grad_input": 6}
    for text in ("-1", "nan", "a", "output=", "output=1,2", "inf"):
        with pytest.raises(UserError, match="--points"):
            read_points(text)


def test_a_gradient_that_is_not_provided_earns_nothing() -> None:
    class HalfDone:
        def forward(self, x: Array) -> Array:
            return np.maximum(x, 0)

        def backward(self, g: Array) -> None:
            pass

    result = diagnose(HalfDone, like="relu")
    assert result.ok
    assert [(mark.tensor, mark.points) for mark in marks(result, 10)] == [("output", 5), ("grad_input", 0)]
    tree = ET.fromstring(as_junit(result))
    assert (tree.get("failures"), tree.get("skipped"), tree.get("tests")) == ("0", "1", "2")


def test_what_crashes_earns_nothing() -> None:
    class Crashes:
        def forward(self, x: Array) -> Array:
            raise RuntimeError(f"no {x.shape}")

        def backward(self, g: Array) -> Array:
            return g

    result = diagnose(Crashes, like="relu")
    assert [mark.points for mark in marks(result, 10)] == [0]
    suite = ET.fromstring(as_junit(result))
    assert (suite.get("failures"), suite.get("errors")) == ("0", "1")


NOT_JUDGED = """
import numpy as np

class Square:
    def forward(self, x):
        if x.shape[2] % 2 or x.shape[2] != x.shape[3]:
            raise ValueError("even squares only")
        self.x = x
        return x.reshape(len(x), x.shape[1], x.shape[2] // 2, 2, x.shape[3] // 2, 2).mean(axis=(3, 5))

    def backward(self, g):
        return np.repeat(np.repeat(g, 2, axis=2), 2, axis=3) / 4
"""


def test_what_is_not_judged_has_status_2_no_points_and_the_reason_in_every_format(
    gradtwin: Run, tmp_path: Path
) -> None:
    path = tmp_path / "square.py"
    path.write_text(NOT_JUDGED)
    reason = "too little could be compared: 67% of the kinds of input that it could be given; missing: odd sides, "
    for kind in ("text", "json", "html", "junit", "gradescope"):
        outcome = gradtwin(
            "diagnose",
            f"{path}:Square",
            "--like",
            "AvgPool2d(2)",
            "--format",
            kind,
            "--points",
            "10",
            "--json",
            "v.json",
        )
        assert outcome.status == 2
        assert reason in outcome.out, kind
        assert json.loads(Path("v.json").read_text())["outcome"] == "not_judged"
        if kind == "text":
            assert "points: 0 of 10 " in outcome.out
        if kind == "gradescope":
            result = json.loads(outcome.out)
            assert result["score"] == 0
            assert all("too little of it could be compared" in test["output"] for test in result["tests"])
        if kind == "junit":
            assert ET.fromstring(outcome.out).get("errors") == "2"


def test_a_name_that_the_file_has_not_is_not_judged(gradtwin: Run, pool: Path) -> None:
    outcome = gradtwin("diagnose", f"{pool}:Pool3", "--like", "MaxPool2d(2)")
    assert (outcome.status, outcome.err) == (2, "")
    assert outcome.out.startswith("not judged: pool.py has no Pool3; it has Pool2")


def test_what_the_readme_shows_is_what_is_said(gradtwin: Run, tmp_path: Path) -> None:
    from tests import test_judge

    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    for name, target, like, kind in (
        ("softmax.py", "Softmax", "softmax", test_judge.SoftmaxOfAll),
        ("pool.py", "EvenPool", "MaxPool2d(2)", test_judge.EvenPool),
    ):
        source = "import numpy as np\nArray = np.ndarray\n" + inspect.getsource(kind)
        (tmp_path / name).write_text(source.replace(kind.__name__, target))
        written = f'"{like}"' if "(" in like else like
        block = readme.partition(f"$ gradtwin diagnose {name}:{target} --like {written}\n")[2].partition("```")[0]
        said = gradtwin("diagnose", f"{tmp_path / name}:{target}", "--like", like).out.splitlines()
        assert block.splitlines()
        assert set(block.splitlines()) <= set(said)


def test_junit_has_a_case_for_every_tensor(wrong: Diagnosis) -> None:
    tree = ET.fromstring(as_junit(wrong))
    assert tree.tag == "testsuite"
    assert (tree.get("tests"), tree.get("failures"), tree.get("errors")) == ("4", "2", "0")
    cases = {case.get("name"): case.find("failure") for case in tree}
    assert [name for name, failure in cases.items() if failure is not None] == ["output", "grad_bias"]
    failure = cases["output"]
    assert failure is not None
    assert "The bias is never added" in str(failure.text)


def test_gradescope_has_what_its_format_asks_for(wrong: Diagnosis) -> None:
    result = as_gradescope(wrong, 10)
    assert result["score"] == 5
    assert {test["status"] for test in result["tests"]} == {"passed", "failed"}
    assert all(test.keys() == {"name", "score", "max_score", "status", "output"} for test in result["tests"])
    assert sum(test["max_score"] for test in result["tests"]) == 10


def test_two_mistakes_are_told_one_by_one(gradtwin: Run) -> None:
    outcome = gradtwin("diagnose", f"{__file__}:WrongLinear", "--like", "linear", "--points", "8")
    assert outcome.status == 1
    assert "(and 1 more mistake, below)" in outcome.out.splitlines()[0]
    assert "  1. output: The bias is never added to the output." in outcome.out
    assert "  2. grad_bias: grad_bias is the mean over the batch; it must be the sum." in outcome.out
    assert "points: 4 of 8 (output 0/2, grad_input 2/2, grad_weight 2/2, grad_bias 0/2)" in outcome.out


def test_faults_lists_the_catalogue(gradtwin: Run) -> None:
    outcome = gradtwin("faults", "--json", "faults.json")
    assert outcome.status == 0
    assert f"{len(CATALOGUE)} mistakes; try one: gradtwin break conv2d-kernel-turned" in outcome.out
    listed = json.loads(Path("faults.json").read_text())
    assert listed["total"] == len(CATALOGUE)
    assert listed["faults"][0].keys() == {"name", "pair", "target", "made", "hint", "shows", "edits"}
    some = gradtwin("faults", "--pair", "relu", "--pair", "adam").out
    assert "relu-no-mask" in some
    assert "adam-betas-exchanged" in some
    assert "conv2d" not in some


def test_the_matrix_of_one_pair(gradtwin: Run) -> None:
    outcome = gradtwin("faults", "--matrix", "--pair", "flatten", "--configurations", "40", "--json", "matrix.json")
    assert outcome.status == 0, outcome.out
    assert outcome.out.endswith("5 of 5 mistakes rejected, 5 named; 0 false alarms on 40 right configurations\n")
    assert "flatten-channels-last" in outcome.out
    assert json.loads(Path("matrix.json").read_text())["named"] == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["faults", "--pair", "nothing"], "pair 'nothing' has no catalogued mistakes; choose among conv2d"),
        (["faults", "--matrix", "--configurations", "-1"], "Invalid value for '--configurations'"),
        (["break", "nothing"], "mistake 'nothing' is not in the catalogue"),
        (["break", "training-no-step"], "is not one of a layer that could be diagnosed"),
        (["break", "relu", "--out", "/proc/x/y.py"], "/proc/x/y.py: cannot be written"),
    ],
)
def test_faults_and_break_refuse_in_one_line(gradtwin: Run, arguments: list[str], message: str) -> None:
    outcome = gradtwin(*arguments)
    assert outcome.status == 2
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_break_writes_an_exercise_that_diagnose_solves(gradtwin: Run) -> None:
    outcome = gradtwin("break", "conv2d-padding-one-side")
    assert outcome.status == 0
    assert outcome.out.splitlines()[0] == "exercise_conv2d.py holds Conv2d with one mistake in it"
    command = re.search(r"gradtwin (diagnose .*)", outcome.out)
    assert command is not None
    solved = gradtwin(*command[1].split())
    assert solved.status == 1
    assert "conv2d-padding-one-side" in solved.out
    assert gradtwin("break", "conv2d").status == 2  # the file is there already


def test_a_sequence_of_layers_names_the_layer() -> None:
    class Fused:
        """Convolution and ReLU in one, with the kernel turned in grad_input."""

        def __init__(self) -> None:
            self.filters = np.zeros((3, 2, 2, 2))
            self.bias = np.zeros(3)

        def forward(self, x: Array) -> Array:
            view = np.lib.stride_tricks.sliding_window_view(x, (2, 2), axis=(2, 3))
            self.view, self.shape = view, x.shape
            self.y = np.maximum(np.einsum("ncijuv,ocuv->noij", view, self.filters) + self.bias[:, None, None], 0)
            return self.y

        def backward(self, g: Array) -> Array:
            g = g * (self.y > 0)
            self.grad_filters, self.grad_bias = np.einsum("ncijuv,noij->ocuv", self.view, g), g.sum((0, 2, 3))
            padded = np.pad(g, ((0, 0), (0, 0), (1, 1), (1, 1)))
            around = np.lib.stride_tricks.sliding_window_view(padded, (2, 2), axis=(2, 3))
            grad_input: Array = np.einsum("noijuv,ocuv->ncij", around, self.filters)
            return grad_input

    result = diagnose(Fused, like=nn.Sequential(nn.Conv2d(2, 3, 2), nn.ReLU()))
    assert result.name == "conv2d-grad-input-kernel-turned"
    assert result.findings[0].layer == "0 (conv2d)"
    assert result.headline().startswith("wrong: grad_input, layer 0 (conv2d): In grad_input the kernel is turned")
