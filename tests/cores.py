"""How many processor cores the tests may use."""

from __future__ import annotations

import os


def cores() -> int:
    """Those that this process may run on: a container often has fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
