"""Manifests through the dashboard: dry run, list, and refused rows as a file."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from city_platform.dashboard.config import DashboardLimits
from city_platform.dashboard.manifest_check import ManifestCheck
from tests.city_platform.dashboard.installation import MANIFEST, Installation, installed

BROKEN = (
    MANIFEST
    + b"lamp-4,S4,street_lamp,harbour,pier,Quay,153.5,8.5,2022-05-05,S4,\n"
    + (b"=cmd|' /C calc'!A0,S5,street_lamp,harbour,pier,Quay,53.5,8.5,2022-05-05,S5,\n")
)


def story(folder: Path, tell: Callable[[Installation], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with installed(folder) as installation:
            await tell(installation)

    asyncio.run(whole())


def checked(*pieces: bytes, rows_max: int = 1_000) -> dict[str, object]:
    check = ManifestCheck(rows_max)
    for piece in pieces:
        check.feed(piece)
    check.finish()
    return check.report()


def test_a_dry_run_tells_what_the_import_would() -> None:
    found = checked(BROKEN[:200], BROKEN[200:])
    assert (found["rows"], found["good"], found["rejected"]) == (5, 3, 2)
    assert found["models"] == {"street_lamp": 2, "water_meter": 1}
    assert found["tenants"] == {"harbour": 2, "hills": 1}
    assert found["is_whole"] is True
    errors = found["errors"]
    assert isinstance(errors, list)
    assert [(one["row"], one["field"]) for one in errors] == [(4, "latitude"), (5, "endpoint")]


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfea\x00", b"[" * 10_000, b"PK\x03\x04" + b"\0" * 100_000]
)
def test_a_file_that_is_no_manifest_is_said_to_be_none(data: bytes) -> None:
    found = checked(data)
    assert found["is_whole"] is False or found["good"] == 0
    assert found["reason"] or found["errors"]


def test_a_dry_run_ends_where_the_import_would() -> None:
    rows = b"".join(MANIFEST.splitlines(keepends=True)[:1] + [MANIFEST.splitlines()[1] + b"\n"] * 9)
    found = checked(rows, rows_max=5)
    assert found["is_whole"] is False
    assert "split" in str(found["reason"])


@pytest.mark.slow
def test_refused_rows_are_downloaded_with_cells_that_are_no_formulas(tmp_path: Path) -> None:
    async def tell(installation: Installation) -> None:
        await installation.set_up(pat=[("*", "provisioner")])
        pat = await installation.signed_in("pat")
        dry = await pat.send("POST", "/api/imports/check", BROKEN)
        assert (dry.json()["good"], dry.json()["rejected"]) == (3, 2)
        assert (await pat.get("/api/map")).json()["count"] == 0
        job = await installation.bring(pat, BROKEN)
        assert (job["created"], job["rejected"]) == (3, 2)
        answer = await pat.get(f"/api/imports/{job['id']}/errors.csv")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert answer.headers["content-disposition"].startswith("attachment;")
        rows = list(csv.reader(io.StringIO(answer.text)))
        assert [row[:2] for row in rows] == [["row", "field"], ["4", "latitude"], ["5", "endpoint"]]
        assert rows[2][3].startswith("'=")
        assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "@"))]
        (kept,) = (await pat.get("/api/provisioning/v1/imports")).json()["imports"]
        assert (kept["name"], kept["started_by"], kept["rejected"]) == ("city one.csv", "pat", 2)
        for wrong in ("nothing", "..%2f..%2fv1%2fsettings", "%0d%0aX-Evil: 1"):
            assert (await pat.get(f"/api/imports/{wrong}/errors.csv")).status_code == 404

    story(tmp_path, tell)


@pytest.mark.slow
def test_a_map_asked_for_anew_has_what_was_just_imported(tmp_path: Path) -> None:
    async def tell(installation: Installation) -> None:
        await installation.restart_dashboard(limits=DashboardLimits(devices_cached_s=3_600.0))
        await installation.set_up(pat=[("*", "provisioner")])
        pat = await installation.signed_in("pat")
        fresh = {"Cache-Control": "no-cache"}
        assert (await pat.get("/api/map")).json()["count"] == 0
        await installation.bring(pat, MANIFEST)
        assert (await pat.get("/api/map")).json()["count"] == 0
        asked = [pat.get("/api/map", **fresh) for _ in range(4)]
        assert [one.json()["count"] for one in await asyncio.gather(*asked)] == [3] * 4
        # What one page asked anew is what all others get from then on.
        assert (await pat.get("/api/map")).json()["count"] == 3
        removed = await pat.send("DELETE", "/api/provisioning/v1/devices/lamp-2")
        assert removed.status_code in (200, 202, 204), removed.text
        assert (await pat.get("/api/map", **fresh)).json()["count"] == 2

    story(tmp_path, tell)
