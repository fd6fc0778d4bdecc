"""Other people's code: right code is called right however it is written, and wrong code by the name of its mistake."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import compare
import scratch
from compare.diagnosis.coverage import ENOUGH
from compare.diagnosis.diagnose import diagnose
from compare.diagnosis.explaining import replay
from compare.diagnosis.trial import _normwise
from compare.diagnosis.verdict import Diagnosis
from compare.driving.tensors import Call
from compare.faults.catalogue import CATALOGUE, find_fault
from compare.faults.fault import plant
from compare.machine.errors import UserError
from compare.pairs.pair import LayerPair
from compare.pairs.probe import Probe
from compare.pairs.registry import REGISTRY
from compare.pairs.report import Row
from compare.testing import assert_twin
from scratch import Array
from tests.foreign import linear_styles, notebook_style, right
from tests.recorded import assert_recorded, said

SOURCE = Path(right.__file__).read_text()
CONV_AND_RELU = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.ReLU())


@contextmanager
def small_cases() -> Iterator[None]:
    """Without the three cases that are for our own convolution alone: loops in Python take seconds for each.

    `test_faults.py` and `test_diagnose_command.py` have them all.
    """
    pair = REGISTRY["conv2d"]
    assert isinstance(pair, LayerPair)
    small = tuple(case for case in pair.cases if math.prod(case.shape) < 10_000)
    assert len(small) == len(pair.cases) - 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REGISTRY, "conv2d", replace(pair, cases=small))
        yield


@pytest.fixture(autouse=True)
def _small_cases() -> Iterator[None]:
    with small_cases():
        yield


def variant(target: str, *edits: tuple[str, str]) -> Callable[..., Any]:
    """Something of `tests/foreign/right.py` after edits of its source: mistakes in code that is not ours."""
    source = SOURCE
    for old, new in edits:
        assert source.count(old) == 1, f"{old!r} occurs {source.count(old)} times"
        source = source.replace(old, new)
    space: dict[str, Any] = {"__name__": "foreign"}
    exec(compile(source, "<foreign>", "exec"), space)
    found: Callable[..., Any] = space[target]
    return found


RIGHT: list[tuple[str, Any, Any]] = [
    ("loops", right.LoopConv, "conv2d"),
    ("einsum, NHWC, HWIO", right.EinsumConv, "conv2d"),
    ("FFT", right.FFTConv, "conv2d"),
    ("another order of summation, Fortran arrays", right.BackwardsConv, "conv2d"),
    ("one image, fused ReLU, updates in place", lambda: right.SingleConv(2), CONV_AND_RELU),
    ("float32 only", right.Float32Linear, "linear"),
    ("dictionaries, (in, out)", right.BookAffine, "linear"),
    ("attributes", right.AttributeDense, "linear"),
    ("columns, updates in place", right.ColumnDense, "linear"),
    ("gradients kept, and updates in place", right.KeepingDense, "linear"),
    ("gradients added up", right.AddingDense, "linear"),
    ("one number for both sides", right.SquareConv, "conv2d"),
    ("argmax pooling", right.Pool, "maxpool2d"),
    ("softmax with loss", right.SoftmaxWithLoss, "cross_entropy"),
    ("an activation outside the registry", right.Sigmoid, nn.Sigmoid()),
    ("batch normalisation with a flag", right.Norm, "batchnorm2d"),
    ("dropout of the global generator", right.Drop, "dropout"),
    ("functions, (in, out)", (right.affine_forward, right.affine_backward), "linear"),
    ("functions with settings", (right.conv_forward, right.conv_backward), "conv2d"),
    ("one function for loss and gradient", (right.softmax_loss,), "cross_entropy"),
    ("optimizer of dictionaries", right.Momentum, "sgd"),
    ("optimizer function with a state", right.adam, "adam"),
    ("a whole model", right.TinyCNN, "cnn"),
    ("an object", right.LoopConv(2, 3, 3), nn.Conv2d(2, 3, 3)),
    ("an object with square weights", right.BookAffine(6, 6), nn.Linear(6, 6)),
    ("our own class", scratch.Conv2d, "conv2d"),
    ("our own object", scratch.MaxPool2d(2), nn.MaxPool2d(2)),
    ("our own optimizer", scratch.Adam, "adam"),
    (
        "our own layers in a row",
        scratch.Sequential(scratch.Linear(4, 3), scratch.ReLU()),
        nn.Sequential(nn.Linear(4, 3), nn.ReLU()),
    ),
]


@pytest.mark.parametrize("name", [row[0] for row in RIGHT])
def test_right_code_is_called_right(name: str) -> None:
    result = as_recorded(name)
    assert result.ok, result.headline()
    assert result.headline().startswith("right")
    assert result.report.compared >= 20
    assert result.findings == ()
    assert result.coverage.share >= ENOUGH


STYLES = [kind for kind in vars(linear_styles).values() if isinstance(kind, type) and hasattr(kind, "forward")]


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.__name__)
def test_a_linear_layer_of_any_style_is_right_and_enough_of_it_is_compared(style: type) -> None:
    result = diagnose(style(), like=nn.Linear(3, 2), with_example=False)
    assert result.outcome == "right", result.headline()
    assert result.coverage.share >= ENOUGH


# A class of `tests/foreign/right.py`, what it is like, the first wrong tensor, the names of its mistakes, the edits.
Edits = list[tuple[str, str]]
WRONG: list[tuple[str, Any, str, list[str], Edits]] = [
    (
        "LoopConv",
        "conv2d",
        "grad_bias",
        ["conv2d-grad-bias-mean"],
        [("None if self.bias is None else grad_output.sum(axis=(0, 2, 3))", "grad_output.mean(axis=(0, 2, 3))")],
    ),
    (
        "LoopConv",
        "conv2d",
        "grad_input",
        ["conv2d-windows-and-channels-overwritten", "conv2d-grad-weight-last-window"],
        [
            ("gx[b, :, rows, columns] += g", "gx[b, :, rows, columns] = g"),
            ("self.grad_weight[o] += g", "self.grad_weight[o] = g"),
        ],
    ),
    (
        "EinsumConv",
        "conv2d",
        "grad_input",
        ["conv2d-grad-input-kernel-turned"],
        [("self.kernel[::-1, ::-1]", "self.kernel")],
    ),
    (
        "SingleConv",
        CONV_AND_RELU,
        "0.grad_weight",
        ["relu-mask-from-upstream"],
        [("if self.out[i, j, f] > 0:", "if d_out[i, j, f] > 0:")],
    ),
    ("SingleConv", CONV_AND_RELU, "0.grad_weight", ["relu-no-mask"], [("if self.out[i, j, f] > 0:", "if True:")]),
    (
        "ColumnDense",
        "linear",
        "grad_input",
        ["linear-weights-updated-early"],
        [
            ("        input_gradient = self.weights.T @ output_gradient\n", ""),
            ("        return input_gradient\n", "        return self.weights.T @ output_gradient\n"),
        ],
    ),
    (
        "BookAffine",
        "linear",
        "output",
        ["linear-bias-forgotten", "linear-grad-weight-divided-by-batch"],
        [
            ('return x @ self.params["W"] + self.params["b"]', 'return x @ self.params["W"]'),
            ('["b"] = self.x.T @ dout, dout', '["b"] = self.x.T @ dout / len(dout), dout'),
        ],
    ),
    (
        "Pool",
        "maxpool2d",
        "grad_input",
        ["maxpool2d-last-tie-wins"],
        [("self.winner = flat.argmax(-1)", "self.winner = k * k - 1 - flat[..., ::-1].argmax(-1)")],
    ),
    (
        "SoftmaxWithLoss",
        "cross_entropy",
        "grad_input",
        ["cross-entropy-gradient-not-averaged"],
        [("return dx / len(self.t)", "return dx")],
    ),
    (
        "SoftmaxWithLoss",
        "cross_entropy",
        "output",
        ["cross-entropy-summed"],
        [("np.arange(len(t)), t].mean()", "np.arange(len(t)), t].sum()")],
    ),
    (
        "Norm",
        "batchnorm2d",
        "output",
        ["batchnorm2d-running-variance-biased"],
        [("self.momentum * var * m / (m - 1)", "self.momentum * var")],
    ),
    (
        "Norm",
        "batchnorm2d",
        "grad_input",
        ["batchnorm2d-gradient-without-mean"],
        [("return (dhat - mean(dhat) - self.hat", "return (dhat - self.hat")],
    ),
    (
        "Drop",
        "dropout",
        "output",
        ["dropout-not-scaled"],
        [("(np.random.rand(*x.shape) >= self.p) / (1 - self.p)", "(np.random.rand(*x.shape) >= self.p) * 1.0")],
    ),
    (
        "Momentum",
        "sgd",
        "bias",
        ["sgd-velocity-averaged"],
        [("self.v.get(key, 0) + grads[key]", "self.v.get(key, 0) + (1 - self.momentum) * grads[key]")],
    ),
    (
        "adam",
        "adam",
        "bias",
        ["adam-no-bias-correction"],
        [('/ (1 - config["beta1"] ** config["t"])', ""), ('/ (1 - config["beta2"] ** config["t"])', "")],
    ),
    (
        "TinyCNN",
        "cnn",
        "grad_input",
        ["cnn-relu-not-in-backward"],
        [("return self.conv1.backward(g * self.mask)", "return self.conv1.backward(g)")],
    ),
]


# Likewise; the form that the difference is described by, if it has one.
UNLISTED: dict[str, tuple[str, Any, str, str, Edits]] = {
    "every second window": (
        "LoopConv",
        "conv2d",
        "grad_weight",
        "",
        [("self.grad_weight[o] += g", "self.grad_weight[o] += ((i + j) % 2) * g")],
    ),
    "a factor of its own": (
        "LoopConv",
        "conv2d",
        "output",
        "",
        [("np.sum(window * self.weight[o])", "0.731 * np.sum(window * self.weight[o])")],
    ),
    "half a kernel": (
        "BackwardsConv",
        "conv2d",
        "output",
        "",
        [("v in reversed(range(k)):\n                y", "v in reversed(range(k - 1)):\n                y")],
    ),
    "the slope of the sigmoid": (
        "Sigmoid",
        nn.Sigmoid(),
        "grad_input",
        "",
        [("self.a * (1 - self.a)", "self.a")],
    ),
    "a third": (
        "AttributeDense",
        "linear",
        "grad_weight",
        "factor",
        [("self.dweights = self.inputs.T @ dvalues", "self.dweights = self.inputs.T @ dvalues / 3")],
    ),
    "a flip": (
        "BackwardsConv",
        "conv2d",
        "grad_weight",
        "flipped",
        [("        return dx, dw, g.sum", "        return dx, dw[:, :, :, ::-1], g.sum")],
    ),
    "one too many": ("Pool", "maxpool2d", "output", "plus-multiple", [("flat.max(-1)", "flat.max(-1) + 1")]),
    "float16 inside": (
        "BookAffine",
        "linear",
        "output",
        "",
        [
            (
                "        return x @ self.params",
                "        x = x.astype(np.float16).astype(x.dtype)\n        return x @ self.params",
            )
        ],
    ),
}


def named_after(row: tuple[str, Any, str, list[str], Edits]) -> str:
    return f"{row[0]}: {' and '.join(row[3])}"


# Everything above, by its name: the code, and what it should be.
CANDIDATES: dict[str, tuple[Callable[[], Any], Any]] = (
    {name: (lambda candidate=candidate: candidate, like) for name, candidate, like in RIGHT}
    | {named_after(row): (lambda row=row: variant(row[0], *row[4]), row[1]) for row in WRONG}
    | {name: (lambda row=row: variant(row[0], *row[4]), row[1]) for name, row in UNLISTED.items()}
)


def diagnosed(name: str) -> Diagnosis:
    """The verdict on one of them."""
    make, like = CANDIDATES[name]
    candidate = make()
    if name.startswith("SingleConv: "):
        return diagnose(lambda: candidate(2), like=like)
    return diagnose(candidate, like=like)


def as_recorded(name: str) -> Diagnosis:
    """The same, once it is known to be as it was: see `tests/recorded`."""
    result = diagnosed(name)
    assert_recorded("foreign", name, said(result))
    return result


@pytest.mark.parametrize(("target", "like", "first", "named", "edits"), WRONG, ids=map(named_after, WRONG))
def test_a_mistake_in_other_peoples_code_has_its_name(
    target: str, like: Any, first: str, named: list[str], edits: Edits
) -> None:
    result = as_recorded(named_after((target, like, first, named, edits)))
    assert not result.ok
    assert [finding.name for finding in result.findings] == named, result.headline()
    assert all(finding.catalogued for finding in result.findings)
    assert result.first_wrong == first
    assert result.headline().startswith("wrong")
    assert result.alternatives or CATALOGUE[named[0]].made in result.headline()


@pytest.mark.parametrize("name", UNLISTED)
def test_a_mistake_that_no_catalogue_lists_is_rejected_and_described_not_guessed(name: str) -> None:
    _, _, tensor, form, _ = UNLISTED[name]
    result = as_recorded(name)
    assert not result.ok
    assert not any(finding.catalogued for finding in result.findings)
    finding = next(finding for finding in result.findings if tensor in finding.kinds)
    assert finding.name == form, finding.made
    assert finding.made
    assert finding.hint


@pytest.mark.parametrize("element", range(6))
def test_a_relative_error_of_1e_9_in_one_gradient_element_is_caught(element: int) -> None:
    class AlmostRight(right.EinsumConv):
        def backprop(self, delta: Array) -> Array:
            grad_input: Array = super().backprop(delta)  # type: ignore[no-untyped-call]
            flat = self.d_kernel.reshape(-1)
            largest = np.argsort(-np.abs(flat))[element % flat.size]
            flat[largest] *= 1 + 1e-9
            return grad_input

    result = diagnose(AlmostRight, like="conv2d", with_example=False)
    assert result.first_wrong == "grad_weight"


def test_the_example_is_small_and_true() -> None:
    result = diagnose(
        variant("Pool", ("self.winner = flat.argmax(-1)", "self.winner = 3 - flat[..., ::-1].argmax(-1)")),
        like="maxpool2d",
    )
    example = result.example
    assert example is not None
    assert example.given["input"].shape == (1, 1, 2, 2)
    assert example.tensor == "grad_input"
    pool = scratch.MaxPool2d(2)
    pool(example.given["input"])
    np.testing.assert_array_equal(pool.backward(example.given["grad_output"]), example.expected)
    assert example.got is not None
    assert (example.got != example.expected).any()


@pytest.mark.parametrize(
    ("target", "like", "how", "named"),
    [
        ("NotebookConv(2)", CONV_AND_RELU, {}, ["relu-mask-from-upstream"]),
        ("NotebookPool", nn.MaxPool2d(2), {}, ["maxpool2d-all-ties-win"]),
        ("NotebookSoftmax(6, 4)", nn.Linear(6, 4), {"output_from": "scores"}, ["linear-weights-updated-early"]),
        (
            "NotebookSoftmax(6, 4)",
            nn.Sequential(nn.Linear(6, 4), nn.Softmax(1)),
            {},
            ["linear-weights-updated-early", "softmax-no-jacobian"],
        ),
    ],
)
def test_everything_wrong_in_a_notebook_is_named(target: str, like: Any, how: dict[str, Any], named: list[str]) -> None:
    result = diagnose(f"{notebook_style.__file__}:{target}", like=like, **how)
    assert [finding.name for finding in result.findings] == named


def test_a_weight_that_an_update_leaves_out_has_the_gradient_zero() -> None:
    class Forgetful(right.ColumnDense):
        def backward(self, output_gradient: Array, learning_rate: float) -> Array:
            grad_input: Array = self.weights.T @ output_gradient
            self.weights -= learning_rate * np.outer(output_gradient, self.input)
            return grad_input

    result = diagnose(Forgetful, like="linear")
    assert [(finding.kinds, finding.name) for finding in result.findings] == [(("grad_bias",), "zero")]


def test_a_missing_gradient_is_not_wrong_but_said() -> None:
    result = diagnose(lambda: right.SingleConv(2), like=CONV_AND_RELU)
    assert result.ok
    assert result.missing == ("grad_input",)
    assert "grad_input (not provided)" in result.coverage.gaps


class NamedOddly:
    """Nothing here has a usual name."""

    def __init__(self) -> None:
        self.stuff = {"first": np.zeros((3, 4)), "second": np.zeros(3)}
        self.result: Any = None

    def go(self, a: Array) -> None:
        self.seen = a
        self.result = a @ self.stuff["first"].T + self.stuff["second"]

    def back(self, q: Array) -> None:
        self.one, self.two, self.three = q.T @ self.seen, q.sum(axis=0), q @ self.stuff["first"]


def test_what_has_no_usual_name_can_be_told() -> None:
    untold = diagnose(NamedOddly, like=nn.Linear(4, 3))
    assert untold.outcome == "not_judged"
    assert untold.headline().startswith("not judged: NamedOddly has no method called forward, __call__, forward_pass")
    result = diagnose(
        NamedOddly,
        like=nn.Linear(4, 3),
        forward="go",
        backward="back",
        parameters={"stuff['first']": "weight", "stuff['second']": "bias"},
        gradients={"one": "weight", "two": "bias", "three": "input"},
        output_from="result",
    )
    assert result.ok, result.headline()
    assert result.missing == ()


class NoWeights:
    def forward(self, x: Array) -> Array:
        self.x = x
        return x

    def backward(self, g: Array) -> Array:
        return g


@pytest.mark.parametrize(
    ("candidate", "like", "how", "message"),
    [
        (right.LoopConv, "conv3d", {}, r"--like 'conv3d' is no registered name; choose one of conv2d, "),
        (right.LoopConv, 3, {}, r"like must be a registered name or a torch\.nn\.Module, got int"),
        (right.LoopConv, nn.GRU, {}, r"GRU has no registered pair; give an object, GRU\(\.\.\.\)"),
        (NoWeights, nn.Embedding(3, 4), {}, r"no input shape was found for Embedding; give the shape of one input"),
        (NoWeights, nn.ReLU(), {"layout": "hwc"}, r"layout 'hwc' must be letters such as NCHW"),
        (NoWeights, nn.ReLU(), {"targets": "x"}, r"targets 'x' must be one of classes, one-hot"),
        (NoWeights, nn.ReLU(), {"forward": "go"}, r"NoWeights has no method go"),
        (
            right.LoopConv,
            "conv2d",
            {"parameters": {"foo": "weight"}},
            r"there is no array foo; there is .*--param",
        ),
        (
            right.LoopConv,
            "conv2d",
            {"parameters": {"weight": "wieght"}},
            r"no parameter 'wieght'.* weight, bias",
        ),
        (right.LoopConv, "conv2d", {"parameters": {"weight": "weight:QQ"}}, r"must be made of the letters OIHW"),
        (right.LoopConv, "conv2d", {"gradients": {"foo": "weight"}}, r"there is no foo after backward; correct --grad"),
        (
            right.LoopConv,
            "conv2d",
            {"output_from": "nothing"},
            r"there is no nothing after forward; correct",
        ),
        (right.BookAffine, "linear", {"forward": "fwd"}, r"BookAffine has no method fwd"),
        (right.LoopConv, "conv2d", {"layout": "NHCX"}, r"layout 'NHCX' must be letters"),
        ("nowhere.py:A", "relu", {}, r"nowhere\.py: there is no such file"),
        ("nowhere.txt:A", "relu", {}, r"target 'nowhere\.txt:A' is not understood; write FILE\.py:Class"),
        (f"{right.__file__}:1 + 1", "relu", {}, r"target '1 \+ 1' is neither a name, a call nor two names"),
    ],
)
def test_what_cannot_be_driven_says_what_to_do(candidate: Any, like: Any, how: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        diagnose(candidate, like=like, **how)


@pytest.mark.parametrize(
    ("candidate", "like", "message"),
    [
        (NoWeights, "conv2d", "NoWeights: cannot be made like any case of conv2d ("),
        (NoWeights, nn.Conv2d(1, 2, 3), "NoWeights: cannot find bias [2], weight [2, 1, 3, 3]; arrays"),
        (f"{right.__file__}:Nothing", "relu", "not judged: right.py has no Nothing; it has LoopConv, "),
    ],
)
def test_code_of_another_form_is_not_judged_and_says_what_to_do(candidate: Any, like: Any, message: str) -> None:
    result = diagnose(candidate, like=like)
    assert (result.outcome, result.trials) == ("not_judged", ())
    assert message in result.headline()


@pytest.mark.parametrize("target", ["LoopConv", "EinsumConv", "conv_forward,conv_backward", "LoopConv(2, 3, 3)"])
def test_a_file_is_a_target_too(target: str) -> None:
    like = nn.Conv2d(2, 3, 3) if "(" in target else "conv2d"
    result = diagnose(f"{right.__file__}:{target}", like=like, with_example=False)
    assert result.ok, result.headline()
    assert result.candidate == f"right.py:{target}"


def nasty(tmp_path: Path, body: str, seconds: float = 120) -> Diagnosis:
    """The verdict on a ReLU whose forward begins with `body`."""
    path = tmp_path / "nasty.py"
    code = f"""
        import ctypes, os, sys, random
        import numpy as np

        class Nasty:
            def forward(self, x):
                self.x = x.copy()
                {body}
                return np.maximum(x, 0)

            def backward(self, g):
                return g * (self.x > 0)
    """
    path.write_text(textwrap.dedent(code))
    return diagnose(f"{path}:Nasty", like="relu", seconds=seconds, memory=512)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("raise RuntimeError('no')", "raised RuntimeError: no (nasty.py, line 8)"),
        ("sys.exit(3)", "called sys.exit (nasty.py, line 8)"),
        ("os._exit(7)", "its process ended with status 7 before it answered"),
        ("ctypes.string_at(0)", "its process was ended by SIGSEGV: a crash"),
        ("while True: pass", "no answer within 2 s: an endless loop, or too slow for the limit"),
        ("np.ones(2**27)", "asked for more memory than the limit allows"),
        ("return 'text'", "forward returned str"),
        ("return x + 1j", "complex128"),
        ("return 1 / 0", "raised ZeroDivisionError"),
    ],
)
def test_whatever_code_does_ends_in_a_verdict(tmp_path: Path, body: str, problem: str) -> None:
    result = nasty(tmp_path, body, 2 if body.startswith("while") else 120)
    assert (result.outcome, result.findings) == ("not_judged", ())
    assert problem in result.headline()


@pytest.mark.parametrize(
    ("body", "remark"),
    [
        ("print('hello')", "it prints (1 line): 'hello'"),
        ("os.write(1, b'raw')", "it prints (1 line): 'raw'"),
        ("np.random.seed(0)", "it changes the global random state"),
        ("random.random()", "it changes the global random state"),
        ("import warnings; warnings.warn('careful')", "it warns: UserWarning: careful"),
    ],
)
def test_side_effects_are_remarks(tmp_path: Path, body: str, remark: str, capfd: pytest.CaptureFixture[str]) -> None:
    before = str(np.random.get_state())  # noqa: NPY002
    result = nasty(tmp_path, body)
    assert result.ok, result.headline()
    assert remark in result.remarks
    assert capfd.readouterr().out == ""
    assert str(np.random.get_state()) == before  # noqa: NPY002


def test_a_changed_input_is_wrong(tmp_path: Path) -> None:
    result = nasty(tmp_path, "x[x < 0] = 0")
    assert result.name == "relu-input-changed"


def test_an_import_that_fails_is_a_verdict(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("raise OSError('no disk')\n")
    result = diagnose(f"{path}:A", like="relu")
    assert result.outcome == "not_judged"
    assert "raised OSError: no disk (broken.py, line 1)" in result.headline()


def test_a_refusal_of_its_own_is_a_case_it_does_not_take() -> None:
    class Picky(right.LoopConv):
        def forward(self, x: Array) -> Array:
            assert (x.shape[2] + 2 * self.p[0] - self.k[0]) % self.s[0] == 0, "does not fit"
            y: Array = super().forward(x)  # type: ignore[no-untyped-call]
            return y

    result = diagnose(Picky, like="conv2d", with_example=False)
    assert result.ok, result.headline()
    assert any("does not fit" in remark for remark in result.remarks)
    assert result.coverage.inputs == len(list(REGISTRY["conv2d"].examined()))  # what it refuses is drawn to fit


@pytest.mark.parametrize("like", ["conv2d", nn.Conv2d(2, 3, 3)])
def test_an_error_alone_never_has_the_name_of_a_mistake(like: Any) -> None:
    class Breaks(right.LoopConv):
        def backward(self, grad_output: Array) -> Array:
            raise ValueError(f"something else about {grad_output.shape}")

    kind: Any = Breaks
    result = diagnose(kind if like == "conv2d" else kind(2, 3, 3), like=like)
    assert not result.ok
    assert [finding.name for finding in result.findings] == ["no-answer"]
    assert "raised ValueError: something else about" in result.headline()


def test_code_that_refuses_everything_is_not_judged() -> None:
    class Never:
        def forward(self, x: Array) -> Array:
            raise ValueError(f"never: {x.shape}")

        def backward(self, g: Array) -> Array:
            return g

    result = diagnose(Never, like="relu")
    assert result.outcome == "not_judged"
    assert result.headline().startswith("not judged: it refuses every input: it raised ValueError: never: (3, 2, 5, 4)")


def test_assert_twin_is_for_test_suites() -> None:
    assert_twin(right.Pool, like="maxpool2d")
    with pytest.raises(AssertionError, match=r"wrong: grad_input of relu: The gradient passes everywhere") as caught:
        assert_twin(NoMask, like="relu")
    assert "The smallest input that shows it" in str(caught.value)
    assert "hint: " in str(caught.value)


class NoMask:
    def forward(self, x: Array) -> Array:
        return np.maximum(x, 0)

    def backward(self, g: Array) -> Array:
        return g


def test_compare_offers_it_and_nothing_else() -> None:
    assert compare.diagnose is diagnose
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = compare.nonsense


def test_the_same_seed_gives_the_same_verdict() -> None:
    first, second = (diagnose(NoMask, like="relu").as_json() for _ in range(2))
    assert first == second
    assert diagnose(NoMask, like="relu", seed=1).as_json() != first


def test_where_our_own_layer_is_wrong_no_catalogued_mistake_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of the catalogue is an edit of the right source: of a wrong one it says nothing, or does not fit."""
    fault = find_fault("conv2d-grad-weight-sign")
    broken = plant(fault)
    named = diagnose(broken, like="conv2d", with_example=False)
    assert named.name == fault.name
    pair = REGISTRY["conv2d"]
    assert isinstance(pair, LayerPair)
    monkeypatch.setitem(REGISTRY, "conv2d", replace(pair, scratch=broken))
    monkeypatch.setattr(replay, "plant", lambda *_: pytest.fail("nothing may be planted in wrong source"))
    described = diagnose(broken, like="conv2d", with_example=False)
    assert described.findings[0].kinds == ("grad_weight",)
    assert (described.name, described.findings[0].made) == ("factor", "It is -1 times what it should be.")


def test_an_error_of_a_transform_is_measured_by_the_largest_element() -> None:
    probe = Probe("case", "float64", {}, {}, (Call((np.zeros(8),), np.zeros(8)),))
    reference, allowed = np.full(8, 4.0), np.full(8, 1e-15)
    allowed[0] = 3e-15
    row = Row("pair", "case", "output", "float64", (8,), 1e-14, 1e-14, 1e-15, 10.0, (0,), "too far")
    # log2 of twice the 8 elements is 4: four times the largest bound, or four times λ roundings of the largest element.
    widest, floor = 4 * 3e-15, 4 * 4 * 2.0**-53 * 4.0
    for error, passes in ((0.9 * max(widest, floor), True), (1.1 * max(widest, floor), False)):
        judged = _normwise(row, {"output": reference + error}, {"output": reference}, {"output": allowed}, probe)
        assert judged.ok is passes
        if passes:
            assert judged.bound == pytest.approx(max(widest, floor))
            assert judged.budget == pytest.approx(0.9, rel=0.05)
    alone = reference.copy()
    alone[3] += 1.1 * floor  # within the widest, but one element is no transform
    assert not _normwise(row, {"output": alone}, {"output": reference}, {"output": 100 * allowed}, probe).ok
