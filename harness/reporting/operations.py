"""Work of every kind from its intended start to its end: percentiles, histograms, by the second."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import ceil
from typing import NamedTuple

from contracts.journal import (
    CommandIssued,
    DeviceConnected,
    DeviceRegistered,
    PackAcknowledged,
    PackGenerated,
    ReadingsStored,
)
from contracts.load import (
    DevicePowerRestored,
    DeviceUpdated,
    FirmwareOffered,
    FirmwareTaken,
    OperationEnded,
)
from contracts.report import OperationFigures, Percentiles, SecondFigures
from harness.checks.commands import commanding
from harness.checks.figures import percentile
from harness.journal import Journal
from harness.latency import Histogram, by_second, encode

# Longer runs are told in longer pieces than a second.
SECONDS_MAX = 3_600


class Done(NamedTuple):
    """One piece of work that was completed."""

    intended_ns: int
    latency_ns: int


def operations(journal: Journal) -> dict[str, OperationFigures]:
    """Figures of each kind of work that there was."""
    kinds = {
        "report": _reports(journal),
        "reading_stored": _stored(journal),
        "command": _commands(journal),
        "registered_again": _again(journal, DeviceRegistered),
        "connected_again": _again(journal, DeviceConnected),
        "update": _updates(journal),
        "operation": _operations(journal),
        "firmware": _firmware(journal),
    }
    return {
        kind: OperationFigures(
            count=len(done),
            unfinished=begun - len(done),
            latency=percentiles_ms([each.latency_ns for each in done]),
            histogram=histogram_text(each.latency_ns for each in done),
            seconds=seconds(journal, done),
        )
        for kind, (begun, done) in kinds.items()
        if begun
    }


def percentiles_ms(values_ns: Sequence[int]) -> Percentiles | None:
    """Exact percentiles in milliseconds, None of nothing."""
    if not values_ns:
        return None
    values = sorted(values_ns)
    p50, p90, p99, p99_9, p99_99 = (
        round(percentile(values, ratio) / 1e6, 3) for ratio in (0.5, 0.9, 0.99, 0.999, 0.9999)
    )
    most = round(values[-1] / 1e6, 3)
    return Percentiles(p50=p50, p90=p90, p99=p99, p99_9=p99_9, p99_99=p99_99, max=most)


def histogram_text(latencies_ns: Iterable[int]) -> str:
    """The latencies as other tools read them; empty of none."""
    found = Histogram.of_ns(latencies_ns)
    return encode(found) if found.total else ""


def seconds(journal: Journal, done: Iterable[tuple[int, int]]) -> list[SecondFigures]:
    """Figures of (intended at, latency) by the second of the run."""
    lasts_s = journal.since_start_s(journal.ended_ns)
    piece_s = max(1, ceil(lasts_s / SECONDS_MAX))
    return [
        SecondFigures(
            at_s=each.at_s,
            work=each.work,
            p50_ms=each.p50_us / 1e3,
            p99_ms=each.p99_us / 1e3,
            max_ms=each.max_us / 1e3,
        )
        for each in by_second(done, journal.began_ns, piece_s)
    ]


def _reports(journal: Journal) -> tuple[int, list[Done]]:
    intended = {
        (pack.endpoint, pack.boot, pack.sequence): pack.intended_at_ns
        for pack in journal.of(PackGenerated)
        if pack.intended_at_ns
    }
    done = [
        Done(intended[key], pack.at_ns - intended[key])
        for pack in journal.of(PackAcknowledged)
        if (key := (pack.endpoint, pack.boot, pack.sequence)) in intended
    ]
    return len(intended), done


def _stored(journal: Journal) -> tuple[int, list[Done]]:
    intended = {
        (pack.endpoint, path, time_us): pack.intended_at_ns
        for pack in journal.of(PackGenerated)
        if pack.intended_at_ns
        for path, time_us, _ in pack.records
    }
    done = [
        Done(intended[key], commit.at_ns - intended[key])
        for commit in journal.of(ReadingsStored)
        for row in commit.rows
        if (key := row[:3]) in intended
    ]
    return len(intended), done


def _commands(journal: Journal) -> tuple[int, list[Done]]:
    ended_ns, issued = journal.derive(commanding).ended_ns, journal.of(CommandIssued)
    done = [
        Done(each.intended_at_ns, ended_ns[each.id] - each.intended_at_ns)
        for each in issued
        if each.id in ended_ns
    ]
    return len(issued), done


def _updates(journal: Journal) -> tuple[int, list[Done]]:
    """From the moment that a device sent its Update; those that nobody answered are not known."""
    done = [
        Done(each.sent_at_ns, each.at_ns - each.sent_at_ns) for each in journal.of(DeviceUpdated)
    ]
    return len(done), done


def _operations(journal: Journal) -> tuple[int, list[Done]]:
    """Of the server's administration, to the device's answer."""
    ended = journal.of(OperationEnded)
    done = [
        Done(each.intended_at_ns, each.at_ns - each.intended_at_ns) for each in ended if each.code
    ]
    return len(ended), done


def _firmware(journal: Journal) -> tuple[int, list[Done]]:
    """From the offer to the whole package."""
    offered = {each.endpoint: each.intended_at_ns for each in journal.of(FirmwareOffered)}
    done = [
        Done(offered[each.endpoint], each.at_ns - offered[each.endpoint])
        for each in journal.of(FirmwareTaken)
        if each.endpoint in offered
    ]
    return len(offered), done


def _again(
    journal: Journal, kind: type[DeviceRegistered] | type[DeviceConnected]
) -> tuple[int, list[Done]]:
    """From each return of power to the next record of `kind` of the same device."""
    returned = journal.of(DevicePowerRestored)
    return len(returned), list(_first_after(returned, journal.of(kind)))


def _first_after(
    returned: Iterable[DevicePowerRestored],
    reached: Iterable[DeviceRegistered | DeviceConnected],
) -> Iterator[Done]:
    waiting: dict[str, int] = {}
    merged = sorted([*returned, *reached], key=lambda record: record.at_ns)
    for record in merged:
        if isinstance(record, DevicePowerRestored):
            waiting[record.endpoint] = record.intended_at_ns
        elif record.endpoint in waiting:
            intended_ns = waiting.pop(record.endpoint)
            yield Done(intended_ns, record.at_ns - intended_ns)
