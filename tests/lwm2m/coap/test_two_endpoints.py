"""Two endpoints that do anything they may, in any order, over a network that loses and repeats."""

from __future__ import annotations

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from harness.testing import BAD_NETWORK, ConnectedPair, NetworkConditions
from lwm2m.coap import (
    CoapEndpoint,
    ExchangeFailed,
    PeerQueueFull,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    UnknownExchange,
    codes,
)

_NETWORKS = {
    "good": NetworkConditions(),
    "bad": BAD_NETWORK,
    "dead": NetworkConditions(loss_ratio=1.0),
}
_PARAMETERS = TransmissionParameters(
    block_size=64,
    nstart=2,
    token_bytes=13,
    queue_per_peer_max=6,
    transfers_per_peer_max=3,
    observations_per_peer_max=3,
    non_notification_burst=2,
    requests_per_peer_per_s=5.0,
    requests_per_peer_burst=40,
)
_SIZES = st.sampled_from([0, 10, 64, 65, 200, 700])
_NUMBERS = st.integers(0, 30)


def _body(version: int, size: int) -> bytes:
    return b"%d:" % version + bytes([version & 255]) * size


def _version(body: bytes) -> int:
    version, _, rest = body.partition(b":")
    assert set(rest) <= {int(version) & 255}, "blocks of two states were mixed"
    return int(version)


class TwoEndpoints(RuleBasedStateMachine):
    """The client asks and observes; the server answers, notifies and cancels."""

    @initialize(
        seed=st.integers(0, 10_000), slow=st.booleans(), answer=st.sampled_from(["blocks", "echo"])
    )
    def begin(self, seed: int, slow: bool, answer: str) -> None:
        server = msgspec.structs.replace(_PARAMETERS, amplification_answer=answer)
        self.slow = slow
        self.version, self.size = 1, 10
        self.requests = 0
        self.executed: list[str] = []
        self.unanswered: list[RequestReceived] = []
        self.observers: list[int] = []
        # By handle: what the client expects, and whether it has ended.
        self.expected: dict[int, bytes | None] = {}
        self.observing: dict[int, int] = {}
        self.cancelling: set[int] = set()
        self.ended: set[int] = set()
        self.seen = 0
        self.pair = ConnectedPair(
            self._answer, seed=seed, client_parameters=_PARAMETERS, server_parameters=server
        )

    # ---- what the server's application does ----

    def _answer(self, event: RequestReceived) -> Response | None:
        if self.slow and len(self.unanswered) < 5:
            self.unanswered.append(event)
            return None
        return self._decide(event)

    def _decide(self, event: RequestReceived) -> Response:
        request = event.request
        if request.code == codes.PUT:
            [name] = request.query
            self.executed.append(name)
            return Response(codes.CHANGED, request.payload[::-1])
        observe = self.version if request.observe == 0 else None
        if observe is not None:
            self.observers.append(event.exchange)
        return Response(codes.CONTENT, _body(self.version, self.size), observe=observe)

    @rule()
    def answer_what_waits(self) -> None:
        for event in self.unanswered:
            response = self._decide(event)
            try:
                self.pair.server.respond(event.exchange, response, self.pair.network.now)
            except UnknownExchange:
                continue
        self.unanswered.clear()

    @rule(size=_SIZES, confirmable=st.booleans(), fails=st.booleans())
    def change_the_state(self, size: int, confirmable: bool, fails: bool) -> None:
        self.version, self.size = self.version + 1, size
        state = Response(codes.CONTENT, _body(self.version, size), observe=self.version)
        if fails and self.version % 5 == 0:
            state = Response(codes.NOT_FOUND)
        for exchange in list(self.observers):
            try:
                self.pair.server.notify(
                    exchange, state, self.pair.network.now, confirmable=confirmable
                )
            except UnknownExchange:
                self.observers.remove(exchange)

    @rule(number=_NUMBERS)
    def stop_notifying(self, number: int) -> None:
        if self.observers:
            self.pair.server.cancel(self.observers[number % len(self.observers)])

    # ---- what the client's application does ----

    def _send(self, request: Request) -> int | None:
        try:
            return self.pair.request(request)
        except PeerQueueFull:
            return None

    @rule(size=_SIZES, confirmable=st.booleans(), path=st.sampled_from(["a", "b"]))
    def put(self, size: int, confirmable: bool, path: str) -> None:
        self.requests += 1
        body = _body(self.requests, size)
        name = str(self.requests)
        request = Request(codes.PUT, (path,), (name,), payload=body, confirmable=confirmable)
        handle = self._send(request)
        if handle is not None:
            self.expected[handle] = body[::-1]

    @rule(code=st.sampled_from([codes.GET, codes.FETCH]), confirmable=st.booleans())
    def get(self, code: int, confirmable: bool) -> None:
        handle = self._send(Request(code, ("state",), confirmable=confirmable))
        if handle is not None:
            self.expected[handle] = None

    @rule(code=st.sampled_from([codes.GET, codes.FETCH]), size=st.sampled_from([0, 100]))
    def observe(self, code: int, size: int) -> None:
        body = bytes(size) if code == codes.FETCH else b""
        handle = self._send(Request(code, ("state",), observe=0, payload=body))
        if handle is not None:
            self.observing[handle] = 0

    @rule(number=_NUMBERS)
    def give_up(self, number: int) -> None:
        handles = [*self.expected, *self.observing]
        if handles:
            self.pair.client.cancel(handles[number % len(handles)], self.pair.network.now)

    @rule(number=_NUMBERS)
    def end_observation(self, number: int) -> None:
        handles = list(self.observing)
        if not handles:
            return
        handle = handles[number % len(handles)]
        try:
            cancellation = self.pair.client.end_observation(handle, self.pair.network.now)
        except (UnknownExchange, PeerQueueFull):
            return
        self._collect()
        self.ended.add(handle)
        self.cancelling.add(cancellation)

    # ---- the world ----

    @rule(seconds=st.sampled_from([0.01, 0.2, 3.0, 50.0, 300.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.pair.run_for(seconds)

    @rule(which=st.sampled_from(sorted(_NETWORKS)))
    def change_the_network(self, which: str) -> None:
        self.pair.network.set_conditions(_NETWORKS[which])

    # ---- what must hold ----

    @invariant()
    def nothing_was_carried_out_twice(self) -> None:
        if hasattr(self, "pair"):
            assert len(set(self.executed)) == len(self.executed)

    @invariant()
    def what_was_told_is_right(self) -> None:
        if hasattr(self, "pair"):
            self._collect()

    @invariant()
    def limits_hold(self) -> None:
        if not hasattr(self, "pair"):
            return
        for endpoint in (self.pair.client, self.pair.server):
            core = endpoint._core
            peers = list(core.peers.by_address.values())
            assert core.observations == sum(len(peer.observations or ()) for peer in peers)
            for peer in peers:
                sent = [found for found in (peer.open or {}).values() if found.state == "sent"]
                held = sum(found.request.confirmable for found in sent)
                assert peer.outstanding == held <= _PARAMETERS.nstart
                assert len(peer.observations or ()) <= 3
                assert len(peer.transfers or ()) <= 3

    def _collect(self) -> None:
        events = self.pair.client_events
        for event in events[self.seen :]:
            if isinstance(event, ExchangeFailed):
                assert event.exchange not in self.ended
                self.ended.add(event.exchange)
            elif isinstance(event, ResponseReceived):
                assert event.exchange not in self.ended
                self._check(event.exchange, event.response)
        self.seen = len(events)
        for told in self.pair.server_events:
            if isinstance(told, ExchangeFailed) and told.exchange in self.observers:
                self.observers.remove(told.exchange)
        self.pair.server_events.clear()

    def _check(self, handle: int, response: Response) -> None:
        if handle in self.observing:
            if response.observe is None:
                self.ended.add(handle)
            if response.code == codes.CONTENT:
                version = _version(response.payload)
                assert version >= self.observing[handle]
                self.observing[handle] = version
            return
        self.ended.add(handle)
        if response.code == codes.CONTENT:
            _version(response.payload)
        elif response.code == codes.CHANGED:
            assert response.payload == self.expected[handle]
        elif handle in self.cancelling and response.code == codes.NOT_FOUND:
            pass  # the error that ended the observation crossed its cancellation
        else:
            assert response.code in (
                codes.SERVICE_UNAVAILABLE,
                codes.UNAUTHORIZED,
                codes.REQUEST_ENTITY_INCOMPLETE,
                codes.BAD_REQUEST,
            )

    def teardown(self) -> None:
        if not hasattr(self, "pair"):
            return
        self.pair.network.set_conditions(_NETWORKS["good"])
        self.slow = False
        self.answer_what_waits()
        self.pair.run_for(300.0)
        self._collect()
        for handle in list(self.observing):
            self.pair.client.cancel(handle, self.pair.network.now)
        for exchange in list(self.observers):
            self.pair.server.cancel(exchange)
        self.pair.run()
        self._collect()
        everything = {*self.expected, *self.observing, *self.cancelling}
        assert everything <= self.ended
        for endpoint in (self.pair.client, self.pair.server):
            _assert_empty(endpoint)


def _assert_empty(endpoint: CoapEndpoint) -> None:
    core = endpoint._core
    assert (endpoint.peers_known, endpoint.messages_remembered) == (0, 0)
    assert not endpoint._requester._by_handle
    assert not endpoint._responder._by_handle
    assert (core.observations, endpoint._blocks.transfers._bytes) == (0, 0)
    assert endpoint._blocks.transfers._count == 0
    assert core.answers._answer_bytes == 0
    assert endpoint.next_timer() is None


TwoEndpoints.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
TestTwoEndpoints = TwoEndpoints.TestCase
