"""DTLS with libcoap's programs over OpenSSL and GnuTLS, both ways, and a network that loses."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from lwm2m.coap import ResponseReceived, codes
from lwm2m.transport.dtls import DtlsSettings, PskCredentials, ServerCredentials
from tests.interop.our_coap import free_port
from tests.lwm2m.transport.dtls_pair import ENDPOINT, IDENTITY, Certificates
from tests.lwm2m.transport.dtls_peers import (
    LosingRelay,
    PemFiles,
    Program,
    ask,
    coap_server_link,
    run_within,
)

_FLAVOURS = ("openssl", "gnutls")
# libcoap's programs take the key as text.
_TEXT_KEY = "a-key-of-text"
_TEXT_PSK = PskCredentials(IDENTITY, _TEXT_KEY.encode())
_TEXT_SERVER = ServerCredentials(
    key_of=lambda identity: (ENDPOINT, _TEXT_KEY.encode()) if identity == IDENTITY else None
)

# They start programs, and wait for the timers of those.
pytestmark = pytest.mark.slow


def _libcoap(kind: str, flavour: str) -> str:
    found = shutil.which(f"coap-{kind}-{flavour}")
    if found is None:
        pytest.skip(f"coap-{kind}-{flavour} is not installed")
    return found


@pytest.mark.libcoap
@pytest.mark.parametrize("flavour", _FLAVOURS)
@pytest.mark.parametrize("tickets", [True, False])
def test_libcoaps_client_is_answered_over_psk(flavour: str, tickets: bool) -> None:
    program = _libcoap("client", flavour)

    async def story() -> None:
        asked: list[Any] = []
        settings = DtlsSettings(offers_resumption=tickets)
        server = await coap_server_link(_TEXT_SERVER, asked, settings=settings)
        client = await Program.start(
            program, "-B", "5", "-u", IDENTITY, "-k", _TEXT_KEY,
            f"coaps://127.0.0.1:{server.address[1]}/x",
        )  # fmt: skip
        try:
            assert b"answered" in await client.end(), client.said
            assert asked[0].endpoint_name == ENDPOINT
        finally:
            await client.kill()
            server.close()

    run_within(story())


@pytest.mark.libcoap
@pytest.mark.parametrize("flavour", _FLAVOURS)
@pytest.mark.parametrize(
    ("identity", "key", "reason"),
    [(IDENTITY, "another", "wrong_key"), ("nobody", _TEXT_KEY, "unknown_identity")],
)
def test_libcoaps_client_with_wrong_credentials_is_refused_and_counted(
    flavour: str, identity: str, key: str, reason: str
) -> None:
    program = _libcoap("client", flavour)

    async def story() -> None:
        asked: list[Any] = []
        refused: asyncio.Future[tuple[Any, ...]] = asyncio.get_running_loop().create_future()

        def tell(*what: Any) -> None:
            if not refused.done():
                refused.set_result(what)

        server = await coap_server_link(_TEXT_SERVER, asked, refused=tell)
        client = await Program.start(
            program, "-B", "2", "-u", identity, "-k", key,
            f"coaps://127.0.0.1:{server.address[1]}/x",
        )  # fmt: skip
        try:
            assert (await refused)[1:] == (reason, identity)
            assert asked == []
        finally:
            await client.kill()
            server.close()

    run_within(story())


@pytest.mark.libcoap
@pytest.mark.parametrize("flavour", _FLAVOURS)
def test_our_client_is_answered_by_libcoaps_server_over_psk(flavour: str) -> None:
    program = _libcoap("server", flavour)

    async def story() -> None:
        port = await free_port() + 1
        # coaps is on the port after the one that is given.
        server = await Program.start(
            program, "-A", "127.0.0.1", "-p", str(port - 1), "-k", _TEXT_KEY, "-v", "6"
        )
        try:
            event = await ask(("127.0.0.1", port), _TEXT_PSK, ("time",))
            assert isinstance(event, ResponseReceived), event
            assert event.response.code == codes.CONTENT
        finally:
            await server.kill()

    run_within(story())


@pytest.mark.libcoap
@pytest.mark.parametrize("flavour", _FLAVOURS)
def test_libcoaps_client_is_answered_over_certificates(flavour: str, tmp_path: Path) -> None:
    program = _libcoap("client", flavour)

    async def story() -> None:
        asked: list[Any] = []
        # libcoap judges certificates by the system's clock: these are made for now.
        made = Certificates(time.time())
        files = PemFiles(tmp_path, made)
        server = await coap_server_link(made.server_credentials(), asked)
        client = await Program.start(
            program, "-B", "5", "-c", files.client, "-j", files.client_key, "-C", files.anchor,
            f"coaps://127.0.0.1:{server.address[1]}/x",
        )  # fmt: skip
        try:
            assert b"answered" in await client.end(), client.said
            assert asked[0].endpoint_name == ENDPOINT
        finally:
            await client.kill()
            server.close()

    run_within(story())


@pytest.mark.libcoap
@pytest.mark.parametrize("flavour", _FLAVOURS)
def test_our_client_is_answered_by_libcoaps_server_over_certificates(
    flavour: str, tmp_path: Path
) -> None:
    program = _libcoap("server", flavour)

    async def story() -> None:
        made = Certificates(time.time())
        files = PemFiles(tmp_path, made)
        port = await free_port() + 1
        server = await Program.start(
            program, "-A", "127.0.0.1", "-p", str(port - 1), "-c", files.server,
            "-j", files.server_key, "-C", files.anchor,
        )  # fmt: skip
        try:
            event = await ask(("127.0.0.1", port), made.client_credentials(), ("time",))
            assert isinstance(event, ResponseReceived), event
            assert event.response.code == codes.CONTENT
        finally:
            await server.kill()

    run_within(story())


# From the server: 1 HelloVerifyRequest, 2 its flight, 3 its last flight. From the client: 1 and 2
# ClientHellos, 3 its flight with the Finished.
_LOSSES = [(set(), {2}), (set(), {3}), ({3}, set()), ({3, 4}, {2, 4})]


@pytest.mark.libcoap
@pytest.mark.parametrize("flavour", _FLAVOURS)
@pytest.mark.parametrize(("to_server", "to_client"), _LOSSES)
@pytest.mark.parametrize("tickets", [True, False])
def test_lost_flights_between_libcoaps_client_and_our_server_are_made_good(
    flavour: str, tickets: bool, to_server: set[int], to_client: set[int]
) -> None:
    program = _libcoap("client", flavour)

    async def story() -> None:
        asked: list[Any] = []
        settings = DtlsSettings(offers_resumption=tickets)
        server = await coap_server_link(_TEXT_SERVER, asked, settings=settings)
        relay = LosingRelay(server.address, to_server, to_client)
        port = await relay.open()
        client = await Program.start(
            program, "-B", "8", "-u", IDENTITY, "-k", _TEXT_KEY, f"coaps://127.0.0.1:{port}/x"
        )
        try:
            assert b"answered" in await client.end(), client.said
            assert relay.lost == len(to_server) + len(to_client)
        finally:
            await client.kill()
            relay.close()
            server.close()

    run_within(story())


@pytest.mark.libcoap
@pytest.mark.parametrize("flavour", _FLAVOURS)
@pytest.mark.parametrize(("to_server", "to_client"), _LOSSES)
def test_lost_flights_between_our_client_and_libcoaps_server_are_made_good(
    flavour: str, to_server: set[int], to_client: set[int]
) -> None:
    program = _libcoap("server", flavour)

    async def story() -> None:
        port = await free_port() + 1
        server = await Program.start(
            program, "-A", "127.0.0.1", "-p", str(port - 1), "-k", _TEXT_KEY
        )
        relay = LosingRelay(("127.0.0.1", port), to_server, to_client)
        try:
            # Asked without loss first: it answers as soon as it listens.
            await ask(("127.0.0.1", port), _TEXT_PSK, ("time",))
            event = await ask(("127.0.0.1", await relay.open()), _TEXT_PSK, ("time",))
            assert isinstance(event, ResponseReceived), event
            assert relay.lost == len(to_server) + len(to_client)
        finally:
            relay.close()
            await server.kill()

    run_within(story())
