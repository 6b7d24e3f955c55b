"""The registration benchmark, very small: what it promises, and that its parts do what they say."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.event_reader import EventReader
from benchmarks.register_loader import LINKS, Datagrams, Loader, Order, name_of
from contracts.data_interface import Event, Snapshot, encode
from lwm2m.coap import ACK, Request, Response, codes, decode_message
from lwm2m.coap.requests import encode_response, read_request
from lwm2m.registration import RegistrationReader
from lwm2m.transport import LocalAndRemote
from tests.processes import WITHIN_S

ROOT = Path(__file__).parents[2]


def line_of(*arguments: str) -> dict[str, Any]:
    """What the benchmark prints."""
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.registrations", *arguments],
        cwd=ROOT, capture_output=True, timeout=4 * WITHIN_S, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr.decode()[-2_000:]
    found: dict[str, Any] = msgspec.json.decode(ended.stdout)
    assert found["benchmark"] == "registrations"
    return found


@pytest.mark.slow
@pytest.mark.bench
def test_registrations_and_updates_are_timed_and_every_event_is_delivered() -> None:
    line = line_of("--devices", "600", "--updates", "--aiocoap-exchanges", "200")
    for phase in ("register", "update"):
        assert line[phase]["count"] == line[phase]["events"] == 600
        assert (line[phase]["failed"], line[phase]["refused"]) == (0, {})
        assert line[phase]["per_s"] > 0
        assert 0 < line[phase]["p50_ms"] <= line[phase]["p99_ms"] <= line[phase]["max_ms"]
    assert line["events"]["kinds"] == {"registered": 600, "updated": 600}
    assert line["events"]["gaps"] == 0
    # By CPU, and a third of what it is: other processes disturb rates.
    assert line["times_less_cpu_than_aiocoap"] >= 3
    assert line["server_bytes_per_device"]["600"] > 0
    assert line["conditions"]["python"]


@pytest.mark.slow
@pytest.mark.bench
def test_devices_that_arrive_at_a_rate_are_kept_registered() -> None:
    line = line_of(
        "--devices", "200", "--rate", "400", "--hold", "3", "--lifetime", "2",
        "--aiocoap-exchanges", "0",
    )  # fmt: skip
    assert line["register"]["count"] == 200
    # An Update in every 1/1.7 of the lifetime, for three seconds.
    assert line["hold"]["count"] == 510
    assert line["hold"]["refused"] == {}, "none had lapsed"
    assert "deregistered" not in line["events"]["kinds"]


# ---- the loader ----


def read(datagram: bytes) -> Request:
    message = decode_message(datagram)
    return read_request(message.code, message.options, message.payload, confirmable=True)


def label(message_id: int, token: bytes) -> int:
    return int.from_bytes(message_id.to_bytes(2, "big") + token, "big")


def test_a_loaders_register_is_one_that_a_server_reads() -> None:
    datagrams = Datagrams(lifetime_s=60)
    for number in (0, 1, 999_999):
        data = datagrams.register(number, label(4_711, b"token"))
        message = decode_message(data)
        assert (message.message_id, message.token) == (4_711, b"token")
        request = read(data)
        assert (request.code, request.path) == (codes.POST, ("rd",))
        found = RegistrationReader().read_register(
            request.query, request.payload, request.content_format
        )
        assert (found.endpoint_name, found.lifetime_s) == (name_of(number), 60)
        assert request.payload == LINKS


def test_a_loaders_update_goes_to_where_the_endpoint_is_registered() -> None:
    datagrams = Datagrams(lifetime_s=60)
    with pytest.raises(KeyError):
        datagrams.update(7, label(1, b"token"))
    datagrams.note_location(7, ("rd", "a1b2c3"))
    data = datagrams.update(7, label(65_535, b"token"))
    assert decode_message(data).message_id == 65_535
    assert read(data) == Request(codes.POST, ("rd", "a1b2c3"))


@pytest.mark.parametrize("registration_id", ["0123456789ab", "a", "an-id-of-thirteen-and-more"])
def test_a_loader_learns_from_the_answer_where_the_endpoint_is_registered(
    registration_id: str,
) -> None:
    datagrams = Datagrams(lifetime_s=60)
    response = Response(codes.CREATED, location_path=("rd", registration_id))
    datagrams.note_created(7, encode_response(ACK, 5, b"token", response))
    assert read(datagrams.update(7, label(1, b"token"))).path == ("rd", registration_id)


class Line:
    """The loader's link: what it sends, and to whom."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, LocalAndRemote]] = []

    def send(self, datagrams: Sequence[tuple[bytes, LocalAndRemote]]) -> None:
        self.sent += datagrams

    def answers(self, code: int = codes.CREATED) -> list[tuple[bytes, LocalAndRemote]]:
        """An answer to each that was sent since the last call."""
        sent, self.sent = self.sent, []
        response = Response(code, location_path=("rd", "a1") if code == codes.CREATED else ())
        messages = [(decode_message(data), peer) for data, peer in sent]
        return [
            (encode_response(ACK, each.message_id, each.token, response), peer)
            for each, peer in messages
        ]


def loader_on(line: Line) -> Loader:
    loader = Loader(("127.0.0.1", 5_683), lifetime_s=60)
    loader.link = line  # type: ignore[assignment]  # as much of a link as it uses
    return loader


def test_the_loader_keeps_its_window_full_and_tells_what_became_of_each() -> None:
    async def story() -> None:
        line = Line()
        loader = loader_on(line)
        done = asyncio.ensure_future(loader.carry_out(Order(0, 5, window=3)))
        await asyncio.sleep(0)
        assert len(line.sent) == 3
        assert len({peer for _, peer in line.sent}) == 3
        [first, *rest] = line.answers()
        stranger = (first[0], ("127.9.9.9", "127.0.0.1", 5_683))
        other_id = (first[0][:2] + b"\xff\xff" + first[0][4:], first[1])
        request = (b"\x45" + first[0][1:], first[1])
        loader.receive([stranger, other_id, request])
        assert line.sent == []
        loader.receive([first, first])
        assert len(line.sent) == 1, "one was answered, one follows"
        loader.receive(rest)
        loader.receive(line.answers(codes.FORBIDDEN))
        told = await done
        assert (told.count, told.failed, told.refused) == (5, 0, {"4.03": 2})
        updating = asyncio.ensure_future(loader.carry_out(Order(0, 3, updates=True)))
        await asyncio.sleep(0)
        assert {read(data).path for data, _ in line.sent} == {("rd", "a1")}
        loader.receive(line.answers(codes.CHANGED))
        told = await updating
        assert (told.count, told.refused) == (3, {})
        updating = asyncio.ensure_future(loader.carry_out(Order(0, 3, updates=True)))
        await asyncio.sleep(0)
        loader.receive(line.answers(codes.CREATED))
        assert (await updating).refused == {"2.01": 3}, "that is no answer to an Update"

    asyncio.run(story())


def test_the_loader_sends_again_what_is_not_answered_and_gives_it_up_in_the_end() -> None:
    async def story() -> None:
        line = Line()
        loader = loader_on(line)
        done = asyncio.ensure_future(loader.carry_out(Order(0, 2)))
        await asyncio.sleep(0)
        [lost, _] = line.sent
        loader.receive(line.answers()[1:])
        now = asyncio.get_running_loop().time()
        for wait_s in (0.0, 3.0, 8.0, 17.0, 34.0, 67.0):
            loader._send_again(now + wait_s)
        loader._end_if_over()
        assert line.sent == [lost] * 4
        told = await done
        assert (told.count, told.failed, told.retransmitted) == (2, 1, 4)

    asyncio.run(story())


# ---- the reader ----


class Wire:
    """What the reader writes."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        self.written.append(data)


def framed(text: bytes) -> bytes:
    length = len(text)
    head = bytes((0x81, length)) if length < 126 else b"\x81\x7e" + length.to_bytes(2, "big")
    return head + text


def event(seq: int) -> bytes:
    return framed(
        encode(Event(server="s", epoch="e", seq=seq, kind="updated", endpoint="x", at_us=1))
    )


async def opened() -> tuple[EventReader, Wire]:
    reader, wire = EventReader("ws://127.0.0.1:1/v1/data", "secret"), Wire()
    reader.connection_made(wire)  # type: ignore[arg-type]  # as much of a transport as it uses
    reader.data_received(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
    return reader, wire


def test_the_reader_counts_every_event_however_the_stream_is_cut() -> None:
    async def story() -> None:
        reader, wire = await opened()
        assert b"Authorization: Bearer secret\r\n" in wire.written[0]
        snapshot = framed(encode(Snapshot(epoch="e", as_of=0, registrations=[], last=True)))
        stream = snapshot + b"".join(event(seq) for seq in range(1, 701))
        for at in range(0, len(stream), 37):
            reader.data_received(stream[at : at + 37])
        found = reader.report()
        assert (found["kinds"], found["seq"], found["gaps"]) == ({"updated": 700}, 700, 0)
        acknowledged = [each for each in wire.written if b'"ack"' in each]
        assert len(acknowledged) == 2
        assert reader.snapshot_ended.done()

    asyncio.run(story())


def test_the_reader_tells_of_a_gap_and_of_its_end() -> None:
    async def story() -> None:
        reader, wire = await opened()
        reader.data_received(event(1) + event(3) + b"\x89\x02hi")
        assert reader.report()["gaps"] == 1
        assert wire.written[-1][0] == 0x8A, "a ping is answered"
        reader.data_received(b"\x88\x06\x03\xf0gone")
        assert "gone" in reader.report()["gone"]

    asyncio.run(story())


def test_the_reader_gives_up_when_it_is_not_let_in() -> None:
    async def story() -> None:
        reader = EventReader("ws://127.0.0.1:1/v1/data", "secret")
        reader.connection_made(Wire())  # type: ignore[arg-type]  # as much of a transport as it uses
        reader.data_received(b"HTTP/1.1 401 Unauthorized\r\n\r\n")
        assert "refused" in reader.report()["gone"]

    asyncio.run(story())
