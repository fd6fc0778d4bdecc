"""A session without a process of its own, for tests that look at the candidate while it is driven."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Self

from compare.contained.session import Session
from compare.driving.answering import random_state_kept
from compare.driving.candidate import load_target
from compare.driving.wire import LENGTHS, pack, unpack
from compare.driving.worker import Answers, Reply


def received(value: Any, *, trusted: bool) -> Any:
    """A value as it arrives on the other side."""
    message = pack(value)
    length, header = LENGTHS.unpack_from(message)
    rest = bytearray(message[LENGTHS.size :])
    assert length == len(rest)
    return unpack(memoryview(rest), header, trusted=trusted)


class InProcess(Session):
    """Answers in this process, through the same messages, and what is checked of them."""

    def __enter__(self) -> Self:
        target = self._target
        source: Callable[[], Any] = lambda: self.candidate  # noqa: E731
        if target is not None:
            source = partial(load_target, str(target.file), target.expression)
        self._answers = Answers(source)
        return self

    def _make_ready(self) -> None:
        self.containment = "not contained: in this process"

    def _send(self, request: Any, deadline: float) -> None:
        del deadline
        name, *arguments = received(request, trusted=True)
        with random_state_kept():
            self._reply = received(Reply(self._answers(name, arguments)), trusted=False)

    def _receive(self, deadline: float) -> Any:
        del deadline
        return self._reply
