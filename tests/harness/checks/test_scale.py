"""Every check of the scale scenarios holds on an honest journal, and breaks on a doctored one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from contracts.journal import (
    DeviceConnected,
    DeviceEnded,
    DeviceRegistered,
    DeviceStarted,
    PackAcknowledged,
    PackGenerated,
    PackSent,
    PhaseBegan,
    ProcessSample,
    ReadingsStored,
    Record,
    RunStarted,
)
from contracts.load import (
    DevicePowerLost,
    DevicePowerRestored,
    DeviceUpdated,
    EventsDelivered,
    FirmwareOffered,
    FirmwareTaken,
    LagSample,
    LoadAsked,
    LoadPlanned,
    OperationEnded,
    ServerCounted,
    StoreAsked,
)
from harness import checks
from harness.checks import Check, Verdict
from harness.checks.resources import growth_of
from harness.journal import Journal

S = 1_000_000_000
MS = 1_000_000
UNIX_US = 1_795_200_000_000_000
LAMPS = [f"lamp-{number}" for number in range(5)]
PATH = "/3419/0/3"


def run(**fields: Any) -> RunStarted:
    given = {"run_id": "r", "scenario": "s", "seed": 1, "broker": "", "defect": ""}
    return RunStarted(**{**given, "at_ns": 0, "at_unix_us": UNIX_US, "devices": 5, **fields})


def registered() -> list[Record]:
    """Five lamps that register within 20 ms, update every 30 s, and are there at 100 s."""
    records: list[Record] = [
        run(),
        LoadPlanned(at_ns=S, profile="p", began_ns=S),
        LoadAsked(
            at_ns=0,
            wanted={"registered_p99_ms": 100.0, "registered_within_s": 10.0, "lifetime_s": 60.0},
        ),
    ]
    for number, lamp in enumerate(LAMPS):
        at_ns = S + number * S
        records += [
            DeviceStarted(at_ns=at_ns, endpoint=lamp, model="street_lamp", intended_at_ns=at_ns),
            DeviceRegistered(at_ns=at_ns + 20 * MS, endpoint=lamp, location="/rd/1"),
            *(
                DeviceUpdated(at_ns=at_ns + after_s * S, endpoint=lamp, sent_at_ns=at_ns)
                for after_s in (30, 60, 90)
            ),
            DeviceEnded(at_ns=100 * S, endpoint=lamp, model="street_lamp", state="registered"),
        ]
    numbers = {"registrations": 5, "events_newest": 20}
    return [
        *records,
        EventsDelivered(
            at_ns=9 * S, server="server-1", epoch="e", first=1, last=5, kinds={"registered": 5}
        ),
        EventsDelivered(
            at_ns=95 * S, server="server-1", epoch="e", first=6, last=20, kinds={"updated": 15}
        ),
        ServerCounted(at_ns=99 * S, server="server-1", when="end", numbers=numbers),
    ]


def operated() -> list[Record]:
    """Each lamp is read for its own serial number, and two are asked for an Update."""
    reads = [
        OperationEnded(
            at_ns=50 * S, endpoint=lamp, operation="read", path="/3/0/2", intended_at_ns=49 * S,
            code="2.05", value=f"SN-{lamp}", expected=f"SN-{lamp}",
        )
        for lamp in LAMPS
    ]  # fmt: skip
    asked = [
        OperationEnded(
            at_ns=20 * S, endpoint=lamp, operation="execute", path="/1/0/8",
            intended_at_ns=20 * S, code="2.04",
        )
        for lamp in LAMPS[:2]
    ]  # fmt: skip
    return [*registered(), *reads, *asked]


def held(grows_per_s: float = 0.0, descriptors_per_s: float = 0.0) -> list[Record]:
    """Two processes through a soak of 90 s; the first may grow."""
    records: list[Record] = [
        run(),
        LoadAsked(at_ns=0, wanted={"memory_bytes": 1e9}),
        PhaseBegan(at_ns=10 * S, phase="soak"),
        PhaseBegan(at_ns=100 * S, phase="drain"),
    ]
    for half_s in range(220):
        at_s = half_s / 2
        noise = (half_s * 7 % 5) * 65_536
        for process, side in (("server", "emulated"), ("bridge", "platform")):
            factor = at_s if process == "server" else 0.0
            records.append(
                ProcessSample(
                    at_ns=round(at_s * S), process=process, side=side, cpu_s=1.0,
                    rss_bytes=60_000_000 + noise + round(grows_per_s * factor),
                    descriptors=20 + round(descriptors_per_s * factor),
                )
            )  # fmt: skip
    return records


def updated() -> list[Record]:
    """Firmware: two lamps are given it, three fetch it, and all run it."""
    records: list[Record] = [run()]
    for number, lamp in enumerate(LAMPS):
        digest = "ab" * 32 if number < 2 else "cd" * 32
        records += [
            FirmwareOffered(
                at_ns=S, endpoint=lamp, way="push" if number < 2 else "pull",
                package_bytes=1_000, sha256=digest, intended_at_ns=S,
            ),
            FirmwareTaken(at_ns=2 * S, endpoint=lamp, package_bytes=1_000, sha256=digest),
            OperationEnded(
                at_ns=5 * S, endpoint=lamp, operation="read", path="/3/0/3", intended_at_ns=5 * S,
                code="2.05", value="2.0.0", expected="2.0.0",
            ),
        ]  # fmt: skip
    return records


def returned() -> list[Record]:
    """Dusk at 10 s; a power cut at 20 s; all are back at 30 s and report once more."""
    records: list[Record] = [
        run(),
        PhaseBegan(at_ns=10 * S, phase="schedule"),
        LoadAsked(
            at_ns=0,
            wanted={"dusk_within_s": 8.0, "back_within_s": 6.0, "scheduled_report": 10.0},
        ),
        LagSample(at_ns=40 * S, process="fleet", kind="report", lags=[(10, 10)], lag_max_ns=MS),
    ]
    for number, lamp in enumerate(LAMPS):
        records += [
            DeviceStarted(at_ns=S, endpoint=lamp, model="street_lamp", intended_at_ns=S),
            DeviceRegistered(at_ns=2 * S, endpoint=lamp, location="/rd/1"),
            *_pack(lamp, 1, 11 * S + number * S),
            DevicePowerLost(at_ns=20 * S, endpoint=lamp, intended_at_ns=20 * S),
            DevicePowerRestored(at_ns=30 * S, endpoint=lamp, intended_at_ns=30 * S),
            DeviceRegistered(at_ns=31 * S, endpoint=lamp, location="/rd/2"),
            DeviceConnected(at_ns=32 * S, endpoint=lamp, client_id=lamp, attempt=1),
            *_pack(lamp, 2, 33 * S),
            StoreAsked(
                at_ns=40 * S, endpoint=lamp, registered=True, thing=lamp, path=PATH,
                time_us=UNIX_US + 33 * S // 1_000, value=True,
            ),
        ]  # fmt: skip
    return records


def _pack(lamp: str, sequence: int, at_ns: int) -> list[Record]:
    time_us = UNIX_US + at_ns // 1_000
    key = {"endpoint": lamp, "boot": "b", "sequence": sequence}
    return [
        PackGenerated(at_ns=at_ns, **key, records=[(PATH, time_us, True)], intended_at_ns=at_ns),
        PackSent(at_ns=at_ns, **key, stream="state", attempt=1),
        PackAcknowledged(at_ns=at_ns + MS, **key, stream="state"),
        ReadingsStored(at_ns=at_ns + 2 * MS, rows=[(lamp, PATH, time_us, True)]),
    ]


HONEST: list[tuple[Check, Callable[[], list[Record]]]] = [
    (checks.every_device_registers, registered),
    (checks.registrations_are_answered_in_time, registered),
    (checks.no_registration_lapses, registered),
    (checks.every_device_updates, registered),
    (checks.every_event_is_delivered, registered),
    (checks.reads_return_the_devices_own_value, operated),
    (checks.updates_run, operated),
    (checks.memory_does_not_grow, held),
    (checks.descriptors_do_not_grow, held),
    (checks.fleet_and_server_fit, held),
    (checks.every_image_is_the_one_that_was_offered, updated),
    (checks.every_device_runs_its_new_firmware, updated),
    (checks.every_lamp_reports_within_the_minute, returned),
    (checks.everyone_is_back, returned),
    (checks.stores_agree, returned),
    (checks.schedule_is_followed, returned),
]


@pytest.mark.parametrize(("check", "records"), HONEST, ids=lambda each: each.__name__)
def test_a_check_holds_on_an_honest_run(check: Check, records: Callable[[], list[Record]]) -> None:
    verdict = check(Journal(records()))
    assert verdict.outcome == "holds", verdict
    assert verdict.name == check.__name__


@pytest.mark.parametrize("check", [check for check, _ in HONEST], ids=lambda each: each.__name__)
def test_nothing_holds_when_nothing_was_observed(check: Check) -> None:
    assert check(Journal([])).outcome == "inconclusive"
    assert check(Journal([run()])).outcome == "inconclusive"


def doctored(records: list[Record], kind: type[Record], number: int, **fields: Any) -> Journal:
    """The journal with the `number`th record of a kind changed, or left out without fields."""
    found = [each for each in records if type(each) is kind][number]
    changed = [msgspec.structs.replace(found, **fields)] if fields else []
    return Journal([each for each in records if each is not found] + changed)


def broken(check: Check, journal: Journal, *endpoints: str) -> Verdict:
    """The verdict, which must be broken and name exactly these."""
    verdict = check(journal)
    assert verdict.outcome == "broken", verdict
    assert {each.endpoint for each in verdict.evidence} == set(endpoints)
    return verdict


# ---- registrations ----


def test_a_device_that_never_registered_is_named() -> None:
    journal = doctored(registered(), DeviceRegistered, 3)
    broken(checks.every_device_registers, journal, "lamp-3")


def test_a_server_that_holds_fewer_is_told() -> None:
    journal = doctored(registered(), ServerCounted, 0, numbers={"registrations": 4})
    broken(checks.every_device_registers, journal, "server-1")


def test_a_device_that_was_never_switched_on_is_missed() -> None:
    records = [each for each in registered() if getattr(each, "endpoint", "") != "lamp-1"]
    broken(checks.every_device_registers, Journal(records), "")


def test_a_late_registration_breaks_the_time_that_was_stated() -> None:
    journal = doctored(registered(), DeviceRegistered, 4, at_ns=5 * S + 200 * MS)
    verdict = broken(checks.registrations_are_answered_in_time, journal, "")
    assert verdict.about == "rate"
    late = doctored(registered(), DeviceRegistered, 4, at_ns=12 * S)
    assert broken(checks.registrations_are_answered_in_time, late, "").evidence_total == 2


def test_an_update_that_was_not_answered_is_a_lapse() -> None:
    records = registered()
    records.remove(DeviceUpdated(at_ns=3 * S + 60 * S, endpoint="lamp-2", sent_at_ns=3 * S))
    assert checks.no_registration_lapses(Journal(records)).outcome == "holds", "60 s between two"
    records.remove(DeviceUpdated(at_ns=3 * S + 30 * S, endpoint="lamp-2", sent_at_ns=3 * S))
    broken(checks.no_registration_lapses, Journal(records), "lamp-2")


def test_the_last_update_counts_to_the_end() -> None:
    records = [
        msgspec.structs.replace(each, at_ns=200 * S) if isinstance(each, DeviceEnded) else each
        for each in registered()
    ]
    broken(checks.no_registration_lapses, Journal(records), *LAMPS)


def test_whoever_registers_again_has_lapsed() -> None:
    again = DeviceRegistered(at_ns=40 * S, endpoint="lamp-0", location="/rd/9")
    broken(checks.no_registration_lapses, Journal([*registered(), again]), "lamp-0")


def test_a_device_that_never_updated_though_it_was_time_to_is_named() -> None:
    records = [
        each
        for each in registered()
        if not (isinstance(each, DeviceUpdated) and each.endpoint == "lamp-2")
    ]
    broken(checks.every_device_updates, Journal(records), "lamp-2")


def test_registrations_that_nobody_had_to_update_yet_show_nothing() -> None:
    records = [
        msgspec.structs.replace(each, at_ns=10 * S) if isinstance(each, DeviceEnded) else each
        for each in registered()
        if not isinstance(each, DeviceUpdated)
    ]
    verdict = checks.every_device_updates(Journal(records))
    assert verdict.outcome == "inconclusive"
    assert verdict.summary.endswith("choose a --duration of 60 or more")


def test_a_registration_that_the_server_let_expire_is_a_lapse() -> None:
    kinds = {"updated": 14, "deregistered_expired": 1}
    journal = doctored(registered(), EventsDelivered, 1, kinds=kinds)
    broken(checks.no_registration_lapses, journal, "server-1")


@pytest.mark.parametrize("fields", [{"first": 7}, {"last": 19}, {}])
def test_an_event_that_is_missing_is_found(fields: dict[str, int]) -> None:
    journal = doctored(registered(), EventsDelivered, 1, **fields)
    broken(checks.every_event_is_delivered, journal, "server-1")


# ---- operations ----


def test_a_device_that_answers_with_anothers_value_is_named() -> None:
    journal = doctored(operated(), OperationEnded, 1, value="SN-lamp-4")
    broken(checks.reads_return_the_devices_own_value, journal, "lamp-1")


def test_a_device_that_does_not_answer_is_named() -> None:
    journal = doctored(operated(), OperationEnded, 2, value=None, code="", stage="timeout")
    verdict = broken(checks.reads_return_the_devices_own_value, journal, "lamp-2")
    assert verdict.evidence[0].observed == "no answer: timeout"


def test_a_trigger_without_an_update_is_named() -> None:
    records = [
        each
        for each in operated()
        if not (isinstance(each, DeviceUpdated) and each.endpoint == "lamp-1")
    ]
    broken(checks.updates_run, Journal(records), "lamp-1")


# ---- resources ----


def test_a_process_that_leaks_is_named() -> None:
    verdict = broken(checks.memory_does_not_grow, Journal(held(grows_per_s=120_000)), "server")
    assert "an hour" in verdict.evidence[0].observed


def test_a_process_that_leaves_descriptors_open_is_named() -> None:
    broken(checks.descriptors_do_not_grow, Journal(held(descriptors_per_s=0.1)), "server")


def test_peaks_are_no_leak() -> None:
    points = [(float(at_s), 100.0 + (900.0 if at_s % 10 == 9 else 0.0)) for at_s in range(60)]
    assert abs(growth_of(points).grown) < 1.0
    assert growth_of([(float(at_s), 2.0 * at_s) for at_s in range(60)]).per_hour == 7_200.0


def test_too_short_a_soak_says_nothing() -> None:
    records = [
        each for each in held() if not (isinstance(each, PhaseBegan) and each.at_ns > 50 * S)
    ]
    short = [*records, PhaseBegan(at_ns=40 * S, phase="drain")]
    verdict = checks.memory_does_not_grow(Journal(short))
    assert verdict.outcome == "inconclusive"
    assert "--duration" in verdict.summary


def test_memory_over_what_was_stated_is_told_by_process() -> None:
    journal = doctored(held(), LoadAsked, 0, wanted={"memory_bytes": 50_000_000.0})
    assert "server" in broken(checks.fleet_and_server_fit, journal, "").summary


# ---- firmware ----


@pytest.mark.parametrize("fields", [{"sha256": "ef" * 32}, {"package_bytes": 999}, {}])
def test_an_image_that_is_not_the_one_offered_is_found(fields: dict[str, Any]) -> None:
    journal = doctored(updated(), FirmwareTaken, 3, **fields)
    broken(checks.every_image_is_the_one_that_was_offered, journal, "lamp-3")


def test_a_package_that_came_twice_is_found() -> None:
    records = updated()
    again = next(each for each in records if isinstance(each, FirmwareTaken))
    broken(checks.every_image_is_the_one_that_was_offered, Journal([*records, again]), "lamp-0")


@pytest.mark.parametrize("fields", [{"value": "1.4.2"}, {}])
def test_a_device_with_its_old_firmware_is_named(fields: dict[str, Any]) -> None:
    journal = doctored(updated(), OperationEnded, 4, **fields)
    broken(checks.every_device_runs_its_new_firmware, journal, "lamp-4")


# ---- city ----


def test_a_lamp_that_is_late_at_dusk_is_named() -> None:
    rows = [("lamp-1", PATH, UNIX_US + 12 * S // 1_000, True)]
    records = [
        each
        for each in returned()
        if not (isinstance(each, ReadingsStored) and each.rows[0][0] == "lamp-1")
    ]
    broken(checks.every_lamp_reports_within_the_minute, Journal(records), "lamp-1")
    late = [*records, ReadingsStored(at_ns=19 * S, rows=rows)]
    verdict = broken(checks.every_lamp_reports_within_the_minute, Journal(late), "lamp-1")
    assert verdict.evidence[0].observed == "reported 9.0 s after dusk began"


@pytest.mark.parametrize(
    ("kind", "number", "fields"),
    [
        (DeviceRegistered, 5, {}),
        (DeviceConnected, 2, {}),
        (DeviceConnected, 2, {"at_ns": 37 * S}),
        (DevicePowerRestored, 2, {}),
        (ReadingsStored, 5, {}),
    ],
)
def test_a_device_that_is_not_back_is_named(
    kind: type[Record], number: int, fields: dict[str, Any]
) -> None:
    journal = doctored(returned(), kind, number, **fields)
    assert len(broken(checks.everyone_is_back, journal, "lamp-2").evidence) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"registered": False},
        {"thing": ""},
        {"time_us": UNIX_US},
        {"value": False},
        {"value": None},
        {},
    ],
)
def test_parts_that_disagree_about_a_device_are_found(fields: dict[str, Any]) -> None:
    broken(checks.stores_agree, doctored(returned(), StoreAsked, 4, **fields), "lamp-4")


def test_a_schedule_that_was_not_issued_to_its_end_says_nothing() -> None:
    journal = doctored(returned(), LagSample, 0, lags=[(10, 9)], missed=1)
    verdict = checks.schedule_is_followed(journal)
    assert verdict.outcome == "inconclusive"
    assert verdict.about == "loader"
    assert "1 not" in verdict.evidence[0].observed
