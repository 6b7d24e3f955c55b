"""aiocoap as a device of our server over TCP, TLS and OSCORE, asked through the administration."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import queue
import secrets
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiocoap  # type: ignore[import-untyped]  # it has no py.typed
import httpx
import msgspec
from aiocoap import resource
from aiocoap.oscore import FilesystemSecurityContext  # type: ignore[import-untyped]  # likewise
from aiocoap.oscore_sitewrapper import OscoreSiteWrapper  # type: ignore[import-untyped]  # likewise

from contracts.data_interface import Outcome
from lwm2m.transport.oscore import OscoreMaterial, mirrored
from tests.interop.aiocoap_peer import (
    WITHIN_S,
    AiocoapDevice,
    Got,
    LoopThread,
    Observable,
    Recorder,
    _got,
)
from tests.interop.cells import OSCORE, TCP, TLS
from tests.interop.credentials import authority, server_pair
from tests.interop.our_coap import free_port
from tests.interop.ours import _AUTHORIZED, OurServer, pem_certificate, pem_files
from tests.interop.pairs import SESSION

LINKS = b'</>;rt="oma.lwm2m";ct=112,</1/0>,</3/0>'
SCHEMES = {OSCORE: "coap", TCP: "coap+tcp", TLS: "coaps+tcp"}
_numbers = itertools.count(1)
# The loop's turns in which TLS and then its socket are told that they are closed, and some more.
_CLOSING_TURNS = 5


class Watched(Observable):
    """Tells when nobody observes it any more."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.left_alone = threading.Event()

    def update_observation_count(self, newcount: int) -> None:
        """aiocoap: who observes changed."""
        super().update_observation_count(newcount)
        if newcount == 0:
            self.left_alone.set()


class Composite(resource.ObservableResource):  # type: ignore[misc]  # its base is untyped
    """The root: Read-, Write- and Observe-Composite of one text."""

    def __init__(self, name: Observable) -> None:
        super().__init__()
        self._name = name
        self.asked: queue.Queue[Got] = queue.Queue()

    async def render_fetch(self, request: Any) -> Any:
        """aiocoap: Read-Composite."""
        self.asked.put(_got(request))
        text = self._name.text.encode()
        # RFC 8428 §6: [{-2: "/3/0/", 0: "0", 3: text}], the text of fewer than 24 bytes.
        pack = b"\x81\xa3\x21\x65/3/0/\x00\x610\x03" + bytes([0x60 + len(text)]) + text
        return aiocoap.Message(code=aiocoap.CONTENT, payload=pack, content_format=112)

    async def render_ipatch(self, request: Any) -> Any:
        """aiocoap: Write-Composite."""
        self.asked.put(_got(request))
        return aiocoap.Message(code=aiocoap.CHANGED)


class TransportDevice(AiocoapDevice):
    """aiocoap at `base`, with what it proves itself by."""

    def __init__(self, endpoint: str, base: str, security: str, directory: Path) -> None:
        LoopThread.__init__(self)
        self.endpoint = endpoint
        self._base = base
        self.executed = queue.Queue()
        self.name = self.watched = Watched("aiocoap")
        self.offset = Observable("+00:00")
        self.root = Composite(self.name)
        self.material = OscoreMaterial(secrets.token_bytes(16), b"\x01", secrets.token_bytes(4))
        opens = {OSCORE: self._open_oscore, TCP: self._open_tcp, TLS: self._open_tls}
        self.call(opens[security](directory))

    def change(self, text: str) -> None:
        """Change the name, which others may observe alone or with others."""

        async def change() -> None:
            self.name.text = text
            self.name.updated_state()
            self.root.updated_state()

        self.call(change())

    def cut(self) -> None:
        """Lose its connection, without a word."""

        async def cut() -> None:
            for transport in self._transports():
                transport.abort()

        self.call(cut())

    async def _shut_down(self) -> None:
        # aiocoap leaves connections to be closed when nobody waits for that any more.
        transports = self._transports()
        await self.context.shutdown()
        self.context = None
        for transport in transports:
            transport.abort()
        for _ in range(_CLOSING_TURNS):
            await asyncio.sleep(0)
        await super()._shut_down()

    def _transports(self) -> list[Any]:
        """Its TCP connections, as asyncio has them."""
        if not self._base.startswith(("coap+tcp", "coaps+tcp")):
            return []
        pools = [each.token_interface._pool for each in self.context.request_interfaces]
        return [connection._transport for pool in pools for connection in pool.values()]

    def context_row(self) -> dict[str, object]:
        """Its OSCORE context as the administration takes it."""
        fields = ("master_secret", "sender_id", "recipient_id")
        return {name: base64.b64encode(getattr(self.material, name)).decode() for name in fields}

    def _site(self) -> Any:
        site = resource.Site()
        site.add_resource(["3", "0", "0"], self.name)
        site.add_resource(["3", "0", "14"], self.offset)
        site.add_resource(["3", "0", "4"], Recorder(self._execute))
        site.add_resource(["3"], Recorder(self._discover))
        site.add_resource([], self.root)
        return site

    async def _open_tcp(self, directory: Path) -> None:
        self.context = await aiocoap.Context.create_server_context(
            self._site(), transports=["tcpclient"]
        )

    async def _open_tls(self, directory: Path) -> None:
        certificate, key = pem_files(directory, self.endpoint, authority().issue(self.endpoint))
        trusted = pem_certificate(directory, authority().certificate)
        proof = ssl.create_default_context(cafile=str(trusted))
        proof.load_cert_chain(certificate, key)
        self.context = await aiocoap.Context.create_server_context(
            self._site(), transports=["tlsclient"]
        )
        self.context.client_credentials.ssl_client_context = lambda scheme, host: proof

    async def _open_oscore(self, directory: Path) -> None:
        agreed = _stored(directory / self.endpoint, mirrored(self.material))
        credentials = aiocoap.credentials.CredentialsMap()
        credentials[":server"] = agreed
        self.context = await aiocoap.Context.create_server_context(
            OscoreSiteWrapper(self._site(), credentials),
            bind=("127.0.0.1", await free_port()),
            transports=["oscore", "udp6"],
        )
        self.context.client_credentials[f"{self._base}/*"] = agreed


class ServerOfTransports:
    """Our server with all its addresses, asked through its administration."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        certificate, key = pem_files(directory, "tls-server", server_pair())
        anchors = pem_certificate(directory, authority().certificate)
        tls = {
            "certificate_file": str(certificate),
            "private_key_file": str(key),
            "trust_anchors_file": str(anchors),
        }
        self.directory = directory
        self.server = OurServer(directory, coap_tcp={}, coaps_tcp=tls)

    def base(self, security: str) -> str:
        """The URI to register at."""
        scheme = SCHEMES[security]
        return f"{scheme}://{self.server.addresses[scheme]}"

    def device(self, security: str) -> TransportDevice:
        """A new device, let in."""
        endpoint = f"aiocoap-{security}-{next(_numbers)}-{SESSION}"
        device = TransportDevice(endpoint, self.base(security), security, self.directory)
        if security == OSCORE:
            self.put_context(endpoint, device)
        return device

    def put_context(self, endpoint: str, device: TransportDevice) -> None:
        """Tell the server of a device's OSCORE context."""
        answer = self._http("PUT", f"/v1/oscore/{endpoint}", device.context_row())
        assert answer.status_code == 204, answer.text

    def operate(self, endpoint: str, operation: str, **fields: object) -> Outcome:
        """Have an operation carried out by `POST /v1/operations`; its outcome."""
        asked = {"endpoint": endpoint, "operation": operation, "wait_s": WITHIN_S, **fields}
        answer = self._http("POST", "/v1/operations", asked)
        assert answer.status_code == 200, answer.text
        return msgspec.json.decode(answer.content, type=Outcome)

    def ask_later(self, endpoint: str, operation: str, **fields: object) -> str:
        """Ask for an operation that cannot be done yet; its id."""
        asked = {"endpoint": endpoint, "operation": operation, "wait_s": 0, **fields}
        answer = self._http("POST", "/v1/operations", asked)
        assert answer.status_code == 202, answer.text
        found: str = answer.json()["id"]
        return found

    def counters(self) -> Mapping[str, int]:
        """How often what happened."""
        found: Mapping[str, int] = self._http("GET", "/v1/counters").json()
        return found

    def _http(self, method: str, path: str, body: object = None) -> httpx.Response:
        url = f"http://{self.server.addresses['admin']}{path}"
        return httpx.request(method, url, json=body, headers=_AUTHORIZED, timeout=2 * WITHIN_S)


def plain_context() -> LoopThread:
    """aiocoap without any security, to ask by UDP."""
    thread = LoopThread()

    async def open_() -> None:
        thread.context = await aiocoap.Context.create_client_context(transports=["simple6"])

    thread.call(open_())
    return thread


def _stored(folder: Path, material: OscoreMaterial) -> Any:
    """aiocoap's own form of a context."""
    folder.mkdir()
    settings = {
        "sender-id_hex": material.sender_id.hex(),
        "recipient-id_hex": material.recipient_id.hex(),
        "secret_hex": material.master_secret.hex(),
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    return FilesystemSecurityContext(str(folder))
