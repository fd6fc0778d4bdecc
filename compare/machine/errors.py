"""The one error that is the user's to mend."""

from __future__ import annotations


class UserError(ValueError):
    """Something was asked for that cannot be done; the message is one line: what, where, what to do.

    The command line prints it and exits with status 2; everything else that is raised is a mistake of ours.
    """
