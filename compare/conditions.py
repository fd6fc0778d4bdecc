"""Under which conditions the twins may be compared: the same threads, and convolutions computed as defined."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


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
