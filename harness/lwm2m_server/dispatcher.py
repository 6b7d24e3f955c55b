"""Carries commands to devices: when a request goes out, what its end means, what a restart leaves.

A command's intent is in the turn's records before its datagram can leave; its outcome is an event.
Execute and Create are never sent a second time.
"""

from __future__ import annotations

from typing import Final

from contracts.data_interface import (
    NEVER_SENT_TWICE,
    Command,
    ErrorFrame,
    Outcome,
    Result,
    Stage,
)
from contracts.journal import CommandEnded, CommandReceived, CommandSent, DeviceBootstrapped
from contracts.names import is_endpoint_name
from harness.lwm2m_server.commands import (
    CommandEntry,
    CommandEvent,
    CommandsFull,
    CommandTable,
    without_values,
)
from harness.lwm2m_server.config import ServerLimits
from harness.lwm2m_server.data_interface import DataInterface
from harness.lwm2m_server.devices import Address, Device, Devices, address_text, parse_address
from harness.lwm2m_server.gates import Gates
from harness.lwm2m_server.operations import (
    InvalidCommand,
    Operations,
    failed,
    is_secret_command,
)
from harness.lwm2m_server.records import CommandAccepted, CommandIntent, MessageIdUsed
from harness.lwm2m_server.recovery import CommandRecovered, ServerState
from harness.lwm2m_server.tamper import Tamper
from harness.lwm2m_server.writer import TurnWriter
from lwm2m.coap import (
    CoapEndpoint,
    FailureReason,
    PeerQueueFull,
    Request,
    Response,
    TransmissionParameters,
)
from lwm2m.objects import Models

COMMAND_ID_LENGTH_MAX: Final = 128
# A block-wise request uses a message id a block, and the log has only the first: after a restart
# a peer's ids go on well behind the last one known.
MESSAGE_IDS_SKIPPED: Final = 4_096

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


class Dispatcher:
    """The commands of one server, from frame to outcome."""

    def __init__(
        self,
        *,
        endpoint: CoapEndpoint,
        parameters: TransmissionParameters,
        devices: Devices,
        data: DataInterface,
        writer: TurnWriter,
        models: Models,
        limits: ServerLimits,
        gates: Gates,
        tamper: Tamper,
    ) -> None:
        self._endpoint = endpoint
        self._parameters = parameters
        self._devices = devices
        self._data = data
        self._writer = writer
        self._operations = Operations(models)
        self._limits = limits
        self._gates = gates
        self._tamper = tamper
        self._by_exchange: dict[int, CommandEntry] = {}
        self._message_ids: dict[str, MessageIdUsed] = {}
        self.table = CommandTable(limits)

    # ---- from the bridge ----

    def receive(self, command: Command) -> None:
        """Take a command frame: queue it, or answer a repeated id with what is known of it."""
        known = self.table.find(command.id)
        self._tell_received(command, repeated=known is not None)
        if known is not None:
            self._repeat_outcome(known)
            return
        refusal = self._refusal(command)
        if refusal is not None:
            self._data.answer(ErrorFrame(detail=refusal, id=command.id[:COMMAND_ID_LENGTH_MAX]))
            return
        entry = self.table.add(command, secret=is_secret_command(command))
        problem = self._problem(command)
        if problem is not None:
            self._end(entry, CommandEvent.REFUSED, failed(command, *problem))
            return
        if not entry.secret:
            self._write_accepted(entry)
        self.dispatch(command.endpoint)

    def cancel(self, command_id: str) -> None:
        """Take back a command that waits. One that has ended is answered with its outcome."""
        entry = self.table.find(command_id)
        if entry is None:
            self._data.refuse("no such command", command_id=command_id[:COMMAND_ID_LENGTH_MAX])
        elif entry.has_ended:
            self._repeat_outcome(entry)
        elif self.table.in_flight(entry.command.endpoint) is entry:
            self._data.refuse("it has been sent: wait for its outcome", command_id=command_id)
        else:
            outcome = failed(entry.command, "cancelled", "taken back before it was sent")
            self._end(entry, CommandEvent.CANCELLED, outcome)
            self.dispatch(entry.command.endpoint)

    # ---- from the registration interface ----

    def device_registered(self, endpoint: str) -> None:
        """A device is there: what waits for it, or for its place in a planted defect, goes out."""
        self.dispatch(endpoint)
        other = self._tamper.waiting_for(endpoint)
        if other is not None:
            self.dispatch(other)

    def device_left(self, device: Device, successor: Device | None) -> None:
        """A registration ended; `successor` is the one that replaced it."""
        endpoint = device.registration.endpoint
        entry = self.table.in_flight(endpoint)
        if entry is not None and not _may_go_on(entry, device, successor):
            self._give_up(entry, "the registration ended while the answer was awaited")
        for waiting in self.table.queued(endpoint):
            if successor is None or waiting.command.holder is not None:
                detail = "the registration ended before the request was sent"
                outcome = failed(waiting.command, "not_registered", detail)
                self._end(waiting, CommandEvent.REFUSED, outcome)

    # ---- from CoAP and the clock ----

    def answered(self, exchange: int, response: Response) -> None:
        """A device answered a request of ours."""
        entry = self._by_exchange.pop(exchange, None)
        if entry is None:
            return
        outcome = self._operations.outcome_of(entry.command, response, secret=entry.secret)
        event = CommandEvent.SUCCEEDED if outcome.succeeded else CommandEvent.REFUSED
        self._end(entry, event, outcome)
        self.dispatch(entry.command.endpoint)

    def not_answered(self, exchange: int, reason: FailureReason) -> None:
        """A request of ours will get no answer."""
        entry = self._by_exchange.pop(exchange, None)
        if entry is None:
            return
        event, stage, detail = _FAILURES[reason]
        self._end(entry, event, failed(entry.command, stage, detail))
        self.dispatch(entry.command.endpoint)

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
            self._end(entry, CommandEvent.EXPIRED, _expired(entry.command))
            self.dispatch(entry.command.endpoint)

    def dispatch(self, endpoint: str) -> None:
        """Send what may be sent to this device now: one request at a time, in order."""
        while (entry := self.table.next_ready(endpoint)) is not None:
            command = entry.command
            target = self._devices.find(self._tamper.target(command))
            if target is None:
                return  # only with a planted defect: it waits for the other one to register
            if command.expires_at_us <= self._writer.clock.wall_us():
                self._end(entry, CommandEvent.EXPIRED, _expired(command))
                continue
            try:
                request = self._operations.request_of(command, target.registration.lwm2m_version)
                self._send(entry, target.peer, request)
            except (InvalidCommand, PeerQueueFull, ValueError) as error:
                detail = "the values do not fit" if entry.secret else str(error)
                self._end(entry, CommandEvent.REFUSED, failed(command, "invalid", detail))

    # ---- restart ----

    def restore(self, state: ServerState) -> None:
        """Take up the commands of an earlier incarnation; registrations are there already.

        What was on its way is sent again byte for byte where that is safe and still in time, so
        that the device answers from its memory of duplicates; the rest becomes `unknown`.
        """
        now = self._writer.now()
        for used in state.message_ids.values():
            self._continue_message_ids(used, now)
        waiting: list[str] = []
        for found in state.commands.values():
            if found.outcome is not None:
                self.table.restore_ended(found.command, found.outcome, secret=found.secret)
            elif found.intent is not None:
                self._restore_sent(found, found.intent, now)
            elif not found.secret:
                self._restore_queued(found)
                waiting.append(found.command.endpoint)
        for endpoint in dict.fromkeys(waiting):
            self.dispatch(endpoint)

    def checkpoint(self, state: ServerState) -> None:
        """Put the commands into the state that a compaction writes."""
        used_after_us = self._writer.clock.wall_us() - round(
            2e6 * self._parameters.exchange_lifetime_s
        )
        self._message_ids = {
            address: used
            for address, used in self._message_ids.items()
            if used.used_at_us > used_after_us
        }
        state.message_ids = dict(self._message_ids)
        for entry in self.table.entries():
            if entry.secret and not entry.logged:
                continue  # queued with secret values: it is not kept before it is sent
            command = without_values(entry.command) if entry.secret else entry.command
            found = CommandRecovered(command, entry.secret, entry.intent, entry.outcome)
            state.commands[command.id] = found

    def _restore_queued(self, found: CommandRecovered) -> None:
        entry = self.table.add(found.command, secret=False)
        entry.logged = True
        if self._devices.find(found.command.endpoint) is None:
            outcome = failed(found.command, "not_registered", "not registered when we restarted")
            self._end(entry, CommandEvent.REFUSED, outcome)

    def _restore_sent(self, found: CommandRecovered, intent: CommandIntent, now: float) -> None:
        entry = self.table.add(found.command, secret=found.secret)
        entry.logged = True
        exchange = self._resume(intent, now)
        self.table.mark_sent(entry, intent, exchange if exchange is not None else -1)
        if exchange is not None:
            self._by_exchange[exchange] = entry
        else:
            detail = "the server restarted before the outcome was known: it may have happened"
            self._end(entry, CommandEvent.LOST, failed(entry.command, "unknown", detail))

    def _resume(self, intent: CommandIntent, now: float) -> int | None:
        age_s = max(0.0, (self._writer.clock.wall_us() - intent.sent_at_us) / 1e6)
        if intent.datagram is None or age_s >= self._parameters.max_transmit_span_s:
            return None
        try:
            peer = parse_address(intent.address)
            return self._endpoint.resume_exchange(peer, intent.datagram, now - age_s, now)
        except ValueError:
            return None

    def _continue_message_ids(self, used: MessageIdUsed, now: float) -> None:
        self._message_ids[used.address] = used
        after = (used.message_id + MESSAGE_IDS_SKIPPED) & 0xFFFF
        self._endpoint.reserve_message_ids(parse_address(used.address), after, now)

    # ---- inside ----

    def _refusal(self, command: Command) -> str | None:
        """Why a command is not even taken: nothing is kept of it, and it may be sent again."""
        if not (0 < len(command.id) <= COMMAND_ID_LENGTH_MAX and command.id.isprintable()):
            return f"an id has 1 to {COMMAND_ID_LENGTH_MAX} printable characters"
        if not is_endpoint_name(command.endpoint):
            return f"{command.endpoint[:40]!r} is not an endpoint name"
        horizon_us = self._writer.clock.wall_us() + self._limits.command_lifetime_s_max * 1e6
        if command.expires_at_us > horizon_us:
            return f"it expires over {self._limits.command_lifetime_s_max:g} s from now"
        try:
            self.table.check_room(command.endpoint)
        except CommandsFull as error:
            return f"full: {error}"
        return None

    def _problem(self, command: Command) -> tuple[Stage, str] | None:
        """Why a command that is taken will not be sent."""
        device = self._devices.find(command.endpoint)
        if device is None:
            return "not_registered", "this server does not hold the device"
        holder = command.holder
        if holder is not None and (
            holder.server != self._writer.server
            or holder.registration_id != device.registration.registration_id
        ):
            return "not_registered", "the named holder no longer holds the device"
        return None

    def _send(self, entry: CommandEntry, peer: Address, request: Request) -> None:
        command, endpoint = entry.command, self._endpoint
        exchange = endpoint.send_request(peer, request, self._writer.now())
        # Without an id when an earlier exchange with the same address still blocks it (NSTART).
        message_id = endpoint.message_id_of(exchange)
        intent = CommandIntent(
            id=command.id,
            address=address_text(peer),
            message_id=-1 if message_id is None else message_id,
            sent_at_us=self._writer.clock.wall_us(),
            datagram=endpoint.datagram_of(exchange) if _may_be_repeated(entry) else None,
        )
        self._by_exchange[exchange] = entry
        self.table.mark_sent(entry, intent, exchange)
        self._write_accepted(entry)
        self._writer.write(intent)
        if message_id is not None:
            used = MessageIdUsed(intent.address, message_id, intent.sent_at_us)
            self._message_ids[intent.address] = used
        self._gates.note_sent(command, peer)
        self._tell_sent(command, intent.message_id)

    def _give_up(self, entry: CommandEntry, detail: str) -> None:
        self._by_exchange.pop(entry.exchange, None)
        self._endpoint.cancel(entry.exchange, self._writer.now())
        self._end(entry, CommandEvent.LOST, failed(entry.command, "unknown", detail))

    def _write_accepted(self, entry: CommandEntry) -> None:
        if not entry.logged:
            entry.logged = True
            command = without_values(entry.command) if entry.secret else entry.command
            self._writer.write(CommandAccepted(command, entry.secret))

    def _end(self, entry: CommandEntry, event: CommandEvent, outcome: Outcome) -> None:
        self._write_accepted(entry)
        command = entry.command
        self.table.mark_ended(entry, event, outcome)
        device = self._devices.find(command.endpoint)
        registration_id = device.registration.registration_id if device is not None else None
        self._writer.emit(
            "result", command.endpoint, registration_id=registration_id, result=outcome
        )
        self._tell_ended(command, outcome)
        if command.completes is not None and outcome.succeeded:
            self._writer.emit(
                "bootstrap",
                command.endpoint,
                registration_id=registration_id,
                completed=command.completes,
            )
            self._tell_bootstrapped(command.endpoint, command.completes.version)

    def _repeat_outcome(self, entry: CommandEntry) -> None:
        if entry.outcome is not None:
            endpoint = entry.command.endpoint
            self._data.answer(
                Result(server=self._writer.server, endpoint=endpoint, result=entry.outcome)
            )

    def _tell_received(self, command: Command, *, repeated: bool) -> None:
        writer = self._writer
        writer.observed.append(
            CommandReceived(
                at_ns=writer.clock.now_ns(),
                server=writer.server,
                id=command.id,
                endpoint=command.endpoint,
                operation=command.operation,
                path=command.path or "",
                repeated=repeated,
                issued_by=command.issued_by or "",
            )
        )

    def _tell_sent(self, command: Command, message_id: int) -> None:
        writer = self._writer
        writer.observed.append(
            CommandSent(
                at_ns=writer.clock.now_ns(),
                server=writer.server,
                id=command.id,
                endpoint=command.endpoint,
                message_id=message_id,
            )
        )

    def _tell_ended(self, command: Command, outcome: Outcome) -> None:
        writer = self._writer
        writer.observed.append(
            CommandEnded(
                at_ns=writer.clock.now_ns(),
                server=writer.server,
                id=command.id,
                endpoint=command.endpoint,
                operation=command.operation,
                path=command.path or "",
                code=outcome.code or "",
                stage=outcome.error.stage if outcome.error is not None else "",
            )
        )

    def _tell_bootstrapped(self, endpoint: str, version: str) -> None:
        writer = self._writer
        now_ns = writer.clock.now_ns()
        writer.observed.append(
            DeviceBootstrapped(
                at_ns=now_ns, server=writer.server, endpoint=endpoint, version=version
            )
        )


def _may_be_repeated(entry: CommandEntry) -> bool:
    """Whether the request may be sent again after a restart, and its bytes kept for that."""
    return not entry.secret and entry.command.operation not in NEVER_SENT_TWICE


def _may_go_on(entry: CommandEntry, device: Device, successor: Device | None) -> bool:
    """Whether a request stays on its way although the registration it was for has ended."""
    if successor is None or successor.peer != device.peer:
        return False
    # A device that registers anew may have rebooted and forgotten which messages it has had.
    return entry.command.operation not in NEVER_SENT_TWICE


def _expired(command: Command) -> Outcome:
    return failed(command, "expired", "it expired before it was sent")
