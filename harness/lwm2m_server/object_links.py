"""Object lists as the data interface tells them and the log keeps them: JSON, which thousands of
devices share."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from contracts.data_interface import ObjectLink
from lwm2m import registration as rd
from lwm2m.codecs import Link, LinkFormatLimits, link_format
from lwm2m.errors import LwM2mError

_encoder = msgspec.json.Encoder()
_links_decoder = msgspec.json.Decoder(list[ObjectLink])


def encode_links(links: Iterable[Link]) -> msgspec.Raw:
    """Links as they are told."""
    told = [ObjectLink(link.target, link.attributes) for link in links]
    return msgspec.Raw(_encoder.encode(told))


def json_of(links: list[ObjectLink] | msgspec.Raw) -> bytes:
    """Links that were told, as JSON."""
    return bytes(links) if isinstance(links, msgspec.Raw) else _encoder.encode(links)


def links_of_json(data: bytes) -> tuple[msgspec.Raw, rd.RegisteredObjects]:
    """Object links as they are told, and what they say."""
    links = [Link(link.path, link.attributes) for link in _links_decoder.decode(data)]
    generous = LinkFormatLimits(payload_bytes_max=2**24, links_max=2**20)
    try:
        return msgspec.Raw(data), rd.read_objects(link_format.encode(links), generous)
    except LwM2mError:
        # The log is ours: only a list that no limit of then allowed.
        return msgspec.Raw(data), rd.read_objects(b"")
