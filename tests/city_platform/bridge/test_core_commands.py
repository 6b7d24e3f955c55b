"""Commands at the bridge's core: what is passed on, what waits, what is counted."""

from __future__ import annotations

import pytest

from contracts.data_interface import Command, Holder, Outcome, decode_event, encode
from tests.city_platform.bridge.server_side import (
    LAMP,
    NOW_US,
    SERVER,
    commands,
    connect,
    drain,
    hello,
    make_core,
    registration,
    sent,
    snapshot,
    stored_result,
)


def command(**changes: object) -> Command:
    fields = {"id": "c1", "endpoint": LAMP, "operation": "read", "expires_at_us": NOW_US}
    return Command(**{**fields, "path": "/3/0", **changes})  # type: ignore[arg-type]  # by name


def test_a_command_for_a_held_device_is_passed_on_as_it_came() -> None:
    core = make_core()
    connect(core, registration(LAMP))
    data = encode(command())
    core.receive_message(f"lwm2m/{LAMP}/command", data, 1, NOW_US)
    assert core.frames_to_send() == [data]
    assert core.messages_to_acknowledge() == [1]


@pytest.mark.parametrize(
    ("topic", "payload", "count"),
    [
        ("lwm2m/other/command", encode(command(endpoint="other")), "commands_not_held"),
        (f"lwm2m/{LAMP}/command", encode(command(endpoint="o")), "commands_for_another_endpoint"),
        (
            f"lwm2m/{SERVER}/{LAMP}/command",
            encode(command(holder=Holder("south", f"{LAMP}-1"))),
            "commands_for_another_holder",
        ),
        (
            f"lwm2m/{SERVER}/{LAMP}/command",
            encode(command(holder=Holder(SERVER, f"{LAMP}-0"))),
            "commands_for_another_holder",
        ),
        (f"lwm2m/south/{LAMP}/command", encode(command()), "messages_on_other_topics"),
        (f"lwm2m/{LAMP}/command", b"{}", "commands_malformed"),
        (
            f"lwm2m/{LAMP}/command",
            encode(command(id="credentials:1")),
            "commands_with_a_reserved_id",
        ),
        (
            f"lwm2m/{LAMP}/command",
            encode(command(issued_by="credentials")),
            "commands_with_a_reserved_id",
        ),
    ],
)
def test_what_is_not_for_this_bridge_is_counted(topic: str, payload: bytes, count: str) -> None:
    core = make_core()
    connect(core, registration(LAMP))
    core.receive_message(topic, payload, 1, NOW_US)
    assert sent(core) == []
    assert core.counts[count] == 1
    assert core.messages_to_acknowledge() == [1]


def test_commands_wait_while_the_server_is_away_and_more_are_dropped_and_counted() -> None:
    core = make_core(messages_waiting_max=1)
    connect(core, registration(LAMP))
    core.server_disconnected()
    for handle, name in ((1, "c1"), (2, "c2")):
        core.receive_message(f"lwm2m/{LAMP}/command", encode(command(id=name)), handle, NOW_US)
    assert core.messages_to_acknowledge() == [2]
    assert core.counts["messages_dropped_while_offline"] == 1
    core.server_connected()
    core.receive_frame(hello(), NOW_US)
    core.receive_frame(snapshot(registration(LAMP)), NOW_US)
    assert [one.id for one in commands(core)] == ["c1"]
    assert core.messages_to_acknowledge() == [1]


def test_the_stored_result_of_a_repeated_command_is_told() -> None:
    core = make_core()
    connect(core, registration(LAMP))
    outcome = Outcome(id="c1", operation="read", code="2.05")
    core.receive_frame(stored_result(LAMP, outcome), NOW_US)
    (publication,) = drain(core)
    told = decode_event(publication.payload)
    assert publication.topic == f"lwm2m/{SERVER}/{LAMP}/event/result"
    assert (told.result, told.snapshot) == (outcome, True)
