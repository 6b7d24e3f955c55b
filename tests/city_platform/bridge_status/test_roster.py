"""How bridges stand, from statuses, wills and silence."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from city_platform.bridge_status import BridgeRoster, BridgeRoutes
from contracts.bridge_status import BridgeLoad, BridgeStanding, BridgeState, BridgeStatus
from contracts.topics import Topics
from runtime.clock import SystemClock

NOW_US = 1_780_000_000_000_000
SECOND_US = 1_000_000


def status(
    state: BridgeState = "live", sequence: int = 1, instance: str = "i1", server: str = "north"
) -> BridgeStatus:
    return BridgeStatus(
        server=server,
        instance=instance,
        sequence=0 if state == "lost" else sequence,
        state=state,
        at_us=NOW_US,
        since_us=NOW_US,
        load=BridgeLoad(devices_held=7),
    )


def standing(roster: BridgeRoster, after_s: float = 0) -> BridgeStanding:
    (found,) = roster.standings({"north": 5}, NOW_US + round(after_s * SECOND_US))
    return found


def test_a_bridge_is_shown_as_it_says_with_what_control_counts() -> None:
    roster = BridgeRoster()
    assert roster.hear(status(), NOW_US)
    found = standing(roster)
    assert (found.state, found.devices_held, found.load) == ("live", 5, BridgeLoad(devices_held=7))


def test_a_server_whose_bridge_was_never_heard_of_is_unknown() -> None:
    found = standing(BridgeRoster())
    assert (found.state, found.devices_held, found.heard_at_us) == ("unknown", 5, None)


def test_its_last_will_tells_its_loss_and_a_new_process_its_return() -> None:
    roster = BridgeRoster()
    roster.hear(status(), NOW_US)
    assert roster.hear(status("lost"), NOW_US + SECOND_US)
    lost = standing(roster, 2)
    assert (lost.state, lost.since_us, lost.load) == ("lost", NOW_US + SECOND_US, None)
    assert roster.hear(status("connecting", instance="i2"), NOW_US + 3 * SECOND_US)
    back = standing(roster, 3)
    assert (back.state, back.restarts) == ("connecting", 1)


def test_the_same_process_comes_back_after_its_connection_was_lost() -> None:
    roster = BridgeRoster()
    roster.hear(status(), NOW_US)
    roster.hear(status("lost"), NOW_US)
    assert roster.hear(status(sequence=2), NOW_US)
    assert (standing(roster).state, standing(roster).restarts) == ("live", 0)


def test_the_will_of_a_process_that_another_follows_says_nothing_of_that() -> None:
    roster = BridgeRoster()
    roster.hear(status(instance="i1"), NOW_US)
    roster.hear(status(instance="i2"), NOW_US)
    assert not roster.hear(status("lost", instance="i1"), NOW_US)
    assert not roster.hear(status(sequence=9, instance="i1"), NOW_US)
    assert standing(roster).state == "live"


def test_a_status_that_comes_again_or_late_is_no_news() -> None:
    roster = BridgeRoster()
    roster.hear(status(sequence=2), NOW_US)
    assert not roster.hear(status(sequence=2), NOW_US + SECOND_US)
    assert not roster.hear(status("connecting", sequence=1), NOW_US + SECOND_US)
    assert standing(roster).heard_at_us == NOW_US


@pytest.mark.parametrize(("silent_s", "state"), [(74, "live"), (76, "lost")])
def test_silence_for_two_and_a_half_periods_is_a_loss(silent_s: float, state: str) -> None:
    roster = BridgeRoster()
    roster.hear(status(), NOW_US)
    assert standing(roster, silent_s).state == state


def test_a_bridge_that_said_good_bye_stays_stopped_however_long_it_is_silent() -> None:
    roster = BridgeRoster()
    roster.hear(status(), NOW_US)
    roster.hear(status("stopped", sequence=2), NOW_US)
    assert not roster.hear(status("lost"), NOW_US)
    assert standing(roster, 1_000).state == "stopped"


def test_bridges_are_listed_by_name() -> None:
    roster = BridgeRoster()
    for server in ("south", "east"):
        roster.hear(status(server=server), NOW_US)
    found = roster.standings({"north": 1}, NOW_US)
    assert [one.server for one in found] == ["east", "north", "south"]


def test_a_status_counts_only_on_the_topic_of_its_server() -> None:
    routes = BridgeRoutes(Topics(), dict, SystemClock())
    routes.receive("bridges/north/status", msgspec.json.encode(status()))
    routes.receive("bridges/south/status", msgspec.json.encode(status()))
    routes.receive("bridges/south/status", b"{")
    assert routes.counts == {
        "bridge_statuses": 1, "bridge_statuses_of_another": 1, "bridge_statuses_malformed": 1,
    }  # fmt: skip
    (route,) = routes.routes
    answer = asyncio.run(route.endpoint(None))
    (found,) = msgspec.json.decode(answer.body)["bridges"]
    assert (found["server"], found["state"]) == ("north", "live")
