"""Reads objects 18830 *MQTT Broker* and 18831 *MQTT Publication*: where to connect, what to send.

Pure: from a device's values to an account and its streams. DESIGN's *Bootstrap* says the order in
which a platform writes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from contracts.credentials import (
    ENCODING_SENML_CBOR,
    SECURITY_MODE_CERTIFICATE,
    SECURITY_MODE_NONE,
)
from contracts.errors import ContractError
from contracts.presence import ENCODING_JSON, PRESENCE_SOURCE
from contracts.topics import Topics, is_topic_name, match_template
from fake_devices.device.outbox import StreamName
from fake_devices.device.tree import ObjectTree
from lwm2m.codecs import link_format
from lwm2m.objects import ObjectLink, ObjectPath, Value

BROKER_OBJECT: Final = 18830
PUBLICATION_OBJECT: Final = 18831

# Resources of /18830: URI, client id, clean session, keep-alive, security mode, certificate, CA
# certificate, secret key. Of /18831: source, broker, topic, QoS, retain, active, encoding.
_OF_ACCOUNTS: Final = (0, 1, 2, 3, 6, 7, 8, 9)
_OF_PUBLICATIONS: Final = (0, 1, 2, 3, 4, 5, 6)

_INSTANCES_KEPT: Final = 256
_URIS_KEPT: Final = 64
_PUBLICATIONS_KEPT: Final = 256
_SOURCE_LENGTH_MAX: Final = 1_024
_TOPICS_KEPT: Final = 256
_TOPIC_LENGTH_MAX: Final = 256
# DESIGN's endpoint names: nothing of them means anything in a topic or a template.
_NAME: Final = re.compile(r"[A-Za-z0-9:_-]+")
_DEFAULT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


class BrokerAccount(msgspec.Struct, frozen=True, kw_only=True):
    """Complete credentials of one broker. Certificates and the PKCS #8 key are DER; without TLS
    (`is_secure` false) they are empty."""

    is_secure: bool
    host: str
    port: int
    client_id: str
    clean_session: bool
    keep_alive_s: int
    certificate: bytes = b""
    ca_certificate: bytes = b""
    secret_key: bytes = b""
    # Where the device says that it is connected, and its last will that it is not; empty: nowhere.
    presence_topic: str = ""

    def __repr__(self) -> str:
        return f"BrokerAccount({self.client_id!r} at {self.host}:{self.port}, …)"

    @property
    def session(self) -> tuple[str, bool]:
        """Two accounts with the same one continue the same MQTT session."""
        return (self.client_id, self.clean_session)


class Stream(msgspec.Struct, frozen=True):
    """One active publication: what goes to which topic. No `sources` means everything."""

    name: StreamName
    topic: str
    qos: int
    retain: bool
    sources: tuple[ObjectPath, ...]


class _Publication(NamedTuple):
    """What an instance of /18831 asks for, but for its topic. `sources` is None when it sends no
    telemetry that we understand."""

    is_active: bool
    broker: ObjectLink | None
    sources: tuple[ObjectPath, ...] | None
    qos: int
    retain: bool
    tells_presence: bool


# Exactly the kinds: a boolean is an int in Python and none in LwM2M.
_PUBLICATION_KINDS: Final = (str, ObjectLink, str, int, bool, bool, int)
_ACCOUNT_KINDS: Final = (str, str, bool, int, int, bytes, bytes, bytes)


class UplinkPlan(NamedTuple):
    """What the objects ask for. `is_whole`: every publication is active, so nobody is half-way
    through setting them up."""

    account: BrokerAccount | None
    streams: tuple[Stream, ...]
    is_whole: bool


_NOTHING: Final = UplinkPlan(None, (), is_whole=True)


def read_uplink(
    tree: ObjectTree, topics: Topics, endpoint: str = "", own_key: bytes = b""
) -> UplinkPlan:
    """The account that active publications name, and their streams.

    `endpoint` is the device's name, which its topics likely contain. `own_key` is the private key
    that a device has to itself (PKCS #8, DER): it counts where nobody has written one.

    No account while none is active or its broker's credentials are not complete. One account a
    device: publications that name another broker than the first are left out.
    """
    instances = tree.instances_of(PUBLICATION_OBJECT)
    if not instances:
        return _NOTHING
    broker: ObjectLink | None = None
    streams: list[Stream] = []
    presence_topic = ""
    active = 0
    for instance in instances:
        publication, topic = _read_publication(tree, instance)
        if not publication.is_active:
            continue
        active += 1
        if topic is None:
            continue
        is_name, name = _topic_facts(topic, endpoint, topics.alarm)
        if not is_name:
            continue
        if publication.tells_presence:
            presence_topic = presence_topic or topic
        link, sources = publication.broker, publication.sources
        if sources is None or link is None or (broker is not None and link != broker):
            continue
        broker = link
        streams.append(Stream(name, topic, publication.qos, publication.retain, sources))
    account = None if broker is None else _read_account(tree, broker, own_key, presence_topic)
    found = () if account is None else tuple(streams)
    return UplinkPlan(account, found, is_whole=active == len(instances))


def _read_account(
    tree: ObjectTree, link: ObjectLink, own_key: bytes, presence_topic: str
) -> BrokerAccount | None:
    if link.object_id != BROKER_OBJECT:
        return None
    values: list[Any] = tree.get_each(_paths_of(BROKER_OBJECT, link.instance_id, _OF_ACCOUNTS))
    if tuple(map(type, values)) != _ACCOUNT_KINDS:
        values = _of_kinds(values, _ACCOUNT_KINDS)
    uri, client_id, clean_session, keep_alive_s, mode, certificate, ca_certificate, key = values
    address = _parse_uri(uri) if uri else None
    if address is None or not client_id:
        return None
    scheme, host, port = address
    secret_key = key or own_key
    is_secure = scheme == "mqtts"
    if mode != (SECURITY_MODE_CERTIFICATE if is_secure else SECURITY_MODE_NONE):
        return None
    if is_secure and not (certificate and ca_certificate and secret_key):
        return None
    return BrokerAccount(
        is_secure=is_secure,
        host=host,
        port=port,
        client_id=client_id,
        clean_session=clean_session is not False,
        keep_alive_s=keep_alive_s or 0,
        certificate=certificate or b"",
        ca_certificate=ca_certificate or b"",
        secret_key=secret_key,
        presence_topic=presence_topic,
    )


def _read_publication(tree: ObjectTree, instance: ObjectPath) -> tuple[_Publication, str | None]:
    """What an instance asks for, and its topic."""
    values: list[Any] = tree.get_each(
        _paths_of(PUBLICATION_OBJECT, instance.instance_id, _OF_PUBLICATIONS)
    )
    read: Callable[..., _Publication] = _publication
    if tuple(map(type, values)) != _PUBLICATION_KINDS or len(values[0]) > _SOURCE_LENGTH_MAX:
        values, read = _of_kinds(values, _PUBLICATION_KINDS), _publication.__wrapped__
    source, broker, topic, qos, retain, active, encoding = values
    return read(source, broker, qos, retain, active, encoding), topic


# Devices of one model are told the same by their platform, but for the topic.
@lru_cache(_PUBLICATIONS_KEPT)
def _publication(
    source: str | None,
    broker: ObjectLink | None,
    qos: int | None,
    retain: bool | None,
    active: bool | None,
    encoding: int | None,
) -> _Publication:
    is_telemetry = source is not None and encoding in (None, ENCODING_SENML_CBOR)
    return _Publication(
        is_active=active is True,
        broker=broker,
        sources=_parse_source(source or "") if is_telemetry else None,
        # AWS IoT Core has no QoS 2, and neither has our client: the next best is 1.
        qos=min(qos or 0, 1),
        retain=retain or False,
        tells_presence=encoding == ENCODING_JSON and source == PRESENCE_SOURCE,
    )


def _topic_facts(topic: str, endpoint: str, alarm: str) -> tuple[bool, StreamName]:
    """Whether this may be published to, and which stream it is by the template of alarms.

    Topics that differ in the endpoint name alone, as a level of its own, are alike in both.
    """
    head, _, tail = topic.partition(endpoint) if endpoint else (topic, "", "")
    if (
        head == topic
        or head[-1:] not in ("", "/")
        or tail[:1] not in ("", "/")
        or len(topic) > _TOPIC_LENGTH_MAX
        # As a word of the template it would be more than a name.
        or endpoint in alarm
        or _NAME.fullmatch(endpoint) is None
    ):
        return is_topic_name(topic), _stream_name(topic, alarm)
    return _facts_of_alike(head, tail, alarm)


@lru_cache(_TOPICS_KEPT)
def _facts_of_alike(head: str, tail: str, alarm: str) -> tuple[bool, StreamName]:
    # A name that is no part of the template, either.
    topic = f"{head}{'-' * (len(alarm) + 1)}{tail}"
    return is_topic_name(topic), _stream_name(topic, alarm)


def _stream_name(topic: str, alarm: str) -> StreamName:
    last = alarm.rpartition("/")[2]
    if last[:1] != "{" and not topic.endswith(last):
        return "state"
    try:
        match_template(alarm, topic)
    except ContractError:
        return "state"
    return "alarm"


# All devices of a fleet are told of the same few brokers.
@lru_cache(_URIS_KEPT)
def _parse_uri(uri: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        return None
    return parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme]


def _parse_source(source: str) -> tuple[ObjectPath, ...] | None:
    try:
        return tuple(ObjectPath.parse(link.target) for link in link_format.decode(source.encode()))
    except ValueError:
        return None


def _of_kinds(values: Sequence[Value | None], kinds: Sequence[type]) -> list[Any]:
    """The values, None in place of those that are of another kind."""
    pairs = zip(values, kinds, strict=True)
    return [value if type(value) is kind else None for value, kind in pairs]


@lru_cache(_INSTANCES_KEPT)
def _paths_of(
    object_id: int, instance_id: int, resources: tuple[int, ...]
) -> tuple[ObjectPath, ...]:
    """The paths of some resources of an instance."""
    return tuple([ObjectPath(object_id, instance_id, number) for number in resources])
