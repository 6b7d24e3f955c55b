"""The component behind DTLS on real sockets, and single operations over HTTP."""

from __future__ import annotations

import asyncio
import base64
import datetime
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from contracts.data_interface import Event, Hello, Resume
from harness.lwm2m_server import SecureListen, ServerConfig
from harness.lwm2m_server.listeners import hash_of, shown_identity
from lwm2m.coap import codes
from lwm2m.transport.dtls import (
    Credentials,
    DtlsClientLink,
    PskCredentials,
    X509Credentials,
)
from lwm2m.transport.udp import open_udp
from runtime.component import ConfigError
from tests.harness.lwm2m_server.test_live import (
    TOKEN,
    LiveDevice,
    bridge_to,
    make_config,
    served,
)
from tests.processes import WITHIN_S

KEY = b"k" * 16


async def secure(
    device: LiveDevice, credentials: Credentials, failed: asyncio.Event | None = None
) -> LiveDevice:
    """Put DTLS under a device; `failed` is set when no session comes to be."""

    async def open_link(receive: Any) -> Any:
        return await open_udp("127.0.0.1", 0, receive)

    link = await DtlsClientLink.over(
        open_link,
        device.driver.receive_datagrams,
        lambda peer: credentials,
        failed=lambda peer, reason: None if failed is None else failed.set(),
    )
    device.driver.attach(link)
    return device


def administering(addresses: Any) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return httpx.AsyncClient(
        base_url=f"http://{addresses['admin']}", headers=headers, timeout=WITHIN_S
    )


async def put_key(client: httpx.AsyncClient, endpoint: str) -> None:
    row = {"identity": f"psk-{endpoint}", "key": base64.b64encode(KEY).decode()}
    assert (await client.put(f"/v1/security/{endpoint}", json=row)).status_code == 204


def psk_config(directory: Path, **fields: Any) -> ServerConfig:
    return make_config(directory, coaps=SecureListen(), **fields)


def test_a_device_with_a_key_registers_and_obeys_over_dtls(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            served(psk_config(tmp_path, coap=None)) as addresses,
            administering(addresses) as client,
        ):
            assert "coap" not in addresses
            await put_key(client, "lamp-1")
            bridge = await bridge_to(addresses)
            await bridge.until_frame(Hello)
            bridge.send(Resume(epoch=None, after=0))
            credentials = PskCredentials("psk-lamp-1", KEY)
            device = await secure(LiveDevice(addresses["coaps"]), credentials)
            assert (await device.register("lamp-1")).code == codes.CREATED
            event = await bridge.until_frame(Event)
            assert event.registration.security.mode == "psk"
            assert event.registration.security.identity == "psk-lamp-1"
            asked = {
                "endpoint": "lamp-1",
                "operation": "write",
                "path": "/3416/0/1",
                "values": [{"path": "/3416/0/1", "type": "integer", "value": 40}],
            }
            outcome = (await client.post("/v1/operations", json=asked)).json()
            assert outcome["code"] == "2.04"
            counters = (await client.get("/v1/counters")).json()
            assert counters["dtls_established"] == 1
            device.driver.close()

    asyncio.run(story())


def test_refused_handshakes_are_counted_by_reason_and_only_the_log_tells_who(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def story() -> None:
        async with (
            served(psk_config(tmp_path)) as addresses,
            administering(addresses) as client,
        ):
            await put_key(client, "lamp-1")
            wrong_key = PskCredentials("psk-lamp-1", b"x" * 16)
            stranger = PskCredentials("psk-stranger", KEY)
            for credentials in (wrong_key, stranger):
                failed = asyncio.Event()
                device = await secure(LiveDevice(addresses["coaps"]), credentials, failed)
                waiting = asyncio.ensure_future(device.register("lamp-1"))
                await asyncio.wait_for(failed.wait(), WITHIN_S)
                waiting.cancel()
                device.driver.close()
            counters = (await client.get("/v1/counters")).json()
            refused = {
                name: count for name, count in counters.items() if "refused_handshake" in name
            }
            assert sum(refused.values()) == 2
            assert len(refused) == 2

    asyncio.run(story())
    journal = (tmp_path / "server.jsonl").read_text()
    assert '"handshake_refused"' in journal
    assert hash_of("psk-stranger") in journal
    assert "psk-stranger" not in journal
    assert '(identity "psk-stranger")' in caplog.text


def test_an_identity_is_shown_as_text_that_can_do_nothing() -> None:
    assert shown_identity("lamp-1") == '"lamp-1"'
    assert shown_identity("\x1b[2J") == '"·[2J"'
    assert len(shown_identity("x" * 200)) == 67


class Authority:
    """A certificate authority for one test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._certificate("Root", self.key, is_authority=True)
        self.file = self._write("root.pem", self.certificate.public_bytes(Encoding.PEM))

    def issue(self, name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key = ec.generate_private_key(ec.SECP256R1())
        return self._certificate(name, key), key

    def issue_files(self, name: str) -> tuple[str, str]:
        certificate, key = self.issue(name)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return (
            self._write(f"{name}.pem", certificate.public_bytes(Encoding.PEM)),
            self._write(f"{name}.key", pem),
        )

    def credentials(self, name: str) -> X509Credentials:
        certificate, key = self.issue(name)
        return X509Credentials(
            certificate_chain=(certificate.public_bytes(Encoding.DER),),
            private_key=key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
            trust_anchors=(self.certificate.public_bytes(Encoding.DER),),
        )

    def _certificate(
        self, name: str, key: ec.EllipticCurvePrivateKey, *, is_authority: bool = False
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Root")])
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        constraints = x509.BasicConstraints(ca=is_authority, path_length=None)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(constraints, critical=True)
            .sign(self.key, SHA256())
        )

    def _write(self, name: str, content: bytes) -> str:
        path = self.directory / name
        path.write_bytes(content)
        return str(path)


def x509_config(directory: Path, authority: Authority) -> ServerConfig:
    certificate_file, private_key_file = authority.issue_files("server")
    listen = SecureListen(
        psk=False,
        certificate_file=certificate_file,
        private_key_file=private_key_file,
        trust_anchors_file=authority.file,
    )
    return make_config(directory, coaps=listen, coap=None)


def test_a_device_with_a_certificate_is_the_endpoint_that_it_names(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def story() -> None:
        async with (
            served(x509_config(tmp_path, authority)) as addresses,
            administering(addresses) as client,
        ):
            device = await secure(LiveDevice(addresses["coaps"]), authority.credentials("lamp-1"))
            assert (await device.register("lamp-2")).code == codes.BAD_REQUEST
            assert (await device.register("lamp-1")).code == codes.CREATED
            (registration,) = (await client.get("/v1/registrations")).json()["registrations"]
            assert registration["security"] == {"mode": "x509", "identity": "lamp-1"}
            counters = (await client.get("/v1/counters")).json()
            assert counters["refused_identity_mismatch"] == 1
            device.driver.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"certificate_file": "server.pem"}, "needs private_key_file"),
        ({"psk": False}, "keys, a certificate, or both"),
        (
            {
                "certificate_file": "missing.pem",
                "private_key_file": "server.key",
                "trust_anchors_file": "root.pem",
            },
            "cannot read",
        ),
        (
            {
                "certificate_file": "server.pem",
                "private_key_file": "server.pem",
                "trust_anchors_file": "root.pem",
            },
            "holds no private key",
        ),
        (
            {
                "certificate_file": "server.key",
                "private_key_file": "server.key",
                "trust_anchors_file": "root.pem",
            },
            "holds no certificates",
        ),
        ({"handshakes_max": 0}, "handshakes_max"),
    ],
)
def test_credentials_that_cannot_be_used_say_what_is_wrong(
    tmp_path: Path, fields: dict[str, Any], told: str
) -> None:
    Authority(tmp_path).issue_files("server")
    places = {
        name: str(tmp_path / value) if name.endswith("_file") else value
        for name, value in fields.items()
    }

    async def story() -> None:
        with pytest.raises(ConfigError, match=told):
            async with served(make_config(tmp_path, coaps=SecureListen(**places))):
                pass

    asyncio.run(story())


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"coap": None}, "neither coap nor coaps"),
        ({"profiles": {"oma:lamp": "</3/0"}}, "profiles"),
        ({"object_files": ("/nowhere.xml",)}, "cannot read /nowhere.xml"),
        ({"object_files": (__file__,)}, "test_live_security.py:"),
    ],
)
def test_a_configuration_that_cannot_serve_is_refused(
    tmp_path: Path, fields: dict[str, Any], told: str
) -> None:
    async def story() -> None:
        with pytest.raises(ConfigError, match=told):
            async with served(make_config(tmp_path, **fields)):
                pass

    asyncio.run(story())


def test_single_operations_over_http(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            served(make_config(tmp_path)) as addresses,
            administering(addresses) as client,
        ):
            device = await LiveDevice(addresses["coap"]).open()
            await device.register("lamp-1")
            asked: dict[str, Any] = {
                "endpoint": "lamp-1",
                "operation": "execute",
                "path": "/3/0/4",
            }
            done = await client.post("/v1/operations", json=asked)
            assert (done.status_code, done.json()["code"]) == (200, "2.04")
            again = await client.get(f"/v1/operations/{done.json()['id']}")
            assert again.json() == done.json()
            open_ = await client.post("/v1/operations", json={**asked, "wait_s": 0})
            assert open_.status_code in (200, 202)
            unknown = await client.post("/v1/operations", json={**asked, "endpoint": "lamp-9"})
            assert unknown.json()["error"]["stage"] == "not_registered"
            for wrong in ({}, {**asked, "colour": 1}, {**asked, "wait_s": 1e9}):
                assert (await client.post("/v1/operations", json=wrong)).status_code == 400
            illegal = await client.post("/v1/operations", json={**asked, "endpoint": "a b"})
            assert illegal.status_code == 429
            assert (await client.get("/v1/operations/none")).status_code == 404
            assert (await client.get("/v1/observations")).json()["observations"] == []
            assert (await client.get("/v1/observations?limit=x")).status_code == 400
            device.driver.close()

    asyncio.run(story())
