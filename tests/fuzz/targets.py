"""What is fuzzed: every decoder of bytes from outside, each with inputs to start from.

A target takes any bytes. It swallows our own errors, which are how decoders refuse, and lets all
else through. Where something can be decoded and encoded, what was decoded must come back.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from fake_devices.device.downlink_target import Refused
from fake_devices.device.downlink_write import parse_arguments
from lwm2m.bootstrap.server_requests import read_bootstrap_request, read_pack_request
from lwm2m.coap.blocks import decode_block
from lwm2m.coap.message import HEADER_BYTES, decode_message, encode_message
from lwm2m.coap.plain import read_plain_request
from lwm2m.coap.requests import read_request
from lwm2m.codecs import (
    PackReader,
    cbor,
    decode_composite_write,
    decode_paths,
    decode_payload,
    decode_timed,
    encode_paths,
    encode_payload,
    encode_timed,
    json_text,
    link_format,
    senml_cbor,
    senml_json,
)
from lwm2m.errors import LwM2mError
from lwm2m.firmware.package import FirmwarePackage, decode_package, encode_package
from lwm2m.objects import (
    ObjectLink,
    ObjectPath,
    ValueType,
    builtin_models,
    read_definition,
    write_definition,
)
from lwm2m.objects.object_xml import read_objects as read_xml_objects
from lwm2m.objects.ranges import parse_range
from lwm2m.registration.objects import read_objects
from lwm2m.registration.requests import RegistrationReader
from lwm2m.reporting.attributes import parse_attributes, parse_observe_parameters
from lwm2m.transport.dtls.hellos import parse_client_hello
from lwm2m.transport.dtls.psk.messages import (
    MessageReader,
    encode_offer,
    parse_chosen,
    parse_client_key_exchange,
    parse_hello_verify_request,
    parse_offer,
    parse_server_key_exchange,
)
from lwm2m.transport.dtls.psk.messages import (
    encode_message as encode_handshake_message,
)
from lwm2m.transport.dtls.records import HANDSHAKE_HEADER_BYTES, split_records
from lwm2m.transport.oscore.header import decode_header
from lwm2m.transport.oscore.messages import read_plaintext
from lwm2m.transport.reliable.framing import FrameReader
from lwm2m.transport.reliable.signaling import Settings, read_diagnostic, read_settings

VECTORS = Path(__file__).parents[2] / "fixtures/vectors"
MODELS = builtin_models()
NOW = 1_700_000_000.0
# What a payload may be for: the first byte of an input chooses.
BASES = [
    ObjectPath.parse(text)
    for text in ("/3/0", "/3", "/3/0/9", "/3/0/6", "/3442/0", "/9999", "/5/0/0", "/3442/0/150")
]
KINDS = list(ValueType)


class Target(NamedTuple):
    """A decoder and inputs that reach far into it."""

    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


def _refusing(run: Callable[[bytes], object]) -> Callable[[bytes], None]:
    def refuse_or_decode(data: bytes) -> None:
        try:
            run(data)
        except (LwM2mError, Refused):
            return

    return refuse_or_decode


def _vectors(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((VECTORS / name).read_text())
    return found


def _hex(name: str) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(each["hex"]) for each in _vectors(name) if "hex" in each)


def _based(seeds: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The seeds for each base in turn."""
    return tuple(bytes((at % len(BASES),)) + seed for at, seed in enumerate(seeds))


# --- CoAP


def _coap_message(data: bytes) -> None:
    message = decode_message(data)
    assert decode_message(encode_message(message)) == message


def _frames(data: bytes) -> None:
    reader = FrameReader(1_152)
    for at in range(0, len(data), 5):
        reader.feed(data[at : at + 5])
        while reader.next_frame() is not None:
            pass
    assert reader.buffered_bytes <= len(data)


# --- content formats


def _payload(content_format: int) -> Callable[[bytes], None]:
    def decode(data: bytes) -> None:
        base = BASES[data[0] % len(BASES)] if data else BASES[0]
        nodes = decode_payload(content_format, base, data[1:], MODELS)
        again = encode_payload(content_format, base, nodes, MODELS)
        found = decode_payload(content_format, base, again, MODELS)
        assert sorted(found, key=repr) == sorted(nodes, key=repr)

    return _refusing(decode)


def _known_packs(data: bytes) -> None:
    """What the short way of packs gives, also when it has met their names, the long way gives."""
    base = BASES[data[0] % len(BASES)] if data else BASES[0]
    reader = PackReader(MODELS)
    found = reader.values(base, data[1:])
    assert reader.values(base, data[1:]) == found
    if found is not None:
        try:
            nodes = decode_payload(112, base, data[1:], MODELS)
        except LwM2mError as error:
            raise AssertionError("the short way gives what the long way refuses") from error
        assert list(found.items()) == [tuple(node) for node in nodes]


def _timed(content_format: int) -> Callable[[bytes], None]:
    def decode(data: bytes) -> None:
        base = BASES[data[0] % len(BASES)] if data else BASES[0]
        nodes = decode_timed(content_format, base, data[1:], MODELS, NOW)
        again = encode_timed(content_format, base, nodes, MODELS)
        assert decode_timed(content_format, base, again, MODELS, NOW) == nodes

    return _refusing(decode)


def _paths(data: bytes) -> None:
    for content_format in (110, 112, 11544):
        try:
            paths = decode_paths(content_format, data)
        except LwM2mError:
            continue
        assert decode_paths(112, encode_paths(112, paths)) == paths


def _composite(data: bytes) -> None:
    for content_format in (110, 112, 320, 322, 11544):
        try:
            decode_composite_write(content_format, data, MODELS)
        except LwM2mError:
            continue


def _links(data: bytes) -> None:
    links = link_format.decode(data)
    for link in links:
        link_format.media_types(link)
    assert link_format.decode(link_format.encode(links)) == links


def _cbor_value(data: bytes) -> None:
    kind = KINDS[data[0] % len(KINDS)] if data else None
    value = cbor.decode_value(kind, data[1:])
    assert cbor.decode_value(kind, cbor.encode_value(kind or ValueType.STRING, value)) == value


def _text_value(data: bytes) -> None:
    path = ObjectPath(3442, 0, 100 + data[0] % 90) if data else BASES[0]
    decode_payload(0, path, data[1:], MODELS)


# --- objects


def _xml(data: bytes) -> None:
    models, problems = read_xml_objects(data, "fuzz.xml")
    assert models or problems
    for model in models:
        assert read_definition(write_definition(model)).resources.keys() == model.resources.keys()


def _definition(data: bytes) -> None:
    model = read_definition(data)
    assert read_definition(write_definition(model)) == model


def _range(data: bytes) -> None:
    kind = KINDS[data[0] % len(KINDS)] if data else ValueType.INTEGER
    bounds = parse_range(kind, data[1:].decode(errors="replace"))
    assert bounds is None or str(bounds)


def _path(data: bytes) -> None:
    text = data.decode(errors="replace")
    assert str(ObjectPath.parse(text)) == text


def _object_link(data: bytes) -> None:
    link = ObjectLink.parse(data.decode(errors="replace"))
    assert ObjectLink.parse(str(link)) == link


# --- requests

_READER = RegistrationReader()


def _query(data: bytes) -> tuple[tuple[str, ...], bytes]:
    """A query, a parameter a line, and after an empty line the payload."""
    query, _, payload = data.partition(b"\n\n")
    return tuple(query.decode(errors="replace").split("\n")), payload


def _register(data: bytes) -> None:
    query, payload = _query(data)
    _READER.read_register(query, payload, 40 if payload else None)


def _update(data: bytes) -> None:
    query, payload = _query(data)
    for version in ("1.0", "1.1", "1.2"):
        _READER.read_update(query, payload, 40 if payload else None, version)


def _bootstrap(data: bytes) -> None:
    query, _ = _query(data)
    for read in (read_bootstrap_request, _read_pack):
        try:
            read(query, None)
        except LwM2mError:
            continue


def _read_pack(query: tuple[str, ...], proven_name: str | None) -> object:
    return read_pack_request(query, None, proven_name)


def _attributes(data: bytes) -> None:
    query, _ = _query(data)
    for version in ("1.0", "1.1", "1.2"):
        try:
            parse_attributes(query, version)
            parse_observe_parameters(query, version)
        except LwM2mError:
            continue


def _settings(data: bytes) -> None:
    read_diagnostic(data)
    read_settings(data, Settings(1_152, False))


def _dtls(data: bytes) -> None:
    for record in split_records(data):
        parse_client_hello(record)


def _dtls_messages(data: bytes) -> None:
    """Handshake messages from three records, and what is read of each."""
    reader = MessageReader(0)
    third = len(data) // 3 + 1
    for start in (0, third, 2 * third):
        for message in reader.read(data[start : start + third]):
            body = message[HANDSHAKE_HEADER_BYTES:]
            for parse in (
                parse_offer,
                parse_chosen,
                parse_hello_verify_request,
                parse_server_key_exchange,
                parse_client_key_exchange,
            ):
                parse(body)


def _coap_plain(data: bytes) -> None:
    """The short way reads what the general way reads, or leaves it to that."""
    if len(data) < HEADER_BYTES:
        return
    plain = read_plain_request(data)
    if plain is not None:
        message_id, token, request = plain
        message = decode_message(data)
        assert (message.message_id, message.token) == (message_id, token)
        assert read_request(message.code, message.options, message.payload, True) == request


_JSON_PACKS = tuple(
    json.dumps(vector["pack"]).encode()
    for name in ("senml/rfc8428.json", "senml/rfc8790.json")
    for vector in _vectors(name)
)
_SENML_NODES = (
    b'[{"bn":"/3/0/","n":"0","vs":"Acme"},{"n":"6/1","v":5},{"n":"22/0","vlo":"1:1"}]',
    b'[{"bn":"/3442/0/","bt":1700000000,"n":"150","vd":"-_8"},{"n":"140","vb":true,"t":5}]',
    b'[{"n":"/3/0/9","v":80.0},{"n":"/3/0/13","v":1700000000,"t":-5}]',
)
_CBOR_NODES = tuple(senml_cbor.encode(senml_json.load(text)) for text in _SENML_NODES)
_OMA_JSON = tuple(
    json.dumps(each["document"]).encode() for each in _vectors("oma_json/documents.json")
)
_LINKS = tuple(each["document"].encode() for each in _vectors("link_format/documents.json"))
_XML = b"""<LWM2M><Object><Name>Tide</Name><ObjectID>42769</ObjectID>
<MultipleInstances>Single</MultipleInstances><Mandatory>Optional</Mandatory><Resources>
<Item ID="1"><Name>Level</Name><Operations>RW</Operations><Mandatory>Optional</Mandatory>
<MultipleInstances>Multiple</MultipleInstances><Type>Float</Type><Units>m</Units>
<RangeEnumeration>-5..5</RangeEnumeration></Item></Resources></Object></LWM2M>"""
_FIRMWARE = encode_package(FirmwarePackage("street_lamp", "2.0", b"image"))

TARGETS: dict[str, Target] = {
    "bootstrap_query": Target(_bootstrap, (b"ep=lamp-1\npct=112", b"ep=a\nacc=11544")),
    "cbor_item": Target(_refusing(cbor.load), _hex("cbor/rfc8949_appendix_a.json")),
    "cbor_value": Target(
        _refusing(_cbor_value),
        tuple(
            bytes((at % 10,)) + seed for at, seed in enumerate(_hex("cbor/rfc8949_appendix_a.json"))
        ),
    ),
    "coap_block": Target(_refusing(decode_block), (b"", b"\x06", b"\x00\x1e", b"\xff\xff\xfe")),
    "coap_plain": Target(
        _refusing(_coap_plain),
        (b"\x42\x02\x12\x34ab\xb2rd\x11\x28\x34ep=a\x03b=U\xff</1/0>", b"\x40\x01\x00\x01"),
    ),
    "coap_message": Target(_refusing(_coap_message), _hex("coap/rfc7252.json")),
    "composite_paths": Target(_paths, (*_JSON_PACKS, *_hex("lwm2m_cbor/payloads.json"))),
    "composite_write": Target(
        _composite, (*_SENML_NODES, *_CBOR_NODES, *_JSON_PACKS, *_hex("lwm2m_cbor/payloads.json"))
    ),
    "dtls_records": Target(
        _refusing(_dtls), (b"\x16\xfe\xfd" + bytes(8) + b"\x00\x0c\x01" + bytes(11), b"\x17")
    ),
    "dtls_messages": Target(
        _refusing(_dtls_messages),
        (
            encode_handshake_message(1, 0, encode_offer([0xC0A8], {23: b""})),
            encode_handshake_message(16, 0, b"\x00\x04lamp"),
        ),
    ),
    "execute_arguments": Target(_refusing(parse_arguments), (b"0='a',1,9='x y'", b"5", b"")),
    "firmware_package": Target(_refusing(decode_package), (_FIRMWARE,)),
    "json_text": Target(_refusing(json_text.load), (*_JSON_PACKS, *_OMA_JSON)),
    "link_format": Target(_refusing(_links), _LINKS),
    "lwm2m_cbor": Target(_payload(11544), _based(_hex("lwm2m_cbor/payloads.json"))),
    "notification_attributes": Target(
        _attributes,
        (b"pmin=5\npmax=60\ngt=1.5\nlt=-1e3\nst=0.1", b"epmin=1\nedge=0\ncon=1\nhqmax=3"),
    ),
    "object_definition": Target(
        _refusing(_definition), (write_definition(MODELS[6]), write_definition(MODELS[16]))
    ),
    "object_link": Target(_refusing(_object_link), (b"3:0", b"FFFF:ffff", b"65535:65535")),
    "object_list": Target(_refusing(read_objects), _LINKS),
    "object_path": Target(_refusing(_path), (b"/3303/0/5700", b"/65534/65534/65534/65534")),
    "object_range": Target(_range, (b"\x010..255", b"\x0316,32,48 bytes", b"\x02-90.5 to 90")),
    "object_xml": Target(_refusing(_xml), (_XML, _XML.replace(b"Float", b"Real"))),
    "oma_json": Target(_payload(11543), _based(_OMA_JSON)),
    "oma_json_times": Target(_timed(11543), _based(_OMA_JSON)),
    "opaque": Target(_payload(42), (b"\x06abc", b"\x00")),
    "oscore_header": Target(
        _refusing(decode_header), (b"\x09\x14\x00", b"\x19\x14\x08abcdefgh", b"")
    ),
    "oscore_plaintext": Target(_refusing(read_plaintext), (b"\x01\xb3tv1", b"\x45\xffHello")),
    "register_query": Target(
        _refusing(_register),
        (
            b"ep=lamp-1\nlt=60\nlwm2m=1.1\nb=U\nQ\n\n</1/0>,</3/0>",
            b"ep=a\nlwm2m=1.2\npid=6:27354b9a",
        ),
    ),
    "reliable_frames": Target(
        _refusing(_frames), (b"\x01\x43\x7f", b"\xd1\x00\x45\x7f\xff" + bytes(12))
    ),
    "reliable_settings": Target(_refusing(_settings), (b"\x22\x04\x80\x20", b"\xffbye")),
    "senml_cbor": Target(_payload(112), _based(_CBOR_NODES)),
    "senml_cbor_known": Target(_known_packs, _based(_CBOR_NODES)),
    "senml_cbor_packs": Target(
        _refusing(lambda data: senml_cbor.resolve(data, NOW)),
        (*_hex("senml/rfc8428.json"), *_CBOR_NODES),
    ),
    "senml_cbor_times": Target(_timed(112), _based(_CBOR_NODES)),
    "senml_json": Target(_payload(110), _based(_SENML_NODES)),
    "senml_json_packs": Target(
        _refusing(lambda data: senml_json.resolve(data, NOW)), (*_JSON_PACKS, *_SENML_NODES)
    ),
    "text": Target(
        _refusing(_text_value), (b"\x0aon", b"\x14-5", b"\x1e1.5e3", b"\x32aGk=", b"\x463:0")
    ),
    "tlv": Target(_payload(11542), _based(_hex("tlv/payloads.json"))),
    "update_query": Target(_refusing(_update), (b"lt=60\nb=UQ", b"b=U\nQ\n\n</3/0>")),
}
