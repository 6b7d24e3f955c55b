"""Makes up a district with its devices, and picks or extends one to the size that a run wants."""

from __future__ import annotations

from fake_devices.city.district import EmptyDistrict, district
from fake_devices.city.generator import DEVICES_PER_BLOCK, HARBOUR, Place, generate
from fake_devices.city.manifest_file import (
    ManifestFile,
    UnusableManifest,
    check_manifest,
    read_manifest,
    write_manifest,
)

__all__ = [
    "DEVICES_PER_BLOCK",
    "HARBOUR",
    "EmptyDistrict",
    "ManifestFile",
    "Place",
    "UnusableManifest",
    "check_manifest",
    "district",
    "generate",
    "read_manifest",
    "write_manifest",
]
