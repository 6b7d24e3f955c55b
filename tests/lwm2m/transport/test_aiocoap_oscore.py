"""aiocoap as the other end of OSCORE over UDP, with its own message layer, both ways."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, cast

import aiocoap  # type: ignore[import-untyped]  # it has no py.typed
import pytest
from aiocoap.credentials import CredentialsMap  # type: ignore[import-untyped]  # likewise
from aiocoap.oscore import FilesystemSecurityContext  # type: ignore[import-untyped]  # likewise
from aiocoap.oscore_sitewrapper import (  # type: ignore[import-untyped]  # likewise
    OscoreSiteWrapper,
)

from harness.testing import seeded_draw
from lwm2m.coap import (
    Event,
    ExchangeFailed,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
)
from lwm2m.transport import EndpointDriver, open_udp
from lwm2m.transport.oscore import OscoreContexts, OscoreEndpoint, OscoreMaterial, mirrored

from .aiocoap_site import BODY, free_address, make_site, run

_MATERIAL = OscoreMaterial(bytes(range(16)), b"\x0a", b"\x0b", b"salt", endpoint_name="server")
_LARGE = bytes(range(256)) * 20


def _stored(folder: Path, material: OscoreMaterial, *, window: str = "known") -> Any:
    """aiocoap's own form of a context."""
    folder.mkdir()
    settings = {
        "sender-id_hex": material.sender_id.hex(),
        "recipient-id_hex": material.recipient_id.hex(),
    }
    secret = {
        "secret_hex": material.master_secret.hex(),
        "salt_hex": material.master_salt.hex(),
    }
    if material.id_context is not None:
        settings["id-context_hex"] = material.id_context.hex()
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "secret.json").write_text(json.dumps(secret))
    if window == "unknown":
        (folder / "sequence.json").write_text('{"next-to-send": 0, "received": "unknown"}')
    return FilesystemSecurityContext(str(folder))


class _Side:
    """Our endpoint, with its events in a queue."""

    def __init__(self, material: OscoreMaterial, answer: Any = None) -> None:
        self.contexts = OscoreContexts(seeded_draw(1))
        self.contexts.add(material)
        self.endpoint = OscoreEndpoint(TransmissionParameters(), self.contexts, seeded_draw(2))
        self.driver = EndpointDriver(cast(Any, self.endpoint), self._handle)
        self.told: asyncio.Queue[Event] = asyncio.Queue()
        self.answer = answer

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, RequestReceived) and self.answer is not None:
                self.driver.respond(event.exchange, self.answer(event))
            self.told.put_nowait(event)

    async def open(self) -> int:
        """Open a socket; its port."""
        link = await open_udp("127.0.0.1", 0, self.driver.receive_datagrams)
        self.driver.attach(link)
        return link.address[1]

    async def next(self) -> Event:
        """What happens next."""
        return await self.told.get()


@pytest.mark.slow
@pytest.mark.parametrize("window", ["known", "unknown"])
@pytest.mark.parametrize("id_context", [None, b"city"])
def test_our_client_asks_an_aiocoap_server(
    tmp_path: Path, window: str, id_context: bytes | None
) -> None:
    material = OscoreMaterial(bytes(16), b"\x0a", b"\x0b", id_context=id_context)

    async def story() -> None:
        site, counter = make_site()
        credentials = CredentialsMap()
        credentials[":client"] = _stored(tmp_path / "server", mirrored(material), window=window)
        address = await free_address()
        context = await aiocoap.Context.create_server_context(
            OscoreSiteWrapper(site, credentials), bind=address, transports=["udp6"]
        )
        side = _Side(material)
        await side.open()
        peer = side.contexts.peer(address, material.recipient_id, id_context)
        for code in (codes.GET, codes.POST, codes.PUT, codes.DELETE, codes.FETCH, codes.IPATCH):
            body = b"" if code in (codes.GET, codes.DELETE) else _LARGE
            side.driver.send_request(peer, Request(code, ("store",), payload=body))
            event = await side.next()
            assert isinstance(event, ResponseReceived), event
            expected = BODY if code == codes.GET else body
            assert (event.response.payload, event.response.content_format) == (expected, 42)
        observing = side.driver.send_request(peer, Request(codes.GET, ("counter",), observe=0))
        for number in range(4):
            event = await side.next()
            assert isinstance(event, ResponseReceived), event
            assert event.response.payload == str(number).encode()
            counter.step()
        ending = side.endpoint.end_observation(observing, side.driver.now())
        side.driver.flush_soon()
        answers: list[Event] = []
        while not answers or getattr(answers[-1], "exchange", None) != ending:
            answers.append(await side.next())
        assert isinstance(answers[-1], ResponseReceived)
        side.driver.close()
        await context.shutdown()

    run(story)


@pytest.mark.slow
@pytest.mark.parametrize("id_context", [None, b"city"])
def test_an_aiocoap_client_asks_our_server(tmp_path: Path, id_context: bytes | None) -> None:
    material = OscoreMaterial(bytes(16), b"\x0a", b"\x0b", id_context=id_context)

    def answer(event: RequestReceived) -> Response:
        request = event.request
        if request.observe == 0:
            return Response(codes.CONTENT, b"0", observe=1)
        body = _LARGE if request.code == codes.GET else request.payload
        return Response(codes.CONTENT, body, content_format=42)

    async def story() -> None:
        side = _Side(mirrored(material, "lamp"), answer)
        base = f"coap://127.0.0.1:{await side.open()}"
        context = await aiocoap.Context.create_client_context(transports=["oscore", "udp6"])
        context.client_credentials[f"{base}/*"] = _stored(tmp_path / "client", material)
        for code in (aiocoap.GET, aiocoap.POST, aiocoap.PUT, aiocoap.DELETE, aiocoap.FETCH,
                     aiocoap.iPATCH):  # fmt: skip
            body = b"" if code in (aiocoap.GET, aiocoap.DELETE) else _LARGE
            asked = aiocoap.Message(code=code, uri=f"{base}/store?x=1", payload=body)
            response = await context.request(asked).response
            assert (str(response.code), response.payload) == (
                "2.05 Content",
                _LARGE if code == aiocoap.GET else body,
            )
            event = await side.next()
            assert isinstance(event, RequestReceived)
            assert (event.request.code, event.request.path) == (int(code), ("store",))
            assert event.request.query == ("x=1",)
            assert cast(Any, event.peer).endpoint_name == "lamp"
        observing = context.request(aiocoap.Message(code=aiocoap.GET, uri=base, observe=0))
        assert (await observing.response).payload == b"0"
        registered = await side.next()
        assert isinstance(registered, RequestReceived)
        notes = observing.observation.__aiter__()
        for number in (1, 2, 3):
            body = str(number).encode()
            note = Response(codes.CONTENT, body, observe=number + 1)
            side.endpoint.notify(registered.exchange, note, side.driver.now())
            side.driver.flush_soon()
            assert (await anext(notes)).payload == body
        await context.shutdown()
        side.driver.close()

    run(story)


@pytest.mark.slow
def test_an_aiocoap_client_answers_our_echo_and_is_then_fresh(tmp_path: Path) -> None:
    async def story() -> None:
        side = _Side(
            mirrored(_MATERIAL), lambda event: Response(codes.CONTENT, event.request.payload)
        )
        side.contexts.remove(_MATERIAL.sender_id)
        side.contexts.add(mirrored(_MATERIAL), next_sequence=300)
        base = f"coap://127.0.0.1:{await side.open()}"
        context = await aiocoap.Context.create_client_context(transports=["oscore", "udp6"])
        context.client_credentials[f"{base}/*"] = _stored(tmp_path / "client", _MATERIAL)
        asked = aiocoap.Message(code=aiocoap.PUT, uri=f"{base}/x", payload=b"fresh")
        assert (await context.request(asked).response).payload == b"fresh"
        assert dict(side.endpoint.refused) == {"freshness_unknown": 1}
        await context.shutdown()
        side.driver.close()

    run(story)


@pytest.mark.slow
def test_an_aiocoap_server_refuses_another_key_and_we_say_so(tmp_path: Path) -> None:
    async def story() -> None:
        credentials = CredentialsMap()
        credentials[":client"] = _stored(tmp_path / "server", mirrored(_MATERIAL))
        address = await free_address()
        context = await aiocoap.Context.create_server_context(
            OscoreSiteWrapper(make_site()[0], credentials), bind=address, transports=["udp6"]
        )
        wrong = OscoreMaterial(b"another", _MATERIAL.sender_id, _MATERIAL.recipient_id)
        side = _Side(wrong)
        await side.open()
        peer = side.contexts.peer(address, wrong.recipient_id)
        side.driver.send_request(peer, Request(codes.GET, ("store",)))
        events = [await side.next(), await side.next()]
        assert [event.reason for event in events if isinstance(event, ExchangeFailed)] == ["reset"]
        side.driver.close()
        await context.shutdown()

    run(story)
