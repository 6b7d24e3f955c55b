"""What certificates and keys are taken, what is read of them, and that nobody shows a key."""

from __future__ import annotations

import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mqtt.tls import (
    Certificate,
    ClientContext,
    MissingBinding,
    Proof,
    ServerContext,
    UnusableCredentials,
    read_certificates,
    read_key,
)
from mqtt.tls.bindings import load_certificate, require
from tests.mqtt.tls.pki import HOST, Authority, Keys, pem, private_key

CA = Authority("ca")
LAMP = CA.issue("lamp-1")


def certificate(der: bytes) -> Certificate:
    return Certificate(load_certificate(der))


@pytest.mark.parametrize(
    "names", [("lamp-1",), ("a", "b"), (), ("Lampe-\N{LATIN SMALL LETTER O WITH DIAERESIS}",)]
)
def test_a_certificates_common_names_are_read_in_their_order(names: tuple[str, ...]) -> None:
    issued = CA.issue(*names)
    shown = certificate(issued.certificate)
    assert shown.common_names == names
    assert shown.sha256 == hashlib.sha256(issued.certificate).digest()
    assert shown.der() == issued.certificate


@pytest.mark.parametrize("kind", [x509.name._ASN1Type.BMPString, x509.name._ASN1Type.T61String])
def test_names_in_other_alphabets_than_utf_8_are_text_too(kind: x509.name._ASN1Type) -> None:
    value = "lamp-1".encode("utf-16-be") if kind is x509.name._ASN1Type.BMPString else "lamp-1"
    text = value.decode("utf-16-be") if isinstance(value, bytes) else value
    attribute = x509.NameAttribute(NameOID.COMMON_NAME, text, _type=kind)
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    signed = CA.sign(x509.Name([attribute]), key, [])
    assert certificate(signed).common_names == ("lamp-1",)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (Keys(b"garbage", LAMP.key), "certificate"),
        (Keys(LAMP.certificate, b"garbage"), "key"),
        (Keys(LAMP.certificate, CA.issue("lamp-2").key), "not the certificate's"),
        (Keys(b"", LAMP.key), "certificate"),
    ],
)
def test_what_cannot_be_used_is_named_and_not_shown(keys: Keys, reason: str) -> None:
    anchors = [CA.certificate]
    makers = [
        lambda: ServerContext(anchors=anchors, chain=[keys.certificate], key=keys.key),
        lambda: ClientContext(anchors, chain=[keys.certificate], key=keys.key),
        lambda: ClientContext(anchors).open(HOST, proof=Proof(*keys)),
    ]
    for make in makers:
        with pytest.raises(UnusableCredentials, match=reason) as caught:
            make()
        assert "garbage" not in str(caught.value)


def test_an_anchor_that_is_none_is_told() -> None:
    with pytest.raises(UnusableCredentials, match="CA certificate"):
        ClientContext([b"garbage"])


def test_a_chain_without_certificates_is_told() -> None:
    with pytest.raises(UnusableCredentials, match="own certificate"):
        ServerContext(anchors=[CA.certificate], chain=[], key=LAMP.key)


def test_a_proof_shows_no_key() -> None:
    assert repr(Proof(*LAMP)) == "Proof(…)"


def test_pem_files_are_read_whole() -> None:
    other = CA.issue("lamp-2")
    both = b"words before\n" + pem(LAMP.certificate) + pem(other.certificate)
    assert read_certificates(both) == [LAMP.certificate, other.certificate]
    traditional = private_key(LAMP.key).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    assert read_key(traditional) == LAMP.key


@pytest.mark.parametrize("found", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAA"])
def test_what_is_no_pem_is_told(found: bytes) -> None:
    with pytest.raises(UnusableCredentials, match="no certificate in PEM"):
        read_certificates(found)
    with pytest.raises(UnusableCredentials, match="no private key in PEM"):
        read_key(found)


def test_a_key_behind_a_passphrase_is_told() -> None:
    locked = private_key(LAMP.key).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    with pytest.raises(UnusableCredentials, match="needs a passphrase"):
        read_key(locked)


def test_a_cryptography_without_a_function_is_told_at_the_start() -> None:
    with pytest.raises(MissingBinding, match="SSL_gone, BIO_gone; install the version") as caught:
        require(object(), ("SSL_gone", "BIO_gone"))
    assert caught.value.names == ("SSL_gone", "BIO_gone")
