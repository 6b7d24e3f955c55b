"""What a trace says of messages, and what it never says."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwm2m.coap import ACK, CON, Request, Response, codes
from lwm2m.coap.requests import encode_request, encode_response
from lwm2m.codecs import COMPOSITE, Node, content_formats, encode_paths, encode_payload
from lwm2m.objects import ObjectPath, builtin_models
from lwm2m.transport.peers import PeerSecurity, SecurePeer
from lwm2m.transport.tracing import MessageReader, TracedMessage, refusal_of, traced, unwrapped

MODELS = builtin_models()
PEER = ("127.0.0.2", 5683)


def is_secret(path: ObjectPath) -> bool:
    return path.object_id == 0 and path.resource_id == 5


def make_reader() -> MessageReader:
    return MessageReader(MODELS, is_secret)


def headline(request: Request) -> str:
    data = encode_request(CON, 0x1A2B, b"\x01\x02", request)
    return make_reader().read(data, PEER, sent=True).headline


@pytest.mark.parametrize(
    ("request_", "meaning"),
    [
        (Request(codes.POST, ("rd",), ("ep=a",)), "Register"),
        (Request(codes.POST, ("rd", "5a")), "Update"),
        (Request(codes.DELETE, ("rd", "5a")), "De-register"),
        (Request(codes.POST, ("bs",), ("ep=a",)), "Bootstrap-Request"),
        (Request(codes.POST, ("bs",)), "Bootstrap-Finish"),
        (Request(codes.POST, ("dp",)), "Send"),
        (Request(codes.GET, ("3", "0")), "Read"),
        (Request(codes.GET, ("3", "0"), accept=40), "Discover"),
        (Request(codes.GET, ("3", "0"), observe=0), "Observe"),
        (Request(codes.GET, ("3", "0"), observe=1), "Cancel Observation"),
        (Request(codes.FETCH, (), observe=0), "Observe-Composite"),
        (Request(codes.FETCH), "Read-Composite"),
        (Request(codes.IPATCH), "Write-Composite"),
        (Request(codes.PUT, ("3", "0"), ("pmin=1",)), "Write-Attributes"),
        (Request(codes.PUT, ("3", "0", "14"), content_format=0, payload=b"x"), "Write"),
        (Request(codes.POST, ("3", "0", "4")), "Execute"),
        (Request(codes.POST, ("3",)), "Create"),
        (Request(codes.DELETE, ("3", "0")), "Delete"),
    ],
)
def test_a_request_is_named_by_its_operation(request_: Request, meaning: str) -> None:
    assert headline(request_).endswith(f"— {meaning}")


def test_a_request_that_is_no_lwm2m_has_no_operation() -> None:
    assert "—" not in headline(Request(codes.GET, (".well-known", "core")))


def test_a_response_is_read_as_the_answer_to_its_request() -> None:
    reader = make_reader()
    base = ObjectPath(3, 0)
    reader.read(encode_request(CON, 1, b"t", Request(codes.GET, ("3", "0"))), PEER, sent=True)
    payload = encode_payload(content_formats.TLV, base, [Node(ObjectPath(3, 0, 9), 87)], MODELS)
    answer = Response(codes.CONTENT, payload, content_formats.TLV)
    found = reader.read(encode_response(ACK, 1, b"t", answer), PEER, sent=False)
    assert found.headline == "ACK 0001 2.05 [TLV] token 74"
    assert found.content == ("/3/0/9  Battery Level = 87 /100",)


@pytest.mark.parametrize("content_format", sorted(COMPOSITE))
@pytest.mark.parametrize("observe", [None, 0])
def test_a_composite_request_shows_the_paths_that_it_asks_for(
    content_format: int, observe: int | None
) -> None:
    paths = [ObjectPath(3, 0, 9), ObjectPath(3303, 0), ObjectPath(1)]
    payload = encode_paths(content_format, paths)
    fetch = Request(codes.FETCH, content_format=content_format, payload=payload, observe=observe)
    found = make_reader().read(encode_request(CON, 1, b"t", fetch), PEER, sent=True)
    assert found.content == ("/3/0/9  Battery Level", "/3303/0", "/1")


def test_a_composite_request_that_names_no_paths_tells_what_is_wrong() -> None:
    fetch = Request(codes.FETCH, payload=b"\x01", content_format=content_formats.SENML_CBOR)
    found = make_reader().read(encode_request(CON, 1, b"t", fetch), PEER, sent=True)
    assert found.content[0].startswith("cannot be read: ")


def test_a_secret_is_never_shown_and_opaque_values_as_their_length() -> None:
    base = ObjectPath(0, 1)
    nodes = [Node(ObjectPath(0, 1, 3), b"identity"), Node(ObjectPath(0, 1, 5), b"hidden key")]
    payload = encode_payload(content_formats.SENML_CBOR, base, nodes, MODELS)
    write = Request(codes.PUT, ("0", "1"), content_format=112, payload=payload)
    found = make_reader().read(encode_request(CON, 1, b"t", write), PEER, sent=True)
    assert found.content == (
        "/0/1/3  Public Key or Identity = 8 bytes",
        "/0/1/5  Secret Key = (secret)",
    )


def test_an_answer_whose_request_was_not_seen_shows_no_values() -> None:
    answer = Response(codes.CONTENT, b"87", content_formats.TEXT)
    found = make_reader().read(encode_response(ACK, 1, b"t", answer), PEER, sent=False)
    assert found.content == ("87",)
    unread = Response(codes.CONTENT, b"\xc1", content_formats.TLV)
    found = make_reader().read(encode_response(ACK, 1, b"t", unread), PEER, sent=False)
    assert found.content == ("1 bytes",)


def test_text_cannot_reach_the_terminals_controls() -> None:
    answer = Response(codes.BAD_REQUEST, b"\x1b[2Jgone" + b"x" * 200)
    found = make_reader().read(encode_response(ACK, 1, b"t", answer), PEER, sent=False)
    assert found.content[0].startswith("·[2Jgone")
    assert len(found.content[0]) == 101


@pytest.mark.parametrize(
    ("response", "told"),
    [
        (Response(codes.FORBIDDEN, b"this client has a key"), "4.03 this client has a key"),
        (Response(codes.FORBIDDEN), "4.03"),
        (Response(codes.BAD_REQUEST, b"\x1b[2J", content_formats.TEXT), "4.00 ·[2J"),
        (Response(codes.BAD_REQUEST, b"\xa1", content_formats.CBOR), "4.00"),
        (Response(codes.CREATED), ""),
    ],
)
def test_a_refusal_is_its_code_and_the_servers_reason(response: Response, told: str) -> None:
    assert refusal_of(encode_response(ACK, 1, b"t", response)) == told


@given(st.binary())
def test_of_any_bytes_a_refusal_can_be_asked(data: bytes) -> None:
    assert isinstance(refusal_of(data), str)


def test_a_session_is_told_with_its_security() -> None:
    peer = SecurePeer("127.0.0.3", 5684, PeerSecurity("psk", "lamp-1"))
    found = make_reader().read(b"\x40\x00\x00\x01", peer, sent=False)
    assert (found.address, found.security, found.headline) == (
        "127.0.0.3:5684",
        "psk",
        "CON 0001 empty",
    )


@given(st.binary())
def test_any_bytes_are_told_of(data: bytes) -> None:
    found = make_reader().read(data, PEER, sent=False)
    assert found.headline
    assert found.headline.isprintable()
    assert all(line.isprintable() for line in found.content)


def test_attributes_of_links_cannot_reach_the_terminals_controls() -> None:
    links = Request(codes.POST, ("rd",), ("ep=a",), 40, payload=b'</3/0>;x="\x1b[2J\x07"')
    found = make_reader().read(encode_request(CON, 1, b"t", links), PEER, sent=False)
    assert found.content == ("</3/0>; x=·[2J·",)


@given(st.sampled_from((0, 40, 60, 110, 112, 11542, 11543, 11544)), st.binary())
def test_any_payload_is_told_of(number: int, payload: bytes) -> None:
    write = Request(codes.PUT, ("3", "0", "14"), content_format=number, payload=payload)
    assert make_reader().read(encode_request(CON, 1, b"t", write), PEER, sent=False).headline


class RecordingLink:
    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Hashable]] = []
        self.is_closed = False

    def send(self, datagrams: Sequence[tuple[bytes, Hashable]]) -> None:
        self.sent += datagrams

    def close(self) -> None:
        self.is_closed = True


def test_a_traced_link_passes_everything_on_unchanged() -> None:
    told: list[TracedMessage] = []
    passed: list[tuple[bytes, Hashable]] = []
    plain = RecordingLink()
    receive, wrap_link = traced(make_reader(), told.append)(passed.extend)
    link = wrap_link(plain)
    datagram = (b"\x40\x00\x00\x01", PEER)
    link.send([datagram])
    receive([datagram])
    link.close()
    assert plain.sent == passed == [datagram]
    assert plain.is_closed
    assert [message.sent for message in told] == [True, False]


def test_what_is_not_wrapped_is_passed_straight_on() -> None:
    passed: list[tuple[bytes, Hashable]] = []
    plain = RecordingLink()
    receive, wrap_link = unwrapped(passed.extend)
    receive([(b"", PEER)])
    assert passed == [(b"", PEER)]
    assert wrap_link(plain) is plain
