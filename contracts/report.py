"""A run's `report.json`: what was judged and measured, made from the journal alone.

`v` grows when a field goes or changes its meaning; new fields do not change it. Latencies are
milliseconds, other times seconds, memory bytes.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from contracts.errors import ContractError, UnsupportedVersion
from contracts.journal import Stage
from contracts.load import LoaderLimits

VERSION = 1

Outcome = Literal["holds", "broken", "inconclusive"]
# What a check's claim is about: a loader that fell behind voids only what is about `rate`.
About = Literal["safety", "rate", "loader"]

EXIT_HOLDS, EXIT_BROKEN, EXIT_INCONCLUSIVE, EXIT_OTHER = 0, 1, 2, 3


def _doc(text: str) -> Meta:
    return Meta(description=text)


class Evidence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One observation that a verdict rests on."""

    observed: Annotated[str, _doc("what was seen")]
    expected: Annotated[str, _doc("what the claim wants instead; empty when it was as wanted")] = ""
    endpoint: Annotated[str, _doc("the device, or what else it is about; may be empty")] = ""
    at_s: Annotated[float | None, _doc("seconds since the run began")] = None


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """One claim and whether it holds."""

    name: Annotated[str, _doc("name of the check")]
    claim: Annotated[str, _doc("what must be true")]
    outcome: Annotated[Outcome, _doc("`inconclusive`: not enough was observed to say")]
    summary: Annotated[str, _doc("the outcome in one sentence, with counts")]
    about: Annotated[About, _doc("a saturated loader voids claims about `rate` only")] = "safety"
    evidence: Annotated[list[Evidence], _doc("the first observations it rests on")] = []
    evidence_total: Annotated[int, _doc("how many there were; `evidence` may hold fewer")] = 0


class Percentiles(msgspec.Struct, frozen=True, kw_only=True):
    """Exact percentiles (nearest rank) in milliseconds."""

    p50: float
    p90: float
    p99: float
    p99_9: Annotated[float, _doc("99.9th percentile")] = msgspec.field(name="p99.9")
    p99_99: Annotated[float | None, _doc("99.99th percentile")] = msgspec.field(
        name="p99.99", default=None
    )
    max: float


class SecondFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Work that was meant to begin in one second of the run."""

    at_s: Annotated[int, _doc("the second's beginning, since the run began")]
    work: Annotated[int, _doc("how much of it was completed, then or later")]
    p50_ms: float
    p99_ms: float
    max_ms: float


class OperationFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of work, from its intended start to its end."""

    count: Annotated[int, _doc("how often it was completed")]
    unfinished: Annotated[int, _doc("begun and not completed when the run ended")] = 0
    latency: Annotated[Percentiles | None, _doc("from the intended start")] = None
    histogram: Annotated[
        str, _doc("all latencies in µs, HdrHistogram's V2 compressed encoding in base64")
    ] = ""
    seconds: Annotated[list[SecondFigures], _doc("by the second of the intended start")] = []


class StageFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of onboarding. Negative differences between two observers count as 0."""

    count: Annotated[int, _doc("devices that reached it")]
    since_start: Annotated[Percentiles | None, _doc("from the device's intended start")] = None
    since_previous: Annotated[Percentiles | None, _doc("from the stage before")] = None
    histogram: Annotated[
        str,
        _doc("all latencies `since_start` in µs, HdrHistogram's V2 compressed encoding in base64"),
    ] = ""
    seconds: Annotated[
        list[SecondFigures], _doc("`since_start`, by the second of the intended start")
    ] = []


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """Completions per second."""

    count: int
    sustained_per_s: Annotated[
        float | None,
        _doc("slope of completions between their 10th and 90th percentile; none under 10"),
    ] = None
    peak_per_s: Annotated[float, _doc("most completions within any whole second")] = 0.0
    backlog_grew: Annotated[
        bool, _doc("arrivals outran completions meanwhile: it was not sustained")
    ] = False


class ReadingCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of every reading."""

    generated: Annotated[int, _doc("made by devices")] = 0
    sent: Annotated[int, _doc("handed to a connection")] = 0
    acknowledged: Annotated[int, _doc("the broker's PUBACK arrived")] = 0
    stored: Annotated[int, _doc("in the telemetry store, under its own key")] = 0
    lost: Annotated[int, _doc("acknowledged and not stored when the drain ended")] = 0
    duplicated: Annotated[
        int, _doc("arrived again without a resend or reconnect that explains")
    ] = 0
    redelivered: Annotated[int, _doc("arrived again, and that is explained")] = 0
    reordered: Annotated[int, _doc("stored after a later reading of the same path")] = 0
    late: Annotated[int, _doc("stored more than 5 s after the device made it")] = 0
    altered: Annotated[int, _doc("stored with another value, or never made by the device")] = 0
    conflicted: Annotated[int, _doc("arrived again with another value; the first was kept")] = 0
    misrouted: Annotated[int, _doc("came in under another device's name")] = 0
    dropped: Annotated[int, _doc("given up by a full offline buffer before it was sent")] = 0
    unknown: Annotated[int, _doc("not acknowledged at the end: it may or may not be stored")] = 0


class CommandCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of every command."""

    issued: Annotated[int, _doc("posted to the control API")] = 0
    sent: Annotated[int, _doc("the server sent the request to the device")] = 0
    succeeded: int = 0
    refused: int = 0
    expired: int = 0
    unknown: Annotated[int, _doc("no outcome: it may or may not have happened")] = 0
    executed: Annotated[int, _doc("carried out by devices")] = 0
    executed_again: Annotated[int, _doc("carried out more often than issued")] = 0
    latency: Annotated[
        Percentiles | None, _doc("from the intended start to the device's outcome at the server")
    ] = None


class AlarmCounts(msgspec.Struct, frozen=True, kw_only=True):
    """One type of alarm, as stored."""

    raised: int = 0
    cleared: int = 0


class DeviceCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Devices, by model and the state they were in when the run ended."""

    total: int
    online: Annotated[int, _doc("at least one reading was stored")]
    by_model: Annotated[
        dict[str, dict[str, int]], _doc("model, then final state: `online`, `connected`, …")
    ] = {}


class BenchFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How long the bench took, and what failed of it."""

    ready_s: Annotated[float | None, _doc("from the first process to every readiness")] = None
    down_s: Annotated[float | None, _doc("from the begin of the teardown to no process")] = None
    faults: Annotated[
        list[str], _doc("what failed of the bench itself: with any, nothing is judged, and exit 3")
    ] = []


class ProvisioningFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The import of the manifest."""

    rows: int = 0
    accepted: int = 0
    rejected: int = 0
    duration_s: float = 0.0
    rows_per_s: float = 0.0


class LagFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How much later than intended the loader issued its work of one kind."""

    issued: int
    missed: Annotated[int, _doc("not issued at all: no device could do it")] = 0
    p99_ms: float
    max_ms: float


class LoaderFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the load was what it was meant to be."""

    intended_per_s: float | None = None
    actual_per_s: float | None = None
    start_lag_p99_ms: Annotated[float | None, _doc("devices: switched on after intended")] = None
    start_lag_max_ms: float | None = None
    loop_delay_p99_ms: Annotated[float | None, _doc("how late the fleet's timers ran")] = None
    loop_delay_max_ms: float | None = None
    lags: Annotated[
        dict[str, LagFigures], _doc("of other work, by kind: `report`, `power_on`, `command`…")
    ] = {}
    socket_drops: Annotated[int, _doc("datagrams that the kernel dropped")] = 0
    retransmissions: Annotated[int, _doc("CoAP messages sent again")] = 0
    saturated: Annotated[bool, _doc("a limit was passed: latencies say nothing then")] = False
    faults: Annotated[list[str], _doc("which limits were passed")] = []
    limits: Annotated[LoaderLimits | None, _doc("what counts as saturated in this run")] = None
    profile: Annotated[str, _doc("the load profile; empty without one")] = ""
    intended: Annotated[dict[str, int], _doc("events of the profile, by kind")] = {}
    fleet_processes: int = 1
    addresses: Annotated[
        str, _doc("`shared`: one socket, an address for each device; `own`: a socket each")
    ] = ""
    cpu_s: Annotated[float, _doc("of all fleet processes")] = 0.0


class ProcessFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One process: CPU seconds since its start, over all its incarnations."""

    process: str
    side: Annotated[str, _doc("fleet, emulated, platform or instruments")]
    cpu_s: float
    cores_mean: Annotated[float, _doc("CPU seconds per second of the run")]
    rss_bytes_max: int
    descriptors_max: Annotated[int, _doc("open files, sockets, pipes; 0: not told")] = 0


class SideFigures(msgspec.Struct, frozen=True, kw_only=True):
    """All processes of one side."""

    side: str
    cpu_s: float
    cores_mean: float
    cpu_ratio: Annotated[float, _doc("part of the CPU of all sides")]
    rss_bytes_max: Annotated[int, _doc("sum of its processes' largest")]


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """A process that the story killed."""

    process: str
    point: str
    at_s: float
    endpoint: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A run, judged and measured."""

    v: Annotated[int, _doc("version of this schema")] = VERSION
    run_id: str
    scenario: str
    claim: Annotated[str, _doc("what the scenario claims")]
    verdict: Annotated[Outcome, _doc("a saturated loader makes it `inconclusive`, with exit 3")]
    exit_code: Annotated[
        int,
        _doc(
            "0 holds, 1 broken, 2 inconclusive, 3 loader saturated and nothing unsafe, "
            "or the bench itself failed"
        ),
    ]
    seed: int
    broker: str
    defect: Annotated[str, _doc("what was planted; empty in an honest run")] = ""
    options: dict[str, str] = {}
    started_at: Annotated[str, _doc("UTC, ISO 8601")]
    duration_s: Annotated[float, _doc("from the first record to the last")]
    bench: BenchFigures
    provisioning: ProvisioningFigures | None = None
    devices: DeviceCounts
    stages: dict[Stage, StageFigures]
    throughput: dict[str, Throughput]
    readings: ReadingCounts
    commands: CommandCounts
    operations: Annotated[
        dict[str, OperationFigures],
        _doc(
            "`report` (to the broker's PUBACK), `reading_stored`, `command`; after a power cut "
            "`registered_again`, `connected_again`; `update` (of a registration, from its "
            "sending); `operation` of the server's administration; `firmware` (offer to package)"
        ),
    ] = {}
    alarms: dict[str, AlarmCounts]
    checks: list[CheckResult]
    loader: LoaderFigures
    processes: list[ProcessFigures]
    sides: list[SideFigures]
    kills: list[Kill] = []
    notes: Annotated[list[str], _doc("conditions the story waited for in vain, and the like")] = []
    journal_records: int = 0
    journal_torn_lines: Annotated[int, _doc("lines that a kill cut short")] = 0
    versions: dict[str, str] = {}
    machine: dict[str, str] = {}


_reports: msgspec.json.Decoder[Report] = msgspec.json.Decoder(Report)


def encode_report(report: Report) -> bytes:
    """`report.json`, indented for people."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def decode_report(data: bytes) -> Report:
    """Read a `report.json`. Unknown fields are ignored. Raises `ContractError`."""
    try:
        found = _reports.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError(f"not a report: {error}") from None
    if found.v > VERSION:
        raise UnsupportedVersion("this report", found.v, VERSION)
    return found
