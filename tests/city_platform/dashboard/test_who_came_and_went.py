"""Open maps are told which devices came and went, and nobody of another tenant's."""

from __future__ import annotations

from pathlib import Path

import pytest

from city_platform.dashboard.live_state import Change, LiveState, Sight
from city_platform.dashboard.membership import told_changes
from city_platform.stores.device_directory import DirectoryChange, DirectoryEntry
from tests.city_platform.dashboard.installation import MANIFEST, Installation
from tests.city_platform.dashboard.scripted_ingestion import ScriptedIngestion
from tests.city_platform.dashboard.test_live_feed import feed, story

EVERYTHING = Sight(None, None)
HARBOUR = Sight(frozenset({"harbour"}), frozenset())


def entry(endpoint: str, tenant: str = "harbour") -> DirectoryEntry:
    return DirectoryEntry(
        endpoint=endpoint, tenant=tenant, site="pier", group="", model="street_lamp", serial="S1",
        street="Quay", latitude=53.5446884, longitude=8.5706601, installed_on="2022-05-05",
        attributes={},
    )  # fmt: skip


def came(endpoint: str, tenant: str = "harbour") -> DirectoryChange:
    return DirectoryChange(
        revision=1, endpoint=endpoint, entry=entry(endpoint, tenant), firmware=None
    )


def went(endpoint: str) -> DirectoryChange:
    return DirectoryChange(revision=2, endpoint=endpoint, entry=None, firmware=None)


def test_a_new_device_is_told_with_its_place_and_what_was_heard_of_it() -> None:
    state = LiveState("e", 10, 10)
    state.apply(Change(endpoint="lamp-1", tenant="harbour", at=7, presence="online"))
    told = told_changes([came("lamp-1"), came("lamp-2", "hills")], state, HARBOUR)
    assert told == {
        "added": [
            {
                "endpoint": "lamp-1", "longitude": 8.5706601, "latitude": 53.5446884,
                "model": "street_lamp", "tenant": "harbour", "site": "pier", "street": "Quay",
                "presence": "online", "alarm": None, "at_us": 7,
            }
        ],
        "removed": [],
    }  # fmt: skip


def test_the_name_of_a_device_that_went_is_told_to_its_tenant_alone() -> None:
    state = LiveState("e", 10, 10)
    state.apply(Change(endpoint="lamp-1", tenant="harbour", presence="online"))
    state.apply(Change(endpoint="meter-1", tenant="hills", presence="online"))
    gone = [went("lamp-1"), went("meter-1")]
    assert told_changes(gone, state, HARBOUR) == {"added": [], "removed": ["lamp-1"]}
    assert told_changes(gone, state, EVERYTHING) == {"added": [], "removed": ["lamp-1", "meter-1"]}


def test_when_nobody_knows_whose_a_device_was_a_page_loads_anew() -> None:
    state = LiveState("e", 10, 10)
    assert told_changes([went("never-heard")], state, HARBOUR) is None
    assert told_changes([went("never-heard")], state, EVERYTHING) is not None


def test_a_device_that_became_another_tenants_goes_from_the_maps_of_the_first() -> None:
    state = LiveState("e", 10, 10)
    state.apply(Change(endpoint="lamp-1", tenant="harbour", presence="online"))
    told = told_changes([came("lamp-1", "hills")], state, HARBOUR)
    assert told == {"added": [], "removed": ["lamp-1"]}


@pytest.mark.slow
def test_open_maps_get_what_is_imported_and_lose_what_is_removed(tmp_path: Path) -> None:
    async def tell(installation: Installation, source: ScriptedIngestion) -> None:
        await installation.set_up(
            pat=[("*", "provisioner"), ("*", "analyst")], ann=[("hills", "analyst")]
        )
        pat, ann = await installation.signed_in("pat"), await installation.signed_in("ann")
        empty = (await pat.get("/api/map")).json()
        assert (empty["count"], empty["fleet"]) == (0, 0)
        async with feed(pat) as of_pat, feed(ann) as of_ann:
            await of_pat.next("hello")
            await of_ann.next("hello")
            await installation.bring(pat, MANIFEST)
            _, data, _ = await of_pat.next("fleet")
            names = {one["endpoint"] for one in data["added"]}
            while len(names) < 3:
                _, data, _ = await of_pat.next("fleet")
                names |= {one["endpoint"] for one in data["added"]}
            assert names == {"lamp-1", "lamp-2", "meter-1"}
            _, data, _ = await of_ann.next("fleet")
            assert [one["endpoint"] for one in data["added"]] == ["meter-1"]
            answer = await pat.send("DELETE", "/api/provisioning/v1/devices/lamp-1")
            assert answer.status_code in (200, 202, 204), answer.text
            _, data, _ = await of_pat.next("fleet")
            while data["removed"] != ["lamp-1"]:
                _, data, _ = await of_pat.next("fleet")
        # Who was away is told from where its map was.
        query = f"?epoch={empty['epoch']}&revision={empty['revision']}&fleet=0"
        async with feed(pat, query) as events:
            _, data, _ = await events.next("fleet")
            assert {one["endpoint"] for one in data["added"]} == {"lamp-2", "meter-1"}
            assert data["removed"] == ["lamp-1"]

    story(tmp_path, tell)


@pytest.mark.slow
def test_a_map_says_the_streets_and_sites_of_its_devices(tmp_path: Path) -> None:
    async def tell(installation: Installation, source: ScriptedIngestion) -> None:
        await installation.set_up(pat=[("*", "provisioner")])
        pat = await installation.signed_in("pat")
        await installation.bring(pat, MANIFEST)
        loaded = (await pat.get("/api/map")).json()
        streets = [loaded["streets"][number] for number in loaded["street"]]
        assert streets == ["Quay", "Quay", "Hill Road"]
        sites = [loaded["sites"][number] for number in loaded["site"]]
        assert sites == ["pier", "pier", "top"]

    story(tmp_path, tell)


@pytest.mark.slow
def test_a_page_of_another_directory_loads_anew(tmp_path: Path) -> None:
    async def tell(installation: Installation, source: ScriptedIngestion) -> None:
        await installation.set_up(pat=[("*", "provisioner")])
        pat = await installation.signed_in("pat")
        async with feed(pat, "?fleet=4711") as events:
            assert (await events.next("resync"))[1]["reason"]

    story(tmp_path, tell)
