"""Several endpoints as one, and a device over a transport that has no datagrams."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.lwm2m_server.endpoints import Endpoints
from harness.testing import seeded_draw
from lwm2m.coap import CoapEndpoint, Request, Response, TransmissionParameters, codes
from lwm2m.coap.events import RequestReceived
from lwm2m.transport.peers import NOSEC, PeerSecurity, SecurePeer
from tests.harness.lwm2m_server.world import LINKS, World


class Connection(SecurePeer):
    """A peer of another transport."""


class Wire:
    """Another transport's endpoint, both ends: a CoAP endpoint whose datagrams stay in here."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.server = CoapEndpoint(TransmissionParameters(), seeded_draw(70))
        self.device = CoapEndpoint(TransmissionParameters(), seeded_draw(71))
        self.requests: list[Request] = []

    def settle(self, peer: Connection) -> None:
        now = self.world.clock.now_s
        for _ in range(4):
            for data, _peer in self.device.datagrams_to_send():
                self.server.receive_datagram(data, peer, now)
            self.world.core.handle_events()
            self.world.turn.end()
            for data, target in self.server.datagrams_to_send():
                assert target is peer
                self.device.receive_datagram(data, "server", now)
            for event in self.device.events():
                if isinstance(event, RequestReceived):
                    self.requests.append(event.request)
                    observe = 1 if event.request.observe == 0 else None
                    content = event.request.code == codes.GET
                    response = (
                        Response(codes.CONTENT, b"42", 0, observe=observe)
                        if content
                        else Response(codes.CHANGED)
                    )
                    self.device.respond(event.exchange, response, now)


def connected(tmp_path: Path, binding: str = "T") -> tuple[World, Wire, Connection]:
    world = World(tmp_path)
    wire = Wire(world)
    world.core.endpoints.add(Connection, wire.server)
    peer = Connection("127.0.0.9", 4_711, NOSEC)
    query = ("ep=lamp-1", "lt=600", "lwm2m=1.1", f"b={binding}")
    request = Request(codes.POST, ("rd",), query, 40, None, None, LINKS)
    wire.device.send_request("server", request, world.clock.now_s)
    wire.settle(peer)
    return world, wire, peer


def test_a_device_on_another_transport_is_registered_commanded_and_observed(
    tmp_path: Path,
) -> None:
    world, wire, peer = connected(tmp_path)
    bridge = world.bridge()
    bridge.send(world.command("w1", "lamp-1"))
    bridge.send(world.command("o1", "lamp-1", "observe", "/3/0/9", format=0))
    for _ in range(3):
        wire.settle(peer)
    world.settle()
    assert bridge.outcomes()["w1"].succeeded
    assert bridge.outcomes()["o1"].succeeded
    bridge.send(world.command("c1", "lamp-1", "cancel_observation", "/3/0/9"))
    wire.settle(peer)
    world.settle()
    assert bridge.outcomes()["c1"].succeeded
    assert [request.observe for request in wire.requests] == [None, 0, 1]
    assert world.sent == []


def test_what_waits_for_a_connection_goes_over_the_next_one(tmp_path: Path) -> None:
    world, _, peer = connected(tmp_path)
    bridge = world.bridge()
    world.core.peer_gone(peer)
    bridge.send(world.command("w1", "lamp-1"))
    world.run_for(1)
    assert bridge.outcomes() == {}
    assert world.sent == []


def test_after_a_restart_a_device_without_udp_is_not_sent_datagrams(tmp_path: Path) -> None:
    world, _, _ = connected(tmp_path)
    world.restart()
    bridge = world.bridge()
    bridge.send(world.command("w1", "lamp-1", expires_in_s=5))
    world.run_for(10)
    assert bridge.outcomes()["w1"].error.stage == "expired"
    assert world.sent == []


def test_handles_of_several_endpoints_are_told_apart() -> None:
    def made(seed: int) -> CoapEndpoint:
        return CoapEndpoint(TransmissionParameters(), seeded_draw(seed))

    first, second = made(1), made(2)
    endpoints = Endpoints(first)
    endpoints.add(Connection, second)
    plain = endpoints.send_request(("127.0.0.1", 1), Request(codes.GET), 0.0)
    other = endpoints.send_request(
        Connection("127.0.0.1", 1, PeerSecurity("psk", "x")), Request(codes.GET), 0.0
    )
    assert plain != other
    assert endpoints.datagram_of(plain)
    assert endpoints.datagram_of(other) is None
    assert endpoints.message_id_of(other) is None
    due = endpoints.next_timer()
    assert due is not None
    endpoints.cancel(other, 0.0)
    ((number, (event,)),) = endpoints.events()
    assert number == 1
    assert endpoints.exchange_of(number, event.exchange) == other  # type: ignore[union-attr] # it failed


def test_there_is_an_end_to_endpoints() -> None:
    endpoints = Endpoints(CoapEndpoint(TransmissionParameters(), seeded_draw(1)))
    another = CoapEndpoint(TransmissionParameters(), seeded_draw(2))
    for _ in range(7):
        endpoints.add(Connection, another)
    with pytest.raises(ValueError, match="at most 8"):
        endpoints.add(Connection, another)
