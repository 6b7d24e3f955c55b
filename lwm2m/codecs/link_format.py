"""CoRE link format (RFC 6690 §2), content format 40: lists of `<target>;name=value`."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from lwm2m.errors import InvalidValue, MalformedLinkFormat


class LinkFormatLimits(msgspec.Struct, frozen=True):
    """What is taken from outside before it is refused. Defaults: our choice."""

    # Largest document in bytes: some hundred objects with attributes.
    payload_bytes_max: int = 16_384
    # Most links in a document.
    links_max: int = 1_024
    # Most attributes of one link.
    attributes_max: int = 16


DEFAULT_LIMITS = LinkFormatLimits()


class Link(msgspec.Struct, frozen=True, gc=False):
    """A target and its attributes, unquoted. A flag, such as `obs`, has the empty string.

    Of an attribute that is there twice the first counts (RFC 6690 §2 for `rt`, `if`, `sz`).
    """

    target: str
    attributes: dict[str, str] = {}


# Attributes that RFC 6690 defines as quoted strings or that LwM2M clients expect in quotes.
_ALWAYS_QUOTED = frozenset({"anchor", "if", "rel", "rt", "title"})

_TARGET = re.compile(r"[ \t\r\n]*<([^<>\x00-\x1f]*)>")
# parmname, optionally with ptoken or quoted-string (RFC 6690 §2, RFC 2616 quoted-pair).
_ATTRIBUTE = re.compile(
    r"[ \t]*;[ \t]*([!#$&+\-.^_`|~0-9A-Za-z*]+)"
    r"(?:[ \t]*=[ \t]*(?:\"((?:[^\"\\]|\\.)*+)\"|([^\s\";,\\\x00-\x1f\x7f]*)))?",
    re.DOTALL,
)
_SEPARATOR = re.compile(r"[ \t\r\n]*(,|\Z)")
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_PTOKEN = re.compile(r"[!#$%&'()*+\-./:<=>?@\[\]^_`{|}~0-9A-Za-z]+", re.ASCII)
_PARMNAME = re.compile(r"[!#$&+\-.^_`|~0-9A-Za-z*]+", re.ASCII)


def decode(payload: bytes, limits: LinkFormatLimits = DEFAULT_LIMITS) -> tuple[Link, ...]:
    """The links of a document in order; an empty payload has none.

    Raises `MalformedLinkFormat` with the place, also past `limits`.
    """
    if len(payload) > limits.payload_bytes_max:
        raise MalformedLinkFormat(f"more than {limits.payload_bytes_max} bytes", 0)
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise MalformedLinkFormat("not UTF-8", error.start) from None
    return tuple(_links(text, limits)) if text else ()


def encode(links: Iterable[Link]) -> bytes:
    """The document that `decode` reads back. Raises `InvalidValue` for what has no link form."""
    return ",".join([_encoded(link) for link in links]).encode()


def media_types(link: Link) -> tuple[int, ...]:
    """The content formats of `ct`, one number or a list in quotes. Raises `MalformedLinkFormat`."""
    numbers = link.attributes.get("ct", "").split()
    if not all(number.isascii() and number.isdigit() and len(number) <= 5 for number in numbers):
        raise MalformedLinkFormat("ct needs content-format numbers", 0)
    return tuple(int(number) for number in numbers)


def _links(text: str, limits: LinkFormatLimits) -> list[Link]:
    found: list[Link] = []
    at = 0
    while True:
        if len(found) == limits.links_max:
            raise MalformedLinkFormat(f"more than {limits.links_max} links", at)
        link, at = _link(text, at, limits)
        found.append(link)
        separator = _SEPARATOR.match(text, at)
        if separator is None:
            raise MalformedLinkFormat("a comma or the end is needed", at)
        at = separator.end()
        if not separator[1]:
            return found


def _link(text: str, at: int, limits: LinkFormatLimits) -> tuple[Link, int]:
    target = _TARGET.match(text, at)
    if target is None:
        raise MalformedLinkFormat("a target in angle brackets is needed", at)
    attributes: dict[str, str] = {}
    at = target.end()
    while (attribute := _ATTRIBUTE.match(text, at)) is not None:
        name, quoted, plain = attribute.groups()
        if name not in attributes:
            attributes[name] = (plain or "") if quoted is None else _unquoted(quoted)
        if len(attributes) > limits.attributes_max:
            raise MalformedLinkFormat(f"more than {limits.attributes_max} attributes", at)
        at = attribute.end()
    return Link(target[1], attributes), at


def _unquoted(text: str) -> str:
    return _QUOTED_PAIR.sub(r"\1", text) if "\\" in text else text


def _encoded(link: Link) -> str:
    if _TARGET.fullmatch(f"<{link.target}>") is None:
        raise InvalidValue("link", f"{link.target[:60]!r} cannot be a target")
    return f"<{link.target}>" + "".join(
        [_attribute(name, value) for name, value in link.attributes.items()]
    )


def _attribute(name: str, value: str) -> str:
    if _PARMNAME.fullmatch(name) is None:
        raise InvalidValue("link", f"{name[:60]!r} cannot be an attribute's name")
    if not value:
        return f";{name}"
    if name not in _ALWAYS_QUOTED and _PTOKEN.fullmatch(value) is not None:
        return f";{name}={value}"
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f';{name}="{quoted}"'
