"""A manifest is a file that ends: what is too large is refused before it is read whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ScenarioError
from harness.runner.cohort import MANIFEST_BYTES_MAX, choose


def test_a_manifest_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.runner.cohort.MANIFEST_BYTES_MAX", 10)
    file = tmp_path / "rows.csv"
    file.write_bytes(b"endpoint,model\n")
    with pytest.raises(ScenarioError, match="it has more than the 10 bytes that are read"):
        choose(file, None, 1)
    assert MANIFEST_BYTES_MAX >= 64 * 1024 * 1024
