"""What OSCORE works with: contexts and their numbers, headers, keys, algorithms."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.testing import seeded_draw
from lwm2m.coap import Request, TransmissionParameters, codes
from lwm2m.transport.oscore import (
    InvalidMaterial,
    MalformedOscore,
    OscoreContexts,
    OscoreEndpoint,
    OscoreMaterial,
    SequenceExhausted,
    UnknownContext,
    decode_header,
    material_of_object,
    mirrored,
    object_of_material,
)
from lwm2m.transport.oscore.engine import SEQUENCES_AHEAD
from lwm2m.transport.peers import security_of

from .oscore_pair import MATERIAL, SERVER


def test_a_restart_from_what_was_reserved_never_uses_a_number_twice() -> None:
    stored: list[int] = []
    used: list[int] = []
    next_sequence = 0
    for _ in range(3):
        contexts = OscoreContexts(
            seeded_draw(1), lambda key, next_sequence: stored.append(next_sequence)
        )
        contexts.add(MATERIAL, next_sequence=next_sequence)
        endpoint = OscoreEndpoint(TransmissionParameters(queue_per_peer_max=1_000), contexts,
                                  seeded_draw(1))  # fmt: skip
        for _ in range(SEQUENCES_AHEAD + 10):
            engine = next(iter(contexts)).engine
            option, _, _ = engine.protect_request(b"\x01", codes.POST)
            used.append(decode_header(option).sequence or 0)
            assert used[-1] < stored[-1]
        assert endpoint.datagrams_to_send() == []
        next_sequence = stored[-1]
    assert len(used) == len(set(used))
    assert len(stored) == 6


def test_the_same_material_again_goes_on_with_its_numbers() -> None:
    contexts = OscoreContexts(seeded_draw(1))
    first = contexts.add(MATERIAL)
    first.engine.protect_request(b"\x01", codes.POST)
    again = contexts.add(mirrored(mirrored(MATERIAL), "renamed"))
    assert again.material.endpoint_name == "renamed"
    assert again.engine.next_sequence == 1
    contexts.remove(MATERIAL.recipient_id)
    contexts.remove(MATERIAL.recipient_id)
    assert len(contexts) == 0
    with pytest.raises(UnknownContext):
        contexts.peer(SERVER, MATERIAL.recipient_id)


def test_a_request_without_kid_context_finds_the_only_context_of_its_kid() -> None:
    contexts = OscoreContexts(seeded_draw(1))
    one = OscoreMaterial(b"s" * 16, b"\x01", b"\x02", id_context=b"one")
    first = contexts.add(one)
    assert contexts.find(b"\x02", None) is first
    contexts.add(OscoreMaterial(b"s" * 16, b"\x01", b"\x02", id_context=b"two"))
    assert contexts.find(b"\x02", None) is None
    assert contexts.find(b"\x02", b"one") is first
    assert contexts.find(b"\x03", None) is None


@given(st.binary(max_size=300))
def test_a_header_is_read_or_refused(value: bytes) -> None:
    try:
        header = decode_header(value)
    except MalformedOscore:
        return
    assert len(header.partial_iv or b"") <= 5


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # RFC 8613 §6.3, examples 1 to 4.
        ("090525", (b"\x05", None, b"\x25")),
        ("0900", (b"\x00", None, b"")),
        ("19050844616c656b25", None),
        ("19050444616c656b", (b"\x05", b"Dale", b"k")),
        ("", (None, None, None)),
        ("0107", (b"\x07", None, None)),
    ],
)
def test_headers_of_the_rfc_are_read(
    value: str, expected: tuple[bytes | None, bytes | None, bytes | None] | None
) -> None:
    if expected is None:
        with pytest.raises(MalformedOscore):
            decode_header(bytes.fromhex(value))
    else:
        assert tuple(decode_header(bytes.fromhex(value))) == expected


_IDS = st.binary(max_size=7)


@given(
    st.binary(min_size=1, max_size=32),
    _IDS,
    _IDS,
    st.binary(max_size=16),
    st.none() | st.binary(max_size=32),
    st.sampled_from([10, 30]),
    st.sampled_from([-10, -11, 5, 6, 7]),
)
def test_material_passes_through_the_oscore_object(
    secret: bytes, sender: bytes, recipient: bytes, salt: bytes, context: bytes | None, aead: int,
    hkdf: int,
) -> None:  # fmt: skip
    if sender == recipient:
        with pytest.raises(InvalidMaterial):
            OscoreMaterial(secret, sender, recipient)
        return
    material = OscoreMaterial(secret, sender, recipient, salt, context, aead, hkdf)
    assert material_of_object(object_of_material(material)) == material


def test_the_first_versions_of_the_object_hold_hexadecimal() -> None:
    material = material_of_object({0: "0102", 1: "", 2: "01", 5: "FF"}, "lamp")
    assert material == OscoreMaterial(b"\x01\x02", b"", b"\x01", b"\xff", endpoint_name="lamp")
    for resources in ({0: "secret", 1: "", 2: "01"}, {1: b"", 2: b"x"}, {0: b"s", 1: b"", 2: 3}):
        with pytest.raises(InvalidMaterial) as caught:
            material_of_object(resources)  # type: ignore[arg-type] # mixed on purpose
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"aead_algorithm": 99},
        {"hkdf_algorithm": 0},
        {"sender_id": bytes(8)},
        {"master_secret": b""},
        {"id_context": bytes(256)},
        {"replay_window": 0},
    ],
)
def test_material_that_cannot_work_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidMaterial):
        OscoreMaterial(
            **{"master_secret": b"s", "sender_id": b"", "recipient_id": b"\x01", **wrong}
        )  # type: ignore[arg-type] # wrong on purpose


@pytest.mark.parametrize("aead", [1, 2, 3, 10, 11, 12, 13, 24, 30, 31, 32, 33])
@pytest.mark.parametrize("hkdf", [-10, -11])
def test_every_algorithm_protects_and_opens(aead: int, hkdf: int) -> None:
    material = OscoreMaterial(b"s" * 16, b"", b"\x01", aead_algorithm=aead, hkdf_algorithm=hkdf)
    one = OscoreContexts(seeded_draw(1)).add(material).engine
    other = OscoreContexts(seeded_draw(1)).add(mirrored(material)).engine
    option, ciphertext, _ = one.protect_request(b"\x01\xb11", codes.POST)
    assert other.open_request(option, ciphertext, codes.POST)[0] == b"\x01\xb11"


def test_no_secret_shows_in_any_text() -> None:
    contexts = OscoreContexts(seeded_draw(1))
    context = contexts.add(MATERIAL)
    peer = contexts.peer(SERVER, MATERIAL.recipient_id)
    shown = f"{MATERIAL!r} {context!r} {context.engine!r} {peer!r} {security_of(peer)!r}"
    assert MATERIAL.master_secret.hex() not in shown
    assert repr(MATERIAL.master_secret) not in shown
    assert repr(MATERIAL.master_salt) not in shown


def test_aiocoap_is_imported_with_the_first_context_only() -> None:
    code = (
        "import sys; from lwm2m.transport import oscore, reliable;"
        "c = oscore.OscoreContexts(bytes); assert 'aiocoap' not in sys.modules;"
        "assert 'OpenSSL' not in sys.modules;"
        "c.add(oscore.OscoreMaterial(b's', b'', b'1')); assert 'aiocoap' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_context_without_numbers_left_says_so() -> None:
    contexts = OscoreContexts(seeded_draw(1))
    contexts.add(MATERIAL, next_sequence=2**40 - 1)
    endpoint = OscoreEndpoint(TransmissionParameters(), contexts, seeded_draw(1))
    with pytest.raises(SequenceExhausted):
        endpoint.send_request(contexts.peer(SERVER, b"\x0b"), Request(codes.GET), 0.0)
