"""A power cut through fleet processes that share a run, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import Counter

import msgspec
import pytest

from contracts.journal import Record
from contracts.load import DevicePowerLost, DevicePowerRestored
from lwm2m.coap import (
    CoapEndpoint,
    RequestReceived,
    Response,
    TransmissionParameters,
    codes,
)
from lwm2m.transport import EndpointDriver, open_udp
from runtime.clock import SystemClock
from tests.processes import WITHIN_S

DEVICES, PROCESSES = 8, 3
OUTAGE_S, RETURN_WITHIN_S = 0.6, 1.0


class Server:
    """Takes every registration; notes who registered when."""

    def __init__(self):
        self.registers = []
        self._changed = asyncio.Event()
        self._driver = EndpointDriver(
            CoapEndpoint(TransmissionParameters(), lambda count: bytes(count)), self._serve
        )

    async def open(self):
        link = await open_udp("127.0.0.1", 0, self._driver.receive_datagrams)
        self._driver.attach(link)
        return link.address[1]

    async def until(self, registers):
        while len(self.registers) < registers:
            self._changed.clear()
            await self._changed.wait()

    def close(self):
        self._driver.close()

    def _serve(self, events):
        for event in events:
            if isinstance(event, RequestReceived):
                self.registers.append((event.request.query[0], SystemClock().now_ns()))
                location = ("rd", str(len(self.registers)))
                self._driver.respond(
                    event.exchange, Response(codes.CREATED, location_path=location)
                )
                self._changed.set()


class FleetProcess:
    """One of several processes of a run; `registered` is what it told last."""

    def __init__(self, process, journal):
        self._process = process
        self.journal = journal
        self.registered = -1
        self.changed = asyncio.Event()
        self.hearing = asyncio.ensure_future(self._hear())

    @classmethod
    async def start(cls, number, port, folder):
        devices, journal = folder / f"devices-{number}.jsonl", folder / f"journal-{number}.jsonl"
        with devices.open("w") as file:
            for device in range(DEVICES):
                name = f"lamp-{number}-{device}"
                line = {"endpoint": name, "serial": name, "model": "street_lamp"}
                file.write(json.dumps(line | {"latitude": 52, "longitude": 4}) + "\n")
        config = {
            "devices_file": str(devices),
            "server": f"coap://127.0.0.1:{port}",
            "share_first": number,
            "share_of": PROCESSES,
            "first_address": number * DEVICES,
            "process": f"fleet-{number}",
            "journal_file": str(journal),
            "progress_every_s": 0.05,
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "fake_devices.fleet", "--config", "-"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        found = cls(process, journal)
        found.tell(config)
        return found

    def tell(self, message):
        self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def until(self, registered):
        while self.registered != registered:
            self.changed.clear()
            await self.changed.wait()

    async def end(self):
        self.tell({"end": {}})
        await self._process.wait()
        await self.hearing

    def records(self, kind):
        lines = self.journal.read_bytes().splitlines()
        found = [msgspec.json.decode(line, type=Record) for line in lines]
        return [each for each in found if isinstance(each, kind)]

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _hear(self):
        while line := await self._process.stdout.readline():
            message = json.loads(line)
            if "ready" in message:
                self.registered = 0
            elif "progress" in message:
                self.registered = message["progress"]["registered"]
            self.changed.set()


async def play(folder):
    """Everyone registers; the power is cut; everyone is back. The processes, ended, the server,
    and when the cut was meant to be."""
    server = Server()
    port = await server.open()
    fleets = [await FleetProcess.start(number, port, folder) for number in range(PROCESSES)]
    try:
        async with asyncio.timeout(2 * WITHIN_S):
            await asyncio.gather(*(fleet.until(0) for fleet in fleets))
            for fleet in fleets:
                fleet.tell({"start": {"rate_per_s": 100.0}})
            await asyncio.gather(*(fleet.until(DEVICES) for fleet in fleets))
            began_ns = SystemClock().now_ns() + 200_000_000
            cut = {"outage_s": OUTAGE_S, "return_within_s": RETURN_WITHIN_S, "began_ns": began_ns}
            for fleet in fleets:
                fleet.tell({"cut_power": cut})
            # What they tell of their progress could pass over the moment in which nobody is there.
            await server.until(2 * PROCESSES * DEVICES)
            await asyncio.gather(*(fleet.end() for fleet in fleets))
    finally:
        for fleet in fleets:
            fleet.kill()
        server.close()
    return fleets, server, began_ns


@pytest.mark.slow
def test_everyone_goes_dark_at_once_and_returns_within_the_window(tmp_path):
    fleets, server, began_ns = asyncio.run(play(tmp_path))
    lost = [record for fleet in fleets for record in fleet.records(DevicePowerLost)]
    back = [record for fleet in fleets for record in fleet.records(DevicePowerRestored)]
    everyone = {f"lamp-{n}-{device}" for n in range(PROCESSES) for device in range(DEVICES)}
    assert Counter(each.endpoint for each in lost) == Counter(everyone)
    assert Counter(each.endpoint for each in back) == Counter(everyone)
    assert {each.intended_at_ns for each in lost} == {began_ns}

    # The processes share the window: together their returns are as even as one fleet's.
    returns_s = sorted((each.intended_at_ns - began_ns) / 1e9 for each in back)
    gap_s = RETURN_WITHIN_S / len(everyone)
    expected = [OUTAGE_S + (number + 0.5) * gap_s for number in range(len(everyone))]
    assert returns_s == pytest.approx(expected, abs=1e-6)

    # The server heard everyone twice, and the second time not before it was meant.
    assert Counter(name for name, _ in server.registers) == {f"ep={e}": 2 for e in everyone}
    intended = {f"ep={each.endpoint}": each.intended_at_ns for each in back}
    again = server.registers[len(everyone) :]
    assert all(at_ns >= intended[name] for name, at_ns in again)
