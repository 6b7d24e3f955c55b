"""The installation's keys and certificates."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from city_platform.provisioning.certificates import make_authority
from city_platform.provisioning.pki import DamagedPki, open_pki
from contracts.names import IllegalName
from tests.processes import WITHIN_S

NOW_US = 1_780_000_000_000_000
NOW = datetime.fromtimestamp(NOW_US // 1_000_000, UTC)
SERVICES = ("svc:bridge:s1", "svc:ingestion")


def draws(seed: int) -> Callable[[int], bytes]:
    """Bytes that look random and are the same in every run."""
    count = 0

    def draw(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(f"{seed}:{count}".encode()).digest(size)

    return draw


def device_certificate(endpoint: str, seed: int = 1) -> x509.Certificate:
    authority = make_authority("test", NOW_US, timedelta(days=1), draws(seed))
    issued = authority.for_devices(NOW_US, timedelta(days=10)).issue(endpoint)
    return x509.load_der_x509_certificate(issued.certificate)


def test_a_device_certificate_says_who_it_is_and_what_it_is_for() -> None:
    found = device_certificate("urn:dev:os:32473-7")
    names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert [name.value for name in names] == ["urn:dev:os:32473-7"]
    usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    found.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    found.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    assert found.not_valid_after_utc == NOW + timedelta(days=10)
    assert found.not_valid_before_utc < NOW
    assert found.serial_number.bit_length() == 152


def test_an_endpoint_name_of_the_greatest_length_fits() -> None:
    found = device_certificate("x" * 128)
    with pytest.warns(UserWarning, match="length"):  # the library's, when it reads the name
        subject = found.subject
    (name,) = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert name.value == "x" * 128


def test_the_same_chance_gives_the_same_certificate_and_another_another() -> None:
    first, again, other = (device_certificate("lamp-1", seed) for seed in (1, 1, 2))
    assert first == again
    assert first.public_key() != other.public_key()
    assert first.serial_number != other.serial_number


def test_the_first_start_makes_all_files_and_later_ones_leave_them(tmp_path: Path) -> None:
    open_pki(tmp_path, SERVICES, ["127.0.0.1", "localhost"], NOW_US, draws(1))
    names = {"ca", "broker", "svc_bridge_s1", "svc_ingestion"}
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {f"{name}.{end}" for name in names for end in ("pem", "key")}
    for path in tmp_path.iterdir():
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o600 if path.suffix == ".key" else 0o644)
    open_pki(tmp_path, (*SERVICES, "svc:control"), ["127.0.0.1"], NOW_US, draws(2))
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(after) - set(before) == {"svc_control.pem", "svc_control.key"}
    assert {name: after[name] for name in before} == before


def test_a_service_that_nobody_knows_gets_no_certificate(tmp_path: Path) -> None:
    with pytest.raises(IllegalName):
        open_pki(tmp_path, ["svc:../../etc"], ["127.0.0.1"], NOW_US, draws(1))


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n", None])
def test_a_damaged_authority_is_not_replaced(tmp_path: Path, content: bytes | None) -> None:
    open_pki(tmp_path, [], ["127.0.0.1"], NOW_US, draws(1))
    if content is None:
        (tmp_path / "ca.key").write_bytes((tmp_path / "broker.key").read_bytes())
    else:
        (tmp_path / "ca.pem").write_bytes(content)
    with pytest.raises(DamagedPki):
        open_pki(tmp_path, [], ["127.0.0.1"], NOW_US, draws(1))


def test_openssl_takes_broker_and_service_in_mutual_tls(tmp_path: Path) -> None:
    now_us = int(datetime.now(UTC).timestamp()) * 1_000_000
    endpoint = "d" * 128
    authority = open_pki(tmp_path, SERVICES, ["127.0.0.1", "localhost"], now_us, os.urandom).signing
    issued = authority.for_devices(now_us, timedelta(days=1)).issue(endpoint)
    key = serialization.load_der_private_key(issued.key, None)
    (tmp_path / "device.pem").write_bytes(
        x509.load_der_x509_certificate(issued.certificate).public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    assert asyncio.run(_subject_seen(tmp_path, "device.pem", None)) == endpoint
    service = asyncio.run(_subject_seen(tmp_path, "svc_bridge_s1.pem", "svc_bridge_s1.key"))
    assert service == "svc:bridge:s1"


async def _subject_seen(folder: Path, certificate: str, key: str | None) -> str:
    """Connect with a certificate; returns the common name that the server saw."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(folder / "broker.pem", folder / "broker.key")
    server_side.load_verify_locations(folder / "ca.pem")
    server_side.verify_mode = ssl.CERT_REQUIRED
    server_side.verify_flags |= ssl.VERIFY_X509_STRICT
    client_side = ssl.create_default_context(cafile=folder / "ca.pem")
    client_side.verify_flags |= ssl.VERIFY_X509_STRICT
    client_side.load_cert_chain(folder / certificate, folder / key if key else None)
    seen: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peercert")
        seen.set_result(dict(pair for part in peer["subject"] for pair in part)["commonName"])
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=server_side)
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_side)
        name = await asyncio.wait_for(seen, WITHIN_S)
        writer.close()
    return name
