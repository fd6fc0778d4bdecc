"""Bubblewrap: the candidate's process in namespaces of its own, with the least of the disk in sight.

Source: https://github.com/containers/bubblewrap; `bwrap` is a package of nearly every Linux distribution.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

CANDIDATE = "/candidate"  # the working directory inside, empty at first
SIZE = 256 * 2**20  # bytes that fit into the working directory, into /tmp, and into /dev/shm
# What programs and libraries of the system need.
SYSTEM = (
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/bin",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/localtime",
    "/nix/store",
)


def wrapped(command: Sequence[str], readable: Iterable[str], covered: Iterable[str]) -> list[str]:
    """The command line that runs `command` inside.

    Args:
        readable: files and folders that are in sight, where they are.
        covered: folders in these that are not.
    """
    arguments = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--die-with-parent", "--new-session"]
    for path in ("/tmp", CANDIDATE):  # first: what is in sight may lie below /tmp
        arguments += ["--size", str(SIZE), "--tmpfs", path]
    for path in SYSTEM:
        if Path(path).is_symlink():  # /lib is usr/lib, nearly everywhere
            arguments += ["--symlink", str(Path(path).readlink()), path]
        else:
            arguments += ["--ro-bind-try", path, path]
    in_sight, out_of_sight = sorted(readable), list(covered)  # folders before what lies in them
    for path in in_sight:
        arguments += ["--ro-bind-try", path, path]
    for path in out_of_sight:
        arguments += ["--tmpfs", path]
    for path in in_sight:
        if any(Path(path).is_relative_to(folder) for folder in out_of_sight):
            arguments += ["--ro-bind-try", path, path]
    arguments += ["--proc", "/proc", "--dev", "/dev", "--size", str(SIZE), "--tmpfs", "/dev/shm"]
    arguments += ["--remount-ro", "/dev", "--remount-ro", "/"]  # which lie in memory, as /tmp does, without a size
    return [*arguments, "--chdir", CANDIDATE, "--", *command]
