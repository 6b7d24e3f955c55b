"""The journal: typed, append-only JSON lines of what was observed. Checks and reports read only it.

Each process that observes writes a file of its own, `<source>.jsonl`; readers merge them by time.
`at_ns` is CLOCK_MONOTONIC, one clock for all processes of a run. A last line that a kill cut short
is dropped by readers. Nothing secret is ever recorded: no values of writes, only their paths.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from contracts import load
from contracts.telemetry import ReadingValue, Severity

Stage = Literal[
    "registered",
    "event_published",
    "credentials_published",
    "bootstrapped",
    "mqtt_connected",
    "online",
]
STAGES: tuple[Stage, ...] = get_args(Stage)


class _Record(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, tag_field="k", omit_defaults=True
):
    at_ns: int


# ---- the fleet ----


class DeviceStarted(_Record, frozen=True, tag="device_started"):
    """A device was switched on. `intended_at_ns`: when the arrival schedule wanted it."""

    endpoint: str
    model: str
    intended_at_ns: int


class DeviceRegistered(_Record, frozen=True, tag="device_registered"):
    """The device got 2.01."""

    endpoint: str
    location: str


class DeviceRegistrationFailed(_Record, frozen=True, tag="device_registration_failed"):
    """The device's Register was refused (`code`) or not answered (`code` empty)."""

    endpoint: str
    code: str = ""


class DownlinkServed(_Record, frozen=True, tag="downlink_served"):
    """The device carried out one request of its server (a retransmission answered from the
    deduplication cache is none). `path` such as `/3416/0/1`; `value` only of public resources."""

    endpoint: str
    operation: str
    path: str
    message_id: int
    code: str
    value: ReadingValue | None = None


class CredentialsActivated(_Record, frozen=True, tag="credentials_activated"):
    """A publication became active; the device will connect as `client_id`."""

    endpoint: str
    client_id: str
    certificate_sha256: str


class DeviceConnected(_Record, frozen=True, tag="device_connected"):
    """The device got CONNACK 0."""

    endpoint: str
    client_id: str
    attempt: int


class DeviceDisconnected(_Record, frozen=True, tag="device_disconnected"):
    """The MQTT connection ended, or an attempt to make one failed; `reason` says why."""

    endpoint: str
    reason: str


class PackGenerated(_Record, frozen=True, tag="pack_generated"):
    """The device made a pack of readings: (path, time_us, value) each, in SenML's units.
    `intended_at_ns`: when an interval, a profile or a schedule wanted it; 0 where nothing did."""

    endpoint: str
    boot: str
    sequence: int
    records: list[tuple[str, int, ReadingValue]]
    intended_at_ns: int = 0


class AlarmGenerated(_Record, frozen=True, tag="alarm_generated"):
    """The device raised or cleared an alarm; it travels in alarm pack `sequence`."""

    endpoint: str
    boot: str
    sequence: int
    path: str
    time_us: int
    alarm: str
    raised: bool
    severity: Severity


class PackSent(_Record, frozen=True, tag="pack_sent"):
    """A pack was handed to the connection; `attempt` above 1 is a repetition with DUP."""

    endpoint: str
    boot: str
    sequence: int
    stream: Literal["state", "alarm"]
    attempt: int


class PackAcknowledged(_Record, frozen=True, tag="pack_acknowledged"):
    """The broker's PUBACK for a pack arrived."""

    endpoint: str
    boot: str
    sequence: int
    stream: Literal["state", "alarm"]


class PackDropped(_Record, frozen=True, tag="pack_dropped"):
    """The offline buffer was full; the pack was given up before it was sent."""

    endpoint: str
    boot: str
    sequence: int
    stream: Literal["state", "alarm"]


class DeviceEnded(_Record, frozen=True, tag="device_ended"):
    """The state a device was in when the run ended. `registered`, `connected`, `unregistered`…"""

    endpoint: str
    model: str
    state: str


class LoopSample(_Record, frozen=True, tag="loop_sample"):
    """How late timers ran in a process since the last sample, and datagrams the kernel dropped.

    `delays` says how many timers were how late: (microseconds, count) as `runtime.latency` buckets
    them, so that percentiles of a whole run can be told. Empty where only the sample is known.
    """

    process: str
    delay_p99_ns: int
    delay_max_ns: int
    socket_drops: int = 0
    retransmissions: int = 0
    delays: list[tuple[int, int]] = []


# ---- the server emulator: the data-interface tap ----


class ServerStarted(_Record, frozen=True, tag="server_started"):
    """The server emulator began an incarnation; `resumed` registrations came from its log."""

    server: str
    epoch: str
    resumed: int


class EventLogged(_Record, frozen=True, tag="event_logged"):
    """An event entered the server's log."""

    server: str
    epoch: str
    seq: int
    kind: str
    endpoint: str


class EventsAcknowledged(_Record, frozen=True, tag="events_acknowledged"):
    """The bridge acknowledged all events up to `seq`."""

    server: str
    epoch: str
    seq: int


class CommandReceived(_Record, frozen=True, tag="command_received"):
    """A command frame arrived; `repeated` ones were answered with the stored outcome."""

    server: str
    id: str
    endpoint: str
    operation: str
    path: str
    repeated: bool = False
    issued_by: str = ""


class CommandSent(_Record, frozen=True, tag="command_sent"):
    """The CoAP request of a command was sent for the first time."""

    server: str
    id: str
    endpoint: str
    message_id: int


class CommandEnded(_Record, frozen=True, tag="command_ended"):
    """A command has its outcome: `code` when the device answered, else the `stage` that failed."""

    server: str
    id: str
    endpoint: str
    operation: str
    path: str
    code: str = ""
    stage: str = ""


class DeviceBootstrapped(_Record, frozen=True, tag="device_bootstrapped"):
    """The server saw the last write of the credentials succeed."""

    server: str
    endpoint: str
    version: str


class BootstrapSessionEnded(_Record, frozen=True, tag="bootstrap_session_ended"):
    """A bootstrap server is done with a device: `finished`, or `failed` at the last operation.

    `code` is the answer to that operation, empty when none came.
    """

    server: str
    endpoint: str
    state: str
    steps: int
    last_operation: str = ""
    last_path: str = ""
    code: str = ""


class DatagramRefused(_Record, frozen=True, tag="datagram_refused"):
    """A datagram or registration was refused; `reason` is the counter's name."""

    server: str
    reason: str
    address: str


class HandshakeRefused(_Record, frozen=True, tag="handshake_refused"):
    """A security session was refused, or broke off; `reason` is the counter's name.

    `identity_hash` is the first eight bytes, as hex, of the SHA-256 of what the peer said it is.
    """

    server: str
    address: str
    reason: str
    identity_hash: str = ""


# ---- the broker tap (an MQTT client that may read and never publish) ----


class MessageSeen(_Record, frozen=True, tag="message_seen"):
    """A message crossed the broker. `topic_kind`: event, credentials, command, state or alarm.

    For events `event_kind`, `epoch` and `seq`; for commands `id`; payloads are never recorded.
    """

    topic: str
    topic_kind: str
    endpoint: str
    payload_bytes: int
    server: str = ""
    event_kind: str = ""
    epoch: str = ""
    seq: int = 0
    id: str = ""
    duplicate: bool = False
    snapshot: bool = False


class ClientSeen(_Record, frozen=True, tag="client_seen"):
    """The embedded broker let a client in, lost it, or refused it with a reason."""

    identity: str
    event: Literal["connected", "disconnected", "refused"]
    reason: str = ""


# ---- the store tap (reads the ingestion component's feed) ----


class ReadingsStored(_Record, frozen=True, tag="readings_stored"):
    """One transaction of the telemetry store; rows are (endpoint, path, time_us, value).

    `at_ns` is the store's own stamp after the sync.
    """

    rows: list[tuple[str, str, int, ReadingValue]]
    duplicates: list[tuple[str, str, int, ReadingValue]] = []
    conflicts: list[tuple[str, str, int, ReadingValue]] = []


class AlarmStored(_Record, frozen=True, tag="alarm_stored"):
    """An alarm reached the store."""

    endpoint: str
    path: str
    time_us: int
    alarm: str
    raised: bool
    sequence: int


class DeadLetterStored(_Record, frozen=True, tag="dead_letter_stored"):
    """A message could not become readings."""

    reason: str
    topic: str
    endpoint: str
    claimed: str = ""


# ---- the runner ----


class RunStarted(_Record, frozen=True, tag="run_started"):
    """A scenario began. `at_unix_us` ties the monotonic clock to the calendar."""

    run_id: str
    scenario: str
    seed: int
    devices: int
    broker: str
    defect: str
    at_unix_us: int
    options: dict[str, str] = {}


class BenchReady(_Record, frozen=True, tag="bench_ready"):
    """Every readiness condition holds; `ready_s` since the bench's first process start."""

    ready_s: float


class ImportEnded(_Record, frozen=True, tag="import_ended"):
    """The manifest was imported."""

    rows: int
    accepted: int
    rejected: int
    duration_s: float
    reasons: list[tuple[int, str, str]] = []


class PhaseBegan(_Record, frozen=True, tag="phase_began"):
    """The story went on to its next part: onboarding, telemetry, commands, drain…"""

    phase: str


class CommandIssued(_Record, frozen=True, tag="command_issued"):
    """The story posted a command; `intended_at_ns` is when it was meant to."""

    id: str
    endpoint: str
    path: str
    intended_at_ns: int
    value: ReadingValue | None = None


class CommandConcluded(_Record, frozen=True, tag="command_concluded"):
    """The control API reported a final state."""

    id: str
    endpoint: str
    state: str
    code: str = ""


class ProcessStarted(_Record, frozen=True, tag="process_started"):
    """The bench started a process. `side`: fleet, emulated, platform or instruments."""

    process: str
    side: str
    pid: int


class ProcessKilled(_Record, frozen=True, tag="process_killed"):
    """The story killed a process at a named point."""

    process: str
    point: str
    endpoint: str = ""


class ProcessExited(_Record, frozen=True, tag="process_exited"):
    """A process ended by itself, which no story asked for."""

    process: str
    returncode: int


class ProcessSample(_Record, frozen=True, tag="process_sample"):
    """CPU used so far, memory and open descriptors held by one process; 0 descriptors: not told."""

    process: str
    side: str
    cpu_s: float
    rss_bytes: int
    descriptors: int = 0


class SecretsScanned(_Record, frozen=True, tag="secrets_scanned"):
    """All outputs were searched for all secrets of the run; `found` names files, never secrets."""

    needles: int
    files: int
    searched_bytes: int
    found: list[str] = []


class Note(_Record, frozen=True, tag="note"):
    """A fact that a check needs and no other record has."""

    name: str
    endpoint: str = ""
    value: float = 0.0
    text: str = ""


class BenchDown(_Record, frozen=True, tag="bench_down"):
    """Every process is gone; `down_s` since the teardown began, `left` names what was left and,
    behind a colon, says more."""

    down_s: float
    left: list[str] = []


Record = (
    DeviceStarted
    | DeviceRegistered
    | DeviceRegistrationFailed
    | DownlinkServed
    | CredentialsActivated
    | DeviceConnected
    | DeviceDisconnected
    | PackGenerated
    | AlarmGenerated
    | PackSent
    | PackAcknowledged
    | PackDropped
    | DeviceEnded
    | load.LoadRecord
    | LoopSample
    | ServerStarted
    | EventLogged
    | EventsAcknowledged
    | CommandReceived
    | CommandSent
    | CommandEnded
    | DeviceBootstrapped
    | BootstrapSessionEnded
    | DatagramRefused
    | HandshakeRefused
    | MessageSeen
    | ClientSeen
    | ReadingsStored
    | AlarmStored
    | DeadLetterStored
    | RunStarted
    | BenchReady
    | ImportEnded
    | PhaseBegan
    | CommandIssued
    | CommandConcluded
    | ProcessStarted
    | ProcessKilled
    | ProcessExited
    | ProcessSample
    | SecretsScanned
    | Note
    | BenchDown
)
