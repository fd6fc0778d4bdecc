"""What gradtwin knows about itself: its version, and the packages that it needs.

An installation says so in its metadata; a source tree that is not installed, in its `pyproject.toml`.
"""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

NAME = "gradtwin"
PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def own_version() -> str:
    """The version of gradtwin; "unknown" where neither an installation nor a source tree says it."""
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return str(_project().get("version", "unknown"))


def requirements() -> list[str]:
    """The packages that gradtwin needs, as `pip install` takes them; those of an extra name it, as metadata do."""
    try:
        return metadata.requires(NAME) or []
    except metadata.PackageNotFoundError:
        return [str(line) for line in _project().get("dependencies", ())]


def _project() -> dict[str, Any]:
    """The table [project] of the source tree; empty where it is not there, or not gradtwin's."""
    try:
        found: dict[str, Any] = tomllib.loads(PYPROJECT.read_text()).get("project", {})
    except (OSError, tomllib.TOMLDecodeError):
        return {}
    return found if found.get("name") == NAME else {}
