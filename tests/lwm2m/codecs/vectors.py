"""Reads the vector files: values that JSON cannot say have a form of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lwm2m.codecs import Node
from lwm2m.objects import ObjectLink, ObjectPath, Value

VECTORS = Path(__file__).parents[3] / "fixtures/vectors"


def read_vectors(name: str) -> list[dict[str, Any]]:
    """The vectors of `folder/file.json`."""
    found: list[dict[str, Any]] = json.loads((VECTORS / name).read_text())
    return found


def value_of(item: Any) -> Value:
    """`{"hex": …}` is opaque, `{"link": [3, 0]}` an object link; all else is what it is."""
    if isinstance(item, dict):
        return bytes.fromhex(item["hex"]) if "hex" in item else ObjectLink(*item["link"])
    found: Value = item
    return found


def nodes_of(rows: list[list[Any]]) -> list[Node]:
    """The values of a vector; a third column, the time, is left out."""
    return [Node(ObjectPath.parse(row[0]), value_of(row[1])) for row in rows]


def base_of(text: str | None) -> ObjectPath | None:
    """The base path of a vector; None is a composite's."""
    return None if text is None else ObjectPath.parse(text)
