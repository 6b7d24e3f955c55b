"""A broker's files: what is taken of them, and that each flaw is told by the file's name."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from harness.mqtt_broker import trust as trust_of
from harness.mqtt_broker.config import BrokerConfig
from harness.mqtt_broker.trust import read_trust
from mqtt.tls import Certificate, ClientContext, Proof, TlsFailed
from mqtt.tls.bindings import load_certificate
from runtime.clock import SystemClock
from runtime.component import ConfigError
from tests.mqtt.tls.pki import EXPIRED, HOST, Authority, pem, private_key

CA = Authority("ca")
OWN = CA.issue("broker")
LAMP = CA.issue("lamp-1")


class Files:
    """The three files of a broker."""

    def __init__(self, folder: Path) -> None:
        self.ca = folder / "ca.pem"
        self.certificate = folder / "broker.pem"
        self.key = folder / "broker.key"
        self.ca.write_bytes(pem(CA.certificate))
        self.certificate.write_bytes(OWN.pem())
        self.key.write_bytes(OWN.pem())

    def config(self) -> BrokerConfig:
        return BrokerConfig(
            ca_file=str(self.ca),
            certificate_file=str(self.certificate),
            key_file=str(self.key),
            state_dir=str(self.ca.parent),
        )


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.mark.parametrize("name", ["ca", "certificate", "key"])
@pytest.mark.parametrize("content", [None, b"", b"nothing that is PEM"])
def test_a_file_that_cannot_be_used_is_named(
    files: Files, name: str, content: bytes | None
) -> None:
    file: Path = getattr(files, name)
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot (read|use) .*" + file.name) as caught:
        read_trust(files.config())
    assert "nothing that is PEM" not in str(caught.value)


def test_a_key_of_another_certificate_is_told(files: Files) -> None:
    files.key.write_bytes(LAMP.pem())
    with pytest.raises(ConfigError, match=r"broker\.key: the key is not the certificate's"):
        read_trust(files.config())


def test_a_key_behind_a_passphrase_is_told(files: Files) -> None:
    files.key.write_bytes(
        private_key(OWN.key).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigError, match=r"broker\.key: the key needs a passphrase"):
        read_trust(files.config())


def is_reached(files: Files) -> bool:
    """Whether a lamp that trusts the root alone comes in."""
    client = ClientContext([CA.certificate]).open(HOST, proof=Proof(*LAMP))
    server = read_trust(files.config()).context.open()
    try:
        while not (client.is_established and server.is_established):
            server.receive(client.data_to_send())
            client.receive(server.data_to_send())
    except TlsFailed:
        return False
    return True


@pytest.mark.parametrize("are_behind_it", [True, False])
def test_what_leads_to_the_root_is_shown_from_either_file(
    files: Files, are_behind_it: bool
) -> None:
    upper = Authority("upper", under=CA)
    lower = Authority("lower", under=upper)
    own = lower.issue("broker")
    between = pem(upper.certificate) + pem(lower.certificate)
    files.key.write_bytes(own.pem())
    if are_behind_it:
        files.certificate.write_bytes(own.pem() + pem(lower.certificate) + pem(upper.certificate))
    else:
        files.certificate.write_bytes(own.pem())
        files.ca.write_bytes(between + pem(CA.certificate) + pem(Authority("upper").certificate))
    assert is_reached(files)


def test_a_certificate_whose_issuers_nobody_knows_is_shown_alone(files: Files) -> None:
    own = Authority("lower", under=CA).issue("broker")
    files.certificate.write_bytes(own.pem())
    files.key.write_bytes(own.pem())
    assert not is_reached(files)


def test_a_certificate_that_expired_since_tls_verified_it_is_objected_to(files: Files) -> None:
    trust = read_trust(files.config())
    expired = CA.issue("lamp-1", until=EXPIRED).certificate
    now_us = SystemClock().wall_us()
    assert trust.objection(Certificate(load_certificate(LAMP.certificate)), now_us) is None
    assert trust.objection(Certificate(load_certificate(expired)), now_us) == trust_of.EXPIRED
