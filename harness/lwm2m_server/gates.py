"""Gates: named places where the server stands still, so that a kill test can strike just there.

While a gate holds, the bridge's connection is silent in both directions. Pure; the shell reads
`{"arm": {"point": P, "occurrence": n}}` and `{"release": P}` from standard input and says
`{"gate": P, "endpoint": E}` when the gate was reached.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Literal

import msgspec

from contracts.data_interface import Command

Point = Literal["credentials_received_not_written", "command_sent_no_outcome"]
CREDENTIALS_RECEIVED: Final = "credentials_received_not_written"
COMMAND_SENT: Final = "command_sent_no_outcome"
# Who the bridge names as issuer of the commands that carry credentials.
ISSUED_BY_CREDENTIALS: Final = "credentials"


class Arm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold at the n-th command from now on that comes to `point`; counted from 1."""

    point: Point
    occurrence: int = 1


class GateOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of standard input: one of the two."""

    arm: Arm | None = None
    release: Point | None = None


class BadGateOrder(ValueError):
    """A line of standard input that is no order."""


_orders = msgspec.json.Decoder(GateOrder)


def decode_order(line: bytes) -> GateOrder:
    """One line of standard input. Raises `BadGateOrder`."""
    try:
        return _orders.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadGateOrder(f"not an order to a gate: {error}") from error


class Gates:
    """Which gates are armed, and which one holds."""

    def __init__(self) -> None:
        self._armed: dict[str, int] = {}
        self._deaf_to: set[Hashable] = set()
        # The point that holds, if any.
        self.held: str | None = None
        # Gates reached since the last `take_reached`: (point, endpoint).
        self._reached: list[tuple[str, str]] = []

    def order(self, order: GateOrder) -> None:
        """Arm or release."""
        if order.arm is not None:
            self._armed[order.arm.point] = max(1, order.arm.occurrence)
        if order.release is not None and self.held == order.release:
            self.release()

    def release(self) -> None:
        """Go on: asked for, or the bridge's connection is gone."""
        self.held = None
        self._deaf_to.clear()

    def swallows(self, command: Command) -> bool:
        """Whether this command frame is dropped unprocessed, because the gate is here."""
        if command.issued_by != ISSUED_BY_CREDENTIALS:
            return False
        return self._reach(CREDENTIALS_RECEIVED, command.endpoint)

    def note_sent(self, command: Command, peer: Hashable) -> None:
        """A request goes out with this turn: from now on its peer may not be heard."""
        if command.issued_by == ISSUED_BY_CREDENTIALS:
            return
        if self._reach(COMMAND_SENT, command.endpoint):
            self._deaf_to.add(peer)

    def is_deaf_to(self, peer: Hashable) -> bool:
        """Whether datagrams from `peer` are dropped."""
        return bool(self._deaf_to) and peer in self._deaf_to

    def take_reached(self) -> list[tuple[str, str]]:
        """Gates that were reached; to be told once the turn's output has left."""
        found, self._reached = self._reached, []
        return found

    def _reach(self, point: str, endpoint: str) -> bool:
        left = self._armed.get(point)
        if left is None or self.held is not None:
            return False
        if left > 1:
            self._armed[point] = left - 1
            return False
        del self._armed[point]
        self.held = point
        self._reached.append((point, endpoint))
        return True
