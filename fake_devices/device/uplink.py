"""The life of a device's MQTT connection as a table, and the pauses between attempts.

It decides when to connect; sockets, TLS and MQTT packets are the fleet's business.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

import msgspec

from fake_devices.device.account import BrokerAccount


class UplinkState(Enum):
    """Where a device's MQTT connection is."""

    UNCONFIGURED = "unconfigured"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    BACKING_OFF = "backing_off"


class UplinkEvent(Enum):
    """What can happen to it, in the past tense."""

    ACCOUNT_ACTIVATED = "account_activated"
    ACCOUNT_REVOKED = "account_revoked"
    CONNECTION_ESTABLISHED = "connection_established"
    CONNECTION_LOST = "connection_lost"
    PAUSE_ELAPSED = "pause_elapsed"


class UplinkStep(NamedTuple):
    """The next state, and whether the connection has to be opened or closed on the way there."""

    state: UplinkState
    opens: bool = False
    closes: bool = False


_S, _E = UplinkState, UplinkEvent

# A pair that is missing cannot happen: a late report about a connection that was already given up
# is recognised by its generation and never reaches the table.
TRANSITIONS: Final[dict[UplinkState, dict[UplinkEvent, UplinkStep]]] = {
    _S.UNCONFIGURED: {
        _E.ACCOUNT_ACTIVATED: UplinkStep(_S.CONNECTING, opens=True),
    },
    _S.CONNECTING: {
        _E.ACCOUNT_ACTIVATED: UplinkStep(_S.CONNECTING, opens=True, closes=True),
        _E.ACCOUNT_REVOKED: UplinkStep(_S.UNCONFIGURED, closes=True),
        _E.CONNECTION_ESTABLISHED: UplinkStep(_S.CONNECTED),
        _E.CONNECTION_LOST: UplinkStep(_S.BACKING_OFF),
    },
    _S.CONNECTED: {
        _E.ACCOUNT_ACTIVATED: UplinkStep(_S.CONNECTING, opens=True, closes=True),
        _E.ACCOUNT_REVOKED: UplinkStep(_S.UNCONFIGURED, closes=True),
        _E.CONNECTION_LOST: UplinkStep(_S.BACKING_OFF),
    },
    _S.BACKING_OFF: {
        _E.ACCOUNT_ACTIVATED: UplinkStep(_S.CONNECTING, opens=True),
        _E.ACCOUNT_REVOKED: UplinkStep(_S.UNCONFIGURED),
        _E.PAUSE_ELAPSED: UplinkStep(_S.CONNECTING, opens=True),
    },
}


def pause_s(
    attempt: int, first_s: float, longest_s: float, jitter_ratio: float, chance: float
) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1).

    Doubles from `first_s` to `longest_s`; `chance` in [0, 1) shortens it by up to `jitter_ratio`.
    """
    full: float = min(longest_s, first_s * 2.0 ** min(attempt - 1, 30))
    return full * (1.0 - jitter_ratio * chance)


class UplinkLife(msgspec.Struct, gc=False, eq=False):
    """A device's MQTT account and how far its connection is; made with the first account."""

    state: UplinkState = UplinkState.UNCONFIGURED
    account: BrokerAccount | None = None
    attempt: int = 0
    # Counts the attempts of all boots: no two connections are the same.
    connection: int = 0
    pause_at: float | None = None
    drain_at: float | None = None
    settle_at: float | None = None

    def next_timer(self) -> float | None:
        """When the next of its waits is over."""
        if self.pause_at is None and self.drain_at is None:
            return self.settle_at
        return earlier(earlier(self.pause_at, self.drain_at), self.settle_at)


def earlier(one: float | None, other: float | None) -> float | None:
    """The earlier of two moments that may be none."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
