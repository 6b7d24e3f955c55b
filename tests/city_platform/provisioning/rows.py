"""Manifests for tests: rows that are right, and ways to make them wrong."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

COLUMNS = (
    "endpoint",
    "serial",
    "model",
    "tenant",
    "site",
    "street",
    "latitude",
    "longitude",
    "installed_on",
    "psk_identity",
    "psk",
    "attributes",
)


def row(number: int, **changes: str) -> dict[str, str]:
    """A row as texts, with some fields changed."""
    return {
        "endpoint": f"lamp-{number}",
        "serial": f"SN{number:06d}",
        "model": "street_lamp",
        "tenant": "harbour",
        "site": "quay",
        "street": "Kade",
        "latitude": "52.37",
        "longitude": "4.89",
        "installed_on": "2026-05-31",
        "psk_identity": f"identity-{number}",
        "psk": "",
        "attributes": "pole=steel;height=8",
        **changes,
    }


def as_csv(
    rows: Iterable[dict[str, str]],
    *,
    columns: Sequence[str] = COLUMNS,
    line_end: str = "\n",
    mark: bool = False,
) -> bytes:
    """The rows as a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator=line_end, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return ("\ufeff" if mark else "").encode() + text.getvalue().encode()
