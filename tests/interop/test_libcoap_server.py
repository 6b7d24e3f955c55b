"""libcoap's server, asked by our CoAP client."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from lwm2m.coap import ExchangeFailed, Request, codes
from tests.interop.cells import LIBCOAP_SERVER, LINK_FORMAT, NONE, OPAQUE, Cell
from tests.interop.credentials import Credential, psk
from tests.interop.libcoap import LibcoapServer
from tests.interop.our_coap import Client, client_of, free_port, run
from tests.interop.results import peer_limit

pytestmark = [pytest.mark.libcoap, pytest.mark.slow]

pytestmark = [pytest.mark.libcoap, pytest.mark.slow]

pytestmark = [pytest.mark.libcoap, pytest.mark.slow]

_numbers = itertools.count(1)


async def _get(client: Client) -> None:
    found = await client.ask(Request(codes.GET, ("time",)))
    assert found.code == codes.CONTENT
    assert b":" in found.payload


async def _get_in_blocks(client: Client) -> None:
    found = await client.ask(Request(codes.GET, (".well-known", "core")))
    assert (found.code, found.content_format) == (codes.CONTENT, LINK_FORMAT)
    assert b"</example_data>" in found.payload


async def _put_in_blocks(client: Client) -> None:
    body = bytes(range(256)) * 12
    path = (f"big-{next(_numbers)}",)
    assert (await client.ask(Request(codes.PUT, path, payload=body))).code == codes.CREATED
    assert (await client.ask(Request(codes.GET, path))).payload == body


async def _put_and_delete(client: Client) -> None:
    put = Request(codes.PUT, ("small",), content_format=OPAQUE, payload=b"\0\xff")
    assert (await client.ask(put)).code == codes.CREATED
    found = await client.ask(Request(codes.GET, ("small",)))
    assert found.payload == b"\0\xff"
    assert (await client.ask(Request(codes.DELETE, ("small",)))).code == codes.DELETED
    assert (await client.ask(Request(codes.GET, ("small",)))).code == codes.NOT_FOUND


async def _separate(client: Client) -> None:
    found = await client.ask(Request(codes.GET, ("async",), ("1",)))
    assert (found.code, found.payload) == (codes.CONTENT, b"done")


async def _observe(client: Client) -> None:
    handle = client.send(Request(codes.GET, ("time",), observe=0))
    first = await client.next_response(handle)
    second = await client.next_response(handle)
    assert first.observe is not None
    assert second.observe is not None
    assert first.payload != second.payload
    ended = await client.next_response(client.end_observation(handle))
    assert (ended.code, ended.observe) == (codes.CONTENT, None)


async def _not_found(client: Client) -> None:
    assert (await client.ask(Request(codes.GET, ("nothing",)))).code == codes.NOT_FOUND


async def _critical_option(client: Client) -> None:
    handle = client.send(Request(codes.GET, ("time",), options=((65_001, b"x"),)))
    event = await client.next_event(handle)
    # RFC 7252 §5.4.1: an unknown critical option in a response makes it one to reject.
    assert isinstance(event, ExchangeFailed)
    assert event.reason == "malformed"
    peer_limit(
        "its 4.02 repeats the unknown critical option 65001, so our client has to reject the "
        "response (RFC 7252 §5.4.1)"
    )


OF_SERVER = {
    "GET": _get,
    "GET in blocks": _get_in_blocks,
    "PUT in blocks": _put_in_blocks,
    "PUT and DELETE": _put_and_delete,
    "separate response": _separate,
    "observe, notified, cancelled": _observe,
    "not found": _not_found,
    "critical option refused": _critical_option,
}


@pytest.fixture(scope="module")
def libcoap_server() -> Iterator[tuple[int, Credential]]:
    """libcoap's server: its UDP port, and its key for the port after it."""
    credential = psk("our-client")
    port = asyncio.run(free_port())
    server = LibcoapServer(port, key=credential.key.decode())
    yield port, credential
    server.end()


@pytest.mark.parametrize("cell", LIBCOAP_SERVER, ids=lambda cell: cell.name)
def test_our_coap_client_and_libcoaps_server_agree(
    cell: Cell, libcoap_server: tuple[int, Credential]
) -> None:
    port, credential = libcoap_server
    # Small blocks where the test is about them: libcoap's resources are short.
    block_size = 64 if "blocks" in cell.operation else 1024

    async def story() -> None:
        secure = cell.security != NONE
        own = (port + 1, credential) if secure else (port, None)
        async with client_of(*own, block_size=block_size) as client:
            await OF_SERVER[cell.operation](client)

    run(story)
