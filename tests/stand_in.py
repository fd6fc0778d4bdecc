"""An array that behaves as CuPy's does towards NumPy, where there is no GPU: what breaks on it breaks there.

It holds a NumPy array and never gives it away: no implicit conversion, no mixing with NumPy's arrays, and of NumPy's
functions, methods and keyword arguments only those below, each with CuPy's own signature. Where CuPy lets more through
(lists or NumPy's arrays as indices, for instance), this is the stricter of the two. Written after CuPy 14.2;
`test_portability.py` compares it with CuPy itself wherever that can be imported.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

# CuPy's ufuncs, called as functions: what its `__array_ufunc__` hands on by name.
UFUNCS = {
    *("add", "subtract", "multiply", "divide", "floor_divide", "remainder", "divmod", "power", "negative", "positive"),
    *("absolute", "exp", "log", "sqrt", "maximum", "minimum", "isfinite", "isnan", "invert", "matmul"),
    *("bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift"),
    *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
}
UFUNC_ARGUMENTS = {"out", "dtype", "casting"}  # no where, no order, no subok
# What its ufuncs have beside being called.
METHODS = {
    "reduce": {"add", "multiply"},
    "accumulate": {"add", "multiply"},
    "at": {"add", "subtract", "maximum", "minimum"},
}
SCALARS = (bool, int, float, complex, np.bool_, np.number)


class Flags:
    """How an array lies in memory; there is no `writeable`."""

    def __init__(self, host: np.ndarray[Any, Any]) -> None:
        self.c_contiguous = host.flags.c_contiguous
        self.f_contiguous = host.flags.f_contiguous
        self.owndata = host.flags.owndata


class DeviceArray(NDArrayOperatorsMixin):
    """The stand-in for `cupy.ndarray`."""

    def __init__(self, host: np.ndarray[Any, Any]) -> None:
        assert isinstance(host, np.ndarray)
        self._host: Any = host

    # How it looks: T, dtype, flags, itemsize, nbytes, ndim, shape, size, strides.

    @property
    def T(self) -> DeviceArray:  # noqa: N802
        return DeviceArray(self._host.T)

    @property
    def flags(self) -> Flags:
        return Flags(self._host)

    dtype = property(lambda self: self._host.dtype)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    ndim = property(lambda self: self._host.ndim)
    shape = property(lambda self: self._host.shape)
    size = property(lambda self: self._host.size)
    strides = property(lambda self: self._host.strides)

    # The protocols.

    def __array__(self, dtype: Any = None) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **arguments: Any) -> Any:
        name = ufunc.__name__
        if name not in UFUNCS or (method != "__call__" and method not in METHODS):
            return NotImplemented
        if method != "__call__" and name not in METHODS[method]:
            raise NotImplementedError(f"`cupy_{name}.{method}` is not supported yet")
        allowed = UFUNC_ARGUMENTS if method == "__call__" else {"axis", "dtype", "out", "keepdims"}
        if arguments.keys() - allowed:
            raise TypeError(f"Wrong arguments {arguments}")
        out = arguments.pop("out", ())
        if any(not isinstance(given, DeviceArray) for given in out):
            raise TypeError(f"Unsupported type {[type(given) for given in out]} for out")
        for given in inputs:
            if isinstance(given, np.ndarray):
                raise TypeError(f"Unsupported type {type(given)}")
            if not isinstance(given, (DeviceArray, *SCALARS)):
                return NotImplemented
        if name == "matmul" and not all(isinstance(given, DeviceArray) for given in inputs):
            raise TypeError("matmul: both factors must be arrays")
        if out:
            (target,) = out
            arguments["out"] = target._host
        result = getattr(ufunc, method)(*map(_host, inputs), **arguments)
        return target if out else _device(result)

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        own = FUNCTIONS.get(function.__name__)
        if own is None or any(not issubclass(t, DeviceArray | np.ndarray) for t in types):
            return NotImplemented
        return own(*args, **kwargs)

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: Any = None
    ) -> Any:
        assert stream is None
        given = {"max_version": max_version, "dl_device": dl_device, "copy": copy}  # NumPy 2.0 knows none of them
        return self._host.__dlpack__(**{name: value for name, value in given.items() if value is not None})

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._host.__dlpack_device__()

    # To Python and back: one number at a time, and only when asked.

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> Any:
        assert stream is None
        assert out is None
        assert blocking
        return self._host.copy(order=order)

    def item(self) -> Any:
        return self._host.item()

    def tolist(self) -> Any:
        return self._host.tolist()

    def __float__(self) -> float:
        return float(self._host)

    def __int__(self) -> int:
        return int(self._host)

    def __bool__(self) -> bool:
        return bool(self._host)

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[DeviceArray]:
        return (self[index] for index in range(len(self)))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._host)

    # Elements: also a single one is an array.

    def __getitem__(self, index: Any) -> DeviceArray:
        return DeviceArray(np.asarray(self._host[_index(index)]))

    def __setitem__(self, index: Any, value: Any) -> None:
        if not isinstance(value, (DeviceArray, *SCALARS)):
            raise ValueError(f"non-scalar {type(value)} cannot be used for fill")
        self._host[_index(index)] = _host(value)

    # Methods, with CuPy's arguments.

    def reshape(self, *shape: Any, order: str = "C", copy: Any = None) -> DeviceArray:
        assert copy is None
        return DeviceArray(self._host.reshape(*shape, order=order))

    def transpose(self, *axes: Any) -> DeviceArray:
        return DeviceArray(self._host.transpose(*axes))

    def copy(self, order: str = "C") -> DeviceArray:
        return DeviceArray(self._host.copy(order=order))

    def astype(
        self, dtype: Any, order: str = "K", casting: Any = None, subok: Any = None, copy: bool = True
    ) -> DeviceArray:
        assert casting is None
        assert subok is None
        return DeviceArray(self._host.astype(dtype, order=order, copy=copy))

    def sum(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> DeviceArray:
        assert out is None
        return DeviceArray(np.asarray(self._host.sum(axis=axis, dtype=dtype, keepdims=keepdims)))

    def mean(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> DeviceArray:
        assert out is None
        return DeviceArray(np.asarray(self._host.mean(axis=axis, dtype=dtype, keepdims=keepdims)))

    def max(self, axis: Any = None, out: Any = None, keepdims: bool = False) -> DeviceArray:
        assert out is None
        return DeviceArray(np.asarray(self._host.max(axis=axis, keepdims=keepdims)))

    def min(self, axis: Any = None, out: Any = None, keepdims: bool = False) -> DeviceArray:
        assert out is None
        return DeviceArray(np.asarray(self._host.min(axis=axis, keepdims=keepdims)))

    def argmax(self, axis: Any = None, out: Any = None, dtype: Any = None, keepdims: bool = False) -> DeviceArray:
        assert out is None
        assert dtype is None
        return DeviceArray(np.asarray(self._host.argmax(axis=axis, keepdims=keepdims)))


# NumPy's functions, with CuPy's arguments.


def asarray(a: Any, dtype: Any = None, order: Any = None, *, copy: Any = None, blocking: bool = False) -> DeviceArray:
    """The one way from the host to the device."""
    assert copy is None
    assert not blocking
    return a if isinstance(a, DeviceArray) else DeviceArray(np.array(a, dtype, order=order or "K"))


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> DeviceArray:
    return DeviceArray(np.arange(start, stop, step, dtype=dtype) if stop is not None else np.arange(start, dtype=dtype))


def _like(function: Callable[..., Any], a: Any, dtype: Any, order: str, subok: Any, shape: Any) -> DeviceArray:
    if subok is not None:
        raise TypeError("subok is not supported yet")
    _refuse_numpy(a)
    return DeviceArray(function(a._host, dtype=dtype, order=order, shape=shape or None))  # () is taken for None there


def empty_like(
    prototype: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None
) -> DeviceArray:
    empty = _like(np.empty_like, prototype, dtype, order, subok, shape)
    empty._host.fill(math.nan if empty.dtype.kind == "f" else 1)  # who forgets to fill it shall notice
    return empty


def zeros_like(a: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None) -> DeviceArray:
    return _like(np.zeros_like, a, dtype, order, subok, shape)


def ones_like(a: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None) -> DeviceArray:
    return _like(np.ones_like, a, dtype, order, subok, shape)


def full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None
) -> DeviceArray:
    _refuse_numpy(fill_value)
    full = _like(np.empty_like, a, dtype, order, subok, shape)
    full._host[...] = _host(fill_value)
    return full


def concatenate(
    tup: Any, axis: int = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind"
) -> DeviceArray:
    _refuse_numpy(*tup)
    assert out is None
    assert casting == "same_kind"
    return DeviceArray(np.concatenate([array._host for array in tup], axis=axis, dtype=dtype))


def clip(a: Any, a_min: Any, a_max: Any, out: Any = None) -> DeviceArray:
    _refuse_numpy(a, a_min, a_max)
    assert out is None
    return DeviceArray(np.asarray(np.clip(a._host, _host(a_min), _host(a_max))))


def as_strided(x: Any, shape: Any = None, strides: Any = None) -> DeviceArray:
    _refuse_numpy(x)
    return DeviceArray(np.lib.stride_tricks.as_strided(x._host, shape, strides))


FUNCTIONS: dict[str, Callable[..., DeviceArray]] = {
    function.__name__: function
    for function in (
        asarray,
        arange,
        empty_like,
        zeros_like,
        ones_like,
        full_like,
        concatenate,
        clip,
    )
}
# What the package asks CuPy itself for, and not NumPy's protocols.
CUPY = SimpleNamespace(lib=SimpleNamespace(stride_tricks=SimpleNamespace(as_strided=as_strided)))
ARRAY_METHODS = [
    name for name, value in vars(DeviceArray).items() if inspect.isfunction(value) and not name.startswith("_")
]


def _refuse_numpy(*given: Any) -> None:
    for one in given:
        if not isinstance(one, (DeviceArray, *SCALARS)):
            raise TypeError(f"Unsupported type {type(one)}")


def _host(given: Any) -> Any:
    return given._host if isinstance(given, DeviceArray) else given


def _device(result: Any) -> Any:
    """What a function gave, on the device: a number too is an array there."""
    if isinstance(result, tuple):
        return tuple(map(_device, result))
    return None if result is None else DeviceArray(np.asarray(result))


def _index(index: Any) -> tuple[Any, ...]:
    """An index whose result is an array even where it is one element."""
    parts = index if isinstance(index, tuple) else (index,)
    for part in parts:
        if not (part is None or part is Ellipsis or isinstance(part, int | np.integer | slice | DeviceArray)):
            raise IndexError(f"{type(part)} is no index on the device")
    whole = tuple(map(_host, parts))
    return whole if any(part is Ellipsis for part in parts) else (*whole, Ellipsis)
