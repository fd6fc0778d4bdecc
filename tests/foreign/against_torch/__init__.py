"""Proves each layer of `manners` right against torch alone: driven by hand as its file says, without gradtwin."""

from __future__ import annotations

from tests.foreign.against_torch import convolutions, dense, losses, maps, normalisation, optimizers
from tests.foreign.against_torch.checking import CHECKS

__all__ = ["CHECKS", "convolutions", "dense", "losses", "maps", "normalisation", "optimizers"]
