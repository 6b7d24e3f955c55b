"""The bootstrap server's core against clients that are played by a CoAP endpoint."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.data_interface import Value
from contracts.journal import BootstrapSessionEnded
from harness.bootstrap_server.core import BootstrapCore
from harness.bootstrap_server.entries import (
    AccountEntry,
    BootstrapEntry,
    EntriesFull,
    EntryStore,
    InvalidEntry,
    decode_entry,
    plan_of,
    summary_of,
)
from harness.testing import HandMovedClock, seeded_draw
from lwm2m.coap import (
    CoapEndpoint,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
)
from lwm2m.codecs import content_formats, decode_payload
from lwm2m.objects import ObjectPath, builtin_models
from lwm2m.transport.peers import PeerSecurity, SecurePeer

MODELS = builtin_models()
# Closed after each test, or the process runs out of files.
OPEN_STORES: list[EntryStore] = []
ACCOUNT = AccountEntry(short_server_id=101, uri="coap://127.0.0.1:5683", lifetime_s=60)
ENTRY = BootstrapEntry(endpoint="lamp-1", accounts=[ACCOUNT])
CLIENT = ("127.0.0.2", 40_000)
DISCOVERY = b"</>;lwm2m=1.1,</0/0>,</1/0>;ssid=9,</3/0>"


@pytest.fixture(autouse=True)
def _closed_stores() -> Iterator[None]:
    yield
    while OPEN_STORES:
        OPEN_STORES.pop().close()


def open_store(directory: Path, *, entries_max: int = 3) -> EntryStore:
    """A store that is closed after the test."""
    store = EntryStore(directory, MODELS, entries_max=entries_max)
    OPEN_STORES.append(store)
    return store


class Client:
    """A client that answers as a well-behaved one does, or with `answers` by path."""

    def __init__(self, answers: dict[str, Response] | None = None) -> None:
        self.endpoint = CoapEndpoint(TransmissionParameters(), seeded_draw(2))
        self.answers = answers or {}
        self.received: list[Request] = []
        self.responses: list[Response] = []
        self.is_silent = False

    def handle_events(self, now: float) -> None:
        for event in self.endpoint.events():
            if isinstance(event, ResponseReceived):
                self.responses.append(event.response)
            elif isinstance(event, RequestReceived) and not self.is_silent:
                self.received.append(event.request)
                self.endpoint.respond(event.exchange, self._answer(event.request), now)

    def _answer(self, request: Request) -> Response:
        path = "/" + "/".join(request.path)
        if path in self.answers:
            return self.answers[path]
        if request.code == codes.GET:
            return Response(codes.CONTENT, DISCOVERY, content_formats.LINK_FORMAT)
        return Response(codes.DELETED if request.code == codes.DELETE else codes.CHANGED)


class World:
    """A core with its entries, and one client at `peer`."""

    def __init__(
        self,
        directory: Path,
        client: Client,
        *,
        sessions_max: int = 10,
        sessions_per_peer_max: int = 10,
    ) -> None:
        self.clock = HandMovedClock()
        self.entries = open_store(directory, entries_max=3)
        self.core = BootstrapCore(
            "bs1",
            self.entries,
            clock=self.clock,
            draw=seeded_draw(1),
            models=MODELS,
            sessions_max=sessions_max,
            sessions_per_peer_max=sessions_per_peer_max,
            reports_max=2,
        )
        self.client = client

    @property
    def now(self) -> float:
        return self.clock.now_ns() / 1e9

    def ask(self, request: Request, peer: object = CLIENT) -> Response:
        self.client.endpoint.send_request(peer, request, self.now)
        self.settle(peer)
        return self.client.responses[-1]

    def settle(self, peer: object = CLIENT) -> None:
        for _ in range(100):
            datagrams = [(data, peer) for data, _ in self.client.endpoint.datagrams_to_send()]
            self.core.receive_datagrams(datagrams)  # type: ignore[arg-type] # any hashable
            answers = self.core.take_datagrams()
            for data, _ in answers:
                self.client.endpoint.receive_datagram(data, peer, self.now)  # type: ignore[arg-type] # likewise
            self.client.handle_events(self.now)
            if not datagrams and not answers:
                return
        raise AssertionError("they talk for ever")

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.core.next_timer()) is not None and due <= end:
            self.clock.advance(max(0.0, due - self.now) + 0.001)
            self.core.handle_timer()
            self.core.take_datagrams()


def bootstrap(name: str = "lamp-1") -> Request:
    return Request(codes.POST, ("bs",), (f"ep={name}",))


def test_a_known_client_is_discovered_cleared_written_and_finished(tmp_path: Path) -> None:
    world = World(tmp_path, Client())
    world.entries.put(ENTRY)
    assert world.ask(bootstrap()).code == codes.CHANGED
    operations = [(r.code, "/" + "/".join(r.path)) for r in world.client.received]
    assert operations == [
        (codes.GET, "/"), (codes.DELETE, "/0"), (codes.DELETE, "/1"),
        (codes.PUT, "/0/1"), (codes.PUT, "/1/0"), (codes.POST, "/bs"),
    ]  # fmt: skip
    written = world.client.received[3]
    nodes = decode_payload(written.content_format, ObjectPath(0, 1), written.payload, MODELS)
    assert dict(nodes)[ObjectPath(0, 1, 0)] == ACCOUNT.uri
    (report,) = world.core.reports("lamp-1")
    assert (report.state, report.security) == ("finished", "nosec")
    (record,) = world.core.take_observed()
    assert isinstance(record, BootstrapSessionEnded)
    assert (record.state, record.last_operation, record.code) == ("finished", "finish", "2.04")


def test_an_unknown_client_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    world = World(tmp_path, Client())
    assert world.ask(bootstrap("stranger")).code == codes.BAD_REQUEST
    assert world.client.received == []
    assert world.core.numbers()["refused_unknown_endpoint"] == 1


def test_an_entry_for_any_endpoint_serves_whoever_has_none(tmp_path: Path) -> None:
    world = World(tmp_path, Client())
    world.entries.put(BootstrapEntry(endpoint="*", accounts=[ACCOUNT]))
    assert world.ask(bootstrap("stranger")).code == codes.CHANGED


def test_a_client_may_not_ask_under_another_name_than_its_credentials(tmp_path: Path) -> None:
    world = World(tmp_path, Client())
    world.entries.put(ENTRY)
    peer = SecurePeer(*CLIENT, PeerSecurity("psk", "id-2"), endpoint_name="lamp-2")
    assert world.ask(bootstrap(), peer).code == codes.BAD_REQUEST
    assert world.core.numbers()["refused_identity_mismatch"] == 1


def test_a_refused_step_ends_the_session_and_is_told(tmp_path: Path) -> None:
    world = World(tmp_path, Client({"/bs": Response(codes.NOT_ACCEPTABLE)}))
    world.entries.put(ENTRY)
    world.ask(bootstrap())
    (report,) = world.core.reports("lamp-1")
    assert (report.state, report.steps[-1].operation, report.steps[-1].code) == (
        "failed", "finish", "4.06",
    )  # fmt: skip


def test_a_client_that_falls_silent_fails_the_session_in_the_end(tmp_path: Path) -> None:
    world = World(tmp_path, Client())
    world.entries.put(ENTRY)
    world.client.is_silent = True
    world.ask(bootstrap())
    assert world.core.numbers()["sessions_running"] == 1
    world.pass_time(300)
    assert world.core.numbers() == {
        "sessions_running": 0, "sessions_begun": 1, "sessions_failed": 1,
    }  # fmt: skip


def test_a_client_that_asks_again_begins_anew(tmp_path: Path) -> None:
    world = World(tmp_path, Client())
    world.entries.put(ENTRY)
    world.client.is_silent = True
    world.ask(bootstrap())
    world.client.is_silent = False
    world.ask(bootstrap())
    numbers = world.core.numbers()
    assert (numbers["sessions_begun"], numbers["sessions_failed"]) == (2, 1)


def test_more_sessions_than_there_is_room_for_are_told_when_to_come_back(tmp_path: Path) -> None:
    world = World(tmp_path, Client(), sessions_max=0)
    world.entries.put(ENTRY)
    answer = world.ask(bootstrap())
    assert answer.code == codes.SERVICE_UNAVAILABLE
    assert 10 <= dict(answer.options)[14][0] < 40


def test_who_is_sent_away_in_a_storm_is_not_told_to_come_back_all_at_once(tmp_path: Path) -> None:
    world = World(tmp_path, Client(), sessions_max=0)
    world.entries.put(ENTRY)
    waits = {world.ask(bootstrap()).options for _ in range(20)}
    assert len(waits) > 5


def test_one_address_without_security_has_so_many_sessions_at_once(tmp_path: Path) -> None:
    world = World(tmp_path, Client(), sessions_per_peer_max=1)
    for number in (1, 2):
        world.entries.put(msgspec.structs.replace(ENTRY, endpoint=f"lamp-{number}"))
    world.client.is_silent = True
    assert world.ask(bootstrap("lamp-1")).code == codes.CHANGED
    assert world.ask(bootstrap("lamp-2")).code == codes.SERVICE_UNAVAILABLE
    assert world.core.numbers()["refused_peer_full"] == 1
    assert world.ask(bootstrap("lamp-1")).code == codes.CHANGED, "its own session is replaced"
    world.pass_time(300)
    assert world.core.numbers()["sessions_running"] == 0
    assert world.ask(bootstrap("lamp-2")).code == codes.CHANGED


@pytest.mark.parametrize("content_format", [110, 112, 11544])
def test_a_pack_has_everything_in_one_answer(tmp_path: Path, content_format: int) -> None:
    world = World(tmp_path, Client())
    world.entries.put(ENTRY)
    answer = world.ask(Request(codes.GET, ("bspack",), ("ep=lamp-1",), accept=content_format))
    assert (answer.code, answer.content_format) == (codes.CONTENT, content_format)
    nodes = dict(decode_payload(content_format, None, answer.payload, MODELS))
    assert nodes[ObjectPath(1, 0, 1)] == 60


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (Request(codes.GET, ("bspack",), ("ep=stranger",)), "4.04"),
        (Request(codes.GET, ("bspack",), ("ep=nopack",)), "4.05"),
        (Request(codes.GET, ("bspack",), ("ep=lamp-1",), accept=0), "4.06"),
        (Request(codes.GET, ("bs",), ("ep=lamp-1",)), "4.05"),
        (Request(codes.POST, ("rd",), ("ep=lamp-1",)), "4.04"),
        (Request(codes.POST, ("bs",)), "4.00"),
    ],
)
def test_what_cannot_be_granted_gets_the_code_of_the_standard(
    tmp_path: Path, request_: Request, code: str
) -> None:
    world = World(tmp_path, Client())
    world.entries.put(ENTRY)
    world.entries.put(BootstrapEntry(endpoint="nopack", pack=False))
    assert codes.code_text(world.ask(request_).code) == code


def test_reports_of_the_devices_seen_last_are_kept(tmp_path: Path) -> None:
    world = World(tmp_path, Client())
    world.entries.put(BootstrapEntry(endpoint="*"))
    for name in ("a", "b", "c"):
        world.ask(bootstrap(name))
    assert [report.endpoint for report in world.core.reports()] == ["b", "c"]


# ---- keys ----

KEYED = BootstrapEntry(
    endpoint="lamp-1",
    accounts=[AccountEntry(short_server_id=1, uri="coaps://a", security="psk", key=b"k" * 16)],
)
SECURE = SecurePeer(*CLIENT, PeerSecurity("psk", "lamp-1"), endpoint_name="lamp-1")
PACK = Request(codes.GET, ("bspack",), ("ep=lamp-1",))


def test_a_stranger_without_security_gets_nobodys_keys(tmp_path: Path) -> None:
    world = World(tmp_path, Client())
    world.entries.put(KEYED)
    assert world.ask(bootstrap()).code == codes.BAD_REQUEST
    assert world.ask(PACK).code == codes.UNAUTHORIZED
    assert world.client.received == []
    assert world.core.numbers()["refused_keys_over_nosec"] == 2


def test_who_proves_to_be_the_device_gets_its_keys(tmp_path: Path) -> None:
    world = World(tmp_path, Client())
    world.entries.put(KEYED)
    world.core.peer_established(SECURE)
    assert world.ask(bootstrap(), SECURE).code == codes.CHANGED
    assert world.ask(PACK, SECURE).code == codes.CONTENT


def test_a_laboratory_may_give_keys_without_security(tmp_path: Path) -> None:
    world = World(tmp_path, Client())
    world.entries.put(BootstrapEntry(**{**_fields(KEYED), "over_nosec": True}))
    assert world.ask(bootstrap()).code == codes.CHANGED


def test_nobody_without_security_takes_over_a_session_that_has_it(tmp_path: Path) -> None:
    world = World(tmp_path, Client())
    world.entries.put(ENTRY)
    world.client.is_silent = True
    world.ask(bootstrap(), SECURE)
    world.client.is_silent = False
    assert world.ask(bootstrap()).code == codes.BAD_REQUEST
    assert world.core.numbers()["refused_begun_with_security"] == 1
    assert world.core.numbers()["sessions_running"] == 1


def _fields(entry: BootstrapEntry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__struct_fields__}


# ---- entries ----


def test_entries_survive_a_restart_and_a_last_line_cut_short(tmp_path: Path) -> None:
    store = open_store(tmp_path, entries_max=3)
    store.put(ENTRY)
    store.put(BootstrapEntry(endpoint="gone"))
    assert store.remove("gone")
    assert not store.remove("gone")
    store.close()
    store.close()
    with (tmp_path / "bootstrap.jsonl").open("ab") as file:
        file.write(b'{"endpoint":"cut')
    again = open_store(tmp_path, entries_max=3)
    assert again.own("lamp-1") == ENTRY
    assert len(again) == 1


def test_a_full_store_takes_no_more_and_still_replaces(tmp_path: Path) -> None:
    store = open_store(tmp_path, entries_max=1)
    store.put(ENTRY)
    store.put(ENTRY)
    with pytest.raises(EntriesFull):
        store.put(BootstrapEntry(endpoint="other"))


def test_the_file_with_keys_is_its_owners_alone(tmp_path: Path) -> None:
    open_store(tmp_path, entries_max=1)
    assert (tmp_path / "bootstrap.jsonl").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        (BootstrapEntry(endpoint="a b"), "endpoint"),
        (BootstrapEntry(endpoint="a", accounts=[ACCOUNT, ACCOUNT]), "accounts"),
        (BootstrapEntry(endpoint="a", delete=("/0/1/2",)), "delete"),
        (BootstrapEntry(endpoint="a", read=["x"]), "read"),
        (BootstrapEntry(endpoint="a", values=[Value("/1/0/1", "string", "x")]), "values"),
        (
            BootstrapEntry(
                endpoint="a", accounts=[AccountEntry(short_server_id=0, uri="coap://a")]
            ),
            "short_server_id",
        ),
        (BootstrapEntry(endpoint="a", accounts=[AccountEntry(short_server_id=1, uri="a")]), "uri"),
        (
            BootstrapEntry(
                endpoint="a", accounts=[AccountEntry(short_server_id=1, uri="coaps://a")]
            ),
            "uri",
        ),
        (
            BootstrapEntry(
                endpoint="a",
                accounts=[AccountEntry(short_server_id=1, uri="coaps://a", security="psk")],
            ),
            "key",
        ),
        (
            BootstrapEntry(
                endpoint="a",
                accounts=[
                    AccountEntry(short_server_id=1, uri="coaps://a", security="x509", key=b"k")
                ],
            ),
            "certificate",
        ),
    ],
)
def test_an_entry_that_cannot_be_written_names_its_field(entry: BootstrapEntry, field: str) -> None:
    with pytest.raises(InvalidEntry, match=f"^{field}"):
        plan_of(entry, MODELS)


def test_a_psk_account_names_the_endpoint_as_its_identity(tmp_path: Path) -> None:
    account = AccountEntry(short_server_id=1, uri="coaps://a", security="psk", key=b"secret-key")
    entry = BootstrapEntry(endpoint="lamp-1", accounts=[account])
    assert plan_of(entry, MODELS).accounts[0].identity == b"lamp-1"
    shown = repr(account) + repr(entry) + repr(summary_of(entry))
    assert "secret-key" not in shown
    assert base64.b64encode(b"secret-key").decode() not in shown


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"endpoint": 1}', b'{"endpoint":"a","x":1}', b"\xff"]
)
def test_a_line_that_is_no_entry_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidEntry):
        decode_entry(data)
