"""Signing requests of devices that keep their key: what is followed, and what is refused.

The requests come out of cryptography's encoder: we have none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from city_platform.provisioning.csr import InvalidRequest, read_request

KEY = ec.derive_private_key(7, ec.SECP256R1())
Builder = x509.CertificateSigningRequestBuilder
Change = Callable[[Builder], Builder]


def named(*names: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])


def request(
    change: Change = lambda builder: builder, subject: x509.Name | None = None
) -> x509.CertificateSigningRequest:
    builder = Builder().subject_name(named("lamp-1") if subject is None else subject)
    return change(builder).sign(KEY, hashes.SHA256())


def der(found: x509.CertificateSigningRequest) -> bytes:
    return found.public_bytes(serialization.Encoding.DER)


def usage(*, key_cert_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def asking(extension: x509.ExtensionType) -> Change:
    return lambda builder: builder.add_extension(extension, critical=True)


FOLLOWED: dict[str, x509.CertificateSigningRequest] = {
    "plain": request(),
    "nameless": request(subject=x509.Name([])),
    "no_authority": request(asking(x509.BasicConstraints(ca=False, path_length=None))),
    "usage": request(asking(usage(key_cert_sign=False))),
    "client": request(asking(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]))),
    "own_name": request(asking(x509.SubjectAlternativeName([x509.DNSName("lamp-1")]))),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_a_request_for_what_a_device_gets_is_followed(name: str) -> None:
    found = FOLLOWED[name]
    assert read_request(der(found), "lamp-1") == KEY.public_key()
    pem = found.public_bytes(serialization.Encoding.PEM)
    assert read_request(pem, "lamp-1") == KEY.public_key()


REFUSED: dict[str, tuple[x509.CertificateSigningRequest, str]] = {
    "another_name": (request(subject=named("lamp-2")), "common name lamp-1 alone"),
    "two_names": (request(subject=named("lamp-1", "svc:control")), "alone"),
    "authority": (request(asking(x509.BasicConstraints(ca=True, path_length=0))), "2.5.29.19"),
    "signs_certificates": (request(asking(usage(key_cert_sign=True))), "2.5.29.15"),
    "server": (
        request(asking(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]))),
        "2.5.29.37",
    ),
    "alternative": (
        request(asking(x509.SubjectAlternativeName([x509.DNSName("broker")]))),
        "2.5.29.17",
    ),
    "constraints": (
        request(asking(x509.NameConstraints([x509.DNSName("a")], None))),
        "2.5.29.30",
    ),
    "password": (
        request(lambda builder: builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, b"x")),
        "1.2.840.113549.1.9.7",
    ),
    "other_curve": (
        Builder()
        .subject_name(named("lamp-1"))
        .sign(ec.derive_private_key(7, ec.SECP384R1()), hashes.SHA256()),
        "P-256",
    ),
    "edwards": (
        Builder()
        .subject_name(named("lamp-1"))
        .sign(ed25519.Ed25519PrivateKey.from_private_bytes(b"7" * 32), None),
        "P-256",
    ),
    "rsa": (
        Builder()
        .subject_name(named("lamp-1"))
        .sign(rsa.generate_private_key(65537, 2048), hashes.SHA256()),
        "P-256",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_for_anything_else_is_refused_with_its_reason(name: str) -> None:
    found, expected = REFUSED[name]
    with pytest.raises(InvalidRequest, match=expected):
        read_request(der(found), "lamp-1")


def test_a_request_signed_with_another_key_is_refused() -> None:
    plain = bytearray(der(request()))
    plain[-1] ^= 1
    with pytest.raises(InvalidRequest, match="not signed with the key"):
        read_request(bytes(plain), "lamp-1")


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda b: b"-----BEGIN" + b))
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_request(data, "lamp-1")


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_request_is_read_or_refused(place: int, value: int) -> None:
    data = bytearray(der(FOLLOWED["own_name"]))
    data[place % len(data)] = value
    with contextlib.suppress(InvalidRequest):
        assert read_request(bytes(data), "lamp-1") is not None


def test_a_request_that_is_too_long_is_not_read() -> None:
    with pytest.raises(InvalidRequest, match="at most"):
        read_request(b"0" * 10_000, "lamp-1")
