"""Why there is no page: the one way in which building it can end besides success."""

from __future__ import annotations


class NotAsShown(Exception):  # noqa: N818 - what it says is a verdict, not an accident
    """Something that the lesson would show does not hold; the message says which spot, and what it is instead.

    Attributes:
        judged: whether it was found wrong; if not, nobody can say whether it holds.
    """

    def __init__(self, problem: str, *, judged: bool = True) -> None:
        super().__init__(problem)
        self.judged = judged
