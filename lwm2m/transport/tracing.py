"""A readable trace of CoAP messages with their LwM2M meaning, for people who debug a peer.

It stands between a link and its user and tells a `Message` of each datagram that passes; nothing
passes differently for it. Opaque values show as their length, secret ones not at all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import islice
from typing import Final

import msgspec

from lwm2m.coap import codes, decode_block, decode_message
from lwm2m.coap import options as opt
from lwm2m.coap.message import MalformedMessage, Message
from lwm2m.coap.options import decode_uint
from lwm2m.codecs import Node, content_formats, decode_paths, decode_payload, link_format
from lwm2m.errors import LwM2mError
from lwm2m.objects import ID_MAX, Models, ObjectPath, resource_model
from lwm2m.transport.link import Datagrams, Link
from lwm2m.transport.peers import address_of, security_of

Tell = Callable[["TracedMessage"], None]
Receive = Callable[[Datagrams[Hashable]], None]

_TYPES: Final = ("CON", "NON", "ACK", "RST")
_METHODS: Final = {
    codes.GET: "GET", codes.POST: "POST", codes.PUT: "PUT", codes.DELETE: "DELETE",
    codes.FETCH: "FETCH", codes.PATCH: "PATCH", codes.IPATCH: "iPATCH",
}  # fmt: skip
_FORMAT_NAMES: Final = {
    content_formats.TEXT: "text",
    content_formats.LINK_FORMAT: "link-format",
    content_formats.OCTET_STREAM: "octet-stream",
    content_formats.CBOR: "CBOR",
    content_formats.SENML_JSON: "SenML JSON",
    content_formats.SENML_CBOR: "SenML CBOR",
    content_formats.SENML_ETCH_JSON: "SenML-ETCH JSON",
    content_formats.SENML_ETCH_CBOR: "SenML-ETCH CBOR",
    content_formats.TLV: "TLV",
    content_formats.OMA_JSON: "OMA JSON",
    content_formats.LWM2M_CBOR: "LwM2M CBOR",
}
# Requests whose answers may still come, by peer and token: what a response is about.
_ASKED_KEPT: Final = 4_096
_LINES_MAX: Final = 40
_TEXT_MAX: Final = 100


Wrap = Callable[[Receive], tuple[Receive, Callable[[Link], Link]]]
"""From a link's user's callback: the one to give the link, and what to make of the link for
sending."""


class TracedMessage(msgspec.Struct, frozen=True):
    """One datagram: which way, whose, what it is in one line, and its content in further lines."""

    sent: bool
    address: str
    security: str
    headline: str
    content: tuple[str, ...]
    refusal: str = ""
    """The code, `4.03`, when it is a response of class 4 or 5 (RFC 7252 §5.9.2, §5.9.3)."""


class MessageReader:
    """Says what datagrams mean; remembers requests, because a response does not name its path.

    `is_secret(path)` tells the resources whose values are never shown.
    """

    def __init__(self, models: Models, is_secret: Callable[[ObjectPath], bool]) -> None:
        self._models = models
        self._is_secret = is_secret
        self._asked: OrderedDict[tuple[Hashable, bytes], tuple[ObjectPath | None, bool]] = (
            OrderedDict()
        )

    def read(self, data: bytes, peer: Hashable, *, sent: bool) -> TracedMessage:
        """The meaning of one datagram. Never raises, whatever the bytes."""
        address = "{}:{}".format(*address_of(peer))
        security = security_of(peer).mode
        try:
            message = decode_message(data)
        except MalformedMessage as error:
            headline = f"not CoAP: {error} ({len(data)} bytes)"
            return TracedMessage(sent, address, security, headline, ())
        headline = " ".join(self._headline(message))
        content = self._content(message, peer)
        refusal = codes.code_text(message.code) if message.code >= codes.BAD_REQUEST else ""
        return TracedMessage(sent, address, security, headline, content, refusal)

    def _headline(self, message: Message) -> Iterator[str]:
        yield f"{_TYPES[message.type]} {message.message_id:04x}"
        code = message.code
        if code in _METHODS:
            yield f"{_METHODS[code]} {_path_text(message)}"
        elif code:
            yield codes.code_text(code)
            location = [v.decode(errors="replace") for n, v in message.options if n == 8]
            if location:
                yield _shown("/" + "/".join(location))
        else:
            yield "empty"
        yield from _option_texts(message)
        if message.token:
            yield f"token {message.token.hex()[:16]}"
        if code in _METHODS and (meaning := _meaning(message)):
            yield f"— {meaning}"

    def _content(self, message: Message, peer: Hashable) -> tuple[str, ...]:
        number = _uint(message, opt.CONTENT_FORMAT)
        key = (peer, message.token)
        if message.code in _METHODS:
            base, is_whole = _base_of(message)
            self._asked[key] = (base, is_whole)
            if len(self._asked) > _ASKED_KEPT:
                self._asked.popitem(last=False)
        else:
            base, is_whole = self._asked.get(key, (None, False))
        if not message.payload:
            return ()
        if any(option in (opt.BLOCK1, opt.BLOCK2) for option, _ in message.options):
            return (f"{len(message.payload)} bytes of a block",)
        if message.code == codes.FETCH:
            return tuple(self._asked_paths(number, message.payload))[:_LINES_MAX]
        lines = islice(self._lines(number, base, is_whole, message.payload), _LINES_MAX)
        # Also what link-format carries, and what an error quotes.
        return tuple(map(_plain, lines))

    def _lines(
        self, number: int | None, base: ObjectPath | None, is_whole: bool, payload: bytes
    ) -> Iterator[str]:
        if number == content_formats.LINK_FORMAT:
            try:
                for link in link_format.decode(payload):
                    attributes = "".join(f"; {n}={v}" for n, v in link.attributes.items())
                    yield f"<{link.target}>{attributes}"
            except LwM2mError as error:
                yield f"cannot be read: {error}"
            return
        if number is None or not is_whole:
            if number in (None, content_formats.TEXT) and not _is_value(base):
                yield _shown(payload.decode(errors="replace"))
            else:
                yield f"{len(payload)} bytes"
            return
        try:
            nodes = decode_payload(number, base, payload, self._models)
        except LwM2mError as error:
            yield f"cannot be read: {error} ({len(payload)} bytes)"
            return
        for node in nodes:
            yield self._node(node)

    def _asked_paths(self, number: int | None, payload: bytes) -> Iterator[str]:
        """What a Read- or Observe-Composite asks for: paths, without values."""
        try:
            paths = decode_paths(number, payload)
        except LwM2mError as error:
            yield f"cannot be read: {error} ({len(payload)} bytes)"
            return
        for path in paths:
            model = None if path is None else resource_model(self._models, path)
            yield ("/" if path is None else str(path)) + (f"  {model.name}" if model else "")

    def _node(self, node: Node) -> str:
        model = resource_model(self._models, node.path)
        name = "" if model is None else f"  {model.name}"
        unit = "" if model is None or not model.unit else f" {model.unit}"
        if self._is_secret(node.path):
            return f"{node.path}{name} = (secret)"
        if isinstance(node.value, bytes):
            return f"{node.path}{name} = {len(node.value)} bytes"
        return f"{node.path}{name} = {_shown(str(node.value))}{unit}"


class TracingLink:
    """A link whose datagrams are told as they leave."""

    def __init__(self, link: Link, reader: MessageReader, tell: Tell) -> None:
        self._link = link
        self._reader = reader
        self._tell = tell

    def send(self, datagrams: Sequence[tuple[bytes, Hashable]]) -> None:
        """See `Link`."""
        for data, peer in datagrams:
            self._tell(self._reader.read(data, peer, sent=True))
        self._link.send(datagrams)

    def close(self) -> None:
        """See `Link`."""
        self._link.close()


def traced(reader: MessageReader, tell: Tell) -> Wrap:
    """What puts a trace between a link and its user."""

    def wrap(receive: Receive) -> tuple[Receive, Callable[[Link], Link]]:
        def told(datagrams: Datagrams[Hashable]) -> Datagrams[Hashable]:
            for data, peer in datagrams:
                tell(reader.read(data, peer, sent=False))
                yield data, peer

        return lambda datagrams: receive(told(datagrams)), lambda link: TracingLink(
            link, reader, tell
        )

    return wrap


def unwrapped(receive: Receive) -> tuple[Receive, Callable[[Link], Link]]:
    """Nothing between a link and its user."""
    return receive, lambda link: link


def refusal_of(data: bytes) -> str:
    """What a response of class 4 or 5 says, `4.03 this client has a key`; empty for others. Never
    raises, whatever the bytes."""
    try:
        message = decode_message(data)
    except MalformedMessage:
        return ""
    if message.code < codes.BAD_REQUEST:
        return ""
    # RFC 7252 §5.5.2: a diagnostic payload is text without a content format.
    is_text = _uint(message, opt.CONTENT_FORMAT) in (None, content_formats.TEXT)
    reason = _shown(message.payload.decode(errors="replace")) if is_text else ""
    return f"{codes.code_text(message.code)} {reason}".rstrip()


# ---- inside ----


def _path_text(message: Message) -> str:
    path = [v.decode(errors="replace") for n, v in message.options if n == opt.URI_PATH]
    query = [v.decode(errors="replace") for n, v in message.options if n == opt.URI_QUERY]
    return _shown("/" + "/".join(path) + ("?" + "&".join(query) if query else ""))


def _option_texts(message: Message) -> Iterator[str]:
    for number, value in message.options:
        if number == opt.OBSERVE:
            yield f"observe {decode_uint(value)}"
        elif number == opt.CONTENT_FORMAT:
            yield f"[{_format_name(decode_uint(value))}]"
        elif number == opt.ACCEPT:
            yield f"accept [{_format_name(decode_uint(value))}]"
        elif number in (opt.BLOCK1, opt.BLOCK2):
            name = "block1" if number == opt.BLOCK1 else "block2"
            try:
                block = decode_block(value)
            except LwM2mError:
                yield f"{name} malformed"
                continue
            yield f"{name} {block.number}/{'more' if block.more else 'last'}/{block.size}"


def _format_name(number: int) -> str:
    return _FORMAT_NAMES.get(number, str(number))


def _uint(message: Message, number: int) -> int | None:
    for found, value in message.options:
        if found == number:
            return decode_uint(value)
    return None


def _segments(message: Message) -> list[str]:
    return [v.decode(errors="replace") for n, v in message.options if n == opt.URI_PATH]


def _base_of(message: Message) -> tuple[ObjectPath | None, bool]:
    """What a request's payload and answer are about; False when that cannot be told."""
    segments = _segments(message)
    if not segments or segments == ["dp"]:
        return None, message.code in (codes.FETCH, codes.IPATCH, codes.POST, codes.GET)
    try:
        base = ObjectPath.of_segments(tuple(segments))
    except LwM2mError:
        return None, segments == ["bspack"]
    if message.code == codes.POST and base.depth == 3:
        return None, False  # Execute: arguments are text
    return base, True


def _is_value(base: ObjectPath | None) -> bool:
    return base is not None and base.depth > 2


def _meaning(message: Message) -> str | None:
    """The LwM2M operation that a request is (LwM2M Core §6)."""
    segments = _segments(message)
    first = segments[0] if segments else ""
    if message.code == codes.POST and segments == ["bs"]:
        # A client says who it is, a server that has finished has nothing to say.
        has_query = any(number == opt.URI_QUERY for number, _ in message.options)
        return "Bootstrap-Request" if has_query else "Bootstrap-Finish"
    named = _NAMED.get((first, len(segments), message.code))
    if named is not None:
        return named
    if first and not (first.isascii() and first.isdigit() and int(first) <= ID_MAX):
        return None
    depth = len(segments)
    observe = _uint(message, opt.OBSERVE)
    if message.code in (codes.GET, codes.FETCH):
        return _reading(message, observe)
    if message.code == codes.POST:
        return {1: "Create", 2: "Write (partial)", 3: "Execute"}.get(depth)
    if message.code == codes.PUT:
        has_query = any(number == opt.URI_QUERY for number, _ in message.options)
        return "Write-Attributes" if has_query and not message.payload else "Write"
    return {codes.DELETE: "Delete", codes.IPATCH: "Write-Composite"}.get(message.code)


def _reading(message: Message, observe: int | None) -> str:
    composite = "-Composite" if message.code == codes.FETCH else ""
    if observe is not None:
        return ("Cancel Observation" if observe else "Observe") + composite
    if not composite and _uint(message, opt.ACCEPT) == content_formats.LINK_FORMAT:
        return "Discover"
    return f"Read{composite}"


_NAMED: Final = {
    ("bspack", 1, codes.GET): "Bootstrap-Pack-Request",
    ("rd", 1, codes.POST): "Register",
    ("rd", 2, codes.POST): "Update",
    ("rd", 2, codes.DELETE): "De-register",
    ("dp", 1, codes.POST): "Send",
}


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else "·" for letter in text)


def _shown(text: str) -> str:
    """Text, not too long, that cannot do anything to a terminal."""
    plain = _plain(text)
    return plain if len(plain) <= _TEXT_MAX else plain[:_TEXT_MAX] + "…"
