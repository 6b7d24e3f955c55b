"""The embedded broker as a process: gates on its input, defects, floods, limits, journal."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import subprocess
from pathlib import Path
from typing import NamedTuple

import cbor2
import pytest

from contracts.topics import Topics
from harness.mqtt_broker.core import Broker, BrokerLimits
from harness.mqtt_broker.mosquitto import access_list
from harness.mqtt_broker.shell import BrokerConnection
from mqtt.packets import Connect, PingReq, PingResp, PubAck, Publish, encode
from tests.harness.mqtt_broker.world import (
    WITHIN_S,
    Authority,
    Closed,
    Peer,
    Target,
    broker_process,
)

EVENT = "lwm2m/s1/lamp-1/event/registered"
BRIDGE = "svc:bridge:s1"


def test_a_killed_bridge_at_a_gate_leaves_no_event_and_publishes_it_again(
    pki: Authority, tmp_path: Path
) -> None:
    with broker_process(pki, tmp_path) as broker:
        target = Target("embedded", broker, pki)
        with target.client("svc:bootstrap") as reader, target.client(BRIDGE) as bridge:
            reader.subscribe("lwm2m/+/+/event/+")
            broker.tell(arm={"point": "event_received_not_published", "occurrence": 1})
            broker.tell(nonsense=1)
            publish = Publish(EVENT, b"first", 1, 1)
            bridge.send(publish)
            while bridge.is_acknowledged(1, broker):  # the gate's line and ours race
                reader.message()
                bridge.send(publish)
            assert broker.line() == {"gate": "event_received_not_published", "endpoint": "lamp-1"}
            assert reader.is_served()
            bridge.vanish()
            with target.client(BRIDGE) as successor:
                successor.publish(EVENT, b"again")
                assert reader.message().payload == b"again"


def test_a_held_bridge_goes_on_after_release(pki: Authority, tmp_path: Path) -> None:
    with broker_process(pki, tmp_path) as broker:
        target = Target("embedded", broker, pki)
        with target.client("svc:bootstrap") as reader, target.client(BRIDGE) as bridge:
            reader.subscribe("lwm2m/+/+/event/+")
            broker.tell(arm={"point": "event_published_not_acknowledged", "occurrence": 1})
            for number in itertools.count(1):
                bridge.send(Publish(EVENT, b"%d" % number, 1, number))
                assert reader.message().payload == b"%d" % number
                if not bridge.is_acknowledged(number, broker):
                    break
            bridge.send(Publish(EVENT, b"behind it", 1, 99))
            assert broker.line()["gate"] == "event_published_not_acknowledged"
            assert reader.is_served()
            broker.tell(release="event_published_not_acknowledged")
            assert [bridge.expect(PubAck).packet_id for _ in range(2)] == [number, 99]
            assert reader.message().payload == b"behind it"


def test_a_planted_defect_is_told(pki: Authority, tmp_path: Path) -> None:
    with broker_process(pki, tmp_path, defect={"kind": "lose_one", "after": 2}) as broker:
        target = Target("embedded", broker, pki)
        with target.client("svc:ingestion") as reader, target.client("lamp-1") as lamp:
            reader.subscribe("devices/+/state")
            for number in range(1, 4):
                lamp.publish("devices/lamp-1/state", cbor2.dumps([{0: "x", 2: number}]), number)
            got = [cbor2.loads(reader.message().payload)[0][2] for _ in range(2)]
        assert got == [1, 3]
        assert broker.line() == {"defect": "lose_one", "endpoint": "lamp-1"}


def test_a_defect_in_another_broker_is_refused(pki: Authority, tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="defect can be planted in the embedded broker"),
        broker_process(pki, tmp_path, "amqtt", defect={"kind": "lose_one", "after": 2}),
    ):
        pass


@pytest.mark.parametrize("limits", [{"in_flight_max": 65_536}, {"waiting_max": 0}])
def test_impossible_limits_are_refused(
    pki: Authority, tmp_path: Path, limits: dict[str, int]
) -> None:
    with (
        pytest.raises(AssertionError, match=r"the configuration .* is wrong"),
        broker_process(pki, tmp_path, limits=limits),
    ):
        pass


@pytest.mark.parametrize("kind", ["file", "null", "closed"])
def test_it_serves_whatever_its_standard_input_is(
    pki: Authority, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "input"
    file.write_text("not a gate line\n")
    with file.open() as opened:
        stdin = {"file": opened, "null": subprocess.DEVNULL, "closed": subprocess.PIPE}[kind]
        with broker_process(pki, tmp_path / "b", stdin=stdin) as broker:
            if kind == "closed":
                broker.close_input()
            with Target("embedded", broker, pki).client("lamp-1") as lamp:
                assert lamp.is_served()
                assert broker.is_running()


def test_a_flood_of_failing_handshakes_fills_no_log(
    pki: Authority, other_pki: Authority, tmp_path: Path
) -> None:
    with broker_process(pki, tmp_path) as broker:
        target = Target("embedded", broker, pki)
        for number in range(60):
            with socket.create_connection(broker.address, timeout=WITHIN_S) as raw:
                raw.sendall(b"GET / HTTP/1.0\r\n\r\n" if number % 2 else b"\x16\x03")
        for tls in (pki.context(), other_pki.context("lamp-2", trusting=pki.ca_file)):
            for _ in range(10):
                with target.peer("lamp-2", tls=tls) as peer:
                    assert peer.connect("lamp-2") is None
        with target.client("lamp-1") as lamp:
            assert lamp.is_served()
        assert "Traceback" not in broker.log.read_text()
        assert len(broker.log.read_text().splitlines()) < 10


def test_a_connect_that_trickles_is_given_up_all_the_same(pki: Authority, tmp_path: Path) -> None:
    connect = encode(Connect(client_id="lamp-1" * 20))
    with broker_process(pki, tmp_path, limits={"connect_within_s": 0.4}) as broker:
        target = Target("embedded", broker, pki)
        with target.peer("lamp-1") as peer, pytest.raises(Closed):
            trickle(peer, connect[:-1])


def trickle(peer: Peer, data: bytes) -> None:
    """Send a byte each 50 ms. Raises `Closed`."""
    peer.patience_s = 0.05
    for byte in data:
        peer.send_bytes(bytes((byte,)))
        with contextlib.suppress(TimeoutError):
            peer.receive()


def test_one_connection_too_many_is_ended(pki: Authority, tmp_path: Path) -> None:
    with broker_process(pki, tmp_path, limits={"connections_max": 2}) as broker:
        target = Target("embedded", broker, pki)
        with target.client("lamp-1") as one, target.client("lamp-2"):
            with target.peer("lamp-3") as third:
                assert third.connect("lamp-3") is None
            assert one.is_served()


@pytest.mark.slow
def test_a_client_that_reads_nothing_is_delivered_everything_later(
    pki: Authority, tmp_path: Path
) -> None:
    limits = {"write_buffer_bytes": 65_536, "waiting_bytes_max": 1_000_000}
    payload = bytes(20_000)
    with broker_process(pki, tmp_path, limits=limits) as broker:
        target = Target("embedded", broker, pki)
        with target.client("svc:ingestion") as reader, target.client("lamp-1") as lamp:
            reader.subscribe("devices/+/state")
            for sent in range(1, 5_000):  # the kernel's buffers take some megabytes
                lamp.send(Publish("devices/lamp-1/state", payload, 1, sent), PingReq())
                if isinstance(lamp.receive(), PingResp):  # served, and not acknowledged
                    break
                lamp.expect(PingResp)
            for _ in range(sent):
                assert reader.message().payload == payload
            assert lamp.expect(PubAck).packet_id == sent


class Shown(NamedTuple):
    """As much of a certificate as a broker asks for that revokes none."""

    common_names: tuple[str, ...]


class FullTransport(asyncio.Transport):
    """A transport whose other side reads nothing."""

    def __init__(self) -> None:
        super().__init__({"peer_certificate": Shown(("lamp-1",))})
        self.kept = b""
        self.calls: list[str] = []

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high or 0

    def get_write_buffer_size(self) -> int:
        return len(self.kept)

    def is_closing(self) -> bool:
        return "close" in self.calls

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.kept += bytes(data)

    def pause_reading(self) -> None:
        self.calls.append("pause_reading")

    def resume_reading(self) -> None:
        self.calls.append("resume_reading")

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")


def test_a_client_that_asks_and_never_reads_is_heard_no_more() -> None:
    async def story() -> None:
        limits = BrokerLimits(write_buffer_bytes=100)
        connection = BrokerConnection(Broker(Topics(), limits, lambda *_: None), set())
        transport = FullTransport()
        connection.connection_made(transport)
        connection.data_received(encode(Connect(client_id="lamp-1")) + encode(PingReq()) * 90)
        await asyncio.sleep(0)
        assert len(transport.kept) == 4 + 180
        connection.pause_writing()
        assert transport.calls == []
        connection.data_received(encode(PingReq()) * 90)
        await asyncio.sleep(0)
        assert transport.calls == ["pause_reading"]
        transport.kept = b""
        connection.resume_writing()
        assert transport.calls == ["pause_reading", "resume_reading"]
        connection.end("the test is over")
        assert transport.calls[-1] == "close"
        connection.connection_lost(None)

    asyncio.run(story())


def test_who_came_and_went_is_in_the_journal(pki: Authority, tmp_path: Path) -> None:
    journal = tmp_path / "broker.jsonl"
    with broker_process(pki, tmp_path, journal_file=str(journal)) as broker:
        target = Target("embedded", broker, pki)
        with target.client("lamp-1") as lamp:
            lamp.send(Publish("devices/lamp-2/state", b"", 1, 1))
            assert lamp.is_closed()
        with target.peer("lamp-1") as intruder:
            intruder.connect("lamp-2")
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [(one["identity"], one["event"], one.get("reason", "")) for one in records] == [
        ("lamp-1", "connected", ""),
        ("lamp-1", "disconnected", "may not publish to devices/lamp-2/state"),
        ("lamp-2", "refused", "client id is not the certificate's"),
    ]


def test_mosquittos_access_list_is_the_policy_table() -> None:
    assert access_list(Topics(), ["s1"]).splitlines() == [
        "pattern write devices/%u/state",
        "pattern write devices/%u/alarm",
        "pattern write devices/%u/presence",
        "",
        "user svc:bridge:s1",
        "topic write lwm2m/s1/+/event/+",
        "topic write bridges/s1/status",
        "topic read lwm2m/s1/+/credentials",
        "topic read lwm2m/+/command",
        "topic read lwm2m/s1/+/command",
        "topic read lwm2m/s1/+/holder",
        "",
        "user svc:bootstrap",
        "topic write lwm2m/+/+/credentials",
        "topic read lwm2m/+/+/event/+",
        "",
        "user svc:ingestion",
        "topic read devices/+/state",
        "topic read devices/+/alarm",
        "topic read devices/+/presence",
        "topic read $aws/events/presence/+/+",
        "",
        "user svc:control",
        "topic write lwm2m/+/command",
        "topic write lwm2m/+/+/command",
        "topic write lwm2m/+/+/holder",
        "topic read lwm2m/+/+/event/+",
        "topic read bridges/+/status",
        "",
        "user svc:audit",
        "topic read lwm2m/+/+/event/+",
        "topic read lwm2m/+/command",
        "topic read lwm2m/+/+/command",
        "",
        "user svc:tap",
        "topic read lwm2m/+/+/event/+",
        "topic read lwm2m/+/+/credentials",
        "topic read lwm2m/+/command",
        "topic read lwm2m/+/+/command",
        "topic read lwm2m/+/+/holder",
        "topic read devices/+/state",
        "topic read devices/+/alarm",
        "topic read devices/+/presence",
        "topic read bridges/+/status",
    ]
