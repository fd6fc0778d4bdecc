"""A process that is started before it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from compare.contained import spares
from compare.diagnosis.diagnose import diagnose
from scratch import Array


class ReLU:
    def forward(self, x: Array) -> Array:
        self.x = x
        return np.maximum(x, 0)

    def backward(self, g: Array) -> Array:
        return g * (self.x > 0)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder of its own, with spares and as if nothing had been asked yet."""
    spares.end()
    monkeypatch.setattr(spares, "enabled", True)
    monkeypatch.setattr(spares, "_sessions", 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield tmp_path
    spares.end()


def test_from_the_second_verdict_on_the_next_process_is_there_already(temporary: Path) -> None:
    assert diagnose(ReLU, like="relu").ok
    assert spares._spare is None
    assert diagnose(ReLU, like="relu").ok
    assert spares._spare is not None
    process = spares._spare[1]
    assert diagnose(ReLU, like="relu").ok  # in that one
    assert process.popen.returncode is not None
    spares.end()
    assert spares._spare is None
    assert list(temporary.iterdir()) == []


def test_a_file_is_seen_by_a_process_that_was_started_before_it_was_named(tmp_path: Path) -> None:
    source = tmp_path / "mine" / "layer.py"
    source.parent.mkdir()
    source.write_text("import numpy as np\nfrom helper import mask\n\nclass ReLU:\n    def forward(self, x):\n"
                      "        self.x = x\n        return np.maximum(x, 0)\n    def backward(self, g):\n"
                      "        return g * mask(self.x)\n")  # fmt: skip
    (source.parent / "helper.py").write_text("def mask(x):\n    return x > 0\n")
    for _ in range(3):
        assert diagnose(f"{source}:ReLU", like="relu").ok
    large = source.parent / "weights.bin"
    large.write_bytes(bytes(2**20 + 1))
    source.write_text(f"{source.read_text()}\nassert len(open('weights.bin', 'rb').read()) == {2**20 + 1}\n")
    assert diagnose(f"{source}:ReLU", like="relu").ok  # it cannot see this file, and another one is started


def test_a_spare_that_has_ended_is_not_used() -> None:
    for _ in range(2):
        diagnose(ReLU, like="relu")
    assert spares._spare is not None
    spares._spare[1].popen.kill()
    result = diagnose(ReLU, like="relu")
    assert result.ok
    assert result.containment == diagnose(ReLU, like="relu").containment
