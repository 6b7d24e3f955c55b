"""The table of a firmware update, cell by cell on the machine."""

from __future__ import annotations

import contextlib
import itertools

import pytest

from lwm2m.errors import IllegalTransition
from lwm2m.firmware import (
    FIRMWARE_TRANSITIONS,
    STATE_NUMBERS,
    FirmwareEvent,
    FirmwareFault,
    FirmwarePackage,
    FirmwareResult,
    FirmwareSettings,
    FirmwareState,
    FirmwareUpdate,
    encode_package,
    firmware_diagram,
)

S, E = FirmwareState, FirmwareEvent
PACKAGE = encode_package(FirmwarePackage("street_lamp", "2.0.0", b"image"))
FAULTS: dict[FirmwareEvent, FirmwareFault] = {
    E.UPDATE_DEFERRED: "deferred",
    E.UPDATE_FAILED: "update_failed",
    E.PACKAGE_LOST: "update_failed_package_lost",
}


def _in(state: FirmwareState, fault: FirmwareFault | None) -> FirmwareUpdate:
    """A device that was brought into `state` by a push."""
    update = FirmwareUpdate(FirmwareSettings(fault=fault))
    if state is S.IDLE:
        return update
    update.write_uri("coap://files/lamp.bin", 0.0)
    if state in (S.DOWNLOADED, S.UPDATING):
        update.downloaded(PACKAGE, 0.0)
        update.handle_timer(0.5)
    if state is S.UPDATING:
        update.update(1.0)
    assert update.state is state
    return update


def _feed(update: FirmwareUpdate, event: FirmwareEvent) -> None:
    """Let `event` happen, as a server or a device would."""
    if event is E.DOWNLOAD_BEGAN:
        update.write_uri("coap://files/other.bin", 1.0)
    elif event is E.PACKAGE_TAKEN:
        update.downloaded(PACKAGE, 1.0)
        update.handle_timer(1.5)
    elif event is E.DOWNLOAD_FAILED:
        update.download_failed(FirmwareResult.INVALID_URI, 1.0)
    elif event is E.RESET:
        update.write_uri("", 1.0)
    elif event is E.CANCELLED:
        update.cancel()
    elif event is E.UPDATE_REQUESTED:
        update.update(1.0)
    elif event is E.UPDATE_DEFERRED:
        update.update(1.0, defer_s_max=60)
    else:
        update.handle_timer(100.0)
        update.registered()


@pytest.mark.parametrize(("state", "event"), list(itertools.product(FirmwareState, FirmwareEvent)))
def test_every_cell_of_the_table_is_what_the_device_does(
    state: FirmwareState, event: FirmwareEvent
) -> None:
    update = _in(state, FAULTS.get(event))
    step = FIRMWARE_TRANSITIONS[state][event]
    result = update.result
    if step is None:
        with contextlib.suppress(IllegalTransition):
            _feed(update, event)
        assert (update.state, update.result) == (state, result)
        return
    _feed(update, event)
    expected = FirmwareResult.INVALID_URI if step.result is None else step.result
    assert (update.state, update.result) == (step.state, expected)


def test_every_state_has_a_cell_for_every_event() -> None:
    assert list(FIRMWARE_TRANSITIONS) == list(FirmwareState)
    for row in FIRMWARE_TRANSITIONS.values():
        assert list(row) == list(FirmwareEvent)


def test_states_and_results_have_the_numbers_of_object_5() -> None:
    assert list(STATE_NUMBERS.values()) == [0, 1, 2, 3]
    assert [int(result) for result in FirmwareResult] == list(range(12))


def test_the_diagram_shows_results() -> None:
    lines = firmware_diagram().splitlines()
    assert "    updating --> idle: update_succeeded (result 1)" in lines
    assert "    downloading --> idle: download_failed (result 2 to 9)" in lines
