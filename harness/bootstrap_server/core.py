"""The bootstrap server without I/O: datagrams in; datagrams, sessions and records out."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Final, Protocol

import msgspec

from contracts.journal import BootstrapSessionEnded
from contracts.names import is_endpoint_name
from harness.bootstrap_server.entries import BootstrapEntry
from harness.lwm2m_server.endpoints import Endpoints
from lwm2m.bootstrap import (
    PACK_PATH,
    REQUEST_PATH,
    BootstrapPlan,
    BootstrapSession,
    StepResult,
    encode_pack,
    read_bootstrap_request,
    read_pack_request,
)
from lwm2m.coap import (
    CoapEndpoint,
    DatagramRejected,
    Event,
    ExchangeFailed,
    PeerQueueFull,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
)
from lwm2m.errors import BootstrapRefused, LwM2mError
from lwm2m.objects import Models
from lwm2m.transport.peers import SecurePeer, address_of, security_of
from runtime.clock import Clock

_CHANGED: Final = Response(codes.CHANGED)
# RFC 7252 §5.10.5: when to come back to a server that has its hands full, in seconds. By chance,
# or who was sent away in one storm would come back as the next.
_RETRY_AFTER_S: Final = 10
_RETRY_SPREAD_S: Final = 30
_MAX_AGE: Final = 14


class Plans(Protocol):
    """What each endpoint is bootstrapped to."""

    def find(self, endpoint: str) -> tuple[BootstrapEntry, BootstrapPlan] | None:
        """None for a device that is not known here."""


class SessionReport(msgspec.Struct, frozen=True, kw_only=True):
    """One session, for people: where it stands and what became of each request."""

    endpoint: str
    address: str
    security: str
    state: str
    began_at_us: int
    steps: list[StepResult]


class _Running:
    __slots__ = (
        "address", "began_at_us", "endpoint", "exchange", "host", "peer", "security", "session",
    )  # fmt: skip

    def __init__(
        self, endpoint: str, peer: Hashable, session: BootstrapSession, began_at_us: int
    ) -> None:
        self.endpoint = endpoint
        self.peer = peer
        self.session = session
        self.began_at_us = began_at_us
        self.host, port = address_of(peer)
        self.address = f"{self.host}:{port}"
        self.security = security_of(peer).mode
        self.exchange = -1

    def report(self) -> SessionReport:
        return SessionReport(
            endpoint=self.endpoint,
            address=self.address,
            security=self.security,
            state=str(self.session.state),
            began_at_us=self.began_at_us,
            steps=list(self.session.results),
        )


class BootstrapCore:
    """Sessions by endpoint name: at most one each, at most `sessions_max` at once.

    The reports of the last `reports_max` devices are kept.
    """

    def __init__(
        self,
        server: str,
        plans: Plans,
        *,
        clock: Clock,
        draw: Callable[[int], bytes],
        models: Models,
        parameters: TransmissionParameters | None = None,
        sessions_max: int = 10_000,
        sessions_per_peer_max: int = 2_000,
        reports_max: int = 10_000,
    ) -> None:
        self._server = server
        self._plans = plans
        self._clock = clock
        self._models = models
        # Another transport adds its own; see `Endpoints`.
        self.endpoints = Endpoints(CoapEndpoint(parameters or TransmissionParameters(), draw))
        self._draw = draw
        self._sessions_max = sessions_max
        self._per_peer_max = sessions_per_peer_max
        # Sessions without security that run, by host.
        self._of_host: Counter[str] = Counter()
        self._reports_max = reports_max
        self._running: dict[str, _Running] = {}
        self._by_exchange: dict[int, _Running] = {}
        self._ended: OrderedDict[str, SessionReport] = OrderedDict()
        self.counters: Counter[str] = Counter()
        self.observed: list[msgspec.Struct] = []

    # ---- datagrams and time ----

    def receive_datagrams(self, datagrams: Iterable[tuple[bytes, Hashable]]) -> None:
        """Take what came on a socket. Never raises, whatever the bytes."""
        now = self._now()
        for data, peer in datagrams:
            self.endpoints.datagrams.receive_datagram(data, peer, now)
        self._handle_events(now)

    def handle_events(self) -> None:
        """Take what the endpoints tell; an endpoint beside the datagram one calls it."""
        self._handle_events(self._now())

    def peer_established(self, peer: SecurePeer) -> None:
        """A session of DTLS is there: its address is real, and a whole pack may go to it."""
        self.endpoints.validate_peer(peer)

    def peer_gone(self, peer: SecurePeer) -> None:
        """A session of DTLS or a connection has ended: what was bootstrapped over it has failed."""
        now = self._now()
        self.endpoints.forget_peer(peer, now)
        self._handle_events(now)

    def refuse_handshake(self, reason: str) -> None:
        """Count a session that never came to be."""
        self.counters[f"refused_handshake_{reason}"] += 1

    def next_timer(self) -> float | None:
        """When `handle_timer` has to be called, in seconds of the clock."""
        return self.endpoints.next_timer()

    def handle_timer(self) -> None:
        """Do what is due."""
        now = self._now()
        self.endpoints.handle_timer(now)
        self._handle_events(now)

    def take_datagrams(self) -> list[tuple[bytes, Hashable]]:
        """Datagrams to send."""
        return self.endpoints.datagrams.datagrams_to_send()

    def take_observed(self) -> list[msgspec.Struct]:
        """Records for the journal."""
        found, self.observed = self.observed, []
        return found

    # ---- for people ----

    def reports(self, endpoint: str | None = None) -> list[SessionReport]:
        """The sessions that run, and the last one of each device; of one endpoint only if named."""
        running = {name: session.report() for name, session in self._running.items()}
        found = {**self._ended, **running}
        if endpoint is not None:
            return [found[endpoint]] if endpoint in found else []
        return list(found.values())

    def numbers(self) -> dict[str, int]:
        """How often what happened, and how full what is."""
        return {"sessions_running": len(self._running), **dict(sorted(self.counters.items()))}

    # ---- inside ----

    def _now(self) -> float:
        return self._clock.now_ns() / 1e9

    def _handle_events(self, now: float) -> None:
        while found := self.endpoints.events():
            for number, events in found:
                for event in events:
                    self._handle_event(number, event, now)

    def _handle_event(self, number: int, event: Event, now: float) -> None:
        if isinstance(event, RequestReceived):
            self._handle_request(number, event, now)
        elif isinstance(event, ResponseReceived | ExchangeFailed):
            exchange = self.endpoints.exchange_of(number, event.exchange)
            running = self._by_exchange.pop(exchange, None)
            if running is None:
                return
            if isinstance(event, ResponseReceived):
                self._send(running, running.session.answered(event.response), now)
            else:
                running.session.unanswered(event.reason)
                self._end(running)
        elif isinstance(event, DatagramRejected) and not (number and event.reason == "reset"):
            # Of connections, "reset" tells that one has ended, which is nothing to refuse.
            self.counters[f"datagram_{event.reason}"] += 1

    def _handle_request(self, number: int, event: RequestReceived, now: float) -> None:
        request, peer = event.request, event.peer
        running: _Running | None = None
        try:
            response, running = self._answer(request, peer)
        except BootstrapRefused as error:
            self.counters[f"refused_{error.reason}"] += 1
            response = Response(error.code, error.detail.encode(errors="replace"))
        self.endpoints.numbered(number).respond(event.exchange, response, now)
        if running is not None:
            self._send(running, running.session.start(), now)

    def _answer(self, request: Request, peer: Hashable) -> tuple[Response, _Running | None]:
        proven = peer.endpoint_name if isinstance(peer, SecurePeer) else None
        if proven is None and security_of(peer).mode == "x509":
            raise BootstrapRefused(
                codes.BAD_REQUEST, "certificate_without_name", "it names no endpoint"
            )
        if request.path == REQUEST_PATH and request.code == codes.POST:
            found = read_bootstrap_request(request.query, proven)
            plan = self._plan(found.endpoint_name, peer)[1]
            session = BootstrapSession(plan, self._models, found.preferred_format)
            return self._begin(_Running(found.endpoint_name, peer, session, self._clock.wall_us()))
        if request.path == PACK_PATH and request.code == codes.GET:
            asked = read_pack_request(request.query, request.accept, proven)
            return self._pack(asked.endpoint_name, asked.content_format, peer), None
        if request.path in (REQUEST_PATH, PACK_PATH):
            raise BootstrapRefused(
                codes.METHOD_NOT_ALLOWED, "unexpected_method", "POST /bs or GET /bspack"
            )
        raise BootstrapRefused(
            codes.NOT_FOUND, "unexpected_path", "only /bs and /bspack are served"
        )

    def _plan(self, endpoint: str, peer: Hashable) -> tuple[BootstrapEntry, BootstrapPlan]:
        found = self._plans.find(endpoint) if is_endpoint_name(endpoint) else None
        if found is None:
            # §6.1.7.1 knows 4.00 and 4.15 alone for a request that is not granted.
            raise BootstrapRefused(codes.BAD_REQUEST, "unknown_endpoint", "not known here")
        entry = found[0]
        if not _is_secure(peer) and entry.holds_keys() and not entry.over_nosec:
            raise BootstrapRefused(
                codes.BAD_REQUEST, "keys_over_nosec", "keys are given over DTLS only"
            )
        return found

    def _begin(self, running: _Running) -> tuple[Response, _Running | None]:
        before = self._running.get(running.endpoint)
        if before is None and len(self._running) >= self._sessions_max:
            return self._later("refused_full"), None
        is_plain = running.security == "nosec"
        if before is None and is_plain and self._of_host[running.host] >= self._per_peer_max:
            return self._later("refused_peer_full"), None
        if before is not None and _is_secure(before.peer) and not _is_secure(running.peer):
            raise BootstrapRefused(
                codes.BAD_REQUEST, "begun_with_security", "this client has credentials: use them"
            )
        if before is not None:
            self._by_exchange.pop(before.exchange, None)
            self.endpoints.cancel(before.exchange, self._now())
            before.session.replaced()
            self._end(before)
        self._running[running.endpoint] = running
        if is_plain:
            self._of_host[running.host] += 1
        self.counters["sessions_begun"] += 1
        return _CHANGED, running

    def _leave_host(self, host: str) -> None:
        self._of_host[host] -= 1
        if not self._of_host[host]:
            del self._of_host[host]

    def _later(self, reason: str) -> Response:
        self.counters[reason] += 1
        wait_s = _RETRY_AFTER_S + self._draw(1)[0] % _RETRY_SPREAD_S
        return Response(codes.SERVICE_UNAVAILABLE, options=((_MAX_AGE, bytes([wait_s])),))

    def _pack(self, endpoint: str, content_format: int, peer: Hashable) -> Response:
        entry, plan = self._plan_for_pack(endpoint, peer)
        if not entry.pack:
            raise BootstrapRefused(codes.METHOD_NOT_ALLOWED, "pack_refused", "ask at /bs")
        try:
            payload = encode_pack(plan, content_format, self._models)
        except LwM2mError as error:
            detail = f"the pack cannot be written: {type(error).__name__}"
            raise BootstrapRefused(codes.INTERNAL_SERVER_ERROR, "plan_unwritable", detail) from None
        self.counters["packs_given"] += 1
        return Response(codes.CONTENT, payload, content_format)

    def _plan_for_pack(self, endpoint: str, peer: Hashable) -> tuple[BootstrapEntry, BootstrapPlan]:
        try:
            return self._plan(endpoint, peer)
        except BootstrapRefused as error:
            # A pack has codes of its own for both (§6.1.7.7).
            code = codes.UNAUTHORIZED if error.reason == "keys_over_nosec" else codes.NOT_FOUND
            raise BootstrapRefused(code, error.reason, error.detail) from None

    def _send(self, running: _Running, request: Request | None, now: float) -> None:
        if request is None:
            self._end(running)
            return
        try:
            running.exchange = self.endpoints.send_request(running.peer, request, now)
        except (PeerQueueFull, ValueError) as error:
            running.session.unanswered(f"not sent: {type(error).__name__}")
            self._end(running)
            return
        self._by_exchange[running.exchange] = running

    def _end(self, running: _Running) -> None:
        if self._running.get(running.endpoint) is running:
            del self._running[running.endpoint]
            if running.security == "nosec":
                self._leave_host(running.host)
        report = running.report()
        self.counters[f"sessions_{report.state}"] += 1
        self._ended.pop(running.endpoint, None)
        self._ended[running.endpoint] = report
        if len(self._ended) > self._reports_max:
            self._ended.popitem(last=False)
        last = report.steps[-1] if report.steps else None
        self.observed.append(
            BootstrapSessionEnded(
                at_ns=self._clock.now_ns(),
                server=self._server,
                endpoint=running.endpoint,
                state=report.state,
                steps=len(report.steps),
                last_operation=last.operation if last is not None else "",
                last_path=last.path if last is not None else "",
                code=(last.code or "") if last is not None else "",
            )
        )


def _is_secure(peer: Hashable) -> bool:
    return security_of(peer).mode != "nosec"
