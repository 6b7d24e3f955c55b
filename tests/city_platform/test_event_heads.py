"""The head of an event says what the whole event says."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_platform.event_heads import EventHead, decode_event_head
from contracts.data_interface import (
    VERSION,
    Completes,
    Event,
    ObjectLink,
    Outcome,
    Registration,
    Security,
    decode_event,
    encode,
)
from contracts.errors import ContractError, UnsupportedVersion

NAMES = st.sampled_from(["lamp-1", "é", ""])
REGISTRATIONS = st.builds(
    Registration,
    registration_id=NAMES,
    endpoint=NAMES,
    lifetime_s=st.just(60),
    lwm2m_version=st.just("1.1"),
    binding=st.just("U"),
    queue_mode=st.booleans(),
    object_links=st.lists(
        st.builds(ObjectLink, st.sampled_from(["/3/0", "/18830/0"]), st.just({"ver": "1.1"})),
        max_size=2,
    ),
    address=st.just("127.0.0.1:5683"),
    security=st.builds(Security, st.sampled_from(["nosec", "psk"]), st.none() | NAMES),
    registered_at_us=st.integers(0, 2**53),
)
EVENTS = st.builds(
    Event,
    server=NAMES,
    epoch=NAMES,
    seq=st.integers(0, 2**53),
    kind=st.sampled_from(["registered", "updated", "deregistered", "bootstrap", "result"]),
    endpoint=NAMES,
    at_us=st.integers(0, 2**53),
    registration_id=st.none() | NAMES,
    registration=st.none() | REGISTRATIONS,
    result=st.none() | st.just(Outcome(id="c1", operation="create", code="2.01")),
    completed=st.none() | st.builds(Completes, st.just("credentials"), NAMES),
    snapshot=st.booleans(),
)


def agree(head: EventHead, event: Event) -> bool:
    names = ["server", "epoch", "seq", "kind", "endpoint", "registration_id", "result"]
    names += ["completed", "snapshot", "v"]
    if any(getattr(head, name) != getattr(event, name) for name in names):
        return False
    ours, theirs = head.registration, event.registration
    if ours is None or theirs is None:
        return ours is theirs
    same = ["registration_id", "endpoint", "security", "registered_at_us"]
    links = msgspec.json.decode(ours.object_links, type=list[ObjectLink])
    return links == theirs.object_links and all(
        getattr(ours, name) == getattr(theirs, name) for name in same
    )


@given(EVENTS)
def test_a_head_has_what_the_whole_event_has(event: Event) -> None:
    assert agree(decode_event_head(encode(event)), event)


@given(EVENTS, st.integers(0, 2_000), st.sampled_from([b"", b"0", b'"', b"{", b"null", b"\xff"]))
def test_whatever_is_a_whole_event_has_its_head(event: Event, place: int, odd: bytes) -> None:
    """The other way round, what the head does not read is not checked."""
    payload = encode(event)
    payload = payload[: place % len(payload)] + odd + payload[place % len(payload) + 1 :]
    try:
        whole = decode_event(payload)
    except ContractError:
        return
    assert agree(decode_event_head(payload), whole)


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b"[]", b'{"type":"ack"}', b"\xff", b"[" * 100_000, b'{"type":"event","seq":"a"}'],
)
def test_what_is_no_event_is_a_contract_error(payload: bytes) -> None:
    with pytest.raises(ContractError):
        decode_event_head(payload)
    with pytest.raises(ContractError):
        decode_event(payload)


def test_an_event_of_a_newer_version_is_refused_as_such() -> None:
    event = Event(server="s", epoch="e", seq=1, kind="registered", endpoint="lamp-1", at_us=1)
    told = msgspec.json.decode(encode(event)) | {"v": VERSION + 1}
    with pytest.raises(UnsupportedVersion):
        decode_event_head(msgspec.json.encode(told))
