"""Follows one device's presence through messages that come late, twice or out of order.

Pure: what is known and what was told go in, what is known now comes out. A caller keeps a
`DevicePresence` per device, and publishes a change when its `state` is another one.
"""

from __future__ import annotations

from typing import Final

import msgspec

from city_platform.endpoint_topics import EndpointTopic
from city_platform.presence.states import TRANSITIONS, Occurrence, PresenceState
from contracts.errors import ContractError
from contracts.presence import (
    LifecycleMessage,
    PresenceCause,
    PresenceMessage,
    decode_lifecycle,
    decode_presence,
)
from contracts.topics import Topics

_OF_CAUSE: Final[dict[PresenceCause, Occurrence]] = {
    "birth": Occurrence.BORN,
    "good_bye": Occurrence.SAID_GOOD_BYE,
    "will": Occurrence.LOST,
}
_OF_LIFECYCLE: Final = {
    "connected": Occurrence.BROKER_CONNECTED,
    "disconnected": Occurrence.BROKER_DISCONNECTED,
}


class Told(msgspec.Struct, frozen=True, gc=False):
    """One message about one device's connection: the device's own, or the broker's.

    `boot` and `connection` are of the device's own; `version` of the broker's.
    """

    endpoint: str
    occurrence: Occurrence
    boot: str = ""
    connection: int = 0
    version: int = 0

    @property
    def is_the_devices_own(self) -> bool:
        """Whether the device said it, and not its broker."""
        return bool(self.boot)


class DevicePresence(msgspec.Struct, frozen=True, gc=False):
    """What is known of one device. `since_us` is when its state was heard of, Unix time.

    `boot` and `connection` are the newest connection that the device spoke of, `ended` whether that
    one is over; `version` is the newest that the broker spoke of.
    """

    state: PresenceState = PresenceState.UNKNOWN
    since_us: int = 0
    boot: str = ""
    connection: int = 0
    ended: bool = False
    version: int = -1


# "About an hour", and surely no less than this.
COUNTS_ANEW_US: Final = 50 * 60 * 1_000_000
UNHEARD: Final = DevicePresence()
"""A device of which nothing was heard."""


def follow(known: DevicePresence, told: Told, now_us: int) -> DevicePresence:
    """What is known after `told`; `known` itself when that says nothing of the newest connection.

    A will of a connection before the newest, a birth that is delivered again after its end, and
    what the broker tells of an older connection are such.
    """
    if told.is_the_devices_own:
        if _is_old(known, told):
            return known
        ended = told.occurrence is not Occurrence.BORN
        heard = msgspec.structs.replace(
            known, boot=told.boot, connection=told.connection, ended=ended
        )
    else:
        if told.version < known.version and not _may_count_anew(known, now_us):
            return known
        heard = msgspec.structs.replace(known, version=told.version)
    state = TRANSITIONS[known.state][told.occurrence]
    if state is known.state:
        return heard
    return msgspec.structs.replace(heard, state=state, since_us=now_us)


def read_told(topics: Topics, topic: str, payload: bytes) -> Told | None:
    """What a message on a presence or lifecycle topic tells; None on another topic.

    Raises `ContractError` for what cannot be read, and for a broker's word about another client
    than its topic names.
    """
    endpoint = EndpointTopic(topics.presence).read(topic)
    if endpoint is not None:
        return told_by_device(endpoint, decode_presence(payload))
    endpoint = EndpointTopic(topics.lifecycle).read(topic)
    if endpoint is None:
        return None
    message = decode_lifecycle(payload)
    if message.client_id != endpoint:
        raise ContractError(f"a lifecycle message of {endpoint} tells of another client")
    return told_by_broker(message)


def told_by_device(endpoint: str, message: PresenceMessage) -> Told:
    """The device's own word; who it is, the topic says, which its policy guards."""
    return Told(endpoint, _OF_CAUSE[message.cause], message.boot, message.connection)


def told_by_broker(message: LifecycleMessage) -> Told:
    """The broker's word. A client's id is its certificate's identity: a device's is its name."""
    return Told(
        message.client_id, _OF_LIFECYCLE[message.event_type], version=message.version_number
    )


def _may_count_anew(known: DevicePresence, now_us: int) -> bool:
    """Whether the broker may have begun again with 0: AWS IoT Core does for a client that was away
    for about an hour. No message of before is that late."""
    return known.state is PresenceState.OFFLINE and now_us - known.since_us >= COUNTS_ANEW_US


def _is_old(known: DevicePresence, told: Told) -> bool:
    if told.boot != known.boot:
        # Boots have no order. An end tells of a connection whose birth came before it: of one that
        # was not heard of, nothing is known that could end.
        return bool(known.boot) and told.occurrence is not Occurrence.BORN
    if told.connection != known.connection:
        return told.connection < known.connection
    # Once it has ended it is not born again: that is its birth, delivered again.
    return known.ended
