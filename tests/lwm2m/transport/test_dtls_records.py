"""DTLS bytes without a handshake: records, hellos, key derivation, protection, sessions' DER."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m.transport.dtls import DEFAULT_SUITES, SUITES, DtlsSettings, MissingBinding
from lwm2m.transport.dtls.bindings import lib, require
from lwm2m.transport.dtls.certificates import read_certificate
from lwm2m.transport.dtls.channel import WINDOW_RECORDS, Channel
from lwm2m.transport.dtls.failures import failure_reason
from lwm2m.transport.dtls.hellos import encode_hello_verify_request, parse_client_hello
from lwm2m.transport.dtls.prf import Prf
from lwm2m.transport.dtls.protection import MasterSecrets
from lwm2m.transport.dtls.records import (
    APPLICATION_DATA,
    DTLS_1_2,
    encode_record,
    pack_datagrams,
    parse_record,
    split_records,
)
from lwm2m.transport.dtls.resumption import psk_identity_of, ticket_bytes
from lwm2m.transport.dtls.suites import RecordCipher

# A busy machine takes longer at times; that is no finding.
_NO_DEADLINE = settings(deadline=None)
_CIPHERS: tuple[RecordCipher, ...] = ("ccm_8", "ccm", "gcm", "cbc")


def test_the_prf_is_that_of_tls_1_2() -> None:
    # A vector for P_SHA256 with the label in front of the seed, posted to the IETF's TLS list
    # ("Test vectors for TLS 1.2 PRF", 2009): secret, seed, label, first 32 of 100 bytes.
    secret = bytes.fromhex("9bbe436ba940f017b17652849a71db35")
    seed = bytes.fromhex("a0ba9f936cda311827a6f796ffd5198c")
    made = Prf(secret).expand(b"test label" + seed, 100)
    expected = "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a"
    assert made[:32].hex() == expected
    assert len(made) == 100


@pytest.mark.slow
@_NO_DEADLINE
@given(
    st.lists(
        st.tuples(
            st.integers(20, 23),
            st.integers(0, 0xFFFF),
            st.integers(0, 2**48 - 1),
            st.binary(max_size=300),
        ),
        max_size=5,
    )
)
def test_records_come_back_from_their_datagrams(
    parts: list[tuple[int, int, int, bytes]],
) -> None:
    records = [
        encode_record(kind, DTLS_1_2, epoch, sequence, fragment)
        for kind, epoch, sequence, fragment in parts
    ]
    datagrams = pack_datagrams(records, 700)
    assert all(len(datagram) <= 700 for datagram in datagrams)
    back = [record for datagram in datagrams for record in split_records(datagram)]
    assert back == records
    for record, (kind, epoch, sequence, fragment) in zip(back, parts, strict=True):
        parsed = parse_record(record)
        assert (parsed.content_type, parsed.epoch, parsed.sequence, parsed.fragment) == (
            kind,
            epoch,
            sequence,
            fragment,
        )


@_NO_DEADLINE
@given(st.binary(max_size=400))
def test_any_bytes_are_taken_apart_without_an_error(data: bytes) -> None:
    for record in split_records(data):
        parse_record(record)
    hello = parse_client_hello(data)
    if hello is not None:
        encode_hello_verify_request(hello, b"cookie")
    psk_identity_of(data)
    ticket_bytes(data)
    read_certificate(data)


@_NO_DEADLINE
@given(st.binary(max_size=120), st.integers(0, 3))
def test_any_hello_body_is_taken_apart_without_an_error(body: bytes, sequence: int) -> None:
    length = len(body).to_bytes(3, "big")
    message = b"\x01" + length + sequence.to_bytes(2, "big") + bytes(3) + length + body
    parse_client_hello(encode_record(22, DTLS_1_2, 0, 0, message))


def test_what_is_no_record_ends_a_datagram() -> None:
    good = encode_record(22, DTLS_1_2, 0, 1, b"fine")
    too_long = b"\x17\xfe\xfd" + bytes(8) + b"\xff\xff" + bytes(0xFFFF)
    for bad in (b"\x10" + good[1:], good[:1] + b"\x03" + good[2:], good[:-1], too_long):
        assert split_records(bad) == []
        assert split_records(good + bad) == [good]


@pytest.mark.parametrize("cipher", _CIPHERS)
@pytest.mark.parametrize("encrypt_then_mac", [True, False])
@_NO_DEADLINE
@given(content=st.binary(max_size=200), sequence=st.integers(0, 2**48 - 1), at=st.integers(0))
def test_what_is_sealed_opens_and_no_changed_byte_does(
    cipher: RecordCipher, encrypt_then_mac: bool, content: bytes, sequence: int, at: int
) -> None:
    secrets = MasterSecrets(bytes(48), b"c" * 32, b"s" * 32)
    made = [
        secrets.protections(cipher, lambda size: b"\x07" * size, encrypt_then_mac=encrypt_then_mac)
        for _ in range(2)
    ]
    (ours, theirs), (_, reader) = made
    record = theirs.seal(APPLICATION_DATA, sequence, content)
    assert split_records(record) == [record]
    assert reader.open(record) == content
    assert ours.open(record) is None
    changed = bytearray(record)
    # Not the length (a record is whole when it comes here): everything else is protected.
    place = at % (len(record) - 2)
    changed[place if place < 11 else place + 2] ^= 0x40
    assert reader.open(bytes(changed)) is None
    for size in (13, 14, len(record) - 1):
        cut = record[:11] + (size - 13).to_bytes(2, "big") + record[13:size]
        assert reader.open(cut) is None


def test_secrets_show_nothing_of_themselves() -> None:
    secrets = MasterSecrets(b"\xaa" * 48, b"c" * 32, b"s" * 32)
    client, _ = secrets.protections("ccm_8", bytes)
    assert "aaaa" not in repr(secrets) + repr(client)
    assert not hasattr(secrets, "__dict__")


def _channels() -> tuple[Channel, Channel]:
    secrets = MasterSecrets(bytes(48), b"c" * 32, b"s" * 32)
    client, server = secrets.protections("ccm_8", bytes)
    return Channel(server, client, 1), Channel(client, server, 1)


@pytest.mark.slow
@_NO_DEADLINE
@given(st.lists(st.integers(0, 200), max_size=60))
def test_each_record_opens_once_and_only_within_the_window(order: list[int]) -> None:
    sender, receiver = _channels()
    records = [sender.seal(APPLICATION_DATA, b"%d" % number) for number in range(201)]
    came: set[int] = set()
    for number in order:
        expected = number not in came and number > max(came, default=-1) - WINDOW_RECORDS
        assert receiver.is_replay(records[number]) is not expected
        assert (receiver.open(records[number]) is not None) is expected
        if expected:
            came.add(number)


def test_a_missing_binding_is_named() -> None:
    require(lib, ("SSL_new",))
    with pytest.raises(MissingBinding, match="SSL_gone, BIO_gone; install the version") as caught:
        require(lib, ("SSL_new", "SSL_gone", "BIO_gone"))
    assert caught.value.names == ("SSL_gone", "BIO_gone")


def test_the_suites_are_those_that_were_asked_for_lwm2ms_mandatory_one_first() -> None:
    numbers = {suite.name: suite.number for suite in SUITES.values()}
    assert DEFAULT_SUITES[0] == "TLS_PSK_WITH_AES_128_CCM_8"
    # From IANA's TLS Cipher Suites registry.
    assert numbers == {
        "TLS_PSK_WITH_AES_128_CCM_8": 0xC0A8,
        "TLS_PSK_WITH_AES_128_CCM": 0xC0A4,
        "TLS_PSK_WITH_AES_128_GCM_SHA256": 0x00A8,
        "TLS_PSK_WITH_AES_128_CBC_SHA256": 0x00AE,
        "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256": 0xC037,
        "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8": 0xC0AE,
        "TLS_ECDHE_ECDSA_WITH_AES_128_CCM": 0xC0AC,
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": 0xC02B,
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256": 0xC023,
    }


def test_failures_have_names_to_count_by() -> None:
    assert failure_reason(1051, "tlsv1 alert decrypt error", 0) == "alert_decrypt_error"
    assert failure_reason(1199, "", 0) == "alert_199"
    assert failure_reason(193, "no shared cipher", 0) == "no_shared_suite"
    assert failure_reason(0, "Something (else)", 0) == "something_else"
    assert failure_reason(0, "", 0) == "protocol_error"
    assert failure_reason(134, "certificate verify failed", 1) == "certificate_refused"


@pytest.mark.parametrize(
    "changes",
    [
        {"suites": ()},
        {"retransmit_timeout_s": 0.0},
        {"retransmit_timeout_s": 61.0},
        {"datagram_bytes_max": 255},
        {"datagram_bytes_max": 20_000},
        {"handshakes_max": 0},
        {"sessions_max": 0},
        {"queue_per_peer_max": 0},
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        DtlsSettings(**changes)  # type: ignore[arg-type]  # by name
