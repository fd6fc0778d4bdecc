"""Reading a log of TensorBoard, record by record.

A log is a row of records: 8 bytes of length, their checksum, so many bytes of data, their checksum (4 bytes each); the
data are an event, as a protocol buffer. The checksums of the data are left alone, as they would take seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scratch.data import open_regular

LARGEST_RECORD = 1 << 28  # Bytes of the largest record that is read; pictures take some megabytes.


class DamagedLog(Exception):  # noqa: N818 - what was read before is still worth something
    """A log that cannot be read further; its only argument is the number of the damaged record, from 1."""


def read_events(path: Path) -> Iterator[Any]:
    """The events of a log. A last record that is cut off is still being written, and ends them.

    Raises:
        DamagedLog: at a length that does not fit its checksum, and at data that are no event, as TensorBoard does; and
            at a record that is larger than `LARGEST_RECORD`.
        OSError: if it is missing, may not be read, or is no regular file.
    """
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    number = 0
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        while len(header := file.read(12)) == 12:
            number += 1
            length, checksum = int.from_bytes(header[:8], "little"), int.from_bytes(header[8:], "little")
            if masked_crc32c(header[:8]) != checksum or length > LARGEST_RECORD:
                raise DamagedLog(number)
            if length + 4 > size - file.tell():
                return
            try:
                yield Event.FromString(file.read(length + 4)[:length])
            except DecodeError:
                raise DamagedLog(number) from None
