"""The twins side by side: what they compute is compared, and they are trained in lockstep; mistakes are named.

    lesson/      one page that teaches: formula, NumPy code, torch call, live numbers
    bench/       how fast both are, and how much memory they take
    training/    both models on the same batches, to TensorBoard
    diagnosis/   somebody's own code: read, judged, and its mistake named
    verify/      every pair against its twin, random configurations, one training step, trained twins
    faults/      the catalogue of mistakes, each the edit of our own source that makes it
    pairs/       a layer, loss, optimizer or model and its twin: cases, bounds, both sides driven and compared
    contained/   somebody's code in a process of its own that cannot reach the verdict
    driving/     what runs beside that code: it is made and driven as it is, with NumPy alone
    pictures/    arrays as pictures
    machine/     files, data sets, devices, threads, versions

Each imports from those below it only. This package alone knows both `scratch` and `torch_ref`. Importing it loads
nothing: `compare.diagnose` brings torch along when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compare.diagnosis.diagnose import diagnose

__all__ = ["diagnose"]


def __getattr__(name: str) -> Any:
    if name == "diagnose":
        from compare.diagnosis.diagnose import diagnose

        return diagnose
    raise AttributeError(f"module 'compare' has no attribute {name!r}")
