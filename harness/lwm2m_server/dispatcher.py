"""Carries commands to devices: when a request goes out, and what its end means.

A command's intent is in the turn's records before its datagram can leave; its outcome is an event.
Execute and Create are never sent a second time.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from contracts.data_interface import NEVER_SENT_TWICE, Command, Outcome, Stage
from contracts.names import is_endpoint_name
from harness.lwm2m_server.commands import (
    CommandEntry,
    CommandEvent,
    CommandsFull,
    CommandState,
    CommandTable,
)
from harness.lwm2m_server.config import ServerLimits
from harness.lwm2m_server.devices import Device, Devices, is_lasting, peer_text
from harness.lwm2m_server.endpoints import Endpoints
from harness.lwm2m_server.gates import Gates
from harness.lwm2m_server.observations import Observations
from harness.lwm2m_server.operations import InvalidCommand, is_secret_command, request_of
from harness.lwm2m_server.outcomes import OBSERVING, cancelled_locally, failed, outcome_of
from harness.lwm2m_server.payloads import Payloads
from harness.lwm2m_server.records import (
    CommandAccepted,
    CommandIntent,
    CommandRequeued,
    MessageIdUsed,
)
from harness.lwm2m_server.tamper import Tamper
from harness.lwm2m_server.tap import CommandTap
from harness.lwm2m_server.wakefulness import Wakefulness
from harness.lwm2m_server.writer import TurnWriter
from lwm2m.coap import FailureReason, Response
from lwm2m.errors import LwM2mError
from lwm2m.transport.peers import security_of

COMMAND_ID_LENGTH_MAX: Final = 128

_FAILURES: Final[dict[FailureReason, tuple[CommandEvent, Stage, str]]] = {
    "timeout": (
        CommandEvent.LOST,
        "timeout",
        "no answer within CoAP's limits (RFC 7252 §4.8.2): it may have happened",
    ),
    "reset": (CommandEvent.REFUSED, "coap", "the device answered with Reset"),
    "malformed": (CommandEvent.LOST, "coap", "the device's answer broke CoAP"),
    "cancelled": (CommandEvent.LOST, "unknown", "given up: it may have happened"),
}


class CommandRefused(Exception):
    """A command is not even taken: nothing is kept of it, and it may be sent again."""


class Dispatcher:
    """The commands of one server, from the caller to the outcome."""

    def __init__(
        self,
        *,
        endpoints: Endpoints,
        devices: Devices,
        writer: TurnWriter,
        payloads: Payloads,
        observations: Observations,
        wakefulness: Wakefulness,
        limits: ServerLimits,
        gates: Gates,
        tamper: Tamper,
    ) -> None:
        self._endpoints = endpoints
        self._devices = devices
        self._writer = writer
        self._payloads = payloads
        self._observations = observations
        self._wakefulness = wakefulness
        self._limits = limits
        self._gates = gates
        self._tamper = tamper
        self._tap = CommandTap(writer)
        self.by_exchange: dict[int, CommandEntry] = {}
        # By address: the last message id that a command was sent with.
        self.message_ids: dict[str, MessageIdUsed] = {}
        self.table = CommandTable(limits)
        # Commands whose outcome somebody in this process waits for, and those that have come.
        self.watched: dict[str, Outcome | None] = {}

    # ---- from callers ----

    def receive(self, command: Command) -> Outcome | None:
        """Take a command: queue it, or give back the outcome of a repeated id if there is one.

        Raises `CommandRefused`.
        """
        known = self.table.find(command.id)
        self._tap.received(command, repeated=known is not None)
        if known is not None:
            return known.outcome
        device = self._devices.find(command.endpoint)
        self._check(command, device)
        entry = self.table.add(command, secret=is_secret_command(command))
        problem = self._problem(command, device)
        if problem is not None:
            self.end(entry, CommandEvent.REFUSED, failed(command, *problem))
            return None
        self.dispatch(command.endpoint)
        if entry.state is CommandState.QUEUED and not entry.secret:
            self._write_accepted(entry, has_values=True)
        return None

    def cancel(self, command_id: str) -> CommandEntry | None:
        """Take back a command that waits. One that has ended is given back, with its outcome.

        Raises `CommandRefused` for one that is unknown, or on its way.
        """
        entry = self.table.find(command_id)
        if entry is None:
            raise CommandRefused("no such command")
        if entry.has_ended:
            return entry
        if self.table.in_flight(entry.command.endpoint) is entry:
            raise CommandRefused("it has been sent: wait for its outcome")
        detail = "taken back before it was sent"
        self._end_waiting(entry, CommandEvent.CANCELLED, "cancelled", detail)
        self.dispatch(entry.command.endpoint)
        return None

    def take_watched(self) -> list[Outcome]:
        """Those that were waited for and have come since the last call."""
        watched = self.watched
        if not watched:
            return []
        found = [outcome for outcome in watched.values() if outcome is not None]
        for outcome in found:
            del watched[outcome.id]
        return found

    # ---- from the registration interface ----

    def device_spoke(self, endpoint: str) -> None:
        """A device can be asked, perhaps: what waits for it, or for its place in a planted defect,
        goes out."""
        self.dispatch(endpoint)
        other = self._tamper.waiting_for(endpoint)
        if other is not None:
            self.dispatch(other)

    def device_left(self, device: Device, successor: Device | None) -> None:
        """A registration ended; `successor` is the one that replaced it."""
        endpoint = device.endpoint
        entry = self.table.in_flight(endpoint)
        if entry is not None and not _may_go_on(entry, device, successor):
            self._give_up(entry, "the registration ended while the answer was awaited")
        for waiting in self.table.queued(endpoint):
            if successor is None or waiting.command.holder is not None:
                detail = "the registration ended before the request was sent"
                self._end_waiting(waiting, CommandEvent.REFUSED, "not_registered", detail)

    # ---- from CoAP and the clock ----

    def answered(self, exchange: int, response: Response) -> str | None:
        """A device answered a request of ours; returns whose answer it was, if it was one: what
        waits for that device goes out by `device_spoke`."""
        entry = self.by_exchange.pop(exchange, None)
        if entry is None:
            return None
        command = entry.command
        device = self._devices.find(self._tamper.target(command))
        target = self._payloads.target(device)
        outcome = outcome_of(command, response, target, self._payloads, secret=entry.secret)
        event = CommandEvent.REFUSED
        if outcome.succeeded:
            event = CommandEvent.SUCCEEDED
            if command.operation in OBSERVING:
                self._observations.begin(command, exchange)
        elif outcome.is_unreadable:
            event = CommandEvent.LOST
        self.end(entry, event, outcome)
        return command.endpoint

    def not_answered(self, exchange: int, reason: FailureReason) -> None:
        """A request of ours will get no answer."""
        entry = self.by_exchange.pop(exchange, None)
        if entry is None:
            return
        command = entry.command
        device = self._devices.find(command.endpoint)
        if device is not None and reason == "timeout":
            self._wakefulness.unanswered(device, self._writer.now())
        if device is not None and self._waits_again(entry, device, reason):
            self.cut_off(entry)
        else:
            event, stage, detail = _FAILURES[reason]
            self.end(entry, event, failed(command, stage, detail))
        self.dispatch(command.endpoint)

    def next_timer(self, now: float) -> float | None:
        """When `handle_timer` has something to do, in seconds of the clock of `now`."""
        deadline_us = self.table.next_deadline_us()
        if deadline_us is None:
            return None
        return now + max(0.0, (deadline_us - self._writer.clock.wall_us()) / 1e6)

    def handle_timer(self) -> None:
        """End what has expired, forget what is old."""
        for entry in self.table.pass_deadlines(self._writer.clock.wall_us()):
            if entry.has_ended:
                continue  # the dispatch of one before it found out
            self._expire(entry)
            self.dispatch(entry.command.endpoint)

    def dispatch(self, endpoint: str) -> None:
        """Send what may be sent to this device now: one request at a time, in order."""
        while (entry := self.table.next_ready(endpoint)) is not None:
            command = entry.command
            device = self._devices.find(self._tamper.target(command))
            if device is None:
                return  # only with a planted defect: it waits for the other one to register
            if command.expires_at_us <= self._writer.clock.wall_us():
                self._expire(entry)
                continue
            if not self._wakefulness.can_be_asked(device, self._writer.now()):
                return  # until it speaks
            try:
                if self._begin(entry, device):
                    return  # the next one waits for its end
            except (InvalidCommand, LwM2mError, ValueError) as error:
                detail = "the values do not fit" if entry.secret else str(error)
                self.end(entry, CommandEvent.REFUSED, failed(command, "invalid", detail))

    # ---- for the recovery of commands ----

    def cut_off(self, entry: CommandEntry) -> None:
        """Have a command wait again whose request got no answer."""
        self.table.mark_cut_off(entry)
        self._writer.write(CommandRequeued(entry.command.id))

    def end(self, entry: CommandEntry, event: CommandEvent, outcome: Outcome) -> None:
        """A command has its outcome."""
        self._write_accepted(entry, has_values=False)
        command = entry.command
        self.table.mark_ended(entry, event, outcome)
        if command.id in self.watched:
            self.watched[command.id] = outcome
        device = self._devices.find(command.endpoint)
        registration_id = device.registration_id if device is not None else None
        self._writer.emit_result(command.endpoint, registration_id, outcome)
        self._tap.ended(command, outcome)
        if command.completes is not None and event is CommandEvent.SUCCEEDED:
            self._writer.emit_bootstrap(command.endpoint, registration_id, command.completes)
            self._tap.bootstrapped(command.endpoint, command.completes.version)

    # ---- inside ----

    def _check(self, command: Command, device: Device | None) -> None:
        """Return when a command is taken. Raises `CommandRefused`."""
        if not (0 < len(command.id) <= COMMAND_ID_LENGTH_MAX and command.id.isprintable()):
            raise CommandRefused(f"an id has 1 to {COMMAND_ID_LENGTH_MAX} printable characters")
        # Nothing registers under another name.
        if device is None and not is_endpoint_name(command.endpoint):
            raise CommandRefused(f"{command.endpoint[:40]!r} is not an endpoint name")
        horizon_us = self._writer.clock.wall_us() + self._limits.command_lifetime_s_max * 1e6
        if command.expires_at_us > horizon_us:
            raise CommandRefused(
                f"it expires over {self._limits.command_lifetime_s_max:g} s from now"
            )
        try:
            self.table.check_room(command.endpoint)
        except CommandsFull as error:
            raise CommandRefused(f"full: {error}") from None

    def _problem(self, command: Command, device: Device | None) -> tuple[Stage, str] | None:
        """Why a command that is taken will not be sent."""
        if device is None:
            return "not_registered", "this server does not hold the device"
        holder = command.holder
        if holder is not None and (
            holder.server != self._writer.server or holder.registration_id != device.registration_id
        ):
            return "not_registered", "the named holder no longer holds the device"
        return None

    def _begin(self, entry: CommandEntry, device: Device) -> bool:
        """Send the request of a command, or do at once what needs none. Whether it is out."""
        command = entry.command
        now = self._writer.now()
        if command.operation == "cancel_observation":
            self._cancel_observation(entry, device, now)
            return not entry.has_ended
        if command.operation in OBSERVING:
            self._observations.check_room(command)
        request = request_of(command, self._payloads.target(device), self._payloads)
        exchange = self._endpoints.send_request(device.peer, request, now)
        self._mark_sent(entry, device.peer, exchange)
        return True

    def _cancel_observation(self, entry: CommandEntry, device: Device, now: float) -> None:
        command = entry.command
        observation = self._observations.find(command)
        if observation is None:
            raise InvalidCommand("nothing of the sort is observed")
        exchange = None
        if not command.passive:
            exchange = self._observations.give_up_exchange(observation, now)
        self._observations.end(observation, "cancelled")
        if exchange is None:
            self.end(entry, CommandEvent.SUCCEEDED, cancelled_locally(command))
        else:
            self._mark_sent(entry, device.peer, exchange)

    def _mark_sent(self, entry: CommandEntry, peer: Hashable, exchange: int) -> None:
        command, endpoints = entry.command, self._endpoints
        # Without an id when an earlier exchange with the same address still blocks it (NSTART).
        message_id = endpoints.message_id_of(exchange)
        lasts, may_be_sent_again = is_lasting(peer), may_be_repeated(entry)
        intent = CommandIntent(
            id=command.id,
            address=peer_text(peer),
            message_id=-1 if message_id is None else message_id,
            sent_at_us=self._writer.clock.wall_us(),
            datagram=endpoints.datagram_of(exchange) if lasts and may_be_sent_again else None,
            in_session=not lasts,
        )
        self.by_exchange[exchange] = entry
        self.table.mark_sent(entry, intent, exchange)
        # What is never sent again needs its values no longer.
        self._write_accepted(entry, has_values=may_be_sent_again)
        self._writer.write(intent)
        if message_id is not None and (lasts or security_of(peer).mode == "oscore"):
            used = MessageIdUsed(intent.address, message_id, intent.sent_at_us)
            self.message_ids[intent.address] = used
        self._gates.note_sent(command, peer)
        self._tap.sent(command, intent.message_id)

    def _waits_again(self, entry: CommandEntry, device: Device, reason: FailureReason) -> bool:
        """Whether the device could not hear the request, and it does no harm twice."""
        if entry.command.operation in NEVER_SENT_TWICE:
            return False
        if entry.command.operation == "cancel_observation":
            return False  # the observation is gone: there is nothing left to cancel
        was_deaf = reason == "timeout" and device.held.queue_mode
        return was_deaf or reason == "cancelled"

    def _give_up(self, entry: CommandEntry, detail: str) -> None:
        self.by_exchange.pop(entry.exchange, None)
        self._endpoints.cancel(entry.exchange, self._writer.now())
        self.end(entry, CommandEvent.LOST, failed(entry.command, "unknown", detail))

    def _expire(self, entry: CommandEntry) -> None:
        detail = "it expired before it was sent"
        self._end_waiting(entry, CommandEvent.EXPIRED, "expired", detail)

    def _end_waiting(
        self, entry: CommandEntry, event: CommandEvent, stage: Stage, detail: str
    ) -> None:
        """End a command that waits; of one that was cut off, nobody knows what became."""
        if entry.was_sent:
            event, stage = CommandEvent.LOST, "timeout"
            detail = "it was sent to a device that slept, and not answered: it may have happened"
        self.end(entry, event, failed(entry.command, stage, detail))

    def _write_accepted(self, entry: CommandEntry, *, has_values: bool) -> None:
        if not entry.logged:
            entry.logged = True
            command = entry.command if has_values else entry.without_values()
            self._writer.write(CommandAccepted(command, entry.secret))


def may_be_repeated(entry: CommandEntry) -> bool:
    """Whether the request may be sent again after a restart, and its bytes kept for that."""
    return not entry.secret and entry.command.operation not in NEVER_SENT_TWICE


def _may_go_on(entry: CommandEntry, device: Device, successor: Device | None) -> bool:
    """Whether a request stays on its way although the registration it was for has ended."""
    if successor is None or successor.peer != device.peer:
        return False
    if entry.command.operation in OBSERVING:
        return False  # LwM2M Core §6.4: the registration's observations ended with it
    # A device that registers anew may have rebooted and forgotten which messages it has had.
    return entry.command.operation not in NEVER_SENT_TWICE
