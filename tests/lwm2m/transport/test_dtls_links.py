"""DTLS links on real sockets, with CoAP on top."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

import pytest

from lwm2m.coap import (
    CoapEndpoint,
    Event,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
)
from lwm2m.transport import EndpointDriver, UdpLink, open_many_addresses, open_udp
from lwm2m.transport.dtls import (
    DtlsClient,
    DtlsClientLink,
    DtlsServerLink,
    DtlsSettings,
    PskCredentials,
    ServerCredentials,
    open_dtls_server,
)
from lwm2m.transport.peers import SecurePeer, security_of
from tests.lwm2m.transport.dtls_pair import IDENTITY, PSK, SERVER_PSK, certificates

if TYPE_CHECKING:
    from tests.lwm2m.transport.conftest import Run


class Changes:
    """Wakes a test when something was told, and keeps it."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self._changed = asyncio.Event()

    def tell(self, *what: Any) -> None:
        self.told.append(what)
        self._changed.set()

    async def until(self, count: int) -> list[tuple[Any, ...]]:
        """Wait until so much was told."""
        while len(self.told) < count:
            self._changed.clear()
            await self._changed.wait()
        return self.told


async def _open_udp(receive: Callable[[Any], None]) -> UdpLink:
    return await open_udp("127.0.0.1", 0, receive)


async def _coap_server(**options: Any) -> tuple[DtlsServerLink, list[Hashable]]:
    """A CoAP server over DTLS that answers everything; and who asked."""
    asked: list[Hashable] = []

    def answer(events: list[Event]) -> None:
        for event in events:
            if isinstance(event, RequestReceived):
                asked.append(event.peer)
                driver.respond(
                    event.exchange, Response(codes.CREATED, payload=event.request.payload)
                )

    driver = EndpointDriver(CoapEndpoint(TransmissionParameters(), os.urandom), answer)
    options.setdefault("credentials", SERVER_PSK)
    credentials = options.pop("credentials")
    link = await open_dtls_server("127.0.0.1", 0, driver.receive_datagrams, credentials, **options)
    driver.attach(link)
    return link, asked


def test_coap_goes_over_a_session_and_the_server_knows_the_device(run: Run) -> None:
    async def story() -> None:
        sessions = Changes()
        server, asked = await _coap_server(
            established=lambda peer: sessions.tell("established", peer),
            closed=lambda peer, reason: sessions.tell("closed", peer, reason),
        )
        answers = Changes()
        driver = EndpointDriver(
            CoapEndpoint(TransmissionParameters(), os.urandom),
            lambda events: [answers.tell(event) for event in events],  # type: ignore[arg-type, return-value]  # for its effect
        )
        client = await DtlsClientLink.over(_open_udp, driver.receive_datagrams, lambda peer: PSK)
        driver.attach(client)
        driver.send_request(server.address, Request(codes.POST, ("rd",), payload=b"x" * 200))
        ((answer,),) = await answers.until(1)
        assert isinstance(answer, ResponseReceived)
        assert answer.response.payload == b"x" * 200
        (peer,) = asked
        assert isinstance(peer, SecurePeer)
        assert security_of(peer).identity == IDENTITY
        assert sessions.told == [("established", peer)]
        driver.close()
        assert await sessions.until(2) == [
            ("established", peer),
            ("closed", peer, "close_notify"),
        ]
        server.close()
        server.close()

    run(story())


def test_many_devices_share_one_descriptor_and_each_has_its_session(run: Run) -> None:
    count = 50

    async def story() -> None:
        devices = {f"127.7.0.{number + 1}": f"device-{number}" for number in range(count)}
        server, asked = await _coap_server(
            credentials=ServerCredentials(
                key_of=lambda identity: (f"ep-{identity}", identity.encode())
            )
        )
        answers, sessions = Changes(), Changes()
        driver = EndpointDriver(
            CoapEndpoint(TransmissionParameters(), os.urandom),
            lambda events: [answers.tell(event) for event in events],  # type: ignore[arg-type, return-value]  # for its effect
        )

        def credentials_of(peer: Any) -> PskCredentials:
            name = devices[peer[0]]
            return PskCredentials(name, name.encode())

        client = await DtlsClientLink.over(
            open_many_addresses,
            driver.receive_datagrams,
            credentials_of,
            established=lambda peer, is_resumed: sessions.tell(peer, is_resumed),
            settings=DtlsSettings(resumes_psk=True),
        )
        driver.attach(client)
        for address in devices:
            peer = (address, *server.address)
            driver.send_request(peer, Request(codes.POST, ("rd",)))
        await answers.until(count)
        names = {(peer.host, peer.endpoint_name) for peer in asked if isinstance(peer, SecurePeer)}
        assert names == {(address, f"ep-{name}") for address, name in devices.items()}
        assert server.counters.established == client.counters.established == count
        # The server forgets them all: each comes back with its ticket.
        for peer in list(server.endpoint._sessions.values()):
            server.endpoint._forget(peer, "lost")
        for address in devices:
            client.restart((address, *server.address))
            client.connect((address, *server.address))
        told = await sessions.until(2 * count)
        assert all(is_resumed for _, is_resumed in told[count:])
        driver.close()
        server.close()

    run(story())


def test_a_refused_client_is_told_and_the_server_says_who_it_claimed_to_be(run: Run) -> None:
    async def story() -> None:
        refusals, failures = Changes(), Changes()
        server, _ = await _coap_server(refused=refusals.tell)
        client = await DtlsClientLink.over(
            _open_udp,
            lambda datagrams: None,
            lambda peer: PskCredentials("stranger", b"key"),
            failed=failures.tell,
        )
        client.send([(b"x", server.address)])
        assert await failures.until(1) == [(server.address, "alert_decrypt_error")]
        beneath = client.beneath
        assert isinstance(beneath, UdpLink)
        assert await refusals.until(1) == [(beneath.address, "unknown_identity", "stranger")]
        client.close()
        server.close()

    run(story())


def test_a_lost_server_is_noticed_by_time_alone(run: Run) -> None:
    async def story() -> None:
        failures = Changes()
        nobody = await open_udp("127.0.0.1", 0, lambda datagrams: None)
        settings = DtlsSettings(retransmit_timeout_s=0.02, handshake_timeout_s=0.1)
        client = await DtlsClientLink.over(
            _open_udp,
            lambda datagrams: None,
            lambda peer: PSK,
            failed=failures.tell,
            settings=settings,
        )
        client.connect(nobody.address)
        assert await failures.until(1) == [(nobody.address, "timeout")]
        client.close()
        nobody.close()

    run(story())


def test_the_server_closes_one_peer_and_the_client_makes_a_new_session(run: Run) -> None:
    async def story() -> None:
        received, sessions, endings = Changes(), Changes(), Changes()
        made = certificates()
        server = await open_dtls_server(
            "127.0.0.1",
            0,
            lambda datagrams: [received.tell(*datagram) for datagram in datagrams],  # type: ignore[arg-type, return-value]  # for its effect
            made.server_credentials(),
            established=sessions.tell,
            unix_time_s=lambda: 1_794_744_000.0,
        )
        client = await DtlsClientLink.over(
            _open_udp,
            lambda datagrams: None,
            lambda peer: made.client_credentials(),
            closed=endings.tell,
            unix_time_s=lambda: 1_794_744_000.0,
        )
        client.send([(b"one", server.address), (b"two", server.address)])
        assert [data for data, _ in await received.until(2)] == [b"one", b"two"]
        ((peer,),) = sessions.told
        server.close_peer(peer)
        assert await endings.until(1) == [(server.address, "close_notify")]
        client.send([(b"three", server.address)])
        assert (await received.until(3))[2][0] == b"three"
        assert client.counters.resumed == 1
        client.close()
        server.close()

    run(story())


def test_a_link_without_one_beneath_says_so() -> None:
    async def story() -> None:
        link = DtlsServerLink(lambda datagrams: None, SERVER_PSK)
        with pytest.raises(RuntimeError, match="no link"):
            _ = link.beneath
        link.send([])
        link.close()

    asyncio.run(story())


def test_a_table_that_fails_for_one_client_does_not_cost_another_its_datagram(run: Run) -> None:
    def key_of(identity: str) -> tuple[str | None, bytes] | None:
        if identity == "broken":
            raise LookupError("the application's table")
        return SERVER_PSK.key_of(identity) if SERVER_PSK.key_of else None

    async def story() -> None:
        server = DtlsServerLink(lambda datagrams: None, ServerCredentials(key_of=key_of))
        here = "127.0.0.1", 5_684
        clients: dict[Hashable, DtlsClient] = {
            ("127.0.0.1", 1): DtlsClient(
                lambda peer: PskCredentials(identity="broken", key=PSK.key), os.urandom
            ),
            ("127.0.0.1", 2): DtlsClient(lambda peer: PSK, os.urandom),
        }
        said: list[tuple[bytes, Hashable]] = []
        for client in clients.values():
            client.connect(here, 0.0)
        for _ in range(3):
            said = [
                (data, address)
                for address, client in clients.items()
                for data, _ in client.datagrams_to_send()
            ]
            try:
                server.receive_datagrams(said)
            except LookupError:
                break
            for data, address in server.endpoint.datagrams_to_send():
                clients[address].receive_datagram(data, here, 0.0)
        assert server.endpoint.session_count == 1
        server.close()

    run(story())
