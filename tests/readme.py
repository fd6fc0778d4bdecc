"""`python -m tests.readme`: write anew what the README says of the registry and the catalogue.

What is between `<!-- names -->` and `<!-- /names -->`, and the like, is generated; a test holds it against the code.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from compare.faults.catalogue import CATALOGUE, faults_of
from compare.pairs.registry import REGISTRY

README = Path(__file__).parent.parent / "README.md"
WIDTH = 120


def generated() -> dict[str, str]:
    """Each generated part by its name."""
    names = ", ".join(f"`{name}`" for name in REGISTRY)
    return {
        "names": f"\n{textwrap.fill(names, WIDTH)}\n",
        "mistakes": f"{len(CATALOGUE):,}",
        "in the verifier": str(len(faults_of("verifier"))),
    }


def written(text: str) -> str:
    """The text with its generated parts as they should be.

    Raises:
        ValueError: if a part is missing.
    """
    for name, part in generated().items():
        found = re.compile(f"(<!-- {name} -->).*?(<!-- /{name} -->)", re.DOTALL)
        if not found.search(text):
            raise ValueError(f"the README has no part <!-- {name} -->")
        text = found.sub(lambda match, part=part: f"{match[1]}{part}{match[2]}", text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
