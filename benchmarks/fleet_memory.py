"""What a simulated device weighs, and what it costs.

    python -m benchmarks.fleet_memory [--devices 100000] [--dtls-devices 20000] [--mqtt-devices 500]

Devices of all models through the fleet's own assembly, against servers in processes of their own
that answer and remember nothing (`fleet_peers`). Prints one JSON line: bytes a device by growth of
the process's resident memory when built, registered, with a DTLS-PSK session, connected by MQTT
over mutual TLS (`further_bytes`: of each beyond the first fourth); and CPU microseconds of the
fleet's process per device built, per start with its Register, per Update at 5,000, 10,000 and
20,000 devices with the same rate, per command, per pack and per connection. Every measurement has a
fresh process.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import os
import platform
import random
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import uvloop

from benchmarks.child_process import ended, under
from benchmarks.fleet_peers import PSK, Authority, lwm2m_server, mqtt_server, resident_bytes
from fake_devices.device import Device, Moment
from fake_devices.devices import MODELS
from fake_devices.fleet.arrivals import arrival_order
from fake_devices.fleet.assembly import assembled
from fake_devices.fleet.building import make_devices
from fake_devices.fleet.config import FleetConfig, read_devices
from fake_devices.fleet.fleet import Fleet
from lwm2m.coap import Request, codes
from lwm2m.codecs import Node, content_formats, encode_payload
from lwm2m.objects import ObjectLink, ObjectPath, Value
from runtime.clock import SystemClock
from runtime.journal import NoJournal

Figures = dict[str, float]
_STARTS_PER_S = 2_500.0
# All within a hundred seconds, however many.
_STARTS_WITHIN_S = 100.0
_DTLS_STARTS_PER_S = 1_000.0
_UPDATES_PER_S = 2_000.0
_CONNECTIONS_PER_S = 200.0
_COMMANDS = 2_000
_WAIT_S = 120.0


class Run(NamedTuple):
    """A fleet that is up, its devices in order of their numbers, and what building it took."""

    fleet: Fleet
    devices: Sequence[Device]
    config: FleetConfig
    built_bytes: int
    built_cpu_s: float


@contextmanager
def devices_file(count: int, *, has_keys: bool = False) -> Iterator[str]:
    """A file of so many devices, all models in turn."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "devices.jsonl"
        path.touch(0o600)
        models = list(MODELS)
        with path.open("w") as file:
            for number in range(count):
                line: dict[str, object] = {
                    "endpoint": f"urn:dev:ops:32473-lamp-{number:07d}",
                    "serial": f"SN{number:010d}",
                    "model": models[number % len(models)],
                    "latitude": 52.0 + number % 977 / 9_770,
                    "longitude": 4.3 + number % 1_009 / 10_090,
                }
                if has_keys:
                    line |= {"psk_identity": line["endpoint"], "psk": PSK.hex()}
                file.write(json.dumps(line) + "\n")
        yield str(path)


@asynccontextmanager
async def fleet_up(config: FleetConfig) -> AsyncIterator[Run]:
    """The fleet as its process builds it."""
    clock = SystemClock()
    gc.collect()
    before, cpu_s = resident_bytes(), time.process_time()
    lines = arrival_order(read_devices(Path(config.devices_file)), config.seed)
    made: list[Device] = []

    def make(peers: Sequence[Hashable]) -> Sequence[Device]:
        made.extend(make_devices(config, lines, peers, clock, NoJournal()))
        return made

    async with assembled(config, clock, len(lines), make) as (fleet, _):
        built_cpu_s = time.process_time() - cpu_s
        lines.clear()
        gc.collect()
        gc.freeze()
        try:
            yield Run(fleet, made, config, resident_bytes() - before, built_cpu_s)
        finally:
            fleet.end()


async def _until(is_so: Callable[[], bool], within_s: float = _WAIT_S) -> None:
    async with asyncio.timeout(within_s):
        while not is_so():  # noqa: ASYNC110  # the fleet counts, and tells nobody when
            await asyncio.sleep(0.05)


async def _until_all(fleet: Fleet, name: str, count: int, within_s: float = _WAIT_S) -> None:
    await _until(lambda: getattr(fleet.counts, name) >= count, within_s)


async def _register(run: Run, rate_per_s: float) -> Figures:
    """Switch all on; bytes and CPU a device from there to its registration."""
    count = len(run.devices)
    before, cpu_s, began_s = resident_bytes(), time.process_time(), time.monotonic()
    run.fleet.start(rate_per_s)
    await _until_all(run.fleet, "registered", count, 4 * count / rate_per_s + _WAIT_S)
    cpu_s = time.process_time() - cpu_s
    return {
        "devices": count,
        "built_s": round(run.built_cpu_s, 1),
        "registered_s": round(time.monotonic() - began_s, 1),
        "build_cpu_us": round(run.built_cpu_s / count * 1e6, 1),
        "built_bytes": round(run.built_bytes / count),
        "start_and_register_cpu_us": round(cpu_s / count * 1e6, 1),
        "registered_bytes": round((run.built_bytes + resident_bytes() - before) / count),
    }


async def measure_memory(config: FleetConfig, rate_per_s: float) -> Figures:
    """Bytes and CPU a device, built and registered."""
    async with fleet_up(config) as run:
        return await _register(run, rate_per_s) | _commands(run)


async def measure_updates(config: FleetConfig, rounds: int) -> Figures:
    """CPU of each start and Update; every device sends `rounds` Updates, half a lifetime apart."""
    async with fleet_up(config) as run:
        found = await _register(run, _UPDATES_PER_S)
        cpu_s, idle_s = time.process_time(), config.lifetime_s / 2 * rounds
        await asyncio.sleep(idle_s)
        cpu_s = time.process_time() - cpu_s
        updates = len(run.devices) * rounds
        found["update_cpu_us"] = round(cpu_s / updates * 1e6, 1)
        return found


def _commands(run: Run) -> Figures:
    """CPU of the first Read and of the next of one device, and of a Write, without the network."""
    uri, clock = run.config.server, SystemClock()
    lamps = [each for each in run.devices if each.model.name == "street_lamp"][:_COMMANDS]
    requests = {
        "first_read_cpu_us": Request(codes.GET, ("3", "0")),
        "read_cpu_us": Request(codes.GET, ("3", "0")),
        "write_cpu_us": Request(
            codes.PUT, ("3416", "0", "1"), content_format=content_formats.TEXT, payload=b"40"
        ),
    }
    found: Figures = {}
    for name, request in requests.items():
        moment = Moment(clock.now_ns(), clock.wall_us())
        before, cpu_s = resident_bytes(), time.process_time()
        for lamp in lamps:
            response = lamp.serve(request, 1, 1, lamp.account_at(uri), moment)
            assert response.code in (codes.CONTENT, codes.CHANGED), response
            lamp.take_actions()
        found[name] = round((time.process_time() - cpu_s) / len(lamps) * 1e6, 1)
        if name == "first_read_cpu_us":
            found["read_bytes"] = round((resident_bytes() - before) / len(lamps))
    return found


async def measure_mqtt(config: FleetConfig, port: int, pipe: Connection, ca: Authority) -> Figures:
    """Bytes of a connected device, CPU of each first and each repeated connection and pack."""
    count = len(read_devices(Path(config.devices_file)))
    keys = [ca.issue(f"device-{number}") for number in range(count)]
    async with fleet_up(config) as run:
        await _register(run, _STARTS_PER_S)
        before, cpu_s = resident_bytes(), time.process_time()
        for number, device in enumerate(run.devices):
            account = _account(port, device.identity.endpoint, keys[number], ca.certificate)
            _bootstrap(run, number, device, account)
            await asyncio.sleep(1 / _CONNECTIONS_PER_S)
        await _until_all(run.fleet, "connected", count)
        counts, connected_s = run.fleet.counts, time.process_time() - cpu_s
        found: Figures = {"devices": count}
        found["connected_bytes"] = round((run.built_bytes + resident_bytes() - before) / count)
        early = counts.packs_acknowledged
        found |= await _packs(run)
        pack_s = found["pack_cpu_us"] / 1e6
        found["connect_cpu_us"] = round((connected_s - early * pack_s) / count * 1e6)
        pipe.send("cut")
        cpu_s, packs = time.process_time(), counts.packs_acknowledged
        await _until(lambda: counts.connected < count)
        await _until_all(run.fleet, "connected", count)
        packs = counts.packs_acknowledged - packs
        reconnected_s = time.process_time() - cpu_s - packs * pack_s
        found["reconnect_cpu_us"] = round(reconnected_s / count * 1e6)
        return found


async def _packs(run: Run) -> Figures:
    began, cpu_s = run.fleet.counts.packs_acknowledged, time.process_time()
    await asyncio.sleep(5 * run.config.report_every_s)
    packs = run.fleet.counts.packs_acknowledged - began
    return {
        "pack_cpu_us": round((time.process_time() - cpu_s) / packs * 1e6, 1),
        "packs_per_s": round(packs / (5 * run.config.report_every_s)),
    }


def _account(port: int, endpoint: str, keys: Any, authority: bytes) -> dict[int, Value]:
    return {
        0: f"mqtts://127.0.0.1:{port}", 1: endpoint, 2: True, 3: 600, 6: 2,
        7: keys.certificate, 8: authority, 9: keys.key, 10: 2,
    }  # fmt: skip


def _bootstrap(run: Run, number: int, device: Device, account: dict[int, Value]) -> None:
    """What the platform writes: the broker, and one publication."""
    publication: dict[int, Value] = {
        0: "", 1: ObjectLink(18830, 0), 2: f"devices/{device.identity.endpoint}/state",
        3: 1, 4: False, 5: True, 6: 112,
    }  # fmt: skip
    clock = SystemClock()
    server = device.account_at(run.config.server)
    for instance, values in ((ObjectPath(18830, 0), account), (ObjectPath(18831, 0), publication)):
        nodes = [Node(instance.child(each), value) for each, value in values.items()]
        payload = encode_payload(
            content_formats.TLV, instance.object, nodes, device.tree.template.models
        )
        request = Request(
            codes.POST,
            instance.object.segments,
            content_format=content_formats.TLV,
            payload=payload,
        )
        moment = Moment(clock.now_ns(), clock.wall_us())
        response = device.serve(request, 1, 1, server, moment)
        assert response.code == codes.CREATED, response
    run.fleet.attend(number)


def _config(server: str, file: str, **more: Any) -> FleetConfig:
    given = {"lifetime_s": 86_400, "object_links_delay_s": 3_600.0} | more
    return msgspec.convert({"devices_file": file, "server": server, **given}, FleetConfig)


def _in_process(pipe: Connection, name: str, count: int) -> None:
    """One measurement; its figures go into the pipe."""
    random.seed(0)
    pipe.send(_MEASUREMENTS[name](count))


def _plain(count: int) -> Figures:
    with lwm2m_server(is_secure=False) as uri, devices_file(count) as file:
        rate_per_s = max(_STARTS_PER_S, count / _STARTS_WITHIN_S)
        return uvloop.run(measure_memory(_config(uri, file), rate_per_s))


def _secure(count: int) -> Figures:
    with lwm2m_server(is_secure=True) as uri, devices_file(count, has_keys=True) as file:
        return uvloop.run(measure_memory(_config(uri, file), _DTLS_STARTS_PER_S))


def _updates(count: int) -> Figures:
    # The same Updates a second whatever the number of devices.
    lifetime_s = max(2, round(count / _UPDATES_PER_S * 2))
    with lwm2m_server(is_secure=False) as uri, devices_file(count) as file:
        return uvloop.run(measure_updates(_config(uri, file, lifetime_s=lifetime_s), 2))


def _mqtt(count: int) -> Figures:
    authority = Authority()
    with (
        lwm2m_server(is_secure=False) as uri,
        mqtt_server(authority) as (port, pipe),
        devices_file(count) as file,
    ):
        config = _config(uri, file, report_every_s=1.0, city_offset_s=0.0)
        return uvloop.run(measure_mqtt(config, port, pipe, authority))


# 20,000 devices over DTLS take a quarter of it.
WITHIN_S = 1_800.0
_MEASUREMENTS = {"lwm2m": _plain, "dtls": _secure, "updates": _updates, "mqtt_tls": _mqtt}


def measured(name: str, count: int) -> Figures:
    """The figures of one measurement in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    told = (os.getpid(), _in_process, theirs, name, count)
    process = context.Process(target=under, args=told)
    process.start()
    theirs.close()
    try:
        if not ours.poll(WITHIN_S):
            raise SystemExit(f"the measurement {name!r} took longer than {WITHIN_S:g} s")
        found: Figures = ours.recv()
    except EOFError:
        raise SystemExit(f"the measurement {name!r} failed") from None
    finally:
        ended(process)
    return found


def with_further(name: str, count: int, field: str) -> Figures:
    """The figures of `count` devices, and `further_bytes`: what each weighs beyond a fourth of
    them, which leaves out what the process has once (contexts, buffers, the libraries' own)."""
    few = count // 4
    if not few:
        return measured(name, count)
    some, found = measured(name, few), measured(name, count)
    further = (found[field] * count - some[field] * few) / (count - few)
    return found | {"further_bytes": round(further)}


def main() -> None:
    """Run all and print the line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--devices", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--dtls-devices", type=int, default=20_000)
    parser.add_argument("--mqtt-devices", type=int, default=500)
    parser.add_argument("--updating-devices", type=int, nargs="*", default=[5_000, 10_000, 20_000])
    told = parser.parse_args()
    line: dict[str, Any] = {"benchmark": "fleet_memory"}
    line["lwm2m"] = [measured("lwm2m", count) for count in told.devices if count]
    if told.dtls_devices:
        line["dtls"] = with_further("dtls", told.dtls_devices, "registered_bytes")
    if told.mqtt_devices:
        line["mqtt_tls"] = with_further("mqtt_tls", told.mqtt_devices, "connected_bytes")
    line["updates"] = [measured("updates", count) for count in told.updating_devices]
    line["conditions"] = {
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "machine": platform.machine(),
    }
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
