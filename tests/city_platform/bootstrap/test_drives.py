"""Driving credentials until they are confirmed, over restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from city_platform.bootstrap.decision import SendCredentials
from city_platform.bootstrap.drives import TRANSITIONS, Drives, DriveTimes, Occurrence, Stand
from city_platform.bootstrap.stands import StandStore

S = 1_000_000
SEND = SendCredentials("lamp-1", "north", "r1", "v1")
TIMES = DriveTimes(first_s=2, longest_s=10, patience_s=100)


def make() -> Drives:
    return Drives(TIMES, lambda: 0.0)


@pytest.mark.parametrize("stand", list(Stand))
@pytest.mark.parametrize("occurrence", list(Occurrence))
def test_every_cell_of_the_table_is_known_or_nothing(stand: Stand, occurrence: Occurrence) -> None:
    assert TRANSITIONS[stand].get(occurrence) in {*Stand, None}


def test_what_was_decided_is_driven_with_growing_pauses_until_confirmed() -> None:
    drives = make()
    drives.begin(SEND, 0)
    driven: list[int] = []
    while (due := drives.next_timer()) is not None and due < 40 * S:
        driven.append(due // S)
        assert drives.due(due, 10) == ([SEND], [])
    assert driven == [2, 6, 14, 24, 34]
    confirmed = drives.confirm("lamp-1", "north", "r1", "v1", 40 * S)
    assert confirmed is not None
    assert confirmed.stand is Stand.CONFIRMED
    assert drives.next_timer() is None
    assert drives.confirmed_version("lamp-1") == "v1"
    assert drives.pending == 0


def test_nothing_is_due_before_its_time_nor_beyond_the_limit() -> None:
    drives = make()
    for number in range(5):
        drives.begin(SendCredentials(f"lamp-{number}", "north", "r", "v"), 0)
    assert drives.due(2 * S - 1, 10) == ([], [])
    assert len(drives.due(2 * S, 3)[0]) == 3
    assert len(drives.due(2 * S, 3)[0]) == 2


@pytest.mark.parametrize(("registration_id", "version"), [("r0", "v1"), ("r1", "v0")])
def test_a_confirmation_of_something_else_stops_nothing(registration_id: str, version: str) -> None:
    drives = make()
    drives.begin(SEND, 0)
    assert drives.confirm("lamp-1", "north", registration_id, version, 1) is None
    assert drives.pending == 1
    assert drives.counts["confirmed_something_else"] == 1


def test_a_confirmation_that_nobody_waits_for_is_learned() -> None:
    drives = make()
    assert drives.confirm("lamp-1", "north", "r1", "v1", 1) is not None
    assert drives.confirmed_version("lamp-1") == "v1"


def test_the_end_of_the_registration_stops_the_drive_and_another_ones_does_not() -> None:
    drives = make()
    drives.begin(SEND, 0)
    assert drives.end_registration("lamp-1", "r0") is None
    ended = drives.end_registration("lamp-1", "r1")
    assert ended is not None
    assert ended.stand is Stand.ENDED
    assert drives.next_timer() is None


def test_a_new_registration_is_driven_anew_from_the_first_pause() -> None:
    drives = make()
    drives.begin(SEND, 0)
    drives.due(2 * S, 1)
    again = SendCredentials("lamp-1", "north", "r2", "v1")
    drives.begin(again, 3 * S)
    assert drives.next_timer() == 5 * S
    assert drives.due(5 * S, 1)[0] == [again]


def test_what_is_asked_for_again_is_driven_soon_unless_it_is_confirmed_first() -> None:
    drives = Drives(DriveTimes(first_s=30, settle_s=1), lambda: 0.0)
    drives.begin(SEND, 0)
    drives.settle("lamp-1", 2 * S)
    assert drives.next_timer() == 3 * S
    drives.confirm("lamp-1", "north", "r1", "v1", 2 * S)
    assert drives.next_timer() is None
    drives.settle("lamp-1", 2 * S)
    assert drives.next_timer() is None


def test_asking_again_never_postpones() -> None:
    drives = make()
    drives.begin(SEND, 0)
    drives.settle("lamp-1", 1_900_000)
    assert drives.next_timer() == 2 * S


def test_patience_ends() -> None:
    drives = make()
    drives.begin(SEND, 0)
    given_up = []
    while (due := drives.next_timer()) is not None:
        given_up += drives.due(due, 1)[1]
    assert [row.stand for row in given_up] == [Stand.GIVEN_UP]
    assert drives.counts["given_up"] == 1


def test_a_renewed_version_keeps_what_was_confirmed_before() -> None:
    drives = make()
    drives.begin(SEND, 0)
    drives.confirm("lamp-1", "north", "r1", "v1", 1)
    row = drives.begin(SendCredentials("lamp-1", "north", "r1", "v2"), 2)
    assert (row.stand, row.confirmed_version) == (Stand.PENDING, "v1")


def test_what_is_pending_and_confirmed_survives_a_restart(tmp_path: Path) -> None:
    async def first() -> None:
        store = StandStore(tmp_path / "stands.sqlite")
        drives = make()
        await store.put(drives.begin(SEND, 0))
        other = SendCredentials("lamp-2", "north", "r2", "v2")
        await store.put(drives.begin(other, 0))
        confirmed = drives.confirm("lamp-2", "north", "r2", "v2", 1)
        assert confirmed is not None
        await store.put(confirmed)
        # No close: as after a kill, only what was awaited counts.
        copy = StandStore(tmp_path / "stands.sqlite")
        rows = await copy.load()
        await copy.close()
        await store.close()
        again = Drives(TIMES, lambda: 0.0, rows)
        assert again.confirmed_version("lamp-2") == "v2"
        assert again.due(S, 10)[0] == [SEND]

    asyncio.run(first())


def sends(number: int, server: str = "north") -> SendCredentials:
    return SendCredentials(f"lamp-{number}", server, "r1", "v1")


def test_more_than_may_be_on_their_way_are_sent_as_others_are_confirmed() -> None:
    drives = Drives(DriveTimes(first_s=2, on_their_way_max=2), lambda: 0.0)
    may_send = []
    for number in range(4):
        drives.begin(sends(number), 0)
        may_send.append(drives.may_send(f"lamp-{number}", 0))
    assert may_send == [True, True, False, False]
    assert (drives.pending, drives.on_their_way, drives.queued) == (4, 2, 2)
    assert drives.counts["had_to_queue"] == 2
    assert drives.due(1, 10) == ([], [])
    drives.confirm("lamp-0", "north", "r1", "v1", 2)
    assert drives.next_timer() == 0
    assert drives.due(3, 10) == ([sends(2)], [])
    assert "driven_again" not in drives.counts


def test_a_bridge_that_is_full_does_not_hold_up_another() -> None:
    drives = Drives(DriveTimes(on_their_way_max=1), lambda: 0.0)
    for number, server in enumerate(("north", "north", "south")):
        drives.begin(sends(number, server), 0)
    assert [drives.may_send(f"lamp-{number}", 0) for number in range(3)] == [True, False, True]


def test_what_still_waits_at_a_slow_bridge_is_not_driven_again() -> None:
    drives = Drives(DriveTimes(first_s=3, longest_s=60), lambda: 0.0)
    for number in range(30):
        drives.begin(sends(number), number)
        assert drives.may_send(f"lamp-{number}", number)
    driven = 0
    # The bridge brings one device a second through.
    for second in range(1, 30):
        drives.confirm(f"lamp-{second - 1}", "north", "r1", "v1", second * S)
        driven += len(drives.due(second * S, 100)[0])
    assert driven == 0
    assert drives.counts["still_under_way"] > 0
    # It falls silent: what it still had is driven again.
    again, _ = drives.due(36 * S, 100)
    assert again == [sends(29)]


def test_a_slow_bridge_that_serves_all_at_once_is_not_sent_anything_twice() -> None:
    drives = Drives(DriveTimes(), lambda: 0.0)
    # What the bridge still has to do for each, in shares of a device; it does 60 a second.
    left: dict[str, float] = {}
    sent = 0
    for number in range(2_000):
        drives.begin(sends(number), 0)
        if drives.may_send(f"lamp-{number}", 0):
            left[f"lamp-{number}"], sent = 1.0, sent + 1
    for tick in range(1, 600):
        now_us = tick * S // 10
        share = 6.0 / max(1, len(left))
        for endpoint in [name for name in left if left[name] <= share]:
            del left[endpoint]
            drives.confirm(endpoint, "north", "r1", "v1", now_us)
        left = {name: todo - share for name, todo in left.items()}
        for each in drives.due(now_us, 1_000)[0]:
            left[each.endpoint], sent = 1.0, sent + 1
    assert (drives.pending, sent) == (0, 2_000)


def test_what_a_new_snapshot_asks_for_is_driven_though_others_are_being_confirmed() -> None:
    drives = Drives(DriveTimes(first_s=30, settle_s=1), lambda: 0.0)
    for number in (1, 2):
        drives.begin(sends(number), number)
        drives.may_send(f"lamp-{number}", number)
    drives.confirm("lamp-1", "north", "r1", "v1", S)
    drives.settle("lamp-2", S)
    assert drives.due(2 * S, 10) == ([sends(2)], [])
    assert drives.counts["still_under_way"] == 0


def test_a_restart_drives_what_is_pending_within_the_bound() -> None:
    rows = [Drives(TIMES, lambda: 0.0).begin(sends(number), 0) for number in range(5)]
    drives = Drives(DriveTimes(on_their_way_max=3), lambda: 0.0, rows)
    assert len(drives.due(S, 10)[0]) == 3
    assert (drives.on_their_way, drives.queued, drives.pending) == (3, 2, 5)


def test_a_queued_device_that_goes_is_not_sent_anything() -> None:
    drives = Drives(DriveTimes(on_their_way_max=1), lambda: 0.0)
    for number in (1, 2):
        drives.begin(sends(number), 0)
        drives.may_send(f"lamp-{number}", 0)
    drives.end_registration("lamp-2", "r1")
    drives.confirm("lamp-1", "north", "r1", "v1", 1)
    assert drives.due(2, 10) == ([], [])
    assert drives.pending == 0
