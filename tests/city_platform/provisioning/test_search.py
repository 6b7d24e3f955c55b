"""`GET /v1/devices` and what belongs to it: questions as a URL has them, pages, and refusals."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_platform.graph.queries import Circle, GraphQuery
from city_platform.provisioning.search import (
    KNOWN,
    InvalidSearch,
    make_cursor,
    read_cursor,
    read_page,
    read_search,
)
from city_platform.stores.device_directory import Box
from contracts.api import DevicePage, FirmwareReport, GraphNodes
from runtime.http_client import HttpError
from tests.city_platform.provisioning.installation import Installation, installed
from tests.city_platform.provisioning.rows import as_csv, row


def test_all_that_can_be_asked_is_read() -> None:
    assert read_search(
        [
            ("tenant", "harbour"),
            ("text", "Kade 7"),
            ("attribute", "pole=steel"),
            ("attribute", "note=a=b"),
            ("box", "52.0,4.0,53,-5.5"),
            ("near", "52.37, 4.89"),
            ("within_m", "250.5"),
            ("limit", "5"),
            ("cursor", make_cursor("lamp-1")),
        ]
    ) == GraphQuery(
        tenant="harbour",
        text="Kade 7",
        attributes={"pole": "steel", "note": "a=b"},
        box=Box(south=52.0, west=4.0, north=53.0, east=-5.5),
        circle=Circle(latitude=52.37, longitude=4.89, within_m=250.5),
        limit=5,
        after="lamp-1",
    )


WRONG = {
    "unknown": ([("tenants", "harbour")], "tenants: unknown"),
    "twice": ([("site", "a"), ("site", "b")], "site: is there twice"),
    "empty": ([("tenant", "")], "tenant: must be"),
    "control": ([("text", "a\nb")], "text: must be"),
    "long": ([("text", "a" * 257)], "text: must be"),
    "attribute": ([("attribute", "pole")], "attribute: must be name=value"),
    "attribute_twice": ([("attribute", "a=1"), ("attribute", "a=2")], "is there twice"),
    "attributes": ([("attribute", f"a{n}=1") for n in range(9)], "at most 8"),
    "box": ([("box", "1,2,3")], "box: must be south,west,north,east"),
    "box_number": ([("box", "1,2,3,nan")], "box: must be"),
    "box_range": ([("box", "1,2,91,4")], "box: must be"),
    "box_upside_down": ([("box", "2,1,1,2")], "south is north"),
    "near_alone": ([("near", "1,2")], "within_m: is missing"),
    "within_alone": ([("within_m", "1")], "near: is missing"),
    "near": ([("near", "1"), ("within_m", "1")], "near: must be latitude,longitude"),
    "within": ([("near", "1,2"), ("within_m", "0")], "within_m: must be metres"),
    "far": ([("near", "1,2"), ("within_m", "30000000")], "within_m: must be metres"),
    "limit": ([("limit", "0")], "limit: must be"),
    "limit_large": ([("limit", "1000")], "limit: must be"),
    "limit_text": ([("limit", "١")], "limit: must be"),
    "cursor": ([("cursor", "!")], "cursor: is none of ours"),
    "cursor_of_nobody": ([("cursor", make_cursor("a b"))], "cursor: is none of ours"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_question_says_where(name: str) -> None:
    items, expected = WRONG[name]
    with pytest.raises(InvalidSearch, match=expected):
        read_search(items)


@given(st.lists(st.tuples(st.sampled_from(sorted(KNOWN)) | st.text(), st.text())))
def test_whatever_is_asked_is_read_or_refused(items: list[tuple[str, str]]) -> None:
    for read in (read_search, lambda given: read_page(given, ("by",))):
        with contextlib.suppress(InvalidSearch):
            read(items)


@given(st.text())
def test_a_cursor_is_one_of_ours_or_refused(text: str) -> None:
    try:
        endpoint = read_cursor(text)
    except InvalidSearch:
        return
    assert make_cursor(endpoint) == text


async def _refused(installation: Installation, path: str) -> tuple[int, str]:
    try:
        await installation.client.get(path, DevicePage)
    except HttpError as error:
        return error.status or 0, str(error)
    raise AssertionError(f"{path} was not refused")


@pytest.mark.slow
def test_what_an_import_brought_is_found_at_once_and_page_by_page(tmp_path: Path) -> None:
    pytest.importorskip("kglite", reason="the embedded device graph is not installed")

    async def story() -> None:
        async with installed(tmp_path) as installation:
            client = installation.client
            rows = [row(n, attributes=f"feeder=F{n % 2}", street=f"Kade {n}") for n in range(1, 8)]
            rows[6]["tenant"], rows[6]["latitude"] = "airport", "52.38"
            await installation.bring(as_csv(rows))
            names = []
            path = "/v1/devices?tenant=harbour&limit=4"
            page = await client.get(path, DevicePage)
            while True:
                names += [one.endpoint for one in page.devices]
                if page.next_cursor is None:
                    break
                page = await client.get(f"{path}&cursor={page.next_cursor}", DevicePage)
            assert names == [f"lamp-{n}" for n in range(1, 7)]
            asked = {
                "text=" + quote("kade 3"): ["lamp-3"],
                "attribute=" + quote("feeder=F0"): ["lamp-2", "lamp-4", "lamp-6"],
                "near=52.38,4.89&within_m=20": ["lamp-7"],
                "box=52.375,4,53,5": ["lamp-7"],
                "feeder=F1&tenant=airport": ["lamp-7"],
            }
            for query, expected in asked.items():
                page = await client.get(f"/v1/devices?{query}", DevicePage)
                assert [one.endpoint for one in page.devices] == expected
            found = await client.get("/v1/devices?near=52.38,4.89&within_m=20", DevicePage)
            assert found.devices[0].distance_m == 0.0
            same = await client.get("/v1/devices/lamp-1/related?by=feeder", DevicePage)
            assert [one.endpoint for one in same.devices] == ["lamp-3", "lamp-5"]
            nodes = await client.get("/v1/graph/feeder?of=harbour", GraphNodes)
            assert [(node.name, node.devices) for node in nodes.nodes] == [("F0", 3), ("F1", 3)]
            body = b'{"version":"7.1"}'
            await client.send("PUT", "/v1/devices/lamp-2/firmware", body, type(None))
            page = await client.get("/v1/devices?firmware=7.1", DevicePage)
            assert [one.endpoint for one in page.devices] == ["lamp-2"]
            assert (await _refused(installation, "/v1/devices?colour=red"))[0] == 400
            assert (await _refused(installation, "/v1/devices/x/related?by=feeder"))[0] == 404
            assert (await _refused(installation, "/v1/devices/lamp-1/related?by=mood"))[0] == 400
            assert (await _refused(installation, "/v1/graph/moods"))[0] == 404
            for endpoint, wrong in (("lamp-1", b"{}"), ("lamp-1", b"[" * 5_000), ("x", body)):
                with pytest.raises(HttpError):
                    await client.send(
                        "PUT", f"/v1/devices/{endpoint}/firmware", wrong, FirmwareReport
                    )

    asyncio.run(story())


@pytest.mark.slow
def test_a_graph_database_that_is_gone_is_told_and_nothing_else_suffers(tmp_path: Path) -> None:
    pytest.importorskip("neo4j", reason="the driver is not installed")

    async def story() -> None:
        async with installed(tmp_path, graph_uri="bolt://127.0.0.1:1") as installation:
            job, _ = await installation.bring(as_csv([row(1)]))
            assert job.created == 1
            status, text = await _refused(installation, "/v1/devices")
            assert status == 503
            assert "bolt://127.0.0.1:1" in text

    asyncio.run(story())
