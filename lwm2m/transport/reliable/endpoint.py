"""A CoAP endpoint over connections: the methods and events of `CoapEndpoint`, bytes for datagrams.

Its peers are `ReliablePeer`s. It knows no sockets and no clock; `now` is as in `CoapEndpoint`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from lwm2m.coap.events import Event
from lwm2m.coap.parameters import TransmissionParameters
from lwm2m.coap.requests import Request, Response
from lwm2m.transport.reliable.connection import ReliablePeer
from lwm2m.transport.reliable.exchanges import ReliableExchanges
from lwm2m.transport.whole_bodies import WholeBodies

_ROOM_OF_NOBODY = 1_024


class ReliableEndpoint:
    """Exchanges over any number of connections, in both directions on each."""

    __slots__ = ("_bodies", "_events", "_exchanges", "_now")

    def __init__(self, parameters: TransmissionParameters, draw: Callable[[int], bytes]) -> None:
        """Of `parameters` these count: `payload_bytes_max`, from which the largest message follows
        that we announce; `response_timeout_s`; `queue_per_peer_max`, how many requests may be open;
        `pending_per_peer_max`, how many of the peer's are taken before it has to wait."""
        self._exchanges = ReliableExchanges(parameters)
        self._bodies = WholeBodies(self._exchanges, parameters, draw, self._room_bytes, bert=True)
        self._events: list[Event] = []
        self._now = 0.0

    # ---- connections ----

    def connect(self, peer: ReliablePeer, now: float) -> None:
        """A connection is made, by either side."""
        self._now = now
        self._exchanges.connect(peer)

    def receive_bytes(self, peer: ReliablePeer, data: bytes, now: float) -> None:
        """Take bytes that came over a connection. Never raises, whatever the bytes."""
        self._exchanges.receive_bytes(peer, data)
        self._take_events(now)

    @property
    def is_behind(self) -> bool:
        """Whether messages that came wait, so that one peer with many keeps nobody else waiting:
        `read_behind` is to be called once what else is due has been done."""
        return self._exchanges.is_behind

    def read_behind(self, now: float) -> None:
        """Act on the next messages of the connection that waits the longest."""
        self._exchanges.read_behind()
        self._take_events(now)

    def disconnect(self, peer: ReliablePeer, now: float, detail: str = "the connection is lost"
                   ) -> None:  # fmt: skip
        """A connection is gone: requests over it fail as "timeout", observations as "cancelled"."""
        self._exchanges.disconnect(peer, detail)
        self._bodies.forget_peer(peer)
        self._take_events(now)

    def release(self, peer: Hashable, now: float) -> None:
        """End a connection in order (RFC 8323 §5.5): what is open is still answered."""
        self._exchanges.release(peer)
        self._take_events(now)

    def abort(self, peer: Hashable, why: str, now: float) -> None:
        """End a connection at once; `why` is told to the peer."""
        connection = self._exchanges.find(peer)
        if connection is not None and connection.state != "closed":
            self._exchanges.abort(connection, why)
            self._take_events(now)

    def is_open(self, peer: Hashable) -> bool:
        """Whether the peer's CSM came, and nothing ended the connection."""
        connection = self._exchanges.find(peer)
        return connection is not None and connection.state == "open"

    def wants_bytes(self, peer: Hashable) -> bool:
        """Whether more may be read: not while too many requests or messages wait, or the peer does
        not read."""
        connection = self._exchanges.find(peer)
        if connection is None or connection.is_behind:
            return False
        return connection.is_writable and not self._exchanges.is_full(connection)

    def set_writable(self, peer: Hashable, is_writable: bool) -> None:
        """What is written to this connection leaves, or piles up."""
        connection = self._exchanges.find(peer)
        if connection is not None:
            connection.is_writable = is_writable
            self._exchanges.slowed[connection.peer] = None

    def take_slowed(self) -> list[ReliablePeer]:
        """Connections of which `wants_bytes` may say something else than at the last call."""
        found, self._exchanges.slowed = self._exchanges.slowed, {}
        return list(found)

    def take_output(self) -> list[tuple[ReliablePeer, bytes]]:
        """What is to be written since the last call, as (peer, bytes)."""
        return self._exchanges.take_output()

    def take_closing(self) -> list[ReliablePeer]:
        """Connections to be closed once their output is written; then `disconnect` them."""
        found, self._exchanges.closing = self._exchanges.closing, []
        return found

    # ---- as CoapEndpoint ----

    def send_request(self, peer: Hashable, request: Request, now: float) -> int:
        """See `CoapEndpoint.send_request`; also raises `ConnectionGone`.

        `confirmable` means nothing here. The answer is awaited for `response_timeout_s`.
        """
        return self._bodies.send_request(peer, request, now)

    def respond(self, exchange: int, response: Response, now: float) -> None:
        """See `CoapEndpoint.respond`."""
        self._bodies.respond(exchange, response, now)

    def notify(
        self, exchange: int, response: Response, now: float, *, confirmable: bool = False
    ) -> None:
        """See `CoapEndpoint.notify`; `confirmable` means nothing here."""
        self._bodies.notify(exchange, response, now, confirmable=confirmable)

    def cancel(self, exchange: int, now: float | None = None) -> None:
        """See `CoapEndpoint.cancel`. Without RST, notifications go on unheeded: who observes had
        better call `end_observation`."""
        self._bodies.cancel(exchange, now)
        self._take_events(self._now if now is None else now)

    def end_observation(self, exchange: int, now: float) -> int:
        """See `CoapEndpoint.end_observation`."""
        return self._bodies.end_observation(exchange, now)

    def ping(self, peer: Hashable, now: float) -> None:
        """Send a Ping; its Pong is told as `DatagramRejected` "reset"."""
        self._exchanges.ping(peer)

    def events(self) -> list[Event]:
        """See `CoapEndpoint.events`."""
        self._take_events(self._now)
        found, self._events = self._events, []
        return found

    def next_timer(self) -> float | None:
        """See `CoapEndpoint.next_timer`."""
        times = (self._exchanges.next_timer(), self._bodies.next_timer())
        return min((due for due in times if due is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """See `CoapEndpoint.handle_timer`."""
        self._exchanges.handle_timer(now)
        self._bodies.handle_timer(now)
        self._take_events(now)

    def forget_peer(self, peer: Hashable, now: float | None = None) -> None:
        """End the connection at once; what is open fails."""
        self.abort(peer, "not wanted any more", self._now if now is None else now)

    @property
    def peers_known(self) -> int:
        """How many connections there are."""
        return len(self._exchanges)

    # ---- inside ----

    def _room_bytes(self, peer: Hashable) -> int:
        connection = self._exchanges.find(peer)
        return _ROOM_OF_NOBODY if connection is None else connection.room_bytes

    def _take_events(self, now: float) -> None:
        self._now = now
        exchanges = self._exchanges
        is_first_round = True
        while True:
            resumed, exchanges.resumed = exchanges.resumed, []
            for connection in resumed:
                # What is answered at once makes room at once: it would go on without end.
                if is_first_round and not connection.is_behind:
                    exchanges.read_on(connection)
                else:
                    exchanges.put_off(connection)
            events = exchanges.take_events()
            if not events and not resumed:
                return
            is_first_round = False
            for event in events:
                self._events += self._bodies.take_event(event, now)
