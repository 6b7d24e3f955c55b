"""A whole fleet on loopback: it registers, gets credentials, connects, reports, and ends."""

import asyncio
import json
import os
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from contracts.journal import (
    CredentialsActivated,
    DeviceConnected,
    DeviceEnded,
    DeviceRegistered,
    DeviceStarted,
    DownlinkServed,
    LoopSample,
    PackAcknowledged,
    PackGenerated,
    PackSent,
)
from contracts.load import DevicePowerLost, DevicePowerRestored, FleetBuilt, LagSample
from contracts.schedule import ScheduledEvent, ScheduleHeader, encode_event, encode_header
from fake_devices.devices import MODELS
from fake_devices.fleet import FleetConfig, IncidentConfig, run_fleet
from lwm2m.coap import codes
from runtime.clock import SystemClock
from runtime.component import ConfigError
from tests.fake_devices.fleet.played_fleet import of, read_journal
from tests.processes import WITHIN_S

DEVICES = 10


def write_devices(path: Path, count: int = DEVICES) -> str:
    models = sorted(MODELS)
    lines = [
        {
            "endpoint": f"device-{number:02d}",
            "serial": f"S{number}",
            "model": models[number % len(models)],
            "latitude": 52.0,
            "longitude": 4.0,
        }
        for number in range(count)
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return str(path)


class Starter:
    """Whoever started the fleet: sends lines and hears what it says."""

    def __init__(self, moved):
        self.lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.ready = False
        self.progress: dict[str, int] = {}
        self.quiet: dict[str, int] | None = None
        self._moved = moved

    def tell(self, **command):
        self.lines.put_nowait(json.dumps(command).encode())

    def hear(self, message):
        self.progress = message.get("progress", self.progress)
        self.quiet = message.get("quiet", self.quiet)
        self._moved.set()

    def hear_ready(self, addresses):
        self.ready = True
        self._moved.set()

    async def say(self):
        while (line := await self.lines.get()) is not None:
            yield line


def play(world, tmp_path, story, **config):
    """Run a story with broker, server and fleet; returns the fleet's journal."""
    journal = tmp_path / "fleet.jsonl"

    async def run():
        async with world.broker_up(world.broker_context()) as broker:

            def account(endpoint):
                keys = world.authority.issue(endpoint)
                return world.account_values(
                    broker.port, endpoint, keys, world.authority.certificate
                )

            async with world.server_up(account) as server:
                starter = Starter(world.moved)
                settings = FleetConfig(
                    devices_file=write_devices(tmp_path / "devices.ndjson"),
                    server=f"coap://127.0.0.1:{server.port}",
                    journal_file=str(journal),
                    progress_every_s=0.02,
                    sample_every_s=0.05,
                    seed=7,
                    **config,
                )
                fleet = asyncio.create_task(
                    run_fleet(
                        settings, SystemClock(), starter.hear_ready, starter.say(), starter.hear
                    )
                )
                fleet.add_done_callback(lambda _: world.moved.set())
                await world.until(lambda: starter.ready or fleet.done())
                try:
                    await story(starter, server, broker)
                    starter.tell(end={})
                finally:
                    if not fleet.done():
                        starter.lines.put_nowait(None)
                    await fleet

    asyncio.run(run())
    return read_journal(journal)


@pytest.mark.slow
@pytest.mark.parametrize("addresses", ["shared", "own"])
def test_a_fleet_comes_online_and_reports(world, tmp_path, addresses):
    async def story(starter, server, broker):
        starter.tell(start={"rate_per_s": 200.0})
        await world.until(lambda: starter.progress.get("packs_acknowledged", 0) >= 2 * DEVICES)
        assert starter.progress["started"] == DEVICES
        assert starter.progress["registered"] == DEVICES
        assert starter.progress["connected"] == DEVICES
        starter.tell(quiesce={"within_s": WITHIN_S})
        await world.until(lambda: starter.quiet is not None)
        assert starter.quiet == {"unacknowledged": 0}

    records = play(world, tmp_path, story, report_every_s=0.2, addresses=addresses)
    names = {f"device-{number:02d}" for number in range(DEVICES)}
    for kind in (DeviceStarted, DeviceRegistered, CredentialsActivated, DeviceConnected):
        assert {record.endpoint for record in of(records, kind)} == names
        assert len(of(records, kind)) == DEVICES
    assert {record.state for record in of(records, DeviceEnded)} == {"connected"}
    generated = {(r.endpoint, r.boot, r.sequence) for r in of(records, PackGenerated)}
    acknowledged = of(records, PackAcknowledged)
    state = {(r.endpoint, r.boot, r.sequence) for r in acknowledged if r.stream == "state"}
    assert state == generated
    assert all(record.attempt == 1 for record in of(records, PackSent))
    served = Counter(record.operation for record in of(records, DownlinkServed))
    assert served == {"create": 3 * DEVICES, "write": 2 * DEVICES}
    assert all(codes.code_of_text(r.code) < 0x60 for r in of(records, DownlinkServed))
    samples = of(records, LoopSample)
    assert samples
    assert sum(sample.socket_drops for sample in samples) == 0


def test_devices_are_started_when_the_schedule_says(world, tmp_path):
    async def story(starter, server, broker):
        starter.tell(start={"rate_per_s": 100.0})
        await world.until(lambda: starter.progress.get("started") == DEVICES)

    started = of(play(world, tmp_path, story), DeviceStarted)
    intended = [record.intended_at_ns for record in started]
    gaps = {b - a for a, b in pairwise(intended)}
    assert gaps == {10_000_000}
    assert all(record.at_ns >= record.intended_at_ns for record in started)


def test_a_fleet_comes_back_after_its_broker_was_gone(world, tmp_path):
    async def story(starter, server, broker):
        starter.tell(start={"rate_per_s": 500.0})
        await world.until(lambda: starter.progress.get("connected") == DEVICES)
        broker.cut()
        await world.until(lambda: starter.progress.get("connected", 99) < DEVICES)
        await world.until(lambda: starter.progress.get("connected") == DEVICES)
        starter.tell(quiesce={"within_s": WITHIN_S})
        await world.until(lambda: starter.quiet is not None)
        assert starter.quiet == {"unacknowledged": 0}

    records = play(world, tmp_path, story, report_every_s=0.1, reconnect_s=0.05)
    generated = {(r.endpoint, r.sequence) for r in of(records, PackGenerated)}
    acknowledged = {(r.endpoint, r.sequence) for r in of(records, PackAcknowledged)}
    assert generated <= acknowledged


def test_a_fleet_that_cannot_get_rid_of_its_packs_says_how_many(world, tmp_path):
    async def story(starter, server, broker):
        broker.acknowledges = False
        starter.tell(start={"rate_per_s": 500.0})
        await world.until(lambda: len(broker.published) >= DEVICES)
        starter.tell(quiesce={"within_s": 0.1})
        await world.until(lambda: starter.quiet is not None)
        assert starter.quiet["unacknowledged"] >= DEVICES

    play(world, tmp_path, story)


def test_nonsense_on_standard_input_is_skipped_and_its_end_ends_the_fleet(world, tmp_path):
    async def story(starter, server, broker):
        starter.lines.put_nowait(b"nonsense")
        starter.tell(start={"rate_per_s": 500.0})
        await world.until(lambda: starter.progress.get("registered") == DEVICES)
        starter.lines.put_nowait(None)

    assert len(of(play(world, tmp_path, story), DeviceEnded)) == DEVICES


def test_the_journal_holds_no_keys(world, tmp_path):
    async def story(starter, server, broker):
        starter.tell(start={"rate_per_s": 500.0})
        await world.until(lambda: starter.progress.get("connected") == DEVICES)

    play(world, tmp_path, story)
    journal = (tmp_path / "fleet.jsonl").read_text()
    assert "BEGIN" not in journal
    # PKCS #8 of a P-256 key begins like this in base64, and a repr of it with these bytes.
    assert "MIGHAgEA" not in journal
    assert "\\x02\\x01\\x00" not in journal


PROFILE = """
[[registrations]]
shape = "constant"
rate_per_s = 100
duration_s = 0.1

[[telemetry]]
shape = "constant"
begins_s = 6
rate_per_s = 100
duration_s = 0.5

[[reconnects]]
shape = "power_cut"
begins_s = 6.6
outage_s = 0.3
return_within_s = 0.2
"""


@pytest.mark.slow
def test_a_profile_says_when_devices_report_and_that_all_lose_their_power(world, tmp_path):
    profile = tmp_path / "short.toml"
    profile.write_text(PROFILE)

    async def story(starter, server, broker):
        starter.tell(start={"rate_per_s": 1.0})
        await world.until(lambda: len(server.registered) == 2 * DEVICES)
        await world.until(lambda: len(broker.connects) >= 2 * DEVICES)
        await world.until(lambda: starter.progress.get("connected") == DEVICES)
        starter.tell(quiesce={"within_s": WITHIN_S})
        await world.until(lambda: starter.quiet is not None)
        assert starter.quiet == {"unacknowledged": 0}

    records = play(world, tmp_path, story, profile_file=str(profile), reports_by_itself=False)
    [began] = {r.intended_at_ns - 6_600_000_000 for r in of(records, DevicePowerLost)}
    reports = sorted(r.intended_at_ns for r in of(records, PackGenerated) if r.intended_at_ns)
    assert reports == [began + 6_005_000_000 + n * 10_000_000 for n in range(50)]
    # Beside those, every device reports when it has connected: at first, and after the cut.
    by_connecting = Counter(r.endpoint for r in of(records, PackGenerated) if not r.intended_at_ns)
    assert set(by_connecting.values()) == {2}
    assert len(of(records, DevicePowerRestored)) == DEVICES
    assert len(of(records, DeviceRegistered)) == 2 * DEVICES
    lags = {(sample.kind, sample.missed) for sample in of(records, LagSample)}
    assert lags == {("switch_on", 0), ("report", 0), ("power_off", 0), ("power_on", 0)}
    [built] = of(records, FleetBuilt)
    assert (built.devices, built.addresses, built.first_address) == (10, "shared", "127.16.1.1")
    assert any(sample.delays for sample in of(records, LoopSample))


def write_schedule(path: Path, events: list[ScheduledEvent]) -> str:
    header = ScheduleHeader(city="here", seed=7, from_s=0.0, to_s=600.0, speed=60.0, events=5)
    path.write_bytes(encode_header(header) + b"".join(map(encode_event, events)))
    return str(path)


@pytest.mark.slow
def test_a_schedule_says_what_a_device_measures_and_when(world, tmp_path):
    spot = f"device-{sorted(MODELS).index('parking_spot'):02d}"
    path = "/3431/0/1"
    schedule = write_schedule(
        tmp_path / "day.ndjson",
        [
            ScheduledEvent(0.0, spot, "set", path, False),
            ScheduledEvent(0.1, spot, "report", path, True),
            ScheduledEvent(0.2, spot, "report"),
            ScheduledEvent(0.2, "somebody-elses", "report"),
            ScheduledEvent(0.3, "device-09", "switch_on"),
        ],
    )

    async def story(starter, server, broker):
        starter.tell(start={"rate_per_s": 500.0})
        await world.until(lambda: starter.progress.get("connected") == DEVICES - 1)
        starter.tell(follow={})
        await world.until(lambda: starter.progress.get("connected") == DEVICES)
        starter.tell(quiesce={"within_s": WITHIN_S})
        await world.until(lambda: starter.quiet is not None)

    records = play(world, tmp_path, story, schedule_file=schedule, reports_by_itself=False)
    told = [r for r in of(records, PackGenerated) if r.endpoint == spot and r.intended_at_ns]
    assert [{name: value for name, _, value in r.records}[path] for r in told] == [True] * 2
    assert told[1].intended_at_ns - told[0].intended_at_ns == 100_000_000
    [last] = [r for r in of(records, DeviceStarted) if r.endpoint == "device-09"]
    assert last.intended_at_ns == told[0].intended_at_ns + 200_000_000


@pytest.mark.parametrize(
    ("config", "told"),
    [({"profile_file": "nowhere.toml"}, "nowhere.toml"), ({"schedule_file": "nowhere"}, "nowhere")],
)
def test_a_load_that_cannot_be_followed_is_a_configuration_error(world, tmp_path, config, told):
    async def story(starter, server, broker):
        assert not starter.ready

    with pytest.raises(ConfigError, match=told):
        play(world, tmp_path, story, **config)


def test_an_incident_of_an_unknown_device_is_a_configuration_error(world, tmp_path):
    async def story(starter, server, broker):
        assert not starter.ready

    incident = IncidentConfig("nobody", "leak", 0.0, 1.0)
    with pytest.raises(ConfigError, match="nobody"):
        play(world, tmp_path, story, incidents=(incident,))


@pytest.mark.slow
def test_the_process_serves_from_start_to_end(world, tmp_path):
    async def run():
        async with world.broker_up(world.broker_context()) as broker:

            def account(endpoint):
                keys = world.authority.issue(endpoint)
                return world.account_values(
                    broker.port, endpoint, keys, world.authority.certificate
                )

            async with world.server_up(account) as server:
                await talk(server)

    async def talk(server):
        config = {
            "devices_file": write_devices(tmp_path / "devices.ndjson"),
            "server": f"coap://127.0.0.1:{server.port}",
            "journal_file": str(tmp_path / "fleet.jsonl"),
            "report_every_s": 0.5,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "fake_devices.fleet",
            "--config",
            "-",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"LAMPLIGHTER_LOG": "ERROR"},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(config).encode() + b"\n")
        assert json.loads(await process.stdout.readline()) == {"ready": {}}
        process.stdin.write(b'{"start": {"rate_per_s": 100}}\n')
        message = {}
        while message.get("progress", {}).get("packs_acknowledged", 0) < DEVICES:
            message = json.loads(await process.stdout.readline())
        process.stdin.write(b'{"quiesce": {"within_s": 60}}\n')
        while "quiet" not in message:
            message = json.loads(await process.stdout.readline())
        assert message == {"quiet": {"unacknowledged": 0}}
        process.stdin.write(b'{"end": {}}\n')
        await process.stdout.read()
        assert await process.wait() == 0

    asyncio.run(asyncio.wait_for(run(), 60))
    ended = of(read_journal(tmp_path / "fleet.jsonl"), DeviceEnded)
    assert {record.state for record in ended} == {"connected"}


@pytest.mark.slow
def test_a_missing_configuration_is_one_line_and_exit_code_3(tmp_path):
    async def run():
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "fake_devices.fleet",
            "--config",
            str(tmp_path / "nowhere.json"),
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate()
        assert process.returncode == 3
        assert len(errors.splitlines()) == 1

    asyncio.run(run())
