"""The bootstrap handler: a plain function of one message, which runs anywhere unchanged.

It takes what it needs as arguments and returns what is to be published; it does no I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from city_platform.bootstrap.decision import Facts, Ignore, SendCredentials, decide
from city_platform.endpoint_topics import read_event_topic, topic_of
from city_platform.event_heads import decode_event_head
from contracts.credentials import SealedCredentials, decode_document
from contracts.data_interface import encode
from contracts.errors import ContractError
from contracts.topics import EventTopic, Topics

# Seals a plaintext for the bridge of the named server; None when it has no certificate.
SealFor = Callable[[str], Callable[[bytes], str] | None]


class Message(NamedTuple):
    """What is to be published, QoS 1, and why."""

    topic: str
    payload: bytes
    sends: SendCredentials


def handle(
    topic: str,
    payload: bytes,
    *,
    document: bytes | None,
    seal_for: SealFor,
    topics: Topics,
    confirmed_version: str | None = None,
    is_known: bool = True,
    nosec_allowed: bool = False,
) -> Message | Ignore:
    """Answer one message of an event topic.

    The topic says whose event it is, because only that server's bridge may publish there.
    `document` is the endpoint's credentials file, None when there is none. An event or a file that
    does not keep to its contract is ignored as `malformed`; its content is not repeated anywhere.
    """
    decision = decide_on(
        read_event_topic(topics.event, topic),
        payload,
        document=document,
        confirmed_version=confirmed_version,
        is_known=is_known,
        nosec_allowed=nosec_allowed,
    )
    if isinstance(decision, Ignore) or document is None:
        return decision if isinstance(decision, Ignore) else Ignore("no_credentials")
    return seal(decision, document, seal_for, topics)


def decide_on(
    told: EventTopic | None,
    payload: bytes,
    *,
    document: bytes | None,
    confirmed_version: str | None = None,
    is_known: bool = True,
    nosec_allowed: bool = False,
) -> SendCredentials | Ignore:
    """The first half of `handle`: what one message asks for. `seal` makes the answer.

    `told` is what its topic says, None when that is no event's.
    """
    try:
        event = decode_event_head(payload)
        version = document_version(event.endpoint, document)
    except ContractError:
        return Ignore("malformed")
    if told is None:
        return Ignore("malformed")
    if (told.server, told.endpoint) != (event.server, event.endpoint):
        return Ignore("claims_another_device")
    facts = Facts(
        credentials_version=version,
        confirmed_version=confirmed_version,
        is_known=is_known,
        nosec_allowed=nosec_allowed,
    )
    return decide(event, facts)


def document_version(endpoint: str, document: bytes | None) -> str | None:
    """The version in a credentials file. Raises `ContractError` when it is another device's."""
    if document is None:
        return None
    found = decode_document(document)
    if found.endpoint != endpoint:
        raise ContractError("the credentials file is another device's")
    return found.version


def seal(
    sends: SendCredentials, document: bytes, seal_for: SealFor, topics: Topics
) -> Message | Ignore:
    """The message that brings a credentials file to the bridge that holds the registration."""
    sealer = seal_for(sends.server)
    if sealer is None:
        return Ignore("no_bridge_certificate", sends)
    sealed = SealedCredentials(
        endpoint=sends.endpoint,
        server=sends.server,
        registration_id=sends.registration_id,
        version=sends.version,
        sealed=sealer(document),
    )
    topic = topic_of(topics.credentials, sends.server).of(sends.endpoint)
    return Message(topic, encode(sealed), sends)
