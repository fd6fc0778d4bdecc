"""The twins side by side: what they compute is compared, and they are trained in lockstep; mistakes are named.

    verify/      layers, losses, optimizers and models against their twins: a report
    faults/      the catalogue of mistakes, each the edit of our own source that makes it
    diagnosis/   somebody's own code: driven as it is, judged, and its mistake named
    training/    both models on the same batches, to TensorBoard
    lesson/      one page that teaches: formula, NumPy code, torch call, live numbers
    bench/       how fast both are, and how much memory they take

Below all stand the registry of pairs, the copying of weights, the inputs and the error bounds. This package alone
knows both `scratch` and `torch_ref`. Importing it loads nothing: `compare.diagnose` brings torch along when first used.
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
