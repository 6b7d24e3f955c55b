"""What readers of the live state are told, however fast or slow they are."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_platform.dashboard.columns import ALARM_HIDDEN, device_columns, map_body, state_columns
from city_platform.dashboard.following import Bell, CommandWatch
from city_platform.dashboard.live_state import Change, LiveState, Sight
from contracts.api import FoundDevice

EVERYTHING = Sight(None, None)


def state(*changes: Change, devices_max: int = 100, paths_max: int = 10) -> LiveState:
    found = LiveState("e1", devices_max, paths_max)
    for change in changes:
        found.apply(change)
    return found


def lamp(number: int = 1, **fields: object) -> Change:
    given = {"endpoint": f"lamp-{number}", "tenant": "harbour", "at": 100 + number, **fields}
    return msgspec.convert(given, Change)


def told(found: LiveState, after: int, sight: Sight = EVERYTHING) -> list[object]:
    changed = found.changed_since(after, 100)
    assert changed is not None
    return [found.told(endpoint, after, sight) for endpoint in changed]


def test_a_slow_reader_gets_the_latest_state_and_not_every_step() -> None:
    found = state(*(lamp(values={"3416/0/3": level}, at=level) for level in range(50)))
    assert told(found, 0) == [{"endpoint": "lamp-1", "at_us": 49, "values": {"3416/0/3": 49}}]


def test_a_reader_is_told_what_changed_since_it_looked_and_no_more() -> None:
    found = state(lamp(values={"3416/0/3": 1, "3416/0/7": 230}), lamp(2, presence="online"))
    seen = found.revision
    assert told(found, seen) == []
    found.apply(lamp(values={"3416/0/3": 2}, at=200, alarm="critical"))
    assert told(found, seen) == [
        {"endpoint": "lamp-1", "at_us": 200, "alarm": "critical", "values": {"3416/0/3": 2}}
    ]


def test_devices_come_in_the_order_of_their_last_change() -> None:
    found = state(lamp(1), lamp(2), lamp(3), lamp(1))
    assert found.changed_since(0, 100) == ["lamp-2", "lamp-3", "lamp-1"]
    assert found.changed_since(2, 100) == ["lamp-3", "lamp-1"]


def test_who_is_too_far_behind_is_told_so() -> None:
    found = state(*(lamp(number) for number in range(5)))
    assert found.changed_since(0, 4) is None
    assert found.changed_since(0, 5) is not None


def test_a_reading_that_comes_late_does_not_replace_a_newer_one() -> None:
    found = state(lamp(values={"3416/0/3": 5}, at=200), lamp(values={"3416/0/3": 1}, at=100))
    device = found.get("lamp-1")
    assert device is not None
    assert device.values["3416/0/3"].value == 5
    assert device.at_us == 200


def test_the_same_presence_again_is_no_change() -> None:
    found = state(lamp(presence="online"))
    seen = found.revision
    found.apply(lamp(presence="online", at=500))
    assert told(found, seen) == [{"endpoint": "lamp-1", "at_us": 500}]


def test_devices_and_paths_are_bounded() -> None:
    found = state(*(lamp(number) for number in range(200)), devices_max=100)
    assert len(found) == 100
    assert found.get("lamp-99") is None
    many = state(lamp(values={f"1/0/{number}": number for number in range(50)}), paths_max=10)
    device = many.get("lamp-1")
    assert device is not None
    assert len(device.values) == 10


def test_a_reader_sees_devices_of_its_tenants_and_telemetry_where_it_may() -> None:
    found = state(
        lamp(1, values={"3416/0/3": 1}, alarm="warning", presence="online"),
        lamp(2, tenant="hills", values={"3416/0/3": 1}, presence="offline"),
    )
    assert [one for one in told(found, 0, Sight({"harbour"}, {"harbour"})) if one] == [
        {
            "endpoint": "lamp-1", "at_us": 101, "presence": "online", "alarm": "warning",
            "values": {"3416/0/3": 1},
        }
    ]  # fmt: skip
    assert [one for one in told(found, 0, Sight({"harbour"}, set())) if one] == [
        {"endpoint": "lamp-1", "at_us": 101, "presence": "online"}
    ]


def found_device(number: int, tenant: str = "harbour") -> FoundDevice:
    return FoundDevice(
        endpoint=f"lamp-{number}", tenant=tenant, site="pier", group="pier/street_lamp",
        model="street_lamp", serial=f"S{number}", street="Quay", latitude=53.5, longitude=8.5,
        installed_on="2022-05-05", attributes={},
    )  # fmt: skip


def test_the_map_has_a_column_for_everything_and_hides_what_may_not_be_seen() -> None:
    found = state(
        lamp(1, values={"3416/0/3": 0.5}, alarm="critical", presence="online"),
        lamp(2, tenant="hills", values={"3416/0/3": 0.5}, alarm="critical", presence="offline"),
    )
    devices = [found_device(1), found_device(2, "hills"), found_device(3)]
    states = state_columns(devices, found, Sight(None, {"harbour"}), ["3416/0/3"])
    made = msgspec.json.decode(map_body(devices, states, 7))
    assert (made["fleet"], made["revision"], made["count"]) == (7, found.revision, 3)
    assert made["endpoint"] == ["lamp-1", "lamp-2", "lamp-3"]
    assert made["presence"] == [2, 1, 0]
    assert made["alarm"] == [2, ALARM_HIDDEN, 0]
    assert made["values"] == {"3416/0/3": [0.5, None, None]}
    assert made["tenants"] == ["harbour", "hills"]
    assert made["tenant"] == [0, 1, 0]
    assert {len(column) for name, column in made.items() if name in ("latitude", "at_us")} == {3}


@given(st.floats(-180, 180))
def test_a_place_on_the_map_is_within_a_centimetre(degrees: float) -> None:
    device = msgspec.structs.replace(found_device(1), longitude=degrees)
    (told,) = device_columns([device])["longitude"]
    # As `round` has it, but for halves: a ten-millionth is what is told.
    assert abs(told - degrees) <= 0.5e-7 + 1e-12
    assert told == round(told, 7)


def page(*states: str) -> bytes:
    rows = [
        {"id": f"cmd-{number}", "endpoint": "lamp-1", "state": one, "further": number}
        for number, one in enumerate(states)
    ]
    return msgspec.json.encode({"commands": rows[::-1], "next_cursor": None})


def test_a_command_is_told_again_when_its_state_changes() -> None:
    watch = CommandWatch(None, str, Bell(), lambda: True)
    assert watch.take(page("sent", "queued"))
    seen = watch.revision
    assert not watch.take(page("succeeded", "succeeded", "expired"))
    assert [(one.endpoint, one.state) for one in watch.since(seen)] == [
        ("lamp-1", "succeeded"), ("lamp-1", "succeeded"), ("lamp-1", "expired"),
    ]  # fmt: skip
    # As control told it, with all that it has.
    assert b'"further":2' in watch.since(seen)[-1].document
    seen = watch.revision
    watch.take(page("succeeded", "succeeded", "expired"))
    assert watch.since(seen) == []


@pytest.mark.parametrize("body", [b"", b"[]", b'{"commands": [1]}', b'{"commands": [{}]}'])
def test_a_page_of_commands_that_is_none_is_no_crash(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        CommandWatch(None, str, Bell(), lambda: True).take(body)
