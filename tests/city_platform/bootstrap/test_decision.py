"""When credentials are sent and when not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from city_platform.bootstrap import Facts, Ignore, Message, SendCredentials, decide, handle
from city_platform.event_heads import decode_event_head
from contracts.credentials import decode_sealed
from contracts.data_interface import Event, ObjectLink, Registration, Security, encode
from contracts.topics import Topics

TOPIC = "lwm2m/north/lamp-1/event/registered"
DOCUMENT = (
    b'{"endpoint":"lamp-1","version":"v1","broker":{"uri":"mqtts://b","client_id":"lamp-1",'
    b'"certificate":"","ca_certificate":"","secret_key":"c2VjcmV0"},"publications":[]}'
)


def event(*links: str, mode: str = "psk", endpoint: str = "lamp-1", **changes: Any) -> Event:
    registration = Registration(
        registration_id="r1",
        endpoint=endpoint,
        lifetime_s=60,
        lwm2m_version="1.1",
        binding="U",
        queue_mode=False,
        object_links=[ObjectLink(link) for link in links],
        address="127.0.0.1:5683",
        security=Security(mode),  # type: ignore[arg-type]  # one of the modes
        registered_at_us=1,
    )
    fields = {
        "server": "north",
        "epoch": "e",
        "seq": 1,
        "kind": "registered",
        "endpoint": endpoint,
        "at_us": 1,
        "registration": registration,
    }
    return Event(**{**fields, **changes})


def facts(**changes: Any) -> Facts:
    return Facts(**{"credentials_version": "v1", **changes})


SEND = SendCredentials("lamp-1", "north", "r1", "v1")


@pytest.mark.parametrize(
    ("told", "known", "decision"),
    [
        (event(), facts(), SEND),
        (event(snapshot=True), facts(), SEND),
        (event(), facts(confirmed_version="v1"), SEND),
        (event("/18830/0"), facts(), SEND),
        (event("/18830/0"), facts(confirmed_version="v0"), SEND),
        (event("/18830/0"), facts(confirmed_version="v1"), Ignore("confirmed")),
        (event("/18830/1"), facts(confirmed_version="v1"), SEND),
        (event(kind="updated"), facts(), Ignore("not_a_registration")),
        (event(kind="deregistered"), facts(), Ignore("not_a_registration")),
        (event(mode="nosec"), facts(), Ignore("nosec")),
        (event(mode="nosec"), facts(nosec_allowed=True), SEND),
        (event(), facts(is_known=False), Ignore("unknown_endpoint")),
        (event(), facts(credentials_version=None), Ignore("no_credentials")),
        (event(endpoint="a/b"), facts(), Ignore("illegal_endpoint")),
        (event(registration=None), facts(), Ignore("no_registration")),
        (event(endpoint="lamp-2", registration=event().registration), facts(), None),
    ],
)
def test_the_decision_follows_the_facts(
    told: Event, known: Facts, decision: SendCredentials | Ignore | None
) -> None:
    assert decide(told, known) == (decision or Ignore("no_registration"))
    # Told by the event's head, whose links are read when they are needed.
    assert decide(decode_event_head(encode(told)), known) == decide(told, known)


@pytest.mark.parametrize("links", [b"[{}]", b'"/18830/0"', b"7", b"[" * 50_000 + b"]" * 50_000])
def test_links_that_cannot_be_read_have_no_broker(links: bytes) -> None:
    head = decode_event_head(encode(event()))
    assert head.registration is not None
    odd = msgspec.structs.replace(head.registration, object_links=msgspec.Raw(links))
    told = msgspec.structs.replace(head, registration=odd)
    assert decide(told, facts(confirmed_version="v1")) == SEND


def answer(payload: bytes, document: bytes | None = DOCUMENT, topic: str = TOPIC) -> Any:
    return handle(
        topic,
        payload,
        document=document,
        seal_for=lambda server: (
            (lambda plaintext: f"sealed:{len(plaintext)}") if server == "north" else None
        ),
        topics=Topics(),
    )


def test_the_handler_returns_what_is_to_be_published() -> None:
    message = answer(encode(event()))
    assert isinstance(message, Message)
    assert message.topic == "lwm2m/north/lamp-1/credentials"
    sealed = decode_sealed(message.payload)
    assert (sealed.endpoint, sealed.server) == ("lamp-1", "north")
    assert (sealed.registration_id, sealed.version) == ("r1", "v1")
    assert sealed.sealed == f"sealed:{len(DOCUMENT)}"
    assert message.sends == SEND


@pytest.mark.parametrize(
    ("payload", "document", "topic", "reason"),
    [
        (b"{", DOCUMENT, TOPIC, "malformed"),
        (encode(event()), b"{}", TOPIC, "malformed"),
        (encode(event()), DOCUMENT.replace(b"lamp-1", b"lamp-2"), TOPIC, "malformed"),
        (encode(event()), None, TOPIC, "no_credentials"),
        (encode(event()), DOCUMENT, "other/topic", "malformed"),
        (encode(event()), DOCUMENT, TOPIC.replace("north", "south"), "claims_another_device"),
        (encode(event()), DOCUMENT, TOPIC.replace("lamp-1", "lamp-2"), "claims_another_device"),
    ],
)
def test_what_is_wrong_is_ignored_with_its_reason(
    payload: bytes, document: bytes | None, topic: str, reason: str
) -> None:
    ignored = answer(payload, document, topic)
    assert isinstance(ignored, Ignore)
    assert ignored.reason == reason


def test_without_a_bridge_certificate_it_says_what_is_wanted() -> None:
    south = encode(event(server="south"))
    ignored = answer(south, topic=TOPIC.replace("north", "south"))
    assert ignored == Ignore(
        "no_bridge_certificate", SendCredentials("lamp-1", "south", "r1", "v1")
    )
