"""The lowest versions, as `make test-oldest` installs them, come from `pyproject.toml` alone."""

from __future__ import annotations

import pytest

from tests import oldest

TEXT = """
[project]
requires-python = ">=3.11"
dependencies = ["numpy>=2.0", "scikit-learn>=1.6"]
optional-dependencies.dev = ["pytest>=9"]
optional-dependencies.cuda = ["cupy-cuda13x>=14"]
"""


def test_every_lower_bound_becomes_the_version() -> None:
    assert oldest.oldest(TEXT) == ("3.11", ["numpy==2.0", "scikit-learn==1.6", "pytest==9"])


def test_our_own_has_nothing_but_lower_bounds(capsys: pytest.CaptureFixture[str]) -> None:
    python, pins = oldest.oldest(oldest.PYPROJECT.read_text())
    assert python == "3.11"
    assert {"numpy==2.0", "torch==2.11", "torchvision==0.26"} <= set(pins), "must keep working"
    assert oldest.main() in (0, 2)
    captured = capsys.readouterr()
    assert captured.out.splitlines() == pins or "the lowest Python is 3.11, this is " in captured.err


@pytest.mark.parametrize("line", ["numpy", "numpy>=2,<3", "numpy==2", "numpy>=2; python_version < '3.12'", "x[a]>=1"])
def test_anything_else_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="is not a lower bound alone"):
        oldest.pinned(line)
