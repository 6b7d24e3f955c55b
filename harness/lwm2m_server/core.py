"""The LwM2M server without I/O: datagrams and frames in; log records, datagrams and frames out.

One turn: feed it, then take the records and put them on disk, and only then send the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Final

import msgspec

from contracts.data_interface import (
    Ack,
    Cancel,
    Command,
    ErrorFrame,
    Outcome,
    Registration,
    Result,
)
from contracts.journal import ServerStarted
from harness.lwm2m_server.command_recovery import CommandRecovery
from harness.lwm2m_server.config import Defect, ServerLimits
from harness.lwm2m_server.data_interface import CLOSE_BEHIND, BridgeSession, DataInterface
from harness.lwm2m_server.devices import Device, peer_text
from harness.lwm2m_server.dispatcher import COMMAND_ID_LENGTH_MAX, CommandRefused, Dispatcher
from harness.lwm2m_server.endpoints import DatagramEndpoint, Endpoints
from harness.lwm2m_server.gates import Gates
from harness.lwm2m_server.observations import Observation, Observations
from harness.lwm2m_server.oscore_devices import OscoreDevices
from harness.lwm2m_server.payloads import ModelsFor, Payloads
from harness.lwm2m_server.recovery import ServerState, state_records
from harness.lwm2m_server.registrar import Registrar
from harness.lwm2m_server.sends import ROOT as SEND_ROOT
from harness.lwm2m_server.sends import Sends
from harness.lwm2m_server.short_way import NOT_CONFIRMABLE, ShortWay, short_way
from harness.lwm2m_server.tamper import Tamper
from harness.lwm2m_server.wakefulness import Wakefulness
from harness.lwm2m_server.writer import TurnWriter
from lwm2m.coap import (
    CoapEndpoint,
    DatagramRejected,
    Event,
    ExchangeFailed,
    RequestReceived,
    ResponseReceived,
    TransmissionParameters,
)
from lwm2m.registration import RegistrationPolicy
from lwm2m.transport.peers import SecurePeer
from runtime.clock import Clock

MakeEndpoint = Callable[[TransmissionParameters, Callable[[int], bytes]], DatagramEndpoint]

# Frames that a held gate keeps back before the bridge is disconnected.
HELD_FRAMES_MAX: Final = 10_000


class ServerCore:
    """One incarnation of a server, on the state that the log told of.

    `draw(n)` gives n random bytes, for tokens, message ids and registration ids. `make_endpoint`
    makes the endpoint of the datagram sockets; another transport's is added to `endpoints`.
    `is_tapped`: whether somebody takes what was observed.
    """

    def __init__(
        self,
        server: str,
        state: ServerState,
        *,
        clock: Clock,
        draw: Callable[[int], bytes],
        models_for: ModelsFor,
        limits: ServerLimits | None = None,
        parameters: TransmissionParameters | None = None,
        policy: RegistrationPolicy | None = None,
        profiles: Mapping[str, str] | None = None,
        defect: Defect | None = None,
        make_endpoint: MakeEndpoint = CoapEndpoint,
        oscore: OscoreDevices | None = None,
        is_tapped: bool = True,
    ) -> None:
        bounds = limits or ServerLimits()
        timing = parameters or bounds.transmission()
        self._server = server
        self._events = state.event_log(bounds.events_kept_max, bounds.events_bytes_max)
        self._held_frames: list[tuple[BridgeSession, bytes]] = []
        self._writer = TurnWriter(server, self._events, clock, is_tapped=is_tapped)
        # Other transports add theirs; see `Endpoints`.
        self.endpoints = Endpoints(make_endpoint(timing, draw))
        self._timing, self._draw = timing, draw
        self._oscore = oscore
        self._oscore_refused: Mapping[str, int] = {}
        # Whose session or connection is just ending: its requests wait for the next one.
        self._leaving: SecurePeer | None = None
        payloads = Payloads(models_for)
        self._registrar = Registrar(self._writer, bounds, draw, policy=policy, profiles=profiles)
        self._short_way = short_way(self.endpoints.datagrams, self._registrar, self._spoke)
        self._wakefulness = Wakefulness(self._writer, bounds.awake_s)
        self._observations = Observations(
            writer=self._writer,
            endpoints=self.endpoints,
            payloads=payloads,
            devices=self._registrar,
            wakefulness=self._wakefulness,
            limits=bounds,
        )
        self._sends = Sends(
            writer=self._writer, registrar=self._registrar, payloads=payloads, limits=bounds
        )
        self._data = DataInterface(server, self._events, bounds, self._registrar.devices)
        self.gates = Gates()
        self._dispatcher = Dispatcher(
            endpoints=self.endpoints,
            devices=self._registrar,
            writer=self._writer,
            payloads=payloads,
            observations=self._observations,
            wakefulness=self._wakefulness,
            limits=bounds,
            gates=self.gates,
            tamper=Tamper(defect),
        )
        self._join_parts()
        self._restore(state)

    # ---- datagrams, sessions and time ----

    def receive_datagrams(self, datagrams: Iterable[tuple[bytes, Hashable]]) -> None:
        """Take what came on the CoAP sockets. Never raises, whatever the bytes."""
        now = self._writer.now()
        receive = self.endpoints.datagrams.receive_datagram
        now_us = self._writer.clock.wall_us()
        quick, arrivals = self._quick_way(), list(datagrams)
        if quick is not None:
            del arrivals[: quick.take_newcomers(arrivals, now, now_us)]
        for data, peer in arrivals:
            if self.gates.held is None:
                # What is not confirmable, as an answer of a device, is none of what this takes.
                if quick and data < NOT_CONFIRMABLE and quick.take(data, peer, now, now_us):
                    continue
            elif self.gates.is_deaf_to(peer):
                continue
            receive(data, peer, now)
            # Before the next is looked at: the short way must not overtake.
            self.handle_events()
            quick = self._quick_way()

    def _quick_way(self) -> ShortWay | None:
        """How to take what looks as most datagrams do; None while a gate holds."""
        if self._short_way is None or self.gates.held is not None:
            return None
        # A fleet registers and updates with nothing of this going on: it should cost nothing then.
        self._short_way.is_awaited = bool(
            self._wakefulness.registration_ids
            or self._observations.of_device
            or self._dispatcher.table.open_count
        )
        return self._short_way

    def handle_events(self) -> None:
        """Take what the endpoints tell; an endpoint beside the datagram one calls it."""
        while found := self.endpoints.events():
            now = self._writer.now()
            for number, events in found:
                for event in events:
                    self._handle_event(number, event, now)

    def peer_established(self, peer: SecurePeer) -> None:
        """A new session is there: requests to the device that it names go over it at once."""
        # Its handshake came back from the address: answers to it need no limit.
        self.endpoints.validate_peer(peer)
        device = self._registrar.find_by_peer(peer)
        if device is not None and peer.endpoint_name is not None:
            self._registrar.move(device, peer)
            self._spoke(device, self._writer.now())
            self.handle_events()

    def peer_gone(self, peer: SecurePeer) -> None:
        """A session has ended: its device waits for the next one, and what was on its way too."""
        device = self._registrar.find_by_peer(peer)
        if device is not None and device.peer is peer:
            self._registrar.lose_peer(device)
            self._observations.peer_left(device)
        self._leaving = peer
        self.endpoints.forget_peer(peer, self._writer.now())
        self.handle_events()
        self._leaving = None

    def refuse_nosec_of(self, has_key: Callable[[str], bool]) -> None:
        """Let no endpoint register without security of which `has_key` says that it has a key."""
        self._registrar.has_key = has_key

    def refuse_handshake(self, reason: str, address: str, identity_hash: str = "") -> None:
        """Count a session that never came to be, for the counters and the journal."""
        self._writer.refuse_handshake(reason, address, identity_hash)

    def next_timer(self) -> float | None:
        """When `handle_timer` has to be called, in seconds of the clock."""
        now = self._writer.now()
        times = (
            self.endpoints.next_timer(),
            self._registrar.next_timer(),
            self._wakefulness.next_timer(),
            self._dispatcher.next_timer(now),
        )
        return min((due for due in times if due is not None), default=None)

    def handle_timer(self) -> None:
        """Do what is due."""
        now = self._writer.now()
        self.endpoints.handle_timer(now)
        self.handle_events()
        self._registrar.expire(now)
        self._wakefulness.handle_timer(now)
        self._dispatcher.handle_timer()

    # ---- the bridge ----

    def bridge_opened(self) -> BridgeSession:
        """A bridge is connected and let in; it replaces the one before."""
        self._release_held()
        return self._data.open()

    def bridge_received(self, session: BridgeSession, text: bytes) -> None:
        """Take one frame. Never raises, whatever the bytes."""
        if self.gates.held is not None:
            self._hold_back(session, text)
            return
        frame = self._data.received(session, text)
        if isinstance(frame, Ack):
            self._writer.acknowledge(frame.seq)
        elif isinstance(frame, Command):
            if not self.gates.swallows(frame):
                self._take_command(frame)
        elif isinstance(frame, Cancel):
            self._take_back(frame.id)

    def bridge_closed(self, session: BridgeSession) -> None:
        """A bridge's connection is gone; a gate that held it lets go."""
        if session is self._data.current:
            self._release_held()
        self._data.closed(session)

    def open_gate(self) -> None:
        """After `gates.order` released the gate that held: take what came meanwhile."""
        if self.gates.held is None:
            frames, self._held_frames = self._held_frames, []
            for session, text in frames:
                self.bridge_received(session, text)

    # ---- what a turn made, in this order ----

    def take_records(self) -> bytes:
        """What must be on disk before anything below leaves."""
        return self._writer.take_records()

    def take_observed(self) -> list[msgspec.Struct]:
        """Records of the data-interface tap, for the journal."""
        found, self._writer.observed = self._writer.observed, []
        return found

    def take_datagrams(self) -> list[tuple[bytes, Hashable]]:
        """Datagrams to send."""
        return self.endpoints.datagrams.datagrams_to_send()

    def take_frames(self, session: BridgeSession, room_bytes: int) -> list[bytes]:
        """Frames for one bridge, as many as fit; see `DataInterface.take_frames`."""
        if self.gates.held is not None and session is self._data.current:
            return []
        return self._data.take_frames(session, room_bytes)

    def has_frames(self, session: BridgeSession) -> bool:
        """Whether `take_frames` would give some if there were room."""
        if self.gates.held is not None and session is self._data.current:
            return False
        return self._data.has_frames(session)

    # ---- for people and for the log ----

    def registrations(self) -> list[Registration]:
        """All registrations."""
        return self._registrar.registrations()

    def observations(self) -> list[Observation]:
        """All observations."""
        return self._observations.all()

    def find_outcome(self, command_id: str) -> tuple[bool, Outcome | None]:
        """Whether this command is remembered, and its outcome once it has one."""
        entry = self._dispatcher.table.find(command_id)
        return entry is not None, None if entry is None else entry.outcome

    def operate(self, command: Command) -> Outcome | None:
        """Take a command that is no bridge's; its outcome, if it is known by now.

        Raises `CommandRefused`. `watch` first, to be told of an outcome that comes later.
        """
        found = self._dispatcher.receive(command)
        self.handle_events()
        return found

    def watch(self, command_id: str) -> None:
        """Have `take_watched` tell the outcome of this command."""
        self._dispatcher.watched[command_id] = None

    def unwatch(self, command_id: str) -> None:
        """Wait for it no longer."""
        self._dispatcher.watched.pop(command_id, None)

    def take_watched(self) -> list[Outcome]:
        """Outcomes that were waited for. Call it when the turn's records are on disk."""
        return self._dispatcher.take_watched()

    def counters(self) -> dict[str, int]:
        """How often what happened, and how full what is."""
        events = self._events
        numbers = {
            "registrations": len(self._registrar),
            "registrations_in_queue_mode": len(self._wakefulness.registration_ids),
            "observations": len(self._observations),
            "notifications_dropped": self._observations.notifications_dropped,
            "events_newest": events.newest,
            "events_acknowledged": events.acknowledged,
            "events_kept": events.newest - events.oldest + 1,
            "events_dropped": events.dropped,
            "commands_open": self._dispatcher.table.open_count,
            "commands_kept": len(self._dispatcher.table),
        }
        refused = {f"refused_{name}": count for name, count in self._writer.refusals.items()}
        if self._oscore is not None:
            numbers["oscore_contexts"] = len(self._oscore.endpoints)
            refused |= {f"refused_oscore_{name}": n for name, n in self._oscore_refused.items()}
        return numbers | dict(sorted(refused.items()))

    def checkpoint(self) -> Iterator[bytes]:
        """The whole log anew as of now, record by record, as short as it can be.

        Call it when the turn's output is taken. Until the last record is read, what later turns
        write has to follow it.
        """
        events = self._events
        state = ServerState(
            events.epoch,
            newest=events.newest,
            acknowledged=events.acknowledged,
            events=list(events.frames(events.oldest, events.newest - events.oldest + 1)),
        )
        self._wakefulness.checkpoint(state)
        self._observations.checkpoint(state)
        self._recovery.checkpoint(state)
        return state_records(state, server=self._server, registrations=self._registrar.checkpoint())

    # ---- inside ----

    def _join_parts(self) -> None:
        self._recovery = CommandRecovery(
            self._dispatcher,
            endpoints=self.endpoints,
            devices=self._registrar,
            writer=self._writer,
            parameters=self._timing,
        )
        self._registrar.on_left = self._device_left
        self._registrar.on_moved = self._device_moved
        oscore = self._oscore
        if oscore is not None:
            self._registrar.protected = oscore.endpoints
            self._registrar.protected_peer = oscore.peer_of
            oscore.on_changed = self._context_changed
            self._speak_oscore(oscore)

    def _speak_oscore(self, oscore: OscoreDevices) -> None:
        """Put OSCORE around the datagrams, from the first context on: without it costs nothing."""
        plain = self.endpoints.datagrams
        if not oscore.endpoints or not isinstance(plain, CoapEndpoint):
            return
        from lwm2m.transport.oscore import OscoreEndpoint

        protected = OscoreEndpoint(
            self._timing, oscore.contexts, self._draw, allow_unprotected=True, below=plain
        )
        self._oscore_refused = protected.refused
        self._short_way = None
        self.endpoints.replace_datagrams(protected)

    def _context_changed(self, endpoint: str) -> None:
        """What was agreed under the old context is over; the device comes with the new one."""
        assert self._oscore is not None
        self._speak_oscore(self._oscore)
        device = self._registrar.find(endpoint)
        peer = device.peer if device is not None else None
        if isinstance(peer, SecurePeer) and peer.security.mode == "oscore":
            self.peer_gone(peer)

    def _restore(self, state: ServerState) -> None:
        self._registrar.restore(state)
        self._wakefulness.restore(self._registrar.devices(), state)
        self._observations.restore(state)
        self._recovery.restore(state)
        self._observations.start()
        started = ServerStarted(
            at_ns=self._writer.clock.now_ns(),
            server=self._server,
            epoch=state.epoch,
            resumed=len(state.registrations),
        )
        self._writer.observed.append(started)

    def _handle_event(self, number: int, event: Event, now: float) -> None:
        if type(event) is RequestReceived:
            self._handle_request(number, event, now)
        elif isinstance(event, ResponseReceived):
            self._handle_response(self.endpoints.exchange_of(number, event.exchange), event, now)
        elif isinstance(event, ExchangeFailed):
            exchange = self.endpoints.exchange_of(number, event.exchange)
            reason = "cancelled" if event.peer is self._leaving else event.reason
            if self._observations.owns(exchange):
                self._observations.failed(exchange, reason)
            else:
                self._dispatcher.not_answered(exchange, reason)
        elif isinstance(event, DatagramRejected) and not (number and event.reason == "reset"):
            # Of connections, "reset" tells that one has ended, which is nothing to refuse.
            self._writer.refuse(f"datagram_{event.reason}", peer_text(event.peer), event.count)

    def _handle_request(self, number: int, event: RequestReceived, now: float) -> None:
        request = event.request
        path = request.path
        if path and path[0] == SEND_ROOT:
            answer = self._sends.handle(request, event.peer)
        else:
            answer = self._registrar.handle(request, event.peer, now)
        self.endpoints.numbered(number).respond(event.exchange, answer.response, now)
        # LwM2M Core §6.2: nothing is asked of a device before its Register is answered.
        device = answer.device
        if device is not None:
            self._spoke(device, now)

    def _handle_response(self, exchange: int, event: ResponseReceived, now: float) -> None:
        if self._observations.owns(exchange):
            endpoint: str | None = self._observations.received(exchange, event.response)
        else:
            endpoint = self._dispatcher.answered(exchange, event.response)
        device = self._registrar.find(endpoint) if endpoint is not None else None
        if device is not None:
            self._spoke(device, now)

    def _spoke(self, device: Device, now: float) -> None:
        """A device was heard: it is awake, and takes what waited for it."""
        if self._wakefulness.registration_ids or device.held.queue_mode:
            self._wakefulness.heard_from(device, now)
        if self._observations.of_device:
            self._observations.ask_again(device.endpoint)
        if self._dispatcher.table.open_count:
            self._dispatcher.device_spoke(device.endpoint)

    def _device_left(self, device: Device, successor: Device | None) -> None:
        self._dispatcher.device_left(device, successor)
        self._observations.device_left(device)
        self._wakefulness.left(device.endpoint)

    def _device_moved(self, device: Device, before: Hashable | None) -> None:
        """A device comes with another session: what went over the old one is over."""
        self._observations.peer_left(device)
        if before is not None:
            self.endpoints.forget_peer(before, self._writer.now())

    def _take_command(self, command: Command) -> None:
        try:
            outcome = self._dispatcher.receive(command)
        except CommandRefused as error:
            told = command.id[:COMMAND_ID_LENGTH_MAX]
            self._data.answer(ErrorFrame(detail=str(error), id=told))
            return
        if outcome is not None:
            self._answer_outcome(command.endpoint, outcome)

    def _take_back(self, command_id: str) -> None:
        try:
            entry = self._dispatcher.cancel(command_id)
        except CommandRefused as error:
            self._data.refuse(str(error), command_id=command_id[:COMMAND_ID_LENGTH_MAX])
            return
        if entry is not None and entry.outcome is not None:
            self._answer_outcome(entry.command.endpoint, entry.outcome)

    def _answer_outcome(self, endpoint: str, outcome: Outcome) -> None:
        self._data.answer(Result(server=self._server, endpoint=endpoint, result=outcome))

    def _hold_back(self, session: BridgeSession, text: bytes) -> None:
        if len(self._held_frames) >= HELD_FRAMES_MAX:
            session.end(CLOSE_BEHIND, "a gate holds and too many frames wait")
            return
        self._held_frames.append((session, text))

    def _release_held(self) -> None:
        self.gates.release()
        self._held_frames.clear()
