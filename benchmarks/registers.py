"""The load of Registers that measurements of transports have in common, and what answers it.

A fleet of 1,000 devices with an address each, in turn, over whatever link is attached; each answer
is checked: its code, and its location, which the answering side makes of the endpoint name that it
was asked with, so that an answer that met another request's token or peer shows.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Hashable, Iterable

from lwm2m.coap import (
    CoapEndpoint,
    Event,
    Request,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
)
from lwm2m.coap.plain import read_plain_request
from lwm2m.registration.plain_register import split_register
from lwm2m.transport import EndpointDriver
from lwm2m.transport.driver import HandleEvents

DEVICES = 1_000
OBJECTS = (1, 3, 4, 5, 6, 7, 3301, 3303, 3304, 3311, 3416, 3417, 3418)
LINKS = b",".join(b"</%d/0>" % number for number in OBJECTS)
# What follows the endpoint name.
PARAMETERS = ("lt=86400", "lwm2m=1.1", "b=U")
# The location of a registration up to its id, by the length of that: Location-Path twice (RFC 7252
# §3.1); names here have less than 13 bytes.
_LOCATIONS = tuple(b"\x82rd" + bytes([length]) for length in range(13))
_NONE = (b"", b"")


def device_name(number: int) -> str:
    """The endpoint name of a device."""
    return f"lamp-{number:06d}"


def local_address(number: int) -> str:
    """The loopback address of a device."""
    return f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def answer_registers() -> EndpointDriver:
    """A CoAP endpoint, still without a link, that answers each Register with Created."""
    return _AnsweringDriver(CoapEndpoint(TransmissionParameters(), os.urandom), lambda events: None)


class _AnsweringDriver(EndpointDriver):
    """Answers as the server emulator does what looks as most requests do: as soon as it is read."""

    def __init__(self, endpoint: CoapEndpoint, handle_events: HandleEvents) -> None:
        super().__init__(endpoint, handle_events)
        self._known: set[bytes] = set()

    def receive_datagrams(self, datagrams: Iterable[tuple[bytes, Hashable]]) -> None:
        """See `EndpointDriver.receive_datagrams`."""
        now, endpoint, known = self.now(), self.endpoint, self._known
        take, answer = endpoint.take_request, endpoint.answer_request
        for data, peer in datagrams:
            name, tail = split_register(data) or _NONE
            if not (tail in known or self._understands(data, tail)):
                endpoint.receive_datagram(data, peer, now)
                continue
            taken = take(data, peer, now)
            if taken is not None:
                answer(taken, data, codes.CREATED, _LOCATIONS[len(name)] + name)
        self._flush()

    def _understands(self, data: bytes, tail: bytes) -> bool:
        """Whether what follows the name is in order: read once, and then known by its bytes."""
        if not tail or read_plain_request(data) is None:
            return False
        self._known.add(tail)
        return True


class Registers:
    """Registers device after device, `outstanding` exchanges at a time, over `driver`'s link."""

    def __init__(self, server: tuple[str, int], outstanding: int) -> None:
        self._outstanding = outstanding
        # Each device keeps its Register, and what is the only right answer to it.
        self._devices: list[tuple[Hashable, Request]] = []
        self._answers: dict[Hashable, Response] = {}
        for number in range(DEVICES):
            peer, name = (local_address(number), *server), device_name(number)
            query = (f"ep={name}", *PARAMETERS)
            self._devices.append((peer, Request(codes.POST, ("rd",), query, 40, payload=LINKS)))
            self._answers[peer] = Response(codes.CREATED, location_path=("rd", name))
        self.endpoint = CoapEndpoint(TransmissionParameters(), os.urandom)
        self.driver = EndpointDriver(self.endpoint, self._handle)
        self.failed = 0
        self._begun = self._ended = self._count = 0
        self._done: asyncio.Future[None] | None = None

    async def run(self, count: int) -> None:
        """So many exchanges."""
        self._begun = self._ended = 0
        self._count = count
        self._done = asyncio.get_running_loop().create_future()
        self._send_more(self._outstanding)
        self.driver.flush_soon()
        await self._done

    def _send_more(self, count: int) -> None:
        now, send, devices = self.driver.now(), self.endpoint.send_request, self._devices
        begun = self._begun
        self._begun = min(begun + count, self._count)
        for number in range(begun, self._begun):
            peer, request = devices[number % DEVICES]
            send(peer, request, now)

    def _handle(self, events: list[Event]) -> None:
        answers = self._answers
        for event in events:
            if not (isinstance(event, ResponseReceived) and event.response == answers[event.peer]):
                self.failed += 1
        self._ended += len(events)
        self._send_more(len(events))
        if self._ended == self._count and self._done is not None and not self._done.done():
            self._done.set_result(None)
