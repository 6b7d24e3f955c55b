"""Sealing credentials, with joserfc as the other side, and against the algorithm by hand."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import a2b_base64
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwe
from joserfc.jwk import ECKey

from city_platform.sealing import (
    SEALS_PER_AGREEMENT,
    CannotOpen,
    _decode,
    _encode,
    opener,
    renewed_opener,
    sealer,
    thumbprint,
)

PLAINTEXT = b'{"secret_key": "AAECAw=="}'


def identity() -> tuple[bytes, bytes, ec.EllipticCurvePrivateKey]:
    """Certificate and key as PEM, and the key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "svc:bridge:north")])
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), pem, key


CERTIFICATE, KEY_PEM, KEY = identity()
SEALED = sealer(CERTIFICATE)(PLAINTEXT)
OPEN = opener(CERTIFICATE, KEY_PEM)


def test_what_is_sealed_for_a_certificate_opens_with_its_key() -> None:
    assert OPEN(SEALED) == PLAINTEXT


def test_joserfc_opens_what_was_sealed_here() -> None:
    found = jwe.decrypt_compact(
        SEALED, ECKey.import_key(KEY_PEM), algorithms=["ECDH-ES", "A256GCM"]
    )
    assert found.plaintext == PLAINTEXT


def test_what_joserfc_sealed_is_opened_here() -> None:
    header = {"alg": "ECDH-ES", "enc": "A256GCM", "kid": thumbprint(CERTIFICATE)}
    sealed = jwe.encrypt_compact(
        header, PLAINTEXT, ECKey.import_key(KEY_PEM), algorithms=["ECDH-ES", "A256GCM"]
    )
    assert OPEN(sealed) == PLAINTEXT


@pytest.mark.parametrize("header", [{"zip": "DEF"}, {"crit": ["x"]}, {"apu": "QQ"}])
def test_headers_that_would_change_the_meaning_are_refused(header: dict[str, object]) -> None:
    protected, rest = SEALED.split(".", 1)
    changed = msgspec.json.encode(msgspec.json.decode(_bytes(protected)) | header)
    with pytest.raises(CannotOpen, match="header"):
        OPEN(f"{urlsafe_b64encode(changed).rstrip(b'=').decode()}.{rest}")


def test_a_point_that_is_not_on_the_curve_is_refused() -> None:
    protected, rest = SEALED.split(".", 1)
    header = msgspec.json.decode(_bytes(protected))
    header["epk"]["y"] = header["epk"]["x"]
    changed = urlsafe_b64encode(msgspec.json.encode(header)).rstrip(b"=").decode()
    with pytest.raises(CannotOpen, match="not on the curve"):
        OPEN(f"{changed}.{rest}")


def test_the_same_draws_give_the_same_seal() -> None:
    def draw(count: int) -> bytes:
        return bytes(range(count))

    assert sealer(CERTIFICATE, draw)(PLAINTEXT) == sealer(CERTIFICATE, draw)(PLAINTEXT)


def test_every_seal_is_another_text() -> None:
    assert sealer(CERTIFICATE)(PLAINTEXT) != SEALED


def test_one_agreement_serves_a_bounded_run_of_texts_each_with_its_own_nonce() -> None:
    seal = sealer(CERTIFICATE)
    parts = [seal(PLAINTEXT).split(".") for _ in range(SEALS_PER_AGREEMENT + 1)]
    assert len({part[0] for part in parts[:SEALS_PER_AGREEMENT]}) == 1
    assert parts[-1][0] != parts[0][0]
    assert len({part[2] for part in parts}) == len(parts)
    assert {OPEN(".".join(part)) for part in parts} == {PLAINTEXT}


def test_senders_that_take_turns_are_all_opened() -> None:
    senders = [sealer(CERTIFICATE) for _ in range(40)]
    for _ in range(2):
        assert [OPEN(seal(PLAINTEXT)) for seal in senders] == [PLAINTEXT] * 40


@pytest.mark.parametrize("wrong", ["=", "+", "/", " ", "\n", "é"])
def test_what_is_not_in_the_alphabet_is_refused(wrong: str) -> None:
    parts = SEALED.split(".")
    parts[3] = parts[3][:-4] + "AAA" + wrong
    with pytest.raises(CannotOpen, match="not base64url"):
        OPEN(".".join(parts))


def test_another_key_does_not_open_it() -> None:
    certificate, key_pem, _ = identity()
    with pytest.raises(CannotOpen):
        opener(certificate, key_pem)(SEALED)


def test_a_seal_for_another_certificate_of_the_same_key_is_refused() -> None:
    builder = x509.load_pem_x509_certificate(CERTIFICATE)
    other = (
        x509.CertificateBuilder()
        .subject_name(builder.subject)
        .issuer_name(builder.issuer)
        .public_key(KEY.public_key())
        .serial_number(2)
        .not_valid_before(builder.not_valid_before_utc)
        .not_valid_after(builder.not_valid_after_utc)
        .sign(KEY, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
    with pytest.raises(CannotOpen, match="another certificate"):
        opener(other, KEY_PEM)(SEALED)


@pytest.mark.parametrize("part", range(5))
def test_a_changed_part_is_noticed(part: int) -> None:
    parts = SEALED.split(".")
    parts[part] = ("A" if parts[part][:1] != "A" else "B") + parts[part][1:]
    with pytest.raises(CannotOpen):
        OPEN(".".join(parts))


@given(st.text(max_size=60) | st.lists(st.text(max_size=12), max_size=6).map(".".join))
@settings(max_examples=200, deadline=None)
def test_arbitrary_text_raises_only_cannot_open(text: str) -> None:
    with pytest.raises(CannotOpen):
        OPEN(text)


def _bytes(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_the_seal_is_ecdh_es_with_a256gcm_step_by_step() -> None:
    # RFC 7518 §4.6.2: Concat KDF over Z, algorithm id "A256GCM", empty party info, 256 bits.
    protected, encrypted_key, nonce, ciphertext, tag = SEALED.split(".")
    header = msgspec.json.decode(_bytes(protected))
    assert (header["alg"], header["enc"]) == ("ECDH-ES", "A256GCM")
    assert header["kid"] == thumbprint(CERTIFICATE)
    assert encrypted_key == ""
    point = ec.EllipticCurvePublicNumbers(
        int.from_bytes(_bytes(header["epk"]["x"])),
        int.from_bytes(_bytes(header["epk"]["y"])),
        ec.SECP256R1(),
    ).public_key()
    shared = KEY.exchange(ec.ECDH(), point)
    info = (7).to_bytes(4) + b"A256GCM" + bytes(4) + bytes(4) + (256).to_bytes(4)
    derived = hashlib.sha256((1).to_bytes(4) + shared + info).digest()
    opened = AESGCM(derived).decrypt(
        _bytes(nonce), _bytes(ciphertext) + _bytes(tag), protected.encode()
    )
    assert opened == PLAINTEXT


def test_a_renewed_certificate_is_read_when_something_is_sealed_for_it() -> None:
    files = {"now": (CERTIFICATE, KEY_PEM)}
    reads: list[int] = []

    def read() -> tuple[bytes, bytes]:
        reads.append(1)
        return files["now"]

    open_sealed = renewed_opener(read)
    assert open_sealed(SEALED) == PLAINTEXT
    renewed, key_pem, _ = identity()
    files["now"] = (renewed, key_pem)
    assert open_sealed(sealer(renewed)(PLAINTEXT)) == PLAINTEXT
    assert len(reads) == 2
    with pytest.raises(CannotOpen):
        open_sealed(SEALED)


def test_a_renewed_certificate_that_cannot_be_read_opens_nothing_and_is_tried_again() -> None:
    files = [(CERTIFICATE, KEY_PEM), (b"", b"")]
    open_sealed = renewed_opener(lambda: files.pop(0))
    other, _, _ = identity()
    with pytest.raises(CannotOpen, match="cannot be read"):
        open_sealed(sealer(other)(PLAINTEXT))
    assert open_sealed(SEALED) == PLAINTEXT


def strictly_decoded(part: str) -> bytes | None:
    """Base64url without padding, the long way (RFC 4648 §5, RFC 7515 §2); None when it is not."""
    text = part.encode().translate(bytes.maketrans(b"-_+/=", b"+/!!!"))
    try:
        return a2b_base64(text + b"=" * (-len(part) % 4), strict_mode=True)
    except ValueError:
        return None


@given(st.binary(max_size=400))
def test_base64url_is_written_as_the_library_writes_it_and_read_again(data: bytes) -> None:
    text = _encode(data)
    assert text == urlsafe_b64encode(data).rstrip(b"=").decode()
    assert _decode(text) == data


@given(
    st.text(alphabet='AQz09-_+/="\\ \n\t\x00é', max_size=24)
    | st.builds(
        lambda data, place, odd: _encode(data)[:place] + odd + _encode(data)[place:],
        st.binary(max_size=40),
        st.integers(0, 60),
        st.sampled_from(["", "\\", "\\/", "\\u0041", '"', "=", "+", "/", "A", "\n"]),
    )
)
def test_base64url_is_read_no_less_strictly_than_the_long_way(part: str) -> None:
    try:
        found = _decode(part)
    except CannotOpen:
        found = None
    assert found == strictly_decoded(part)
