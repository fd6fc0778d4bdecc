"""The one error that is the user's to mend."""

from __future__ import annotations


class UserError(ValueError):
    """Something was asked for that cannot be done; the message is one line: what, where, what to do.

    The command line prints it and exits with status 2; everything else that is raised is a mistake of ours.
    """


def brief(text: object, most: int = 200) -> str:
    """What somebody else wrote, as part of a message: on one line, without control characters, at most `most` long."""
    line = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(text)[: most + 1])
    return line if len(line) <= most else f"{line[:most]}..."
