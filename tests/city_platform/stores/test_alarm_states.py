"""The life of an alarm: every cell of its table, and what cannot be drawn as one."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from city_platform.stores.alarm_states import (
    FLAPPING,
    TRANSITIONS,
    AlarmChange,
    AlarmEpisode,
    AlarmOccurrence,
    AlarmState,
    FlappingLimits,
    acknowledged,
    changed,
    is_same_episode,
    level_of,
    next_state,
    opened,
    settled,
)

STATES: tuple[AlarmState, ...] = get_args(AlarmState)
OCCURRENCES: tuple[AlarmOccurrence, ...] = get_args(AlarmOccurrence)
LIMITS = FlappingLimits(changes=4, within_s=60, calm_s=100, repeats_within_s=1_000)
S = 1_000_000


def change(time_s: int, *, is_raised: bool = True, **more: object) -> AlarmChange:
    fields: dict[str, object] = {
        "endpoint": "lamp-1", "tenant": "harbour", "path": "/3416/0/5", "alarm": "lamp_failure",
        "is_raised": is_raised, "severity": "major", "time_us": time_s * S,
        "received_us": time_s * S, "source": "device",
    }  # fmt: skip
    return AlarmChange(**(fields | more))  # type: ignore[arg-type] # fields of many types


def after(*changes: AlarmChange) -> AlarmEpisode:
    """An episode that the first change opened."""
    episode = opened(changes[0], 1)
    for one in changes[1:]:
        episode = changed(episode, one, LIMITS)
    return episode


def on_and_off(times: int, every_s: int = 10) -> list[AlarmChange]:
    return [change(every_s * n, is_raised=n % 2 == 0) for n in range(times)]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("occurrence", OCCURRENCES)
def test_every_cell_leads_to_a_state_and_nothing_leaves_closed(
    state: AlarmState, occurrence: AlarmOccurrence
) -> None:
    found = next_state(state, occurrence)
    assert found in STATES
    assert found == TRANSITIONS[state].get(occurrence, state)
    if state == "closed":
        assert found == "closed"
    if occurrence == "acknowledged":
        # Acknowledged it stays: a second time changes nothing.
        assert next_state(found, "acknowledged") == found


def test_an_alarm_that_is_over_and_acknowledged_is_closed_in_either_order() -> None:
    raised, cleared = change(0), change(10, is_raised=False)
    first = acknowledged(after(raised), "ann", 5 * S, "sent a fitter")
    assert first.state == "acknowledged"
    assert changed(first, cleared, LIMITS).state == "closed"
    assert after(raised, cleared).state == "cleared"
    last = acknowledged(after(raised, cleared), "ann", 15 * S, "")
    assert (last.state, last.acknowledged_by, last.cleared_us) == ("closed", "ann", 10 * S)


def test_the_first_acknowledgement_counts() -> None:
    first = acknowledged(after(change(0)), "ann", 5 * S, "mine")
    assert acknowledged(first, "bob", 6 * S, "no, mine") is first


def test_raised_again_it_is_repeated_and_not_another_one() -> None:
    episode = after(change(0, value=1.0), change(20, value=2.0, severity="critical"))
    assert (episode.state, episode.raises) == ("raised", 2)
    assert (episode.raised_us, episode.changed_us) == (0, 20 * S)
    assert (episode.value, episode.severity) == (2.0, "critical")


def test_a_signal_that_shows_an_alarm_that_stands_is_no_repetition() -> None:
    episode = after(change(0))
    signal = change(0, source="signal", severity="minor")
    assert changed(episode, signal, LIMITS) is episode
    assert changed(episode, change(30, source="signal"), LIMITS) is episode


def test_the_alarm_of_a_fact_that_a_signal_told_first_knows_more_and_counts_once() -> None:
    told = after(change(0, source="signal", severity="minor"), change(0, value=3.5))
    assert (told.raises, told.severity, told.value, told.source) == (1, "major", 3.5, "device")


def test_what_comes_late_changes_nothing() -> None:
    episode = after(change(10), change(20, is_raised=False))
    assert changed(episode, change(15), LIMITS) is episode
    assert changed(episode, change(19, is_raised=False), LIMITS) is episode


def test_as_many_changes_as_the_limit_within_its_time_are_flapping_and_one_less_is_not() -> None:
    assert after(*on_and_off(3)).state == "raised"
    flapping = after(*on_and_off(4))
    assert flapping.state == "flapping"
    assert flapping.is_standing
    assert not flapping.is_raised
    assert (after(*on_and_off(9)).state, after(*on_and_off(9)).raises) == ("flapping", 5)


def test_slower_than_the_limit_is_not_flapping() -> None:
    assert after(*on_and_off(4, every_s=20)).state == "flapping"
    assert after(*on_and_off(4, every_s=21)).state == "cleared"


def test_when_it_is_calm_it_is_what_it_was_last() -> None:
    cleared, raised = after(*on_and_off(4)), after(*on_and_off(5))
    assert settled(cleared, (30 + 99) * S, LIMITS) is cleared
    assert settled(cleared, (30 + 100) * S, LIMITS).state == "cleared"
    assert settled(raised, (40 + 100) * S, LIMITS).state == "raised"
    known = acknowledged(cleared, "ann", 31 * S, "")
    assert known.state in FLAPPING
    assert settled(known, 200 * S, LIMITS).state == "closed"


def test_a_change_after_the_calm_is_judged_anew() -> None:
    episode = changed(after(*on_and_off(4)), change(200), LIMITS)
    assert (episode.state, episode.is_raised) == ("raised", True)


def test_an_episode_goes_on_when_nobody_acknowledged_it_and_it_is_soon() -> None:
    cleared = after(change(0), change(10, is_raised=False))
    assert is_same_episode(cleared, change(1_010), LIMITS)
    assert not is_same_episode(cleared, change(1_011), LIMITS)
    closed = acknowledged(cleared, "ann", 11 * S, "")
    assert not is_same_episode(closed, change(12), LIMITS)
    assert is_same_episode(after(change(0)), change(9_999), LIMITS)


def test_a_device_looks_as_bad_as_its_worst_alarm() -> None:
    assert level_of({}) == "none"
    assert level_of({1: "minor", 2: "major"}) == "warning"
    assert level_of({1: "minor", 2: "critical"}) == "critical"


def test_an_episode_can_be_written_and_read() -> None:
    episode = after(*on_and_off(4))
    assert msgspec.json.decode(msgspec.json.encode(episode), type=AlarmEpisode) == episode
