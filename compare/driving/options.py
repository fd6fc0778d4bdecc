"""What is known of the arguments of a layer's constructor and of its weights, for code that has other ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Axes:
    """The axes of a weight, one letter each.

    Attributes:
        torch: in torch's order: "OIHW".
        others: orders in which people keep it, the most usual first; an axis of length 1 may be missing.
    """

    torch: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Option:
    """What an argument of a torch constructor is about.

    Attributes:
        two_sided: whether it is one number for both sides of an image, or a pair (vertical, horizontal).
        sides: what the two numbers of a pair are called where code takes them one by one.
        seen_in: the weight whose shape shows it: code that is given its weights need not be told.
        drops: the weights that a layer has not where the option is False.
        often_dropped: whether much code has no such weight at all.
        implied: the values that code without such an option takes for granted.
        called: what others call it, in small letters without underscores; many words are known without being named
            here (`driving/vocabulary.py`).
        default: the option whose value it has where it is None.
        usual: the values that code without such an argument often has: they are tried.
        channels: whether it is the number of channels, or features, of the input.
    """

    two_sided: bool = False
    sides: tuple[str, str] | None = None
    seen_in: str = ""
    drops: tuple[str, ...] = ()
    often_dropped: bool = False
    implied: tuple[Any, ...] = ()
    called: tuple[str, ...] = ()
    default: str = ""
    channels: bool = False
    usual: tuple[Any, ...] = ()


IN_CHANNELS = Option(seen_in="weight", channels=True, implied=(1,))
IN_FEATURES = Option(seen_in="weight", channels=True)
OUT_FEATURES = Option(seen_in="weight")
KERNEL_SIZE = Option(two_sided=True, sides=("kernel_height", "kernel_width"), seen_in="weight", usual=(2, 3, 5))
STRIDE = Option(two_sided=True, default="kernel_size")
PADDING = Option(two_sided=True)
BIAS = Option(drops=("bias",), often_dropped=True)
ALONG_ROWS = Option(implied=(1, -1))

KERNELS = Axes("OIHW", ("HWIO", "OHWI", "IOHW", "HWOI", "OHW", "HWO"))
MATRIX = Axes("OI", ("IO",))
VECTOR = Axes("O")
# Of a weight of which nothing else is known, by its number of axes.
USUAL_AXES = {1: VECTOR, 2: MATRIX, 3: Axes("OIL"), 4: KERNELS, 5: Axes("OIDHW")}
