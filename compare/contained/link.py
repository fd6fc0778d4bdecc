"""One side of a connection with a process that is not trusted: every wait has an end, every length a limit."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterable

from compare.driving.wire import LARGEST, LARGEST_ANSWER_HEADER, LENGTHS, WireError

CHUNK = 2**20
WATCHED = 0.25  # seconds between two looks at what the other side does meanwhile


class LateError(Exception):
    """No answer in time; the message says why it was ended, empty for the time alone."""


class Link:
    """Sends and receives messages over a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        connection.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(connection, selectors.EVENT_READ)

    def close(self) -> None:
        self._selector.close()
        self.connection.close()

    def send(self, message: bytes, deadline: float) -> None:
        """Send a message.

        Args:
            deadline: when it must have been taken, by `time.monotonic`.

        Raises:
            LateError: if it was not.
            OSError: if the other side is gone.
        """
        left = memoryview(message)
        while left:
            try:
                left = left[self.connection.send(left) :]
            except BlockingIOError:
                self._selector.modify(self.connection, selectors.EVENT_WRITE)
                ready = self._selector.select(max(0.0, deadline - time.monotonic()))
                self._selector.modify(self.connection, selectors.EVENT_READ)
                if not ready:
                    raise LateError from None

    def receive(
        self, deadline: float, meanwhile: Iterable[object] = (), watch: Callable[[], str] = str
    ) -> tuple[memoryview, int]:
        """The next message without its lengths, and the length of its header.

        Args:
            deadline: when all of it must be there, by `time.monotonic`.
            meanwhile: what is to be done until it begins to come, a short step each time it is advanced.
            watch: says why not to wait any longer; asked now and then; empty to go on.

        Raises:
            LateError: if it is late, or not waited for.
            EOFError, OSError: if the other side is gone.
            WireError: if it is too long to be a message.
        """
        for _ in meanwhile:
            if self._selector.select(0):
                deadline = max(deadline, time.monotonic() + WATCHED)  # it was in time, whatever the step took here
                break
        length, header = LENGTHS.unpack(self._exactly(LENGTHS.size, deadline, watch))
        if length > LARGEST or header > min(length, LARGEST_ANSWER_HEADER):
            raise WireError(f"a message of {length} bytes")
        return memoryview(self._exactly(length, deadline, watch)), header

    def _exactly(self, count: int, deadline: float, watch: Callable[[], str]) -> bytearray:
        data = bytearray()  # grows as it comes: what is announced need not be sent
        while len(data) < count:
            try:
                received = self.connection.recv(min(count - len(data), CHUNK))
            except BlockingIOError:
                self._wait(deadline, watch)
                continue
            if not received:
                raise EOFError
            data += received
            if time.monotonic() > deadline:
                raise LateError
        return data

    def _wait(self, deadline: float, watch: Callable[[], str]) -> None:
        while True:
            left = deadline - time.monotonic()
            if self._selector.select(max(0.0, min(left, WATCHED))):
                return
            why = watch()
            if why or left <= 0:
                raise LateError(why)
