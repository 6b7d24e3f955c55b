"""TLS between TCP and a protocol: two of them, joined by transports without a network."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mqtt.tls import ClientContext, ServerContext, TlsEnd, TlsFailed
from mqtt.transport.secured import Failure, SecuredConnection
from tests.mqtt.tls.pki import HOST, Authority
from tests.processes import WITHIN_S

CA = Authority("ca")
BROKER, LAMP = CA.issue("broker"), CA.issue("lamp-1")
SERVER = ServerContext(anchors=[CA.certificate], chain=[BROKER.certificate], key=BROKER.key)
LAMP_CONTEXT = ClientContext([CA.certificate], chain=[LAMP.certificate], key=LAMP.key)
STRANGER = ClientContext([CA.certificate])


class Tcp(asyncio.Transport):
    """One end of a TCP connection; what is written waits for `Wire.carry`."""

    def __init__(self) -> None:
        super().__init__({"peername": (HOST, 1)})
        self.written: list[bytes] = []
        self.calls: list[str] = []
        self.limits: tuple[int | None, int | None] = (None, None)
        self.is_read = True
        self.aborted = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert "close" not in self.calls
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return "close" in self.calls or "abort" in self.calls

    def is_reading(self) -> bool:
        return self.is_read

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.written))

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")
        self.aborted.set()


class Inner(asyncio.Protocol):
    """Writes down what it is told."""

    def __init__(self, on_data: Callable[[bytes], None] = lambda _: None) -> None:
        self.heard: list[Any] = []
        self.transport: asyncio.Transport | None = None
        self._on_data = on_data

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.heard.append("made")

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)
        self._on_data(data)

    def eof_received(self) -> None:
        self.heard.append("eof")

    def pause_writing(self) -> None:
        self.heard.append("pause")

    def resume_writing(self) -> None:
        self.heard.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.heard.append(("lost", exc))


class Side:
    """One side of a connection."""

    def __init__(self, end: TlsEnd, within_s: float = WITHIN_S) -> None:
        self.inner = Inner()
        self.failures: list[Failure] = []
        self.failed = asyncio.Event()
        self.secured = SecuredConnection(end, self.inner, within_s, self._fail)
        self.tcp = Tcp()
        self.secured.connection_made(self.tcp)

    def _fail(self, reason: Failure) -> None:
        self.failures.append(reason)
        self.failed.set()

    def end(self, exc: Exception | None = None) -> None:
        """The loop says that TCP is gone; what waits for a while is given up."""
        self.secured.connection_lost(exc)


class Wire:
    """Two sides; each of them may be looked at in between."""

    def __init__(self, context: ClientContext = LAMP_CONTEXT) -> None:
        self.client, self.server = Side(context.open(HOST)), Side(SERVER.open())

    def carry(self) -> None:
        """Bring everything over that was written, until there is no more."""
        while self.client.tcp.written or self.server.tcp.written:
            for one, other in ((self.client, self.server), (self.server, self.client)):
                data = b"".join(one.tcp.written)
                one.tcp.written.clear()
                if data and not other.tcp.calls:
                    other.secured.data_received(data)

    def end(self) -> None:
        self.client.end()
        self.server.end()


def story(
    play: Callable[[Wire], Awaitable[None] | None], context: ClientContext = LAMP_CONTEXT
) -> None:
    async def whole() -> None:
        wire = Wire(context)
        try:
            wire.carry()
            done = play(wire)
            if done is not None:
                await asyncio.wait_for(done, WITHIN_S)
        finally:
            wire.end()

    asyncio.run(whole())


def test_each_inner_protocol_hears_of_the_connection_once_tls_is_there() -> None:
    def play(wire: Wire) -> None:
        server, client = wire.server, wire.client
        assert server.inner.heard == client.inner.heard == ["made"]
        assert server.inner.transport is server.secured
        assert server.secured.get_protocol() is server.inner
        assert server.secured.get_extra_info("peer_certificate").common_names == ("lamp-1",)
        assert server.secured.get_extra_info("peername") == (HOST, 1)
        assert server.secured.get_extra_info("nothing", 5) == 5
        assert not server.secured.can_write_eof()

    story(play)


def test_what_one_writes_the_other_hears() -> None:
    def play(wire: Wire) -> None:
        wire.client.secured.write(b"")
        assert wire.client.tcp.written == []
        wire.client.secured.write(memoryview(b"up"))
        wire.client.secured.writelines([b"and ", bytearray(b"up")])
        wire.server.secured.write(b"down")
        wire.carry()
        assert wire.server.inner.heard == ["made", b"upand up"]
        assert wire.client.inner.heard == ["made", b"down"]

    story(play)


def test_another_protocol_may_go_on() -> None:
    def play(wire: Wire) -> None:
        successor = Inner()
        wire.server.secured.set_protocol(successor)
        wire.client.secured.write(b"up")
        wire.carry()
        assert successor.heard == [b"up"]
        assert wire.server.inner.heard == ["made"]

    story(play)


def test_back_pressure_is_that_of_tcp() -> None:
    def play(wire: Wire) -> None:
        secured, tcp = wire.server.secured, wire.server.tcp
        secured.set_write_buffer_limits(high=100, low=10)
        assert tcp.limits == (100, 10)
        secured.write(b"x" * 500)
        assert secured.get_write_buffer_size() > 500
        secured.pause_writing()
        secured.resume_writing()
        assert wire.server.inner.heard == ["made", "pause", "resume"]
        secured.pause_reading()
        assert not secured.is_reading()
        secured.resume_reading()
        assert secured.is_reading()

    story(play)


def test_tcp_that_is_full_during_the_handshake_bothers_nobody() -> None:
    async def whole() -> None:
        side = Side(SERVER.open())
        side.secured.pause_writing()
        side.secured.resume_writing()
        assert side.inner.heard == []
        side.end()

    asyncio.run(whole())


def test_a_good_bye_is_answered_and_both_are_gone() -> None:
    def play(wire: Wire) -> None:
        wire.client.secured.write(b"last")
        wire.client.secured.close()
        wire.client.secured.write(b"too late")
        assert wire.client.secured.is_closing()
        assert wire.client.tcp.calls == []  # it listens for the answer
        wire.carry()
        assert wire.server.inner.heard == ["made", b"last", "eof"]
        assert wire.server.tcp.calls[0] == "close"
        assert wire.client.tcp.calls[0] == "close"
        wire.end()
        assert wire.server.inner.heard[-1] == wire.client.inner.heard[-1] == ("lost", None)

    story(play)


def test_what_comes_after_the_own_good_bye_is_for_nobody() -> None:
    def play(wire: Wire) -> None:
        wire.server.secured.pause_reading()
        wire.server.secured.close()
        assert wire.server.tcp.is_read  # or it would not hear the answer
        wire.server.secured.pause_reading()
        assert wire.server.tcp.is_read
        wire.client.secured.write(b"unheard")
        wire.server.secured.close()
        wire.carry()
        assert wire.server.inner.heard == ["made"]
        assert wire.server.tcp.calls[0] == "close"

    story(play)


def test_a_good_bye_that_nobody_answers_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mqtt.transport.secured.LINGER_S", 0.0)

    async def play(wire: Wire) -> None:
        wire.server.secured.close()
        await wire.server.tcp.aborted.wait()

    story(play)


def test_who_says_good_bye_and_reads_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mqtt.transport.secured.LINGER_S", 0.0)

    async def play(wire: Wire) -> None:
        wire.client.secured.close()
        wire.carry()
        assert set(wire.server.tcp.calls) == {"close"}
        await wire.server.tcp.aborted.wait()

    story(play)


def test_who_is_given_up_before_tcp_is_there_gets_none() -> None:
    async def whole() -> None:
        secured, tcp = SecuredConnection(SERVER.open(), Inner(), WITHIN_S), Tcp()
        secured.abort()
        secured.connection_made(tcp)
        assert tcp.calls == ["abort"]
        secured.connection_lost(None)

    asyncio.run(whole())


@pytest.mark.parametrize("last", [b"", b"this is no record of TLS"])
def test_a_connection_that_is_gone_leaves_nothing_to_the_collector(last: bytes) -> None:
    def live_and_end() -> None:
        client, inner = LAMP_CONTEXT.open(HOST), Inner()
        secured, tcp = SecuredConnection(SERVER.open(), inner, WITHIN_S), Tcp()
        secured.connection_made(tcp)
        for _ in range(2):
            secured.data_received(client.data_to_send())
            client.receive(b"".join(tcp.written))
            tcp.written.clear()
        assert inner.transport is secured
        if last:
            secured.data_received(last)
        secured.connection_lost(None)
        assert inner.heard.pop()[0] == "lost"  # an error leads to the frames that it came through

    async def whole() -> None:
        gc.collect()
        gc.disable()
        try:
            live_and_end()
            assert not any(isinstance(one, SecuredConnection) for one in gc.get_objects())
        finally:
            gc.enable()

    asyncio.run(whole())


def test_tcp_that_ends_without_a_good_bye_ends_it_too() -> None:
    def play(wire: Wire) -> None:
        wire.server.secured.eof_received()
        assert wire.server.inner.heard == ["made", "eof"]
        assert wire.server.tcp.calls[0] == "close"
        wire.server.secured.eof_received()
        error = ConnectionResetError()
        wire.client.end(error)
        assert wire.client.inner.heard == ["made", ("lost", error)]
        wire.client.secured.abort()

    story(play)


def test_a_record_that_was_altered_ends_the_connection_with_the_reason() -> None:
    def play(wire: Wire) -> None:
        wire.client.secured.write(b"up")
        data = bytearray(wire.client.tcp.written.pop())
        data[-1] ^= 1
        wire.server.secured.data_received(bytes(data))
        assert wire.server.tcp.calls == ["close"]
        assert wire.server.failures == []
        wire.server.end()
        kind, error = wire.server.inner.heard[-1]
        assert kind == "lost"
        assert isinstance(error, TlsFailed)

    story(play)


def test_a_stranger_is_told_by_an_alert_and_nobody_hears_of_it() -> None:
    def play(wire: Wire) -> None:
        assert wire.server.inner.heard == []
        (failure,) = wire.server.failures
        assert "peer did not return a certificate" in str(failure)
        assert wire.server.tcp.calls == ["close"]

    story(play, STRANGER)


def test_what_is_no_tls_is_a_failure_told_once() -> None:
    async def whole() -> None:
        side = Side(SERVER.open())
        side.secured.data_received(b"GET / HTTP/1.0\r\n\r\n")
        side.secured.eof_received()
        side.end()
        assert [type(one) for one in side.failures] == [TlsFailed]
        assert side.inner.heard == []

    asyncio.run(whole())


@pytest.mark.parametrize("error", [None, ConnectionResetError("reset")])
def test_who_goes_before_tls_is_there_is_a_failure(error: Exception | None) -> None:
    async def whole() -> None:
        side = Side(SERVER.open())
        side.end(error)
        (failure,) = side.failures
        assert failure is error or "closed by the other side" in str(failure)
        assert side.inner.heard == []

    asyncio.run(whole())


def test_a_handshake_that_is_closed_from_here_is_no_failure() -> None:
    async def whole() -> None:
        side = Side(SERVER.open())
        side.secured.close()
        assert side.tcp.calls == ["close"]
        side.end()
        assert side.failures == []

    asyncio.run(whole())


def test_a_handshake_that_takes_too_long_is_cut_off() -> None:
    async def whole() -> None:
        side = Side(SERVER.open(), within_s=0.0)
        await asyncio.wait_for(side.failed.wait(), WITHIN_S)
        assert [type(one) for one in side.failures] == [TimeoutError]
        assert "abort" in side.tcp.calls
        side.end()
        assert len(side.failures) == 1

    asyncio.run(whole())


def test_without_tcp_it_answers_all_the_same() -> None:
    async def whole() -> None:
        secured = SecuredConnection(SERVER.open(), Inner(), WITHIN_S)
        assert secured.get_extra_info("peername", "none") == "none"
        assert secured.get_extra_info("peer_certificate", "none") == "none"
        assert secured.get_write_buffer_size() == 0
        assert not secured.is_reading()
        secured.set_write_buffer_limits(1)
        secured.pause_reading()
        secured.resume_reading()
        secured.abort()
        secured.connection_lost(None)

    asyncio.run(whole())
