"""Presence: births, wills, good-byes and the broker's word, in every order that happens."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_platform.presence import (
    TRANSITIONS,
    UNHEARD,
    DevicePresence,
    Occurrence,
    PresenceState,
    Told,
    follow,
    read_told,
)
from contracts.errors import ContractError
from contracts.presence import PresenceCause, PresenceMessage, encode_presence
from contracts.topics import Topics

LAMP = "lamp-1"
NOW_US = 1_780_000_000_000_000
TOPICS = Topics()


def own(occurrence: Occurrence, connection: int = 1, boot: str = "b1") -> Told:
    return Told(LAMP, occurrence, boot, connection)


def brokers(occurrence: Occurrence, version: int) -> Told:
    return Told(LAMP, occurrence, version=version)


def after(*told: Told) -> DevicePresence:
    known = UNHEARD
    for number, one in enumerate(told):
        known = follow(known, one, NOW_US + number)
    return known


BORN, WILL, BYE = Occurrence.BORN, Occurrence.LOST, Occurrence.SAID_GOOD_BYE
CONNECTED, DISCONNECTED = Occurrence.BROKER_CONNECTED, Occurrence.BROKER_DISCONNECTED


@pytest.mark.parametrize(
    ("state", "occurrence"), list(itertools.product(PresenceState, Occurrence)), ids=str
)
def test_every_cell_of_the_table_is_online_or_offline(
    state: PresenceState, occurrence: Occurrence
) -> None:
    is_online = occurrence in (BORN, CONNECTED)
    assert TRANSITIONS[state][occurrence] is (
        PresenceState.ONLINE if is_online else PresenceState.OFFLINE
    )


def test_a_device_is_online_from_its_birth_to_its_will() -> None:
    assert after(own(BORN)).state is PresenceState.ONLINE
    gone = after(own(BORN), own(WILL))
    assert (gone.state, gone.since_us) == (PresenceState.OFFLINE, NOW_US + 1)


def test_a_good_bye_makes_it_offline_too() -> None:
    assert after(own(BORN), own(BYE)).state is PresenceState.OFFLINE


def test_the_will_of_an_older_connection_says_nothing_of_the_new_one() -> None:
    # A broker publishes the will of a connection that was taken over after the new one's CONNACK.
    known = after(own(BORN, 1), own(BORN, 2), own(WILL, 1))
    assert (known.state, known.connection) == (PresenceState.ONLINE, 2)


def test_the_will_of_an_older_boot_says_nothing_of_the_new_one() -> None:
    known = after(own(BORN, 7), own(BORN, 1, "b2"), own(WILL, 7))
    assert (known.state, known.boot) == (PresenceState.ONLINE, "b2")


def test_a_birth_that_is_delivered_again_after_its_will_does_not_bring_the_device_back() -> None:
    assert after(own(BORN), own(WILL), own(BORN)).state is PresenceState.OFFLINE


def test_a_will_that_is_the_first_word_makes_a_device_offline() -> None:
    assert after(own(WILL)).state is PresenceState.OFFLINE


def test_state_and_time_stand_while_nothing_changes() -> None:
    once = after(own(BORN))
    again = follow(once, own(BORN), NOW_US + 99)
    assert (again.state, again.since_us) == (once.state, once.since_us)


def test_a_broker_alone_makes_both_states_in_the_order_of_its_versions() -> None:
    assert after(brokers(CONNECTED, 1)).state is PresenceState.ONLINE
    assert after(brokers(CONNECTED, 1), brokers(DISCONNECTED, 1)).state is PresenceState.OFFLINE
    late = after(brokers(CONNECTED, 1), brokers(CONNECTED, 2), brokers(DISCONNECTED, 1))
    assert late.state is PresenceState.ONLINE


def test_a_broker_counts_anew_for_who_was_away_for_an_hour() -> None:
    known = after(brokers(CONNECTED, 7), brokers(DISCONNECTED, 7))
    soon, late = NOW_US + 60_000_000, NOW_US + 3_600_000_000
    assert follow(known, brokers(CONNECTED, 0), soon) == known
    again = follow(known, brokers(CONNECTED, 0), late)
    assert (again.state, again.version, again.since_us) == (PresenceState.ONLINE, 0, late)
    # Who is online for an hour is not made offline by a message of before.
    online = after(brokers(CONNECTED, 7))
    assert follow(online, brokers(DISCONNECTED, 6), late) == online


def test_broker_and_device_may_both_tell() -> None:
    known = after(brokers(CONNECTED, 1), own(BORN), brokers(DISCONNECTED, 1), own(WILL))
    assert (known.state, known.since_us) == (PresenceState.OFFLINE, NOW_US + 2)


@given(
    connections=st.lists(st.sampled_from([WILL, BYE]), min_size=1, max_size=6),
    late=st.lists(st.integers(0, 20), max_size=8),
)
def test_whatever_comes_again_late_the_last_birth_counts(
    connections: list[Occurrence], late: list[int]
) -> None:
    ended = [
        told
        for number, end in enumerate(connections, 1)
        for told in (own(BORN, number), own(end, number))
    ]
    known = after(*ended, own(BORN, len(connections) + 1))
    for index in late:
        known = follow(known, ended[index % len(ended)], NOW_US)
    assert known.state is PresenceState.ONLINE


@pytest.mark.parametrize(
    ("cause", "occurrence"), [("birth", BORN), ("good_bye", BYE), ("will", WILL)]
)
def test_a_message_of_a_device_is_read(cause: PresenceCause, occurrence: Occurrence) -> None:
    message = PresenceMessage(cause=cause, boot="b1", connection=3, began_us=NOW_US)
    told = read_told(TOPICS, f"devices/{LAMP}/presence", encode_presence(message))
    assert told == Told(LAMP, occurrence, "b1", 3)


def test_a_message_of_a_broker_is_read() -> None:
    body = {"clientId": LAMP, "eventType": "connected", "timestamp": 1, "versionNumber": 4}
    topic = f"$aws/events/presence/connected/{LAMP}"
    assert read_told(TOPICS, topic, msgspec.json.encode(body)) == brokers(CONNECTED, 4)
    with pytest.raises(ContractError, match="another client"):
        read_told(TOPICS, topic.replace(LAMP, "lamp-2"), msgspec.json.encode(body))


def test_another_topic_tells_nothing_and_nonsense_is_refused() -> None:
    assert read_told(TOPICS, f"devices/{LAMP}/state", b"{}") is None
    with pytest.raises(ContractError, match="not a presence message"):
        read_told(TOPICS, f"devices/{LAMP}/presence", b"{}")
