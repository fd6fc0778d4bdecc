"""The same number of threads for both twins."""

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
