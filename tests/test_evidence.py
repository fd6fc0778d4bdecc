"""What somebody's code says about its input: every kind of claim, where it is found, and where nothing is said."""

from __future__ import annotations

import importlib.util
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from compare.driving.evidence import MEDIUM, STRONG, WEAK, Claim, claims_of, input_shape_of
from compare.driving.making import Functions

Written = Callable[[str], ModuleType]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    """Write a file, and import it."""

    def write(source: str) -> ModuleType:
        name = f"theirs_{len(list(tmp_path.glob('*.py')))}_{tmp_path.name}"
        path = tmp_path / f"{name}.py"
        path.write_text("import numpy as np\n\n" + textwrap.dedent(source))
        specification = importlib.util.spec_from_file_location(name, path)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        monkeypatch.setitem(sys.modules, name, module)
        specification.loader.exec_module(module)
        return module

    return write


Ask = Callable[[str], list[Claim]]


@pytest.fixture
def ask(written: Written) -> Ask:
    """What a file's class `Layer` says."""
    return lambda source: list(claims_of(written(source).Layer()))


def layer(*body: str, argument: str = "x") -> str:
    """A class whose forward has these lines."""
    lines = "\n".join(f"        {line}" for line in (*body, "return 0"))
    return f"class Layer:\n    def forward(self, {argument}):\n{lines}\n"


# ---- a shape that is unpacked


@pytest.mark.parametrize(
    ("line", "axes", "batched"),
    [
        ("n, c, h, w = x.shape", "NCHW", True),
        ("N, H, W, C = x.shape", "NHWC", True),
        ("batch_size, in_channels, height, width = x.shape", "NCHW", True),
        ("(m, n_H_prev, n_W_prev, n_C_prev) = x.shape", "NHWC", True),
        ("h, w, c = x.shape", "HWC", False),
        ("h, w = x.shape", "HW", False),
        ("samples, features = x.shape", "NC", True),
        ("features, samples = x.shape", "CN", True),
        ("_, c, h, w = x.shape", "?CHW", None),
        ("b, t, h, w = x.shape", "N?HW", True),
        ("n, m = x.shape", "N?", True),  # two words for one letter: the second is not understood
        ("n, c, h, w = np.shape(x)", "NCHW", True),
        ("self.n, self.h, self.w, self.c = x.shape", "NHWC", True),
    ],
)
def test_the_names_of_an_unpacked_shape_are_its_axes(ask: Ask, line: str, axes: str, batched: bool | None) -> None:
    words = line.removeprefix("(").replace(") =", " =")
    assert ask(layer(line)) == [Claim(words, STRONG, axes, len(axes), batched)]


def test_where_no_name_is_understood_their_number_is_said(ask: Ask) -> None:
    assert ask(layer("q, t, s = x.shape")) == [Claim("q, t, s = x.shape", STRONG, "", 3, None)]


@pytest.mark.parametrize(
    "lines",
    [
        ["y = x.shape"],
        ["n, *rest = x.shape"],
        ["n, c = x.shape[:2]"],
        ["n = x.shape[0]"],
        ["n, c = x.size, 3"],
        ["n, c = self.weight.shape"],
        ["y = x @ x", "n, c = y.shape"],
        ["n, c = np.shape"],
        # What is called x by then has other axes than what was given.
        ["x = x.transpose(0, 2, 3, 1)", "n, h, w, c = x.shape"],
        ["x = x.reshape(len(x), -1)", "n, c = x.shape"],
        ["for _ in [0]:", "    x = x.transpose(0, 2, 3, 1)", "n, h, w, c = x.shape"],
    ],
)
def test_what_is_no_shape_of_the_input_says_nothing(ask: Ask, lines: list[str]) -> None:
    assert ask(layer(*lines)) == []


@pytest.mark.parametrize(
    "lines",
    [
        ["self.x = x", "n, h, w, c = self.x.shape"],
        ["self.last = x", "n, h, w, c = np.shape(self.last)"],
        ["self.x = np.pad(x, 1)", "n, h, w, c = self.x.shape"],
        ["y = np.asarray(x, dtype=np.float64)", "n, h, w, c = y.shape"],
        ["y = x.astype(float)", "n, h, w, c = y.shape"],
        ["y = self.x = x.copy()", "n, h, w, c = self.x.shape"],
        ["y = np.pad(x.astype(float), 1)", "self.y = y", "n, h, w, c = self.y.shape"],
        ["n, h, w, c = x.shape", "x = x.transpose(0, 3, 1, 2)", "n, c, h, w = x.shape"],
        ["self.x = x", "x = x.transpose(0, 3, 1, 2)", "n, h, w, c = self.x.shape"],
        ["y = x.transpose(0, 3, 1, 2)", "n, c, h, w = y.shape", "n, h, w, c = x.shape"],
    ],
)
def test_what_is_kept_or_padded_has_the_axes_of_the_input(ask: Ask, lines: list[str]) -> None:
    (claim,) = ask(layer(*lines))
    assert (claim.axes, claim.ndim, claim.batched, claim.strength) == ("NHWC", 4, True, STRONG)


@pytest.mark.parametrize("line", ["y = np.pad()", "y = np.transpose(x)", "y = scipy.pad(x)", "y = f(x)", "y = x.pad"])
def test_what_else_is_made_of_the_input_has_axes_of_its_own(ask: Ask, line: str) -> None:
    assert ask(layer(line, "n, c = y.shape")) == []


def test_a_helper_that_is_given_the_input_says_what_forward_does_not(ask: Ask) -> None:
    helper = "    def _pad(self, image):\n        n, h, w, c = image.shape\n"
    (claim,) = ask(layer("return self._pad(x)") + helper)
    assert claim == Claim("n, h, w, c = image.shape", STRONG, "NHWC", 4, True)
    (kept,) = ask(layer("self.x = x", "return self._pad(np.asarray(self.x))") + helper)
    assert kept == claim
    own = ask(layer("n, c, h, w = x.shape", "return self._pad(x)") + helper)
    assert [claim.axes for claim in own] == ["NCHW"]  # forward's own words come first


@pytest.mark.parametrize(
    "call",
    [
        "[self._one(image) for image in x]",
        "self._one(x[0])",
        "self._one(self.weight)",
        "self._one(x.T)",
        "self._one()",
        "other._one(x)",
        "_one(x)",
        "self._one",
        "self._none(x)",
        "self.dtype(x)",
    ],
)
def test_a_helper_that_is_given_something_else_says_nothing(ask: Ask, call: str) -> None:
    helper = "    dtype = float\n    def _one(self, image):\n        c, h, w = image.shape\n"
    assert ask(layer(f"return {call}") + helper) == []


def test_only_one_helper_is_heard(ask: Ask) -> None:
    helpers = "    def _b(self, x):\n        n, c, h, w = x.shape\n    def _a(self, x):\n        h, w = x.shape\n"
    assert [claim.axes for claim in ask(layer("return self._b(self._a(x)) + self._b(x)") + helpers)] == ["HW"]


# ---- words


@pytest.mark.parametrize(
    ("text", "claim"),
    [
        ("x: (N, C, H, W)", Claim("it is described as (N, C, H, W)", STRONG, "NCHW", batched=True)),
        ("x: [batch, height, width, channels]", Claim("it is described as (N, H, W, C)", STRONG, "NHWC", batched=True)),
        ("x of shape (n_samples, n_features)", Claim("it is described as (N, C)", STRONG, "NC", batched=True)),
        ("x of shape (n_examples, n_features)", Claim("it is described as (N, C)", STRONG, "NC", batched=True)),
        ("x is (n_x, m)", None),  # n_x is not understood
        ("shape (features, batch)", Claim("it is described as (C, N)", STRONG, "CN", batched=True)),
        ("shape (H x W x C)", Claim("it is described as (H, W, C)", STRONG, "HWC", batched=False)),
        ("shape (N x C x H x W)", Claim("it is described as (N, C, H, W)", STRONG, "NCHW", batched=True)),
        ("shape (features, 1)", Claim("it is described as (C, 1)", STRONG, "C1")),
        ("shape (1, C, H, W)", None),
        ("shape (features,)", Claim("it is described as (C)", STRONG, "C", batched=False)),
        ("given (a, b), shape (h, w)", Claim("it is described as (H, W)", STRONG, "HW", batched=False)),
        ("(N, C) in, (C, N) out", Claim("it is described as (N, C)", STRONG, "NC", batched=True)),
        ("f(x)", None),
        ("the max (a number), the next (pixel)", None),
        (
            "(number of examples, number of the pixel features)",
            Claim("it is described as (N, C)", STRONG, "NC", batched=True),
        ),
        ("(m examples x n features)", Claim("it is described as (N, C)", STRONG, "NC", batched=True)),
        ("images are rows", Claim("it is described as taking images as rows", STRONG, "NC", batched=True)),
        ("one example per row", Claim("it is described as taking images as rows", STRONG, "NC", batched=True)),
        ("a mini-batch of images", Claim("it is described as taking batches", MEDIUM, batched=True)),
        ("the minibatch", Claim("it is described as taking batches", MEDIUM, batched=True)),
        ("batched input", Claim("it is described as taking batches", MEDIUM, batched=True)),
        ("one image at a time", Claim("it is described as taking one at a time", MEDIUM, batched=False)),
        ("a single vector", Claim("it is described as taking one at a time", MEDIUM, batched=False)),
        ("one image, no batch", Claim("it is described as taking one at a time", MEDIUM, batched=False)),
        ("a single image without a batch", Claim("it is described as taking one at a time", MEDIUM, batched=False)),
        ("one image, not batched", Claim("it is described as taking one at a time", MEDIUM, batched=False)),
        ("a single image of a batch", Claim("it is described as taking batches", MEDIUM, batched=True)),
        ("images, no batches", Claim("it is described as taking one at a time", MEDIUM, batched=False)),
        ("It does not support batches.", Claim("it is described as taking one at a time", MEDIUM, batched=False)),
        ("Not made for a mini-batch", Claim("it is described as taking one at a time", MEDIUM, batched=False)),
        ("not averaged over the batch", Claim("it is described as taking batches", MEDIUM, batched=True)),
        ("one row per example", Claim("it is described as taking images as rows", STRONG, "NC", batched=True)),
        ("one layer", None),
        ("the batchnorm of everyone images", None),
        ("x is a column vector", Claim("it is described as taking columns", MEDIUM, columns=True)),
        ("examples as columns", Claim("it is described as taking columns", MEDIUM, columns=True)),
        ("of one hot cup", Claim("it is described as one-hot", MEDIUM, targets="one-hot")),
        ("labels are one-hot", Claim("it is described as one-hot", MEDIUM, targets="one-hot")),
        ("a onehot row", Claim("it is described as one-hot", MEDIUM, targets="one-hot")),
        ("only the hottest", None),
        ("", None),
    ],
)
def test_a_docstring_of_forward_or_of_the_class_says_what_is_given(ask: Ask, text: str, claim: Claim | None) -> None:
    of_method = ask(layer(f'"""{text}"""'))
    of_class = ask(layer().replace("Layer:\n", f'Layer:\n    """{text}"""\n'))
    assert of_method == of_class == ([] if claim is None else [claim])


def test_several_things_are_said_at_once(ask: Ask) -> None:
    assert ask(layer('"""Scores (classes, batch), column vectors; one-hot targets."""')) == [
        Claim("it is described as (C, N)", STRONG, "CN", batched=True),
        Claim("it is described as taking columns", MEDIUM, columns=True),
        Claim("it is described as one-hot", MEDIUM, targets="one-hot"),
    ]


def test_a_comment_in_forward_says_what_is_given_but_no_shape(ask: Ask) -> None:
    one = Claim("it is described as taking one at a time", MEDIUM, batched=False)
    assert ask(layer("y = 0  # one image")) == [one]
    assert ask(layer("# one-hot rows")) == [Claim("it is described as one-hot", MEDIUM, targets="one-hot")]
    assert ask(layer("y = 0  # (N, C)")) == []  # of an array on the way, perhaps
    assert ask(layer() + "    def backward(self, g):\n        return g  # one image\n") == []
    inherited = "class Base:\n    '''One image.'''\n\n" + layer().replace("Layer:", "Layer(Base):")
    assert ask(inherited) == []


# ---- arguments


@pytest.mark.parametrize(
    ("arguments", "claim"),
    [
        ("image", Claim("its argument is called image", WEAK, batched=False)),
        ("x_i", Claim("its argument is called x_i", WEAK, batched=False)),
        ("images", Claim("its argument is called images", WEAK, batched=True)),
        ("X_batch", Claim("its argument is called X_batch", WEAK, batched=True)),
        ("x", None),
        ("inputs", None),
        ("x, image", None),  # the first one is the input
        ("p, y_onehot", Claim("its argument is called y_onehot", STRONG, targets="one-hot")),
        ("p, one_hot_labels", Claim("its argument is called one_hot_labels", STRONG, targets="one-hot")),
        ("p, Y_oh", Claim("its argument is called Y_oh", STRONG, targets="one-hot")),
        ("p, labels", Claim("its argument is called labels", WEAK, targets="classes")),
        ("p, target_indices", Claim("its argument is called target_indices", WEAK, targets="classes")),
        ("p, y", None),
        ("p, y, labels", None),
        ("y_onehot", None),
        ("x: 'n c h w'", Claim("its argument is annotated 'n c h w'", STRONG, "NCHW", batched=True)),
        (
            "x: Float[Array, 'height width channels']",
            Claim("its argument is annotated 'height width channels'", STRONG, "HWC", batched=False),
        ),
        ("x: Float[Array, 'batch dim']", Claim("its argument is annotated 'batch dim'", STRONG, "NC", batched=True)),
        ("x: 'np.ndarray'", None),
        ("x: 'ndarray'", None),
        ("x: np.ndarray", None),
        ("x, y: 'n c'", None),
    ],
)
def test_the_names_and_annotations_of_arguments_say_what_is_given(
    ask: Ask, arguments: str, claim: Claim | None
) -> None:
    typed = "class Float:\n    def __class_getitem__(cls, given):\n        return cls\nArray = Float\n\n"
    assert ask(typed + layer(argument=arguments)) == ([] if claim is None else [claim])


def test_a_function_without_arguments_says_nothing(written: Written) -> None:
    module = written("class Layer:\n    def forward(self):\n        n, c = x.shape\n")
    assert claims_of(module.Layer()) == ()


# ---- a bias


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("b", (4, 1), True),
        ("bias", (4, 1), True),
        ("b1", (4, 1), True),
        ("bias", (1, 4), False),
        ("bias", (4,), False),
        ("bias", (1, 1), False),
        ("bias", (4, 1, 1), False),
        ("weight", (4, 1), False),
    ],
)
def test_a_bias_that_is_a_column_says_that_vectors_stand_upright(
    ask: Ask, name: str, shape: tuple[int, ...], said: bool
) -> None:
    made = f"    def __init__(self):\n        self.{name} = np.zeros({shape})\n"
    claim = Claim(f"its {name} is a column", MEDIUM, columns=True)
    assert ask(layer() + made) == ([claim] if said else [])


# ---- sizes of weights


@pytest.mark.parametrize(
    ("arguments", "line", "names", "order"),
    [
        ("n_in, n_out", "self.W = np.random.randn(n_in, n_out)", "n_in, n_out", "IO"),
        ("n_in, n_out", "self.W = 0.1 * np.random.randn(n_out, n_in)", "n_out, n_in", "OI"),
        ("input_size, output_size", "self.w1 = np.zeros((input_size, output_size))", "input_size, output_size", "IO"),
        ("n_in, n_out", "self.weights = np.random.normal(0, 1, size=(n_in, n_out))", "n_in, n_out", "IO"),
        (
            "n_in, n_out",
            "self.n_in, self.n_out = n_in, n_out\n        self.W = np.ones((self.n_in, self.n_out))",
            "n_in, n_out",
            "IO",
        ),
        ("n_in, n_out", "self.params = {'W': np.ones((n_in, n_out)), 'b': np.ones(n_out)}", "n_in, n_out", "IO"),
        ("n_in, n_out", "self.params = {}\n        self.params['W1'] = np.ones((n_in, n_out))", "n_in, n_out", "IO"),
        ("c_in, filters, k", "self.kernel = np.ones((filters, c_in, k, k))", "filters, c_in, k, k", "OIHW"),
        ("c_in, filters, k", "self.kernel = np.ones((k, k, c_in, filters))", "k, k, c_in, filters", "HWIO"),
        ("c_in, c_out, kh, kw", "self.W = np.ones((c_out, kh, kw, c_in))", "c_out, kh, kw, c_in", "OHWI"),
        ("n_in, n_out", "self.W = np.ones((n_in + 1, n_out))", "n_in + 1, n_out", "IO"),
        # No weight, no sizes, other names, one axis, other axes.
        ("n_in, n_out", "self.other = np.ones((n_in, n_out))", "", ""),
        ("n_in, n_out", "self.W = np.ones((3, 2))", "", ""),
        ("p, q", "self.W = np.ones((p, q))", "", ""),
        ("n_in, n_out", "self.W = np.ones(n_in)", "", ""),
        ("c_in, filters, k", "self.W = np.ones((filters, k, k))", "", ""),
    ],
)
def test_weights_have_the_order_of_the_sizes_that_they_are_made_with(
    written: Written, arguments: str, line: str, names: str, order: str
) -> None:
    source = layer() + f"    def __init__(self, {arguments}):\n        {line}\n"
    made = written(source).Layer(*range(2, 3 + arguments.count(",")))
    claim = Claim(f"its weights are made as ({names})", STRONG, weights=order)
    assert list(claims_of(made)) == ([claim] if order else [])


def test_the_sizes_of_weights_are_heard_once_and_not_from_another_class(written: Written) -> None:
    base = "class Base:\n    def __init__(self, n_in=2, n_out=3):\n        self.W = np.ones((n_in, n_out))\n\n"
    inherited = written(base + layer().replace("Layer:", "Layer(Base):"))
    assert claims_of(inherited.Layer()) == ()
    twice = "    def __init__(self, n_in=2, n_out=3):\n        self.W = np.ones((n_in, n_out)); self.W2 = self.W = "
    assert [claim.weights for claim in claims_of(written(layer() + twice + "np.ones((n_out, n_in))\n").Layer())] == [
        "IO"
    ]


def test_weights_that_are_made_in_another_method_are_heard(ask: Ask) -> None:
    other = "    def build(self, n_in, n_out):\n        self.W = np.ones((n_in, n_out))\n"
    assert ask(layer() + other) == [Claim("its weights are made as (n_in, n_out)", STRONG, weights="IO")]


# ---- how the file uses it


def uses(*lines: str) -> str:
    body = "\n".join(f"    {line}" for line in lines)
    return layer() + f"\n\ndef train(layer, X, Y, idx, perm, batch_mask, loader):\n{body}\n"


@pytest.mark.parametrize(
    ("lines", "batched"),
    [
        (["layer.forward(X[i])"], False),
        (["layer.forward(X[0])"], False),
        (["layer.forward(X[i, :, :])"], False),
        (["layer.forward(X[a:b])"], True),
        (["layer.forward(X[a:b, 0])"], True),
        (["layer.forward(X[None])"], True),
        (["layer.forward(X[np.newaxis, 0])"], True),
        (["layer.forward(X[..., 0])"], None),
        (["layer.forward(X[idx])"], None),
        (["layer.forward(X[perm[:32]])"], None),
        (["layer.forward(X[batch_mask])"], None),
        (["layer.forward(X)"], None),
        (["layer.forward(np.zeros(3))"], None),
        (["layer.forward()"], None),
        (["layer.backward(X[i])"], None),
        (["forward(X[i])"], False),
        (["layer.forward(x_batch)"], True),
        (["layer.forward(images)"], True),
        (["layer.forward(image)"], False),
        (["for x, y in zip(X, Y):", "    layer.forward(x)"], False),
        (["for i, x in enumerate(X):", "    layer.forward(x)"], False),
        (["for i, (x, y) in enumerate(zip(X, Y)):", "    if i:", "        layer.forward(x)"], False),
        (["for x in loader:", "    layer.forward(x)"], True),
        (["for i, x in enumerate(loader):", "    layer.forward(x)"], True),
        (["for x, y in batches(X, Y):", "    layer.forward(x)"], True),
        (["for x in X:", "    layer.forward(x)"], False),
        (["for x in self.images:", "    layer.forward(x)"], False),
        (["for x, y in tqdm(zip(X, Y)):", "    layer.forward(x)"], False),
        (["for x in batches:", "    layer.forward(x)"], True),
        (["for x in tqdm(loader):", "    layer.forward(x)"], True),
        (["for x in made(X):", "    layer.forward(x)"], None),
        (["for x in X[:3]:", "    layer.forward(x)"], None),
        (["for l in self.layers:", "    layer.forward(l)"], None),
        # What is set to an item of the loop is one.
        (["for x in X:", "    y = x", "    layer.forward(y)"], False),
        (["for x in X:", "    y = x + 1", "    layer.forward(y)"], None),
        (["for x in range(3):", "    layer.forward(other)"], None),
        # The first call of which something can be told.
        (["layer.forward(X)", "layer.forward(X[i])", "layer.forward(X[:3])"], False),
    ],
)
def test_how_the_file_calls_it_says_whether_it_takes_a_batch(ask: Ask, lines: list[str], batched: bool | None) -> None:
    found = ask(uses(*lines))
    assert [(claim.batched, claim.strength, claim.axes) for claim in found] == (
        [] if batched is None else [(batched, WEAK, "")]
    )


def test_a_call_is_quoted(ask: Ask) -> None:
    (claim,) = ask(uses(f"layer.forward(X[{'+'.join(['number'] * 20)}])"))
    assert claim.reason == f"the file calls it so: {'layer.forward(X[' + ' + '.join(['number'] * 20):.60}"


def test_calls_within_the_class_itself_are_not_heard(ask: Ask) -> None:
    recursive = "    def all(self, X):\n        return [self.forward(X[i]) for i in range(3)]\n"
    assert ask(layer() + recursive) == []
    other = layer() + "\nclass Net:\n    def all(self, X):\n        return [self.l.forward(X[i]) for i in range(3)]\n"
    assert [claim.batched for claim in ask(other)] == [False]


def test_a_method_of_another_name_is_found_by_that_name(written: Written) -> None:
    source = layer("n, c = x.shape") + "    def go(self, x):\n        c, n = x.shape\n"
    module = written(source + "def use(l, X):\n    l.go(X[0])\n")
    assert [claim.axes for claim in claims_of(module.Layer(), "go")] == ["CN", ""]
    assert [claim.batched for claim in claims_of(module.Layer(), "go")] == [True, False]
    assert [claim.axes for claim in claims_of(module.Layer())] == ["NC"]
    assert claims_of(module.Layer(), "run") == ()


# ---- what stands beside it


def beside(*shapes: str) -> str:
    others = [
        f"class Other{n}:\n    def forward(self, x):\n        {line} = x.shape\n" for n, line in enumerate(shapes)
    ]
    return layer() + "".join(others)


@pytest.mark.parametrize(
    ("shapes", "said", "ndim"),
    [
        (["n, c, h, w"], Claim("Other0 beside it has n, c, h, w = x.shape", WEAK, batched=True), 4),
        (["h, w", "h, w, c"], Claim("Other0 beside it has h, w = x.shape", WEAK, batched=False), 0),
        (["h, w, c", "h, w, c"], Claim("Other0 beside it has h, w, c = x.shape", WEAK, batched=False), 3),
        (["q, r", "n, c"], Claim("Other1 beside it has n, c = x.shape", WEAK, batched=True), 0),
        (["n, c", "h, w"], None, 0),  # they disagree
        (["q, r"], None, 0),
        ([], None, 0),
    ],
)
def test_layers_beside_it_say_whether_it_takes_a_batch_and_how_many_axes_images_have_if_they_agree(
    ask: Ask, shapes: list[str], said: Claim | None, ndim: int
) -> None:
    claims = [] if said is None else [said]
    if said is not None and ndim:
        claims.append(Claim(said.reason, WEAK, ndim=ndim, of_images=True))
    assert ask(beside(*shapes)) == claims


def test_how_many_axes_images_have_says_nothing_of_rows() -> None:
    claim = Claim("", WEAK, ndim=3, of_images=True)
    assert [claim.agrees(layout) for layout in ("HWC", "HW", "NCHW", "NC", "C")] == [1, -1, -1, 0, 0]


def test_what_is_said_elsewhere_counts_only_where_the_layer_says_nothing_of_it_itself(ask: Ask) -> None:
    source = beside("n, c")
    assert [claim.reason[:6] for claim in ask(source.replace("forward(self, x)", "forward(self, image)", 1))] == [
        "its ar"
    ]
    assert [claim.reason[:6] for claim in ask(source.replace("return 0", "p, q, r = x.shape", 1))] == ["p, q, "[:6]]
    assert [claim.reason[:6] for claim in ask(source.replace("return 0", "p, q = x.shape", 1))] == ["p, q =", "Other0"]


def test_its_own_other_methods_are_not_beside_it(written: Written) -> None:
    source = layer("n, c = x.shape") + "    def go(self, x):\n        return x\n"
    assert claims_of(written(source).Layer(), "go") == ()


def test_methods_beside_it_that_are_no_forward_are_not_heard(ask: Ask) -> None:
    assert ask(beside("n, c").replace("forward(self, x):\n        n", "backward(self, x):\n        n")) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("self.b = np.zeros((n, 1))", True),
        ("self.bias = np.random.randn(n, 1)", True),
        ("self.params = {'b1': np.zeros((n, 1))}", True),
        ("self.b = np.zeros((1, n))", False),
        ("self.b = np.zeros((1, 1))", False),
        ("self.b = np.zeros(n)", False),
        ("self.W = np.zeros((n, 1))", False),
    ],
)
def test_a_layer_beside_it_whose_bias_is_a_column_says_that_vectors_stand_upright(
    ask: Ask, line: str, said: bool
) -> None:
    dense = f"class Dense:\n    def __init__(self, n):\n        {line}\n"
    claim = Claim("the bias of Dense beside it is a column", MEDIUM, columns=True)
    assert ask(layer() + dense) == ([claim] if said else [])
    assert ask(layer("n, c = x.shape") + dense) == ask(layer("n, c = x.shape"))


def test_layers_beside_it_whose_biases_disagree_say_nothing_of_columns(ask: Ask) -> None:
    column = "class Dense:\n    def __init__(self, n):\n        self.b = np.zeros((n, 1))\n"
    flat = "class Other:\n    def __init__(self, n):\n        self.b = np.zeros(n)\n"
    no_bias = "class None_:\n    def __init__(self, n):\n        self.b = None\n"
    assert ask(layer() + column + flat) == ask(layer() + flat + column) == []
    assert [claim.columns for claim in ask(layer() + column + no_bias)] == [True]


# ---- what is asked


def test_a_class_an_object_and_a_pair_of_functions_are_asked(written: Written) -> None:
    module = written(layer("n, h, w, c = x.shape") + "def relu(image):\n    '''(H, W, C)'''\ndef relu_back(g): ...\n")
    assert [claim.axes for claim in claims_of(module.Layer)] == ["NHWC"]
    assert [claim.axes for claim in claims_of(module.Layer())] == ["NHWC"]
    functions = Functions(module.relu, module.relu_back, {})
    assert claims_of(functions) == (
        Claim("its argument is called image", WEAK, batched=False),
        Claim("it is described as (H, W, C)", STRONG, "HWC", batched=False),
    )


def test_a_file_that_calls_a_function_is_heard(written: Written) -> None:
    module = written("def relu(x):\n    return x\ndef go(X):\n    return [relu(X[i]) for i in range(3)]\n")
    assert [claim.reason for claim in claims_of(Functions(module.relu, None, {}))] == [
        "the file calls it so: relu(X[i])"
    ]


def test_where_there_is_no_source_or_no_forward_nothing_is_said(written: Written) -> None:
    space: dict[str, Any] = {}
    exec("class Layer:\n    def forward(self, x):\n        n, c = x.shape\n", space)
    assert claims_of(space["Layer"]()) == ()
    assert claims_of(object()) == ()
    assert claims_of(np.array(3.0)) == ()
    assert claims_of(Functions(np.maximum, None, {})) == ()
    assert claims_of(written("class Layer:\n    forward = None\n").Layer()) == ()
    assert claims_of(written("class Layer:\n    forward = lambda self, x: x\n").Layer()) == ()


# ---- the size that an object was made for


@pytest.mark.parametrize(
    ("kept", "shape"),
    [
        ({"input_shape": (1, 8, 8)}, (1, 8, 8)),
        ({"image_size": [28, 28]}, (28, 28)),
        ({"weight": np.zeros(3), "input_shape": (3, 4)}, (3, 4)),
        ({"input_shape": None, "input_size": (5, 6)}, (5, 6)),
        ({"input_size": 28}, ()),
        ({"input_shape": (28,)}, ()),
        ({"input_shape": (None, 28)}, ()),
        ({"input_shape": (-1, 28)}, ()),
        ({"input_shape": (0, 28)}, ()),
        ({"output_shape": (3, 4)}, ()),
        ({"input_shape": "ab"}, ()),
        ({}, ()),
    ],
)
def test_an_object_keeps_the_shape_that_it_was_made_for(
    written: Written, kept: dict[str, Any], shape: tuple[int, ...]
) -> None:
    made = written("class Layer: ...\n").Layer()
    vars(made).update(kept)
    assert input_shape_of(made) == shape
    assert input_shape_of(3) == ()


# ---- a claim and a reading

EVERY = ["NCHW", "NHWC", "CHW", "HWC", "HW", "1CHW", "1HWC", "NC", "CN", "C", "C1", "1C"]


@pytest.mark.parametrize(
    ("claim", "yes", "no"),
    [
        (Claim("", 1, axes="NCHW"), "NCHW 1CHW", "NHWC CHW HWC HW 1HWC NC CN C C1 1C"),
        (Claim("", 1, axes="NHWC"), "NHWC 1HWC", "NCHW CHW HWC HW 1CHW NC CN C C1 1C"),
        (Claim("", 1, axes="CHW"), "CHW", "NCHW NHWC HWC HW 1CHW 1HWC NC CN C C1 1C"),
        (Claim("", 1, axes="HWC"), "HWC", "NCHW NHWC CHW HW 1CHW 1HWC NC CN C C1 1C"),
        (Claim("", 1, axes="HW"), "HW", "NCHW NHWC CHW HWC 1CHW 1HWC NC CN C C1 1C"),
        (Claim("", 1, axes="?CHW"), "NCHW 1CHW", "NHWC CHW HWC HW 1HWC NC CN C C1 1C"),
        (Claim("", 1, axes="NC"), "NC 1C", "NCHW NHWC CHW HWC HW 1CHW 1HWC CN C C1"),
        (Claim("", 1, axes="CN"), "CN C1", "NCHW NHWC CHW HWC HW 1CHW 1HWC NC C 1C"),
        (Claim("", 1, axes="C"), "C", "NCHW NHWC CHW HWC HW 1CHW 1HWC NC CN C1 1C"),
        # Whoever writes a 1 means it.
        (Claim("", 1, axes="C1"), "C1", "NCHW NHWC CHW HWC HW 1CHW 1HWC NC CN C 1C"),
        (Claim("", 1, axes="1C"), "1C", "NCHW NHWC CHW HWC HW 1CHW 1HWC NC CN C C1"),
        (Claim("", 1, axes="1CHW"), "1CHW", "NCHW NHWC CHW HWC HW 1HWC NC CN C C1 1C"),
        (Claim("", 1, ndim=4), "NCHW NHWC 1CHW 1HWC", "CHW HWC HW NC CN C C1 1C"),
        (Claim("", 1, ndim=2), "HW NC CN C1 1C", "NCHW NHWC CHW HWC 1CHW 1HWC C"),
        (Claim("", 1, batched=True), "NCHW NHWC NC CN", "CHW HWC HW 1CHW 1HWC C C1 1C"),
        (Claim("", 1, batched=False), "CHW HWC HW C C1 1C", "NCHW NHWC 1CHW 1HWC NC CN"),
        (Claim("", 1, columns=True), "CN C1", "NC C 1C"),
        # All that it says has to be so.
        (Claim("", 1, ndim=2, batched=True), "NC CN", "NCHW NHWC CHW HWC HW 1CHW 1HWC C C1 1C"),
        (Claim("", 1, batched=False, columns=True), "CHW HWC HW C1", "NCHW NHWC 1CHW 1HWC NC CN C 1C"),
        (Claim("", 1, axes="NC", batched=True), "NC", "NCHW NHWC CHW HWC HW 1CHW 1HWC CN C C1 1C"),
        (Claim("", 1, targets="one-hot"), "", ""),
        (Claim("", 1, weights="IO"), "", ""),
        (Claim("", 1), "", ""),
    ],
    ids=lambda value: str(value) if not isinstance(value, Claim) else None,
)
def test_a_claim_agrees_with_some_layouts_and_contradicts_others(claim: Claim, yes: str, no: str) -> None:
    found = {layout: claim.agrees(layout) for layout in EVERY}
    assert [layout for layout, sign in found.items() if sign == 1] == [x for x in EVERY if x in yes.split()]
    assert [layout for layout, sign in found.items() if sign == -1] == [x for x in EVERY if x in no.split()]
    assert set(found.values()) <= {1, 0, -1}


@pytest.mark.parametrize(
    ("claim", "targets", "weights", "sign"),
    [
        (Claim("", 1, targets="one-hot"), "one-hot", "", 1),
        (Claim("", 1, targets="one-hot"), "classes", "", -1),
        (Claim("", 1, targets="classes"), "classes", "", 1),
        (Claim("", 1, targets="one-hot"), "", "", 0),
        (Claim("", 1, weights="IO"), "", "IO", 1),
        (Claim("", 1, weights="IO"), "", "OI", -1),
        (Claim("", 1, weights="IO"), "", "", 0),
        (Claim("", 1, weights="IO", batched=True), "", "IO", 1),
        (Claim("", 1, weights="IO", batched=False), "", "IO", -1),
    ],
)
def test_a_claim_agrees_with_targets_and_weights(claim: Claim, targets: str, weights: str, sign: int) -> None:
    assert claim.agrees("NC", targets, weights) == sign


def test_their_own_words_outweigh_a_name_and_a_name_what_is_elsewhere() -> None:
    assert STRONG > MEDIUM + WEAK
    assert MEDIUM > WEAK > 0
