"""Which devices a run is about: the user's manifest or the harbour district, at the wanted size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contracts.manifest import ManifestRow, RowError
from fake_devices.city import check_manifest, district, write_manifest
from harness.errors import ScenarioError

DEFAULT_MANIFEST = Path(__file__).parents[2] / "fixtures" / "cities" / "harbour_district.csv"
DEFAULT_DEVICES = 200
ERRORS_SHOWN = 5
REJECTIONS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Cohort:
    """The devices, and the manifest that is imported for them.

    A user's manifest that is used whole goes to the import byte for byte, faulty rows and all.
    `rejected` is what is wrong with those, also where a sample or an extension leaves them out.
    """

    rows: Sequence[ManifestRow]
    manifest: bytes
    content_type: str
    rejected: Sequence[RowError]


def choose(manifest: Path | None, devices: int | None, seed: int) -> Cohort:
    """The cohort of a run. Raises `ScenarioError` for a manifest without one usable row."""
    if devices is not None and devices < 1:
        raise ScenarioError(f"--devices {devices}: choose 1 or more")
    path = manifest or DEFAULT_MANIFEST
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ScenarioError(f"cannot read the manifest {path}: {error.strerror}") from error
    found = check_manifest(data)
    if not found.rows:
        raise ScenarioError(f"the manifest {path} has no usable row: {_told(found.errors)}")
    all_rows = len(found.rows) + len(found.errors)
    if manifest is not None and devices in (None, len(found.rows), all_rows):
        content_type = "text/csv" if _is_csv(data) else "application/json"
        return Cohort(found.rows, data, content_type, found.errors)
    rows = district(found.rows, DEFAULT_DEVICES if devices is None else devices, seed)
    return Cohort(rows, write_manifest(rows), "text/csv", found.errors)


def _is_csv(data: bytes) -> bool:
    return not data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"[", b"{"))


def _told(errors: Sequence[RowError]) -> str:
    if not errors:
        return "it is empty"
    shown = "; ".join(
        f"row {error.row} {error.field}: {error.reason}" if error.row else error.reason
        for error in errors[:ERRORS_SHOWN]
    )
    more = len(errors) - ERRORS_SHOWN
    return f"{shown}; and {more} more" if more > 0 else shown


def told_rejections(cohort: Cohort) -> list[str]:
    """A line per faulty row, the first twenty."""
    lines = [
        f"manifest row {error.row}, {error.field}: {error.reason}"
        for error in cohort.rejected[:REJECTIONS_SHOWN]
    ]
    more = len(cohort.rejected) - len(lines)
    return [*lines, f"... and {more} more faulty rows"] if more > 0 else lines
