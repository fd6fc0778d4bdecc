"""Landlock: a Linux process gives up its rights to files, connections and signals, without being root.

Source: Linux, Documentation/userspace-api/landlock.rst, and include/uapi/linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on every processor
CREATE_RULESET_VERSION = 1
RULE_PATH_BENEATH = 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
READ = EXECUTE | READ_FILE | READ_DIR
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | 1 << 14 | 1 << 15  # what a rule for a single file may have
# By version: how many kinds of access to files there are.
FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
NETWORK = 3  # from version 4: to bind and to connect TCP
SCOPED = 3  # from version 6: abstract sockets, and signals to processes outside


class _Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def restrict(readable: Sequence[str], writable: Sequence[str]) -> str:
    """Give up all access to files but to these folders and files. Returns why that is not possible; empty if it is.

    `PR_SET_NO_NEW_PRIVS` must have been set. It holds for this process and all that it starts.
    """
    if sys.platform != "linux":
        return "Landlock is of Linux"
    call = ctypes.CDLL(None, use_errno=True).syscall
    version = call(CREATE_RULESET, None, 0, CREATE_RULESET_VERSION)
    if version < 1:
        return f"Landlock: {os.strerror(ctypes.get_errno())}"
    files = (1 << FILE_RIGHTS[min(version, max(FILE_RIGHTS))]) - 1
    ruleset = _Ruleset(files, NETWORK if version >= 4 else 0, SCOPED if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    descriptor = call(CREATE_RULESET, ctypes.byref(ruleset), size, 0)
    if descriptor < 0:
        return f"Landlock: {os.strerror(ctypes.get_errno())}"
    for allowed, paths in ((READ, readable), (files, writable)):
        for path in paths:
            _allow(call, descriptor, path, allowed)
    failed = call(RESTRICT_SELF, descriptor, 0)
    os.close(descriptor)
    return f"Landlock: {os.strerror(ctypes.get_errno())}" if failed else ""


def _allow(call: ctypes._CFuncPtr, ruleset: int, path: str, allowed: int) -> None:  # type: ignore[name-defined]
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # what is not there need not be in sight
        return
    mask = allowed if os.path.isdir(path) else allowed & OF_FILES
    call(ADD_RULE, ruleset, RULE_PATH_BENEATH, ctypes.byref(_PathBeneath(mask, opened)), 0)
    os.close(opened)
