"""DTLS with tinydtls through aiocoap, both ways."""

from __future__ import annotations

from typing import Any

import pytest

from lwm2m.coap import ResponseReceived
from tests.interop.our_coap import free_port
from tests.lwm2m.transport.dtls_pair import ENDPOINT, IDENTITY, KEY, PSK, SERVER_PSK
from tests.lwm2m.transport.dtls_peers import ask, coap_server_link, run_within

# They start programs, and wait for the timers of those.
pytestmark = pytest.mark.slow


@pytest.mark.tinydtls
def test_tinydtls_is_answered_by_our_server() -> None:
    pytest.importorskip("DTLSSocket", reason="the `peers` extra is not installed")
    import aiocoap

    async def story() -> None:
        asked: list[Any] = []
        server = await coap_server_link(SERVER_PSK, asked)
        uri = f"coaps://127.0.0.1:{server.address[1]}"
        context = await aiocoap.Context.create_client_context(transports=["tinydtls"])
        context.client_credentials.load_from_dict(
            {
                f"{uri}/*": {
                    "dtls": {"psk": {"hex": KEY.hex()}, "client-identity": {"ascii": IDENTITY}}
                }
            }
        )
        try:
            for _ in range(3):
                answer = await context.request(
                    aiocoap.Message(code=aiocoap.GET, uri=f"{uri}/x")
                ).response
                assert answer.payload == b"answered"
            assert {peer.endpoint_name for peer in asked} == {ENDPOINT}
            assert server.counters.established == 1
        finally:
            await context.shutdown()
            server.close()

    run_within(story())


@pytest.mark.tinydtls
def test_our_client_is_answered_by_tinydtls() -> None:
    pytest.importorskip("DTLSSocket", reason="the `peers` extra is not installed")
    import aiocoap
    from aiocoap import resource

    class Hello(resource.Resource):  # type: ignore[misc]  # aiocoap has no types here
        async def render_get(self, request: Any) -> Any:
            return aiocoap.Message(payload=b"from tinydtls")

    async def story() -> None:
        site = resource.Site()
        site.add_resource(["hello"], Hello())
        port = await free_port() + 1
        # aiocoap adds one to the port for coaps.
        context = await aiocoap.Context.create_server_context(
            site, bind=("127.0.0.1", port - 1), transports=["tinydtls_server"]
        )
        context.server_credentials.load_from_dict(
            {":a": {"dtls": {"psk": {"hex": KEY.hex()}, "client-identity": {"ascii": IDENTITY}}}}
        )
        try:
            event = await ask(("127.0.0.1", port), PSK, ("hello",))
            assert isinstance(event, ResponseReceived), event
            assert event.response.payload == b"from tinydtls"
        finally:
            await context.shutdown()

    run_within(story())
