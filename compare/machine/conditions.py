"""Under which conditions the twins may be compared: the same threads and memory, convolutions computed as defined."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # as glibc's malloc.h calls them


@contextmanager
def equal_threads(threads: int) -> Iterator[None]:
    """Give NumPy's matrix library and torch the same number of threads.

    With more than one each, the two take turns in getting in each other's way: the threads of the one still wait busily
    for work when those of the other want the cores. On two cores that made both two to four times slower.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def direct_convolutions() -> Iterator[None]:
    """Keep torch from computing convolutions by Winograd's algorithm, as NNPACK does where oneDNN is missing.

    Its error is bounded relative to the largest element only; the bounds here are relative to each element.
    """
    with torch.backends.nnpack.flags(enabled=False):
        yield


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, for its next arrays. Returns whether that could be arranged.

    By default glibc hands large arrays back to the operating system as soon as they are freed, and gets new pages for
    the next step, each of which the system has to find, clear and map. Whether it does so depends on what else lies in
    memory, and it can cost either twin up to half of its time, by chance. NumPy and torch get their memory from the
    same allocator, so this holds for both alike. Elsewhere than with glibc nothing is done.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no such function; TypeError on Windows
        return False
    # Both return 1 where they are obeyed.
    return bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1)) and bool(mallopt(M_MMAP_MAX, 0))
