"""Reading a safetensors file: arrays by name, and text by name (its metadata). Nothing in it is code.

The file begins with 8 bytes that say how long its header is; the header, as JSON, says where each array lies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compare.machine.errors import UserError, brief
from compare.machine.files import read_bytes
from scratch import Array

LARGEST = 1 << 28  # Bytes of the largest file that is read: what the models here save takes some megabytes.
LARGEST_HEADER = 1 << 22  # Bytes of the largest header: what is made of it takes up to 30 times as much memory.


@dataclass(frozen=True)
class TensorFile:
    """What a safetensors file holds."""

    tensors: dict[str, Array]
    metadata: Mapping[str, str]

    @property
    def not_finite(self) -> str:
        """The name of the first array that holds NaN or infinity; empty if none does."""
        return next((name for name, array in self.tensors.items() if not np.isfinite(array).all()), "")


def read_tensors(path: Path, mend: str) -> TensorFile:
    """Read a safetensors file; `mend` says what to do if it cannot be read.

    Raises:
        UserError: if it is missing, no regular file, too large, truncated, damaged, or holds a type that NumPy lacks.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        content = read_bytes(path, LARGEST)
        length = int.from_bytes(content[:8], "little")
        if length > LARGEST_HEADER:
            raise ValueError(f"a header of {length:,} bytes, at most {LARGEST_HEADER:,} are read")
        tensors = load(content)
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {mend}") from None
    except (SafetensorError, KeyError, ValueError, RecursionError) as error:
        reason = brief(str(error).removeprefix("Error while deserializing: "))
        raise UserError(f"{path}: damaged, or not a safetensors file ({reason}); {mend}") from None
    return TensorFile(tensors, metadata or {})
