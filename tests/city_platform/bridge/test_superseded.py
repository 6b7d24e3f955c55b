"""Registrations that a later one elsewhere has overtaken: what then passes, and what does not."""

from __future__ import annotations

import msgspec
import pytest

from city_platform.bridge.core import BridgeCore
from contracts.bridge_status import HolderNotice
from contracts.data_interface import Cancel, Command, Holder, decode_bridge_frame, encode
from tests.city_platform.bridge.server_side import (
    LAMP,
    NOW_US,
    SERVER,
    commands,
    connect,
    drain,
    event,
    hello,
    make_core,
    registration,
    sealed,
    sent,
    snapshot,
)

HOLDER_TOPIC = f"lwm2m/{SERVER}/{LAMP}/holder"
SHARED, HELD = f"lwm2m/{LAMP}/command", f"lwm2m/{SERVER}/{LAMP}/command"
ELSEWHERE = Holder("south", "r9")


def told(core: BridgeCore, number: int = 1, *, holder: Holder = ELSEWHERE) -> None:
    """Control says that a registration was overtaken."""
    notice = HolderNotice(endpoint=LAMP, registration_id=f"{LAMP}-{number}", holder=holder)
    core.receive_message(HOLDER_TOPIC, msgspec.json.encode(notice), "h", NOW_US)


def command(**changes: object) -> bytes:
    fields = {"id": "c1", "endpoint": LAMP, "operation": "execute", "expires_at_us": NOW_US}
    return encode(Command(**{**fields, "path": "/3/0/4", **changes}))  # type: ignore[arg-type]  # by name


@pytest.fixture
def core() -> BridgeCore:
    """Holds the lamp."""
    core = make_core()
    connect(core, registration(LAMP))
    return core


@pytest.mark.parametrize("topic", [SHARED, HELD])
@pytest.mark.parametrize("holder", [None, Holder(SERVER, f"{LAMP}-1")])
def test_nothing_passes_to_a_registration_that_was_overtaken(
    core: BridgeCore, topic: str, holder: Holder | None
) -> None:
    told(core)
    core.receive_message(topic, command(holder=holder), "m", NOW_US)
    assert commands(core) == []
    assert core.counts["commands_not_held"] == 1
    assert (core.load().devices_held, core.load().devices_superseded) == (0, 1)


def test_a_new_registration_here_is_held_again(core: BridgeCore) -> None:
    told(core)
    core.receive_frame(event(1, LAMP, "registered", registered=registration(LAMP, 2)), NOW_US)
    core.receive_message(SHARED, command(), "m", NOW_US)
    assert [one.id for one in commands(core)] == ["c1"]
    assert core.load().devices_superseded == 0


def test_a_notice_about_an_ended_registration_changes_nothing(core: BridgeCore) -> None:
    core.receive_frame(event(1, LAMP, "registered", registered=registration(LAMP, 2)), NOW_US)
    told(core, 1)
    assert core.registry.holds(LAMP, f"{LAMP}-2")
    assert core.counts["notices_of_ended_registrations"] == 1


def test_a_device_that_speaks_here_again_is_held_until_told_otherwise(core: BridgeCore) -> None:
    told(core)
    core.receive_frame(event(1, LAMP, "updated", registered=registration(LAMP)), NOW_US)
    assert core.registry.holds(LAMP, f"{LAMP}-1")
    # Who keeps the holders hears of the Update, and says it again.
    assert [one.topic.rpartition("/")[2] for one in drain(core)] == ["updated"]
    told(core)
    assert core.registry.get(LAMP) is None


def test_the_end_of_an_overtaken_registration_is_forgotten(core: BridgeCore) -> None:
    told(core)
    gone = event(1, LAMP, "deregistered", registration_id=f"{LAMP}-1")
    core.receive_frame(gone, NOW_US)
    assert core.load().devices_superseded == 0


def test_after_a_restart_the_snapshot_announces_it_again_and_it_is_overtaken_again() -> None:
    core = make_core()
    core.server_connected()
    core.receive_frame(hello(), NOW_US)
    core.receive_frame(snapshot(registration(LAMP)), NOW_US)
    assert [one.topic for one in drain(core)] == [f"lwm2m/{SERVER}/{LAMP}/event/registered"]
    told(core)
    assert core.registry.get(LAMP) is None


def test_a_notice_that_waits_for_the_snapshot_counts_after_it() -> None:
    core = make_core()
    core.server_connected()
    told(core)
    core.receive_frame(hello(), NOW_US)
    core.receive_frame(snapshot(registration(LAMP)), NOW_US)
    assert core.registry.get(LAMP) is None


def test_credentials_that_are_being_written_there_are_dropped(core: BridgeCore) -> None:
    core.receive_message(f"lwm2m/{SERVER}/{LAMP}/credentials", sealed(LAMP), "m", NOW_US)
    assert core.load().credentials_under_way == 1
    told(core)
    assert core.load().credentials_under_way == 0
    assert core.counts["credentials_registration_ended"] == 1


@pytest.mark.parametrize(
    ("payload", "count"),
    [
        (b"{}", "notices_malformed"),
        (
            msgspec.json.encode(
                HolderNotice(endpoint="lamp-2", registration_id="lamp-1-1", holder=ELSEWHERE)
            ),
            "notices_for_another",
        ),
        (
            msgspec.json.encode(
                HolderNotice(
                    endpoint=LAMP, registration_id="lamp-1-1", holder=Holder(SERVER, "lamp-1-2")
                )
            ),
            "notices_for_another",
        ),
    ],
)
def test_a_notice_that_is_not_about_this_bridge_is_counted(
    core: BridgeCore, payload: bytes, count: str
) -> None:
    core.receive_message(HOLDER_TOPIC, payload, "m", NOW_US)
    assert core.counts[count] == 1
    assert core.registry.holds(LAMP, f"{LAMP}-1")


def test_a_cancellation_passes_for_a_device_that_is_held(core: BridgeCore) -> None:
    core.receive_message(SHARED, encode(Cancel(id="c1")), "m", NOW_US)
    core.receive_message("lwm2m/lamp-2/command", encode(Cancel(id="c2")), "m", NOW_US)
    (frame,) = core.frames_to_send()
    assert decode_bridge_frame(frame) == Cancel(id="c1")


def test_the_bridges_own_commands_are_cancelled_by_nobody(core: BridgeCore) -> None:
    core.receive_message(SHARED, encode(Cancel(id="credentials:x")), "m", NOW_US)
    assert sent(core) == []
    assert core.counts["commands_malformed"] == 1
