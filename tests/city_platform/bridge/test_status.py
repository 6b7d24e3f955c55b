"""What a bridge tells of itself: when, and with which figures."""

from __future__ import annotations

from city_platform.bridge.status import StatusReporter
from contracts.bridge_status import decode_status
from contracts.data_interface import Command, encode
from tests.city_platform.bridge.server_side import (
    NOW_US,
    connect,
    event,
    hello,
    make_core,
    registration,
    sealed,
    snapshot,
)

SECOND_US = 1_000_000


def test_a_change_of_state_is_told_and_then_nothing_before_its_time() -> None:
    core = make_core()
    reporter = StatusReporter(core, "i1", 30.0, NOW_US)
    assert reporter.has_changed
    assert decode_status(reporter.take(NOW_US)).state == "connecting"
    assert not reporter.has_changed
    assert reporter.due_us() == NOW_US + 30 * SECOND_US
    connect(core, registration("lamp-1"))
    assert reporter.has_changed
    told = decode_status(reporter.take(NOW_US + SECOND_US))
    assert (told.state, told.since_us, told.sequence) == ("live", NOW_US + SECOND_US, 2)
    later = decode_status(reporter.take(NOW_US + 31 * SECOND_US))
    assert (later.since_us, later.at_us) == (NOW_US + SECOND_US, NOW_US + 31 * SECOND_US)


def test_a_snapshot_under_way_is_no_live_bridge() -> None:
    core = make_core()
    reporter = StatusReporter(core, "i1", 30.0, NOW_US)
    core.server_connected()
    core.receive_frame(hello(), NOW_US)
    core.receive_frame(snapshot(registration("lamp-1"), last=False), NOW_US)
    assert decode_status(reporter.take(NOW_US)).state == "connecting"


def test_the_figures_are_those_of_the_time_since_the_last_status() -> None:
    core = make_core(procedures_max=1)
    connect(core, *(registration(f"lamp-{n}") for n in range(3)))
    reporter = StatusReporter(core, "i1", 30.0, NOW_US)
    reporter.take(NOW_US)
    for seq in range(1, 21):
        core.receive_frame(event(seq, "lamp-0"), NOW_US)
    for n in range(2):
        core.receive_message(f"lwm2m/north/lamp-{n}/credentials", sealed(f"lamp-{n}"), n, NOW_US)
    command = Command(id="c1", endpoint="lamp-0", operation="read", expires_at_us=0, path="/3/0")
    core.receive_message("lwm2m/lamp-0/command", encode(command), "c", NOW_US)
    load = decode_status(reporter.take(NOW_US + 10 * SECOND_US)).load
    assert (load.events_per_s, load.commands_per_s, load.devices_held) == (2.0, 0.1, 3)
    assert (load.queue_depth, load.events_unacknowledged) == (20, 20)
    assert (load.credentials_under_way, load.credentials_waiting) == (1, 1)
    quiet = decode_status(reporter.take(NOW_US + 20 * SECOND_US)).load
    assert (quiet.events_per_s, quiet.commands_per_s) == (0.0, 0.0)


def test_the_will_names_the_process_and_the_last_word_says_that_it_stopped() -> None:
    reporter = StatusReporter(make_core(), "i1", 30.0, NOW_US)
    will = decode_status(reporter.will())
    assert (will.server, will.instance, will.sequence, will.state) == ("north", "i1", 0, "lost")
    assert decode_status(reporter.stop(NOW_US)).state == "stopped"
