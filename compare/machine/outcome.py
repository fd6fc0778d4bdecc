"""The three outcomes of a verdict, and the exit status that each has on the command line."""

from __future__ import annotations

from typing import Literal

Outcome = Literal["right", "wrong", "not_judged"]
STATUS: dict[Outcome, int] = {"right": 0, "wrong": 1, "not_judged": 2}
