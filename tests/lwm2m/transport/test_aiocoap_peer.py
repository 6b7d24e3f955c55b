"""aiocoap, an independent implementation, as the other side: bytes and whole exchanges agree."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import aiocoap  # type: ignore[import-untyped]  # it has no py.typed
import pytest
from aiocoap import resource
from aiocoap.message import Direction  # type: ignore[import-untyped]  # likewise
from aiocoap.numbers.constants import TransportTuning  # type: ignore[import-untyped]  # likewise
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.testing import seeded_draw
from lwm2m.coap import (
    CoapEndpoint,
    Event,
    Message,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
    decode_message,
    encode_message,
    etag_of,
    options,
    preconditions_hold,
    with_max_age,
)
from lwm2m.transport import EndpointDriver, open_udp

_WITHIN_S = 60.0

_OPTIONS = st.lists(
    st.one_of(
        st.tuples(st.just(11), st.text(max_size=20).map(str.encode)),
        st.tuples(st.just(15), st.text(max_size=20).map(str.encode)),
        st.tuples(st.sampled_from([2_048, 65_000]), st.binary(max_size=300)),
    ),
    max_size=6,
).map(lambda found: tuple(sorted(found, key=lambda option: option[0])))


@given(st.integers(0, 0xFFFF), st.binary(max_size=8), _OPTIONS, st.binary(max_size=100))
@settings(max_examples=60, deadline=None)
def test_aiocoap_reads_our_bytes_and_writes_the_same(
    message_id: int, token: bytes, options: tuple[tuple[int, bytes], ...], payload: bytes
) -> None:
    data = encode_message(Message(0, codes.POST, message_id, token, options, payload))
    read = aiocoap.Message.decode(data)
    assert (read.mid, read.token, read.payload) == (message_id, token, payload)
    found = tuple((int(option.number), option.encode()) for option in read.opt.option_list())
    assert found == options
    read.direction = Direction.OUTGOING
    assert read.encode() == data
    assert decode_message(data).options == options


class Echo(resource.Resource):  # type: ignore[misc]  # aiocoap's base is untyped where it is mixed
    """Answers with the body it got."""

    async def render_put(self, request: Any) -> Any:
        """aiocoap: PUT."""
        return aiocoap.Message(code=aiocoap.CHANGED, payload=request.payload)

    async def render_get(self, request: Any) -> Any:
        """aiocoap: GET."""
        return aiocoap.Message(payload=b"large" * 500, content_format=42)


class Slow(resource.Resource):  # type: ignore[misc]  # likewise
    """Answers after its acknowledgement had to go out."""

    async def render_get(self, request: Any) -> Any:
        """aiocoap: GET, slower than its EMPTY_ACK_DELAY."""
        loop = asyncio.get_running_loop()
        decided = loop.create_future()
        loop.call_later(TransportTuning.EMPTY_ACK_DELAY * 2, decided.set_result, None)
        await decided
        return aiocoap.Message(payload=b"separate")


class Counter(resource.ObservableResource):  # type: ignore[misc]  # likewise
    """A number that can be observed, and read under its entity-tag."""

    def __init__(self) -> None:
        super().__init__()
        self.value = 1

    @property
    def observers(self) -> int:
        """How many aiocoap notifies."""
        return len(self._observations)

    def count(self) -> None:
        """Count, and notify."""
        self.value += 1
        self.updated_state()

    async def render_get(self, request: Any) -> Any:
        """aiocoap: GET, answered 2.03 to who names the entity-tag."""
        response = aiocoap.Message(payload=b"%d" % self.value)
        resource.hashing_etag(request, response)
        return response


class Asker:
    """Our endpoint as a client, one request at a time."""

    def __init__(self, parameters: TransmissionParameters) -> None:
        self.driver = EndpointDriver(CoapEndpoint(parameters, seeded_draw(1)), self._handle)
        self._told: asyncio.Queue[Event] = asyncio.Queue()

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            self._told.put_nowait(event)

    async def ask(self, peer: tuple[str, int], request: Request) -> Response:
        """The response to a request; anything else fails the test."""
        self.driver.send_request(peer, request)
        return await self.next_response()

    async def next_response(self) -> Response:
        """The next response or notification that is told."""
        event = await self._told.get()
        assert isinstance(event, ResponseReceived), event
        return event.response


async def _free_address() -> tuple[str, int]:
    """A port that is free, on a loopback address of this process's own: aiocoap shares ports with
    others (SO_REUSEPORT), and cannot be asked for any free one."""
    own = os.getpid()
    host = f"127.{1 + own % 250}.{own // 250 % 250}.{1 + own // 62_500 % 250}"
    probe = await open_udp(host, 0, lambda datagrams: None)
    address = probe.address
    probe.close()
    return address


def _run(story: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(story(), _WITHIN_S))


@pytest.mark.slow
@pytest.mark.parametrize("block_size", [64, 1024])
def test_our_client_talks_to_an_aiocoap_server(block_size: int) -> None:
    async def story() -> None:
        site = resource.Site()
        site.add_resource(["echo"], Echo())
        site.add_resource(["slow"], Slow())
        peer = await _free_address()
        context = await aiocoap.Context.create_server_context(site, bind=peer, transports=["udp6"])
        asker = Asker(TransmissionParameters(block_size=block_size))
        asker.driver.attach(await open_udp("127.0.0.1", 0, asker.driver.receive_datagrams))
        body = bytes(range(256)) * 9
        stored = await asker.ask(peer, Request(codes.PUT, ("echo",), payload=body))
        assert (stored.code, stored.payload) == (codes.CHANGED, body)
        large = await asker.ask(peer, Request(codes.GET, ("echo",)))
        assert (large.payload, large.content_format) == (b"large" * 500, 42)
        assert (await asker.ask(peer, Request(codes.GET, ("slow",)))).payload == b"separate"
        assert (await asker.ask(peer, Request(codes.GET, ("no",)))).code == codes.NOT_FOUND
        asker.driver.close()
        await context.shutdown()

    _run(story)


@pytest.mark.slow
@pytest.mark.parametrize("block_size", [64, 1024])
def test_an_aiocoap_client_talks_to_our_server(block_size: int) -> None:
    async def story() -> None:
        parameters = TransmissionParameters(block_size=block_size)
        endpoint = CoapEndpoint(parameters, seeded_draw(2))

        def answer(event: RequestReceived) -> None:
            request = event.request
            body = request.payload if request.code == codes.PUT else b"large" * 500
            driver.respond(event.exchange, Response(codes.CONTENT, body, content_format=42))

        def handle(events: list[Event]) -> None:
            for event in events:
                if isinstance(event, RequestReceived):
                    late = 3 * parameters.acknowledgement_delay_s
                    if event.request.path == ("slow",):
                        asyncio.get_running_loop().call_later(late, answer, event)
                    else:
                        answer(event)

        driver = EndpointDriver(endpoint, handle)
        link = await open_udp("127.0.0.1", 0, driver.receive_datagrams)
        driver.attach(link)
        context = await aiocoap.Context.create_client_context(transports=["udp6"])
        base = f"coap://127.0.0.1:{link.address[1]}"
        body = bytes(range(256)) * 9
        for method, path, expected in (
            (aiocoap.PUT, "echo", body),
            (aiocoap.GET, "large", b"large" * 500),
            (aiocoap.GET, "slow", b"large" * 500),
        ):
            payload = body if method == aiocoap.PUT else b""
            asked = aiocoap.Message(code=method, uri=f"{base}/{path}", payload=payload)
            response = await context.request(asked).response
            assert (response.code, response.payload) == (aiocoap.CONTENT, expected)
            assert int(response.opt.content_format) == 42
        await context.shutdown()
        driver.close()

    _run(story)


@pytest.mark.slow
def test_our_client_observes_an_aiocoap_server_and_cancels_both_ways() -> None:
    async def story() -> None:
        counter = Counter()
        site = resource.Site()
        site.add_resource(["counter"], counter)
        peer = await _free_address()
        context = await aiocoap.Context.create_server_context(site, bind=peer, transports=["udp6"])
        asker = Asker(TransmissionParameters())
        asker.driver.attach(await open_udp("127.0.0.1", 0, asker.driver.receive_datagrams))
        observe = Request(codes.GET, ("counter",), observe=0)
        for how in ("actively", "passively"):
            handle = asker.driver.send_request(peer, observe)
            first = await asker.next_response()
            assert first.observe is not None
            assert first.payload == b"%d" % counter.value
            for _ in range(3):
                counter.count()
                assert (await asker.next_response()).payload == b"%d" % counter.value
            if how == "actively":
                asker.driver.endpoint.end_observation(handle, asker.driver.now())
                asker.driver.flush_soon()
                last = await asker.next_response()
                assert (last.observe, last.payload) == (None, b"%d" % counter.value)
            else:
                asker.driver.endpoint.cancel(handle, asker.driver.now())
                counter.count()
                while counter.observers:
                    await _turn()
            assert counter.observers == 0
        asker.driver.close()
        await context.shutdown()

    _run(story)


async def _turn() -> None:
    """One datagram's time: loopback is quick, aiocoap is not."""
    loop = asyncio.get_running_loop()
    passed = loop.create_future()
    loop.call_later(0.01, passed.set_result, None)
    await passed


@pytest.mark.slow
def test_our_client_gets_2_03_from_an_aiocoap_server_for_what_it_has() -> None:
    async def story() -> None:
        site = resource.Site()
        site.add_resource(["counter"], Counter())
        peer = await _free_address()
        context = await aiocoap.Context.create_server_context(site, bind=peer, transports=["udp6"])
        asker = Asker(TransmissionParameters())
        asker.driver.attach(await open_udp("127.0.0.1", 0, asker.driver.receive_datagrams))
        whole = await asker.ask(peer, Request(codes.GET, ("counter",)))
        etag = etag_of(whole)
        assert etag is not None
        known = ((options.ETAG, etag),)
        again = await asker.ask(peer, Request(codes.GET, ("counter",), options=known))
        assert (again.code, again.payload, etag_of(again)) == (codes.VALID, b"", etag)
        asker.driver.close()
        await context.shutdown()

    _run(story)


class Server:
    """Our endpoint as a server; `answer` decides."""

    def __init__(
        self, parameters: TransmissionParameters, answer: Callable[[RequestReceived], Response]
    ) -> None:
        self.driver = EndpointDriver(CoapEndpoint(parameters, seeded_draw(2)), self._handle)
        self.exchanges: list[int] = []
        self.ended: list[Event] = []
        self._answer = answer

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, RequestReceived):
                self.exchanges.append(event.exchange)
                self.driver.respond(event.exchange, self._answer(event))
            else:
                self.ended.append(event)

    async def open(self) -> str:
        """Listen; the URI comes back."""
        link = await open_udp("127.0.0.1", 0, self.driver.receive_datagrams)
        self.driver.attach(link)
        return f"coap://127.0.0.1:{link.address[1]}"


@pytest.mark.slow
def test_an_aiocoap_client_observes_our_server_until_an_error() -> None:
    async def story() -> None:
        def answer(event: RequestReceived) -> Response:
            observe = 1 if event.request.observe == 0 else None
            return Response(codes.CONTENT, b"1", observe=observe)

        server = Server(TransmissionParameters(), answer)
        base = await server.open()
        context = await aiocoap.Context.create_client_context(transports=["udp6"])
        asked = context.request(aiocoap.Message(code=aiocoap.GET, uri=f"{base}/a", observe=0))
        assert (await asked.response).payload == b"1"
        told = aiter(asked.observation)
        for number, confirmable in ((2, True), (3, False), (4, True)):
            state = Response(codes.CONTENT, b"%d" % number * 700, observe=number)
            server.driver.endpoint.notify(
                server.exchanges[0], state, server.driver.now(), confirmable=confirmable
            )
            server.driver.flush_soon()
            assert (await anext(told)).payload == b"%d" % number * 700
        gone = Response(codes.NOT_FOUND)
        server.driver.endpoint.notify(server.exchanges[0], gone, server.driver.now())
        server.driver.flush_soon()
        # aiocoap gives the error as the last notification, or ends with one of its own.
        try:
            assert (await anext(told)).code == aiocoap.NOT_FOUND
        except (aiocoap.error.Error, StopAsyncIteration):
            assert server.ended == []
        await context.shutdown()
        server.driver.close()

    _run(story)


@pytest.mark.slow
def test_an_aiocoap_client_s_preconditions_echo_and_max_age() -> None:
    async def story() -> None:
        def answer(event: RequestReceived) -> Response:
            request = event.request
            if request.path == ("fresh",):
                endpoint, now = server.driver.endpoint, server.driver.now()
                if endpoint.echo_age_s(event.peer, request, now) is None:
                    return endpoint.echo_challenge(event.peer, now)
            elif not preconditions_hold(request, exists=True, etag=b"now"):
                return Response(codes.PRECONDITION_FAILED)
            return with_max_age(Response(codes.CHANGED), 7)

        critical = (options.IF_MATCH, options.IF_NONE_MATCH)
        server = Server(TransmissionParameters(critical_options=critical), answer)
        base = await server.open()
        context = await aiocoap.Context.create_client_context(transports=["udp6"])

        async def put(path: str, **found: Any) -> Any:
            message = aiocoap.Message(code=aiocoap.PUT, uri=f"{base}/{path}", **found)
            return await context.request(message).response

        assert (await put("a", if_none_match=True)).code == aiocoap.PRECONDITION_FAILED
        assert (await put("a", if_match=[b"old"])).code == aiocoap.PRECONDITION_FAILED
        changed = await put("a", if_match=[b"old", b"now"])
        assert (changed.code, changed.opt.max_age) == (aiocoap.CHANGED, 7)
        challenge = await put("fresh")
        assert challenge.code == aiocoap.UNAUTHORIZED
        assert (await put("fresh", echo=challenge.opt.echo)).code == aiocoap.CHANGED
        await context.shutdown()
        server.driver.close()

    _run(story)


@pytest.mark.slow
def test_an_aiocoap_client_is_told_that_our_server_is_overloaded() -> None:
    async def story() -> None:
        parameters = TransmissionParameters(
            requests_per_s=0.01, requests_burst=1, overload_max_age_s=9
        )
        server = Server(parameters, lambda event: Response(codes.CHANGED))
        base = await server.open()
        context = await aiocoap.Context.create_client_context(transports=["udp6"])
        answers = [
            await context.request(aiocoap.Message(code=aiocoap.POST, uri=f"{base}/a")).response
            for _ in range(2)
        ]
        assert [answer.code for answer in answers] == [
            aiocoap.CHANGED,
            aiocoap.SERVICE_UNAVAILABLE,
        ]
        assert answers[1].opt.max_age == 9
        await context.shutdown()
        server.driver.close()

    _run(story)
