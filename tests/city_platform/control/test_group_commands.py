"""Group commands over the real component, a real broker and a bridge."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.city_platform.control.installed import Control, Story, told
from tests.city_platform.together.installation import until

pytestmark = pytest.mark.slow

DIM = {"operation": "write", "path": "Outdoor lamp controller/0/Command", "value": 35}
RESET = {"operation": "execute", "path": "Reset Error Code"}
LAMPS = [f"lamp-{number:03d}" for number in range(60)]

Tell = Callable[[Story], None]


@pytest.fixture
def tell(tmp_path: Path) -> Tell:
    return lambda story: uvloop.run(told(tmp_path, story))


async def members(control: Control, group: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    """All commands of a group, by pages."""
    found: list[dict[str, Any]] = []
    query = "".join(f"&{name}={value}" for name, value in more.items())
    cursor = ""
    while True:
        path = f"/v1/group-commands/{group['id']}/commands?limit=25{query}{cursor}"
        page = await control.get(path)
        found += page["commands"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def city(control: Control) -> None:
    """Sixty lamps in the harbour, all registered, and one in the hills."""
    await control.provision(
        *(
            (lamp, "harbour", "north" if number < 40 else "south")
            for number, lamp in enumerate(LAMPS)
        ),
        ("lamp-hills", "hills", "north"),
    )
    await control.start()
    for lamp in [*LAMPS, "lamp-hills"]:
        control.server.register(lamp)


def test_a_tenants_devices_all_get_their_outcome(tell: Tell) -> None:
    async def story(control: Control) -> None:
        await city(control)
        group = await control.post(
            "/v1/commands", {"target": {"tenant": "harbour"}, "command": DIM}
        )
        assert (group["devices"], group["state"], group["path"]) == (60, "running", "/3416/0/1")
        ended = await control.until_ended(group)
        assert ended["states"] == {"succeeded": 60}
        assert ended["waiting"] == 0
        found = await members(control, group)
        assert [one["endpoint"] for one in found] == LAMPS
        assert {one["outcome"]["code"] for one in found} == {"2.04"}
        assert {one["group"] for one in found} == {group["id"]}
        assert await members(control, group, state="refused") == []
        assert control.server.devices["lamp-hills"].done == []
        assert all(len(control.server.devices[lamp].done) == 1 for lamp in LAMPS)

    tell(story)


def test_a_target_is_a_list_a_group_or_a_search(tell: Tell) -> None:
    targets: list[tuple[dict[str, Any], int]] = [
        ({"group": "harbour/north"}, 40),
        ({"devices": ["lamp-001", "lamp-002", "lamp-001"]}, 2),
        ({"search": {"tenant": "harbour", "group": "south"}}, 20),
        ({"search": {"box": "53,9,54,10", "attribute": ["feeder=F1"]}}, 61),
    ]

    async def story(control: Control) -> None:
        await city(control)
        for target, count in targets:
            group = await control.post("/v1/commands", {"target": target, "command": RESET})
            assert group["devices"] == count
            ended = await control.until_ended(group)
            assert ended["states"] == {"succeeded": count}
        assert set(control.server.sent.values()) == {1}

    tell(story)


def test_turns_are_paced_and_a_killed_control_goes_on_where_it_was(tell: Tell) -> None:
    async def story(control: Control) -> None:
        await city(control)
        body = {"target": {"tenant": "harbour"}, "command": RESET, "rate_per_s": 50}
        group = await control.post("/v1/commands", body)
        path = f"/v1/group-commands/{group['id']}"
        half = await control.until(path, lambda found: found["states"].get("succeeded", 0) >= 10)
        assert half["waiting"] > 0
        await control.restart()
        ended = await control.until_ended(group)
        assert ended["states"] == {"succeeded": 60}
        # 60 turns at 50 a second.
        assert ended["ended_at_us"] - ended["issued_at_us"] >= 1_000_000
        assert set(control.server.sent.values()) == {1}

    tell(story)


def test_a_group_that_is_taken_back_ends_with_every_device_accounted_for(tell: Tell) -> None:
    async def story(control: Control) -> None:
        await city(control)
        control.server.is_waiting = True
        body = {"target": {"tenant": "harbour"}, "command": RESET, "rate_per_s": 20}
        group = await control.post("/v1/commands", body)
        await until(lambda: len(control.server.waiting) >= 5)
        cancelled = await control.post(f"/v1/group-commands/{group['id']}/cancel")
        assert cancelled["cancel_asked_at_us"] > 0
        ended = await control.until_ended(group)
        assert ended["states"] == {"cancelled": 60}
        assert control.server.sent == Counter()
        assert control.server.cancels
        again = await control.post(f"/v1/group-commands/{group['id']}/cancel")
        assert again["states"] == {"cancelled": 60}

    tell(story)


def test_a_single_command_is_taken_back_before_and_not_after(tell: Tell) -> None:
    async def story(control: Control) -> None:
        await city(control)
        await control.provision(("nobody", "hills", "lamps"))
        never = await control.post("/v1/devices/nobody/commands", RESET)
        assert never["state"] == "queued"
        taken = await control.post(f"/v1/commands/{never['id']}/cancel")
        assert taken["state"] == "cancelled"
        control.server.register("nobody")
        control.server.is_waiting = True
        waiting = await control.post("/v1/devices/lamp-001/commands", RESET)
        await until(lambda: waiting["id"] in control.server.waiting)
        await control.post(f"/v1/commands/{waiting['id']}/cancel")
        assert (await control.until_ended(waiting))["state"] == "cancelled"
        control.server.is_waiting = False
        done = await control.until_ended(await control.post("/v1/devices/lamp-001/commands", RESET))
        late = await control.post(f"/v1/commands/{done['id']}/cancel")
        assert late["state"] == "succeeded"
        assert list(control.server.sent) == [done["id"]]
        assert control.server.devices["nobody"].done == []

    tell(story)


def test_what_a_request_may_not_be_is_said(tell: Tell) -> None:
    async def story(control: Control) -> None:
        await city(control)
        for body, field in (
            ({"target": {"tenant": "nowhere"}, "command": DIM}, "finds no device"),
            ({"target": {}, "command": DIM}, "exactly one"),
            ({"target": {"devices": ["lamp-000", "ghost"]}, "command": DIM}, "ghost"),
            ({"target": {"group": "harbour"}, "command": DIM}, "tenant/group"),
            ({"target": {"search": {"text": "quay"}}, "command": DIM}, "configure `search`"),
            ({"target": {"search": {"colour": "red"}}, "command": DIM}, "known are"),
            ({"target": {"tenant": "harbour"}, "command": {**DIM, "path": "Dimmer"}}, "/3311/0/"),
            ({"target": {"tenant": "harbour"}, "command": DIM, "rate_per_s": 1e9}, "rate_per_s"),
            ({"target": {"tenant": "harbour"}, "command": DIM, "ends_in_s": 0}, "ends_in_s"),
        ):
            answer = await control.ask("POST", "/v1/commands", body)
            assert answer.status_code == 422
            assert field in answer.json()["detail"]
        for path in ("commands/none", "group-commands/none", "group-commands/none/commands"):
            assert (await control.ask("GET", f"/v1/{path}")).status_code == 404
        for query in ("limit=0", "cursor=x", "state=lost", "from_us=now", "colour=red"):
            assert (await control.ask("GET", f"/v1/commands?{query}")).status_code == 400
        assert (await control.get("/v1/group-commands"))["group_commands"] == []
        assert (await control.get("/v1/commands"))["commands"] == []

    tell(story)


def test_a_key_that_is_used_again_gets_the_group_command_of_then(tell: Tell) -> None:
    async def story(control: Control) -> None:
        await city(control)
        body = {"target": {"devices": LAMPS[:3]}, "command": RESET}
        first = await control.post("/v1/commands", body, **{"Idempotency-Key": "dusk"})
        again = await control.post("/v1/commands", body, **{"Idempotency-Key": "dusk"})
        assert again["id"] == first["id"]
        other = {"target": {"devices": LAMPS[:2]}, "command": RESET}
        refused = await control.ask("POST", "/v1/commands", other, **{"Idempotency-Key": "dusk"})
        assert refused.status_code == 409
        await control.until_ended(first)
        assert sum(control.server.sent.values()) == 3

    tell(story)


def test_commands_are_listed_by_device_state_and_time(tell: Tell) -> None:
    async def story(control: Control) -> None:
        await city(control)
        issued = [await control.post("/v1/devices/lamp-001/commands", DIM) for _ in range(5)]
        await control.post("/v1/devices/lamp-002/commands", DIM)
        for one in issued:
            await control.until_ended(one)
        page = await control.get("/v1/devices/lamp-001/commands?limit=3&state=succeeded")
        rest = await control.get(
            f"/v1/devices/lamp-001/commands?limit=3&state=succeeded&cursor={page['next_cursor']}"
        )
        found = [one["id"] for one in page["commands"] + rest["commands"]]
        assert found == [one["id"] for one in reversed(issued)]
        assert rest["next_cursor"] is None
        since = issued[3]["issued_at_us"]
        later = await control.get(f"/v1/commands?device=lamp-001&from_us={since}")
        assert len(later["commands"]) == 2
        before = await control.get(f"/v1/commands?to_us={since}")
        assert len(before["commands"]) == 3
        assert {one["issued_by"] for one in before["commands"]} == {"control"}

    tell(story)


def test_a_group_waits_while_the_broker_is_away_and_nothing_expires_meanwhile(tell: Tell) -> None:
    async def story(control: Control) -> None:
        await city(control)
        await control.parts.kill("bridge:north")
        body = {
            "target": {"devices": LAMPS[:5]},
            "command": {**RESET, "expires_in_s": 30},
            "rate_per_s": 100,
        }
        group = await control.post("/v1/commands", body)
        path = f"/v1/group-commands/{group['id']}"
        await control.until(path, lambda found: found["waiting"] == 0)
        await control.parts.start("bridge:north", data_interface=control.server.address)
        assert (await control.until_ended(group))["states"] == {"succeeded": 5}
        assert set(control.server.sent.values()) == {1}
        await asyncio.sleep(0)

    tell(story)
