"""Several endpoints as one: no exchange is taken for another's."""

from __future__ import annotations

import pytest

from harness.testing import seeded_draw
from lwm2m.coap import (
    CoapEndpoint,
    ExchangeFailed,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
)
from lwm2m.transport.peers import NOSEC
from lwm2m.transport.reliable import ReliableEndpoint, ReliablePeer
from lwm2m.transport.router import EndpointRouter

_DEVICE = ("127.0.0.2", 40_000)
_SERVER = ("127.0.0.1", 5_683)


class _World:
    """A router over UDP and TCP, and a device at the other end of each, by hand."""

    def __init__(self) -> None:
        parameters = TransmissionParameters()
        self.udp = CoapEndpoint(parameters, seeded_draw(1))
        self.tcp = ReliableEndpoint(parameters, seeded_draw(2))
        self.router = EndpointRouter(self.udp, [(ReliablePeer, self.tcp)])
        self.udp_device = CoapEndpoint(parameters, seeded_draw(3))
        self.tcp_device = ReliableEndpoint(parameters, seeded_draw(4))
        self.connection = ReliablePeer("127.0.0.2", 40_001, NOSEC)
        self.uplink = ReliablePeer("127.0.0.1", 5_683, NOSEC)
        self.tcp.connect(self.connection, 0.0)
        self.tcp_device.connect(self.uplink, 0.0)
        self.carry()

    def carry(self) -> None:
        """Carry everything both ways, until it is quiet."""
        busy = True
        while busy:
            busy = False
            for source, target, address in (
                (self.udp, self.udp_device, _SERVER),
                (self.udp_device, self.udp, _DEVICE),
            ):
                for data, _ in source.datagrams_to_send():
                    target.receive_datagram(data, address, 0.0)
                    busy = True
            for near, far, peer in (
                (self.tcp, self.tcp_device, self.uplink),
                (self.tcp_device, self.tcp, self.connection),
            ):
                for _, data in near.take_output():
                    far.receive_bytes(peer, data, 0.0)
                    busy = True


def test_requests_and_answers_find_their_endpoint_in_both_directions() -> None:
    world = _World()
    world.udp_device.send_request(_SERVER, Request(codes.POST, ("rd",), ("ep=udp",)), 0.0)
    world.tcp_device.send_request(world.uplink, Request(codes.POST, ("rd",), ("ep=tcp",)), 0.0)
    world.carry()
    received = [event for event in world.router.events() if isinstance(event, RequestReceived)]
    assert [event.peer for event in received] == [_DEVICE, world.connection]
    assert len({event.exchange for event in received}) == 2
    for event in received:
        answer = Response(codes.CREATED, payload=event.request.query[0].encode())
        world.router.respond(event.exchange, answer, 0.0)
    world.carry()
    for device, name in ((world.udp_device, b"ep=udp"), (world.tcp_device, b"ep=tcp")):
        [event] = [found for found in device.events() if isinstance(found, ResponseReceived)]
        assert event.response.payload == name
    handles = [
        world.router.send_request(event.peer, Request(codes.GET, ("3",)), 0.0) for event in received
    ]
    assert len(set(handles)) == 2
    world.carry()
    for device in (world.udp_device, world.tcp_device):
        for event in device.events():
            assert isinstance(event, RequestReceived)
            device.respond(event.exchange, Response(codes.CONTENT, b"here"), 0.0)
    world.carry()
    told = [event for event in world.router.events() if isinstance(event, ResponseReceived)]
    assert [event.exchange for event in told] == handles


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_observations_are_notified_and_ended_through_their_endpoint(kind: str) -> None:
    world = _World()
    peer = _DEVICE if kind == "udp" else world.connection
    device = world.udp_device if kind == "udp" else world.tcp_device
    handle = world.router.send_request(peer, Request(codes.GET, ("3",), observe=0), 0.0)
    world.carry()
    [asked] = [event for event in device.events() if isinstance(event, RequestReceived)]
    device.respond(asked.exchange, Response(codes.CONTENT, b"1", observe=1), 0.0)
    world.carry()
    device.notify(asked.exchange, Response(codes.CONTENT, b"2", observe=2), 0.0, confirmable=True)
    world.carry()
    told = [event for event in world.router.events() if isinstance(event, ResponseReceived)]
    assert [(event.exchange, event.response.payload) for event in told] == [
        (handle, b"1"),
        (handle, b"2"),
    ]
    ending = world.router.end_observation(handle, 0.0)
    assert ending != handle
    world.carry()
    assert any(isinstance(event, RequestReceived) for event in device.events())


def test_a_router_observed_itself_notifies_and_gives_up() -> None:
    world = _World()
    world.tcp_device.send_request(world.uplink, Request(codes.GET, ("3",), observe=0), 0.0)
    world.carry()
    [asked] = world.router.events()
    assert isinstance(asked, RequestReceived)
    world.router.respond(asked.exchange, Response(codes.CONTENT, b"1", observe=1), 0.0)
    world.router.notify(asked.exchange, Response(codes.CONTENT, b"2", observe=2), 0.0)
    world.router.cancel(asked.exchange, 0.0)
    assert world.router.events() == [ExchangeFailed(world.connection, asked.exchange, "cancelled")]
    world.carry()
    assert len(world.tcp_device.events()) == 2
    world.router.forget_peer(world.connection, 0.0)
    world.router.forget_peer(_DEVICE, 0.0)
    assert world.tcp.take_closing() == [world.connection]


def test_the_next_timer_is_the_earliest_of_all() -> None:
    world = _World()
    world.router.send_request(world.connection, Request(codes.GET, ("3",)), 0.0)
    world.router.send_request(_DEVICE, Request(codes.GET, ("3",)), 0.0)
    due = world.router.next_timer()
    assert due == world.udp.next_timer()
    world.router.handle_timer(1_000.0)
    assert len([event for event in world.router.events() if isinstance(event, ExchangeFailed)]) == 1
