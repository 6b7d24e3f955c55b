"""The commands over a restart: what the log tells of them, and what a compaction keeps.

What was on its way is sent again byte for byte where that is safe and still in time, so that the
device answers from its memory of duplicates; what went over a session that is gone waits for the
device's next; the rest becomes `unknown`.
"""

from __future__ import annotations

from typing import Final

from contracts.data_interface import Command
from harness.lwm2m_server.commands import CommandEvent, without_values
from harness.lwm2m_server.devices import Devices, parse_address
from harness.lwm2m_server.dispatcher import Dispatcher, may_be_repeated
from harness.lwm2m_server.endpoints import Endpoints
from harness.lwm2m_server.outcomes import failed
from harness.lwm2m_server.records import CommandIntent, MessageIdUsed
from harness.lwm2m_server.recovery import CommandRecovered, ServerState
from harness.lwm2m_server.writer import TurnWriter
from lwm2m.coap import TransmissionParameters

# A block-wise request uses a message id a block, and the log has only the first: after a restart
# a peer's ids go on well behind the last one known.
MESSAGE_IDS_SKIPPED: Final = 4_096


class CommandRecovery:
    """Puts commands into a dispatcher that has just been made, and takes them out for the log."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        endpoints: Endpoints,
        devices: Devices,
        writer: TurnWriter,
        parameters: TransmissionParameters,
    ) -> None:
        self._dispatcher = dispatcher
        self._table = dispatcher.table
        self._endpoints = endpoints
        self._devices = devices
        self._writer = writer
        self._parameters = parameters

    def restore(self, state: ServerState) -> None:
        """Take up the commands of an earlier incarnation; registrations are there already."""
        now = self._writer.now()
        for used in state.message_ids.values():
            self._continue_message_ids(used, now)
        waiting: list[str] = []
        for found in state.commands.values():
            if found.outcome is not None:
                self._table.restore_ended(found.command, found.outcome, secret=found.secret)
            elif found.intent is not None:
                self._restore_sent(found, found.intent, now)
                waiting.append(found.command.endpoint)
            elif not found.secret:
                self._restore_queued(found)
                waiting.append(found.command.endpoint)
            elif found.was_sent:
                self._restore_lost(found)
        for endpoint in dict.fromkeys(waiting):
            self._dispatcher.dispatch(endpoint)

    def checkpoint(self, state: ServerState) -> None:
        """Put the commands into the state that a compaction writes."""
        used_after_us = self._writer.clock.wall_us() - round(
            2e6 * self._parameters.exchange_lifetime_s
        )
        kept = {
            address: used
            for address, used in self._dispatcher.message_ids.items()
            if used.used_at_us > used_after_us
        }
        self._dispatcher.message_ids = kept
        state.message_ids = dict(kept)
        for entry in self._table.entries():
            if entry.secret and not entry.logged:
                continue  # queued with secret values: it is not kept before it is sent
            command = without_values(entry.command) if entry.secret else entry.command
            state.commands[command.id] = CommandRecovered(
                command, entry.secret, entry.intent, entry.outcome, entry.was_sent
            )

    def _restore_queued(self, found: CommandRecovered) -> None:
        entry = self._table.add(found.command, secret=False)
        entry.logged = True
        entry.was_sent = found.was_sent
        if self._devices.find(found.command.endpoint) is None:
            outcome = failed(found.command, "not_registered", "not registered when we restarted")
            self._dispatcher.end(entry, CommandEvent.REFUSED, outcome)

    def _restore_sent(self, found: CommandRecovered, intent: CommandIntent, now: float) -> None:
        entry = self._table.add(found.command, secret=found.secret)
        entry.logged = True
        exchange = self._resume(intent, now)
        self._table.mark_sent(entry, intent, exchange if exchange is not None else -1)
        if exchange is not None:
            self._dispatcher.by_exchange[exchange] = entry
        elif intent.in_session and may_be_repeated(entry) and self._is_registered(entry.command):
            self._dispatcher.cut_off(entry)
        else:
            detail = "the server restarted before the outcome was known: it may have happened"
            outcome = failed(entry.command, "unknown", detail)
            self._dispatcher.end(entry, CommandEvent.LOST, outcome)

    def _restore_lost(self, found: CommandRecovered) -> None:
        """A command with secret values waited again: they are not kept, and it was sent once."""
        entry = self._table.add(found.command, secret=True)
        entry.logged = True
        detail = "the server restarted, and its values are not kept: it may have happened"
        outcome = failed(entry.command, "unknown", detail)
        self._dispatcher.end(entry, CommandEvent.LOST, outcome)

    def _is_registered(self, command: Command) -> bool:
        return self._devices.find(command.endpoint) is not None

    def _resume(self, intent: CommandIntent, now: float) -> int | None:
        age_s = max(0.0, (self._writer.clock.wall_us() - intent.sent_at_us) / 1e6)
        if intent.datagram is None or age_s >= self._parameters.max_transmit_span_s:
            return None
        try:
            peer = parse_address(intent.address)
            return self._endpoints.resume_exchange(peer, intent.datagram, now - age_s, now)
        except ValueError:
            return None

    def _continue_message_ids(self, used: MessageIdUsed, now: float) -> None:
        self._dispatcher.message_ids[used.address] = used
        after = (used.message_id + MESSAGE_IDS_SKIPPED) & 0xFFFF
        self._endpoints.datagrams.reserve_message_ids(parse_address(used.address), after, now)
