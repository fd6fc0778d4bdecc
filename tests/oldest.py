"""What `make test-oldest` installs: every package in the lowest version that `pyproject.toml` admits, one a line."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


def oldest(pyproject: str) -> tuple[str, list[str]]:
    """The lowest Python, "3.11", and the pins of what the tests need: numpy>=2.0 becomes numpy==2.0."""
    project = tomllib.loads(pyproject)["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["dev"]
    return lowest(project["requires-python"]), [pinned(line) for line in lines]


def pinned(line: str) -> str:
    """The requirement with its lower bound as its only version."""
    name = re.match(r"[\w.-]+", line)
    assert name, f"{line!r} has no name"
    return f"{name[0]}=={lowest(line[name.end() :])}"


def lowest(specifier: str) -> str:
    """The version of a lower bound, which must be all there is: one that excludes others would need more than this."""
    bound = re.fullmatch(r">=([\d.]+)", specifier)
    if not bound:
        raise ValueError(f"{specifier!r} is not a lower bound alone")
    return bound[1]


def main() -> int:
    """Print the pins; refuse another Python than the lowest, as the packages' wheels are for one."""
    python, pins = oldest(PYPROJECT.read_text())
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if own != python:
        print(
            f"oldest: the lowest Python is {python}, this is {own}: make test-oldest OLDEST=python{python}",
            file=sys.stderr,
        )
        return 2
    print("\n".join(pins))
    return 0


if __name__ == "__main__":
    sys.exit(main())
