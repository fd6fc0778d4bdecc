"""Whatever somebody writes after --like ends in something to compare with, or in one line that says why not."""

from __future__ import annotations

import inspect
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compare.diagnosis.likeness import Likeness, likeness
from compare.diagnosis.written import parse_like
from compare.machine.errors import UserError
from compare.pairs.size import LAYERS, NUMBERS, TooLargeError, with_room

pytestmark = pytest.mark.timeout(120)  # where one takes for ever, it may take all memory too

PLAIN = ("1", "2", "3", "4", "5", "8", "(2, 3)", "(3,)", "[4]", "True", "False", "None", "0.5", "-1", "'mean'", "'sum'")
ABSURD = (
    *(
        "0",
        "-3",
        "10**12",
        "1000000000000",
        "9223372036854775807",
        "20000",
        "1e400",
        "-1e30",
        "1j",
        "(1, 2, 3, 4, 5, 6)",
    ),
    *("()", "''", "'meta'", "b'x'", "{}", "[1, [2]]", "{1: 2}", "...", "x", "-" * 3000 + "1", "__import__('os')"),
    *("ReLU()", "Sequential()", "open('/etc/passwd')", "'\\n'", "f'{1}'", "lambda: 1", "[i for i in (1,)]"),
)
SECONDS = 10  # No text takes longer, on a machine that is busy with other things too.


def names_in(module: Any, base: type) -> list[str]:
    return [name for name, kind in vars(module).items() if isinstance(kind, type) and issubclass(kind, base)]


KINDS = {name: getattr(nn, name) for name in names_in(nn, nn.Module)}
KINDS |= {name: getattr(torch.optim, name) for name in names_in(torch.optim, torch.optim.Optimizer)}


def texts(each: int, seed: int) -> Iterator[str]:
    """So many calls of every module and optimizer, with arguments that fit its signature, plausible and absurd ones."""
    rng = random.Random(seed)
    for name, kind in KINDS.items():
        for _ in range(each):
            values = PLAIN if rng.random() < 0.6 else PLAIN + ABSURD
            yield f"{name}({', '.join(_arguments(kind, values, rng))})"


def _arguments(kind: type, values: tuple[str, ...], rng: random.Random) -> Iterator[str]:
    for parameter in inspect.signature(kind).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            yield from rng.choices(values, k=rng.randrange(4))
        elif parameter.default is not parameter.empty and rng.random() < 0.3:
            yield f"{parameter.name}={rng.choice(values)}"
        elif parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            yield rng.choice(values)


def outcome(text: str) -> str:
    """ "used" or why not: what `diagnose --like` does with a text before any code of somebody's runs."""
    started = time.process_time()
    try:
        use(likeness(parse_like(text)))
        said = "used"
    except UserError as error:
        said = str(error)
        assert "\n" not in said
        assert 0 < len(said) < 500
    assert time.process_time() - started < SECONDS, text
    return said


def use(found: Likeness) -> None:
    """Ask a likeness for all that is asked of it for the first call of a candidate."""
    probe = next(found.pair.examined())
    found.axes(probe.state)
    assert found.pair.expected(probe).keys() == found.pair.bounds(probe).keys()
    assert found.pair.untested is not None
    if found.build is not None:
        found.pair.check(probe)


@pytest.mark.parametrize("seed", range(2))
def test_every_text_is_something_to_compare_with_or_an_error_in_one_line(seed: int) -> None:
    outcomes = [outcome(text) for text in texts(3, seed)]
    assert len(outcomes) >= 500
    used = outcomes.count("used")
    assert 0.1 < used / len(outcomes) < 0.5  # neither is what hides the other


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10, 18))
def test_so_are_thousands(seed: int) -> None:
    outcomes = [outcome(text) for text in texts(3, seed)]
    assert 8 * len(outcomes) > 3000


@pytest.mark.parametrize(
    "text",
    [
        *("Softmax()", "LogSoftmax()", "Softmin()", "ReLU(inplace=True)", "Sequential(Conv2d(1, 2, 3), ReLU(True))"),
        *("NLLLoss2d()", "KLDivLoss()", "MSELoss(size_average=True)", "Hardtanh(min_value=-2)"),  # of which torch warns
        *("Sequential()", "DataParallel(ReLU())", "InstanceNorm2d(5)", "ELU(1e400)"),
        "TransformerEncoder(encoder_layer=TransformerEncoderLayer(8, 2, 16, 0.0), num_layers=2)",
        "Sequential(" * 150 + "ReLU()" + ")" * 150,
        "Conv2d(\n  1,\n  2,\n  3\n)",
    ],
)
def test_what_torch_takes_can_be_compared_with(text: str) -> None:
    assert outcome(text) == "used"


@pytest.mark.parametrize(
    "text",
    [
        *("ReplicationPad3d(9223372036854775807)", "MaxPool2d(2, dilation=(1, -9223372036854775807))"),  # overflow
        *("Linear(1000000000000, 1)", "Linear(9223372036854775807, 9223372036854775807)", "Linear(50000, 50000)"),
        *("BatchNorm2d(1000000000, affine=False)", "LSTM(1, 1, 1000000000)", "Conv2d(1, 1, 3, padding=20000)"),
        *("ConstantPad2d(20000, 1.0)", "Upsample(scale_factor=10000)", "AdaptiveAvgPool2d(50000)"),
        f"Sequential({', '.join(['Upsample(scale_factor=10)'] * 4)})",
        *("LocalResponseNorm(10000000)", "LocalResponseNorm(1000000000)", "Conv2d(1, 100000, 1, padding=2000)"),
        *(
            "Transformer(8, 2, 1000000, 1, 8)",
            "TransformerEncoder(ReLU(), 1000000000)",
            "TransformerDecoder(3, 1000000000)",
        ),
        f"Sequential({', '.join(['Linear(1000, 1000)'] * 20)})",
        f"Sequential({', '.join(['ReLU()'] * 2000)})",
        f"Linear({'9' * 5000}, 1)",
        f"ReLU({'-' * 5000}1)",
        "(" * 10000,
        "Sequential(" * 400 + ")" * 400,
    ],
)
def test_what_is_too_large_is_refused_before_it_takes_memory(text: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert outcome(text) != "used"
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (after - before) * (1 if sys.platform == "darwin" else 1024) < 500e6


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "Linear(2000, 2000)",
            f"--like: Linear(2000, 2000) has 4,002,000 weights; at most {NUMBERS:,} can be compared",
        ),
        ("Linear(1000000000000, 1)", "--like: 1000000000000 is too large; no size is larger than 1,000,000,000"),
        ("Linear(99999999, 1)", "--like: Linear(99999999, 1): it makes more than 40,000,000 numbers"),
        ("LSTM(1, 1, 9999)", "--like: LSTM(1, 1, 9999): it takes more than 10,000 operations of torch's"),
        (
            "LSTM(1, 1, num_layers=1001)",
            "--like: LSTM(1, 1, num_layers=1001) has 1,001 layers; at most 1,000 can be compared",
        ),
        (
            "TransformerEncoder(ReLU(), 1001)",
            f"--like: TransformerEncoder(ReLU(), 1001) has 1,001 layers; at most {LAYERS:,} can be compared",
        ),
    ],
)
def test_how_much_is_too_much_is_said(text: str, said: str) -> None:
    assert outcome(text) == said


def test_a_layer_refuses_what_would_make_too_many_numbers_and_nothing_else() -> None:
    pad = with_room(nn.ConstantPad2d(999, 1.0))
    assert pad(torch.zeros(1, 1, 2, 2)).numel() == NUMBERS
    with pytest.raises(TooLargeError, match=r"^it gives 4,002,000 numbers; at most 4,000,000 can be compared$"):
        pad(torch.zeros(1, 1, 2, 3))
    halves = with_room(nn.Sequential(*(nn.ReLU() for _ in range(11))))
    with pytest.raises(TooLargeError, match=r"^it makes more than 40,000,000 numbers$"):
        halves(torch.zeros(NUMBERS))


def test_a_module_that_is_no_text_is_held_to_the_same_limits() -> None:
    for module, said in (
        (nn.Linear(2000, 2000), "linear has 4,002,000 weights; at most 4,000,000 can be compared"),
        (nn.Sequential(*(nn.ReLU() for _ in range(1000))), "has 1,001 layers; at most 1,000 can be compared"),
        (nn.Linear(3, 4, device="meta"), "linear has its weights on meta; give a module on the CPU"),
    ):
        with pytest.raises(UserError, match=f"{said}$"):
            likeness(module)


def test_a_text_is_never_evaluated() -> None:
    for text in ("print(1)", "ReLU(print(1))", "Linear(3, print(1))", "ReLU(**print(1))", "ReLU(x := 3)", "ReLU(exit)"):
        assert outcome(text) != "used"


def test_the_command_says_it_with_status_2(tmp_path: Path) -> None:
    (tmp_path / "layer.py").write_text("class Layer:\n    def forward(self, x):\n        return x\n")
    for text in ("Linear(0, 2)", "ReLU(" + "-" * 5000 + "1)"):
        command = [sys.executable, "-m", "compare", "diagnose", str(tmp_path / "layer.py:Layer"), "--like", text]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith("gradtwin: ")
        assert ended.stderr.count("\n") == 1
