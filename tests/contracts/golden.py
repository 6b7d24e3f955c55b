"""Reads the golden examples: what each contract looks like on the wire, per version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "contracts" / "golden"


def golden(name: str) -> Any:
    """The content of `contracts/golden/<name>.json`."""
    return json.loads((FOLDER / f"{name}.json").read_text())
