"""Reads objects 18830 *MQTT Broker* and 18831 *MQTT Publication*: where to connect, what to send.

Pure: from a device's values to an account and its streams. DESIGN's *Bootstrap* says the order in
which a platform writes them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar
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

# Resources of /18830.
_URI, _CLIENT_ID, _CLEAN_SESSION, _KEEP_ALIVE = 0, 1, 2, 3
_SECURITY_MODE, _CERTIFICATE, _CA_CERTIFICATE, _SECRET_KEY = 6, 7, 8, 9

_RESOURCES: Final = range(11)
_INSTANCES_KEPT: Final = 256
_URIS_KEPT: Final = 64
_SOURCES_CACHED_MAX: Final = 64
_Kind = TypeVar("_Kind", str, int, bool, bytes)
_Values = list[Value | None]
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
    """The resources of an instance of /18831, by number; None where none of its type is."""

    source: str | None
    broker: ObjectLink | None
    topic: str | None
    qos: int | None
    retain: bool | None
    active: bool | None
    encoding: int | None


# Exactly the kinds: a boolean is an int in Python and none in LwM2M.
_PUBLICATION_KINDS: Final = (str, ObjectLink, str, int, bool, bool, int)


class UplinkPlan(NamedTuple):
    """What the objects ask for. `is_whole`: every publication is active, so nobody is half-way
    through setting them up."""

    account: BrokerAccount | None
    streams: tuple[Stream, ...]
    is_whole: bool


def read_uplink(tree: ObjectTree, topics: Topics, own_key: bytes = b"") -> UplinkPlan:
    """The account that active publications name, and their streams.

    `own_key` is the private key that a device has to itself (PKCS #8, DER): it counts where nobody
    has written one.

    No account while none is active or its broker's credentials are not complete. One account a
    device: publications that name another broker than the first are left out.
    """
    account: BrokerAccount | None = None
    broker: ObjectLink | None = None
    streams: list[Stream] = []
    presence_topic = ""
    publications = [_read_publication(tree, each) for each in tree.instances_of(PUBLICATION_OBJECT)]
    active = [publication for publication in publications if publication.active]
    for publication in active:
        presence_topic = presence_topic or _read_presence_topic(publication)
        stream, link = _read_stream(tree, publication, topics), publication.broker
        if stream is None or link is None or (broker is not None and link != broker):
            continue
        if account is None:
            account, broker = _read_account(tree, link, own_key), link
        if account is not None:
            streams.append(stream)
    if account is not None and presence_topic:
        account = msgspec.structs.replace(account, presence_topic=presence_topic)
    return UplinkPlan(account, tuple(streams), is_whole=len(active) == len(publications))


def _read_account(tree: ObjectTree, link: ObjectLink, own_key: bytes) -> BrokerAccount | None:
    if link.object_id != BROKER_OBJECT:
        return None
    values = tree.get_each(_paths_of(ObjectPath(BROKER_OBJECT, link.instance_id)))
    uri = _of_kind(values, _URI, str)
    client_id = _of_kind(values, _CLIENT_ID, str)
    address = _parse_uri(uri) if uri else None
    if address is None or not client_id:
        return None
    scheme, host, port = address
    keys = [
        _of_kind(values, number, bytes) or b""
        for number in (_CERTIFICATE, _CA_CERTIFICATE, _SECRET_KEY)
    ]
    keys[2] = keys[2] or own_key
    mode = _of_kind(values, _SECURITY_MODE, int)
    is_secure = scheme == "mqtts"
    if mode != (SECURITY_MODE_CERTIFICATE if is_secure else SECURITY_MODE_NONE):
        return None
    if is_secure and not all(keys):
        return None
    return BrokerAccount(
        is_secure=is_secure,
        host=host,
        port=port,
        client_id=client_id,
        clean_session=_of_kind(values, _CLEAN_SESSION, bool) is not False,
        keep_alive_s=_of_kind(values, _KEEP_ALIVE, int) or 0,
        certificate=keys[0],
        ca_certificate=keys[1],
        secret_key=keys[2],
    )


def _read_publication(tree: ObjectTree, instance: ObjectPath) -> _Publication:
    values: list[Any] = tree.get_each(_paths_of(instance)[: len(_PUBLICATION_KINDS)])
    if tuple(map(type, values)) != _PUBLICATION_KINDS:
        kinds = zip(values, _PUBLICATION_KINDS, strict=True)
        values = [value if type(value) is kind else None for value, kind in kinds]
    return _Publication._make(values)


def _read_stream(tree: ObjectTree, publication: _Publication, topics: Topics) -> Stream | None:
    """What an active publication sends; None for one that is not telemetry."""
    topic, source, encoding = publication.topic, publication.source, publication.encoding
    if topic is None or source is None:
        return None
    sources = _sources(tree, source)
    if encoding not in (None, ENCODING_SENML_CBOR) or sources is None or not is_topic_name(topic):
        return None
    return Stream(
        name=_stream_name(topic, topics),
        topic=topic,
        # AWS IoT Core has no QoS 2, and neither has our client: the next best is 1.
        qos=min(publication.qos or 0, 1),
        retain=publication.retain or False,
        sources=sources,
    )


def _read_presence_topic(publication: _Publication) -> str:
    """The topic of an active publication that is of the connection itself; empty for another."""
    if publication.encoding != ENCODING_JSON or publication.source != PRESENCE_SOURCE:
        return ""
    topic = publication.topic
    return topic if topic is not None and is_topic_name(topic) else ""


def _stream_name(topic: str, topics: Topics) -> StreamName:
    last = topics.alarm.rpartition("/")[2]
    if last[:1] != "{" and not topic.endswith(last):
        return "state"
    try:
        match_template(topics.alarm, topic)
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


def _sources(tree: ObjectTree, source: str) -> tuple[ObjectPath, ...] | None:
    # Devices of one model get the same text from their platform.
    cache = tree.template.sources
    if source in cache:
        return cache[source]
    found = _parse_source(source)
    if len(cache) < _SOURCES_CACHED_MAX:
        cache[source] = found
    return found


def _parse_source(source: str) -> tuple[ObjectPath, ...] | None:
    try:
        return tuple(ObjectPath.parse(link.target) for link in link_format.decode(source.encode()))
    except ValueError:
        return None


def _of_kind(values: _Values, number: int, kind: type[_Kind]) -> _Kind | None:
    value = values[number]
    return value if type(value) is kind else None


@lru_cache(_INSTANCES_KEPT)
def _paths_of(instance: ObjectPath) -> tuple[ObjectPath, ...]:
    """The paths of an instance's resources, by number."""
    return tuple([ObjectPath(instance.object_id, instance.instance_id, n) for n in _RESOURCES])
