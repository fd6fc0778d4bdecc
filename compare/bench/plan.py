"""What `gradtwin bench` is asked to measure, checked before anything is loaded (and without torch)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

from compare.machine.errors import UserError
from compare.machine.processor import cores

MODELS = ("cnn", "lenet5", "wide")
MODES = ("train", "inference")
BATCH_SIZES = (1, 16, 32, 64, 128, 256, 512)
DEVICES = ("cpu", "cuda")
MOST_IMAGES = 1 << 16  # in a batch
LAYERS_BATCH = 64  # images, where --layers is not told how many

_Value = TypeVar("_Value", int, str)


@dataclass(frozen=True)
class Plan:
    """The options of `gradtwin bench`.

    Attributes:
        models, modes, batch_sizes, threads: what is combined with what; each value once, none means all.
        seconds: how long each side of each combination is timed, on average, and at least.
        device: "cpu" or "cuda".
        compiled: whether torch.compile is a third side.
        loops, memory: whether the plain loops and the peak memory are measured too.
        layers: layer by layer, instead of the whole models.

    Raises:
        UserError: for values that make no sense, alone or together, each named with its rule.
    """

    models: tuple[str, ...] = MODELS
    modes: tuple[str, ...] = MODES
    batch_sizes: tuple[int, ...] = BATCH_SIZES
    threads: tuple[int, ...] = (1,)
    seconds: float = 1.0
    device: str = "cpu"
    compiled: bool = False
    loops: bool = True
    memory: bool = True
    layers: bool = False

    def __post_init__(self) -> None:
        _require_known("model", self.models, MODELS)
        _require_known("mode", self.modes, MODES)
        _require_known("device", (self.device,), DEVICES)
        for option, numbers in (("--batch-size", self.batch_sizes), ("--threads", self.threads)):
            if min(numbers, default=1) < 1:
                raise UserError(f"{option} must be at least 1, got {min(numbers)}")
        if max(self.batch_sizes, default=1) > MOST_IMAGES:
            raise UserError(f"--batch-size must be at most {MOST_IMAGES:,}, got {max(self.batch_sizes)}")
        if max(self.threads, default=1) > cores():
            raise UserError(f"--threads must be at most the {cores()} cores of this machine, got {max(self.threads)}")
        if not 0 < self.seconds < math.inf:
            raise UserError(f"--seconds must be a number above 0, got {self.seconds:g}")
        if self.layers and (self.compiled or self.device != "cpu"):
            raise UserError("--layers measures on the CPU, without torch.compile; leave --compile and --device out")
        if self.layers and self.modes:
            raise UserError("--layers measures forward and backward of each layer; leave --mode out")
        if self.layers and len(self.batch_sizes) > 1 and self.batch_sizes != BATCH_SIZES:
            raise UserError(f"--layers measures at one --batch-size, got {len(self.batch_sizes)} of them")
        object.__setattr__(self, "models", _each_once(self.models, MODELS))
        object.__setattr__(self, "modes", _each_once(self.modes, MODES))
        object.__setattr__(self, "batch_sizes", _each_once(self.batch_sizes, BATCH_SIZES))
        object.__setattr__(self, "threads", _each_once(self.threads, (1,)))

    @property
    def cells(self) -> int:
        """How many combinations of model, mode, batch size and threads there are."""
        return len(self.models) * len(self.modes) * len(self.batch_sizes) * len(self.threads)


def parse_numbers(text: str, option: str) -> tuple[int, ...]:
    """Whole numbers separated by commas.

    Raises:
        UserError: for anything else.

    >>> parse_numbers("1, 16", "--batch-size")
    (1, 16)
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"{option} must be whole numbers separated by commas, got {text!r}") from None


def _require_known(option: str, given: tuple[str, ...], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            raise UserError(f"{option} {name!r} is unknown; choose one of {', '.join(known)}")


def _each_once(given: tuple[_Value, ...], otherwise: tuple[_Value, ...]) -> tuple[_Value, ...]:
    """The values in their order, none twice; `otherwise` where there are none."""
    return tuple(dict.fromkeys(given)) or otherwise
