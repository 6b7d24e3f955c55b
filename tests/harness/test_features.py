"""The page of features names tests that exist, and errors that a peer really gets."""

from __future__ import annotations

import ast
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from fake_devices import kit
from fake_devices.device import Moment, ServerAccount
from fake_devices.fleet.config import FleetConfig
from harness.feature_lists import GROUPS
from harness.features import AIOCOAP, NO, YES, Feature, features_page
from harness.printed_pages import ROOT, printed_pages
from harness.reference_pages import COMMAND
from harness.state_pages import MACHINES
from harness.testing import HandMovedClock
from lwm2m.coap import Request, codes
from lwm2m.codecs import Node, content_formats, encode_payload
from lwm2m.objects import ObjectPath, Value, builtin_models
from lwm2m.transport.dtls import DtlsServer
from tests.fake_devices.kit.kit_rig import KitRig, thermometer
from tests.harness.bootstrap_server.test_core import ENTRY
from tests.harness.bootstrap_server.test_core import Client as BootstrapClient
from tests.harness.bootstrap_server.test_core import World as BootstrapWorld
from tests.harness.lwm2m_server.world import LINKS, World
from tests.lwm2m.transport.dtls_pair import NOW_UNIX_S, SERVER_PSK, Pair


def is_a_test(node: str) -> bool:
    """Whether a node id, `file::function` or `file::Class::function`, names a test."""
    file, *names = node.split("::")
    found: Sequence[ast.stmt] = ast.parse((ROOT / "tests" / file).read_text()).body
    for name in names:
        members = [each for each in found if getattr(each, "name", None) == name]
        if not members:
            return False
        found = getattr(members[0], "body", [])
    return names[-1].startswith("test_")


EVERY = [feature for group in GROUPS for feature in group.features]


# ---- the pages ----


@pytest.mark.parametrize("page", sorted(printed_pages()))
def test_a_printed_page_is_not_stale(page: str) -> None:
    assert (ROOT / page).read_text() == printed_pages()[page], f"{COMMAND} writes it"


def test_every_machine_is_drawn_and_shown_in_full() -> None:
    page = printed_pages()["docs/design/states.md"]
    assert page.count("```mermaid") == len(MACHINES) + 1
    for machine in MACHINES:
        assert f"## {machine.title}\n" in page
        assert (ROOT / machine.source).exists()


@pytest.mark.parametrize("feature", EVERY, ids=lambda each: each.name)
def test_every_yes_names_tests_that_exist_and_every_no_says_what_happens(feature: Feature) -> None:
    if YES in feature.supports or AIOCOAP in feature.supports:
        assert feature.tests
    if NO in feature.supports:
        assert feature.otherwise
    for node in feature.tests:
        assert is_a_test(node), node


def test_no_feature_is_there_twice() -> None:
    names = [feature.name for feature in EVERY]
    assert len(set(names)) == len(names)


def test_a_page_counts_what_it_shows() -> None:
    assert f"{len(EVERY)} features;" in features_page(GROUPS)


# ---- the server ----


def answer_of(world: World, request: Request) -> str:
    device = world.device(f"asks-{len(world.devices)}")
    device.send(request)
    world.run_for(1)
    return codes.code_text(device.responses[-1].code)


def register(version: str, binding: str) -> Request:
    query = ("ep=asks", "lt=60", f"lwm2m={version}", f"b={binding}")
    return Request(codes.POST, ("rd",), query, content_formats.LINK_FORMAT, None, None, LINKS)


def test_an_unknown_version_is_answered_4_12(tmp_path: Path) -> None:
    world = World(tmp_path)
    for version in ("1.3", "2.0", "0.9"):
        assert answer_of(world, register(version, "U")) == "4.12"


def test_binding_letters_are_taken_by_their_version(tmp_path: Path) -> None:
    world = World(tmp_path)
    taken = {
        version: "".join(
            letter for letter in "UTSNMHX" if answer_of(world, register(version, letter)) == "2.01"
        )
        for version in ("1.0", "1.1", "1.2")
    }
    assert taken == {"1.0": "US", "1.1": "UTSN", "1.2": "UTSNMH"}
    assert answer_of(world, register("1.1", "X")) == "4.00"


def test_what_is_no_path_of_lwm2m_is_not_found(tmp_path: Path) -> None:
    world = World(tmp_path)
    for path in ((".well-known", "core"), ("est", "crts"), (".well-known", "edhoc")):
        assert answer_of(world, Request(codes.GET, path)) == "4.04"


def test_robust_blocks_are_a_bad_option(tmp_path: Path) -> None:
    # RFC 9177: Q-Block1 is 19, Q-Block2 31.
    world = World(tmp_path)
    for number in (19, 31):
        request = Request(codes.GET, ("rd",), options=((number, b"\x06"),))
        assert answer_of(world, request) == "4.02"


def test_oscore_at_the_bootstrap_server_is_a_bad_option(tmp_path: Path) -> None:
    world = BootstrapWorld(tmp_path, BootstrapClient())
    world.entries.put(ENTRY)
    request = Request(codes.POST, ("bs",), ("ep=lamp-1",), options=((OSCORE, b"\x09"),))
    assert codes.code_text(world.ask(request).code) == "4.02"


# ---- devices ----


def test_a_gateways_prefix_is_not_found() -> None:
    rig = KitRig(thermometer()).start()
    answer = rig.send(Request(codes.GET, ("sensor7", "3303", "0")))
    assert codes.code_text(answer.code) == "4.04"


def test_an_unknown_format_is_4_15_to_write_and_4_06_to_read() -> None:
    device = thermometer()
    device.bind("/3303/0/5750", "room")
    rig = KitRig(device).start()
    for number in (50, 65_000):
        written = rig.send(
            Request(codes.PUT, ("3303", "0", "5750"), content_format=number, payload=b"x")
        )
        read = rig.send(Request(codes.GET, ("3303", "0"), accept=number))
        assert [codes.code_text(each.code) for each in (written, read)] == ["4.15", "4.06"]


@pytest.mark.parametrize("scheme", ["http", "https", "coap+tcp", "coaps+tcp"])
def test_firmware_over_http_is_an_unsupported_protocol(scheme: str) -> None:
    rig = KitRig(thermometer(firmware=kit.FirmwareSettings())).start()
    uri = f"{scheme}://192.0.2.9/room.bin"
    assert rig.write("/5/0/1", {"/5/0/1": uri}) == "2.04"
    assert rig.read("/5/0/5") == {"/5/0/5": 9}
    assert rig.read("/5/0/3") == {"/5/0/3": 0}


def finish_with(mode: int) -> str:
    """The code of the answer to Finish after an account with this security mode was written."""
    clock, uri = HandMovedClock(), "coap://192.0.2.2:5683"
    device = thermometer()
    config = device.config
    assert isinstance(config, FleetConfig)
    core = device.make_core(config, [ServerAccount(None, uri)], clock, lambda: 0.5)
    core.start(0, Moment(clock.now_ns(), clock.wall_us()))
    security: dict[str, Value] = {
        "/0/1/0": "coaps://192.0.2.1:5684", "/0/1/1": False, "/0/1/2": mode, "/0/1/3": b"own",
        "/0/1/4": b"theirs", "/0/1/5": b"key", "/0/1/10": 101,
    }  # fmt: skip
    server: dict[str, Value] = {
        "/1/0/0": 101, "/1/0/1": 60, "/1/0/6": True, "/1/0/7": "U"
    }  # fmt: skip
    requests = [
        Request(codes.DELETE, ("1",)),
        _write("/0/1", security),
        _write("/1/0", server),
        Request(codes.POST, ("bs",)),
    ]
    answers = [
        core.serve(
            request, number, number, core.account_at(uri), Moment(clock.now_ns(), clock.wall_us())
        )
        for number, request in enumerate(requests)
    ]
    assert [codes.code_text(each.code) for each in answers[:3]] == ["2.02", "2.04", "2.04"]
    return codes.code_text(answers[3].code)


def _write(path: str, values: dict[str, Value]) -> Request:
    base = ObjectPath.parse(path)
    nodes = [Node(ObjectPath.parse(each), value) for each, value in values.items()]
    payload = encode_payload(content_formats.SENML_CBOR, base, nodes, builtin_models())
    return Request(
        codes.PUT, base.segments, content_format=content_formats.SENML_CBOR, payload=payload
    )


def test_an_account_with_est_is_not_finished() -> None:
    assert finish_with(4) == "4.06"
    assert finish_with(0) == "2.04"


# ---- DTLS, by hellos of our own hand (RFC 6347 §4.2.1) ----

_DTLS_1_0, _DTLS_1_2, _DTLS_1_3 = 0xFEFF, 0xFEFD, 0xFEFC
_PSK_CCM_8, _ECDSA_CCM_8, _TLS_1_3_SUITE = 0xC0A8, 0xC0AE, 0x1301
_CLIENT_CERTIFICATE_TYPE, _SERVER_CERTIFICATE_TYPE = 19, 20
_SUPPORTED_VERSIONS, _CONNECTION_ID = 43, 54
_ALERT, _HANDSHAKE, _SERVER_HELLO, _HELLO_VERIFY = 21, 22, 2, 3
_HANDSHAKE_FAILURE, _PROTOCOL_VERSION = 40, 70
# RFC 8613 §2.
OSCORE = 9
_ADDRESS = ("198.51.100.9", 40_009)


def hello(
    number: int, version: int, suites: Sequence[int], extensions: dict[int, bytes], cookie: bytes
) -> bytes:
    """A ClientHello in one record."""
    listed = b"".join(
        struct.pack("!HH", kind, len(data)) + data for kind, data in extensions.items()
    )
    body = b"".join(
        [
            struct.pack("!H", version),
            bytes(range(32)),
            b"\0",
            bytes([len(cookie)]) + cookie,
            struct.pack("!H", 2 * len(suites)) + b"".join(struct.pack("!H", s) for s in suites),
            b"\1\0",
            struct.pack("!H", len(listed)) + listed,
        ]
    )
    length = len(body).to_bytes(3, "big")
    message = b"\1" + length + number.to_bytes(2, "big") + b"\0\0\0" + length + body
    return (
        b"\x16\xfe\xff\0\0" + number.to_bytes(6, "big") + struct.pack("!H", len(message)) + message
    )


def answers_to(
    server: DtlsServer, version: int, suites: Sequence[int], extensions: dict[int, bytes]
) -> list[tuple[int, bytes]]:
    """The records that the server answers with, as (content type, content)."""
    server.receive_datagram(hello(0, version, suites, extensions, b""), _ADDRESS, 0.0)
    found = _records(server)
    if found and found[0][0] == _HANDSHAKE and found[0][1][0] == _HELLO_VERIFY:
        cookie = found[0][1][15:]
        server.receive_datagram(hello(1, version, suites, extensions, cookie), _ADDRESS, 0.1)
        found = _records(server)
    return found


def _records(server: DtlsServer) -> list[tuple[int, bytes]]:
    found = []
    for data, _ in server.datagrams_to_send():
        while data:
            (length,) = struct.unpack_from("!H", data, 11)
            found.append((data[0], data[13 : 13 + length]))
            data = data[13 + length :]
    return found


def psk_server() -> DtlsServer:
    return DtlsServer(SERVER_PSK, Pair(seed=3).random.randbytes, None, lambda: NOW_UNIX_S)


def alert_of(found: Sequence[tuple[int, bytes]]) -> int:
    (alert,) = (content[1] for kind, content in found if kind == _ALERT)
    return alert


def test_raw_public_keys_are_no_suite_and_no_account() -> None:
    raw = {_CLIENT_CERTIFICATE_TYPE: b"\1\2", _SERVER_CERTIFICATE_TYPE: b"\1\2"}
    found = answers_to(psk_server(), _DTLS_1_2, [_ECDSA_CCM_8], raw)
    assert alert_of(found) == _HANDSHAKE_FAILURE
    assert finish_with(1) == "4.06"


def test_a_connection_id_is_not_taken_up_and_the_session_works_without() -> None:
    found = answers_to(psk_server(), _DTLS_1_2, [_PSK_CCM_8], {_CONNECTION_ID: b"\x04abcd"})
    (server_hello,) = (
        content for kind, content in found if kind == _HANDSHAKE and content[0] == _SERVER_HELLO
    )
    # Twelve bytes of header, version, random, session id, suite, compression; then extensions.
    at = 12 + 2 + 32
    at += 1 + server_hello[at] + 3
    taken = []
    if at < len(server_hello):
        at += 2
        while at < len(server_hello):
            kind, length = struct.unpack_from("!HH", server_hello, at)
            taken.append(kind)
            at += 4 + length
    assert _CONNECTION_ID not in taken


@pytest.mark.parametrize(
    ("version", "suites", "extensions"),
    [
        (_DTLS_1_0, [_PSK_CCM_8], {}),
        (_DTLS_1_2, [_TLS_1_3_SUITE], {_SUPPORTED_VERSIONS: b"\x02\xfe\xfc"}),
    ],
    ids=["1.0", "1.3"],
)
def test_a_client_of_another_dtls_version_is_refused(
    version: int, suites: list[int], extensions: dict[int, bytes]
) -> None:
    server = psk_server()
    alert = alert_of(answers_to(server, version, suites, extensions))
    assert alert == (_PROTOCOL_VERSION if version == _DTLS_1_0 else _HANDSHAKE_FAILURE)
    assert server.session_count == 0
