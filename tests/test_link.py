"""The connection with a process that is not trusted: every wait has an end, and every length a limit."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from compare.contained import link as module
from compare.contained.link import LateError, Link
from compare.driving.wire import LARGEST, LARGEST_HEADER, LENGTHS, WireError, pack, unpack

pytestmark = pytest.mark.timeout(60)

SOON = 0.2  # seconds: long enough for what is there already


@pytest.fixture
def ends() -> Iterator[tuple[Link, socket.socket]]:
    ours, theirs = socket.socketpair()
    link = Link(ours)
    yield link, theirs
    link.close()
    theirs.close()


def after(seconds: float) -> float:
    return time.monotonic() + seconds


@pytest.fixture
def beside() -> Iterator[Callable[[Callable[[], Any]], None]]:
    """Run something in a thread, that is over when the test is."""
    threads: list[threading.Thread] = []

    def start(function: Callable[[], Any]) -> None:
        threads.append(threading.Thread(target=function))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join()


Beside = Callable[[Callable[[], Any]], None]
Ends = tuple[Link, socket.socket]


def test_a_message_goes_and_comes(ends: Ends, beside: Beside) -> None:
    link, theirs = ends
    other = Link(theirs)
    value = {"x": np.arange(300_000.0), "empty": np.zeros(0), "text": "a"}  # more than a socket holds at once
    beside(lambda: link.send(pack(value), after(30)))
    found = unpack(*other.receive(after(30)))
    np.testing.assert_array_equal(found["x"], value["x"])
    assert (found["empty"].shape, found["text"]) == ((0,), "a")
    assert found["x"].flags.aligned
    assert found["x"].flags.writeable


def test_messages_that_come_together_are_read_one_after_the_other(ends: Ends) -> None:
    link, theirs = ends
    theirs.sendall(pack("one") + pack("two"))
    assert [unpack(*link.receive(after(SOON))) for _ in range(2)] == ["one", "two"]


def test_a_side_that_never_reads_is_not_waited_for(ends: Ends) -> None:
    link, _ = ends
    began = time.monotonic()
    with pytest.raises(LateError) as late:
        link.send(pack(np.zeros(2_000_000)), after(SOON))
    assert str(late.value) == ""
    assert SOON <= time.monotonic() - began < 10


def test_a_side_that_says_nothing_is_not_waited_for(ends: Ends) -> None:
    link, _ = ends
    with pytest.raises(LateError) as late:
        link.receive(after(0.05))
    assert str(late.value) == ""


@pytest.mark.parametrize("count", [1, 11, 12, 20])
def test_a_message_of_which_only_a_part_comes_is_not_waited_for(ends: Ends, count: int) -> None:
    link, theirs = ends
    theirs.sendall(pack("a longer text")[:count])
    with pytest.raises(LateError):
        link.receive(after(0.05))


def test_a_side_that_sends_byte_after_byte_is_late_at_the_same_time(ends: Ends, beside: Beside) -> None:
    link, theirs = ends
    over = threading.Event()

    def dribbles() -> None:
        theirs.sendall(LENGTHS.pack(10_000, 10))
        while not over.wait(0.005):
            theirs.sendall(b" ")

    beside(dribbles)
    began = time.monotonic()
    try:
        with pytest.raises(LateError):
            link.receive(after(SOON))
        assert time.monotonic() - began < 10
    finally:
        over.set()


class Counting:
    """A connection over which something comes whenever it is asked."""

    def __init__(self, *parts: bytes) -> None:
        self.parts, self.asked = list(parts), list[int]()

    def recv(self, count: int) -> bytes:
        self.asked.append(count)
        assert len(self.asked) < 1000, "it reads on"
        return self.parts.pop(0) if self.parts else b" "


def test_a_side_that_floods_is_late_at_the_same_time(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    link, _ = ends
    flood = Counting(LENGTHS.pack(LARGEST, 10))
    monkeypatch.setattr(link, "connection", flood)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: float(len(flood.asked))))  # 1 s each
    with pytest.raises(LateError):
        link.receive(50.0)
    assert len(flood.asked) == 51
    assert max(flood.asked) == module.CHUNK < LARGEST  # what is announced takes no memory before it is sent
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("length", "header"), [(LARGEST + 1, 10), (2**64 - 1, 10), (9, 10), (LARGEST, LARGEST_HEADER + 1), (0, 1)]
)
def test_a_length_that_is_too_large_is_refused_at_once(ends: Ends, length: int, header: int) -> None:
    link, theirs = ends
    theirs.sendall(LENGTHS.pack(length, header))
    with pytest.raises(WireError, match=rf"^a message of {length} bytes$"):
        link.receive(after(30))


@pytest.mark.parametrize("sent", [b"", b"\0", LENGTHS.pack(50, 10), LENGTHS.pack(50, 10) + b"1"])
def test_a_side_that_is_gone_is_said_to_be(ends: Ends, sent: bytes) -> None:
    link, theirs = ends
    theirs.sendall(sent)
    theirs.close()
    with pytest.raises(EOFError):
        link.receive(after(30))
    with pytest.raises(OSError, match=r"."):
        link.send(pack("a"), after(30))


def test_why_it_is_not_waited_any_longer_is_passed_on(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    link, _ = ends
    monkeypatch.setattr(module, "WATCHED", 0.01)
    answers = iter(["", "", "too much memory", "never asked"])
    with pytest.raises(LateError, match=r"^too much memory$"):
        link.receive(after(30), watch=lambda: next(answers))
    assert list(answers) == ["never asked"]


def test_what_is_to_be_done_meanwhile_is_done_step_by_step_until_the_answer_begins(ends: Ends) -> None:
    link, theirs = ends
    done: list[int] = []

    def steps() -> Iterator[None]:
        for number in range(3):
            done.append(number)
            if number == 1:
                theirs.sendall(pack("answer"))
            yield

    meanwhile = steps()
    assert unpack(*link.receive(after(30), meanwhile)) == "answer"
    assert done == [0, 1]
    theirs.sendall(pack("again"))
    assert unpack(*link.receive(after(30), meanwhile)) == "again"
    assert done == [0, 1, 2]


def test_what_is_done_meanwhile_does_not_prolong_the_time_that_an_answer_may_take(ends: Ends) -> None:
    link, theirs = ends

    def slowly() -> Iterator[None]:
        time.sleep(0.1)
        yield

    began = time.monotonic()
    with pytest.raises(LateError):
        link.receive(after(0.05), slowly())
    assert time.monotonic() - began < 10
    # What is there when the time is over is taken.
    theirs.sendall(pack("in time"))
    time.sleep(0.05)
    assert unpack(*link.receive(after(-0.01), slowly())) == "in time"


def test_nothing_stays_open() -> None:
    ours, theirs = socket.socketpair()
    link = Link(ours)
    link.close()
    assert ours.fileno() == -1
    assert link._selector.get_map() is None
    theirs.close()
