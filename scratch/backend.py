"""Which array library is in use: NumPy, or CuPy on a GPU. This module alone knows that there are two.

The layers call NumPy's functions only. Handed a CuPy array, those find CuPy's by NumPy's own protocols
(`__array_ufunc__`, `__array_function__`), and `np.asarray(drawn, like=x)` brings what NumPy drew to where x is. What
follows is the little that the protocols leave open: how an array comes back, or crosses to another library.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

CUDA = 2  # kDLCUDA: how DLPack calls the memory of an NVIDIA GPU


class SupportsDLPack(Protocol):
    """An array or tensor of any library that lends its memory by the DLPack protocol."""

    def __dlpack__(self, *, stream: None = None) -> Any:
        """The memory, wrapped up for another library."""

    def __dlpack_device__(self) -> tuple[Any, int]:
        """Where the memory is: the kind of device, and its number."""


def open_cupy() -> ModuleType:
    """CuPy. It is imported here and nowhere else, so that without a GPU nobody needs it.

    Raises:
        ImportError: if it is not installed, or not as it should be.
    """
    import cupy

    return cupy


def on_host(array: npt.NDArray[Any]) -> bool:
    """Whether `array` is NumPy's, in the memory of the processor.

    >>> on_host(np.zeros(3))
    True
    """
    return isinstance(array, np.ndarray)


def as_strided(array: npt.NDArray[Any], shape: tuple[int, ...], strides: tuple[int, ...]) -> npt.NDArray[Any]:
    """The memory of `array` under another shape, its elements `strides` bytes apart: a view, and nothing is checked.

    >>> as_strided(np.arange(4), shape=(3, 2), strides=(8, 8))
    array([[0, 1],
           [1, 2],
           [2, 3]])
    """
    library = np if on_host(array) else open_cupy()
    return library.lib.stride_tricks.as_strided(array, shape, strides)


def to_host(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy of `array` as a NumPy array, of the same shape and dtype, wherever `array` is.

    >>> weights = np.array([1.0, 2.0])
    >>> copied = to_host(weights)
    >>> copied[0] = 7
    >>> weights
    array([1., 2.])
    """
    if isinstance(array, np.ndarray):
        return array.copy()
    return array.get()  # CuPy's


def beside(array: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`array` on the device of `other`, of the same shape and dtype: itself if it is there already, else a copy.

    >>> weights = np.array([1.0, 2.0])
    >>> beside(weights, np.zeros(3)) is weights
    True
    """
    if isinstance(other, np.ndarray) and not isinstance(array, np.ndarray):
        return to_host(array)
    return np.asarray(array, like=other)


def from_dlpack(tensor: SupportsDLPack) -> npt.NDArray[Any]:
    """The memory of another library's tensor as an array of the same shape and dtype: CuPy's on a GPU, else NumPy's.

    Nothing is copied: what is written into the tensor shows in the array. NumPy's may be read-only.

    Raises:
        BufferError: for a tensor that does not lend its memory, such as a torch parameter without `detach()`.
        ImportError: for one on a GPU, where CuPy is missing.

    >>> lender = np.array([1.0, 2.0])
    >>> borrowed = from_dlpack(lender)
    >>> lender[0] = 7
    >>> borrowed
    array([7., 2.])
    """
    kind, _ = tensor.__dlpack_device__()
    if kind == CUDA:
        return open_cupy().from_dlpack(tensor)
    return np.from_dlpack(tensor)
