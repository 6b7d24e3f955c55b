"""A made-up run in which every claim holds: for tests, which spoil it, and for report previews."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from contracts.journal import (
    AlarmGenerated,
    AlarmStored,
    BenchDown,
    BenchReady,
    ClientSeen,
    CommandConcluded,
    CommandEnded,
    CommandIssued,
    CommandReceived,
    CommandSent,
    CredentialsActivated,
    DeviceBootstrapped,
    DeviceConnected,
    DeviceEnded,
    DeviceRegistered,
    DeviceStarted,
    DownlinkServed,
    ImportEnded,
    LoopSample,
    MessageSeen,
    PackAcknowledged,
    PackGenerated,
    PackSent,
    PhaseBegan,
    ProcessSample,
    ProcessStarted,
    ReadingsStored,
    Record,
    RunStarted,
    SecretsScanned,
)
from contracts.telemetry import ReadingValue
from fake_devices.behaviours.noise import between, stream_key
from fake_devices.city import HARBOUR, generate
from fake_devices.devices import MODELS

BEGAN_NS = 5_000_000_000_000
UNIX_US = 1_795_200_000_000_000
SERVER = "server-1"
BOOT = "boot-1"
DIM_LEVEL = 40
_MS = 1_000_000
_S = 1_000_000_000
# What each stage takes at least and at most after the one before, milliseconds.
_STAGES_MS = ((2, 9), (3, 14), (6, 40), (9, 70), (8, 60), (6, 45))
_PROCESSES = (
    ("fleet", "fleet", 0.55, 95),
    ("server", "emulated", 0.30, 62),
    ("broker", "emulated", 0.35, 58),
    ("provisioning", "platform", 0.06, 71),
    ("bridge", "platform", 0.16, 49),
    ("bootstrap", "platform", 0.09, 52),
    ("control", "platform", 0.05, 50),
    ("ingestion", "platform", 0.24, 66),
    ("runner", "instruments", 0.12, 80),
)


class Plan(NamedTuple):
    """How large the run is. Times in seconds."""

    devices: int = 20
    seed: int = 1
    rate_per_s: float = 50.0
    packs: int = 12
    report_every_s: float = 1.0


class _Device(NamedTuple):
    """One device and when it came through its stages."""

    endpoint: str
    model: str
    paths: tuple[str, ...]
    intended_ns: int
    stages_ns: tuple[int, ...]


def example_run(plan: Plan | None = None) -> list[Record]:
    """The records of a run that holds, in order of time."""
    plan = plan or Plan()
    devices = list(_devices(plan))
    ends_ns = max(device.stages_ns[-1] for device in devices)
    ends_ns += round((plan.packs + 3) * plan.report_every_s * _S)
    records = [*_bench(plan, ends_ns), *_processes(ends_ns)]
    for number, device in enumerate(devices):
        records += _onboarding(device)
        records += _telemetry(device, plan)
        if device.model == "street_lamp":
            records += _command(device, number, plan)
    for device in {device.model: device for device in reversed(devices)}.values():
        records += _alarm(device, plan)
    records += (
        DeviceEnded(at_ns=ends_ns, endpoint=d.endpoint, model=d.model, state="connected")
        for d in devices
    )
    return sorted(records, key=lambda record: record.at_ns)


def _devices(plan: Plan) -> Iterator[_Device]:
    for number, row in enumerate(generate(HARBOUR, plan.seed, 0, plan.devices)):
        key = stream_key(plan.seed, "example", row.endpoint)
        intended_ns = BEGAN_NS + 2 * _S + round(number / plan.rate_per_s * _S)
        stages_ns, at_ns = [], intended_ns
        for stage, (least, most) in enumerate(_STAGES_MS):
            at_ns += round((least + (most - least) * between(key, stage, 0, 1) ** 3) * _MS)
            stages_ns.append(at_ns)
        paths = tuple(str(path) for path in MODELS[row.model].reported)
        yield _Device(row.endpoint, row.model, paths, intended_ns, tuple(stages_ns))


def _bench(plan: Plan, ends_ns: int) -> Iterator[Record]:
    yield RunStarted(
        at_ns=BEGAN_NS,
        run_id="20261120T204000-city_block_comes_online-1",
        scenario="onboarding.city_block_comes_online",
        seed=plan.seed,
        devices=plan.devices,
        broker="embedded",
        defect="",
        at_unix_us=UNIX_US,
        options={"rate_per_s": f"{plan.rate_per_s:g}", "taps": "on"},
    )
    yield BenchReady(at_ns=BEGAN_NS + 1_400 * _MS, ready_s=1.38)
    phases = (("provisioning", 1_410), ("onboarding", 1_990), ("telemetry", 4_000))
    for phase, after_ms in phases:
        yield PhaseBegan(at_ns=BEGAN_NS + after_ms * _MS, phase=phase)
    yield PhaseBegan(at_ns=ends_ns - _S, phase="drain")
    yield ImportEnded(
        at_ns=BEGAN_NS + 1_700 * _MS,
        rows=plan.devices,
        accepted=plan.devices,
        rejected=0,
        duration_s=0.21,
    )
    for name in ("bridge:server-1", "bootstrap", "ingestion", "control", "tap"):
        yield ClientSeen(at_ns=BEGAN_NS + 1_300 * _MS, identity=f"svc:{name}", event="connected")
    yield BenchDown(at_ns=ends_ns + 600 * _MS, down_s=0.58)
    yield SecretsScanned(
        at_ns=ends_ns + 900 * _MS, needles=2 * plan.devices, files=23, searched_bytes=9_000_000
    )


def _processes(ends_ns: int) -> Iterator[Record]:
    for name, side, cores, megabytes in _PROCESSES:
        key = stream_key(0, name)
        if name != "runner":
            pid = 4_000 + key % 1_000
            yield ProcessStarted(at_ns=BEGAN_NS + 9 * _MS, process=name, side=side, pid=pid)
        cpu_s = 0.12
        for sample, at_ns in enumerate(range(BEGAN_NS + _S // 2, ends_ns, _S // 2)):
            is_busy = 1.6 if sample * 0.5 < (ends_ns - BEGAN_NS) / _S / 2 else 0.6
            cpu_s += cores * is_busy * between(key, sample, 0.35, 0.65)
            rss_bytes = round(megabytes * 1e6 * (0.8 + 0.2 * min(1.0, sample / 20)))
            yield ProcessSample(
                at_ns=at_ns, process=name, side=side, cpu_s=round(cpu_s, 3), rss_bytes=rss_bytes
            )
    for at_ns in range(BEGAN_NS + 3 * _S, ends_ns, _S):
        yield LoopSample(
            at_ns=at_ns,
            process="fleet",
            delay_p99_ns=3 * _MS,
            delay_max_ns=8 * _MS,
            delays=[(127, 60), (1_023, 38), (3_071, 2)],
        )


def _onboarding(device: _Device) -> Iterator[Record]:
    endpoint, intended_ns = device.endpoint, device.intended_ns
    registered, event, credentials, bootstrapped, connected, _ = device.stages_ns
    yield DeviceStarted(
        at_ns=intended_ns + 300_000,
        endpoint=endpoint,
        model=device.model,
        intended_at_ns=intended_ns,
    )
    yield DeviceRegistered(at_ns=registered, endpoint=endpoint, location=f"/rd/{endpoint}")
    yield MessageSeen(
        at_ns=event,
        topic=f"lwm2m/{SERVER}/{endpoint}/event/registered",
        topic_kind="event",
        endpoint=endpoint,
        payload_bytes=420,
        server=SERVER,
        event_kind="registered",
    )
    yield MessageSeen(
        at_ns=credentials,
        topic=f"lwm2m/{SERVER}/{endpoint}/credentials",
        topic_kind="credentials",
        endpoint=endpoint,
        payload_bytes=3_300,
        server=SERVER,
    )
    yield CredentialsActivated(
        at_ns=bootstrapped - _MS,
        endpoint=endpoint,
        client_id=endpoint,
        certificate_sha256=f"{stream_key(0, endpoint):064x}",
    )
    yield DeviceBootstrapped(
        at_ns=bootstrapped, server=SERVER, endpoint=endpoint, version="0123456789abcdef"
    )
    yield DeviceConnected(at_ns=connected, endpoint=endpoint, client_id=endpoint, attempt=1)


def _unix_us(at_ns: int) -> int:
    return UNIX_US + (at_ns - BEGAN_NS) // 1_000


def _commanded_ns(number: int, plan: Plan) -> int:
    """After every device has come online, the lamps are dimmed one after another."""
    last_ns = BEGAN_NS + 3 * _S + round(plan.devices / plan.rate_per_s * _S)
    return last_ns + number * 10 * _MS


def _telemetry(device: _Device, plan: Plan) -> Iterator[Record]:
    key = stream_key(plan.seed, "values", device.endpoint)
    number = int(device.endpoint.rpartition("-")[2])
    for pack in range(plan.packs):
        at_ns = device.stages_ns[4] + round(pack * plan.report_every_s * _S)
        is_dimmed = at_ns > _commanded_ns(number, plan) + 3 * _S
        rows: list[tuple[str, int, ReadingValue]] = []
        for place, path in enumerate(device.paths):
            value: ReadingValue = round(between(key, pack * 10 + place, 0.0, 90.0), 3)
            if path == "/3416/0/3":
                value = DIM_LEVEL / 100 if is_dimmed else 0
            rows.append((path, _unix_us(at_ns), value))
        stored_ns = device.stages_ns[5] if pack == 0 else at_ns + 15 * _MS
        yield from _pack(device.endpoint, pack + 1, at_ns, stored_ns, rows)


def _pack(
    endpoint: str,
    sequence: int,
    at_ns: int,
    stored_ns: int,
    records: list[tuple[str, int, ReadingValue]],
) -> Iterator[Record]:
    yield PackGenerated(
        at_ns=at_ns, endpoint=endpoint, boot=BOOT, sequence=sequence, records=records
    )
    yield from _sent(endpoint, sequence, at_ns, is_alarm=False)
    rows = [(endpoint, path, time_us, value) for path, time_us, value in records]
    yield ReadingsStored(at_ns=stored_ns, rows=rows)


def _sent(endpoint: str, sequence: int, at_ns: int, *, is_alarm: bool) -> Iterator[Record]:
    yield PackSent(
        at_ns=at_ns,
        endpoint=endpoint,
        boot=BOOT,
        sequence=sequence,
        stream="alarm" if is_alarm else "state",
        attempt=1,
    )
    yield PackAcknowledged(
        at_ns=at_ns + 3 * _MS,
        endpoint=endpoint,
        boot=BOOT,
        sequence=sequence,
        stream="alarm" if is_alarm else "state",
    )


def _alarm(device: _Device, plan: Plan) -> Iterator[Record]:
    rule = MODELS[device.model].alarm_rules[0]
    for number, raised in enumerate((True, False), start=1):
        at_ns = device.stages_ns[4] + round((1 + 3 * number) * plan.report_every_s * _S)
        sequence = plan.packs + number
        yield AlarmGenerated(
            at_ns=at_ns,
            endpoint=device.endpoint,
            boot=BOOT,
            sequence=sequence,
            path=str(rule.path),
            time_us=_unix_us(at_ns),
            alarm=rule.alarm,
            raised=raised,
            severity=rule.severity,
        )
        yield from _sent(device.endpoint, sequence, at_ns, is_alarm=True)
        yield AlarmStored(
            at_ns=at_ns + 14 * _MS,
            endpoint=device.endpoint,
            path=str(rule.path),
            time_us=_unix_us(at_ns),
            alarm=rule.alarm,
            raised=raised,
            sequence=number,
        )


def _command(device: _Device, number: int, plan: Plan) -> Iterator[Record]:
    identifier, endpoint, path = f"command-{number}", device.endpoint, "/3416/0/1"
    at_ns = _commanded_ns(int(endpoint.rpartition("-")[2]), plan)
    yield CommandIssued(
        at_ns=at_ns + 2 * _MS,
        id=identifier,
        endpoint=endpoint,
        path=path,
        intended_at_ns=at_ns,
        value=DIM_LEVEL,
    )
    yield CommandReceived(
        at_ns=at_ns + 9 * _MS,
        server=SERVER,
        id=identifier,
        endpoint=endpoint,
        operation="write",
        path=path,
    )
    yield CommandSent(
        at_ns=at_ns + 10 * _MS, server=SERVER, id=identifier, endpoint=endpoint, message_id=number
    )
    yield DownlinkServed(
        at_ns=at_ns + 11 * _MS,
        endpoint=endpoint,
        operation="write",
        path=path,
        message_id=number,
        code="2.04",
        value=DIM_LEVEL,
    )
    yield CommandEnded(
        at_ns=at_ns + 12 * _MS,
        server=SERVER,
        id=identifier,
        endpoint=endpoint,
        operation="write",
        path=path,
        code="2.04",
    )
    yield CommandConcluded(
        at_ns=at_ns + 60 * _MS, id=identifier, endpoint=endpoint, state="succeeded", code="2.04"
    )
