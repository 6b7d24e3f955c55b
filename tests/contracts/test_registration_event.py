"""The short way to a registration event gives the bytes that the long one gives."""

from __future__ import annotations

import msgspec
import pytest

from contracts.data_interface import (
    Event,
    EventKind,
    Registration,
    RegistrationEvent,
    Security,
    decode_server_frame,
    encode,
)


def _registration(identity: str | None) -> Registration:
    return Registration(
        registration_id="a1b2",
        endpoint="lamp-1",
        lifetime_s=60,
        lwm2m_version="1.1",
        binding="U",
        queue_mode=False,
        object_links=msgspec.Raw(b'[{"path":"/3/0"}]'),
        address="127.0.0.1:5683",
        security=Security("psk" if identity else "nosec", identity),
        registered_at_us=5,
    )


@pytest.mark.parametrize("kind", ["registered", "updated"])
@pytest.mark.parametrize("identity", [None, 'a "quoted" \u00e9'])
def test_a_registration_event_is_an_event_byte_for_byte(
    kind: EventKind, identity: str | None
) -> None:
    registration = _registration(identity)
    long = Event(
        server="s1",
        epoch="e1",
        seq=7,
        kind=kind,
        endpoint="lamp-1",
        at_us=9,
        registration_id="a1b2",
        registration=registration,
    )
    short = RegistrationEvent(
        "s1",
        "e1",
        7,
        kind,
        "lamp-1",
        9,
        "a1b2",
        registration,  # type: ignore[arg-type]  # one of two
    )
    assert encode(short) == encode(long)
    assert isinstance(decode_server_frame(encode(short)), Event)
