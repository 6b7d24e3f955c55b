"""The LwM2M server without I/O: datagrams and frames in; log records, datagrams and frames out.

One turn: feed it, then take the records and put them on disk, and only then send the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from contracts.data_interface import Ack, Cancel, Command, Registration
from contracts.journal import ServerStarted
from harness.lwm2m_server.config import Defect, ServerLimits
from harness.lwm2m_server.data_interface import CLOSE_BEHIND, BridgeSession, DataInterface
from harness.lwm2m_server.devices import Address, address_text
from harness.lwm2m_server.dispatcher import Dispatcher
from harness.lwm2m_server.event_log import EventLog
from harness.lwm2m_server.gates import Gates
from harness.lwm2m_server.recovery import ServerState, state_records
from harness.lwm2m_server.registrar import Registrar
from harness.lwm2m_server.tamper import Tamper
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
from lwm2m.objects import Models
from runtime.clock import Clock

# Frames that a held gate keeps back before the bridge is disconnected.
HELD_FRAMES_MAX: Final = 10_000


class ServerCore:
    """One incarnation of a server, on the state that the log told of.

    `draw(n)` gives n random bytes, for tokens, message ids and registration ids.
    """

    def __init__(
        self,
        server: str,
        state: ServerState,
        *,
        clock: Clock,
        draw: Callable[[int], bytes],
        models: Models,
        limits: ServerLimits | None = None,
        parameters: TransmissionParameters | None = None,
        defect: Defect | None = None,
    ) -> None:
        bounds = limits or ServerLimits()
        timing = parameters or TransmissionParameters(payload_bytes_max=bounds.payload_bytes_max)
        self._server = server
        self._events = EventLog(
            state.epoch,
            newest=state.newest - len(state.events),
            acknowledged=state.acknowledged,
            kept_max=bounds.events_kept_max,
        )
        for frame in state.events:
            self._events.append(frame)
        self._writer = TurnWriter(server, self._events, clock)
        self._endpoint = CoapEndpoint(timing, draw)
        self._registrar = Registrar(self._writer, bounds, draw)
        self._data = DataInterface(server, self._events, bounds, self._registrar.registrations)
        self.gates = Gates()
        self._held_frames: list[tuple[BridgeSession, bytes]] = []
        self._dispatcher = Dispatcher(
            endpoint=self._endpoint,
            parameters=timing,
            devices=self._registrar,
            data=self._data,
            writer=self._writer,
            models=models,
            limits=bounds,
            gates=self.gates,
            tamper=Tamper(defect),
        )
        self._registrar.on_registered = self._dispatcher.device_registered
        self._registrar.on_left = self._dispatcher.device_left
        self._registrar.restore(state)
        self._dispatcher.restore(state)
        started = ServerStarted(
            at_ns=clock.now_ns(),
            server=server,
            epoch=state.epoch,
            resumed=len(state.registrations),
        )
        self._writer.observed.append(started)

    # ---- datagrams and time ----

    def receive_datagrams(self, datagrams: Sequence[tuple[bytes, Address]]) -> None:
        """Take what came on the CoAP socket. Never raises, whatever the bytes."""
        now = self._writer.now()
        receive = self._endpoint.receive_datagram
        for data, peer in datagrams:
            if not self.gates.is_deaf_to(peer):
                receive(data, peer, now)
        self._handle_events(now)

    def next_timer(self) -> float | None:
        """When `handle_timer` has to be called, in seconds of the clock."""
        now = self._writer.now()
        times = (
            self._endpoint.next_timer(),
            self._registrar.next_timer(),
            self._dispatcher.next_timer(now),
        )
        return min((due for due in times if due is not None), default=None)

    def handle_timer(self) -> None:
        """Do what is due."""
        now = self._writer.now()
        self._endpoint.handle_timer(now)
        self._handle_events(now)
        self._registrar.expire(now)
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
                self._dispatcher.receive(frame)
        elif isinstance(frame, Cancel):
            self._dispatcher.cancel(frame.id)

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

    def take_datagrams(self) -> list[tuple[bytes, Address]]:
        """Datagrams to send."""
        return self._endpoint.datagrams_to_send()  # type: ignore[return-value] # peers are ours

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

    def counters(self) -> dict[str, int]:
        """How often what happened, and how full what is."""
        events = self._events
        numbers = {
            "registrations": len(self._registrar),
            "events_newest": events.newest,
            "events_acknowledged": events.acknowledged,
            "events_kept": events.newest - events.oldest + 1,
            "events_dropped": events.dropped,
            "commands_open": self._dispatcher.table.open_count,
            "commands_kept": len(self._dispatcher.table),
        }
        refused = {f"refused_{name}": count for name, count in self._writer.refusals.items()}
        return numbers | dict(sorted(refused.items()))

    def checkpoint(self) -> bytes:
        """The whole log anew, as short as it can be. Call it when the turn's output is taken."""
        events = self._events
        state = ServerState(
            events.epoch,
            newest=events.newest,
            acknowledged=events.acknowledged,
            events=list(events.frames(events.oldest, events.newest - events.oldest + 1)),
        )
        self._registrar.checkpoint(state)
        self._dispatcher.checkpoint(state)
        return state_records(state, server=self._server)

    # ---- inside ----

    def _handle_events(self, now: float) -> None:
        for event in self._endpoint.events():
            self._handle_event(event, now)

    def _handle_event(self, event: Event, now: float) -> None:
        if isinstance(event, RequestReceived):
            peer: Address = event.peer  # type: ignore[assignment] # we gave it
            response = self._registrar.handle(event.request, peer, now)
            self._endpoint.respond(event.exchange, response, now)
        elif isinstance(event, ResponseReceived):
            self._dispatcher.answered(event.exchange, event.response)
        elif isinstance(event, ExchangeFailed):
            self._dispatcher.not_answered(event.exchange, event.reason)
        elif isinstance(event, DatagramRejected):
            self._writer.refuse(f"datagram_{event.reason}", address_text(event.peer))  # type: ignore[arg-type] # we gave it

    def _hold_back(self, session: BridgeSession, text: bytes) -> None:
        if len(self._held_frames) >= HELD_FRAMES_MAX:
            session.end(CLOSE_BEHIND, "a gate holds and too many frames wait")
            return
        self._held_frames.append((session, text))

    def _release_held(self) -> None:
        self.gates.release()
        self._held_frames.clear()
