"""What it costs a fleet to have a device set up: Register, and the two Creates of its MQTT account.

    python -m benchmarks.device_setup [--devices 400]

Devices of all models and a server that asks them what a bridge has its server ask, in one process,
without sockets, timers and journal. Prints one JSON line: CPU microseconds and bytecode steps of
the fleet's side, a device. Steps come out the same on a busy machine; their count is taken apart,
since counting slows the rest down.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

from benchmarks.fleet_memory import devices_file
from contracts.credentials import ENCODING_SENML_CBOR, SECURITY_MODE_CERTIFICATE
from contracts.presence import ENCODING_JSON, PRESENCE_SOURCE
from fake_devices.device import device_models
from fake_devices.fleet.addresses import SharedPeers
from fake_devices.fleet.arrivals import arrival_order
from fake_devices.fleet.building import make_devices
from fake_devices.fleet.coap_side import FleetDriver
from fake_devices.fleet.config import FleetConfig, read_devices
from fake_devices.fleet.fleet import Fleet
from fake_devices.fleet.peers import PeerBook
from lwm2m.coap import (
    CoapEndpoint,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
)
from lwm2m.codecs import Node, content_formats, encode_payload
from lwm2m.objects import ObjectLink, ObjectPath, Value
from runtime.clock import SystemClock
from runtime.journal import NoJournal

Datagrams = Sequence[tuple[bytes, Hashable]]
_SERVER: Final = "coap://127.0.0.1:5683"
_BROKER, _PUBLICATION = ObjectPath(18830), ObjectPath(18831)
# Set up at once; so many that a turn of the loop has several of them to deal with.
_AT_ONCE: Final = 10
_CERTIFICATE_BYTES, _KEY_BYTES = 560, 138


class _Link:
    """Keeps what the fleet sends."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Hashable]] = []

    def send(self, datagrams: Datagrams) -> None:
        self.sent += datagrams

    def take(self) -> Datagrams:
        sent, self.sent = self.sent, []
        return sent

    def close(self) -> None:
        """Nothing is open."""


class Steps:
    """Counts bytecode steps while it is the tracer of this thread."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> Steps:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self.count += event == "opcode"
        return self

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count in this block; whoever traced before goes on afterwards."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            yield
        finally:
            sys.settrace(before)


class Setup:
    """A fleet, and the server that sets its devices up."""

    def __init__(self, fleet: Fleet, driver: FleetDriver, link: _Link) -> None:
        self.fleet = fleet
        self._driver = driver
        self._link = link
        self._models = device_models("1.1")
        self._server = CoapEndpoint(TransmissionParameters(), random.Random("server").randbytes)
        self._left: dict[Hashable, Iterator[Request]] = {}
        self.codes: list[str] = []
        self.cpu_s = 0.0
        self.steps = Steps()

    def set_up(self, numbers: Sequence[int], *, counts_steps: bool = False) -> None:
        """Switch these devices on and set them up."""

        def switch_on() -> None:
            for number in numbers:
                self.fleet.switch_on(number, 0)

        self._measure(switch_on, counts_steps)
        # What they said waits for the end of the turn; there is no other turn here.
        self._measure(lambda: self._driver.receive_datagrams(()), counts_steps)
        while sent := self._link.take():
            answers = self._serve(sent)
            self._measure(lambda got=answers: self._driver.receive_datagrams(got), counts_steps)

    def _measure(self, work: Callable[[], None], counts_steps: bool) -> None:
        if counts_steps:
            with self.steps.counted():
                work()
            return
        began_s = time.process_time()
        work()
        self.cpu_s += time.process_time() - began_s

    def _serve(self, sent: Datagrams) -> Datagrams:
        server, now = self._server, self._driver.now()
        server.receive_datagrams(sent, now)
        for event in server.events():
            if isinstance(event, RequestReceived):
                name = event.request.query[0].removeprefix("ep=")
                location = hashlib.sha256(name.encode()).hexdigest()[:8]
                created = Response(codes.CREATED, location_path=("rd", location))
                server.respond(event.exchange, created, now)
                self._left[event.peer] = self._requests(name)
            elif isinstance(event, ResponseReceived):
                self.codes.append(codes.code_text(event.response.code))
            else:
                raise TypeError(f"the fleet made of a request {event}")
            request = next(self._left[event.peer], None)
            if request is not None:
                server.send_request(event.peer, request, now)
        return server.datagrams_to_send()

    def _requests(self, name: str) -> Iterator[Request]:
        random_bytes = random.Random(name).randbytes
        broker: dict[int, Value] = {
            0: "mqtts://127.0.0.1:8883",
            1: name,
            2: False,
            3: 300,
            6: SECURITY_MODE_CERTIFICATE,
            7: random_bytes(_CERTIFICATE_BYTES),
            8: random_bytes(_CERTIFICATE_BYTES),
            9: random_bytes(_KEY_BYTES),
            10: 2,
        }
        yield self._create(_BROKER, [broker])
        streams = [
            ("</3303/0>,</3416/0>", f"devices/{name}/state", ENCODING_SENML_CBOR),
            ("</3303/0>,</3416/0>", f"devices/{name}/alarm", ENCODING_SENML_CBOR),
            (PRESENCE_SOURCE, f"devices/{name}/presence", ENCODING_JSON),
        ]
        yield self._create(
            _PUBLICATION,
            [
                {0: source, 1: ObjectLink(18830, 0), 2: topic, 3: 1, 4: False, 5: True, 6: encoding}
                for source, topic, encoding in streams
            ],
        )

    def _create(self, base: ObjectPath, instances: Sequence[dict[int, Value]]) -> Request:
        nodes = [
            Node(base.child(number).child(resource), value)
            for number, values in enumerate(instances)
            for resource, value in values.items()
        ]
        pack = encode_payload(content_formats.SENML_CBOR, base, nodes, self._models)
        return Request(
            codes.POST, base.segments, content_format=content_formats.SENML_CBOR, payload=pack
        )


@asynccontextmanager
async def setup_of(devices: int) -> AsyncIterator[Setup]:
    """A fleet of so many devices that are off, with its server."""
    clock = SystemClock()
    with devices_file(devices) as name:
        config = FleetConfig(devices_file=name, server=_SERVER, seed=7, connects=False)
        lines = arrival_order(read_devices(Path(name)), config.seed)
    peers = SharedPeers("127.0.0.1", 5683, devices)
    endpoint = CoapEndpoint(TransmissionParameters(), random.Random("fleet").randbytes)
    fleets: list[Fleet] = []
    driver = FleetDriver(endpoint, lambda events: fleets[0].handle_coap_events(events))
    link = _Link()
    driver.attach(link)
    fleet = Fleet(
        make_devices(config, lines, peers, clock, NoJournal()),
        PeerBook(config.server, "127.0.0.1", peers, is_shared=True),
        driver,
        clock,
        in_flight_max=config.in_flight_max,
        starts_per_turn_max=config.starts_per_turn_max,
    )
    fleets.append(fleet)
    try:
        yield Setup(fleet, driver, link)
    finally:
        fleet.end()
        driver.close()


async def measure(devices: int) -> dict[str, float]:
    """CPU microseconds and steps a device; the first few are set up before, and the last few
    counted."""
    firsts = range(0, devices + 2 * _AT_ONCE, _AT_ONCE)
    groups = [range(first, first + _AT_ONCE) for first in firsts]
    async with setup_of(len(groups) * _AT_ONCE) as setup:
        setup.set_up(groups[0])
        setup.cpu_s = 0.0
        for group in groups[1:-1]:
            setup.set_up(group)
        setup.set_up(groups[-1], counts_steps=True)
    measured = (len(groups) - 2) * _AT_ONCE
    return {
        "devices": measured,
        "cpu_us": round(setup.cpu_s / measured * 1e6, 1),
        "steps": round(setup.steps.count / _AT_ONCE),
    }


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--devices", type=int, default=400)
    found = asyncio.run(measure(parser.parse_args().devices))
    sys.stdout.write(json.dumps({"benchmark": "device_setup", **found}) + "\n")


if __name__ == "__main__":
    main()
